//! Check of stack programs for invalid hex literals.

use astreum_core::expr::{Expr, Visit};

/// Returns the path to a token such as `0xff` in the body of a stack program, `(… body sk)`. Bytes
/// print in that form, but in a stack program it is the text of a token.
pub(super) fn hex_literal(expr: &Expr) -> Option<Vec<usize>> {
    // Index of the next item of each open list.
    let mut next: Vec<usize> = Vec::new();
    for step in expr.visit() {
        match step {
            Visit::Open(list) => {
                if let [.., Expr::List(body), tail] = &**list
                    && tail.as_symbol() == Some("sk")
                    && let Some(token) = body.iter().position(is_hex_literal)
                {
                    next.extend([list.len() - 2, token]);
                    return Some(next);
                }
                next.push(0);
                continue;
            }
            Visit::Close => {
                next.pop();
            }
            Visit::Symbol(_) | Visit::Bytes(_) => {}
        }
        if let Some(index) = next.last_mut() {
            *index += 1;
        }
    }
    None
}

fn is_hex_literal(token: &Expr) -> bool {
    token.as_symbol().is_some_and(|name| digits(name).is_some())
}

/// Returns the digits of a hex literal such as `0xff`.
fn digits(token: &str) -> Option<&str> {
    let digits = token
        .strip_prefix("0x")
        .or_else(|| token.strip_prefix("0X"))?;
    let is_hex = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then_some(digits)
}

/// Returns the reason `token` is rejected, and the literals that may have been meant.
pub(super) fn explain(token: &str) -> String {
    let digits = digits(token).unwrap_or_default();
    let padded = match digits.len() % 2 {
        0 => digits.to_owned(),
        _ => format!("0{digits}"),
    };
    let shown = padded.len().min(16);
    let bytes: String = padded
        .as_bytes()
        .chunks(2)
        .take(shown.div_ceil(2))
        .filter_map(|pair| core::str::from_utf8(pair).ok())
        .map(|pair| format!("\\x{pair}"))
        .collect();
    let more = if padded.len() > shown { "…" } else { "" };
    let number = u128::from_str_radix(digits, 16)
        .ok()
        .map(|number| format!("{number} for the number or "));
    format!(
        "'{}' is not a number in a stack program, it is the text of the token; write \
         {}\"{bytes}{more}\" for the bytes",
        if token.len() > 20 { "0x…" } else { token },
        number.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::text::parse;

    #[test]
    fn finds_hex_literals_only_in_stack_program_bodies() {
        for (source, path) in [
            ("(1 (($0 0xff add) sk))", Some(vec![1, 0, 1])),
            ("(((a (0x1 sk)) sk) ((0XAB) sk))", Some(vec![1, 0, 0])),
            ("((1 (2 0x00)) sk)", None),
            ("(0xff ref)", None),
            ("(1 (0xfg 0x sk 0x_1))", None),
            ("0xff", None),
            ("((0xff sk 1) 2)", None),
        ] {
            assert_eq!(hex_literal(&parse(source).unwrap()), path, "{source}");
        }
    }

    #[test]
    fn hint_states_number_and_bytes() {
        let text = explain("0xff");
        assert!(
            text.contains("write 255 for the number or \"\\xff\""),
            "{text}"
        );
        assert!(explain("0xabc").contains("2748 for the number or \"\\x0a\\xbc\""));
        let id = explain(&format!("0x{}", "ab".repeat(32)));
        assert!(!id.contains("number or") && id.len() < 200, "{id}");
    }
}
