//! Operations, their durations and their failures, by kind.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Maximum number of failures of each kind that are printed when they occur.
const PRINTED_FAILURES: u64 = 5;

/// Repeated operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Operation {
    /// A node of ours stores atoms durably.
    Put,
    /// A node of ours advertises an object.
    Advertise,
    /// A node of ours gets an object from another one of ours.
    Get,
    /// A node of ours gets an object from a reference.
    GetFromReference,
    /// A reference stores an object and advertises it.
    ReferencePut,
    /// A reference gets an object from a node of ours.
    ReferenceGet,
    /// A transaction is sent to a node of ours.
    Send,
    /// The transaction is in a block, as reported by that node.
    Land,
    /// Another node returns the same transaction.
    ReadTransaction,
    /// A reference announces a transaction to our validator, until a block has it.
    ReferenceSend,
    /// A reference reads its head, a block of ours.
    ReferenceBlock,
    /// A node stops on request.
    Stop,
    /// A node starts with its files, until it answers.
    Start,
    /// A node that started has the head of the chain and peers again.
    Rejoin,
    /// A node finds an object that it had stored before a restart.
    GetKept,
}

impl Operation {
    /// Returns its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Advertise => "advertise",
            Self::Get => "get: ours from ours",
            Self::GetFromReference => "get: ours from reference",
            Self::ReferencePut => "reference: put",
            Self::ReferenceGet => "get: reference from ours",
            Self::Send => "transaction: send",
            Self::Land => "transaction: inclusion in a block",
            Self::ReadTransaction => "transaction: read at another node",
            Self::ReferenceSend => "reference: inclusion of a transaction in a block",
            Self::ReferenceBlock => "reference: block of its head",
            Self::Stop => "stop",
            Self::Start => "start: until the node answers",
            Self::Rejoin => "start: until the node has peers and the head",
            Self::GetKept => "get: own object after a restart",
        }
    }

    /// Returns whether a failure may be caused by the reference; it is counted but does not miss a
    /// bar.
    pub(crate) const fn is_references(self) -> bool {
        matches!(
            self,
            Self::GetFromReference
                | Self::ReferencePut
                | Self::ReferenceGet
                | Self::ReferenceSend
                | Self::ReferenceBlock
        )
    }
}

/// Statistics of one operation.
#[derive(Clone, Default, Debug)]
pub(crate) struct Record {
    /// Durations of the successful operations, in microseconds.
    micros: Vec<u32>,
    /// Failures by kind.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Failures that were expected because a node was being restarted.
    pub(crate) excused: u64,
}

impl Record {
    /// Returns the number of successes.
    pub(crate) const fn done(&self) -> usize {
        self.micros.len()
    }

    /// Returns the number of failures.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Returns the median, the 99th percentile and the maximum of the durations.
    pub(crate) fn times(&self) -> [Duration; 3] {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        [last / 2, last * 99 / 100, last].map(|index| {
            let micros = sorted.get(index).copied().unwrap_or_default();
            Duration::from_micros(micros.into())
        })
    }
}

/// Statistics of all operations, shared by all threads.
#[derive(Debug)]
pub(crate) struct Measured {
    since: Instant,
    records: Mutex<BTreeMap<Operation, Record>>,
}

impl Measured {
    /// Creates empty statistics and starts the clock.
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            records: Mutex::default(),
        }
    }

    /// Returns the time since the clock started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Records a success now of an operation that began at `began`.
    pub(crate) fn done(&self, operation: Operation, began: Instant) {
        self.took(operation, began.elapsed());
    }

    /// Records a success with this duration.
    pub(crate) fn took(&self, operation: Operation, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.change(operation, |record| record.micros.push(micros));
    }

    /// Records a failure with its kind and its details.
    pub(crate) fn failed(&self, operation: Operation, kind: &str, detail: &str) {
        let count = self.change(operation, |record| {
            let count = record.failed.entry(kind.to_owned()).or_default();
            *count += 1;
            *count
        });
        if count <= PRINTED_FAILURES {
            self.print_line(&format!("{}: {kind}: {detail}", operation.name()));
        }
    }

    /// Records a failure that occurred because a node was being restarted.
    pub(crate) fn excused(&self, operation: Operation) {
        self.change(operation, |record| record.excused += 1);
    }

    /// Prints a line with the time.
    pub(crate) fn print_line(&self, line: &str) {
        println!("{:8.1} s  {line}", self.elapsed().as_secs_f64());
    }

    /// Returns the statistics so far.
    pub(crate) fn records(&self) -> BTreeMap<Operation, Record> {
        self.lock().clone()
    }

    /// Returns the numbers of successes and failures so far.
    pub(crate) fn totals(&self) -> (usize, u64) {
        let records = self.lock();
        let done = records.values().map(Record::done).sum();
        (done, records.values().map(Record::failures).sum())
    }

    fn change<T>(&self, operation: Operation, change: impl FnOnce(&mut Record) -> T) -> T {
        change(self.lock().entry(operation).or_default())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Operation, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Turns at a steady rate, shared by several threads. Missed turns are not made up for.
#[derive(Debug)]
pub(crate) struct Pace {
    period: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    /// Creates a pace of `rate` turns per second; 0 disables it.
    pub(crate) fn per_second(rate: f64) -> Self {
        Self {
            period: match rate > 0.0 {
                true => Duration::from_secs_f64(1.0 / rate),
                false => Duration::from_secs(u64::from(u32::MAX)),
            },
            next: Mutex::new(Instant::now()),
        }
    }

    /// Returns the time of the next turn.
    pub(crate) fn turn(&self) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let due = (*next + self.period).max(Instant::now());
        *next = due;
        due
    }
}
