//! Fuzz target of stack programs, compared with the naive model: same value or error, same charge.

use super::input::Input;
use crate::model::stack::{self, OPCODES};
use astreum_core::atom::{Atom, AtomId, MemoryStore};
use astreum_core::expr::Bytes;
use astreum_core::machine::{Machine, Meter};
use std::sync::OnceLock;

/// Maximum number of tokens in a program; the meter limits how often they run.
const MAX_TOKENS: usize = 256;
/// Maximum length of a literal, in bytes: more than an id has.
const MAX_LITERAL_BYTES: usize = 40;

/// Runs one input. The first byte is the meter's limit in units of 8, the rest is a program: a byte
/// is an opcode, the id of an atom that is in the store, or the length of the literal that follows.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let limit = u64::from(input.byte().unwrap_or(255)) * 8;
    let (ids, store) = known();
    let mut code: Vec<Vec<u8>> = Vec::new();
    while let Some(byte) = input.byte()
        && code.len() < MAX_TOKENS
    {
        let byte = usize::from(byte);
        let token = match (OPCODES.get(byte), ids.get(byte.wrapping_sub(OPCODES.len()))) {
            (Some(opcode), _) => opcode.as_bytes().to_vec(),
            (None, Some(id)) => id.as_ref().to_vec(),
            (None, None) => input.bytes(byte % (MAX_LITERAL_BYTES + 1)).to_vec(),
        };
        code.push(token);
    }
    super::count_operations(code.len());
    let (mut expected_store, mut meter) = (store.clone(), Meter::new(Some(limit)));
    let expected = stack::run(&code, &mut expected_store, &mut meter);
    let mut machine = Machine::new(store.clone());
    machine.set_meter_limit(Some(limit));
    let tokens: Vec<Bytes> = code.iter().map(|token| Bytes::new(token)).collect();
    let evaluation = machine.run(&tokens);
    assert_eq!(*evaluation.value(), expected, "the value of {code:?}");
    assert_eq!(evaluation.used(), meter.used(), "the charge of {code:?}");
}

/// Returns the atoms that programs may read, and their ids.
fn known() -> &'static ([AtomId; 3], MemoryStore) {
    static KNOWN: OnceLock<([AtomId; 3], MemoryStore)> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut store = MemoryStore::new();
        let atoms = [
            Atom::bytes(*b"some bytes of data, more than 32 of them"),
            Atom::symbol("name"),
            Atom::list(AtomId::new([7; 32]), AtomId::ZERO),
        ];
        (atoms.map(|atom| store.insert(atom)), store)
    })
}

/// Encodes a program as an input; `None` if a literal is too long.
#[must_use]
pub fn encode(limit: Option<u64>, code: &[Vec<u8>]) -> Option<Vec<u8>> {
    let units = limit.map_or(255, |limit| u8::try_from(limit / 8).unwrap_or(255));
    let mut out = vec![units];
    for token in code {
        let opcode = OPCODES.iter().position(|name| name.as_bytes() == token);
        match opcode {
            Some(opcode) => out.push(u8::try_from(opcode).ok()?),
            None if token.len() > MAX_LITERAL_BYTES => return None,
            None => {
                // Increased by one round, so that it means neither an opcode nor an atom.
                out.push(u8::try_from(token.len() + MAX_LITERAL_BYTES + 1).ok()?);
                out.extend_from_slice(token);
            }
        }
    }
    Some(out)
}
