//! Simulation of many nodes in one thread of virtual time: one trial under faults, or statistics on
//! packet loss and network size.

use astreum_tests::heap::Owned;
use astreum_tests::sim::survey;
use astreum_tests::sim::trial::{self, Settings};
use astreum_tests::sim::world::Counts;
use clap::{Parser, ValueEnum};
use core::time::Duration;
use std::process::ExitCode;
use std::time::Instant;

/// Counts the memory of the nodes for the surveys.
#[global_allocator]
static ALLOCATOR: Owned = Owned;

/// Many nodes, faults, and one seed that reproduces the run.
#[derive(Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// Seed of all random choices.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of nodes in the network.
    #[arg(long, default_value_t = 8)]
    nodes: usize,
    /// Number of hostile nodes among them.
    #[arg(long, default_value_t = 1)]
    hostile: usize,
    /// Number of validators among them, which make the blocks of a chain that the others verify.
    #[arg(long, default_value_t = 0)]
    validators: usize,
    /// Duration of the fault phase, in hours of virtual time.
    #[arg(long, conflicts_with = "seconds")]
    hours: Option<u64>,
    /// Duration of the fault phase, in seconds of virtual time.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Interval between two actions or faults, in milliseconds.
    #[arg(long, default_value_t = 500)]
    pace_ms: u64,
    /// Datagrams lost per thousand, at all times.
    #[arg(long, default_value_t = 0)]
    loss: usize,
    /// Seconds of virtual time for which the validators are off after each minute that they are on.
    #[arg(long, default_value_t = 0)]
    rest: u64,
    /// Number of operator events per minute in which the validators are on: clocks set wrong, lost
    /// files and moved keys. Applies only if the validators rest.
    #[arg(long, default_value_t = 0)]
    operations: usize,
    /// Blocks that both halves of a partitioned network make before the other faults begin.
    #[arg(long, default_value_t = 0)]
    partition_blocks: u64,
    /// Blocks whose state two thirds of the nodes keep when they prune under power cuts; two more
    /// nodes join late. Needs validators, and more virtual time than these blocks take; 0 for no
    /// pruning.
    #[arg(long, default_value_t = 0)]
    prune_blocks: u64,
    /// 1 if no path carries datagrams that need several IP packets.
    #[arg(long, default_value_t = 0)]
    without_fragments: u8,
    /// Prints statistics instead of running a trial.
    #[arg(long)]
    survey: Option<What>,
    /// Lookups of a survey.
    #[arg(long, default_value_t = 500)]
    lookups: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// 100 nodes at 0, 5, 20 and 40 % loss.
    Loss,
    /// 10 to 1,000 nodes without loss, and 10,000 when --nodes says so.
    Scale,
    /// --nodes nodes at --loss.
    One,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = Instant::now();
    let is_done = match arguments.survey {
        Some(What::Loss) => print_surveys(
            &arguments,
            [0, 50, 200, 400].map(|permille| (100, permille)),
        ),
        Some(What::Scale) => {
            let most = arguments.nodes.max(1_000);
            let sizes = [10, 100, 1_000, 10_000].into_iter();
            let sizes = sizes.filter(|nodes| *nodes <= most);
            print_surveys(&arguments, sizes.map(|nodes| (nodes, 0)))
        }
        Some(What::One) => print_surveys(&arguments, [(arguments.nodes, arguments.loss)]),
        None => run_trial(&arguments),
    };
    println!("took {:.1} s", started.elapsed().as_secs_f64());
    if is_done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_trial(arguments: &Arguments) -> bool {
    let seconds = arguments
        .hours
        .map_or(arguments.seconds, |hours| hours * 3_600);
    if arguments.hostile + 2 > arguments.nodes {
        eprintln!(
            "--nodes {} leaves fewer than two honest nodes beside --hostile {}",
            arguments.nodes, arguments.hostile
        );
        return false;
    }
    if arguments.prune_blocks > 0 && arguments.validators == 0 {
        eprintln!("--prune-blocks needs a chain: add --validators");
        return false;
    }
    let settings = Settings {
        seed: arguments.seed,
        nodes: arguments.nodes,
        hostile: arguments.hostile,
        validators: arguments.validators,
        trouble: Duration::from_secs(seconds),
        pace: Duration::from_millis(arguments.pace_ms.max(1)),
        loss_permille: arguments.loss,
        drops_fragments: arguments.without_fragments > 0,
        rest: Duration::from_secs(arguments.rest),
        operations: arguments.operations,
        partition_blocks: arguments.partition_blocks,
        prune_blocks: arguments.prune_blocks,
        sabotage: None,
    };
    let report_progress = |hours: u64, counts: &Counts| {
        if arguments.hours.is_some() {
            let done = hours * arguments.nodes as u64;
            eprintln!("{done} node-hours, {} datagrams", counts.sent);
        }
    };
    match trial::run_with_progress(settings, report_progress) {
        Ok(report) => {
            let counts = report.counts;
            let node_hours = arguments.nodes as f64 * seconds as f64 / 3_600.0;
            println!("trace {:016x}: all promises hold", report.trace);
            println!(
                "{node_hours:.1} node-hours, {} faults, {} power cuts, {} datagrams, {} acknowledged writes, {} checks of a node",
                report.faults, counts.power_cuts, counts.sent, counts.acknowledged, report.checks
            );
            if arguments.validators > 0 {
                let (height, applied) = report.chain;
                println!(
                    "all nodes agree on block {height}; {applied} transactions, money is conserved"
                );
                println!("{:?}", report.chains);
            }
            if arguments.prune_blocks > 0 {
                println!("{:?}", report.pruning);
            }
            println!(
                "{} lookups at the end, the slowest in {:?}",
                report.lookups, report.slowest
            );
            true
        }
        Err(broken) => {
            eprintln!("{broken}");
            false
        }
    }
}

fn print_surveys(arguments: &Arguments, surveys: impl IntoIterator<Item = (usize, usize)>) -> bool {
    println!("{}", survey::TABLE_HEAD);
    for (nodes, loss_permille) in surveys {
        let started = Instant::now();
        let report_progress =
            |what: &str| eprintln!("{:7.1} s  {what}", started.elapsed().as_secs_f64());
        let survey = survey::run(
            arguments.seed,
            nodes,
            arguments.lookups,
            loss_permille,
            report_progress,
        );
        println!("{survey}");
    }
    true
}
