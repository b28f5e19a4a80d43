//! Calls: arguments, stack programs, host functions and tail calls.

use super::{Activation, Evaluator, Running, live_bytes, stack_position};
use crate::expr::Expr;
use crate::machine::Env;
use crate::machine::bytecode::{BlockKind, Op};
use crate::machine::error::ErrorKind;
use crate::machine::exec_context::{Session, Stop, Store};
use crate::machine::host::{Answer, HostCall, HostFault, Message};
use crate::machine::limits::LimitKind;
use crate::machine::opcode::Opcode;
use crate::machine::outcome::HostError;
use crate::machine::program::Program;
use crate::machine::reason::Reason;
use crate::machine::special_form::Form;
use crate::machine::symbols::Callee;
use crate::machine::weight::{ERROR_BYTES, Scale, fits};
use crate::machine::word::Word;
use alloc::vec::Vec;

impl Evaluator {
    /// Accepts the topmost value as an argument of a function; otherwise an error replaces the
    /// call. Returns whether it was accepted.
    #[cold]
    pub(super) fn accept_function_argument<S: Store>(
        &mut self,
        count: usize,
        session: &mut Session<'_, S>,
    ) -> Result<bool, Stop> {
        let error = match self.values.last() {
            Some(Expr::Bytes(_)) => return Ok(true),
            Some(value) if value.is_error() => value.clone(),
            _ => self.fail(ErrorKind::FunctionArgument, session)?,
        };
        self.replace(count, error);
        Ok(false)
    }

    /// Converts the topmost value, an argument of a stack program, to bytes; if that is not
    /// possible, an error replaces the call. Returns whether it was accepted.
    pub(super) fn accept_stack_argument<S: Store>(
        &mut self,
        count: usize,
        session: &mut Session<'_, S>,
    ) -> Result<bool, Stop> {
        let Some(value) = self.values.last() else {
            return Ok(false);
        };
        let error = match value {
            Expr::Bytes(_) => return Ok(true),
            error if error.is_error() => error.clone(),
            Expr::List(items) => {
                session.account.count(items.len() as u64)?;
                let total = items.iter().try_fold(0usize, |total, item| {
                    Some(total.saturating_add(item.as_bytes()?.len()))
                });
                match total {
                    Some(total) => {
                        session.count_bytes(total)?;
                        session
                            .account
                            .allocate(total as u64, |code| self.live_bytes(code))?;
                        let mut joined = Vec::with_capacity(total);
                        let parts = items.iter().filter_map(Expr::as_bytes);
                        parts.for_each(|part| joined.extend_from_slice(part));
                        self.replace(1, Expr::bytes(joined));
                        return Ok(true);
                    }
                    None => self.fail(ErrorKind::ByteList, session)?,
                }
            }
            Expr::Symbol(_) => self.fail(ErrorKind::StackArgument, session)?,
        };
        self.replace(count, error);
        Ok(false)
    }

    /// Calls a function: binds its parameters to the topmost values and continues in its block.
    #[inline]
    pub(super) fn call<S: Store>(
        &mut self,
        block: usize,
        count: usize,
        back: usize,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let span = self.span(block, session)?;
        let scope = self.library.symbols.mark();
        self.open_frame(back, Some(scope), session)?;
        let hidden = (scope + count) as u64;
        if hidden > session.account.limits.stack_items {
            return Err(session.exceed(LimitKind::Stack, hidden));
        }
        self.scopes += 1;
        let start = self.values.len().saturating_sub(count);
        if let Some(block) = self.library.blocks.get(block) {
            for (param, value) in block.params.iter().zip(self.values.drain(start..)) {
                self.library.symbols.bind(*param, value);
            }
        }
        self.at = span.start;
        session.spend(span.len as u64)
    }

    /// Calls a stack program that has its own block: its arguments stay on the stack.
    pub(super) fn call_stack<S: Store>(
        &mut self,
        block: usize,
        back: usize,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let span = self.span(block, session)?;
        self.open_frame(back, None, session)?;
        self.at = span.start;
        session.spend(span.len as u64)
    }

    #[inline]
    pub(super) fn open_frame<S: Store>(
        &mut self,
        back: usize,
        scope: Option<usize>,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let depth = self.frames.len() as u64;
        if depth >= session.account.limits.depth {
            return Err(session.exceed(LimitKind::Depth, depth.saturating_add(1)));
        }
        self.frames.push(Activation { back, scope });
        Ok(())
    }

