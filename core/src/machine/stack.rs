//! Stack machine: a stack, a heap of named values, and ten opcodes.
//!
//! Costs and order are those of the reference: an opcode first checks the stack, then the
//! arguments, then the store; then it is charged, and only then it takes effect. A jump is charged
//! before its target is checked.
//!
//! Invariants:
//! - Steps are counted at jumps, by the number of tokens run since the last jump: a program without
//!   jumps ends with its code.
//! - The heap has no empty values: an absent key and an empty value read the same.
//! - A stopped run can continue: with [`Stop::Retry`] the token has had no effect yet, with
//!   [`Stop::Pause`] and [`Stop::Measure`] it has completed. Operations that stand for several
//!   tokens run only if they complete; otherwise their tokens run one at a time.
//! - With `STEP`, a run pauses between its tokens. It is a constant, so other runs pay nothing for
//!   it.

use super::error::ErrorKind;
use super::exec_context::{Session, Stop, Store};
use super::limits::LimitKind;
use super::opcode::Opcode;
use super::program::{Code, Op, Program};
use super::word::{SHORT_BYTES, Word};
use crate::atom::{Atom, AtomId, AtomKind};
use crate::sorted_map::SortedMap;
use alloc::vec::Vec;

static EMPTY: Word = Word::EMPTY;

const UNDERFLOW: Stop = Stop::Failed(ErrorKind::Underflow);
const BAD_JUMP: Stop = Stop::Failed(ErrorKind::BadJump);

/// Stack and heap; reused between runs for their memory.
#[derive(Default)]
pub(super) struct StackMachine {
    stack: Vec<Word>,
    heap: Heap,
    /// Index of the next token, and of the first token whose steps are not counted yet.
    pc: usize,
    block: usize,
}

/// Values by key. Keys that occur in the program have a slot; all others are in the tree.
#[derive(Default)]
struct Heap {
    /// Values by slot number; the first element is not used.
    slots: Vec<Word>,
    tree: SortedMap<Word, Word>,
    entries: usize,
}

/// Position of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    pub(super) pc: usize,
    pub(super) block: usize,
}

impl StackMachine {
    /// Starts a run of `program`.
    #[inline]
    pub(super) fn begin(&mut self, program: &Program) {
        self.heap.reset(program.code());
        self.stack.clear();
        (self.pc, self.block) = (0, 0);
    }

    /// Ends a run; keeps capacity for `kept` values.
    #[inline]
    pub(super) fn end(&mut self, kept: usize) {
        self.heap.clear();
        self.stack.clear();
        if self.stack.capacity() > kept {
            self.stack.shrink_to(kept);
        }
    }

    /// Returns the index of the token at which a run stopped.
    pub(super) const fn token(&self) -> usize {
        self.pc
    }

    /// Returns the number of values on the stack.
    pub(super) const fn depth(&self) -> usize {
        self.stack.len()
    }

    /// Returns the position of a run, to continue it later.
    pub(super) const fn position(&self) -> Position {
        Position {
            pc: self.pc,
            block: self.block,
        }
    }

    /// Returns the values on the stack.
    pub(super) fn stack(&self) -> &[Word] {
        &self.stack
    }

