//! Control socket as `docs/rpc.md` and `docs/rpc-schema.json` describe it.

use super::running::start;
use super::support::eventually;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::crypto::PublicKey;
use astreum_node::query::BlockAt;
use astreum_node::rpc::codec::{Frame, FrameReader, encode_message};
use astreum_node::rpc::{AccountName, Method, request, schema};
use astreum_tests::testkit::NodeProcess;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

const PAGE: &str = include_str!("../../../node/docs/rpc.md");
const SCHEMA: &str = include_str!("../../../node/docs/rpc-schema.json");

#[test]
fn schema_file_matches_the_types() {
    assert!(
        format!("{:#}\n", schema()) == SCHEMA,
        "docs/rpc-schema.json differs from the types; `cargo run -p astreum-node --example \
         rpc_schema` prints it"
    );
}

/// Returns the name of a type as in the table of methods.
fn type_name(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return format!("`{}`", reference.rsplit('/').next().unwrap());
    }
    match schema["type"].as_str().unwrap() {
        "array" => format!("list of {}", type_name(&schema["items"])),
        name => name.to_owned(),
    }
}

#[test]
fn method_table_matches_the_types() {
    let schema = schema();
    let methods = schema["methods"].as_array().unwrap();
    let expected: Vec<String> = methods
        .iter()
        .map(|method| {
            let params = method["params"].as_array().unwrap().iter().map(|param| {
                let mark = if param["required"] == true { "" } else { "?" };
                format!("`{}`{mark}", param["name"].as_str().unwrap())
            });
            let params = params.collect::<Vec<_>>().join(", ");
            let name = method["name"].as_str().unwrap();
            let summary = method["summary"].as_str().unwrap().trim_end_matches('.');
            let result = type_name(&method["result"]["schema"]);
            format!("| `{name}` | {params} | {result} | {summary} |")
        })
        .collect();
    let (_, table) = PAGE.split_once("## Methods").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(rows, expected, "the rows are\n{}", expected.join("\n"));
}

#[test]
fn example_session_matches_a_node() {
    let running = start("session", &[]);
    let (_, session) = PAGE.split_once("## Example").unwrap();
    let mut stream = UnixStream::connect(running.socket()).unwrap();
    let mut reader = FrameReader::new();
    let (mut sent, mut received) = (0, 0);
    for line in session.lines() {
        if let Some(message) = line.strip_prefix("--> ") {
            let frame = encode_message(message.as_bytes()).unwrap();
            if sent == 0 {
                let header = frame[..5].iter().map(|byte| format!("{byte:02x}"));
                let header = header.collect::<Vec<_>>().join(" ");
                assert!(session.contains(&format!("`{header}`")), "{header}");
            }
            stream.write_all(&frame).unwrap();
            sent += 1;
        } else if let Some(message) = line.strip_prefix("<-- ") {
            let mut byte = [0];
            let reply = loop {
                stream.read_exact(&mut byte).unwrap();
                if let Some(frame) = reader.read(&mut &byte[..]).unwrap() {
                    break frame;
                }
            };
            let Frame::Message(reply) = reply else {
                panic!("{reply:?}");
            };
            let expected: Value = serde_json::from_str(message).unwrap();
            let reply: Value = serde_json::from_slice(&reply).unwrap();
            assert_eq!(reply, expected, "{reply}");
            received += 1;
        }
    }
    assert!(sent == 9 && received == 8, "{sent} and {received}");
}

/// Checks a value against its schema; returns the path of the first part that does not conform.
fn check(schema: &Value, value: &Value, document: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return check(target.unwrap(), value, document);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let fits = |option: &Value| check(option, value, document).is_ok();
        return options
            .iter()
            .any(fits)
            .then_some(())
            .ok_or_else(|| format!(": {value}"));
    }
    let fits = match (schema["type"].as_str(), value) {
        (None, _) | (Some("null"), Value::Null) | (Some("boolean"), Value::Bool(_)) => true,
        (Some("integer"), Value::Number(number)) => {
            let most = schema["maximum"].as_u64().unwrap_or(u64::MAX);
            number.as_u64().is_some_and(|number| number <= most)
        }
        (Some("string"), Value::String(text)) => fits_text(schema, text),
        (Some("array"), Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                check(&schema["items"], item, document)
                    .map_err(|error| format!("[{at}]{error}"))?;
            }
            true
        }
        (Some("object"), Value::Object(fields)) => {
            for (name, field) in fields {
                let property = schema["properties"].get(name);
                let property = property.unwrap_or(&schema["additionalProperties"]);
                assert!(property.is_object(), "{name} is not in the schema");
                check(property, field, document).map_err(|error| format!(".{name}{error}"))?;
            }
            let required = schema["required"].as_array().into_iter().flatten();
            let mut names = required.map(|name| name.as_str().unwrap());
            names.all(|name| fields.contains_key(name))
        }
        _ => false,
    };
    fits.then_some(()).ok_or_else(|| format!(": {value}"))
}

