//! Stack machine oracle that follows the reference: tokens are compared as text at every step, and
//! values are vectors.

#![expect(
    clippy::indexing_slicing,
    reason = "an oracle: a wrong index fails the test that uses it"
)]

use astreum_core::atom::{Atom, AtomId, AtomKind, AtomSink, AtomSource};
use astreum_core::expr::Expr;
use astreum_core::machine::Meter;
use std::collections::BTreeMap;

/// Tokens that are opcodes and not literals.
pub const OPCODES: [&str; 10] = [
    "add",
    "nand",
    "jump",
    "heap_get",
    "heap_set",
    "atom_slice",
    "atom_link",
    "atom_concat",
    "atom_new",
    "atom_load",
];

/// Runs `code`. Only the meter stops a program that does not end.
pub fn run<S: AtomSource + AtomSink>(code: &[Vec<u8>], store: &mut S, meter: &mut Meter) -> Expr {
    match result(code, store, meter) {
        Ok(value) => Expr::bytes(value),
        Err(message) => Expr::error("low_eval", message),
    }
}

fn result<S: AtomSource + AtomSink>(
    code: &[Vec<u8>],
    store: &mut S,
    meter: &mut Meter,
) -> Result<Vec<u8>, &'static str> {
    let mut stack: Vec<Vec<u8>> = Vec::new();
    let mut heap: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut pc = 0;
    while pc < code.len() {
        let token = &code[pc];
        pc += 1;
        match token.as_slice() {
            b"add" => {
                let [a, b] = pop(&mut stack)?;
                charge(meter, a.len() + b.len())?;
                stack.push(add(&a, &b));
            }
            b"nand" => {
                let [a, b] = pop(&mut stack)?;
                let value = nand(&a, &b);
                charge(meter, 2 * value.len())?;
                stack.push(value);
            }
            b"jump" => {
                let [target] = pop(&mut stack)?;
                charge(meter, 1)?;
                let target = index(&target).ok_or("bad jump")?;
                pc = if target < code.len() {
                    target
                } else {
                    return Err("bad jump");
                };
            }
            b"heap_get" => {
                let [key] = pop(&mut stack)?;
                charge(meter, 1)?;
                stack.push(heap.get(&key).cloned().unwrap_or_default());
            }
            b"heap_set" => {
                let [key, value] = pop(&mut stack)?;
                charge(meter, value.len())?;
                heap.insert(key, value);
            }
            b"atom_slice" => {
                let [id, start, len] = pop(&mut stack)?;
                let (start, len) = index(&start).zip(index(&len)).ok_or("bad slice")?;
                let atom = atom(store, &id)?;
                let data = cut(atom.data(), start, len);
                charge(meter, data.len())?;
                stack.push(put(store, Atom::new(atom.kind(), data, AtomId::ZERO))?);
            }
            b"atom_link" => {
                let [id1, id2] = pop(&mut stack)?;
                let first = AtomId::from_slice(&id1).ok_or("bad link")?;
                let rest = AtomId::from_slice(&id2).ok_or("bad link")?;
                atom(store, &id1)?;
                charge(meter, 64)?;
                stack.push(put(store, Atom::list(first, rest))?);
            }
            b"atom_concat" => {
                let [id1, id2] = pop(&mut stack)?;
                let data = [atom(store, &id1)?.data(), atom(store, &id2)?.data()].concat();
                charge(meter, data.len())?;
                stack.push(put(store, Atom::bytes(data))?);
            }
            b"atom_new" => {
                let [kind, data] = pop(&mut stack)?;
                let [code] = kind[..] else {
                    return Err("bad atom kind");
                };
                let kind = AtomKind::from_code(code).ok_or("unknown atom kind")?;
                charge(meter, data.len())?;
                stack.push(put(store, Atom::new(kind, data, AtomId::ZERO))?);
            }
            b"atom_load" => {
                let [id, start, len] = pop(&mut stack)?;
                let (start, len) = index(&start).zip(index(&len)).ok_or("bad load")?;
                if len > 32 {
                    return Err("load too wide");
                }
                let atom = atom(store, &id)?;
                let data = cut(atom.data(), start, len);
                charge(meter, data.len())?;
                stack.push(data.to_vec());
            }
            literal => stack.push(literal.to_vec()),
        }
    }
    let [value] = <[Vec<u8>; 1]>::try_from(stack).map_err(|_| "bad stack")?;
    Ok(value)
}

