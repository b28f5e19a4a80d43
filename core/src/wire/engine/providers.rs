//! Who provides which atom, as others have put it.
//!
//! There may be [`MAX_PROVIDED`] records, so they are small: who is named, and who put the record, is
//! kept once for all their records, and records are threaded into lists. All live equally long, so
//! that the order in which they are put is also the one in which they expire.
//!
//! Invariants:
//! - A record stands in exactly three lists: of all records and of those of its source, the oldest
//!   first, and of those of its id, the newest first.
//! - No id, contact or source is kept that no record names.

use super::limits::{MAX_PROVIDED, MAX_PROVIDED_PER_PEER, MAX_PROVIDERS_PER_ID};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use alloc::collections::BTreeMap;
use core::iter;
use core::net::SocketAddr;
use core::num::NonZeroU32;
use slab::Slab;

/// Somebody who provides an atom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Provider {
    /// Who.
    pub key: PublicKey,
    /// Where.
    pub address: SocketAddr,
    /// Until when the record is kept.
    pub expires: Instant,
    /// Who put the record.
    pub source: PublicKey,
}

/// A place in a slab, from one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Slot(NonZeroU32);

impl Slot {
    /// `None` past 2³²: far more than the records that may be.
    fn new(index: usize) -> Option<Self> {
        let number = u32::try_from(index).ok()?.checked_add(1)?;
        NonZeroU32::new(number).map(Self)
    }

    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

#[derive(Debug)]
struct Record {
    id: AtomId,
    expires: Instant,
    contact: Slot,
    source: Slot,
    in_all: Links,
    in_source: Links,
    /// The next older one of its id.
    older: Option<Slot>,
}

/// The neighbours of a record in a list.
#[derive(Clone, Copy, Default, Debug)]
struct Links {
    before: Option<Slot>,
    after: Option<Slot>,
}

/// A list that is threaded through the records.
#[derive(Clone, Copy, Default, Debug)]
struct List {
    first: Option<Slot>,
    last: Option<Slot>,
}

/// Which links of a record belong to a list.
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

#[derive(Debug)]
struct Contact {
    name: (PublicKey, SocketAddr),
    records: u32,
}

#[derive(Debug)]
struct Source {
    key: PublicKey,
    records: u32,
    list: List,
}

#[derive(Debug, Default)]
pub(super) struct Providers {
    records: Slab<Record>,
    all: List,
    /// The newest record of each id.
    newest: BTreeMap<AtomId, Slot>,
    contacts: Slab<Contact>,
    by_name: BTreeMap<(PublicKey, SocketAddr), Slot>,
    sources: Slab<Source>,
    by_key: BTreeMap<PublicKey, Slot>,
}

impl Providers {
    /// Notes a provider of `id`; the same provider's older record goes. No record that is put later
    /// may expire earlier.
    pub(super) fn put(&mut self, id: AtomId, provider: Provider) {
        let same = self.slots_of(&id).find(|slot| {
            self.provider(*slot)
                .is_some_and(|it| it.key == provider.key)
        });
        let oldest_of_id = || self.slots_of(&id).nth(MAX_PROVIDERS_PER_ID - 1);
        if let Some(slot) = same.or_else(oldest_of_id) {
            self.remove(slot);
        }
        let source = self.by_key.get(&provider.source);
        let source = source.and_then(|slot| self.sources.get(slot.index()));
        if let Some(source) = source
            && source.records as usize >= MAX_PROVIDED_PER_PEER
            && let Some(oldest) = source.list.first
        {
            self.remove(oldest);
        }
        if self.records.len() >= MAX_PROVIDED
            && let Some(oldest) = self.all.first
        {
            self.remove(oldest);
        }
        // There is a number for each of as many as there may be.
        let _ = self.insert(id, provider);
    }

    fn insert(&mut self, id: AtomId, provider: Provider) -> Option<()> {
        let slot = Slot::new(self.records.vacant_key())?;
        let contact = self.contact((provider.key, provider.address))?;
        let source = self.source(provider.source)?;
        self.records.insert(Record {
            id,
            expires: provider.expires,
            contact,
            source,
            in_all: Links::default(),
            in_source: Links::default(),
            older: self.newest.insert(id, slot),
        });
        self.contacts.get_mut(contact.index())?.records += 1;
        self.all.append(&mut self.records, IN_ALL, slot);
        let source = self.sources.get_mut(source.index())?;
        source.records += 1;
        source.list.append(&mut self.records, IN_SOURCE, slot);
        Some(())
    }

