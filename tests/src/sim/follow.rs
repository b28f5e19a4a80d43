//! Chain of a simulated node, driven like the node's own chain thread.

use super::host::{ClockError, Host, Running, Sabotage, StreamCommand};
use super::ledger::{EPOCH, Ledger};
use super::promises::Note;
use crate::heap::{self, Part};
use astreum_core::atom::AtomId;
use astreum_core::chain::{Block, Transaction};
use astreum_core::consensus::Event as ChainEvent;
use astreum_core::consensus::mempool::Save;
use astreum_core::consensus::mempool::saved::MAGIC;
use astreum_core::consensus::producer::NoInterrupt;
use astreum_core::crypto::PublicKey;
use astreum_core::engine::{Event, Extent, FetchId, FetchRequest, Recipient};
use astreum_core::time::Instant;
use astreum_core::wire::object::PayloadType;
use astreum_node::chain_service::producer::Activity;
use astreum_node::chain_service::{
    Chain, Effect, Environment, Head, HeadState, Input, Now, SavedHead, Serial, SignedBlock,
};
use astreum_node::simd::Lanes;
use astreum_node::store::Store;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Virtual time of one nonce attempt. Slow machines make chains with little work, which many trials
/// can afford.
const ATTEMPT: Duration = Duration::from_millis(8);
/// Virtual time of any other step.
const STEP: Duration = Duration::from_micros(10);
/// Maximum time by which a recovered block may lie in the future, in seconds.
const MAX_FUTURE_SECONDS: u64 = 2;
/// Time for which a transaction is advertised.
const ADVERTISEMENT_LIFETIME: Duration = Duration::from_secs(900);

/// Chain of a running node.
pub struct Following {
    chain: Chain,
    fetches: BTreeMap<FetchId, FetchRequest>,
    /// Time of its next planned call.
    pub wakes_at: Option<Instant>,
    /// End of its current work; it may not be called before.
    busy_until: Instant,
}

impl Following {
    /// Returns the chain.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }
}

impl Host {
    /// Lets a node that has just started follow the chain. If it refuses to start, the operator
    /// recovers the missing files from cold storage. Returns `false` if the recovery fails or the
    /// disk refuses writes.
    pub fn follow(&mut self, now: Instant, ledger: &Ledger) -> bool {
        let latest = self.unix(now).as_secs() + MAX_FUTURE_SECONDS;
        let Some(running) = self.running.as_mut() else {
            return false;
        };
        if !self.is_provisioned {
            if running.store.put_all(ledger.atoms()).is_err() {
                return false;
            }
            let first = ledger.first_head();
            self.files.begin([&first].into_iter(), Some(first.id));
            self.is_provisioned = true;
        }
        let mut has_seeds = self.has_seeds;
        match self.sabotage {
            Some(Sabotage::ForgetsMempool) => self.files.mempool.clear(),
            Some(Sabotage::StartsAnyway) if self.files.is_bare() => has_seeds = false,
            _ => {}
        }
        let (key, files) = (self.key, &mut self.files);
        let mut opened = match self.sabotage {
            Some(Sabotage::StartsAnyway) => {
                Ok(files.open(key, true, &running.store).unwrap_or_default())
            }
            _ => files.open(key, has_seeds, &running.store),
        };
        if let Err(refusal) = opened {
            self.refusals.push(refusal);
            if files.recover(key, &running.store, latest) {
                opened = files.open(key, has_seeds, &running.store);
            }
        }
        let Ok(start) = opened else {
            return false;
        };
        if self.pruning.blocks > 0
            && let Some(newest) = self.files.newest_head()
        {
            match self.check_kept_blocks(newest) {
                Ok(_) => self.pruning.checks += 1,
                Err(what) => self
                    .notes
                    .push(Note::Broken(format!("{what}, after a start"))),
            }
        }
        let Some(running) = self.running.as_mut() else {
            return false;
        };
        running.following = Some(Following {
            chain: ledger.chain(key, has_seeds, start, &self.files.mempool),
            fetches: BTreeMap::new(),
            wakes_at: None,
            busy_until: Instant::ZERO,
        });
        true
    }

