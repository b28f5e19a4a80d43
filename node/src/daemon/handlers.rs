//! Handlers of control socket requests.

use super::chain_status::chain_reply;
use super::{
    StopHandle, chain_handlers, conditions, fork_handlers, own_key_warning, shared_address_warning,
};
use crate::WaitLimit;
use crate::chain_service::producer::ValidatorStatus;
use crate::clock;
use crate::net::{NetworkStatus, SeedState};
use crate::node::{Node, NodeError, Peer, Status};
use crate::rpc::{
    AdvertisementReply, AtomReply, EVAL_FETCH_SECONDS, ErrorReply, EvalReply, Handler, ListReply,
    MAX_LIST_REPLY_BYTES, PeerReply, ProducerReply, ProviderReply, PutReply, RefusalReply, Reply,
    Request, SeedReply, SetAsideReply, StatusReply, hex, unhex,
};
use crate::store::Durability;
use crate::store::cold::{ColdStats, SetAside};
use crate::store::disk::real_path;
use crate::store::hot::HotStats;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::consensus::mempool::{MempoolStatus, Outcome, Refusal};
use astreum_core::crypto::PublicKey;
use astreum_core::engine::FetchError;
use astreum_core::expr::Expr;
use astreum_core::machine::Env;
use astreum_core::text;
use astreum_core::wire::object::PayloadType;
use core::sync::atomic::AtomicBool;
use core::time::Duration;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

/// Maximum nesting of a list in JSON; deeper lists are sent only as text, because JSON readers stop
/// soon after.
const MAX_JSON_DEPTH: u32 = 60;
/// Maximum size in bytes of a value's text or JSON.
const MAX_VALUE_BYTES: usize = 1 << 20;

/// Handler of control socket requests for a node.
#[derive(Debug)]
pub struct NodeHandler {
    node: Arc<Node>,
    stop: StopHandle,
}

impl NodeHandler {
    /// Creates a handler for `node`; a stop request uses `stop`.
    #[must_use]
    pub const fn new(node: Arc<Node>, stop: StopHandle) -> Self {
        Self { node, stop }
    }

    fn peers(&self) -> Reply {
        let own = self.node.public_key();
        let peers = self.node.peers()?;
        let offenders = self.node.chain().status().sync.offenders;
        let replies = peers.iter().map(|peer| {
            let known = offenders.iter().find(|(key, _)| *key == peer.public_key);
            peer_reply(peer, own.as_bytes(), known.map_or(0, |(_, count)| *count))
        });
        to_reply(&replies.collect::<Vec<_>>())
    }

    fn get(&self, id: &str) -> Reply {
        let id = parse_id(id)?;
        let atom = self.node.get_atom(id)?;
        let atom = atom.ok_or_else(|| self.missing(&id))?;
        to_reply(&AtomReply::from(&atom))
    }

    /// Returns the error for an atom that was not found, with advice.
    fn missing(&self, id: &AtomId) -> ErrorReply {
        let mut reply = ErrorReply::missing(id);
        let has_peers = self.node.peers().is_ok_and(|peers| !peers.is_empty());
        if !has_peers {
            reply.error +=
                ": this node has no peers; `astreum peers --connect HOST:PORT` contacts one";
        } else if !self.node.waits() {
            reply.error += " yet: the request was sent to peers, and this node does not wait for \
                            answers (atom_fetch_interval or atom_fetch_retries is 0); try again";
        }
        reply
    }

    /// Returns as many atoms of the list as fit into one reply; only missing atoms are fetched.
    fn get_list(&self, id: &str) -> Reply {
        let mut next = parse_id(id)?;
        let (mut atoms, mut bytes) = (Vec::new(), 0);
        let mut fetched = VecDeque::new();
        while !next.is_zero() {
            let atom = self.list_atom(next, &mut fetched)?;
            bytes += atom.stored_len();
            if bytes > MAX_LIST_REPLY_BYTES && !atoms.is_empty() {
                break;
            }
            atoms.push(hex(&atom.to_bytes()));
            next = atom.next();
        }
        let next = next.to_string();
        to_reply(&ListReply { atoms, next })
    }

