//! Methods of the control socket: one table of requests and results, from which the request types,
//! the [`Service`] trait and the dispatch are made.

use super::chain::{
    AccountReply, BlockReply, SendReply, TransactionReply, TransactionStatusReply, ValidatorsReply,
};
use super::error::{ErrorKind, RpcError};
use super::forks::ForksReply;
use super::history::HistoryReply;
use super::message::{Call, CallId, parse_call, reply_message, request_message};
use super::protocol::{
    AdvertisementReply, AtomReply, BackupReply, EvalReply, ListReply, PeerReply, ProviderReply,
    PutReply, SentReply, StatusReply, StoredReply,
};
use super::pruning::{PinReply, PinnedReply, PruneReply};
use super::reload::ReloadReply;
use super::schema::{Field, MethodSchema, Schema, Types, document};
use super::subscription::{self, LogReply, Session};
use super::text::{self, AccountName, Hex, LogLevel, Topic};
use super::transfer::Transfers;
use crate::WaitLimit;
use crate::query::{AccountProof, BlockAt};
use crate::store::cold::SetAside;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::crypto::PublicKey;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Request of one method, by its parameters.
pub trait Method: Serialize + DeserializeOwned {
    /// Name of the method.
    const NAME: &'static str;
    /// Result of the method.
    type Reply: Serialize + DeserializeOwned;
}

/// Caller of a method.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    gone: Arc<AtomicBool>,
    transfers: Option<Arc<dyn Transfers>>,
    session: Option<Arc<dyn Session>>,
}

impl Caller {
    /// Creates a caller without transfers and subscriptions; it is gone once the flag is set.
    #[must_use]
    pub const fn new(gone: Arc<AtomicBool>) -> Self {
        Self {
            gone,
            transfers: None,
            session: None,
        }
    }

    /// Creates a caller that has subscriptions.
    #[must_use]
    pub const fn with_session(gone: Arc<AtomicBool>, session: Arc<dyn Session>) -> Self {
        Self {
            gone,
            transfers: None,
            session: Some(session),
        }
    }

    /// Creates a caller that sends and receives transfers.
    #[must_use]
    pub const fn with_transfers(gone: Arc<AtomicBool>, transfers: Arc<dyn Transfers>) -> Self {
        Self {
            gone,
            transfers: Some(transfers),
            session: None,
        }
    }

    /// Returns the session of the caller's connection.
    ///
    /// # Errors
    /// Fails if the transport cannot send without a request.
    pub fn session(&self) -> Result<&dyn Session, RpcError> {
        let session = self.session.as_deref();
        session.ok_or_else(|| "this connection is not a WebSocket".into())
    }

    /// Returns the transfers of the caller's connection.
    ///
    /// # Errors
    /// Fails if the transport has no transfers.
    pub fn transfers(&self) -> Result<&dyn Transfers, RpcError> {
        let transfers = self.transfers.as_deref();
        transfers.ok_or_else(|| "this connection does not carry transfers".into())
    }

    /// Returns whether the answer is not needed: the caller has closed its connection, or the node
    /// stops.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Returns the flag that is set once the caller is gone.
    #[must_use]
    pub fn gone(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.gone)
    }
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
            fn parse(call: &Call<'_>) -> Result<Self, RpcError> {
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
            fn answer(self, service: &dyn Service, id: &CallId, caller: &Caller) -> Answer {
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

    /// Returns as many atoms of a list as fit.
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
        /// Number of its transactions to list.
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
        /// Number of blocks.
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
        /// Number of slots of the schedule.
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
        /// Maximum number of seconds to wait until it is in a block, or until that block is safe.
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

/// Method that returns the schema, as OpenRPC names it.
const DISCOVER: &str = "rpc.discover";

/// Answer to a request.
pub(super) struct Answer {
    /// Message; `None` for a notification.
    pub(super) message: Option<Vec<u8>>,
    /// `true` if it is an error.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "for the counts of HTTP")
    )]
    pub(super) is_error: bool,
}

impl Answer {
    fn new(id: &CallId, reply: &Result<impl Serialize, RpcError>) -> Self {
        Self {
            message: Some(reply_message(id, reply)),
            is_error: reply.is_err(),
        }
    }
}

/// Request that was received, or the reason it is refused.
pub(super) struct Incoming {
    /// `None` for a notification.
    id: Option<CallId>,
    wanted: Result<Wanted, RpcError>,
}

enum Wanted {
    Request(Request),
    Discover,
}

impl Incoming {
    /// Reads a message.
    pub(super) fn parse(message: &[u8]) -> Self {
        let call = match parse_call(message) {
            Ok(call) => call,
            Err((id, error)) => {
                return Self {
                    id: Some(id),
                    wanted: Err(error),
                };
            }
        };
        let wanted = match &*call.method {
            DISCOVER => Ok(Wanted::Discover),
            _ => Request::parse(&call).map(Wanted::Request),
        };
        Self {
            id: call.id,
            wanted,
        }
    }

    /// Creates one that is refused, without an id.
    #[cfg(feature = "http")]
    pub(super) const fn refused(error: RpcError) -> Self {
        Self {
            id: Some(CallId::NULL),
            wanted: Err(error),
        }
    }

