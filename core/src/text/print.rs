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

/// Topic and message of an error value whose topic can be shown as it is. A message may quote what
/// cannot, such as a symbol's name; that is escaped.
fn shown_error(items: &[Expr]) -> Option<(&str, &str)> {
    let (topic, message) = error_parts(items)?;
    let topic = text(topic).filter(|topic| !topic.is_empty())?;
    let message = core::str::from_utf8(message).ok()?;
    message.chars().any(can_be_seen).then_some((topic, message))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::tests::{arb_expr, doubled};
    use crate::text::{ParseErrorKind, Parser, parse};
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn printed(bytes: impl AsRef<[u8]>) -> String {
        Expr::bytes(bytes).to_string()
    }

    #[test]
    fn bytes_print_as_what_they_most_likely_are() {
        assert_eq!(printed(""), r#""""#);
        assert_eq!(printed([0]), "0");
        assert_eq!(printed([0xff]), "-1");
        assert_eq!(printed([0, 0x80]), "128");
        assert_eq!(printed([0, 1]), r#""\x00\x01""#);
        assert_eq!(printed([0xff, 0xff]), r#""\xff\xff""#);
        assert_eq!(printed("abcd"), "1633837924");
        assert_eq!(printed("abcde"), r#""abcde""#);
        assert_eq!(printed("héé"), r#""héé""#);
        assert_eq!(printed("say \"\\\"\n"), r#""say \"\\\"\n""#);
        assert_eq!(printed(i128::MIN.to_be_bytes()), i128::MIN.to_string());
        assert_eq!(printed(i128::MAX.to_be_bytes()), i128::MAX.to_string());
        assert_eq!(
            printed([1; 17]),
            alloc::format!("\"{}\"", r"\x01".repeat(17))
        );
        assert_eq!(printed([0xab; 32]), String::from("0x") + &"ab".repeat(32));
        assert_eq!(printed([0; 32]), String::from("0x") + &"00".repeat(32));
        assert_eq!(
            printed([b'a'; 32]),
            alloc::format!("\"{}\"", "a".repeat(32))
        );
        let mixed = b"plain text, then \xff\x00, and \xce\xbb";
        assert_eq!(printed(mixed), r#""plain text, then \xff\x00, and λ""#);
    }

    #[test]
    fn text_that_hides_something_is_not_shown_as_it_is() {
        for hidden in [
            "\u{1b}",
            "\u{202e}",
            "\u{200b}",
            "\u{e0041}",
            "\u{85}",
            "\u{fffe}",
        ] {
            let text = alloc::format!("some text that is neither an id nor an integer: {hidden}");
            let shown = printed(&text);
            assert!(shown.contains(r"\x") && !shown.contains(hidden), "{shown}");
            assert_eq!(parse(&shown), Ok(Expr::bytes(&text)));
        }
    }

    #[test]
    fn errors_print_as_text() {
        let error = Expr::error("eval", "unbound symbol 'x'");
        assert_eq!(error.to_string(), "error eval: unbound symbol 'x'");
        let list = Expr::list([Expr::integer(1), error.clone(), Expr::bytes("eval")]);
        assert_eq!(
            list.to_string(),
            r#"(1 (error "eval" "unbound symbol 'x'") 1702257004)"#
        );
        assert_eq!(parse(&list.to_string()), Ok(list));
        assert_eq!(parse(&alloc::format!("{error:#}")), Ok(error));
        let escape = Expr::error("eval", "unbound symbol '\u{1b}[2J'");
        assert_eq!(escape.to_string(), r"error eval: unbound symbol '\x1b[2J'");
        assert_eq!(parse(&alloc::format!("{escape:#}")), Ok(escape));
    }

    #[test]
    fn what_only_looks_like_an_error_prints_as_a_list() {
        for source in [
            "(error)",
            "(error 1 2)",
            "(error a b)",
            "(error 65 66 67)",
            "(err 65 66)",
        ] {
            assert_eq!(
                parse(source).map(|expr| expr.to_string()).as_deref(),
                Ok(source)
            );
        }
    }

    #[test]
    fn symbols_that_no_source_can_name_print_as_what_cannot_be_read() {
        for (name, text) in [
            ("", r#""\symbol ""#),
            ("a b", r#""\symbol a b""#),
            ("a\"b c", r#""\symbol a\"b c""#),
            ("\"a", r#""\symbol \"a""#),
            ("12", r#""\symbol 12""#),
            ("a;b", r#""\symbol a;b""#),
            ("#;", r#""\symbol #;""#),
            ("(", r#""\symbol (""#),
            ("\u{1b} ", r#""\symbol \x1b ""#),
        ] {
            let list = Expr::list([Expr::symbol("f"), Expr::symbol(name)]);
            assert_eq!(list.to_string(), alloc::format!("(f {text})"));
            let error = parse(&list.to_string()).unwrap_err();
            assert_eq!((error.kind, error.offset()), (ParseErrorKind::BadEscape, 4));
        }
        for name in ["a\"b", "1__2", "#", "a#", "0x12", "-", "\u{feff}", "é"] {
            assert_eq!(Expr::symbol(name).to_string(), name);
            assert_eq!(parse(name), Ok(Expr::symbol(name)));
        }
    }

    #[test]
    fn printing_with_a_limit_stops_there() {
        let text = to_text(&doubled(60), 1_000);
        assert_eq!(text.len(), 1_000 + '…'.len_utf8());
        assert_eq!(to_text(&Expr::symbol("λλ"), 3), "λ…");
        assert_eq!(to_text(&Expr::symbol("λλ"), 4), "λλ");
        assert_eq!(to_text(&Expr::symbol("λλ"), 0), "…");
    }

    /// The expression that reading `expr`'s print gives: 32 bytes that are no text are a symbol.
    /// `None` if there is a symbol in it that cannot be read.
    fn read_back(expr: &Expr) -> Option<Expr> {
        let items = match expr {
            Expr::Symbol(name) if name.is_empty() || name.starts_with('"') => return None,
            Expr::Symbol(name) => {
                let parsed: Vec<_> = Parser::new(name).collect();
                let alone = parsed == [Ok(expr.clone())];
                return (alone && !name.contains([';', '(', ' ']) && name.trim() == &**name)
                    .then(|| expr.clone());
            }
            Expr::Bytes(bytes) if bytes.len() == 32 && text(bytes).is_none() => {
                return Some(Expr::symbol(&alloc::format!("{bytes:?}")));
            }
            Expr::Bytes(_) => return Some(expr.clone()),
            Expr::List(items) => items,
        };
        items
            .iter()
            .map(read_back)
            .collect::<Option<Vec<_>>>()
            .map(Expr::list)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn what_is_printed_reads_back_or_is_refused(expr in arb_expr()) {
            let text = alloc::format!("{expr:#}");
            let mut parser = Parser::new(&text);
            prop_assert_eq!(parser.next().and_then(Result::ok), read_back(&expr));
            prop_assert!(parser.next().is_none());
        }

        #[test]
        fn what_was_parsed_reads_back(source in "([ -~]|[(][)]|\\PC|\"[ -~]*\"|#;){0,40}") {
            for expr in Parser::new(&source).map_while(Result::ok) {
                let back = parse(&alloc::format!("{expr:#}"));
                prop_assert_eq!(back.ok(), read_back(&expr));
            }
        }

        #[test]
        fn any_bytes_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let expr = Expr::bytes(bytes);
            prop_assert_eq!(parse(&expr.to_string()).ok(), read_back(&expr));
        }

        #[test]
        fn any_text_reads_back(text in any::<String>()) {
            let expr = Expr::bytes(text);
            prop_assert_eq!(parse(&expr.to_string()).ok(), read_back(&expr));
        }

        #[test]
        fn a_limit_cuts_and_nothing_else(expr in arb_expr(), max in 0..80_usize) {
            let (whole, cut) = (expr.to_string(), to_text(&expr, max));
            match cut.strip_suffix('…').filter(|_| whole != cut) {
                None => prop_assert!(cut == whole && whole.len() <= max),
                Some(cut) => prop_assert!(whole.starts_with(cut) && cut.len() <= max && whole.len() > max),
            }
        }
    }
}
