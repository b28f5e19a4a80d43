//! Trial: nodes at work under faults, then a phase without faults, then checks of the promises.
//!
//! Promises:
//! - no acknowledged atom is ever lost;
//! - an atom that a live, connected node holds is found by every other within [`FIND_WITHIN`], also
//!   where hostile nodes advertise it;
//! - a long list that such a node holds arrives completely within ten seconds, regardless of
//!   streams that were closed, stalled or served wrong atoms before;
//! - a node that starts has a validated peer within [`JOIN_WITHIN`], regardless of forged
//!   handshakes;
//! - no node exceeds its bounds at any check;
//! - all activity settles after the faults stop: no fetch and no nonce search remains in progress;
//! - nodes that verify the chain agree on every block that is [`AGREED_DEPTH`] below the lowest of
//!   their heads, the chain grows, and all money in it is accounted for;
//! - the promises in [`promises`] hold, and every key that a node runs with makes blocks again
//!   within [`Settings::settle`], regardless of faults of its clock, its files and its machines;
//! - a node that prunes finds, after each start, its head, the state of the blocks above its horizon,
//!   all headers below, byte for byte, and what was pinned and is advertised; a node that joins late
//!   reaches the head, or says that its peers have pruned the block.
//!
//! [`promises`]: super::promises
//! [`JOIN_WITHIN`]: super::poison::JOIN_WITHIN
//!
//! [`AGREED_DEPTH`]: super::ledger::AGREED_DEPTH

mod checks;
mod pruning;
mod settings;

pub use pruning::PruneReport;
pub use settings::{Broken, ChainReport, Report, Settings};

use super::chain_files::{Key, Part};
use super::disk::Fault;
use super::event_queue::EventQueue;
use super::host::{ClockError, Host};
use super::ledger::{Ledger, Union, included_ids};
use super::links::LinkConditions;
use super::operations::{Operation, Scope, plan};
use super::pruning::REORG_DEPTHS;
use super::world::{Counts, World};
use super::{batch, long_list};
use astreum_core::atom::{Atom, AtomId};
use astreum_core::chain::fork_choice::{Fork, NEAR_BLOCKS};
use astreum_core::time::Instant;
use core::time::Duration;
use std::collections::BTreeSet;
use std::io::ErrorKind;

/// Time in which the nodes have to find each other again once the faults have stopped. An isolated
/// node tries its seeds, and asks its few peers for more, every 30 seconds.
pub const SETTLE: Duration = Duration::from_secs(90);
/// Maximum time of a single lookup when the network has no faults.
pub const FIND_WITHIN: Duration = Duration::from_secs(2);

/// Duration of a shift of validators that rest.
pub const SHIFT: Duration = Duration::from_secs(60);

/// Settling time if clocks were wrong, files lost or keys moved: a restarted validator listens, and
/// waits until its key has been quiet.
pub const SETTLE_AFTER_OPERATIONS: Duration = Duration::from_secs(120);
/// Maximum time in a long trial in which nodes catch up with the blocks of their absence.
const CATCH_UP: Duration = Duration::from_secs(4 * 3_600);
const CATCH_UP_STEP: Duration = Duration::from_secs(60);
/// Time in which the nodes have to agree once block production has ended.
const QUIET: Duration = Duration::from_secs(30);
/// Interval after which an operator retries an operation that the state of the network does not
/// permit.
const OPERATOR_RETRY: Duration = Duration::from_secs(1);
/// Number of other nodes that must hold a key's newest block before its machine may forget it.
const WITNESSES: usize = 2;
/// Maximum mean time per block in a half of the network.
const SLOWEST_BLOCK: Duration = Duration::from_secs(12);

/// Limit of cold storage where chains grow long, in bytes.
const LONG_COLD_LIMIT_BYTES: u64 = 256 << 20;

/// Minimum height of a growing chain after [`SETTLE`].
const MIN_HEIGHT: u64 = 20;
/// Maximum number of long lists.
const MAX_LISTS: usize = 8;
/// Maximum time of the lookup of a long list when the network has no faults.
const LIST_WITHIN: Duration = Duration::from_secs(10);
/// Maximum number of nodes that look up one node's atom at the end.
const MAX_SEEKERS: usize = 16;

