//! Worlds that are worse than the real one, and repeat themselves when asked with the same seed.

pub mod disk;
pub mod random;
