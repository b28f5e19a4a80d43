//! Random values derived from one seed: probe ids, cookies and nonces.

use crate::atom::AtomId;
use crate::crypto::{HashKey, Nonce, PublicKey};
use crate::wire::handshake::Cookie;
use core::net::{IpAddr, SocketAddr};

/// Generator of probe ids, which cannot be guessed without having received them.
///
/// The first half of a probe id is the first half of our own key. A reference node answers a
/// request that it cannot serve with its peer nearest to the id, so it names us, and the address at
/// which it observes us. The second half is a keyed hash.
#[derive(Debug)]
pub(super) struct ProbeIds {
    me: PublicKey,
    key: HashKey,
    count: u64,
}

impl ProbeIds {
    pub(super) fn new(me: PublicKey, seed: &[u8; 32]) -> Self {
        Self {
            me,
            key: HashKey::derive("astreum 2026 engine probe ids", seed),
            count: 0,
        }
    }

    /// Returns whether `id` looks like a probe by `prober`: any other request for such an id would
    /// have to be for an object whose id begins like the key of `prober`.
    pub(super) fn may_be_of(prober: &PublicKey, id: &AtomId) -> bool {
        prober.as_bytes().first_chunk::<16>() == id.as_bytes().first_chunk()
    }

    /// Returns a fresh cookie for a contact of an address.
    pub(super) fn cookie(&mut self, address: &SocketAddr) -> Cookie {
        let me = self.me;
        let id = self.fresh(&me, address);
        id.last_chunk().copied().unwrap_or_default()
    }

    /// Returns the cookie of an address that stays the same for as long as the engine runs.
    pub(super) fn lasting_cookie(&self, address: &SocketAddr) -> Cookie {
        let hash = self.key.hash(&[
            b"lasting cookie",
            &ip_bytes(address),
            &address.port().to_be_bytes(),
        ]);
        hash.first_chunk().copied().unwrap_or_default()
    }

    /// Returns a fresh id for a probe of `peer` at `address`.
    pub(super) fn fresh(&mut self, peer: &PublicKey, address: &SocketAddr) -> [u8; 32] {
        self.count = self.count.wrapping_add(1);
        let hash = self.key.hash(&[
            peer.as_bytes(),
            &ip_bytes(address),
            &address.port().to_be_bytes(),
            &self.count.to_be_bytes(),
        ]);
        let mut id = *self.me.as_bytes();
        let (_, tail) = id.split_at_mut(16);
        for (byte, random) in tail.iter_mut().zip(hash) {
            *byte = random;
        }
        id
    }
}

/// Returns an IP address as 16 bytes, IPv4 as IPv4-mapped.
const fn ip_bytes(address: &SocketAddr) -> [u8; 16] {
    match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Nonces for sealing: a random prefix of six bytes and a counter of six bytes, big-endian.
///
/// Nonces do not repeat within a run of the engine: when the counter ends, a fresh prefix is drawn.
/// Two runs with one relay key have different seeds, so their prefixes are equal only with a
/// probability of 2^-48.
#[derive(Debug)]
pub(super) struct Nonces {
    key: HashKey,
    draws: u64,
    prefix: [u8; PREFIX_BYTES],
    count: u64,
}

/// Length of the random prefix, in bytes.
pub(super) const PREFIX_BYTES: usize = 6;
/// Number of counter values per prefix.
const COUNTS: u64 = 1 << 48;

impl Nonces {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let mut nonces = Self {
            key: HashKey::derive("astreum 2026 engine nonces", seed),
            draws: 0,
            prefix: [0; PREFIX_BYTES],
            count: 0,
        };
        nonces.draw();
        nonces
    }

    fn draw(&mut self) {
        let hash = self.key.hash(&[&self.draws.to_be_bytes()]);
        self.draws = self.draws.wrapping_add(1);
        self.count = 0;
        for (byte, random) in self.prefix.iter_mut().zip(hash) {
            *byte = random;
        }
    }

    /// Returns the next nonce.
    pub(super) fn next(&mut self) -> Nonce {
        if self.count == COUNTS {
            self.draw();
        }
        let nonce = join(self.prefix, self.count);
        self.count += 1;
        nonce
    }

    /// Returns whether this nonce was generated here under the current prefix. A random nonce of
    /// another peer is mistaken for one of ours with a probability below 2^-48.
    pub(super) fn is_ours(&self, nonce: &Nonce) -> bool {
        let (prefix, count) = split(nonce);
        prefix == self.prefix && count < self.count
    }
}