struct Trial {
    settings: Settings,
    world: World,
    faults: u64,
    batches: u64,
    checks: u64,
    is_resting: bool,
    plan: EventQueue<Operation>,
    /// True if the network must stay whole, because only peers know what a key has signed.
    is_spared: bool,
    chains: ChainReport,
    lists: Vec<List>,
    /// Number of machines that have joined late.
    late: usize,
    /// Time at which the network was not partitioned last.
    whole_at: Instant,
    pruning: PruneReport,
}

/// Long list that a node has stored.
#[derive(Clone, Copy)]
struct List {
    owner: usize,
    head: AtomId,
}

/// Runs a trial.
///
/// # Errors
/// Returns [`Broken`] if a promise is broken.
pub fn run(settings: Settings) -> Result<Report, Broken> {
    run_with_progress(settings, |_, _| {})
}

/// Runs a trial, and reports the number of hours and the totals after each hour of virtual time.
///
/// # Errors
/// Returns [`Broken`] if a promise is broken.
pub fn run_with_progress(
    settings: Settings,
    report_progress: impl FnMut(u64, &Counts),
) -> Result<Report, Broken> {
    let mut trial = Trial {
        settings,
        world: World::new(settings.seed, settings.machines(), true),
        faults: 0,
        batches: 0,
        checks: 0,
        is_resting: false,
        plan: EventQueue::default(),
        is_spared: false,
        chains: ChainReport::default(),
        lists: Vec::new(),
        late: 0,
        whole_at: Instant::ZERO,
        pruning: PruneReport::default(),
    };
    trial.run(report_progress).map_err(|what| Broken {
        settings: Box::new(settings),
        what,
    })
}

impl Trial {
    fn run(&mut self, mut report_progress: impl FnMut(u64, &Counts)) -> Result<Report, String> {
        self.begin();
        let returning = self.run_partition()?;
        if self.settings.rest.is_zero() {
            self.plan_operations(Duration::ZERO, self.settings.trouble);
        }
        let (mut passed, mut hours) = (Duration::ZERO, 0);
        while passed < self.settings.trouble {
            let step = self.settings.pace.min(self.settings.trouble - passed);
            self.change_shift(passed);
            self.operate(passed);
            self.act();
            self.act_on_pruning(passed);
            self.world.run(step);
            passed += step;
            self.check_promises()?;
            self.check_bounds()?;
            self.check_kept(false)?;
            if passed.as_secs() / 3_600 > hours {
                hours = passed.as_secs() / 3_600;
                report_progress(hours, &self.world.counts);
            }
        }
        self.stop_faults();
        if !self.settings.rest.is_zero() {
            self.catch_up();
        }
        let faults_end = self.world.now();
        self.world.run(self.settings.settle());
        self.check_promises()?;
        self.check_bounds()?;
        self.check_kept(true)?;
        let (lookups, slowest) = self.check_found()?;
        self.check_lists()?;
        self.check_settled()?;
        let chain = self.check_chain()?;
        if self.settings.validators > 0 {
            self.check_production(faults_end)?;
            self.check_transactions(&returning)?;
            self.prune_all()?;
            self.check_pruning()?;
            self.check_late()?;
            self.check_agreement()?;
            let hosts = self.world.hosts();
            let refused = hosts.iter().map(|host| host.refusals.len() as u64);
            self.chains.refused_starts = refused.sum();
            self.chains.halts = self.world.promises.halts();
        }
        self.check_newcomer()?;
        Ok(Report {
            trace: self.world.trace(),
            checks: self.checks,
            faults: self.faults,
            counts: self.world.counts,
            lookups,
            slowest,
            chain,
            chains: self.chains,
            streams: self.world.stream_counts(),
            pruning: self.pruning,
        })
    }

    fn first_hostile(&self) -> usize {
        self.settings.nodes - self.settings.hostile
    }

    /// Runs until no node has a branch to sync, or [`CATCH_UP`] is over. A node that was away for
    /// hours has thousands of blocks to verify, at several round trips each.
    fn catch_up(&mut self) {
        let begin = self.world.now();
        let is_syncing = |host: &Host| {
            let chain = host.chain().filter(|_| !host.is_hostile);
            chain.is_some_and(|chain| !chain.sync().status().syncs.is_empty())
        };
        loop {
            self.world.run(CATCH_UP_STEP);
            let is_over = self.world.now().since(begin) >= CATCH_UP;
            if is_over || !self.world.hosts().iter().any(is_syncing) {
                return;
            }
        }
    }

