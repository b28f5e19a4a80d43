//! Chain queries of a node, and submission of transactions.
//!
//! Every answer is as of the head, which may change between two calls. Missing atoms are fetched,
//! for at most [`QUERY_TIMEOUT`] per call; fetched atoms are kept for the duration of the call, so
//! that a small store does not make it start over.

mod transaction;

pub use transaction::{SendError, SentTransaction, TransactionState, Until};

use super::{Node, NodeError};
use crate::WaitLimit;
use crate::chain_service::{ChainStatus, Head, HeadState};
use crate::clock;
use crate::net::{NetworkHandle, Stopped};
use crate::query::{
    self, AccountProof, BlockAt, CheckedTransaction, Included, QueryError, Slot, Stake,
};
use crate::store::Store;
use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError};
use astreum_core::chain::confirmations::Confirmation;
use astreum_core::chain::{
    Account, Address, Block, Election, ElectionLoader, RecordError, StakeLoader, Transaction,
};
use astreum_core::consensus::mempool::{Outcome, Refusal, Standing};
use astreum_core::integer::Natural;
use astreum_core::wire::object::PayloadType;
use core::convert::Infallible;
use core::time::Duration;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Maximum number of stakes read for an unverified head: its state may claim any number.
const MAX_TRUSTED_STAKES: u64 = 1 << 22;
/// Maximum time that one query may spend on fetching atoms.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(20);
/// Time that a transaction is offered to others; the same as in the reference.
pub const TRANSACTION_LIFETIME: Duration = Duration::from_secs(900);

/// Maximum time that sending waits for the verdict of this node's own validator.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(1);

/// Interval between checks that the node is still connected, while a call waits for the chain.
const CONNECTED_INTERVAL: Duration = Duration::from_millis(250);

/// State of an account as of the head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountState {
    /// Head that the state is read from.
    pub head: Head,
    /// Id of the account record.
    pub id: AtomId,
    /// Account record.
    pub account: Account,
    /// Stake of the account.
    pub stake: Natural,
}

/// Validators and proposer schedule as of the head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Validators {
    /// Head that they are read from.
    pub head: Head,
    /// All accounts with a stake, in descending order of stake.
    pub stakes: Vec<Stake>,
    /// Producers of the next slots.
    pub slots: Vec<Slot>,
}

impl Node {
    /// Returns the block that `at` refers to.
    ///
    /// # Errors
    /// Fails if there is no head or no such block, or if an atom was not found.
    pub fn block(&self, at: BlockAt) -> Result<Block, QueryError> {
        let source = self.chain_source();
        match at {
            BlockAt::Id(id) => self.explained(query::block_with_id(&source, id)),
            BlockAt::Head => Ok(Block::clone(self.head()?.block())),
            BlockAt::Height(height) => {
                let (head, chain_id) = (self.head()?, self.settings().chain_id);
                let cold = self.store().cold().filter(|_| height <= head.height());
                let pruned = cold.and_then(|cold| cold.header_at(chain_id, height).ok()?);
                match pruned {
                    Some(block) => Ok(block),
                    None => self.explained(query::block(&source, head.id(), at)),
                }
            }
        }
    }

    /// Returns at most `count` blocks from `from` backwards, each with the number of its
    /// transactions, or `None` if their list is not available.
    ///
    /// # Errors
    /// Same as [`Node::block`].
    pub fn blocks(
        &self,
        from: BlockAt,
        count: usize,
    ) -> Result<Vec<(Block, Option<usize>)>, QueryError> {
        let first = self.block(from)?;
        let source = self.chain_source();
        let blocks = self.explained(query::blocks(&source, first, count))?;
        let with_count = |block: Block| {
            let is_kept = self.check_kept(&block).is_ok();
            let count = is_kept.then(|| query::transactions(&source, &block).ok());
            (block, count.flatten().map(|ids| ids.len()))
        };
        Ok(blocks.into_iter().map(with_count).collect())
    }

