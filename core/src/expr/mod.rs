//! Expressions: symbols, byte strings and lists of expressions.
//!
//! Invariants:
//! - An [`Expr`] is 24 bytes and cheap to clone: long data and lists are shared, never copied.
//! - Nothing here recurses on the host stack, however deep a tree is nested: dropping, comparing,
//!   traversing ([`Expr::visit`]), building ([`Builder`]), ids and atom forms use explicit work
//!   lists.
//! - A list may occur several times in one expression and be in memory once. Ids, comparison and
//!   [`Expr::write_atoms`] visit such a list once. Operations whose cost is inherently that of the
//!   written-out expression ([`Expr::visit`], [`Expr::to_atoms`], printing) document it.

mod address_map;
mod atoms;
mod bytes;
mod decode;
mod integer;
mod list;
mod visit;

pub(crate) use integer::{is_minimal, minimal, signed};

pub use bytes::Bytes;
pub use decode::ExprError;
pub use list::List;
pub use visit::{Builder, Visit, Visits};

pub(crate) use address_map::AddressMap;

use crate::arc::Arc;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::ops::Deref;

/// First item of an error value, `(error topic message)`.
pub const ERROR_SYMBOL: &str = "error";

/// Symbol: a name.
///
/// ```
/// use astreum_core::expr::Symbol;
/// let symbol = Symbol::new("add");
/// assert_eq!(symbol.as_str(), "add");
/// assert_eq!(symbol, Symbol::from("add"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// Creates the symbol with this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the name.
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

impl AsRef<str> for Symbol {
    fn as_ref(&self) -> &str {
        self
    }
}

impl From<&str> for Symbol {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Expression; also the result of an evaluation.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::expr::Expr;
///
/// let expr = Expr::list([Expr::symbol("add"), Expr::bytes([2]), Expr::list([])]);
/// assert_eq!(expr.to_string(), "(add 2 ())");
///
/// // Its atoms are kept under their ids, and the first id stands for all of them.
/// let (id, atoms) = expr.to_atoms();
/// assert_eq!(id, expr.id());
/// let store: MemoryStore = atoms.into_iter().collect();
/// assert!(Expr::from_atoms(&store, &id, 10).is_ok_and(|read| read == expr));
/// ```
#[derive(Clone)]
pub enum Expr {
    /// A name.
    Symbol(Symbol),
    /// A byte string.
    Bytes(Bytes),
    /// A sequence of expressions.
    List(List),
}

impl Expr {
    /// Creates a symbol.
    ///
    /// ```
    /// use astreum_core::expr::Expr;
    /// assert_eq!(Expr::symbol("add").as_symbol(), Some("add"));
    /// ```
    #[must_use]
    pub fn symbol(name: &str) -> Self {
        Self::Symbol(Symbol::new(name))
    }

    /// Creates a byte string; copies `value`.
    ///
    /// ```
    /// use astreum_core::expr::Expr;
    /// assert_eq!(Expr::bytes("abc").as_bytes(), Some(b"abc".as_slice()));
    /// assert_eq!(Expr::bytes([1, 2]), Expr::bytes(vec![1, 2]));
    /// ```
    #[must_use]
    pub fn bytes(value: impl AsRef<[u8]>) -> Self {
        Self::Bytes(Bytes::new(value.as_ref()))
    }

    /// Creates a list.
    ///
    /// ```
    /// use astreum_core::expr::Expr;
    /// let sum = Expr::list([Expr::integer(1), Expr::integer(2), Expr::symbol("add")]);
    /// assert_eq!(sum.to_string(), "(1 2 add)");
    /// assert_eq!(Expr::list([]).to_string(), "()");
    /// ```
    #[must_use]
    pub fn list(items: impl Into<List>) -> Self {
        Self::List(items.into())
    }

