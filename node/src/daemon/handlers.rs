//! Handlers of control socket requests.

use super::chain_status::chain_reply;
use super::recent_warnings::RecentWarnings;
use super::{
    Reloader, StopHandle, atom_transfers, chain_handlers, conditions, fork_handlers,
    history_handlers, list_sender, metrics, port_mapping, shared_address_warning,
};
use crate::WaitLimit;
use crate::chain_service::producer::ValidatorStatus;
use crate::clock;
use crate::net::{Advertisement, FetchedObject, NetworkStatus, own_key_warning};
use crate::node::{Node, NodeError, Peer, PruneStatus, Status};
use crate::query::AccountProof;
use crate::rpc::{
    AccountReply, AdvertisementReply, AtomReply, BackupReply, BlockReply, Caller,
    EVAL_FETCH_SECONDS, ErrorKind, EvalReply, ForksReply, HistoryReply, HttpCounts, ListReply,
    LogReply, MAX_LIST_REPLY_BYTES, MAX_PINS_REPLY, PeerReply, PinReply, PinnedReply,
    ProducerReply, ProviderReply, PruneReply, PruningReply, PutReply, RefusalReply, ReloadReply,
    Request, RpcError, SendReply, SentReply, Service, StatusReply, StoredReply, TransactionReply,
    TransactionStatusReply, ValidatorsReply, hex, request,
};
use crate::store::Durability;
use crate::store::cold::{BackedUp, ColdStats, ColdStore, SetAside};
use crate::store::disk::real_path;
use crate::store::hot::HotStats;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::chain::Address;
use astreum_core::consensus::mempool::{MempoolStatus, Outcome, Refusal};
use astreum_core::engine::FetchError;
use astreum_core::expr::Expr;
use astreum_core::machine::Env;
use astreum_core::text;
use astreum_core::wire::object::PayloadType;
use core::net::SocketAddr;
use core::time::Duration;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Maximum nesting of a list in JSON; deeper lists are sent only as text, because JSON readers stop
/// soon after.
const MAX_JSON_DEPTH: u32 = 60;
/// Maximum size in bytes of a value's text or JSON.
const MAX_VALUE_BYTES: usize = 1 << 20;

/// Handler of control socket requests for a node.
pub struct NodeHandler {
    node: Arc<Node>,
    stop: StopHandle,
    reloader: Arc<Reloader>,
    warnings: RecentWarnings,
    /// Counts of RPC over HTTP, if it is served.
    rpc: Option<Box<dyn Fn() -> HttpCounts + Send + Sync>>,
}

impl core::fmt::Debug for NodeHandler {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NodeHandler")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl NodeHandler {
    /// Creates a handler for `node`; a stop request uses `stop`, and a reload `reloader`. It keeps the
    /// latest warnings that the process logs from now on.
    #[must_use]
    pub fn new(node: Arc<Node>, stop: StopHandle, reloader: Arc<Reloader>) -> Self {
        Self {
            node,
            stop,
            reloader,
            warnings: RecentWarnings::new(),
            rpc: None,
        }
    }

    /// Adds the counts of RPC over HTTP to the metrics.
    #[must_use]
    pub fn with_counts(self, counts: impl Fn() -> HttpCounts + Send + Sync + 'static) -> Self {
        Self {
            rpc: Some(Box::new(counts)),
            ..self
        }
    }

    fn list_peers(&self) -> Result<Vec<PeerReply>, RpcError> {
        let own = self.node.public_key();
        let peers = self.node.peers()?;
        let offenders = self.node.chain().status().sync.offenders;
        let replies = peers.iter().map(|peer| {
            let known = offenders.iter().find(|(key, _)| *key == peer.public_key);
            peer_reply(peer, own.as_bytes(), known.map_or(0, |(_, count)| *count))
        });
        Ok(replies.collect())
    }

    fn atom(&self, id: AtomId) -> Result<AtomReply, RpcError> {
        let atom = self.node.get_atom(id)?;
        let atom = atom.ok_or_else(|| self.missing(&id))?;
        Ok(AtomReply::from(&atom))
    }

