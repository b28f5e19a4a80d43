//! Testkit: helpers that the integration tests, hostile cases, interop cases and soak share.
//!
//! [`NodeProcess`] drives the real program `astreum`; [`Home`] is the user who runs its commands.

mod home;
pub mod http;
pub mod link_proxy;
mod node_process;
pub mod program;
pub mod terminal;
pub mod wait;

pub use home::{Home, Ran, run_with_input};
pub use node_process::{Exit, NodeCommand, NodeProcess, Output, Signal};
