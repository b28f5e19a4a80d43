//! Keyed hashing, for values that others cannot guess and that need not be stored.

use super::KEY_BYTES;
use core::fmt;
use zeroize::Zeroizing;

/// Key for [`HashKey::hash`]. Overwritten when dropped.
///
/// ```
/// use astreum_core::crypto::HashKey;
///
/// let cookies = HashKey::derive("example 2026 cookies", b"secret seed");
/// let tags = HashKey::derive("example 2026 tags", b"secret seed");
/// assert_ne!(cookies.hash(&[b"peer"]), tags.hash(&[b"peer"]));
/// // The parts are concatenated.
/// assert_eq!(cookies.hash(&[b"pe", b"er"]), cookies.hash(&[b"peer"]));
/// ```
#[derive(Clone)]
pub struct HashKey(Zeroizing<[u8; KEY_BYTES]>);

impl HashKey {
    /// Creates a key from its 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Derives a key for one purpose, named by `context`, from `seed`.
    ///
    /// `context` must be a constant that no other purpose uses.
    #[must_use]
    pub fn derive(context: &str, seed: &[u8]) -> Self {
        Self::from_bytes(blake3::derive_key(context, seed))
    }

    /// Returns the keyed BLAKE3 hash of the concatenation of `parts`.
    ///
    /// The lengths of the parts are not hashed: two adjacent parts must not both vary in length.
    #[must_use]
    pub fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::tests::hex;

    /// Key and first output bytes of the official BLAKE3 test vectors, for inputs of zero and of
    /// three bytes.
    #[test]
    fn keyed_hashes_match_the_official_vectors() {
        let key = HashKey::from_bytes(*b"whats the Elvish word for friend");
        assert_eq!(
            key.hash(&[]),
            hex("92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26")
        );
        let three = key.hash(&[&[0, 1, 2]]);
        assert_eq!(
            three,
            hex("39e67b76b5a007d4921969779fe666da67b5213b096084ab674742f0d5ec62b9")
        );
        assert_eq!(three, key.hash(&[&[0], &[1, 2]]));
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_by_seed() {
        let ids: alloc::collections::BTreeSet<_> = [("a", [1]), ("a", [2]), ("b", [1])]
            .iter()
            .map(|(context, seed)| HashKey::derive(context, seed).hash(&[]))
            .collect();
        assert_eq!(ids.len(), 3);
    }
}
