//! Requests and replies of the control socket.

use super::chain_status::ChainReply;
use core::sync::atomic::AtomicBool;
use std::collections::BTreeMap;
use std::sync::Arc;

use astreum_core::atom::{Atom, AtomId, AtomKind};
use serde::{Deserialize, Serialize};

/// Maximum length in bytes of a request or reply, including its newline.
pub const MAX_LINE_BYTES: usize = 4 << 20;
/// Maximum number of bytes of atoms, in stored form, in one [`ListReply`]; the next request starts
/// at [`ListReply::next`]. In hex they stay well below [`MAX_LINE_BYTES`].
pub const MAX_LIST_REPLY_BYTES: usize = 1 << 20;
/// Default maximum of seconds for all fetches of an evaluation together.
pub const EVAL_FETCH_SECONDS: u64 = 30;

/// Request; `{"cmd": "status"}` and so on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Returns the status of the node: [`StatusReply`].
    Status {},
    /// Lists known peers: a list of [`PeerReply`].
    Peers {},
    /// Returns one atom, fetched if necessary: [`AtomReply`].
    Get {
        /// Id in hex.
        id: String,
    },
    /// Returns as many atoms of a list as fit: [`ListReply`].
    GetList {
        /// Id of the first atom in hex.
        id: String,
    },
    /// Stores atoms: [`PutReply`].
    Put {
        /// Stored forms of the atoms in hex.
        atoms: Vec<String>,
    },
    /// Advertises an atom to the closest peers periodically: null.
    Advertise {
        /// Id in hex.
        id: String,
        /// `true` to advertise the whole list that starts with the atom.
        #[serde(default)]
        list: bool,
        /// Seconds until the advertisement ends; indefinite if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_seconds: Option<u64>,
    },
    /// Lists the objects that users advertise: a list of [`AdvertisementReply`].
    Advertised {},
    /// Ends an advertisement: `true` if there was one.
    Withdraw {
        /// Id in hex.
        id: String,
    },
    /// Removes a peer: `true` if it was known.
    RemovePeer {
        /// Public key in hex.
        key: String,
        /// `true` to drop its packets from now on.
        #[serde(default)]
        ban: bool,
    },
    /// Ends a ban: `true` if there was one.
    UnbanPeer {
        /// Public key in hex.
        key: String,
    },
    /// Starts a handshake with an address: the resolved address as text.
    Connect {
        /// `host:port` or `[ipv6]:port`.
        address: String,
    },
    /// Evaluates one expression over the node's storage: [`EvalReply`].
    Eval {
        /// Text of the expression.
        source: String,
        /// Limit of the meter; no limit if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
        /// Maximum of seconds for all fetches together; [`EVAL_FETCH_SECONDS`] if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fetch_seconds: Option<u64>,
    },
    /// Lists known providers of an atom: a list of [`ProviderReply`].
    Providers {
        /// Id in hex.
        id: String,
    },
    /// Returns a block: [`BlockReply`](super::BlockReply).
    Block {
        /// `head`, a height, or an id in hex.
        at: String,
        /// Number of its transactions to list.
        #[serde(default)]
        transactions: u32,
        /// Number of its transactions to skip.
        #[serde(default)]
        skip: u32,
    },
    /// Returns blocks from one backwards: a list of [`BlockReply`](super::BlockReply).
    Blocks {
        /// First block: `head`, a height, or an id in hex.
        from: String,
        /// Number of blocks.
        count: u32,
    },
    /// Returns an account as of the head: [`AccountReply`](super::AccountReply).
    Account {
        /// Key in hex, or `me`.
        account: String,
    },
    /// Returns validators and proposer schedule: [`ValidatorsReply`](super::ValidatorsReply).
    Validators {
        /// Number of slots of the schedule.
        slots: u32,
    },
    /// Stores, advertises and announces a signed transaction: [`SendReply`](super::SendReply).
    SendTransaction {
        /// Id of the transaction in hex.
        id: String,
        /// Its atoms in stored form in hex.
        atoms: Vec<String>,
        /// `true` to only check it.
        #[serde(default)]
        dry_run: bool,
        /// `true` to send it even to a public key that is known as a relay key.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        force: bool,
    },
    /// Advertises and announces a transaction again that this node or a peer has:
    /// [`SendReply`](super::SendReply).
    ResendTransaction {
        /// Id of the transaction in hex.
        id: String,
    },
    /// Returns the contents of a transaction: [`TransactionReply`](super::TransactionReply).
    Transaction {
        /// Id of the transaction in hex.
        id: String,
    },
    /// Returns the state of a transaction:
    /// [`TransactionStatusReply`](super::TransactionStatusReply).
    TransactionStatus {
        /// Id of the transaction in hex.
        id: String,
        /// Maximum of seconds to wait until it is in a block, or until that block is safe.
        #[serde(default)]
        wait_seconds: u64,
        /// `true` to wait until its block is safe.
        #[serde(default)]
        until_safe: bool,
    },
    /// Returns forks of the chain, and the operator's decisions: [`ForksReply`](super::ForksReply).
    Forks {},
    /// Prefers the branch through a block to all others: [`ForksReply`](super::ForksReply).
    AdoptFork {
        /// Id of the block in hex.
        id: String,
    },
    /// Rejects all branches through a block: [`ForksReply`](super::ForksReply).
    AvoidBlock {
        /// Id of the block in hex.
        id: String,
    },
    /// Returns a proof of an account as of the head, in the format of `astreum proof verify`.
    ProveAccount {
        /// Key in hex, or `me`.
        account: String,
    },
    /// Lists damaged files that cold storage has set aside: a list of [`SetAsideReply`].
    Damaged {
        /// Absolute path of the cold storage directory. A node with another one refuses.
        directory: String,
        /// `true` to remove them, with the lists of atoms lost in them.
        #[serde(default)]
        clear: bool,
    },
    /// Stops the node: null, as soon as the shutdown has begun.
    Stop {},
}

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

