//! Thousands of generated requests of the conformance protocol, answered by our code and by the
//! installed reference. Inputs for which the reference itself is wrong are not generated: double
//! quotes, the opcodes `add` and `atom_link`.

use crate::environment::Environment;
use crate::reference::Process;
use crate::suite::{Outcome, ensure};
use astreum_core::atom::{Atom, AtomId, AtomKind};
use astreum_core::crypto::{Signature, VerifyingKey};
use astreum_core::text::parse;
use astreum_node::rpc::{hex, unhex};
use astreum_tests::conform;
use astreum_tests::random::Random;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Number of requests of each case.
const REQUESTS: usize = 5_000;
/// Number of requests in flight: small enough that neither pipe fills up.
const BATCH: usize = 50;
/// Number of expressions of the largest case, and of one request.
const EXPRESSIONS: usize = 100_000;
const EXPRESSIONS_BATCH: usize = 100;
/// Nesting of generated expressions; the reference uses recursion.
const DEPTH: usize = 12;

pub(crate) fn tokens(environment: &Environment) -> Outcome {
    compare(environment, |random| {
        ("tokenize", json!({"source": noise(random)}))
    })
}

pub(crate) fn expressions(environment: &Environment) -> Outcome {
    compare(environment, |random| {
        let source = if random.below(2) == 0 {
            noise(random)
        } else {
            expression_text(random, DEPTH)
        };
        ("parse", json!({"source": source}))
    })
}

/// Compares a hundred thousand expressions: texts that are parsed, expressions that become atoms,
/// and atoms of any kinds and links that are read as an expression.
pub(crate) fn expressions_of_all_kinds(environment: &Environment) -> Outcome {
    let mut reference = Process::start(environment, &["answers"])?;
    let mut random = Random::new(11);
    let (mut read, mut refused) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..EXPRESSIONS / EXPRESSIONS_BATCH {
        let requests: Vec<Value> = (0..EXPRESSIONS_BATCH)
            .map(|id| {
                let (op, input) = expression_of_any_kind(&mut random);
                json!({"id": id.to_string(), "op": op, "in": input})
            })
            .collect();
        let all = json!({"id": "all", "op": "requests", "in": {"requests": requests}});
        reference.send(&all.to_string())?;
        let ours: Vec<Value> = requests
            .iter()
            .map(|request| serde_json::from_str(&conform::answer_line(&request.to_string())))
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let reply = reference.receive()?;
        let theirs = reply["out"]["answers"].as_array();
        let theirs = theirs.ok_or_else(|| format!("no answers: {reply}"))?;
        ensure!(theirs.len() == ours.len(), "{} answers", theirs.len());
        for (request, (ours, theirs)) in requests.iter().zip(ours.iter().zip(theirs)) {
            let is_error = |answer: &Value| !answer["out"]["error"].is_null();
            let both_fail = is_error(ours) && is_error(theirs);
            ensure!(
                both_fail || ours == theirs,
                "{request}\n    ours      {ours}\n    reference {theirs}"
            );
            let counts = if both_fail { &mut refused } else { &mut read };
            let op = request["op"].as_str().unwrap_or_default().to_owned();
            *counts.entry(op).or_insert(0) += 1;
        }
    }
    println!("    {EXPRESSIONS} expressions, equal: {read:?}; rejected by both: {refused:?}");
    let few = |op: &str| read.get(op).copied().unwrap_or(0) < EXPRESSIONS / 20;
    let ops = ["parse", "expr_atoms", "expr_from_atoms"];
    ensure!(!ops.into_iter().any(few), "{read:?}");
    let atoms_refused = refused.get("expr_from_atoms").copied().unwrap_or(0);
    ensure!(atoms_refused > EXPRESSIONS / 50, "{refused:?}");
    Ok(())
}

