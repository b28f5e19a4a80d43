//! Tests of queries on a hand-made chain of a few blocks.

use super::*;
use astreum_core::atom::{AtomSink, MemoryStore, bytes_list};
use astreum_core::chain::{
    Account, BURN, Block, Election, Genesis, Header, Receipt, Status, TREASURY, Transaction,
    Unsigned,
};
use astreum_core::testkit::{address, key};
use astreum_core::trie::{Scalar, Trie};

fn natural(n: u64) -> Natural {
    n.into()
}

/// Builds a genesis with some accounts.
fn genesis(store: &mut MemoryStore) -> Block {
    let mut genesis = Genesis::new(address(1), natural(0), natural(1_000));
    genesis.stakes = [(address(1), natural(1)), (address(2), natural(3))].into();
    // Storage is free.
    genesis.balances.insert(TREASURY, Natural::ZERO);
    genesis.balances.insert(address(3), natural(77));
    genesis.build(&mut Scalar, store).unwrap()
}

fn transaction(counter: u64) -> Transaction {
    let unsigned = Unsigned {
        chain_id: natural(0),
        amount: natural(5),
        counter: natural(counter),
        data: b"".as_slice().into(),
        recipient: address(3),
    };
    unsigned.sign(&key(1))
}

/// Builds a block on `parent` that files contracts for `transactions`, as applying them does, each
/// counting `atoms`, and transfers nothing.
fn block_on(
    store: &mut MemoryStore,
    parent: &Block,
    transactions: &[Transaction],
    atoms: u8,
) -> Block {
    let mut burn = Account::find(store, parent.accounts, &BURN)
        .unwrap()
        .unwrap();
    let mut data = Trie::open(burn.data);
    let (mut ids, mut receipts) = (Vec::new(), Vec::new());
    for (at, transaction) in transactions.iter().enumerate() {
        let id = transaction.write(store).unwrap();
        let previous = parent.id();
        let record: [&[u8]; 6] = [
            transaction.sender().as_bytes(),
            previous.as_bytes(),
            &[9; 32],
            &[0; 32],
            &[1, 2],
            &[atoms],
        ];
        let (record, made) = bytes_list(&record);
        store.extend(made);
        data.put(store, id.as_bytes(), record.as_bytes()).unwrap();
        let receipt = Receipt {
            transaction: id,
            status: [Status::Success, Status::Failed][at % 2],
            cost: Natural::ONE,
            logs: AtomId::ZERO,
        };
        receipts.push(receipt.write(store).unwrap());
        ids.push(id);
    }
    burn.data = data.commit(&mut Scalar, store).unwrap();
    let burn = burn.write(store).unwrap();
    let mut accounts = Trie::open(parent.accounts);
    accounts
        .put(store, BURN.as_bytes(), burn.as_bytes())
        .unwrap();
    let accounts = accounts.commit(&mut Scalar, store).unwrap();
    let mut list = |ids: &[AtomId]| {
        let ids: Vec<_> = ids.iter().map(AtomId::as_bytes).collect();
        let (head, atoms) = bytes_list(&ids);
        for atom in atoms {
            store.put(atom.id(), atom).unwrap();
        }
        head
    };
    let header = Header {
        height: parent.height.clone() + Natural::ONE,
        previous: parent.id(),
        timestamp: parent.timestamp.clone() + natural(2),
        accounts,
        transactions: list(&ids),
        receipts: list(&receipts),
        ..parent.header().clone()
    };
    let block = header.sign(&key(1));
    block.write(store).unwrap();
    block
}

/// Builds a genesis and five blocks, with three transactions in the third.
fn chain(store: &mut MemoryStore) -> (Vec<Block>, Vec<Transaction>) {
    let transactions: Vec<_> = (1..4).map(transaction).collect();
    let mut blocks = vec![genesis(store)];
    for height in 1..6 {
        let parent = blocks.last().unwrap().clone();
        let carried = if height == 3 { &transactions[..] } else { &[] };
        blocks.push(block_on(store, &parent, carried, 10));
    }
    (blocks, transactions)
}

