//! The meter: what a program has been charged, and its limit.
//!
//! Invariant: while there is a limit, `used` never passes it, so no sum here can overflow.

/// Counts what a program is charged, in the reference's unit: bytes that an opcode works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meter {
    used: u64,
    /// `u64::MAX` stands for "none": nothing that can be charged reaches it.
    ceiling: u64,
}

impl Meter {
    /// A meter at zero; no limit if there is none.
    #[must_use]
    pub const fn new(limit: Option<u64>) -> Self {
        let ceiling = match limit {
            Some(limit) => limit,
            None => u64::MAX,
        };
        Self { used: 0, ceiling }
    }

    /// Charges `n`, unless that would reach the limit: then nothing is added and the answer is no.
    ///
    /// Reaching the limit exactly is refused, so a limit of 0 refuses even a charge of 0.
    ///
    /// ```
    /// let mut meter = astreum_core::machine::Meter::new(Some(5));
    /// assert!(meter.charge(4));
    /// assert!(!meter.charge(1));
    /// assert_eq!(meter.used(), 4);
    /// ```
    #[inline]
    pub const fn charge(&mut self, n: u64) -> bool {
        // `used` is at most the ceiling, see the module.
        if n >= self.ceiling - self.used {
            return false;
        }
        self.used += n;
        true
    }

    /// What has been charged.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// The limit, if there is one.
    #[must_use]
    pub const fn limit(&self) -> Option<u64> {
        match self.ceiling {
            u64::MAX => None,
            limit => Some(limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_that_would_reach_the_limit_is_refused_and_adds_nothing() {
        let mut meter = Meter::new(Some(3));
        assert!(meter.charge(2));
        assert!(!meter.charge(1));
        assert!(meter.charge(0));
        assert_eq!(meter.used(), 2);
        assert!(!Meter::new(Some(0)).charge(0));
    }

    #[test]
    fn without_a_limit_nothing_overflows() {
        let mut meter = Meter::new(None);
        assert!(meter.charge(u64::MAX - 1));
        assert!(!meter.charge(1));
        assert!(!meter.charge(u64::MAX));
        assert_eq!((meter.used(), meter.limit()), (u64::MAX - 1, None));
    }
}
