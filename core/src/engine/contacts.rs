//! First contacts: addresses that we have contacted of our own accord or because a referrer named
//! them, and the budgets of both.
//!
//! An address is contacted once per [`limits::CONTACT_INTERVAL`] of our own accord, and once
//! because of referrers: a referrer that names an address must not keep us from contacting it.

use super::address::{self, is_contactable};
use super::allowance::Allowance;
use super::egress::sealed_bytes;
use super::limits;
use super::output::Output;
use super::random::ProbeIds;
use super::rate_limit::IntervalLimiter;
use super::shares::Share;
use super::solicited::Solicited;
use super::stats::DropReason;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::handshake::{Block, Cookie};
use core::net::{IpAddr, SocketAddr};

/// Length of an object request without data, in bytes.
pub(super) const GET_BYTES: usize = 1 + 32 + 1;

/// A redirect that is being followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redirect {
    pub(super) key: PublicKey,
    pub(super) address: SocketAddr,
    /// Length of its packet in bytes.
    pub(super) bytes: usize,
    /// `true` if the address had not been contacted recently.
    pub(super) is_first: bool,
}

/// Contacted addresses, the answers from them, and the referrals of each peer.
#[derive(Debug)]
pub(super) struct Contacts {
    use_ipv6: bool,
    /// Addresses contacted recently; the flag is `true` for contacts of our own accord and `false`
    /// for those caused by referrers.
    recent: IntervalLimiter<(SocketAddr, bool)>,
    /// Referrals charged to each referrer.
    referrals: IntervalLimiter<PublicKey>,
    /// Contacted addresses and the keys that have answered from them.
    pub(super) solicited: Solicited,
}

/// Cause of a contact, with the share of tables that the contact counts against.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    /// We contact the address of our own accord.
    Own(Share),
    /// A referrer named the address.
    Referrer(Share),
}

impl Cause {
    const fn share(self) -> Share {
        match self {
            Self::Own(share) | Self::Referrer(share) => share,
        }
    }
}

impl Contacts {
    pub(super) const fn new(now: Instant, use_ipv6: bool) -> Self {
        let interval = limits::CONTACT_INTERVAL;
        Self {
            use_ipv6,
            recent: IntervalLimiter::new(interval, limits::MAX_CONTACTS),
            referrals: IntervalLimiter::new(interval, limits::MAX_CONTACTS),
            solicited: Solicited::new(now),
        }
    }

    /// Takes the one first contact of an address per interval; returns whether it was available. If
    /// a referrer named the address, it is charged to the budget of that referrer as well.
    pub(super) fn take(
        &mut self,
        now: Instant,
        address: SocketAddr,
        cause: Cause,
        out: &mut Output,
    ) -> bool {
        let is_usable = self.use_ipv6 || address.is_ipv4();
        let is_chosen = matches!(cause, Cause::Own(_));
        let was_contacted = self.recent.contains(now, &(address, true))
            || !is_chosen && self.recent.contains(now, &(address, false));
        if !is_usable || !is_contactable(address) || was_contacted {
            return false;
        }
        if let Cause::Referrer(share) = cause
            && !self.charge_referrer(now, share, out)
        {
            return false;
        }
        let share = cause.share();
        let may = self.recent.take(now, share, (address, is_chosen), 1);
        if may {
            self.solicited.expect(now, address, (share, !is_chosen));
        }
        may
    }

    /// Returns whether an address was contacted within [`limits::CONTACT_INTERVAL`].
    pub(super) fn has(&self, now: Instant, address: &SocketAddr) -> bool {
        let contains = |is_chosen| self.recent.contains(now, &(*address, is_chosen));
        contains(true) || contains(false)
    }

    /// Charges a referral to a referrer; returns whether its budget for the interval allowed it.
    fn charge_referrer(&mut self, now: Instant, share: Share, out: &mut Output) -> bool {
        let times = u8::try_from(limits::MAX_CONTACTS_PER_REFERRER).unwrap_or(u8::MAX);
        let may = self.referrals.take(now, share, share.key(), times);
        if !may {
            out.drop(DropReason::RedirectBudget);
        }
        may
    }

