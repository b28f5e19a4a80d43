//! Each kind of bad transaction at the three entrances: sent by this node, in the mempool and in a
//! block. All of them give the same error with the same words.

use super::*;
use crate::node::SendError;
use astreum_core::atom::{MemoryStore, bytes_list};
use astreum_core::chain::{
    Address, BURN, Builder, Election, Genesis, Header, Invalid, MAX_INTEGER_BYTES,
    MAX_TRANSACTION_DATA_BYTES, TREASURY, Unsigned, VerifyError, check_signatures, check_signed,
    contract, read_transactions, reexecute_body, write_atoms,
};
use astreum_core::consensus::mempool::admission::{self, AdmissionError, Refusal};
use astreum_core::consensus::mempool::pool::{Pool, PoolLimits};
use astreum_core::crypto::{Signature, SigningKey};
use astreum_core::trie::Scalar;

/// Account with a large balance.
const RICH: u8 = 2;
/// Account with a balance of 1.
const POOR: u8 = 3;
/// Account with exactly the reserve of a transaction without data.
const EXACT: u8 = 4;
/// Key without an account.
const ABSENT: u8 = 5;
/// Reserve of a transaction without data at a price of 1 per byte: 526 bytes, a receipt of 272 and
/// the fee.
const RESERVE: u64 = 799;

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn address(n: u8) -> Address {
    key(n).verifying_key().into()
}

/// Chain of a genesis and one block with `replayed`.
struct World {
    store: MemoryStore,
    head: Block,
}

impl World {
    fn new(replayed: &Transaction) -> Self {
        let mut genesis = Genesis::new(address(1), Natural::ZERO, 1_000_u64.into());
        // A byte costs 1.
        genesis.cumulative_total_fees = 1_u64.into();
        genesis.balances.extend([
            (TREASURY, 1_u64.into()),
            (address(RICH), 1_000_000_u64.into()),
            (address(POOR), 1_u64.into()),
            (address(EXACT), RESERVE.into()),
        ]);
        let mut store = MemoryStore::new();
        let parent = genesis.build(&mut Scalar, &mut store).unwrap();
        let Election { stakes, .. } = Election::read(&store, &parent).unwrap();
        let mut builder = Builder::new(&store, &parent, &stakes);
        builder.apply(replayed).unwrap().unwrap();
        let body = builder.finish(&mut Scalar, None).unwrap();
        let header = body.header(&parent, address(1), 1_002_u64.into(), Natural::ONE);
        // The sum of the stakes after both blocks is the price; keep it at 1.
        let header = Header {
            cumulative_stake: parent.cumulative_stake.clone(),
            ..header
        };
        let head = header.sign(&key(1));
        write_atoms(replayed.to_atoms(), &mut store).unwrap();
        write_atoms(body.atoms, &mut store).unwrap();
        head.write(&mut store).unwrap();
        Self { store, head }
    }

    /// Returns the same state after a head whose header is changed.
    fn with(&self, change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Header::clone(&self.head);
        change(&mut header);
        let head = header.sign(&key(1));
        let store = self.store.clone();
        Self { store, head }
    }

    fn stakes(&self) -> Result<StakeTable, QueryError> {
        Ok(StakeTable::read(&self.store, self.head.accounts)?)
    }

    fn sent(&self, transaction: &Transaction) -> Option<TransactionError> {
        let stakes = || self.stakes();
        let checked = check_transaction(&self.store, &self.head, transaction, stakes);
        checked.unwrap().err()
    }

