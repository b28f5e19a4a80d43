//! Fuzz target of the mempool under hostile inputs in any order: announcements of valid, invalid,
//! malformed and unavailable transactions, fetches that fail, arrive in parts, late, repeated or
//! unsolicited, heads on any branch, clocks that are set, and restarts with arbitrary file content.
//!
//! Promises: pending transactions, fetches and announcements stay within their bounds; each counter
//! equals the number of counted items; a waiting transaction displaces no ready one; no transaction
//! leaves without a reason; saved transactions are restored; the mempool comes to rest; and
//! regardless of earlier inputs, an honest transaction becomes ready in the end.

mod world;

use super::input::{array, operations};
use super::scene::{group, peer, pick};
use arbitrary::{Arbitrary, Unstructured};
use astreum_core::atom::{AtomId, AtomSource as _};
use astreum_core::chain::write_atoms;
use astreum_core::consensus::mempool::announcements::{ANSWER_TIME, MAX_FETCHING, MAX_LINGERING};
use astreum_core::consensus::mempool::pool::{EntryState, MAX_AGE, WAITING_PART};
use astreum_core::consensus::mempool::waiting::{Data, MAX_FETCHES, SLICE_PAUSE};
use astreum_core::consensus::mempool::{
    Mempool, MempoolConfig, PoolLimits, Refusal, Save, Standing,
};
use astreum_core::consensus::{
    Component, Context, Effect, Environment, Event, Head, HeadState, Input, Now, PART,
};
use astreum_core::engine::{Extent, FetchError, FetchRequest, ListLimit};
use astreum_core::integer::Natural;
use astreum_core::testkit::{ChainHost, HostStore as _, LocalStore, part};
use astreum_core::time::Instant;
use core::cell::RefCell;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use world::{BALANCE, HONEST_SENDER, World};

/// Maximum number of steps per run.
const MAX_STEPS: usize = 300;
/// Maximum number of consecutive calls until the mempool has come to rest.
const MAX_CALLS: usize = 4_000;
/// Wall clock at the start.
const START: u64 = super::scene::BEGINNING + 1_000;
/// Maximum number of announcements per turn, and duration of a turn.
const ANNOUNCEMENTS: (u128, Duration) = (32, Duration::from_millis(250));
/// Small fetches without an answer that are younger than [`ANSWER_TIME`]: those that hold a place,
/// those that linger and are requested again, and one of a walk along an abandoned branch.
const MAX_RECENT_FETCHES: usize = MAX_FETCHING + MAX_LINGERING + 1;
/// Number of ids that one step floods the mempool with.
const FLOOD: u8 = 48;
/// Number of peers.
const PEERS: u8 = 240;
/// Honest peer of the final phase.
const HONEST: u8 = 250;

/// Statistics of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// Maximum number of transactions that were ready at once.
    pub ready: usize,
    /// Maximum number of transactions that waited for data at once.
    pub waiting: usize,
    /// Transactions that were displaced by ready ones.
    pub displaced: usize,
    /// Transactions that were refused for another reason.
    pub refused: usize,
    /// Transactions that expired.
    pub expired: usize,
    /// Maximum number of transactions of recent blocks that were remembered at once.
    pub included: usize,
    /// Transactions that returned from abandoned branches.
    pub returned: u64,
    /// Transactions that were pending after a restart.
    pub restored: usize,
}

/// Operation of a hostile run. Transactions, blocks and fetches are numbers of those that exist then.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// A peer announces a transaction.
    Announce {
        transaction: u8,
        peer: u8,
    },
    /// A peer announces some transactions, and all requests are answered.
    AnnounceSome {
        first: u8,
        count: u8,
        peer: u8,
    },
    /// A local user submits some transactions.
    Submit {
        first: u8,
        count: u8,
    },
    /// One peer, or many of them, announce unknown ids.
    Flood {
        id: u8,
        peer: u8,
        is_one_peer: bool,
    },
    EndSmall {
        fetch: u8,
        how: u8,
    },
    EndList {
        fetch: u8,
        how: u8,
        keeps: bool,
    },
    /// Atoms arrive that were not requested, or were before.
    Unsolicited {
        transaction: u8,
        how: u8,
    },
    Adopt {
        block: u8,
        with_state: bool,
    },
    /// Time passes, and the mempool comes to rest.
    Pass(Duration),
    Settle,
    ValidatorSeen(u8),
    PeerGone(u8),
    Announced {
        transaction: u8,
        validators: u8,
    },
    Restart {
        how: u8,
        at: u8,
    },
    Forget,
    /// The wall clock is set forwards or backwards.
    Forward(Duration),
    Backward(Duration),
    /// Time passes between two calls.
    Sleep(Duration),
    AnswerAll,
    Assembled {
        transaction: u8,
        how: u8,
    },
}

