//! RPC over HTTP, if the configuration asks for it.

use super::NodeHandler;
use super::events::NodeEvents;
use crate::config::{ListenAddress, Paths, Settings};
use crate::log;
use crate::node::Node;
use crate::rpc::{HttpCounters, HttpError, HttpOptions, HttpServer, RpcAddressReply, Service};
use std::sync::{Arc, OnceLock};

/// Adds counters of the server to the metrics of a handler, if there will be a server.
pub(super) fn counted(
    handler: NodeHandler,
    settings: &Settings,
) -> (NodeHandler, Arc<HttpCounters>) {
    let counters = Arc::new(HttpCounters::default());
    if settings.rpc_listen.is_none() {
        return (handler, counters);
    }
    let of_handler = Arc::clone(&counters);
    (handler.with_counts(move || of_handler.counts()), counters)
}

/// Starts the server, if there is an address for it; `listening` gets the address.
pub(super) fn start(
    node: &Arc<Node>,
    settings: &Settings,
    paths: &Paths,
    handler: Arc<dyn Service>,
    counters: Arc<HttpCounters>,
    listening: &OnceLock<RpcAddressReply>,
) -> Result<Option<HttpServer>, HttpError> {
    let Some(ListenAddress(listen)) = settings.rpc_listen else {
        return Ok(None);
    };
    let token_file = settings.rpc_token_file.clone();
    let options = HttpOptions {
        listen,
        hosts: settings.rpc_hosts.0.clone(),
        origins: settings.rpc_origins.0.clone(),
        token_file: token_file.unwrap_or_else(|| paths.state_dir.join("rpc.token")),
        max_connections: usize::try_from(settings.rpc_max_connections).unwrap_or(usize::MAX),
        explorer: settings.explorer,
    };
    let events = Arc::new(NodeEvents::new(Arc::clone(node)));
    let server = HttpServer::start(&options, handler, events, counters)?;
    let (address, token_file) = (server.address(), options.token_file.display());
    log::info!("serving RPC: address={address} token_file={token_file}");
    let path = std::path::absolute(&options.token_file);
    let path = path.unwrap_or_else(|_| options.token_file.clone());
    // It is started once.
    let _ = listening.set(RpcAddressReply {
        address,
        token_file: Some(path.display().to_string()),
    });
    Ok(Some(server))
}
