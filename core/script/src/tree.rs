//! Parsed sources with the place of every item.
//!
//! Items are in one vector and refer to each other by index, so that dropping and copying them does
//! not recurse.

use crate::diagnostic::Diagnostic;
use crate::source::{MAX_SOURCE_BYTES, Place, Sources};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use astreum_core::expr::{Builder, Bytes, Expr, Symbol};
use astreum_core::text::{self, ParseError, TokenKind, Tokens};

/// Index of an item.
pub type NodeId = usize;

/// Content of an item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Name.
    Symbol(Symbol),
    /// Integer or string.
    Bytes {
        /// The bytes.
        bytes: Bytes,
        /// Whether it is written as a string.
        is_string: bool,
    },
    /// List of items.
    List(Vec<NodeId>),
}

/// Item of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Content.
    pub value: Value,
    /// Place in the source.
    pub place: Place,
    /// Text, if it differs from that at the place.
    pub text: Option<String>,
    /// Number of the macro expansion that it comes from.
    pub expansion: Option<usize>,
}

/// Parsed sources.
///
/// ```
/// use astreum_script::{Sources, Tree};
/// let mut sources = Sources::new();
/// let file = sources.add("file", "(a (b)) 5");
/// let tree = Tree::parse(&sources, file).unwrap();
/// let exprs: Vec<_> = tree.roots.iter().map(|root| tree.to_expr(*root).to_string()).collect();
/// assert_eq!(exprs, ["(a (b))", "5"]);
/// ```
#[derive(Default, Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    /// Items that are not in a list, in the order of the source.
    pub roots: Vec<NodeId>,
}

impl Tree {
    /// Creates a tree without items.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            roots: Vec::new(),
        }
    }

    /// Parses a source.
    ///
    /// # Errors
    /// Returns the first parse error, or that the source is larger than [`MAX_SOURCE_BYTES`].
    pub fn parse(sources: &Sources, source: usize) -> Result<Self, Diagnostic> {
        let mut tree = Self::new();
        tree.roots = tree.read(sources, source)?;
        Ok(tree)
    }

    /// Parses a further source and returns its items.
    ///
    /// # Errors
    /// As [`Tree::parse`].
    pub fn read(&mut self, sources: &Sources, source: usize) -> Result<Vec<NodeId>, Diagnostic> {
        let code = sources.text(source);
        if code.len() > MAX_SOURCE_BYTES {
            let message = format!("the source is longer than {MAX_SOURCE_BYTES} bytes");
            let place = Place::new(source, 0..0);
            return Err(Diagnostic::error("too-large", place, message));
        }
        let mut roots = Vec::new();
        // Starts and items of the open lists.
        let mut open: Vec<(usize, Vec<NodeId>)> = Vec::new();
        for token in Tokens::new(code) {
            let token = token.map_err(|error| parse_error(source, &error))?;
            let place = Place::new(source, token.offset..token.end());
            let (value, place) = match token.kind {
                TokenKind::Open => {
                    open.push((token.offset, Vec::new()));
                    continue;
                }
                TokenKind::Close => {
                    let Some((start, items)) = open.pop() else {
                        let message = "parse error: unexpected ')'";
                        return Err(Diagnostic::error("parse", place, message));
                    };
                    (Value::List(items), Place::new(source, start..token.end()))
                }
                kind => {
                    let is_string = kind == TokenKind::String;
                    match text::parse(token.text) {
                        Ok(Expr::Symbol(symbol)) => (Value::Symbol(symbol), place),
                        Ok(Expr::Bytes(bytes)) => (Value::Bytes { bytes, is_string }, place),
                        Ok(Expr::List(_)) => continue,
                        Err(error) => {
                            let start = token.offset + error.at.offset;
                            let place = Place::new(source, start..start);
                            let message = format!("{}", error.kind);
                            return Err(Diagnostic::error("parse", place, message));
                        }
                    }
                }
            };
            let node = self.push(value, place, None, None);
            match open.last_mut() {
                Some((_, items)) => items.push(node),
                None => roots.push(node),
            }
        }
        if let Some((start, _)) = open.pop() {
            let place = Place::new(source, start..start + 1);
            return Err(
                Diagnostic::error("parse", place, "parse error: expected ')'")
                    .with_hint("this '(' is not closed"),
            );
        }
        Ok(roots)
    }

    /// Adds an item and returns its index.
    pub(crate) fn push(
        &mut self,
        value: Value,
        place: Place,
        text: Option<String>,
        expansion: Option<usize>,
    ) -> NodeId {
        self.nodes.push(Node {
            value,
            place,
            text,
            expansion,
        });
        self.nodes.len() - 1
    }

    /// Returns the number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns whether the tree has no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns the item with this index.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id)
    }

    /// Returns the place of an item.
    #[must_use]
    pub fn place(&self, id: NodeId) -> Place {
        let nothing = Place::new(0, 0..0);
        self.node(id).map_or(nothing, |node| node.place)
    }

    /// Returns the name if the item is a symbol.
    #[must_use]
    pub fn symbol(&self, id: NodeId) -> Option<&str> {
        match &self.node(id)?.value {
            Value::Symbol(symbol) => Some(symbol),
            _ => None,
        }
    }

    /// Returns the bytes if the item is an integer or a string.
    #[must_use]
    pub fn bytes(&self, id: NodeId) -> Option<&Bytes> {
        match &self.node(id)?.value {
            Value::Bytes { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    /// Returns the items if the item is a list.
    #[must_use]
    pub fn list(&self, id: NodeId) -> Option<&[NodeId]> {
        match &self.node(id)?.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the last item of a list, if it is a symbol, and the items before it.
    #[must_use]
    pub fn tail(&self, id: NodeId) -> Option<(&str, &[NodeId])> {
        let (last, before) = self.list(id)?.split_last()?;
        Some((self.symbol(*last)?, before))
    }

    /// Returns the text of an item that is not a list.
    #[must_use]
    pub fn text<'t>(&'t self, sources: &'t Sources, id: NodeId) -> &'t str {
        match self.node(id) {
            Some(Node {
                text: Some(text), ..
            }) => text,
            Some(node) => sources.text_at(node.place),
            None => "",
        }
    }

    /// Returns the expression of an item.
    #[must_use]
    pub fn to_expr(&self, root: NodeId) -> Expr {
        let mut builder = Builder::new();
        for step in self.steps(root) {
            let whole = match step {
                Step::Open(_) => {
                    builder.open();
                    None
                }
                Step::Close(_) => builder.close(),
                Step::Item(id) => builder.push(match self.node(id).map(|node| &node.value) {
                    Some(Value::Bytes { bytes, .. }) => Expr::Bytes(bytes.clone()),
                    Some(Value::Symbol(symbol)) => Expr::Symbol(symbol.clone()),
                    _ => Expr::list([]),
                }),
            };
            if let Some(whole) = whole {
                return whole;
            }
        }
        Expr::list([])
    }

    /// Returns an iterator over an item and all items in it, in the order of the text.
    pub(crate) fn steps(&self, root: NodeId) -> Steps<'_> {
        Steps {
            tree: self,
            pending: Vec::from([Step::Item(root)]),
        }
    }
}

/// Step of a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A list begins.
    Open(NodeId),
    /// An item that is not a list.
    Item(NodeId),
    /// A list ends.
    Close(NodeId),
}

/// Iterator over items, see [`Tree::steps`].
pub(crate) struct Steps<'t> {
    tree: &'t Tree,
    pending: Vec<Step>,
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let step = self.pending.pop()?;
        let Step::Item(id) = step else {
            return Some(step);
        };
        let Some(items) = self.tree.list(id) else {
            return Some(step);
        };
        self.pending.push(Step::Close(id));
        self.pending
            .extend(items.iter().rev().map(|item| Step::Item(*item)));
        Some(Step::Open(id))
    }
}

