//! What is said over the control socket.

use super::chain_status::ChainReply;
use core::sync::atomic::AtomicBool;
use std::collections::BTreeMap;
use std::sync::Arc;

use astreum_core::atom::{Atom, AtomId, AtomKind};
use serde::{Deserialize, Serialize};

/// The longest request or reply, its newline included.
pub const MAX_LINE_BYTES: usize = 4 << 20;
/// Bytes of atoms, in stored form, that one [`ListReply`] carries at most; the rest is asked for
/// from [`ListReply::next`]. In hex they stay well below [`MAX_LINE_BYTES`].
pub const MAX_LIST_REPLY_BYTES: usize = 1 << 20;
/// Seconds that all fetches of an evaluation take together at most, unless the request says another
/// number.
pub const EVAL_FETCH_SECONDS: u64 = 30;

/// One request; `{"cmd": "status"}` and so on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the node is doing: [`StatusReply`].
    Status {},
    /// Whom it knows: a list of [`PeerReply`].
    Peers {},
    /// One atom, fetched if need be: [`AtomReply`].
    Get {
        /// Its id, in hex.
        id: String,
    },
    /// The atoms of a chain, as many as fit: [`ListReply`].
    GetList {
        /// The id of the first, in hex.
        id: String,
    },
    /// Keeps atoms: [`PutReply`].
    Put {
        /// Their stored forms, in hex.
        atoms: Vec<String>,
    },
    /// Tells the closest peer, now and again, that this node has an atom: null.
    Advertise {
        /// Its id, in hex.
        id: String,
        /// Whether the whole chain that starts there is meant.
        #[serde(default)]
        list: bool,
        /// Seconds until it stops; without them it goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_seconds: Option<u64>,
    },
    /// Objects that are advertised for users: a list of [`AdvertisementReply`].
    Advertised {},
    /// Ends an advertisement: whether there was one.
    Withdraw {
        /// Its id, in hex.
        id: String,
    },
    /// Removes a peer: whether it was known.
    RemovePeer {
        /// Its public key, in hex.
        key: String,
        /// Whether its packets are dropped from now on.
        #[serde(default)]
        ban: bool,
    },
    /// Ends a ban: whether there was one.
    UnbanPeer {
        /// The public key, in hex.
        key: String,
    },
    /// Says hello to an address: the address that it stands for, as text.
    Connect {
        /// `host:port` or `[ipv6]:port`.
        address: String,
    },
    /// Evaluates one expression over the node's storage: [`EvalReply`].
    Eval {
        /// Its text.
        source: String,
        /// The meter's limit; without it there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
        /// Seconds for all of its fetches together; without it [`EVAL_FETCH_SECONDS`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fetch_seconds: Option<u64>,
    },
    /// Who is known to have an atom: a list of [`ProviderReply`].
    Providers {
        /// Its id, in hex.
        id: String,
    },
    /// A block: [`BlockReply`](super::BlockReply).
    Block {
        /// `head`, a height, or an id in hex.
        at: String,
        /// How many of its transactions are listed.
        #[serde(default)]
        transactions: u32,
        /// How many come before those.
        #[serde(default)]
        skip: u32,
    },
    /// Blocks, from one backwards: a list of [`BlockReply`](super::BlockReply).
    Blocks {
        /// The first: `head`, a height, or an id in hex.
        from: String,
        /// How many.
        count: u32,
    },
    /// An account as of the head: [`AccountReply`](super::AccountReply).
    Account {
        /// Its key in hex, or `me`.
        account: String,
    },
    /// Who validates, and when: [`ValidatorsReply`](super::ValidatorsReply).
    Validators {
        /// How many slots of the schedule.
        slots: u32,
    },
    /// Takes a signed transaction, stores, advertises and announces it:
    /// [`SendReply`](super::SendReply).
    SendTransaction {
        /// Its id, in hex.
        id: String,
        /// Its atoms in stored form, in hex.
        atoms: Vec<String>,
        /// Whether it is only checked.
        #[serde(default)]
        dry_run: bool,
        /// Whether it is sent even to a public key that is known as a relay key.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        force: bool,
    },
    /// Takes a transaction again that is known here or to a peer, advertises and announces it:
    /// [`SendReply`](super::SendReply).
    ResendTransaction {
        /// Its id, in hex.
        id: String,
    },
    /// What a transaction says: [`TransactionReply`](super::TransactionReply).
    Transaction {
        /// Its id, in hex.
        id: String,
    },
    /// Where a transaction is: [`TransactionStatusReply`](super::TransactionStatusReply).
    TransactionStatus {
        /// Its id, in hex.
        id: String,
        /// Seconds to wait until it is in a block, or until that is safe.
        #[serde(default)]
        wait_seconds: u64,
        /// Whether to wait until its block is safe.
        #[serde(default)]
        until_safe: bool,
    },
    /// Forks of the chain, and the operator's decisions: [`ForksReply`](super::ForksReply).
    Forks {},
    /// Prefers the branch through a block to all others: [`ForksReply`](super::ForksReply).
    AdoptFork {
        /// The block's id, in hex.
        id: String,
    },
    /// Allows no branch through a block: [`ForksReply`](super::ForksReply).
    AvoidBlock {
        /// The block's id, in hex.
        id: String,
    },
    /// A proof of an account as of the head, as `astreum proof verify` takes it.
    ProveAccount {
        /// Its key in hex, or `me`.
        account: String,
    },
    /// Damaged files that cold storage has set aside: a list of [`SetAsideReply`].
    Damaged {
        /// The absolute path of the directory that is meant. A node with another one refuses.
        directory: String,
        /// Whether they are removed, with the lists of atoms lost in them.
        #[serde(default)]
        clear: bool,
    },
    /// Stops the node: null, as soon as it has begun.
    Stop {},
}

