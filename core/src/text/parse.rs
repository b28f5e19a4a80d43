//! Parser: tokens to expressions.

use super::{ParseError, ParseErrorKind, Position, Token, TokenKind, Tokens};
use super::{number, string};
use crate::expr::{Builder, Bytes, Expr, Symbol};
use alloc::vec::Vec;
use core::ops::Range;

/// Iterator over the expressions of a source. Ends after the first error.
///
/// ```
/// use astreum_core::text::Parser;
/// let mut parser = Parser::new("(a 1) b");
/// assert_eq!(parser.next().unwrap().unwrap().to_string(), "(a 1)");
/// assert_eq!(parser.span(), 0..5);
/// assert_eq!(parser.next().unwrap().unwrap().to_string(), "b");
/// assert_eq!(parser.span(), 6..7);
/// assert!(parser.next().is_none());
/// ```
#[derive(Debug)]
pub struct Parser<'s> {
    tokens: Tokens<'s>,
    names: Names,
    span: Range<usize>,
    failed: bool,
}

impl<'s> Parser<'s> {
    /// Creates a parser for `source`.
    #[must_use]
    pub fn new(source: &'s str) -> Self {
        Self {
            tokens: Tokens::new(source),
            names: Names::default(),
            span: 0..0,
            failed: false,
        }
    }

    /// Returns the span of the last returned expression in the source, in bytes.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Returns the tokens after the last returned expression.
    ///
    /// ```
    /// use astreum_core::text::Parser;
    /// let mut parser = Parser::new("(a) b c");
    /// assert!(parser.next().is_some());
    /// let rest: Vec<_> = parser.into_tokens().map(|token| token.unwrap().text).collect();
    /// assert_eq!(rest, ["b", "c"]);
    /// ```
    #[must_use]
    pub fn into_tokens(self) -> Tokens<'s> {
        self.tokens
    }

    /// Returns the next expression, or `None` at the end of the source.
    fn advance(&mut self) -> Result<Option<Expr>, ParseError> {
        let source = self.tokens.source();
        let mut builder = Builder::new();
        let mut opens: Vec<usize> = Vec::new();
        let mut start = None;
        for token in self.tokens.by_ref() {
            let token = token?;
            let start = *start.get_or_insert(token.offset);
            let whole = match token.kind {
                TokenKind::Open => {
                    builder.open();
                    opens.push(token.offset);
                    None
                }
                TokenKind::Close if opens.pop().is_none() => {
                    let kind = ParseErrorKind::UnexpectedClose;
                    return Err(ParseError::new(kind, source, token.offset));
                }
                TokenKind::Close => builder.close(),
                TokenKind::String => {
                    let bytes = string_value(&token, source)?;
                    builder.push(Expr::Bytes(bytes))
                }
                TokenKind::Atom => builder.push(match number::integer(token.text) {
                    Some(bytes) => Expr::Bytes(bytes),
                    None => Expr::Symbol(self.names.symbol(token.text)),
                }),
            };
            if whole.is_some() {
                self.span = start..token.end();
                return Ok(whole);
            }
        }
        match opens.last() {
            None => Ok(None),
            Some(&open) => {
                let mut error =
                    ParseError::new(ParseErrorKind::ExpectedClose, source, source.len());
                error.open = Some(Position::at(source, open));
                Err(error)
            }
        }
    }
}

fn string_value(token: &Token<'_>, source: &str) -> Result<Bytes, ParseError> {
    string::unescape(token.text)
        .map_err(|at| ParseError::new(ParseErrorKind::BadEscape, source, token.offset + at))
}

impl Iterator for Parser<'_> {
    type Item = Result<Expr, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let expr = self.advance();
        self.failed = expr.is_err();
        expr.transpose()
    }
}

/// Number of slots in [`Names`]; a power of two.
const NAME_SLOTS: usize = 64;
/// Maximum size of a cached name, in bytes.
const NAME_BYTES: usize = 32;

/// Cache of recent names, so that a name that a program uses repeatedly is in memory once. A slot
/// is overwritten by the next name with the same hash.
#[derive(Debug)]
struct Names([Option<Symbol>; NAME_SLOTS]);

impl Default for Names {
    fn default() -> Self {
        Self([const { None }; NAME_SLOTS])
    }
}

