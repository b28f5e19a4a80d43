//! Expressions from atoms.

use super::{Expr, List, Symbol};
use crate::atom::{Atom, AtomId, AtomKind, AtomSource, SourceError};
use alloc::vec::Vec;
use core::fmt;

/// Why atoms did not become an expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExprError<E> {
    /// The source does not hold this atom; with it the same call may succeed.
    Missing(AtomId),
    /// The source itself failed.
    Source(E),
    /// The expression has more atoms than the caller allows.
    TooManyAtoms {
        /// How many are allowed.
        max: usize,
    },
    /// A symbol's name is not UTF-8.
    SymbolNotUtf8 {
        /// The symbol atom.
        id: AtomId,
    },
    /// A list atom's data is not the id of an item.
    BadItemId {
        /// The list atom.
        id: AtomId,
        /// How many bytes its data has.
        len: usize,
    },
    /// A list atom names [`AtomId::ZERO`] as its item, which no atom can be.
    ZeroItemId {
        /// The list atom.
        id: AtomId,
    },
    /// A list goes on with an atom that is not a list atom.
    NotAList {
        /// The other atom.
        id: AtomId,
        /// What it is instead.
        kind: AtomKind,
    },
    /// A list goes on with an atom that holds no item.
    EmptyInChain {
        /// The list atom without data.
        id: AtomId,
    },
}

impl<E> From<SourceError<E>> for ExprError<E> {
    fn from(error: SourceError<E>) -> Self {
        match error {
            SourceError::Missing(id) => Self::Missing(id),
            SourceError::Failed(error) => Self::Source(error),
        }
    }
}

impl<E: fmt::Display> fmt::Display for ExprError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(id) => write!(f, "atom {id} is missing"),
            Self::Source(error) => write!(f, "the atom store failed: {error}"),
            Self::TooManyAtoms { max } => write!(f, "the expression has more than {max} atoms"),
            Self::SymbolNotUtf8 { id } => write!(f, "symbol atom {id} is not UTF-8"),
            Self::BadItemId { id, len } => {
                write!(
                    f,
                    "list atom {id} has {len} bytes of data; an item's id has 32"
                )
            }
            Self::ZeroItemId { id } => write!(f, "list atom {id} names the zero id as its item"),
            Self::NotAList { id, kind } => {
                write!(
                    f,
                    "a list goes on with atom {id}, which is {kind:?}, not List"
                )
            }
            Self::EmptyInChain { id } => {
                write!(f, "a list goes on with atom {id}, which holds no item")
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ExprError<E> {}

/// Reads atoms and counts them.
struct Reader<'s, S: ?Sized> {
    source: &'s S,
    left: usize,
    max: usize,
}

impl<S: AtomSource + ?Sized> Reader<'_, S> {
    fn atom(&mut self, id: &AtomId) -> Result<Atom, ExprError<S::Error>> {
        let max = self.max;
        self.left = (self.left.checked_sub(1)).ok_or(ExprError::TooManyAtoms { max })?;
        Ok(self.source.atom(id)?)
    }
}

/// A list that is being read.
struct Open {
    /// Where its items start among the values.
    start: usize,
    /// The atom that holds the next item.
    rest: AtomId,
}

/// The item that the list atom `id` names.
fn item<E>(id: AtomId, atom: &Atom) -> Result<AtomId, ExprError<E>> {
    let len = atom.data().len();
    match AtomId::from_slice(atom.data()) {
        None => Err(ExprError::BadItemId { id, len }),
        Some(item) if item.is_zero() => Err(ExprError::ZeroItemId { id }),
        Some(item) => Ok(item),
    }
}

/// The item that an atom further down a list names.
fn later_item<E>(id: AtomId, atom: &Atom) -> Result<AtomId, ExprError<E>> {
    match atom.kind() {
        AtomKind::List if atom.data().is_empty() => Err(ExprError::EmptyInChain { id }),
        AtomKind::List => item(id, atom),
        kind => Err(ExprError::NotAList { id, kind }),
    }
}

impl Expr {
    /// Reads the expression with this id from `source`, at most `max_atoms` atoms.
    ///
    /// Atoms count each time they occur, so a few atoms that name each other twice over and over
    /// end at the cap. Items are read in order, and the first defect ends the reading. The `next`
    /// of symbol and bytes atoms is ignored.
    ///
    /// # Errors
    /// [`ExprError::Missing`] when an atom is not there, [`ExprError::Source`] when the source
    /// fails, [`ExprError::TooManyAtoms`] past the cap, and the rest for atoms that are no
    /// expression.
    pub fn from_atoms<S: AtomSource + ?Sized>(
        source: &S,
        id: &AtomId,
        max_atoms: usize,
    ) -> Result<Self, ExprError<S::Error>> {
        let mut reader = Reader {
            source,
            left: max_atoms,
            max: max_atoms,
        };
        let mut open: Vec<Open> = Vec::new();
        let mut values: Vec<Self> = Vec::new();
        let mut id = *id;
        loop {
            let atom = reader.atom(&id)?;
            let mut value = match atom.kind() {
                AtomKind::Symbol => core::str::from_utf8(atom.data())
                    .map(|name| Self::Symbol(Symbol::new(name)))
                    .map_err(|_| ExprError::SymbolNotUtf8 { id })?,
                AtomKind::Bytes => Self::Bytes(atom.shared_data().into()),
                AtomKind::List if atom.data().is_empty() && atom.next().is_zero() => {
                    Self::List(List::new())
                }
                AtomKind::List => {
                    open.push(Open {
                        start: values.len(),
                        rest: atom.next(),
                    });
                    id = item(id, &atom)?;
                    continue;
                }
            };
            loop {
                let Some(list) = open.last_mut() else {
                    return Ok(value);
                };
                values.push(value);
                if !list.rest.is_zero() {
                    let atom = reader.atom(&list.rest)?;
                    id = later_item(list.rest, &atom)?;
                    list.rest = atom.next();
                    break;
                }
                value = Self::List(values.drain(list.start..).collect());
                open.pop();
            }
        }
    }
}
