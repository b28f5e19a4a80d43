//! Traversal and construction of expressions without the host stack.

use super::{Bytes, Expr, List, Symbol};
use alloc::vec::Vec;
use core::slice;

/// Step of a traversal, see [`Expr::visit`].
///
/// ```
/// use astreum_core::expr::Visit;
///
/// // The longest symbol, without recursion.
/// let expr = astreum_core::text::parse("(a (bcd \"efgh\") ef)").unwrap();
/// let names = expr.visit().filter_map(|step| match step {
///     Visit::Symbol(name) => Some(name.as_str()),
///     Visit::Bytes(_) | Visit::Open(_) | Visit::Close => None,
/// });
/// assert_eq!(names.max_by_key(|name| name.len()), Some("bcd"));
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Visit<'e> {
    /// A symbol.
    Symbol(&'e Symbol),
    /// A byte string.
    Bytes(&'e Bytes),
    /// Start of a list; its items follow, then its [`Visit::Close`].
    Open(&'e List),
    /// End of the innermost open list.
    Close,
}

/// Iterator over the steps of a traversal, in the order of the text form.
#[derive(Clone, Debug)]
pub struct Visits<'e> {
    start: Option<&'e Expr>,
    open: Vec<slice::Iter<'e, Expr>>,
}

impl Visits<'_> {
    /// Returns the number of open lists.
    ///
    /// ```
    /// let expr = astreum_core::text::parse("(a (b (c)))").unwrap();
    /// let mut visits = expr.visit();
    /// let mut deepest = 0;
    /// while visits.next().is_some() {
    ///     deepest = deepest.max(visits.depth());
    /// }
    /// assert_eq!(deepest, 3);
    /// ```
    #[must_use]
    pub fn depth(&self) -> usize {
        self.open.len()
    }
}

impl<'e> Iterator for Visits<'e> {
    type Item = Visit<'e>;

    fn next(&mut self) -> Option<Visit<'e>> {
        let item = match self.open.last_mut() {
            None => self.start.take()?,
            Some(items) => match items.next() {
                Some(item) => item,
                None => {
                    self.open.pop();
                    return Some(Visit::Close);
                }
            },
        };
        Some(match item {
            Expr::Symbol(symbol) => Visit::Symbol(symbol),
            Expr::Bytes(bytes) => Visit::Bytes(bytes),
            Expr::List(list) => {
                self.open.push(list.iter());
                Visit::Open(list)
            }
        })
    }
}

impl Expr {
    /// Visits this expression in the order of its text form.
    ///
    /// Lists that are shared in memory are visited each time they occur, so a traversal can be
    /// longer than the expression is in memory; see [`Expr::atom_count`].
    ///
    /// ```
    /// use astreum_core::expr::Visit;
    /// let expr = astreum_core::text::parse("(a (b 1))").unwrap();
    /// let lists = expr.visit().filter(|step| matches!(step, Visit::Open(_))).count();
    /// assert_eq!(lists, 2);
    /// ```
    #[must_use]
    pub fn visit(&self) -> Visits<'_> {
        Visits {
            start: Some(self),
            open: Vec::new(),
        }
    }
}

/// Builds one expression from the steps of a traversal.
///
/// ```
/// use astreum_core::expr::{Builder, Expr};
/// let mut builder = Builder::new();
/// builder.open();
/// assert_eq!(builder.push(Expr::symbol("a")), None);
/// assert_eq!(builder.close().map(|expr| expr.to_string()).as_deref(), Some("(a)"));
/// ```
#[derive(Debug, Default)]
pub struct Builder {
    items: Vec<Expr>,
    starts: Vec<usize>,
}

impl Builder {
    /// Creates a builder without open lists.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            items: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Returns the number of open lists.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.starts.len()
    }

    /// Opens a list.
    pub fn open(&mut self) {
        self.starts.push(self.items.len());
    }

    /// Adds `item` to the innermost open list. Returns it if no list is open, because it is then
    /// the whole expression.
    pub fn push(&mut self, item: Expr) -> Option<Expr> {
        if self.starts.is_empty() {
            return Some(item);
        }
        self.items.push(item);
        None
    }

    /// Closes the innermost open list and returns it if it was the outermost one.
    ///
    /// Without an open list this does nothing and returns `None`.
    ///
    /// ```
    /// use astreum_core::expr::{Builder, Expr};
    ///
    /// let mut builder = Builder::new();
    /// builder.open();
    /// builder.open();
    /// assert_eq!(builder.close(), None);
    /// assert_eq!((builder.depth(), builder.push(Expr::symbol("a"))), (1, None));
    /// assert_eq!(builder.close().map(|expr| expr.to_string()).as_deref(), Some("(() a)"));
    /// ```
    pub fn close(&mut self) -> Option<Expr> {
        let start = self.starts.pop()?;
        let list: List = self.items.drain(start..).collect();
        self.push(list.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::tests::{arb_expr, nested, on_a_small_stack};
    use proptest::prelude::*;

    fn rebuild(expr: &Expr) -> Option<Expr> {
        let mut builder = Builder::new();
        let mut whole = None;
        for step in expr.visit() {
            assert_eq!(whole, None, "the walk continues after the whole expression");
            whole = match step {
                Visit::Symbol(symbol) => builder.push(symbol.clone().into()),
                Visit::Bytes(bytes) => builder.push(bytes.clone().into()),
                Visit::Open(_) => {
                    builder.open();
                    None
                }
                Visit::Close => builder.close(),
            };
        }
        assert_eq!(builder.depth(), 0);
        whole
    }

    proptest! {
        #[test]
        fn visits_rebuild_the_expression(expr in arb_expr()) {
            prop_assert_eq!(rebuild(&expr), Some(expr));
        }
    }

    #[test]
    fn million_nested_lists_are_visited_on_a_small_stack() {
        on_a_small_stack(|| {
            let deep = nested(1_000_000, Expr::symbol("x"));
            assert_eq!(deep.visit().count(), 2_000_001);
            assert!(rebuild(&deep) == Some(deep));
        });
    }

    #[test]
    fn closing_without_an_open_list_does_nothing() {
        let mut builder = Builder::new();
        assert_eq!(builder.close(), None);
        assert_eq!(builder.push(Expr::symbol("x")), Some(Expr::symbol("x")));
    }
}
