//! Views of a suspended evaluation, for traces and debuggers.
//!
//! A view is text of bounded size, however large the state is.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use astreum_core::expr::{Bytes, Expr};
use astreum_core::machine::{Inspection, NextToken, StackInspection, Suspended};
use astreum_core::text::{BytesStyle, Escaped, Styled, to_text};

/// Maximum number of entries of each kind in a view.
pub const MAX_ENTRIES: usize = 32;
/// Maximum size of the text of a value, in bytes.
const MAX_TEXT_BYTES: usize = 72;
/// Maximum size of a value that is printed as a name, in bytes.
const MAX_NAME_BYTES: usize = 40;
/// Maximum length of the values in one line, in characters.
const MAX_LINE: usize = 100;

/// State of an evaluation before its next operation.
///
/// ```
/// use astreum_core::{atom::NoStore, machine::{Env, Machine, Progress}, text};
/// use astreum_script::trace::View;
///
/// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
/// let expr = text::parse("(1 2 ((a $0 heap_set a heap_get $1 add) sk))")?;
/// let mut progress = machine.start_stepping(&expr, &mut env);
/// let mut lines = Vec::new();
/// while let Progress::Suspended(suspended) = progress {
///     lines.push(View::new(&suspended).to_string());
///     progress = machine.step(suspended, &mut env);
/// }
/// assert_eq!(lines[lines.len() - 2], "[6] add  stack: 1 2  heap: a=1");
/// assert_eq!(lines[lines.len() - 1], "return  stack: 3");
/// # Ok::<(), text::ParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Next operation of the evaluator, or next token of the stack program.
    pub operation: String,
    /// Charge so far.
    pub used: u64,
    /// Steps so far.
    pub steps: u64,
    /// Names of the open calls, innermost first; empty for the expression itself, and for a function
    /// without a name.
    pub calls: Vec<String>,
    /// Index of the next token, if a stack program runs.
    pub token: Option<usize>,
    /// Values of the stack program if one runs, else of the evaluator; the topmost last.
    pub stack: Vec<String>,
    /// Number of values on that stack; `stack` has the topmost [`MAX_ENTRIES`].
    pub depth: usize,
    /// Keys and values on the heap of the stack program, sorted by key.
    pub heap: Vec<(String, String)>,
    /// Bindings that the expression made, sorted by name.
    pub bindings: Vec<(String, String)>,
}

impl View {
    /// Creates a view of a suspended evaluation.
    #[must_use]
    pub fn new(suspended: &Suspended) -> Self {
        let inspection = suspended.inspect();
        let frames = inspection.frames();
        let calls = frames.iter().map(|frame| frame.name().unwrap_or_default());
        let bindings = inspection.bindings().take(MAX_ENTRIES);
        let mut view = Self {
            operation: String::new(),
            used: suspended.meter().used(),
            steps: suspended.steps(),
            calls: calls.map(|name| Escaped(name).to_string()).collect(),
            token: None,
            stack: Vec::new(),
            depth: 0,
            heap: Vec::new(),
            bindings: bindings
                .map(|(name, value)| (Escaped(name).to_string(), printed(value)))
                .collect(),
        };
        match inspection.stack() {
            Some(stack) => view.stack_program(&stack),
            None => view.evaluator(&inspection),
        }
        view
    }

    fn stack_program(&mut self, stack: &StackInspection<'_>) {
        let position = stack.position();
        let next = match stack.next_token() {
            NextToken::Opcode(opcode) => opcode.to_string(),
            NextToken::Value(value) => format!("push {}", word(value)),
            NextToken::End => "end".into(),
        };
        self.operation = format!("[{}] {next}", position.token);
        self.token = Some(position.token);
        self.depth = position.depth;
        let values = stack.values();
        let skipped = values.len().saturating_sub(MAX_ENTRIES);
        self.stack = values.skip(skipped).map(word).collect();
        let heap = stack.heap().take(MAX_ENTRIES);
        self.heap = heap.map(|(key, value)| (word(key), word(value))).collect();
        self.heap.sort();
    }

