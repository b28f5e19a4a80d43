//! Wire format and routing table.
//!
//! A datagram is a [`packet`]: a nonce that is a proof of work ([`pow`]), then a [`message`]. A
//! message is a handshake in the clear, or sealed content under a [`message::Topic`]: a [`ping`],
//! an [`object`] request or response, a route request or response ([`route_message`]), or the id of
//! a transaction. The payload of a handshake may be an extension block ([`handshake`]). Peers with
//! validated addresses are in the [`routing_table`]. Frames of the [`stream`] beside the datagrams
//! carry long lists. The [`engine`](crate::engine) implements the protocol.
//!
//! Invariants of every decoder in this module:
//! - It reads its input once, borrows instead of copying where it can, and allocates no more than
//!   the length of its input.
//! - It never panics. It rejects malformed input with an error that names the violated rule.
//! - Accepted input encodes back to the same bytes, except where the reference has several
//!   encodings of one value (stated at the decoder).

pub mod handshake;
pub mod message;
pub mod network_group;
pub mod object;
pub mod packet;
pub mod ping;
pub mod pow;
mod read;
pub mod route_message;
pub mod routing_table;
pub mod stream;