    /// Starts or continues a stack program with the topmost values.
    pub(super) fn run_stack<S: Store, const STEP: bool>(
        &mut self,
        program: usize,
        count: usize,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        if matches!(self.running, Running::Nothing) {
            self.begin_stack(program, count, session)?;
        }
        let program = match &self.running {
            Running::Nothing => None,
            Running::Shared(index) => self.library.programs.get(*index),
            Running::Own(program) => Some(program),
        };
        let Some(program) = program else {
            return Ok(());
        };
        let result = self
            .stack_machine
            .run::<S, STEP>(program, &self.arguments, session, |code| {
                live_bytes(&self.values, &self.library, &self.replaced, code)
            });
        let value = match result {
            Ok(value) => {
                let bytes = value.outside_bytes() as u64;
                self.allocate(bytes, session.account)?;
                Expr::Bytes(value.to_bytes())
            }
            Err(Stop::Failed(kind)) => {
                self.allocate(ERROR_BYTES, session.account)?;
                let place = stack_position(program, &self.stack_machine);
                session
                    .account
                    .failures
                    .add(|| self.failure(kind, None, false, Some(place)));
                Expr::error(kind.topic(), kind.message())
            }
            Err(stop) => {
                session.account.in_stack |= matches!(stop, Stop::Limit | Stop::Host);
                return Err(stop);
            }
        };
        self.running = Running::Nothing;
        self.arguments.clear();
        self.stack_machine.end(usize::MAX);
        self.replace(count, value);
        Ok(())
    }

    pub(super) fn begin_stack<S: Store>(
        &mut self,
        index: usize,
        count: usize,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let Some(program) = self.library.programs.get(index) else {
            return Ok(());
        };
        let start = self.values.len().saturating_sub(count);
        self.arguments.clear();
        let mut spells_opcode = false;
        for value in self.values.get(start..).unwrap_or_default() {
            // All are bytes: each was checked when it was computed.
            if let Expr::Bytes(bytes) = value {
                spells_opcode |= Opcode::from_token(bytes).is_some();
                self.arguments.push(Word::from_bytes(bytes));
            }
        }
        if spells_opcode {
            session.account.count(program.len() as u64)?;
            let program = program.substituted(&self.arguments);
            self.stack_machine.begin(&program);
            self.running = Running::Own(program);
        } else {
            self.stack_machine.begin(program);
            self.running = Running::Shared(index);
        }
        Ok(())
    }

    /// Returns the program of the current operation, and its index.
    pub(in crate::machine) fn program_at(&self) -> Option<(usize, Program)> {
        let Some(Op::Run { program, .. }) = self.library.ops.get(self.at) else {
            return None;
        };
        let index = *program;
        Some((index, self.library.programs.get(index)?.clone()))
    }

    /// Returns whether an argument of the running program equals the name of an opcode.
    pub(in crate::machine) fn is_substituted(&self) -> bool {
        let mut arguments = self.arguments.iter();
        arguments.any(|argument| argument.with_bytes(Opcode::from_token).is_some())
    }

    /// Returns the program that runs if `program` is called with the current arguments.
    pub(in crate::machine) fn program_for(&self, program: &Program) -> Program {
        if !self.is_program && self.is_substituted() {
            program.substituted(&self.arguments)
        } else {
            program.clone()
        }
    }

    /// Calls a host function with the topmost values.
    #[cold]
    pub(super) fn call_host<S: Store>(
        &mut self,
        slot: usize,
        count: usize,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let Some(name) = self.library.symbols.symbol(slot).cloned() else {
            return Ok(());
        };
        let start = self.values.len().saturating_sub(count);
        let answered = match session.account.answer.take() {
            Some(Answer::Value(value)) => Some(Ok(value)),
            Some(Answer::Error(error)) => Some(Err(HostFault::Error(error))),
            answer => {
                session.account.answer = answer;
                None
            }
        };
        let mut meter = session.account.meter;
        let mut refused = None;
        let result = answered.unwrap_or_else(|| {
            let mut call = HostCall {
                name: &name,
                arguments: self.values.get(start..).unwrap_or_default(),
                meter: &mut meter,
                refused: None,
            };
            let result = session.functions.call(&name, &mut call);
            refused = call.refused;
            result
        });
        let value = match result {
            Ok(value) => value,
            Err(HostFault::Meter) => {
                let used = session.account.meter.used();
                return match session.refused(refused.unwrap_or_default(), used) {
                    Stop::Failed(kind) => {
                        let error = self.fail(kind, session)?;
                        self.replace(count, error);
                        Ok(())
                    }
                    stop => Err(stop),
                };
            }
            Err(HostFault::Suspend) if session.account.suspends => {
                session.account.reason = Some(Reason::HostFunction { name });
                return Err(Stop::Retry);
            }
            Err(HostFault::Suspend) => {
                let error = "the host function suspends, but the evaluation cannot be suspended";
                let error = Message::boxed(error);
                return Err(session.host_failed(HostError::Function { name, error }));
            }
            Err(HostFault::Error(error)) => {
                return Err(session.host_failed(HostError::Function { name, error }));
            }
        };
        session.account.meter = meter;
        if !fits(&value, session.account.limits.live_bytes) {
            return Err(session.account.too_large());
        }
        let mut scale = Scale::default();
        scale.add(&mut core::iter::once(&value));
        self.allocate(scale.bytes(), session.account)?;
        self.replace(count, value);
        Ok(())
    }

