//! Warnings about the configuration and the network.

use crate::config::Settings;
use crate::net::stream_shortage;
use core::net::IpAddr;

/// Returns concerns about relying on these settings, one sentence each.
#[must_use]
pub fn warnings(settings: &Settings) -> Vec<String> {
    let loses_chain = settings.has_validation_key() && settings.cold_storage_path.is_none();
    let loses_chain = loses_chain.then_some(
        "this validator has no cold storage: its blocks are in memory only, and the chain is lost \
         when it stops unless other nodes follow it; set cold_storage_path",
    );
    let keeps_all = settings.object_store().is_some() && settings.prune_blocks > 0;
    let keeps_all = keeps_all.then_some(
        "nothing is pruned: cold storage is in an object store, whose pairs other nodes may need; \
         set prune_blocks = 0 if that is meant",
    );
    let warnings = loses_chain.into_iter().chain(keeps_all);
    let warnings = warnings.map(str::to_owned);
    warnings.chain(stream_shortage(settings)).collect()
}

/// Returns the warning about a private address that most peers share.
#[must_use]
pub fn shared_address_warning(address: IpAddr) -> String {
    format!(
        "most peers share the private address {address}: a NAT or a bridge hides their addresses, \
         and limits per network count ports instead; use host networking or forward the source \
         addresses"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Secret};

    #[test]
    fn shared_address_is_named_in_its_warning() {
        let warning = shared_address_warning(IpAddr::from([172, 17, 0, 1]));
        assert!(warning.contains("172.17.0.1") && warning.contains("source addresses"));
    }

    #[test]
    fn memory_that_does_not_suffice_for_the_streams_is_warned_about() {
        let small = Config {
            stream_memory_limit: Some(64 << 20),
            ..Config::default()
        };
        let texts = warnings(&small.resolve().unwrap());
        assert!(texts.len() == 1 && texts[0].contains("stream_memory_limit has room for 9 of 64"));
    }

    #[test]
    fn pruning_of_an_object_store_is_warned_about() {
        let shared = Config {
            cold_storage_path: Some("s3://bucket/prefix".into()),
            cold_storage_local_path: Some("local".into()),
            ..Config::default()
        };
        let texts = warnings(&shared.clone().resolve().unwrap());
        assert!(texts.len() == 1 && texts[0].contains("nothing is pruned"));
        let meant = Config {
            prune_blocks: 0,
            ..shared
        };
        assert!(warnings(&meant.resolve().unwrap()).is_empty());
    }

    #[test]
    fn validator_without_cold_storage_is_warned() {
        let warnings = |config: Config| warnings(&config.resolve().unwrap());
        assert!(warnings(Config::default()).is_empty());
        let validator = Config {
            validation_secret_key: Some(Secret::new([7; 32])),
            ..Config::default()
        };
        let texts = warnings(validator.clone());
        assert!(texts.len() == 1 && texts[0].contains("cold_storage_path"));
        let by_file = Config {
            validation_secret_key_file: Some("key".into()),
            ..Config::default()
        };
        assert_eq!(warnings(by_file), texts);
        let stored = Config {
            cold_storage_path: Some("cold".into()),
            ..validator
        };
        assert!(warnings(stored).is_empty());
    }
}
