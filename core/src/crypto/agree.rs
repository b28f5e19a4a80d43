//! X25519 key pairs and key agreement.

use super::{KEY_BYTES, SharedKey};
use core::fmt;
use x25519_dalek::StaticSecret;

/// An X25519 secret. Overwritten when dropped.
#[derive(Clone)]
pub struct SecretKey(StaticSecret);

impl SecretKey {
    /// A secret from its 32 bytes; every 32 bytes are one (they are clamped when used).
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(StaticSecret::from(bytes))
    }

    /// The 32 bytes, as they were given.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        self.0.as_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&self.0).to_bytes())
    }

    /// The key shared with the owner of `peer`. Costs tens of microseconds: cache it.
    ///
    /// # Errors
    /// When `peer` is a point of low order: the result would be all zeros, whatever our secret is.
    pub fn agree(&self, peer: &PublicKey) -> Result<SharedKey, LowOrderKey> {
        let shared = self
            .0
            .diffie_hellman(&x25519_dalek::PublicKey::from(peer.0));
        if shared.was_contributory() {
            Ok(SharedKey::from_bytes(shared.to_bytes()))
        } else {
            Err(LowOrderKey)
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// The public key is a point of low order, which nobody who wants secrecy has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LowOrderKey;

impl fmt::Display for LowOrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the public key is of low order: the shared secret would be all zeros")
    }
}

impl core::error::Error for LowOrderKey {}

/// An X25519 public key: the name of a peer. Ordered by its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// A key from its 32 bytes. They are not checked: [`SecretKey::agree`] refuses bad ones.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// A key from a slice, `None` unless it holds exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
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

/// Lower-case hex without a prefix.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
    use crate::crypto::tests::hex;
    use alloc::format;
    use proptest::prelude::*;

    /// RFC 7748, section 6.1.
    #[test]
    fn agrees_as_the_standard_says() {
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

    proptest! {
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
    fn low_order_keys_are_refused() {
        let secret = SecretKey::from_bytes([7; 32]);
        // 0, 1, the two points of order 8, p - 1, p, p + 1; the top bit is ignored by X25519.
        for point in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let mut bytes = hex(point);
            assert_eq!(
                secret.agree(&PublicKey::new(bytes)).err(),
                Some(LowOrderKey)
            );
            bytes[31] |= 0x80;
            assert_eq!(
                secret.agree(&PublicKey::new(bytes)).err(),
                Some(LowOrderKey)
            );
        }
    }

    #[test]
    fn debug_shows_nothing_of_a_secret() {
        let secret = SecretKey::from_bytes([0xab; 32]);
        assert_eq!(format!("{secret:?}"), "SecretKey(…)");
        let shared = secret.agree(&SecretKey::from_bytes([1; 32]).public_key());
        assert_eq!(format!("{shared:?}"), "Ok(SharedKey(…))");
    }
}