    /// Returns the keys and values on the heap.
    pub(super) fn heap<'m>(
        &'m self,
        program: &'m Program,
    ) -> impl Iterator<Item = (&'m Word, &'m Word)> {
        let slots = program.code().keys.iter().filter_map(|key| {
            let value = self.heap.slot(key.slot()?);
            (!value.is_empty()).then_some((key, value))
        });
        slots.chain(self.heap.tree.iter())
    }

    /// Restores a run from the results of [`StackMachine::position`], [`StackMachine::stack`] and
    /// [`StackMachine::heap`].
    pub(super) fn restore(
        &mut self,
        program: &Program,
        position: Position,
        stack: Vec<Word>,
        heap: Vec<(Word, Word)>,
    ) {
        self.begin(program);
        self.stack = stack;
        for (key, value) in &heap {
            self.heap.set(key, value, program.code());
        }
        (self.pc, self.block) = (position.pc, position.block);
    }

    /// Continues a run. `arguments` are the values that the program's [`Op::Argument`]s push;
    /// `others` returns the number of live bytes outside the stack machine.
    #[inline]
    pub(super) fn run<S: Store, const STEP: bool>(
        &mut self,
        program: &Program,
        arguments: &[Word],
        session: &mut Session<'_, S>,
        others: impl Fn(u64) -> u64,
    ) -> Result<Word, Stop> {
        loop {
            match self.execute::<S, STEP>(program.code(), arguments, session) {
                Err(Stop::Measure) => {
                    let live = others(session.account.code).saturating_add(self.live_bytes());
                    session.measured(live)?;
                }
                result => return result,
            }
        }
    }

    fn execute<S: Store, const STEP: bool>(
        &mut self,
        code: &Code,
        arguments: &[Word],
        session: &mut Session<'_, S>,
    ) -> Result<Word, Stop> {
        let ops = if STEP { &code.plain } else { &code.ops };
        let ops = ops.as_slice();
        let max_items = usize::try_from(session.account.limits.stack_items).unwrap_or(usize::MAX);
        let max_entries =
            usize::try_from(session.account.limits.heap_entries).unwrap_or(usize::MAX);
        let (mut pc, mut block) = (self.pc, self.block);
        // A local copy stays in a register.
        let mut meter = session.account.meter;
        let (stop, at) = 'run: {
            // Stops before the token; its operation has already incremented `pc`. All stops leave
            // the loop for one place, so that the code that saves the state exists once.
            macro_rules! leave {
                ($stop:expr) => {
                    break 'run ($stop, pc - 1)
                };
            }
            // Stops after the token if the result is a stop.
            macro_rules! done {
                ($result:expr) => {
                    if let Err(stop) = $result {
                        break 'run (stop, pc);
                    }
                };
            }
            macro_rules! charge {
                ($cost:expr) => {{
                    let cost = $cost;
                    if !meter.charge(cost) {
                        let stop = session.refused(cost, meter.used());
                        leave!(stop)
                    }
                }};
            }
            // Checks that one value can be pushed.
            macro_rules! room {
                () => {
                    if self.stack.len() >= max_items {
                        let used = self.stack.len() as u64 + 1;
                        leave!(session.exceed(LimitKind::Stack, used))
                    }
                };
            }
            // Runs only the first token of a sequence; the others follow.
            macro_rules! singly {
                () => {{
                    room!();
                    if let Some(Op::Push(index)) = code.plain.get(pc - 1) {
                        push(&mut self.stack, code.literal(*index));
                    }
                    continue;
                }};
            }
            macro_rules! jump {
                ($target:expr) => {{
                    // Blocks run forwards: the counter is beyond the start of the block.
                    let ran = pc - block;
                    (pc, block) = ($target, $target);
                    done!(session.spend(ran as u64));
                }};
            }
            // Counts the last computed value, in memory and in steps.
            macro_rules! account_top {
                () => {
                    if let Some(Word::Long(bytes)) = self.stack.last() {
                        done!(session.made(bytes.len()))
                    }
                };
            }
            while let Some(op) = ops.get(pc) {
                if STEP {
                    done!(session.account.begin_operation());
                }
                pc += 1;
                match *op {
                    Op::Push(index) => {
                        room!();
                        push(&mut self.stack, code.literal(index));
                    }
                    Op::Argument(index) => {
                        room!();
                        push(&mut self.stack, arguments.get(index).unwrap_or(&EMPTY));
                    }
                    Op::Plain(Opcode::Add) => {
                        let [.., a, b] = self.stack.as_mut_slice() else {
                            leave!(UNDERFLOW)
                        };
                        charge!(a.len() as u64 + b.len() as u64);
                        a.add(b);
                        self.stack.pop();
                        account_top!();
                    }
                    Op::AddLiteral(index) => {
                        if self.stack.len() >= max_items {
                            singly!()
                        }
                        let b = code.literal(index);
                        let Some(a) = self.stack.last_mut() else {
                            singly!()
                        };
                        if !meter.charge(a.len() as u64 + b.len() as u64) {
                            singly!()
                        }
                        pc += 1;
                        a.add(b);
                        account_top!();
                    }
                    Op::Plain(Opcode::Nand) => {
                        let [.., a, b] = self.stack.as_mut_slice() else {
                            leave!(UNDERFLOW)
                        };
                        charge!(2 * a.len().max(b.len()).max(1) as u64);
                        a.nand(b);
                        self.stack.pop();
                        account_top!();
                    }
                    Op::NandLiteral(index) => {
                        if self.stack.len() >= max_items {
                            singly!()
                        }
                        let b = code.literal(index);
                        let Some(a) = self.stack.last_mut() else {
                            singly!()
                        };
                        if !meter.charge(2 * a.len().max(b.len()).max(1) as u64) {
                            singly!()
                        }
                        pc += 1;
                        a.nand(b);
                        account_top!();
                    }
                    Op::Plain(Opcode::Jump) => {
                        let Some(target) = self.stack.last() else {
                            leave!(UNDERFLOW)
                        };
                        charge!(1);
                        let target = target.to_index().unwrap_or(usize::MAX);
                        if target >= ops.len() {
                            leave!(BAD_JUMP)
                        }
                        self.stack.pop();
                        jump!(target);
                    }
                    Op::JumpTo(target) => {
                        if self.stack.len() >= max_items || !meter.charge(1) {
                            singly!()
                        }
                        pc += 1;
                        jump!(target);
                    }
                    Op::Get(slot) => {
                        if self.stack.len() >= max_items || !meter.charge(1) {
                            singly!()
                        }
                        pc += 1;
                        push(&mut self.stack, self.heap.slot(slot));
                    }
                    Op::JumpFrom(slot) => {
                        let target = self.heap.slot(slot).to_index().unwrap_or(usize::MAX);
                        let is_bad = self.stack.len() >= max_items || target >= ops.len();
                        if is_bad || !meter.charge(2) {
                            singly!()
                        }
                        pc += 2;
                        jump!(target);
                    }
                    Op::JumpThrough(slot) => {
                        let key = self.heap.slot(slot);
                        let target = self.heap.get(key, code).to_index().unwrap_or(usize::MAX);
                        let is_bad = self.stack.len() >= max_items
                            || target >= ops.len()
                            || key.outside_bytes() > 0;
                        if is_bad || !meter.charge(3) {
                            singly!()
                        }
                        pc += 3;
                        jump!(target);
                    }
                    Op::Plain(Opcode::HeapGet) => {
                        let Some(top) = self.stack.last_mut() else {
                            leave!(UNDERFLOW)
                        };
                        charge!(1);
                        if top.outside_bytes() > 0
                            && let Err(stop) = session.count_bytes(top.outside_bytes())
                        {
                            leave!(stop)
                        }
                        let value = self.heap.get(top, code);
                        top.clone_from(value);
                    }
                    Op::Plain(Opcode::HeapSet) => {
                        let [.., key, value] = self.stack.as_slice() else {
                            leave!(UNDERFLOW)
                        };
                        charge!(value.len() as u64);
                        if key.outside_bytes() > 0
                            && let Err(stop) = session.count_bytes(key.outside_bytes())
                        {
                            leave!(stop)
                        }
                        self.heap.set(key, value, code);
                        if self.heap.entries > max_entries {
                            leave!(session.exceed(LimitKind::Heap, self.heap.entries as u64))
                        }
                        self.stack.pop();
                        self.stack.pop();
                    }
                    Op::Set {
                        slot,
                        literal: index,
                    } => {
                        let value = code.literal(index);
                        if self.stack.len() + 2 > max_items || !meter.charge(value.len() as u64) {
                            singly!()
                        }
                        pc += 2;
                        self.heap.set_slot(slot, value);
                        if self.heap.entries > max_entries {
                            leave!(session.exceed(LimitKind::Heap, self.heap.entries as u64))
                        }
                    }
                    Op::Increase {
                        slot,
                        literal: index,
                    } => {
                        let b = code.literal(index);
                        let Some(a) = self.heap.slot_mut(slot) else {
                            singly!()
                        };
                        // Cost of reading and adding, and the maximum cost of writing the sum.
                        let lens = a.len() as u64 + b.len() as u64;
                        let most = a.len().max(b.len()) as u64 + 1;
                        // A sum outside the word is counted before its writing is charged.
                        let is_long = most > SHORT_BYTES as u64;
                        if is_long
                            || self.stack.len() + 3 > max_items
                            || !meter.has(1 + lens + most)
                        {
                            singly!()
                        }
                        pc += 5;
                        let was_empty = a.is_empty();
                        // A sum has at least one byte.
                        a.add(b);
                        meter.pay(1 + lens + a.len() as u64);
                        self.heap.entries += usize::from(was_empty);
                        if self.heap.entries > max_entries {
                            leave!(session.exceed(LimitKind::Heap, self.heap.entries as u64))
                        }
                    }
                    Op::Plain(opcode) => {
                        session.account.meter = meter;
                        let result = self.atom_opcode(opcode, session);
                        match result {
                            Ok(len) => {
                                meter = session.account.meter;
                                done!(session.spend_bytes(len));
                            }
                            // The charge of an operation that did not happen is undone; it is charged
                            // again.
                            Err(Stop::Retry) => leave!(Stop::Retry),
                            Err(stop) => {
                                meter = session.account.meter;
                                leave!(stop)
                            }
                        }
                    }
                }
            }
            session.account.meter = meter;
            let ran = pc.saturating_sub(block);
            (self.pc, self.block) = (pc, pc);
            session.spend(ran as u64)?;
            if self.stack.len() == 1
                && let Some(value) = self.stack.pop()
            {
                return Ok(value);
            }
            return Err(Stop::Failed(ErrorKind::BadStack));
        };
        session.account.meter = meter;
        (self.pc, self.block) = (at, block);
        Err(stop)
    }

    /// Returns the number of bytes outside the values themselves; a value that occurs twice counts
    /// twice.
    pub(super) fn live_bytes(&self) -> u64 {
        let heap = self.heap.tree.iter().flat_map(|(key, value)| [key, value]);
        let values = self.stack.iter().chain(&self.heap.slots).chain(heap);
        values.fold(0, |sum: u64, value| {
            sum.saturating_add(value.outside_bytes() as u64)
        })
    }

    /// Runs an opcode that works on atoms; returns the number of bytes that it processed. The stack
    /// changes only on success.
    fn atom_opcode<S: Store>(
        &mut self,
        opcode: Opcode,
        session: &mut Session<'_, S>,
    ) -> Result<usize, Stop> {
        let failed = Stop::Failed;
        let (taken, atom, len) = match opcode {
            Opcode::AtomSlice => {
                let [.., id, start, len] = self.stack.as_slice() else {
                    return Err(UNDERFLOW);
                };
                let range = start.to_index().zip(len.to_index());
                let (start, len) = range.ok_or(failed(ErrorKind::BadSlice))?;
                let atom = session.atom(id)?;
                let data = cut(atom.data(), start, len);
                session.afford_atom(data.len(), data.len())?;
                (3, Atom::new(atom.kind(), data, AtomId::ZERO), data.len())
            }
            Opcode::AtomLink => {
                let [.., first, rest] = self.stack.as_slice() else {
                    return Err(UNDERFLOW);
                };
                let ids = first.to_id().zip(rest.to_id());
                let (first_id, rest_id) = ids.ok_or(failed(ErrorKind::BadLink))?;
                session.atom(first)?;
                let (cost, len) = (first.len() + rest.len(), first.len());
                session.afford_atom(cost, len)?;
                (2, Atom::list(first_id, rest_id), len)
            }
            Opcode::AtomConcat => {
                let [.., first, second] = self.stack.as_slice() else {
                    return Err(UNDERFLOW);
                };
                let (first, second) = (session.atom(first)?, session.atom(second)?);
                let len = first.data().len().saturating_add(second.data().len());
                session.afford_atom(len, len)?;
                (2, Atom::bytes([first.data(), second.data()].concat()), len)
            }
            Opcode::AtomNew => {
                let [.., kind, data] = self.stack.as_slice() else {
                    return Err(UNDERFLOW);
                };
                let kind = kind.with_bytes(|kind| match *kind {
                    [code] => AtomKind::from_code(code).ok_or(ErrorKind::UnknownAtomKind),
                    _ => Err(ErrorKind::BadAtomKind),
                });
                let kind = kind.map_err(failed)?;
                session.afford_atom(data.len(), data.len())?;
                (
                    2,
                    Atom::new(kind, data.to_shared(), AtomId::ZERO),
                    data.len(),
                )
            }
            Opcode::AtomLoad => {
                let [.., id, start, len] = self.stack.as_slice() else {
                    return Err(UNDERFLOW);
                };
                let range = start.to_index().zip(len.to_index());
                let (start, len) = range.ok_or(failed(ErrorKind::BadLoad))?;
                if len > AtomId::ZERO.as_bytes().len() {
                    return Err(failed(ErrorKind::LoadTooWide));
                }
                let atom = session.atom(id)?;
                let data = cut(atom.data(), start, len);
                session.charge(data.len())?;
                let value = Word::new(data);
                self.replace(3, value);
                return Ok(0);
            }
            _ => return Err(UNDERFLOW),
        };
        let id = session.store_atom(atom, len)?;
        self.replace(taken, id);
        Ok(len)
    }

    /// Replaces the topmost `count` values with `value`.
    fn replace(&mut self, count: usize, value: Word) {
        let rest = self.stack.len().saturating_sub(count);
        self.stack.truncate(rest);
        self.stack.push(value);
    }
}

