//! Long lists in cheap transactions: one larger than the memory of a verifying node, and many that
//! are longer than a transaction may read.

use crate::Settings;
use crate::figures::Figures;
use crate::mempool::{open, sender};
use crate::network::Network;
use crate::peer::Peer;
use crate::process::Node;
use crate::world::secret;
use astreum_core::atom::{Atom, AtomId, AtomKind};
use astreum_core::chain::{Address, MAX_LIST_ATOMS, SLOT_SECONDS, Transaction, Unsigned};
use astreum_core::engine::Recipient;
use astreum_core::integer::Natural;
use astreum_node::config::Settings as NodeSettings;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use astreum_tests::sim::ledger::{CHAIN_ID, Ledger};
use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

const KIB: u64 = 1 << 10;

/// Creates a list of `atoms` atoms, and `heads` heads of lists that continue with it.
fn lists(atoms: usize, bytes: usize, heads: u32) -> (Vec<(AtomId, Atom)>, Vec<AtomId>) {
    let mut next = AtomId::ZERO;
    let mut all = Vec::new();
    let mut put = |number: u32, bytes: usize, next: AtomId| {
        let mut data = number.to_le_bytes().to_vec();
        data.resize(bytes, 7);
        let atom = Atom::new(AtomKind::Bytes, data, next);
        let id = atom.id();
        all.push((id, atom));
        id
    };
    for number in 0..u32::try_from(atoms).unwrap() {
        next = put(number, bytes, next);
    }
    let heads = (0..heads).map(|number| put(number, 8, next)).collect();
    (all, heads)
}

/// Opens contracts on three lists that share 3 MiB, in a block that a node with 256 KiB of memory
/// verifies.
pub(crate) fn large_list(_: &Settings, figures: &mut Figures) {
    const PRODUCER: usize = 0;
    const FOLLOWER: usize = 1;
    const ATOMS: usize = 800;
    const HEADS: u32 = 3;
    let ledger = Ledger::with_genesis(1, |genesis| {
        for number in 0..HEADS {
            let account = Address::from(sender(number).verifying_key());
            genesis.balances.insert(account, 1_000_000_u64.into());
        }
    });
    let mut network = Network::new(7, 2, 2, ledger);
    assert!(network.run_to(FOLLOWER, 3, Duration::from_secs(60)));
    let (atoms, heads) = lists(ATOMS, 4_000, HEADS);
    let bytes: u64 = atoms.iter().map(|(_, atom)| atom.stored_len() as u64).sum();
    let ids: BTreeSet<AtomId> = atoms.iter().map(|(id, _)| *id).collect();
    let memory = network.world.hosts()[FOLLOWER].running.as_ref();
    let memory = memory.unwrap().store.hot_stats().limit_bytes;
    network.world.act(PRODUCER, |host, _| {
        let store = &host.running.as_ref().unwrap().store;
        store.put_all(atoms).expect("the disk has room");
    });
    network.world.tap = Some(FOLLOWER);
    let received =
        |network: &mut Network| network.engine(FOLLOWER, |engine, _| engine.stats().received_bytes);
    let (before, above) = (received(&mut network), network.head(PRODUCER).1);
    let opened: BTreeSet<AtomId> = (0..HEADS)
        .zip(&heads)
        .map(|(number, list)| {
            let transaction = open(CHAIN_ID, &sender(number), *list, 1);
            network.send(PRODUCER, &transaction);
            transaction.id()
        })
        .collect();
    // Long enough to fetch ten times the list, at the rate of a list that is refetched repeatedly.
    network.world.run(Duration::from_secs(120));
    let took = received(&mut network) - before;
    let mut asked = BTreeMap::new();
    for (_, id) in network.requests_of(FOLLOWER) {
        *asked.entry(id).or_insert(0_u32) += 1;
    }
    let of_list = asked.iter().filter(|(id, _)| ids.contains(id));
    let most = of_list.clone().map(|(_, count)| *count).max();
    let made = network.included(PRODUCER, above, &opened);
    let verified = network.included(FOLLOWER, above, &opened);
    let (head, followed) = (network.head(PRODUCER).1, network.head(FOLLOWER).1);
    figures.note(
        "size of the list, memory of the follower",
        format!("{} KiB, {} KiB", bytes / KIB, memory / KIB),
    );
    figures.bar(
        "contracts in the chains of validator and follower",
        format!("{}, {}", made.len(), verified.len()),
        "3, 3",
        made.len() == opened.len() && verified.len() == opened.len(),
    );
    figures.bar(
        "blocks that the follower is behind after 120 s",
        head.saturating_sub(followed),
        "1",
        head.saturating_sub(followed) <= 1 && head > above + 50,
    );
    figures.bar(
        "bytes received by the follower in that time",
        format!("{} KiB", took / KIB),
        "1 to 1.5 times the size of the list",
        took >= bytes && took <= bytes + bytes / 2,
    );
    figures.bar(
        "maximum requests for one atom of the list, number of requested atoms",
        format!("{most:?}, {}", of_list.count()),
        "1",
        most == Some(1),
    );
}

const LONG: u32 = 1_200;
const USER: u32 = 9_000;

