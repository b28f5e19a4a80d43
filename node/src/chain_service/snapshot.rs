//! Thread that fetches the state after the block at which this node joined its chain.
//!
//! Blocks above it are verified meanwhile: the state that they touch is fetched as verification meets
//! it. This thread fetches the headers that the leader election needs, and then everything that the
//! state leads to, by stream, from several peers at once.
//!
//! Invariants:
//! - Only verified atoms are stored: the clients of the streams check each against the id that leads
//!   to it.
//! - Everything that is followed is in cold storage: an atom that is only in memory is written there.
//! - What was stored before a restart is not fetched again, but it is followed again, until the file
//!   [`COMPLETE`] names the block: it is written after everything is on the disk.
//! - What has begun is finished, regardless of later configuration: the file [`BEGUN`] names the
//!   block until then.

mod marks;

pub use marks::{BEGUN, COMPLETE, note_complete, unfinished};

use super::ChainView;
use crate::failure::Failure;
use crate::log;
use crate::net::{CALLER_REQUESTS, NetworkHandle, RequestEnd, StreamAnswer, StreamPart};
use crate::store::Store;
use astreum_core::atom::{Atom, AtomId, AtomSource, HashedAtom, SourceError};
use astreum_core::chain::{Block, SeedRun};
use astreum_core::consensus::snapshot::{LIST_ATOMS, ListsWanted, StateFetch, StatePoll};
use astreum_core::consensus::{StreamObject, StreamRequest};
use astreum_core::crypto::PublicKey;
use astreum_core::integer::Natural;
use core::convert::Infallible;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use marks::{is_complete, note_begun};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// Maximum number of requests that are open with one peer. The chain thread has the others.
const REQUESTS_PER_PEER: usize = 5;
/// Maximum number of open requests.
const MAX_REQUESTS: usize = 20;
/// Number of ids that are followed in the store before answers are handled.
const STEPS: u32 = 4_096;
/// Stored bytes of atoms that are written at once.
const BATCH_BYTES: usize = 4 << 20;
/// Time for which a peer that has failed is not asked.
const PAUSE: Duration = Duration::from_secs(10);
/// Interval between checks of the peers, and between attempts to find what was refused.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time that a wait lasts before the end of the node is looked for.
const TICK: Duration = Duration::from_millis(100);
/// Time that a request may take before its rate is checked.
const GRACE: Duration = Duration::from_secs(30);
/// Number of bytes a second that a request has to bring on average after that.
const MIN_RATE: u64 = 16 << 10;
/// Time without progress after which status reports a problem.
const PROBLEM_AFTER: Duration = Duration::from_secs(30);

/// Stage of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SnapshotStage {
    /// The block at which the chain is joined is not known yet.
    #[default]
    Waiting,
    /// Headers are fetched.
    Headers,
    /// The state is fetched.
    State,
    /// The whole state is stored.
    Complete,
    /// The node had a chain that was verified from its genesis.
    Unused,
}

impl SnapshotStage {
    /// Returns the name of the stage in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Headers => "headers",
            Self::State => "state",
            Self::Complete => "complete",
            Self::Unused => "unused",
        }
    }
}

impl core::fmt::Display for SnapshotStage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Progress of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SnapshotStatus {
    /// Block whose state is fetched, once it is known.
    pub block: Option<AtomId>,
    /// Stage.
    pub stage: SnapshotStage,
    /// Number of atoms that have arrived in this run.
    pub atoms: u64,
    /// Stored bytes of these atoms.
    pub bytes: u64,
    /// Reason that there is no progress.
    pub problem: Option<String>,
}

/// Parts that the thread works with.
#[derive(Debug)]
pub struct SnapshotParts {
    /// Atom store of the node.
    pub store: Store,
    /// Network of the node.
    pub network: NetworkHandle,
    /// Status of the chain.
    pub view: ChainView,
    /// Block whose state is fetched; `None` for the one that the chain is verified from.
    pub block: Option<AtomId>,
    /// Directory of the chain's files, if there is one.
    pub dir: Option<PathBuf>,
    /// Record of a panic.
    pub failure: Failure,
}

/// Running thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct SnapshotThread {
    stopping: Arc<AtomicBool>,
    status: Arc<Mutex<SnapshotStatus>>,
    thread: Option<JoinHandle<()>>,
}

