//! Tests of handshakes that are forged in the name of two nodes, one of which contacts the other.

use super::net::{Net, at, config, key};
use super::unknown_peer;
use crate::engine::limits::CONTACT_INTERVAL;
use crate::engine::{DropReason, Event};
use core::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Handshakes that a test forges.
#[derive(Clone, Copy, Debug)]
enum Forged {
    /// Fresh keys, at the address that is contacted.
    KeysOfContacted,
    /// The key and the address of the contacting node, which does not run before its contact.
    NameOfNewcomer,
    /// Both.
    Both,
}

/// Two nodes, one of which contacts the other after a period of forged handshakes.
struct Case {
    forged: Forged,
    round_trip: Duration,
    interval: Duration,
    /// Time from the last forged handshake to the contact.
    offset: Duration,
    is_seed: bool,
}

impl Case {
    /// Returns the time from the contact to validation at both ends.
    fn joins_after(&self) -> Option<Duration> {
        let mut net = Net::of_ours(1);
        if !matches!(self.forged, Forged::NameOfNewcomer) {
            net.add(2, config(2));
        }
        net.latency = self.round_trip / 2;
        let mut count = 0;
        let mut forge = |net: &mut Net| {
            count += 1;
            if !matches!(self.forged, Forged::KeysOfContacted) {
                let handshake = unknown_peer::handshake(&key(2), at(2).port());
                net.inject(at(2), at(1), handshake);
            }
            if !matches!(self.forged, Forged::NameOfNewcomer) {
                let key = unknown_peer::many(count).public_key();
                net.inject(at(1), at(2), unknown_peer::handshake(&key, at(1).port()));
            }
        };
        let before = 12 * SECOND;
        let times = before.as_micros() / self.interval.as_micros();
        for _ in 0..times.clamp(1, 400) {
            forge(&mut net);
            net.run(self.interval);
        }
        forge(&mut net);
        net.run(self.offset);
        if matches!(self.forged, Forged::NameOfNewcomer) {
            net.add(2, config(2));
        }
        let began = net.now;
        if self.is_seed {
            net.with(2, |engine, now| engine.set_seeds(now, &[at(1)], &[]));
        } else {
            net.connect(2, 1);
        }
        let step = self.interval.min(SECOND / 10);
        let mut next = self.interval.saturating_sub(self.offset);
        while net.now.since(began) < 40 * SECOND {
            net.run(step);
            if net.knows(1, 2) && net.knows(2, 1) {
                return Some(net.now.since(began));
            }
            if net.now.since(began) >= next {
                forge(&mut net);
                next += self.interval;
            }
        }
        None
    }
}

#[test]
fn newcomers_join_despite_packets_forged_in_their_name_or_their_seeds() {
    for forged in [
        Forged::KeysOfContacted,
        Forged::NameOfNewcomer,
        Forged::Both,
    ] {
        for round_trip in [1, 30, 300, 2_000].map(|trip| trip * MILLISECOND) {
            for interval in [10, 100, 1_000, 5_000, 9_999].map(|pace| pace * MILLISECOND) {
                for offset in [0, 5, 400, 3_000].map(|offset| offset * MILLISECOND) {
                    let case = |is_seed| Case {
                        forged,
                        round_trip,
                        interval,
                        offset,
                        is_seed,
                    };
                    if offset >= interval {
                        continue;
                    }
                    // A node that was not running has no trace of the forged handshakes.
                    let repeat = match forged {
                        Forged::NameOfNewcomer => CONTACT_INTERVAL,
                        Forged::KeysOfContacted | Forged::Both => Duration::ZERO,
                    };
                    let bar = repeat + 4 * round_trip + SECOND / 4;
                    for is_seed in [true, false] {
                        let took = case(is_seed).joins_after();
                        let name = (forged, round_trip, interval, offset, is_seed);
                        assert!(took.is_some_and(|took| took <= bar), "{name:?}: {took:?}");
                    }
                }
            }
        }
    }
}

/// A contact has a cookie if its receiver may have sent packets before, and only then.
#[test]
fn echoes_are_answered_with_a_probe_and_never_with_a_handshake() {
    let mut net = Net::of_ours(2);
    net.inject(
        at(1),
        at(2),
        unknown_peer::handshake(&key(77), at(1).port()),
    );
    net.run(SECOND);
    let before = net.sent.len();
    net.connect(2, 1);
    net.run(SECOND);
    assert!(net.knows(1, 2) && net.knows(2, 1));
    let lengths = |net: &Net, to| -> alloc::vec::Vec<usize> {
        let sent = net.sent_to(at(to), before).into_iter();
        sent.map(|packet| packet.bytes.len()).collect()
    };
    let with_cookie = 43 + 4 + 2 + 8;
    assert_eq!(lengths(&net, 1)[..2], [with_cookie, 106]);
    assert_eq!(lengths(&net, 2)[0], with_cookie);
    // The echo is no longer than the contact, and is not sent to an address beyond its
    // amplification limit.
    let count = net.sent.len();
    net.run(20 * SECOND);
    assert_eq!(net.sent.len(), count);
    assert_eq!(net.dropped(2, DropReason::HandshakeTooSoon), 0);
}

/// Two nodes with one relay key, one of which contacts the other.
#[test]
fn node_with_our_relay_key_is_distinguished_from_forged_packets() {
    let elsewhere = |net: &mut Net, address| {
        let events = &net.node_at(address).events;
        let is_elsewhere = |event: &&Event| matches!(event, Event::OwnKeyElsewhere { .. });
        events.iter().filter(is_elsewhere).count()
    };
    let mut net = Net::of_ours(1);
    // Any node can send these, and reflect the answers.
    net.inject(at(9), at(1), unknown_peer::handshake(&key(1), at(9).port()));
    net.run(SECOND);
    let answer = net.sent_to(at(9), 0)[0].bytes.clone();
    assert!(net.sent_to(at(9), 0).len() == 1 && answer.len() <= 3 * 43);
    net.inject(at(9), at(1), answer.clone());
    net.run(SECOND);
    assert_eq!(net.dropped(1, DropReason::Reflected), 1);
    // Also after a restart, when the engine's nonces are those of another run.
    net.add_at(at(1), config(1), [99; 32]);
    net.inject(at(9), at(1), answer);
    net.run(20 * SECOND);
    assert_eq!(elsewhere(&mut net, at(1)), 0);
    assert_eq!(net.dropped(1, DropReason::Unanswerable), 0);
    // A node that has the key can.
    let mut twin = config(1);
    twin.incoming_port = at(2).port();
    net.add_at(at(2), twin, [2; 32]);
    let now = net.now;
    net.node_at(at(2)).engine.connect(now, at(1));
    net.run(SECOND);
    assert_eq!(
        (elsewhere(&mut net, at(1)), elsewhere(&mut net, at(2))),
        (1, 1)
    );
    assert_eq!(net.engine(1).peer_count(), 0);
}
