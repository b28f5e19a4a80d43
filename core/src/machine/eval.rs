//! Evaluator: runs bytecode on an explicit stack.
//!
//! Invariants:
//! - The host's stack does not grow with an expression's nesting or with the depth of calls.
//! - Steps are counted when a block is entered, for all of its operations: blocks have no loops.
//! - An operation either leaves the stack as its block's code expects it, or ends the evaluation.
//! - A stop that is not an end leaves a state from which [`Evaluator::run`] continues.
//!   [`Stop::Retry`] comes before an operation changed anything, and is only returned with
//!   [`Evaluator::at`] at the operation; [`Stop::Pause`] comes after it, with `at` at the next one.

use super::Env;
use super::bytecode::{BlockKind, Op, Span};
use super::error::ErrorKind;
use super::exec_context::{Account, Session, Stop, Store};
use super::failure::{Failure, Frame, MAX_RECORDED_FRAMES, StackPosition};
use super::host::{Answer, HostCall, HostFault};
use super::library::Library;
use super::limits::LimitKind;
use super::opcode::Opcode;
use super::outcome::{HostError, Wanted};
use super::program::Program;
use super::special_form::Form;
use super::stack::StackMachine;
use super::suspend::Reason;
use super::symbols::{Callee, shrink};
use super::task::{Function, Task};
use super::weight::{ERROR_BYTES, EXPR_BYTES, SHARED_BYTES, Scale, Weight, fits};
use super::word::Word;
use crate::atom::{AtomId, AtomKind};
use crate::expr::{Expr, List, Symbol};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

/// End of all code; a call from the host returns there.
pub(super) const END: usize = usize::MAX;

/// Return position of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Activation {
    pub(super) back: usize,
    /// Mark of the scope that the call opened, if it opened one.
    pub(super) scope: Option<usize>,
}

/// List of atoms that is being read.
pub(super) struct Following {
    pub(super) next: AtomId,
    /// Items so far, in the order of the list.
    pub(super) items: Vec<Expr>,
}

/// Program that the stack machine runs.
#[derive(Clone)]
pub(super) enum Running {
    /// No program.
    Nothing,
    /// The program of the library with this index.
    Shared(usize),
    /// A separate program, because arguments equal the names of opcodes or because it runs without
    /// the evaluator.
    Own(Program),
}

/// Evaluator, with the code of earlier evaluations.
pub(super) struct Evaluator {
    pub(super) library: Library,
    pub(super) stack_machine: StackMachine,
    /// Set if no state of an evaluation is left.
    pub(super) is_clear: bool,
    /// Set if a program runs without the evaluator.
    pub(super) is_program: bool,
    /// Current expression, and those after it.
    pub(super) current: Option<Expr>,
    pub(super) rest: Option<vec::IntoIter<Expr>>,
    /// Position of the current or the next operation.
    pub(super) at: usize,
    pub(super) values: Vec<Expr>,
    pub(super) frames: Vec<Activation>,
    /// Number of frames that opened a scope.
    pub(super) scopes: usize,
    /// Callees of the incomplete lists whose tail is a symbol.
    pub(super) tails: Vec<Callee>,
    /// Program that the stack machine runs, and its arguments.
    pub(super) running: Running,
    pub(super) arguments: Vec<Word>,
    pub(super) following: Option<Following>,
    /// Values of the environment that were rebound: the program did not create them.
    pub(super) replaced: Vec<Expr>,
}

impl Evaluator {
    pub(super) fn new(library: Library) -> Self {
        Self {
            library,
            stack_machine: StackMachine::default(),
            is_program: false,
            current: None,
            rest: None,
            is_clear: true,
            at: END,
            values: Vec::new(),
            frames: Vec::new(),
            scopes: 0,
            tails: Vec::new(),
            running: Running::Nothing,
            arguments: Vec::new(),
            following: None,
            replaced: Vec::new(),
        }
    }

    /// Clears the state of an evaluation, however it ended, including a panic of the host. Keeps
    /// capacity for `kept` values.
    pub(super) fn clear(&mut self, kept: usize) {
        if self.is_clear {
            return;
        }
        self.library.symbols.forget_values(kept);
        self.stack_machine.end(kept);
        self.current = None;
        self.rest = None;
        self.at = END;
        self.scopes = 0;
        self.running = Running::Nothing;
        self.following = None;
        self.values.clear();
        self.frames.clear();
        self.tails.clear();
        self.arguments.clear();
        self.replaced.clear();
        shrink(&mut self.values, kept);
        shrink(&mut self.frames, kept);
        shrink(&mut self.tails, kept);
        shrink(&mut self.arguments, kept);
        shrink(&mut self.replaced, kept);
        self.is_clear = true;
    }

