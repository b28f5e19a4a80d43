//! The chain of a simulated node, driven as the node's own thread drives it.

use super::host::{Host, Running};
use super::ledger::{EPOCH, Ledger};
use astreum_core::atom::AtomId;
use astreum_core::chain::Transaction;
use astreum_core::consensus::mempool::Save;
use astreum_core::consensus::mempool::saved::MAGIC;
use astreum_core::consensus::producer::NoInterrupt;
use astreum_core::crypto::PublicKey;
use astreum_core::time::Instant;
use astreum_core::wire::engine::{Event, FetchId, ListLimit, Recipient};
use astreum_core::wire::object::PayloadType;
use astreum_node::chain::producer::Activity;
use astreum_node::chain::{Chain, Effect, Environment, Input, Now, Serial};
use astreum_node::lanes::Lanes;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one try at a nonce takes of virtual time: slow machines make chains with little work, which
/// many trials can afford.
const ATTEMPT: Duration = Duration::from_millis(8);
/// What any other step takes.
const STEP: Duration = Duration::from_micros(10);
/// How long a transaction is offered.
const OFFERED: Duration = Duration::from_secs(900);

/// A fetch that the chain asked for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    id: AtomId,
    is_small: bool,
}

/// The chain of a node that is up.
pub struct Following {
    chain: Chain,
    fetches: BTreeMap<FetchId, Wanted>,
    /// When it is going to be called.
    pub wakes_at: Option<Instant>,
    /// It may not be called before: it is at work.
    busy_until: Instant,
}

impl Following {
    /// The chain.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }
}

impl Host {
    /// Lets the node that has just started follow the chain. `false` when its disk refuses.
    pub fn follow(&mut self, ledger: &Ledger) -> bool {
        let Some(running) = self.running.as_mut() else {
            return false;
        };
        let saved = match self.saved.clone() {
            Some(saved) => saved,
            None if running.store.put_all(ledger.atoms()).is_ok() => ledger.first_head(),
            None => return false,
        };
        self.saved = Some(saved.clone());
        running.following = Some(Following {
            chain: ledger.chain(self.number, saved, self.signed.clone(), &self.mempool),
            fetches: BTreeMap::new(),
            wakes_at: None,
            busy_until: Instant::ZERO,
        });
        true
    }

