//! Secret keys, kept out of logs, messages and freed memory.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 secret bytes. Wiped on drop; neither `Debug` nor any error shows them.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Creates a secret from its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Parses 64 hex digits, with or without a leading `0x`.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let id: astreum_core::atom::AtomId = text.parse().ok()?;
        Some(Self(*id.as_bytes()))
    }

    /// Returns the bytes, for the one place that computes with them.
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
