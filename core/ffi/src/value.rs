//! Values: symbols, bytes, and lists of values.

use crate::buffer::{AstreumBuffer, buffer};
use crate::error::{AstreumStatus, Result, guard};
use crate::handle::{self, Kind, SharedKind};
use crate::memory::{AstreumSlice, Out, id_out, items, text};
use alloc::string::String;
use alloc::vec::Vec;
use astreum_core::expr::Expr;
use astreum_core::text::to_text;
use core::fmt::{self, Write as _};

/// Value, or expression: a symbol, bytes, or a list of values. It never changes, copies share their
/// data, and any thread may read it.
pub struct AstreumValue {
    _private: [u8; 0],
}

impl Kind for AstreumValue {
    type State = Expr;
    const TAG: u32 = 0x4173_0003;
}

impl SharedKind for AstreumValue {}

/// Type of a value.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AstreumValueType {
    /// A name.
    Symbol = 0,
    /// A byte string, which may stand for a number or a text.
    Bytes = 1,
    /// A sequence of values.
    List = 2,
}

/// Returns the expressions of handles.
///
/// # Safety
/// The contract of the crate.
pub(crate) unsafe fn exprs(values: *const *const AstreumValue, len: usize) -> Result<Vec<Expr>> {
    // SAFETY: as the caller promises.
    let values = unsafe { items(values, len) }?;
    let mut exprs = Vec::with_capacity(values.len());
    for value in values {
        // SAFETY: as the caller promises.
        exprs.push(unsafe { handle::shared(*value) }?.clone());
    }
    Ok(exprs)
}

/// Creates a byte string; copies the bytes. The caller frees the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_bytes(
    data: *const u8,
    len: usize,
    value: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, bytes) = unsafe { (Out::handle(value)?, items(data, len)?) };
        out.set(handle::create(Expr::bytes(bytes)));
        Ok(())
    })
}

/// Creates the byte string of an integer: signed, big-endian, shortest form. The caller frees the
/// value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_integer(
    integer: i64,
    value: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let out = unsafe { Out::handle(value)? };
        out.set(handle::create(Expr::integer(integer)));
        Ok(())
    })
}

/// Creates a symbol. The caller frees the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_symbol(
    name: *const u8,
    name_len: usize,
    value: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, name) = unsafe { (Out::handle(value)?, text(name, name_len)?) };
        out.set(handle::create(Expr::symbol(name)));
        Ok(())
    })
}

/// Creates a list of `len` values, which the caller keeps. The caller frees the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_list(
    values: *const *const AstreumValue,
    len: usize,
    list: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, exprs) = unsafe { (Out::handle(list)?, exprs(values, len)?) };
        out.set(handle::create(Expr::list(exprs)));
        Ok(())
    })
}

/// Creates an error value, `(error topic message)`, which a host function may return for the program
/// to handle. The caller frees the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_error(
    topic: *const u8,
    topic_len: usize,
    message: *const u8,
    message_len: usize,
    value: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, topic, message) = unsafe {
            (
                Out::handle(value)?,
                text(topic, topic_len)?,
                text(message, message_len)?,
            )
        };
        out.set(handle::create(Expr::error(topic, message)));
        Ok(())
    })
}

/// Creates another handle for a value, which shares its data. The caller frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_clone(
    value: *const AstreumValue,
    copy: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, value) = unsafe { (Out::handle(copy)?, handle::shared(value)?) };
        out.set(handle::create(value.clone()));
        Ok(())
    })
}

/// Frees a value. Null is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_free(value: *mut AstreumValue) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        unsafe { handle::free(value) }
    })
}

/// Returns the type of a value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_type(
    value: *const AstreumValue,
    value_type: *mut AstreumValueType,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (value, out) = unsafe { (handle::shared(value)?, Out::new(value_type)?) };
        out.set(match value {
            Expr::Symbol(_) => AstreumValueType::Symbol,
            Expr::Bytes(_) => AstreumValueType::Bytes,
            Expr::List(_) => AstreumValueType::List,
        });
        Ok(())
    })
}

/// Returns the bytes of a byte string or the name of a symbol, valid until the value is freed, or
/// `ASTREUM_STATUS_WRONG_TYPE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_data(
    value: *const AstreumValue,
    data: *mut AstreumSlice,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (value, out) = unsafe { (handle::shared(value)?, Out::new(data)?) };
        out.set(AstreumSlice::new(self::data(value)?));
        Ok(())
    })
}

pub(crate) fn data(value: &Expr) -> Result<&[u8]> {
    match value {
        Expr::Symbol(name) => Ok(name.as_str().as_bytes()),
        Expr::Bytes(bytes) => Ok(bytes),
        Expr::List(_) => Err(AstreumStatus::WrongType),
    }
}

