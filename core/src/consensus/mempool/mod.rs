//! Mempool: transactions on their way into a block.
//!
//! | module | contents |
//! | --- | --- |
//! | [`admission`] | checks of a transaction before it may wait for a block |
//! | [`announcements`] | announced transactions until they are fetched |
//! | [`pool`] | transactions that wait for a block |

pub mod admission;
pub mod announcements;
pub mod pool;
