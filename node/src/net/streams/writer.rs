//! Thread that stores what streams deliver, so that neither the event loop nor the sockets wait for
//! a disk.
//!
//! Whatever has arrived is stored with one write to the disk; only then is the progress of a list
//! reported and its credit renewed. While more than [`QUEUED_BYTES`] wait, the connections that bring
//! more are not read, so that memory does not grow with the number of lists. Without cold storage a list is kept in memory, and its stream is given up at half of what fits there.

use super::{Control, ControlSender};
use crate::failure::Failure;
use crate::log;
use crate::net::command::{Command, CommandSender, StreamEvent};
use crate::runtime::inbox::Inbox;
use crate::store::Store;
use astreum_core::atom::{Atom, AtomId, HashedAtom};
use astreum_core::consensus::Input;
use astreum_core::crypto::PublicKey;
use astreum_core::engine::ListId;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Maximum number of stored bytes of one write to the disk.
const BATCH_BYTES: usize = 4 << 20;
/// Number of stored bytes in the queue above which nothing more is to be read.
const QUEUED_BYTES: usize = 16 << 20;

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
}

impl Part {
    fn stored_bytes(&self) -> usize {
        stored_bytes(self.atoms.iter().map(|(_, atom)| atom))
    }
}

#[derive(Debug)]
pub(super) enum Job {
    Store(Part),
    /// Atoms that the chain thread has requested are kept in memory.
    Keep {
        number: u64,
        atoms: Vec<HashedAtom>,
        inbox: Inbox,
    },
    /// A request of the chain thread has ended: reported after all that it has delivered.
    Finished {
        number: u64,
        is_complete: bool,
        inbox: Inbox,
    },
    /// The stream of a list has ended: reported after all that it has delivered.
    Ended {
        list: ListId,
        peer: PublicKey,
    },
}

impl Job {
    /// Returns the stored bytes of its atoms.
    fn stored_bytes(&self) -> usize {
        match self {
            Self::Store(part) => part.stored_bytes(),
            Self::Keep { atoms, .. } => stored_bytes(atoms.iter().map(HashedAtom::atom)),
            Self::Finished { .. } | Self::Ended { .. } => 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    /// Stored bytes of the jobs that have not been done.
    queued: Arc<AtomicUsize>,
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
        let queued = Arc::<AtomicUsize>::default();
        let done = Arc::clone(&queued);
        let thread = std::thread::Builder::new()
            .name("stream-write".into())
            .spawn(move || {
                let mut worker = Worker {
                    store,
                    queued: done,
                    in_memory: InMemory::default(),
                    sender,
                    control,
                };
                let _ = failure.watch(|| worker.run(&queue));
            })?;
        Ok(Self {
            jobs: Some(jobs),
            queued,
            thread: Some(thread),
        })
    }

    pub(super) fn push(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            self.queued.fetch_add(job.stored_bytes(), Ordering::Relaxed);
            // Fails only if the thread has panicked, which stops the node.
            let _ = jobs.send(job);
        }
    }

    /// Returns whether so much waits that nothing more is to be read. When that ends, a control
    /// wakes the thread of the streams.
    pub(super) fn is_full(&self) -> bool {
        self.queued.load(Ordering::Relaxed) >= QUEUED_BYTES
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
    /// Counts a part that has been stored; returns whether the list may go on.
    fn may_go_on(&mut self, store: &Store, list: ListId, (bytes, is_last): (usize, bool)) -> bool {
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
    queued: Arc<AtomicUsize>,
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
                bytes += job.stored_bytes();
                match job {
                    Job::Store(part) => parts.push(part),
                    Job::Keep {
                        number,
                        atoms,
                        inbox,
                    } => self.keep(number, &atoms, &inbox),
                    Job::Finished {
                        number,
                        is_complete,
                        inbox,
                    } => inbox.answer(Input::StreamEnded {
                        number,
                        is_complete,
                    }),
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

    /// Keeps atoms in memory. An atom that does not fit is fetched by datagram.
    fn keep(&self, number: u64, atoms: &[HashedAtom], inbox: &Inbox) {
        for atom in atoms {
            let _ = self.store.keep(atom.id(), atom.atom().clone());
        }
        let bytes = stored_bytes(atoms.iter().map(HashedAtom::atom));
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
        self.control.send(Control::Kept { number, bytes });
        inbox.answer(Input::StreamProgress { number });
    }

    fn store_all(&mut self, mut parts: Vec<Part>) {
        let sizes: Vec<(usize, usize)> = parts
            .iter()
            .map(|part| (part.atoms.len(), part.stored_bytes()))
            .collect();
        let atoms = parts.iter_mut().flat_map(|part| part.atoms.drain(..));
        let stored = self.store.put_streamed(atoms.collect());
        if let Err(error) = &stored
            && let Some(more) = log::limited("storing a stream")
        {
            log::error!("failed to store atoms of a stream: {error}{more}");
        }
        let bytes = sizes.iter().map(|(_, bytes)| bytes).sum();
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
        for (part, (atoms, bytes)) in parts.into_iter().zip(sizes) {
            let Part {
                list, peer, next, ..
            } = part;
            if stored.is_err() {
                self.control.send(Control::Cancel { list });
                self.give_back(list, peer);
                continue;
            }
            self.control.send(Control::Stored { list, bytes });
            if part.counts {
                let progress = (next, atoms, bytes);
                let _ = self.sender.send(Command::Stream(StreamEvent::Progress {
                    list,
                    peer,
                    progress,
                }));
            }
            let size = (bytes, next.is_zero());
            if !self.in_memory.may_go_on(&self.store, list, size) {
                self.control.send(Control::Cancel { list });
                self.give_back(list, peer);
            }
        }
    }

    fn give_back(&self, list: ListId, peer: PublicKey) {
        let event = StreamEvent::Ended { list, peer };
        let _ = self.sender.send(Command::Stream(event));
    }
}

fn stored_bytes<'a>(atoms: impl Iterator<Item = &'a Atom>) -> usize {
    atoms.map(Atom::stored_len).sum()
}
