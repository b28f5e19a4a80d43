//! The first block of a chain.
//!
//! It is trusted, not verified: it has no signature and no work, and says who owns what. What it
//! sets decides what everything costs for as long as the chain lasts: a byte of storage costs the
//! cumulative stake over the cumulative fees, the cumulative stake grows by the treasury's balance
//! with every block, and the fees do not grow. [`Genesis::warnings`] says when a plain transfer gets
//! dear.
//!
//! The burn account of a genesis of ours holds at least one storage contract: a reference node
//! cannot put into a trie that is empty, and could follow no transaction.

use super::account::{Account, Address};
use super::block::{Block, Header};
use super::cost::Price;
use super::leader_election::Stakes;
use super::record::{RecordAtoms, write_atoms};
use super::{BURN, TREASURY};
use crate::atom::{Atom, AtomId, AtomSink, MemoryStore, bytes_list, collect_list};
use crate::integer::Natural;
use crate::trie::{BatchHasher, BuildError, Trie};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

/// Cumulative fees of a default genesis: so many that storage stays cheap when others stake.
pub const DEFAULT_TOTAL_FEES: u64 = 1_000_000_000_000_000_000;
/// What the validator owns in a default genesis.
pub const DEFAULT_BALANCE: u64 = 1_000_000_000_000;
/// A transfer that costs more than this is worth a warning.
pub const DEAR_TRANSFER: u64 = 1_000;

/// Blocks of a day without missed slots.
const DAY_BLOCKS: u64 = 86_400 / super::SLOT_SECONDS;
/// Blocks of a year.
const YEAR_BLOCKS: u64 = 365 * DAY_BLOCKS;
/// Bits that the numbers of a genesis may have, added up. Records hold 2,048: what a chain can add
/// to its numbers in any number of blocks needs fewer than the rest.
const MAX_GENESIS_BITS: u64 = 1_024;
/// Atoms of a node of a trie.
const MAX_NODE_ATOMS: usize = 5;
/// A storage contract that exists from the start. It cannot be paid: no block stands before it that
/// a payment could count from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contract {
    /// Who owns it.
    pub owner: Address,
    /// Bytes that it is about.
    pub bytes: Natural,
    /// Atoms that it is about.
    pub atoms: Natural,
}

/// What a chain starts from.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::chain::{Address, Genesis};
/// use astreum_core::trie::Scalar;
///
/// let validator = Address::new([7; 32]);
/// let mut genesis = Genesis::new(validator, 0_u64.into(), 1_700_000_000_u64.into());
/// genesis.balances.insert(Address::new([8; 32]), 5_u64.into());
/// assert_eq!(genesis.warnings(), []);
///
/// let mut store = MemoryStore::new();
/// let block = genesis.build(&mut Scalar, &mut store)?;
/// assert!(block.is_genesis());
/// # Ok::<(), astreum_core::chain::GenesisError<core::convert::Infallible>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Genesis {
    /// The chain's id.
    pub chain_id: Natural,
    /// When it starts, in seconds since the Unix epoch.
    pub timestamp: Natural,
    /// Who stands in the block as its validator.
    pub validator: Address,
    /// Who owns what. The treasury's balance is the first cumulative stake, the burn account's the
    /// first cumulative burn.
    pub balances: BTreeMap<Address, Natural>,
    /// What validators have at stake. It is not taken from their balances.
    pub stakes: Stakes,
    /// Storage contracts by the id of what is stored.
    pub contracts: BTreeMap<AtomId, Contract>,
    /// What storage costs are divided by; not 0.
    pub cumulative_total_fees: Natural,
    /// Whether an empty burn account gets a contract, see the module.
    pub seed_burn: bool,
}

impl Genesis {
    /// A chain that can be used: the validator is funded and has the only stake, the treasury is
    /// empty, so storage is free.
    #[must_use]
    pub fn new(validator: Address, chain_id: Natural, timestamp: Natural) -> Self {
        Self {
            balances: BTreeMap::from([(validator, DEFAULT_BALANCE.into())]),
            cumulative_total_fees: DEFAULT_TOTAL_FEES.into(),
            seed_burn: true,
            ..Self::reference(validator, chain_id, timestamp)
        }
    }

    /// The one that a reference validator makes. Its treasury holds 1, its fees are 1, the validator
    /// has nothing: no transaction can ever be paid for.
    #[must_use]
    pub fn reference(validator: Address, chain_id: Natural, timestamp: Natural) -> Self {
        Self {
            chain_id,
            timestamp,
            validator,
            balances: BTreeMap::from([(TREASURY, Natural::ONE), (validator, Natural::ZERO)]),
            stakes: Stakes::from([(validator, Natural::ONE)]),
            contracts: BTreeMap::new(),
            cumulative_total_fees: Natural::ONE,
            seed_burn: false,
        }
    }

    fn balance(&self, address: &Address) -> Natural {
        self.balances.get(address).cloned().unwrap_or_default()
    }