    /// Returns the reason of the mempool: at admission, or when it assembles a block.
    fn pooled(&self, transaction: &Transaction) -> Option<TransactionError> {
        let mut store = self.store.clone();
        transaction.write(&mut store).unwrap();
        let pool = Pool::new(PoolLimits::default());
        let admitted = admission::read(&store, transaction.id())
            .and_then(|read| admission::check(&store, &self.head, read, &pool, false));
        match admitted {
            Ok(_) => {
                let stakes = self.stakes().unwrap_or_default();
                let mut builder = Builder::new(&store, &self.head, &stakes);
                builder.apply(transaction).unwrap().err()
            }
            Err(AdmissionError::Refused(Refusal::Transaction(error))) => Some(error),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn included(&self, transaction: &Transaction) -> Option<(TransactionError, String)> {
        let mut store = self.store.clone();
        transaction.write(&mut store).unwrap();
        let (transactions, list) = bytes_list(&[transaction.id()]);
        for atom in list {
            store.insert(atom);
        }
        let header = Header {
            transactions,
            ..Header::clone(&self.head)
        };
        let block = header.sign(&key(1));
        let stakes = self.stakes().unwrap_or_default();
        let verified = read_transactions(&store, &block).and_then(|transactions| {
            check_signed(&transactions, &check_signatures(&transactions))?;
            reexecute_body(&store, &self.head, &stakes, &transactions, &mut Scalar).map(drop)
        });
        match verified {
            Ok(()) => None,
            Err(VerifyError::Invalid(invalid @ Invalid::Transaction { .. })) => {
                let text = invalid.to_string();
                let Invalid::Transaction { error, .. } = invalid else {
                    unreachable!()
                };
                Some((*error, text))
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn transfer(counter: u64) -> Unsigned {
    Unsigned {
        chain_id: Natural::ZERO,
        amount: Natural::ONE,
        counter: counter.into(),
        data: [].as_slice().into(),
        recipient: address(9),
    }
}

/// Returns a transaction of the burn account, whose address is a point of order 4: a signature with
/// s = 0 and R = -[k]A can be found by trial.
fn theft() -> Transaction {
    let points = [
        [0; 32],
        core::array::from_fn(|index| if index == 31 { 0x80 } else { 0 }),
        core::array::from_fn(|index| u8::from(index == 0)),
        core::array::from_fn(|index| match index {
            0 => 0xec,
            31 => 0x7f,
            _ => 0xff,
        }),
    ];
    let signed = |counter, point: &[u8; 32]| {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(point);
        transfer(counter).signed(BURN, Signature::new(signature))
    };
    let trials = (0..100).flat_map(|counter| points.map(|point| signed(counter, &point)));
    trials
        .into_iter()
        .find(|theft| theft.verify_signature().is_ok())
        .unwrap()
}

/// Name of the kind, which the table must contain; `None` for those that need more than one
/// transaction or the length of a list.
const fn kind(error: &TransactionError) -> Option<&'static str> {
    Some(match error {
        TransactionError::Malformed { .. } => "malformed",
        TransactionError::Signature(_) => "signature",
        TransactionError::ChainId { .. } => "chain id",
        TransactionError::SystemSender => "system sender",
        TransactionError::Replayed => "replayed",
        TransactionError::NoSystemAccount { .. } => "no system account",
        TransactionError::NoPrice => "no price",
        TransactionError::NoSender { .. } => "no sender",
        TransactionError::Balance { .. } => "balance",
        TransactionError::RealCost { .. } => "real cost",
        TransactionError::SmallStake { .. } => "small stake",
        TransactionError::ListTooLong { .. }
        | TransactionError::BlockListsTooLong { .. }
        | TransactionError::BlockFull => return None,
    })
}

#[test]
fn bad_transaction_has_the_same_error_when_sent_in_the_mempool_and_in_a_block() {
    let replayed = transfer(1).sign(&key(RICH));
    let world = World::new(&replayed);
    let plain = |n: u8| transfer(2).sign(&key(n));
    let long_counter = |bytes: usize| Unsigned {
        amount: Natural::ZERO,
        counter: Natural::from_bytes_le(&vec![1; bytes]).unwrap(),
        ..transfer(0)
    };
    let long_data = Unsigned {
        data: vec![0; MAX_TRANSACTION_DATA_BYTES + 1].as_slice().into(),
        ..transfer(2)
    };
    let other_chain = Unsigned {
        chain_id: 9_u64.into(),
        ..transfer(2)
    };
    let stake = |amount: u64| Unsigned {
        amount: amount.into(),
        recipient: TREASURY,
        ..transfer(2)
    };
    let opening = Unsigned {
        data: [&[contract::OPEN], &[7; 32][..]].concat().as_slice().into(),
        recipient: BURN,
        ..transfer(2)
    };
    let forged = |unsigned: Unsigned| unsigned.signed(address(RICH), Signature::new([3; 64]));
    let free = world.with(|header| header.cumulative_total_fees = Natural::ZERO);
    let empty = world.with(|header| header.accounts = astreum_core::atom::AtomId::ZERO);
    let table: [(&World, Transaction, &str); 16] = [
        (&world, long_data.clone().sign(&key(RICH)), "malformed"),
        (
            &world,
            long_counter(MAX_INTEGER_BYTES + 1).sign(&key(RICH)),
            "malformed",
        ),
        (&world, forged(transfer(2)), "signature"),
        (
            &world,
            transfer(2).signed(Address::new([2; 32]), Signature::new([3; 64])),
            "signature",
        ),
        (&world, other_chain.clone().sign(&key(RICH)), "chain id"),
        (&world, theft(), "system sender"),
        (&world, replayed, "replayed"),
        (&empty, plain(RICH), "no system account"),
        (&free, plain(RICH), "no price"),
        (&world, plain(ABSENT), "no sender"),
        (&world, plain(POOR), "balance"),
        (&world, opening.sign(&key(POOR)), "balance"),
        (
            &world,
            long_counter(MAX_INTEGER_BYTES).sign(&key(EXACT)),
            "real cost",
        ),
        (&world, stake(0).sign(&key(RICH)), "small stake"),
        // Of several errors, each entrance reports the same one.
        (&world, forged(other_chain.clone()), "signature"),
        (&world, other_chain.sign(&key(ABSENT)), "chain id"),
    ];
    for (world, transaction, expected) in table {
        let sent = world.sent(&transaction);
        let sent = sent.unwrap_or_else(|| panic!("{expected}: not rejected"));
        assert_eq!(kind(&sent), Some(expected), "{sent:?}");
        assert_eq!(world.pooled(&transaction).as_ref(), Some(&sent));
        let (included, in_block) = world.included(&transaction).unwrap();
        assert_eq!(included, sent);
        let text = SendError::Transaction(sent.clone()).to_string();
        assert_eq!(text, Refusal::Transaction(sent).to_string());
        assert!(in_block.ends_with(&format!(": {text}")), "{in_block}");
    }
    // Accepted by all.
    for (n, unsigned) in [(RICH, transfer(2)), (RICH, stake(1)), (EXACT, transfer(2))] {
        let good = unsigned.sign(&key(n));
        assert_eq!(world.sent(&good), None);
        assert_eq!(world.pooled(&good), None);
        assert_eq!(world.included(&good), None);
    }
}
