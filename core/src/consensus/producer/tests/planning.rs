//! Tests of plans: how long they stay valid, and the budget of a job.

use super::*;
use crate::consensus::Effect;
use crate::consensus::producer::plan::MIN_ASSEMBLY;
use crate::consensus::producer::wait::REPLAN;
use crate::consensus::producer::{MAX_LATENESS, Phase, WALL_INTERVAL};
use crate::trie::Scalar;
use alloc::borrow::ToOwned;

#[test]
fn wait_lasts_until_its_time() {
    let (mut net, genesis) = Net::with_chain(&[2], &[]);
    net.add(config(1), Some(&genesis));
    net.run(1);
    let until = |net: &Net| match &net.hosts[0].producer.phase {
        Phase::Wait {
            until,
            why: Wait::NoStake,
        } => *until,
        _ => panic!("{:?}", net.activity(0)),
    };
    let first = until(&net);
    net.run(30);
    assert_eq!(until(&net), first, "nothing is planned meanwhile");
    net.run(REPLAN.as_secs());
    assert!(until(&net) > first);
}

#[test]
fn scheduled_work_begins_at_its_time() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run_until(60, |net| net.head(0).height() >= 2);
    let now = net.now;
    let timestamp = now.as_secs() + 3_600;
    for (begin, is_kept) in [
        (now + Duration::from_nanos(1), true),
        (now + Duration::from_secs(3_600), true),
        (now, false),
        (now - Duration::from_nanos(1), false),
    ] {
        let mut is_scheduled = false;
        net.hosts[0].call(now, |host, world, context| {
            let started = host.producer.start(world, context);
            host.producer.phase = Phase::Scheduled { begin, timestamp };
            host.producer
                .make_block(world, context, &mut host.mempool, started);
            is_scheduled = matches!(
                host.producer.phase,
                Phase::Scheduled { timestamp: at, .. } if at == timestamp
            );
        });
        assert_eq!(is_scheduled, is_kept, "{begin:?} at {now:?}");
    }
}

#[test]
fn assembly_job_has_half_of_the_allowed_cpu_time_and_a_future_deadline() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    let config = ProducerConfig {
        max_assembly_time: Duration::from_millis(400),
        ..config(1)
    };
    net.add(config, Some(&genesis));
    net.run(30);
    let budgets = &net.hosts[0].budgets;
    assert!(budgets.len() > 5);
    assert!(
        budgets.is_sorted_by(|(_, a, _), (_, b, _)| a < b),
        "each has a number of its own"
    );
    for (at, _, budget) in budgets {
        assert_eq!(budget.cpu, Duration::from_millis(200));
        assert!(budget.until >= *at + MIN_ASSEMBLY);
    }
}

#[test]
fn waits_for_the_worker_without_a_busy_loop() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.hosts[0].lost_jobs = u32::MAX;
    assert!(net.run_until(30, |net| matches!(
        net.hosts[0].producer.phase,
        Phase::Assembling { .. }
    )));
    let producer = &net.hosts[0].producer;
    assert_eq!(
        producer.poll_timeout(),
        Some(producer.now.instant + WALL_INTERVAL)
    );
}

#[test]
fn stored_block_is_not_treated_as_a_lost_block() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.hosts[0].failures = 3;
    assert!(net.run_until(60, |net| net.hosts[0].failures == 0));
    assert!(!net.hosts[0].producer.unsaved.is_empty());
    assert!(net.run_until(60, |net| net.head(0).height() >= 2));
    assert!(net.hosts[0].producer.unsaved.is_empty());
}

#[test]
fn block_is_published_up_to_two_seconds_after_its_time() {
    for (late, is_published) in [
        (MAX_LATENESS, true),
        (MAX_LATENESS + Duration::from_nanos(1), false),
    ] {
        let (mut net, genesis) = Net::with_chain(&[1], &[]);
        net.add(config(1), Some(&genesis));
        let mut found = None;
        assert!(net.run_until(100, |net| {
            if let Phase::Found { draft, .. } = &net.hosts[0].producer.phase {
                found = Some(draft.slot);
            }
            found.is_some()
        }));
        let slot = found.unwrap();
        net.now = slot.time() + late;
        let now = net.now;
        net.hosts[0].call(now, |host, world, context| {
            host.producer.publish_in_time(world, context);
        });
        let is_storing = matches!(net.hosts[0].producer.phase, Phase::Storing { .. });
        assert_eq!(is_storing, is_published, "{late:?}");
    }
}

