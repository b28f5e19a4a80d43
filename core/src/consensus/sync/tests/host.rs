//! Follower in virtual time, and a maker of chains, valid and invalid.

use crate::atom::{Atom, AtomId, AtomSource as _, MemoryStore};
use crate::chain::{
    Address, Block, Builder, Election, ElectionCache, Genesis, Header, Miner, StakeTable,
    Transaction, difficulty, validator_at, write_atoms,
};
use crate::consensus::sync::{ChainSync, SyncConfig, SyncEvent, SyncStatus};
use crate::consensus::{
    Component as _, Context, Effect, Event, Head, HeadState, Input, Now, SavedHead, StoreFailure,
    StreamObject, StreamRequest,
};
use crate::crypto::PublicKey;
use crate::engine::{Extent, FetchError, FetchRequest, ListLimit};
use crate::integer::Natural;
use crate::stream::{Answer, Client, Server};
use crate::testkit::{HostStore as _, part, transaction as signed_transaction};
use crate::time::Instant;
use crate::trie::Scalar;
use crate::wire::network_group::NetworkGroup;
use crate::wire::stream::Decoder;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};
use core::time::Duration;

pub(super) use crate::testkit::{BEGINNING, ChainHost, LocalStore, address, key, peer};

/// Returns the network group of a peer: each has its own.
pub(super) fn group(number: u8) -> NetworkGroup {
    NetworkGroup::of([20, number, 0, 1].into())
}

pub(super) fn time(block: &Block) -> u64 {
    block.timestamp.to_u64().unwrap()
}

/// Maker of blocks for the only validator of a chain, 1, unless others have stakes too; account 2
/// has money.
pub(super) struct Maker {
    pub(super) store: MemoryStore,
    pub(super) genesis: Block,
    elections: ElectionCache,
}

impl Maker {
    pub(super) fn new() -> Self {
        Self::of_chain(0, BEGINNING)
    }

    pub(super) fn of_chain(chain_id: u64, begin: u64) -> Self {
        Self::with_stakes(chain_id, begin, &[])
    }

    /// Creates a chain of several validators.
    pub(super) fn of_validators(stakes: &[(u8, u64)]) -> Self {
        Self::with_stakes(0, BEGINNING, stakes)
    }

    fn with_stakes(chain_id: u64, begin: u64, stakes: &[(u8, u64)]) -> Self {
        let mut store = MemoryStore::new();
        let mut genesis = Genesis::new(address(1), chain_id.into(), begin.into());
        for (validator, stake) in stakes {
            genesis.stakes.insert(address(*validator), (*stake).into());
        }
        genesis
            .balances
            .insert(address(2), 1_000_000_000_000_u64.into());
        let block = genesis.build(&mut Scalar, &mut store).unwrap();
        write_atoms(block.to_atoms(), &mut store).unwrap();
        Self {
            store,
            genesis: block,
            elections: ElectionCache::default(),
        }
    }

    /// Returns a transfer from account 2 that differs from those with other numbers.
    pub(super) fn transfer(number: u64) -> Transaction {
        Self::transaction(number, address(3), &[])
    }

    /// Returns a transaction of account 2.
    pub(super) fn transaction(number: u64, recipient: Address, data: &[u8]) -> Transaction {
        let amount = u64::from(data.is_empty());
        signed_transaction(2, recipient, amount, number, data)
    }

    /// Returns the header of a block with these transactions, before the search for a nonce.
    pub(super) fn draft(&mut self, parent: &Block, gap: u64, of: &[Transaction]) -> Header {
        let timestamp = &parent.timestamp + &Natural::from(gap);
        let stakes = StakeTable::read(&self.store, parent.accounts).unwrap();
        let mut builder = Builder::new(&self.store, parent, &stakes);
        for transaction in of {
            builder.apply(transaction).unwrap().unwrap();
        }
        let body = builder.finish(&mut Scalar, None).unwrap();
        drop(builder);
        for transaction in of {
            transaction.write(&mut self.store).unwrap();
        }
        let asked = difficulty(&parent.timestamp, &timestamp, &parent.difficulty);
        let header = body.header(parent, address(1), timestamp, asked);
        write_atoms(body.atoms, &mut self.store).unwrap();
        header
    }

    pub(super) fn mine(&mut self, parent: &Block, header: Header, by: u8) -> Block {
        let mut miner = Miner::new(header, key(by), &parent.difficulty);
        let block = miner.try_nonces(1 << 20, &mut Scalar).unwrap();
        self.put(block)
    }

    pub(super) fn put(&mut self, block: Block) -> Block {
        block.write(&mut self.store).unwrap();
        block
    }

