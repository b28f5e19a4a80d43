//! Headers and transactions that arrive by stream, many for one round trip.
//!
//! A peer that announces a branch is asked for the headers below those that are known, twice as many
//! each time, and for the transactions of the next blocks. What is on its way is not fetched by
//! datagrams, once the streams of the peer are known to work: until then both continue side by side, so
//! that a peer whose TCP port does not answer costs no time. A stream that makes no progress, or is
//! slower than [`HEADERS_PER_SECOND`], is given up, and so is its peer for [`PAUSE`], which doubles
//! each time: then everything continues by datagrams.
//!
//! The host keeps headers that arrive in memory, and may drop them before they are read, or at once.
//! A header that has arrived and is missing again is lost: it is fetched by datagram, and the next
//! request is for half as many headers. Below [`MIN_HEADERS`] streams pause for [`PAUSE`]. Each
//! stream that was read to its end doubles the number again.
//!
//! Bounds: [`MAX_STREAMS`] streams, of [`MAX_HEADERS`] headers or of the blocks whose transactions
//! are fetched in advance; as many that have arrived and are not read to their end.

use super::announcers::Announcers;
use super::call::Call;
use crate::atom::AtomId;
use crate::consensus::{Effect, StreamObject, StreamRequest};
use crate::crypto::PublicKey;
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// Number of headers of a branch below which the next are not fetched by stream: most announced
/// heads are one block above ours.
pub(super) const MIN_HEADERS: u64 = 8;
/// Maximum number of headers of one request.
pub(super) const MAX_HEADERS: u32 = 4_096;
/// Maximum number of headers of the first request after the host's memory held next to nothing.
const FEWEST_HEADERS: u32 = 16;
/// Maximum number of streams at once, of all branches.
const MAX_STREAMS: usize = 6;
/// Maximum number of these for transactions.
const MAX_BODY_STREAMS: usize = 4;
/// Time without progress after which a stream is given up.
const STALL: Duration = Duration::from_secs(4);
/// Rate of headers below which a stream is given up.
const HEADERS_PER_SECOND: u32 = 16;
/// Maximum time of a stream with transactions.
const BODIES_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for which a peer whose stream has failed is not asked again, at first.
const PAUSE: Duration = Duration::from_secs(60);
/// Maximum number of times that the pause doubles.
const MAX_DOUBLINGS: u32 = 6;
/// Maximum number of peers that are remembered. If full, the one whose pause ends first is
/// forgotten.
const MAX_PEERS: usize = 256;

#[derive(Debug)]
struct Open {
    peer: PublicKey,
    /// `None` for transactions.
    headers: Option<Headers>,
    /// Blocks whose headers or transactions arrive.
    blocks: BTreeSet<AtomId>,
    /// `true` if it is expected to bring what was requested.
    is_proven: bool,
    progressed: Instant,
    /// Latest end.
    ends: Instant,
}

/// Headers of a stream, which are read downwards.
#[derive(Clone, Copy, Debug)]
struct Headers {
    /// Header that is read next.
    next: AtomId,
    /// Number of headers that are not read yet.
    left: u32,
    /// Number of headers that were requested.
    count: u32,
}

/// Headers of a complete stream that are not read to their end.
#[derive(Debug)]
struct Arrived {
    headers: Headers,
    blocks: BTreeSet<AtomId>,
}

/// Experience with the streams of a peer.
#[derive(Clone, Copy, Debug, Default)]
struct Experience {
    /// `true` if the last stream brought something.
    is_proven: bool,
    /// Number of failures without a success in between.
    failures: u32,
    paused_until: Instant,
}

/// Streams of sync. See the [module](self).
#[derive(Debug)]
pub(super) struct Streams {
    is_enabled: bool,
    next_number: u64,
    open: BTreeMap<u64, Open>,
    /// The newest last.
    arrived: VecDeque<Arrived>,
    /// Maximum number of headers of the next request: what the host's memory has held so far.
    most_headers: u32,
    /// End of the pause that follows if it holds next to nothing.
    paused_until: Instant,
    peers: BTreeMap<PublicKey, Experience>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            is_enabled: false,
            next_number: 0,
            open: BTreeMap::new(),
            arrived: VecDeque::new(),
            most_headers: MAX_HEADERS,
            paused_until: Instant::default(),
            peers: BTreeMap::new(),
        }
    }
}

impl Streams {
    /// Creates the state of a node whose host has streams, or does not.
    pub(super) fn new(is_enabled: bool) -> Self {
        Self {
            is_enabled,
            ..Self::default()
        }
    }

    /// Returns whether the header of a block was requested by stream and may still arrive.
    pub(super) fn awaits_header(&self, block: &AtomId) -> bool {
        self.header_streams(block).next().is_some()
    }

