//! Runs many nodes in one thread of virtual time: one trial under faults, or figures of how the
//! network bears losses and how it grows.

use astreum_tests::sim::survey;
use astreum_tests::sim::trial::{self, Settings};
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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = Instant::now();
    let is_done = match arguments.survey {
        Some(What::Loss) => survey_loss(&arguments),
        Some(What::Scale) => survey_scale(&arguments),
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
    };
    match trial::run(settings) {
        Ok(report) => {
            let counts = report.counts;
            let node_hours = arguments.nodes as f64 * seconds as f64 / 3_600.0;
            println!("trace {:016x}: every promise held", report.trace);
            println!(
                "{node_hours:.1} node-hours, {} faults, {} power cuts, {} datagrams, {} acknowledged writes",
                report.faults, counts.power_cuts, counts.sent, counts.acknowledged
            );
            if arguments.validators > 0 {
                let (height, applied) = report.chain;
                println!("all agree on block {height}; {applied} transactions, all money is there");
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

fn survey_loss(arguments: &Arguments) -> bool {
    println!("| loss | lookups that succeed | p50 | p99 | datagrams a lookup |");
    println!("| --- | --- | --- | --- | --- |");
    for loss_permille in [0, 50, 200, 400] {
        let survey = survey::run(arguments.seed, 100, arguments.lookups, loss_permille);
        println!(
            "| {} % | {} of {} | {:?} | {:?} | {:.1} |",
            loss_permille / 10,
            survey.found,
            survey.lookups,
            survey.within(500),
            survey.within(990),
            survey.datagrams_per_lookup
        );
    }
    true
}

fn survey_scale(arguments: &Arguments) -> bool {
    println!(
        "| nodes | peers a node has | lookups that succeed | round trips | datagrams a lookup |"
    );
    println!("| --- | --- | --- | --- | --- |");
    let sizes = [10, 100, 1_000, 10_000];
    let most = arguments.nodes.max(1_000);
    for nodes in sizes.into_iter().filter(|nodes| *nodes <= most) {
        let survey = survey::run(arguments.seed, nodes, arguments.lookups, 0);
        println!(
            "| {nodes} | {:.1} | {} of {} | {:.2} | {:.1} |",
            survey.peers_per_node,
            survey.found,
            survey.lookups,
            survey.hops(),
            survey.datagrams_per_lookup
        );
    }
    true
}
