//! Machines and interrupts.

use crate::env::AstreumEnv;
use crate::error::{AstreumStatus, Result, guard};
use crate::handle::{self, Kind, SharedKind};
use crate::limits::AstreumLimits;
use crate::memory::{ASTREUM_UNLIMITED, AstreumSlice, Out, items, read_sized, text, write_sized};
use crate::outcome::{AstreumOutcome, HostErrorState, OutcomeState};
use crate::store::HostStore;
use crate::suspension::AstreumSuspension;
use crate::text::{self as text_api, AstreumScript, Source};
use crate::value::{self, AstreumValue};
use crate::version;
use alloc::sync::Arc;
use alloc::vec::Vec;
use astreum_core::expr::{Bytes, Expr};
use astreum_core::machine::{Env, Evaluation, Function, Limits, Machine, Program, Progress, Task};
use core::sync::atomic::{AtomicBool, Ordering};

/// Virtual machine. It can move between threads, and is used by one call at a time.
pub struct AstreumMachine {
    _private: [u8; 0],
}

impl Kind for AstreumMachine {
    type State = Machine<HostStore>;
    const TAG: u32 = 0x4173_000a;
}

/// Flag that interrupts evaluations; any thread may set it, also a signal handler.
pub struct AstreumInterrupt {
    _private: [u8; 0],
}

impl Kind for AstreumInterrupt {
    type State = Arc<AtomicBool>;
    const TAG: u32 = 0x4173_000b;
}

impl SharedKind for AstreumInterrupt {}

/// The evaluation runs to its end: a missing atom and a refused charge are errors of the program, an
/// interrupt and an error of the host end the evaluation.
pub const ASTREUM_MODE_FINISH: u32 = 0;
/// The evaluation is suspended when it cannot continue immediately, see `AstreumReason`.
pub const ASTREUM_MODE_SUSPEND: u32 = 1;

/// Way to run an evaluation.
#[derive(Clone, Copy)]
enum Mode {
    Finish,
    Suspend,
}

impl Mode {
    const fn new(mode: u32) -> Result<Self> {
        match mode {
            ASTREUM_MODE_FINISH => Ok(Self::Finish),
            ASTREUM_MODE_SUSPEND => Ok(Self::Suspend),
            _ => Err(AstreumStatus::InvalidArgument),
        }
    }
}

const fn unlimited(limit: u64) -> Option<u64> {
    match limit {
        ASTREUM_UNLIMITED => None,
        limit => Some(limit),
    }
}

/// Creates a machine with its own memory of atoms and an unlimited meter. `abi_version` is
/// `ASTREUM_ABI_VERSION`; `limits` may be null for the default limits. The caller frees the machine
/// with `astreum_machine_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_new(
    abi_version: u32,
    limits: *const AstreumLimits,
    machine: *mut *mut AstreumMachine,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let out = unsafe { Out::handle(machine)? };
        version::check(abi_version)?;
        // SAFETY: the contract of the crate.
        let limits = unsafe { self::limits(limits)? };
        out.set(handle::create(Machine::with_limits(
            HostStore::default(),
            limits,
        )));
        Ok(())
    })
}

/// Returns the limits of the caller, or the default ones for null.
///
/// # Safety
/// The contract of the crate.
unsafe fn limits(limits: *const AstreumLimits) -> Result<Limits> {
    if limits.is_null() {
        return Ok(Limits::DEFAULT);
    }
    let default = AstreumLimits::new(&Limits::DEFAULT);
    // SAFETY: as the caller promises.
    Ok(unsafe { read_sized(limits, default)? }.limits())
}

/// Frees a machine and its atoms. Outcomes, suspensions and values live on. Null is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_free(machine: *mut AstreumMachine) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        unsafe { handle::free(machine) }
    })
}

/// Sets the limits of evaluations that start from now on; null means the default limits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_set_limits(
    machine: *mut AstreumMachine,
    limits: *const AstreumLimits,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut machine, limits) = unsafe { (handle::lock(machine)?, self::limits(limits)?) };
        machine.set_limits(limits);
        Ok(())
    })
}

/// Returns the limits. `limits->size` must be set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_limits(
    machine: *const AstreumMachine,
    limits: *mut AstreumLimits,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let machine = unsafe { handle::lock(machine)? };
        // SAFETY: the contract of the crate.
        unsafe { write_sized(limits, &AstreumLimits::new(machine.limits())) }
    })
}

/// Sets the limit of the meter that each evaluation starts with; it may also be `ASTREUM_UNLIMITED`.
/// A charge that would reach the limit is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_set_meter_limit(
    machine: *mut AstreumMachine,
    limit: u64,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let mut machine = unsafe { handle::lock(machine)? };
        machine.set_meter_limit(unlimited(limit));
        Ok(())
    })
}

