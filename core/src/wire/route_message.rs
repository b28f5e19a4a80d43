//! Route requests and responses, which exchange addresses of peers.
//!
//! A request is one byte, the requested table. A response is a sequence of
//! `address (4 or 16) ‖ port u16 BE`, one for each distance bucket, without a marker of the address
//! size: the receiver knows whether it uses IPv4 or IPv6, so a response to an IPv4 node must not
//! contain an IPv6 address (reference: `communication/handlers/route_request.py`,
//! `route_response.py`).

use super::read::{take, take_u16};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Table that a route request asks for.
///
/// ```
/// use astreum_core::wire::route_message::{RouteRequestError, RouteTable};
/// assert_eq!(RouteTable::decode(&RouteTable::Validators.encode()), Ok(RouteTable::Validators));
/// assert_eq!(RouteTable::decode(&[9]), Err(RouteRequestError::UnknownTable { code: 9 }));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteTable {
    /// All peers.
    Peers,
    /// Validators only. A node that is not a validator does not have this table and does not
    /// answer.
    Validators,
}

/// Reason why bytes are not a route request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteRequestError {
    /// No table.
    Empty,
    /// Unknown table.
    UnknownTable {
        /// Code of the table.
        code: u8,
    },
}

impl fmt::Display for RouteRequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty route request: expected a table"),
            Self::UnknownTable { code } => write!(
                f,
                "unknown table {code} in a route request: expected 0 (peers) or 1 (validators)"
            ),
        }
    }
}

impl core::error::Error for RouteRequestError {}

impl RouteTable {
    /// Encodes the request.
    #[must_use]
    pub const fn encode(self) -> [u8; 1] {
        match self {
            Self::Peers => [0],
            Self::Validators => [1],
        }
    }

    /// Reads the content of a request. Ignores all bytes after the first, as the reference does.
    ///
    /// # Errors
    /// Fails if the content is empty, or the table is unknown.
    pub fn decode(content: &[u8]) -> Result<Self, RouteRequestError> {
        match content.first() {
            None => Err(RouteRequestError::Empty),
            Some(0) => Ok(Self::Peers),
            Some(1) => Ok(Self::Validators),
            Some(&code) => Err(RouteRequestError::UnknownTable { code }),
        }
    }
}

/// Address family of a response, which determines the size of its addresses.
///
/// ```
/// use astreum_core::wire::route_message::AddressFamily;
/// let family = AddressFamily::of(&"[2001:db8::1]:52780".parse().unwrap());
/// assert_eq!((family, family.entry_bytes()), (AddressFamily::V6, 18));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressFamily {
    /// IPv4: 4 bytes.
    V4,
    /// IPv6: 16 bytes.
    V6,
}

impl AddressFamily {
    /// Returns the size of one entry (address and port), in bytes.
    #[must_use]
    pub const fn entry_bytes(self) -> usize {
        match self {
            Self::V4 => 4 + 2,
            Self::V6 => 16 + 2,
        }
    }

    /// Returns the family of `address`.
    #[must_use]
    pub const fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }
}

/// Appends one entry to a response, in the family of `address`.
///
/// ```
/// use astreum_core::wire::route_message::write_entry;
/// let mut content = Vec::new();
/// write_entry(&mut content, &"203.0.113.7:258".parse().unwrap());
/// assert_eq!(content, [203, 0, 113, 7, 1, 2]);
/// ```
pub fn write_entry(out: &mut Vec<u8>, address: &SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&address.port().to_be_bytes());
}

/// Error: the length of a response is not a multiple of the entry size. The sender is at fault, or
/// uses the other family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteResponseError {
    /// Length of the response, in bytes.
    pub len: usize,
    /// Size of an entry, in bytes.
    pub entry_bytes: usize,
}

impl fmt::Display for RouteResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "route response of {} bytes is not a multiple of the entry size, {} bytes",
            self.len, self.entry_bytes
        )
    }
}

impl core::error::Error for RouteResponseError {}

/// Reads the addresses of a response as `family`. Any address and any port, including 0, is
/// accepted: the caller decides which peers to contact.
///
/// ```
/// use astreum_core::wire::route_message::{AddressFamily, decode_entries, write_entry};
/// use std::net::SocketAddr;
///
/// let addresses = ["203.0.113.7:1", "198.51.100.2:2"].map(|text| text.parse().unwrap());
/// let mut content = Vec::new();
/// addresses.iter().for_each(|address| write_entry(&mut content, address));
/// let entries: Vec<SocketAddr> = decode_entries(&content, AddressFamily::V4)?.collect();
/// assert_eq!(entries, addresses);
/// assert!(decode_entries(&content[1..], AddressFamily::V4).is_err());
/// # Ok::<(), astreum_core::wire::route_message::RouteResponseError>(())
/// ```
///
/// # Errors
/// Returns [`RouteResponseError`] if the length is not a multiple of the entry size.
pub fn decode_entries(
    content: &[u8],
    family: AddressFamily,
) -> Result<impl ExactSizeIterator<Item = SocketAddr> + Clone, RouteResponseError> {
    let entry_bytes = family.entry_bytes();
    if !content.len().is_multiple_of(entry_bytes) {
        return Err(RouteResponseError {
            len: content.len(),
            entry_bytes,
        });
    }
    let entries = content.chunks_exact(entry_bytes);
    Ok(entries.map(move |entry| {
        // A chunk has exactly the size of an entry, so the fallback is never used.
        decode_entry(entry, family).unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))
    }))
}

fn decode_entry(mut entry: &[u8], family: AddressFamily) -> Option<SocketAddr> {
    let ip = match family {
        AddressFamily::V4 => IpAddr::V4(Ipv4Addr::from(*take(&mut entry)?)),
        AddressFamily::V6 => IpAddr::V6(Ipv6Addr::from(*take(&mut entry)?)),
    };
    Some(SocketAddr::new(ip, take_u16(&mut entry)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bytes() {
        let mut out = Vec::new();
        write_entry(&mut out, &"127.0.0.1:52780".parse().unwrap());
        assert_eq!(out, [127, 0, 0, 1, 0xce, 0x2c]);
        write_entry(&mut out, &"[::2]:1".parse().unwrap());
        assert_eq!(out[6..22], *b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02");
        assert_eq!(out[22..], [0, 1]);
        assert_eq!(RouteTable::Validators.encode(), [1]);
    }

    #[test]
    fn requests_name_a_table() {
        assert_eq!(RouteTable::decode(&[]), Err(RouteRequestError::Empty));
        assert_eq!(RouteTable::decode(&[0, 9]), Ok(RouteTable::Peers));
        assert_eq!(RouteTable::decode(&[1]), Ok(RouteTable::Validators));
        assert_eq!(
            RouteTable::decode(&[2]),
            Err(RouteRequestError::UnknownTable { code: 2 })
        );
    }

    proptest! {
        #[test]
        fn responses_round_trip_in_their_own_family(
            content in proptest::collection::vec(any::<u8>(), 0..90), v6: bool,
        ) {
            let family = if v6 { AddressFamily::V6 } else { AddressFamily::V4 };
            match decode_entries(&content, family) {
                Ok(entries) => {
                    let mut again = Vec::new();
                    for address in entries {
                        prop_assert_eq!(AddressFamily::of(&address), family);
                        write_entry(&mut again, &address);
                    }
                    prop_assert_eq!(&again, &content);
                }
                Err(error) => {
                    prop_assert_eq!(error.len, content.len());
                    prop_assert_ne!(content.len() % family.entry_bytes(), 0);
                }
            }
        }
    }
}
