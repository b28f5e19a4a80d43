//! X25519 key pairs and key agreement.

use super::{KEY_BYTES, SharedKey};
use core::fmt;
use x25519_dalek::StaticSecret;

/// X25519 secret key. Overwritten when dropped.
///
/// ```
/// use astreum_core::crypto::SecretKey;
///
/// let (ours, theirs) = (SecretKey::from_bytes([1; 32]), SecretKey::from_bytes([2; 32]));
/// let shared = ours.agree(&theirs.public_key())?;
/// assert_eq!(shared.as_bytes(), theirs.agree(&ours.public_key())?.as_bytes());
/// // The debug form does not reveal the key.
/// assert!(!format!("{ours:?}").contains("01"));
/// # Ok::<(), astreum_core::crypto::AgreeError>(())
/// ```
#[derive(Clone)]
pub struct SecretKey(StaticSecret);

impl SecretKey {
    /// Creates a secret key from 32 bytes. Any 32 bytes are valid; they are clamped when used.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(StaticSecret::from(bytes))
    }

    /// Returns the 32 bytes of the key, as they were passed in.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        self.0.as_bytes()
    }

    /// Returns the public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let compute = || x25519_dalek::PublicKey::from(&self.0).to_bytes();
        #[cfg(all(fuzzing, feature = "consensus"))]
        let compute = || {
            static KEYS: super::fuzzing::Memo<[u8; KEY_BYTES]> = super::fuzzing::Memo::new();
            KEYS.get([*self.as_bytes(), [0; KEY_BYTES]], compute)
        };
        PublicKey(compute())
    }

    /// Derives the key shared with the owner of `peer`. Costs tens of microseconds; callers should
    /// cache the result.
    ///
    /// ```
    /// use astreum_core::crypto::{AgreeError, PublicKey, SecretKey};
    /// let secret = SecretKey::from_bytes([1; 32]);
    /// assert_eq!(secret.agree(&PublicKey::new([0; 32])).unwrap_err(), AgreeError::LowOrder);
    /// assert_eq!(secret.agree(&PublicKey::new([255; 32])).unwrap_err(), AgreeError::NotCanonical);
    /// ```
    ///
    /// # Errors
    /// Returns [`AgreeError::LowOrder`] if `peer` is a point of low order: the result would be all
    /// zeros for every secret key. Returns [`AgreeError::NotCanonical`] if `peer` is not the
    /// canonical encoding of its point, see [`PublicKey::is_canonical`].
    pub fn agree(&self, peer: &PublicKey) -> Result<SharedKey, AgreeError> {
        if !peer.is_canonical() {
            return Err(AgreeError::NotCanonical);
        }
        let compute = || {
            let shared = self
                .0
                .diffie_hellman(&x25519_dalek::PublicKey::from(peer.0));
            shared.was_contributory().then(|| shared.to_bytes())
        };
        #[cfg(all(fuzzing, feature = "consensus"))]
        let compute = || {
            static SHARED: super::fuzzing::Memo<Option<[u8; KEY_BYTES]>> =
                super::fuzzing::Memo::new();
            SHARED.get([*self.as_bytes(), *peer.as_bytes()], compute)
        };
        compute()
            .map(SharedKey::from_bytes)
            .ok_or(AgreeError::LowOrder)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// Reason a public key is rejected in a key agreement. No secret key has such a public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AgreeError {
    /// The key is a point of low order.
    LowOrder,
    /// The key is not in canonical form.
    NotCanonical,
}

impl fmt::Display for AgreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LowOrder => "low-order public key: the shared secret would be all zeros",
            Self::NotCanonical => "non-canonical public key: not below 2^255 - 19",
        })
    }
}

impl core::error::Error for AgreeError {}

/// X25519 public key: the identity of a peer. Ordered by its bytes.
///
/// ```
/// use astreum_core::crypto::{PublicKey, SecretKey};
/// let key = SecretKey::from_bytes([1; 32]).public_key();
/// assert_eq!(PublicKey::from_slice(key.as_bytes()), Some(key));
/// assert_eq!(PublicKey::new([0xab; 32]).to_string(), "ab".repeat(32));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// Creates a key from its 32 bytes without checking them; [`SecretKey::agree`] rejects invalid
    /// keys.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Creates a key from a slice, or returns `None` if it does not have exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Returns the 32 bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Returns whether the key is a number below 2^255 - 19, as is every public key derived from a
    /// secret key.
    ///
    /// X25519 also accepts other numbers and uses their remainder without the top bit. With those a
    /// peer would have several identities, and an attacker could replay a recorded packet under
    /// another encoding of its sender's key as if it came from a new peer.
    ///
    /// ```
    /// use astreum_core::crypto::{PublicKey, SecretKey};
    /// assert!(SecretKey::from_bytes([1; 32]).public_key().is_canonical());
    /// assert!(!PublicKey::new([255; 32]).is_canonical());
    /// ```
    #[must_use]
    pub const fn is_canonical(&self) -> bool {
        let [low, middle @ .., high] = &self.0;
        let mut at = 0;
        while at < middle.len() {
            #[expect(clippy::indexing_slicing, reason = "at < middle.len()")]
            if middle[at] != 0xff {
                return *high < 0x80;
            }
            at += 1;
        }
        *high < 0x7f || (*high == 0x7f && *low < 0xed)
    }
}