    pub(super) fn next(&mut self, parent: &Block, gap: u64, of: &[Transaction]) -> Block {
        let header = self.draft(parent, gap, of);
        self.mine(parent, header, 1)
    }

    /// Makes this many empty blocks on `parent`; returns them without `parent`. Two branches of one
    /// parent need different gaps: they would be the same blocks otherwise.
    pub(super) fn extend(&mut self, parent: &Block, count: usize, gap: u64) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        for _ in 0..count {
            let last = blocks.last().unwrap_or(parent).clone();
            let atoms = self.store.len();
            blocks.push(self.next(&last, gap, &[]));
            assert!(self.store.len() > atoms, "this block has been made before");
        }
        blocks
    }

    /// Makes an empty block by one of several validators, in its first slot from `gap` seconds on.
    pub(super) fn next_by(&mut self, parent: &Block, by: u8, gap: u64) -> Block {
        let election = self.election(parent);
        let slot_seed = election.seeds.next_slot_seed();
        let is_own = |gap: &u64| {
            let timestamp = &parent.timestamp + &Natural::from(*gap);
            let stakes = &election.stakes;
            validator_at(stakes, slot_seed, &parent.timestamp, &timestamp).unwrap() == address(by)
        };
        let gap = (gap..).find(is_own).unwrap();
        let header = Header {
            validator: address(by),
            ..self.draft(parent, gap, &[])
        };
        self.mine(parent, header, by)
    }

    /// Returns the validator of the slot that begins a second after `parent`.
    pub(super) fn validator_after(&mut self, parent: &Block, validators: &[u8]) -> u8 {
        let election = self.election(parent);
        let timestamp = &parent.timestamp + &Natural::from(2_u64);
        let seed = election.seeds.next_slot_seed();
        let turn = validator_at(&election.stakes, seed, &parent.timestamp, &timestamp).unwrap();
        let is_its = |number: &&u8| address(**number) == turn;
        *validators.iter().find(is_its).unwrap()
    }

    fn election(&mut self, parent: &Block) -> Election {
        let loaded = self.elections.load(&self.store, parent, u32::MAX);
        loaded.unwrap().unwrap()
    }

    /// Makes consistent headers on `parent` by `by`, which does not have the slots.
    pub(super) fn forge(
        &mut self,
        parent: &Header,
        on: AtomId,
        count: usize,
        by: u8,
    ) -> Vec<Block> {
        let (mut above, mut previous) = (parent.clone(), on);
        let mut blocks = Vec::new();
        for _ in 0..count {
            let timestamp = &above.timestamp + &Natural::from(3_u64);
            let header = Header {
                height: &above.height + &Natural::ONE,
                previous,
                difficulty: difficulty(&above.timestamp, &timestamp, &above.difficulty),
                timestamp,
                validator: address(by),
                nonce: Natural::ZERO,
                ..above.clone()
            };
            let mut miner = Miner::new(header, key(by), &above.difficulty);
            let block = miner.try_nonces(1 << 20, &mut Scalar).unwrap();
            (above, previous) = (block.header().clone(), block.id());
            blocks.push(self.put(block));
        }
        blocks
    }
}

/// Returns the limit of a fetch; sync fetches only beginnings of lists.
fn limit(request: &FetchRequest) -> ListLimit {
    match request.extent {
        Extent::Beginning(limit) => limit,
        Extent::Whole(_) => panic!("{request:?}"),
    }
}

/// Follower, whose fetches are answered from the makers.
pub(super) struct Host {
    pub(super) chain: ChainHost<ChainSync<Scalar>>,
    /// True time.
    pub(super) now: Duration,
    /// Time since the start, by the monotonic clock.
    pub(super) elapsed: Duration,
    /// Offset by which the follower's clock is behind.
    pub(super) clock_behind: Duration,
    /// Heads that were set.
    pub(super) heads: Vec<Head>,
    /// Atoms that no peer sends.
    pub(super) withheld: BTreeSet<AtomId>,
    /// Peers that never answer.
    pub(super) silent: BTreeSet<PublicKey>,
    /// Peers that answer, after this time.
    pub(super) slow: BTreeMap<PublicKey, Duration>,
    /// `true` if peers that did not announce a head answer for it.
    pub(super) others_answer: bool,
    /// Response time of the preferred peer, and that of another one.
    pub(super) latency: [Duration; 2],
    /// Reason that nothing can be stored, if so.
    pub(super) store_failure: Option<StoreFailure>,
    pub(super) asked: BTreeMap<AtomId, usize>,
    /// Peers that were asked first.
    pub(super) preferred: BTreeMap<Option<PublicKey>, usize>,
    /// Number of fetched bytes.
    pub(super) fetched_bytes: usize,
    pub(super) most_in_flight: usize,
    /// Maximum numbers of headers and blocks that the status reported.
    pub(super) progress: (u64, u64),
    /// Maximum number of bytes that all fetches under way might have returned.
    pub(super) most_bytes: usize,
    /// Maximum number of atoms that one of them might have returned.
    pub(super) largest_part: usize,
    pub(super) events: Vec<SyncEvent>,
    /// Conduct of the peers' streams.
    pub(super) streams: StreamConduct,
    /// Requests by stream.
    pub(super) stream_requests: Vec<StreamRequest>,
    /// Number of streams that were cancelled.
    pub(super) cancelled_streams: usize,
    open_streams: BTreeMap<u64, Transfer>,
    in_flight: BTreeMap<(Duration, u64), FetchRequest>,
    sent: u64,
}

