//! Text form of the language: tokenizer, parser and printer.
//!
//! # Tokens
//!
//! - White space separates tokens ([`is_space`]: the characters of Python's `str.isspace`).
//! - `(` and `)` are separate tokens.
//! - `;` starts a comment that runs to the end of the line.
//! - `#;` is a datum comment: it skips the one datum after it. If no datum follows, it behaves as
//!   in the reference: it skips nothing before another `#;` or at the end, and it skips a `)`. An
//!   unclosed `(` in a skipped datum skips the rest of the source, which is not an error.
//! - `"` starts a string wherever a token can start; inside a token it is an ordinary character.
//!   The string runs to the next `"` that is not escaped with `\`, across line ends too, and a new
//!   token may start directly after it. A string is one datum for `#;`: parentheses and comments in
//!   it are text, and an unterminated string is an error even there. Escapes in skipped strings are
//!   not checked.
//! - Any other text up to the next white space, parenthesis, `;` or `#;` is an integer or a symbol.
//!
//! # Expressions
//!
//! - An integer is an optional sign and ASCII digits with optional single underscores between them.
//!   It becomes the shortest signed big-endian two's complement. With more than 4,300 digits it is
//!   a symbol.
//! - A string becomes bytes: its text in UTF-8, with the escapes `\"`, `\\`, `\n`, `\t`, `\r`, and
//!   `\xNN` for one raw byte.
//!
//! # Limits
//!
//! There is no nesting limit, because no function here recurses and no function that takes an
//! expression does. Time and memory are linear in the size of the source: an expression takes less
//! than sixty bytes for each source byte, so a caller that accepts untrusted source must limit its
//! length. The one exception from linear cost, the value of an integer, is bounded by the 4,300
//! digits.
//!
//! # Printing
//!
//! The `Display` implementation of [`Expr`](crate::expr::Expr) documents how expressions print. The
//! output of `{:#}` parses as the same expression, with two documented exceptions.

mod boundary;
mod error;
mod number;
mod parse;
mod pending;
mod print;
mod script;
mod snippet;
mod string;
mod token;
mod visible;

pub use error::{ParseError, ParseErrorKind, Position};
pub use parse::{Parser, parse};
pub use pending::Pending;
pub use print::{BytesStyle, Styled, to_text};
pub use script::Script;
pub use snippet::Snippet;
pub use token::{Token, TokenKind, Tokens, is_space, tokenize};
pub use visible::{Escaped, is_visible};
