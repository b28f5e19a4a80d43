//! Allocator that counts live bytes by owner.
//!
//! A simulation of many nodes in one thread calls [`enter`] to select the part of the node that
//! runs. Memory that is allocated meanwhile counts for that part until it is freed, in any scope.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::sync::atomic::{AtomicI64, Ordering};
use std::alloc::System;

/// Number of owners. The first one is the simulation; allocations of parts beyond the last one
/// count for it too.
pub const OWNERS: usize = 256;
/// Number of nodes whose parts are counted: those with lower numbers.
pub const NODES: usize = (OWNERS - 1) / Part::ALL.len();
/// Minimum size of the header in front of each allocation, in bytes. The header has the owner, and
/// is as large as the alignment if that is larger.
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

    /// Returns the name of the part.
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

/// Guard that restores the owner before [`enter`] or [`leave`] when it is dropped.
#[derive(Debug)]
pub struct Scope(u8);

impl Drop for Scope {
    fn drop(&mut self) {
        OWNER.set(self.0);
    }
}

/// Makes allocations of this thread count for a part of a node until the scope is dropped.
#[must_use]
pub fn enter(node: usize, part: Part) -> Scope {
    Scope(OWNER.replace(part.owner(node)))
}

/// Makes allocations of this thread count for the simulation until the scope is dropped.
#[must_use]
pub fn leave() -> Scope {
    Scope(OWNER.replace(0))
}

/// Returns the live bytes of a part of a node; 0 in programs with another global allocator.
#[must_use]
pub fn live_bytes(node: usize, part: Part) -> u64 {
    let live = LIVE.get(usize::from(part.owner(node)));
    let live = live.map_or(0, |live| live.load(Ordering::Relaxed));
    u64::try_from(live).unwrap_or(0)
}

/// System allocator with counters. Programs that need the counts use it as global allocator.
#[derive(Debug)]
pub struct Owned;

impl Owned {
    /// Returns the layout with the header, and the size of the header.
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

// SAFETY: every allocation is an allocation of the system allocator that is larger by a header of
// at least the requested alignment; callers receive the pointer after the header. The owner is in
// the last byte of the header, which callers never receive.
unsafe impl GlobalAlloc for Owned {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, header)) = Self::with_header(layout) else {
            return core::ptr::null_mut();
        };
        // SAFETY: the size is not zero, because it includes the header.
        let start = unsafe { System.alloc(whole) };
        if start.is_null() {
            return start;
        }
        let owner = OWNER.try_with(Cell::get).unwrap_or(0);
        Self::count(owner, layout.size(), 1);
        // SAFETY: the allocation has `header` bytes and the requested bytes after them.
        unsafe {
            start.add(header - 1).write(owner);
            start.add(header)
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((whole, header)) = Self::with_header(layout) else {
            return;
        };
        // SAFETY: `alloc` has returned the pointer for this layout: `header` bytes are in front of
        // it, and the last of them is the owner.
        unsafe {
            Self::count(pointer.sub(1).read(), layout.size(), -1);
            System.dealloc(pointer.sub(header), whole);
        }
    }
}
