//! Interned symbol table: symbols as numbers, with their current bindings.
//!
//! A function sees the bindings of its caller, so at any time a symbol has exactly one effective
//! value. It is in the symbol's slot. Opening a scope saves the old values of the parameters, and
//! closing it restores them.

use super::Env;
use crate::expr::{Expr, Symbol};
use crate::sorted_map::SortedMap;
use alloc::vec::Vec;

/// Binding of a symbol.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) value: Option<Expr>,
    /// Set if `value` is the binding; otherwise the environment has not been read yet.
    pub(super) known: bool,
    /// Set if the value comes from the environment.
    pub(super) given: bool,
    pub(super) callee: Callee,
}

/// Target of a call of a value, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Callee {
    #[default]
    Unknown,
    /// The value is not a special form.
    None,
    /// Function, in this block.
    Function(usize),
    /// Stack program, in this block for this many arguments.
    Stack { block: usize, count: usize },
}

/// All symbols of the code.
#[derive(Default)]
pub(super) struct Symbols {
    numbers: SortedMap<Symbol, usize>,
    symbols: Vec<Symbol>,
    slots: Vec<Slot>,
    /// Slots to clear after the evaluation.
    filled: Vec<usize>,
    /// Values that inner scopes hide, the innermost last.
    hidden: Vec<(usize, Slot)>,
}

impl Symbols {
    /// Returns the number of a symbol; adds the symbol if it is new.
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

    /// Returns the symbol's slot, filled from `env` on first use.
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

    /// Binds a symbol to a value until the scope is left.
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

    /// Binds a symbol to a value outside of all scopes. Returns the previous value if it came from
    /// the environment.
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

    /// Returns the number of hidden values, which marks the start of a scope.
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

    /// Clears all values and keeps capacity for `kept` of them.
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

    /// Returns all bound values, including hidden ones.
    pub(super) fn values(&self) -> impl Iterator<Item = &Expr> {
        let hidden = self.hidden.iter().map(|(_, slot)| slot);
        let slots = self.slots.iter().chain(hidden);
        slots.filter_map(|slot| slot.value.as_ref())
    }

    /// Returns the values that come from the environment.
    pub(super) fn given(&self) -> impl Iterator<Item = &Expr> {
        let hidden = self.hidden.iter().map(|(_, slot)| slot);
        let given = self.slots.iter().chain(hidden).filter(|slot| slot.given);
        given.filter_map(|slot| slot.value.as_ref())
    }

    /// Returns the bindings that scopes hide, the outermost first.
    pub(super) fn hidden(&self) -> &[(usize, Slot)] {
        &self.hidden
    }

    /// Returns the bindings that did not come from the environment, only the innermost of each
    /// symbol, in symbol order.
    pub(super) fn made(&self) -> impl Iterator<Item = (&Symbol, &Slot)> {
        self.bound().filter(|(_, slot)| !slot.given)
    }

    /// Returns the bindings that come from the environment and have been called, in symbol order.
    pub(super) fn called(&self) -> impl Iterator<Item = (&Symbol, Callee)> {
        let called = |callee| matches!(callee, Callee::Function(_) | Callee::Stack { .. });
        self.bound()
            .filter(move |(_, slot)| slot.given && called(slot.callee))
            .map(|(symbol, slot)| (symbol, slot.callee))
    }

    fn bound(&self) -> impl Iterator<Item = (&Symbol, &Slot)> {
        let slot = |number: &usize| self.slots.get(*number).filter(|slot| slot.known);
        self.numbers
            .iter()
            .filter_map(move |(symbol, number)| Some((symbol, slot(number)?)))
    }

    /// Restores a binding that [`Symbols::hidden`] returned.
    pub(super) fn restore_hidden(&mut self, number: usize, slot: Slot) {
        self.filled.push(number);
        self.hidden.push((number, slot));
    }

    /// Restores a binding that [`Symbols::made`] returned.
    pub(super) fn restore_made(&mut self, number: usize, value: Option<Expr>, callee: Callee) {
        if let Some(slot) = self.slots.get_mut(number) {
            self.filled.push(number);
            *slot = Slot {
                value,
                known: true,
                given: false,
                callee,
            };
        }
    }

    /// Restores a binding that [`Symbols::called`] returned.
    pub(super) fn restore_called(&mut self, number: usize, callee: Callee, env: &Env) {
        if let Some(slot) = self.slot(number, env).filter(|slot| slot.given) {
            slot.callee = callee;
        }
    }
}

/// Releases memory of an empty vector that has capacity for more than `kept` items.
pub(super) fn shrink<T>(items: &mut Vec<T>, kept: usize) {
    if items.capacity() > kept {
        items.shrink_to(kept);
    }
}
