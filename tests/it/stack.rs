//! Stack machine: opcodes, their charges, and their failures.

use astreum_core::atom::{Atom, AtomId, AtomKind, AtomSource, MemoryStore};
use astreum_core::expr::{Bytes, Expr};
use astreum_core::machine::{Evaluation, Machine};
use astreum_tests::model::stack::OPCODES;

fn run_with(store: MemoryStore, code: &[&[u8]], limit: Option<u64>) -> (Evaluation, MemoryStore) {
    let mut machine = Machine::new(store);
    machine.set_meter_limit(limit);
    let code: Vec<Bytes> = code.iter().map(|token| Bytes::new(token)).collect();
    let evaluation = machine.run(&code);
    (evaluation, machine.into_store())
}

fn run(code: &[&[u8]]) -> Evaluation {
    run_with(MemoryStore::new(), code, None).0
}

/// Checks the resulting value and the charge.
fn gives(code: &[&[u8]], value: &[u8], used: u64) {
    let evaluation = run(code);
    assert_eq!(*evaluation.value(), Expr::bytes(value), "{code:?}");
    assert_eq!(evaluation.used(), used, "{code:?}");
}

fn fails(code: &[&[u8]], message: &str) {
    let expected = Expr::error("low_eval", message);
    assert_eq!(*run(code).value(), expected, "{code:?}");
}

#[test]
fn add_has_the_minimal_width_that_fits_the_sum() {
    gives(&[b"\x01", b"\x02", b"add"], &[3], 2);
    gives(&[b"\x7f", b"\x01", b"add"], &[0, 0x80], 2);
    gives(&[b"\x80", b"\xff", b"add"], &[0xff, 0x7f], 2);
    gives(&[b"\x00\x01", b"\x01", b"add"], &[0, 2], 3);
    gives(&[b"", b"", b"add"], &[0], 0);
}

#[test]
fn nand_pads_in_front_and_costs_twice_the_width() {
    gives(&[b"\xf0", b"\xcc", b"nand"], &[0x3f], 2);
    gives(&[b"\xff\xff", b"\x0f", b"nand"], &[0xff, 0xf0], 4);
    gives(&[b"", b"", b"nand"], &[0xff], 2);
}

#[test]
fn jump_goes_to_a_token() {
    gives(&[b"\x03", b"jump", b"\x09", b"\x05"], &[5], 1);
    fails(&[b"\x7f", b"jump"], "bad jump");
    fails(&[b"\xff", b"jump"], "bad jump");
    fails(&[b"\x02", b"jump"], "bad jump");
}

#[test]
fn heap_stores_values_by_key() {
    gives(
        &[b"k", b"value", b"heap_set", b"k", b"heap_get"],
        b"value",
        6,
    );
    gives(&[b"absent", b"heap_get"], b"", 1);
}

#[test]
fn atoms_are_created_sliced_concatenated_and_loaded() {
    let made = Atom::bytes(*b"hello world");
    let id = made.id();
    gives(&[b"\x01", b"hello world", b"atom_new"], id.as_ref(), 11);
    let store: MemoryStore = [made].into_iter().collect();
    let on_store = |code: &[&[u8]]| run_with(store.clone(), code, None);

    let (load, _) = on_store(&[id.as_ref(), b"\x06", b"\x20", b"atom_load"]);
    assert_eq!((load.value(), load.used()), (&Expr::bytes("world"), 5));

    let (slice, after) = on_store(&[id.as_ref(), b"\x00", b"\x05", b"atom_slice"]);
    let hello = Atom::bytes(*b"hello");
    assert_eq!((slice.value(), slice.used()), (&Expr::bytes(hello.id()), 5));
    assert_eq!(after.atom(&hello.id()), Ok(hello));

    let (twice, after) = on_store(&[id.as_ref(), id.as_ref(), b"atom_concat"]);
    let both = Atom::bytes(*b"hello worldhello world");
    assert_eq!((twice.value(), twice.used()), (&Expr::bytes(both.id()), 22));
    assert_eq!(after.atom(&both.id()), Ok(both));
}

#[test]
fn atom_link_makes_a_list_atom() {
    let item = Atom::symbol("item");
    let rest = AtomId::new([9; 32]);
    let store: MemoryStore = [item.clone()].into_iter().collect();
    let child = item.id();
    let code: [&[u8]; 3] = [child.as_ref(), rest.as_ref(), b"atom_link"];
    let (linked, after) = run_with(store, &code, None);
    let expected = Atom::list(item.id(), rest);
    assert_eq!(
        (linked.value(), linked.used()),
        (&Expr::bytes(expected.id()), 64)
    );
    let found = after.atom(&expected.id()).unwrap();
    assert_eq!((found.kind(), found.next()), (AtomKind::List, rest));
    fails(&[b"\x01", &[0; 32], b"atom_link"], "bad link");
    fails(&[&[1; 32], &[0; 32], b"atom_link"], "unknown atom");
}

#[test]
fn invalid_programs_fail_with_a_reason() {
    fails(&[], "bad stack");
    fails(&[b"\x01", b"\x02"], "bad stack");
    for opcode in OPCODES {
        fails(&[opcode.as_bytes()], "underflow");
    }
    fails(&[&[1; 32], b"\x00", b"\x21", b"atom_load"], "load too wide");
    fails(&[&[1; 32], b"\xff", b"\x01", b"atom_load"], "bad load");
    fails(&[&[1; 32], b"\x00", b"\xff", b"atom_slice"], "bad slice");
    fails(&[&[1; 32], b"\x00", b"\x01", b"atom_slice"], "unknown atom");
    fails(&[b"", b"data", b"atom_new"], "bad atom kind");
    fails(&[b"\x03", b"data", b"atom_new"], "unknown atom kind");
}

#[test]
fn outcome_names_the_missing_atom() {
    let id = AtomId::new([1; 32]);
    let evaluation = run(&[id.as_ref(), b"\x00", b"\x01", b"atom_load"]);
    assert_eq!(evaluation.missing(), Some(id));
}

#[test]
fn charge_that_would_reach_the_limit_is_refused() {
    let code: [&[u8]; 3] = [b"\x01", b"\x02", b"add"];
    let (enough, _) = run_with(MemoryStore::new(), &code, Some(3));
    assert_eq!(*enough.value(), Expr::bytes([3]));
    let (short, _) = run_with(MemoryStore::new(), &code, Some(2));
    assert_eq!(*short.value(), Expr::error("low_eval", "meter limit"));
    assert_eq!(short.used(), 0);
}

#[test]
fn tokens_that_are_not_opcodes_are_values() {
    gives(&[b"ADD"], b"ADD", 0);
    gives(&[b""], b"", 0);
}
