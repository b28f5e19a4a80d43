//! Status codes, and the guard that keeps panics inside the library.

use core::ffi::{CStr, c_char};

/// Status that almost every function returns. The numbers are stable.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AstreumStatus {
    /// Success.
    Ok = 0,
    /// A required pointer is null.
    NullPointer = 1,
    /// A pointer is not a handle of the required kind, or the handle was freed. The latter is
    /// detected only by chance.
    InvalidHandle = 2,
    /// The handle is in use: by a function that has not returned yet, on this thread (in a callback)
    /// or on another one.
    Busy = 3,
    /// A length is larger than the address space allows, or the `size` of a struct is unknown.
    InvalidLength = 4,
    /// A text is not UTF-8.
    InvalidUtf8 = 5,
    /// An argument has a value that the function does not know.
    InvalidArgument = 6,
    /// The program was compiled with the header of an incompatible version.
    IncompatibleVersion = 7,
    /// The value has another type.
    WrongType = 8,
    /// An index is past the end, or a number does not fit.
    OutOfRange = 9,
    /// The requested object does not exist.
    NotFound = 10,
    /// A source is malformed.
    ParseError = 11,
    /// The name is reserved by the language.
    ReservedName = 12,
    /// The meter refused a charge.
    MeterLimit = 13,
    /// Bytes are not what they should be: a stored atom, an expression in atoms, or a serialized
    /// suspension.
    Malformed = 14,
    /// The serialized suspension has higher limits than the machine.
    HigherLimits = 15,
    /// The serialized suspension belongs to a machine with other host functions.
    OtherHostFunctions = 16,
    /// The store of the host failed.
    HostError = 17,
    /// The library panicked, which is a bug. The handles are still valid.
    Panic = 18,
}

pub(crate) type Result<T = (), E = AstreumStatus> = core::result::Result<T, E>;

impl AstreumStatus {
    const ALL: [Self; 19] = [
        Self::Ok,
        Self::NullPointer,
        Self::InvalidHandle,
        Self::Busy,
        Self::InvalidLength,
        Self::InvalidUtf8,
        Self::InvalidArgument,
        Self::IncompatibleVersion,
        Self::WrongType,
        Self::OutOfRange,
        Self::NotFound,
        Self::ParseError,
        Self::ReservedName,
        Self::MeterLimit,
        Self::Malformed,
        Self::HigherLimits,
        Self::OtherHostFunctions,
        Self::HostError,
        Self::Panic,
    ];

    const fn message(self) -> &'static CStr {
        match self {
            Self::Ok => c"success",
            Self::NullPointer => c"null pointer",
            Self::InvalidHandle => c"invalid handle: freed, or of another kind",
            Self::Busy => c"the handle is in use",
            Self::InvalidLength => c"invalid length",
            Self::InvalidUtf8 => c"invalid UTF-8",
            Self::InvalidArgument => c"invalid argument",
            Self::IncompatibleVersion => c"incompatible ABI version",
            Self::WrongType => c"the value has another type",
            Self::OutOfRange => c"out of range",
            Self::NotFound => c"not found",
            Self::ParseError => c"parse error",
            Self::ReservedName => c"the name is reserved by the language",
            Self::MeterLimit => c"the charge reaches the limit of the meter",
            Self::Malformed => c"malformed bytes",
            Self::HigherLimits => c"the suspension has higher limits than the machine",
            Self::OtherHostFunctions => c"the suspension has other host functions",
            Self::HostError => c"the store of the host failed",
            Self::Panic => c"internal error",
        }
    }
}

/// Returns the message of a status, which is never freed; for an unknown number `unknown status`.
#[unsafe(no_mangle)]
pub extern "C" fn astreum_status_message(status: u32) -> *const c_char {
    let all = AstreumStatus::ALL.iter().copied();
    let mut known = all.filter(|known| code(*known) == status);
    let message = known
        .next()
        .map_or(c"unknown status", AstreumStatus::message);
    message.as_ptr()
}

const fn code(status: AstreumStatus) -> u32 {
    status as u32
}

/// Runs the body of an exported function and converts its result, and a panic, to a status.
pub(crate) fn guard(body: impl FnOnce() -> Result) -> AstreumStatus {
    #[cfg(feature = "std")]
    let result = std::panic::catch_unwind(core::panic::AssertUnwindSafe(body))
        .unwrap_or(Err(AstreumStatus::Panic));
    #[cfg(not(feature = "std"))]
    let result = body();
    match result {
        Ok(()) => AstreumStatus::Ok,
        Err(status) => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_consecutive_and_have_messages() {
        for (number, status) in (0..).zip(AstreumStatus::ALL) {
            assert_eq!(code(status), number);
            assert_eq!(astreum_status_message(number), status.message().as_ptr());
        }
        let unknown = astreum_status_message(19);
        // SAFETY: the function returns a text that ends with a zero byte.
        assert_eq!(unsafe { CStr::from_ptr(unknown) }, c"unknown status");
    }

    #[test]
    fn panics_become_a_status() {
        assert_eq!(guard(|| panic!("expected")), AstreumStatus::Panic);
    }
}
