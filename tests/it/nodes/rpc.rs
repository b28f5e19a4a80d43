//! Control socket as `docs/rpc.md` and `docs/rpc-schema.json` describe it.

use super::running::start;
use super::support::eventually;
use astreum_core::atom::{Atom, AtomId};
use astreum_node::query::BlockAt;
use astreum_node::rpc::codec::{Frame, FrameReader, encode_message};
use astreum_node::rpc::{AccountName, Method, request, schema};
use astreum_tests::testkit::NodeProcess;
use serde_json::Value;
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

fn conforms<M: Method>(running: &NodeProcess, document: &Value, request: &M) -> M::Reply {
    let reply = running.ask(request);
    let methods = document["methods"].as_array().unwrap();
    let method = methods.iter().find(|method| method["name"] == M::NAME);
    let schema = method.and_then(|method| method.pointer("/result/schema"));
    let value = serde_json::to_value(&reply).unwrap();
    if let Err(error) = check(schema.unwrap(), &value, document) {
        panic!("result of {}{error}", M::NAME);
    }
    reply
}

#[test]
fn replies_of_a_validator_conform_to_the_schema() {
    let chain = std::env::temp_dir().join(format!("astreum-rpc-chain-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&chain);
    let secret = "09".repeat(32);
    let chain_dir = chain.to_str().unwrap();
    let flags = ["--validation-secret-key", &secret, "--chain-dir", chain_dir];
    let running = start("conforms", &flags);
    let document = schema();
    eventually("a block is made", || {
        let status = conforms(&running, &document, &request::Status {});
        status.chain.height >= Some(1)
    });
    let atom = Atom::bytes(*b"some bytes");
    let id = atom.id();
    let atoms = vec![atom];
    conforms(&running, &document, &request::Put { atoms });
    conforms(&running, &document, &request::Get { id });
    conforms(&running, &document, &request::GetList { id });
    conforms(&running, &document, &request::Peers {});
    conforms(&running, &document, &request::Providers { id });
    let advertise = request::Advertise {
        id,
        list: false,
        expires_seconds: Some(60),
    };
    conforms(&running, &document, &advertise);
    conforms(&running, &document, &request::Advertised {});
    conforms(&running, &document, &request::Withdraw { id });
    let source = "(1 2 add)".to_owned();
    let eval = request::Eval {
        source,
        limit: Some(1_000),
        fetch_seconds: None,
    };
    conforms(&running, &document, &eval);
    let at = BlockAt::Head;
    let block = request::Block {
        at,
        transactions: 5,
        skip: 0,
    };
    conforms(&running, &document, &block);
    let blocks = request::Blocks { from: at, count: 9 };
    conforms(&running, &document, &blocks);
    let account = AccountName::Me;
    conforms(&running, &document, &request::Account { account });
    conforms(&running, &document, &request::ProveAccount { account });
    let slots = 3;
    conforms(&running, &document, &request::Validators { slots });
    conforms(&running, &document, &request::Forks {});
    let status = request::TransactionStatus {
        id: AtomId::new([7; 32]),
        wait_seconds: 0,
        until_safe: false,
    };
    conforms(&running, &document, &status);
    conforms(&running, &document, &request::Stop {});
    drop(running);
    std::fs::remove_dir_all(&chain).unwrap();
}