    /// Returns the number of transactions of a block, and `count` of them after the first `skip`.
    ///
    /// # Errors
    /// Fails if an atom was not found.
    pub fn included(
        &self,
        block: &Block,
        skip: usize,
        count: usize,
    ) -> Result<(usize, Vec<Included>), QueryError> {
        self.check_kept(block)?;
        self.explained(query::included(&self.chain_source(), block, skip, count))
    }

    /// Returns the height below which blocks are pruned: of those, only the headers are kept.
    #[must_use]
    pub fn pruned_below(&self) -> u64 {
        let cold = self.store().cold();
        cold.map_or(0, |cold| cold.pruned_below(self.settings().chain_id))
    }

    /// Passes what is known of pruned blocks.
    fn with_pruned<T>(&self, query: impl FnOnce(&query::Pruned<'_>) -> T) -> T {
        let (chain_id, cold) = (self.settings().chain_id, self.store().cold());
        query(&query::Pruned {
            below: self.pruned_below(),
            header_at: &|height| cold?.header_at(chain_id, height).ok()?,
            is_stored: &|id| self.store().contains(id),
        })
    }

    /// Checks that the transactions of a block are kept.
    fn check_kept(&self, block: &Block) -> Result<(), QueryError> {
        let what = || format!("the transactions of block {} are", block.height);
        self.with_pruned(|pruned| pruned.check(block, what))
    }

    /// Returns the account with this address.
    ///
    /// # Errors
    /// Fails if there is no head or no such account, or if an atom was not found.
    pub fn account(&self, address: &Address) -> Result<AccountState, QueryError> {
        let (source, head) = (self.chain_source(), self.head()?);
        let block = head.block();
        let found = self.explained(query::account(&source, block.accounts, address))?;
        let (id, account) = found.ok_or_else(|| QueryError::UnknownAccount {
            account: *address,
            height: block.height.clone(),
        })?;
        let stake = self.explained(query::stake(&source, block.accounts, address))?;
        Ok(AccountState {
            head,
            id,
            account,
            stake,
        })
    }

    /// Returns the address of this node's validation key.
    ///
    /// # Errors
    /// Returns [`QueryError::NoOwnAccount`] if the node has no validation key.
    pub fn own_address(&self) -> Result<Address, QueryError> {
        let key = self.own_key.ok_or(QueryError::NoOwnAccount)?;
        Ok(Address::new(key))
    }

    /// Returns the validators and the producers of the next `slots` slots.
    ///
    /// # Errors
    /// Fails if there is no head, or if an atom was not found.
    pub fn validators(&self, slots: usize) -> Result<Validators, QueryError> {
        let (source, head) = (self.chain_source(), self.head()?);
        let block = head.block();
        let now = Natural::from(clock::unix_time().as_secs());
        let election = self.explained(self.election(&source, &head))?;
        let (stakes, slots) = query::schedule(&election, block, &now, slots);
        Ok(Validators {
            head,
            stakes,
            slots,
        })
    }

    /// Reads the data of the leader election after the head. Stakes of the previous call are
    /// reused; the number of stakes of an unverified head is limited.
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
        // A panic cannot leave the cached elections half-changed: they are replaced as a whole.
        let mut elections = elections.unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(election) = elections.load(source, head.block(), u32::MAX)? {
                return Ok(election);
            }
        }
    }

    /// Returns a proof that the account with this address exists, or that it does not.
    ///
    /// # Errors
    /// Fails if there is no head, or if an atom was not found.
    pub fn prove_account(&self, address: &Address) -> Result<AccountProof, QueryError> {
        let (source, head) = (self.chain_source(), self.head()?);
        let block = head.block();
        self.explained(AccountProof::prove(&source, block, address))
    }

    /// Returns the transaction with this id.
    ///
    /// # Errors
    /// Returns [`QueryError::UnknownTransaction`] if neither this node nor a peer has it. Fails if
    /// the atoms are not a transaction.
    pub fn transaction(&self, id: AtomId) -> Result<Transaction, QueryError> {
        match Transaction::read(&self.chain_source(), id) {
            Err(RecordError::Source(SourceError::Missing(missing))) if missing == id => {
                let unreadable = self.store.unreadable(&id);
                Err(match unreadable {
                    Some(reason) => QueryError::Unreadable { id, reason },
                    None => QueryError::UnknownTransaction(id),
                })
            }
            read => {
                self.explained(read.map_err(|error| QueryError::of_record("transaction", error)))
            }
        }
    }

    /// Returns the state of a transaction, and the head that the state is as of.
    ///
    /// # Errors
    /// Fails if an atom of the chain was not found, or if the id is that of another object.
    pub fn transaction_state(
        &self,
        id: AtomId,
    ) -> Result<(TransactionState, Option<Head>), QueryError> {
        let source = self.chain_source();
        // Of one status: a block that came in between would have taken the transaction out of the
        // mempool, and the head before it does not have it either.
        let status = self.chain().status();
        let head = status.head.clone();
        if let Some(head) = &head
            && let Some(place) = self.explained(
                self.with_pruned(|pruned| query::find(&source, head.block(), id, pruned)),
            )?
        {
            return Ok((
                TransactionState::Included(Box::new(place)),
                Some(head.clone()),
            ));
        }
        let state = match mempool_state(&status, id) {
            Some(state) => state,
            None => match self.transaction(id) {
                // With a part missing, it begins like a transaction.
                Ok(_) | Err(QueryError::Missing(_)) => TransactionState::Stored,
                Err(QueryError::UnknownTransaction(_)) => TransactionState::Unknown,
                Err(error) => return Err(error),
            },
        };
        Ok((state, head))
    }

    /// Returns the confirmation level of a block in the head's chain, for instance the block of a
    /// transaction.
    ///
    /// # Errors
    /// Fails if there is no head, or if an atom was not found.
    pub fn confirmation(&self, block: &Block) -> Result<Confirmation, QueryError> {
        self.explained(self.read_confirmation(block))
    }

    fn read_confirmation(&self, block: &Block) -> Result<Confirmation, QueryError> {
        let below = self.pruned_below();
        if block.height <= below && below > 0 {
            let what = format!("the stakes before block {} are", block.height);
            return Err(QueryError::NotKept { what, below });
        }
        let (source, head) = (self.chain_source(), self.head()?);
        let parent = match block.is_genesis() {
            true => block.clone(),
            false => Block::read(&source, block.previous)?,
        };
        let root = StakeLoader::find_root(&source, parent.accounts)?;
        let lock = || self.stakes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().clone();
        // Only the difference to the stakes of the last query is read.
        let mut loader = StakeLoader::new(known, root);
        if head.state() == HeadState::Trusted {
            loader = loader.with_max_stakes(MAX_TRUSTED_STAKES);
        }
        let stakes = loop {
            if let Some(stakes) = loader.run(&source, u32::MAX)? {
                break stakes;
            }
        };
        // The lock is not held while atoms are fetched: another query would wait for them.
        lock().clone_from(&stakes);
        let now = clock::unix_time().as_secs();
        query::confirmation(&source, &stakes, head.block(), block, now)
    }

    /// Waits for at most `timeout` until the transaction is included, its block is safe, or it is
    /// rejected or expired. The result is that of [`Node::transaction_state`].
    ///
    /// # Errors
    /// Same as [`Node::transaction_state`]; returns [`QueryError::Stopping`] if the node stops
    /// meanwhile.
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
            if !self.wait_for_change(id, &head, left)? {
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

    /// Waits until the head changes or the mempool finishes with the transaction; returns `false`
    /// if neither happens within `timeout`.
    fn wait_for_change(
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
            let changed = self
                .chain()
                .wait_until(left.min(CONNECTED_INTERVAL), |status| {
                    let state = mempool_state(status, id);
                    status.head != *head || state.is_some_and(|state| state.is_final())
                });
            if changed.is_some() {
                return Ok(true);
            }
            if self.handle().is_err() {
                return Err(QueryError::Stopping);
            }
            if left.is_zero() || WaitLimit::in_force().is_over() {
                return Ok(false);
            }
        }
    }

    /// Returns the costs of a transaction and the balance of its sender, if the next block can
    /// include it and the balance covers its amount.
    ///
    /// # Errors
    /// Returns the reason the next block cannot include it, or that it would fail.
    pub fn check_transaction(
        &self,
        transaction: &Transaction,
    ) -> Result<CheckedTransaction, SendError> {
        let source = self.chain_source();
        let state = self.head()?;
        let stakes = || Ok(self.election(&source, &state)?.stakes);
        let checked = query::check_transaction(&source, state.block(), transaction, stakes)?;
        let checked = checked.map_err(SendError::Transaction)?;
        // A transfer to the sender itself moves nothing and needs no balance for the amount.
        let amount = match *transaction.sender() == transaction.recipient {
            true => Natural::ZERO,
            false => transaction.amount.clone(),
        };
        let CheckedTransaction { costs, balance } = checked;
        if balance < costs.with_amount(&amount) {
            return Err(SendError::InsufficientBalance {
                balance,
                amount,
                costs: Box::new(costs),
            });
        }
        Ok(CheckedTransaction { costs, balance })
    }

    /// Stores a signed transaction, offers it to others and announces it to validators, including
    /// this node's own.
    ///
    /// # Errors
    /// Fails if the next block cannot include the transaction, or if no validator is known.
    pub fn send_transaction(
        &self,
        transaction: &Transaction,
    ) -> Result<SentTransaction, SendError> {
        let CheckedTransaction { costs, balance } = self.check_transaction(transaction)?;
        let own_pool = self.chain().status().validator.is_some();
        let handle = self.handle().map_err(SendError::Node)?;
        let peers = handle.peers().map_err(not_connected)?;
        let accepts_transactions =
            |peer: &super::Peer| peer.is_validated && peer.is_validator && peer.head.is_some();
        if !own_pool && !peers.iter().any(accepts_transactions) {
            let peers = peers.len();
            return Err(SendError::NoValidator { peers });
        }
        self.pin_contract(transaction).map_err(SendError::Node)?;
        let stored = self.store.put_all(transaction.to_atoms());
        let durability = stored.map_err(|error| SendError::Node(error.into()))?;
        for id in [transaction.id(), transaction.body_hash()] {
            self.advertise(id, PayloadType::LIST, Some(TRANSACTION_LIFETIME))
                .map_err(SendError::Node)?;
        }
        let announced = handle.announce_transaction(transaction.id());
        let validators = announced.map_err(not_connected)?;
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

    /// Announces a transaction again that this node or a peer has, for instance after it expired,
    /// was rejected, or was in a block that a reorganization removed. See
    /// [`Node::send_transaction`].
    ///
    /// # Errors
    /// Same as [`Node::send_transaction`]; fails also if no peer has the transaction.
    pub fn resend_transaction(&self, id: AtomId) -> Result<SentTransaction, SendError> {
        let transaction = self.transaction(id)?;
        self.send_transaction(&transaction)
    }

    /// Adds a transaction to this node's mempool. If it was announced to no other validator, waits
    /// for the verdict of the mempool for at most [`VERDICT_TIMEOUT`].
    fn submit(&self, id: AtomId, is_only: bool) -> Result<(), SendError> {
        // A rejected transaction that is sent again is checked again.
        let before = self.chain().status().mempool.refused;
        self.submit_transaction(id);
        if !is_only {
            return Ok(());
        }
        let verdict = |status: &ChainStatus| match mempool_state(status, id) {
            Some(TransactionState::Rejected(_)) if status.mempool.refused == before => None,
            state => state,
        };
        let status = self
            .chain()
            .wait_until(VERDICT_TIMEOUT, |status| verdict(status).is_some());
        match status.as_ref().and_then(verdict) {
            Some(TransactionState::Rejected(Refusal::Transaction(error))) => {
                Err(SendError::Transaction(error))
            }
            Some(TransactionState::Rejected(refusal)) => Err(SendError::Rejected(refusal)),
            _ => Ok(()),
        }
    }

    /// Replaces the error for a missing atom if there is a copy, which cannot be read.
    fn explained<T>(&self, read: Result<T, QueryError>) -> Result<T, QueryError> {
        read.map_err(|error| {
            let id = error.missing();
            let unreadable = id.and_then(|id| Some((id, self.store.unreadable(&id)?)));
            match unreadable {
                Some((id, reason)) => QueryError::Unreadable { id, reason },
                None => error,
            }
        })
    }

    fn head(&self) -> Result<Head, QueryError> {
        self.chain().head().ok_or(QueryError::NoHead)
    }

    fn chain_source(&self) -> ChainSource {
        ChainSource {
            store: self.store.clone(),
            network: self.handle().ok().filter(|_| self.waits()),
            fetched: Mutex::default(),
            wait_limit: WaitLimit::NONE.within(QUERY_TIMEOUT),
        }
    }
}

