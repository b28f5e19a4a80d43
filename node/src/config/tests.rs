//! Tests of the configuration: defaults, types, sources, precedence and errors.

use core::net::SocketAddr;
use core::time::Duration;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use tempfile::TempDir;

use super::*;

mod derived;

fn flags(pairs: &[(&str, &str)]) -> Inputs {
    let flag = |(name, value): &(&str, &str)| {
        let key = Key::find(name).unwrap();
        (key, vec![(*value).to_owned()])
    };
    Inputs {
        flags: pairs.iter().map(flag).collect(),
        ..Inputs::default()
    }
}

fn environment(pairs: &[(&str, &str)]) -> Inputs {
    let pair = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    Inputs {
        environment: pairs.iter().map(pair).collect(),
        ..Inputs::default()
    }
}

fn toml_file(scratch: &TempDir, text: &str) -> PathBuf {
    let path = scratch.path().join("node.toml");
    fs::write(&path, text).unwrap();
    path
}

fn toml(text: &str) -> Result<Loaded, ConfigErrors> {
    let scratch = tempfile::tempdir().unwrap();
    Inputs {
        file: Some(toml_file(&scratch, text)),
        ..Inputs::default()
    }
    .load()
}

fn error_text(result: Result<Loaded, ConfigErrors>) -> String {
    result.unwrap_err().to_string()
}

/// Keys, types and defaults from the two tables of the reference's README, and those that its text
/// states beyond the tables.
const DOCUMENTED: &[(&str, &str, &str)] = &[
    ("hot_storage_limit", "int", "1073741824"),
    ("cold_storage_limit", "int", "10737418240"),
    ("cold_storage_path", "string", "\"\""),
    ("cold_storage_level_size", "int", "10485760"),
    ("atom_fetch_interval", "float", "0.25"),
    ("atom_fetch_retries", "int", "8"),
    ("logging_retention_days", "int", "7"),
    ("chain_id", "int", "0"),
    ("verbose", "bool", "false"),
    ("eval_depth", "int", "65536"),
    ("eval_steps", "int", "268435456"),
    ("eval_stack", "int", "2097152"),
    ("eval_heap", "int", "262144"),
    ("eval_live_bytes", "int", "268435456"),
    ("relay_secret_key", "hex string", "\"\""),
    ("validation_secret_key", "hex string", "\"\""),
    ("use_ipv6", "bool", "false"),
    ("bind_address", "string", "\"\""),
    ("incoming_port", "int", "52780"),
    ("stream_port", "int", "\"\""),
    ("stream_bandwidth", "int", "0"),
    ("stream_peer_bandwidth", "int", "0"),
    ("stream_connections", "int", "64"),
    ("stream_peer_connections", "int", "8"),
    ("stream_outgoing_connections", "int", "64"),
    ("stream_memory_limit", "int", "469762048"),
    ("stream_peer_memory_limit", "int", "134217728"),
    ("port_mapping", "string", "\"off\""),
    ("port_mapping_gateway", "string", "\"\""),
    ("default_seed", "string", "\"bootstrap.astreum.org:52780\""),
    ("additional_seeds", "list[str]", "[]"),
    ("peer_timeout", "int", "900"),
    ("peer_timeout_interval", "int", "10"),
    ("bootstrap_retry_interval", "int", "30"),
    ("storage_index_interval", "int", "600"),
    ("incoming_queue_size_limit", "int", "67108864"),
    ("incoming_queue_timeout", "float", "1"),
    ("outgoing_queue_size_limit", "int", "67108864"),
    ("outgoing_queue_timeout", "float", "1"),
    ("advertised_address", "string", "\"\""),
    ("state_dir", "string", "\"\""),
    ("chain_dir", "string", "\"\""),
    ("log_dir", "string", "\"\""),
    ("log_level", "string", "\"\""),
    ("log_format", "string", "\"json\""),
    ("control_socket", "string", "\"\""),
    ("relay_secret_key_file", "string", "\"\""),
    ("validation_secret_key_file", "string", "\"\""),
    ("key_passphrase_file", "string", "\"\""),
    ("validation_signer", "string", "\"\""),
    ("validation_public_key", "hex string", "\"\""),
    ("cold_storage_mmap", "bool", "true"),
    ("cold_storage_sync", "string", "\"always\""),
    ("cold_storage_local_path", "string", "\"\""),
    ("cold_storage_cache_limit", "int", "1073741824"),
    ("object_store_endpoint", "string", "\"\""),
    ("object_store_region", "string", "\"\""),
    ("object_store_allow_http", "bool", "false"),
    ("prune_blocks", "int", "50000"),
    ("transaction_index", "bool", "false"),
    ("rpc_listen", "string", "\"\""),
    ("rpc_allow_remote", "bool", "false"),
    ("rpc_hosts", "list[str]", "[]"),
    ("rpc_origins", "list[str]", "[]"),
    ("rpc_token_file", "string", "\"\""),
    ("rpc_max_connections", "int", "64"),
    ("explorer", "bool", "false"),
    ("chain", "string", "\"\""),
    ("claim_reward", "bool", "true"),
    ("reference_followers", "bool", "false"),
    ("max_block_transactions", "int", "4096"),
    ("max_block_growth_bytes", "int", "32768"),
    ("block_interval", "int", "0"),
    ("verify_blockchain_interval", "float", "10"),
    ("verification_max_stale_seconds", "int", "10"),
    ("verification_max_future_skew", "int", "2"),
    ("latest_block_hash", "hex string", "\"\""),
    ("verified_up_to", "hex string", "\"\""),
    ("sync", "string", "\"full\""),
    ("checkpoint", "hex string", "\"\""),
    ("max_reorg_depth", "int", "1024"),
];