impl From<[u8; KEY_BYTES]> for PublicKey {
    fn from(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for PublicKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Formats the key in lower-case hex without a prefix.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::hex::write(&self.0, f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::tests::{hex, vectors};
    use alloc::format;
    use proptest::prelude::*;

    /// RFC 7748, section 6.1.
    #[test]
    fn agreement_matches_the_standard_vectors() {
        let alice = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
        let bob = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
        let shared = SecretKey::from_bytes(hex(alice)).agree(&PublicKey::new(hex(bob)));
        assert_eq!(
            shared.map(|key| *key.as_bytes()),
            Ok(hex(
                "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
            ))
        );
        assert_eq!(
            SecretKey::from_bytes(hex(alice)).public_key(),
            PublicKey::new(hex(
                "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
            ))
        );
    }

    /// Vectors of Wycheproof: all are accepted except a zero shared secret and a key that is not
    /// canonical.
    #[test]
    fn wycheproof() {
        let mut agreed = 0;
        let mut refused = 0;
        for line in vectors(include_str!("../../../tests/vectors/wycheproof_x25519.txt")) {
            let [id, flags, public, secret, shared] = line[..] else {
                panic!("{line:?}");
            };
            let ours = SecretKey::from_bytes(hex(secret)).agree(&PublicKey::new(hex(public)));
            match ours.map(|key| *key.as_bytes()) {
                Ok(ours) => {
                    assert_eq!(ours, hex(shared), "{id}");
                    agreed += 1;
                }
                Err(AgreeError::LowOrder) => assert!(flags.contains("ZeroSharedSecret"), "{id}"),
                Err(AgreeError::NotCanonical) => {
                    let (mut number, mut prime) = (hex::<32>(public), [0xff; 32]);
                    number.reverse();
                    (prime[0], prime[31]) = (0x7f, 0xed);
                    assert!(number >= prime, "{id}");
                    refused += 1;
                }
            }
        }
        assert_eq!((agreed, refused), (474, 29));
    }

    proptest! {
        #[test]
        fn derived_public_keys_are_canonical(secret in any::<[u8; 32]>()) {
            prop_assert!(SecretKey::from_bytes(secret).public_key().is_canonical());
        }

        #[test]
        fn both_sides_get_the_same_key(a in any::<[u8; 32]>(), b in any::<[u8; 32]>()) {
            let (a, b) = (SecretKey::from_bytes(a), SecretKey::from_bytes(b));
            prop_assert_eq!(
                a.agree(&b.public_key()).map(|key| *key.as_bytes()),
                b.agree(&a.public_key()).map(|key| *key.as_bytes())
            );
        }
    }

    #[test]
    fn low_order_keys_are_rejected() {
        let secret = SecretKey::from_bytes([7; 32]);
        // 0, 1, the two points of order 8, p - 1; p and p + 1 are not canonical.
        for (point, error) in [
            (
                "0000000000000000000000000000000000000000000000000000000000000000",
                AgreeError::LowOrder,
            ),
            (
                "0100000000000000000000000000000000000000000000000000000000000000",
                AgreeError::LowOrder,
            ),
            (
                "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                AgreeError::LowOrder,
            ),
            (
                "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
                AgreeError::LowOrder,
            ),
            (
                "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                AgreeError::LowOrder,
            ),
            (
                "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                AgreeError::NotCanonical,
            ),
            (
                "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                AgreeError::NotCanonical,
            ),
        ] {
            let mut bytes = hex(point);
            let agreed = secret.agree(&PublicKey::new(bytes));
            assert_eq!(agreed.err(), Some(error), "{point}");
            bytes[31] |= 0x80;
            let agreed = secret.agree(&PublicKey::new(bytes));
            assert_eq!(agreed.err(), Some(AgreeError::NotCanonical), "{point}");
        }
    }

    #[test]
    fn public_key_has_one_canonical_encoding() {
        let name = |low, middle, high| {
            let mut bytes = [middle; 32];
            (bytes[0], bytes[31]) = (low, high);
            PublicKey::new(bytes).is_canonical()
        };
        assert!(name(0xec, 0xff, 0x7f) && name(0xff, 0xff, 0x7e) && name(0xff, 0xfe, 0x7f));
        assert!(!name(0xed, 0xff, 0x7f) && !name(0xff, 0xff, 0x7f));
        assert!(!name(0, 0, 0x80) && !name(0, 0xff, 0x80) && !name(0xff, 0xff, 0xff));
        let mut almost = [0xff; 32];
        (almost[30], almost[31]) = (0xfe, 0x7f);
        assert!(PublicKey::new(almost).is_canonical());
    }

    #[test]
    fn debug_output_hides_secrets() {
        let secret = SecretKey::from_bytes([0xab; 32]);
        assert_eq!(format!("{secret:?}"), "SecretKey(…)");
        let shared = secret.agree(&SecretKey::from_bytes([1; 32]).public_key());
        assert_eq!(format!("{shared:?}"), "Ok(SharedKey(…))");
    }
}
