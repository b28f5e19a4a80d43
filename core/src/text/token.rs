//! Tokenizer.

use super::{ParseError, ParseErrorKind};
use alloc::vec::Vec;

/// Kind of a token.
///
/// ```
/// use astreum_core::text::{TokenKind, tokenize};
/// let tokens = tokenize("(a \"b\")").unwrap();
/// let kinds: Vec<TokenKind> = tokens.iter().map(|token| token.kind).collect();
/// assert_eq!(kinds, [TokenKind::Open, TokenKind::Atom, TokenKind::String, TokenKind::Close]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenKind {
    /// `(`
    Open,
    /// `)`
    Close,
    /// A string including its quotes.
    String,
    /// An integer or a symbol.
    Atom,
}

/// Token of a source.
///
/// ```
/// use astreum_core::text::{TokenKind, Tokens};
/// let token = Tokens::new("  abc ").next().unwrap().unwrap();
/// assert_eq!((token.kind, token.text), (TokenKind::Atom, "abc"));
/// assert_eq!((token.offset, token.end()), (2, 5));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<'s> {
    /// Kind of the token.
    pub kind: TokenKind,
    /// Text of the token, as in the source.
    pub text: &'s str,
    /// Offset of its start in the source, in bytes.
    pub offset: usize,
}

impl Token<'_> {
    /// Returns the offset of its end in the source, in bytes.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.offset + self.text.len()
    }
}

/// Lexical class of a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Part of a token.
    Plain,
    /// White space.
    Space,
    /// First byte of a character that may be white space.
    Lead,
    Open,
    Close,
    Semicolon,
    /// Starts a `#;` if a semicolon follows.
    Hash,
}

const fn classify(byte: u8) -> Class {
    match byte {
        0x09..=0x0d | 0x1c..=0x20 => Class::Space,
        0xc2 | 0xe1..=0xe3 => Class::Lead,
        b'(' => Class::Open,
        b')' => Class::Close,
        b';' => Class::Semicolon,
        b'#' => Class::Hash,
        _ => Class::Plain,
    }
}

/// Class of every byte value.
static CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = u8::MAX;
    while byte > 0 {
        #[expect(
            clippy::indexing_slicing,
            reason = "the table has an entry for every byte"
        )]
        {
            classes[byte as usize] = classify(byte);
        }
        byte -= 1;
    }
    classes
};

fn class(byte: u8) -> Class {
    #[expect(
        clippy::indexing_slicing,
        reason = "the table has an entry for every byte"
    )]
    CLASSES[usize::from(byte)]
}

/// Returns the size in bytes of the white-space character at the start of `bytes`, or 0 if there is
/// none.
fn space_len(bytes: &[u8]) -> usize {
    match bytes {
        [0x09..=0x0d | 0x1c..=0x20, ..] => 1,
        [0xc2, 0x85 | 0xa0, ..] => 2,
        [0xe1, 0x9a, 0x80, ..]
        | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..]
        | [0xe2, 0x81, 0x9f, ..]
        | [0xe3, 0x80, 0x80, ..] => 3,
        _ => 0,
    }
}

/// Returns whether `character` is white space in the language: the characters of Python's
/// `str.isspace`, that is [`char::is_whitespace`] and U+001C to U+001F.
///
/// ```
/// use astreum_core::text::is_space;
/// assert!(is_space(' ') && is_space('\u{a0}') && is_space('\u{1c}'));
/// assert!(!is_space('_') && !is_space('\u{200b}'));
/// ```
#[must_use]
pub fn is_space(character: char) -> bool {
    space_len(character.encode_utf8(&mut [0; 4]).as_bytes()) > 0
}

/// Returns whether `text` as a whole is one token that is neither a parenthesis nor a string.
pub(super) fn is_atom(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('"') && Tokens::new(text).atom_end(0) == text.len()
}

/// Iterator over the tokens of a source. Ends after the first error.
///
/// ```
/// use astreum_core::text::Tokens;
/// let mut tokens = Tokens::new("a #;(skipped) b ; note");
/// assert_eq!(tokens.next().unwrap().unwrap().text, "a");
/// assert_eq!(tokens.next().unwrap().unwrap().text, "b");
/// assert!(tokens.next().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct Tokens<'s> {
    source: &'s str,
    offset: usize,
}

impl<'s> Tokens<'s> {
    /// Creates a tokenizer for `source`.
    #[must_use]
    pub const fn new(source: &'s str) -> Self {
        Self { source, offset: 0 }
    }

