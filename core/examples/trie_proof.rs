//! Authenticated map: a store commits to its entries by one id, and proves single entries to
//! readers that have only the id.
//!
//! ```text
//! cargo run -p astreum-core --example trie_proof
//! ```

use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::trie::{self, Proof, Scalar, Trie};
use core::error::Error;

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let mut store = MemoryStore::new();
    let mut map = Trie::new();
    for (key, value) in [("alice", "7"), ("bob", "11"), ("carol", "13")] {
        map.put(&store, key.as_bytes(), value.as_bytes())?;
    }
    let root: AtomId = map.commit(&mut Scalar, &mut store)?;
    println!("root {root}");

    // A prover with the store, and a verifier with the root alone.
    let proof = Proof::prove(&store, root, b"bob")?.to_bytes();
    let value = Proof::from_bytes(&proof)?.verify(root, b"bob")?;
    println!("bob has {value:?}, proven by {} bytes", proof.len());
    assert_eq!(value.as_deref(), Some(&b"11"[..]));

    // Absence is proven in the same way, and no proof holds under another root.
    let absent = Proof::prove(&store, root, b"dave")?;
    assert_eq!(absent.verify(root, b"dave")?, None);
    assert!(absent.verify(AtomId::ZERO, b"dave").is_err());

    // A change writes the nodes on its path; the difference of two roots is read in proportion.
    let mut changed = Trie::open(root);
    changed.put(&store, b"bob", b"12")?;
    let next = changed.commit(&mut Scalar, &mut store)?;
    let changes: Vec<_> = trie::diff(&store, root, next).collect::<Result<_, _>>()?;
    println!("{} change between the two roots", changes.len());
    assert_eq!(changes.len(), 1);
    Ok(())
}
