//! Command `astreum signer`, with real processes: production through a signer, restarts of both
//! sides, two nodes with one signer, and a hostile node.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Instant;

use astreum_core::atom::AtomId;
use astreum_core::chain::{Address, Block, Header};
use astreum_core::integer::Natural;
use astreum_node::chain_service::signer::protocol::{CompactBlock, Decimal, Reply, Request, line};
use astreum_tests::testkit::Home;
use serde_json::Value;

use super::fixtures::{RUN, height, status};

/// Time limit of any wait.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Running signer; killed when it is dropped.
struct Signer {
    child: Child,
    socket: PathBuf,
}

impl Signer {
    /// Starts a signer in `home` and waits until it listens.
    fn start(home: &Home, more: &[&str]) -> Self {
        let arguments = [
            "signer",
            "--key-file",
            "validator.key",
            "--record-dir",
            "record",
        ];
        let mut command =
            home.command(&[&arguments[..], &["--socket", "signer.sock"], more].concat());
        let socket = home.path().join("signer.sock");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let mut signer = Self { child, socket };
        let deadline = Instant::now() + WAIT_TIMEOUT;
        while UnixStream::connect(&signer.socket).is_err() {
            if let Some(code) = signer.child.try_wait().unwrap() {
                let mut text = String::new();
                let stderr = signer.child.stderr.as_mut().unwrap();
                stderr.read_to_string(&mut text).unwrap();
                panic!("the signer ended with {code}: {text}");
            }
            assert!(Instant::now() < deadline, "the signer does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        signer
    }

    /// Ends the process at once, as the kernel does.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Creates a home with a validator's key and a configuration that names a signer; returns the
/// public key too.
fn signer_home(name: &str) -> (Home, String) {
    let home = Home::new(name);
    let made = home.run(&["keys", "generate", "validator.key", "--kind", "validation"]);
    let key = made.lines().remove(0).to_owned();
    home.file("node.toml", configuration(&key, "signer.sock", ""));
    (home, key)
}

fn configuration(key: &str, socket: &str, more: &str) -> String {
    format!(
        "incoming_port = 0\ndefault_seed = \"\"\ncold_storage_path = \"cold\"\n\
         validation_signer = \"{socket}\"\nvalidation_public_key = \"{key}\"\n{more}"
    )
}

fn problems(home: &Home) -> String {
    status(home).get("problems").unwrap().to_string()
}

fn wait_for_height(home: &Home, least: u64) {
    let mut seen = 0;
    wait_until(&format!("height {least}"), || {
        seen = height(home);
        seen >= least
    });
}

/// Returns the blocks of the running node's chain, by height.
fn chain(home: &Home) -> Vec<Value> {
    let head = height(home);
    (0..=head)
        .map(|height| {
            home.run(&["block", "show", &height.to_string(), "--json"])
                .json()
        })
        .collect()
}

/// Returns the signing record.
fn record(directory: &Path) -> Value {
    let files = fs::read_dir(directory).unwrap().flatten();
    let mut files = files.filter(|file| file.file_name().to_string_lossy().starts_with("signed_"));
    let text = fs::read_to_string(files.next().unwrap().path()).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn node_produces_through_a_signer_and_survives_restarts_of_both() {
    let (home, key) = signer_home("signer");
    // The node starts without its signer, says so, and follows.
    let node = home.start(&RUN);
    wait_until("the problem is in the status", || {
        problems(&home).contains("the signer at")
    });
    assert_eq!(status(&home)["halted"], true);
    let signer = Signer::start(&home, &["--new-record"]);
    wait_for_height(&home, 3);
    assert_eq!(problems(&home), "[]");
    // The node never has the key.
    let listed = home
        .run(&["keys", "--config", "node.toml", "--json"])
        .json();
    assert_eq!(listed["keys"][1]["source"], "signer");
    assert_eq!(listed["keys"][1]["public_key"], key.as_str());
    // The signer is killed and comes back.
    signer.kill();
    wait_until("the loss is in the status", || {
        problems(&home).contains("cannot be used")
    });
    let at = height(&home);
    let signer = Signer::start(&home, &[]);
    wait_for_height(&home, at + 3);
    // The node is killed, the signer stays.
    drop(node);
    let node = home.start(&RUN);
    let at = height(&home);
    wait_for_height(&home, at + 3);
    // Both at once, several times, in different moments of a slot.
    let (mut node, mut signer) = (node, signer);
    for pause in [700, 1_300, 1_900] {
        std::thread::sleep(Duration::from_millis(pause));
        drop(node);
        signer.kill();
        signer = Signer::start(&home, &[]);
        node = home.start(&RUN);
        let at = height(&home);
        wait_for_height(&home, at + 2);
    }
    // One block for each height, with rising times, all of the key.
    let blocks = chain(&home);
    let mut last = 0;
    for block in &blocks[1..] {
        assert_eq!(block["validator"], key.as_str());
        let time = block["timestamp"].as_u64().unwrap();
        assert!(time > last);
        last = time;
    }
    assert_eq!(node.interrupt().0, Some(0));
    drop(signer);
    // A second record is not begun by accident.
    let again = [
        "signer",
        "--key-file",
        "validator.key",
        "--socket",
        "s",
        "--record-dir",
    ];
    home.run(&[&again[..], &["record", "--new-record"]].concat())
        .fails(1, &["exists", "omit --new-record"]);
    home.run(&[&again[..], &["other"]].concat())
        .fails(1, &["missing signing record", "--new-record"]);
}

#[test]
fn two_nodes_with_one_signer_never_publish_conflicting_blocks() {
    let (a, key) = signer_home("twoa");
    let b = Home::new("twob");
    let signer = Signer::start(&a, &["--new-record"]);
    let node_a = a.start(&RUN);
    wait_for_height(&a, 2);
    let address = status(&a)["listen_address"]
        .as_str()
        .unwrap()
        .replace("0.0.0.0", "127.0.0.1");
    let socket = signer.socket.display().to_string();
    let seed = format!("additional_seeds = [\"{address}\"]\n");
    b.file("node.toml", configuration(&key, &socket, &seed));
    let node_b = b.start(&RUN);
    wait_until("B follows", || height(&b) >= 2);
    // Both request signatures for a while. Either may be the one that signs.
    let end = Instant::now() + Duration::from_secs(45);
    let mut seen: BTreeMap<u64, String> = BTreeMap::new();
    while Instant::now() < end {
        for home in [&a, &b] {
            let at = height(home);
            let block = home
                .run(&["block", "show", &at.to_string(), "--json"])
                .json();
            let id = block["id"].as_str().unwrap().to_owned();
            let known = seen
                .entry(block["height"].as_u64().unwrap())
                .or_insert(id.clone());
            assert_eq!(*known, id, "two blocks of height {at}");
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(seen.len() > 2, "{seen:?}");
    let marks = record(&a.path().join("record"));
    let marks = marks["blocks"].as_array().unwrap();
    let of = |name: &str| -> Vec<u64> {
        marks
            .iter()
            .map(|mark| mark[name].as_u64().unwrap())
            .collect()
    };
    for values in [of("height"), of("timestamp")] {
        assert!(
            values.windows(2).all(|pair| pair[0] < pair[1]),
            "{values:?}"
        );
    }
    assert_eq!(node_b.interrupt().0, Some(0));
    assert_eq!(node_a.interrupt().0, Some(0));
}

/// Returns a block that the signer may sign next.
fn request(key: &str, parent: u32, height: u64, timestamp: u64) -> Request {
    let mut parent_id = [7; 32];
    parent_id[..4].copy_from_slice(&parent.to_be_bytes());
    let validator: [u8; 32] = hex::decode(key).unwrap().try_into().unwrap();
    let header = Header {
        chain_id: Natural::ZERO,
        height: height.into(),
        previous: AtomId::new(parent_id),
        timestamp: timestamp.into(),
        difficulty: Natural::ONE,
        cumulative_stake: Natural::ZERO,
        cumulative_burn: Natural::ZERO,
        cumulative_mint: Natural::ZERO,
        cumulative_total_fees: Natural::ZERO,
        total_fees: Natural::ZERO,
        accounts: AtomId::new([1; 32]),
        transactions: AtomId::ZERO,
        receipts: AtomId::ZERO,
        validator: Address::new(validator),
        nonce: Natural::ZERO,
    };
    Request::Sign {
        block: CompactBlock(header.signed(None)),
        previous_difficulty: Decimal(Natural::ONE),
        search_milliseconds: 2_000,
    }
}

fn ask(socket: &Path, request: &Request) -> Option<Reply> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    stream.write_all(&line(request)).ok()?;
    let mut text = String::new();
    BufReader::new(stream).read_line(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn now() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn killed_signer_never_signs_twice() {
    let (home, key) = signer_home("killed");
    drop(Signer::start(&home, &["--new-record"]));
    let socket = home.path().join("signer.sock");
    let released: Arc<std::sync::Mutex<Vec<Block>>> = Arc::default();
    let ends = Arc::new(AtomicBool::new(false));
    let start = now() - 100_000;
    // Four hostile nodes ask for everything, also for the same slots, heights and parents.
    let nodes: Vec<_> = (0..4_u32)
        .map(|node| {
            let (socket, key) = (socket.clone(), key.clone());
            let (released, ends) = (Arc::clone(&released), Arc::clone(&ends));
            std::thread::spawn(move || {
                let mut step = 0_u32;
                while !ends.load(Ordering::Relaxed) {
                    step += 1;
                    let height = u64::from(step / 2 + node % 2);
                    let parent = step.wrapping_mul(2_654_435_761) % 64 + step / 3;
                    let request = request(&key, parent, height.max(1), start + u64::from(step));
                    match ask(&socket, &request) {
                        Some(Reply::Signed { block }) => released.lock().unwrap().push(block.0),
                        Some(_) => {}
                        None => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            })
        })
        .collect();
    for round in 0..12_u64 {
        let signer = Signer::start(&home, &[]);
        std::thread::sleep(Duration::from_millis(150 + 37 * round));
        signer.kill();
    }
    ends.store(true, Ordering::Relaxed);
    for node in nodes {
        node.join().unwrap();
    }
    let mut blocks = released.lock().unwrap().clone();
    assert!(blocks.len() > 20, "{} blocks", blocks.len());
    // The same block may have been released to several.
    blocks.sort_by_key(|block| block.timestamp.to_u64());
    blocks.dedup_by_key(|block| block.id());
    for pair in blocks.windows(2) {
        assert!(
            pair[0].timestamp < pair[1].timestamp,
            "two blocks for a slot"
        );
        assert!(pair[0].height < pair[1].height, "two blocks for a height");
    }
    // Valid blocks on one parent have one height.
    assert!(blocks.iter().all(|block| block.verify_signature().is_ok()));
    // What was released last is in the record.
    let newest = blocks.last().unwrap();
    let record = record(&home.path().join("record"));
    let marks = record["blocks"].as_array().unwrap();
    let last = marks.last().unwrap()["timestamp"].as_u64();
    assert!(last >= newest.timestamp.to_u64());
}

#[test]
fn nonsense_on_the_socket_changes_nothing() {
    let (home, key) = signer_home("nonsense");
    let signer = Signer::start(&home, &["--new-record"]);
    let before = record(&home.path().join("record"));
    let send = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(&signer.socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let _ = stream.write_all(bytes);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        reply
    };
    let line_of = |request: Request| String::from_utf8(line(&request)).unwrap();
    let good = line_of(request(&key, 1, 5, now()));
    for bytes in [
        &b"\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"{\"request\":\"export_key\"}\n",
        b"\xff\xfe\n",
        &[b'x'; 100_000],
        good.replace("\"request\"", "\"reply\"").as_bytes(),
        good.replacen("\"block\":\"0", "\"block\":\"f", 1)
            .as_bytes(),
        // A body that is not that of a block cannot be expressed, and a hash cannot either.
        format!(
            "{{\"request\":\"sign\",\"hash\":\"{}\"}}\n",
            "07".repeat(32)
        )
        .as_bytes(),
    ] {
        assert_eq!(send(bytes), b"", "{:?}", String::from_utf8_lossy(bytes));
    }
    for (request, expected) in [
        (request(&"02".repeat(32), 1, 5, now()), "another validator"),
        (request(&key, 1, 5, now() + 1_000), "signer's clock"),
        (request(&key, 1, 0, now()), "no parent"),
    ] {
        let Some(Reply::Refused { reason, .. }) = ask(&signer.socket, &request) else {
            panic!("{expected}");
        };
        assert!(reason.contains(expected), "{reason}");
    }
    // Connections that say nothing do not exclude the others for long, and never block a request.
    let idle: Vec<_> = (0..6)
        .map(|_| UnixStream::connect(&signer.socket).unwrap())
        .collect();
    assert_eq!(record(&home.path().join("record")), before);
    // A search ends with its connection: the next one does not wait for it.
    let Request::Sign { block, .. } = request(&key, 1, 5, now()) else {
        unreachable!()
    };
    let hard = Request::Sign {
        block: CompactBlock({
            let mut header = block.0.header().clone();
            header.difficulty = 250_u64.into();
            header.signed(None)
        }),
        previous_difficulty: Decimal(250_u64.into()),
        search_milliseconds: 30_000,
    };
    let mut stream = UnixStream::connect(&signer.socket).unwrap();
    stream.write_all(&line(&hard)).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(stream);
    let started = Instant::now();
    let reply = ask(&signer.socket, &request(&key, 1, 5, now()));
    assert!(matches!(reply, Some(Reply::Signed { .. })), "{reply:?}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    drop(idle);
}

#[test]
fn signer_with_another_key_or_chain_is_reported() {
    let (home, _) = signer_home("mismatch");
    home.file(
        "node.toml",
        configuration(&"02".repeat(32), "signer.sock", ""),
    );
    home.run(&RUN)
        .fails(2, &["validation_public_key: not an Ed25519 public key"]);
    let other = home.run(&["keys", "generate", "b.key", "--kind", "validation"]);
    let other = other.lines()[0].to_owned();
    home.file("node.toml", configuration(&other, "signer.sock", ""));
    let signer = Signer::start(&home, &["--new-record"]);
    let node = home.start(&RUN);
    wait_until("the mismatch is in the status", || {
        problems(&home).contains("not that of validation_public_key")
    });
    assert_eq!(node.interrupt().0, Some(0));
    drop(signer);
    let both = "validation_secret_key_file = \"validator.key\"\n";
    home.file("node.toml", configuration(&other, "signer.sock", both));
    home.run(&RUN)
        .fails(2, &["validation_signer", "set only one of them"]);
    home.file("node.toml", "validation_signer = \"signer.sock\"\n");
    home.run(&RUN).fails(2, &["validation_public_key"]);
}

#[test]
fn failed_start_leaves_neither_record_nor_socket_behind() {
    let (home, _) = signer_home("failedstart");
    let signer = Signer::start(&home, &["--new-record"]);
    let start = |socket: &str, directory: &str, more: &[&str]| {
        let arguments = ["signer", "--key-file", "validator.key", "--socket", socket];
        home.run(&[&arguments[..], &["--record-dir", directory], more].concat())
    };
    // The socket is in use: no record is created, which a start without the flag would accept.
    start("signer.sock", "other", &["--new-record"]).fails(1, &["in use by another signer"]);
    start("s", "other", &[]).fails(1, &["missing signing record"]);
    start("s", "record", &[]).fails(1, &["--record-dir", "in use by another process"]);
    for path in ["other", "s"] {
        assert!(!home.path().join(path).exists(), "{path}");
    }
    assert!(UnixStream::connect(&signer.socket).is_ok());
    drop(signer);
}
