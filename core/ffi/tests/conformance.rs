//! Conformance cases of the language and the machine, through the exported functions.
//!
//! The cases in `tests/vectors` were answered by the Python package `astreum` 0.3.71: values and
//! meters. Steps, and everything under low limits, are compared with the machine itself.

#![expect(
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    reason = "a case that is not as expected fails the test, and every pointer is a live local"
)]

mod abi;

use abi::{Env, Machine, Outcome, Value, check};
use astreum::*;
use astreum_core::atom::{AtomSource as _, MemoryStore};
use astreum_core::expr::{Bytes, Expr};
use astreum_core::machine::{self, Limits};
use core::ffi::c_void;
use core::ptr::null_mut;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::Path;

/// Number of cases of each operation.
const CASES: usize = 60;

fn cases(op: &str) -> Vec<(Json, Json)> {
    let file = format!("../../tests/vectors/{op}.jsonl");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let lines = std::fs::read_to_string(path).unwrap();
    let case = |line: &str| {
        let mut case: Json = serde_json::from_str(line).unwrap();
        (case["in"].take(), case["out"].take())
    };
    let cases: Vec<_> = lines.lines().map(case).collect();
    assert_eq!(cases.len(), CASES);
    cases
}

fn hex(text: &Json) -> Vec<u8> {
    hex::decode(text.as_str().unwrap()).unwrap()
}

fn id(text: &Json) -> [u8; ASTREUM_ID_BYTES] {
    hex(text).try_into().unwrap()
}

/// Builds the value that JSON describes, through the ABI.
fn value(json: &Json) -> Value {
    if let Some(name) = json["sym"].as_str() {
        return Value::symbol(name);
    }
    if json["bytes"].is_string() {
        return Value::bytes(&hex(&json["bytes"]));
    }
    let items: Vec<Value> = json["list"].as_array().unwrap().iter().map(value).collect();
    Value::list(&items)
}

/// Builds the same value for the machine itself.
fn expr(json: &Json) -> Expr {
    if let Some(name) = json["sym"].as_str() {
        return Expr::symbol(name);
    }
    if json["bytes"].is_string() {
        return Expr::bytes(hex(&json["bytes"]));
    }
    let items = json["list"].as_array().unwrap().iter().map(expr);
    Expr::list(items.collect::<Vec<_>>())
}

/// Returns the limit of the meter in a case. A negative limit counts as 0, which any charge exceeds.
fn meter_limit(input: &Json) -> u64 {
    match &input["limit"] {
        Json::Null => ASTREUM_UNLIMITED,
        limit => limit.as_u64().unwrap_or_default(),
    }
}

fn machine(input: &Json, limits: &Limits) -> Machine {
    let machine = Machine::with_limits(limits);
    check(unsafe { astreum_machine_set_meter_limit(machine.0, meter_limit(input)) });
    for atom in input["atoms"].as_array().into_iter().flatten() {
        machine.put_atom(&hex(atom)).unwrap();
    }
    machine
}

/// Creates the machine itself for a case.
fn direct(input: &Json, limits: &Limits) -> machine::Machine<MemoryStore> {
    let atoms = input["atoms"].as_array().into_iter().flatten();
    let atoms = atoms.map(|atom| astreum_core::atom::Atom::from_bytes(&hex(atom)).unwrap());
    let mut machine = machine::Machine::with_limits(atoms.collect(), *limits);
    let limit = meter_limit(input);
    machine.set_meter_limit((limit != ASTREUM_UNLIMITED).then_some(limit));
    machine
}

/// Default limits, then low values of each one.
fn all_limits() -> Vec<Limits> {
    let mut all = vec![Limits::DEFAULT];
    let fields: [fn(&mut Limits) -> &mut u64; 7] = [
        |limits| &mut limits.depth,
        |limits| &mut limits.stack_items,
        |limits| &mut limits.heap_entries,
        |limits| &mut limits.live_bytes,
        |limits| &mut limits.steps,
        |limits| &mut limits.atoms,
        |limits| &mut limits.atom_bytes,
    ];
    for field in fields {
        for low in [0, 1, 2, 3, 5, 8, 20, 64, 200, 600] {
            let mut limits = Limits::DEFAULT;
            *field(&mut limits) = low;
            all.push(limits);
        }
    }
    all
}

