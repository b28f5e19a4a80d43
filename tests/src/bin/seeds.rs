//! Generator of the fuzz corpora from the conformance cases, from generated engine sessions, and
//! from random inputs that reach what they should.
//!
//! ```text
//! cargo run -p astreum-tests --bin seeds
//! ```
//!
//! Writes `fuzz/corpus/<target>/<case>`. Existing files of other names are kept. An argument names
//! another folder with cases.

use astreum_tests::random::Random;
use astreum_tests::target::low_eval::encode;
use astreum_tests::target::{differential, engine, proofs, stream};
use core::error::Error;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Number of cases per operation that become seeds, taken at even distances.
const PER_OPERATION: usize = 20;
/// Number of generated engine sessions.
const SESSIONS: u64 = 12;
/// Maximum size of a seed in bytes. Longer cases would only enlarge the repository.
const MAX_BYTES: usize = 1_024;
/// Number of random inputs of which seeds are chosen.
const TRIES: usize = 20_000;
/// Number of random seeds for each kind of what they reach.
const PER_KIND: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let vectors = std::env::args_os()
        .nth(1)
        .map_or_else(|| root.join("vectors"), PathBuf::from);
    let corpus = root.join("../fuzz/corpus");
    let mut written = 0;
    for (target, operation, seed) in SOURCES {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        for (id, bytes) in seeds(&vectors.join(format!("{operation}.jsonl")), *seed)? {
            std::fs::write(folder.join(id), bytes)?;
            written += 1;
        }
    }
    for number in 0..SESSIONS {
        let file = format!("session-{number:04}");
        std::fs::write(corpus.join("engine").join(file), engine::session(number))?;
        written += 1;
    }
    let random = [
        ("differential", programs()),
        ("proofs", proofs()),
        ("stream", connections()),
    ];
    for (name, seeds) in random {
        let folder = corpus.join(name);
        std::fs::create_dir_all(&folder)?;
        for (number, bytes) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("random-{number:04}")), bytes)?;
            written += 1;
        }
    }
    println!("{written} seeds in {}", corpus.display());
    Ok(())
}

/// Returns random inputs, each of which `adds` to what the ones before have reached.
fn chosen<T>(reached: impl Fn(&[u8]) -> T, mut adds: impl FnMut(T) -> bool) -> Vec<Vec<u8>> {
    let mut random = Random::new(1);
    let mut seeds = Vec::new();
    for _ in 0..TRIES {
        let len = 8 + random.below(120);
        let bytes = random.bytes(len);
        if adds(reached(&bytes)) {
            seeds.push(bytes);
        }
    }
    seeds
}

/// Returns programs that run every kind of sequence, several times each.
fn programs() -> Vec<Vec<u8>> {
    let mut counts = [0; 8];
    chosen(differential::reached, |reached| {
        let adds = counts.iter().zip(reached.sequences);
        let adds = adds
            .filter(|(count, here)| **count < PER_KIND && *here > 0)
            .count()
            > 0;
        if adds {
            counts
                .iter_mut()
                .zip(reached.sequences)
                .for_each(|(count, here)| *count += here);
        }
        adds
    })
}

/// Returns altered proofs that are accepted or rejected.
fn proofs() -> Vec<Vec<u8>> {
    let (mut accepted, mut rejected) = (0, 0);
    chosen(proofs::reached, |reached| {
        accepted += reached.accepted;
        rejected += reached.rejected;
        (reached.accepted > 0 && accepted <= 4 * PER_KIND)
            || (reached.rejected > 0 && rejected <= 4 * PER_KIND)
    })
}

/// Returns streams on which each kind of event occurs, several times each.
fn connections() -> Vec<Vec<u8>> {
    let mut counts = [0; 8];
    let chosen = chosen(stream::reached, |reached| {
        let stream::Reached {
            frames,
            completed,
            ended,
            grants,
            lies,
            excesses,
            refusals,
            violations,
        } = reached;
        let events = [
            frames, completed, ended, grants, lies, excesses, refusals, violations,
        ];
        let mut adds = false;
        for (count, here) in counts.iter_mut().zip(events) {
            adds |= *count < PER_KIND && here > 0;
            *count += usize::from(here > 0);
        }
        adds
    });
    [chosen, vec![stream::excess()]].concat()
}