impl Names {
    fn symbol(&mut self, name: &str) -> Symbol {
        let bytes = name.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
            return Symbol::new(name);
        };
        if bytes.len() > NAME_BYTES {
            return Symbol::new(name);
        }
        let hash = usize::from(*first) * 31 + usize::from(*last) * 7 + bytes.len();
        #[expect(
            clippy::indexing_slicing,
            reason = "the remainder is below the number of slots"
        )]
        let slot = &mut self.0[hash % NAME_SLOTS];
        match slot {
            Some(symbol) if symbol.as_str() == name => symbol.clone(),
            _ => slot.insert(Symbol::new(name)).clone(),
        }
    }
}

/// Parses the one expression of `source`.
///
/// ```
/// use astreum_core::expr::Expr;
/// use astreum_core::text::parse;
/// assert_eq!(parse("(1 \"a\\x00\")"), Ok(Expr::list([Expr::integer(1), Expr::bytes(b"a\0")])));
/// ```
///
/// # Errors
/// Returns the first error in the order of the source: the source has no expression, the expression
/// is malformed, or tokens follow it.
pub fn parse(source: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(source);
    let end = || ParseError::new(ParseErrorKind::UnexpectedEnd, source, source.len());
    let expr = parser.next().ok_or_else(end)??;
    match parser.into_tokens().next() {
        None => Ok(expr),
        Some(token) => Err(ParseError::new(
            ParseErrorKind::TrailingTokens,
            source,
            token?.offset,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::tests::on_a_small_stack;
    use alloc::string::String;

    #[test]
    fn tokens_parse_to_their_types() {
        let expr = Expr::list([
            Expr::symbol("a"),
            Expr::bytes([0x00, 0x80]),
            Expr::list([]),
            Expr::list([Expr::bytes("λ\n"), Expr::symbol("1_")]),
            Expr::bytes([]),
        ]);
        assert_eq!(parse("(a 128 () (\"λ\\n\" 1_) \"\")"), Ok(expr));
    }

    #[test]
    fn expressions_are_parsed_one_by_one_with_spans() {
        let source = " a (b)\"c\" ; d\n-1";
        let mut parser = Parser::new(source);
        let mut spans = Vec::new();
        while let Some(expr) = parser.next() {
            let text = &source[parser.span()];
            assert_eq!(parse(text), expr);
            spans.push(text);
        }
        assert_eq!(spans, ["a", "(b)", "\"c\"", "-1"]);
    }

    #[test]
    fn tokens_after_an_expression_are_kept() {
        let mut parser = Parser::new("(a b) c #;d )");
        assert!(parser.next().is_some_and(|expr| expr.is_ok()));
        let rest = parser
            .into_tokens()
            .map(|token| token.map(|token| token.text));
        assert_eq!(
            rest.collect::<Result<Vec<_>, _>>(),
            Ok(Vec::from(["c", ")"]))
        );
    }

    #[test]
    fn names_in_one_cache_slot_stay_distinct() {
        let source: String = (0..2_000_u32)
            .map(|name| alloc::format!("n{name} x n{} ", name % 7))
            .collect();
        for (token, expr) in tokenize(&source).zip(Parser::new(&source)) {
            assert_eq!(expr.unwrap().as_symbol(), Some(token));
        }
    }

    fn tokenize(source: &str) -> impl Iterator<Item = &str> {
        Tokens::new(source).map(|token| token.unwrap().text)
    }

    #[test]
    fn million_open_parentheses_are_an_error_on_a_small_stack() {
        on_a_small_stack(|| {
            let source = "(".repeat(1_000_000);
            let error = parse(&source).unwrap_err();
            assert_eq!(error.kind, ParseErrorKind::ExpectedClose);
            assert_eq!(error.open.map(|at| at.offset), Some(999_999));
        });
    }

    #[test]
    fn million_nested_lists_parse_and_print_on_a_small_stack() {
        on_a_small_stack(|| {
            let source = "(".repeat(1_000_000) + "x" + &")".repeat(1_000_000);
            let expr = parse(&source).unwrap();
            assert!(alloc::format!("{expr}") == source);
        });
    }

    #[test]
    fn token_of_a_hundred_megabytes_is_one_symbol_or_string() {
        let name = "9".repeat(100_000_000);
        assert!(parse(&name).unwrap().as_symbol() == Some(&name));
        let string = String::from("\"") + &name + "\"";
        assert!(parse(&string).unwrap().as_bytes() == Some(name.as_bytes()));
        assert_eq!(
            parse(&string[..string.len() - 1]).unwrap_err().kind,
            ParseErrorKind::UnterminatedString
        );
    }
}
