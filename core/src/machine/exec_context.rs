//! Per-evaluation execution context: store, host functions, meter and usage of the limits.

use super::failure::Failures;
use super::host::{Answer, Functions};
use super::limits::{Exceeded, LimitKind, Limits};
use super::outcome::{HostError, Missing, Outcome, Wanted};
use super::reason::Reason;
use super::word::Word;
use super::{ErrorKind, Meter};
use crate::atom::{Atom, AtomId, AtomSink, AtomSource, SourceError};
use core::sync::atomic::{AtomicBool, Ordering};

/// Number of steps between two checks of the interrupt flag.
const CHECK_STEPS: u64 = 4096;

/// Readable and writable store of atoms.
pub(super) trait Store: AtomSource + AtomSink {}

impl<T: AtomSource + AtomSink> Store for T {}

/// Reason an operation did not produce a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// The program failed; its value is this error.
    Failed(ErrorKind),
    /// A limit was exceeded; the whole evaluation ends. [`Account::exceeded`] has the details.
    Limit,
    /// The host interrupted the evaluation, which ends.
    Interrupted,
    /// The host failed; the whole evaluation ends.
    Host,
    /// The evaluation is suspended after the completed operation. [`Account::reason`] has the
    /// reason.
    Pause,
    /// The evaluation is suspended before the next operation, which has not begun.
    /// [`Account::reason`] has the reason.
    Retry,
    /// The live bytes must be measured; then the stack machine continues.
    Measure,
}

/// Usage of the limits by one evaluation, and the state reported to the host.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) limits: Limits,
    pub(super) meter: Meter,
    pub(super) steps: u64,
    /// Bytes that were live at the last measurement, plus all bytes allocated since.
    pub(super) allocated: u64,
    /// Bytes of the called code and of the data that it keeps alive.
    pub(super) code: u64,
    pub(super) atoms: u64,
    pub(super) atom_bytes: u64,
    /// Set if the evaluation can be suspended and resumed later.
    pub(super) suspends: bool,
    /// Reason the evaluation is suspended.
    pub(super) reason: Option<Reason>,
    /// Decision of the host about the operation at which the evaluation is suspended.
    pub(super) answer: Option<Answer>,
    /// First event that the value alone does not show.
    pub(super) noted: Option<Outcome>,
    /// Limit that ended the evaluation.
    pub(super) exceeded: Option<Exceeded>,
    /// Set if the limit was exceeded, or the host failed, in a stack program.
    pub(super) in_stack: bool,
    pub(super) failures: Failures,
    /// Set if the next operation comes after the current step; only used for stepping.
    pub(super) step_is_done: bool,
    next_check: u64,
    slice_end: u64,
}

impl Account {
    pub(super) fn new() -> Self {
        Self {
            limits: Limits::DEFAULT,
            meter: Meter::new(None),
            steps: 0,
            allocated: 0,
            code: 0,
            atoms: 0,
            atom_bytes: 0,
            suspends: false,
            reason: None,
            answer: None,
            noted: None,
            exceeded: None,
            in_stack: false,
            failures: Failures::default(),
            step_is_done: false,
            next_check: 0,
            slice_end: u64::MAX,
        }
    }

    /// Starts an evaluation.
    pub(super) fn begin(&mut self, limits: &Limits, meter: Meter, suspends: bool) {
        self.limits = *limits;
        self.meter = meter;
        self.steps = 0;
        self.allocated = 0;
        self.code = 0;
        self.atoms = 0;
        self.atom_bytes = 0;
        self.suspends = suspends;
        self.reason = None;
        self.answer = None;
        self.noted = None;
        self.exceeded = None;
        self.in_stack = false;
        self.failures = Failures::default();
    }

    /// Starts a slice of this many steps, at least one; `None` means unlimited.
    pub(super) fn begin_slice(&mut self, steps: Option<u64>) {
        self.slice_end = match steps {
            Some(steps) => self.steps.saturating_add(steps.max(1)),
            None => u64::MAX,
        };
        self.next_check = self.steps;
    }

    /// Begins an operation of an evaluation that is stepped; suspends it if the step is done.
    pub(super) fn begin_operation(&mut self) -> Result<(), Stop> {
        if core::mem::replace(&mut self.step_is_done, true) {
            self.reason = Some(Reason::Slice);
            return Err(Stop::Pause);
        }
        Ok(())
    }

    fn note(&mut self, outcome: Outcome) {
        self.noted.get_or_insert(outcome);
    }

