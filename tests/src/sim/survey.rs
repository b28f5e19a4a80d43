//! Figures of a network that is left in peace but for its losses: how many lookups succeed, how long
//! they take, and what they cost.

use super::batch;
use super::links::Weather;
use super::world::World;
use astreum_core::atom::AtomId;
use core::fmt;
use core::time::Duration;

/// How long nodes have to meet before anybody looks for anything.
const MEETING: Duration = Duration::from_secs(120);
/// Between two nodes that join.
const JOINING: Duration = Duration::from_millis(20);
/// Between two lookups.
const LOOKUP_PACE: Duration = Duration::from_millis(50);
/// How long the last lookups may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a survey found.
#[derive(Clone, PartialEq, Debug)]
pub struct Survey {
    /// Nodes.
    pub nodes: usize,
    /// Datagrams lost of a thousand.
    pub loss_permille: usize,
    /// Lookups made.
    pub lookups: usize,
    /// How many of them found what they looked for.
    pub found: usize,
    /// How long those took, the shortest first.
    pub times: Vec<Duration>,
    /// Datagrams sent while they were made.
    pub sent: u64,
    /// Datagrams that a lookup cost, on average, above what is sent anyhow.
    pub datagrams_per_lookup: f64,
    /// Peers that a node has, on average.
    pub peers_per_node: f64,
    /// One way between two nodes.
    pub latency: Duration,
}

impl Survey {
    /// The time within which this part of the successful lookups was done, in thousandths.
    #[must_use]
    pub fn within(&self, permille: usize) -> Duration {
        let last = self.times.len().saturating_sub(1);
        self.times
            .get(last * permille / 1_000)
            .copied()
            .unwrap_or_default()
    }

    /// Round trips that a lookup took, on average.
    #[must_use]
    pub fn hops(&self) -> f64 {
        let total: Duration = self.times.iter().sum();
        self.trips(total) / self.times.len().max(1) as f64
    }

    /// How many round trips fit a time.
    #[must_use]
    pub fn trips(&self, time: Duration) -> f64 {
        time.as_secs_f64() / (2.0 * self.latency.as_secs_f64())
    }
}

/// The heads of a table of surveys.
pub const TABLE_HEAD: &str = "\
| nodes | loss | lookups that succeed | round trips: mean, p50, p99 | time: p50, p99 | datagrams a lookup | peers a node has |
| --- | --- | --- | --- | --- | --- | --- |";

/// A row of that table.
impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most] = [500, 990].map(|permille| self.within(permille));
        write!(
            f,
            "| {} | {} % | {} of {} | {:.2}, {:.0}, {:.0} | {half:?}, {most:?} | {:.1} | {:.0} |",
            self.nodes,
            self.loss_permille as f64 / 10.0,
            self.found,
            self.lookups,
            self.hops(),
            self.trips(half),
            self.trips(most),
            self.datagrams_per_lookup,
            self.peers_per_node
        )
    }
}

/// Looks `lookups` times for an atom that a random node holds, from another one; tells how far it
/// is.
#[must_use]
pub fn run(
    seed: u64,
    nodes: usize,
    lookups: usize,
    loss_permille: usize,
    mut tell: impl FnMut(&str),
) -> Survey {
    let plan = (seed, nodes, lookups, loss_permille);
    let mut survey = observe(plan, true, &mut tell);
    tell(&format!(
        "{} of {lookups} found, in {:.2} round trips; now the same without a lookup",
        survey.found,
        survey.hops()
    ));
    // The same network in the same minutes, but that nobody looks for anything. One after the
    // other: ten thousand nodes take some gigabytes.
    let quiet = observe(plan, false, &mut tell);
    let spent = survey.sent.saturating_sub(quiet.sent);
    survey.datagrams_per_lookup = spent as f64 / lookups.max(1) as f64;
    survey
}

fn observe(
    (seed, nodes, lookups, loss_permille): (u64, usize, usize, usize),
    is_looked_up: bool,
    tell: &mut dyn FnMut(&str),
) -> Survey {
    let mut world = World::new(seed, nodes, false);
    let weather = Weather {
        loss_permille,
        ..Weather::CALM
    };
    world.links.weather = weather;
    for number in 0..nodes {
        world.start(number);
        world.run(JOINING);
        if (number + 1).is_multiple_of(1_000) {
            tell(&format!("{} of {nodes} nodes have joined", number + 1));
        }
    }
    world.run(MEETING);
    tell("they have met");
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
    world.found.clear();
    for (owner, id) in &owned {
        let others = nodes.saturating_sub(1).max(1);
        let who = (owner + 1 + world.random.below(others)) % nodes;
        if is_looked_up {
            world.look_up(who, *id);
        }
        world.run(LOOKUP_PACE);
    }
    world.run(PATIENCE);
    let sent = world.counts.sent - before;
    let mut times: Vec<Duration> = world.found.iter().filter_map(|found| found.took).collect();
    times.sort_unstable();
    let peers: usize = world
        .hosts()
        .iter()
        .filter_map(|host| Some(host.running.as_ref()?.engine.peer_count()))
        .sum();
    Survey {
        nodes,
        loss_permille,
        lookups: owned.len(),
        found: times.len(),
        times,
        sent,
        datagrams_per_lookup: 0.0,
        peers_per_node: peers as f64 / nodes.max(1) as f64,
        latency: Duration::from_micros(weather.latency_micros),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_losses_everything_is_found() {
        let mut told = 0;
        let survey = run(1, 20, 40, 0, |_| told += 1);
        assert_eq!(told, 3);
        assert_eq!((survey.found, survey.lookups), (40, 40));
        assert!(survey.hops() >= 1.0, "{survey:?}");
        assert!(
            survey.within(0) <= survey.within(500) && survey.within(500) <= survey.within(1_000)
        );
    }

    #[test]
    fn a_fifth_of_all_datagrams_may_be_lost() {
        let survey = run(1, 30, 60, 200, |_| ());
        assert!(survey.found * 20 >= survey.lookups * 19, "{survey}");
    }
}
