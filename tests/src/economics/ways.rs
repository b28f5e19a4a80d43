//! Measured transaction kinds that add much state for little payment.

use super::chain::Chain;
use astreum_core::atom::AtomId;
use astreum_core::chain::cost::stored_bytes;
use astreum_core::chain::{
    Address, BURN, Genesis, GenesisContract, MAX_TRANSACTION_DATA_BYTES, TREASURY, Transaction,
    channel,
};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;

/// Billed bytes and added bytes of one kind of transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// Description of the transaction.
    pub name: &'static str,
    /// Transactions of a block.
    pub per_block: u64,
    /// Stored bytes that it is billed for, without its receipt.
    pub billed_bytes: u64,
    /// Bytes that it adds to sorted pairs, in excess of those of an empty block.
    pub pair_bytes: u64,
    /// Atoms that it adds.
    pub atoms: u64,
}

/// Size of the measured chains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Existing accounts, each with two contracts.
    pub accounts: u32,
    /// Transactions of a full block.
    pub per_block: u32,
}

impl Size {
    /// Size that is small enough for a test.
    pub const SMALL: Self = Self {
        accounts: 1_000,
        per_block: 50,
    };
    /// Size behind the numbers in the documentation.
    pub const LARGE: Self = Self {
        accounts: 100_000,
        per_block: 1_000,
    };
}

fn address(kind: u8, number: u32) -> Address {
    let seed = [&[kind][..], &number.to_be_bytes()].concat();
    Address::new(astreum_core::crypto::hash(&seed))
}

