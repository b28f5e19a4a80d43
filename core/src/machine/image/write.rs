//! Encoding of suspended evaluations.

use super::super::bytecode::BlockKind;
use super::super::eval::{END, Evaluator, Running};
use super::super::exec_context::Account;
use super::super::host::Answer;
use super::super::limits::Limits;
use super::super::outcome::{Missing, Outcome, Wanted};
use super::super::program::{Program, Token};
use super::super::reason::Reason;
use super::super::suspend::Suspended;
use super::super::symbols::Callee;
use super::super::weight::INLINE_BYTES;
use super::super::word::Word;
use super::super::{Env, Opcode};
use super::{MAGIC, tag};
use crate::expr::{AddressMap, Bytes, Expr, List, Symbol};
use crate::sorted_map::SortedMap;
use alloc::string::ToString as _;
use alloc::vec::Vec;

impl Suspended {
    /// Encodes this evaluation and the environment in which it was started, for
    /// [`Machine::restore`](super::super::Machine::restore).
    ///
    /// The positions of earlier errors are not included.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine, Progress}, text};
    ///
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// machine.set_slice(Some(0));
    /// let expr = text::parse("((1 2 (($0 $1 add) sk)) 4)")?;
    /// let Progress::Suspended(suspended) = machine.start(&expr, &mut env) else {
    ///     panic!("the slice is one step");
    /// };
    /// // The bytes can be stored, or sent to another machine.
    /// let (restored, mut env) = machine.restore(&suspended.to_bytes(&env))?;
    /// assert_eq!(restored.steps(), suspended.steps());
    /// assert_eq!(machine.finish(restored, &mut env).value().to_string(), "(3 4)");
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_bytes(&self, env: &Env) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.hosts(&self.evaluator);
        writer.account(&self.account);
        writer.reason(&self.reason);
        writer.environment(env);
        let evaluator = &*self.evaluator;
        writer.flag(evaluator.is_program);
        if evaluator.is_program {
            if let Running::Own(program) = &evaluator.running {
                writer.program(program);
                writer.stack_machine(evaluator, program);
            }
        } else {
            writer.evaluator(evaluator);
        }
        let mut out = Vec::from(MAGIC);
        number(&mut out, writer.nodes.len as u64);
        out.extend_from_slice(&writer.nodes.out);
        out.extend_from_slice(&writer.out);
        out
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    number(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Table of the written expressions, each once.
#[derive(Default)]
struct Nodes {
    out: Vec<u8>,
    len: usize,
    symbols: SortedMap<Symbol, usize>,
    short: SortedMap<Bytes, usize>,
    /// Lists and long bytes, by their address.
    shared: AddressMap,
    /// Byte strings that are kept alive so that their addresses stay unique.
    kept: Vec<Expr>,
}

impl Nodes {
    fn known(&self, expr: &Expr) -> Option<usize> {
        match expr {
            Expr::Symbol(symbol) => self.symbols.get(symbol),
            Expr::Bytes(value) if value.len() > INLINE_BYTES => {
                self.shared.get(&(value.as_ptr().addr(), 0))
            }
            Expr::Bytes(value) => self.short.get(value),
            Expr::List(list) => self.shared.get(&(address(list), 0)),
        }
        .copied()
    }

    /// Returns the index of an expression's node; writes the node if it is new.
    fn node(&mut self, root: &Expr) -> usize {
        // A list is written at its second visit, after its items.
        let mut pending = Vec::from([(root, false)]);
        while let Some((expr, is_ready)) = pending.pop() {
            if self.known(expr).is_some() {
                continue;
            }
            match expr {
                Expr::List(list) if !is_ready => {
                    pending.push((expr, true));
                    pending.extend(list.iter().rev().map(|item| (item, false)));
                    continue;
                }
                Expr::List(list) => {
                    let items = list.iter().map(|item| self.known(item).unwrap_or_default());
                    let items: Vec<usize> = items.collect();
                    number(&mut self.out, tag::LIST);
                    number(&mut self.out, items.len() as u64);
                    for item in items {
                        number(&mut self.out, item as u64);
                    }
                    self.shared.insert((address(list), 0), self.len);
                }
                Expr::Symbol(symbol) => {
                    number(&mut self.out, tag::SYMBOL);
                    bytes(&mut self.out, symbol.as_bytes());
                    self.symbols.insert(symbol.clone(), self.len);
                }
                Expr::Bytes(value) => {
                    number(&mut self.out, tag::BYTES);
                    bytes(&mut self.out, value);
                    if value.len() > INLINE_BYTES {
                        self.shared.insert((value.as_ptr().addr(), 0), self.len);
                    } else {
                        self.short.insert(value.clone(), self.len);
                    }
                }
            }
            self.len += 1;
        }
        self.known(root).unwrap_or_default()
    }
}

/// Returns the address of a list; all empty lists have the same one.
fn address(list: &List) -> usize {
    if list.is_empty() {
        0
    } else {
        list.as_ptr().addr()
    }
}

#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    nodes: Nodes,
    /// Number of each block in the image.
    blocks: AddressMap,
}

impl Writer {
    fn number(&mut self, value: u64) {
        number(&mut self.out, value);
    }

