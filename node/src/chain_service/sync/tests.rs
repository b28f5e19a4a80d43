//! Comparison of body verification on several threads with one check after the other.

use super::{CheckedTransactions, verify_body};
use crate::chain_service::{Environment, Now};
use crate::runtime::parallel::Threads;
use astreum_core::atom::{MemoryStore, bytes_list};
use astreum_core::chain::{
    self, Block, Body, Builder, Genesis, Header, Invalid, StakeTable, Transaction,
    TransactionError, Unsigned, VerifyError, check_signatures, difficulty, write_atoms,
};
use astreum_core::crypto::Signature;
use astreum_core::integer::Natural;
use astreum_core::testkit::{BEGINNING, address, key};
use astreum_core::time::Instant;
use astreum_core::trie::Scalar;
use core::convert::Infallible;
use core::time::Duration;

type Verdict = Result<Body, VerifyError<Infallible>>;

/// Builder of blocks on a genesis; account 2 has a balance.
struct Maker {
    store: MemoryStore,
    genesis: Block,
}

impl Maker {
    fn new() -> Self {
        let mut store = MemoryStore::new();
        let mut genesis = Genesis::new(address(1), Natural::ZERO, BEGINNING.into());
        let money = 1_000_000_000_u64;
        genesis.balances.insert(address(2), money.into());
        let block = genesis.build(&mut Scalar, &mut store).unwrap();
        write_atoms(block.to_atoms(), &mut store).unwrap();
        Self {
            store,
            genesis: block,
        }
    }

    /// Returns the header of a block with these transactions.
    fn draft(&mut self, transactions: &[Transaction]) -> Header {
        let parent = &self.genesis;
        let timestamp = &parent.timestamp + &Natural::from(2_u64);
        let stakes = StakeTable::read(&self.store, parent.accounts).unwrap();
        let mut builder = Builder::new(&self.store, parent, &stakes);
        for transaction in transactions {
            builder.apply(transaction).unwrap().unwrap();
        }
        let body = builder.finish(&mut Scalar, None).unwrap();
        drop(builder);
        let asked = difficulty(&parent.timestamp, &timestamp, &parent.difficulty);
        let header = body.header(parent, address(1), timestamp, asked);
        write_atoms(body.atoms, &mut self.store).unwrap();
        header
    }
}

/// Number of transactions: enough for four threads, and not a multiple of a thread's share.
const COUNT: usize = 131;
/// Places of wrong transactions: the ends, both sides of share boundaries, and the middle.
const PLACES: [usize; 7] = [0, 1, 15, 16, 64, 65, COUNT - 1];

/// Defect of a transaction in a block.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// Signed by its sender, but over other content.
    Forged,
    /// Valid, except that the sender's address is not a key.
    NoKey,
    /// Signed, but for another chain.
    OtherChain,
    /// Signed by a sender without an account.
    NoAccount,
    /// For another chain, and not signed.
    Both,
}

fn transaction(number: usize, wrong: Option<Wrong>) -> Transaction {
    let chain_id = match wrong {
        Some(Wrong::OtherChain | Wrong::Both) => Natural::from(9_u64),
        _ => Natural::ZERO,
    };
    let unsigned = Unsigned {
        chain_id,
        amount: Natural::ONE,
        counter: Natural::from(number),
        data: [].as_slice().into(),
        recipient: address(3),
    };
    let signed = unsigned.clone().sign(&key(2));
    match wrong {
        Some(Wrong::Forged | Wrong::Both) => {
            let mut signature = *signed.signature().as_bytes();
            signature[40] ^= 1;
            unsigned.signed(address(2), Signature::new(signature))
        }
        Some(Wrong::NoKey) => {
            let mut no_key = [0; 32];
            no_key[0] = 2;
            unsigned.signed(no_key.into(), *signed.signature())
        }
        Some(Wrong::NoAccount) => unsigned.sign(&key(77)),
        Some(Wrong::OtherChain) | None => signed,
    }
}