    /// Returns whether the header of a block arrives by stream.
    pub(super) fn brings_header(&self, block: &AtomId) -> bool {
        self.header_streams(block).any(|open| open.is_proven)
    }

    fn header_streams(&self, block: &AtomId) -> impl Iterator<Item = &Open> {
        self.open.values().filter(|open| {
            let headers = open.headers.as_ref();
            headers.is_some_and(|it| it.next == *block || open.blocks.contains(block))
        })
    }

    /// Notes that a header is missing. Returns whether it has arrived by stream, and was lost.
    pub(super) fn note_missing_header(&mut self, now: Instant, block: &AtomId) -> bool {
        let has_brought = |it: &Arrived| it.headers.next == *block || it.blocks.contains(block);
        let Some(lost) = self.arrived.iter().position(has_brought) else {
            return false;
        };
        if let Some(lost) = self.arrived.remove(lost) {
            self.most_headers = lost.headers.count / 2;
        }
        if u64::from(self.most_headers) < MIN_HEADERS {
            self.most_headers = FEWEST_HEADERS;
            self.paused_until = now + PAUSE;
        }
        true
    }

    /// Returns whether the transactions of a block arrive by stream.
    pub(super) fn brings_body(&self, block: &AtomId) -> bool {
        let mut bodies = self.open.values().filter(|open| open.headers.is_none());
        bodies.any(|open| open.is_proven && open.blocks.contains(block))
    }

    /// Requests `count` headers downwards from `first`, of which the blocks in `known` are known
    /// already, if a peer can be asked.
    pub(super) fn request_headers(
        &mut self,
        call: &mut Call<'_, '_>,
        announcers: &Announcers,
        (first, count): (AtomId, u32),
        known: impl IntoIterator<Item = AtomId>,
    ) {
        let count = count.min(self.most_headers);
        let object = StreamObject::Headers { id: first, count };
        let blocks = known.into_iter().collect();
        let time = STALL + Duration::from_secs(u64::from(count / HEADERS_PER_SECOND));
        let headers = Headers {
            next: first,
            left: count,
            count,
        };
        self.request(call, announcers, object, (Some(headers), blocks, time));
    }

    /// Requests the transactions of blocks, each given with the first atom of its list. Returns
    /// `false` if they have to be fetched by datagrams.
    pub(super) fn request_bodies(
        &mut self,
        call: &mut Call<'_, '_>,
        announcers: &Announcers,
        bodies: &[(AtomId, AtomId)],
    ) -> bool {
        if bodies.is_empty() || !self.has_room_for_bodies() {
            return false;
        }
        let lists: Vec<AtomId> = bodies.iter().map(|(_, list)| *list).collect();
        let blocks: BTreeSet<AtomId> = bodies.iter().map(|(block, _)| *block).collect();
        let object = StreamObject::Bodies { lists };
        self.request(call, announcers, object, (None, blocks, BODIES_TIMEOUT))
    }

    /// Returns whether a request for transactions would be made now.
    pub(super) fn can_request_bodies(&self, now: Instant, announcers: &Announcers) -> bool {
        let has_room = self.is_enabled && self.has_room_for_bodies();
        has_room && self.peer(now, announcers).is_some()
    }

    fn has_room_for_bodies(&self) -> bool {
        let streams = self.open.values().filter(|open| open.headers.is_none());
        streams.count() < MAX_BODY_STREAMS && self.open.len() < MAX_STREAMS
    }

    fn request(
        &mut self,
        call: &mut Call<'_, '_>,
        announcers: &Announcers,
        object: StreamObject,
        (headers, blocks, time): (Option<Headers>, BTreeSet<AtomId>, Duration),
    ) -> bool {
        let now = call.now();
        if !self.is_enabled || self.open.len() >= MAX_STREAMS {
            return false;
        }
        let Some(from) = self.peer(now, announcers) else {
            return false;
        };
        let number = self.next_number;
        self.next_number += 1;
        let open = Open {
            peer: from,
            headers,
            blocks,
            is_proven: self.peers.get(&from).is_some_and(|peer| peer.is_proven),
            progressed: now,
            ends: now + time,
        };
        self.open.insert(number, open);
        call.context.push_effect(Effect::Stream(StreamRequest {
            number,
            from,
            object,
        }));
        true
    }

