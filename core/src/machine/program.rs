//! Decoded stack programs.
//!
//! There is exactly one operation for each token, so a token's index is that of its operation and a
//! jump needs no table. If a token starts a sequence that has its own operation (such as "push
//! this, then add"), its operation stands for the whole sequence; the tokens inside the sequence
//! keep theirs, for jumps that target them. Every such sequence starts with a literal, so it can
//! always run one token at a time instead: push the literal, then continue with the next token.

use super::opcode::Opcode;
use super::word::Word;
use crate::arc::Arc;
use crate::expr::{Bytes, Expr};
use alloc::vec::Vec;
use core::fmt;

/// Maximum number of literals with a heap slot: all values of a slot number except 0, which means
/// none.
const MAX_SLOTS: usize = 255;

/// Decoded stack program, useful for code that runs more than once. Clones share it.
///
/// ```
/// use astreum_core::{atom::NoStore, expr::{Bytes, Expr}, machine::{Machine, Program}, text};
///
/// let code: [&[u8]; 3] = [&[1], &[2], b"add"];
/// let program = Program::new(&code.map(Bytes::new));
/// let mut machine = Machine::new(NoStore);
/// assert!(*machine.run_program(&program, &[]).value() == Expr::bytes([3]));
///
/// let body = text::parse("($0 $1 add)").unwrap();
/// let sum = Program::with_arguments(body.as_list().unwrap(), 2).unwrap();
/// let arguments = [Bytes::new(&[20]), Bytes::new(&[22])];
/// assert!(*machine.run_program(&sum, &arguments).value() == Expr::bytes([42]));
/// ```
#[derive(Clone)]
pub struct Program(Arc<Code>);

/// Decoded form of a program.
pub(super) struct Code {
    pub(super) ops: Vec<Op>,
    /// Operations before sequences are joined: one for each token, with literals and arguments by
    /// their number.
    pub(super) plain: Vec<Op>,
    pub(super) literals: Vec<Word>,
    /// Literals with a heap slot, sorted; the slot number is stored in the literal.
    pub(super) keys: Vec<Word>,
    /// Bit set of the residues of the keys; it identifies most words that are not keys.
    residues: u64,
}

/// Token that is not yet an operation.
#[derive(Clone)]
pub(super) enum Token {
    Opcode(Opcode),
    Literal(Word),
    /// The argument with this index.
    Argument(usize),
}

impl Token {
    /// Decodes a token of a program.
    pub(super) fn new(token: &[u8]) -> Self {
        match Opcode::from_token(token) {
            Some(opcode) => Self::Opcode(opcode),
            None => Self::Literal(Word::new(token)),
        }
    }

    /// Decodes a token whose bytes may be shared.
    pub(super) fn from_bytes(token: &Bytes) -> Self {
        match Opcode::from_token(token) {
            Some(opcode) => Self::Opcode(opcode),
            None => Self::Literal(Word::from_bytes(token)),
        }
    }
}

/// Reason a list is not a program, see [`Program::with_arguments`].
///
/// ```
/// use astreum_core::{machine::{Program, ProgramError, ProgramErrorKind}, text};
/// let body = text::parse("(1 (2) add)").unwrap();
/// let error = Program::with_arguments(body.as_list().unwrap(), 0).unwrap_err();
/// assert_eq!(error, ProgramError { token: 1, kind: ProgramErrorKind::List });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ProgramError {
    /// Index of the token.
    pub token: usize,
    /// Kind of the error.
    pub kind: ProgramErrorKind,
}

/// Kind of a [`ProgramError`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ProgramErrorKind {
    /// A `$` without a number after it.
    Placeholder,
    /// A `$n` beyond the last argument.
    Argument,
    /// A list: only the evaluator can evaluate one inside a program.
    List,
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.kind {
            ProgramErrorKind::Placeholder => "`$` without a number",
            ProgramErrorKind::Argument => "placeholder past the last argument",
            ProgramErrorKind::List => "list inside a program",
        };
        write!(f, "{problem} at token {}", self.token)
    }
}

impl core::error::Error for ProgramError {}