/// Sets the number of steps after which evaluations in `ASTREUM_MODE_SUSPEND` are suspended; it may
/// also be `ASTREUM_UNLIMITED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_set_slice(
    machine: *mut AstreumMachine,
    steps: u64,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let mut machine = unsafe { handle::lock(machine)? };
        machine.set_slice(unlimited(steps));
        Ok(())
    })
}

/// Discards all code that is kept for later evaluations and releases its memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_forget(machine: *mut AstreumMachine) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        unsafe { handle::lock(machine)? }.forget();
        Ok(())
    })
}

/// Creates a flag that is not set. The caller frees it with `astreum_interrupt_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_interrupt_new(
    interrupt: *mut *mut AstreumInterrupt,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let out = unsafe { Out::handle(interrupt)? };
        out.set(handle::create(Arc::new(AtomicBool::new(false))));
        Ok(())
    })
}

/// Sets or clears a flag, on any thread. A machine never clears it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_interrupt_set(
    interrupt: *const AstreumInterrupt,
    is_set: bool,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let flag = unsafe { handle::shared(interrupt)? };
        flag.store(is_set, Ordering::Relaxed);
        Ok(())
    })
}

/// Frees a flag; machines that use it keep it alive as long as they need it. Null is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_interrupt_free(interrupt: *mut AstreumInterrupt) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        unsafe { handle::free(interrupt) }
    })
}

/// Sets the flag that interrupts evaluations of this machine. The caller keeps the flag, which several
/// machines can share.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_set_interrupt(
    machine: *mut AstreumMachine,
    interrupt: *const AstreumInterrupt,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut machine, flag) = unsafe { (handle::lock(machine)?, handle::shared(interrupt)?) };
        machine.set_interrupt(Arc::clone(flag));
        Ok(())
    })
}

/// Creates the outcome of an evaluation that ended or was suspended.
pub(crate) fn outcome(
    machine: &mut Machine<HostStore>,
    progress: Progress,
    source: Option<Source>,
) -> *mut AstreumOutcome {
    let host_error = machine.take_host_error().map(HostErrorState::new);
    handle::create(OutcomeState::new(progress, source, host_error))
}

/// Evaluates a task.
fn evaluate(
    machine: &mut Machine<HostStore>,
    env: &mut Env,
    task: Task<'_>,
    mode: Mode,
    source: Option<Source>,
) -> *mut AstreumOutcome {
    let progress = match mode {
        Mode::Finish => Progress::Done(machine.eval_task(task, env)),
        Mode::Suspend => machine.start(task, env),
    };
    outcome(machine, progress, source)
}

/// Evaluates a source of exactly one expression in an environment, which keeps the definitions. A
/// parse error is an outcome, whose value is an error. `mode` is `ASTREUM_MODE_FINISH` or
/// `ASTREUM_MODE_SUSPEND`. The caller frees the outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_eval(
    machine: *mut AstreumMachine,
    env: *mut AstreumEnv,
    source: *const u8,
    source_len: usize,
    mode: u32,
    outcome: *mut *mut AstreumOutcome,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, mut machine, mut env, source) = unsafe {
            (
                Out::handle(outcome)?,
                handle::lock(machine)?,
                handle::lock(env)?,
                text(source, source_len)?,
            )
        };
        let mode = Mode::new(mode)?;
        let script = text_api::parse(source).ok();
        let one = script.filter(|script| script.exprs().len() == 1);
        out.set(match one.as_ref().and_then(|script| script.expr(0)) {
            Some(expr) => {
                let task = Task::Expr(expr);
                let done = evaluate(&mut machine, &mut env, task, mode, one.clone());
                // Functions that it defined live on.
                machine.release(expr);
                done
            }
            None => {
                // Only creates the error.
                let done: Evaluation = machine.eval_source(source, &mut env);
                self::outcome(&mut machine, Progress::Done(done), None)
            }
        });
        Ok(())
    })
}

/// Evaluates a value in an environment, as `astreum_machine_eval` does. The caller frees the outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_eval_value(
    machine: *mut AstreumMachine,
    env: *mut AstreumEnv,
    value: *const AstreumValue,
    mode: u32,
    outcome: *mut *mut AstreumOutcome,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, mut machine, mut env, value) = unsafe {
            (
                Out::handle(outcome)?,
                handle::lock(machine)?,
                handle::lock(env)?,
                handle::shared(value)?,
            )
        };
        let mode = Mode::new(mode)?;
        // A callback may free the handle.
        let value = value.clone();
        let task = Task::Expr(&value);
        out.set(evaluate(&mut machine, &mut env, task, mode, None));
        Ok(())
    })
}

