//! Genesis: the first block of a chain.
//!
//! A genesis is trusted, not verified: it has no signature and no proof of work, and it defines the
//! initial balances. Its values determine the cost of everything for as long as the chain lasts.
//!
//! The price of a byte of storage is the cumulative stake divided by the cumulative fees. The
//! cumulative stake grows by the treasury's balance with every block, and the fees do not grow, so
//! the price grows with the height: by `treasury / fees` per block. The cost of each stored item is
//! rounded up to at least 1, so a transaction costs at least 3 at any price above 0.
//!
//! The defaults follow from four requirements:
//! - **A plain transfer costs at most 10** in the first year. It is billed for 526 bytes and for
//!   272 bytes of its receipt: the price may be at most 3/272 after 15,768,000 blocks.
//!   [`DEFAULT_TREASURY`] / [`DEFAULT_TOTAL_FEES`] makes it 0.0099.
//! - **The same holds when others stake**: their stakes are added to the treasury's balance. That
//!   balance is therefore so large that everything that can be owned in the first year, including
//!   the rewards of all its blocks, adds less than 2 % to it. It has no owner.
//! - **Filling 10 GiB of disk costs at least a tenth of the supply**, at first and after a year, by
//!   the cheapest known method ([`Genesis::filling_cost`]): 9,600 transactions of 3 each at first.
//!   So the supply is [`DEFAULT_BALANCE`], 250,000.
//! - **An owner that buys and stakes the whole supply does not outvote the validator**, which has
//!   the same amount staked from the start ([`DEFAULT_STAKE`]).
//!
//! [`Genesis::warnings`] reports where another genesis does not meet them.
//!
//! The burn account of a default genesis holds at least one storage contract, because a reference
//! node cannot insert into an empty trie and could not process any transaction.

use super::account::{Account, Address};
use super::block::{Block, Header};
use super::cost::{FEE, Price, RECEIPT_BYTES};
use super::leader_election::Stakes;
use super::record::{RecordAtoms, write_atoms};
use super::{BURN, TREASURY};
use crate::atom::{Atom, AtomId, AtomSink, MemoryStore, bytes_list, collect_list};
use crate::integer::Natural;
use crate::trie::{BatchHasher, BuildError, Trie};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

/// Cumulative fees of a default genesis.
pub const DEFAULT_TOTAL_FEES: u64 = 1_600_000_000_000_000_000;
/// Balance of the treasury in a default genesis.
pub const DEFAULT_TREASURY: u64 = 1_000_000_000;
/// Balance of the validator in a default genesis, which is the whole supply.
pub const DEFAULT_BALANCE: u64 = 250_000;
/// Stake of the validator in a default genesis.
pub const DEFAULT_STAKE: u64 = 250_000;
/// Cost of a transfer, within the first year, above which a warning is given.
pub const EXPENSIVE_TRANSFER_COST: u64 = 10;
/// Bytes of disk that should cost at least a tenth of the supply to fill.
pub const FILLED_BYTES: u64 = 10 << 30;

/// Cheapest ways to fill a disk: stored bytes that a transaction is billed for, and bytes that it
/// adds to the sorted pairs of every node, as measured by `tests/src/economics`. The transactions
/// are: a transfer in a block of its own; a transfer with the maximum amount of data; a withdrawal
/// from a channel, between accounts whose addresses were chosen to lie 256 nodes deep in their
/// tries.
const FILLING_WAYS: [(u64, u64); 3] = [(510, 105_000), (60_510, 170_000), (623, 1_120_000)];

/// Number of blocks in a day without missed slots.
const DAY_BLOCKS: u64 = 86_400 / super::SLOT_SECONDS;
/// Number of blocks in a year without missed slots.
const YEAR_BLOCKS: u64 = 365 * DAY_BLOCKS;
/// Maximum bit length of the sum of all numbers of a genesis. Records hold 2,048 bits; the rest
/// suffices for what a chain can add to its numbers in any number of blocks.
const MAX_GENESIS_BITS: u64 = 1_024;
/// Divisor of the supply: filling a disk should cost at least this part of it.
const SUPPLY_PARTS: u64 = 10;
/// Maximum number of atoms of a trie node.
const MAX_NODE_ATOMS: usize = 5;
/// Storage contract that exists from the start. It cannot be paid: there is no earlier block from
/// which a payment could be counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contract {
    /// Owner of the contract.
    pub owner: Address,
    /// Stored bytes of the list.
    pub bytes: Natural,
    /// Atoms of the list.
    pub atoms: Natural,
}