/// Builds a block with these transactions whose header fields are those of the block without
/// defects.
fn block_of(maker: &mut Maker, transactions: &[Transaction], good: &Header) -> Block {
    for transaction in transactions {
        transaction.write(&mut maker.store).unwrap();
    }
    let ids: Vec<_> = transactions.iter().map(Transaction::id).collect();
    let (head, atoms) = bytes_list(&ids);
    maker.store.extend(atoms);
    let header = Header {
        transactions: head,
        ..good.clone()
    };
    header.sign(&key(1))
}

/// Returns the stakes after the genesis.
fn stakes(maker: &Maker) -> StakeTable {
    StakeTable::read(&maker.store, maker.genesis.accounts).unwrap()
}

/// Verifies in core, one signature after the other, before any transaction is applied.
fn one_by_one(maker: &Maker, block: &Block, transactions: &[Transaction]) -> Verdict {
    let signed = check_signatures(transactions);
    let parent = &maker.genesis;
    chain::verify_body(
        &maker.store,
        block,
        parent,
        &stakes(maker),
        transactions,
        &signed,
        &mut Scalar,
    )
}

fn over(
    threads: usize,
    maker: &Maker,
    block: &Block,
    checked: &mut Option<CheckedTransactions>,
) -> Verdict {
    let store: &MemoryStore = &maker.store;
    let world = Environment {
        now: Now {
            instant: Instant::ZERO,
            unix: Duration::from_secs(BEGINNING + 10),
        },
        atoms: store,
        parallel: &Threads::new(threads),
    };
    let (genesis, stakes) = (&maker.genesis, &stakes(maker));
    verify_body(&world, block, genesis, stakes, &mut Scalar, checked)
}

/// Asserts that all numbers of threads give the sequential verdict, the first time and on a retry.
fn assert_same(maker: &Maker, block: &Block, transactions: &[Transaction], what: &str) -> Verdict {
    let expected = one_by_one(maker, block, transactions);
    for threads in [1, 2, 3, 4, 7] {
        let mut checked = None;
        for round in ["first", "again"] {
            let verdict = over(threads, maker, block, &mut checked);
            assert_eq!(verdict, expected, "{what}, {threads} threads, {round}");
        }
    }
    expected
}

#[test]
fn verdict_is_independent_of_the_number_of_threads() {
    let mut maker = Maker::new();
    let all_good: Vec<Transaction> = (0..COUNT).map(|at| transaction(at, None)).collect();
    let good = maker.draft(&all_good);
    let block = block_of(&mut maker, &all_good, &good);
    assert!(assert_same(&maker, &block, &all_good, "all good").is_ok());

    for (round, forged) in PLACES.into_iter().enumerate() {
        for rejected in PLACES {
            // Alternates, so that each defect occurs in many places.
            let (bad_signature, bad_transaction) = match (round + rejected) % 2 {
                0 => (Wrong::Forged, Wrong::OtherChain),
                _ => (Wrong::NoKey, Wrong::NoAccount),
            };
            let mut transactions = all_good.clone();
            transactions[rejected] = transaction(rejected, Some(bad_transaction));
            let what = format!("rejected at {rejected}");
            let block = block_of(&mut maker, &transactions, &good);
            let verdict = assert_same(&maker, &block, &transactions, &what);
            let Err(VerifyError::Invalid(Invalid::Transaction { index, .. })) = verdict else {
                panic!("{what}: {verdict:?}");
            };
            assert_eq!(index, rejected);

            let both = if forged == rejected {
                Wrong::Both
            } else {
                bad_signature
            };
            transactions[forged] = transaction(forged, Some(both));
            let what = format!("{both:?} at {forged}, {what}");
            let block = block_of(&mut maker, &transactions, &good);
            let verdict = assert_same(&maker, &block, &transactions, &what);
            // Whatever the place of the rejected transaction, the invalid signature is reported
            // first.
            let Err(VerifyError::Invalid(Invalid::Transaction { index, id, error })) = verdict
            else {
                panic!("{what}: {verdict:?}");
            };
            assert_eq!((index, id), (forged, transactions[forged].id()));
            assert!(
                matches!(*error, TransactionError::Signature(_)),
                "{error:?}"
            );
        }
    }
}