    /// What a transfer without data costs its sender beside the amount, this many blocks after the
    /// first, if nobody stakes more; `None` when the cumulative fees are 0.
    #[must_use]
    pub fn transfer_cost(&self, blocks: u64) -> Option<Natural> {
        // The price is that of the block before: the first has the treasury's balance once.
        let cumulative_stake = &self.balance(&TREASURY) * &Natural::from(blocks.max(1));
        Price::new(cumulative_stake, self.cumulative_total_fees.clone()).reserve(0)
    }

    /// What an operator should know before starting this chain.
    #[must_use]
    pub fn warnings(&self) -> Vec<GenesisWarning> {
        let mut warnings = Vec::new();
        let cost = |blocks| self.transfer_cost(blocks).unwrap_or_default();
        if cost(YEAR_BLOCKS) > DEAR_TRANSFER {
            warnings.push(GenesisWarning::DearTransfers {
                first: cost(1),
                after_a_day: cost(DAY_BLOCKS),
                after_a_year: cost(YEAR_BLOCKS),
            });
        }
        let spendable = |(address, balance): (&Address, &Natural)| {
            *address != TREASURY && *address != BURN && *balance >= cost(1)
        };
        if !self.balances.iter().any(spendable) {
            warnings.push(GenesisWarning::NobodyCanPay { cost: cost(1) });
        }
        warnings
    }

    /// Puts all atoms of the chain's start into `sink` and returns its block.
    ///
    /// # Errors
    /// When nobody has a stake, the cumulative fees are 0, a reserved account is the validator, or
    /// the sink fails.
    pub fn build<K: AtomSink>(
        &self,
        hasher: &mut impl BatchHasher,
        sink: &mut K,
    ) -> Result<Block, GenesisError<K::Error>> {
        self.check()?;
        let mut accounts: BTreeMap<Address, Account> = BTreeMap::new();
        for (address, balance) in &self.balances {
            accounts.entry(*address).or_default().balance = balance.clone();
        }
        let (stakes, contract) = self.write_stakes(hasher, sink)?;
        accounts.entry(TREASURY).or_default().data = stakes;
        let mut contracts = self.contracts.clone();
        if contracts.is_empty() && self.seed_burn {
            contracts.insert(stakes, contract);
        }
        accounts.entry(BURN).or_default().data = write_contracts(&contracts, hasher, sink)?;

        let mut records = Vec::with_capacity(accounts.len());
        for (address, account) in &accounts {
            let id = account.write(sink).map_err(GenesisError::Sink)?;
            records.push((*address.as_bytes(), id.as_bytes().to_vec()));
        }
        let accounts = write_trie(records.into_iter(), hasher, sink)?;
        let block = self.header(accounts).signed(None);
        block.write(sink).map_err(GenesisError::Sink)?;
        Ok(block)
    }

    fn check<E>(&self) -> Result<(), GenesisError<E>> {
        if self.stakes.values().all(Natural::is_zero) {
            return Err(GenesisError::NoStake);
        }
        if self.cumulative_total_fees.is_zero() {
            return Err(GenesisError::NoFees);
        }
        if [TREASURY, BURN].contains(&self.validator) {
            return Err(GenesisError::ReservedValidator);
        }
        let contracts = self.contracts.values();
        let numbers = [&self.chain_id, &self.timestamp, &self.cumulative_total_fees];
        let sum: Natural = (self.balances.values())
            .chain(self.stakes.values())
            .chain(contracts.flat_map(|contract| [&contract.bytes, &contract.atoms]))
            .chain(numbers)
            .sum();
        if sum.bit_length() > MAX_GENESIS_BITS {
            return Err(GenesisError::TooLarge);
        }
        Ok(())
    }

    fn header(&self, accounts: AtomId) -> Header {
        Header {
            chain_id: self.chain_id.clone(),
            height: Natural::ZERO,
            previous: AtomId::ZERO,
            timestamp: self.timestamp.clone(),
            difficulty: Natural::ZERO,
            cumulative_stake: self.balance(&TREASURY),
            cumulative_burn: self.balance(&BURN),
            cumulative_mint: Natural::ZERO,
            cumulative_total_fees: self.cumulative_total_fees.clone(),
            total_fees: Natural::ZERO,
            accounts,
            transactions: AtomId::ZERO,
            receipts: AtomId::ZERO,
            validator: self.validator,
            nonce: Natural::ZERO,
        }
    }