impl SnapshotThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// Fails if the system refuses a thread.
    pub fn start(parts: SnapshotParts) -> io::Result<Self> {
        let (stopping, status) = (Arc::<AtomicBool>::default(), Arc::default());
        let failure = parts.failure.clone();
        let worker = Worker::new(parts, Arc::clone(&stopping), Arc::clone(&status));
        let thread = std::thread::Builder::new()
            .name("snapshot".to_owned())
            .spawn(move || {
                let _ = failure.watch(|| worker.run());
            })?;
        Ok(Self {
            stopping,
            status,
            thread: Some(thread),
        })
    }

    /// Returns the progress; `None` if the node has a chain that was not joined by a snapshot.
    #[must_use]
    pub fn status(&self) -> Option<SnapshotStatus> {
        let status = self.status.lock();
        let status = status.unwrap_or_else(PoisonError::into_inner).clone();
        (status.stage != SnapshotStage::Unused).then_some(status)
    }
}

impl Drop for SnapshotThread {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been recorded already.
            let _ = thread.join();
        }
    }
}

/// Peer with a stream.
#[derive(Debug, Default)]
struct Source {
    open: usize,
    /// Number of requests that it could not answer completely.
    refused: u64,
    paused_until: Option<Instant>,
}

/// Attempts to find what was refused: at once with each peer, and then at intervals.
struct Attempts {
    /// Number of attempts without an atom that arrived.
    vain: usize,
    /// Number of atoms that had arrived at the last attempt.
    atoms: u64,
    last: Instant,
}

impl Attempts {
    fn new() -> Self {
        Self {
            vain: 0,
            atoms: 0,
            last: Instant::now(),
        }
    }

    /// Returns whether another attempt may begin.
    fn is_due(&mut self, fetch: &StateFetch, peers: usize) -> bool {
        if self.atoms != fetch.atoms() {
            self.atoms = fetch.atoms();
            self.vain = 0;
        }
        let is_due = self.vain < peers || self.last.elapsed() >= INTERVAL;
        if is_due {
            self.vain += 1;
            self.last = Instant::now();
        }
        is_due
    }
}

/// Open request for lists.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Number of the fetch.
    number: u64,
    peer: PublicKey,
    since: Instant,
    bytes: u64,
}

impl Open {
    /// Returns whether the peer is too slow.
    fn is_slow(&self) -> bool {
        let time = self.since.elapsed().saturating_sub(GRACE);
        time.as_secs().saturating_mul(MIN_RATE) > self.bytes
    }
}

/// End of the work of the thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stopped;

struct Worker {
    parts: SnapshotParts,
    stopping: Arc<AtomicBool>,
    status: Arc<Mutex<SnapshotStatus>>,
    answers: Receiver<StreamAnswer>,
    sender: Sender<StreamAnswer>,
    next_number: u64,
    sources: BTreeMap<PublicKey, Source>,
    checked_at: Option<Instant>,
    progressed_at: Instant,
}

impl Worker {
    fn new(
        parts: SnapshotParts,
        stopping: Arc<AtomicBool>,
        status: Arc<Mutex<SnapshotStatus>>,
    ) -> Self {
        let (sender, answers) = channel();
        Self {
            parts,
            stopping,
            status,
            answers,
            sender,
            next_number: CALLER_REQUESTS,
            sources: BTreeMap::new(),
            checked_at: None,
            progressed_at: Instant::now(),
        }
    }

    fn run(mut self) {
        let Ok(block) = self.block() else { return };
        let Some(block) = block else {
            self.update(|status| status.stage = SnapshotStage::Unused);
            return;
        };
        self.update(|status| status.block = Some(block));
        if self.is_complete(&block) {
            self.update(|status| status.stage = SnapshotStage::Complete);
            return;
        }
        log::info!("fetching the state after block {block}");
        let begun = self.parts.dir.as_ref().map(|dir| note_begun(dir, &block));
        if let Some(Err(error)) = begun {
            log::error!("failed to record that the state is being fetched: {error}");
        }
        // Stopped: the next start continues.
        let _ = self.fetch(block);
    }

    fn fetch(&mut self, id: AtomId) -> Result<(), Stopped> {
        self.update(|status| status.stage = SnapshotStage::Headers);
        let block = self.fetch_headers(id)?;
        self.update(|status| status.stage = SnapshotStage::State);
        self.fetch_state(&block)?;
        let complete = self.parts.store.sync().map_err(|error| error.to_string());
        let complete = complete.and_then(|()| match &self.parts.dir {
            Some(dir) => note_complete(dir, &id).map_err(|error| error.to_string()),
            None => Ok(()),
        });
        if let Err(error) = complete {
            log::error!("failed to record that the state is complete: {error}");
        }
        let status = self.update(|status| {
            status.stage = SnapshotStage::Complete;
            status.problem = None;
        });
        log::info!(
            "the state after block {id} is complete: atoms={} bytes={}",
            status.atoms,
            status.bytes
        );
        Ok(())
    }

