//! Solicited handshakes: answers to our own first contacts.
//!
//! A handshake proves nothing: any node can answer in the name of an address that we contact, under
//! any number of keys and before its owner. So each key that answers from there is sent a probe
//! that is sealed for it, which only the owner of the key can answer if it also receives at the
//! address. Until then the key is not added to the peers.
//!
//! The owner of an address may have answered a handshake that was forged in our name just before
//! our contact, and does not answer twice. So a contact of our own accord is followed up by others
//! with a cookie, which a node of this implementation always echoes; if a packet has come from the
//! address recently, the first contact contains the cookie already. The echo shows that its sender
//! receives at the address, so the probe of its key uses a budget that forged answers cannot use.
//!
//! Budgets are kept per address: forged answers for one address use none of the budgets of others,
//! and unknown peers that contact us use none of them. Seeds have a budget apart from all others,
//! and their answers always count as solicited.

use super::limits::{
    AGREEMENTS_BURST, AGREEMENTS_PER_SECOND, FOLLOW_UPS, MAX_CONTACTS, MAX_SOLICITED_KEYS,
    MAX_SOLICITED_KEYS_PER_ADDRESS, PROBE_INTERVAL, SOLICITED_BURST, SOLICITED_LIFETIME,
    SOLICITED_PER_SECOND,
};
use super::peers::Probe;
use super::rate_limit::{Bucket, ReferralAgreements};
use super::shares::{Share, ShareTable};
use crate::crypto::{PublicKey, SharedKey};
use crate::time::Instant;
use crate::wire::handshake::Cookie;
use alloc::collections::{BTreeMap, BTreeSet};
use core::net::SocketAddr;

/// A key that has answered from a contacted address, and the probe that it was sent.
#[derive(Debug)]
struct Answer {
    shared: SharedKey,
    probe: Probe,
}

/// An address that we have contacted.
#[derive(Debug)]
struct Contact {
    /// Share of the referrer that named it, or ours.
    share: Share,
    /// `true` if a referrer named it.
    is_named: bool,
    keys: usize,
    agreements: Bucket,
    cookie: Option<Cookie>,
    began: Instant,
    follow_ups: usize,
    /// Time of the next follow-up contact.
    due: Option<Instant>,
}

/// Contacted addresses, and the keys that have answered from them.
#[derive(Debug)]
pub(super) struct Solicited {
    contacts: ShareTable<SocketAddr, Contact>,
    by_due: BTreeSet<(Instant, SocketAddr)>,
    answers: BTreeMap<(SocketAddr, PublicKey), Answer>,
    /// Answers of each address by the time of their probe.
    by_time: BTreeSet<(SocketAddr, Instant, PublicKey)>,
    /// Addresses with answers by the number of their answers.
    by_count: BTreeSet<(usize, SocketAddr)>,
    of_seeds: Bucket,
    of_others: Bucket,
    of_echoes: Bucket,
    of_referrals: ReferralAgreements,
}

