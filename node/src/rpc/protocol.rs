//! Replies of the control socket about the node, its peers and its atoms.

use super::chain_status::ChainReply;
use super::history::IndexReply;
use super::port_mapping::PortMappingReply;
use super::pruning::PruningReply;
use super::rpc_address::RpcAddressReply;
use super::schema::{record, schema_of};
use super::text::{self, Hex};
use crate::net::SeedState;
use crate::store::cold::SetAside;
use astreum_core::atom::{Atom, AtomId, AtomKind};
use astreum_core::chain::Address;
use astreum_core::crypto::PublicKey;
use core::net::SocketAddr;
use std::collections::BTreeMap;

/// Maximum number of bytes of atoms, in stored form, in one [`ListReply`]; the next request starts
/// at [`ListReply::next`]. In hex they stay well below
/// [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES).
pub const MAX_LIST_REPLY_BYTES: usize = 1 << 20;
/// Default maximum of seconds for all fetches of an evaluation together.
pub const EVAL_FETCH_SECONDS: u64 = 30;

schema_of! {
    /// Damaged files that were set aside together.
    SetAside {
        /// Number of the incident.
        number: u64,
        /// Names of the files below `damaged`, without the report.
        files: Vec<String>,
        /// Total length in bytes.
        bytes: u64,
        /// Kinds and places of the damage.
        problems: Vec<String>,
        /// Number of atoms that are still missing and whose ids are known.
        missing: u64,
        /// Number of atoms or parts of files that were lost without a known id.
        unknown: u64,
    }
}

record! {
    /// Backup that was written.
    pub struct BackupReply {
        /// Number of files.
        pub files: u64,
        /// Number of bytes.
        pub bytes: u64,
    }
}

record! {
    /// Status of a node.
    pub struct StatusReply {
        /// Version of the program.
        pub version: String,
        /// Public key of the relay.
        #[serde(with = "text")]
        pub public_key: PublicKey,
        /// Local address of the socket.
        pub listen_address: String,
        /// Address that this node advertises to peers, once it is known.
        pub advertised_address: Option<SocketAddr>,
        /// Seconds since the start.
        pub uptime_seconds: u64,
        /// Chain id.
        pub chain_id: u64,
        /// Number of known peers.
        pub peers: u64,
        /// Number of atoms in the hot store.
        pub hot_atoms: u64,
        /// Size in bytes of those atoms.
        pub hot_bytes: u64,
        /// Maximum size in bytes of the hot store.
        pub hot_limit_bytes: u64,
        /// `true` if a `put` survives a restart.
        pub durable: bool,
        /// `true` if cold storage refuses writes; `problems` states the reason.
        #[serde(default)]
        pub refuses_writes: bool,
        /// Number of advertised atoms and lists.
        pub advertisements: u64,
        /// Proof of work that this node requires of messages, in leading zero bits.
        pub difficulty: u8,
        /// Id of the chain's head in hex, if there is one.
        #[serde(with = "text")]
        pub latest_block: Option<AtomId>,
        /// Configured seeds.
        #[serde(default)]
        pub seeds: Vec<SeedState>,
        /// Seconds since the timestamp of the chain's head, if there is one.
        #[serde(default)]
        pub head_age_seconds: Option<u64>,
        /// Status of the chain.
        #[serde(default)]
        pub chain: ChainReply,
        /// Status of the validator, if this node is one.
        #[serde(default)]
        pub validator: Option<ProducerReply>,
        /// State of pruning, if there is cold storage.
        #[serde(default)]
        pub pruning: Option<PruningReply>,
        /// State of port mapping, if it is configured.
        #[serde(default)]
        pub port_mapping: Option<PortMappingReply>,
        /// State of the index of transactions, if there is one.
        #[serde(default)]
        pub transaction_index: Option<IndexReply>,
        /// Address of RPC over HTTP, if it is served.
        #[serde(default)]
        pub rpc: Option<RpcAddressReply>,
        /// Configuration that is valid but possibly unintended, one sentence each.
        #[serde(default)]
        pub warnings: Vec<String>,
        /// Counters by name.
        pub counters: BTreeMap<String, u64>,
        /// Problems that an operator has to act on.
        #[serde(default)]
        pub problems: Vec<String>,
        /// `true` if blocks are not produced, or not stored, although they should be; `problems` states
        /// the reason.
        #[serde(default)]
        pub halted: bool,
    }
}

/// Status without content, of a key of zeros.
impl Default for StatusReply {
    fn default() -> Self {
        Self {
            version: String::new(),
            public_key: PublicKey::new([0; 32]),
            listen_address: String::new(),
            advertised_address: None,
            uptime_seconds: 0,
            chain_id: 0,
            peers: 0,
            hot_atoms: 0,
            hot_bytes: 0,
            hot_limit_bytes: 0,
            durable: false,
            refuses_writes: false,
            advertisements: 0,
            difficulty: 0,
            latest_block: None,
            seeds: Vec::new(),
            head_age_seconds: None,
            chain: ChainReply::default(),
            validator: None,
            pruning: None,
            port_mapping: None,
            transaction_index: None,
            rpc: None,
            warnings: Vec::new(),
            counters: BTreeMap::new(),
            problems: Vec::new(),
            halted: false,
        }
    }
}

schema_of! {
    /// Configured seed.
    SeedState {
        /// Name and port.
        name: String,
        /// Addresses of the name.
        addresses: Vec<SocketAddr>,
        /// Reason the last lookup found no address.
        error: Option<String>,
    }
}

