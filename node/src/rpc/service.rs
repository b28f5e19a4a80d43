//! Methods of the control socket: one table of requests and results, from which the request types,
//! the [`Service`] trait and the choice of its method are made.

use super::caller::Caller;
use super::chain::{
    AccountReply, BlockReply, SendReply, TransactionReply, TransactionStatusReply, ValidatorsReply,
};
use super::error::{ErrorKind, RpcError};
use super::forks::ForksReply;
use super::history::HistoryReply;
use super::message::{Answer, Call, CallId, parse_call, request_message};
use super::protocol::{
    AdvertisementReply, AtomReply, BackupReply, EvalReply, ListReply, PeerReply, ProviderReply,
    PutReply, SentReply, StatusReply, StoredReply,
};
use super::pruning::{PinReply, PinnedReply, PruneReply};
use super::reload::ReloadReply;
use super::schema::{Field, MethodSchema, Schema, Types, document};
use super::subscription::{self, LogReply};
use super::text::{self, AccountName, Hex, LogLevel, Topic};
use crate::query::{AccountProof, BlockAt};
use crate::store::cold::SetAside;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::crypto::PublicKey;
use core::net::SocketAddr;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Request of one method, by its parameters.
pub trait Method: Serialize + DeserializeOwned {
    /// Name of the method.
    const NAME: &'static str;
    /// Result of the method.
    type Reply: Serialize + DeserializeOwned;
}