    fn begin(&mut self) {
        self.world.links.conditions = self.conditions(0);
        if self.settings.validators > 0 {
            let mut ledger = Ledger::new(self.settings.validators);
            if self.settings.prune_blocks > 0 {
                ledger.max_reorg_depth = self.settings.prune_blocks / REORG_DEPTHS;
            }
            self.world.set_ledger(ledger);
        }
        for number in 0..self.settings.nodes {
            let is_hostile = number >= self.first_hostile();
            let skew = Duration::from_millis(self.world.random.below(900) as u64);
            let is_fast = self.world.random.below(2) == 0;
            // The first validator of a chain may have no seeds, because others use it as their
            // seed.
            let has_seeds = number > 0 || self.world.random.below(2) == 0;
            let kept_blocks = self.kept_blocks(number);
            let Settings {
                validators,
                rest,
                partition_blocks,
                prune_blocks,
                sabotage,
                ..
            } = self.settings;
            if let Some(host) = self.world.host(number) {
                (host.is_hostile, host.skew, host.is_fast) = (is_hostile, skew, is_fast);
                if !rest.is_zero() || partition_blocks > 0 {
                    host.cold_limit_bytes = LONG_COLD_LIMIT_BYTES;
                }
                host.sabotage = sabotage.filter(|_| number >= validators);
                host.key = (number < validators).then_some(number);
                host.has_seeds = has_seeds || validators == 0 || prune_blocks > 0;
                host.pruning.blocks = kept_blocks;
            }
            self.world.start(number);
            self.world.run(Duration::from_millis(50));
        }
        for number in 0..self.first_hostile() {
            self.put(number);
        }
        let owner = self.world.random.below(self.first_hostile());
        self.put_list(owner);
        // Others see nothing wrong with it before they use its streams.
        let liar = self.world.random.below(2 * self.settings.nodes);
        // What only a liar has does not arrive if streams are the only way.
        let lies = !self.settings.drops_fragments;
        if let Some(host) = self.world.host(liar).filter(|_| lies) {
            host.lies_by_stream = true;
        }
    }

    fn conditions(&self, loss_permille: usize) -> LinkConditions {
        LinkConditions {
            loss_permille: loss_permille.max(self.settings.loss_permille),
            max_datagram_bytes: match self.settings.drops_fragments {
                true => LinkConditions::UNFRAGMENTED_BYTES,
                false => usize::MAX,
            },
            ..LinkConditions::GOOD
        }
    }

    fn put(&mut self, number: usize) {
        self.batches += 1;
        let mut batch = batch(self.settings.seed.rotate_left(20) ^ self.batches);
        if self.settings.drops_fragments {
            let large = Atom::bytes(self.batches.to_le_bytes().repeat(400));
            batch.push((large.id(), large));
        }
        self.world.put(number, batch);
    }

    fn put_list(&mut self, owner: usize) {
        self.batches += 1;
        let (head, atoms) = long_list(self.settings.seed.rotate_left(20) ^ self.batches);
        self.world.put_list(owner, head, atoms);
        let host = self.world.hosts().get(owner);
        if host.is_some_and(|host| host.lists.contains(&head)) {
            self.lists.push(List { owner, head });
        }
    }

    fn look_up_random_list(&mut self, node: usize) {
        let at = self.world.random.below(self.lists.len());
        if let Some(list) = self.lists.get(at) {
            self.world.look_up_list(node, list.head);
        }
    }

    /// Performs a random action or injects a random fault.
    fn act(&mut self) {
        let honest = self.first_hostile();
        let node = self.world.random.below(honest);
        let what = self.world.random.below(18);
        self.faults += u64::from(what >= 7);
        match what {
            2 | 3 if self.settings.validators > 0 => self.world.pay(node),
            0..=3 => self.put(node),
            4 | 5 => self.look_up_random(node),
            6 => self.look_up_random_list(node),
            7 => self.world.cut_power(node),
            8 => self.cut_power_in_a_write(node),
            9 | 10 => self.restart_all(),
            11 | 13 if self.is_spared => {}
            // Only such a machine has the blocks that others have pruned.
            14 if self.is_archive(node) => {}
            11 => self.cut_network(),
            12 => self.world.links.heal(),
            13 => self.change_conditions(),
            14 => self.inject_disk_fault(node),
            16 => {
                if self.lists.len() < MAX_LISTS {
                    self.put_list(node);
                }
                self.look_up_random_list(node);
            }
            17 => {
                self.look_up_random_list(node);
                self.world.disturb_streams();
            }
            _ => self.slow_disk(node),
        }
        self.act_as_hostile_nodes();
    }

