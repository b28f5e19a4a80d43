//! Commands `config` and `keys`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use astreum_tests::testkit::{Home, run_with_input};

#[test]
fn config_output_is_a_valid_configuration() {
    let home = Home::new("config");
    let ran = home.run(&["config", "--incoming-port", "7", "--default-seed", "none"]);
    assert!(
        ran.text()
            .contains("incoming_port = 7  # --incoming-port\n"),
        "{ran:?}"
    );
    home.file("node.toml", &ran.stdout);
    let json = home
        .run(&["config", "--config", "node.toml", "--json"])
        .json();
    assert_eq!(json["keys"]["incoming_port"]["value"], 7);
    assert_eq!(
        json["keys"]["default_seed"]["value"],
        serde_json::Value::Null
    );
    assert_eq!(json["keys"]["peer_timeout"]["default"], 900);
    let source = json["keys"]["incoming_port"]["source"].as_str().unwrap();
    assert!(source.starts_with("node.toml:"), "{source}");
}

#[test]
fn flags_accept_both_spellings_and_switches_need_no_value() {
    let home = Home::new("flags");
    for arguments in [
        &["config", "--json", "--use-ipv6", "--peer-timeout", "5"][..],
        &["config", "--json", "--use_ipv6=true", "--peer_timeout=5"],
    ] {
        let keys = &home.run(arguments).json()["keys"];
        assert_eq!(
            (&keys["use_ipv6"]["value"], &keys["peer_timeout"]["value"]),
            (&true.into(), &5.into())
        );
    }
    let seeds = [
        "config",
        "--json",
        "--additional-seeds",
        "a:1",
        "--additional-seeds",
        "[::1]:2",
    ];
    let keys = &home.run(&seeds).json()["keys"];
    assert_eq!(
        keys["additional_seeds"]["value"],
        serde_json::json!(["a:1", "[::1]:2"])
    );
}

#[test]
fn invalid_configuration_is_exit_code_2_for_every_command() {
    let home = Home::new("wrong");
    home.file("node.toml", "\n\nincoming_prt = 1\n");
    for command in ["run", "config", "status", "peers"] {
        home.run(&[command, "--config", "node.toml"]).fails(
            2,
            &["node.toml:3: unknown key \"incoming_prt\"; did you mean incoming_port?"],
        );
    }
    home.run(&["--peer-timeout", "0"])
        .fails(2, &["--peer-timeout: invalid value \"0\" for peer_timeout"]);
    home.run(&["run", "--peer-timeout", "-5"])
        .fails(2, &["invalid value \"-5\" for peer_timeout"]);
    home.run(&["run", "--config", "none.toml"])
        .fails(2, &["none.toml: cannot be opened"]);
    let mut command = home.command(&["config"]);
    command.env("ASTREUM_INCOMING_PORT", "x");
    run_with_input(command, b"").fails(2, &["environment variable ASTREUM_INCOMING_PORT"]);
}

#[test]
fn unrelated_environment_variables_are_ignored() {
    let home = Home::new("surroundings");
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = home.command(arguments);
        command.envs(variables.iter().copied());
        run_with_input(command, b"")
    };
    let of_platforms = [
        ("ASTREUM_PORT", "tcp://10.0.0.1:52780"),
        ("ASTREUM_SERVICE_HOST", "10.0.0.1"),
        ("ASTREUM_PORT_52780_TCP_ADDR", "10.0.0.1"),
        ("ASTREUM_VERBOSE", ""),
        ("ASTREUM_DEFAULT_SEED", ""),
        ("ASTREUM_CONFIG", ""),
    ];
    let ran = run(&["config", "--json"], &of_platforms);
    assert_eq!(ran.stderr, "");
    let seed = &ran.json()["keys"]["default_seed"];
    assert_eq!(seed["source"], "default");
    home.run(&["keys", "generate", "wallet.key", "--kind", "account"])
        .lines();
    // The command loads the configuration twice.
    let to = "01".repeat(32);
    let send = ["tx", "send", &to, "5", "--key-file", "wallet.key"];
    let ran = run(&send, &[("ASTREUM_KILLS", "5")]);
    ran.fails(1, &["no node is running"]);
    let warning = "warning: ignored environment variable ASTREUM_KILLS: unknown key";
    assert_eq!(ran.stderr.matches(warning).count(), 1, "{ran:?}");
}

