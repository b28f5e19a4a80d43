//! Sync of a recorded chain by the follower that also runs on bare metal.

#[path = "../no_std/src/follower.rs"]
mod no_std;

use astreum_core::atom::AtomSource;
use astreum_tests::follower_chain::{HEIGHT, INVALID_HEIGHT, follower_chain};
use no_std::{HEAD_REPORT, INVALID_HEAD_REPORT, RECORDING, Recording, follow};

fn recording() -> Recording {
    let recording = Recording::read(RECORDING);
    recording.unwrap_or_else(|| panic!("the recording is malformed"))
}

#[test]
fn recording_is_reproducible() {
    let chain = follower_chain();
    assert!(
        chain.recording == RECORDING,
        "tests/no_std/chain.bin differs from what `cargo run -p astreum-tests --bin follower_chain` \
         writes"
    );
    assert!(RECORDING.len() <= 300 << 10);
}

#[test]
fn follower_verifies_every_block_from_the_genesis_id() {
    let recording = recording();
    let chain = follower_chain();
    let head = chain.blocks.last().unwrap();
    let report = follow(&recording, recording.head);
    println!("{report}");
    assert_eq!(report.height, Some(HEIGHT));
    assert_eq!((report.head, report.accounts), (head.id(), head.accounts));
    assert_eq!(report.verified, HEIGHT + 1);
    assert_eq!(report.genesis, recording.genesis);
    assert!(report.invalid.is_empty());
    assert_eq!(report.to_string(), HEAD_REPORT);
    // The recording has the state of the genesis alone: the others were computed.
    for block in &chain.blocks {
        let is_recorded = recording.atoms.atom(&block.accounts).is_ok();
        assert_eq!(is_recorded, block.is_genesis(), "{}", block.height);
    }
}

#[test]
fn follower_stops_below_a_block_with_a_wrong_transaction_root() {
    let recording = recording();
    let chain = follower_chain();
    let report = follow(&recording, recording.invalid_head);
    println!("{report}");
    let [(id, _)] = report.invalid.as_slice() else {
        panic!("{report}");
    };
    assert_eq!(*id, chain.invalid.id());
    assert_eq!(report.height, Some(INVALID_HEIGHT - 1));
    assert_eq!(report.head, chain.invalid.previous);
    assert_eq!(report.verified, INVALID_HEIGHT);
    assert_eq!(report.to_string(), INVALID_HEAD_REPORT);
}
