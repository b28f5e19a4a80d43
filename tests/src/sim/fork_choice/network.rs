//! Validators that receive each other's blocks late, or not at all.

use super::blocks::{Blocks, Election, Number, Validator};
use super::rule::{Node, Rule};
use crate::random::Random;
use astreum_core::chain::SLOT_SECONDS;
use astreum_core::chain::confirmations::Confirmation;
use core::cmp::Reverse;
use std::collections::BinaryHeap;

const SLOT_MS: u64 = SLOT_SECONDS * 1_000;
/// Slots between two rounds in which nodes send their heads to some others.
const GOSSIP_SLOTS: u64 = 10;
/// Ids that an equivocating validator tries where that gives it the next slot.
const GRIND_TRIES: u64 = 200;
/// Maximum number of blocks above the last common one in a network without a split.
const HEALED_BLOCKS: u64 = 3;
/// Consecutive slots without a split after which a network counts as healed.
const HEALED_SLOTS: u64 = 5;

/// Partition of the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// First slot of the partition.
    pub from: u64,
    /// First slot after the partition.
    pub to: u64,
    /// Side of each validator.
    pub sides: Vec<u8>,
}

/// Attack of a validator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attack {
    /// Sees all heads at once, makes blocks on two branches in each of its slots, and sends each to
    /// one half of the network first, to keep the halves apart.
    Equivocate,
    /// Builds beside the last blocks of others wherever the rule lets its branch win.
    Orphan,
}

/// Settings of a simulation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Seed of all random choices.
    pub seed: u64,
    /// Rule of the validators.
    pub rule: Rule,
    /// Seed source of the leader election.
    pub election: Election,
    /// Stakes of the validators.
    pub stakes: Vec<u64>,
    /// Followers without stake that use the reference's rule.
    pub reference_followers: usize,
    /// Mean of the exponentially distributed latency, in milliseconds.
    pub latency_ms: u64,
    /// Slots that validators miss, per thousand.
    pub missed_permille: u64,
    /// Slots of the run.
    pub slots: u64,
    /// Partition, if any.
    pub partition: Option<Partition>,
    /// Validator that stops, and the slot in which it does.
    pub gone: Option<(Validator, u64)>,
    /// Validator that attacks.
    pub attack: Option<(Validator, Attack)>,
    /// True if the run ends once a partition has healed.
    pub stops_when_healed: bool,
}

impl Settings {
    /// Returns the settings of a network without faults.
    #[must_use]
    pub fn new(rule: Rule, stakes: Vec<u64>) -> Self {
        Self {
            seed: 1,
            rule,
            election: Election::Epochs,
            stakes,
            reference_followers: 0,
            latency_ms: 300,
            missed_permille: 0,
            slots: 4_000,
            partition: None,
            gone: None,
            attack: None,
            stops_when_healed: false,
        }
    }
}

/// Result of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Slots outside of the partition.
    pub slots: u64,
    /// Slots among them in which honest heads were more than 1, 3 and 6 blocks above the last
    /// common block.
    pub split: [u64; 3],
    /// Maximum number of blocks of a head above the last common one.
    pub deepest_split: u64,
    /// Blocks that each reorganization undid.
    pub undone: Vec<u64>,
    /// Blocks that were made.
    pub blocks: u64,
    /// Height of the first validator's head at the end.
    pub height: u64,
    /// Blocks of each validator in the chain at the end.
    pub produced: Vec<u64>,
    /// Slots from the end of the partition until the network had one chain.
    pub healed_after: Option<u64>,
    /// Reorganizations of validators that undid a block that was safe.
    pub left_safe: u64,
    /// Reorganizations of validators that undid a block that was settled.
    pub left_settled: u64,
    /// Reorganizations of reference followers that undid a block that was safe.
    pub followers_left_safe: u64,
    /// Decisions that required an operator.
    pub operator_needed: u64,
}

impl Report {
    /// Returns the maximum number of blocks that a reorganization undid.
    #[must_use]
    pub fn deepest_reorganization(&self) -> u64 {
        self.undone.iter().copied().max().unwrap_or(0)
    }

    /// Returns the number of reorganizations that undid at least `blocks` blocks.
    #[must_use]
    pub fn reorganizations(&self, blocks: u64) -> usize {
        self.undone
            .iter()
            .filter(|undone| **undone >= blocks)
            .count()
    }

    /// Returns the share of the chain that a validator made, in permille.
    #[must_use]
    pub fn share_permille(&self, validator: Validator) -> u64 {
        self.produced[validator] * 1_000 / self.height.max(1)
    }
}

/// Runs a simulation.
#[must_use]
pub fn run(settings: &Settings) -> Report {
    let mut network = Network::new(settings);
    for slot in 1..=settings.slots {
        network.step(slot);
        if settings.stops_when_healed && network.report.healed_after.is_some() {
            break;
        }
    }
    network.finish()
}

