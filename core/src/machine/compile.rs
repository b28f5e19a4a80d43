//! Compiler from lists to bytecode; see [`bytecode`](super::bytecode).
//!
//! The compiler decides nothing that evaluation could decide differently: a certain error becomes
//! an operation at the point where evaluation would meet it, after everything before it.
//!
//! The code of a list is a function of the list, its kind and the names of host functions.
//! Therefore a position in the code can be mapped back to the list on demand: see [`site`].

use super::bytecode::{Block, BlockKind, Op, Span, TooLong};
use super::error::ErrorKind;
use super::host::HostNames;
use super::library::Library;
use super::program::{Program, Token};
use super::special_form::{Form, hex, placeholder};
use crate::expr::{Expr, List};
use alloc::vec;
use alloc::vec::Vec;

/// Position in the compiled list: index in [`Sites::places`], or 0 if positions are not recorded.
type Site = usize;

/// Recorder of the source positions of operations.
#[derive(Default)]
struct Sites {
    /// Set if positions are recorded. One type of recorder keeps the code of the compiler small.
    is_on: bool,
    /// Parent and index of each position; the first one is the whole list.
    places: Vec<(Site, usize)>,
    emitted: Vec<Site>,
}

impl Sites {
    /// Returns the position of the item of `parent` with this index; the first call returns that of
    /// the whole list.
    fn item(&mut self, parent: Site, index: usize) -> Site {
        if !self.is_on {
            return 0;
        }
        self.places.push((parent, index));
        self.places.len() - 1
    }

    /// Records that the next operation comes from this position.
    fn emitted(&mut self, site: Site) {
        if self.is_on {
            self.emitted.push(site);
        }
    }
}

/// Returns the path to the item of `list` from which the operation `op` of its code comes: for a
/// call the list of the call, for a stack program its body. Takes as long as compiling.
pub(super) fn site(list: &List, kind: BlockKind, hosts: &HostNames, op: usize) -> Vec<usize> {
    let mut library = Library::new(hosts.clone());
    let mut sites = Sites {
        is_on: true,
        ..Sites::default()
    };
    let list = Expr::List(list.clone());
    let compiled = compile(&mut library, &list, kind, &mut sites, u64::MAX);
    let mut path = Vec::new();
    if compiled.is_ok()
        && let Some(mut place) = sites.emitted.get(op).copied()
    {
        while place > 0
            && let Some((parent, index)) = sites.places.get(place)
        {
            path.push(*index);
            place = *parent;
        }
    }
    path.reverse();
    path
}

impl Library {
    /// Returns the code of a block, compiled on first use; at most `max_ops` operations and tokens.
    pub(super) fn compile(&mut self, block: usize, max_ops: u64) -> Result<Span, TooLong> {
        let Some(Block {
            kind, list, code, ..
        }) = self.blocks.get(block)
        else {
            return Err(TooLong);
        };
        if let Some(span) = *code {
            return Ok(span);
        }
        let (kind, list) = (*kind, Expr::List(list.clone()));
        let span = compile(self, &list, kind, &mut Sites::default(), max_ops)?;
        self.note_code(block, span);
        Ok(span)
    }
}

/// Appends the code of a list to the library, at most `max_ops` operations and tokens.
fn compile(
    library: &mut Library,
    list: &Expr,
    kind: BlockKind,
    sites: &mut Sites,
    max_ops: u64,
) -> Result<Span, TooLong> {
    let start = library.ops.len();
    let (constants, programs) = (library.constants.len(), library.programs.len());
    let mut compiler = Compiler {
        library,
        sites,
        tasks: Vec::new(),
        labels: Vec::new(),
        start,
        height: 0,
        max_height: 0,
        tokens: 0,
        max_ops,
    };
    compiler.block(list, kind);
    let finished = compiler.finish();
    let (labels, height) = (compiler.labels, compiler.max_height);
    if finished.is_err() {
        library.ops.truncate(start);
        library.constants.truncate(constants);
        library.programs.truncate(programs);
        return Err(TooLong);
    }
    for op in library.ops.iter_mut().skip(start) {
        if let Some(end) = op.end_mut() {
            *end = labels.get(*end).copied().unwrap_or_default();
        }
    }
    Ok(Span {
        start,
        len: library.ops.len() - start,
        height,
    })
}

/// Pending work of the compiler, next task last, with its source position.
enum Task<'e> {
    Eval(&'e Expr, Site),
    Emit(Op, Site),
    /// Sets the label with this number to the current position.
    Label(usize),
}

struct Compiler<'l, 'e> {
    library: &'l mut Library,
    sites: &'l mut Sites,
    tasks: Vec<Task<'e>>,
    labels: Vec<usize>,
    start: usize,
    height: usize,
    max_height: usize,
    tokens: u64,
    max_ops: u64,
}

