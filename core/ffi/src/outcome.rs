//! Outcomes: how an evaluation ended or why it is suspended, its value, and the positions of errors.

use crate::error::{AstreumStatus, Result, guard};
use crate::handle::{self, Kind};
use crate::host::HostFailure;
use crate::limits::AstreumLimitKind;
use crate::memory::{ASTREUM_ID_BYTES, ASTREUM_UNLIMITED, AstreumSlice, Out, Sized64, write_sized};
use crate::suspension::{AstreumSuspension, Suspension};
use crate::text::{AstreumParseError, AstreumScript, Source, wide};
use crate::value::AstreumValue;
use alloc::boxed::Box;
use alloc::string::String;
use astreum_core::machine::{
    ErrorKind, Evaluation, Failure, HostError, Missing, Opcode, Outcome, Progress, Reason,
    Suspended, Wanted,
};
use core::mem::size_of;
use core::ops::Range;

/// Outcome of an evaluation. Used by one call at a time.
pub struct AstreumOutcome {
    _private: [u8; 0],
}

/// State of an outcome.
pub(crate) struct OutcomeState {
    info: AstreumOutcomeInfo,
    evaluation: Option<Evaluation>,
    /// Boxed, because it is large and most evaluations are not suspended.
    suspension: Option<Box<Suspension>>,
    source: Option<Source>,
    host_error: Option<HostErrorState>,
}

/// Error of the host, with the operation that failed.
pub(crate) struct HostErrorState {
    origin: AstreumHostErrorOrigin,
    function: String,
    failure: HostFailure,
}

impl Kind for AstreumOutcome {
    type State = OutcomeState;
    const TAG: u32 = 0x4173_0009;
}

/// Way in which an evaluation ended. A program cannot forge it: it is separate from the value.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AstreumOutcomeKind {
    /// The program ran to its end. Its value may be an error, which the program then produced.
    Finished = 0,
    /// A limit was reached. Every limit except the meter's ends the evaluation; a refused charge is
    /// an error value, with which the program continued.
    Limit = 1,
    /// The host interrupted the evaluation.
    Interrupted = 2,
    /// An atom was missing, which was an error value for the program, with which it continued.
    Missing = 3,
    /// The store or a host function failed, which ended the evaluation.
    HostError = 4,
    /// The evaluation is suspended, see `reason`.
    Suspended = 5,
    /// An outcome that this version does not know.
    Unknown = 6,
}

/// Reason an evaluation is suspended.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AstreumReason {
    /// Not suspended.
    None = 0,
    /// The slice of steps is used up. It can be resumed at any time.
    Slice = 1,
    /// The host interrupted it. It continues when it is resumed with the flag cleared.
    Interrupted = 2,
    /// An atom is missing. It continues when it is resumed and the machine has the atom.
    Missing = 3,
    /// The meter refused a charge. It continues when it is resumed after a grant.
    Meter = 4,
    /// A host function has no value yet. It is called again when the evaluation is resumed, unless
    /// the host answers for it.
    HostFunction = 5,
    /// The store or a host function failed. The operation is retried when the evaluation is resumed.
    HostError = 6,
    /// A reason that this version does not know.
    Unknown = 7,
}

/// How an evaluation ended or why it is suspended, and its usage.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AstreumOutcomeInfo {
    /// `sizeof(AstreumOutcomeInfo)`, set by the caller.
    pub size: u64,
    /// Way in which the evaluation ended.
    pub kind: AstreumOutcomeKind,
    /// Reason it is suspended.
    pub reason: AstreumReason,
    /// Amount charged to the meter.
    pub used: u64,
    /// Number of steps.
    pub steps: u64,
    /// Limit that was reached.
    pub limit_kind: AstreumLimitKind,
    /// Whether the whole list that starts with the missing atom is needed.
    pub missing_list: bool,
    /// Whether the source of the evaluation could not be parsed.
    pub has_parse_error: bool,
    /// Value of the limit that was reached.
    pub limit: u64,
    /// Usage that was refused: above the limit or, for the meter, at least the limit.
    pub limit_used: u64,
    /// Id of the missing atom.
    pub missing_id: [u8; ASTREUM_ID_BYTES],
    /// Number of errors that the machine raised.
    pub failure_count: u64,
    /// Number of these errors that were recorded, with their positions: at most 16.
    pub failures: u64,
}

// SAFETY: the struct is `repr(C)`, starts with a `u64`, and consists of plain data.
unsafe impl Sized64 for AstreumOutcomeInfo {
    const FIRST_SIZE: usize = size_of::<Self>();
}