#[test]
fn every_documented_key_exists_with_its_type_and_default() {
    let settings = Settings::default();
    let actual: Vec<(&str, &str, String)> = KEYS
        .iter()
        .map(|key| {
            (
                key.name,
                key.allowed.type_name(),
                key.show(&settings).to_string(),
            )
        })
        .collect();
    let expected: Vec<(&str, &str, String)> = DOCUMENTED
        .iter()
        .map(|(name, kind, default)| (*name, *kind, (*default).to_owned()))
        .collect();
    assert_eq!(actual, expected);
    assert!(KEYS.iter().all(|key| key.help().ends_with('.')));
}

#[test]
fn empty_inputs_give_the_defaults() {
    let loaded = Inputs::default().load().unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(loaded.source("incoming_port"), Source::Default);
}

#[test]
fn flags_override_environment_file_and_defaults_in_this_order() {
    let scratch = tempfile::tempdir().unwrap();
    let file = toml_file(
        &scratch,
        "peer_timeout = 1\nincoming_port = 2\nchain_id = 3\n",
    );
    let loaded = Inputs {
        file: Some(file.clone()),
        environment: environment(&[
            ("ASTREUM_INCOMING_PORT", "20"),
            ("ASTREUM_CHAIN_ID", "30"),
            ("PATH", "/bin"),
        ])
        .environment,
        flags: flags(&[("chain_id", "300")]).flags,
    }
    .load()
    .unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.peer_timeout, Duration::from_secs(1));
    assert_eq!((settings.incoming_port, settings.chain_id), (20, 300));
    assert_eq!(settings.peer_timeout_interval, Duration::from_secs(10));
    let file = file.display().to_string();
    assert_eq!(
        loaded.source("peer_timeout").to_string(),
        format!("{file}:1")
    );
    assert_eq!(
        loaded.source("incoming_port").to_string(),
        "environment variable ASTREUM_INCOMING_PORT"
    );
    assert_eq!(loaded.source("chain_id").to_string(), "--chain-id");
}

