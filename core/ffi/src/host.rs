//! Host functions: callbacks that programs call by name.

use crate::error::{AstreumStatus, Result, guard};
use crate::handle::{self, Handle, Kind};
use crate::machine::AstreumMachine;
use crate::memory::{ASTREUM_UNLIMITED, AstreumSlice, Out, items, text};
use crate::value::{self, AstreumValue};
use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::sync::Arc;
use astreum_core::expr::Expr;
use astreum_core::machine::{BoxError, HostCall, HostFault};
use core::ffi::c_void;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

/// Function that releases the pointer of a host when the library no longer needs it.
pub type DropUser = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// Host function. It answers with one of the functions `astreum_call_return…`, `astreum_call_fail`
/// and `astreum_call_suspend`, of which the last one counts.
pub type AstreumHostFunction =
    Option<unsafe extern "C" fn(user: *mut c_void, call: *mut AstreumCall)>;

/// Call of a host function. Valid until the callback returns.
pub struct AstreumCall {
    _private: [u8; 0],
}

/// State of a call.
pub(crate) struct Call {
    /// Call of the machine, which lives until the callback returns.
    call: *mut HostCall<'static>,
    answer: Answer,
    is_refused: bool,
}

impl Kind for AstreumCall {
    type State = Call;
    const TAG: u32 = 0x4173_0007;
}

/// Answer of a host function.
enum Answer {
    None,
    Value(Expr),
    Failure(HostFailure),
    Suspend,
}

/// Error of the host: its own number, and a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HostFailure {
    pub(crate) code: u64,
    pub(crate) message: String,
}

impl HostFailure {
    pub(crate) fn new(code: u64, message: &str) -> Self {
        Self {
            code,
            message: message.to_owned(),
        }
    }

    /// Returns the error of a host function.
    pub(crate) fn of_function(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => *failure,
            Err(error) => Self {
                code: 0,
                message: alloc::format!("{error}"),
            },
        }
    }
}

impl fmt::Display for HostFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for HostFailure {}

/// Pointer of the host, released when it is no longer needed.
pub(crate) struct UserData {
    pointer: *mut c_void,
    drop_user: DropUser,
    is_owned: AtomicBool,
}

// SAFETY: the host promises that its callbacks can be called with this pointer on every thread that
// uses the machine.
unsafe impl Send for UserData {}

// SAFETY: the pointer is only passed on to the host's callbacks, one at a time: those of a machine
// are called while it is locked.
unsafe impl Sync for UserData {}

impl UserData {
    pub(crate) const fn new(pointer: *mut c_void, drop_user: DropUser) -> Self {
        Self {
            pointer,
            drop_user,
            is_owned: AtomicBool::new(true),
        }
    }

    pub(crate) const fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(drop_user) = self.drop_user
            && *self.is_owned.get_mut()
        {
            // SAFETY: the host promised that this may be called once with its pointer.
            unsafe { drop_user(self.pointer) }
        }
    }
}

/// Binds a name to a function of the host: programs call it by `(args… name)`, or without arguments
/// by the name alone. A script can neither bind the name nor obtain the function as a value. Replaces
/// a function of the same name, and discards all compiled code.
///
/// The function and `user` must be valid until `drop_user` is called with `user`: when the function is
/// replaced or removed, or the machine freed. `drop_user` may be null. It is not called if this
/// function fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_bind(
    machine: *mut AstreumMachine,
    name: *const u8,
    name_len: usize,
    function: AstreumHostFunction,
    user: *mut c_void,
    drop_user: DropUser,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut machine, name) = unsafe { (handle::lock(machine)?, text(name, name_len)?) };
        let function = function.ok_or(AstreumStatus::NullPointer)?;
        let user = Arc::new(UserData::new(user, drop_user));
        let callback_user = Arc::clone(&user);
        let callback = move |call: &mut HostCall<'_>| {
            let mut handle = Handle::new::<AstreumCall>(Call {
                call: core::ptr::from_mut(call).cast(),
                answer: Answer::None,
                is_refused: false,
            });
            // SAFETY: the host promised that the function may be called with its pointer. The call
            // lives until the function returns.
            unsafe { function(callback_user.pointer(), (&raw mut handle).cast()) }
            let state = handle.into_inner();
            if state.is_refused {
                return Err(HostFault::Meter);
            }
            match state.answer {
                Answer::Value(value) => Ok(value),
                Answer::Failure(failure) => Err(HostFault::error(failure)),
                Answer::Suspend => Err(HostFault::Suspend),
                Answer::None => {
                    let message = "the function returned no value";
                    Err(HostFault::error(HostFailure::new(0, message)))
                }
            }
        };
        machine.bind(name, callback).map_err(|_| {
            user.is_owned.store(false, Ordering::Relaxed);
            AstreumStatus::ReservedName
        })
    })
}

/// Removes a host function, and discards all compiled code; returns `ASTREUM_STATUS_NOT_FOUND` if
/// none has this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_machine_unbind(
    machine: *mut AstreumMachine,
    name: *const u8,
    name_len: usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut machine, name) = unsafe { (handle::lock(machine)?, text(name, name_len)?) };
        let was_bound = machine.unbind(name);
        was_bound.then_some(()).ok_or(AstreumStatus::NotFound)
    })
}

