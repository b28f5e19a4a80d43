//! Commands `config init`, `check`, `show` and `from-python`, and errors with their place.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use astreum_tests::testkit::{Home, run_with_input};
use serde_json::Value;

#[test]
fn init_writes_a_commented_file_once() {
    let home = Home::new("init");
    assert_eq!(home.run(&["config", "init", "a.toml"]).lines(), ["a.toml"]);
    let text = fs::read_to_string(home.path().join("a.toml")).unwrap();
    assert!(text.contains("\n#incoming_port = 52780\n"), "{text}");
    assert!(text.contains("# Value: an integer from 0 to 65535. Default: 52780."));
    home.file("a.toml", "incoming_port = 7\n");
    home.run(&["config", "init", "a.toml"])
        .fails(1, &["refusing to overwrite a.toml: the file exists"]);
    let kept = fs::read_to_string(home.path().join("a.toml")).unwrap();
    assert_eq!(kept, "incoming_port = 7\n");
    // Without a name, and to stdout.
    assert_eq!(home.run(&["config", "init"]).lines(), ["node.toml"]);
    let printed = home.run(&["config", "init", "-"]);
    assert_eq!(printed.text(), text);
    let checked = home.run(&["config", "check", "--config", "node.toml"]);
    assert_eq!(checked.lines(), ["node.toml: valid, 0 keys are set"]);
}

#[test]
fn check_reports_every_error_with_its_place() {
    let home = Home::new("check");
    let secret = "0123456789abcdef".repeat(4);
    home.file(
        "node.toml",
        format!(
            "# first\nincoming_prt = 1\npeer_timeout = \"5\"\nverbose = maybe\n\
             relay_secret_key = \"{secret}0\"\nuse_ipv6 = true\nbind_address = \"127.0.0.1\"\n\
             state_dir = \"a\n"
        ),
    );
    let ran = home.run(&["config", "check", "--config", "node.toml"]);
    ran.fails(
        2,
        &[
            "node.toml:2: unknown key \"incoming_prt\"; did you mean incoming_port?\n\
             2 | incoming_prt = *\n  | ^^^^^^^^^^^^\n",
            "node.toml:3: invalid value \"5\" for peer_timeout: expected an integer number of \
             seconds from 1 to 4294967295, found a string; remove the quotes\n\
             3 | peer_timeout = \"5\"\n  |                ^^^\n",
            "node.toml:4: ",
            "4 | verbose = maybe\n  |           ^",
            "node.toml:5: invalid value for relay_secret_key (not shown)",
            "node.toml:8: ",
            "8 | state_dir = \"a\n",
        ],
    );
    assert!(
        !ran.stderr.contains("01234567") && !ran.stderr.contains("89abcdef"),
        "{ran:?}"
    );
    let json = home.run(&["config", "check", "--config", "node.toml", "--json"]);
    assert_eq!(json.code, 2);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["warnings"], serde_json::json!([]));
    let first = json["errors"].as_array().unwrap().iter();
    let unknown = first.clone().find(|it| it["line"] == 2).unwrap();
    assert_eq!(unknown["column"], 1);
    let value = first.clone().find(|it| it["line"] == 3).unwrap();
    assert_eq!(value["column"], 16);
    // A contradiction shows both places.
    home.file(
        "b.toml",
        "use_ipv6 = true\n\nbind_address = \"127.0.0.1\"\n",
    );
    home.run(&["run", "--config", "b.toml"]).fails(
        2,
        &[
            "bind_address (b.toml:3) and use_ipv6 (b.toml:1) conflict",
            "3 | bind_address = \"127.0.0.1\"\n  |                ^^^^^^^^^^^\n",
            "1 | use_ipv6 = true\n  |            ^^^^",
        ],
    );
}

