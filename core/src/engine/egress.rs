//! Egress: sealing, proof of work and queueing of outgoing packets.
//!
//! Buffers are recycled: the host's buffer is exchanged for a packet and is used for a later
//! packet, so that steady traffic causes no allocations.

use super::config::EngineConfig;
use super::egress_shares::EgressShares;
use super::event::Transmit;
use super::limits;
use super::queue::ByteQueue;
use super::random::Nonces;
use super::stats::{DropReason, Stats};
use crate::crypto::{Nonce, PublicKey, SharedKey};
use crate::time::Instant;
use crate::wire::handshake::{self, Block};
use crate::wire::message::{self, Envelope, HEADER_BYTES, Topic};
use crate::wire::network_group::NetworkGroup;
use crate::wire::packet::{Draft, MAX_BYTES, NONCE_BYTES};
use crate::wire::pow::{Progress, Search};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;

/// Returns the length of a packet that carries a handshake with this payload.
pub(super) const fn handshake_bytes(payload_len: usize) -> usize {
    NONCE_BYTES + HEADER_BYTES + payload_len
}

/// Returns the length of a packet that carries sealed content of this length.
pub(super) const fn sealed_bytes(content_len: usize) -> usize {
    NONCE_BYTES
        + HEADER_BYTES
        + crate::crypto::SEAL_NONCE_BYTES
        + 1
        + content_len
        + crate::crypto::TAG_BYTES
}

/// Identifier of a proof-of-work search.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkId(u64);

/// Proof-of-work search that is too long to run while a datagram is handled: the host runs it on a
/// thread of its own and returns the result.
#[derive(Clone, Debug)]
pub struct Work {
    id: WorkId,
    search: Search,
    attempts: u64,
    deadline: Instant,
}

impl Work {
    /// Returns the identifier of the search.
    #[must_use]
    pub const fn id(&self) -> WorkId {
        self.id
    }

    /// Returns the time after which the result is discarded.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Tries at most `attempts` more nonces. Returns `None` if the search is to be continued, later
    /// or on another thread.
    pub fn run(&mut self, attempts: u64) -> Option<WorkDone> {
        let attempts = attempts.min(self.attempts);
        self.attempts -= attempts;
        match self.search.run(attempts) {
            Progress::Found(nonce) => Some(WorkDone {
                id: self.id,
                nonce: Some(nonce),
            }),
            Progress::Pending if self.attempts > 0 => None,
            Progress::Pending | Progress::Exhausted => Some(self.give_up()),
        }
    }

    /// Returns the result of a search that is abandoned.
    #[must_use]
    pub const fn give_up(&self) -> WorkDone {
        WorkDone {
            id: self.id,
            nonce: None,
        }
    }
}

/// Result of a [`Work`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkDone {
    id: WorkId,
    nonce: Option<u64>,
}

/// A packet that waits for the result of a proof-of-work search.
#[derive(Debug)]
struct Pending {
    to: SocketAddr,
    packet: Vec<u8>,
    deadline: Instant,
}

/// Maximum number of buffers that are kept for reuse.
const MAX_SPARE: usize = 256;
/// Maximum capacity of a buffer that is kept for reuse, in bytes.
const MAX_SPARE_BYTES: usize = 8_192;

/// Outgoing packets: the queue, spare buffers, and searches that are under way.
#[derive(Debug)]
pub(super) struct Egress {
    me: PublicKey,
    port: u16,
    nonces: Nonces,
    queue: ByteQueue<(SocketAddr, Vec<u8>)>,
    shares: EgressShares,
    spare: Vec<Vec<u8>>,
    next_work: u64,
    new_work: alloc::collections::VecDeque<Work>,
    pending: BTreeMap<WorkId, Pending>,
}

impl Egress {
    pub(super) fn new(config: &EngineConfig, me: PublicKey, seed: &[u8; 32]) -> Self {
        Self {
            me,
            port: config.announced_port(),
            nonces: Nonces::new(seed),
            queue: ByteQueue::new(
                config.outgoing_queue_limit_bytes,
                config.outgoing_queue_timeout,
            ),
            shares: EgressShares::new(config.outgoing_queue_limit_bytes),
            spare: Vec::new(),
            next_work: 0,
            new_work: alloc::collections::VecDeque::new(),
            pending: BTreeMap::new(),
        }
    }