    fn count(&mut self, value: usize) {
        self.number(value as u64);
    }

    fn flag(&mut self, value: bool) {
        self.number(value.into());
    }

    fn text(&mut self, text: &str) {
        bytes(&mut self.out, text.as_bytes());
    }

    fn expr(&mut self, expr: &Expr) {
        let node = self.nodes.node(expr);
        self.count(node);
    }

    fn exprs<'e>(&mut self, exprs: impl ExactSizeIterator<Item = &'e Expr>) {
        self.count(exprs.len());
        exprs.for_each(|expr| self.expr(expr));
    }

    fn option(&mut self, expr: Option<&Expr>) {
        self.flag(expr.is_some());
        if let Some(expr) = expr {
            self.expr(expr);
        }
    }

    fn symbol(&mut self, symbol: &Symbol) {
        self.expr(&Expr::Symbol(symbol.clone()));
    }

    fn word(&mut self, word: &Word) {
        let value = Expr::Bytes(word.to_bytes());
        self.expr(&value);
        self.nodes.kept.push(value);
    }

    fn hosts(&mut self, evaluator: &Evaluator) {
        let hosts = &evaluator.library.hosts;
        self.count(hosts.iter().count());
        for name in hosts.iter() {
            self.text(name);
        }
    }

    fn account(&mut self, account: &Account) {
        let Limits {
            depth,
            stack_items,
            heap_entries,
            live_bytes,
            steps,
            atoms,
            atom_bytes,
        } = account.limits;
        for limit in [
            depth,
            stack_items,
            heap_entries,
            live_bytes,
            steps,
            atoms,
            atom_bytes,
        ] {
            self.number(limit);
        }
        let limit = account.meter.limit();
        self.flag(limit.is_some());
        self.number(limit.unwrap_or_default());
        for used in [
            account.meter.used(),
            account.steps,
            account.allocated,
            account.atoms,
            account.atom_bytes,
            account.failures.count,
        ] {
            self.number(used);
        }
        match account.noted {
            Some(Outcome::Limit(exceeded)) => {
                self.number(1);
                self.number(exceeded.limit);
                self.number(exceeded.used);
            }
            Some(Outcome::Missing(missing)) => {
                self.number(2);
                self.missing(missing);
            }
            _ => self.number(0),
        }
        match &account.answer {
            None => self.number(0),
            Some(Answer::Refused) => self.number(1),
            Some(Answer::Value(value)) => {
                self.number(2);
                self.expr(value);
            }
            Some(Answer::Error(error)) => {
                self.number(3);
                self.text(&error.to_string());
            }
        }
    }

    fn missing(&mut self, missing: Missing) {
        self.out.extend_from_slice(missing.id.as_bytes());
        self.flag(missing.wanted == Wanted::List);
    }

    fn reason(&mut self, reason: &Reason) {
        match reason {
            Reason::Slice => self.number(0),
            Reason::Interrupted => self.number(1),
            Reason::Missing(missing) => {
                self.number(2);
                self.missing(*missing);
            }
            Reason::Meter { cost } => {
                self.number(3);
                self.number(*cost);
            }
            Reason::HostFunction { name } => {
                self.number(4);
                self.text(name);
            }
            Reason::HostError => self.number(5),
        }
    }

    /// Writes the scopes of an environment, the outermost first.
    fn environment(&mut self, env: &Env) {
        let scopes = env.scopes();
        self.count(scopes.len());
        for bindings in scopes.iter().rev() {
            self.count(bindings.iter().count());
            for (name, value) in bindings.iter() {
                self.symbol(name);
                self.expr(value);
            }
        }
    }

    fn program(&mut self, program: &Program) {
        self.count(program.len());
        for token in program.tokens() {
            match token {
                Token::Opcode(opcode) => {
                    let index = Opcode::ALL.iter().position(|other| *other == opcode);
                    self.number(0);
                    self.count(index.unwrap_or_default());
                }
                Token::Literal(word) => {
                    self.number(1);
                    self.word(&word);
                }
                Token::Argument(index) => {
                    self.number(2);
                    self.count(index);
                }
            }
        }
    }

    /// Writes the arguments of a program and its execution state.
    fn stack_machine(&mut self, evaluator: &Evaluator, program: &Program) {
        self.count(evaluator.arguments.len());
        for argument in &evaluator.arguments {
            self.word(argument);
        }
        let machine = &evaluator.stack_machine;
        let position = machine.position();
        self.count(position.pc);
        self.count(position.block);
        self.count(machine.stack().len());
        for word in machine.stack() {
            self.word(word);
        }
        self.count(machine.heap(program).count());
        for (key, value) in machine.heap(program) {
            self.word(key);
            self.word(value);
        }
    }

