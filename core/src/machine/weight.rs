//! What expressions take in memory, counted in constants.
//!
//! The constants are upper bounds for every target; nothing is counted by what a type takes on one
//! of them.

use crate::expr::{Expr, Symbol};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Bytes that an item of a list takes, and a value on the evaluator's stack.
pub(super) const EXPR_BYTES: u64 = 24;
/// Bytes that stand before shared data.
pub(super) const SHARED_BYTES: u64 = 16;
/// Bytes that an error takes, beside a name in it.
pub(super) const ERROR_BYTES: u64 = 192;
/// The longest bytes that an expression holds in place.
pub(super) const INLINE_BYTES: usize = 22;
/// Bytes that the code of an item takes.
const CODE_BYTES: u64 = 64;
/// Bytes that a name takes in the symbol table.
const TABLE_BYTES: u64 = 128;

/// Size of a list when everything that it shares is written out.
///
/// Written out, because the same list can come from a source text, which shares nothing, and from
/// atoms, which do: what an evaluation counts must not depend on that.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Weight {
    /// Bytes of its items.
    pub(super) bytes: u64,
    /// Items that can become code. A list of nothing but bytes is one of them.
    pub(super) items: u64,
    /// Different names of its symbols.
    names: u64,
}

impl Weight {
    /// Bytes that its code takes.
    pub(super) const fn code_bytes(self) -> u64 {
        let code = self.items.saturating_mul(CODE_BYTES);
        code.saturating_add(self.names.saturating_mul(TABLE_BYTES))
    }
}

/// What a list takes; `None` if it or its code takes more than `max_bytes`.
pub(super) fn weigh(list: &[Expr], max_bytes: u64) -> Option<Weight> {
    let mut weight = Weight::default();
    let mut names = BTreeSet::new();
    let mut pending = Vec::from([list]);
    while let Some(list) = pending.pop() {
        let items = list.len() as u64;
        weight.bytes = weight
            .bytes
            .saturating_add(SHARED_BYTES + EXPR_BYTES.saturating_mul(items));
        let mut is_data = true;
        for item in list {
            match item {
                Expr::Bytes(bytes) if bytes.len() > INLINE_BYTES => {
                    weight.bytes = weight
                        .bytes
                        .saturating_add(SHARED_BYTES + bytes.len() as u64);
                }
                Expr::Bytes(_) => {}
                Expr::Symbol(symbol) => {
                    is_data = false;
                    weight.names += u64::from(names.insert(symbol.as_str()));
                    weight.bytes = weight.bytes.saturating_add(symbol_bytes(symbol));
                }
                Expr::List(inner) => {
                    is_data = false;
                    pending.push(inner);
                }
            }
        }
        weight.items += if is_data { 1 } else { 1 + items };
        if weight.bytes.max(weight.code_bytes()) > max_bytes {
            return None;
        }
    }
    Some(weight)
}

/// Bytes that a name takes.
fn symbol_bytes(symbol: &Symbol) -> u64 {
    SHARED_BYTES + symbol.len() as u64
}

/// Counts the values that are alive: a list or long bytes once, however often they are reached,
/// a name where it occurs.
#[derive(Default)]
pub(super) struct Scale {
    seen: BTreeSet<usize>,
    bytes: u64,
}

impl Scale {
    /// Notes values that the program did not make, so that they count nothing.
    pub(super) fn except<'e>(&mut self, exprs: impl Iterator<Item = &'e Expr>) {
        let bytes = self.bytes;
        self.add(exprs);
        self.bytes = bytes;
    }

    /// Counts values.
    pub(super) fn add<'e>(&mut self, exprs: impl Iterator<Item = &'e Expr>) {
        let mut pending: Vec<&Expr> = Vec::new();
        for expr in exprs {
            pending.push(expr);
            while let Some(expr) = pending.pop() {
                match expr {
                    Expr::List(items) if !items.is_empty() => {
                        if self.seen.insert(items.as_ptr().addr()) {
                            let items_bytes = EXPR_BYTES.saturating_mul(items.len() as u64);
                            self.count(SHARED_BYTES.saturating_add(items_bytes));
                            pending.extend(items.iter());
                        }
                    }
                    Expr::Bytes(value) if value.len() > INLINE_BYTES => {
                        if self.seen.insert(value.as_ptr().addr()) {
                            self.count(SHARED_BYTES + value.len() as u64);
                        }
                    }
                    Expr::Symbol(symbol) => self.count(symbol_bytes(symbol)),
                    Expr::List(_) | Expr::Bytes(_) => {}
                }
            }
        }
    }

    fn count(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Bytes that were counted.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Whether a value takes at most `max_bytes` when everything that it shares is written out.
pub(super) fn fits(value: &Expr, max_bytes: u64) -> bool {
    let mut left = max_bytes;
    let mut pending = Vec::new();
    let mut next = Some(value);
    while let Some(expr) = next {
        let outside = match expr {
            Expr::Symbol(name) => name.len(),
            Expr::Bytes(bytes) => bytes.len(),
            Expr::List(items) => {
                pending.extend(items.iter());
                0
            }
        };
        match left.checked_sub(EXPR_BYTES.saturating_add(outside as u64)) {
            Some(rest) => left = rest,
            None => return false,
        }
        next = pending.pop();
    }
    true
}
