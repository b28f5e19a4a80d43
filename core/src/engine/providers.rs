//! Provider index: records of the providers of objects, put by validated peers.
//!
//! There may be [`MAX_PROVIDED`] records, so they are small: providers and sources are stored once
//! for all their records, and records are threaded into lists. All have the same lifetime, so the
//! order in which they are put is also the one in which they expire.
//!
//! A record is *own* if its source is the provider itself, validated; any other is *third-party*. A
//! source has one record of an id. Own records rank before third-party ones and are not displaced
//! by them; among equals the network group with most records of the id loses first, and in it the
//! youngest record, so that later records do not displace established ones. When the index is full,
//! the group and in it the source with most records loses its oldest one.
//!
//! Invariants:
//! - A record is in exactly three lists: that of all records and that of its source, the oldest
//!   first, and that of its id, the newest first.
//! - No id, contact or source is kept without a record that names it.

use super::limits::{MAX_PROVIDED, MAX_PROVIDED_PER_PEER, MAX_PROVIDERS_PER_ID};
use super::shares::{Share, Shares};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use alloc::collections::BTreeMap;
use core::iter;
use core::net::SocketAddr;
use core::num::NonZeroU32;
use slab::Slab;

/// Provider of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Provider {
    /// Public key of the provider.
    pub key: PublicKey,
    /// Address of the provider.
    pub address: SocketAddr,
    /// Time at which the record expires.
    pub expires: Instant,
    /// Peer that put the record.
    pub source: PublicKey,
    /// `true` if the source is the provider itself.
    pub is_own: bool,
    /// `true` if the source had answered a request of ours when it put the record.
    pub has_served: bool,
}

/// Index in a slab, plus one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Slot(NonZeroU32);

impl Slot {
    /// Returns `None` if the index does not fit 32 bits, which is far more than [`MAX_PROVIDED`].
    fn new(index: usize) -> Option<Self> {
        let number = u32::try_from(index).ok()?.checked_add(1)?;
        NonZeroU32::new(number).map(Self)
    }

    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A provider record. See the module's invariants for its lists.
#[derive(Debug)]
struct Record {
    id: AtomId,
    expires: Instant,
    contact: Slot,
    source: Slot,
    is_own: bool,
    has_served: bool,
    in_all: Links,
    in_source: Links,
    /// Next older record of the same id.
    older: Option<Slot>,
}

/// Neighbours of a record in a list.
#[derive(Clone, Copy, Default, Debug)]
struct Links {
    before: Option<Slot>,
    after: Option<Slot>,
}

/// List that is threaded through the records.
#[derive(Clone, Copy, Default, Debug)]
struct List {
    first: Option<Slot>,
    last: Option<Slot>,
}

/// Accessor of the links of a record that belong to a list.
type LinksOf = fn(&mut Record) -> &mut Links;

const IN_ALL: LinksOf = |record| &mut record.in_all;
const IN_SOURCE: LinksOf = |record| &mut record.in_source;

impl List {
    fn append(&mut self, records: &mut Slab<Record>, links_of: LinksOf, slot: Slot) {
        let before = self.last.replace(slot);
        match before.and_then(|before| records.get_mut(before.index())) {
            Some(before) => links_of(before).after = Some(slot),
            None => self.first = Some(slot),
        }
        if let Some(record) = records.get_mut(slot.index()) {
            *links_of(record) = Links {
                before,
                after: None,
            };
        }
    }

