//! Signing rules: one block for each slot and parent, by one node for each key.

use super::*;
use crate::consensus::producer::Problem;
use crate::wire::network_group::NetworkGroup;

#[test]
fn second_node_with_a_key_detects_the_first_and_never_signs() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(10);
    let with_seeds = ProducerConfig {
        has_seeds: true,
        ..config(1)
    };
    let second = net.add(with_seeds, Some(&genesis));
    net.run(30);
    let Activity::Halted(Halt::DuplicateValidator { block, .. }) = net.activity(second) else {
        panic!("{:?}", net.activity(second));
    };
    assert!(net.chain(0).iter().any(|made| made.id() == block));
    assert_eq!(
        net.hosts[second].file,
        SigningRecord::default(),
        "signed nothing"
    );
    assert!(!net.hosts[second].is_validator, "left the validation route");
    assert!(
        net.activity(second)
            .to_string()
            .contains("duplicate validator")
    );
    // The first one continues, and the second stays halted.
    let height = net.head(0).height();
    net.run(20);
    assert!(net.head(0).height() > height && net.hosts[0].is_validator);
    assert!(matches!(net.activity(second), Activity::Halted(_)));
    assert_eq!(net.head(second).id(), net.head(0).id(), "it still follows");
}

#[test]
fn forged_block_of_the_key_stops_no_producer() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(5);
    let head = net.head(0);
    let forged = crate::chain::Header {
        timestamp: (head.timestamp() + 9).into(),
        ..head.block().header().clone()
    };
    let forged = forged.signed(Some(Signature::new([7; 64])));
    forged.write(&mut net.hosts[0].store).unwrap();
    let peer = PublicKey::new([9; 32]);
    let (id, is_default_seed) = (forged.id(), false);
    net.input(
        0,
        Input::PeerHead {
            peer,
            group: NetworkGroup::of([10, 0, 0, 9].into()),
            id,
            is_default_seed,
            is_seed: false,
        },
    );
    let height = net.head(0).height();
    net.run(20);
    assert!(net.head(0).height() > height, "{:?}", net.activity(0));
    // The same with a signature of the key. Since this node did not make it, another node must have
    // the key.
    let stolen = forged.header().clone().sign(&key(1));
    stolen.write(&mut net.hosts[0].store).unwrap();
    let id = stolen.id();
    net.input(
        0,
        Input::PeerHead {
            peer,
            group: NetworkGroup::of([10, 0, 0, 9].into()),
            id,
            is_default_seed,
            is_seed: false,
        },
    );
    net.run(1);
    assert!(matches!(net.activity(0), Activity::Halted(_)));
}

#[test]
fn restart_continues_from_the_stored_head() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    net.add(config(1), Some(&genesis));
    net.run(20);
    let before = net.head(0);
    net.restart(0, config(1));
    assert_eq!(net.head(0).id(), before.id());
    net.run(20);
    assert!(net.head(0).height() > before.height());
    assert!(net.chain(0).iter().any(|block| block.id() == before.id()));
    verify_chain(&net, 0, true);
}

#[test]
fn crash_between_storing_and_announcing_announces_the_same_block() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(15);
    let chain = net.chain(0);
    let [.., parent, last] = chain.as_slice() else {
        panic!("no chain");
    };
    // The head's file had not been written.
    let parent_head = Head::new(parent.clone(), HeadState::Own).unwrap();
    net.hosts[0].head_file = Some(parent_head.saved(None));
    net.restart(0, config(1));
    assert_eq!(net.head(0).id(), parent.id());
    net.run(20);
    assert_eq!(net.hosts[0].announced_heads[1].id(), last.id());
    assert!(net.head(0).height() > parent_head.height() + 1);
    let on_parent = net.chain(0);
    assert!(on_parent.iter().any(|block| block.id() == last.id()));
}

#[test]
fn avoided_block_of_the_key_is_neither_announced_again_nor_replaced() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(15);
    let chain = net.chain(0);
    let [.., parent, last] = chain.as_slice() else {
        panic!("no chain");
    };
    let avoided = last.id();
    let (problem, signed) = (
        |net: &Net| net.hosts[0].producer.status().problem,
        |net: &Net| net.hosts[0].producer.signed().last().map(|mark| mark.block),
    );
    // A head that is avoided is about to be left.
    net.hosts[0].context.set_avoided([avoided]);
    net.run(5);
    assert_eq!((signed(&net), problem(&net)), (Some(avoided), None));
    let waits = Activity::Waiting(Wait::Avoided(avoided));
    assert_eq!(net.activity(0), waits);
    // As sync does then.
    let below = Head::new(parent.clone(), HeadState::Verified).unwrap();
    net.hosts[0].context.set_head(below.clone());
    net.run(60);
    assert_eq!((net.head(0), signed(&net)), (below, Some(avoided)));
    assert_eq!(problem(&net), Some(Problem::AvoidedBlock(avoided)));
    assert_eq!(net.activity(0), waits);
    // The operator changes the decision.
    net.hosts[0].context.set_avoided([]);
    net.run(20);
    assert!(net.chain(0).iter().any(|block| block.id() == avoided));
    assert!(net.head(0).block().height > last.height);
    assert_eq!(problem(&net), None);
}

