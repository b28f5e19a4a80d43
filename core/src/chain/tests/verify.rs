//! Block verification: each defect is rejected with its own reason.

use super::world::{
    CHAIN_ID, PARENT_TIME, World, address_of, key, mine, natural, unsigned, with_dummy_signature,
};
use crate::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError, bytes_list};
use crate::chain::cost::{Price, stored_bytes};
use crate::chain::{
    BURN, Block, Body, Header, Invalid, MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS, MAX_INTEGER_BYTES,
    MAX_TRANSACTION_DATA_BYTES, REWARD, StakeTable, Status, TREASURY, Total, Transaction,
    TransactionError, VerifyError, check_signatures, contract, read_transactions, verify_body,
    verify_genesis, verify_header,
};
use crate::crypto::{Signature, SignatureError};
use crate::integer::Natural;
use crate::trie::Scalar;
use core::convert::Infallible;
use std::boxed::Box;
use std::string::ToString;
use std::vec::Vec;

type Verdict<T> = Result<T, VerifyError<Infallible>>;

fn header_verdict(world: &World, block: &Block) -> Verdict<()> {
    let latest = natural(PARENT_TIME + 10);
    verify_header(
        block,
        &world.parent,
        &world.seeds(),
        &world.stakes(),
        &natural(CHAIN_ID),
        &latest,
    )
}

fn body_verdict(world: &World, block: &Block) -> Verdict<Body> {
    let transactions = read_transactions(&world.store, block)?;
    let signed = check_signatures(&transactions);
    let (store, parent) = (&world.store, &world.parent);
    verify_body(
        store,
        block,
        parent,
        &world.stakes(),
        &transactions,
        &signed,
        &mut Scalar,
    )
}

fn invalid<T: core::fmt::Debug>(verdict: Verdict<T>) -> Invalid {
    verdict.unwrap_err().invalid().unwrap().clone()
}

/// Creates a world with a rich sender.
fn world() -> World {
    World::new(&[
        (address_of(&key(1)), natural(1_000_000)),
        (address_of(&key(2)), natural(200)),
    ])
}

fn transfer(counter: u64) -> Transaction {
    unsigned(counter, address_of(&key(2)), 5, b"").sign(&key(1))
}

/// Creates a block with these transactions whose header was changed before it was signed.
fn block(
    world: &mut World,
    transactions: &[Transaction],
    claim: bool,
    change: impl FnOnce(&mut Header),
) -> Block {
    let body = world.body(transactions, claim);
    let mut header = world.header(&body);
    change(&mut header);
    world.mine(header)
}

#[test]
fn valid_block_is_accepted_with_and_without_the_reward() {
    for claim in [false, true] {
        let mut world = world();
        let made = world.body(&[transfer(1), transfer(2)], claim);
        let block = world.mine(world.header(&made));
        assert_eq!(header_verdict(&world, &block), Ok(()));
        let found = body_verdict(&world, &block).unwrap();
        assert_eq!(found.reward_claimed, claim);
        assert_eq!(found.accounts, made.accounts);
        let atoms: MemoryStore = found.atoms.iter().map(|(_, atom)| atom.clone()).collect();
        for (id, atom) in &made.atoms {
            assert_eq!(atoms.atom(id).as_ref(), Ok(atom));
        }
        assert!(found.atoms.iter().all(|(id, atom)| atom.id() == *id));
    }
}

#[test]
fn header_must_follow_from_its_parent() {
    let mut world = world();
    type Change = fn(&mut Header);
    let cases: [(Change, Invalid); 6] = [
        (
            |header| header.chain_id = natural(8),
            Invalid::ChainId {
                stated: natural(8),
                expected: natural(CHAIN_ID),
            },
        ),
        (
            |header| header.previous = AtomId::new([1; 32]),
            Invalid::Previous {
                stated: AtomId::new([1; 32]),
                expected: world.parent.id(),
            },
        ),
        (
            |header| header.height = natural(43),
            Invalid::Height {
                stated: natural(43),
                expected: natural(42),
            },
        ),
        (
            |header| header.timestamp = natural(PARENT_TIME),
            Invalid::Timestamp {
                stated: natural(PARENT_TIME),
                parent: natural(PARENT_TIME),
            },
        ),
        (
            |header| header.difficulty = natural(2),
            Invalid::Difficulty {
                stated: natural(2),
                expected: natural(1),
            },
        ),
        (
            |header| header.validator = address_of(&key(1)),
            Invalid::Signature(SignatureError::Mismatch),
        ),
    ];
    for (change, expected) in cases {
        let block = block(&mut world, &[], false, change);
        assert_eq!(invalid(header_verdict(&world, &block)), expected);
    }
}

