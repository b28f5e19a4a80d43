//! Settings that a running node can change.

use super::{Node, NodeError};
use crate::config::{SettingValues, Settings};
use std::sync::PoisonError;

/// Keys whose values a running node applies, those of the log included.
pub(crate) const LIVE_KEYS: [&str; 14] = [
    "hot_storage_limit",
    "cold_storage_limit",
    "prune_blocks",
    "logging_retention_days",
    "log_level",
    "log_format",
    "eval_depth",
    "eval_steps",
    "eval_stack",
    "eval_heap",
    "eval_live_bytes",
    "default_seed",
    "additional_seeds",
    "bootstrap_retry_interval",
];

/// Returns whether the seeds, or the interval at which they are contacted, differ.
fn seeds_differ(one: &SettingValues, other: &SettingValues) -> bool {
    one.default_seed != other.default_seed
        || one.additional_seeds != other.additional_seeds
        || one.bootstrap_retry_interval != other.bootstrap_retry_interval
}

impl Node {
    /// Applies the values of [`LIVE_KEYS`] that differ from `before`, without those of the log;
    /// returns the keys that cannot be applied now.
    pub(crate) fn reconfigure(
        &self,
        before: &Settings,
        settings: &Settings,
    ) -> Result<Vec<&'static str>, NodeError> {
        let mut refused = Vec::new();
        // First, because it alone can fail.
        if seeds_differ(before.values(), settings.values()) {
            self.handle()?.set_seeds(settings.clone())?;
        }
        let hot = settings.hot_storage_limit;
        if hot != before.hot_storage_limit && !self.store.set_hot_limit(hot) {
            refused.push("hot_storage_limit");
        }
        if let Some(cold) = self.store.cold() {
            cold.set_limit(settings.cold_storage_limit);
        }
        self.pruner.set_limits(settings);
        let limits = self.eval_limits.lock();
        *limits.unwrap_or_else(PoisonError::into_inner) = settings.eval_limits();
        Ok(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Key};
    use astreum_core::atom::Atom;
    use astreum_core::machine::Env;
    use astreum_core::text;

    #[test]
    fn live_keys_exist() {
        for name in LIVE_KEYS {
            assert!(Key::find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn limits_change_on_a_running_node() {
        let scratch = tempfile::tempdir().unwrap();
        let config = |hot, cold, steps| Config {
            hot_storage_limit: hot,
            cold_storage_limit: cold,
            eval_steps: steps,
            incoming_port: 0,
            default_seed: None,
            cold_storage_path: Some(scratch.path().join("cold")),
            ..Config::default()
        };
        let before = config(64 << 20, 1, 1_000_000).resolve().unwrap();
        let keys = crate::key_file::NodeKeys::read(&before).unwrap();
        let node = Node::with_settings(before.clone(), keys).unwrap();
        assert!(node.put(Atom::bytes(*b"too much")).is_err());
        let after = config(128 << 20, 0, 1).resolve().unwrap();
        assert_eq!(node.reconfigure(&before, &after).unwrap(), [""; 0]);
        node.put(Atom::bytes(*b"enough room")).unwrap();
        assert_eq!(node.status().hot.limit_bytes, 128 << 20);
        let sum = text::parse("(1 2 ((a b (($0 $1 add) sk)) (a b) fn))").unwrap();
        assert!(node.eval(&sum, &mut Env::new()).value().is_error());
        // An atom would not fit into one of the shards.
        let small = config(1 << 20, 0, 1).resolve().unwrap();
        assert_eq!(
            node.reconfigure(&after, &small).unwrap(),
            ["hot_storage_limit"]
        );
        assert_eq!(node.status().hot.limit_bytes, 128 << 20);
        // Seeds need the network.
        let seed = "127.0.0.1:9".parse().unwrap();
        let seeds = Config {
            additional_seeds: vec![seed],
            ..config(1 << 20, 0, 1)
        };
        let seeds = seeds.resolve().unwrap();
        assert!(node.reconfigure(&small, &seeds).is_err());
        node.connect().unwrap();
        node.reconfigure(&small, &seeds).unwrap();
        let began = std::time::Instant::now();
        while node.status().network.unwrap().seeds.is_empty() {
            assert!(began.elapsed().as_secs() < 60, "no seed is resolved");
            std::thread::yield_now();
        }
        node.reconfigure(&seeds, &small).unwrap();
        assert!(node.status().network.unwrap().seeds.is_empty());
    }
}