    /// Waits until the block is known. Returns `None` if the chain was verified from another one.
    fn block(&self) -> Result<Option<AtomId>, Stopped> {
        loop {
            let root = self.parts.view.status().root;
            match (self.parts.block, root) {
                (Some(block), None) => return Ok(Some(block)),
                (Some(block), Some(root)) => return Ok((block == root).then_some(block)),
                (None, Some(root)) => {
                    let read = Block::read(&Durable(&self.parts.store), root);
                    let is_genesis = read.is_ok_and(|block| block.is_genesis());
                    return Ok((!is_genesis).then_some(root));
                }
                (None, None) => self.pause(TICK)?,
            }
        }
    }

    fn check(&self) -> Result<(), Stopped> {
        match self.stopping.load(Ordering::Acquire) {
            true => Err(Stopped),
            false => Ok(()),
        }
    }

    fn update(&self, change: impl FnOnce(&mut SnapshotStatus)) -> SnapshotStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut status);
        status.clone()
    }

    fn is_complete(&self, block: &AtomId) -> bool {
        let dir = self.parts.dir.as_ref();
        dir.is_some_and(|dir| is_complete(dir, block))
    }

    /// Fetches the block, and the headers below it that the leader election after it needs.
    fn fetch_headers(&mut self, id: AtomId) -> Result<Block, Stopped> {
        let (mut next, mut left) = (id, 1);
        let mut first = None;
        loop {
            match Block::read(&Durable(&self.parts.store), next) {
                Ok(block) => {
                    if first.is_none() {
                        let height = block.height.to_u64().unwrap_or_default();
                        left = height - SeedRun::first_height(height) + 1;
                    }
                    left -= 1;
                    next = block.previous;
                    let is_last = left == 0 || block.is_genesis();
                    let block = first.get_or_insert(block);
                    if is_last {
                        return Ok(block.clone());
                    }
                }
                Err(error) if error.missing().is_some() => {
                    let count = u32::try_from(left).unwrap_or(u32::MAX);
                    self.fetch_object(StreamObject::Headers { id: next, count })?;
                }
                Err(error) => {
                    self.note_problem(format!("block {next} is malformed: {error}"));
                    self.pause(INTERVAL)?;
                }
            }
        }
    }

    /// Requests an object of one peer, and stores what it has of it.
    fn fetch_object(&mut self, object: StreamObject) -> Result<(), Stopped> {
        let Some(peer) = self.best_source()? else {
            self.note_stall("no peer offers a stream");
            return self.pause(TICK);
        };
        let number = self.send(peer, object)?;
        let mut open = Open {
            number,
            peer,
            since: Instant::now(),
            bytes: 0,
        };
        loop {
            self.check()?;
            if open.is_slow() {
                self.give_up(number, &peer)?;
                return Ok(());
            }
            let answer = match self.answers.recv_timeout(TICK) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
            };
            // Of a request that was given up.
            if answer.number != number {
                continue;
            }
            match answer.part {
                StreamPart::Atoms(atoms) => {
                    let bytes = self.store_all(&atoms)?;
                    open.bytes += bytes as u64;
                    self.note_progress(atoms.len(), bytes);
                    let noted = self.parts.network.note_stored(number, bytes);
                    noted.map_err(|_| Stopped)?;
                }
                StreamPart::End(end) => {
                    self.note_end(&peer, end);
                    return Ok(());
                }
            }
        }
    }

    fn fetch_state(&mut self, block: &Block) -> Result<(), Stopped> {
        let mut fetch = StateFetch::new([block.accounts]);
        let mut open: BTreeMap<u64, Open> = BTreeMap::new();
        let mut unsent: Option<ListsWanted> = None;
        let mut attempts = Attempts::new();
        loop {
            self.check()?;
            let mut is_busy = false;
            while open.len() < MAX_REQUESTS {
                let wanted = match unsent.take() {
                    Some(wanted) => wanted,
                    None => match fetch.poll(&Durable(&self.parts.store), STEPS) {
                        Ok(StatePoll::Request(wanted)) => wanted,
                        Ok(StatePoll::Busy) => {
                            is_busy = true;
                            break;
                        }
                        Ok(StatePoll::Complete) => return Ok(()),
                        Ok(StatePoll::Refused) if attempts.is_due(&fetch, self.sources.len()) => {
                            let refused = fetch.refused();
                            self.note_stall(&refused_text(refused, &block.height));
                            fetch.retry();
                            continue;
                        }
                        Ok(StatePoll::Waiting | StatePoll::Refused) => break,
                        Err(never) => match never {},
                    },
                };
                let Some(peer) = self.best_source()? else {
                    unsent = Some(wanted);
                    break;
                };
                let ListsWanted { number, lists } = wanted;
                let most = LIST_ATOMS;
                let request = self.send(peer, StreamObject::Lists { lists, most })?;
                open.insert(
                    request,
                    Open {
                        number,
                        peer,
                        since: Instant::now(),
                        bytes: 0,
                    },
                );
            }
            if unsent.is_some() && open.is_empty() {
                self.note_stall("no peer offers a stream");
            }
            self.receive(&mut fetch, &mut open, is_busy)?;
            let slow = open.iter().filter(|(_, request)| request.is_slow());
            let slow: Vec<u64> = slow.map(|(number, _)| *number).collect();
            for number in slow {
                if let Some(request) = open.remove(&number) {
                    fetch.ended(request.number, false);
                    self.give_up(number, &request.peer)?;
                }
            }
        }
    }

    /// Stores what has arrived, and follows it.
    fn receive(
        &mut self,
        fetch: &mut StateFetch,
        open: &mut BTreeMap<u64, Open>,
        is_busy: bool,
    ) -> Result<(), Stopped> {
        let wait = if is_busy { Duration::ZERO } else { TICK };
        let mut answers: Vec<StreamAnswer> = self.answers.recv_timeout(wait).into_iter().collect();
        let mut bytes = 0;
        while bytes < BATCH_BYTES && !answers.is_empty() {
            let Ok(answer) = self.answers.try_recv() else {
                break;
            };
            if let StreamPart::Atoms(atoms) = &answer.part {
                bytes += stored_bytes(atoms);
            }
            answers.push(answer);
        }
        let parts = answers.iter().filter_map(|answer| match &answer.part {
            StreamPart::Atoms(atoms) => Some(atoms),
            StreamPart::End(_) => None,
        });
        let atoms: Vec<HashedAtom> = parts.flat_map(|it| it.iter()).cloned().collect();
        if !atoms.is_empty() {
            self.store_all(&atoms)?;
        }
        for StreamAnswer { number, part } in answers {
            let Some(request) = open.get_mut(&number) else {
                continue;
            };
            let (of_fetch, peer) = (request.number, request.peer);
            match part {
                StreamPart::Atoms(atoms) => {
                    let (count, bytes) = (atoms.len(), stored_bytes(&atoms));
                    request.bytes += bytes as u64;
                    let source = Durable(&self.parts.store);
                    match fetch.arrived(of_fetch, atoms.into_atoms(), &source) {
                        Ok(()) => {}
                        Err(never) => match never {},
                    }
                    self.note_progress(count, bytes);
                    let noted = self.parts.network.note_stored(number, bytes);
                    noted.map_err(|_| Stopped)?;
                }
                StreamPart::End(end) => {
                    open.remove(&number);
                    self.note_end(&peer, end);
                    fetch.ended(of_fetch, end == RequestEnd::Missing);
                }
            }
        }
        Ok(())
    }

    /// Stores atoms; waits as long as the store refuses them.
    fn store_all(&self, atoms: &[HashedAtom]) -> Result<usize, Stopped> {
        loop {
            let copies: Vec<(AtomId, Atom)> = atoms
                .iter()
                .map(|atom| (atom.id(), atom.atom().clone()))
                .collect();
            match self.parts.store.put_streamed_deferred(copies) {
                Ok(()) => return Ok(stored_bytes(atoms)),
                Err(error) => {
                    self.note_problem(format!("the store refuses atoms of the state: {error}"));
                    self.pause(INTERVAL)?;
                }
            }
        }
    }

    fn send(&mut self, peer: PublicKey, object: StreamObject) -> Result<u64, Stopped> {
        let number = self.next_number;
        self.next_number += 1;
        let request = StreamRequest {
            number,
            from: peer,
            object,
        };
        self.sources.entry(peer).or_default().open += 1;
        let sent = self
            .parts
            .network
            .request_by_stream(request, self.sender.clone());
        sent.map_err(|_| Stopped)?;
        Ok(number)
    }

    /// Returns the peer to ask next: one that has refused little, and then one with few requests.
    fn best_source(&mut self) -> Result<Option<PublicKey>, Stopped> {
        let now = Instant::now();
        let is_due = self
            .checked_at
            .is_none_or(|at| now.duration_since(at) >= INTERVAL);
        if is_due || self.sources.is_empty() {
            self.checked_at = Some(now);
            let peers = self.parts.network.peers().map_err(|_| Stopped)?;
            let peers = peers.into_iter().filter(|it| it.offers_stream);
            let keys: Vec<PublicKey> = peers.map(|it| it.public_key).collect();
            self.sources
                .retain(|key, source| source.open > 0 || keys.contains(key));
            for key in keys {
                self.sources.entry(key).or_default();
            }
        }
        let free = self.sources.iter().filter(|(_, source)| {
            source.open < REQUESTS_PER_PEER && source.paused_until.is_none_or(|until| until <= now)
        });
        let best = free.min_by_key(|(_, source)| (source.refused, source.open));
        Ok(best.map(|(key, _)| *key))
    }

    fn note_end(&mut self, peer: &PublicKey, end: RequestEnd) {
        let Some(source) = self.sources.get_mut(peer) else {
            return;
        };
        source.open = source.open.saturating_sub(1);
        match end {
            RequestEnd::Complete => {}
            RequestEnd::Missing => source.refused += 1,
            RequestEnd::Failed => source.paused_until = Some(Instant::now() + PAUSE),
        }
    }

    /// Ends a request that is too slow, and pauses its peer.
    fn give_up(&mut self, number: u64, peer: &PublicKey) -> Result<(), Stopped> {
        self.note_end(peer, RequestEnd::Failed);
        let cancelled = self.parts.network.cancel_stream(number);
        cancelled.map_err(|_| Stopped)
    }

    fn note_progress(&mut self, atoms: usize, bytes: usize) {
        self.progressed_at = Instant::now();
        self.update(|status| {
            status.atoms += atoms as u64;
            status.bytes += bytes as u64;
            status.problem = None;
        });
    }

    /// Reports a reason that there is no progress, if that lasts.
    fn note_stall(&self, reason: &str) {
        if self.progressed_at.elapsed() >= PROBLEM_AFTER {
            self.note_problem(reason.to_owned());
        }
    }

    fn note_problem(&self, problem: String) {
        let before = self.update(|_| ()).problem;
        if before.as_ref() != Some(&problem) {
            log::warn!("the state of this chain is incomplete: {problem}");
            self.update(|status| status.problem = Some(problem));
        }
    }

    /// Waits, or ends if the node stops.
    fn pause(&self, time: Duration) -> Result<(), Stopped> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.check()?;
            std::thread::sleep(TICK.min(time));
        }
        self.check()
    }
}

