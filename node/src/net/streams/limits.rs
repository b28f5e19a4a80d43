//! Limits of the connections and the memory of streams, from the configuration.
//!
//! Memory is divided when a node starts. Each connection has a share for its buffers, so fewer
//! connections than configured are open if the memory does not suffice for all. The rest is for
//! atoms that have arrived and that their receivers have not taken ([`Memory`]): those of
//! lists, which wait to be stored, and those of requests. A small part is left for what one read
//! adds to that, and for the buffers of the threads.
//!
//! Buffers of the operating system, objects that this node has in its stores, and the beginning of a
//! list that had arrived by datagram before its stream are not part of it.

use super::bandwidth;
use crate::config::Settings;
use crate::config::stream_memory::{CONNECTION_BYTES, RECEIVED_BYTES};
use crate::net::stream_memory::Memory;
use mio::Waker;
use std::sync::Arc;

/// Maximum number of bytes of lists that wait to be stored.
const MAX_LIST_BYTES: u64 = 16 << 20;
/// Number of bytes for what one read adds to the atoms that have arrived, and for frames and groups
/// of atoms that a thread is working on.
const RESERVED_BYTES: u64 = 4 << 20;

/// Limits of the streams of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::net) struct Limits {
    pub(in crate::net) bandwidth: bandwidth::Limits,
    /// Maximum number of connections that peers have opened.
    pub(super) served: usize,
    /// Maximum number of these from one IPv4 address, or one IPv6 network of 64 bits.
    pub(super) served_of_network: usize,
    /// Maximum number of connections to peers.
    pub(super) clients: usize,
    /// Number of bytes of lists in memory from which no more of them are read.
    pub(super) list_bytes: usize,
    /// Number of bytes of requests in memory from which no more of them are read.
    pub(super) request_bytes: usize,
    /// Number of bytes of both that one peer has sent from which no more of them are read.
    pub(super) peer_bytes: usize,
}

impl Limits {
    /// Returns the limits of a configuration.
    pub(in crate::net) fn new(settings: &Settings) -> Self {
        let served = u64::from(settings.stream_connections);
        let clients = u64::from(settings.stream_outgoing_connections);
        let memory = settings.stream_memory_limit;
        let of_connections = (served + clients) * CONNECTION_BYTES;
        let least = (memory / 7 * 3).min(RECEIVED_BYTES);
        let received = memory.saturating_sub(of_connections).max(least);
        let places = memory.saturating_sub(received) / CONNECTION_BYTES;
        let clients = clients.min((places / 2).max(places.saturating_sub(served)));
        let served = served.min(places - clients);
        let list_bytes = (received / 4).min(MAX_LIST_BYTES);

        let of_peer = settings.stream_peer_memory_limit;
        let served_of_network = u64::from(settings.stream_peer_connections);
        let served_of_network = served_of_network.min(of_peer / 4 / CONNECTION_BYTES);
        // A peer that this node requests objects from has two connections: one for lists.
        let of_its_connections = (served_of_network + 2) * CONNECTION_BYTES;
        let peer_bytes = of_peer.saturating_sub(of_its_connections + RESERVED_BYTES);
        let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            bandwidth: bandwidth::Limits {
                total: settings.stream_bandwidth,
                of_address: settings.stream_peer_bandwidth,
            },
            served: size(served),
            served_of_network: size(served_of_network),
            clients: size(clients),
            list_bytes: size(list_bytes),
            request_bytes: size(received.saturating_sub(list_bytes + RESERVED_BYTES)),
            peer_bytes: size(peer_bytes),
        }
    }

    /// Creates the accounts of what arrives; `waker` ends the wait of the thread of the streams when
    /// one of them is no longer full.
    pub(super) fn memory(&self, waker: &Arc<Waker>) -> Memory {
        Memory::new(self.list_bytes, self.request_bytes, self.peer_bytes, waker)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(&Settings::default())
    }
}

