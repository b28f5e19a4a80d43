//! Handles of the ABI that are freed when they are dropped, for tests.

#![allow(dead_code, reason = "each test uses a part of it")]

use astreum::*;
use astreum_core::machine::Limits;
use core::ptr::{null, null_mut};

pub(crate) fn check(status: AstreumStatus) {
    assert_eq!(status, AstreumStatus::Ok);
}

/// Returns a copy of the bytes.
pub(crate) fn copied(slice: AstreumSlice) -> Vec<u8> {
    match slice.len {
        0 => Vec::new(),
        // SAFETY: the library returned the slice, and its owner is alive.
        len => unsafe { core::slice::from_raw_parts(slice.data, len) }.to_vec(),
    }
}

pub(crate) const EMPTY: AstreumSlice = AstreumSlice {
    data: null(),
    len: 0,
};

/// Returns a struct for a parse error.
pub(crate) fn parse_error() -> AstreumParseError {
    AstreumParseError {
        size: size_of::<AstreumParseError>() as u64,
        kind: AstreumParseErrorKind::None,
        is_incomplete: false,
        has_open: false,
        offset: 0,
        line: 0,
        column: 0,
        open_offset: 0,
        open_line: 0,
        open_column: 0,
        message: EMPTY,
    }
}

/// Returns a struct for an outcome.
pub(crate) fn outcome_info() -> AstreumOutcomeInfo {
    AstreumOutcomeInfo {
        size: size_of::<AstreumOutcomeInfo>() as u64,
        kind: AstreumOutcomeKind::Unknown,
        reason: AstreumReason::Unknown,
        used: 0,
        steps: 0,
        limit_kind: AstreumLimitKind::None,
        missing_list: false,
        has_parse_error: false,
        limit: 0,
        limit_used: 0,
        missing_id: [0; 32],
        failure_count: 0,
        failures: 0,
    }
}

pub(crate) fn limits(limits: &Limits) -> AstreumLimits {
    AstreumLimits {
        size: size_of::<AstreumLimits>() as u64,
        depth: limits.depth,
        stack_items: limits.stack_items,
        heap_entries: limits.heap_entries,
        live_bytes: limits.live_bytes,
        steps: limits.steps,
        atoms: limits.atoms,
        atom_bytes: limits.atom_bytes,
    }
}

pub(crate) struct Value(pub(crate) *mut AstreumValue);

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: the handle is freed once.
        check(unsafe { astreum_value_free(self.0) });
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        let mut equal = false;
        // SAFETY: the handles are alive.
        check(unsafe { astreum_value_equal(self.0, other.0, &raw mut equal) });
        equal
    }
}

impl Value {
    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        let mut value = null_mut();
        // SAFETY: the bytes are alive.
        check(unsafe { astreum_value_bytes(bytes.as_ptr(), bytes.len(), &raw mut value) });
        Self(value)
    }

    pub(crate) fn symbol(name: &str) -> Self {
        let mut value = null_mut();
        // SAFETY: the name is alive.
        check(unsafe { astreum_value_symbol(name.as_ptr(), name.len(), &raw mut value) });
        Self(value)
    }

    pub(crate) fn list(items: &[Self]) -> Self {
        let mut value = null_mut();
        let items: Vec<*const AstreumValue> =
            items.iter().map(|item| item.0.cast_const()).collect();
        // SAFETY: the items are alive.
        check(unsafe { astreum_value_list(items.as_ptr(), items.len(), &raw mut value) });
        Self(value)
    }

    pub(crate) fn to_source(&self) -> String {
        let (mut buffer, mut bytes) = (null_mut(), EMPTY);
        // SAFETY: the handles are alive.
        let text = unsafe {
            check(astreum_value_source(self.0, 1 << 30, &raw mut buffer));
            check(astreum_buffer_bytes(buffer, &raw mut bytes));
            let text = copied(bytes);
            check(astreum_buffer_free(buffer));
            text
        };
        String::from_utf8(text).unwrap_or_else(|error| panic!("{error}"))
    }
}