impl AstreumOutcomeInfo {
    const fn new(kind: AstreumOutcomeKind, used: u64, steps: u64) -> Self {
        Self {
            size: wide(size_of::<Self>()),
            kind,
            reason: AstreumReason::None,
            used,
            steps,
            limit_kind: AstreumLimitKind::None,
            missing_list: false,
            has_parse_error: false,
            limit: 0,
            limit_used: 0,
            missing_id: [0; ASTREUM_ID_BYTES],
            failure_count: 0,
            failures: 0,
        }
    }

    fn set_missing(&mut self, missing: &Missing) {
        self.missing_id = *missing.id.as_bytes();
        self.missing_list = missing.wanted == Wanted::List;
    }

    fn of_evaluation(evaluation: &Evaluation) -> Self {
        let kind = match evaluation.outcome() {
            Outcome::Finished => AstreumOutcomeKind::Finished,
            Outcome::Limit(_) => AstreumOutcomeKind::Limit,
            Outcome::Interrupted => AstreumOutcomeKind::Interrupted,
            Outcome::Missing(_) => AstreumOutcomeKind::Missing,
            Outcome::HostError => AstreumOutcomeKind::HostError,
            _ => AstreumOutcomeKind::Unknown,
        };
        let mut info = Self::new(kind, evaluation.used(), evaluation.steps());
        match evaluation.outcome() {
            Outcome::Limit(exceeded) => {
                info.limit_kind = AstreumLimitKind::new(exceeded.kind);
                info.limit = exceeded.limit;
                info.limit_used = exceeded.used;
            }
            Outcome::Missing(missing) => info.set_missing(&missing),
            _ => {}
        }
        info.has_parse_error = evaluation.parse_error().is_some();
        info.failure_count = evaluation.failure_count();
        info.failures = wide(evaluation.failures().len());
        info
    }

    pub(crate) fn of_suspended(suspended: &Suspended) -> Self {
        let meter = suspended.meter();
        let kind = AstreumOutcomeKind::Suspended;
        let mut info = Self::new(kind, meter.used(), suspended.steps());
        info.reason = match suspended.reason() {
            Reason::Slice => AstreumReason::Slice,
            Reason::Interrupted => AstreumReason::Interrupted,
            Reason::Missing(missing) => {
                info.set_missing(missing);
                AstreumReason::Missing
            }
            Reason::Meter { cost } => {
                info.limit_kind = AstreumLimitKind::Meter;
                info.limit = meter.limit().unwrap_or(ASTREUM_UNLIMITED);
                info.limit_used = meter.used().saturating_add(*cost);
                AstreumReason::Meter
            }
            Reason::HostFunction { .. } => AstreumReason::HostFunction,
            Reason::HostError => AstreumReason::HostError,
            _ => AstreumReason::Unknown,
        };
        info
    }
}

impl OutcomeState {
    pub(crate) fn new(
        progress: Progress,
        source: Option<Source>,
        host_error: Option<HostErrorState>,
    ) -> Self {
        match progress {
            Progress::Done(evaluation) => {
                // Only positions of errors need the source.
                let has_failures = !evaluation.failures().is_empty();
                Self {
                    info: AstreumOutcomeInfo::of_evaluation(&evaluation),
                    evaluation: Some(evaluation),
                    suspension: None,
                    source: source.filter(|_| has_failures),
                    host_error,
                }
            }
            Progress::Suspended(suspended) => Self {
                info: AstreumOutcomeInfo::of_suspended(&suspended),
                evaluation: None,
                suspension: Some(Box::new(Suspension { suspended, source })),
                source: None,
                host_error,
            },
        }
    }

    fn evaluation(&self) -> Result<&Evaluation> {
        self.evaluation.as_ref().ok_or(AstreumStatus::NotFound)
    }

    fn failure(&self, index: usize) -> Result<&Failure> {
        let failures = self.evaluation()?.failures();
        failures.get(index).ok_or(AstreumStatus::OutOfRange)
    }
}

impl HostErrorState {
    pub(crate) fn new(error: HostError<HostFailure, HostFailure>) -> Self {
        match error {
            HostError::Read(failure) => Self {
                origin: AstreumHostErrorOrigin::Read,
                function: String::new(),
                failure,
            },
            HostError::Write(failure) => Self {
                origin: AstreumHostErrorOrigin::Write,
                function: String::new(),
                failure,
            },
            HostError::Function { name, error } => Self {
                origin: AstreumHostErrorOrigin::Function,
                function: String::from(name.as_str()),
                failure: HostFailure::of_function(error),
            },
            other => Self {
                origin: AstreumHostErrorOrigin::Unknown,
                function: String::new(),
                failure: HostFailure::new(0, &alloc::format!("{other}")),
            },
        }
    }
}

