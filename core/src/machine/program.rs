//! Stack programs, decoded once.
//!
//! There is exactly one operation for each token, so a token's index is its operation's and a jump
//! needs no table. Where a token starts a sequence that has an operation of its own (such as
//! "push this, then add"), its operation stands for the whole sequence and says how many tokens to
//! pass; the tokens inside keep theirs, for jumps that land there.

use super::opcode::Opcode;
use super::value::Value;
use crate::expr::Bytes;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Literals that get a heap slot of their own: as many as a slot number counts, and one for "none".
const MAX_SLOTS: usize = 255;

/// A stack program, decoded: worth keeping for code that runs more than once.
///
/// ```
/// use astreum_core::{atom::NoStore, expr::{Bytes, Expr}, machine::{Machine, Program}};
///
/// let code: [&[u8]; 3] = [&[1], &[2], b"add"];
/// let program = Program::new(&code.map(Bytes::new));
/// let mut machine = Machine::new(NoStore);
/// assert!(*machine.run_program(&program).value() == Expr::bytes([3]));
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    pub(super) ops: Vec<Op>,
    pub(super) literals: Vec<Value>,
    /// The literals that have a heap slot, sorted; a literal's slot number is in the literal.
    pub(super) keys: Vec<Value>,
    /// A bit for each residue that a key has: most values are found not to be a key by it.
    residues: u64,
}

/// One token before it is an operation.
#[derive(Clone)]
pub(super) enum Token {
    Opcode(Opcode),
    Literal(Value),
    /// The value that stands at this place when the program starts.
    Argument(usize),
}

impl Token {
    /// What a token of a program means.
    pub(super) fn new(token: &[u8]) -> Self {
        match Opcode::from_token(token) {
            Some(opcode) => Self::Opcode(opcode),
            None => Self::Literal(Value::new(token)),
        }
    }

    /// The same, for a token whose bytes may be shared.
    pub(super) fn from_bytes(token: &Bytes) -> Self {
        match Opcode::from_token(token) {
            Some(opcode) => Self::Opcode(opcode),
            None => Self::Literal(Value::from_bytes(token)),
        }
    }
}

/// An operation. Those that stand for several tokens say for which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Plain(Opcode),
    Push(usize),
    Argument(usize),
    /// literal add
    AddLiteral(usize),
    /// literal nand
    NandLiteral(usize),
    /// literal jump, where the literal is the index of a token
    JumpTo(usize),
    /// literal jump, where it is not
    JumpNowhere,
    /// key `heap_get`
    Get(u8),
    /// key `heap_get` jump
    JumpFrom(u8),
    /// key `heap_get` `heap_get` jump
    JumpThrough(u8),
    /// key literal `heap_set`
    Set {
        slot: u8,
        literal: usize,
    },
    /// key key `heap_get` literal add `heap_set`
    Increase {
        slot: u8,
        literal: usize,
    },
}

impl Program {
    /// Decodes a program. Tokens that spell an opcode are that opcode, all others are values.
    #[must_use]
    pub fn new(code: &[Bytes]) -> Self {
        Self::assemble(code.iter().map(Token::from_bytes))
    }

    /// A program of these tokens.
    pub(super) fn assemble(tokens: impl Iterator<Item = Token>) -> Self {
        let mut program = Self {
            ops: Vec::with_capacity(tokens.size_hint().0),
            literals: Vec::new(),
            keys: Vec::new(),
            residues: 0,
        };
        for token in tokens {
            let op = match token {
                Token::Opcode(opcode) => Op::Plain(opcode),
                Token::Argument(index) => Op::Argument(index),
                Token::Literal(value) => {
                    program.literals.push(value);
                    Op::Push(program.literals.len() - 1)
                }
            };
            program.ops.push(op);
        }
        program.assign_slots();
        program.fuse();
        program
    }

    /// How many tokens it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether it has no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Numbers the distinct short literals, any of which may be a heap key.
    fn assign_slots(&mut self) {
        let heap = [Op::Plain(Opcode::HeapGet), Op::Plain(Opcode::HeapSet)];
        if !self.ops.iter().any(|op| heap.contains(op)) {
            return;
        }
        let mut slots = BTreeMap::new();
        for literal in &mut self.literals {
            if literal.outside_bytes() > 0 {
                continue;
            }
            let free = (slots.len() < MAX_SLOTS).then_some(slots.len() + 1);
            let free = free.and_then(|slot| u8::try_from(slot).ok());
            let Some(slot) = slots.get(literal).copied().or(free) else {
                continue;
            };
            *literal = core::mem::replace(literal, Value::EMPTY).with_slot(slot);
            slots.insert(literal.clone(), slot);
        }
        self.keys = slots.into_keys().collect();
        let residues = self.keys.iter().map(|key| 1 << key.residue());
        self.residues = residues.fold(0, |all, bit: u64| all | bit);
    }

    /// Puts the longest sequence that starts at each token into that token's place. Forwards, so
    /// that what follows is still plain.
    fn fuse(&mut self) {
        for start in 0..self.ops.len() {
            let Some(tokens @ [first, ..]) = self.ops.get(start..) else {
                return;
            };
            let op = self.fused(tokens).unwrap_or(*first);
            if let Some(place) = self.ops.get_mut(start) {
                *place = op;
            }
        }
    }

    fn fused(&self, tokens: &[Op]) -> Option<Op> {
        use Opcode::{Add, HeapGet, HeapSet, Jump, Nand};
        match *tokens {
            [
                Op::Push(key),
                Op::Push(same),
                Op::Plain(HeapGet),
                Op::Push(literal),
                Op::Plain(Add),
                Op::Plain(HeapSet),
                ..,
            ] if self.slot(key)? == self.slot(same)? => Some(Op::Increase {
                slot: self.slot(key)?,
                literal,
            }),
            [Op::Push(key), Op::Push(literal), Op::Plain(HeapSet), ..] => Some(Op::Set {
                slot: self.slot(key)?,
                literal,
            }),
            [
                Op::Push(key),
                Op::Plain(HeapGet),
                Op::Plain(HeapGet),
                Op::Plain(Jump),
                ..,
            ] => self.slot(key).map(Op::JumpThrough),
            [Op::Push(key), Op::Plain(HeapGet), Op::Plain(Jump), ..] => {
                self.slot(key).map(Op::JumpFrom)
            }
            [Op::Push(key), Op::Plain(HeapGet), ..] => self.slot(key).map(Op::Get),
            [Op::Push(literal), Op::Plain(Add), ..] => Some(Op::AddLiteral(literal)),
            [Op::Push(literal), Op::Plain(Nand), ..] => Some(Op::NandLiteral(literal)),
            [Op::Push(literal), Op::Plain(Jump), ..] => {
                let target = self.literals.get(literal)?.to_index();
                Some(match target.filter(|target| *target < self.ops.len()) {
                    Some(target) => Op::JumpTo(target),
                    None => Op::JumpNowhere,
                })
            }
            _ => None,
        }
    }

    /// The slot of the literal at `index`, if it has one.
    fn slot(&self, index: usize) -> Option<u8> {
        self.literals.get(index)?.slot()
    }

    /// The slot of `key`, if it has one.
    #[inline]
    pub(super) fn slot_of(&self, key: &Value) -> Option<u8> {
        if let Some(slot) = key.slot() {
            return Some(slot);
        }
        if self.residues >> key.residue() & 1 == 0 {
            return None;
        }
        let index = self.keys.binary_search(key).ok()?;
        self.keys.get(index)?.slot()
    }
}
