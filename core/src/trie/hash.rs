//! The one seam through which tries hash: many messages at a time.

/// Hashes batches of short messages.
///
/// The host may supply an implementation that works on many messages side by side; it must give
/// exactly what [`Scalar`] gives, which is the BLAKE3 hash of each message.
pub trait BatchHasher {
    /// Writes the BLAKE3 hash of each message to the place with the same index in `out`.
    ///
    /// `messages` and `out` have the same length; what is left over in the longer one is ignored.
    fn hash_many(&mut self, messages: &[&[u8]], out: &mut [[u8; 32]]);
}

/// One message after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scalar;

impl BatchHasher for Scalar {
    fn hash_many(&mut self, messages: &[&[u8]], out: &mut [[u8; 32]]) {
        for (message, hash) in messages.iter().zip(out) {
            *hash = *blake3::hash(message).as_bytes();
        }
    }
}

impl<H: BatchHasher + ?Sized> BatchHasher for &mut H {
    fn hash_many(&mut self, messages: &[&[u8]], out: &mut [[u8; 32]]) {
        (**self).hash_many(messages, out);
    }
}