    /// Returns the announcer with the fewest streams of those without a pause; `None` if the host's
    /// memory holds next to nothing.
    fn peer(&self, now: Instant, announcers: &Announcers) -> Option<PublicKey> {
        if self.paused_until > now {
            return None;
        }
        let peers = announcers.iter().map(|announcer| announcer.peer);
        let is_paused = |peer: &PublicKey| {
            let experience = self.peers.get(peer);
            experience.is_some_and(|experience| experience.paused_until > now)
        };
        let willing = peers.filter(|peer| !is_paused(peer));
        willing.min_by_key(|peer| self.open.values().filter(|open| open.peer == *peer).count())
    }

    /// Notes that a header was read: the stream that brings it continues with the one below.
    pub(super) fn read_header(&mut self, id: AtomId, previous: AtomId) {
        let open = self.open.values_mut();
        let open = open.filter_map(|open| open.headers.as_mut());
        let arrived = self.arrived.iter_mut().map(|it| &mut it.headers);
        for headers in open.chain(arrived).filter(|it| it.next == id) {
            headers.next = previous;
            headers.left = headers.left.saturating_sub(1);
        }
        let most = &mut self.most_headers;
        self.arrived.retain(|arrived| {
            let Headers { left, count, .. } = arrived.headers;
            if left == 0 && count >= *most {
                *most = count.saturating_mul(2).min(MAX_HEADERS);
            }
            left > 0
        });
    }

    /// Notes that a part has arrived. Returns whether the stream is open.
    pub(super) fn progressed(&mut self, now: Instant, number: u64) -> bool {
        let Some(open) = self.open.get_mut(&number) else {
            return false;
        };
        open.progressed = now;
        if !open.is_proven {
            open.is_proven = true;
            let peer = open.peer;
            let experience = self.experience(peer);
            (experience.is_proven, experience.failures) = (true, 0);
        }
        true
    }

    /// Notes that a stream has ended. Returns whether it was open.
    pub(super) fn ended(&mut self, now: Instant, number: u64, is_complete: bool) -> bool {
        let Some(open) = self.open.remove(&number) else {
            return false;
        };
        match open.headers {
            _ if !is_complete => self.pause(now, open.peer),
            Some(headers) if headers.left > 0 => {
                let blocks = open.blocks;
                self.arrived.push_back(Arrived { headers, blocks });
                if self.arrived.len() > MAX_STREAMS {
                    self.arrived.pop_front();
                }
            }
            _ => {}
        }
        true
    }

    fn pause(&mut self, now: Instant, peer: PublicKey) {
        let experience = self.experience(peer);
        // Streams that end together count once.
        if experience.paused_until > now {
            return;
        }
        experience.is_proven = false;
        experience.paused_until = now + PAUSE * (1 << experience.failures.min(MAX_DOUBLINGS));
        experience.failures = experience.failures.saturating_add(1);
    }

    fn experience(&mut self, peer: PublicKey) -> &mut Experience {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            let first = self.peers.iter().min_by_key(|(_, it)| it.paused_until);
            if let Some(first) = first.map(|(peer, _)| *peer) {
                self.peers.remove(&first);
            }
        }
        self.peers.entry(peer).or_default()
    }

    /// Gives up the streams that are too slow. Returns whether there were any.
    pub(super) fn expire(&mut self, call: &mut Call<'_, '_>) -> bool {
        let now = call.now();
        let late = self.open.iter().filter(|(_, open)| open.due() <= now);
        let late: Vec<(u64, PublicKey)> = late.map(|(number, open)| (*number, open.peer)).collect();
        for (number, peer) in &late {
            self.open.remove(number);
            self.pause(now, *peer);
            call.context.push_effect(Effect::CancelStream(*number));
        }
        !late.is_empty()
    }

    /// Forgets a peer that was removed; its streams end.
    pub(super) fn forget(&mut self, call: &mut Call<'_, '_>, peer: &PublicKey) {
        let gone = self.open.iter().filter(|(_, open)| open.peer == *peer);
        for number in gone.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.open.remove(&number);
            call.context.push_effect(Effect::CancelStream(number));
        }
        self.peers.remove(peer);
    }

    /// Returns when the next stream is too slow.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.values().map(Open::due).min()
    }
}

