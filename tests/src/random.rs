//! Reproducible pseudorandom test input.

/// Small pseudorandom generator (SplitMix64), suited to choosing test input and to nothing else.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates the generator of the sequence with this number.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, or 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = end as u64;
        let number = self.next().checked_rem(end).unwrap_or_default();
        // The number is below a `usize`.
        usize::try_from(number).unwrap_or_default()
    }

    /// Returns one of the choices.
    ///
    /// # Panics
    /// Panics if there are none.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = self.below(choices.len());
        *choices
            .get(index)
            .unwrap_or_else(|| panic!("nothing to choose from"))
    }

    /// Returns `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
