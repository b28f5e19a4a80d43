//! Handles: objects of the library behind opaque pointers.
//!
//! Invariants:
//! - Every handle starts with a tag that names its kind, so that a handle of another kind is
//!   detected.
//! - Mutable access holds the lock of the handle, so that two accesses cannot overlap. A freed
//!   handle is neither locked nor read.

use crate::error::{AstreumStatus, Result};
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Tag of a handle that was freed.
const FREED: u32 = 0;

/// Kind of handles: an opaque type of the ABI and the object behind it.
pub(crate) trait Kind {
    /// Type of the object.
    type State;
    /// Number that no other kind has.
    const TAG: u32;
}

/// Kind whose objects never change, so that any number of threads may read them.
pub(crate) trait SharedKind: Kind<State: Sync> {}

/// Object with its tag and lock.
#[repr(C)]
pub(crate) struct Handle<T> {
    tag: AtomicU32,
    is_busy: AtomicBool,
    state: UnsafeCell<T>,
}

/// Exclusive access to the object of a handle.
pub(crate) struct Locked<'a, T>(&'a Handle<T>);

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so no other reference to the object exists.
        unsafe { &*self.0.state.get() }
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, so no other reference to the object exists.
        unsafe { &mut *self.0.state.get() }
    }
}

impl<T> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Release);
    }
}

impl<T> Handle<T> {
    /// Creates an object that is not on the heap, for the time of a callback.
    pub(crate) const fn new<K: Kind<State = T>>(state: T) -> Self {
        Self {
            tag: AtomicU32::new(K::TAG),
            is_busy: AtomicBool::new(false),
            state: UnsafeCell::new(state),
        }
    }

    /// Returns the object after the callback.
    pub(crate) fn into_inner(self) -> T {
        self.tag.store(FREED, Ordering::Relaxed);
        self.state.into_inner()
    }
}

/// Creates a handle, which the caller of the library owns.
pub(crate) fn create<K: Kind>(state: K::State) -> *mut K {
    Box::into_raw(Box::new(Handle::new::<K>(state))).cast()
}

/// Returns the handle behind a pointer, after checking its tag.
///
/// # Safety
/// The pointer is null, misaligned, or points to a live handle.
unsafe fn check<'a, K: Kind>(pointer: *const K) -> Result<&'a Handle<K::State>> {
    let handle = pointer.cast::<Handle<K::State>>();
    if handle.is_null() {
        return Err(AstreumStatus::NullPointer);
    }
    if !handle.is_aligned() {
        return Err(AstreumStatus::InvalidHandle);
    }
    // SAFETY: the tag is the first field of handles of every kind, and the pointer is not null.
    let tag = unsafe { &*handle.cast::<AtomicU32>() };
    if tag.load(Ordering::Relaxed) != K::TAG {
        return Err(AstreumStatus::InvalidHandle);
    }
    // SAFETY: the tag shows that the object is of this kind. It is only accessed through its lock,
    // or never changes.
    Ok(unsafe { &*handle })
}

/// Locks a handle.
///
/// # Safety
/// The pointer is null, misaligned, or points to a handle that lives as long as the result.
pub(crate) unsafe fn lock<'a, K: Kind>(pointer: *const K) -> Result<Locked<'a, K::State>> {
    // SAFETY: as the caller promises.
    let handle = unsafe { check(pointer) }?;
    if handle.is_busy.swap(true, Ordering::Acquire) {
        return Err(AstreumStatus::Busy);
    }
    Ok(Locked(handle))
}

/// Returns the object of a handle that never changes.
///
/// # Safety
/// The pointer is null, misaligned, or points to a handle that lives as long as the result.
pub(crate) unsafe fn shared<'a, K: SharedKind>(pointer: *const K) -> Result<&'a K::State> {
    // SAFETY: as the caller promises.
    let handle = unsafe { check(pointer) }?;
    // SAFETY: no function locks handles of this kind except to free them.
    Ok(unsafe { &*handle.state.get() })
}

/// Takes the object out of a handle, which no longer exists then.
///
/// # Safety
/// The pointer is null, misaligned, or points to a handle that [`create`] returned and that is not
/// used afterwards.
pub(crate) unsafe fn take<K: Kind>(pointer: *mut K) -> Result<K::State> {
    // SAFETY: as the caller promises. The lock is never released, and shows that no call uses the
    // object.
    let locked = core::mem::ManuallyDrop::new(unsafe { lock(pointer) }?);
    locked.0.tag.store(FREED, Ordering::Relaxed);
    // SAFETY: `create` made the pointer from a box of this type, and the tag stops a second take.
    let handle = unsafe { Box::from_raw(pointer.cast::<Handle<K::State>>()) };
    Ok(handle.state.into_inner())
}

/// Frees a handle; null is ignored.
///
/// # Safety
/// As for [`take`].
pub(crate) unsafe fn free<K: Kind>(pointer: *mut K) -> Result {
    if pointer.is_null() {
        return Ok(());
    }
    // SAFETY: as the caller promises.
    unsafe { take(pointer) }.map(drop)
}
