//! Judgement of a node's status, for monitoring.

use super::protocol::StatusReply;

impl StatusReply {
    /// Returns what is wrong with the node, if anything: its problems, a head that is older than
    /// `max_head_age` seconds (0 allows any age), and fewer than `min_peers` peers.
    #[must_use]
    pub fn findings(&self, max_head_age: u64, min_peers: u64) -> Vec<String> {
        let mut findings = self.problems.clone();
        if self.halted && findings.is_empty() {
            findings.push("blocks are not produced or stored".to_owned());
        }
        let age = self.head_age_seconds.filter(|age| *age > max_head_age);
        if let Some(age) = age.filter(|_| max_head_age > 0) {
            findings.push(format!(
                "the head is stale: it is {} old, more than the {} allowed",
                duration(age),
                duration(max_head_age)
            ));
        }
        if self.peers < min_peers {
            findings.push(match self.peers {
                0 => "no peers".to_owned(),
                peers => format!("too few peers: {peers} of {min_peers}"),
            });
        }
        findings
    }
}

/// Returns a time in seconds as human-readable text.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_finds_problems_stale_heads_and_missing_peers() {
        let good = StatusReply {
            peers: 2,
            head_age_seconds: Some(10),
            ..StatusReply::default()
        };
        assert_eq!(good.findings(10, 2), [""; 0]);
        assert_eq!(good.findings(0, 0), [""; 0]);
        let report = |status: &StatusReply, age, peers| status.findings(age, peers).join("; ");
        assert!(report(&good, 9, 1).contains("stale: it is 10 s old"));
        assert!(report(&good, 10, 3).contains("2 of 3"));
        let alone = StatusReply::default();
        assert_eq!(report(&alone, 300, 1), "no peers");
        assert_eq!(report(&alone, 300, 0), "");
        let problem = StatusReply {
            problems: vec!["disk full".to_owned()],
            halted: true,
            ..good
        };
        assert_eq!(report(&problem, 300, 1), "disk full");
    }

    #[test]
    fn durations_are_human_readable() {
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(61), "1 min 1 s");
        assert_eq!(duration(3_660), "1 h 1 min");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
