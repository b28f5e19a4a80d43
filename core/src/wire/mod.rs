//! What peers say to each other, and who they are.
//!
//! A datagram is a [`packet`]: a nonce with enough [`work`] in it, then a [`message`]. A message is
//! a handshake in the clear, or sealed content under a [`message::Topic`]: a [`ping`], an
//! [`object`] request or response, a route request or response ([`route_message`]). The peers that
//! have proven themselves stand in the [`table`].
//!
//! Invariants of every decoder here:
//! - It reads what it is given once, borrows instead of copying where it can, and allocates no more
//!   than its input is long.
//! - It never panics; what it refuses, it refuses with an error that says which rule was broken.
//! - What it accepts encodes back to the same bytes, except where the reference lets several
//!   encodings mean one thing (stated where it does).

pub mod engine;
pub mod handshake;
pub mod message;
pub mod network_group;
pub mod object;
pub mod packet;
pub mod ping;
mod read;
pub mod route_message;
pub mod table;
pub mod work;
