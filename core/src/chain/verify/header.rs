//! Verification of a block's header against its parent's.

use super::error::{Invalid, Total, VerifyError};
use crate::atom::AtomSource;
use crate::chain::journal::StateError;
use crate::chain::leader_election::{ElectionSeeds, ProposerSchedule, StakeTable, slot_of};
use crate::chain::pow::{difficulty, has_work};
use crate::chain::{Account, Address, BURN, Block, TREASURY};
use crate::integer::Natural;

/// Verifies everything in the header of `block` that does not depend on the state: chain id,
/// parent, height, timestamp, difficulty, proof of work and signature.
///
/// `latest` is the latest accepted timestamp, in seconds since the Unix epoch.
///
/// ```
/// use astreum_core::chain::{Invalid, VerifyError, verify_link};
/// use core::convert::Infallible;
/// # use astreum_core::chain::{Builder, Election, Miner, SLOT_SECONDS, difficulty};
/// # use astreum_core::atom::MemoryStore;
/// # use astreum_core::chain::{Address, Genesis};
/// # use astreum_core::crypto::SigningKey;
/// # use astreum_core::integer::Natural;
/// # use astreum_core::trie::Scalar;
/// # let key = SigningKey::from_seed(&[1; 32]);
/// # let validator = Address::from(key.verifying_key());
/// # let mut store = MemoryStore::new();
/// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// # let parent = genesis.build(&mut Scalar, &mut store)?;
/// # let Election { seeds, stakes } = Election::read(&store, &parent)?;
/// # let body = Builder::new(&store, &parent, &stakes).finish(&mut Scalar, Some(validator))?;
/// # let time = &parent.timestamp + &SLOT_SECONDS.into();
/// # let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
/// # let header = body.header(&parent, validator, time.clone(), asked);
/// # let mut miner = Miner::new(header, key, &parent.difficulty);
/// # let block = miner.try_nonces(1 << 20, &mut Scalar).ok_or("no nonce")?;
/// // `block` follows `parent` two seconds later.
/// let verify = |chain_id: u64, latest: &Natural| {
///     verify_link::<Infallible>(&block, &parent, &chain_id.into(), latest)
/// };
/// assert!(verify(0, &time).is_ok());
/// assert!(matches!(verify(0, &parent.timestamp), Err(VerifyError::Future { .. })));
/// let foreign = verify(7, &time).unwrap_err();
/// assert!(matches!(foreign.invalid(), Some(Invalid::ChainId { .. })));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// Returns [`VerifyError::Future`] if the timestamp is later than `latest`, which is checked before
/// anything expensive, and [`VerifyError::Invalid`] if another check fails.
pub fn verify_link<E>(
    block: &Block,
    parent: &Block,
    chain_id: &Natural,
    latest: &Natural,
) -> Result<(), VerifyError<E>> {
    check_place(block, parent, chain_id)?;
    if block.timestamp > *latest {
        return Err(VerifyError::Future {
            stated: block.timestamp.clone(),
            latest: latest.clone(),
        });
    }
    let expected = difficulty(&parent.timestamp, &block.timestamp, &parent.difficulty);
    if block.difficulty != expected {
        let stated = block.difficulty.clone();
        return Err(Invalid::Difficulty { stated, expected }.into());
    }
    if !has_work(&block.id(), &parent.difficulty) {
        let needed = parent.difficulty.clone().max(Natural::ONE);
        return Err(Invalid::Work { needed }.into());
    }
    block.verify_signature().map_err(Invalid::Signature)?;
    Ok(())
}