#[test]
fn block_needs_proof_of_work_signature_and_slot() {
    let mut world = world();
    let body = world.body(&[], true);
    let header = world.header(&body);
    let mut lazy = header.clone().sign(&world.validator);
    while crate::chain::has_work(&lazy.id(), &natural(1)) {
        let mut header = lazy.header().clone();
        header.nonce += Natural::ONE;
        lazy = header.sign(&world.validator);
    }
    assert_eq!(
        invalid(header_verdict(&world, &lazy)),
        Invalid::Work { needed: natural(1) }
    );

    // An invalid signature with sufficient proof of work.
    let mut forged = header.clone();
    let forged = loop {
        let block = forged.clone().signed(Some(Signature::new([3; 64])));
        if crate::chain::has_work(&block.id(), &natural(1)) {
            break block;
        }
        forged.nonce += Natural::ONE;
    };
    let mismatch = Invalid::Signature(SignatureError::Mismatch);
    assert_eq!(invalid(header_verdict(&world, &forged)), mismatch);

    let stranger = key(1);
    let theirs = Header {
        validator: address_of(&stranger),
        ..header
    };
    let theirs = mine(theirs, &stranger, &natural(1));
    assert_eq!(
        invalid(header_verdict(&world, &theirs)),
        Invalid::Validator {
            stated: address_of(&stranger),
            scheduled: address_of(&world.validator),
        }
    );
}

#[test]
fn block_from_the_future_is_deferred_without_leader_election() {
    let mut world = world();
    let time = natural(PARENT_TIME + 11);
    let early = block(&mut world, &[], false, |header| {
        header.timestamp = time.clone();
    });
    // Without stakes, so that leader election would find the block invalid.
    let latest = natural(PARENT_TIME + 10);
    let verdict: Verdict<()> = verify_header(
        &early,
        &world.parent,
        &world.seeds(),
        &StakeTable::default(),
        &natural(CHAIN_ID),
        &latest,
    );
    assert_eq!(
        verdict,
        Err(VerifyError::Future {
            stated: time,
            latest
        })
    );
    let endless = block(&mut world, &[], false, |header| {
        header.timestamp = Natural::from(u128::MAX);
    });
    assert!(matches!(
        header_verdict(&world, &endless),
        Err(VerifyError::Future { .. })
    ));
}

#[test]
fn wrong_totals_and_roots_are_rejected() {
    let mut world = world();
    type Change = fn(&mut Header);
    let cases: [(Change, Total); 5] = [
        (|header| header.total_fees = natural(1), Total::Fees),
        (
            |header| header.cumulative_total_fees += Natural::ONE,
            Total::CumulativeFees,
        ),
        (
            |header| header.cumulative_mint += Natural::ONE,
            Total::CumulativeMint,
        ),
        (
            |header| header.cumulative_stake += Natural::ONE,
            Total::CumulativeStake,
        ),
        (
            |header| header.cumulative_burn += Natural::ONE,
            Total::CumulativeBurn,
        ),
    ];
    for (change, total) in cases {
        let block = block(&mut world, &[transfer(1)], true, change);
        let found = invalid(body_verdict(&world, &block));
        let Invalid::Total {
            total: wrong,
            stated,
            expected,
        } = &found
        else {
            panic!("{found:?}");
        };
        assert_eq!(*wrong, total);
        assert_eq!(*stated, expected + &Natural::ONE);
        assert!(found.to_string().contains(&total.to_string()));
    }
    let root = world.parent.accounts;
    let broken = block(&mut world, &[transfer(1)], true, |header| {
        header.accounts = root;
    });
    let found = invalid(body_verdict(&world, &broken));
    assert!(
        matches!(found, Invalid::Accounts { stated, .. } if stated == root),
        "{found:?}"
    );
    let broken = block(&mut world, &[transfer(1)], true, |header| {
        header.accounts = AtomId::new([5; 32]);
    });
    assert!(matches!(
        invalid(body_verdict(&world, &broken)),
        Invalid::Accounts { .. }
    ));
}

#[test]
fn wrong_receipt_is_rejected() {
    let mut world = world();
    let body = world.body(&[transfer(1)], false);
    let mut receipt = body.receipt_values[0].clone();
    assert_eq!(receipt.status, Status::Success);
    receipt.status = Status::Failed;
    let id = receipt.write(&mut world.store).unwrap();
    for ids in [
        std::vec![id],
        std::vec![],
        std::vec![body.receipt_ids[0], id],
    ] {
        let (receipts, atoms) = bytes_list(&ids);
        world.store.extend(atoms);
        let block = block(&mut world, &[transfer(1)], false, |header| {
            header.receipts = receipts;
        });
        let expected = Invalid::Receipts {
            stated: receipts,
            computed: body.receipts,
        };
        assert_eq!(invalid(body_verdict(&world, &block)), expected);
    }
}

