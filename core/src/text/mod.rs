//! The language as text: tokenizer, parser, printer.
//!
//! # Tokens
//!
//! - White space separates tokens ([`is_space`]: what Python's `str.isspace` takes).
//! - `(` and `)` are tokens of their own.
//! - `;` starts a comment that runs to the end of the line.
//! - `#;` leaves out the one datum after it. Where no datum follows it leaves out what the
//!   reference leaves out: nothing before another `#;` or at the end, and a `)`. A `(` that is
//!   left out and never closed takes the rest of the source with it, which is no error.
//! - `"` opens a string where a token could start; inside a token it is an ordinary character. The
//!   string runs to the next `"` that no `\` stands before, over line ends too, and a new token may
//!   start right behind it. A string is one datum to `#;`: what looks like a parenthesis or a
//!   comment in it is text, and one that never ends is an error even there. Escapes in what is left
//!   out are not looked at.
//! - Everything else runs to the next white space, parenthesis, `;` or `#;`, and is an integer or
//!   a symbol.
//!
//! # Expressions
//!
//! - An integer is an optional sign and ASCII digits, single underscores between them. It becomes
//!   the shortest signed big-endian two's complement. Over 4,300 digits it is a symbol.
//! - A string becomes bytes: its text in UTF-8, with `\"`, `\\`, `\n`, `\t`, `\r`, and `\xNN` for
//!   one raw byte.
//!
//! # Limits
//!
//! There is no nest limit, because nothing here recurses and nothing that takes an expression
//! does. Time and memory are linear in the source: an expression takes less than sixty bytes for
//! each byte of it, so who takes source from strangers bounds its length. The one thing that is not
//! linear, the value of an integer, is bounded by the 4,300 digits.
//!
//! # Printing
//!
//! `Display` of [`Expr`](crate::expr::Expr) says how expressions print; what it prints with `{:#}`
//! reads back as the same expression, two stated exceptions aside.

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
