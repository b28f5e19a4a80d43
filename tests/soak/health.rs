//! Resource usage of every process: resident memory, descriptors, threads.

use crate::node::{Node, Role};
use crate::world::World;
use astreum_node::rpc::{StatusReply, request};
use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Interval between two samples.
const INTERVAL: Duration = Duration::from_secs(5);
/// Interval between two progress lines.
const LINE_INTERVAL: Duration = Duration::from_secs(60);
/// Time after which tables are full and entries have expired: the atoms of a block are advertised
/// for 900 s, and its provider record lives for 1,800 s after the last advertisement.
const LONGEST_WARM_UP: Duration = Duration::from_secs(2_760);

/// Resource usage of one process at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Time since the beginning.
    pub(crate) at: Duration,
    /// Resident memory in bytes, including pages of mapped files, which the system can reclaim.
    pub(crate) resident_bytes: u64,
    /// Anonymous part of it in bytes: memory that the process itself holds.
    pub(crate) own_bytes: u64,
    /// Part of the anonymous memory that is the index of cold storage, some bytes for each atom.
    pub(crate) index_bytes: u64,
    /// Number of open descriptors.
    pub(crate) descriptors: u64,
    /// Number of threads.
    pub(crate) threads: u64,
}

impl Sample {
    /// Returns the bytes that the process itself holds, regardless of the number of stored atoms.
    pub(crate) const fn held_bytes(&self) -> u64 {
        self.own_bytes.saturating_sub(self.index_bytes)
    }
}

/// Class of processes that are evaluated together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Class {
    /// Nodes of ours.
    Ours(Role),
    /// Reference nodes.
    Reference,
}

impl Class {
    /// Returns all classes, in the order of the table.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Role::ALL
            .map(Self::Ours)
            .into_iter()
            .chain([Self::Reference])
    }

    /// Returns its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours(role) => role.name(),
            Self::Reference => "reference",
        }
    }
}

/// Samples of every process, by class and number.
pub(crate) type Samples = BTreeMap<(Class, usize), Vec<Sample>>;

/// All samples, and unexpected exits.
#[derive(Debug, Default)]
pub(crate) struct Health {
    samples: Mutex<Samples>,
    ended: Mutex<Vec<String>>,
}

impl Health {
    /// Takes samples and prints progress lines until the time is over.
    pub(crate) fn watch(&self, world: &World) {
        let mut next = Instant::now();
        let mut next_line = next + LINE_INTERVAL;
        while world.sleep_until(next) {
            next += INTERVAL;
            self.sample_all(world);
            if Instant::now() >= next_line {
                next_line += LINE_INTERVAL;
                self.print_line(world);
            }
        }
    }

    /// Samples every process once.
    pub(crate) fn sample_all(&self, world: &World) {
        let at = world.measured.elapsed();
        for node in &world.nodes {
            // A node that is being restarted has ended for a known reason.
            if node.used_for(Duration::ZERO).is_none() {
                continue;
            }
            if let Some(status) = node.ended() {
                self.note_end(world, node.number, &status.to_string());
                node.set_used(false);
            } else if let Some(index_bytes) = index_bytes(node)
                && let Some(sample) = node.process_id().and_then(|id| sample(id, at, index_bytes))
            {
                self.add((Class::Ours(node.role), node.number), sample);
            }
        }
        for (number, seat) in world.references.iter().enumerate() {
            if let Some(sample) = seat.process_id().and_then(|id| sample(id, at, 0)) {
                self.add((Class::Reference, number), sample);
            }
        }
    }

    fn note_end(&self, world: &World, number: usize, status: &str) {
        let line = format!("node {number} exited unexpectedly: {status}");
        world.measured.print_line(&line);
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn add(&self, process: (Class, usize), sample: Sample) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.entry(process).or_default().push(sample);
    }

