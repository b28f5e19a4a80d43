//! Command `astreum repl`: with history and editing on a terminal, else line by line.

use core::sync::atomic::{AtomicBool, Ordering};
use std::fs::DirBuilder;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use astreum_core::text::{Escaped, Pending, Script, Styled};
use clap::ValueEnum as _;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, ConditionalEventHandler, Editor, Event, EventContext, EventHandler, Helper, KeyEvent,
    RepeatCount,
};

use crate::config::expand_home;

use super::eval::{explain, is_definition, is_failed, load, missing, print};
use super::eval_session::Session;
use super::input::{MAX_SOURCE_BYTES, Source, not_text, without_prefix};
use super::language_args::{As, ReplArgs};
use super::node_args::NodeArgs;
use super::output::{Failure, Output, complain};
use super::report::Sources;

const HELP: &str = "\
Type an expression; it may span several lines. Its value is printed.
  (1 2 ((a b (($0 $1 add) sk)) (a b) fn))  calls a function on 1 and 2
  (5 five def)                              binds a name for the rest of the session
:env            list the names that are bound
:limit          list the limits of each expression
:limit NAME N   set one, such as :limit steps 1000; :limit NAME none removes it
:limit N        set the limit of the meter; :limit none removes it
:as FORM        print bytes as auto, text, int or hex
:load FILE      evaluate the expressions of a file
:help           show this
:quit           exit, as Ctrl-D does, also while an expression is open
Ctrl-C stops an evaluation, or clears the input.";

/// Next step after a line.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    Quit,
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
    };
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
        editor.set_helper(Some(Lines));
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
            match editor.readline("> ") {
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
            ("help" | "h" | "?", _) => writeln!(self.out, "{HELP}")?,
            ("quit" | "q" | "exit", _) => return Ok(Next::Quit),
            ("env", _) => {
                let style = self.form.style();
                for (name, value) in self.session.env().iter() {
                    let (name, value) = (Escaped(name), Styled::new(value, style));
                    writeln!(self.out, "{name} = {value:#}")?;
                }
            }
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

    fn evaluate(&mut self, source: Source) -> Result<(), Failure> {
        let count = match load(&source) {
            Ok(script) => script.exprs().len(),
            Err(error) => {
                self.complain(&error.explain(&source));
                return Ok(());
            }
        };
        if count == 0 {
            return Ok(());
        }
        let Source {
            name,
            text,
            lines_before,
        } = source;
        let script = Script::parse(text).map_err(Failure::failed)?;
        self.sources.add(&name, lines_before, script);
        for index in 0..count {
            let Some(expr) = self.sources.expr(index) else {
                break;
            };
            let out = &mut *self.out;
            let evaluation = self.session.eval(&expr, || {
                let _ = out.flush();
            });
            let failed = is_failed(&evaluation);
            self.has_error |= failed;
            if failed || !(self.quiet && is_definition(&expr)) {
                print(&evaluation, self.form, self.out)?;
            }
            for message in explain(index, &evaluation, &mut self.sources, &self.session, true) {
                self.out.complain(&message);
            }
            if let Some(problem) = self.session.take_problem() {
                self.complain(&problem);
            } else if let Some(id) = evaluation.missing() {
                self.complain(&missing(id, self.session.has_node()));
            }
            self.out.flush_soon()?;
            // Ctrl-C skips the rest of a file as well.
            if self.interrupt.swap(false, Ordering::Relaxed) {
                break;
            }
        }
        Ok(())
    }
}

/// Lines of a pipe that are not yet evaluated.
#[derive(Default)]
struct Open {
    text: String,
    lines: usize,
    lines_before: usize,
    pending: Pending,
    is_command: bool,
}

impl Open {
    fn push(&mut self, line: &str) {
        if self.lines == 0 {
            self.is_command = line.trim_start().starts_with(':');
        }
        self.lines += 1;
        self.pending.push(line);
        self.text.push_str(line);
    }

    fn is_complete(&self) -> bool {
        self.is_command || self.pending.is_complete()
    }
}

/// Returns whether the text is incomplete: it has an open list, string or datum comment.
fn is_incomplete(text: &str) -> bool {
    let mut open = Open::default();
    open.push(text);
    !open.is_complete()
}

/// Returns the path of the history file; `None` if its directory cannot be created.
fn history_file(state_dir: &Path) -> Option<PathBuf> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(state_dir).ok()?;
    Some(state_dir.join("repl_history"))
}

/// Validator that tells the editor when the input is complete.
struct Lines;

impl Validator for Lines {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_incomplete(context.input()) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Completer for Lines {
    type Candidate = String;
}

impl Hinter for Lines {
    type Hint = String;
}

impl Highlighter for Lines {}

impl Helper for Lines {}

/// Handler that makes Ctrl-D at the end of the input leave the REPL even if an expression is open;
/// the editor itself leaves only on empty input.
struct Leave(Arc<AtomicBool>);

impl ConditionalEventHandler for Leave {
    fn handle(
        &self,
        _: &Event,
        _: RepeatCount,
        _: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        let line = context.line();
        if line.is_empty() || context.pos() < line.len() {
            return None;
        }
        self.0.store(true, Ordering::Relaxed);
        Some(Cmd::Interrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_lists_and_strings_are_incomplete() {
        for text in ["(", "(a", "\"text", "(a \"b)", "(a ; )", "(a) (b"] {
            assert!(is_incomplete(text), "{text}");
        }
        for text in ["", "a", "(a)", ")", "(a))", "\"a\\q\"", ":help (", "; ("] {
            assert!(!is_incomplete(text), "{text}");
        }
    }
}
