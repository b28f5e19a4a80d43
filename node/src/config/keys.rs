//! Table of all configuration keys. It defines [`Config`] and its defaults, [`SettingValues`] and
//! how its values are derived, and the flags, environment variables, TOML keys, checks, output of
//! `astreum config`, and tables of `node/docs/configuration.md`.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::path::{Path, PathBuf};

use astreum_core::atom::AtomId;
use astreum_core::machine::Limits;

use super::secret::Secret;
use super::stream_memory::{self, MAX_CONNECTIONS, MIN_BYTES, MIN_PEER_CONNECTIONS};
use super::value::{
    Allowed, Chain, ColdStorageSync, DisplayValue, HostNames, ListenAddress, LogFilter, LogFormat,
    Origins, PortMapping, Raw, Seed, Setting, SyncMode,
};

/// Default seed of a node.
pub const DEFAULT_SEED: &str = "bootstrap.astreum.org:52780";

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Name in TOML; flags have `-` for `_`.
    pub name: &'static str,
    /// Heading of its section in `node/docs/configuration.md`.
    pub section: &'static str,
    doc: &'static str,
    /// Values that it allows.
    pub allowed: Allowed,
    pub(super) set: fn(&mut Config, &Raw) -> Result<(), String>,
    pub(super) fits: fn(&Config) -> bool,
    pub(super) reason: fn(&Config) -> Option<&'static str>,
    pub(super) rebase: fn(&mut Config, &Path),
    pub(super) show_raw: fn(&Config) -> DisplayValue,
    show: fn(&SettingValues) -> DisplayValue,
    differs: fn(&SettingValues, &SettingValues) -> bool,
    /// Sets its value to that of the second argument.
    pub(super) copy: fn(&mut SettingValues, &SettingValues),
}

impl Key {
    /// Returns the key with this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Returns its description, in a sentence or two.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.doc.trim_start()
    }

    /// Returns the environment variable that sets it.
    #[must_use]
    pub fn environment_variable(&self) -> String {
        format!("ASTREUM_{}", self.name.to_ascii_uppercase())
    }

    /// Returns the flag that sets it, without the leading dashes. Secrets have no flag.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Returns whether its value must not be shown.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.allowed == Allowed::Key
    }

    /// Returns its value in resolved settings for display; a secret is redacted.
    #[must_use]
    pub fn show(&self, values: &SettingValues) -> DisplayValue {
        (self.show)(values)
    }

    /// Returns whether its value differs between two resolved settings; secrets are compared, too.
    #[must_use]
    pub fn differs(&self, one: &SettingValues, other: &SettingValues) -> bool {
        (self.differs)(one, other)
    }

    /// Returns its value before resolution for display; a secret is redacted. A key whose value is
    /// derived from other keys is unset in [`Config::default`].
    #[must_use]
    pub fn show_raw(&self, config: &Config) -> DisplayValue {
        (self.show_raw)(config)
    }
}

/// Type of a key in [`Config`]: a derived value can be left unset.
macro_rules! raw_type {
    ($type:ty) => { $type };
    ($type:ty, $derive:expr) => { Option<$type> };
}

/// Value of a key in [`Config::default`].
macro_rules! raw_default {
    (= $default:expr) => {
        $default
    };
    (=> $derive:expr) => {
        None
    };
}

/// Value of a key in [`SettingValues`]: that of the configuration, or the derived one.
macro_rules! setting {
    ($config:ident, $name:ident) => {
        $config.$name
    };
    ($config:ident, $name:ident, $derive:expr) => {
        $name
    };
}