#[test]
fn check_includes_the_files_that_the_configuration_names() {
    let home = Home::new("checkfiles");
    home.run(&["keys", "generate", "relay.key"]).lines();
    home.file("node.toml", "validation_secret_key_file = \"relay.key\"\n");
    home.run(&["config", "check", "--config", "node.toml"])
        .fails(
            2,
            &[
                "node.toml:1: validation_secret_key_file: no chain directory",
                "relay.key is a relay key",
            ],
        );
    home.file("node.toml", "relay_secret_key_file = \"none.key\"\n");
    home.run(&["config", "check", "--config", "node.toml"])
        .fails(2, &["missing key file", "none.key", "\n1 | relay_secret"]);
    // Each error has the same fields as one of the file, and nothing is opened or created.
    let json = home.run(&["config", "check", "--config", "node.toml", "--json"]);
    assert_eq!(json.code, 2);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let error = &json["errors"][0];
    assert_eq!((&error["line"], &error["column"]), (&1.into(), &25.into()));
    assert_eq!(
        (&error["file"], &json["file"]),
        (&"node.toml".into(), &"node.toml".into())
    );
    assert_eq!(json["warnings"], serde_json::json!([]));
    home.file("cold", "");
    let cold = ["--cold-storage-path", "cold"];
    for command in [&["config", "check"][..], &["run"]] {
        home.run(&[command, &cold].concat()).fails(
            2,
            &["--cold-storage-path: cold_storage_path: cold is not a directory; set"],
        );
    }
    home.file("node.toml", "relay_secret_key_file = \"relay.key\"\n");
    let json = home.run(&["config", "check", "--config", "node.toml", "--json"]);
    assert_eq!(json.json()["valid"], true);
    let mut command = home.command(&["config", "check", "--config", "node.toml"]);
    command.env("ASTREUM_KILLS", "1");
    let ran = run_with_input(command, b"");
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr
            .contains("ignored environment variable ASTREUM_KILLS"),
        "{ran:?}"
    );
}

#[test]
fn show_names_the_origin_of_each_value() {
    let home = Home::new("show");
    home.file("node.toml", "verbose = true\npeer_timeout = 5\n");
    let keys = [
        "verbose",
        "peer_timeout",
        "incoming_port",
        "chain_id",
        "state_dir",
    ];
    let options = ["--config", "node.toml", "--incoming-port", "7", "--origin"];
    let arguments = [&["config", "show"], &keys[..], &options].concat();
    let mut command = home.command(&arguments);
    command.env("ASTREUM_PEER_TIMEOUT", "6");
    let ran = run_with_input(command, b"");
    let expected = [
        ("node.toml:1", "verbose = true"),
        (
            "environment variable ASTREUM_PEER_TIMEOUT",
            "peer_timeout = 6",
        ),
        ("--incoming-port", "incoming_port = 7"),
        ("default", "chain_id = 0"),
        ("default", "state_dir = (unset)"),
    ];
    for (line, (origin, value)) in ran.lines().iter().zip(expected) {
        assert!(line.starts_with(origin) && line.ends_with(value), "{line}");
    }
    let plain = home.run(&["config", "show", "incoming-port"]);
    assert_eq!(plain.lines(), ["incoming_port = 52780"]);
    let json = home.run(&["config", "show", "verbose", "--json"]).json();
    assert_eq!(json["verbose"]["origin"], "default");
    home.run(&["config", "show", "incomming_port"]).fails(
        2,
        &["unknown key \"incomming_port\"; did you mean incoming_port?"],
    );
    assert!(home.run(&["config", "show"]).lines().len() > 40);
}

/// Script in the manner of the reference's README.
const SCRIPT: &str = r#"import os
from astreum.node import Node

config = {
    "relay_secret_key": "0707070707070707070707070707070707070707070707070707070707070707",
    "hot_storage_limit": 64 * 1024**2,         # cap hot cache
    "cold_storage_path": "./data/node1",
    "incoming_port": 52780,
    'use_ipv6': False,
    "default_seed": None,
    "additional_seeds": [
        "127.0.0.1:7374"
    ],
    "atom_fetch_interval": 0.5,
    "logging_retention": 3,
    "chain_id": int(os.environ["CHAIN"]),
    "peer_timeout": -1,
    "color": "blue",
}
config["verbose"] = True

node = Node(config)
"#;

