//! Verified head that follows headers without their bodies.
//!
//! It holds one header, the election seeds and the stakes of all validators: a stake decides who
//! may produce the next block, so the draw needs the whole stake table of the parent. A host
//! without the stakes can only trust the block ids that others give it.
//!
//! Transactions and the state that they leave are not verified. A majority of the stake could sign
//! a header whose accounts do not follow from its transactions; a node that verifies bodies rejects
//! it.

use super::leader_election::{Election, ElectionLoader, StakeLoader};
use super::verify::{VerifyError, verify_header};
use super::{Block, RecordError};
use crate::atom::AtomSource;
use crate::integer::Natural;

/// Number of trie nodes or headers per step of a loader.
const STEPS: u32 = 1_024;

/// Head of a chain whose headers were verified one by one from a trusted block.
///
/// The example `light_client` follows a chain with it and checks account proofs at its head.
#[derive(Clone, Debug)]
pub struct HeaderVerifier {
    chain_id: Natural,
    head: Block,
    election: Election,
    max_stakes: u64,
}

impl HeaderVerifier {
    /// Creates a verifier at a trusted block and reads the inputs of its leader election: all
    /// stakes, and up to 3,071 headers below it. `max_stakes` bounds the stakes that a state may
    /// claim, at the trusted block and at each later one.
    ///
    /// # Errors
    /// Fails if an atom is missing, or the stakes are malformed or too many.
    pub fn load<S: AtomSource + ?Sized>(
        source: &S,
        trusted: Block,
        max_stakes: u64,
    ) -> Result<Self, RecordError<S::Error>> {
        let mut loader = ElectionLoader::new(&trusted, Some(max_stakes));
        let election = loop {
            if let Some(election) = loader.run(source, None, STEPS)? {
                break election;
            }
        };
        Ok(Self {
            chain_id: trusted.chain_id.clone(),
            head: trusted,
            election,
            max_stakes,
        })
    }

    /// Returns the head.
    #[must_use]
    pub const fn head(&self) -> &Block {
        &self.head
    }

    /// Returns the inputs of the next leader election.
    #[must_use]
    pub const fn election(&self) -> &Election {
        &self.election
    }

    /// Verifies a child of the head as [`verify_header`] does, reads the stakes that it leaves as
    /// the difference from the known ones, and makes it the head. `latest` is the latest accepted
    /// timestamp, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// Fails if the header is invalid, if its timestamp is too late, or if an atom is missing. The
    /// head is then unchanged; after a missing atom is stored, the call can be repeated.
    pub fn push<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        block: Block,
        latest: &Natural,
    ) -> Result<(), VerifyError<S::Error>> {
        let Election { seeds, stakes } = &self.election;
        verify_header(&block, &self.head, seeds, stakes, &self.chain_id, latest)?;
        let root = StakeLoader::find_root(source, block.accounts)?;
        let mut loader = StakeLoader::new(stakes.clone(), root).with_max_stakes(self.max_stakes);
        let stakes = loop {
            if let Some(stakes) = loader.run(source, STEPS)? {
                break stakes;
            }
        };
        self.election = self.election.child(block.id(), stakes);
        self.head = block;
        Ok(())
    }
}