    fn list_atom(&self, id: AtomId, fetched: &mut VecDeque<Atom>) -> Result<Atom, ErrorReply> {
        if let Some(atom) = fetched.pop_front().or_else(|| self.node.store().get(&id)) {
            return Ok(atom);
        }
        let rest = self.node.get_atom_list(id)?;
        *fetched = rest.unwrap_or_default().into();
        fetched.pop_front().ok_or_else(|| self.missing(&id))
    }

    fn put(&self, atoms: &[String]) -> Reply {
        let decoded: Vec<Atom> = atoms
            .iter()
            .enumerate()
            .map(|(at, text)| parse_atom(text).map_err(|error| format!("atom {at}: {error}")))
            .collect::<Result<_, _>>()?;
        let (ids, durability) = self.node.put_atoms(decoded)?;
        let ids = ids.iter().map(AtomId::to_string).collect();
        let durable = durability != Durability::Memory;
        to_reply(&PutReply { ids, durable })
    }

    fn advertise(&self, id: &str, list: bool, expires_seconds: Option<u64>) -> Reply {
        let kind = if list {
            PayloadType::LIST
        } else {
            PayloadType::ATOM
        };
        let lifetime = expires_seconds.map(Duration::from_secs);
        self.node.advertise(parse_id(id)?, kind, lifetime)?;
        Ok(Value::Null)
    }

    fn advertised(&self) -> Reply {
        let advertised = self.node.advertised();
        let replies = advertised.iter().map(|advertisement| AdvertisementReply {
            id: advertisement.id.to_string(),
            list: advertisement.kind == PayloadType::LIST,
            expires_seconds: advertisement.lifetime.map(|left| left.as_secs()),
        });
        to_reply(&replies.collect::<Vec<_>>())
    }

    fn eval(
        &self,
        source: &str,
        limit: Option<u64>,
        fetch_seconds: Option<u64>,
        gone: &Arc<AtomicBool>,
    ) -> Reply {
        let mut budget = MAX_VALUE_BYTES;
        let expr = text::parse(source).map_err(|error| error.to_string())?;
        let mut machine = self.node.machine();
        machine.set_meter_limit(limit);
        machine.set_interrupt(Arc::clone(gone));
        let fetch_seconds = fetch_seconds.unwrap_or(EVAL_FETCH_SECONDS);
        let wait_limit = WaitLimit::NONE.within(Duration::from_secs(fetch_seconds));
        let evaluation = wait_limit.scope(|| machine.eval(&expr, &mut Env::new()));
        let value = evaluation.value();
        to_reply(&EvalReply {
            text: text::to_text(value, MAX_VALUE_BYTES),
            expr: expr_json(value, MAX_JSON_DEPTH, &mut budget).unwrap_or_default(),
            used: evaluation.used(),
            is_error: value.is_error(),
        })
    }

