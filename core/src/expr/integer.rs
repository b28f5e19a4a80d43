//! Integers as minimal-width signed big-endian two's complement.

use super::{Bytes, Expr};

/// Maximum size of an integer that [`Expr::as_integer`] reads, in bytes.
const INTEGER_BYTES: usize = size_of::<i128>();

/// Strips the leading bytes that only repeat the sign; keeps at least one byte unless `bytes` is
/// empty.
pub(crate) fn minimal(mut bytes: &[u8]) -> &[u8] {
    while let [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..] = bytes {
        bytes = bytes.get(1..).unwrap_or_default();
    }
    bytes
}

/// Returns whether `bytes` is an integer in shortest form; the empty string is not.
pub(crate) fn is_minimal(bytes: &[u8]) -> bool {
    !matches!(
        bytes,
        [] | [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..]
    )
}

/// Returns the signed integer encoded by `bytes`, or `None` above 16 bytes. The empty string is 0.
pub(crate) fn signed(bytes: &[u8]) -> Option<i128> {
    let fill = if bytes.first().is_some_and(|&byte| byte >= 0x80) {
        0xff
    } else {
        0
    };
    let mut wide = [fill; INTEGER_BYTES];
    wide.get_mut(INTEGER_BYTES.checked_sub(bytes.len())?..)?
        .copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

impl Expr {
    /// Creates the bytes that encode the integer `value` in the language: signed, big-endian,
    /// shortest form.
    ///
    /// ```
    /// use astreum_core::expr::Expr;
    /// assert_eq!(Expr::integer(128), Expr::bytes([0x00, 0x80]));
    /// assert_eq!(Expr::integer(-128).as_integer(), Some(-128));
    /// ```
    #[must_use]
    pub fn integer(value: impl Into<i128>) -> Self {
        Self::Bytes(Bytes::new(minimal(&value.into().to_be_bytes())))
    }

    /// Returns the signed integer encoded by these bytes, of any width up to 16 bytes; the empty
    /// string is 0. Returns `None` for a longer string, a symbol or a list.
    ///
    /// ```
    /// use astreum_core::expr::Expr;
    /// assert_eq!(Expr::bytes([0xff]).as_integer(), Some(-1));
    /// assert_eq!(Expr::bytes([0x01, 0x00]).as_integer(), Some(256));
    /// assert_eq!(Expr::bytes([]).as_integer(), Some(0));
    /// assert_eq!(Expr::symbol("a").as_integer(), None);
    /// ```
    #[must_use]
    pub fn as_integer(&self) -> Option<i128> {
        self.as_bytes().and_then(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integer_encoding_is_minimal() {
        for (value, bytes) in [
            (0_i128, &[0][..]),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (255, &[0, 0xff]),
            (-1, &[0xff]),
            (-128, &[0x80]),
            (-129, &[0xff, 0x7f]),
            (i128::MIN, &i128::MIN.to_be_bytes()),
        ] {
            assert_eq!(Expr::integer(value).as_bytes(), Some(bytes));
        }
    }

    #[test]
    fn padding_does_not_change_the_integer() {
        assert_eq!(Expr::bytes([]).as_integer(), Some(0));
        assert_eq!(Expr::bytes([0, 0, 5]).as_integer(), Some(5));
        assert_eq!(Expr::bytes([0xff, 0xff, 0xfe]).as_integer(), Some(-2));
        assert_eq!(Expr::bytes([0; 16]).as_integer(), Some(0));
        assert_eq!(Expr::bytes([0; 17]).as_integer(), None);
        assert_eq!(Expr::symbol("5").as_integer(), None);
    }

    proptest! {
        #[test]
        fn integers_round_trip_and_are_minimal(value in any::<i128>(), shift in 0..128_u32) {
            let value = value >> shift;
            let expr = Expr::integer(value);
            prop_assert!(is_minimal(expr.as_bytes().unwrap()));
            prop_assert_eq!(expr.as_integer(), Some(value));
        }

        #[test]
        fn only_the_shortest_encoding_is_minimal(bytes in proptest::collection::vec(any::<u8>(), 1..20)) {
            prop_assert_eq!(is_minimal(&bytes), minimal(&bytes) == bytes);
            prop_assert!(is_minimal(minimal(&bytes)));
        }
    }
}