#[test]
fn environment_can_name_the_file() {
    let scratch = tempfile::tempdir().unwrap();
    let file = toml_file(&scratch, "incoming_port = 7\n");
    let loaded = environment(&[("ASTREUM_CONFIG", file.to_str().unwrap())]).load();
    assert_eq!(loaded.unwrap().settings.incoming_port, 7);
}

#[test]
fn errors_state_source_key_value_and_expected_values() {
    assert_eq!(
        error_text(flags(&[("incoming_port", "70000")]).load()),
        "--incoming-port: invalid value \"70000\" for incoming_port: expected an integer from 0 to \
         65535"
    );
    assert_eq!(
        error_text(environment(&[("ASTREUM_PEER_TIMEOUT", "0")]).load()),
        "environment variable ASTREUM_PEER_TIMEOUT: invalid value \"0\" for peer_timeout: expected \
         an integer number of seconds from 1 to 4294967295"
    );
    let text = error_text(toml(
        "# a comment\n\nverbose = 3\ncold_storage_sync = \"maybe\"\n",
    ));
    let is_message = |line: &&str| line.contains("node.toml:");
    let lines: Vec<&str> = text.lines().filter(is_message).collect();
    assert!(
        text.contains("3 | verbose = 3\n  |           ^\n"),
        "{text}"
    );
    assert!(
        lines[0].ends_with(
            "node.toml:3: invalid value 3 for verbose: expected true or false, found an integer"
        ),
        "{text}"
    );
    assert!(
        lines[1].ends_with(
            "node.toml:4: invalid value \"maybe\" for cold_storage_sync: expected always, interval \
             or never"
        ),
        "{text}"
    );
}

#[test]
fn unknown_key_is_an_error_with_a_suggestion() {
    for (error, meant) in [
        (error_text(toml("default_seeds = []")), "default_seed?"),
        (error_text(toml("incomming_port = 1")), "incoming_port?"),
        (
            error_text(toml("[incoming_port]")),
            "expected an integer from 0 to 65535, found a table",
        ),
        (error_text(toml("zzz = 1")), "lists the keys"),
    ] {
        assert!(error.contains(meant), "{error}");
    }
}

#[test]
fn empty_environment_variables_are_unset_for_every_key() {
    let scratch = tempfile::tempdir().unwrap();
    let file = toml_file(
        &scratch,
        "default_seed = \"a.example:1\"\nstate_dir = \"/state\"\nverbose = true\n",
    );
    let file = || Some(file.clone());
    let expected = Inputs {
        file: file(),
        ..Inputs::default()
    };
    let expected = expected.load().unwrap().settings;
    for empty in ["", "  "] {
        for key in KEYS {
            let loaded = Inputs {
                file: file(),
                ..environment(&[(&key.environment_variable(), empty)])
            };
            let loaded = loaded.load().unwrap();
            assert_eq!(loaded.settings, expected, "{}", key.name);
            let variable = key.environment_variable();
            let is_source = loaded.source(key.name) == Source::Environment { variable };
            assert!(!is_source, "{}", key.name);
        }
    }
    let config = environment(&[("ASTREUM_CONFIG", ""), ("ASTREUM_OTHER", "")]);
    let loaded = config.load().unwrap();
    assert_eq!((loaded.settings, loaded.file), (Settings::default(), None));
    assert!(loaded.warnings.is_empty());
}

