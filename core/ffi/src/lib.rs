//! C ABI of the machine. The header is `include/astreum.h`.
//!
//! # Contract
//!
//! It is the same for all functions, and it is the safety contract of every exported function of
//! this crate:
//!
//! - A pointer is null, or valid for what the function does with it: reading `len` bytes, writing a
//!   result, using a handle. Null, misalignment, and a handle of another kind are detected and
//!   reported; a null pointer with a length of 0 is an empty sequence.
//! - A handle is not used after it was passed to the function that frees or consumes it.
//! - The functions of a host and its store are called on the thread that evaluates, and must not
//!   unwind or jump out of the call.
//!
//! A function that fails changes nothing except that it sets the results that are handles to null.
//!
//! # Invariants
//!
//! - Nothing unwinds across the border: with the feature `std`, which is on by default, a panic is
//!   caught and reported as a status.
//! - Mutable access to a handle is exclusive: a second use, from a callback or another thread, is
//!   refused with a status.
//! - The library takes no ownership of a value that is passed in, and every handle that it returns
//!   belongs to the caller.

#![no_std]
#![expect(
    clippy::missing_safety_doc,
    reason = "all functions have one contract, in the documentation of the crate"
)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[cfg(all(feature = "wasm", target_family = "wasm", not(feature = "std")))]
mod allocator;
mod buffer;
mod env;
mod error;
mod handle;
mod host;
mod limits;
mod machine;
mod memory;
mod outcome;
#[cfg(feature = "playground")]
mod playground;
#[cfg(feature = "serialize")]
mod serialize;
mod store;
mod suspension;
mod text;
mod value;
mod version;
#[cfg(all(feature = "wasm", target_family = "wasm", not(feature = "std")))]
mod wasm;

pub use buffer::*;
pub use env::*;
pub use error::*;
pub use host::*;
pub use limits::*;
pub use machine::*;
pub use memory::{ASTREUM_ID_BYTES, ASTREUM_UNLIMITED, AstreumSlice};
pub use outcome::*;
#[cfg(feature = "serialize")]
pub use serialize::*;
pub use store::*;
pub use suspension::*;
pub use text::*;
pub use value::*;
pub use version::*;
