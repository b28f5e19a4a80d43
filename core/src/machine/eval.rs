//! Evaluator: runs bytecode on an explicit stack.
//!
//! Invariants:
//! - The host's stack does not grow with an expression's nesting or with the depth of calls.
//! - Steps are counted when a block is entered, for all of its operations: blocks have no loops.
//! - An operation either leaves the stack as its block's code expects it, or ends the evaluation.
//! - A stop that is not an end leaves a state from which [`Evaluator::run`] continues.
//!   [`Stop::Retry`] comes before an operation changed anything, and is only returned with
//!   [`Evaluator::at`] at the operation; [`Stop::Pause`] comes after it, with `at` at the next one.
//! - With `STEP`, the evaluation pauses between its operations, and between the tokens of its stack
//!   programs.

mod call;
mod failures;

use super::Env;
use super::bytecode::{BlockKind, Op, Span};
use super::error::ErrorKind;
use super::exec_context::{Account, Session, Stop, Store};
use super::failure::{Failure, StackPosition};
use super::library::Library;
use super::limits::LimitKind;
use super::outcome::Wanted;
use super::program::Program;
use super::stack::StackMachine;
use super::symbols::{Callee, shrink};
use super::task::{Function, Task};
use super::weight::{EXPR_BYTES, SHARED_BYTES, Scale, Weight, fits};
use super::word::Word;
use crate::atom::{AtomId, AtomKind};
use crate::expr::{Expr, List, Symbol};
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
    pub(super) fn evaluate<S: Store, const STEP: bool>(
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
        self.resume::<S, STEP>(env, session)
    }

    /// Continues the evaluation that [`Evaluator::evaluate`] started, to its value.
    pub(super) fn resume<S: Store, const STEP: bool>(
        &mut self,
        env: &mut Env,
        session: &mut Session<'_, S>,
    ) -> Result<Expr, Stop> {
        if self.is_program {
            return self.run_program::<S, STEP>(session);
        }
        loop {
            self.run::<S, STEP>(env, session)?;
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
    fn run_program<S: Store, const STEP: bool>(
        &mut self,
        session: &mut Session<'_, S>,
    ) -> Result<Expr, Stop> {
        let Running::Own(program) = &self.running else {
            return Ok(Expr::List(List::new()));
        };
        let result = self
            .stack_machine
            .run::<S, STEP>(program, &self.arguments, session, |code| code);
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
    fn run<S: Store, const STEP: bool>(
        &mut self,
        env: &mut Env,
        session: &mut Session<'_, S>,
    ) -> Result<(), Stop> {
        let mut pc = self.at;
        while let Some(op) = self.library.ops.get(pc) {
            self.at = pc;
            // The tokens of a running stack program are the steps.
            if STEP && matches!(self.running, Running::Nothing) {
                session.account.begin_operation()?;
            }
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
                Op::Run { program, count } => {
                    self.run_stack::<S, STEP>(program, count, session)?;
                }
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
        self.allocate(bytes, session.account)
    }

    /// Counts bytes that are about to be allocated.
    fn allocate(&self, bytes: u64, account: &mut Account) -> Result<(), Stop> {
        account.allocate(bytes, |code| self.live_bytes(code))
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
        self.allocate(bytes, session.account)?;
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
            scale.add(&mut following.items.iter());
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
    scale.except(&mut library.constants.iter());
    scale.except(&mut replaced.iter());
    scale.except(&mut library.symbols.given());
    scale.add(&mut values.iter());
    scale.add(&mut library.symbols.values());
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
