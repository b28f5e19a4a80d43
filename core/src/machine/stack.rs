//! The stack machine: a stack, a heap of named values, and ten opcodes.
//!
//! Costs and order are the reference's: within an opcode first the stack is looked at, then the
//! arguments, then the store; then the charge is made, and only then something happens. A jump is
//! charged before its target is looked at.
//!
//! Invariants:
//! - Steps are counted where a program jumps, by the tokens it ran since the last jump: what does
//!   not jump ends with the code.
//! - The heap holds no empty values: an absent key and an empty value read the same.

use super::opcode::Opcode;
use super::program::{Op, Program};
use super::session::{Session, Stop};
use super::value::Value;
use crate::atom::{Atom, AtomId, AtomKind, AtomSink, AtomSource};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Values that the stack keeps room for between runs.
const KEPT_ITEMS: usize = 4096;

static EMPTY: Value = Value::EMPTY;

const UNDERFLOW: Stop = Stop::Failed("underflow");
const STACK: Stop = Stop::Limit("stack limit");
const HEAP: Stop = Stop::Limit("heap limit");
const METER: Stop = Stop::Failed("meter limit");
const BAD_JUMP: Stop = Stop::Failed("bad jump");

/// The stack and the heap; kept between runs for their memory.
#[derive(Default)]
pub(super) struct StackMachine {
    stack: Vec<Value>,
    heap: Heap,
}

/// Values by key. Keys that stand in the program have a slot, all others are in the tree.
#[derive(Default)]
struct Heap {
    /// By slot number; the first is not used.
    slots: Vec<Value>,
    tree: BTreeMap<Value, Value>,
    entries: usize,
}

impl StackMachine {
    /// Runs a program; `arguments` are what its [`Op::Argument`]s push.
    pub(super) fn run<S: AtomSource + AtomSink>(
        &mut self,
        program: &Program,
        arguments: &[Value],
        session: &mut Session<'_, S>,
    ) -> Result<Value, Stop> {
        session.held = session.allocated;
        self.heap.reset(program);
        let result = self.execute(program, arguments, session);
        self.heap.clear();
        self.stack.clear();
        if self.stack.capacity() > KEPT_ITEMS {
            self.stack = Vec::new();
        }
        result
    }