/// Defines the keys. A key has a default after `=`, or after `=>` the function that derives its
/// value from the other keys if it is not set.
macro_rules! keys {
    ($($section:literal { $(
        $(#[doc = $help:literal])+
        $name:ident: $type:ty $(= $default:expr)? $(=> $derive:expr)?, $allowed:expr;
    )+ })+) => {
        /// Options of a node as a user states them, one field per key, under the key's name.
        /// [`Config::resolve`] checks them and makes the [`Settings`](super::Settings) that a node
        /// runs with.
        ///
        /// Set the fields that differ and take the rest from the default:
        ///
        /// ```
        /// use astreum_node::config::Config;
        ///
        /// let config = Config {
        ///     incoming_port: 0,
        ///     default_seed: None,
        ///     ..Config::default()
        /// };
        /// assert!(config.resolve().is_ok());
        /// ```
        #[derive(Clone, PartialEq, Debug)]
        pub struct Config { $($(
            $(#[doc = $help])+
            pub $name: raw_type!($type $(, $derive)?),
        )+)+ }

        impl Default for Config {
            fn default() -> Self {
                Self { $($($name: raw_default!($(= $default)? $(=> $derive)?),)+)+ }
            }
        }

        /// Resolved values of all keys, one field per key; read through
        /// [`Settings`](super::Settings).
        #[derive(Clone, PartialEq, Debug)]
        #[non_exhaustive]
        pub struct SettingValues { $($(
            $(#[doc = $help])+
            pub $name: $type,
        )+)+ }

        impl SettingValues {
            /// Derives the values that are not set. The configuration must be checked.
            pub(super) fn derive(config: Config) -> Self {
                $($($(let $name = config.$name.unwrap_or_else(|| $derive(&config));)?)+)+
                Self { $($($name: setting!(config, $name $(, $derive)?),)+)+ }
            }
        }

        /// All keys, in the order of `node/docs/configuration.md`.
        pub static KEYS: &[Key] = &[$($(Key {
            name: stringify!($name),
            section: $section,
            doc: concat!($($help),+),
            allowed: $allowed,
            set: |config, raw| {
                config.$name = Setting::read(raw)?;
                Ok(())
            },
            fits: |config| config.$name.fits($allowed),
            reason: |config| config.$name.reason(),
            rebase: |config, base| config.$name.rebase(base),
            show_raw: |config| config.$name.show(),
            show: |values| values.$name.show(),
            differs: |one, other| one.$name != other.$name,
            copy: |to, from| to.$name.clone_from(&from.$name),
        },)+)+];
    };
}

/// Returns the chain identifier of the named chain, and that of the test chain without a name.
const fn chain_id_of_name(config: &Config) -> u64 {
    match config.chain {
        Some(Chain::Main) => 1,
        Some(Chain::Test) | None => 0,
    }
}

const fn peer_timeout_interval(config: &Config) -> Duration {
    config.peer_timeout_interval
}

const ANY: Allowed = Allowed::Whole {
    min: 0,
    max: u64::MAX,
};
const POSITIVE_SECONDS: Allowed = Allowed::WholeSeconds { min: 1 };
const SECONDS: Allowed = Allowed::Seconds { zero: true };

keys! {
    "Core Configuration" {
        /// Maximum bytes kept in the hot cache; the least recently used atoms are evicted first. 0
        /// keeps none.
        hot_storage_limit: u64 = 1 << 30, ANY;
        /// Maximum bytes in cold storage; writes beyond that are refused. 0 means no limit.
        cold_storage_limit: u64 = 10 << 30, ANY;
        /// Directory of persisted atoms, created on start, or s3://BUCKET/PREFIX for an object store
        /// that nodes share. Without it there is no cold storage.
        cold_storage_path: Option<PathBuf> = None, Allowed::Path;
        /// Bytes in level_0 beyond which it is collated into an index/data pair of level_1.
        cold_storage_level_size: u64 = 10 << 20, Allowed::Whole { min: 1, max: u64::MAX };
        /// Interval of the wait for a missing atom, in seconds: the wait lasts this times
        /// atom_fetch_retries; an atom that arrives earlier is delivered at once. 0 disables
        /// waiting, but not requesting: a later lookup finds what has arrived.
        atom_fetch_interval: Duration = Duration::from_millis(250), SECONDS;
        /// Number of intervals to wait for a missing atom. 0 disables waiting, as for
        /// atom_fetch_interval.
        atom_fetch_retries: u32 = 8, Allowed::Whole { min: 0, max: 4_294_967_295 };
        /// Days to keep rotated log files. 0 keeps none.
        logging_retention_days: u32 = 7, Allowed::Whole { min: 0, max: 36_500 };
        /// Chain identifier for validation (0 = test, 1 = main). Default is that of chain, else 0.
        chain_id: u64 => chain_id_of_name, ANY;
        /// Also mirror the log to stdout in human-readable form.
        verbose: bool = false, Allowed::Switch;
    }
    "Evaluation" {
        /// Maximum depth of nested calls in an evaluation. Like the other limits of this section it
        /// is for `astreum eval`, `astreum repl` and evaluations by a node, not for blocks.
        eval_depth: u64 = Limits::DEFAULT.depth, ANY;
        /// Maximum steps of an evaluation.
        eval_steps: u64 = Limits::DEFAULT.steps, ANY;
        /// Maximum values on a stack of an evaluation.
        eval_stack: u64 = Limits::DEFAULT.stack_items, ANY;
        /// Maximum keys on the heap of a stack program.
        eval_heap: u64 = Limits::DEFAULT.heap_entries, ANY;
        /// Maximum bytes that an evaluation may keep alive.
        eval_live_bytes: u64 = Limits::DEFAULT.live_bytes, ANY;
    }
    "Communication" {
        /// X25519 private key of the relay route. If neither this nor relay_secret_key_file is
        /// given, each start generates a new one.
        relay_secret_key: Option<Secret> = None, Allowed::Key;
        /// Ed25519 private key that lets the node join the validation route. Without it the node
        /// does not validate.
        validation_secret_key: Option<Secret> = None, Allowed::Key;
        /// Bind the socket on IPv6; it accepts IPv4 as well.
        use_ipv6: bool = false, Allowed::Switch;
        /// IP address of this machine to receive on: an IPv6 address if use_ipv6 is set, an IPv4
        /// address otherwise. Default is all addresses.
        bind_address: Option<IpAddr> = None, Allowed::IpAddress;
        /// UDP port to bind. 0 lets the system pick one.
        incoming_port: u16 = 52780, Allowed::Whole { min: 0, max: 65_535 };
        /// TCP port on which peers request long lists and chains. Default is the number of the UDP
        /// port. 0 turns streams off: everything moves by datagrams.
        stream_port: Option<u16> = None, Allowed::Whole { min: 0, max: 65_535 };
        /// Bytes that all streams together may send in a second, and receive: at least 262,144, or 0
        /// for no limit.
        stream_bandwidth: u64 = 0, Allowed::StreamRate;
        /// Bytes that the streams of one IP address may send in a second, and receive: at least
        /// 262,144, or 0 for no limit.
        stream_peer_bandwidth: u64 = 0, Allowed::StreamRate;
        /// Maximum number of TCP connections that peers have opened.
        stream_connections: u32 = 64, Allowed::Whole { min: 1, max: MAX_CONNECTIONS };
        /// Maximum number of TCP connections that peers at one IPv4 address, or in one IPv6 /64, have
        /// opened. A peer needs two: one for lists, one for chains.
        stream_peer_connections: u32 = 8,
            Allowed::Whole { min: MIN_PEER_CONNECTIONS, max: MAX_CONNECTIONS };
        /// Maximum number of TCP connections to peers.
        stream_outgoing_connections: u32 = 64, Allowed::Whole { min: 1, max: MAX_CONNECTIONS };
        /// Maximum bytes of memory for the buffers of all streams: 2 MiB for each connection, the rest
        /// for what has arrived and is not stored. If it is too small for all connections, fewer are
        /// open. Default is 201326592 and 2097152 for each of stream_connections and
        /// stream_outgoing_connections.
        stream_memory_limit: u64 => stream_memory::default_limit,
            Allowed::Whole { min: MIN_BYTES, max: u64::MAX };
        /// Maximum bytes of that memory for the streams of one peer.
        stream_peer_memory_limit: u64 = 128 << 20,
            Allowed::Whole { min: MIN_BYTES, max: u64::MAX };
        /// Ask the router of the local network to forward the UDP port and the TCP port of streams:
        /// off, pcp (PCP or NAT-PMP), upnp, or auto (pcp, else upnp). IPv4 only.
        port_mapping: PortMapping = PortMapping::Off, Allowed::PortMapping;
        /// IPv4 address of that router. Default is the gateway of the default route for pcp, and a
        /// search in the local network for upnp.
        port_mapping_gateway: Option<Ipv4Addr> = None, Allowed::Ipv4Address;
        /// First address to contact when joining. "none", or "" in a file or flag, means no default
        /// seed.
        default_seed: Option<Seed> = DEFAULT_SEED.parse().ok(), Allowed::Seed;
        /// Further addresses to contact when joining. Repeat the flag, or separate them with
        /// commas.
        additional_seeds: Vec<Seed> = Vec::new(), Allowed::Seeds;
        /// Seconds without a sign of life after which a peer is dropped at the next check, up to
        /// one peer_timeout_interval later.
        peer_timeout: Duration = Duration::from_secs(900), POSITIVE_SECONDS;
        /// Interval between checks for inactive peers, in seconds.
        peer_timeout_interval: Duration = Duration::from_secs(10), POSITIVE_SECONDS;
        /// Interval between attempts to join while there are no peers, in seconds; names of seeds
        /// are resolved again each time.
        bootstrap_retry_interval: Duration = Duration::from_secs(30), POSITIVE_SECONDS;
        /// Interval between announcements of this node's advertisements to the closest peers, in
        /// seconds.
        storage_index_interval: Duration = Duration::from_secs(600), POSITIVE_SECONDS;
        /// Capacity of the incoming queue, in bytes. 0 means no limit.
        incoming_queue_size_limit: u64 = 64 << 20, ANY;
        /// Seconds that a received message may wait for room in the incoming queue. 0 drops it at
        /// once.
        incoming_queue_timeout: Duration = Duration::from_secs(1), SECONDS;
        /// Capacity of the outgoing queue, in bytes. 0 means no limit.
        outgoing_queue_size_limit: u64 = 64 << 20, ANY;
        /// Seconds that a message may wait for room in the outgoing queue. 0 drops it at once.
        outgoing_queue_timeout: Duration = Duration::from_secs(1), SECONDS;
        /// Address at which other nodes can reach this node. Peers answer to its port, which a NAT
        /// or container may map to incoming_port. Without it the node learns its address from its
        /// peers.
        advertised_address: Option<SocketAddr> = None, Allowed::Address;
    }
    "Files and Control" {
        /// Directory of the node's own state: control socket, logs, history. Default
        /// $XDG_STATE_HOME/Astreum/lib-rs, else ~/.local/state/Astreum/lib-rs.
        state_dir: Option<PathBuf> = None, Allowed::Path;
        /// Directory of the chain's identity, signing records and heads. Default is chain in
        /// cold_storage_path; a validator needs one of the two.
        chain_dir: Option<PathBuf> = None, Allowed::Path;
        /// Directory of node.log and its rotated files. Default is below state_dir/logs.
        log_dir: Option<PathBuf> = None, Allowed::Path;
        /// Level of the log, off, error, warn, info, debug or trace, and of single modules, such as
        /// "info,astreum_node::net=debug". Default is that of RUST_LOG, else info.
        log_level: Option<LogFilter> = None, Allowed::LogFilter;
        /// Form of the lines in node.log: json, with the fields of the reference, or text.
        log_format: LogFormat = LogFormat::Json, Allowed::LogFormat;
        /// Unix socket through which the other commands reach the node. Default is control.sock in
        /// state_dir.
        control_socket: Option<PathBuf> = None, Allowed::Path;
        /// File that holds relay_secret_key; `astreum keys generate` creates one.
        relay_secret_key_file: Option<PathBuf> = None, Allowed::Path;
        /// File that holds validation_secret_key; `astreum keys generate --kind validation` creates
        /// one.
        validation_secret_key_file: Option<PathBuf> = None, Allowed::Path;
        /// File whose first line is the passphrase of protected key files; only its owner may be
        /// able to read it. Without it a terminal is asked.
        key_passphrase_file: Option<PathBuf> = None, Allowed::Path;
        /// Unix socket of the signer that has the validation key (`astreum signer`), instead of
        /// validation_secret_key. It needs validation_public_key.
        validation_signer: Option<PathBuf> = None, Allowed::Path;
        /// Public key of the validator whose signer is validation_signer.
        validation_public_key: Option<AtomId> = None, Allowed::PublicKey;
        /// Map sealed files of cold storage into memory. Set it to false if files can change under
        /// a running node.
        cold_storage_mmap: bool = true, Allowed::Switch;
        /// Sync mode of cold storage writes: always (before a write is acknowledged), interval, or
        /// never.
        cold_storage_sync: ColdStorageSync = ColdStorageSync::Always, Allowed::Sync;
        /// Directory of what stays on this machine if cold_storage_path is an object store: journals,
        /// the chain's files and the read cache. Created on start.
        cold_storage_local_path: Option<PathBuf> = None, Allowed::Path;
        /// Maximum bytes of the read cache in cold_storage_local_path.
        cold_storage_cache_limit: u64 = 1 << 30, Allowed::Whole { min: 64 << 20, max: u64::MAX };
        /// URL of an S3-compatible server. Default is AWS_ENDPOINT_URL, else AWS in the region.
        object_store_endpoint: Option<String> = None, Allowed::Text;
        /// Region of the object store. Default is AWS_REGION, AWS_DEFAULT_REGION, or us-east-1.
        object_store_region: Option<String> = None, Allowed::Text;
        /// Allow an http:// URL of a server on another machine: the connection is not protected.
        object_store_allow_http: bool = false, Allowed::Switch;
        /// Blocks of the chain, from the head down, whose transactions and state are kept: as many
        /// as fit into half of cold_storage_limit, but at least twice max_reorg_depth. Headers, and
        /// what users have stored or pinned, are always kept. 0 keeps everything; so does an object
        /// store.
        prune_blocks: u64 = 50_000, ANY;
        /// Index the transactions of the chain by sender, recipient, height and data, for `astreum
        /// account history`: about 160 bytes per transaction in the chain directory. It is made from
        /// the chain, and needs cold_storage_path or chain_dir.
        transaction_index: bool = false, Allowed::Switch;
    }
    "RPC" {
        /// Address and port on which the node serves JSON-RPC over HTTP and WebSocket, metrics and
        /// health checks, such as 127.0.0.1:52781. Without it there is none of that. Port 0 lets the
        /// system pick one.
        rpc_listen: Option<ListenAddress> = None, Allowed::Listen;
        /// Permit an rpc_listen that other machines can reach. There is no encryption: put a proxy
        /// with TLS in front of it.
        rpc_allow_remote: bool = false, Allowed::Switch;
        /// Names under which the node may be asked, beside localhost and IP addresses. Repeat the
        /// flag, or separate them with commas.
        rpc_hosts: HostNames = HostNames::default(), Allowed::Hosts;
        /// Origins of web pages that may use the node, such as `https://wallet.example.org`. Repeat
        /// the flag, or separate them with commas.
        rpc_origins: Origins = Origins::default(), Allowed::Origins;
        /// File of the token that permits everything over HTTP and WebSocket; without the token only
        /// reading is permitted. Default is rpc.token in state_dir; created on start.
        rpc_token_file: Option<PathBuf> = None, Allowed::Path;
        /// Maximum open connections of rpc_listen.
        rpc_max_connections: u32 = 64, Allowed::Whole { min: 1, max: 4_096 };
        /// Serve a page at /explorer of rpc_listen that shows status, blocks, transactions, accounts
        /// and atoms in a browser. It reads only, without the token.
        explorer: bool = false, Allowed::Switch;
    }
    "Validation and Verification" {
        /// Name of the chain, main or test: sets chain_id to 1 or 0 if that is not given.
        chain: Option<Chain> = None, Allowed::Chain;
        /// Let the blocks of this validator claim the reward of 1.
        claim_reward: bool = true, Allowed::Switch;
        /// Keep blocks to what unmodified reference nodes can follow and verify: no reward and at
        /// most 57 transactions.
        reference_followers: bool = false, Allowed::Switch;
        /// Maximum transactions in a block of this validator.
        max_block_transactions: u32 = 4096, Allowed::Whole { min: 1, max: 65_536 };
        /// Average bytes of storage that a block of this validator may add; what 4,096 blocks did
        /// not use is saved for later ones. With the default a busy chain fills 10 GiB in a week. 0
        /// means no limit.
        max_block_growth_bytes: u64 = 32 << 10, ANY;
        /// Minimum seconds between a block of this validator and its parent, for private chains. 0
        /// means that a block is produced in the first slot that can be reached.
        block_interval: u64 = 0, Allowed::Whole { min: 0, max: 3_600 };
        /// Interval between retries of chains that could not be followed, in seconds; news is
        /// followed at once. Default is peer_timeout_interval.
        verify_blockchain_interval: Duration => peer_timeout_interval,
            Allowed::Seconds { zero: false };
        /// Accepted for compatibility and without effect: the choice of the head does not depend on
        /// its age.
        verification_max_stale_seconds: u64 = 10, Allowed::Whole { min: 0, max: 4_294_967_295 };
        /// Maximum seconds that a block's timestamp may lie in the future.
        verification_max_future_skew: u64 = 2, Allowed::Whole { min: 0, max: 4_294_967_295 };
        /// Id of the block to start from.
        latest_block_hash: Option<AtomId> = None, Allowed::Id;
        /// Id of the block up to which the chain counts as verified.
        verified_up_to: Option<AtomId> = None, Allowed::Id;
        /// Way to join a chain: full (every block is verified, from the genesis on) or snapshot
        /// (the state after checkpoint, or without one after the head of default_seed, is fetched
        /// from peers, and the blocks above it are verified). A node that has a chain keeps it, and
        /// finishes a snapshot that it has begun, whatever the value is.
        sync: SyncMode = SyncMode::Full, Allowed::SyncMode;
        /// Id of a block that every chain followed by this node must contain.
        checkpoint: Option<AtomId> = None, Allowed::Id;
        /// Maximum blocks undone without the operator's decision (`astreum chain forks`).
        max_reorg_depth: u64 = 1024, Allowed::Whole { min: 1, max: 4_294_967_295 };
    }
}
