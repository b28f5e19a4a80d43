//! Links of stored objects: the atoms that an atom leads to.
//!
//! A garbage collection follows them from what has to be kept. The links depend on the atom alone,
//! not on the way to it, so that an atom that was visited once need not be visited again.
//!
//! | atom | links |
//! | --- | --- |
//! | any | the next atom of its list |
//! | list | the item: part of an expression; code, data and channels of an account; body of a signed record |
//! | symbol `trie` | the children of the trie's node, and its value if that can be an id |
//!
//! The fields of a record are bytes, and are not followed: the parent of a block and the lists under
//! a storage contract are not part of the block and of the contract.

use crate::atom::{Atom, AtomId, AtomKind, AtomSource, SourceError};
use crate::trie;
use alloc::vec::Vec;

/// Number of atoms of a trie's node after its symbol.
const NODE_ATOMS: usize = 4;

/// Appends the ids that `atom` leads to, in an order in which a stack of them stays small: the item
/// of a list is taken first. Some of them may not be atoms: the value of a trie may be 32 bytes of
/// something else. Atoms of a trie's node that are missing are left out.
///
/// ```
/// use astreum_core::atom::{AtomId, AtomSource, MemoryStore};
/// use astreum_core::chain::{Account, push_links};
///
/// let (id, atoms) = Account::default().to_atoms();
/// let store: MemoryStore = atoms.iter().map(|(_, atom)| atom.clone()).collect();
/// let (mut waiting, mut visited) = (vec![id], 0);
/// while let Some(id) = waiting.pop() {
///     visited += 1;
///     let atom = store.atom(&id).unwrap_or_else(|never| panic!("{never}"));
///     push_links(&store, &atom, &mut waiting)?;
/// }
/// assert_eq!(visited, atoms.len());
/// # Ok::<(), core::convert::Infallible>(())
/// ```
///
/// # Errors
/// Fails if the source fails.
pub fn push_links<S: AtomSource + ?Sized>(
    source: &S,
    atom: &Atom,
    links: &mut Vec<AtomId>,
) -> Result<(), S::Error> {
    push(atom.next(), links);
    if atom.kind() == AtomKind::List {
        push_data(atom, links);
    }
    if atom.kind() == AtomKind::Symbol && atom.data() == trie::TYPE_NAME {
        let mut next = atom.next();
        for at in 0..NODE_ATOMS {
            if next.is_zero() {
                break;
            }
            let field = match source.atom(&next) {
                Ok(field) => field,
                Err(SourceError::Missing(_)) => break,
                Err(SourceError::Failed(error)) => return Err(error),
            };
            next = field.next();
            // The first one is the key.
            if at > 0 {
                push_data(&field, links);
            }
        }
    }
    Ok(())
}

fn push_data(atom: &Atom, links: &mut Vec<AtomId>) {
    push(AtomId::from_slice(atom.data()).unwrap_or_default(), links);
}

fn push(id: AtomId, links: &mut Vec<AtomId>) {
    if !id.is_zero() {
        links.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;
    use crate::chain::{Account, Address, Genesis};
    use crate::expr::Expr;
    use crate::trie::{Scalar, Trie};
    use alloc::collections::BTreeSet;

    /// Returns the atoms that `roots` lead to, and the largest number of ids that waited.
    fn closure(store: &MemoryStore, roots: &[AtomId]) -> (BTreeSet<AtomId>, usize) {
        let (mut waiting, mut seen, mut largest) = (roots.to_vec(), BTreeSet::new(), 0);
        while let Some(id) = waiting.pop() {
            if let Ok(atom) = store.atom(&id)
                && seen.insert(id)
            {
                let Ok(()) = push_links(store, &atom, &mut waiting);
            }
            largest = largest.max(waiting.len());
        }
        (seen, largest)
    }

    #[test]
    fn state_and_header_of_a_genesis_lead_to_all_of_its_atoms() {
        let mut store = MemoryStore::new();
        let genesis = Genesis::new(Address::new([7; 32]), 0_u64.into(), 1_u64.into());
        let block = genesis.build(&mut Scalar, &mut store).unwrap();
        let all: BTreeSet<AtomId> = store.iter().map(|(id, _)| *id).collect();
        let (header, _) = closure(&store, &[block.id()]);
        assert_eq!(header.len(), 19);
        let (found, _) = closure(&store, &[block.id(), block.accounts]);
        assert_eq!(found, all);
    }

    #[test]
    fn order_of_visits_does_not_matter() {
        let mut store = MemoryStore::new();
        let mut map = Trie::new();
        for key in 0..100_u8 {
            let id = Account {
                balance: u64::from(key).into(),
                ..Account::default()
            };
            let id = id.write(&mut store).unwrap();
            map.put(&store, &[key.wrapping_mul(77), key], id.as_bytes())
                .unwrap();
        }
        let root = map.commit(&mut Scalar, &mut store).unwrap();
        let (all, _) = closure(&store, &[root]);
        assert_eq!(all.len(), store.len());
        // An atom within a node, visited earlier, does not hide the children of the node.
        for id in &all {
            let inner = store.atom(id).unwrap().next();
            let roots = [root, inner];
            assert_eq!(closure(&store, &roots).0, all);
        }
    }

    #[test]
    fn few_ids_wait_while_a_long_list_is_followed() {
        let items = (0..10_000_u32).map(|at| Expr::bytes(at.to_be_bytes()));
        let (id, atoms) = Expr::list(items.collect::<Vec<_>>()).to_atoms();
        let store: MemoryStore = atoms.into_iter().collect();
        let (found, waiting) = closure(&store, &[id]);
        assert_eq!(found.len(), 20_000);
        assert!(waiting < 4, "{waiting}");
    }
}
