//! Validators whose key a signer has.

use super::host::{ATTEMPT, Host};
use super::*;
use crate::chain::{Block, Miner};
use crate::consensus::Event;
use crate::consensus::producer::{Problem, SignerUpdate, SigningJob, UnsignedBlock, ValidatorKey};
use crate::crypto::SigningKey;
use crate::trie::Scalar;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;

/// Signer in virtual time.
pub(super) struct TestSigner {
    key: SigningKey,
    record: SigningRecord,
    last: Option<Block>,
    /// Number of the last request.
    requests: u64,
    /// `true` if requests do not reach it.
    is_away: bool,
    /// `true` if its replies do not reach the node.
    is_mute: bool,
    /// Time until a reply arrives.
    delay: Duration,
    /// `true` if it signs another block than the requested one.
    is_wrong: bool,
}

impl TestSigner {
    fn new(number: u8) -> Self {
        Self {
            key: key(number),
            record: SigningRecord::default(),
            last: None,
            requests: 0,
            is_away: false,
            is_mute: false,
            delay: Duration::ZERO,
            is_wrong: false,
        }
    }

    fn reply(&mut self, job: SigningJob) -> SignerUpdate {
        let number = job.number;
        let mut header = job.block.header.clone();
        if self.is_wrong {
            header.total_fees = 77_u64.into();
        }
        let timestamp = header.timestamp.to_u64().unwrap();
        if let Err(conflict) = self.record.allows(&header.previous, timestamp) {
            return SignerUpdate::Refused {
                number,
                reason: conflict.to_string(),
                last: self.last.clone().map(Box::new),
            };
        }
        let mut miner = Miner::new(header, self.key.clone(), &job.previous_difficulty);
        let block = loop {
            if let Some(block) = miner.try_nonces(16, &mut Scalar) {
                break block;
            }
        };
        let mark = crate::consensus::producer::foreign_blocks::signed_block(&block).unwrap();
        self.record.add(mark).unwrap();
        self.last = Some(block.clone());
        let block = Box::new(block);
        SignerUpdate::Signed { number, block }
    }
}

impl Net {
    pub(super) fn sign(&mut self, at: usize, job: SigningJob) {
        let host = &mut self.hosts[at];
        host.requested = Some(UnsignedBlock::clone(&job.block));
        let signer = host.signer.as_mut().unwrap();
        signer.requests = job.number;
        if signer.is_away {
            return;
        }
        let update = signer.reply(job);
        let due = self.now + ATTEMPT * 4 + signer.delay;
        if !signer.is_mute {
            host.coming.push((due, Input::Signer(update)));
        }
    }

    /// Connects the signer, which names its last block.
    fn connect(&mut self, at: usize) {
        let signer = self.hosts[at].signer.as_ref().unwrap();
        let last = signer.last.clone().map(Box::new);
        let ended = signer.requests;
        self.input(at, Input::Signer(SignerUpdate::Ready { ended, last }));
    }

    fn disconnect(&mut self, at: usize) {
        let reason = "it closed the connection".to_owned();
        self.input(at, Input::Signer(SignerUpdate::Away(reason)));
    }

    fn signer(&mut self, at: usize) -> &mut TestSigner {
        self.hosts[at].signer.as_mut().unwrap()
    }
}

fn with_signer(number: u8) -> ProducerConfig {
    ProducerConfig {
        key: ValidatorKey::Signer(key(number).verifying_key()),
        ..config(number)
    }
}

/// Returns a validator whose signer is not connected yet.
fn validator() -> Net {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    let at = net.add(with_signer(1), Some(&genesis));
    net.hosts[at].signer = Some(TestSigner::new(1));
    net
}

/// Checks every block of the chain.
fn verify_chain(net: &Net) {
    let chain = net.chain(0);
    for pair in chain.windows(2) {
        verify(&net.hosts[0].store, &pair[0], &pair[1], Some(address(1)));
    }
}

fn problem(host: &Host) -> Option<Problem> {
    host.producer.status().problem
}

#[test]
fn blocks_of_a_signer_are_those_of_its_key() {
    let mut net = validator();
    net.run(4);
    assert_eq!(net.head(0).height(), 0);
    assert!(matches!(net.activity(0), Activity::Waiting(Wait::Signer)));
    assert_eq!(problem(&net.hosts[0]), None, "it may still connect");
    net.connect(0);
    net.run(12);
    let chain = net.chain(0);
    assert!(chain.len() > 4, "{}", chain.len());
    assert!(
        chain[1..]
            .iter()
            .all(|block| block.verify_signature().is_ok())
    );
    verify_chain(&net);
    let signed = net.signer(0).record.clone();
    assert_eq!(net.hosts[0].producer.signed(), &signed);
    assert_eq!(problem(&net.hosts[0]), None);
}

#[test]
fn validator_waits_for_its_signer_and_resumes() {
    let mut net = validator();
    net.connect(0);
    net.run(4);
    net.signer(0).is_away = true;
    net.disconnect(0);
    let height = net.head(0).height();
    net.run(12);
    assert!(net.head(0).height() <= height + 1);
    let Some(Problem::SignerAway(reason)) = problem(&net.hosts[0]) else {
        panic!("{:?}", problem(&net.hosts[0]));
    };
    assert!(reason.contains("closed the connection"));
    let halts = |net: &Net| {
        let events = net.hosts[0].events.iter();
        events
            .filter(|it| matches!(it, Event::ProductionHalted(_)))
            .count()
    };
    net.disconnect(0);
    assert_eq!(halts(&net), 1, "reported once");
    net.signer(0).is_away = false;
    net.connect(0);
    assert_eq!(problem(&net.hosts[0]), None);
    let height = net.head(0).height();
    assert!(net.run_until(20, |net| net.head(0).height() >= height + 3));
}

