//! Rules for the blocks that a producer signs and announces.

use super::OWN;
use crate::target::scene::address;
use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError};
use astreum_core::chain::{
    Block, Election, VerifyError, check_signatures, read_transactions, verify_body, verify_header,
};
use astreum_core::consensus::producer::growth::stored_growth;
use astreum_core::consensus::producer::{Assembled, AssemblyJob, MAX_LATENESS, ProducerConfig};
use astreum_core::consensus::{Commit, Head, SigningRecord};
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;
use core::convert::Infallible;
use core::time::Duration;
use std::collections::BTreeMap;

/// Blocks that the key has signed for publication, in all runs.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Blocks by their parents, with their times.
    signed: BTreeMap<AtomId, (AtomId, u64)>,
    /// Announced blocks by their parents.
    published: BTreeMap<AtomId, AtomId>,
    /// Genesis that the producer made.
    pub(super) genesis: Option<AtomId>,
    /// Time of the newest block of the key that was made elsewhere.
    pub(super) newest_foreign: u64,
}

/// Store with the atoms that are about to be added to it.
struct Overlay<'s>(&'s MemoryStore, MemoryStore);

impl AtomSource for Overlay<'_> {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.1.atom(id).or_else(|_| self.0.atom(id))
    }
}

impl Judge {
    /// Checks a block that is to be stored.
    pub(super) fn commit(
        &mut self,
        store: &MemoryStore,
        commit: &Commit,
        now: Duration,
        config: &ProducerConfig,
    ) {
        let mark = commit.signed.last();
        let mark = mark
            .copied()
            .unwrap_or_else(|| panic!("the block is not in the signing record"));
        if let Some((block, _)) = self.signed.get(&mark.parent) {
            assert_eq!(*block, mark.block, "two blocks on {}", mark.parent);
            return;
        }
        let latest = self.signed.values().map(|(_, time)| *time).max();
        assert!(
            latest < Some(mark.timestamp),
            "not later than all earlier blocks"
        );
        self.signed
            .insert(mark.parent, (mark.block, mark.timestamp));
        let time = Duration::from_secs(mark.timestamp);
        assert!(
            now >= time && now <= time + MAX_LATENESS,
            "{now:?} is not in the slot of {time:?}"
        );

        let atoms = commit.atoms.iter().map(|(_, atom)| atom.clone());
        let source = Overlay(store, atoms.collect());
        let verdict = verify(&source, mark.parent, mark.block, now);
        let transactions = verdict.unwrap_or_else(|error| panic!("invalid block: {error:?}"));
        assert!(transactions <= config.max_block_transactions);
    }

    /// Removes a block for which storage has no room: it has not left the node, and never will.
    pub(super) fn give_up(&mut self, commit: &Commit) {
        if let Some(mark) = commit.signed.last() {
            self.signed.remove(&mark.parent);
        }
    }

    /// Checks a head that the producer made.
    pub(super) fn publish(&mut self, store: &MemoryStore, signed: &SigningRecord, head: &Head) {
        let id = head.id();
        let is_stored = head
            .block()
            .to_atoms()
            .iter()
            .all(|(id, _)| store.atom(id).is_ok());
        assert!(is_stored, "{id} is announced but not stored");
        if self.genesis == Some(id) {
            return;
        }
        let parent = head.block().previous;
        let is_recorded = signed.on(&parent).is_some_and(|mark| mark.block == id);
        assert!(
            is_recorded,
            "{id} is announced but not in the signing record"
        );
        let first = self.published.insert(parent, id);
        assert!(
            first.is_none_or(|first| first == id),
            "two blocks on {parent}"
        );
    }

    /// Checks after a crash that unrecorded blocks were not announced.
    pub(super) fn crash(&mut self, signed: &SigningRecord) {
        let published = &self.published;
        let is_kept =
            |parent: &AtomId| signed.on(parent).is_some() || published.contains_key(parent);
        self.signed.retain(|parent, _| is_kept(parent));
    }
}

/// Verifies a block as a follower does. Returns the number of its transactions.
fn verify(
    source: &Overlay<'_>,
    parent: AtomId,
    block: AtomId,
    now: Duration,
) -> Result<usize, VerifyError<Infallible>> {
    let (parent, block) = (Block::read(source, parent)?, Block::read(source, block)?);
    assert_eq!(block.validator, address(OWN));
    let Election { seeds, stakes } = Election::read(source, &parent)?;
    let latest = Natural::from(now.as_secs());
    verify_header(&block, &parent, &seeds, &stakes, &Natural::ZERO, &latest)?;
    let transactions = read_transactions(source, &block)?;
    let signed = check_signatures(&transactions);
    verify_body(
        source,
        &block,
        &parent,
        &stakes,
        &transactions,
        &signed,
        &mut Scalar,
    )?;
    Ok(transactions.len())
}

/// Checks the result of a job.
pub(super) fn assembled(job: &AssemblyJob, assembled: &Assembled, room: Option<u64>) {
    assert_eq!(assembled.number, job.number);
    let Ok(assembly) = &assembled.outcome else {
        return;
    };
    let count = assembly.transactions.len();
    assert!(count <= job.max_transactions);
    let left = stored_growth(&assembly.body.atoms) + stored_growth(&assembly.transaction_atoms);
    assert!(left <= assembly.growth_bytes);
    let most = room.map_or(job.max_growth_bytes, |room| room.min(job.max_growth_bytes));
    assert!(
        count == 0 || assembly.growth_bytes <= most,
        "{left} bytes of {most}"
    );
    let is_out = |id: &AtomId| assembly.body.transaction_ids.contains(id);
    let out = assembled.rejected.iter().map(|(id, _)| id);
    let mut out = out.chain(assembled.lacking.iter().map(|(id, _)| id));
    assert!(
        !out.any(is_out),
        "a rejected or incomplete transaction is in no block"
    );
}
