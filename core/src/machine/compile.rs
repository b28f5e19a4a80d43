//! Turns lists into code: see [`code`](super::code).
//!
//! Nothing is decided here that evaluation could decide otherwise: an error that is certain
//! becomes a constant in the place where evaluation would meet it, after everything that stands
//! before it.

use super::code::{Block, BlockKind, Op, Span, Template};
use super::form::{Form, hex, placeholder};
use super::names::Names;
use super::program::{Program, Token};
use crate::expr::{Expr, List};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

/// What one operation takes, with its share of constants, names and tables.
pub(super) const OP_BYTES: usize = size_of::<Op>() + size_of::<Expr>();
/// Code that is kept from one evaluation to the next, in operations and names.
const KEPT: usize = 1 << 16;

/// All code, and what it refers to.
#[derive(Default)]
pub(super) struct Library {
    pub(super) ops: Vec<Op>,
    pub(super) constants: Vec<Expr>,
    pub(super) blocks: Vec<Block>,
    pub(super) templates: Vec<Template>,
    pub(super) names: Names,
    index: BTreeMap<(usize, BlockKind), usize>,
}

/// More code than is allowed.
#[derive(Debug)]
pub(super) struct TooLong;

impl Library {
    /// The block of a list; lists are told apart by where they are.
    pub(super) fn block(&mut self, list: &List, kind: BlockKind) -> usize {
        let key = (list.as_ptr().addr(), kind);
        if let Some(block) = self.index.get(&key) {
            return *block;
        }
        let (fault, params) = self.signature(list, kind);
        let block = self.blocks.len();
        self.blocks.push(Block {
            kind,
            list: list.clone(),
            params,
            fault,
            code: None,
        });
        self.index.insert(key, block);
        block
    }

    /// What is wrong with a form, and the parameters that it has.
    fn signature(&mut self, list: &List, kind: BlockKind) -> (Option<&'static str>, Vec<usize>) {
        let (body, params) = match Form::new(list) {
            Some(Form::Stack { body }) if body.as_list().is_none() => {
                return (Some("sk body must be list"), Vec::new());
            }
            Some(Form::Function { body, params }) if kind == BlockKind::Function => (body, params),
            _ => return (None, Vec::new()),
        };
        if body.as_list().is_none() {
            return (Some("fn body must be list"), Vec::new());
        }
        let Some(params) = params.as_list() else {
            return (Some("fn params must be list"), Vec::new());
        };
        let numbers = params.iter().map(|param| match param {
            Expr::Symbol(name) => Some(self.names.number(name)),
            _ => None,
        });
        match numbers.collect() {
            Some(numbers) => (None, numbers),
            None => (Some("fn param must be symbol"), Vec::new()),
        }
    }

    /// The code of a block, compiled if it is not yet; at most `max_ops` operations.
    pub(super) fn compile(&mut self, block: usize, max_ops: usize) -> Result<Span, TooLong> {
        let Some(Block { kind, list, .. }) = self.blocks.get(block) else {
            return Err(TooLong);
        };
        let (kind, list) = (*kind, Expr::List(list.clone()));
        let start = self.ops.len();
        let mut compiler = Compiler {
            library: self,
            tasks: Vec::new(),
            labels: Vec::new(),
            height: 0,
            max_height: 0,
        };
        compiler.block(&list, kind);
        let finished = compiler.finish(start + max_ops);
        let (labels, height) = (compiler.labels, compiler.max_height);
        if finished.is_err() {
            self.ops.truncate(start);
            return Err(TooLong);
        }
        for op in self.ops.iter_mut().skip(start) {
            if let Some(end) = op.end_mut() {
                *end = labels.get(*end).copied().unwrap_or_default();
            }
        }
        let span = Span {
            start,
            len: self.ops.len() - start,
            height,
        };
        if let Some(block) = self.blocks.get_mut(block) {
            block.code = Some(span);
        }
        Ok(span)
    }

    /// Forgets everything if it has become much.
    pub(super) fn trim(&mut self) {
        let names = self.names.len();
        if self.ops.len().max(names).max(self.constants.len()) > KEPT {
            *self = Self::default();
        }
    }
}

