//! Allocator of the programs on a board: one of several heaps at a time, with the bytes in use.
//!
//! The programs have one thread and no interrupt handlers, so that a counter needs no atomic
//! update, which a Cortex-M0 does not have.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};
use embedded_alloc::LlffHeap;

/// Start of the PSRAM of the boards, which neither the linker script nor any other code uses.
pub const PSRAM_START: usize = 0x2100_0000;
/// Size of the PSRAM in bytes.
pub const PSRAM_BYTES: usize = 16 << 20;

/// Heap in a region of memory.
pub struct Region {
    start: usize,
    bytes: usize,
    free: LlffHeap,
}

impl Region {
    /// Creates a heap, which is unusable until [`BoardHeap::init`].
    pub const fn new(start: usize, bytes: usize) -> Self {
        Self {
            start,
            bytes,
            free: LlffHeap::empty(),
        }
    }

    /// Returns the size in bytes.
    #[allow(dead_code, reason = "not every program has several heaps")]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Allocator with `N` heaps, of which one is selected for allocations.
pub struct BoardHeap<const N: usize> {
    regions: [Region; N],
    selected: AtomicUsize,
    live_bytes: AtomicUsize,
    peak_bytes: AtomicUsize,
}

impl<const N: usize> BoardHeap<N> {
    pub const fn new(regions: [Region; N]) -> Self {
        Self {
            regions,
            selected: AtomicUsize::new(0),
            live_bytes: AtomicUsize::new(0),
            peak_bytes: AtomicUsize::new(0),
        }
    }

    /// Makes the heaps usable.
    ///
    /// # Safety
    /// The regions are disjoint, and nothing else uses them. Called once, before any allocation.
    pub unsafe fn init(&self) {
        for region in &self.regions {
            // SAFETY: as the caller promises.
            unsafe { region.free.init(region.start, region.bytes) };
        }
    }

    /// Selects the heap for the allocations that follow, and starts to measure its peak.
    #[allow(dead_code, reason = "not every program has several heaps")]
    pub fn select(&self, index: usize) -> &Region {
        self.selected.store(index, Ordering::Relaxed);
        self.restart_peak();
        &self.regions[index]
    }

    /// Starts to measure the peak again.
    #[allow(dead_code, reason = "not every program measures its parts")]
    pub fn restart_peak(&self) {
        self.peak_bytes.store(self.live_bytes(), Ordering::Relaxed);
    }

    /// Returns the number of bytes in use, in all heaps.
    pub fn live_bytes(&self) -> usize {
        self.live_bytes.load(Ordering::Relaxed)
    }

    /// Returns the maximum number of bytes in use.
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes.load(Ordering::Relaxed)
    }
}

// SAFETY: every call goes to one of the inner allocators; a block is freed in the heap whose region
// contains it.
unsafe impl<const N: usize> GlobalAlloc for BoardHeap<N> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let region = &self.regions[self.selected.load(Ordering::Relaxed)];
        // SAFETY: the caller's promise is the same.
        let block = unsafe { region.free.alloc(layout) };
        if !block.is_null() {
            let live_bytes = self.live_bytes() + layout.size();
            self.live_bytes.store(live_bytes, Ordering::Relaxed);
            let peak_bytes = self.peak_bytes().max(live_bytes);
            self.peak_bytes.store(peak_bytes, Ordering::Relaxed);
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let owner = |region: &&Region| block.addr().wrapping_sub(region.start) < region.bytes;
        if let Some(region) = self.regions.iter().find(owner) {
            // SAFETY: the caller's promise is the same, and the block is from this heap.
            unsafe { region.free.dealloc(block, layout) };
        }
        self.live_bytes
            .store(self.live_bytes() - layout.size(), Ordering::Relaxed);
    }
}
