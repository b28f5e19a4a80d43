//! Final table and verdict.

use crate::health::{Class, Sample, Samples, mib, slope_mib_per_hour, warm_up};
use crate::logs::LogProblems;
use crate::measured::{Operation, Record};
use crate::node::Role;
use crate::restarts::Restarts;
use crate::transfers::Account;
use core::fmt::Display;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::collections::BTreeMap;

/// Maximum memory growth of a class of nodes that are not restarted, in MiB per hour, without the
/// index of their stores, which grows with the stored atoms.
const SLOPE_BAR_MIB: f64 = 4.0;
/// Minimum duration for a meaningful slope.
const SHORTEST_SLOPE: Duration = Duration::from_secs(600);
/// Maximum number of additional descriptors of a node at the end, compared with the warm-up: files
/// of cold storage come and go.
const DESCRIPTORS_BAR: u64 = 16;
/// Number of gets between live nodes of ours per permitted first-try miss.
const GETS_PER_MISS: u64 = 200;
/// Misses that are permitted regardless of the number of gets.
const MISSES: u64 = 2;

/// Content of the table.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) took: Duration,
    pub(crate) records: BTreeMap<Operation, Record>,
    pub(crate) samples: Samples,
    pub(crate) ended: Vec<String>,
    pub(crate) restarts: &'a Restarts,
    pub(crate) log_problems: LogProblems,
    pub(crate) account: Account,
    pub(crate) references_died: u64,
    /// True if the run was interrupted.
    pub(crate) is_interrupted: bool,
}

