//! Pruning of simulated nodes: what a run keeps, and what has to be readable after it.
//!
//! A run is the node's own, [`prune::run`](astreum_node::prune::run), on the node's cold storage. It
//! is given what a running node gives it (`node/src/node/pruning.rs`), except for the advertised
//! objects: pinned ones are left out, so that a pin alone has to keep them.

use super::host::Host;
use super::ledger::{CHAIN_ID, total};
use astreum_core::atom::{AtomId, AtomSource as _, SourceError};
use astreum_core::chain::{Block, push_links};
use astreum_node::chain_service::Head;
use astreum_node::chain_service::dir::WaitingFork;
use astreum_node::prune::Wanted;
use astreum_node::store::Store;
use astreum_node::store::cold::ColdStore;
use std::collections::BTreeSet;

/// Factor between the maximum depth of a reorganization and the number of kept blocks, as in a node.
pub const REORG_DEPTHS: u64 = 2;
/// Part of the kept blocks, as a divisor, by which a run has to move the horizon, as in a node.
const BLOCKS_DIVISOR: u64 = 4;

/// Pruning of a machine.
#[derive(Clone, Debug, Default)]
pub struct Pruning {
    /// Number of blocks whose state its node keeps; 0 if it keeps everything.
    pub blocks: u64,
    /// Acknowledged atoms that are pinned.
    pub pinned: BTreeSet<AtomId>,
    /// Lowest height whose state has to be readable.
    pub horizon: u64,
    /// True while a run rewrites a pair. Maintenance of the store has to wait.
    pub is_sweeping: bool,
    /// Number of starts after which everything was found.
    pub checks: u64,
}

/// What was found to be readable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// Number of blocks whose state is complete.
    pub blocks: u64,
    /// Number of headers below them.
    pub headers: u64,
}

/// Returns what a run without a chain keeps.
#[must_use]
pub const fn nothing(blocks: u64) -> Wanted {
    Wanted {
        chain_id: CHAIN_ID,
        head: None,
        blocks,
        min_blocks: blocks,
        bytes: None,
        fork: None,
        objects: Vec::new(),
    }
}

impl Host {
    /// Returns what a run keeps now, and records the horizon that follows from it.
    pub fn wanted(&mut self) -> Wanted {
        let blocks = self.pruning.blocks;
        let mut wanted = nothing(blocks);
        let Some(chain) = self.chain() else {
            return wanted;
        };
        let head = chain
            .context()
            .head()
            .map(|head| (head.id(), head.height()));
        let forks = chain.sync().status().contests;
        let forks = forks.iter().filter_map(WaitingFork::of);
        wanted.fork = forks.map(|fork| fork.height).min();
        let waiting = chain.mempool().pool().pending().map(|held| held.entry.id);
        let advertised = self.acknowledged.difference(&self.pruning.pinned);
        wanted.objects = waiting.chain(advertised.copied()).collect();
        if let Some((id, height)) = head {
            wanted.head = Some(id);
            let horizon = (height + 1).saturating_sub(blocks);
            let horizon = horizon.min(wanted.fork.unwrap_or(u64::MAX));
            self.pruning.horizon = self.pruning.horizon.max(horizon);
        }
        wanted
    }

    /// Returns whether enough blocks have gone by since the last run.
    #[must_use]
    pub fn is_pruning_due(&self) -> bool {
        let blocks = self.pruning.blocks;
        let store = self.running.as_ref().map(|running| &running.store);
        let cold = store.and_then(Store::cold);
        let head = self.chain().and_then(|chain| chain.context().head());
        let (Some(cold), Some(head)) = (cold.filter(|_| blocks > 0), head) else {
            return false;
        };
        let span = head.height().saturating_sub(cold.pruned_below(CHAIN_ID));
        span > blocks + blocks / BLOCKS_DIVISOR
    }

