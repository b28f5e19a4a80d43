//! Fuzz target of expression round trips through text and atoms.

use super::input::Input;
use astreum_core::atom::{AtomSource, MemoryStore};
use astreum_core::expr::{Expr, Visit};
use astreum_core::text::{Parser, is_visible, parse, to_text};

/// Maximum number of atoms of an expression here; larger ones are not written.
const MAX_ATOMS: usize = 1 << 16;

/// Reads `data` as source text, and as the recipe of an expression that may not have a text form;
/// `reads_atoms` stores each expression as atoms and reads them back.
pub(super) fn run(data: &[u8], reads_atoms: bool) {
    let source = String::from_utf8_lossy(data);
    for expr in Parser::new(&source).map_while(Result::ok) {
        let text = format!("{expr:#}");
        assert!(text.chars().all(is_visible), "{text:?} is printable");
        let again = parse(&text);
        let reads_back = again.as_ref().is_ok_and(|again| same(&expr, again));
        // A symbol with invisible characters is escaped, and must not be read as another symbol.
        assert!(
            reads_back || again.is_err() && has_invisible_characters(&expr),
            "{text} reads back as {again:?}"
        );
        if reads_atoms {
            atoms(&expr);
        }
    }
    let made = Input(data).expression();
    let text = format!("{made:#}");
    assert!(text.chars().all(is_visible), "{text:?} is printable");
    if let Ok(again) = parse(&text) {
        assert!(same(&made, &again), "{text} reads back as {again:?}");
    }
    let short = to_text(&made, 20);
    assert!(short.len() <= 20 + '…'.len_utf8(), "{short} is short");
    if reads_atoms {
        atoms(&made);
    }
}

/// Returns whether a symbol has a character that is not visible.
fn has_invisible_characters(expr: &Expr) -> bool {
    expr.visit().any(|step| match step {
        Visit::Symbol(name) => !name.chars().all(is_visible),
        _ => false,
    })
}

/// Returns whether `again` equals `expr`, except for 32-byte values: they print for `ref`, which
/// takes a symbol.
fn same(expr: &Expr, again: &Expr) -> bool {
    let (mut left, mut right) = (expr.visit(), again.visit());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(Visit::Open(_)), Some(Visit::Open(_)))
            | (Some(Visit::Close), Some(Visit::Close)) => {}
            (Some(Visit::Symbol(a)), Some(Visit::Symbol(b))) if a == b => {}
            (Some(Visit::Bytes(a)), Some(Visit::Bytes(b))) if a == b => {}
            (Some(Visit::Bytes(a)), Some(Visit::Symbol(b)))
                if a.len() == 32 && **b == *format!("{a:?}") => {}
            _ => return false,
        }
    }
}

/// Checks that the expression can be read from its atoms, and that its id is that of its first
/// atom.
fn atoms(expr: &Expr) {
    let (id, atoms) = expr.to_atoms();
    assert_eq!(id, expr.id());
    assert_eq!(atoms.len() as u64, expr.atom_count());
    let store: MemoryStore = atoms.into_iter().collect();
    assert!(store.atom(&id).is_ok(), "the first atom exists");
    assert!(
        Expr::from_atoms(&store, &id, MAX_ATOMS).as_ref() == Ok(expr),
        "{expr:#} round-trips through its atoms"
    );
}
