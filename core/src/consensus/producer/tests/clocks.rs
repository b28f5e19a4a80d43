//! Wall clocks that are wrong and corrected.

use super::*;
use crate::consensus::Event;
use crate::consensus::producer::{MissedSlot, WALL_INTERVAL};

const HOUR: Duration = Duration::from_secs(3_600);

/// Asserts that no two blocks of the key have one parent, and that each is later than the one
/// before.
fn assert_signed_in_order(net: &Net, at: usize) {
    let own: Vec<_> = net.hosts[at]
        .named
        .iter()
        .filter(|head| head.state() == HeadState::Own && head.height() > 0)
        .collect();
    for pair in own.windows(2) {
        assert!(pair[0].timestamp() < pair[1].timestamp());
        assert_ne!(pair[0].block().previous, pair[1].block().previous);
    }
}

/// Runs until there is another block; returns the time until then.
fn next_block(net: &mut Net, most: u64) -> Duration {
    let (begin, height) = (net.now, net.head(0).height());
    let made = net.run_until(most, |net| net.head(0).height() > height);
    assert!(made, "{:?}", net.activity(0));
    net.now - begin
}

#[test]
fn a_validator_that_starts_in_1970_begins_within_seconds_of_the_correction() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.hosts[0].behind = Duration::from_secs(BEGINNING - 40);
    net.run(30);
    assert_eq!(net.head(0).height(), 0, "its time has not come");
    // It checks the clock nevertheless.
    let due = net.hosts[0].producer.poll_timeout().unwrap();
    assert!(due <= host::instant(net.now) + WALL_INTERVAL);
    net.hosts[0].behind = Duration::ZERO;
    assert!(next_block(&mut net, 60) <= Duration::from_secs(8));
    assert_signed_in_order(&net, 0);
    verify_chain(&net, 0, true);
}

#[test]
fn a_clock_that_was_slow_delays_nothing_once_it_is_right() {
    for behind in [Duration::from_secs(100), HOUR / 3] {
        let (mut net, genesis) = Net::with_chain(&[1], &[]);
        net.add(config(1), Some(&genesis));
        net.run(20);
        net.hosts[0].behind = behind;
        net.run(15);
        net.hosts[0].behind = Duration::ZERO;
        let took = next_block(&mut net, 60);
        assert!(took <= Duration::from_secs(8), "{behind:?}: {took:?}");
        assert_signed_in_order(&net, 0);
        verify_chain(&net, 0, true);
    }
}

#[test]
fn a_clock_that_goes_ahead_and_back_never_makes_it_sign_an_earlier_block() {
    // Alone: blocks that it signed for later times bind it until then, and not longer.
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(20);
    net.hosts[0].ahead = Duration::from_secs(60);
    next_block(&mut net, 60);
    let last = net.head(0).timestamp();
    net.hosts[0].ahead = Duration::ZERO;
    let took = next_block(&mut net, 200);
    let wait = Duration::from_secs(last).saturating_sub(net.now - took);
    assert!(
        took <= wait + Duration::from_secs(8),
        "{took:?} for {wait:?}"
    );
    assert_signed_in_order(&net, 0);
    verify_chain(&net, 0, true);
    // A jump while it mines or waits for the block's time: it has not signed, so nothing binds it.
    for millis in [20, 300, 700, 1_100] {
        let (mut net, genesis) = Net::with_chain(&[1], &[]);
        net.add(config(1), Some(&genesis));
        net.run_until(40, |net| net.head(0).height() >= 8);
        net.run_until(1, |_| false);
        net.now += Duration::from_millis(millis);
        let head = net.head(0);
        net.hosts[0].ahead = HOUR;
        net.input(0, own(AtomId::new([1; 32])));
        net.hosts[0].ahead = Duration::ZERO;
        next_block(&mut net, 20);
        assert!(net.head(0).timestamp() <= head.timestamp() + 20);
        assert_signed_in_order(&net, 0);
        verify_chain(&net, 0, true);
    }
}

