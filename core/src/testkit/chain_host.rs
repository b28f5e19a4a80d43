//! Host of a consensus component in virtual time.

use super::{HostStore, LocalStore, part};
use crate::atom::{AtomId, MemoryStore};
use crate::consensus::mempool::{Mempool, Save, saved};
use crate::consensus::producer::Producer;
use crate::consensus::{
    Component, Context, Effect, Environment, ForkDecisions, Input, Now, SavedHead, Serial,
};
use crate::crypto::PublicKey;
use crate::engine::{FetchError, ListLimit};
use crate::time::Instant;
use crate::trie::BatchHasher;
use alloc::vec::Vec;
use core::time::Duration;

/// Contents of a node's files.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Head.
    pub head: Option<SavedHead>,
    /// Decisions of the operator.
    pub decisions: ForkDecisions,
    /// Mempool.
    pub mempool: Vec<u8>,
}

/// Host of a consensus component in virtual time. It has the clocks, atoms and files, calls the
/// component, and carries out the effects that have one meaning in every test; the test answers
/// the others and decides when time passes.
#[derive(Debug)]
pub struct ChainHost<C, S = LocalStore> {
    /// The component.
    pub component: C,
    /// State that components share.
    pub context: Context,
    /// Atoms of the node.
    pub store: S,
    /// Clocks of the node.
    pub clock: Now,
    /// Files of the node.
    pub files: Files,
}

impl<C, S: HostStore> ChainHost<C, S> {
    /// Creates a host without a head and files.
    pub fn new(component: C, store: S, clock: Now) -> Self {
        Self {
            component,
            context: Context::new(None),
            store,
            clock,
            files: Files::default(),
        }
    }

    /// Returns the time of the monotonic clock.
    pub const fn instant(&self) -> Instant {
        self.clock.instant
    }

    /// Lets time pass on both clocks.
    pub fn pass(&mut self, duration: Duration) {
        self.clock.instant = self.clock.instant + duration;
        self.clock.unix += duration;
    }

    /// Calls the component; the resulting events and effects are polled from the context.
    pub fn call(&mut self, call: impl FnOnce(&mut C, &Environment<'_>, &mut Context)) {
        let environment = Environment {
            now: self.clock,
            atoms: &self.store,
            parallel: &Serial,
        };
        call(&mut self.component, &environment, &mut self.context);
    }

    /// Carries out an effect that keeps atoms or writes a file; returns any other.
    pub fn carry_out(&mut self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Keep(atoms) | Effect::Store(atoms) => {
                self.store.store(atoms.into_iter().map(|(_, atom)| atom));
            }
            Effect::SetHead { saved, .. } => self.files.head = Some(saved),
            Effect::SaveDecisions(decisions) => self.files.decisions = decisions,
            Effect::SaveMempool(Save::Append { bytes, .. }) => {
                if self.files.mempool.is_empty() {
                    self.files.mempool.extend(saved::MAGIC);
                }
                self.files.mempool.extend(bytes);
            }
            Effect::SaveMempool(Save::Replace(bytes)) => self.files.mempool = bytes,
            other => return Some(other),
        }
        None
    }

    /// Fetches the beginning of a list, up to `most` atoms, from peers that have `network`; returns
    /// the input that ends the fetch.
    pub fn fetch(
        &mut self,
        network: &MemoryStore,
        id: AtomId,
        limit: ListLimit,
        most: usize,
        from: Option<PublicKey>,
    ) -> Input {
        let atoms = part(network, id, limit, most);
        let outcome = match atoms.is_empty() {
            true => Err(FetchError::NotFound),
            false => {
                self.store.keep(atoms.iter().cloned());
                Ok(atoms)
            }
        };
        Input::Fetched { id, outcome, from }
    }

    /// Fetches a whole list from peers that have `network`; returns the input that ends the fetch.
    pub fn fetch_small(&mut self, network: &MemoryStore, id: AtomId, limit: ListLimit) -> Input {
        let atoms = part(network, id, limit, usize::MAX);
        let is_whole = atoms.last().is_some_and(|atom| atom.next().is_zero());
        let outcome = match is_whole {
            true => {
                self.store.keep(atoms);
                Ok(())
            }
            false => Err(FetchError::NotFound),
        };
        Input::FetchedSmall { id, outcome }
    }
}

impl<C: Component, S: HostStore> ChainHost<C, S> {
    /// Gives the component an input.
    pub fn input(&mut self, input: &Input) {
        self.call(|component, environment, context| {
            component.handle_input(environment, context, input);
        });
    }

    /// Has the component do one piece of work.
    pub fn advance(&mut self) {
        self.call(|component, environment, context| component.advance(environment, context));
    }

    /// Returns whether the component has work that is due.
    pub fn is_due(&self) -> bool {
        let timeout = self.component.poll_timeout();
        timeout.is_some_and(|at| at <= self.instant())
    }
}

/// Producer with its mempool.
#[derive(Debug)]
pub struct Validator<H: BatchHasher> {
    /// The producer.
    pub producer: Producer<H>,
    /// Its mempool.
    pub mempool: Mempool,
}

impl<H: BatchHasher> Component for Validator<H> {
    fn handle_input(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        input: &Input,
    ) {
        let Self { producer, mempool } = self;
        mempool.handle_input(environment, context, input);
        producer.handle_input(environment, context, mempool, input);
    }

    fn advance(&mut self, environment: &Environment<'_>, context: &mut Context) {
        let Self { producer, mempool } = self;
        mempool.advance(environment, context);
        producer.advance(environment, context, mempool);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let due = [self.producer.poll_timeout(), self.mempool.poll_timeout()];
        due.into_iter().flatten().min()
    }
}
