//! State of the screen: the last answers of a node, rates and their history, and the choices of the
//! user.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use crate::rpc::{LogReply, PeerReply, StatusReply};
use astreum_core::consensus::sync::SyncProgress;

/// Number of values of a history: more than a screen is wide.
const MAX_HISTORY: usize = 1_000;
/// Time of which the mean of a rate is shown: a single interval has one block or none.
const MEAN: Duration = Duration::from_secs(10);
/// Time after which a due answer is reported as late.
const LATE: Duration = Duration::from_secs(3);

/// Answers of a node.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Status.
    pub(super) status: StatusReply,
    /// Peers, or the reason there is no answer.
    pub(super) peers: Result<Vec<PeerReply>, String>,
    /// Latest warnings and errors of its log, oldest first, or the reason there is no answer.
    pub(super) warnings: Result<Vec<LogReply>, String>,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            status: StatusReply::default(),
            peers: Ok(Vec::new()),
            warnings: Ok(Vec::new()),
        }
    }
}

/// Result of a request for a [`Sample`]; the error is text.
pub(super) type Update = Result<Box<Sample>, String>;

/// Values over time, oldest first; `None` where a value is unknown.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(VecDeque<Option<u64>>);

impl Series {
    fn push(&mut self, value: Option<u64>) {
        if self.0.len() == MAX_HISTORY {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// Returns the last `width` values, oldest first, with `None` before the first one.
    pub(super) fn last(&self, width: usize) -> Vec<Option<u64>> {
        let missing = width.saturating_sub(self.0.len());
        let skipped = self.0.len().saturating_sub(width);
        let values = self.0.iter().skip(skipped).copied();
        core::iter::repeat_n(None, missing).chain(values).collect()
    }

    /// Returns the mean of the known ones of the last `number` values; `None` if the last one is
    /// unknown.
    pub(super) fn mean(&self, number: usize) -> Option<u64> {
        self.0.back().copied().flatten()?;
        let known = self.0.iter().rev().take(number).flatten();
        let (sum, count) = known.fold((0, 0), |(sum, count), value| {
            (sum + u128::from(*value), count + 1)
        });
        u64::try_from(sum / count).ok()
    }
}

/// Rates and values that have a history. Rates of bytes are per second, all others in thousandths per
/// second; `None` until there are two answers of the same run of the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Rates {
    /// Received bytes.
    pub(super) received_bytes: Option<u64>,
    /// Sent bytes.
    pub(super) sent_bytes: Option<u64>,
    /// Dropped datagrams.
    pub(super) dropped: Option<u64>,
    /// Headers or blocks of sync, or of the head's height.
    pub(super) progress: Option<u64>,
    /// Lookups of atoms.
    pub(super) lookups: Option<u64>,
}

/// Histories of the values that have a line of bars.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) received_bytes: Series,
    pub(super) sent_bytes: Series,
    pub(super) dropped: Series,
    pub(super) progress: Series,
    pub(super) lookups: Series,
    pub(super) peers: Series,
    pub(super) transactions: Series,
}

/// Stage of sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stage<'s> {
    /// Target.
    pub(super) target: &'s SyncProgress,
    /// `true` while headers are missing.
    pub(super) is_headers: bool,
    /// Number of headers or blocks that are done.
    pub(super) done: u64,
    /// Number of all.
    pub(super) total: u64,
}

/// Returns the stage of the highest target of sync, if there is one.
pub(super) fn stage(status: &StatusReply) -> Option<Stage<'_>> {
    let syncs = status.chain.syncs.iter();
    let target = syncs.max_by_key(|sync| (sync.height, sync.headers_total))?;
    let is_headers = target.headers_done < target.headers_total || target.headers_total == 0;
    let (done, total) = match is_headers {
        true => (target.headers_done, target.headers_total),
        false => (target.blocks_done, target.blocks_total),
    };
    Some(Stage {
        target,
        is_headers,
        done,
        total,
    })
}

