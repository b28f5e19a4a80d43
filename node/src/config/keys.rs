//! The table of all keys. Everything that has to know a key reads it here: the [`Config`] struct
//! and its defaults, flags, environment, TOML, checks, `astreum config`, and the README's table.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::{Path, PathBuf};

use astreum_core::atom::AtomId;
use astreum_core::machine::Limits;

use super::secret::Secret;
use super::value::{Allowed, Chain, ColdStorageSync, Raw, Seed, Setting, Shown};

/// The seed that a node asks when none is configured.
pub const DEFAULT_SEED: &str = "bootstrap.astreum.org:52780";

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Its name: in TOML, and in flags with `-` for `_`.
    pub name: &'static str,
    /// The heading it stands under in the README.
    pub section: &'static str,
    doc: &'static str,
    /// What values it takes.
    pub allowed: Allowed,
    pub(super) set: fn(&mut Config, &Raw) -> Result<(), String>,
    pub(super) fits: fn(&Config) -> bool,
    pub(super) reason: fn(&Config) -> Option<&'static str>,
    pub(super) show: fn(&Config) -> Shown,
    pub(super) rebase: fn(&mut Config, &Path),
}

impl Key {
    /// The key with this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// What it does, in a sentence or two.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.doc.trim_start()
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn environment_variable(&self) -> String {
        format!("ASTREUM_{}", self.name.to_ascii_uppercase())
    }

    /// The flag that sets it, without the dashes in front.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Whether its value must not be shown.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.allowed == Allowed::Key
    }

    /// Its value in `config`, as it may be shown.
    #[must_use]
    pub fn show(&self, config: &Config) -> Shown {
        (self.show)(config)
    }
}

macro_rules! keys {
    ($($section:literal { $(
        $(#[doc = $help:literal])+
        $name:ident: $type:ty = $default:expr, $allowed:expr;
    )+ })+) => {
        /// Every option of a node, one field a key, under the key's name.
        ///
        /// Fill in what should differ and take the rest from the default:
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
            pub $name: $type,
        )+)+ }

        impl Default for Config {
            fn default() -> Self {
                Self { $($($name: $default,)+)+ }
            }
        }

        /// All keys, in the order of the README.
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
            show: |config| config.$name.show(),
            rebase: |config, base| config.$name.rebase(base),
        },)+)+];
    };
}

impl Config {
    /// Returns the chain identifier: the one that is set, else that of [`Config::chain`].
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        match (self.chain_id, self.chain) {
            (Some(id), _) => id,
            (None, Some(Chain::Main)) => 1,
            (None, Some(Chain::Test) | None) => 0,
        }
    }

    /// Returns the interval that is set, else [`Config::peer_timeout_interval`].
    #[must_use]
    pub const fn verify_blockchain_interval(&self) -> Duration {
        match self.verify_blockchain_interval {
            Some(interval) => interval,
            None => self.peer_timeout_interval,
        }
    }

    /// The limits of evaluations.
    #[must_use]
    pub const fn eval_limits(&self) -> Limits {
        Limits {
            depth: self.eval_depth,
            steps: self.eval_steps,
            stack_items: self.eval_stack,
            heap_entries: self.eval_heap,
            live_bytes: self.eval_live_bytes,
            ..Limits::DEFAULT
        }
    }
}

const ANY: Allowed = Allowed::Whole {
    min: 0,
    max: u64::MAX,
};
const POSITIVE_SECONDS: Allowed = Allowed::WholeSeconds { min: 1 };
const SECONDS: Allowed = Allowed::Seconds { zero: true };