pub(crate) struct Env(pub(crate) *mut AstreumEnv);

impl Drop for Env {
    fn drop(&mut self) {
        // SAFETY: the handle is freed once.
        check(unsafe { astreum_env_free(self.0) });
    }
}

impl Env {
    pub(crate) fn new() -> Self {
        let mut env = null_mut();
        // SAFETY: the pointer is valid.
        check(unsafe { astreum_env_new(&raw mut env) });
        Self(env)
    }

    pub(crate) fn set(&self, name: &str, value: &Value) {
        // SAFETY: the handles are alive.
        check(unsafe { astreum_env_set(self.0, name.as_ptr(), name.len(), value.0) });
    }
}

pub(crate) struct Outcome(pub(crate) *mut AstreumOutcome);

impl Drop for Outcome {
    fn drop(&mut self) {
        // SAFETY: the handle is freed once.
        check(unsafe { astreum_outcome_free(self.0) });
    }
}

impl Outcome {
    pub(crate) fn info(&self) -> AstreumOutcomeInfo {
        let mut info = outcome_info();
        // SAFETY: the handle is alive.
        check(unsafe { astreum_outcome_info(self.0, &raw mut info) });
        info
    }

    pub(crate) fn value(&self) -> Value {
        let mut value = null_mut();
        // SAFETY: the handle is alive.
        check(unsafe { astreum_outcome_value(self.0, &raw mut value) });
        Value(value)
    }
}

pub(crate) struct Machine(pub(crate) *mut AstreumMachine);

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: the handle is freed once.
        check(unsafe { astreum_machine_free(self.0) });
    }
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::with_limits(&Limits::DEFAULT)
    }

    pub(crate) fn with_limits(limits: &Limits) -> Self {
        let (limits, mut machine) = (self::limits(limits), null_mut());
        // SAFETY: the pointers are valid.
        check(unsafe {
            astreum_machine_new(ASTREUM_ABI_VERSION, &raw const limits, &raw mut machine)
        });
        Self(machine)
    }

    pub(crate) fn eval(&self, env: &Env, source: &str, mode: u32) -> Outcome {
        let mut outcome = null_mut();
        // SAFETY: the handles are alive.
        check(unsafe {
            astreum_machine_eval(
                self.0,
                env.0,
                source.as_ptr(),
                source.len(),
                mode,
                &raw mut outcome,
            )
        });
        Outcome(outcome)
    }

    pub(crate) fn run(&self, code: &[Vec<u8>]) -> Outcome {
        let tokens: Vec<AstreumSlice> = code
            .iter()
            .map(|token| AstreumSlice {
                data: token.as_ptr(),
                len: token.len(),
            })
            .collect();
        let mut outcome = null_mut();
        // SAFETY: the handle and the tokens are alive.
        check(unsafe {
            astreum_machine_run(
                self.0,
                tokens.as_ptr(),
                tokens.len(),
                ASTREUM_MODE_FINISH,
                &raw mut outcome,
            )
        });
        Outcome(outcome)
    }

    pub(crate) fn put_atom(&self, stored: &[u8]) -> Result<[u8; 32], AstreumStatus> {
        let mut id = [0; 32];
        // SAFETY: the handle and the bytes are alive.
        match unsafe {
            astreum_machine_put_atom(self.0, stored.as_ptr(), stored.len(), id.as_mut_ptr())
        } {
            AstreumStatus::Ok => Ok(id),
            status => Err(status),
        }
    }

    pub(crate) fn get_atom(&self, id: &[u8; 32]) -> Result<Vec<u8>, AstreumStatus> {
        let (mut buffer, mut bytes) = (null_mut(), EMPTY);
        // SAFETY: the handles are alive.
        unsafe {
            match astreum_machine_get_atom(self.0, id.as_ptr(), &raw mut buffer) {
                AstreumStatus::Ok => {}
                status => return Err(status),
            }
            check(astreum_buffer_bytes(buffer, &raw mut bytes));
            let stored = copied(bytes);
            check(astreum_buffer_free(buffer));
            Ok(stored)
        }
    }
}
