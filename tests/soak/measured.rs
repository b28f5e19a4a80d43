//! What was done, how long it took, and what went wrong, by kind.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Of each kind of failure, so many are told where they happen.
const TOLD: u64 = 5;

/// Something that is done over and over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Operation {
    /// Atoms are kept by a node of ours, durably.
    Put,
    /// A node of ours tells who else it has something.
    Advertise,
    /// A node of ours gets what another of ours has.
    Get,
    /// A node of ours gets what a reference has.
    GetFromReference,
    /// A reference keeps something and tells of it.
    ReferencePut,
    /// A reference gets what a node of ours has.
    ReferenceGet,
    /// A transaction is handed to a node of ours.
    Send,
    /// It is in a block, as seen there.
    Land,
    /// Another node says what it says.
    ReadTransaction,
    /// A reference tells our validator of a transaction, until a block has it.
    ReferenceSend,
    /// A reference reads its head, a block of ours.
    ReferenceBlock,
    /// A node stops when it is asked to.
    Stop,
    /// A node starts on what it had, until it answers.
    Start,
    /// A node that started, until it has the head of the chain and peers again.
    Rejoin,
    /// A node finds what it had kept before a restart.
    GetKept,
}

impl Operation {
    /// Its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Advertise => "advertise",
            Self::Get => "get, ours from ours",
            Self::GetFromReference => "get, ours from reference",
            Self::ReferencePut => "reference: put",
            Self::ReferenceGet => "reference: get from ours",
            Self::Send => "transaction: send",
            Self::Land => "transaction: into a block",
            Self::ReadTransaction => "transaction: read elsewhere",
            Self::ReferenceSend => "reference: transaction into a block",
            Self::ReferenceBlock => "reference: block of its head",
            Self::Stop => "stop",
            Self::Start => "start, until it answers",
            Self::Rejoin => "start, until it has peers and the head",
            Self::GetKept => "get of its own after a restart",
        }
    }

    /// Whether a failure may be the reference's own: it is counted, and blamed on nobody.
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

/// All that is known of one operation.
#[derive(Clone, Default, Debug)]
pub(crate) struct Record {
    /// How long each took that succeeded, in microseconds.
    micros: Vec<u32>,
    /// Failures by kind.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Failures that were to be expected, since a node was being restarted.
    pub(crate) excused: u64,
}

impl Record {
    /// How many succeeded.
    pub(crate) const fn done(&self) -> usize {
        self.micros.len()
    }

    /// How many failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// The times below which a half, 99 % and all lie.
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

/// All operations; shared by all who do them.
#[derive(Debug)]
pub(crate) struct Measured {
    since: Instant,
    records: Mutex<BTreeMap<Operation, Record>>,
}

impl Measured {
    /// Nothing yet; the clock starts.
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            records: Mutex::default(),
        }
    }

    /// Since the clock started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// An operation that began then succeeded now.
    pub(crate) fn done(&self, operation: Operation, began: Instant) {
        self.took(operation, began.elapsed());
    }

    /// An operation succeeded and took so long.
    pub(crate) fn took(&self, operation: Operation, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.change(operation, |record| record.micros.push(micros));
    }

    /// An operation failed: what kind of failure it is, and what is known of this one.
    pub(crate) fn failed(&self, operation: Operation, kind: &str, detail: &str) {
        let count = self.change(operation, |record| {
            let count = record.failed.entry(kind.to_owned()).or_default();
            *count += 1;
            *count
        });
        if count <= TOLD {
            self.say(&format!("{}: {kind}: {detail}", operation.name()));
        }
    }

    /// An operation failed since a node was being restarted.
    pub(crate) fn excused(&self, operation: Operation) {
        self.change(operation, |record| record.excused += 1);
    }

    /// A line with the time.
    pub(crate) fn say(&self, line: &str) {
        println!("{:8.1} s  {line}", self.elapsed().as_secs_f64());
    }

    /// Everything so far.
    pub(crate) fn records(&self) -> BTreeMap<Operation, Record> {
        self.lock().clone()
    }

    /// How many succeeded and failed so far.
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

/// Turns at a steady rate, taken by several threads. What is late is not caught up with.
#[derive(Debug)]
pub(crate) struct Pace {
    period: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    /// So many turns a second; 0 is none at all.
    pub(crate) fn per_second(rate: f64) -> Self {
        Self {
            period: match rate > 0.0 {
                true => Duration::from_secs_f64(1.0 / rate),
                false => Duration::from_secs(u64::from(u32::MAX)),
            },
            next: Mutex::new(Instant::now()),
        }
    }

    /// When the next turn is.
    pub(crate) fn turn(&self) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let due = (*next + self.period).max(Instant::now());
        *next = due;
        due
    }
}
