//! Heads that peers name to a follower of an honest chain: endless random ones, a stale one by a
//! tiny stake, branches whose next header is withheld; and silent peers.

use crate::Settings;
use crate::figures::Figures;
use crate::network::{GROUP, Lag, Network, STEP, mine};
use crate::world::secret;
use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::{
    Address, Block, Builder, ElectionCache, Header, StakeTable, difficulty, validator_at,
};
use astreum_core::consensus::sync::SyncLimits;
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;
use astreum_tests::sim::ledger::{EPOCH, Ledger, validator_key};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Validator and follower in each of these networks.
const PRODUCER: usize = 0;
const FOLLOWER: usize = 1;
/// Maximum time until the honest nodes have a chain.
const BEGIN: Duration = Duration::from_secs(60);

fn honest(seed: u64, machines: usize, ledger: Ledger) -> Network {
    let mut network = Network::new(seed, machines, 2, ledger);
    let begun = network.run_to(FOLLOWER, 3, BEGIN);
    assert!(
        begun,
        "the follower has a chain: {:?}",
        network.status(PRODUCER)
    );
    network
}

/// Names 1,000 random heads a second to a follower, from a peer that answers nothing.
pub(crate) fn random_heads(_: &Settings, figures: &mut Figures) {
    const SECONDS: u32 = 30;
    const PER_SECOND: u32 = 1_000;
    const ATTACKER: usize = 2;
    let mut network = honest(10, 3, Ledger::new(1));
    network.start_silent(&[ATTACKER], &[FOLLOWER]);
    network.world.tap = Some(FOLLOWER);
    let mut lag = Lag::default();
    let mut named = BTreeSet::new();
    let (mut most, mut repeated) = (0, 0);
    for second in 0..SECONDS {
        for n in 0..PER_SECOND {
            let head = AtomId::new(secret(1_000_000 + second * PER_SECOND + n));
            named.insert(head);
            network.announce_head(ATTACKER, head);
            network.world.run(Duration::from_secs(1) / PER_SECOND);
            lag.watch(&network, PRODUCER, FOLLOWER);
        }
        let asked = network.requests_of(FOLLOWER);
        let wasted = asked.iter().filter(|(_, id)| named.contains(id));
        repeated += wasted.clone().count();
        most = most.max(wasted.collect::<BTreeSet<_>>().len());
    }
    figures.note(
        "random heads announced by a peer per second, duration in seconds",
        format!("{PER_SECOND}, {SECONDS}"),
    );
    figures.bar(
        "maximum requests for them per second, and in total with retries",
        format!("{most}, {repeated}"),
        "2, and 1 to 60",
        most <= 2 && (1..=2 * SECONDS as usize).contains(&repeated),
    );
    figures.bar(
        "honest blocks during the attack, longest time until one was followed",
        format!("{}, {:.2?}", lag.blocks, lag.longest),
        "10 or more, 1 s",
        lag.blocks >= 10 && lag.longest <= Duration::from_secs(1),
    );
}

/// Returns a key whose first slot above the genesis comes between 100 and 140 s after it, the
/// ledger in which it has a stake of 1 of 1,001, and the time of that slot.
fn tiny_validator() -> (SigningKey, Ledger, u64) {
    let found = (0..u32::MAX).find_map(|n| {
        let key = SigningKey::from_seed(&secret(n));
        let own = Address::from(key.verifying_key());
        let ledger = Ledger::with_genesis(1, |genesis| {
            let producer = Address::from(validator_key(PRODUCER).verifying_key());
            genesis.stakes.insert(producer, 1_000_u64.into());
            genesis.stakes.insert(own, 1_u64.into());
        });
        let time = (50..70).find_map(|slot| {
            let time = ledger.genesis().timestamp.to_u64()? + 2 * slot;
            is_elected(&ledger, own, time).then_some(time)
        })?;
        Some((key, ledger, time))
    });
    found.expect("one of a hundred keys is elected for such a slot")
}

fn store_of(ledger: &Ledger) -> MemoryStore {
    let mut store = MemoryStore::new();
    store.extend(ledger.atoms().into_iter().map(|(_, atom)| atom));
    store
}

/// Returns whether this validator leads the slot of this time above the genesis.
fn is_elected(ledger: &Ledger, validator: Address, time: u64) -> bool {
    let store = store_of(ledger);
    let mut elections = ElectionCache::default();
    let election = elections.load(&store, ledger.genesis(), u32::MAX);
    let election = election.unwrap().expect("the genesis has stakes");
    let seed = election.seeds.next_slot_seed();
    let begin = &ledger.genesis().timestamp;
    validator_at(&election.stakes, seed, begin, &time.into()) == Ok(validator)
}

/// Makes an empty block on `parent`.
fn child(store: &mut MemoryStore, parent: &Block, key: &SigningKey, time: u64) -> Block {
    let stakes = StakeTable::read(store, parent.accounts).unwrap();
    let body = Builder::new(&*store, parent, &stakes).finish(&mut Scalar, None);
    let body = body.unwrap();
    let time = Natural::from(time);
    let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
    let header = body.header(parent, Address::from(key.verifying_key()), time, asked);
    store.extend(body.atoms.into_iter().map(|(_, atom)| atom));
    mine(parent, header, key, store)
}