/// Seed with the id of its case as the name.
type Named = (String, Vec<u8>);

type Seed = fn(&Value) -> Option<Vec<u8>>;

/// Fuzz target, operation of the cases, and conversion of a case's input to the target's input.
const SOURCES: &[(&str, &str, Seed)] = &[
    ("text", "tokenize", source),
    ("text", "parse", source),
    ("text", "expr_atoms", expression_recipe),
    ("text", "eval", script),
    ("low_eval", "low_eval", program),
    ("decode", "atom_decode", bytes),
    ("decode", "expr_from_atoms", store),
    ("decode", "ping_decode", bytes),
    ("decode", "object_request_decode", bytes),
    ("decode", "object_response_decode", bytes),
    ("decode", "object_found_decode", bytes),
    ("decode", "provider_decode", bytes),
    ("decode", "route_response_decode", bytes),
    ("decode", "message_decode", packet),
    ("trie", "trie", trie_operations),
    ("transition", "apply", transfers),
    ("engine", "message_decode", session_packet),
    ("engine", "ping_decode", session_ping),
    ("engine", "object_request_decode", session_request),
    ("engine", "object_response_decode", session_response),
    ("engine", "route_response_decode", session_route),
];

fn seeds(cases: &Path, seed: Seed) -> Result<Vec<Named>, Box<dyn Error>> {
    let text = std::fs::read_to_string(cases)
        .map_err(|error| format!("cannot read {}: {error}", cases.display()))?;
    let mut all = Vec::new();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line)?;
        let id = case.get("id").and_then(Value::as_str);
        let bytes = case.get("in").and_then(seed);
        if let (Some(id), Some(bytes)) = (id, bytes)
            && bytes.len() <= MAX_BYTES
        {
            all.push((id.to_owned(), bytes));
        }
    }
    let stride = all.len().div_ceil(PER_OPERATION).max(1);
    Ok(all.into_iter().step_by(stride).collect())
}

fn hex(value: &Value) -> Option<Vec<u8>> {
    hex::decode(value.as_str()?).ok()
}

fn source(input: &Value) -> Option<Vec<u8>> {
    Some(input.get("source")?.as_str()?.as_bytes().to_vec())
}

fn script(input: &Value) -> Option<Vec<u8>> {
    let limit = input.get("limit")?.as_u64();
    let units = limit.map_or(255, |limit| u8::try_from(limit / 16).unwrap_or(254));
    Some([vec![units], source(input)?].concat())
}

fn program(input: &Value) -> Option<Vec<u8>> {
    let code: Option<Vec<Vec<u8>>> = input.get("code")?.as_array()?.iter().map(hex).collect();
    encode(input.get("limit")?.as_u64(), &code?)
}

/// Encodes puts, a commit and gets.
fn trie_operations(input: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let operation = |code: u8, key: &[u8], out: &mut Vec<u8>| {
        let key = key.get(..key.len().min(6)).unwrap_or_default();
        out.push(code | u8::try_from(key.len() << 4).unwrap_or_default());
        out.extend_from_slice(key);
    };
    for pair in input.get("puts")?.as_array()? {
        let (key, value) = (hex(pair.get(0)?)?, hex(pair.get(1)?)?);
        operation(0, &key, &mut out);
        out.push(u8::try_from(value.len()).ok().filter(|len| *len < 40)?);
        out.extend_from_slice(&value);
    }
    operation(6, b"a", &mut out);
    for key in input.get("gets")?.as_array()? {
        operation(5, &hex(key)?, &mut out);
    }
    Some(out)
}