    /// Returns the error for an atom that was not found, with advice.
    fn missing(&self, id: &AtomId) -> RpcError {
        // An atom that could not be read is not absent.
        let cold = self.node.store().cold();
        if let Some(Err(error)) = cold.map(|cold| cold.get(id)) {
            let why = format!("atom {id} cannot be read, and no peer delivered it: {error}");
            return RpcError::new(ErrorKind::Failed, why);
        }
        let mut reply = RpcError::missing(id);
        let has_peers = self.node.peers().is_ok_and(|peers| !peers.is_empty());
        if !has_peers {
            reply.message +=
                ": this node has no peers; `astreum peers --connect HOST:PORT` contacts one";
        } else if !self.node.waits() {
            reply.message += " yet: the request was sent to peers, and this node does not wait for \
                            answers (atom_fetch_interval or atom_fetch_retries is 0); try again";
        }
        reply
    }

    /// Returns as many atoms of the list as fit into one reply; only missing atoms are fetched.
    fn list(&self, id: AtomId) -> Result<ListReply, RpcError> {
        let mut next = id;
        let (mut atoms, mut bytes) = (Vec::new(), 0);
        let mut fetched = VecDeque::new();
        while !next.is_zero() {
            let atom = self.list_atom(next, &mut fetched)?;
            bytes += atom.stored_len();
            if bytes > MAX_LIST_REPLY_BYTES && !atoms.is_empty() {
                break;
            }
            next = atom.next();
            atoms.push(atom);
        }
        Ok(ListReply { atoms, next })
    }

    fn list_atom(&self, id: AtomId, fetched: &mut VecDeque<Atom>) -> Result<Atom, RpcError> {
        if let Some(atom) = fetched.pop_front().or_else(|| self.node.store().get(&id)) {
            return Ok(atom);
        }
        let atom = match self.node.fetch_list(id)? {
            Some(FetchedObject::Atoms(atoms)) => {
                *fetched = atoms.into();
                fetched.pop_front()
            }
            Some(FetchedObject::Stored) => self.node.store().get(&id),
            None => None,
        };
        atom.ok_or_else(|| self.missing(&id))
    }

    fn store(&self, atoms: Vec<Atom>) -> Result<PutReply, RpcError> {
        let (ids, durability) = self.node.put_atoms(atoms)?;
        let durable = durability != Durability::Memory;
        Ok(PutReply { ids, durable })
    }

    fn evaluate(&self, params: &request::Eval, caller: &Caller) -> Result<EvalReply, RpcError> {
        let mut budget = MAX_VALUE_BYTES;
        let expr = text::parse(&params.source).map_err(|error| error.to_string())?;
        let mut machine = self.node.machine();
        machine.set_meter_limit(params.limit);
        machine.set_interrupt(caller.gone());
        let fetch_seconds = params.fetch_seconds.unwrap_or(EVAL_FETCH_SECONDS);
        let wait_limit = WaitLimit::NONE.within(Duration::from_secs(fetch_seconds));
        let evaluation = wait_limit.scope(|| machine.eval(&expr, &mut Env::new()));
        let value = evaluation.value();
        Ok(EvalReply {
            text: text::to_text(value, MAX_VALUE_BYTES),
            expr: expr_json(value, MAX_JSON_DEPTH, &mut budget).unwrap_or_default(),
            used: evaluation.used(),
            is_error: value.is_error(),
        })
    }

