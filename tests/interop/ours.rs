//! Node of ours: the real program, queried through its control socket.

use crate::environment::Environment;
use crate::suite::wait_for;
use astreum_core::atom::{Atom, AtomId, AtomSource, SourceError};
use astreum_core::expr::Expr;
use astreum_node::rpc::{
    AtomReply, Client, ClientError, EvalReply, Method, PeerReply, ProviderReply, StatusReply,
    request,
};
use core::str::FromStr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Maximum duration of a request over the control socket.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

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

    /// Returns the path of its state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Returns the path for cold storage.
    pub(crate) fn cold(&self) -> PathBuf {
        self.directory.join("cold")
    }
}

/// Running node, killed when this is dropped.
pub(crate) struct Ours {
    child: Child,
    client: Client,
    log: PathBuf,
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
        let log = home.directory.join("output");
        let output = std::fs::File::create(&log)
            .and_then(|file| Ok((file.try_clone()?, file)))
            .map_err(|error| format!("cannot create {}: {error}", log.display()))?;
        let mut command = Command::new(&environment.node);
        // The variable is for these tests, and a node checks every variable of that prefix.
        command.env_remove("ASTREUM_REFERENCE_PYTHON");
        command.arg("run");
        let chain = home.directory.join("chain");
        let chain = chain.to_str().ok_or("the path is not UTF-8")?;
        let has_cold = flags.iter().any(|(given, _)| *given == "cold-storage-path");
        if !has_cold {
            command.arg("--chain-dir").arg(chain);
        }
        for (name, value) in [("incoming-port", "0"), ("default-seed", "none")] {
            if !flags.iter().any(|(given, _)| *given == name) {
                command.arg(format!("--{name}")).arg(value);
            }
        }
        command
            .arg("--control-socket")
            .arg(&socket)
            .arg("--state-dir")
            .arg(home.state())
            .arg("--log-dir")
            .arg(home.directory.join("log"));
        for (name, value) in flags {
            command.arg(format!("--{name}"));
            // A switch has no value.
            if !value.is_empty() {
                command.arg(value);
            }
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(output.0)
            .stderr(output.1)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", environment.node.display()))?;
        let mut ours = Self {
            child,
            client: Client::new(&socket, REQUEST_TIMEOUT),
            log,
            key: String::new(),
            port: 0,
        };
        let status = wait_for("our node answers", || ours.started())?;
        ours.port = port_of(&status.listen_address)?;
        ours.key = status.public_key.to_string();
        Ok(ours)
    }

    /// Returns its status once it runs. Fails if it has ended instead.
    fn started(&mut self) -> Result<Option<StatusReply>, String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(format!("our node exited with {status}: {}", self.output()));
        }
        Ok(self.client.request(&request::Status {}).ok())
    }

    /// Returns its terminal output.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_else(|error| error.to_string())
    }

    /// Returns the address that it listens on.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the path of its control socket.
    pub(crate) fn socket(&self) -> &Path {
        self.client.socket()
    }

    pub(crate) fn request<M: Method>(&self, request: &M) -> Result<M::Reply, String> {
        self.client
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
        match self.client.request(&request) {
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
        // Errors are ignored: the process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.client.socket());
    }
}

fn port_of(address: &str) -> Result<u16, String> {
    address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok())
        .ok_or_else(|| format!("{address} has no port"))
}
