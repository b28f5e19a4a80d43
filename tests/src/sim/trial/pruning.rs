//! Pruning in a trial: runs in the middle of which blocks and objects arrive and the power is cut,
//! and nodes that join late.

use super::Trial;
use crate::sim::disk::{Fault, SimDisk};
use crate::sim::host::Host;
use crate::sim::ledger::AGREED_DEPTH;
use crate::sim::pruning::{Kept, nothing};
use astreum_core::time::Instant;
use astreum_node::prune::{self, Run};
use core::cell::RefCell;
use core::ops::AddAssign;
use core::time::Duration;

/// Number of machines that join late: one under faults, and one that first knows pruned peers alone.
pub(super) const LATE: usize = 2;
/// Every machine whose number is divisible by this keeps everything.
const ARCHIVES: usize = 3;
/// Maximum duration of a partition: halves of the network must not make more blocks than a node
/// undoes without its operator.
const LONGEST_PARTITION: Duration = Duration::from_secs(20);
/// One in this number of chances of a run is taken.
const RARITY: usize = 4;
/// Calls of a run that change something, before one of which the power is cut.
const CALLS: usize = 90;
/// Pauses of a run, in one of which the power is cut.
const PAUSES: usize = 4;
/// Maximum duration of a pause, in milliseconds.
const PAUSE_MILLIS: usize = 3_000;
/// Parts of a pair that have to be garbage for it to be rewritten, as divisors: those of a run of
/// the node itself and of its operator.
const DIVISORS: [u64; 2] = [10, u64::MAX];
/// Maximum time until a node that knows pruned peers alone says so.
const SAYS_WITHIN: Duration = Duration::from_secs(180);
/// Maximum time until such a node has caught up beside a peer that keeps everything.
const JOINS_WITHIN: Duration = Duration::from_secs(180);
const STEP: Duration = Duration::from_secs(1);
/// Part of the text that names what is missing.
const HINT: &str = "its peers may have pruned the block";

/// Statistics of pruning in a trial.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PruneReport {
    /// Runs that began.
    pub runs: u64,
    /// Runs that ended without a failure.
    pub completed: u64,
    /// Runs in the middle of which the power was cut, by the disk calls that change something.
    pub cuts_in_calls: u64,
    /// Runs that were paused for other work of the node, and in whose pauses the power was cut.
    pub cuts_in_pauses: u64,
    /// Pauses in which a pair was being rewritten.
    pub pauses_in_sweeps: u64,
    /// Atoms that were removed.
    pub atoms: u64,
    /// Starts after which everything that has to be kept was read.
    pub starts: u64,
    /// Headers of pruned blocks that were read at the end.
    pub headers: u64,
    /// Headers that a node received from pruned peers alone before it said that blocks are missing.
    pub served_headers: u64,
}

impl AddAssign for PruneReport {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.completed += other.completed;
        self.cuts_in_calls += other.cuts_in_calls;
        self.cuts_in_pauses += other.cuts_in_pauses;
        self.pauses_in_sweeps += other.pauses_in_sweeps;
        self.atoms += other.atoms;
        self.starts += other.starts;
        self.headers += other.headers;
        self.served_headers += other.served_headers;
    }
}

/// Run that is under way, and the trial that goes on in its pauses.
struct Paused<'t> {
    trial: &'t mut Trial,
    number: usize,
    /// Start of the node to which the run belongs.
    starts: u64,
    disk: SimDisk,
    /// Number of pauses until the power is cut.
    pauses_left: Option<usize>,
}

impl Paused<'_> {
    fn is_up(&self) -> bool {
        let host = self.trial.world.hosts().get(self.number);
        host.is_some_and(|host| host.running.is_some() && host.starts == self.starts)
    }

    fn is_going_on(&self) -> bool {
        self.is_up() && !self.disk.is_off()
    }

    /// Lets the network go on while the run waits. If a pair is being rewritten, the run holds a lock
    /// that other calls take after a failure of the disk.
    fn pause(&mut self, in_sweep: bool) {
        if !self.is_going_on() || in_sweep && !self.disk.is_sound() {
            return;
        }
        if self.pauses_left == Some(0) {
            self.trial.pruning.cuts_in_pauses += 1;
            self.trial.world.cut_power(self.number);
            return;
        }
        self.pauses_left = self.pauses_left.map(|left| left - 1);
        let trial = &mut *self.trial;
        if in_sweep {
            trial.pruning.pauses_in_sweeps += 1;
        } else {
            // Among others, objects with atoms that are stored already.
            trial.put(self.number);
            trial.act();
        }
        let millis = trial.world.random.below(PAUSE_MILLIS) as u64;
        self.set_sweeping(in_sweep);
        self.trial.world.run(Duration::from_millis(millis));
        self.set_sweeping(false);
    }

    fn set_sweeping(&mut self, is_sweeping: bool) {
        if let Some(host) = self.trial.world.host(self.number) {
            host.pruning.is_sweeping = is_sweeping;
        }
    }
}

