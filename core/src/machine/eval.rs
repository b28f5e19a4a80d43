//! The evaluator: runs the code of expressions on a stack of its own.
//!
//! Invariants:
//! - The host's stack does not grow with an expression's nesting, nor with the depth of calls.
//! - Steps are counted where a block is entered, for all of its operations: blocks have no loops.
//! - An operation either leaves the stack as its block's code expects it, or ends the evaluation.

use super::Env;
use super::code::{BlockKind, Op, Span};
use super::compile::{Library, OP_BYTES};
use super::form::Form;
use super::names::Callee;
use super::opcode::Opcode;
use super::program::{Program, Token};
use super::session::{Session, Stop};
use super::stack::StackMachine;
use super::value::Value;
use crate::atom::{AtomId, AtomKind, AtomSink, AtomSource, SourceError};
use crate::expr::{Expr, List};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

/// Bytes that stand before shared data.
const SHARED_BYTES: usize = 16;
/// Bytes that an error takes, beside a name in it.
const ERROR_BYTES: usize = 192;
/// The longest bytes that an expression holds in place.
const INLINE_BYTES: usize = 22;
/// Values that the stack keeps room for between evaluations.
const KEPT_ITEMS: usize = 4096;

/// Why an evaluation ended without a value, and whose error it is.
pub(super) struct Abort {
    pub(super) topic: &'static str,
    pub(super) message: &'static str,
}

impl Abort {
    fn new(topic: &'static str, stop: Stop) -> Self {
        match stop {
            Stop::Failed(message) | Stop::Limit(message) => Self { topic, message },
            Stop::Interrupted => Self {
                topic: "eval",
                message: "interrupted",
            },
        }
    }
}

/// What the evaluator itself runs into.
impl From<Stop> for Abort {
    fn from(stop: Stop) -> Self {
        Self::new("eval", stop)
    }
}

/// Where a block goes on that called another one.
struct Frame {
    back: usize,
    /// Where the scope starts that the call opened, if it opened one.
    scope: Option<usize>,
}

/// The evaluator, with the code of what it evaluated before.
#[derive(Default)]
pub(super) struct Evaluator {
    pub(super) library: Library,
    pub(super) stack_machine: StackMachine,
    values: Vec<Expr>,
    frames: Vec<Frame>,
    /// How many frames opened a scope.
    scopes: usize,
    /// What the lists mean whose tail is a name, and that are not complete yet.
    tails: Vec<Callee>,
    arguments: Vec<Value>,
}

impl Evaluator {
    /// The value of `expr`; what it defines stays in `env`.
    pub(super) fn eval<S: AtomSource + AtomSink>(
        &mut self,
        expr: &Expr,
        env: &mut Env,
        session: &mut Session<'_, S>,
    ) -> Result<Expr, Abort> {
        let value = match expr {
            Expr::List(list) => self.eval_list(list, env, session),
            Expr::Bytes(_) => Ok(expr.clone()),
            Expr::Symbol(name) => match env.get(name) {
                Some(value) => Ok(value.clone()),
                None => unbound(name, session, || 0),
            },
        };
        self.library.names.forget_values();
        self.values.clear();
        self.values.shrink_to(KEPT_ITEMS);
        self.frames.clear();
        self.frames.shrink_to(KEPT_ITEMS);
        self.tails.clear();
        self.scopes = 0;
        self.library.trim();
        let value = value?;
        if !fits(&value, session.limits.live_bytes) {
            return Err(Stop::Limit("memory limit").into());
        }
        Ok(value)
    }

    fn eval_list<S: AtomSource + AtomSink>(
        &mut self,
        list: &List,
        env: &mut Env,
        session: &mut Session<'_, S>,
    ) -> Result<Expr, Abort> {
        let block = self.library.block(list, BlockKind::List);
        let span = self.enter(block, session)?;
        self.run(span.start, env, session)?;
        // The code of a block leaves one value.
        self.values.pop().ok_or(Stop::Limit("stack limit").into())
    }

