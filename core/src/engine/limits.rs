//! Bounds of the engine.
//!
//! No input from peers makes the engine hold more than these bounds. Each bound documents the
//! policy for a full table. A single source that sends at full rate does not keep others out:
//!
//! | table | bound on one source |
//! | --- | --- |
//! | peers, routing table | places per network and network group; unvalidated peers are evicted first, then those of the network group with most |
//! | provider index, redirects and forwarded puts, contacts, referrers, answered handshakes, IPv6 marks, fetches, events, removed peers, keys of unknown peers | shares: the network group with most entries, and in it the source with most, loses first |
//! | answers of contacted addresses | budgets and places per address, and shares per referrer; seeds and cookie echoes have their own |
//! | key agreements | a budget per network group and network, or per socket of a range that is not public |
//! | requests that wait for a disk | places per peer; network groups and in them peers take turns; when full, shares as above |
//! | requests and records that wait for address validation, held statements, preferred and asked peers of a fetch | bounds per peer or fetch |
//! | balances of unvalidated addresses | a balance is usually spent as soon as it is added; the one increased longest ago is removed |
//! | incoming queue | required proof of work grows; validated peers and handshakes bypass it |
//! | proof-of-work searches | bounds per address and network group |

pub use crate::atom::MAX_LIST_ATOMS;
use core::time::Duration;

/// Maximum number of known peers, registered or not. When full, the peer heard from longest ago is
/// evicted: first among unvalidated peers, if it has been silent for [`UNVALIDATED_GRACE`] or there
/// are more than [`UNVALIDATED_WITH_GRACE`] of them; then, in turn, among the peers that the routing
/// table has no room for of the network group with most validated peers, if the group of the newcomer
/// has fewer; then among all peers that it has no room for and that have been silent for
/// [`SPARE_PEER_SILENCE`], of the group alone if the newcomer is of that group; then among all
/// unvalidated peers. If there is none, the newcomer is refused. A validated seed is never evicted.
pub const MAX_PEERS: usize = 4_096;
/// Silence after which a peer outside the routing table may be evicted, see [`MAX_PEERS`]: long
/// enough for a newcomer to learn of other peers.
pub const SPARE_PEER_SILENCE: Duration = Duration::from_secs(10);
/// Time that an unvalidated peer is kept if there are few, see [`MAX_PEERS`]: long enough to answer
/// probes.
pub const UNVALIDATED_GRACE: Duration = Duration::from_secs(3);
/// Number of unvalidated peers that are kept for [`UNVALIDATED_GRACE`], see [`MAX_PEERS`]. A flood
/// of unknown keys, of which [`AGREEMENTS_PER_SECOND`] are accepted, leaves each a quarter of a
/// second to validate its address, and costs at most this number of spare peers their places.
pub const UNVALIDATED_WITH_GRACE: usize = 256;
/// Maximum number of known peers from one IPv4 /24 or IPv6 /48, or from one socket of a range that
/// is not public. A peer counts at its validated address, or at the one that it used last if it is
/// not validated. When full, unvalidated peers there are evicted first, then silent ones outside
/// the routing table; if there is none, the newcomer, or the move of a peer to there, is refused. At
/// the address of a seed it is not refused, and takes the place of any peer but a seed.
pub const MAX_PEERS_PER_NETWORK: usize = 64;

/// Maximum proof of work that a peer can require of us, in leading zero bits.
pub const MAX_DIFFICULTY: u8 = 26;
/// Expected number of bytes to hash for a proof of work that is searched while a datagram is
/// handled; a longer search is handed out as [`Work`](super::Work).
pub const INLINE_WORK_BYTES: u64 = 65_536;
/// Maximum number of proof-of-work searches that are handed out at once; further packets are
/// dropped.
pub const MAX_WORK: usize = 256;
/// Maximum number of proof-of-work searches that are handed out at once for one address.
pub const MAX_WORK_PER_ADDRESS: usize = 8;
/// Maximum number of proof-of-work searches that are handed out at once for the addresses of one
/// network group.
pub const MAX_WORK_PER_GROUP: usize = 64;
/// Time after which a search is abandoned and its packet dropped.
pub const WORK_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of nonces that one search tries.
pub const MAX_WORK_ATTEMPTS: u64 = 1 << 27;

