//! Atom form of expressions.
//!
//! A symbol or a byte string is one atom without a link. A list is a linked list of list atoms, one
//! for each item, whose data is the item's id; the empty list is the atom [`Atom::empty_list`]. The
//! id of an expression is the id of its first atom.

use super::address_map::AddressMap;
use super::{Expr, List};
use crate::atom::{Atom, AtomId, AtomKind, AtomSink, atom_id};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::slice;

/// Bottom-up fold: computes a value for an expression from the values of its items.
trait Fold {
    type Value: Copy;
    type Error;

    /// Allows a list that is shared in memory to be folded once for all its occurrences.
    const ONCE: bool;

    fn leaf(&mut self, kind: AtomKind, expr: &Expr) -> Result<Self::Value, Self::Error>;

    fn list(&mut self, items: &[Self::Value]) -> Result<Self::Value, Self::Error>;
}

/// Folds `root`, items before the list that contains them, with explicit work lists.
fn fold<F: Fold>(root: &Expr, folder: &mut F) -> Result<F::Value, F::Error> {
    let mut open: Vec<(&List, slice::Iter<'_, Expr>)> = Vec::new();
    let mut starts: Vec<usize> = Vec::new();
    let mut values: Vec<F::Value> = Vec::new();
    let mut known = Known::default();
    let mut current = root;
    loop {
        let mut value = match current {
            Expr::Symbol(_) => folder.leaf(AtomKind::Symbol, current)?,
            Expr::Bytes(_) => folder.leaf(AtomKind::Bytes, current)?,
            Expr::List(list) => match shared_key::<F>(list).and_then(|key| known.get(key)) {
                Some(value) => value,
                None => {
                    open.push((list, list.iter()));
                    starts.push(values.len());
                    match next_item(&mut open) {
                        Some(item) => {
                            current = item;
                            continue;
                        }
                        None => close(folder, &mut open, &mut starts, &mut values, &mut known)?,
                    }
                }
            },
        };
        loop {
            if open.is_empty() {
                return Ok(value);
            }
            values.push(value);
            if let Some(item) = next_item(&mut open) {
                current = item;
                break;
            }
            value = close(folder, &mut open, &mut starts, &mut values, &mut known)?;
        }
    }
}

/// Values of lists that are shared in memory, by their keys.
struct Known<V> {
    indices: AddressMap,
    values: Vec<V>,
}

impl<V> Default for Known<V> {
    fn default() -> Self {
        Self {
            indices: AddressMap::new(),
            values: Vec::new(),
        }
    }
}

impl<V: Copy> Known<V> {
    fn get(&self, key: usize) -> Option<V> {
        let index = self.indices.get(&(key, 0))?;
        self.values.get(*index).copied()
    }

    fn insert(&mut self, key: usize, value: V) {
        self.indices.insert((key, 0), self.values.len());
        self.values.push(value);
    }
}

fn next_item<'e>(open: &mut [(&List, slice::Iter<'e, Expr>)]) -> Option<&'e Expr> {
    open.last_mut().and_then(|(_, items)| items.next())
}

fn shared_key<F: Fold>(list: &List) -> Option<usize> {
    if F::ONCE { list.shared_key() } else { None }
}