impl Report<'_> {
    /// Prints the table and returns the number of missed bars.
    pub(crate) fn print(&self) -> usize {
        println!("\n| operation | done | p50 | p99 | max | failed | while restarted |");
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        for (operation, record) in &self.records {
            let [half, most, all] = record.times();
            println!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                operation.name(),
                record.done(),
                Time(half),
                Time(most),
                Time(all),
                record.failures(),
                record.excused
            );
        }
        self.print_failures();
        self.print_processes();
        self.print_log_problems();
        self.print_bars()
    }

    fn print_failures(&self) {
        println!("\nfailures by kind:");
        for (operation, record) in &self.records {
            for (kind, count) in &record.failed {
                let remark = match operation.is_references() {
                    true => " (with a reference, without a bar)",
                    false => "",
                };
                println!("  {count:6}  {}: {kind}{remark}", operation.name());
            }
        }
        println!("  {:6}  restarts of references", self.references_died);
    }

    fn print_processes(&self) {
        let from = warm_up(self.took);
        println!(
            "\n| processes | number | own memory after {:.0} min, end, max | its slope, MiB/h: \
             mean, max; without the index of the store | resident with mapped files, end, max | \
             descriptors after warm-up, end | threads |",
            from.as_secs_f64() / 60.0
        );
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        for class in Class::all() {
            let members: Vec<&Vec<Sample>> = self.of(class).collect();
            if members.is_empty() {
                continue;
            }
            let first = edge(&members, |samples| {
                samples.iter().find(|sample| sample.at >= from)
            });
            let last = edge(&members, |samples| samples.last());
            let most = |of: fn(&Sample) -> u64| {
                let all = members.iter().flat_map(|samples| samples.iter());
                mib(all.map(of).max().unwrap_or_default())
            };
            let slope = self.slope(class, |sample| sample.own_bytes);
            let held = self.slope(class, Sample::held_bytes);
            let steepest = members
                .iter()
                .filter_map(|samples| slope_of(samples, from, |sample| sample.own_bytes));
            let steepest = steepest.reduce(f64::max);
            println!(
                "| {} | {} | {:.1}, {:.1}, {:.1} MiB | {}, {}; {} | {:.1}, {:.1} MiB | {:.1}, {:.1} | {:.1} |",
                class.name(),
                members.len(),
                mean(&first, |sample| mib(sample.own_bytes)),
                mean(&last, |sample| mib(sample.own_bytes)),
                most(|sample| sample.own_bytes),
                Slope(slope),
                Slope(steepest),
                Slope(held),
                mean(&last, |sample| mib(sample.resident_bytes)),
                most(|sample| sample.resident_bytes),
                mean(&first, |sample| sample.descriptors as f64),
                mean(&last, |sample| sample.descriptors as f64),
                mean(&last, |sample| sample.threads as f64),
            );
        }
    }

    fn print_log_problems(&self) {
        println!("\nwarnings and errors in our nodes' logs:");
        let mut sorted: Vec<_> = self.log_problems.by_text.iter().collect();
        sorted.sort_by_key(|(_, count)| core::cmp::Reverse(**count));
        for (text, count) in sorted.iter().take(20) {
            println!("  {count:6}  {text}");
        }
        let crashes = self.log_problems.panics.iter().chain(&self.ended);
        crashes.take(20).for_each(|line| println!("  {line}"));
        self.account
            .wrong
            .iter()
            .take(5)
            .for_each(|line| println!("  {line}"));
    }

    fn print_bars(&self) -> usize {
        let load = |counter: &core::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let restarts = self.restarts;
        let mut bars = Bars::default();
        println!("\nran for {:.1} min", self.took.as_secs_f64() / 60.0);
        println!(
            "restarts: {} stopped, {} killed; blocks produced: {}; transactions sent: {}",
            load(&restarts.asked),
            load(&restarts.killed),
            self.account.height,
            self.account.sent
        );
        bars.judge(
            "lost acknowledged atoms",
            format!(
                "{} in {} looks",
                load(&restarts.lost),
                load(&restarts.checked)
            ),
            "0",
            load(&restarts.lost) == 0,
        );
        bars.judge(
            "crashes and panics of our nodes",
            self.log_problems.panics.len() + self.ended.len(),
            "0",
            self.log_problems.panics.is_empty() && self.ended.is_empty(),
        );
        self.judge_gets(&mut bars);
        self.judge_rest(&mut bars);
        bars.judge(
            "acknowledged transactions in no block, wrong accounts",
            format!("{}, {}", self.account.missing, self.account.wrong.len()),
            "0, 0",
            self.account.missing == 0 && self.account.wrong.is_empty() && self.account.sent > 0,
        );
        for role in [Role::Validator, Role::Steady] {
            self.judge_memory(&mut bars, role);
            self.judge_descriptors(&mut bars, role);
        }
        if self.is_interrupted {
            bars.judge("the whole time", "interrupted", "not interrupted", false);
        }
        bars.missed
    }

    fn judge_gets(&self, bars: &mut Bars) {
        let record = self
            .records
            .get(&Operation::Get)
            .cloned()
            .unwrap_or_default();
        let (done, failed) = (record.done() as u64, record.failures());
        bars.judge(
            "gets between live nodes of ours that did not succeed at once",
            format!("{failed} of {}", done + failed),
            &format!("1 of {GETS_PER_MISS}, {MISSES} if there are few"),
            done > 0 && failed <= ((done + failed) / GETS_PER_MISS).max(MISSES),
        );
    }

    /// Checks that every other operation of our nodes alone succeeded every time.
    fn judge_rest(&self, bars: &mut Bars) {
        let judged = self
            .records
            .iter()
            .filter(|(operation, _)| !operation.is_references() && **operation != Operation::Get);
        let failed: u64 = judged.map(|(_, record)| record.failures()).sum();
        let done = |operation| self.records.get(&operation).map_or(0, Record::done);
        let is_all = [Operation::Put, Operation::Send, Operation::Land]
            .into_iter()
            .all(|operation| done(operation) > 0);
        bars.judge(
            "other failed operations of our nodes",
            failed,
            "0",
            is_all && failed == 0,
        );
    }

    fn judge_memory(&self, bars: &mut Bars, role: Role) {
        let Some(slope) = self.slope(Class::Ours(role), Sample::held_bytes) else {
            return;
        };
        let is_long = self.took - warm_up(self.took) >= SHORTEST_SLOPE;
        let bar = match is_long {
            true => format!("{SLOPE_BAR_MIB:.1}"),
            false => "none: the run is too short".to_owned(),
        };
        let what = format!(
            "growth of a {}'s own memory without the index of its store, MiB per hour",
            role.name()
        );
        bars.judge(
            &what,
            Slope(Some(slope)),
            &bar,
            !is_long || slope <= SLOPE_BAR_MIB,
        );
    }

    fn judge_descriptors(&self, bars: &mut Bars, role: Role) {
        let from = warm_up(self.took);
        let grown = self.of(Class::Ours(role)).filter_map(|samples| {
            let first = samples.iter().find(|sample| sample.at >= from)?;
            Some(
                samples
                    .last()?
                    .descriptors
                    .saturating_sub(first.descriptors),
            )
        });
        let Some(most) = grown.max() else {
            return;
        };
        bars.judge(
            &format!(
                "additional descriptors of a {} since the warm-up",
                role.name()
            ),
            most,
            &DESCRIPTORS_BAR.to_string(),
            most <= DESCRIPTORS_BAR,
        );
    }

    fn of(&self, class: Class) -> impl Iterator<Item = &Vec<Sample>> {
        let members = self.samples.iter();
        members
            .filter(move |((its, _), _)| *its == class)
            .map(|(_, samples)| samples)
    }

    /// Returns the mean slope of a class: of its members if they run throughout, otherwise of all
    /// their samples together, because one run is too short for a slope of its own.
    fn slope(&self, class: Class, bytes_of: fn(&Sample) -> u64) -> Option<f64> {
        let from = warm_up(self.took);
        if matches!(class, Class::Ours(role) if role.is_restarted()) {
            let all = self.of(class).flat_map(|samples| samples.iter());
            return slope_mib_per_hour(all.filter(|sample| sample.at >= from), bytes_of);
        }
        let slopes: Vec<f64> = self
            .of(class)
            .filter_map(|samples| slope_of(samples, from, bytes_of))
            .collect();
        (!slopes.is_empty()).then(|| slopes.iter().sum::<f64>() / slopes.len() as f64)
    }
}

