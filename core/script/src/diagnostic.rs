//! Problems with their places.

use crate::source::{Place, Sources};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// Severity of a problem.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// Certainly wrong: there is no output, or evaluating the code fails.
    Error,
    /// Probably not what was meant.
    Warning,
}

impl Severity {
    /// Returns `error` or `warning`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Further place that belongs to a problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// The place.
    pub place: Place,
    /// Description of the place, such as `in macro 'if', used`.
    pub message: String,
}

/// Problem with its place.
///
/// ```
/// use astreum_script::{Diagnostic, Place, Severity, Sources};
/// let mut sources = Sources::new();
/// let file = sources.add("file", "(1 x)");
/// let place = Place::new(file, 3..4);
/// let problem = Diagnostic::new(Severity::Error, "unbound-name", place, "unbound name 'x'");
/// let text = "file:1:4: error: unbound name 'x'\n1 | (1 x)\n  |    ^";
/// assert_eq!(problem.render(&sources), text);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Severity.
    pub severity: Severity,
    /// Name of the kind of problem, which does not change.
    pub code: &'static str,
    /// Place of the problem.
    pub place: Place,
    /// Message: lower case, without a full stop.
    pub message: String,
    /// Probable cause, or way to correct it.
    pub hint: Option<String>,
    /// Further places, the nearest first.
    pub notes: Vec<Note>,
}

impl Diagnostic {
    /// Creates a problem without hint and notes.
    #[must_use]
    pub fn new(
        severity: Severity,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code,
            place,
            message: message.into(),
            hint: None,
            notes: Vec::new(),
        }
    }

    pub(crate) fn error(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, place, message)
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_note(mut self, place: Place, message: impl Into<String>) -> Self {
        self.notes.push(Note {
            place,
            message: message.into(),
        });
        self
    }

    /// Returns the text of the problem: place, message, line with a caret, hint and notes.
    #[must_use]
    pub fn render(&self, sources: &Sources) -> String {
        let mut text = alloc::format!(
            "{}: {}: {}\n{}",
            sources.locate(self.place),
            self.severity.name(),
            self.message,
            sources.snippet(self.place),
        );
        if let Some(hint) = &self.hint {
            // A `String` accepts all text.
            let _ = write!(text, "\n  hint: {hint}");
        }
        for note in &self.notes {
            let _ = write!(
                text,
                "\n  {} at {}",
                note.message,
                sources.locate(note.place)
            );
        }
        text
    }
}