fn check_place(block: &Block, parent: &Block, chain_id: &Natural) -> Result<(), Invalid> {
    if block.chain_id != *chain_id {
        return Err(Invalid::ChainId {
            stated: block.chain_id.clone(),
            expected: chain_id.clone(),
        });
    }
    if block.previous != parent.id() {
        return Err(Invalid::Previous {
            stated: block.previous,
            expected: parent.id(),
        });
    }
    let expected = &parent.height + &Natural::ONE;
    if block.height != expected {
        let stated = block.height.clone();
        return Err(Invalid::Height { stated, expected });
    }
    if block.timestamp <= parent.timestamp {
        return Err(Invalid::Timestamp {
            stated: block.timestamp.clone(),
            parent: parent.timestamp.clone(),
        });
    }
    Ok(())
}

/// Incremental check that a block was made in a slot of its producer, with a bounded number of
/// draws per call: a block long after its parent takes one draw per slot in between.
///
/// ```
/// use astreum_core::chain::ProposerCheck;
/// use core::convert::Infallible;
/// # use astreum_core::chain::{Builder, Election, Miner, SLOT_SECONDS, difficulty};
/// # use astreum_core::atom::MemoryStore;
/// # use astreum_core::chain::{Address, Genesis};
/// # use astreum_core::crypto::SigningKey;
/// # use astreum_core::integer::Natural;
/// # use astreum_core::trie::Scalar;
/// # let key = SigningKey::from_seed(&[1; 32]);
/// # let validator = Address::from(key.verifying_key());
/// # let mut store = MemoryStore::new();
/// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// # let parent = genesis.build(&mut Scalar, &mut store)?;
/// # let Election { seeds, stakes } = Election::read(&store, &parent)?;
/// # let body = Builder::new(&store, &parent, &stakes).finish(&mut Scalar, Some(validator))?;
/// # let time = &parent.timestamp + &SLOT_SECONDS.into();
/// # let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
/// # let header = body.header(&parent, validator, time.clone(), asked);
/// # let mut miner = Miner::new(header, key, &parent.difficulty);
/// # let block = miner.try_nonces(1 << 20, &mut Scalar).ok_or("no nonce")?;
/// let mut check = ProposerCheck::new::<Infallible>(&block, &parent, &seeds, &stakes)?;
/// let verdict = loop {
///     // At most 1,000 draws in each call.
///     if let Some(verdict) = check.run(1_000) {
///         break verdict;
///     }
/// };
/// assert_eq!(verdict, Ok(()));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ProposerCheck {
    schedule: ProposerSchedule,
    slot: u64,
    stated: Address,
}

impl ProposerCheck {
    /// Creates the check of `block`, for which [`verify_link`] must have succeeded; `seeds` and
    /// `stakes` are those that `parent` left.
    ///
    /// # Errors
    /// Fails if no block producer can be elected, or if `seeds` are not those of `parent`.
    pub fn new<E>(
        block: &Block,
        parent: &Block,
        seeds: &ElectionSeeds,
        stakes: &StakeTable,
    ) -> Result<Self, VerifyError<E>> {
        if seeds.block() != parent.id() || parent.height != seeds.height() {
            // An error of the caller must not condemn the block.
            return Err(VerifyError::State(StateError::Malformed {
                id: parent.id(),
                problem: "election seeds belong to another block",
            }));
        }
        let slot = slot_of(&parent.timestamp, &block.timestamp).map_err(Invalid::Schedule)?;
        let schedule =
            ProposerSchedule::new(stakes, seeds.next_slot_seed()).map_err(Invalid::Schedule)?;
        Ok(Self {
            schedule,
            slot,
            stated: block.validator,
        })
    }

    /// Continues the draws as [`ProposerSchedule::advance`] does; returns the verdict once the slot
    /// is reached.
    pub fn run(&mut self, most: u64) -> Option<Result<(), Invalid>> {
        let (stated, scheduled) = (self.stated, self.schedule.advance(self.slot, most)?);
        Some(if stated == scheduled {
            Ok(())
        } else {
            Err(Invalid::Validator { stated, scheduled })
        })
    }
}

