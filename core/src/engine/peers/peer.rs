//! State of one known peer.

use crate::atom::AtomId;
use crate::crypto::{Nonce, PublicKey, SharedKey};
use crate::engine::event::PeerInfo;
use crate::engine::handshake::BlockExchange;
use crate::engine::held::Held;
use crate::engine::limits::{CONTACT_INTERVAL, MAX_PROBES, MAX_WAITING, WAITING_TIMEOUT};
use crate::engine::replay::{Freshness, ReplayWindow};
use crate::engine::round_trip::RoundTrip;
use crate::engine::seeds::Seeds;
use crate::engine::shares::Share;
use crate::engine::stats::DropReason;
use crate::time::Instant;
use crate::wire::network_group::NetworkGroup;
use crate::wire::object::PayloadType;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Request whose answer validates the address that it was sent to.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Probe {
    pub(in crate::engine) id: [u8; 32],
    pub(in crate::engine) address: SocketAddr,
    pub(in crate::engine) sent_at: Instant,
    pub(in crate::engine) tries: u8,
    /// `true` if it is to confirm the stream of a peer whose address is validated.
    pub(in crate::engine) is_for_stream: bool,
}

/// Probes under way to one peer: one to the address that it is known at, one to another. A peer
/// that is claimed to have moved does not lose the probe at its own address.
#[derive(Debug, Default)]
pub(in crate::engine) struct Probes {
    pub(super) own: Option<Box<Probe>>,
    pub(super) other: Option<Box<Probe>>,
    /// Times at which the peer was last asked to confirm its stream: at its address and at another.
    pub(super) confirmation_asked_at: [Option<Instant>; 2],
}

impl Probes {
    /// Returns the place for probes to the address of the peer, or to another.
    pub(in crate::engine) const fn slot(&mut self, is_own: bool) -> &mut Option<Box<Probe>> {
        if is_own {
            &mut self.own
        } else {
            &mut self.other
        }
    }

    /// Returns the time at which the peer was last asked to confirm its stream, at its address or
    /// at another.
    pub(in crate::engine) const fn confirmation_asked_at(
        &mut self,
        is_own: bool,
    ) -> &mut Option<Instant> {
        let [own, other] = &mut self.confirmation_asked_at;
        if is_own { own } else { other }
    }

    /// Returns the probes under way.
    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = Probe> + use<> {
        let copied = |probe: &Option<Box<Probe>>| probe.as_deref().copied();
        copied(&self.own).into_iter().chain(copied(&self.other))
    }

    /// Takes the probe with this id.
    pub(in crate::engine) fn take(&mut self, id: &[u8; 32]) -> Option<Probe> {
        let has_id = |probe: &mut Box<Probe>| probe.id == *id;
        let own = self.own.take_if(has_id);
        own.or_else(|| self.other.take_if(has_id))
            .map(|probe| *probe)
    }
}

/// Request whose answer exceeds the amplification limit of an unvalidated address.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Waiting {
    pub(in crate::engine) id: AtomId,
    pub(in crate::engine) kind: PayloadType,
    pub(in crate::engine) deadline: Instant,
}

/// Provider record that waits for the address of its sender to be validated.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct WaitingPut {
    pub(in crate::engine) id: AtomId,
    pub(in crate::engine) kind: PayloadType,
    pub(in crate::engine) key: PublicKey,
    pub(in crate::engine) address: SocketAddr,
    pub(in crate::engine) deadline: Instant,
}

