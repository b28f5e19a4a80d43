//! Nodes that validate, on loopback and in real time, for a few seconds each.

use super::support::{alone, eventually, introduce, node};
use astreum_core::atom::AtomSource as _;
use astreum_core::chain::{Account, Address, Block, Transaction, Unsigned};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_node::Node;
use astreum_node::chain_service::producer::Activity;
use astreum_node::chain_service::{Head, HeadState};
use astreum_node::config::{Config, Secret, Seed};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Returns the state directory.
fn state(dir: &TempDir) -> PathBuf {
    dir.path().join("state")
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

fn validator(dir: &Path) -> Config {
    Config {
        validation_secret_key: Some(Secret::new([1; 32])),
        cold_storage_path: Some(dir.join("cold")),
        ..alone()
    }
}

fn start(config: Config, dir: &TempDir) -> Node {
    let node = node(Config {
        state_dir: Some(state(dir)),
        ..config
    });
    node.start_chain(&state(dir)).unwrap();
    node
}

fn height(node: &Node) -> u64 {
    node.chain().head().map_or(0, |head| head.height())
}

fn head(node: &Node) -> Head {
    node.chain().head().unwrap()
}

fn transfer(to: &Address, amount: u64) -> Transaction {
    Unsigned {
        chain_id: Natural::ZERO,
        amount: amount.into(),
        counter: Natural::ONE,
        data: Vec::new().as_slice().into(),
        recipient: *to,
    }
    .sign(&key(1))
}

fn balance(node: &Node, address: &Address) -> u64 {
    let accounts = head(node).block().accounts;
    let account = Account::find(node.store(), accounts, address).unwrap();
    account.map_or(0, |account| account.balance.to_u64().unwrap())
}

#[test]
fn validator_begins_chain_includes_transfer_and_resumes_after_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(validator(dir.path()), &dir);
    eventually("a block", || height(&first) >= 1);
    assert_eq!(head(&first).state(), HeadState::Own);
    let recipient = Address::from(key(2).verifying_key());
    let sent = transfer(&recipient, 250);
    first.send_transaction(&sent).unwrap();
    eventually("the transfer is in a block", || {
        balance(&first, &recipient) == 250
    });
    let mempool = first.chain().status().mempool;
    assert_eq!(mempool.refused, 0, "{mempool:?}");
    let before = head(&first);
    let network = first.status().network.unwrap();
    assert!(network.advertisements >= 5, "{}", network.advertisements);
    first.disconnect();
    drop(first);

    let second = start(validator(dir.path()), &dir);
    eventually("another block", || height(&second) > before.height() + 1);
    assert_eq!(balance(&second, &recipient), 250);
    // There is a single chain from the genesis on, and it contains the former head.
    let mut block = Block::clone(head(&second).block());
    let mut found = false;
    while !block.is_genesis() {
        found |= block.id() == before.id();
        let list = second.store().atom(&block.previous).unwrap();
        assert_eq!(list.data(), b"block");
        block = Block::read(second.store(), block.previous).unwrap();
    }
    assert!(found);
}

/// As the reference documents it: a node with a validation key joins the validation route.
#[test]
fn node_with_validation_key_validates_once_connected() {
    let dir = tempfile::tempdir().unwrap();
    let validator = node(Config {
        state_dir: Some(state(&dir)),
        ..validator(dir.path())
    });
    eventually("it produces a block", || height(&validator) >= 1);
    let follower = node(alone());
    introduce(&follower, &validator);
    eventually("its peer knows it as a validator", || {
        let peers = follower.peers().unwrap();
        peers.iter().any(|peer| peer.is_validator)
    });
    // Until it is disconnected, and again when it is connected again.
    validator.disconnect();
    let before = height(&validator);
    validator.connect().unwrap();
    eventually("it resumes production", || height(&validator) > before);
}

