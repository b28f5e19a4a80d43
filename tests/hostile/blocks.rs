//! Bad heads from hostile peers, at a node that follows an honest chain meanwhile: malformed
//! records, lists that never end or repeat one entry, a trie that fans out, and slow trickled
//! responses. All of it is on a separate chain, with valid headers where these get it further.

use crate::Settings;
use crate::figures::Figures;
use crate::peer::Peer;
use crate::process::{HOT_BYTES, Node, QUEUE_BYTES};
use crate::raw_peer;
use crate::world::secret;
use astreum_core::atom::{Atom, AtomId, AtomKind, MemoryStore, bytes_list};
use astreum_core::chain::{
    Account, Address, BURN, Block, Body, Builder, Genesis, Header, MAX_BLOCK_TRANSACTIONS, Miner,
    StakeTable, TREASURY, Unsigned, difficulty, write_atoms,
};
use astreum_core::consensus::HeadState;
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::trie::{Scalar, Trie};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const MIB: u64 = 1 << 20;
/// Time for which a head is offered before the next one.
const OFFER_INTERVAL: Duration = Duration::from_millis(150);
/// Delay of each response of a peer that trickles its responses.
const TRICKLE_DELAY: Duration = Duration::from_millis(900);

/// Builder of blocks with valid headers on a genesis of its own.
struct Forger {
    key: SigningKey,
    store: MemoryStore,
    genesis: Block,
    /// Body of the empty block after the genesis.
    body: Body,
}

impl Forger {
    fn new(seed: u8) -> Self {
        let key = SigningKey::from_seed(&[seed; 32]);
        let mut store = MemoryStore::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let begin = now.as_secs() - 1_000;
        let validator = Address::from(key.verifying_key());
        let genesis = Genesis::new(validator, Natural::ZERO, begin.into());
        let genesis = genesis.build(&mut Scalar, &mut store).unwrap();
        genesis.write(&mut store).unwrap();
        let stakes = StakeTable::read(&store, genesis.accounts).unwrap();
        let body = Builder::new(&store, &genesis, &stakes).finish(&mut Scalar, None);
        Self {
            key,
            body: body.unwrap(),
            store,
            genesis,
        }
    }

    /// Makes a child of this block, valid except for the effect of `change`.
    fn child(&mut self, parent: &Block, change: impl FnOnce(&mut Header)) -> Block {
        let timestamp = &parent.timestamp + &Natural::from(2_u64);
        let asked = difficulty(&parent.timestamp, &timestamp, &parent.difficulty);
        let validator = Address::from(self.key.verifying_key());
        let mut header = self.body.header(parent, validator, timestamp, asked);
        change(&mut header);
        let mut miner = Miner::new(header, self.key.clone(), &parent.difficulty);
        let block = miner.try_nonces(1 << 20, &mut Scalar).unwrap();
        block.write(&mut self.store).unwrap();
        block
    }

    /// Makes `count` successive blocks with this list of transactions, and returns the id of the
    /// last.
    fn chain_with(&mut self, list: AtomId, count: usize) -> AtomId {
        let mut last = self.genesis.clone();
        for _ in 0..count {
            last = self.child(&last.clone(), |header| header.transactions = list);
        }
        last.id()
    }

    fn list(&mut self, ids: &[[u8; 32]]) -> AtomId {
        let (head, atoms) = bytes_list(ids);
        self.store.extend(atoms);
        head
    }
}

