//! Operations on a validator as described in `node/docs/operating.md`, with real processes.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use astreum_node::query::QueryError;
use astreum_node::rpc::{
    Caller, ErrorKind, PartialService, RpcError, Server, Service, TransactionStanding,
    TransactionStatusReply, request,
};
use serde_json::Value;

use super::fixtures::{RUN, height, status, validator_home};
use astreum_tests::testkit::{Home, NodeProcess, Ran};

/// Time limit of any wait: a validator listens for up to half a minute before it signs.
const WAIT_TIMEOUT: Duration = Duration::from_secs(240);

fn wait_until(what: &str, home: &Home, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while !is_so() {
        if Instant::now() >= deadline {
            panic!("{what}: {}", home.run(&["status"]).text());
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Creates a home of a node that follows the chain.
fn follower_home(name: &str) -> Home {
    let home = Home::new(name);
    home.file(
        "node.toml",
        "incoming_port = 0\ndefault_seed = \"\"\ncold_storage_path = \"cold\"\n",
    );
    home
}

/// Returns the loopback address of the running node.
fn address(home: &Home) -> String {
    let status = status(home);
    let listens = status.get("listen_address").and_then(Value::as_str);
    listens.unwrap().replace("0.0.0.0", "127.0.0.1")
}

/// Starts a node with another one as its seed.
fn start_with_seed(home: &Home, seed: &str, more: &[&str]) -> NodeProcess {
    home.start(&[&RUN[..], &["--additional-seeds", seed], more].concat())
}

fn block_id(home: &Home, height: u64) -> Option<String> {
    let ran = home.run(&["block", "show", &height.to_string(), "--json"]);
    let id = |block: Value| Some(block.get("id")?.as_str()?.to_owned());
    (ran.code == 0).then(|| id(ran.json()).unwrap())
}

fn problems(home: &Home) -> String {
    status(home).get("problems").unwrap().to_string()
}

fn log(home: &Home) -> String {
    let logs = home.path().join("state/Astreum/lib-rs/logs");
    let instances = fs::read_dir(logs).unwrap().flatten();
    let logs = instances.map(|entry| fs::read_to_string(entry.path().join("node.log")).unwrap());
    logs.collect()
}

fn copy_dir(from: PathBuf, to: PathBuf) {
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(entry.path(), target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn moved_validator_key_validates_on_each_machine() {
    let (a, _) = validator_home("movea");
    let b = follower_home("moveb");
    let key = a.path().join("validator.key");
    let with_key = ["--validation-secret-key-file", key.to_str().unwrap()];
    // The chain begins on A, and B follows it.
    let node_a = a.start(&RUN);
    wait_until("A produces blocks", &a, || height(&a) >= 2);
    let node_b = start_with_seed(&b, &address(&a), &[]);
    wait_until("B follows", &b, || height(&b) >= 2);
    // The validator on A stops, and its key moves to B.
    let from = height(&b);
    assert_eq!(node_a.interrupt().0, Some(0));
    assert_eq!(node_b.interrupt().0, Some(0));
    // A continues without the key: it may be the only node with the whole state.
    a.file(
        "follower.toml",
        fs::read(b.path().join("node.toml")).unwrap(),
    );
    let node_a = a.start(&["run", "--config", "follower.toml"]);
    let node_b = start_with_seed(&b, &address(&a), &with_key);
    wait_until("B produces five blocks", &b, || {
        status(&b)["validator"]["blocks_made"].as_u64().unwrap() >= 5
    });
    let made_by_b = height(&b);
    assert!(made_by_b >= from + 5);
    assert_eq!(node_b.interrupt().0, Some(0));
    assert_eq!(node_a.interrupt().0, Some(0));
    // The key moves back, and B follows without it.
    let node_b = b.start(&RUN);
    let node_a = start_with_seed(&a, &address(&b), &[]);
    wait_until("A produces blocks again", &a, || {
        status(&a)["validator"]["blocks_made"].as_u64().unwrap() >= 2
    });
    assert!(height(&a) >= made_by_b + 2, "on the blocks of B");
    assert_eq!(status(&a)["halted"], false);
    wait_until("B follows A", &b, || height(&b) > made_by_b);
    assert_eq!(block_id(&a, made_by_b), block_id(&b, made_by_b));
    assert_eq!(node_a.interrupt().0, Some(0));
    assert_eq!(node_b.interrupt().0, Some(0));
}

fn home_text(home: &Home, height: u64) -> String {
    let shown = home.run(&["block", "show", &height.to_string()]);
    format!("{} {}", shown.stderr, home.run(&["status"]).text())
}

#[test]
fn validator_restored_from_backup_signs_only_later_blocks() {
    let (a, key) = validator_home("backupa");
    let b = follower_home("backupb");
    let node_a = a.start(&RUN);
    wait_until("A produces blocks", &a, || height(&a) >= 2);
    let made = a.run(&["backup", "backup", "--json"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.json()["bytes"].as_u64().unwrap() > 1_000);
    let checked = a.run(&["store", "verify", "--cold-storage-path", "backup"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    // Produces blocks after the backup, which B has.
    let node_b = start_with_seed(&b, &address(&a), &[]);
    wait_until("B follows", &b, || height(&b) >= 7);
    assert_eq!(node_a.interrupt().0, Some(0));
    let known = height(&b);
    let head = block_id(&b, known).unwrap();
    fs::remove_dir_all(a.path().join("cold")).unwrap();
    fs::rename(a.path().join("backup"), a.path().join("cold")).unwrap();
    let node_a = start_with_seed(&a, &address(&b), &[]);
    wait_until("A produces blocks again", &a, || {
        status(&a)["validator"]["blocks_made"].as_u64().unwrap() >= 2
    });
    // It builds on the blocks since the backup, and has signed none of them a second time.
    assert_eq!(
        block_id(&a, known),
        Some(head.clone()),
        "{} {}",
        home_text(&a, known),
        log(&a)
    );
    wait_until("B follows A", &b, || height(&b) > known);
    assert_eq!(block_id(&b, known), Some(head));
    assert_eq!(status(&a)["validator"]["public_key"], key.as_str());
    assert_eq!(node_a.interrupt().0, Some(0));
    assert_eq!(node_b.interrupt().0, Some(0));
}

#[test]
fn full_cold_storage_halts_production_until_the_limit_is_raised() {
    let (home, _) = validator_home("full");
    let node = home.start(&RUN);
    wait_until("blocks are produced", &home, || height(&home) >= 14);
    let used = status(&home)["counters"]["cold_bytes"].as_u64().unwrap();
    assert_eq!(node.interrupt().0, Some(0));
    // Leaves room for a few more blocks.
    let limit = (used + 12_000).to_string();
    let limited = [&RUN[..], &["--cold-storage-limit", &limit]].concat();
    let node = home.start(&limited);
    wait_until("production is halted", &home, || {
        status(&home)["halted"] == true
    });
    let reported = status(&home);
    let problem = reported["problems"].to_string();
    assert!(problem.contains("no block can be stored"), "{reported}");
    assert!(problem.contains("raise cold_storage_limit"), "{reported}");
    assert_eq!(reported["validator"]["halted"], true, "{reported}");
    wait_until("the warning is shown", &home, || {
        let warnings = status(&home)["warnings"].to_string();
        warnings.contains("cold storage is 9") && warnings.contains("bytes are left")
    });
    let full_at = height(&home);
    assert_eq!(node.interrupt().0, Some(0));
    let errors = log(&home);
    let errors = errors.lines().filter(|line| line.contains("\"ERROR\""));
    let errors: Vec<&str> = errors.collect();
    assert!(
        errors.len() == 1 && errors[0].contains("production halted"),
        "{errors:?}"
    );
    let node = home.start(&RUN);
    wait_until("the chain continues", &home, || height(&home) > full_at + 1);
    assert_eq!(
        (&status(&home)["halted"], problems(&home)),
        (&false.into(), "[]".to_owned())
    );
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn follower_with_full_cold_storage_stops_at_its_last_kept_block_until_there_is_room() {
    let (a, _) = validator_home("fulla");
    let b = follower_home("fullb");
    let node_a = a.start(&RUN);
    let node_b = start_with_seed(&b, &address(&a), &[]);
    wait_until("B follows", &b, || height(&b) >= 4);
    let used = status(&b)["counters"]["cold_bytes"].as_u64().unwrap();
    assert_eq!(node_b.interrupt().0, Some(0));
    let limit = (used + 6_000).to_string();
    let node_b = start_with_seed(&b, &address(&a), &["--cold-storage-limit", &limit]);
    wait_until("B reports that it cannot store a block", &b, || {
        problems(&b).contains("cold storage limit reached")
    });
    let full_at = height(&b);
    wait_until("A is far ahead", &a, || height(&a) >= full_at + 5);
    // What it does not keep is not verified: it stays, also across a restart.
    assert!(height(&b) <= full_at + 1, "{}", status(&b));
    assert_eq!(node_b.interrupt().0, Some(0));
    let node_b = start_with_seed(&b, &address(&a), &[]);
    let from = height(&b);
    wait_until("B continues", &b, || height(&b) >= full_at + 5);
    assert!(from >= full_at, "it resumes at {from}, not at {full_at}");
    assert_eq!(problems(&b), "[]");
    let last = height(&b);
    assert_eq!(block_id(&a, last), block_id(&b, last));
    assert_eq!(node_a.interrupt().0, Some(0));
    assert_eq!(node_b.interrupt().0, Some(0));
}

#[test]
fn transaction_survives_crash_of_its_validator() {
    let (home, _) = validator_home("holds");
    let made = home.run(&["keys", "generate", "other.key", "--kind", "validation"]);
    let recipient = made.lines().remove(0).to_owned();
    let node = home.start(&RUN);
    wait_until("blocks are produced", &home, || height(&home) >= 2);
    assert_eq!(node.interrupt().0, Some(0));
    // A validator without a stake accepts transactions, but never has a slot.
    let idle = [&RUN[..], &["--validation-secret-key-file", "other.key"]].concat();
    let state = |id: &str| home.run(&["tx", "status", id, "--json"]).json();
    let node = home.start(&idle);
    wait_until("the head is loaded", &home, || height(&home) >= 2);
    let send = [
        "tx",
        "send",
        &recipient,
        "5",
        "--key-file",
        "validator.key",
        "--json",
    ];
    let sent = home.run(&send).json();
    let id = sent["id"].as_str().unwrap().to_owned();
    wait_until("it is ready", &home, || state(&id)["state"] == "pending");
    assert_eq!(state(&id)["pool_place"], 1);
    // Killed, like in a power loss: nothing is saved at the end.
    drop(node);
    let node = home.start(&idle);
    wait_until("it is ready again", &home, || {
        state(&id)["state"] == "pending"
    });
    assert!(log(&home).contains("restored the mempool"));
    assert_eq!(node.interrupt().0, Some(0));
    let node = home.start(&RUN);
    let ran: Ran = home.run(&["tx", "status", &id, "--wait", "safe:200", "--json"]);
    let included = ran.json();
    assert_eq!(included["state"], "success", "{included}");
    assert_eq!(included["confirmation"], "safe", "{included}");
    assert_eq!(node.interrupt().0, Some(0));
}

/// Service of a node that stops while a client waits for a transaction.
struct Stopping(AtomicUsize);

impl PartialService for Stopping {
    fn transaction_status(
        &self,
        params: request::TransactionStatus,
        _: &Caller,
    ) -> Result<TransactionStatusReply, RpcError> {
        if self.0.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
            let message = QueryError::Stopping.to_string();
            return Err(RpcError::new(ErrorKind::Stopping, message));
        }
        let standing = TransactionStanding::Pending;
        Ok(TransactionStatusReply::new(params.id, standing, None))
    }
}

#[test]
fn wait_distinguishes_timeout_from_stopped_node() {
    let home = Home::new("lost");
    let service = Arc::new(Stopping(AtomicUsize::new(0))) as Arc<dyn Service>;
    let server = Server::start(&home.control_socket(), service).unwrap();
    let id = "ab".repeat(32);
    home.run(&["tx", "status", &id, "--wait", "1"])
        .fails(1, &["timed out waiting for inclusion"]);
    // Covers a node that stops at the first answer and at a later one.
    for seconds in ["1", "100"] {
        let lost = home.run(&["tx", "status", &id, "--wait", seconds]);
        lost.fails(1, &["lost the connection", "state unknown", "tx status"]);
        assert!(!lost.stderr.contains("timed out"), "{lost:?}");
    }
    server.stop();
    home.run(&["tx", "status", &id, "--wait", "1"])
        .fails(1, &["no node is running"]);
}

#[test]
fn deep_fork_waits_for_the_operator_and_the_decision_persists() {
    let (a, key_a) = validator_home("forka");
    let (b, key_b) = validator_home("forkb");
    let stakes = [&key_a, &key_b].map(|key| format!("{key}=1_000"));
    let genesis = [
        "genesis",
        "--config",
        "node.toml",
        "--balance",
        &format!("{key_a}=1_000_000"),
        "--stake",
        &stakes[0],
        "--stake",
        &stakes[1],
    ];
    a.run(&genesis).lines();
    copy_dir(a.path().join("cold"), b.path().join("cold"));
    // Each node produces blocks on a separate branch.
    let deep = ["--max-reorg-depth", "2"];
    let node_a = a.start(&[&RUN[..], &deep].concat());
    let node_b = b.start(&[&RUN[..], &deep].concat());
    wait_until("A produces blocks", &a, || height(&a) >= 4);
    assert_eq!(node_a.interrupt().0, Some(0));
    wait_until("B has a longer branch", &b, || height(&b) >= 8);
    let (ours, theirs) = (block_id(&b, 1).unwrap(), a.run(&["chain", "forks"]));
    theirs.fails(
        1,
        &["no node is running", "only a running node knows forks"],
    );
    let node_a = start_with_seed(&a, &address(&b), &deep);
    wait_until("the fork is a problem", &a, || {
        problems(&a).contains("fork at block")
    });
    let reported = problems(&a);
    assert!(
        reported.contains("chain adopt") && reported.contains(&ours),
        "{reported}"
    );
    assert_ne!(block_id(&a, 1), Some(ours.clone()));
    let forks = a.run(&["chain", "forks", "--json"]).json();
    let contest = &forks["contests"][0];
    assert_eq!(contest["cause"], "needs_operator", "{forks}");
    assert_eq!(
        (&contest["height"], &contest["others"][0]["first"]),
        (&0.into(), &ours.as_str().into())
    );
    assert_eq!(contest["total_stake"], "2000", "{forks}");
    let shown = a.run(&["chain", "forks"]);
    assert!(shown.text().contains("waiting for a decision"), "{shown:?}");
    a.run(&["chain", "adopt", "zz"]).fails(2, &["the block"]);
    let adopted = a.run(&["chain", "adopt", &ours, "--json"]).json();
    assert_eq!(adopted["adopted"], ours.as_str());
    wait_until("A is on the branch of B", &a, || {
        block_id(&a, 1).as_ref() == Some(&ours)
    });
    assert!(!problems(&a).contains("fork at block"));
    assert_eq!(node_a.interrupt().0, Some(0));
    let node_a = start_with_seed(&a, &address(&b), &deep);
    let adopted = || a.run(&["chain", "forks", "--json"]).json()["adopted"].clone();
    wait_until("the decision persists", &a, || adopted() == ours.as_str());
    wait_until("A stays", &a, || block_id(&a, 1).as_ref() == Some(&ours));
    assert_eq!(node_a.interrupt().0, Some(0));
    assert_eq!(node_b.interrupt().0, Some(0));
}