fn expression_of_any_kind(random: &mut Random) -> (&'static str, Value) {
    match random.below(4) {
        0 => ("parse", json!({"source": noise(random)})),
        1 => ("parse", json!({"source": expression_text(random, 5)})),
        2 => ("expr_atoms", json!({"expr": expression_json(random, 4)})),
        _ => {
            let mut atoms = Vec::new();
            let head = expression_atoms(random, &mut atoms, 4);
            let atoms: Vec<String> = atoms.iter().map(|atom| hex(&atom.to_bytes())).collect();
            let input = json!({"id": hex(head.as_bytes()), "atoms": atoms});
            ("expr_from_atoms", input)
        }
    }
}

/// Generates atoms that mostly form an expression.
fn expression_atoms(random: &mut Random, atoms: &mut Vec<Atom>, depth: usize) -> AtomId {
    let mut put = |atom: Atom, is_kept: bool| {
        let id = atom.id();
        if is_kept {
            atoms.push(atom);
        }
        id
    };
    let is_kept = random.below(60) > 0;
    let next = match random.below(20) {
        0 => AtomId::from_slice(&random.bytes(32)).unwrap_or(AtomId::ZERO),
        _ => AtomId::ZERO,
    };
    if depth == 0 || random.below(3) == 0 {
        let len = random.below(5);
        let atom = match random.below(8) {
            0..3 => Atom::new(AtomKind::Symbol, *random.one_of(&[b"a", b"b", b"+"]), next),
            3 => Atom::new(AtomKind::Symbol, random.bytes(len), next),
            4..7 => Atom::new(AtomKind::Bytes, random.bytes(len), next),
            _ => Atom::new(AtomKind::List, [], next),
        };
        return put(atom, is_kept);
    }
    let mut link = match random.below(40) {
        0 => put(Atom::new(AtomKind::List, [], AtomId::ZERO), true),
        1 => put(Atom::new(AtomKind::Bytes, [1], AtomId::ZERO), true),
        _ => AtomId::ZERO,
    };
    for _ in 0..=random.below(4) {
        let item = expression_atoms(random, atoms, depth - 1);
        let data = match random.below(60) {
            0 => item.as_bytes()[..31].to_vec(),
            1 => [item.as_bytes().as_slice(), &[0]].concat(),
            _ => item.as_bytes().to_vec(),
        };
        let atom = Atom::new(AtomKind::List, data, link);
        link = atom.id();
        atoms.push(atom);
    }
    link
}

/// Compares the verdicts on the twelve signatures of ed25519-speccheck, and on as many modified
/// ones, with those of the OpenSSL that the reference uses.
pub(crate) fn signatures(environment: &Environment) -> Outcome {
    let mut reference = Process::start(environment, &["answers"])?;
    let mut random = Random::new(5);
    let (mut held, mut judged) = (0, 0);
    let vectors = include_str!("../../vectors/ed25519_speccheck.txt");
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, key, message, signature] = fields[..] else {
            return Err(format!("malformed vector: {line}"));
        };
        let of = |text: &str| unhex(text).unwrap_or_default();
        let as_it_is = [of(key), of(message), of(signature)];
        let mut changed = as_it_is.clone();
        let field = &mut changed[random.below(3)];
        let at = random.below(field.len());
        field[at] ^= 1 << random.below(8);
        for [key, message, signature] in [as_it_is, changed] {
            let input = json!({
                "key": hex(&key), "message": hex(&message), "signature": hex(&signature),
            });
            let request = json!({"id": "1", "op": "verify", "in": input});
            reference.send(&request.to_string())?;
            let theirs = reference.receive()?["out"]["holds"].as_bool();
            let key = key.try_into().ok();
            let key = key.and_then(|key| VerifyingKey::from_bytes(&key).ok());
            let ours = key.zip(Signature::from_slice(&signature));
            let ours = ours.is_some_and(|(key, of)| key.verify(&message, &of).is_ok());
            ensure!(
                theirs == Some(ours),
                "{request}: ours {ours}, OpenSSL {theirs:?}"
            );
            held += usize::from(ours);
            judged += 1;
        }
    }
    println!("    {judged} signatures, {held} of them valid, equal verdicts");
    ensure!(judged == 24 && held > 2, "{held} of {judged}");
    Ok(())
}

