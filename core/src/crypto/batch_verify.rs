//! Verification of many signatures with one shared inversion; each verdict equals individual
//! verification.
//!
//! [`verify_each`] computes the same result as [`VerifyingKey::verify`] with one step shared. The
//! point that a signature should have as its `R` is computed as a fraction. To compare it as bytes
//! the fraction must be divided, and one inversion serves the divisions of several points. A
//! division does not depend on the numerators of the other points, so this is not a batch
//! verification: there is no sum of equations, no random factor and no cofactor, and a verdict
//! never depends on neighbouring signatures.

use super::ed25519::{Signature, VerifyingKey};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;
use sha2::{Digest, Sha512};

/// Number of points that share an inversion; larger batches had no measurable benefit.
const BATCH: usize = 16;

/// Claim that a key signed a message.
///
/// ```
/// use astreum_core::crypto::{Claim, SigningKey, verify_each};
///
/// // A claim without a valid key is false.
/// let signature = SigningKey::from_seed(&[1; 32]).sign(b"message");
/// let claim = Claim { key: None, message: b"message", signature: &signature };
/// let mut verdicts = [true];
/// verify_each(&[claim], &mut verdicts);
/// assert_eq!(verdicts, [false]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Claim<'c> {
    /// Claimed signer, or `None` if its bytes are not a valid key.
    pub key: Option<VerifyingKey>,
    /// Signed message.
    pub message: &'c [u8],
    /// Signature.
    pub signature: &'c Signature,
}