/// Atoms in cold storage. What is only in memory, because the chain's thread has fetched it, is written
/// there when it is read: memory is neither complete nor durable.
struct Durable<'s>(&'s Store);

impl AtomSource for Durable<'_> {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        let Self(store) = *self;
        let stored = store.cold().map(|cold| cold.get(id));
        if let Some(Ok(Some(atom))) = stored {
            return Ok(atom);
        }
        let atom = store.get_in_memory(id).ok_or(SourceError::Missing(*id))?;
        // If it cannot be written, it is fetched, and written with what arrives.
        let written = store.put_streamed_deferred(vec![(*id, atom.clone())]);
        written.map_err(|_| SourceError::Missing(*id))?;
        Ok(atom)
    }
}

/// Describes parts of the state that no peer has, and what to do.
fn refused_text(parts: usize, height: &Natural) -> String {
    format!(
        "no peer has {parts} parts of the state after block {height}: its peers may have pruned it; \
         add a peer that keeps it (prune_blocks = 0), or begin again at a newer checkpoint, with an \
         empty cold_storage_path"
    )
}

fn stored_bytes(atoms: &[HashedAtom]) -> usize {
    atoms.iter().map(|atom| atom.atom().stored_len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_that_no_peer_has_is_reported_with_a_remedy() {
        let text = refused_text(3, &Natural::from(70_u64));
        for part in [
            "no peer has 3 parts",
            "block 70",
            "pruned",
            "newer checkpoint",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
