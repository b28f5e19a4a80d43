//! Blocks and transactions for the targets of consensus components.

use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::{
    Block, Builder, Election, Genesis, Header, RecordAtoms, Transaction, difficulty, write_atoms,
};
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;
use astreum_core::wire::network_group::NetworkGroup;

pub(super) use astreum_core::testkit::{BEGINNING, address, key, peer, transaction};

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

/// Returns the id that a byte selects.
pub(super) fn pick(ids: &[AtomId], code: u8) -> Option<AtomId> {
    let at = usize::from(code).checked_rem(ids.len())?;
    ids.get(at).copied()
}