/// Offers a fresh block of height 1 after a pause, from a validator with a stake of 1 of 1,001.
pub(crate) fn stale_head(_: &Settings, figures: &mut Figures) {
    const ATTACKER: usize = 2;
    let (key, ledger, turn) = tiny_validator();
    let mut store = store_of(&ledger);
    let genesis = ledger.genesis().clone();
    let lone = child(&mut store, &genesis, &key, turn);
    let mut network = honest(4, 3, ledger);
    let payment = network.ledger.pay();
    network.send(FOLLOWER, &payment);
    let until = |network: &mut Network, unix: u64| {
        while (EPOCH + network.world.now().since(astreum_core::time::Instant::ZERO)).as_secs()
            < unix
        {
            network.world.run(STEP);
        }
    };
    // A pause of 12 s: the validator is off.
    until(&mut network, turn - 12);
    network.world.cut_power(PRODUCER);
    until(&mut network, turn);
    let before = network.head(FOLLOWER);
    let paid = network.included(FOLLOWER, 0, &BTreeSet::from([payment.id()]));
    let first = {
        let mut block = network.block(FOLLOWER, before.0);
        while block.height > Natural::ONE {
            block = network.block(FOLLOWER, block.previous);
        }
        block.id()
    };
    network.start_attacker(ATTACKER, store);
    network.connect(ATTACKER, FOLLOWER);
    network.world.run(Duration::from_secs(2));
    network.announce_head(ATTACKER, lone.id());
    network.world.run(Duration::from_secs(20));
    let after = network.head(FOLLOWER);
    let judged = network.chain(FOLLOWER).sync().is_verified(&lone.id());
    // The validator returns, and receives the head too.
    assert!(network.world.start(PRODUCER), "the validator restarts");
    network.connect(ATTACKER, PRODUCER);
    network.connect(PRODUCER, FOLLOWER);
    network.world.run(Duration::from_secs(2));
    network.announce_head(ATTACKER, genesis.id());
    network.announce_head(ATTACKER, lone.id());
    network.world.run(Duration::from_secs(40));
    figures.note(
        "height when block production stops, height and age of the offered block",
        format!("{}, {}, 0 s", before.1, lone.height),
    );
    figures.bar(
        "the follower fetches, verifies and rejects that block",
        format!("{judged}, height {} stays", after.1),
        "true, 36 or more, the same head",
        judged && before.1 >= 36 && after == before,
    );
    let (made, followed) = (network.head(PRODUCER), network.head(FOLLOWER));
    figures.bar(
        "heights of validator and follower after its restart",
        format!("{}, {}", made.1, followed.1),
        "both higher than before",
        made.1 > before.1 && followed.1 > before.1,
    );
    for (what, number) in [("the validator", PRODUCER), ("the follower", FOLLOWER)] {
        let kept = network.included(number, 0, &BTreeSet::from([payment.id()]));
        let mut id = network.head(number).0;
        let mut bottom = network.block(number, id);
        while bottom.height > Natural::ONE {
            id = bottom.previous;
            bottom = network.block(number, id);
        }
        figures.bar(
            &format!("height of the block with the payment at {what}"),
            format!("{:?}", kept.values().collect::<Vec<_>>()),
            "the same as before, on the same first block",
            kept == paid && !paid.is_empty() && id == first,
        );
    }
}

/// Limits that an attacker reaches with few headers.
const SMALL: SyncLimits = SyncLimits {
    unconfirmed_headers: 96,
    checkpoint_interval: 8,
    checkpoints: 64,
    resident_headers: 24,
};

/// Heads of each branch whose next header is withheld.
const HEADS: u64 = 8;

/// Makes a branch of `count` consistent headers, whose lowest follows a block that no peer has, and
/// returns several heads of it.
fn withheld(store: &mut MemoryStore, like: &Block, number: usize, count: usize) -> Vec<AtomId> {
    let key = SigningKey::from_seed(&[9; 32]);
    let mut above = Header {
        previous: AtomId::new([0xee; 32]),
        height: (1_000 * number as u64).into(),
        difficulty: 1_u64.into(),
        ..like.header().clone()
    };
    let mut previous = above.previous;
    let mut parent = like.clone();
    for n in 0..count {
        let timestamp = &above.timestamp + &Natural::from(3_u64);
        let header = Header {
            height: &above.height + &Natural::ONE,
            previous,
            difficulty: difficulty(&above.timestamp, &timestamp, &above.difficulty),
            timestamp,
            validator: Address::from(key.verifying_key()),
            nonce: Natural::ZERO,
            ..above.clone()
        };
        if n + 1 == count {
            return (0..HEADS)
                .map(|number| {
                    let head = Header {
                        nonce: (1_000_000 * number).into(),
                        ..header.clone()
                    };
                    mine(&parent, head, &key, store).id()
                })
                .collect();
        }
        parent = mine(&parent, header, &key, store);
        (above, previous) = (parent.header().clone(), parent.id());
    }
    Vec::new()
}

