//! Allocator of the WebAssembly module: two-level segregated fit on the module's memory.
//!
//! Its code is a fifth of that of `dlmalloc`; every operation takes constant time, except that a
//! larger reallocation copies. Adjacent free blocks are merged, also with memory that the module grows
//! by.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use rlsf::{FlexSource, FlexTlsf};

const PAGE_BYTES: usize = 1 << 16;
/// Index of the only memory.
const MEMORY: u32 = 0;

/// Pages at the end of the memory.
struct Pages;

/// Grows the memory by at least `len` bytes; returns where they start, and their number.
fn grow(len: usize) -> Option<(usize, usize)> {
    let pages = len.div_ceil(PAGE_BYTES);
    let old_pages = memory_grow(MEMORY, pages);
    (old_pages != usize::MAX).then(|| (old_pages * PAGE_BYTES, pages * PAGE_BYTES))
}

// SAFETY: each returned range was added to the memory by this call, and nothing else uses it.
unsafe impl FlexSource for Pages {
    unsafe fn alloc(&mut self, min_size: usize) -> Option<NonNull<[u8]>> {
        let (start, len) = grow(min_size)?;
        NonNull::new(ptr::slice_from_raw_parts_mut(
            ptr::with_exposed_provenance_mut(start),
            len,
        ))
    }

    unsafe fn realloc_inplace_grow(
        &mut self,
        old: NonNull<[u8]>,
        min_new_len: usize,
    ) -> Option<usize> {
        let end = old.cast::<u8>().addr().get() + old.len();
        // The script may have grown the memory.
        if end != memory_size(MEMORY) * PAGE_BYTES {
            return None;
        }
        let (_, added) = grow(min_new_len - old.len())?;
        Some(old.len() + added)
    }

    fn supports_realloc_inplace_grow(&self) -> bool {
        true
    }

    fn min_align(&self) -> usize {
        PAGE_BYTES
    }
}

const BITS: usize = 32;

pub(crate) struct Allocator(UnsafeCell<FlexTlsf<Pages, u32, u32, BITS, BITS>>);

impl Allocator {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(FlexTlsf::new(Pages)))
    }
}

#[cfg(target_feature = "atomics")]
compile_error!("the allocator has no lock");

// SAFETY: without atomics a module has a single thread.
unsafe impl Sync for Allocator {}

// SAFETY: the allocator hands out separate blocks of the size and alignment of the layout.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: there is one thread, and the allocator does not call itself.
        let tlsf = unsafe { &mut *self.0.get() };
        tlsf.allocate(layout)
            .map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        let tlsf = unsafe { &mut *self.0.get() };
        if let Some(pointer) = NonNull::new(pointer) {
            // SAFETY: the caller promises that `alloc` returned the pointer for this layout.
            unsafe { tlsf.deallocate(pointer, layout.align()) }
        }
    }
}