/// Operation; an operation that stands for several tokens documents them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Plain(Opcode),
    Push(usize),
    Argument(usize),
    /// `literal add`
    AddLiteral(usize),
    /// `literal nand`
    NandLiteral(usize),
    /// `literal jump`, where the literal is the index of a token
    JumpTo(usize),
    /// `key heap_get`
    Get(u8),
    /// `key heap_get jump`
    JumpFrom(u8),
    /// `key heap_get heap_get jump`
    JumpThrough(u8),
    /// `key literal heap_set`
    Set {
        slot: u8,
        literal: usize,
    },
    /// `key key heap_get literal add heap_set`
    Increase {
        slot: u8,
        literal: usize,
    },
}

impl Program {
    /// Decodes a program. Tokens equal to the name of an opcode are that opcode, all others are
    /// literals.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::Bytes, machine::{Machine, Program}};
    /// let code: [&[u8]; 3] = [&[1], &[2], b"add"];
    /// let program = Program::new(&code.map(Bytes::new));
    /// assert_eq!(program.len(), 3);
    /// let evaluation = Machine::new(NoStore).run_program(&program, &[]);
    /// assert_eq!(evaluation.value().as_integer(), Some(3));
    /// ```
    #[must_use]
    pub fn new(code: &[Bytes]) -> Self {
        Self::assemble(code.iter().map(Token::from_bytes).collect())
    }

    /// Decodes the body of a stack program that takes `count` arguments. Symbols equal to the name
    /// of an opcode are that opcode, `$n` is the argument with this index, and other symbols are
    /// their names as bytes.
    ///
    /// Unlike in an `sk` form an argument is never an opcode, even if it equals the name of one.
    ///
    /// ```
    /// use astreum_core::{machine::{Program, ProgramErrorKind}, text};
    /// let body = text::parse("($0 $1 add)").unwrap();
    /// let body = body.as_list().unwrap();
    /// assert_eq!(Program::with_arguments(body, 2).unwrap().len(), 3);
    /// let error = Program::with_arguments(body, 1).unwrap_err();
    /// assert_eq!((error.token, error.kind), (1, ProgramErrorKind::Argument));
    /// ```
    ///
    /// # Errors
    /// Fails if a token is a list, a `$` without a number, or a `$n` beyond the last argument.
    pub fn with_arguments(body: &[Expr], count: usize) -> Result<Self, ProgramError> {
        let token = |(token, item): (usize, &Expr)| {
            let wrong = |kind| ProgramError { token, kind };
            match item {
                Expr::Bytes(bytes) => Ok(Token::from_bytes(bytes)),
                Expr::List(_) => Err(wrong(ProgramErrorKind::List)),
                Expr::Symbol(name) => match name.strip_prefix('$') {
                    None => Ok(Token::new(name.as_bytes())),
                    Some(digits) => match super::special_form::placeholder(digits) {
                        None => Err(wrong(ProgramErrorKind::Placeholder)),
                        Some(index) if index < count => Ok(Token::Argument(index)),
                        Some(_) => Err(wrong(ProgramErrorKind::Argument)),
                    },
                },
            }
        };
        let tokens = body.iter().enumerate().map(token);
        Ok(Self::assemble(tokens.collect::<Result<_, _>>()?))
    }

    /// Creates a program from its tokens.
    pub(super) fn assemble(tokens: Vec<Token>) -> Self {
        let mut plain = Vec::with_capacity(tokens.len());
        let mut literals = Vec::new();
        for token in tokens {
            plain.push(match token {
                Token::Opcode(opcode) => Op::Plain(opcode),
                Token::Argument(index) => Op::Argument(index),
                Token::Literal(word) => {
                    literals.push(word);
                    Op::Push(literals.len() - 1)
                }
            });
        }
        Self::link(plain, literals)
    }

    /// Creates a program from plain operations on these literals.
    fn link(plain: Vec<Op>, literals: Vec<Word>) -> Self {
        let mut code = Code {
            ops: plain.clone(),
            plain,
            literals,
            keys: Vec::new(),
            residues: 0,
        };
        code.assign_slots();
        code.join();
        Self(Arc::new(code))
    }

    /// Returns the same program in which arguments equal to the name of an opcode are that opcode.
    pub(super) fn substituted(&self, arguments: &[Word]) -> Self {
        let plain = self.0.plain.iter().map(|op| {
            let opcode = match op {
                Op::Argument(index) => arguments
                    .get(*index)
                    .and_then(|argument| argument.with_bytes(Opcode::from_token)),
                _ => None,
            };
            opcode.map_or(*op, Op::Plain)
        });
        Self::link(plain.collect(), self.0.literals.clone())
    }

