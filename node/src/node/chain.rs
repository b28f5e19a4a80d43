//! A node's answers about the chain, and transactions that it sends.
//!
//! Everything is as of the head, which may change between two calls. Atoms that are not here are
//! fetched, each call for [`QUERY_TIMEOUT`] at most; what was fetched is kept for its duration, so
//! that a small store does not make it start over.

use super::{Node, NodeError};
use crate::Patience;
use crate::chain::{ChainStatus, Head, HeadState};
use crate::clock;
use crate::net::{NetworkHandle, Stopped};
use crate::query::{self, AccountProof, BlockAt, Costs, Included, Place, QueryError, Slot, Stake};
use crate::store::{Durability, Store};
use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError};
use astreum_core::chain::confirmations::Confirmation;
use astreum_core::chain::{
    Account, Address, Block, Election, ElectionLoader, MAX_TRANSACTION_DATA_BYTES, RecordError,
    StakeLoader, TREASURY, Transaction, least_new_stake,
};
use astreum_core::consensus::mempool::{Outcome, Standing};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::wire::object::PayloadType;
use core::convert::Infallible;
use core::fmt;
use core::time::Duration;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Stakes that are read of a head that was not verified: its state may pretend to hold any number.
const MAX_TRUSTED_STAKES: u64 = 1 << 22;
/// How long one question may fetch what it needs.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a transaction is offered to others, as the reference does.
pub const TRANSACTION_LIFETIME: Duration = Duration::from_secs(900);

/// How long sending waits for this node's own validator to say what it thinks.
const JUDGEMENT_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two looks whether the node is still connected, while something waits for the chain.
const CONNECTED_INTERVAL: Duration = Duration::from_millis(250);

/// An account as of the head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountState {
    /// The head.
    pub head: Head,
    /// The record's id.
    pub id: AtomId,
    /// The account.
    pub account: Account,
    /// What it has at stake.
    pub stake: Natural,
}

/// Who validates, as of the head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Validators {
    /// The head.
    pub head: Head,
    /// Everybody with a stake, the largest first.
    pub stakes: Vec<Stake>,
    /// Whose the next slots are.
    pub slots: Vec<Slot>,
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Until {
    /// The transaction is in a block.
    #[default]
    Included,
    /// Its block is safe: [`Confirmation::Safe`].
    Safe,
}

/// Where a transaction is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransactionState {
    /// In a block.
    Included(Box<Place>),
    /// In this validator's mempool, ready to be included.
    Pending {
        /// Transactions that are taken before it.
        before: usize,
        /// Ready transactions altogether.
        waiting: usize,
    },
    /// In this node's mempool, waiting for a list or an atom that it needs.
    WaitingForData {
        /// The list or atom.
        data: AtomId,
    },
    /// Being fetched or checked.
    Fetching,
    /// Announced to validators by this node, which does not validate itself.
    Announced {
        /// Validators that the last announcement went to; `None` before there was one.
        validators: Option<usize>,
    },
    /// This node announces it, and knows no validator that it could announce it to.
    Unheld,
    /// The mempool does not take it.
    Refused(String),
    /// It was not included in time.
    Expired,
    /// It was in a block whose branch was left, and could not return to the mempool.
    Abandoned {
        /// The block.
        block: AtomId,
        /// The block's height.
        height: u64,
        /// Why it did not return.
        reason: String,
    },
    /// Here or at a peer, in no block of the head's chain, and not in this node's mempool.
    Stored,
    /// No peer has it.
    Unknown,
}

impl TransactionState {
    /// Returns whether it will not change any more, unless the chain does or it is sent again.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Included(_) | Self::Refused(_) | Self::Expired | Self::Abandoned { .. }
        )
    }
}

/// A transaction that was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentTransaction {
    /// What it costs.
    pub costs: Costs,
    /// What its sender has.
    pub balance: Natural,
    /// Whether this node may put it into a block itself.
    pub own_pool: bool,
    /// How many validators were told.
    pub validators: usize,
    /// How long it is kept here.
    pub durability: Durability,
}