/// List at the bottom of the screen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum List {
    /// Problems and warnings of `status`.
    #[default]
    Problems,
    /// Latest warnings and errors of the log.
    Log,
    /// Peers.
    Peers,
    /// Counters, with their rates.
    Counters,
}

impl List {
    pub(super) const ALL: [Self; 4] = [Self::Problems, Self::Log, Self::Peers, Self::Counters];
}

/// Command of the user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// Quit.
    Quit,
    /// Close the help, or quit if it is not shown.
    Back,
    /// Stop the process until it is continued.
    Suspend,
    /// Freeze or unfreeze the screen.
    Pause,
    /// Show or hide the help.
    Help,
    /// Show the list after this one, or before it.
    List {
        /// `true` for the one after it.
        next: bool,
    },
    /// Scroll by lines; negative numbers are up.
    Scroll(isize),
    /// Scroll by pages; negative numbers are up.
    Page(isize),
}

/// State of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Link {
    /// The node answers.
    Live,
    /// An answer is late by this time.
    Late(Duration),
    /// The node has been gone for this time.
    Gone(Duration),
}

/// State of the screen.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// Time since the start.
    pub(super) now: Duration,
    /// Interval of the answers.
    pub(super) interval: Duration,
    /// Last answers.
    pub(super) sample: Sample,
    /// Error of the last request, if the node is gone.
    pub(super) error: Option<String>,
    rates: Rates,
    pub(super) history: History,
    /// Counters per second, in thousandths.
    pub(super) counter_rates: BTreeMap<String, u64>,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    pub(super) list: List,
    /// Number of lines of the list that are above the screen.
    pub(super) scroll: usize,
    /// Number of lines of the list on the screen.
    pub(super) page: usize,
    sampled: Option<Duration>,
    gone_since: Duration,
}

impl Model {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            ..Self::default()
        }
    }

    /// Returns the state of the connection.
    pub(super) fn link(&self) -> Link {
        let since = |time: Duration| self.now.saturating_sub(time);
        let sampled = since(self.sampled.unwrap_or_default());
        match &self.error {
            Some(_) => Link::Gone(since(self.gone_since)),
            None if sampled > self.interval + LATE => Link::Late(sampled),
            None => Link::Live,
        }
    }

    /// Returns the mean of the latest values of a rate; `None` if it is unknown.
    pub(super) fn mean(&self, rate: &Series) -> Option<u64> {
        let intervals = MEAN.as_secs() / self.interval.as_secs().max(1);
        rate.mean(usize::try_from(intervals.max(1)).unwrap_or(1))
    }

    /// Takes an update, unless the screen is frozen.
    pub(super) fn update(&mut self, update: Update) {
        if self.is_paused {
            return;
        }
        match update {
            Ok(sample) => self.take(*sample),
            Err(error) => {
                if self.error.is_none() {
                    self.gone_since = self.now;
                }
                self.error = Some(error);
                self.rates = Rates::default();
                self.counter_rates.clear();
                self.push(None, None);
            }
        }
    }

    fn take(&mut self, sample: Sample) {
        let before = &self.sample.status;
        let status = &sample.status;
        // A node that was restarted counts from 0.
        let is_same = self.error.is_none()
            && before.public_key == status.public_key
            && before.uptime_seconds <= status.uptime_seconds;
        let elapsed = self.sampled.filter(|_| is_same);
        let elapsed = elapsed.map(|at| self.now.saturating_sub(at));
        let elapsed = elapsed.filter(|elapsed| !elapsed.is_zero());
        self.rates = Rates::default();
        self.counter_rates.clear();
        if let Some(elapsed) = elapsed {
            self.rates = rates(before, status, elapsed);
            let counters = status.counters.iter().map(|(name, value)| {
                let before = before.counters.get(name).copied().unwrap_or(0);
                (name.clone(), per_second(before, *value, 1_000, elapsed))
            });
            self.counter_rates = counters.collect();
        }
        let transactions = status.validator.as_ref().map(|it| it.pool_transactions);
        let peers = status.peers;
        self.error = None;
        self.sampled = Some(self.now);
        self.sample = sample;
        self.push(Some(peers), transactions);
    }

    fn push(&mut self, peers: Option<u64>, transactions: Option<u64>) {
        let history = &mut self.history;
        history.received_bytes.push(self.rates.received_bytes);
        history.sent_bytes.push(self.rates.sent_bytes);
        history.dropped.push(self.rates.dropped);
        history.progress.push(self.rates.progress);
        history.lookups.push(self.rates.lookups);
        history.peers.push(peers);
        history.transactions.push(transactions);
    }

    /// Carries out a command of the user; returns `true` if the program should end. Suspending is up to
    /// the caller.
    pub(super) fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Quit => return true,
            Action::Back if self.shows_help => self.shows_help = false,
            Action::Back => return true,
            Action::Suspend => {}
            Action::Pause => self.is_paused = !self.is_paused,
            Action::Help => self.shows_help = !self.shows_help,
            Action::List { next } => {
                let lists = List::ALL;
                let at = lists.iter().position(|list| *list == self.list);
                let by = if next { 1 } else { lists.len() - 1 };
                let to = (at.unwrap_or(0) + by) % lists.len();
                self.list = lists.get(to).copied().unwrap_or_default();
                self.scroll = 0;
            }
            Action::Scroll(lines) => self.scroll = self.scroll.saturating_add_signed(lines),
            Action::Page(pages) => {
                let page = isize::try_from(self.page.max(1)).unwrap_or(isize::MAX);
                let lines = page.saturating_mul(pages);
                self.scroll = self.scroll.saturating_add_signed(lines);
            }
        }
        false
    }
}

