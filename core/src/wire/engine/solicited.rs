//! Answers to our own first contacts.
//!
//! A handshake proves nothing: anybody can answer in the name of an address that we contact, under any
//! number of keys and before its owner. So each key that answers from there is sent a probe that is
//! sealed for it, and only the owner of a key that also receives at the address can answer that. Until
//! then nothing of the key is in the table of peers.
//!
//! Budgets are those of the address: forged answers for one address cost others nothing, and unknown
//! peers that contact us use none of them. Seeds have a budget apart from all others, and their
//! answers always count as solicited.

use super::budget::Bucket;
use super::limits::{
    AGREEMENTS_BURST, AGREEMENTS_PER_SECOND, MAX_CONTACTS, MAX_SOLICITED_KEYS,
    MAX_SOLICITED_KEYS_PER_ADDRESS, SOLICITED_BURST, SOLICITED_LIFETIME, SOLICITED_PER_SECOND,
};
use super::peers::Probe;
use crate::crypto::{PublicKey, SharedKey};
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet};
use core::net::SocketAddr;

/// A key that has answered from a contacted address.
#[derive(Debug)]
struct Answer {
    shared: SharedKey,
    probe: Probe,
}

/// An address that we have contacted.
#[derive(Debug)]
struct Contact {
    ends: Instant,
    keys: usize,
    agreements: Bucket,
}

/// Contacted addresses, and the keys that have answered from there.
#[derive(Debug)]
pub(super) struct Solicited {
    contacts: BTreeMap<SocketAddr, Contact>,
    by_end: BTreeSet<(Instant, SocketAddr)>,
    answers: BTreeMap<(SocketAddr, PublicKey), Answer>,
    /// The answers of each address by when they were probed.
    by_time: BTreeSet<(SocketAddr, Instant, PublicKey)>,
    /// Addresses with answers by the number of their answers.
    by_count: BTreeSet<(usize, SocketAddr)>,
    of_seeds: Bucket,
    of_others: Bucket,
}