/// Conduct of the streams of peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum StreamConduct {
    /// They bring what is requested.
    Serves,
    /// Peers have none.
    #[default]
    Refuses,
    /// The first request is refused.
    RefusesOnce,
    /// They never bring anything.
    Stalls,
    /// They end after one frame.
    Breaks,
}

/// Both ends of a stream with one request.
struct Transfer {
    server: Server,
    client: Client,
    to_server: Vec<u8>,
}

impl Transfer {
    fn new(object: &StreamObject) -> Self {
        let (mut client, mut to_server) = (Client::new(), Vec::new());
        let number = match object {
            StreamObject::Headers { id, count } => {
                client.request_headers(*id, *count, &mut to_server)
            }
            StreamObject::Bodies { lists } => client.request_bodies(lists, &mut to_server),
            StreamObject::Lists { lists, most } => {
                client.request_lists(lists, *most, &mut to_server)
            }
        };
        number.unwrap();
        Self {
            server: Server::new(),
            client,
            to_server,
        }
    }

    /// Moves a frame. Returns its atoms, and whether everything has arrived if this is the end.
    fn step(&mut self, store: &MemoryStore) -> (Vec<Atom>, Option<bool>) {
        let mut decoder = Decoder::new();
        decoder.push(&core::mem::take(&mut self.to_server));
        while let Some(frame) = decoder.next_frame().unwrap() {
            self.server.handle(&frame).unwrap();
        }
        let (mut bytes, mut found, mut end) = (Vec::new(), Vec::new(), None);
        assert!(self.server.poll(store, &mut bytes));
        let mut decoder = Decoder::new();
        decoder.push(&bytes);
        while let Some(frame) = decoder.next_frame().unwrap() {
            let answer = self.client.handle(&frame, &mut found).unwrap();
            match answer {
                Answer::Atoms {
                    is_complete: false, ..
                } => {}
                Answer::Atoms { .. } => end = Some(true),
                Answer::Ended { .. } => end = Some(false),
                Answer::Late => panic!("late"),
            }
            let bytes: usize = found.iter().map(|it| it.atom().stored_len()).sum();
            let bytes = u32::try_from(bytes).unwrap();
            self.client.stored(0, bytes, &mut self.to_server);
        }
        (found.iter().map(|it| it.atom().clone()).collect(), end)
    }
}

impl Host {
    pub(super) fn new(now: u64) -> Self {
        Self::with(now, SyncConfig::default(), None)
    }

    /// Creates a follower that adopts the first chain that it verifies.
    pub(super) fn with(now: u64, config: SyncConfig, saved: Option<SavedHead>) -> Self {
        let config = SyncConfig {
            first_adoption_wait: Duration::ZERO,
            ..config
        };
        Self::patient(now, config, saved)
    }

    /// Creates a follower that waits for more peers before it adopts a chain, as configured.
    pub(super) fn patient(now: u64, config: SyncConfig, saved: Option<SavedHead>) -> Self {
        let clock = Now {
            instant: Instant::ZERO,
            unix: Duration::ZERO,
        };
        let sync = ChainSync::new(config, Scalar);
        let mut chain = ChainHost::new(sync, LocalStore::default(), clock);
        chain.context = Context::new(saved.clone());
        chain.files.head = saved;
        Self {
            chain,
            now: Duration::from_secs(now),
            elapsed: Duration::from_secs(100),
            clock_behind: Duration::ZERO,
            heads: Vec::new(),
            withheld: BTreeSet::new(),
            silent: BTreeSet::new(),
            slow: BTreeMap::new(),
            others_answer: true,
            latency: [Duration::ZERO; 2],
            store_failure: None,
            asked: BTreeMap::new(),
            preferred: BTreeMap::new(),
            fetched_bytes: 0,
            most_in_flight: 0,
            progress: (0, 0),
            most_bytes: 0,
            largest_part: 0,
            events: Vec::new(),
            streams: StreamConduct::default(),
            stream_requests: Vec::new(),
            cancelled_streams: 0,
            open_streams: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
        }
    }

