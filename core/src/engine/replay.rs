//! Replay protection: classification of authentic packets by their nonces.
//!
//! Two peers share one key for as long as both keep their relay keys, so a packet of any earlier
//! run of a peer is authentic today. Remembering received packets cannot distinguish such a packet
//! from a new one: memory is lost when the peer is removed here and when our own process ends. Only
//! the answer to a probe distinguishes them.
//!
//! # Peers that seal in streams
//!
//! A node of this implementation seals with nonces that consist of a random prefix for each run and
//! a counter, a *stream*. The answer to a probe (an id that could not be known before we sent it)
//! is sealed in the peer's present stream, which is thereby *confirmed*. From then on
//!
//! - a packet of the confirmed stream is checked against the highest count and a bitmap of the
//!   [`SPAN`] counts up to it: the check is exact, and older counts are rejected;
//! - a packet of any other stream is [`Freshness::Unconfirmed`], whether it is of an earlier run or
//!   the first of the next one. Its statements and provider records have no effect, and the peer
//!   is probed again; the answer confirms the stream that the peer seals in now, and closes the
//!   previous one for good.
//!
//! So only one stream has to be remembered, and nothing from before the present stream of a peer is
//! ever accepted: not after thousands of restarts of the peer, not after it was evicted and came
//! back, not after a restart of our own. Before the first confirmation, which is also what
//! validates the peer's address, its statements have no effect either.
//!
//! # Peers with random nonces
//!
//! A reference node seals with random nonces, so an answer proves nothing about later packets. Its
//! packets are remembered by eight bytes of each nonce: [`RECENT`] statements (pings, transactions)
//! and as many other packets, so that traffic does not displace statements. Older ones are
//! forgotten and can be replayed. [`Departed`] keeps the statements of removed peers, also while
//! replays add such a peer and it is removed again. The effect of a replay is therefore bounded by
//! the meaning of these packets: they are not a sign of life (for such a peer only the answer to a
//! probe is), and a stale statement lasts until the next one.
//!
//! A packet that is not a replay is dropped only if it comes more than [`SPAN`] counts late (or
//! [`LATE`] counts before the first confirmation, or late around a restart, or late by more than
//! the silence after which the window of a stream is closed), or with a probability below 2^-60 per
//! packet. Both are less than the loss of UDP.

use super::limits::MAX_DEPARTED;
use super::random::{PREFIX_BYTES, join, split};
use super::shares::{Share, ShareTable};
use crate::crypto::{Nonce, PublicKey};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

/// Number of counts up to the highest that are distinguished.
const SPAN: u64 = 2_048;
/// Number of 64-bit words in the bitmap of [`SPAN`] counts.
const WORDS: usize = 32;
/// Number of counts below that of the first confirming answer that may still arrive.
const LATE: u64 = 256;
/// Maximum number of random nonces that are remembered: buckets of four, each replacing its oldest.
const RECENT: usize = 1_024;
/// Number of nonces in a bucket.
const WAYS: usize = 4;
/// Number of buckets.
const BUCKETS: usize = RECENT / WAYS;
/// Maximum number of nonces that are kept in a plain list: most peers send rarely, and there may be
/// thousands of peers.
const FEW: usize = 32;

/// Random part of a stream's nonces.
pub(super) type Prefix = [u8; PREFIX_BYTES];

/// Age of an authentic packet, as far as its nonce shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Freshness {
    /// Seen before, or too old to be distinguished.
    Replayed,
    /// Not seen before, as far as memory reaches; it may be of an earlier run of the peer.
    Unconfirmed,
    /// Of the confirmed stream, and not seen before: it is not a replay.
    Current,
}

/// The confirmed stream of a peer, and the counts seen in it.
#[derive(Debug)]
struct Stream {
    prefix: Prefix,
    highest: u64,
    /// Bitmap of seen counts: bit `count % SPAN` for each of the `SPAN` counts up to `highest`.
    /// `None` if all of them count as seen: a stream whose packets come in order needs no bitmap.
    seen: Option<Box<[u64; WORDS]>>,
}

impl Stream {
    /// Creates a stream of which `highest` and all counts before it are marked as seen, except
    /// those among the last `late` that are not `known`.
    fn new(prefix: Prefix, highest: u64, late: u64, known: impl Fn(u64) -> bool) -> Self {
        let mut stream = Self {
            prefix,
            highest,
            seen: None,
        };
        for count in highest.saturating_sub(late)..highest {
            if !known(count) {
                let (word, mask) = stream.word(count);
                *word &= !mask;
            }
        }
        stream
    }

