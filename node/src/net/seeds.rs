//! When seeds are looked up, and that being alone is told once.

use super::command::{Command, CommandSender};
use super::resolve::Resolver;
use super::seed_names;
use crate::config::Config;
use crate::failure::Failure;
use crate::log;
use astreum_core::time::Instant;
use core::time::Duration;
use std::io;

/// The resolver and its timer.
pub(super) struct Seeds {
    resolver: Option<Resolver>,
    retry_interval: Duration,
    retry_at: Option<Instant>,
    lonely: bool,
}

impl Seeds {
    pub(super) fn start(
        config: &Config,
        sender: &CommandSender,
        failure: &Failure,
    ) -> io::Result<Self> {
        let names = seed_names(config);
        let has_seeds = names.default.is_some() || !names.additional.is_empty();
        let resolver = if has_seeds {
            let sender = sender.clone();
            let deliver = move |seeds| sender.send(Command::Seeds(seeds)).is_ok();
            let failure = failure.clone();
            Some(Resolver::start(&names, config.use_ipv6, failure, deliver)?)
        } else {
            log::info!("no seeds are configured; this node waits to be contacted");
            None
        };
        Ok(Self {
            retry_at: has_seeds.then_some(Instant::ZERO),
            resolver,
            retry_interval: config.bootstrap_retry_interval,
            lonely: false,
        })
    }

    pub(super) const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Looks the seeds up when it is time, as long as there are no peers.
    pub(super) fn check(&mut self, now: Instant, has_peers: bool) {
        if self.retry_at.is_none_or(|at| now < at) {
            return;
        }
        self.retry_at = Some(now + self.retry_interval.max(Duration::from_millis(100)));
        if has_peers {
            self.lonely = false;
            return;
        }
        if now.since(Instant::ZERO) >= self.retry_interval && !self.lonely {
            self.lonely = true;
            let seconds = self.retry_interval.as_secs_f32();
            log::warn!("no peers yet; the seeds are asked again every {seconds} s");
        }
        if let Some(resolver) = &self.resolver {
            resolver.request();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_alone_is_told_once_until_there_were_peers() {
        let at = Instant::from_secs;
        let mut seeds = Seeds {
            resolver: None,
            retry_interval: Duration::from_secs(30),
            retry_at: Some(Instant::ZERO),
            lonely: false,
        };
        seeds.check(at(0), false);
        assert_eq!((seeds.retry_at(), seeds.lonely), (Some(at(30)), false));
        seeds.check(at(29), false);
        assert_eq!(seeds.retry_at(), Some(at(30)));
        seeds.check(at(30), false);
        assert_eq!((seeds.retry_at(), seeds.lonely), (Some(at(60)), true));
        seeds.check(at(60), true);
        assert!(!seeds.lonely);
        seeds.check(at(90), false);
        assert!(seeds.lonely);
    }

    #[test]
    fn without_seeds_nothing_is_due() {
        let mut seeds = Seeds {
            resolver: None,
            retry_interval: Duration::from_secs(30),
            retry_at: None,
            lonely: false,
        };
        seeds.check(Instant::from_secs(100), false);
        assert_eq!((seeds.retry_at(), seeds.lonely), (None, false));
    }
}