impl Call {
    const fn machine_call(&self) -> &HostCall<'static> {
        // SAFETY: the call lives until the callback returns, and nothing else uses it meanwhile.
        unsafe { &*self.call }
    }

    fn argument(&self, index: usize) -> Result<&Expr> {
        let arguments = self.machine_call().arguments();
        arguments.get(index).ok_or(AstreumStatus::OutOfRange)
    }
}

/// Returns the name by which the function was called, valid until the callback returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_call_name(
    call: *const AstreumCall,
    name: *mut AstreumSlice,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (call, out) = unsafe { (handle::lock(call)?, Out::new(name)?) };
        out.set(AstreumSlice::new(call.machine_call().name().as_bytes()));
        Ok(())
    })
}

/// Returns the number of arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_call_len(
    call: *const AstreumCall,
    len: *mut usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (call, out) = unsafe { (handle::lock(call)?, Out::new(len)?) };
        out.set(call.machine_call().arguments().len());
        Ok(())
    })
}

/// Returns an argument, which is never an error value. The caller frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_call_argument(
    call: *const AstreumCall,
    index: usize,
    value: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, call) = unsafe { (Out::handle(value)?, handle::lock(call)?) };
        out.set(handle::create(call.argument(index)?.clone()));
        Ok(())
    })
}

/// Returns the bytes of an argument or its name, valid until the callback returns, or
/// `ASTREUM_STATUS_WRONG_TYPE` for a list. Allocates nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_call_argument_data(
    call: *const AstreumCall,
    index: usize,
    data: *mut AstreumSlice,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (call, out) = unsafe { (handle::lock(call)?, Out::new(data)?) };
        out.set(AstreumSlice::new(value::data(call.argument(index)?)?));
        Ok(())
    })
}

/// Returns the integer that an argument stands for, as `astreum_value_as_integer` does. Allocates
/// nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_call_argument_integer(
    call: *const AstreumCall,
    index: usize,
    integer: *mut i64,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (call, out) = unsafe { (handle::lock(call)?, Out::new(integer)?) };
        out.set(value::as_integer(call.argument(index)?)?);
        Ok(())
    })
}

/// Charges `cost` to the meter. Charge before any other effect: if the evaluation is suspended until
/// more is granted, the function is called again from its start, and its earlier charges are undone.
///
/// After `ASTREUM_STATUS_METER_LIMIT` the function should return; its answer does not count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_call_charge(call: *mut AstreumCall, cost: u64) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let mut call = unsafe { handle::lock(call)? };
        // SAFETY: the call lives until the callback returns, and nothing else uses it meanwhile.
        let charged = unsafe { &mut *call.call }.charge(cost);
        charged.map_err(|_| {
            call.is_refused = true;
            AstreumStatus::MeterLimit
        })
    })
}

/// Returns the limit of the meter minus the amount charged, or `ASTREUM_UNLIMITED`. A charge must be
/// below this number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_call_remaining(
    call: *const AstreumCall,
    remaining: *mut u64,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (call, out) = unsafe { (handle::lock(call)?, Out::new(remaining)?) };
        let remaining = call.machine_call().remaining();
        out.set(remaining.unwrap_or(ASTREUM_UNLIMITED));
        Ok(())
    })
}

/// Answers a call with a value, which the caller keeps. An error value is one that the program may
/// handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_call_return(
    call: *mut AstreumCall,
    value: *const AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut call, value) = unsafe { (handle::lock(call)?, handle::shared(value)?) };
        call.answer = Answer::Value(value.clone());
        Ok(())
    })
}

/// Answers a call with bytes; copies them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_call_return_bytes(
    call: *mut AstreumCall,
    data: *const u8,
    len: usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut call, bytes) = unsafe { (handle::lock(call)?, items(data, len)?) };
        call.answer = Answer::Value(Expr::bytes(bytes));
        Ok(())
    })
}

/// Answers a call with the bytes of an integer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_call_return_integer(
    call: *mut AstreumCall,
    integer: i64,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let mut call = unsafe { handle::lock(call)? };
        call.answer = Answer::Value(Expr::integer(integer));
        Ok(())
    })
}

/// Answers a call with an error of the host, which ends or suspends the evaluation. `code` is any
/// number of the host, also a pointer; it is returned with the outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_call_fail(
    call: *mut AstreumCall,
    code: u64,
    message: *const u8,
    message_len: usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (mut call, message) = unsafe { (handle::lock(call)?, text(message, message_len)?) };
        call.answer = Answer::Failure(HostFailure::new(code, message));
        Ok(())
    })
}

/// Suspends the evaluation until the host answers with `astreum_suspension_answer`, or lets the
/// function be called again. In an evaluation that cannot be suspended it is an error of the host.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_call_suspend(call: *mut AstreumCall) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let mut call = unsafe { handle::lock(call)? };
        call.answer = Answer::Suspend;
        Ok(())
    })
}
