//! Simulation of fork choice. Validators produce blocks by the product's leader election, receive
//! blocks late or not at all, are attacked, and choose by the product's rule or a rejected one.
//!
//! | module | contents |
//! | --- | --- |
//! | [`blocks`] | all blocks of a run, their leader election, and how branches compare |
//! | [`rule`] | nodes that follow the product's rule, and rules to compare it with |
//! | [`network`] | validators with latency, missed slots, partitions, and attackers among them |
//! | [`scenario`] | distributions of stakes, and partitions |
//! | [`private`] | branches built in private, and the stake that undoes a number of blocks |
//! | [`grinding`] | a validator that tries block ids in public |
//! | [`trees`] | random trees, compared with [an independent model](crate::model::fork_choice) |
//!
//! Every run is derived from a seed. Bodies, signatures and proof of work are left out, because
//! only the slot leaders and the branch that each node extends matter.

#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "validators and blocks are numbered; a wrong number is an error in the simulation"
)]

pub mod blocks;
pub mod grinding;
pub mod network;
pub mod private;
pub mod rule;
pub mod scenario;
pub mod trees;