    /// Returns the whole source.
    #[must_use]
    pub const fn source(&self) -> &'s str {
        self.source
    }

    /// Returns the offset at which the search for the next token starts, in bytes.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    fn rest(&self, offset: usize) -> &'s [u8] {
        self.source.as_bytes().get(offset..).unwrap_or_default()
    }

    fn byte(&self, offset: usize) -> Option<u8> {
        self.source.as_bytes().get(offset).copied()
    }

    /// Returns the offset after the `#;` if a datum comment starts at `offset`.
    fn datum_comment(&self, offset: usize) -> Option<usize> {
        (self.rest(offset).starts_with(b"#;")).then_some(offset + 2)
    }

    /// Returns the end of the comment at `offset`.
    fn comment_end(&self, offset: usize) -> usize {
        let rest = self.source.get(offset..).unwrap_or_default();
        rest.find('\n')
            .map_or(self.source.len(), |len| offset + len)
    }

    /// Returns the end of the white space and comments that start at `offset`.
    fn blank_end(&self, mut offset: usize) -> usize {
        loop {
            match self.byte(offset).map(class) {
                Some(Class::Space) => offset += 1,
                Some(Class::Semicolon) => offset = self.comment_end(offset),
                Some(Class::Lead) => match space_len(self.rest(offset)) {
                    0 => return offset,
                    len => offset += len,
                },
                _ => return offset,
            }
        }
    }

    /// Returns the end of the integer or symbol that starts at `offset`.
    fn atom_end(&self, offset: usize) -> usize {
        let bytes = self.rest(offset);
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let plain = |&byte: &u8| class(byte) != Class::Plain;
            let Some(len) = rest.iter().position(plain) else {
                return offset + bytes.len();
            };
            at += len;
            let ends = match rest.get(len..).unwrap_or_default() {
                [b'#', next, ..] => *next == b';',
                [b'#'] => false,
                here @ [0x80..=0xff, ..] => space_len(here) > 0,
                _ => true,
            };
            if ends {
                return offset + at;
            }
            at += 1;
        }
    }

    /// Returns the end of the string whose opening quote is at `offset`.
    fn string_end(&self, offset: usize) -> Result<usize, ParseError> {
        let mut at = offset + 1;
        loop {
            let rest = self.rest(at);
            match rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
                None => {
                    let kind = ParseErrorKind::UnterminatedString;
                    return Err(ParseError::new(kind, self.source, offset));
                }
                Some(len) if rest.get(len) == Some(&b'"') => return Ok(at + len + 1),
                // The escaped character may be longer than one byte, but none of its other bytes is
                // a quote or a backslash.
                Some(len) => at += len + 2,
            }
        }
    }

    /// Returns the end of the datum that starts at `offset` or after it.
    fn datum_end(&self, offset: usize) -> Result<usize, ParseError> {
        let offset = self.blank_end(offset);
        match self.byte(offset) {
            None => Ok(offset),
            Some(b'(') => self.list_end(offset),
            Some(b')') => Ok(offset + 1),
            Some(b'"') => self.string_end(offset),
            // Before another datum comment this is `offset` itself: nothing is skipped.
            Some(_) => Ok(self.atom_end(offset)),
        }
    }

    /// Returns the end of the list whose parenthesis is at `offset`, or the end of the source if
    /// the list is not closed.
    ///
    /// A datum comment inside the list differs from its datum alone only before a `)`, which it
    /// skips. Therefore the depth is the only state.
    fn list_end(&self, mut offset: usize) -> Result<usize, ParseError> {
        let mut depth = 0_usize;
        loop {
            offset = self.blank_end(offset);
            offset = match self.byte(offset) {
                None => return Ok(offset),
                Some(b'(') => {
                    depth += 1;
                    offset + 1
                }
                Some(b')') if depth <= 1 => return Ok(offset + 1),
                Some(b')') => {
                    depth -= 1;
                    offset + 1
                }
                Some(b'"') => self.string_end(offset)?,
                Some(_) => match self.datum_comment(offset) {
                    None => self.atom_end(offset),
                    Some(datum) => {
                        let datum = self.blank_end(datum);
                        datum + usize::from(self.byte(datum) == Some(b')'))
                    }
                },
            };
        }
    }

    fn advance(&mut self) -> Result<Option<Token<'s>>, ParseError> {
        loop {
            let start = self.blank_end(self.offset);
            let (kind, end) = match self.byte(start) {
                None => {
                    self.offset = start;
                    return Ok(None);
                }
                Some(b'(') => (TokenKind::Open, start + 1),
                Some(b')') => (TokenKind::Close, start + 1),
                Some(b'"') => (TokenKind::String, self.string_end(start)?),
                Some(_) => match self.datum_comment(start) {
                    None => (TokenKind::Atom, self.atom_end(start)),
                    Some(datum) => {
                        self.offset = self.datum_end(datum)?;
                        continue;
                    }
                },
            };
            self.offset = end;
            let text = self.source.get(start..end).unwrap_or_default();
            return Ok(Some(Token {
                kind,
                text,
                offset: start,
            }));
        }
    }
}