    /// Returns whether a referrer at `referrer` may make us contact `named`.
    pub(super) fn is_referral_allowed(&self, referrer: IpAddr, named: SocketAddr) -> bool {
        address::is_referral_allowed(referrer, named) && (self.use_ipv6 || named.is_ipv4())
    }

    /// Raises the amplification limit of an unvalidated address that a redirect names by the bytes
    /// of the redirect: a request to a new peer may be lost, and an unvalidated address is sent
    /// another only within its limit. Each redirect is charged to the budget of the referrer.
    pub(super) fn credit_referred_address(
        &mut self,
        now: Instant,
        (referrer, share): (IpAddr, Share),
        redirect: &Redirect,
        out: &mut Output,
    ) {
        let address = redirect.address;
        if !self.is_referral_allowed(referrer, address) {
            return;
        }
        let is_contacted = self.has(now, &address);
        let is_paid = if redirect.is_first {
            is_contacted
        } else {
            is_contacted && self.charge_referrer(now, share, out)
        };
        if is_paid {
            out.credits.received(now, address, redirect.bytes);
        }
        if is_paid && redirect.is_first {
            // The first packet was sent before.
            out.credits.spend(&address, sealed_bytes(GET_BYTES));
        }
    }

    /// Contacts an address of our own accord, and again after each of [`limits::FOLLOW_UPS`] if it
    /// has not answered.
    pub(super) fn contact(
        &mut self,
        now: Instant,
        to: SocketAddr,
        ids: &mut ProbeIds,
        out: &mut Output,
    ) {
        self.contact_once(now, to, ids, out);
        self.solicited.follow_up(now, to);
    }

    /// Contacts an address that has not answered once more.
    pub(super) fn contact_again(
        &mut self,
        now: Instant,
        (to, own): (SocketAddr, Share),
        ids: &mut ProbeIds,
        out: &mut Output,
    ) {
        self.solicited.expect(now, to, (own, false));
        self.solicited.end_follow_ups(to);
        self.send_cookie(now, (to, Allowance::FirstContact), ids, out);
    }

    /// Sends a first contact to an address. If a packet has come from there recently, the node may
    /// just have answered a handshake that was forged in our name, so this one carries a cookie to
    /// show that it is not an answer.
    pub(super) fn contact_once(
        &mut self,
        now: Instant,
        to: SocketAddr,
        ids: &mut ProbeIds,
        out: &mut Output,
    ) {
        if out.credits.has(&to) {
            self.send_cookie(now, (to, Allowance::FirstContact), ids, out);
        } else {
            out.handshake(now, (to, Allowance::FirstContact));
        }
    }

    /// Contacts an address again that has not answered: within the amplification limit, or as the
    /// first contact of an interval.
    pub(super) fn follow_up(
        &mut self,
        now: Instant,
        (to, own): (SocketAddr, Share),
        ids: &mut ProbeIds,
        out: &mut Output,
    ) {
        let block = Block {
            cookie: Some(Cookie::default()),
            ..Block::default()
        };
        let bytes = super::egress::handshake_bytes(block.encoded_len(false));
        let allowance = if self.take(now, to, Cause::Own(own), out) {
            Allowance::FirstContact
        } else if out.credits.spend(&to, bytes) {
            Allowance::Charged
        } else {
            return;
        };
        self.send_cookie(now, (to, allowance), ids, out);
    }

    /// Sends a handshake with the cookie of a contacted address.
    fn send_cookie(
        &mut self,
        now: Instant,
        (to, allowance): (SocketAddr, Allowance),
        ids: &mut ProbeIds,
        out: &mut Output,
    ) {
        let block = Block {
            cookie: self.solicited.cookie(&to, ids.cookie(&to)),
            ..Block::default()
        };
        out.block(now, (to, allowance), &block);
    }