#[test]
fn blocks_are_found_by_height_and_id_and_listed_backwards() {
    let mut store = MemoryStore::new();
    let (chain, _) = chain(&mut store);
    let head = chain[5].id();
    for (height, expected) in chain.iter().enumerate() {
        let height = u64::try_from(height).unwrap();
        let found = block(&store, head, BlockAt::Height(height)).unwrap();
        assert_eq!(&found, expected);
        assert_eq!(
            &block(&store, head, BlockAt::Id(expected.id())).unwrap(),
            expected
        );
    }
    assert_eq!(block(&store, head, BlockAt::Head).unwrap(), chain[5]);
    let error = block(&store, head, BlockAt::Height(6)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("block 6 does not exist yet; the head is block 5"),
        "{error}"
    );
    let listed = |from: usize, count| {
        let blocks = blocks(&store, chain[from].clone(), count).unwrap();
        blocks.iter().map(|block| block.id()).collect::<Vec<_>>()
    };
    assert_eq!(listed(5, 2), [chain[5].id(), chain[4].id()]);
    assert_eq!(listed(1, 9), [chain[1].id(), chain[0].id()]);
    assert!(listed(1, 0).is_empty());
    let missing = AtomId::new([7; 32]);
    let error = block(&store, head, BlockAt::Id(missing)).unwrap_err();
    assert_eq!(error, QueryError::Missing(missing));
    // An atom that is not a block is reported as malformed.
    let other = block(&store, head, BlockAt::Id(chain[0].accounts)).unwrap_err();
    assert!(matches!(other, QueryError::Malformed(_)), "{other:?}");
}

#[test]
fn block_list_has_the_requested_length_even_if_older_blocks_are_missing() {
    let mut store = MemoryStore::new();
    let (chain, _) = chain(&mut store);
    let two: MemoryStore = [&chain[5], &chain[4]]
        .into_iter()
        .flat_map(|block| block.to_atoms())
        .map(|(_, atom)| atom)
        .collect();
    assert_eq!(blocks(&two, chain[5].clone(), 2).unwrap().len(), 2);
    let error = blocks(&two, chain[5].clone(), 3).unwrap_err();
    assert_eq!(error.missing(), Some(chain[3].id()));
}

#[test]
fn block_transactions_are_paginated() {
    let mut store = MemoryStore::new();
    let (chain, sent) = chain(&mut store);
    let (total, all) = included(&store, &chain[3], 0, 9).unwrap();
    assert_eq!(total, 3);
    for (at, one) in all.iter().enumerate() {
        assert_eq!((one.index, one.transaction), (at, sent[at].id()));
        assert_eq!(one.receipt.transaction, sent[at].id());
    }
    assert_eq!(all[1].receipt.status, Status::Failed);
    let (total, some) = included(&store, &chain[3], 1, 1).unwrap();
    assert_eq!((total, &some[..]), (3, &all[1..2]));
    assert_eq!(included(&store, &chain[3], 3, 1).unwrap(), (3, vec![]));
    assert_eq!(included(&store, &chain[2], 0, 1).unwrap(), (0, vec![]));
}

#[test]
fn transaction_is_found_only_in_the_block_that_applied_it() {
    let mut store = MemoryStore::new();
    let (chain, sent) = chain(&mut store);
    for head in &chain[3..] {
        for (at, transaction) in sent.iter().enumerate() {
            let place = find(&store, head, transaction.id(), &Pruned::NONE)
                .unwrap()
                .unwrap();
            assert_eq!(
                (place.block.id(), place.included.index),
                (chain[3].id(), at)
            );
        }
    }
    for head in &chain[..3] {
        assert_eq!(
            find(&store, head, sent[0].id(), &Pruned::NONE).unwrap(),
            None
        );
    }
    assert_eq!(
        find(&store, &chain[5], transaction(9).id(), &Pruned::NONE).unwrap(),
        None
    );
    // Another account opens a storage contract on a waiting transaction, which stays in no block.
    let waiting = transaction(10);
    let head = block_on(&mut store, &chain[5], core::slice::from_ref(&waiting), 4);
    assert_eq!(
        find(&store, &head, waiting.id(), &Pruned::NONE).unwrap(),
        None
    );
}