#[test]
fn secrets_are_not_shown() {
    let home = Home::new("secrets");
    let key = "0123456789abcdef".repeat(4);
    let long = format!("{key}0");
    for (name, value, code) in [
        ("relay_secret_key", &key, 0),
        ("validation_secret_key", &key, 0),
        ("relay_secret_key", &long, 2),
    ] {
        for form in [&["config"][..], &["config", "--json"]] {
            let mut command = home.command(form);
            command.env(format!("ASTREUM_{}", name.to_uppercase()), value);
            let of_environment = run_with_input(command, b"");
            assert_eq!(of_environment.code, code, "{of_environment:?}");
            let flag = format!("--{}", name.replace('_', "-"));
            let of_flag = home.run(&[form, &[&flag, value]].concat());
            let file = format!("use {flag}-file");
            of_flag.fails(2, &["other users of this machine", &file]);
            for ran in [of_environment, of_flag] {
                assert!(
                    !ran.text().contains("0123456789") && !ran.stderr.contains("0123456789"),
                    "{ran:?}"
                );
            }
        }
    }
}

#[test]
fn markdown_has_a_row_for_every_key() {
    let home = Home::new("markdown");
    let keys = home.run(&["config", "--json"]).json();
    let ran = home.run(&["config", "--markdown"]);
    for name in keys["keys"].as_object().unwrap().keys() {
        assert!(ran.text().contains(&format!("| `{name}` |")), "{name}");
    }
}

/// Returns the headings and table rows of a page, without the markup of the headings.
fn tables(page: &str) -> Vec<&str> {
    let lines = page.lines().filter(|line| line.starts_with(['#', '|']));
    lines
        .map(|line| line.trim_start_matches(['#', ' ']))
        .collect()
}

