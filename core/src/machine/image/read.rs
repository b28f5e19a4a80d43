//! Decoding of suspended evaluations.

use super::super::bytecode::BlockKind;
use super::super::eval::{Activation, END, Evaluator, Following, Running};
use super::super::exec_context::Account;
use super::super::host::{Answer, HostNames, Message};
use super::super::library::Library;
use super::super::limits::{Exceeded, LimitKind, Limits};
use super::super::outcome::{Missing, Outcome, Wanted};
use super::super::program::{Program, Token};
use super::super::reason::Reason;
use super::super::stack::Position;
use super::super::suspend::Suspended;
use super::super::symbols::{Callee, Slot};
use super::super::word::Word;
use super::super::{Env, Meter, Opcode};
use super::RestoreError::{self, HostFunctions, Malformed};
use super::{MAGIC, tag};
use crate::arc::Arc;
use crate::atom::AtomId;
use crate::expr::{Bytes, Expr, List, Symbol};
use alloc::boxed::Box;
use alloc::vec::Vec;

type Result<T> = core::result::Result<T, RestoreError>;

/// Reads an evaluation and its environment, for a machine with these limits and host functions.
pub(in super::super) fn restore(
    bytes: &[u8],
    limits: &Limits,
    hosts: &HostNames,
) -> Result<(Suspended, Env)> {
    let mut reader = Reader {
        rest: bytes.strip_prefix(&MAGIC).ok_or(Malformed)?,
        nodes: Vec::new(),
    };
    reader.nodes()?;
    reader.hosts(hosts)?;
    let mut account = reader.account(limits)?;
    let reason = reader.reason()?;
    let env = reader.environment()?;
    let mut evaluator = Evaluator::new(Library::new(hosts.clone()));
    evaluator.is_clear = false;
    evaluator.library.epoch = 1;
    evaluator.is_program = reader.flag()?;
    if evaluator.is_program {
        let program = reader.program()?;
        reader.stack_machine(&mut evaluator, &program, &account.limits)?;
        evaluator.running = Running::Own(program);
    } else {
        account.code = reader.evaluator(&mut evaluator, &env, &account.limits)?;
    }
    if !reader.rest.is_empty() {
        return Err(Malformed);
    }
    let suspended = Suspended {
        evaluator: Box::new(evaluator),
        account,
        reason,
    };
    Ok((suspended, env))
}

struct Reader<'b> {
    rest: &'b [u8],
    nodes: Vec<Expr>,
}

