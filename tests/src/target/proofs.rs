//! Fuzz target of proofs: an altered proof of a trie or of an account is rejected or proves the
//! same, and no bytes are a proof of anything else.

use super::input::Input;
use astreum_core::atom::{Atom, AtomId, MemoryStore};
use astreum_core::chain::{AccountProof, Address, Block, Genesis};
use astreum_core::integer::Natural;
use astreum_core::trie::{Proof, Scalar, Trie};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Maximum number of entries of a trie.
const MAX_ENTRIES: usize = 12;
/// Maximum number of changes to a proof.
const MAX_CHANGES: usize = 8;

/// Number of inputs whose altered proofs were accepted and rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// Proofs that still proved the truth.
    pub accepted: usize,
    /// Proofs that were rejected.
    pub rejected: usize,
}

/// State of a chain, and an address in it for each number.
struct Chain {
    store: MemoryStore,
    block: Block,
    other: Block,
}

/// Returns the address with this number; the last half have no account.
fn address(number: u8) -> Address {
    let mut address = [0x5a; 32];
    let [first, .., last] = &mut address;
    (*first, *last) = (number & 1, number & 15);
    Address::new(address)
}

fn chain() -> &'static Chain {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let mut store = MemoryStore::new();
        let mut build = |balance: u64| {
            let mut genesis = Genesis::new(address(0), Natural::ONE, 1_000_u64.into());
            for number in 0..8 {
                genesis.balances.insert(address(number), balance.into());
            }
            match genesis.build(&mut Scalar, &mut store) {
                Ok(block) => block,
                Err(error) => panic!("invalid genesis: {error:?}"),
            }
        };
        let (block, other) = (build(1_000), build(2_000));
        Chain {
            store,
            block,
            other,
        }
    })
}

/// Reads the bytes as a proof, and alters proofs as they say.
pub fn run(data: &[u8]) {
    let _ = reached(data);
}

/// Does the same as [`run`], and returns what became of the altered proofs.
///
/// # Panics
/// Panics if a promise is broken.
#[must_use]
pub fn reached(data: &[u8]) -> Reached {
    super::count_operations(1);
    let mut reached = Reached::default();
    raw(data);
    let mut input = Input(data);
    match input.byte().unwrap_or(0) {
        code if code & 1 == 0 => of_trie(&mut input, &mut reached),
        _ => of_account(&mut input, &mut reached),
    }
    reached
}

/// Decodes any bytes.
fn raw(data: &[u8]) {
    let Ok(proof) = Proof::from_bytes(data) else {
        return;
    };
    assert_eq!(proof.to_bytes(), data, "a proof has one encoding");
    let root = proof.atoms().first().map(Atom::id).unwrap_or_default();
    for len in [0, 1, 32] {
        let key = data.get(..len).unwrap_or_default();
        if let Ok(value) = proof.verify(root, key) {
            // The root is that of these nodes, so the proof is true, and the only one.
            let store: MemoryStore = proof.atoms().iter().cloned().collect();
            assert_eq!(Proof::prove(&store, root, key).as_ref(), Ok(&proof));
            assert_eq!(proof.verify(root, key), Ok(value));
        }
    }
}

/// Builds a trie, proves a key, and alters the proof.
fn of_trie(input: &mut Input<'_>, reached: &mut Reached) {
    let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let count = usize::from(input.byte().unwrap_or(0)) % (MAX_ENTRIES + 1);
    for _ in 0..count {
        let lens = input.byte().unwrap_or(0x11);
        let key = input.bytes(usize::from(lens >> 4) % 5).to_vec();
        let value = input.bytes(usize::from(lens & 15)).to_vec();
        if !value.is_empty() {
            entries.insert(key, value);
        }
    }
    let pairs = entries.iter().map(|(key, value)| (&**key, &**value));
    let Ok(mut trie) = Trie::from_sorted(pairs) else {
        panic!("sorted pairs are a trie");
    };
    let mut store = MemoryStore::new();
    let Ok(root) = trie.commit(&mut Scalar, &mut store);
    let key_len = usize::from(input.byte().unwrap_or(1)) % 5;
    let key = input.bytes(key_len).to_vec();
    let Ok(proof) = Proof::prove(&store, root, &key) else {
        panic!("an atom of a committed trie is missing");
    };
    let truth = entries.get(&key).map(Vec::as_slice);
    let proven = proof.verify(root, &key);
    assert_eq!(proven.as_ref().map(|value| value.as_deref()), Ok(truth));
    let bytes = proof.to_bytes();
    let altered = altered(&bytes, input);
    let verdict = Proof::from_bytes(&altered).and_then(|proof| proof.verify(root, &key));
    judge(verdict.is_ok(), altered == bytes, reached);
}

