//! Commands about the chain, used without a node or with mistakes.

use core::time::Duration;
use std::process::Stdio;
use std::time::Instant;

use super::node::run;
use astreum_tests::testkit::wait::eventually_within;
use astreum_tests::testkit::{Home, Ran};

/// Invalid Ed25519 public key: it is not a point of the curve.
const NO_KEY: &str = "0200000000000000000000000000000000000000000000000000000000000000";

/// Creates a home with the key file `wallet.key`; returns it with the account's address.
pub(crate) fn with_wallet(name: &str) -> (Home, String) {
    let home = Home::new(name);
    let made = home.run(&["keys", "generate", "wallet.key", "--kind", "account"]);
    let account = made.lines().remove(0).to_owned();
    (home, account)
}

/// Retries until `ran` succeeds, for at most a minute.
pub(crate) fn until(what: &str, ran: impl FnMut() -> bool) {
    eventually_within(Duration::from_secs(60), what, ran);
}

fn genesis(home: &Home, more: &[&str]) -> Ran {
    home.run(&[&["genesis", "--default-seed", "none"], more].concat())
}

#[test]
fn invalid_transactions_fail_before_contacting_the_node() {
    let (home, to) = with_wallet("txwrong");
    let key = ["--key-file", "wallet.key"];
    let send = |to: &str, amount: &str, more: &[&str]| {
        home.run(&[&["tx", "send", to, amount], more].concat())
    };
    for (to, amount, more, expected) in [
        (
            "abc",
            "5",
            &key[..],
            "invalid value \"abc\" for the recipient: it has 3 digits",
        ),
        (NO_KEY, "5", &key, "could never be spent"),
        (
            &to,
            "-5",
            &key,
            "invalid value \"-5\" for the amount: the number is negative",
        ),
        (&to, "1.5", &key, "fractions are not supported"),
        (&to, "five", &key, "invalid value \"five\" for the amount"),
        (&to, "0", &key, "the amount is 0 and there is no data"),
        (&to, &"9".repeat(5_000), &key, "5000 digits"),
        (&to, "5", &[], "give --key-file FILE"),
        (
            &to,
            "5",
            &["--key-file", "wallet.key", "--data", "abc"],
            "--data-text",
        ),
        (
            &to,
            "5",
            &["--key-file", "wallet.key", "--counter", "-1"],
            "invalid value \"-1\" for the counter",
        ),
        (
            &to,
            "5",
            &["--key-file", "wallet.key", "--chain-id", "x"],
            "invalid value \"x\" for the chain id",
        ),
    ] {
        send(to, amount, more).fails(2, &[expected]);
    }
    send(&to, "5", &["--key-file", "none"]).fails(2, &["missing key file none"]);
    let long = "x".repeat(60_001);
    send(
        &to,
        "5",
        &["--key-file", "wallet.key", "--data-text", &long],
    )
    .fails(2, &["60001 bytes", "60000"]);
    // All arguments are valid; only the node is missing.
    send(&to, "5", &key).fails(1, &["no node is running", "astreum run"]);
    send(NO_KEY, "5", &["--key-file", "wallet.key", "--force"]).fails(1, &["no node is running"]);
}

#[test]
fn refuses_to_send_to_public_keys_of_relays() {
    let (home, _) = with_wallet("txrelay");
    let half = |file: &str| {
        let shown = home.run(&["keys", "show", file, "--json"]).json();
        shown["relay_public_key"].as_str().unwrap().to_owned()
    };
    let send = |to: &str, more: &[&str]| {
        let key = ["--key-file", "wallet.key", "--dry-run"];
        home.run(&[&["tx", "send", to, "5"], &key[..], more].concat())
    };
    // About half of all X25519 public keys are also points of Ed25519; the others are refused for
    // not being one.
    let is_point = |key: &str| {
        let stderr = send(key, &[]).stderr;
        !stderr.contains("is not an Ed25519 public key")
    };
    let refused = "relay public key (X25519)";
    // Relay half of the sender's own key file, as printed by an earlier `keys show`.
    let mut number = 0;
    let mut point = |kind: &str| loop {
        let file = format!("{kind}{number}.key");
        number += 1;
        home.run(&["keys", "generate", &file, "--kind", kind])
            .lines();
        let key = half(&file);
        if is_point(&key) {
            break (file, key);
        }
    };
    let (wallet, own) = point("account");
    home.run(&["tx", "send", &own, "5", "--key-file", &wallet])
        .fails(2, &[refused, "the sender's own secret"]);
    // Configured relay key.
    let (relay, relay_key) = point("relay");
    home.file(
        "relay.toml",
        format!("relay_secret_key_file = \"{relay}\"\n"),
    );
    send(&relay_key, &["--config", "relay.toml"]).fails(2, &[refused, "configured relay key"]);
    send(&relay_key, &["--config", "relay.toml", "--force"]).fails(1, &["no node is running"]);
    // Relay keys of the running node and of its peer.
    let (peer, peer_key) = point("relay");
    let node = run(&home, &["--relay-secret-key-file", &relay]);
    let other = Home::new("txrelaypeer");
    std::fs::copy(home.path().join(&peer), other.path().join(&peer)).unwrap();
    let status = home.run(&["status", "--json"]).json();
    let bound = status["listen_address"].as_str().unwrap();
    let (_, port) = bound.rsplit_once(':').unwrap();
    let address = format!("127.0.0.1:{port}");
    let connected = run(
        &other,
        &[
            "--relay-secret-key-file",
            &peer,
            "--additional-seeds",
            &address,
        ],
    );
    until("the two are peers", || {
        home.run(&["peers", "--json"]).text().contains(&peer_key)
    });
    let known = ["--chain-id", "0"];
    send(&relay_key, &known).fails(1, &[refused, "of this node"]);
    send(&peer_key, &known).fails(1, &[refused, "of a peer"]);
    let forced = send(&peer_key, &["--chain-id", "0", "--force"]);
    assert!(!forced.stderr.contains(refused), "{forced:?}");
    let (_, unrelated) = point("account");
    let other_key = send(&unrelated, &known);
    assert!(!other_key.stderr.contains(refused), "{other_key:?}");
    drop((node, connected));
}

