//! Genesis: the first block of a chain.
//!
//! It is trusted, not verified: it has no signature and no work, and says who owns what. What it
//! sets decides what everything costs for as long as the chain lasts.
//!
//! A byte of storage costs the cumulative stake over the cumulative fees. The cumulative stake grows
//! by the treasury's balance with every block, and the fees do not grow, so the price grows with the
//! height: by `treasury / fees` per block. Each thing that is stored is rounded up to 1, so that
//! with any price a transaction costs at least 3.
//!
//! The defaults follow from four demands:
//! - **A plain transfer costs at most 10** in the first year. It is billed for 526 bytes and 272 of
//!   its receipt: the price may be 3/272 at most after 15,768,000 blocks.
//!   [`DEFAULT_TREASURY`] / [`DEFAULT_TOTAL_FEES`] makes it 0.0099.
//! - **Also when others stake**: what they stake is added to the treasury's balance. That balance
//!   is therefore so large that all that can be owned in the first year, the rewards of all its
//!   blocks included, adds less than 2 % to it. It belongs to nobody.
//! - **Filling 10 GiB of disk costs at least a tenth of the supply**, at first and after a year,
//!   in the cheapest way that is known ([`Genesis::filling_cost`]): 9,600 transactions of 3 each at
//!   first. So the supply is [`DEFAULT_BALANCE`], 250,000.
//! - **Whoever buys all of the supply and stakes it does not outvote the validator**, which has as
//!   much at stake from the start ([`DEFAULT_STAKE`]).
//!
//! [`Genesis::warnings`] says where another genesis does not meet them.
//!
//! The burn account of a genesis of ours holds at least one storage contract: a reference node
//! cannot put into a trie that is empty, and could follow no transaction.

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
/// Balance of the validator in a default genesis, which is all that can be spent.
pub const DEFAULT_BALANCE: u64 = 250_000;
/// Stake of the validator in a default genesis.
pub const DEFAULT_STAKE: u64 = 250_000;
/// A transfer that costs more than this within a year is worth a warning.
pub const DEAR_TRANSFER: u64 = 10;
/// Bytes that filling should cost a tenth of the supply.
pub const FILLED_BYTES: u64 = 10 << 30;

/// Kinds of transactions that leave much for little: stored bytes that they are billed for, and
/// bytes that they leave in the sorted pairs of every node, as `tests/src/economics` measures them.
/// A transfer in a block of its own; one with all the data that it may have; a withdrawal between
/// accounts, and from a channel, whose addresses were chosen to lie 256 nodes deep in their tries.
const FILLING_WAYS: [(u64, u64); 3] = [(510, 105_000), (60_510, 170_000), (623, 1_120_000)];

/// Blocks of a day without missed slots.
const DAY_BLOCKS: u64 = 86_400 / super::SLOT_SECONDS;
/// Blocks of a year.
const YEAR_BLOCKS: u64 = 365 * DAY_BLOCKS;
/// Bits that the numbers of a genesis may have, added up. Records hold 2,048: what a chain can add
/// to its numbers in any number of blocks needs fewer than the rest.
const MAX_GENESIS_BITS: u64 = 1_024;
/// Filling a disk should cost one part of the supply in so many.
const SUPPLY_PARTS: u64 = 10;
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
    /// A chain that can be used: the validator owns the supply and has the only stake, and storage
    /// has a price. See the module for the numbers.
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

    /// Returns what can be spent: all balances but the treasury's and the burn account's.
    #[must_use]
    pub fn supply(&self) -> Natural {
        let owned = self.balances.iter();
        let owned = owned.filter(|(address, _)| ![TREASURY, BURN].contains(address));
        owned.map(|(_, balance)| balance).sum()
    }

    /// Returns the price of storage so many blocks after the first, if this much is staked from the
    /// first block on.
    fn price(&self, blocks: u64, staked: &Natural) -> Price {
        let treasury = &self.balance(&TREASURY) + staked;
        // The price is that of the block before: the first has the treasury's balance once.
        let cumulative_stake = &treasury * &Natural::from(blocks.max(1));
        Price::new(cumulative_stake, self.cumulative_total_fees.clone())
    }

    /// Returns what a transfer without data costs its sender beside the amount, this many blocks
    /// after the first, if nothing more is staked; `None` when the cumulative fees are 0.
    #[must_use]
    pub fn transfer_cost(&self, blocks: u64) -> Option<Natural> {
        self.price(blocks, &Natural::ZERO).reserve(0)
    }

    /// As [`transfer_cost`](Self::transfer_cost), if the whole supply is staked in the first block.
    #[must_use]
    pub fn highest_transfer_cost(&self, blocks: u64) -> Option<Natural> {
        self.price(blocks, &self.supply()).reserve(0)
    }

    /// Returns what filling [`FILLED_BYTES`] of every node's disk costs, this many blocks after the
    /// first, in the cheapest way that is known; `None` when the cumulative fees are 0.
    ///
    /// Blocks without transactions leave about 6 KB each and cost nothing, and with more height the
    /// price grows and so does the supply, by the rewards. What prices do not hold is held by the
    /// limit that producers set to the growth of their blocks.
    #[must_use]
    pub fn filling_cost(&self, blocks: u64) -> Option<Natural> {
        let price = self.price(blocks, &Natural::ZERO);
        let costs = FILLING_WAYS.iter().map(|(billed, left)| {
            let each = FEE + price.of(*billed)? + price.of(RECEIPT_BYTES)?;
            Some(&each * &Natural::from(FILLED_BYTES / left))
        });
        costs.min().flatten()
    }

    /// Returns what an operator should know before starting this chain.
    #[must_use]
    pub fn warnings(&self) -> Vec<GenesisWarning> {
        let mut warnings = Vec::new();
        let cost = |blocks| self.highest_transfer_cost(blocks).unwrap_or_default();
        if cost(YEAR_BLOCKS) > DEAR_TRANSFER {
            warnings.push(GenesisWarning::DearTransfers {
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
            warnings.push(GenesisWarning::NobodyCanPay { cost });
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
    /// Filling [`FILLED_BYTES`] of every disk costs less than a tenth of the supply.
    CheapStorage {
        /// What it costs.
        cost: Natural,
        /// The supply.
        supply: Natural,
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
                "a plain transfer costs up to {first} at first, {after_a_day} after a day and \
                 {after_a_year} after a year of blocks: the treasury's balance, to which stakes are \
                 added, raises the price with every block; lower it or raise the cumulative fees"
            ),
            Self::CheapStorage { cost, supply } => write!(
                f,
                "filling 10 GiB of every node's disk costs {cost} of the {supply} that can be spent: \
                 at least a tenth is advisable; give the treasury a balance, or lower the balances"
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
    /// There are more than [`MAX_GENESIS_STAKES`](super::MAX_GENESIS_STAKES) stakes: followers read no
    /// more of a genesis.
    TooManyStakes,
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
            Self::TooManyStakes => write!(
                f,
                "the genesis has more than {} stakes",
                super::MAX_GENESIS_STAKES
            ),
            Self::Trie(error) => error.fmt(f),
            Self::Sink(error) => write!(f, "the atoms of genesis could not be stored: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for GenesisError<E> {}

#[cfg(test)]
mod tests;
