//! Suspended evaluations.

use crate::error::{AstreumStatus, Result, guard};
use crate::handle::{self, Kind};
use crate::host::HostFailure;
use crate::memory::{AstreumSlice, Out, text, write_sized};
use crate::outcome::AstreumOutcomeInfo;
use crate::text::Source;
use crate::value::AstreumValue;
use alloc::boxed::Box;
use astreum_core::machine::Suspended;

/// Suspended evaluation. It can be resumed by another thread, by another machine with the same host
/// functions, and after serialization. Used by one call at a time. To end the evaluation, free it.
pub struct AstreumSuspension {
    _private: [u8; 0],
}

/// State of a suspended evaluation, and its source, if it has one.
pub(crate) struct Suspension {
    pub(crate) suspended: Suspended,
    pub(crate) source: Option<Source>,
}

impl Kind for AstreumSuspension {
    type State = Suspension;
    const TAG: u32 = 0x4173_0008;
}

/// Returns the reason for the suspension, the charge and the steps so far, as
/// `astreum_outcome_info` does. `info->size` must be set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_suspension_info(
    suspension: *const AstreumSuspension,
    info: *mut AstreumOutcomeInfo,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let suspension = unsafe { handle::lock(suspension)? };
        let found = AstreumOutcomeInfo::of_suspended(&suspension.suspended);
        // SAFETY: the contract of the crate.
        unsafe { write_sized(info, &found) }
    })
}

/// Raises the limit of the meter by `amount`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_suspension_grant(
    suspension: *mut AstreumSuspension,
    amount: u64,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let mut suspension = unsafe { handle::lock(suspension)? };
        suspension.suspended.grant(amount);
        Ok(())
    })
}

/// Decides that the awaited data will not be available: a missing atom or a refused charge is then
/// an error of the program, and an error of the host ends the evaluation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_suspension_refuse(
    suspension: *mut AstreumSuspension,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let mut suspension = unsafe { handle::lock(suspension)? };
        suspension.suspended.refuse();
        Ok(())
    })
}

/// Returns the name of the host function that the evaluation waits for, and the number of its
/// arguments, or `ASTREUM_STATUS_NOT_FOUND`. The name is valid until the suspension is resumed or
/// freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_suspension_call(
    suspension: *const AstreumSuspension,
    name: *mut AstreumSlice,
    argument_count: *mut usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (suspension, name, count) = unsafe {
            (
                handle::lock(suspension)?,
                Out::new(name)?,
                Out::new(argument_count)?,
            )
        };
        let call = suspension.suspended.host_call();
        let (called, arguments) = call.ok_or(AstreumStatus::NotFound)?;
        name.set(AstreumSlice::new(called.as_bytes()));
        count.set(arguments.len());
        Ok(())
    })
}

/// Returns an argument of the host function that the evaluation waits for. The caller frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_suspension_argument(
    suspension: *const AstreumSuspension,
    index: usize,
    value: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, suspension) = unsafe { (Out::handle(value)?, handle::lock(suspension)?) };
        let call = suspension.suspended.host_call();
        let (_, arguments) = call.ok_or(AstreumStatus::NotFound)?;
        let argument = arguments.get(index).ok_or(AstreumStatus::OutOfRange)?;
        out.set(handle::create(argument.clone()));
        Ok(())
    })
}

/// Supplies the value of the host function that the evaluation waits for; the caller keeps it.
/// Returns `ASTREUM_STATUS_NOT_FOUND` if the evaluation waits for something else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_suspension_answer(
    suspension: *mut AstreumSuspension,
    value: *const AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut suspension, value) =
            unsafe { (handle::lock(suspension)?, handle::shared(value)?) };
        waits_for_function(&suspension)?;
        suspension.suspended.answer(Ok(value.clone()));
        Ok(())
    })
}

/// Supplies an error in place of the value of the host function that the evaluation waits for, as
/// `astreum_call_fail` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_suspension_fail(
    suspension: *mut AstreumSuspension,
    code: u64,
    message: *const u8,
    message_len: usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut suspension, message) =
            unsafe { (handle::lock(suspension)?, text(message, message_len)?) };
        waits_for_function(&suspension)?;
        let failure = Box::new(HostFailure::new(code, message));
        suspension.suspended.answer(Err(failure));
        Ok(())
    })
}

fn waits_for_function(suspension: &Suspension) -> Result {
    let call = suspension.suspended.host_call();
    call.map(|_| ()).ok_or(AstreumStatus::NotFound)
}

/// Frees a suspension, which ends the evaluation. Null is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_suspension_free(
    suspension: *mut AstreumSuspension,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        unsafe { handle::free(suspension) }
    })
}
