//! The core on a bare microcontroller: no operating system, no std, an allocator and nothing else.
//!
//! It runs under qemu and prints what it found; a failed assertion ends the emulator with status 1.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use astreum_core::atom::{Atom, AtomSource, MemoryStore};
use core::panic::PanicInfo;
use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::hprintln;
use embedded_alloc::LlffHeap;

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

/// The board's PSRAM.
const HEAP_START: usize = 0x2100_0000;
const HEAP_BYTES: usize = 16 << 20;

#[entry]
fn main() -> ! {
    // SAFETY: the region is RAM of this board that neither the linker script nor anybody else uses,
    // and this runs once, before the first allocation.
    unsafe { HEAP.init(HEAP_START, HEAP_BYTES) };
    atoms();
    hprintln!("no_std: ok");
    debug::exit(EXIT_SUCCESS);
    loop {}
}

/// An id that a host computed is the id that this computes.
fn atoms() {
    let atom = Atom::bytes(*b"abc");
    let store: MemoryStore = vec![atom.clone()].into_iter().collect();
    hprintln!("atom {}", atom.id());
    assert_eq!(store.atom(&atom.id()).ok(), Some(atom));
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("no_std: {}", info);
    debug::exit(EXIT_FAILURE);
    loop {}
}