#[test]
fn python_script_is_converted_without_executing_it() {
    let home = Home::new("python");
    home.file("node.py", SCRIPT);
    let ran = home.run(&["config", "from-python", "node.py", "-o", "node.toml"]);
    assert_eq!(ran.lines(), ["node.toml"]);
    for expected in [
        "not converted: logging_retention: there is no such option; did you mean \
         logging_retention_days?",
        "not converted: chain_id: line 16: the value is an expression",
        "not converted: peer_timeout: line 17: invalid value -1 for peer_timeout",
        "not converted: color: there is no such option here",
        "note: cold_storage_path is relative",
    ] {
        assert!(ran.stderr.contains(expected), "{expected}: {ran:?}");
    }
    let shown = home
        .run(&["config", "--config", "node.toml", "--json"])
        .json();
    let value = |name: &str| shown["keys"][name]["value"].clone();
    assert_eq!(value("hot_storage_limit"), 64 << 20);
    assert_eq!(value("use_ipv6"), false);
    assert_eq!(value("default_seed"), Value::Null);
    assert_eq!(
        value("additional_seeds"),
        serde_json::json!(["127.0.0.1:7374"])
    );
    assert_eq!(value("atom_fetch_interval"), 0.5);
    assert_eq!(value("verbose"), true);
    assert_eq!(shown["keys"]["default_seed"]["source"], "node.toml:12");
    // The secret is in a key file, and nowhere else.
    let text = fs::read_to_string(home.path().join("node.toml")).unwrap();
    assert!(text.contains("relay_secret_key_file = \"relay.key\"") && !text.contains("0707"));
    assert!(!ran.stderr.contains("0707"));
    let key = home.path().join("relay.key");
    let mode = fs::metadata(&key).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert_eq!(
        fs::read_to_string(key).unwrap(),
        format!("relay {}\n", "07".repeat(32))
    );
    // Nothing is overwritten, and nothing is written if one file exists.
    fs::remove_file(home.path().join("node.toml")).unwrap();
    home.run(&["config", "from-python", "node.py", "-o", "node.toml"])
        .fails(1, &["refusing to overwrite relay.key"]);
    assert!(!home.path().join("node.toml").exists());
    let printed = home.run(&["config", "from-python", "node.py"]);
    assert!(printed.text().contains("the secret is not shown") && !printed.text().contains("0707"));
}

#[test]
fn json_is_converted_and_other_files_are_refused() {
    let home = Home::new("pyjson");
    let json = r#"{"incoming_port": 7, "verbose": true, "default_seed": null, "x\u0041": {}}"#;
    let ran = home.run_with(&["config", "from-python", "-", "--json"], json.as_bytes());
    let reply = ran.json();
    let toml = reply["toml"].as_str().unwrap();
    for line in [
        "incoming_port = 7\n",
        "verbose = true\n",
        "default_seed = \"\"\n",
    ] {
        assert!(toml.contains(line), "{toml}");
    }
    assert_eq!(reply["not_converted"][0]["name"], "xA");
    // A name cannot begin a line of its own, and entries without a name are reported.
    let source = b"x = {'verbose': True, 'a\\nb\\x1b\\u202e': 1,\n  **other, key: 2}";
    let ran = home.run_with(&["config", "from-python", "-"], source);
    assert!(ran.text().contains("verbose = true\n"), "{ran:?}");
    for line in [
        "astreum: not converted: a\\nb\\x1b\\xe2\\x80\\xae: there is no such option here\n",
        "astreum: not converted: line 2: the name is not a string\n",
    ] {
        assert!(ran.stderr.contains(line), "no {line:?} in {ran:?}");
    }
    for (content, expected) in [
        (&b""[..], "no configuration found"),
        (b"print('hello')\n", "no configuration found"),
        (b"{'a': 1}", "no configuration found"),
        (
            b"x = {'verbose': 'unfinished\n}",
            "line 1: unterminated string",
        ),
        (b"\xff\xfe", "is not UTF-8"),
        (
            b"a = {'verbose': True}\nb = {'verbose': False}\n",
            "at lines 1 and 2",
        ),
        (&[b'{'; 2 << 20], "is larger than"),
    ] {
        let ran = home.run_with(&["config", "from-python", "-"], content);
        ran.fails(1, &[expected]);
    }
    home.run(&["config", "from-python", "none.py"])
        .fails(1, &["none.py: No such file"]);
}