    /// Creates an error value, `(error topic message)`, with both texts as bytes.
    ///
    /// ```
    /// use astreum_core::expr::Expr;
    /// let error = Expr::error("wallet", "not enough");
    /// assert_eq!(error.to_string(), "error wallet: not enough");
    /// assert_eq!(error.as_list().map(<[Expr]>::len), Some(3));
    /// ```
    #[must_use]
    pub fn error(topic: &str, message: &str) -> Self {
        let items = [
            Self::symbol(ERROR_SYMBOL),
            Self::bytes(topic),
            Self::bytes(message),
        ];
        Self::list(Vec::from(items))
    }

    /// Returns topic and message if this is an error value of the form `(error topic message)`.
    ///
    /// ```
    /// use astreum_core::expr::Expr;
    /// let error = Expr::error("wallet", "not enough");
    /// assert_eq!(error.as_error(), Some((b"wallet".as_slice(), b"not enough".as_slice())));
    /// assert_eq!(Expr::symbol("error").as_error(), None);
    /// ```
    #[must_use]
    pub fn as_error(&self) -> Option<(&[u8], &[u8])> {
        self.as_list().and_then(error_parts)
    }

    /// Returns whether this is an error value: a list that starts with the symbol `error`.
    ///
    /// ```
    /// let expr = |source| astreum_core::text::parse(source).unwrap();
    /// assert!(expr("(error \"eval\" \"arity\")").is_error());
    /// // It may have any other items.
    /// assert!(expr("(error)").is_error() && expr("(error)").as_error().is_none());
    /// assert!(!expr("(errors)").is_error());
    /// ```
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.as_list()
            .and_then(<[Self]>::first)
            .and_then(Self::as_symbol)
            == Some(ERROR_SYMBOL)
    }

    /// Returns the name if this is a symbol.
    #[must_use]
    pub fn as_symbol(&self) -> Option<&str> {
        match self {
            Self::Symbol(symbol) => Some(symbol),
            _ => None,
        }
    }

    /// Returns the bytes if this is a byte string.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns the items if this is a list.
    ///
    /// ```
    /// use astreum_core::expr::Expr;
    /// let pair = Expr::list([Expr::symbol("a"), Expr::symbol("b")]);
    /// assert_eq!(pair.as_list().map(<[Expr]>::len), Some(2));
    /// assert_eq!(Expr::symbol("a").as_list(), None);
    /// ```
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }
}

/// Returns topic and message of the error value with these items.
pub(crate) fn error_parts(items: &[Expr]) -> Option<(&[u8], &[u8])> {
    match items {
        [head, topic, message] if head.as_symbol() == Some(ERROR_SYMBOL) => {
            Some((topic.as_bytes()?, message.as_bytes()?))
        }
        _ => None,
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
        // Pairs of shared lists that have been compared or are in the work list. A difference ends
        // the comparison, so a pair is never compared twice.
        let mut seen = AddressMap::new();
        let mut pair = Some((self, other));
        while let Some((left, right)) = pair {
            match (left, right) {
                (Self::Symbol(a), Self::Symbol(b)) if a == b => {}
                (Self::Bytes(a), Self::Bytes(b)) if a == b => {}
                (Self::List(a), Self::List(b)) if a.is_same(b) => {}
                (Self::List(a), Self::List(b)) if a.len() == b.len() => {
                    let pair = a.shared_key().zip(b.shared_key());
                    if pair.is_none_or(|pair| seen.insert(pair, 0).is_none()) {
                        pending.extend(a.iter().zip(b.iter()));
                    }
                }
                _ => return false,
            }
            pair = pending.pop();
        }
        true
    }
}

impl Eq for Expr {}