/// Why a transaction was not sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The chain cannot be asked.
    Query(QueryError),
    /// Its signature is wrong.
    BadSignature,
    /// It carries more data than a block takes.
    TooMuchData {
        /// Bytes.
        data_bytes: usize,
    },
    /// It is for another chain.
    OtherChain {
        /// Its chain.
        its: Natural,
        /// The head's.
        ours: Natural,
    },
    /// It is in the chain already.
    Applied {
        /// The height of its block.
        height: Natural,
    },
    /// Its sender has no account, so it has nothing to pay with.
    UnknownSender {
        /// The sender.
        sender: Address,
    },
    /// The sender cannot pay for it.
    NotEnough {
        /// What it has.
        balance: Natural,
        /// What was to be sent.
        amount: Natural,
        /// What it costs.
        costs: Box<Costs>,
    },
    /// It would be a first stake that is too small for any block.
    SmallStake {
        /// What was to be staked.
        amount: Natural,
        /// The least that can be.
        least: Natural,
    },
    /// The chain has no price for storage: no transaction can ever be in it.
    NoPrice,
    /// This node does not validate and knows nobody who does.
    NoValidator {
        /// How many peers it has.
        peers: usize,
    },
    /// This node's validator does not take it, and no other one is known.
    Refused(String),
    /// The node could not store or announce it.
    Node(NodeError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(error) => error.fmt(f),
            Self::BadSignature => f.write_str("invalid transaction signature"),
            Self::TooMuchData { data_bytes } => write!(
                f,
                "the transaction has {data_bytes} bytes of data; a block takes \
                 {MAX_TRANSACTION_DATA_BYTES}"
            ),
            Self::SmallStake { amount, least } => write!(
                f,
                "a first stake of {amount} is too small: it must be at least {least}, a millionth \
                 of all stakes"
            ),
            Self::OtherChain { its, ours } => write!(
                f,
                "the transaction is for chain {its}, and this node follows chain {ours}"
            ),
            Self::Applied { height } => write!(
                f,
                "this very transaction is in block {height} already; another counter makes \
                 another transaction"
            ),
            Self::UnknownSender { sender } => write!(
                f,
                "the sender {sender} has no account on this chain, so it has nothing to send or \
                 to pay the fee with"
            ),
            Self::NotEnough {
                balance,
                amount,
                costs,
            } => {
                let (fee, storage) = (&costs.fee, &costs.storage);
                let needed = costs.with(amount);
                let missing = needed.saturating_sub(balance);
                write!(
                    f,
                    "not enough balance: the sender has {balance} and needs {needed}, that is \
                     amount {amount}, fee {fee} and storage {storage}; {missing} is missing"
                )
            }
            Self::NoPrice => f.write_str(
                "this chain has no price for storage, since its cumulative fees are 0; no \
                 transaction can be in it",
            ),
            Self::NoValidator { peers } => write!(
                f,
                "no validator is known: this node does not validate, and none of its {peers} peers \
                 says that it does and has a head; `astreum peers --connect HOST:PORT` meets one"
            ),
            Self::Refused(why) => {
                write!(
                    f,
                    "this node's validator does not take the transaction: {why}"
                )
            }
            Self::Node(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SendError {}

impl<E: Into<QueryError>> From<E> for SendError {
    fn from(error: E) -> Self {
        Self::Query(error.into())
    }
}

impl Node {
    /// The block that `at` means.
    ///
    /// # Errors
    /// When there is no head, no such block, or an atom is nowhere.
    pub fn block(&self, at: BlockAt) -> Result<Block, QueryError> {
        let source = self.chain_source();
        match at {
            BlockAt::Id(id) => Ok(Block::read(&source, id)?),
            BlockAt::Head => Ok(Block::clone(self.head()?.block())),
            at => query::block(&source, self.head()?.id(), at),
        }
    }

    /// At most `count` blocks, from the one that `from` means backwards, each with the number of its
    /// transactions where their list is to be had.
    ///
    /// # Errors
    /// As [`Node::block`].
    pub fn blocks(
        &self,
        from: BlockAt,
        count: usize,
    ) -> Result<Vec<(Block, Option<usize>)>, QueryError> {
        let first = self.block(from)?;
        let source = self.chain_source();
        let blocks = query::blocks(&source, first, count)?;
        let with_count = |block: Block| {
            let count = query::transactions(&source, &block).ok();
            (block, count.map(|ids| ids.len()))
        };
        Ok(blocks.into_iter().map(with_count).collect())
    }

    /// How many transactions a block carries, and `count` of them after the first `skip`.
    ///
    /// # Errors
    /// When an atom is nowhere.
    pub fn included(
        &self,
        block: &Block,
        skip: usize,
        count: usize,
    ) -> Result<(usize, Vec<Included>), QueryError> {
        query::included(&self.chain_source(), block, skip, count)
    }

    /// The account with this address.
    ///
    /// # Errors
    /// When there is no head, no such account, or an atom is nowhere.
    pub fn account(&self, address: &Address) -> Result<AccountState, QueryError> {
        let (source, head) = (self.chain_source(), self.head()?);
        let block = head.block();
        let found = query::account(&source, block.accounts, address)?;
        let (id, account) = found.ok_or_else(|| QueryError::UnknownAccount {
            account: *address,
            height: block.height.clone(),
        })?;
        let stake = query::stake(&source, block.accounts, address)?;
        Ok(AccountState {
            head,
            id,
            account,
            stake,
        })
    }

    /// The account of this node's validation key.
    ///
    /// # Errors
    /// When it has none.
    pub fn own_address(&self) -> Result<Address, QueryError> {
        let secret = self.config().validation_secret_key.as_ref();
        let secret = secret.ok_or(QueryError::NoOwnAccount)?;
        let key = SigningKey::from_seed(secret.expose()).verifying_key();
        Ok(Address::from(key))
    }

    /// Who validates, and whose the next `slots` slots are.
    ///
    /// # Errors
    /// When there is no head, or an atom is nowhere.
    pub fn validators(&self, slots: usize) -> Result<Validators, QueryError> {
        let (source, head) = (self.chain_source(), self.head()?);
        let block = head.block();
        let now = Natural::from(clock::unix_time().as_secs());
        let election = self.election(&source, &head)?;
        let (stakes, slots) = query::schedule(&election, block, &now, slots);
        Ok(Validators {
            head,
            stakes,
            slots,
        })
    }

    /// Reads what decides about the slots after the head. The stakes of the last call are read on
    /// from; those of a head that was not verified are bounded.
    fn election(&self, source: &ChainSource, head: &Head) -> Result<Election, QueryError> {
        if head.state() == HeadState::Trusted {
            let mut loader = ElectionLoader::new(head.block(), Some(MAX_TRUSTED_STAKES));
            loop {
                if let Some(election) = loader.run(source, None, u32::MAX)? {
                    return Ok(election);
                }
            }
        }
        let elections = self.elections.lock();
        // What was read before a panic is whole: it is replaced, not changed.
        let mut elections = elections.unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(election) = elections.load(source, head.block(), u32::MAX)? {
                return Ok(election);
            }
        }
    }

    /// A proof of the account with this address, or that there is none.
    ///
    /// # Errors
    /// When there is no head, or an atom is nowhere.
    pub fn prove_account(&self, address: &Address) -> Result<AccountProof, QueryError> {
        let (source, head) = (self.chain_source(), self.head()?);
        let block = head.block();
        AccountProof::prove(&source, block, address)
    }

    /// The transaction with this id.
    ///
    /// # Errors
    /// When nobody has it, or it is none.
    pub fn transaction(&self, id: AtomId) -> Result<Transaction, QueryError> {
        match Transaction::read(&self.chain_source(), id) {
            Err(RecordError::Source(SourceError::Missing(missing))) if missing == id => {
                Err(QueryError::UnknownTransaction(id))
            }
            read => Ok(read?),
        }
    }

    /// Where a transaction is, and the head that this is as of.
    ///
    /// # Errors
    /// When an atom of the chain is nowhere.
    pub fn transaction_state(
        &self,
        id: AtomId,
    ) -> Result<(TransactionState, Option<Head>), QueryError> {
        let source = self.chain_source();
        let head = self.chain().head();
        if let Some(head) = &head
            && let Some(place) = query::find(&source, head.block(), id)?
        {
            return Ok((
                TransactionState::Included(Box::new(place)),
                Some(head.clone()),
            ));
        }
        let state = match judged(&self.chain().status(), id) {
            Some(judged) => judged,
            None if source.atom(&id).is_ok() => TransactionState::Stored,
            None => TransactionState::Unknown,
        };
        Ok((state, head))
    }

    /// Returns how firmly a block of the head's chain stands, such as that of a transaction.
    ///
    /// # Errors
    /// When there is no head, or an atom is nowhere.
    pub fn confirmation(&self, block: &Block) -> Result<Confirmation, QueryError> {
        let (source, head) = (self.chain_source(), self.head()?);
        let parent = match block.is_genesis() {
            true => block.clone(),
            false => Block::read(&source, block.previous)?,
        };
        let root = StakeLoader::find_root(&source, parent.accounts)?;
        let lock = || self.stakes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().clone();
        // Only what differs from the last question's is read.
        let mut loader = StakeLoader::new(known, root);
        if head.state() == HeadState::Trusted {
            loader = loader.with_max_stakes(MAX_TRUSTED_STAKES);
        }
        let stakes = loop {
            if let Some(stakes) = loader.run(&source, u32::MAX)? {
                break stakes;
            }
        };
        // Not held while atoms are fetched: another question would wait for them.
        lock().clone_from(&stakes);
        let now = clock::unix_time().as_secs();
        query::confirmation(&source, &stakes, head.block(), block, now)
    }

    /// As [`Node::transaction_state`]; waits until the transaction is in a block, or its block is
    /// safe, or it is refused or expired, at most `timeout`.
    ///
    /// # Errors
    /// As [`Node::transaction_state`]; [`QueryError::Stopping`] when the node stops meanwhile.
    pub fn wait_for_transaction(
        &self,
        id: AtomId,
        until: Until,
        timeout: Duration,
    ) -> Result<(TransactionState, Option<Head>), QueryError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let (state, head) = self.transaction_state(id)?;
            let left = deadline.map_or(timeout, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if self.is_reached(&state, until)? || left.is_zero() {
                return Ok((state, head));
            }
            if !self.wait_for_news(id, &head, left)? {
                return Ok((state, head));
            }
        }
    }

    fn is_reached(&self, state: &TransactionState, until: Until) -> Result<bool, QueryError> {
        let TransactionState::Included(place) = state else {
            return Ok(state.is_final());
        };
        Ok(match until {
            Until::Included => true,
            Until::Safe => {
                let state = self.confirmation(&place.block)?;
                !matches!(state, Confirmation::Included { .. })
            }
        })
    }

    /// Waits until the head is another one or the mempool has done with the transaction; `false` when
    /// nothing of that comes within `timeout`.
    fn wait_for_news(
        &self,
        id: AtomId,
        head: &Option<Head>,
        timeout: Duration,
    ) -> Result<bool, QueryError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let left = deadline.map_or(timeout, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            let news = self
                .chain()
                .wait_until(left.min(CONNECTED_INTERVAL), |status| {
                    let judged = judged(status, id);
                    status.head != *head || judged.is_some_and(|state| state.is_final())
                });
            if news.is_some() {
                return Ok(true);
            }
            if self.handle().is_err() {
                return Err(QueryError::Stopping);
            }
            if left.is_zero() || Patience::in_force().is_over() {
                return Ok(false);
            }
        }
    }

    /// What a transaction costs and what its sender has, if it can be in the next block.
    ///
    /// # Errors
    /// With what keeps it from that.
    pub fn check_transaction(
        &self,
        transaction: &Transaction,
    ) -> Result<(Costs, Natural), SendError> {
        let data_bytes = transaction.data.len();
        if data_bytes > MAX_TRANSACTION_DATA_BYTES {
            return Err(SendError::TooMuchData { data_bytes });
        }
        if transaction.verify_signature().is_err() {
            return Err(SendError::BadSignature);
        }
        let source = self.chain_source();
        let state = self.head()?;
        let head = state.block();
        if transaction.chain_id != head.chain_id {
            return Err(SendError::OtherChain {
                its: transaction.chain_id.clone(),
                ours: head.chain_id.clone(),
            });
        }
        if let Some(place) = query::find(&source, head, transaction.id())? {
            let height = place.block.height.clone();
            return Err(SendError::Applied { height });
        }
        let sender = *transaction.sender();
        let account = query::account(&source, head.accounts, &sender)?;
        let (_, account) = account.ok_or(SendError::UnknownSender { sender })?;
        let costs = query::costs(head, transaction).ok_or(SendError::NoPrice)?;
        // To itself nothing is moved, so nothing has to be there.
        let amount = match sender == transaction.recipient {
            true => Natural::ZERO,
            false => transaction.amount.clone(),
        };
        let balance = account.balance;
        if balance < costs.with(&amount) {
            return Err(SendError::NotEnough {
                balance,
                amount,
                costs: Box::new(costs),
            });
        }
        let is_new = || query::stake(&source, head.accounts, &sender).map(|it| it.is_zero());
        if transaction.recipient == TREASURY && is_new()? {
            let least = least_new_stake(self.election(&source, &state)?.stakes.total());
            if amount < least {
                return Err(SendError::SmallStake { amount, least });
            }
        }
        Ok((costs, balance))
    }

    /// Stores a signed transaction, offers it to others and tells validators of it, this node
    /// itself among them if it is one.
    ///
    /// # Errors
    /// When it cannot be in the next block, or nobody can be told.
    pub fn send_transaction(
        &self,
        transaction: &Transaction,
    ) -> Result<SentTransaction, SendError> {
        let (costs, balance) = self.check_transaction(transaction)?;
        let own_pool = self.chain().status().validator.is_some();
        let handle = self.handle().map_err(SendError::Node)?;
        let peers = handle.peers().map_err(not_connected)?;
        let is_told =
            |peer: &super::Peer| peer.is_proven && peer.is_validator && peer.head.is_some();
        if !own_pool && !peers.iter().any(is_told) {
            let peers = peers.len();
            return Err(SendError::NoValidator { peers });
        }
        let stored = self.store.put_all(transaction.to_atoms());
        let durability = stored.map_err(|error| SendError::Node(error.into()))?;
        for id in [transaction.id(), transaction.body_hash()] {
            self.advertise(id, PayloadType::LIST, Some(TRANSACTION_LIFETIME))
                .map_err(SendError::Node)?;
        }
        let told = handle.announce_transaction(transaction.id());
        let validators = told.map_err(not_connected)?;
        if own_pool || validators > 0 {
            self.submit(transaction.id(), own_pool && validators == 0)?;
        } else {
            let peers = peers.len();
            return Err(SendError::NoValidator { peers });
        }
        Ok(SentTransaction {
            costs,
            balance,
            own_pool,
            validators,
            durability,
        })
    }

    /// Announces a transaction again that is known here or to a peer: as [`Node::send_transaction`],
    /// after it expired, was refused or was in a branch that was left.
    ///
    /// # Errors
    /// As [`Node::send_transaction`], and when no peer has it.
    pub fn resend_transaction(&self, id: AtomId) -> Result<SentTransaction, SendError> {
        let transaction = self.transaction(id)?;
        self.send_transaction(&transaction)
    }

    /// Gives a transaction to this node's mempool. If no validator was told, waits for what it says,
    /// for [`JUDGEMENT_TIMEOUT`] at most.
    fn submit(&self, id: AtomId, is_only: bool) -> Result<(), SendError> {
        // What was refused and is sent again is judged again.
        let before = self.chain().status().mempool.refused;
        self.submit_transaction(id);
        if !is_only {
            return Ok(());
        }
        let verdict = |status: &ChainStatus| match judged(status, id) {
            Some(TransactionState::Refused(_)) if status.mempool.refused == before => None,
            judged => judged,
        };
        let status = self
            .chain()
            .wait_until(JUDGEMENT_TIMEOUT, |status| verdict(status).is_some());
        match status.as_ref().and_then(verdict) {
            Some(TransactionState::Refused(why)) => Err(SendError::Refused(why)),
            _ => Ok(()),
        }
    }

    fn head(&self) -> Result<Head, QueryError> {
        self.chain().head().ok_or(QueryError::NoHead)
    }

    fn chain_source(&self) -> ChainSource {
        ChainSource {
            store: self.store.clone(),
            network: self.handle().ok().filter(|_| self.waits()),
            fetched: Mutex::default(),
            patience: Patience::ENDLESS.within(QUERY_TIMEOUT),
        }
    }
}

