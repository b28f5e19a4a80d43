//! Advertisements of a new block.
//!
//! All atoms of a block are stored. Advertised are those that another node can start from: the
//! heads of lists and records, each for [`LIFETIME`], as in the reference. A full block has more of
//! them than the network could receive in the time to the next block, so [`Offers`] drops the least
//! important ones.
//!
//! Invariant: the block and its body are always advertised; everything else only up to
//! [`MAX_LIVE`].

use crate::atom::{Atom, AtomId, AtomKind};
use crate::chain::{Block, Body};
use crate::consensus::mempool::admission::Pending;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// Time for which the heads of a block are advertised.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Maximum number of live advertisements of blocks; the engine's limit is higher, for objects that
/// users put.
pub const MAX_LIVE: usize = 49_152;
/// Maximum number of advertisements of one block.
pub const MAX_PER_BLOCK: usize = 2_048;
/// Divisor of the remaining room that gives the maximum of one block.
const SHARE: usize = 8;
/// Number of heads advertised even without room: the block and its body.
const ALWAYS: usize = 2;

/// Returns the heads of a block, most important first: the block and its body, its two lists and
/// its accounts, its transactions (head and body), receipts, trie nodes and accounts, and the
/// records of contracts and channels.
#[must_use]
pub fn heads(block: &Block, body: &Body, transactions: &[Pending]) -> Vec<AtomId> {
    let mut heads = own_heads(block);
    heads.extend([block.transactions, block.receipts, block.accounts]);
    for transaction in transactions {
        heads.extend([transaction.id(), transaction.body_hash()]);
    }
    heads.extend(&body.receipt_ids);
    // Records and nodes start with the name of their type.
    let typed = body.atoms.iter();
    let typed = typed.filter(|(_, atom)| atom.kind() == AtomKind::Symbol);
    heads.extend(typed.map(|(id, _)| *id));
    let records = body.atoms.get(body.record_atoms.clone());
    heads.extend(first_of_lists(records.unwrap_or_default()));
    let mut seen = BTreeSet::from([AtomId::ZERO]);
    heads.retain(|id| seen.insert(*id));
    heads
}

/// Returns the ids of the block and its body.
#[must_use]
pub fn own_heads(block: &Block) -> Vec<AtomId> {
    // The body is the first of the atoms, as in the reference.
    let body = block.to_atoms().first().map(|(id, _)| *id);
    [block.id()].into_iter().chain(body).collect()
}

fn first_of_lists(atoms: &[(AtomId, Atom)]) -> Vec<AtomId> {
    let linked: BTreeSet<AtomId> = atoms.iter().map(|(_, atom)| atom.next()).collect();
    let ids = atoms.iter().map(|(id, _)| *id);
    ids.filter(|id| !linked.contains(id)).collect()
}

/// Count of the present advertisements.
#[derive(Debug, Default)]
pub struct Offers {
    /// Number of advertisements by the time when they end.
    ends: VecDeque<(Duration, usize)>,
    live: usize,
}