/// Finishes the innermost open list.
fn close<F: Fold>(
    folder: &mut F,
    open: &mut Vec<(&List, slice::Iter<'_, Expr>)>,
    starts: &mut Vec<usize>,
    values: &mut Vec<F::Value>,
    known: &mut Known<F::Value>,
) -> Result<F::Value, F::Error> {
    let start = starts.pop().unwrap_or_default();
    let value = folder.list(values.get(start..).unwrap_or_default())?;
    values.truncate(start);
    if let Some(key) = open.pop().and_then(|(list, _)| shared_key::<F>(list)) {
        known.insert(key, value);
    }
    Ok(value)
}

/// Returns the data of a leaf.
fn leaf_data(expr: &Expr) -> &[u8] {
    match expr {
        Expr::Symbol(symbol) => symbol.as_bytes(),
        Expr::Bytes(bytes) => bytes,
        Expr::List(_) => &[],
    }
}

fn leaf_atom(kind: AtomKind, expr: &Expr) -> Atom {
    match expr {
        Expr::Bytes(bytes) => Atom::new(kind, bytes.to_shared(), AtomId::ZERO),
        _ => Atom::new(kind, leaf_data(expr), AtomId::ZERO),
    }
}

/// Returns the atoms of a list with these items, last one first, each with its id.
fn list_atoms(items: &[AtomId]) -> impl Iterator<Item = (AtomId, Atom)> {
    let empty = items.is_empty().then(Atom::empty_list);
    let mut next = AtomId::ZERO;
    let links = items.iter().rev().map(move |item| {
        let atom = Atom::list(*item, next);
        next = atom.id();
        (next, atom)
    });
    empty.into_iter().map(|atom| (atom.id(), atom)).chain(links)
}

/// Computes ids without creating atoms.
struct Ids;

impl Fold for Ids {
    type Value = AtomId;
    type Error = Infallible;
    const ONCE: bool = true;

    fn leaf(&mut self, kind: AtomKind, expr: &Expr) -> Result<AtomId, Infallible> {
        Ok(atom_id(kind, leaf_data(expr), AtomId::ZERO))
    }

    fn list(&mut self, items: &[AtomId]) -> Result<AtomId, Infallible> {
        let Some((last, rest)) = items.split_last() else {
            return Ok(Atom::empty_list().id());
        };
        let link = |next, item: &AtomId| atom_id(AtomKind::List, item.as_bytes(), next);
        Ok(rest.iter().rev().fold(link(AtomId::ZERO, last), link))
    }
}

/// Collects every atom in the order of [`Expr::to_atoms`].
#[derive(Default)]
struct Collect {
    atoms: Vec<Atom>,
}

impl Fold for Collect {
    type Value = AtomId;
    type Error = Infallible;
    const ONCE: bool = false;

    fn leaf(&mut self, kind: AtomKind, expr: &Expr) -> Result<AtomId, Infallible> {
        let atom = leaf_atom(kind, expr);
        let id = atom.id();
        self.atoms.push(atom);
        Ok(id)
    }

    fn list(&mut self, items: &[AtomId]) -> Result<AtomId, Infallible> {
        let start = self.atoms.len();
        let mut head = AtomId::ZERO;
        self.atoms.extend(list_atoms(items).map(|(id, atom)| {
            head = id;
            atom
        }));
        self.atoms.get_mut(start..).unwrap_or_default().reverse();
        Ok(head)
    }
}

/// Writes atoms to a sink.
struct Write<'s, S: ?Sized>(&'s mut S);

impl<S: AtomSink + ?Sized> Fold for Write<'_, S> {
    type Value = AtomId;
    type Error = S::Error;
    const ONCE: bool = true;

    fn leaf(&mut self, kind: AtomKind, expr: &Expr) -> Result<AtomId, S::Error> {
        let atom = leaf_atom(kind, expr);
        let id = atom.id();
        self.0.put(id, atom)?;
        Ok(id)
    }

    fn list(&mut self, items: &[AtomId]) -> Result<AtomId, S::Error> {
        let mut head = AtomId::ZERO;
        for (id, atom) in list_atoms(items) {
            self.0.put(id, atom)?;
            head = id;
        }
        Ok(head)
    }
}

/// Counts atoms.
struct Count;

impl Fold for Count {
    type Value = u64;
    type Error = Infallible;
    const ONCE: bool = true;

    fn leaf(&mut self, _: AtomKind, _: &Expr) -> Result<u64, Infallible> {
        Ok(1)
    }

    fn list(&mut self, items: &[u64]) -> Result<u64, Infallible> {
        // A usize has at most 64 bits on every target that Rust supports.
        let own = items.len().max(1) as u64;
        Ok(items
            .iter()
            .fold(own, |sum, item| sum.saturating_add(*item)))
    }
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

impl Expr {
    /// Returns the id: the id of the first atom of the atom form.
    ///
    /// Time and memory are proportional to the expression's size in memory: a shared list is hashed
    /// once.
    ///
    /// ```
    /// use astreum_core::{atom::Atom, expr::Expr};
    /// assert_eq!(Expr::symbol("a").id(), Atom::symbol("a").id());
    /// ```
    #[must_use]
    pub fn id(&self) -> AtomId {
        infallible(fold(self, &mut Ids))
    }