/// Damaged files that were set aside together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetAsideReply {
    /// Number of the incident.
    pub number: u64,
    /// Names of the files below `damaged`, the report aside.
    pub files: Vec<String>,
    /// Their length in bytes.
    pub bytes: u64,
    /// Kinds and places of the damage.
    pub problems: Vec<String>,
    /// Atoms that are still missing and whose ids are known.
    pub missing: u64,
    /// Atoms or parts of files that were lost without a known id.
    pub unknown: u64,
}

/// What a handler says when it cannot do what was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ErrorReply {
    /// Why, and what to do.
    pub error: String,
    /// The atom that nobody had, in hex, where that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// Whether a list is too large to be fetched as one; its atoms can be asked for one by one.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub too_large: bool,
    /// Whether the node is shutting down, so that there is no answer.
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
    /// The atom is not here and nobody who was asked had it.
    #[must_use]
    pub fn missing(id: &AtomId) -> Self {
        Self {
            error: format!("atom {id} was not found here or at any peer"),
            missing: Some(id.to_string()),
            too_large: false,
            stopping: false,
        }
    }
}

/// The reply to one request: a result of the kind that the request names.
pub type Reply = Result<serde_json::Value, ErrorReply>;

/// Answers requests; called on the control socket's threads, several at a time.
pub trait Handler: Send + Sync {
    /// Answers one request. May wait, but not for ever; once `gone` is set, the caller has closed
    /// its connection or the node stops, and the answer is of no use.
    fn handle(&self, request: Request, gone: &Arc<AtomicBool>) -> Reply;
}

/// How a node is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StatusReply {
    /// The version of the program.
    pub version: String,
    /// The relay's public key, in hex.
    pub public_key: String,
    /// The socket's own address.
    pub listen_address: String,
    /// The address that others are told, once it is known.
    pub advertised_address: Option<String>,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Identifier of the chain.
    pub chain_id: u64,
    /// How many peers are known.
    pub peers: u64,
    /// How many atoms are in the hot store.
    pub hot_atoms: u64,
    /// Bytes they take.
    pub hot_bytes: u64,
    /// Bytes they may take.
    pub hot_limit_bytes: u64,
    /// Whether a `put` survives a restart.
    pub durable: bool,
    /// Whether cold storage refuses writes; why is in `problems`.
    #[serde(default)]
    pub refuses_writes: bool,
    /// How many atoms and lists are advertised.
    pub advertisements: u64,
    /// Difficulty that this node asks of messages.
    pub difficulty: u8,
    /// Id of the chain's head, in hex, if there is one.
    pub latest_block: Option<String>,
    /// The configured seeds.
    #[serde(default)]
    pub seeds: Vec<SeedReply>,
    /// Seconds since the time of the chain's head, if there is one.
    #[serde(default)]
    pub head_age_seconds: Option<u64>,
    /// The chain that is followed.
    #[serde(default)]
    pub chain: ChainReply,
    /// The validator, if this node is one.
    #[serde(default)]
    pub validator: Option<ProducerReply>,
    /// What is configured and may not be what its owner wants, a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Counters, by name.
    pub counters: BTreeMap<String, u64>,
    /// What an operator has to see to.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Whether blocks are not produced, or not stored, although they should be; `problems` says why.
    #[serde(default)]
    pub halted: bool,
}