#[test]
fn accounts_and_stakes_are_those_of_the_block() {
    let mut store = MemoryStore::new();
    let (chain, _) = chain(&mut store);
    let accounts = chain[5].accounts;
    let (id, found) = account(&store, accounts, &address(3)).unwrap().unwrap();
    assert_eq!(
        (found.balance.clone(), found.to_atoms().0),
        (natural(77), id)
    );
    assert_eq!(account(&store, accounts, &address(9)).unwrap(), None);
    assert_eq!(stake(&store, accounts, &address(2)).unwrap(), natural(3));
    assert_eq!(stake(&store, accounts, &address(3)).unwrap(), Natural::ZERO);
    let now = chain[5].timestamp.clone() + natural(5);
    let election = Election::read(&store, &chain[5]).unwrap();
    let (stakes, slots) = schedule(&election, &chain[5], &now, 4);
    let shares: Vec<_> = stakes
        .iter()
        .map(|one| (one.validator, one.share_ppm))
        .collect();
    assert_eq!(shares, [(address(2), 750_000), (address(1), 250_000)]);
    // Five seconds after the head is in the third slot.
    let first = chain[5].timestamp.clone() + natural(5);
    assert_eq!((&slots[0].from, slots.len()), (&first, 4));
    for slot in &slots {
        let end = slot.from.clone() + Natural::ONE;
        assert_eq!(slot.to, end);
        for time in [&slot.from, &slot.to] {
            let expected = astreum_core::chain::validator_at(
                &election.stakes,
                election.seeds.next_slot_seed(),
                &chain[5].timestamp,
                time,
            );
            assert_eq!(Ok(slot.validator), expected);
        }
    }
}

#[test]
fn costs_follow_the_head() {
    let mut store = MemoryStore::new();
    let head = genesis(&mut store);
    let transaction = transaction(1);
    let free = costs(&head, &transaction).unwrap();
    assert_eq!(
        (free.fee.clone(), free.storage.clone()),
        (Natural::ONE, Natural::ZERO)
    );
    assert_eq!(free.with_amount(&natural(5)), natural(6));
    let priced = |stake: u64, fees: u64| {
        let header = Header {
            cumulative_stake: natural(stake),
            cumulative_total_fees: natural(fees),
            ..head.header().clone()
        };
        costs(&header.signed(None), &transaction).map(|costs| costs.storage)
    };
    assert_eq!(priced(1, 1), Some(natural(526 + 272)));
    assert_eq!(priced(1, 100), Some(natural(6 + 3)));
    assert_eq!(priced(1, 0), None);
    // The costs cover a counter that exceeds the reserve.
    let huge = Unsigned {
        counter: "9".repeat(300).parse().unwrap(),
        ..Unsigned::clone(&transaction)
    };
    let header = Header {
        cumulative_stake: natural(1),
        cumulative_total_fees: natural(1),
        ..head.header().clone()
    };
    let storage = costs(&header.signed(None), &huge.sign(&key(1)))
        .unwrap()
        .storage;
    assert!(storage > natural(526 + 272 + 90), "{storage}");
}

#[test]
fn proofs_verify_presence_and_absence_without_a_store() {
    let mut store = MemoryStore::new();
    let (chain, _) = chain(&mut store);
    let head = &chain[5];
    let proof = AccountProof::prove(&store, head, &address(3)).unwrap();
    let proven = proof.verify().unwrap();
    assert_eq!((proven.address, proven.block.id()), (address(3), head.id()));
    assert_eq!(proven.account.unwrap().1.balance, natural(77));
    let text = serde_json::to_string(&proof).unwrap();
    assert_eq!(serde_json::from_str::<AccountProof>(&text).unwrap(), proof);
    let absent = AccountProof::prove(&store, head, &address(9)).unwrap();
    assert_eq!(absent.verify().unwrap().account, None);
    assert!(absent.account_atoms.is_empty());
    for address in [TREASURY, BURN] {
        let proof = AccountProof::prove(&store, head, &address).unwrap();
        assert!(proof.verify().unwrap().account.is_some());
    }
}

