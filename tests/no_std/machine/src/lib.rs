//! Heaps and limits of the programs for the machine alone.

#![no_std]

extern crate alloc;

#[path = "../../src/heap.rs"]
mod heap;

use astreum_core::machine::Limits;
use core::panic::PanicInfo;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::hprintln;
pub use heap::{BoardHeap, Region};
use heap::{PSRAM_BYTES, PSRAM_START};

/// Index of the heap of 64 KiB.
pub const SMALL: usize = 0;
/// Index of the heap of 256 KiB.
pub const MEDIUM: usize = 1;
/// Index of the heap that has the rest of the board's memory.
pub const LARGE: usize = 2;

const SMALL_BYTES: usize = 64 << 10;
const MEDIUM_BYTES: usize = 256 << 10;
const MEDIUM_START: usize = PSRAM_START + SMALL_BYTES;
const LARGE_START: usize = MEDIUM_START + MEDIUM_BYTES;
const LARGE_BYTES: usize = PSRAM_BYTES - SMALL_BYTES - MEDIUM_BYTES;

/// Heaps of the board.
#[global_allocator]
pub static HEAP: BoardHeap<3> = BoardHeap::new([
    Region::new(PSRAM_START, SMALL_BYTES),
    Region::new(MEDIUM_START, MEDIUM_BYTES),
    Region::new(LARGE_START, LARGE_BYTES),
]);

/// Returns limits for a heap of this size that is the machine's alone.
///
/// The stacks and the heap of the stack machine take about a quarter each at their limits, and live
/// bytes an eighth, which garbage, code and the source of the program may double.
#[must_use]
pub const fn limits(heap_bytes: usize) -> Limits {
    let bytes = heap_bytes as u64;
    Limits {
        depth: bytes >> 10,
        stack_items: bytes >> 9,
        heap_entries: bytes >> 10,
        live_bytes: bytes >> 3,
        steps: 1 << 20,
        atoms: bytes >> 11,
        atom_bytes: bytes >> 4,
    }
}

/// Ends the emulator, with status 0 or 1.
pub fn stop(is_success: bool) -> ! {
    debug::exit(if is_success {
        EXIT_SUCCESS
    } else {
        EXIT_FAILURE
    });
    loop {}
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("no_std: {}", info);
    stop(false)
}