    /// Returns the arguments of the current host function call.
    pub(in crate::machine) fn host_arguments(&self) -> &[Expr] {
        let count = match self.library.ops.get(self.at) {
            Some(Op::Host { count, .. }) => *count,
            _ => 0,
        };
        let start = self.values.len().saturating_sub(count);
        self.values.get(start..).unwrap_or_default()
    }

    /// Returns the error of a call of a block with this many arguments, if there is one.
    pub(super) fn call_fault(&self, block: usize, count: usize) -> Option<ErrorKind> {
        let block = self.library.blocks.get(block)?;
        let arity = block.kind != BlockKind::Function || block.params.len() == count;
        block.fault.or((!arity).then_some(ErrorKind::Arity))
    }

    /// Determines the callee of a list whose tail is a symbol. If the call is certain to fail,
    /// pushes the error as its value and returns `false`.
    pub(super) fn open_tail<S: Store>(
        &mut self,
        slot: usize,
        count: usize,
        env: &Env,
        session: &mut Session<'_, S>,
    ) -> Result<bool, Stop> {
        let callee = self.callee(slot, count, env, session)?;
        if let Callee::Function(block) | Callee::Stack { block, .. } = callee
            && let Some(fault) = self.call_fault(block, count)
        {
            let error = self.fail(fault, session)?;
            self.values.push(error);
            return Ok(false);
        }
        self.tails.push(callee);
        Ok(true)
    }

    #[inline]
    pub(super) fn callee<S: Store>(
        &mut self,
        slot: usize,
        count: usize,
        env: &Env,
        session: &mut Session<'_, S>,
    ) -> Result<Callee, Stop> {
        let Some(bound) = self.library.symbols.slot(slot, env) else {
            return Ok(Callee::None);
        };
        match bound.callee {
            Callee::Unknown => {}
            Callee::Stack { count: known, .. } if known != count => {}
            known => return Ok(known),
        }
        let callee = match bound.value.clone() {
            Some(value) => self.form_callee(&value, count, session)?,
            None => Callee::None,
        };
        if let Some(bound) = self.library.symbols.slot(slot, env) {
            bound.callee = callee;
        }
        Ok(callee)
    }

    /// Returns the callee of a value.
    pub(super) fn form_callee<S: Store>(
        &mut self,
        value: &Expr,
        count: usize,
        session: &mut Session<'_, S>,
    ) -> Result<Callee, Stop> {
        let Expr::List(list) = value else {
            return Ok(Callee::None);
        };
        if value.is_error() {
            return Ok(Callee::None);
        }
        let kind = match Form::new(list) {
            Some(Form::Function { .. }) => BlockKind::Function,
            Some(Form::Stack { .. }) => BlockKind::Stack(count),
            None => return Ok(Callee::None),
        };
        let (block, weight) = self
            .library
            .form(list, kind, session.account.limits.live_bytes)
            .map_err(|_| session.account.too_large())?;
        session.account.count(weight.items)?;
        if self.library.is_first(block) {
            self.count_code(weight, session)?;
        }
        Ok(match kind {
            BlockKind::Stack(count) => Callee::Stack { block, count },
            _ => Callee::Function(block),
        })
    }

    #[inline]
    pub(super) fn accept_tail_item<S: Store>(
        &mut self,
        count: usize,
        session: &mut Session<'_, S>,
    ) -> Result<bool, Stop> {
        let is_bytes = matches!(self.values.last(), Some(Expr::Bytes(_)));
        match self.tails.last() {
            Some(Callee::Function(_)) if !is_bytes => self.accept_function_argument(count, session),
            Some(Callee::Stack { .. }) if !is_bytes => self.accept_stack_argument(count, session),
            _ => Ok(true),
        }
    }
}