/// Serves branches from peers of several networks, up to the last header that is kept without
/// confirmation by a second peer, and withholds the next one.
pub(crate) fn withheld_headers(_: &Settings, figures: &mut Figures) {
    const ATTACKERS: usize = 20;
    const SECONDS: u64 = 40;
    const NEWCOMER: usize = 2;
    let mut ledger = Ledger::new(1);
    ledger.limits = SMALL;
    let mut network = honest(5, 3 + ATTACKERS, ledger);
    let like = network.block(FOLLOWER, network.head(FOLLOWER).0);
    let mut heads = BTreeMap::new();
    for number in 3..3 + ATTACKERS {
        let mut store = MemoryStore::new();
        // Some fill their limit, some end early.
        let count = [96, 70, 30, 3][number % 4];
        heads.insert(number, withheld(&mut store, &like, number, count));
        network.start_attacker(number, store);
        network.connect(number, FOLLOWER);
        network.world.run(Duration::from_millis(50));
    }
    network.world.run(Duration::from_secs(1));
    let before: u64 = served(&mut network, heads.keys());
    let mut lag = Lag::default();
    for second in 0..SECONDS {
        for (number, heads) in &heads {
            let head = heads[usize::try_from(second % HEADS).unwrap()];
            network.announce_head(*number, head);
        }
        for _ in 0..100 {
            network.world.run(STEP);
            lag.watch(&network, PRODUCER, FOLLOWER);
        }
    }
    let served = served(&mut network, heads.keys()) - before;
    figures.note(
        "peers that withhold a header, heads announced by each, objects served by them",
        format!("{ATTACKERS}, {HEADS}, {served}"),
    );
    figures.bar(
        "their headers are fetched",
        served,
        "1,000 objects or more",
        served >= 1_000,
    );
    figures.bar(
        "honest blocks during the attack, longest time until one was followed",
        format!("{}, {:.2?}", lag.blocks, lag.longest),
        "15 or more, 2 s",
        lag.blocks >= 15 && lag.longest <= Duration::from_secs(2),
    );
    // A node that starts now, and connects to the attackers first.
    let (began, height) = (network.world.now(), network.head(PRODUCER).1);
    assert!(network.world.start(NEWCOMER), "the newcomer starts");
    for number in heads.keys() {
        network.connect(*number, NEWCOMER);
    }
    network.world.run(Duration::from_secs(1));
    for (number, heads) in &heads {
        network.announce_head(*number, heads[0]);
    }
    network.world.run(Duration::from_secs(2));
    network.connect(NEWCOMER, PRODUCER);
    let joined = network.run_to(NEWCOMER, height, Duration::from_secs(120));
    let took = network.world.now().since(began);
    figures.bar(
        "a newcomer that connects to them first has the honest chain",
        format!("{joined}, after {took:.1?}"),
        "20 s",
        joined && took <= Duration::from_secs(20),
    );
}

fn served<'n>(network: &mut Network, numbers: impl Iterator<Item = &'n usize>) -> u64 {
    numbers
        .map(|number| network.engine(*number, |engine, _| engine.stats().objects_served))
        .sum()
}

/// Lets 60 keys of as many networks validate their addresses with both honest nodes and then fall
/// silent, so that most peers nearest to any id are silent.
pub(crate) fn silent_peers(_: &Settings, figures: &mut Figures) {
    const SILENT: usize = 60;
    const SECONDS: u64 = 100;
    let mut network = honest(6, GROUP, Ledger::new(1));
    let silent: Vec<usize> = (10..10 + SILENT).collect();
    network.start_silent(&silent, &[PRODUCER, FOLLOWER]);
    network.world.tap = Some(FOLLOWER);
    let mut lag = Lag::default();
    for _ in 0..SECONDS {
        // Its user pays at intervals, because full blocks have more to fetch.
        let payment = network.ledger.pay();
        network.send(PRODUCER, &payment);
        for _ in 0..100 {
            network.world.run(STEP);
            lag.watch(&network, PRODUCER, FOLLOWER);
        }
    }
    let asked = network.requests_of(FOLLOWER);
    let at_producer = asked.iter().filter(|(to, _)| *to == PRODUCER).count();
    figures.note(
        "silent peers, requests of the follower to the validator and to the silent peers",
        format!("{SILENT}, {at_producer}, {}", asked.len() - at_producer),
    );
    figures.bar(
        "maximum number of blocks that the follower was behind",
        format!("{} of {}", lag.most_blocks, lag.blocks),
        "1 of 40 or more",
        lag.most_blocks <= 1 && lag.blocks >= 40,
    );
    figures.bar(
        "longest time until a block was followed",
        format!("{:.2?}", lag.longest),
        "1 s",
        lag.longest <= Duration::from_secs(1),
    );
}
