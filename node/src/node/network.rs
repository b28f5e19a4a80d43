//! Network of a node: connecting, peers, and the threads that need a connection.
//!
//! Invariants:
//! - Nothing is sent before the chain directory is found usable, if the node has a validation key.
//! - Disconnecting ends all these threads in the order of their dependencies, and holds no lock
//!   while it waits for one.

use super::known_peers::KnownPeers;
use super::pruning::PruneThread;
use super::refetch::Refetch;
use super::state_dir::create_state_dir;
use super::{Node, NodeError};
use crate::chain_service::dir;
use crate::clock;
use crate::config::Paths;
use crate::net::{Network, NetworkHandle, Peer, Provider};
use crate::port_mapping::{MappingStatus, PortMapper};
use astreum_core::atom::AtomId;
use astreum_core::crypto::PublicKey;
use core::net::{IpAddr, SocketAddr};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};

impl Node {
    /// Opens the socket and joins the network; has no effect if the node is connected. The chain is
    /// followed, and a validation key used, after [`Node::start_chain`]; [`Node::builder`] does all
    /// of it.
    ///
    /// # Errors
    /// Fails if the port is in use or not permitted, or if the system cannot create a thread.
    pub fn connect(&self) -> Result<(), NodeError> {
        if self.port().is_some() || !self.has_validation_key() {
            return self.join_network();
        }
        self.logged(|| {
            // Before anything that peers could notice.
            dir::location(&self.settings, true)?;
            let executable = std::env::current_exe().unwrap_or_else(|_| "astreum".into());
            let state_dir = Paths::new(&self.settings, &executable).state_dir;
            create_state_dir(&state_dir);
            self.join_network()?;
            let started = self.start_chain(&state_dir);
            if started.is_err() {
                self.disconnect();
            }
            started
        })
    }

    /// Opens the socket and joins the network, and no more.
    pub(crate) fn join_network(&self) -> Result<(), NodeError> {
        self.logged(|| self.open_network())
    }

    fn open_network(&self) -> Result<(), NodeError> {
        self.check()?;
        let mut network = self.network();
        if network.is_none() {
            let seed = clock::entropy().map_err(NodeError::Entropy)?;
            let (secret, store) = (self.secret.0.clone(), self.store.clone());
            let started = Network::start(&self.settings, secret, seed, store, &self.failure)?;
            if self.store.cold().is_some() {
                let (store, handle) = (self.store.clone(), started.handle());
                let refetch = Refetch::start(store, handle, &self.failure);
                *self.refetch() = Some(refetch.map_err(NodeError::RefetchThread)?);
                let thread = PruneThread::start(Arc::clone(&self.pruner), &self.failure);
                *self.prune_thread() = Some(thread.map_err(NodeError::PruneThread)?);
            }
            // Advertisements from before the connection start now; there is room for them.
            started.handle().advertise_all(self.advertised())?;
            let ports = (started.port(), started.stream_port());
            let mapper = PortMapper::start(&self.settings, ports, &self.failure);
            *self.port_mapper() = mapper.map_err(NodeError::PortMappingThread)?;
            *network = Some(started);
        }
        Ok(())
    }

    /// Contacts the validated peers of earlier runs, which are listed in a file in `directory`, and
    /// keeps the file up to date: the node can rejoin when its seeds are gone.
    ///
    /// # Errors
    /// Fails if the node is not connected, or if the system cannot create a thread.
    pub fn remember_peers(&self, directory: &Path) -> Result<(), NodeError> {
        let handle = self.handle()?;
        let mut known = self.known_peers();
        if known.is_none() {
            let started = self.logged(|| KnownPeers::start(directory, handle, &self.failure));
            *known = Some(started.map_err(NodeError::PeersThread)?);
        }
        Ok(())
    }

    /// Leaves the network: acknowledged messages are sent, then the socket is closed. Calls that
    /// wait for the network return at once.
    pub fn disconnect(&self) {
        self.logged(|| self.stop_threads());
    }

    fn stop_threads(&self) {
        // The gateway answers while the others stop.
        let mut port_mapper = self.port_mapper().take();
        if let Some(mapper) = &mut port_mapper {
            mapper.begin_stop();
        }
        self.stop_chain();
        // Updates its file once more.
        let known_peers = self.known_peers().take();
        drop(known_peers);
        // Ends the run that is under way.
        let prune_thread = self.prune_thread().take();
        drop(prune_thread);
        // Taken out first, so that the locks are not held while the threads stop.
        let refetch = self.refetch().take();
        if let Some(refetch) = &refetch {
            refetch.stop();
        }
        let network = self.network().take();
        drop(network);
        drop(refetch);
        drop(port_mapper);
        self.failure.clear();
    }

