//! Shared lists whose destruction needs no host stack.

use super::Expr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;

/// Expressions in order, shared between clones.
#[derive(Clone, Default)]
pub struct List(Option<Arc<[Expr]>>);

impl List {
    /// The list without items.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether both are the same items in memory; equal lists need not be.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
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
        Vec::from_iter(items).into()
    }
}

impl Deref for List {
    type Target = [Expr];

    fn deref(&self) -> &[Expr] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Lists that only this one owns are taken apart on a work list of their own, so that a million
/// nested lists do not become a million nested destructors.
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
