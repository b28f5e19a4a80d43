//! Proof-of-work searches that are too long for the event loop, on worker threads with a deadline.

use super::command::{Command, CommandSender};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::runtime::WorkerPool;
use astreum_core::engine::{Engine, Work, WorkDone};
use astreum_core::time::Instant;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::Arc;

/// Number of search threads, limited so that a peer's difficulty cannot occupy the whole machine.
const THREADS: usize = 2;
/// Maximum number of searches that wait for a thread.
const QUEUE: usize = 256;
/// Number of nonces between two checks of the clock: a few milliseconds.
const ATTEMPTS_PER_STEP: u64 = 1 << 14;

/// Worker pool that runs the engine's searches and returns their results to the loop as commands.
pub(super) struct PowPool {
    pool: WorkerPool,
    sender: CommandSender,
    clock: Clock,
    stopping: Arc<AtomicBool>,
}

impl PowPool {
    pub(super) fn start(
        sender: CommandSender,
        clock: Clock,
        failure: &Failure,
    ) -> io::Result<Self> {
        Ok(Self {
            pool: WorkerPool::new("work", THREADS, QUEUE, failure)?,
            sender,
            clock,
            stopping: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Starts the searches that the engine requests.
    pub(super) fn drain(&self, now: Instant, engine: &mut Engine) {
        while let Some(work) = engine.poll_work() {
            let given_up = work.give_up();
            let (sender, clock) = (self.sender.clone(), self.clock);
            let stopping = Arc::clone(&self.stopping);
            let job = move || {
                let done = search(work, &clock, &stopping);
                // Fails only after the loop has ended.
                let _ = sender.send(Command::WorkDone(done));
            };
            if self.pool.try_run(job).is_err() {
                engine.handle_work(now, given_up);
            }
        }
    }
}

impl Drop for PowPool {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

fn search(mut work: Work, clock: &Clock, stopping: &AtomicBool) -> WorkDone {
    loop {
        if stopping.load(Ordering::Relaxed) || clock.now() >= work.deadline() {
            return work.give_up();
        }
        if let Some(done) = work.run(ATTEMPTS_PER_STEP) {
            return done;
        }
    }
}
