//! Fork choice under simulated networks and attackers. The tables of `tests/docs/fork-choice.md`
//! are the same simulations with more trials (`--bin fork_choice`).
//!
//! Each attack is also run on the rule that it defeated, so that a scenario without an effect is
//! detected.

use astreum_tests::random::Random;
use astreum_tests::sim::fork_choice::blocks::{Blocks, Election};
use astreum_tests::sim::fork_choice::grinding;
use astreum_tests::sim::fork_choice::network::{self, Attack, Partition, Report, Settings};
use astreum_tests::sim::fork_choice::private::{self, Honest};
use astreum_tests::sim::fork_choice::rule::Rule;
use astreum_tests::sim::fork_choice::scenario::{Split, Stakes};
use astreum_tests::sim::fork_choice::trees::{self, Survey};
use core::ops::Range;

fn partition(split: Split, slots: u64, rule: Rule, seed: u64) -> Report {
    let mut random = Random::new(seed * 77 + 5);
    let stakes = Stakes::Varied.amounts(&mut random);
    let sides = split.sides(&stakes, &mut random);
    let (from, to) = (100, 100 + slots);
    network::run(&Settings {
        seed,
        missed_permille: 50,
        slots: to + 300,
        partition: Some(Partition { from, to, sides }),
        stops_when_healed: true,
        ..Settings::new(rule, stakes)
    })
}

fn equivocation(share_percent: u64, rule: Rule, election: Election) -> Report {
    let mut stakes = vec![1_000; 20];
    stakes.push(20_000 * share_percent / (100 - share_percent));
    network::run(&Settings {
        slots: 600,
        latency_ms: 500,
        election,
        attack: Some((20, Attack::Equivocate)),
        ..Settings::new(rule, stakes)
    })
}

fn gone_within_partition(rule: Rule) -> Report {
    let stakes = Stakes::Large.amounts(&mut Random::new(1));
    // The large validator and three small ones against the others.
    let sides = (0..stakes.len()).map(|validator| u8::from(validator > 3));
    network::run(&Settings {
        slots: 1_500,
        gone: Some((0, 230)),
        partition: Some(Partition {
            from: 200,
            to: 260,
            sides: sides.collect(),
        }),
        ..Settings::new(rule, stakes)
    })
}

#[test]
fn walk_agrees_with_an_independent_model_on_random_trees() {
    const TREES: u64 = 3_000;
    let check = |seeds: Range<u64>| {
        let surveys =
            seeds.map(|seed| trees::check(seed).unwrap_or_else(|broken| panic!("{broken}")));
        surveys.fold(Survey::default(), Survey::with)
    };
    let half = TREES / 2;
    let survey = std::thread::scope(|scope| {
        let other = scope.spawn(|| check(half..TREES));
        check(0..half).with(other.join().expect("violated property"))
    });
    assert_eq!((survey.trees, survey.deep_dependent), (TREES, 0));
    // A significant number of them, and near forks that do depend on the start.
    assert!(survey.deep > TREES / 20, "{survey:?}");
    assert!(survey.other_dependent > TREES / 100, "{survey:?}");
    assert!(survey.moves > TREES, "{survey:?}");
}

/// Failure 1 of the first draft: "higher and at least as much stake" is not an order, so that each
/// side of a partition may have a property that the other one lacks, forever.
#[test]
fn sides_of_a_partition_converge() {
    let report = gone_within_partition(Rule::Product);
    assert!(
        report.healed_after.is_some_and(|slots| slots <= 5),
        "{report:?}"
    );
    let report = gone_within_partition(Rule::FirstPlan);
    assert!(
        report.healed_after.is_none() && report.deepest_split > 500,
        "{report:?}"
    );
    for seed in 1..=8 {
        let healed = partition(Split::Halves, 300, Rule::Product, seed).healed_after;
        assert!(healed.is_some_and(|slots| slots <= 5), "{healed:?}");
    }
}

/// Failure 2 of the first draft: a validator that sends each half its own branch keeps them apart.
/// With the reference's election it also has the next slot whenever it has one.
#[test]
fn equivocating_validator_does_not_keep_nodes_split() {
    let report = equivocation(10, Rule::Product, Election::Parent);
    assert!(report.deepest_split <= 24, "{report:?}");
    assert!(report.split[2] * 20 < report.slots, "{report:?}");
    assert_eq!(report.left_safe, 0);
    let report = equivocation(10, Rule::FirstPlan, Election::Parent);
    assert!(report.deepest_split > 400, "{report:?}");
    for (share, deepest) in [(10, 8), (30, 12), (45, 24)] {
        let report = equivocation(share, Rule::Product, Election::Epochs);
        assert!(report.deepest_split <= deepest, "{share} %: {report:?}");
        assert_eq!(report.left_safe, 0);
    }
}