    fn word(&mut self, count: u64) -> (&mut u64, u64) {
        // The remainder fits every usize.
        let bit = usize::try_from(count % SPAN).unwrap_or(0);
        let mask = 1 << (bit % 64);
        let seen = self.seen.get_or_insert_with(|| Box::new([u64::MAX; WORDS]));
        #[expect(clippy::indexing_slicing, reason = "bit < SPAN = 64 * WORDS")]
        (&mut seen[bit / 64], mask)
    }

    /// Marks `count`; returns `false` if it was marked already, or is too old to tell.
    fn mark(&mut self, count: u64) -> bool {
        if count > self.highest {
            if count - self.highest >= SPAN {
                self.seen = Some(Box::new([0; WORDS]));
            } else if self.seen.is_none() && count == self.highest + 1 {
                self.highest = count;
                return true;
            } else {
                for skipped in self.highest + 1..count {
                    let (word, mask) = self.word(skipped);
                    *word &= !mask;
                }
            }
            self.highest = count;
            let (word, mask) = self.word(count);
            *word |= mask;
            return true;
        }
        if self.highest - count >= SPAN || self.seen.is_none() {
            return false;
        }
        let (word, mask) = self.word(count);
        let fresh = *word & mask == 0;
        *word |= mask;
        fresh
    }
}

/// Record of the nonces that one peer has used.
#[derive(Debug, Default)]
pub(super) struct ReplayWindow {
    confirmed: Option<Stream>,
    statements: Recent,
    others: Recent,
}

impl ReplayWindow {
    /// Creates a window with the statements of an earlier time.
    pub(super) fn remembering(statements: Recent) -> Self {
        Self {
            statements,
            ..Self::default()
        }
    }

    /// Returns the part of the window that is worth keeping after the peer is removed: the
    /// statements of a peer without a confirmed stream.
    pub(super) fn into_statements(self) -> Option<Recent> {
        let is_worth_keeping = self.confirmed.is_none() && !self.statements.is_empty();
        is_worth_keeping.then_some(self.statements)
    }

    /// Records the nonce of an authentic packet and returns its freshness. `is_statement` selects
    /// the memory that the nonce is kept in.
    pub(super) fn note(&mut self, nonce: &Nonce, is_statement: bool) -> Freshness {
        let (prefix, count) = split(nonce);
        let (is_new, otherwise) = match &mut self.confirmed {
            Some(stream) if stream.prefix == prefix => (stream.mark(count), Freshness::Current),
            _ if is_statement => (self.statements.note(nonce), Freshness::Unconfirmed),
            _ => (self.others.note(nonce), Freshness::Unconfirmed),
        };
        if is_new {
            otherwise
        } else {
            Freshness::Replayed
        }
    }

    /// Returns the prefix of the confirmed stream.
    pub(super) fn confirmed(&self) -> Option<Prefix> {
        self.confirmed.as_ref().map(|stream| stream.prefix)
    }

    /// Confirms the stream of a nonce, with which the peer has answered our probe. Returns
    /// whether another stream was confirmed before: the peer has restarted.
    pub(super) fn confirm(&mut self, nonce: &Nonce) -> bool {
        let (prefix, count) = split(nonce);
        let before = self.confirmed();
        if before == Some(prefix) {
            return false;
        }
        let known = |count| {
            let nonce = join(prefix, count);
            self.statements.contains(&nonce) || self.others.contains(&nonce)
        };
        // Two machines with one key alternate: a packet accepted in an earlier turn is not accepted
        // again.
        let late = if before.is_some() { 0 } else { LATE };
        self.confirmed = Some(Stream::new(prefix, count, late, known));
        // Packets of other streams have no effect any more, seen or not.
        self.statements = Recent::default();
        self.others = Recent::default();
        before.is_some()
    }

    /// Frees the bitmap of the confirmed stream: all its counts so far count as seen, so late
    /// packets are dropped. For a peer that has been silent for a while.
    pub(super) fn close(&mut self) {
        if let Some(stream) = &mut self.confirmed {
            stream.seen = None;
        }
    }

    /// Discards the confirmed stream: the peer has answered our probe as a node with
    /// random nonces does.
    pub(super) fn forget_stream(&mut self) {
        self.confirmed = None;
    }
}

