//! Timers of the seeds: lookups of their names, and retries of a node without peers.

use super::command::{Command, CommandSender};
use super::resolve::{Lookup, Resolver};
use super::seed_names;
use crate::config::Settings;
use crate::failure::Failure;
use crate::log;
use astreum_core::time::Instant;
use core::time::Duration;
use std::io;

/// Interval between lookups of a failed name while there are peers.
const FAILED_INTERVAL: Duration = Duration::from_secs(30);
/// Interval between lookups of all names while there are peers: their addresses may have changed.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(300);

/// Resolver and its timers.
pub(super) struct Seeds {
    resolver: Option<Resolver>,
    timers: Timers,
    round: u64,
}

impl Seeds {
    pub(super) fn start(
        settings: &Settings,
        sender: &CommandSender,
        failure: &Failure,
        round: u64,
    ) -> io::Result<Self> {
        let names = seed_names(settings);
        let has_seeds = names.default.is_some() || !names.additional.is_empty();
        let resolver = if has_seeds {
            let sender = sender.clone();
            let deliver = move |addresses| {
                let command = Command::Seeds { round, addresses };
                sender.send(command).is_ok()
            };
            let failure = failure.clone();
            Some(Resolver::start(
                &names,
                settings.use_ipv6,
                failure,
                deliver,
            )?)
        } else {
            log::info!("no seeds are configured; waiting for incoming contacts");
            None
        };
        Ok(Self {
            timers: Timers::new(settings.bootstrap_retry_interval, has_seeds),
            resolver,
            round,
        })
    }

    /// Returns the number that distinguishes the resolver from earlier ones, whose answers may still
    /// arrive.
    pub(super) const fn round(&self) -> u64 {
        self.round
    }

    pub(super) const fn retry_at(&self) -> Option<Instant> {
        self.timers.retry_at
    }

    /// Starts the timers of a node that has no seeds but remembers peers.
    pub(super) fn wake(&mut self) {
        self.timers.retry_at.get_or_insert(Instant::ZERO);
    }

    /// Requests lookups that are due. Returns whether a node without peers has to retry.
    pub(super) fn check(&mut self, now: Instant, has_peers: bool) -> bool {
        let Some(lookup) = self.timers.due(now, has_peers) else {
            return false;
        };
        // A queued request covers this one as well.
        let is_taken = self
            .resolver
            .as_ref()
            .is_some_and(|resolver| resolver.request(lookup));
        if lookup == Lookup::All && is_taken {
            self.timers.all_at = now + LOOKUP_INTERVAL;
        }
        !has_peers
    }
}

/// Times of lookups.
struct Timers {
    retry_interval: Duration,
    /// Time of the next lookup; `None` without seeds.
    retry_at: Option<Instant>,
    /// Time of the next lookup of all names while there are peers.
    all_at: Instant,
    is_isolated: bool,
    has_seeds: bool,
}

impl Timers {
    fn new(retry_interval: Duration, has_seeds: bool) -> Self {
        Self {
            retry_interval: retry_interval.max(Duration::from_millis(100)),
            retry_at: has_seeds.then_some(Instant::ZERO),
            all_at: Instant::ZERO,
            is_isolated: false,
            has_seeds,
        }
    }

    /// Returns what a node without peers contacts.
    const fn contacted(&self) -> &'static str {
        if self.has_seeds {
            "seeds"
        } else {
            "remembered peers"
        }
    }

    fn due(&mut self, now: Instant, has_peers: bool) -> Option<Lookup> {
        if self.retry_at.is_none_or(|at| now < at) {
            return None;
        }
        if has_peers {
            // At most the retry interval, so that a node that loses its last peer retries in time.
            let pause = self.retry_interval.min(FAILED_INTERVAL);
            self.retry_at = Some(now + pause);
            self.is_isolated = false;
            let is_due = now >= self.all_at;
            return Some(if is_due { Lookup::All } else { Lookup::Failed });
        }
        self.retry_at = Some(now + self.retry_interval);
        if now.since(Instant::ZERO) >= self.retry_interval && !self.is_isolated {
            self.is_isolated = true;
            let seconds = self.retry_interval.as_secs_f32();
            let contacted = self.contacted();
            log::warn!("no peers yet; contacting the {contacted} again every {seconds} s");
        }
        Some(Lookup::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_secs(30);

    #[test]
    fn lack_of_peers_is_reported_once_until_a_peer_joins() {
        let at = Instant::from_secs;
        let mut timers = Timers::new(RETRY, true);
        assert_eq!(timers.due(at(0), false), Some(Lookup::All));
        assert_eq!((timers.retry_at, timers.is_isolated), (Some(at(30)), false));
        assert_eq!(timers.due(at(29), false), None);
        assert_eq!(timers.due(at(30), false), Some(Lookup::All));
        assert_eq!((timers.retry_at, timers.is_isolated), (Some(at(60)), true));
        timers.due(at(60), true);
        assert!(!timers.is_isolated);
        timers.due(at(90), false);
        assert!(timers.is_isolated);
    }

    #[test]
    fn node_without_seeds_contacts_remembered_peers() {
        assert_eq!(Timers::new(RETRY, true).contacted(), "seeds");
        assert_eq!(Timers::new(RETRY, false).contacted(), "remembered peers");
    }

    #[test]
    fn names_are_looked_up_while_there_are_peers() {
        let at = Instant::from_secs;
        let mut timers = Timers::new(RETRY, true);
        assert_eq!(timers.due(at(0), false), Some(Lookup::All));
        timers.all_at = at(300);
        for second in (30..300).step_by(30) {
            assert_eq!(timers.due(at(second), true), Some(Lookup::Failed));
        }
        assert_eq!(timers.due(at(300), true), Some(Lookup::All));
    }

    #[test]
    fn without_seeds_nothing_is_due() {
        let mut timers = Timers::new(RETRY, false);
        assert_eq!(timers.due(Instant::from_secs(100), false), None);
        assert_eq!((timers.retry_at, timers.is_isolated), (None, false));
    }
}
