//! Environments: bindings of names to values in nested scopes.

use crate::arc::Arc;
use crate::expr::{Expr, Symbol};
use crate::sorted_map::SortedMap;
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
    bindings: SortedMap<Symbol, Expr>,
    parent: Option<Arc<Self>>,
}

impl Env {
    /// Creates an environment without bindings and without a parent.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bindings: SortedMap::new(),
            parent: None,
        }
    }

    /// Creates an empty environment inside `parent`, which any number of environments can share.
    #[must_use]
    pub const fn with_parent(parent: Arc<Self>) -> Self {
        Self {
            bindings: SortedMap::new(),
            parent: Some(parent),
        }
    }

    /// Returns the value that `name` is bound to, here or in the nearest parent that binds it.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Machine}};
    /// let mut env = Env::new();
    /// Machine::new(NoStore).eval_source("(42 answer def)", &mut env);
    /// assert_eq!(env.get("answer"), Some(&Expr::integer(42)));
    /// assert_eq!(env.get("question"), None);
    /// ```
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

    /// Binds `name` in this scope and returns its previous value in this scope.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Machine}};
    /// let mut env = Env::new();
    /// assert_eq!(env.set("x", Expr::integer(1)), None);
    /// assert_eq!(env.set("x", Expr::integer(2)), Some(Expr::integer(1)));
    /// let evaluation = Machine::new(NoStore).eval_source("(x x)", &mut env);
    /// assert_eq!(evaluation.value().to_string(), "(2 2)");
    /// ```
    pub fn set(&mut self, name: &str, value: Expr) -> Option<Expr> {
        self.bind(Symbol::new(name), value)
    }

    /// Does the same as [`Env::set`] with a [`Symbol`] as the name.
    pub fn bind(&mut self, name: Symbol, value: Expr) -> Option<Expr> {
        self.bindings.insert(name, value)
    }

    /// Removes the binding of `name` from this scope and returns its value.
    ///
    /// ```
    /// use astreum_core::{expr::Expr, machine::Env};
    /// let mut env = Env::new();
    /// env.set("x", Expr::integer(1));
    /// assert_eq!(env.remove("x"), Some(Expr::integer(1)));
    /// assert_eq!(env.get("x"), None);
    /// ```
    pub fn remove(&mut self, name: &str) -> Option<Expr> {
        self.bindings.remove(name)
    }

    /// Returns the bindings of this environment and its parents, innermost first.
    pub(super) fn scopes(&self) -> Vec<&SortedMap<Symbol, Expr>> {
        let mut scopes = Vec::from([&self.bindings]);
        let mut parent = self.parent.as_deref();
        while let Some(env) = parent {
            scopes.push(&env.bindings);
            parent = env.parent.as_deref();
        }
        scopes
    }

    /// Returns the bindings of this scope in the order of their names.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine}};
    /// let mut env = Env::new();
    /// Machine::new(NoStore).eval_all("(2 b def) (1 a def)", &mut env)?;
    /// let bound: Vec<_> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    /// assert_eq!(bound, ["a=1", "b=2"]);
    /// # Ok::<(), astreum_core::text::ParseError>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Expr)> {
        self.bindings
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }
}

/// Drops unshared parents in a loop, so that deeply nested scopes do not use the host stack.
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
    fn nearest_binding_wins_and_the_parent_is_unchanged() {
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
    fn million_parent_scopes_drop_on_a_small_stack() {
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
