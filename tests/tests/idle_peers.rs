//! Peers of nodes at rest, with a counting allocator: their number, memory and traffic.

use astreum_tests::heap::Owned;
use astreum_tests::sim::survey;

#[global_allocator]
static ALLOCATOR: Owned = Owned;

#[test]
fn nodes_at_rest_keep_few_peers_in_little_memory_and_send_little() {
    let survey = survey::run(1, 150, 40, 0, |_| ());
    assert_eq!(survey.found, survey.lookups, "{survey:?}");
    let idle = survey.idle;
    assert_eq!(idle.found, idle.lookups, "{survey:?}");
    // Without the rules of `core/src/engine/timers.rs`: 128 peers, 3,413 bytes of each, and 6,494
    // datagrams.
    assert!(survey.peers_per_node > 120.0, "{survey:?}");
    assert!(idle.peers_per_node < 95.0, "{idle:?}");
    assert!((1.0..2_600.0).contains(&idle.bytes_per_peer), "{idle:?}");
    assert!(idle.datagrams_per_hour < 1_700.0, "{idle:?}");
}
