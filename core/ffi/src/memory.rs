//! Memory of the caller: bytes, texts, results, and structs that can grow.

use crate::error::{AstreumStatus, Result};
use core::mem::size_of;
use core::ptr::NonNull;
use core::slice;

/// Value of a limit of the meter or a slice that means unlimited.
pub const ASTREUM_UNLIMITED: u64 = u64::MAX;

/// Number of bytes of the id of an atom.
pub const ASTREUM_ID_BYTES: usize = 32;

const _: () = assert!(ASTREUM_ID_BYTES == astreum_core::atom::ID_BYTES);

/// Bytes at an address: those of the caller in arguments, those of a handle in results. `data` may
/// be null if `len` is 0. Texts are UTF-8, without a zero byte at their end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AstreumSlice {
    /// Address of the first byte.
    pub data: *const u8,
    /// Number of bytes.
    pub len: usize,
}

impl AstreumSlice {
    pub(crate) const fn new(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr(),
            len: bytes.len(),
        }
    }
}

/// Returns a sequence of the caller.
///
/// # Safety
/// A pointer that is not null and not misaligned is valid for reading `len` items, which do not
/// change as long as the result lives.
pub(crate) unsafe fn items<'a, T>(data: *const T, len: usize) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(AstreumStatus::NullPointer);
    }
    let bytes = len.checked_mul(size_of::<T>());
    let fits = bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok());
    if !fits {
        return Err(AstreumStatus::InvalidLength);
    }
    if !data.is_aligned() {
        return Err(AstreumStatus::InvalidArgument);
    }
    // SAFETY: as the caller promises; the length was checked above.
    Ok(unsafe { slice::from_raw_parts(data, len) })
}

/// Returns a text of the caller.
///
/// # Safety
/// As for [`items`].
pub(crate) unsafe fn text<'a>(data: *const u8, len: usize) -> Result<&'a str> {
    // SAFETY: as the caller promises.
    let bytes = unsafe { items(data, len) }?;
    core::str::from_utf8(bytes).map_err(|_| AstreumStatus::InvalidUtf8)
}

/// Returns the 32 bytes of an id.
///
/// # Safety
/// A pointer that is not null is valid for reading 32 bytes.
pub(crate) unsafe fn id(data: *const u8) -> Result<astreum_core::atom::AtomId> {
    // SAFETY: as the caller promises.
    let bytes = unsafe { items(data, astreum_core::atom::ID_BYTES) }?;
    astreum_core::atom::AtomId::from_slice(bytes).ok_or(AstreumStatus::InvalidLength)
}

/// Returns the place for an id.
///
/// # Safety
/// As for [`Out::new`], for 32 bytes.
pub(crate) unsafe fn id_out(id: *mut u8) -> Result<Out<[u8; ASTREUM_ID_BYTES]>> {
    // SAFETY: as the caller promises.
    unsafe { Out::new(id.cast()) }
}

/// Place for a result.
pub(crate) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// Checks that there is a place.
    ///
    /// # Safety
    /// A pointer that is not null and not misaligned is valid for writing until the result is
    /// written.
    pub(crate) unsafe fn new(pointer: *mut T) -> Result<Self> {
        let place = NonNull::new(pointer).ok_or(AstreumStatus::NullPointer)?;
        if !place.is_aligned() {
            return Err(AstreumStatus::InvalidArgument);
        }
        Ok(Self(place))
    }

    /// Writes the result.
    pub(crate) fn set(self, value: T) {
        // SAFETY: the pointer was checked, and is valid as promised to `new`.
        unsafe { self.0.write(value) }
    }
}

impl<T> Out<*mut T> {
    /// Checks that there is a place for a handle, and sets it to null.
    ///
    /// # Safety
    /// As for [`Out::new`].
    pub(crate) unsafe fn handle(pointer: *mut *mut T) -> Result<Self> {
        // SAFETY: as the caller promises.
        let out = unsafe { Self::new(pointer) }?;
        // SAFETY: the pointer was checked, and is valid as promised to `new`.
        unsafe { out.0.write(core::ptr::null_mut()) }
        Ok(out)
    }
}

/// Struct that starts with its size, and can get more fields at its end.
///
/// # Safety
/// The type is `repr(C)`, its first field is a `u64`, and it can be copied byte by byte.
pub(crate) unsafe trait Sized64: Copy {
    /// Size in the first version of the ABI.
    const FIRST_SIZE: usize;
}

/// Checks the size field of a struct of the caller, and returns the number of bytes that both sides
/// know.
///
/// # Safety
/// A pointer that is not null and not misaligned is valid for reading a `u64`.
unsafe fn known_size<T: Sized64>(pointer: *const T) -> Result<(usize, usize)> {
    if pointer.is_null() {
        return Err(AstreumStatus::NullPointer);
    }
    if !pointer.is_aligned() {
        return Err(AstreumStatus::InvalidArgument);
    }
    // SAFETY: as the caller promises; the first field of the struct is a `u64`.
    let size = unsafe { pointer.cast::<u64>().read() };
    let size = usize::try_from(size).map_err(|_| AstreumStatus::InvalidLength)?;
    if size < T::FIRST_SIZE {
        return Err(AstreumStatus::InvalidLength);
    }
    Ok((size, size.min(size_of::<T>())))
}

/// Reads a struct of the caller. Fields that the caller does not know keep their value in `default`.
///
/// # Safety
/// A pointer that is not null and not misaligned is valid for reading as many bytes as its first
/// field says.
pub(crate) unsafe fn read_sized<T: Sized64>(pointer: *const T, default: T) -> Result<T> {
    // SAFETY: as the caller promises.
    let (size, known) = unsafe { known_size(pointer) }?;
    if size > size_of::<T>() {
        // The caller may rely on fields that this version does not know.
        return Err(AstreumStatus::InvalidLength);
    }
    let mut value = default;
    // SAFETY: both are valid for `known` bytes, and do not overlap, because one is local.
    unsafe {
        core::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), known);
    }
    Ok(value)
}

/// Writes a struct of the caller, as far as the caller knows its fields. The size field keeps its
/// value.
///
/// # Safety
/// A pointer that is not null and not misaligned is valid for reading and writing as many bytes as
/// its first field says.
pub(crate) unsafe fn write_sized<T: Sized64>(pointer: *mut T, value: &T) -> Result {
    // SAFETY: as the caller promises.
    let (_, known) = unsafe { known_size(pointer) }?;
    let offset = size_of::<u64>();
    // SAFETY: both are valid for `known` bytes, and do not overlap, because one is not the
    // caller's.
    unsafe {
        core::ptr::copy_nonoverlapping(
            core::ptr::from_ref(value).cast::<u8>().add(offset),
            pointer.cast::<u8>().add(offset),
            known - offset,
        );
    }
    Ok(())
}