/// State of a known peer.
#[derive(Debug)]
pub(in crate::engine) struct Peer {
    pub(in crate::engine) shared: SharedKey,
    /// Address that its packets are sent to: the validated address, else the one that it used last.
    pub(in crate::engine) address: SocketAddr,
    pub(in crate::engine) is_validated: bool,
    pub(in crate::engine) is_registered: bool,
    /// `true` if it was an independent peer at the last count, see [`Peers::independent`].
    ///
    /// [`Peers::independent`]: super::Peers::independent
    pub(in crate::engine) is_independent: bool,
    /// `true` if the peer may be sent IPv6 addresses, and requests over IPv6: it is a node of this
    /// implementation.
    pub(in crate::engine) takes_ipv6: bool,
    /// `true` if it has answered a probe as only a node of this implementation does.
    pub(in crate::engine) is_ours: bool,
    pub(in crate::engine) round_trip: RoundTrip,
    pub(in crate::engine) replay: ReplayWindow,
    /// Time and share that its statements were remembered with when it was added, if they were.
    pub(super) departed: Option<Box<(Instant, Share)>>,
    pub(in crate::engine) probes: Probes,
    /// Statements that it made before its stream was confirmed.
    pub(in crate::engine) held: Held,
    pub(in crate::engine) waiting: Vec<Waiting>,
    pub(in crate::engine) puts: Vec<WaitingPut>,
    pub(in crate::engine) known_since: Instant,
    /// Time of its last sign of life that cannot be a replay; of any sign of life while its address
    /// is not validated.
    pub(in crate::engine) last_heard: Instant,
    /// Time of the last message that shows that one side uses the other: a request or a response
    /// from it, or an announced transaction. Pings and blocks do not count.
    pub(in crate::engine) used_at: Instant,
    /// Time at which the host last requested objects from it by stream.
    pub(in crate::engine) streamed_at: Option<Instant>,
    pub(in crate::engine) pinged_at: Instant,
    /// Number of pings that it was sent since their content has changed, or since it has restarted.
    pub(in crate::engine) pings: u8,
    /// Difficulty that its last ping required; 0 if it was sent none.
    pub(in crate::engine) sent_difficulty: u8,
    pub(in crate::engine) kept_alive_at: Option<Instant>,
    pub(in crate::engine) answered_at: Option<Instant>,
    pub(in crate::engine) is_answer_due: bool,
    /// `true` if it has sent a handshake since its last ping, as after a restart.
    pub(in crate::engine) has_sent_handshake: bool,
    pub(in crate::engine) routes_asked_at: Option<Instant>,
    /// Time at which it was last sent our advertisements again, or is to be.
    pub(in crate::engine) readvertised_at: Option<Instant>,
    /// Number of consecutive requests that it has not answered in time.
    pub(super) unanswered: u8,
    /// `true` if it has ever answered a request.
    pub(super) has_answered: bool,
    /// See [`Standing::has_served`].
    pub(super) has_served: bool,
    pub(super) is_silent: bool,
    /// Time at which it was last tried although it is silent.
    pub(super) tried_at: Option<Instant>,
    pub(in crate::engine) difficulty: u8,
    pub(in crate::engine) is_validator: bool,
    pub(in crate::engine) head: Option<AtomId>,
    pub(in crate::engine) block_exchange: BlockExchange,
    pub(super) queue_entry: Option<EvictionQueueEntry>,
}

/// Position of a peer in one of the two eviction queues of [`Peers`].
#[derive(Clone, Copy, Debug)]
pub(super) struct EvictionQueueEntry {
    pub(super) is_unvalidated: bool,
    /// Time in the queue, which is no later than the peer was last heard from.
    pub(super) at: Instant,
}

impl Peer {
    pub(in crate::engine) fn new(now: Instant, shared: SharedKey, address: SocketAddr) -> Self {
        Self {
            shared,
            address,
            is_validated: false,
            is_registered: false,
            is_independent: false,
            takes_ipv6: false,
            is_ours: false,
            round_trip: RoundTrip::default(),
            replay: ReplayWindow::default(),
            departed: None,
            probes: Probes::default(),
            held: Held::default(),
            waiting: Vec::new(),
            puts: Vec::new(),
            known_since: now,
            last_heard: now,
            used_at: now,
            streamed_at: None,
            pinged_at: now,
            pings: 0,
            sent_difficulty: 0,
            kept_alive_at: None,
            answered_at: None,
            is_answer_due: false,
            has_sent_handshake: false,
            routes_asked_at: None,
            readvertised_at: None,
            unanswered: 0,
            has_answered: false,
            has_served: false,
            is_silent: false,
            tried_at: None,
            difficulty: 1,
            is_validator: false,
            head: None,
            block_exchange: BlockExchange::default(),
            queue_entry: None,
        }
    }

    /// Returns whether it is the pinned default seed, or validated at the address of a seed.
    pub(in crate::engine) fn is_seed(&self, key: &PublicKey, seeds: &Seeds) -> bool {
        let is_at_seed = || seeds.addresses().any(|seed| self.is_validated_at(seed));
        seeds.is_default(key) || is_at_seed()
    }

    /// Returns its state for the host.
    pub(in crate::engine) fn info(&self, key: &PublicKey, seeds: &Seeds) -> PeerInfo {
        PeerInfo {
            key: *key,
            address: self.address,
            group: self.group(),
            is_validated: self.is_validated,
            is_validator: self.is_validator,
            is_default_seed: seeds.is_default(key),
            is_seed: self.is_seed(key, seeds),
            difficulty: self.difficulty,
            head: self.head,
            identity: self.block_exchange.content.identity,
            stream: self.block_exchange.content.stream,
            last_heard: self.last_heard,
        }
    }

    /// Returns whether a request to the peer at `address` does no harm: a reference node on IPv6
    /// stops receiving at a request that it cannot answer.
    pub(in crate::engine) const fn may_be_asked_at(&self, address: &SocketAddr) -> bool {
        address.is_ipv4() || self.takes_ipv6
    }

