//! ChaCha20-Poly1305 without associated data, the key being the raw X25519 secret.
//!
//! The reference derives no key from the agreement and binds nothing but the content, so header
//! fields are not authenticated (reference: `communication/models/message.py`).

use super::KEY_BYTES;
use alloc::vec::Vec;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use core::fmt;
use zeroize::Zeroizing;

/// Bytes in a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes that sealing adds.
pub const TAG_BYTES: usize = 16;

/// A nonce; never to be used twice with one key.
pub type Nonce = [u8; NONCE_BYTES];

/// The key that two peers share. Overwritten when dropped.
#[derive(Clone)]
pub struct SharedKey(Zeroizing<[u8; KEY_BYTES]>);

/// The text is longer than the cipher's counter reaches (256 GiB).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealTooLong;

impl fmt::Display for SealTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text is too long to be sealed under one nonce")
    }
}

impl core::error::Error for SealTooLong {}

/// The text was not sealed with this key and nonce, or was changed on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenError;

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sealed text is not authentic under this key")
    }
}

impl core::error::Error for OpenError {}

impl SharedKey {
    /// A key from its 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&*self.0).into())
    }

    /// Encrypts `text` in place and gives the tag that belongs behind it.
    ///
    /// # Errors
    /// When `text` is too long for one nonce.
    pub fn seal(&self, nonce: &Nonce, text: &mut [u8]) -> Result<[u8; TAG_BYTES], SealTooLong> {
        let sealed = self
            .cipher()
            .encrypt_inout_detached(nonce.into(), &[], text.into());
        sealed.map(Into::into).map_err(|_| SealTooLong)
    }

    /// Decrypts `sealed` (text, then tag) to the end of `out`, which is left as it was on failure.
    ///
    /// # Errors
    /// When it is not authentic, or too short to be.
    pub fn open_to(
        &self,
        nonce: &Nonce,
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        let (text, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(OpenError)?;
        let start = out.len();
        out.resize(start + text.len(), 0);
        let result = out
            .get_mut(start..)
            .and_then(|plain| InOutBuf::new(text, plain).ok())
            .ok_or(OpenError)
            .and_then(|buffer| {
                let opened =
                    self.cipher()
                        .decrypt_inout_detached(nonce.into(), &[], buffer, tag.into());
                opened.map_err(|_| OpenError)
            });
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// Decrypts `sealed` (text, then tag) where it stands and gives the text.
    ///
    /// # Errors
    /// When it is not authentic, or too short to be; what is in `sealed` is then unspecified.
    pub fn open<'t>(&self, nonce: &Nonce, sealed: &'t mut [u8]) -> Result<&'t [u8], OpenError> {
        let (text, tag) = sealed
            .split_last_chunk_mut::<TAG_BYTES>()
            .ok_or(OpenError)?;
        let tag = &*tag;
        let opened = self.cipher().decrypt_inout_detached(
            nonce.into(),
            &[],
            (&mut *text).into(),
            tag.into(),
        );
        opened.map_err(|_| OpenError).map(|()| &*text)
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::tests::hex;
    use proptest::prelude::*;

    fn key() -> SharedKey {
        SharedKey::from_bytes([0x42; 32])
    }

    /// Made with OpenSSL: key 42 x 32, nonce 07 x 12, no associated data.
    #[test]
    fn seals_to_golden_bytes() {
        let mut text = *b"\x00hello";
        let tag = key().seal(&[7; 12], &mut text).unwrap();
        assert_eq!(text, hex("d00390c8cd5e"));
        assert_eq!(tag, hex("1e43de961a615560d35306071b70c00c"));
    }

    #[test]
    fn too_short_is_not_authentic() {
        let mut out = alloc::vec![9];
        assert_eq!(key().open_to(&[0; 12], &[0; 15], &mut out), Err(OpenError));
        assert_eq!(key().open_to(&[0; 12], &[0; 16], &mut out), Err(OpenError));
        assert_eq!(key().open(&[0; 12], &mut [0; 15]), Err(OpenError));
        assert_eq!(out, [9]);
    }

    proptest! {
        #[test]
        fn opens_what_was_sealed_and_nothing_else(
            text in proptest::collection::vec(any::<u8>(), 0..300),
            nonce in any::<[u8; 12]>(),
            position in any::<proptest::sample::Index>(),
            bit in 0..8u32,
        ) {
            let mut sealed = text.clone();
            let tag = key().seal(&nonce, &mut sealed).unwrap();
            sealed.extend_from_slice(&tag);

            let mut out = alloc::vec![1, 2];
            prop_assert_eq!(key().open_to(&nonce, &sealed, &mut out), Ok(()));
            prop_assert_eq!(&out[..2], &[1, 2]);
            prop_assert_eq!(&out[2..], &text);
            let mut copy = sealed.clone();
            prop_assert_eq!(key().open(&nonce, &mut copy), Ok(text.as_slice()));

            let at = position.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert_eq!(key().open_to(&nonce, &sealed, &mut out), Err(OpenError));
            prop_assert_eq!(out.len(), text.len() + 2);
            prop_assert_eq!(key().open(&nonce, &mut sealed), Err(OpenError));
        }
    }
}
