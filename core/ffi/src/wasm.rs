//! WebAssembly module: allocator, panics, memory for the host, and callbacks as imports.
//!
//! A host cannot pass functions to a module, so that a callback is a number of the host, which the
//! imported functions get.

#![expect(
    unreachable_pub,
    reason = "the functions are exported by name, and are not part of the Rust crate"
)]

use crate::allocator::Allocator;
use crate::error::AstreumStatus;
use crate::host::{AstreumCall, astreum_machine_bind};
use crate::machine::AstreumMachine;
use crate::store::{AstreumLookup, AstreumStore, astreum_machine_set_store};
use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::ffi::c_void;
use core::mem::size_of;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::new();

/// Stops the module: the host gets a `RuntimeError`.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

// Functions of the host; `user` is a number of the host.
#[link(wasm_import_module = "host")]
unsafe extern "C" {
    /// Calls a host function.
    fn call_function(user: *mut c_void, call: *mut c_void);
    /// Looks up an atom.
    fn get_atom(user: *mut c_void, id: *const u8, lookup: *mut c_void);
    /// Stores an atom; returns 0 or a number for an error.
    fn put_atom(user: *mut c_void, id: *const u8, stored: *const u8, stored_len: usize) -> u32;
    /// Releases the number.
    fn drop_user(user: *mut c_void);
}

unsafe extern "C" fn function(user: *mut c_void, call: *mut AstreumCall) {
    // SAFETY: the import has no requirements of its own.
    unsafe { call_function(user, call.cast()) }
}

unsafe extern "C" fn get(user: *mut c_void, id: *const u8, lookup: *mut AstreumLookup) {
    // SAFETY: the import has no requirements of its own.
    unsafe { get_atom(user, id, lookup.cast()) }
}

unsafe extern "C" fn put(user: *mut c_void, id: *const u8, stored: *const u8, len: usize) -> u64 {
    // SAFETY: the import has no requirements of its own.
    u64::from(unsafe { put_atom(user, id, stored, len) })
}

unsafe extern "C" fn drop_number(user: *mut c_void) {
    // SAFETY: the import has no requirements of its own.
    unsafe { drop_user(user) }
}

/// Alignment of memory for the host, which suffices for every struct.
const ALIGNMENT: usize = 8;

/// Returns memory for the host, or null.
#[unsafe(no_mangle)]
pub extern "C" fn astreum_wasm_alloc(len: usize) -> *mut u8 {
    match Layout::from_size_align(len.max(1), ALIGNMENT) {
        // SAFETY: the size is not zero.
        Ok(layout) => unsafe { alloc(layout) },
        Err(_) => core::ptr::null_mut(),
    }
}

/// Frees memory of `astreum_wasm_alloc`, with the same length. Null is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_wasm_free(pointer: *mut u8, len: usize) {
    if let Ok(layout) = Layout::from_size_align(len.max(1), ALIGNMENT)
        && !pointer.is_null()
    {
        // SAFETY: the caller promises that the memory was allocated with this layout.
        unsafe { dealloc(pointer, layout) }
    }
}

/// Binds a name to the host function with the number `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_wasm_bind(
    machine: *mut AstreumMachine,
    name: *const u8,
    name_len: usize,
    user: *mut c_void,
) -> AstreumStatus {
    // SAFETY: the contract of the crate.
    unsafe {
        astreum_machine_bind(
            machine,
            name,
            name_len,
            Some(function),
            user,
            Some(drop_number),
        )
    }
}

/// Sets the store of a machine to the one with the number `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_wasm_set_store(
    machine: *mut AstreumMachine,
    user: *mut c_void,
    has_put: bool,
) -> AstreumStatus {
    let store = AstreumStore {
        size: crate::text::wide(size_of::<AstreumStore>()),
        user,
        get: Some(get),
        put: has_put.then_some(put),
        drop_user: Some(drop_number),
    };
    // SAFETY: the contract of the crate.
    unsafe { astreum_machine_set_store(machine, &raw const store) }
}
