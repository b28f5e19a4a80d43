//! Bounds of the engine.
//!
//! Nothing that a peer sends makes the engine hold more than these say. The policy of each full table
//! stands beside its bound. No source at full rate keeps others out:
//!
//! | table | what limits one source |
//! | --- | --- |
//! | peers, routing table | places per network and network group; unvalidated peers go first |
//! | provider index, redirects and forwarded puts, contacts, referrers, answered handshakes, marks, fetches, events, departed peers, keys of unknown peers | shares: the network group and in it the source with most entries loses first |
//! | answers of contacted addresses | budgets and places per address, and shares of peers that named them; seeds and echoes apart |
//! | key agreements | a budget per network group and network, or per socket of a range that is not public |
//! | requests that wait for a disk | places per peer; network groups and in them peers take turns; when full, shares as above |
//! | requests and records that wait for a validation, held statements, preferred and asked peers of a fetch | bounds per peer or fetch |
//! | balances of unvalidated addresses | each is spent when it comes in; the one used longest ago goes |
//! | incoming queue | proof of work grows; validated peers and handshakes bypass it |
//! | proof-of-work searches | a bound per address |

use core::time::Duration;

/// Peers known at once, registered or not. When full, the one heard from longest ago goes among
/// unvalidated peers that are silent for [`STRANGER_PATIENCE`] or more than
/// [`STRANGERS_WITH_TIME`], then among those that the routing table has no room for and that were
/// silent for [`SPARE_PEER_SILENCE`], then among all unvalidated ones; the others stay, and the
/// newcomer is refused.
pub const MAX_PEERS: usize = 4_096;
/// See [`MAX_PEERS`]: time enough for a newcomer to learn of others.
pub const SPARE_PEER_SILENCE: Duration = Duration::from_secs(10);
/// See [`MAX_PEERS`]: time enough to answer probes.
pub const STRANGER_PATIENCE: Duration = Duration::from_secs(3);
/// See [`MAX_PEERS`]. A flood of unknown keys, of which [`AGREEMENTS_PER_SECOND`] come, leaves each a
/// quarter of a second to validate its address, and costs so many spare peers their place.
pub const STRANGERS_WITH_TIME: usize = 256;
/// Peers known at once from one IPv4 /24 or IPv6 /48, or from one socket of a range that is not
/// public. A peer counts where it is: at its validated address, else at the one that it used last.
/// When full, unvalidated peers there go first, then silent ones outside the routing table; else the
/// newcomer is refused, or the move.
pub const MAX_PEERS_PER_NETWORK: usize = 64;

/// The most proof of work that a peer can require of us, in leading zero bits.
pub const MAX_DIFFICULTY: u8 = 26;
/// Bytes that may be hashed, on average, to find a nonce while a datagram is handled; more goes
/// out as [`Work`](super::Work).
pub const INLINE_WORK_BYTES: u64 = 65_536;
/// Searches that are out at once; further packets are dropped.
pub const MAX_WORK: usize = 256;
/// Searches that are out at once for one address.
pub const MAX_WORK_PER_ADDRESS: usize = 8;
/// How long a search may take before its packet is dropped.
pub const WORK_TIMEOUT: Duration = Duration::from_secs(2);
/// Nonces that a search tries at most.
pub const MAX_WORK_ATTEMPTS: u64 = 1 << 27;

/// Amplification limit: bytes to an unvalidated address, as a multiple of bytes from it.
pub const AMPLIFICATION: u64 = 3;
/// Unvalidated addresses whose balance is kept. When full, the one used longest ago is forgotten,
/// which leaves it without credit.
pub const MAX_CREDITS: usize = 8_192;
/// How long an address that is silent keeps its balance.
pub const CREDIT_LIFETIME: Duration = Duration::from_secs(60);

