//! Blocks and transactions for the targets of consensus components.

use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore};
use astreum_core::chain::{
    Address, Block, Builder, Election, Genesis, Header, RecordAtoms, Transaction, Unsigned,
    difficulty, write_atoms,
};
use astreum_core::crypto::{PublicKey, SigningKey};
use astreum_core::engine::ListLimit;
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;
use astreum_core::wire::network_group::NetworkGroup;

/// Time of the first block.
pub(super) const BEGINNING: u64 = 1_800_000_000;

/// Returns a signing key by its number.
pub(super) fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

/// Returns the account of the key with this number.
pub(super) fn address(number: u8) -> Address {
    Address::from(key(number).verifying_key())
}

/// Returns a peer by its number.
pub(super) fn peer(number: u8) -> PublicKey {
    PublicKey::new([number; 32])
}

/// Returns the network group of the peer with this number; three peers share one.
pub(super) fn group(number: u8) -> NetworkGroup {
    NetworkGroup::of([20, number / 3, 0, 1].into())
}

/// Builds a first block with stakes and balances by key number.
pub(super) fn genesis(
    stakes: &[(u8, u64)],
    balances: &[(u8, u64)],
    store: &mut MemoryStore,
) -> Block {
    let mut genesis = Genesis::new(address(1), Natural::ZERO, BEGINNING.into());
    let stakes = stakes.iter();
    genesis.stakes = stakes
        .map(|(key, stake)| (address(*key), (*stake).into()))
        .collect();
    for (key, balance) in balances {
        genesis.balances.insert(address(*key), (*balance).into());
    }
    let Ok(block) = genesis.build(&mut Scalar, store) else {
        panic!("invalid genesis");
    };
    block
}

/// Returns a transaction that the key `from` signs.
pub(super) fn transaction(
    from: u8,
    recipient: Address,
    amount: u64,
    counter: u64,
    data: &[u8],
) -> Transaction {
    let unsigned = Unsigned {
        chain_id: Natural::ZERO,
        amount: amount.into(),
        counter: counter.into(),
        data: data.into(),
        recipient,
    };
    unsigned.sign(&key(from))
}

/// Makes a block on `parent` with these transactions and the signature of the key `validator`, as
/// another node would, but without a nonce search. Returns it with the atoms of its body; all are
/// added to `store`.
pub(super) fn extend(
    store: &mut MemoryStore,
    parent: &Block,
    validator: u8,
    gap: u64,
    transactions: &[&Transaction],
) -> (Block, RecordAtoms) {
    let Ok(election) = Election::read(&*store, parent) else {
        panic!("the election after our own block is not readable");
    };
    let mut builder = Builder::new(&*store, parent, &election.stakes);
    let mut applied = Vec::new();
    for transaction in transactions {
        if let Ok(Ok(_)) = builder.apply(transaction) {
            applied.push(*transaction);
        }
    }
    let Ok(body) = builder.finish(&mut Scalar, None) else {
        panic!("an atom of the state is missing");
    };
    drop(builder);
    let time = &parent.timestamp + &Natural::from(gap);
    let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
    let header: Header = body.header(parent, address(validator), time, asked);
    let block = header.sign(&key(validator));
    let mut atoms = body.atoms;
    atoms.extend(block.to_atoms());
    let Ok(()) = write_atoms(atoms.clone(), store);
    for transaction in applied {
        let Ok(()) = write_atoms(transaction.to_atoms(), store);
    }
    (block, atoms)
}

/// Returns the beginning of a list: as far as `store` has it, within `limit`, up to `most` atoms.
pub(super) fn part(store: &MemoryStore, id: AtomId, limit: ListLimit, most: usize) -> Vec<Atom> {
    let (mut atoms, mut bytes, mut next) = (Vec::new(), 0, id);
    while !next.is_zero() && atoms.len() < limit.atoms.min(most) && bytes <= limit.bytes {
        let Ok(atom) = store.atom(&next) else {
            break;
        };
        bytes += atom.stored_len();
        next = atom.next();
        atoms.push(atom);
    }
    atoms
}

/// Returns the id that a byte selects.
pub(super) fn pick(ids: &[AtomId], code: u8) -> Option<AtomId> {
    let at = usize::from(code).checked_rem(ids.len())?;
    ids.get(at).copied()
}
