//! Lists of linked atoms: the id of the head commits to every item and to their order.

use astreum_core::atom::{AtomId, MemoryStore, bytes_list, collect_list};
use astreum_core::expr::Expr;
use astreum_core::text::parse;

#[test]
fn list_head_commits_to_every_item_and_their_order() {
    let (head, atoms) = bytes_list(&["one", "two", "three"]);
    assert_eq!(atoms.first().map(|atom| atom.id()), Some(head));
    for other in [
        vec!["one", "two"],
        vec!["one", "two", "three", ""],
        vec!["two", "one", "three"],
        vec!["one", "two", "three!"],
    ] {
        assert_ne!(bytes_list(&other).0, head, "{other:?}");
    }
    assert_eq!(bytes_list::<&str>(&[]).0, AtomId::ZERO);
}

#[test]
fn list_is_read_from_its_head_and_not_with_a_missing_atom() {
    let (head, atoms) = bytes_list(&["one", "two", "three"]);
    let store: MemoryStore = atoms.iter().cloned().collect();
    let read = collect_list(&store, head, 3).unwrap();
    assert_eq!(read, atoms);
    for missing in &atoms {
        let others = atoms.iter().filter(|atom| *atom != missing).cloned();
        let store: MemoryStore = others.collect();
        assert!(collect_list(&store, head, 3).is_err());
    }
    assert!(
        collect_list(&store, head, 2).is_err(),
        "longer than the limit"
    );
}

#[test]
fn id_of_an_expression_commits_to_its_whole_tree() {
    let id = |text: &str| parse(text).unwrap().id();
    let expr = parse("(a (b (c 1)) \"text\")").unwrap();
    let (root, atoms) = expr.to_atoms();
    assert_eq!(root, expr.id());
    for other in [
        "(a (b (c 2)) \"text\")",
        "(a (b c 1) \"text\")",
        "(a (b (c 1)))",
    ] {
        assert_ne!(id(other), root, "{other}");
    }
    let store: MemoryStore = atoms.into_iter().collect();
    assert_eq!(Expr::from_atoms(&store, &root, 100), Ok(expr));
}
