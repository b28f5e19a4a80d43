//! Reply to `status`, from the status of each part of a node.

use super::chain_status::chain_reply;
use super::counters::counters;
use super::{conditions, history_handlers, port_mapping, shared_address_warning};
use crate::chain_service::producer::ValidatorStatus;
use crate::clock;
use crate::net::own_key_warning;
use crate::node::{Node, PruneStatus, Status};
use crate::rpc::{ProducerReply, PruningReply, RefusalReply, StatusReply};
use crate::store::Durability;
use crate::store::cold::ColdStats;
use astreum_core::chain::Address;
use astreum_core::consensus::mempool::{MempoolStatus, Outcome, Refusal};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Returns the status of a node, with its problems and warnings.
pub(super) fn status_reply(node: &Node) -> StatusReply {
    let Status {
        public_key,
        port,
        hot,
        cold,
        durability,
        network,
        log_problem,
    } = node.status();
    let settings = node.settings();
    let refuses_writes = cold.as_ref().is_some_and(ColdStats::refuses_writes);
    let any: IpAddr = match settings.use_ipv6 {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    let listens_at = settings.bind_address.unwrap_or(any);
    let network = network.as_ref();
    let shared = network.and_then(|network| network.shared_private_address);
    let own_key = network.and_then(|network| network.own_key_from);
    let chain = node.chain().status();
    let validator = chain.validator.as_ref();
    let now = clock::unix_time().as_secs();
    let pruning = node.prune_status();
    let mapping = node.port_mapping();
    let mapping = mapping.as_ref();
    let ports = (port, network.and_then(|network| network.streams.port));
    let (mut problems, halted) = conditions::problems(&chain, cold.as_ref(), now);
    problems.extend(network.and_then(|network| network.streams.failure.clone()));
    let snapshot = node.snapshot();
    let incomplete = snapshot.as_ref().and_then(|it| it.problem.as_ref());
    problems.extend(incomplete.map(|why| format!("the state of this chain is incomplete: {why}")));
    let index = node.index_status();
    problems.extend(index.as_ref().map(conditions::of_index).unwrap_or_default());
    StatusReply {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        public_key,
        listen_address: port
            .map(|port| SocketAddr::from((listens_at, port)).to_string())
            .unwrap_or_default(),
        advertised_address: network.and_then(|network| network.advertised_address),
        uptime_seconds: network.map_or(0, |network| network.uptime.as_secs()),
        chain_id: settings.chain_id,
        peers: network.map_or(0, |network| network.peers as u64),
        hot_atoms: hot.atoms,
        hot_bytes: hot.used_bytes,
        hot_limit_bytes: hot.limit_bytes,
        durable: durability != Durability::Memory && !refuses_writes,
        refuses_writes,
        advertisements: network.map_or(0, |network| network.advertisements as u64),
        difficulty: network.map_or(0, |network| network.difficulty),
        latest_block: network.and_then(|network| network.head),
        seeds: network.map_or_else(Vec::new, |network| network.seeds.clone()),
        head_age_seconds: chain
            .head
            .as_ref()
            .map(|head| now.saturating_sub(head.timestamp())),
        chain: chain_reply(&chain, node.chain().sync_rate(), snapshot.as_ref()),
        warnings: conditions::warnings(settings, &chain)
            .into_iter()
            .chain(shared.map(shared_address_warning))
            .chain(own_key.map(own_key_warning))
            .chain(mapping.and_then(|it| it.mapped.as_ref()?.doubt()))
            .collect(),
        counters: counters(&hot, cold.as_ref(), network),
        problems: problems
            .into_iter()
            .chain(pruning_problems(&pruning))
            .chain(log_problem)
            .chain(mapping.and_then(|it| port_mapping::problem(settings, it, ports)))
            .collect(),
        halted,
        port_mapping: mapping.map(|status| port_mapping::reply(settings, status)),
        transaction_index: index.as_ref().map(history_handlers::index_reply),
        // Known to the handler of requests.
        rpc: None,
        validator: validator.map(|status| validator_reply(status, &chain.mempool, halted, now)),
        pruning: node
            .store()
            .cold()
            .map(|cold| PruningReply::new(&pruning, node.pruned_below(), cold.pin_count() as u64)),
    }
}

/// Returns the problems of pruning.
fn pruning_problems(pruning: &PruneStatus) -> impl Iterator<Item = String> {
    let failure = pruning.failure.clone().filter(|_| !pruning.is_running);
    let failure = failure.map(|why| format!("pruning failed: {why}"));
    let obstacle = pruning.obstacle.clone();
    let obstacle = obstacle.map(|why| format!("cold storage is not pruned as configured: {why}"));
    failure.into_iter().chain(obstacle)
}

fn validator_reply(
    status: &ValidatorStatus,
    mempool: &MempoolStatus,
    halted: bool,
    now: u64,
) -> ProducerReply {
    let refusals = mempool.outcomes.iter();
    let refusals = refusals.filter_map(|(id, outcome)| match outcome {
        Outcome::Refused(refusal) => Some((id, refusal.to_string())),
        Outcome::Expired => Some((id, Refusal::Expired.to_string())),
        Outcome::Abandoned { .. } => None,
    });
    ProducerReply {
        public_key: Address::new(status.validator),
        activity: conditions::activity_text(&status.activity, now),
        halted,
        blocks_made: status.blocks_made,
        blocks_late: status.blocks_late,
        pool_transactions: (mempool.ready.len() + mempool.waiting.len()) as u64,
        pool_waiting: mempool.waiting.len() as u64,
        pool_bytes: mempool.bytes as u64,
        refused: mempool.refused,
        refusals: refusals
            .map(|(id, reason)| RefusalReply { id: *id, reason })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::key_file::NodeKeys;
    use astreum_core::atom::Atom;

    #[test]
    fn write_that_the_storage_limit_refused_is_reported_until_one_fits() {
        let scratch = tempfile::tempdir().unwrap();
        let config = Config {
            cold_storage_limit: 1_000,
            cold_storage_path: Some(scratch.path().join("cold")),
            incoming_port: 0,
            default_seed: None,
            ..Config::default()
        };
        let settings = config.resolve().unwrap();
        let keys = NodeKeys::read(&settings).unwrap();
        let node = Node::with_settings(settings, keys).unwrap();
        // No state of the store would let it in.
        let error = node.put(Atom::bytes(vec![7; 2_000])).unwrap_err();
        assert!(error.to_string().contains("cold_storage_limit"), "{error}");
        let empty = status_reply(&node);
        assert!(!empty.refuses_writes && empty.durable, "{empty:?}");
        assert!(empty.problems.is_empty(), "{empty:?}");
        node.put(Atom::bytes(vec![7; 300])).unwrap();
        assert!(node.put(Atom::bytes(vec![8; 500])).is_err());
        let full = status_reply(&node);
        assert!(full.refuses_writes && !full.durable, "{full:?}");
        let is_named = |problems: &[String]| {
            let mut problems = problems.iter();
            problems.any(|problem| problem.contains("cold_storage_limit"))
        };
        assert!(is_named(&full.problems), "{full:?}");
        node.put(Atom::bytes(*b"fits")).unwrap();
        let fits = status_reply(&node);
        assert!(!fits.refuses_writes && fits.durable, "{fits:?}");
        assert!(!is_named(&fits.problems), "{fits:?}");
    }
}
