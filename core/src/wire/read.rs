//! Readers of fixed-width fields at the front of borrowed bytes.

/// Splits the first `N` bytes off `bytes`. Returns `None` and leaves `bytes` unchanged if there are
/// fewer.
pub(super) fn take<'b, const N: usize>(bytes: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (field, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(field)
}

/// Splits one byte off `bytes`.
pub(super) fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    take::<1>(bytes).map(|[byte]| *byte)
}

/// Splits a big-endian `u16` off `bytes`.
pub(super) fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes).map(|field| u16::from_be_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_from_the_front_and_only_whole_fields() {
        let mut bytes: &[u8] = &[1, 2, 3, 4];
        assert_eq!(take_byte(&mut bytes), Some(1));
        assert_eq!(take_u16(&mut bytes), Some(0x0203));
        assert_eq!(take_u16(&mut bytes), None);
        assert_eq!(bytes, [4]);
        assert_eq!(take::<1>(&mut bytes), Some(&[4]));
        assert_eq!(take_byte(&mut bytes), None);
    }
}
