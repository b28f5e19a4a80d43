//! Kinds of keys, and their public halves.

use core::fmt;

use astreum_core::crypto::{SecretKey, SigningKey};

use crate::config::Secret;

/// Purpose of a key. The same 32 secret bytes are a different key for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// X25519, for the relay route.
    Relay,
    /// Ed25519, for the validation route and for accounts.
    Validation,
}

impl KeyKind {
    /// Returns its name on the command line and in key files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Validation => "validation",
        }
    }

    /// Returns the kind with this name; `account` is another name of `validation`.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "relay" => Some(Self::Relay),
            "validation" | "account" => Some(Self::Validation),
            _ => None,
        }
    }

    /// Returns the public key that belongs to a secret.
    #[must_use]
    pub fn public_key(self, secret: &Secret) -> [u8; 32] {
        match self {
            Self::Relay => *SecretKey::from_bytes(*secret.expose())
                .public_key()
                .as_bytes(),
            Self::Validation => *SigningKey::from_seed(secret.expose())
                .verifying_key()
                .as_bytes(),
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "relay key (X25519)",
            Self::Validation => "validation or account key (Ed25519)",
        })
    }
}