    /// Checks that what pruning has to keep is on the disk of a running node: all headers, the blocks
    /// from the horizon to `head` with their state, and what is pinned or advertised.
    ///
    /// # Errors
    /// Fails with the first thing that is not readable.
    pub fn check_kept_blocks(&self, head: AtomId) -> Result<Kept, String> {
        let store = self.running.as_ref().map(|running| &running.store);
        let Some(cold) = store.and_then(Store::cold) else {
            return Ok(Kept::default());
        };
        if !cold.are_pins_complete() {
            return Err("does not know all of its pins".to_owned());
        }
        let is_lost = |id: &&AtomId| !matches!(cold.get(id), Ok(Some(_)));
        if let Some(id) = self.acknowledged.iter().find(is_lost) {
            let is_pinned = self.pruning.pinned.contains(id);
            let what = if is_pinned { "pinned" } else { "advertised" };
            return Err(format!("lacks the {what} atom {id}"));
        }
        let kept = check_blocks(cold, head, self.pruning.horizon)?;
        // A head that is saved again after a reorganization is at most that much lower than the one
        // for which a run kept blocks.
        let min_blocks = self.pruning.blocks - self.pruning.blocks / REORG_DEPTHS;
        if kept.headers > 0 && kept.blocks < min_blocks {
            return Err(format!(
                "keeps the state of {} blocks below its head {head}, at least {min_blocks} are needed",
                kept.blocks
            ));
        }
        Ok(kept)
    }

    /// Returns the height of its head, while its node follows a chain.
    #[must_use]
    pub fn height(&self) -> Option<u64> {
        self.chain()?.context().head().map(Head::height)
    }
}

/// Reads the headers of a chain as a peer would, and the blocks from the horizon on with everything
/// that they lead to, from the disk alone.
fn check_blocks(cold: &ColdStore, head: AtomId, horizon: u64) -> Result<Kept, String> {
    let store = Store::with_cold(0, Some(cold.clone()));
    let (mut kept, mut seen, mut next) = (Kept::default(), BTreeSet::new(), head);
    loop {
        let block = Block::read(&store.served(), next);
        let block = block.map_err(|error| format!("cannot read block {next}: {error}"))?;
        let height = &block.height;
        for (id, atom) in block.to_atoms() {
            if store.served().atom(&id) != Ok(atom) {
                return Err(format!("lacks atom {id} of the header of height {height}"));
            }
        }
        if *height >= horizon {
            kept.blocks += 1;
            for root in [block.transactions, block.receipts] {
                let items = items(&store, root)?;
                check_closure(&store, items.into_iter().chain([root]), &mut seen)
                    .map_err(|what| format!("{what} of the block of height {height}"))?;
            }
            check_closure(&store, [block.accounts], &mut seen)
                .and_then(|()| total(&store, block.accounts).map(drop))
                .map_err(|what| format!("{what} of the state of height {height}"))?;
        } else {
            kept.headers += 1;
        }
        if block.is_genesis() {
            return Ok(kept);
        }
        next = block.previous;
    }
}

/// Returns the ids that are the items of a list.
fn items(store: &Store, list: AtomId) -> Result<Vec<AtomId>, String> {
    let (mut ids, mut next) = (Vec::new(), list);
    while !next.is_zero() {
        let atom = store.get(&next);
        let atom = atom.ok_or_else(|| format!("lacks atom {next} of the list {list}"))?;
        ids.extend(AtomId::from_slice(atom.data()));
        next = atom.next();
    }
    Ok(ids)
}

/// Checks that everything that these lead to is readable. In the simulated chains, every value of 32
/// bytes in a trie is an id.
fn check_closure(
    store: &Store,
    roots: impl IntoIterator<Item = AtomId>,
    seen: &mut BTreeSet<AtomId>,
) -> Result<(), String> {
    let mut waiting: Vec<AtomId> = roots.into_iter().filter(|id| !id.is_zero()).collect();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        let served = store.served();
        match served.atom(&id) {
            Ok(atom) => {
                let Ok(()) = push_links(&served, &atom, &mut waiting);
            }
            Err(SourceError::Missing(id)) => return Err(format!("lacks atom {id}")),
        }
    }
    Ok(())
}
