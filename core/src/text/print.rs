//! Printing of expressions.

use super::boundary::floor_char_boundary;
use super::visible::{is_visible, text, write_escaped, write_hex};
use super::{Escaped, number, token};
use crate::expr::{Bytes, Expr, Symbol, Visit, error_parts, is_minimal, signed};
use alloc::string::String;
use core::fmt::{self, Write};

/// Minimum size of a text that prints as a string although it could be an integer, in bytes.
const TEXT_BYTES_MIN: usize = 5;
/// Maximum size of an integer that prints as a number, in bytes.
const INTEGER_BYTES_MAX: usize = 16;
/// Size of an id, a hash or a key, in bytes.
const ID_BYTES: usize = 32;

/// Prints this expression so that it can be parsed again.
///
/// - Bytes print as a string if they are text: at least five bytes of UTF-8 with visible
///   characters, including spaces, tabs and line ends. Otherwise they print as a signed decimal if
///   they are an integer in shortest form of up to 16 bytes; otherwise as `0x…` if they are 32
///   bytes; otherwise as a string with `\xNN` for all bytes that are not text. [`Styled`] prints
///   all bytes in one style.
/// - An error value of the form `(error topic message)` prints as `error topic: message` if it is
///   the whole expression, and as `(error "topic" "message")` inside a list or with `{:#}`.
/// - A symbol prints as its name.
///
/// Invisible characters are never printed raw (see [`is_visible`]), so an expression from a peer
/// cannot control a terminal.
///
/// [`parse`](super::parse()) reads the output of `{:#}` as the same expression, with two exceptions:
///
/// - 32 bytes that print as `0x…`. This form is meant for `ref`, and parses as a symbol.
/// - Symbols that cannot be written in a source, because they are empty, look like an integer,
///   start with `"`, or contain white space, a parenthesis or `;`; and symbols with an invisible
///   character. They print as a string with an invalid escape, `"\symbol a b"`, so that parsing
///   them is an error and never returns a different expression.
///
/// A list that is shared in memory prints each time it occurs; [`to_text`] has a limit.
///
/// ```
/// use astreum_core::expr::Expr;
/// assert_eq!(Expr::bytes("hello").to_string(), "\"hello\"");
/// assert_eq!(Expr::bytes("abc").to_string(), "6382179");
/// assert_eq!(Expr::bytes([0, 1]).to_string(), "\"\\x00\\x01\"");
/// assert_eq!(Expr::symbol("a\u{1b}[2J").to_string(), "\"\\symbol a\\x1b[2J\"");
/// let error = Expr::error("eval", "arity mismatch");
/// assert_eq!(format!("{error}"), "error eval: arity mismatch");
/// assert_eq!(format!("{error:#}"), "(error \"eval\" \"arity mismatch\")");
/// ```
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Styled::new(self, BytesStyle::Guess).fmt(f)
    }
}

/// Style in which bytes are printed.
///
/// ```
/// use astreum_core::{expr::Expr, text::{BytesStyle, Styled}};
/// let bytes = Expr::bytes("ab");
/// let print = |style| Styled::new(&bytes, style).to_string();
/// assert_eq!(print(BytesStyle::Text), "\"ab\"");
/// assert_eq!(print(BytesStyle::Integer), "24930");
/// assert_eq!(print(BytesStyle::Hex), "0x6162");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum BytesStyle {
    /// As text, integer or hex, whichever is most likely; see `Display` of [`Expr`].
    #[default]
    Guess,
    /// As a string, with escapes for bytes that are not text.
    Text,
    /// As a signed decimal of any width, empty bytes as 0; above 1,786 bytes as `0x…`.
    Integer,
    /// As `0x…`.
    Hex,
}

/// Expression that prints with all bytes in one style, except the texts of error values.
///
/// ```
/// use astreum_core::text::{BytesStyle, Styled, parse};
/// let expr = parse("(a \"hi\" 255)").unwrap();
/// assert_eq!(Styled::new(&expr, BytesStyle::Text).to_string(), r#"(a "hi" "\x00\xff")"#);
/// assert_eq!(Styled::new(&expr, BytesStyle::Integer).to_string(), "(a 26729 255)");
/// assert_eq!(Styled::new(&expr, BytesStyle::Hex).to_string(), "(a 0x6869 0x00ff)");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Styled<'e> {
    expr: &'e Expr,
    style: BytesStyle,
}

impl<'e> Styled<'e> {
    /// Creates a printable form of `expr` with its bytes in `style`.
    #[must_use]
    pub const fn new(expr: &'e Expr, style: BytesStyle) -> Self {
        Self { expr, style }
    }
}

impl fmt::Display for Styled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.expr.as_list().and_then(shown_error);
        match error.filter(|_| !f.alternate()) {
            Some((topic, message)) => write!(f, "error {}: {}", Escaped(topic), Escaped(message)),
            None => write_expr(f, self.expr, self.style),
        }
    }
}

