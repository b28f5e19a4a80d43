//! One call of the host, as the parts of sync see it.

use super::working_set::HostAtoms;
use crate::consensus::{Context, Environment};
use crate::time::Instant;

/// Environment and context of a call, and whether it leaves work behind.
#[derive(Debug)]
pub(super) struct Call<'c, 'e> {
    pub(super) environment: &'c Environment<'e>,
    pub(super) context: &'c mut Context,
    /// `true` if more work can be done at once.
    pub(super) is_busy: bool,
}

impl<'c, 'e> Call<'c, 'e> {
    /// Creates a call that has not left work behind yet.
    pub(super) const fn new(environment: &'c Environment<'e>, context: &'c mut Context) -> Self {
        Self {
            environment,
            context,
            is_busy: false,
        }
    }

    /// Returns the monotonic time of the call.
    pub(super) const fn now(&self) -> Instant {
        self.environment.now.instant
    }

    /// Returns the wall time of the call, in seconds since 1970.
    pub(super) const fn unix(&self) -> u64 {
        self.environment.now.unix.as_secs()
    }

    /// Returns the stored atoms.
    pub(super) const fn atoms(&self) -> HostAtoms<'e> {
        self.environment.atoms
    }
}
