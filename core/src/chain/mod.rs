//! The chain: its records, its rules and who may make a block.
//!
//! Everything here is a function of its arguments and of an atom source. It knows no clock: a time
//! is a whole number of seconds since the Unix epoch that the caller hands in.
//!
//! Invariants:
//! - **Canonical**: a record that can be read has exactly one form, and with it one id. Integers
//!   and versions in their shortest form, ids and addresses of 32 bytes, the kinds of atoms that
//!   its writer uses. So what was read and is written again has the id that it was read under.
//! - **Missing is an outcome**: whatever needs an atom that the source does not have names its id
//!   and has changed nothing; fetch it and call again.
//! - Amounts are [`Natural`](crate::integer::Natural)s: nothing wraps.

mod account;
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
mod journal;
mod leader_election;
mod pow;
mod receipt;
mod record;
mod transaction;
mod transition;
mod verify;

pub use account::{Account, Address};
pub use block::{Block, Header};
pub use execution::{Body, Builder, REWARD};
pub use genesis::{
    Contract as GenesisContract, DEAR_TRANSFER, DEFAULT_BALANCE, DEFAULT_STAKE, DEFAULT_TOTAL_FEES,
    DEFAULT_TREASURY, FILLED_BYTES, Genesis, GenesisError, GenesisWarning,
};
pub use growth::{Growth, INDEX_ENTRY_BYTES};
pub use journal::StateError;
pub use leader_election::{
    Draw, ELECTION_SEEDS_BYTES, EPOCH_BLOCKS, Election, ElectionCache, ElectionError,
    ElectionLoader, ElectionSeeds, MAX_CACHED_ELECTIONS, MAX_GENESIS_STAKES, MAX_SLOTS,
    PARTICIPATION_BLOCKS, Participation, SeedRun, StakeLoader, StakeTable, Stakes, slot_of,
    validator_at,
};
pub use pow::{Miner, difficulty, has_work, unsigned_nonce};
pub use receipt::{Receipt, Status};
pub use record::{RecordAtoms, RecordError, SignedAtoms, signed_atoms, write_atoms};
pub use transaction::{Transaction, Unsigned};
pub use transition::{Outcome, Position, Rejection, Sealed, State, least_new_stake};
pub use verify::{
    BlockBytes, Invalid, Repeated, Total, TurnCheck, VerifyError, check_signatures,
    check_signatures_with, check_signed, read_ids, read_transaction, read_transactions,
    repeat_body, verify_body, verify_genesis, verify_header, verify_link, verify_turn,
};

/// Version of the consensus rules. It is kept with a chain's identity and told in the handshake:
/// blocks made under other rules are valid under none but those.
///
/// | version | rules |
/// | --- | --- |
/// | 1 | the reference's, with the caps and refusals of this implementation: the draws for a block are seeded with the id of its parent, any stake may be filed, the lists that a block's transactions look at have 1,048,576 atoms together at most |
/// | 2 | the draws are seeded by [`ElectionSeeds`]; a new stake has at least a millionth of all stakes ([`least_new_stake`]); the lists have also [`MAX_WALK_BYTES`] together at most |
pub const RULES_VERSION: u32 = 2;
/// The account that holds the stakes.
pub const TREASURY: Address = Address::new([1; 32]);
/// The account that holds what was burnt, and in its data the storage contracts.
pub const BURN: Address = Address::new([0; 32]);
/// Seconds of a slot; each has one validator.
pub const SLOT_SECONDS: u64 = 2;
/// The most transactions that a block may have.
pub const MAX_BLOCK_TRANSACTIONS: usize = 65_536;
/// The most transactions of a block whose lists a reference node can receive.
pub const REFERENCE_BLOCK_TRANSACTIONS: usize = 57;
/// The most bytes of data that a transaction may have.
pub const MAX_TRANSACTION_DATA_BYTES: usize = 60_000;
/// The most bytes that the transactions of a block may have together, as they are stored. It holds
/// [`MAX_BLOCK_TRANSACTIONS`] transfers; without it a block could have gigabytes of data, which a
/// verifier has to hold.
pub const MAX_BLOCK_BYTES: u64 = 48 << 20;
/// The most bytes of a number in a record. A balance has fewer in any chain that can be; a number
/// as long as an atom can be would make reading, adding up and printing it the work.
pub const MAX_INTEGER_BYTES: usize = 256;
/// The most atoms that a list on the chain may have.
pub const MAX_LIST_ATOMS: usize = 1_048_576;
/// The most stored bytes that the lists which a block's transactions look at may have together.
pub const MAX_WALK_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests;
