//! Thread that stores what streams deliver, so that neither the event loop nor the sockets wait for
//! a disk.
//!
//! Whatever has arrived is stored with one write to the disk; only then is the progress of a list
//! reported and its credit renewed. While as much waits as [`super::limits`] allows, the connections that
//! bring lists are not read, so that memory does not grow with their number. Lists whose atoms wait
//! are known ([`Writer::waiting`]), so that a slow disk does not count as a silent peer. If the disk
//! refuses the beginning of a list, which is held nowhere else, that is kept in memory. Without cold
//! storage a list is kept in memory, and its stream is given up at half of what fits there.

use super::{Control, ControlSender};
use crate::failure::Failure;
use crate::log;
use crate::net::command::{Command, CommandSender, StreamEvent};
use crate::net::stream_memory::Share;
use crate::store::Store;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::crypto::PublicKey;
use astreum_core::engine::ListId;
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Maximum number of stored bytes of one write to the disk.
const BATCH_BYTES: usize = 4 << 20;

/// Atoms of a list that are verified and have to be stored.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) list: ListId,
    pub(super) peer: PublicKey,
    pub(super) atoms: Vec<(AtomId, Atom)>,
    /// Id of the atom behind them, or zero at the end of the list.
    pub(super) next: AtomId,
    /// `false` for the beginning of a list that had arrived before the stream: the engine has
    /// counted it.
    pub(super) counts: bool,
    /// Their memory, which counts until they are stored.
    pub(super) share: Share,
}

impl Part {
    fn stored_bytes(&self) -> usize {
        stored_bytes(self.atoms.iter().map(|(_, atom)| atom))
    }
}

#[derive(Debug)]
pub(super) enum Job {
    Store(Part),
    /// The stream of a list has ended: reported after all that it has delivered.
    Ended {
        list: ListId,
        peer: PublicKey,
    },
}

/// Number of parts that have not been stored, by list and the peer that has sent them.
#[derive(Clone, Debug, Default)]
struct Waiting(Arc<Mutex<BTreeMap<(ListId, PublicKey), usize>>>);

impl Waiting {
    fn lists(&self) -> MutexGuard<'_, BTreeMap<(ListId, PublicKey), usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, part: &Part) {
        *self.lists().entry((part.list, part.peer)).or_default() += 1;
    }

    fn remove(&self, list: ListId, peer: PublicKey) {
        let mut lists = self.lists();
        if let Some(count) = lists.get_mut(&(list, peer)) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                lists.remove(&(list, peer));
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    waiting: Waiting,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        store: Store,
        sender: CommandSender,
        control: ControlSender,
        failure: &Failure,
    ) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let failure = failure.clone();
        let waiting = Waiting::default();
        let still_waiting = waiting.clone();
        let thread = std::thread::Builder::new()
            .name("stream-write".into())
            .spawn(move || {
                let mut worker = Worker {
                    store,
                    waiting: still_waiting,
                    in_memory: InMemory::default(),
                    sender,
                    control,
                };
                let _ = failure.watch(|| worker.run(&queue));
            })?;
        Ok(Self {
            jobs: Some(jobs),
            waiting,
            thread: Some(thread),
        })
    }

    pub(super) fn push(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            if let Job::Store(part) = &job {
                self.waiting.add(part);
            }
            // Fails only if the thread has panicked, which stops the node.
            let _ = jobs.send(job);
        }
    }

    /// Returns the lists of which something waits to be stored, with the peers that have sent it.
    pub(super) fn waiting(&self) -> Vec<(ListId, PublicKey)> {
        self.waiting.lists().keys().copied().collect()
    }

    /// Returns whether something waits to be stored.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.lists().is_empty()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been recorded already.
            let _ = thread.join();
        }
    }
}

/// Maximum number of lists whose bytes in memory are counted.
const MAX_COUNTED: usize = 64;

/// Bytes of lists that are kept in memory because there is no cold storage.
#[derive(Debug, Default)]
struct InMemory(BTreeMap<ListId, u64>);

impl InMemory {
    /// Counts a part that has been stored; returns whether the list may continue.
    fn may_continue(
        &mut self,
        store: &Store,
        list: ListId,
        (bytes, is_last): (usize, bool),
    ) -> bool {
        if store.cold().is_some() {
            return true;
        }
        let all = self.0.get(&list).copied().unwrap_or(0) + bytes as u64;
        let may = all <= store.hot_stats().limit_bytes / 2;
        if is_last || !may {
            self.0.remove(&list);
        } else {
            self.0.insert(list, all);
            if self.0.len() > MAX_COUNTED {
                self.0.pop_first();
            }
        }
        may || is_last
    }
}

/// State of the thread.
struct Worker {
    store: Store,
    waiting: Waiting,
    in_memory: InMemory,
    sender: CommandSender,
    control: ControlSender,
}

impl Worker {
    fn run(&mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            let mut parts = Vec::new();
            let mut bytes = 0;
            let mut next = Some(job);
            let mut ended = None;
            while let Some(job) = next {
                match job {
                    Job::Store(part) => {
                        bytes += part.stored_bytes();
                        parts.push(part);
                    }
                    Job::Ended { list, peer } => {
                        ended = Some((list, peer));
                        break;
                    }
                }
                next = if bytes < BATCH_BYTES {
                    queue.try_recv().ok()
                } else {
                    None
                };
            }
            if !parts.is_empty() {
                self.store_all(parts);
            }
            if let Some((list, peer)) = ended {
                self.give_back(list, peer);
            }
        }
    }

    fn store_all(&mut self, mut parts: Vec<Part>) {
        let sizes: Vec<(usize, usize)> = parts
            .iter()
            .map(|part| (part.atoms.len(), part.stored_bytes()))
            .collect();
        let beginnings = parts.iter().filter(|part| !part.counts);
        let beginnings: Vec<(AtomId, Atom)> = beginnings
            .flat_map(|part| part.atoms.iter().cloned())
            .collect();
        let atoms = parts.iter_mut().flat_map(|part| part.atoms.drain(..));
        let stored = self.store.put_streamed(atoms.collect());
        if let Err(error) = &stored
            && let Some(more) = log::limited("storing a stream")
        {
            log::error!("failed to store atoms of a stream: {error}{more}");
        }
        if stored.is_err() {
            // The engine has given them away, and continues behind them.
            for (id, atom) in beginnings {
                let _ = self.store.keep(id, atom);
            }
        }
        for (part, (atoms, bytes)) in parts.into_iter().zip(sizes) {
            let Part {
                list,
                peer,
                next,
                counts,
                share,
                ..
            } = part;
            drop(share);
            self.waiting.remove(list, peer);
            if stored.is_err() {
                self.control.send(Control::Cancel { list, peer });
                self.give_back(list, peer);
                continue;
            }
            self.control.send(Control::Stored { list, bytes });
            if counts {
                let progress = (next, atoms, bytes);
                let _ = self.sender.send(Command::Stream(StreamEvent::Progress {
                    list,
                    peer,
                    progress,
                }));
            }
            let size = (bytes, next.is_zero());
            if !self.in_memory.may_continue(&self.store, list, size) {
                self.control.send(Control::Cancel { list, peer });
                self.give_back(list, peer);
            }
        }
    }

    fn give_back(&self, list: ListId, peer: PublicKey) {
        let event = StreamEvent::Ended { list, peer };
        let _ = self.sender.send(Command::Stream(event));
    }
}

/// Returns the stored bytes of atoms.
pub(super) fn stored_bytes<'a>(atoms: impl Iterator<Item = &'a Atom>) -> usize {
    atoms.map(Atom::stored_len).sum()
}
