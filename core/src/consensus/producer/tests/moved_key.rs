//! Validation key that two nodes have, one after the other or at once.

use super::host::{Net, address, config};
use crate::atom::AtomId;
use crate::chain::Block;
use crate::consensus::producer::{
    Activity, Halt, LISTEN, LISTEN_FOR_PEERS, MAX_BEHIND, Problem, ProducerConfig, QUIET,
    QUIET_OTHER,
};
use crate::consensus::{Event, Head, HeadState, Input, SigningRecord};
use crate::crypto::PublicKey;
use crate::wire::network_group::NetworkGroup;
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

/// The node that has the key first, another one that receives it, and a validator with another key
/// that stays.
const FIRST: usize = 0;
const SECOND: usize = 1;
const OTHER: usize = 2;
/// Peer that is not a host here.
const UNKNOWN_PEER: PublicKey = PublicKey::new([77; 32]);
/// The key of the first two.
const KEY: u8 = 1;
/// Upper bound of the wait of a validator with half of the stake.
const PATIENCE: u64 = 120;

fn with_seeds(number: u8) -> ProducerConfig {
    ProducerConfig {
        has_seeds: true,
        ..config(number)
    }
}

/// Three nodes; the second is down.
fn net() -> Net {
    let (mut net, genesis) = Net::with_chain(&[KEY, 2], &[]);
    for number in [KEY, KEY, 2] {
        net.add(config(number), Some(&genesis));
    }
    net.hosts[SECOND].is_up = false;
    net.run(20);
    net
}

/// Starts a node again with the contents of its disk, and has the others announce their heads to
/// it.
fn start(net: &mut Net, at: usize) {
    let cut = net.cut.clone();
    net.restart(at, with_seeds(KEY));
    net.cut = cut;
    connect(net);
}

/// Has every node announce its head to the others.
fn connect(net: &mut Net) {
    let up = [FIRST, SECOND, OTHER].into_iter();
    let up = up.filter(|at| net.hosts[*at].is_up);
    let heads: Vec<(usize, Head)> = up.map(|at| (at, net.head(at))).collect();
    for (from, head) in heads {
        net.announce(from, &head);
    }
}

/// Has a peer that is not a host here announce a head to the first node.
fn announce(net: &mut Net, id: AtomId, is_seed: bool) {
    let head = Input::PeerHead {
        peer: UNKNOWN_PEER,
        group: NetworkGroup::of([10, 7, 7, 7].into()),
        id,
        is_default_seed: false,
        is_seed,
    };
    net.input(FIRST, head);
}

/// Returns the blocks of the key that a node made, by parent.
fn made(net: &Net, at: usize) -> BTreeMap<AtomId, AtomId> {
    let own = net.hosts[at].announced_heads.iter();
    let own = own.filter(|head| {
        let block = head.block();
        head.state() == HeadState::Own && block.validator == address(KEY) && !block.is_genesis()
    });
    own.map(|head| (head.block().previous, head.id())).collect()
}

/// Returns the parents on which both nodes made a block.
fn count_conflicts(net: &Net) -> usize {
    let (first, second) = (made(net, FIRST), made(net, SECOND));
    let both = first.iter().filter(|(parent, block)| {
        let other = second.get(*parent);
        other.is_some_and(|other| other != *block)
    });
    both.count()
}

fn is_halted(net: &Net, at: usize) -> bool {
    matches!(
        net.activity(at),
        Activity::Halted(Halt::DuplicateValidator { .. })
    )
}

/// Runs until a node has made more blocks of the key.
#[track_caller]
fn produce(net: &mut Net, at: usize, more: usize) {
    let wanted = made(net, at).len() + more;
    let done = net.run_until(PATIENCE, |net| made(net, at).len() >= wanted);
    assert!(done, "{:?}", net.activity(at));
}

#[test]
fn returning_key_validates_after_a_quiet_window() {
    let mut net = net();
    assert!(!made(&net, FIRST).is_empty());
    net.hosts[FIRST].is_up = false;
    // On another machine, which alone has the key.
    start(&mut net, SECOND);
    produce(&mut net, SECOND, 5);
    net.hosts[SECOND].is_up = false;
    let newest = net.hosts[SECOND].file.last().copied().unwrap();
    let before = net.now;
    start(&mut net, FIRST);
    net.run(5);
    assert!(is_halted(&net, FIRST), "{:?}", net.activity(FIRST));
    assert!(!net.hosts[FIRST].is_validator, "left the validation route");
    let text = net.activity(FIRST).to_string();
    assert!(
        text.contains("30 s") && text.contains("3 of its slots"),
        "{text}"
    );
    produce(&mut net, FIRST, 1);
    assert!(net.now - before >= QUIET_OTHER);
    assert!(net.hosts[FIRST].is_validator);
    // The other node's newest block is an entry of the saved record.
    assert!(net.hosts[FIRST].file.blocks().contains(&newest));
    assert_eq!(count_conflicts(&net), 0);
    // Back once more: the newest block is the first node's own, and there is no wait.
    net.hosts[FIRST].is_up = false;
    start(&mut net, FIRST);
    let before = net.now;
    produce(&mut net, FIRST, 1);
    assert!(net.now - before < QUIET, "{:?}", net.now - before);
}