/// Returns the integer that a byte string stands for: signed, big-endian, of any width; empty bytes
/// are 0. Returns `ASTREUM_STATUS_OUT_OF_RANGE` if it does not fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_as_integer(
    value: *const AstreumValue,
    integer: *mut i64,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (value, out) = unsafe { (handle::shared(value)?, Out::new(integer)?) };
        out.set(as_integer(value)?);
        Ok(())
    })
}

pub(crate) fn as_integer(value: &Expr) -> Result<i64> {
    if value.as_bytes().is_none() {
        return Err(AstreumStatus::WrongType);
    }
    let integer = value.as_integer().ok_or(AstreumStatus::OutOfRange)?;
    i64::try_from(integer).map_err(|_| AstreumStatus::OutOfRange)
}

/// Returns the number of items of a list, or `ASTREUM_STATUS_WRONG_TYPE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_len(
    value: *const AstreumValue,
    len: *mut usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (value, out) = unsafe { (handle::shared(value)?, Out::new(len)?) };
        let list = value.as_list().ok_or(AstreumStatus::WrongType)?;
        out.set(list.len());
        Ok(())
    })
}

/// Returns an item of a list. The caller frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_item(
    value: *const AstreumValue,
    index: usize,
    item: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, value) = unsafe { (Out::handle(item)?, handle::shared(value)?) };
        let list = value.as_list().ok_or(AstreumStatus::WrongType)?;
        let item = list.get(index).ok_or(AstreumStatus::OutOfRange)?;
        out.set(handle::create(item.clone()));
        Ok(())
    })
}

/// Returns whether a value is an error: a list that starts with the symbol `error`. A program can
/// create such a value; the outcome of the evaluation states how it really ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_is_error(
    value: *const AstreumValue,
    is_error: *mut bool,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (value, out) = unsafe { (handle::shared(value)?, Out::new(is_error)?) };
        out.set(value.is_error());
        Ok(())
    })
}

/// Returns topic and message of an error value, valid until the value is freed, or
/// `ASTREUM_STATUS_WRONG_TYPE`. They need not be UTF-8, because a program can choose them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_error_parts(
    value: *const AstreumValue,
    topic: *mut AstreumSlice,
    message: *mut AstreumSlice,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (value, topic, message) =
            unsafe { (handle::shared(value)?, Out::new(topic)?, Out::new(message)?) };
        let parts = value.as_error().ok_or(AstreumStatus::WrongType)?;
        topic.set(AstreumSlice::new(parts.0));
        message.set(AstreumSlice::new(parts.1));
        Ok(())
    })
}

/// Returns whether two values are equal.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_equal(
    a: *const AstreumValue,
    b: *const AstreumValue,
    equal: *mut bool,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (a, b, out) = unsafe { (handle::shared(a)?, handle::shared(b)?, Out::new(equal)?) };
        out.set(a == b);
        Ok(())
    })
}

/// Prints a value for people; stops after `max_bytes` bytes with `…`. The caller frees the buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_print(
    value: *const AstreumValue,
    max_bytes: usize,
    text: *mut *mut AstreumBuffer,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, value) = unsafe { (Out::handle(text)?, handle::shared(value)?) };
        out.set(buffer(to_text(value, max_bytes).into_bytes()));
        Ok(())
    })
}

/// Prints a value as source text that parses as the same value, as far as the language has a text
/// for it. Returns `ASTREUM_STATUS_OUT_OF_RANGE` if the text is longer than `max_bytes`: a list that
/// is shared in memory is written out each time. The caller frees the buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_source(
    value: *const AstreumValue,
    max_bytes: usize,
    text: *mut *mut AstreumBuffer,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, value) = unsafe { (Out::handle(text)?, handle::shared(value)?) };
        let mut limited = Limited {
            text: String::new(),
            max_bytes,
        };
        write!(limited, "{value:#}").map_err(|_| AstreumStatus::OutOfRange)?;
        out.set(buffer(limited.text.into_bytes()));
        Ok(())
    })
}

/// Writer that fails above a limit.
struct Limited {
    text: String,
    max_bytes: usize,
}

impl fmt::Write for Limited {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.text.len().saturating_add(part.len()) > self.max_bytes {
            return Err(fmt::Error);
        }
        self.text.push_str(part);
        Ok(())
    }
}

/// Computes the id of a value: that of the first of its atoms. Writes 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_id(
    value: *const AstreumValue,
    id: *mut u8,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (value, out) = unsafe { (handle::shared(value)?, id_out(id)?) };
        out.set(*value.id().as_bytes());
        Ok(())
    })
}