#[test]
fn unknown_environment_variables_are_warnings_and_those_of_platforms_are_ignored() {
    let warnings = |pairs: &[(&str, &str)]| {
        let loaded = environment(pairs).load().unwrap();
        assert_eq!(loaded.settings, Settings::default());
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        warnings
    };
    // Set by Kubernetes for services named astreum and astreum-node, and by Docker for links.
    let of_platforms = [
        ("ASTREUM_SERVICE_HOST", "10.0.0.1"),
        ("ASTREUM_SERVICE_PORT", "52780"),
        ("ASTREUM_SERVICE_PORT_RELAY", "52780"),
        ("ASTREUM_PORT", "tcp://10.0.0.1:52780"),
        ("ASTREUM_PORT_52780_UDP", "udp://10.0.0.1:52780"),
        ("ASTREUM_PORT_52780_UDP_ADDR", "10.0.0.1"),
        ("ASTREUM_PORT_52780_TCP_PROTO", "tcp"),
        ("ASTREUM_NODE_SERVICE_HOST", "10.0.0.1"),
        ("ASTREUM_NODE_PORT", "udp://10.0.0.1:52780"),
    ];
    assert_eq!(warnings(&of_platforms), [""; 0]);
    let unknown = warnings(&[
        ("ASTREUM_PEER_TIMOUT", "1"),
        ("ASTREUM_PORT", "52780"),
        ("ASTREUM_KILLS", "5"),
    ]);
    let expected = [
        ("ASTREUM_PEER_TIMOUT", "did you mean peer_timeout?"),
        ("ASTREUM_PORT", "did you mean incoming_port?"),
        ("ASTREUM_KILLS", "lists the keys"),
    ];
    assert_eq!(unknown.len(), expected.len());
    for (warning, (variable, hint)) in unknown.iter().zip(expected) {
        assert!(
            warning.contains(variable) && warning.contains(hint),
            "{warning}"
        );
    }
    // The value of a known key is checked even if it looks like one from a platform.
    let known = environment(&[("ASTREUM_INCOMING_PORT", "tcp://10.0.0.1:80")]);
    assert!(error_text(known.load()).contains("incoming_port"));
}

#[test]
fn invalid_values_are_rejected() {
    let refused = [
        "hot_storage_limit = -1",
        "hot_storage_limit = 1.5",
        "hot_storage_limit = \"1\"",
        "hot_storage_limit = 99999999999999999999",
        "cold_storage_level_size = 0",
        "atom_fetch_interval = -0.1",
        "atom_fetch_interval = nan",
        "atom_fetch_interval = inf",
        "atom_fetch_retries = 4294967296",
        "peer_timeout = 0",
        "peer_timeout = 1.5",
        "peer_timeout = 4294967296",
        "verify_blockchain_interval = 0",
        "use_ipv6 = 1",
        "use_ipv6 = \"true\"",
        "relay_secret_key = \"abcd\"",
        "bind_address = \"localhost\"",
        "bind_address = \"127.0.0.1:1\"",
        "bind_address = \"0.0.0.0\"",
        "bind_address = \"224.0.0.1\"",
        "port_mapping = \"on\"",
        "port_mapping = true",
        "port_mapping_gateway = \"::1\"",
        "port_mapping_gateway = \"0.0.0.0\"",
        "port_mapping_gateway = \"239.255.255.250\"",
        "default_seed = 1",
        "default_seed = \"bootstrap.astreum.org\"",
        "additional_seeds = \"127.0.0.1:1\"",
        "additional_seeds = [\"127.0.0.1\"]",
        "additional_seeds = [\"::1:7374\"]",
        "additional_seeds = [\"127.0.0.1:0\"]",
        "additional_seeds = [1]",
        "advertised_address = \"localhost:1\"",
        "advertised_address = \"0.0.0.0:1\"",
        "advertised_address = \"192.0.2.1:0\"",
        "latest_block_hash = \"00\"",
        "chain = \"other\"",
        "max_block_transactions = 0",
        "max_block_transactions = 65537",
        "verbose = 1979-05-27",
        "verbose = {}",
    ];
    for text in refused {
        let error = error_text(toml(text));
        assert!(error.contains("expected "), "{text}: {error}");
    }
}

