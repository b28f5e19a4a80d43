//! Opcodes of the stack machine.

use core::fmt;

/// Opcode of the stack machine.
///
/// ```
/// use astreum_core::machine::Opcode;
/// assert_eq!(Opcode::ALL.map(Opcode::name)[0], "add");
/// assert_eq!(Opcode::from_token(b"heap_get"), Some(Opcode::HeapGet));
/// assert_eq!(Opcode::from_token(b"sub"), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Opcode {
    /// Adds two numbers.
    Add,
    /// Computes the bitwise not-and of two values.
    Nand,
    /// Continues at the token with this index.
    Jump,
    /// Reads a key of the heap.
    HeapGet,
    /// Writes a key of the heap.
    HeapSet,
    /// Creates an atom from a part of another atom's data.
    AtomSlice,
    /// Creates a list atom.
    AtomLink,
    /// Creates an atom from the data of two others.
    AtomConcat,
    /// Creates an atom.
    AtomNew,
    /// Reads a part of an atom's data.
    AtomLoad,
}

impl Opcode {
    /// All opcodes.
    pub const ALL: [Self; 10] = [
        Self::Add,
        Self::Nand,
        Self::Jump,
        Self::HeapGet,
        Self::HeapSet,
        Self::AtomSlice,
        Self::AtomLink,
        Self::AtomConcat,
        Self::AtomNew,
        Self::AtomLoad,
    ];

    /// Returns the name of the opcode, which is its token.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Nand => "nand",
            Self::Jump => "jump",
            Self::HeapGet => "heap_get",
            Self::HeapSet => "heap_set",
            Self::AtomSlice => "atom_slice",
            Self::AtomLink => "atom_link",
            Self::AtomConcat => "atom_concat",
            Self::AtomNew => "atom_new",
            Self::AtomLoad => "atom_load",
        }
    }

    /// Returns the opcode with this name, or `None` if the token is not an opcode.
    #[inline]
    #[must_use]
    pub fn from_token(token: &[u8]) -> Option<Self> {
        // Most tokens are not opcodes, and most of those are shorter than every opcode.
        if token.len() < 3 {
            return None;
        }
        let mut all = Self::ALL.into_iter();
        all.find(|opcode| opcode.name().as_bytes() == token)
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_round_trip_through_their_names() {
        for opcode in Opcode::ALL {
            assert_eq!(Opcode::from_token(opcode.name().as_bytes()), Some(opcode));
        }
        assert_eq!(Opcode::from_token(b"sub"), None);
    }
}
