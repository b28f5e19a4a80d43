//! The standard library beside the same functions in Rust.

#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

use core::cell::RefCell;
use std::collections::BTreeMap;

use astreum_core::atom::MemoryStore;
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Evaluation, Function, Machine, Opcode};
use astreum_script::library;
use num_bigint::BigInt;
use proptest::prelude::*;

/// Machine with the library.
struct Library {
    machine: Machine<MemoryStore>,
    env: Env,
}

impl Library {
    fn new() -> Self {
        let (mut machine, mut env) = (Machine::new(MemoryStore::new()), Env::new());
        let evaluation = machine.eval_all(library::SOURCE, &mut env).unwrap();
        assert!(!evaluation.value().is_error(), "{}", evaluation.value());
        Self { machine, env }
    }

    fn call(&mut self, name: &str, arguments: &[&[u8]]) -> Evaluation {
        let arguments: Vec<Expr> = arguments.iter().map(Expr::bytes).collect();
        self.machine
            .call(Function::Name(name), &arguments, &mut self.env)
    }
}

thread_local! {
    static LIBRARY: RefCell<Library> = RefCell::new(Library::new());
}

/// Calls a function; returns its value, or topic and message of the error.
fn call(name: &str, arguments: &[&[u8]]) -> Result<Vec<u8>, String> {
    LIBRARY.with_borrow_mut(|library| {
        let evaluation = library.call(name, arguments);
        match evaluation.value().as_bytes() {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(evaluation.value().to_string()),
        }
    })
}

/// Calls a function of integers.
fn int(name: &str, arguments: &[&[u8]]) -> BigInt {
    let value =
        call(name, arguments).unwrap_or_else(|error| panic!("{name} {arguments:?}: {error}"));
    number(&value)
}

fn number(bytes: &[u8]) -> BigInt {
    BigInt::from_signed_bytes_be(bytes)
}

/// Quotient rounded down, and the remainder for it.
fn floored(a: &BigInt, b: &BigInt) -> (BigInt, BigInt) {
    let zero = BigInt::ZERO;
    let (quotient, remainder) = (a / b, a % b);
    if remainder != zero && (remainder < zero) != (*b < zero) {
        (quotient - 1, remainder + b)
    } else {
        (quotient, remainder)
    }
}

/// Checks every function of integers with two operands.
fn check_pair(a: &[u8], b: &[u8]) {
    let (x, y) = (number(a), number(b));
    let one = |flag: bool| BigInt::from(u8::from(flag));
    assert_eq!(int("int.add", &[a, b]), &x + &y, "{a:?} + {b:?}");
    assert_eq!(int("int.sub", &[a, b]), &x - &y, "{a:?} - {b:?}");
    assert_eq!(int("int.mul", &[a, b]), &x * &y, "{a:?} * {b:?}");
    let order = x.cmp(&y) as i8;
    assert_eq!(int("int.cmp", &[a, b]), BigInt::from(order), "{a:?} {b:?}");
    assert_eq!(int("int.eq", &[a, b]), one(x == y), "{a:?} = {b:?}");
    assert_eq!(int("int.lt", &[a, b]), one(x < y), "{a:?} < {b:?}");
    assert_eq!(int("int.le", &[a, b]), one(x <= y), "{a:?} <= {b:?}");
    assert_eq!(int("int.min", &[a, b]), x.clone().min(y.clone()));
    assert_eq!(int("int.max", &[a, b]), x.clone().max(y.clone()));
    if y == BigInt::ZERO {
        for name in ["int.div", "int.mod"] {
            assert_eq!(call(name, &[a, b]), Err("error low_eval: bad jump".into()));
        }
    } else {
        let (quotient, remainder) = floored(&x, &y);
        assert_eq!(int("int.div", &[a, b]), quotient, "{a:?} / {b:?}");
        assert_eq!(int("int.mod", &[a, b]), remainder, "{a:?} % {b:?}");
    }
}

fn check_one(a: &[u8]) {
    let x = number(a);
    assert_eq!(int("int.arg", &[a]), x);
    assert_eq!(int("int.neg", &[a]), -&x, "{a:?}");
    let sign = x.cmp(&BigInt::ZERO) as i8;
    assert_eq!(int("int.sign", &[a]), BigInt::from(sign), "{a:?}");
    assert_eq!(int("int.abs", &[a]), x.clone().max(-&x), "{a:?}");
    assert_eq!(
        call("int.trim", &[a]).unwrap(),
        x.to_signed_bytes_be(),
        "{a:?}"
    );
    let chosen = call("int.choose", &[a, b"yes", b"no"]).unwrap();
    assert_eq!(chosen, if sign == 0 { &b"no"[..] } else { b"yes" }, "{a:?}");
    let unsigned = BigInt::from_bytes_be(num_bigint::Sign::Plus, a);
    assert_eq!(int("bytes.uint", &[a]), unsigned);
}