#[test]
fn messages_state_the_found_type() {
    // Without the excerpt.
    let error_for = |key: &Key, value: &str| {
        let text = error_text(toml(&format!("{} = {value}", key.name)));
        text.lines().next().unwrap().to_owned()
    };
    for key in KEYS {
        let of_type = |name| key.allowed.type_name() == name;
        if of_type("int") {
            let float = error_for(key, "5e1");
            assert!(float.contains("invalid value 5e1 for"), "{float}");
            assert!(float.ends_with(", found a float"), "{float}");
            let quoted = error_for(key, "\"5\"");
            assert!(
                quoted.ends_with(", found a string; remove the quotes"),
                "{quoted}"
            );
            assert!(error_for(key, "\"five\"").ends_with(", found a string"));
            let flag = error_text(flags(&[(key.name, "5e1")]).load());
            assert!(flag.ends_with(", found a float"), "{flag}");
        }
        if of_type("float") {
            let quoted = error_for(key, "\"0.5\"");
            assert!(
                quoted.ends_with(", found a string; remove the quotes"),
                "{quoted}"
            );
        }
        if of_type("bool") {
            for value in ["\"true\"", "\"false\""] {
                let quoted = error_for(key, value);
                assert!(
                    quoted.ends_with("expected true or false, found a string; remove the quotes"),
                    "{quoted}"
                );
            }
            assert!(error_for(key, "1").ends_with(", found an integer"));
        } else {
            let boolean = error_for(key, "true");
            assert!(boolean.ends_with(", found a boolean"), "{boolean}");
        }
        if !of_type("list[str]") {
            let array = error_for(key, "[1]");
            assert!(array.ends_with(", found an array"), "{array}");
        }
        assert!(error_for(key, "1979-05-27").ends_with(", found a date-time"));
    }
}

#[test]
fn unreachable_advertised_addresses_are_rejected_with_a_reason() {
    for (address, reason) in [
        ("0.0.0.0:1", "unspecified address"),
        ("[::]:1", "unspecified address"),
        ("[::ffff:0.0.0.0]:1", "unspecified address"),
        ("224.0.0.1:1", "multicast"),
        ("[ff02::1]:1", "multicast"),
        ("255.255.255.255:1", "broadcast"),
        ("192.0.2.1:0", "port 0"),
    ] {
        let text = format!("advertised_address = \"{address}\"");
        let flag = flags(&[("advertised_address", address)]).load();
        let direct = Config {
            advertised_address: address.parse().ok(),
            ..Config::default()
        };
        let direct = direct.resolve().unwrap_err().to_string();
        for error in [error_text(toml(&text)), error_text(flag), direct] {
            assert!(
                error.contains(reason) && error.contains("expected ip:port"),
                "{error}"
            );
        }
    }
    let config = flags(&[("advertised_address", "192.0.2.1:1")]).load();
    assert!(config.is_ok());
}

#[test]
fn bound_address_has_the_family_of_the_socket() {
    for (address, use_ipv6, is_valid) in [
        ("127.0.0.1", false, true),
        ("::1", true, true),
        ("::1", false, false),
        ("127.0.0.1", true, false),
    ] {
        let loaded = toml(&format!(
            "bind_address = \"{address}\"\nuse_ipv6 = {use_ipv6}"
        ));
        if is_valid {
            let settings = loaded.unwrap().settings;
            assert_eq!(settings.bind_address, address.parse().ok());
        } else {
            let error = error_text(loaded);
            assert!(
                error.contains("bind_address") && error.contains("an IPv6 address needs use_ipv6"),
                "{error}"
            );
        }
    }
}