    fn connect(&self, address: &str) -> Reply {
        match self.node.contact(address) {
            Ok(resolved) => Ok(resolved.to_string().into()),
            Err(NodeError::Resolve(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                let expected = "expected host:port or [ipv6]:port";
                Err(format!("invalid address {address:?}: {expected}").into())
            }
            Err(NodeError::Resolve(error)) => {
                Err(format!("failed to resolve {address}: {error}").into())
            }
            Err(error @ NodeError::OwnAddress(_)) => Err(error.to_string().into()),
            Err(error) => Err(format!("{address}: {error}").into()),
        }
    }

    fn damaged(&self, directory: &str, clear: bool) -> Reply {
        let Some(cold) = self.node.store().cold() else {
            return Err("this node has no cold storage".to_owned().into());
        };
        // The socket may belong to another node than the one that has the directory open.
        let own = real_path(cold.path());
        if own.to_string_lossy() != directory {
            let own = own.display();
            let refusal = format!(
                "the cold storage of this node is {own}, not {directory}; connect to the node that \
                 has it open, with its --state-dir or --control-socket"
            );
            return Err(refusal.into());
        }
        let incidents = if clear {
            cold.clear_set_aside().map_err(|error| error.to_string())?
        } else {
            cold.stats().set_aside
        };
        to_reply(
            &incidents
                .into_iter()
                .map(SetAsideReply::from)
                .collect::<Vec<_>>(),
        )
    }

    fn providers(&self, id: &str) -> Reply {
        let providers = self.node.providers(parse_id(id)?)?;
        let replies = providers.iter().map(|provider| ProviderReply {
            public_key: provider.key.to_string(),
            address: provider.address.to_string(),
            expires_seconds: provider.expires_in.as_secs(),
        });
        to_reply(&replies.collect::<Vec<_>>())
    }
}

impl Handler for NodeHandler {
    fn handle(&self, request: Request, gone: &Arc<AtomicBool>) -> Reply {
        let wait_limit = WaitLimit::NONE.until(Arc::clone(gone));
        wait_limit.scope(|| self.answer(request, gone))
    }
}

impl NodeHandler {
    fn answer(&self, request: Request, gone: &Arc<AtomicBool>) -> Reply {
        match request {
            Request::Status {} => to_reply(&status_reply(&self.node)),
            Request::Peers {} => self.peers(),
            Request::Get { id } => self.get(&id),
            Request::GetList { id } => self.get_list(&id),
            Request::Put { atoms } => self.put(&atoms),
            Request::Advertise {
                id,
                list,
                expires_seconds,
            } => self.advertise(&id, list, expires_seconds),
            Request::Advertised {} => self.advertised(),
            Request::Withdraw { id } => to_reply(&self.node.withdraw(parse_id(&id)?)?),
            Request::RemovePeer { key, ban: true } => to_reply(&self.node.ban(parse_key(&key)?)?),
            Request::RemovePeer { key, ban: false } => {
                to_reply(&self.node.remove_peer(parse_key(&key)?)?)
            }
            Request::UnbanPeer { key } => to_reply(&self.node.unban(parse_key(&key)?)?),
            Request::Connect { address } => self.connect(&address),
            Request::Eval {
                source,
                limit,
                fetch_seconds,
            } => self.eval(&source, limit, fetch_seconds, gone),
            Request::Providers { id } => self.providers(&id),
            Request::Block {
                at,
                transactions,
                skip,
            } => chain_handlers::block(&self.node, &at, transactions, skip),
            Request::Blocks { from, count } => chain_handlers::blocks(&self.node, &from, count),
            Request::Account { account } => chain_handlers::account(&self.node, &account),
            Request::Validators { slots } => chain_handlers::validators(&self.node, slots),
            Request::SendTransaction {
                id,
                atoms,
                dry_run,
                force,
            } => chain_handlers::send_transaction(&self.node, &id, &atoms, dry_run, force),
            Request::ResendTransaction { id } => {
                chain_handlers::resend_transaction(&self.node, &id)
            }
            Request::Transaction { id } => chain_handlers::transaction(&self.node, &id),
            Request::TransactionStatus {
                id,
                wait_seconds,
                until_safe,
            } => chain_handlers::transaction_status(&self.node, &id, wait_seconds, until_safe),
            Request::Forks {} => fork_handlers::forks(&self.node),
            Request::AdoptFork { id } => fork_handlers::adopt(&self.node, &id),
            Request::AvoidBlock { id } => fork_handlers::avoid(&self.node, &id),
            Request::ProveAccount { account } => {
                chain_handlers::prove_account(&self.node, &account)
            }
            Request::Damaged { directory, clear } => self.damaged(&directory, clear),
            Request::Stop {} => {
                self.stop.stop();
                Ok(Value::Null)
            }
        }
    }
}

impl From<SetAside> for SetAsideReply {
    fn from(incident: SetAside) -> Self {
        let SetAside {
            number,
            files,
            bytes,
            problems,
            missing,
            unknown,
        } = incident;
        Self {
            number,
            files,
            bytes,
            problems,
            missing,
            unknown,
        }
    }
}

impl From<NodeError> for ErrorReply {
    fn from(error: NodeError) -> Self {
        Self {
            too_large: matches!(error, NodeError::Fetch(FetchError::TooLarge)),
            ..error.to_string().into()
        }
    }
}

pub(super) fn to_reply(result: &impl serde::Serialize) -> Reply {
    serde_json::to_value(result).map_err(|error| error.to_string().into())
}

pub(super) fn parse_id(text: &str) -> Result<AtomId, ErrorReply> {
    let error = |error| format!("{text}: {error}").into();
    text.parse().map_err(error)
}

/// Parses a public key, which is written like an id.
fn parse_key(text: &str) -> Result<PublicKey, ErrorReply> {
    parse_id(text).map(|id| PublicKey::new(*id.as_bytes()))
}

pub(super) fn parse_atom(text: &str) -> Result<Atom, String> {
    let bytes = unhex(text).ok_or("expected hex digits in pairs")?;
    Atom::from_bytes(&bytes).map_err(|error| error.to_string())
}

fn peer_reply(peer: &Peer, own: &[u8; 32], offences: u64) -> PeerReply {
    PeerReply {
        public_key: peer.public_key.to_string(),
        address: peer.address.to_string(),
        bucket: shared_bits(peer.public_key.as_bytes(), own),
        last_seen_seconds: peer.last_heard.as_secs(),
        proven: peer.is_validated,
        is_validator: peer.is_validator,
        difficulty: peer.difficulty,
        latest_block: peer.head.map(|id| id.to_string()),
        bad_blocks: offences,
    }
}

/// Returns the number of leading bits that two keys share.
fn shared_bits(a: &[u8; 32], b: &[u8; 32]) -> u16 {
    let mut shared = 0;
    for (a, b) in a.iter().zip(b) {
        let zeros = (a ^ b).leading_zeros();
        // `zeros` is at most 8.
        shared += u16::try_from(zeros).unwrap_or_default();
        if zeros < 8 {
            break;
        }
    }
    shared
}

fn status_reply(node: &Node) -> StatusReply {
    let Status {
        public_key,
        port,
        hot,
        cold,
        durability,
        network,
        log_problem,
    } = node.status();
    let config = node.config();
    let refuses_writes = cold
        .as_ref()
        .is_some_and(|cold| cold.write_failure.is_some());
    let any = if config.use_ipv6 { "[::]" } else { "0.0.0.0" };
    let network = network.as_ref();
    let shared = network.and_then(|network| network.shared_private_address);
    let own_key = network.and_then(|network| network.own_key_from);
    let chain = node.chain().status();
    let validator = chain.validator.as_ref();
    let now = clock::unix_time().as_secs();
    let (problems, halted) = conditions::problems(&chain, cold.as_ref(), now);
    StatusReply {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        public_key: public_key.to_string(),
        listen_address: port.map(|port| format!("{any}:{port}")).unwrap_or_default(),
        advertised_address: network
            .and_then(|network| network.advertised_address)
            .map(|address| address.to_string()),
        uptime_seconds: network.map_or(0, |network| network.uptime.as_secs()),
        chain_id: config.chain_id(),
        peers: network.map_or(0, |network| network.peers as u64),
        hot_atoms: hot.atoms,
        hot_bytes: hot.used_bytes,
        hot_limit_bytes: hot.limit_bytes,
        durable: durability != Durability::Memory && !refuses_writes,
        refuses_writes,
        advertisements: network.map_or(0, |network| network.advertisements as u64),
        difficulty: network.map_or(0, |network| network.difficulty),
        latest_block: network
            .and_then(|network| network.head)
            .map(|id| id.to_string()),
        seeds: network.map_or_else(Vec::new, seed_replies),
        head_age_seconds: chain
            .head
            .as_ref()
            .map(|head| now.saturating_sub(head.timestamp())),
        chain: chain_reply(&chain),
        warnings: conditions::warnings(config, &chain)
            .into_iter()
            .chain(shared.map(shared_address_warning))
            .chain(own_key.map(own_key_warning))
            .collect(),
        counters: counters(&hot, cold.as_ref(), network),
        problems: problems.into_iter().chain(log_problem).collect(),
        halted,
        validator: validator.map(|status| validator_reply(status, &chain.mempool, halted, now)),
    }
}

fn seed_replies(network: &NetworkStatus) -> Vec<SeedReply> {
    let seeds = network.seeds.iter();
    let reply = |seed: &SeedState| SeedReply {
        name: seed.name.clone(),
        addresses: seed.addresses.iter().map(ToString::to_string).collect(),
        error: seed.error.clone(),
    };
    seeds.map(reply).collect()
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
        public_key: hex(&status.validator),
        activity: conditions::activity_text(&status.activity, now),
        halted,
        blocks_made: status.blocks_made,
        blocks_late: status.blocks_late,
        pool_transactions: (mempool.ready.len() + mempool.waiting.len()) as u64,
        pool_waiting: mempool.waiting.len() as u64,
        pool_bytes: mempool.bytes as u64,
        refused: mempool.refused,
        refusals: refusals
            .map(|(id, reason)| RefusalReply {
                id: id.to_string(),
                reason,
            })
            .collect(),
    }
}