/// Between two handshakes to one address of our own accord, two because peers have named it, or two answers to one peer's handshakes, and what the
/// redirects of one asker for one id are counted in.
pub const CONTACT_INTERVAL: Duration = Duration::from_secs(10);
/// Addresses contacted for the first time within [`CONTACT_INTERVAL`]. When full, the referrer that has
/// most loses its oldest; if none has more than the others, further ones are refused.
pub const MAX_CONTACTS: usize = 4_096;
/// First contacts that one referrer can cause within [`CONTACT_INTERVAL`].
pub const MAX_CONTACTS_PER_NAMER: usize = 32;
/// How long handshakes from an address that we have contacted count as its answers: longer than the
/// interval in which a peer does not repeat its answer.
pub const SOLICITED_LIFETIME: Duration = Duration::from_secs(30);
/// After these times an address that we have contacted of our own accord, and that has not answered, is
/// contacted again: before [`CONTACT_INTERVAL`] only if it has credit for it.
pub const FOLLOW_UPS: [Duration; 2] = [Duration::from_secs(1), CONTACT_INTERVAL];
/// Keys that have answered from one contacted address and may still answer the probe that each was
/// sent: one every 10 ms within [`CONTACT_INTERVAL`], and some. When full, the one probed longest ago
/// goes.
pub const MAX_SOLICITED_KEYS_PER_ADDRESS: usize = 1_024;
/// The same of all contacted addresses. When full, the address with most keys loses one.
pub const MAX_SOLICITED_KEYS: usize = 4_096;
/// Key agreements per second with keys that answer from one contacted address. All such addresses,
/// and apart from them all seeds, have [`AGREEMENTS_PER_SECOND`].
pub const SOLICITED_PER_SECOND: u32 = 128;
/// Such key agreements in a burst.
pub const SOLICITED_BURST: u32 = 256;
/// Handshakes that are answered at once and remembered, so that the next waits its turn. When
/// full, further ones are answered without being remembered.
pub const MAX_HANDSHAKE_ANSWERS: usize = 4_096;
/// Of the handshakes that are answered without being remembered, one in so many is not.
pub const UNREMEMBERED_HANDSHAKES: u32 = 32;

/// Key agreements with unknown peers per second, from everywhere.
pub const AGREEMENTS_PER_SECOND: u32 = 1_000;
/// Key agreements with unknown peers in a burst, from everywhere.
pub const AGREEMENTS_BURST: u32 = 4_000;
/// Key agreements with unknown peers per second from one IPv4 /24 or IPv6 /48, or from one socket of
/// a range that is not public.
pub const AGREEMENTS_PER_SECOND_PER_NETWORK: u32 = 16;
/// Key agreements with unknown peers in a burst from one network.
pub const AGREEMENTS_BURST_PER_NETWORK: u32 = 64;
/// Key agreements per second from one network group: with unknown peers there, and because of peers there
/// that name addresses.
pub const AGREEMENTS_PER_SECOND_PER_GROUP: u32 = 128;
/// Such key agreements in a burst.
pub const AGREEMENTS_BURST_PER_GROUP: u32 = 512;
/// Keys shared with unknown peers that are remembered after a packet that did not open, so that its
/// sender's next ones cost no key agreement. When full, the source that has most loses its oldest, or
/// the oldest of all goes.
pub const MAX_UNKNOWN_KEYS: usize = 1_024;
/// Networks, and network groups, whose use is counted. When full, the one used longest ago is forgotten.
pub const MAX_NETWORKS: usize = 4_096;

/// Unanswered probes of one address before it is left alone until it speaks again.
pub const MAX_PROBES: u8 = 3;
/// Between two probes of one address.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Requests of one peer that wait for its address to be validated; further ones are dropped.
pub const MAX_WAITING: usize = 16;
/// How long a request waits for the validation.
pub const WAITING_TIMEOUT: Duration = Duration::from_secs(3);
/// Announced transactions of one peer that wait until its stream is confirmed; further ones are
/// dropped.
pub const MAX_HELD_TRANSACTIONS: usize = 16;
/// Removed peers with random nonces whose statements are remembered. When full, the network group that
/// has most loses the one heard longest ago.
pub const MAX_DEPARTED: usize = 1_024;