    /// Returns whether a nonce was used by this engine under its current prefix.
    pub(super) fn is_ours(&self, nonce: &Nonce) -> bool {
        self.nonces.is_ours(nonce)
    }

    /// Queues a handshake.
    pub(super) fn handshake(
        &mut self,
        now: Instant,
        stats: &mut Stats,
        to: SocketAddr,
        payload: &[u8],
    ) {
        let mut packet = self.spare.pop().unwrap_or_default();
        let mut draft = Draft::new(&mut packet);
        message::write_handshake(draft.message_mut(), &self.me, self.port, payload);
        self.work(now, stats, to, packet, 1);
    }

    /// Queues a handshake with an authenticated block for the owner of `receiver`.
    pub(super) fn authenticated_handshake(
        &mut self,
        now: Instant,
        stats: &mut Stats,
        (to, receiver, key): (SocketAddr, PublicKey, &SharedKey),
        block: &Block,
    ) {
        let mut packet = self.spare.pop().unwrap_or_default();
        let nonce = self.nonces.next();
        let mut message = Vec::new();
        message::write_handshake(&mut message, &self.me, self.port, &[]);
        block.write(&mut message);
        handshake::authenticate(&mut message, key, &receiver, &nonce);
        let mut draft = Draft::new(&mut packet);
        draft.message_mut().extend_from_slice(&message);
        self.work(now, stats, to, packet, 1);
    }

    /// Queues sealed content, which `write` appends to the given buffer.
    pub(super) fn sealed(
        &mut self,
        now: Instant,
        stats: &mut Stats,
        to: SocketAddr,
        (key, difficulty): (&SharedKey, u8),
        topic: Topic,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut packet = self.spare.pop().unwrap_or_default();
        let envelope = Envelope {
            sender: self.me,
            port: self.port,
            key,
            nonce: self.nonces.next(),
        };
        let mut draft = Draft::new(&mut packet);
        let sealed = envelope.write_with(draft.message_mut(), topic, write);
        if sealed.is_err() || packet.len() > MAX_BYTES {
            stats.drop(DropReason::TooLarge);
            self.recycle(packet);
            return;
        }
        self.work(now, stats, to, packet, difficulty);
    }

    /// Adds the proof of work and queues the packet, or hands the search to the host if it is long.
    /// The difficulty is clamped to 1..=[`limits::MAX_DIFFICULTY`].
    fn work(
        &mut self,
        now: Instant,
        stats: &mut Stats,
        to: SocketAddr,
        mut packet: Vec<u8>,
        difficulty: u8,
    ) {
        let difficulty = difficulty.clamp(1, limits::MAX_DIFFICULTY);
        let expected = (packet.len() as u64) << difficulty.min(32);
        if expected <= limits::INLINE_WORK_BYTES || difficulty == 1 {
            // 32 times the average number of attempts: practically always enough.
            let attempts = 32 << difficulty;
            let found = Draft::resume(&mut packet)
                .is_ok_and(|mut draft| draft.try_work(difficulty.into(), attempts));
            if found {
                self.enqueue(now, stats, to, packet);
                return;
            }
        }
        self.send_out(now, stats, to, packet, difficulty);
    }

    /// Hands the proof-of-work search of a packet to the host, unless too many are under way.
    fn send_out(
        &mut self,
        now: Instant,
        stats: &mut Stats,
        to: SocketAddr,
        packet: Vec<u8>,
        difficulty: u8,
    ) {
        let pending_for = |is_same: &dyn Fn(SocketAddr) -> bool| {
            let pending = self.pending.values();
            pending.filter(|pending| is_same(pending.to)).count()
        };
        let group = NetworkGroup::of(to.ip());
        let for_address = pending_for(&|other| other == to);
        let for_group = pending_for(&|other| NetworkGroup::of(other.ip()) == group);
        if self.pending.len() >= limits::MAX_WORK
            || for_address >= limits::MAX_WORK_PER_ADDRESS
            || for_group >= limits::MAX_WORK_PER_GROUP
        {
            stats.drop(DropReason::WorkBudget);
            self.recycle(packet);
            return;
        }
        let id = WorkId(self.next_work);
        self.next_work = self.next_work.wrapping_add(1);
        let deadline = now + limits::WORK_TIMEOUT;
        let message = packet.get(NONCE_BYTES..).unwrap_or_default();
        self.new_work.push_back(Work {
            id,
            search: Search::new(message, difficulty.into()),
            attempts: limits::MAX_WORK_ATTEMPTS,
            deadline,
        });
        self.pending.insert(
            id,
            Pending {
                to,
                packet,
                deadline,
            },
        );
    }