/// Checks in one call that the block was made in a slot of its producer; see [`ProposerCheck`].
///
/// ```
/// use astreum_core::chain::{Invalid, StakeTable, Stakes, verify_proposer};
/// use core::convert::Infallible;
/// # use astreum_core::chain::{Builder, Election, Miner, SLOT_SECONDS, difficulty};
/// # use astreum_core::atom::MemoryStore;
/// # use astreum_core::chain::{Address, Genesis};
/// # use astreum_core::crypto::SigningKey;
/// # use astreum_core::integer::Natural;
/// # use astreum_core::trie::Scalar;
/// # let key = SigningKey::from_seed(&[1; 32]);
/// # let validator = Address::from(key.verifying_key());
/// # let mut store = MemoryStore::new();
/// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// # let parent = genesis.build(&mut Scalar, &mut store)?;
/// # let Election { seeds, stakes } = Election::read(&store, &parent)?;
/// # let body = Builder::new(&store, &parent, &stakes).finish(&mut Scalar, Some(validator))?;
/// # let time = &parent.timestamp + &SLOT_SECONDS.into();
/// # let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
/// # let header = body.header(&parent, validator, time.clone(), asked);
/// # let mut miner = Miner::new(header, key, &parent.difficulty);
/// # let block = miner.try_nonces(1 << 20, &mut Scalar).ok_or("no nonce")?;
/// assert!(verify_proposer::<Infallible>(&block, &parent, &seeds, &stakes).is_ok());
/// // By other stakes the slot belongs to another producer.
/// let other = StakeTable::from(&Stakes::from([(Address::new([9; 32]), Natural::ONE)]));
/// let error = verify_proposer::<Infallible>(&block, &parent, &seeds, &other).unwrap_err();
/// assert!(matches!(error.invalid(), Some(Invalid::Validator { .. })));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// Returns [`Invalid::Validator`] if another producer was scheduled, otherwise as
/// [`ProposerCheck::new`].
pub fn verify_proposer<E>(
    block: &Block,
    parent: &Block,
    seeds: &ElectionSeeds,
    stakes: &StakeTable,
) -> Result<(), VerifyError<E>> {
    let mut check = ProposerCheck::new(block, parent, seeds, stakes)?;
    // Every call advances the schedule towards the slot, so the loop ends.
    loop {
        if let Some(verdict) = check.run(u64::MAX) {
            return Ok(verdict?);
        }
    }
}

/// Verifies the whole header of `block`: [`verify_link`], then [`verify_proposer`]. The example of
/// [`verify_body`](crate::chain::verify_body) makes such a block.
///
/// ```
/// use astreum_core::chain::verify_header;
/// use core::convert::Infallible;
/// # use astreum_core::chain::{Builder, Election, Miner, SLOT_SECONDS, difficulty};
/// # use astreum_core::atom::MemoryStore;
/// # use astreum_core::chain::{Address, Genesis};
/// # use astreum_core::crypto::SigningKey;
/// # use astreum_core::integer::Natural;
/// # use astreum_core::trie::Scalar;
/// # let key = SigningKey::from_seed(&[1; 32]);
/// # let validator = Address::from(key.verifying_key());
/// # let mut store = MemoryStore::new();
/// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// # let parent = genesis.build(&mut Scalar, &mut store)?;
/// # let Election { seeds, stakes } = Election::read(&store, &parent)?;
/// # let body = Builder::new(&store, &parent, &stakes).finish(&mut Scalar, Some(validator))?;
/// # let time = &parent.timestamp + &SLOT_SECONDS.into();
/// # let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
/// # let header = body.header(&parent, validator, time.clone(), asked);
/// # let mut miner = Miner::new(header, key, &parent.difficulty);
/// # let block = miner.try_nonces(1 << 20, &mut Scalar).ok_or("no nonce")?;
/// // A light client needs the seeds and the stakes after the parent, but no other state.
/// verify_header::<Infallible>(&block, &parent, &seeds, &stakes, &Natural::ZERO, &time)?;
/// // Without proof of work and signature the same header is invalid.
/// let unsigned = block.header().clone().signed(None);
/// let verdict =
///     verify_header::<Infallible>(&unsigned, &parent, &seeds, &stakes, &Natural::ZERO, &time);
/// assert!(verdict.is_err_and(|error| error.invalid().is_some()));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// As these functions.
pub fn verify_header<E>(
    block: &Block,
    parent: &Block,
    seeds: &ElectionSeeds,
    stakes: &StakeTable,
    chain_id: &Natural,
    latest: &Natural,
) -> Result<(), VerifyError<E>> {
    verify_link(block, parent, chain_id, latest)?;
    verify_proposer(block, parent, seeds, stakes)
}