/// Returns the state of a transaction in this node's mempool; `None` if the mempool does not know
/// it.
fn mempool_state(status: &ChainStatus, id: AtomId) -> Option<TransactionState> {
    let is_validator = status.validator.is_some();
    let standing = status.mempool.standing(&id)?;
    Some(match standing {
        Standing::Ready { before, ready } if is_validator => TransactionState::Pending {
            before,
            waiting: ready,
        },
        // The mempool of a node that does not validate holds the transactions of its own users.
        Standing::Ready { .. } => match status.mempool.own.get(&id).copied().flatten() {
            Some(0) => TransactionState::NoKnownValidator,
            validators => TransactionState::Announced { validators },
        },
        Standing::Waiting { data, .. } => TransactionState::WaitingForData { data },
        Standing::Fetching => TransactionState::Fetching,
        Standing::Left(Outcome::Refused(refusal)) => TransactionState::Rejected(refusal),
        Standing::Left(Outcome::Expired) => TransactionState::Expired,
        Standing::Left(Outcome::Abandoned {
            block,
            height,
            reason,
        }) => TransactionState::Abandoned {
            block,
            height,
            reason,
        },
    })
}

fn not_connected(Stopped: Stopped) -> SendError {
    SendError::Node(NodeError::NotConnected)
}

