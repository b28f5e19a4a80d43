//! All of one node's machines together, as a shell or a simulator drives them.

use super::producer::Producer;
use super::{
    ChainStatus, ChainSync, Component, Context, Effect, Environment, Head, Input, SavedHead,
    SyncConfig,
};
use crate::lanes::Lanes;
use astreum_core::consensus::Event;
use astreum_core::consensus::mempool::{Mempool, MempoolConfig};
use astreum_core::time::Instant;
use astreum_core::wire::handshake::ChainIdentity;

/// The chain of one node.
pub struct Chain {
    context: Context,
    sync: ChainSync,
    mempool: Mempool,
    producer: Option<Producer>,
    /// Whether the others' turns were left out in the last call.
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
    /// A chain that starts from `saved`, the head of an earlier run.
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

    /// Makes it that of a validator, whose mempool takes what peers announce.
    #[must_use]
    pub fn with_producer(mut self, producer: Producer) -> Self {
        self.producer = Some(producer);
        self.mempool = Mempool::new(MempoolConfig {
            is_validator: true,
            ..MempoolConfig::default()
        });
        self
    }

    /// Uses this mempool.
    #[must_use]
    pub fn with_mempool(mut self, mempool: Mempool) -> Self {
        self.mempool = mempool;
        self
    }

    /// What the machines share.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// Sync.
    #[must_use]
    pub const fn sync(&self) -> &ChainSync {
        &self.sync
    }

    /// Returns what peers are told of the chain that this node follows.
    #[must_use]
    pub const fn identity(&self) -> ChainIdentity {
        self.sync.identity()
    }

    /// The mempool.
    #[must_use]
    pub const fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// Asks for what is to be saved before the end.
    pub fn flush(&mut self) {
        self.mempool.flush(&mut self.context);
    }

    /// The validator, if this node is one.
    #[must_use]
    pub const fn producer(&self) -> Option<&Producer> {
        self.producer.as_ref()
    }

    /// Tells every machine of something.
    pub fn handle_input(&mut self, world: &Environment<'_>, input: &Input) {
        let context = &mut self.context;
        self.sync.handle_input(world, context, input);
        self.mempool.handle_input(world, context, input);
        if let Some(producer) = &mut self.producer {
            producer.handle_input(world, context, &mut self.mempool, input);
        }
    }

    /// Lets every machine do one piece of its work.
    ///
    /// When sync has adopted a head, what belongs to it is stored only after this call, so the
    /// others have their turn in the next one, which is due at once: they would search the network
    /// for what is here a moment later.
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

    /// The next thing to do for the machines. All of them are to be done before the next call of
    /// [`Chain::handle_input`] or [`Chain::advance`].
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.context.poll_effect()
    }

    /// Returns the next event, for logs and subscribers.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.context.poll_event()
    }

    /// When [`Chain::advance`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let producer = self.producer.as_ref().and_then(Producer::poll_timeout);
        let (sync, mempool) = (self.sync.poll_timeout(), self.mempool.poll_timeout());
        let left_out = self.is_left_out.then_some(Instant::ZERO);
        let due = [left_out, producer, mempool, sync];
        due.into_iter().flatten().min()
    }

    /// How the node is doing with its chain.
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
