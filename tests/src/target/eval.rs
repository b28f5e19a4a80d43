//! Fuzz target of evaluation: any program ends within tight limits, and deterministically.

use super::input::Input;
use astreum_core::atom::MemoryStore;
use astreum_core::machine::{Env, Limits, Machine};

/// Limits that are small enough for thousands of programs per second to reach them.
const LIMITS: Limits = Limits {
    depth: 64,
    stack_items: 4_096,
    heap_entries: 64,
    live_bytes: 1 << 20,
    steps: 4_000,
    atoms: 64,
    atom_bytes: 1 << 16,
};

/// Evaluates an input. The first byte is the meter's limit in units of 16, 255 for no limit; the
/// rest is a script whose expressions share one environment. `repeats` evaluates it again.
pub(super) fn run(data: &[u8], repeats: bool) {
    let mut input = Input(data);
    let limit = match input.byte() {
        None | Some(255) => None,
        Some(units) => Some(u64::from(units) * 16),
    };
    let source = String::from_utf8_lossy(input.0);
    let first = outcome(&source, limit);
    if repeats {
        assert_eq!(
            first,
            outcome(&source, limit),
            "evaluation is deterministic"
        );
    }
}

fn outcome(source: &str, limit: Option<u64>) -> Vec<(String, u64, u64)> {
    let mut machine = Machine::with_limits(MemoryStore::new(), LIMITS);
    machine.set_meter_limit(limit);
    let mut env = Env::new();
    let mut outcomes = Vec::new();
    for expr in astreum_core::text::Parser::new(source).map_while(Result::ok) {
        let evaluation = machine.eval(&expr, &mut env);
        if let Some(limit) = limit {
            assert!(
                evaluation.used() < limit.max(1),
                "the charge stays below the limit"
            );
        }
        // Steps beyond the limit are counted before they are refused; no value is longer than this.
        let most = LIMITS.steps + LIMITS.live_bytes / 32 + 1_000;
        let steps = evaluation.steps();
        assert!(steps <= most, "{steps} steps of {}", LIMITS.steps);
        let value = astreum_core::text::to_text(evaluation.value(), 1 << 12);
        outcomes.push((value, evaluation.used(), evaluation.steps()));
    }
    outcomes
}