impl<'b> Reader<'b> {
    fn take(&mut self, len: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first().ok_or(Malformed)?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn index(&mut self) -> Result<usize> {
        usize::try_from(self.number()?).map_err(|_| Malformed)
    }

    fn flag(&mut self) -> Result<bool> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    fn bytes(&mut self) -> Result<&'b [u8]> {
        let len = self.index()?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'b str> {
        core::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    fn id(&mut self) -> Result<AtomId> {
        AtomId::from_slice(self.take(32)?).ok_or(Malformed)
    }

    /// Reads the number of following items: at most `max`, and each takes at least one byte.
    fn count(&mut self, max: u64) -> Result<usize> {
        let count = self.number()?;
        if count > max || count > self.rest.len() as u64 {
            return Err(Malformed);
        }
        usize::try_from(count).map_err(|_| Malformed)
    }

    fn nodes(&mut self) -> Result<()> {
        for _ in 0..self.count(u64::MAX)? {
            let node = match self.number()? {
                tag::SYMBOL => Expr::symbol(self.text()?),
                tag::BYTES => Expr::bytes(self.bytes()?),
                tag::LIST => {
                    let count = self.count(u64::MAX)?;
                    let mut items = Vec::with_capacity(count);
                    for _ in 0..count {
                        // Only nodes before this one are available, so an expression cannot contain
                        // itself.
                        items.push(self.expr()?);
                    }
                    Expr::list(items)
                }
                _ => return Err(Malformed),
            };
            self.nodes.push(node);
        }
        Ok(())
    }

    fn expr(&mut self) -> Result<Expr> {
        let index = self.index()?;
        self.nodes.get(index).cloned().ok_or(Malformed)
    }

    fn exprs(&mut self, max: u64) -> Result<Vec<Expr>> {
        let count = self.count(max)?;
        (0..count).map(|_| self.expr()).collect()
    }

    fn option(&mut self) -> Result<Option<Expr>> {
        Ok(if self.flag()? {
            Some(self.expr()?)
        } else {
            None
        })
    }

    fn symbol(&mut self) -> Result<Symbol> {
        match self.expr()? {
            Expr::Symbol(symbol) => Ok(symbol),
            _ => Err(Malformed),
        }
    }

    fn list(&mut self) -> Result<List> {
        match self.expr()? {
            Expr::List(list) => Ok(list),
            _ => Err(Malformed),
        }
    }

    fn value(&mut self) -> Result<Bytes> {
        match self.expr()? {
            Expr::Bytes(value) => Ok(value),
            _ => Err(Malformed),
        }
    }

    fn words(&mut self, max: u64) -> Result<Vec<Word>> {
        let count = self.count(max)?;
        (0..count)
            .map(|_| Ok(Word::from_bytes(&self.value()?)))
            .collect()
    }

    fn hosts(&mut self, hosts: &HostNames) -> Result<()> {
        let count = self.count(u64::MAX)?;
        let mut names = hosts.iter();
        for _ in 0..count {
            let name = self.text()?;
            if names.next().map(Symbol::as_str) != Some(name) {
                return Err(HostFunctions);
            }
        }
        if names.next().is_some() {
            return Err(HostFunctions);
        }
        Ok(())
    }

    fn account(&mut self, most: &Limits) -> Result<Account> {
        let limits = Limits {
            depth: self.number()?,
            stack_items: self.number()?,
            heap_entries: self.number()?,
            live_bytes: self.number()?,
            steps: self.number()?,
            atoms: self.number()?,
            atom_bytes: self.number()?,
        };
        if !limits.within(most) {
            return Err(RestoreError::Limits);
        }
        let (has_limit, limit) = (self.flag()?, self.number()?);
        let limit = has_limit.then_some(limit);
        let meter = Meter::resumed(limit, self.number()?).ok_or(Malformed)?;
        let mut account = Account::new();
        account.begin(&limits, meter, true);
        account.steps = self.number()?;
        account.allocated = self.number()?;
        account.atoms = self.number()?;
        account.atom_bytes = self.number()?;
        account.failures.count = self.number()?;
        account.noted = match self.number()? {
            0 => None,
            1 => Some(Outcome::Limit(Exceeded {
                kind: LimitKind::Meter,
                limit: self.number()?,
                used: self.number()?,
            })),
            2 => Some(Outcome::Missing(self.missing()?)),
            _ => return Err(Malformed),
        };
        account.answer = match self.number()? {
            0 => None,
            1 => Some(Answer::Refused),
            2 => Some(Answer::Value(self.expr()?)),
            3 => Some(Answer::Error(Message::boxed(self.text()?))),
            _ => return Err(Malformed),
        };
        Ok(account)
    }

    fn missing(&mut self) -> Result<Missing> {
        let id = self.id()?;
        let wanted = if self.flag()? {
            Wanted::List
        } else {
            Wanted::Atom
        };
        Ok(Missing { id, wanted })
    }

    fn reason(&mut self) -> Result<Reason> {
        Ok(match self.number()? {
            0 => Reason::Slice,
            1 => Reason::Interrupted,
            2 => Reason::Missing(self.missing()?),
            3 => Reason::Meter {
                cost: self.number()?,
            },
            4 => Reason::HostFunction {
                name: Symbol::new(self.text()?),
            },
            5 => Reason::HostError,
            _ => return Err(Malformed),
        })
    }

    fn environment(&mut self) -> Result<Env> {
        let count = self.count(u64::MAX)?;
        let mut env = None;
        for _ in 0..count {
            let mut scope = match env {
                Some(parent) => Env::with_parent(Arc::new(parent)),
                None => Env::new(),
            };
            for _ in 0..self.count(u64::MAX)? {
                let name = self.symbol()?;
                scope.bind(name, self.expr()?);
            }
            env = Some(scope);
        }
        env.ok_or(Malformed)
    }

    fn program(&mut self) -> Result<Program> {
        let count = self.count(u64::MAX)?;
        let mut tokens = Vec::with_capacity(count);
        for _ in 0..count {
            tokens.push(match self.number()? {
                0 => {
                    let index = self.index()?;
                    Token::Opcode(*Opcode::ALL.get(index).ok_or(Malformed)?)
                }
                1 => Token::Literal(Word::from_bytes(&self.value()?)),
                2 => Token::Argument(self.index()?),
                _ => return Err(Malformed),
            });
        }
        Ok(Program::assemble(tokens))
    }

    fn stack_machine(
        &mut self,
        evaluator: &mut Evaluator,
        program: &Program,
        limits: &Limits,
    ) -> Result<()> {
        evaluator.arguments = self.words(u64::MAX)?;
        let program = &evaluator.program_for(program);
        let (pc, block) = (self.index()?, self.index()?);
        if block > pc || pc > program.len() {
            return Err(Malformed);
        }
        let stack = self.words(limits.stack_items)?;
        let entries = self.count(limits.heap_entries)?;
        let mut heap = Vec::with_capacity(entries);
        for _ in 0..entries {
            let key = Word::from_bytes(&self.value()?);
            heap.push((key, Word::from_bytes(&self.value()?)));
        }
        let position = Position { pc, block };
        evaluator
            .stack_machine
            .restore(program, position, stack, heap);
        Ok(())
    }

    /// Reads the state of an evaluator; returns the number of bytes that its code counts for.
    fn evaluator(&mut self, evaluator: &mut Evaluator, env: &Env, limits: &Limits) -> Result<u64> {
        let (blocks, code) = self.blocks(&mut evaluator.library, limits)?;
        evaluator.current = self.option()?;
        let rest = self.exprs(u64::MAX)?;
        evaluator.rest = (!rest.is_empty()).then(|| rest.into_iter());
        evaluator.at = self.position(&mut evaluator.library, &blocks, limits)?;
        evaluator.values = self.exprs(limits.stack_items)?;
        for _ in 0..self.count(limits.depth)? {
            let back = self.position(&mut evaluator.library, &blocks, limits)?;
            let (has_scope, mark) = (self.flag()?, self.index()?);
            let scope = has_scope.then_some(mark);
            evaluator.scopes += usize::from(has_scope);
            evaluator.frames.push(Activation { back, scope });
        }
        for _ in 0..self.count(u64::MAX)? {
            let tail = self.callee(&blocks)?;
            evaluator.tails.push(tail);
        }
        self.symbols(&mut evaluator.library, &blocks, env, limits)?;
        let hidden = evaluator.library.symbols.mark();
        let marks = evaluator.frames.iter().filter_map(|frame| frame.scope);
        if !marks.clone().is_sorted() || marks.clone().any(|mark| mark > hidden) {
            return Err(Malformed);
        }
        evaluator.replaced = self.exprs(u64::MAX)?;
        if self.flag()? {
            evaluator.following = Some(Following {
                next: self.id()?,
                items: self.exprs(u64::MAX)?,
            });
        }
        if self.flag()? {
            let (index, program) = evaluator.program_at().ok_or(Malformed)?;
            self.stack_machine(evaluator, &program, limits)?;
            let own = evaluator.program_for(&program);
            evaluator.running = if evaluator.is_substituted() {
                Running::Own(own)
            } else {
                Running::Shared(index)
            };
        }
        Ok(code)
    }

    fn blocks(&mut self, library: &mut Library, limits: &Limits) -> Result<(Vec<usize>, u64)> {
        let (mut blocks, mut code) = (Vec::new(), 0_u64);
        let max_bytes = limits.live_bytes;
        for _ in 0..self.count(u64::MAX)? {
            let list = self.list()?;
            let kind = match self.number()? {
                0 => BlockKind::List,
                1 => BlockKind::Function,
                2 => BlockKind::Stack(self.index()?),
                _ => return Err(Malformed),
            };
            let (is_form, is_counted, is_compiled) = (self.flag()?, self.flag()?, self.flag()?);
            let block = if is_form {
                library
                    .form(&list, kind, max_bytes)
                    .map_err(|_| Malformed)?
                    .0
            } else {
                library.block(&list, kind)
            };
            if is_counted {
                let weight = library.weigh(block, max_bytes).map_err(|_| Malformed)?;
                if library.is_first(block) {
                    code = code.saturating_add(weight.code_bytes());
                }
                // A machine would have refused to call this much code.
                if code > max_bytes {
                    return Err(Malformed);
                }
                if is_compiled {
                    let span = library.compile(block, max_bytes / 8 + 64);
                    span.map_err(|_| Malformed)?;
                }
            }
            blocks.push(block);
        }
        Ok((blocks, code))
    }

    fn block(&mut self, blocks: &[usize]) -> Result<usize> {
        let index = self.index()?;
        blocks.get(index).copied().ok_or(Malformed)
    }

    fn position(
        &mut self,
        library: &mut Library,
        blocks: &[usize],
        limits: &Limits,
    ) -> Result<usize> {
        let Some(op) = self.index()?.checked_sub(1) else {
            return Ok(END);
        };
        let block = self.block(blocks)?;
        let span = library.compile(block, limits.live_bytes / 8 + 64);
        let span = span.map_err(|_| Malformed)?;
        if op >= span.len {
            return Err(Malformed);
        }
        Ok(span.start + op)
    }

    fn callee(&mut self, blocks: &[usize]) -> Result<Callee> {
        Ok(match self.number()? {
            0 => Callee::None,
            1 => Callee::Function(self.block(blocks)?),
            2 => Callee::Stack {
                block: self.block(blocks)?,
                count: self.index()?,
            },
            _ => return Err(Malformed),
        })
    }

    /// Reads the callee of a binding; a value that was found not to be callable is looked at again.
    fn slot_callee(&mut self, blocks: &[usize]) -> Result<Callee> {
        let callee = self.callee(blocks)?;
        let is_known = callee != Callee::None;
        Ok(if is_known { callee } else { Callee::Unknown })
    }

    fn symbols(
        &mut self,
        library: &mut Library,
        blocks: &[usize],
        env: &Env,
        limits: &Limits,
    ) -> Result<()> {
        let symbols = &mut library.symbols;
        for _ in 0..self.count(limits.stack_items)? {
            let number = symbols.number(&self.symbol()?);
            let slot = Slot {
                known: self.flag()?,
                given: self.flag()?,
                value: self.option()?,
                callee: self.slot_callee(blocks)?,
            };
            symbols.restore_hidden(number, slot);
        }
        for _ in 0..self.count(u64::MAX)? {
            let number = symbols.number(&self.symbol()?);
            let value = self.option()?;
            let callee = self.slot_callee(blocks)?;
            symbols.restore_made(number, value, callee);
        }
        for _ in 0..self.count(u64::MAX)? {
            let number = symbols.number(&self.symbol()?);
            let callee = self.slot_callee(blocks)?;
            symbols.restore_called(number, callee, env);
        }
        Ok(())
    }
}