impl Open {
    fn due(&self) -> Instant {
        (self.progressed + STALL).min(self.ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::NoStore;
    use crate::consensus::Context;
    use crate::consensus::sync::tests::parts::{announcer, call_at, id};

    /// Requests headers at a time; returns the peer that is asked.
    fn request(
        streams: &mut Streams,
        context: &mut Context,
        seconds: u64,
        peers: &[u8],
    ) -> Option<StreamRequest> {
        let mut announcers = Announcers::default();
        peers
            .iter()
            .for_each(|peer| announcers.add(announcer(*peer)));
        call_at(seconds, &NoStore, context, |call| {
            streams.request_headers(call, &announcers, (id(9), 100), []);
        });
        match context.poll_effect() {
            Some(Effect::Stream(request)) => Some(request),
            _ => None,
        }
    }

    #[test]
    fn announcers_share_the_streams_and_failures_double_the_pause() {
        let (mut streams, mut context) = (Streams::new(true), Context::new(None));
        let at = Instant::from_secs;
        let first = request(&mut streams, &mut context, 0, &[1, 2]).unwrap();
        let second = request(&mut streams, &mut context, 0, &[1, 2]).unwrap();
        assert_ne!(first.from, second.from);
        assert!(streams.ended(at(0), second.number, true));
        assert!(!streams.ended(at(0), second.number, true), "it has ended");
        assert!(streams.ended(at(0), first.number, false));
        let mut failed_at = 0;
        for pause in [60, 120, 240] {
            let early = request(&mut streams, &mut context, failed_at + pause - 1, &[1]);
            assert_eq!(early, None, "{pause}");
            failed_at += pause;
            let again = request(&mut streams, &mut context, failed_at, &[1]).unwrap();
            streams.ended(at(failed_at), again.number, false);
        }
        // A success ends the series.
        failed_at += 480;
        let again = request(&mut streams, &mut context, failed_at, &[1]).unwrap();
        assert!(streams.progressed(at(failed_at), again.number));
        streams.ended(at(failed_at), again.number, false);
        assert!(request(&mut streams, &mut context, failed_at + 60, &[1]).is_some());
    }

    #[test]
    fn header_is_expected_of_a_stream_that_works_and_follows_what_is_read() {
        let (mut streams, mut context) = (Streams::new(true), Context::new(None));
        let at = Instant::from_secs;
        let number = request(&mut streams, &mut context, 0, &[1]).unwrap().number;
        assert!(streams.awaits_header(&id(9)) && !streams.brings_header(&id(9)));
        streams.progressed(at(1), number);
        assert!(streams.brings_header(&id(9)));
        streams.read_header(id(9), id(8));
        assert!(streams.brings_header(&id(8)) && !streams.awaits_header(&id(9)));
        // 100 headers may take ten seconds, but none of them without progress.
        assert_eq!(streams.deadline(), Some(at(5)));
        for second in 2..=10 {
            streams.progressed(at(second), number);
        }
        assert_eq!(streams.deadline(), Some(at(10)));
        call_at(10, &NoStore, &mut context, |call| {
            assert!(streams.expire(call) && !streams.expire(call));
        });
        assert_eq!(context.poll_effect(), Some(Effect::CancelStream(number)));
        assert!(!streams.progressed(at(11), number));
    }

    #[test]
    fn lost_headers_halve_the_next_request_and_read_ones_double_it() {
        let (mut streams, mut context) = (Streams::new(true), Context::new(None));
        let at = Instant::from_secs;
        let mut brought = |streams: &mut Streams, seconds| {
            let request = request(streams, &mut context, seconds, &[1])?;
            streams.progressed(at(seconds), request.number);
            assert!(streams.ended(at(seconds), request.number, true));
            match request.object {
                StreamObject::Headers { count, .. } => Some(count),
                _ => None,
            }
        };
        let mut counts = Vec::new();
        while let Some(count) = brought(&mut streams, 0) {
            counts.push(count);
            assert!(!streams.note_missing_header(at(0), &id(8)));
            assert!(streams.note_missing_header(at(0), &id(9)));
            assert!(!streams.note_missing_header(at(0), &id(9)), "noted");
        }
        assert_eq!(counts, [100, 50, 25, 12]);
        assert_eq!(brought(&mut streams, 59), None);
        assert_eq!(brought(&mut streams, 60), Some(FEWEST_HEADERS));
        for _ in 0..FEWEST_HEADERS {
            streams.read_header(id(9), id(9));
        }
        assert!(streams.arrived.is_empty());
        assert_eq!(brought(&mut streams, 60), Some(2 * FEWEST_HEADERS));
    }

    #[test]
    fn streams_and_remembered_peers_are_bounded() {
        let (mut streams, mut context) = (Streams::new(true), Context::new(None));
        let open = (0..20).filter(|_| request(&mut streams, &mut context, 0, &[1]).is_some());
        assert_eq!(open.count(), MAX_STREAMS);
        call_at(1, &NoStore, &mut context, |call| {
            streams.forget(call, &announcer(1).peer);
        });
        assert_eq!(streams.open.len(), 0);
        for number in 0..1_000_u64 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            streams.pause(Instant::from_secs(number), PublicKey::new(bytes));
        }
        assert_eq!(streams.peers.len(), MAX_PEERS);
        let mut off = Streams::new(false);
        assert_eq!(request(&mut off, &mut context, 0, &[1]), None);
    }
}
