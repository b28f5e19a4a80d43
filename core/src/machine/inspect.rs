//! Read-only view of a suspended evaluation, for debuggers.

use super::bytecode::Op;
use super::error::ErrorKind;
use super::eval::{Evaluator, Running};
use super::failure::{Failure, Frame, StackPosition};
use super::opcode::Opcode;
use super::program::{Program, Token};
use super::stack::StackMachine;
use super::suspend::Suspended;
use crate::expr::{Bytes, Expr};
use alloc::vec::Vec;
use core::fmt;

impl Suspended {
    /// Returns a view of the state: values, bindings, and the next operation.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine, Progress}, text};
    ///
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// let expr = text::parse("(7 x def)")?;
    /// let Progress::Suspended(suspended) = machine.start_stepping(&expr, &mut env) else {
    ///     panic!("it starts suspended");
    /// };
    /// assert_eq!(suspended.inspect().operation().unwrap().to_string(), "push a constant");
    /// # Ok::<(), text::ParseError>(())
    /// ```
    #[must_use]
    pub fn inspect(&self) -> Inspection<'_> {
        Inspection {
            evaluator: &self.evaluator,
        }
    }
}

/// View of a suspended evaluation, see [`Suspended::inspect`].
#[derive(Clone, Copy)]
pub struct Inspection<'s> {
    evaluator: &'s Evaluator,
}

impl<'s> Inspection<'s> {
    /// Returns the values of the evaluator, the topmost last.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Machine, Progress}, text};
    ///
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// env.set("x", Expr::integer(7));
    /// let expr = text::parse("(x 8)")?;
    /// let mut progress = machine.start_stepping(&expr, &mut env);
    /// for values in [&[][..], &[Expr::integer(7)], &[Expr::integer(7), Expr::integer(8)]] {
    ///     let Progress::Suspended(suspended) = progress else {
    ///         panic!("it has more operations");
    ///     };
    ///     assert_eq!(suspended.inspect().values(), values);
    ///     progress = machine.step(suspended, &mut env);
    /// }
    /// # Ok::<(), text::ParseError>(())
    /// ```
    #[must_use]
    pub fn values(&self) -> &'s [Expr] {
        &self.evaluator.values
    }

    /// Returns the bindings that the current expression made and that are in effect, sorted by
    /// name: its definitions, and the parameters of the open calls. Other bindings are in the
    /// environment.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine, Progress}, text};
    ///
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// machine.set_slice(Some(1));
    /// let expr = text::parse("(7 ((0x00 ref) (x) fn))")?;
    /// let Progress::Suspended(suspended) = machine.start(&expr, &mut env) else {
    ///     panic!("the slice ends");
    /// };
    /// let Progress::Suspended(suspended) = machine.resume(suspended, &mut env) else {
    ///     panic!("the slice ends in the call");
    /// };
    /// let bindings: Vec<_> = suspended.inspect().bindings().collect();
    /// assert_eq!(bindings, [("x", &astreum_core::expr::Expr::integer(7))]);
    /// # Ok::<(), text::ParseError>(())
    /// ```
    pub fn bindings(&self) -> impl Iterator<Item = (&'s str, &'s Expr)> + use<'s> {
        let made = self.evaluator.library.symbols.made();
        made.filter_map(|(name, slot)| Some((name.as_str(), slot.value.as_ref()?)))
    }

    /// Returns the next operation of the evaluator, or the one that runs a stack program; `None` at
    /// the end of an expression, and if a stack program runs without the evaluator.
    #[must_use]
    pub fn operation(&self) -> Option<Operation<'s>> {
        let evaluator = self.evaluator;
        let name = |slot: usize| {
            let symbol = evaluator.library.symbols.symbol(slot);
            symbol.map_or("", |symbol| symbol.as_str())
        };
        Some(match *evaluator.library.ops.get(evaluator.at)? {
            Op::Constant(_) => Operation::Constant,
            Op::Error(kind) => Operation::Error { kind },
            Op::Load(slot) => Operation::Load { name: name(slot) },
            Op::Collect(count) => Operation::Collect { count },
            Op::Define(slot) => Operation::Define { name: name(slot) },
            Op::Follow(_) => Operation::Read,
            Op::FunctionArgument { .. }
            | Op::StackArgument { .. }
            | Op::HostArgument { .. }
            | Op::TailItem { .. } => Operation::CheckArgument,
            Op::Fail { kind, .. } => Operation::Error { kind },
            Op::Call { count, .. } => Operation::Call { name: None, count },
            Op::Run { count, .. } => Operation::Run { count },
            Op::Host { slot, count } => Operation::HostCall {
                name: name(slot),
                count,
            },
            Op::OpenTail { slot, .. } => Operation::FindCallee { name: name(slot) },
            Op::CloseTail { slot, count } => Operation::Call {
                name: Some(name(slot)),
                count,
            },
            Op::Return => Operation::Return,
        })
    }

    /// Returns a view of the stack program that is running.
    #[must_use]
    pub fn stack(&self) -> Option<StackInspection<'s>> {
        let evaluator = self.evaluator;
        let program = match &evaluator.running {
            Running::Nothing => return None,
            Running::Shared(index) => evaluator.library.programs.get(*index)?,
            Running::Own(program) => program,
        };
        Some(StackInspection { evaluator, program })
    }

    /// Returns the open calls, innermost first, at most 16; see [`Failure::frames`].
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        self.place().frames
    }

    /// Returns the path to the next token of the stack program, or otherwise to the next operation,
    /// in the innermost of the [frames](Inspection::frames). Takes as long as compiling the code.
    ///
    /// ```
    /// use astreum_core::machine::{Env, Machine, Progress, Task};
    /// use astreum_core::{atom::NoStore, expr::Expr, text::Script};
    ///
    /// let source = "(1 (2 nope))";
    /// let script = Script::parse(source)?;
    /// let exprs: Vec<Expr> = script.exprs().cloned().collect();
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// let mut progress = machine.start_stepping(Task::Script(&exprs), &mut env);
    /// let mut places = Vec::new();
    /// while let Progress::Suspended(suspended) = progress {
    ///     let inspection = suspended.inspect();
    ///     let code = inspection.frames()[0].code().clone();
    ///     places.push(&source[script.find(&code, &inspection.path()).unwrap()]);
    ///     progress = machine.step(suspended, &mut env);
    /// }
    /// assert_eq!(places[..3], ["1", "nope", "2"]);
    /// # Ok::<(), astreum_core::text::ParseError>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> Vec<usize> {
        self.place().path()
    }

    /// Returns the place at which an error would be now.
    fn place(&self) -> Failure {
        let position = self.stack().map(|stack| stack.position());
        let kind = ErrorKind::BadStack;
        if self.evaluator.is_program {
            let start = StackPosition {
                token: 0,
                opcode: None,
                depth: 0,
            };
            return Failure::in_program(kind, position.unwrap_or(start));
        }
        self.evaluator.failure(kind, None, false, position)
    }
}