#[test]
fn documentation_matches_the_markdown_of_config() {
    let home = Home::new("config-docs");
    let ran = home.run(&["config", "--markdown"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let documented = tables(include_str!("../../../node/docs/configuration.md"));
    let printed = tables(ran.text());
    assert_eq!(
        documented.split_first(),
        Some((&"Configuration", printed.as_slice()))
    );
}

#[test]
fn keys_are_generated_once_and_kept_private() {
    let home = Home::new("keys");
    let made = home.run(&["keys", "generate", "relay.key"]);
    let public_key = made.lines()[0].to_owned();
    assert_eq!(public_key.len(), 64);
    assert!(made.stderr.contains("not an account"), "{made:?}");
    assert_eq!(
        home.run(&["keys", "show", "relay.key", "--kind", "relay"])
            .lines(),
        [&public_key]
    );
    let other = home.run(&[
        "keys",
        "show",
        "relay.key",
        "--kind",
        "validation",
        "--json",
    ]);
    assert_eq!(other.json()["kind"], "validation");
    assert_ne!(other.json()["public_key"], public_key.as_str());
    assert!(other.stderr.contains("is a relay key"), "{other:?}");
    home.run(&["keys", "generate", "relay.key"])
        .fails(1, &["refusing to overwrite relay.key: the file exists"]);
    let path = home.path().join("relay.key");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    home.run(&["keys", "show", "relay.key"])
        .fails(1, &["accessible to other users", "chmod 600"]);
    home.run(&["run", "--relay-secret-key-file", "relay.key"])
        .fails(2, &["accessible to other users"]);
}

/// Public halves of the secret 07 x 32, from the Python package `cryptography`.
const RELAY_HALF: &str = "13be4feaeaf204c7fd3358fc9c00721881d174278128227ec674f37f7fe97b6d";
const ACCOUNT_HALF: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";

#[test]
fn keys_show_prints_every_public_half_with_its_label() {
    let home = Home::new("halves");
    let digits = "07".repeat(32);
    let file = |content: &str| {
        let path = home.file("a.key", content);
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        home.run(&["keys", "show", "a.key"])
    };
    let label = |half: &str| {
        half.split_whitespace()
            .take(3)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let relay = format!("relay X25519 {RELAY_HALF}");
    let account = format!("account Ed25519 {ACCOUNT_HALF}");
    for (content, kind, unused) in [
        (digits.clone(), "not stated", None),
        (
            format!("validation {digits}\n"),
            "validation or account key (Ed25519)",
            Some(1),
        ),
        (format!("relay {digits}\n"), "relay key (X25519)", Some(2)),
    ] {
        let shown = file(&content);
        let lines = shown.lines();
        assert!(lines[0].contains(kind), "{shown:?}");
        assert_eq!([label(lines[1]), label(lines[2])], [&*relay, &*account]);
        for at in [1, 2] {
            assert_eq!(
                lines[at].contains("unused"),
                unused == Some(at),
                "{lines:?}"
            );
        }
        let json = home.run(&["keys", "show", "a.key", "--json"]).json();
        assert_eq!(json["relay_public_key"], RELAY_HALF);
        assert_eq!(json["account"], ACCOUNT_HALF);
        assert_eq!(json["public_key"].is_null(), unused.is_none());
    }
}

#[test]
fn rejects_key_files_of_the_other_kind() {
    let home = Home::new("kinds");
    home.run(&["keys", "generate", "relay.key"]).lines();
    home.run(&["keys", "generate", "wallet.key", "--kind", "account"])
        .lines();
    home.run(&["run", "--relay-secret-key-file", "wallet.key"])
        .fails(2, &["wallet.key is a", "--kind relay"]);
    home.run(&["run", "--validation-secret-key-file", "relay.key"])
        .fails(2, &["relay.key is a relay key", "--kind validation"]);
    home.run(&["tx", "send", ACCOUNT_HALF, "5", "--key-file", "relay.key"])
        .fails(2, &["relay.key is a relay key", "--kind validation"]);
    home.run(&["run", "--validation-secret-key-file", "none"])
        .fails(2, &["keys generate none --kind validation"]);
}

/// Shells do not expand `~` behind `=` or in quotes, as in these arguments.
#[test]
fn path_arguments_of_all_commands_expand_tilde() {
    let home = Home::new("tilde");
    let inner = home.path().join("inside");
    fs::create_dir(&inner).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.current_dir(&inner);
        run_with_input(command, b"")
    };
    home.file("node.toml", "incoming_port = 0\ndefault_seed = \"\"\n");
    let json = run(&["config", "--config=~/node.toml", "--json"]).json();
    assert_eq!(json["keys"]["incoming_port"]["value"], 0);
    let mut command = home.command(&["config", "--json"]);
    command
        .current_dir(&inner)
        .env("ASTREUM_CONFIG", "~/node.toml");
    let json = run_with_input(command, b"").json();
    assert_eq!(json["keys"]["incoming_port"]["value"], 0);
    run(&["keys", "generate", "~/wallet.key", "--kind", "account"]).lines();
    run(&["keys", "show", "~/wallet.key"]).lines();
    let to = "01".repeat(32);
    run(&["tx", "send", &to, "5", "--key-file=~/wallet.key"]).fails(1, &["no node is running"]);
    home.file("program.astreum", "5");
    for arguments in [
        &["eval", "~/program.astreum"][..],
        &["eval", "--file=~/program.astreum"],
        &["parse", "~/program.astreum"],
    ] {
        assert_eq!(run(arguments).lines(), ["5"], "{arguments:?}");
    }
    home.file("genesis.toml", "nonsense");
    run(&["genesis", "--file=~/genesis.toml", "--dry-run"]).fails(2, &["genesis.toml:1"]);
    home.file("proof.json", "nonsense");
    run(&["proof", "verify", "~/proof.json"]).fails(1, &["proof.json: malformed proof"]);
    let node = super::node::run(&home, &["--cold-storage-path=~/cold"]);
    home.file("in", "some text");
    let id = run(&["put", "~/in"]).lines()[0].to_owned();
    run(&["get", &id, "--list", "-o", "~/out"]).lines();
    assert_eq!(fs::read(home.path().join("out")).unwrap(), b"some text");
    assert_eq!(node.interrupt().0, Some(0));
    let cold = ["--cold-storage-path=~/cold"];
    run(&[&["store", "export", "~/copy"], &cold[..]].concat()).lines();
    assert!(home.path().join("copy").is_dir());
    let other = ["--cold-storage-path=~/other"];
    run(&[&["store", "import", "~/copy"], &other[..]].concat()).lines();
    assert!(home.path().join("other").is_dir());
    // No file was created at the unexpanded path.
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 0);
}
