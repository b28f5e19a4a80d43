//! Summaries of dropped packets: peers cause drops, so each drop must not cost a log line.

use astreum_core::engine::Stats;
use astreum_core::time::Instant;
use core::time::Duration;

/// Minimum interval between summaries.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Counts at the time of the last summary.
#[derive(Default)]
pub(super) struct Report {
    at: Instant,
    total: u64,
    stats: Stats,
}

impl Report {
    /// Returns a log line if one is due and packets were dropped since the last one.
    pub(super) fn line(&mut self, now: Instant, stats: &Stats) -> Option<String> {
        if now.since(self.at) < REPORT_INTERVAL {
            return None;
        }
        self.at = now;
        let total = stats.dropped_total();
        if total == self.total {
            return None;
        }
        let reasons: Vec<String> = stats
            .dropped_since(&self.stats)
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        self.total = total;
        self.stats = stats.clone();
        Some(format!("dropped: {}", reasons.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::NoStore;
    use astreum_core::crypto::SecretKey;
    use astreum_core::engine::{Engine, EngineConfig};

    #[test]
    fn drops_are_reported_as_sums_and_only_if_new() {
        let at = Instant::from_secs;
        let config = EngineConfig::new(SecretKey::from_bytes([1; 32]), 1_000);
        let mut engine = Engine::new(config, [2; 32], at(0));
        let mut report = Report::default();
        let from = "127.0.0.1:9".parse().unwrap();
        for _ in 0..3 {
            engine.handle_datagram(at(1), from, b"short", &NoStore);
        }
        assert_eq!(report.line(at(9), engine.stats()), None);
        let line = report.line(at(10), engine.stats());
        assert_eq!(line.as_deref(), Some("dropped: 3 too short"));
        assert_eq!(report.line(at(30), engine.stats()), None);
        engine.handle_datagram(at(31), from, b"short", &NoStore);
        let line = report.line(at(41), engine.stats());
        assert_eq!(line.as_deref(), Some("dropped: 1 too short"));
    }
}