/// Atom source of one query: this node's atoms, and fetched ones until the query's time is up.
struct ChainSource {
    store: Store,
    network: Option<NetworkHandle>,
    fetched: Mutex<MemoryStore>,
    wait_limit: WaitLimit,
}

impl ChainSource {
    /// Returns the atom that is stored, or was fetched before, or can be fetched.
    fn or_fetched(
        &self,
        id: &AtomId,
        stored: Option<Atom>,
    ) -> Result<Atom, SourceError<Infallible>> {
        let fetched = || {
            let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
            fetched.atom(id).ok()
        };
        stored
            .or_else(fetched)
            .or_else(|| self.fetch(id))
            .ok_or(SourceError::Missing(*id))
    }

    /// Fetches the list that starts with this atom: records and trie nodes are lists, and a peer
    /// that has the first atom has all of them. Falls back to the atom alone.
    fn fetch(&self, id: &AtomId) -> Option<Atom> {
        let network = self.network.as_ref()?;
        for kind in [PayloadType::LIST, PayloadType::ATOM] {
            let Ok(atoms) = self.wait_limit.scope(|| network.fetch(*id, kind)) else {
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
        self.or_fetched(id, self.store.get(id))
    }

    fn atom_once(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.or_fetched(id, self.store.served().atom(id).ok())
    }
}

#[cfg(test)]
mod tests;
