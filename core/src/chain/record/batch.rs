//! Batch encoding of many linked lists of atoms.
//!
//! A block creates tens of thousands of records and accounts, each a list of a few atoms. Within a
//! list, the id of an atom depends on the next one, but the lists are independent, so the atoms at
//! the same position of all lists are hashed in one batch.

use crate::atom::{Atom, AtomId, AtomKind, ID_PREIMAGE_BYTES, id_preimage};
use crate::trie::BatchHasher;
use alloc::vec::Vec;

/// Number of lists hashed together: enough to fill all SIMD lanes, few enough to stay in the CPU
/// cache.
const BATCH_LISTS: usize = 256;

/// Atom without its link: kind and data.
pub(in crate::chain) type Part<'d> = (AtomKind, &'d [u8]);

/// Appends the atoms of lists of `N` parts with their ids to `out`, head first; returns the ids of
/// the heads.
pub(in crate::chain) fn write_lists<const N: usize>(
    hasher: &mut impl BatchHasher,
    lists: &[[Part<'_>; N]],
    out: &mut Vec<(AtomId, Atom)>,
) -> Vec<AtomId> {
    out.reserve(lists.len() * N);
    let mut heads = Vec::with_capacity(lists.len());
    for batch in lists.chunks(BATCH_LISTS) {
        for (list, ids) in batch.iter().zip(list_ids(hasher, batch)) {
            heads.extend(ids.first());
            let links = ids.iter().skip(1).copied().chain([AtomId::ZERO]);
            for (((kind, data), id), next) in list.iter().zip(ids).zip(links) {
                out.push((id, Atom::new(*kind, *data, next)));
            }
        }
    }
    heads
}

/// Computes the ids of the atoms of each list, head first.
fn list_ids<const N: usize>(
    hasher: &mut impl BatchHasher,
    lists: &[[Part<'_>; N]],
) -> Vec<[AtomId; N]> {
    let data: Vec<&[u8]> = lists.iter().flatten().map(|(_, data)| *data).collect();
    let mut data_hashes = Vec::new();
    data_hashes.resize(data.len(), [0; 32]);
    hasher.hash_many(&data, &mut data_hashes);
    let (data_hashes, _) = data_hashes.as_chunks::<N>();

    let mut ids = Vec::new();
    ids.resize(lists.len(), [AtomId::ZERO; N]);
    let mut next = Vec::new();
    next.resize(lists.len(), [0; 32]);
    for position in (0..N).rev() {
        let preimages: Vec<[u8; ID_PREIMAGE_BYTES]> = lists
            .iter()
            .zip(data_hashes)
            .zip(&next)
            .filter_map(|((list, hashes), next)| {
                let (kind, data) = list.get(position)?;
                let hash = hashes.get(position)?;
                let next = AtomId::new(*next);
                // A usize has at most 64 bits on every target of Rust.
                Some(id_preimage(*kind, hash, next, data.len() as u64))
            })
            .collect();
        let messages: Vec<&[u8]> = preimages.iter().map(<[u8; _]>::as_slice).collect();
        hasher.hash_many(&messages, &mut next);
        for (ids, id) in ids.iter_mut().zip(&next) {
            if let Some(slot) = ids.get_mut(position) {
                *slot = AtomId::new(*id);
            }
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::bytes_list;
    use crate::trie::Scalar;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn batch_encoding_matches_single_lists(
            lists in proptest::collection::vec(any::<[[u8; 3]; 4]>(), 0..600),
        ) {
            let parts: Vec<[Part<'_>; 4]> = lists
                .iter()
                .map(|list| list.each_ref().map(|data| (AtomKind::Bytes, data.as_slice())))
                .collect();
            let mut atoms = Vec::new();
            let heads = write_lists(&mut Scalar, &parts, &mut atoms);
            let mut expected = Vec::new();
            let mut expected_heads = Vec::new();
            for list in &lists {
                let (head, atoms) = bytes_list(list);
                expected_heads.push(head);
                expected.extend(atoms.into_iter().map(|atom| (atom.id(), atom)));
            }
            prop_assert_eq!(heads, expected_heads);
            prop_assert_eq!(atoms, expected);
        }
    }
}