/// Amplification limit: bytes that may be sent to an unvalidated address, as a multiple of the
/// bytes received from it.
pub const AMPLIFICATION: u64 = 3;
/// Maximum number of unvalidated addresses with a balance. When full, the one whose balance was
/// increased longest ago is removed, which leaves that address without a balance.
pub const MAX_CREDITS: usize = 8_192;
/// Silence after which the balance of an address is removed.
pub const CREDIT_LIFETIME: Duration = Duration::from_secs(60);

/// Minimum interval between two handshakes to one address of our own accord, between two caused by
/// referrers, and between two answers to handshakes of one peer. Also the interval in which
/// redirects for one asker and id are counted.
pub const CONTACT_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum number of addresses contacted for the first time within [`CONTACT_INTERVAL`]. When full,
/// the referrer with most contacts loses its oldest; if none has more than the others, further
/// contacts are refused.
pub const MAX_CONTACTS: usize = 4_096;
/// Maximum number of first contacts that one referrer can cause within [`CONTACT_INTERVAL`].
pub const MAX_CONTACTS_PER_REFERRER: usize = 32;
/// Time for which handshakes from a contacted address count as solicited: longer than the interval
/// in which a peer does not repeat its answer.
pub const SOLICITED_LIFETIME: Duration = Duration::from_secs(30);
/// Times after which an address that was contacted of our own accord and has not answered is
/// contacted again. Before [`CONTACT_INTERVAL`] this is subject to its amplification limit.
pub const FOLLOW_UPS: [Duration; 2] = [Duration::from_secs(1), CONTACT_INTERVAL];
/// Maximum number of keys that have answered from one contacted address and may still answer their
/// probe: slightly more than one every 10 ms within [`CONTACT_INTERVAL`]. When full, the key probed
/// longest ago is removed.
pub const MAX_SOLICITED_KEYS_PER_ADDRESS: usize = 1_024;
/// Maximum number of such keys over all contacted addresses. When full, the address with most keys
/// loses one.
pub const MAX_SOLICITED_KEYS: usize = 4_096;
/// Key agreements per second with keys that answer from one contacted address. All such addresses
/// together have [`AGREEMENTS_PER_SECOND`], and so have all seeds together.
pub const SOLICITED_PER_SECOND: u32 = 128;
/// Burst of key agreements with keys that answer from one contacted address.
pub const SOLICITED_BURST: u32 = 256;
/// Maximum number of answered handshakes that are remembered, so that the next from the same key
/// and address has to wait. When full, further handshakes are answered without being remembered.
pub const MAX_HANDSHAKE_ANSWERS: usize = 4_096;
/// One in this number of handshakes that find no place in that memory is not answered.
pub const UNTRACKED_HANDSHAKE_DROP_RATIO: u32 = 32;

/// Key agreements per second with unknown peers, in all.
pub const AGREEMENTS_PER_SECOND: u32 = 1_000;
/// Burst of key agreements with unknown peers, in all.
pub const AGREEMENTS_BURST: u32 = 4_000;
/// Key agreements per second with unknown peers from one IPv4 /24 or IPv6 /48, or from one socket
/// of a range that is not public.
pub const AGREEMENTS_PER_SECOND_PER_NETWORK: u32 = 16;
/// Burst of key agreements with unknown peers from one network.
pub const AGREEMENTS_BURST_PER_NETWORK: u32 = 64;
/// Key agreements per second from one network group: with unknown peers in it, and, counted apart,
/// those caused by referrers in it.
pub const AGREEMENTS_PER_SECOND_PER_GROUP: u32 = 128;
/// Burst of key agreements from one network group.
pub const AGREEMENTS_BURST_PER_GROUP: u32 = 512;
/// Maximum number of keys shared with unknown peers that are kept after a packet that failed
/// authentication, so that further packets of the sender cost no key agreement. When full, the
/// source with most entries loses its oldest, or the oldest of all is removed.
pub const MAX_UNKNOWN_KEYS: usize = 1_024;
/// Maximum number of networks, and of network groups, whose use is counted. When full, the one used
/// longest ago is removed.
pub const MAX_NETWORKS: usize = 4_096;

