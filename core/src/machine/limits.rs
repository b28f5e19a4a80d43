//! Limits of one evaluation, apart from what the meter charges.

use core::fmt;

/// Bounds on one evaluation. An evaluation that passes one of them ends; its value is then an
/// error such as `(error "eval" "step limit")`, and its [`Outcome`](super::Outcome) says which
/// limit it was.
///
/// The meter prices the work that a program asks for; these protect the host from what is free on
/// the meter: high-level evaluation, pushing, nesting, garbage. All are numbers of a fixed width
/// and count in constants, never in the sizes that types have on one target: the same program on
/// the same atoms under the same limits ends the same way everywhere.
///
/// ```
/// use astreum_core::machine::Limits;
///
/// let tight = Limits { steps: 10_000, ..Limits::DEFAULT };
/// assert_eq!(tight.depth, Limits::default().depth);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limits {
    /// Calls that are open at a time.
    pub depth: u64,
    /// Values on the evaluator's stack, and on the stack machine's: 40 bytes each, and up to twice
    /// that again for a moment while the stack grows. Also bindings that calls hide.
    pub stack_items: u64,
    /// Keys on the stack machine's heap: about 100 bytes each.
    pub heap_entries: u64,
    /// Bytes that a running program keeps alive: its code, the lists and values that it made, and
    /// bindings. Values of up to 32 bytes lie in their place on stack or heap, which the two
    /// limits above bound. Also what its result may take when it is written out in full.
    ///
    /// Between evaluations a machine keeps at most a quarter of this, for code that may be
    /// evaluated again.
    pub live_bytes: u64,
    /// Evaluation steps: tokens that the stack machine runs, expressions that are entered, one for
    /// each 32 bytes that a step works through, and one for each item of a function when it is
    /// first called by its name. Checked where a program jumps, calls or works through bytes, so
    /// what runs in between can pass it.
    pub steps: u64,
    /// Atoms that a program may make.
    pub atoms: u64,
    /// Data bytes in the atoms that a program makes.
    pub atom_bytes: u64,
}

impl Limits {
    /// What a machine starts with: seconds of work, and a few hundred megabytes.
    pub const DEFAULT: Self = Self {
        depth: 1 << 16,
        stack_items: 1 << 21,
        heap_entries: 1 << 18,
        live_bytes: 256 << 20,
        steps: 1 << 28,
        atoms: 1 << 18,
        atom_bytes: 64 << 20,
    };

    /// The limit of this kind; `None` for [`LimitKind::Meter`], which is not one of them.
    #[must_use]
    pub const fn get(&self, kind: LimitKind) -> Option<u64> {
        Some(match kind {
            LimitKind::Meter => return None,
            LimitKind::Depth => self.depth,
            LimitKind::Stack => self.stack_items,
            LimitKind::Heap => self.heap_entries,
            LimitKind::LiveBytes => self.live_bytes,
            LimitKind::Steps => self.steps,
            LimitKind::Atoms => self.atoms,
            LimitKind::AtomBytes => self.atom_bytes,
        })
    }

    /// Whether every limit is at most the one of `other`.
    #[must_use]
    pub const fn within(&self, other: &Self) -> bool {
        self.depth <= other.depth
            && self.stack_items <= other.stack_items
            && self.heap_entries <= other.heap_entries
            && self.live_bytes <= other.live_bytes
            && self.steps <= other.steps
            && self.atoms <= other.atoms
            && self.atom_bytes <= other.atom_bytes
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Names one limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum LimitKind {
    /// The meter's limit. A refused charge is an error of the program, which may go on.
    Meter,
    /// [`Limits::depth`].
    Depth,
    /// [`Limits::stack_items`].
    Stack,
    /// [`Limits::heap_entries`].
    Heap,
    /// [`Limits::live_bytes`].
    LiveBytes,
    /// [`Limits::steps`].
    Steps,
    /// [`Limits::atoms`].
    Atoms,
    /// [`Limits::atom_bytes`].
    AtomBytes,
}

impl LimitKind {
    /// The message of the error value.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Meter => "meter limit",
            Self::Depth => "depth limit",
            Self::Stack => "stack limit",
            Self::Heap => "heap limit",
            Self::LiveBytes => "memory limit",
            Self::Steps => "step limit",
            Self::Atoms | Self::AtomBytes => "atom limit",
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

/// A limit that was reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Exceeded {
    /// Which one.
    pub kind: LimitKind,
    /// The limit.
    pub limit: u64,
    /// What would have been in use: over the limit, or, of the meter, at least as much.
    pub used: u64,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} exceeded", self.kind, self.limit)
    }
}
