//! Statements of a peer that are held until they are known not to be replays.
//!
//! Before a peer has answered a probe, and after it has restarted, a statement may be a recorded
//! packet of an earlier run. One ping, one authenticated block and up to [`MAX_HELD_TRANSACTIONS`]
//! announced transactions are held; the answer to the probe determines the stream that they must
//! belong to.

use super::handshake::BlockContent;
use super::limits::MAX_HELD_TRANSACTIONS;
use super::random::split;
use super::replay::Prefix;
use crate::atom::AtomId;
use crate::crypto::Nonce;
use crate::wire::ping::Ping;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Held statements of one peer. Memory is allocated for them only while there are any.
#[derive(Debug, Default)]
pub(super) struct Held(Option<Box<Statements>>);

/// Statements, each with the nonce that it was sealed under, or the prefix of it.
#[derive(Debug, Default)]
struct Statements {
    ping: Option<(Prefix, Ping)>,
    block: Option<(Nonce, BlockContent)>,
    transactions: Vec<(Prefix, AtomId)>,
}

/// Statements that have turned out not to be replays.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Released {
    pub(super) ping: Option<Ping>,
    pub(super) block: Option<(Nonce, BlockContent)>,
    pub(super) transactions: Vec<AtomId>,
}

impl Held {
    /// Holds a ping, replacing the previous one.
    pub(super) fn ping(&mut self, prefix: Prefix, ping: Ping) {
        self.statements().ping = Some((prefix, ping));
    }

    /// Holds the content of a block and the nonce of the block, replacing the previous one.
    pub(super) fn block(&mut self, nonce: Nonce, content: BlockContent) {
        self.statements().block = Some((nonce, content));
    }

    /// Holds an announced transaction; returns `false` if the limit is reached.
    pub(super) fn transaction(&mut self, prefix: Prefix, id: AtomId) -> bool {
        let transactions = &mut self.statements().transactions;
        let has_room = transactions.len() < MAX_HELD_TRANSACTIONS;
        if has_room {
            transactions.push((prefix, id));
        }
        has_room
    }

    fn statements(&mut self) -> &mut Statements {
        self.0.get_or_insert_default()
    }

    /// Takes all held statements. Returns those of the confirmed stream, or all of them if the peer
    /// has no confirmed stream, and discards the rest.
    pub(super) fn release(&mut self, confirmed: Option<Prefix>) -> Released {
        let counts = |prefix: &Prefix| confirmed.is_none_or(|confirmed| confirmed == *prefix);
        let Some(statements) = self.0.take() else {
            return Released::default();
        };
        let Statements {
            ping,
            block,
            transactions,
        } = *statements;
        let ping = ping.filter(|(prefix, _)| counts(prefix));
        let transactions = transactions.into_iter();
        let transactions = transactions.filter(|(prefix, _)| counts(prefix));
        Released {
            ping: ping.map(|(_, ping)| ping),
            block: block.filter(|(nonce, _)| counts(&split(nonce).0)),
            transactions: transactions.map(|(_, id)| id).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::num::NonZeroU8;

    fn ping(n: u8) -> Ping {
        Ping {
            is_validator: true,
            difficulty: NonZeroU8::MIN,
            latest_block: Some(AtomId::new([n; 32])),
        }
    }

    #[test]
    fn releases_statements_of_the_confirmed_stream_once() {
        for (confirmed, expected) in [(Some([1; 6]), 1), (Some([2; 6]), 1), (None, 2)] {
            let mut held = Held::default();
            held.ping([1; 6], ping(1));
            held.ping([2; 6], ping(2));
            assert!(held.transaction([1; 6], AtomId::new([1; 32])));
            assert!(held.transaction([2; 6], AtomId::new([2; 32])));
            held.block([2; 12], BlockContent::default());
            let released = held.release(confirmed);
            let is_of_latest = confirmed != Some([1; 6]);
            assert_eq!(released.ping, is_of_latest.then(|| ping(2)));
            assert_eq!(
                released.block,
                is_of_latest.then_some(([2; 12], BlockContent::default()))
            );
            assert_eq!(released.transactions.len(), expected);
            assert_eq!(held.release(None), Released::default());
        }
    }

    #[test]
    fn keeps_a_bounded_number() {
        let mut held = Held::default();
        for n in 0..100 {
            let is_kept = held.transaction([1; 6], AtomId::new([n; 32]));
            assert_eq!(is_kept, usize::from(n) < MAX_HELD_TRANSACTIONS);
        }
        let released = held.release(None);
        assert_eq!(released.transactions.len(), MAX_HELD_TRANSACTIONS);
    }
}
