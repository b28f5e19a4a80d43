//! Client and server of the stream beside the datagrams. They have no sockets, encryption or clock.
//!
//! A list moves as one atom, or a few, per round trip by datagram, and so do the headers and the
//! transactions of a chain. By stream, the client requests the rest of a list, the headers below a
//! block or the transactions of several blocks once, and the server sends the atoms one after
//! another, as far as the client has granted credit. The frames are those of [`crate::wire::stream`].
//!
//! Invariants:
//! - The [`Client`] returns an atom only if its id is the one that the object continues with, so that
//!   nothing unverified is held longer than one frame. A wrong atom is an error: the server is
//!   faulty or malicious, and the connection has to end.
//! - What the server can make the client hold is bounded by the credit: [`WINDOW_BYTES`], or what
//!   [`Client::with_list_window`] allows for lists, for each of [`MAX_REQUESTS`] requests, and one atom
//!   more. A host that holds less reads the connection only as fast as it stores.
//! - What the server can send for requests that are closed is bounded by the credit that they had,
//!   and one frame more for each.
//! - The [`Server`] holds a constant number of bytes per request. Its requests take turns, one
//!   frame each, and a request without credit costs nothing.
//!
//! ```
//! use astreum_core::atom::{AtomId, HashedAtom, MemoryStore, bytes_list};
//! use astreum_core::stream::{Answer, Client, Server};
//! use astreum_core::wire::stream::Decoder;
//!
//! let (head, atoms) = bytes_list(&["one", "two"]);
//! let store: MemoryStore = atoms.iter().cloned().collect();
//! let (mut client, mut server) = (Client::new(), Server::new());
//! let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
//!
//! let number = client.request_list(head, &mut to_server).expect("a first request");
//! let mut decoder = Decoder::new();
//! decoder.push(&to_server);
//! while let Some(frame) = decoder.next_frame()? {
//!     server.handle(&frame)?;
//! }
//! while server.poll(&store, &mut to_client) {}
//!
//! let mut decoder = Decoder::new();
//! decoder.push(&to_client);
//! let frame = decoder.next_frame()?.expect("an answer");
//! let mut found = Vec::new();
//! let answer = client.handle(&frame, &mut found)?;
//! let (is_complete, next) = (true, AtomId::ZERO);
//! assert_eq!(answer, Answer::Atoms { number, is_complete, next });
//! assert_eq!(found, atoms.into_iter().map(HashedAtom::new).collect::<Vec<_>>());
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod client;
mod hello;
#[cfg(feature = "engine")]
mod pauses;
mod server;
#[cfg(feature = "chain")]
mod walk;

use crate::atom::{Atom, AtomId};
pub use client::{Answer, Client, ClientError};
pub use hello::{HELLO_BYTES, Hello, secret_key};
#[cfg(feature = "engine")]
pub use pauses::{
    HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, MAX_PAUSE, MIN_PAUSE, Pauses, STALL_TIMEOUT, VIOLATION_PAUSE,
};
pub use server::{Server, ServerError};

/// Number of stored bytes of one request that may be sent ahead of their verification and storage.
/// Credit is granted again by quarters, so that three of them are always on the way: 125 MB/s at a
/// round-trip time of 50 ms.
pub const WINDOW_BYTES: u32 = 8 << 20;
/// Maximum number of requests that are open on one connection.
pub const MAX_REQUESTS: usize = 8;
/// Size of a frame of atoms in bytes, at which a server begins the next.
pub const TURN_BYTES: usize = 131_072;

/// Rest of a request, on either side.
#[derive(Debug)]
enum Object {
    /// A list, from this atom on.
    List(AtomId),
    #[cfg(feature = "chain")]
    Walk(walk::Walk),
}

impl Object {
    /// Returns the id of the atom with which it continues.
    const fn next(&self) -> AtomId {
        match self {
            Self::List(next) => *next,
            #[cfg(feature = "chain")]
            Self::Walk(walk) => walk.next(),
        }
    }

    /// Returns whether nothing is left.
    fn is_complete(&self) -> bool {
        match self {
            Self::List(next) => next.is_zero(),
            #[cfg(feature = "chain")]
            Self::Walk(walk) => walk.is_complete(),
        }
    }
}

/// Returns the credit that is left behind an atom.
fn spend(credit: u32, atom: &Atom) -> u32 {
    credit.saturating_sub(u32::try_from(atom.stored_len()).unwrap_or(u32::MAX))
}
