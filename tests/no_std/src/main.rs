//! Test of the core on a bare microcontroller: no operating system, no std, only an allocator.
//!
//! It runs under qemu and prints its results; a failed assertion ends the emulator with status 1.

#![no_std]
#![no_main]

extern crate alloc;

mod heap;

use alloc::vec::Vec;
use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::crypto::SecretKey;
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Machine};
use astreum_core::wire::message::{Body, Envelope, Message, Topic};
use core::panic::PanicInfo;
use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::hprintln;
use heap::{BoardHeap, PSRAM_BYTES, PSRAM_START, Region};

#[global_allocator]
static HEAP: BoardHeap<1> = BoardHeap::new([Region::new(PSRAM_START, PSRAM_BYTES)]);

#[entry]
fn main() -> ! {
    // SAFETY: nothing else uses the region, and this runs once, before the first allocation.
    unsafe { HEAP.init() };
    program();
    counts();
    conformance();
    atoms();
    messages();
    follower();
    hprintln!("no_std: ok");
    debug::exit(EXIT_SUCCESS);
    loop {}
}

/// Checks that a program has the same result and charge as on other targets.
fn program() {
    let mut machine = Machine::new(MemoryStore::new());
    let source = "(1 2 ((a b (($0 $1 add) sk)) (a b) fn))";
    let evaluation = machine.eval_source(source, &mut Env::new());
    hprintln!(
        "{} = {}, {} charged",
        source,
        evaluation.value(),
        evaluation.used()
    );
    assert!(*evaluation.value() == Expr::bytes([3]));
    assert_eq!(evaluation.used(), 2);
}

/// Checks that value, charge and steps do not depend on the pointer width or the layout of types.
fn counts() {
    hprintln!(
        "{} scripts have the same accounting as on a host",
        astreum_no_std::accounting()
    );
}

/// Checks the answers to the conformance cases.
fn conformance() {
    let total = astreum_no_std::conformance(|_, _| {});
    hprintln!("{} conformance cases have the expected answers", total);
}

/// Checks that a follower verifies a chain of 100 blocks, and stops below an invalid one, with the
/// same effects and events as on a host.
fn follower() {
    for report in astreum_no_std::follow() {
        hprintln!("follower: {}", report);
    }
    let peak = HEAP.peak_bytes();
    hprintln!("peak heap: {} of {} KiB", peak >> 10, PSRAM_BYTES >> 10);
}

/// Checks that the id of an expression's atoms equals the one that a host computed.
fn atoms() {
    let expr = Expr::list([Expr::bytes("abc"), Expr::list([])]);
    let (id, atoms) = expr.to_atoms();
    hprintln!("{} is {}", expr, id);
    let expected: Result<AtomId, _> = EXPRESSION_ID.parse();
    assert_eq!(Ok(id), expected);
    let store: MemoryStore = atoms.into_iter().collect();
    assert!(Expr::from_atoms(&store, &id, 10).as_ref() == Ok(&expr));
}

/// Id of `("abc" ())`, as computed on a host.
const EXPRESSION_ID: &str = "e81ed56d9f7493977f410b210852adb02a83ee144eccce617a5ff1104595d8ed";

/// Checks that one node opens what the other one has sealed.
fn messages() {
    let (ours, theirs) = (
        SecretKey::from_bytes([1; 32]),
        SecretKey::from_bytes([2; 32]),
    );
    let (Ok(to_them), Ok(to_us)) = (
        ours.agree(&theirs.public_key()),
        theirs.agree(&ours.public_key()),
    ) else {
        panic!("both keys are valid");
    };
    let envelope = Envelope {
        sender: ours.public_key(),
        port: 52_780,
        key: &to_them,
        nonce: [3; 12],
    };
    let mut bytes = Vec::new();
    assert!(envelope.write(&mut bytes, Topic::Ping, b"hello").is_ok());
    let Ok(Message {
        body: Body::Sealed(sealed),
        ..
    }) = Message::decode(&bytes)
    else {
        panic!("not a sealed message");
    };
    let mut opened = Vec::new();
    let content = sealed.open(&to_us, &mut opened);
    hprintln!("{} bytes sealed and opened: {:?}", bytes.len(), content);
    assert_eq!(content, Ok((Topic::Ping, b"hello".as_slice())));
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("no_std: {}", info);
    debug::exit(EXIT_FAILURE);
    loop {}
}
