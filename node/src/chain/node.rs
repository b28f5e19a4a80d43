//! All of one node's machines together, as a shell or a simulator drives them.

use super::producer::Producer;
use super::{
    ChainStatus, ChainSync, Component, Context, Effect, Environment, Head, Input, SavedHead,
    SyncConfig,
};
use crate::lanes::Lanes;
use astreum_core::consensus::Event;
use astreum_core::time::Instant;
use astreum_core::wire::handshake::ChainIdentity;

/// The chain of one node.
pub struct Chain {
    context: Context,
    sync: ChainSync,
    producer: Option<Producer>,
    /// Whether the producer's turn was left out in the last call.
    is_producer_due: bool,
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
            producer: None,
            is_producer_due: false,
        }
    }

    /// Makes it that of a validator.
    #[must_use]
    pub fn with_producer(mut self, producer: Producer) -> Self {
        self.producer = Some(producer);
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

    /// The validator, if this node is one.
    #[must_use]
    pub const fn producer(&self) -> Option<&Producer> {
        self.producer.as_ref()
    }

    /// Tells every machine of something.
    pub fn handle_input(&mut self, world: &Environment<'_>, input: &Input) {
        for machine in machines(&mut self.sync, self.producer.as_mut()) {
            machine.handle_input(world, &mut self.context, input);
        }
    }

    /// Lets every machine do one piece of its work.
    ///
    /// When sync has adopted a head, what belongs to it is stored only after this call, so
    /// the producer has its turn in the next one, which is due at once: it would search the network
    /// for what is here a moment later.
    pub fn advance(&mut self, world: &Environment<'_>) {
        let head = |context: &Context| context.head().map(Head::id);
        let before = head(&self.context);
        self.sync.advance(world, &mut self.context);
        let is_new = head(&self.context) != before;
        self.is_producer_due = is_new && self.producer.is_some();
        if let Some(producer) = self.producer.as_mut().filter(|_| !is_new) {
            producer.advance(world, &mut self.context);
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
        let producer = self.producer.as_ref().and_then(Component::poll_timeout);
        let sync = self.sync.poll_timeout();
        let left_out = self.is_producer_due.then_some(Instant::ZERO);
        [left_out, producer, sync].into_iter().flatten().min()
    }

    /// How the node is doing with its chain.
    #[must_use]
    pub fn status(&self) -> ChainStatus {
        ChainStatus {
            head: self.context.head().cloned(),
            root: self.context.root(),
            is_behind: self.context.is_behind(),
            sync: self.sync.status(),
            validator: self.producer.as_ref().map(Producer::status),
        }
    }
}

fn machines<'m>(
    sync: &'m mut ChainSync,
    producer: Option<&'m mut Producer>,
) -> impl Iterator<Item = &'m mut dyn Component> {
    let producer = producer.map(|producer| producer as &mut dyn Component);
    core::iter::once(sync as &mut dyn Component).chain(producer)
}