#[test]
fn listening_ends_at_its_time_exactly() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    let config = ProducerConfig {
        has_seeds: true,
        ..config(1)
    };
    net.add(config, Some(&genesis));
    let now = net.now;
    let nanosecond = Duration::from_nanos(1);
    let mut is_listening = |first_peer_ago: Option<Duration>, started_ago| {
        let mut is_listening = false;
        net.hosts[0].call(now, |host, world, context| {
            let mut started = host.producer.start(world, context);
            let instant = world.now.instant;
            started.at = instant - started_ago;
            let first = first_peer_ago.map(|ago| instant - ago);
            host.producer.first_peer = first;
            is_listening = host.producer.is_listening(world, started);
        });
        is_listening
    };
    assert!(is_listening(None, LISTEN_FOR_PEERS - nanosecond));
    assert!(!is_listening(None, LISTEN_FOR_PEERS));
    assert!(is_listening(Some(LISTEN - nanosecond), LISTEN));
    assert!(!is_listening(Some(LISTEN), LISTEN));
    net.hosts[0]
        .producer
        .observed
        .announced(AtomId::new([9; 32]), PublicKey::new([4; 32]));
    let mut with_named_head = |first_peer_ago| {
        let mut is_listening = false;
        net.hosts[0].call(now, |host, world, context| {
            let started = host.producer.start(world, context);
            host.producer.first_peer = Some(world.now.instant - first_peer_ago);
            is_listening = host.producer.is_listening(world, started);
        });
        is_listening
    };
    assert!(with_named_head(LISTEN));
    assert!(with_named_head(LISTEN_FOR_PEERS - nanosecond));
    assert!(!with_named_head(LISTEN_FOR_PEERS));
}

#[test]
fn head_of_a_peer_resolves_only_the_missing_peer_head_problem() {
    use crate::consensus::producer::Problem;
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    let now = net.now;
    for (problem, is_kept) in [
        (Problem::NoPeerHead, false),
        (Problem::AssemblyStalled, true),
    ] {
        net.hosts[0].call(now, |host, _, context| {
            host.producer.set_problem(context, problem.clone());
            host.producer.peer_head_announced(context);
        });
        assert_eq!(
            net.hosts[0].producer.status().problem.is_some(),
            is_kept,
            "{problem:?}"
        );
    }
}

/// Returns the genesis that a producer without a chain has just made, which is not stored yet.
fn genesis_to_store(net: &mut Net) -> AtomId {
    let host = &mut net.hosts[0];
    host.call(net.now, |host, world, context| {
        host.producer.advance(world, context, &mut host.mempool);
    });
    let mut effects = core::iter::from_fn(|| host.context.poll_effect());
    let made = effects.find_map(|effect| match effect {
        Effect::StoreBlock { block, .. } => Some(block),
        _ => None,
    });
    made.expect("it creates a chain")
}

#[test]
fn work_for_a_head_continues_when_a_genesis_is_stored_late() {
    let failure = || Err(StoreFailure::NoRoom("the disk is full".to_owned()));
    for outcome in [Ok(()), failure()] {
        let (mut net, genesis) = Net::with_chain(&[1], &[]);
        net.add(config(1), None);
        let block = genesis_to_store(&mut net);
        let host = &mut net.hosts[0];

        // Sync finds the chain of other nodes before the genesis is on disk.
        let found = genesis.build(&mut Scalar, &mut host.store).unwrap();
        let head = Head::new(found, HeadState::Verified).unwrap();
        host.context.set_head(head.clone());
        host.lost_jobs = 1;
        let is_assembling =
            |net: &Net| matches!(net.activity(0), Activity::Assembling { height: 1 });
        assert!(net.run_until(30, is_assembling), "{:?}", net.activity(0));
        net.input(0, Input::BlockStored { block, outcome });
        assert!(is_assembling(&net), "{:?}", net.activity(0));
        assert_eq!(net.head(0).id(), head.id());
        net.run(1);
        assert_eq!(net.hosts[0].budgets.len(), 1, "a second job was given out");
    }
}

#[test]
fn halted_producer_stays_halted_when_its_genesis_is_stored() {
    let halt = Halt::DuplicateValidator {
        block: AtomId::new([7; 32]),
        timestamp: 1,
    };
    for is_stored in [true, false] {
        let mut net = Net::new();
        net.add(config(1), None);
        let block = genesis_to_store(&mut net);
        net.hosts[0].producer.phase = Phase::Halted(halt.clone());
        let failure = StoreFailure::NoRoom("the disk is full".to_owned());
        let outcome = is_stored.then_some(()).ok_or(failure);
        net.input(0, Input::BlockStored { block, outcome });
        assert_eq!(net.activity(0), Activity::Halted(halt.clone()));
        assert_eq!(net.hosts[0].context.head().is_some(), is_stored);
    }
}