fn parse_error(source: usize, error: &ParseError) -> Diagnostic {
    let place = Place::new(source, error.at.offset..error.at.offset);
    Diagnostic::error("parse", place, format!("{}", error.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::text::Parser;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<Vec<Expr>, String> {
        let mut sources = Sources::new();
        let source = sources.add("file", text);
        match Tree::parse(&sources, source) {
            Ok(tree) => Ok(tree.roots.iter().map(|root| tree.to_expr(*root)).collect()),
            Err(error) => Err(error.render(&sources)),
        }
    }

    #[test]
    fn parse_errors_have_places() {
        assert_eq!(
            parsed("(a\n (b").unwrap_err(),
            "file:2:2: error: parse error: expected ')'\n2 |  (b\n  |  ^\n  \
             hint: this '(' is not closed"
        );
        assert!(parsed("a)").unwrap_err().starts_with("file:1:2: "));
        assert!(parsed("(\"\\q\")").unwrap_err().starts_with("file:1:3: "));
        assert!(parsed(" \"a").unwrap_err().starts_with("file:1:2: "));
    }

    #[test]
    fn million_nested_lists_do_not_recurse() {
        let text = "(".repeat(1_000_000) + &")".repeat(1_000_000);
        let work = move || drop(parsed(&text).unwrap());
        let thread = std::thread::Builder::new().stack_size(128 << 10);
        thread.spawn(work).unwrap().join().unwrap();
    }

    proptest! {
        #[test]
        fn trees_match_the_parser(text in "([(][)]|#;|[();# \nab\"\\\\1]|[ab]{3}){0,40}") {
            let expected: Result<Vec<Expr>, _> = Parser::new(&text).collect();
            prop_assert_eq!(parsed(&text).ok(), expected.ok());
        }
    }
}
