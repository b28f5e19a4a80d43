//! Limits of evaluations.

use crate::error::{AstreumStatus, guard};
use crate::memory::{Sized64, write_sized};
use astreum_core::machine::{LimitKind, Limits};
use core::mem::size_of;

/// Limits of one evaluation, in addition to the meter. Start with `astreum_limits_default`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AstreumLimits {
    /// `sizeof(AstreumLimits)`, set by the caller.
    pub size: u64,
    /// Maximum number of open calls.
    pub depth: u64,
    /// Maximum number of values on a stack: about 120 bytes each.
    pub stack_items: u64,
    /// Maximum number of keys on the heap of the stack machine: about 100 bytes each.
    pub heap_entries: u64,
    /// Maximum number of bytes that a running program keeps alive.
    pub live_bytes: u64,
    /// Maximum number of evaluation steps.
    pub steps: u64,
    /// Maximum number of atoms that a program may create.
    pub atoms: u64,
    /// Maximum number of data bytes in these atoms.
    pub atom_bytes: u64,
}

// SAFETY: the struct is `repr(C)`, starts with a `u64`, and consists of numbers.
unsafe impl Sized64 for AstreumLimits {
    const FIRST_SIZE: usize = size_of::<Self>();
}

impl AstreumLimits {
    pub(crate) const fn new(limits: &Limits) -> Self {
        Self {
            // A struct has a few dozen bytes.
            size: size_of::<Self>() as u64,
            depth: limits.depth,
            stack_items: limits.stack_items,
            heap_entries: limits.heap_entries,
            live_bytes: limits.live_bytes,
            steps: limits.steps,
            atoms: limits.atoms,
            atom_bytes: limits.atom_bytes,
        }
    }

    pub(crate) const fn limits(&self) -> Limits {
        Limits {
            depth: self.depth,
            stack_items: self.stack_items,
            heap_entries: self.heap_entries,
            live_bytes: self.live_bytes,
            steps: self.steps,
            atoms: self.atoms,
            atom_bytes: self.atom_bytes,
        }
    }
}

/// Kind of a limit.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AstreumLimitKind {
    /// No limit, or one that this version does not know.
    None = 0,
    /// Limit of the meter. A refused charge is an error of the program, which may continue.
    Meter = 1,
    /// `depth`.
    Depth = 2,
    /// `stack_items`.
    Stack = 3,
    /// `heap_entries`.
    Heap = 4,
    /// `live_bytes`.
    LiveBytes = 5,
    /// `steps`.
    Steps = 6,
    /// `atoms`.
    Atoms = 7,
    /// `atom_bytes`.
    AtomBytes = 8,
}

impl AstreumLimitKind {
    pub(crate) const fn new(kind: LimitKind) -> Self {
        match kind {
            LimitKind::Meter => Self::Meter,
            LimitKind::Depth => Self::Depth,
            LimitKind::Stack => Self::Stack,
            LimitKind::Heap => Self::Heap,
            LimitKind::LiveBytes => Self::LiveBytes,
            LimitKind::Steps => Self::Steps,
            LimitKind::Atoms => Self::Atoms,
            LimitKind::AtomBytes => Self::AtomBytes,
            _ => Self::None,
        }
    }
}

/// Writes the default limits: seconds of work and a few hundred megabytes. `limits->size` must be
/// set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_limits_default(limits: *mut AstreumLimits) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        unsafe { write_sized(limits, &AstreumLimits::new(&Limits::DEFAULT)) }
    })
}
