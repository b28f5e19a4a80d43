//! Encoding of contacts in redirects and puts, and of addresses as peers observe them.
//!
//! The format has room for an IPv4 address only. Between nodes of this implementation, an IPv6
//! contact is written as a contact at 0.0.0.0 followed by the 16 bytes of the address, which a
//! reference node ignores; it is never sent to one.

use super::address::canonical;
use crate::crypto::PublicKey;
use crate::wire::object::{CONTACT_BYTES, Contact};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

/// Length of an encoded IPv6 contact, in bytes.
const MAX_CONTACT_BYTES: usize = CONTACT_BYTES + 16;

/// Encodes a contact: 38 bytes for an IPv4 address, 54 bytes for an IPv6 address.
pub(super) fn encode(key: PublicKey, address: SocketAddr) -> heapless::Vec<u8, MAX_CONTACT_BYTES> {
    let (ip, tail) = match address.ip() {
        IpAddr::V4(ip) => (ip, None),
        IpAddr::V6(ip) => (Ipv4Addr::UNSPECIFIED, Some(ip.octets())),
    };
    let contact = Contact {
        public_key: key,
        address: SocketAddrV4::new(ip, address.port()),
    };
    let mut bytes = heapless::Vec::new();
    // The capacity is that of both parts together.
    let _ = bytes.extend_from_slice(&contact.encode());
    let _ = bytes.extend_from_slice(tail.as_ref().map_or(&[], <[u8; 16]>::as_slice));
    bytes
}

/// Decodes a contact. Returns `None` if it is too short or malformed.
pub(super) fn decode(bytes: &[u8]) -> Option<(PublicKey, SocketAddr)> {
    let contact = Contact::decode(bytes).ok()?;
    let tail = bytes
        .get(CONTACT_BYTES..)
        .and_then(<[u8]>::first_chunk::<16>);
    let ip = match tail {
        Some(octets) if contact.address.ip().is_unspecified() => {
            IpAddr::V6(Ipv6Addr::from(*octets))
        }
        _ => IpAddr::V4(*contact.address.ip()),
    };
    let address = SocketAddr::new(ip, contact.address.port());
    Some((contact.public_key, canonical(address)))
}

/// Encodes an observed address for its owner: 4 or 16 bytes of IP address, then the port,
/// big-endian.
pub(super) fn encode_seen(address: SocketAddr) -> heapless::Vec<u8, 18> {
    let mut bytes = heapless::Vec::new();
    let _ = match address.ip() {
        IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
    };
    let _ = bytes.extend_from_slice(&address.port().to_be_bytes());
    bytes
}

/// Decodes the output of [`encode_seen`]. Returns `None` if the length is neither 6 nor 18 bytes.
pub(super) fn decode_seen(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::from(*ip.first_chunk::<4>()?),
        16 => IpAddr::from(*ip.first_chunk::<16>()?),
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, u16::from_be_bytes(*port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address_round_trip() {
        let key = PublicKey::new([3; 32]);
        for (text, len) in [("1.2.3.4:5", 38), ("[2001:db8::1]:5", 54)] {
            let address = text.parse().unwrap();
            let bytes = encode(key, address);
            assert_eq!(bytes.len(), len);
            assert_eq!(decode(&bytes), Some((key, address)));
            assert_eq!(decode_seen(&encode_seen(address)), Some(address));
        }
        let bytes = encode(key, "1.2.3.4:5".parse().unwrap());
        assert_eq!(decode(&bytes[..37]), None);
        let longer = [bytes.as_slice(), &[9; 20]].concat();
        assert_eq!(decode(&longer), decode(&bytes), "a longer one is accepted");
        assert_eq!(decode_seen(&[1; 7]), None);
        assert_eq!(decode_seen(&[]), None);
    }
}