impl Trial {
    /// Returns the number of blocks whose state a machine keeps; 0 if it keeps everything.
    pub(super) const fn kept_blocks(&self, number: usize) -> u64 {
        let keeps_all = match number.checked_sub(self.settings.nodes) {
            Some(late) => late + 1 == LATE,
            None => number.is_multiple_of(ARCHIVES),
        };
        if keeps_all {
            0
        } else {
            self.settings.prune_blocks
        }
    }

    /// Returns whether a machine keeps everything, so that others can rely on it.
    pub(super) const fn is_archive(&self, number: usize) -> bool {
        self.settings.prune_blocks > 0 && self.kept_blocks(number) == 0
    }

    /// Prunes, starts the first node that joins late, and ends partitions that last too long.
    pub(super) fn act_on_pruning(&mut self, passed: Duration) {
        if self.settings.prune_blocks == 0 {
            return;
        }
        if self.late == 0 && passed >= self.settings.trouble / 2 {
            self.start_late();
        }
        if !self.world.links.is_cut() {
            self.whole_at = self.world.now();
        } else if self.world.now().since(self.whole_at) >= LONGEST_PARTITION {
            self.world.links.heal();
        }
        if self.world.random.below(RARITY) > 0 {
            return;
        }
        let due = self
            .world
            .hosts()
            .iter()
            .filter(|host| host.is_pruning_due());
        let due: Vec<usize> = due.map(|host| host.number).collect();
        let at = self.world.random.below(due.len());
        if let Some(number) = due.get(at) {
            self.prune(*number);
        }
    }

    fn start_late(&mut self) {
        let number = self.settings.nodes + self.late;
        self.late += 1;
        let blocks = self.kept_blocks(number);
        if let Some(host) = self.world.host(number) {
            host.pruning.blocks = blocks;
        }
        self.world.start(number);
    }

    /// Prunes cold storage of a node once. The network goes on before the run determines what it
    /// keeps, before it removes the rest, and while it rewrites pairs. In some runs, the power is cut.
    fn prune(&mut self, number: usize) {
        let found = self.world.hosts().get(number).and_then(|host| {
            let cold = host.running.as_ref()?.store.cold()?.clone();
            Some((cold, host.disk.clone(), host.starts))
        });
        let Some((cold, disk, starts)) = found else {
            return;
        };
        self.pruning.runs += 1;
        let mut pauses_left = None;
        let way = self.world.random.below(3);
        match way {
            0 => {
                let at = self.world.random.below(CALLS) as u64;
                disk.set_fault(Some(Fault::PowerCut(at)));
            }
            1 => pauses_left = Some(self.world.random.below(PAUSES)),
            _ => {}
        }
        let divisor = self.world.random.one_of(&DIVISORS);
        let paused = RefCell::new(Paused {
            trial: self,
            number,
            starts,
            disk,
            pauses_left,
        });
        let wanted = || {
            let mut paused = paused.borrow_mut();
            paused.pause(false);
            let host = paused.trial.world.host(number);
            host.map_or_else(|| nothing(0), Host::wanted)
        };
        let mut run = Run {
            divisor: Some(divisor),
            marked: &mut |_| paused.borrow_mut().pause(false),
            progress: &mut |_| paused.borrow_mut().pause(true),
            should_continue: &|| paused.borrow().is_going_on(),
        };
        let result = prune::run(&cold, wanted, &mut run);
        drop(cold);
        let paused = paused.into_inner();
        let (is_up, disk) = (paused.is_up(), paused.disk.clone());
        match result {
            Ok(outcome) if is_up && !disk.is_off() => {
                self.pruning.completed += 1;
                self.pruning.atoms += outcome.swept.atoms;
            }
            Err(error) if is_up && !disk.is_off() && !disk.has_failed() => {
                let promises = &mut self.world.promises;
                promises.breaks(format!("node {number} cannot prune: {error}"));
            }
            Ok(_) | Err(_) => {}
        }
        if is_up && disk.is_off() {
            self.pruning.cuts_in_calls += 1;
            self.world.cut_power(number);
        } else if way == 0 && is_up {
            disk.set_fault(None);
        }
        if self.world.random.below(2) == 0 {
            self.world.start(number);
        }
    }

