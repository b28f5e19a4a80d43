//! Reference counter that the values of this crate share their contents with.

/// Thread-safe reference counter: [`alloc::sync::Arc`].
#[cfg(target_has_atomic = "ptr")]
pub use alloc::sync::Arc;
/// Thread-safe reference counter: that of `portable-atomic-util`, because this target has no
/// compare-and-swap. The application chooses its critical section by a feature of
/// `portable-atomic`.
#[cfg(not(target_has_atomic = "ptr"))]
pub use portable_atomic_util::Arc;
