//! States of the transactions that subscriptions follow.
//!
//! A round finds out the states that this node's data tells, without waiting, and leaves the other
//! transactions to a lookup, which may ask peers: an unknown transaction delays the states of no
//! others. A round that finds out a state later than a lookup began has precedence.

use super::{Hub, Wanted};
use crate::WaitLimit;
use crate::rpc::caller::Caller;
use crate::rpc::chain::TransactionStatusReply;
use crate::rpc::error::RpcError;
use crate::rpc::service::{Service, request};
use crate::rpc::text::TransactionStanding;
use astreum_core::atom::AtomId;
use core::time::Duration;
use std::collections::BTreeSet;

/// Maximum time of a lookup of all transactions that a round left.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Progress of rounds and lookups.
#[derive(Default)]
pub(super) struct Progress {
    /// True if a round is due.
    pub(super) is_due: bool,
    /// Number of the last round.
    round: u64,
    /// Transactions that the last round left, and that no lookup has begun with.
    left: BTreeSet<AtomId>,
}

/// State of a transaction that was passed on to a subscription last.
#[derive(Debug)]
pub(in super::super) struct Passed {
    /// Number of its round.
    round: u64,
    status: Box<TransactionStatusReply>,
}

impl Hub {
    /// Passes on the states that this node's data tells, if a round is due.
    pub(super) fn pass_states(&self, service: &dyn Service) {
        let (wanted, round) = {
            let mut state = self.state();
            if !core::mem::take(&mut state.progress.is_due) {
                return;
            }
            state.progress.round += 1;
            let wanted = state.subscriptions.values();
            let ids = wanted.filter_map(|subscription| match &subscription.wanted {
                Wanted::Transaction { id, .. } => Some(*id),
                _ => None,
            });
            (ids.collect::<BTreeSet<AtomId>>(), state.progress.round)
        };
        let limit = WaitLimit::NONE.within(Duration::ZERO);
        let mut left = BTreeSet::new();
        for id in wanted {
            match limit.scope(|| status(service, id)) {
                Ok(status) if is_complete(&status) => self.pass_state(&status, round),
                _ => {
                    left.insert(id);
                }
            }
        }
        let has_left = !left.is_empty();
        self.state().progress.left = left;
        if has_left {
            self.wake_lookup.notify_one();
        }
    }

    /// Passes on the states of the transactions that the last round left; returns `false` if one of
    /// them is not known yet, so that the lookup has to be repeated.
    pub(super) fn look_up_states(&self, service: &dyn Service) -> bool {
        let (left, round) = {
            let mut state = self.state();
            let left = core::mem::take(&mut state.progress.left);
            (left, state.progress.round)
        };
        let limit = WaitLimit::NONE.within(LOOKUP_TIMEOUT);
        let mut is_done = true;
        for id in left {
            match limit.scope(|| status(service, id)) {
                Ok(status) => self.pass_state(&status, round),
                Err(_) => is_done = false,
            }
        }
        is_done
    }

    /// Makes a round due.
    pub(super) fn begin_round(&self) {
        self.state().progress.is_due = true;
        self.wake_states.notify_one();
    }

    /// Passes a state to the subscriptions for which it is news, unless they have one of a later
    /// round.
    pub(super) fn pass_state(&self, status: &TransactionStatusReply, round: u64) {
        let now = without_details(status);
        self.publish(status, |wanted| {
            let Wanted::Transaction { id, passed } = wanted else {
                return false;
            };
            if *id != status.id || passed.as_ref().is_some_and(|it| it.round > round) {
                return false;
            }
            let is_news = passed.as_ref().is_none_or(|it| *it.status != now);
            *passed = Some(Passed {
                round,
                status: Box::new(now.clone()),
            });
            is_news
        });
    }
}

fn status(service: &dyn Service, id: AtomId) -> Result<TransactionStatusReply, RpcError> {
    let params = request::TransactionStatus {
        id,
        wait_seconds: 0,
        until_safe: false,
    };
    service.transaction_status(params, &Caller::default())
}

/// Returns whether a peer could add nothing to a state.
fn is_complete(status: &TransactionStatusReply) -> bool {
    match status.block {
        Some(_) => status.confirmation.is_some(),
        None => status.state != TransactionStanding::Unknown,
    }
}

/// Removes what changes with every block or transaction, so that it alone is not news.
fn without_details(status: &TransactionStatusReply) -> TransactionStatusReply {
    TransactionStatusReply {
        head: None,
        undo_stake: None,
        pool_place: None,
        pool_transactions: None,
        ..status.clone()
    }
}