#[test]
fn restored_backup_never_signs_conflicting_blocks() {
    let mut net = net();
    let backup = (
        net.hosts[FIRST].file.clone(),
        net.hosts[FIRST].head_file.clone(),
    );
    net.run(60);
    assert!(made(&net, FIRST).len() > backup.0.blocks().len() + 3);
    let before = made(&net, FIRST);
    net.hosts[FIRST].is_up = false;
    (net.hosts[FIRST].file, net.hosts[FIRST].head_file) = backup;
    net.hosts[FIRST].announced_heads.clear();
    start(&mut net, FIRST);
    net.run(5);
    assert!(is_halted(&net, FIRST), "{:?}", net.activity(FIRST));
    produce(&mut net, FIRST, 2);
    // The heads that it announced at its start are the old ones.
    let after = made(&net, FIRST);
    let again = after.iter().filter(|(parent, block)| {
        let former = before.get(*parent);
        former.is_some_and(|former| former != *block)
    });
    assert_eq!(again.count(), 0);
}

/// Moves the key to a machine which follows the chain, is cut off before the key's newest blocks,
/// and is started with the key and the same seeds while no peer can be reached.
#[track_caller]
fn moves_to_a_machine_that_is_cut_off(net: &mut Net) {
    let follower = ProducerConfig {
        has_seeds: true,
        ..config(3)
    };
    net.hosts[SECOND].is_up = true;
    net.restart(SECOND, follower);
    connect(net);
    net.run(20);
    assert!(net.head(SECOND).height() > 0);
    net.cut = [SECOND].into();
    net.hosts[FIRST].is_up = true;
    produce(net, FIRST, 3);
    net.hosts[FIRST].is_up = false;
    net.restart(SECOND, with_seeds(KEY));
    net.cut = [SECOND].into();
    net.run(2 * PATIENCE);
    assert!(made(net, SECOND).is_empty(), "{:?}", net.activity(SECOND));
    let status = net.hosts[SECOND].producer.status();
    assert_eq!(status.problem, Some(Problem::NoPeerHead));
    assert!(status.is_halted());
    let halted = |event: &&Event| matches!(event, Event::ProductionHalted(_));
    let reported = net.hosts[SECOND].events.iter().filter(halted).count();
    assert_eq!(reported, 1, "once in the log");
    // A peer that announces its head suffices, however late; the head is read before anything is
    // signed.
    net.cut.clear();
    connect(net);
    assert_eq!(net.hosts[SECOND].producer.status().problem, None);
    produce(net, SECOND, 1);
    assert_eq!(count_conflicts(net), 0);
}

#[test]
fn moved_key_waits_for_the_head_of_a_peer() {
    let mut net = net();
    // The second machine's part of the chain contains blocks of the key.
    moves_to_a_machine_that_is_cut_off(&mut net);
}

#[test]
fn key_without_known_blocks_waits_for_the_head_of_a_peer() {
    let (mut net, genesis) = Net::with_chain(&[KEY, 2], &[]);
    for number in [KEY, KEY, 2] {
        net.add(config(number), Some(&genesis));
    }
    (net.hosts[FIRST].is_up, net.hosts[SECOND].is_up) = (false, false);
    net.run(20);
    // The second machine's part of the chain was made by another key.
    moves_to_a_machine_that_is_cut_off(&mut net);
}

#[test]
fn moved_key_waits_for_slow_headers_for_a_bounded_time() {
    let mut net = net();
    net.hosts[FIRST].is_up = false;
    net.hosts[SECOND].is_up = true;
    net.restart(SECOND, with_seeds(KEY));
    connect(&mut net);
    // A node that made the key's newest block does not wait for them.
    net.restart(FIRST, with_seeds(KEY));
    connect(&mut net);
    for at in [FIRST, SECOND] {
        net.hosts[at].context.set_behind(false);
        net.hosts[at].context.set_reading_headers(true);
    }
    let made_before = made(&net, FIRST).len();
    net.run(PATIENCE);
    assert!(made(&net, FIRST).len() > made_before);
    net.hosts[FIRST].is_up = false;
    net.run(PATIENCE);
    assert!(made(&net, SECOND).is_empty(), "{:?}", net.activity(SECOND));
    net.run(MAX_BEHIND.as_secs() + PATIENCE);
    assert!(!made(&net, SECOND).is_empty(), "{:?}", net.activity(SECOND));
    assert_eq!(count_conflicts(&net), 0);
}

