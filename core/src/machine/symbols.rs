//! Symbol table: symbols as numbers, and what each is bound to at this moment.
//!
//! A function sees the bindings of its caller, so at any moment a symbol has exactly one value
//! that counts. It stands in the symbol's slot; opening a scope puts the parameters' old values
//! aside, closing it puts them back.

use super::Env;
use crate::expr::{Expr, Symbol};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The binding of a symbol.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) value: Option<Expr>,
    /// Whether `value` is the binding; if not, the environment is still to be asked.
    pub(super) known: bool,
    /// Whether the environment gave it.
    pub(super) given: bool,
    pub(super) callee: Callee,
}

/// What calling a value means, as far as that was looked into.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Callee {
    #[default]
    Unknown,
    /// It is not a form.
    None,
    /// A function, in this block.
    Function(usize),
    /// A stack program, in this block for this many arguments.
    Stack { block: usize, count: usize },
}

/// All symbols of the code.
#[derive(Default)]
pub(super) struct Symbols {
    numbers: BTreeMap<Symbol, usize>,
    symbols: Vec<Symbol>,
    slots: Vec<Slot>,
    /// Slots that an environment filled.
    filled: Vec<usize>,
    /// Values that inner scopes hide, the innermost last.
    hidden: Vec<(usize, Slot)>,
}

impl Symbols {
    /// The number of a symbol.
    pub(super) fn number(&mut self, symbol: &Symbol) -> usize {
        if let Some(number) = self.numbers.get(symbol) {
            return *number;
        }
        let number = self.symbols.len();
        self.numbers.insert(symbol.clone(), number);
        self.symbols.push(symbol.clone());
        self.slots.push(Slot::default());
        number
    }

    pub(super) fn symbol(&self, number: usize) -> Option<&Symbol> {
        self.symbols.get(number)
    }

    /// The symbol's slot, filled from `env` if it was not asked before.
    #[inline]
    pub(super) fn slot(&mut self, number: usize, env: &Env) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(number)?;
        if !slot.known {
            slot.known = true;
            slot.given = true;
            slot.value = self
                .symbols
                .get(number)
                .and_then(|symbol| env.get(symbol))
                .cloned();
            slot.callee = Callee::Unknown;
            self.filled.push(number);
        }
        Some(slot)
    }

    /// Gives a symbol a value until the scope is left.
    #[inline]
    pub(super) fn bind(&mut self, number: usize, value: Expr) {
        if let Some(slot) = self.slots.get_mut(number) {
            let bound = Slot {
                value: Some(value),
                known: true,
                given: false,
                callee: Callee::Unknown,
            };
            self.hidden.push((number, core::mem::replace(slot, bound)));
        }
    }

    /// Gives a symbol a value outside of all scopes. Returns the value that the environment gave it
    /// before.
    pub(super) fn bind_global(
        &mut self,
        number: usize,
        value: Expr,
        env: &mut Env,
    ) -> Option<Expr> {
        let (symbol, slot) = (self.symbols.get(number)?, self.slots.get_mut(number)?);
        if !slot.known {
            self.filled.push(number);
        }
        let bound = Slot {
            value: Some(value.clone()),
            known: true,
            given: false,
            callee: Callee::Unknown,
        };
        let old = core::mem::replace(slot, bound);
        env.bind(symbol.clone(), value);
        old.value.filter(|_| old.given)
    }

    /// How many values are hidden: where a scope starts.
    #[inline]
    pub(super) fn mark(&self) -> usize {
        self.hidden.len()
    }

    /// Leaves the scope that started at `mark`.
    #[inline]
    pub(super) fn unwind(&mut self, mark: usize) {
        while self.hidden.len() > mark {
            if let Some((number, slot)) = self.hidden.pop()
                && let Some(place) = self.slots.get_mut(number)
            {
                *place = slot;
            }
        }
    }

    /// Forgets all values, and keeps room for `kept` of them.
    pub(super) fn forget_values(&mut self, kept: usize) {
        self.unwind(0);
        for number in self.filled.drain(..) {
            if let Some(slot) = self.slots.get_mut(number) {
                *slot = Slot::default();
            }
        }
        shrink(&mut self.hidden, kept);
        shrink(&mut self.filled, kept);
    }

    /// All values that are bound, hidden ones too.
    pub(super) fn values(&self) -> impl Iterator<Item = &Expr> {
        let hidden = self.hidden.iter().map(|(_, slot)| slot);
        let slots = self.slots.iter().chain(hidden);
        slots.filter_map(|slot| slot.value.as_ref())
    }

    /// The values that the environment gave.
    pub(super) fn given(&self) -> impl Iterator<Item = &Expr> {
        let hidden = self.hidden.iter().map(|(_, slot)| slot);
        let given = self.slots.iter().chain(hidden).filter(|slot| slot.given);
        given.filter_map(|slot| slot.value.as_ref())
    }

    /// Bindings that scopes hide, the outermost first.
    pub(super) fn hidden(&self) -> &[(usize, Slot)] {
        &self.hidden
    }

    /// Bindings that did not come from the environment, the innermost of each symbol, in the order
    /// of the symbols.
    pub(super) fn made(&self) -> impl Iterator<Item = (&Symbol, Option<&Expr>)> {
        self.numbers.iter().filter_map(|(symbol, number)| {
            let slot = self.slots.get(*number)?;
            (slot.known && !slot.given).then_some((symbol, slot.value.as_ref()))
        })
    }

    /// Puts a binding back that [`Symbols::hidden`] listed.
    pub(super) fn restore_hidden(
        &mut self,
        number: usize,
        known: bool,
        given: bool,
        value: Option<Expr>,
    ) {
        let slot = Slot {
            value,
            known,
            given,
            callee: Callee::Unknown,
        };
        self.filled.push(number);
        self.hidden.push((number, slot));
    }

    /// Puts a binding back that [`Symbols::made`] listed.
    pub(super) fn restore_made(&mut self, number: usize, value: Option<Expr>) {
        if let Some(slot) = self.slots.get_mut(number) {
            self.filled.push(number);
            *slot = Slot {
                value,
                known: true,
                given: false,
                callee: Callee::Unknown,
            };
        }
    }
}

/// Gives back memory of an empty vector that has room for more than `kept` items.
pub(super) fn shrink<T>(items: &mut Vec<T>, kept: usize) {
    if items.capacity() > kept {
        items.shrink_to(kept);
    }
}
