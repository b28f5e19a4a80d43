//! One trial: nodes at work while things go wrong, then peace, then what has to hold.
//!
//! Promises:
//! - no acknowledged atom is ever lost;
//! - an atom that a live, connected node holds is found by every other within [`FIND_WITHIN`];
//! - no node exceeds its bounds, at any time it is looked at;
//! - everything settles after the faults stop: no fetch and no search is left under way;
//! - nodes that verify the chain agree on every block that is [`AGREED_DEPTH`] below the lowest of
//!   their heads, the chain goes on, and all money in it is accounted for.

use super::batch;
use super::disk::Fault;
use super::ledger::{AGREED_DEPTH, Ledger, Union, ancestor};
use super::links::Weather;
use super::world::{Counts, World};
use crate::random::Random;
use astreum_core::atom::AtomId;
use core::fmt;
use core::time::Duration;
use std::io::ErrorKind;

/// How long the nodes have, once the faults have stopped, to find each other again: a node that was
/// alone tries its seeds, and asks what few peers it has for more, every 30 seconds.
pub const SETTLE: Duration = Duration::from_secs(90);
/// Within this an atom is found, asked for once, when nothing is wrong with the network.
pub const FIND_WITHIN: Duration = Duration::from_secs(2);

/// How long validators are at work where they rest.
pub const SHIFT: Duration = Duration::from_secs(60);

/// A chain that goes on is longer than this in [`SETTLE`].
const MIN_HEIGHT: u64 = 20;
/// Who looks for one node's atom at the end, at most.
const MAX_SEEKERS: usize = 16;

/// What a trial is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Chooses everything else.
    pub seed: u64,
    /// Machines in all.
    pub nodes: usize,
    /// How many of them do harm.
    pub hostile: usize,
    /// How many of them make the blocks of a chain that all honest ones verify; 0 for no chain.
    pub validators: usize,
    /// How long things go wrong.
    pub trouble: Duration,
    /// Between two things that somebody does or that go wrong.
    pub pace: Duration,
    /// Datagrams lost of a thousand, all the time.
    pub loss_permille: usize,
    /// How long the validators' machines are off between two shifts of [`SHIFT`], so that a chain
    /// takes part in a long trial; zero for validators that are always there.
    pub rest: Duration,
}

impl Settings {
    /// A short trial of five to eight nodes, one of which may be hostile.
    #[must_use]
    pub fn short(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let hostile = random.below(2);
        Self {
            seed,
            nodes: 5 + random.below(3) + hostile,
            hostile,
            validators: if seed.is_multiple_of(8) { 2 } else { 0 },
            trouble: Duration::from_secs(20),
            pace: Duration::from_millis(500),
            loss_permille: 0,
            rest: Duration::ZERO,
        }
    }
}

/// What went well, in figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// The hash over everything that happened.
    pub trace: u64,
    /// Things that went wrong on purpose.
    pub faults: u64,
    /// Times that a node was looked at while it had to hold what was promised.
    pub checks: u64,
    /// Totals of the world.
    pub counts: Counts,
    /// Lookups made at the end; all of them found what they looked for.
    pub lookups: u64,
    /// The longest of them.
    pub slowest: Duration,
    /// Blocks of the chain that all agree on, and transactions in it.
    pub chain: (u64, u64),
}

/// A promise that was broken, and how to see it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The trial.
    pub settings: Settings,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\nrun it again: cargo run -p astreum-tests --bin simulate -- --seed {} --nodes {} \
             --hostile {} --validators {} --seconds {} --pace-ms {} --loss {} --rest {}",
            self.what,
            self.settings.seed,
            self.settings.nodes,
            self.settings.hostile,
            self.settings.validators,
            self.settings.trouble.as_secs(),
            self.settings.pace.as_millis(),
            self.settings.loss_permille,
            self.settings.rest.as_secs(),
        )
    }
}

struct Trial {
    settings: Settings,
    world: World,
    faults: u64,
    batches: u64,
    checks: u64,
    is_resting: bool,
}

/// Runs a trial.
///
/// # Errors
/// When a promise is broken.
pub fn run(settings: Settings) -> Result<Report, Broken> {
    run_and_tell(settings, |_, _| {})
}

/// Runs a trial, and tells after each hour of virtual time how many there were, and the totals.
///
/// # Errors
/// When a promise is broken.
pub fn run_and_tell(settings: Settings, tell: impl FnMut(u64, &Counts)) -> Result<Report, Broken> {
    let mut trial = Trial {
        settings,
        world: World::new(settings.seed, settings.nodes, true),
        faults: 0,
        batches: 0,
        checks: 0,
        is_resting: false,
    };
    trial.run(tell).map_err(|what| Broken { settings, what })
}