impl Heap {
    /// Clears the heap and creates a slot for each of the program's keys.
    #[inline]
    fn reset(&mut self, code: &Code) {
        self.clear();
        if !code.keys.is_empty() {
            self.slots.resize(code.keys.len() + 1, Word::EMPTY);
        }
    }

    #[inline]
    fn clear(&mut self) {
        self.slots.clear();
        self.entries = 0;
        if !self.tree.is_empty() {
            self.tree.clear();
        }
    }

    #[inline(always)]
    fn slot(&self, slot: u8) -> &Word {
        self.slots.get(usize::from(slot)).unwrap_or(&EMPTY)
    }

    #[inline]
    fn slot_mut(&mut self, slot: u8) -> Option<&mut Word> {
        self.slots.get_mut(usize::from(slot))
    }

    #[inline(always)]
    fn get(&self, key: &Word, code: &Code) -> &Word {
        match code.slot_of(key) {
            Some(slot) => self.slot(slot),
            None if self.tree.is_empty() => &EMPTY,
            None => self.tree.get(key).unwrap_or(&EMPTY),
        }
    }

    #[inline]
    fn set(&mut self, key: &Word, value: &Word, code: &Code) {
        match code.slot_of(key) {
            Some(slot) => self.set_slot(slot, value),
            None => self.set_in_tree(key, value),
        }
    }

    #[inline]
    fn set_slot(&mut self, slot: u8, value: &Word) {
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            self.entries += usize::from(!value.is_empty());
            self.entries -= usize::from(!place.is_empty());
            place.clone_from(value);
        }
    }

    fn set_in_tree(&mut self, key: &Word, value: &Word) {
        let old = if value.is_empty() {
            self.tree.remove(key)
        } else {
            self.entries += 1;
            self.tree.insert(key.clone(), value.clone())
        };
        self.entries -= usize::from(old.is_some());
    }
}

/// Pushes a copy that is written in place.
#[inline]
fn push(stack: &mut Vec<Word>, value: &Word) {
    stack.push(Word::EMPTY);
    if let Some(top) = stack.last_mut() {
        top.clone_from(value);
    }
}

/// Returns at most `len` bytes of `data` from `start` on: fewer if the data ends earlier.
fn cut(data: &[u8], start: usize, len: usize) -> &[u8] {
    let rest = data.get(start..).unwrap_or_default();
    rest.get(..len).unwrap_or(rest)
}