    /// Starts an evaluation and runs it.
    pub(super) fn evaluate<S: Store>(
        &mut self,
        task: Task<'_>,
        env: &mut Env,
        session: &mut Session<'_, S>,
    ) -> Result<Expr, Stop> {
        self.library.epoch = self.library.epoch.wrapping_add(1);
        self.is_program = false;
        self.is_clear = false;
        match task {
            Task::Expr(expr) => self.enter_expr(expr, env, session)?,
            Task::Script([]) => self.values.push(Expr::List(List::new())),
            Task::Script([first, rest @ ..]) => {
                self.rest = Some(Vec::from(rest).into_iter());
                self.enter_expr(first, env, session)?;
            }
            Task::Call {
                function,
                arguments,
            } => self.enter_call(function, arguments, env, session)?,
            Task::Program { program, arguments } => {
                self.is_program = true;
                self.stack_machine.begin(program);
                self.arguments
                    .extend(arguments.iter().map(Word::from_bytes));
                self.running = Running::Own(program.clone());
            }
        }
        self.resume(env, session)
    }

    /// Continues the evaluation that [`Evaluator::evaluate`] started, to its value.
    pub(super) fn resume<S: Store>(
        &mut self,
        env: &mut Env,
        session: &mut Session<'_, S>,
    ) -> Result<Expr, Stop> {
        if self.is_program {
            return self.run_program(session);
        }
        loop {
            self.run(env, session)?;
            let value = self.take_value(session.account)?;
            if value.is_error() {
                return Ok(value);
            }
            let Some(next) = self.rest.as_mut().and_then(Iterator::next) else {
                return Ok(value);
            };
            self.leave_expr(session.account);
            self.enter_expr(&next, env, session)?;
        }
    }