/// Proves an account of a block, existing or not, and alters the parts of the proof.
fn of_account(input: &mut Input<'_>, reached: &mut Reached) {
    let Chain {
        store,
        block,
        other,
    } = chain();
    let address = address(input.byte().unwrap_or(0));
    let prove = |block: &Block| match AccountProof::prove(store, block, &address) {
        Ok(proof) => proof,
        Err(error) => panic!("an atom of the state is missing: {error:?}"),
    };
    let (proof, foreign) = (prove(block), prove(other));
    let verified = proof.verify(block.id(), &address);
    assert!(verified.is_ok_and(|proven| proven.account.is_some() != proof.account.is_empty()));
    assert!(
        foreign.verify(block.id(), &address).is_err(),
        "another block"
    );
    let what = input.byte().unwrap_or(0);
    let mut altered_proof = proof.clone();
    if what & 1 != 0 {
        altered_proof.block = altered_atoms(&proof.block, &foreign.block, input);
    }
    if what & 2 != 0 {
        let bytes = altered(&proof.path.to_bytes(), input);
        let Ok(path) = Proof::from_bytes(&bytes) else {
            return;
        };
        altered_proof.path = path;
    }
    if what & 4 != 0 {
        altered_proof.account = altered_atoms(&proof.account, &foreign.account, input);
    }
    if what & 8 != 0 {
        altered_proof.path = foreign.path;
    }
    let verdict = altered_proof.verify(block.id(), &address);
    judge(verdict.is_ok(), altered_proof == proof, reached);
}

/// A proof is unique: it is accepted exactly if it was not changed.
fn judge(is_accepted: bool, is_same: bool, reached: &mut Reached) {
    assert_eq!(is_accepted, is_same, "exactly the true proof is accepted");
    reached.accepted += usize::from(is_accepted);
    reached.rejected += usize::from(!is_accepted);
}

/// Removes, repeats, exchanges and alters atoms.
fn altered_atoms(atoms: &[Atom], foreign: &[Atom], input: &mut Input<'_>) -> Vec<Atom> {
    let mut atoms = atoms.to_vec();
    for _ in 0..MAX_CHANGES {
        let Some(code) = input.byte() else { break };
        let at = usize::from(code >> 3);
        let Some(index) = at.checked_rem(atoms.len()) else {
            break;
        };
        match code & 7 {
            0 => drop(atoms.remove(index)),
            1 => {
                let again = atoms.get(index).cloned();
                atoms.extend(again);
            }
            2 => atoms.swap(0, index),
            3 => {
                if let (Some(atom), Some(other)) = (atoms.get_mut(index), foreign.get(index)) {
                    atom.clone_from(other);
                }
            }
            4 | 5 => {
                let bytes = atoms.get(index).map(Atom::to_bytes).unwrap_or_default();
                if let (Ok(changed), Some(atom)) = (
                    Atom::from_bytes(&altered(&bytes, input)),
                    atoms.get_mut(index),
                ) {
                    *atom = changed;
                }
            }
            6 => atoms.push(Atom::bytes(AtomId::ZERO.as_ref())),
            _ => break,
        }
    }
    atoms
}

/// Alters, removes and inserts bytes.
fn altered(bytes: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..MAX_CHANGES {
        let Some(code) = input.byte() else { break };
        let place = usize::from(input.byte().unwrap_or(0)) << (code >> 5);
        let Some(at) = place.checked_rem(bytes.len().max(1)) else {
            break;
        };
        match code & 7 {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (code >> 5);
                }
            }
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..)),
            4 => bytes.insert(at, input.byte().unwrap_or(0)),
            5 => bytes.extend_from_slice(input.bytes(usize::from(code >> 5))),
            6 => bytes.extend_from_within(at..),
            _ => break,
        }
    }
    bytes
}