#[test]
fn inflated_reward_is_rejected() {
    let mut world = world();
    let validator = address_of(&world.validator);
    for more in [1_u64, 1_000_000] {
        let mut builder = world.builder();
        builder.apply(&transfer(1)).unwrap().unwrap();
        let mut body = builder.finish(&mut Scalar, Some(validator)).unwrap();
        builder.state().credit(&validator, &natural(more)).unwrap();
        body.accounts = builder
            .state()
            .seal_accounts(&mut Scalar, &mut body.atoms)
            .unwrap();
        world.keep(body.atoms.clone());
        world.keep(transfer(1).to_atoms());
        let block = world.mine(world.header(&body));
        let claimed = REWARD + natural(more);
        assert_eq!(
            invalid(body_verdict(&world, &block)),
            Invalid::Reward { claimed }
        );
    }
}

fn rejected(index: usize, transaction: &Transaction, error: TransactionError) -> Invalid {
    Invalid::Transaction {
        index,
        id: transaction.id(),
        error: Box::new(error),
    }
}

#[test]
fn forged_replayed_and_unaffordable_transactions_are_rejected() {
    let mut world = world();
    // The other fields of the block do not matter: only its transaction list is checked.
    let with = |world: &mut World, transactions: &[Transaction]| {
        let ids: Vec<AtomId> = transactions.iter().map(Transaction::id).collect();
        let (list, atoms) = bytes_list(&ids);
        world.store.extend(atoms);
        for transaction in transactions {
            world.keep(transaction.to_atoms());
        }
        let block = block(world, &[], false, |header| header.transactions = list);
        invalid(body_verdict(world, &block))
    };

    let forged = with_dummy_signature(
        unsigned(1, address_of(&key(2)), 5, b""),
        address_of(&key(1)),
    );
    assert_eq!(
        with(&mut world, &[transfer(1), forged.clone()]),
        rejected(
            1,
            &forged,
            TransactionError::Signature(SignatureError::Mismatch)
        )
    );
    assert_eq!(
        with(&mut world, &[transfer(1), transfer(1)]),
        rejected(1, &transfer(1), TransactionError::Replayed)
    );
    // In a later block.
    let body = world.body(&[transfer(1)], true);
    let mut later = world.clone();
    later.parent = world.mine(world.header(&body));
    assert_eq!(
        with(&mut later, &[transfer(1)]),
        rejected(0, &transfer(1), TransactionError::Replayed)
    );
    // A counter so long that the reserve does not cover it.
    let poor = address_of(&key(2));
    let long = crate::chain::Unsigned {
        counter: Natural::from_bytes_le(&[1; MAX_INTEGER_BYTES]).unwrap(),
        ..unsigned(0, poor, 0, b"")
    }
    .sign(&key(2));
    let (stake, fees) = (
        world.parent.cumulative_stake.clone(),
        world.parent.cumulative_total_fees.clone(),
    );
    let balance = Price::new(stake, fees).reserve(0).unwrap();
    let mut world = World::new(&[(poor, balance.clone())]);
    let found = with(&mut world, core::slice::from_ref(&long));
    let Invalid::Transaction { error, .. } = &found else {
        panic!("{found:?}")
    };
    assert!(
        matches!(&**error, TransactionError::RealCost { needed, .. } if *needed > balance),
        "{found:?}"
    );
}

/// Replaces the data of one of a transaction's atoms and recomputes all ids that depend on it.
fn reencoded(
    transaction: &Transaction,
    place: usize,
    data: &[u8],
    store: &mut MemoryStore,
) -> AtomId {
    let atoms = transaction.to_atoms();
    let (body, head) = atoms.split_at(6);
    let mut body: Vec<Atom> = body.iter().map(|(_, atom)| atom.clone()).collect();
    let mut head: Vec<Atom> = head.iter().rev().map(|(_, atom)| atom.clone()).collect();
    let change = |atoms: &mut Vec<Atom>, place: usize, data: &[u8]| {
        atoms[place] = Atom::new(atoms[place].kind(), data, atoms[place].next());
    };
    if let Some(place) = place.checked_sub(6) {
        change(&mut head, place, data);
    } else {
        change(&mut body, place, data);
    }
    let link = |atoms: &[Atom], store: &mut MemoryStore| {
        let mut next = AtomId::ZERO;
        for atom in atoms.iter().rev() {
            next = store.insert(Atom::new(atom.kind(), atom.data(), next));
        }
        next
    };
    let body = link(&body, store);
    head[3] = Atom::list(body, AtomId::ZERO);
    link(&head, store)
}

