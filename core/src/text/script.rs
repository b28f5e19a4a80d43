//! Parsed sources with the position of every expression.

use super::{ParseError, Parser, TokenKind, Tokens};
use crate::expr::{Expr, List, Visit};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Range;

/// Expressions of a source with their positions.
///
/// An evaluation can fail deep inside an expression, or inside a function that an earlier
/// expression defined. Such a position is given as a list and a path of item indices from it; a
/// script finds it in the source. For this it stores only the expressions and their spans: lists
/// are recognized by their address in memory, and paths are followed in the text.
///
/// The source can be borrowed or owned.
///
/// ```
/// use astreum_core::text::Script;
/// let source = "(a (b c)) d";
/// let script = Script::parse(source)?;
/// let list = script.expr(0).unwrap();
/// assert_eq!(script.find(list, &[1, 0]).map(|span| &source[span]), Some("b"));
/// # Ok::<(), astreum_core::text::ParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Script<'s> {
    source: Cow<'s, str>,
    exprs: Vec<(Expr, Range<usize>)>,
}

impl<'s> Script<'s> {
    /// Parses all expressions of `source`.
    ///
    /// ```
    /// use astreum_core::text::Script;
    /// let script = Script::parse("(1 a def) ; bind\n(a)")?;
    /// let exprs: Vec<String> = script.exprs().map(|expr| expr.to_string()).collect();
    /// assert_eq!(exprs, ["(1 a def)", "(a)"]);
    /// # Ok::<(), astreum_core::text::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// Fails if one of them cannot be parsed.
    pub fn parse(source: impl Into<Cow<'s, str>>) -> Result<Self, ParseError> {
        let source = source.into();
        let mut parser = Parser::new(&source);
        let mut exprs = Vec::new();
        while let Some(expr) = parser.next() {
            exprs.push((expr?, parser.span()));
        }
        Ok(Self { source, exprs })
    }

    /// Returns the source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the expressions in the order of the source.
    pub fn exprs(&self) -> impl ExactSizeIterator<Item = &Expr> {
        self.exprs.iter().map(|(expr, _)| expr)
    }

    /// Returns the expression with this index.
    #[must_use]
    pub fn expr(&self, index: usize) -> Option<&Expr> {
        self.exprs.get(index).map(|(expr, _)| expr)
    }

    /// Returns the span of the expression with this index, in bytes.
    ///
    /// ```
    /// use astreum_core::text::Script;
    /// let script = Script::parse("(a) (b)").unwrap();
    /// assert_eq!(script.span(1), Some(4..7));
    /// assert_eq!(script.span(2), None);
    /// ```
    #[must_use]
    pub fn span(&self, index: usize) -> Option<Range<usize>> {
        self.exprs.get(index).map(|(_, span)| span.clone())
    }

    /// Returns the span of the item at `path` in `code`: each number is the index of an item in the
    /// previous list, the first one in `code` itself.
    ///
    /// Returns `None` if `code` is not a list of this source, that is, not the same list in memory,
    /// or if the path does not exist.
    ///
    /// ```
    /// use astreum_core::text::Script;
    ///
    /// let source = "((x 1) f def) (2 f)";
    /// let script = Script::parse(source).unwrap();
    /// let definition = script.expr(0).unwrap();
    /// assert_eq!(script.find(definition, &[0, 1]).map(|span| &source[span]), Some("1"));
    /// assert_eq!(script.find(definition, &[7]), None);
    /// // An equal list from elsewhere has no position.
    /// assert_eq!(script.find(&astreum_core::text::parse("(2 f)").unwrap(), &[0]), None);
    /// ```
    #[must_use]
    pub fn find(&self, code: &Expr, path: &[usize]) -> Option<Range<usize>> {
        (0..self.exprs.len()).find_map(|index| self.find_in(index, code, path))
    }

    /// Does the same as [`Script::find`] in only the expression with this index, whose length
    /// bounds the time.
    ///
    /// ```
    /// use astreum_core::text::Script;
    /// let script = Script::parse("(a b) (c (d))").unwrap();
    /// let list = script.expr(1).unwrap();
    /// assert_eq!(script.find_in(1, list, &[1, 0]), Some(10..11));
    /// assert_eq!(script.find_in(0, list, &[1, 0]), None);
    /// ```
    #[must_use]
    pub fn find_in(&self, index: usize, code: &Expr, path: &[usize]) -> Option<Range<usize>> {
        let Expr::List(code) = code else {
            return None;
        };
        let (expr, span) = self.exprs.get(index)?;
        let mut whole = path_to(expr, code)?;
        whole.extend_from_slice(path);
        let text = self.source.get(span.clone())?;
        let place = item_span(text, &whole)?;
        Some(span.start + place.start..span.start + place.end)
    }
}