    /// Shuts its node down cleanly.
    pub fn stop(&mut self, now: Instant) {
        if let Some(following) = self.following() {
            following.chain.flush();
            self.carry_out(now);
        }
        self.running = None;
    }

    /// Passes an event to the chain, if it concerns the chain.
    pub fn handle_event(&mut self, now: Instant, event: &Event) {
        if self.following().is_none() {
            return;
        }
        if let Event::Head { peer, .. } = event
            && let Some(running) = self.running.as_ref()
            && let Some(info) = running.engine.peer(peer)
            && info.is_validator
            && info.is_validated
        {
            self.input(now, &Input::ValidatorSeen { peer: *peer });
        }
        let Some(following) = self.following() else {
            return;
        };
        let input = match event {
            Event::ChainIdentity { peer, identity } => Input::PeerIdentity {
                peer: *peer,
                identity: *identity,
            },
            Event::Head {
                peer,
                group,
                id,
                is_default_seed,
                is_seed,
            } => Input::PeerHead {
                peer: *peer,
                group: *group,
                id: *id,
                is_default_seed: *is_default_seed,
                is_seed: *is_seed,
            },
            Event::PeerRemoved { peer, .. } => Input::PeerGone { peer: *peer },
            Event::Transaction { peer, group, id } => Input::Transaction {
                peer: Some(*peer),
                group: Some(*group),
                id: *id,
            },
            Event::Fetched {
                fetch, atoms, from, ..
            } => {
                let Some(request) = following.fetches.remove(fetch) else {
                    return;
                };
                let _scope = heap::enter(self.number, Part::Store);
                if let Some(running) = self.running.as_ref() {
                    for (id, atom) in atoms.with_ids() {
                        // An atom that does not fit into memory is part of the input as well.
                        let _ = running.store.keep(id, atom.clone());
                    }
                }
                fetch_result(request, Ok(atoms.to_vec()), *from)
            }
            Event::FetchFailed {
                fetch,
                error,
                atoms,
                ..
            } => {
                let Some(request) = following.fetches.remove(fetch) else {
                    return;
                };
                if let Some(running) = self.running.as_ref() {
                    for (id, atom) in atoms.with_ids() {
                        // Kept so that the beginning of a list is not fetched again.
                        let _ = running.store.keep(id, atom.clone());
                    }
                }
                fetch_result(request, Err(*error), None)
            }
            _ => return,
        };
        self.input(now, &input);
    }

    /// Accepts a payment of this node's own user.
    pub fn send(&mut self, now: Instant, transaction: &Transaction) {
        let Some(running) = self.running.as_mut() else {
            return;
        };
        let id = transaction.id();
        let scope = heap::enter(self.number, Part::Store);
        if running.following.is_none() || running.store.put_all(transaction.to_atoms()).is_err() {
            return;
        }
        drop(scope);
        let scope = heap::enter(self.number, Part::Engine);
        for head in [id, transaction.body_hash()] {
            running.engine.advertise(
                now,
                head,
                PayloadType::LIST,
                Some(now + ADVERTISEMENT_LIFETIME),
            );
        }
        running
            .engine
            .send_transaction(now, id, Recipient::Validators);
        drop(scope);
        let (peer, group) = (None, None);
        self.input(now, &Input::Transaction { peer, group, id });
    }

    fn following(&mut self) -> Option<&mut Following> {
        self.running.as_mut()?.following.as_mut()
    }

    /// Passes an input to the chain.
    pub fn input(&mut self, now: Instant, input: &Input) {
        self.call(now, |chain, world| chain.handle_input(world, input));
        self.carry_out(now);
        if let Some(following) = self.following() {
            // It continues as soon as it is no longer busy.
            following.wakes_at = None;
        }
    }

