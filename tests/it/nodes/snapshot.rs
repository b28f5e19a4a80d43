//! Joining a chain by a snapshot.

use super::support::{address, alone, eventually, node};
use astreum_core::atom::{AtomId, AtomSource as _};
use astreum_core::chain::{Block, push_links};
use astreum_core::integer::Natural;
use astreum_node::chain_service::snapshot::{SnapshotStage, SnapshotStatus};
use astreum_node::config::{Config, SyncMode};
use astreum_node::{Node, chain_service::HeadState};
use astreum_tests::quick_chain::{QuickChain, account};
use core::net::{IpAddr, Ipv4Addr};
use std::collections::BTreeSet;
use std::path::Path;

const ACCOUNTS: u64 = 300;
const JOINED_AT: usize = 12;

fn chain() -> QuickChain {
    QuickChain::with_accounts(20, 3, ACCOUNTS)
}

/// Returns a node that announces the head, with the atoms that `has` selects.
fn server(chain: &QuickChain, dir: &Path, has: impl Fn(&AtomId) -> bool) -> Node {
    let server = node(Config {
        latest_block_hash: Some(chain.head()),
        bind_address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        cold_storage_path: Some(dir.join("cold")),
        ..alone()
    });
    let atoms = chain.atoms().into_iter().filter(|(id, _)| has(id));
    server.store().put_all(atoms.collect()).unwrap();
    server.start_chain(dir).unwrap();
    server
}

fn joining(chain: &QuickChain, dir: &Path, servers: &[&Node]) -> Node {
    // All blocks are kept.
    joining_and_keeping(chain, dir, servers, 0)
}

fn joining_and_keeping(chain: &QuickChain, dir: &Path, servers: &[&Node], blocks: u64) -> Node {
    let seeds = servers.iter().map(|server| address(server).to_string());
    let joining = node(Config {
        additional_seeds: seeds.map(|seed| seed.parse().unwrap()).collect(),
        bind_address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        cold_storage_path: Some(dir.join("cold")),
        checkpoint: Some(chain.block(JOINED_AT)),
        sync: SyncMode::Snapshot,
        prune_blocks: blocks,
        max_reorg_depth: 3,
        ..alone()
    });
    joining.start_chain(dir).unwrap();
    joining
}

fn is_complete(node: &Node) -> bool {
    node.snapshot().unwrap().stage == SnapshotStage::Complete
}

/// Checks that the node has the head, the state after it, and no block from before the snapshot but
/// headers.
fn check(node: &Node, chain: &QuickChain) {
    let status = node.chain().status();
    let head = status.head.unwrap();
    assert_eq!(
        (head.id(), head.state()),
        (chain.head(), HeadState::Verified)
    );
    assert_eq!(status.root, Some(chain.block(JOINED_AT)));
    for number in 1..=ACCOUNTS {
        let state = node.account(&account(number)).unwrap();
        assert_eq!(state.account.balance, Natural::from(number));
    }
    let below = Block::read(node.store(), chain.block(3)).unwrap();
    assert!(!node.store().contains(&below.accounts), "an older state");
    assert!(!node.store().contains(&below.transactions), "an older body");
}

#[test]
fn state_is_fetched_and_later_blocks_are_verified() {
    let scratch = tempfile::tempdir().unwrap();
    let chain = chain();
    let serving = server(&chain, &scratch.path().join("server"), |_| true);
    let dir = scratch.path().join("joining");
    let node = joining(&chain, &dir, &[&serving]);
    eventually("the chain is joined", || {
        let head = node.chain().head();
        is_complete(&node) && head.is_some_and(|head| head.id() == chain.head())
    });
    let SnapshotStatus { atoms, bytes, .. } = node.snapshot().unwrap();
    assert!(atoms > 10 * ACCOUNTS && bytes > atoms);
    // Everything is here: no peer is needed.
    drop(serving);
    check(&node, &chain);
    drop(node);
    let again = joining(&chain, &dir, &[]);
    eventually("the restart finds everything", || {
        is_complete(&again) && again.chain().head().is_some()
    });
    assert_eq!(again.snapshot().unwrap().atoms, 0);
    check(&again, &chain);
}

