//! Measurements of a network without faults other than packet loss: success rate, duration and cost
//! of lookups, and the cost of the peers of nodes at rest.
//!
//! Every node offers streams. Lookups are of single atoms, which travel by datagram.

use super::batch;
use super::links::LinkConditions;
use super::world::{SEEDS, World};
use crate::heap::{self, Part};
use astreum_core::atom::AtomId;
use core::fmt;
use core::time::Duration;

/// Time in which nodes find each other before the first lookup.
const MEETING: Duration = Duration::from_secs(120);
/// Interval between two nodes that join.
const JOINING: Duration = Duration::from_millis(20);
/// Interval between two lookups.
const LOOKUP_PACE: Duration = Duration::from_millis(50);
/// Maximum duration of the last lookups.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Time at rest before the measurement: longer than the time after which unused peers are removed.
const SETTLING: Duration = Duration::from_secs(1_800);
/// Duration of the measurement at rest.
const REST: Duration = Duration::from_secs(1_800);

/// Nodes at rest: after half an hour without lookups, over another half an hour.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Idle {
    /// Mean number of peers per node.
    pub peers_per_node: f64,
    /// Mean number of datagrams that a node sends in an hour.
    pub datagrams_per_hour: f64,
    /// Mean number of live heap bytes of an engine, in excess of those after its start, per peer;
    /// 0 in programs without the counting allocator ([`heap::Owned`]). Over the first
    /// [`heap::NODES`] nodes without the seeds.
    pub bytes_per_peer: f64,
    /// Number of lookups after the rest.
    pub lookups: usize,
    /// Number of them that succeeded.
    pub found: usize,
    /// Mean number of round trips of those.
    pub hops: f64,
}

/// Result of a survey.
#[derive(Clone, PartialEq, Debug)]
pub struct Survey {
    /// Number of nodes.
    pub nodes: usize,
    /// Datagrams lost per thousand.
    pub loss_permille: usize,
    /// Number of lookups.
    pub lookups: usize,
    /// Number of lookups that succeeded.
    pub found: usize,
    /// Durations of the successful lookups, in ascending order.
    pub times: Vec<Duration>,
    /// Datagrams sent during the lookups.
    pub sent: u64,
    /// Mean number of datagrams per lookup, in excess of the traffic without lookups.
    pub datagrams_per_lookup: f64,
    /// Mean number of peers per node.
    pub peers_per_node: f64,
    /// One-way latency between two nodes.
    pub latency: Duration,
    /// The network at rest, after the lookups.
    pub idle: Idle,
}

impl Survey {
    /// Returns the time within which this part of the successful lookups, in thousandths, was done.
    #[must_use]
    pub fn within(&self, permille: usize) -> Duration {
        let last = self.times.len().saturating_sub(1);
        self.times
            .get(last * permille / 1_000)
            .copied()
            .unwrap_or_default()
    }

    /// Returns the mean number of round trips per lookup.
    #[must_use]
    pub fn hops(&self) -> f64 {
        let total: Duration = self.times.iter().sum();
        self.trips(total) / self.times.len().max(1) as f64
    }

    /// Returns the number of round trips that fit a time.
    #[must_use]
    pub fn trips(&self, time: Duration) -> f64 {
        time.as_secs_f64() / (2.0 * self.latency.as_secs_f64())
    }
}

/// Header of a Markdown table of surveys.
pub const TABLE_HEAD: &str = "\
| nodes | loss | lookups that succeed | round trips: mean, p50, p99 | time: p50, p99 | datagrams a lookup | peers a node has | at rest: peers a node has | bytes a peer | datagrams an hour | lookups after it that succeed, round trips |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

/// Formats a row of that table.
impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most] = [500, 990].map(|permille| self.within(permille));
        write!(
            f,
            "| {} | {} % | {} of {} | {:.2}, {:.0}, {:.0} | {half:?}, {most:?} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} | {} of {}, {:.2} |",
            self.nodes,
            self.loss_permille as f64 / 10.0,
            self.found,
            self.lookups,
            self.hops(),
            self.trips(half),
            self.trips(most),
            self.datagrams_per_lookup,
            self.peers_per_node,
            self.idle.peers_per_node,
            self.idle.bytes_per_peer,
            self.idle.datagrams_per_hour,
            self.idle.found,
            self.idle.lookups,
            self.idle.hops,
        )
    }
}

/// Looks up an atom of a random node from another node, `lookups` times, lets the network rest, and
/// looks them up again from other nodes. Reports progress to `report_progress`.
#[must_use]
pub fn run(
    seed: u64,
    nodes: usize,
    lookups: usize,
    loss_permille: usize,
    mut report_progress: impl FnMut(&str),
) -> Survey {
    let plan = (seed, nodes, lookups, loss_permille);
    let mut survey = observe(plan, true, &mut report_progress);
    report_progress(&format!(
        "{} of {lookups} found, in {:.2} round trips; measuring the traffic without lookups",
        survey.found,
        survey.hops()
    ));
    // The same network over the same time, without lookups. Not in parallel: ten thousand nodes
    // need some gigabytes.
    let quiet = observe(plan, false, &mut report_progress);
    let spent = survey.sent.saturating_sub(quiet.sent);
    survey.datagrams_per_lookup = spent as f64 / lookups.max(1) as f64;
    survey
}