/// Memory of about the last [`RECENT`] nonces, by eight bytes of each. Memory for more than [`FEW`]
/// is allocated when it is needed.
#[derive(Debug, Default)]
pub(super) struct Recent {
    few: Vec<u64>,
    many: Option<Box<[[u64; WAYS]; BUCKETS]>>,
}

impl Recent {
    fn is_empty(&self) -> bool {
        self.few.is_empty() && self.many.is_none()
    }

    fn contains(&self, nonce: &Nonce) -> bool {
        let fingerprint = fingerprint(nonce);
        let many = self.many.as_ref();
        let ways = many.and_then(|many| many.get(bucket(fingerprint)));
        ways.map_or(&*self.few, |ways| ways).contains(&fingerprint)
    }

    /// Records a nonce; returns `false` if it was recorded already.
    fn note(&mut self, nonce: &Nonce) -> bool {
        if self.contains(nonce) {
            return false;
        }
        let fingerprint = fingerprint(nonce);
        if let Some(many) = &mut self.many {
            remember(many, fingerprint);
        } else if self.few.len() < FEW {
            self.few.push(fingerprint);
        } else {
            let mut many = Box::new([[0; WAYS]; BUCKETS]);
            for fingerprint in mem::take(&mut self.few).into_iter().chain([fingerprint]) {
                remember(&mut many, fingerprint);
            }
            self.many = Some(many);
        }
        true
    }
}

fn remember(many: &mut [[u64; WAYS]; BUCKETS], fingerprint: u64) {
    if let Some(ways) = many.get_mut(bucket(fingerprint)) {
        ways.rotate_right(1);
        let [newest, ..] = ways;
        *newest = fingerprint;
    }
}

/// An odd constant without structure, which spreads counters over the buckets.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns the fingerprint of a nonce: eight bytes, never 0, which marks a free place.
fn fingerprint(nonce: &Nonce) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *nonce;
    let low = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let high = u64::from(u32::from_be_bytes([i, j, k, l]));
    (low ^ high.wrapping_mul(SPREAD)).max(1)
}

/// Returns the index of the bucket that a fingerprint belongs to.
fn bucket(fingerprint: u64) -> usize {
    usize::try_from(fingerprint.wrapping_mul(SPREAD) >> 32).unwrap_or(0) % BUCKETS
}

/// Statements of removed peers, at most [`MAX_DEPARTED`] of them.
#[derive(Debug)]
pub(super) struct Departed(ShareTable<PublicKey, Recent>);

impl Default for Departed {
    fn default() -> Self {
        Self(ShareTable::new(MAX_DEPARTED))
    }
}

impl Departed {
    /// Keeps the statements of a removed peer that was last heard from at `heard_at`.
    pub(super) fn insert(
        &mut self,
        heard_at: Instant,
        share: Share,
        key: PublicKey,
        statements: Recent,
    ) {
        self.0.insert(heard_at, share, key, statements);
    }

