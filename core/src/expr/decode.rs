//! Reading of expressions from atoms.

use super::{Expr, List, Symbol};
use crate::atom::{Atom, AtomId, AtomKind, AtomSource, SourceError};
use alloc::vec::Vec;
use core::fmt;

/// Reason atoms could not be read as an expression.
///
/// ```
/// use astreum_core::atom::{Atom, AtomId, MemoryStore};
/// use astreum_core::expr::{Expr, ExprError};
///
/// let mut store = MemoryStore::new();
/// let list = store.insert(Atom::list(Atom::symbol("a").id(), AtomId::ZERO));
/// let error = Expr::from_atoms(&store, &list, 10).unwrap_err();
/// assert_eq!(error, ExprError::Missing(Atom::symbol("a").id()));
/// // Once the atom is available the same call succeeds.
/// store.insert(Atom::symbol("a"));
/// assert_eq!(Expr::from_atoms(&store, &list, 10).unwrap().to_string(), "(a)");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExprError<E> {
    /// The source does not have this atom; once it is available the same call may succeed.
    Missing(AtomId),
    /// The source failed.
    Source(E),
    /// The expression has more atoms than the caller allows.
    TooManyAtoms {
        /// Maximum number of atoms.
        max: usize,
    },
    /// The name of a symbol is not UTF-8.
    SymbolNotUtf8 {
        /// Id of the symbol atom.
        id: AtomId,
    },
    /// The data of a list atom is not the id of an item.
    BadItemId {
        /// Id of the list atom.
        id: AtomId,
        /// Size of its data, in bytes.
        len: usize,
    },
    /// A list atom has [`AtomId::ZERO`] as its item, which is not the id of any atom.
    ZeroItemId {
        /// Id of the list atom.
        id: AtomId,
    },
    /// A list continues with an atom that is not a list atom.
    NotAList {
        /// Id of that atom.
        id: AtomId,
        /// Kind of that atom.
        kind: AtomKind,
    },
    /// A list continues with an atom that has no item.
    EmptyInList {
        /// Id of the list atom without data.
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
            Self::Source(error) => write!(f, "failed to read the atom store: {error}"),
            Self::TooManyAtoms { max } => write!(f, "the expression has more than {max} atoms"),
            Self::SymbolNotUtf8 { id } => write!(f, "symbol atom {id} is not UTF-8"),
            Self::BadItemId { id, len } => {
                write!(
                    f,
                    "list atom {id} has {len} bytes of data, expected an item id of 32"
                )
            }
            Self::ZeroItemId { id } => write!(f, "list atom {id} has the zero id as its item"),
            Self::NotAList { id, kind } => {
                write!(
                    f,
                    "list continues with atom {id} of kind {kind:?}, expected List"
                )
            }
            Self::EmptyInList { id } => {
                write!(f, "list continues with atom {id}, which has no item")
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ExprError<E> {}

/// Reader that counts atoms.
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

/// List that is being read.
struct Open {
    /// Index of its first item in `values`.
    start: usize,
    /// Id of the atom with the next item.
    rest: AtomId,
}

/// Returns the item of the list atom `id`.
fn item<E>(id: AtomId, atom: &Atom) -> Result<AtomId, ExprError<E>> {
    let len = atom.data().len();
    match AtomId::from_slice(atom.data()) {
        None => Err(ExprError::BadItemId { id, len }),
        Some(item) if item.is_zero() => Err(ExprError::ZeroItemId { id }),
        Some(item) => Ok(item),
    }
}

/// Returns the item of an atom after the first one of a list.
fn later_item<E>(id: AtomId, atom: &Atom) -> Result<AtomId, ExprError<E>> {
    match atom.kind() {
        AtomKind::List if atom.data().is_empty() => Err(ExprError::EmptyInList { id }),
        AtomKind::List => item(id, atom),
        kind => Err(ExprError::NotAList { id, kind }),
    }
}

impl Expr {
    /// Reads the expression with this id from `source`, using at most `max_atoms` atoms.
    ///
    /// Atoms count each time they occur, so a few atoms that repeatedly reference each other twice
    /// stop at the limit. Items are read in order, and reading stops at the first error. The `next`
    /// field of symbol and bytes atoms is ignored.
    ///
    /// ```
    /// use astreum_core::atom::MemoryStore;
    /// use astreum_core::expr::{Expr, ExprError};
    ///
    /// let expr = astreum_core::text::parse("(1 (2 3))")?;
    /// let mut store = MemoryStore::new();
    /// let id = expr.write_atoms(&mut store)?;
    /// assert_eq!(Expr::from_atoms(&store, &id, 100)?, expr);
    /// assert_eq!(Expr::from_atoms(&store, &id, 3), Err(ExprError::TooManyAtoms { max: 3 }));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`ExprError::Missing`] if an atom is missing, [`ExprError::Source`] if the source
    /// fails, [`ExprError::TooManyAtoms`] above the limit, and the other variants for malformed
    /// atoms.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::{MemoryStore, NoStore};
    use alloc::vec;
    use core::convert::Infallible;
    use proptest::prelude::*;

    type Error = ExprError<Infallible>;

    /// Reads the expression whose first atom is the first of `atoms`.
    fn read(atoms: &[Atom]) -> Result<Expr, Error> {
        let store: MemoryStore = atoms.iter().cloned().collect();
        Expr::from_atoms(&store, &atoms[0].id(), 100)
    }

    fn linked(kind: AtomKind, data: impl AsRef<[u8]>, next: &Atom) -> Atom {
        Atom::new(kind, data.as_ref(), next.id())
    }

    #[test]
    fn links_of_symbols_and_bytes_are_ignored() {
        let other = Atom::symbol("other");
        let symbol = linked(AtomKind::Symbol, "a", &other);
        assert_eq!(read(&[symbol]), Ok(Expr::symbol("a")));
        let bytes = linked(AtomKind::Bytes, [7; 40], &other);
        assert_eq!(read(&[bytes]), Ok(Expr::bytes([7; 40])));
    }

    #[test]
    fn decoding_names_the_missing_atom() {
        let item = Atom::symbol("a");
        let rest = Atom::list(item.id(), AtomId::ZERO);
        let head = Atom::list(item.id(), rest.id());
        let id = head.id();
        assert_eq!(
            Expr::from_atoms(&NoStore, &id, 9),
            Err(ExprError::Missing(id))
        );
        assert_eq!(
            read(&[head.clone(), rest.clone()]),
            Err(ExprError::Missing(item.id()))
        );
        assert_eq!(
            read(&[head.clone(), item.clone()]),
            Err(ExprError::Missing(rest.id()))
        );
        let whole = Expr::list([Expr::symbol("a"), Expr::symbol("a")]);
        assert_eq!(read(&[head, rest, item]), Ok(whole));
    }

    #[test]
    fn every_defect_has_its_own_error() {
        let item = Atom::symbol("a");
        let symbol = Atom::new(AtomKind::Symbol, [0xff, 0xfe], AtomId::ZERO);
        let id = symbol.id();
        assert_eq!(read(&[symbol]), Err(ExprError::SymbolNotUtf8 { id }));

        for len in [1, 31, 33] {
            let list = Atom::new(AtomKind::List, vec![1; len], AtomId::ZERO);
            let id = list.id();
            assert_eq!(read(&[list]), Err(ExprError::BadItemId { id, len }));
        }
        // Without data it is the empty list only if `next` is zero.
        let list = linked(AtomKind::List, [], &item);
        let id = list.id();
        assert_eq!(read(&[list]), Err(ExprError::BadItemId { id, len: 0 }));

        let list = Atom::list(AtomId::ZERO, AtomId::ZERO);
        let id = list.id();
        assert_eq!(read(&[list]), Err(ExprError::ZeroItemId { id }));

        let list = Atom::list(item.id(), item.id());
        let (id, kind) = (item.id(), AtomKind::Symbol);
        assert_eq!(
            read(&[list, item.clone()]),
            Err(ExprError::NotAList { id, kind })
        );

        let end = Atom::empty_list();
        let id = end.id();
        let list = Atom::list(item.id(), id);
        assert_eq!(read(&[list, end, item]), Err(ExprError::EmptyInList { id }));
    }

    #[test]
    fn error_texts_have_cause_and_atom_id() {
        let id = AtomId::new([0xab; 32]);
        let text = |error: &Error| alloc::format!("{error}");
        assert!(text(&Error::Missing(id)).contains(&alloc::format!("{id}")));
        assert_eq!(
            text(&Error::TooManyAtoms { max: 5 }),
            "the expression has more than 5 atoms"
        );
        assert!(text(&Error::BadItemId { id, len: 31 }).contains("31 bytes"));
    }

    /// Source that always fails.
    struct Broken;

    impl AtomSource for Broken {
        type Error = &'static str;

        fn atom(&self, _: &AtomId) -> Result<Atom, SourceError<&'static str>> {
            Err(SourceError::Failed("disk"))
        }
    }

    #[test]
    fn failing_source_is_not_a_missing_atom() {
        assert_eq!(
            Expr::from_atoms(&Broken, &AtomId::ZERO, 1),
            Err(ExprError::Source("disk"))
        );
    }

    proptest! {
        #[test]
        fn reading_any_atoms_terminates_and_preserves_the_id(
            parts in proptest::collection::vec((0..3_u8, 0..12_usize, 0..12_usize), 1..12),
        ) {
            let mut atoms: Vec<Atom> = Vec::new();
            for (kind, child, next) in parts {
                let id = |at: usize| atoms.get(at).map_or(AtomId::ZERO, Atom::id);
                let kind = AtomKind::from_code(kind).unwrap();
                let data = if kind == AtomKind::List { id(child).as_bytes().to_vec() } else { vec![b'a'; child] };
                let next = if kind == AtomKind::List { id(next) } else { AtomId::ZERO };
                atoms.push(Atom::new(kind, data, next));
            }
            atoms.reverse();
            if let Ok(expr) = read(&atoms) {
                prop_assert_eq!(expr.id(), atoms[0].id());
            }
        }
    }
}