/// Error of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ErrorReply {
    /// Reason and advice.
    pub error: String,
    /// Id of the atom that was not found, in hex, if that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// `true` if a list is too large to be fetched as a whole; its atoms can be requested one by
    /// one.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub too_large: bool,
    /// `true` if the node is shutting down, so that there is no answer.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub stopping: bool,
}

impl<T: Into<String>> From<T> for ErrorReply {
    fn from(error: T) -> Self {
        Self {
            error: error.into(),
            missing: None,
            too_large: false,
            stopping: false,
        }
    }
}

impl ErrorReply {
    /// Creates the error for an atom that was found neither here nor at any asked peer.
    #[must_use]
    pub fn missing(id: &AtomId) -> Self {
        Self {
            error: format!("atom {id} was not found locally or at any peer"),
            missing: Some(id.to_string()),
            too_large: false,
            stopping: false,
        }
    }
}

/// Reply to one request: a result of the kind that the request documents.
pub type Reply = Result<serde_json::Value, ErrorReply>;

/// Handler of requests; called on the control socket's threads, several at a time.
pub trait Handler: Send + Sync {
    /// Answers one request. May wait for a bounded time; once `gone` is set, the caller has closed
    /// its connection or the node stops, and the answer is not needed.
    fn handle(&self, request: Request, gone: &Arc<AtomicBool>) -> Reply;
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
        let error = error.map(|error| format!(", failed to resolve: {error}"));
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

/// Returns the line, without its newline, that answers a request line.
pub fn answer_line(handler: &dyn Handler, line: &[u8], gone: &Arc<AtomicBool>) -> String {
    let reply = match serde_json::from_slice(line) {
        Ok(request) => handler.handle(request, gone),
        Err(error) => Err(format!("not a request: {error}").into()),
    };
    let text = reply_line(&reply);
    if text.len() < MAX_LINE_BYTES {
        return text;
    }
    let error = format!("the reply is longer than {MAX_LINE_BYTES} bytes");
    reply_line(&Err(error.into()))
}

pub(super) fn reply_line(reply: &Reply) -> String {
    let value = match reply {
        Ok(result) => serde_json::json!({"ok": true, "result": result}),
        Err(error) => {
            let mut value = serde_json::json!({"ok": false, "error": error.error});
            if let (Some(missing), Some(object)) = (&error.missing, value.as_object_mut()) {
                object.insert("missing".to_owned(), missing.as_str().into());
            }
            let marks = [("too_large", error.too_large), ("stopping", error.stopping)];
            if let Some(object) = value.as_object_mut() {
                let set = marks.into_iter().filter(|(_, is_set)| *is_set);
                object.extend(set.map(|(name, _)| (name.to_owned(), true.into())));
            }
            value
        }
    };
    value.to_string()
}

/// Contents of a reply line.
#[derive(Deserialize)]
struct ReplyLine {
    ok: bool,
    #[serde(default)]
    result: serde_json::Value,
    #[serde(default)]
    error: String,
    #[serde(default)]
    missing: Option<String>,
    #[serde(default)]
    too_large: bool,
    #[serde(default)]
    stopping: bool,
}

pub(super) fn parse_reply(line: &[u8]) -> Result<Reply, serde_json::Error> {
    let reply: ReplyLine = serde_json::from_slice(line)?;
    let ReplyLine {
        error,
        missing,
        too_large,
        stopping,
        ..
    } = reply;
    Ok(if reply.ok {
        Ok(reply.result)
    } else {
        Err(ErrorReply {
            error,
            missing,
            too_large,
            stopping,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Echo;

    fn flag() -> Arc<AtomicBool> {
        Arc::default()
    }

    impl Handler for Echo {
        fn handle(&self, request: Request, _: &Arc<AtomicBool>) -> Reply {
            match request {
                Request::Get { id } => Err(ErrorReply::missing(&id.parse().unwrap())),
                Request::Stop {} => Err("no".into()),
                Request::Connect { address } => Ok(address.repeat(MAX_LINE_BYTES).into()),
                other => Ok(serde_json::to_value(other).unwrap()),
            }
        }
    }

    #[test]
    fn requests_are_tagged_by_their_command() {
        assert_eq!(
            answer_line(&Echo, br#"{"cmd":"status"}"#, &flag()),
            r#"{"ok":true,"result":{"cmd":"status"}}"#
        );
        assert_eq!(
            answer_line(&Echo, br#"{"cmd":"stop"}"#, &flag()),
            r#"{"error":"no","ok":false}"#
        );
        let eval = Request::Eval {
            source: "1".to_owned(),
            limit: None,
            fetch_seconds: None,
        };
        let line = serde_json::to_string(&eval).unwrap();
        assert_eq!(line, r#"{"cmd":"eval","source":"1"}"#);
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), eval);
    }

    #[test]
    fn what_is_no_request_is_said_to_be_none() {
        for line in [
            "",
            "{}",
            "[]",
            "{\"cmd\":\"fly\"}",
            "{\"cmd\":\"status\",\"x\":1}",
            "\u{0}",
        ] {
            let answer = answer_line(&Echo, line.as_bytes(), &flag());
            assert!(
                answer.contains("\"ok\":false") && answer.contains("not a request"),
                "{answer}"
            );
        }
    }

    #[test]
    fn a_missing_atom_is_named_and_a_reply_is_bounded() {
        let id = AtomId::new([7; 32]);
        let line = format!(r#"{{"cmd":"get","id":"{id}"}}"#);
        let reply = parse_reply(answer_line(&Echo, line.as_bytes(), &flag()).as_bytes()).unwrap();
        assert_eq!(reply, Err(ErrorReply::missing(&id)));
        let long = answer_line(&Echo, br#"{"cmd":"connect","address":"xx"}"#, &flag());
        assert!(long.len() < 200 && long.contains("longer than"), "{long}");
    }

    proptest! {
        #[test]
        fn hex_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(unhex(&hex(&bytes).to_uppercase()), Some(bytes));
        }

        #[test]
        fn any_line_is_answered_with_one_line(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let answer = answer_line(&Echo, &line, &flag());
            prop_assert!(!answer.contains('\n'));
            prop_assert!(parse_reply(answer.as_bytes()).is_ok());
        }
    }
}