#[test]
fn block_that_was_signed_before_a_crash_is_published_after_it() {
    let mut net = validator();
    net.connect(0);
    net.run(4);
    net.signer(0).is_mute = true;
    let signed = net.signer(0).last.clone();
    assert!(net.run_until(20, |net| {
        net.hosts[0].signer.as_ref().unwrap().last != signed
    }));
    let lost = net.signer(0).last.clone().unwrap();
    assert_eq!(lost.previous, net.head(0).id());
    // The only validator of the chain: without this block the chain would end.
    net.restart(0, with_signer(1));
    net.signer(0).is_mute = false;
    net.connect(0);
    assert!(net.run_until(30, |net| net.head(0).block().height > lost.height));
    let chain = net.chain(0);
    assert!(chain.iter().any(|block| block.id() == lost.id()));
    verify_chain(&net);
    let restored = |event: &Event| matches!(event, Event::BlockRestored { .. });
    assert!(net.hosts[0].events.iter().any(restored));
}

#[test]
fn block_that_was_signed_while_the_connection_ended_is_published() {
    let mut net = validator();
    net.connect(0);
    net.run(4);
    for _ in 0..2 {
        net.signer(0).is_mute = true;
        let before = net.signer(0).last.clone();
        assert!(net.run_until(20, |net| {
            net.hosts[0].signer.as_ref().unwrap().last != before
        }));
        let lost = net.signer(0).last.clone().unwrap();
        net.disconnect(0);
        net.run(3);
        net.signer(0).is_mute = false;
        net.connect(0);
        assert!(net.run_until(20, |net| net.head(0).block().height > lost.height));
        assert!(net.chain(0).iter().any(|block| block.id() == lost.id()));
    }
    verify_chain(&net);
}

#[test]
fn late_reply_is_published_late() {
    let mut net = validator();
    net.connect(0);
    net.run(4);
    net.signer(0).delay = Duration::from_secs(7);
    let height = net.head(0).height();
    assert!(net.run_until(60, |net| net.head(0).height() >= height + 4));
    verify_chain(&net);
    assert!(net.hosts[0].producer.status().blocks_late >= 3);
}

#[test]
fn block_that_another_node_requested_is_not_published_unverified() {
    let mut net = validator();
    net.connect(0);
    net.run(4);
    // No request is answered from here on, and the last one is.
    net.signer(0).is_away = true;
    net.run(4);
    let head = net.head(0);
    let header = crate::chain::Header {
        previous: head.id(),
        height: (head.height() + 1).into(),
        timestamp: (net.now.as_secs() + 1).into(),
        accounts: AtomId::new([9; 32]),
        ..head.block().header().clone()
    };
    let other = header.sign(&key(1));
    net.signer(0).last = Some(other.clone());
    net.signer(0).is_away = false;
    net.disconnect(0);
    net.connect(0);
    let height = net.head(0).height();
    net.run(8);
    assert_eq!(
        net.head(0).height(),
        height,
        "the key has signed on this head"
    );
    assert!(!net.chain(0).iter().any(|block| block.id() == other.id()));
}

#[test]
fn wrong_block_of_a_signer_is_not_published() {
    let mut net = validator();
    net.connect(0);
    net.run(4);
    net.signer(0).is_wrong = true;
    let height = net.head(0).height();
    net.run(8);
    assert!(net.head(0).height() <= height + 1);
    let refused = problem(&net.hosts[0]);
    assert!(
        matches!(refused, Some(Problem::SignerRefused(_))),
        "{refused:?}"
    );
    let is_reported = |event: &Event| {
        matches!(event, Event::ProductionHalted(Problem::SignerRefused(reason))
            if reason.contains("another block"))
    };
    assert!(net.hosts[0].events.iter().any(is_reported));
}

#[test]
fn refusal_names_the_reason_and_a_new_head_is_a_new_attempt() {
    let mut net = validator();
    net.connect(0);
    net.run(4);
    // The record of the signer is ahead: it was used elsewhere for a time in the future.
    let time = net.now.as_secs() + 40;
    let mark = SignedBlock {
        parent: AtomId::new([5; 32]),
        block: AtomId::new([6; 32]),
        height: 900,
        timestamp: time,
    };
    net.signer(0).record.add(mark).unwrap();
    let requests = net.signer(0).requests;
    net.run(4);
    let Some(Problem::SignerRefused(reason)) = problem(&net.hosts[0]) else {
        panic!("{:?}", problem(&net.hosts[0]));
    };
    assert!(reason.contains("already signed"), "{reason}");
    assert!(
        net.signer(0).requests <= requests + 2,
        "one attempt in a minute"
    );
    let height = net.head(0).height();
    assert!(net.run_until(120, |net| net.head(0).height() > height));
    assert_eq!(problem(&net.hosts[0]), None);
}
