//! Runs many nodes in one thread of virtual time: one trial under faults, or figures of how the
//! network bears losses and how it grows.

use astreum_tests::sim::survey;
use astreum_tests::sim::trial::{self, Settings};
use astreum_tests::sim::world::Counts;
use clap::{Parser, ValueEnum};
use core::time::Duration;
use std::process::ExitCode;
use std::time::Instant;

/// Many nodes, faults, and one seed that repeats it all.
#[derive(Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// Chooses everything that chance decides.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Nodes in the network.
    #[arg(long, default_value_t = 8)]
    nodes: usize,
    /// How many of them do harm.
    #[arg(long, default_value_t = 1)]
    hostile: usize,
    /// How many of them make the blocks of a chain that the others verify.
    #[arg(long, default_value_t = 0)]
    validators: usize,
    /// How long things go wrong, in hours of virtual time.
    #[arg(long, conflicts_with = "seconds")]
    hours: Option<u64>,
    /// How long things go wrong, in seconds of virtual time.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Between two things that are done or go wrong, in milliseconds.
    #[arg(long, default_value_t = 500)]
    pace_ms: u64,
    /// Datagrams lost of a thousand, all the time.
    #[arg(long, default_value_t = 0)]
    loss: usize,
    /// Seconds of virtual time for which the validators are off after each minute that they are on.
    #[arg(long, default_value_t = 0)]
    rest: u64,
    /// Clocks that are set wrong, files that are lost and keys that move: how many of them, in each
    /// minute that the validators are on where they rest.
    #[arg(long, default_value_t = 0)]
    operations: usize,
    /// Blocks that both halves of a network in two parts make before the other faults begin.
    #[arg(long, default_value_t = 0)]
    partition_blocks: u64,
    /// Prints figures instead of making a trial.
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
    let settings = Settings {
        seed: arguments.seed,
        nodes: arguments.nodes,
        hostile: arguments.hostile,
        validators: arguments.validators,
        trouble: Duration::from_secs(seconds),
        pace: Duration::from_millis(arguments.pace_ms.max(1)),
        loss_permille: arguments.loss,
        rest: Duration::from_secs(arguments.rest),
        operations: arguments.operations,
        partition_blocks: arguments.partition_blocks,
        sabotage: None,
    };
    let tell = |hours: u64, counts: &Counts| {
        if arguments.hours.is_some() {
            let done = hours * arguments.nodes as u64;
            eprintln!("{done} node-hours, {} datagrams", counts.sent);
        }
    };
    match trial::run_and_tell(settings, tell) {
        Ok(report) => {
            let counts = report.counts;
            let node_hours = arguments.nodes as f64 * seconds as f64 / 3_600.0;
            println!("trace {:016x}: every promise held", report.trace);
            println!(
                "{node_hours:.1} node-hours, {} faults, {} power cuts, {} datagrams, {} acknowledged writes, {} checks of a node",
                report.faults, counts.power_cuts, counts.sent, counts.acknowledged, report.checks
            );
            if arguments.validators > 0 {
                let (height, applied) = report.chain;
                println!("all agree on block {height}; {applied} transactions, all money is there");
                println!("{:?}", report.chains);
            }
            println!(
                "{} lookups at the end, the slowest took {:?}",
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
        let tell = |what: &str| eprintln!("{:7.1} s  {what}", started.elapsed().as_secs_f64());
        let survey = survey::run(
            arguments.seed,
            nodes,
            arguments.lookups,
            loss_permille,
            tell,
        );
        println!("{survey}");
    }
    true
}