#[test]
fn late_first_head_of_a_peer_does_not_stop_production() {
    let (mut net, genesis) = Net::with_chain(&[KEY], &[]);
    net.add(with_seeds(KEY), Some(&genesis));
    produce(&mut net, FIRST, 5);
    let before = made(&net, FIRST).len();
    let id = AtomId::new([99; 32]);
    announce(&mut net, id, false);
    net.run(LISTEN.as_secs() - 1);
    assert!(
        made(&net, FIRST).len() > before,
        "{:?}",
        net.activity(FIRST)
    );
}

#[test]
fn producer_of_the_newest_block_of_its_key_continues_without_peers() {
    let mut net = net();
    produce(&mut net, FIRST, 1);
    net.hosts[OTHER].is_up = false;
    net.restart(FIRST, with_seeds(KEY));
    let before = net.now;
    net.run(1);
    produce(&mut net, FIRST, 1);
    assert!(net.now - before >= LISTEN_FOR_PEERS);
}

#[test]
fn lost_signing_record_is_rebuilt_from_the_chain_without_peers() {
    let (mut net, genesis) = Net::with_chain(&[KEY], &[]);
    net.add(config(KEY), Some(&genesis));
    net.run(30);
    let newest = net.hosts[FIRST].file.last().copied().unwrap();
    net.hosts[FIRST].file = SigningRecord::default();
    net.restart(FIRST, config(KEY));
    net.run(2);
    assert!(is_halted(&net, FIRST), "{:?}", net.activity(FIRST));
    produce(&mut net, FIRST, 1);
    assert!(net.hosts[FIRST].file.blocks().contains(&newest));
    assert_eq!(made(&net, FIRST).get(&newest.parent), Some(&newest.block));
}

#[test]
fn two_nodes_with_one_key_halt_and_one_resumes() {
    let mut net = net();
    // A copy of the whole directory, cut off from the others.
    let (file, head) = (
        net.hosts[FIRST].file.clone(),
        net.hosts[FIRST].head_file.clone(),
    );
    (net.hosts[SECOND].file, net.hosts[SECOND].head_file) = (file, head);
    let atoms = net.hosts[FIRST].store.clone();
    net.hosts[SECOND].store = atoms;
    net.cut = [SECOND].into();
    net.restart(SECOND, config(KEY));
    produce(&mut net, SECOND, 2);
    produce(&mut net, FIRST, 2);
    let is_own = |net: &Net, at| net.head(at).block().validator == address(KEY);
    assert!(net.run_until(PATIENCE, |net| is_own(net, FIRST) && is_own(net, SECOND)));
    // Once they hear of each other, neither signs.
    net.cut.clear();
    connect(&mut net);
    net.run(3);
    assert!(is_halted(&net, FIRST) && is_halted(&net, SECOND));
    let before = [made(&net, FIRST), made(&net, SECOND)];
    net.run(8);
    assert_eq!(before, [made(&net, FIRST), made(&net, SECOND)]);
    let ours = count_conflicts(&net);
    // Then one signs, and the other stays halted for as long as it does.
    net.run(PATIENCE);
    let after = [made(&net, FIRST).len(), made(&net, SECOND).len()];
    let went_on = [after[0] > before[0].len(), after[1] > before[1].len()];
    assert!(went_on[0] != went_on[1], "{before:?} {after:?}");
    let (live, halted) = if went_on[0] {
        (FIRST, SECOND)
    } else {
        (SECOND, FIRST)
    };
    assert!(is_halted(&net, halted), "{:?}", net.activity(halted));
    net.run(PATIENCE);
    assert!(is_halted(&net, halted));
    // When it stops, the survivor takes over without a restart.
    net.hosts[live].is_up = false;
    produce(&mut net, halted, 1);
    assert_eq!(count_conflicts(&net), ours);
}