fn pop<const N: usize>(stack: &mut Vec<Vec<u8>>) -> Result<[Vec<u8>; N], &'static str> {
    let rest = stack.len().checked_sub(N).ok_or("underflow")?;
    stack
        .split_off(rest)
        .try_into()
        .map_err(|_| "unreachable: the split has N values")
}

fn charge(meter: &mut Meter, n: usize) -> Result<(), &'static str> {
    meter.charge(n as u64).then_some(()).ok_or("meter limit")
}

fn atom<S: AtomSource>(store: &S, id: &[u8]) -> Result<Atom, &'static str> {
    let id = AtomId::from_slice(id).ok_or("unknown atom")?;
    store.atom(&id).map_err(|_| "unknown atom")
}

fn put<S: AtomSink>(store: &mut S, atom: Atom) -> Result<Vec<u8>, &'static str> {
    let id = atom.id();
    store.put(id, atom).map_err(|_| "storage error")?;
    Ok(id.as_bytes().to_vec())
}

fn cut(data: &[u8], start: usize, len: usize) -> &[u8] {
    let start = start.min(data.len());
    &data[start..start.saturating_add(len).min(data.len())]
}

/// Converts a two's-complement number of any width to an index: `None` if negative, the maximum if
/// larger.
fn index(bytes: &[u8]) -> Option<usize> {
    if bytes.first().is_some_and(|first| *first >= 0x80) {
        return None;
    }
    Some(
        bytes
            .iter()
            .fold(0usize, |value, byte| match value.checked_mul(256) {
                Some(value) => value + usize::from(*byte),
                None => usize::MAX,
            }),
    )
}

fn nand(a: &[u8], b: &[u8]) -> Vec<u8> {
    let width = a.len().max(b.len()).max(1);
    let (a, b) = (extend(a, width, 0), extend(b, width, 0));
    a.iter().zip(&b).map(|(a, b)| !(a & b)).collect()
}

fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let width = a.len().max(b.len());
    let (wide_a, wide_b) = (extend(a, width + 1, sign(a)), extend(b, width + 1, sign(b)));
    let mut sum = vec![0; width + 1];
    let mut carry = 0;
    for i in (0..=width).rev() {
        let digit = u16::from(wide_a[i]) + u16::from(wide_b[i]) + carry;
        sum[i] = digit.to_be_bytes()[1];
        carry = digit >> 8;
    }
    // The first byte is needed only if the remaining bytes would have another sign without it.
    let needed = sum.len() == 1 || sum[0] != sign(&sum[1..]);
    if needed { sum } else { sum.split_off(1) }
}

fn sign(bytes: &[u8]) -> u8 {
    match bytes.first() {
        Some(0x80..) => 0xff,
        _ => 0,
    }
}

fn extend(bytes: &[u8], width: usize, with: u8) -> Vec<u8> {
    let mut wide = vec![with; width - bytes.len()];
    wide.extend_from_slice(bytes);
    wide
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::MemoryStore;

    #[test]
    fn addition_has_the_minimal_width_that_fits_the_sum() {
        for (a, b, sum) in [
            (&[0x7f][..], &[0x01][..], &[0x00, 0x80][..]),
            (&[0x80], &[0xff], &[0xff, 0x7f]),
            (&[0xff], &[0x01], &[0x00]),
            (&[0x00, 0x7f], &[0x01], &[0x00, 0x80]),
            (&[], &[], &[0x00]),
            (&[0xff, 0xff], &[0x02], &[0x00, 0x01]),
        ] {
            assert_eq!(add(a, b), sum, "{a:?} + {b:?}");
        }
    }

    #[test]
    fn loop_ends_at_its_limit() {
        let mut meter = Meter::new(Some(1000));
        let code = [vec![0], b"jump".to_vec()];
        let value = run(&code, &mut MemoryStore::new(), &mut meter);
        assert_eq!(value, Expr::error("low_eval", "meter limit"));
        assert_eq!(meter.used(), 999);
    }

    #[test]
    fn index_is_not_negative_and_saturates() {
        assert_eq!(index(&[]), Some(0));
        assert_eq!(index(&[0xff, 0x00]), None);
        assert_eq!(index(&[1, 0]), Some(256));
        assert_eq!(index(&[0x7f; 40]), Some(usize::MAX));
    }
}