#[test]
fn integers_at_the_borders_of_their_widths_match_rust() {
    let mut values: Vec<Vec<u8>> = vec![vec![], vec![0, 0], vec![0xff; 3]];
    for number in [
        -32_768, -257, -129, -128, -3, -1, 0, 1, 2, 127, 128, 255, 32_768,
    ] {
        values.push(BigInt::from(number).to_signed_bytes_be());
    }
    values.extend([b"add".to_vec(), b"heap_get".to_vec()]);
    for a in &values {
        check_one(a);
        for b in &values {
            check_pair(a, b);
        }
    }
}

fn integer() -> impl Strategy<Value = Vec<u8>> {
    let opcode = proptest::sample::select(Opcode::ALL.to_vec());
    prop_oneof![
        12 => proptest::collection::vec(any::<u8>(), 0..6),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => opcode.prop_map(|opcode| opcode.name().as_bytes().to_vec()),
        1 => (0..10_usize, any::<u8>()).prop_map(|(zeros, byte)| {
            let mut bytes = vec![0; zeros];
            bytes.push(byte);
            bytes
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn integers_match_rust(a in integer(), b in integer()) {
        check_one(&a);
        check_pair(&a, &b);
    }

    #[test]
    fn bits_match_rust(a in integer(), b in integer()) {
        let width = a.len().max(b.len());
        let wide = |bytes: &[u8]| [vec![0; width - bytes.len()], bytes.to_vec()].concat();
        let (x, y) = (wide(&a), wide(&b));
        let zip = |f: fn(u8, u8) -> u8| -> Vec<u8> {
            x.iter().zip(&y).map(|(a, b)| f(*a, *b)).collect()
        };
        // Results have at least one byte, and one more for operands that spell an opcode.
        let same = |found: Vec<u8>, expected: Vec<u8>| {
            let skipped = found.len() - expected.len().min(found.len());
            skipped <= 1 && found[skipped..] == expected && found[..skipped].iter().all(|byte| *byte == 0)
        };
        for (name, expected) in [
            ("bits.and", zip(|a, b| a & b)),
            ("bits.or", zip(|a, b| a | b)),
            ("bits.xor", zip(|a, b| a ^ b)),
        ] {
            let found = call(name, &[&a, &b]).unwrap();
            prop_assert!(same(found.clone(), expected.clone()), "{name} {a:?} {b:?}: {found:?} {expected:?}");
        }
        if Opcode::from_token(&a).is_none() && !a.is_empty() {
            let not: Vec<u8> = a.iter().map(|byte| !byte).collect();
            prop_assert_eq!(call("bits.not", &[&a]).unwrap(), not);
        }
    }

    #[test]
    fn byte_strings_match_rust(a in proptest::collection::vec(any::<u8>(), 0..80), b in integer(), start in 0..90_usize, len in 0..33_usize) {
        prop_assert_eq!(call("bytes.concat", &[&a, &b]).unwrap(), [a.clone(), b.clone()].concat());
        prop_assert_eq!(int("bytes.eq", &[&a, &a]), BigInt::from(1));
        prop_assert_eq!(int("bytes.eq", &[&a, &b]), BigInt::from(u8::from(a == b)));
        prop_assert_eq!(int("bytes.len", &[&a]), BigInt::from(a.len()));
        let number = |number: usize| BigInt::from(number).to_signed_bytes_be();
        let rest = a.get(start..).unwrap_or_default();
        let part = &rest[..len.min(rest.len())];
        prop_assert_eq!(call("bytes.slice", &[&a, &number(start), &number(len)]).unwrap(), part);
        prop_assert_eq!(call("bytes.at", &[&a, &number(start)]).unwrap(), &rest[..rest.len().min(1)]);
    }

    #[test]
    fn lists_match_rust(values in proptest::collection::vec(integer().prop_map(|mut value| { value.truncate(32); value }), 0..12)) {
        let mut list = vec![0; 32];
        for value in values.iter().rev() {
            list = call("list.push", &[&list, value]).unwrap();
        }
        prop_assert_eq!(int("list.len", &[&list]), BigInt::from(values.len()));
        let mut rest = list.clone();
        for (index, value) in values.iter().enumerate() {
            let index = BigInt::from(index).to_signed_bytes_be();
            prop_assert_eq!(&call("list.at", &[&list, &index]).unwrap(), value);
            prop_assert_eq!(&call("list.head", &[&rest]).unwrap(), value);
            rest = call("list.rest", &[&rest]).unwrap();
        }
        prop_assert_eq!(rest, vec![0; 32]);
    }

    #[test]
    fn maps_match_rust(steps in proptest::collection::vec((0..12_u8, integer(), any::<bool>()), 0..40)) {
        let mut map = vec![0; 32];
        let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        // Keys that spell an opcode are among them.
        let key = |key: u8| match key {
            0 => Vec::new(),
            key @ 1..=4 => Opcode::ALL[usize::from(key)].name().as_bytes().to_vec(),
            key => vec![b'k'; usize::from(key)],
        };
        for (number, value, is_removal) in steps {
            let mut value = value;
            value.truncate(32);
            if is_removal {
                map = call("map.remove", &[&map, &key(number)]).unwrap();
                expected.remove(&key(number));
            } else {
                map = call("map.set", &[&map, &key(number), &value]).unwrap();
                expected.insert(key(number), value);
            }
        }
        for number in 0..12 {
            let key = key(number);
            let value = expected.get(&key);
            prop_assert_eq!(int("map.has", &[&map, &key]), BigInt::from(u8::from(value.is_some())));
            prop_assert_eq!(call("map.get", &[&map, &key]).unwrap(), value.cloned().unwrap_or_default());
        }
    }
}

#[test]
fn concatenations_that_spell_opcodes_are_exact() {
    for opcode in Opcode::ALL {
        let name = opcode.name().as_bytes();
        for at in 0..=name.len() {
            let (a, b) = name.split_at(at);
            assert_eq!(call("bytes.concat", &[a, b]).unwrap(), name, "{opcode}");
        }
        assert_eq!(int("bytes.eq", &[name, name]), BigInt::from(1));
        assert_eq!(int("bytes.len", &[name]), BigInt::from(name.len()));
    }
}

#[test]
fn wrong_operands_are_errors() {
    let list = call("list.push", &[&[0; 32], &[7; 40]]).unwrap();
    let long = "error low_eval: bad jump";
    for (name, arguments, expected) in [
        (
            "bytes.slice",
            vec![&b"abc"[..], &[0xff], &[1]],
            "error low_eval: bad load",
        ),
        (
            "bytes.slice",
            vec![b"abc", &[0], &[33]],
            "error low_eval: load too wide",
        ),
        (
            "bytes.slice",
            vec![b"abc", &[0], &[0xff]],
            "error low_eval: bad load",
        ),
        ("list.push", vec![b"add", b"x"], long),
        ("list.push", vec![&[], b"x"], long),
        ("list.head", vec![&list], long),
        ("list.head", vec![&[0; 32]], "error low_eval: unknown atom"),
        ("list.at", vec![&list, &[1]], "error low_eval: unknown atom"),
        (
            "list.at",
            vec![&list, &[0xff]],
            "error low_eval: unknown atom",
        ),
        (
            "list.part",
            vec![&list, &[0xff], &[1]],
            "error low_eval: bad load",
        ),
        ("list.len", vec![b"jump"], "error low_eval: unknown atom"),
        ("map.get", vec![&[1], b"k"], "error low_eval: unknown atom"),
        (
            "map.set",
            vec![&list, b"k", b"v"],
            "error low_eval: unknown atom",
        ),
        ("int.div", vec![&[1]], "error eval: arity mismatch"),
    ] {
        assert_eq!(
            call(name, &arguments),
            Err(expected.into()),
            "{name} {arguments:?}"
        );
    }
    assert_eq!(call("list.part", &[&list, &[35], &[32]]).unwrap(), [7; 5]);
    let map = call("map.set", &[&[0; 32], b"k", &[9; 40]]).unwrap();
    assert_eq!(call("map.get", &[&map, b"k"]), Err(long.into()));
    assert_eq!(
        call("map.part", &[&map, b"k", &[30], &[32]]).unwrap(),
        [9; 10]
    );
    assert_eq!(
        call("map.part", &[&map, b"k", &[0xff], &[1]]),
        Err("error low_eval: bad load".into())
    );
}

#[test]
fn every_function_of_the_library_is_tested() {
    let source = include_str!("library.rs");
    for name in library::names() {
        let is_value =
            ["list.empty", "map.empty", "atom.new", "atom.load"].contains(&name.as_str());
        assert!(
            is_value || source.contains(&format!("\"{name}\"")),
            "{name}"
        );
    }
    let mut library = Library::new();
    let id = library.call("atom.new", &[b"add"]);
    let id = id.value().as_bytes().unwrap().to_vec();
    let expected = astreum_core::atom::Atom::bytes(*b"add").id();
    assert_eq!(id, expected.as_bytes());
    let part = library.call("atom.load", &[&id, &[1], &[9]]);
    assert_eq!(part.value().as_bytes(), Some(&b"dd"[..]));
    for name in ["list.empty", "map.empty"] {
        assert_eq!(
            library.env.get(name).and_then(Expr::as_bytes),
            Some(&[0; 32][..])
        );
    }
}
