//! Parallel fetches of the data that the next blocks of a branch need.

use super::branch::{AheadBody, Branch};
use super::call::Call;
use super::downloads::Downloads;
use super::headers::comes_by_stream;
use super::requests::Purpose;
use super::streams::MIN_HEADERS;
use super::working_set::View;
use crate::arc::Arc;
use crate::atom::{AtomId, AtomKind, AtomSource};
use crate::chain::{BURN, Block, MAX_BLOCK_TRANSACTIONS, TREASURY, Transaction};
use crate::trie;
use crate::wire::stream::MAX_IDS;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

/// Maximum number of blocks whose transactions are fetched in advance.
pub const BODIES_AHEAD: usize = 32;
/// Number of blocks whose transactions are requested by one stream, unless they are the last ones of
/// a branch.
const BODIES_PER_STREAM: usize = BODIES_AHEAD / 4;
const _: () = assert!(BODIES_AHEAD <= MAX_IDS, "one request may bring all");
/// Maximum number of transaction ids held in advance, of all blocks.
pub const MAX_IDS_AHEAD: usize = 1 << 17;
/// Maximum number of transactions looked up in advance in one call.
const LOOKUPS_PER_CALL: usize = 512;
/// Maximum number of atoms of a list that one call reads in advance.
const IDS_PER_CALL: usize = 4_096;

impl Downloads {
    /// Fetches the transactions of the next blocks of a branch. `ids` is the number of transaction
    /// ids that all branches hold in advance.
    pub(super) fn fetch_ahead(&mut self, call: &mut Call<'_, '_>, branch: &mut Branch, ids: usize) {
        let mut room = MAX_IDS_AHEAD.saturating_sub(ids);
        let atoms = call.atoms();
        let wanted = branch.path.upcoming().take(BODIES_AHEAD);
        let known: BTreeSet<AtomId> = branch.bodies.iter().map(|ahead| ahead.block.id()).collect();
        for id in wanted.filter(|id| !known.contains(id)) {
            match Block::read(&self.over(atoms), id) {
                Ok(block) => branch.bodies.push_back(AheadBody {
                    list: block.transactions,
                    block: Arc::new(block),
                    was_streamed: false,
                    count: 0,
                    left: VecDeque::new(),
                }),
                // It has been dropped from memory since its header was read.
                Err(error) => {
                    if let Some(missing) = error.missing()
                        && !comes_by_stream(call, branch, self, id)
                    {
                        self.ahead(call, missing, branch.purpose(id));
                    }
                    break;
                }
            }
        }
        let waiting = self.stream_ahead(call, branch);
        let mut lookups = LOOKUPS_PER_CALL;
        let announcers = &branch.announcers;
        for ahead in &mut branch.bodies {
            let block = ahead.block.id();
            if waiting.contains(&block) || self.streams.brings_body(&block) {
                continue;
            }
            let purpose = Purpose { block, announcers };
            if let Some(missing) = read_on(&self.over(atoms), ahead, &mut room) {
                self.ahead(call, missing, purpose);
            }
            for _ in 0..ahead.left.len() {
                let Some(id) = ahead.left.pop_front() else {
                    break;
                };
                if lookups == 0 {
                    ahead.left.push_front(id);
                    return;
                }
                lookups -= 1;
                let read = Transaction::read(&self.over(atoms), id);
                if let Some(missing) = read.err().and_then(|error| error.missing()) {
                    ahead.left.push_back(id);
                    if !self.ahead(call, missing, purpose) {
                        return;
                    }
                }
            }
        }
    }

    /// Requests by stream the transactions of those of the next blocks of a branch of which none
    /// have arrived, as soon as they are enough for the round trip. Returns those that wait for more.
    fn stream_ahead(&mut self, call: &mut Call<'_, '_>, branch: &mut Branch) -> BTreeSet<AtomId> {
        if branch.path.len() < MIN_HEADERS {
            return BTreeSet::new();
        }
        let view = self.over(call.atoms());
        let is_wanted = |ahead: &&AheadBody| {
            let is_new = !ahead.was_streamed && ahead.count == 0 && !ahead.list.is_zero();
            is_new && view.atom(&ahead.list).is_err()
        };
        let wanted = branch.bodies.iter().filter(is_wanted);
        let wanted: Vec<(AtomId, AtomId)> =
            wanted.map(|ahead| (ahead.block.id(), ahead.list)).collect();
        let requested = wanted.iter().map(|(block, _)| *block).collect();
        let has_more = branch.path.len() > branch.bodies.len() as u64;
        let is_enough = wanted.len() >= BODIES_PER_STREAM || !has_more;
        let streams = &mut self.streams;
        if !is_enough && streams.can_request_bodies(call.now(), &branch.announcers) {
            return requested;
        }
        if is_enough && streams.request_bodies(call, &branch.announcers, &wanted) {
            for ahead in &mut branch.bodies {
                ahead.was_streamed |= requested.contains(&ahead.block.id());
            }
        }
        BTreeSet::new()
    }

    /// Fetches the parts of the parent's accounts that the next block of a branch needs on all
    /// paths at once, instead of one node after the other.
    pub(super) fn fetch_accounts(
        &mut self,
        call: &mut Call<'_, '_>,
        branch: &Branch,
        parent: &Block,
    ) {
        let Some(block) = branch.path.lowest() else {
            return;
        };
        let checked = branch.checked.as_ref();
        let transactions = checked.map_or(&[][..], |checked| checked.transactions());
        let parties = transactions
            .iter()
            .flat_map(|transaction| [transaction.sender(), &transaction.recipient]);
        let addresses: BTreeSet<_> = parties.chain([&TREASURY, &BURN]).collect();
        for address in addresses {
            let found = trie::get(
                &self.over(call.atoms()),
                parent.accounts,
                address.as_bytes(),
            );
            if let Some(missing) = found.err().and_then(|error| error.missing())
                && !self.ahead(call, missing, branch.purpose(block))
            {
                return;
            }
        }
    }
}

/// Reads the transaction list of a block in advance. Returns the missing atom, if any. Malformed
/// data are left for the verification to find.
fn read_on(view: &View<'_>, ahead: &mut AheadBody, room: &mut usize) -> Option<AtomId> {
    for _ in 0..IDS_PER_CALL.min(*room) {
        if ahead.list.is_zero() {
            return None;
        }
        let Ok(atom) = view.atom(&ahead.list) else {
            return Some(ahead.list);
        };
        let id = AtomId::from_slice(atom.data());
        let is_too_long = ahead.count >= MAX_BLOCK_TRANSACTIONS;
        let Some(id) = id.filter(|_| atom.kind() == AtomKind::Bytes && !is_too_long) else {
            ahead.list = AtomId::ZERO;
            return None;
        };
        ahead.left.push_back(id);
        ahead.count += 1;
        *room -= 1;
        ahead.list = atom.next();
    }
    None
}
