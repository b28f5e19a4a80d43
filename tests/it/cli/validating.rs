//! Validation of a new chain: from its genesis to a transfer with a verifiable proof.

use serde_json::{Value, json};

use super::chain::{until, with_wallet};
use super::node::run;
use astreum_tests::testkit::http::WebSocket;
use astreum_tests::testkit::{Home, NodeProcess, Ran};

/// Creates a home with a validator's key and wallet, and a chain in which the validator has a
/// million and storage has a price.
pub(crate) fn chain(name: &str) -> (Home, String, String) {
    let (home, wallet) = with_wallet(name);
    let made = home.run(&["keys", "generate", "validator.key", "--kind", "validation"]);
    let validator = made.lines().remove(0).to_owned();
    home.file(
        "node.toml",
        "incoming_port = 0\ndefault_seed = \"\"\ncold_storage_path = \"cold\"\n\
         validation_secret_key_file = \"validator.key\"\n",
    );
    let genesis = [
        "genesis",
        "--config",
        "node.toml",
        "--json",
        "--balance",
        &format!("{validator}=1_000_000"),
        "--balance",
        "treasury=1",
        "--cumulative-total-fees",
        "1000",
    ];
    let genesis = home.run(&genesis).json();
    assert_eq!(text(&genesis, "/validator"), validator);
    (home, validator, wallet)
}

pub(crate) fn validator(home: &Home) -> NodeProcess {
    home.start(&["run", "--config", "node.toml"])
}

fn send(home: &Home, to: &str, amount: &str, more: &[&str]) -> Ran {
    home.run(&[&["tx", "send", to, amount, "--config", "node.toml"], more].concat())
}

fn account(home: &Home, account: &str) -> Value {
    home.run(&["account", "show", account, "--json"]).json()
}

/// Returns the text at this JSON pointer.
fn text<'v>(value: &'v Value, place: &str) -> &'v str {
    value.pointer(place).and_then(Value::as_str).unwrap()
}