/// Maximum number of unanswered probes of one address; then it is not probed until it sends
/// something again.
pub const MAX_PROBES: u8 = 3;
/// Minimum interval between two probes of one address.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of requests of one peer that wait for its address to be validated; further ones
/// are dropped.
pub const MAX_WAITING: usize = 16;
/// Time that a request waits for address validation.
pub const WAITING_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of announced transactions of one peer that are held until its stream is
/// confirmed; further ones are dropped.
pub const MAX_HELD_TRANSACTIONS: usize = 16;
/// Maximum number of removed peers with random nonces whose statements are remembered. When full,
/// the network group with most loses the peer heard from longest ago.
pub const MAX_DEPARTED: usize = 1_024;

/// Maximum number of records in the provider index. When full, the network group with most records
/// loses first, in it the source with most records, and of these the oldest.
pub const MAX_PROVIDED: usize = 65_536;
/// Maximum number of providers of one id. When full, a third-party record is displaced before a
/// provider's own record, and among equals the youngest record of the network group with most
/// records.
pub const MAX_PROVIDERS_PER_ID: usize = 8;
/// Maximum number of records put by one peer; a further one displaces its own oldest.
pub const MAX_PROVIDED_PER_PEER: usize = 16_384;
/// Lifetime of a provider record unless it is put again.
pub const PROVIDER_LIFETIME: Duration = Duration::from_secs(1_800);
/// Maximum number of nearer peers that are named in turn to one asker for one id: this many of the
/// nearest peers, and this many of the nearest that have answered a request.
pub const MAX_NEARER_NAMED: usize = 4;
/// Maximum number of redirects to providers, for one id, of an asker that is not known to be a node
/// of this implementation, within [`CONTACT_INTERVAL`]; and of redirects to nearer peers while such
/// an asker is not validated. An answer may be lost and requested again.
pub const MAX_REPEATED_REDIRECTS: u8 = 4;
/// Maximum number of times that a put of one provider for one id is forwarded within
/// [`CONTACT_INTERVAL`]: the number of times that the provider repeats it early, in case the first
/// was lost.
pub const MAX_FORWARDED_PUTS: u8 = 3;
/// Maximum number of redirects and forwarded puts that are remembered. When full, the source with
/// most entries loses its oldest.
pub const MAX_REDIRECTS: usize = 16_384;