    /// Returns the number of atoms that [`Expr::to_atoms`] returns, saturating.
    ///
    /// A list that is shared in memory counts each time it occurs but is visited once, so this is
    /// fast where `to_atoms` is not: sixty lists that each contain the previous one twice are 2^60
    /// atoms.
    ///
    /// ```
    /// use astreum_core::expr::Expr;
    ///
    /// // Each list contains the previous one twice.
    /// let shared = (0..60).fold(Expr::list([]), |list, _| Expr::list([list.clone(), list]));
    /// assert!(shared.atom_count() > 1 << 60);
    /// assert_eq!(Expr::list([Expr::symbol("a")]).atom_count(), 2);
    /// ```
    #[must_use]
    pub fn atom_count(&self) -> u64 {
        infallible(fold(self, &mut Count))
    }

    /// Returns the id and all atoms. The atoms of a list are those of each item in order, followed
    /// by its own list atoms, first one first. Duplicate atoms are kept.
    ///
    /// The result has [`Expr::atom_count`] atoms; check that count before calling this on an
    /// untrusted expression.
    ///
    /// ```
    /// let expr = astreum_core::text::parse("(a a)").unwrap();
    /// let (id, atoms) = expr.to_atoms();
    /// assert_eq!(atoms.len(), 4);
    /// assert_eq!(atoms[2].id(), id);
    /// ```
    #[must_use]
    pub fn to_atoms(&self) -> (AtomId, Vec<Atom>) {
        let mut collect = Collect::default();
        let id = infallible(fold(self, &mut collect));
        (id, collect.atoms)
    }

    /// Writes all atoms to `sink` and returns the id.
    ///
    /// An atom is written after every atom that it references, so that an interrupted write leaves
    /// no atom with missing references. A list that is shared in memory is written once.
    ///
    /// ```
    /// use astreum_core::atom::MemoryStore;
    /// use astreum_core::expr::Expr;
    ///
    /// let expr = Expr::list([Expr::symbol("a"), Expr::symbol("a")]);
    /// let mut store = MemoryStore::new();
    /// let id = expr.write_atoms(&mut store).unwrap();
    /// // The symbol is one atom, each item one more.
    /// assert_eq!((id, store.len()), (expr.id(), 3));
    /// ```
    ///
    /// # Errors
    /// Fails if the sink cannot store an atom.
    pub fn write_atoms<S: AtomSink + ?Sized>(&self, sink: &mut S) -> Result<AtomId, S::Error> {
        fold(self, &mut Write(sink))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;
    use crate::expr::tests::{arb_expr, doubled, nested, on_a_small_stack};
    use crate::expr::{Bytes, ExprError};
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn atoms_are_complete_with_items_first() {
        let a = Atom::symbol("a");
        let b = Atom::bytes(*b"b");
        let inner = Atom::list(b.id(), AtomId::ZERO);
        let last = Atom::list(a.id(), AtomId::ZERO);
        let middle = Atom::list(inner.id(), last.id());
        let head = Atom::list(a.id(), middle.id());
        let expr = Expr::list([
            Expr::symbol("a"),
            Expr::list([Expr::bytes("b")]),
            Expr::symbol("a"),
        ]);
        let (id, atoms) = expr.to_atoms();
        assert_eq!(id, head.id());
        assert_eq!(atoms, [a.clone(), b, inner, a, head, middle, last]);
    }

    #[test]
    fn empty_list_is_one_atom() {
        let (id, atoms) = Expr::list([]).to_atoms();
        assert_eq!(atoms, [Atom::empty_list()]);
        assert_eq!(id, Atom::empty_list().id());
        assert_eq!(Expr::list([]).id(), id);
        assert_eq!(Expr::list([]).atom_count(), 1);
    }

    /// Records every atom in the order of arrival.
    #[derive(Default)]
    struct Log(Vec<(AtomId, Atom)>);

    impl AtomSink for Log {
        type Error = Infallible;

        fn put(&mut self, id: AtomId, atom: Atom) -> Result<(), Infallible> {
            self.0.push((id, atom));
            Ok(())
        }
    }

    #[test]
    fn shared_lists_count_in_full_but_are_encoded_once() {
        let expr = doubled(60);
        // 2^60 leaves, and two list atoms for each of 2^60 - 1 lists.
        assert_eq!(expr.atom_count(), 3 * (1 << 60) - 2);
        assert_eq!(doubled(64).atom_count(), u64::MAX);
        let mut log = Log::default();
        assert_eq!(expr.write_atoms(&mut log), Ok(expr.id()));
        // The innermost list contains its leaf twice.
        assert_eq!(log.0.len(), 2 + 2 * 60);
        let rebuilt = Expr::list([doubled(3), Expr::symbol("x"), doubled(3)]);
        let copied = Expr::list([doubled(3), Expr::symbol("x"), doubled(3)]);
        assert_eq!(rebuilt.id(), copied.to_atoms().0);
    }

    #[test]
    fn reading_a_doubled_list_stops_at_the_atom_limit() {
        let mut store = MemoryStore::new();
        let id = doubled(60).write_atoms(&mut store).unwrap();
        assert_eq!(
            Expr::from_atoms(&store, &id, 10_000),
            Err(ExprError::TooManyAtoms { max: 10_000 })
        );
    }

    #[test]
    fn million_nested_lists_round_trip_through_atoms_on_a_small_stack() {
        on_a_small_stack(|| {
            let deep = nested(1_000_000, Expr::symbol("x"));
            let (id, atoms) = deep.to_atoms();
            assert_eq!(atoms.len(), 1_000_001);
            assert_eq!(deep.id(), id);
            assert_eq!(deep.atom_count(), 1_000_001);
            let mut store = MemoryStore::new();
            assert_eq!(deep.write_atoms(&mut store), Ok(id));
            drop(atoms);
            let back = Expr::from_atoms(&store, &id, 1_000_001).unwrap();
            assert!(back == deep);
            assert_eq!(
                Expr::from_atoms(&store, &id, 1_000_000),
                Err(ExprError::TooManyAtoms { max: 1_000_000 })
            );
        });
    }

    #[test]
    fn long_list_round_trips_through_atoms() {
        let items: Vec<Expr> = (0..100_000).map(Expr::integer).collect();
        let expr = Expr::list(items);
        let mut store = MemoryStore::new();
        let id = expr.write_atoms(&mut store).unwrap();
        assert!(Expr::from_atoms(&store, &id, 200_000) == Ok(expr));
    }

    /// Accepts the given number of atoms and rejects the next.
    struct Full(usize);

    impl AtomSink for Full {
        type Error = &'static str;

        fn put(&mut self, _: AtomId, _: Atom) -> Result<(), &'static str> {
            self.0 = self.0.checked_sub(1).ok_or("full")?;
            Ok(())
        }
    }