impl fmt::Debug for Inspection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspection")
            .field("operation", &self.operation())
            .field("values", &self.values())
            .field("stack", &self.stack())
            .finish_non_exhaustive()
    }
}

/// Operation of the evaluator, see [`Inspection::operation`].
///
/// ```
/// use astreum_core::machine::Operation;
/// assert_eq!(Operation::Load { name: "x" }.to_string(), "load x");
/// assert_eq!(Operation::Collect { count: 2 }.to_string(), "make a list of 2 values");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Operation<'s> {
    /// Pushes a constant of the code.
    Constant,
    /// Pushes an error, or replaces the call with it.
    Error {
        /// Kind of the error.
        kind: ErrorKind,
    },
    /// Pushes the value that a symbol is bound to.
    Load {
        /// The symbol.
        name: &'s str,
    },
    /// Makes a list of the topmost values.
    Collect {
        /// Number of the values.
        count: usize,
    },
    /// Binds a symbol to the topmost value.
    Define {
        /// The symbol.
        name: &'s str,
    },
    /// Pushes the list of atoms with an id.
    Read,
    /// Checks the topmost value as an argument.
    CheckArgument,
    /// Determines what a symbol at the tail of a list calls.
    FindCallee {
        /// The symbol.
        name: &'s str,
    },
    /// Calls a function or stack program with the topmost values; makes a list of them if the
    /// symbol is not bound to one.
    Call {
        /// The symbol that it is bound to.
        name: Option<&'s str>,
        /// Number of arguments.
        count: usize,
    },
    /// Runs a stack program with the topmost values.
    Run {
        /// Number of arguments.
        count: usize,
    },
    /// Calls a host function with the topmost values.
    HostCall {
        /// Name of the function.
        name: &'s str,
        /// Number of arguments.
        count: usize,
    },
    /// Returns the topmost value.
    Return,
}

