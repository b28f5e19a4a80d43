//! Tables of fork choice simulations: the behaviour of the rule in normal operation, in partitions
//! and under attack.
//!
//! ```text
//! cargo run --release -p astreum-tests --bin fork_choice -- partitions --trials 40
//! ```
//!
//! Everything is simulated (`astreum_tests::sim::fork_choice`) and derived from seeds.

use astreum_tests::random::Random;
use astreum_tests::sim::fork_choice::blocks::Election;
use astreum_tests::sim::fork_choice::grinding;
use astreum_tests::sim::fork_choice::network::{self, Partition, Report, Settings};
use astreum_tests::sim::fork_choice::private::{self, Honest};
use astreum_tests::sim::fork_choice::rule::Rule;
use astreum_tests::sim::fork_choice::scenario::{Split, Stakes};
use astreum_tests::sim::fork_choice::trees::{self, Survey};
use clap::{Parser, ValueEnum};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::process::ExitCode;
use std::sync::Mutex;

/// Tables of fork choice simulations.
#[derive(Parser)]
#[command(name = "fork_choice")]
struct Arguments {
    /// Table to print.
    table: Table,
    /// Trials per cell; number of trees for `trees`.
    #[arg(long)]
    trials: Option<u64>,
    /// Longest partition, in seconds.
    #[arg(long, default_value_t = 3_600)]
    longest: u64,
    /// Numbers of honest validators, for `undo`.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1_000])]
    validators: Vec<u64>,
    /// Ids that a grinding validator tries for one block.
    #[arg(long, default_value_t = 10_000)]
    tries: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Table {
    /// Honest validators, with latency and missed slots.
    Honest,
    /// Partitions: time until they heal.
    Partitions,
    /// Private branch: probability of undoing a number of blocks.
    Private,
    /// Validator that makes two blocks in each of its slots.
    Equivocation,
    /// Validator that orphans the blocks of others where the rule permits it.
    Orphans,
    /// Large validator that stops permanently.
    Gone,
    /// Validator that tries block ids in public.
    Grinding,
    /// Stake that undoes 1 to 1,024 blocks.
    Undo,
    /// Random trees compared with an independent model.
    Trees,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let trials = |default| arguments.trials.unwrap_or(default);
    match arguments.table {
        Table::Honest => honest(),
        Table::Partitions => partitions(trials(40), arguments.longest),
        Table::Private => private_branches(trials(100)),
        Table::Equivocation => equivocation(trials(1)),
        Table::Orphans => orphans(trials(1)),
        Table::Gone => gone(),
        Table::Grinding => grinding_in_public(trials(1), arguments.tries),
        Table::Undo => undo(&arguments.validators, trials(200)),
        Table::Trees => return random_trees(trials(100_000)),
    }
    ExitCode::SUCCESS
}

const ELECTIONS: [(Election, &str); 2] = [
    (Election::Epochs, "epochs"),
    (Election::Parent, "parent, ids tried"),
];

/// Runs `count` tasks on all cores and returns their results in order.
fn all<T: Send>(count: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed) as u64;
                    if number >= count {
                        return;
                    }
                    let result = work(number);
                    if let Ok(mut results) = results.lock() {
                        results.push((number, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Formats a ratio in percent, with one decimal.
fn permille(part: u64, whole: u64) -> String {
    let tenths = part * 1_000 / whole.max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn honest() {
    println!(
        "| stakes | rule | latency ms | missed % | blocks/slot % | orphans % | split > 3 % | deepest split | reorgs ≥ 2 | ≥ 4 | deepest | largest validator % |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let weather = [(200, 0), (500, 100), (500, 300), (1_500, 100), (3_000, 300)];
    let cells: Vec<(Stakes, (u64, u64), Rule)> = [Stakes::Equal, Stakes::Zipf, Stakes::Large]
        .into_iter()
        .flat_map(|stakes| weather.map(|weather| (stakes, weather)))
        .flat_map(|(stakes, weather)| {
            [Rule::Product, Rule::Longest].map(|rule| (stakes, weather, rule))
        })
        .collect();
    let reports = all(cells.len() as u64, |number| {
        let (stakes, (latency_ms, missed_permille), rule) = cell(&cells, number);
        network::run(&Settings {
            latency_ms,
            missed_permille,
            ..Settings::new(rule, stakes.amounts(&mut Random::new(1)))
        })
    });
    for ((stakes, (latency, missed), rule), report) in cells.iter().zip(&reports) {
        println!(
            "| {} | {} | {latency} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            stakes.name(),
            rule.name(),
            missed / 10,
            permille(report.height, report.slots),
            permille(report.blocks - report.height, report.blocks),
            permille(report.split[1], report.slots),
            report.deepest_split,
            report.reorganizations(2),
            report.reorganizations(4),
            report.deepest_reorganization(),
            permille(report.share_permille(0), 1_000),
        );
    }
}

fn cell<T: Copy>(cells: &[T], number: u64) -> T {
    let index = usize::try_from(number).unwrap_or(0);
    *cells
        .get(index)
        .unwrap_or_else(|| panic!("no cell {index}"))
}

fn percentile(values: &mut [u64], percent: usize) -> String {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    let value = values.get(last * percent / 100);
    value.map_or_else(|| "-".to_owned(), u64::to_string)
}

fn partitions(trials: u64, longest: u64) {
    println!(
        "| split | seconds | rule | followers | healed within an hour | after s: median | p90 | most | deepest reorg, median | trials that left a safe block | a settled one | with followers that left a safe one | operator needed |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let lengths = [10, 60, 600, 3_600, 7_200];
    for split in Split::ALL {
        for seconds in lengths.into_iter().filter(|seconds| *seconds <= longest) {
            for (rule, followers) in [(Rule::Product, 0), (Rule::Product, 6), (Rule::FirstPlan, 0)]
            {
                let reports = all(trials, |trial| {
                    partition(split, seconds, rule, followers, trial)
                });
                print_partition(split, seconds, rule, followers, &reports);
            }
        }
    }
}

fn partition(split: Split, seconds: u64, rule: Rule, followers: usize, trial: u64) -> Report {
    let mut random = Random::new(trial * 77 + 5);
    let stakes = Stakes::Varied.amounts(&mut random);
    let sides = split.sides(&stakes, &mut random);
    let (from, to) = (100, 100 + seconds / 2);
    network::run(&Settings {
        seed: trial + 1,
        missed_permille: 50,
        slots: to + 1_800,
        partition: Some(Partition { from, to, sides }),
        stops_when_healed: true,
        reference_followers: followers,
        ..Settings::new(rule, stakes)
    })
}

fn print_partition(split: Split, seconds: u64, rule: Rule, followers: usize, reports: &[Report]) {
    let healed = reports.iter().filter_map(|report| report.healed_after);
    let mut healed: Vec<u64> = healed.map(|slots| 2 * slots).collect();
    let deepest = reports.iter().map(Report::deepest_reorganization);
    let mut deepest: Vec<u64> = deepest.collect();
    let count = |is: &dyn Fn(&Report) -> bool| reports.iter().filter(|report| is(report)).count();
    println!(
        "| {} | {seconds} | {} | {followers} | {}/{} | {} | {} | {} | {} | {} | {} | {} | {} |",
        split.name(),
        rule.name(),
        healed.len(),
        reports.len(),
        percentile(&mut healed, 50),
        percentile(&mut healed, 90),
        percentile(&mut healed, 100),
        percentile(&mut deepest, 50),
        count(&|report| report.left_safe > 0),
        count(&|report| report.left_settled > 0),
        count(&|report| report.followers_left_safe > 0),
        count(&|report| report.operator_needed > 0),
    );
}

fn private_branches(trials: u64) {
    const DEPTHS: [u64; 8] = [1, 6, 16, 20, 50, 100, 300, 1_000];
    let depths = DEPTHS.map(|depth| depth.to_string()).join(" | ");
    println!(
        "Trials of {trials} that undo so many blocks; missed 0/10/30 %, then after a day without honest blocks.\n"
    );
    println!("| stakes | attacker % | {depths} |");
    println!("| --- | --- |{}", " --- |".repeat(DEPTHS.len()));
    let crowds = [
        Honest::Equal(1),
        Honest::Equal(10),
        Honest::Zipf(100),
        Honest::Equal(1_000),
    ];
    for honest in crowds {
        for share in [1, 10, 100, 300, 450] {
            let cells = all(DEPTHS.len() as u64, |number| {
                let attack = private::Attack::new(honest, share, cell(&DEPTHS, number));
                let missed = [0, 100, 300].map(|missed_permille| {
                    let attack = private::Attack {
                        missed_permille,
                        ..attack
                    };
                    private::successes(attack, trials).to_string()
                });
                let outage_slots = 43_200;
                let outage = private::Attack {
                    outage_slots,
                    ..attack
                };
                let outages = (trials / 10).max(1);
                let outage = private::successes(outage, outages);
                format!("{}, {outage}/{outages}", missed.join("/"))
            });
            println!(
                "| {} | {} | {} |",
                honest.name(),
                permille(share, 1_000),
                cells.join(" | ")
            );
        }
    }
}

fn undo(validators: &[u64], trials: u64) {
    const DEPTHS: [u64; 6] = [1, 6, 16, 64, 256, 1_024];
    println!(
        "Least share of the stake, in percent, that undoes so many blocks in 1 % and in half of {trials} trials.\n"
    );
    let depths = DEPTHS.map(|depth| depth.to_string()).join(" | ");
    println!("| validators | missed % | {depths} |");
    println!("| --- | --- |{}", " --- |".repeat(DEPTHS.len()));
    for &count in validators {
        for missed_permille in [0, 100] {
            let cells = all(DEPTHS.len() as u64, |number| {
                let depth = cell(&DEPTHS, number);
                let least = [(trials / 100).max(1), trials / 2].map(|least| {
                    let honest = Honest::Equal(count);
                    let share =
                        private::undo_share_permille(honest, depth, missed_permille, trials, least);
                    share.map_or_else(|| "> 60".to_owned(), |share| permille(share, 1_000))
                });
                least.join(" / ")
            });
            println!(
                "| {count} | {} | {} |",
                missed_permille / 10,
                cells.join(" | ")
            );
        }
    }
}

fn equivocation(trials: u64) {
    println!(
        "| election | attacker % | rule | split > 1 % | > 3 % | > 6 % | deepest split | deepest reorg | blocks/slot % | left a safe block | a settled one |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (election, name) in ELECTIONS {
        for share in [100, 200, 300, 400, 450] {
            for rule in Rule::ALL {
                let reports = all(trials, |trial| {
                    let mut stakes = vec![1_000; 20];
                    stakes.push(20_000 * share / (1_000 - share));
                    network::run(&Settings {
                        seed: trial + 1,
                        election,
                        slots: 2_000,
                        latency_ms: 500,
                        attack: Some((20, network::Attack::Equivocate)),
                        ..Settings::new(rule, stakes)
                    })
                });
                print_equivocation(name, share, rule, &reports);
            }
        }
    }
}

fn print_equivocation(election: &str, share: u64, rule: Rule, reports: &[Report]) {
    let sum = |of: &dyn Fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let most = |of: &dyn Fn(&Report) -> u64| reports.iter().map(of).max().unwrap_or(0);
    let slots = sum(&|report| report.slots);
    println!(
        "| {election} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        share / 10,
        rule.name(),
        permille(sum(&|report| report.split[0]), slots),
        permille(sum(&|report| report.split[1]), slots),
        permille(sum(&|report| report.split[2]), slots),
        most(&|report| report.deepest_split),
        most(&Report::deepest_reorganization),
        permille(sum(&|report| report.height), slots),
        sum(&|report| report.left_safe),
        sum(&|report| report.left_settled),
    );
}

fn orphans(trials: u64) {
    println!("| attacker % | rule | its share of the chain % | deepest reorg | blocks/slot % |");
    println!("| --- | --- | --- | --- | --- |");
    for share in [100, 300, 450] {
        for rule in [Rule::Product, Rule::Longest, Rule::FirstPlan] {
            let reports = all(trials, |trial| {
                let mut stakes = vec![20_000 * share / (1_000 - share)];
                stakes.extend([1_000; 20]);
                network::run(&Settings {
                    seed: trial + 1,
                    missed_permille: 50,
                    attack: Some((0, network::Attack::Orphan)),
                    ..Settings::new(rule, stakes)
                })
            });
            let produced = reports.iter().map(|report| report.share_permille(0)).sum();
            let heights = reports.iter().map(|report| report.height).sum();
            let deepest = reports.iter().map(Report::deepest_reorganization).max();
            println!(
                "| {} | {} | {} | {} | {} |",
                share / 10,
                rule.name(),
                permille(produced, 1_000 * trials),
                deepest.unwrap_or(0),
                permille(heights, 4_000 * trials),
            );
        }
    }
}

fn gone() {
    println!(
        "| case | rule | healed after s | height / slots | deepest split after | deepest reorg |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for rule in [Rule::Product, Rule::FirstPlan] {
        let stakes = Stakes::Large.amounts(&mut Random::new(1));
        let report = network::run(&Settings {
            slots: 2_000,
            gone: Some((0, 500)),
            ..Settings::new(rule, stakes.clone())
        });
        print_gone("60 % gone at slot 500", rule, 2_000, &report);
        for seconds in [120, 600] {
            let to = 200 + seconds / 2;
            // The large validator and three small ones against the others.
            let sides = (0..stakes.len()).map(|validator| u8::from(validator > 3));
            let report = network::run(&Settings {
                slots: 3_000,
                gone: Some((0, 200 + seconds / 4)),
                partition: Some(Partition {
                    from: 200,
                    to,
                    sides: sides.collect(),
                }),
                ..Settings::new(rule, stakes.clone())
            });
            let case = format!("gone within a partition of {seconds} s");
            print_gone(&case, rule, 3_000, &report);
        }
    }
    println!(
        "\n| 20 % alone against 200 x 0.4 %, partition of s | rule | healed | after s: median | the 80 % lost | deepest reorg, median |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for seconds in [60, 200, 600, 1_800] {
        for rule in [Rule::Product, Rule::FirstPlan] {
            let reports = all(10, |trial| lone(seconds, rule, trial));
            let healed = reports.iter().filter_map(|report| report.healed_after);
            let mut healed: Vec<u64> = healed.map(|slots| 2 * slots).collect();
            let mut deepest: Vec<u64> =
                reports.iter().map(Report::deepest_reorganization).collect();
            let lost = deepest.iter().filter(|depth| **depth * 5 > seconds).count();
            println!(
                "| {seconds} | {} | {}/{} | {} | {lost} | {} |",
                rule.name(),
                healed.len(),
                reports.len(),
                percentile(&mut healed, 50),
                percentile(&mut deepest, 50),
            );
        }
    }
}

fn lone(seconds: u64, rule: Rule, trial: u64) -> Report {
    let stakes = Stakes::Lone.amounts(&mut Random::new(1));
    let (from, to) = (20, 20 + seconds / 2);
    let sides = (0..stakes.len()).map(|validator| u8::from(validator > 0));
    network::run(&Settings {
        seed: trial + 9,
        missed_permille: 50,
        slots: to + 900,
        partition: Some(Partition {
            from,
            to,
            sides: sides.collect(),
        }),
        stops_when_healed: true,
        ..Settings::new(rule, stakes)
    })
}

fn print_gone(case: &str, rule: Rule, slots: u64, report: &Report) {
    let healed = report.healed_after.map(|slots| 2 * slots);
    println!(
        "| {case} | {} | {} | {}/{slots} | {} | {} |",
        rule.name(),
        healed.map_or_else(|| "-".to_owned(), |seconds| seconds.to_string()),
        report.height,
        report.deepest_split,
        report.deepest_reorganization(),
    );
}

fn grinding_in_public(trials: u64, tries: u64) {
    println!(
        "| attacker % | ids tried | last block of the first epoch | blocks | its share % | ratio to its stake | seeds chosen | longest run |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for share_permille in [1, 10, 100] {
        for (tries, is_lucky) in [(1, true), (tries, false), (tries, true)] {
            let reports = all(trials, |trial| {
                grinding::run(&grinding::Settings {
                    seed: trial + 1,
                    honest: 20,
                    share_permille,
                    tries,
                    epochs: 40,
                    is_lucky,
                })
            });
            let sum = |of: fn(&grinding::Report) -> u64| reports.iter().map(of).sum::<u64>();
            let (blocks, made) = (sum(|report| report.blocks), sum(|report| report.attacker));
            let longest = reports.iter().map(|report| report.longest_run).max();
            println!(
                "| {} | {tries} | {} | {blocks} | {} | {} | {} | {} |",
                permille(share_permille, 1_000),
                if is_lucky { "given" } else { "by chance" },
                permille(made, blocks),
                permille(made * 10, blocks * share_permille),
                sum(|report| report.ground),
                longest.unwrap_or(0),
            );
        }
    }
}

fn random_trees(count: u64) -> ExitCode {
    const PART: u64 = 1_000;
    let parts = all(count.div_ceil(PART), |part| {
        let seeds = part * PART..count.min((part + 1) * PART);
        let surveys: Result<Vec<Survey>, _> = seeds.map(trees::check).collect();
        surveys.map(|all| all.into_iter().fold(Survey::default(), Survey::with))
    });
    let mut survey = Survey::default();
    for part in parts {
        match part {
            Ok(part) => survey = survey.with(part),
            Err(broken) => {
                eprintln!("{broken}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{} trees, {} decisions equal to the model's, {} head changes, none reverted without a new \
         block",
        survey.trees, survey.decisions, survey.moves
    );
    println!(
        "start-dependent: {} of {} trees with deep forks and without light branches, {} of {} others",
        survey.deep_dependent, survey.deep, survey.other_dependent, survey.other
    );
    ExitCode::SUCCESS
}
