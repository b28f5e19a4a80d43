//! `astreum repl`: at a terminal with history and editing, elsewhere line by line.

use core::sync::atomic::{AtomicBool, Ordering};
use std::fs::DirBuilder;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use astreum_core::text::Parser;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Editor, Helper};

use super::args::ReplArgs;
use super::eval::{missing, print};
use super::output::{Failure, Output, complain};
use super::session::Session;
use super::source::{MAX_SOURCE_BYTES, Source};

const HELP: &str = "\
Type an expression; it may go over several lines. Its value is printed.
  (1 2 ((a b (($0 $1 add) sk)) (a b) fn))  calls a function on 1 and 2
  (5 five def)                              binds a name, which lasts
:env          list the names that are bound
:limit N      let the meter charge at most N for each expression; :limit none lifts it
:load FILE    evaluate the expressions of a file
:help         show this
:quit         leave; so does Ctrl-D
Ctrl-C stops an evaluation, or clears the line.";

/// Whether to go on after a line.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    Quit,
}

/// Everything but where lines come from.
struct Repl<'o> {
    session: Session,
    out: &'o mut Output,
    interrupt: Arc<AtomicBool>,
    has_error: bool,
}

pub(super) fn repl(args: &ReplArgs, out: &mut Output) -> Result<(), Failure> {
    let mut session = Session::new(args.node.then_some(&args.at), args.limit)?;
    let interrupt = Arc::new(AtomicBool::new(false));
    session.set_interrupt(Arc::clone(&interrupt));
    let mut repl = Repl {
        session,
        out,
        interrupt: Arc::clone(&interrupt),
        has_error: false,
    };
    if io::stdin().is_terminal() {
        signal_hook::flag::register(signal_hook::consts::SIGINT, interrupt)
            .map_err(Failure::failed)?;
        let state_dir = args.at.inputs().load()?.paths().state_dir;
        return repl.at_terminal(&state_dir);
    }
    repl.at_pipe()?;
    if repl.has_error {
        return Err(Failure::Reported);
    }
    Ok(())
}

impl Repl<'_> {
    fn at_terminal(&mut self, state_dir: &Path) -> Result<(), Failure> {
        let mut editor: Editor<Lines, FileHistory> = Editor::new().map_err(Failure::failed)?;
        editor.set_helper(Some(Lines));
        let history = history_file(state_dir);
        if let Some(history) = &history {
            // There is none the first time.
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
                    if self.take(text, "input")? == Next::Quit {
                        break;
                    }
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => break,
                // What was typed is gone; the rest of the session is not.
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    self.complain("that was not UTF-8 text");
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

    /// A line is evaluated as soon as it completes what it belongs to.
    fn at_pipe(&mut self) -> Result<(), Failure> {
        let mut input = io::stdin().lock();
        let mut pending = Vec::new();
        loop {
            let room = (MAX_SOURCE_BYTES + 1).saturating_sub(pending.len() as u64);
            let read = input
                .by_ref()
                .take(room)
                .read_until(b'\n', &mut pending)
                .map_err(|error| Failure::Failed(format!("stdin: {error}")))?;
            if pending.len() as u64 > MAX_SOURCE_BYTES {
                let limit = format!("stdin: an expression is longer than {MAX_SOURCE_BYTES} bytes");
                return Err(Failure::Failed(limit));
            }
            let is_end = read == 0;
            let is_complete = core::str::from_utf8(&pending).is_ok_and(|text| !is_incomplete(text));
            if !is_end && !is_complete {
                continue;
            }
            let bytes = core::mem::take(&mut pending);
            let text = String::from_utf8(bytes)
                .map_err(|_| Failure::Failed("stdin: not UTF-8 text".to_owned()))?;
            let next = self.take(text, "stdin")?;
            self.out.flush()?;
            if is_end || next == Next::Quit {
                return Ok(());
            }
        }
    }

    fn take(&mut self, text: String, name: &str) -> Result<Next, Failure> {
        let trimmed = text.trim();
        let Some(command) = trimmed.strip_prefix(':') else {
            let name = name.to_owned();
            self.evaluate(&Source { name, text })?;
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
                for (name, value) in self.session.env().iter() {
                    writeln!(self.out, "{name} = {value:#}")?;
                }
            }
            ("limit", "none") => self.session.set_limit(None),
            ("limit", number) => match number.parse() {
                Ok(limit) => self.session.set_limit(Some(limit)),
                Err(_) => self.complain(":limit takes a whole number, or none"),
            },
            ("load", "") => self.complain(":load takes the name of a file"),
            ("load", file) => match Source::from_file(Path::new(file)) {
                Ok(source) => self.evaluate(&source)?,
                Err(Failure::Failed(message)) => self.complain(&message),
                Err(failure) => return Err(failure),
            },
            _ => self.complain(&format!("there is no :{command}; :help lists the commands")),
        }
        Ok(Next::Continue)
    }

    fn complain(&mut self, message: &str) {
        self.has_error = true;
        // What was printed before comes first.
        let _ = self.out.flush();
        complain(message);
    }

    fn evaluate(&mut self, source: &Source) -> Result<(), Failure> {
        let exprs = match source.parse() {
            Ok(exprs) => exprs,
            Err(error) => {
                self.complain(&source.explain(&error));
                return Ok(());
            }
        };
        for expr in &exprs {
            let evaluation = self.session.eval(expr);
            self.has_error |= evaluation.value().is_error();
            print(&evaluation, false, self.out)?;
            self.out.flush()?;
            if let Some(problem) = self.session.take_problem() {
                self.complain(&problem);
            } else if let Some(id) = evaluation.missing() {
                self.complain(&missing(id, self.session.has_node()));
            }
            // Ctrl-C ends the rest of a file as well.
            if self.interrupt.swap(false, Ordering::Relaxed) {
                break;
            }
        }
        Ok(())
    }
}

/// Whether more lines can make it right: an open list or string.
fn is_incomplete(text: &str) -> bool {
    let is_command = text.trim_start().starts_with(':');
    !is_command && Parser::new(text).any(|expr| expr.is_err_and(|error| error.is_incomplete()))
}

/// The file of past lines; `None` where there is no place for it.
fn history_file(state_dir: &Path) -> Option<PathBuf> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(state_dir).ok()?;
    Some(state_dir.join("repl_history"))
}

/// Tells the editor when the input is whole.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_asks_for_more_and_the_rest_does_not() {
        for text in ["(", "(a", "\"text", "(a \"b)", "(a ; )", "(a) (b"] {
            assert!(is_incomplete(text), "{text}");
        }
        for text in ["", "a", "(a)", ")", "(a))", "\"a\\q\"", ":help (", "; ("] {
            assert!(!is_incomplete(text), "{text}");
        }
    }
}