/// Verifies each signature; the verdicts equal those of [`VerifyingKey::verify`].
///
/// Sets one verdict for each claim. If the slices differ in length, the excess claims or verdicts
/// are ignored.
///
/// ```
/// use astreum_core::crypto::{Claim, SigningKey, verify_each};
///
/// let signer = SigningKey::from_seed(&[1; 32]);
/// let signature = signer.sign(b"one");
/// let claims = [b"one", b"two"].map(|message| Claim {
///     key: Some(signer.verifying_key()),
///     message,
///     signature: &signature,
/// });
/// let mut verdicts = [false; 2];
/// verify_each(&claims, &mut verdicts);
/// assert_eq!(verdicts, [true, false]);
/// ```
pub fn verify_each(claims: &[Claim<'_>], verdicts: &mut [bool]) {
    if cfg!(all(fuzzing, feature = "consensus")) {
        for (claim, verdict) in claims.iter().zip(verdicts) {
            let verify = |key: VerifyingKey| key.verify(claim.message, claim.signature);
            *verdict = claim.key.is_some_and(|key| verify(key).is_ok());
        }
        return;
    }
    for (claims, verdicts) in claims.chunks(BATCH).zip(verdicts.chunks_mut(BATCH)) {
        let mut points = [EdwardsPoint::identity(); BATCH];
        let places = claims.iter().zip(verdicts.iter_mut()).zip(&mut points);
        for ((claim, verdict), point) in places {
            let expected = expected_point(claim);
            *verdict = expected.is_some();
            *point = expected.unwrap_or_default();
        }
        let encoded = EdwardsPoint::compress_batch(&points);
        for ((claim, verdict), encoded) in claims.iter().zip(verdicts).zip(&encoded) {
            *verdict &= claim.signature.halves().0 == encoded.0;
        }
    }
}

/// Returns the point whose encoding the signature must start with: `[s]B - [k]A`. Returns `None` if
/// the key is missing or `s` is not below the group order.
fn expected_point(claim: &Claim<'_>) -> Option<EdwardsPoint> {
    let key = claim.key?;
    let (r, s) = claim.signature.halves();
    let s: Option<Scalar> = Scalar::from_canonical_bytes(s).into();
    let s = s?;
    let hash = Sha512::new()
        .chain_update(r)
        .chain_update(key.as_bytes())
        .chain_update(claim.message)
        .finalize();
    let k = Scalar::from_bytes_mod_order_wide(&hash.into());
    let minus_key = key.negated();
    Some(EdwardsPoint::vartime_double_scalar_mul_basepoint(
        &k, &minus_key, &s,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SigningKey;
    use crate::crypto::tests::{bytes, hex, vectors};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Owned form of a [`Claim`].
    #[derive(Clone, Debug)]
    struct Case {
        key: [u8; 32],
        message: Vec<u8>,
        signature: Signature,
    }

    /// Returns the verdicts of [`verify_each`] and those of individual verification.
    fn both(cases: &[Case]) -> (Vec<bool>, Vec<bool>) {
        let keys: Vec<Result<VerifyingKey, _>> = cases
            .iter()
            .map(|case| VerifyingKey::from_bytes(&case.key))
            .collect();
        let claims: Vec<Claim<'_>> = cases
            .iter()
            .zip(&keys)
            .map(|(case, key)| Claim {
                key: key.ok(),
                message: &case.message,
                signature: &case.signature,
            })
            .collect();
        let mut each = alloc::vec![true; cases.len()];
        verify_each(&claims, &mut each);
        let alone = cases.iter().zip(&keys).map(|(case, key)| {
            let key = key.as_ref().ok();
            key.is_some_and(|key| key.verify(&case.message, &case.signature).is_ok())
        });
        (each, alone.collect())
    }

    /// Returns the vectors of Wycheproof and of `ed25519-speccheck`.
    fn known() -> Vec<Case> {
        let wycheproof = include_str!("../../../tests/vectors/wycheproof_ed25519.txt");
        let speccheck = include_str!("../../../tests/vectors/ed25519_speccheck.txt");
        let lines = vectors(wycheproof).chain(vectors(speccheck));
        let cases = lines.filter_map(|line| {
            let [_, _, key, message, signature] = line[..] else {
                panic!("{line:?}");
            };
            Some(Case {
                key: hex(key),
                message: bytes(message),
                signature: Signature::from_slice(&bytes(signature))?,
            })
        });
        cases.collect()
    }

    #[test]
    fn verdicts_on_test_vectors_equal_individual_verification() {
        let cases = known();
        let (each, alone) = both(&cases);
        assert_eq!(each, alone);
        // The vectors contain many valid and many invalid signatures.
        for verdict in [false, true] {
            let count = alone.iter().filter(|&&alone| alone == verdict).count();
            assert!(count > 40, "{count} are {verdict}");
        }
    }

    /// Generates points and scalars on which implementations differ: of small order, not reduced,
    /// at the edge of the group order.
    fn odd_bytes() -> impl Strategy<Value = [u8; 32]> {
        let odd = [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000080",
            "0200000000000000000000000000000000000000000000000000000000000000",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "ecd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
            "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ];
        prop_oneof![
            proptest::sample::select(odd.map(hex::<32>).to_vec()),
            any::<[u8; 32]>(),
        ]
    }

    fn case() -> impl Strategy<Value = Case> {
        let right = (any::<[u8; 2]>(), any::<[u8; 4]>()).prop_map(|(seed, message)| {
            let mut whole = [0; 32];
            whole[..2].copy_from_slice(&seed);
            let key = SigningKey::from_seed(&whole);
            Case {
                key: *key.verifying_key().as_bytes(),
                message: message.to_vec(),
                signature: key.sign(&message),
            }
        });
        let spoilt = (right.clone(), 0..100_usize, 0..8_u32).prop_map(|(mut case, at, bit)| {
            let mut signature = *case.signature.as_bytes();
            let parts = case.key.iter_mut().chain(&mut case.message);
            if let Some(byte) = parts.chain(&mut signature).nth(at) {
                *byte ^= 1 << bit;
            }
            case.signature = Signature::new(signature);
            case
        });
        let odd = (odd_bytes(), odd_bytes(), odd_bytes(), any::<[u8; 1]>()).prop_map(
            |(key, point, scalar, message)| {
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(&point);
                signature[32..].copy_from_slice(&scalar);
                Case {
                    key,
                    message: message.to_vec(),
                    signature: Signature::new(signature),
                }
            },
        );
        let known = proptest::sample::select(known());
        prop_oneof![2 => right, 1 => spoilt, 3 => odd, 2 => known]
    }

    proptest! {
        #[test]
        fn verdicts_do_not_depend_on_neighbouring_signatures(cases in proptest::collection::vec(case(), 0..40)) {
            let (each, alone) = both(&cases);
            prop_assert_eq!(each, alone);
        }
    }
}
