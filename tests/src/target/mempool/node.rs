//! Mempool with its host: calls, requests that are answered or not, and restarts.

mod promises;

use super::Reached;
use super::world::{HONEST_SENDER, World};
use crate::target::scene::{self, group, peer};
use astreum_core::atom::{AtomId, AtomSource as _};
use astreum_core::chain::write_atoms;
use astreum_core::consensus::mempool::pool::MAX_AGE;
use astreum_core::consensus::mempool::waiting::SLICE_PAUSE;
use astreum_core::consensus::mempool::{
    Mempool, MempoolConfig, PoolLimits, Refusal, Save, Standing,
};
use astreum_core::consensus::{
    Component, Context, Effect, Environment, Event, Head, HeadState, Input, Now, PART,
};
use astreum_core::engine::{Extent, FetchError, FetchRequest, ListLimit};
use astreum_core::testkit::{ChainHost, HostStore as _, LocalStore, part};
use astreum_core::time::Instant;
use core::cell::RefCell;
use core::time::Duration;
use promises::Snapshot;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of consecutive calls until the mempool has come to rest.
const MAX_CALLS: usize = 4_000;
/// Wall clock at the start.
const START: u64 = scene::BEGINNING + 1_000;
/// Maximum number of announcements per turn, and duration of a turn.
const ANNOUNCEMENTS: (u128, Duration) = (32, Duration::from_millis(250));
/// Honest peer of the final phase.
const HONEST: u8 = 250;

/// Mempool under test, with its host and the requests in progress.
pub(super) struct Node {
    pub(super) world: &'static World,
    config: MempoolConfig,
    pub(super) host: ChainHost<Mempool>,
    /// True if the saved mempool is damaged.
    is_damaged: bool,
    pub(super) lists: BTreeMap<AtomId, ListLimit>,
    /// Fetches of small lists: their limit, and the request times of those in progress.
    pub(super) small: BTreeMap<AtomId, (ListLimit, Vec<Instant>)>,
    /// Number of announcements, and start time of the count.
    announced: (u128, Instant),
    /// Transactions that were refused or have expired during the current call.
    ended: BTreeSet<AtomId>,
    before: Snapshot,
    /// Transactions whose signatures have been checked.
    signed: RefCell<BTreeSet<AtomId>>,
    pub(super) reached: Reached,
}

fn config(code: u8) -> MempoolConfig {
    let small = PoolLimits {
        transactions: 16,
        bytes: 24 << 10,
        sender_ready: 6,
        sender_waiting: 2,
        sender_bytes: 8 << 10,
    };
    MempoolConfig {
        limits: if code & 1 == 0 {
            small
        } else {
            PoolLimits::default()
        },
        reference_followers: code & 2 != 0,
        is_validator: code & 12 != 12,
    }
}

impl Node {
    pub(super) fn new(code: u8) -> Self {
        let config = config(code);
        let clock = Now {
            instant: Instant::from_secs(1_000),
            unix: Duration::from_secs(START),
        };
        Self {
            world: World::get(),
            config,
            host: ChainHost::new(Mempool::new(config), LocalStore::default(), clock),
            is_damaged: false,
            lists: BTreeMap::new(),
            small: BTreeMap::new(),
            announced: (0, clock.instant),
            ended: BTreeSet::new(),
            before: Snapshot::default(),
            signed: RefCell::default(),
            reached: Reached::default(),
        }
    }

