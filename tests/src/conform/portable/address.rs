//! Textual IP addresses in the forms of the C library, as used by the reference.

use alloc::format;
use alloc::string::String;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Parses an IPv4 address like C's `inet_aton`: one to four parts, each decimal, octal (`0…`) or
/// hexadecimal (`0x…`), the last one filling the remaining bytes. White space and the text after it
/// are ignored.
pub(super) fn ipv4_from_text(text: &str) -> Option<Ipv4Addr> {
    let is_space = |c: char| c == ' ' || ('\t'..='\r').contains(&c);
    let text = text.split(is_space).next()?;
    let parts: Vec<u32> = text.split('.').map(part).collect::<Option<_>>()?;
    let (last, front) = parts.split_last()?;
    if front.len() > 3 || front.iter().any(|part| *part > 255) {
        return None;
    }
    // With n parts in front, the last part has 4 - n bytes.
    let last_bits = 32 - 8 * front.len();
    if u64::from(*last) >> last_bits != 0 {
        return None;
    }
    let shifts = [24, 16, 8];
    let front = front.iter().zip(shifts).map(|(part, shift)| part << shift);
    Some(Ipv4Addr::from(front.fold(*last, |ip, part| ip | part)))
}

fn part(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix('0') {
        Some(rest) => match rest.strip_prefix(['x', 'X']) {
            Some(hex) => (hex, 16),
            None => (text, 8),
        },
        None => (text, 10),
    };
    // `from_str_radix` would accept a sign.
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

/// Formats an IP address like C's `inet_ntop`. It differs from Rust's form in that the last 32 bits
/// are also dotted after six zero groups (`::1.2.3.4`).
pub(super) fn ip_to_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V6(ip) if is_compatible(&ip) => {
            let [.., a, b, c, d] = ip.octets();
            format!("::{a}.{b}.{c}.{d}")
        }
        ip => ip.to_string(),
    }
}

/// Returns whether the address has six zero groups, then one that is not zero.
fn is_compatible(ip: &Ipv6Addr) -> bool {
    matches!(ip.segments(), [0, 0, 0, 0, 0, 0, high, _] if high != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are those of glibc's `inet_aton`.
    #[test]
    fn ipv4_texts_are_read_as_c_does() {
        for (text, expected) in [
            ("1.2.3.4", Some([1, 2, 3, 4])),
            ("1.2.3", Some([1, 2, 0, 3])),
            ("1.2", Some([1, 0, 0, 2])),
            ("1", Some([0, 0, 0, 1])),
            ("4294967295", Some([255, 255, 255, 255])),
            ("1.16777215", Some([1, 255, 255, 255])),
            ("010.0x1F.0.08", None),
            ("010.0x1F.0.07", Some([8, 31, 0, 7])),
            ("1.2.3.4 and more", Some([1, 2, 3, 4])),
            ("1.2.3.4\n", Some([1, 2, 3, 4])),
            ("4294967296", None),
            ("1.16777216", None),
            ("1.2.3.256", None),
            ("256.2.3.4", None),
            ("1.2.3.4.5", None),
            ("1..2", None),
            ("1.2.3.", None),
            (" 1.2.3.4", None),
            ("+1.2.3.4", None),
            ("", None),
            ("host", None),
            ("::1", None),
        ] {
            assert_eq!(
                ipv4_from_text(text),
                expected.map(Ipv4Addr::from),
                "{text:?}"
            );
        }
    }

    /// Expected values are those of glibc's `inet_ntop`.
    #[test]
    fn addresses_are_written_as_c_does() {
        for text in [
            "1.2.3.4",
            "::",
            "::1",
            "::ffff",
            "::0.1.0.0",
            "::1.2.3.4",
            "::ffff:1.2.3.4",
            "1::",
            "2001:db8::1:0:0:1",
            "0:1::",
        ] {
            assert_eq!(ip_to_text(text.parse().unwrap()), text);
        }
    }
}
