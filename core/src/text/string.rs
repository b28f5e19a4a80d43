//! Conversion of string tokens to bytes.

use crate::expr::Bytes;
use alloc::vec::Vec;

/// Returns the bytes of a string token.
///
/// # Errors
/// Returns the byte offset in the token of the first invalid escape.
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

/// Returns the byte of the escape at the start of `text`, and the text after it; `None` if the
/// escape is invalid.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(token: &str) -> Result<Vec<u8>, usize> {
        unescape(token).map(|bytes| bytes.to_vec())
    }

    #[test]
    fn escapes_are_decoded() {
        for (token, value) in [
            (r#""""#, &b""[..]),
            (r#""plain""#, b"plain"),
            (r#""\"\\\n\t\r""#, b"\"\\\n\t\r"),
            (r#""\x00\xff\xAb""#, &[0, 0xff, 0xab]),
            (r#""a\x41b""#, b"aAb"),
            ("\"two\nlines\"", b"two\nlines"),
            ("\"λ\\xce\\xbb\"", "λλ".as_bytes()),
        ] {
            assert_eq!(bytes(token).as_deref(), Ok(value), "{token}");
        }
    }

    #[test]
    fn bad_escape_error_has_the_position_of_its_backslash() {
        for (token, at) in [
            (r#""\q""#, 1),
            (r#""ab\x4""#, 3),
            (r#""\n\xg0""#, 3),
            (r#""\N""#, 1),
            (r#""λ\λ""#, 3),
            ("\"\\\n\"", 1),
            (r#""\x+1""#, 1),
        ] {
            assert_eq!(bytes(token), Err(at), "{token}");
        }
    }
}