impl Trial {
    fn run(&mut self, mut tell: impl FnMut(u64, &Counts)) -> Result<Report, String> {
        self.begin();
        let (mut passed, mut hours) = (Duration::ZERO, 0);
        while passed < self.settings.trouble {
            let step = self.settings.pace.min(self.settings.trouble - passed);
            self.change_shift(passed);
            self.act();
            self.world.run(step);
            passed += step;
            self.check_bounds()?;
            self.check_kept(false)?;
            if passed.as_secs() / 3_600 > hours {
                hours = passed.as_secs() / 3_600;
                tell(hours, &self.world.counts);
            }
        }
        self.make_peace();
        self.world.run(SETTLE);
        self.check_bounds()?;
        self.check_kept(true)?;
        let (lookups, slowest) = self.check_found()?;
        self.check_settled()?;
        let chain = self.check_chain()?;
        Ok(Report {
            trace: self.world.trace(),
            checks: self.checks,
            faults: self.faults,
            counts: self.world.counts,
            lookups,
            slowest,
            chain,
        })
    }

    fn first_hostile(&self) -> usize {
        self.settings.nodes - self.settings.hostile
    }

    fn begin(&mut self) {
        self.world.links.weather = self.weather(0);
        if self.settings.validators > 0 {
            self.world.set_ledger(Ledger::new(self.settings.validators));
        }
        for number in 0..self.settings.nodes {
            let is_hostile = number >= self.first_hostile();
            let skew = Duration::from_millis(self.world.random.below(900) as u64);
            let is_fast = self.world.random.below(2) == 0;
            if let Some(host) = self.world.host(number) {
                (host.is_hostile, host.skew, host.is_fast) = (is_hostile, skew, is_fast);
            }
            self.world.start(number);
            self.world.run(Duration::from_millis(50));
        }
        for number in 0..self.first_hostile() {
            self.put(number);
        }
    }

    fn weather(&self, loss_permille: usize) -> Weather {
        Weather {
            loss_permille: loss_permille.max(self.settings.loss_permille),
            ..Weather::CALM
        }
    }

    fn put(&mut self, number: usize) {
        self.batches += 1;
        let batch = batch(self.settings.seed.rotate_left(20) ^ self.batches);
        self.world.put(number, batch);
    }

    /// Somebody does something, or something goes wrong.
    fn act(&mut self) {
        let honest = self.first_hostile();
        let who = self.world.random.below(honest);
        let what = self.world.random.below(16);
        self.faults += u64::from(what >= 7);
        match what {
            2 | 3 if self.settings.validators > 0 => self.world.pay(who),
            0..=3 => self.put(who),
            4..=6 => self.look_around(who),
            7 => self.world.cut_power(who),
            8 => self.cut_power_in_a_write(who),
            9 | 10 => self.restart_all(),
            11 => self.cut_network(),
            12 => self.world.links.heal(),
            13 => self.change_weather(),
            14 => self.trouble_disk(who),
            _ => self.slow_disk(who),
        }
    }

    /// Looks for something that somebody has.
    fn look_around(&mut self, who: usize) {
        let whose = self.world.random.below(self.first_hostile());
        let Some(host) = self.world.hosts().get(whose) else {
            return;
        };
        let ids: Vec<AtomId> = host.acknowledged.iter().copied().collect();
        let at = self.world.random.below(ids.len());
        if let Some(id) = ids.get(at) {
            self.world.look_up(who, *id);
        }
    }

    fn cut_power_in_a_write(&mut self, who: usize) {
        let later = self.world.random.below(12) as u64;
        let Some(host) = self.world.host(who).filter(|host| host.running.is_some()) else {
            return;
        };
        let at = host.disk.changes() + later;
        host.disk.set_fault(Some(Fault::PowerCut(at)));
        self.put(who);
        self.world.cut_power(who);
    }

