//! Parse errors with source positions.

use super::Snippet;
use super::boundary::floor_char_boundary;
use core::fmt;

/// Kind of a parse error.
///
/// ```
/// use astreum_core::text::{ParseErrorKind, parse};
/// let kind = |source| parse(source).unwrap_err().kind;
/// assert_eq!(kind("(a"), ParseErrorKind::ExpectedClose);
/// assert_eq!(kind(")"), ParseErrorKind::UnexpectedClose);
/// assert_eq!(kind("\"a"), ParseErrorKind::UnterminatedString);
/// assert_eq!(kind("\"\\q\""), ParseErrorKind::BadEscape);
/// assert_eq!(kind("; note"), ParseErrorKind::UnexpectedEnd);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ParseErrorKind {
    /// The closing quote of a string is missing; the error is at the opening quote.
    UnterminatedString,
    /// A `\` in a string is not followed by `"`, `\`, `n`, `t`, `r`, or `x` and two hex digits.
    BadEscape,
    /// A `)` without a matching `(`.
    UnexpectedClose,
    /// The source ends inside a list; the error is at the end of the source.
    ExpectedClose,
    /// The source ends before an expression.
    UnexpectedEnd,
    /// Tokens follow the one expression.
    TrailingTokens,
}

impl ParseErrorKind {
    /// Returns the message used in an error value: `(error "eval" message)`.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::UnterminatedString => "parse error: unterminated string",
            Self::BadEscape => "parse error: bad escape",
            Self::UnexpectedClose => "parse error: unexpected ')'",
            Self::ExpectedClose => "parse error: expected ')'",
            Self::UnexpectedEnd => "parse error: unexpected end",
            Self::TrailingTokens => "unexpected tokens after expression",
        }
    }
}

impl fmt::Display for ParseErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

/// Position in a source.
///
/// ```
/// use astreum_core::text::Position;
/// let place = Position::at("(a\n  é b)", 8);
/// assert_eq!((place.line, place.column), (2, 5));
/// assert_eq!(place.to_string(), "line 2, column 5");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    /// Offset from the start of the source, in bytes.
    pub offset: usize,
    /// Line, starting at 1. Lines end with U+000A.
    pub line: usize,
    /// Column, starting at 1, in characters (Unicode scalar values).
    pub column: usize,
}

impl Position {
    /// Returns the position `offset` bytes into `source`; inside a character, the position before
    /// it.
    #[must_use]
    pub fn at(source: &str, offset: usize) -> Self {
        let offset = floor_char_boundary(source, offset);
        let before = source.get(..offset).unwrap_or(source);
        let (mut line, mut column) = (1, 1);
        for byte in before.bytes() {
            match byte {
                b'\n' => (line, column) = (line + 1, 1),
                // Continues a character.
                0x80..=0xbf => {}
                _ => column += 1,
            }
        }
        Self {
            offset,
            line,
            column,
        }
    }

    /// Returns the line of `source` at this position, with a caret under the position.
    ///
    /// ```
    /// use astreum_core::text::Position;
    /// let source = "(one two)";
    /// let snippet = Position::at(source, 5).snippet(source).to_string();
    /// assert_eq!(snippet, "1 | (one two)\n  |      ^");
    /// ```
    #[must_use]
    pub const fn snippet(self, source: &str) -> Snippet<'_> {
        Snippet::new(source, self)
    }
}

/// Formats line and column, as in `line 2, column 5`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Parse error with its position.
///
/// ```
/// use astreum_core::text::{ParseErrorKind, parse};
/// let source = "(a\n  b))";
/// let error = parse(source).unwrap_err();
/// assert_eq!(error.kind, ParseErrorKind::TrailingTokens);
/// assert_eq!((error.at.offset, error.at.line, error.at.column), (7, 2, 5));
/// assert_eq!(error.to_string(), "unexpected tokens after expression at line 2, column 5");
/// assert_eq!(error.snippet(source).to_string(), "2 |   b))\n  |     ^");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Kind of the error.
    pub kind: ParseErrorKind,
    /// Position of the error.
    pub at: Position,
    /// Innermost `(` that is not closed, for [`ParseErrorKind::ExpectedClose`].
    pub open: Option<Position>,
}