/// Writes the atoms of a valid block with one of them replaced, and returns the resulting head.
fn with_replaced_atom(
    block: &Block,
    place: usize,
    kind: AtomKind,
    data: &[u8],
    out: &mut MemoryStore,
) -> AtomId {
    let atoms = block.to_atoms();
    let (body, head) = atoms.split_at(atoms.len() - 4);
    let mut next = AtomId::ZERO;
    let mut put = |index: usize, right: &Atom, data_right: &[u8], next: AtomId| {
        let atom = if index == place {
            Atom::new(kind, data, next)
        } else {
            Atom::new(right.kind(), data_right, next)
        };
        out.insert(atom)
    };
    for (index, (_, atom)) in body.iter().enumerate().rev() {
        next = put(index, atom, atom.data(), next);
    }
    let mut at = AtomId::ZERO;
    for (index, (_, atom)) in head.iter().enumerate() {
        // The first atom of the head is the list that links to the body.
        let data = if index == 0 {
            next.as_bytes().as_slice()
        } else {
            atom.data()
        };
        at = put(body.len() + index, atom, data, at);
    }
    at
}

/// Makes heads for every atom of a block: of a wrong kind, empty, and far too long.
fn records(forger: &mut Forger) -> Vec<AtomId> {
    let genesis = forger.genesis.clone();
    let right = forger.child(&genesis, |_| {});
    let mut heads = Vec::new();
    for (place, (_, atom)) in right.to_atoms().iter().enumerate() {
        let other = match atom.kind() {
            AtomKind::Bytes => AtomKind::List,
            _ => AtomKind::Bytes,
        };
        for (kind, data) in [
            (other, atom.data().to_vec()),
            (atom.kind(), Vec::new()),
            (atom.kind(), vec![7; 60_000]),
        ] {
            heads.push(with_replaced_atom(
                &right,
                place,
                kind,
                &data,
                &mut forger.store,
            ));
        }
    }
    heads
}

/// Makes a head whose header fields do not end, and blocks with three kinds of oversized bodies.
fn bombs(forger: &mut Forger) -> Vec<AtomId> {
    let ids = |count: u32| -> Vec<[u8; 32]> { (0..count).map(|n| secret(7_000_000 + n)).collect() };
    let most = u32::try_from(MAX_BLOCK_TRANSACTIONS).unwrap();
    let endless = forger.list(&ids(150_000));
    let list = forger.store.insert(Atom::list(endless, AtomId::ZERO));
    let signature = forger
        .store
        .insert(Atom::new(AtomKind::Bytes, [0; 64], list));
    let version = forger
        .store
        .insert(Atom::new(AtomKind::Bytes, [1], signature));
    let header = forger
        .store
        .insert(Atom::new(AtomKind::Symbol, *b"block", version));
    let large = Unsigned {
        chain_id: Natural::ZERO,
        amount: Natural::ONE,
        counter: Natural::ONE,
        data: vec![7; 60_000].as_slice().into(),
        recipient: BURN,
    }
    .sign(&forger.key);
    write_atoms(large.to_atoms(), &mut forger.store).unwrap();
    let large = *large.id().as_bytes();
    let one_over_and_over = forger.list(&vec![large; MAX_BLOCK_TRANSACTIONS]);
    let nobodys = forger.list(&ids(most));
    vec![
        header,
        forger.chain_with(endless, 1),
        forger.chain_with(one_over_and_over, 1),
        forger.chain_with(nobodys, 32),
    ]
}

/// Makes a block on a genesis whose stakes are 2^256 entries in 257 nodes.
fn fan(forger: &mut Forger) -> AtomId {
    let store = &mut forger.store;
    let mut node = |child: AtomId, value: &[u8]| {
        let fields: [&[u8]; 4] = [&[0, 0], child.as_ref(), child.as_ref(), value];
        let (fields, atoms) = bytes_list(&fields);
        store.extend(atoms);
        store.insert(Atom::new(AtomKind::Symbol, *b"trie", fields))
    };
    let mut stakes = node(AtomId::ZERO, &[1]);
    for _ in 0..256 {
        stakes = node(stakes, &[]);
    }
    let treasury = Account {
        data: stakes,
        ..Account::default()
    };
    let mut accounts = Trie::new();
    for (address, account) in [(TREASURY, treasury), (BURN, Account::default())] {
        let id = account.write(store).unwrap();
        let put = accounts.put(store, address.as_ref(), id.as_ref());
        put.unwrap();
    }
    let accounts = accounts.commit(&mut Scalar, store).unwrap();
    let header = Header {
        accounts,
        cumulative_stake: Natural::ZERO,
        cumulative_burn: Natural::ZERO,
        ..forger.genesis.header().clone()
    };
    let genesis = header.signed(None);
    genesis.write(&mut forger.store).unwrap();
    forger
        .child(&genesis, |header| header.accounts = accounts)
        .id()
}

