//! Values that are derived from other keys, and defaults that core has too.

use super::*;
use astreum_core::consensus::producer::ProducerConfig;
use astreum_core::consensus::sync::SyncConfig;
use astreum_core::crypto::{SecretKey, SigningKey};
use astreum_core::engine::EngineConfig;

#[test]
fn chain_name_sets_the_chain_id_and_rejects_a_conflicting_one() {
    assert_eq!(toml("chain = \"main\"").unwrap().config.chain_id(), 1);
    assert_eq!(toml("chain = \"test\"").unwrap().config.chain_id(), 0);
    assert_eq!(
        toml("chain = \"test\"\nchain_id = 7")
            .unwrap()
            .config
            .chain_id(),
        7
    );
    for text in [
        "chain = \"main\"\nchain_id = 0",
        "chain = \"test\"\nchain_id = 1",
    ] {
        assert!(error_text(toml(text)).contains("conflict"), "{text}");
    }
}

#[test]
fn verification_follows_the_peer_interval_unless_it_is_set() {
    let config = toml("peer_timeout_interval = 3").unwrap().config;
    assert_eq!(config.verify_blockchain_interval(), Duration::from_secs(3));
    let config = toml("peer_timeout_interval = 3\nverify_blockchain_interval = 0.5").unwrap();
    assert_eq!(
        config.config.verify_blockchain_interval(),
        Duration::from_millis(500)
    );
}

/// All ways to state the same values give the same configuration.
#[test]
fn library_file_environment_and_flags_resolve_to_the_same_configuration() {
    let loaded = |inputs: Inputs| inputs.load().unwrap().config;
    let environment = |name: &str, value: &str| Inputs {
        environment: vec![(name.into(), value.into())],
        ..Inputs::default()
    };
    let direct = Config {
        chain: Some(Chain::Main),
        ..Config::default()
    };
    let direct = direct.resolve().unwrap();
    assert_eq!(direct.chain_id, Some(1));
    assert_eq!(toml("chain = \"main\"").unwrap().config, direct);
    assert_eq!(loaded(environment("ASTREUM_CHAIN", "main")), direct);
    assert_eq!(loaded(flags(&[("chain", "main")])), direct);
    let direct = Config {
        peer_timeout_interval: Duration::from_secs(20),
        ..Config::default()
    };
    let direct = direct.resolve().unwrap();
    let interval = direct.verify_blockchain_interval;
    assert_eq!(interval, Some(Duration::from_secs(20)));
    assert_eq!(toml("peer_timeout_interval = 20").unwrap().config, direct);
    // A value that equals the default counts as set, however often the configuration is resolved.
    let both = "peer_timeout_interval = 20\nverify_blockchain_interval = 10";
    let loaded = toml(both).unwrap().config;
    let interval = loaded.verify_blockchain_interval();
    assert_eq!(interval, Duration::from_secs(10));
    assert_eq!(loaded.clone().resolve().unwrap(), loaded);
    let contradiction = Config {
        chain: Some(Chain::Main),
        chain_id: Some(0),
        ..Config::default()
    };
    let error = contradiction.resolve().unwrap_err().to_string();
    assert!(error.contains("conflict"), "{error}");
    let empty = Config {
        cold_storage_path: Some("".into()),
        ..Config::default()
    };
    let error = empty.resolve().unwrap_err().to_string();
    assert!(
        error.contains("cold_storage_path: the path is empty"),
        "{error}"
    );
}

/// A library user states fields of [`Config`]; the derived ones follow.
#[test]
fn library_configuration_derives_chain_id_and_verification_interval() {
    let config = Config {
        chain: Some(Chain::Main),
        peer_timeout_interval: Duration::from_secs(7),
        ..Config::default()
    };
    for config in [config.clone(), config.resolve().unwrap()] {
        let sync = SyncConfig::from(&config);
        assert_eq!((sync.chain_id, sync.interval), (1, Duration::from_secs(7)));
    }
}

#[test]
fn defaults_are_those_of_the_core() {
    let config = Config::default().resolve().unwrap();
    let sync = SyncConfig {
        seeds: 1,
        ..SyncConfig::default()
    };
    assert_eq!(SyncConfig::from(&config), sync);
    let producer = ProducerConfig::new(SigningKey::from_seed(&[1; 32]));
    assert_eq!(
        (
            config.chain_id(),
            config.claim_reward,
            config.reference_followers,
            config.max_block_transactions as usize,
            config.max_block_growth_bytes
        ),
        (
            producer.chain_id,
            producer.claim_reward,
            producer.reference_followers,
            producer.max_block_transactions,
            producer.max_block_growth_bytes
        )
    );
    let engine = EngineConfig::new(SecretKey::from_bytes([1; 32]), config.incoming_port);
    assert_eq!(
        (
            config.peer_timeout,
            config.peer_timeout_interval,
            config.bootstrap_retry_interval,
            config.storage_index_interval,
            config.atom_fetch_interval * config.atom_fetch_retries
        ),
        (
            engine.peer_timeout,
            engine.peer_timeout_interval,
            engine.bootstrap_retry_interval,
            engine.storage_index_interval,
            engine.fetch_timeout
        )
    );
    assert_eq!(
        (
            config.incoming_queue_size_limit,
            config.incoming_queue_timeout,
            config.outgoing_queue_size_limit,
            config.outgoing_queue_timeout
        ),
        (
            engine.incoming_queue_limit_bytes,
            engine.incoming_queue_timeout,
            engine.outgoing_queue_limit_bytes,
            engine.outgoing_queue_timeout
        )
    );
    assert_eq!(
        (config.use_ipv6, config.advertised_address),
        (engine.use_ipv6, engine.advertised_address)
    );
}