    fn unlink(&mut self, records: &mut Slab<Record>, links_of: LinksOf, links: Links) {
        let Links { before, after } = links;
        match before.and_then(|before| records.get_mut(before.index())) {
            Some(before) => links_of(before).after = after,
            None => self.first = after,
        }
        match after.and_then(|after| records.get_mut(after.index())) {
            Some(after) => links_of(after).before = before,
            None => self.last = before,
        }
    }
}

/// Key and address of a provider, and the number of records that name it.
#[derive(Debug)]
struct Contact {
    name: (PublicKey, SocketAddr),
    records: u32,
}

/// A peer that has put records.
#[derive(Debug)]
struct Source {
    key: PublicKey,
    /// Share that its records count against, as of its first one.
    share: Share,
    records: u32,
    list: List,
}

/// The provider index.
#[derive(Debug, Default)]
pub(super) struct Providers {
    records: Slab<Record>,
    all: List,
    /// Newest record of each id.
    newest: BTreeMap<AtomId, Slot>,
    contacts: Slab<Contact>,
    by_name: BTreeMap<(PublicKey, SocketAddr), Slot>,
    sources: Slab<Source>,
    by_key: BTreeMap<PublicKey, Slot>,
    shares: Shares,
}

impl Providers {
    /// Adds a provider of `id`, put by a source with this share; returns `false` if it was refused
    /// in favour of other records. A record that is put later must not expire earlier.
    pub(super) fn put(&mut self, id: AtomId, mut provider: Provider, share: Share) -> bool {
        let name = (provider.key, provider.address);
        let mut replaced: heapless::Vec<Slot, { 2 * MAX_PROVIDERS_PER_ID }> = heapless::Vec::new();
        let mut share = share;
        if let Some(source) = self.source_of(&id, name).filter(|_| !provider.is_own) {
            // The record stays that of its source: no other source may take it over and replace it.
            (provider.source, share) = (source.key, source.share);
        }
        for slot in self.slots_of(&id) {
            let Some((record, source)) = self.record(slot) else {
                continue;
            };
            let is_same_key = self
                .name(record)
                .is_some_and(|(key, _)| key == provider.key);
            let is_same_source = source.key == provider.source;
            if provider.is_own {
                // The provider itself states its address.
                if is_same_key || is_same_source {
                    let _ = replaced.push(slot);
                }
            } else if record.is_own && (is_same_key || is_same_source) {
                return false;
            } else if is_same_source {
                let _ = replaced.push(slot);
            }
        }
        for slot in replaced {
            self.remove(slot);
        }
        if self.slots_of(&id).count() >= MAX_PROVIDERS_PER_ID {
            match self.loser_of(&id, share, (provider.is_own, provider.has_served)) {
                Some(loser) => self.remove(loser),
                None => return false,
            }
        }
        let source = self.by_key.get(&provider.source);
        let source = source.and_then(|slot| self.sources.get(slot.index()));
        if let Some(source) = source
            && source.records as usize >= MAX_PROVIDED_PER_PEER
            && let Some(oldest) = source.list.first
        {
            self.remove(oldest);
        }
        if self.records.len() >= MAX_PROVIDED {
            let loser = self
                .shares
                .loser(share)
                .and_then(|loser| self.oldest_of(loser));
            // If all sources have as many, the oldest record of all is removed.
            if let Some(oldest) = loser.or(self.all.first) {
                self.remove(oldest);
            }
        }
        // Slot numbers suffice for the maximum number of records.
        self.insert(id, provider, share).is_some()
    }

    fn record(&self, slot: Slot) -> Option<(&Record, &Source)> {
        let record = self.records.get(slot.index())?;
        Some((record, self.sources.get(record.source.index())?))
    }

    /// Returns the source of the record of an id that has this key and address.
    fn source_of(&self, id: &AtomId, name: (PublicKey, SocketAddr)) -> Option<&Source> {
        let mut all = self.slots_of(id).filter_map(|slot| self.record(slot));
        let same = all.find(|(record, _)| self.name(record) == Some(name));
        same.map(|(_, source)| source)
    }

    fn name(&self, record: &Record) -> Option<(PublicKey, SocketAddr)> {
        Some(self.contacts.get(record.contact.index())?.name)
    }

    fn oldest_of(&self, share: Share) -> Option<Slot> {
        let source = self.by_key.get(&share.key())?;
        self.sources.get(source.index())?.list.first
    }

