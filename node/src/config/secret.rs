//! Secret keys that do not end up in a log, a message or a freed page.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 secret bytes. Wiped when dropped; neither `Debug` nor any error shows them.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret from its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A secret from 64 hexadecimal digits, with or without `0x` in front.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let id: astreum_core::atom::AtomId = text.parse().ok()?;
        Some(Self(*id.as_bytes()))
    }

    /// The bytes, for the one place that computes with them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(<redacted>)")
    }
}
