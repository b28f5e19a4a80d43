//! Nodes of the real program whose sealed pairs are in an S3-compatible object store, moto, behind a
//! proxy that fails on request.
//!
//! ```text
//! cargo run -p astreum-tests --features object-store --bin object_store
//! ```
//!
//! On its first run it installs moto into a private virtual environment below the target folder,
//! unless `MOTO_SERVER` names an installed server.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod node;
mod proxy;
mod server;

use astreum_node::store::remote::{Objects as _, ObjectsError, S3, S3Options};
use astreum_tests::testkit::{NodeProcess, program, wait};
use core::time::Duration;
use node::{Home, SECRET, text, wait_until_uploaded};
use proxy::{Mode, Proxy};
use server::Server;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const BUCKET: &str = "bucket-of-nodes";

/// Programs and servers that all cases share.
struct World {
    scratch: tempfile::TempDir,
    program: PathBuf,
    proxy: Proxy,
}

impl World {
    fn home(&self, name: &str, prefix: &str) -> Home {
        let url = format!("s3://{BUCKET}/{prefix}");
        let endpoint = self.proxy.url();
        Home::new(self.scratch.path(), name, &self.program, &endpoint, &url)
    }
}

/// Returns bytes that do not repeat.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = astreum_tests::random::Random::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Stops a node as Ctrl-C does.
fn stop(node: NodeProcess) {
    let (code, output) = node.interrupt();
    assert_eq!(code, Some(0), "{output}");
}

/// Requirements of the manifest on S3: conditional writes and reads.
fn server_compares_and_swaps(world: &World) -> Result<(), String> {
    let options = S3Options {
        bucket: BUCKET.into(),
        prefix: "conditions".into(),
        endpoint: Some(world.proxy.url()),
        ..S3Options::default()
    };
    let s3 = S3::new(&options).map_err(|error| error.to_string())?;
    let first = s3.put_if("m", b"1", None).unwrap();
    assert_eq!(s3.put_if("m", b"2", None), Err(ObjectsError::Conflict));
    let second = s3.put_if("m", b"2", Some(&first)).unwrap();
    assert_eq!(
        s3.put_if("m", b"3", Some(&first)),
        Err(ObjectsError::Conflict)
    );
    assert_eq!(s3.get("m", Some(&second)), Ok(None));
    assert_eq!(s3.get("m", Some(&first)), Ok(Some((b"2".to_vec(), second))));
    let missing = s3.get("n", None).unwrap_err();
    assert!(matches!(missing, ObjectsError::NotFound(_)), "{missing}");
    assert_eq!(
        s3.put_if("n", b"3", Some(&first)),
        Err(ObjectsError::Conflict)
    );
    // An object of several parts.
    let large = bytes(1, 40 << 20);
    let mut source = |buffer: &mut [u8], offset: u64| {
        let start = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&large[start..start + buffer.len()]);
        Ok(())
    };
    s3.upload("large", large.len() as u64, &mut source).unwrap();
    let end = large.len() - 1_000;
    assert_eq!(
        s3.get_range("large", end as u64, 1_000).unwrap(),
        large[end..]
    );
    let beyond = s3.get_range("large", end as u64, 2_000);
    assert!(beyond.is_err() || beyond.is_ok_and(|found| found == large[end..]));
    s3.upload("pairs/x", 3, &mut |buffer, _| {
        buffer.copy_from_slice(b"xyz");
        Ok(())
    })
    .unwrap();
    let listed = s3.list("pairs/").unwrap();
    assert_eq!(
        (listed.len(), listed[0].key.as_str(), listed[0].len),
        (1, "pairs/x", 3)
    );
    s3.delete("large").unwrap();
    s3.delete("large").unwrap();
    Ok(())
}

/// Put, upload, restart, get; a second node reads the same pairs.
fn nodes_share_pairs(world: &World) -> Result<(), String> {
    let (a, b) = (
        world.home("share-a", "share"),
        world.home("share-b", "share"),
    );
    let running = a.start()?;
    let file = bytes(2, 3_000_000);
    let id = a.put(&file)?;
    wait_until_uploaded(&running)?;
    print_counters("put of 3 MB", &running.status().counters);
    stop(running);
    let running = a.start()?;
    assert_eq!(a.get(&id)?, file);
    let reader = b.start()?;
    // What is still in the journal of the other node is on that node only.
    stop(running);
    let collated = a.run(&["store", "collate"]);
    assert!(collated.status.success(), "{}", text(&collated));
    wait::wait_within(Duration::from_secs(60), "the reader sees the pairs", || {
        Ok(b.get(&id).ok().filter(|found| *found == file).map(drop))
    })?;
    print_counters("get of 3 MB by another node", &reader.status().counters);
    let status = reader.status();
    assert_eq!(status.problems, [] as [&str; 0]);
    assert!(
        status
            .warnings
            .iter()
            .any(|it| it.contains("nothing is pruned"))
    );
    stop(reader);
    Ok(())
}

