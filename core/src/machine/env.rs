//! Environments: bindings of names to values, one scope inside another.

use crate::expr::{Expr, Symbol};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Names and their values. A name that is not bound here is looked up in the parent.
///
/// ```
/// use astreum_core::{expr::Expr, machine::Env};
/// use std::sync::Arc;
///
/// let mut library = Env::new();
/// library.set("one", Expr::bytes([1]));
/// let mut session = Env::with_parent(Arc::new(library));
/// session.set("two", Expr::bytes([2]));
/// assert!(session.get("one") == Some(&Expr::bytes([1])));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Env {
    bindings: BTreeMap<Symbol, Expr>,
    parent: Option<Arc<Self>>,
}

impl Env {
    /// An environment without bindings and without a parent.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bindings: BTreeMap::new(),
            parent: None,
        }
    }

    /// An empty environment inside `parent`, which any number of others can share.
    #[must_use]
    pub const fn with_parent(parent: Arc<Self>) -> Self {
        Self {
            bindings: BTreeMap::new(),
            parent: Some(parent),
        }
    }

    /// The value that `name` is bound to, here or in the nearest parent that binds it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Expr> {
        let mut scope = Some(self);
        while let Some(env) = scope {
            if let Some(value) = env.bindings.get(name) {
                return Some(value);
            }
            scope = env.parent.as_deref();
        }
        None
    }

    /// Binds `name` here and returns the value that it was bound to here before.
    pub fn set(&mut self, name: &str, value: Expr) -> Option<Expr> {
        self.bind(Symbol::new(name), value)
    }

    /// As [`Env::set`], with a name that is a symbol already.
    pub fn bind(&mut self, name: Symbol, value: Expr) -> Option<Expr> {
        self.bindings.insert(name, value)
    }

    /// Removes the binding of `name` that is made here.
    pub fn remove(&mut self, name: &str) -> Option<Expr> {
        self.bindings.remove(name)
    }

    /// The bindings of this environment and its parents, innermost first.
    pub(super) fn scopes(&self) -> Vec<&BTreeMap<Symbol, Expr>> {
        let mut scopes = Vec::from([&self.bindings]);
        let mut parent = self.parent.as_deref();
        while let Some(env) = parent {
            scopes.push(&env.bindings);
            parent = env.parent.as_deref();
        }
        scopes
    }

    /// The bindings that are made here, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Expr)> {
        self.bindings
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }
}

/// Parents that only this one holds are dropped in a loop: a long chain needs no host stack.
impl Drop for Env {
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut env) = parent.and_then(Arc::into_inner) {
            parent = env.parent.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_binding_wins_and_the_parent_stays_as_it_is() {
        let mut outer = Env::new();
        outer.set("a", Expr::bytes([1]));
        let outer = Arc::new(outer);
        let mut inner = Env::with_parent(Arc::clone(&outer));
        assert!(inner.set("a", Expr::bytes([2])).is_none());
        assert!(inner.get("a") == Some(&Expr::bytes([2])));
        assert!(inner.remove("a") == Some(Expr::bytes([2])));
        assert!(inner.get("a") == Some(&Expr::bytes([1])));
        assert!(outer.get("b").is_none());
        assert_eq!((outer.iter().count(), inner.iter().count()), (1, 0));
    }

    #[test]
    fn a_million_parents_drop_on_a_small_stack() {
        let work = || {
            let chain = (0..1_000_000).fold(Env::new(), |env, _| Env::with_parent(Arc::new(env)));
            drop(chain);
        };
        std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(work)
            .unwrap()
            .join()
            .unwrap();
    }
}