/// Checks that the reference reads our printed expressions as the same expressions.
pub(crate) fn printed_expressions(environment: &Environment) -> Outcome {
    let mut reference = Process::start(environment, &["answers"])?;
    let mut random = Random::new(3);
    for number in 0..REQUESTS / BATCH {
        let mut expected = Vec::new();
        for index in 0..BATCH {
            let source = expression_text(&mut random, DEPTH);
            let printed = parse(&source)
                .map_err(|error| error.to_string())?
                .to_string();
            let id = (number * BATCH + index).to_string();
            let ours = json!({"id": id, "op": "parse", "in": {"source": source}});
            expected.push((conform::answer_line(&ours.to_string()), printed.clone()));
            let theirs = json!({"id": id, "op": "parse", "in": {"source": printed}});
            reference.send(&theirs.to_string())?;
        }
        for (ours, printed) in expected {
            let ours: Value = serde_json::from_str(&ours).map_err(|error| error.to_string())?;
            let theirs = reference.receive()?;
            ensure!(
                ours == theirs,
                "printed {printed}: ours {ours}, reference {theirs}"
            );
        }
    }
    Ok(())
}

pub(crate) fn atoms(environment: &Environment) -> Outcome {
    compare(environment, |random| match random.below(3) {
        0 => {
            let kind = random.below(3);
            let len = random.below(100);
            let (data, next) = (hex(&random.bytes(len)), hex(&random.bytes(32)));
            ("atom", json!({"kind": kind, "data": data, "next": next}))
        }
        1 => {
            let len = random.below(80);
            let mut bytes = random.bytes(len);
            if let Some(kind) = bytes.get_mut(32) {
                *kind %= 4;
            }
            ("atom_decode", json!({"bytes": hex(&bytes)}))
        }
        _ => ("expr_atoms", json!({"expr": expression_json(random, 5)})),
    })
}

pub(crate) fn messages(environment: &Environment) -> Outcome {
    compare(environment, |random| {
        let operation = random.one_of(&[
            "ping_decode",
            "object_request_decode",
            "object_response_decode",
            "provider_decode",
        ]);
        // Around the significant lengths.
        let around = random.one_of(&[33, 34, 38, 72]);
        let len = (around + random.below(5)).saturating_sub(2);
        let mut bytes = random.bytes(len);
        for field in [0, 1, 33] {
            if let Some(byte) = bytes.get_mut(field) {
                *byte %= 4;
            }
        }
        (operation, json!({"bytes": hex(&bytes)}))
    })
}

pub(crate) fn routes(environment: &Environment) -> Outcome {
    compare(environment, |random| {
        let own = random.bytes(32);
        let count = random.below(60);
        // Keys that share a random number of leading bits with our own key fill some buckets.
        let mut peers: Vec<Vec<u8>> = Vec::new();
        for _ in 0..count {
            let mut key = random.bytes(32);
            let shared = random.below(3);
            for (byte, ours) in key.iter_mut().zip(&own).take(shared) {
                *byte = *ours;
            }
            peers.push(key);
        }
        let removed: Vec<String> = (0..count / 4)
            .filter_map(|_| peers.get(random.below(count)).map(|key| hex(key)))
            .collect();
        let peers: Vec<String> = peers.iter().map(|key| hex(key)).collect();
        let target = hex(&random.bytes(32));
        (
            "route",
            json!({"own": hex(&own), "peers": peers, "remove": removed, "target": target}),
        )
    })
}