    /// Returns the error topic of an interrupt.
    pub(super) const fn topic(&self) -> &'static str {
        if self.is_program { "low_eval" } else { "eval" }
    }

    /// Leaves an expression of a script for the next one: its bindings are now those of the
    /// environment, and its code is no longer needed.
    fn leave_expr(&mut self, account: &mut Account) {
        self.library.symbols.forget_values(usize::MAX);
        self.replaced.clear();
        self.library.epoch = self.library.epoch.wrapping_add(1);
        account.code = 0;
        self.library.trim(account.limits.live_bytes / 4);
    }

    /// Runs a program without the evaluator.
    fn run_program<S: Store>(&mut self, session: &mut Session<'_, S>) -> Result<Expr, Stop> {
        let Running::Own(program) = &self.running else {
            return Ok(Expr::List(List::new()));
        };
        let result = self
            .stack_machine
            .run(program, &self.arguments, session, |code| code);
        match result {
            Ok(value) => Ok(Expr::Bytes(value.to_bytes())),
            Err(stop) => {
                if let Stop::Failed(kind) = stop {
                    let place = stack_position(program, &self.stack_machine);
                    session
                        .account
                        .failures
                        .add(|| Failure::in_program(kind, place));
                }
                session.account.in_stack |= matches!(stop, Stop::Limit | Stop::Host);
                Err(stop)
            }
        }
    }

    /// Starts an expression: its value is on the stack when [`Evaluator::run`] ends.
    fn enter_expr<S: Store>(
        &mut self,
        expr: &Expr,
        env: &Env,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        self.at = END;
        self.current = Some(expr.clone());
        match expr {
            Expr::Bytes(_) => self.values.push(expr.clone()),
            // The name of a host function is a call of it.
            Expr::Symbol(name) if self.library.hosts.contains(name) => {
                let list = List::from([expr.clone()]);
                self.current = Some(Expr::List(list.clone()));
                self.enter_list(&list, session)?;
            }
            Expr::Symbol(name) => {
                let value = match env.get(name) {
                    Some(value) => value.clone(),
                    None => self.unbound(name, false, session)?,
                };
                self.values.push(value);
            }
            Expr::List(list) => self.enter_list(list, session)?,
        }
        Ok(())
    }

    fn enter_list<S: Store>(
        &mut self,
        list: &List,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let block = self.library.block(list, BlockKind::List);
        let weight = self
            .library
            .weigh(block, session.account.limits.live_bytes)
            .map_err(|_| session.account.too_large())?;
        self.library.is_first(block);
        self.count_code(weight, session)?;
        let span = self.span(block, session)?;
        self.at = span.start;
        session.spend(span.len as u64)
    }

    /// Starts a call from the host.
    fn enter_call<S: Store>(
        &mut self,
        function: Function<'_>,
        arguments: &[Expr],
        env: &Env,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        self.at = END;
        let count = arguments.len();
        let callee = match function {
            Function::Form(form) => {
                self.current = Some(form.clone());
                self.form_callee(form, count, session)?
            }
            Function::Name(name) => {
                let value = env.get(name).cloned();
                self.current = value.is_some().then(|| Expr::symbol(name));
                match value.filter(|_| !self.library.hosts.contains(name)) {
                    Some(value) => self.form_callee(&value, count, session)?,
                    None if self.library.hosts.contains(name) => Callee::None,
                    None => {
                        let error = self.unbound(&Symbol::new(name), true, session)?;
                        self.values.push(error);
                        return Ok(());
                    }
                }
            }
        };
        let error = match callee {
            Callee::Function(block) | Callee::Stack { block, .. } => self.call_fault(block, count),
            Callee::Unknown | Callee::None => Some(ErrorKind::NotCallable),
        };
        if let Some(kind) = error {
            let error = self.fail(kind, session)?;
            self.values.push(error);
            return Ok(());
        }
        if count as u64 > session.account.limits.stack_items {
            return Err(session.exceed(LimitKind::Stack, count as u64));
        }
        for (argument, count) in arguments.iter().zip(1..) {
            self.values.push(argument.clone());
            let is_accepted = match callee {
                Callee::Function(_) => self.accept_function_argument(count, session)?,
                _ => self.accept_stack_argument(count, session)?,
            };
            if !is_accepted {
                return Ok(());
            }
        }
        match callee {
            Callee::Function(block) => self.call(block, count, END, session),
            Callee::Stack { block, .. } => self.call_stack(block, END, session),
            Callee::Unknown | Callee::None => Ok(()),
        }
    }

    /// Runs until there is a value for the task that [`Evaluator::enter_expr`] or a similar method
    /// started.
    fn run<S: Store>(&mut self, env: &mut Env, session: &mut Session<'_, S>) -> Result<(), Stop> {
        let mut pc = self.at;
        while let Some(op) = self.library.ops.get(pc) {
            self.at = pc;
            pc += 1;
            match *op {
                Op::Constant(index) => {
                    let value = self.constant(index);
                    self.values.push(value);
                }
                Op::Error(kind) => {
                    let error = self.fail(kind, session)?;
                    self.values.push(error);
                }
                Op::Load(slot) => self.load(slot, false, env, session)?,
                Op::Collect(count) => self.collect(count, session)?,
                Op::Define(slot) => self.define(slot, env, session)?,
                Op::Follow(index) => {
                    self.follow(index, session)?;
                }
                Op::FunctionArgument { count, end } => {
                    if !matches!(self.values.last(), Some(Expr::Bytes(_)))
                        && !self.accept_function_argument(count, session)?
                    {
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
                Op::HostArgument { count, end } => {
                    if let Some(error) = self.values.last().filter(|value| value.is_error()) {
                        let error = error.clone();
                        self.replace(count, error);
                        pc = end;
                    }
                }
                Op::Fail { count, kind, end } => {
                    let error = self.fail(kind, session)?;
                    self.replace(count, error);
                    pc = end;
                }
                Op::Call { block, count } => {
                    self.call(block, count, pc, session)?;
                    pc = self.at;
                }
                Op::Run { program, count } => self.run_stack(program, count, session)?,
                Op::Host { slot, count } => self.call_host(slot, count, session)?,
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
                    Callee::Function(block) => {
                        self.call(block, count, pc, session)?;
                        pc = self.at;
                    }
                    Callee::Stack { block, .. } => {
                        self.call_stack(block, pc, session)?;
                        pc = self.at;
                    }
                    Callee::Unknown | Callee::None => {
                        self.load(slot, true, env, session)?;
                        self.collect(count + 1, session)?;
                    }
                },
                Op::Return => match self.frames.pop() {
                    Some(frame) => {
                        pc = frame.back;
                        if let Some(scope) = frame.scope {
                            self.scopes -= 1;
                            self.library.symbols.unwind(scope);
                        }
                    }
                    None => pc = END,
                },
            }
        }
        self.at = END;
        Ok(())
    }

    /// Takes the value that [`Evaluator::run`] left.
    fn take_value(&mut self, session: &mut Account) -> Result<Expr, Stop> {
        let value = self.values.pop();
        let value = value.ok_or_else(|| session.exceed(LimitKind::Stack, 0))?;
        self.values.clear();
        if !fits(&value, session.limits.live_bytes) {
            return Err(session.too_large());
        }
        Ok(value)
    }

    /// Counts bytes of code.
    fn count_code<S: Store>(
        &mut self,
        weight: Weight,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let bytes = weight.code_bytes();
        session.account.code = session.account.code.saturating_add(bytes);
        session
            .account
            .allocate(bytes, |code| self.live_bytes(code))
    }

    /// Returns the code of a block, compiled on first use. Fails if its values do not fit the
    /// stack.
    #[inline]
    fn span<S: Store>(&mut self, block: usize, session: &mut Session<'_, S>) -> Result<Span, Stop> {
        let code = self.library.blocks.get(block).and_then(|block| block.code);
        let span = match code {
            Some(span) => span,
            None => self.compile(block, session)?,
        };
        let items = (self.values.len() + span.height) as u64;
        if items > session.account.limits.stack_items {
            return Err(session.exceed(LimitKind::Stack, items));
        }
        Ok(span)
    }

    #[cold]
    fn compile<S: Store>(
        &mut self,
        block: usize,
        session: &mut Session<'_, S>,
    ) -> Result<Span, Stop> {
        // A weighed list has far fewer operations, so this never rejects code that weighing
        // accepted.
        let max_ops = session.account.limits.live_bytes / 8 + 64;
        let compiled = self.library.compile(block, max_ops);
        compiled.map_err(|_| session.account.too_large())
    }

    #[inline]
    fn constant(&self, index: usize) -> Expr {
        let value = self.library.constants.get(index);
        value.cloned().unwrap_or_else(|| Expr::list(Vec::new()))
    }

    /// Replaces the topmost `count` values with `value`.
    fn replace(&mut self, count: usize, value: Expr) {
        let keep = self.values.len().saturating_sub(count);
        self.values.truncate(keep);
        self.values.push(value);
    }

    #[inline]
    fn load<S: Store>(
        &mut self,
        slot: usize,
        is_call: bool,
        env: &Env,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let bound = self.library.symbols.slot(slot, env);
        let value = match bound.and_then(|slot| slot.value.as_ref()) {
            Some(value) => value.clone(),
            None => match self.library.symbols.symbol(slot).cloned() {
                Some(name) => self.unbound(&name, is_call, session)?,
                None => return Ok(()),
            },
        };
        self.values.push(value);
        Ok(())
    }

    fn collect<S: Store>(
        &mut self,
        count: usize,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let bytes = SHARED_BYTES + EXPR_BYTES * count as u64;
        session
            .account
            .allocate(bytes, |code| self.live_bytes(code))?;
        let start = self.values.len().saturating_sub(count);
        let list: List = self.values.drain(start..).collect();
        self.values.push(Expr::List(list));
        Ok(())
    }

    fn define<S: Store>(
        &mut self,
        slot: usize,
        env: &mut Env,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let Some(value) = self.values.last().filter(|value| !value.is_error()) else {
            return Ok(());
        };
        if self.scopes > 0 {
            let hidden = self.library.symbols.mark() as u64 + 1;
            if hidden > session.account.limits.stack_items {
                return Err(session.exceed(LimitKind::Stack, hidden));
            }
            self.library.symbols.bind(slot, value.clone());
        } else if let Some(old) = self.library.symbols.bind_global(slot, value.clone(), env) {
            self.replaced.push(old);
        }
        Ok(())
    }

    /// Reads the list of atoms at the id in a constant; the result has the last atom first.
    fn follow<S: Store>(&mut self, index: usize, session: &mut Session<'_, S>) -> Result<(), Stop> {
        let mut following = match self.following.take() {
            Some(following) => following,
            None => match self.constant(index).as_bytes().and_then(AtomId::from_slice) {
                Some(next) => Following {
                    next,
                    items: Vec::new(),
                },
                None => return self.end_following(Err(ErrorKind::ReferenceTarget), session),
            },
        };
        while !following.next.is_zero() {
            match self.follow_one(&mut following, session) {
                Ok(()) => {}
                Err(Stop::Failed(_)) => {
                    return self.end_following(Err(ErrorKind::ReferenceTarget), session);
                }
                Err(stop) => {
                    // A pause after an atom is a pause before the rest of this operation, which is
                    // kept.
                    self.following = Some(following);
                    return Err(stop);
                }
            }
        }
        self.end_following(Ok(following.items), session)
    }

    fn follow_one<S: Store>(
        &mut self,
        following: &mut Following,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let atom = session.read(&following.next, Wanted::List)?;
        let len = atom.data().len();
        session.count_bytes(len)?;
        let bytes = (3 * EXPR_BYTES + SHARED_BYTES).saturating_add(len as u64);
        session.account.allocate(bytes, |code| {
            // The list is not on the stack yet; it is counted while it is being built.
            let mut scale = Scale::default();
            scale.add(following.items.iter());
            let list = EXPR_BYTES.saturating_mul(following.items.len() as u64);
            let live = self.live_bytes(code).saturating_add(list);
            live.saturating_add(scale.bytes())
        })?;
        following.items.push(match atom.kind() {
            AtomKind::Bytes => Expr::bytes(atom.data()),
            AtomKind::List => {
                Expr::list(Vec::from([Expr::bytes(atom.data()), Expr::symbol("ref")]))
            }
            AtomKind::Symbol => match core::str::from_utf8(atom.data()) {
                Ok(name) => Expr::symbol(name),
                Err(_) => return Err(Stop::Failed(ErrorKind::ReferenceTarget)),
            },
        });
        following.next = atom.next();
        session.spend(1)
    }

    fn end_following<S: Store>(
        &mut self,
        items: Result<Vec<Expr>, ErrorKind>,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let value = match items {
            Ok(mut items) => {
                items.reverse();
                Expr::list(items)
            }
            Err(kind) => self.fail(kind, session)?,
        };
        self.values.push(value);
        Ok(())
    }

    /// Creates an error of the evaluator.
    #[cold]
    fn fail<S: Store>(
        &mut self,
        kind: ErrorKind,
        session: &mut Session<'_, S>,
    ) -> Result<Expr, Stop> {
        session
            .account
            .allocate(ERROR_BYTES, |code| self.live_bytes(code))?;
        session
            .account
            .failures
            .add(|| self.failure(kind, None, false, None));
        Ok(Expr::error(kind.topic(), kind.message()))
    }

    /// Creates the error of an unbound symbol; it contains the name, however long that is.
    #[cold]
    fn unbound<S: Store>(
        &mut self,
        name: &Symbol,
        is_call: bool,
        session: &mut Session<'_, S>,
    ) -> Result<Expr, Stop> {
        let bytes = ERROR_BYTES.saturating_add((name.len() as u64).saturating_mul(2));
        session
            .account
            .allocate(bytes, |code| self.live_bytes(code))?;
        let kind = ErrorKind::UnboundSymbol;
        session
            .account
            .failures
            .add(|| self.failure(kind, Some(name.clone()), is_call, None));
        let message = format!("{kind} '{}'", name.as_str());
        Ok(Expr::error(kind.topic(), &message))
    }

    /// Creates a failure with the open calls.
    fn failure(
        &self,
        kind: ErrorKind,
        symbol: Option<Symbol>,
        is_call: bool,
        stack: Option<StackPosition>,
    ) -> Failure {
        let mut frames = Vec::new();
        let mut at = self.at;
        let mut callers = self.frames.iter().rev();
        loop {
            let caller = callers.next();
            let place = self.library.block_at(at).and_then(|(block, op)| {
                let block = self.library.blocks.get(block)?;
                Some((Expr::List(block.list.clone()), block.kind, op))
            });
            let place = place.or_else(|| Some((self.current.clone()?, BlockKind::List, 0)));
            if let Some((code, kind, op)) = place {
                let calling = caller.map(|caller| caller.back.wrapping_sub(1));
                frames.push(Frame {
                    code,
                    kind,
                    op,
                    hosts: self.library.hosts.clone(),
                    name: calling.and_then(|at| self.called_name(at)),
                });
            }
            match caller {
                Some(caller) if caller.back != END && frames.len() < MAX_RECORDED_FRAMES => {
                    at = caller.back.wrapping_sub(1);
                }
                _ => break,
            }
        }
        Failure {
            kind,
            symbol,
            is_call,
            stack,
            frames,
            more_frames: callers.len() as u64,
        }
    }

    /// Returns the name that the operation at `at` calls.
    fn called_name(&self, at: usize) -> Option<Symbol> {
        match self.library.ops.get(at) {
            Some(Op::CloseTail { slot, .. }) => self.library.symbols.symbol(*slot).cloned(),
            Some(_) => None,
            // The host called.
            None => match &self.current {
                Some(Expr::Symbol(name)) => Some(name.clone()),
                _ => None,
            },
        }
    }

    /// Accepts the topmost value as an argument of a function; otherwise an error replaces the
    /// call. Returns whether it was accepted.
    #[cold]
    fn accept_function_argument<S: Store>(
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
    fn accept_stack_argument<S: Store>(
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
    fn call<S: Store>(
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
    fn call_stack<S: Store>(
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
    fn open_frame<S: Store>(
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
    fn run_stack<S: Store>(
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
            .run(program, &self.arguments, session, |code| {
                live_bytes(&self.values, &self.library, &self.replaced, code)
            });
        let value = match result {
            Ok(value) => {
                let bytes = value.outside_bytes() as u64;
                session
                    .account
                    .allocate(bytes, |code| self.live_bytes(code))?;
                Expr::Bytes(value.to_bytes())
            }
            Err(Stop::Failed(kind)) => {
                session
                    .account
                    .allocate(ERROR_BYTES, |code| self.live_bytes(code))?;
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

    fn begin_stack<S: Store>(
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
    pub(super) fn program_at(&self) -> Option<(usize, Program)> {
        let Some(Op::Run { program, .. }) = self.library.ops.get(self.at) else {
            return None;
        };
        let index = *program;
        Some((index, self.library.programs.get(index)?.clone()))
    }

    /// Returns whether an argument of the running program equals the name of an opcode.
    pub(super) fn is_substituted(&self) -> bool {
        let mut arguments = self.arguments.iter();
        arguments.any(|argument| argument.with_bytes(Opcode::from_token).is_some())
    }

    /// Returns the program that runs if `program` is called with the current arguments.
    pub(super) fn program_for(&self, program: &Program) -> Program {
        if !self.is_program && self.is_substituted() {
            program.substituted(&self.arguments)
        } else {
            program.clone()
        }
    }

    /// Calls a host function with the topmost values.
    #[cold]
    fn call_host<S: Store>(
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
                let error = error.into();
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
        scale.add(core::iter::once(&value));
        session
            .account
            .allocate(scale.bytes(), |code| self.live_bytes(code))?;
        self.replace(count, value);
        Ok(())
    }

    /// Returns the arguments of the current host function call.
    pub(super) fn host_arguments(&self) -> &[Expr] {
        let count = match self.library.ops.get(self.at) {
            Some(Op::Host { count, .. }) => *count,
            _ => 0,
        };
        let start = self.values.len().saturating_sub(count);
        self.values.get(start..).unwrap_or_default()
    }

    /// Returns the error of a call of a block with this many arguments, if there is one.
    fn call_fault(&self, block: usize, count: usize) -> Option<ErrorKind> {
        let block = self.library.blocks.get(block)?;
        let arity = block.kind != BlockKind::Function || block.params.len() == count;
        block.fault.or((!arity).then_some(ErrorKind::Arity))
    }

    /// Determines the callee of a list whose tail is a symbol. If the call is certain to fail,
    /// pushes the error as its value and returns `false`.
    fn open_tail<S: Store>(
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
    fn callee<S: Store>(
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
    fn form_callee<S: Store>(
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
    fn accept_tail_item<S: Store>(
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

    /// Returns the number of live bytes: called code, and values that the program created.
    #[cold]
    fn live_bytes(&self, code: u64) -> u64 {
        live_bytes(&self.values, &self.library, &self.replaced, code)
    }
}

/// Returns the number of live bytes: `code`, and the values on the stack and in bindings that come
/// neither from the code nor from the environment. Shared data counts once.
#[cold]
fn live_bytes(values: &[Expr], library: &Library, replaced: &[Expr], code: u64) -> u64 {
    let mut scale = Scale::default();
    scale.except(library.constants.iter());
    scale.except(replaced.iter());
    scale.except(library.symbols.given());
    scale.add(values.iter());
    scale.add(library.symbols.values());
    code.saturating_add(scale.bytes())
}

/// Returns the position at which a stack program stopped.
fn stack_position(program: &Program, machine: &StackMachine) -> StackPosition {
    StackPosition {
        token: machine.token(),
        opcode: program.opcode(machine.token()),
        depth: machine.depth(),
    }
}