/// Offers these heads, one after the other, until `stop` returns true.
fn offer(mut peer: Peer, heads: &[AtomId], stop: impl Fn() -> bool) -> Peer {
    while !stop() {
        for head in heads {
            let now = peer.now();
            peer.engine.set_head(now, Some(*head));
            peer.run(OFFER_INTERVAL, |_| false);
            if stop() {
                break;
            }
        }
    }
    peer
}

fn height(node: &Node) -> u64 {
    node.status().chain.height.unwrap_or_default()
}

/// Offers bad heads to a node that follows an honest chain, and to one without a chain, which must
/// read the bodies as well.
pub(crate) fn bad_blocks(settings: &Settings, figures: &mut Figures) {
    let validation = "5c".repeat(32);
    let secret_key = ["--validation-secret-key", &validation];
    let cold = ["--cold-storage-path", "HOME/cold"];
    let validator = Node::start_with(settings, "blocks-producer", &[secret_key, cold].concat());
    let seed = validator.address.to_string();
    let follow = ["--additional-seeds", &seed];
    let often = ["--verify-blockchain-interval", "1"];
    // Atoms that they examine pass through memory; atoms that they keep are on disk.
    let follows = [follow, often, cold].concat();
    let follower = Node::start_with(settings, "blocks-follower", &follows);
    let fresh = Node::start_with(settings, "blocks-fresh", &[often, cold].concat());
    let is_verified = |node: &Node| node.status().chain.state == Some(HeadState::Verified);
    let follows = wait(Duration::from_secs(60), || is_verified(&follower));
    assert!(follows, "the follower has a chain");
    let atom = raw_peer::large_atom(1);
    follower.put(&atom);
    fresh.put(&atom);
    let mut forger = Forger::new(0x51);
    let mut bad = records(&mut forger);
    let records = bad.len();
    let long = forger.chain_with(AtomId::ZERO, 30);
    bad.extend(bombs(&mut forger));
    bad.push(fan(&mut forger));
    let unseen = forger.list(&[[9; 32]]);
    let connected_peer = |n: u32, node: &Node| {
        let mut peer = Peer::new(secret(400 + n));
        peer.store = forger.store.clone();
        assert!(
            peer.connect_to(node),
            "the attacker is connected to its victim"
        );
        peer
    };
    let mut honest = [1, 2].map(|n| Peer::new(secret(n)));
    assert!(
        honest[0].connect_to(&follower) && honest[1].connect_to(&fresh),
        "honest peers are connected to both"
    );
    let mut slow = connected_peer(9, &follower);
    slow.delay = Some(TRICKLE_DELAY);
    let attackers = [(0, &follower), (1, &follower), (2, &fresh), (3, &fresh)];
    let attackers = attackers.map(|(n, node)| connected_peer(n, node));
    let stop = AtomicBool::new(false);
    let time = settings.flood.min(Duration::from_secs(15));
    let log_before = follower.log_bytes() + fresh.log_bytes();
    let (mut fetches, mut fetched, mut resident) = ([0_u32; 2], [0_u32; 2], 0);
    let (before, disk_before) = (height(&validator), fresh.disk_bytes());
    thread::scope(|scope| {
        for (at, attacker) in attackers.into_iter().enumerate() {
            let (bad, stop) = (&bad, &stop);
            scope.spawn(move || {
                // Some begin with the long ones.
                let mut heads = bad.clone();
                heads.rotate_left(at % 2 * records);
                offer(attacker, &heads, || stop.load(Ordering::Relaxed))
            });
        }
        scope.spawn(|| offer(slow, &[long], || stop.load(Ordering::Relaxed)));
        let started = Instant::now();
        while started.elapsed() < time {
            for (at, node) in [&follower, &fresh].into_iter().enumerate() {
                let peer = &mut honest[at];
                fetches[at] += 1;
                fetched[at] += u32::from(peer.fetch(atom.id()).is_some());
                peer.run(Duration::from_millis(25), |_| false);
                resident = resident.max(node.resident_bytes());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (made, followed) = (height(&validator), follower.status().chain);
    let disk = fresh.disk_bytes().saturating_sub(disk_before);
    let log = follower.log_bytes() + fresh.log_bytes() - log_before;
    let cap = HOT_BYTES + 2 * QUEUE_BYTES + 64 * MIB;
    figures.note("bad heads, offered repeatedly", bad.len());
    figures.bar(
        "maximum resident memory",
        format!("{} MiB", resident / MIB),
        &format!("caps + 64 MiB = {} MiB", cap / MIB),
        resident <= cap,
    );
    figures.bar(
        "answered honest requests for 4 KB",
        format!("{fetched:?} of {fetches:?}"),
        "95 % of each",
        (0..2).all(|at| fetches[at] > 100 && fetched[at] * 100 >= fetches[at] * 95),
    );
    let behind = made.saturating_sub(followed.height.unwrap_or_default());
    figures.bar(
        "honest chain verified during the attack",
        format!(
            "{} blocks more, the follower {behind} behind",
            made - before
        ),
        "at most 3 behind, and it advances",
        behind <= 3 && made > before && followed.state == Some(HeadState::Verified),
    );
    let fresh_chain = fresh.status().chain;
    let shown = followed.bad_blocks.len().min(fresh_chain.bad_blocks.len());
    let all = followed.bad_blocks.iter().chain(&fresh_chain.bad_blocks);
    figures.bar(
        "bad blocks that each node reports with a reason",
        shown,
        "4: lookups have a budget",
        shown >= 4 && all.clone().all(|bad| !bad.reason.is_empty()),
    );
    figures.bar(
        "bad head adopted by the node without a chain",
        format!("{:?}", fresh_chain.head),
        "none",
        fresh_chain.head.is_none(),
    );
    figures.bar(
        "log growth of both nodes",
        format!("{log} bytes"),
        "1 MB",
        log < 1_000_000,
    );
    figures.bar(
        "disk growth of the node without a chain",
        format!("{disk} bytes"),
        "1 MB",
        disk < 1_000_000,
    );
    // A new peer offers heads that are known to be bad: none of them is fetched.
    let newcomer = connected_peer(20, &follower);
    let served = newcomer.engine.stats().objects_served;
    let known: Vec<AtomId> = followed.bad_blocks.iter().map(|block| block.id).collect();
    let end = Instant::now() + Duration::from_secs(4);
    let newcomer = offer(newcomer, &known, || Instant::now() >= end);
    let asked = newcomer.engine.stats().objects_served - served;
    figures.bar("requests for known bad data", asked, "0", asked == 0);
    let end = Instant::now() + Duration::from_secs(2);
    let newcomer = offer(newcomer, &[unseen], || Instant::now() >= end);
    let asked = newcomer.engine.stats().objects_served - served;
    figures.bar("requests for new bad data", asked, "1", asked > 0);
    // The other node connects to the honest chain in the end.
    fresh.connect(&seed);
    let started = Instant::now();
    let joined = wait(Duration::from_secs(60), || is_verified(&fresh));
    figures.bar(
        "time until the node without a chain joins the honest chain",
        format!("{joined}, after {:.1?}", started.elapsed()),
        "60 s",
        joined,
    );
}

/// Waits until `holds` returns true, for at most `time`. Returns whether it did.
fn wait(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(100));
    }
    false
}
