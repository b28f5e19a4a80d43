//! Invalid blocks, each for another reason.

use super::host::{Host, Maker, address, key, peer, time};
use crate::atom::{Atom, AtomId, bytes_list};
use crate::chain::{Block, Header, Transaction, Unsigned, difficulty, has_work, signed_atoms};
use crate::integer::Natural;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Announces the head of an invalid branch after a valid one; returns the reason the block is
/// invalid.
fn reason_for(maker: &Maker, good: &Block, bad: AtomId, head: AtomId) -> String {
    let mut host = Host::new(time(good) + 10);
    host.announce(1, good.id());
    host.run(&[maker], 1);
    assert_eq!(host.verified_head(), Some(good.id()));
    host.announce(2, head);
    host.run(&[maker], 3);
    assert_eq!(host.verified_head(), Some(good.id()));
    let status = host.status();
    assert_eq!(status.offenders, [(peer(2), 1)], "{status:?}");
    assert!(status.syncs.is_empty());
    let verifier = &host.sync();
    let reason = verifier.bad_reason(&bad).expect("it is bad").to_owned();
    assert_eq!(verifier.bad_reason(&head), Some(reason.as_str()));
    // It is never tried again, whichever peer announces it.
    let asked = host.asked.clone();
    host.announce(3, head);
    host.announce(4, bad);
    host.run(&[maker], 30);
    assert_eq!(host.asked, asked);
    assert_eq!(host.status().offenders.len(), 3);
    assert_eq!(host.verified_head(), Some(good.id()));
    reason
}

/// Returns a block with a valid header.
fn child(maker: &mut Maker, parent: &Block) -> Block {
    let timestamp = &parent.timestamp + &Natural::from(2_u64);
    let header = Header {
        height: &parent.height + &Natural::ONE,
        previous: parent.id(),
        difficulty: difficulty(&parent.timestamp, &timestamp, &parent.difficulty),
        timestamp,
        validator: address(1),
        nonce: Natural::ZERO,
        ..parent.header().clone()
    };
    maker.mine(parent, header, 1)
}

/// Returns the list of transactions with these ids.
fn list_of(maker: &mut Maker, transactions: &[&Transaction]) -> AtomId {
    let ids: Vec<AtomId> = transactions.iter().map(|of| of.id()).collect();
    let (head, atoms) = bytes_list(&ids);
    maker.store.extend(atoms);
    head
}

/// Returns a transfer with a forged signature.
fn forged() -> Transaction {
    let unsigned = || Unsigned {
        chain_id: Natural::ZERO,
        amount: Natural::ONE,
        counter: 77_u64.into(),
        data: [].as_slice().into(),
        recipient: address(3),
    };
    let signature = *unsigned().sign(&key(3)).signature();
    unsigned().signed(address(2), signature)
}

#[test]
fn each_broken_rule_has_its_reason_and_makes_descendants_invalid() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let good = maker.next(&genesis, 2, &[Maker::transfer(1)]);
    let right = maker.draft(&good, 2, &[Maker::transfer(2)]);
    let parent = good.header().clone();
    let replay = list_of(&mut maker, &[&Maker::transfer(1)]);
    let no_list = maker.store.insert(Atom::symbol("not an id"));
    let signed_by_other = maker.draft(&good, 2, &[forged()]);
    let more = |number: &Natural| number + &Natural::ONE;
    // The change, the signer, and the reason.
    let cases: Vec<(Header, u8, &str)> = vec![
        (right.clone(), 2, "signature"),
        (
            Header {
                validator: address(2),
                ..right.clone()
            },
            2,
            "slot belongs to",
        ),
        (
            Header {
                difficulty: more(&right.difficulty),
                ..right.clone()
            },
            1,
            "difficulty",
        ),
        (
            Header {
                accounts: parent.accounts,
                ..right.clone()
            },
            1,
            "accounts",
        ),
        (
            Header {
                receipts: parent.receipts,
                ..right.clone()
            },
            1,
            "receipts",
        ),
        (
            Header {
                cumulative_mint: more(&right.cumulative_mint),
                ..right.clone()
            },
            1,
            "cumulative_mint",
        ),
        // Below a block of this chain.
        (
            Header {
                chain_id: 5_u64.into(),
                ..right.clone()
            },
            1,
            "chain id 5",
        ),
        (
            Header {
                timestamp: parent.timestamp.clone(),
                ..right.clone()
            },
            1,
            "not later",
        ),
        (
            Header {
                height: more(&right.height),
                ..right.clone()
            },
            1,
            "height",
        ),
        (
            Header {
                transactions: no_list,
                ..right.clone()
            },
            1,
            "malformed transaction list",
        ),
        (
            Header {
                transactions: replay,
                ..right.clone()
            },
            1,
            "transaction 0",
        ),
        (signed_by_other, 1, "invalid transaction signature"),
    ];
    for (header, signer, expected) in cases {
        let is_foreign = header.chain_id != good.chain_id;
        let bad = maker.mine(&good, header, signer);
        let mut head = child(&mut maker, &bad);
        let mut invalid = bad.id();
        if is_foreign {
            // The child is of this chain and its parent is not, so the child is invalid.
            let header = Header {
                chain_id: good.chain_id.clone(),
                ..head.header().clone()
            };
            head = maker.mine(&bad, header, 1);
            invalid = head.id();
        }
        let reason = reason_for(&maker, &good, invalid, head.id());
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
}

#[test]
fn rejects_a_block_without_proof_of_work() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let good = maker.next(&genesis, 2, &[]);
    let right = maker.draft(&good, 2, &[]);
    let mut blocks = (0..100_u64).map(|nonce| {
        let nonce = nonce.into();
        Header {
            nonce,
            ..right.clone()
        }
        .sign(&key(1))
    });
    let bad = blocks.find(|block| !has_work(&block.id(), &good.difficulty));
    let bad = maker.put(bad.unwrap());
    let reason = reason_for(&maker, &good, bad.id(), bad.id());
    assert!(reason.contains("leading zero bits"), "{reason}");
}

#[test]
fn rejects_malformed_blocks() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let good = maker.next(&genesis, 2, &[]);
    let fields = [[1; 32]; 10];
    let fields: Vec<&[u8]> = fields.iter().map(<[u8; 32]>::as_slice).collect();
    let truncated = signed_atoms("block", &fields, &[0; 64]);
    maker
        .store
        .extend(truncated.atoms.into_iter().map(|(_, atom)| atom));
    let reason = reason_for(&maker, &good, truncated.id, truncated.id);
    assert!(reason.contains("too few fields"), "{reason}");
    let other = maker.store.insert(Atom::bytes(*b"not a block at all"));
    let reason = reason_for(&maker, &good, other, other);
    assert!(reason.contains("missing type name"), "{reason}");
}