#[test]
fn rejects_invalid_query_arguments() {
    let home = Home::new("askwrong");
    for (arguments, expected) in [
        (
            &["tx", "status", "zz"][..],
            "invalid value \"zz\" for the transaction",
        ),
        (&["tx", "show", "00"], "64 hex digits"),
        (&["block", "show", "-3"], "the height is negative"),
        (
            &["block", "show", "latst"],
            "expected head, a height, or an id",
        ),
        (&["block", "show", "--transactions", "5001"], "at most 5000"),
        (&["block", "list", "--count", "0"], "--count"),
        (&["account", "show", "bob"], "'o' is not a hex digit"),
        (
            &["validators", "--slots", "10001"],
            "expected an integer from 0 to 10000",
        ),
        (&["proof", "account", "12"], "it has 2 digits"),
        (
            &["proof", "verify", "-", "--block", "x"],
            "invalid value \"x\" for --block",
        ),
        (&["tx"], "missing command of `astreum tx`: expected send"),
        (
            &["proof"],
            "missing command of `astreum proof`: expected account",
        ),
    ] {
        home.run(arguments).fails(2, &[expected]);
    }
    for command in [
        &["block", "show"][..],
        &["block", "list"],
        &["account", "show"],
        &["validators"],
        &["proof", "account", "burn"],
        &["tx", "status", NO_KEY],
    ] {
        home.run(command).fails(1, &["no node is running"]);
    }
}

#[test]
fn commands_without_a_chain_fail_with_advice() {
    let (home, to) = with_wallet("nochain");
    let node = run(&home, &[]);
    let no_head = "this node has no block yet";
    let send = ["tx", "send", &to, "5", "--key-file", "wallet.key"];
    for command in [
        &["block", "show"][..],
        &["block", "show", "7"],
        &["block", "list"],
        &["account", "show", &to],
        &["validators"],
        &["proof", "account", "burn"],
        &send,
    ] {
        home.run(command).fails(1, &[no_head, "astreum genesis"]);
    }
    home.run(&["account", "show"]).fails(
        1,
        &["this node has no account", "validation_secret_key_file"],
    );
    let unknown = home.run(&["tx", "status", NO_KEY]);
    unknown.fails(1, &["was not found locally or at any peer"]);
    assert!(
        unknown.text().contains("state           unknown"),
        "{unknown:?}"
    );
    home.run(&["tx", "show", NO_KEY])
        .fails(1, &["transaction", "was not found"]);
    home.run(&["block", "show", NO_KEY])
        .fails(1, &["was not found locally or at any peer"]);
    // A command that waits for a transaction does not delay the shutdown of the node.
    let mut waiting = home.command(&["tx", "status", NO_KEY, "--wait", "30"]);
    let mut waiting = waiting
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(waiting.try_wait().unwrap(), None);
    let stopped = Instant::now();
    assert_eq!(node.interrupt().0, Some(0));
    assert_eq!(waiting.wait().unwrap().code(), Some(1));
    assert!(
        stopped.elapsed() < Duration::from_secs(15),
        "{:?}",
        stopped.elapsed()
    );
}