    /// Tells the chain of an event, if it is for it.
    pub fn tell(&mut self, now: Instant, event: &Event) {
        let Some(following) = self.following() else {
            return;
        };
        let input = match event {
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
                let Some(wanted) = following.fetches.remove(fetch) else {
                    return;
                };
                let atoms = atoms.clone();
                if let Some(running) = self.running.as_ref() {
                    for atom in &atoms {
                        // What does not fit is in the input all the same.
                        let _ = running.store.keep(atom.id(), atom.clone());
                    }
                }
                ended(wanted, Ok(atoms), *from)
            }
            Event::FetchFailed { fetch, error, .. } => {
                let Some(wanted) = following.fetches.remove(fetch) else {
                    return;
                };
                ended(wanted, Err(*error), None)
            }
            _ => return,
        };
        self.input(now, &input);
    }

    /// Takes a payment of this node's own user.
    pub fn send(&mut self, now: Instant, transaction: &Transaction) {
        let Some(running) = self.running.as_mut() else {
            return;
        };
        let id = transaction.id();
        if running.following.is_none() || running.store.put_all(transaction.to_atoms()).is_err() {
            return;
        }
        for head in [id, transaction.body_hash()] {
            running
                .engine
                .advertise(now, head, PayloadType::LIST, Some(now + OFFERED));
        }
        running
            .engine
            .send_transaction(now, id, Recipient::Validators);
        let (peer, group) = (None, None);
        self.input(now, &Input::Transaction { peer, group, id });
    }

    fn following(&mut self) -> Option<&mut Following> {
        self.running.as_mut()?.following.as_mut()
    }

    fn input(&mut self, now: Instant, input: &Input) {
        self.call(now, |chain, world| chain.handle_input(world, input));
        self.carry_out(now);
        if let Some(following) = self.following() {
            // It goes on as soon as it may.
            following.wakes_at = None;
        }
    }

    /// Lets the chain do one piece of its work.
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

    /// When the chain is to be called, if that has not been planned yet.
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

    /// The time of day that this machine believes in.
    fn unix(&self, now: Instant) -> Duration {
        let true_time = EPOCH + now.since(Instant::ZERO);
        if self.is_fast {
            true_time + self.skew
        } else {
            true_time.saturating_sub(self.skew)
        }
    }

    fn call(&mut self, now: Instant, call: impl FnOnce(&mut Chain, &Environment<'_>)) {
        let unix = self.unix(now);
        if let Some(running) = self.running.as_mut()
            && let Running {
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
            match action {
                Effect::Fetch { id, limit, from } => {
                    want(
                        now,
                        running,
                        Wanted {
                            id,
                            is_small: false,
                        },
                        limit,
                        from,
                    );
                }
                Effect::FetchSmall { id, limit, from } => {
                    want(now, running, Wanted { id, is_small: true }, limit, from);
                }
                Effect::Store(atoms) => {
                    // A disk that refuses leaves it in memory, or to be fetched again.
                    if running.store.put_all(atoms.clone()).is_err() {
                        for (id, atom) in atoms {
                            let _ = running.store.keep(id, atom);
                        }
                    }
                }
                Effect::StoreBlock { block, atoms } => {
                    let stored = running.store.put_all(atoms);
                    let outcome = stored.map(|_| ()).map_err(|error| error.failure());
                    let input = Input::BlockStored { block, outcome };
                    self.call(now, |chain, world| chain.handle_input(world, &input));
                }
                Effect::Commit(commit) => {
                    let block = commit.block;
                    let stored = running.store.put_all(commit.atoms);
                    let outcome = stored.map(|_| ()).map_err(|error| error.failure());
                    if outcome.is_ok() {
                        self.signed = commit.signed;
                    }
                    let input = Input::Committed { block, outcome };
                    self.call(now, |chain, world| chain.handle_input(world, &input));
                }
                Effect::SetHead { head, saved } => {
                    running.engine.set_head(now, Some(head.id()));
                    self.saved = Some(saved);
                }
                Effect::Assemble(job) => {
                    let room = running.store.room_bytes();
                    let assembled =
                        job.run(&running.store, &mut Lanes::new(), &mut NoInterrupt, room);
                    let input = Input::Assembled(Arc::new(assembled));
                    self.call(now, |chain, world| chain.handle_input(world, &input));
                }
                Effect::CancelAssembly => {}
                Effect::Keep(atoms) => {
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
                    if self.mempool.is_empty() {
                        self.mempool.extend(MAGIC);
                    }
                    self.mempool.extend(bytes);
                }
                Effect::SaveMempool(Save::Replace(bytes)) => self.mempool = bytes,
                // No simulated operator decides on forks.
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

fn want(
    now: Instant,
    running: &mut Running,
    wanted: Wanted,
    limit: ListLimit,
    from: Option<PublicKey>,
) {
    let Wanted { id, is_small } = wanted;
    let fetch = if is_small {
        running.engine.fetch_list(now, id, limit, from)
    } else {
        running.engine.fetch_list_part(now, id, limit, from)
    };
    if let Some(following) = running.following.as_mut() {
        following.fetches.insert(fetch, wanted);
    }
}

fn ended(
    wanted: Wanted,
    outcome: Result<Vec<astreum_core::atom::Atom>, astreum_core::wire::engine::FetchError>,
    from: Option<PublicKey>,
) -> Input {
    let Wanted { id, is_small } = wanted;
    if is_small {
        let outcome = outcome.map(|_| ());
        Input::FetchedSmall { id, outcome }
    } else {
        Input::Fetched { id, outcome, from }
    }
}
