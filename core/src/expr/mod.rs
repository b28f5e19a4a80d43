//! Expressions: a symbol, bytes, or a list of expressions.
//!
//! Invariants:
//! - An [`Expr`] is 24 bytes and cheap to clone: long data and lists are shared, never copied.
//! - Nothing here recurses on the host stack, however deep a tree is nested: dropping, comparing
//!   and everything built on them keep their own work lists.

mod bytes;
mod list;

pub use bytes::Bytes;
pub use list::List;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::ops::Deref;

/// The first item of an error value, `(error topic message)`.
pub const ERROR_SYMBOL: &str = "error";

/// A name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// The symbol with this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Symbol {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Symbol {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// An expression, which is also what evaluating one gives.
#[derive(Clone)]
pub enum Expr {
    /// A name.
    Symbol(Symbol),
    /// A value.
    Bytes(Bytes),
    /// Expressions in order.
    List(List),
}

impl Expr {
    /// A symbol.
    #[must_use]
    pub fn symbol(name: &str) -> Self {
        Self::Symbol(Symbol::new(name))
    }

    /// A value; copies `value`.
    #[must_use]
    pub fn bytes(value: impl AsRef<[u8]>) -> Self {
        Self::Bytes(Bytes::new(value.as_ref()))
    }

    /// A list.
    #[must_use]
    pub fn list(items: impl Into<List>) -> Self {
        Self::List(items.into())
    }

    /// An error value: `(error topic message)`, both texts as bytes.
    #[must_use]
    pub fn error(topic: &str, message: &str) -> Self {
        let items = [
            Self::symbol(ERROR_SYMBOL),
            Self::bytes(topic),
            Self::bytes(message),
        ];
        Self::list(Vec::from(items))
    }

    /// Whether this is an error value: a list that starts with the symbol `error`.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.as_list()
            .and_then(<[Self]>::first)
            .and_then(Self::as_symbol)
            == Some(ERROR_SYMBOL)
    }

    /// The name, if this is a symbol.
    #[must_use]
    pub fn as_symbol(&self) -> Option<&str> {
        match self {
            Self::Symbol(symbol) => Some(symbol),
            _ => None,
        }
    }

    /// The value, if these are bytes.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The items, if this is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }
}

impl From<Symbol> for Expr {
    fn from(symbol: Symbol) -> Self {
        Self::Symbol(symbol)
    }
}

impl From<Bytes> for Expr {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<List> for Expr {
    fn from(list: List) -> Self {
        Self::List(list)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        let mut pending = Vec::new();
        let mut pair = Some((self, other));
        while let Some((left, right)) = pair {
            match (left, right) {
                (Self::Symbol(a), Self::Symbol(b)) if a == b => {}
                (Self::Bytes(a), Self::Bytes(b)) if a == b => {}
                (Self::List(a), Self::List(b)) if a.is_same(b) => {}
                (Self::List(a), Self::List(b)) if a.len() == b.len() => {
                    pending.extend(a.iter().zip(b.iter()));
                }
                _ => return false,
            }
            pair = pending.pop();
        }
        true
    }
}

impl Eq for Expr {}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize, innermost: Expr) -> Expr {
        (0..depth).fold(innermost, |inner, _| Expr::list(alloc::vec![inner]))
    }

    #[test]
    fn an_expression_is_24_bytes() {
        assert_eq!(size_of::<Expr>(), 24);
        assert_eq!(size_of::<Option<Expr>>(), 24);
    }

    #[test]
    fn a_million_nested_lists_compare_and_drop_on_a_small_stack() {
        let work = || {
            let deep = nested(1_000_000, Expr::bytes([1]));
            assert!(deep == nested(1_000_000, Expr::bytes([1])));
            assert!(deep != nested(1_000_000, Expr::bytes([2])));
            let shared = deep.clone();
            drop(deep);
            drop(shared);
        };
        std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(work)
            .unwrap()
            .join()
            .unwrap();
    }

    #[test]
    fn errors_are_lists_that_start_with_the_error_symbol() {
        assert!(Expr::error("eval", "arity mismatch").is_error());
        assert!(Expr::list(alloc::vec![Expr::symbol("error")]).is_error());
        assert!(!Expr::list(alloc::vec![Expr::bytes("error")]).is_error());
        assert!(!Expr::list(alloc::vec![]).is_error());
        assert!(!Expr::symbol("error").is_error());
    }
}
