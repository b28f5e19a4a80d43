//! Fuzz target of records, tries, stakes and proofs over arbitrary atoms, correctly linked or not,
//! as a peer may serve them.
//!
//! Promises: no panic; a record is read with a bounded number of atoms; records that are read
//! re-encode without change; lookups, walks and proofs agree; stakes are read within their bound,
//! even if a few shared nodes stand for many entries; transactions over such a state are applied,
//! fail or are refused, and leave a state that can be sealed.

mod scene;

use super::input::Input;
use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError, collect_list};
use astreum_core::chain::{
    Account, Address, Block, ElectionLoader, Outcome, Position, Receipt, RecordAtoms, StakeLoader,
    StakeTable, State, Transaction, channel, contract, read_ids, read_transactions, verify_genesis,
};
use astreum_core::integer::Natural;
use astreum_core::trie::{self, Change, DiffCursor, DiffStep, MAX_KEY_BYTES, Proof, Scalar};
use core::cell::Cell;
use core::convert::Infallible;
use scene::Scene;

/// Maximum number of atoms that reading one record may take.
const RECORD_ATOMS: u32 = 32;
/// Number of nodes of one trie that are compared.
const STEPS: usize = 500;
/// Maximum number of stakes that are read from an unverified state.
const MAX_STAKES: u64 = 64;
/// Maximum number of atoms that reading these stakes may take: five for each node.
const STAKE_ATOMS: u32 = 5 * (4 * 64 + 4_097);
/// Atoms of the headers below a block and of its treasury, as far as a scene has them.
const HEADER_ATOMS: u32 = 20_000;
/// Number of roots that are examined.
const ROOTS: usize = 12;

/// Store that counts reads.
struct Counted<'s> {
    store: &'s MemoryStore,
    reads: Cell<u32>,
}

impl AtomSource for Counted<'_> {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.reads.set(self.reads.get() + 1);
        self.store.atom(id)
    }
}

impl Counted<'_> {
    /// Returns the result of a reader that may read at most `most` atoms.
    fn within<T>(&self, most: u32, read: impl FnOnce(&Self) -> T) -> T {
        let before = self.reads.get();
        let result = read(self);
        let reads = self.reads.get() - before;
        assert!(
            reads <= most,
            "{reads} atoms were read, the limit is {most}"
        );
        result
    }
}

/// Builds the scene that the bytes encode, and reads its last ids as every kind of record.
pub fn run(data: &[u8]) {
    proof_bytes(data);
    let mut scene = Scene::default();
    let mut input = Input(data);
    while scene.step(&mut input).is_some() {
        super::count_operations(1);
    }
    let source = Counted {
        store: &scene.store,
        reads: Cell::new(0),
    };
    let roots: Vec<AtomId> = scene.ids.iter().rev().take(ROOTS).copied().collect();
    for (at, root) in roots.iter().enumerate() {
        records(&source, *root);
        tries(
            &source,
            *root,
            data,
            roots.get(at + 1).copied().unwrap_or_default(),
        );
        stakes(&source, *root);
    }
    if let Some(accounts) = roots.first() {
        transitions(&scene, *accounts);
    }
}

/// Reads bytes as a proof.
fn proof_bytes(data: &[u8]) {
    if let Ok(proof) = Proof::from_bytes(data) {
        assert_eq!(proof.to_bytes(), data, "a proof");
        let root = proof.atoms().first().map(Atom::id).unwrap_or_default();
        for len in [0, 1, 32] {
            let key = data.get(..len).unwrap_or_default();
            let _ = proof.verify(root, key);
        }
    }
}

fn has(atoms: &RecordAtoms, id: AtomId) -> bool {
    assert!(atoms.iter().all(|(id, atom)| atom.id() == *id));
    atoms.iter().any(|(other, _)| *other == id)
}

fn records(source: &Counted<'_>, id: AtomId) {
    if let Ok(account) = source.within(RECORD_ATOMS, |source| Account::read(source, id)) {
        assert_eq!(account.to_atoms().0, id, "an account");
    }
    if let Ok(receipt) = source.within(RECORD_ATOMS, |source| Receipt::read(source, id)) {
        assert_eq!(receipt.to_atoms().0, id, "a receipt");
    }
    if let Ok(transaction) = source.within(RECORD_ATOMS, |source| Transaction::read(source, id)) {
        assert_eq!(transaction.id(), id, "a transaction");
        assert!(has(&transaction.to_atoms(), id));
        let _ = transaction.verify_signature();
    }
    if let Ok(block) = source.within(RECORD_ATOMS, |source| Block::read(source, id)) {
        assert_eq!(block.id(), id, "a block");
        assert!(has(&block.to_atoms(), id));
        let again = block.header().clone().signed(block.signature().copied());
        assert_eq!(again.header(), block.header());
        let _ = block.verify_signature();
        let _ = read_transactions(source, &block);
        let _ = verify_genesis(source, &block, &Natural::ZERO);
        let mut loader = ElectionLoader::new(&block, Some(MAX_STAKES));
        let most = STAKE_ATOMS + HEADER_ATOMS;
        let read = source.within(most, |source| loader.run(source, None, u32::MAX));
        if let Ok(Some(election)) = read {
            assert_eq!(election.block(), id);
            assert!(election.stakes.len() <= MAX_STAKES);
        }
    }
    if let Ok(ids) = read_ids(source, id) {
        let list = collect_list(source, id, ids.len());
        let written = list.map(|atoms| atoms.len());
        assert_eq!(written.ok(), Some(ids.len()));
    }
}

