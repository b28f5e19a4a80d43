//! Special forms: `fn` and `sk`.

use crate::expr::Expr;
use alloc::vec::Vec;

/// Special form: a list that can be called and evaluates to itself.
#[derive(Clone, Copy)]
pub(super) enum Form<'e> {
    /// `(body sk)`; items before the body are ignored.
    Stack { body: &'e Expr },
    /// `(body params fn)`; items before the body are ignored.
    Function { body: &'e Expr, params: &'e Expr },
}

impl<'e> Form<'e> {
    /// Returns the special form of a list, if it is one.
    #[inline]
    pub(super) fn new(items: &'e [Expr]) -> Option<Self> {
        let (tail, before) = items.split_last()?;
        match (tail.as_symbol()?, before) {
            ("sk", [.., body]) => Some(Self::Stack { body }),
            ("fn", [.., body, params]) => Some(Self::Function { body, params }),
            _ => None,
        }
    }
}

/// Names with a special meaning at the tail or head of a list.
pub(super) const RESERVED: [&str; 5] = ["def", "ref", "fn", "sk", crate::expr::ERROR_SYMBOL];

/// Returns the index in a placeholder `$index`, from the digits after the `$`. An index too large
/// for a `usize` becomes the largest one.
pub(super) fn placeholder(digits: &str) -> Option<usize> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(usize::MAX))
}

/// Decodes the hexadecimal argument of a `ref`: an optional `0x`, then digits; with an odd number
/// of digits the first one is a byte of its own.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let digits = digits.unwrap_or(text);
    let is_odd = usize::from(!digits.len().is_multiple_of(2));
    let mut bytes: Vec<u8> = Vec::with_capacity(digits.len() / 2 + is_odd);
    for (index, digit) in digits.bytes().enumerate() {
        let [digit, ..] = char::from(digit).to_digit(16)?.to_le_bytes();
        match bytes.last_mut() {
            Some(last) if !(index + is_odd).is_multiple_of(2) => *last = *last << 4 | digit,
            _ => bytes.push(digit),
        }
    }
    Some(bytes)
}
