//! Floods of transactions and of heads at a validator.

use crate::Settings;
use crate::figures::Figures;
use crate::peer::Peer;
use crate::process::{HOT_BYTES, Node, QUEUE_BYTES};
use crate::raw_peer::RawPeer;
use crate::world::secret;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::chain::{Address, SLOT_SECONDS, Unsigned};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::wire::message::Topic;
use astreum_core::wire::ping::Ping;
use astreum_tests::random::Random;
use core::num::NonZeroU8;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::thread;
use std::time::Instant;

const ATTACKERS: u32 = 6;
/// Number of transactions with a valid signature whose senders have no balance.
const POOR_TRANSACTIONS: u32 = 400;
/// Duration of the block count without a flood.
const BASELINE: Duration = Duration::from_secs(3);
/// Maximum delay that the first false heads may cause, once: the time that a validator waits for a
/// head, and a slot.
const FIRST_DELAY: Duration = Duration::from_secs(12);
const MIB: u64 = 1 << 20;

/// Announces transactions that do not exist or cannot be paid for, from known peers, and names
/// heads that are unavailable or not blocks, as fast as the node accepts them.
pub(crate) fn floods(settings: &Settings, figures: &mut Figures) {
    let key = "5b".repeat(32);
    let more = [
        "--validation-secret-key",
        &key,
        "--cold-storage-path",
        "HOME/cold",
    ];
    let node = Node::start_with(settings, "validator", &more);
    let started = Instant::now();
    while blocks(&node).0 == 0 {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "no block within 30 s"
        );
        thread::sleep(Duration::from_millis(100));
    }
    let baseline = count(&node, BASELINE);
    let mut attackers: Vec<Peer> = (0..ATTACKERS).map(|n| Peer::new(secret(100 + n))).collect();
    for attacker in &mut attackers {
        assert!(
            attacker.connect_to(&node),
            "the attacker is connected to the node"
        );
    }
    let poor: Vec<_> = (0..POOR_TRANSACTIONS).map(poor_transaction).collect();
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let time = settings.flood.min(Duration::from_secs(12));
    let (mut delayed, mut made) = ((0, 0, Duration::ZERO), (0, 0, Duration::ZERO));
    thread::scope(|scope| {
        for (n, mut attacker) in (0..ATTACKERS).zip(attackers) {
            let (node, poor, stop, sent) = (&node, &poor, &stop, &sent);
            scope.spawn(move || {
                let mut sender = RawPeer::new(secret(100 + n), &node.key, 0xcc00 + n);
                let mut random = Random::new(u64::from(n));
                let port = attacker.address().port();
                let mut ids = Vec::new();
                for transaction in poor {
                    ids.push(transaction.write(&mut attacker.store).unwrap());
                }
                let no_block = attacker.store.insert(Atom::bytes(*b"no block"));
                while !stop.load(Ordering::Relaxed) {
                    attacker.run(Duration::from_millis(3), |_| false);
                    for _ in 0..16 {
                        let unknown =
                            AtomId::new(secret(u32::try_from(random.next() >> 32).unwrap()));
                        let announced =
                            random.one_of(&[unknown, random.clone().one_of(&ids), no_block]);
                        let content = announced.as_bytes().to_vec();
                        let packet = sender.sealed(port, Topic::Transaction, &content, 1);
                        let _ = attacker.socket.send_to(&packet, node.address);
                    }
                    let head = random.one_of(&[
                        AtomId::new(secret(random.clone().next().to_le_bytes()[0].into())),
                        no_block,
                    ]);
                    let ping = Ping {
                        is_validator: true,
                        difficulty: NonZeroU8::MIN,
                        latest_block: Some(head),
                    };
                    let packet = sender.sealed(port, Topic::Ping, &ping.encode(), 1);
                    let _ = attacker.socket.send_to(&packet, node.address);
                    sent.fetch_add(17, Ordering::Relaxed);
                }
            });
        }
        delayed = count(&node, FIRST_DELAY);
        made = count(&node, time);
        stop.store(true, Ordering::Relaxed);
    });
    let status = node.status().validator.expect("it validates");
    figures.note(
        "transactions and heads announced per second",
        sent.load(Ordering::Relaxed) / (FIRST_DELAY + time).as_secs(),
    );
    figures.note(
        "blocks before the flood, at its start, later in it",
        format!(
            "{} in {:.1?}, {} in {:.1?}, {} in {:.1?}",
            baseline.0, baseline.2, delayed.0, delayed.2, made.0, made.2
        ),
    );
    let slots = made.2.as_secs() / SLOT_SECONDS;
    figures.bar(
        "blocks produced later in the flood",
        format!("{} in {slots} slots, {} late", made.0, made.1),
        "one per slot, except the first and the last",
        made.0 + 2 >= slots && !status.halted,
    );
    figures.note(
        "transactions refused, waiting",
        format!("{}, {}", status.refused, status.pool_transactions),
    );
    let cap = HOT_BYTES + 2 * QUEUE_BYTES + 64 * MIB;
    let resident = node.resident_bytes();
    figures.bar(
        "resident memory",
        format!("{} MiB", resident / MIB),
        &format!("caps + 64 MiB = {} MiB", cap / MIB),
        resident <= cap,
    );
}

/// Returns the number of blocks that the node has made, and of those that were late.
fn blocks(node: &Node) -> (u64, u64) {
    let status = node.status().validator;
    status.map_or((0, 0), |status| (status.blocks_made, status.blocks_late))
}

/// Returns the blocks made and late during `time`, and the time that really passed.
fn count(node: &Node, time: Duration) -> (u64, u64, Duration) {
    let (made, late) = blocks(node);
    let started = Instant::now();
    thread::sleep(time);
    let (made_now, late_now) = blocks(node);
    (made_now - made, late_now - late, started.elapsed())
}

fn poor_transaction(n: u32) -> astreum_core::chain::Transaction {
    Unsigned {
        chain_id: Natural::ZERO,
        amount: 5u64.into(),
        counter: Natural::ONE,
        data: Vec::new().as_slice().into(),
        recipient: Address::from(SigningKey::from_seed(&[1; 32]).verifying_key()),
    }
    .sign(&SigningKey::from_seed(&secret(50_000 + n)))
}
