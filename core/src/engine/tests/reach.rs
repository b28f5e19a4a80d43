//! Tests of reaching seeds, and of being reached behind a mapped port.

use super::net::{Net, at, config, key};
use crate::engine::DropReason;
use crate::engine::limits::CONTACT_INTERVAL;
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn seeds_are_contacted_at_the_configured_interval() {
    for seconds in [1, 3, 30] {
        let mut net = Net::new();
        let mut alone = config(1);
        alone.bootstrap_retry_interval = Duration::from_secs(seconds);
        net.add(1, alone);
        let seed = at(9);
        net.with(1, |engine, now| engine.set_seeds(now, &[seed], &[]));
        net.run(60 * SECOND);
        let sent = net.sent.iter().filter(|packet| packet.to == seed).count();
        // The first is repeated once if the interval is longer than that of follow-ups.
        let repeated = u64::from(Duration::from_secs(seconds) > CONTACT_INTERVAL);
        let expected = usize::try_from(60 / seconds + repeated).unwrap();
        assert!(
            (expected..=expected + 1).contains(&sent),
            "{sent} handshakes in 60 s, one every {seconds} s"
        );
    }
}

#[test]
fn late_seed_is_reached_within_the_configured_interval() {
    let mut net = Net::new();
    let mut early = config(1);
    early.bootstrap_retry_interval = SECOND;
    net.add(1, early);
    net.with(1, |engine, now| engine.set_seeds(now, &[at(2)], &[]));
    net.run(3 * SECOND);
    net.add(2, config(2));
    net.run(2 * SECOND);
    assert!(net.knows(1, 2) && net.knows(2, 1));
}

/// The network delivers at the mapped port only.
#[test]
fn node_behind_a_mapped_port_is_reached_at_its_advertised_address() {
    let mut net = Net::of_ours(1);
    net.add_reference(3);
    let mut mapped = config(2);
    mapped.incoming_port = 99;
    mapped.advertised_address = Some(at(2));
    net.add_at(at(2), mapped, [2; 32]);
    net.connect(2, 1);
    net.connect(2, 3);
    net.run(SECOND);
    assert!(net.knows(1, 2) && net.knows(2, 1));
    assert!(net.knows(2, 3));
}

#[test]
fn banned_peers_are_not_heard_until_the_ban_ends() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    assert!(net.with(1, |engine, _| engine.ban(key(2))));
    assert!(!net.knows(1, 2));
    net.run(15 * SECOND);
    net.connect(2, 1);
    net.run(15 * SECOND);
    assert!(!net.knows(1, 2));
    assert!(net.engine(1).stats().dropped(DropReason::Banned) > 0);
    assert!(net.engine(1).unban(&key(2)));
    net.connect(1, 2);
    net.run(15 * SECOND);
    assert!(net.knows(1, 2));
}