macro_rules! methods {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $variant:ident {
            $(
                $(#[doc = $field_doc:literal])+
                $(#[serde($($attribute:tt)*)])?
                $field:ident: $type:ty,
            )*
        } -> $reply:ty;
    )+) => {
        /// Requests, one type for each method.
        pub mod request {
            use super::*;

            $(
                $(#[doc = $doc])+
                #[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
                #[serde(deny_unknown_fields)]
                pub struct $variant {
                    $(
                        $(#[doc = $field_doc])+
                        $(#[serde($($attribute)*)])?
                        pub $field: $type,
                    )*
                }

                impl Method for $variant {
                    const NAME: &'static str = stringify!($name);
                    type Reply = $reply;
                }
            )+
        }

        /// Request of any method.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Request {
            $(
                $(#[doc = $doc])+
                $variant(request::$variant),
            )+
        }

        impl Request {
            /// Reads the parameters of a call.
            ///
            /// # Errors
            /// Fails if the method is unknown, or its parameters are not valid.
            pub(super) fn parse(call: &Call<'_>) -> Result<Self, RpcError> {
                match &*call.method {
                    $(request::$variant::NAME => call.params().map(Self::$variant),)+
                    other => Err(unknown_method(other)),
                }
            }

            /// Returns the name of its method.
            #[must_use]
            pub const fn method(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => request::$variant::NAME,)+
                }
            }

            /// Returns its message.
            ///
            /// # Errors
            /// Fails if a parameter cannot be written as JSON.
            pub fn to_message(&self, id: u64) -> Result<Vec<u8>, serde_json::Error> {
                match self {
                    $(Self::$variant(params) => request_message(id, self.method(), params),)+
                }
            }

            /// Calls its method and returns the message that answers it.
            pub(super) fn answer(self, service: &dyn Service, id: &CallId, caller: &Caller) -> Answer {
                match self {
                    $(Self::$variant(params) => Answer::new(id, &service.$name(params, caller)),)+
                }
            }
        }

        /// Returns the OpenRPC document of all methods and types.
        #[must_use]
        pub fn schema() -> serde_json::Value {
            let types = &mut Types::new();
            let methods = vec![$(MethodSchema {
                name: request::$variant::NAME,
                doc: concat!($($doc),+),
                params: vec![$(Field {
                    name: stringify!($field),
                    doc: concat!($($field_doc),+),
                    is_required: !concat!($(stringify!($($attribute)*))?).contains("default"),
                    schema: <$type as Schema>::schema(types),
                }),*],
                result: <$reply as Schema>::schema(types),
            }),+];
            subscription::add_types(types);
            document(methods, core::mem::take(types))
        }

        /// Methods of a node, independent of the transport. Called on several threads at a time.
        ///
        /// A method may wait for a bounded time; once its caller is gone, the answer is not needed.
        pub trait Service: Send + Sync {
            /// Returns whether nothing can delay the answer to a request: it neither waits nor reads
            /// the disk, and takes microseconds.
            fn is_quick(&self, _request: &Request) -> bool {
                false
            }

            $(
                $(#[doc = $doc])+
                ///
                /// # Errors
                /// Fails if the node rejects the request or cannot carry it out.
                fn $name(
                    &self,
                    params: request::$variant,
                    caller: &Caller,
                ) -> Result<$reply, RpcError>;
            )+
        }

        /// [`Service`] with some of the methods; the others are refused as unknown.
        pub trait PartialService: Send + Sync {
            /// Same as [`Service::is_quick`].
            fn is_quick(&self, _request: &Request) -> bool {
                false
            }

            $(
                $(#[doc = $doc])+
                ///
                /// # Errors
                /// Fails if the node rejects the request or cannot carry it out.
                fn $name(
                    &self,
                    _params: request::$variant,
                    _caller: &Caller,
                ) -> Result<$reply, RpcError> {
                    Err(unknown_method(request::$variant::NAME))
                }
            )+
        }

        impl<T: PartialService> Service for T {
            fn is_quick(&self, request: &Request) -> bool {
                PartialService::is_quick(self, request)
            }

            $(
                fn $name(
                    &self,
                    params: request::$variant,
                    caller: &Caller,
                ) -> Result<$reply, RpcError> {
                    PartialService::$name(self, params, caller)
                }
            )+
        }
    };
}

methods! {
    /// Returns the status of the node.
    status: Status {} -> StatusReply;

    /// Lists known peers.
    peers: Peers {} -> Vec<PeerReply>;

    /// Returns one atom, fetched if necessary.
    get: Get {
        /// Id of the atom.
        #[serde(with = "text")]
        id: AtomId,
    } -> AtomReply;

    /// Returns as many atoms of a list as fit, or less if some have to be fetched.
    get_list: GetList {
        /// Id of the first atom.
        #[serde(with = "text")]
        id: AtomId,
    } -> ListReply;

    /// Stores atoms.
    put: Put {
        /// Stored forms of the atoms in hex.
        #[serde(with = "text")]
        atoms: Vec<Atom>,
    } -> PutReply;

    /// Returns a list's atoms, fetched if necessary, in a transfer that precedes the result.
    get_atoms: GetAtoms {
        /// Id of the first atom.
        #[serde(with = "text")]
        id: AtomId,
        /// Number that the transfer will have.
        transfer: u32,
        /// `true` to be notified of progress while atoms are fetched.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        progress: bool,
    } -> SentReply;

    /// Stores the atoms of a transfer that follows the request.
    put_atoms: PutAtoms {
        /// Number of the transfer.
        transfer: u32,
    } -> StoredReply;

    /// Advertises an atom to the closest peers periodically.
    advertise: Advertise {
        /// Id of the atom.
        #[serde(with = "text")]
        id: AtomId,
        /// `true` to advertise the whole list that starts with the atom.
        #[serde(default)]
        list: bool,
        /// Seconds until the advertisement ends; indefinite if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_seconds: Option<u64>,
    } -> ();

    /// Advertises lists to the closest peers periodically, indefinitely.
    advertise_lists: AdvertiseLists {
        /// Ids of the first atoms.
        #[serde(with = "text")]
        ids: Vec<AtomId>,
    } -> ();

    /// Lists the objects that users advertise.
    advertised: Advertised {} -> Vec<AdvertisementReply>;

    /// Ends an advertisement: `true` if there was one.
    withdraw: Withdraw {
        /// Id of the atom.
        #[serde(with = "text")]
        id: AtomId,
    } -> bool;

    /// Removes a peer: `true` if it was known.
    remove_peer: RemovePeer {
        /// Public key of the peer.
        #[serde(with = "text")]
        key: PublicKey,
        /// `true` to drop its packets from now on.
        #[serde(default)]
        ban: bool,
    } -> bool;

    /// Ends a ban: `true` if there was one.
    unban_peer: UnbanPeer {
        /// Public key of the peer.
        #[serde(with = "text")]
        key: PublicKey,
    } -> bool;

    /// Starts a handshake with an address: the resolved address.
    connect: Connect {
        /// `host:port` or `[ipv6]:port`.
        address: String,
    } -> SocketAddr;

    /// Evaluates one expression over the node's storage.
    eval: Eval {
        /// Text of the expression.
        source: String,
        /// Limit of the meter; no limit if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
        /// Maximum number of seconds for all fetches together; 30 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fetch_seconds: Option<u64>,
    } -> EvalReply;

    /// Lists known providers of an atom.
    providers: Providers {
        /// Id of the atom.
        #[serde(with = "text")]
        id: AtomId,
    } -> Vec<ProviderReply>;

    /// Returns a block.
    block: Block {
        /// `head`, a height, or an id.
        #[serde(with = "text")]
        at: BlockAt,
        /// Number of its transactions to list, at most 5,000: higher values count as 5,000.
        #[serde(default)]
        transactions: u32,
        /// Number of its transactions to skip.
        #[serde(default)]
        skip: u32,
    } -> BlockReply;

    /// Returns blocks from one backwards.
    blocks: Blocks {
        /// First block: `head`, a height, or an id.
        #[serde(with = "text")]
        from: BlockAt,
        /// Number of blocks, at most 1,000: higher values count as 1,000. The next request starts
        /// at `previous` of the last block.
        count: u32,
    } -> Vec<BlockReply>;

    /// Returns an account as of the head.
    account: Account {
        /// Key of the account, or `me`.
        #[serde(with = "text")]
        account: AccountName,
    } -> AccountReply;

    /// Returns transactions of the chain that meet all conditions, the newest first. Needs the index
    /// of `transaction_index`.
    history: History {
        /// Key of an account that is sender or recipient, or `me`.
        #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
        account: Option<AccountName>,
        /// Key of the sender, or `me`.
        #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
        sender: Option<AccountName>,
        /// Key of the recipient, or `me`.
        #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
        recipient: Option<AccountName>,
        /// Lowest height of the block.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_height: Option<u64>,
        /// Highest height of the block.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to_height: Option<u64>,
        /// First bytes of the data, 32 at most.
        #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
        data_prefix: Option<Hex>,
        /// Maximum number of transactions, from 1 to 500; 50 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Cursor of the page before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    } -> HistoryReply;

    /// Returns validators and proposer schedule.
    validators: Validators {
        /// Number of slots of the schedule, at most 10,000: higher values count as 10,000.
        slots: u32,
    } -> ValidatorsReply;

    /// Stores, advertises and announces a signed transaction.
    send_transaction: SendTransaction {
        /// Id of the transaction.
        #[serde(with = "text")]
        id: AtomId,
        /// Its atoms in stored form in hex.
        #[serde(with = "text")]
        atoms: Vec<Atom>,
        /// `true` to only check it.
        #[serde(default)]
        dry_run: bool,
        /// `true` to send it even to a public key that is known as a relay key.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        force: bool,
    } -> SendReply;

    /// Advertises and announces a transaction again that this node or a peer has.
    resend_transaction: ResendTransaction {
        /// Id of the transaction.
        #[serde(with = "text")]
        id: AtomId,
    } -> SendReply;

    /// Returns the contents of a transaction.
    transaction: Transaction {
        /// Id of the transaction.
        #[serde(with = "text")]
        id: AtomId,
    } -> TransactionReply;

    /// Returns the state of a transaction.
    transaction_status: TransactionStatus {
        /// Id of the transaction.
        #[serde(with = "text")]
        id: AtomId,
        /// Maximum number of seconds to wait until it is in a block, or until that block is safe:
        /// at most 30, higher values count as 30.
        #[serde(default)]
        wait_seconds: u64,
        /// `true` to wait until its block is safe.
        #[serde(default)]
        until_safe: bool,
    } -> TransactionStatusReply;

    /// Returns forks of the chain, and the operator's decisions.
    forks: Forks {} -> ForksReply;

    /// Prefers the branch through a block to all others.
    adopt_fork: AdoptFork {
        /// Id of the block.
        #[serde(with = "text")]
        id: AtomId,
    } -> ForksReply;

    /// Rejects all branches through a block.
    avoid_block: AvoidBlock {
        /// Id of the block.
        #[serde(with = "text")]
        id: AtomId,
    } -> ForksReply;

    /// Returns a proof of an account as of the head, in the format of `astreum proof verify`.
    prove_account: ProveAccount {
        /// Key of the account, or `me`.
        #[serde(with = "text")]
        account: AccountName,
    } -> AccountProof;

    /// Lists damaged files that cold storage has set aside.
    damaged: Damaged {
        /// Absolute path of the cold storage directory. A node with another one refuses.
        directory: String,
        /// `true` to remove them, with the lists of atoms lost in them.
        #[serde(default)]
        clear: bool,
    } -> Vec<SetAside>;

    /// Pins an object, so that pruning keeps it and all that it leads to.
    pin: Pin {
        /// Id of its first atom.
        #[serde(with = "text")]
        id: AtomId,
        /// Number of a transfer to be notified of progress; it has no bytes, and precedes the result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transfer: Option<u32>,
    } -> PinnedReply;

    /// Ends the pin of an object: `true` if there was one.
    unpin: Unpin {
        /// Id of its first atom.
        #[serde(with = "text")]
        id: AtomId,
    } -> bool;

    /// Lists pinned objects, in the order of their ids.
    pins: Pins {
        /// Id after which the list begins; from the first one if absent.
        #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
        after: Option<AtomId>,
        /// Maximum number of pins; at most 4,096 are listed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<u64>,
    } -> Vec<PinReply>;

    /// Removes from cold storage what is neither needed by the chain nor pinned.
    prune: Prune {
        /// Real path of the directory, to be sure that it is the one of this node.
        directory: String,
        /// `true` to count only.
        #[serde(default)]
        dry_run: bool,
        /// `true` to record first that everything that users want to keep is pinned.
        #[serde(default)]
        accept_unpinned: bool,
    } -> PruneReply;

    /// Copies cold storage and the files of the chain to a directory of the node's machine.
    back_up: BackUp {
        /// Absolute path of the directory, which is created, or is empty.
        directory: String,
    } -> BackupReply;

    /// Returns the latest warnings and errors of the log, oldest first.
    recent_warnings: RecentWarnings {} -> Vec<LogReply>;

    /// Returns metrics in the text format of Prometheus.
    metrics: Metrics {} -> String;

    /// Reads the configuration again, and applies what a running node can change.
    reload_config: ReloadConfig {} -> ReloadReply;

    /// Starts a subscription on a WebSocket: its number in the notifications that follow.
    subscribe: Subscribe {
        /// `heads`, `reorganizations`, `transaction` or `log`.
        #[serde(with = "text")]
        topic: Topic,
        /// Id of the transaction.
        #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
        id: Option<AtomId>,
        /// Least severe level of the log lines; `info` if absent.
        #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
        level: Option<LogLevel>,
    } -> u64;

    /// Ends a subscription: `true` if there was one.
    unsubscribe: Unsubscribe {
        /// Number of the subscription.
        subscription: u64,
    } -> bool;

    /// Permits all methods to a WebSocket, as the header of a request does.
    authenticate: Authenticate {
        /// Content of the file of `rpc_token_file`.
        token: String,
    } -> ();

    /// Stops the node; answers as soon as the shutdown has begun.
    stop: Stop {} -> ();
}

fn unknown_method(name: &str) -> RpcError {
    let message = format!(
        "unknown method {:?}",
        name.chars().take(60).collect::<String>()
    );
    RpcError::new(ErrorKind::UnknownMethod, message)
}

impl Request {
    /// Parses the message of a request.
    ///
    /// # Errors
    /// Fails if it is not a request, or not of a known method with valid parameters.
    pub fn from_message(message: &[u8]) -> Result<Self, RpcError> {
        let call = parse_call(message).map_err(|(_, error)| error)?;
        Self::parse(&call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maxima_that_the_node_applies_are_in_the_schema() {
        use super::super::chain::{
            MAX_BLOCKS_REPLY, MAX_SLOTS_REPLY, MAX_TRANSACTIONS_REPLY, MAX_WAIT_SECONDS,
        };
        let document = schema();
        let methods = document["methods"].as_array().unwrap();
        for (method, parameter, maximum) in [
            ("block", "transactions", u64::from(MAX_TRANSACTIONS_REPLY)),
            ("blocks", "count", MAX_BLOCKS_REPLY.into()),
            ("validators", "slots", MAX_SLOTS_REPLY.into()),
            ("transaction_status", "wait_seconds", MAX_WAIT_SECONDS),
        ] {
            let method = methods.iter().find(|it| it["name"] == method).unwrap();
            let mut parameters = method["params"].as_array().unwrap().iter();
            let found = parameters.find(|it| it["name"] == parameter).unwrap();
            let text = found["description"].as_str().unwrap().replace(',', "");
            let expected = format!("at most {maximum}");
            assert!(text.contains(&expected), "{parameter}: {text}");
        }
    }

    #[test]
    fn absent_optional_params_are_not_written_and_have_defaults() {
        let request = Request::Eval(request::Eval {
            source: "1".to_owned(),
            limit: None,
            fetch_seconds: None,
        });
        let message = request.to_message(1).unwrap();
        let expected =
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eval\",\"params\":{\"source\":\"1\"}}\n";
        assert_eq!(String::from_utf8_lossy(&message), expected);
        assert_eq!(Request::from_message(&message), Ok(request));
    }
}