    #[test]
    fn failing_sink_ends_the_write() {
        let expr = Expr::list([Expr::symbol("a"), Expr::Bytes(Bytes::default())]);
        assert_eq!(expr.write_atoms(&mut Full(3)), Err("full"));
        assert_eq!(expr.write_atoms(&mut Full(4)), Ok(expr.id()));
    }

    proptest! {
        #[test]
        fn atom_encodings_agree_and_round_trip(expr in arb_expr()) {
            let (id, atoms) = expr.to_atoms();
            prop_assert_eq!(expr.id(), id);
            prop_assert_eq!(expr.atom_count(), atoms.len() as u64);
            let mut log = Log::default();
            prop_assert_eq!(expr.write_atoms(&mut log), Ok(id));
            // Every atom that an atom references was written before it.
            let mut known = vec![AtomId::ZERO];
            for (id, atom) in &log.0 {
                prop_assert_eq!(*id, atom.id());
                prop_assert!(known.contains(&atom.next()));
                if atom.kind() == AtomKind::List && !atom.data().is_empty() {
                    prop_assert!(known.contains(&AtomId::from_slice(atom.data()).unwrap()));
                }
                known.push(*id);
            }
            let written: MemoryStore = log.0.into_iter().map(|(_, atom)| atom).collect();
            let all: MemoryStore = atoms.iter().cloned().collect();
            prop_assert!(written.iter().eq(all.iter()));
            prop_assert_eq!(Expr::from_atoms(&all, &id, atoms.len()), Ok(expr));
            prop_assert_eq!(
                Expr::from_atoms(&all, &id, atoms.len() - 1),
                Err(ExprError::TooManyAtoms { max: atoms.len() - 1 })
            );
        }
    }
}