fn observe(
    (seed, nodes, lookups, loss_permille): (u64, usize, usize, usize),
    is_looked_up: bool,
    report_progress: &mut dyn FnMut(&str),
) -> Survey {
    let mut world = World::new(seed, nodes, false);
    let conditions = LinkConditions {
        loss_permille,
        ..LinkConditions::GOOD
    };
    world.links.conditions = conditions;
    let mut new_bytes = 0;
    for number in 0..nodes {
        world.start(number);
        new_bytes += engine_bytes(number);
        world.run(JOINING);
        if (number + 1).is_multiple_of(1_000) {
            report_progress(&format!("{} of {nodes} nodes have joined", number + 1));
        }
    }
    world.run(MEETING);
    report_progress("the nodes are connected");
    let mut owned: Vec<(usize, AtomId)> = Vec::new();
    for number in 0..lookups {
        let owner = world.random.below(nodes);
        let atoms = batch(seed.rotate_left(17) ^ number as u64);
        if let Some((id, _)) = atoms.first() {
            owned.push((owner, *id));
        }
        world.put(owner, atoms);
        world.run(JOINING);
    }
    world.run(MEETING);
    let before = world.counts.sent;
    let times = look_up(&mut world, &owned, is_looked_up);
    let sent = world.counts.sent - before;
    let mut survey = Survey {
        nodes,
        loss_permille,
        lookups: owned.len(),
        found: times.len(),
        times,
        sent,
        datagrams_per_lookup: 0.0,
        peers_per_node: peers(&world, 0..nodes) as f64 / nodes.max(1) as f64,
        latency: Duration::from_micros(conditions.latency_micros),
        idle: Idle::default(),
    };
    if is_looked_up {
        report_progress("the nodes are at rest");
        world.run(SETTLING);
        survey.idle = rest(&mut world, new_bytes);
        let again = look_up(&mut world, &owned, true);
        let total: Duration = again.iter().sum();
        survey.idle.lookups = owned.len();
        survey.idle.found = again.len();
        survey.idle.hops = survey.trips(total) / again.len().max(1) as f64;
    }
    survey
}

/// Looks up each object from a random node other than its owner, or only lets the same time pass.
/// Returns the durations of the successful lookups, in ascending order.
fn look_up(world: &mut World, owned: &[(usize, AtomId)], is_looked_up: bool) -> Vec<Duration> {
    let nodes = world.hosts().len();
    world.found.clear();
    for (owner, id) in owned {
        let others = nodes.saturating_sub(1).max(1);
        let node = (owner + 1 + world.random.below(others)) % nodes;
        if is_looked_up {
            world.look_up(node, *id);
        }
        world.run(LOOKUP_PACE);
    }
    world.run(TIMEOUT);
    let mut times: Vec<Duration> = world.found.iter().filter_map(|found| found.took).collect();
    times.sort_unstable();
    times
}

/// Measures a network at rest. `new_bytes` is the memory of all counted engines after their start.
fn rest(world: &mut World, new_bytes: u64) -> Idle {
    let nodes = world.hosts().len();
    let before = world.counts.sent;
    world.run(REST);
    let sent = (world.counts.sent - before) as f64;
    let hours = REST.as_secs_f64() / 3_600.0;
    let live_bytes: u64 = (0..nodes).map(engine_bytes).sum();
    let of_peers = live_bytes.saturating_sub(new_bytes);
    let counted = peers(world, SEEDS..nodes.min(heap::NODES));
    Idle {
        peers_per_node: peers(world, 0..nodes) as f64 / nodes.max(1) as f64,
        datagrams_per_hour: sent / hours / nodes.max(1) as f64,
        bytes_per_peer: of_peers as f64 / counted.max(1) as f64,
        ..Idle::default()
    }
}

/// Returns the live bytes of the engine of a node; 0 for seeds, and for nodes that are not counted.
fn engine_bytes(number: usize) -> u64 {
    if (SEEDS..heap::NODES).contains(&number) {
        heap::live_bytes(number, Part::Engine)
    } else {
        0
    }
}

/// Returns the number of peers of these nodes together.
fn peers(world: &World, numbers: core::ops::Range<usize>) -> usize {
    let hosts = world.hosts().get(numbers).unwrap_or_default();
    let running = hosts.iter().filter_map(|host| host.running.as_ref());
    running.map(|node| node.engine.peer_count()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_without_datagram_loss_all_succeed() {
        let mut progress_reports = 0;
        let survey = run(1, 20, 40, 0, |_| progress_reports += 1);
        assert_eq!(progress_reports, 4);
        assert_eq!((survey.found, survey.lookups), (40, 40));
        assert!(survey.hops() >= 1.0, "{survey:?}");
        assert!(
            survey.within(0) <= survey.within(500) && survey.within(500) <= survey.within(1_000)
        );
    }

    #[test]
    fn lookups_tolerate_a_datagram_loss_of_20_percent() {
        let survey = run(1, 30, 60, 200, |_| ());
        assert!(survey.found * 20 >= survey.lookups * 19, "{survey}");
    }
}
