//! Chain thread: drives the components of the [chain service](crate::chain_service) and executes
//! their effects.
//!
//! Invariants:
//! - Effects are executed in order and before the next call of a component.
//! - A block of our own is announced only after its atoms and the signing record are stored.
//! - A head is saved only after the atoms that it refers to are durable. Both happen as soon as there
//!   is nothing else to do; while blocks follow each other, for several of them at once.
//! - The thread never waits for a peer: fetched atoms arrive as inputs.

mod assembly;
mod storage_watch;
mod waiting_forks;
mod watches;

pub use storage_watch::NearlyFull;

use super::dir::{ChainDir, ChainDirError};
use super::mempool_file::MempoolFile;
use super::producer::{Producer, SignerUpdate, SigningJob};
use super::signer::{SignerClient, SignerConfig};
use super::{
    Chain, ChainStatus, ChainView, Commit, Effect, Environment, Head, Input, Now, SavedHead,
    StoreFailure, SyncConfig,
};
use crate::clock::{self, Clock};
use crate::failure::Failure;
use crate::log;
use crate::net::{Advertisement, NetworkHandle};
use crate::runtime::inbox::{Inbox, Outlet, Taken, inbox};
use crate::runtime::parallel::Threads;
use crate::store::Store;
use assembly::Assembler;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::chain::Block;
use astreum_core::consensus::mempool::Mempool;
use astreum_core::consensus::{Event, Level};
use astreum_core::time::Instant;
use astreum_core::wire::handshake::ChainIdentity;
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use waiting_forks::WaitingForks;
use watches::Watches;

/// Maximum number of inputs handled before the components advance.
const INPUTS_PER_TURN: usize = 256;
/// Maximum time for which a head is not saved while the next blocks are verified.
const SAVE_INTERVAL: Duration = Duration::from_millis(100);
/// Multiple of the time that saving took last, if that is longer.
const SAVE_SHARE: u32 = 10;
/// Maximum delay before a changed status is published.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

/// Parts that the chain thread works with.
pub struct ChainParts {
    /// Atom store of the node.
    pub store: Store,
    /// Network of the node.
    pub network: NetworkHandle,
    /// Shared snapshot of the status for other threads.
    pub view: ChainView,
    /// Directory of heads and signing records, if configured.
    pub dir: Option<ChainDir>,
    /// Head of the last run.
    pub saved: Option<SavedHead>,
    /// Configuration of sync.
    pub sync: SyncConfig,
    /// Mempool, with the transactions that an earlier run saved.
    pub mempool: Mempool,
    /// File that the mempool is saved to.
    pub mempool_file: MempoolFile,
    /// State directory of the node, whose disk is watched.
    pub state_dir: PathBuf,
    /// Record of a panic.
    pub failure: Failure,
    /// Block producer and public key of the validator, if this node is one.
    pub validator: Option<(Producer, [u8; 32])>,
    /// Signer of the validator, if the producer does not have the key.
    pub signer: Option<SignerConfig>,
}

impl core::fmt::Debug for ChainParts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ChainParts").finish_non_exhaustive()
    }
}

/// Handle of the chain thread. Dropping it ends the thread after the current unit of work.
#[derive(Debug)]
pub struct ChainThread {
    inbox: Inbox,
    thread: Option<JoinHandle<()>>,
}

impl ChainThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// Fails if the system refuses a thread.
    pub fn start(parts: ChainParts) -> io::Result<Self> {
        let (inbox, outlet) = inbox();
        let failure = parts.failure.clone();
        let mut worker = Worker::new(parts, inbox.clone())?;
        let stop = inbox.clone();
        failure.on_panic(move || stop.stop());
        // Published here, so that an early query returns the initial status.
        let status = worker.status();
        worker.view.publish(status);
        let thread = std::thread::Builder::new()
            .name("chain".to_owned())
            .spawn(move || {
                let _ = failure.watch(|| worker.run(&outlet));
            })?;
        Ok(Self {
            inbox,
            thread: Some(thread),
        })
    }

    /// Returns the sending half of the thread's inbox.
    #[must_use]
    pub const fn inbox(&self) -> &Inbox {
        &self.inbox
    }
}

impl Drop for ChainThread {
    fn drop(&mut self) {
        self.inbox.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been recorded already.
            let _ = thread.join();
        }
    }
}