    fn execute<S: AtomSource + AtomSink>(
        &mut self,
        program: &Program,
        arguments: &[Value],
        session: &mut Session<'_, S>,
    ) -> Result<Value, Stop> {
        let ops = program.ops.as_slice();
        let (mut pc, mut block) = (0, 0);
        // A local copy stays in a register.
        let mut meter = session.meter;
        macro_rules! leave {
            ($stop:expr) => {{
                session.meter = meter;
                return Err($stop);
            }};
        }
        macro_rules! ok {
            ($result:expr) => {
                match $result {
                    Ok(value) => value,
                    Err(stop) => leave!(stop),
                }
            };
        }
        macro_rules! charge {
            ($cost:expr) => {
                if !meter.charge($cost) {
                    leave!(METER)
                }
            };
        }
        // Makes sure that this many values can be pushed.
        macro_rules! room {
            ($values:expr) => {
                if self.stack.len() + $values > session.limits.stack_items {
                    leave!(STACK)
                }
            };
        }
        macro_rules! jump {
            ($target:expr) => {{
                let target = $target;
                if target >= ops.len() {
                    leave!(BAD_JUMP)
                }
                // Blocks run forwards: the counter has passed where the block began.
                ok!(session.spend((pc - block) as u64));
                (pc, block) = (target, target);
            }};
        }
        while let Some(op) = ops.get(pc) {
            pc += 1;
            match *op {
                Op::Push(index) => {
                    room!(1);
                    push(&mut self.stack, literal(program, index));
                }
                Op::Argument(index) => {
                    room!(1);
                    push(&mut self.stack, arguments.get(index).unwrap_or(&EMPTY));
                }
                Op::Plain(Opcode::Add) => {
                    let [.., a, b] = self.stack.as_mut_slice() else {
                        leave!(UNDERFLOW)
                    };
                    charge!(a.len() as u64 + b.len() as u64);
                    a.add(b);
                    self.stack.pop();
                    ok!(self.account_top(session));
                }
                Op::AddLiteral(index) => {
                    pc += 1;
                    room!(1);
                    let Some(a) = self.stack.last_mut() else {
                        leave!(UNDERFLOW)
                    };
                    let b = literal(program, index);
                    charge!(a.len() as u64 + b.len() as u64);
                    a.add(b);
                    ok!(self.account_top(session));
                }
                Op::Plain(Opcode::Nand) => {
                    let [.., a, b] = self.stack.as_mut_slice() else {
                        leave!(UNDERFLOW)
                    };
                    charge!(2 * a.len().max(b.len()).max(1) as u64);
                    a.nand(b);
                    self.stack.pop();
                    ok!(self.account_top(session));
                }
                Op::NandLiteral(index) => {
                    pc += 1;
                    room!(1);
                    let Some(a) = self.stack.last_mut() else {
                        leave!(UNDERFLOW)
                    };
                    let b = literal(program, index);
                    charge!(2 * a.len().max(b.len()).max(1) as u64);
                    a.nand(b);
                    ok!(self.account_top(session));
                }
                Op::Plain(Opcode::Jump) => {
                    let Some(target) = self.stack.last() else {
                        leave!(UNDERFLOW)
                    };
                    charge!(1);
                    let target = target.to_index().unwrap_or(usize::MAX);
                    self.stack.pop();
                    jump!(target);
                }
                Op::JumpTo(target) => {
                    pc += 1;
                    room!(1);
                    charge!(1);
                    jump!(target);
                }
                Op::JumpNowhere => {
                    room!(1);
                    charge!(1);
                    leave!(BAD_JUMP)
                }
                Op::Get(slot) => {
                    pc += 1;
                    room!(1);
                    charge!(1);
                    push(&mut self.stack, self.heap.slot(slot));
                }
                Op::JumpFrom(slot) => {
                    pc += 2;
                    room!(1);
                    charge!(1);
                    let target = self.heap.slot(slot).to_index();
                    charge!(1);
                    jump!(target.unwrap_or(usize::MAX));
                }
                Op::JumpThrough(slot) => {
                    pc += 3;
                    room!(1);
                    charge!(1);
                    let key = self.heap.slot(slot);
                    charge!(1);
                    let target = self.heap.get(key, program).to_index();
                    charge!(1);
                    jump!(target.unwrap_or(usize::MAX));
                }
                Op::Plain(Opcode::HeapGet) => {
                    let Some(top) = self.stack.last_mut() else {
                        leave!(UNDERFLOW)
                    };
                    charge!(1);
                    if top.outside_bytes() > 0 {
                        ok!(session.spend_bytes(top.outside_bytes()));
                    }
                    let value = self.heap.get(top, program);
                    top.clone_from(value);
                }
                Op::Plain(Opcode::HeapSet) => {
                    let [.., key, value] = self.stack.as_slice() else {
                        leave!(UNDERFLOW)
                    };
                    charge!(value.len() as u64);
                    if key.outside_bytes() > 0 {
                        ok!(session.spend_bytes(key.outside_bytes()));
                    }
                    self.heap.set(key, value, program);
                    self.stack.pop();
                    self.stack.pop();
                    if self.heap.entries > session.limits.heap_entries {
                        leave!(HEAP)
                    }
                }
                Op::Set {
                    slot,
                    literal: index,
                } => {
                    pc += 2;
                    room!(2);
                    let value = literal(program, index);
                    charge!(value.len() as u64);
                    self.heap.set_slot(slot, value);
                    if self.heap.entries > session.limits.heap_entries {
                        leave!(HEAP)
                    }
                }
                Op::Increase {
                    slot,
                    literal: index,
                } => {
                    pc += 5;
                    room!(2);
                    charge!(1);
                    room!(3);
                    let b = literal(program, index);
                    let Some(a) = self.heap.slot_mut(slot) else {
                        leave!(UNDERFLOW)
                    };
                    charge!(a.len() as u64 + b.len() as u64);
                    let was_empty = a.is_empty();
                    // A sum has at least one byte; where the program fails its heap is gone.
                    a.add(b);
                    let (len, outside_bytes) = (a.len(), a.outside_bytes());
                    if outside_bytes > 0 {
                        ok!(self.account_long(outside_bytes, session));
                    }
                    charge!(len as u64);
                    self.heap.entries += usize::from(was_empty);
                    if self.heap.entries > session.limits.heap_entries {
                        leave!(HEAP)
                    }
                }
                Op::Plain(opcode) => {
                    session.meter = meter;
                    let value = self.atom_opcode(opcode, session)?;
                    meter = session.meter;
                    self.stack.push(value);
                }
            }
        }
        session.meter = meter;
        session.spend(ops.len().saturating_sub(block) as u64)?;
        match (self.stack.pop(), self.stack.is_empty()) {
            (Some(value), true) => Ok(value),
            _ => Err(Stop::Failed("bad stack")),
        }
    }

    /// Counts the value that was computed last, in memory and in steps.
    #[inline]
    fn account_top<S>(&self, session: &mut Session<'_, S>) -> Result<(), Stop> {
        match self.stack.last().map_or(0, Value::outside_bytes) {
            0 => Ok(()),
            bytes => self.account_long(bytes, session),
        }
    }

    #[cold]
    fn account_long<S>(&self, bytes: usize, session: &mut Session<'_, S>) -> Result<(), Stop> {
        session.spend_bytes(bytes)?;
        let before = session.held;
        session.allocate(bytes, || before.saturating_add(self.live_bytes()))
    }

    /// Bytes outside the values themselves; a value that stands in two places counts twice.
    fn live_bytes(&self) -> usize {
        let heap = self.heap.tree.iter().flat_map(|(key, value)| [key, value]);
        let values = self.stack.iter().chain(&self.heap.slots).chain(heap);
        values.fold(0, |sum, value| sum.saturating_add(value.outside_bytes()))
    }

