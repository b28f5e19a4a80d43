//! Fixtures of the unit tests of the parts.

use crate::atom::{AtomId, MemoryStore};
use crate::chain::{Address, Block, write_atoms};
use crate::consensus::sync::announcers::Announcer;
use crate::consensus::sync::block_index::{Basis, BlockIndex, Entry};
use crate::consensus::sync::call::Call;
use crate::consensus::sync::working_set::HostAtoms;
use crate::consensus::{Context, Effect, Environment, Now, Serial};
use crate::engine::FetchRequest;
use crate::testkit::{header, peer};
use crate::time::Instant;
use crate::wire::network_group::NetworkGroup;
use alloc::vec::Vec;
use core::time::Duration;

/// Returns an id by its number.
pub(in crate::consensus::sync) const fn id(number: u8) -> AtomId {
    AtomId::new([number; 32])
}

/// Returns a peer with a network group of its own.
pub(in crate::consensus::sync) fn announcer(number: u8) -> Announcer {
    Announcer {
        peer: peer(number),
        group: NetworkGroup::of([20, number, 0, 1].into()),
        is_seed: false,
    }
}

/// Adds a block to an index, as verified from `root`.
pub(in crate::consensus::sync) fn insert(
    index: &mut BlockIndex,
    block: AtomId,
    previous: AtomId,
    height: u64,
    root: AtomId,
) {
    let entry = Entry {
        height,
        timestamp: 100 * height,
        previous,
        producer: Address::new([1; 32]),
        basis: Basis::Verified(root),
    };
    index.insert(block, entry);
}

/// Stores a chain of this many headers from its genesis up.
pub(in crate::consensus::sync) fn store_headers(store: &mut MemoryStore, count: u64) -> Vec<Block> {
    let (mut blocks, mut previous) = (Vec::new(), AtomId::ZERO);
    for height in 0..count {
        let block = header(height, previous, 100 * height).signed(None);
        write_atoms(block.to_atoms(), store).unwrap();
        previous = block.id();
        blocks.push(block);
    }
    blocks
}

/// Makes a call in which both clocks show this number of seconds.
pub(in crate::consensus::sync) fn call_at<R>(
    seconds: u64,
    atoms: HostAtoms<'_>,
    context: &mut Context,
    act: impl FnOnce(&mut Call<'_, '_>) -> R,
) -> R {
    let now = Now {
        instant: Instant::from_secs(seconds),
        unix: Duration::from_secs(seconds),
    };
    let environment = Environment {
        now,
        atoms,
        parallel: &Serial,
    };
    act(&mut Call::new(&environment, context))
}

/// Returns the fetches that were requested.
pub(in crate::consensus::sync) fn fetches(context: &mut Context) -> Vec<FetchRequest> {
    let effects = core::iter::from_fn(|| context.poll_effect());
    let fetches = effects.filter_map(|effect| match effect {
        Effect::Fetch(request) => Some(request),
        _ => None,
    });
    fetches.collect()
}