#[test]
fn announced_head_is_read_before_signing() {
    let (mut net, genesis) = Net::with_chain(&[KEY], &[]);
    net.add(config(KEY), Some(&genesis));
    net.run(10);
    let old = &net.hosts[FIRST];
    let backup = (old.file.clone(), old.head_file.clone(), old.store.clone());
    net.run(20);
    let newest = net.head(FIRST).id();
    let known = net.hosts[FIRST].store.iter();
    let known: Vec<_> = known.map(|(_, atom)| atom.clone()).collect();
    net.elsewhere.extend(known);
    let host = &mut net.hosts[FIRST];
    (host.file, host.head_file, host.store) = backup;
    net.restart(FIRST, with_seeds(KEY));
    // A peer that answers slowly.
    net.hosts[FIRST].latency = Duration::from_secs(8);
    announce(&mut net, newest, true);
    let loaded = made(&net, FIRST).len();
    net.run(20);
    assert_eq!(made(&net, FIRST).len(), loaded);
    assert!(is_halted(&net, FIRST), "{:?}", net.activity(FIRST));
    assert_eq!(net.hosts[FIRST].asked.first(), Some(&Some(UNKNOWN_PEER)));
}

#[test]
fn reannounced_old_blocks_of_the_key_cause_no_delay() {
    let mut net = net();
    net.run(260);
    // All of them are another node's to a record that was lost.
    net.hosts[FIRST].file = SigningRecord::default();
    let own = |block: &&Block| block.validator == address(KEY) && !block.is_genesis();
    let chain = net.chain(OTHER);
    let old: Vec<AtomId> = chain.iter().filter(own).map(Block::id).collect();
    assert!(old.len() > 50, "{}", old.len());
    start(&mut net, FIRST);
    let loaded = made(&net, FIRST).len();
    let before = net.now;
    let mut at = 0;
    // The oldest first, so that each is newer than those before it.
    while made(&net, FIRST).len() == loaded && (net.now - before).as_secs() < PATIENCE {
        let id = old[at % old.len()];
        at += 1;
        announce(&mut net, id, false);
        net.run(1);
    }
    let waited = net.now - before;
    assert!(
        made(&net, FIRST).len() > loaded,
        "{:?}",
        net.activity(FIRST)
    );
    assert!(waited < QUIET_OTHER * 2, "{waited:?}");
}

#[test]
fn halt_and_resume_are_reported_once() {
    let mut net = net();
    net.hosts[FIRST].is_up = false;
    start(&mut net, SECOND);
    produce(&mut net, SECOND, 2);
    net.hosts[SECOND].is_up = false;
    start(&mut net, FIRST);
    net.run(1);
    let is_halt = |event: &&Event| matches!(event, Event::ProducerHalted(_));
    assert_eq!(net.hosts[FIRST].events.iter().filter(is_halt).count(), 1);
    produce(&mut net, FIRST, 1);
    let mut halted = 0;
    let mut resumed = 0;
    for event in &net.hosts[FIRST].events {
        halted += usize::from(matches!(event, Event::ProducerHalted(_)));
        resumed += usize::from(matches!(event, Event::ProducerResumed { .. }));
    }
    assert_eq!((halted, resumed), (1, 1));
}

/// Nodes that stop, start and are cut off at random: whatever happens, two that hear each other
/// never make two blocks on one parent, and the key is in use again soon after peace.
#[test]
fn random_moves_of_a_key_never_produce_two_blocks_on_one_parent() {
    for seed in 1..=4_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut net = net();
        for _ in 0..8 {
            let at = if next(2) == 0 { FIRST } else { SECOND };
            if net.hosts[at].is_up {
                net.hosts[at].is_up = false;
            } else {
                start(&mut net, at);
            }
            net.run(1 + next(60));
        }
        assert_eq!(count_conflicts(&net), 0, "seed {seed}");
        if !net.hosts[FIRST].is_up {
            start(&mut net, FIRST);
        }
        net.hosts[SECOND].is_up = false;
        produce(&mut net, FIRST, 1);
        assert_eq!(count_conflicts(&net), 0, "seed {seed}");
    }
}

#[test]
fn head_without_blocks_of_the_key_is_searched_in_bounded_steps() {
    // Another key makes everything: the branch is walked down to its first block.
    let (mut net, genesis) = Net::with_chain(&[KEY, 2], &[]);
    for number in [KEY, KEY, 2] {
        net.add(config(number), Some(&genesis));
    }
    (net.hosts[FIRST].is_up, net.hosts[SECOND].is_up) = (false, false);
    net.run(400);
    let head: Head = net.head(OTHER);
    assert!(head.height() > 100);
    start(&mut net, SECOND);
    produce(&mut net, SECOND, 1);
    net.hosts[SECOND].is_up = false;
    net.run(400);
    start(&mut net, FIRST);
    produce(&mut net, FIRST, 1);
    assert_eq!(count_conflicts(&net), 0);
}