    pub(super) fn call(&mut self, call: impl FnOnce(&mut Mempool, &Environment<'_>, &mut Context)) {
        self.before = Snapshot::of(&self.host.component);
        self.ended.clear();
        self.host.call(call);
        while let Some(event) = self.host.context.poll_event() {
            self.event(&event);
        }
        while let Some(effect) = self.host.context.poll_effect() {
            self.carry_out(effect);
        }
        self.check();
        let pool = self.host.component.pool();
        let reached = &mut self.reached;
        reached.ready = reached.ready.max(pool.ready_count().transactions);
        reached.waiting = reached.waiting.max(pool.waiting_count().transactions);
        reached.included = reached.included.max(pool.included_count().transactions);
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::TransactionRefused { id, refusal } => {
                assert!(
                    *refusal != Refusal::Displaced || !self.before.ready.contains(id),
                    "ready transaction {id} was displaced"
                );
                let is_displaced = *refusal == Refusal::Displaced;
                self.reached.displaced += usize::from(is_displaced);
                self.reached.refused += usize::from(!is_displaced);
                self.ended.insert(*id);
            }
            Event::TransactionExpired { id, .. } => {
                self.reached.expired += 1;
                self.ended.insert(*id);
            }
            Event::TransactionsReturned(report) => self.reached.returned += report.returned,
            _ => {}
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Fetch(FetchRequest {
                id,
                extent: Extent::Beginning(limit),
                ..
            }) => {
                let before = self.lists.insert(id, limit);
                assert!(before.is_none(), "{id} is fetched twice at once");
            }
            Effect::Fetch(FetchRequest {
                id,
                extent: Extent::Whole(limit),
                ..
            }) => {
                let fetch = self.small.entry(id).or_insert((limit, Vec::new()));
                fetch.1.push(self.host.instant());
            }
            Effect::Announce { transaction, .. } => {
                let (count, since) = &mut self.announced;
                *count += 1;
                let turns =
                    1 + self.host.instant().since(*since).as_millis() / ANNOUNCEMENTS.1.as_millis();
                assert!(
                    *count <= turns * ANNOUNCEMENTS.0,
                    "{count} announcements in {turns} intervals"
                );
                let held = self.host.component.pool().get(&transaction);
                let is_here = held.is_some_and(|held| {
                    let body = held.entry.transaction.body_hash();
                    [transaction, body]
                        .iter()
                        .all(|id| self.host.store.atom(id).is_ok())
                });
                assert!(is_here, "{transaction} is announced but not stored");
            }
            Effect::Keep(_) | Effect::SaveMempool(Save::Append { .. }) => {
                self.host.carry_out(effect);
            }
            Effect::SaveMempool(Save::Replace(_)) => {
                self.host.carry_out(effect);
                self.is_damaged = false;
            }
            Effect::SetHead { .. } => {}
            other => panic!("unexpected effect of a mempool: {other:?}"),
        }
    }

    /// Calls the mempool until it waits for input or for a time.
    pub(super) fn settle(&mut self) {
        for _ in 0..MAX_CALLS {
            self.call(Mempool::advance);
            if !self.host.is_due() {
                return;
            }
        }
        panic!(
            "the mempool does not become idle: {:?}",
            self.host.component
        );
    }

    pub(super) fn input(&mut self, input: &Input) {
        self.call(|mempool, environment, context| {
            mempool.handle_input(environment, context, input);
        });
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        self.host.pass(duration);
    }

    pub(super) fn announce(&mut self, id: AtomId, from: Option<u8>) {
        self.input(&Input::Transaction {
            peer: from.map(peer),
            group: from.map(group),
            id,
        });
    }

    /// Submits a transaction of a local user, and stores it.
    pub(super) fn submit(&mut self, id: AtomId) {
        for head in self.world.parts_of(id) {
            let atoms = part(&self.world.network, head, PART, usize::MAX);
            self.host.store.stored.extend(atoms);
        }
        self.announce(id, None);
    }

    pub(super) fn adopt(&mut self, id: AtomId, with_state: bool) {
        let Some((block, atoms)) = self.world.blocks.get(&id) else {
            return;
        };
        let own: BTreeSet<AtomId> = block.to_atoms().iter().map(|(id, _)| *id).collect();
        let kept = atoms
            .iter()
            .filter(|(id, _)| with_state || own.contains(id));
        let Ok(()) = write_atoms(kept.cloned().collect(), &mut self.host.store.stored);
        if let Some(head) = Head::new(block.clone(), HeadState::Verified) {
            self.host.context.set_head(head);
        }
    }

    pub(super) fn end_small(&mut self, id: AtomId, code: u8) {
        let limit = match self.small.get_mut(&id) {
            Some((limit, asked)) => {
                asked.pop();
                *limit
            }
            None => PART,
        };
        self.small.retain(|_, (_, asked)| !asked.is_empty());
        let errors = [
            FetchError::NotFound,
            FetchError::Timeout,
            FetchError::TooLarge,
        ];
        let input = match errors.get(usize::from(code)) {
            Some(error) => Input::FetchedSmall {
                id,
                outcome: Err(*error),
            },
            None => self.host.fetch_small(&self.world.network, id, limit),
        };
        self.input(&input);
    }

