//! Command `astreum repl`: with history and editing on a terminal, else line by line.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::fs::DirBuilder;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use astreum_core::atom::{Atom, AtomId, NoStore};
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Evaluation, Machine, Progress, Suspended};
use astreum_core::text::{BytesStyle, Escaped, Script, Styled, parse, to_text};
use astreum_script::library;
use astreum_script::trace::View;
use clap::ValueEnum as _;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Editor, EventHandler, KeyEvent};

use crate::config::expand_home;

use super::eval::{explain, is_definition, is_failed, load, missing, print};
use super::eval_session::Session;
use super::input::{MAX_SOURCE_BYTES, Source, not_text, without_prefix};
use super::language_args::{As, ReplArgs};
use super::new_file;
use super::node_args::NodeArgs;
use super::output::{Failure, Output, complain};
use super::repl_commands;
use super::repl_editor::{Leave, Lines, Open};
use super::report::Sources;
use super::trace::wait;

const STEPPED: &str = "an evaluation is stepped: use :step, :finish or :stop first";

/// Next step after a line.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    Quit,
}

/// Cost of the last input.
#[derive(Default)]
struct Spent {
    time: Duration,
    charge: u64,
    steps: u64,
    atoms: usize,
}

/// Stepped evaluation.
struct Stepping {
    suspended: Suspended,
    steps: u64,
}

/// State of a session, independent of the source of its lines.
struct Repl<'o> {
    session: Session,
    sources: Sources<'static>,
    form: As,
    quiet: bool,
    out: &'o mut Output,
    interrupt: Arc<AtomicBool>,
    has_error: bool,
    spent: Spent,
    stepping: Option<Stepping>,
    has_library: bool,
}

pub(super) fn repl(args: &ReplArgs, out: &mut Output) -> Result<(), Failure> {
    let mut session = Session::new(&args.at, args.node, &args.limits)?;
    let interrupt = Arc::new(AtomicBool::new(false));
    session.set_interrupt(Arc::clone(&interrupt));
    let mut repl = Repl {
        session,
        sources: Sources::new(),
        form: args.style.form(),
        quiet: args.quiet,
        out,
        interrupt: Arc::clone(&interrupt),
        has_error: false,
        spent: Spent::default(),
        stepping: None,
        has_library: false,
    };
    if args.std {
        repl.load_library()?;
    }
    if io::stdin().is_terminal() {
        signal_hook::flag::register(signal_hook::consts::SIGINT, interrupt)
            .map_err(Failure::failed)?;
        return repl.at_terminal(&state_dir(&args.at)?);
    }
    repl.at_pipe()?;
    if repl.has_error {
        return Err(Failure::Reported);
    }
    Ok(())
}

fn state_dir(at: &NodeArgs) -> Result<PathBuf, Failure> {
    Ok(at.load()?.paths().state_dir)
}