/// A configured seed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SeedReply {
    /// Its name and port.
    pub name: String,
    /// The addresses that the name has.
    pub addresses: Vec<String>,
    /// Reason why the last lookup found no address.
    pub error: Option<String>,
}

impl SeedReply {
    /// Returns the line for people.
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

/// How a validator is doing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProducerReply {
    /// Its public key, in hex.
    pub public_key: String,
    /// What it is doing, or why it waits.
    pub activity: String,
    /// Whether it makes no blocks although it should; `problems` says why.
    pub halted: bool,
    /// Blocks that it made since it started.
    pub blocks_made: u64,
    /// Blocks that were not found in time.
    pub blocks_late: u64,
    /// Transactions in the mempool.
    pub pool_transactions: u64,
    /// Those of them that wait for data.
    #[serde(default)]
    pub pool_waiting: u64,
    /// Their bytes.
    pub pool_bytes: u64,
    /// Transactions that were refused.
    pub refused: u64,
    /// The latest of those, newest last.
    pub refusals: Vec<RefusalReply>,
}

/// A transaction that was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefusalReply {
    /// Its id, in hex.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// A peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerReply {
    /// Its public key, in hex.
    pub public_key: String,
    /// Where it is reached.
    pub address: String,
    /// Leading bits that its key shares with ours.
    pub bucket: u16,
    /// Seconds since its last sign of life.
    pub last_seen_seconds: u64,
    /// Whether it showed that it receives at its address.
    pub proven: bool,
    /// Whether it says that it validates.
    pub is_validator: bool,
    /// Difficulty that it asks of messages.
    pub difficulty: u8,
    /// The head that it named last, in hex.
    pub latest_block: Option<String>,
    /// How many bad blocks it has offered.
    #[serde(default)]
    pub bad_blocks: u64,
}

/// Something that is advertised.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdvertisementReply {
    /// Its id, in hex.
    pub id: String,
    /// Whether it is a whole list.
    pub list: bool,
    /// Seconds until it ends; null until it is withdrawn.
    pub expires_seconds: Option<u64>,
}

/// Somebody who has an atom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProviderReply {
    /// Its public key, in hex.
    pub public_key: String,
    /// Where it is reached.
    pub address: String,
    /// Seconds until it is forgotten.
    pub expires_seconds: u64,
}

/// An atom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AtomReply {
    /// Its id, in hex.
    pub id: String,
    /// `symbol`, `bytes` or `list`.
    pub kind: String,
    /// The id of the next atom, in hex.
    pub next: String,
    /// Its data, in hex.
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

/// Some of a chain's atoms.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListReply {
    /// Their stored forms, in hex, in order.
    pub atoms: Vec<String>,
    /// Where to go on, in hex; 64 zeros at the chain's end.
    pub next: String,
}

/// Atoms that were kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PutReply {
    /// Their ids, in hex, in order.
    pub ids: Vec<String>,
    /// Whether they survive a restart of the node.
    pub durable: bool,
}

/// What an expression gave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EvalReply {
    /// The value as text.
    pub text: String,
    /// The value exactly: `{"sym": …}`, `{"bytes": hex}` or `{"list": […]}`.
    pub expr: serde_json::Value,
    /// What the meter charged.
    pub used: u64,
    /// Whether the value is an error.
    pub is_error: bool,
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The bytes that hex digits of either case stand for.
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

/// The line, without its newline, that answers a line with a request.
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

/// What a reply line says.
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
