//! Values that are derived from other keys, and defaults that core has too.

use super::*;
use astreum_core::atom::AtomId;
use astreum_core::consensus::producer::ProducerConfig;
use astreum_core::consensus::sync::SyncConfig;
use astreum_core::crypto::{SecretKey, SigningKey};
use astreum_core::engine::EngineConfig;

#[test]
fn chain_name_sets_the_chain_id_and_rejects_a_conflicting_one() {
    for (text, chain_id) in [
        ("", 0),
        ("chain = \"main\"", 1),
        ("chain = \"test\"", 0),
        ("chain = \"test\"\nchain_id = 7", 7),
        ("chain = \"main\"\nchain_id = 1", 1),
    ] {
        assert_eq!(toml(text).unwrap().settings.chain_id, chain_id, "{text}");
    }
    for text in [
        "chain = \"main\"\nchain_id = 0",
        "chain = \"test\"\nchain_id = 1",
    ] {
        assert!(error_text(toml(text)).contains("conflict"), "{text}");
    }
}

#[test]
fn verification_follows_the_peer_interval_unless_it_is_set() {
    let interval = |text| toml(text).unwrap().settings.verify_blockchain_interval;
    assert_eq!(
        interval("peer_timeout_interval = 3"),
        Duration::from_secs(3)
    );
    let both = "peer_timeout_interval = 3\nverify_blockchain_interval = 0.5";
    assert_eq!(interval(both), Duration::from_millis(500));
}

/// All ways to state the same values give the same settings.
#[test]
fn library_file_environment_and_flags_resolve_to_the_same_settings() {
    let loaded = |inputs: Inputs| inputs.load().unwrap().settings;
    let direct = Config {
        chain: Some(Chain::Main),
        ..Config::default()
    };
    let direct = direct.resolve().unwrap();
    assert_eq!(direct.chain_id, 1);
    assert_eq!(toml("chain = \"main\"").unwrap().settings, direct);
    assert_eq!(loaded(environment(&[("ASTREUM_CHAIN", "main")])), direct);
    assert_eq!(loaded(flags(&[("chain", "main")])), direct);
    let direct = Config {
        peer_timeout_interval: Duration::from_secs(20),
        ..Config::default()
    };
    let direct = direct.resolve().unwrap();
    assert_eq!(direct.verify_blockchain_interval, Duration::from_secs(20));
    let text = "peer_timeout_interval = 20";
    assert_eq!(toml(text).unwrap().settings, direct);
    // A value that equals the default counts as set.
    let both = "peer_timeout_interval = 20\nverify_blockchain_interval = 10";
    let loaded = toml(both).unwrap();
    let interval = loaded.settings.verify_blockchain_interval;
    assert_eq!(interval, Duration::from_secs(10));
    let settings = loaded.settings.clone();
    assert_eq!(loaded.into_config().resolve().unwrap(), settings);
}