#[test]
fn transfer_is_included_and_proven_without_a_node() {
    let (home, validator_key, wallet) = chain("transfer");
    let again = home.run(&["genesis", "--config", "node.toml"]);
    again.fails(
        1,
        &[
            "refusing to create a second chain with chain_id 0",
            "astreum run --config node.toml",
        ],
    );
    let node = validator(&home);
    home.run(&["genesis", "--config", "node.toml"])
        .fails(1, &["a node is running", "stop it first"]);
    until("a head", || home.run(&["block", "show"]).code == 0);
    let unknown = ["account", "show", &wallet];
    home.run(&unknown)
        .fails(1, &[&wallet, "does not exist at block"]);

    let dry = send(&home, &wallet, "1_000", &["--dry-run", "--json"]).json();
    assert_eq!(
        (&dry["dry_run"], &dry["amount"]),
        (&true.into(), &"1000".into())
    );
    home.run(&["tx", "status", dry["id"].as_str().unwrap()])
        .fails(1, &["was not found locally"]);

    let more = [
        "--counter",
        "7",
        "--wait",
        "60",
        "--json",
        "--data-text",
        "for the coffee",
    ];
    let sent = send(&home, &wallet, "1_000", &more).json();
    let id = sent["id"].as_str().unwrap().to_owned();
    let status = &sent["status"];
    assert_eq!(
        (&status["state"], &status["index"]),
        (&"success".into(), &0.into())
    );
    assert_eq!(sent["sender"], validator_key.as_str());
    let block = status["block"].as_str().unwrap();
    for command in ["status", "show", "resend"] {
        home.run(&["tx", command, block])
            .fails(1, &[block, "is not a transaction"]);
    }
    home.run(&["block", "show", &id])
        .fails(1, &[&id, "is not a block"]);
    assert_eq!(account(&home, &wallet)["balance"], "1000");
    // The cost of storage depends on the block's price: it is positive, and at most the stated
    // maximum.
    let storage: u64 = sent["storage"].as_str().unwrap().parse().unwrap();
    assert!(storage > 1, "{sent}");

    let shown = home.run(&["tx", "show", &id, "--json"]).json();
    assert_eq!(shown["amount"], "1000");
    assert_eq!(
        (&shown["counter"], &shown["recipient"]),
        (&"7".into(), &wallet.clone().into())
    );
    assert_eq!(shown["signature_holds"], true);
    let text = home.run(&["tx", "show", &id]);
    assert!(
        text.text().contains("14 bytes, \"for the coffee\""),
        "{text:?}"
    );

    let height = status["height"].as_u64().unwrap().to_string();
    let height = height.as_str();
    let block = home.run(&["block", "show", height, "--json"]).json();
    assert_eq!(block["id"], status["block"]);
    assert_eq!(
        (&block["signature_holds"], &block["transaction_count"]),
        (&true.into(), &1.into())
    );
    assert_eq!(block["included"][0]["id"], id.as_str());
    let by_id = ["block", "show", block["id"].as_str().unwrap(), "--json"];
    assert_eq!(home.run(&by_id).json(), block);
    home.run(&["block", "show", "999999"])
        .fails(1, &["block 999999 does not exist yet", "the head is block"]);
    let listed = home.run(&["block", "list", "--count", "3", "--from", height, "--json"]);
    let heights: Vec<Value> = listed
        .lines()
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["height"].clone())
        .collect();
    assert_eq!(
        (heights[0].to_string().as_str(), heights.len() <= 3),
        (height, true)
    );
    let genesis = home.run(&["block", "show", "0"]);
    assert!(
        genesis.text().contains("signature       none"),
        "{genesis:?}"
    );

    // The same transaction is not applied again; it is not even sent.
    send(&home, &wallet, "1_000", &more).fails(
        1,
        &[
            "replayed transaction",
            "already in the chain",
            "another counter",
        ],
    );
    // The wallet has 1,000 and tries to send all of it, so it cannot pay the fee.
    let from_wallet = ["--key-file", "wallet.key"];
    let broke = send(&home, &validator_key, "1_000", &from_wallet);
    broke.fails(
        1,
        &[
            "insufficient balance",
            "has 1000",
            "amount 1000",
            "fee 1",
            "storage",
        ],
    );
    send(&home, &wallet, &"9".repeat(60), &[]).fails(1, &["insufficient balance"]);
    home.run(&["keys", "generate", "poor.key", "--kind", "account"])
        .lines();
    send(&home, &wallet, "1", &["--key-file", "poor.key"])
        .fails(1, &["insufficient balance", "has no account"]);
    send(&home, &wallet, "1", &["--chain-id", "9"]).fails(1, &["wrong chain id 9", "expected 0"]);

    // A first stake must not be too small.
    let nothing = [&from_wallet[..], &["--data", "00"]].concat();
    send(&home, "treasury", "0", &nothing)
        .fails(1, &["a first stake of 0 is too small", "the minimum is 1"]);

    let validators = home.run(&["validators", "--slots", "3", "--json"]).json();
    assert_eq!(validators["validators"][0]["key"], validator_key.as_str());
    assert_eq!(validators["validators"][0]["share_ppm"], 1_000_000);
    assert_eq!(validators["slots"].as_array().map(Vec::len), Some(3));
    let stake = send(&home, "treasury", "5", &["--wait", "60", "--json"]).json();
    assert_eq!(stake["status"]["state"], "success", "{stake}");
    assert_eq!(account(&home, "me")["stake"], "250005");

    let proof = home.run(&["proof", "account", &wallet]);
    let absent = home.run(&["proof", "account", &"ab".repeat(32)]);
    assert!(
        absent.stderr.contains("the account does not exist"),
        "{absent:?}"
    );
    assert_eq!(node.interrupt().0, Some(0));
    verify(&home, &proof, &absent, &wallet);
}

/// Verifies the proofs without a running node.
fn verify(home: &Home, proof: &Ran, absent: &Ran, wallet: &str) {
    home.file("proof.json", &proof.stdout);
    let verified = home
        .run(&["proof", "verify", "proof.json", "--json"])
        .json();
    assert_eq!(text(&verified, "/state/balance"), "1000");
    let is_valid = verified.pointer("/block/signature_holds");
    assert_eq!(is_valid, Some(&true.into()));
    let block = text(&verified, "/block/id");
    let exactly = [
        "proof",
        "verify",
        "proof.json",
        "--block",
        block,
        "--account",
        wallet,
    ];
    let exactly = home.run(&exactly);
    assert_eq!((exactly.code, exactly.stderr.as_str()), (0, ""));
    let shown = home.run(&["proof", "verify", "proof.json"]);
    assert!(shown.stderr.contains("--block ID"), "{shown:?}");
    let other = "ab".repeat(32);
    home.run(&["proof", "verify", "proof.json", "--block", &other])
        .fails(1, &["proof is for block", block]);
    home.run(&["proof", "verify", "proof.json", "--account", "burn"])
        .fails(1, &["proof is for account", wallet]);
    let none = home
        .run_with(&["proof", "verify", "-", "--json"], &absent.stdout)
        .json();
    assert_eq!(none.get("exists"), Some(&false.into()));
    assert_eq!(none.get("state"), Some(&Value::Null));
    let forged = proof.text().replace(wallet, &other);
    home.run_with(&["proof", "verify", "-"], forged.as_bytes())
        .fails(1, &["stdin: invalid proof"]);
}

