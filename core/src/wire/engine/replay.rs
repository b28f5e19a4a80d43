//! Whether an authentic packet has been here before, told by its sealing nonce.
//!
//! One window per peer, bounded. Two kinds of senders are told apart by what they send:
//!
//! - Nonces that share their first six bytes and count upwards (ours do) form a *stream*: the
//!   highest count and a bitmap of the [`SPAN`] counts below it say exactly what has been seen, and
//!   everything older counts as seen. Two streams are kept, so that a peer's restart does not open
//!   its last life to replays.
//! - All other nonces (a reference node's are random) are remembered by eight bytes of each, the
//!   last [`RECENT`] or so; older ones are forgotten. Memory for more than [`FEW`] is taken when it
//!   is needed.
//!
//! What is not a replay is dropped only when it comes more than [`SPAN`] counts late, or by a chance
//! below 2^-60 a packet. Both are less than what UDP loses.

use super::random::{PREFIX_BYTES, split};
use crate::crypto::Nonce;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

/// Counts below the highest that are told apart.
const SPAN: u64 = 2_048;
const WORDS: usize = 32;
/// Random nonces that are remembered: buckets of four, the oldest of a bucket goes.
const RECENT: usize = 1_024;
const WAYS: usize = 4;
const BUCKETS: usize = RECENT / WAYS;
/// Up to so many stand in a list: most peers are heard of now and then, and there may be thousands.
const FEW: usize = 32;
/// Two nonces in a row whose counts are at most this far apart make a stream.
const STEP: u64 = 64;

#[derive(Debug)]
struct Stream {
    prefix: [u8; PREFIX_BYTES],
    highest: u64,
    /// Bit `count % SPAN` says whether `count` was seen, for the `SPAN` counts up to `highest`.
    seen: [u64; WORDS],
}

impl Stream {
    fn new(prefix: [u8; PREFIX_BYTES], highest: u64) -> Self {
        Self {
            prefix,
            highest,
            seen: [0; WORDS],
        }
    }

    fn word(&mut self, count: u64) -> (&mut u64, u64) {
        // The remainder fits every usize.
        let bit = usize::try_from(count % SPAN).unwrap_or(0);
        let mask = 1 << (bit % 64);
        #[expect(clippy::indexing_slicing, reason = "bit < SPAN = 64 * WORDS")]
        (&mut self.seen[bit / 64], mask)
    }

