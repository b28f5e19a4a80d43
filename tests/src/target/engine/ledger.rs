//! Accounting of bytes received from addresses and sent to them.

use astreum_core::engine::limits::{AMPLIFICATION, CONTACT_INTERVAL};
use astreum_core::time::Instant;
use astreum_core::wire::message::Message;
use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum size of a first contact, in bytes: a request for an object, or a handshake.
const CONTACT_BYTES: u64 = 106;

/// Amplification limits of unvalidated addresses.
#[derive(Default)]
pub(super) struct Ledger {
    received: BTreeMap<SocketAddr, u64>,
    sent: BTreeMap<SocketAddr, u64>,
    /// Addresses that the host has contacted, or that were validated.
    contacted: BTreeSet<SocketAddr>,
    /// Contents that peers have sent, which may name addresses, with the sizes of their packets.
    contents: Vec<(Vec<u8>, u64)>,
    /// True if the current output was charged earlier.
    pub(super) is_exempt: bool,
}

impl Ledger {
    /// Records a datagram of `len` bytes to the engine; answers go to the port in its header.
    pub(super) fn received(&mut self, from: SocketAddr, message: &Message<'_>, len: usize) {
        if let Some(port) = message.port {
            let address = canonical(SocketAddr::new(from.ip(), port.get()));
            *self.received.entry(address).or_insert(0) += len as u64;
        }
    }

    /// Records that an address may receive the engine's own first contacts.
    pub(super) fn contacted(&mut self, address: SocketAddr) {
        self.contacted.insert(canonical(address));
    }

    /// Records content that a peer has sent.
    pub(super) fn named(&mut self, content: Vec<u8>, bytes: usize) {
        self.contents.push((content, bytes as u64));
    }

    /// Returns the number of bytes in packets that name an address.
    fn bytes_naming(&self, address: SocketAddr) -> Option<u64> {
        let port = address.port().to_be_bytes();
        let name = match address.ip() {
            IpAddr::V4(ip) => [&ip.octets()[..], &port].concat(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let names = |content: &[u8]| content.windows(name.len()).any(|part| part == name);
        let naming = self.contents.iter().filter(|(content, _)| names(content));
        let bytes: Vec<u64> = naming.map(|(_, bytes)| *bytes).collect();
        (!bytes.is_empty()).then(|| bytes.iter().sum())
    }

    /// Records a packet to an unvalidated address.
    ///
    /// # Panics
    /// Panics if it exceeds the limit of the address.
    pub(super) fn sent(&mut self, now: Instant, to: SocketAddr, bytes: usize) {
        if self.is_exempt {
            return;
        }
        let sent = self.sent.entry(to).or_insert(0);
        *sent += bytes as u64;
        let (sent, received) = (*sent, self.received.get(&to).copied().unwrap_or(0));
        let paid = AMPLIFICATION * received;
        if sent <= paid {
            return;
        }
        let naming = self.bytes_naming(to);
        let is_contacted = self.contacted.contains(&to) || naming.is_some();
        let intervals = now.since(Instant::ZERO).as_secs() / CONTACT_INTERVAL.as_secs();
        let contacts = u64::from(is_contacted) * (1 + intervals) * CONTACT_BYTES;
        let most = paid + contacts + AMPLIFICATION * naming.unwrap_or(0);
        assert!(
            sent <= most,
            "{sent} bytes to unvalidated {to}: {received} were received from it, {contacts} are \
             for our own contacts, {naming:?} were in referrals"
        );
    }
}

/// Converts an IPv4-mapped IPv6 address to IPv4.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