    /// Returns the record of an id that a new one of `share` displaces, if any.
    fn loser_of(
        &self,
        id: &AtomId,
        share: Share,
        (is_own, has_served): (bool, bool),
    ) -> Option<Slot> {
        let of_group = |group| {
            let all = self.slots_of(id).filter_map(|slot| self.record(slot));
            all.filter(|(_, source)| source.share.group() == group)
                .count()
        };
        let all = self.slots_of(id).filter_map(|slot| {
            let (record, source) = self.record(slot)?;
            let rank = (
                !record.is_own,
                !record.has_served,
                of_group(source.share.group()),
            );
            Some((slot, rank))
        });
        // The newest of those that rank lowest.
        let mut loser: Option<(Slot, (bool, bool, usize))> = None;
        for (slot, rank) in all {
            if loser.is_none_or(|(_, lowest)| rank > lowest) {
                loser = Some((slot, rank));
            }
        }
        let of_own_group = of_group(share.group()) + 1;
        // If the loser is of its own group, the group stays as large.
        let (slot, rank) = loser?;
        let is_within = self
            .record(slot)
            .is_some_and(|(_, source)| source.share.group() == share.group());
        let new = (!is_own, !has_served, of_own_group - usize::from(is_within));
        (rank >= new).then_some(slot)
    }

    fn insert(&mut self, id: AtomId, provider: Provider, share: Share) -> Option<()> {
        let slot = Slot::new(self.records.vacant_key())?;
        let contact = self.contact((provider.key, provider.address))?;
        let source = self.source(provider.source, share)?;
        self.records.insert(Record {
            id,
            expires: provider.expires,
            contact,
            source,
            is_own: provider.is_own,
            has_served: provider.has_served,
            in_all: Links::default(),
            in_source: Links::default(),
            older: self.newest.insert(id, slot),
        });
        self.contacts.get_mut(contact.index())?.records += 1;
        self.all.append(&mut self.records, IN_ALL, slot);
        let source = self.sources.get_mut(source.index())?;
        source.records += 1;
        self.shares.add(source.share);
        source.list.append(&mut self.records, IN_SOURCE, slot);
        Some(())
    }

    /// Returns the slot of the contact with this key and address; adds it if it is new.
    fn contact(&mut self, name: (PublicKey, SocketAddr)) -> Option<Slot> {
        if let Some(slot) = self.by_name.get(&name) {
            return Some(*slot);
        }
        let slot = Slot::new(self.contacts.insert(Contact { name, records: 0 }))?;
        self.by_name.insert(name, slot);
        Some(slot)
    }

    /// Returns the slot of the source with this key; adds it if it is new.
    fn source(&mut self, key: PublicKey, share: Share) -> Option<Slot> {
        if let Some(slot) = self.by_key.get(&key) {
            return Some(*slot);
        }
        let slot = Slot::new(self.sources.insert(Source {
            key,
            share,
            records: 0,
            list: List::default(),
        }))?;
        self.by_key.insert(key, slot);
        Some(slot)
    }

    fn remove(&mut self, slot: Slot) {
        let Some(record) = self.records.try_remove(slot.index()) else {
            return;
        };
        self.remove_from_id(&record, slot);
        self.all.unlink(&mut self.records, IN_ALL, record.in_all);
        if let Some(source) = self.sources.get_mut(record.source.index()) {
            let links = record.in_source;
            source.list.unlink(&mut self.records, IN_SOURCE, links);
            source.records -= 1;
            self.shares.remove(source.share);
            if source.records == 0 {
                self.by_key.remove(&source.key);
                self.sources.remove(record.source.index());
            }
        }
        if let Some(contact) = self.contacts.get_mut(record.contact.index()) {
            contact.records -= 1;
            if contact.records == 0 {
                self.by_name.remove(&contact.name);
                self.contacts.remove(record.contact.index());
            }
        }
    }

