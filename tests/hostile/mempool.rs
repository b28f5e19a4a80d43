//! Transactions without cost for their senders: on unavailable data, on lists that are too long,
//! and announcements by keys that never answer.

use crate::Settings;
use crate::figures::Figures;
use crate::network::{GROUP, Network};
use crate::world::secret;
use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::{Address, BURN, SLOT_SECONDS, Transaction, Unsigned, contract};
use astreum_core::crypto::SigningKey;
use astreum_core::engine::Recipient;
use astreum_core::integer::Natural;
use astreum_tests::sim::ledger::{CHAIN_ID, Ledger};
use core::time::Duration;
use std::collections::BTreeSet;

/// The validator, and an honest node whose user pays.
const PRODUCER: usize = 0;
const USER: usize = 1;
const BEGIN: Duration = Duration::from_secs(60);
const SLOT: Duration = Duration::from_secs(SLOT_SECONDS);

fn honest(seed: u64, machines: usize, ledger: Ledger) -> Network {
    let mut network = Network::new(seed, machines, 2, ledger);
    let begun = network.run_to(USER, 3, BEGIN);
    assert!(begun, "there is a chain: {:?}", network.status(PRODUCER));
    network
}

/// Returns a transaction that opens a contract on a list.
pub(crate) fn open(chain_id: u64, from: &SigningKey, list: AtomId, counter: u64) -> Transaction {
    let data = [&[contract::OPEN][..], list.as_bytes()].concat();
    Unsigned {
        chain_id: chain_id.into(),
        amount: Natural::ZERO,
        counter: counter.into(),
        data: data.as_slice().into(),
        recipient: BURN,
    }
    .sign(from)
}

/// Returns the key of one of many senders.
pub(crate) fn sender(number: u32) -> SigningKey {
    SigningKey::from_seed(&secret(3_000_000 + number))
}

/// Sends payments at a node, and lets a number of slots pass. Returns the number of blocks above
/// the head until all of them were included; `None` if some are not.
fn pay(
    network: &mut Network,
    at: usize,
    count: usize,
    mut pass_slots: impl FnMut(&mut Network),
) -> Option<u64> {
    let above = network.head(PRODUCER).1;
    let sent: BTreeSet<AtomId> = (0..count)
        .map(|_| {
            let payment = network.ledger.pay();
            network.send(at, &payment);
            payment.id()
        })
        .collect();
    pass_slots(network);
    let found = network.included(PRODUCER, above, &sent);
    let last = found.values().max().map(|height| height - above);
    last.filter(|_| found.len() == count)
}

/// Announces 5,494 transactions on unavailable lists, of 1, 100 and 5,000 senders, beside local
/// payments.
pub(crate) fn missing_data(_: &Settings, figures: &mut Figures) {
    const FLOOD: u32 = 5_494;
    const ATTACKERS: u32 = 8;
    for senders in [1, 100, 5_000] {
        let ledger = Ledger::with_genesis(1, |genesis| {
            for number in 0..senders {
                let account = Address::from(sender(number).verifying_key());
                genesis.balances.insert(account, 1_000_u64.into());
            }
        });
        let mut network = honest(8, 2 + ATTACKERS as usize, ledger);
        let mut ids = Vec::new();
        for attacker in 0..ATTACKERS {
            let mut store = MemoryStore::new();
            for n in (0..FLOOD).filter(|n| n % ATTACKERS == attacker) {
                let list = AtomId::new(secret(4_000_000 + n));
                let counter = 1 + u64::from(n / senders);
                let transaction = open(CHAIN_ID, &sender(n % senders), list, counter);
                ids.push((
                    2 + attacker as usize,
                    transaction.write(&mut store).unwrap(),
                ));
            }
            network.start_attacker(2 + attacker as usize, store);
            network.connect(2 + attacker as usize, PRODUCER);
            network.world.run(Duration::from_millis(50));
        }
        network.world.run(Duration::from_secs(1));
        let producer = network.key(PRODUCER);
        let begun = network.head(PRODUCER).1;
        let started = network.world.now();
        let mut most_waiting = 0;
        for n in 0..ids.len() / ATTACKERS as usize {
            for attacker in 0..ATTACKERS as usize {
                let at = ids.len() * attacker / ATTACKERS as usize + n;
                let Some((attacker, id)) = ids.get(at).copied() else {
                    continue;
                };
                network.engine(attacker, |engine, now| {
                    engine.send_transaction(now, id, Recipient::Peer(producer))
                });
            }
            network.world.run(Duration::from_millis(10));
            if n % 20 == 0 {
                most_waiting = most_waiting.max(network.status(PRODUCER).mempool.waiting.len());
            }
        }
        network.world.run(Duration::from_secs(5));
        let status = network.status(PRODUCER);
        let mut blocks = Vec::new();
        for _ in 0..5 {
            blocks.push(pay(&mut network, PRODUCER, 1, |network| {
                network.world.run(SLOT * 4);
            }));
        }
        let made = network.head(PRODUCER).1 - begun;
        let slots = network.world.now().since(started).as_secs() / SLOT_SECONDS;
        figures.note(
            &format!(
                "{senders} senders: maximum number of waiting transactions, refused transactions"
            ),
            format!("{most_waiting}, {}", status.mempool.refused),
        );
        figures.bar(
            &format!("{senders} senders: blocks until a local payment is included"),
            format!("{blocks:?}"),
            "2 at most, and some wait",
            blocks.iter().all(|blocks| blocks.is_some_and(|n| n <= 2)) && most_waiting >= 32,
        );
        figures.bar(
            &format!("{senders} senders: blocks produced"),
            format!("{made} in {slots} slots"),
            "one per slot, except the first and the last",
            made + 2 >= slots,
        );
    }
}

/// Announces two random ids a second from each of several silent keys, while an honest node sends
/// 60 transfers.
pub(crate) fn silent_announcers(_: &Settings, figures: &mut Figures) {
    const KEYS: usize = 64;
    const TRANSFERS: usize = 60;
    for groups in [1, 16] {
        let mut network = honest(18, GROUP * KEYS, Ledger::new(1));
        let silent: Vec<usize> = (0..KEYS)
            .flat_map(|key| (0..groups).map(move |group| 10 + group + key * GROUP))
            .collect();
        let connected = network.start_announcers(&silent, PRODUCER);
        let producer = network.key(PRODUCER);
        let mut announced = 0_u32;
        let mut attack = |network: &mut Network| {
            for _ in 0..2 {
                for number in &connected {
                    announced += 1;
                    let id = AtomId::new(secret(5_000_000 + announced));
                    network.engine(*number, |engine, now| {
                        engine.send_transaction(now, id, Recipient::Peer(producer))
                    });
                }
                network.world.run(Duration::from_millis(500));
            }
        };
        for _ in 0..10 {
            attack(&mut network);
        }
        let mut worst = Some(0);
        for _ in 0..2 {
            let blocks = pay(&mut network, USER, TRANSFERS, |network| {
                for _ in 0..6 {
                    attack(network);
                }
            });
            worst = blocks.and_then(|blocks| worst.map(|worst| blocks.max(worst)));
        }
        figures.note(
            &format!("{groups} groups of {KEYS} keys: keys known to the validator"),
            connected.len(),
        );
        figures.bar(
            &format!("{groups} groups: blocks until {TRANSFERS} transfers are included"),
            format!("{worst:?}"),
            "2",
            worst.is_some_and(|blocks| blocks <= 2),
        );
    }
}
