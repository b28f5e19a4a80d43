//! Tests of the core whose results do not depend on the target.
//!
//! The program on the board runs them; `tests/it` includes the same modules on a host. The
//! library also builds for targets on which nothing runs it, such as wasm32.

#![no_std]

extern crate alloc;

mod accounting;
mod check;
#[path = "../../src/conform/portable/mod.rs"]
mod conform;
mod conformance;
mod follower;

pub use conformance::conformance;

use alloc::string::{String, ToString};
use follower::{HEAD_REPORT, INVALID_HEAD_REPORT, RECORDING, Recording};

/// Runs scripts and compares value, charge and steps with those of other targets. Returns the
/// number of scripts.
///
/// # Panics
/// Panics if one of them differs.
#[must_use]
pub fn accounting() -> usize {
    for case in &accounting::CASES {
        assert_eq!(case.actual(), case.expected, "{}", case.source);
    }
    accounting::CASES.len()
}

/// Syncs a recorded chain of 100 blocks from its genesis id, then a branch of it with an invalid
/// block, each with a new follower. Returns their reports, which equal those of other targets.
///
/// # Panics
/// Panics if a report differs.
#[must_use]
pub fn follow() -> [String; 2] {
    let Some(recording) = Recording::read(RECORDING) else {
        panic!("the recording is malformed");
    };
    let heads = [recording.head, recording.invalid_head];
    let reports = heads.map(|head| follower::follow(&recording, head).to_string());
    assert_eq!(reports, [HEAD_REPORT, INVALID_HEAD_REPORT]);
    reports
}