impl<'e> Compiler<'_, 'e> {
    fn block(&mut self, list: &'e Expr, kind: BlockKind) {
        let root = self.sites.item(0, 0);
        self.tasks.push(Task::Emit(Op::Return, root));
        let items = list.as_list().unwrap_or_default();
        match (kind, Form::new(items)) {
            (BlockKind::Function, Some(Form::Function { body, .. })) => {
                let site = self.sites.item(root, items.len().saturating_sub(3));
                self.tasks.push(Task::Eval(body, site));
            }
            (BlockKind::Stack(count), Some(Form::Stack { body })) => {
                let site = self.sites.item(root, items.len().saturating_sub(2));
                let end = self.label();
                self.height = count;
                let body = body.as_list().unwrap_or_default();
                let tasks = self.stack_body(body, site, count, end);
                self.schedule(tasks, end);
            }
            _ => self.tasks.push(Task::Eval(list, root)),
        }
    }

    fn finish(&mut self) -> Result<(), TooLong> {
        while let Some(task) = self.tasks.pop() {
            match task {
                Task::Emit(op, site) => self.emit(op, site),
                Task::Label(label) => {
                    if let Some(place) = self.labels.get_mut(label) {
                        *place = self.library.ops.len();
                    }
                }
                Task::Eval(Expr::Symbol(name), site) => {
                    let slot = self.library.symbols.number(name);
                    if self.library.hosts.contains(name) {
                        self.emit(Op::Host { slot, count: 0 }, site);
                    } else {
                        self.emit(Op::Load(slot), site);
                    }
                }
                Task::Eval(expr @ Expr::Bytes(_), site) => self.constant(expr.clone(), site),
                Task::Eval(expr @ Expr::List(items), site) => self.list(expr, items, site),
            }
            if self.is_too_long() {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    fn is_too_long(&self) -> bool {
        (self.library.ops.len() - self.start) as u64 + self.tokens > self.max_ops
    }

    fn emit(&mut self, op: Op, site: Site) {
        let (taken, given) = op.effect();
        self.max_height = self.max_height.max(self.height + given);
        self.height = (self.height + given).saturating_sub(taken);
        self.library.ops.push(op);
        self.sites.emitted(site);
    }

    fn add_constant(&mut self, value: Expr) -> usize {
        self.library.constants.push(value);
        self.library.constants.len() - 1
    }

    fn constant(&mut self, value: Expr, site: Site) {
        let index = self.add_constant(value);
        self.emit(Op::Constant(index), site);
    }

    fn label(&mut self) -> usize {
        self.labels.push(0);
        self.labels.len() - 1
    }

    /// Schedules `tasks` to run next, in this order, followed by the label `end`.
    fn schedule(&mut self, tasks: Vec<Task<'e>>, end: usize) {
        self.tasks.push(Task::Label(end));
        self.tasks.extend(tasks.into_iter().rev());
    }

    fn list(&mut self, expr: &'e Expr, items: &'e List, site: Site) {
        let Some((tail, args)) = items.split_last() else {
            return self.constant(expr.clone(), site);
        };
        if expr.is_error() {
            return self.constant(expr.clone(), site);
        }
        if args.is_empty() {
            let site = self.sites.item(site, 0);
            return self.tasks.push(Task::Eval(tail, site));
        }
        match tail {
            Expr::Symbol(name) if name.as_str() == "def" => self.define(args, site),
            Expr::Symbol(name) if name.as_str() == "ref" => self.follow(args, site),
            _ if Form::new(items).is_some() => self.constant(expr.clone(), site),
            Expr::Symbol(name) => {
                let slot = self.library.symbols.number(name);
                if self.library.hosts.contains(name) {
                    self.host_call(args, slot, site);
                } else {
                    self.tail(args, slot, site);
                }
            }
            Expr::List(form) => match Form::new(form) {
                Some(Form::Stack { body }) => {
                    let form_site = self.sites.item(site, args.len());
                    let body_site = self.sites.item(form_site, form.len().saturating_sub(2));
                    self.stack_call(args, body, site, body_site);
                }
                Some(Form::Function { .. }) => self.function_call(args, form, site),
                None => self.plain(expr, items, site),
            },
            Expr::Bytes(_) => self.plain(expr, items, site),
        }
    }

    fn plain(&mut self, expr: &'e Expr, items: &'e [Expr], site: Site) {
        // A list of bytes evaluates to itself.
        if items.iter().all(|item| matches!(item, Expr::Bytes(_))) {
            return self.constant(expr.clone(), site);
        }
        self.tasks.push(Task::Emit(Op::Collect(items.len()), site));
        for (index, item) in items.iter().enumerate().rev() {
            let site = self.sites.item(site, index);
            self.tasks.push(Task::Eval(item, site));
        }
    }

    fn define(&mut self, args: &'e [Expr], site: Site) {
        let [.., value, name] = args else {
            return self.emit(Op::Error(ErrorKind::DefinitionShape), site);
        };
        let name_site = self.sites.item(site, args.len() - 1);
        let Expr::Symbol(name) = name else {
            return self.emit(Op::Error(ErrorKind::DefinitionName), name_site);
        };
        if self.library.hosts.contains(name) {
            return self.emit(Op::Error(ErrorKind::HostName), name_site);
        }
        let slot = self.library.symbols.number(name);
        self.tasks.push(Task::Emit(Op::Define(slot), name_site));
        let value_site = self.sites.item(site, args.len() - 2);
        self.tasks.push(Task::Eval(value, value_site));
    }

    fn follow(&mut self, args: &'e [Expr], site: Site) {
        let id = match args {
            [Expr::Bytes(id)] => Some(Expr::Bytes(id.clone())),
            [Expr::Symbol(digits)] => hex(digits).map(Expr::bytes),
            _ => None,
        };
        match id.filter(|id| id.as_bytes() != Some(&[])) {
            Some(id) => {
                let index = self.add_constant(id);
                let site = self.sites.item(site, 0);
                self.emit(Op::Follow(index), site);
            }
            None => self.emit(Op::Error(ErrorKind::ReferenceShape), site),
        }
    }

    /// Returns the tasks for the arguments of a call, each followed by the check that `check`
    /// creates for it.
    fn arguments(
        &mut self,
        args: &'e [Expr],
        site: Site,
        check: impl Fn(usize) -> Op,
    ) -> Vec<Task<'e>> {
        let mut tasks = Vec::with_capacity(2 * args.len() + 2);
        for (index, arg) in args.iter().enumerate() {
            let site = self.sites.item(site, index);
            tasks.push(Task::Eval(arg, site));
            tasks.push(Task::Emit(check(index + 1), site));
        }
        tasks
    }

    fn function_call(&mut self, args: &'e [Expr], form: &List, site: Site) {
        let block = self.library.block(form, BlockKind::Function);
        let called = self.library.blocks.get(block);
        let fault = called.and_then(|called| called.fault);
        let params = called.map_or(0, |called| called.params.len());
        match fault.or((params != args.len()).then_some(ErrorKind::Arity)) {
            Some(fault) => self.emit(Op::Error(fault), site),
            None => {
                let (end, count) = (self.label(), args.len());
                let check = |count| Op::FunctionArgument { count, end };
                let mut tasks = self.arguments(args, site, check);
                tasks.push(Task::Emit(Op::Call { block, count }, site));
                self.schedule(tasks, end);
            }
        }
    }

    fn host_call(&mut self, args: &'e [Expr], slot: usize, site: Site) {
        let (end, count) = (self.label(), args.len());
        let check = |count| Op::HostArgument { count, end };
        let mut tasks = self.arguments(args, site, check);
        tasks.push(Task::Emit(Op::Host { slot, count }, site));
        self.schedule(tasks, end);
    }

    fn stack_call(&mut self, args: &'e [Expr], body: &'e Expr, site: Site, body_site: Site) {
        let Some(body) = body.as_list() else {
            return self.emit(Op::Error(ErrorKind::StackBody), site);
        };
        let end = self.label();
        let check = |count| Op::StackArgument { count, end };
        let mut tasks = self.arguments(args, site, check);
        tasks.extend(self.stack_body(body, body_site, args.len(), end));
        self.schedule(tasks, end);
    }

    /// Returns the tasks that follow the arguments of a stack program: the lists in the body are
    /// evaluated in order, up to the first token that is an error.
    fn stack_body(
        &mut self,
        body: &'e [Expr],
        site: Site,
        args: usize,
        end: usize,
    ) -> Vec<Task<'e>> {
        let (mut tasks, mut tokens, mut count) = (vec![], vec![], args);
        for (index, item) in body.iter().enumerate() {
            let token = match item {
                Expr::Bytes(bytes) => Ok(Token::from_bytes(bytes)),
                Expr::Symbol(name) => match name.strip_prefix('$').map(placeholder) {
                    None => Ok(Token::new(name.as_bytes())),
                    Some(None) => Err(ErrorKind::Placeholder),
                    Some(Some(index)) if index < args => Ok(Token::Argument(index)),
                    Some(Some(_)) => Err(ErrorKind::PlaceholderArity),
                },
                Expr::List(_) => {
                    count += 1;
                    let site = self.sites.item(site, index);
                    let check = Op::StackArgument { count, end };
                    tasks.extend([Task::Eval(item, site), Task::Emit(check, site)]);
                    Ok(Token::Argument(count - 1))
                }
            };
            self.tokens += 1;
            if self.is_too_long() {
                // The check in the caller ends the compilation.
                return tasks;
            }
            match token {
                Ok(token) => tokens.push(token),
                Err(kind) => {
                    let site = self.sites.item(site, index);
                    tasks.push(Task::Emit(Op::Fail { count, kind, end }, site));
                    return tasks;
                }
            }
        }
        self.library.programs.push(Program::assemble(tokens));
        let program = self.library.programs.len() - 1;
        tasks.push(Task::Emit(Op::Run { program, count }, site));
        tasks
    }

    fn tail(&mut self, args: &'e [Expr], slot: usize, site: Site) {
        let (end, count) = (self.label(), args.len());
        let name = self.sites.item(site, count);
        let mut tasks = vec![Task::Emit(Op::OpenTail { slot, count, end }, name)];
        let check = |count| Op::TailItem { count, end };
        tasks.extend(self.arguments(args, site, check));
        tasks.push(Task::Emit(Op::CloseTail { slot, count }, name));
        self.schedule(tasks, end);
    }
}