struct Network<'a> {
    settings: &'a Settings,
    random: Random,
    blocks: Blocks,
    nodes: Vec<Node>,
    /// Deliveries as (time, node, block), the earliest first.
    deliveries: BinaryHeap<Reverse<(u64, usize, Number)>>,
    /// Branches of an equivocating validator.
    tips: [Number; 2],
    healthy_slots: u64,
    report: Report,
}

impl<'a> Network<'a> {
    fn new(settings: &'a Settings) -> Self {
        let mut random = Random::new(settings.seed);
        let mut stakes = settings.stakes.clone();
        stakes.resize(stakes.len() + settings.reference_followers, 0);
        let blocks = Blocks::new(&stakes, settings.election, &mut random);
        let rule = |node: usize| {
            if node < settings.stakes.len() {
                settings.rule
            } else {
                Rule::Reference
            }
        };
        let nodes = (0..stakes.len()).map(|node| Node::new(rule(node), &blocks));
        Self {
            settings,
            random,
            nodes: nodes.collect(),
            blocks,
            deliveries: BinaryHeap::new(),
            tips: [0; 2],
            healthy_slots: 0,
            report: Report::default(),
        }
    }

    fn side(&self, node: usize) -> u8 {
        let sides = self.settings.partition.as_ref().map(|it| &it.sides);
        // Followers are on both sides.
        let follower = u8::try_from(node % 2).unwrap_or(0);
        sides.map_or(0, |sides| sides.get(node).copied().unwrap_or(follower))
    }

    fn is_split(&self, slot: u64) -> bool {
        let partition = self.settings.partition.as_ref();
        partition.is_some_and(|it| (it.from..it.to).contains(&slot))
    }

    fn is_attacker(&self, node: usize) -> bool {
        let attack = self.settings.attack;
        attack.is_some_and(|(attacker, attack)| attacker == node && attack == Attack::Equivocate)
    }

    fn send(&mut self, now: u64, to: usize, block: Number) {
        let at = now + exponential(self.settings.latency_ms, &mut self.random);
        self.deliveries.push(Reverse((at, to, block)));
    }

    fn broadcast(&mut self, now: u64, from: usize, block: Number) {
        let is_split = self.is_split(now / SLOT_MS);
        for node in 0..self.nodes.len() {
            if node != from && (!is_split || self.side(node) == self.side(from)) {
                self.send(now, node, block);
            }
        }
    }

    fn step(&mut self, slot: u64) {
        let now = slot * SLOT_MS;
        while let Some(Reverse((at, node, block))) = self.deliveries.peek().copied()
            && at <= now
        {
            self.deliveries.pop();
            self.deliver(slot, node, block);
        }
        self.gossip(slot, now);
        for validator in 0..self.settings.stakes.len() {
            let gone = self.settings.gone;
            if gone.is_some_and(|(gone, at)| gone == validator && slot >= at) {
                continue;
            }
            match self.settings.attack {
                Some((attacker, Attack::Equivocate)) if attacker == validator => {
                    self.equivocate(validator, slot, now);
                }
                Some((attacker, Attack::Orphan)) if attacker == validator => {
                    if !self.orphan(validator, slot, now) {
                        self.produce(validator, slot, now);
                    }
                }
                _ => self.produce(validator, slot, now),
            }
        }
        self.observe(slot);
    }

    fn deliver(&mut self, slot: u64, node: usize, block: Number) {
        let Some(left) = self.nodes[node].receive(&self.blocks, block, slot) else {
            return;
        };
        let pair = self.blocks.pair(left, self.nodes[node].head());
        self.report.undone.push(pair.ours.blocks);
        if self.is_attacker(node) {
            return;
        }
        let total = self.blocks.total().into();
        let slots = slot - self.blocks.slot(pair.fork);
        let state = Confirmation::new(pair.ours.blocks, &pair.ours.stake, &total, slots);
        let is_follower = node >= self.settings.stakes.len();
        match state {
            Confirmation::Included { .. } => (),
            _ if is_follower => self.report.followers_left_safe += 1,
            Confirmation::Safe => self.report.left_safe += 1,
            Confirmation::Settled => {
                self.report.left_safe += 1;
                self.report.left_settled += 1;
            }
        }
    }

    /// Sends heads to all nodes at the end of a partition, and to some others at intervals.
    fn gossip(&mut self, slot: u64, now: u64) {
        let count = self.nodes.len();
        let partition = self.settings.partition.as_ref();
        if partition.is_some_and(|partition| partition.to == slot) {
            for from in 0..count {
                for to in 0..count {
                    if self.side(from) != self.side(to) {
                        self.send(now, to, self.nodes[from].head());
                    }
                }
            }
        }
        if slot.is_multiple_of(GOSSIP_SLOTS) && !self.is_split(slot) {
            for from in 0..count {
                let first = self.random.below(count);
                for to in [first, (first + 1) % count, (first + 7) % count] {
                    if self.nodes[from].head() != self.nodes[to].head() {
                        self.send(now, to, self.nodes[from].head());
                    }
                }
            }
        }
    }