fn print_counters(what: &str, counters: &std::collections::BTreeMap<String, u64>) {
    let ours = counters
        .iter()
        .filter(|(name, _)| name.starts_with("object_store_"));
    let ours: Vec<String> = ours
        .map(|(name, count)| format!("{}={count}", &name["object_store_".len()..]))
        .collect();
    println!("    {what}: {}", ours.join(" "));
}

/// Reads fail with the reason while the store does not answer, and work again afterwards.
fn failures_are_reported_and_end(world: &World) -> Result<(), String> {
    let (a, b) = (world.home("fail-a", "fail"), world.home("fail-b", "fail"));
    let running = a.start()?;
    let file = bytes(3, 400_000);
    let ids: Vec<String> = (0..5)
        .map(|seed| a.put(&bytes(100 + seed, 400_000)))
        .collect::<Result<_, _>>()?;
    stop(running);
    let collated = a.run(&["store", "collate"]);
    assert!(collated.status.success(), "{}", text(&collated));
    let modes = [Mode::Refuse, Mode::Hang, Mode::Unavailable, Mode::Cut];
    for (mode, (seed, id)) in modes.into_iter().zip((0..).zip(&ids)) {
        let mut b = world.home(&format!("fail-{mode:?}"), "fail");
        b.option("--cold-storage-level-size", "100000000");
        let running = b.start()?;
        world.proxy.set(mode);
        let started = Instant::now();
        let error = b.get(id).unwrap_err();
        assert!(
            error.contains("cannot be read") && error.contains("not available"),
            "{mode:?}: {error}"
        );
        println!(
            "    {mode:?}: {:.1} s: {}",
            started.elapsed().as_secs_f64(),
            error.trim()
        );
        let problems = running.status().problems;
        assert!(
            problems.iter().any(|it| it.contains("object store s3://")),
            "{mode:?}: {problems:?}"
        );
        // Writes are acknowledged meanwhile, and what is absent is reported as that.
        let own = b.put(&file)?;
        assert_eq!(b.get(&own)?, file);
        let absent = b.get(&"11".repeat(32)).unwrap_err();
        assert!(!absent.contains("cannot be read"), "{absent}");
        world.proxy.set(Mode::Pass);
        let expected = bytes(100 + seed, 400_000);
        wait::wait_within(Duration::from_secs(30), "reads work again", || {
            Ok(b.get(id).ok().filter(|found| *found == expected).map(drop))
        })?;
        wait::wait_within(Duration::from_secs(30), "the problem ends", || {
            Ok(running.status().problems.is_empty().then_some(()))
        })?;
        stop(running);
    }
    // A node does not start without the manifest.
    world.proxy.set(Mode::Refuse);
    let refused = b
        .start()
        .err()
        .ok_or("a node started without the object store")?;
    world.proxy.set(Mode::Pass);
    assert!(refused.contains("exited"), "{refused}");
    let output = fs::read_to_string(b.path.join("output")).unwrap_or_default();
    assert!(output.contains("cannot open the object store"), "{output}");
    Ok(())
}

/// Answers to writes are lost while two nodes write; one is killed repeatedly.
fn writers_lose_nothing(world: &World) -> Result<(), String> {
    let homes = [
        world.home("write-a", "write"),
        world.home("write-b", "write"),
    ];
    let mut stored: Vec<(String, Vec<u8>)> = Vec::new();
    let mut running = vec![homes[0].start()?, homes[1].start()?];
    for round in 0..6 {
        world.proxy.set(match round % 3 {
            1 => Mode::LoseAnswers,
            _ => Mode::Pass,
        });
        for (at, home) in homes.iter().enumerate() {
            let file = bytes(1_000 + round * 2 + at as u64, 350_000);
            stored.push((home.put(&file)?, file));
        }
        std::thread::sleep(Duration::from_millis(300 * round));
        world.proxy.set(Mode::Pass);
        let mut killed = running.remove(0);
        killed.kill()?;
        // Waits until it has ended.
        drop(killed);
        running.insert(0, homes[0].start()?);
    }
    for node in running {
        stop(node);
    }
    for home in &homes {
        let merged = home.run(&["store", "collate"]);
        assert!(merged.status.success(), "{}", text(&merged));
    }
    for home in &homes {
        let merged = home.run(&["store", "merge"]);
        assert!(merged.status.success(), "{}", text(&merged));
        let verified = home.run(&["store", "verify"]);
        assert!(verified.status.success(), "{}", text(&verified));
        let running = home.start()?;
        for (id, file) in &stored {
            assert!(home.get(id)? == *file, "{id} is lost");
        }
        stop(running);
    }
    Ok(())
}

