//! Pings, and announcements of heads and transactions.

use super::allowance::{Allowance, Destination};
use super::limits::MAX_DIFFICULTY;
use super::random::split;
use super::{DropReason, Engine, Event, Recipient, Sender};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::message::Topic;
use crate::wire::ping::{PING_BYTES, Ping};
use alloc::vec::Vec;
use core::num::NonZeroU8;

impl Engine {
    /// Applies a ping, or holds it until its sender has shown that it is not a replay.
    pub(super) fn handle_ping(
        &mut self,
        now: Instant,
        sender: &Sender,
        content: &[u8],
    ) -> Result<(), DropReason> {
        let ping = Ping::decode(content).map_err(|_| DropReason::BadContent)?;
        let key = sender.source.key;
        if sender.is_trusted {
            self.take_ping(now, &key, &ping);
        } else if let Some(peer) = self.peers.get_mut(&key) {
            let (prefix, _) = split(&sender.nonce);
            peer.held.ping(prefix, ping);
            if !peer.is_validated {
                // Otherwise the peer would reject the probe.
                peer.difficulty = ping.difficulty.get().min(MAX_DIFFICULTY);
            }
        }
        Ok(())
    }

    /// Applies a ping, which also registers a node that cannot be validated.
    pub(super) fn take_ping(&mut self, now: Instant, key: &PublicKey, ping: &Ping) {
        let is_new = self.peers.register(key);
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        peer.difficulty = ping.difficulty.get().min(MAX_DIFFICULTY);
        peer.is_validator = ping.is_validator;
        let new_head = ping.latest_block.filter(|head| peer.head != Some(*head));
        peer.head = ping.latest_block;
        let address = peer.address;
        // The handshake may have been forged; the ping is authentic.
        if core::mem::take(&mut peer.has_sent_handshake) {
            self.readvertise_to(now, key);
        }
        if is_new {
            self.out.report(Event::PeerAdded {
                peer: *key,
                address,
            });
        }
        if new_head.is_some() {
            self.report_head(key);
        }
    }

    /// Reports the head that a validated peer has named.
    pub(super) fn report_head(&mut self, key: &PublicKey) {
        let Some(peer) = self.peers.get(key).filter(|peer| peer.is_validated) else {
            return;
        };
        let Some(id) = peer.head else {
            return;
        };
        let event = Event::Head {
            peer: *key,
            group: peer.group(),
            id,
            is_default_seed: self.seeds.is_default(key),
            is_seed: peer.is_seed(key, &self.seeds),
        };
        self.out.report_statement(self.peers.share(key), event);
    }

    /// Sends a ping to a peer at its own address, within the amplification limit if that is not
    /// validated.
    pub(super) fn send_ping(&mut self, now: Instant, key: &PublicKey) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let difficulty = self.inbound.required_difficulty();
        peer.pinged_at = now;
        peer.pings = peer.pings.saturating_add(1);
        peer.sent_difficulty = difficulty;
        let to = Destination {
            key: *key,
            address: peer.address,
            allowance: Allowance::of(peer.is_validated),
        };
        let ping = Ping {
            is_validator: self.config.is_validator,
            difficulty: NonZeroU8::new(difficulty).unwrap_or(NonZeroU8::MIN),
            latest_block: self.config.head,
        };
        let bytes = ping.encode();
        self.send(now, to, Topic::Ping, PING_BYTES, |out| {
            out.extend_from_slice(&bytes);
        });
    }

    /// Sets the newest block, and pings every registered peer if it has changed.
    pub fn set_head(&mut self, now: Instant, head: Option<AtomId>) {
        if self.config.head == head {
            return;
        }
        self.config.head = head;
        self.ping_all(now);
    }

    /// Sets whether this node is a validator, and pings every registered peer if that has changed.
    pub fn set_validator(&mut self, now: Instant, is_validator: bool) {
        if self.config.is_validator == is_validator {
            return;
        }
        self.config.is_validator = is_validator;
        self.ping_all(now);
    }

    fn ping_all(&mut self, now: Instant) {
        self.peers.restart_pings();
        let registered = self.peers.iter().filter(|(_, peer)| peer.is_registered);
        let keys: Vec<PublicKey> = registered.map(|(key, _)| *key).collect();
        for key in keys {
            self.send_ping(now, &key);
        }
    }

    /// Announces a transaction; returns the number of peers it was sent to.
    pub fn send_transaction(&mut self, now: Instant, id: AtomId, to: Recipient) -> usize {
        let takes = |key: &PublicKey, is_validator: bool| match to {
            Recipient::Peer(peer) => peer == *key,
            Recipient::Validators => is_validator,
        };
        let all = self.peers.iter().filter(|(_, peer)| peer.is_validated);
        let receivers: Vec<Destination> = all
            .filter(|(key, peer)| takes(key, peer.is_validator && peer.head.is_some()))
            .map(|(key, peer)| Destination::validated(*key, peer.address))
            .collect();
        for receiver in &receivers {
            self.send(
                now,
                *receiver,
                Topic::Transaction,
                id.as_bytes().len(),
                |out| {
                    out.extend_from_slice(id.as_bytes());
                },
            );
        }
        receivers.len()
    }
}
