//! Counts of the mempool, and its file after an orderly shutdown.

use super::*;

#[test]
fn every_refusal_counts() {
    let (mut host, _) = Host::new(config());
    assert_eq!(host.component.status().refused, 0);
    for counter in 0..3 {
        // The account does not exist.
        host.submit(&transfer(3, counter));
    }
    host.announce(&transfer(3, 9));
    assert_eq!(host.component.status().refused, 4);
    let refused = |event: &&Event| matches!(event, Event::TransactionRefused { .. });
    assert_eq!(host.events.iter().filter(refused).count(), 4);
}

#[test]
fn flush_saves_the_last_transactions() {
    let (mut host, _) = Host::new(config());
    // The second one within the interval of writes.
    let ids = [1, 2].map(|counter| host.announce(&transfer(5, counter)));
    host.restart(config()).unwrap();
    assert_eq!(host.ready(), ids);
}