/// Records in the provider index. When full, the network group with most records loses first, in it
/// the source with most, of its records the oldest.
pub const MAX_PROVIDED: usize = 65_536;
/// Providers of one id. When full, hearsay loses before a peer's record about itself, and among equals
/// the network group with most records, of its records the youngest.
pub const MAX_PROVIDERS_PER_ID: usize = 8;
/// Records that one peer can have put; further ones push its own oldest out.
pub const MAX_PROVIDED_PER_PEER: usize = 16_384;
/// How long a provider record lives unless it is put again.
pub const PROVIDER_LIFETIME: Duration = Duration::from_secs(1_800);
/// Nearer peers that are named in turn to one asker of ours for one id: the nearest, and among them the
/// nearest of those that have answered a request.
pub const MAX_NEARER_NAMED: usize = 4;
/// Redirects to providers for one asker and id within [`CONTACT_INTERVAL`], and redirects to nearer
/// peers for an unvalidated one: an answer may be lost, and is asked for again.
pub const MAX_REPEATED_REDIRECTS: u8 = 4;
/// Forwarded puts of one provider for one id within [`CONTACT_INTERVAL`]: as many as it repeats early
/// in case the first was lost.
pub const MAX_FORWARDED_PUTS: u8 = 3;
/// Redirects and forwarded puts that are remembered. When full, the source that has most loses its
/// oldest.
pub const MAX_REDIRECTS: usize = 16_384;

/// Fetches at once. When full, the peer for which most are under way (the one that named what is
/// fetched) loses its latest; if none has more than the others, further ones fail at once.
pub const MAX_FETCHES: usize = 4_096;
/// Callers that share one fetch.
pub const MAX_FETCH_WAITERS: usize = 1_024;
/// Peers asked at first for one object.
pub const FETCH_FANOUT: usize = 3;
/// Peers asked for one object that no other has named, callers' preferences apart.
pub const MAX_FETCH_PEERS: usize = 16;
/// Peers asked beyond that because others have named them: a record may be dead, and so may the peers
/// nearest to an object.
pub const MAX_FETCH_NAMED: usize = 32;
/// Peers asked in all for one object.
pub const MAX_FETCH_ASKED: usize = MAX_FETCH_PEERS + MAX_FETCH_NAMED + MAX_FETCH_PREFERRED;
/// Peers that callers prefer for one object; further ones are asked as others are.
pub const MAX_FETCH_PREFERRED: usize = 8;
/// Requests in a row that a peer leaves unanswered in time before it is silent, if it has answered
/// any; one is enough if it has not. It then ranks behind all others until it answers one.
pub const SILENT_AFTER: u8 = 3;
/// Between two requests by which a silent peer is tried beside others.
pub const SILENT_TRIAL_INTERVAL: Duration = Duration::from_secs(10);
/// Redirects that are followed in a row.
pub const MAX_FETCH_HOPS: u8 = 8;
/// Times that one peer is asked for one object, retries included.
pub const MAX_FETCH_TRIES: u8 = 8;
/// Before a request is sent again for the first time, while nothing is known of how long answers
/// take; also how long a whole list is waited for before it is asked for atom by atom.
pub const FETCH_RETRY: Duration = Duration::from_millis(200);
/// Times the time of a fetch that it may take in all, or the beginning of a list.
pub const FETCH_TIMEOUTS: u32 = 8;
/// Bytes that have come for which a fetch has a second more.
pub const FETCH_BYTES_PER_SECOND: u64 = 65_536;
/// The shortest and the longest wait before a request is sent again for the first time. Each
/// further one is twice as long, up to the longest.
pub const FETCH_RETRY_BOUNDS: [Duration; 2] =
    [Duration::from_millis(50), Duration::from_millis(500)];
/// Atoms in a list that is fetched, as in consensus.
pub const MAX_LIST_ATOMS: usize = 1_048_576;
/// Stored bytes of a list that is fetched.
pub const MAX_LIST_BYTES: usize = 64 << 20;
/// Stored bytes in a list answer that a reference node can receive: each atom with the length in
/// front of it.
pub const MAX_LIST_ANSWER_BYTES: usize = 3_990;
/// Reads of objects that the host does at once.
pub const MAX_READS_OUT: usize = 4;
/// Of these, reads for the peers of one network group: the others keep a place.
pub const MAX_READS_PER_GROUP: usize = 2;
/// Requests that wait for a read. When full, the source that has most loses its latest.
pub const MAX_READS: usize = 4_096;
/// Requests of one peer that wait for a read; further ones are dropped.
pub const MAX_READS_PER_PEER: usize = 128;
/// Time after which a request without its first read is dropped: its sender has given up.
pub const MAX_READ_WAIT: Duration = Duration::from_secs(5);
/// Time for the reads of one list, from the first; then the part that was read is the answer. Less
/// than [`FETCH_RETRY`], after which the asker goes on atom by atom.
pub const MAX_READ_TIME: Duration = Duration::from_millis(100);
/// Data bytes of the largest atom that fits a datagram.
pub const MAX_ATOM_DATA_BYTES: usize = 65_368;

