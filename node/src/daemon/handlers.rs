//! Handler of all requests to a running node, whatever their transport.
//!
//! Requests with work of their own are carried out by the modules whose names end in `_handlers`,
//! one for each subject; the others are a call of the node.

use super::node_status::status_reply;
use super::recent_warnings::RecentWarnings;
use super::{
    Reloader, StopHandle, atom_handlers, atom_transfers, chain_handlers, eval_handlers,
    fork_handlers, history_handlers, list_sender, metrics, peer_handlers,
};
use crate::net::Advertisement;
use crate::node::{Node, NodeError};
use crate::query::AccountProof;
use crate::rpc::{
    AccountReply, AdvertisementReply, AtomReply, BackupReply, BlockReply, Caller, ErrorKind,
    EvalReply, ForksReply, HistoryReply, HttpCounts, ListReply, LogReply, MAX_PINS_REPLY,
    PeerReply, PinReply, PinnedReply, ProviderReply, PruneReply, PutReply, ReloadReply, Request,
    RpcAddressReply, RpcError, SendReply, SentReply, Service, StatusReply, StoredReply,
    TransactionReply, TransactionStatusReply, ValidatorsReply, request,
};
use crate::store::cold::{BackedUp, ColdStore, SetAside};
use crate::store::disk::real_path;
use astreum_core::atom::AtomId;
use astreum_core::engine::FetchError;
use astreum_core::wire::object::PayloadType;
use core::net::SocketAddr;
use core::time::Duration;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Handler of control socket requests for a node.
pub struct NodeHandler {
    node: Arc<Node>,
    stop: StopHandle,
    reloader: Arc<Reloader>,
    warnings: RecentWarnings,
    /// Counts of RPC over HTTP, if it is served.
    rpc: Option<Box<dyn Fn() -> HttpCounts + Send + Sync>>,
    /// Address of RPC over HTTP, once it listens.
    rpc_address: Arc<OnceLock<RpcAddressReply>>,
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
            rpc_address: Arc::default(),
        }
    }

    /// Replaces the warnings by those since an earlier time.
    #[must_use]
    pub(super) fn with_warnings(self, warnings: RecentWarnings) -> Self {
        Self { warnings, ..self }
    }

    /// Adds the counts of RPC over HTTP to the metrics.
    #[must_use]
    pub fn with_counts(self, counts: impl Fn() -> HttpCounts + Send + Sync + 'static) -> Self {
        Self {
            rpc: Some(Box::new(counts)),
            ..self
        }
    }

    /// Returns the place for the address of RPC over HTTP, which is known once it listens.
    #[cfg(feature = "http")]
    pub(super) fn rpc_address(&self) -> Arc<OnceLock<RpcAddressReply>> {
        Arc::clone(&self.rpc_address)
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

    fn status(&self, _: request::Status, caller: &Caller) -> Result<StatusReply, RpcError> {
        let mut rpc = self.rpc_address.get().cloned();
        if let Some(rpc) = rpc.as_mut().filter(|_| !caller.is_local()) {
            // A path of this machine may have the name of a user.
            rpc.token_file = None;
        }
        Ok(StatusReply {
            rpc,
            ..status_reply(&self.node)
        })
    }

    fn peers(&self, _: request::Peers, _: &Caller) -> Result<Vec<PeerReply>, RpcError> {
        peer_handlers::list(&self.node)
    }

    fn get(&self, params: request::Get, _: &Caller) -> Result<AtomReply, RpcError> {
        atom_handlers::atom(&self.node, params.id)
    }

    fn get_list(&self, params: request::GetList, _: &Caller) -> Result<ListReply, RpcError> {
        atom_handlers::list(&self.node, params.id)
    }

    fn put(&self, params: request::Put, _: &Caller) -> Result<PutReply, RpcError> {
        atom_handlers::store(&self.node, params.atoms)
    }

    fn get_atoms(&self, params: request::GetAtoms, caller: &Caller) -> Result<SentReply, RpcError> {
        let missing = |id: &AtomId| atom_handlers::missing(&self.node, id);
        list_sender::get(&self.node, &params, caller, &missing)
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
        peer_handlers::contact(&self.node, &params.address)
    }

    fn eval(&self, params: request::Eval, caller: &Caller) -> Result<EvalReply, RpcError> {
        eval_handlers::evaluate(&self.node, &params, caller)
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

    fn pin(&self, params: request::Pin, caller: &Caller) -> Result<PinnedReply, RpcError> {
        atom_transfers::pin(&self.node, &params, caller)
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
        // A dry run changes nothing, not even what a later run may remove.
        if params.accept_unpinned && !params.dry_run {
            self.node.accept_unpinned()?;
        }
        let should_continue = || !caller.is_gone();
        Ok(self.node.prune(params.dry_run, &should_continue)?.into())
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