#[test]
fn lost_signed_block_is_not_produced_again() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    let mark = SignedBlock {
        parent: net.head(0).id(),
        block: AtomId::new([9; 32]),
        height: 1,
        timestamp: BEGINNING + 1,
    };
    net.hosts[0].file.add(mark).unwrap();
    net.restart(0, config(1));
    net.run(120);
    assert_eq!(net.head(0).height(), 0);
    assert_eq!(net.activity(0), Activity::Waiting(Wait::LostBlock(mark)));
}

#[test]
fn failed_block_store_is_retried_with_the_same_block() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.hosts[0].failures = 3;
    net.run_until(60, |net| net.hosts[0].failures == 2);
    let signed = *net.hosts[0].producer.signed().last().unwrap();
    assert!(matches!(net.activity(0), Activity::Storing { height: 1 }));
    assert_eq!(net.head(0).height(), 0, "not announced before it is safe");
    assert_eq!(net.hosts[0].file, SigningRecord::default());
    net.run_until(60, |net| net.head(0).height() == 1);
    assert_eq!(net.head(0).id(), signed.block);
    assert_eq!(net.hosts[0].file.last(), Some(&signed));
}

#[test]
fn late_commit_is_not_attributed_to_the_next_block() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run_until(60, |net| net.head(0).height() > 2);
    net.hosts[0].holds_commits = true;
    let is_storing = |net: &Net| matches!(net.activity(0), Activity::Storing { .. });
    assert!(net.run_until(60, is_storing));
    let head = net.head(0).id();
    let mark = *net.hosts[0].producer.signed().last().unwrap();
    assert_eq!(mark.parent, head);
    // The commit of a block that was given up, because of a foreign block of the key, ends now.
    let (block, outcome) = (AtomId::new([9; 32]), Ok(()));
    net.input(0, Input::Committed { block, outcome });
    assert!(is_storing(&net), "{:?}", net.activity(0));
    assert_eq!(
        net.head(0).id(),
        head,
        "nothing is announced before it is stored"
    );
    let (block, outcome) = (mark.block, Ok(()));
    net.input(0, Input::Committed { block, outcome });
    assert_eq!(net.head(0).id(), mark.block);
}

#[test]
fn block_without_saved_record_is_not_announced_after_a_halt() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run_until(60, |net| net.head(0).height() > 2);
    net.hosts[0].holds_commits = true;
    let is_storing = |net: &Net| matches!(net.activity(0), Activity::Storing { .. });
    assert!(net.run_until(60, is_storing));
    let head = net.head(0);
    let mark = *net.hosts[0].producer.signed().last().unwrap();
    // The disk fails between the block and its record.
    let commit = net.hosts[0].held_commits.pop().unwrap();
    net.hosts[0].keep(commit.atoms);
    let outcome = Err(StoreFailure::Failed(String::from("the disk fails")));
    let block = mark.block;
    net.input(0, Input::Committed { block, outcome });
    // The key is used elsewhere, once.
    let foreign = crate::chain::Header {
        timestamp: (mark.timestamp + 1).into(),
        ..head.block().header().clone()
    };
    let foreign = foreign.sign(&key(1));
    foreign.write(&mut net.hosts[0].store).unwrap();
    let id = foreign.id();
    net.input(
        0,
        Input::PeerHead {
            peer: PublicKey::new([9; 32]),
            group: NetworkGroup::of([10, 0, 0, 9].into()),
            id,
            is_default_seed: false,
            is_seed: false,
        },
    );
    net.run(2);
    assert!(matches!(net.activity(0), Activity::Halted(_)));
    net.run(120);
    let is_lost = |activity| matches!(activity, Activity::Waiting(Wait::LostBlock(_)));
    assert!(is_lost(net.activity(0)), "{:?}", net.activity(0));
    assert_eq!(net.head(0).id(), head.id(), "it is not on record");
}

#[test]
fn foreign_block_of_the_key_is_not_announced_unverified() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run_until(60, |net| net.head(0).height() > 2);
    let head = net.head(0);
    let foreign = crate::chain::Header {
        height: (head.height() + 1).into(),
        previous: head.id(),
        timestamp: (head.timestamp() + 9).into(),
        accounts: AtomId::new([5; 32]),
        ..head.block().header().clone()
    };
    let foreign = foreign.sign(&key(1));
    foreign.write(&mut net.hosts[0].store).unwrap();
    let id = foreign.id();
    net.input(
        0,
        Input::PeerHead {
            peer: PublicKey::new([9; 32]),
            group: NetworkGroup::of([10, 0, 0, 9].into()),
            id,
            is_default_seed: false,
            is_seed: false,
        },
    );
    net.run(120);
    let activity = net.activity(0);
    let is_waiting = matches!(activity, Activity::Waiting(Wait::Signed(_)));
    assert!(is_waiting, "{activity:?}");
    assert_eq!(net.head(0).id(), head.id());
}
