//! Expressions as JSON text: `{"sym": …}`, `{"bytes": hex}`, `{"list": […]}`.

use astreum_core::expr::{Expr, Visit};

use super::output::visible_json;
use crate::rpc::hex;

/// Returns the JSON text of `expr`, with escapes for invisible characters. Does not recurse: values
/// can be nested deeper than any stack.
pub(super) fn to_json(expr: &Expr) -> String {
    let mut text = String::new();
    let mut is_first = true;
    for step in expr.visit() {
        if !is_first && !matches!(step, Visit::Close) {
            text.push(',');
        }
        is_first = matches!(step, Visit::Open(_));
        match step {
            Visit::Symbol(name) => {
                let name = serde_json::Value::from(name.as_str()).to_string();
                text.push_str(&format!("{{\"sym\":{}}}", visible_json(name)));
            }
            Visit::Bytes(bytes) => {
                text.push_str("{\"bytes\":\"");
                text.push_str(&hex(bytes));
                text.push_str("\"}");
            }
            Visit::Open(_) => text.push_str("{\"list\":["),
            Visit::Close => text.push_str("]}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_kind_has_a_json_form() {
        let expr = astreum_core::text::parse("(a () 1 (\"\\xff\") b)").unwrap();
        assert_eq!(
            to_json(&expr),
            r#"{"list":[{"sym":"a"},{"list":[]},{"bytes":"01"},{"list":[{"bytes":"ff"}]},{"sym":"b"}]}"#
        );
        assert_eq!(to_json(&Expr::symbol("a\"\n")), r#"{"sym":"a\"\n"}"#);
        assert_eq!(to_json(&Expr::symbol("\u{202e}b")), r#"{"sym":"\u202eb"}"#);
    }

    #[test]
    fn converts_a_million_nested_lists_without_recursion() {
        let deep = (0..1_000_000).fold(Expr::bytes([1]), |inner, _| Expr::list(vec![inner]));
        let length = std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || to_json(&deep).len())
            .unwrap()
            .join()
            .unwrap();
        assert_eq!(
            length,
            1_000_000 * r#"{"list":[]}"#.len() + r#"{"bytes":"01"}"#.len()
        );
    }
}