pub(crate) fn stack_programs(environment: &Environment) -> Outcome {
    const OPCODES: [&str; 8] = [
        "nand",
        "jump",
        "heap_get",
        "heap_set",
        "atom_slice",
        "atom_concat",
        "atom_new",
        "atom_load",
    ];
    compare(environment, |random| {
        let len = random.below(14);
        let code: Vec<String> = (0..len)
            .map(|_| match random.below(5) {
                0 | 1 => hex(random.one_of(&OPCODES).as_bytes()),
                2 => hex(&[u8::try_from(random.below(4)).unwrap_or_default()]),
                _ => {
                    let len = random.one_of(&[0, 1, 1, 1, 2, 3, 32]);
                    hex(&random.bytes(len))
                }
            })
            .collect();
        let limit = random.below(200);
        ("low_eval", json!({"code": code, "limit": limit}))
    })
}

/// Generates requests, has both answer them, and stops at the first difference.
fn compare(
    environment: &Environment,
    generate: impl Fn(&mut Random) -> (&'static str, Value),
) -> Outcome {
    let mut reference = Process::start(environment, &["answers"])?;
    let mut random = Random::new(1);
    let mut errors = 0;
    for number in 0..REQUESTS / BATCH {
        let mut requests = Vec::new();
        for index in 0..BATCH {
            let (operation, input) = generate(&mut random);
            let id = (number * BATCH + index).to_string();
            let request = json!({"id": id, "op": operation, "in": input}).to_string();
            reference.send(&request)?;
            requests.push(request);
        }
        for request in requests {
            let theirs = reference.receive()?;
            let ours: Value = serde_json::from_str(&conform::answer_line(&request))
                .map_err(|error| error.to_string())?;
            let is_error = |answer: &Value| !answer["out"]["error"].is_null();
            let both_fail = is_error(&ours) && is_error(&theirs) && ours["id"] == theirs["id"];
            errors += usize::from(both_fail);
            ensure!(
                both_fail || ours == theirs,
                "{request}\n    ours      {ours}\n    reference {theirs}"
            );
        }
    }
    ensure!(
        errors < REQUESTS * 9 / 10,
        "{errors} of {REQUESTS} requests were errors"
    );
    Ok(())
}

/// Generates text that is mostly not a program.
fn noise(random: &mut Random) -> String {
    const PIECES: [&str; 40] = [
        "(", ")", "(", ")", " ", " ", "\n", "\t", "\u{c}", "\u{1c}", "\u{85}", "\u{a0}",
        "\u{2003}", "\u{3000}", "\u{200b}", ";", "#;", "#", "#;#;", "a", "b", "abc", "-", "+", "_",
        "0", "00", "7", "-1", "128", "-129", "+5", "1_000", "1__0", "_1", "1_", "é", "日本", "$0",
        "def",
    ];
    let len = random.below(30);
    (0..len).map(|_| random.one_of(&PIECES)).collect()
}

/// Generates the text of a well-formed program.
fn expression_text(random: &mut Random, depth: usize) -> String {
    const LEAVES: [&str; 12] = [
        "a",
        "int.add",
        "$0",
        "sk",
        "fn",
        "()",
        "0",
        "-1",
        "255",
        "-32769",
        "1_0",
        "123456789012345",
    ];
    if depth == 0 || random.below(3) == 0 {
        return random.one_of(&LEAVES).to_owned();
    }
    let len = random.below(4);
    let items: Vec<String> = (0..len)
        .map(|_| expression_text(random, depth - 1))
        .collect();
    let separator = random.one_of(&[" ", "\n", " ; note\n", " #;(left out) "]);
    format!("({})", items.join(separator))
}

/// Generates an expression, with symbols and values that text cannot represent.
fn expression_json(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 2 } else { 4 }) {
        0 => json!({"sym": random.one_of(&["", "a", "é", "a b", "(", "12", "name.of"])}),
        1 => {
            let len = random.below(40);
            json!({"bytes": hex(&random.bytes(len))})
        }
        _ => {
            let len = random.below(4);
            let items: Vec<Value> = (0..len)
                .map(|_| expression_json(random, depth - 1))
                .collect();
            json!({"list": items})
        }
    }
}
