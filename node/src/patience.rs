//! Time limits and cancellation of calls that wait for the network and the chain.
//!
//! Calls of a [`Node`](crate::node::Node) that need missing data block the calling thread. A
//! [`Patience`] bounds the waits of all calls within its [`scope`](Patience::scope): all fetches of
//! one evaluation together, for instance, or all work for a connection that may close. Without one,
//! each fetch ends by its own timeouts.
//!
//! Invariants:
//! - Every wait of a call for a fetch or for the chain ends within 50 ms after the patience in
//!   force is over.
//! - A nested scope can only be shorter.

use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

/// Interval at which a wait checks whether its caller is gone.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(50);

thread_local! {
    static IN_FORCE: RefCell<Patience> = const { RefCell::new(Patience::ENDLESS) };
}

/// Bound on the waits of a thread.
///
/// ```
/// use astreum_core::{atom::AtomId, wire::object::PayloadType};
/// use astreum_node::{Node, Patience, config::Config};
/// use core::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::new(Config::default())?;
/// let patience = Patience::ENDLESS.within(Duration::from_secs(5));
/// let missing = patience.scope(|| node.get_atom(AtomId::new([7; 32])))?;
/// assert_eq!(missing, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Patience {
    deadline: Option<Instant>,
    /// Flags, each of which ends the waits.
    gone: Vec<Arc<AtomicBool>>,
}

impl Patience {
    /// No bound beyond the timeouts of each call.
    pub const ENDLESS: Self = Self {
        deadline: None,
        gone: Vec::new(),
    };

    /// Adds a deadline after this time; an earlier one stays.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        // A deadline beyond the range of the clock counts as no deadline.
        if let Some(deadline) = Instant::now().checked_add(time) {
            self.deadline = Some(self.deadline.map_or(deadline, |own| own.min(deadline)));
        }
        self
    }

    /// Adds a flag that ends the waits when it is set.
    #[must_use]
    pub fn until(mut self, flag: Arc<AtomicBool>) -> Self {
        self.gone.push(flag);
        self
    }

    /// Bounds the waits of everything that `call` does on this thread.
    pub fn scope<T>(&self, call: impl FnOnce() -> T) -> T {
        let outer = Self::in_force();
        let mut inner = self.clone();
        inner.gone.extend(outer.gone.iter().map(Arc::clone));
        inner.deadline = match (inner.deadline, outer.deadline) {
            (Some(own), Some(outer)) => Some(own.min(outer)),
            (own, outer) => own.or(outer),
        };
        let _restored = Restored(outer);
        IN_FORCE.replace(inner);
        call()
    }

    /// Returns the bound on the calling thread's waits.
    pub(crate) fn in_force() -> Self {
        IN_FORCE.with_borrow(Self::clone)
    }

    /// Returns whether waits have to end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.gone.iter().any(|gone| gone.load(Ordering::Relaxed))
            || self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Returns the time until [`is_over`](Self::is_over) has to be checked again; `None` if it
    /// cannot become true.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match (self.gone.is_empty(), left) {
            (true, left) => left,
            (false, left) => Some(left.map_or(LOOK_INTERVAL, |left| left.min(LOOK_INTERVAL))),
        }
    }
}

/// Guard that restores the outer bound, also if the call panics.
struct Restored(Patience);

impl Drop for Restored {
    fn drop(&mut self) {
        let outer = core::mem::replace(&mut self.0, Patience::ENDLESS);
        IN_FORCE.replace(outer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_scopes_are_never_longer_than_outer_ones() {
        let flag = Arc::new(AtomicBool::new(false));
        let outer = Patience::ENDLESS
            .until(Arc::clone(&flag))
            .within(Duration::ZERO);
        outer.scope(|| {
            assert!(Patience::in_force().is_over());
            let inner = Patience::ENDLESS.within(Duration::from_secs(3_600));
            inner.scope(|| assert!(Patience::in_force().is_over(), "an hour more than none"));
        });
        assert!(!Patience::in_force().is_over());
        assert_eq!(Patience::in_force().next_look(), None);
        let outer = Patience::ENDLESS.until(Arc::clone(&flag));
        let hour = Patience::ENDLESS.within(Duration::from_secs(3_600));
        outer.scope(|| {
            hour.scope(|| {
                assert!(!Patience::in_force().is_over());
                assert_eq!(Patience::in_force().next_look(), Some(LOOK_INTERVAL));
                flag.store(true, Ordering::Relaxed);
                assert!(Patience::in_force().is_over());
            });
        });
    }

    #[test]
    fn the_outer_bound_is_back_after_a_panic() {
        let over = Patience::ENDLESS.within(Duration::ZERO);
        let result = std::panic::catch_unwind(|| over.scope(|| panic!("of the test")));
        assert!(result.is_err());
        assert!(!Patience::in_force().is_over());
    }
}