    fn evaluator(&mut self, inspection: &Inspection<'_>) {
        let operation = inspection.operation();
        self.operation = operation.map_or_else(|| "end".into(), |it| it.to_string());
        let values = inspection.values();
        self.depth = values.len();
        let skipped = values.len().saturating_sub(MAX_ENTRIES);
        self.stack = values.iter().skip(skipped).map(printed).collect();
    }

    /// Returns the values on the stack in one line, the topmost last, cut at the start.
    #[must_use]
    pub fn stack_line(&self) -> String {
        let mut line = String::new();
        let mut shown = 0;
        for value in self.stack.iter().rev() {
            if !line.is_empty() && line.chars().count() + value.chars().count() >= MAX_LINE {
                break;
            }
            let space = if line.is_empty() { "" } else { " " };
            line = format!("{value}{space}{line}");
            shown += 1;
        }
        match self.depth - shown {
            0 => line,
            hidden => format!("({hidden} more) {line}"),
        }
    }

    /// Returns the keys and values of the heap in one line, cut at the end.
    #[must_use]
    pub fn heap_line(&self) -> String {
        let mut line = String::new();
        for (key, value) in &self.heap {
            let space = if line.is_empty() { "" } else { " " };
            let entry = format!("{space}{key}={value}");
            if !line.is_empty() && line.chars().count() + entry.chars().count() > MAX_LINE {
                line.push_str(" …");
                break;
            }
            line.push_str(&entry);
        }
        line
    }
}

/// Formats operation, stack and heap, as in `[6] add  stack: 1 2  heap: a=1`.
impl core::fmt::Display for View {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.operation)?;
        if self.depth > 0 {
            write!(f, "  stack: {}", self.stack_line())?;
        }
        if !self.heap.is_empty() {
            write!(f, "  heap: {}", self.heap_line())?;
        }
        Ok(())
    }
}

fn printed(value: &Expr) -> String {
    to_text(value, MAX_TEXT_BYTES)
}

/// Prints a value of the stack machine: as a name if it is one that a person would write, else as an
/// integer or a string.
fn word(bytes: Bytes) -> String {
    let is_name = (1..=MAX_NAME_BYTES).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    if is_name && let Ok(name) = core::str::from_utf8(&bytes) {
        return name.into();
    }
    let expr = Expr::Bytes(bytes);
    match expr.as_bytes() {
        Some([]) => Styled::new(&expr, BytesStyle::Text).to_string(),
        _ => printed(&expr),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::NoStore;
    use astreum_core::machine::{Env, Machine, Progress};
    use astreum_core::text::parse;

    fn views(source: &str) -> Vec<View> {
        let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
        let expr = parse(source).unwrap();
        let mut progress = machine.start_stepping(&expr, &mut env);
        let mut views = Vec::new();
        while let Progress::Suspended(suspended) = progress {
            views.push(View::new(&suspended));
            progress = machine.step(suspended, &mut env);
        }
        views
    }

    #[test]
    fn evaluator_and_stack_program_are_shown() {
        let views = views("(7 ((($0 $x) (x) fn)) 5)");
        assert_eq!(views[0].operation, "push a constant");
        assert_eq!(views.iter().map(|view| view.depth).max(), Some(3));
        let shown = self::views("(300 (($0 \"\" add) sk))");
        let lines: Vec<String> = shown.iter().map(View::to_string).collect();
        assert!(lines.contains(&"[0] push 300".into()), "{lines:?}");
        assert!(
            lines.contains(&"[1] push \"\"  stack: 300".into()),
            "{lines:?}"
        );
        assert_eq!(shown.iter().filter_map(|view| view.token).max(), Some(2));
    }

    #[test]
    fn views_of_large_states_are_bounded() {
        let pushes = "123456789012345678901234567890 ".repeat(300);
        let views = views(&format!("(1 (({pushes}) sk))"));
        let last = views.iter().rfind(|view| view.token.is_some()).unwrap();
        assert_eq!((last.stack.len(), last.depth), (MAX_ENTRIES, 299));
        let line = last.stack_line();
        assert!(
            line.starts_with("(29") && line.chars().count() < 2 * MAX_LINE,
            "{line}"
        );
    }
}
