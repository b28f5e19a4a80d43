//! Parsing of tokens to expressions, as the language documents it.

use astreum_core::expr::Expr;
use astreum_core::text::{ParseErrorKind, Parser, parse};

fn list<const N: usize>(items: [Expr; N]) -> Expr {
    Expr::list(items)
}

fn bytes(value: &[u8]) -> Expr {
    Expr::bytes(value)
}

#[test]
fn lists_nest_and_names_are_symbols() {
    assert_eq!(parse("a"), Ok(Expr::symbol("a")));
    assert_eq!(parse("()"), Ok(list([])));
    assert_eq!(
        parse("(a (b ()) c)"),
        Ok(list([
            Expr::symbol("a"),
            list([Expr::symbol("b"), list([])]),
            Expr::symbol("c"),
        ]))
    );
}

#[test]
fn integers_become_their_shortest_two_s_complement() {
    for (text, value) in [
        ("0", &[0x00][..]),
        ("1", &[0x01]),
        ("127", &[0x7f]),
        ("128", &[0x00, 0x80]),
        ("255", &[0x00, 0xff]),
        ("256", &[0x01, 0x00]),
        ("-1", &[0xff]),
        ("-128", &[0x80]),
        ("-129", &[0xff, 0x7f]),
        ("+5", &[0x05]),
        ("007", &[0x07]),
        ("1_000", &[0x03, 0xe8]),
        ("-0", &[0x00]),
        ("18446744073709551616", &[1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        assert_eq!(parse(text), Ok(bytes(value)), "{text}");
    }
}

#[test]
fn malformed_integers_are_symbols() {
    for text in [
        "1_", "_1", "1__0", "+", "-", "+-1", "1.0", "0x10", "1e3", "٣",
    ] {
        assert_eq!(parse(text), Ok(Expr::symbol(text)), "{text}");
    }
    let longest = "9".repeat(4_300);
    assert!(parse(&longest).unwrap().as_bytes().is_some());
    let longer = "9".repeat(4_301);
    assert_eq!(parse(&longer), Ok(Expr::symbol(&longer)));
}

#[test]
fn strings_become_bytes() {
    assert_eq!(parse(r#""""#), Ok(bytes(b"")));
    assert_eq!(parse(r#""héllo""#), Ok(bytes("héllo".as_bytes())));
    assert_eq!(
        parse(r#""\"\\\n\t\r\x00\xFf""#),
        Ok(bytes(b"\"\\\n\t\r\x00\xff"))
    );
}

#[test]
fn every_parse_error_has_a_message_and_a_position() {
    for (source, kind, offset, line, column) in [
        ("(a", ParseErrorKind::ExpectedClose, 2, 1, 3),
        (")", ParseErrorKind::UnexpectedClose, 0, 1, 1),
        ("", ParseErrorKind::UnexpectedEnd, 0, 1, 1),
        ("a\nb", ParseErrorKind::TrailingTokens, 2, 2, 1),
        ("\"a", ParseErrorKind::UnterminatedString, 0, 1, 1),
        ("(é \"\\q\")", ParseErrorKind::BadEscape, 5, 1, 5),
    ] {
        let error = parse(source).expect_err(source);
        assert_eq!(error.kind, kind, "{source:?}");
        assert_eq!(
            (error.offset(), error.line(), error.column()),
            (offset, line, column),
            "{source:?}"
        );
        let snippet = error.snippet(source).to_string();
        assert!(snippet.ends_with('^'), "{snippet}");
    }
}

#[test]
fn file_holds_several_expressions() {
    let mut parser = Parser::new("(a) ; first\n2 \"three\"");
    assert_eq!(parser.next(), Some(Ok(list([Expr::symbol("a")]))));
    assert_eq!(parser.span(), 0..3);
    assert_eq!(parser.next(), Some(Ok(bytes(&[2]))));
    assert_eq!(parser.next(), Some(Ok(bytes(b"three"))));
    assert_eq!(parser.next(), None);
}

#[test]
fn error_ends_the_file() {
    let mut parser = Parser::new("a ) b");
    assert_eq!(parser.next(), Some(Ok(Expr::symbol("a"))));
    assert!(matches!(parser.next(), Some(Err(error)) if error.offset() == 2));
    assert_eq!(parser.next(), None);
}