    /// The opcodes that work on atoms: takes their arguments from the stack.
    fn atom_opcode<S: AtomSource + AtomSink>(
        &mut self,
        opcode: Opcode,
        session: &mut Session<'_, S>,
    ) -> Result<Value, Stop> {
        match opcode {
            Opcode::AtomSlice => {
                let [id, start, len] = self.pop()?;
                let range = start.to_index().zip(len.to_index());
                let (start, len) = range.ok_or(Stop::Failed("bad slice"))?;
                let atom = session.atom(&id)?;
                let data = cut(atom.data(), start, len);
                charge(session, data.len())?;
                session.spend_atom(data.len())?;
                session.put(Atom::new(atom.kind(), data, AtomId::ZERO))
            }
            Opcode::AtomLink => {
                let [first, rest] = self.pop()?;
                let ids = first.to_id().zip(rest.to_id());
                let (first_id, rest_id) = ids.ok_or(Stop::Failed("bad link"))?;
                session.atom(&first)?;
                charge(session, first.len() + rest.len())?;
                session.spend_atom(first.len())?;
                session.put(Atom::list(first_id, rest_id))
            }
            Opcode::AtomConcat => {
                let [first, second] = self.pop()?;
                let (first, second) = (session.atom(&first), session.atom(&second));
                let (first, second) = (first?, second?);
                let len = first.data().len().saturating_add(second.data().len());
                charge(session, len)?;
                session.spend_atom(len)?;
                session.put(Atom::bytes([first.data(), second.data()].concat()))
            }
            Opcode::AtomNew => {
                let [kind, data] = self.pop()?;
                let kind = kind.with_bytes(|kind| match *kind {
                    [code] => AtomKind::from_code(code).ok_or("unknown atom kind"),
                    _ => Err("bad atom kind"),
                });
                let kind = kind.map_err(Stop::Failed)?;
                charge(session, data.len())?;
                session.spend_atom(data.len())?;
                session.put(Atom::new(kind, data.to_shared(), AtomId::ZERO))
            }
            Opcode::AtomLoad => {
                let [id, start, len] = self.pop()?;
                let range = start.to_index().zip(len.to_index());
                let (start, len) = range.ok_or(Stop::Failed("bad load"))?;
                if len > AtomId::ZERO.as_bytes().len() {
                    return Err(Stop::Failed("load too wide"));
                }
                let atom = session.atom(&id)?;
                let data = cut(atom.data(), start, len);
                charge(session, data.len())?;
                Ok(Value::new(data))
            }
            _ => Err(UNDERFLOW),
        }
    }

    fn pop<const N: usize>(&mut self) -> Result<[Value; N], Stop> {
        let rest = self.stack.len().checked_sub(N).ok_or(UNDERFLOW)?;
        let mut values = self.stack.drain(rest..);
        Ok(core::array::from_fn(|_| {
            values.next().unwrap_or(Value::EMPTY)
        }))
    }
}

impl Heap {
    /// Empties it, with a slot for each of the program's keys.
    #[inline]
    fn reset(&mut self, program: &Program) {
        self.clear();
        if !program.keys.is_empty() {
            self.slots.resize(program.keys.len() + 1, Value::EMPTY);
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
    fn slot(&self, slot: u8) -> &Value {
        self.slots.get(usize::from(slot)).unwrap_or(&EMPTY)
    }

    #[inline]
    fn slot_mut(&mut self, slot: u8) -> Option<&mut Value> {
        self.slots.get_mut(usize::from(slot))
    }

    #[inline(always)]
    fn get(&self, key: &Value, program: &Program) -> &Value {
        match program.slot_of(key) {
            Some(slot) => self.slot(slot),
            None if self.tree.is_empty() => &EMPTY,
            None => self.tree.get(key).unwrap_or(&EMPTY),
        }
    }

    #[inline]
    fn set(&mut self, key: &Value, value: &Value, program: &Program) {
        match program.slot_of(key) {
            Some(slot) => self.set_slot(slot, value),
            None => self.set_in_tree(key, value),
        }
    }

    #[inline]
    fn set_slot(&mut self, slot: u8, value: &Value) {
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            self.entries += usize::from(!value.is_empty());
            self.entries -= usize::from(!place.is_empty());
            place.clone_from(value);
        }
    }

    fn set_in_tree(&mut self, key: &Value, value: &Value) {
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
fn push(stack: &mut Vec<Value>, value: &Value) {
    stack.push(Value::EMPTY);
    if let Some(top) = stack.last_mut() {
        top.clone_from(value);
    }
}

#[inline]
fn literal(program: &Program, index: usize) -> &Value {
    program.literals.get(index).unwrap_or(&EMPTY)
}

fn charge<S>(session: &mut Session<'_, S>, len: usize) -> Result<(), Stop> {
    if session.meter.charge(len as u64) {
        Ok(())
    } else {
        Err(METER)
    }
}

/// At most `len` bytes of `data` from `start` on: fewer where the data ends.
fn cut(data: &[u8], start: usize, len: usize) -> &[u8] {
    let rest = data.get(start..).unwrap_or_default();
    rest.get(..len).unwrap_or(rest)
}
