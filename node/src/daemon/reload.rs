//! Reload of the configuration of a running node.
//!
//! Safe changes are applied; every other difference is reported, and needs a restart. An
//! invalid configuration changes nothing.

use crate::config::{ConfigErrors, KEYS, Key, Settings};
use crate::log;
use crate::node::{LIVE_KEYS, Node};
use crate::rpc::{ChangeReply, ReloadReply};
use core::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Source of the configuration of a node.
#[derive(Clone)]
pub struct ConfigSource {
    /// Settings that it had at the start of the node.
    pub loaded: Settings,
    /// Reads it again.
    pub load: Arc<dyn Fn() -> Result<Settings, ConfigErrors> + Send + Sync>,
}

impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigSource").finish_non_exhaustive()
    }
}

/// Applies a changed configuration to a running node.
#[derive(Debug)]
pub struct Reloader {
    node: Arc<Node>,
    source: ConfigSource,
    /// Settings whose values of [`LIVE_KEYS`] are in force.
    applied: Mutex<Settings>,
}

impl Reloader {
    /// Creates the reloader of a node that runs with the settings of `source`.
    #[must_use]
    pub fn new(node: Arc<Node>, source: ConfigSource) -> Self {
        let applied = Mutex::new(source.loaded.clone());
        Self {
            node,
            source,
            applied,
        }
    }

    /// Reads the configuration, and applies what is safe to apply. The result is also logged.
    ///
    /// # Errors
    /// Fails if the configuration is invalid, or if the node has stopped; then nothing is applied.
    pub fn reload(&self) -> Result<ReloadReply, String> {
        // One reload at a time.
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.apply(&applied).map(|(settings, reply)| {
            *applied = settings;
            reply
        });
        match &result {
            Ok(reply) => report(reply),
            Err(error) => log::error!("failed to reload the configuration: {error}"),
        }
        result
    }

    fn apply(&self, before: &Settings) -> Result<(Settings, ReloadReply), String> {
        let settings = (self.source.load)().map_err(|errors| errors.to_string())?;
        let refused = self.node.reconfigure(before, &settings);
        let refused = refused.map_err(|error| error.to_string())?;
        log::reconfigure(&settings);
        let is_live = |key: &&Key| LIVE_KEYS.contains(&key.name);
        let (live, fixed): (Vec<&Key>, Vec<&Key>) = KEYS.iter().partition(is_live);
        // A refused key keeps the value that it has.
        let is_refused = |key: &&Key| refused.contains(&key.name);
        let (refused, live): (Vec<&Key>, Vec<&Key>) = live.into_iter().partition(is_refused);
        let mut not_applied = changes(&fixed, &self.source.loaded, &settings);
        not_applied.extend(changes(&refused, before, &settings));
        let reply = ReloadReply {
            applied: changes(&live, before, &settings),
            not_applied,
        };
        Ok((settings.with_values_of(before, &refused), reply))
    }
}

/// Returns the differences between settings in these keys; secrets are redacted.
fn changes(keys: &[&Key], before: &Settings, after: &Settings) -> Vec<ChangeReply> {
    let differing = keys
        .iter()
        .filter(|key| key.differs(before.values(), after.values()));
    let change = |key: &&Key| ChangeReply {
        key: key.name.to_owned(),
        from: key.show(before.values()).to_string(),
        to: key.show(after.values()).to_string(),
    };
    differing.map(change).collect()
}

fn list(changes: &[ChangeReply]) -> String {
    let changes = changes
        .iter()
        .map(|change| format!("{} = {} (was {})", change.key, change.to, change.from));
    changes.collect::<Vec<_>>().join(", ")
}

fn report(reply: &ReloadReply) {
    match &reply.applied[..] {
        [] => log::info!("reloaded the configuration: nothing to apply has changed"),
        applied => log::info!("reloaded the configuration: applied {}", list(applied)),
    }
    if !reply.not_applied.is_empty() {
        let left = list(&reply.not_applied);
        log::warn!("not applied to the running node; restart it to apply: {left}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LogFilter};
    use crate::key_file::NodeKeys;

    /// Returns the reloader of a node that runs with a configuration, and the one to be loaded next.
    fn reloader(started: &Config) -> (Reloader, Arc<Mutex<Config>>) {
        let next = Arc::new(Mutex::new(started.clone()));
        let loaded = started.clone().resolve().unwrap();
        let keys = NodeKeys::read(&loaded).unwrap();
        let node = Arc::new(Node::with_settings(loaded.clone(), keys).unwrap());
        let source = {
            let next = Arc::clone(&next);
            ConfigSource {
                loaded,
                load: Arc::new(move || next.lock().unwrap().clone().resolve()),
            }
        };
        (Reloader::new(node, source), next)
    }

    fn of(changes: &[ChangeReply]) -> Vec<String> {
        let names = changes.iter().map(|change| change.key.clone());
        names.collect()
    }

    #[test]
    fn refused_changes_are_not_recorded_as_applied() {
        let with_limit = |hot_storage_limit| Config {
            incoming_port: 0,
            default_seed: None,
            hot_storage_limit,
            ..Config::default()
        };
        let (reloader, next) = reloader(&with_limit(64 << 20));
        let reload = |limit| {
            *next.lock().unwrap() = with_limit(limit);
            reloader.reload().unwrap()
        };
        assert_eq!(of(&reload(128 << 20).applied), ["hot_storage_limit"]);
        // An atom would not fit into one of the parts.
        for _ in 0..2 {
            let reply = reload(0);
            assert_eq!(of(&reply.applied), [""; 0]);
            assert_eq!(of(&reply.not_applied), ["hot_storage_limit"]);
            assert_eq!(reply.not_applied[0].from, (128_u64 << 20).to_string());
        }
        assert_eq!(reload(128 << 20), ReloadReply::default());
        assert_eq!(reloader.node.status().hot.limit_bytes, 128 << 20);
    }

    #[test]
    fn reload_applies_live_keys_and_names_the_others() {
        let started = Config {
            incoming_port: 0,
            default_seed: None,
            ..Config::default()
        };
        let (reloader, next) = reloader(&started);
        assert_eq!(reloader.reload(), Ok(ReloadReply::default()));
        let changed = Config {
            log_level: LogFilter::new("debug"),
            peer_timeout: core::time::Duration::from_secs(5),
            relay_secret_key: Some(crate::config::Secret::new([7; 32])),
            ..started.clone()
        };
        *next.lock().unwrap() = changed.clone();
        let reply = reloader.reload().unwrap();
        assert_eq!(of(&reply.applied), ["log_level"]);
        assert_eq!(of(&reply.not_applied), ["relay_secret_key", "peer_timeout"]);
        assert!(!format!("{reply:?}").contains("0707"), "{reply:?}");
        // What is applied is not applied again; what is not remains named.
        let reply = reloader.reload().unwrap();
        assert_eq!(of(&reply.applied), [""; 0]);
        assert_eq!(reply.not_applied.len(), 2);
        *next.lock().unwrap() = Config {
            peer_timeout: core::time::Duration::ZERO,
            log_level: None,
            ..changed
        };
        assert!(reloader.reload().unwrap_err().contains("peer_timeout"));
        *next.lock().unwrap() = started;
        let reply = reloader.reload().unwrap();
        assert_eq!(
            (of(&reply.applied), of(&reply.not_applied)),
            (vec!["log_level".to_owned()], vec![])
        );
    }
}
