//! What one evaluation has and uses: the store, the meter, and what is left of the limits.

use super::value::Value;
use super::{Limits, Meter};
use crate::atom::{Atom, AtomId, AtomSink, AtomSource, SourceError};
use core::sync::atomic::{AtomicBool, Ordering};

/// Steps between two looks at the interrupt flag.
const CHECK_STEPS: u64 = 4096;

/// Why something did not come to a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// The program failed: its value is this error.
    Failed(&'static str),
    /// A limit was passed: the whole evaluation ends with this error.
    Limit(&'static str),
    /// The host interrupted the evaluation.
    Interrupted,
}

/// One evaluation's share of the world.
pub(super) struct Session<'a, S> {
    store: &'a mut S,
    pub(super) limits: &'a Limits,
    pub(super) meter: Meter,
    pub(super) steps: u64,
    /// Bytes that were allocated since it was last measured what is alive.
    pub(super) allocated: usize,
    /// The same, when the stack machine was entered: what the evaluator holds meanwhile.
    pub(super) held: usize,
    pub(super) missing: Option<AtomId>,
    next_check: u64,
    interrupt: Option<&'a AtomicBool>,
    atoms: u64,
    atom_bytes: u64,
}

impl<'a, S> Session<'a, S> {
    pub(super) fn new(
        store: &'a mut S,
        limits: &'a Limits,
        meter: Meter,
        interrupt: Option<&'a AtomicBool>,
    ) -> Self {
        Self {
            store,
            limits,
            meter,
            steps: 0,
            allocated: 0,
            held: 0,
            missing: None,
            next_check: 0,
            interrupt,
            atoms: 0,
            atom_bytes: 0,
        }
    }

    /// Counts steps.
    #[inline]
    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Stop> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps >= self.next_check {
            self.check()?;
        }
        Ok(())
    }

    /// Steps for working through this many bytes.
    #[inline]
    pub(super) fn spend_bytes(&mut self, len: usize) -> Result<(), Stop> {
        self.spend(len as u64 / 32)
    }

    #[cold]
    fn check(&mut self) -> Result<(), Stop> {
        if self.steps > self.limits.steps {
            return Err(Stop::Limit("step limit"));
        }
        if self
            .interrupt
            .is_some_and(|flag| flag.load(Ordering::Relaxed))
        {
            return Err(Stop::Interrupted);
        }
        // The step after the last one that is allowed is looked at as well.
        let next = self.steps.saturating_add(CHECK_STEPS);
        self.next_check = next.min(self.limits.steps.saturating_add(1));
        Ok(())
    }

    /// Notes that `bytes` are about to be allocated; `measure` says how many are alive, and is
    /// asked only when what was allocated since it was last asked passes the limit.
    #[inline]
    pub(super) fn allocate(
        &mut self,
        bytes: usize,
        measure: impl FnOnce() -> usize,
    ) -> Result<(), Stop> {
        self.allocated = self.allocated.saturating_add(bytes);
        if self.allocated > self.limits.live_bytes {
            // What stays counted must leave room, or it would be measured at every turn.
            self.allocated = measure().saturating_add(bytes);
            if self.allocated > self.limits.live_bytes - self.limits.live_bytes / 4 {
                return Err(Stop::Limit("memory limit"));
            }
        }
        Ok(())
    }
}

impl<S: AtomSource + AtomSink> Session<'_, S> {
    /// The atom that is named by a value.
    pub(super) fn atom(&mut self, id: &Value) -> Result<Atom, Stop> {
        let id = id.to_id().ok_or(Stop::Failed("unknown atom"))?;
        match self.store.atom(&id) {
            Ok(atom) => Ok(atom),
            Err(SourceError::Missing(_)) => {
                self.note_missing(id);
                Err(Stop::Failed("unknown atom"))
            }
            Err(SourceError::Failed(_)) => Err(Stop::Failed("storage error")),
        }
    }

    /// Where `ref` reads from.
    pub(super) fn source(&self) -> &S {
        self.store
    }

    /// The first missing atom is the one that the host is told of.
    pub(super) fn note_missing(&mut self, id: AtomId) {
        if !id.is_zero() {
            self.missing.get_or_insert(id);
        }
    }

    /// Counts an atom with this many bytes of data, before it is made.
    pub(super) fn spend_atom(&mut self, len: usize) -> Result<(), Stop> {
        self.spend_bytes(len)?;
        let bytes = self.atom_bytes.saturating_add(len as u64);
        if self.atoms >= self.limits.atoms || bytes > self.limits.atom_bytes {
            return Err(Stop::Limit("atom limit"));
        }
        self.atoms += 1;
        self.atom_bytes = bytes;
        Ok(())
    }

    /// Keeps an atom that was counted; its id is a value.
    pub(super) fn put(&mut self, atom: Atom) -> Result<Value, Stop> {
        let id = atom.id();
        match self.store.put(id, atom) {
            Ok(()) => Ok(Value::from_id(&id)),
            Err(_) => Err(Stop::Failed("storage error")),
        }
    }
}