fn fits_text(schema: &Value, text: &str) -> bool {
    let is_hex = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_one = schema["enum"].as_array();
    let is_one = is_one.is_none_or(|words| words.iter().any(|word| word == text));
    is_one
        && match schema["pattern"].as_str() {
            None => true,
            Some("^[0-9a-f]{64}$") => is_hex && text.len() == 64,
            Some("^([0-9a-f]{2})*$") => is_hex && text.len().is_multiple_of(2),
            Some("^[0-9]+$") => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
            Some(other) => panic!("unknown pattern {other}"),
        }
}

/// Methods whose replies need more than a validator with an empty chain, and the tests of them.
const ELSEWHERE: [(&str, &str); 16] = [
    ("get_atoms", "rpc::server::tests::transfers"),
    ("put_atoms", "rpc::server::tests::transfers"),
    ("history", "cli::history"),
    ("send_transaction", "cli::validating"),
    ("resend_transaction", "cli::validating"),
    ("transaction", "cli::validating"),
    ("adopt_fork", "cli::operations"),
    ("damaged", "cli::damage"),
    ("pin", "cli::pruning"),
    ("unpin", "cli::pruning"),
    ("pins", "cli::pruning"),
    ("prune", "cli::pruning"),
    ("back_up", "cli::backup"),
    ("subscribe", "nodes::http"),
    ("unsubscribe", "nodes::http"),
    ("authenticate", "nodes::http"),
];

/// Node whose replies are compared with the schema.
struct Conforming {
    running: NodeProcess,
    document: Value,
    asked: BTreeSet<&'static str>,
}

impl Conforming {
    fn ask<M: Method>(&mut self, request: &M) -> M::Reply {
        self.asked.insert(M::NAME);
        let reply = self.running.ask(request);
        let methods = self.document.get("methods").unwrap();
        let mut methods = methods.as_array().unwrap().iter();
        let method = methods.find(|method| method["name"] == M::NAME);
        let schema = method.and_then(|method| method.pointer("/result/schema"));
        let value = serde_json::to_value(&reply).unwrap();
        if let Err(error) = check(schema.unwrap(), &value, &self.document) {
            panic!("result of {}{error}", M::NAME);
        }
        reply
    }
}

#[test]
fn replies_of_a_validator_conform_to_the_schema() {
    let chain = std::env::temp_dir().join(format!("astreum-rpc-chain-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&chain);
    let secret = "09".repeat(32);
    let chain_dir = chain.to_str().unwrap();
    let flags = ["--validation-secret-key", &secret, "--chain-dir", chain_dir];
    let mut node = Conforming {
        running: start("conforms", &flags),
        document: schema(),
        asked: BTreeSet::new(),
    };
    eventually("a block is made", || {
        let status = node.ask(&request::Status {});
        status.chain.height >= Some(1)
    });
    let atom = Atom::bytes(*b"some bytes");
    let id = atom.id();
    let atoms = vec![atom];
    node.ask(&request::Put { atoms });
    node.ask(&request::Get { id });
    node.ask(&request::GetList { id });
    node.ask(&request::Peers {});
    node.ask(&request::Providers { id });
    let advertise = request::Advertise {
        id,
        list: false,
        expires_seconds: Some(60),
    };
    node.ask(&advertise);
    node.ask(&request::Advertised {});
    node.ask(&request::Withdraw { id });
    let source = "(1 2 add)".to_owned();
    let eval = request::Eval {
        source,
        limit: Some(1_000),
        fetch_seconds: None,
    };
    node.ask(&eval);
    let at = BlockAt::Head;
    let block = request::Block {
        at,
        transactions: 5,
        skip: 0,
    };
    node.ask(&block);
    let blocks = request::Blocks { from: at, count: 9 };
    node.ask(&blocks);
    let account = AccountName::Me;
    node.ask(&request::Account { account });
    node.ask(&request::ProveAccount { account });
    let slots = 3;
    node.ask(&request::Validators { slots });
    node.ask(&request::Forks {});
    let status = request::TransactionStatus {
        id: AtomId::new([7; 32]),
        wait_seconds: 0,
        until_safe: false,
    };
    node.ask(&status);
    let key = PublicKey::new([7; 32]);
    assert!(!node.ask(&request::RemovePeer { key, ban: true }));
    assert!(node.ask(&request::UnbanPeer { key }));
    let address = "127.0.0.1:9".to_owned();
    node.ask(&request::Connect { address });
    node.ask(&request::AdvertiseLists { ids: vec![id] });
    let avoided = node.ask(&request::AvoidBlock { id });
    assert_eq!(avoided.avoided, [id]);
    node.ask(&request::RecentWarnings {});
    node.ask(&request::Metrics {});
    node.ask(&request::ReloadConfig {});
    node.ask(&request::Stop {});
    let tested = ELSEWHERE.iter().map(|(method, _)| *method);
    let tested: BTreeSet<&str> = tested.chain(node.asked.iter().copied()).collect();
    let methods = node.document["methods"].as_array().unwrap().iter();
    let methods: BTreeSet<&str> = methods
        .map(|method| method["name"].as_str().unwrap())
        .collect();
    assert_eq!(tested, methods, "a method without a test");
    drop(node);
    std::fs::remove_dir_all(&chain).unwrap();
}
