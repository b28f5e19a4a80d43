//! Fuzz target of the mempool under hostile inputs in any order: announcements of valid, invalid,
//! malformed and unavailable transactions, fetches that fail, arrive in parts, late, repeated or
//! unsolicited, heads on any branch, clocks that are set, and restarts with arbitrary file content.
//!
//! Promises: pending transactions, fetches and announcements stay within their bounds; each counter
//! equals the number of counted items; a waiting transaction displaces no ready one; no transaction
//! leaves without a reason; saved transactions are restored; the mempool comes to rest; and
//! regardless of earlier inputs, an honest transaction becomes ready in the end.

mod node;
mod steps;
mod world;

use super::input::operations;
use arbitrary::Unstructured;
use node::Node;

/// Maximum number of steps per run.
const MAX_STEPS: usize = 300;
/// Number of peers.
const PEERS: u8 = 240;

/// Statistics of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// Maximum number of transactions that were ready at once.
    pub ready: usize,
    /// Maximum number of transactions that waited for data at once.
    pub waiting: usize,
    /// Transactions that were displaced by ready ones.
    pub displaced: usize,
    /// Transactions that were refused for another reason.
    pub refused: usize,
    /// Transactions that expired.
    pub expired: usize,
    /// Maximum number of transactions of recent blocks that were remembered at once.
    pub included: usize,
    /// Transactions that returned from abandoned branches.
    pub returned: u64,
    /// Transactions that were pending after a restart.
    pub restored: usize,
}

/// Drives a mempool with the inputs that the bytes encode.
pub fn run(data: &[u8]) {
    let _ = reached(data);
}

/// Does the same as [`run`], and returns its statistics.
///
/// # Panics
/// Panics if a promise is broken.
#[must_use]
pub fn reached(data: &[u8]) -> Reached {
    let mut input = Unstructured::new(data);
    let code = input.arbitrary().unwrap_or(0);
    let mut node = Node::new(code);
    if code & 48 != 48 {
        node.adopt(node.world.genesis, true);
    }
    for operation in operations(&mut input, MAX_STEPS) {
        node.act(operation);
    }
    node.recover();
    node.reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn promises_hold_in_random_runs() {
        for seed in 0..60 {
            let mut random = Random::new(seed);
            let steps = random.below(MAX_STEPS);
            run(&random.bytes(1 + 3 * steps));
        }
    }
}
