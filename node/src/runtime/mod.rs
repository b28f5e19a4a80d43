//! Worker pool, mailbox and parallel execution: the threads and channels that other modules share.
//!
//! [`WorkerPool`] is a bounded pool of threads for work that would delay the event loop. It is own
//! code because of its first two invariants, which common pools do not have.
//!
//! Invariants:
//! - A full queue rejects a job at once; the caller is never blocked.
//! - A panicking job ends neither its worker nor the process, but it stops its node: [`Failure`].
//! - Dropping the pool lets running jobs finish and discards waiting ones.

pub mod inbox;
pub mod parallel;

use crate::failure::Failure;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// Fixed number of threads with a bounded queue.
pub struct WorkerPool {
    queue: Option<SyncSender<Job>>,
    stopping: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

/// Error of a full queue; the job was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueFull;

impl fmt::Display for QueueFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the workers' queue is full")
    }
}

impl core::error::Error for QueueFull {}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPool")
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}

impl WorkerPool {
    /// Starts `threads` threads (at least one) with a queue of `queue_limit` jobs. A job's panic is
    /// recorded in `failure`.
    ///
    /// # Errors
    /// Fails if the system refuses a thread.
    pub fn new(
        name: &str,
        threads: usize,
        queue_limit: usize,
        failure: &Failure,
    ) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(queue_limit);
        let jobs = Arc::new(Mutex::new(jobs));
        let stopping = Arc::new(AtomicBool::new(false));
        let workers = (0..threads.max(1))
            .map(|number| {
                let (jobs, stopping) = (Arc::clone(&jobs), Arc::clone(&stopping));
                let failure = failure.clone();
                std::thread::Builder::new()
                    .name(format!("{name}-{number}"))
                    .spawn(move || work(&jobs, &stopping, &failure))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            queue: Some(queue),
            stopping,
            workers,
        })
    }

    /// Queues `job`.
    ///
    /// # Errors
    /// Fails if the queue is full.
    pub fn try_run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), QueueFull> {
        let queue = self.queue.as_ref().ok_or(QueueFull)?;
        queue.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => QueueFull,
        })
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.queue = None;
        for worker in self.workers.drain(..) {
            // Jobs cannot end a worker by a panic, so the result of joining is not needed.
            let _ = worker.join();
        }
    }
}

fn work(jobs: &Mutex<Receiver<Job>>, stopping: &AtomicBool, failure: &Failure) {
    loop {
        // The lock is held while waiting: other workers wait for the lock instead of the channel.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) if !stopping.load(Ordering::Relaxed) => {
                // `failure` records a panic and acts on it.
                let _ = failure.watch(job);
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn panic_in_a_job_is_recorded_and_does_not_end_the_worker() {
        let failure = Failure::default();
        let pool = WorkerPool::new("test", 1, 4, &failure).unwrap();
        let (done, results) = channel();
        pool.try_run(|| panic!("on purpose")).unwrap();
        pool.try_run(move || done.send(7).unwrap()).unwrap();
        assert_eq!(results.recv(), Ok(7));
        let panic = failure.panic().unwrap();
        assert_eq!((&*panic.thread, &*panic.message), ("test-0", "on purpose"));
    }

    #[test]
    fn full_queue_refuses_jobs_and_drop_discards_queued_ones() {
        let pool = WorkerPool::new("test", 1, 1, &Failure::default()).unwrap();
        let (release, gate) = channel::<()>();
        let (started, running) = channel();
        pool.try_run(move || {
            started.send(()).unwrap();
            let _ = gate.recv();
        })
        .unwrap();
        running.recv().unwrap();
        let (done, results) = channel::<()>();
        pool.try_run(move || done.send(()).unwrap()).unwrap();
        assert_eq!(pool.try_run(|| ()), Err(QueueFull));
        let stopping = Arc::clone(&pool.stopping);
        let dropping = std::thread::spawn(move || drop(pool));
        while !stopping.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        drop(release);
        dropping.join().unwrap();
        assert!(results.recv().is_err(), "the waiting job ran");
    }
}