/// Initial state of a chain.
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
    /// Id of the chain.
    pub chain_id: Natural,
    /// Start of the chain, in seconds since the Unix epoch.
    pub timestamp: Natural,
    /// Block producer stated in the genesis block.
    pub validator: Address,
    /// Initial balances. The treasury's balance is the first cumulative stake, the burn account's
    /// the first cumulative burn.
    pub balances: BTreeMap<Address, Natural>,
    /// Stakes of the validators. They are not deducted from the balances.
    pub stakes: Stakes,
    /// Storage contracts by the id of the stored list.
    pub contracts: BTreeMap<AtomId, Contract>,
    /// Cumulative fees, by which storage prices are divided; must not be 0.
    pub cumulative_total_fees: Natural,
    /// Whether an empty burn account gets a contract; see the module.
    pub seed_burn: bool,
}

impl Genesis {
    /// Creates the genesis of a usable chain: the validator owns the supply and has the only stake,
    /// and storage has a price. See the module for the values.
    ///
    /// ```
    /// use astreum_core::chain::{Address, DEFAULT_BALANCE, DEFAULT_STAKE, Genesis};
    ///
    /// let validator = Address::new([7; 32]);
    /// let genesis = Genesis::new(validator, 0_u64.into(), 1_700_000_000_u64.into());
    /// assert_eq!(genesis.supply(), DEFAULT_BALANCE);
    /// assert_eq!(genesis.stakes[&validator], DEFAULT_STAKE);
    /// ```
    #[must_use]
    pub fn new(validator: Address, chain_id: Natural, timestamp: Natural) -> Self {
        Self {
            balances: BTreeMap::from([
                (TREASURY, DEFAULT_TREASURY.into()),
                (validator, DEFAULT_BALANCE.into()),
            ]),
            stakes: Stakes::from([(validator, DEFAULT_STAKE.into())]),
            cumulative_total_fees: DEFAULT_TOTAL_FEES.into(),
            seed_burn: true,
            ..Self::reference(validator, chain_id, timestamp)
        }
    }

    /// Creates the genesis that a reference validator creates. The treasury holds 1, the fees are
    /// 1, the validator has a balance of 0: no account can ever pay for a transaction.
    ///
    /// ```
    /// use astreum_core::chain::{Address, Genesis};
    /// let genesis = Genesis::reference(Address::new([7; 32]), 0_u64.into(), 0_u64.into());
    /// assert!(genesis.supply().is_zero() && !genesis.warnings().is_empty());
    /// ```
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

    /// Returns the spendable supply: all balances except the treasury's and the burn account's.
    ///
    /// ```
    /// use astreum_core::chain::{Address, DEFAULT_BALANCE, Genesis};
    /// let mut genesis = Genesis::new(Address::new([7; 32]), 0_u64.into(), 0_u64.into());
    /// genesis.balances.insert(Address::new([8; 32]), 50_u64.into());
    /// assert_eq!(genesis.supply(), DEFAULT_BALANCE + 50);
    /// ```
    #[must_use]
    pub fn supply(&self) -> Natural {
        let owned = self.balances.iter();
        let owned = owned.filter(|(address, _)| ![TREASURY, BURN].contains(address));
        owned.map(|(_, balance)| balance).sum()
    }

    /// Returns the price of storage `blocks` blocks after genesis if `staked` is staked from the
    /// first block on.
    fn price(&self, blocks: u64, staked: &Natural) -> Price {
        let treasury = &self.balance(&TREASURY) + staked;
        // The price is that of the parent block: the first block has the treasury's balance once.
        let cumulative_stake = &treasury * &Natural::from(blocks.max(1));
        Price::new(cumulative_stake, self.cumulative_total_fees.clone())
    }

    /// Returns the cost of a transfer without data, besides the amount, `blocks` blocks after
    /// genesis if nothing more is staked; `None` if the cumulative fees are 0.
    ///
    /// ```
    /// use astreum_core::chain::{Address, EXPENSIVE_TRANSFER_COST, Genesis, SLOT_SECONDS};
    /// let genesis = Genesis::new(Address::new([7; 32]), 0_u64.into(), 0_u64.into());
    /// assert_eq!(genesis.transfer_cost(0).and_then(|cost| cost.to_u64()), Some(3));
    /// let after_a_year = genesis.transfer_cost(365 * 86_400 / SLOT_SECONDS).unwrap();
    /// assert!(after_a_year <= EXPENSIVE_TRANSFER_COST);
    /// ```
    #[must_use]
    pub fn transfer_cost(&self, blocks: u64) -> Option<Natural> {
        self.price(blocks, &Natural::ZERO).reserve(0)
    }

    /// Returns the [transfer cost](Self::transfer_cost) if the whole supply is staked in the first
    /// block.
    #[must_use]
    pub fn highest_transfer_cost(&self, blocks: u64) -> Option<Natural> {
        self.price(blocks, &self.supply()).reserve(0)
    }

