//! Suspensions as bytes, to resume them in another machine or process.
//!
//! A feature of its own, because it is a fifth of the code of a small WebAssembly module.

use crate::buffer::{AstreumBuffer, buffer};
use crate::env::AstreumEnv;
use crate::error::{AstreumStatus, guard};
use crate::handle;
use crate::machine::AstreumMachine;
use crate::memory::{Out, items};
use crate::suspension::{AstreumSuspension, Suspension};
use astreum_core::machine::RestoreError;

/// Serializes a suspension together with the environment in which it was started. The positions of
/// earlier errors and the source are not included. The caller frees the buffer, and keeps both
/// handles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_suspension_serialize(
    suspension: *const AstreumSuspension,
    env: *const AstreumEnv,
    bytes: *mut *mut AstreumBuffer,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, suspension, env) = unsafe {
            (
                Out::handle(bytes)?,
                handle::lock(suspension)?,
                handle::lock(env)?,
            )
        };
        out.set(buffer(suspension.suspended.to_bytes(&env)));
        Ok(())
    })
}

/// Restores a suspension and its environment from bytes, to resume it in this machine. Any bytes are
/// safe, but charge, steps and values are only as trustworthy as their source.
///
/// Returns `ASTREUM_STATUS_MALFORMED`, `ASTREUM_STATUS_HIGHER_LIMITS` or
/// `ASTREUM_STATUS_OTHER_HOST_FUNCTIONS`. The caller frees both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_restore(
    machine: *const AstreumMachine,
    data: *const u8,
    len: usize,
    suspension: *mut *mut AstreumSuspension,
    env: *mut *mut AstreumEnv,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (suspension, env, machine, bytes) = unsafe {
            (
                Out::handle(suspension)?,
                Out::handle(env)?,
                handle::lock(machine)?,
                items(data, len)?,
            )
        };
        let restored = machine.restore(bytes).map_err(|error| match error {
            RestoreError::Limits => AstreumStatus::HigherLimits,
            RestoreError::HostFunctions => AstreumStatus::OtherHostFunctions,
            _ => AstreumStatus::Malformed,
        })?;
        suspension.set(handle::create(Suspension {
            suspended: restored.0,
            source: None,
        }));
        env.set(handle::create(restored.1));
        Ok(())
    })
}
