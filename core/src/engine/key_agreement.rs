//! Key agreements with unknown peers: their budget, and the keys shared with senders whose last
//! packet failed authentication.

use super::Source;
use super::limits;
use super::output::Output;
use super::rate_limit::{Agreements, UnknownKey};
use super::shares::ShareTable;
use super::stats::DropReason;
use crate::crypto::{PublicKey, SecretKey, SharedKey};
use crate::time::Instant;
use core::net::SocketAddr;

/// Our secret key, and the budget for its use with unknown peers.
#[derive(Debug)]
pub(super) struct KeyAgreement {
    secret: SecretKey,
    budget: Agreements,
    /// Keys shared with unknown peers whose last packet failed authentication, by key and address.
    unknown: ShareTable<(PublicKey, SocketAddr), UnknownKey>,
}

impl KeyAgreement {
    pub(super) fn new(now: Instant, secret: SecretKey) -> Self {
        Self {
            secret,
            budget: Agreements::new(now),
            unknown: ShareTable::new(limits::MAX_UNKNOWN_KEYS),
        }
    }

    /// Derives the key shared with an unknown peer, within the budget.
    ///
    /// # Errors
    /// Fails if the budget is exhausted or the key is of low order.
    pub(super) fn agree(
        &mut self,
        now: Instant,
        source: &Source,
        out: &mut Output,
    ) -> Result<SharedKey, DropReason> {
        if !self.budget.take(now, &source.address) {
            return Err(DropReason::KeyBudget);
        }
        self.agree_unlimited(&source.key, out)
    }

    /// Derives the key shared with a peer; the caller has checked another budget.
    ///
    /// # Errors
    /// Fails if the key is of low order.
    pub(super) fn agree_unlimited(
        &self,
        key: &PublicKey,
        out: &mut Output,
    ) -> Result<SharedKey, DropReason> {
        out.stats.agreements += 1;
        let agreed = self.secret.agree(key);
        agreed.map_err(|_| DropReason::BadKey)
    }

    /// Returns the key shared with an unknown sender. It is stored already if the last packet of
    /// the sender failed authentication, and then has a budget of its own.
    ///
    /// # Errors
    /// Fails if a budget is exhausted or the key is of low order.
    pub(super) fn shared(
        &mut self,
        now: Instant,
        source: &Source,
        out: &mut Output,
    ) -> Result<SharedKey, DropReason> {
        match self.unknown.get_mut(&(source.key, source.address)) {
            Some(unknown) => unknown.take(now).cloned().ok_or(DropReason::KeyBudget),
            None => self.agree(now, source, out),
        }
    }

    /// Stores the key shared with an unknown sender whose packet has failed authentication. A node
    /// that joins sends packets sealed for other keys than ours: for keys that were forged in our
    /// name.
    pub(super) fn keep(&mut self, now: Instant, source: &Source, shared: SharedKey) {
        let name = (source.key, source.address);
        if self.unknown.get(&name).is_none() {
            let unknown = UnknownKey::new(now, shared);
            self.unknown.insert(now, source.share(), name, unknown);
        }
    }

    /// Removes the key shared with a sender whose packet was authentic.
    pub(super) fn forget(&mut self, source: &Source) {
        self.unknown.remove(&(source.key, source.address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineConfig;

    #[test]
    fn kept_key_costs_no_agreement_and_has_its_own_budget() {
        let [ours, theirs] = [1, 2].map(|n| SecretKey::from_bytes([n; 32]));
        let config = EngineConfig::new(ours.clone(), 7);
        let mut out = Output::new(&config, ours.public_key(), &[2; 32]);
        let mut keys = KeyAgreement::new(Instant::ZERO, ours);
        let source = Source {
            key: theirs.public_key(),
            address: SocketAddr::from(([9, 8, 7, 6], 5)),
            is_validated: false,
        };
        let shared = keys.shared(Instant::ZERO, &source, &mut out).unwrap();
        keys.keep(Instant::ZERO, &source, shared.clone());
        let taken = (0..1_000).filter(|_| keys.shared(Instant::ZERO, &source, &mut out).is_ok());
        assert_eq!(
            taken.count(),
            usize::try_from(limits::SOLICITED_BURST).unwrap()
        );
        assert_eq!(out.stats.agreements, 1);
        // A second failure does not renew the budget.
        keys.keep(Instant::ZERO, &source, shared);
        assert!(keys.shared(Instant::ZERO, &source, &mut out).is_err());
        keys.forget(&source);
        assert!(keys.shared(Instant::ZERO, &source, &mut out).is_ok());
        assert_eq!(out.stats.agreements, 2);
    }

    #[test]
    fn agreements_of_one_network_are_limited() {
        let secret = SecretKey::from_bytes([1; 32]);
        let config = EngineConfig::new(secret.clone(), 7);
        let mut out = Output::new(&config, secret.public_key(), &[2; 32]);
        let mut keys = KeyAgreement::new(Instant::ZERO, secret);
        let mut agree = |group: u8| {
            let source = Source {
                key: SecretKey::from_bytes([5; 32]).public_key(),
                address: SocketAddr::from(([group, 8, 7, 6], 5)),
                is_validated: false,
            };
            keys.agree(Instant::ZERO, &source, &mut out)
        };
        let most = usize::try_from(limits::AGREEMENTS_BURST_PER_NETWORK).unwrap();
        for _ in 0..most {
            assert!(agree(9).is_ok());
        }
        assert_eq!(agree(9).err(), Some(DropReason::KeyBudget));
        assert!(agree(11).is_ok());
    }
}