    fn evaluator(&mut self, evaluator: &Evaluator) {
        self.blocks(evaluator);
        self.option(evaluator.current.as_ref());
        let rest = evaluator.rest.as_ref().map(|rest| rest.as_slice());
        self.exprs(rest.unwrap_or_default().iter());
        self.position(evaluator, evaluator.at);
        self.exprs(evaluator.values.iter());
        self.count(evaluator.frames.len());
        for frame in &evaluator.frames {
            self.position(evaluator, frame.back);
            self.flag(frame.scope.is_some());
            self.count(frame.scope.unwrap_or_default());
        }
        self.count(evaluator.tails.len());
        for tail in &evaluator.tails {
            self.callee(*tail);
        }
        self.symbols(evaluator);
        self.exprs(evaluator.replaced.iter());
        self.flag(evaluator.following.is_some());
        if let Some(following) = &evaluator.following {
            self.out.extend_from_slice(following.next.as_bytes());
            self.exprs(following.items.iter());
        }
        let running = match &evaluator.running {
            Running::Nothing => None,
            Running::Shared(index) => evaluator.library.programs.get(*index),
            Running::Own(program) => Some(program),
        };
        self.flag(running.is_some());
        if let Some(program) = running {
            self.stack_machine(evaluator, program);
        }
    }

    /// Writes the blocks that positions and callees refer to, and those that this evaluation
    /// counted.
    fn blocks(&mut self, evaluator: &Evaluator) {
        let library = &evaluator.library;
        let frames = evaluator.frames.iter().map(|frame| frame.back);
        let positions = core::iter::once(evaluator.at).chain(frames);
        let mut blocks: Vec<usize> = positions
            .filter_map(|at| Some(library.block_at(at)?.0))
            .collect();
        blocks.extend(evaluator.tails.iter().filter_map(|tail| match tail {
            Callee::Function(block) | Callee::Stack { block, .. } => Some(*block),
            Callee::Unknown | Callee::None => None,
        }));
        let counted = library.blocks.iter().enumerate();
        blocks.extend(
            counted
                .filter(|(_, block)| block.counted == library.epoch)
                .map(|(index, _)| index),
        );
        blocks.sort_unstable();
        blocks.dedup();
        self.count(blocks.len());
        for (number, index) in blocks.into_iter().enumerate() {
            let Some(block) = library.blocks.get(index) else {
                continue;
            };
            self.blocks.insert((index, 0), number);
            self.expr(&Expr::List(block.list.clone()));
            match block.kind {
                BlockKind::List => self.number(0),
                BlockKind::Function => self.number(1),
                BlockKind::Stack(count) => {
                    self.number(2);
                    self.count(count);
                }
            }
            self.flag(block.same == Some(index));
            self.flag(block.counted == library.epoch);
            self.flag(block.counted == library.epoch && block.code.is_some());
        }
    }

    fn block(&mut self, block: usize) {
        let number = self.blocks.get(&(block, 0)).copied();
        self.count(number.unwrap_or_default());
    }

    /// Writes a position in the code: a block and an operation in it. 0 is the end of all code.
    fn position(&mut self, evaluator: &Evaluator, at: usize) {
        match evaluator.library.block_at(at).filter(|_| at != END) {
            Some((block, op)) => {
                self.count(op + 1);
                self.block(block);
            }
            None => self.number(0),
        }
    }

    fn callee(&mut self, callee: Callee) {
        match callee {
            Callee::Unknown | Callee::None => self.number(0),
            Callee::Function(block) => {
                self.number(1);
                self.block(block);
            }
            Callee::Stack { block, count } => {
                self.number(2);
                self.block(block);
                self.count(count);
            }
        }
    }

    /// Writes the bindings that do not come from the environment, and the callees of those that do.
    fn symbols(&mut self, evaluator: &Evaluator) {
        let symbols = &evaluator.library.symbols;
        self.count(symbols.hidden().len());
        for (number, slot) in symbols.hidden() {
            if let Some(symbol) = symbols.symbol(*number) {
                self.symbol(symbol);
                self.flag(slot.known);
                self.flag(slot.given);
                self.option(slot.value.as_ref());
                self.callee(slot.callee);
            }
        }
        self.count(symbols.made().count());
        for (symbol, slot) in symbols.made() {
            self.symbol(symbol);
            self.option(slot.value.as_ref());
            self.callee(slot.callee);
        }
        self.count(symbols.called().count());
        for (symbol, callee) in symbols.called() {
            self.symbol(symbol);
            self.callee(callee);
        }
    }
}