impl<'s> Iterator for Tokens<'s> {
    type Item = Result<Token<'s>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let token = self.advance();
        if token.is_err() {
            self.offset = self.source.len();
        }
        token.transpose()
    }
}

/// Returns all tokens of `source`.
///
/// [`Tokens`] returns them one at a time, without the memory for the list.
///
/// ```
/// use astreum_core::text::tokenize;
/// let tokens = tokenize("(a \"b c\") ; note").unwrap();
/// let texts: Vec<_> = tokens.iter().map(|token| token.text).collect();
/// assert_eq!(texts, ["(", "a", "\"b c\"", ")"]);
/// ```
///
/// # Errors
/// Fails if a string is not terminated.
pub fn tokenize(source: &str) -> Result<Vec<Token<'_>>, ParseError> {
    Tokens::new(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::tests::on_a_small_stack;
    use alloc::string::String;
    use proptest::prelude::*;

    fn texts(source: &str) -> Result<Vec<&str>, ParseErrorKind> {
        tokenize(source)
            .map(|tokens| tokens.iter().map(|token| token.text).collect())
            .map_err(|error| error.kind)
    }

    #[test]
    fn comments_and_white_space_separate_tokens() {
        for (source, tokens) in [
            ("", &[][..]),
            ("(a(b)c)", &["(", "a", "(", "b", ")", "c", ")"]),
            ("a;b\nc", &["a", "c"]),
            (";only", &[]),
            ("a#b #", &["a#b", "#"]),
            (
                "a\u{1c}b\u{a0}c\u{85}d\u{3000}e",
                &["a", "b", "c", "d", "e"],
            ),
            ("a\u{200b}b", &["a\u{200b}b"]),
            ("\u{feff}é→🦀", &["\u{feff}é→🦀"]),
        ] {
            assert_eq!(texts(source).as_deref(), Ok(tokens), "{source:?}");
        }
    }

    #[test]
    fn datum_comment_skips_one_datum() {
        for (source, tokens) in [
            ("#;a b", &["b"][..]),
            ("a#;b c", &["a", "c"]),
            ("#;(a (b) ; )\n c) d", &["d"]),
            ("#; ; note\n a b", &["b"]),
            // Before another datum comment it skips nothing.
            ("#;#;a b", &["b"]),
            ("(#;#;a b)", &["(", "b", ")"]),
            // It skips a closing parenthesis.
            ("#;) x", &["x"]),
            ("(a #;) b)", &["(", "a", "b", ")"]),
            ("#;(a #;)b) c", &["c"]),
            ("#;(a #; ; x\n )b) c", &["c"]),
            ("#;(a #;#;) b) c) d", &["c", ")", "d"]),
            ("#;(a #;(b) c) d", &["d"]),
            // An unclosed datum skips the rest of the source.
            ("a #;(b", &["a"]),
            ("a #;", &["a"]),
            ("##;x y", &["#", "y"]),
        ] {
            assert_eq!(texts(source).as_deref(), Ok(tokens), "{source:?}");
        }
    }

    #[test]
    fn quote_opens_a_string_only_at_the_start_of_a_token() {
        for (source, tokens) in [
            (r#""a b""#, &[r#""a b""#][..]),
            (r#"("a"b)"#, &["(", r#""a""#, "b", ")"]),
            (r#""a""b""#, &[r#""a""#, r#""b""#]),
            (r#"a"b c""#, &[r#"a"b"#, r#"c""#]),
            (r#""\"\\" x"#, &[r#""\"\\""#, "x"]),
            ("\"; (\n#;\" x", &["\"; (\n#;\"", "x"]),
            ("\"\\é\"é", &["\"\\é\"", "é"]),
        ] {
            assert_eq!(texts(source).as_deref(), Ok(tokens), "{source:?}");
        }
        for source in ["\"", "a \"b", r#""\""#, r#"#;"a"#, "#;(a \"b)", "\"\\"] {
            assert_eq!(texts(source), Err(ParseErrorKind::UnterminatedString));
        }
    }

    #[test]
    fn string_is_one_datum_for_a_datum_comment() {
        for (source, tokens) in [
            (r#"#;"a b)" c"#, &["c"][..]),
            (r##"#;("a)" ";" "#;") c"##, &["c"]),
            (r#"#;(a"b) c"#, &["c"]),
            (r#"#;(x #;") " y) c"#, &["c"]),
            (r#"#;"\q" c"#, &["c"]),
            (r#"#;"a"b"#, &["b"]),
        ] {
            assert_eq!(texts(source).as_deref(), Ok(tokens), "{source:?}");
        }
    }

    #[test]
    fn white_space_matches_python() {
        let spaces: Vec<u32> = (0..=0x10_ffff)
            .filter(|&code| char::from_u32(code).is_some_and(is_space))
            .collect();
        let expected: Vec<u32> = (0x09..=0x0d)
            .chain(0x1c..=0x20)
            .chain([0x85, 0xa0, 0x1680])
            .chain(0x2000..=0x200a)
            .chain([0x2028, 0x2029, 0x202f, 0x205f, 0x3000])
            .collect();
        assert_eq!(spaces, expected);
    }

    #[test]
    fn deep_datum_comments_need_no_stack() {
        on_a_small_stack(|| {
            for piece in ["#;(", "(", "#;", "#;(#;)"] {
                let mut source = String::from("#;(") + &piece.repeat(1_000_000);
                assert_eq!(texts(&source), Ok(Vec::new()), "{piece}");
                source.push_str(&")".repeat(1_000_001));
                source.push_str(" x");
                assert_eq!(texts(&source).unwrap().last(), Some(&"x"), "{piece}");
            }
        });
    }

    /// Tokenizes a source without strings the way the reference does: one character at a time, with
    /// recursion into nested datum comments.
    fn plainly(source: &[char]) -> Vec<String> {
        let (mut tokens, mut at) = (Vec::new(), 0);
        let mut open = false;
        while at < source.len() {
            let blank = plain_blank(source, at);
            if blank > at {
                (at, open) = (blank, false);
            } else if source[at..].starts_with(&['#', ';']) {
                (at, open) = (plain_skip(source, at + 2), false);
            } else if matches!(source[at], '(' | ')') {
                tokens.push(source[at].into());
                (at, open) = (at + 1, false);
            } else {
                if !open {
                    tokens.push(String::new());
                }
                tokens.last_mut().unwrap().push(source[at]);
                (at, open) = (at + 1, true);
            }
        }
        tokens
    }

    fn plain_blank(source: &[char], mut at: usize) -> usize {
        while let Some(&character) = source.get(at) {
            if character == ';' {
                while source.get(at).is_some_and(|&character| character != '\n') {
                    at += 1;
                }
            } else if is_space(character) {
                at += 1;
            } else {
                break;
            }
        }
        at
    }

    fn plain_skip(source: &[char], at: usize) -> usize {
        let mut at = plain_blank(source, at);
        if source.get(at) == Some(&')') {
            return at + 1;
        }
        let (list, mut depth) = (source.get(at) == Some(&'('), 0);
        while let Some(&character) = source.get(at) {
            let comment = source[at..].starts_with(&['#', ';']);
            if !list && (comment || is_space(character) || "();".contains(character)) {
                break;
            }
            match character {
                _ if comment => at = plain_skip(source, at + 2),
                ';' => at = plain_blank(source, at),
                '(' => (at, depth) = (at + 1, depth + 1),
                ')' => (at, depth) = (at + 1, depth - 1),
                _ => at += 1,
            }
            if list && depth == 0 {
                break;
            }
        }
        at
    }

    proptest! {
        #[test]
        fn tokenizer_matches_the_naive_model(source in "([(][)]|#;|[();# \n\u{1c}\u{2003}aλ1]){0,60}") {
            let plain = plainly(&source.chars().collect::<Vec<_>>());
            prop_assert_eq!(texts(&source).unwrap(), plain);
        }

        #[test]
        fn token_spans_match_their_text(source in any::<String>()) {
            let mut end = 0;
            for token in tokenize(&source).unwrap_or_default() {
                prop_assert!(token.offset >= end && !token.text.is_empty());
                end = token.end();
                prop_assert_eq!(&source[token.offset..end], token.text);
                prop_assert_eq!(is_atom(token.text), token.kind == TokenKind::Atom);
            }
        }
    }
}