    pub(super) fn end_list(&mut self, id: AtomId, code: u8, keeps: bool) {
        let limit = self.lists.remove(&id).unwrap_or(PART);
        let most = if code < 2 {
            usize::MAX
        } else {
            usize::from(code)
        };
        let atoms = part(&self.world.network, id, limit, most);
        if keeps {
            self.host.store.keep(atoms.iter().cloned());
        }
        let outcome = match code {
            0 => Err(FetchError::Timeout),
            _ if atoms.is_empty() => Err(FetchError::NotFound),
            _ => Ok(atoms),
        };
        let from = None;
        self.input(&Input::Fetched { id, outcome, from });
    }

    /// Stops the mempool, cleanly or not, and starts another one with the file.
    pub(super) fn restart(&mut self, code: u8, at: u8) {
        let kept = if code & 3 == 2 {
            Snapshot::default()
        } else {
            self.call(|mempool, _, context| mempool.flush(context));
            Snapshot::of(&self.host.component)
        };
        self.is_damaged |= code & 3 == 3;
        let is_damaged = self.is_damaged;
        if code & 3 == 3 {
            let at = usize::from(at) * self.host.files.mempool.len() / 256;
            if code & 4 == 0 {
                self.host.files.mempool.truncate(at);
            } else if let Some(byte) = self.host.files.mempool.get_mut(at) {
                *byte ^= 1 << (code >> 5);
            }
        }
        let head = self.host.context.head().cloned();
        self.host.context = Context::new(None);
        self.lists.clear();
        self.small.clear();
        self.announced = (0, self.host.instant());
        self.host.component = Mempool::new(self.config);
        if code & 8 != 0 {
            self.host.store.forget();
        }
        let restored = self.host.component.restore(&self.host.files.mempool);
        assert!(restored.is_ok() || is_damaged, "{restored:?}");
        if let Some(head) = head.filter(|_| code & 16 == 0) {
            self.host.context.set_head(head);
        }
        if is_damaged || self.host.context.head().is_none() {
            return;
        }
        // Refusals and expirations at this time are reported during one of these calls.
        let mut ended = BTreeSet::new();
        for _ in 0..MAX_CALLS {
            self.call(Mempool::advance);
            ended.append(&mut self.ended);
            if !self.host.is_due() {
                break;
            }
        }
        self.reached.restored += self.host.component.pool().pending().count();
        for id in kept.ready.iter().chain(&kept.waiting) {
            let is_known = self.host.component.standing(id).is_some() || ended.contains(id);
            assert!(
                is_known || self.is_in_chain(id),
                "saved transaction {id} is lost"
            );
        }
    }

    /// Answers all requests until none remains.
    pub(super) fn answer_all(&mut self) {
        for _ in 0..MAX_CALLS {
            self.settle();
            let small: Vec<AtomId> = self.small.keys().copied().collect();
            let lists: Vec<AtomId> = self.lists.keys().copied().collect();
            if small.is_empty() && lists.is_empty() {
                // Lists are walked with pauses between slices.
                let due = self
                    .host
                    .component
                    .poll_timeout()
                    .map(|at| at.since(self.host.instant()));
                match due.filter(|due| *due <= SLICE_PAUSE) {
                    Some(due) => self.pass(due),
                    None => return,
                }
            }
            for id in small {
                self.end_small(id, u8::MAX);
            }
            for id in lists {
                self.end_list(id, 1, true);
            }
        }
        panic!("the requests do not end");
    }

    /// Stops the hostile peers; an honest one announces a transaction, which must become ready.
    pub(super) fn recover(&mut self) {
        self.adopt(self.world.best, true);
        self.answer_all();
        // Transactions in the mempool are included, refused or expire.
        self.pass(MAX_AGE);
        self.answer_all();
        assert_eq!(
            self.host.component.pool().pending().count(),
            0,
            "everything expires"
        );
        if !self.config.is_validator {
            self.submit(self.world.honest);
        } else {
            self.announce(self.world.honest, Some(HONEST));
        }
        self.answer_all();
        let standing = self.host.component.standing(&self.world.honest);
        let is_ready = matches!(standing, Some(Standing::Ready { before: 0, .. }));
        assert!(
            is_ready,
            "honest transaction of {HONEST_SENDER} is not ready: {standing:?}"
        );
    }
}