    /// Returns the cost of filling [`FILLED_BYTES`] of every node's disk, `blocks` blocks after
    /// genesis, by the cheapest known method; `None` if the cumulative fees are 0.
    ///
    /// Blocks without transactions add about 6 KB each and cost nothing. With the height, the price
    /// grows and so does the supply, by the rewards. Growth that prices do not limit is limited by
    /// the bound that producers set on the growth of their blocks.
    ///
    /// ```
    /// use astreum_core::chain::{Address, Genesis};
    /// // At least a tenth of the supply.
    /// let genesis = Genesis::new(Address::new([7; 32]), 0_u64.into(), 0_u64.into());
    /// let cost = genesis.filling_cost(0).unwrap();
    /// assert!(&cost * &10_u64.into() >= genesis.supply());
    /// ```
    #[must_use]
    pub fn filling_cost(&self, blocks: u64) -> Option<Natural> {
        let price = self.price(blocks, &Natural::ZERO);
        let costs = FILLING_WAYS.iter().map(|(billed, left)| {
            let each = FEE + price.of(*billed)? + price.of(RECEIPT_BYTES)?;
            Some(&each * &Natural::from(FILLED_BYTES / left))
        });
        costs.min().flatten()
    }

    /// Returns the warnings that an operator should see before starting this chain.
    #[must_use]
    pub fn warnings(&self) -> Vec<GenesisWarning> {
        let mut warnings = Vec::new();
        let cost = |blocks| self.highest_transfer_cost(blocks).unwrap_or_default();
        if cost(YEAR_BLOCKS) > EXPENSIVE_TRANSFER_COST {
            warnings.push(GenesisWarning::ExpensiveTransfers {
                first: cost(1),
                after_a_day: cost(DAY_BLOCKS),
                after_a_year: cost(YEAR_BLOCKS),
            });
        }
        let (supply, cost) = (self.supply(), self.transfer_cost(1).unwrap_or_default());
        let filling = [1, YEAR_BLOCKS].map(|blocks| self.filling_cost(blocks));
        let filling = filling.into_iter().min().flatten().unwrap_or_default();
        if &filling * &Natural::from(SUPPLY_PARTS) < supply {
            let cost = filling;
            let supply = supply.clone();
            warnings.push(GenesisWarning::CheapStorage { cost, supply });
        }
        let spendable = |(address, balance): (&Address, &Natural)| {
            *address != TREASURY && *address != BURN && *balance >= cost
        };
        if !self.balances.iter().any(spendable) {
            warnings.push(GenesisWarning::UnaffordableTransfers { cost });
        }
        warnings
    }

