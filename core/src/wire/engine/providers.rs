//! Who provides which atom, as others have put it.

use super::limits::{MAX_PROVIDED, MAX_PROVIDED_PER_PEER, MAX_PROVIDERS_PER_ID};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::SocketAddr;

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

#[derive(Debug, Default)]
pub(super) struct Providers {
    by_id: BTreeMap<AtomId, Vec<Provider>>,
    by_expiry: BTreeSet<(Instant, AtomId, PublicKey)>,
    by_source: BTreeSet<(PublicKey, Instant, AtomId, PublicKey)>,
    per_source: BTreeMap<PublicKey, usize>,
}

impl Providers {
    /// Notes a provider of `id`; the same provider's older record goes.
    pub(super) fn put(&mut self, id: AtomId, provider: Provider) {
        self.remove(&id, &provider.key);
        let of_id = self.by_id.get(&id).map_or(&[][..], Vec::as_slice);
        if of_id.len() >= MAX_PROVIDERS_PER_ID
            && let Some(oldest) = of_id.iter().min_by_key(|record| record.expires)
        {
            let oldest = oldest.key;
            self.remove(&id, &oldest);
        }
        let of_source = self.per_source.get(&provider.source).copied().unwrap_or(0);
        if of_source >= MAX_PROVIDED_PER_PEER {
            let first = (
                provider.source,
                Instant::ZERO,
                AtomId::ZERO,
                PublicKey::new([0; 32]),
            );
            let oldest = self.by_source.range(first..).next().copied();
            if let Some((source, _, id, key)) = oldest
                && source == provider.source
            {
                self.remove(&id, &key);
            }
        }
        if self.by_expiry.len() >= MAX_PROVIDED
            && let Some((_, id, key)) = self.by_expiry.first().copied()
        {
            self.remove(&id, &key);
        }
        self.by_expiry.insert((provider.expires, id, provider.key));
        self.by_source
            .insert((provider.source, provider.expires, id, provider.key));
        *self.per_source.entry(provider.source).or_insert(0) += 1;
        // Nearly every id has one provider, and there are many ids.
        let records = self.by_id.entry(id).or_default();
        records.reserve_exact(1);
        records.push(provider);
    }

    fn remove(&mut self, id: &AtomId, key: &PublicKey) {
        let Some(records) = self.by_id.get_mut(id) else {
            return;
        };
        let Some(position) = records.iter().position(|record| record.key == *key) else {
            return;
        };
        let record = records.remove(position);
        if records.is_empty() {
            self.by_id.remove(id);
        }
        self.by_expiry.remove(&(record.expires, *id, *key));
        self.by_source
            .remove(&(record.source, record.expires, *id, *key));
        if let Some(count) = self.per_source.get_mut(&record.source) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&record.source);
            }
        }
    }

    /// The providers of `id` whose records have not expired, the one put last first.
    pub(super) fn of(&self, now: Instant, id: &AtomId) -> impl Iterator<Item = &Provider> {
        let records = self.by_id.get(id).map_or(&[][..], Vec::as_slice);
        records
            .iter()
            .rev()
            .filter(move |record| record.expires > now)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(expires, id, key)) = self.by_expiry.first()
            && expires <= now
        {
            self.remove(&id, &key);
        }
    }

    /// Every record.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AtomId, &Provider)> {
        self.by_id
            .iter()
            .flat_map(|(id, records)| records.iter().map(move |record| (id, record)))
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.by_expiry.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    proptest! {
        #[test]
        fn the_indexes_agree(puts in proptest::collection::vec((0..5u32, 0..12u32, 0..3u32, 1..9u64), 0..100), end in 0..9u64) {
            let mut providers = Providers::default();
            for (n, who, source, expires) in puts {
                providers.put(id(n), provider(who, source, expires));
            }
            providers.expire(Instant::from_secs(end));
            let count = providers.iter().count();
            prop_assert_eq!(providers.by_expiry.len(), count);
            prop_assert_eq!(providers.by_source.len(), count);
            prop_assert_eq!(providers.per_source.values().sum::<usize>(), count);
            prop_assert!(providers.iter().all(|(_, record)| record.expires > Instant::from_secs(end)));
        }
    }
}