impl Repl<'_> {
    fn at_terminal(&mut self, state_dir: &Path) -> Result<(), Failure> {
        let mut editor: Editor<Lines, FileHistory> = Editor::new().map_err(Failure::failed)?;
        editor.set_helper(Some(Lines::new()));
        let leaving = Arc::new(AtomicBool::new(false));
        let leave = Box::new(Leave(Arc::clone(&leaving)));
        editor.bind_sequence(KeyEvent::ctrl('D'), EventHandler::Conditional(leave));
        let history = history_file(state_dir);
        if let Some(history) = &history {
            // The file does not exist the first time.
            let _ = editor.load_history(history);
        }
        writeln!(
            self.out,
            "Astreum {}; :help lists the commands",
            env!("CARGO_PKG_VERSION")
        )?;
        let mut failure = None;
        loop {
            self.out.flush()?;
            if let Some(helper) = editor.helper_mut() {
                helper.set_names(self.names());
            }
            let prompt = if self.stepping.is_some() {
                "step> "
            } else {
                "> "
            };
            match editor.readline(prompt) {
                // An empty line repeats the step.
                Ok(text) if text.trim().is_empty() && self.stepping.is_some() => {
                    self.interrupt.store(false, Ordering::Relaxed);
                    self.step("")?;
                }
                Ok(text) => {
                    let _ = editor.add_history_entry(text.trim_end());
                    self.interrupt.store(false, Ordering::Relaxed);
                    if self.take(text, "input", 0)? == Next::Quit {
                        break;
                    }
                }
                Err(ReadlineError::Interrupted) => {
                    if leaving.load(Ordering::Relaxed) {
                        self.complain("the open expression was not evaluated");
                        break;
                    }
                }
                Err(ReadlineError::Eof) => break,
                // The typed input is lost, but the session continues.
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    self.complain("the input is not UTF-8 text");
                }
                Err(error) => {
                    failure = Some(Failure::failed(error));
                    break;
                }
            }
        }
        if let Some(history) = &history
            && let Err(error) = editor.save_history(history)
        {
            complain(&format!("{}: {error}", history.display()));
        }
        failure.map_or(Ok(()), Err)
    }

    /// Evaluates expressions from a pipe as soon as a line completes them.
    fn at_pipe(&mut self) -> Result<(), Failure> {
        let mut input = io::stdin().lock();
        let mut lines = 0;
        let mut open = Open::default();
        loop {
            let mut line = Vec::new();
            let room = (MAX_SOURCE_BYTES + 1).saturating_sub(open.text.len() as u64);
            let read = input
                .by_ref()
                .take(room)
                .read_until(b'\n', &mut line)
                .map_err(|error| Failure::Failed(format!("stdin: {error}")))?;
            if (open.text.len() + line.len()) as u64 > MAX_SOURCE_BYTES {
                let limit = format!("stdin: an expression is longer than {MAX_SOURCE_BYTES} bytes");
                return Err(Failure::Failed(limit));
            }
            let is_end = read == 0;
            match String::from_utf8(line) {
                Ok(line) if lines == 0 => open.push(&without_prefix(line)),
                Ok(line) => open.push(&line),
                Err(error) => {
                    let offset = error.utf8_error().valid_up_to();
                    let valid = error.as_bytes().get(..offset).unwrap_or_default();
                    let dropped = match open.lines {
                        0 => "the line is skipped",
                        _ => "the line and the open expression before it are skipped",
                    };
                    self.complain(&format!("stdin: {}; {dropped}", not_text(valid, lines)));
                    open = Open::default();
                    open.lines_before = lines + 1;
                }
            }
            lines += usize::from(!is_end);
            if !is_end && !open.is_complete() {
                continue;
            }
            let Open {
                text, lines_before, ..
            } = core::mem::take(&mut open);
            open.lines_before = lines;
            let next = self.take(text, "stdin", lines_before)?;
            if is_end || next == Next::Quit {
                return Ok(self.out.flush()?);
            }
        }
    }

    fn take(&mut self, text: String, name: &str, lines_before: usize) -> Result<Next, Failure> {
        let trimmed = text.trim();
        let Some(command) = trimmed.strip_prefix(':') else {
            self.evaluate(Source {
                name: name.to_owned(),
                text,
                lines_before,
            })?;
            return Ok(Next::Continue);
        };
        let (command, argument) = command.split_once(' ').unwrap_or((command, ""));
        self.command(command, argument.trim())
    }

    fn command(&mut self, command: &str, argument: &str) -> Result<Next, Failure> {
        match (command, argument) {
            ("help" | "h" | "?", _) => writeln!(self.out, "{}", repl_commands::help())?,
            ("quit" | "q" | "exit", _) => return Ok(Next::Quit),
            ("env", prefix) => {
                let style = self.form.style();
                let names = self.session.env().iter();
                for (name, value) in names.filter(|(name, _)| name.starts_with(prefix)) {
                    let (name, value) = (Escaped(name), Styled::new(value, style));
                    writeln!(self.out, "{name} = {value:#}")?;
                }
            }
            ("std", _) if self.stepping.is_some() => self.complain(STEPPED),
            ("std", _) => self.load_library()?,
            ("save", "") => self.complain("missing file name: expected :save FILE"),
            ("save", file) => self.save(&expand_home(file.into()))?,
            ("step" | "s", argument) => self.step(argument)?,
            ("finish", _) => self.finish_steps()?,
            ("stop", _) => {
                if self.stepping.take().is_none() {
                    self.complain("no evaluation is stepped; :step EXPR starts one");
                }
            }
            ("time", source) => {
                self.evaluate_argument(source)?;
                let (time, charge) = (self.spent.time, self.spent.charge);
                writeln!(self.out, "time {time:.1?}, charge {charge}")?;
            }
            ("meter", source) => {
                self.evaluate_argument(source)?;
                let Spent {
                    charge,
                    steps,
                    atoms,
                    ..
                } = self.spent;
                writeln!(
                    self.out,
                    "charge {charge}, steps {steps}, new atoms {atoms}"
                )?;
            }
            ("atoms", id) => self.show_atoms(id)?,
            ("limit", "") => {
                for (name, value) in self.session.limits().rows() {
                    let name = if name == "limit" { "meter" } else { name };
                    let value = value.filter(|&value| value < u64::MAX);
                    let value = value.map_or_else(|| "none".to_owned(), |value| value.to_string());
                    writeln!(self.out, "{name:<12} {value}")?;
                }
            }
            ("limit", limit) => self.set_limit(limit),
            ("as", form) => match As::from_str(form, true) {
                Ok(form) => self.form = form,
                Err(_) => self.complain("invalid form: expected :as auto, text, int or hex"),
            },
            ("load", "") => self.complain("missing file name: expected :load FILE"),
            ("load", file) => match Source::from_file(&expand_home(file.into())) {
                Ok(source) => self.evaluate(source)?,
                Err(Failure::Failed(message)) => self.complain(&message),
                Err(failure) => return Err(failure),
            },
            _ => self.complain(&format!(
                "unknown command :{command}; :help lists the commands"
            )),
        }
        Ok(Next::Continue)
    }

    fn set_limit(&mut self, argument: &str) {
        let (name, value) = match argument.split_once(char::is_whitespace) {
            Some((name, value)) => (name, value.trim()),
            None => ("meter", argument),
        };
        let mut limits = self.session.limits();
        match limits.set(name, value) {
            Ok(()) => self.session.set(limits),
            Err(error) => self.complain(&format!(
                "invalid limit: {error}; :limit NAME N sets one, :limit lists them"
            )),
        }
    }

    fn complain(&mut self, message: &str) {
        self.has_error = true;
        self.out.complain(message);
    }

    /// Returns the names that are bound.
    fn names(&self) -> Vec<String> {
        let own = self.session.env().iter().map(|(name, _)| name.to_owned());
        let library = if self.has_library {
            library::names()
        } else {
            Vec::new()
        };
        own.chain(library).collect()
    }

    fn load_library(&mut self) -> Result<(), Failure> {
        if !core::mem::replace(&mut self.has_library, true) {
            self.session.load_library(&mut self.sources)?;
        }
        Ok(())
    }

    /// Evaluates the argument of a command, if there is one.
    fn evaluate_argument(&mut self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        self.evaluate(argument(text))
    }

    /// Parses a source and makes it the current one; returns the number of its expressions.
    fn load_source(&mut self, source: Source) -> Result<usize, Failure> {
        let count = match load(&source) {
            Ok(script) => script.exprs().len(),
            Err(error) => {
                self.complain(&error.explain(&source));
                return Ok(0);
            }
        };
        if count == 0 {
            return Ok(0);
        }
        let Source {
            name,
            text,
            lines_before,
        } = source;
        let script = Script::parse(text).map_err(Failure::failed)?;
        self.sources.add(&name, lines_before, script);
        Ok(count)
    }

    fn evaluate(&mut self, source: Source) -> Result<(), Failure> {
        if self.stepping.is_some() {
            self.complain(STEPPED);
            return Ok(());
        }
        let count = self.load_source(source)?;
        if count == 0 {
            return Ok(());
        }
        self.spent = Spent::default();
        let atoms = self.session.atom_count();
        for index in 0..count {
            let Some(expr) = self.sources.expr(index) else {
                break;
            };
            let out = &mut *self.out;
            let start = Instant::now();
            let evaluation = self.session.eval(&expr, || {
                let _ = out.flush();
            });
            self.spent.time += start.elapsed();
            self.spent.charge = self.spent.charge.saturating_add(evaluation.used());
            self.spent.steps = self.spent.steps.saturating_add(evaluation.steps());
            self.show(index, &expr, &evaluation)?;
            // Ctrl-C skips the rest of a file as well.
            if self.interrupt.swap(false, Ordering::Relaxed) {
                break;
            }
        }
        self.spent.atoms = self.session.atom_count().saturating_sub(atoms);
        Ok(())
    }

    /// Prints the value of the expression with this index of the current source, and its errors.
    fn show(&mut self, index: usize, expr: &Expr, evaluation: &Evaluation) -> Result<(), Failure> {
        let failed = is_failed(evaluation);
        self.has_error |= failed;
        if failed || !(self.quiet && is_definition(expr)) {
            print(evaluation, self.form, self.out)?;
        }
        for message in explain(index, evaluation, &mut self.sources, &self.session, true) {
            self.out.complain(&message);
        }
        if let Some(problem) = self.session.take_problem() {
            self.complain(&problem);
        } else if let Some(id) = evaluation.missing() {
            self.complain(&missing(id, self.session.has_node()));
        }
        Ok(self.out.flush_soon()?)
    }

    /// Starts to step an expression, or runs the next steps.
    fn step(&mut self, argument: &str) -> Result<(), Failure> {
        let is_count = argument.is_empty() || argument.bytes().all(|byte| byte.is_ascii_digit());
        match self.stepping.take() {
            Some(stepping) if is_count => {
                let count = argument.parse().unwrap_or(1);
                self.advance(stepping, count)
            }
            Some(stepping) => {
                self.stepping = Some(stepping);
                self.complain(STEPPED);
                Ok(())
            }
            None if argument.is_empty() => {
                self.complain("no evaluation is stepped; :step EXPR starts one");
                Ok(())
            }
            None => {
                let count = self.load_source(self::argument(argument))?;
                let Some(expr) = self.sources.expr(0).filter(|_| count > 0) else {
                    return Ok(());
                };
                if count > 1 {
                    self.complain("only the first expression is stepped");
                }
                let progress = self.session.begin(&expr);
                self.after_step(progress, 0, true)
            }
        }
    }

    /// Runs steps and shows the state after the last one.
    fn advance(&mut self, stepping: Stepping, count: u64) -> Result<(), Failure> {
        let (mut suspended, mut steps) = (stepping.suspended, stepping.steps);
        for left in (0..count).rev() {
            if let Some(note) = wait(&mut suspended) {
                self.out.complain(&note);
            }
            steps += 1;
            let progress = self.session.advance(suspended);
            let is_interrupted = self.interrupt.swap(false, Ordering::Relaxed);
            match progress {
                Progress::Suspended(next) if left > 0 && !is_interrupted => suspended = next,
                progress => return self.after_step(progress, steps, true),
            }
        }
        self.after_step(Progress::Suspended(suspended), steps, true)
    }

    fn after_step(&mut self, progress: Progress, steps: u64, shows: bool) -> Result<(), Failure> {
        match progress {
            Progress::Done(evaluation) => {
                let expr = self.sources.expr(0).unwrap_or_else(|| Expr::list([]));
                self.show(0, &expr, &evaluation)
            }
            Progress::Suspended(suspended) => {
                if shows {
                    let view = View::new(&suspended);
                    let place = self.sources.next_place(0, &suspended);
                    if let Some(place) = &place {
                        writeln!(self.out, "{}", place.snippet())?;
                    }
                    writeln!(self.out, "step {steps}, charge {}: {view}", view.used)?;
                }
                self.stepping = Some(Stepping { suspended, steps });
                Ok(())
            }
        }
    }

    fn finish_steps(&mut self) -> Result<(), Failure> {
        let Some(stepping) = self.stepping.take() else {
            self.complain("no evaluation is stepped; :step EXPR starts one");
            return Ok(());
        };
        let evaluation = self.session.complete(stepping.suspended);
        self.interrupt.store(false, Ordering::Relaxed);
        self.after_step(Progress::Done(evaluation), stepping.steps, false)
    }

    /// Writes the definitions of the session to a new file, as expressions that define them again.
    fn save(&mut self, path: &Path) -> Result<(), Failure> {
        let mut text = String::new();
        let mut skipped = Vec::new();
        for (name, value) in self.session.env().iter() {
            match definition(name, value) {
                Some(line) => text.push_str(&line),
                None => skipped.push(Escaped(name).to_string()),
            }
        }
        if let Err(error) = new_file::write(path, text.as_bytes()) {
            self.complain(&error);
        }
        if !skipped.is_empty() {
            let names = skipped.join(", ");
            self.complain(&format!(
                "not saved, since no expression has their values: {names}"
            ));
        }
        Ok(())
    }

    fn show_atoms(&mut self, id: &str) -> Result<(), Failure> {
        let wanted = match id {
            "" => None,
            text => match text.strip_prefix("0x").unwrap_or(text).parse::<AtomId>() {
                Ok(id) => Some(id),
                Err(error) => {
                    self.complain(&format!("invalid id {text:?}: {error}"));
                    return Ok(());
                }
            },
        };
        let mut atoms = self.session.atoms();
        if let Some(wanted) = wanted {
            atoms.retain(|(id, _)| *id == wanted);
            if atoms.is_empty() {
                self.complain(&format!("atom {wanted} is not in memory"));
            }
        }
        let most = if wanted.is_some() {
            usize::MAX
        } else {
            MAX_PREVIEW_BYTES
        };
        for (id, atom) in &atoms {
            writeln!(self.out, "{}", atom_line(id, atom, most))?;
        }
        Ok(())
    }
}