struct Worker {
    store: Store,
    network: NetworkHandle,
    inbox: Inbox,
    view: ChainView,
    published: (Instant, ChainStatus),
    /// True if there may be changes that are not published yet.
    is_stale: bool,
    dir: Option<ChainDir>,
    signing_key: Option<[u8; 32]>,
    signer: Option<SignerClient>,
    mempool_file: MempoolFile,
    clock: Clock,
    threads: Threads,
    assembler: Assembler,
    /// Chain identity that was announced to peers last.
    announced_identity: Option<ChainIdentity>,
    watches: Watches,
    waiting_forks: WaitingForks,
    /// Reason the head is not in the head journal, if it is not.
    head_failure: Option<String>,
    /// Head that is not saved yet.
    unsaved: Option<Unsaved>,
    /// Time that saving a head took last.
    saving_took: Duration,
    chain: Chain,
}

/// Head that is not saved yet.
struct Unsaved {
    head: Head,
    saved: SavedHead,
    /// Time since which the head journal is behind.
    since: Instant,
}

impl Worker {
    fn new(parts: ChainParts, inbox: Inbox) -> io::Result<Self> {
        let signer = parts
            .signer
            .map(|config| SignerClient::start(config, inbox.clone(), &parts.failure));
        let (producer, signing_key) = parts.validator.unzip();
        let chain = Chain::new(parts.sync, parts.saved);
        let chain = match producer {
            Some(producer) => chain.with_producer(producer),
            None => chain,
        };
        let clock = Clock::start();
        let cold = parts.store.cold().map(|cold| cold.path().to_owned());
        let dir = parts.dir.as_ref().map(|dir| dir.path().to_owned());
        let directories = [cold, dir, Some(parts.state_dir)];
        let waiting_forks = WaitingForks::load(parts.dir.as_ref());
        Ok(Self {
            store: parts.store,
            network: parts.network,
            inbox,
            view: parts.view,
            published: (Instant::ZERO, ChainStatus::default()),
            is_stale: true,
            dir: parts.dir,
            signing_key,
            signer: signer.transpose()?,
            mempool_file: parts.mempool_file,
            clock,
            threads: Threads::of_machine(),
            assembler: Assembler::start(clock, &parts.failure)?,
            announced_identity: None,
            watches: Watches::new(directories.into_iter().flatten()),
            waiting_forks,
            head_failure: None,
            unsaved: None,
            saving_took: Duration::ZERO,
            chain: chain.with_mempool(parts.mempool),
        })
    }

    fn run(mut self, outlet: &Outlet) {
        loop {
            let mut timeout = self.timeout();
            for _ in 0..INPUTS_PER_TURN {
                match outlet.take(timeout) {
                    Taken::Input(input) => self.handle(&input),
                    Taken::TimedOut => break,
                    Taken::Stop => {
                        self.chain.flush();
                        self.carry_out();
                        self.save_head();
                        return;
                    }
                }
                timeout = Some(Duration::ZERO);
            }
            self.advance();
            self.save_head_if_due();
            let (now, head) = (self.now(), self.chain.context().head());
            self.watches.run(now, &self.store, head);
            self.publish_status();
        }
    }

    /// Returns the time until there is something to do, or `None` if there is nothing.
    fn timeout(&self) -> Option<Duration> {
        let now = self.clock.now();
        let work = self.chain.poll_timeout();
        // Otherwise changes would stay unpublished until there is work again.
        let publish = self.is_stale.then(|| self.published.0 + PUBLISH_INTERVAL);
        let watch = Some(self.watches.poll_timeout());
        let save = self.unsaved.as_ref().map(|unsaved| self.save_due(unsaved));
        let deadline = [work, publish, watch, save].into_iter().flatten().min();
        deadline.map(|deadline: Instant| deadline.since(now))
    }

    fn now(&self) -> Now {
        Now {
            instant: self.clock.now(),
            unix: clock::unix_time(),
        }
    }

    fn handle(&mut self, input: &Input) {
        self.watches.input(self.now(), input);
        self.call(|chain, world| chain.handle_input(world, input));
        self.carry_out();
    }

    fn advance(&mut self) {
        self.call(Chain::advance);
        self.carry_out();
        self.announce_identity();
    }

    /// Announces to peers which chain this node follows, if that has changed.
    fn announce_identity(&mut self) {
        let identity = self.chain.identity();
        if self.announced_identity != Some(identity) {
            self.announced_identity = Some(identity);
            self.request(self.network.set_chain_identity(identity));
        }
    }