/// A validator makes blocks, through an outage and a restart.
fn validator_makes_blocks(world: &World) -> Result<(), String> {
    let mut home = world.home("chain", "chain");
    let made = home.plain(&["keys", "generate", "key", "--kind", "validation"]);
    let made = text(&made);
    let validator = made.lines().next().ok_or("no key was made")?;
    home.option("--validation-secret-key-file", "key");
    // So small that every few blocks are uploaded.
    home.option("--cold-storage-level-size", "30000");
    let balance = format!("{validator}=1_000_000");
    let genesis = ["genesis", "--balance", &balance, "--balance", "treasury=1"];
    let genesis = home.run(&genesis);
    assert!(genesis.status.success(), "{}", text(&genesis));
    let running = home.start()?;
    let grows = |node: &NodeProcess, more: u64| {
        let height = || node.status().chain.height.unwrap_or(0);
        let wanted = height() + more;
        let limit = Duration::from_secs(90);
        wait::wait_within(limit, "the chain grows", || {
            Ok((height() >= wanted).then_some(()))
        })
    };
    grows(&running, 12)?;
    wait_until_uploaded(&running)?;
    // Its own state is in memory, in the journals and in the cache.
    world.proxy.set(Mode::Refuse);
    grows(&running, 3)?;
    wait::wait_within(Duration::from_secs(30), "the outage is reported", || {
        Ok((!running.status().problems.is_empty()).then_some(()))
    })?;
    assert!(!running.status().halted);
    world.proxy.set(Mode::Pass);
    grows(&running, 3)?;
    let height = running.status().chain.height;
    stop(running);
    let running = home.start()?;
    wait::wait_within(Duration::from_secs(60), "the chain resumes", || {
        Ok((running.status().chain.height >= height).then_some(()))
    })?;
    grows(&running, 3)?;
    stop(running);
    let verified = home.run(&["store", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
    Ok(())
}

/// Commands on such a store.
fn commands_work_or_say_why_not(world: &World) -> Result<(), String> {
    let a = world.home("commands", "commands");
    let refused = a.run(&["store", "stat"]);
    assert!(
        text(&refused).contains("no cold storage"),
        "{}",
        text(&refused)
    );
    let running = a.start()?;
    let file = bytes(4, 1_000_000);
    let id = a.put(&file)?;
    let collected = a.run_beside(&["store", "gc"]);
    assert!(
        !collected.status.success() && text(&collected).contains("refusing to collect garbage"),
        "{}",
        text(&collected)
    );
    let backed_up = a.ask(&["backup", "copy"]);
    assert!(backed_up.status.success(), "{}", text(&backed_up));
    stop(running);
    for (arguments, expected) in [
        (
            &["store", "gc", "--dry-run"][..],
            "refusing to collect garbage",
        ),
        (&["store", "collate"], "level"),
        (&["store", "verify"], " 0 damaged"),
        (&["store", "stat"], "level"),
        (&["store", "export", "exported"], "exported"),
        (&["store", "repair"], "nothing to repair"),
    ] {
        let ran = a.run(arguments);
        assert!(
            text(&ran).contains(expected),
            "{arguments:?}: {}",
            text(&ran)
        );
    }
    // A backup is a plain directory.
    let mut copy = world.home("copy", "unused");
    copy.option(
        "--cold-storage-path",
        &a.path.join("copy").to_string_lossy(),
    );
    copy.option("--cold-storage-local-path", "");
    let running = copy.start()?;
    assert_eq!(copy.get(&id)?, file);
    stop(running);
    // The local directory is not a store of its own, and belongs to this address.
    let mut plain = world.home("commands", "commands");
    plain.option("--cold-storage-path", "cold");
    plain.option("--cold-storage-local-path", "");
    let ran = plain.run(&["store", "stat"]);
    assert!(text(&ran).contains("object store"), "{}", text(&ran));
    let ran = world.home("commands", "other").run(&["store", "stat"]);
    assert!(
        text(&ran).contains("belongs to the object store"),
        "{}",
        text(&ran)
    );
    let mut none = world.home("none", "none");
    none.option("--cold-storage-path", "s3://no-such-bucket/x");
    let refused = none
        .start()
        .err()
        .ok_or("a node started without a bucket")?;
    let output = fs::read_to_string(none.path.join("output")).unwrap_or_default();
    assert!(output.contains("NoSuchBucket"), "{refused}: {output}");
    Ok(())
}

/// No file and no output of a node has the secret.
fn secrets_stay_secret(world: &World) -> Result<(), String> {
    let mut files = 0;
    let mut dirs = vec![world.scratch.path().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                files += 1;
                let found = bytes
                    .windows(SECRET.len())
                    .any(|it| it == SECRET.as_bytes());
                assert!(!found, "{} has the secret key", path.display());
            }
        }
    }
    assert!(files > 20);
    Ok(())
}

