//! All code of a machine, and what it refers to.
//!
//! Invariants:
//! - What one evaluation counts for code depends on the expression and the forms that it calls,
//!   not on what earlier ones left here nor on what is shared in memory: each evaluation has a
//!   number, and counts a form when it calls it first.
//! - Between evaluations the code and the lists that it is the code of take at most the bytes that
//!   [`Library::trim`] is given.

use super::bytecode::{Block, BlockKind, Op, Span};
use super::compile::{NoSites, TooLong, compile};
use super::error::ErrorKind;
use super::host::HostNames;
use super::program::Program;
use super::special_form::Form;
use super::symbols::{Symbols, shrink};
use super::weight::{Weight, weigh};
use crate::atom::AtomId;
use crate::expr::{Expr, List};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Code whose source is gone may take this many bytes before it is worth forgetting.
const EPHEMERAL_BYTES: u64 = 64 << 10;
/// Operations, constants and blocks that room is kept for when all are forgotten.
const KEPT_ITEMS: usize = 256;

/// Code, constants, symbols and programs.
pub(super) struct Library {
    pub(super) ops: Vec<Op>,
    pub(super) constants: Vec<Expr>,
    pub(super) blocks: Vec<Block>,
    pub(super) programs: Vec<Program>,
    pub(super) symbols: Symbols,
    pub(super) hosts: HostNames,
    /// Number of the evaluation that is under way.
    pub(super) epoch: u64,
    index: BTreeMap<(usize, BlockKind), usize>,
    /// Blocks of forms that were called by their value.
    forms: BTreeMap<(AtomId, BlockKind), usize>,
    /// Where the code of blocks starts, ascending.
    starts: Vec<(usize, usize)>,
    /// Bytes of everything, and how many of them belong to sources that are gone.
    bytes: u64,
    ephemeral: u64,
}