impl Solicited {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            contacts: ShareTable::new(MAX_CONTACTS),
            by_due: BTreeSet::new(),
            answers: BTreeMap::new(),
            by_time: BTreeSet::new(),
            by_count: BTreeSet::new(),
            of_seeds: Bucket::full(now, AGREEMENTS_BURST),
            of_others: Bucket::full(now, AGREEMENTS_BURST),
            of_echoes: Bucket::full(now, AGREEMENTS_BURST),
            of_referrals: ReferralAgreements::new(),
        }
    }

    /// Records that an address was contacted, of our own accord or because the referrer with this
    /// share named it. When full, the network group with most addresses loses its oldest.
    pub(super) fn expect(
        &mut self,
        now: Instant,
        address: SocketAddr,
        (share, is_named): (Share, bool),
    ) {
        let contact = match self.contacts.remove(&address) {
            Some(before) if is_named => before,
            Some(before) => Contact {
                share,
                is_named,
                ..before
            },
            None => {
                if let Some(loser) = self.contacts.displaced_by(share) {
                    self.forget(&loser);
                }
                Contact {
                    share,
                    is_named,
                    keys: 0,
                    agreements: Bucket::full(now, SOLICITED_BURST),
                    cookie: None,
                    began: now,
                    follow_ups: 0,
                    due: None,
                }
            }
        };
        self.contacts.insert(now, contact.share, address, contact);
    }

    /// Schedules follow-up contacts of a contacted address; they end if it is validated.
    pub(super) fn follow_up(&mut self, now: Instant, address: SocketAddr) {
        if let Some(contact) = self.contacts.get_mut(&address) {
            (contact.began, contact.follow_ups) = (now, 0);
            self.schedule(address);
        }
    }

    /// Cancels the follow-up contacts of an address.
    pub(super) fn end_follow_ups(&mut self, address: SocketAddr) {
        if let Some(contact) = self.contacts.get_mut(&address) {
            contact.follow_ups = FOLLOW_UPS.len();
            self.schedule(address);
        }
    }

    fn schedule(&mut self, address: SocketAddr) {
        if let Some(contact) = self.contacts.get_mut(&address) {
            let after = FOLLOW_UPS.get(contact.follow_ups);
            let due = after.map(|after| contact.began + *after);
            if let Some(before) = core::mem::replace(&mut contact.due, due) {
                self.by_due.remove(&(before, address));
            }
            self.by_due.extend(due.map(|due| (due, address)));
        }
    }

    /// Returns the time of the next follow-up contact.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// Returns an address whose follow-up contact is due, and schedules its next one.
    pub(super) fn next_follow_up(&mut self, now: Instant) -> Option<SocketAddr> {
        let (_, address) = self.by_due.first().filter(|(due, _)| *due <= now)?;
        let address = *address;
        if let Some(contact) = self.contacts.get_mut(&address) {
            contact.follow_ups += 1;
        }
        self.schedule(address);
        Some(address)
    }

    /// Returns the cookie of a contacted address, which becomes `fresh` if it has none.
    pub(super) fn cookie(&mut self, address: &SocketAddr, fresh: Cookie) -> Option<Cookie> {
        let contact = self.contacts.get_mut(address)?;
        Some(*contact.cookie.get_or_insert(fresh))
    }

    /// Returns whether `echo` is the cookie that was sent to an address, which only its owner can
    /// know.
    pub(super) fn is_cookie(&self, address: &SocketAddr, echo: &Cookie) -> bool {
        let contact = self.contacts.get(address);
        contact.is_some_and(|(_, contact)| contact.cookie.as_ref() == Some(echo))
    }

    /// Returns whether answers from an address are solicited.
    pub(super) fn expects(&self, now: Instant, address: &SocketAddr) -> bool {
        let contact = self.contacts.get(address);
        contact.is_some_and(|(at, _)| now.since(at) < SOLICITED_LIFETIME)
    }

    /// Takes one key agreement from the budget of cookie echoes.
    pub(super) fn take_echo_agreement(&mut self, now: Instant) -> bool {
        let (rate, burst) = (AGREEMENTS_PER_SECOND, AGREEMENTS_BURST);
        self.of_echoes.take(now, rate, burst)
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
        let is_counted = contact.is_named && !is_seed;
        contact.agreements.take(now, rate, burst)
            && (!is_counted || self.of_referrals.take(now, contact.share.group()))
            && everywhere.take(now, AGREEMENTS_PER_SECOND, AGREEMENTS_BURST)
    }

    /// Returns the key shared with a key that has answered from an address.
    pub(super) fn shared(&self, address: SocketAddr, key: PublicKey) -> Option<&SharedKey> {
        Some(&self.answers.get(&(address, key))?.shared)
    }

    /// Returns the probe that was sent to a key at an address.
    pub(super) fn probe(&self, address: SocketAddr, key: PublicKey) -> Option<Probe> {
        Some(self.answers.get(&(address, key))?.probe)
    }

    /// Returns whether a key at an address was probed within [`PROBE_INTERVAL`].
    pub(super) fn is_probed(&self, now: Instant, address: SocketAddr, key: PublicKey) -> bool {
        let probe = self.probe(address, key);
        probe.is_some_and(|probe| now.since(probe.sent_at) < PROBE_INTERVAL)
    }

    /// Stores the probe that was sent to a key at a contacted address. When the address has its
    /// maximum number of answers, it loses the one probed longest ago; when all addresses together
    /// have theirs, the address with most answers does.
    pub(super) fn insert(
        &mut self,
        address: SocketAddr,
        key: PublicKey,
        shared: SharedKey,
        probe: Probe,
    ) {
        self.remove(address, key);
        let Some((_, contact)) = self.contacts.get(&address) else {
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

    /// Removes and returns the probe with this id that was sent to a key at an address; no further
    /// answer from the address is awaited.
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
        if let Some(contact) = self.contacts.remove(address)
            && let Some(due) = contact.due
        {
            self.by_due.remove(&(due, *address));
        }
    }

    /// Removes addresses that have not answered within [`SOLICITED_LIFETIME`].
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((at, address)) = self.contacts.oldest()
            && now.since(at) >= SOLICITED_LIFETIME
        {
            self.forget(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns our own share, which is not that of a referrer.
    fn own() -> (Share, bool) {
        let share = Share::of([127, 0, 0, 1].into(), PublicKey::new([1; 32]));
        (share, false)
    }

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
        solicited.expect(now, at(1), own());
        insert(&mut solicited, now, at(1), 1);
        for n in 0..20_000 {
            let address = at(2 + u16::try_from(n % 8).unwrap());
            solicited.expect(now, address, own());
            insert(&mut solicited, Instant::from_micros(n), address, n);
        }
        assert_eq!(solicited.answers.len(), MAX_SOLICITED_KEYS);
        assert!(solicited.shared(at(1), key(1)).is_some());
        // The bound of one address.
        let mut solicited = Solicited::new(now);
        solicited.expect(now, at(1), own());
        for n in 0..5_000 {
            insert(&mut solicited, Instant::from_micros(n), at(1), n);
        }
        assert_eq!(solicited.answers.len(), MAX_SOLICITED_KEYS_PER_ADDRESS);
        assert!(solicited.shared(at(1), key(4_999)).is_some());
        solicited.expire(now + SOLICITED_LIFETIME);
        assert!(solicited.answers.is_empty() && solicited.by_time.is_empty());
        assert!(solicited.by_count.is_empty() && solicited.by_due.is_empty());
        assert_eq!(solicited.contacts.oldest(), None);
    }

    #[test]
    fn contacted_addresses_are_bounded_and_expire() {
        let mut solicited = Solicited::new(Instant::ZERO);
        for n in 0..10_000 {
            solicited.expect(Instant::from_micros(n.into()), at(n), own());
        }
        assert_eq!(solicited.contacts.len(), MAX_CONTACTS);
        assert!(solicited.expects(Instant::ZERO, &at(9_999)));
        assert!(!solicited.expects(Instant::ZERO, &at(0)));
        // An address that was not contacted has no place.
        insert(&mut solicited, Instant::ZERO, at(0), 1);
        assert!(solicited.answers.is_empty());
    }

    #[test]
    fn referrers_of_most_addresses_lose_them_and_their_budget_first() {
        let now = Instant::ZERO;
        let mut solicited = Solicited::new(now);
        let of = |group: u8| {
            let share = Share::of([group, 1, 1, 1].into(), PublicKey::new([group; 32]));
            (share, true)
        };
        solicited.expect(now, at(1), own());
        solicited.expect(now, at(2), of(8));
        for n in 3..10_000 {
            solicited.expect(Instant::from_micros(n.into()), at(n), of(9));
        }
        assert_eq!(solicited.contacts.len(), MAX_CONTACTS);
        assert!(solicited.expects(now, &at(1)) && solicited.expects(now, &at(2)));
        let taken = (6_000..9_000).filter(|n| solicited.take_agreement(now, &at(*n), false));
        let burst = usize::try_from(crate::engine::limits::AGREEMENTS_BURST_PER_GROUP);
        assert_eq!(taken.count(), burst.unwrap());
        for n in 1..=2 {
            assert!(solicited.take_agreement(now, &at(n), false));
        }
    }

    #[test]
    fn forged_answers_for_one_address_leave_the_budgets_of_others() {
        let now = Instant::ZERO;
        let mut solicited = Solicited::new(now);
        let taken = |solicited: &mut Solicited, n: u16, is_seed| {
            solicited.expect(now, at(n), own());
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
