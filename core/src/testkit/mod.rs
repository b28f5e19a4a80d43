//! Testkit: fixtures, and the host that tests of consensus components share.
//!
//! It is compiled for the tests of this crate, and for other crates with the feature `testkit`. It
//! is not part of the interface: it changes without notice.

mod chain_host;
mod fixtures;
mod local_store;
mod state_chain;

pub use chain_host::{ChainHost, Files, Validator};
pub use fixtures::{
    BEGINNING, InterruptAfter, address, header, key, mark, part, peer, transaction,
};
pub use local_store::{HostStore, LocalStore};
pub use state_chain::StateChain;
