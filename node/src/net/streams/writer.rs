//! Thread that stores what streams deliver, so that neither the event loop nor the sockets wait for
//! a disk.
//!
//! Whatever has arrived is stored with one write to the disk; only then is the progress of a list
//! reported and its credit renewed. The queue is bounded by the credit of the lists. Without cold
//! storage a list is kept in memory, and its stream is given up at half of what fits there.

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
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
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

#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
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
        let thread = std::thread::Builder::new()
            .name("stream-write".into())
            .spawn(move || {
                let _ = failure.watch(|| run(&queue, &store, &sender, &control));
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    pub(super) fn push(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Fails only if the thread has panicked, which stops the node.
            let _ = jobs.send(job);
        }
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

fn run(queue: &Receiver<Job>, store: &Store, sender: &CommandSender, control: &ControlSender) {
    let mut in_memory = InMemory::default();
    while let Ok(job) = queue.recv() {
        let mut parts = Vec::new();
        let mut bytes = 0;
        let mut next = Some(job);
        let mut ended = None;
        while let Some(job) = next {
            match job {
                Job::Store(part) => {
                    bytes += stored_bytes(&part);
                    parts.push(part);
                }
                Job::Keep {
                    number,
                    atoms,
                    inbox,
                } => {
                    let bytes = keep(&atoms, store);
                    control.send(Control::Kept { number, bytes });
                    inbox.answer(Input::StreamProgress { number });
                }
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
            store_all(parts, store, &mut in_memory, (sender, control));
        }
        if let Some((list, peer)) = ended {
            let _ = sender.send(Command::Stream(StreamEvent::Ended { list, peer }));
        }
    }
}

/// Keeps atoms in memory; returns their stored bytes. An atom that does not fit is fetched by
/// datagram.
fn keep(atoms: &[HashedAtom], store: &Store) -> usize {
    let kept = atoms.iter().map(|atom| {
        let _ = store.keep(atom.id(), atom.atom().clone());
        atom.atom().stored_len()
    });
    kept.sum()
}

fn stored_bytes(part: &Part) -> usize {
    part.atoms.iter().map(|(_, atom)| atom.stored_len()).sum()
}

fn store_all(
    mut parts: Vec<Part>,
    store: &Store,
    in_memory: &mut InMemory,
    (sender, control): (&CommandSender, &ControlSender),
) {
    let sizes: Vec<(usize, usize)> = parts
        .iter()
        .map(|part| (part.atoms.len(), stored_bytes(part)))
        .collect();
    let atoms = parts.iter_mut().flat_map(|part| part.atoms.drain(..));
    let stored = store.put_streamed(atoms.collect());
    if let Err(error) = &stored
        && let Some(more) = log::limited("storing a stream")
    {
        log::error!("failed to store atoms of a stream: {error}{more}");
    }
    for (part, (atoms, bytes)) in parts.into_iter().zip(sizes) {
        let Part {
            list, peer, next, ..
        } = part;
        if stored.is_err() {
            control.send(Control::Cancel { list });
            let _ = sender.send(Command::Stream(StreamEvent::Ended { list, peer }));
            continue;
        }
        control.send(Control::Stored { list, bytes });
        if part.counts {
            let progress = (next, atoms, bytes);
            let _ = sender.send(Command::Stream(StreamEvent::Progress {
                list,
                peer,
                progress,
            }));
        }
        if !in_memory.may_go_on(store, list, (bytes, next.is_zero())) {
            control.send(Control::Cancel { list });
            let _ = sender.send(Command::Stream(StreamEvent::Ended { list, peer }));
        }
    }
}