#[test]
fn send_fails_without_a_known_validator() {
    let (home, wallet) = with_wallet("novalid");
    let cold = ["--cold-storage-path", "cold"];
    genesis(&home, &[&["--validator", &wallet], &cold[..]].concat()).lines();
    let node = run(&home, &cold);
    until("the head of the last run", || {
        home.run(&["block", "show"]).code == 0
    });
    let shown = home.run(&["account", "show", &wallet, "--json"]).json();
    assert_eq!(shown["balance"], "250000");
    assert_eq!(shown["head"]["height"], 0);
    assert!(shown["head"]["timestamp"].is_u64(), "{shown}");
    let send = ["tx", "send", "burn", "5", "--key-file", "wallet.key"];
    let dry = home.run(&[&send[..], &["--dry-run"]].concat());
    assert!(
        dry.code == 0 && dry.stderr.contains("lost permanently"),
        "{dry:?}"
    );
    home.run(&send).fails(
        1,
        &[
            "no validator is known",
            "none of its 0 peers",
            "peers --connect",
        ],
    );
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn rejects_malformed_proofs() {
    let home = Home::new("noproof");
    home.run(&["proof", "verify", "none"])
        .fails(1, &["none: No such file"]);
    for text in ["", "{}", "[]", "{\"format\":1}", "\u{0}"] {
        home.run_with(&["proof", "verify", "-"], text.as_bytes())
            .fails(1, &["stdin: malformed proof"]);
    }
    let of = |format: &str| {
        format!(
            "{{\"format\":\"{format}\",\"account\":\"{NO_KEY}\",\"block\":\"{NO_KEY}\",\
             \"block_atoms\":[],\"path\":\"\",\"account_atoms\":[]}}"
        )
    };
    home.run_with(&["proof", "verify", "-"], of("other").as_bytes())
        .fails(1, &["invalid proof: unsupported format \"other\""]);
    home.run_with(
        &["proof", "verify", "-"],
        of("astreum account proof 1").as_bytes(),
    )
    .fails(1, &["the atoms do not match the block"]);
}

#[test]
fn genesis_reports_invalid_input() {
    let (home, validator) = with_wallet("genwrong");
    let by = ["--validator", &validator];
    genesis(&home, &[]).fails(2, &["missing validator", "--validator KEY"]);
    genesis(&home, &by).fails(2, &["cold_storage_path is not set", "--dry-run"]);
    for (more, expected) in [
        (
            &["--balance", "bob=4"][..],
            "invalid value \"bob\" for the key of --balance",
        ),
        (&["--balance", "treasury"], "expected KEY=AMOUNT"),
        (
            &["--stake", "treasury=-1"],
            "invalid value \"-1\" for the amount of --stake",
        ),
        (&["--stake", "burn=0"], "no validator has a stake"),
        (&["--contract", "x=y"], "ID=OWNER,BYTES,ATOMS"),
        (&["--cumulative-total-fees", "0"], "must not be 0"),
        (
            &["--balance", "burn=1", "--balance", "burn=2"],
            "duplicate key",
        ),
        (
            &["--reference", "--balance", "burn=1"],
            "cannot be combined with",
        ),
        (
            &["--validator", "treasury"],
            "--validator is given more than once",
        ),
    ] {
        genesis(&home, &[&by, more].concat()).fails(2, &[expected]);
    }
    genesis(&home, &["--dry-run", "--validator", &"01".repeat(32)])
        .fails(2, &["must not be the treasury"]);
    home.file(
        "genesis.toml",
        "chain_id = 0\n\n[balances]\nbob = 1\ntreasury = 1.5\n[stake]\n",
    );
    genesis(&home, &["--file", "genesis.toml"]).fails(
        2,
        &[
            "genesis.toml:4: invalid value \"bob\" for a key of balances",
            "genesis.toml:5: invalid value 1.5 for balances.treasury",
            "genesis.toml:6: unknown key \"stake\"; did you mean stakes?",
        ],
    );
    home.file("genesis.toml", "chain_id = 4\n");
    let file = ["--file", "genesis.toml", "--dry-run"];
    genesis(&home, &[&by[..], &file].concat()).fails(2, &["give --chain-id 4"]);
    let right = [&by[..], &file, &["--chain-id", "4", "--json"]].concat();
    assert_eq!(genesis(&home, &right).json()["chain_id"], 4);
    genesis(&home, &["--file", "none"]).fails(1, &["none: No such file"]);
}

#[test]
fn genesis_warns_about_unaffordable_prices() {
    let (home, validator) = with_wallet("genwarn");
    let dry = [
        "--validator",
        &validator,
        "--dry-run",
        "--timestamp",
        "1000",
    ];
    let default = genesis(&home, &dry);
    assert_eq!((default.code, default.stderr.as_str()), (0, ""));
    let expensive = ["--balance", "treasury=1000", "--cumulative-total-fees", "1"];
    let expensive = genesis(&home, &[&dry[..], &expensive].concat());
    assert_eq!(expensive.code, 0, "{expensive:?}");
    for expected in [
        "a plain transfer costs up to 798001",
        "no account has the 798001",
    ] {
        assert!(
            expensive.stderr.contains(expected),
            "no {expected:?} in {expensive:?}"
        );
    }
    let reference = genesis(&home, &[&dry[..], &["--reference"]].concat());
    assert!(
        reference.stderr.contains("no account has the 799"),
        "{reference:?}"
    );
    let seeded = home.run(&["genesis", "--validator", &validator, "--dry-run"]);
    assert!(seeded.stderr.contains("default_seed = \"\""), "{seeded:?}");
    let future = [&dry[..4], &["99999999999"]].concat();
    assert!(
        genesis(&home, &future)
            .stderr
            .contains("starts in the future")
    );
    let lost = ["--stake", &format!("{NO_KEY}=5")];
    assert!(
        genesis(&home, &[&dry[..], &lost].concat())
            .stderr
            .contains("its slots stay empty")
    );
}

#[test]
fn genesis_id_is_equal_from_file_and_flags() {
    let (home, validator) = with_wallet("genfile");
    let contract = "ab".repeat(32);
    home.file(
        "genesis.toml",
        format!(
            "timestamp = 1_000\nvalidator = \"{validator}\"\ncumulative_total_fees = 10\n\
             [balances]\ntreasury = 0\n{validator} = 1_000\n[stakes]\n{validator} = 2\n\
             [contracts]\n{contract} = {{ owner = \"{validator}\", bytes = 9, atoms = 1 }}\n"
        ),
    );
    let from_file = genesis(&home, &["--file", "genesis.toml", "--dry-run", "--json"]).json();
    let from_flags = genesis(
        &home,
        &[
            "--dry-run",
            "--json",
            "--timestamp",
            "1000",
            "--validator",
            &validator,
            "--cumulative-total-fees",
            "10",
            "--balance",
            "treasury=0",
            "--balance",
            &format!("{validator}=1000"),
            "--stake",
            &format!("{validator}=2"),
            "--contract",
            &format!("{contract}={validator},9,1"),
        ],
    );
    assert_eq!(from_file, from_flags.json());
    assert_eq!(from_file["dry_run"], true);
    // Nothing was written.
    assert!(!home.path().join("cold").exists());
}

#[test]
fn transactions_are_signed_offline_and_submitted_from_a_file() {
    let (home, to) = with_wallet("txfile");
    let key = ["--key-file", "wallet.key"];
    // No node runs here.
    let sign = |amount: &str, more: &[&str]| {
        home.run(&[&["tx", "sign", &to, amount], &key[..], more].concat())
    };
    let signed = sign(
        "1_000",
        &["--chain-id", "0", "--counter", "7", "-o", "payment.json"],
    );
    let id = signed.lines()[0].to_owned();
    assert!(
        signed
            .stderr
            .contains("signed for chain 0; `astreum tx submit payment.json`")
    );
    sign("5", &["-o", "payment.json"]).fails(1, &["refusing to overwrite payment.json"]);
    sign("0", &["-o", "other.json"]).fails(2, &["the amount is 0"]);
    sign("5", &[]).fails(2, &["--output"]);
    let text = std::fs::read_to_string(home.path().join("payment.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&file["id"], &file["amount"], &file["chain_id"]),
        (&id.into(), &"1000".into(), &"0".into())
    );
    // The same arguments are the same transaction.
    let again = sign("1000", &["--chain-id", "0", "--counter", "7", "-o", "-"]);
    assert_eq!(again.text(), text);
    assert_eq!(again.stderr, "astreum: signed for chain 0\n");
    let default = sign("5", &["-o", "-"]);
    assert!(
        default
            .stderr
            .contains("signed for chain 0 (the default; --chain-id"),
        "{default:?}"
    );
    home.file("main.toml", "chain = \"main\"\n");
    let configured = sign("5", &["--config", "main.toml", "-o", "-"]);
    assert_eq!(configured.stderr, "astreum: signed for chain 1\n");
    let submit = |file: &str| home.run(&["tx", "submit", file]);
    submit("payment.json").fails(1, &["no node is running"]);
    submit("none.json").fails(1, &["none.json: "]);
    home.file("cut.json", &text[..text.len() / 2]);
    submit("cut.json").fails(1, &["cut.json: not a file of `astreum tx sign`"]);
    home.file("changed.json", text.replace("\"1000\"", "\"1\""));
    submit("changed.json").fails(1, &["amount is \"1\", but \"1000\" is signed"]);
    let node = run(&home, &[]);
    submit("payment.json").fails(1, &["this node has no block yet"]);
    home.run_with(&["tx", "submit", "-", "--dry-run"], text.as_bytes())
        .fails(1, &["this node has no block yet"]);
    assert_eq!(node.interrupt().0, Some(0));
}
