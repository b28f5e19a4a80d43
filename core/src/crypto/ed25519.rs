//! Ed25519 signatures with the verification rules of OpenSSL.
//!
//! Consensus needs the same verdict on every node. [`VerifyingKey::verify`] uses the equation
//! without the cofactor, `R = [s]B - [k]A` compared as bytes, with `s` below the group order.
//! OpenSSL does the same, and so does the reference, which uses it. Small-order keys and points,
//! which a strict verification rejects, are accepted. A batch verification multiplies by the
//! cofactor and accepts more signatures, so it must not be used for verdicts.

use super::KEY_BYTES;
use core::fmt;
use curve25519_dalek::edwards::EdwardsPoint;

/// Size of a signature, in bytes.
const SIGNATURE_BYTES: usize = 64;

/// Ed25519 signing key, derived from a 32-byte seed. Overwritten when dropped.
///
/// ```
/// use astreum_core::crypto::SigningKey;
///
/// let key = SigningKey::from_seed(&[1; 32]);
/// let signature = key.sign(b"message");
/// assert!(key.verifying_key().verify(b"message", &signature).is_ok());
/// assert_eq!(key.sign(b"message"), signature);
/// ```
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Creates the key that belongs to `seed`.
    #[must_use]
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Returns the seed, unchanged.
    #[must_use]
    pub fn as_seed(&self) -> &[u8; KEY_BYTES] {
        self.0.as_bytes()
    }

    /// Returns the public key.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    /// Signs `message`. Signing is deterministic: the same message always has the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        #[cfg(all(fuzzing, feature = "consensus"))]
        return Signature(super::fuzzing::signature(
            self.0.as_ref().as_bytes(),
            message,
        ));
        #[cfg(not(all(fuzzing, feature = "consensus")))]
        Signature(ed25519_dalek::Signer::sign(&self.0, message).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// Reason a signature is invalid.
///
/// ```
/// use astreum_core::crypto::{SignatureError, VerifyingKey};
/// let mut bytes = [0; 32];
/// bytes[0] = 2;
/// assert_eq!(VerifyingKey::from_bytes(&bytes), Err(SignatureError::BadKey));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureError {
    /// The 32 bytes of the key are not a point of the curve.
    BadKey,
    /// The signature does not belong to this key and message.
    Mismatch,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadKey => "invalid Ed25519 public key",
            Self::Mismatch => "signature does not match key and message",
        })
    }
}

impl core::error::Error for SignatureError {}

/// Ed25519 public key, decoded.
///
/// ```
/// use astreum_core::crypto::{SigningKey, VerifyingKey};
///
/// let key = SigningKey::from_seed(&[1; 32]).verifying_key();
/// assert_eq!(VerifyingKey::from_bytes(key.as_bytes()), Ok(key));
/// assert_eq!(key.to_string().len(), 64);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    /// Decodes a key from its 32 bytes.
    ///
    /// # Errors
    /// Returns [`SignatureError::BadKey`] if they are not a point of the curve.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Result<Self, SignatureError> {
        #[cfg(all(fuzzing, feature = "consensus"))]
        let decoded = {
            static KEYS: super::fuzzing::Memo<Option<ed25519_dalek::VerifyingKey>> =
                super::fuzzing::Memo::new();
            let decode = || ed25519_dalek::VerifyingKey::from_bytes(bytes).ok();
            KEYS.get([*bytes, [0; KEY_BYTES]], decode).ok_or(())
        };
        #[cfg(not(all(fuzzing, feature = "consensus")))]
        let decoded = ed25519_dalek::VerifyingKey::from_bytes(bytes);
        decoded.map(Self).map_err(|_| SignatureError::BadKey)
    }

    /// Returns the 32 bytes of the key, as they were passed in.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        self.0.as_bytes()
    }

    /// Returns the negation of the key's point.
    pub(super) fn negated(&self) -> EdwardsPoint {
        -self.0.to_edwards()
    }

    /// Verifies `signature` over `message` with this key.
    ///
    /// ```
    /// use astreum_core::crypto::{SignatureError, SigningKey};
    ///
    /// let key = SigningKey::from_seed(&[1; 32]);
    /// let signature = key.sign(b"message");
    /// assert_eq!(key.verifying_key().verify(b"message", &signature), Ok(()));
    /// let verdict = key.verifying_key().verify(b"massage", &signature);
    /// assert_eq!(verdict, Err(SignatureError::Mismatch));
    /// ```
    ///
    /// # Errors
    /// Returns [`SignatureError::Mismatch`] if the signature is invalid.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        #[cfg(all(fuzzing, feature = "consensus"))]
        let verified = (super::fuzzing::signature(self.as_bytes(), message) == signature.0)
            .then_some(())
            .ok_or(());
        #[cfg(not(all(fuzzing, feature = "consensus")))]
        let verified = ed25519_dalek::Verifier::verify(
            &self.0,
            message,
            &ed25519_dalek::Signature::from_bytes(&signature.0),
        );
        verified.map_err(|_| SignatureError::Mismatch)
    }
}

