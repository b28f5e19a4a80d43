//! Simulated network: loses, duplicates and delays (and so reorders) datagrams, and separates
//! nodes.

use crate::random::Random;
use core::time::Duration;

/// Network conditions between all nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkConditions {
    /// Datagrams lost per thousand.
    pub loss_permille: usize,
    /// Datagrams that arrive twice, per thousand.
    pub repeated_permille: usize,
    /// Minimum one-way latency, in microseconds.
    pub latency_micros: u64,
    /// Maximum additional latency, in microseconds. It reorders datagrams.
    pub jitter_micros: usize,
    /// Maximum number of bytes of a datagram that arrives.
    pub max_datagram_bytes: usize,
}

impl LinkConditions {
    /// No loss, and a latency of ten milliseconds.
    pub const GOOD: Self = Self {
        loss_permille: 0,
        repeated_permille: 0,
        latency_micros: 10_000,
        jitter_micros: 0,
        max_datagram_bytes: usize::MAX,
    };
    /// Number of bytes of a datagram that an IPv4 packet carries on Ethernet without fragments.
    pub const UNFRAGMENTED_BYTES: usize = 1_472;
}

/// Network between numbered nodes.
#[derive(Clone, Debug)]
pub struct Links {
    /// Current conditions.
    pub conditions: LinkConditions,
    /// Part of the network of each node. Nodes of different parts do not reach each other.
    part: Vec<u8>,
}

impl Links {
    /// Creates a calm network of one part.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            conditions: LinkConditions::GOOD,
            part: Vec::new(),
        }
    }

    /// Cuts the network into parts.
    pub fn cut(&mut self, part: Vec<u8>) {
        self.part = part;
    }

    /// Reunites the network.
    pub fn heal(&mut self) {
        self.part.clear();
    }

    /// Returns whether the network is in parts.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        !self.part.is_empty()
    }

    /// Returns whether nodes are in the same part of the network.
    #[must_use]
    pub fn connects(&self, one: usize, other: usize) -> bool {
        let part = |node: usize| self.part.get(node).copied().unwrap_or_default();
        part(one) == part(other)
    }

    /// Returns the delays after which copies of a datagram arrive; none if it is lost.
    pub fn deliver(&self, random: &mut Random, from: usize, to: usize) -> [Option<Duration>; 2] {
        let conditions = self.conditions;
        if !self.connects(from, to) || random.below(1_000) < conditions.loss_permille {
            return [None, None];
        }
        let mut way = || {
            let jitter = random.below(conditions.jitter_micros + 1) as u64;
            Duration::from_micros(conditions.latency_micros + jitter)
        };
        let first = way();
        let second = way();
        let is_repeated = random.below(1_000) < conditions.repeated_permille;
        [Some(first), is_repeated.then_some(second)]
    }
}

impl Default for Links {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitioned_nodes_are_unreachable_until_healed() {
        let (mut links, mut random) = (Links::new(), Random::new(1));
        links.cut(vec![0, 0, 1]);
        assert_eq!(links.deliver(&mut random, 0, 2), [None, None]);
        assert!(links.deliver(&mut random, 0, 1)[0].is_some());
        links.heal();
        assert!(links.deliver(&mut random, 0, 2)[0].is_some());
    }

    #[test]
    fn loss_and_duplication_match_their_configured_rates() {
        let (mut links, mut random) = (Links::new(), Random::new(1));
        links.conditions.loss_permille = 200;
        links.conditions.repeated_permille = 100;
        let (mut lost, mut repeated) = (0, 0);
        for _ in 0..10_000 {
            let [first, second] = links.deliver(&mut random, 0, 1);
            lost += usize::from(first.is_none());
            repeated += usize::from(second.is_some());
        }
        assert!((1_850..2_150).contains(&lost), "{lost} lost of 10000");
        assert!(
            (700..900).contains(&repeated),
            "{repeated} repeated of 10000"
        );
    }
}