/// Asserts that an outcome of the ABI is that of the machine itself.
fn assert_same(outcome: &Outcome, direct: &machine::Evaluation, context: &Json) {
    let info = outcome.info();
    assert_eq!(info.used, direct.used(), "{context}");
    assert_eq!(info.steps, direct.steps(), "{context}");
    assert_eq!(info.failure_count, direct.failure_count(), "{context}");
    assert_eq!(
        outcome.value().to_source(),
        format!("{:#}", direct.value()),
        "{context}"
    );
    let (kind, limit) = match direct.outcome() {
        machine::Outcome::Finished => (AstreumOutcomeKind::Finished, (0, 0)),
        machine::Outcome::Limit(exceeded) => {
            (AstreumOutcomeKind::Limit, (exceeded.limit, exceeded.used))
        }
        machine::Outcome::Missing(missing) => {
            assert_eq!(info.missing_id, *missing.id.as_bytes());
            (AstreumOutcomeKind::Missing, (0, 0))
        }
        other => panic!("unexpected outcome {other:?}: {context}"),
    };
    assert_eq!(info.kind, kind, "{context}");
    assert_eq!((info.limit, info.limit_used), limit, "{context}");
}

#[test]
fn eval() {
    let mut low = 0;
    for (input, expected) in cases("eval") {
        let source = input["source"].as_str().unwrap();
        for limits in all_limits() {
            let machine = machine(&input, &limits);
            let env = Env::new();
            let mut direct_env = machine::Env::new();
            for (name, json) in input["env"].as_object().unwrap() {
                env.set(name, &value(json));
                direct_env.set(name, expr(json));
            }
            let outcome = machine.eval(&env, source, ASTREUM_MODE_FINISH);
            if limits == Limits::DEFAULT {
                assert!(outcome.value() == value(&expected["expr"]), "{input}");
                assert_eq!(
                    outcome.info().used,
                    expected["used"].as_u64().unwrap(),
                    "{input}"
                );
            }
            let evaluation = direct(&input, &limits).eval_source(source, &mut direct_env);
            assert_same(&outcome, &evaluation, &input);
            low += u32::from(outcome.info().kind == AstreumOutcomeKind::Limit);
        }
    }
    assert!(low > 100, "{low} evaluations reached a low limit");
}

#[test]
fn low_eval() {
    let mut low = 0;
    for (input, expected) in cases("low_eval") {
        let code: Vec<Vec<u8>> = input["code"].as_array().unwrap().iter().map(hex).collect();
        let tokens: Vec<Bytes> = code.iter().map(|token| Bytes::new(token)).collect();
        for limits in all_limits() {
            let machine = machine(&input, &limits);
            let outcome = machine.run(&code);
            if limits == Limits::DEFAULT {
                assert!(outcome.value() == value(&expected["expr"]), "{input}");
                assert_eq!(
                    outcome.info().used,
                    expected["used"].as_u64().unwrap(),
                    "{input}"
                );
            }
            assert_same(&outcome, &direct(&input, &limits).run(&tokens), &input);
            low += u32::from(outcome.info().kind == AstreumOutcomeKind::Limit);
        }
    }
    assert!(low > 100, "{low} evaluations reached a low limit");
}

/// Returns the tokens of a source, or `None` if it is malformed.
fn tokens(source: &str) -> Option<Vec<&str>> {
    let mut tokens = null_mut();
    let status =
        unsafe { astreum_tokens_new(source.as_ptr(), source.len(), &raw mut tokens, null_mut()) };
    if status == AstreumStatus::ParseError {
        return None;
    }
    check(status);
    let (mut array, mut len) = (core::ptr::null(), 0);
    check(unsafe { astreum_tokens_array(tokens, &raw mut array, &raw mut len) });
    let found = match len {
        0 => &[],
        _ => unsafe { core::slice::from_raw_parts(array, len) },
    };
    let texts = found.iter().map(|token| &source[token.start..token.end]);
    let texts = texts.collect();
    check(unsafe { astreum_tokens_free(tokens) });
    Some(texts)
}

#[test]
fn tokenize() {
    for (input, expected) in cases("tokenize") {
        let found = tokens(input["source"].as_str().unwrap());
        match expected.get("error") {
            Some(_) => assert!(found.is_none(), "{input}"),
            None => assert_eq!(serde_json::json!(found.unwrap()), expected["tokens"]),
        }
    }
}