    fn call(&mut self, call: impl FnOnce(&mut Chain, &Environment<'_>)) {
        let world = Environment {
            now: self.now(),
            atoms: &self.store,
            parallel: &self.threads,
        };
        call(&mut self.chain, &world);
        while let Some(event) = self.chain.poll_event() {
            log_event(&event);
        }
    }

    fn carry_out(&mut self) {
        let mut offers = Vec::new();
        while let Some(action) = self.chain.poll_effect() {
            match action {
                Effect::Advertise { id, kind, lifetime } => {
                    let lifetime = Some(lifetime);
                    offers.push(Advertisement { id, kind, lifetime });
                }
                Effect::Commit(commit) => {
                    let block = commit.block;
                    let outcome = self.commit(*commit);
                    let committed = Input::Committed { block, outcome };
                    self.call(|chain, world| chain.handle_input(world, &committed));
                }
                Effect::StoreBlock { block, atoms } => {
                    let outcome = self.store.put_deferred(atoms);
                    let outcome = outcome.map_err(|error| error.failure());
                    let stored = Input::BlockStored { block, outcome };
                    self.call(|chain, world| chain.handle_input(world, &stored));
                }
                Effect::Sign(job) => {
                    if let Err(failure) = self.request_signature(&job) {
                        let number = job.number;
                        let update = SignerUpdate::NotStored { number, failure };
                        let refused = Input::Signer(update);
                        self.call(|chain, world| chain.handle_input(world, &refused));
                    } else if let Some(signer) = &self.signer {
                        signer.sign(*job);
                    }
                }
                action => self.carry_out_one(action),
            }
        }
        if !offers.is_empty() {
            self.request(self.network.advertise_all(offers));
        }
    }

    fn carry_out_one(&mut self, action: Effect) {
        match action {
            Effect::Fetch(request) => {
                let inbox = self.inbox.clone();
                self.request(self.network.fetch_for_chain(request, inbox));
            }
            Effect::Stream(request) => {
                let inbox = self.inbox.clone();
                self.request(self.network.stream_for_chain(request, inbox));
            }
            Effect::CancelStream(number) => {
                self.request(self.network.cancel_stream(number));
            }
            Effect::Store(atoms) => {
                if let Err(error) = self.store.put_all(atoms) {
                    log::error!("failed to store atoms of the chain: {error}");
                }
            }
            Effect::SetHead { head, saved } => self.set_head(head, saved),
            Effect::Assemble(job) => {
                let (store, inbox) = (self.store.clone(), self.inbox.clone());
                if self.assembler.run(*job, store, inbox).is_err()
                    && let Some(more) = log::limited("assembly refused")
                {
                    log::warn!("skipped block assembly: the worker is busy{more}");
                }
            }
            Effect::CancelAssembly => self.assembler.cancel(),
            Effect::CancelSigning => {
                if let Some(signer) = &self.signer {
                    signer.cancel();
                }
            }
            Effect::Keep(atoms) => {
                for (id, atom) in atoms {
                    // If memory is full, the atom is fetched from peers when needed.
                    let _ = self.store.keep(id, atom);
                }
            }
            Effect::Announce { transaction, to } => {
                let inbox = self.inbox.clone();
                self.request(self.network.announce_for_chain(transaction, to, inbox));
            }
            Effect::SaveMempool(save) => self.mempool_file.save(save),
            Effect::SaveDecisions(decisions) => {
                let saved = self.dir.as_ref().map(|dir| dir.save_decisions(&decisions));
                if let Some(Err(error)) = saved {
                    log::error!("failed to save the fork decision, lost at a restart: {error}");
                }
            }
            Effect::SetValidator(validates) => self.request(self.network.set_validator(validates)),
            // Handled by the caller.
            Effect::Advertise { .. }
            | Effect::Commit(_)
            | Effect::StoreBlock { .. }
            | Effect::Sign(_) => {}
        }
    }

    fn set_head(&mut self, head: Head, saved: SavedHead) {
        self.request(self.network.set_head(head.id()));
        let since = self.unsaved.as_ref().map(|unsaved| unsaved.since);
        self.unsaved = Some(Unsaved {
            head,
            saved,
            since: since.unwrap_or_else(|| self.clock.now()),
        });
    }

    /// Saves the head if there is nothing else to do, or if it is due.
    fn save_head_if_due(&mut self) {
        let now = self.clock.now();
        let is_busy = self.chain.poll_timeout().is_some_and(|at| at <= now);
        if let Some(unsaved) = &self.unsaved
            && (!is_busy || self.save_due(unsaved) <= now)
        {
            self.save_head();
        }
    }

    /// Returns when a head is saved although there is more to do: so late that saving takes a small
    /// part of the time on a slow disk.
    fn save_due(&self, unsaved: &Unsaved) -> Instant {
        unsaved.since + SAVE_INTERVAL.max(self.saving_took.saturating_mul(SAVE_SHARE))
    }

    /// Saves the head, if that is not done yet.
    fn save_head(&mut self) {
        let Some(Unsaved { head, saved, .. }) = self.unsaved.take() else {
            return;
        };
        let started = self.clock.now();
        let failure = self.journal_head(&head, &saved).err();
        self.saving_took = self.clock.now().since(started);
        let failure = failure.map(|error| error.to_string());
        if let (None, Some(error)) = (&self.head_failure, &failure) {
            log::error!("failed to save the head, a restart resumes from an earlier one: {error}");
        }
        self.head_failure = failure;
    }

    /// Appends a head to the journal after the atoms that it refers to are on the disk.
    fn journal_head(&mut self, head: &Head, saved: &SavedHead) -> Result<(), StoreFailure> {
        let Some(dir) = &mut self.dir else {
            return Ok(());
        };
        self.store.sync().map_err(|error| error.failure())?;
        let known = dir.journal().and_then(|journal| journal.header().genesis);
        let genesis = match (saved.root, known) {
            _ if head.block().is_genesis() => Some(head.id()),
            (Some(root), Some(known)) if root == known => Some(known),
            (Some(root), _) => {
                let root = Block::read(&self.store, root).ok();
                root.filter(|root| root.is_genesis()).map(|root| root.id())
            }
            (None, _) => None,
        };
        let journaled = dir.save_head(saved, genesis);
        journaled.map_err(|error: ChainDirError| error.failure())
    }

    /// Stores a block of our own, then its signing record.
    fn commit(&mut self, commit: Commit) -> Result<(), StoreFailure> {
        self.store_durably(commit.atoms)?;
        let saved = match self.dir.as_mut().zip(self.signing_key) {
            Some((dir, key)) => dir.save_signing_record(&key, &commit.signed),
            // A validator needs a directory; without one it does not start.
            None => Err(ChainDirError::NoDirectory),
        };
        saved.map_err(|error| error.failure())
    }

    /// Saves a block before its signature is requested, so that it can be published after a crash.
    fn request_signature(&self, job: &SigningJob) -> Result<(), StoreFailure> {
        let saved = match self.dir.as_ref().zip(self.signing_key) {
            Some((dir, key)) => dir.save_signing_request(&key, &job.block),
            None => Err(ChainDirError::NoDirectory),
        };
        saved.map_err(|error| error.failure())
    }

    /// Stores atoms; if there is cold storage, they are on the disk on return, whatever
    /// `cold_storage_sync` is.
    fn store_durably(&self, atoms: Vec<(AtomId, Atom)>) -> Result<(), StoreFailure> {
        let stored = self.store.put_all(atoms).and_then(|_| self.store.sync());
        stored.map_err(|error| error.failure())
    }

    /// Ignores the result of a request to the network. If the network has stopped, this thread is
    /// stopped next.
    #[expect(clippy::unused_self, reason = "called like the request that it wraps")]
    fn request<E>(&self, asked: Result<(), E>) {
        drop(asked);
    }

    fn status(&mut self) -> ChainStatus {
        let mut status = self.chain.status();
        self.watches.add_to(&mut status);
        status.head_failure.clone_from(&self.head_failure);
        self.waiting_forks.update(&status.sync);
        status.waiting_forks = self.waiting_forks.forks().to_vec();
        status
    }

    fn publish_status(&mut self) {
        let (at, published) = &self.published;
        let now = self.clock.now();
        let head = self.chain.context().head();
        self.is_stale = head == published.head.as_ref() && now.since(*at) < PUBLISH_INTERVAL;
        if self.is_stale {
            return;
        }
        let status = self.status();
        self.waiting_forks.save(self.dir.as_ref());
        if status != self.published.1 {
            self.view.publish(status.clone());
        }
        self.published = (now, status);
    }
}

fn log_event(event: &Event) {
    if let Some(more) = log::limited(event.kind()) {
        match event.level() {
            Level::Error => log::error!("{event}{more}"),
            Level::Warn => log::warn!("{event}{more}"),
            Level::Info => log::info!("{event}{more}"),
        }
    }
}
