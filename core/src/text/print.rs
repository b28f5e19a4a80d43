//! Expressions to text.

use super::{number, token};
use crate::expr::{Bytes, Expr, Symbol, Visit, error_parts, is_minimal, signed};
use alloc::string::String;
use core::fmt::{self, Write};

/// The fewest bytes of text that print as a string although they could be an integer.
const TEXT_BYTES_MIN: usize = 5;
/// The longest integer that prints as a number, in bytes.
const INTEGER_BYTES_MAX: usize = 16;
/// How long an id, a hash or a key is, in bytes.
const ID_BYTES: usize = 32;

/// Prints this expression so that it can be read back.
///
/// - Bytes print as a string when they are text: five bytes or more of UTF-8 whose characters all
///   can be seen, spaces, tabs and line ends among them. Else as a signed decimal when they are an
///   integer in its shortest form, of up to 16 bytes. Else as `0x…` when they are 32. Else as a
///   string with `\xNN` for what is no text.
/// - An error value of the shape `(error topic message)` prints as `error topic: message` when it
///   is the whole expression, and as `(error "topic" "message")` inside a list or with `{:#}`.
/// - A symbol prints as its name.
///
/// What `{:#}` prints [`parse`](super::parse) reads as the same expression, with two exceptions:
///
/// - 32 bytes that print as `0x…`. The form is meant for `ref`, and is read as a symbol.
/// - Symbols that no source can name, because they are empty, look like an integer, start with
///   `"`, or hold white space, a parenthesis or `;`. They print as a string with an escape that
///   there is not, `"\symbol a b"`, so that reading them is an error and never gives something
///   else.
///
/// A list that is shared in memory prints each time it occurs; [`to_text`] has a limit.
///
/// ```
/// use astreum_core::expr::Expr;
/// assert_eq!(Expr::bytes("hello").to_string(), "\"hello\"");
/// assert_eq!(Expr::bytes("abc").to_string(), "6382179");
/// assert_eq!(Expr::bytes([0, 1]).to_string(), "\"\\x00\\x01\"");
/// let error = Expr::error("eval", "arity mismatch");
/// assert_eq!(format!("{error}"), "error eval: arity mismatch");
/// assert_eq!(format!("{error:#}"), "(error \"eval\" \"arity mismatch\")");
/// ```
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.as_list().and_then(shown_error);
        match error.filter(|_| !f.alternate()) {
            Some((topic, message)) => write!(f, "error {}: {}", Escaped(topic), Escaped(message)),
            None => write_expr(f, self),
        }
    }
}

/// Topic and message of an error value whose texts can be shown as they are.
fn shown_error(items: &[Expr]) -> Option<(&str, &str)> {
    let text = |bytes| text(bytes).filter(|text| !text.is_empty());
    let (topic, message) = error_parts(items)?;
    Some((text(topic)?, text(message)?))
}

/// Prints `expr` as `Display` does, or its first `max_bytes` bytes and `…` if that is longer.
///
/// Stops when the limit is reached, so it is quick whatever the expression is.
///
/// ```
/// use astreum_core::{expr::Expr, text::to_text};
/// let list = Expr::list([Expr::symbol("abc"), Expr::symbol("def")]);
/// assert_eq!(to_text(&list, 9), "(abc def)");
/// assert_eq!(to_text(&list, 6), "(abc d…");
/// ```
#[must_use]
pub fn to_text(expr: &Expr, max_bytes: usize) -> String {
    let mut limited = Limited {
        text: String::new(),
        max_bytes,
    };
    if write!(limited, "{expr}").is_err() {
        limited.text.push('…');
    }
    limited.text
}

/// Takes text up to a limit.
struct Limited {
    text: String,
    max_bytes: usize,
}

