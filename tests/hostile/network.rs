//! Network of whole nodes in virtual time, each with a chain, and attackers among them.
//!
//! Results do not depend on the speed of the machine: the same case gives the same figures. Every
//! machine has an address of its own; those of one network group (/16) are [`GROUP`] numbers apart.

use astreum_core::atom::{AtomId, AtomSource, MemoryStore, collect_list};
use astreum_core::chain::{Block, Miner, Transaction};
use astreum_core::crypto::{PublicKey, SecretKey, SigningKey};
use astreum_core::engine::Engine;
use astreum_core::time::Instant;
use astreum_core::trie::Scalar;
use astreum_core::wire::message::{Body, Message, Topic};
use astreum_core::wire::object::{Action, Request};
use astreum_core::wire::packet::Packet;
use astreum_node::chain_service::{Chain, ChainStatus};
use astreum_tests::sim::host::address;
use astreum_tests::sim::ledger::Ledger;
use astreum_tests::sim::world::World;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Difference between the numbers of two machines in one network group.
pub(crate) const GROUP: usize = 256;
/// Interval between two checks of the heads.
pub(crate) const STEP: Duration = Duration::from_millis(10);
/// Interval between two handshakes of attackers, because simultaneous ones are rate-limited.
const ARRIVAL: Duration = Duration::from_millis(100);

/// Honest nodes with the lowest numbers, and attackers.
pub(crate) struct Network {
    pub(crate) world: World,
    pub(crate) ledger: Ledger,
}

impl Network {
    /// Creates a network of `machines` machines. The first `honest` run and know each other; those
    /// of them that the ledger names as validators make blocks.
    pub(crate) fn new(seed: u64, machines: usize, honest: usize, ledger: Ledger) -> Self {
        let mut world = World::new(seed, machines, true);
        world.seed_count = 0;
        world.set_ledger(ledger.clone());
        let mut network = Self { world, ledger };
        for number in 0..honest {
            let key = (number < network.ledger.validators).then_some(number);
            network.world.act(number, |host, _| {
                host.key = key;
                host.has_seeds = false;
            });
            assert!(network.world.start(number), "cannot start an honest node");
            for other in 0..number {
                network.connect(number, other);
            }
        }
        network
    }

    /// Starts an attacker, which follows no chain and serves these atoms.
    pub(crate) fn start_attacker(&mut self, number: usize, serves: MemoryStore) {
        self.world.has_disks = false;
        self.world.act(number, |host, _| {
            host.serves = Some(serves);
            host.follows = false;
        });
        assert!(self.world.start(number), "cannot start an attacker");
        self.world.has_disks = true;
    }

    pub(crate) fn connect(&mut self, from: usize, to: usize) {
        self.engine(from, |engine, now| engine.connect(now, address(to)));
    }

    /// Starts attackers that validate their addresses with these nodes, and then ignore every
    /// datagram.
    pub(crate) fn start_silent(&mut self, numbers: &[usize], victims: &[usize]) {
        for number in numbers {
            self.start_attacker(*number, MemoryStore::new());
            for victim in victims {
                self.connect(*number, *victim);
            }
            self.world.run(ARRIVAL);
        }
        self.world.run(Duration::from_secs(2));
        for number in numbers {
            for victim in victims {
                assert!(
                    self.is_connected(*number, *victim),
                    "{number} is not connected to {victim}"
                );
            }
            self.silence(*number);
        }
    }

    /// Starts attackers that validate their addresses with a node if it admits them, and then
    /// ignore every datagram. Returns those that it admits.
    pub(crate) fn start_announcers(&mut self, numbers: &[usize], victim: usize) -> Vec<usize> {
        for number in numbers {
            self.start_attacker(*number, MemoryStore::new());
            self.connect(*number, victim);
            self.world.run(ARRIVAL);
            // Immediately, so that it does not contact the other attackers.
            self.silence(*number);
        }
        let connected = numbers.iter().copied();
        connected
            .filter(|number| self.is_connected(*number, victim))
            .collect()
    }

    pub(crate) fn silence(&mut self, number: usize) {
        self.world.act(number, |host, _| host.is_silent = true);
    }

    /// Returns whether a node has validated the address of a machine.
    pub(crate) fn is_connected(&mut self, number: usize, node: usize) -> bool {
        let key = self.key(number);
        self.engine(node, |engine, _| {
            engine.peer(&key).is_some_and(|peer| peer.is_validated)
        })
    }

    pub(crate) fn key(&self, number: usize) -> PublicKey {
        self.secret(number).public_key()
    }

    fn secret(&self, number: usize) -> SecretKey {
        self.world.hosts()[number].secret().clone()
    }