impl Op {
    fn end_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::FunctionArgument { end, .. }
            | Self::StackArgument { end, .. }
            | Self::Fail { end, .. }
            | Self::OpenTail { end, .. }
            | Self::TailItem { end, .. } => Some(end),
            _ => None,
        }
    }

    /// How many values it takes from the stack, and how many it puts there.
    const fn effect(&self) -> (usize, usize) {
        match *self {
            Self::Constant(_) | Self::Load(_) | Self::Follow(_) => (0, 1),
            Self::Collect(count)
            | Self::Call { count, .. }
            | Self::Run { count, .. }
            | Self::Fail { count, .. }
            | Self::CloseTail { count, .. } => (count, 1),
            _ => (0, 0),
        }
    }
}

/// What is still to be compiled, the next one last.
enum Task<'e> {
    Eval(&'e Expr),
    Emit(Op),
    /// The label with this number is here.
    Label(usize),
}

struct Compiler<'l, 'e> {
    library: &'l mut Library,
    tasks: Vec<Task<'e>>,
    labels: Vec<usize>,
    height: usize,
    max_height: usize,
}

impl<'e> Compiler<'_, 'e> {
    fn block(&mut self, list: &'e Expr, kind: BlockKind) {
        self.tasks.push(Task::Emit(Op::Return));
        let form = list.as_list().and_then(Form::new);
        match (kind, form) {
            (BlockKind::Function, Some(Form::Function { body, .. })) => {
                self.tasks.push(Task::Eval(body));
            }
            (BlockKind::Stack(count), Some(Form::Stack { body })) => {
                let end = self.label();
                self.height = count;
                let tasks = self.stack_body(body.as_list().unwrap_or_default(), count, end);
                self.schedule(tasks, end);
            }
            _ => self.tasks.push(Task::Eval(list)),
        }
    }

    fn finish(&mut self, max_ops: usize) -> Result<(), TooLong> {
        while let Some(task) = self.tasks.pop() {
            match task {
                Task::Emit(op) => self.emit(op),
                Task::Label(label) => {
                    if let Some(place) = self.labels.get_mut(label) {
                        *place = self.library.ops.len();
                    }
                }
                Task::Eval(Expr::Symbol(name)) => {
                    let slot = self.library.names.number(name);
                    self.emit(Op::Load(slot));
                }
                Task::Eval(expr @ Expr::Bytes(_)) => self.constant(expr.clone()),
                Task::Eval(expr @ Expr::List(items)) => self.list(expr, items),
            }
            if self.library.ops.len() > max_ops {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    fn emit(&mut self, op: Op) {
        let (taken, given) = op.effect();
        self.max_height = self.max_height.max(self.height + given);
        self.height = (self.height + given).saturating_sub(taken);
        self.library.ops.push(op);
    }

    fn add_constant(&mut self, value: Expr) -> usize {
        self.library.constants.push(value);
        self.library.constants.len() - 1
    }

    fn constant(&mut self, value: Expr) {
        let index = self.add_constant(value);
        self.emit(Op::Constant(index));
    }

    fn error(&mut self, message: &str) {
        self.constant(Expr::error("eval", message));
    }

    fn label(&mut self) -> usize {
        self.labels.push(0);
        self.labels.len() - 1
    }

    /// Does `tasks` next, in this order; behind them is the label `end`.
    fn schedule(&mut self, tasks: Vec<Task<'e>>, end: usize) {
        self.tasks.push(Task::Label(end));
        self.tasks.extend(tasks.into_iter().rev());
    }

    fn list(&mut self, expr: &'e Expr, items: &'e List) {
        let Some((tail, args)) = items.split_last() else {
            return self.constant(expr.clone());
        };
        if expr.is_error() {
            return self.constant(expr.clone());
        }
        if args.is_empty() {
            return self.tasks.push(Task::Eval(tail));
        }
        match tail {
            Expr::Symbol(name) if name.as_str() == "def" => self.define(args),
            Expr::Symbol(name) if name.as_str() == "ref" => self.follow(args),
            _ if Form::new(items).is_some() => self.constant(expr.clone()),
            Expr::Symbol(name) => {
                let slot = self.library.names.number(name);
                self.tail(args, slot);
            }
            Expr::List(form) => match Form::new(form) {
                Some(Form::Stack { body }) => self.stack_call(args, body),
                Some(Form::Function { .. }) => self.function_call(args, form),
                None => self.plain(expr, items),
            },
            Expr::Bytes(_) => self.plain(expr, items),
        }
    }

    fn plain(&mut self, expr: &'e Expr, items: &'e [Expr]) {
        // A list of bytes is its own value.
        if items.iter().all(|item| matches!(item, Expr::Bytes(_))) {
            return self.constant(expr.clone());
        }
        self.tasks.push(Task::Emit(Op::Collect(items.len())));
        self.tasks.extend(items.iter().rev().map(Task::Eval));
    }

    fn define(&mut self, args: &'e [Expr]) {
        let [.., value, name] = args else {
            return self.error("def expects (value name def)");
        };
        let Expr::Symbol(name) = name else {
            return self.error("def name must be symbol");
        };
        let slot = self.library.names.number(name);
        self.tasks.push(Task::Emit(Op::Define(slot)));
        self.tasks.push(Task::Eval(value));
    }

    fn follow(&mut self, args: &'e [Expr]) {
        let id = match args {
            [Expr::Bytes(id)] => Some(Expr::Bytes(id.clone())),
            [Expr::Symbol(digits)] => hex(digits).map(Expr::bytes),
            _ => None,
        };
        match id.filter(|id| id.as_bytes() != Some(&[])) {
            Some(id) => {
                let index = self.add_constant(id);
                self.emit(Op::Follow(index));
            }
            None => self.error("ref expects (atom_id ref)"),
        }
    }

    fn function_call(&mut self, args: &'e [Expr], form: &List) {
        let block = self.library.block(form, BlockKind::Function);
        let called = self.library.blocks.get(block);
        let fault = called.and_then(|called| called.fault);
        let params = called.map_or(0, |called| called.params.len());
        match fault.or((params != args.len()).then_some("arity mismatch")) {
            Some(fault) => self.error(fault),
            None => {
                let end = self.label();
                let mut tasks = vec![];
                for (arg, count) in args.iter().zip(1..) {
                    let check = Op::FunctionArgument { count, end };
                    tasks.extend([Task::Eval(arg), Task::Emit(check)]);
                }
                let count = args.len();
                tasks.push(Task::Emit(Op::Call { block, count }));
                self.schedule(tasks, end);
            }
        }
    }

    fn stack_call(&mut self, args: &'e [Expr], body: &'e Expr) {
        let Some(body) = body.as_list() else {
            return self.error("sk body must be list");
        };
        let end = self.label();
        let mut tasks = vec![];
        for (arg, count) in args.iter().zip(1..) {
            let check = Op::StackArgument { count, end };
            tasks.extend([Task::Eval(arg), Task::Emit(check)]);
        }
        tasks.extend(self.stack_body(body, args.len(), end));
        self.schedule(tasks, end);
    }

    /// What is to be done when the arguments are on the stack: lists in the body are evaluated in
    /// its order, up to the first token that is an error.
    fn stack_body(&mut self, body: &'e [Expr], args: usize, end: usize) -> Vec<Task<'e>> {
        let (mut tasks, mut tokens, mut count) = (vec![], vec![], args);
        for item in body {
            let token = match item {
                Expr::Bytes(bytes) => Ok(Token::from_bytes(bytes)),
                Expr::Symbol(name) => match name.strip_prefix('$').map(placeholder) {
                    None => Ok(Token::new(name.as_bytes())),
                    Some(None) => Err("invalid sk placeholder"),
                    Some(Some(index)) if index < args => Ok(Token::Argument(index)),
                    Some(Some(_)) => Err("arity mismatch in sk placeholder"),
                },
                Expr::List(_) => {
                    count += 1;
                    let check = Op::StackArgument { count, end };
                    tasks.extend([Task::Eval(item), Task::Emit(check)]);
                    Ok(Token::Argument(count - 1))
                }
            };
            match token {
                Ok(token) => tokens.push(token),
                Err(message) => {
                    let constant = self.add_constant(Expr::error("eval", message));
                    tasks.push(Task::Emit(Op::Fail {
                        count,
                        constant,
                        end,
                    }));
                    return tasks;
                }
            }
        }
        let program = Program::assemble(tokens.iter().cloned());
        // The tokens are needed again only where an argument can turn out to be an opcode.
        if count == 0 {
            tokens.clear();
        }
        self.library.templates.push(Template { program, tokens });
        let template = self.library.templates.len() - 1;
        tasks.push(Task::Emit(Op::Run { template, count }));
        tasks
    }

    fn tail(&mut self, args: &'e [Expr], slot: usize) {
        let (end, count) = (self.label(), args.len());
        let mut tasks = vec![Task::Emit(Op::OpenTail { slot, count, end })];
        for (arg, count) in args.iter().zip(1..) {
            let check = Op::TailItem { count, end };
            tasks.extend([Task::Eval(arg), Task::Emit(check)]);
        }
        tasks.push(Task::Emit(Op::CloseTail { slot, count }));
        self.schedule(tasks, end);
    }
}
