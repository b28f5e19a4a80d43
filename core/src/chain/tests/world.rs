//! Small chain in memory.

use crate::atom::{Atom, AtomId, MemoryStore};
use crate::chain::pow::{difficulty, has_work};
use crate::chain::{
    Account, Address, BURN, Block, Body, Builder, ElectionSeeds, Header, Position, RecordAtoms,
    SeedRun, StakeTable, State, TREASURY, Transaction, Unsigned,
};
use crate::crypto::{Signature, SigningKey};
use crate::integer::Natural;
use crate::trie::{self, Scalar, Trie};
use std::vec::Vec;

/// Id of the chain.
pub(super) const CHAIN_ID: u64 = 7;
/// Height of the parent block.
pub(super) const PARENT_HEIGHT: u64 = 41;
/// Timestamp of the parent block.
pub(super) const PARENT_TIME: u64 = 1_000;

pub(in crate::chain) fn natural(value: u64) -> Natural {
    Natural::from(value)
}

pub(in crate::chain) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

pub(in crate::chain) fn address_of(key: &SigningKey) -> Address {
    Address::from(key.verifying_key())
}

/// Creates a transaction for [`CHAIN_ID`] with a counter that distinguishes it from others.
pub(in crate::chain) fn unsigned(
    counter: u64,
    recipient: Address,
    amount: u64,
    data: &[u8],
) -> Unsigned {
    Unsigned {
        chain_id: natural(CHAIN_ID),
        amount: natural(amount),
        counter: natural(counter),
        data: data.into(),
        recipient,
    }
}

/// Adds a sender without a valid signature, for tests of rules that do not verify signatures.
pub(super) fn with_dummy_signature(unsigned: Unsigned, sender: Address) -> Transaction {
    unsigned.signed(sender, Signature::new([0; 64]))
}

/// Store with a parent block.
#[derive(Clone)]
pub(in crate::chain) struct World {
    pub(in crate::chain) store: MemoryStore,
    pub(super) parent: Block,
    /// Key of the block producer.
    pub(super) validator: SigningKey,
    /// Stakes after the parent; kept here so that a test can remove the atoms.
    stakes: StakeTable,
}

impl World {
    /// Creates a world with these balances, the treasury, in which the validator has a stake of 1,
    /// and the burn account.
    pub(in crate::chain) fn new(balances: &[(Address, Natural)]) -> Self {
        Self::with_stakes(balances, &[(address_of(&key(200)), natural(1))])
    }

    /// Creates a world as [`World::new`], with these stakes.
    pub(super) fn with_stakes(
        balances: &[(Address, Natural)],
        staked: &[(Address, Natural)],
    ) -> Self {
        let mut store = MemoryStore::new();
        let validator = key(200);
        let mut stakes = Trie::new();
        for (validator, stake) in staked {
            let stake = stake.to_bytes_le();
            stakes.put(&store, validator.as_ref(), &stake).unwrap();
        }
        let treasury = Account {
            balance: natural(1),
            data: stakes.commit(&mut Scalar, &mut store).unwrap(),
            ..Account::default()
        };
        let mut accounts = Trie::new();
        let mut put = |address: &Address, account: &Account| {
            let id = account.write(&mut store).unwrap();
            accounts.put(&store, address.as_ref(), id.as_ref()).unwrap();
        };
        put(&TREASURY, &treasury);
        put(&BURN, &Account::default());
        for (address, balance) in balances {
            let balance = balance.clone();
            put(
                address,
                &Account {
                    balance,
                    ..Account::default()
                },
            );
        }
        let header = Header {
            chain_id: natural(CHAIN_ID),
            height: natural(PARENT_HEIGHT),
            previous: AtomId::new([9; 32]),
            timestamp: natural(PARENT_TIME),
            difficulty: natural(1),
            cumulative_stake: natural(5),
            cumulative_burn: natural(11),
            cumulative_mint: natural(13),
            cumulative_total_fees: natural(1_000),
            total_fees: natural(0),
            accounts: accounts.commit(&mut Scalar, &mut store).unwrap(),
            transactions: AtomId::ZERO,
            receipts: AtomId::ZERO,
            validator: address_of(&validator),
            nonce: natural(0),
        };
        let parent = header.sign(&validator);
        parent.write(&mut store).unwrap();
        let stakes = StakeTable::read(&store, parent.accounts).unwrap();
        Self {
            store,
            parent,
            validator,
            stakes,
        }
    }

