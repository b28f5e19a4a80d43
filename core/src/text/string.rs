//! String tokens to bytes.

use crate::expr::Bytes;
use alloc::vec::Vec;

/// The bytes that a string token stands for; else where in the token, in bytes, its bad escape is.
pub(super) fn unescape(token: &str) -> Result<Bytes, usize> {
    let text = token.strip_prefix('"').unwrap_or(token);
    let text = text.strip_suffix('"').unwrap_or(text).as_bytes();
    let mut rest = text;
    let mut bytes = Vec::new();
    while let Some(len) = rest.iter().position(|&byte| byte == b'\\') {
        let (plain, escape) = rest.split_at(len);
        let (byte, behind) = one_escape(escape).ok_or(token.len() - 1 - escape.len())?;
        bytes.extend_from_slice(plain);
        bytes.push(byte);
        rest = behind;
    }
    if bytes.is_empty() {
        return Ok(Bytes::new(rest));
    }
    bytes.extend_from_slice(rest);
    Ok(Bytes::new(&bytes))
}

/// The byte that the escape at the start of `text` stands for, and what is behind it.
fn one_escape(text: &[u8]) -> Option<(u8, &[u8])> {
    Some(match text {
        [_, quoted @ (b'"' | b'\\'), rest @ ..] => (*quoted, rest),
        [_, b'n', rest @ ..] => (b'\n', rest),
        [_, b't', rest @ ..] => (b'\t', rest),
        [_, b'r', rest @ ..] => (b'\r', rest),
        [_, b'x', high, low, rest @ ..] => (hex_digit(*high)? << 4 | hex_digit(*low)?, rest),
        _ => return None,
    })
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
