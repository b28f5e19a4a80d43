//! Tokens of Python source.

use core::fmt;

/// Reason the source cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) what: &'static str,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Kind {
    Name(String),
    Number(String),
    Text(String),
    /// String that is not text: bytes, or one that is formatted.
    OtherText(&'static str),
    Operator(&'static str),
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Line, from 1.
    pub(super) line: usize,
}

/// Operators that are distinguished; all other characters are the operator `?`.
const OPERATORS: [&str; 20] = [
    "**", "//", "<<", "==", "{", "}", "[", "]", "(", ")", ",", ":", "=", "+", "-", "*", ".", ";",
    "@", "|",
];

/// Tokens of a source, without comments and line ends.
pub(super) struct Tokens<'s> {
    rest: &'s str,
    line: usize,
}

impl<'s> Tokens<'s> {
    pub(super) const fn new(source: &'s str) -> Self {
        Self {
            rest: source,
            line: 1,
        }
    }

    fn skip(&mut self, bytes: usize) -> &'s str {
        let (skipped, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += skipped.matches('\n').count();
        self.rest = rest;
        skipped
    }

    fn skip_space(&mut self) {
        loop {
            let trimmed = self
                .rest
                .trim_start_matches(|c: char| c.is_whitespace() || c == '\\');
            self.skip(self.rest.len() - trimmed.len());
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.skip(end);
        }
    }

    fn word(&mut self) -> &'s str {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        self.skip(end)
    }

    fn name(&mut self) -> &'s str {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        self.skip(end)
    }

    /// Reads a string after its prefix.
    fn string(&mut self, prefix: &str) -> Result<Kind, SyntaxError> {
        let error = SyntaxError {
            line: self.line,
            what: "unterminated string",
        };
        let prefix = prefix.to_ascii_lowercase();
        let quotes = ["\"\"\"", "'''", "\"", "'"];
        let Some(quote) = quotes
            .into_iter()
            .find(|quote| self.rest.starts_with(quote))
        else {
            return Err(error);
        };
        self.skip(quote.len());
        let body = self.rest;
        let mut characters = body.char_indices();
        let mut end = None;
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => {
                    characters.next();
                }
                '\n' if quote.len() == 1 => break,
                _ if body.get(at..).is_some_and(|rest| rest.starts_with(quote)) => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let end = end.ok_or(error)?;
        let text = self.skip(end);
        self.skip(quote.len());
        if prefix.contains('b') {
            return Ok(Kind::OtherText("bytes"));
        }
        if prefix.contains('f') || prefix.contains('t') {
            return Ok(Kind::OtherText("a formatted string"));
        }
        if prefix.contains('r') {
            return Ok(Kind::Text(text.to_owned()));
        }
        Ok(unescaped(text).map_or(
            Kind::OtherText("a string with a named character"),
            Kind::Text,
        ))
    }
}

impl Iterator for Tokens<'_> {
    type Item = Result<Token, SyntaxError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_space();
        let line = self.line;
        let first = self.rest.chars().next()?;
        let kind = if first == '"' || first == '\'' {
            self.string("")
        } else if first.is_ascii_digit() {
            Ok(Kind::Number(self.word().to_owned()))
        } else if first.is_alphabetic() || first == '_' {
            let name = self.name();
            let is_prefix = name.len() <= 2 && name.chars().all(|c| "rRbBuUfFtT".contains(c));
            match self.rest.starts_with(['"', '\'']) && is_prefix {
                true => self.string(name),
                false => Ok(Kind::Name(name.to_owned())),
            }
        } else {
            let operator = OPERATORS.iter().find(|it| self.rest.starts_with(**it));
            self.skip(operator.map_or(first.len_utf8(), |it| it.len()));
            Ok(Kind::Operator(operator.unwrap_or(&"?")))
        };
        Some(kind.map(|kind| Token { kind, line }))
    }
}

/// Replaces the escapes of a string; `None` if it has one that needs the names of characters.
fn unescaped(text: &str) -> Option<String> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '\\' {
            result.push(character);
            continue;
        }
        let escape = rest.next();
        let replaced = match escape {
            Some('\n') | None => None,
            Some('\\') => Some('\\'),
            Some('\'') => Some('\''),
            Some('"') => Some('"'),
            Some('a') => Some('\u{7}'),
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('v') => Some('\u{b}'),
            Some('N') => return None,
            Some('x') => Some(number(&mut rest, 2, 16, 0)?),
            Some('u') => Some(number(&mut rest, 4, 16, 0)?),
            Some('U') => Some(number(&mut rest, 8, 16, 0)?),
            Some(digit @ '0'..='7') => {
                let first = digit.to_digit(8).unwrap_or(0);
                Some(number(&mut rest, 2, 8, first)?)
            }
            Some(other) => {
                result.push('\\');
                Some(other)
            }
        };
        result.extend(replaced);
    }
    Some(result)
}

/// Reads up to `count` digits of an escape.
fn number(
    rest: &mut core::iter::Peekable<core::str::Chars<'_>>,
    count: usize,
    radix: u32,
    first: u32,
) -> Option<char> {
    let mut number = first;
    for _ in 0..count {
        let Some(digit) = rest.peek().and_then(|digit| digit.to_digit(radix)) else {
            break;
        };
        number = number.checked_mul(radix)?.checked_add(digit)?;
        rest.next();
    }
    char::from_u32(number)
}