    /// Runs an action on an engine, and sends the resulting datagrams.
    pub(crate) fn engine<R>(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Engine, Instant) -> R,
    ) -> R {
        let done = self.world.act(number, |host, now| {
            act(&mut host.running.as_mut().expect("it runs").engine, now)
        });
        done.expect("no such machine")
    }

    /// Makes an attacker name a head to all its peers.
    pub(crate) fn announce_head(&mut self, number: usize, head: AtomId) {
        self.engine(number, |engine, now| engine.set_head(now, Some(head)));
    }

    /// Passes a transaction of its own user to a node.
    pub(crate) fn send(&mut self, number: usize, transaction: &Transaction) {
        self.world
            .act(number, |host, now| host.send(now, transaction));
    }

    pub(crate) fn chain(&self, number: usize) -> &Chain {
        let running = self.world.hosts()[number].running.as_ref();
        let following = running.and_then(|running| running.following.as_ref());
        following.expect("it follows the chain").chain()
    }

    pub(crate) fn status(&self, number: usize) -> ChainStatus {
        self.chain(number).status()
    }

    /// Returns the head of a node: its id and height.
    pub(crate) fn head(&self, number: usize) -> (AtomId, u64) {
        let head = self.chain(number).context().head();
        head.map_or((AtomId::ZERO, 0), |head| (head.id(), head.height()))
    }

    pub(crate) fn block(&self, number: usize, id: AtomId) -> Block {
        Block::read(self.store(number), id).expect("the node has its chain")
    }

    fn store(&self, number: usize) -> &dyn AtomSource<Error = core::convert::Infallible> {
        let running = self.world.hosts()[number].running.as_ref();
        &running.expect("it runs").store
    }

    /// Returns the heights above `above` of the blocks with these transactions in the chain of a
    /// node.
    pub(crate) fn included(
        &self,
        number: usize,
        above: u64,
        transactions: &BTreeSet<AtomId>,
    ) -> BTreeMap<AtomId, u64> {
        let (mut id, mut height) = self.head(number);
        let mut found = BTreeMap::new();
        while height > above {
            let block = self.block(number, id);
            let list = collect_list(self.store(number), block.transactions, 70_000);
            for atom in list.expect("the node has its blocks") {
                let one = AtomId::from_slice(atom.data()).expect("an id");
                if transactions.contains(&one) {
                    found.insert(one, height);
                }
            }
            (id, height) = (block.previous, height - 1);
        }
        found
    }

    /// Runs until a node's chain has this height, for at most `time`. Returns whether it has.
    pub(crate) fn run_to(&mut self, number: usize, height: u64, time: Duration) -> bool {
        let end = self.world.now() + time;
        while self.head(number).1 < height && self.world.now() < end {
            self.world.run(STEP);
        }
        self.head(number).1 >= height
    }

    /// Returns the object requests that a node has sent since the last call: the machine and the
    /// id.
    pub(crate) fn requests_of(&mut self, number: usize) -> Vec<(usize, AtomId)> {
        let sent = core::mem::take(&mut self.world.tapped);
        let own = self.key(number);
        let mut keys = BTreeMap::new();
        let mut requests = Vec::new();
        for (to, datagram) in sent {
            let shared = keys
                .entry(to)
                .or_insert_with(|| self.secret(to).agree(&own).expect("both keys are valid"));
            let Ok(packet) = Packet::decode(&datagram) else {
                continue;
            };
            let Ok(Body::Sealed(sealed)) =
                Message::decode(packet.message()).map(|message| message.body)
            else {
                continue;
            };
            let mut text = Vec::new();
            let opened = sealed.open(shared, &mut text);
            if let Ok((Topic::ObjectRequest, content)) = opened
                && let Ok(request) = Request::decode(content)
                && let Action::Get(_) = request.action
            {
                requests.push((to, request.atom_id));
            }
        }
        requests
    }
}

/// Delay of a follower behind a block producer, sampled at every step.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    made: BTreeMap<u64, Instant>,
    followed: u64,
    /// Longest time from the production of a block until it is the follower's head.
    pub(crate) longest: Duration,
    /// Maximum number of blocks that the follower was behind.
    pub(crate) most_blocks: u64,
    /// Number of blocks that were followed.
    pub(crate) blocks: u64,
}

impl Lag {
    /// Samples the current heads.
    pub(crate) fn watch(&mut self, network: &Network, producer: usize, follower: usize) {
        let now = network.world.now();
        let (made, followed) = (network.head(producer).1, network.head(follower).1);
        if self.made.is_empty() {
            self.followed = followed;
        }
        self.made.entry(made).or_insert(now);
        self.most_blocks = self.most_blocks.max(made.saturating_sub(followed));
        for height in self.followed + 1..=followed {
            if let Some(at) = self.made.get(&height) {
                self.longest = self.longest.max(now.since(*at));
                self.blocks += 1;
            }
        }
        self.followed = self.followed.max(followed);
        let oldest = self.made.range(self.followed + 1..).next();
        if let Some((_, at)) = oldest {
            // Blocks that are not followed yet count as well.
            self.longest = self.longest.max(now.since(*at));
        }
    }
}

/// Signs a header with enough work to follow `parent`, and stores the block.
pub(crate) fn mine(
    parent: &Block,
    header: astreum_core::chain::Header,
    key: &SigningKey,
    store: &mut MemoryStore,
) -> Block {
    let mut miner = Miner::new(header, key.clone(), &parent.difficulty);
    let block = miner.try_nonces(1 << 20, &mut Scalar).expect("little work");
    block.write(store).expect("memory accepts it");
    block
}
