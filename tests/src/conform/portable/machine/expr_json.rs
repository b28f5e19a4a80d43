//! Expressions as JSON: `{"sym": …}`, `{"bytes": hex}`, `{"list": […]}`.
//!
//! Encoding uses an explicit stack, since a program can build a value that is nested deeper than
//! any host stack. Decoding recurses: the JSON parser has already bounded the depth to 128 levels.

use super::OpError;
use super::fields::{hex, hex_of};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use astreum_core::expr::Expr;
use serde_json::Value;

/// Encodes `expr` as JSON text.
pub(super) fn to_json(expr: &Expr) -> String {
    enum Step<'e> {
        Expr(&'e Expr),
        Text(&'static str),
    }
    let mut text = String::new();
    let mut steps = vec![Step::Expr(expr)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Text(part) => text.push_str(part),
            Step::Expr(Expr::Symbol(symbol)) => {
                let name = Value::from(symbol.as_str());
                text.push_str(&format!("{{\"sym\":{name}}}"));
            }
            Step::Expr(Expr::Bytes(bytes)) => {
                text.push_str(&format!("{{\"bytes\":\"{}\"}}", hex(&**bytes)));
            }
            Step::Expr(Expr::List(items)) => {
                text.push_str("{\"list\":[");
                steps.push(Step::Text("]}"));
                for (index, item) in items.iter().enumerate().rev() {
                    steps.push(Step::Expr(item));
                    if index > 0 {
                        steps.push(Step::Text(","));
                    }
                }
            }
        }
    }
    text
}

/// Decodes the expression in `value`.
pub(super) fn from_json(value: &Value) -> Result<Expr, OpError> {
    let not_one = || OpError::new("an expression is one of {sym}, {bytes}, {list}");
    let mut fields = value.as_object().ok_or_else(not_one)?.iter();
    let (Some((name, content)), None) = (fields.next(), fields.next()) else {
        return Err(not_one());
    };
    match name.as_str() {
        "sym" => content.as_str().map(Expr::symbol).ok_or_else(not_one),
        "bytes" => hex_of(content).map(Expr::bytes).ok_or_else(not_one),
        "list" => {
            let items = content.as_array().ok_or_else(not_one)?;
            let items = items.iter().map(from_json);
            Ok(Expr::list(items.collect::<Result<Vec<_>, _>>()?))
        }
        _ => Err(not_one()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_go_both_ways() {
        let expr = Expr::list(vec![
            Expr::symbol("a\"b"),
            Expr::list(vec![]),
            Expr::bytes([0, 255]),
        ]);
        let text = to_json(&expr);
        assert_eq!(
            text,
            r#"{"list":[{"sym":"a\"b"},{"list":[]},{"bytes":"00ff"}]}"#
        );
        let value = serde_json::from_str(&text).unwrap();
        assert_eq!(from_json(&value), Ok(expr));
    }

    #[test]
    fn malformed_expressions_are_rejected() {
        for text in [
            "3",
            "{}",
            r#"{"sym":3}"#,
            r#"{"bytes":"0"}"#,
            r#"{"list":{}}"#,
            r#"{"sym":"a","bytes":""}"#,
            r#"{"list":[3]}"#,
            r#"{"other":1}"#,
        ] {
            assert!(
                from_json(&serde_json::from_str(text).unwrap()).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn million_nested_lists_are_written() {
        let mut expr = Expr::list(vec![]);
        for _ in 0..1_000_000 {
            expr = Expr::list(vec![expr]);
        }
        assert_eq!(to_json(&expr).matches('[').count(), 1_000_001);
    }
}