    fn contact(&self, address: &str) -> Result<SocketAddr, RpcError> {
        match self.node.contact(address) {
            Ok(resolved) => Ok(resolved),
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

    /// Checks that this node has cold storage, in the directory with this real path: the socket may
    /// belong to another node than the one that has the directory open.
    fn check_directory(&self, directory: &str) -> Result<&ColdStore, RpcError> {
        let Some(cold) = self.node.store().cold() else {
            return Err("this node has no cold storage".into());
        };
        let own = real_path(cold.path());
        if own.to_string_lossy() != directory {
            let own = own.display();
            let refusal = format!(
                "the cold storage of this node is {own}, not {directory}; connect to the node that \
                 has it open, with its --state-dir or --control-socket"
            );
            return Err(refusal.into());
        }
        Ok(cold)
    }

    fn set_aside(&self, directory: &str, clear: bool) -> Result<Vec<SetAside>, RpcError> {
        let cold = self.check_directory(directory)?;
        let incidents = if clear {
            cold.clear_set_aside().map_err(|error| error.to_string())?
        } else {
            cold.stats().set_aside
        };
        Ok(incidents)
    }
}

impl Service for NodeHandler {
    fn is_quick(&self, request: &Request) -> bool {
        match request {
            Request::Get(params) => self.node.store().is_in_memory(&params.id),
            _ => false,
        }
    }

    fn status(&self, _: request::Status, _: &Caller) -> Result<StatusReply, RpcError> {
        Ok(status_reply(&self.node))
    }

    fn peers(&self, _: request::Peers, _: &Caller) -> Result<Vec<PeerReply>, RpcError> {
        self.list_peers()
    }

    fn get(&self, params: request::Get, _: &Caller) -> Result<AtomReply, RpcError> {
        self.atom(params.id)
    }

    fn get_list(&self, params: request::GetList, _: &Caller) -> Result<ListReply, RpcError> {
        self.list(params.id)
    }

    fn put(&self, params: request::Put, _: &Caller) -> Result<PutReply, RpcError> {
        self.store(params.atoms)
    }

    fn get_atoms(&self, params: request::GetAtoms, caller: &Caller) -> Result<SentReply, RpcError> {
        list_sender::get(&self.node, &params, caller, &|id| self.missing(id))
    }

    fn put_atoms(
        &self,
        params: request::PutAtoms,
        caller: &Caller,
    ) -> Result<StoredReply, RpcError> {
        atom_transfers::put(&self.node, &params, caller)
    }

    fn advertise(&self, params: request::Advertise, _: &Caller) -> Result<(), RpcError> {
        let kind = match params.list {
            true => PayloadType::LIST,
            false => PayloadType::ATOM,
        };
        let lifetime = params.expires_seconds.map(Duration::from_secs);
        let advertised = self.node.advertise(params.id, kind, lifetime);
        Ok(advertised.map(drop)?)
    }

    fn advertise_lists(&self, params: request::AdvertiseLists, _: &Caller) -> Result<(), RpcError> {
        let advertise = |id| Advertisement {
            id,
            kind: PayloadType::LIST,
            lifetime: None,
        };
        let all: Vec<Advertisement> = params.ids.into_iter().map(advertise).collect();
        Ok(self.node.advertise_all(&all)?)
    }

    fn advertised(
        &self,
        _: request::Advertised,
        _: &Caller,
    ) -> Result<Vec<AdvertisementReply>, RpcError> {
        let advertised = self.node.advertised();
        let replies = advertised.iter().map(|advertisement| AdvertisementReply {
            id: advertisement.id,
            list: advertisement.kind == PayloadType::LIST,
            expires_seconds: advertisement.lifetime.map(|left| left.as_secs()),
        });
        Ok(replies.collect())
    }

    fn withdraw(&self, params: request::Withdraw, _: &Caller) -> Result<bool, RpcError> {
        Ok(self.node.withdraw(params.id)?)
    }

    fn remove_peer(&self, params: request::RemovePeer, _: &Caller) -> Result<bool, RpcError> {
        let removed = match params.ban {
            true => self.node.ban(params.key),
            false => self.node.remove_peer(params.key),
        };
        Ok(removed?)
    }

    fn unban_peer(&self, params: request::UnbanPeer, _: &Caller) -> Result<bool, RpcError> {
        Ok(self.node.unban(params.key)?)
    }

    fn connect(&self, params: request::Connect, _: &Caller) -> Result<SocketAddr, RpcError> {
        self.contact(&params.address)
    }

    fn eval(&self, params: request::Eval, caller: &Caller) -> Result<EvalReply, RpcError> {
        self.evaluate(&params, caller)
    }

    fn providers(
        &self,
        params: request::Providers,
        _: &Caller,
    ) -> Result<Vec<ProviderReply>, RpcError> {
        let providers = self.node.providers(params.id)?;
        let replies = providers.iter().map(|provider| ProviderReply {
            public_key: provider.key,
            address: provider.address,
            expires_seconds: provider.expires_in.as_secs(),
        });
        Ok(replies.collect())
    }

    fn block(&self, params: request::Block, _: &Caller) -> Result<BlockReply, RpcError> {
        chain_handlers::block(&self.node, &params)
    }

    fn blocks(&self, params: request::Blocks, _: &Caller) -> Result<Vec<BlockReply>, RpcError> {
        chain_handlers::blocks(&self.node, &params)
    }

    fn account(&self, params: request::Account, _: &Caller) -> Result<AccountReply, RpcError> {
        chain_handlers::account(&self.node, params.account)
    }

    fn history(&self, params: request::History, _: &Caller) -> Result<HistoryReply, RpcError> {
        history_handlers::history(&self.node, params)
    }

    fn validators(
        &self,
        params: request::Validators,
        _: &Caller,
    ) -> Result<ValidatorsReply, RpcError> {
        chain_handlers::validators(&self.node, params.slots)
    }

    fn send_transaction(
        &self,
        params: request::SendTransaction,
        _: &Caller,
    ) -> Result<SendReply, RpcError> {
        chain_handlers::send_transaction(&self.node, params)
    }

    fn resend_transaction(
        &self,
        params: request::ResendTransaction,
        _: &Caller,
    ) -> Result<SendReply, RpcError> {
        chain_handlers::resend_transaction(&self.node, params.id)
    }

    fn transaction(
        &self,
        params: request::Transaction,
        _: &Caller,
    ) -> Result<TransactionReply, RpcError> {
        chain_handlers::transaction(&self.node, params.id)
    }

    fn transaction_status(
        &self,
        params: request::TransactionStatus,
        _: &Caller,
    ) -> Result<TransactionStatusReply, RpcError> {
        chain_handlers::transaction_status(&self.node, &params)
    }

    fn forks(&self, _: request::Forks, _: &Caller) -> Result<ForksReply, RpcError> {
        Ok(fork_handlers::forks(&self.node))
    }

    fn adopt_fork(&self, params: request::AdoptFork, _: &Caller) -> Result<ForksReply, RpcError> {
        fork_handlers::adopt(&self.node, params.id)
    }

    fn avoid_block(&self, params: request::AvoidBlock, _: &Caller) -> Result<ForksReply, RpcError> {
        fork_handlers::avoid(&self.node, params.id)
    }

    fn prove_account(
        &self,
        params: request::ProveAccount,
        _: &Caller,
    ) -> Result<AccountProof, RpcError> {
        chain_handlers::prove_account(&self.node, params.account)
    }

    fn damaged(&self, params: request::Damaged, _: &Caller) -> Result<Vec<SetAside>, RpcError> {
        self.set_aside(&params.directory, params.clear)
    }

    fn pin(&self, params: request::Pin, _: &Caller) -> Result<PinnedReply, RpcError> {
        Ok(self.node.pin(params.id)?.into())
    }

    fn unpin(&self, params: request::Unpin, _: &Caller) -> Result<bool, RpcError> {
        Ok(self.node.unpin(params.id)?)
    }

    fn pins(&self, params: request::Pins, _: &Caller) -> Result<Vec<PinReply>, RpcError> {
        let max = params.max.unwrap_or(MAX_PINS_REPLY).min(MAX_PINS_REPLY);
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let pins = self.node.pins(params.after, max)?;
        let replies = pins.into_iter().map(|(id, kinds)| PinReply::new(id, kinds));
        Ok(replies.collect())
    }

    fn prune(&self, params: request::Prune, caller: &Caller) -> Result<PruneReply, RpcError> {
        self.check_directory(&params.directory)?;
        if params.accept_unpinned {
            self.node.accept_unpinned()?;
        }
        let goes_on = || !caller.is_gone();
        Ok(self.node.prune(params.dry_run, &goes_on)?.into())
    }

    fn back_up(&self, params: request::BackUp, caller: &Caller) -> Result<BackupReply, RpcError> {
        let directory = Path::new(&params.directory);
        // The client's working directory is not known here.
        if !directory.is_absolute() {
            let shown = directory.display();
            return Err(format!("the directory {shown} is not an absolute path").into());
        }
        let BackedUp { files, bytes } = self.node.back_up(directory, &|| !caller.is_gone())?;
        Ok(BackupReply { files, bytes })
    }

    fn metrics(&self, _: request::Metrics, _: &Caller) -> Result<String, RpcError> {
        let status = status_reply(&self.node);
        let rpc = self.rpc.as_ref().map(|counts| counts());
        metrics::render(&status, rpc.as_ref())
            .map_err(|error| RpcError::new(ErrorKind::Internal, error))
    }

    fn recent_warnings(
        &self,
        _: request::RecentWarnings,
        _: &Caller,
    ) -> Result<Vec<LogReply>, RpcError> {
        Ok(self.warnings.list())
    }

    fn subscribe(&self, params: request::Subscribe, caller: &Caller) -> Result<u64, RpcError> {
        let session = caller.session()?;
        session.subscribe(params.topic, params.id, params.level)
    }

    fn unsubscribe(&self, params: request::Unsubscribe, caller: &Caller) -> Result<bool, RpcError> {
        Ok(caller.session()?.unsubscribe(params.subscription))
    }

    fn authenticate(&self, params: request::Authenticate, caller: &Caller) -> Result<(), RpcError> {
        caller.session()?.authenticate(&params.token)
    }

    fn reload_config(&self, _: request::ReloadConfig, _: &Caller) -> Result<ReloadReply, RpcError> {
        Ok(self.reloader.reload()?)
    }

    fn stop(&self, _: request::Stop, _: &Caller) -> Result<(), RpcError> {
        self.stop.stop();
        Ok(())
    }
}

impl From<NodeError> for RpcError {
    fn from(error: NodeError) -> Self {
        let kind = match error {
            NodeError::Fetch(FetchError::TooLarge) => ErrorKind::TooLarge,
            _ => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

fn peer_reply(peer: &Peer, own: &[u8; 32], offences: u64) -> PeerReply {
    PeerReply {
        public_key: peer.public_key,
        address: peer.address,
        bucket: shared_bits(peer.public_key.as_bytes(), own),
        last_seen_seconds: peer.last_heard.as_secs(),
        is_validated: peer.is_validated,
        is_validator: peer.is_validator,
        difficulty: peer.difficulty,
        latest_block: peer.head,
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
    let settings = node.settings();
    let refuses_writes = cold
        .as_ref()
        .is_some_and(|cold| cold.write_failure.is_some());
    let any = if settings.use_ipv6 { "[::]" } else { "0.0.0.0" };
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
        listen_address: port.map(|port| format!("{any}:{port}")).unwrap_or_default(),
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
        chain: chain_reply(&chain, snapshot.as_ref()),
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

pub(super) fn counters(
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
        // Level 0 is first.
        if let Some(journals) = cold.levels.first() {
            counters.insert("cold_journals".to_owned(), journals.files);
            counters.insert("cold_journal_bytes".to_owned(), journals.bytes);
        }
        counters.extend(cold.object_store_counters.clone());
    }
    if let Some(NetworkStatus { stats, streams, .. }) = network {
        counters.extend([
            ("datagrams_received".to_owned(), stats.received),
            ("bytes_received".to_owned(), stats.received_bytes),
            ("datagrams_sent".to_owned(), stats.sent),
            ("bytes_sent".to_owned(), stats.sent_bytes),
            ("stream_bytes_received".to_owned(), streams.received_bytes),
            ("stream_bytes_sent".to_owned(), streams.sent_bytes),
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