#[test]
fn transaction_encoding_is_unique() {
    let mut world = world();
    let transaction = transfer(1);
    // Chain id, amount, counter; the version, which is the second atom of the head.
    for (place, padded) in [
        (0, [7, 0]),
        (1, [5, 0]),
        (2, [1, 0]),
        (7, [0, 1]),
        (7, [1, 0]),
    ] {
        let id = reencoded(&transaction, place, &padded, &mut world.store);
        assert_ne!(id, transaction.id());
        let (list, atoms) = bytes_list(&[id]);
        world.store.extend(atoms);
        let block = block(&mut world, &[], false, |header| header.transactions = list);
        let found = invalid(body_verdict(&world, &block));
        let Invalid::Transaction {
            index: 0,
            id: named,
            error,
        } = found
        else {
            panic!("{found:?}");
        };
        assert_eq!(named, id);
        let TransactionError::Malformed { problem } = *error else {
            panic!("{error:?}");
        };
        assert!(problem.contains("canonical"), "{problem}");
    }
    let same = reencoded(&transaction, 1, &[5], &mut world.store);
    assert_eq!(same, transaction.id());
}

#[test]
fn contract_on_a_pending_transaction_does_not_block_it() {
    let mut world = world();
    let pending = transfer(1);
    world.keep(pending.to_atoms());
    let mut data = std::vec![contract::OPEN];
    data.extend_from_slice(pending.id().as_ref());
    let open = unsigned(2, BURN, 0, &data).sign(&key(2));
    let mut builder = world.builder();
    assert_eq!(builder.apply(&open).unwrap(), Ok(Status::Success));
    assert_eq!(builder.apply(&pending).unwrap(), Ok(Status::Success));
    assert_eq!(
        builder.apply(&pending).unwrap(),
        Err(TransactionError::Replayed)
    );
}

#[test]
fn burn_account_cannot_send() {
    // Its address is a point of order 4: a signature with s = 0 and R = -[k]A can be found by
    // trial.
    let mut world = world();
    let theft = |counter| {
        (0..4).find_map(|point| {
            let mut signature = [0; 64];
            // Encodings of the points whose order divides 4.
            let bytes: [u8; 32] = match point {
                0 => [0; 32],
                1 => core::array::from_fn(|index| if index == 31 { 0x80 } else { 0 }),
                2 => core::array::from_fn(|index| u8::from(index == 0)),
                _ => core::array::from_fn(|index| match index {
                    0 => 0xec,
                    31 => 0x7f,
                    _ => 0xff,
                }),
            };
            signature[..32].copy_from_slice(&bytes);
            let theft = unsigned(counter, address_of(&key(2)), 1, b"")
                .signed(BURN, Signature::new(signature));
            theft.verify_signature().is_ok().then_some(theft)
        })
    };
    let theft = (0..100).find_map(theft).unwrap();
    let mut builder = world.builder();
    assert_eq!(
        builder.apply(&theft).unwrap(),
        Err(TransactionError::SystemSender)
    );
    let staked = with_dummy_signature(unsigned(0, BURN, 1, b""), TREASURY);
    assert_eq!(
        builder.apply(&staked).unwrap(),
        Err(TransactionError::SystemSender)
    );
    world.keep(theft.to_atoms());
}

#[test]
fn truncated_body_reports_the_missing_atom_and_can_be_retried() {
    let mut world = world();
    let block = block(&mut world, &[transfer(1), transfer(2)], true, |_| {});
    let whole = body_verdict(&world, &block).unwrap();
    let all = core::mem::take(&mut world.store);
    // From an empty store, one atom at a time: each is requested once.
    let mut asked = 0;
    let found = loop {
        match body_verdict(&world, &block) {
            Ok(body) => break body,
            Err(error) => {
                let id = error.missing().unwrap();
                assert!(matches!(
                    world.store.atom(&id),
                    Err(SourceError::Missing(_))
                ));
                world.store.insert(all.atom(&id).unwrap());
                asked += 1;
            }
        }
    };
    assert_eq!(found, whole);
    assert!(asked > 30, "{asked}");
}

