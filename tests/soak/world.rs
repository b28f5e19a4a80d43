//! Participants of the soak network, their setup, and the shared state of the threads.

use crate::catalogue::Catalogue;
use crate::ledger::Ledger;
use crate::measured::Measured;
use crate::node::{Node, Role};
use crate::references::ReferenceSlot;
use crate::{Arguments, ledger};
use astreum_node::rpc::request;
use astreum_tests::random::Random;
use astreum_tests::testkit::wait::wait_within;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// Maximum time until all nodes know the chain and each other.
const SETTLING_TIMEOUT: Duration = Duration::from_secs(120);
/// Time of use after which other nodes are expected to find a node.
const CONNECTED: Duration = Duration::from_secs(5);

/// Shared state of all threads.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) references: Vec<ReferenceSlot>,
    pub(crate) measured: Measured,
    pub(crate) catalogue: Catalogue,
    pub(crate) ledger: Ledger,
    pub(crate) seed: u64,
    pub(crate) deadline: Instant,
    stop: Arc<AtomicBool>,
}

impl World {
    /// Starts all nodes of ours and waits until they form a network with a chain.
    pub(crate) fn start(
        arguments: &Arguments,
        program: &Path,
        homes: &Path,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, String> {
        let mut random = Random::new(arguments.seed);
        let roles = roles(arguments.nodes.into());
        let mut nodes = Vec::new();
        for (number, role) in roles.into_iter().enumerate() {
            let home = homes.join(number.to_string());
            let validation = role.validates().then(|| ledger::validator_secret(number));
            let relay = random_key(&mut random);
            nodes.push(Node::new(program, home, number, role, validation, relay)?);
        }
        ledger::found(&nodes)?;
        let mut seeds = Vec::new();
        for node in &mut nodes {
            node.set_seeds(seeds.clone());
            node.start()?;
            // The first nodes that run from the beginning to the end, so that a seed is always
            // available.
            if matches!(node.role, Role::Validator | Role::Steady) && seeds.len() < 3 {
                seeds.push(node.address());
            }
        }
        let mut world = Self {
            references: (0..arguments.references)
                .map(|_| ReferenceSlot::default())
                .collect(),
            nodes,
            measured: Measured::new(),
            catalogue: Catalogue::default(),
            ledger: Ledger::default(),
            seed: arguments.seed,
            deadline: Instant::now() + SETTLING_TIMEOUT * 2,
            stop,
        };
        world.settle()?;
        world.measured = Measured::new();
        world.deadline = Instant::now() + arguments.time();
        for node in &world.nodes {
            node.set_used(true);
        }
        Ok(world)
    }

    fn settle(&self) -> Result<(), String> {
        for node in &self.nodes {
            self.wait_until_joined(node, SETTLING_TIMEOUT)?;
        }
        Ok(())
    }

    /// Waits until a node has the head of the chain and knows half of the nodes.
    pub(crate) fn wait_until_joined(&self, node: &Node, timeout: Duration) -> Result<(), String> {
        let wanted = self.nodes.len() / 2;
        wait_within(timeout, "the node finds peers and the chain", || {
            if self.is_over() {
                return Ok(Some(()));
            }
            let Ok(status) = node.request(&request::Status {}) else {
                return Ok(None);
            };
            let Ok(peers) = node.request(&request::Peers {}) else {
                return Ok(None);
            };
            let proven = peers.iter().filter(|peer| peer.is_validated).count();
            let height = status.chain.height.unwrap_or_default();
            Ok((proven >= wanted && height > 0 && !status.chain.behind).then_some(()))
        })
        .map_err(|error| format!("node {}: {error}", node.number))
    }

    /// Returns a random node of ours that has been in use for a while, with the epoch of its use.
    pub(crate) fn random_node(&self, random: &mut Random) -> Option<(&Node, u64)> {
        (0..self.nodes.len() * 2).find_map(|_| {
            let node = self.nodes.get(random.below(self.nodes.len()))?;
            Some((node, node.used_for(CONNECTED)?))
        })
    }

    /// Returns this node and the epoch of its use, if it has been in use for a while.
    pub(crate) fn connected(&self, number: usize) -> Option<(&Node, u64)> {
        let node = self.nodes.get(number)?;
        Some((node, node.used_for(CONNECTED)?))
    }

    /// Returns the validator that is never restarted.
    pub(crate) fn validator(&self) -> Result<&Node, String> {
        let mut nodes = self.nodes.iter();
        let found = nodes.find(|node| node.role == Role::Validator);
        found.ok_or_else(|| "no validator".to_owned())
    }

    /// Returns whether the time is over or the run was interrupted.
    pub(crate) fn is_over(&self) -> bool {
        self.is_interrupted() || Instant::now() >= self.deadline
    }

    /// Returns whether the run was interrupted.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps until `then` or until the run is over. Returns whether to continue.
    pub(crate) fn sleep_until(&self, then: Instant) -> bool {
        while !self.is_over() {
            let rest = then.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return true;
            }
            thread::sleep(rest.min(Duration::from_millis(100)));
        }
        false
    }

    /// Returns a separate random sequence for each thread.
    pub(crate) fn random(&self, thread: u64) -> Random {
        let mut random = Random::new(self.seed ^ (thread << 32));
        Random::new(random.next())
    }
}

/// Returns the role of each node: validators first, then a third that runs throughout; the rest is
/// restarted.
fn roles(nodes: usize) -> Vec<Role> {
    (0..nodes)
        .map(|number| match number {
            0 => Role::Validator,
            1 if nodes >= 8 => Role::RestartedValidator,
            number if number <= nodes.div_ceil(3) => Role::Steady,
            _ => Role::Restarted,
        })
        .collect()
}

fn random_key(random: &mut Random) -> [u8; 32] {
    let mut key = [0; 32];
    for part in key.chunks_mut(8) {
        part.copy_from_slice(&random.next().to_le_bytes());
    }
    key
}
