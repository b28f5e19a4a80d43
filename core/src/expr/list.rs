//! Shared lists whose destruction does not use the host stack.

use super::Expr;
use crate::arc::Arc;
use alloc::vec::Vec;
use core::ops::Deref;

/// Sequence of expressions, shared between clones.
///
/// ```
/// use astreum_core::expr::{Expr, List};
///
/// let list: List = ["a", "b"].map(Expr::symbol).into_iter().collect();
/// assert_eq!(list.len(), 2);
/// assert_eq!(list.first(), Some(&Expr::symbol("a")));
/// assert_eq!(Expr::from(list).to_string(), "(a b)");
/// ```
#[derive(Clone, Default)]
pub struct List(Option<Arc<[Expr]>>);

impl List {
    /// Creates an empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Returns a key that identifies these items in memory, if another list shares them.
    ///
    /// The key is valid only as long as the list lives and only for comparison: addresses differ
    /// from run to run.
    pub(crate) fn shared_key(&self) -> Option<usize> {
        let items = self.0.as_ref()?;
        (Arc::strong_count(items) > 1).then(|| items.as_ptr().addr())
    }

    /// Returns whether both lists share the same items in memory; equal lists need not.
    ///
    /// ```
    /// use astreum_core::expr::{Expr, List};
    /// let list = List::from([Expr::symbol("a")]);
    /// assert!(list.is_same(&list.clone()));
    /// assert!(!list.is_same(&List::from([Expr::symbol("a")])));
    /// ```
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }
}

impl<const N: usize> From<[Expr; N]> for List {
    fn from(items: [Expr; N]) -> Self {
        items.into_iter().collect()
    }
}

impl From<Vec<Expr>> for List {
    fn from(items: Vec<Expr>) -> Self {
        Self(if items.is_empty() {
            None
        } else {
            Some(items.into())
        })
    }
}

impl FromIterator<Expr> for List {
    fn from_iter<I: IntoIterator<Item = Expr>>(items: I) -> Self {
        let items = items.into_iter();
        if items.size_hint().1 == Some(0) {
            return Self::new();
        }
        let items: Arc<[Expr]> = items.collect();
        Self(if items.is_empty() { None } else { Some(items) })
    }
}

impl core::fmt::Debug for List {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Expr::List(self.clone()).fmt(f)
    }
}

impl Deref for List {
    type Target = [Expr];

    fn deref(&self) -> &[Expr] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Destroys lists that are not shared on an explicit work list, so that a million nested lists do
/// not cause a million nested destructor calls.
impl Drop for List {
    fn drop(&mut self) {
        let mut pending = Vec::new();
        let mut current = self.0.take();
        while let Some(mut items) = current {
            for item in Arc::get_mut(&mut items).into_iter().flatten() {
                if let Expr::List(Self(inner)) = item {
                    pending.extend(inner.take());
                }
            }
            drop(items);
            current = pending.pop();
        }
    }
}
