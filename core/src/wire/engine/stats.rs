//! Counters: datagrams received and sent, and dropped by reason.

use core::fmt;

/// Reason why a datagram, or a packet of our own, was dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DropReason {
    /// No nonce with a message behind it.
    TooShort,
    /// Less work than we ask for.
    TooLittleWork,
    /// The message's header or sealed part is not complete.
    Malformed,
    /// The header names port 0, or the source is an address that cannot be answered.
    Unanswerable,
    /// The sender claims to be us.
    OwnKey,
    /// The sender is banned by the host.
    Banned,
    /// The sender's key is of low order, or another spelling of a key.
    BadKey,
    /// Too many unknown keys at once, from everywhere or from one network.
    KeyBudget,
    /// No room for another peer.
    TooManyPeers,
    /// It does not open under the key that we share with the sender.
    NotAuthentic,
    /// It opened, and was received before.
    Replayed,
    /// It states something in a stream that the peer has not confirmed: a packet of an earlier run,
    /// perhaps.
    Unconfirmed,
    /// It was sealed by us and comes back.
    Reflected,
    /// It opened, and its topic is unknown.
    UnknownTopic,
    /// It opened, and its content does not decode.
    BadContent,
    /// An unsolicited response.
    Unsolicited,
    /// An object that is not the one that was asked for.
    WrongObject,
    /// A handshake that comes too soon after the last one.
    HandshakeTooSoon,
    /// A redirect, forward or contact that is over its budget.
    RedirectBudget,
    /// The answer exceeds the amplification limit of an unvalidated address, or too much waits for its
    /// validation.
    Unproven,
    /// The address of a request was not validated in time.
    ProofTimeout,
    /// The peer's difficulty could not be met in time.
    WorkBudget,
    /// The incoming queue is full.
    IncomingFull,
    /// The outgoing queue is full.
    OutgoingFull,
    /// The host does not take events fast enough.
    EventsFull,
    /// An object that does not fit a datagram.
    TooLarge,
    /// The atom store failed.
    StoreFailed,
    /// Too many requests of the peer, or of all, wait for a disk.
    ReadsFull,
    /// A request waited for a disk for too long, or its sender was removed meanwhile.
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
        Self::Unproven,
        Self::ProofTimeout,
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
            Self::TooLittleWork => "too little work",
            Self::Malformed => "malformed message",
            Self::Unanswerable => "no address to answer to",
            Self::OwnKey => "sender claims our key",
            Self::Banned => "banned sender",
            Self::BadKey => "low-order or non-canonical key",
            Self::KeyBudget => "too many strangers",
            Self::TooManyPeers => "peer table full",
            Self::NotAuthentic => "not authentic",
            Self::Replayed => "replayed",
            Self::Unconfirmed => "not of the confirmed stream",
            Self::Reflected => "our own packet reflected",
            Self::UnknownTopic => "unknown topic",
            Self::BadContent => "content does not decode",
            Self::Unsolicited => "not asked for",
            Self::WrongObject => "not the object asked for",
            Self::HandshakeTooSoon => "handshake too soon",
            Self::RedirectBudget => "over the redirect budget",
            Self::Unproven => "address not proven",
            Self::ProofTimeout => "address not proven in time",
            Self::WorkBudget => "work budget exceeded",
            Self::IncomingFull => "incoming queue full",
            Self::OutgoingFull => "outgoing queue full",
            Self::EventsFull => "event queue full",
            Self::TooLarge => "object too large for a datagram",
            Self::StoreFailed => "atom store failed",
            Self::ReadsFull => "too many disk reads waiting",
            Self::ReadTimeout => "disk read not in time",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Counters since the engine was made. They only grow.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Datagrams handled.
    pub received: u64,
    /// Bytes in them.
    pub received_bytes: u64,
    /// Packets handed to the host.
    pub sent: u64,
    /// Bytes in them.
    pub sent_bytes: u64,
    /// Object requests answered with the object.
    pub objects_served: u64,
    /// Reads that requests for objects on a disk have caused.
    pub disk_reads: u64,
    /// Key agreements computed.
    pub agreements: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl Stats {
    /// Returns how many were dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// Returns how many were dropped in all.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Returns the reasons for which something was dropped since `earlier`, with how many.
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