    /// Removes and returns the statements of a peer that comes back, with the time and the share
    /// that they were kept with.
    pub(super) fn take(&mut self, key: &PublicKey) -> Option<(Instant, Share, Recent)> {
        self.0.take(key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Nonces;
    use super::Freshness::{Current, Replayed, Unconfirmed};
    use super::*;
    use proptest::prelude::*;

    fn nonce(prefix: u8, count: u64) -> Nonce {
        join([prefix; PREFIX_BYTES], count)
    }

    fn confirmed(prefix: u8, count: u64) -> ReplayWindow {
        let mut window = ReplayWindow::default();
        assert_eq!(window.note(&nonce(prefix, count), false), Unconfirmed);
        assert!(!window.confirm(&nonce(prefix, count)));
        window
    }

    #[test]
    fn confirmed_stream_is_exact_within_its_span_and_closed_below() {
        let mut window = confirmed(1, 0);
        for count in 1..5_000 {
            assert_eq!(window.note(&nonce(1, count), count % 2 == 0), Current);
        }
        for count in 0..5_000 {
            assert_eq!(window.note(&nonce(1, count), false), Replayed);
        }
        assert_eq!(window.note(&nonce(1, 6_000), false), Current);
        assert_eq!(window.note(&nonce(1, 5_500), false), Current, "late");
        assert_eq!(window.note(&nonce(1, 5_500), false), Replayed);
        let below = nonce(1, 6_000 - SPAN);
        assert_eq!(
            window.note(&below, false),
            Replayed,
            "too late to be distinguished"
        );
    }

    #[test]
    fn packets_of_any_number_of_earlier_runs_are_rejected() {
        let mut window = ReplayWindow::default();
        for run in 0..5_000u64 {
            let of_run = |count: u64| {
                let [.., b0, b1, b2, b3, b4, b5] = run.to_be_bytes();
                join([b0, b1, b2, b3, b4, b5], count)
            };
            for count in 0..3 {
                assert_eq!(window.note(&of_run(count), true), Unconfirmed);
            }
            assert_eq!(window.note(&of_run(3), false), Unconfirmed);
            assert_eq!(window.confirm(&of_run(3)), run > 0);
            assert_eq!(window.note(&of_run(4), true), Current);
            assert!(!window.confirm(&of_run(4)), "confirmed before");
            for count in 0..=4 {
                assert_eq!(window.note(&of_run(count), true), Replayed);
            }
        }
        for run in 0..4_999u64 {
            let [.., b0, b1, b2, b3, b4, b5] = run.to_be_bytes();
            let old = join([b0, b1, b2, b3, b4, b5], 4);
            assert_ne!(window.note(&old, true), Current, "run {run}");
        }
    }

    #[test]
    fn closed_window_has_no_bitmap_and_rejects_all_counts_so_far() {
        let mut window = confirmed(1, 0);
        let has_bitmap = |window: &ReplayWindow| {
            let stream = window.confirmed.as_ref();
            stream.is_some_and(|stream| stream.seen.is_some())
        };
        for count in 1..100 {
            assert_eq!(window.note(&nonce(1, count), false), Current);
        }
        assert!(!has_bitmap(&window), "all came in order");
        assert_eq!(window.note(&nonce(1, 110), false), Current);
        assert_eq!(window.note(&nonce(1, 105), false), Current, "late");
        assert!(has_bitmap(&window));
        window.close();
        assert!(!has_bitmap(&window));
        for count in 0..=110 {
            assert_eq!(window.note(&nonce(1, count), false), Replayed, "{count}");
        }
        assert_eq!(window.note(&nonce(1, 111), true), Current);
        assert_eq!(window.note(&nonce(1, 113), true), Current);
        assert_eq!(window.note(&nonce(1, 112), true), Current, "late");
        assert_eq!(window.note(&nonce(1, 109), true), Replayed);
        for count in 111..=113 {
            assert_eq!(window.note(&nonce(1, count), true), Replayed, "{count}");
        }
    }

    #[test]
    fn confirmation_leaves_only_late_counts_open() {
        let mut window = ReplayWindow::default();
        for count in [990, 991] {
            assert_eq!(window.note(&nonce(1, count), true), Unconfirmed);
        }
        assert_eq!(window.note(&nonce(1, 1_000), false), Unconfirmed);
        window.confirm(&nonce(1, 1_000));
        for count in [990, 991, 1_000, 1_000 - LATE - 1, 0] {
            assert_eq!(window.note(&nonce(1, count), true), Replayed, "{count}");
        }
        for count in [992, 1_000 - LATE, 1_001] {
            assert_eq!(window.note(&nonce(1, count), true), Current, "{count}");
            assert_eq!(window.note(&nonce(1, count), true), Replayed, "{count}");
        }
        let mut window = confirmed(2, 5);
        assert_eq!(window.note(&nonce(2, 4), true), Current);
        assert_eq!(window.note(&nonce(2, 5), true), Replayed);
    }

    #[test]
    fn stream_is_discarded_for_random_nonces() {
        let mut window = confirmed(1, 7);
        window.forget_stream();
        assert_eq!(window.confirmed(), None);
        assert_eq!(window.note(&nonce(1, 8), false), Unconfirmed);
        assert!(!window.confirm(&nonce(2, 0)), "not a restart of a stream");
    }

    #[test]
    fn own_nonces_form_a_stream() {
        let mut nonces = Nonces::new(&[5; 32]);
        let mut window = ReplayWindow::default();
        let first = nonces.next();
        assert_eq!(window.note(&first, false), Unconfirmed);
        window.confirm(&first);
        for _ in 0..10_000 {
            assert_eq!(window.note(&nonces.next(), false), Current);
        }
        assert!(window.others.is_empty() && window.statements.is_empty());
    }

    #[test]
    fn random_nonces_are_remembered_within_bounds_and_statements_apart() {
        let mut window = ReplayWindow::default();
        let random = |n: u64| *crate::crypto::hash(&n.to_be_bytes()).first_chunk().unwrap();
        let statements: Vec<Nonce> = (0..FEW as u64).map(random).collect();
        for nonce in &statements {
            assert_eq!(window.note(nonce, true), Unconfirmed);
        }
        for n in 1_000..20_000 {
            assert_eq!(window.note(&random(n), false), Unconfirmed);
            assert_eq!(window.note(&random(n), false), Replayed);
        }
        for nonce in &statements {
            assert_eq!(window.note(nonce, true), Replayed, "displaced by traffic");
        }
        assert!(window.statements.many.is_none() && window.others.many.is_some());
        let last = (0..WAYS as u64).map(|n| random(19_999 - n));
        assert!(last.into_iter().all(|nonce| window.others.contains(&nonce)));
    }

    #[test]
    fn statements_outlive_the_peer_within_bounds() {
        let key = |n: usize| {
            let mut bytes = [7; 32];
            bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
            PublicKey::new(bytes)
        };
        let insert = |departed: &mut Departed, n: usize, group: u8, statements| {
            let share = Share::of([group, 1, 1, 1].into(), key(n));
            let at = Instant::from_micros(n as u64);
            departed.insert(at, share, key(n), statements);
        };
        let mut departed = Departed::default();
        let mut window = ReplayWindow::default();
        assert!(ReplayWindow::default().into_statements().is_none());
        assert!(confirmed(1, 1).into_statements().is_none());
        window.note(&nonce(9, 9), true);
        insert(&mut departed, 0, 9, window.into_statements().unwrap());
        for _ in 0..2 {
            let (.., statements) = departed.take(&key(0)).unwrap();
            assert!(departed.take(&key(0)).is_none() && departed.0.len() == 0);
            let mut window = ReplayWindow::remembering(statements);
            assert_eq!(window.note(&nonce(9, 9), true), Replayed);
            insert(&mut departed, 0, 9, window.into_statements().unwrap());
        }
        for n in 1..=MAX_DEPARTED {
            insert(&mut departed, n, 9, Recent::default());
        }
        assert!(departed.take(&key(0)).is_none() && departed.take(&key(1)).is_some());
        // A network group with many removed peers displaces its own entries.
        insert(&mut departed, 0, 8, Recent::default());
        for n in 1..=2 * MAX_DEPARTED {
            insert(&mut departed, n, 9, Recent::default());
        }
        assert_eq!(departed.0.len(), MAX_DEPARTED);
        assert!(departed.take(&key(0)).is_some());
    }

    proptest! {
        #[test]
        fn random_nonces_pass_once(nonces in proptest::collection::btree_set(any::<[u8; 12]>(), 1..200)) {
            let mut window = ReplayWindow::default();
            let nonces: Vec<_> = nonces.into_iter().collect();
            for nonce in &nonces {
                prop_assert_eq!(window.note(nonce, false), Unconfirmed);
                prop_assert_eq!(window.note(nonce, false), Replayed);
            }
            // Buckets hold four: the very last nonces are always still known.
            for nonce in nonces.iter().rev().take(WAYS) {
                prop_assert_eq!(window.note(nonce, false), Replayed);
            }
        }

        /// In any order of packets, a nonce passes as current at most once, and only while its
        /// stream is the confirmed one.
        #[test]
        fn current_packets_pass_once(
            steps in proptest::collection::vec((0..4u8, 0..3_000u64, 0..4u8), 1..400),
        ) {
            let mut window = ReplayWindow::default();
            let mut passed = alloc::collections::BTreeSet::new();
            let mut present = None;
            let mut highest = [0; 4];
            for (prefix, mut count, act) in steps {
                let highest = &mut highest[usize::from(prefix)];
                if act == 0 {
                    // The answer to our probe is sealed after all earlier packets.
                    count = *highest + 1 + count % 300;
                }
                *highest = count.max(*highest);
                let nonce = nonce(prefix, count);
                let freshness = window.note(&nonce, act == 1);
                if freshness == Current {
                    prop_assert_eq!(present, Some(prefix));
                    prop_assert!(passed.insert((prefix, count)));
                }
                if act == 0 {
                    prop_assert_ne!(freshness, Replayed);
                    window.confirm(&nonce);
                    present = Some(prefix);
                    passed.insert((prefix, count));
                }
            }
        }
    }
}