keys! {
    "Core Configuration" {
        /// Maximum bytes kept in the hot cache; the least recently used atoms leave first. 0 keeps
        /// none.
        hot_storage_limit: u64 = 1 << 30, ANY;
        /// Bytes that cold storage may hold; beyond that, writes are refused. 0 means no limit.
        cold_storage_limit: u64 = 10 << 30, ANY;
        /// Directory where persisted atoms live, created on start. Without it there is no cold
        /// storage.
        cold_storage_path: Option<PathBuf> = None, Allowed::Path;
        /// Bytes in level_0 past which it is collated into an index/data pair of level_1.
        cold_storage_level_size: u64 = 10 << 20, Allowed::Whole { min: 1, max: u64::MAX };
        /// Seconds in the wait for a missing atom are this times atom_fetch_retries; an atom that
        /// arrives earlier is delivered at once. 0 disables waiting, not asking: a later look
        /// finds what has come.
        atom_fetch_interval: Duration = Duration::from_millis(250), SECONDS;
        /// Intervals to wait for a missing atom. 0 disables waiting, as for atom_fetch_interval.
        atom_fetch_retries: u32 = 8, Allowed::Whole { min: 0, max: 4_294_967_295 };
        /// Days to keep rotated log files. 0 keeps none.
        logging_retention_days: u32 = 7, Allowed::Whole { min: 0, max: 36_500 };
        /// Chain identifier used for validation (0 = test, 1 = main). Default is that of chain, else 0.
        chain_id: Option<u64> = None, ANY;
        /// Also mirror the log to stdout, in a form for people.
        verbose: bool = false, Allowed::Switch;
    }
    "Evaluation" {
        /// Calls that an evaluation may have open at a time. Like the other limits of this section
        /// it is for `astreum eval`, `astreum repl` and evaluations by a node, not for blocks.
        eval_depth: u64 = Limits::DEFAULT.depth, ANY;
        /// Steps that an evaluation may take.
        eval_steps: u64 = Limits::DEFAULT.steps, ANY;
        /// Values that an evaluation may have on a stack.
        eval_stack: u64 = Limits::DEFAULT.stack_items, ANY;
        /// Keys that a stack program may have on its heap.
        eval_heap: u64 = Limits::DEFAULT.heap_entries, ANY;
        /// Bytes that an evaluation may keep alive.
        eval_live_bytes: u64 = Limits::DEFAULT.live_bytes, ANY;
    }
    "Communication" {
        /// X25519 private key of the relay route. When neither this nor relay_secret_key_file is
        /// given, each start makes a new one.
        relay_secret_key: Option<Secret> = None, Allowed::Key;
        /// Ed25519 private key that lets the node join the validation route. Without it the node
        /// does not validate.
        validation_secret_key: Option<Secret> = None, Allowed::Key;
        /// Bind the socket on IPv6; it takes IPv4 as well.
        use_ipv6: bool = false, Allowed::Switch;
        /// UDP port to bind. 0 lets the system pick one.
        incoming_port: u16 = 52780, Allowed::Whole { min: 0, max: 65_535 };
        /// Address to ask first when joining. "none", or "" in a file or flag: no default seed.
        default_seed: Option<Seed> = DEFAULT_SEED.parse().ok(), Allowed::Seed;
        /// Further addresses to ask when joining. Repeat the flag, or put commas between.
        additional_seeds: Vec<Seed> = Vec::new(), Allowed::Seeds;
        /// Seconds without a sign of life after which a peer is dropped, at the next look: up to one
        /// peer_timeout_interval later.
        peer_timeout: Duration = Duration::from_secs(900), POSITIVE_SECONDS;
        /// Seconds between two looks for silent peers.
        peer_timeout_interval: Duration = Duration::from_secs(10), POSITIVE_SECONDS;
        /// Seconds between two attempts to join while there are no peers; names of seeds are looked up
        /// again each time.
        bootstrap_retry_interval: Duration = Duration::from_secs(30), POSITIVE_SECONDS;
        /// Seconds between two rounds of telling the closest peer what this node advertises.
        storage_index_interval: Duration = Duration::from_secs(600), POSITIVE_SECONDS;
        /// Bytes that may wait to be handled. 0 means no limit.
        incoming_queue_size_limit: u64 = 64 << 20, ANY;
        /// Seconds that a received message may wait for room in the queue. 0 drops it at once.
        incoming_queue_timeout: Duration = Duration::from_secs(1), SECONDS;
        /// Bytes that may wait to be sent. 0 means no limit.
        outgoing_queue_size_limit: u64 = 64 << 20, ANY;
        /// Seconds that a message to send may wait for room in the queue. 0 drops it at once.
        outgoing_queue_timeout: Duration = Duration::from_secs(1), SECONDS;
        /// Address that others are told to reach this node at. Peers answer to its port, which a NAT
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
        /// Unix socket that the other commands reach the node at. Default is
        /// control.sock in state_dir.
        control_socket: Option<PathBuf> = None, Allowed::Path;
        /// File that holds relay_secret_key; `astreum keys generate` makes one.
        relay_secret_key_file: Option<PathBuf> = None, Allowed::Path;
        /// File that holds validation_secret_key; `astreum keys generate --kind validation` makes
        /// one.
        validation_secret_key_file: Option<PathBuf> = None, Allowed::Path;
        /// Map sealed files of cold storage into memory. Set it to false where files can change
        /// under a running node.
        cold_storage_mmap: bool = true, Allowed::Switch;
        /// When cold storage forces writes to the disk: always (before a write is acknowledged),
        /// interval, or never.
        cold_storage_sync: ColdStorageSync = ColdStorageSync::Always, Allowed::Sync;
    }
    "Validation and Verification" {
        /// Name of the chain, main or test: sets chain_id to 1 or 0 where that is not given.
        chain: Option<Chain> = None, Allowed::Chain;
        /// Let the blocks of this validator claim the reward of 1.
        claim_reward: bool = true, Allowed::Switch;
        /// Keep blocks to what unmodified reference nodes can follow and verify: no reward and at
        /// most 57 transactions.
        reference_followers: bool = false, Allowed::Switch;
        /// Transactions that a block of this validator may carry.
        max_block_transactions: u32 = 4096, Allowed::Whole { min: 1, max: 65_536 };
        /// Bytes, as stored, that blocks of this validator may leave on average; what 4,096 blocks did
        /// not use is saved for later ones. With the default a busy chain fills 10 GiB in a week. 0
        /// means no limit.
        max_block_growth_bytes: u64 = 32 << 10, ANY;
        /// Seconds between two looks at what could not be followed; news is followed at once.
        /// Default is peer_timeout_interval.
        verify_blockchain_interval: Option<Duration> = None, Allowed::Seconds { zero: false };
        /// Accepted for compatibility and without effect: which head is followed does not depend on
        /// its age.
        verification_max_stale_seconds: u64 = 10, Allowed::Whole { min: 0, max: 4_294_967_295 };
        /// Seconds that a block's timestamp may lie in the future.
        verification_max_future_skew: u64 = 2, Allowed::Whole { min: 0, max: 4_294_967_295 };
        /// Id of the block to start from.
        latest_block_hash: Option<AtomId> = None, Allowed::Id;
        /// Id of the block up to which the chain counts as verified.
        verified_up_to: Option<AtomId> = None, Allowed::Id;
        /// Id of a block that every chain must contain that this node follows.
        checkpoint: Option<AtomId> = None, Allowed::Id;
        /// Blocks that are undone at most without the operator's decision (`astreum chain forks`).
        max_reorg_depth: u64 = 1024, Allowed::Whole { min: 1, max: 4_294_967_295 };
    }
}