    /// Removes a record, which has left the slab already, from the list of its id.
    fn remove_from_id(&mut self, record: &Record, slot: Slot) {
        if self.newest.get(&record.id) != Some(&slot) {
            let newer = self
                .slots_of(&record.id)
                .find(|newer| self.older(*newer) == Some(slot));
            if let Some(newer) = newer.and_then(|newer| self.records.get_mut(newer.index())) {
                newer.older = record.older;
            }
        } else if let Some(older) = record.older {
            self.newest.insert(record.id, older);
        } else {
            self.newest.remove(&record.id);
        }
    }

    fn older(&self, slot: Slot) -> Option<Slot> {
        self.records.get(slot.index())?.older
    }

    /// Returns the records of an id, the one put last first.
    fn slots_of(&self, id: &AtomId) -> impl Iterator<Item = Slot> {
        iter::successors(self.newest.get(id).copied(), |slot| self.older(*slot))
    }

    fn provider(&self, slot: Slot) -> Option<Provider> {
        let record = self.records.get(slot.index())?;
        let (key, address) = self.contacts.get(record.contact.index())?.name;
        Some(Provider {
            key,
            address,
            expires: record.expires,
            source: self.sources.get(record.source.index())?.key,
            is_own: record.is_own,
            has_served: record.has_served,
        })
    }

    /// Returns the providers of `id` whose records have not expired: own records first, of these
    /// the ones of sources that have served us, and within each rank the one put last first.
    pub(super) fn of(&self, now: Instant, id: &AtomId) -> impl Iterator<Item = Provider> {
        let of_kind = move |kind| {
            self.slots_of(id)
                .filter_map(|slot| self.provider(slot))
                .filter(move |record| {
                    (record.is_own, record.has_served) == kind && record.expires > now
                })
        };
        let kinds = [(true, true), (true, false), (false, true), (false, false)];
        kinds.into_iter().flat_map(of_kind)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(slot) = self.all.first
            && let Some(record) = self.records.get(slot.index())
            && record.expires <= now
        {
            self.remove(slot);
        }
    }

    /// Returns every record, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AtomId, Provider)> {
        self.newest.keys().flat_map(move |id| {
            self.slots_of(id)
                .filter_map(move |slot| Some((id, self.provider(slot)?)))
        })
    }

