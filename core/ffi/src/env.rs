//! Environments.

use crate::error::{AstreumStatus, guard};
use crate::handle::{self, Kind};
use crate::memory::{Out, text};
use crate::value::AstreumValue;
use astreum_core::machine::Env;

/// Environment: names and the values that they are bound to. Used by one call at a time.
pub struct AstreumEnv {
    _private: [u8; 0],
}

impl Kind for AstreumEnv {
    type State = Env;
    const TAG: u32 = 0x4173_0002;
}

/// Creates an empty environment. The caller frees it with `astreum_env_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_env_new(env: *mut *mut AstreumEnv) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let out = unsafe { Out::handle(env)? };
        out.set(handle::create(Env::new()));
        Ok(())
    })
}

/// Creates a copy of an environment; later changes of one do not affect the other. The values are
/// shared, not copied. The caller frees it with `astreum_env_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_env_clone(
    env: *const AstreumEnv,
    copy: *mut *mut AstreumEnv,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, env) = unsafe { (Out::handle(copy)?, handle::lock(env)?) };
        out.set(handle::create(env.clone()));
        Ok(())
    })
}

/// Binds a name to a value. The caller keeps the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_env_set(
    env: *mut AstreumEnv,
    name: *const u8,
    name_len: usize,
    value: *const AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut env, name, value) = unsafe {
            (
                handle::lock(env)?,
                text(name, name_len)?,
                handle::shared(value)?,
            )
        };
        env.set(name, value.clone());
        Ok(())
    })
}

/// Returns the value that a name is bound to, or `ASTREUM_STATUS_NOT_FOUND`. The caller frees the
/// value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_env_get(
    env: *const AstreumEnv,
    name: *const u8,
    name_len: usize,
    value: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, env, name) = unsafe {
            (
                Out::handle(value)?,
                handle::lock(env)?,
                text(name, name_len)?,
            )
        };
        let value = env.get(name).ok_or(AstreumStatus::NotFound)?;
        out.set(handle::create(value.clone()));
        Ok(())
    })
}

/// Removes the binding of a name; returns `ASTREUM_STATUS_NOT_FOUND` if it has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_env_remove(
    env: *mut AstreumEnv,
    name: *const u8,
    name_len: usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut env, name) = unsafe { (handle::lock(env)?, text(name, name_len)?) };
        env.remove(name).ok_or(AstreumStatus::NotFound)?;
        Ok(())
    })
}

/// Frees an environment. Null is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_env_free(env: *mut AstreumEnv) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        unsafe { handle::free(env) }
    })
}