/// Formats symbols in quotes, bytes as `0x…` and lists in parentheses: `("a" 0x01 ())`.
impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for step in self.visit() {
            match step {
                Visit::Symbol(symbol) => write!(f, "{space}{:?}", symbol.as_str())?,
                Visit::Bytes(bytes) => write!(f, "{space}{bytes:?}")?,
                Visit::Open(_) => write!(f, "{space}(")?,
                Visit::Close => f.write_str(")")?,
            }
            space = if matches!(step, Visit::Open(_)) {
                ""
            } else {
                " "
            };
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn nested(depth: usize, innermost: Expr) -> Expr {
        (0..depth).fold(innermost, |inner, _| Expr::list(alloc::vec![inner]))
    }

    /// Creates lists that each contain the previous one twice: 2^levels leaves, `levels` lists in
    /// memory.
    pub(crate) fn doubled(levels: usize) -> Expr {
        (0..levels).fold(Expr::bytes([1]), |inner, _| {
            Expr::list(alloc::vec![inner.clone(), inner])
        })
    }

    pub(crate) fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
        std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(work)
            .unwrap()
            .join()
            .unwrap();
    }

    /// Generates expressions of every shape, with names and values of every kind and with shared
    /// lists.
    pub(crate) fn arb_expr() -> impl Strategy<Value = Expr> {
        let leaf = prop_oneof![
            "[a-z.$#+-]{1,6}".prop_map(|name| Expr::symbol(&name)),
            any::<alloc::string::String>().prop_map(|name| Expr::symbol(&name)),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Expr::bytes),
            any::<alloc::string::String>().prop_map(Expr::bytes),
            any::<i64>().prop_map(Expr::integer),
            any::<[u8; 32]>().prop_map(Expr::bytes),
        ];
        leaf.prop_recursive(6, 60, 6, |inner| {
            let items = proptest::collection::vec(inner, 0..6);
            (items, any::<bool>()).prop_map(|(mut items, twice)| {
                if twice {
                    items.extend_from_within(..);
                }
                Expr::list(items)
            })
        })
    }

    #[test]
    fn expression_size_is_24_bytes() {
        assert_eq!(size_of::<Expr>(), 24);
        assert_eq!(size_of::<Option<Expr>>(), 24);
    }

    #[test]
    fn million_nested_lists_compare_and_drop_on_a_small_stack() {
        on_a_small_stack(|| {
            let deep = nested(1_000_000, Expr::bytes([1]));
            assert!(deep == nested(1_000_000, Expr::bytes([1])));
            assert!(deep != nested(1_000_000, Expr::bytes([2])));
            let shared = deep.clone();
            drop(deep);
            drop(shared);
        });
    }

    #[test]
    fn debug_distinguishes_symbols_from_bytes_and_does_not_recurse() {
        let items = alloc::vec![Expr::symbol("a"), Expr::bytes([0, 255]), Expr::list([])];
        assert_eq!(
            alloc::format!("{:?}", Expr::list(items)),
            r#"("a" 0x00ff ())"#
        );
        on_a_small_stack(|| {
            let text = alloc::format!("{:?}", nested(1_000_000, Expr::list([])));
            assert_eq!(text.len(), 2_000_002);
        });
    }

    #[test]
    fn shared_lists_are_compared_once() {
        assert!(doubled(60) == doubled(60));
        let other = (0..60).fold(Expr::bytes([2]), |inner, _| {
            Expr::list([inner.clone(), inner])
        });
        assert!(doubled(60) != other);
        assert!(doubled(60) != doubled(59));
        // The items are also held elsewhere but occur once in the expression.
        let (one, two) = (nested(2, Expr::integer(1)), nested(2, Expr::integer(2)));
        let held = [nested(1, one.clone()), nested(1, two.clone())];
        assert!(held[0] != held[1]);
        assert!(one != two && held[0] == nested(3, Expr::integer(1)));
    }

    #[test]
    fn errors_are_lists_that_start_with_the_error_symbol() {
        assert!(Expr::error("eval", "arity mismatch").is_error());
        assert!(Expr::list(alloc::vec![Expr::symbol("error")]).is_error());
        assert!(!Expr::list(alloc::vec![Expr::bytes("error")]).is_error());
        assert!(!Expr::list(alloc::vec![]).is_error());
        assert!(!Expr::symbol("error").is_error());
        assert_eq!(
            Expr::error("eval", "arity mismatch").as_error(),
            Some((&b"eval"[..], &b"arity mismatch"[..]))
        );
        assert_eq!(Expr::list([Expr::symbol("error")]).as_error(), None);
    }
}
