//! Replies of the control socket about the node, its peers and its atoms.

use super::chain_status::ChainReply;
use std::collections::BTreeMap;

use astreum_core::atom::{Atom, AtomKind};
use serde::{Deserialize, Serialize};

/// Maximum number of bytes of atoms, in stored form, in one [`ListReply`]; the next request starts
/// at [`ListReply::next`]. In hex they stay well below [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES).
pub const MAX_LIST_REPLY_BYTES: usize = 1 << 20;
/// Default maximum of seconds for all fetches of an evaluation together.
pub const EVAL_FETCH_SECONDS: u64 = 30;

/// Damaged files that were set aside together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetAsideReply {
    /// Number of the incident.
    pub number: u64,
    /// Names of the files below `damaged`, without the report.
    pub files: Vec<String>,
    /// Total length in bytes.
    pub bytes: u64,
    /// Kinds and places of the damage.
    pub problems: Vec<String>,
    /// Number of atoms that are still missing and whose ids are known.
    pub missing: u64,
    /// Number of atoms or parts of files that were lost without a known id.
    pub unknown: u64,
}

/// Status of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StatusReply {
    /// Version of the program.
    pub version: String,
    /// Public key of the relay in hex.
    pub public_key: String,
    /// Local address of the socket.
    pub listen_address: String,
    /// Address that other nodes are told, once it is known.
    pub advertised_address: Option<String>,
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
    pub latest_block: Option<String>,
    /// Configured seeds.
    #[serde(default)]
    pub seeds: Vec<SeedReply>,
    /// Seconds since the timestamp of the chain's head, if there is one.
    #[serde(default)]
    pub head_age_seconds: Option<u64>,
    /// Status of the chain.
    #[serde(default)]
    pub chain: ChainReply,
    /// Status of the validator, if this node is one.
    #[serde(default)]
    pub validator: Option<ProducerReply>,
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

/// Configured seed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SeedReply {
    /// Name and port.
    pub name: String,
    /// Addresses of the name.
    pub addresses: Vec<String>,
    /// Reason the last lookup found no address.
    pub error: Option<String>,
}

impl SeedReply {
    /// Returns a human-readable line.
    #[must_use]
    pub fn line(&self) -> String {
        let is_address = self.addresses == [self.name.as_str()];
        let addresses = match &self.addresses[..] {
            [] => String::new(),
            _ if is_address => String::new(),
            addresses => format!(" at {}", addresses.join(", ")),
        };
        let error = self.error.as_ref();
        let error = error.map(|error| format!(", cannot be resolved: {error}"));
        format!("{}{addresses}{}", self.name, error.unwrap_or_default())
    }
}

/// Status of a validator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProducerReply {
    /// Public key in hex.
    pub public_key: String,
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

/// Rejected transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefusalReply {
    /// Id of the transaction in hex.
    pub id: String,
    /// Reason of the rejection.
    pub reason: String,
}

/// Peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerReply {
    /// Public key in hex.
    pub public_key: String,
    /// Address that it is reached at.
    pub address: String,
    /// Number of leading bits that its key shares with this node's.
    pub bucket: u16,
    /// Seconds since its last sign of life.
    pub last_seen_seconds: u64,
    /// `true` if its address is validated.
    pub proven: bool,
    /// `true` if it states that it validates.
    pub is_validator: bool,
    /// Proof of work that it requires of messages, in leading zero bits.
    pub difficulty: u8,
    /// Head that it announced last, in hex.
    pub latest_block: Option<String>,
    /// Number of bad blocks that it has offered.
    #[serde(default)]
    pub bad_blocks: u64,
}

/// Advertised object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdvertisementReply {
    /// Id in hex.
    pub id: String,
    /// `true` if it is a whole list.
    pub list: bool,
    /// Seconds until it ends; null if indefinite.
    pub expires_seconds: Option<u64>,
}

/// Provider of an atom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProviderReply {
    /// Public key in hex.
    pub public_key: String,
    /// Address that it is reached at.
    pub address: String,
    /// Seconds until the provider record expires.
    pub expires_seconds: u64,
}

/// Atom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AtomReply {
    /// Id in hex.
    pub id: String,
    /// `symbol`, `bytes` or `list`.
    pub kind: String,
    /// Id of the next atom in hex.
    pub next: String,
    /// Data in hex.
    pub data: String,
}

impl From<&Atom> for AtomReply {
    fn from(atom: &Atom) -> Self {
        let kind = match atom.kind() {
            AtomKind::Symbol => "symbol",
            AtomKind::Bytes => "bytes",
            AtomKind::List => "list",
        };
        Self {
            id: atom.id().to_string(),
            kind: kind.to_owned(),
            next: atom.next().to_string(),
            data: hex(atom.data()),
        }
    }
}

/// Part of a list's atoms.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListReply {
    /// Stored forms of the atoms in hex, in order.
    pub atoms: Vec<String>,
    /// Id of the atom to continue from, in hex; 64 zeros at the end of the list.
    pub next: String,
}

/// Stored atoms.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PutReply {
    /// Ids in hex, in order.
    pub ids: Vec<String>,
    /// `true` if the atoms survive a restart of the node.
    pub durable: bool,
}

/// Result of an evaluation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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

/// Returns lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Decodes hex digits of either case; `None` if they are malformed.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8; 2]| u8::try_from(nibble(pair[0])? * 16 + nibble(pair[1])?).ok();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hex_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(unhex(&hex(&bytes).to_uppercase()), Some(bytes));
        }
    }
}