#[test]
fn library_configuration_is_checked() {
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

/// A program that loads a file and changes fields gets what a file with the changed values gives.
#[test]
fn derived_values_follow_changes_of_a_loaded_configuration() {
    let changed = |text: &str| {
        let mut config = toml(text).unwrap().into_config();
        config.peer_timeout_interval = Duration::from_secs(7);
        config.chain = Some(Chain::Main);
        config.resolve().unwrap()
    };
    let settings = changed("peer_timeout_interval = 3");
    assert_eq!(settings.chain_id, 1);
    let interval = settings.verify_blockchain_interval;
    assert_eq!(interval, Duration::from_secs(7));
    let file = "peer_timeout_interval = 7\nchain = \"main\"";
    assert_eq!(settings, toml(file).unwrap().settings);
    // Values that the file sets win over derived ones.
    let settings = changed("verify_blockchain_interval = 0.5");
    let interval = settings.verify_blockchain_interval;
    assert_eq!(interval, Duration::from_millis(500));
    let mut config = toml("chain_id = 7").unwrap().into_config();
    config.chain = Some(Chain::Main);
    let error = config.resolve().unwrap_err().to_string();
    assert!(error.contains("conflict"), "{error}");
}

/// A library user states fields of [`Config`]; sync runs with the derived values.
#[test]
fn sync_gets_the_derived_chain_id_and_verification_interval() {
    let config = Config {
        chain: Some(Chain::Main),
        peer_timeout_interval: Duration::from_secs(7),
        ..Config::default()
    };
    let sync = SyncConfig::from(&config.resolve().unwrap());
    assert_eq!((sync.chain_id, sync.interval), (1, Duration::from_secs(7)));
}

#[test]
fn defaults_are_those_of_the_core() {
    let settings = Settings::default();
    let sync = SyncConfig {
        seeds: 1,
        // The core has no streams of its own.
        has_streams: true,
        ..SyncConfig::default()
    };
    assert_eq!(SyncConfig::from(&settings), sync);
    let config = Config {
        stream_port: Some(0),
        ..Config::default()
    };
    assert!(!SyncConfig::from(&config.resolve().unwrap()).has_streams);
    let producer = ProducerConfig::new(SigningKey::from_seed(&[1; 32]));
    assert_eq!(
        (
            settings.chain_id,
            settings.claim_reward,
            settings.reference_followers,
            settings.max_block_transactions as usize,
            settings.max_block_growth_bytes,
            settings.block_interval
        ),
        (
            producer.chain_id,
            producer.claim_reward,
            producer.reference_followers,
            producer.max_block_transactions,
            producer.max_block_growth_bytes,
            producer.block_interval_seconds
        )
    );
    let engine = EngineConfig::new(SecretKey::from_bytes([1; 32]), settings.incoming_port);
    assert_eq!(
        (
            settings.peer_timeout,
            settings.peer_timeout_interval,
            settings.bootstrap_retry_interval,
            settings.storage_index_interval,
            settings.atom_fetch_interval * settings.atom_fetch_retries
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
            settings.incoming_queue_size_limit,
            settings.incoming_queue_timeout,
            settings.outgoing_queue_size_limit,
            settings.outgoing_queue_timeout
        ),
        (
            engine.incoming_queue_limit_bytes,
            engine.incoming_queue_timeout,
            engine.outgoing_queue_limit_bytes,
            engine.outgoing_queue_timeout
        )
    );
    assert_eq!(
        (settings.use_ipv6, settings.advertised_address),
        (engine.use_ipv6, engine.advertised_address)
    );
}

#[test]
fn snapshot_needs_a_trusted_block_and_cold_storage() {
    let snapshot = |checkpoint: Option<AtomId>, seed: bool, cold: bool, start: Option<AtomId>| {
        let default_seed = Config::default().default_seed.filter(|_| seed);
        let config = Config {
            sync: SyncMode::Snapshot,
            checkpoint,
            default_seed,
            cold_storage_path: cold.then(|| "cold".into()),
            verified_up_to: start,
            ..Config::default()
        };
        config.resolve().map_err(|errors| errors.to_string())
    };
    let id = Some(AtomId::new([1; 32]));
    assert!(snapshot(id, false, true, None).is_ok());
    assert!(snapshot(None, true, true, None).is_ok());
    let error = snapshot(None, false, true, None).unwrap_err();
    assert!(error.contains("set checkpoint to the id"), "{error}");
    let error = snapshot(id, false, false, None).unwrap_err();
    assert!(error.contains("set cold_storage_path"), "{error}");
    let error = snapshot(id, false, true, id).unwrap_err();
    assert!(
        error.contains("verified_up_to") && error.contains("starts at checkpoint"),
        "{error}"
    );
}

#[test]
fn object_store_needs_a_local_directory_and_a_bucket() {
    let with = |path: &str, local: Option<&str>| {
        let config = Config {
            cold_storage_path: Some(path.into()),
            cold_storage_local_path: local.map(Into::into),
            ..Config::default()
        };
        config.resolve().map_err(|errors| errors.to_string())
    };
    let settings = with("s3://bucket/a/b/", Some("/cold")).unwrap();
    let remote = settings.object_store().unwrap();
    assert_eq!((remote.bucket, remote.prefix), ("bucket", "a/b"));
    assert_eq!(remote.url, "s3://bucket/a/b/");
    assert_eq!(settings.cold_directory(), Some(Path::new("/cold")));
    let error = with("s3://bucket", None).unwrap_err();
    assert!(error.contains("set cold_storage_local_path"), "{error}");
    let error = with("s3:///prefix", Some("/cold")).unwrap_err();
    assert!(error.contains("has no bucket"), "{error}");
    let error = with("/cold", Some("/other")).unwrap_err();
    assert!(error.contains("goes with an object store"), "{error}");
    let plain = with("/cold", None).unwrap();
    assert_eq!(plain.object_store(), None);
    assert_eq!(plain.cold_directory(), Some(Path::new("/cold")));
}

#[test]
fn address_of_an_object_store_is_not_a_relative_path() {
    let loaded = toml(
        "cold_storage_path = \"s3://bucket/prefix\"\ncold_storage_local_path = \"cold\"\n\
         object_store_endpoint = \"https://example.org\"\n",
    );
    let settings = loaded.unwrap().settings;
    let remote = settings.object_store().unwrap();
    assert_eq!((remote.bucket, remote.prefix), ("bucket", "prefix"));
    assert_eq!(remote.endpoint, Some("https://example.org"));
    assert!(remote.local.is_absolute() && remote.local.ends_with("cold"));
}

#[test]
fn limit_of_streams_below_which_they_stall_is_rejected_with_the_reason() {
    for value in [0, 262_144, u64::MAX] {
        let config = Config {
            stream_bandwidth: value,
            stream_peer_bandwidth: value,
            ..Config::default()
        };
        assert!(config.resolve().is_ok(), "{value}");
    }
    for value in [1, 131_072, 262_143] {
        let all = Config {
            stream_bandwidth: value,
            ..Config::default()
        };
        let of_peer = Config {
            stream_peer_bandwidth: value,
            ..Config::default()
        };
        for (config, key) in [
            (all, "stream_bandwidth"),
            (of_peer, "stream_peer_bandwidth"),
        ] {
            let error = config.resolve().unwrap_err().to_string();
            for part in [key, "at least 262144", "abandon the stream"] {
                assert!(error.contains(part), "{error}");
            }
        }
    }
}

#[test]
fn memory_of_streams_follows_the_connections_unless_it_is_set() {
    let memory = |text: &str| toml(text).unwrap().settings.stream_memory_limit;
    assert_eq!(memory(""), 448 << 20);
    let few = "stream_connections = 4\nstream_outgoing_connections = 2\n";
    assert_eq!(memory(few), (192 + 12) << 20);
    assert_eq!(
        memory(&format!("{few}stream_memory_limit = 16777216\n")),
        16 << 20
    );
}

#[test]
fn limits_of_streams_outside_of_their_ranges_are_rejected() {
    let (memory, most) = ("an integer of at least 16777216", "from 1 to 4096");
    let ranges = [
        ("stream_connections", 1, 4_096, most),
        ("stream_peer_connections", 2, 4_096, "from 2 to 4096"),
        ("stream_outgoing_connections", 1, 4_096, most),
        ("stream_memory_limit", 16_777_216, i64::MAX, memory),
        ("stream_peer_memory_limit", 16_777_216, i64::MAX, memory),
    ];
    for (key, least, most, allowed) in ranges {
        for value in [least, most] {
            assert!(toml(&format!("{key} = {value}\n")).is_ok(), "{key}");
        }
        let above = most.checked_add(1);
        for value in [0, -1, least - 1].into_iter().chain(above) {
            let error = toml(&format!("{key} = {value}\n")).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(allowed), "{error}");
        }
    }
}