    /// Refuses it unless `admit` lets it pass.
    #[must_use]
    pub(super) fn admit(self, admit: impl FnOnce(&Request) -> Result<(), RpcError>) -> Self {
        let wanted = self.wanted.and_then(|wanted| match &wanted {
            Wanted::Request(request) => admit(request).map(|()| wanted),
            Wanted::Discover => Ok(wanted),
        });
        Self { wanted, ..self }
    }

    /// Returns its id; `None` for a notification.
    #[cfg(feature = "http")]
    pub(super) fn id(&self) -> Option<CallId> {
        self.id.clone()
    }

    /// Returns whether nothing can delay its answer. Requests about the session are among them, so
    /// that they take effect before the next one is read.
    #[cfg(feature = "http")]
    pub(super) fn is_quick(&self, service: &dyn Service) -> bool {
        match &self.wanted {
            Ok(Wanted::Request(
                Request::Subscribe(_) | Request::Unsubscribe(_) | Request::Authenticate(_),
            ))
            | Err(_) => true,
            Ok(Wanted::Request(request)) => service.is_quick(request),
            Ok(Wanted::Discover) => false,
        }
    }

    /// Carries it out.
    pub(super) fn answer(self, service: &dyn Service, caller: &Caller) -> Answer {
        static NULL: CallId = CallId::NULL;
        let id = self.id.as_ref().unwrap_or(&NULL);
        let answer = match self.wanted {
            Ok(Wanted::Request(request)) => {
                let wait_limit = WaitLimit::NONE.until(caller.gone());
                wait_limit.scope(|| request.answer(service, id, caller))
            }
            Ok(Wanted::Discover) => Answer::new(id, &Ok(schema())),
            Err(error) => Answer::new(id, &Err::<(), RpcError>(error)),
        };
        Answer {
            message: answer.message.filter(|_| self.id.is_some()),
            ..answer
        }
    }
}

/// Answers the message of a request; `None` for a notification.
#[must_use]
pub fn answer(service: &dyn Service, message: &[u8], caller: &Caller) -> Option<Vec<u8>> {
    Incoming::parse(message).answer(service, caller).message
}

#[cfg(test)]
mod tests {
    use super::super::MAX_MESSAGE_BYTES;
    use super::super::message::parse_reply;
    use super::*;
    use astreum_core::atom::AtomId;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// Service of a few methods.
    struct Few;

    impl PartialService for Few {
        fn get(&self, params: request::Get, _: &Caller) -> Result<AtomReply, RpcError> {
            Err(RpcError::missing(&params.id))
        }

        fn eval(&self, params: request::Eval, _: &Caller) -> Result<EvalReply, RpcError> {
            Ok(EvalReply {
                text: params.source.repeat(MAX_MESSAGE_BYTES),
                expr: Value::Null,
                used: 0,
                is_error: false,
            })
        }

        fn withdraw(&self, _: request::Withdraw, _: &Caller) -> Result<bool, RpcError> {
            Ok(true)
        }

        fn stop(&self, _: request::Stop, _: &Caller) -> Result<(), RpcError> {
            Err("no".into())
        }
    }

    fn answered(message: &str) -> Value {
        let reply = answer(&Few, message.as_bytes(), &Caller::default()).unwrap();
        serde_json::from_slice(&reply).unwrap()
    }

    fn asked(method: &str, params: &Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        answered(&message.to_string())
    }

    #[test]
    fn requests_are_dispatched_by_method() {
        let id = AtomId::new([7; 32]);
        assert_eq!(
            asked("withdraw", &json!({"id": id.to_string()})),
            json!({"jsonrpc": "2.0", "id": 1, "result": true})
        );
        assert_eq!(
            asked("stop", &json!({})),
            json!({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}})
        );
        let missing = asked("get", &json!({"id": id.to_string()}));
        assert_eq!(missing["error"]["data"]["missing"], id.to_string());
        let long = asked("eval", &json!({"source": "xx"}));
        assert_eq!(long["error"]["code"], -32_002, "{long}");
    }

    #[test]
    fn unknown_methods_and_params_have_their_codes() {
        for (method, params, code) in [
            ("fly", json!({}), -32_601),
            ("peers", json!({}), -32_601),
            ("stop", json!({"x": 1}), -32_602),
            ("stop", json!([]), -32_602),
            ("get", json!({}), -32_602),
            ("get", json!({"id": 7}), -32_602),
            ("get", json!({"id": "00"}), -32_602),
            ("block", json!({"at": "tail"}), -32_602),
            ("account", json!({"account": "you"}), -32_602),
        ] {
            let reply = asked(method, &params);
            assert_eq!(reply["error"]["code"], code, "{reply}");
        }
    }

    #[test]
    fn notifications_are_executed_without_a_reply() {
        let caller = Caller::default();
        let message = br#"{"jsonrpc":"2.0","method":"stop"}"#;
        assert_eq!(answer(&Few, message, &caller), None);
        let message = br#"{"jsonrpc":"2.0","method":"fly"}"#;
        assert_eq!(answer(&Few, message, &caller), None);
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

    proptest! {
        #[test]
        fn arbitrary_message_has_one_reply(
            message in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let reply = answer(&Few, &message, &Caller::default());
            prop_assert!(reply.is_some_and(|reply| parse_reply::<Value>(1, &reply).is_ok()));
        }
    }
}