    /// Makes each hostile node advertise an object that it does not have, and forge handshakes.
    fn act_as_hostile_nodes(&mut self) {
        for hostile in self.first_hostile()..self.settings.nodes {
            let node = self.world.random.below(self.first_hostile());
            self.world.forge(node);
            let Some(host) = self.world.hosts().get(node) else {
                continue;
            };
            let ids: Vec<AtomId> = host.acknowledged.iter().copied().collect();
            let at = self.world.random.below(ids.len());
            if let Some(id) = ids.get(at) {
                self.world.poison(hostile, *id);
            }
        }
    }

    /// Looks up an atom that some node has.
    fn look_up_random(&mut self, node: usize) {
        let owner = self.world.random.below(self.first_hostile());
        let Some(host) = self.world.hosts().get(owner) else {
            return;
        };
        let ids: Vec<AtomId> = host.acknowledged.iter().copied().collect();
        let at = self.world.random.below(ids.len());
        if let Some(id) = ids.get(at) {
            self.world.look_up(node, *id);
        }
    }

    fn cut_power_in_a_write(&mut self, node: usize) {
        let later = self.world.random.below(12) as u64;
        let Some(host) = self.world.host(node).filter(|host| host.running.is_some()) else {
            return;
        };
        let at = host.disk.changes() + later;
        host.disk.set_fault(Some(Fault::PowerCut(at)));
        self.put(node);
        self.world.cut_power(node);
    }

    /// Starts or stops the validators according to their shifts, if they rest.
    fn change_shift(&mut self, passed: Duration) {
        let rest = self.settings.rest;
        if rest.is_zero() {
            return;
        }
        let is_resting = passed.as_secs() % (SHIFT + rest).as_secs().max(1) >= SHIFT.as_secs();
        if is_resting == self.is_resting {
            return;
        }
        self.is_resting = is_resting;
        for key in 0..self.settings.validators {
            let Some(number) = self.holder(key) else {
                continue;
            };
            if is_resting {
                self.world.cut_power(number);
            } else {
                self.world.start(number);
            }
        }
        if !is_resting {
            self.is_spared = false;
            self.plan_operations(passed, SHIFT);
        }
    }

    fn plan_operations(&mut self, from: Duration, duration: Duration) {
        let scope = Scope {
            validators: self.settings.validators,
            nodes: self.first_hostile(),
            count: self.settings.operations,
            from,
            duration,
        };
        if scope.validators > 0 {
            plan(&mut self.world.random, scope, &mut self.plan);
        }
    }

    /// Performs the operations that are planned until now.
    fn operate(&mut self, passed: Duration) {
        let now = Instant::ZERO + passed;
        while let Some((_, operation)) = self.plan.next_until(now) {
            match operation {
                Operation::SetClock(node, error) => self.set_clock(node, error),
                Operation::Lose(node, part) => self.lose(node, part),
                Operation::StartAll => self.restart_all(),
                Operation::MoveKey(key, to) => {
                    if !self.move_key(key, to) && !self.is_resting {
                        self.plan.plan(now + OPERATOR_RETRY, operation);
                    }
                }
            }
        }
    }

    fn set_clock(&mut self, node: usize, error: ClockError) {
        self.chains.clocks += u64::from(error != ClockError::None);
        if let Some(host) = self.world.host(node) {
            host.clock = error;
        }
    }