#[test]
fn zero_and_none_follow_the_readme() {
    let settings = toml(
        "hot_storage_limit = 0\ncold_storage_limit = 0\natom_fetch_interval = 0\n\
         atom_fetch_retries = 0\nincoming_port = 0\nincoming_queue_size_limit = 0\n\
         incoming_queue_timeout = 0\noutgoing_queue_size_limit = 0\noutgoing_queue_timeout = 0.0\n\
         logging_retention_days = 0\ndefault_seed = \"\"\nvalidation_secret_key = \"\"\n\
         relay_secret_key = \"\"\ncold_storage_path = \"\"\n",
    )
    .unwrap()
    .settings;
    let zeros = (settings.incoming_port, settings.atom_fetch_retries);
    assert_eq!(zeros, (0, 0));
    assert_eq!(settings.atom_fetch_interval, Duration::ZERO);
    assert_eq!(settings.default_seed, None);
    assert_eq!(settings.validation_secret_key, None);
    assert_eq!(settings.cold_storage_path, None);
    for none in ["none", "None", "null", ""] {
        let settings = flags(&[("default_seed", none)]).load().unwrap().settings;
        assert_eq!(settings.default_seed, None, "{none}");
    }
}

#[test]
fn seeds_are_read_from_lists_commas_and_repeated_flags() {
    let expected: Vec<Seed> = ["a.example:1", "[::1]:2"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    let from_toml = toml("additional_seeds = [\"a.example:1\", \"[::1]:2\"]").unwrap();
    assert_eq!(from_toml.settings.additional_seeds, expected);
    let commas = environment(&[("ASTREUM_ADDITIONAL_SEEDS", "a.example:1, [::1]:2,")]);
    assert_eq!(commas.load().unwrap().settings.additional_seeds, expected);
    let repeated = Inputs {
        flags: vec![(
            Key::find("additional_seeds").unwrap(),
            vec!["a.example:1".to_owned(), "[::1]:2".to_owned()],
        )],
        ..Inputs::default()
    };
    assert_eq!(repeated.load().unwrap().settings.additional_seeds, expected);
}

#[test]
fn seeds_are_host_and_port() {
    for (text, host, port) in [
        (
            "bootstrap.astreum.org:52780",
            "bootstrap.astreum.org",
            52780,
        ),
        ("localhost:1", "localhost", 1),
        ("127.0.0.1:7374", "127.0.0.1", 7374),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
    ] {
        let seed: Seed = text.parse().unwrap();
        assert_eq!((seed.host(), seed.port()), (host, port));
        assert_eq!(seed.to_string(), text);
    }
    let bad = [
        "",
        ":",
        "a",
        "a:",
        ":1",
        "a:0",
        "a:65536",
        "a:+1",
        "a:1x",
        "::1:1",
        "[::1]",
        "[::1]1",
        "[a]:1",
        "[::1:1",
        "a b:1",
        "http://a:1",
        "1.2.3:1",
        "1.2.3.256:1",
        "a..b:1",
    ];
    for text in bad {
        assert_eq!(text.parse::<Seed>(), Err(ParseSeedError), "{text}");
    }
    let v6: Seed = "[::1]:9".parse().unwrap();
    assert_eq!(
        v6.address(),
        Some(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 9)))
    );
}

#[test]
fn secret_conflicts_with_its_file() {
    let key = "07".repeat(32);
    for name in ["relay_secret_key", "validation_secret_key"] {
        let error = error_text(toml(&format!("{name} = \"{key}\"\n{name}_file = \"k\"\n")));
        assert!(
            error.contains("conflict") && error.contains(":2)"),
            "{error}"
        );
        assert!(!error.contains(&key), "{error}");
    }
    let config = Config {
        relay_secret_key: Some(Secret::new([7; 32])),
        relay_secret_key_file: Some("k".into()),
        ..Config::default()
    };
    assert!(config.resolve().is_err());
}

