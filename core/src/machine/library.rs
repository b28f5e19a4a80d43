//! Compiled code of a machine, and the data that it refers to.
//!
//! Invariants:
//! - The code that one evaluation counts depends on the expression and the special forms that it
//!   calls, not on earlier evaluations or on sharing in memory: each evaluation has a number, and
//!   it counts a special form at its first call.
//! - Between evaluations the code and the lists from which it was compiled take at most the bytes
//!   that [`Library::trim`] is given.

use super::bytecode::{Block, BlockKind, Op, Span, TooLong};
use super::error::ErrorKind;
use super::host::HostNames;
use super::program::Program;
use super::special_form::Form;
use super::symbols::{Symbols, shrink};
use super::weight::{Weight, weigh};
use crate::atom::AtomId;
use crate::expr::{AddressMap, Expr, List};
use alloc::vec::Vec;

/// Size of code with dropped sources below which it is not worth discarding, in bytes.
const EPHEMERAL_BYTES: u64 = 64 << 10;
/// Number of operations, constants and blocks for which capacity is kept when all are discarded.
const RETAINED_CAPACITY: usize = 256;

/// Code, constants, symbols and programs.
pub(super) struct Library {
    pub(super) ops: Vec<Op>,
    pub(super) constants: Vec<Expr>,
    pub(super) blocks: Vec<Block>,
    pub(super) programs: Vec<Program>,
    pub(super) symbols: Symbols,
    pub(super) hosts: HostNames,
    /// Number of the current evaluation.
    pub(super) epoch: u64,
    /// Blocks by the addresses of their lists and their kinds.
    index: AddressMap,
    /// Blocks of special forms that were called by their value.
    forms: Forms,
    /// Start of the code of each compiled block, ascending.
    starts: Vec<(usize, usize)>,
    /// Bytes of everything, and the part of them that belongs to dropped sources.
    bytes: u64,
    ephemeral: u64,
}

/// Blocks of special forms by the ids of the forms.
///
/// A key is the start of an id, and the number of forms before it with the same start.
#[derive(Default)]
struct Forms {
    index: AddressMap,
    blocks: Vec<(AtomId, BlockKind, usize)>,
}

impl Forms {
    /// Returns the block of a form, or the key at which to insert it.
    fn get(&self, id: AtomId, kind: BlockKind) -> Result<usize, (usize, usize)> {
        let [a, b, c, d, ..] = *id.as_bytes();
        let start = u32::from_le_bytes([a, b, c, d]);
        let mut key = (start as usize, 0);
        while let Some(at) = self.index.get(&key) {
            match self.blocks.get(*at) {
                Some((known, of, block)) if (*known, *of) == (id, kind) => return Ok(*block),
                _ => key.1 += 1,
            }
        }
        Err(key)
    }

    fn insert(&mut self, key: (usize, usize), block: (AtomId, BlockKind, usize)) {
        self.index.insert(key, self.blocks.len());
        self.blocks.push(block);
    }
}

/// Returns the key of a block in the index.
fn key(list: &List, kind: BlockKind) -> (usize, usize) {
    let kind = match kind {
        BlockKind::List => 0,
        BlockKind::Function => 1,
        BlockKind::Stack(count) => count.saturating_add(2),
    };
    (list.as_ptr().addr(), kind)
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
            index: AddressMap::new(),
            forms: Forms::default(),
            starts: Vec::new(),
            bytes: 0,
            ephemeral: 0,
        }
    }

    /// Returns the block of a list; lists are identified by their address.
    pub(super) fn block(&mut self, list: &List, kind: BlockKind) -> usize {
        let key = key(list, kind);
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

    /// Returns the error in a special form, if there is one, and its parameters.
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

    /// Records the code of a block, which was compiled now.
    pub(super) fn note_code(&mut self, block: usize, span: Span) {
        self.starts.push((span.start, block));
        if let Some(block) = self.blocks.get_mut(block) {
            block.code = Some(span);
        }
    }

    /// Returns the weight of a block's list. Fails if it exceeds `max_bytes`.
    pub(super) fn weigh(&mut self, block: usize, max_bytes: u64) -> Result<Weight, TooLong> {
        let block = self.blocks.get_mut(block).ok_or(TooLong)?;
        let weight = match block.weight {
            Some(weight) => weight,
            None => {
                let Some(weight) = weigh(&block.list, max_bytes) else {
                    // The size is unknown but too large to keep: discard it after the evaluation.
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

    /// Returns the block of a special form that is called by its value, and its weight. Fails if
    /// that exceeds `max_bytes`.
    ///
    /// Equal forms have one block, whether or not they are the same list in memory: a program that
    /// creates the same form repeatedly takes no more memory, and the count is the same whether its
    /// source repeats a form or its atoms share one.
    pub(super) fn form(
        &mut self,
        list: &List,
        kind: BlockKind,
        max_bytes: u64,
    ) -> Result<(usize, Weight), TooLong> {
        let known = self.index.get(&key(list, kind)).copied();
        let same = known.and_then(|block| self.blocks.get(block)?.same);
        if let Some(block) = same {
            return Ok((block, self.weigh(block, max_bytes)?));
        }
        // Checked before hashing: the form may be small in memory and huge when written out.
        weigh(list, max_bytes).ok_or(TooLong)?;
        let id = Expr::List(list.clone()).id();
        let block = match self.forms.get(id, kind) {
            Ok(block) => block,
            Err(key) => {
                let block = known.unwrap_or_else(|| self.block(list, kind));
                self.forms.insert(key, (id, kind, block));
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

    /// Marks a block as counted by this evaluation and returns whether it was not counted before.
    pub(super) fn is_first(&mut self, block: usize) -> bool {
        let epoch = self.epoch;
        let block = self.blocks.get_mut(block);
        block.is_some_and(|block| core::mem::replace(&mut block.counted, epoch) != epoch)
    }

    /// Returns the block that contains the operation at `at`, and its index in the block.
    pub(super) fn block_at(&self, at: usize) -> Option<(usize, usize)> {
        let after = self.starts.partition_point(|(start, _)| *start <= at);
        let (start, block) = *self.starts.get(after.checked_sub(1)?)?;
        let op = at - start;
        let code = self.blocks.get(block)?.code?;
        (op < code.len).then_some((block, op))
    }

    /// Records that an expression will not be evaluated again, so its memory here is no longer
    /// useful. Discards everything if such memory exceeds the rest.
    pub(super) fn count_dropped(&mut self, expr: &Expr) {
        let Expr::List(list) = expr else {
            return;
        };
        let block = self
            .index
            .get(&key(list, BlockKind::List))
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

    /// Discards everything if it takes more than `max_bytes`.
    pub(super) fn trim(&mut self, max_bytes: u64) {
        if self.bytes > max_bytes {
            self.forget();
        }
    }

    /// Discards everything except the names of host functions, and keeps some capacity.
    pub(super) fn forget(&mut self) {
        self.ops.clear();
        self.constants.clear();
        self.blocks.clear();
        self.programs.clear();
        self.starts.clear();
        shrink(&mut self.ops, RETAINED_CAPACITY);
        shrink(&mut self.constants, RETAINED_CAPACITY);
        shrink(&mut self.blocks, RETAINED_CAPACITY);
        shrink(&mut self.programs, RETAINED_CAPACITY);
        shrink(&mut self.starts, RETAINED_CAPACITY);
        self.symbols = Symbols::default();
        self.index = AddressMap::new();
        self.forms = Forms::default();
        (self.bytes, self.ephemeral) = (0, 0);
    }
}