/// Maximum size of the text of an atom's data in a list, in bytes.
const MAX_PREVIEW_BYTES: usize = 60;

/// Returns the line about an atom: id, kind, size, data, and the next atom.
fn atom_line(id: &AtomId, atom: &Atom, max_bytes: usize) -> String {
    let data = to_text(&Expr::bytes(atom.data()), max_bytes);
    let kind = format!("{:?}", atom.kind()).to_lowercase();
    let next = match atom.next() {
        next if next.is_zero() => String::new(),
        next => format!(" next {next}"),
    };
    format!("{id} {kind} {} {data}{next}", atom.data().len())
}

/// Returns the source of an argument of a command.
fn argument(text: &str) -> Source {
    Source {
        name: "input".to_owned(),
        text: text.to_owned(),
        lines_before: 0,
    }
}

/// Returns an expression that defines the name with this value again, or `None` if there is none:
/// for a value that does not evaluate to itself, or has names that cannot be written.
fn definition(name: &str, value: &Expr) -> Option<String> {
    let evaluation = Machine::new(NoStore).eval(value, &mut Env::new());
    let symbol = Expr::symbol(name);
    let line = format!(
        "({:#} {symbol} def)\n",
        Styled::new(value, BytesStyle::Text)
    );
    let parsed = parse(&line).ok()?;
    let is_same = *evaluation.value() == *value
        && matches!(parsed.as_list(), Some([found, bound, _]) if found == value && *bound == symbol);
    is_same.then_some(line)
}

/// Returns the path of the history file; `None` if its directory cannot be created.
fn history_file(state_dir: &Path) -> Option<PathBuf> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(state_dir).ok()?;
    Some(state_dir.join("repl_history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_of_saved_sessions_read_back() {
        for source in [
            "5",
            "\"\\x00\\xff\"",
            "(($0 $1 add) sk)",
            "((x \"text\") (x) fn)",
            "(1 2 3)",
            "()",
        ] {
            let value = parse(source).unwrap();
            let line = definition("name", &value).unwrap();
            let mut env = Env::new();
            Machine::new(NoStore).eval_source(&line, &mut env);
            assert_eq!(env.get("name"), Some(&value), "{line}");
        }
        let id = Expr::bytes([7; 32]);
        assert!(definition("id", &id).is_some());
        for source in ["((5))", "(1 x)", "x"] {
            assert_eq!(
                definition("name", &parse(source).unwrap()),
                None,
                "{source}"
            );
        }
        assert_eq!(definition("two words", &Expr::integer(1)), None);
        assert_eq!(definition("5", &Expr::integer(1)), None);
    }
}
