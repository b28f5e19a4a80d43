//! Programs whose value, outcome, charge and steps are the same on every target.
//!
//! The program on the board and a test on the host (`tests/it/accounting.rs`) compare them with
//! the same expected results, under limits that every kind of count reaches.

use alloc::format;
use alloc::string::String;
use astreum_core::atom::MemoryStore;
use astreum_core::machine::{Env, Limits, Machine};
use astreum_core::text::to_text;

/// Low limits, in reach of short programs.
const LOW: Limits = Limits {
    depth: 100,
    stack_items: 2_000,
    heap_entries: 200,
    live_bytes: 64 << 10,
    steps: 50_000,
    atoms: 100,
    atom_bytes: 16 << 10,
};

/// Script and its expected result.
pub(crate) struct Case {
    pub(crate) source: &'static str,
    pub(crate) expected: &'static str,
}

impl Case {
    /// Returns the result of the script on this target.
    pub(crate) fn actual(&self) -> String {
        let mut machine = Machine::with_limits(MemoryStore::new(), LOW);
        machine.set_meter_limit(Some(40_000));
        match machine.eval_all(self.source, &mut Env::new()) {
            Ok(evaluation) => format!(
                "{}; {:?}; charged {}, {} steps, {} errors",
                to_text(evaluation.value(), 60),
                evaluation.outcome(),
                evaluation.used(),
                evaluation.steps(),
                evaluation.failure_count(),
            ),
            Err(error) => format!("{error}"),
        }
    }
}

pub(crate) const CASES: [Case; 12] = [
    Case {
        source: "(((a b (($0 $1 add) sk)) (a b) fn) int.add def) (1 2 int.add)",
        expected: "3; Finished; charged 2, 37 steps, 0 errors",
    },
    // Values that double: live bytes, and the times at which they are counted.
    Case {
        source: "(((x x) (x) fn) pair def) ((1 pair) l def) ((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def)",
        expected: "error eval: memory limit; Limit(Exceeded { kind: LiveBytes, limit: 65536, used: 65537 }); charged 0, 83 steps, 0 errors",
    },
    // Calls that do not return, each with work left.
    Case {
        source: "(((1 (x again)) (x) fn) again def) (1 again)",
        expected: "error eval: depth limit; Limit(Exceeded { kind: Depth, limit: 100, used: 101 }); charged 0, 720 steps, 0 errors",
    },
    Case {
        source: "(1 ((7 7 7 7 0 jump) sk))",
        expected: "error low_eval: stack limit; Limit(Exceeded { kind: Stack, limit: 2000, used: 2001 }); charged 499, 2998 steps, 0 errors",
    },
    // A heap with ever new keys, and one with ever longer values.
    Case {
        source: "(1 ((0 0 heap_get 1 add heap_set 0 heap_get 0 heap_get heap_set 0 jump) sk))",
        expected: "error low_eval: heap limit; Limit(Exceeded { kind: Heap, limit: 200, used: 201 }); charged 1816, 2591 steps, 0 errors",
    },
    Case {
        source: "(1 ((\"k\" \"k\" heap_get \"k\" heap_get add 1 add heap_set 0 jump) sk))",
        expected: "error low_eval: meter limit; Limit(Exceeded { kind: Meter, limit: 40000, used: 40012 }); charged 39962, 4526 steps, 1 errors",
    },
    // Number and size of atoms.
    Case {
        source: "(1 ((1 \"data\" atom_new \"k\" 0 jump) sk))",
        expected: "error low_eval: atom limit; Limit(Exceeded { kind: Atoms, limit: 100, used: 101 }); charged 504, 604 steps, 0 errors",
    },
    Case {
        source: "(1 ((\"k\" 1 \"some bytes to begin with, long enough\" atom_new heap_set \"k\" \"k\" heap_get \"k\" heap_get atom_concat heap_set 5 jump) sk))",
        expected: "error low_eval: atom limit; Limit(Exceeded { kind: AtomBytes, limit: 16384, used: 18907 }); charged 19186, 365 steps, 0 errors",
    },
    Case {
        source: "(1 ((0 jump) sk))",
        expected: "error low_eval: step limit; Limit(Exceeded { kind: Steps, limit: 50000, used: 50002 }); charged 24999, 50002 steps, 0 errors",
    },
    // Charges by width.
    Case {
        source: "(1 ((1 \"0123456789abcdef0123456789abcdef0123456789abcdef\" nand 1 jump) sk))",
        expected: "error low_eval: meter limit; Limit(Exceeded { kind: Meter, limit: 40000, used: 40060 }); charged 39964, 2065 steps, 1 errors",
    },
    // Errors in a list, with names of some length.
    Case {
        source: "(one.name another.name (2 third.name) (1 2 ((x) (x) fn)))",
        expected: "((error \"eval\" \"unbound symbol 'one.name'\") (error \"eval\" \"u…; Finished; charged 0, 9 steps, 4 errors",
    },
    // Functions that are created anew in each call.
    Case {
        source: "((((((x x) (x) fn) inner def) (x inner)) (x) fn) outer def) ((1 outer) (2 outer) (3 outer))",
        expected: "((((x x) (x) fn) (1 1)) (((x x) (x) fn) (2 2)) (((x x) (x) f…; Finished; charged 0, 108 steps, 0 errors",
    },
];