impl fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, name, count) = match *self {
            Self::Constant => return f.write_str("push a constant"),
            Self::Error { kind } => return write!(f, "error: {kind}"),
            Self::Load { name } => return write!(f, "load {name}"),
            Self::Collect { count } => return write!(f, "make a list of {count} values"),
            Self::Define { name } => return write!(f, "define {name}"),
            Self::Read => return f.write_str("read a list of atoms"),
            Self::CheckArgument => return f.write_str("check an argument"),
            Self::FindCallee { name } => return write!(f, "look up {name}"),
            Self::Call { name, count } => ("call", name.unwrap_or("a function"), count),
            Self::Run { count } => ("run", "a stack program", count),
            Self::HostCall { name, count } => ("call host function", name, count),
            Self::Return => return f.write_str("return"),
        };
        write!(f, "{verb} {name}, arguments: {count}")
    }
}

/// View of a running stack program, see [`Inspection::stack`].
///
/// ```
/// use astreum_core::machine::{Env, Machine, NextToken, Opcode, Program, Progress, Task};
/// use astreum_core::{atom::NoStore, expr::Bytes};
///
/// let code: [&[u8]; 4] = [b"key", &[7], b"heap_set", &[1]];
/// let program = Program::new(&code.map(Bytes::new));
/// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
/// let task = Task::Program { program: &program, arguments: &[] };
/// let mut progress = machine.start_stepping(task, &mut env);
/// for _ in 0..3 {
///     let Progress::Suspended(suspended) = progress else { panic!("it has more tokens") };
///     progress = machine.step(suspended, &mut env);
/// }
/// let Progress::Suspended(suspended) = progress else { panic!("one token is left") };
/// let stack = suspended.inspect().stack().unwrap();
/// assert_eq!((stack.position().token, stack.values().len()), (3, 0));
/// assert_eq!(stack.next_token(), NextToken::Value(Bytes::new(&[1])));
/// let heap: Vec<_> = stack.heap().collect();
/// assert_eq!(heap, [(Bytes::new(b"key"), Bytes::new(&[7]))]);
/// ```
#[derive(Clone, Copy)]
pub struct StackInspection<'s> {
    evaluator: &'s Evaluator,
    program: &'s Program,
}

/// Next token of a stack program, see [`StackInspection::next_token`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NextToken {
    /// An opcode.
    Opcode(Opcode),
    /// A literal or an argument, which is pushed.
    Value(Bytes),
    /// None: the program ends.
    End,
}

impl<'s> StackInspection<'s> {
    fn machine(&self) -> &'s StackMachine {
        &self.evaluator.stack_machine
    }

    /// Returns the position of the next token.
    #[must_use]
    pub fn position(&self) -> StackPosition {
        let token = self.machine().token();
        StackPosition {
            token,
            opcode: self.program.opcode(token),
            depth: self.machine().depth(),
        }
    }

    /// Returns the number of tokens of the program.
    #[must_use]
    pub fn token_count(&self) -> usize {
        self.program.len()
    }

    /// Returns the next token.
    #[must_use]
    pub fn next_token(&self) -> NextToken {
        match self.program.tokens().nth(self.machine().token()) {
            None => NextToken::End,
            Some(Token::Opcode(opcode)) => NextToken::Opcode(opcode),
            Some(Token::Literal(word)) => NextToken::Value(word.to_bytes()),
            Some(Token::Argument(index)) => {
                let argument = self.evaluator.arguments.get(index);
                NextToken::Value(argument.map_or_else(|| Bytes::new(&[]), |word| word.to_bytes()))
            }
        }
    }

    /// Returns the values on the stack, the topmost last.
    pub fn values(&self) -> impl ExactSizeIterator<Item = Bytes> + DoubleEndedIterator + use<'s> {
        self.machine().stack().iter().map(|word| word.to_bytes())
    }

    /// Returns the keys and values on the heap; the order depends on the program.
    pub fn heap(&self) -> impl Iterator<Item = (Bytes, Bytes)> + use<'s> {
        let entries = self.machine().heap(self.program);
        entries.map(|(key, value)| (key.to_bytes(), value.to_bytes()))
    }
}

impl fmt::Debug for StackInspection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackInspection")
            .field("position", &self.position())
            .field("next", &self.next_token())
            .field("values", &self.values().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
