//! Random programs.
#![allow(dead_code, reason = "each test uses a part of it")]

use astreum_core::atom::{Atom, AtomId, MemoryStore};
use astreum_core::expr::Expr;
use astreum_tests::model::stack;
use proptest::collection::vec as vec_of;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;

/// Returns a store with a list of two atoms and a symbol, and the ids of all.
pub(crate) fn store() -> (MemoryStore, Vec<AtomId>) {
    let mut store = MemoryStore::new();
    let last = store.insert(Atom::bytes(*b"the last one of a list"));
    let first = store.insert(Atom::list(AtomId::new([7; 32]), last));
    let symbol = store.insert(Atom::symbol("sym"));
    (store, vec![last, first, symbol])
}

/// Returns the ids of all atoms.
pub(crate) fn atoms(store: &MemoryStore) -> Vec<AtomId> {
    store.iter().map(|(id, _)| *id).collect()
}

fn literal() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..24u8).prop_map(|target| vec![target]),
        3 => select(vec![&b"a"[..], b"b", b"", b"\x00", b"\x01", b"\xff", b"\x7f", b"\x00\x01"])
            .prop_map(<[u8]>::to_vec),
        1 => select(vec![8usize, 9, 16, 31, 32, 33, 40]).prop_flat_map(|len| vec_of(any::<u8>(), len)),
        1 => select(store().1).prop_map(|id| id.as_bytes().to_vec()),
    ]
}

/// Generates tokens in common sequences, so that some programs run for a while.
fn tokens() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let opcode = || select(stack::OPCODES.to_vec()).prop_map(|name| name.as_bytes().to_vec());
    let with = |names: &'static [&'static str]| {
        (literal(), literal()).prop_map(move |(a, b)| {
            let token = |name: &&str| match *name {
                "A" => a.clone(),
                "B" => b.clone(),
                opcode => opcode.as_bytes().to_vec(),
            };
            names.iter().map(token).collect::<Vec<_>>()
        })
    };
    prop_oneof![
        2 => opcode().prop_map(|token| vec![token]),
        4 => literal().prop_map(|token| vec![token]),
        2 => with(&["A", "B", "add"]),
        2 => with(&["A", "B", "nand"]),
        1 => with(&["A", "jump"]),
        2 => with(&["A", "heap_get"]),
        2 => with(&["A", "B", "heap_set"]),
        2 => with(&["A", "A", "heap_get", "B", "add", "heap_set"]),
        1 => with(&["A", "heap_get", "heap_get", "jump"]),
        1 => with(&["A", "heap_get", "jump"]),
        1 => with(&["A", "B", "atom_new"]),
        1 => with(&["A", "\u{1}", "B", "atom_slice"]),
        1 => with(&["A", "\u{1}", "B", "atom_load"]),
    ]
}

/// Generates a stack program.
pub(crate) fn code() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec_of(tokens(), 0..7).prop_map(|parts| parts.concat())
}

fn name() -> impl Strategy<Value = &'static str> {
    select(vec![
        "a", "b", "f", "g", "s", "t", "list", "sym", "bad", "free", "def", "ref", "fn", "sk",
        "error", "id",
    ])
}

fn body_symbol() -> impl Strategy<Value = Expr> {
    let names = [
        "add", "add", "nand", "heap_get", "heap_set", "atom_new", "$0", "$0", "$1", "$1", "$2",
        "$x", "$", "a", "$01",
    ];
    select(names.to_vec()).prop_map(Expr::symbol)
}

fn leaf() -> impl Strategy<Value = Expr> {
    prop_oneof![
        3 => name().prop_map(Expr::symbol),
        3 => literal().prop_map(Expr::bytes),
        1 => select(stack::OPCODES.to_vec()).prop_map(Expr::bytes),
        1 => body_symbol(),
        1 => Just(Expr::list(vec![])),
    ]
}

fn with_tail(mut items: Vec<Expr>, tail: &str) -> Expr {
    items.push(Expr::symbol(tail));
    Expr::list(items)
}

/// Generates an expression that refers to [`bindings`].
pub(crate) fn expr() -> impl Strategy<Value = Expr> {
    leaf().prop_recursive(5, 60, 5, |inner| {
        let items = || vec_of(inner.clone(), 0..4);
        let names = vec_of(
            select(vec!["a", "b", "f", "g"]).prop_map(Expr::symbol),
            0..3,
        );
        let body = vec_of(prop_oneof![3 => body_symbol(), 1 => inner.clone()], 1..5);
        let function = (items(), names)
            .prop_map(|(body, params)| with_tail(vec![Expr::list(body), Expr::list(params)], "fn"));
        let stack = body.prop_map(|body| with_tail(vec![Expr::list(body)], "sk"));
        let form = prop_oneof![function, stack].boxed();
        let bound = select(vec!["f", "g", "s", "t", "a", "b"]);
        prop_oneof![
            2 => items().prop_map(Expr::list),
            1 => form.clone(),
            4 => (items(), form.clone()).prop_map(|(mut items, form)| {
                items.push(form);
                Expr::list(items)
            }),
            4 => (items(), bound.clone()).prop_map(|(items, name)| with_tail(items, name)),
            2 => (prop_oneof![inner.clone(), form], bound).prop_map(|(value, name)| {
                with_tail(vec![value, Expr::symbol(name)], "def")
            }),
            1 => (items(), name()).prop_map(|(items, name)| with_tail(items, name)),
        ]
    })
}

#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the texts parse, and the store has three atoms"
)]
/// Returns the bindings of an environment.
pub(crate) fn bindings() -> BTreeMap<String, Expr> {
    let parsed = |text: &str| astreum_core::text::parse(text).unwrap();
    let id = Expr::bytes(store().1[1].as_bytes());
    let pairs = [
        ("a", Expr::bytes([5])),
        ("f", parsed("((x (1 (($0 $1 add) sk))) (x) fn)")),
        ("g", parsed("((a b (($0 $1 nand) sk)) (a b) fn)")),
        ("s", parsed("(($0 (a) add) sk)")),
        ("t", parsed("(nonsense ($1 $0) sk)")),
        ("list", parsed("(1 2 300)")),
        ("sym", Expr::symbol("add")),
        ("bad", Expr::error("mine", "message")),
        ("id", with_tail(vec![id], "ref")),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}
