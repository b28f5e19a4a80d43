//! Search of cold storage for blocks.

use crate::store::Store;
use crate::store::cold::{ColdError, ColdStore, Progress};
use astreum_core::atom::{Atom, AtomId, AtomKind};
use astreum_core::chain::Block;
use core::ops::ControlFlow;
use std::collections::BTreeMap;

/// Type name of a block, which is the data of its first atom.
const BLOCK: &[u8] = b"block";
/// Stored bytes of that atom: id of the next atom, kind, data.
const STORED_LEN: u32 = 32 + 1 + 5;
/// Memory for atoms while blocks are read, in bytes.
const HOT_BYTES: u64 = 64 << 20;
/// Maximum number of blocks remembered; of more, the highest are kept.
pub const MAX_FOUND: usize = 1 << 22;

/// Block in cold storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Height of the block.
    pub height: u64,
    /// Id of the block before it.
    pub previous: AtomId,
}

/// Blocks of one chain id in cold storage.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Blocks {
    found: BTreeMap<AtomId, Found>,
    /// Number of blocks left out because there were more than [`MAX_FOUND`].
    pub left_out: u64,
    /// Number of blocks that could not be read completely, so that their chain id is unknown.
    pub unreadable: u64,
}

impl Blocks {
    /// Returns the number of blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Returns whether there are no blocks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Returns a block.
    #[must_use]
    pub fn get(&self, id: &AtomId) -> Option<&Found> {
        self.found.get(id)
    }

    /// Returns the genesis blocks, ordered by id.
    #[must_use]
    pub fn geneses(&self) -> Vec<AtomId> {
        let found = self.found.iter();
        let first = found.filter(|(_, found)| found.height == 0);
        first.map(|(id, _)| *id).collect()
    }

    /// Returns the blocks without a successor, the highest first, then by id.
    #[must_use]
    pub fn heads(&self) -> Vec<(AtomId, Found)> {
        let parents: std::collections::BTreeSet<&AtomId> =
            self.found.values().map(|found| &found.previous).collect();
        let tips = self.found.iter().filter(|(id, _)| !parents.contains(id));
        let mut heads: Vec<_> = tips.map(|(id, found)| (*id, *found)).collect();
        heads.sort_by_key(|(id, found)| (core::cmp::Reverse(found.height), *id));
        heads
    }

    fn add(&mut self, id: AtomId, found: Found) {
        self.found.insert(id, found);
        if self.found.len() > MAX_FOUND {
            // The lower half is removed at once, so that this is rare.
            let places = self.found.iter().map(|(id, found)| (found.height, *id));
            let mut places: Vec<(u64, AtomId)> = places.collect();
            let middle = places.len() / 2;
            let (lower, ..) = places.select_nth_unstable(middle);
            for (_, id) in &*lower {
                self.found.remove(id);
            }
            self.left_out += lower.len() as u64;
        }
    }
}

/// Returns a block of the chain `chain_id` with its height, if cold storage holds any.
///
/// # Errors
/// Fails if the disk fails.
pub fn any_block(cold: &ColdStore, chain_id: u64) -> Result<Option<(AtomId, u64)>, ColdError> {
    let mut any = None;
    each_block(cold, chain_id, &mut |_| (), |id, block| {
        any = block.map(|block| (id, block.height.to_u64().unwrap_or(u64::MAX)));
        if any.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(any)
}

/// Returns all blocks of the chain `chain_id` in cold storage.
///
/// # Errors
/// Fails if the disk fails.
pub fn blocks(
    cold: &ColdStore,
    chain_id: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Blocks, ColdError> {
    let mut blocks = Blocks::default();
    each_block(cold, chain_id, progress, |id, block| {
        let found = block.and_then(|block| {
            Some(Found {
                height: block.height.to_u64()?,
                previous: block.previous,
            })
        });
        match found {
            Some(found) => blocks.add(id, found),
            None => blocks.unreadable += 1,
        }
        ControlFlow::Continue(())
    })?;
    Ok(blocks)
}

/// Calls `each` with every block of the chain, and with `None` for blocks that cannot be read.
fn each_block(
    cold: &ColdStore,
    chain_id: u64,
    progress: &mut dyn FnMut(Progress),
    mut each: impl FnMut(AtomId, Option<Block>) -> ControlFlow<()>,
) -> Result<(), ColdError> {
    let store = Store::with_cold(HOT_BYTES, Some(cold.clone()));
    cold.each_of_len(STORED_LEN, progress, |id, atom: Atom| {
        if atom.kind() != AtomKind::Symbol || atom.data() != BLOCK {
            return ControlFlow::Continue(());
        }
        match Block::read(&store, id) {
            Ok(block) if block.chain_id.to_u64() == Some(chain_id) => each(id, Some(block)),
            Ok(_) => ControlFlow::Continue(()),
            Err(_) => each(id, None),
        }
    })
}