    /// Returns the number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.plain.len()
    }

    /// Returns whether the program has no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.plain.is_empty()
    }

    pub(super) fn code(&self) -> &Code {
        &self.0
    }

    /// Returns the opcode of the token with this index, if it is one.
    pub(super) fn opcode(&self, token: usize) -> Option<Opcode> {
        match self.0.plain.get(token) {
            Some(Op::Plain(opcode)) => Some(*opcode),
            _ => None,
        }
    }

    /// Returns the tokens.
    pub(super) fn tokens(&self) -> impl ExactSizeIterator<Item = Token> {
        self.0.plain.iter().map(|op| match *op {
            Op::Plain(opcode) => Token::Opcode(opcode),
            Op::Argument(index) => Token::Argument(index),
            Op::Push(index) => {
                let literal = self.0.literals.get(index);
                Token::Literal(literal.cloned().unwrap_or(Word::EMPTY))
            }
            // Unreachable: plain operations are only the kinds above.
            _ => Token::Literal(Word::EMPTY),
        })
    }
}

/// Formats the tokens, as in `[0x01 $0 add]`.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for token in self.tokens() {
            match token {
                Token::Opcode(opcode) => list.entry(&format_args!("{opcode}")),
                Token::Argument(index) => list.entry(&format_args!("${index}")),
                Token::Literal(word) => list.entry(&word.to_bytes()),
            };
        }
        list.finish()
    }
}

impl Code {
    /// Numbers the distinct short literals, each of which may be a heap key.
    fn assign_slots(&mut self) {
        let heap = [Op::Plain(Opcode::HeapGet), Op::Plain(Opcode::HeapSet)];
        if !self.ops.iter().any(|op| heap.contains(op)) {
            return;
        }
        // Few, so that a sorted list is fast enough, and is less code than a map.
        let mut slots: Vec<(Word, u8)> = Vec::new();
        for literal in &mut self.literals {
            if literal.outside_bytes() > 0 {
                continue;
            }
            let free = (slots.len() < MAX_SLOTS).then_some(slots.len() + 1);
            let free = free.and_then(|slot| u8::try_from(slot).ok());
            let found = slots.binary_search_by(|(key, _)| key.cmp(literal));
            let known = found.ok().and_then(|at| slots.get(at));
            let Some(slot) = known.map(|(_, slot)| *slot).or(free) else {
                continue;
            };
            *literal = core::mem::replace(literal, Word::EMPTY).with_slot(slot);
            if let Err(at) = found {
                slots.insert(at, (literal.clone(), slot));
            }
        }
        self.keys = slots.into_iter().map(|(key, _)| key).collect();
        let residues = self.keys.iter().map(|key| 1 << key.residue());
        self.residues = residues.fold(0, |all, bit: u64| all | bit);
    }

    /// Replaces each token's operation with that of the longest sequence that starts there. Runs
    /// forwards, so that the following tokens are still plain.
    fn join(&mut self) {
        for start in 0..self.ops.len() {
            let Some(tokens @ [first, ..]) = self.ops.get(start..) else {
                return;
            };
            let op = self.joined(tokens).unwrap_or(*first);
            if let Some(place) = self.ops.get_mut(start) {
                *place = op;
            }
        }
    }

    fn joined(&self, tokens: &[Op]) -> Option<Op> {
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
                let target = self.literals.get(literal)?.to_index()?;
                (target < self.ops.len()).then_some(Op::JumpTo(target))
            }
            _ => None,
        }
    }

    /// Returns the slot of the literal at `index`, if it has one.
    fn slot(&self, index: usize) -> Option<u8> {
        self.literals.get(index)?.slot()
    }

    /// Returns the literal at `index`.
    #[inline]
    pub(super) fn literal(&self, index: usize) -> &Word {
        static EMPTY: Word = Word::EMPTY;
        self.literals.get(index).unwrap_or(&EMPTY)
    }

    /// Returns the slot of `key`, if it has one.
    #[inline]
    pub(super) fn slot_of(&self, key: &Word) -> Option<u8> {
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