    /// Consumes the host's decision that the awaited data will not be available; returns whether
    /// there was one.
    fn take_refusal(&mut self) -> bool {
        let is_refused = matches!(self.answer, Some(Answer::Refused));
        if is_refused {
            self.answer = None;
        }
        is_refused
    }

    /// Ends the evaluation at a limit.
    #[cold]
    pub(super) fn exceed(&mut self, kind: LimitKind, used: u64) -> Stop {
        let limit = self.limits.get(kind).unwrap_or_default();
        self.exceeded = Some(Exceeded { kind, limit, used });
        Stop::Limit
    }

    /// Ends the evaluation at a value that alone exceeds the limit of live bytes.
    #[cold]
    pub(super) fn too_large(&mut self) -> Stop {
        let used = self.limits.live_bytes.saturating_add(1);
        self.exceed(LimitKind::LiveBytes, used)
    }

    /// Sets the number of live bytes. Ends the evaluation if less than a quarter of the limit is
    /// left, because otherwise it would be measured repeatedly.
    pub(super) fn measured(&mut self, live: u64) -> Result<(), Stop> {
        self.allocated = live;
        let limit = self.limits.live_bytes;
        if live > limit - limit / 4 {
            return Err(self.exceed(LimitKind::LiveBytes, live));
        }
        Ok(())
    }

    /// Counts `bytes` that are about to be allocated. `measure` returns the number of live bytes;
    /// it is called only if the bytes allocated since its last call exceed the limit.
    #[inline]
    pub(super) fn allocate(
        &mut self,
        bytes: u64,
        measure: impl FnOnce(u64) -> u64,
    ) -> Result<(), Stop> {
        self.allocated = self.allocated.saturating_add(bytes);
        if self.allocated > self.limits.live_bytes {
            return self.measured(measure(self.code).saturating_add(bytes));
        }
        Ok(())
    }

    /// Counts steps at a point where the evaluation cannot be suspended; the next
    /// [`Session::spend`] handles the suspension.
    #[inline]
    pub(super) fn count(&mut self, steps: u64) -> Result<(), Stop> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > self.limits.steps {
            return Err(self.exceed(LimitKind::Steps, self.steps));
        }
        Ok(())
    }
}

/// Running evaluation.
pub(super) struct Session<'a, S: Store> {
    pub(super) store: &'a mut S,
    pub(super) functions: &'a mut Functions,
    pub(super) interrupt: Option<&'a AtomicBool>,
    /// Location for the host's own error.
    pub(super) error: &'a mut Option<HostError<<S as AtomSource>::Error, <S as AtomSink>::Error>>,
    pub(super) account: &'a mut Account,
}

