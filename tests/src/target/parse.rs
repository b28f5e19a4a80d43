//! Fuzz target of the parser: tokens have correct positions, errors point into the source, and both
//! readers accept the same text.

use astreum_core::text::{ParseError, Parser, Position, parse, tokenize};

/// Tokenizes and parses `data` as text; `parses_spans` parses the text of each expression again.
pub(super) fn run(data: &[u8], parses_spans: bool) {
    let source = &*String::from_utf8_lossy(data);
    check_tokens(source);
    let one = parse(source);
    if let Err(error) = &one {
        check_error(source, error);
    }
    let mut parser = Parser::new(source);
    let mut count = 0;
    let mut end = 0;
    let mut failure = None;
    while let Some(next) = parser.next() {
        match next {
            Ok(expr) => {
                let span = parser.span();
                assert!(
                    end <= span.start && span.start < span.end,
                    "spans are in ascending order"
                );
                end = span.end;
                let text = source.get(span);
                assert!(text.is_some(), "the span is in the source");
                if parses_spans {
                    assert_eq!(
                        text.map(parse),
                        Some(Ok(expr.clone())),
                        "the text of a span parses to its expression"
                    );
                }
                if count == 0 && one.is_ok() {
                    assert_eq!(one.as_ref(), Ok(&expr), "both parsers agree");
                }
                count += 1;
            }
            Err(error) => {
                check_error(source, &error);
                failure = Some(error);
            }
        }
    }
    assert_eq!(
        one.is_ok(),
        count == 1 && failure.is_none(),
        "exactly one expression parses"
    );
}

fn check_tokens(source: &str) {
    let tokens = match tokenize(source) {
        Ok(tokens) => tokens,
        Err(error) => return check_error(source, &error),
    };
    let mut end = 0;
    for token in tokens {
        assert!(
            end <= token.offset && !token.text.is_empty(),
            "tokens are in ascending order"
        );
        end = token.end();
        assert_eq!(source.get(token.offset..end), Some(token.text));
    }
}

fn check_error(source: &str, error: &ParseError) {
    assert!(
        error.offset() <= source.len(),
        "the error position is in the source"
    );
    assert_eq!(Position::at(source, error.offset()), error.at);
    let shown = error.snippet(source).to_string();
    assert!(shown.contains('^'), "a caret marks the position");
}