/// Verifies a genesis block: chain id, height 0, no parent, no transactions, cumulative fees above
/// 0, and totals that match its accounts. Signature and proof of work are not checked.
///
/// The initial balances are the creator's choice. Nothing in the block shows whether it starts the
/// chain that the operator wants to follow.
///
/// ```
/// use astreum_core::chain::verify_genesis;
/// # use astreum_core::atom::MemoryStore;
/// # use astreum_core::chain::{Address, Genesis};
/// # use astreum_core::crypto::SigningKey;
/// # use astreum_core::integer::Natural;
/// # use astreum_core::trie::Scalar;
/// # let key = SigningKey::from_seed(&[1; 32]);
/// # let validator = Address::from(key.verifying_key());
/// # let mut store = MemoryStore::new();
/// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// # let parent = genesis.build(&mut Scalar, &mut store)?;
/// verify_genesis(&store, &parent, &Natural::ZERO)?;
/// let mut header = parent.header().clone();
/// header.cumulative_stake = Natural::ONE;
/// assert!(verify_genesis(&store, &header.signed(None), &Natural::ZERO).is_err());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// Fails if the block is invalid or an atom is missing.
pub fn verify_genesis<S: AtomSource + ?Sized>(
    source: &S,
    block: &Block,
    chain_id: &Natural,
) -> Result<(), VerifyError<S::Error>> {
    check_genesis(block, chain_id)?;
    for (address, total, stated) in [
        (TREASURY, Total::CumulativeStake, &block.cumulative_stake),
        (BURN, Total::CumulativeBurn, &block.cumulative_burn),
    ] {
        let account = Account::find(source, block.accounts, &address)?;
        let account = account.ok_or(Invalid::Genesis {
            problem: "missing treasury or burn account",
        })?;
        check_total(total, stated, &account.balance)?;
    }
    Ok(())
}

fn check_genesis(block: &Block, chain_id: &Natural) -> Result<(), Invalid> {
    if block.chain_id != *chain_id {
        return Err(Invalid::ChainId {
            stated: block.chain_id.clone(),
            expected: chain_id.clone(),
        });
    }
    let problem = if !block.is_genesis() {
        "it has a parent"
    } else if !block.transactions.is_zero() || !block.receipts.is_zero() {
        "it has transactions or receipts"
    } else if block.cumulative_total_fees.is_zero() {
        "its cumulative fees are 0, so storage has no price"
    } else {
        check_total(Total::Fees, &block.total_fees, &Natural::ZERO)?;
        check_total(
            Total::CumulativeMint,
            &block.cumulative_mint,
            &Natural::ZERO,
        )?;
        if block.height.is_zero() {
            return Ok(());
        }
        return Err(Invalid::Height {
            stated: block.height.clone(),
            expected: Natural::ZERO,
        });
    };
    Err(Invalid::Genesis { problem })
}

/// Checks that a total has the expected value.
pub(super) fn check_total(
    total: Total,
    stated: &Natural,
    expected: &Natural,
) -> Result<(), Invalid> {
    if stated == expected {
        return Ok(());
    }
    Err(Invalid::Total {
        total,
        stated: stated.clone(),
        expected: expected.clone(),
    })
}
