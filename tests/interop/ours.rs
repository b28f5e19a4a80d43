//! Node of ours: the real program, queried through its control socket.

use crate::environment::Environment;
use crate::suite::wait_for;
use astreum_core::atom::{Atom, AtomId, AtomSource, SourceError};
use astreum_core::expr::Expr;
use astreum_node::rpc::{
    AtomReply, ClientError, EvalReply, Method, PeerReply, ProviderReply, StatusReply, request,
};
use astreum_tests::testkit::{NodeCommand, NodeProcess, Output};
use core::str::FromStr;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::path::{Path, PathBuf};

/// Directory of a node's files, which outlives the node.
pub(crate) struct Home {
    number: usize,
    directory: PathBuf,
}

impl Home {
    /// Creates a new and empty directory.
    pub(crate) fn new(environment: &Environment) -> Result<Self, String> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let directory = environment.scratch.join(format!("ours-{number}"));
        std::fs::create_dir_all(&directory)
            .map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
        Ok(Self { number, directory })
    }

    /// Returns the path for cold storage.
    pub(crate) fn cold(&self) -> PathBuf {
        self.directory.join("cold")
    }
}

/// Running node, killed when this is dropped.
pub(crate) struct Ours {
    process: NodeProcess,
    /// Relay public key in hex.
    pub(crate) key: String,
    /// UDP port on loopback.
    pub(crate) port: u16,
}

impl Ours {
    /// Starts a node without known peers.
    pub(crate) fn fresh(environment: &Environment) -> Result<Self, String> {
        Self::start(environment, &[])
    }

    /// Starts a node that starts a handshake with these addresses.
    pub(crate) fn with_seeds(environment: &Environment, seeds: &[String]) -> Result<Self, String> {
        Self::start(environment, &[("additional-seeds", &seeds.join(","))])
    }

    /// Starts a node with these flags.
    pub(crate) fn start(environment: &Environment, flags: &[(&str, &str)]) -> Result<Self, String> {
        Self::start_in(environment, &Home::new(environment)?, flags)
    }

    /// Starts a node with its files in `home`, with these flags.
    pub(crate) fn start_in(
        environment: &Environment,
        home: &Home,
        flags: &[(&str, &str)],
    ) -> Result<Self, String> {
        let number = home.number;
        // The path of a Unix socket is limited, and a path below the target folder may be too long.
        let socket = std::env::temp_dir().join(format!(
            "astreum-interop-{}-{number}.sock",
            std::process::id()
        ));
        let mut command = NodeCommand::new(&environment.node, &home.directory);
        command.socket(&socket);
        if !flags.iter().any(|(name, _)| *name == "cold-storage-path") {
            command.option("chain-dir", home.directory.join("chain"));
        }
        for (name, value) in flags {
            command.option(name, value);
        }
        let output = Output::File(home.directory.join("output"));
        let process =
            NodeProcess::start(&command, output).map_err(|error| format!("our node: {error}"))?;
        Ok(Self {
            key: process.key().to_string(),
            port: process.port(),
            process,
        })
    }

    /// Returns its terminal output.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// Returns the address that it listens on.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the path of its control socket.
    pub(crate) fn socket(&self) -> &Path {
        self.process.socket()
    }

    pub(crate) fn request<M: Method>(&self, request: &M) -> Result<M::Reply, String> {
        self.process
            .request(request)
            .map_err(|error| format!("our node: {error}"))
    }

    pub(crate) fn status(&self) -> Result<StatusReply, String> {
        self.request(&request::Status {})
    }

    /// Returns the number of datagrams that it has received since it started.
    pub(crate) fn datagrams_received(&self) -> Result<u64, String> {
        let counters = self.status()?.counters;
        let received = counters.get("datagrams_received");
        received
            .copied()
            .ok_or_else(|| format!("no datagram counter in {counters:?}"))
    }

    pub(crate) fn peers(&self) -> Result<Vec<PeerReply>, String> {
        self.request(&request::Peers {})
    }

    /// Returns its entry of the peer with this key, once the peer's address is validated. Only then
    /// is the peer named to others, and answered if it returns within seconds.
    pub(crate) fn wait_for_peer(&self, key: &str) -> Result<PeerReply, String> {
        wait_for(
            "our node registers the peer with a validated address",
            || {
                let mut peers = self.peers()?.into_iter();
                Ok(peers.find(|peer| peer.public_key.to_string() == key && peer.is_validated))
            },
        )
    }

    pub(crate) fn connect(&self, address: &str) -> Result<(), String> {
        let request = request::Connect {
            address: address.to_owned(),
        };
        self.request(&request).map(drop)
    }

    /// Gets an atom; `None` if it was not found.
    pub(crate) fn get(&self, id: &str) -> Result<Option<AtomReply>, String> {
        let request = request::Get { id: parsed(id)? };
        match self.process.request(&request) {
            Ok(atom) => Ok(Some(atom)),
            Err(ClientError::Refused(reply)) if reply.is_missing() => Ok(None),
            Err(error) => Err(format!("our node: {error}")),
        }
    }

    /// Returns the data of a list's atoms.
    pub(crate) fn get_list(&self, id: &str) -> Result<Vec<Vec<u8>>, String> {
        let list = self.request(&request::GetList { id: parsed(id)? })?;
        Ok(list.atoms.iter().map(|atom| atom.data().to_vec()).collect())
    }

    /// Stores atoms and returns their ids.
    pub(crate) fn put(&self, atoms: &[Atom]) -> Result<Vec<String>, String> {
        let atoms = atoms.to_vec();
        let reply = self.request(&request::Put { atoms })?;
        Ok(reply.ids.iter().map(AtomId::to_string).collect())
    }

    pub(crate) fn advertise(
        &self,
        id: &str,
        list: bool,
        expires_seconds: Option<u64>,
    ) -> Result<(), String> {
        self.request(&request::Advertise {
            id: parsed(id)?,
            list,
            expires_seconds,
        })
    }

    pub(crate) fn providers(&self, id: &str) -> Result<Vec<ProviderReply>, String> {
        self.request(&request::Providers { id: parsed(id)? })
    }

    pub(crate) fn eval(&self, source: &str) -> Result<EvalReply, String> {
        self.request(&request::Eval {
            source: source.to_owned(),
            limit: None,
            fetch_seconds: None,
        })
    }

    /// Rebuilds an expression from atoms, which the node fetches if necessary.
    pub(crate) fn get_expression(&self, id: &str) -> Result<Expr, String> {
        let id: AtomId = id.parse().map_err(|error| format!("{id}: {error}"))?;
        Expr::from_atoms(self, &id, 10_000).map_err(|error| error.to_string())
    }
}

/// Parses an id, a key or a reference to a block.
pub(crate) fn parsed<T>(text: &str) -> Result<T, String>
where
    T: FromStr<Err: core::fmt::Display>,
{
    text.parse().map_err(|error| format!("{text}: {error}"))
}

impl AtomSource for Ours {
    type Error = String;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<String>> {
        let found = self.get(&id.to_string()).map_err(SourceError::Failed)?;
        let reply = found.ok_or(SourceError::Missing(*id))?;
        reply.atom().map_err(SourceError::Failed)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // The error is ignored: a node that has stopped has removed it.
        let _ = std::fs::remove_file(self.process.socket());
    }
}