    fn lose(&mut self, node: usize, part: Part) {
        let Some(host) = self.world.hosts().get(node) else {
            return;
        };
        // The first validator of a chain knows the chain only from its files.
        let is_alone = part == Part::Disk && !host.has_seeds;
        let is_recoverable = match host.key.filter(|_| part.needs_peers()) {
            Some(key) => self.is_known(key, node),
            None => true,
        };
        if is_alone || !is_recoverable {
            self.chains.skipped += 1;
            return;
        }
        if host.key.is_some() && part.needs_peers() {
            self.is_spared = true;
            self.world.links.conditions = self.conditions(0);
        }
        self.chains.losses += 1;
        self.world.lose(node, part);
    }

    /// Returns the machine that is configured with a key.
    fn holder(&self, key: Key) -> Option<usize> {
        let mut hosts = self.world.hosts().iter();
        hosts
            .find(|host| host.key == Some(key))
            .map(|host| host.number)
    }

    /// Returns whether enough nodes besides this one hold the newest block that a key has
    /// published.
    fn is_known(&self, key: Key, besides: usize) -> bool {
        let Some((_, newest)) = self.world.promises.newest(key) else {
            return true;
        };
        let others = self.world.hosts().iter().filter(|host| {
            let store = host.running.as_ref().map(|running| &running.store);
            let has_it = store.is_some_and(|store| store.get(&newest.block).is_some());
            host.number != besides && !host.is_hostile && has_it
        });
        others.count() >= WITNESSES && !self.world.links.is_cut()
    }

    /// Moves a key, if the machine that receives it has verified the key's newest block, as the
    /// documented procedure requires: both have the same height.
    fn move_key(&mut self, key: Key, to: usize) -> bool {
        let Some(from) = self.holder(key) else {
            return true;
        };
        let Some(host) = self.world.hosts().get(to) else {
            return true;
        };
        if from == to || host.key.is_some() {
            return true;
        }
        let newest = self.world.promises.newest(key);
        let has_newest = host.running.as_ref().is_some_and(|running| {
            newest.is_none_or(|(_, block)| running.store.get(&block.block).is_some())
        });
        let head = host.chain().and_then(|chain| chain.context().head());
        let height = head.map_or(0, astreum_node::chain_service::Head::height);
        let has_newest = has_newest && newest.is_none_or(|(_, block)| block.height <= height);
        if !has_newest || self.world.links.is_cut() || !host.has_seeds {
            self.chains.skipped += 1;
            return false;
        }
        self.world.configure(from, None);
        self.world.configure(to, Some(key));
        self.chains.moves += 1;
        true
    }

    /// Cuts the network into two halves, lets both make blocks with transfers in them, and reunites
    /// it. Returns the transactions that are in the blocks of only one half.
    fn run_partition(&mut self) -> Result<BTreeSet<AtomId>, String> {
        let blocks = self.settings.partition_blocks;
        if blocks == 0 {
            return Ok(BTreeSet::new());
        }
        self.world.run(Duration::from_secs(30));
        let validators = self.settings.validators;
        let first = 1 + self.world.random.below(validators / 2);
        let part: Vec<u8> = (0..self.settings.nodes)
            .map(|node| match node < validators {
                true => u8::from(node >= first),
                false => u8::from(node % 2 == 0),
            })
            .collect();
        let begin = self.heights(&part);
        self.world.links.cut(part.clone());
        let mut left = SLOWEST_BLOCK * u32::try_from(blocks).unwrap_or(u32::MAX);
        let is_reached = |heights: [u64; 2]| {
            let mut grown = heights.iter().zip(begin);
            grown.all(|(now, begin)| *now >= begin + blocks)
        };
        while !is_reached(self.heights(&part)) {
            let heights = self.heights(&part);
            left = left.checked_sub(self.settings.pace).ok_or_else(|| {
                format!("the halves of the network advanced from {begin:?} to {heights:?} only")
            })?;
            let node = self.world.random.below(self.first_hostile());
            if self.world.random.below(3) == 0 {
                self.world.pay(node);
            }
            self.world.run(self.settings.pace);
            self.check_promises()?;
        }
        let [mut one, other] = self.included_in(&part)?;
        let both: BTreeSet<AtomId> = one.intersection(&other).copied().collect();
        one.extend(other);
        one.retain(|id| !both.contains(id));
        if one.is_empty() {
            return Err("the halves of the network included no transaction".to_owned());
        }
        self.faults += 1;
        Ok(one)
    }

