//! Chain that simulated nodes share: its first block, its validators, and a wallet that pays.

use super::chain_files::Start;
use super::world::SEEDS;
use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError, collect_list};
use astreum_core::chain::{Account, Address, Block, Genesis, Transaction, Unsigned};
use astreum_core::consensus::mempool::{Mempool, MempoolConfig};
use astreum_core::consensus::sync::SyncLimits;
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::trie::{self, Scalar};
use astreum_node::chain_service::producer::{Producer, ProducerConfig};
use astreum_node::chain_service::{Chain, Head, HeadState, SavedHead, SyncConfig};
use astreum_node::simd::Lanes;
use astreum_node::store::Store;
use core::convert::Infallible;
use core::time::Duration;
use std::collections::BTreeSet;

/// Time at which a simulation begins, since 1970.
pub const EPOCH: Duration = Duration::from_secs(1_800_000_000);
/// Chain id.
pub const CHAIN_ID: u64 = 7;
/// Initial balance of the wallet.
const WALLET: u64 = 1_000_000;
/// Number of blocks below the lower of two heads from which on both must agree.
pub const AGREED_DEPTH: u64 = 6;
/// Maximum number of atoms that are read of one list.
const MAX_LIST: usize = 70_000;

/// Shared chain. See the [module](self).
#[derive(Clone, Debug)]
pub struct Ledger {
    genesis: Block,
    atoms: Vec<(AtomId, Atom)>,
    /// Machines with lower numbers have a stake of their key.
    pub validators: usize,
    wallet: SigningKey,
    paid: u64,
    /// Limits of the headers of a branch.
    pub limits: SyncLimits,
    /// Maximum number of blocks that a node undoes without its operator.
    pub max_reorg_depth: u64,
}

/// Union of the stores of several nodes. A node whose disk refused for a while lacks atoms, which
/// it fetches from the others when it needs them.
pub struct Union<'s>(pub Vec<&'s Store>);

impl AtomSource for Union<'_> {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        let found = self.0.iter().find_map(|store| store.get(id));
        found.ok_or(SourceError::Missing(*id))
    }
}

/// Returns the validation key of a machine.
#[must_use]
pub fn validator_key(number: usize) -> SigningKey {
    let [.., low] = (number as u64).to_be_bytes();
    SigningKey::from_seed(&[0x60 ^ low; 32])
}

/// Returns the address of a validator's key.
#[must_use]
pub fn validator_address(key: usize) -> Address {
    Address::from(validator_key(key).verifying_key())
}

impl Ledger {
    /// Creates a chain that the machines 0 to `validators` make. Its first block is some seconds
    /// old when a simulation begins.
    ///
    /// # Panics
    /// Panics if no chain can start like that, which does not happen for any number of validators.
    #[must_use]
    pub fn new(validators: usize) -> Self {
        Self::with_genesis(validators, |_| ())
    }

    /// Like [`Self::new`], with a genesis that `change` has changed.
    ///
    /// # Panics
    /// Panics if no chain can start like that.
    #[must_use]
    pub fn with_genesis(validators: usize, change: impl FnOnce(&mut Genesis)) -> Self {
        let wallet = SigningKey::from_seed(&[0x77; 32]);
        let began = EPOCH.as_secs() + 995;
        let first = validator_address(0);
        let mut genesis = Genesis::new(first, CHAIN_ID.into(), began.into());
        for number in 0..validators {
            let address = validator_address(number);
            genesis.stakes.insert(address, 10_u64.into());
            genesis.balances.insert(address, 1_000_u64.into());
        }
        genesis
            .balances
            .insert(Address::from(wallet.verifying_key()), WALLET.into());
        change(&mut genesis);
        let mut store = MemoryStore::new();
        let genesis = genesis
            .build(&mut Scalar, &mut store)
            .unwrap_or_else(|error| panic!("cannot create the genesis: {error}"));
        let atoms = store.iter().map(|(id, atom)| (*id, atom.clone())).collect();
        Self {
            genesis,
            atoms,
            validators,
            wallet,
            paid: 0,
            limits: SyncLimits::default(),
            max_reorg_depth: SyncConfig::default().max_reorg_depth,
        }
    }

    /// Returns the first block.
    #[must_use]
    pub const fn genesis(&self) -> &Block {
        &self.genesis
    }

    /// Returns the atoms of the chain that every node has at first.
    #[must_use]
    pub fn atoms(&self) -> Vec<(AtomId, Atom)> {
        self.atoms.clone()
    }

    /// Returns the head that a node has at first.
    ///
    /// # Panics
    /// Does not panic in practice: the first block's height and time are small.
    #[must_use]
    pub fn first_head(&self) -> SavedHead {
        let head = Head::new(self.genesis.clone(), HeadState::Verified);
        let head = head.unwrap_or_else(|| panic!("invalid head of the first block"));
        head.saved(Some(self.genesis.id()))
    }