    /// Removes contacts and referrals whose interval is over.
    pub(super) fn expire(&mut self, now: Instant) {
        self.recent.expire(now);
        self.solicited.expire(now);
        self.referrals.expire(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;
    use crate::engine::EngineConfig;

    fn at(n: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([n, 1, 1, 1], port))
    }

    fn share(n: u8) -> Share {
        Share::of([n, 2, 2, 2].into(), PublicKey::new([n; 32]))
    }

    fn output() -> Output {
        let config = EngineConfig::new(SecretKey::from_bytes([1; 32]), 7);
        Output::new(&config, PublicKey::new([1; 32]), &[2; 32])
    }

    #[test]
    fn address_has_one_contact_of_each_cause_per_interval() {
        let (mut contacts, mut out) = (Contacts::new(Instant::ZERO, false), output());
        let own = Cause::Own(share(1));
        let mut now = Instant::ZERO;
        for _ in 0..3 {
            assert!(!contacts.has(now, &at(9, 9)));
            assert!(contacts.take(now, at(9, 9), Cause::Referrer(share(2)), &mut out));
            assert!(!contacts.take(now, at(9, 9), Cause::Referrer(share(3)), &mut out));
            assert!(contacts.take(now, at(9, 9), own, &mut out), "not kept off");
            assert!(!contacts.take(now, at(9, 9), own, &mut out));
            assert!(!contacts.take(now, at(9, 9), Cause::Referrer(share(4)), &mut out));
            assert!(contacts.has(now, &at(9, 9)));
            now = now + limits::CONTACT_INTERVAL;
        }
    }

    #[test]
    fn referrals_of_one_referrer_are_limited_and_counted_as_drops() {
        let (mut contacts, mut out) = (Contacts::new(Instant::ZERO, false), output());
        let most = limits::MAX_CONTACTS_PER_REFERRER;
        let mut take = |referrer: u8, port: usize| {
            let port = u16::try_from(port + 1).unwrap();
            let cause = Cause::Referrer(share(referrer));
            contacts.take(Instant::ZERO, at(9, port), cause, &mut out)
        };
        let taken = (0..2 * most).filter(|port| take(2, *port)).count();
        assert_eq!(taken, most);
        assert!(take(3, 2 * most), "another referrer has its own budget");
        let dropped = out.stats.dropped(DropReason::RedirectBudget);
        assert_eq!(dropped, most as u64);
    }

    #[test]
    fn unusable_addresses_are_not_contacted() {
        let (mut contacts, mut out) = (Contacts::new(Instant::ZERO, false), output());
        let own = Cause::Own(share(1));
        for text in ["[2001:db8::1]:5", "0.0.0.0:5", "1.2.3.4:0", "224.0.0.1:5"] {
            let address = text.parse().unwrap();
            assert!(
                !contacts.take(Instant::ZERO, address, own, &mut out),
                "{text}"
            );
            assert!(!contacts.has(Instant::ZERO, &address));
        }
        let v6: SocketAddr = "[2001:db8::1]:5".parse().unwrap();
        let mut contacts = Contacts::new(Instant::ZERO, true);
        assert!(contacts.take(Instant::ZERO, v6, own, &mut out));
        assert!(contacts.is_referral_allowed([8, 8, 8, 8].into(), v6));
        assert!(!contacts.is_referral_allowed([8, 8, 8, 8].into(), at(127, 5)));
    }

    #[test]
    fn contact_carries_a_cookie_if_a_packet_has_come_from_the_address() {
        let (mut contacts, mut out) = (Contacts::new(Instant::ZERO, false), output());
        let mut ids = ProbeIds::new(PublicKey::new([1; 32]), &[3; 32]);
        let mut buffer = alloc::vec::Vec::new();
        let mut lengths = [0; 2];
        for (n, len) in (1..).zip(&mut lengths) {
            if n == 2 {
                out.credits.received(Instant::ZERO, at(n, 9), 40);
            }
            let own = Cause::Own(share(1));
            assert!(contacts.take(Instant::ZERO, at(n, 9), own, &mut out));
            contacts.contact(Instant::ZERO, at(n, 9), &mut ids, &mut out);
            *len = out.egress.poll(&mut out.stats, &mut buffer).unwrap().len;
        }
        let block = Block {
            cookie: Some(Cookie::default()),
            ..Block::default()
        };
        assert_eq!(lengths[1] - lengths[0], block.encoded_len(false));
        assert!(contacts.solicited.deadline().is_some(), "followed up");
    }
}
