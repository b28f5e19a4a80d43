//! The stack machine as its documentation puts it, one step at a time, on byte vectors.
//!
//! Order inside an opcode: underflow, argument checks, atom lookup, charge, effect; only a jump is
//! charged before its target is looked at. A charge of n is refused when used + n reaches the limit,
//! and then adds nothing.

use astreum_core::atom::{Atom, AtomId, AtomKind};
use std::collections::BTreeMap;

/// Widest chunk that `atom_load` gives, in bytes.
const LOAD_MAX_BYTES: i128 = 32;

/// How a program ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The one value that was left, or the message of the error.
    pub value: Result<Vec<u8>, &'static str>,
    /// What the meter charged.
    pub used: u64,
}

/// A running program.
struct Run<'a> {
    code: &'a [Vec<u8>],
    at: usize,
    stack: Vec<Vec<u8>>,
    heap: BTreeMap<Vec<u8>, Vec<u8>>,
    atoms: BTreeMap<Vec<u8>, Atom>,
    limit: Option<u64>,
    used: u64,
}

/// Runs `code` with the meter at `limit` and these atoms in the store.
#[must_use]
pub fn run(code: &[Vec<u8>], limit: Option<u64>, atoms: &[Atom]) -> Answer {
    let mut run = Run {
        code,
        at: 0,
        stack: Vec::new(),
        heap: BTreeMap::new(),
        atoms: BTreeMap::new(),
        limit,
        used: 0,
    };
    for atom in atoms {
        run.atoms.insert(atom.id().as_ref().to_vec(), atom.clone());
    }
    let value = loop {
        let Some(token) = code.get(run.at) else {
            break match (run.stack.pop(), run.stack.is_empty()) {
                (Some(value), true) => Ok(value),
                _ => Err("bad stack"),
            };
        };
        run.at += 1;
        if let Err(message) = run.step(token) {
            break Err(message);
        }
    };
    Answer {
        value,
        used: run.used,
    }
}

impl Run<'_> {
    fn step(&mut self, token: &[u8]) -> Result<(), &'static str> {
        match token {
            b"add" => {
                let [a, b] = self.pop()?;
                self.charge(a.len() + b.len())?;
                self.stack.push(add(&a, &b));
            }
            b"nand" => {
                let [a, b] = self.pop()?;
                self.charge(2 * a.len().max(b.len()).max(1))?;
                self.stack.push(nand(&a, &b));
            }
            b"jump" => {
                let [target] = self.pop()?;
                self.charge(1)?;
                self.at = usize::try_from(integer(&target))
                    .ok()
                    .filter(|&at| at < self.code.len())
                    .ok_or("bad jump")?;
            }
            b"heap_get" => {
                let [key] = self.pop()?;
                self.charge(1)?;
                let value = self.heap.get(&key).cloned().unwrap_or_default();
                self.stack.push(value);
            }
            b"heap_set" => {
                let [key, value] = self.pop()?;
                self.charge(value.len())?;
                self.heap.insert(key, value);
            }
            b"atom_new" => self.atom_new()?,
            b"atom_slice" => {
                let (atom, from, to) = self.range("bad slice", i128::MAX)?;
                self.charge(to - from)?;
                let data = atom.data().get(from..to).unwrap_or_default();
                self.make(Atom::new(atom.kind(), data, AtomId::ZERO));
            }
            b"atom_load" => {
                let (atom, from, to) = self.range("bad load", LOAD_MAX_BYTES)?;
                self.charge(to - from)?;
                self.stack
                    .push(atom.data().get(from..to).unwrap_or_default().to_vec());
            }
            b"atom_concat" => {
                let [first, second] = self.pop()?;
                let first = self.atom(&first)?;
                let second = self.atom(&second)?;
                let joined = [first.data(), second.data()].concat();
                self.charge(joined.len())?;
                self.make(Atom::bytes(joined));
            }
            b"atom_link" => {
                let [child, next] = self.pop()?;
                let ids = (AtomId::from_slice(&child), AtomId::from_slice(&next));
                let (Some(child_id), Some(next_id)) = ids else {
                    return Err("bad link");
                };
                self.atom(&child)?;
                self.charge(child.len() + next.len())?;
                self.make(Atom::list(child_id, next_id));
            }
            literal => self.stack.push(literal.to_vec()),
        }
        Ok(())
    }

    fn atom_new(&mut self) -> Result<(), &'static str> {
        let [kind, data] = self.pop()?;
        let [code] = *kind else {
            return Err("bad atom kind");
        };
        let kind = AtomKind::from_code(code).ok_or("unknown atom kind")?;
        self.charge(data.len())?;
        self.make(Atom::new(kind, data, AtomId::ZERO));
        Ok(())
    }

    /// The topmost values, the deepest first.
    fn pop<const N: usize>(&mut self) -> Result<[Vec<u8>; N], &'static str> {
        let keep = self.stack.len().checked_sub(N).ok_or("underflow")?;
        let top = self.stack.split_off(keep);
        top.try_into().map_err(|_| "underflow")
    }

    fn charge(&mut self, amount: usize) -> Result<(), &'static str> {
        let used = self.used.saturating_add(amount as u64);
        if self.limit.is_some_and(|limit| used >= limit) {
            return Err("meter limit");
        }
        self.used = used;
        Ok(())
    }

    fn atom(&self, id: &[u8]) -> Result<Atom, &'static str> {
        self.atoms.get(id).cloned().ok_or("unknown atom")
    }

    /// Pops id, start and length; gives the atom and the part of its data that is meant.
    fn range(
        &mut self,
        bad: &'static str,
        length_max: i128,
    ) -> Result<(Atom, usize, usize), &'static str> {
        let [id, start, length] = self.pop()?;
        let (start, length) = (integer(&start), integer(&length));
        if start < 0 || length < 0 {
            return Err(bad);
        }
        if length > length_max {
            return Err("load too wide");
        }
        let atom = self.atom(&id)?;
        let len = atom.data().len();
        let from = usize::try_from(start).map_or(len, |start| start.min(len));
        let to = usize::try_from(length).map_or(len, |length| from.saturating_add(length).min(len));
        Ok((atom, from, to))
    }

    fn make(&mut self, atom: Atom) {
        let id = atom.id().as_ref().to_vec();
        self.atoms.insert(id.clone(), atom);
        self.stack.push(id);
    }
}