    /// Checks an authentic message for replay, and records the sign of life. Returns the stream of
    /// the message.
    ///
    /// # Errors
    /// Returns [`DropReason::Replayed`] if the message is a replay.
    pub(in crate::engine) fn note_authentic(
        &mut self,
        now: Instant,
        nonce: &Nonce,
        is_statement: bool,
    ) -> Result<Stream, DropReason> {
        let freshness = self.replay.note(nonce, is_statement);
        if freshness == Freshness::Replayed {
            return Err(DropReason::Replayed);
        }
        let is_current = freshness == Freshness::Current;
        if is_current || !self.is_validated {
            self.last_heard = now;
            self.kept_alive_at = None;
        }
        Ok(if !is_current && self.replay.confirmed().is_some() {
            Stream::Unconfirmed
        } else {
            Stream::Usable
        })
    }

    /// Begins an answer to a handshake of the validated peer, at most one per
    /// [`CONTACT_INTERVAL`].
    ///
    /// # Errors
    /// Fails if the interval is not over; returns its end if the answer is to be delayed until
    /// then, and `None` if one is delayed already.
    pub(in crate::engine) fn begin_answer(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        let free_at = self.answered_at.map_or(now, |at| at + CONTACT_INTERVAL);
        if free_at > now {
            let is_delayed = core::mem::replace(&mut self.is_answer_due, true);
            return Err((!is_delayed).then_some(free_at));
        }
        self.answered_at = Some(now);
        self.is_answer_due = false;
        Ok(())
    }

    /// Keeps a request until the address of the peer is validated. A duplicate is ignored.
    ///
    /// # Errors
    /// Returns [`DropReason::NotValidated`] if [`MAX_WAITING`] requests wait.
    pub(in crate::engine) fn wait(
        &mut self,
        now: Instant,
        id: AtomId,
        kind: PayloadType,
    ) -> Result<(), DropReason> {
        self.waiting.retain(|waiting| waiting.deadline > now);
        let mut there = self.waiting.iter();
        if there.any(|waiting| waiting.id == id && waiting.kind == kind) {
            return Ok(());
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err(DropReason::NotValidated);
        }
        let deadline = now + WAITING_TIMEOUT;
        self.waiting.push(Waiting { id, kind, deadline });
        Ok(())
    }

    /// Keeps a provider record until the address of the peer is validated.
    ///
    /// # Errors
    /// Returns [`DropReason::NotValidated`] if [`MAX_WAITING`] records wait.
    pub(in crate::engine) fn hold_put(
        &mut self,
        now: Instant,
        put: WaitingPut,
    ) -> Result<(), DropReason> {
        self.puts.retain(|waiting| waiting.deadline > now);
        if self.puts.len() >= MAX_WAITING {
            return Err(DropReason::NotValidated);
        }
        self.puts.push(put);
        Ok(())
    }

    /// Drops the requests and provider records that wait for validation; returns their number.
    pub(in crate::engine) fn give_up_waiting(&mut self) -> usize {
        let requests = core::mem::take(&mut self.waiting);
        let puts = core::mem::take(&mut self.puts);
        requests.len() + puts.len()
    }

    /// Stops probes of an address where there is no room for the peer, for as long as after the
    /// last probe of an address that does not answer. Otherwise its next packets would start probes
    /// again, each of which it answers.
    pub(in crate::engine) fn rest_probes(
        &mut self,
        now: Instant,
        address: SocketAddr,
        id: [u8; 32],
    ) {
        let is_own = self.address == address;
        *self.probes.slot(is_own) = Some(Box::new(Probe {
            id,
            address,
            sent_at: now,
            tries: MAX_PROBES,
            is_for_stream: false,
        }));
    }

    /// Returns the last probe of its own address that was not answered. Anyone can cause probes of
    /// other addresses with a handshake in its name, so those show nothing about it.
    pub(in crate::engine) fn own_probe(&self) -> Option<&Probe> {
        let own = self.probes.own.as_deref();
        own.filter(|probe| probe.address == self.address)
    }

    /// Returns the network group of its address.
    pub(in crate::engine) fn group(&self) -> NetworkGroup {
        NetworkGroup::of(self.address.ip())
    }

    /// Returns whether it is validated at `address`.
    pub(in crate::engine) fn is_validated_at(&self, address: &SocketAddr) -> bool {
        self.is_validated && self.address == *address
    }
}

/// Stream of an authentic message that is not a replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Stream {
    /// The confirmed stream of the peer, or a stream of a peer that has confirmed none.
    Usable,
    /// A stream other than the confirmed one: the message is of an earlier or a later run.
    Unconfirmed,
}