    /// Lets the chain do one unit of its work.
    pub fn advance(&mut self, now: Instant) {
        self.call(now, Chain::advance);
        self.carry_out(now);
        if let Some(following) = self.following() {
            let producer = following.chain.producer();
            let is_mining = producer
                .is_some_and(|producer| matches!(producer.activity(), Activity::Mining { .. }));
            following.busy_until = now + if is_mining { ATTEMPT } else { STEP };
        }
    }

    /// Returns the time of the next call of the chain, unless that has been planned already.
    pub fn plan_chain(&mut self, now: Instant) -> Option<Instant> {
        let following = self.following()?;
        let due = following.chain.poll_timeout().unwrap_or(now);
        let due = due.max(following.busy_until).max(now + STEP);
        if following.wakes_at.is_some_and(|at| at <= due && at > now) {
            return None;
        }
        following.wakes_at = Some(due);
        Some(due)
    }

    /// Returns the time of this machine's wall clock.
    fn unix(&self, now: Instant) -> Duration {
        let true_time = EPOCH + now.since(Instant::ZERO);
        let true_time = match self.clock {
            ClockError::None => true_time,
            ClockError::Ahead(by) => true_time + by,
            ClockError::Behind(by) => true_time.saturating_sub(by),
            ClockError::Unset => now.since(Instant::ZERO),
        };
        if self.is_fast {
            true_time + self.skew
        } else {
            true_time.saturating_sub(self.skew)
        }
    }