/// Returns the path from `expr` to `list`, if `expr` contains it.
fn path_to(expr: &Expr, list: &List) -> Option<Vec<usize>> {
    // Index of the next item of each open list.
    let mut next: Vec<usize> = Vec::new();
    for step in expr.visit() {
        if matches!(step, Visit::Close) {
            next.pop();
        }
        if let Visit::Open(found) = step
            && found.is_same(list)
        {
            return Some(next);
        }
        match step {
            Visit::Open(_) => next.push(0),
            _ => {
                if let Some(index) = next.last_mut() {
                    *index += 1;
                }
            }
        }
    }
    None
}

/// Returns the span of the item at `path` in the first expression of `source`.
fn item_span(source: &str, path: &[usize]) -> Option<Range<usize>> {
    let mut tokens = Tokens::new(source);
    let mut token = tokens.next()?.ok()?;
    for &index in path {
        if token.kind != TokenKind::Open {
            return None;
        }
        token = tokens.next()?.ok()?;
        for _ in 0..index {
            datum_end(&mut tokens, token)?;
            token = tokens.next()?.ok()?;
        }
        if token.kind == TokenKind::Close {
            return None;
        }
    }
    let start = token.offset;
    Some(start..datum_end(&mut tokens, token)?)
}

/// Reads to the end of the datum that starts with `token` and returns its offset. Returns `None` if
/// the datum does not end.
fn datum_end(tokens: &mut Tokens<'_>, token: super::Token<'_>) -> Option<usize> {
    let (mut depth, mut token) = (0_usize, token);
    loop {
        match token.kind {
            TokenKind::Open => depth += 1,
            TokenKind::Close => depth = depth.checked_sub(1)?,
            TokenKind::String | TokenKind::Atom => {}
        }
        if depth == 0 {
            return Some(token.end());
        }
        token = tokens.next()?.ok()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::tests::on_a_small_stack;
    use alloc::string::String;
    use proptest::prelude::*;

    fn found<'s>(script: &'s Script<'_>, code: &Expr, path: &[usize]) -> Option<&'s str> {
        script.find(code, path).map(|span| &script.source()[span])
    }

    fn item(expr: &Expr, index: usize) -> Expr {
        expr.as_list().unwrap()[index].clone()
    }

    #[test]
    fn paths_resolve_to_spans() {
        let source = "; first\n(a #;skipped (\"b )\" (c)) d)\n(e (f g))";
        let script = Script::parse(source).unwrap();
        let exprs: Vec<Expr> = script.exprs().cloned().collect();
        let first = |path: &[usize]| found(&script, &exprs[0], path);
        assert_eq!(first(&[]), Some("(a #;skipped (\"b )\" (c)) d)"));
        assert_eq!(first(&[1]), Some("(\"b )\" (c))"));
        assert_eq!(first(&[1, 0]), Some("\"b )\""));
        assert_eq!(first(&[1, 1, 0]), Some("c"));
        assert_eq!(first(&[2]), Some("d"));
        for wrong in [&[3][..], &[0, 0], &[1, 2], &[1, 1, 0, 0], &[9, 9]] {
            assert_eq!(first(wrong), None, "{wrong:?}");
        }
        let inner = item(&exprs[1], 1);
        assert_eq!(found(&script, &inner, &[1]), Some("g"));
        assert_eq!(script.span(1).map(|span| &source[span]), Some("(e (f g))"));
    }

    #[test]
    fn lists_of_another_source_are_not_found() {
        let script = Script::parse("(a b)").unwrap();
        assert_eq!(
            script.find(&super::super::parse("(a b)").unwrap(), &[0]),
            None
        );
        assert_eq!(script.find(&Expr::symbol("a"), &[]), None);
        assert!(Script::parse("(a").is_err());
    }

    #[test]
    fn span_under_a_million_lists_is_found_on_a_small_stack() {
        on_a_small_stack(|| {
            let source = "(".repeat(1_000_000) + "x" + &")".repeat(1_000_000);
            let script = Script::parse(&source).unwrap();
            let expr = script.exprs().next().cloned().unwrap();
            let path = Vec::from([0; 1_000_000]);
            assert_eq!(found(&script, &expr, &path), Some("x"));
        });
    }

    proptest! {
        #[test]
        fn every_item_is_found_at_its_span(source in "([(][)]|#;|[();# \nab\"]|[ab]{3}){0,60}") {
            let Ok(script) = Script::parse(&source) else {
                return Ok(());
            };
            for expr in script.exprs() {
                let mut pending = Vec::from([(expr.clone(), Vec::new())]);
                while let Some((inner, path)) = pending.pop() {
                    if expr.as_list().is_some() {
                        let text = found(&script, expr, &path).map(String::from);
                        let parsed = text.as_deref().map(super::super::parse);
                        prop_assert_eq!(parsed, Some(Ok(inner.clone())), "{:?}", path);
                    }
                    for (index, item) in inner.as_list().unwrap_or_default().iter().enumerate() {
                        let mut path = path.clone();
                        path.push(index);
                        pending.push((item.clone(), path));
                    }
                }
            }
        }
    }
}
