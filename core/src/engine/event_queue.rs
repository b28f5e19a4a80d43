//! Queue of events for the host.
//!
//! Statements of peers, which peers cause at will, are bounded: when [`MAX_EVENTS`] are queued, a
//! statement displaces an older one of the source with most statements, or is dropped. Other events
//! are always queued.

use super::event::Event;
use super::limits::MAX_EVENTS;
use super::shares::{Share, Shares};
use alloc::collections::VecDeque;

/// Events that the host has not taken yet.
#[derive(Debug)]
pub(super) struct EventQueue {
    /// Events, each with the share that a statement counts against.
    events: VecDeque<(Event, Option<Share>)>,
    shares: Shares,
}

impl EventQueue {
    pub(super) const fn new() -> Self {
        Self {
            events: VecDeque::new(),
            shares: Shares::new(),
        }
    }

    /// Removes and returns the oldest event.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let (event, share) = self.events.pop_front()?;
        if let Some(share) = share {
            self.shares.remove(share);
        }
        Some(event)
    }

    /// Appends an event that is not a statement.
    pub(super) fn push(&mut self, event: Event) {
        self.events.push_back((event, None));
    }

    /// Appends a statement. Returns the statement that was dropped if the queue is full: an older
    /// one of the source with most statements, or this one.
    pub(super) fn push_statement(&mut self, share: Share, event: Event) -> Option<Event> {
        let mut dropped = None;
        if self.events.len() >= MAX_EVENTS {
            let Some(loser) = self.shares.loser(share) else {
                return Some(event);
            };
            let mut shares = self.events.iter().map(|(_, share)| *share);
            if let Some(oldest) = shares.position(|share| share == Some(loser)) {
                dropped = self.events.remove(oldest).map(|(event, _)| event);
                self.shares.remove(loser);
            }
        }
        self.shares.add(share);
        self.events.push_back((event, Some(share)));
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::AtomId;
    use crate::crypto::PublicKey;
    use crate::wire::network_group::NetworkGroup;

    fn statement(source: u8, n: usize) -> (Share, Event) {
        let group = NetworkGroup::of([source, 1, 1, 1].into());
        let peer = PublicKey::new([source; 32]);
        let mut id = [source; 32];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let id = AtomId::new(id);
        let event = Event::Transaction { peer, group, id };
        (Share::in_group(group, peer), event)
    }

    fn push(queue: &mut EventQueue, source: u8, n: usize) -> Option<Event> {
        let (share, event) = statement(source, n);
        queue.push_statement(share, event)
    }

    #[test]
    fn flood_of_statements_displaces_its_own_and_no_other_event() {
        let mut queue = EventQueue::new();
        let removed = |n: u8| Event::PeerRemoved {
            peer: PublicKey::new([n; 32]),
            reason: super::super::event::RemoveReason::TimedOut,
        };
        queue.push(removed(1));
        assert_eq!(push(&mut queue, 2, 0), None);
        for n in 2..MAX_EVENTS {
            assert_eq!(push(&mut queue, 3, n), None, "{n}");
        }
        for n in 0..10 {
            let oldest_of_flood = statement(3, n + 2).1;
            assert_eq!(push(&mut queue, 3, MAX_EVENTS + n), Some(oldest_of_flood));
        }
        let oldest_of_flood = statement(3, 12).1;
        assert_eq!(push(&mut queue, 4, 0), Some(oldest_of_flood));
        queue.push(removed(5));
        let all: alloc::vec::Vec<Event> = core::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(all.len(), MAX_EVENTS + 1);
        for kept in [removed(1), statement(2, 0).1, statement(4, 0).1, removed(5)] {
            assert!(all.contains(&kept), "{kept:?}");
        }
        assert!(queue.shares.heaviest().is_none(), "nothing is counted");
    }

    #[test]
    fn statement_is_dropped_if_only_other_events_are_queued() {
        let mut queue = EventQueue::new();
        for _ in 0..MAX_EVENTS {
            queue.push(Event::AddressLearned(([1, 2, 3, 4], 5).into()));
        }
        let (share, event) = statement(1, 1);
        assert_eq!(queue.push_statement(share, event.clone()), Some(event));
        assert!(queue.shares.heaviest().is_none());
    }
}
