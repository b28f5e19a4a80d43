//! Names as numbers, and what each is bound to at this moment.
//!
//! A function sees the bindings of whoever calls it, so at any moment a name has exactly one value
//! that counts. It stands in the name's slot; opening a scope puts the parameters' old values
//! aside, closing it puts them back.

use super::Env;
use crate::expr::{Expr, Symbol};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What a name is bound to.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) value: Option<Expr>,
    /// Whether `value` is what the name means; if not, the environment is still to be asked.
    known: bool,
    pub(super) callee: Callee,
}

/// What calling a value means, as far as it was looked into.
#[derive(Clone, Copy, Default)]
pub(super) enum Callee {
    #[default]
    Unknown,
    /// It is no form.
    None,
    /// A function, in this block.
    Function(usize),
    /// A stack program, in this block for this many arguments.
    Stack { block: usize, count: usize },
}

/// All names of the code.
#[derive(Default)]
pub(super) struct Names {
    numbers: BTreeMap<Symbol, usize>,
    symbols: Vec<Symbol>,
    slots: Vec<Slot>,
    /// Slots that an environment filled.
    filled: Vec<usize>,
    /// Values that inner scopes hide, the innermost last.
    hidden: Vec<(usize, Slot)>,
}

impl Names {
    /// The number of a name.
    pub(super) fn number(&mut self, name: &Symbol) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.symbols.len();
        self.numbers.insert(name.clone(), number);
        self.symbols.push(name.clone());
        self.slots.push(Slot::default());
        number
    }

    pub(super) fn len(&self) -> usize {
        self.symbols.len()
    }

    pub(super) fn symbol(&self, number: usize) -> Option<&Symbol> {
        self.symbols.get(number)
    }

    /// The name's slot, filled from `env` if it was not asked before.
    #[inline]
    pub(super) fn slot(&mut self, number: usize, env: &Env) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(number)?;
        if !slot.known {
            slot.known = true;
            slot.value = self
                .symbols
                .get(number)
                .and_then(|name| env.get(name))
                .cloned();
            slot.callee = Callee::Unknown;
            self.filled.push(number);
        }
        Some(slot)
    }

    /// Gives a name a value until the scope is left.
    #[inline]
    pub(super) fn bind(&mut self, number: usize, value: Expr) {
        if let Some(slot) = self.slots.get_mut(number) {
            let bound = Slot {
                value: Some(value),
                known: true,
                callee: Callee::Unknown,
            };
            self.hidden.push((number, core::mem::replace(slot, bound)));
        }
    }

    /// Gives a name a value outside of all scopes.
    pub(super) fn bind_global(&mut self, number: usize, value: Expr, env: &mut Env) {
        if let (Some(symbol), Some(slot)) = (self.symbols.get(number), self.slots.get_mut(number)) {
            if !slot.known {
                self.filled.push(number);
            }
            *slot = Slot {
                value: Some(value.clone()),
                known: true,
                callee: Callee::Unknown,
            };
            env.bind(symbol.clone(), value);
        }
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

    /// Forgets all values.
    pub(super) fn forget_values(&mut self) {
        self.unwind(0);
        for number in self.filled.drain(..) {
            if let Some(slot) = self.slots.get_mut(number) {
                *slot = Slot::default();
            }
        }
    }

    /// All values that are bound, hidden ones too.
    pub(super) fn values(&self) -> impl Iterator<Item = &Expr> {
        let hidden = self.hidden.iter().map(|(_, slot)| slot);
        let slots = self.slots.iter().chain(hidden);
        slots.filter_map(|slot| slot.value.as_ref())
    }
}
