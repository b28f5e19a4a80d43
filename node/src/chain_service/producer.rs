//! Block producer of a validator, with this machine's hasher.

use crate::simd::Lanes;
pub use astreum_core::consensus::producer::{
    Activity, Halt, Problem, ProducerConfig, SignerUpdate, SigningJob, UnsignedBlock, ValidatorKey,
    ValidatorStatus, Wait, assemble, growth, publish, schedule,
};

/// Block producer of a validator.
pub type Producer = astreum_core::consensus::producer::Producer<Lanes>;