/// Advertisements of our own; further ones are refused.
pub const MAX_ADVERTISEMENTS: usize = 65_536;
/// After these times an advertisement is sent again before it repeats at its interval.
pub const EARLY_REPEATS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(15)];
/// Peers that an advertisement is sent to: so many that are nearest, and so many that are nearest
/// among those that have answered a request. Usually these are the same.
pub const ADVERTISE_FANOUT: usize = 3;
/// The most peers that an advertisement is sent to.
pub const ADVERTISE_MOST: usize = 2 * ADVERTISE_FANOUT;
/// Advertisements sent, or looked at because peers have come, in one turn.
pub const ADVERTISEMENTS_PER_TURN: usize = 64;
/// Between two such turns while there are more to send.
pub const ADVERTISE_PACE: Duration = Duration::from_millis(10);

/// Peers below which others are asked for theirs.
pub const WANTED_PEERS: usize = 64;
/// Of the peers nearest to ourselves, so many are asked for theirs however many are known: they know
/// each other, and lookups of what is near to us have to find us through them.
pub const NEAR_PEERS: usize = 8;
/// Between two such questions to one peer.
pub const ROUTE_REQUEST_INTERVAL: Duration = Duration::from_secs(300);
/// How long an answer to such a question is waited for.
pub const ROUTE_RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Entries of one answer that are used.
pub const MAX_ROUTE_ENTRIES: usize = 64;

/// Registered peers below which they are few: what [`ROUTE_REQUEST_INTERVAL`],
/// [`PING_INTERVAL`] and [`SEED_INTERVAL`] say is then done [`FEW_PEERS_HURRY`] times as often, so
/// that a network that was torn grows together again.
pub const FEW_PEERS: usize = 16;
/// See [`FEW_PEERS`].
pub const FEW_PEERS_HURRY: u32 = 10;
/// Between two looks at seeds that are no peers, while fewer than [`WANTED_PEERS`] are known: two
/// halves of a network that have forgotten each other have only the seeds in common.
pub const SEED_INTERVAL: Duration = Duration::from_secs(300);
/// Pings go out at least this often, so that no peer forgets us.
pub const PING_INTERVAL: Duration = Duration::from_secs(300);
/// Seeds that are kept.
pub const MAX_SEEDS: usize = 256;
/// Peers that are banned at a time.
pub const MAX_BANS: usize = 1_024;
/// Events that wait for the host. When full, the peer with most heads and transactions loses its
/// oldest; fetch results and changes of peers, which have bounds of their own, are not dropped.
pub const MAX_EVENTS: usize = 8_192;
/// How long a peer's report of our address counts.
pub const ADDRESS_VOTE_LIFETIME: Duration = Duration::from_secs(600);
/// Age at which the report of a network group is asked for again.
pub const ADDRESS_VOTE_RENEWAL: Duration = Duration::from_secs(240);
/// Between two such rounds.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(30);
/// Network groups that are asked in one round.
pub const ADDRESS_VOTES_RENEWED: usize = 16;
/// Validated peers from which on a private address that most of them share is reported.
pub const SHARED_ADDRESS_PEERS: usize = 8;
/// Between two changes of our learned address.
pub const ADDRESS_CHANGE_INTERVAL: Duration = Duration::from_secs(120);
/// Between two times that a change of our address is told to all that have been sent an advertisement
/// which does not repeat.
pub const ADDRESS_REPEAT_INTERVAL: Duration = Duration::from_secs(600);
/// How long changed reports wait to be counted together.
pub const ADDRESS_COUNT_DELAY: Duration = Duration::from_secs(1);
/// Packets that wait for space in a full queue.
pub const MAX_QUEUE_WAITING: usize = 256;