/// Failure 3 of the first draft: up to 16 blocks deep any higher branch won, so that 0.1 % of the
/// stake undid them: with ids that it tries, or after an outage.
#[test]
fn permille_of_the_stake_does_not_undo_blocks() {
    let tried = |honest, depth| private::Attack {
        election: Election::Parent,
        ..private::Attack::new(honest, 1, depth)
    };
    let outage = |honest, depth| private::Attack {
        outage_slots: 20_000,
        ..private::Attack::new(honest, 1, depth)
    };
    for honest in [Honest::Equal(1), Honest::Equal(10)] {
        for attack in [6, 16].map(|depth| [tried(honest, depth), outage(honest, depth)]) {
            for attack in attack {
                assert_eq!(private::successes(attack, 2), 0, "{attack:?}");
                let rule = Rule::FirstPlan;
                let first_plan = private::Attack { rule, ..attack };
                assert!(private::successes(first_plan, 2) > 0, "{attack:?}");
            }
        }
    }
}

#[test]
fn partitions_of_unequal_sides_heal_and_no_validator_leaves_a_safe_block() {
    for split in Split::ALL {
        for seed in 1..=3 {
            let report = partition(split, 100, Rule::Product, seed);
            let healed = report.healed_after;
            assert!(
                healed.is_some_and(|slots| slots <= 15),
                "{split:?}: {healed:?}"
            );
            assert_eq!(
                (report.left_safe, report.operator_needed),
                (0, 0),
                "{split:?}"
            );
        }
    }
}

#[test]
fn partition_deeper_than_the_limit_waits_for_the_operator() {
    let mut random = Random::new(1);
    let stakes = Stakes::Equal.amounts(&mut random);
    let sides = Split::Halves.sides(&stakes, &mut random);
    let report = network::run(&Settings {
        slots: 2_900,
        partition: Some(Partition {
            from: 10,
            to: 2_800,
            sides,
        }),
        ..Settings::new(Rule::Product, stakes)
    });
    assert!(report.operator_needed > 0 && report.healed_after.is_none());
    assert!(report.deepest_reorganization() <= 16);
    // Both sides make blocks all the time.
    assert!(report.height > 1_200, "{}", report.height);
}

#[test]
fn chain_continues_without_a_large_validator() {
    let stakes = Stakes::Large.amounts(&mut Random::new(1));
    let report = network::run(&Settings {
        slots: 1_000,
        gone: Some((0, 200)),
        ..Settings::new(Rule::Product, stakes)
    });
    assert!(report.deepest_split <= 3 && report.deepest_reorganization() <= 3);
    assert!(report.height > 500, "{}", report.height);
}

#[test]
fn large_validator_gains_nothing_by_orphaning_others() {
    let mut stakes = vec![20_000 * 45 / 55];
    stakes.extend([1_000; 20]);
    let report = network::run(&Settings {
        slots: 1_500,
        missed_permille: 50,
        attack: Some((0, Attack::Orphan)),
        ..Settings::new(Rule::Product, stakes)
    });
    assert!(
        report.share_permille(0) < 500,
        "{}",
        report.share_permille(0)
    );
    assert!(report.deepest_reorganization() <= 3);
}

#[test]
fn undoing_blocks_takes_more_stake_the_more_of_it_has_produced_them() {
    let share = |count, depth| private::undo_share_permille(Honest::Equal(count), depth, 0, 20, 10);
    // One validator has voted with all of the stake at once.
    assert!(
        share(1, 16).is_none_or(|share| share >= 450),
        "{:?}",
        share(1, 16)
    );
    // Of 100 validators, 16 blocks represent at most 16 % of the stake.
    let (few, many) = (share(100, 16), share(100, 256));
    assert!(few < many || many.is_none(), "{few:?} {many:?}");
    assert!(many.is_none_or(|share| share >= 400), "{many:?}");
}

#[test]
fn public_grinding_gains_less_than_ten_times_the_share() {
    for (share_permille, tries) in [(10, 2_000), (100, 200)] {
        let report = grinding::run(&grinding::Settings {
            seed: 1,
            honest: 20,
            share_permille,
            tries,
            epochs: 6,
            is_lucky: true,
        });
        assert!(report.ground > 0);
        let ratio = report.attacker * 1_000 / (report.blocks * share_permille);
        assert!(ratio < 10, "{ratio}");
    }
}

#[test]
fn simulation_is_a_function_of_its_seed() {
    let run = |seed| {
        network::run(&Settings {
            seed,
            slots: 300,
            latency_ms: 1_500,
            missed_permille: 100,
            ..Settings::new(Rule::Product, Stakes::Zipf.amounts(&mut Random::new(1)))
        })
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
    // The slots of a height depend on its seed, and not on the block below.
    let mut random = Random::new(5);
    let mut blocks = Blocks::new(&[1_000; 20], Election::Epochs, &mut random);
    let siblings = [1, 1].map(|slot| blocks.add(0, slot, 0, &mut random));
    assert_ne!(blocks.id(siblings[0]), blocks.id(siblings[1]));
    let schedule = siblings.map(|block| {
        let slots = 2..100;
        slots
            .map(|slot| blocks.winner(block, slot))
            .collect::<Vec<_>>()
    });
    assert_eq!(schedule[0], schedule[1]);
}