impl<'a> Arbitrary<'a> for Operation {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let [code, a, b] = array(input)?;
        let peer = b % PEERS;
        let seconds = |unit| Duration::from_secs(u64::from(a) * unit);
        Ok(match code % 16 {
            0 => Self::Announce {
                transaction: a,
                peer,
            },
            1 => Self::AnnounceSome {
                first: a,
                count: 1 + b % 8,
                peer,
            },
            2 => Self::Submit {
                first: a,
                count: 1 + b % 4,
            },
            3 => Self::Flood {
                id: a,
                peer: b,
                is_one_peer: b & 1 == 0,
            },
            4..=6 => Self::EndSmall { fetch: a, how: b },
            7 | 8 => Self::EndList {
                fetch: a,
                how: b,
                keeps: code & 16 == 0,
            },
            9 => Self::Unsolicited {
                transaction: a,
                how: b,
            },
            10 => Self::Adopt {
                block: a,
                with_state: b & 1 == 0,
            },
            11 => Self::Pass(Duration::from_millis(u64::from(a) * u64::from(b))),
            12 => Self::Settle,
            13 => match b % 4 {
                0 => Self::ValidatorSeen(a % PEERS),
                1 => Self::PeerGone(a % PEERS),
                _ => Self::Announced {
                    transaction: a,
                    validators: b,
                },
            },
            14 => match b % 8 {
                0..=2 => Self::Restart { how: a, at: code },
                3 => Self::Forget,
                4 => Self::Forward(seconds(50)),
                5 => Self::Backward(seconds(50)),
                6 => Self::Sleep(seconds(20)),
                _ => Self::AnswerAll,
            },
            _ => Self::Assembled {
                transaction: a,
                how: b,
            },
        })
    }
}

/// Transactions of the mempool at one time.
#[derive(Default)]
struct Snapshot {
    ready: BTreeSet<AtomId>,
    waiting: BTreeSet<AtomId>,
}

impl Snapshot {
    fn of(mempool: &Mempool) -> Self {
        let pool = mempool.pool();
        Self {
            ready: pool.ready().map(|held| held.entry.id).collect(),
            waiting: pool.waiting().map(|held| held.entry.id).collect(),
        }
    }
}

