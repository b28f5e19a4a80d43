//! Wall clocks that are wrong and corrected.

use super::*;
use crate::consensus::Event;
use crate::consensus::producer::{MissedSlot, WALL_INTERVAL};

const HOUR: Duration = Duration::from_secs(3_600);

/// Asserts that no two blocks of the key have one parent, and that each is later than the one
/// before.
fn assert_signed_in_order(net: &Net, at: usize) {
    let own: Vec<_> = net.hosts[at]
        .announced_heads
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
fn validator_started_in_1970_resumes_within_seconds_of_the_clock_correction() {
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
fn corrected_slow_clock_causes_no_delay() {
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
fn backward_clock_jump_never_signs_an_earlier_block() {
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
fn missed_slot_is_reported() {
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
fn replans_when_a_clock_jump_is_corrected() {
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
fn wait_for_an_unavailable_chain_is_bounded() {
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
fn hold_back_budget_is_restored_by_the_first_block_and_grows_with_later_ones() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.hosts[0].producer.held = MAX_BEHIND_LATER;
    next_block(&mut net, 60);
    assert_eq!(net.hosts[0].producer.held, Duration::ZERO);
    net.hosts[0].producer.held = MAX_BEHIND_LATER;
    next_block(&mut net, 60);
    let left = MAX_BEHIND_LATER - crate::consensus::producer::BEHIND_RESTORED_PER_BLOCK;
    assert_eq!(net.hosts[0].producer.held, left);
}

#[test]
fn announced_head_is_checked_immediately() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(10);
    let producer = &mut net.hosts[0].producer;
    let before = producer.poll_timeout();
    producer
        .observed
        .announced(AtomId::new([9; 32]), PublicKey::new([4; 32]));
    assert!(producer.observed.has_readable() && !producer.foreign.is_walking());
    let now = producer.now.instant;
    assert_eq!(producer.poll_timeout(), Some(now));
    assert!(before > Some(now));
}

#[test]
fn clock_jumps_are_detected_and_do_not_end_a_halt() {
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
                host.producer.update_clock(world, context);
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
    let halt = Halt::DuplicateValidator { block, timestamp };
    assert!(!after_jump(&|| Phase::Halted(halt.clone()), HOUR));
}
