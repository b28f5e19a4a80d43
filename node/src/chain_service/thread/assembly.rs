//! Worker thread that assembles blocks within a time budget.
//!
//! One job runs at a time, and one may wait: the producer requests another one only after it has
//! given up the previous one.

use crate::chain_service::Input;
use crate::clock::{self, Clock};
use crate::failure::Failure;
use crate::runtime::inbox::Inbox;
use crate::runtime::{QueueFull, WorkerPool};
use crate::simd::Lanes;
use crate::store::Store;
use astreum_core::consensus::producer::{AssemblyBudget, AssemblyJob, Interrupt};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;

/// Number of time checks per check of the processor time, which takes a system call.
const CHECKS_PER_CPU_CHECK: u32 = 8;

/// Handle of the worker. Dropping it cancels the current job.
#[derive(Debug)]
pub(super) struct Assembler {
    pool: WorkerPool,
    clock: Clock,
    /// Flag that cancels the job that was started last.
    cancel: Arc<AtomicBool>,
}

impl Assembler {
    /// Starts the thread.
    ///
    /// # Errors
    /// Fails if the system refuses a thread.
    pub(super) fn start(clock: Clock, failure: &Failure) -> io::Result<Self> {
        Ok(Self {
            pool: WorkerPool::new("assembly", 1, 1, failure)?,
            clock,
            cancel: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Starts a job, whose result is sent to `inbox`.
    ///
    /// # Errors
    /// Fails if one job runs and another one waits. The producer tries again.
    pub(super) fn run(
        &mut self,
        job: AssemblyJob,
        store: Store,
        inbox: Inbox,
    ) -> Result<(), QueueFull> {
        self.cancel = Arc::new(AtomicBool::new(false));
        let (cancel, clock) = (Arc::clone(&self.cancel), self.clock);
        self.pool.try_run(move || {
            let mut interrupt = TimeLimit::new(job.budget, clock, cancel);
            let room = store.room_bytes();
            let assembled = job.run(&store, &mut Lanes::new(), &mut interrupt, room);
            inbox.answer(Input::Assembled(Arc::new(assembled)));
        })
    }

    /// Cancels the job that was started last; it ends soon.
    pub(super) fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

impl Drop for Assembler {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Interrupt of a job: when its processor time is used up, at its deadline, or on cancellation.
struct TimeLimit {
    budget: AssemblyBudget,
    clock: Clock,
    cancel: Arc<AtomicBool>,
    began: Duration,
    checks: u32,
}

impl TimeLimit {
    fn new(budget: AssemblyBudget, clock: Clock, cancel: Arc<AtomicBool>) -> Self {
        Self {
            budget,
            clock,
            cancel,
            began: clock::thread_cpu_time(),
            checks: 0,
        }
    }
}

impl Interrupt for TimeLimit {
    fn is_due(&mut self) -> bool {
        self.checks = self.checks.wrapping_add(1);
        let is_cpu_check = self.checks.is_multiple_of(CHECKS_PER_CPU_CHECK);
        self.cancel.load(Ordering::Relaxed)
            || self.clock.now() >= self.budget.until
            || (is_cpu_check
                && clock::thread_cpu_time().saturating_sub(self.began) >= self.budget.cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(cpu: Duration, until: Duration) -> TimeLimit {
        let clock = Clock::start();
        let until = clock.now() + until;
        let budget = AssemblyBudget { cpu, until };
        TimeLimit::new(budget, clock, Arc::new(AtomicBool::new(false)))
    }

    #[test]
    fn job_ends_by_cpu_time_deadline_or_cancellation() {
        let long = Duration::from_secs(3_600);
        let mut by_cpu = limit(Duration::from_millis(2), long);
        while !by_cpu.is_due() {}
        let used = clock::thread_cpu_time().saturating_sub(by_cpu.began);
        assert!(used >= Duration::from_millis(2));
        let mut by_deadline = limit(long, Duration::from_millis(2));
        while !by_deadline.is_due() {}
        assert!(by_deadline.clock.now() >= by_deadline.budget.until);
        let mut cancelled = limit(long, long);
        assert!(!cancelled.is_due());
        cancelled.cancel.store(true, Ordering::Relaxed);
        assert!(cancelled.is_due());
    }
}
