//! Chain of the soak network: initial balances, sent transactions, and expected final balances.

use crate::node::Node;
use astreum_core::atom::{Atom, AtomId, MemoryStore};
use astreum_core::chain::{Address, Genesis, Transaction, Unsigned};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;
use astreum_node::chain_service::dir::{ChainDir, begin_chain};
use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Number of accounts that send.
const SENDERS: u8 = 16;
/// Number of accounts that receive.
const RECIPIENTS: u8 = 32;
/// Initial balance of each sender.
const FUNDS: u64 = 1_000_000_000_000;

/// Sent transactions and their known state.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    counter: AtomicU64,
    sent: Mutex<BTreeMap<AtomId, Sent>>,
}

/// Transfer that was given to a node.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Recipient of the transfer.
    pub(crate) recipient: Address,
    /// Amount of the transfer.
    pub(crate) amount: u64,
    /// True if the node acknowledged it.
    is_acknowledged: bool,
    /// True if it was seen in a block, where it succeeded.
    pub(crate) is_included: bool,
}

impl Ledger {
    /// Creates a unique transfer.
    pub(crate) fn transfer(&self) -> Transaction {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let [low, ..] = number.to_le_bytes();
        let unsigned = Unsigned {
            chain_id: Natural::ZERO,
            amount: (number % 1_000 + 1).into(),
            counter: number.into(),
            data: [].as_slice().into(),
            recipient: recipient(low % RECIPIENTS),
        };
        unsigned.sign(&sender(low % SENDERS))
    }

    /// Returns a number that no other transaction has.
    pub(crate) fn number(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// Records a transfer, which may be in a block from now on.
    pub(crate) fn note(&self, id: AtomId, recipient: Address, amount: u64) {
        let sent = Sent {
            recipient,
            amount,
            is_acknowledged: false,
            is_included: false,
        };
        self.sent().insert(id, sent);
    }

    /// Records that a node has acknowledged it.
    pub(crate) fn acknowledged(&self, id: &AtomId) {
        if let Some(sent) = self.sent().get_mut(id) {
            sent.is_acknowledged = true;
        }
    }

    /// Records that a block includes it.
    pub(crate) fn included(&self, id: &AtomId) {
        if let Some(sent) = self.sent().get_mut(id) {
            sent.is_included = true;
        }
    }

    /// Returns the transactions that were not seen in a block: all, or the acknowledged ones.
    pub(crate) fn missing(&self, is_all: bool) -> Vec<AtomId> {
        let sent = self.sent();
        let missing = sent
            .iter()
            .filter(|(_, sent)| !sent.is_included && (is_all || sent.is_acknowledged));
        missing.map(|(id, _)| *id).collect()
    }

    /// Returns the expected balance of each recipient.
    pub(crate) fn expected(&self) -> BTreeMap<Address, u64> {
        let mut expected = BTreeMap::new();
        for sent in self.sent().values().filter(|sent| sent.is_included) {
            *expected.entry(sent.recipient).or_default() += sent.amount;
        }
        expected
    }

    /// Returns the number of transactions that were given to nodes.
    pub(crate) fn count(&self) -> usize {
        self.sent().len()
    }

    fn sent(&self) -> MutexGuard<'_, BTreeMap<AtomId, Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Secret that a reference sends with.
pub(crate) const REFERENCE_SENDER: [u8; 32] = [0xee; 32];

/// Returns the secret of the validator with this number.
pub(crate) fn validator_secret(number: usize) -> [u8; 32] {
    let [low, ..] = number.to_le_bytes();
    [0xa0 ^ low; 32]
}

fn sender(number: u8) -> SigningKey {
    SigningKey::from_seed(&[0x30 ^ number; 32])
}

/// Returns one of the receiving addresses.
pub(crate) fn recipient(number: u8) -> Address {
    Address::from(SigningKey::from_seed(&[0x60 ^ number; 32]).verifying_key())
}

/// Gives every validator the first block of one chain, in which they have equal stakes and the
/// senders have money.
pub(crate) fn found(nodes: &[Node]) -> Result<(), String> {
    let validators: Vec<&Node> = nodes.iter().filter(|node| node.role.validates()).collect();
    let account = |secret: &[u8; 32]| Address::from(SigningKey::from_seed(secret).verifying_key());
    let keys = validators
        .iter()
        .map(|node| account(&validator_secret(node.number)));
    let keys: Vec<Address> = keys.collect();
    let first = keys.first().ok_or("no validator")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|error| error.to_string())?.as_secs();
    let mut genesis = Genesis::new(*first, Natural::ZERO, (now - 2).into());
    for key in &keys {
        genesis.stakes.insert(*key, Natural::ONE);
    }
    for number in 0..SENDERS {
        let sender = Address::from(sender(number).verifying_key());
        genesis.balances.insert(sender, FUNDS.into());
    }
    genesis
        .balances
        .insert(account(&REFERENCE_SENDER), FUNDS.into());
    let mut atoms = MemoryStore::new();
    let block = genesis
        .build(&mut Scalar, &mut atoms)
        .map_err(|error| error.to_string())?;
    let atoms: Vec<(AtomId, Atom)> = atoms.iter().map(|(id, atom)| (*id, atom.clone())).collect();
    for node in validators {
        let cold = ColdStore::open(&node.cold(), options()).map_err(|error| error.to_string())?;
        let path = node.cold().join("chain/0");
        let mut dir = ChainDir::open(&path, 0).map_err(|error| error.to_string())?;
        begin_chain(&cold, &mut dir, &block, &atoms).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn options() -> ColdOptions {
    ColdOptions {
        level_size_bytes: 1 << 20,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: true,
        background: false,
    }
}