    fn call(&mut self, now: Instant, call: impl FnOnce(&mut Chain, &Environment<'_>)) {
        let unix = self.unix(now);
        let _scope = heap::enter(self.number, Part::Chain);
        if let Some(running) = self.running.as_mut()
            && let Running {
                engine,
                store,
                following: Some(following),
                ..
            } = running
        {
            let world = Environment {
                now: Now { instant: now, unix },
                atoms: store,
                parallel: &Serial,
            };
            call(&mut following.chain, &world);
            while let Some(event) = following.chain.poll_event() {
                let _scope = heap::leave();
                self.notes.extend(note(event));
            }
            let identity = following.chain.identity();
            engine.set_chain_identity(now, identity);
        }
    }

    fn carry_out(&mut self, now: Instant) {
        while let Some(action) = self
            .following()
            .and_then(|following| following.chain.poll_effect())
        {
            let Some(running) = self.running.as_mut() else {
                return;
            };
            let _scope = heap::enter(self.number, Part::Engine);
            match action {
                Effect::Fetch(request) => {
                    let fetch = running.engine.fetch(now, request);
                    if let Some(following) = running.following.as_mut() {
                        following.fetches.insert(fetch, request);
                    }
                }
                Effect::Stream(request) => {
                    running
                        .stream_commands
                        .push(StreamCommand::Request(request));
                }
                Effect::CancelStream(number) => {
                    running.stream_commands.push(StreamCommand::Cancel(number));
                }
                Effect::Store(atoms) => {
                    // A disk that refuses leaves it in memory, or to be fetched again.
                    let _scope = heap::enter(self.number, Part::Store);
                    if running.store.put_all(atoms.clone()).is_err() {
                        for (id, atom) in atoms {
                            let _ = running.store.keep(id, atom);
                        }
                    }
                }
                Effect::StoreBlock { block, atoms } => {
                    let scope = heap::enter(self.number, Part::Store);
                    let stored = running.store.put_deferred(atoms);
                    drop(scope);
                    let outcome = stored.map_err(|error| error.failure());
                    let input = Input::BlockStored { block, outcome };
                    self.call(now, |chain, world| chain.handle_input(world, &input));
                }
                Effect::Commit(commit) => {
                    let block = commit.block;
                    let scope = heap::enter(self.number, Part::Store);
                    let stored = running.store.put_all(commit.atoms);
                    drop(scope);
                    let outcome = stored.map(|_| ()).map_err(|error| error.failure());
                    if let (Ok(()), Some(key)) = (&outcome, self.key) {
                        self.files.save_signed(key, commit.signed);
                    }
                    let input = Input::Committed { block, outcome };
                    self.call(now, |chain, world| chain.handle_input(world, &input));
                }
                Effect::SetHead { head, saved } => {
                    let _scope = heap::leave();
                    let genesis = genesis(&running.store, &head, &saved);
                    self.notes.extend(genesis.map(Note::Genesis));
                    if head.state() == HeadState::Own && !head.block().is_genesis() {
                        self.notes.push(Note::Published(SignedBlock {
                            parent: head.block().previous,
                            block: head.id(),
                            height: head.height(),
                            timestamp: head.timestamp(),
                        }));
                    }
                    if running.store.sync().is_ok() {
                        self.files.save_head(&saved, genesis);
                    }
                    let _scope = heap::enter(self.number, Part::Engine);
                    running.engine.set_head(now, Some(head.id()));
                }
                Effect::Assemble(job) => {
                    let _scope = heap::enter(self.number, Part::Chain);
                    let room = running.store.room_bytes();
                    let assembled =
                        job.run(&running.store, &mut Lanes::new(), &mut NoInterrupt, room);
                    let input = Input::Assembled(Arc::new(assembled));
                    self.call(now, |chain, world| chain.handle_input(world, &input));
                }
                Effect::CancelAssembly | Effect::Sign(_) | Effect::CancelSigning => {}
                Effect::Keep(atoms) => {
                    let _scope = heap::enter(self.number, Part::Store);
                    for (id, atom) in atoms {
                        let _ = running.store.keep(id, atom);
                    }
                }
                Effect::Announce { transaction, to } => {
                    let validators = running.engine.send_transaction(now, transaction, to);
                    if to == Recipient::Validators {
                        let input = Input::Announced {
                            transaction,
                            validators,
                        };
                        self.call(now, |chain, world| chain.handle_input(world, &input));
                    }
                }
                Effect::SaveMempool(Save::Append { bytes, .. }) => {
                    let _scope = heap::leave();
                    if self.files.mempool.is_empty() {
                        self.files.mempool.extend(MAGIC);
                    }
                    self.files.mempool.extend(bytes);
                }
                Effect::SaveMempool(Save::Replace(bytes)) => self.files.mempool = bytes,
                // Simulated operators do not decide on forks.
                Effect::SaveDecisions(_) => {}
                Effect::SetValidator(validates) => running.engine.set_validator(now, validates),
                Effect::Advertise { id, kind, lifetime } => {
                    running
                        .engine
                        .advertise(now, id, kind, Some(now + lifetime));
                }
            }
        }
    }
}

/// Returns the part of an event that concerns promises.
fn note(event: ChainEvent) -> Option<Note> {
    match event {
        ChainEvent::ChainCreated { genesis, .. } => Some(Note::Genesis(genesis)),
        ChainEvent::ProducerHalted(_) => Some(Note::Halted),
        ChainEvent::TransactionRefused { id, refusal } => {
            Some(Note::Refused(id, refusal.to_string()))
        }
        ChainEvent::TransactionExpired { id, .. } => Some(Note::Refused(id, "expired".to_owned())),
        _ => None,
    }
}

/// Returns the first block of the chain of a head, if it is known.
fn genesis(store: &Store, head: &Head, saved: &SavedHead) -> Option<AtomId> {
    if head.block().is_genesis() {
        return Some(head.id());
    }
    let root = Block::read(store, saved.root?).ok()?;
    root.is_genesis().then(|| root.id())
}

fn fetch_result(
    request: FetchRequest,
    outcome: Result<Vec<astreum_core::atom::Atom>, astreum_core::engine::FetchError>,
    from: Option<PublicKey>,
) -> Input {
    let id = request.id;
    match request.extent {
        Extent::Beginning(_) => Input::Fetched { id, outcome, from },
        Extent::Whole(_) => {
            let outcome = outcome.map(|_| ());
            Input::FetchedSmall { id, outcome }
        }
    }
}