#[test]
fn a_missed_slot_is_reported() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run_until(100, |net| {
        let height = net.head(0).height();
        height > 12 && matches!(net.activity(0), Activity::Mining { attempts, .. } if attempts > 0)
    });
    // A long search may have missed a slot before.
    let late = net.hosts[0].producer.status().blocks_late;
    // The thread stands still for some seconds; both clocks continue.
    net.now += Duration::from_secs(9);
    net.run(1);
    let missed = net.hosts[0].events.iter().any(|event| {
        let is_missed = matches!(
            event,
            Event::SlotMissed {
                during: MissedSlot::Mining,
                ..
            }
        );
        is_missed && event.level() == crate::consensus::Level::Warn
    });
    assert!(missed);
    assert_eq!(net.hosts[0].producer.status().blocks_late, late + 1);
}

#[test]
fn a_plan_for_a_clock_that_jumped_is_given_up_when_the_clock_is_right_again() {
    // Long enough to plan, to assemble or to mine, and too short to sign.
    for millis in [20, 60, 200] {
        let (mut net, genesis) = Net::with_chain(&[1, 2], &[]);
        net.add(config(1), Some(&genesis));
        net.run_until(60, |net| net.head(0).height() >= 4);
        let head = net.head(0);
        net.hosts[0].ahead = HOUR;
        let end = net.now + Duration::from_millis(millis);
        net.run_until(1, |net| net.now >= end);
        assert_eq!(net.head(0).id(), head.id(), "nothing was signed");
        net.hosts[0].ahead = Duration::ZERO;
        next_block(&mut net, 60);
        assert!(net.head(0).timestamp() < head.timestamp() + 60);
        assert_signed_in_order(&net, 0);
        verify_chain(&net, 0, true);
    }
}

#[test]
fn patience_with_a_chain_that_does_not_come_ends() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(10);
    let now = net.now;
    net.hosts[0].context.set_behind(true);
    let mut holds_back = |held| {
        let mut is_held = false;
        net.hosts[0].producer.held = held;
        net.hosts[0].producer.held_at = None;
        net.hosts[0].call(now, |host, world, context| {
            is_held = host.producer.holds_back(world, context);
        });
        is_held
    };
    assert!(holds_back(MAX_BEHIND_LATER - Duration::from_nanos(1)));
    assert!(!holds_back(MAX_BEHIND_LATER));
}

#[test]
fn patience_is_whole_again_after_the_first_block_and_grows_slowly_after_others() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.hosts[0].producer.held = MAX_BEHIND_LATER;
    next_block(&mut net, 60);
    assert_eq!(net.hosts[0].producer.held, Duration::ZERO);
    net.hosts[0].producer.held = MAX_BEHIND_LATER;
    next_block(&mut net, 60);
    let left = MAX_BEHIND_LATER - crate::consensus::producer::PATIENCE_PER_BLOCK;
    assert_eq!(net.hosts[0].producer.held, left);
}

#[test]
fn a_head_that_a_peer_names_is_looked_at_now() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(10);
    let producer = &mut net.hosts[0].producer;
    let before = producer.poll_timeout();
    producer
        .sightings
        .name(AtomId::new([9; 32]), PublicKey::new([4; 32]));
    assert!(producer.sightings.has_news() && !producer.foreign.is_walking());
    let now = producer.now.instant;
    assert_eq!(producer.poll_timeout(), Some(now));
    assert!(before > Some(now));
}

#[test]
fn jumps_of_more_than_two_seconds_are_noticed_and_end_no_halt() {
    use crate::consensus::producer::{MAX_CLOCK_JUMP, Phase};
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(5);
    let now = net.now;
    let mut after_jump = |phase: &dyn Fn() -> Phase, jump| {
        let mut is_planned = false;
        let before = net.hosts[0].ahead;
        for ahead in [before, before + jump] {
            net.hosts[0].ahead = ahead;
            net.hosts[0].call(now, |host, world, context| {
                host.producer.phase = phase();
                host.producer.notice_time(world, context);
                is_planned = matches!(host.producer.phase, Phase::Plan);
            });
        }
        is_planned
    };
    let nanosecond = Duration::from_nanos(1);
    let timestamp = BEGINNING + 10_000;
    let begin = Duration::from_secs(timestamp);
    assert!(!after_jump(
        &|| Phase::Scheduled { begin, timestamp },
        MAX_CLOCK_JUMP
    ));
    assert!(after_jump(
        &|| Phase::Scheduled { begin, timestamp },
        MAX_CLOCK_JUMP + nanosecond
    ));
    let block = AtomId::new([3; 32]);
    let halt = Halt::SecondValidator { block, timestamp };
    assert!(!after_jump(&|| Phase::Halted(halt.clone()), HOUR));
}
