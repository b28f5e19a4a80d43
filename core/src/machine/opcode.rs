//! The names of the opcodes.

/// What the stack machine can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opcode {
    Add,
    Nand,
    Jump,
    HeapGet,
    HeapSet,
    AtomSlice,
    AtomLink,
    AtomConcat,
    AtomNew,
    AtomLoad,
}

impl Opcode {
    /// The opcode that a token spells, if it spells one.
    #[inline]
    pub(super) fn from_token(token: &[u8]) -> Option<Self> {
        // Most tokens are no opcode, and most of those are shorter than any.
        if token.len() < 3 {
            return None;
        }
        match token {
            b"add" => Some(Self::Add),
            b"nand" => Some(Self::Nand),
            b"jump" => Some(Self::Jump),
            b"heap_get" => Some(Self::HeapGet),
            b"heap_set" => Some(Self::HeapSet),
            b"atom_slice" => Some(Self::AtomSlice),
            b"atom_link" => Some(Self::AtomLink),
            b"atom_concat" => Some(Self::AtomConcat),
            b"atom_new" => Some(Self::AtomNew),
            b"atom_load" => Some(Self::AtomLoad),
            _ => None,
        }
    }
}