/// Returns what this node's mempool says of a transaction that is in no block; `None` if nothing.
fn judged(status: &ChainStatus, id: AtomId) -> Option<TransactionState> {
    let is_validator = status.validator.is_some();
    let standing = status.mempool.standing(&id)?;
    Some(match standing {
        Standing::Ready { before, ready } if is_validator => TransactionState::Pending {
            before,
            waiting: ready,
        },
        // One that does not validate holds what its own users sent.
        Standing::Ready { .. } => match status.mempool.own.get(&id).copied().flatten() {
            Some(0) => TransactionState::Unheld,
            validators => TransactionState::Announced { validators },
        },
        Standing::Waiting { data, .. } => TransactionState::WaitingForData { data },
        Standing::Fetching => TransactionState::Fetching,
        Standing::Left(Outcome::Refused(refusal)) => TransactionState::Refused(refusal.to_string()),
        Standing::Left(Outcome::Expired) => TransactionState::Expired,
        Standing::Left(Outcome::Abandoned {
            block,
            height,
            reason,
        }) => TransactionState::Abandoned {
            block,
            height,
            reason: reason.to_string(),
        },
    })
}

fn not_connected(Stopped: Stopped) -> SendError {
    SendError::Node(NodeError::NotConnected)
}

/// A node's atoms for one question; what is not here is fetched until the question's time is up.
struct ChainSource {
    store: Store,
    network: Option<NetworkHandle>,
    fetched: Mutex<MemoryStore>,
    patience: Patience,
}

impl ChainSource {
    /// Fetches the list that starts with this atom, since records and trie nodes are lists and
    /// whoever has one has all of it; else the atom alone.
    fn fetch(&self, id: &AtomId) -> Option<Atom> {
        let network = self.network.as_ref()?;
        for kind in [PayloadType::LIST, PayloadType::ATOM] {
            let Ok(atoms) = self.patience.scope(|| network.fetch(*id, kind)) else {
                continue;
            };
            let first = atoms.first().cloned();
            let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
            fetched.extend(atoms);
            if first.is_some() {
                return first;
            }
        }
        None
    }
}

impl AtomSource for ChainSource {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        let fetched = || {
            let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
            fetched.atom(id).ok()
        };
        self.store
            .get(id)
            .or_else(fetched)
            .or_else(|| self.fetch(id))
            .ok_or(SourceError::Missing(*id))
    }
}