    /// Sends the validators to rest or back to work, where they rest.
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
        for number in 0..self.settings.validators {
            if is_resting {
                self.world.cut_power(number);
            } else {
                self.world.start(number);
            }
        }
    }

    fn restart_all(&mut self) {
        let first = if self.is_resting {
            self.settings.validators
        } else {
            0
        };
        for number in first..self.settings.nodes {
            self.world.start(number);
        }
    }

    fn cut_network(&mut self) {
        let nodes = self.settings.nodes;
        let parts = 2 + self.world.random.below(2);
        let part = (0..nodes).map(|_| self.world.random.below(parts).to_le_bytes()[0]);
        let part = part.collect();
        self.world.links.cut(part);
    }

    fn change_weather(&mut self) {
        let loss_permille = self.world.random.below(400);
        let repeated_permille = self.world.random.below(200);
        let jitter_micros = self.world.random.below(300_000);
        self.world.links.weather = Weather {
            repeated_permille,
            jitter_micros,
            ..self.weather(loss_permille)
        };
    }

    fn trouble_disk(&mut self, who: usize) {
        let kinds = [
            ErrorKind::StorageFull,
            ErrorKind::Other,
            ErrorKind::ReadOnlyFilesystem,
        ];
        let kind = self.world.random.one_of(&kinds);
        let from = self.world.random.below(6) as u64;
        let is_once = self.world.random.below(2) == 0;
        if let Some(host) = self.world.host(who) {
            let at = host.disk.changes() + from;
            host.disk.set_fault(Some(if is_once {
                Fault::Change(at, kind)
            } else {
                Fault::ChangesFrom(at, kind)
            }));
        }
    }

    fn slow_disk(&mut self, who: usize) {
        let millis = self.world.random.below(400) as u64;
        if let Some(host) = self.world.host(who) {
            host.write_time = Duration::from_millis(millis);
        }
    }

    fn make_peace(&mut self) {
        self.is_resting = false;
        self.world.links.heal();
        self.world.links.weather = self.weather(0);
        for number in 0..self.settings.nodes {
            if let Some(host) = self.world.host(number) {
                host.disk.set_fault(None);
                host.write_time = Duration::ZERO;
            }
        }
        self.restart_all();
    }

    fn check_bounds(&mut self) -> Result<(), String> {
        self.checks += self.settings.nodes as u64;
        self.world.exceeded().map_or(Ok(()), Err)
    }

    /// Whether everything acknowledged is there, at nodes that have started since the last look or,
    /// if `all`, at every node.
    fn check_kept(&mut self, all: bool) -> Result<(), String> {
        for number in 0..self.settings.nodes {
            let Some(host) = self.world.host(number) else {
                continue;
            };
            if host.is_checked && !all {
                continue;
            }
            self.checks += 1;
            if let Some(id) = host.lost() {
                return Err(format!("node {number} lost the acknowledged atom {id}"));
            }
            host.is_checked = host.running.is_some();
        }
        Ok(())
    }

    /// One atom of every honest node, any one, is looked for by others.
    fn check_found(&mut self) -> Result<(u64, Duration), String> {
        let honest = self.first_hostile();
        let mut wanted = 0;
        self.world.found.clear();
        for owner in 0..honest {
            let Some(host) = self.world.hosts().get(owner) else {
                continue;
            };
            let count = host.acknowledged.len();
            let any = self.world.random.below(count);
            let host = self.world.hosts().get(owner);
            let Some(id) = host.and_then(|host| host.acknowledged.iter().nth(any).copied()) else {
                continue;
            };
            // In a large network, a few others for each.
            for step in 1..honest.min(MAX_SEEKERS) {
                self.world.look_up((owner + step) % honest, id);
                wanted += 1;
            }
        }
        self.world.run(FIND_WITHIN * 4);
        if self.world.found.len() != wanted {
            let ended = self.world.found.len();
            return Err(format!("{ended} of {wanted} lookups have ended"));
        }
        let mut slowest = Duration::ZERO;
        for found in &self.world.found {
            match found.took {
                Some(took) if took <= FIND_WITHIN => slowest = slowest.max(took),
                Some(took) => {
                    return Err(format!(
                        "node {} found {} after {took:?}",
                        found.node, found.id
                    ));
                }
                None => {
                    return Err(format!(
                        "node {} does not find {}, which a connected node has",
                        found.node, found.id
                    ));
                }
            }
        }
        Ok((wanted as u64, slowest))
    }

    /// The height of the block that all agree on, and the transactions in the chain.
    fn check_chain(&self) -> Result<(u64, u64), String> {
        let Some(ledger) = self.world.ledger() else {
            return Ok((0, 0));
        };
        let mut nodes = Vec::new();
        for host in self.world.hosts().iter().filter(|host| !host.is_hostile) {
            let Some(running) = host.running.as_ref() else {
                continue;
            };
            let following = running.following.as_ref();
            let head = following.and_then(|following| following.chain().context().head());
            let head = head.ok_or_else(|| format!("node {} has no head", host.number))?;
            nodes.push((host.number, head.id(), head.height(), &running.store));
        }
        let lowest = nodes
            .iter()
            .map(|(.., height, _)| *height)
            .min()
            .unwrap_or_default();
        let highest = nodes
            .iter()
            .map(|(.., height, _)| *height)
            .max()
            .unwrap_or_default();
        if lowest < MIN_HEIGHT || highest > lowest + AGREED_DEPTH {
            return Err(format!(
                "the heads of {} nodes are between {lowest} and {highest}",
                nodes.len()
            ));
        }
        let agreed = lowest - AGREED_DEPTH;
        let all = Union(nodes.iter().map(|(.., store)| *store).collect());
        let mut first = None;
        let mut applied = 0;
        for (number, head, ..) in &nodes {
            let block =
                ancestor(&all, *head, agreed).map_err(|what| format!("node {number}: {what}"))?;
            let (of, expected) = *first.get_or_insert((*number, block));
            if block != expected {
                return Err(format!(
                    "at height {agreed} node {of} has {expected}, node {number} has {block}"
                ));
            }
            if *number == of {
                applied = ledger.check_supply(&all, *head)?;
            }
        }
        Ok((agreed, applied))
    }

    fn check_settled(&self) -> Result<(), String> {
        let busy = self.world.hosts().iter().find_map(|host| {
            let engine = &host.running.as_ref()?.engine;
            // Where blocks are made, some are always on their way.
            let is_following = self.settings.validators > 0;
            let fetches = if is_following {
                0
            } else {
                engine.pending_fetches()
            };
            let left = [fetches, engine.pending_work()];
            (!host.is_hostile && left != [0, 0]).then_some((host.number, left))
        });
        busy.map_or(Ok(()), |(number, [fetches, searches])| {
            Err(format!(
                "node {number} has {fetches} fetches and {searches} searches under way"
            ))
        })
    }
}