/// Returns addresses that differ from this one after 0, 1, 2, … bits, so that it lies at the
/// maximum depth of a trie. Each costs one transfer.
fn neighbours(of: Address) -> impl Iterator<Item = Address> {
    (0..255_usize).map(move |bit| {
        let mut near = *of.as_bytes();
        if let Some(byte) = near.get_mut(bit / 8) {
            *byte ^= 0x80 >> (bit % 8);
        }
        Address::new(near)
    })
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

fn rich(genesis: &mut Genesis, address: Address) {
    genesis
        .balances
        .insert(address, 1_000_000_000_000_u64.into());
}

/// Creates a genesis in which storage has a price and balances suffice for every measurement.
fn genesis(deep: &[Address]) -> Genesis {
    let validator = Address::from(key(1).verifying_key());
    let mut genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
    rich(&mut genesis, validator);
    rich(&mut genesis, address(0, 0));
    for address in deep {
        if ![BURN, TREASURY].contains(address) {
            rich(&mut genesis, *address);
        }
        for near in neighbours(*address) {
            genesis.balances.insert(near, 1_u64.into());
        }
    }
    genesis
}

/// Creates a chain with `size.accounts` accounts whose counters are set as if each had sent a
/// transaction.
fn grown(size: Size, deep: &[Address]) -> Chain {
    let mut genesis = genesis(deep);
    for number in 0..size.accounts {
        genesis
            .balances
            .insert(address(1, number), 1_000_000_000_u64.into());
        for kind in [8, 9] {
            let contract = GenesisContract {
                owner: address(1, number),
                bytes: 530_u64.into(),
                atoms: 10_u64.into(),
            };
            let id = AtomId::new(*address(kind, number).as_bytes());
            genesis.contracts.insert(id, contract);
        }
    }
    Chain::new(&genesis)
}

/// Measures one kind of transaction. `make` returns the transaction for a number, with a different
/// sender for each.
fn measured(
    chain: &mut Chain,
    name: &'static str,
    per_block: u32,
    make: impl Fn(&mut Chain, u32) -> Transaction,
) -> Way {
    let empty = chain.block(&[]);
    let transactions: Vec<Transaction> = (0..per_block).map(|number| make(chain, number)).collect();
    let billed = transactions.iter().map(stored_bytes).max();
    let growth = chain.block(&transactions);
    let each = |all: u64, none: u64| all.saturating_sub(none) / u64::from(per_block.max(1));
    Way {
        name,
        per_block: per_block.into(),
        billed_bytes: billed.unwrap_or_default(),
        pair_bytes: each(growth.pair_bytes(), empty.pair_bytes()),
        atoms: each(growth.atoms, empty.atoms),
    }
}

/// Measures all kinds on chains of this size.
#[must_use]
pub fn ways(size: Size) -> Vec<Way> {
    let mut ways = flat_ways(size);
    ways.extend(deep_ways(size));
    ways
}

/// Measures accounts at depths that result from addresses that were not chosen.
fn flat_ways(size: Size) -> Vec<Way> {
    let mut ways = Vec::new();
    let chain = &mut grown(size, &[]);
    let data = vec![7; MAX_TRANSACTION_DATA_BYTES];
    for per_block in [1, size.per_block] {
        ways.push(measured(chain, "transfer", per_block, |chain, number| {
            chain.transaction(address(1, number), address(1, number + per_block), 1, b"")
        }));
        ways.push(measured(
            chain,
            "transfer to a new account",
            per_block,
            |chain, number| {
                chain.transaction(
                    address(1, number),
                    address(2, number + 100 * per_block),
                    1,
                    b"",
                )
            },
        ));
        ways.push(measured(chain, "channel", per_block, |chain, number| {
            let data = update(address(3, number), 5);
            chain.transaction(address(1, number), address(1, number), 1, &data)
        }));
        ways.push(measured(chain, "new stake", per_block, |chain, number| {
            chain.transaction(address(1, number + 7 * per_block), TREASURY, 1_000, b"")
        }));
        let per_block = per_block.min(500);
        ways.push(measured(
            chain,
            "60,000 bytes of data",
            per_block,
            |chain, number| {
                chain.transaction(address(1, number), address(1, number + per_block), 1, &data)
            },
        ));
    }
    ways
}

fn update(peer: Address, window: u64) -> Vec<u8> {
    [&[channel::UPDATE][..], peer.as_ref(), &window.to_le_bytes()].concat()
}

/// Measures accounts that lie 256 nodes deep, where each block rewrites all nodes above them.
fn deep_ways(size: Size) -> Vec<Way> {
    let [payer, taker] = [2, 3].map(key);
    let [from, to] = [&payer, &taker].map(|key| Address::from(key.verifying_key()));
    let mut ways = Vec::new();
    let chain = &mut grown(size, &[from, to]);
    ways.push(measured(
        chain,
        "transfer between deep accounts",
        1,
        |chain, _| chain.transaction(from, to, 1, b""),
    ));
    let data = vec![7; MAX_TRANSACTION_DATA_BYTES];
    ways.push(measured(
        chain,
        "the same with 60,000 bytes",
        1,
        |chain, _| chain.transaction(from, to, 1, &data),
    ));
    let window = u64::MAX;
    let peers: Vec<Address> = neighbours(to).chain([to]).collect();
    let open: Vec<Transaction> = peers
        .iter()
        .map(|peer| chain.transaction(from, from, 1_000, &update(*peer, window)))
        .collect();
    chain.block(&open);
    ways.push(measured(
        chain,
        "withdrawal from a deep channel",
        1,
        |chain, _| withdrawal(chain, &payer, to),
    ));
    *chain = grown(size, &[from, to, BURN]);
    let open: Vec<Transaction> = peers
        .iter()
        .map(|peer| chain.transaction(from, from, 1_000, &update(*peer, window)))
        .collect();
    chain.block(&open);
    ways.push(measured(
        chain,
        "the same, the burn account deep too",
        1,
        |chain, _| withdrawal(chain, &payer, to),
    ));
    ways
}

fn withdrawal(chain: &mut Chain, payer: &SigningKey, taker: Address) -> Transaction {
    let from = Address::from(payer.verifying_key());
    let chain_id = chain.head().chain_id.clone();
    // More than the fee, so that the balance changes.
    let (counter, amount) = (1_000_000_u64, 500_u64);
    let message = channel::withdrawal_message(&chain_id, &from, &taker, counter, amount);
    let signature = payer.sign(&message.unwrap_or_default());
    let numbers = [counter.to_le_bytes(), amount.to_le_bytes()].concat();
    let data = [
        &[channel::WITHDRAW][..],
        from.as_ref(),
        &numbers,
        signature.as_bytes(),
    ]
    .concat();
    chain.transaction(taker, taker, 0, &data)
}
