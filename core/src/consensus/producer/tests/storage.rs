//! Full or failing storage, and its growth by blocks.

use super::*;
use crate::consensus::producer::Problem;
use crate::consensus::producer::growth::{EMPTY_BLOCK_BYTES, stored_growth};
use crate::consensus::{Event, Level};

/// The errors that were reported.
fn errors(net: &Net) -> Vec<&Event> {
    let events = net.hosts[0].events.iter();
    events
        .filter(|event| event.level() == Level::Error)
        .collect()
}

#[test]
fn block_that_does_not_fit_is_replaced_by_a_smaller_one() {
    for is_room_known in [true, false] {
        let (mut net, genesis) = Net::with_chain(&[1], &[5]);
        net.add(config(1), Some(&genesis));
        net.run(3);
        for counter in 0..400 {
            submit(&mut net, 0, &transfer(5, 6, 1, counter));
        }
        net.hosts[0].room = Some(10 * EMPTY_BLOCK_BYTES);
        net.hosts[0].is_room_known = is_room_known;
        let height = net.head(0).height();
        let made = net.run_until(30, |net| net.head(0).height() > height);
        assert!(made, "{:?}", net.activity(0));
        assert!(errors(&net).is_empty());
        // With room again, the rest follows.
        net.hosts[0].room = None;
        assert!(net.run_until(120, |net| balance(net, 0, &address(6)) == 400));
        verify_chain(&net, 0, true);
    }
}

#[test]
fn production_halts_without_room_for_an_empty_block_and_resumes() {
    for is_room_known in [true, false] {
        let (mut net, genesis) = Net::with_chain(&[1], &[5]);
        net.add(config(1), Some(&genesis));
        net.run(10);
        let head = net.head(0);
        submit(&mut net, 0, &transfer(5, 6, 1, 1));
        net.hosts[0].room = Some(100);
        net.hosts[0].is_room_known = is_room_known;
        net.run(60);
        assert_eq!(net.head(0).id(), head.id());
        let status = net.hosts[0].producer.status();
        assert!(
            matches!(status.problem, Some(Problem::NoRoom(_))),
            "{status:?}"
        );
        assert!(status.is_halted());
        // If the room is not known in advance, a block is tried from time to time.
        let is_waiting = status.activity == Activity::Waiting(Wait::NoRoom);
        assert!(is_waiting || !is_room_known, "{:?}", status.activity);
        assert!(
            status
                .problem
                .unwrap()
                .to_string()
                .contains("cold_storage_limit")
        );
        assert_eq!(errors(&net).len(), 1, "{:?}", errors(&net));
        if matches!(net.activity(0), Activity::Waiting(Wait::NoRoom)) {
            let next = net.hosts[0].producer.poll_timeout().unwrap();
            let now = net.hosts[0].producer.now.instant;
            assert!(next > now, "it is not tried without a pause");
        }
        // A block that was not published is not remembered as signed.
        assert_eq!(
            net.hosts[0].producer.signed().last().map(|mark| mark.block),
            Some(head.id())
        );
        net.hosts[0].room = None;
        assert!(net.run_until(30, |net| net.head(0).height() > head.height() + 1));
        let status = net.hosts[0].producer.status();
        assert_eq!((status.problem.clone(), status.is_halted()), (None, false));
        let resumed = net.hosts[0].events.iter();
        assert_eq!(
            resumed
                .filter(|event| **event == Event::ProductionResumed)
                .count(),
            1
        );
        assert!(net.run_until(30, |net| balance(net, 0, &address(6)) == 1));
        verify_chain(&net, 0, true);
    }
}

#[test]
fn storage_failure_is_a_problem_until_resolved() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(10);
    let height = net.head(0).height();
    net.hosts[0].failures = 20;
    net.run(10);
    let status = net.hosts[0].producer.status();
    assert!(matches!(status.problem, Some(Problem::StorageFailed(_))) && status.is_halted());
    assert_eq!(errors(&net).len(), 1);
    net.hosts[0].failures = 0;
    assert!(net.run_until(30, |net| net.head(0).height() > height + 1));
    assert!(!net.hosts[0].producer.status().is_halted());
    verify_chain(&net, 0, true);
}

#[test]
fn average_block_growth_stays_within_the_limit() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    let per_block = 48 << 10;
    let config = ProducerConfig {
        max_block_growth_bytes: per_block,
        ..config(1)
    };
    net.add(config, Some(&genesis));
    // Nothing is saved up.
    net.hosts[0].producer.allowance = super::super::Allowance::new(per_block);
    net.hosts[0].producer.allowance.spend(u64::MAX, 0, 0);
    net.run(2);
    let first = net.head(0).height();
    let stored = |net: &Net| {
        let atoms: Vec<_> = net.hosts[0]
            .store
            .iter()
            .map(|(id, atom)| (*id, atom.clone()))
            .collect();
        stored_growth(&atoms)
    };
    for counter in 0..300 {
        submit(&mut net, 0, &transfer(5, 6, 1, counter));
    }
    let before = stored(&net);
    net.run(100);
    let blocks = net.head(0).height() - first;
    let left = stored(&net) - before;
    assert!(blocks >= 30);
    assert!(
        left <= (blocks + 2) * per_block,
        "{left} bytes in {blocks} blocks"
    );
    // It is used: transfers are included, a few in each block.
    let paid = balance(&net, 0, &address(6));
    assert!(
        paid >= blocks && paid < 300,
        "{paid} transfers in {blocks} blocks"
    );
    verify_chain(&net, 0, true);
}

#[test]
fn each_kind_of_problem_is_reported_once() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    let now = net.now;
    let problems = [
        Problem::NoRoom("5 bytes".into()),
        Problem::NoRoom("4 bytes".into()),
        Problem::StorageFailed("the disk fails".into()),
        Problem::AssemblyStalled,
        Problem::NoPeerHead,
        Problem::NoPeerHead,
    ];
    for problem in problems {
        net.hosts[0].call(now, |host, _, context| {
            host.producer.set_problem(context, problem.clone());
        });
        assert_eq!(net.hosts[0].producer.status().problem, Some(problem));
    }
    assert_eq!(errors(&net).len(), 4, "{:?}", errors(&net));
}