/// Signed big-endian two's complement of any width; what does not fit saturates.
fn integer(bytes: &[u8]) -> i128 {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let fill: i128 = if negative { -1 } else { 0 };
    let mut value = fill;
    for &byte in bytes {
        let fits = value
            .checked_mul(256)
            .and_then(|v| v.checked_add(byte.into()));
        let Some(next) = fits else {
            return if negative { i128::MIN } else { i128::MAX };
        };
        value = next;
    }
    value
}

/// The sum, as wide as the wider operand, or one byte more where it needs that.
fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let wide = a.len().max(b.len()).max(1);
    let (a, b) = (extended(a, wide + 1), extended(b, wide + 1));
    let mut sum = vec![0; wide + 1];
    let mut carry = 0;
    for ((to, &x), &y) in sum.iter_mut().zip(&a).zip(&b).rev() {
        let [high, low] = (u16::from(x) + u16::from(y) + carry).to_be_bytes();
        carry = high.into();
        *to = low;
    }
    let negative = |bytes: &[u8]| bytes.first().is_some_and(|first| first & 0x80 != 0);
    match sum.as_slice() {
        [0x00, rest @ ..] if !negative(rest) => rest.to_vec(),
        [0xff, rest @ ..] if negative(rest) => rest.to_vec(),
        _ => sum,
    }
}

/// Sign-extended to this width.
fn extended(bytes: &[u8], wide: usize) -> Vec<u8> {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut out = vec![if negative { 0xff } else { 0x00 }; wide - bytes.len()];
    out.extend_from_slice(bytes);
    out
}

/// Bit by bit, the shorter operand padded with zeros in front.
fn nand(a: &[u8], b: &[u8]) -> Vec<u8> {
    let wide = a.len().max(b.len()).max(1);
    let padded = |bytes: &[u8]| {
        let mut out = vec![0; wide - bytes.len()];
        out.extend_from_slice(bytes);
        out
    };
    let pairs = padded(a).into_iter().zip(padded(b));
    pairs.map(|(x, y)| !(x & y)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(code: &[&[u8]]) -> Answer {
        let code: Vec<Vec<u8>> = code.iter().map(|token| token.to_vec()).collect();
        run(&code, Some(1000), &[])
    }

    #[test]
    fn addition_is_as_wide_as_it_has_to_be() {
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
    fn a_loop_ends_at_its_limit() {
        let answer = ends(&[b"\x00", b"jump"]);
        assert_eq!(answer.value, Err("meter limit"));
        assert_eq!(answer.used, 999);
    }

    #[test]
    fn integers_saturate() {
        assert_eq!(integer(&[]), 0);
        assert_eq!(integer(&[0xff, 0x00]), -256);
        assert_eq!(integer(&[0x7f; 40]), i128::MAX);
        assert_eq!(integer(&[0x80; 40]), i128::MIN);
    }
}