#[test]
fn failed_validation_start_leaves_the_node_unconnected() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        validation_secret_key: Some(Secret::new([1; 32])),
        state_dir: Some(state(&dir)),
        ..alone()
    };
    let node = Node::new(config.clone()).unwrap();
    let error = node.connect().unwrap_err().to_string();
    assert!(
        error.contains("set cold_storage_path, or chain_dir"),
        "{error}"
    );
    assert_eq!(node.port(), None);
    // A file in the way shows only when the chain is started.
    let taken = Node::new(Config {
        chain_dir: Some(dir.path().join("in-the-way")),
        ..config
    });
    std::fs::write(dir.path().join("in-the-way"), "").unwrap();
    let taken = taken.unwrap();
    let error = taken.connect().unwrap_err().to_string();
    assert!(error.contains("in-the-way"), "{error}");
    assert_eq!(taken.port(), None);
}

#[test]
fn second_node_with_the_same_key_never_signs() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = start(validator(one.path()), &one);
    eventually("a block", || height(&first) >= 1);
    let seed: Seed = format!("127.0.0.1:{}", first.port().unwrap())
        .parse()
        .unwrap();
    let second = start(
        Config {
            additional_seeds: vec![seed],
            ..validator(two.path())
        },
        &two,
    );
    introduce(&second, &first);
    eventually("the second detects the duplicate", || {
        let status = second.chain().status().validator;
        status.is_some_and(|status| matches!(status.activity, Activity::Halted(_)))
    });
    let status = second.chain().status().validator.unwrap();
    assert_eq!(status.blocks_made, 0);
    let before = height(&first);
    eventually("the first continues", || height(&first) > before);
    eventually("no peer treats the second as a validator", || {
        let peers = first.peers().unwrap();
        peers.iter().all(|peer| !peer.is_validator)
    });
}

#[test]
fn follower_verifies_the_chain_and_resumes_after_restart() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let producer = start(validator(dir.path()), &dir);
    eventually("some blocks", || height(&producer) >= 3);
    let seed: Seed = format!("127.0.0.1:{}", producer.port().unwrap())
        .parse()
        .unwrap();
    let config = || Config {
        additional_seeds: vec![seed.clone()],
        cold_storage_path: Some(other.path().join("cold")),
        ..alone()
    };
    let follower = start(config(), &other);
    eventually("the follower keeps up", || {
        let (made, seen) = (height(&producer), height(&follower));
        seen >= 4 && seen >= made.saturating_sub(1)
    });
    assert_eq!(head(&follower).state(), HeadState::Verified);
    let status = follower.chain().status();
    assert_eq!(status.sync.bad_blocks, []);
    let recipient = Address::from(key(2).verifying_key());
    producer
        .send_transaction(&transfer(&recipient, 250))
        .unwrap();
    eventually("the follower has the transfer", || {
        balance(&follower, &recipient) == 250
    });
    let before = head(&follower);
    follower.disconnect();
    drop(follower);

    // Without peers, the node resumes from its own head.
    let again = start(
        Config {
            additional_seeds: Vec::new(),
            ..config()
        },
        &other,
    );
    eventually("the head is loaded", || again.chain().head().is_some());
    assert_eq!(head(&again), before);
    introduce(&again, &producer);
    eventually("it follows the chain again", || {
        height(&again) > before.height() + 1
    });
    assert_eq!(head(&again).state(), HeadState::Verified);
}

#[test]
fn follower_of_the_default_seed_reports_a_trusted_head() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let producer = start(validator(dir.path()), &dir);
    eventually("a block", || height(&producer) >= 1);
    let seed = format!("127.0.0.1:{}", producer.port().unwrap());
    let config = Config {
        default_seed: seed.parse().ok(),
        ..alone()
    };
    let follower = start(config, &other);
    eventually("the follower has a head", || height(&follower) >= 2);
    assert_eq!(head(&follower).state(), HeadState::Trusted);
    assert_eq!(follower.chain().status().root, None);
}
