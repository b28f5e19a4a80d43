//! Limits of id grinding: a small stake gains little by choosing the ids of its blocks, in public
//! and on a private branch; with the reference's seeds it won every slot.

use astreum_tests::election::{Seeding, grinding, private_branch, stakes};

const TRIES: u64 = 100_000;

/// Six epochs, the last four of which it has chosen. 100,000 slots would take minutes; the
/// `election` binary runs them.
#[test]
fn ground_ids_win_at_most_ten_times_the_share_in_public() {
    let found = grinding(&stakes(10), Seeding::Epochs, 6_143, TRIES);
    assert!(found.won <= 10 * found.share, "{found:?}");
    // It does gain something, which proves that the choice is effective.
    assert!(found.won > 2 * found.share, "{found:?}");
}

/// The advantage that the seeds removed, on the same scale.
#[test]
fn ground_ids_won_every_slot_when_the_parent_seeded_the_draw() {
    let found = grinding(&stakes(10), Seeding::Parent, 300, TRIES);
    assert!(found.won >= 299, "{found:?}");
}

/// Beside one other validator, whose stake is halved fastest: the best case for the branch.
#[test]
fn private_branch_is_at_most_a_fifth_as_long_as_an_honest_one() {
    let found = private_branch(&stakes(1), 500, 40_000, TRIES);
    assert!(found.blocks * 5 <= found.slots, "{found:?}");
    assert!(found.ground_epochs >= 3, "{found:?}");
}