/// Returns what is wrong if a limit of memory keeps the connections below their own limits.
#[must_use]
pub fn shortage(settings: &Settings) -> Vec<String> {
    if settings.stream_port == Some(0) {
        return Vec::new();
    }
    let limits = Limits::new(settings);
    let served = u64::from(settings.stream_connections);
    let clients = u64::from(settings.stream_outgoing_connections);
    let of_peer = u64::from(settings.stream_peer_connections);
    let mut texts = Vec::new();
    let open = (limits.served as u64, limits.clients as u64);
    if open != (served, clients) {
        let needed = (served + clients) * CONNECTION_BYTES;
        let needed = (needed + RECEIVED_BYTES).min(needed.div_ceil(4) * 7);
        texts.push(format!(
            "stream_memory_limit has room for {} of {served} stream_connections and {} of {clients} \
             stream_outgoing_connections: raise it to {needed}, or lower these",
            open.0, open.1
        ));
    }
    if limits.served_of_network as u64 != of_peer {
        texts.push(format!(
            "stream_peer_memory_limit has room for {} of {of_peer} stream_peer_connections: raise it \
             to {}, or lower these",
            limits.served_of_network,
            of_peer * CONNECTION_BYTES * 4
        ));
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const MIB: u64 = 1 << 20;

    fn settings(
        (served, clients): (u32, u32),
        memory: Option<u64>,
        (of_peer, peer_memory): (u32, u64),
    ) -> Settings {
        let config = Config {
            stream_connections: served,
            stream_outgoing_connections: clients,
            stream_memory_limit: memory,
            stream_peer_connections: of_peer,
            stream_peer_memory_limit: peer_memory,
            ..Config::default()
        };
        config.resolve().unwrap()
    }

    #[test]
    fn default_has_room_for_all_connections_and_for_all_that_they_may_deliver() {
        let limits = Limits::default();
        assert_eq!(
            (limits.served, limits.served_of_network, limits.clients),
            (64, 8, 64)
        );
        assert_eq!(limits.list_bytes, 16 << 20);
        // The windows of all requests for a state, and of all requests of one peer with its lists.
        assert!(limits.request_bytes >= 160 << 20, "{limits:?}");
        assert!(limits.peer_bytes >= 80 << 20, "{limits:?}");
        assert_eq!(shortage(&Settings::default()), [""; 0]);
    }

    #[test]
    fn parts_fit_into_the_memory_and_none_is_empty() {
        let connections = [1, 2, 7, 64, 300, 4_096];
        let memory = [16, 17, 24, 64, 256, 448, 1_000, 1 << 20].map(|it| Some(it * MIB));
        for (served, clients) in connections
            .iter()
            .flat_map(|n| connections.map(|m| (*n, m)))
        {
            for memory in memory.into_iter().chain([None]) {
                let settings = settings((served, clients), memory, (2, 16 * MIB));
                let limits = Limits::new(&settings);
                let all = settings.stream_memory_limit;
                let open = (limits.served + limits.clients) as u64;
                let received = (limits.list_bytes + limits.request_bytes) as u64;
                let used = open * CONNECTION_BYTES + received + RESERVED_BYTES;
                assert!(used <= all, "{used} of {all}: {limits:?}");
                let least = [limits.served, limits.clients].into_iter().min();
                assert!(least >= Some(1), "{all}: {limits:?}");
                assert!(limits.list_bytes >= 1 << 20 && limits.request_bytes >= 1 << 20);
                let is_whole = open == u64::from(served + clients);
                assert_eq!(shortage(&settings).is_empty(), is_whole);
                assert!(is_whole || memory.is_some(), "{limits:?}");
            }
        }
    }

    #[test]
    fn memory_of_a_peer_is_divided_between_its_connections_and_what_they_deliver() {
        for memory in [16, 20, 32, 64, 128, 512].map(|it| it * MIB) {
            for connections in [2, 8, 64] {
                let limits = Limits::new(&settings((64, 64), None, (connections, memory)));
                let open = limits.served_of_network as u64 + 2;
                let used = open * CONNECTION_BYTES + limits.peer_bytes as u64 + RESERVED_BYTES;
                assert!(used <= memory, "{used} of {memory}: {limits:?}");
                assert!(limits.served_of_network >= 2 && limits.peer_bytes >= 4 << 20);
            }
        }
    }

    #[test]
    fn shortage_states_a_value_that_suffices() {
        for (connections, of_peer) in [((64, 64), 8), ((4_096, 10), 300), ((3, 3), 3)] {
            let short = settings(connections, Some(16 * MIB), (of_peer, 16 * MIB));
            let texts = shortage(&short);
            assert!(
                texts[0].contains("stream_memory_limit has room for 2 of"),
                "{texts:?}"
            );
            assert!(
                texts[1].contains("stream_peer_memory_limit has room for 2 of"),
                "{texts:?}"
            );
            let stated = texts.iter().map(|text| {
                let (_, behind) = text.rsplit_once("raise it to ").unwrap();
                behind.split(',').next().unwrap().parse().unwrap()
            });
            let stated: Vec<u64> = stated.collect();
            let enough = settings(connections, Some(stated[0]), (of_peer, stated[1]));
            assert_eq!(shortage(&enough), [""; 0]);
        }
        let off = Config {
            stream_port: Some(0),
            stream_memory_limit: Some(16 * MIB),
            ..Config::default()
        };
        assert_eq!(shortage(&off.resolve().unwrap()), [""; 0]);
    }
}