    /// Makes sure that a block is compiled and that there are steps and room for it.
    #[inline]
    fn enter<S>(&mut self, block: usize, session: &mut Session<'_, S>) -> Result<Span, Abort> {
        let code = self.library.blocks.get(block).and_then(|block| block.code);
        let span = match code {
            Some(span) => span,
            None => self.compile(block, session)?,
        };
        session.spend(span.len as u64)?;
        if self.values.len() + span.height > session.limits.stack_items {
            return Err(Stop::Limit("stack limit").into());
        }
        Ok(span)
    }

    #[cold]
    fn compile<S>(&mut self, block: usize, session: &mut Session<'_, S>) -> Result<Span, Abort> {
        let max_ops = session.limits.live_bytes / OP_BYTES;
        let compiled = self.library.compile(block, max_ops);
        let span = compiled.map_err(|_| Stop::Limit("memory limit"))?;
        session.allocate(span.len * OP_BYTES, || self.live_bytes())?;
        Ok(span)
    }

    fn run<S: AtomSource + AtomSink>(
        &mut self,
        start: usize,
        env: &mut Env,
        session: &mut Session<'_, S>,
    ) -> Result<(), Abort> {
        let mut pc = start;
        while let Some(op) = self.library.ops.get(pc) {
            pc += 1;
            match *op {
                Op::Constant(index) => {
                    let value = self.constant(index);
                    self.values.push(value);
                }
                Op::Load(slot) => self.load(slot, env, session)?,
                Op::Collect(count) => self.collect(count, session)?,
                Op::Define(slot) => self.define(slot, env),
                Op::Follow(index) => {
                    let value = self.follow(index, session)?;
                    self.values.push(value);
                }
                Op::FunctionArgument { count, end } => {
                    if !matches!(self.values.last(), Some(Expr::Bytes(_))) {
                        self.reject_function_argument(count, session)?;
                        pc = end;
                    }
                }
                Op::StackArgument { count, end } => {
                    if !matches!(self.values.last(), Some(Expr::Bytes(_)))
                        && !self.accept_stack_argument(count, session)?
                    {
                        pc = end;
                    }
                }
                Op::Fail {
                    count,
                    constant,
                    end,
                } => {
                    let error = self.constant(constant);
                    self.replace(count, error);
                    pc = end;
                }
                Op::Call { block, count } => pc = self.call(block, count, pc, session)?,
                Op::Run { template, count } => self.run_stack(template, count, session)?,
                Op::OpenTail { slot, count, end } => {
                    if !self.open_tail(slot, count, env, session)? {
                        pc = end;
                    }
                }
                Op::TailItem { count, end } => {
                    if !self.accept_tail_item(count, session)? {
                        self.tails.pop();
                        pc = end;
                    }
                }
                Op::CloseTail { slot, count } => match self.tails.pop().unwrap_or_default() {
                    Callee::Function(block) => pc = self.call(block, count, pc, session)?,
                    Callee::Stack { block, .. } => pc = self.call_stack(block, pc, session)?,
                    Callee::Unknown | Callee::None => {
                        self.load(slot, env, session)?;
                        self.collect(count + 1, session)?;
                    }
                },
                Op::Return => match self.frames.pop() {
                    Some(frame) => {
                        pc = frame.back;
                        if let Some(scope) = frame.scope {
                            self.scopes -= 1;
                            self.library.names.unwind(scope);
                        }
                    }
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    }

    #[inline]
    fn constant(&self, index: usize) -> Expr {
        let value = self.library.constants.get(index);
        value.cloned().unwrap_or_else(|| Expr::list(Vec::new()))
    }

    /// Puts `value` in the place of the topmost `count` values.
    fn replace(&mut self, count: usize, value: Expr) {
        let keep = self.values.len().saturating_sub(count);
        self.values.truncate(keep);
        self.values.push(value);
    }

    #[inline]
    fn load<S>(
        &mut self,
        slot: usize,
        env: &Env,
        session: &mut Session<'_, S>,
    ) -> Result<(), Abort> {
        let bound = self.library.names.slot(slot, env);
        let value = match bound.and_then(|slot| slot.value.as_ref()) {
            Some(value) => value.clone(),
            None => {
                let name = self.library.names.symbol(slot).cloned();
                unbound(name.as_deref().unwrap_or(""), session, || self.live_bytes())?
            }
        };
        self.values.push(value);
        Ok(())
    }

    fn collect<S>(&mut self, count: usize, session: &mut Session<'_, S>) -> Result<(), Abort> {
        let bytes = SHARED_BYTES + count * size_of::<Expr>();
        session.allocate(bytes, || self.live_bytes())?;
        let start = self.values.len().saturating_sub(count);
        let list: List = self.values.drain(start..).collect();
        self.values.push(Expr::List(list));
        Ok(())
    }

    fn define(&mut self, slot: usize, env: &mut Env) {
        let Some(value) = self.values.last().filter(|value| !value.is_error()) else {
            return;
        };
        if self.scopes == 0 {
            self.library.names.bind_global(slot, value.clone(), env);
        } else {
            self.library.names.bind(slot, value.clone());
        }
    }

    /// The chain of atoms that a constant names, the last one first.
    fn follow<S: AtomSource + AtomSink>(
        &mut self,
        index: usize,
        session: &mut Session<'_, S>,
    ) -> Result<Expr, Abort> {
        let not_found = || Ok(Expr::error("eval", "ref target not found"));
        session.allocate(ERROR_BYTES, || self.live_bytes())?;
        let id = self.constant(index);
        let Some(mut next) = id.as_bytes().and_then(AtomId::from_slice) else {
            return not_found();
        };
        let mut items = Vec::new();
        while !next.is_zero() {
            let atom = match session.source().atom(&next) {
                Ok(atom) => atom,
                Err(SourceError::Missing(_)) => {
                    session.note_missing(next);
                    return not_found();
                }
                Err(SourceError::Failed(_)) => return Ok(Expr::error("eval", "storage error")),
            };
            let len = atom.data().len();
            session.spend(1)?;
            session.spend_bytes(len)?;
            // The list is not on the stack yet: it counts as long as it is being made.
            let made = items.len() * (2 * size_of::<Expr>() + SHARED_BYTES);
            let bytes = len + 2 * size_of::<Expr>() + SHARED_BYTES;
            session.allocate(bytes, || self.live_bytes().saturating_add(made))?;
            items.push(match atom.kind() {
                AtomKind::Bytes => Expr::bytes(atom.data()),
                AtomKind::List => {
                    Expr::list(Vec::from([Expr::bytes(atom.data()), Expr::symbol("ref")]))
                }
                AtomKind::Symbol => match core::str::from_utf8(atom.data()) {
                    Ok(name) => Expr::symbol(name),
                    Err(_) => return not_found(),
                },
            });
            next = atom.next();
        }
        items.reverse();
        Ok(Expr::list(items))
    }

    /// An error of the evaluator's own.
    #[cold]
    fn error<S>(&self, message: &str, session: &mut Session<'_, S>) -> Result<Expr, Abort> {
        session.allocate(ERROR_BYTES, || self.live_bytes())?;
        Ok(Expr::error("eval", message))
    }

    #[cold]
    fn reject_function_argument<S>(
        &mut self,
        count: usize,
        session: &mut Session<'_, S>,
    ) -> Result<(), Abort> {
        let error = match self.values.last() {
            Some(value) if value.is_error() => value.clone(),
            _ => self.error("argument must resolve to Bytes", session)?,
        };
        self.replace(count, error);
        Ok(())
    }

    /// Makes bytes of an argument that is none; if it cannot be, its error replaces the call.
    fn accept_stack_argument<S>(
        &mut self,
        count: usize,
        session: &mut Session<'_, S>,
    ) -> Result<bool, Abort> {
        let Some(value) = self.values.last() else {
            return Ok(false);
        };
        let error = match value {
            error if error.is_error() => error.clone(),
            Expr::List(items) => {
                session.spend(items.len() as u64)?;
                let total = items.iter().try_fold(0usize, |total, item| {
                    Some(total.saturating_add(item.as_bytes()?.len()))
                });
                match total {
                    Some(total) => {
                        session.spend_bytes(total)?;
                        session.allocate(total, || self.live_bytes())?;
                        let mut joined = Vec::with_capacity(total);
                        let parts = items.iter().filter_map(Expr::as_bytes);
                        parts.for_each(|part| joined.extend_from_slice(part));
                        self.replace(1, Expr::bytes(joined));
                        return Ok(true);
                    }
                    None => self.error("byte list must contain only Bytes elements", session)?,
                }
            }
            _ => self.error("argument must resolve to Bytes or (Bytes ...)", session)?,
        };
        self.replace(count, error);
        Ok(false)
    }

    /// Calls a function: binds its parameters to the topmost values; where the code goes on.
    #[inline]
    fn call<S>(
        &mut self,
        block: usize,
        count: usize,
        back: usize,
        session: &mut Session<'_, S>,
    ) -> Result<usize, Abort> {
        let span = self.enter(block, session)?;
        let scope = self.library.names.mark();
        if self.frames.len() >= session.limits.depth {
            return Err(Stop::Limit("depth limit").into());
        }
        if scope + count > session.limits.stack_items {
            return Err(Stop::Limit("stack limit").into());
        }
        self.frames.push(Frame {
            back,
            scope: Some(scope),
        });
        self.scopes += 1;
        let start = self.values.len().saturating_sub(count);
        if let Some(block) = self.library.blocks.get(block) {
            for (param, value) in block.params.iter().zip(self.values.drain(start..)) {
                self.library.names.bind(*param, value);
            }
        }
        Ok(span.start)
    }

    /// Calls a stack program that stands in a block: its arguments stay on the stack.
    fn call_stack<S>(
        &mut self,
        block: usize,
        back: usize,
        session: &mut Session<'_, S>,
    ) -> Result<usize, Abort> {
        let span = self.enter(block, session)?;
        if self.frames.len() >= session.limits.depth {
            return Err(Stop::Limit("depth limit").into());
        }
        self.frames.push(Frame { back, scope: None });
        Ok(span.start)
    }

    /// Runs a stack program with the topmost values.
    fn run_stack<S: AtomSource + AtomSink>(
        &mut self,
        template: usize,
        count: usize,
        session: &mut Session<'_, S>,
    ) -> Result<(), Abort> {
        let Some(template) = self.library.templates.get(template) else {
            return Ok(());
        };
        let start = self.values.len().saturating_sub(count);
        self.arguments.clear();
        let mut spells_opcode = false;
        for value in self.values.get(start..).unwrap_or_default() {
            if let Expr::Bytes(bytes) = value {
                spells_opcode |= Opcode::from_token(bytes).is_some();
                self.arguments.push(Value::from_bytes(bytes));
            }
        }
        let arguments = self.arguments.as_slice();
        let result = if spells_opcode {
            session.spend(template.tokens.len() as u64)?;
            let program = substituted(&template.tokens, arguments);
            self.stack_machine.run(&program, arguments, session)
        } else {
            self.stack_machine
                .run(&template.program, arguments, session)
        };
        self.arguments.clear();
        let value = match result {
            Ok(value) => {
                session.allocate(value.outside_bytes(), || self.live_bytes())?;
                Expr::Bytes(value.to_bytes())
            }
            Err(Stop::Failed(message)) => {
                session.allocate(ERROR_BYTES, || self.live_bytes())?;
                Expr::error("low_eval", message)
            }
            Err(stop) => return Err(Abort::new("low_eval", stop)),
        };
        self.replace(count, value);
        Ok(())
    }

    /// Decides what a list means whose tail is a name. If that is an error already, the error is
    /// its value, and the answer is no.
    fn open_tail<S>(
        &mut self,
        slot: usize,
        count: usize,
        env: &Env,
        session: &mut Session<'_, S>,
    ) -> Result<bool, Abort> {
        let callee = self.callee(slot, count, env);
        let block = match callee {
            Callee::Function(block) | Callee::Stack { block, .. } => self.library.blocks.get(block),
            Callee::Unknown | Callee::None => None,
        };
        if let Some(block) = block {
            let arity = block.kind != BlockKind::Function || block.params.len() == count;
            if let Some(fault) = block.fault.or((!arity).then_some("arity mismatch")) {
                let error = self.error(fault, session)?;
                self.values.push(error);
                return Ok(false);
            }
        }
        self.tails.push(callee);
        Ok(true)
    }

    fn callee(&mut self, slot: usize, count: usize, env: &Env) -> Callee {
        let Some(bound) = self.library.names.slot(slot, env) else {
            return Callee::None;
        };
        match bound.callee {
            Callee::Unknown => {}
            Callee::Stack { count: known, .. } if known != count => {}
            known => return known,
        }
        let callee = match &bound.value {
            Some(Expr::List(list)) if !list_is_error(list) => match Form::new(list) {
                Some(Form::Function { .. }) => {
                    let list = list.clone();
                    Callee::Function(self.library.block(&list, BlockKind::Function))
                }
                Some(Form::Stack { .. }) => {
                    let list = list.clone();
                    let block = self.library.block(&list, BlockKind::Stack(count));
                    Callee::Stack { block, count }
                }
                None => Callee::None,
            },
            _ => Callee::None,
        };
        if let Some(bound) = self.library.names.slot(slot, env) {
            bound.callee = callee;
        }
        callee
    }

    #[inline]
    fn accept_tail_item<S>(
        &mut self,
        count: usize,
        session: &mut Session<'_, S>,
    ) -> Result<bool, Abort> {
        let is_bytes = matches!(self.values.last(), Some(Expr::Bytes(_)));
        match self.tails.last() {
            Some(Callee::Function(_)) if !is_bytes => {
                self.reject_function_argument(count, session)?;
                Ok(false)
            }
            Some(Callee::Stack { .. }) if !is_bytes => self.accept_stack_argument(count, session),
            _ => Ok(true),
        }
    }

    /// Bytes that are alive: code, values on the stack, values that names are bound to. What is
    /// shared counts once.
    #[cold]
    fn live_bytes(&self) -> usize {
        let mut seen = BTreeSet::new();
        let mut pending: Vec<&Expr> = self.values.iter().collect();
        pending.extend(self.library.names.values());
        let mut bytes = self.library.ops.len().saturating_mul(OP_BYTES);
        while let Some(expr) = pending.pop() {
            match expr {
                Expr::List(items) if seen.insert(items.as_ptr().addr()) => {
                    bytes = bytes.saturating_add(SHARED_BYTES + size_of_val::<[Expr]>(items));
                    pending.extend(items.iter());
                }
                Expr::Bytes(value)
                    if value.len() > INLINE_BYTES && seen.insert(value.as_ptr().addr()) =>
                {
                    bytes = bytes.saturating_add(SHARED_BYTES + value.len());
                }
                _ => {}
            }
        }
        bytes
    }
}

fn list_is_error(items: &[Expr]) -> bool {
    items.first().and_then(Expr::as_symbol) == Some(crate::expr::ERROR_SYMBOL)
}

/// A program in which arguments that spell an opcode are that opcode.
fn substituted(tokens: &[Token], arguments: &[Value]) -> Program {
    Program::assemble(tokens.iter().map(|token| {
        let opcode = match token {
            Token::Argument(index) => arguments
                .get(*index)
                .and_then(|value| value.with_bytes(Opcode::from_token)),
            _ => None,
        };
        opcode.map_or_else(|| token.clone(), Token::Opcode)
    }))
}

/// The error of a name that is not bound; it holds the name, however long that is.
#[cold]
fn unbound<S>(
    name: &str,
    session: &mut Session<'_, S>,
    measure: impl FnOnce() -> usize,
) -> Result<Expr, Abort> {
    session.allocate(
        name.len().saturating_mul(2).saturating_add(ERROR_BYTES),
        measure,
    )?;
    Ok(Expr::error("eval", &format!("unbound symbol '{name}'")))
}

/// Whether a value takes at most `max_bytes` when everything that it shares is written out.
fn fits(value: &Expr, max_bytes: usize) -> bool {
    let mut left = max_bytes;
    let mut pending = Vec::from([value]);
    while let Some(expr) = pending.pop() {
        let outside = match expr {
            Expr::Symbol(name) => name.len(),
            Expr::Bytes(bytes) => bytes.len(),
            Expr::List(items) => {
                pending.extend(items.iter());
                0
            }
        };
        match left.checked_sub(outside.saturating_add(size_of::<Expr>())) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}