#[test]
fn secrets_are_never_displayed() {
    let key = "0123456789abcdef".repeat(4);
    let loaded = toml(&format!("relay_secret_key = \"{key}\"\n")).unwrap();
    let shown = Key::find("relay_secret_key")
        .unwrap()
        .show(&loaded.settings);
    assert_eq!(shown, DisplayValue::Redacted);
    let debug = format!("{loaded:?}");
    assert!(
        !debug.contains("0123456789abcdef") && !debug.contains("1, 35, 69"),
        "{debug}"
    );
    // One digit too many; an unterminated string; a typo in the name; a wrong type.
    for text in [
        format!("relay_secret_key = \"{key}0\""),
        format!("relay_secret_key = \"{key}"),
        format!("relay_secret_keyy = \"{key}\""),
        format!("relay_secret_key = [\"{key}\"]"),
    ] {
        let error = error_text(toml(&text));
        assert!(!error.contains("0123456789abcdef"), "{error}");
    }
    let error = error_text(environment(&[("ASTREUM_RELAY_SECRET_KEY", &format!("{key}0"))]).load());
    assert!(
        error.contains("not shown") && !error.contains("0123456789abcdef"),
        "{error}"
    );
}

#[test]
fn unusable_files_are_named_in_errors() {
    let scratch = tempfile::tempdir().unwrap();
    let load = |path: &Path| {
        let file = Some(path.to_owned());
        let inputs = Inputs {
            file,
            ..Inputs::default()
        };
        error_text(inputs.load())
    };
    let none = load(&scratch.path().join("none.toml"));
    assert!(none.contains("none.toml: cannot be opened"), "{none}");
    let path = toml_file(
        &scratch,
        &"#".repeat(usize::try_from(MAX_FILE_BYTES).unwrap() + 1),
    );
    assert!(load(&path).contains("is larger than"));
    fs::write(&path, [b'#', 0xff]).unwrap();
    assert!(load(&path).contains("is not UTF-8"));
    fs::write(&path, "verbose = true\nverbose = false\n").unwrap();
    let twice = load(&path);
    assert!(twice.contains("node.toml:2: "), "{twice}");
}

#[test]
fn relative_paths_in_a_file_are_relative_to_the_file() {
    let scratch = tempfile::tempdir().unwrap();
    let file = toml_file(&scratch, "state_dir = \"state\"\nlog_dir = \"/log\"\n");
    let inputs = Inputs {
        file: Some(file),
        ..Inputs::default()
    };
    let settings = inputs.load().unwrap().settings;
    assert_eq!(settings.state_dir, Some(scratch.path().join("state")));
    assert_eq!(settings.log_dir, Some("/log".into()));
    let settings = flags(&[("state_dir", "state")]).load().unwrap().settings;
    assert_eq!(settings.state_dir, Some("state".into()));
}

#[test]
fn directly_assigned_values_are_validated() {
    let broken = Config {
        peer_timeout: Duration::ZERO,
        max_block_transactions: 70_000,
        ..Config::default()
    };
    let errors = broken.resolve().unwrap_err();
    assert_eq!(errors.as_slice().len(), 2);
    let text = errors.to_string();
    assert!(text.contains("invalid value 0 for peer_timeout"), "{text}");
    assert!(
        text.contains("invalid value 70000 for max_block_transactions"),
        "{text}"
    );
}

proptest! {
    #[test]
    fn displayed_values_round_trip(
        port: u16,
        retries: u32,
        limit in 0..=i64::MAX as u64,
        micros in 1..10_000_000_u64,
    ) {
        let config = Config {
            incoming_port: port,
            atom_fetch_retries: retries,
            hot_storage_limit: limit,
            atom_fetch_interval: Duration::from_micros(micros),
            additional_seeds: vec!["[::1]:2".parse().unwrap()],
            ..Config::default()
        };
        let line = |key: &Key| format!("{} = {}\n", key.name, key.show_raw(&config));
        let is_set = |key: &&Key| key.show_raw(&config) != DisplayValue::Unset;
        let text: String = KEYS.iter().filter(is_set).map(line).collect();
        prop_assert_eq!(toml(&text).unwrap().settings, config.resolve().unwrap());
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[a-z_]{0,12} = [ -~]{0,20}\n?[ -~\n]{0,20}") {
        let _ = toml(&text);
    }
}