#[test]
fn transaction_list_has_ids_and_a_maximum_length() {
    let mut world = world();
    let (list, atoms) = bytes_list(&[b"short".as_slice()]);
    world.store.extend(atoms);
    let short = block(&mut world, &[], false, |header| header.transactions = list);
    let problem = "list item is not an id";
    assert_eq!(
        invalid(body_verdict(&world, &short)),
        Invalid::TransactionList { problem }
    );

    let ids = std::vec![[1; 32]; MAX_BLOCK_TRANSACTIONS + 1];
    let (list, atoms) = bytes_list(&ids);
    world.store.extend(atoms);
    let long = block(&mut world, &[], false, |header| header.transactions = list);
    let problem = "list exceeds the maximum length for a block";
    assert_eq!(
        invalid(body_verdict(&world, &long)),
        Invalid::TransactionList { problem }
    );
}

/// List bomb: the list has the maximum number of references to one long transaction.
#[test]
fn transactions_of_a_block_are_bounded_in_bytes() {
    let mut world = world();
    let data = [7; MAX_TRANSACTION_DATA_BYTES];
    let large = unsigned(1, address_of(&key(2)), 5, &data).sign(&key(1));
    world.keep(large.to_atoms());
    let (list, atoms) = bytes_list(&std::vec![large.id(); MAX_BLOCK_TRANSACTIONS]);
    world.store.extend(atoms);
    let bomb = block(&mut world, &[], false, |header| header.transactions = list);
    let read = read_transactions(&world.store, &bomb);
    let problem = "transactions exceed the maximum bytes of a block";
    let expected = VerifyError::Invalid(Invalid::TransactionList { problem });
    assert_eq!(read.unwrap_err(), expected);
    // Block production has the same limit.
    let mut builder = world.builder();
    let count = MAX_BLOCK_BYTES / stored_bytes(&large);
    let each = |n: u64| unsigned(n, address_of(&key(2)), 0, &data).sign(&key(1));
    for n in 0..count {
        assert_eq!(builder.apply(&each(n)).unwrap(), Ok(Status::Success), "{n}");
    }
    let full = builder.apply(&each(count)).unwrap();
    assert_eq!(full, Err(TransactionError::BlockFull));
}

#[test]
fn transactions_of_another_block_are_rejected() {
    let mut world = world();
    let block = block(&mut world, &[transfer(1)], false, |_| {});
    let others = [transfer(2)];
    let verdict = verify_body(
        &world.store,
        &block,
        &world.parent,
        &world.stakes(),
        &others,
        &[true],
        &mut Scalar,
    );
    assert!(matches!(invalid(verdict), Invalid::Transactions { .. }));
    // A missing verdict counts as an invalid signature.
    let own = [transfer(1)];
    let verdict = verify_body(
        &world.store,
        &block,
        &world.parent,
        &world.stakes(),
        &own,
        &[],
        &mut Scalar,
    );
    let error = TransactionError::Signature(SignatureError::Mismatch);
    assert_eq!(invalid(verdict), rejected(0, &own[0], error));
}

#[test]
fn genesis_totals_must_match_its_accounts() {
    let world = world();
    let first = Header {
        height: natural(0),
        previous: AtomId::ZERO,
        cumulative_stake: natural(1),
        cumulative_burn: natural(0),
        cumulative_mint: natural(0),
        ..world.parent.header().clone()
    };
    let verdict = |header: &Header| {
        verify_genesis(
            &world.store,
            &header.clone().signed(None),
            &natural(CHAIN_ID),
        )
    };
    assert_eq!(verdict(&first), Ok(()));
    type Change = fn(&mut Header);
    let changes: [(Change, &str); 8] = [
        (|header| header.chain_id = natural(1), "chain"),
        (|header| header.previous = AtomId::new([1; 32]), "parent"),
        (|header| header.height = natural(1), "height"),
        (
            |header| header.transactions = AtomId::new([1; 32]),
            "transactions",
        ),
        (|header| header.cumulative_total_fees = natural(0), "fees"),
        (
            |header| header.cumulative_mint = natural(1),
            "cumulative_mint",
        ),
        (
            |header| header.cumulative_stake = natural(2),
            "cumulative_stake",
        ),
        (
            |header| header.cumulative_burn = natural(2),
            "cumulative_burn",
        ),
    ];
    for (change, word) in changes {
        let mut header = first.clone();
        change(&mut header);
        let error = verdict(&header).unwrap_err();
        assert!(error.invalid().is_some(), "{word}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let mut header = first;
    header.accounts = AtomId::new([6; 32]);
    assert_eq!(
        verdict(&header).unwrap_err().missing(),
        Some(header.accounts)
    );
}