/// Formats the key in lower-case hex without a prefix.
impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::hex::write(self.as_bytes(), f)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({self})")
    }
}

/// Ed25519 signature: any 64 bytes.
///
/// ```
/// use astreum_core::crypto::{Signature, SigningKey};
/// let signature = SigningKey::from_seed(&[1; 32]).sign(b"message");
/// assert_eq!(Signature::from_slice(signature.as_bytes()), Some(signature));
/// assert_eq!(Signature::from_slice(b"short"), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature([u8; SIGNATURE_BYTES]);

impl Signature {
    /// Creates a signature from its 64 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; SIGNATURE_BYTES]) -> Self {
        Self(bytes)
    }

    /// Creates a signature from a slice, or returns `None` if it does not have exactly 64 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Returns the 64 bytes of the signature.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.0
    }

    /// Returns the two halves of the signature, `R` and `s`.
    pub(super) fn halves(&self) -> ([u8; KEY_BYTES], [u8; KEY_BYTES]) {
        let signature = ed25519_dalek::Signature::from_bytes(&self.0);
        (*signature.r_bytes(), *signature.s_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::tests::{bytes, hex, vectors};
    use alloc::format;
    use proptest::prelude::*;

    const IDENTITY: &str = "0100000000000000000000000000000000000000000000000000000000000000";
    const MINUS_ONE: &str = "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
    const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";
    const KEY: &str = "7767a3242dc9b58bbc68488c1265cc6cc5f26c6f3c88a5d55e901b0734dca572";
    const MIXED_KEY: &str = "6a84d583f06569edb3f5ed77df65544b27d6948b4f0b2cb76f33dd8413b20719";
    const R: &str = "7db0dc9222f3c183457ddde4c708de8e5ea6bf3d5c4404cca14b32729a05c32a";

    fn verdict(key: &str, message: &[u8], r: &str, s: &str) -> Result<(), SignatureError> {
        let signature = Signature::new(hex(&format!("{r}{s}")));
        VerifyingKey::from_bytes(&hex(key)).and_then(|key| key.verify(message, &signature))
    }

    /// The expected verdicts are those of OpenSSL on the same bytes.
    #[test]
    fn edge_cases_have_the_verdicts_of_openssl() {
        let valid = Ok(());
        let invalid = Err(SignatureError::Mismatch);
        for (name, key, message, r, s, expected) in [
            (
                "plain",
                KEY,
                b"m",
                R,
                "3fb1cb173464e35ad4dc48dc2823c404db9ff35b47d593309fa8e060276b7603",
                valid,
            ),
            (
                "s + group order",
                KEY,
                b"m",
                R,
                "2c85c1744ec7f5b2aa79407f071da319db9ff35b47d593309fa8e060276b7613",
                invalid,
            ),
            (
                "mixed-order key, cofactored equation only",
                MIXED_KEY,
                b"\x00",
                R,
                "a50bfa45b2fd98703b33597fbf5412e6802588f24289c4e06e5cd252ecc03207",
                invalid,
            ),
            (
                "mixed-order key, both equations",
                MIXED_KEY,
                b"\x04",
                R,
                "b0ac84a8121ff9bcb12869ac3e6dd86739bbbcf2f9a99c7af7bacb6081755d08",
                valid,
            ),
            (
                "mixed-order R, cofactored equation only",
                KEY,
                b"m",
                "6999d5cb5126005c325892f1c6eab824b310708befff12fbaf45dda050cb12f0",
                "3d9e1dc3d5aaab3aa3b50f7e6f219b120e2c78f85501e7d12c77f0a3fbdf1b03",
                invalid,
            ),
            ("key of order 1", IDENTITY, b"m", IDENTITY, ZERO, valid),
            (
                "key of order 2, even hash",
                MINUS_ONE,
                b"\x01",
                IDENTITY,
                ZERO,
                valid,
            ),
            (
                "key of order 2, odd hash",
                MINUS_ONE,
                b"\x00",
                IDENTITY,
                ZERO,
                invalid,
            ),
            (
                "identity key, y not reduced",
                "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                b"m",
                IDENTITY,
                ZERO,
                valid,
            ),
            (
                "identity key, sign of zero set",
                "0100000000000000000000000000000000000000000000000000000000000080",
                b"m",
                IDENTITY,
                ZERO,
                valid,
            ),
            (
                "identity key, both",
                "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                b"m",
                IDENTITY,
                ZERO,
                valid,
            ),
            (
                "key of order 2, sign of zero set",
                "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                b"\x07",
                IDENTITY,
                ZERO,
                valid,
            ),
            (
                "R, y not reduced",
                IDENTITY,
                b"m",
                "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                ZERO,
                invalid,
            ),
            (
                "R, sign of zero set",
                IDENTITY,
                b"m",
                "0100000000000000000000000000000000000000000000000000000000000080",
                ZERO,
                invalid,
            ),
            (
                "key is not a point",
                "0200000000000000000000000000000000000000000000000000000000000000",
                b"m",
                IDENTITY,
                ZERO,
                Err(SignatureError::BadKey),
            ),
        ] {
            assert_eq!(verdict(key, message, r, s), expected, "{name}");
        }
    }

    fn is_valid(key: &str, message: &str, signature: &str) -> bool {
        let signature = Signature::from_slice(&bytes(signature));
        signature.is_some_and(|signature| {
            let key = VerifyingKey::from_bytes(&hex(key));
            key.and_then(|key| key.verify(&bytes(message), &signature))
                .is_ok()
        })
    }

    #[test]
    fn wycheproof() {
        let mut judged = 0;
        for line in vectors(include_str!(
            "../../../tests/vectors/wycheproof_ed25519.txt"
        )) {
            let [id, result, key, message, signature] = line[..] else {
                panic!("{line:?}");
            };
            assert_eq!(is_valid(key, message, signature), result == "valid", "{id}");
            judged += 1;
        }
        assert_eq!(judged, 151);
    }

    /// The twelve cases of `ed25519-speccheck`. The expected verdicts are those of OpenSSL 3.4.1,
    /// obtained through the Python package `cryptography` 44.0.2.
    #[test]
    fn speccheck_vectors_have_the_verdicts_of_openssl() {
        let mut judged = 0;
        for line in vectors(include_str!("../../../tests/vectors/ed25519_speccheck.txt")) {
            let [id, verdict, key, message, signature] = line[..] else {
                panic!("{line:?}");
            };
            assert_eq!(
                is_valid(key, message, signature),
                verdict == "holds",
                "{id}"
            );
            judged += 1;
        }
        assert_eq!(judged, 12);
    }

    proptest! {
        #[test]
        fn signature_is_valid_for_one_message_and_one_key(
            seed in any::<[u8; 32]>(), message in any::<[u8; 9]>(),
        ) {
            let key = SigningKey::from_seed(&seed);
            let signature = key.sign(&message);
            prop_assert_eq!(key.as_seed(), &seed);
            prop_assert_eq!(key.verifying_key().verify(&message, &signature), Ok(()));
            prop_assert!(key.verifying_key().verify(&message[1..], &signature).is_err());
            let mut other = seed;
            other[0] ^= 1;
            let other = SigningKey::from_seed(&other).verifying_key();
            prop_assert!(other.verify(&message, &signature).is_err());
        }
    }

    #[test]
    fn debug_output_hides_secrets() {
        assert_eq!(
            format!("{:?}", SigningKey::from_seed(&[3; 32])),
            "SigningKey(…)"
        );
    }
}