impl ParseError {
    pub(super) fn new(kind: ParseErrorKind, source: &str, offset: usize) -> Self {
        Self {
            kind,
            at: Position::at(source, offset),
            open: None,
        }
    }

    /// Returns the offset of the error, in bytes.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.at.offset
    }

    /// Returns the line of the error, starting at 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.at.line
    }

    /// Returns the column of the error in characters, starting at 1.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.at.column
    }

    /// Returns whether more text after the source could fix the error, so that a prompt should ask
    /// for another line.
    ///
    /// ```
    /// use astreum_core::text::parse;
    /// assert!(parse("(1 2").unwrap_err().is_incomplete());
    /// assert!(!parse("1)").unwrap_err().is_incomplete());
    /// ```
    #[must_use]
    pub const fn is_incomplete(&self) -> bool {
        matches!(
            self.kind,
            ParseErrorKind::UnterminatedString
                | ParseErrorKind::ExpectedClose
                | ParseErrorKind::UnexpectedEnd
        )
    }

    /// Returns the line of `source` at the error, with a caret under its position.
    #[must_use]
    pub const fn snippet<'s>(&self, source: &'s str) -> Snippet<'s> {
        self.at.snippet(source)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.kind, self.at)?;
        match self.open {
            Some(open) => write!(f, " (the '(' at {open} is not closed)"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Parser, parse};
    use alloc::string::ToString;

    fn error(source: &str) -> ParseError {
        parse(source).unwrap_err()
    }

    #[test]
    fn each_error_kind_has_its_position() {
        use ParseErrorKind::*;
        for (source, kind, offset, line, column) in [
            ("\"abc", UnterminatedString, 0, 1, 1),
            ("(a\n \"b\\\"c", UnterminatedString, 4, 2, 2),
            ("#;\"abc", UnterminatedString, 2, 1, 3),
            ("#;(a \"abc)", UnterminatedString, 5, 1, 6),
            ("(a \"b\\q\")", BadEscape, 5, 1, 6),
            (";λ\n\"λ\\q\"", BadEscape, 7, 2, 3),
            (")", UnexpectedClose, 0, 1, 1),
            ("#;a )", UnexpectedClose, 4, 1, 5),
            ("(a", ExpectedClose, 2, 1, 3),
            ("(\n(λ)\n", ExpectedClose, 7, 3, 1),
            ("", UnexpectedEnd, 0, 1, 1),
            ("; nothing\n", UnexpectedEnd, 10, 2, 1),
            ("#;(a", UnexpectedEnd, 4, 1, 5),
            ("a b", TrailingTokens, 2, 1, 3),
            ("(a))", TrailingTokens, 3, 1, 4),
            ("a ; x\n\"\"", TrailingTokens, 6, 2, 1),
        ] {
            let error = error(source);
            let found = (error.kind, error.offset(), error.line(), error.column());
            assert_eq!(found, (kind, offset, line, column), "{source:?}");
        }
    }

    #[test]
    fn unclosed_list_error_has_the_position_of_its_start() {
        let error = error("(a)".replace(')', "\n (b").as_str());
        assert_eq!(
            error.open.map(|at| (at.offset, at.line, at.column)),
            Some((4, 2, 2))
        );
        assert_eq!(
            error.to_string(),
            "parse error: expected ')' at line 2, column 4 \
             (the '(' at line 2, column 2 is not closed)"
        );
    }

    #[test]
    fn only_input_that_more_text_can_complete_is_incomplete() {
        for source in ["", "(a", "\"a", "(\"a", "#;(a", "; x"] {
            assert!(error(source).is_incomplete(), "{source}");
        }
        for source in [")", "a b", "(a))", "\"\\q\"", "(\"\\q\""] {
            assert!(!error(source).is_incomplete(), "{source}");
        }
    }

    #[test]
    fn parser_ends_after_an_error() {
        let mut parser = Parser::new("a ) b");
        assert!(parser.next().unwrap().is_ok());
        assert!(parser.next().unwrap().is_err());
        assert!(parser.next().is_none());
    }

    #[test]
    fn offset_inside_a_character_rounds_down() {
        let at = Position::at("λλ", 3);
        assert_eq!((at.offset, at.line, at.column), (2, 1, 2));
        assert_eq!(Position::at("ab", 99).offset, 2);
    }
}