/// Returns how an evaluation ended. `info->size` must be set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_outcome_info(
    outcome: *const AstreumOutcome,
    info: *mut AstreumOutcomeInfo,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let outcome = unsafe { handle::lock(outcome)? };
        // SAFETY: the contract of the crate.
        unsafe { write_sized(info, &outcome.info) }
    })
}

/// Returns the value of an evaluation, or `ASTREUM_STATUS_NOT_FOUND` if it is suspended. The caller
/// frees the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_outcome_value(
    outcome: *const AstreumOutcome,
    value: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, outcome) = unsafe { (Out::handle(value)?, handle::lock(outcome)?) };
        out.set(handle::create(outcome.evaluation()?.value().clone()));
        Ok(())
    })
}

/// Takes the suspended evaluation out of an outcome, or returns `ASTREUM_STATUS_NOT_FOUND` if it is
/// not suspended or was taken before. The caller resumes or frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_outcome_take_suspension(
    outcome: *mut AstreumOutcome,
    suspension: *mut *mut AstreumSuspension,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, mut outcome) = unsafe { (Out::handle(suspension)?, handle::lock(outcome)?) };
        let suspension = outcome.suspension.take();
        out.set(handle::create(*suspension.ok_or(AstreumStatus::NotFound)?));
        Ok(())
    })
}

/// Returns the parse error of the source, or `ASTREUM_STATUS_NOT_FOUND`. `error->size` must be set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_outcome_parse_error(
    outcome: *const AstreumOutcome,
    error: *mut AstreumParseError,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let outcome = unsafe { handle::lock(outcome)? };
        let found = outcome.evaluation()?.parse_error();
        let found = AstreumParseError::new(found.ok_or(AstreumStatus::NotFound)?);
        // SAFETY: the contract of the crate.
        unsafe { write_sized(error, &found) }
    })
}

/// Operation of the host that failed.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AstreumHostErrorOrigin {
    /// An operation that this version does not know.
    Unknown = 0,
    /// Reading an atom.
    Read = 1,
    /// Storing an atom.
    Write = 2,
    /// A host function.
    Function = 3,
}

/// Error of the host. `size` is set by the caller; the texts are valid until the outcome is freed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AstreumHostError {
    /// `sizeof(AstreumHostError)`, set by the caller.
    pub size: u64,
    /// Operation that failed.
    pub origin: AstreumHostErrorOrigin,
    /// Number that the host gave; 0 if the library raised the error.
    pub code: u64,
    /// Message that the host gave.
    pub message: AstreumSlice,
    /// Name of the host function; empty for the store.
    pub function: AstreumSlice,
}

// SAFETY: the struct is `repr(C)`, starts with a `u64`, and consists of plain data.
unsafe impl Sized64 for AstreumHostError {
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// Returns the error of the host that ended or suspended the evaluation, or
/// `ASTREUM_STATUS_NOT_FOUND`. `error->size` must be set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_outcome_host_error(
    outcome: *const AstreumOutcome,
    error: *mut AstreumHostError,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let outcome = unsafe { handle::lock(outcome)? };
        let found = outcome.host_error.as_ref();
        let found = found.ok_or(AstreumStatus::NotFound)?;
        let found = AstreumHostError {
            size: wide(size_of::<AstreumHostError>()),
            origin: found.origin,
            code: found.failure.code,
            message: AstreumSlice::new(found.failure.message.as_bytes()),
            function: AstreumSlice::new(found.function.as_bytes()),
        };
        // SAFETY: the contract of the crate.
        unsafe { write_sized(error, &found) }
    })
}