    /// Checks that every node that prunes has pruned and still has what it must keep.
    pub(super) fn check_pruning(&mut self) -> Result<(), String> {
        for host in self
            .world
            .hosts()
            .iter()
            .filter(|host| host.pruning.blocks > 0)
        {
            self.pruning.starts += host.pruning.checks;
            let number = host.number;
            let head = host.chain().and_then(|chain| chain.context().head());
            let head = head.ok_or_else(|| format!("node {number} has no head"))?;
            let kept = host.check_kept_blocks(head.id());
            let Kept { headers, .. } = kept.map_err(|what| format!("node {number} {what}"))?;
            if headers == 0 {
                return Err(format!("node {number} has never pruned"));
            }
            self.pruning.headers += headers;
        }
        Ok(())
    }

    /// Checks that a node that joins from pruned peers alone says what is missing, and that it reaches
    /// the head once there is a peer that keeps everything.
    pub(super) fn check_late(&mut self) -> Result<(), String> {
        if self.settings.prune_blocks == 0 {
            return Ok(());
        }
        let archives = 0..self.settings.nodes;
        let is_honest = |number: &usize| *number < self.first_hostile();
        let archives = archives.filter(is_honest).filter(|it| self.is_archive(*it));
        let archives: Vec<usize> = archives.collect();
        for archive in &archives {
            self.world.stop(*archive);
        }
        self.start_late();
        let late = self.settings.nodes + self.late - 1;
        let began = self.world.now();
        loop {
            self.step(
                late,
                began,
                SAYS_WITHIN,
                "does not say that blocks are missing",
            )?;
            if let Some(headers) = self.headers_of_pruned(late) {
                self.pruning.served_headers = headers;
                break;
            }
        }
        let hosts = self.world.hosts().iter();
        let horizons = hosts.map(|host| host.pruning.horizon);
        let lowest = horizons.filter(|horizon| *horizon > 0).min();
        let height = self.height(late);
        if height >= lowest.unwrap_or(0) {
            return Err(format!(
                "node {late} is at height {height}, and no peer has all blocks below {lowest:?}"
            ));
        }
        for archive in &archives {
            self.world.start(*archive);
        }
        let began = self.world.now();
        loop {
            self.step(late, began, JOINS_WITHIN, "does not reach the head")?;
            let highest = self.world.hosts().iter().filter_map(Host::height).max();
            if self.height(late) + AGREED_DEPTH >= highest.unwrap_or(0) {
                return Ok(());
            }
        }
    }

    /// Prunes every node that does, without an interruption, and restarts it, so that no old block is
    /// left of an interrupted run or in memory.
    pub(super) fn prune_all(&mut self) -> Result<(), String> {
        for number in 0..self.settings.machines() {
            let Some(host) = self.world.host(number) else {
                continue;
            };
            let store = host.running.as_ref().map(|running| running.store.clone());
            let Some(store) = store.filter(|_| host.pruning.blocks > 0) else {
                continue;
            };
            let mut run = Run {
                divisor: Some(u64::MAX),
                marked: &mut |_| (),
                progress: &mut |_| (),
                should_continue: &|| true,
            };
            let result = store
                .cold()
                .map(|cold| prune::run(cold, || host.wanted(), &mut run));
            drop(store);
            match result {
                Some(Ok(_)) | None => {}
                Some(Err(error)) => return Err(format!("node {number} cannot prune: {error}")),
            }
            self.world.stop(number);
            if !self.world.start(number) {
                return Err(format!("node {number} does not start"));
            }
        }
        self.world.run(STEP);
        self.check_promises()
    }

    /// Lets time pass; fails with `problem` of a node once it has had enough time.
    fn step(
        &mut self,
        number: usize,
        began: Instant,
        within: Duration,
        problem: &str,
    ) -> Result<(), String> {
        if self.world.now().since(began) >= within {
            return Err(format!("node {number} {problem}{}", self.describe_nodes()));
        }
        self.world.run(STEP);
        self.check_promises()
    }

    fn height(&self, number: usize) -> u64 {
        let host = self.world.hosts().get(number);
        host.and_then(Host::height).unwrap_or(0)
    }

    /// Returns the number of headers that a node has of a branch whose next block it says is pruned.
    fn headers_of_pruned(&self, number: usize) -> Option<u64> {
        let chain = self.world.hosts().get(number)?.chain()?;
        let branches = chain.sync().status().syncs;
        let mut pruned = branches.iter().filter(|it| it.to_string().contains(HINT));
        pruned.next().map(|branch| branch.headers_done)
    }
}
