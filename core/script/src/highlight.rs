//! Classes of the parts of a source, for editors.

use alloc::vec::Vec;
use astreum_core::machine::Opcode;
use astreum_core::text::{TokenKind, Tokens, is_space, parse};
use core::ops::Range;

/// Class of a part of a source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Comment to the end of the line.
    Comment,
    /// `#;` and what follows up to the next token: the skipped datum.
    Skipped,
    /// String, also an unterminated one.
    String,
    /// Integer.
    Number,
    /// Opcode of the stack machine.
    Opcode,
    /// `def`, `fn`, `ref`, `sk` or `error`.
    Keyword,
    /// Argument of a stack program, such as `$0`.
    Placeholder,
    /// Name of a macro, constant or directive of the assembler.
    Macro,
    /// Label of the assembler, where it is defined or used.
    Label,
    /// Parenthesis.
    Parenthesis,
    /// Any other name.
    Name,
}

/// Returns the parts of a source in their order; white space is in none of them.
///
/// ```
/// use astreum_script::highlight::{Class, highlight};
/// let parts = highlight("(1 add) ; sum");
/// let classes: Vec<Class> = parts.iter().map(|(_, class)| *class).collect();
/// use Class::*;
/// assert_eq!(classes, [Parenthesis, Number, Opcode, Parenthesis, Comment]);
/// assert_eq!(parts[4].0, 8..13);
/// ```
#[must_use]
pub fn highlight(source: &str) -> Vec<(Range<usize>, Class)> {
    let mut parts = Vec::new();
    let mut end = 0;
    for token in Tokens::new(source) {
        let token = match token {
            Ok(token) => token,
            Err(error) => {
                gap(source, end..error.offset(), &mut parts);
                parts.push((error.offset()..source.len(), Class::String));
                return parts;
            }
        };
        gap(source, end..token.offset, &mut parts);
        end = token.end();
        let class = match token.kind {
            TokenKind::Open | TokenKind::Close => Class::Parenthesis,
            TokenKind::String => Class::String,
            TokenKind::Atom => class_of(token.text),
        };
        parts.push((token.offset..end, class));
    }
    gap(source, end..source.len(), &mut parts);
    parts
}

fn class_of(token: &str) -> Class {
    if Opcode::from_token(token.as_bytes()).is_some() {
        return Class::Opcode;
    }
    let has_name = token.len() > 1;
    match token.as_bytes() {
        b"def" | b"fn" | b"ref" | b"sk" | b"error" => Class::Keyword,
        [b'$', digits @ ..] if has_name && digits.iter().all(u8::is_ascii_digit) => {
            Class::Placeholder
        }
        [b'%', ..] if has_name => Class::Macro,
        [b'@', ..] | [.., b':'] if has_name => Class::Label,
        _ if parse(token).is_ok_and(|expr| expr.as_bytes().is_some()) => Class::Number,
        _ => Class::Name,
    }
}

/// Adds the comments between two tokens.
fn gap(source: &str, span: Range<usize>, parts: &mut Vec<(Range<usize>, Class)>) {
    let mut start = span.start;
    loop {
        let text = source.get(start..span.end).unwrap_or_default();
        let rest = text.trim_start_matches(is_space);
        start = span.end - rest.len();
        let (len, class) = match rest.as_bytes() {
            [] => return,
            [b';', ..] => (rest.find('\n').unwrap_or(rest.len()), Class::Comment),
            _ => (rest.trim_end_matches(is_space).len(), Class::Skipped),
        };
        parts.push((start..start + len, class));
        start += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn classes(source: &str) -> Vec<(&str, Class)> {
        let parts = highlight(source).into_iter();
        parts.map(|(span, class)| (&source[span], class)).collect()
    }

    #[test]
    fn every_kind_of_token_has_its_class() {
        use Class::*;
        let source = "def x $0 $x -5 \"a b\" ; c\n #;(d) %m @l l: heap_get \"open";
        assert_eq!(
            classes(source),
            [
                ("def", Keyword),
                ("x", Name),
                ("$0", Placeholder),
                ("$x", Name),
                ("-5", Number),
                ("\"a b\"", String),
                ("; c", Comment),
                ("#;(d)", Skipped),
                ("%m", Macro),
                ("@l", Label),
                ("l:", Label),
                ("heap_get", Opcode),
                ("\"open", String),
            ]
        );
    }

    proptest! {
        #[test]
        fn parts_cover_all_but_white_space(source in "([(][)]|#;|[();# \nab\"\\\\1$%@:\u{2003}]|add){0,40}") {
            let mut end = 0;
            for (span, _) in highlight(&source) {
                prop_assert!(span.start >= end && span.start < span.end);
                prop_assert!(source[end..span.start].chars().all(is_space));
                end = span.end;
            }
            prop_assert!(source[end..].chars().all(is_space));
        }
    }
}