    pub(super) fn poll_work(&mut self) -> Option<Work> {
        self.new_work.pop_front()
    }

    pub(super) fn handle_work(&mut self, now: Instant, stats: &mut Stats, done: WorkDone) {
        let Some(Pending { to, mut packet, .. }) = self.pending.remove(&done.id) else {
            return;
        };
        let Some(nonce) = done.nonce else {
            stats.drop(DropReason::WorkBudget);
            self.recycle(packet);
            return;
        };
        if let Ok(mut draft) = Draft::resume(&mut packet) {
            draft.set_nonce(nonce);
        }
        self.enqueue(now, stats, to, packet);
    }

    fn enqueue(&mut self, now: Instant, stats: &mut Stats, to: SocketAddr, packet: Vec<u8>) {
        let len = packet.len();
        let is_allowed = self.shares.is_allowed(self.queue.bytes(), to);
        let refused = match is_allowed {
            true => self.queue.push(now, len, (to, packet)).err(),
            false => Some((to, packet)),
        };
        match refused {
            None => self.shares.add(to, len),
            Some((_, packet)) => {
                stats.drop(DropReason::OutgoingFull);
                self.recycle(packet);
            }
        }
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < MAX_SPARE && (1..=MAX_SPARE_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Moves the next packet into `buffer`.
    pub(super) fn poll(&mut self, stats: &mut Stats, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let (to, packet) = self.queue.pop()?;
        self.shares.remove(to, packet.len());
        self.recycle(mem::replace(buffer, packet));
        let len = buffer.len();
        stats.sent += 1;
        stats.sent_bytes += len as u64;
        Some(Transmit { to, len })
    }

    /// Drops packets that have waited for space, or for a search, for too long.
    pub(super) fn expire(&mut self, now: Instant, stats: &mut Stats) {
        while let Some((to, packet)) = self.queue.pop_expired(now) {
            self.shares.remove(to, packet.len());
            self.recycle(packet);
            stats.drop(DropReason::OutgoingFull);
        }
        let late = |pending: &Pending| pending.deadline <= now;
        while let Some(entry) = self.pending.first_entry()
            && late(entry.get())
        {
            let (id, pending) = entry.remove_entry();
            self.new_work.retain(|work| work.id != id);
            self.recycle(pending.packet);
            stats.drop(DropReason::WorkBudget);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        // Deadlines grow with ids.
        let work = self
            .pending
            .first_key_value()
            .map(|(_, pending)| pending.deadline);
        [work, self.queue.deadline()].into_iter().flatten().min()
    }

    pub(super) const fn queued_bytes(&self) -> u64 {
        self.queue.bytes()
    }

    pub(super) fn pending_work(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn at(group: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([60, group, 1, 1], port))
    }

    /// Large answers to one network group while the socket takes nothing.
    #[test]
    fn destination_at_full_rate_leaves_room_in_the_outgoing_queue_for_others() {
        let mut config = EngineConfig::new(crate::crypto::SecretKey::from_bytes([1; 32]), 7);
        config.outgoing_queue_limit_bytes = 1 << 20;
        config.outgoing_queue_timeout = Duration::ZERO;
        let mut egress = Egress::new(&config, PublicKey::new([1; 32]), &[2; 32]);
        let (mut stats, mut now) = (Stats::default(), Instant::ZERO);
        let mut buffer = Vec::new();
        let mut delivered = 0;
        for round in 0..20_u16 {
            for port in 0..200 {
                egress.enqueue(now, &mut stats, at(1, port), [0; 60_000].to_vec());
            }
            for group in 2..102 {
                egress.enqueue(now, &mut stats, at(group, round), [0; 1_000].to_vec());
            }
            now = now + Duration::from_secs(1);
            egress.expire(now, &mut stats);
            while let Some(sent) = egress.poll(&mut stats, &mut buffer) {
                delivered += u32::from(sent.to.port() == round && sent.len == 1_000);
            }
        }
        assert_eq!(delivered, 20 * 100);
        assert!(stats.dropped(DropReason::OutgoingFull) > 3_000);
        assert_eq!(egress.queued_bytes(), 0);
    }
}