/// Returns the sum of counters.
fn sum(status: &StatusReply, is_part: impl Fn(&str) -> bool) -> u64 {
    let parts = status.counters.iter().filter(|(name, _)| is_part(name));
    parts.fold(0, |sum, (_, value)| sum.saturating_add(*value))
}

fn rates(before: &StatusReply, now: &StatusReply, elapsed: Duration) -> Rates {
    let of = |scale, is_part: &dyn Fn(&str) -> bool| {
        let (before, now) = (sum(before, is_part), sum(now, is_part));
        Some(per_second(before, now, scale, elapsed))
    };
    let height = before.chain.height.zip(now.chain.height);
    let height = height.map(|(before, now)| per_second(before, now, 1_000, elapsed));
    let stages = stage(before).zip(stage(now));
    let stages = stages.filter(|(before, now)| {
        before.target.head == now.target.head && before.is_headers == now.is_headers
    });
    let sync = stages.map(|(before, now)| per_second(before.done, now.done, 1_000, elapsed));
    Rates {
        received_bytes: of(1, &|name| {
            matches!(name, "bytes_received" | "stream_bytes_received")
        }),
        sent_bytes: of(1, &|name| {
            matches!(name, "bytes_sent" | "stream_bytes_sent")
        }),
        dropped: of(1_000, &|name| name.starts_with("dropped: ")),
        progress: sync.or(height),
        lookups: of(1_000, &|name| matches!(name, "hot_hits" | "hot_misses")),
    }
}