record! {
    /// Status of a validator.
    pub struct ProducerReply {
        /// Public key.
        #[serde(with = "text")]
        pub public_key: Address,
        /// Current activity, or the reason it waits.
        pub activity: String,
        /// `true` if it produces no blocks although it should; `problems` states the reason.
        pub halted: bool,
        /// Number of blocks produced since the start.
        pub blocks_made: u64,
        /// Number of missed slots: blocks whose proof of work was not found in time.
        pub blocks_late: u64,
        /// Number of transactions in the mempool.
        pub pool_transactions: u64,
        /// Number of them that wait for data.
        #[serde(default)]
        pub pool_waiting: u64,
        /// Total size in bytes of the transactions in the mempool.
        pub pool_bytes: u64,
        /// Number of rejected transactions.
        pub refused: u64,
        /// Latest rejected transactions, newest last.
        pub refusals: Vec<RefusalReply>,
    }
}

record! {
    /// Rejected transaction.
    pub struct RefusalReply {
        /// Id of the transaction.
        #[serde(with = "text")]
        pub id: AtomId,
        /// Reason of the rejection.
        pub reason: String,
    }
}

record! {
    /// Peer.
    pub struct PeerReply {
        /// Public key.
        #[serde(with = "text")]
        pub public_key: PublicKey,
        /// Address that it is reached at.
        pub address: SocketAddr,
        /// Number of leading bits that its key shares with this node's.
        pub bucket: u16,
        /// Seconds since its last sign of life.
        pub last_seen_seconds: u64,
        /// `true` if its address is validated.
        #[serde(rename = "proven")]
        pub is_validated: bool,
        /// `true` if it states that it validates.
        pub is_validator: bool,
        /// Proof of work that it requires of messages, in leading zero bits.
        pub difficulty: u8,
        /// Head that it announced last.
        #[serde(with = "text")]
        pub latest_block: Option<AtomId>,
        /// Number of bad blocks that it has offered.
        #[serde(default)]
        pub bad_blocks: u64,
    }
}

record! {
    /// Advertised object.
    pub struct AdvertisementReply {
        /// Id.
        #[serde(with = "text")]
        pub id: AtomId,
        /// `true` if it is a whole list.
        pub list: bool,
        /// Seconds until it ends; null if indefinite.
        pub expires_seconds: Option<u64>,
    }
}

record! {
    /// Provider of an atom.
    pub struct ProviderReply {
        /// Public key.
        #[serde(with = "text")]
        pub public_key: PublicKey,
        /// Address that it is reached at.
        pub address: SocketAddr,
        /// Seconds until the provider record expires.
        pub expires_seconds: u64,
    }
}

record! {
    /// Atom.
    pub struct AtomReply {
        /// Id.
        #[serde(with = "text")]
        pub id: AtomId,
        /// Kind.
        #[serde(with = "text")]
        pub kind: AtomKind,
        /// Id of the next atom.
        #[serde(with = "text")]
        pub next: AtomId,
        /// Data.
        #[serde(with = "text")]
        pub data: Hex,
    }
}

impl AtomReply {
    /// Returns the atom, whose id need not be that of the reply.
    ///
    /// # Errors
    /// Fails if there is no such atom.
    pub fn atom(&self) -> Result<Atom, String> {
        let stored = [self.next.as_bytes(), &[self.kind as u8][..], &self.data.0].concat();
        Atom::from_bytes(&stored).map_err(|error| error.to_string())
    }
}

impl From<&Atom> for AtomReply {
    fn from(atom: &Atom) -> Self {
        Self {
            id: atom.id(),
            kind: atom.kind(),
            next: atom.next(),
            data: atom.data().into(),
        }
    }
}

record! {
    /// Part of a list's atoms.
    pub struct ListReply {
        /// Stored forms of the atoms, in order.
        #[serde(with = "text")]
        pub atoms: Vec<Atom>,
        /// Id of the atom to continue from; 64 zeros at the end of the list.
        #[serde(with = "text")]
        pub next: AtomId,
    }
}

record! {
    /// Stored atoms.
    pub struct PutReply {
        /// Ids, in order.
        #[serde(with = "text")]
        pub ids: Vec<AtomId>,
        /// `true` if the atoms survive a restart of the node.
        pub durable: bool,
    }
}

record! {
    /// Progress of a transfer whose atoms are being fetched from peers.
    pub struct TransferProgress {
        /// Number of the transfer.
        pub transfer: u32,
        /// Number of atoms that were sent or have arrived at the node.
        pub atoms: u64,
        /// Number of bytes of their data.
        pub bytes: u64,
        /// Id of the atom that the node waits for.
        #[serde(with = "text")]
        pub next: AtomId,
    }
}

record! {
    /// Atoms of a transfer that the node has sent.
    pub struct SentReply {
        /// Number of atoms.
        pub atoms: u64,
        /// Number of bytes of their data.
        pub bytes: u64,
    }
}

record! {
    /// Atoms of a transfer that the node has stored.
    pub struct StoredReply {
        /// Number of atoms.
        pub atoms: u64,
        /// Number of bytes of their data.
        pub bytes: u64,
        /// `true` if the atoms survive a restart of the node.
        pub durable: bool,
    }
}

record! {
    /// Result of an evaluation.
    pub struct EvalReply {
        /// Value as text.
        pub text: String,
        /// Value as exact JSON: `{"sym": …}`, `{"bytes": hex}` or `{"list": […]}`.
        pub expr: serde_json::Value,
        /// Cost charged by the meter.
        pub used: u64,
        /// `true` if the value is an error.
        pub is_error: bool,
    }
}