/// Returns topic and message of an error value whose topic is visible text. A message may quote
/// other text, such as a symbol's name; that is escaped.
fn shown_error(items: &[Expr]) -> Option<(&str, &str)> {
    let (topic, message) = error_parts(items)?;
    let topic = text(topic).filter(|topic| !topic.is_empty())?;
    let message = core::str::from_utf8(message).ok()?;
    message.chars().any(is_visible).then_some((topic, message))
}

/// Prints `expr` as `Display` does, or its first `max_bytes` bytes and `…` if the text is longer.
///
/// Stops at the limit, so it is fast for every expression.
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

/// Writer that fails above a limit.
struct Limited {
    text: String,
    max_bytes: usize,
}

impl Write for Limited {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.max_bytes - self.text.len();
        let fits = text.get(..floor_char_boundary(text, room));
        self.text.push_str(fits.unwrap_or_default());
        if text.len() > room {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

fn write_expr(out: &mut impl Write, expr: &Expr, style: BytesStyle) -> fmt::Result {
    let mut first = true;
    // Number of following byte strings that are the texts of an error.
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
            Visit::Bytes(bytes) => write_bytes(out, bytes, style)?,
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
    let is_plain = symbol.chars().all(is_visible);
    if is_plain && token::is_atom(symbol) && !number::is_integer(symbol) {
        return out.write_str(symbol);
    }
    out.write_str("\"\\symbol ")?;
    write_escaped(out, symbol.as_bytes(), true)?;
    out.write_char('"')
}

fn write_bytes(out: &mut impl Write, bytes: &Bytes, style: BytesStyle) -> fmt::Result {
    match style {
        BytesStyle::Guess => write_likely(out, bytes),
        BytesStyle::Text => write_quoted(out, bytes),
        BytesStyle::Hex => write_digits(out, bytes),
        BytesStyle::Integer => match number::decimal(bytes) {
            Some(digits) => out.write_str(&digits),
            None => write_digits(out, bytes),
        },
    }
}

fn write_likely(out: &mut impl Write, bytes: &Bytes) -> fmt::Result {
    if bytes.len() >= TEXT_BYTES_MIN && text(bytes).is_some() {
        return write_quoted(out, bytes);
    }
    if bytes.len() <= INTEGER_BYTES_MAX
        && is_minimal(bytes)
        && let Some(value) = signed(bytes)
    {
        return number::write_integer(out, value);
    }
    if bytes.len() == ID_BYTES {
        return write_digits(out, bytes);
    }
    write_quoted(out, bytes)
}

/// Writes `0x` and two hex digits per byte.
fn write_digits(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    out.write_str("0x")?;
    // In chunks, so that the writer is not called for each digit.
    for chunk in bytes.chunks(ID_BYTES) {
        let mut digits = heapless::String::<{ 2 * ID_BYTES }>::new();
        chunk
            .iter()
            .try_for_each(|&byte| write_hex(&mut digits, byte))?;
        out.write_str(&digits)?;
    }
    Ok(())
}

fn write_quoted(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    out.write_char('"')?;
    write_escaped(out, bytes, true)?;
    out.write_char('"')
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
    fn bytes_print_as_their_most_likely_type() {
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
    fn text_with_invisible_characters_is_escaped() {
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
    fn error_like_lists_print_as_lists() {
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
    fn unparsable_symbols_print_as_unparsable_text() {
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
        for name in ["a\"b", "1__2", "#", "a#", "0x12", "-", "é", "日本"] {
            assert_eq!(Expr::symbol(name).to_string(), name);
            assert_eq!(parse(name), Ok(Expr::symbol(name)));
        }
    }

    #[test]
    fn symbols_with_invisible_characters_are_escaped() {
        for (name, text) in [
            ("a\u{1b}[2Jb", r#""\symbol a\x1b[2Jb""#),
            ("a\u{202e}b", r#""\symbol a\xe2\x80\xaeb""#),
            ("\u{feff}", r#""\symbol \xef\xbb\xbf""#),
            ("a\u{200d}b", r#""\symbol a\xe2\x80\x8db""#),
            ("\u{9b}2J", r#""\symbol \xc2\x9b2J""#),
        ] {
            assert_eq!(Expr::symbol(name).to_string(), text);
            assert_eq!(alloc::format!("{:#}", Expr::symbol(name)), text);
            assert_eq!(parse(text).unwrap_err().kind, ParseErrorKind::BadEscape);
            assert_eq!(parse(name), Ok(Expr::symbol(name)));
        }
    }

    #[test]
    fn escaped_joiners_do_not_stop_bytes_from_being_text() {
        let family = "👨\u{200d}👩 ☀\u{fe0f}";
        let shown = printed(family);
        assert!(shown.starts_with("\"👨\\xe2\\x80\\x8d👩"), "{shown}");
        assert_eq!(parse(&shown), Ok(Expr::bytes(family)));
    }

    #[test]
    fn byte_styles_apply_to_all_bytes() {
        let list = Expr::list([
            Expr::bytes("text"),
            Expr::bytes([]),
            Expr::bytes([0xff; 40]),
            Expr::symbol("text"),
            Expr::error("eval", "m"),
        ]);
        let styled = |style| Styled::new(&list, style).to_string();
        let ff = r"\xff".repeat(40);
        assert_eq!(
            styled(BytesStyle::Text),
            alloc::format!(r#"("text" "" "{ff}" text (error "eval" "m"))"#)
        );
        assert_eq!(
            styled(BytesStyle::Integer),
            r#"(1952807028 0 -1 text (error "eval" "m"))"#
        );
        let ff = "ff".repeat(40);
        assert_eq!(
            styled(BytesStyle::Hex),
            alloc::format!(r#"(0x74657874 0x 0x{ff} text (error "eval" "m"))"#)
        );
        assert_eq!(styled(BytesStyle::Guess), list.to_string());
        let error = Expr::error("eval", "m");
        assert_eq!(
            Styled::new(&error, BytesStyle::Hex).to_string(),
            "error eval: m"
        );
    }

    #[test]
    fn wide_integers_print_as_decimals_up_to_1786_bytes() {
        let integer =
            |bytes: &[u8]| Styled::new(&Expr::bytes(bytes), BytesStyle::Integer).to_string();
        assert_eq!(integer(&[1; 1_786]).len(), 4_299);
        assert!(integer(&[1; 1_787]).starts_with("0x0101"));
        assert_eq!(integer(&[0, 0, 5]), "5");
        assert_eq!(
            integer(&[0x80; 17]),
            "-43385334562092358133808765634594698395520"
        );
    }

    #[test]
    fn printing_stops_at_the_limit() {
        let text = to_text(&doubled(60), 1_000);
        assert_eq!(text.len(), 1_000 + '…'.len_utf8());
        assert_eq!(to_text(&Expr::symbol("λλ"), 3), "λ…");
        assert_eq!(to_text(&Expr::symbol("λλ"), 4), "λλ");
        assert_eq!(to_text(&Expr::symbol("λλ"), 0), "…");
    }

    /// Returns the expression that parsing the printed form of `expr` gives: 32 bytes that are not
    /// text become a symbol. Returns `None` if `expr` contains a symbol that cannot be parsed.
    fn read_back(expr: &Expr) -> Option<Expr> {
        let items = match expr {
            Expr::Symbol(name) if name.is_empty() || name.starts_with('"') => return None,
            Expr::Symbol(name) if !name.chars().all(is_visible) => return None,
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
        fn printed_expressions_round_trip_or_are_rejected(expr in arb_expr()) {
            let text = alloc::format!("{expr:#}");
            let mut parser = Parser::new(&text);
            prop_assert_eq!(parser.next().and_then(Result::ok), read_back(&expr));
            prop_assert!(parser.next().is_none());
        }

        #[test]
        fn parsed_expressions_round_trip(source in "([ -~]|[(][)]|\\PC|\"[ -~]*\"|#;){0,40}") {
            for expr in Parser::new(&source).map_while(Result::ok) {
                let back = parse(&alloc::format!("{expr:#}"));
                prop_assert_eq!(back.ok(), read_back(&expr));
            }
        }

        #[test]
        fn bytes_round_trip_through_print_and_parse(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let expr = Expr::bytes(bytes);
            prop_assert_eq!(parse(&expr.to_string()).ok(), read_back(&expr));
        }

        #[test]
        fn text_round_trips_through_print_and_parse(text in any::<String>()) {
            let expr = Expr::bytes(text);
            prop_assert_eq!(parse(&expr.to_string()).ok(), read_back(&expr));
        }

        #[test]
        fn printed_characters_are_visible(expr in arb_expr(), name in any::<String>()) {
            let expr = Expr::list([expr, Expr::symbol(&name), Expr::error(&name, &name)]);
            prop_assert!(expr.to_string().chars().all(is_visible));
            for style in [BytesStyle::Text, BytesStyle::Integer, BytesStyle::Hex] {
                prop_assert!(Styled::new(&expr, style).to_string().chars().all(is_visible));
            }
        }

        #[test]
        fn print_limit_only_truncates(expr in arb_expr(), max in 0..80_usize) {
            let (whole, cut) = (expr.to_string(), to_text(&expr, max));
            match cut.strip_suffix('…').filter(|_| whole != cut) {
                None => prop_assert!(cut == whole && whole.len() <= max),
                Some(cut) => prop_assert!(whole.starts_with(cut) && cut.len() <= max && whole.len() > max),
            }
        }
    }
}