type Case = (&'static str, fn(&World) -> Result<(), String>);

const CASES: [Case; 7] = [
    ("server compares and swaps", server_compares_and_swaps),
    ("nodes share pairs", nodes_share_pairs),
    (
        "failures are reported and end",
        failures_are_reported_and_end,
    ),
    ("writers lose nothing", writers_lose_nothing),
    ("validator makes blocks", validator_makes_blocks),
    ("commands work or say why not", commands_work_or_say_why_not),
    ("secrets stay secret", secrets_stay_secret),
];

/// Builds the program with support for object stores, and with the features that this executable was
/// built with, so that only the program itself is compiled.
fn build() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = own.parent().ok_or("this executable has no directory")?;
    let mut build = program::cargo();
    build
        .args(["build", "--quiet", "--locked"])
        .args(["--package", "astreum-node", "--package", "astreum-tests"])
        .args(["--features", "astreum-tests/object-store"])
        .args(["--bin", "astreum"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    if folder.ends_with("release") {
        build.arg("--release");
    }
    program::succeed(
        &mut build,
        "build the program with the feature object-store",
    )?;
    // Other tests build the program without the feature, at the same place.
    let copy = folder.join("astreum-object-store");
    let copied = fs::copy(folder.join("astreum"), &copy);
    copied.map_err(|error| format!("cannot copy the program: {error}"))?;
    Ok(copy)
}

fn prepare() -> Result<(Server, World), String> {
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let server = Server::start(&scratch.path().join("moto.log"))?;
    let created = server.create_bucket(BUCKET);
    created.map_err(|error| format!("cannot create a bucket: {error}"))?;
    let proxy = Proxy::start(server.address).map_err(|error| error.to_string())?;
    let program = build()?;
    let world = World {
        scratch,
        program,
        proxy,
    };
    Ok((server, world))
}

/// Runs this program again with credentials in its environment, which its own client reads.
fn run_with_credentials() -> ExitCode {
    let own = std::env::current_exe().expect("this executable has a path");
    let status = Command::new(own)
        .args(std::env::args_os().skip(1))
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .status();
    match status.map(|status| status.code()) {
        Ok(Some(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ok(None) | Err(_) => ExitCode::FAILURE,
    }
}

fn main() -> ExitCode {
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_none() {
        return run_with_credentials();
    }
    let filters: Vec<String> = std::env::args().skip(1).collect();
    // The server is dropped, and so ended, last.
    let (_server, world) = match prepare() {
        Ok(prepared) => prepared,
        Err(problem) => {
            eprintln!("object_store: {problem}");
            return ExitCode::from(2);
        }
    };
    let mut failed = 0;
    for (name, case) in CASES {
        let is_wanted = filters.is_empty() || filters.iter().any(|it| name.contains(it.as_str()));
        if !is_wanted {
            continue;
        }
        let started = Instant::now();
        let run = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| case(&world)));
        world.proxy.set(Mode::Pass);
        let seconds = started.elapsed().as_secs_f64();
        match run {
            Ok(Ok(())) => println!("ok      {name} ({seconds:.1} s)"),
            Ok(Err(problem)) => {
                failed += 1;
                println!("FAILED  {name} ({seconds:.1} s): {problem}");
            }
            Err(_) => {
                failed += 1;
                println!("FAILED  {name} ({seconds:.1} s)");
            }
        }
    }
    ExitCode::from(u8::from(failed > 0))
}