impl<S: Store> Session<'_, S> {
    /// Counts steps at a point where the evaluation can be suspended.
    #[inline]
    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Stop> {
        self.account.steps = self.account.steps.saturating_add(steps);
        if self.account.steps >= self.account.next_check {
            self.check()?;
        }
        Ok(())
    }

    /// Counts the steps for processing this many bytes, at a point where the evaluation can be
    /// suspended.
    #[inline]
    pub(super) fn spend_bytes(&mut self, len: usize) -> Result<(), Stop> {
        self.spend(len as u64 / 32)
    }

    /// Counts the steps for processing this many bytes, at a point where the evaluation cannot be
    /// suspended.
    #[inline]
    pub(super) fn count_bytes(&mut self, len: usize) -> Result<(), Stop> {
        self.account.count(len as u64 / 32)
    }

    #[cold]
    fn check(&mut self) -> Result<(), Stop> {
        let account = &mut *self.account;
        if account.steps > account.limits.steps {
            return Err(account.exceed(LimitKind::Steps, account.steps));
        }
        if self
            .interrupt
            .is_some_and(|flag| flag.load(Ordering::Relaxed))
        {
            if account.suspends {
                account.reason = Some(Reason::Interrupted);
                return Err(Stop::Pause);
            }
            return Err(Stop::Interrupted);
        }
        if account.suspends && account.steps >= account.slice_end {
            account.reason = Some(Reason::Slice);
            return Err(Stop::Pause);
        }
        // The first step above the limit is checked as well.
        account.next_check = account
            .steps
            .saturating_add(CHECK_STEPS)
            .min(account.limits.steps.saturating_add(1))
            .min(account.slice_end);
        Ok(())
    }

    /// Counts a long value that the stack machine created.
    #[cold]
    pub(super) fn made(&mut self, len: usize) -> Result<(), Stop> {
        self.count_bytes(len)?;
        self.account.allocated = self.account.allocated.saturating_add(len as u64);
        if self.account.allocated > self.account.limits.live_bytes {
            return Err(Stop::Measure);
        }
        self.spend(0)
    }

    pub(super) fn measured(&mut self, live: u64) -> Result<(), Stop> {
        self.account.measured(live)
    }

    #[cold]
    pub(super) fn exceed(&mut self, kind: LimitKind, used: u64) -> Stop {
        self.account.exceed(kind, used)
    }

    /// Stops at a charge of `cost` that the meter refused; `used` is the amount charged so far.
    #[cold]
    pub(super) fn refused(&mut self, cost: u64, used: u64) -> Stop {
        let account = &mut *self.account;
        if account.suspends && !account.take_refusal() {
            account.reason = Some(Reason::Meter { cost });
            return Stop::Retry;
        }
        account.note(Outcome::Limit(Exceeded {
            kind: LimitKind::Meter,
            limit: account.meter.limit().unwrap_or(u64::MAX),
            used: used.saturating_add(cost),
        }));
        Stop::Failed(ErrorKind::MeterLimit)
    }

    pub(super) fn charge(&mut self, len: usize) -> Result<(), Stop> {
        let cost = len as u64;
        if self.account.meter.charge(cost) {
            return Ok(());
        }
        let used = self.account.meter.used();
        Err(self.refused(cost, used))
    }

    /// Returns the atom whose id is this word.
    pub(super) fn atom(&mut self, id: &Word) -> Result<Atom, Stop> {
        let unknown = Stop::Failed(ErrorKind::UnknownAtom);
        let id = id.to_id().ok_or(unknown)?;
        self.read(&id, Wanted::Atom).map_err(|stop| match stop {
            Stop::Failed(_) => unknown,
            stop => stop,
        })
    }

    /// Returns the atom with this id; fails with [`Stop::Failed`] if it is missing and the
    /// evaluation is not suspended for it.
    pub(super) fn read(&mut self, id: &AtomId, wanted: Wanted) -> Result<Atom, Stop> {
        match self.store.atom(id) {
            Ok(atom) => Ok(atom),
            Err(SourceError::Missing(_)) => {
                let account = &mut *self.account;
                // The zero id is not the id of any atom, so the host cannot supply it.
                if !id.is_zero() {
                    let missing = Missing { id: *id, wanted };
                    if account.suspends && !account.take_refusal() {
                        account.reason = Some(Reason::Missing(missing));
                        return Err(Stop::Retry);
                    }
                    account.note(Outcome::Missing(missing));
                }
                Err(Stop::Failed(ErrorKind::ReferenceTarget))
            }
            Err(SourceError::Failed(error)) => Err(self.host_failed(HostError::Read(error))),
        }
    }

    /// Stops because the host failed and stores its error.
    #[cold]
    pub(super) fn host_failed(
        &mut self,
        error: HostError<<S as AtomSource>::Error, <S as AtomSink>::Error>,
    ) -> Stop {
        *self.error = Some(error);
        if self.account.suspends && !self.account.take_refusal() {
            self.account.reason = Some(Reason::HostError);
            return Stop::Retry;
        }
        Stop::Host
    }

    /// Charges for an atom with `len` bytes of data and checks the limits, before the atom is
    /// created. Changes nothing but the meter.
    pub(super) fn afford_atom(&mut self, cost: usize, len: usize) -> Result<(), Stop> {
        self.charge(cost)?;
        let account = &mut *self.account;
        let bytes = account.atom_bytes.saturating_add(len as u64);
        if account.atoms >= account.limits.atoms {
            return Err(account.exceed(LimitKind::Atoms, account.atoms.saturating_add(1)));
        }
        if bytes > account.limits.atom_bytes {
            return Err(account.exceed(LimitKind::AtomBytes, bytes));
        }
        Ok(())
    }

    /// Stores an atom that [`Session::afford_atom`] accepted with this length and returns its id as a
    /// word. Changes nothing if it fails.
    pub(super) fn store_atom(&mut self, atom: Atom, len: usize) -> Result<Word, Stop> {
        let id = atom.id();
        if let Err(error) = self.store.put(id, atom) {
            return Err(self.host_failed(HostError::Write(error)));
        }
        let account = &mut *self.account;
        account.atoms += 1;
        account.atom_bytes = account.atom_bytes.saturating_add(len as u64);
        Ok(Word::from_id(&id))
    }
}