    /// The contact with this name, which is kept from now on.
    fn contact(&mut self, name: (PublicKey, SocketAddr)) -> Option<Slot> {
        if let Some(slot) = self.by_name.get(&name) {
            return Some(*slot);
        }
        let slot = Slot::new(self.contacts.insert(Contact { name, records: 0 }))?;
        self.by_name.insert(name, slot);
        Some(slot)
    }

    /// The source with this key, which is kept from now on.
    fn source(&mut self, key: PublicKey) -> Option<Slot> {
        if let Some(slot) = self.by_key.get(&key) {
            return Some(*slot);
        }
        let slot = Slot::new(self.sources.insert(Source {
            key,
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

    /// Takes a record that is gone already out of the list of its id.
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

    /// The records of an id, the one put last first.
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
        })
    }

    /// The providers of `id` whose records have not expired, the one put last first.
    pub(super) fn of(&self, now: Instant, id: &AtomId) -> impl Iterator<Item = Provider> {
        self.slots_of(id)
            .filter_map(|slot| self.provider(slot))
            .filter(move |record| record.expires > now)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(slot) = self.all.first
            && let Some(record) = self.records.get(slot.index())
            && record.expires <= now
        {
            self.remove(slot);
        }
    }

    /// Every record, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AtomId, Provider)> {
        self.newest.keys().flat_map(move |id| {
            self.slots_of(id)
                .filter_map(move |slot| Some((id, self.provider(slot)?)))
        })
    }

    /// How many records there are.
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
        }
    }

    fn id(n: u32) -> AtomId {
        AtomId::new(*key(n).as_bytes())
    }

    #[test]
    fn several_per_id_the_latest_first_until_they_expire() {
        let mut providers = Providers::default();
        for who in 0..20 {
            providers.put(id(1), provider(who, 9, 100 + u64::from(who)));
        }
        providers.put(id(1), provider(15, 9, 300));
        let of: Vec<_> = providers
            .of(Instant::ZERO, &id(1))
            .map(|record| record.key)
            .collect();
        assert_eq!(of.first(), Some(&key(15)));
        assert_eq!(
            (of.len(), providers.len()),
            (MAX_PROVIDERS_PER_ID, MAX_PROVIDERS_PER_ID)
        );
        assert_eq!(providers.of(Instant::from_secs(119), &id(1)).count(), 1);
        providers.expire(Instant::from_secs(119));
        assert_eq!(providers.len(), 1);
    }

    #[test]
    fn floods_stay_bounded_and_hurt_their_own_source_first() {
        let mut providers = Providers::default();
        providers.put(id(0), provider(1, 1, 1));
        for n in 1..100_000 {
            providers.put(id(n), provider(2, 2, 2));
        }
        assert_eq!(providers.len(), MAX_PROVIDED_PER_PEER + 1);
        assert_eq!(providers.of(Instant::ZERO, &id(0)).count(), 1);
        for n in 1..100_000 {
            providers.put(id(n), provider(3, n, 3));
        }
        assert_eq!(providers.len(), MAX_PROVIDED);
    }

    #[test]
    fn what_no_record_names_is_forgotten() {
        let mut providers = Providers::default();
        for n in 0..1_000 {
            providers.put(id(n), provider(n, n, 1));
        }
        let kept = |it: &Providers| (it.contacts.len(), it.sources.len(), it.newest.len());
        assert_eq!(kept(&providers), (1_000, 1_000, 1_000));
        providers.expire(Instant::from_secs(1));
        assert_eq!(kept(&providers), (0, 0, 0));
        assert!(providers.by_name.is_empty() && providers.by_key.is_empty());
    }

    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Record>() <= 72 && size_of::<Option<Slot>>() == 4);
    }

    /// Everything as it was put, the newest last, and nothing else.
    #[derive(Default)]
    struct Plain(Vec<(AtomId, Provider)>);

    impl Plain {
        fn put(&mut self, id: AtomId, provider: Provider) {
            self.0
                .retain(|(it, record)| (*it, record.key) != (id, provider.key));
            if self.0.iter().filter(|(it, _)| *it == id).count() >= MAX_PROVIDERS_PER_ID {
                let oldest = self.0.iter().position(|(it, _)| *it == id).unwrap();
                self.0.remove(oldest);
            }
            self.0.push((id, provider));
        }
    }

    proptest! {
        #[test]
        fn the_lists_say_what_a_plain_list_says(
            steps in proptest::collection::vec((0..5u32, 0..12u32, 0..3u32, 0..2u64, any::<bool>()), 0..200),
        ) {
            let (mut providers, mut plain) = (Providers::default(), Plain::default());
            let mut now = 0;
            for (n, who, source, passed, expires) in steps {
                now += passed;
                providers.put(id(n), provider(who, source, now + 9));
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