    /// Returns the number of records.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn key(n: u32) -> PublicKey {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        PublicKey::new(bytes)
    }

    fn provider(who: u32, source: u32, expires: u64) -> Provider {
        Provider {
            key: key(who),
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            expires: Instant::from_secs(expires),
            source: key(source),
            is_own: false,
            has_served: false,
        }
    }

    /// Each source is in a network group of its own.
    fn share(provider: &Provider) -> Share {
        let [_, b, c, d, ..] = *provider.source.as_bytes();
        Share::of([11 + c % 100, d, b, 1].into(), provider.source)
    }

    fn put(providers: &mut Providers, id: AtomId, provider: Provider) -> bool {
        providers.put(id, provider, share(&provider))
    }

    fn id(n: u32) -> AtomId {
        AtomId::new(*key(n).as_bytes())
    }

    #[test]
    fn lists_several_providers_per_id_latest_first_until_they_expire() {
        let mut providers = Providers::default();
        for n in 0..20 {
            put(&mut providers, id(1), provider(n, n, 100 + u64::from(n)));
        }
        put(&mut providers, id(1), provider(5, 5, 300));
        let of: Vec<_> = providers
            .of(Instant::ZERO, &id(1))
            .map(|record| record.key)
            .collect();
        // The established ones, and the last that came.
        assert_eq!(of, [5, 19, 6, 4, 3, 2, 1, 0].map(key));
        assert_eq!(providers.len(), MAX_PROVIDERS_PER_ID);
        assert_eq!(providers.of(Instant::from_secs(119), &id(1)).count(), 1);
        providers.expire(Instant::from_secs(119));
        assert_eq!(providers.len(), 1);
    }

    #[test]
    fn floods_stay_bounded_and_displace_their_own_source_first() {
        let mut providers = Providers::default();
        put(&mut providers, id(0), provider(1, 1, 1));
        for n in 1..100_000 {
            put(&mut providers, id(n), provider(2, 2, 2));
        }
        assert_eq!(providers.len(), MAX_PROVIDED_PER_PEER + 1);
        assert_eq!(providers.of(Instant::ZERO, &id(0)).count(), 1);
        for n in 1..100_000 {
            put(&mut providers, id(n), provider(3, n, 3));
        }
        assert_eq!(providers.len(), MAX_PROVIDED);
    }

    #[test]
    fn third_party_record_displaces_no_own_record_and_each_source_has_one_per_id() {
        let mut providers = Providers::default();
        let own = |n, expires| Provider {
            is_own: true,
            ..provider(n, n, expires)
        };
        let of = |providers: &Providers| -> Vec<(PublicKey, bool)> {
            let id = id(1);
            let of = providers.of(Instant::ZERO, &id);
            of.map(|it| (it.key, it.is_own)).collect()
        };
        // A source that names many providers.
        for n in 100..200 {
            put(&mut providers, id(1), provider(n, 99, 1));
        }
        assert_eq!(of(&providers), [(key(199), false)]);
        // Own records rank first, and third-party records about the same peer are refused.
        assert!(put(&mut providers, id(1), own(1, 1)));
        assert!(!put(&mut providers, id(1), provider(1, 98, 1)));
        assert!(
            put(&mut providers, id(1), own(99, 1)),
            "in place of its third-party record"
        );
        assert!(!put(&mut providers, id(1), provider(3, 99, 1)));
        for n in 200..300 {
            put(&mut providers, id(1), provider(n, n, 1));
        }
        assert_eq!(of(&providers)[..2], [(key(99), true), (key(1), true)]);
        assert_eq!(providers.len(), MAX_PROVIDERS_PER_ID);
        // Six more own records displace third-party ones, and further ones the youngest.
        for n in 300..310 {
            assert!(put(&mut providers, id(1), own(n, 1)));
        }
        let kept = [309, 305, 304, 303, 302, 301, 300, 99, 1].map(|n| (key(n), true));
        assert_eq!(of(&providers), [&kept[..1], &kept[2..]].concat());
        assert!(
            !put(&mut providers, id(1), provider(400, 400, 1)),
            "third-party record"
        );
    }

    #[test]
    fn third_party_record_stays_with_its_source() {
        let mut providers = Providers::default();
        put(&mut providers, id(1), provider(1, 2, 1));
        // A malicious source repeats another's record, and then replaces it.
        put(&mut providers, id(1), provider(1, 3, 2));
        put(&mut providers, id(1), provider(9, 3, 2));
        let of: Vec<_> = providers.of(Instant::from_secs(1), &id(1)).collect();
        assert_eq!(of, [provider(9, 3, 2), provider(1, 2, 2)]);
    }

    #[test]
    fn group_with_most_records_of_an_id_loses_first() {
        let mut providers = Providers::default();
        let in_group = |n: u32, group: u8| {
            let record = provider(n, n, 1);
            (record, Share::of([group, 1, 1, 1].into(), record.source))
        };
        for n in 0..100 {
            let (record, share) = in_group(n, 50);
            providers.put(id(1), record, share);
        }
        for n in 100..107 {
            let (record, share) = in_group(n, u8::try_from(n).unwrap());
            assert!(providers.put(id(1), record, share));
        }
        let of: Vec<_> = providers
            .of(Instant::ZERO, &id(1))
            .map(|it| it.key)
            .collect();
        assert_eq!(of, [106, 105, 104, 103, 102, 101, 100, 0].map(key));
    }

    /// Five keys of one network put as many records as they may.
    #[test]
    fn full_index_evicts_from_the_group_with_most_records() {
        let mut providers = Providers::default();
        for n in 0..128 {
            put(&mut providers, id(n), provider(n, n, 1));
        }
        for n in 0..100_000u32 {
            let record = provider(1_000 + n % 5, 1_000 + n % 5, 1);
            let share = Share::of([9, 9, 9, 9].into(), record.source);
            providers.put(id(1_000 + n), record, share);
            if n % 1_000 == 0 {
                let late = 500_000 + n;
                put(&mut providers, id(late), provider(late, late, 1));
            }
        }
        assert_eq!(providers.len(), MAX_PROVIDED);
        let is_kept = |n| providers.of(Instant::ZERO, &id(n)).count() == 1;
        assert!((0..128).all(is_kept));
        assert!((0..100).all(|n| is_kept(500_000 + 1_000 * n)));
    }

    #[test]
    fn unreferenced_contacts_and_sources_are_removed() {
        let mut providers = Providers::default();
        for n in 0..1_000 {
            put(&mut providers, id(n), provider(n, n, 1));
        }
        let kept = |it: &Providers| (it.contacts.len(), it.sources.len(), it.newest.len());
        assert_eq!(kept(&providers), (1_000, 1_000, 1_000));
        providers.expire(Instant::from_secs(1));
        assert_eq!(kept(&providers), (0, 0, 0));
        assert!(providers.by_name.is_empty() && providers.by_key.is_empty());
    }

    #[test]
    fn record_is_small() {
        assert!(size_of::<Record>() <= 72 && size_of::<Option<Slot>>() == 4);
    }

    /// Model of the index: all records in the order of their puts.
    #[derive(Default)]
    struct Plain(Vec<(AtomId, Provider)>);

    impl Plain {
        fn put(&mut self, id: AtomId, mut provider: Provider) {
            let same = self.0.iter().find(|(it, record)| {
                (*it, record.key, record.address) == (id, provider.key, provider.address)
            });
            if let Some((_, same)) = same {
                provider.source = same.source;
            }
            self.0.retain(|(it, record)| {
                *it != id || (record.key != provider.key && record.source != provider.source)
            });
            self.0.push((id, provider));
        }
    }

    proptest! {
        #[test]
        fn threaded_lists_agree_with_a_plain_list(
            steps in proptest::collection::vec((0..5u32, 0..12u32, 0..3u32, 0..2u64, any::<bool>()), 0..200),
        ) {
            let (mut providers, mut plain) = (Providers::default(), Plain::default());
            let mut now = 0;
            for (n, who, source, passed, expires) in steps {
                now += passed;
                put(&mut providers, id(n), provider(who, source, now + 9));
                plain.put(id(n), provider(who, source, now + 9));
                if expires {
                    providers.expire(Instant::from_secs(now));
                    plain.0.retain(|(_, record)| record.expires > Instant::from_secs(now));
                }
                for n in 0..5 {
                    let of: Vec<Provider> = providers.of(Instant::ZERO, &id(n)).collect();
                    let all = plain.0.iter().rev().filter(|(it, _)| *it == id(n));
                    prop_assert_eq!(of, all.map(|(_, record)| *record).collect::<Vec<_>>());
                }
                for source in 0..3 {
                    let kept = providers.by_key.get(&key(source));
                    let kept = kept.and_then(|slot| providers.sources.get(slot.index()));
                    let put = plain.0.iter().filter(|(_, record)| record.source == key(source));
                    let first = put.clone().next();
                    let oldest = kept.and_then(|kept| providers.records.get(kept.list.first?.index()));
                    prop_assert_eq!(oldest.map(|record| &record.id), first.map(|(id, _)| id));
                    prop_assert_eq!(kept.map_or(0, |kept| kept.records as usize), put.count());
                }
            }
            let mut order = Vec::new();
            while let Some(slot) = providers.all.first {
                order.push((providers.records[slot.index()].id, providers.provider(slot).unwrap()));
                providers.remove(slot);
            }
            prop_assert_eq!(order, plain.0);
            prop_assert!(providers.newest.is_empty() && providers.all.last.is_none());
        }
    }
}