    /// Stores a list on which contracts can be opened, and returns its head.
    pub(super) fn add_list(&mut self, values: &[&[u8]]) -> AtomId {
        let (head, atoms) = crate::atom::bytes_list(values);
        self.store.extend(atoms);
        head
    }

    /// Returns the stakes after the parent.
    pub(super) fn stakes(&self) -> StakeTable {
        self.stakes.clone()
    }

    /// Returns the seeds after the parent, with made-up ids for the ancestors.
    pub(super) fn seeds(&self) -> ElectionSeeds {
        let mut run = SeedRun::to(PARENT_HEIGHT);
        for height in 0..PARENT_HEIGHT {
            run.push(AtomId::new([u8::try_from(height).unwrap(); 32]));
        }
        run.push(self.parent.id());
        run.finish().unwrap()
    }

    pub(super) fn builder(&self) -> Builder<&MemoryStore> {
        Builder::new(&self.store, &self.parent, &self.stakes())
    }

    pub(super) fn state(&self) -> State<&MemoryStore> {
        State::new(&self.store, self.position())
    }

    pub(super) fn position(&self) -> Position {
        Position::after(&self.parent, &self.stakes())
    }

    pub(super) fn keep(&mut self, atoms: RecordAtoms) {
        self.store.extend(atoms.into_iter().map(|(_, atom)| atom));
    }

    /// Creates a body with these transactions, all of which must be applied, and stores all its
    /// atoms.
    pub(in crate::chain) fn body(&mut self, transactions: &[Transaction], claim: bool) -> Body {
        let mut builder = self.builder();
        for transaction in transactions {
            builder.apply(transaction).unwrap().unwrap();
        }
        let claimant = claim.then(|| address_of(&self.validator));
        let body = builder.finish(&mut Scalar, claimant).unwrap();
        for transaction in transactions {
            self.keep(transaction.to_atoms());
        }
        self.keep(body.atoms.clone());
        body
    }

    /// Returns the header of a block with this body, two seconds after its parent.
    pub(in crate::chain) fn header(&self, body: &Body) -> Header {
        let time = natural(PARENT_TIME + 2);
        let parent = &self.parent;
        let difficulty = difficulty(&parent.timestamp, &time, &parent.difficulty);
        body.header(parent, address_of(&self.validator), time, difficulty)
    }

    /// Signs a header with a nonce that gives it the required proof of work.
    pub(in crate::chain) fn mine(&self, header: Header) -> Block {
        mine(header, &self.validator, &self.parent.difficulty)
    }
}

pub(super) fn mine(mut header: Header, key: &SigningKey, difficulty: &Natural) -> Block {
    loop {
        let block = header.clone().sign(key);
        if has_work(&block.id(), difficulty) {
            return block;
        }
        header.nonce += Natural::ONE;
    }
}

/// Returns all accounts under a root.
pub(super) fn accounts(store: &MemoryStore, root: AtomId) -> Vec<(Address, Account)> {
    let entries = trie::entries(store, root).map(|entry| {
        let (key, id) = entry.unwrap();
        let id = AtomId::from_slice(&id).unwrap();
        let account = Account::read(store, id).unwrap();
        (Address::from_slice(&key).unwrap(), account)
    });
    entries.collect()
}

/// Returns the sum of all balances under a root and of all open channels.
pub(super) fn total(store: &MemoryStore, root: AtomId) -> Natural {
    let mut total = Natural::ZERO;
    for (_, account) in accounts(store, root) {
        total += &account.balance;
        for entry in trie::entries(store, account.channels) {
            let (_, id) = entry.unwrap();
            let atoms = list(store, AtomId::from_slice(&id).unwrap());
            total += Natural::from_bytes_le(atoms[0].data()).unwrap();
        }
    }
    total
}

pub(super) fn list(store: &MemoryStore, head: AtomId) -> Vec<Atom> {
    crate::atom::collect_list(store, head, 100).unwrap()
}