fn tries(source: &Counted<'_>, root: AtomId, data: &[u8], other: AtomId) {
    let (changes, is_whole) = changes(source, AtomId::ZERO, root);
    let sorted = changes
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.key < b.key));
    assert!(sorted, "entries are in order and unique");
    if is_whole {
        let entries = trie::entries(source, root).map_while(Result::ok);
        let walked = changes.iter().map(|change| (&change.key, &change.after));
        assert!(
            entries
                .map(|(key, value)| (key.to_vec(), Some(value)))
                .eq(walked.map(|(key, value)| (key.clone(), value.clone()))),
            "iteration equals a comparison with the empty trie"
        );
    }
    for Change { key, after, .. } in changes {
        assert!(
            key.len() <= MAX_KEY_BYTES && after.as_ref().is_some_and(|value| !value.is_empty())
        );
        // A lookup and a proof give the same result.
        assert_eq!(trie::get(source, root, &key).ok(), Some(after.clone()));
        let Ok(proof) = Proof::prove(source, root, &key) else {
            panic!("a value that was read has no proof");
        };
        assert_eq!(proof.verify(root, &key), Ok(after));
        assert_eq!(Proof::from_bytes(&proof.to_bytes()), Ok(proof));
    }
    for change in self::changes(source, root, other).0 {
        let value = |root| trie::get(source, root, &change.key).ok();
        assert_eq!(
            (value(root), value(other)),
            (Some(change.before), Some(change.after))
        );
    }
    let key = data.get(..32.min(data.len())).unwrap_or_default();
    if let Ok(proof) = Proof::prove(source, root, key) {
        let found = trie::get(source, root, key).ok();
        assert_eq!(
            proof.verify(root, key).ok(),
            found,
            "an absent key has a proof of absence"
        );
    }
}

/// Returns the first differences between two tries, and whether they are complete. A few nodes can
/// stand for any number of them.
fn changes(source: &Counted<'_>, before: AtomId, after: AtomId) -> (Vec<Change>, bool) {
    let mut cursor = DiffCursor::new(before, after);
    let mut changes = Vec::new();
    for _ in 0..STEPS {
        match cursor.step(source) {
            Ok(DiffStep::Node) => {}
            Ok(DiffStep::Change(change)) => changes.push(change),
            Ok(DiffStep::Done) => return (changes, true),
            Err(_) => break,
        }
    }
    (changes, false)
}

/// Reads an id as the root of stakes.
fn stakes(source: &Counted<'_>, root: AtomId) {
    let mut loader = StakeLoader::new(StakeTable::default(), root).with_max_stakes(MAX_STAKES);
    let read = source.within(STAKE_ATOMS, |source| loader.run(source, u32::MAX));
    if let Ok(Some(table)) = read {
        assert!(table.root() == root && table.len() <= MAX_STAKES);
        let sum = table
            .iter()
            .fold(Natural::ZERO, |sum, (_, stake)| &sum + stake);
        assert_eq!(sum, *table.total());
        for (validator, stake) in table.iter() {
            let value = trie::get(source, root, validator.as_bytes()).ok().flatten();
            assert_eq!(value.as_deref(), Some(&*stake.to_bytes_le()), "{validator}");
        }
    }
}

/// Applies transactions over an id as the accounts of a block.
fn transitions(scene: &Scene, accounts: AtomId) {
    let parent = scene.parent(accounts);
    let position = Position::after(&parent, &StakeTable::default());
    let mut state = State::new(&scene.store, position);
    let mut applied = 0;
    for transaction in scene.transactions(accounts) {
        let outcome = state.admit_and_apply(&transaction);
        applied += usize::from(matches!(outcome, Ok(Outcome::Applied { .. })));
    }
    let mut atoms = RecordAtoms::new();
    if let Ok(sealed) = state.seal(&mut Scalar, &mut atoms)
        && applied > 0
    {
        let mut store = scene.store.clone();
        store.extend(atoms.into_iter().map(|(_, atom)| atom));
        let found = Account::find(&store, sealed.accounts, &scene::sender());
        assert!(found.is_ok(), "a sealed record is readable: {found:?}");
    }
}

/// Operations of a transaction whose records are read from the state.
const OPERATIONS: [(bool, u8); 5] = [
    (true, channel::UPDATE),
    (true, channel::WITHDRAW),
    (true, channel::CLOSE),
    (false, contract::OPEN),
    (false, contract::PAY),
];

/// Returns the account of the other party of channels and stakes.
const fn other(number: u8) -> Address {
    Address::new([0x40 + number % 4; 32])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn promises_hold_for_random_atoms() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let len = random.below(400);
            run(&random.bytes(len));
        }
    }
}