    pub(super) fn instant(&self) -> Instant {
        Instant::ZERO + self.elapsed
    }

    pub(super) const fn sync(&self) -> &ChainSync<Scalar> {
        &self.chain.component
    }

    fn call(&mut self, call: impl FnOnce(&mut ChainHost<ChainSync<Scalar>>)) {
        self.chain.clock = Now {
            instant: self.instant(),
            unix: self.now - self.clock_behind,
        };
        call(&mut self.chain);
        while let Some(event) = self.chain.context.poll_event() {
            match event {
                Event::Sync(SyncEvent::Progress(_)) => {}
                Event::Sync(event) => self.events.push(event),
                _ => {}
            }
        }
        while let Some(effect) = self.chain.context.poll_effect() {
            self.carry_out(effect);
        }
        self.most_in_flight = self.most_in_flight.max(self.in_flight.len());
        let bytes = self
            .in_flight
            .values()
            .map(|fetch| limit(fetch).bytes)
            .sum();
        self.most_bytes = self.most_bytes.max(bytes);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Fetch(request) => {
                let FetchRequest { id, from, .. } = request;
                let limit = limit(&request);
                *self.asked.entry(id).or_default() += 1;
                *self.preferred.entry(from).or_default() += 1;
                self.largest_part = self.largest_part.max(limit.atoms);
                let is_answered = from.is_some_and(|from| !self.silent.contains(&from));
                let [preferred, other] = self.latency;
                let latency = if is_answered { preferred } else { other };
                let slow = from.and_then(|from| self.slow.get(&from));
                let latency = slow.copied().unwrap_or(latency);
                self.sent += 1;
                let due = (self.elapsed + latency, self.sent);
                self.in_flight.insert(due, request);
            }
            Effect::StoreBlock { block, atoms } => {
                let outcome = match &self.store_failure {
                    None => {
                        write_atoms(atoms, &mut self.chain.store.stored).unwrap();
                        Ok(())
                    }
                    Some(failure) => Err(failure.clone()),
                };
                self.input(&Input::BlockStored { block, outcome });
            }
            Effect::Stream(request) => self.open_stream(request),
            Effect::CancelStream(number) => {
                self.cancelled_streams += 1;
                self.open_streams.remove(&number);
            }
            Effect::SetHead { ref head, .. } => {
                if self.heads.last() != Some(head) {
                    self.heads.push(head.clone());
                }
                self.chain.carry_out(effect);
            }
            Effect::SaveDecisions(_) => {
                self.chain.carry_out(effect);
            }
            other => panic!("{other:?}"),
        }
    }

    fn open_stream(&mut self, request: StreamRequest) {
        let number = request.number;
        let is_first = self.stream_requests.is_empty();
        let transfer = Transfer::new(&request.object);
        self.stream_requests.push(request);
        let conduct = self.streams;
        if conduct == StreamConduct::Refuses || conduct == StreamConduct::RefusesOnce && is_first {
            let is_complete = false;
            self.input(&Input::StreamEnded {
                number,
                is_complete,
            });
        } else {
            self.open_streams.insert(number, transfer);
        }
    }

    /// Moves a frame of each stream. Returns whether there was any.
    fn step_streams(&mut self, others: &[&Maker]) -> bool {
        if self.streams == StreamConduct::Stalls {
            return false;
        }
        let numbers: Vec<u64> = self.open_streams.keys().copied().collect();
        for number in &numbers {
            let Some(transfer) = self.open_streams.get_mut(number) else {
                continue;
            };
            let (atoms, mut end) = transfer.step(&others[0].store);
            self.chain.store.keep(atoms);
            let number = *number;
            self.input(&Input::StreamProgress { number });
            if self.streams == StreamConduct::Breaks {
                end = Some(false);
            }
            if let Some(is_complete) = end {
                self.open_streams.remove(&number);
                self.input(&Input::StreamEnded {
                    number,
                    is_complete,
                });
            }
        }
        !numbers.is_empty()
    }

    pub(super) fn input(&mut self, input: &Input) {
        self.call(|chain| chain.input(input));
    }

    /// Has a peer announce a head.
    pub(super) fn announce(&mut self, from: u8, id: AtomId) {
        self.announce_in(from, group(from), id);
    }

    /// Has a peer in a network group announce a head.
    pub(super) fn announce_in(&mut self, from: u8, group: NetworkGroup, id: AtomId) {
        self.input(&Input::PeerHead {
            peer: peer(from),
            group,
            id,
            is_default_seed: false,
            is_seed: false,
        });
    }

    /// Has the pinned default seed announce a head.
    pub(super) fn announce_of_seed(&mut self, id: AtomId) {
        self.input(&Input::PeerHead {
            peer: peer(200),
            group: group(200),
            id,
            is_default_seed: true,
            is_seed: true,
        });
    }

    fn answer(
        &self,
        others: &[&Maker],
        fetch: &FetchRequest,
    ) -> Result<(Vec<Atom>, Option<PublicKey>), FetchError> {
        let (id, limit) = (fetch.id, limit(fetch));
        let from = fetch.from.filter(|from| !self.silent.contains(from));
        if from.is_none() && !self.others_answer {
            return Err(FetchError::Timeout);
        }
        let lists = others
            .iter()
            .map(|maker| part(&maker.store, id, limit, usize::MAX));
        let is_sent = |atom: &Atom| !self.withheld.contains(&atom.id());
        let mut lists = lists.map(|list| list.into_iter().take_while(is_sent).collect());
        let list = lists.find(|list: &Vec<Atom>| !list.is_empty());
        let list = list.ok_or(FetchError::NotFound)?;
        Ok((list, Some(from.unwrap_or(peer(255)))))
    }

    /// Lets `seconds` pass, and does all work that becomes due.
    pub(super) fn run(&mut self, others: &[&Maker], seconds: u64) {
        self.run_for(others, Duration::from_secs(seconds));
    }

    pub(super) fn run_for(&mut self, others: &[&Maker], duration: Duration) {
        let end = self.elapsed + duration;
        for _ in 0..2_000_000 {
            self.call(ChainHost::advance);
            for sync in self.status().syncs {
                self.progress.0 = self.progress.0.max(sync.headers_done);
                self.progress.1 = self.progress.1.max(sync.blocks_done);
            }
            let timeout = self.sync().poll_timeout();
            if timeout.is_some_and(|at| at <= self.instant()) {
                continue;
            }
            if self.step_streams(others) {
                continue;
            }
            let answers = self.in_flight.keys().next().map(|(at, _)| *at);
            if answers.is_some_and(|at| at <= self.elapsed) {
                let later = self.in_flight.split_off(&(self.elapsed, u64::MAX));
                for (_, fetch) in core::mem::replace(&mut self.in_flight, later) {
                    self.deliver(others, &fetch);
                }
                continue;
            }
            let due = timeout.map_or(end, |at| self.elapsed + at.since(self.instant()));
            let due = answers.map_or(due, |at| at.min(due));
            let passed = due.min(end).saturating_sub(self.elapsed);
            self.now += passed;
            self.elapsed += passed;
            if due > end || due == end && timeout.is_none() && answers.is_none() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn deliver(&mut self, others: &[&Maker], fetch: &FetchRequest) {
        let (outcome, from) = match self.answer(others, fetch) {
            Ok((atoms, from)) => (Ok(atoms), from),
            Err(error) => (Err(error), None),
        };
        if let Ok(atoms) = &outcome {
            self.fetched_bytes += atoms.iter().map(Atom::stored_len).sum::<usize>();
            self.chain.store.keep(atoms.iter().cloned());
        }
        let id = fetch.id;
        self.input(&Input::Fetched { id, outcome, from });
    }

    pub(super) fn status(&self) -> SyncStatus {
        self.sync().status()
    }

    pub(super) fn head(&self) -> Option<(AtomId, HeadState)> {
        let head = self.chain.context.head();
        head.map(|head| (head.id(), head.state()))
    }

    pub(super) fn verified_head(&self) -> Option<AtomId> {
        let head = self.head();
        head.filter(|(_, state)| *state == HeadState::Verified)
            .map(|(id, _)| id)
    }

    pub(super) fn has(&self, id: &AtomId) -> bool {
        self.chain.store.atom(id).is_ok()
    }

    /// Returns the text of what is waited for.
    pub(super) fn waits(&self) -> Vec<String> {
        let status = self.status();
        let syncs = status.syncs.into_iter().filter_map(|sync| sync.waits);
        syncs
            .chain(status.waits.map(|waits| waits.to_string()))
            .collect()
    }
}

impl Deref for Host {
    type Target = ChainHost<ChainSync<Scalar>>;

    fn deref(&self) -> &Self::Target {
        &self.chain
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.chain
    }
}
