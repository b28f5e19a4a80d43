//! Memory cost of expressions, in target-independent constants.
//!
//! The constants are upper bounds for every target. Sizes of types on the current target are not
//! used.

use crate::expr::{AddressMap, Expr, Symbol};
use crate::sorted_map::SortedMap;
use alloc::vec::Vec;

/// Size of a list item and of a value on the evaluator's stack, in bytes.
pub(super) const EXPR_BYTES: u64 = 24;
/// Size of the header of shared data, in bytes.
pub(super) const SHARED_BYTES: u64 = 16;
/// Size of an error without a symbol name in it, in bytes.
pub(super) const ERROR_BYTES: u64 = 192;
/// Maximum size of bytes that an expression stores inline.
pub(super) const INLINE_BYTES: usize = 22;
/// Size of the code of an item, in bytes.
const CODE_BYTES: u64 = 64;
/// Size of a symbol table entry, in bytes.
const TABLE_BYTES: u64 = 128;

/// Size of a list with all shared parts written out.
///
/// Shared parts are counted each time because the same list can come from source text, which shares
/// nothing, or from atoms, which do: the count must not depend on the origin.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Weight {
    /// Size of its items, in bytes.
    pub(super) bytes: u64,
    /// Number of items that can become code. A list that contains only bytes counts as one.
    pub(super) items: u64,
    /// Number of distinct symbols.
    names: u64,
}

impl Weight {
    /// Returns the size of its code, in bytes.
    pub(super) const fn code_bytes(self) -> u64 {
        let code = self.items.saturating_mul(CODE_BYTES);
        code.saturating_add(self.names.saturating_mul(TABLE_BYTES))
    }
}

/// Computes the weight of a list; `None` if the list or its code exceeds `max_bytes`.
pub(super) fn weigh(list: &[Expr], max_bytes: u64) -> Option<Weight> {
    let mut weight = Weight::default();
    // A map like that of the symbol table: a set would be another type of map, and more code.
    let mut names: SortedMap<Symbol, usize> = SortedMap::new();
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
                    if names.get(symbol).is_none() {
                        names.insert(symbol.clone(), 0);
                        weight.names += 1;
                    }
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

/// Returns the size of a symbol, in bytes.
fn symbol_bytes(symbol: &Symbol) -> u64 {
    SHARED_BYTES + symbol.len() as u64
}

/// Counter of live values: a list or a long byte string counts once, however often it is reachable,
/// and a symbol counts each time it occurs.
#[derive(Default)]
pub(super) struct Scale {
    seen: AddressMap,
    bytes: u64,
}

impl Scale {
    /// Marks values that the program did not create, so that they are not counted.
    pub(super) fn except(&mut self, exprs: &mut dyn Iterator<Item = &Expr>) {
        let bytes = self.bytes;
        self.add(exprs);
        self.bytes = bytes;
    }

    /// Counts values. The iterator is dynamic, so that there is one copy of the code.
    pub(super) fn add(&mut self, exprs: &mut dyn Iterator<Item = &Expr>) {
        let mut pending: Vec<&Expr> = Vec::new();
        for expr in exprs {
            pending.push(expr);
            while let Some(expr) = pending.pop() {
                match expr {
                    Expr::List(items) if !items.is_empty() => {
                        if self.seen.insert((items.as_ptr().addr(), 0), 0).is_none() {
                            let items_bytes = EXPR_BYTES.saturating_mul(items.len() as u64);
                            self.count(SHARED_BYTES.saturating_add(items_bytes));
                            pending.extend(items.iter());
                        }
                    }
                    Expr::Bytes(value) if value.len() > INLINE_BYTES => {
                        if self.seen.insert((value.as_ptr().addr(), 0), 0).is_none() {
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

    /// Returns the number of counted bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Returns whether a value, with all shared parts written out, takes at most `max_bytes`.
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