/// Makes a chain on which the senders have money, and stores the lists, before the node starts.
fn prepare(settings: &Settings, home: &Path, key: &str) -> Vec<AtomId> {
    let mut plan = String::from("[balances]\n");
    for number in (0..LONG).chain([USER]) {
        let account = Address::from(sender(number).verifying_key());
        writeln!(plan, "{account} = 100000").unwrap();
    }
    let file = home.join("genesis.toml");
    std::fs::write(&file, plan).unwrap();
    let made = Command::new(&settings.node)
        .args(["genesis", "--default-seed", "none"])
        .env("ASTREUM_VALIDATION_SECRET_KEY", key)
        .arg("--file")
        .arg(&file)
        .arg("--cold-storage-path")
        .arg(home.join("cold"))
        .arg("--state-dir")
        .arg(home.join("state"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "cannot create the chain: {said}");
    let options = ColdOptions {
        background: false,
        ..ColdOptions::from(&NodeSettings::default())
    };
    let cold = ColdStore::open(&home.join("cold"), options).expect("the directory opens");
    let (atoms, heads) = lists(MAX_LIST_ATOMS, 4, LONG);
    for part in atoms.chunks(50_000) {
        cold.put(part).expect("the disk has room");
    }
    heads
}

/// Returns a transfer of the local user.
fn transfer(counter: u64) -> Transaction {
    Unsigned {
        chain_id: Natural::ZERO,
        amount: Natural::ONE,
        counter: counter.into(),
        data: Vec::new().as_slice().into(),
        recipient: Address::from(sender(0).verifying_key()),
    }
    .sign(&sender(USER))
}

/// Announces 1,200 transactions on locally stored lists that are one atom too long, repeatedly, to
/// a validator whose local user pays.
pub(crate) fn long_lists(settings: &Settings, figures: &mut Figures) {
    const ATTACKERS: u32 = 3;
    const ROUNDS: u64 = 5;
    let key = "5d".repeat(32);
    let more = [
        "--validation-secret-key",
        &key,
        "--cold-storage-path",
        "HOME/cold",
    ];
    let mut heads = Vec::new();
    let node = Node::start_prepared(settings, "long-lists", &more, |home| {
        heads = prepare(settings, home, &key);
    });
    let height = || node.status().chain.height.unwrap_or_default();
    let started = Instant::now();
    while height() == 0 {
        let waits = started.elapsed();
        assert!(waits < Duration::from_secs(60), "no block within 60 s");
        thread::sleep(Duration::from_millis(100));
    }
    let mut attackers = Vec::new();
    for number in 0..ATTACKERS {
        let mut attacker = Peer::new(secret(700 + number));
        let mine = (0..LONG)
            .zip(&heads)
            .filter(|(n, _)| n % ATTACKERS == number);
        let ids: Vec<AtomId> = mine
            .map(|(n, list)| {
                let transaction = open(0, &sender(n), *list, 1);
                transaction.write(&mut attacker.store).unwrap()
            })
            .collect();
        assert!(
            attacker.connect_to(&node),
            "the attacker is connected to the node"
        );
        attackers.push((attacker, ids));
    }
    let (stop, announced) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut blocks, mut late, mut slots) = (0, 0, 0);
    let mut included = Vec::new();
    thread::scope(|scope| {
        for (mut attacker, ids) in attackers {
            let (node, stop, announced) = (&node, &stop, &announced);
            scope.spawn(move || {
                for id in ids.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let now = attacker.now();
                    let to = Recipient::Peer(node.key);
                    attacker.engine.send_transaction(now, *id, to);
                    announced.fetch_add(1, Ordering::Relaxed);
                    attacker.run(Duration::from_millis(2), |_| false);
                }
            });
        }
        thread::sleep(Duration::from_secs(3));
        let before = node.status().validator.expect("it validates");
        let started = Instant::now();
        for round in 0..ROUNDS {
            let above = height();
            let sent: Vec<Transaction> = (0..4).map(|n| transfer(1 + round * 4 + n)).collect();
            sent.iter().for_each(|one| node.send(one));
            thread::sleep(Duration::from_secs(SLOT_SECONDS));
            for one in &sent {
                let found = node.height_of(one, 3 * SLOT_SECONDS);
                included.push(found.map(|height| height - above));
            }
        }
        slots = started.elapsed().as_secs() / SLOT_SECONDS;
        let after = node.status().validator.expect("it validates");
        blocks = after.blocks_made - before.blocks_made;
        late = after.blocks_late - before.blocks_late;
        stop.store(true, Ordering::Relaxed);
    });
    let status = node.status().validator.expect("it validates");
    figures.note(
        "too long lists, announcements of transactions on them",
        format!("{LONG}, {}", announced.load(Ordering::Relaxed)),
    );
    let too_long = status.refusals.iter();
    let too_long = too_long.filter(|one| one.reason.contains("list")).count();
    figures.note(
        "refused transactions, waiting transactions, reported refusals that name a list",
        format!("{}, {}, {too_long}", status.refused, status.pool_waiting),
    );
    figures.bar(
        "the transactions reach the validator",
        status.refused + status.pool_waiting,
        "100 or more are waiting or refused",
        status.refused + status.pool_waiting >= 100,
    );
    figures.bar(
        "blocks meanwhile",
        format!("{blocks} in {slots} slots, {late} late"),
        "one a slot",
        blocks >= slots && !status.halted,
    );
    let worst = included.iter().copied().max().flatten();
    let all = included.iter().all(Option::is_some);
    figures.bar(
        "included local transfers, maximum number of blocks until inclusion",
        format!(
            "{} of {}, {worst:?}",
            included.iter().flatten().count(),
            included.len()
        ),
        "all, 3",
        all && worst.is_some_and(|blocks| blocks <= 3),
    );
}
