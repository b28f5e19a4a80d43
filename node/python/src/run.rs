//! Evaluation without the GIL, in slices between which signals are handled.

use crate::errors::AstreumError;
use crate::host::PythonError;
use crate::store::Atoms;
use astreum_core::machine::{
    Env, Evaluation, HostError, Machine, Progress, Reason, Suspended, Task,
};
use pyo3::prelude::*;

/// Number of steps between two checks for signals: some milliseconds.
const SLICE_STEPS: u64 = 1 << 20;

/// Step of an evaluation.
pub(crate) enum Step<'a> {
    /// The evaluation starts.
    Start(Task<'a>),
    /// A suspended evaluation is resumed.
    Resume(Box<Suspended>),
}

impl Step<'_> {
    /// Runs until the evaluation ends or is suspended.
    fn run(self, machine: &mut Machine<Atoms>, env: &mut Env) -> Progress {
        match self {
            Self::Start(task) => machine.start(task, env),
            Self::Resume(suspended) => machine.resume(*suspended, env),
        }
    }
}

/// Evaluates to the end, as [`Machine::eval`] does.
///
/// # Errors
/// Returns the exception of a host function or of a signal handler, such as `KeyboardInterrupt`.
pub(crate) fn finish(
    py: Python<'_>,
    machine: &mut Machine<Atoms>,
    env: &mut Env,
    step: Step<'_>,
) -> PyResult<Evaluation> {
    machine.set_slice(Some(SLICE_STEPS));
    let mut progress = py.detach(|| step.run(machine, env));
    loop {
        let mut suspended = match progress {
            Progress::Done(evaluation) => return Ok(evaluation),
            Progress::Suspended(suspended) => suspended,
        };
        match suspended.reason() {
            Reason::Slice => py.check_signals()?,
            Reason::Interrupted => return Ok(py.detach(|| machine.finish(suspended, env))),
            Reason::HostError => {
                if let Some(error) = take_exception(py, machine) {
                    return Err(error);
                }
                suspended.refuse();
            }
            Reason::Missing(missing) => {
                machine.store().assume_absent(missing.id);
                suspended.refuse();
            }
            _ => suspended.refuse(),
        }
        progress = py.detach(|| machine.resume(suspended, env));
    }
}

/// Starts or resumes an evaluation, which is suspended after `slice` steps, or wherever it cannot
/// continue.
///
/// # Errors
/// As [`finish`].
pub(crate) fn advance(
    py: Python<'_>,
    machine: &mut Machine<Atoms>,
    env: &mut Env,
    step: Step<'_>,
    slice: Option<u64>,
) -> PyResult<Progress> {
    machine.set_slice(Some(slice.unwrap_or(SLICE_STEPS)));
    let mut progress = py.detach(|| step.run(machine, env));
    loop {
        let suspended = match progress {
            Progress::Suspended(suspended) => suspended,
            done @ Progress::Done(_) => return Ok(done),
        };
        match suspended.reason() {
            Reason::Slice if slice.is_none() => py.check_signals()?,
            Reason::HostError => {
                if let Some(error) = take_exception(py, machine) {
                    return Err(error);
                }
                return Ok(Progress::Suspended(suspended));
            }
            _ => return Ok(Progress::Suspended(suspended)),
        }
        progress = py.detach(|| machine.resume(suspended, env));
    }
}

/// Takes the exception that a host function raised; `None` if the store failed.
fn take_exception(py: Python<'_>, machine: &mut Machine<Atoms>) -> Option<PyErr> {
    let Some(HostError::Function { name, error }) = machine.take_host_error() else {
        return None;
    };
    Some(match error.downcast_ref::<PythonError>() {
        Some(PythonError(exception)) => exception.clone_ref(py),
        None => AstreumError::new_err(format!("host function {} failed: {error}", name.as_str())),
    })
}
