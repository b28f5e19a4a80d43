//! Counters: datagrams received and sent, and dropped by reason.

use core::fmt;

/// Reason why a datagram, or a packet of our own, was dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DropReason {
    /// The datagram is too short for a nonce and a message.
    TooShort,
    /// The proof of work is below the required difficulty.
    TooLittleWork,
    /// The message's header or sealed part is incomplete.
    Malformed,
    /// The header names port 0, or the source address cannot be answered.
    Unanswerable,
    /// The sender claims our own key.
    OwnKey,
    /// The sender is banned by the host.
    Banned,
    /// The sender's key is of low order, or is not in canonical encoding.
    BadKey,
    /// The budget of key agreements is exhausted: too many unknown keys, in all, from one network
    /// or from one network group.
    KeyBudget,
    /// There is no room for another peer.
    TooManyPeers,
    /// Authentication under the key that we share with the sender failed.
    NotAuthentic,
    /// The packet is authentic, but was received before.
    Replayed,
    /// The provider record or route response is of a stream that the peer has not confirmed,
    /// perhaps of an earlier run.
    Unconfirmed,
    /// The packet was sealed by us and has come back.
    Reflected,
    /// The packet is authentic, but its topic is unknown.
    UnknownTopic,
    /// The packet is authentic, but its content is malformed.
    BadContent,
    /// The response is unsolicited.
    Unsolicited,
    /// The object is not the one that was requested.
    WrongObject,
    /// The handshake came too soon after the previous one.
    HandshakeTooSoon,
    /// The redirect, forwarded put or contact exceeds its budget.
    RedirectBudget,
    /// The answer exceeds the amplification limit of an unvalidated address, or too many requests
    /// wait for its validation.
    NotValidated,
    /// The address of a request was not validated in time.
    ValidationTimeout,
    /// The peer's difficulty could not be met in time, or too many proof-of-work searches are under
    /// way.
    WorkBudget,
    /// The incoming queue is full.
    IncomingFull,
    /// The outgoing queue is full.
    OutgoingFull,
    /// The event queue is full: the host does not take events fast enough.
    EventsFull,
    /// The object does not fit a datagram.
    TooLarge,
    /// The atom store failed.
    StoreFailed,
    /// Too many requests of the peer, or in all, wait for a disk.
    ReadsFull,
    /// The request waited for a disk for too long, or its sender was removed meanwhile.
    ReadTimeout,
}

impl DropReason {
    /// All reasons, in order.
    pub const ALL: [Self; 29] = [
        Self::TooShort,
        Self::TooLittleWork,
        Self::Malformed,
        Self::Unanswerable,
        Self::OwnKey,
        Self::Banned,
        Self::BadKey,
        Self::KeyBudget,
        Self::TooManyPeers,
        Self::NotAuthentic,
        Self::Replayed,
        Self::Unconfirmed,
        Self::Reflected,
        Self::UnknownTopic,
        Self::BadContent,
        Self::Unsolicited,
        Self::WrongObject,
        Self::HandshakeTooSoon,
        Self::RedirectBudget,
        Self::NotValidated,
        Self::ValidationTimeout,
        Self::WorkBudget,
        Self::IncomingFull,
        Self::OutgoingFull,
        Self::EventsFull,
        Self::TooLarge,
        Self::StoreFailed,
        Self::ReadsFull,
        Self::ReadTimeout,
    ];

    /// Returns the reason as a phrase for a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "too short",
            Self::TooLittleWork => "insufficient proof of work",
            Self::Malformed => "malformed message",
            Self::Unanswerable => "no address to reply to",
            Self::OwnKey => "sender claims our key",
            Self::Banned => "banned sender",
            Self::BadKey => "low-order or non-canonical key",
            Self::KeyBudget => "key agreement budget exceeded",
            Self::TooManyPeers => "too many peers",
            Self::NotAuthentic => "not authentic",
            Self::Replayed => "replayed",
            Self::Unconfirmed => "unconfirmed stream",
            Self::Reflected => "our own packet reflected",
            Self::UnknownTopic => "unknown topic",
            Self::BadContent => "malformed content",
            Self::Unsolicited => "unsolicited response",
            Self::WrongObject => "wrong object",
            Self::HandshakeTooSoon => "handshake rate-limited",
            Self::RedirectBudget => "redirect budget exceeded",
            Self::NotValidated => "address not validated",
            Self::ValidationTimeout => "address validation timed out",
            Self::WorkBudget => "work budget exceeded",
            Self::IncomingFull => "incoming queue full",
            Self::OutgoingFull => "outgoing queue full",
            Self::EventsFull => "event queue full",
            Self::TooLarge => "object too large for a datagram",
            Self::StoreFailed => "atom store failed",
            Self::ReadsFull => "disk read queue full",
            Self::ReadTimeout => "disk read timed out",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Counters since the engine was created. They only grow.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Number of datagrams received.
    pub received: u64,
    /// Number of bytes in them.
    pub received_bytes: u64,
    /// Number of packets handed to the host.
    pub sent: u64,
    /// Number of bytes in them.
    pub sent_bytes: u64,
    /// Number of object requests answered with the object.
    pub objects_served: u64,
    /// Number of reads caused by requests for objects on a disk.
    pub disk_reads: u64,
    /// Number of key agreements computed.
    pub agreements: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl Stats {
    /// Returns the number of drops for this reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// Returns the number of drops for all reasons.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Returns the reasons for which there were drops since `earlier`, with their number.
    pub fn dropped_since<'s>(
        &'s self,
        earlier: &'s Self,
    ) -> impl Iterator<Item = (DropReason, u64)> + 's {
        DropReason::ALL
            .into_iter()
            .map(|reason| {
                (
                    reason,
                    self.dropped(reason).saturating_sub(earlier.dropped(reason)),
                )
            })
            .filter(|(_, count)| *count > 0)
    }

    pub(super) fn drop(&mut self, reason: DropReason) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count = count.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let mut stats = Stats::default();
        let mut names = alloc::collections::BTreeSet::new();
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(names.insert(reason.as_str()));
            stats.drop(reason);
            assert_eq!(stats.dropped(reason), 1);
        }
        assert_eq!(stats.dropped_total(), DropReason::ALL.len() as u64);
        assert_eq!(stats.dropped_since(&stats.clone()).count(), 0);
        assert_eq!(
            stats.dropped_since(&Stats::default()).count(),
            DropReason::ALL.len()
        );
    }
}