#[test]
fn fetched_state_is_pruned_once_enough_blocks_follow() {
    const KEPT: u64 = 8;
    let scratch = tempfile::tempdir().unwrap();
    let chain = QuickChain::with_accounts(40, 3, ACCOUNTS);
    let serving = server(&chain, &scratch.path().join("server"), |_| true);
    let dir = scratch.path().join("joining");
    let node = joining_and_keeping(&chain, &dir, &[&serving], KEPT);
    let is_joined = |node: &Node| {
        let head = node.chain().head();
        is_complete(node) && head.is_some_and(|head| head.id() == chain.head())
    };
    eventually("the chain is joined", || is_joined(&node));
    drop(serving);
    let outcome = node.prune(false, &|| true).unwrap();
    assert_eq!((outcome.blocks, outcome.horizon), (KEPT, Some(33)));
    let cold = node.store().cold().unwrap();
    for (height, is_kept) in [(JOINED_AT, false), (32, false), (33, true), (40, true)] {
        let block = Block::read(chain.store(), chain.block(height)).unwrap();
        assert_eq!(cold.contains(&block.accounts), is_kept, "{height}");
    }
    check(&node, &chain);
    drop(node);
    let again = joining_and_keeping(&chain, &dir, &[], KEPT);
    eventually("the restart finds everything", || is_joined(&again));
    assert_eq!(again.snapshot().unwrap().atoms, 0);
    for number in 1..=ACCOUNTS {
        let state = again.account(&account(number)).unwrap();
        assert_eq!(state.account.balance, Natural::from(number));
    }
}

#[test]
fn state_comes_from_peers_that_each_have_a_part() {
    let scratch = tempfile::tempdir().unwrap();
    let chain = chain();
    // Of the state, each peer has the lists whose first atom has an even or an odd id.
    let root = Block::read(chain.store(), chain.block(JOINED_AT)).unwrap();
    let (mut waiting, mut state) = (vec![root.accounts], BTreeSet::new());
    while let Some(id) = waiting.pop() {
        if let Ok(atom) = chain.store().atom(&id)
            && state.insert(id)
        {
            push_links(chain.store(), &atom, &mut waiting).unwrap();
        }
    }
    let next = |id: &AtomId| chain.store().atom(id).unwrap().next();
    let inner: BTreeSet<AtomId> = state.iter().map(next).collect();
    let mut parts = [BTreeSet::new(), BTreeSet::new()];
    for head in state.difference(&inner) {
        let part = &mut parts[usize::from(head.as_bytes()[0] % 2)];
        let mut id = *head;
        while !id.is_zero() {
            part.insert(id);
            id = next(&id);
        }
    }
    assert!(parts.iter().all(|part| part.len() > state.len() / 4));
    let has = |part: usize| {
        let (state, part) = (&state, &parts[part]);
        move |id: &AtomId| !state.contains(id) || part.contains(id)
    };
    let one = server(&chain, &scratch.path().join("one"), has(0));
    let other = server(&chain, &scratch.path().join("other"), has(1));
    let node = joining(&chain, &scratch.path().join("joining"), &[&one, &other]);
    eventually("the chain is joined", || {
        let head = node.chain().head();
        is_complete(&node) && head.is_some_and(|head| head.id() == chain.head())
    });
    check(&node, &chain);
}

#[test]
fn missing_part_of_the_state_is_not_complete() {
    let scratch = tempfile::tempdir().unwrap();
    let chain = chain();
    let root = Block::read(chain.store(), chain.block(JOINED_AT)).unwrap();
    let lost = astreum_node::query::account(chain.store(), root.accounts, &account(7));
    let (lost, _) = lost.unwrap().unwrap();
    let serving = server(&chain, &scratch.path().join("server"), |id| *id != lost);
    let node = joining(&chain, &scratch.path().join("joining"), &[&serving]);
    let atom = chain.atoms().into_iter().find(|(id, _)| *id == lost);
    let (_, atom) = atom.unwrap();
    eventually("the other accounts are here", || {
        node.account(&account(8)).is_ok() && node.snapshot().unwrap().atoms > 10 * ACCOUNTS
    });
    assert!(!is_complete(&node));
    serving.store().put(atom).unwrap();
    eventually("the rest is fetched", || is_complete(&node));
}

#[test]
fn node_that_has_a_chain_does_not_fetch_a_state() {
    let scratch = tempfile::tempdir().unwrap();
    let chain = chain();
    let serving = server(&chain, &scratch.path().join("server"), |_| true);
    let dir = scratch.path().join("joining");
    let config = |sync| Config {
        additional_seeds: vec![address(&serving).to_string().parse().unwrap()],
        bind_address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        cold_storage_path: Some(dir.join("cold")),
        checkpoint: Some(chain.block(JOINED_AT)),
        sync,
        ..alone()
    };
    let full = node(config(SyncMode::Full));
    full.start_chain(&dir).unwrap();
    eventually("the chain is verified", || {
        full.chain()
            .head()
            .is_some_and(|head| head.id() == chain.head())
    });
    assert_eq!(full.snapshot(), None);
    drop(full);
    let again = node(config(SyncMode::Snapshot));
    again.start_chain(&dir).unwrap();
    eventually("the thread has ended", || again.snapshot().is_none());
    assert_eq!(again.chain().status().root, Some(chain.block(0)));
}
