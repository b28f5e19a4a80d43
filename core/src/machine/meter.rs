//! Meter: the amount charged to a program, and its limit.
//!
//! Invariant: with a limit, `used` never exceeds it, so no sum here can overflow.

/// Execution cost of a program, in the reference's unit: bytes that an opcode processes.
///
/// ```
/// use astreum_core::machine::Meter;
/// let mut meter = Meter::new(Some(10));
/// assert!(meter.charge(7) && !meter.has(3));
/// meter.grant(5);
/// assert!(meter.has(3));
/// assert_eq!((meter.used(), meter.limit()), (7, Some(15)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meter {
    used: u64,
    /// `u64::MAX` means unlimited: no possible charge reaches it.
    ceiling: u64,
}

impl Meter {
    /// Creates a meter at zero; `None` means unlimited.
    #[must_use]
    pub const fn new(limit: Option<u64>) -> Self {
        let ceiling = match limit {
            Some(limit) => limit,
            None => u64::MAX,
        };
        Self { used: 0, ceiling }
    }

    /// Creates a meter that has already charged `used`, or returns `None` if that exceeds the
    /// limit.
    ///
    /// ```
    /// use astreum_core::machine::Meter;
    /// let meter = Meter::resumed(Some(10), 8).unwrap();
    /// assert!(meter.has(1) && !meter.has(2));
    /// assert!(Meter::resumed(Some(10), 11).is_none());
    /// ```
    #[must_use]
    pub const fn resumed(limit: Option<u64>, used: u64) -> Option<Self> {
        let mut meter = Self::new(limit);
        if used > meter.ceiling {
            return None;
        }
        meter.used = used;
        Some(meter)
    }

    /// Charges `n` and returns `true`, or charges nothing and returns `false` if that would reach
    /// the limit.
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
        if !self.has(n) {
            return false;
        }
        self.used += n;
        true
    }

    /// Returns whether a charge of `n` would be accepted.
    #[inline]
    #[must_use]
    pub const fn has(&self, n: u64) -> bool {
        // `used` is at most the ceiling, see the module docs.
        n < self.ceiling - self.used
    }

    /// Charges `n`; [`Meter::has`] must have accepted it.
    #[inline]
    pub(super) const fn pay(&mut self, n: u64) {
        self.used += n;
    }

    /// Raises the limit by `n`, if there is one.
    ///
    /// ```
    /// use astreum_core::machine::Meter;
    /// let mut meter = Meter::new(Some(1));
    /// assert!(!meter.charge(1));
    /// meter.grant(1);
    /// assert!(meter.charge(1));
    /// ```
    pub const fn grant(&mut self, n: u64) {
        self.ceiling = self.ceiling.saturating_add(n);
    }

    /// Returns the amount charged.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Returns the limit, if there is one.
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
    fn refuses_charges_that_would_reach_the_limit() {
        let mut meter = Meter::new(Some(3));
        assert!(meter.charge(2));
        assert!(!meter.charge(1));
        assert!(meter.charge(0));
        assert_eq!(meter.used(), 2);
        assert!(!Meter::new(Some(0)).charge(0));
        meter.grant(2);
        assert!(meter.charge(2));
        assert_eq!((meter.used(), meter.limit()), (4, Some(5)));
    }

    #[test]
    fn unlimited_meter_does_not_overflow() {
        let mut meter = Meter::new(None);
        assert!(meter.charge(u64::MAX - 1));
        assert!(!meter.charge(1));
        assert!(!meter.charge(u64::MAX));
        meter.grant(5);
        assert_eq!((meter.used(), meter.limit()), (u64::MAX - 1, None));
    }

    #[test]
    fn resumed_meter_is_within_its_limit() {
        assert_eq!(Meter::resumed(Some(3), 4), None);
        let meter = Meter::resumed(Some(4), 4).unwrap();
        assert!(!meter.has(0));
        assert_eq!(Meter::resumed(None, 7).map(|meter| meter.used()), Some(7));
    }
}