    /// Returns the highest head in each half of the network.
    fn heights(&self, part: &[u8]) -> [u64; 2] {
        let highest = |half: u8| {
            let hosts = self.world.hosts().iter();
            let there = hosts.filter(|host| part.get(host.number) == Some(&half));
            let heads = there.filter_map(|host| host.chain()?.context().head());
            heads.map(astreum_node::chain_service::Head::height).max()
        };
        [0, 1].map(|half| highest(half).unwrap_or_default())
    }

    /// Returns the transactions in the blocks of each half of the network.
    fn included_in(&self, part: &[u8]) -> Result<[BTreeSet<AtomId>; 2], String> {
        let mut both = [BTreeSet::new(), BTreeSet::new()];
        for (half, included) in (0..).zip(&mut both) {
            let hosts = self.world.hosts().iter();
            let there = hosts.filter(|host| part.get(host.number) == Some(&half));
            let mut heads = there.filter_map(|host| host.chain()?.context().head());
            if let Some(head) = heads.next() {
                *included = included_ids(&self.all_stores(), head.id())?;
            }
        }
        Ok(both)
    }

    fn all_stores(&self) -> Union<'_> {
        let hosts = self.world.hosts().iter().filter(|host| !host.is_hostile);
        let running = hosts.filter_map(|host| host.running.as_ref());
        Union(running.map(|running| &running.store).collect())
    }

    fn restart_all(&mut self) {
        for number in 0..self.settings.nodes + self.late {
            let host = self.world.hosts().get(number);
            let has_key = host.is_some_and(|host| host.key.is_some());
            if !(self.is_resting && has_key) {
                self.world.start(number);
            }
        }
    }

    fn cut_network(&mut self) {
        let nodes = self.settings.nodes;
        let parts = 2 + self.world.random.below(2);
        let part = (0..nodes).map(|_| self.world.random.below(parts).to_le_bytes()[0]);
        let part = part.collect();
        self.world.links.cut(part);
    }

    fn change_conditions(&mut self) {
        let loss_permille = self.world.random.below(400);
        let repeated_permille = self.world.random.below(200);
        let jitter_micros = self.world.random.below(300_000);
        self.world.links.conditions = LinkConditions {
            repeated_permille,
            jitter_micros,
            ..self.conditions(loss_permille)
        };
    }

    fn inject_disk_fault(&mut self, node: usize) {
        let kinds = [
            ErrorKind::StorageFull,
            ErrorKind::Other,
            ErrorKind::ReadOnlyFilesystem,
        ];
        let kind = self.world.random.one_of(&kinds);
        let from = self.world.random.below(6) as u64;
        let is_once = self.world.random.below(2) == 0;
        if let Some(host) = self.world.host(node) {
            let at = host.disk.changes() + from;
            host.disk.set_fault(Some(if is_once {
                Fault::Change(at, kind)
            } else {
                Fault::ChangesFrom(at, kind)
            }));
        }
    }

    fn slow_disk(&mut self, node: usize) {
        let millis = self.world.random.below(400) as u64;
        if let Some(host) = self.world.host(node) {
            host.write_time = Duration::from_millis(millis);
        }
    }

    fn stop_faults(&mut self) {
        self.is_resting = false;
        self.world.links.heal();
        self.world.links.conditions = self.conditions(0);
        for number in 0..self.settings.nodes {
            if let Some(host) = self.world.host(number) {
                host.disk.set_fault(None);
                host.write_time = Duration::ZERO;
                host.clock = ClockError::None;
            }
        }
        self.restart_all();
        for number in 0..self.settings.nodes {
            let host = self.world.hosts().get(number);
            if host.is_some_and(|host| host.running.is_none()) {
                // The recovery failed: the operator removes the chain directory, and the node
                // fetches the chain from peers again.
                self.world.lose(number, Part::ChainDir);
                self.world.start(number);
                self.chains.given_up += 1;
            }
        }
    }
}

/// Returns the tips of near branches that are as long as the node's own.
fn equals(fork: &Fork) -> impl Iterator<Item = AtomId> {
    let ours = fork.ours.as_ref().map(|side| side.blocks);
    let ours = ours.filter(|blocks| *blocks <= NEAR_BLOCKS);
    let others = fork.others.iter();
    let equal = others.filter(move |side| Some(side.blocks) == ours);
    equal.map(|side| side.tip)
}