#[test]
fn tampered_proofs_are_rejected() {
    let mut store = MemoryStore::new();
    let (chain, _) = chain(&mut store);
    let head = &chain[5];
    let good = AccountProof::prove(&store, head, &address(3)).unwrap();
    let absent = AccountProof::prove(&store, head, &address(9)).unwrap();
    let older = AccountProof::prove(&store, &chain[2], &address(3)).unwrap();
    type Change<'a> = (&'a str, Box<dyn Fn(&mut AccountProof) + 'a>);
    let changes: Vec<Change<'_>> = vec![
        (
            "unsupported format",
            Box::new(|proof| proof.format.push('1')),
        ),
        (
            "malformed account",
            Box::new(|proof| proof.account.push('0')),
        ),
        (
            "invalid path",
            Box::new(|proof| proof.account = TREASURY.to_string()),
        ),
        ("malformed block", Box::new(|proof| proof.block.clear())),
        (
            "do not match the block",
            Box::new(|proof| proof.block = older.block.clone()),
        ),
        (
            "do not match the block",
            Box::new(|proof| proof.block_atoms.truncate(3)),
        ),
        (
            "do not match the block",
            Box::new(|proof| proof.block_atoms.swap(0, 1)),
        ),
        (
            "malformed block_atoms",
            Box::new(|proof| proof.block_atoms[0].push('x')),
        ),
        (
            "invalid path",
            Box::new(|proof| {
                proof.block = older.block.clone();
                proof.block_atoms = older.block_atoms.clone();
            }),
        ),
        ("invalid path", Box::new(|proof| proof.path.clear())),
        ("malformed path", Box::new(|proof| proof.path.push('0'))),
        (
            "invalid path",
            Box::new(|proof| proof.path = older.path.clone()),
        ),
        (
            "the account does not match",
            Box::new(|proof| proof.account_atoms.clear()),
        ),
        (
            "the account does not match",
            Box::new(|proof| {
                let more = proof.block_atoms[0].clone();
                proof.account_atoms.push(more);
            }),
        ),
        (
            "the account does not match",
            Box::new(|proof| {
                let treasury = AccountProof::prove(&store, head, &TREASURY).unwrap();
                proof.account_atoms = treasury.account_atoms;
            }),
        ),
    ];
    for (at, (expected, change)) in changes.iter().enumerate() {
        let mut proof = good.clone();
        change(&mut proof);
        let problem = proof.verify().unwrap_err().to_string();
        assert!(problem.contains(expected), "change {at}: {problem}");
    }
    let mut proof = absent.clone();
    proof.account_atoms = good.account_atoms.clone();
    let problem = proof.verify().unwrap_err().to_string();
    assert!(problem.contains("does not lead to an account"), "{problem}");
}

#[test]
fn proof_with_a_changed_digit_is_rejected() {
    let mut store = MemoryStore::new();
    let (chain, _) = chain(&mut store);
    for number in [3, 9] {
        let proof = AccountProof::prove(&store, &chain[5], &address(number)).unwrap();
        let text = serde_json::to_string(&proof).unwrap();
        let mut changed = 0;
        for at in 0..text.len() {
            // Field names are left unchanged: they belong to the reader, not to the proof.
            if !text.as_bytes()[at].is_ascii_hexdigit()
                || text[at..].find(':') < text[at..].find('"')
            {
                continue;
            }
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'7' { b'8' } else { b'7' };
            let other: Result<AccountProof, _> = serde_json::from_slice(&other);
            if let Ok(other) = other {
                changed += 1;
                let verified = other.verify();
                // For an absent account, some nearby keys are absent, too.
                let is_neighbour = number == 9 && other.account != proof.account;
                assert!(
                    verified.is_err() || is_neighbour,
                    "digit {at}: {verified:?}"
                );
            }
        }
        assert!(changed > 1_000, "{changed}");
    }
}

#[test]
fn result_in_a_pruned_block_is_said_not_to_be_kept() {
    let mut store = MemoryStore::new();
    let (chain, sent) = chain(&mut store);
    let head = chain.last().unwrap();
    let header_at = |height: u64| chain.get(usize::try_from(height).ok()?).cloned();
    let mut pruned = Pruned {
        below: 4,
        header_at: &header_at,
        is_stored: &|_| false,
    };
    let error = find(&store, head, sent[0].id(), &pruned).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, QueryError::NotKept { below: 4, .. }),
        "{text}"
    );
    assert!(
        text.contains("in block 3, is not kept here: pruned below height 4"),
        "{text}"
    );
    // A block that is kept, or whose transactions a user has pinned, is read.
    pruned.is_stored = &|_| true;
    let place = find(&store, head, sent[0].id(), &pruned).unwrap().unwrap();
    assert_eq!(place.block.height, 3);
    let kept = Pruned {
        below: 3,
        is_stored: &|_| false,
        ..pruned
    };
    assert!(find(&store, head, sent[0].id(), &kept).unwrap().is_some());
}
