//! Line editor of the REPL: completeness of the input, completion and highlighting.

use core::sync::atomic::{AtomicBool, Ordering};
use std::borrow::Cow;
use std::sync::Arc;

use astreum_core::machine::Opcode;
use astreum_core::text::{Pending, is_space, is_visible};
use astreum_script::highlight::{Class, highlight};
use clap::ValueEnum as _;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Cmd, ConditionalEventHandler, Context, Event, EventContext, Helper, RepeatCount};

use super::language_args::As;
use super::repl_commands;

const KEYWORDS: [&str; 5] = ["def", "error", "fn", "ref", "sk"];
/// Maximum number of names that are offered.
const MAX_CANDIDATES: usize = 200;

/// Helper of the editor.
pub(super) struct Lines {
    /// Names that are bound.
    names: Vec<String>,
    has_colors: bool,
    files: FilenameCompleter,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self {
            names: Vec::new(),
            // https://no-color.org
            has_colors: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            files: FilenameCompleter::new(),
        }
    }

    /// Sets the names that are bound.
    pub(super) fn set_names(&mut self, names: Vec<String>) {
        self.names = names;
    }

    /// Returns the start of the word before `at`, and the words that complete it.
    fn words(&self, line: &str, at: usize) -> (usize, Vec<String>) {
        let before = line.get(..at).unwrap_or_default();
        if let Some(command) = before.trim_start().strip_prefix(':') {
            let start = at - command.len();
            if !command.contains(' ') {
                let names = repl_commands::names(command).into_iter();
                return (start, names.map(str::to_owned).collect());
            }
        }
        let is_end = |character: char| is_space(character) || "()\";".contains(character);
        let start = before.rfind(is_end).map_or(0, |end| {
            end + before
                .get(end..)
                .and_then(|it| it.chars().next())
                .map_or(1, char::len_utf8)
        });
        let word = before.get(start..).unwrap_or_default();
        let class = highlight(before)
            .last()
            .map(|(span, class)| (span.end, *class));
        let in_text = class.is_some_and(|(end, class)| {
            let is_text = matches!(class, Class::Comment | Class::Skipped | Class::String);
            is_text && (end == before.len() || class == Class::Comment && !before.ends_with('\n'))
        });
        if in_text {
            return (at, Vec::new());
        }
        if before.trim_start().starts_with(":as ") {
            let forms = As::value_variants().iter();
            let forms =
                forms.filter_map(|form| Some(form.to_possible_value()?.get_name().to_owned()));
            return (start, forms.filter(|form| form.starts_with(word)).collect());
        }
        let fixed = Opcode::ALL.into_iter().map(Opcode::name).chain(KEYWORDS);
        let names = self.names.iter().cloned();
        let names = names.chain(fixed.map(str::to_owned));
        // An empty word would offer all names.
        let names = names.filter(|name| !word.is_empty() && name.starts_with(word));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names.dedup();
        names.truncate(MAX_CANDIDATES);
        (start, names)
    }
}

impl Completer for Lines {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let is_file = [":load ", ":save "]
            .iter()
            .any(|it| line.trim_start().starts_with(it));
        if is_file {
            return self.files.complete_path(line, at);
        }
        let (start, words) = self.words(line, at);
        // A name that hides or moves text is not offered: it would be typed raw.
        let words = words
            .into_iter()
            .filter(|word| word.chars().all(is_visible));
        let pairs = words.map(|word| Pair {
            display: word.clone(),
            replacement: word,
        });
        Ok((start, pairs.collect()))
    }
}

/// Returns the codes that select the color of a class.
const fn color(class: Class) -> Option<&'static str> {
    Some(match class {
        Class::Comment | Class::Skipped => "\x1b[90m",
        Class::String => "\x1b[32m",
        Class::Number => "\x1b[36m",
        Class::Opcode => "\x1b[34m",
        Class::Keyword => "\x1b[35m",
        Class::Placeholder | Class::Macro | Class::Label => "\x1b[33m",
        Class::Parenthesis | Class::Name => return None,
    })
}

impl Highlighter for Lines {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if !self.has_colors || line.trim_start().starts_with(':') {
            return Cow::Borrowed(line);
        }
        let mut colored = String::with_capacity(2 * line.len());
        let mut end = 0;
        for (span, class) in highlight(line) {
            colored.push_str(line.get(end..span.start).unwrap_or_default());
            end = span.end;
            let text = line.get(span).unwrap_or_default();
            match color(class) {
                Some(color) => {
                    // A color ends with its line: the editor writes each line on its own.
                    for (at, part) in text.split('\n').enumerate() {
                        let newline = if at > 0 { "\n" } else { "" };
                        colored.push_str(&format!("{newline}{color}{part}\x1b[0m"));
                    }
                }
                None => colored.push_str(text),
            }
        }
        colored.push_str(line.get(end..).unwrap_or_default());
        Cow::Owned(colored)
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        self.has_colors && kind != CmdKind::MoveCursor
    }
}

impl Validator for Lines {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_incomplete(context.input()) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Hinter for Lines {
    type Hint = String;
}

impl Helper for Lines {}

/// Lines that are not yet evaluated.
#[derive(Default)]
pub(super) struct Open {
    pub(super) text: String,
    pub(super) lines: usize,
    pub(super) lines_before: usize,
    pending: Pending,
    is_command: bool,
}

impl Open {
    pub(super) fn push(&mut self, line: &str) {
        if self.lines == 0 {
            self.is_command = line.trim_start().starts_with(':');
        }
        self.lines += 1;
        self.pending.push(line);
        self.text.push_str(line);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_command || self.pending.is_complete()
    }
}

/// Returns whether the text is incomplete: it has an open list, string or datum comment.
fn is_incomplete(text: &str) -> bool {
    let mut open = Open::default();
    open.push(text);
    !open.is_complete()
}

/// Handler that makes Ctrl-D at the end of the input leave the REPL even if an expression is open;
/// the editor itself leaves only on empty input.
pub(super) struct Leave(pub(super) Arc<AtomicBool>);

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

    #[test]
    fn names_commands_and_forms_are_completed() {
        let mut lines = Lines::new();
        lines.set_names(vec![
            "int.add".to_owned(),
            "int.sub".to_owned(),
            "other".to_owned(),
        ]);
        let words = |line: &str| lines.words(line, line.len());
        assert_eq!(words("(1 2 int.").1, ["int.add", "int.sub"]);
        assert_eq!(words("(1 2 int.").0, 5);
        assert_eq!(words("(($0 heap_").1, ["heap_get", "heap_set"]);
        assert_eq!(words(":st").1, ["std", "step", "stop"]);
        assert_eq!(words(":as i").1, ["int"]);
        assert_eq!(words(":time (int.a").1, ["int.add"]);
        for nothing in ["(", "", "\"int.", "; int.", "#;(int."] {
            assert_eq!(words(nothing).1, Vec::<String>::new(), "{nothing}");
        }
        assert_eq!(lines.words("é int. x", 7).1, ["int.add", "int.sub"]);
    }

    #[test]
    fn colors_do_not_change_the_text() {
        let mut lines = Lines::new();
        lines.has_colors = true;
        let line = "(1 \"a\nb\" é add) ; c";
        let colored = lines.highlight(line, 0).into_owned();
        let mut plain = String::new();
        let mut rest = colored.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        assert_eq!(plain + rest, line);
        assert!(colored.contains("\x1b[34madd\x1b[0m"), "{colored:?}");
        lines.has_colors = false;
        assert_eq!(lines.highlight(line, 0), line);
    }
}