/// Maximum number of concurrent fetches. When full, the peer that most fetches count for (the one
/// that named the object) loses its latest; if none has more than the others, further ones fail at
/// once.
pub const MAX_FETCHES: usize = 4_096;
/// Maximum number of callers that share one fetch.
pub const MAX_FETCH_WAITERS: usize = 1_024;
/// Number of peers that are asked first for one object.
pub const FETCH_FANOUT: usize = 3;
/// Maximum number of peers asked for one object that no referrer has named; peers that callers
/// prefer count, but may exceed it.
pub const MAX_FETCH_PEERS: usize = 16;
/// Maximum number of peers asked in addition because a referrer has named them: a record may be
/// dead, and so may the peers nearest to an object.
pub const MAX_FETCH_NAMED: usize = 32;
/// Maximum number of peers asked for one object.
pub const MAX_FETCH_ASKED: usize = MAX_FETCH_PEERS + MAX_FETCH_NAMED + MAX_FETCH_PREFERRED;
/// Maximum number of peers that callers prefer for one object; further ones rank like any other.
pub const MAX_FETCH_PREFERRED: usize = 8;
/// Consecutive requests that a peer leaves unanswered in time before it counts as silent, if it has
/// ever answered one; a single one suffices if it has not. A silent peer ranks behind all others
/// until it answers a request.
pub const SILENT_AFTER: u8 = 3;
/// Minimum interval between two requests by which a silent peer is tried in addition to others.
pub const SILENT_TRIAL_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum number of consecutive redirects that are followed.
pub const MAX_FETCH_HOPS: u8 = 8;
/// Maximum number of requests for one object to one peer, retries included.
pub const MAX_FETCH_TRIES: u8 = 8;
/// Time after which a request is sent again for the first time, while no response time is known.
/// Also the time to wait for a whole list before it is requested atom by atom.
pub const FETCH_RETRY: Duration = Duration::from_millis(200);
/// Total time limit of a fetch, as a multiple of the fetch timeout; also the limit for the
/// beginning of a list.
pub const FETCH_TIMEOUTS: u32 = 8;
/// Number of received bytes that extend the total time limit of a fetch by one second.
pub const FETCH_BYTES_PER_SECOND: u64 = 65_536;
/// Minimum and maximum time before a request is sent again for the first time. Each further wait is
/// twice as long, up to the maximum.
pub const FETCH_RETRY_BOUNDS: [Duration; 2] =
    [Duration::from_millis(50), Duration::from_millis(500)];
/// Number of bytes of a list that arrive by datagram before the rest is fetched by stream, if that is
/// possible.
pub const STREAM_AFTER_BYTES: usize = 2_048;
/// Maximum number of peers whose streams are tried for one list.
pub const MAX_FETCH_STREAMS: usize = 3;
/// Time after which a stream that has not delivered anything gives way to that of another peer:
/// enough to connect at a round-trip time of 150 ms.
pub const STREAM_START_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum number of stored bytes of a fetched list, without those that arrive by stream.
pub const MAX_LIST_BYTES: usize = 64 << 20;
/// Maximum number of stored bytes in a list answer that a reference node can receive, with the
/// length in front of each atom.
pub const MAX_LIST_ANSWER_BYTES: usize = 3_990;
/// Maximum number of concurrent object reads by the host.
pub const MAX_CONCURRENT_READS: usize = 4;
/// Maximum number of these for the peers of one network group: others keep a place.
pub const MAX_READS_PER_GROUP: usize = 2;
/// Maximum number of requests that wait for a read. When full, the source with most requests loses
/// its latest.
pub const MAX_READS: usize = 4_096;
/// Maximum number of requests of one peer that wait for a read; further ones are dropped.
pub const MAX_READS_PER_PEER: usize = 128;
/// Time after which a request that has not been read at all is dropped: its sender has given up.
pub const MAX_READ_WAIT: Duration = Duration::from_secs(5);
/// Time limit for the reads of one list, from the first read; then the part that was read is the
/// answer. Shorter than [`FETCH_RETRY`], after which the asker requests atom by atom.
pub const MAX_READ_TIME: Duration = Duration::from_millis(100);
/// Maximum number of data bytes of an atom that fits a datagram.
pub const MAX_ATOM_DATA_BYTES: usize = 65_368;

/// Maximum number of own advertisements; further ones are refused.
pub const MAX_ADVERTISEMENTS: usize = 65_536;
/// Intervals after which a new advertisement is sent again, before it repeats at its regular
/// interval.
pub const EARLY_REPEATS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(15)];
/// Number of nearest peers that an advertisement is sent to, and number of nearest peers among
/// those that have answered a request that it is sent to as well. Usually these are the same.
pub const ADVERTISE_FANOUT: usize = 3;
/// Maximum number of peers that an advertisement is sent to.
pub const MAX_ADVERTISE_PEERS: usize = 2 * ADVERTISE_FANOUT;
/// Maximum number of advertisements that are sent, or checked because of new peers, in one turn.
pub const ADVERTISEMENTS_PER_TURN: usize = 64;
/// Interval between two such turns while there are more to send.
pub const ADVERTISE_PACE: Duration = Duration::from_millis(10);

