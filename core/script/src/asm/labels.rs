//! Labels of a list.

use crate::diagnostic::Diagnostic;
use crate::source::Place;
use crate::suggest::nearest;
use crate::tree::{NodeId, Tree, Value};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use astreum_core::expr::Expr;

/// Name of a label, and the use of the macro that defines it.
pub(super) type Label = (String, Option<usize>);

/// Item that stands for the position of a label, or for the difference of two.
struct Reference {
    node: NodeId,
    label: Label,
    minus: Option<Label>,
    place: Place,
    expansion: Option<usize>,
}

/// Labels that a list defines, and its items that refer to them.
#[derive(Default)]
pub(super) struct Labels {
    defined: BTreeMap<Label, (usize, Place)>,
    references: Vec<Reference>,
}

impl Labels {
    /// Returns the place of the first label or reference.
    pub(super) fn first(&self) -> Option<Place> {
        let defined = self.defined.values().map(|(_, place)| *place);
        let references = self.references.iter().map(|reference| reference.place);
        defined.chain(references).min()
    }

    /// Defines a label at the item with this index.
    pub(super) fn define(
        &mut self,
        label: Label,
        index: usize,
        place: Place,
    ) -> Result<(), Diagnostic> {
        let name = label.0.clone();
        if let Some((_, first)) = self.defined.insert(label, (index, place)) {
            let message = format!("label '{name}' is already defined");
            let error = Diagnostic::error("duplicate-label", place, message);
            return Err(error.with_note(first, "first defined"));
        }
        Ok(())
    }

    /// Adds an item that stands for a label, or for the difference of two.
    pub(super) fn refer(
        &mut self,
        node: NodeId,
        label: Label,
        minus: Option<Label>,
        place: Place,
        expansion: Option<usize>,
    ) {
        self.references.push(Reference {
            node,
            label,
            minus,
            place,
            expansion,
        });
    }

    /// Gives the items their values; `len` is the number of items of the list. Returns the problem
    /// with the expansion that it is in.
    pub(super) fn resolve(
        &self,
        tree: &mut Tree,
        len: usize,
    ) -> Result<(), Box<(Diagnostic, Option<usize>)>> {
        for reference in &self.references {
            let at = |label| self.find(label, len, reference.place);
            let wrong = |error| Box::new((error, reference.expansion));
            let position = at(&reference.label).map_err(wrong)?;
            let base = reference.minus.as_ref().map_or(Ok(0), at).map_err(wrong)?;
            let number = position as i128 - base as i128;
            if let Some(node) = tree.node_mut(reference.node)
                && let Expr::Bytes(bytes) = Expr::integer(number)
            {
                node.value = Value::Bytes {
                    bytes,
                    is_string: false,
                };
                node.text = Some(number.to_string());
            }
        }
        Ok(())
    }

    fn find(&self, label: &Label, len: usize, place: Place) -> Result<usize, Diagnostic> {
        let name = &label.0;
        match self.defined.get(label) {
            Some((index, _)) if *index < len => Ok(*index),
            Some((_, defined)) => {
                let message = format!("label '{name}' has no token after it to jump to");
                let error = Diagnostic::error("label-at-end", place, message);
                let hint = "end the program with a token, such as the result, or \"\" \"\" heap_set, \
                            which does nothing";
                Err(error.with_hint(hint).with_note(*defined, "defined"))
            }
            None => {
                let message = format!("label '{name}' is not defined in this stack program");
                let error = Diagnostic::error("unknown-label", place, message);
                let names = self.defined.keys().map(|(name, _)| name.as_str());
                Err(match nearest(name, names) {
                    Some(near) => error.with_hint(format!("did you mean '@{near}'?")),
                    None => error,
                })
            }
        }
    }
}