/// Returns the nonce of a prefix and a count. Only the low six bytes of the count are used.
pub(super) fn join(prefix: [u8; PREFIX_BYTES], count: u64) -> Nonce {
    let [_, _, c0, c1, c2, c3, c4, c5] = count.to_be_bytes();
    let [p0, p1, p2, p3, p4, p5] = prefix;
    [p0, p1, p2, p3, p4, p5, c0, c1, c2, c3, c4, c5]
}

/// Splits a nonce into prefix and counter.
pub(super) fn split(nonce: &Nonce) -> ([u8; PREFIX_BYTES], u64) {
    let [p0, p1, p2, p3, p4, p5, c0, c1, c2, c3, c4, c5] = *nonce;
    (
        [p0, p1, p2, p3, p4, p5],
        u64::from_be_bytes([0, 0, c0, c1, c2, c3, c4, c5]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn nonces_do_not_repeat_and_are_recognized() {
        let mut nonces = Nonces::new(&[1; 32]);
        let made: Vec<Nonce> = (0..1000).map(|_| nonces.next()).collect();
        assert_eq!(made.iter().collect::<BTreeSet<_>>().len(), 1000);
        assert!(made.iter().all(|nonce| nonces.is_ours(nonce)));
        let ahead = Nonces {
            key: nonces.key.clone(),
            ..nonces
        }
        .next();
        let nonces = Nonces::new(&[1; 32]);
        assert!(!nonces.is_ours(&ahead), "not generated yet");
        assert_ne!(Nonces::new(&[2; 32]).prefix, nonces.prefix);
    }

    #[test]
    fn exhausted_counter_gets_a_fresh_prefix() {
        let mut nonces = Nonces::new(&[1; 32]);
        let first = nonces.prefix;
        nonces.count = COUNTS - 1;
        assert_eq!(split(&nonces.next()), (first, COUNTS - 1));
        let (prefix, count) = split(&nonces.next());
        assert_ne!(prefix, first);
        assert_eq!(count, 0);
    }

    /// A hundred million nonces of a thousand runs with one key. Those of a run share a prefix and
    /// count upwards, so they do not repeat; those of two runs differ in their prefixes.
    #[test]
    fn hundred_million_nonces_over_a_thousand_restarts_do_not_repeat() {
        let mut prefixes = BTreeSet::new();
        for run in 0..1_000u32 {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&run.to_be_bytes());
            let mut nonces = Nonces::new(&seed);
            let prefix = nonces.prefix;
            assert!(prefixes.insert(prefix), "run {run}");
            let mut last = None;
            for _ in 0..100_000 {
                let (drawn, count) = split(&nonces.next());
                assert!(drawn == prefix && Some(count) > last);
                last = Some(count);
            }
        }
    }

    proptest! {
        /// A nonce corresponds to exactly one pair of prefix and count, so comparing these is
        /// enough.
        #[test]
        fn nonce_encodes_exactly_one_prefix_and_count(
            nonce in any::<Nonce>(), prefix in any::<[u8; PREFIX_BYTES]>(), count in 0..COUNTS,
        ) {
            let (of, at) = split(&nonce);
            prop_assert_eq!(join(of, at), nonce);
            prop_assert_eq!(split(&join(prefix, count)), (prefix, count));
        }

        /// From every state, the next nonce is one further, or the first of another prefix.
        #[test]
        fn next_nonce_increments_the_count_or_draws_a_prefix(
            seed in any::<[u8; 32]>(), draws in any::<u64>(), left in 0..3u64,
        ) {
            let mut nonces = Nonces::new(&seed);
            nonces.draws = draws;
            nonces.count = COUNTS - left;
            let mut last = (nonces.prefix, COUNTS - left - 1);
            for _ in 0..5 {
                let next = split(&nonces.next());
                let is_further = next.0 == last.0 && next.1 == last.1 + 1;
                prop_assert!(is_further || (next.0 != last.0 && next.1 == 0 && last.1 == COUNTS - 1));
                last = next;
            }
        }
    }

    #[test]
    fn probe_ids_share_half_of_our_key_and_never_repeat() {
        let me = PublicKey::new([7; 32]);
        let peer = PublicKey::new([8; 32]);
        let address = "10.0.0.1:5".parse().unwrap();
        let mut ids = ProbeIds::new(me, &[3; 32]);
        let first = ids.fresh(&peer, &address);
        assert_eq!(first[..16], [7; 16]);
        assert!(ProbeIds::may_be_of(&me, &AtomId::new(first)));
        assert!(!ProbeIds::may_be_of(&peer, &AtomId::new(first)));
        assert_ne!(first, ids.fresh(&peer, &address));
        assert_eq!(first, ProbeIds::new(me, &[3; 32]).fresh(&peer, &address));
        assert_ne!(first, ProbeIds::new(me, &[4; 32]).fresh(&peer, &address));
    }
}