/// Number of independent peers (a network and a network group count for as many as the routing table
/// has room for) below which peers are asked for theirs, and number of these, and of registered
/// ones, up to which unused peers are kept.
pub const WANTED_PEERS: usize = 64;
/// Number of peers nearest to ourselves that are asked for theirs however many are known: they know
/// each other, and lookups of ids near to us have to find us through them.
pub const NEAR_PEERS: usize = 8;
/// Minimum interval between two route requests to one peer.
pub const ROUTE_REQUEST_INTERVAL: Duration = Duration::from_secs(300);
/// Time for which a response to a route request is accepted.
pub const ROUTE_RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of entries of one route response that are used.
pub const MAX_ROUTE_ENTRIES: usize = 64;

/// Number of independent peers below which [`ROUTE_REQUEST_INTERVAL`], [`PING_INTERVAL`] and
/// [`SEED_INTERVAL`] are divided by [`FEW_PEERS_DIVISOR`], so that a partitioned network
/// reconnects.
pub const FEW_PEERS: usize = 16;
/// Divisor of intervals while there are fewer than [`FEW_PEERS`] peers.
pub const FEW_PEERS_DIVISOR: u32 = 10;
/// Interval between contacts of seeds that are not peers: two halves of a partitioned network that
/// have removed each other's peers have only the seeds in common, and the peers that a node has may
/// all be of one owner.
pub const SEED_INTERVAL: Duration = Duration::from_secs(300);
/// Interval between two pings to a reference node, so that it does not evict us, and between the
/// first pings of the same content to a node of this implementation, in case one is lost. Doubles
/// with each further one up to [`MAX_PING_INTERVAL`].
pub const PING_INTERVAL: Duration = Duration::from_secs(300);
/// Maximum interval between two pings to a node of this implementation: unlike a reference node, it
/// takes any message as a sign of life, and is asked for one itself.
pub const MAX_PING_INTERVAL: Duration = Duration::from_secs(3_600);
/// Silence after which the replay window of a peer is closed to late packets, to free its memory.
pub const REPLAY_WINDOW_LIFETIME: Duration = Duration::from_secs(60);
/// Maximum number of addresses of the default seed, and likewise of the additional seeds.
pub const MAX_SEEDS: usize = 256;
/// Maximum number of banned peers.
pub const MAX_BANS: usize = 1_024;
/// Maximum number of events that wait for the host. When full, the peer with most statements loses
/// its oldest; fetch results and changes of peers, which have bounds of their own, are not dropped.
pub const MAX_EVENTS: usize = 8_192;
/// Time for which a peer's report of our address counts.
pub const ADDRESS_VOTE_LIFETIME: Duration = Duration::from_secs(600);
/// Age at which the report of a network group is renewed.
pub const ADDRESS_VOTE_RENEWAL: Duration = Duration::from_secs(240);
/// Interval between two rounds of renewal.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(30);
/// Maximum number of network groups that are asked in one round while recent votes of several groups
/// differ from the learned address.
pub const ADDRESS_VOTES_RENEWED: usize = 16;
/// Maximum number of network groups that are asked in one round otherwise: 32 until the first of
/// them is due again, and 80 within the lifetime of a vote.
pub const ADDRESS_VOTES_RENEWED_AT_REST: usize = 4;
/// Minimum number of validated peers before a private address that most of them share is reported.
pub const SHARED_ADDRESS_PEERS: usize = 8;
/// Minimum interval between two changes of our learned address.
pub const ADDRESS_CHANGE_INTERVAL: Duration = Duration::from_secs(120);
/// Minimum interval between two rounds in which advertisements that do not repeat are sent again
/// because our address has changed.
pub const ADDRESS_REPEAT_INTERVAL: Duration = Duration::from_secs(600);
/// Time that changed reports are collected before they are counted.
pub const ADDRESS_COUNT_DELAY: Duration = Duration::from_secs(1);
/// Maximum number of packets that wait for space in a full queue.
pub const MAX_QUEUE_WAITING: usize = 256;