    /// Writes all atoms of the initial state to `sink` and returns the genesis block.
    ///
    /// ```
    /// use astreum_core::atom::NoStore;
    /// use astreum_core::chain::{Address, Genesis, GenesisError};
    /// use astreum_core::trie::Scalar;
    ///
    /// let mut genesis = Genesis::new(Address::new([7; 32]), 0_u64.into(), 0_u64.into());
    /// let block = genesis.build(&mut Scalar, &mut NoStore).unwrap();
    /// assert!(block.is_genesis() && block.signature().is_none());
    /// genesis.stakes.clear();
    /// assert_eq!(genesis.build(&mut Scalar, &mut NoStore), Err(GenesisError::NoStake));
    /// ```
    ///
    /// # Errors
    /// Fails if there is no stake or there are too many, the cumulative fees are 0, the validator
    /// is a reserved account, the numbers are too large, a trie cannot be built, or the sink fails.
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
        if self.stakes.len() as u64 > super::MAX_GENESIS_STAKES {
            return Err(GenesisError::TooManyStakes);
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

    /// Writes the stakes trie. Returns its root, and a contract for its first node, which always
    /// exists; the validator is the contract's owner.
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

/// Writes the contract records and their trie, and returns the root of the trie.
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

/// Returns the contract for the first node of the stakes trie, whose atoms are `atoms`.
fn node_contract(owner: Address, atoms: &[Atom]) -> Contract {
    let bytes = atoms.iter().map(Atom::stored_len);
    Contract {
        owner,
        bytes: bytes.sum::<usize>().into(),
        atoms: atoms.len().into(),
    }
}

impl Contract {
    /// Returns the id and the atoms of the record: owner, parent block, block of the last payment,
    /// recipient of that payment, bytes, atoms. The block ids are zero: no block precedes genesis.
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

/// Writes the trie of these pairs, whose keys ascend, and returns its root.
fn write_trie<K: AtomSink>(
    pairs: impl Iterator<Item = ([u8; 32], Vec<u8>)>,
    hasher: &mut impl BatchHasher,
    sink: &mut K,
) -> Result<AtomId, GenesisError<K::Error>> {
    let mut trie = Trie::from_sorted(pairs).map_err(GenesisError::Trie)?;
    trie.commit(hasher, sink).map_err(GenesisError::Sink)
}

/// Warning for an operator before starting a chain.
///
/// ```
/// use astreum_core::chain::{Address, DEFAULT_TREASURY, Genesis, GenesisWarning, TREASURY};
/// let mut genesis = Genesis::new(Address::new([7; 32]), 0_u64.into(), 0_u64.into());
/// genesis.balances.insert(TREASURY, (1_000 * DEFAULT_TREASURY).into());
/// let warnings = genesis.warnings();
/// assert!(matches!(warnings[0], GenesisWarning::ExpensiveTransfers { .. }));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GenesisWarning {
    /// The treasury's balance makes transfers expensive.
    ExpensiveTransfers {
        /// Cost of a transfer in the first block.
        first: Natural,
        /// Cost after a day of blocks.
        after_a_day: Natural,
        /// Cost after a year of blocks.
        after_a_year: Natural,
    },
    /// Filling [`FILLED_BYTES`] of every disk costs less than a tenth of the supply.
    CheapStorage {
        /// Cost of filling it.
        cost: Natural,
        /// Spendable supply.
        supply: Natural,
    },
    /// No account has enough for a transfer in the first block.
    UnaffordableTransfers {
        /// Cost of a transfer.
        cost: Natural,
    },
}

impl fmt::Display for GenesisWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExpensiveTransfers {
                first,
                after_a_day,
                after_a_year,
            } => write!(
                f,
                "a plain transfer costs up to {first} at first, {after_a_day} after a day and \
                 {after_a_year} after a year of blocks: the treasury's balance, which includes all \
                 stakes, raises the price with every block; lower it or raise the cumulative fees"
            ),
            Self::CheapStorage { cost, supply } => write!(
                f,
                "filling 10 GiB of every node's disk costs {cost} of the {supply} that can be \
                 spent: at least a tenth is advisable; give the treasury a balance, or lower the \
                 balances"
            ),
            Self::UnaffordableTransfers { cost } => write!(
                f,
                "no account has the {cost} that a plain transfer costs in the first block"
            ),
        }
    }
}

/// Reason that a genesis is invalid or cannot be written.
///
/// ```
/// use astreum_core::atom::NoStore;
/// use astreum_core::chain::{Address, Genesis, GenesisError, TREASURY};
/// use astreum_core::trie::Scalar;
///
/// let build = |genesis: &Genesis| genesis.build(&mut Scalar, &mut NoStore).unwrap_err();
/// let reserved = Genesis::new(TREASURY, 0_u64.into(), 0_u64.into());
/// assert_eq!(build(&reserved), GenesisError::ReservedValidator);
/// let mut free = Genesis::new(Address::new([7; 32]), 0_u64.into(), 0_u64.into());
/// free.cumulative_total_fees = 0_u64.into();
/// assert_eq!(build(&free), GenesisError::NoFees);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GenesisError<E> {
    /// There is no stake, so no block could be made.
    NoStake,
    /// The cumulative fees are 0, but every price is divided by them.
    NoFees,
    /// The validator is the treasury or the burn account, which have no known secret keys.
    ReservedValidator,
    /// The sum of the numbers has more than 1,024 bits: later numbers would not fit into records.
    TooLarge,
    /// There are more than [`MAX_GENESIS_STAKES`](super::MAX_GENESIS_STAKES) stakes: following
    /// nodes do not read more stakes of a genesis.
    TooManyStakes,
    /// A trie could not be built.
    Trie(BuildError),
    /// The sink failed.
    Sink(E),
}

impl<E: fmt::Display> fmt::Display for GenesisError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStake => f.write_str("no validator has a stake: a chain needs at least one"),
            Self::NoFees => {
                f.write_str("cumulative_total_fees must not be 0: prices are divided by it")
            }
            Self::ReservedValidator => f.write_str(
                "the validator must not be the treasury or the burn account: they have no secret \
                 keys",
            ),
            Self::TooLarge => f.write_str("the sum of the genesis numbers exceeds 1,024 bits"),
            Self::TooManyStakes => write!(
                f,
                "the genesis has more than {} stakes",
                super::MAX_GENESIS_STAKES
            ),
            Self::Trie(error) => error.fmt(f),
            Self::Sink(error) => write!(f, "failed to store the genesis atoms: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for GenesisError<E> {}

#[cfg(test)]
mod tests;