struct Node {
    world: &'static World,
    config: MempoolConfig,
    host: ChainHost<Mempool>,
    /// True if the saved mempool is damaged.
    is_damaged: bool,
    lists: BTreeMap<AtomId, ListLimit>,
    /// Fetches of small lists: their limit, and the request times of those in progress.
    small: BTreeMap<AtomId, (ListLimit, Vec<Instant>)>,
    /// Number of announcements, and start time of the count.
    announced: (u128, Instant),
    /// Transactions that were refused or have expired during the current call.
    ended: BTreeSet<AtomId>,
    before: Snapshot,
    /// Transactions whose signatures have been checked.
    signed: RefCell<BTreeSet<AtomId>>,
    reached: Reached,
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
    fn new(code: u8) -> Self {
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

    fn call(&mut self, call: impl FnOnce(&mut Mempool, &Environment<'_>, &mut Context)) {
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

    fn check(&self) {
        let (pool, limits) = (self.host.component.pool(), &self.config.limits);
        let (ready, waiting) = (pool.ready_count(), pool.waiting_count());
        assert!(ready.transactions + waiting.transactions <= limits.transactions);
        assert!(ready.bytes + waiting.bytes <= limits.bytes);
        assert!(waiting.transactions <= limits.transactions / WAITING_PART);
        assert!(waiting.bytes <= limits.bytes / WAITING_PART);
        let included = pool.included_count();
        assert!(included.transactions <= limits.transactions && included.bytes <= limits.bytes);
        let bytes: usize = pool.ready().map(|held| held.entry.bytes).sum();
        assert_eq!(
            (pool.ready().count(), bytes),
            (ready.transactions, ready.bytes)
        );
        let bytes: usize = pool.waiting().map(|held| held.entry.bytes).sum();
        assert_eq!(
            (pool.waiting().count(), bytes),
            (waiting.transactions, waiting.bytes)
        );
        let mut shares: BTreeMap<[u8; 32], (usize, usize, usize, Natural)> = BTreeMap::new();
        for held in pool.pending() {
            let entry = &held.entry;
            let share = shares.entry(entry.sender).or_default();
            match held.state() {
                EntryState::Waiting(_) => share.1 += 1,
                _ => share.0 += 1,
            }
            share.2 += entry.bytes;
            share.3 = &share.3 + &entry.charge;
            if self.signed.borrow_mut().insert(entry.id) {
                let signature = entry.transaction.verify_signature();
                assert!(signature.is_ok(), "{}: {signature:?}", entry.id);
            }
        }
        for (ready, waiting, bytes, charge) in shares.values() {
            assert!(*ready <= limits.sender_ready + limits.sender_waiting);
            assert!(*waiting <= limits.sender_waiting && *bytes <= limits.sender_bytes);
            assert!(*charge <= BALANCE, "the balance does not cover {charge}");
        }
        assert!(
            self.lists.len() <= MAX_FETCHES,
            "{} lists",
            self.lists.len()
        );
        let asked = self.small.values().flat_map(|(_, asked)| asked);
        let recent = asked
            .filter(|at| self.host.instant().since(**at) < ANSWER_TIME)
            .count();
        assert!(
            recent <= MAX_RECENT_FETCHES,
            "{recent} fetches without an answer"
        );
        for id in self.before.ready.iter().chain(&self.before.waiting) {
            let is_pending = pool.get(id).is_some();
            assert!(
                is_pending || self.ended.contains(id) || self.is_in_chain(id),
                "{id} vanished"
            );
        }
    }

    /// Returns whether the branch of the head contains a transaction.
    fn is_in_chain(&self, id: &AtomId) -> bool {
        let head = self.host.context.head().map(Head::id);
        head.is_some_and(|head| self.world.includes(head, id))
    }

    /// Calls the mempool until it waits for input or for a time.
    fn settle(&mut self) {
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

    fn input(&mut self, input: &Input) {
        self.call(|mempool, environment, context| {
            mempool.handle_input(environment, context, input);
        });
    }

    fn pass(&mut self, duration: Duration) {
        self.host.pass(duration);
    }

    fn announce(&mut self, id: AtomId, from: Option<u8>) {
        self.input(&Input::Transaction {
            peer: from.map(peer),
            group: from.map(group),
            id,
        });
    }

    /// Submits a transaction of a local user, and stores it.
    fn submit(&mut self, id: AtomId) {
        for head in self.world.parts_of(id) {
            let atoms = part(&self.world.network, head, PART, usize::MAX);
            self.host.store.stored.extend(atoms);
        }
        self.announce(id, None);
    }

    fn adopt(&mut self, id: AtomId, with_state: bool) {
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

    fn end_small(&mut self, id: AtomId, code: u8) {
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

    fn end_list(&mut self, id: AtomId, code: u8, keeps: bool) {
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
    fn restart(&mut self, code: u8, at: u8) {
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

    fn transaction(&self, number: u8) -> AtomId {
        pick(&self.world.ids, number).unwrap_or_default()
    }

    fn transactions(&self, first: u8, count: u8) -> Vec<AtomId> {
        let numbers = (0..count).map(|number| first.wrapping_add(number));
        numbers
            .filter_map(|number| pick(&self.world.ids, number))
            .collect()
    }

    /// Performs one operation of a hostile run.
    fn act(&mut self, operation: Operation) {
        match operation {
            Operation::Announce { transaction, peer } => {
                self.announce(self.transaction(transaction), Some(peer));
            }
            Operation::AnnounceSome { first, count, peer } => {
                for id in self.transactions(first, count) {
                    self.announce(id, Some(peer));
                }
                self.answer_all();
            }
            Operation::Submit { first, count } => {
                for id in self.transactions(first, count) {
                    self.submit(id);
                }
            }
            Operation::Flood {
                id: code,
                peer,
                is_one_peer,
            } => {
                for number in 0..FLOOD {
                    let from = peer.wrapping_add(if is_one_peer { 0 } else { number });
                    let mut id = [code; 32];
                    (id[0], id[1]) = (peer, number);
                    self.announce(AtomId::new(id), Some(from % PEERS));
                }
            }
            Operation::EndSmall { fetch, how } => {
                let asked: Vec<AtomId> = self.small.keys().copied().collect();
                if let Some(id) = pick(&asked, fetch) {
                    self.end_small(id, how);
                }
            }
            Operation::EndList { fetch, how, keeps } => {
                let asked: Vec<AtomId> = self.lists.keys().copied().collect();
                if let Some(id) = pick(&asked, fetch) {
                    self.end_list(id, how, keeps);
                }
            }
            Operation::Unsolicited { transaction, how } => {
                let id = self.transaction(transaction);
                if how & 1 == 0 && !self.small.contains_key(&id) {
                    self.end_small(id, how);
                } else if !self.lists.contains_key(&id) {
                    self.end_list(id, how, true);
                }
            }
            Operation::Adopt { block, with_state } => {
                let heads: Vec<AtomId> = self.world.blocks.keys().copied().collect();
                if let Some(id) = pick(&heads, block) {
                    self.adopt(id, with_state);
                    self.settle();
                }
            }
            Operation::Pass(time) => {
                self.pass(time);
                self.settle();
            }
            Operation::Settle => self.settle(),
            Operation::ValidatorSeen(number) => {
                self.input(&Input::ValidatorSeen { peer: peer(number) });
            }
            Operation::PeerGone(number) => self.input(&Input::PeerGone { peer: peer(number) }),
            Operation::Announced {
                transaction,
                validators,
            } => self.input(&Input::Announced {
                transaction: self.transaction(transaction),
                validators: validators.into(),
            }),
            Operation::Restart { how, at } => self.restart(how, at),
            Operation::Forget => self.host.store.forget(),
            Operation::Forward(time) => self.host.clock.unix += time,
            Operation::Backward(time) => self.host.clock.unix -= time,
            Operation::Sleep(time) => self.pass(time),
            Operation::AnswerAll => self.answer_all(),
            Operation::Assembled { transaction, how } => self.assembled(transaction, how),
        }
    }

    /// Reports that a producer has tried to make a block of the ready transactions.
    fn assembled(&mut self, a: u8, b: u8) {
        let ready: Vec<AtomId> = self
            .host
            .component
            .pool()
            .ready()
            .map(|held| held.entry.id)
            .collect();
        let Some(id) = pick(&ready, a) else {
            return;
        };
        let data = pick(&self.world.data, b).unwrap_or_default();
        let (rejected, lacking) = match b % 3 {
            0 => (vec![(id, Refusal::State("malformed"))], vec![]),
            1 => (vec![], vec![(id, Data::List(data))]),
            _ => (vec![], vec![(id, Data::Atom(data))]),
        };
        self.call(|mempool, _, context| mempool.settle_assembly(context, &rejected, &lacking));
    }

    /// Answers all requests until none remains.
    fn answer_all(&mut self) {
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
    fn recover(&mut self) {
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

/// Drives a mempool with the inputs that the bytes encode.
pub fn run(data: &[u8]) {
    let _ = reached(data);
}

/// Does the same as [`run`], and returns its statistics.
///
/// # Panics
/// Panics if a promise is broken.
#[must_use]
pub fn reached(data: &[u8]) -> Reached {
    let mut input = Unstructured::new(data);
    let code = input.arbitrary().unwrap_or(0);
    let mut node = Node::new(code);
    if code & 48 != 48 {
        node.adopt(node.world.genesis, true);
    }
    for operation in operations(&mut input, MAX_STEPS) {
        node.act(operation);
    }
    node.recover();
    node.reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn promises_hold_in_random_runs() {
        for seed in 0..60 {
            let mut random = Random::new(seed);
            let steps = random.below(MAX_STEPS);
            run(&random.bytes(1 + 3 * steps));
        }
    }
}