#[test]
fn parse() {
    let mut errors = 0;
    for (input, expected) in cases("parse") {
        let source = input["source"].as_str().unwrap();
        let (mut parsed, mut end) = (null_mut(), 0);
        let mut error = abi::parse_error();
        let status = unsafe {
            astreum_value_parse_first(
                source.as_ptr(),
                source.len(),
                &raw mut parsed,
                &raw mut end,
                &raw mut error,
            )
        };
        if expected.get("error").is_some() {
            let is_error = matches!(status, AstreumStatus::ParseError | AstreumStatus::NotFound);
            assert!(is_error, "{status:?}: {input}");
            assert!(parsed.is_null());
            errors += 1;
            continue;
        }
        check(status);
        assert!(Value(parsed) == value(&expected["expr"]), "{input}");
        let rest = tokens(&source[end..]).unwrap();
        assert_eq!(serde_json::json!(rest), expected["rest"], "{input}");
    }
    assert!(errors > 0);
}

#[test]
fn atom() {
    for (input, expected) in cases("atom") {
        let kind = u32::try_from(input["kind"].as_u64().unwrap()).unwrap();
        let (data, next) = (hex(&input["data"]), id(&input["next"]));
        let mut found = [0; ASTREUM_ID_BYTES];
        let status = unsafe {
            astreum_atom_id(
                kind,
                data.as_ptr(),
                data.len(),
                next.as_ptr(),
                found.as_mut_ptr(),
            )
        };
        if expected.get("error").is_some() {
            assert_eq!(status, AstreumStatus::InvalidArgument, "{input}");
            continue;
        }
        check(status);
        assert_eq!(found, id(&expected["id"]), "{input}");
        let machine = Machine::new();
        assert_eq!(
            machine.put_atom(&hex(&expected["bytes"])),
            Ok(found),
            "{input}"
        );
    }
}

#[test]
fn atom_decode() {
    for (input, expected) in cases("atom_decode") {
        let stored = hex(&input["bytes"]);
        let machine = Machine::new();
        let put = machine.put_atom(&stored);
        match expected.get("error") {
            Some(_) => assert_eq!(put, Err(AstreumStatus::Malformed), "{input}"),
            None => assert_eq!(machine.get_atom(&put.unwrap()), Ok(stored), "{input}"),
        }
    }
}

unsafe extern "C" fn keep(user: *mut c_void, _: *const u8, stored: *const u8, len: usize) -> u64 {
    let atoms = unsafe { &mut *user.cast::<BTreeSet<String>>() };
    atoms.insert(hex::encode(unsafe {
        core::slice::from_raw_parts(stored, len)
    }));
    0
}

#[test]
fn expr_atoms() {
    for (input, expected) in cases("expr_atoms") {
        let mut atoms = BTreeSet::<String>::new();
        let machine = Machine::new();
        let store = AstreumStore {
            size: size_of::<AstreumStore>() as u64,
            user: (&raw mut atoms).cast(),
            get: None,
            put: Some(keep),
            drop_user: None,
        };
        check(unsafe { astreum_machine_set_store(machine.0, &raw const store) });
        let value = value(&input["expr"]);
        let mut found = [0; ASTREUM_ID_BYTES];
        check(unsafe { astreum_machine_write_value(machine.0, value.0, found.as_mut_ptr()) });
        assert_eq!(found, id(&expected["id"]), "{input}");
        check(unsafe { astreum_value_id(value.0, found.as_mut_ptr()) });
        assert_eq!(found, id(&expected["id"]), "{input}");
        let expected = expected["atoms"].as_array().unwrap().iter();
        let expected: BTreeSet<String> = expected.map(|it| it.as_str().unwrap().into()).collect();
        assert_eq!(atoms, expected, "{input}");
    }
}

#[test]
fn expr_from_atoms() {
    let mut errors = 0;
    for (input, expected) in cases("expr_from_atoms") {
        let machine = machine(&input, &Limits::DEFAULT);
        let (mut read, mut missing) = (null_mut(), [0; ASTREUM_ID_BYTES]);
        let Ok(id) = <[u8; ASTREUM_ID_BYTES]>::try_from(hex(&input["id"])) else {
            // The ABI has no ids of another length.
            assert!(expected.get("error").is_some(), "{input}");
            continue;
        };
        let status = unsafe {
            astreum_machine_read_value(
                machine.0,
                id.as_ptr(),
                1 << 20,
                &raw mut read,
                missing.as_mut_ptr(),
            )
        };
        if expected.get("error").is_some() {
            assert!(
                matches!(status, AstreumStatus::NotFound | AstreumStatus::Malformed),
                "{status:?}: {input}"
            );
            if status == AstreumStatus::NotFound {
                let store = direct(&input, &Limits::DEFAULT).into_store();
                assert!(store.atom(&missing.into()).is_err());
            }
            errors += 1;
            continue;
        }
        check(status);
        assert!(Value(read) == value(&expected["expr"]), "{input}");
    }
    assert!(errors > 0);
}