impl Library {
    pub(super) fn new(hosts: HostNames) -> Self {
        Self {
            ops: Vec::new(),
            constants: Vec::new(),
            blocks: Vec::new(),
            programs: Vec::new(),
            symbols: Symbols::default(),
            hosts,
            epoch: 0,
            index: BTreeMap::new(),
            forms: BTreeMap::new(),
            starts: Vec::new(),
            bytes: 0,
            ephemeral: 0,
        }
    }

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
            weight: None,
            same: None,
            counted: 0,
        });
        self.index.insert(key, block);
        block
    }

    /// What is wrong with a form, and the parameters that it has.
    fn signature(&mut self, list: &List, kind: BlockKind) -> (Option<ErrorKind>, Vec<usize>) {
        let (body, params) = match Form::new(list) {
            Some(Form::Stack { body }) if body.as_list().is_none() => {
                return (Some(ErrorKind::StackBody), Vec::new());
            }
            Some(Form::Function { body, params }) if kind == BlockKind::Function => (body, params),
            _ => return (None, Vec::new()),
        };
        if body.as_list().is_none() {
            return (Some(ErrorKind::FunctionBody), Vec::new());
        }
        let Some(params) = params.as_list() else {
            return (Some(ErrorKind::FunctionParameters), Vec::new());
        };
        let mut numbers = Vec::with_capacity(params.len());
        for param in params {
            match param {
                Expr::Symbol(name) if self.hosts.contains(name) => {
                    return (Some(ErrorKind::HostName), Vec::new());
                }
                Expr::Symbol(name) => numbers.push(self.symbols.number(name)),
                _ => return (Some(ErrorKind::FunctionParameter), Vec::new()),
            }
        }
        (None, numbers)
    }

    /// The code of a block, compiled if it is not yet; at most `max_ops` operations and tokens.
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
        let span = compile(self, &list, kind, &mut NoSites, max_ops)?;
        self.starts.push((span.start, block));
        if let Some(block) = self.blocks.get_mut(block) {
            block.code = Some(span);
        }
        Ok(span)
    }

    /// What a block's list takes; `Err` if that is more than `max_bytes`.
    pub(super) fn weigh(&mut self, block: usize, max_bytes: u64) -> Result<Weight, TooLong> {
        let block = self.blocks.get_mut(block).ok_or(TooLong)?;
        let weight = match block.weight {
            Some(weight) => weight,
            None => {
                let Some(weight) = weigh(&block.list, max_bytes) else {
                    // Its size is unknown, but too large to keep: forget it after the evaluation.
                    self.bytes = u64::MAX;
                    return Err(TooLong);
                };
                block.weight = Some(weight);
                self.bytes = self
                    .bytes
                    .saturating_add(weight.bytes + weight.code_bytes());
                weight
            }
        };
        if weight.bytes.max(weight.code_bytes()) > max_bytes {
            return Err(TooLong);
        }
        Ok(weight)
    }

    /// The block of a form that is called by its value, and what it takes; `Err` if that is more
    /// than `max_bytes`.
    ///
    /// Equal forms have one block, whether or not they are the same list in memory: a program that
    /// makes the same form again and again takes no more memory, and counts the same whether its
    /// source repeats a form or its atoms share one.
    pub(super) fn form(
        &mut self,
        list: &List,
        kind: BlockKind,
        max_bytes: u64,
    ) -> Result<(usize, Weight), TooLong> {
        let known = self.index.get(&(list.as_ptr().addr(), kind)).copied();
        let same = known.and_then(|block| self.blocks.get(block)?.same);
        if let Some(block) = same {
            return Ok((block, self.weigh(block, max_bytes)?));
        }
        // Before it is hashed: it may be small in memory and vast when it is written out.
        weigh(list, max_bytes).ok_or(TooLong)?;
        let id = Expr::List(list.clone()).id();
        let block = match self.forms.get(&(id, kind)) {
            Some(block) => *block,
            None => {
                let block = known.unwrap_or_else(|| self.block(list, kind));
                self.forms.insert((id, kind), block);
                block
            }
        };
        if let Some(known) = known.and_then(|known| self.blocks.get_mut(known)) {
            known.same = Some(block);
        }
        if let Some(found) = self.blocks.get_mut(block) {
            found.same = Some(block);
        }
        Ok((block, self.weigh(block, max_bytes)?))
    }

    /// Whether this evaluation has not counted a block yet; now it has.
    pub(super) fn is_first(&mut self, block: usize) -> bool {
        let epoch = self.epoch;
        let block = self.blocks.get_mut(block);
        block.is_some_and(|block| core::mem::replace(&mut block.counted, epoch) != epoch)
    }

    /// The block whose code the operation at `at` belongs to, and its index in there.
    pub(super) fn block_at(&self, at: usize) -> Option<(usize, usize)> {
        let after = self.starts.partition_point(|(start, _)| *start <= at);
        let (start, block) = *self.starts.get(after.checked_sub(1)?)?;
        let op = at - start;
        let code = self.blocks.get(block)?.code?;
        (op < code.len).then_some((block, op))
    }

    /// Notes that an expression will not be evaluated again: the memory that it takes here is of no
    /// use. Most of what is kept may not be of that kind.
    pub(super) fn note_gone(&mut self, expr: &Expr) {
        let Expr::List(list) = expr else {
            return;
        };
        let key = (list.as_ptr().addr(), BlockKind::List);
        let block = self
            .index
            .get(&key)
            .and_then(|block| self.blocks.get(*block));
        if let Some(weight) = block.and_then(|block| block.weight) {
            let bytes = weight.bytes.saturating_add(weight.code_bytes());
            self.ephemeral = self.ephemeral.saturating_add(bytes);
        }
        let lasting = self.bytes.saturating_sub(self.ephemeral);
        if self.ephemeral > lasting.max(EPHEMERAL_BYTES) {
            self.forget();
        }
    }

    /// Forgets everything if it takes more than `max_bytes`.
    pub(super) fn trim(&mut self, max_bytes: u64) {
        if self.bytes > max_bytes {
            self.forget();
        }
    }

    /// Forgets everything but the names of host functions, and keeps room for a little.
    pub(super) fn forget(&mut self) {
        self.ops.clear();
        self.constants.clear();
        self.blocks.clear();
        self.programs.clear();
        self.starts.clear();
        shrink(&mut self.ops, KEPT_ITEMS);
        shrink(&mut self.constants, KEPT_ITEMS);
        shrink(&mut self.blocks, KEPT_ITEMS);
        shrink(&mut self.programs, KEPT_ITEMS);
        shrink(&mut self.starts, KEPT_ITEMS);
        self.symbols = Symbols::default();
        self.index = BTreeMap::new();
        self.forms = BTreeMap::new();
        (self.bytes, self.ephemeral) = (0, 0);
    }
}