/// Encodes the transactions of a block: their kind and their amount. The senders and recipients
/// differ from those of the case.
fn transfers(input: &Value) -> Option<Vec<u8>> {
    let mut out = vec![200];
    for (number, transaction) in (0_u8..).zip(input.get("transactions")?.as_array()?) {
        let is_system = |byte: u8| hex(transaction.get("recipient")?).map(|key| key == [byte; 32]);
        let data = hex(transaction.get("data")?)?;
        let kind = match (is_system(1)?, is_system(0)?, data.first()) {
            (true, ..) => 4,
            (_, true, Some(0)) => 6,
            (_, true, Some(1)) => 7,
            (_, true, _) => 5,
            (_, _, Some(1)) => 8,
            (_, _, Some(2)) => 9,
            (_, _, Some(3)) => 10,
            _ => 0,
        };
        let amount: u64 = transaction
            .get("amount")?
            .as_str()?
            .parse()
            .unwrap_or(u64::MAX);
        out.extend([kind, number, number.wrapping_add(1), 8]);
        out.extend(amount.to_le_bytes());
    }
    Some(out)
}

fn bytes(input: &Value) -> Option<Vec<u8>> {
    hex(input.get("bytes")?)
}

fn packet(input: &Value) -> Option<Vec<u8>> {
    hex(input.get("packet")?)
}

/// Encodes atoms with a length prefix each, the root last.
fn store(input: &Value) -> Option<Vec<u8>> {
    let atoms: Option<Vec<Vec<u8>>> = input.get("atoms")?.as_array()?.iter().map(hex).collect();
    let root = hex(input.get("id")?)?;
    let is_root = |stored: &Vec<u8>| {
        astreum_core::atom::Atom::from_bytes(stored).is_ok_and(|atom| *atom.id().as_ref() == *root)
    };
    let mut atoms = atoms?;
    atoms.sort_by_key(is_root);
    let mut out = Vec::new();
    for stored in atoms {
        out.extend_from_slice(&u16::try_from(stored.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&stored);
    }
    Some(out)
}

/// Encodes an expression as the recipe that the round-trip target reads.
fn expression_recipe(input: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    recipe(input.get("expr")?, &mut out)?;
    Some(out)
}

/// Appends the recipe of an expression. The recursion is shallow, because conformance cases nest a
/// few dozen lists at most.
fn recipe(expr: &Value, out: &mut Vec<u8>) -> Option<()> {
    let mut leaf = |code: u8, bytes: &[u8]| {
        out.push(u8::try_from(bytes.len() << 2).ok()? | code);
        out.extend_from_slice(bytes);
        Some(())
    };
    if let Some(name) = expr.get("sym") {
        return leaf(2, name.as_str()?.as_bytes());
    }
    if let Some(value) = expr.get("bytes") {
        return leaf(3, &hex(value)?);
    }
    out.push(0);
    for item in expr.get("list")?.as_array()? {
        recipe(item, out)?;
    }
    out.push(1);
    Some(())
}

/// Encodes a session of the engine target: a handshake, then one message of `topic`, then time.
fn session(topic: u8, content: &[u8]) -> Option<Vec<u8>> {
    let len = u8::try_from(content.len()).ok()?;
    let asks_for_it = [6, 7, 6, 0];
    Some(
        [
            &[2, 5, 4, 3, topic, len],
            content,
            &asks_for_it,
            &[5, 40, 5, 255],
        ]
        .concat(),
    )
}

fn session_packet(input: &Value) -> Option<Vec<u8>> {
    let packet = packet(input)?;
    let len = u8::try_from(packet.len()).ok()?;
    Some([&[0, len], &*packet, &[2, 16 + 2, 5, 255]].concat())
}

fn session_ping(input: &Value) -> Option<Vec<u8>> {
    session(0, &bytes(input)?)
}

fn session_request(input: &Value) -> Option<Vec<u8>> {
    session(1, &bytes(input)?)
}

fn session_response(input: &Value) -> Option<Vec<u8>> {
    session(2, &bytes(input)?)
}

fn session_route(input: &Value) -> Option<Vec<u8>> {
    session(4, &bytes(input)?)
}
