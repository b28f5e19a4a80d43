//! Limits of one evaluation, in addition to the meter.

use core::fmt;

/// Limits of one evaluation. An evaluation that exceeds one of them ends; its value is then an
/// error such as `(error "eval" "step limit")`, and its [`Outcome`](super::Outcome) names the
/// limit.
///
/// The meter prices the work that a program requests. These limits protect the host from operations
/// that the meter does not charge: high-level evaluation, pushing, nesting, garbage. All are
/// numbers of fixed width and count in constants, never in the sizes of types on one target: the
/// same program on the same atoms under the same limits has the same result everywhere.
///
/// ```
/// use astreum_core::machine::Limits;
///
/// let tight = Limits { steps: 10_000, ..Limits::DEFAULT };
/// assert_eq!(tight.depth, Limits::default().depth);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limits {
    /// Maximum number of open calls.
    pub depth: u64,
    /// Maximum number of values on the evaluator's stack, and on the stack machine's: 40 bytes
    /// each, and up to twice that again temporarily while the stack grows. Also limits the bindings
    /// that calls hide.
    pub stack_items: u64,
    /// Maximum number of keys on the stack machine's heap: about 100 bytes each.
    pub heap_entries: u64,
    /// Maximum number of bytes that a running program keeps alive: its code, the lists and values
    /// that it created, and bindings. Values of up to 32 bytes are stored inline on stack or heap,
    /// which the two limits above bound. Also limits the size of the result when it is written out
    /// in full.
    ///
    /// Between evaluations a machine keeps at most a quarter of this, for code that may be
    /// evaluated again.
    pub live_bytes: u64,
    /// Maximum number of evaluation steps: tokens that the stack machine runs, expressions that are
    /// entered, one for each 32 bytes that a step processes, and one for each item of a function
    /// when it is first called by its name. Checked when a program jumps, calls or processes bytes,
    /// so the code in between can exceed it.
    pub steps: u64,
    /// Maximum number of atoms that a program may create.
    pub atoms: u64,
    /// Maximum number of data bytes in the atoms that a program creates.
    pub atom_bytes: u64,
}

impl Limits {
    /// Default limits of a machine: seconds of work and a few hundred megabytes.
    pub const DEFAULT: Self = Self {
        depth: 1 << 16,
        stack_items: 1 << 21,
        heap_entries: 1 << 18,
        live_bytes: 256 << 20,
        steps: 1 << 28,
        atoms: 1 << 18,
        atom_bytes: 64 << 20,
    };

    /// Returns the limit of this kind, or `None` for [`LimitKind::Meter`], which is not one of
    /// these limits.
    ///
    /// ```
    /// use astreum_core::machine::{LimitKind, Limits};
    /// let limits = Limits { steps: 10_000, ..Limits::DEFAULT };
    /// assert_eq!(limits.get(LimitKind::Steps), Some(10_000));
    /// assert_eq!(limits.get(LimitKind::Meter), None);
    /// ```
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

    /// Returns whether every limit is at most that of `other`.
    ///
    /// ```
    /// use astreum_core::machine::Limits;
    /// let tight = Limits { steps: 10_000, ..Limits::DEFAULT };
    /// assert!(tight.within(&Limits::DEFAULT) && !Limits::DEFAULT.within(&tight));
    /// ```
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

/// Kind of a limit.
///
/// ```
/// use astreum_core::{atom::NoStore, machine::{Env, LimitKind, Limits, Machine}};
/// let limits = Limits { steps: 1_000, ..Limits::DEFAULT };
/// let endless = "(1 ((0 jump) sk))";
/// let evaluation = Machine::with_limits(NoStore, limits).eval_source(endless, &mut Env::new());
/// let (_, message) = evaluation.value().as_error().unwrap();
/// assert_eq!(message, LimitKind::Steps.message().as_bytes());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum LimitKind {
    /// The meter's limit. A refused charge is an error of the program, which may continue.
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
    /// Returns the name of the limit: that of its field in [`Limits`], or `meter`.
    ///
    /// ```
    /// use astreum_core::machine::LimitKind;
    /// assert_eq!(LimitKind::Stack.name(), "stack_items");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meter => "meter",
            Self::Depth => "depth",
            Self::Stack => "stack_items",
            Self::Heap => "heap_entries",
            Self::LiveBytes => "live_bytes",
            Self::Steps => "steps",
            Self::Atoms => "atoms",
            Self::AtomBytes => "atom_bytes",
        }
    }

    /// Returns the message of the error value.
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

/// Limit that was exceeded.
///
/// ```
/// use astreum_core::atom::NoStore;
/// use astreum_core::machine::{Env, Exceeded, LimitKind, Limits, Machine, Outcome};
///
/// let limits = Limits { depth: 10, ..Limits::DEFAULT };
/// let script = "(((x f) (x) fn) f def) (1 f)";
/// let evaluation = Machine::with_limits(NoStore, limits).eval_all(script, &mut Env::new())?;
/// let exceeded = Exceeded { kind: LimitKind::Depth, limit: 10, used: 11 };
/// assert_eq!(evaluation.outcome(), Outcome::Limit(exceeded));
/// # Ok::<(), astreum_core::text::ParseError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Exceeded {
    /// Kind of the limit.
    pub kind: LimitKind,
    /// Value of the limit.
    pub limit: u64,
    /// Usage that was refused: above the limit or, for the meter, at least the limit.
    pub used: u64,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} exceeded", self.kind, self.limit)
    }
}
