//! Proof of work over a message: leading zero bits of `BLAKE3(message ‖ nonce)`.
//!
//! A search tries nonces in ascending order and can be stopped and resumed at any nonce, so a host
//! can bound each turn or move the search to another thread. The message is absorbed once; an
//! attempt hashes only the block that contains the nonce.

#[cfg(all(fuzzing, feature = "consensus"))]
use crate::crypto::fuzzing::Absorbed;

pub use crate::crypto::leading_zero_bits;

/// Size of the nonce in front of the message, in bytes.
pub const NONCE_BYTES: usize = 8;

/// Returns the work of `nonce` for `message`, in leading zero bits.
///
/// ```
/// use astreum_core::crypto::{hash, leading_zero_bits};
/// use astreum_core::wire::pow::work_bits;
/// let preimage = [b"message".as_slice(), &7_u64.to_be_bytes()].concat();
/// assert_eq!(work_bits(b"message", 7), leading_zero_bits(&hash(&preimage)));
/// ```
#[must_use]
pub fn work_bits(message: &[u8], nonce: u64) -> u32 {
    Absorbed::new(message).work_bits(nonce)
}

/// Message without a nonce, hashed as far as that is possible.
#[cfg(not(all(fuzzing, feature = "consensus")))]
#[derive(Clone)]
struct Absorbed(blake3::Hasher);

#[cfg(not(all(fuzzing, feature = "consensus")))]
impl Absorbed {
    fn new(message: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(message);
        Self(hasher)
    }

    fn work_bits(&self, nonce: u64) -> u32 {
        let mut hasher = self.0.clone();
        hasher.update(&nonce.to_be_bytes());
        leading_zero_bits(hasher.finalize().as_bytes())
    }
}

/// State of a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// First nonce, from the start of the search, that has enough work.
    Found(u64),
    /// Not found among the tried nonces; another run continues the search.
    Pending,
    /// Every nonce has been tried.
    Exhausted,
}

/// Search for the first nonce with enough work.
///
/// ```
/// use astreum_core::wire::pow::{Progress, Search, work_bits};
///
/// let mut search = Search::new(b"message", 10);
/// let nonce = loop {
///     match search.run(100) {
///         Progress::Found(nonce) => break nonce,
///         Progress::Pending => continue,
///         Progress::Exhausted => return,
///     }
/// };
/// assert!(work_bits(b"message", nonce) >= 10);
/// ```
#[derive(Clone)]
pub struct Search {
    absorbed: Absorbed,
    difficulty: u32,
    /// Next nonce to try; `None` if all have been tried.
    next: Option<u64>,
}

impl Search {
    /// Creates a search from nonce 0 for `difficulty` leading zero bits. A difficulty of 0 counts
    /// as 1.
    #[must_use]
    pub fn new(message: &[u8], difficulty: u32) -> Self {
        Self::starting_at(message, difficulty, 0)
    }

    /// Creates a search as [`Search::new`] does, from another nonce.
    ///
    /// ```
    /// use astreum_core::wire::pow::{Progress, Search};
    ///
    /// let mut search = Search::starting_at(b"message", 200, 1_000);
    /// assert_eq!(search.run(50), Progress::Pending);
    /// assert_eq!(search.next_nonce(), Some(1_050));
    /// let mut last = Search::starting_at(b"message", 200, u64::MAX);
    /// assert_eq!(last.run(50), Progress::Exhausted);
    /// ```
    #[must_use]
    pub fn starting_at(message: &[u8], difficulty: u32, nonce: u64) -> Self {
        Self {
            absorbed: Absorbed::new(message),
            difficulty: difficulty.max(1),
            next: Some(nonce),
        }
    }

    /// Returns the nonce that [`Search::run`] tries next, or `None` if all have been tried.
    #[must_use]
    pub const fn next_nonce(&self) -> Option<u64> {
        self.next
    }

    /// Tries at most `attempts` nonces and returns the state of the search.
    ///
    /// ```
    /// use astreum_core::wire::pow::{Progress, Search, work_bits};
    ///
    /// let mut search = Search::new(b"message", 6);
    /// let Progress::Found(nonce) = search.run(100_000) else {
    ///     panic!("it takes 64 attempts on average");
    /// };
    /// assert!(work_bits(b"message", nonce) >= 6);
    /// assert!((0..nonce).all(|earlier| work_bits(b"message", earlier) < 6));
    /// ```
    pub fn run(&mut self, attempts: u64) -> Progress {
        for _ in 0..attempts {
            let Some(nonce) = self.next else {
                return Progress::Exhausted;
            };
            self.next = nonce.checked_add(1);
            if self.absorbed.work_bits(nonce) >= self.difficulty {
                return Progress::Found(nonce);
            }
        }
        match self.next {
            Some(_) => Progress::Pending,
            None => Progress::Exhausted,
        }
    }
}

impl core::fmt::Debug for Search {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Search")
            .field("difficulty", &self.difficulty)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(not(all(fuzzing, feature = "consensus")))]
    use proptest::prelude::*;

    #[test]
    fn counts_leading_zero_bits() {
        let mut hash = [0; 32];
        assert_eq!(leading_zero_bits(&hash), 256);
        for bit in (0..256usize).rev() {
            hash[bit / 8] |= 0x80 >> (bit % 8);
            assert_eq!(leading_zero_bits(&hash) as usize, bit);
        }
    }

    #[test]
    fn search_is_bounded_resumable_and_ends() {
        let mut whole = Search::new(b"m", 12);
        let Progress::Found(first) = whole.run(u64::MAX) else {
            panic!("12 bits are found");
        };
        assert!((0..first).all(|nonce| work_bits(b"m", nonce) < 12));
        let mut parts = Search::new(b"m", 12);
        let mut turns = 0;
        let found = loop {
            match parts.run(7) {
                Progress::Pending => turns += 1,
                other => break other,
            }
        };
        assert_eq!((found, turns), (Progress::Found(first), first / 7));
        assert_eq!(parts.next_nonce(), Some(first + 1));
        assert_eq!(
            Search::starting_at(b"m", 12, first).run(1),
            Progress::Found(first)
        );

        let mut end = Search::starting_at(b"m", 255, u64::MAX);
        assert_eq!(end.run(0), Progress::Pending);
        assert_eq!(end.run(5), Progress::Exhausted);
        assert_eq!(end.run(5), Progress::Exhausted);
        assert_eq!(end.next_nonce(), None);
    }

    // Hashes are replaced under `cfg(fuzzing)`, see `crypto::fuzzing`.
    #[cfg(not(all(fuzzing, feature = "consensus")))]
    proptest! {
        #[test]
        fn search_agrees_with_plain_hashing(
            message in proptest::collection::vec(any::<u8>(), 0..2100), difficulty in 0..7u32,
        ) {
            let plain = (0..).find(|nonce: &u64| {
                let bytes = [message.as_slice(), &nonce.to_be_bytes()].concat();
                leading_zero_bits(blake3::hash(&bytes).as_bytes()) >= difficulty.max(1)
            });
            let found = Search::new(&message, difficulty).run(u64::MAX);
            prop_assert_eq!(Some(found), plain.map(Progress::Found));
        }
    }
}