impl Write for Limited {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.max_bytes - self.text.len();
        let fits = text.get(..text.floor_char_boundary(room));
        self.text.push_str(fits.unwrap_or_default());
        if text.len() > room {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

fn write_expr(out: &mut impl Write, expr: &Expr) -> fmt::Result {
    let mut first = true;
    // How many bytes come that are the texts of an error.
    let mut error_texts = 0_u8;
    for step in expr.visit() {
        if !first && !matches!(step, Visit::Close) {
            out.write_char(' ')?;
        }
        first = false;
        match step {
            Visit::Symbol(symbol) => write_symbol(out, symbol)?,
            Visit::Bytes(bytes) if error_texts > 0 => {
                error_texts -= 1;
                write_quoted(out, bytes)?;
            }
            Visit::Bytes(bytes) => write_bytes(out, bytes)?,
            Visit::Open(items) => {
                out.write_char('(')?;
                first = true;
                if shown_error(items).is_some() {
                    error_texts = 2;
                }
            }
            Visit::Close => out.write_char(')')?,
        }
    }
    Ok(())
}

fn write_symbol(out: &mut impl Write, symbol: &Symbol) -> fmt::Result {
    if token::is_atom(symbol) && !number::is_integer(symbol) {
        return out.write_str(symbol);
    }
    out.write_str("\"\\symbol ")?;
    write_escaped(out, symbol.as_bytes(), true)?;
    out.write_char('"')
}

fn write_bytes(out: &mut impl Write, bytes: &Bytes) -> fmt::Result {
    if bytes.len() >= TEXT_BYTES_MIN && text(bytes).is_some() {
        return write_quoted(out, bytes);
    }
    if bytes.len() <= INTEGER_BYTES_MAX
        && is_minimal(bytes)
        && let Some(value) = signed(bytes)
    {
        return write!(out, "{value}");
    }
    if bytes.len() == ID_BYTES {
        let mut digits = heapless::String::<{ 2 + 2 * ID_BYTES }>::new();
        digits.push_str("0x").map_err(|_| fmt::Error)?;
        bytes
            .iter()
            .try_for_each(|&byte| write_hex(&mut digits, byte))?;
        return out.write_str(&digits);
    }
    write_quoted(out, bytes)
}

fn write_quoted(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    out.write_char('"')?;
    write_escaped(out, bytes, true)?;
    out.write_char('"')
}

/// Writes `bytes` as the inside of a string, with `"` and `\` as they are unless `quotes`.
fn write_escaped(out: &mut impl Write, bytes: &[u8], quotes: bool) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some((at, character)) = rest
            .char_indices()
            .find(|&(_, character)| !can_be_seen(character) || is_quote(character) && quotes)
        {
            let (plain, special) = rest.split_at(at);
            let (special, behind) = special.split_at(character.len_utf8());
            out.write_str(plain)?;
            match character {
                '\n' => out.write_str("\\n")?,
                '\t' => out.write_str("\\t")?,
                '\r' => out.write_str("\\r")?,
                '"' => out.write_str("\\\"")?,
                '\\' => out.write_str("\\\\")?,
                _ => write_raw(out, special.as_bytes())?,
            }
            rest = behind;
        }
        out.write_str(rest)?;
        write_raw(out, chunk.invalid())?;
    }
    Ok(())
}

fn write_raw(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|&byte| {
        out.write_str("\\x")?;
        write_hex(out, byte)
    })
}

fn write_hex(out: &mut impl Write, byte: u8) -> fmt::Result {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    out.write_char(digit(byte >> 4))?;
    out.write_char(digit(byte & 15))
}

const fn is_quote(character: char) -> bool {
    matches!(character, '"' | '\\')
}

/// `bytes` as text: UTF-8 whose characters can be seen, or are tabs or line ends.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(bytes).ok()?;
    let shown = |character| can_be_seen(character) || matches!(character, '\n' | '\t' | '\r');
    text.chars().all(shown).then_some(text)
}

/// Whether `character` shows what it is where it stands: no control character, no format
/// character that hides or reorders text, no line separator, no noncharacter and nothing from the
/// private areas. Joiners count as seen, because scripts and emoji need them.
pub(super) const fn can_be_seen(character: char) -> bool {
    !matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fdd0}'..='\u{fdef}'
            | '\u{feff}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{fffe}'..='\u{ffff}'
            | '\u{e0000}'..='\u{10ffff}'
    ) && (character as u32) & 0xfffe != 0xfffe
}

/// Shows text with escapes for whatever cannot be seen, so that it can neither hide nor move
/// anything on a terminal.
///
/// ```
/// use astreum_core::text::Escaped;
/// assert_eq!(Escaped("red: \u{1b}[31m\n").to_string(), "red: \\x1b[31m\\n");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'s>(pub &'s str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0.as_bytes(), false)
    }
}