    fn produce(&mut self, validator: Validator, slot: u64, now: u64) {
        let head = self.nodes[validator].head();
        if self.blocks.slot(head) >= slot || self.blocks.winner(head, slot) != validator {
            return;
        }
        if self.random.next() % 1_000 < self.settings.missed_permille {
            return;
        }
        let block = self.blocks.add(head, slot, validator, &mut self.random);
        self.nodes[validator].set_head(&self.blocks, block);
        self.broadcast(now, validator, block);
    }

    fn equivocate(&mut self, validator: Validator, slot: u64, now: u64) {
        let mut heads: Vec<Number> = self.nodes.iter().map(Node::head).collect();
        heads.extend(self.tips);
        heads.sort_by_key(|head| Reverse(self.blocks.height(*head)));
        let best = heads[0];
        let other = heads.iter().copied().find(|head| {
            let fork = self.blocks.fork(best, *head);
            fork != *head && fork != best
        });
        self.tips = [best, other.unwrap_or_else(|| self.blocks.parent(best))];
        for half in 0..self.tips.len() {
            let tip = self.tips[half];
            if self.blocks.slot(tip) >= slot || self.blocks.winner(tip, slot) != validator {
                continue;
            }
            let random = &mut self.random;
            let block = self.blocks.grind(tip, slot, validator, GRIND_TRIES, random);
            self.tips[half] = block;
            for node in 0..self.nodes.len() {
                let delay = if node % 2 == half { 200 } else { 3_000 };
                self.deliveries.push(Reverse((now + delay, node, block)));
            }
        }
    }

    /// Builds on an ancestor of the head if the rule then prefers the new branch.
    fn orphan(&mut self, validator: Validator, slot: u64, now: u64) -> bool {
        let head = self.nodes[validator].head();
        let mut ancestors = vec![];
        let mut at = self.blocks.parent(head);
        while ancestors.len() < 8 && at != 0 {
            ancestors.push(at);
            at = self.blocks.parent(at);
        }
        for ancestor in ancestors.into_iter().rev() {
            let gap = slot - self.blocks.slot(ancestor);
            if gap > 12 || self.blocks.winner(ancestor, slot) != validator {
                continue;
            }
            let block = self.blocks.add(ancestor, slot, validator, &mut self.random);
            if self.settings.rule.replaces(&self.blocks, head, block, slot) {
                self.nodes[validator].set_head(&self.blocks, block);
                self.broadcast(now, validator, block);
                return true;
            }
            self.blocks.take_back();
        }
        false
    }

    fn observe(&mut self, slot: u64) {
        let honest = (0..self.settings.stakes.len()).filter(|node| !self.is_attacker(*node));
        let heads: Vec<Number> = honest.map(|node| self.nodes[node].head()).collect();
        let common = heads.iter().copied().reduce(|a, b| self.blocks.fork(a, b));
        let common = self.blocks.height(common.unwrap_or(0));
        let heights = heads.iter().map(|head| self.blocks.height(*head));
        let split = heights.max().unwrap_or(0).saturating_sub(common);
        if !self.is_split(slot) {
            self.report.slots += 1;
            for (count, limit) in self.report.split.iter_mut().zip([1, 3, 6]) {
                *count += u64::from(split > limit);
            }
            self.report.deepest_split = self.report.deepest_split.max(split);
        }
        if let Some(partition) = &self.settings.partition
            && slot >= partition.to
            && self.report.healed_after.is_none()
        {
            self.healthy_slots = if split <= HEALED_BLOCKS {
                self.healthy_slots + 1
            } else {
                0
            };
            if self.healthy_slots == HEALED_SLOTS {
                let since = slot + 1 - HEALED_SLOTS;
                self.report.healed_after = Some(since - partition.to);
            }
        }
    }

    fn finish(mut self) -> Report {
        let head = self.nodes[0].head();
        self.report.blocks = self.blocks.count() as u64 - 1;
        self.report.height = self.blocks.height(head);
        self.report.produced = vec![0; self.nodes.len()];
        let mut at = head;
        while at != 0 {
            self.report.produced[self.blocks.producer(at)] += 1;
            at = self.blocks.parent(at);
        }
        let needed = self.nodes.iter().map(|node| node.operator_needed);
        self.report.operator_needed = needed.sum();
        self.report
    }
}

/// Returns an exponentially distributed time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a latency is positive and short"
)]
fn exponential(mean_ms: u64, random: &mut Random) -> u64 {
    let uniform = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
    (-(mean_ms as f64) * (1.0 - uniform).ln()) as u64
}