fn slope_of(samples: &[Sample], from: Duration, bytes_of: fn(&Sample) -> u64) -> Option<f64> {
    slope_mib_per_hour(samples.iter().filter(|sample| sample.at >= from), bytes_of)
}

fn edge<'a>(
    members: &[&'a Vec<Sample>],
    choose: impl Fn(&'a [Sample]) -> Option<&'a Sample>,
) -> Vec<&'a Sample> {
    members
        .iter()
        .filter_map(|samples| choose(samples))
        .collect()
}

fn mean(samples: &[&Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let sum: f64 = samples.iter().map(|sample| of(sample)).sum();
    sum / (samples.len().max(1) as f64)
}

/// Lines with a bar.
#[derive(Default)]
struct Bars {
    missed: usize,
}

impl Bars {
    fn judge(&mut self, what: &str, figure: impl Display, bar: &str, holds: bool) {
        let word = if holds { "ok    " } else { "MISSED" };
        println!("  {word} {what}: {figure} (bar: {bar})");
        self.missed += usize::from(!holds);
    }
}

/// Slope as text.
struct Slope(Option<f64>);

impl Display for Slope {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(slope) => write!(f, "{slope:+.2}"),
            None => f.write_str("too few samples"),
        }
    }
}

/// Duration as text.
struct Time(Duration);

impl Display for Time {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            time if time < Duration::from_millis(1) => write!(f, "{} µs", time.as_micros()),
            time if time < Duration::from_secs(1) => {
                write!(f, "{:.1} ms", time.as_secs_f64() * 1_000.0)
            }
            time => write!(f, "{:.2} s", time.as_secs_f64()),
        }
    }
}
