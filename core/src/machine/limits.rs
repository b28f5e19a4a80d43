//! How much one evaluation may use, apart from what the meter charges.

/// Bounds on one evaluation. Passing one ends the evaluation; its value is then an error such as
/// `(error "eval" "step limit")`.
///
/// The meter prices work that a program asks for; these protect the host from what is free on the
/// meter: high-level evaluation, pushing, nesting, garbage.
///
/// ```
/// use astreum_core::machine::Limits;
///
/// let tight = Limits { steps: 10_000, ..Limits::DEFAULT };
/// assert_eq!(tight.depth, Limits::default().depth);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Calls of functions that are open at a time.
    pub depth: usize,
    /// Values on the evaluator's stack, and on the stack machine's: 40 bytes each, and up to twice
    /// that again for a moment while the stack grows.
    pub stack_items: usize,
    /// Keys on the stack machine's heap: about 100 bytes each.
    pub heap_entries: usize,
    /// Bytes that a running program keeps alive: lists and values that it made and bindings. Values
    /// of up to 32 bytes lie in their place on stack or heap, which the two limits above bound.
    /// Also what its result may take when it is written out in full.
    pub live_bytes: usize,
    /// Evaluation steps: tokens that the stack machine runs, expressions that are entered, and
    /// one for each 32 bytes that a step works through. Looked at where a program jumps, calls or
    /// works through bytes, so what runs in between can pass it.
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
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