impl Offers {
    /// Truncates a block's `heads` to those that can be advertised now, and counts them.
    pub fn take(&mut self, now: Duration, heads: &mut Vec<AtomId>) {
        while let Some(&(end, count)) = self.ends.front()
            && end <= now
        {
            self.ends.pop_front();
            self.live -= count;
        }
        let room = MAX_LIVE.saturating_sub(self.live) / SHARE;
        let count = heads.len().min(MAX_PER_BLOCK).min(room.max(ALWAYS));
        heads.truncate(count);
        self.live += count;
        self.ends.push_back((now.saturating_add(LIFETIME), count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;
    use crate::chain::{Address, Builder, Election, Genesis};
    use crate::integer::Natural;
    use crate::trie::Scalar;

    #[test]
    fn offers_are_bounded_and_always_include_the_block() {
        let mut offers = Offers::default();
        let all: Vec<AtomId> = (0..4_000u32)
            .map(|number| Atom::bytes(number.to_be_bytes()).id())
            .collect();
        let mut before = usize::MAX;
        for block in 0..2_000u64 {
            let now = Duration::from_secs(2 * block);
            let mut heads = all.clone();
            offers.take(now, &mut heads);
            assert!(heads.len() >= ALWAYS && heads.len() <= MAX_PER_BLOCK);
            assert_eq!(heads, all[..heads.len()]);
            assert!(offers.live <= MAX_LIVE + 2_000);
            if now < LIFETIME {
                assert!(heads.len() <= before, "less room, fewer offers");
                before = heads.len();
            }
        }
        let mut few = all[..5].to_vec();
        offers.take(Duration::from_secs(10_000), &mut few);
        assert_eq!((few.len(), offers.live), (5, 5));
    }

    #[test]
    fn block_uses_a_share_of_the_offer_limit() {
        let all: Vec<AtomId> = (0..4_000_u32)
            .map(|number| Atom::bytes(number.to_be_bytes()).id())
            .collect();
        let mut offers = Offers {
            live: MAX_LIVE - 100 * SHARE,
            ..Offers::default()
        };
        let mut heads = all.clone();
        offers.take(Duration::ZERO, &mut heads);
        assert_eq!(
            (heads.len(), offers.live),
            (100, MAX_LIVE - 100 * SHARE + 100)
        );
    }

    #[test]
    fn offers_of_a_block_expire_together() {
        let mut offers = Offers::default();
        for (at, count) in [(0, 7), (10, 3), (20, 5)] {
            let mut heads: Vec<AtomId> = (0..count)
                .map(|number: u32| Atom::bytes(number.to_be_bytes()).id())
                .collect();
            offers.take(Duration::from_secs(at), &mut heads);
        }
        assert_eq!(offers.live, 15);
        let nanosecond = Duration::from_nanos(1);
        for (now, live) in [
            (LIFETIME - nanosecond, 15),
            (LIFETIME, 8),
            (LIFETIME + Duration::from_secs(10), 5),
            (LIFETIME + Duration::from_secs(20), 0),
        ] {
            offers.take(now, &mut Vec::new());
            assert_eq!(offers.live, live, "{now:?}");
        }
    }

    #[test]
    fn record_heads_of_a_block_are_unique_and_complete() {
        let (key, other) = ([7; 32], [8; 32]);
        let mut genesis = Genesis::new(Address::new(key), Natural::ZERO, 5_u64.into());
        genesis.balances.insert(Address::new(other), Natural::ONE);
        let mut store = MemoryStore::new();
        let parent = genesis.build(&mut Scalar, &mut store).unwrap();
        let election = Election::read(&store, &parent).unwrap();
        let mut builder = Builder::new(&store, &parent, &election.stakes);
        let body = builder.finish(&mut Scalar, None).unwrap();
        let header = body.header(&parent, Address::new(key), 7_u64.into(), Natural::ONE);
        let block = header.signed(None);
        let heads = heads(&block, &body, &[]);
        assert_eq!(heads[..2], own_heads(&block)[..]);
        let seen: BTreeSet<AtomId> = heads.iter().copied().collect();
        assert!(seen.len() == heads.len() && !seen.contains(&AtomId::ZERO));
        for (id, atom) in &body.atoms {
            // The atoms behind a name are fetched with it.
            let is_named = atom.kind() == AtomKind::Symbol;
            assert!(!is_named || seen.contains(id));
        }
        let linked: BTreeSet<AtomId> = body.atoms.iter().map(|(_, atom)| atom.next()).collect();
        let parts = heads[2..].iter().filter(|id| linked.contains(id));
        assert_eq!(parts.count(), 0, "parts of lists are not offered");
    }

    #[test]
    fn record_is_offered_under_its_first_atom() {
        let (first, list) = crate::atom::bytes_list(&[b"a", b"b", b"c"]);
        let (second, more) = crate::atom::bytes_list(&[b"d"]);
        let atoms: Vec<_> = list
            .into_iter()
            .chain(more)
            .map(|atom| (atom.id(), atom))
            .collect();
        assert_eq!(first_of_lists(&atoms), [first, second]);
    }
}
