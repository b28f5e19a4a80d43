//! Tokenization of source text, as the language documents it.

use astreum_core::text::{ParseErrorKind, TokenKind, tokenize};

fn tokens(source: &str) -> Vec<&str> {
    let tokens = tokenize(source).unwrap_or_else(|error| panic!("{source:?}: {error}"));
    tokens.iter().map(|token| token.text).collect()
}

#[test]
fn white_space_and_parentheses_separate() {
    assert_eq!(tokens("(add 1  2)"), ["(", "add", "1", "2", ")"]);
    assert_eq!(tokens("a(b)c"), ["a", "(", "b", ")", "c"]);
    assert_eq!(
        tokens("\ta\r\nb\u{a0}c\u{1c}d\u{3000}e"),
        ["a", "b", "c", "d", "e"]
    );
    assert_eq!(tokens(""), [""; 0]);
    assert_eq!(tokens(" \n "), [""; 0]);
}

#[test]
fn zero_width_space_is_an_ordinary_character() {
    assert_eq!(tokens("a\u{200b}b"), ["a\u{200b}b"]);
}

#[test]
fn line_comment_ends_with_its_line() {
    assert_eq!(tokens("a ; b ( c\nd"), ["a", "d"]);
    assert_eq!(tokens("a;b\nc"), ["a", "c"]);
    assert_eq!(tokens("; nothing else"), [""; 0]);
}

#[test]
fn datum_comment_leaves_out_one_expression() {
    assert_eq!(tokens("a #;b c"), ["a", "c"]);
    assert_eq!(tokens("(a #;(b (c) d) e)"), ["(", "a", "e", ")"]);
    assert_eq!(tokens("a#;b c"), ["a", "c"]);
    assert_eq!(tokens("#; ; a comment in between\n a b"), ["b"]);
}

#[test]
fn datum_comments_match_the_references_edge_cases() {
    assert_eq!(tokens("#;#;a b"), ["b"]);
    assert_eq!(tokens("(a #;) b)"), ["(", "a", "b", ")"]);
    assert_eq!(tokens("a #;(b"), ["a"]);
    assert_eq!(tokens("# a"), ["#", "a"]);
}

#[test]
fn string_is_one_token_with_its_quotes() {
    assert_eq!(
        tokens(r#"(a "b (c) ; d" e)"#),
        ["(", "a", r#""b (c) ; d""#, "e", ")"]
    );
    assert_eq!(tokens(r#""a \" b" c"#), [r#""a \" b""#, "c"]);
    assert_eq!(tokens("\"two\nlines\""), ["\"two\nlines\""]);
    let kinds: Vec<TokenKind> = tokenize(r#"("a" b)"#)
        .unwrap()
        .iter()
        .map(|token| token.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            TokenKind::Open,
            TokenKind::String,
            TokenKind::Atom,
            TokenKind::Close
        ]
    );
}

#[test]
fn quote_inside_a_token_is_an_ordinary_character() {
    assert_eq!(tokens(r#"a"b c"#), [r#"a"b"#, "c"]);
}

#[test]
fn unterminated_string_is_an_error_at_its_quote() {
    let error = tokenize("a\n  \"b").unwrap_err();
    assert_eq!(error.kind, ParseErrorKind::UnterminatedString);
    assert_eq!((error.offset(), error.line(), error.column()), (4, 2, 3));
    assert!(error.is_incomplete());
}

#[test]
fn tokens_have_their_source_positions() {
    let source = "é (b)";
    for token in tokenize(source).unwrap() {
        assert_eq!(&source[token.offset..token.end()], token.text);
    }
}