/// Returns the growth of a counter per second, times `scale`.
fn per_second(before: u64, now: u64, scale: u128, elapsed: Duration) -> u64 {
    let grown = u128::from(now.saturating_sub(before));
    let rate = grown * scale * 1_000 / elapsed.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(uptime_seconds: u64, received: u64) -> Update {
        let counters = BTreeMap::from([
            ("bytes_received".to_owned(), received),
            ("stream_bytes_received".to_owned(), received),
            ("dropped: a".to_owned(), received),
        ]);
        Ok(Box::new(Sample {
            status: StatusReply {
                uptime_seconds,
                counters,
                peers: 3,
                ..StatusReply::default()
            },
            ..Sample::default()
        }))
    }

    fn at(model: &mut Model, seconds: u64, update: Update) {
        model.now = Duration::from_secs(seconds);
        model.update(update);
    }

    #[test]
    fn rates_are_of_one_run_of_the_node() {
        let mut model = Model::new(Duration::from_secs(1));
        at(&mut model, 0, sample(10, 1_000));
        assert_eq!(model.rates, Rates::default());
        at(&mut model, 2, sample(12, 3_000));
        assert_eq!(model.rates.received_bytes, Some(2_000));
        assert_eq!(model.rates.dropped, Some(1_000_000));
        assert_eq!(model.counter_rates["dropped: a"], 1_000_000);
        // Restarted: the counters begin again.
        at(&mut model, 3, sample(0, 5_000));
        assert_eq!(model.rates, Rates::default());
        at(&mut model, 4, sample(1, u64::MAX));
        assert_eq!(model.rates.received_bytes, Some(u64::MAX - 10_000));
        let last = model.history.received_bytes.last(6);
        let rate = |value| Some(value);
        let expected = [None, None, None, rate(2_000), None, rate(u64::MAX - 10_000)];
        assert_eq!(last, expected);
    }

    #[test]
    fn link_distinguishes_late_from_gone_nodes() {
        let mut model = Model::new(Duration::from_secs(1));
        at(&mut model, 1, sample(1, 0));
        assert_eq!(model.link(), Link::Live);
        model.now = Duration::from_secs(9);
        assert_eq!(model.link(), Link::Late(Duration::from_secs(8)));
        at(&mut model, 10, Err("no node".to_owned()));
        at(&mut model, 12, Err("no node".to_owned()));
        assert_eq!(model.link(), Link::Gone(Duration::from_secs(2)));
        assert_eq!(model.history.peers.last(3), [Some(3), None, None]);
        at(&mut model, 13, sample(0, 0));
        assert_eq!((model.link(), &model.error), (Link::Live, &None));
    }

    #[test]
    fn paused_screen_does_not_change() {
        let mut model = Model::new(Duration::from_secs(1));
        at(&mut model, 1, sample(1, 0));
        assert!(!model.act(Action::Pause));
        at(&mut model, 2, Err("no node".to_owned()));
        assert_eq!(model.link(), Link::Live);
        assert!(!model.act(Action::Pause));
        at(&mut model, 3, sample(3, 4_000));
        assert_eq!(model.rates.received_bytes, Some(4_000));
    }

    #[test]
    fn actions_change_list_scroll_and_help() {
        let mut model = Model {
            page: 5,
            ..Model::default()
        };
        model.act(Action::Scroll(3));
        model.act(Action::Page(1));
        assert_eq!(model.scroll, 8);
        model.act(Action::Page(-9));
        assert_eq!(model.scroll, 0);
        model.act(Action::List { next: false });
        assert_eq!(model.list, List::Counters);
        model.act(Action::List { next: true });
        assert_eq!(model.list, List::Problems);
        model.act(Action::Help);
        assert!(!model.act(Action::Back) && !model.shows_help);
        assert!(model.act(Action::Back) && model.act(Action::Quit));
    }

    #[test]
    fn rates_are_shown_as_means_of_ten_seconds() {
        let mut model = Model::new(Duration::from_secs(2));
        let mut series = Series::default();
        assert_eq!(model.mean(&series), None);
        for value in [u64::MAX, u64::MAX, 0, 10, 0, 10, 5] {
            series.push(Some(value));
        }
        assert_eq!(model.mean(&series), Some(5));
        assert_eq!(series.mean(2), Some(7));
        // (2 u64::MAX + 25) / 7, without an overflow.
        assert_eq!(series.mean(7), Some(5_270_498_306_774_157_607));
        model.interval = Duration::from_secs(60);
        assert_eq!(model.mean(&series), Some(5));
        series.push(None);
        assert_eq!(model.mean(&series), None);
        series.push(Some(7));
        assert_eq!(series.mean(3), Some(6));
    }

    #[test]
    fn history_is_bounded() {
        let mut series = Series::default();
        for value in 0..2_000 {
            series.push(Some(value));
        }
        assert_eq!(series.0.len(), MAX_HISTORY);
        assert_eq!(series.last(2), [Some(1_998), Some(1_999)]);
    }
}