    fn print_line(&self, world: &World) {
        let samples = self.samples();
        let ours = || {
            let ours = samples
                .iter()
                .filter(|((class, _), _)| *class != Class::Reference);
            ours.filter_map(|(_, samples)| samples.last())
        };
        let total: u64 = ours().map(|sample| sample.resident_bytes).sum();
        let most = ours()
            .map(|sample| sample.resident_bytes)
            .max()
            .unwrap_or_default();
        let own: u64 = ours().map(|sample| sample.own_bytes).sum();
        let descriptors: u64 = ours().map(|sample| sample.descriptors).sum();
        let (done, failed) = world.measured.totals();
        world.measured.print_line(&format!(
            "{done} operations, {failed} failed; our nodes: {} MiB resident, {:.1} in the largest, \
             {} without files; {descriptors} descriptors",
            total >> 20,
            mib(most),
            own >> 20
        ));
    }

    /// Returns all samples.
    pub(crate) fn samples(&self) -> Samples {
        self.samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns the nodes that ended unexpectedly.
    pub(crate) fn ended(&self) -> Vec<String> {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Duration that suffices to measure a slope.
const LONG_ENOUGH: Duration = Duration::from_secs(1_440);

/// Returns the time after the beginning at which samples begin to count: half of the run, or later
/// if the rest is long enough, up to the time at which slowly filling tables are full.
pub(crate) fn warm_up(whole: Duration) -> Duration {
    let latest = whole.saturating_sub(LONG_ENOUGH);
    (whole / 2).max(latest).min(LONGEST_WARM_UP)
}

/// Returns the slope of memory over time by least squares, in MiB per hour. Samples of several
/// processes give the slope of their mean.
pub(crate) fn slope_mib_per_hour<'a>(
    samples: impl Iterator<Item = &'a Sample>,
    bytes_of: fn(&Sample) -> u64,
) -> Option<f64> {
    let points: Vec<(f64, f64)> = samples
        .map(|sample| (sample.at.as_secs_f64() / 3_600.0, mib(bytes_of(sample))))
        .collect();
    if points.len() < 3 {
        return None;
    }
    let count = points.len() as f64;
    let mean_at = points.iter().map(|(at, _)| at).sum::<f64>() / count;
    let mean_size = points.iter().map(|(_, size)| size).sum::<f64>() / count;
    let across = |(at, size): &(f64, f64)| (at - mean_at) * (size - mean_size);
    let along = |(at, _): &(f64, f64)| (at - mean_at) * (at - mean_at);
    let spread: f64 = points.iter().map(along).sum();
    (spread > 0.0).then(|| points.iter().map(across).sum::<f64>() / spread)
}

/// Converts bytes to MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Returns the size of the index of a node's cold storage; `None` if the node does not answer, for
/// example while it is being stopped.
fn index_bytes(node: &Node) -> Option<u64> {
    let status: StatusReply = node.request(&request::Status {}).ok()?;
    status.counters.get("cold_memory_bytes").copied()
}

/// Returns the current resource usage of a process; `None` if it has ended.
fn sample(process_id: u32, at: Duration, index_bytes: u64) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{process_id}/status")).ok()?;
    let field = |name: &str| -> Option<u64> {
        let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let descriptors = fs::read_dir(format!("/proc/{process_id}/fd")).ok()?.count();
    Some(Sample {
        at,
        resident_bytes: field("VmRSS:")? * 1_024,
        own_bytes: field("RssAnon:")? * 1_024,
        index_bytes,
        descriptors: u64::try_from(descriptors).ok()?,
        threads: field("Threads:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slope_of_a_straight_line_is_exact() {
        let samples: Vec<Sample> = (0..100)
            .map(|minute| Sample {
                at: Duration::from_secs(minute * 60),
                resident_bytes: 0,
                own_bytes: (5 << 20) + minute * ((1 << 20) / 30) + minute,
                index_bytes: minute,
                descriptors: 0,
                threads: 0,
            })
            .collect();
        let slope = slope_mib_per_hour(samples.iter(), Sample::held_bytes).unwrap();
        assert!((slope - 2.0).abs() < 1e-3, "{slope}");
        let few = slope_mib_per_hour(samples.iter().take(2), Sample::held_bytes);
        assert_eq!(few, None);
    }
}