    /// The root of the stakes' trie, and a contract for its first node, which is certainly there;
    /// the validator stands in for its storage.
    fn write_stakes<K: AtomSink>(
        &self,
        hasher: &mut impl BatchHasher,
        sink: &mut K,
    ) -> Result<(AtomId, Contract), GenesisError<K::Error>> {
        let stakes = self.stakes.iter().filter(|(_, stake)| !stake.is_zero());
        let stakes = stakes.map(|(owner, stake)| (*owner.as_bytes(), stake.to_bytes_le()));
        let mut nodes = MemoryStore::new();
        let mut trie = Trie::from_sorted(stakes).map_err(GenesisError::Trie)?;
        let root = trie.commit(hasher, &mut nodes);
        let root = root.unwrap_or_else(|never| match never {});
        let first = collect_list(&nodes, root, MAX_NODE_ATOMS).unwrap_or_default();
        for (id, atom) in nodes.iter() {
            sink.put(*id, atom.clone()).map_err(GenesisError::Sink)?;
        }
        Ok((root, node_contract(self.validator, &first)))
    }
}

/// Puts the contracts' records and the trie of them.
fn write_contracts<K: AtomSink>(
    contracts: &BTreeMap<AtomId, Contract>,
    hasher: &mut impl BatchHasher,
    sink: &mut K,
) -> Result<AtomId, GenesisError<K::Error>> {
    let mut records = Vec::with_capacity(contracts.len());
    for (object, contract) in contracts {
        let (id, atoms) = contract.to_atoms();
        write_atoms(atoms, sink).map_err(GenesisError::Sink)?;
        records.push((*object.as_bytes(), id.as_bytes().to_vec()));
    }
    write_trie(records.into_iter(), hasher, sink)
}

/// The contract for the first node of the stakes' trie, whose atoms are `atoms`.
fn node_contract(owner: Address, atoms: &[Atom]) -> Contract {
    let bytes = atoms.iter().map(Atom::stored_len);
    Contract {
        owner,
        bytes: bytes.sum::<usize>().into(),
        atoms: atoms.len().into(),
    }
}

impl Contract {
    /// Its record: owner, the block before it, the block of the last payment, who was paid, bytes,
    /// atoms. Before genesis there is no block.
    fn to_atoms(&self) -> (AtomId, RecordAtoms) {
        let none = AtomId::ZERO;
        let (id, atoms) = bytes_list::<&[u8]>(&[
            self.owner.as_bytes(),
            none.as_bytes(),
            none.as_bytes(),
            none.as_bytes(),
            &self.bytes.to_bytes_le(),
            &self.atoms.to_bytes_le(),
        ]);
        (
            id,
            atoms.into_iter().map(|atom| (atom.id(), atom)).collect(),
        )
    }
}

/// Puts the trie of these pairs, whose keys ascend, and returns its root.
fn write_trie<K: AtomSink>(
    pairs: impl Iterator<Item = ([u8; 32], Vec<u8>)>,
    hasher: &mut impl BatchHasher,
    sink: &mut K,
) -> Result<AtomId, GenesisError<K::Error>> {
    let mut trie = Trie::from_sorted(pairs).map_err(GenesisError::Trie)?;
    trie.commit(hasher, sink).map_err(GenesisError::Sink)
}

/// What an operator should know before starting a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GenesisWarning {
    /// The treasury's balance makes transfers dear.
    DearTransfers {
        /// What one costs in the first block.
        first: Natural,
        /// After a day of blocks.
        after_a_day: Natural,
        /// After a year of blocks.
        after_a_year: Natural,
    },
    /// No account has enough for a transfer in the first block.
    NobodyCanPay {
        /// What it costs.
        cost: Natural,
    },
}

impl fmt::Display for GenesisWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DearTransfers {
                first,
                after_a_day,
                after_a_year,
            } => write!(
                f,
                "a plain transfer costs {first} at first, {after_a_day} after a day and \
                 {after_a_year} after a year of blocks: the treasury's balance is added to the \
                 price with every block; lower it or raise the cumulative fees"
            ),
            Self::NobodyCanPay { cost } => write!(
                f,
                "nobody has the {cost} that a plain transfer costs in the first block"
            ),
        }
    }
}

/// Why a chain cannot start like this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GenesisError<E> {
    /// Nobody has anything at stake, so nobody could make a block.
    NoStake,
    /// The cumulative fees are 0, and every price is divided by them.
    NoFees,
    /// The validator is the treasury or the burn account, whose secrets nobody has.
    ReservedValidator,
    /// The sum of its numbers has more than 1,024 bits: later ones would not fit into records.
    TooLarge,
    /// A trie could not be built.
    Trie(BuildError),
    /// The atoms could not be kept.
    Sink(E),
}

impl<E: fmt::Display> fmt::Display for GenesisError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStake => f.write_str("a chain needs a validator with something at stake"),
            Self::NoFees => {
                f.write_str("cumulative_total_fees must not be 0: prices are divided by it")
            }
            Self::ReservedValidator => f.write_str(
                "the validator must not be the treasury or the burn account: nobody has their keys",
            ),
            Self::TooLarge => f.write_str("the numbers of the genesis have more than 1,024 bits"),
            Self::Trie(error) => error.fmt(f),
            Self::Sink(error) => write!(f, "the atoms of genesis could not be stored: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for GenesisError<E> {}

#[cfg(test)]
mod tests;