/// Kind of an error that the machine raises.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AstreumErrorKind {
    /// A kind that this version does not know.
    Unknown = 0,
    /// A symbol is not bound.
    UnboundSymbol = 1,
    /// A `def` has no value or no name.
    DefinitionShape = 2,
    /// The name of a `def` is not a symbol.
    DefinitionName = 3,
    /// The body of a function is not a list.
    FunctionBody = 4,
    /// The parameters of a function are not a list.
    FunctionParameters = 5,
    /// A parameter is not a symbol.
    FunctionParameter = 6,
    /// The body of a stack program is not a list.
    StackBody = 7,
    /// A call has too many or too few arguments.
    Arity = 8,
    /// A `$` in a stack program is not followed by a number.
    Placeholder = 9,
    /// The index of a `$n` is beyond the last argument.
    PlaceholderArity = 10,
    /// A `ref` does not have exactly one id.
    ReferenceShape = 11,
    /// The target of a `ref` is not a list of readable atoms.
    ReferenceTarget = 12,
    /// An argument of a function is not bytes.
    FunctionArgument = 13,
    /// An argument of a stack program is neither bytes nor a list.
    StackArgument = 14,
    /// A list as an argument of a stack program contains something other than bytes.
    ByteList = 15,
    /// A definition or parameter has the name of a host function.
    HostName = 16,
    /// A call from the host targets neither a special form nor the name of one.
    NotCallable = 17,
    /// An opcode has too few values on the stack.
    Underflow = 18,
    /// A stack program did not leave exactly one value.
    BadStack = 19,
    /// The target of a jump is not the index of a token.
    BadJump = 20,
    /// A slice has a negative start or length.
    BadSlice = 21,
    /// The operands of a link are not two ids.
    BadLink = 22,
    /// A load has a negative start or length.
    BadLoad = 23,
    /// A load of more than 32 bytes.
    LoadTooWide = 24,
    /// An atom kind is not one byte.
    BadAtomKind = 25,
    /// An atom kind is unknown.
    UnknownAtomKind = 26,
    /// The store does not have the atom, or the operand is not an id.
    UnknownAtom = 27,
    /// The meter refused a charge.
    MeterLimit = 28,
}

impl AstreumErrorKind {
    const fn new(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::UnboundSymbol => Self::UnboundSymbol,
            ErrorKind::DefinitionShape => Self::DefinitionShape,
            ErrorKind::DefinitionName => Self::DefinitionName,
            ErrorKind::FunctionBody => Self::FunctionBody,
            ErrorKind::FunctionParameters => Self::FunctionParameters,
            ErrorKind::FunctionParameter => Self::FunctionParameter,
            ErrorKind::StackBody => Self::StackBody,
            ErrorKind::Arity => Self::Arity,
            ErrorKind::Placeholder => Self::Placeholder,
            ErrorKind::PlaceholderArity => Self::PlaceholderArity,
            ErrorKind::ReferenceShape => Self::ReferenceShape,
            ErrorKind::ReferenceTarget => Self::ReferenceTarget,
            ErrorKind::FunctionArgument => Self::FunctionArgument,
            ErrorKind::StackArgument => Self::StackArgument,
            ErrorKind::ByteList => Self::ByteList,
            ErrorKind::HostName => Self::HostName,
            ErrorKind::NotCallable => Self::NotCallable,
            ErrorKind::Underflow => Self::Underflow,
            ErrorKind::BadStack => Self::BadStack,
            ErrorKind::BadJump => Self::BadJump,
            ErrorKind::BadSlice => Self::BadSlice,
            ErrorKind::BadLink => Self::BadLink,
            ErrorKind::BadLoad => Self::BadLoad,
            ErrorKind::LoadTooWide => Self::LoadTooWide,
            ErrorKind::BadAtomKind => Self::BadAtomKind,
            ErrorKind::UnknownAtomKind => Self::UnknownAtomKind,
            ErrorKind::UnknownAtom => Self::UnknownAtom,
            ErrorKind::MeterLimit => Self::MeterLimit,
            _ => Self::Unknown,
        }
    }
}

/// Error that the machine raised, with its position. `size` is set by the caller; the texts are valid
/// until the outcome is freed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AstreumFailure {
    /// `sizeof(AstreumFailure)`, set by the caller.
    pub size: u64,
    /// Kind of the error.
    pub kind: AstreumErrorKind,
    /// Whether the unbound symbol is at the tail of a list, where it would be called.
    pub is_call: bool,
    /// Whether `token`, `opcode` and `depth` are set: a stack program was running.
    pub has_stack: bool,
    /// Whether `start` and `end` are set: the position is in the source of this evaluation. For code
    /// of earlier sources see `astreum_outcome_failure_span`.
    pub has_span: bool,
    /// Topic of the error value: `eval` or `low_eval`.
    pub topic: AstreumSlice,
    /// Message of the error value; for an unbound symbol without its name.
    pub message: AstreumSlice,
    /// Name of the unbound symbol, or empty.
    pub symbol: AstreumSlice,
    /// Index of the token in the stack program; the number of tokens if the program ran to its end.
    pub token: u64,
    /// Name of the opcode at that token; empty if it is not one.
    pub opcode: AstreumSlice,
    /// Number of values on the stack.
    pub depth: u64,
    /// Start of the token or expression in the source, in bytes.
    pub start: u64,
    /// End of the token or expression in the source, in bytes.
    pub end: u64,
    /// Number of recorded open calls: at most 16.
    pub frames: u64,
    /// Number of outer calls that are not recorded.
    pub more_frames: u64,
}

