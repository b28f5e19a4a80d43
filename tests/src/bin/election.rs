//! Report of the slots that a stake of 0.1 % gains by grinding its block ids, over 100,000 slots.

use astreum_tests::election::{Seeding, grinding, private_branch, stakes};

const SLOTS: u64 = 100_000;
const TRIES: u64 = 100_000;

fn main() {
    println!("a stake of 0.1 %, {TRIES} tries per id, {SLOTS} slots\n");
    println!("in public, with control of the first two epochs");
    println!("| other validators | slots | without a choice | its share |");
    println!("| ---: | ---: | ---: | ---: |");
    for others in [1, 10, 100, 1_000] {
        let stakes = stakes(others);
        let ground = grinding(&stakes, Seeding::Epochs, SLOTS, TRIES);
        let fair = grinding(&stakes, Seeding::Epochs, SLOTS, 1);
        println!(
            "| {others} | {} | {} | {} |",
            ground.won, fair.won, ground.share
        );
    }
    println!("\na private branch beside an honest one of {SLOTS} blocks");
    println!("| other validators | blocks | without a choice | epochs chosen |");
    println!("| ---: | ---: | ---: | ---: |");
    for others in [1, 10, 100, 1_000] {
        let stakes = stakes(others);
        let ground = private_branch(&stakes, 500, SLOTS, TRIES);
        let fair = private_branch(&stakes, 500, SLOTS, 1);
        println!(
            "| {others} | {} | {} | {} |",
            ground.blocks, fair.blocks, ground.ground_epochs
        );
    }
}
