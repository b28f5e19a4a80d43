//! Headers and transactions that arrive by stream, many for one round trip.
//!
//! A peer that announces a branch is asked for the headers below those that are known, twice as many
//! each time, and for the transactions of the next blocks. What is on its way is not fetched by
//! datagrams. A stream that makes no progress, or is slower than [`HEADERS_PER_SECOND`], is given
//! up, and so is its peer for [`PAUSE`]: then everything goes on by datagrams.
//!
//! Bounds: [`MAX_STREAMS`] streams, of [`MAX_HEADERS`] headers or of the blocks whose transactions
//! are fetched in advance.

use super::announcers::Announcers;
use super::call::Call;
use super::prefetch::BODIES_AHEAD;
use crate::atom::AtomId;
use crate::consensus::{Effect, StreamObject, StreamRequest};
use crate::crypto::PublicKey;
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

/// Number of headers of a branch below which the next are not fetched by stream: most announced
/// heads are one block above ours.
pub(super) const MIN_HEADERS: u64 = 8;
/// Maximum number of headers of one request.
pub(super) const MAX_HEADERS: u32 = 4_096;
/// Maximum number of streams at once, of all branches.
const MAX_STREAMS: usize = 6;
/// Maximum number of these for transactions.
const MAX_BODY_STREAMS: usize = 4;
/// Time without progress after which a stream is given up.
const STALL: Duration = Duration::from_secs(4);
/// Rate of headers, or of blocks, below which a stream is given up.
const HEADERS_PER_SECOND: u32 = 16;
/// Time for which a peer whose stream has failed is not asked again.
const PAUSE: Duration = Duration::from_secs(60);
/// Maximum number of peers with a pause. If full, the one that ends first is forgotten.
const MAX_PAUSES: usize = 256;

#[derive(Debug)]
struct Open {
    peer: PublicKey,
    /// Header that is read next, of those that arrive downwards.
    next: Option<AtomId>,
    /// Blocks whose headers or transactions arrive.
    blocks: BTreeSet<AtomId>,
    is_bodies: bool,
    progressed: Instant,
    /// Latest end.
    ends: Instant,
}

/// Streams of sync. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Streams {
    is_enabled: bool,
    next_number: u64,
    open: BTreeMap<u64, Open>,
    pauses: BTreeMap<PublicKey, Instant>,
}

impl Streams {
    /// Creates the state of a node whose host has streams, or does not.
    pub(super) fn new(is_enabled: bool) -> Self {
        Self {
            is_enabled,
            ..Self::default()
        }
    }

    /// Returns whether the header of a block arrives by stream.
    pub(super) fn brings_header(&self, block: &AtomId) -> bool {
        let mut headers = self.open.values().filter(|open| !open.is_bodies);
        headers.any(|open| open.next == Some(*block) || open.blocks.contains(block))
    }

    /// Returns whether the transactions of a block arrive by stream.
    pub(super) fn brings_body(&self, block: &AtomId) -> bool {
        let mut bodies = self.open.values().filter(|open| open.is_bodies);
        bodies.any(|open| open.blocks.contains(block))
    }

    /// Requests `count` headers downwards from `first`, of which the blocks in `known` are known
    /// already. Returns `false` if they have to be fetched by datagrams.
    pub(super) fn request_headers(
        &mut self,
        call: &mut Call<'_, '_>,
        announcers: &Announcers,
        (first, count): (AtomId, u32),
        known: impl IntoIterator<Item = AtomId>,
    ) -> bool {
        let count = count.min(MAX_HEADERS);
        let object = StreamObject::Headers { id: first, count };
        let blocks = known.into_iter().collect();
        self.request(call, announcers, object, (Some(first), blocks, count))
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
        let bodies = bodies.get(..BODIES_AHEAD).unwrap_or(bodies);
        let lists: Vec<AtomId> = bodies.iter().map(|(_, list)| *list).collect();
        let blocks: BTreeSet<AtomId> = bodies.iter().map(|(block, _)| *block).collect();
        let count = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
        let object = StreamObject::Bodies { lists };
        self.request(call, announcers, object, (None, blocks, count))
    }

    /// Returns whether a request for transactions would be made now.
    pub(super) fn can_request_bodies(&self, now: Instant, announcers: &Announcers) -> bool {
        let has_room = self.is_enabled && self.has_room_for_bodies();
        has_room && self.peer(now, announcers).is_some()
    }

    fn has_room_for_bodies(&self) -> bool {
        let streams = self.open.values().filter(|open| open.is_bodies);
        streams.count() < MAX_BODY_STREAMS && self.open.len() < MAX_STREAMS
    }

    fn request(
        &mut self,
        call: &mut Call<'_, '_>,
        announcers: &Announcers,
        object: StreamObject,
        (next, blocks, count): (Option<AtomId>, BTreeSet<AtomId>, u32),
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
            next,
            blocks,
            is_bodies: next.is_none(),
            progressed: now,
            ends: now + STALL + Duration::from_secs(u64::from(count / HEADERS_PER_SECOND)),
        };
        self.open.insert(number, open);
        call.context.push_effect(Effect::Stream(StreamRequest {
            number,
            from,
            object,
        }));
        true
    }

    /// Returns the announcer with the fewest streams of those without a pause.
    fn peer(&self, now: Instant, announcers: &Announcers) -> Option<PublicKey> {
        let peers = announcers.iter().map(|announcer| announcer.peer);
        let willing = peers.filter(|peer| self.pauses.get(peer).is_none_or(|until| *until <= now));
        willing.min_by_key(|peer| self.open.values().filter(|open| open.peer == *peer).count())
    }

    /// Notes that a header was read: the stream that brings it goes on with the one below.
    pub(super) fn read_header(&mut self, id: AtomId, previous: AtomId) {
        for open in self.open.values_mut() {
            if open.next == Some(id) {
                open.next = Some(previous);
            }
        }
    }

    /// Notes that a part has arrived. Returns whether the stream is open.
    pub(super) fn progressed(&mut self, now: Instant, number: u64) -> bool {
        let open = self.open.get_mut(&number);
        let is_open = open.is_some();
        if let Some(open) = open {
            open.progressed = now;
        }
        is_open
    }

    /// Notes that a stream has ended. Returns whether it was open.
    pub(super) fn ended(&mut self, now: Instant, number: u64, is_complete: bool) -> bool {
        let Some(open) = self.open.remove(&number) else {
            return false;
        };
        if !is_complete {
            self.pause(now, open.peer);
        }
        true
    }

    fn pause(&mut self, now: Instant, peer: PublicKey) {
        self.pauses.retain(|_, until| *until > now);
        if self.pauses.len() >= MAX_PAUSES {
            let first = self.pauses.iter().min_by_key(|(_, until)| **until);
            if let Some(first) = first.map(|(peer, _)| *peer) {
                self.pauses.remove(&first);
            }
        }
        self.pauses.insert(peer, now + PAUSE);
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
        self.pauses.remove(peer);
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