    /// Creates the chain of a machine, which resumes from its files. It validates with the key, if
    /// it has one.
    #[must_use]
    pub fn chain(
        &self,
        key: Option<usize>,
        has_seeds: bool,
        start: Start,
        mempool: &[u8],
    ) -> Chain {
        let config = SyncConfig {
            chain_id: CHAIN_ID,
            interval: Duration::from_secs(1),
            limits: self.limits,
            max_reorg_depth: self.max_reorg_depth,
            seeds: if has_seeds { SEEDS } else { 0 },
            has_streams: true,
            ..SyncConfig::default()
        };
        let mut restored = Mempool::new(MempoolConfig {
            is_validator: key.is_some(),
            ..MempoolConfig::default()
        });
        // Damaged parts of the file are lost.
        let _ = restored.restore(mempool);
        let chain = Chain::new(config, start.saved);
        let Some(key) = key else {
            return chain.with_mempool(restored);
        };
        let config = ProducerConfig {
            chain_id: CHAIN_ID,
            has_seeds,
            slice_attempts: 1,
            ..ProducerConfig::new(validator_key(key))
        };
        let producer = Producer::new(config, start.signed, Lanes::new());
        chain.with_producer(producer).with_mempool(restored)
    }

    /// Creates the next payment of the wallet.
    pub fn pay(&mut self) -> Transaction {
        self.paid += 1;
        let [.., low] = self.paid.to_be_bytes();
        let unsigned = Unsigned {
            chain_id: CHAIN_ID.into(),
            amount: self.paid.into(),
            counter: self.paid.into(),
            data: b"".as_slice().into(),
            recipient: Address::new([0x80 | low; 32]),
        };
        unsigned.sign(&self.wallet)
    }

    /// Returns the number of transactions in the chain that ends with `head`, and checks that all
    /// its money is accounted for.
    ///
    /// # Errors
    /// Fails if it is not, or if a part of the chain is missing in `store`.
    pub fn check_supply(
        &self,
        store: &dyn AtomSource<Error = Infallible>,
        head: AtomId,
    ) -> Result<u64, String> {
        let before = total(store, self.genesis.accounts)?;
        let (mut rewards, mut fees) = (Natural::ZERO, Natural::ZERO);
        let last = block(store, head)?;
        let mut next = last.clone();
        let mut applied = 0;
        while !next.is_genesis() {
            let count = list_len(store, next.transactions)?;
            applied += count;
            fees += &Natural::from(count);
            // Every validator of these chains claims its reward.
            rewards += &Natural::ONE;
            next = block(store, next.previous)?;
        }
        if next.id() != self.genesis.id() {
            return Err(format!("the chain of {head} begins with {}", next.id()));
        }
        let after = total(store, last.accounts)?;
        let entered = before + &rewards + &last.cumulative_mint;
        if entered == after.clone() + &fees {
            Ok(applied)
        } else {
            Err(format!(
                "balances are {after} and fees {fees}, but {entered} was issued"
            ))
        }
    }
}

/// Returns the block with this id.
///
/// # Errors
/// Fails if it is missing in `store`.
pub fn block(store: &dyn AtomSource<Error = Infallible>, id: AtomId) -> Result<Block, String> {
    Block::read(store, id).map_err(|error| format!("cannot read block {id}: {error}"))
}

/// Returns the block at `height` in the chain that ends with `head`.
///
/// # Errors
/// Fails if a part of the chain is missing in `store`, or if the chain is shorter.
pub fn ancestor(
    store: &dyn AtomSource<Error = Infallible>,
    head: AtomId,
    height: u64,
) -> Result<AtomId, String> {
    let mut next = block(store, head)?;
    while next.height > height {
        next = block(store, next.previous)?;
    }
    if next.height == height {
        Ok(next.id())
    } else {
        Err(format!("the chain of {head} has no block {height}"))
    }
}

/// Returns the transactions in the chain that ends with `head`.
///
/// # Errors
/// Fails if a part of the chain is missing in `store`.
pub fn included_ids(
    store: &dyn AtomSource<Error = Infallible>,
    head: AtomId,
) -> Result<BTreeSet<AtomId>, String> {
    let mut ids = BTreeSet::new();
    let mut next = block(store, head)?;
    while !next.is_genesis() {
        let list = next.transactions;
        let atoms = collect_list(store, list, MAX_LIST);
        let atoms = atoms.map_err(|error| format!("cannot read list {list}: {error:?}"))?;
        ids.extend(
            atoms
                .iter()
                .filter_map(|atom| AtomId::from_slice(atom.data())),
        );
        next = block(store, next.previous)?;
    }
    Ok(ids)
}

fn list_len(store: &dyn AtomSource<Error = Infallible>, head: AtomId) -> Result<u64, String> {
    let atoms = collect_list(store, head, MAX_LIST);
    let atoms = atoms.map_err(|error| format!("cannot read list {head}: {error:?}"))?;
    Ok(atoms.len() as u64)
}

/// Returns the sum of all balances in a state.
///
/// # Errors
/// Fails if a part of the state is missing in `store`.
pub fn total(store: &dyn AtomSource<Error = Infallible>, root: AtomId) -> Result<Natural, String> {
    let mut total = Natural::ZERO;
    for entry in trie::entries(store, root) {
        let (_, id) = entry.map_err(|error| format!("cannot read the accounts {root}: {error}"))?;
        let id = AtomId::from_slice(&id).unwrap_or_default();
        let account = Account::read(store, id)
            .map_err(|error| format!("cannot read account {id}: {error}"))?;
        total += &account.balance;
    }
    Ok(total)
}
