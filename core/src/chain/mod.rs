//! Blockchain records, consensus rules and leader election.
//!
//! Every function depends only on its arguments and on an atom source. There is no clock: the
//! caller passes times as integer seconds since the Unix epoch.
//!
//! Invariants:
//! - **Canonical**: a record that can be read has exactly one encoding, and therefore one id.
//!   Integers and versions are in shortest form, ids and addresses have 32 bytes, and atom kinds
//!   are those that the writer uses. A record that was read and is written again keeps its id.
//! - **Missing is an outcome**: an operation that needs an atom which the source does not have
//!   returns the atom's id and has changed nothing; fetch the atom and call again.
//! - Amounts are [`Natural`](crate::integer::Natural)s: arithmetic does not wrap.

mod account;
mod account_proof;
mod block;
pub mod channel;
pub mod confirmations;
pub mod contract;
pub mod cost;
mod execution;
mod fields;
pub mod fork_choice;
mod genesis;
mod growth;
mod header_verifier;
mod journal;
mod leader_election;
mod links;
mod pow;
mod receipt;
mod record;
mod transaction;
mod transaction_error;
mod transition;
mod verify;

pub use crate::atom::MAX_LIST_ATOMS;
pub use account::{Account, Address};
pub use account_proof::{AccountProof, AccountProofError, ProvenAccount};
pub use block::{Block, Header};
pub use contract::opened_list;
pub use execution::{Body, Builder, REWARD};
pub use genesis::{
    Contract as GenesisContract, DEFAULT_BALANCE, DEFAULT_STAKE, DEFAULT_TOTAL_FEES,
    DEFAULT_TREASURY, EXPENSIVE_TRANSFER_COST, FILLED_BYTES, Genesis, GenesisError, GenesisWarning,
};
pub use growth::{Growth, INDEX_ENTRY_BYTES};
pub use header_verifier::HeaderVerifier;
pub use journal::StateError;
pub use leader_election::{
    ELECTION_SEEDS_BYTES, EPOCH_BLOCKS, Election, ElectionCache, ElectionError, ElectionLoader,
    ElectionSeeds, KnownElections, MAX_CACHED_ELECTIONS, MAX_GENESIS_STAKES, MAX_SLOTS,
    PARTICIPATION_BLOCKS, Participation, ProposerSchedule, SeedRun, StakeLoader, StakeTable,
    Stakes, slot_of, validator_at,
};
pub use links::push_links;
pub use pow::{Miner, difficulty, has_work, unsigned_nonce};
pub use receipt::{Receipt, Status};
pub use record::{RecordAtoms, RecordError, SignedAtoms, signed_atoms, write_atoms};
pub use transaction::{Transaction, Unsigned};
pub use transaction_error::TransactionError;
#[cfg(feature = "consensus")]
pub(crate) use transition::check_chain;
pub use transition::{Outcome, Position, Sealed, State, min_new_stake};
pub use verify::{
    BlockBytes, ExecutedBody, Invalid, ProposerCheck, Total, VerifyError, check_signatures,
    check_signatures_with, check_signed, read_ids, read_transaction, read_transactions,
    reexecute_body, verify_body, verify_genesis, verify_header, verify_link, verify_proposer,
};

/// Version of the consensus rules. Stored with a chain's identity and sent in the handshake,
/// because blocks made under one version are valid only under that version.
///
/// | version | rules |
/// | --- | --- |
/// | 1 | the reference's, with the limits and rejections of this implementation: leader election for a block is seeded with the id of its parent, a stake of any size may be recorded, the lists that a block's transactions refer to have 1,048,576 atoms together at most |
/// | 2 | leader election is seeded by [`ElectionSeeds`]; a new stake has at least a millionth of all stakes ([`min_new_stake`]); the lists also have [`MAX_WALK_BYTES`] together at most |
pub const RULES_VERSION: u32 = 2;
/// Address of the treasury, the account that holds the stakes.
pub const TREASURY: Address = Address::new([1; 32]);
/// Address of the burn account, which holds burnt amounts and, in its data trie, the storage
/// contracts.
pub const BURN: Address = Address::new([0; 32]);
/// Length of a slot, in seconds. Each slot has one scheduled block producer.
pub const SLOT_SECONDS: u64 = 2;
/// Maximum number of transactions in a block.
pub const MAX_BLOCK_TRANSACTIONS: usize = 65_536;
/// Maximum number of transactions in a block whose lists a reference node can receive.
pub const REFERENCE_BLOCK_TRANSACTIONS: usize = 57;
/// Maximum number of bytes of data in a transaction.
pub const MAX_TRANSACTION_DATA_BYTES: usize = 60_000;
/// Maximum number of bytes, as stored, of all transactions of a block together. Leaves room for
/// [`MAX_BLOCK_TRANSACTIONS`] transfers. Without this limit a block could have gigabytes of data,
/// which a verifier has to hold in memory.
pub const MAX_BLOCK_BYTES: u64 = 48 << 20;
/// Maximum number of bytes of an integer in a record. A balance has fewer in any possible chain. An
/// integer as long as an atom can be would make reading, adding and printing it expensive.
pub const MAX_INTEGER_BYTES: usize = 256;
/// Maximum stored bytes of all lists together that the transactions of one block refer to.
pub const MAX_WALK_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests;
