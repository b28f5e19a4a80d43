//! Time limits and cancellation of calls that wait for the network and the chain.
//!
//! Calls of a [`Node`](crate::node::Node) that need missing data block the calling thread. A
//! [`WaitLimit`] bounds the waits of all calls within its [`scope`](WaitLimit::scope): all fetches
//! of one evaluation together, for instance, or all work for a connection that may close. Without
//! one, each fetch ends by its own timeouts.
//!
//! Invariants:
//! - Every wait of a call for a fetch or for the chain ends within 50 ms after the limit in
//!   force is over.
//! - A nested scope can only be shorter.

use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

/// Interval at which a wait checks whether its caller is gone.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(50);

thread_local! {
    static IN_FORCE: RefCell<WaitLimit> = const { RefCell::new(WaitLimit::NONE) };
}

/// Bound on the waits of a thread.
///
/// ```
/// use astreum_core::{atom::AtomId, wire::object::PayloadType};
/// use astreum_node::{Node, WaitLimit, config::Config};
/// use core::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::new(Config::default())?;
/// let wait_limit = WaitLimit::NONE.within(Duration::from_secs(5));
/// let missing = wait_limit.scope(|| node.get_atom(AtomId::new([7; 32])))?;
/// assert_eq!(missing, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WaitLimit {
    deadline: Option<Instant>,
    /// Flags, each of which ends the waits.
    gone: Vec<Arc<AtomicBool>>,
}

impl WaitLimit {
    /// No bound beyond the timeouts of each call.
    pub const NONE: Self = Self {
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
    pub(crate) fn next_check(&self) -> Option<Duration> {
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match (self.gone.is_empty(), left) {
            (true, left) => left,
            (false, left) => Some(left.map_or(CHECK_INTERVAL, |left| left.min(CHECK_INTERVAL))),
        }
    }
}

/// Guard that restores the outer bound, also if the call panics.
struct Restored(WaitLimit);

impl Drop for Restored {
    fn drop(&mut self) {
        let outer = core::mem::replace(&mut self.0, WaitLimit::NONE);
        IN_FORCE.replace(outer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_deadlines_never_exceed_outer_ones() {
        let flag = Arc::new(AtomicBool::new(false));
        let outer = WaitLimit::NONE
            .until(Arc::clone(&flag))
            .within(Duration::ZERO);
        outer.scope(|| {
            assert!(WaitLimit::in_force().is_over());
            let inner = WaitLimit::NONE.within(Duration::from_secs(3_600));
            inner.scope(|| assert!(WaitLimit::in_force().is_over(), "the outer limit applies"));
        });
        assert!(!WaitLimit::in_force().is_over());
        assert_eq!(WaitLimit::in_force().next_check(), None);
        let outer = WaitLimit::NONE.until(Arc::clone(&flag));
        let hour = WaitLimit::NONE.within(Duration::from_secs(3_600));
        outer.scope(|| {
            hour.scope(|| {
                assert!(!WaitLimit::in_force().is_over());
                assert_eq!(WaitLimit::in_force().next_check(), Some(CHECK_INTERVAL));
                flag.store(true, Ordering::Relaxed);
                assert!(WaitLimit::in_force().is_over());
            });
        });
    }

    #[test]
    fn outer_deadline_is_restored_after_a_panic() {
        let over = WaitLimit::NONE.within(Duration::ZERO);
        let result = std::panic::catch_unwind(|| over.scope(|| panic!("of the test")));
        assert!(result.is_err());
        assert!(!WaitLimit::in_force().is_over());
    }
}