/// Evaluates all expressions of a script in order, as one evaluation with one meter. Its value is that
/// of the last expression, or of the first one that is an error. The caller frees the outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_eval_script(
    machine: *mut AstreumMachine,
    env: *mut AstreumEnv,
    script: *const AstreumScript,
    mode: u32,
    outcome: *mut *mut AstreumOutcome,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, mut machine, mut env, script) = unsafe {
            (
                Out::handle(outcome)?,
                handle::lock(machine)?,
                handle::lock(env)?,
                handle::shared(script)?,
            )
        };
        let mode = Mode::new(mode)?;
        let exprs: Vec<Expr> = script.exprs().cloned().collect();
        let task = Task::Script(&exprs);
        let source = Some(Arc::clone(script));
        out.set(evaluate(&mut machine, &mut env, task, mode, source));
        Ok(())
    })
}

/// Calls the function or stack program that a name is bound to with values, as `(args… name)` would.
/// Code that was compiled for an earlier call is reused. The caller frees the outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_call(
    machine: *mut AstreumMachine,
    env: *mut AstreumEnv,
    name: *const u8,
    name_len: usize,
    arguments: *const *const AstreumValue,
    argument_count: usize,
    mode: u32,
    outcome: *mut *mut AstreumOutcome,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, mut machine, mut env, name, arguments) = unsafe {
            (
                Out::handle(outcome)?,
                handle::lock(machine)?,
                handle::lock(env)?,
                text(name, name_len)?,
                value::exprs(arguments, argument_count)?,
            )
        };
        let mode = Mode::new(mode)?;
        let task = Task::Call {
            function: Function::Name(name),
            arguments: &arguments,
        };
        out.set(evaluate(&mut machine, &mut env, task, mode, None));
        Ok(())
    })
}

/// Calls a function or stack program that is given as a value, `(body params fn)` or `(body sk)`, as
/// `astreum_machine_call` does. Its code is reused as long as the value is the same handle or a clone
/// of it. The caller frees the outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_call_value(
    machine: *mut AstreumMachine,
    env: *mut AstreumEnv,
    function: *const AstreumValue,
    arguments: *const *const AstreumValue,
    argument_count: usize,
    mode: u32,
    outcome: *mut *mut AstreumOutcome,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, mut machine, mut env, function, arguments) = unsafe {
            (
                Out::handle(outcome)?,
                handle::lock(machine)?,
                handle::lock(env)?,
                handle::shared(function)?,
                value::exprs(arguments, argument_count)?,
            )
        };
        let mode = Mode::new(mode)?;
        // A callback may free the handle.
        let function = function.clone();
        let task = Task::Call {
            function: Function::Form(&function),
            arguments: &arguments,
        };
        out.set(evaluate(&mut machine, &mut env, task, mode, None));
        Ok(())
    })
}

/// Runs a stack program without the evaluator. Tokens equal to the name of an opcode are that opcode,
/// all others are literals. A suspension of it is resumed with any environment. The caller frees the
/// outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_run(
    machine: *mut AstreumMachine,
    tokens: *const AstreumSlice,
    token_count: usize,
    mode: u32,
    outcome: *mut *mut AstreumOutcome,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, mut machine, tokens) = unsafe {
            (
                Out::handle(outcome)?,
                handle::lock(machine)?,
                items(tokens, token_count)?,
            )
        };
        let mode = Mode::new(mode)?;
        let mut code = Vec::with_capacity(tokens.len());
        for token in tokens {
            // SAFETY: the contract of the crate.
            code.push(Bytes::new(unsafe { items(token.data, token.len) }?));
        }
        let task = Task::Program {
            program: &Program::new(&code),
            arguments: &[],
        };
        let env = &mut Env::new();
        out.set(evaluate(&mut machine, env, task, mode, None));
        Ok(())
    })
}

/// Resumes a suspended evaluation, of this machine or of another one with the same host functions.
/// `env` is the environment in which it was started. In `ASTREUM_MODE_FINISH`, what suspends it is
/// handled as there.
///
/// Consumes the suspension if it succeeds; otherwise the caller keeps it. The caller frees the
/// outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_resume(
    machine: *mut AstreumMachine,
    env: *mut AstreumEnv,
    suspension: *mut AstreumSuspension,
    mode: u32,
    outcome: *mut *mut AstreumOutcome,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, mut machine, mut env) = unsafe {
            (
                Out::handle(outcome)?,
                handle::lock(machine)?,
                handle::lock(env)?,
            )
        };
        let mode = Mode::new(mode)?;
        // SAFETY: the contract of the crate.
        let suspension = unsafe { handle::take(suspension)? };
        let suspended = suspension.suspended;
        let progress = match mode {
            Mode::Finish => Progress::Done(machine.finish(suspended, &mut env)),
            Mode::Suspend => machine.resume(suspended, &mut env),
        };
        out.set(self::outcome(&mut machine, progress, suspension.source));
        Ok(())
    })
}