// SAFETY: the struct is `repr(C)`, starts with a `u64`, and consists of plain data.
unsafe impl Sized64 for AstreumFailure {
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// Returns the span of a frame of a failure in a source: of the failure itself for frame 0.
fn span(failure: &Failure, frame: usize, source: &Source) -> Option<Range<usize>> {
    let found = failure.frames().get(frame)?;
    let path = match frame {
        0 => failure.path(),
        _ => found.path(),
    };
    source.find(found.code(), &path)
}

/// Returns one of the recorded errors, in order of occurrence. `failure->size` must be set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_outcome_failure(
    outcome: *const AstreumOutcome,
    index: usize,
    failure: *mut AstreumFailure,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let outcome = unsafe { handle::lock(outcome)? };
        let found = outcome.failure(index)?;
        let source = outcome.source.as_ref();
        let span = source.and_then(|source| span(found, 0, source));
        let (start, end) = span.as_ref().map_or((0, 0), |span| (span.start, span.end));
        let stack = found.stack();
        let opcode = stack.and_then(|stack| stack.opcode);
        let found = AstreumFailure {
            size: wide(size_of::<AstreumFailure>()),
            kind: AstreumErrorKind::new(found.kind()),
            is_call: found.is_call(),
            has_stack: stack.is_some(),
            has_span: span.is_some(),
            topic: AstreumSlice::new(found.kind().topic().as_bytes()),
            message: AstreumSlice::new(found.kind().message().as_bytes()),
            symbol: AstreumSlice::new(found.symbol().unwrap_or_default().as_bytes()),
            token: stack.map_or(0, |stack| wide(stack.token)),
            opcode: AstreumSlice::new(opcode.map_or("", Opcode::name).as_bytes()),
            depth: stack.map_or(0, |stack| wide(stack.depth)),
            start: wide(start),
            end: wide(end),
            frames: wide(found.frames().len()),
            more_frames: found.more_frames(),
        };
        // SAFETY: the contract of the crate.
        unsafe { write_sized(failure, &found) }
    })
}

/// Returns the name of the function of an open call at the time of an error, innermost call first,
/// valid until the outcome is freed; empty if it has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_outcome_frame_name(
    outcome: *const AstreumOutcome,
    failure: usize,
    frame: usize,
    name: *mut AstreumSlice,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (outcome, out) = unsafe { (handle::lock(outcome)?, Out::new(name)?) };
        let frame = outcome.failure(failure)?.frames().get(frame);
        let name = frame.ok_or(AstreumStatus::OutOfRange)?.name();
        out.set(AstreumSlice::new(name.unwrap_or_default().as_bytes()));
        Ok(())
    })
}

/// Returns the span of the running operation of an open call at the time of an error, innermost call
/// first, in bytes of the source of `script`; null means the source of this evaluation. For frame 0
/// it is the span of the error itself. Returns `ASTREUM_STATUS_NOT_FOUND` if the code is not in that
/// source.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_outcome_failure_span(
    outcome: *const AstreumOutcome,
    failure: usize,
    frame: usize,
    script: *const AstreumScript,
    start: *mut usize,
    end: *mut usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (outcome, start, end) =
            unsafe { (handle::lock(outcome)?, Out::new(start)?, Out::new(end)?) };
        let failure = outcome.failure(failure)?;
        if frame >= failure.frames().len() {
            return Err(AstreumStatus::OutOfRange);
        }
        let source = if script.is_null() {
            outcome.source.as_ref().ok_or(AstreumStatus::NotFound)?
        } else {
            // SAFETY: the contract of the crate.
            unsafe { handle::shared(script)? }
        };
        let span = span(failure, frame, source).ok_or(AstreumStatus::NotFound)?;
        start.set(span.start);
        end.set(span.end);
        Ok(())
    })
}

/// Frees an outcome, and the suspension in it unless that was taken. Null is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_outcome_free(outcome: *mut AstreumOutcome) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        unsafe { handle::free(outcome) }
    })
}
