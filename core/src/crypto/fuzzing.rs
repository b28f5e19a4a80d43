//! Cheap forms of public-key operations and nonce searches, for fuzzing only: under `--cfg fuzzing`,
//! as `cargo fuzz` sets it, inputs must not spend their time in the arithmetic of curves, or in the
//! search for a nonce.
//!
//! **A program that is built with this `cfg` must not be used otherwise: anyone can forge its
//! signatures.**
//!
//! Key agreement and the decoding of keys keep their results, which are remembered. A signature is
//! the hash of a public key and a message; as in production, it has 64 bytes, belongs to exactly one
//! key and one message, and every other one is rejected. No input can contain a valid one by
//! chance, so that a forged record stays a forged record.
//!
//! The proof of work of a packet hashes the message once; the hash of each attempt is replaced by
//! [arithmetic](Absorbed). A nonce has a given number of bits as rarely as in production.

use super::KEY_BYTES;
use spin::Mutex;

/// Number of results that are remembered for each operation.
const MEMO_ENTRIES: usize = 256;

/// Returns the only valid signature of a message under a public key.
pub(super) fn signature(key: &[u8; KEY_BYTES], message: &[u8]) -> [u8; 64] {
    let mut signature = [0; 64];
    let mut hasher = blake3::Hasher::new();
    hasher.update(key).update(message);
    hasher.finalize_xof().fill(&mut signature);
    signature
}

/// Message without a nonce, whose proof of work takes no hash for each nonce.
#[derive(Clone)]
pub(crate) struct Absorbed(u64);

impl Absorbed {
    /// Hashes the message.
    pub(crate) fn new(message: &[u8]) -> Self {
        let hash = blake3::hash(message);
        let start = hash.as_bytes().first_chunk().copied();
        Self(u64::from_le_bytes(start.unwrap_or_default()))
    }

    /// Returns the work of a nonce, in leading zero bits: those of a mixture of the message's hash
    /// and the nonce, at most 64.
    pub(crate) const fn work_bits(&self, nonce: u64) -> u32 {
        // The finalizer of SplitMix64: every bit of the input changes each bit of the output with a
        // probability of about one half.
        let mut mixed = (self.0 ^ nonce).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).leading_zeros()
    }
}

/// Results of a function of two 32-byte values. A new result displaces the one at its place.
pub(super) struct Memo<T>(Mutex<[Option<Entry<T>>; MEMO_ENTRIES]>);

type Entry<T> = ([[u8; KEY_BYTES]; 2], T);

impl<T: Copy> Memo<T> {
    /// Creates an empty table.
    pub(super) const fn new() -> Self {
        Self(Mutex::new([const { None }; MEMO_ENTRIES]))
    }

    /// Returns the result for these values, which `compute` computes if it is not remembered.
    pub(super) fn get(&self, values: [[u8; KEY_BYTES]; 2], compute: impl FnOnce() -> T) -> T {
        let words = values.as_flattened().as_chunks::<8>().0;
        let sum = words.iter().fold(0, |sum: u64, word| {
            (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let place = usize::try_from(sum >> 32).unwrap_or_default() % MEMO_ENTRIES;
        let mut entries = self.0.lock();
        let Some(entry) = entries.get_mut(place) else {
            return compute();
        };
        match entry {
            Some((known, result)) if *known == values => *result,
            _ => entry.insert((values, compute())).1,
        }
    }
}

/// These run under `RUSTFLAGS='--cfg fuzzing'` alone.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_belongs_to_one_key_and_message() {
        let (ours, theirs) = ([1; KEY_BYTES], [2; KEY_BYTES]);
        assert_eq!(signature(&ours, b"message"), signature(&ours, b"message"));
        assert_ne!(signature(&ours, b"message"), signature(&theirs, b"message"));
        assert_ne!(signature(&ours, b"message"), signature(&ours, b"massage"));
    }

    #[test]
    fn half_of_the_nonces_have_each_further_bit_of_work() {
        for message in [b"message".as_slice(), b"massage", b""] {
            let absorbed = Absorbed::new(message);
            for bits in 1..=6 {
                let enough = (0..6_400).filter(|nonce| absorbed.work_bits(*nonce) >= bits);
                let (found, expected) = (enough.count(), 6_400 >> bits);
                assert!(
                    found > expected * 2 / 3 && found < expected * 3 / 2,
                    "{found} nonces have {bits} bits"
                );
            }
        }
    }

    #[test]
    fn memo_returns_the_result_of_equal_values_only() {
        let memo = Memo::new();
        for round in 0..2 {
            for number in 0..=255 {
                let values = [[number; KEY_BYTES], [7; KEY_BYTES]];
                assert_eq!(memo.get(values, || number), number, "round {round}");
            }
        }
        let known = memo.get([[255; KEY_BYTES], [7; KEY_BYTES]], || 0);
        assert_eq!(known, 255, "it is not computed again");
    }
}