impl Solicited {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            contacts: BTreeMap::new(),
            by_end: BTreeSet::new(),
            answers: BTreeMap::new(),
            by_time: BTreeSet::new(),
            by_count: BTreeSet::new(),
            of_seeds: Bucket::full(now, AGREEMENTS_BURST),
            of_others: Bucket::full(now, AGREEMENTS_BURST),
        }
    }

    /// Notes that an address was contacted.
    pub(super) fn expect(&mut self, now: Instant, address: SocketAddr) {
        let ends = now + SOLICITED_LIFETIME;
        if let Some(contact) = self.contacts.get_mut(&address) {
            self.by_end.remove(&(contact.ends, address));
            contact.ends = ends;
        } else {
            if self.contacts.len() >= MAX_CONTACTS
                && let Some(&(_, oldest)) = self.by_end.first()
            {
                self.forget(&oldest);
            }
            let contact = Contact {
                ends,
                keys: 0,
                agreements: Bucket::full(now, SOLICITED_BURST),
            };
            self.contacts.insert(address, contact);
        }
        self.by_end.insert((ends, address));
    }

    /// Returns whether answers from an address are solicited.
    pub(super) fn expects(&self, now: Instant, address: &SocketAddr) -> bool {
        let contact = self.contacts.get(address);
        contact.is_some_and(|contact| contact.ends > now)
    }

    /// Takes one key agreement from the budget of a contacted address.
    pub(super) fn take_agreement(
        &mut self,
        now: Instant,
        address: &SocketAddr,
        is_seed: bool,
    ) -> bool {
        let Some(contact) = self.contacts.get_mut(address) else {
            return false;
        };
        let (rate, burst) = (SOLICITED_PER_SECOND, SOLICITED_BURST);
        let everywhere = if is_seed {
            &mut self.of_seeds
        } else {
            &mut self.of_others
        };
        contact.agreements.take(now, rate, burst)
            && everywhere.take(now, AGREEMENTS_PER_SECOND, AGREEMENTS_BURST)
    }

    /// Returns the key shared with a key that has answered from an address.
    pub(super) fn shared(&self, address: SocketAddr, key: PublicKey) -> Option<&SharedKey> {
        Some(&self.answers.get(&(address, key))?.shared)
    }

    /// Returns the probe that a key was sent at an address.
    pub(super) fn probe(&self, address: SocketAddr, key: PublicKey) -> Option<Probe> {
        Some(self.answers.get(&(address, key))?.probe)
    }

    /// Keeps the probe that a key was sent at a contacted address. When the address has its share, or
    /// all shares are taken, an answer of the address with most goes: the one probed longest ago.
    pub(super) fn insert(
        &mut self,
        address: SocketAddr,
        key: PublicKey,
        shared: SharedKey,
        probe: Probe,
    ) {
        self.remove(address, key);
        let Some(contact) = self.contacts.get(&address) else {
            return;
        };
        let most = if contact.keys >= MAX_SOLICITED_KEYS_PER_ADDRESS {
            Some(address)
        } else if self.answers.len() >= MAX_SOLICITED_KEYS {
            self.by_count.last().map(|(_, address)| *address)
        } else {
            None
        };
        if let Some((most, oldest)) = most.and_then(|most| Some((most, self.oldest(most)?))) {
            self.remove(most, oldest);
        }
        self.by_time.insert((address, probe.sent_at, key));
        self.answers
            .insert((address, key), Answer { shared, probe });
        self.count(address, |keys| keys + 1);
    }

    fn oldest(&self, address: SocketAddr) -> Option<PublicKey> {
        let first = (address, Instant::ZERO, PublicKey::new([0; 32]));
        let (of, _, key) = self.by_time.range(first..).next()?;
        (*of == address).then_some(*key)
    }

    fn count(&mut self, address: SocketAddr, change: impl Fn(usize) -> usize) {
        if let Some(contact) = self.contacts.get_mut(&address) {
            self.by_count.remove(&(contact.keys, address));
            contact.keys = change(contact.keys);
            if contact.keys > 0 {
                self.by_count.insert((contact.keys, address));
            }
        }
    }

    fn remove(&mut self, address: SocketAddr, key: PublicKey) -> Option<Probe> {
        let Answer { probe, .. } = self.answers.remove(&(address, key))?;
        self.by_time.remove(&(address, probe.sent_at, key));
        self.count(address, |keys| keys.saturating_sub(1));
        Some(probe)
    }

    /// Takes the probe with this id that was sent to a key at an address; the address is not waited
    /// for any longer.
    pub(super) fn take(
        &mut self,
        address: SocketAddr,
        key: PublicKey,
        id: &[u8; 32],
    ) -> Option<Probe> {
        let probe = self.probe(address, key).filter(|probe| probe.id == *id)?;
        self.forget(&address);
        Some(probe)
    }

    fn forget(&mut self, address: &SocketAddr) {
        while let Some(key) = self.oldest(*address) {
            self.remove(*address, key);
        }
        if let Some(contact) = self.contacts.remove(address) {
            self.by_end.remove(&(contact.ends, *address));
        }
    }

    /// Forgets addresses that have not answered in time.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(ends, address)) = self.by_end.first()
            && ends <= now
        {
            self.forget(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], n))
    }

    fn key(n: u64) -> PublicKey {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        PublicKey::new(bytes)
    }

    fn insert(solicited: &mut Solicited, now: Instant, address: SocketAddr, n: u64) {
        let probe = Probe {
            id: [1; 32],
            address,
            sent_at: now,
            tries: 1,
            is_for_stream: false,
        };
        solicited.insert(address, key(n), SharedKey::from_bytes([0; 32]), probe);
    }

    #[test]
    fn address_with_most_answers_loses_first() {
        let now = Instant::ZERO;
        let mut solicited = Solicited::new(now);
        solicited.expect(now, at(1));
        insert(&mut solicited, now, at(1), 1);
        for n in 0..20_000 {
            let address = at(2 + u16::try_from(n % 8).unwrap());
            solicited.expect(now, address);
            insert(&mut solicited, Instant::from_micros(n), address, n);
        }
        assert_eq!(solicited.answers.len(), MAX_SOLICITED_KEYS);
        assert!(solicited.shared(at(1), key(1)).is_some());
        // The share of one address.
        let mut solicited = Solicited::new(now);
        solicited.expect(now, at(1));
        for n in 0..5_000 {
            insert(&mut solicited, Instant::from_micros(n), at(1), n);
        }
        assert_eq!(solicited.answers.len(), MAX_SOLICITED_KEYS_PER_ADDRESS);
        assert!(solicited.shared(at(1), key(4_999)).is_some());
        solicited.expire(now + SOLICITED_LIFETIME);
        assert!(solicited.answers.is_empty() && solicited.by_time.is_empty());
        assert!(solicited.by_count.is_empty() && solicited.by_end.is_empty());
    }

    #[test]
    fn contacted_addresses_are_bounded_and_expire() {
        let mut solicited = Solicited::new(Instant::ZERO);
        for n in 0..10_000 {
            solicited.expect(Instant::from_micros(n.into()), at(n));
        }
        assert_eq!(solicited.contacts.len(), MAX_CONTACTS);
        assert!(solicited.expects(Instant::ZERO, &at(9_999)));
        assert!(!solicited.expects(Instant::ZERO, &at(0)));
        // An address that was not contacted has no place.
        insert(&mut solicited, Instant::ZERO, at(0), 1);
        assert!(solicited.answers.is_empty());
    }

    #[test]
    fn forged_answers_for_one_address_cost_no_other_its_budget() {
        let now = Instant::ZERO;
        let mut solicited = Solicited::new(now);
        let taken = |solicited: &mut Solicited, n: u16, is_seed| {
            solicited.expect(now, at(n));
            (0..10_000)
                .filter(|_| solicited.take_agreement(now, &at(n), is_seed))
                .count()
        };
        let share = usize::try_from(SOLICITED_BURST).unwrap();
        assert_eq!(taken(&mut solicited, 1, false), share);
        assert_eq!(taken(&mut solicited, 2, false), share);
        // Seeds are counted apart from all others.
        let rest: usize = (3..100).map(|n| taken(&mut solicited, n, false)).sum();
        let all = usize::try_from(AGREEMENTS_BURST).unwrap();
        assert_eq!(rest + 2 * share, all);
        assert_eq!(taken(&mut solicited, 100, true), share);
        assert!(!solicited.take_agreement(now, &at(9_999), true));
    }
}