    /// Starts a handshake with an address; a peer that answers appears in [`Node::peers`].
    ///
    /// # Errors
    /// Fails if the node is not connected, if the name does not resolve to a usable address, or if
    /// the address is the node's own.
    pub fn contact(&self, address: impl ToSocketAddrs) -> Result<SocketAddr, NodeError> {
        let handle = self.handle()?;
        let addresses = address.to_socket_addrs().map_err(NodeError::Resolve)?;
        let address = addresses
            .into_iter()
            .find(|address| address.is_ipv4() || self.settings.use_ipv6)
            .ok_or(NodeError::NoUsableAddress)?;
        if self.port() == Some(address.port()) && is_local(address.ip()) {
            return Err(NodeError::OwnAddress(address));
        }
        handle.contact(address)?;
        Ok(address)
    }

    /// Returns the authenticated peers; an empty list if the node is not connected.
    ///
    /// # Errors
    /// Fails if the network has failed.
    pub fn peers(&self) -> Result<Vec<Peer>, NodeError> {
        match self.handle() {
            Ok(handle) => Ok(handle.peers()?),
            Err(NodeError::NotConnected) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Returns the state of port mapping, if it is configured and the node is connected.
    #[must_use]
    pub fn port_mapping(&self) -> Option<MappingStatus> {
        self.port_mapper().as_ref().map(PortMapper::status)
    }

    /// Removes a peer, which may connect again; returns `false` if the peer is unknown.
    ///
    /// # Errors
    /// Fails if the node is not connected.
    pub fn remove_peer(&self, key: PublicKey) -> Result<bool, NodeError> {
        Ok(self.handle()?.remove_peer(key, false)?)
    }

    /// Removes a peer and drops its packets for as long as the node is connected; returns `false`
    /// if the peer is unknown. Keys cost nothing: a ban keeps a faulty peer away, not an attacker.
    ///
    /// # Errors
    /// Fails if the node is not connected.
    pub fn ban(&self, key: PublicKey) -> Result<bool, NodeError> {
        Ok(self.handle()?.remove_peer(key, true)?)
    }

    /// Ends a ban; returns `false` if the key was not banned.
    ///
    /// # Errors
    /// Fails if the node is not connected.
    pub fn unban(&self, key: PublicKey) -> Result<bool, NodeError> {
        Ok(self.handle()?.unban(key)?)
    }

    /// Returns the keys of banned peers.
    ///
    /// # Errors
    /// Fails if the node is not connected.
    pub fn banned(&self) -> Result<Vec<PublicKey>, NodeError> {
        Ok(self.handle()?.banned()?)
    }

    /// Returns the known providers of an object.
    ///
    /// # Errors
    /// Fails if the node is not connected.
    pub fn providers(&self, id: AtomId) -> Result<Vec<Provider>, NodeError> {
        Ok(self.handle()?.providers(id)?)
    }

    /// The bound UDP port, if the node is connected.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.network().as_ref().map(Network::port)
    }

    /// Returns the handle of the network.
    ///
    /// # Errors
    /// Fails if the node is not connected, or if a thread of it has panicked.
    pub(super) fn handle(&self) -> Result<NetworkHandle, NodeError> {
        self.check()?;
        let handle = self.network().as_ref().map(Network::handle);
        handle.ok_or(NodeError::NotConnected)
    }

    fn known_peers(&self) -> MutexGuard<'_, Option<KnownPeers>> {
        let known = self.known_peers.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    fn port_mapper(&self) -> MutexGuard<'_, Option<PortMapper>> {
        let mapper = self.port_mapper.lock();
        mapper.unwrap_or_else(PoisonError::into_inner)
    }

    fn prune_thread(&self) -> MutexGuard<'_, Option<PruneThread>> {
        let thread = self.prune_thread.lock();
        thread.unwrap_or_else(PoisonError::into_inner)
    }

    fn refetch(&self) -> MutexGuard<'_, Option<Refetch>> {
        self.refetch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn network(&self) -> MutexGuard<'_, Option<Network>> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether an address belongs to this host: sockets can be bound to those only.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || std::net::UdpSocket::bind((ip, 0)).is_ok()
}