    /// Marks `count`; `false` if it was marked, or is too old to tell.
    fn mark(&mut self, count: u64) -> bool {
        if count > self.highest {
            if count - self.highest >= SPAN {
                self.seen = [0; WORDS];
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
        if self.highest - count >= SPAN {
            return false;
        }
        let (word, mask) = self.word(count);
        let fresh = *word & mask == 0;
        *word |= mask;
        fresh
    }
}

/// The nonces that one peer has used.
#[derive(Debug, Default)]
pub(super) struct ReplayWindow {
    last: Option<Nonce>,
    streams: [Option<Box<Stream>>; 2],
    few: Vec<u64>,
    recent: Option<Box<[[u64; WAYS]; BUCKETS]>>,
}

impl ReplayWindow {
    /// Notes the nonce of an authentic packet; `false` if it has been here before.
    pub(super) fn note(&mut self, nonce: &Nonce) -> bool {
        let (prefix, count) = split(nonce);
        let known = self
            .streams
            .iter_mut()
            .flatten()
            .find(|stream| stream.prefix == prefix);
        if let Some(stream) = known {
            // Packets that came before the stream was recognized stand among the random ones.
            return stream.mark(count) && !self.is_recent(nonce);
        }
        let last = self.last.replace(*nonce);
        if let Some((last_prefix, last_count)) = last.as_ref().map(split)
            && last_prefix == prefix
            && (1..=STEP).contains(&count.saturating_sub(last_count))
        {
            let mut stream = Box::new(Stream::new(prefix, last_count));
            stream.mark(last_count);
            let fresh = stream.mark(count) && !self.is_recent(nonce);
            let [current, previous] = &mut self.streams;
            *previous = current.replace(stream);
            return fresh;
        }
        self.note_random(nonce)
    }

    fn is_recent(&self, nonce: &Nonce) -> bool {
        let print = print(nonce);
        let ways = self
            .recent
            .as_ref()
            .and_then(|recent| recent.get(bucket(print)));
        ways.map_or(&*self.few, |ways| ways).contains(&print)
    }

    fn note_random(&mut self, nonce: &Nonce) -> bool {
        if self.is_recent(nonce) {
            return false;
        }
        let print = print(nonce);
        if let Some(recent) = &mut self.recent {
            remember(recent, print);
        } else if self.few.len() < FEW {
            self.few.push(print);
        } else {
            let mut recent = Box::new([[0; WAYS]; BUCKETS]);
            for print in mem::take(&mut self.few).into_iter().chain([print]) {
                remember(&mut recent, print);
            }
            self.recent = Some(recent);
        }
        true
    }
}

fn remember(recent: &mut [[u64; WAYS]; BUCKETS], print: u64) {
    if let Some(ways) = recent.get_mut(bucket(print)) {
        ways.rotate_right(1);
        let [newest, ..] = ways;
        *newest = print;
    }
}

/// An odd constant without structure: spreads counters over the buckets.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A nonce's eight bytes, never 0, which marks a free place.
fn print(nonce: &Nonce) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *nonce;
    let low = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let high = u64::from(u32::from_be_bytes([i, j, k, l]));
    (low ^ high.wrapping_mul(SPREAD)).max(1)
}

/// The bucket that a print belongs to.
fn bucket(print: u64) -> usize {
    usize::try_from(print.wrapping_mul(SPREAD) >> 32).unwrap_or(0) % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::super::random::Nonces;
    use super::*;
    use proptest::prelude::*;

    fn nonce(prefix: u8, count: u64) -> Nonce {
        let mut nonce = [prefix; 12];
        nonce[6..].copy_from_slice(&count.to_be_bytes()[2..]);
        nonce
    }

    #[test]
    fn a_stream_is_exact_within_its_span_and_closed_below() {
        let mut window = ReplayWindow::default();
        for count in 0..5_000 {
            assert!(window.note(&nonce(1, count)));
        }
        assert!((0..5_000).all(|count| !window.note(&nonce(1, count))));
        assert!(window.note(&nonce(1, 6_000)));
        assert!(window.note(&nonce(1, 5_500)), "late but not seen");
        assert!(!window.note(&nonce(1, 5_500)));
        assert!(!window.note(&nonce(1, 6_000 - SPAN)), "too late to tell");
    }

    #[test]
    fn a_restart_keeps_the_last_life_closed() {
        let mut window = ReplayWindow::default();
        for life in 1..=2 {
            for count in 0..100 {
                assert!(window.note(&nonce(life, count)));
            }
        }
        for life in 1..=2 {
            assert!((1..100).all(|count| !window.note(&nonce(life, count))));
        }
    }

    #[test]
    fn our_own_nonces_form_a_stream() {
        let mut nonces = Nonces::new(&[5; 32]);
        let mut window = ReplayWindow::default();
        assert!((0..10_000).all(|_| window.note(&nonces.next())));
        assert!(window.recent.is_none() && window.streams[0].is_some());
        assert!(window.few.len() <= 1);
    }

    #[test]
    fn many_random_nonces_are_remembered_as_well_as_few() {
        let mut window = ReplayWindow::default();
        let all: Vec<Nonce> = (0..500u64).map(|n| nonce(0, n * 7_777)).collect();
        for (count, nonce) in (1..).zip(&all) {
            assert!(window.note(nonce) && !window.note(nonce));
            assert_eq!(window.recent.is_some(), count > FEW);
        }
        let last = all.iter().rev().take(FEW);
        assert!(last.into_iter().all(|nonce| !window.note(nonce)));
    }

    proptest! {
        #[test]
        fn random_nonces_pass_once(nonces in proptest::collection::btree_set(any::<[u8; 12]>(), 1..200)) {
            let mut window = ReplayWindow::default();
            let nonces: Vec<_> = nonces.into_iter().collect();
            for nonce in &nonces {
                prop_assert!(window.note(nonce));
                prop_assert!(!window.note(nonce));
            }
            // Four a bucket: the very last ones are always still known.
            for nonce in nonces.iter().rev().take(WAYS) {
                prop_assert!(!window.note(nonce));
            }
        }
    }
}
