//! Allocator that counts live bytes by owner.
//!
//! A simulation of many nodes in one thread says with [`enter`] which part of which node runs. What
//! is allocated meanwhile counts for that part until it is freed, wherever that happens.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::sync::atomic::{AtomicI64, Ordering};
use std::alloc::System;

/// Number of owners that are told apart. The first one is the simulation, and takes all further ones.
pub const OWNERS: usize = 64;
/// Header in front of each allocation, which names its owner; larger for larger alignments.
const HEADER_BYTES: usize = 16;

static LIVE: [AtomicI64; OWNERS] = [const { AtomicI64::new(0) }; OWNERS];

thread_local! {
    static OWNER: Cell<u8> = const { Cell::new(0) };
}

/// Part of a simulated node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Protocol engine.
    Engine,
    /// Chain: sync, mempool, block production.
    Chain,
    /// Store: atoms in memory, the index of cold storage.
    Store,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 3] = [Self::Engine, Self::Chain, Self::Store];

    /// Name of the part.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Chain => "chain",
            Self::Store => "store",
        }
    }

    fn owner(self, node: usize) -> u8 {
        let part = match self {
            Self::Engine => 0,
            Self::Chain => 1,
            Self::Store => 2,
        };
        let owner = 1 + Self::ALL.len() * node + part;
        u8::try_from(owner)
            .ok()
            .filter(|owner| usize::from(*owner) < OWNERS)
            .unwrap_or(0)
    }
}

/// Owner before [`enter`], which comes back when it is dropped.
#[derive(Debug)]
pub struct Scope(u8);

impl Drop for Scope {
    fn drop(&mut self) {
        OWNER.set(self.0);
    }
}

/// Has what this thread allocates count for a part of a node, as long as the scope lives.
#[must_use]
pub fn enter(node: usize, part: Part) -> Scope {
    Scope(OWNER.replace(part.owner(node)))
}

/// Has what this thread allocates count for the simulation itself.
#[must_use]
pub fn leave() -> Scope {
    Scope(OWNER.replace(0))
}

/// Live bytes of a part of a node; 0 in programs that have another allocator.
#[must_use]
pub fn live_bytes(node: usize, part: Part) -> u64 {
    let live = LIVE.get(usize::from(part.owner(node)));
    let live = live.map_or(0, |live| live.load(Ordering::Relaxed));
    u64::try_from(live).unwrap_or(0)
}

/// The system's allocator, counted. Programs that want figures make it their global allocator.
#[derive(Debug)]
pub struct Owned;

impl Owned {
    /// Layout with the header, and the length of the header.
    fn with_header(layout: Layout) -> Option<(Layout, usize)> {
        let header = layout.align().max(HEADER_BYTES);
        let size = layout.size().checked_add(header)?;
        let layout = Layout::from_size_align(size, header).ok()?;
        Some((layout, header))
    }

    fn count(owner: u8, bytes: usize, sign: i64) {
        if let Some(live) = LIVE.get(usize::from(owner)) {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            live.fetch_add(sign * bytes, Ordering::Relaxed);
        }
    }
}

// SAFETY: every allocation is one of the system's allocator that is larger by a header of at least
// the requested alignment; the pointer behind the header is handed out. The owner is in the last byte
// of the header, which is never handed out.
unsafe impl GlobalAlloc for Owned {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, header)) = Self::with_header(layout) else {
            return core::ptr::null_mut();
        };
        // SAFETY: the size is not zero, for it has a header.
        let start = unsafe { System.alloc(whole) };
        if start.is_null() {
            return start;
        }
        let owner = OWNER.try_with(Cell::get).unwrap_or(0);
        Self::count(owner, layout.size(), 1);
        // SAFETY: the allocation has `header` bytes and the requested ones behind them.
        unsafe {
            start.add(header - 1).write(owner);
            start.add(header)
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((whole, header)) = Self::with_header(layout) else {
            return;
        };
        // SAFETY: the pointer is one that `alloc` gave for this layout: `header` bytes lie before it,
        // and the last one of them is the owner.
        unsafe {
            Self::count(pointer.sub(1).read(), layout.size(), -1);
            System.dealloc(pointer.sub(header), whole);
        }
    }
}