#[test]
fn follower_sends_transactions_to_a_validator() {
    let (home, validator_key, wallet) = chain("relayed");
    let node = validator(&home);
    until("a head", || home.run(&["block", "show"]).code == 0);
    let other = Home::new("relaying");
    let follower = run(&other, &[]);
    let status = home.run(&["status", "--json"]).json();
    let address = status["listen_address"]
        .as_str()
        .unwrap()
        .replace("0.0.0.0", "127.0.0.1");
    // The node knows no peers, so it has no chain.
    let key = home.path().join("validator.key");
    let send = [
        "tx",
        "send",
        &wallet,
        "5",
        "--wait",
        "60",
        "--key-file",
        key.to_str().unwrap(),
    ];
    other.run(&send).fails(1, &["this node has no block yet"]);
    other.run(&["peers", "--connect", &address]).lines();
    until("the chain arrives", || {
        other.run(&["block", "show"]).code == 0
    });
    assert_eq!(
        account(&other, &validator_key)["account"],
        validator_key.as_str()
    );
    let sent = other.run(&send);
    assert!(
        sent.text().contains("state           succeeded"),
        "{sent:?}"
    );
    assert!(
        sent.text().contains("sent to         1 validator"),
        "{sent:?}"
    );
    assert_eq!(account(&other, &wallet)["balance"], "5");
    assert_eq!(node.interrupt().0, Some(0));
    assert_eq!(follower.interrupt().0, Some(0));
}

/// Opens a WebSocket of a home's node, and subscribes to a transaction.
fn follow(home: &Home, id: &str) -> WebSocket {
    let status = home.run(&["status", "--json"]).json();
    let address = text(&status, "/rpc/address").parse().unwrap();
    let mut socket = WebSocket::open(address, &[]).unwrap();
    let wanted = json!({"topic": "transaction", "id": id});
    let reply = socket.ask(1, "subscribe", &wanted);
    assert!(
        reply.get("result").is_some_and(Value::is_u64),
        "subscribe: {reply}"
    );
    socket
}

/// Receives the next notification with this state.
fn notified(socket: &mut WebSocket, state: &str) -> Value {
    socket.notified(|params| params.pointer("/result/state") == Some(&state.into()))
}

#[test]
fn signed_transaction_is_resent_and_its_states_are_notified() {
    let (home, _, wallet) = chain("resent");
    let sign = [
        "tx",
        "sign",
        &wallet,
        "7",
        "--chain-id",
        "0",
        "--key-file",
        "validator.key",
        "-o",
        "payment.json",
    ];
    let id = home.run(&sign).lines().remove(0).to_owned();
    let run = [
        "run",
        "--config",
        "node.toml",
        "--rpc-listen",
        "127.0.0.1:0",
    ];
    // The genesis is new, so that this node makes no block during the test.
    let idle = home.start(&[&run[..], &["--block-interval", "3600"]].concat());
    until("a head", || home.run(&["block", "show"]).code == 0);
    home.run(&["tx", "resend", &id])
        .fails(1, &[&id, "was not found"]);
    let mut socket = follow(&home, &id);
    notified(&mut socket, "unknown");
    let submitted = home.run(&["tx", "submit", "payment.json", "--json"]).json();
    assert_eq!(text(&submitted, "/id"), id);
    let pending = notified(&mut socket, "pending");
    let place = |name: &str| pending.pointer(&format!("/result/{name}")).cloned();
    assert_eq!(place("pool_place"), Some(1.into()), "{pending}");
    assert_eq!(place("block"), Some(Value::Null), "{pending}");
    let resent = home.run(&["tx", "resend", &id]);
    assert!(
        resent.text().contains("this node (validator)"),
        "{resent:?}"
    );
    home.run(&["tx", "resend", &id, "--wait", "1"])
        .fails(1, &["timed out waiting for inclusion"]);
    assert_eq!(idle.interrupt().0, Some(0));

    // The mempool survives, and this node makes blocks.
    let node = home.start(&run);
    let mut socket = follow(&home, &id);
    // A validator listens for up to half a minute before it signs.
    let wait = ["tx", "status", &id, "--wait", "240", "--json"];
    let status = home.run(&wait).json();
    let included = notified(&mut socket, "success");
    assert_eq!(text(&included, "/result/block"), text(&status, "/block"));
    home.run(&["tx", "resend", &id])
        .fails(1, &["replayed transaction"]);
    assert_eq!(account(&home, &wallet)["balance"], "7");
    assert_eq!(node.interrupt().0, Some(0));
}