fn counters(
    hot: &HotStats,
    cold: Option<&ColdStats>,
    network: Option<&NetworkStatus>,
) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::from([
        ("hot_hits".to_owned(), hot.hits),
        ("hot_misses".to_owned(), hot.misses),
        ("hot_inserted".to_owned(), hot.inserted),
        ("hot_evicted".to_owned(), hot.evicted),
        ("hot_refused".to_owned(), hot.refused),
    ]);
    if let Some(cold) = cold {
        counters.extend([
            ("cold_atoms".to_owned(), cold.atoms),
            ("cold_bytes".to_owned(), cold.used_bytes),
            ("cold_limit_bytes".to_owned(), cold.limit_bytes),
            ("cold_memory_bytes".to_owned(), cold.memory_bytes),
            ("cold_hits".to_owned(), cold.hits),
            ("cold_misses".to_owned(), cold.misses),
        ]);
    }
    if let Some(NetworkStatus { stats, .. }) = network {
        counters.extend([
            ("datagrams_received".to_owned(), stats.received),
            ("bytes_received".to_owned(), stats.received_bytes),
            ("datagrams_sent".to_owned(), stats.sent),
            ("bytes_sent".to_owned(), stats.sent_bytes),
            ("objects_served".to_owned(), stats.objects_served),
            ("disk_reads".to_owned(), stats.disk_reads),
            ("key_agreements".to_owned(), stats.agreements),
        ]);
        for (reason, count) in stats.dropped_since(&Default::default()) {
            counters.insert(format!("dropped: {reason}"), count);
        }
    }
    counters
}

/// Returns the value as exact JSON; `None` if lists are nested deeper than `depth`, or if the
/// output exceeds `budget` bytes: a small value can have a large output, because lists are shared.
fn expr_json(expr: &Expr, depth: u32, budget: &mut usize) -> Option<Value> {
    let own_bytes = 16
        + expr.as_symbol().map_or(0, str::len)
        + expr.as_bytes().map_or(0, |bytes| 2 * bytes.len());
    *budget = budget.checked_sub(own_bytes)?;
    Some(match expr {
        Expr::Symbol(name) => json!({ "sym": name.as_str() }),
        Expr::Bytes(bytes) => json!({ "bytes": hex(bytes) }),
        Expr::List(items) => {
            let depth = depth.checked_sub(1)?;
            let items: Option<Vec<Value>> = items
                .iter()
                .map(|item| expr_json(item, depth, budget))
                .collect();
            json!({ "list": items? })
        }
    })
}
