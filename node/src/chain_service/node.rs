//! All chain components of one node, driven by a host or a simulator.

use super::producer::Producer;
use super::{
    ChainStatus, ChainSync, Component, Context, Effect, Environment, Head, Input, SavedHead,
    SyncConfig,
};
use crate::simd::Lanes;
use astreum_core::consensus::Event;
use astreum_core::consensus::mempool::{Mempool, MempoolConfig};
use astreum_core::time::Instant;
use astreum_core::wire::handshake::ChainIdentity;

/// Chain of one node.
pub struct Chain {
    context: Context,
    sync: ChainSync,
    mempool: Mempool,
    producer: Option<Producer>,
    /// True if mempool and producer were left out in the last call of [`Chain::advance`].
    is_left_out: bool,
}

impl core::fmt::Debug for Chain {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Chain")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl Chain {
    /// Creates a chain that resumes from `saved`, the head of an earlier run.
    #[must_use]
    pub fn new(config: SyncConfig, saved: Option<SavedHead>) -> Self {
        Self {
            context: Context::new(saved),
            sync: ChainSync::new(config, Lanes::new()),
            mempool: Mempool::new(MempoolConfig::default()),
            producer: None,
            is_left_out: false,
        }
    }

    /// Adds a block producer, and replaces the mempool by an empty one that accepts transactions
    /// announced by peers.
    #[must_use]
    pub fn with_producer(mut self, producer: Producer) -> Self {
        self.producer = Some(producer);
        self.mempool = Mempool::new(MempoolConfig {
            is_validator: true,
            ..MempoolConfig::default()
        });
        self
    }

    /// Replaces the mempool.
    #[must_use]
    pub fn with_mempool(mut self, mempool: Mempool) -> Self {
        self.mempool = mempool;
        self
    }

    /// Returns the state that the components share.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// Returns the sync component.
    #[must_use]
    pub const fn sync(&self) -> &ChainSync {
        &self.sync
    }

    /// Returns the chain identity that is announced to peers.
    #[must_use]
    pub const fn identity(&self) -> ChainIdentity {
        self.sync.identity()
    }

    /// Returns the mempool.
    #[must_use]
    pub const fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// Requests the effects that save state before a shutdown.
    pub fn flush(&mut self) {
        self.mempool.flush(&mut self.context);
    }

    /// Returns the block producer, if this node is a validator.
    #[must_use]
    pub const fn producer(&self) -> Option<&Producer> {
        self.producer.as_ref()
    }

    /// Passes an input to every component.
    pub fn handle_input(&mut self, world: &Environment<'_>, input: &Input) {
        let context = &mut self.context;
        self.sync.handle_input(world, context, input);
        self.mempool.handle_input(world, context, input);
        if let Some(producer) = &mut self.producer {
            producer.handle_input(world, context, &mut self.mempool, input);
        }
    }

    /// Lets every component do one bounded unit of work.
    ///
    /// If sync has adopted a head, its atoms are stored only after this call. The other components
    /// then wait for the next call, which is due at once: otherwise they would search the network
    /// for atoms that are here a moment later.
    pub fn advance(&mut self, world: &Environment<'_>) {
        let head = |context: &Context| context.head().map(Head::id);
        let before = head(&self.context);
        self.sync.advance(world, &mut self.context);
        let is_new = head(&self.context) != before;
        self.is_left_out = is_new;
        if is_new {
            return;
        }
        self.mempool.advance(world, &mut self.context);
        if let Some(producer) = &mut self.producer {
            producer.advance(world, &mut self.context, &mut self.mempool);
        }
    }

    /// Returns the next effect to execute. All effects have to be executed before the next call of
    /// [`Chain::handle_input`] or [`Chain::advance`].
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.context.poll_effect()
    }

    /// Returns the next event, for logs and subscribers.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.context.poll_event()
    }

    /// Returns the time at which [`Chain::advance`] is due, or `None` if no work is scheduled.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let producer = self.producer.as_ref().and_then(Producer::poll_timeout);
        let (sync, mempool) = (self.sync.poll_timeout(), self.mempool.poll_timeout());
        let left_out = self.is_left_out.then_some(Instant::ZERO);
        let due = [left_out, producer, mempool, sync];
        due.into_iter().flatten().min()
    }

    /// Returns the current status.
    #[must_use]
    pub fn status(&self) -> ChainStatus {
        ChainStatus {
            head: self.context.head().cloned(),
            root: self.context.root(),
            is_behind: self.context.is_behind(),
            sync: self.sync.status(),
            mempool: self.mempool.status(),
            validator: self.producer.as_ref().map(Producer::status),
            ..ChainStatus::default()
        }
    }
}
