//! Signing of blocks by a signer: a process that has the validator's key instead of the node.
//!
//! A block's signature covers its nonce, and its id, which must have the proof of work, covers the
//! signature. A signer therefore searches for the nonce itself, and releases the signature of the
//! one block that it has found, after it has saved it in its own signing record.
//!
//! The signer may have signed a block of which the node does not know, because the node or the
//! connection ended before the reply: then no other block on the same parent will ever be signed.
//! So that such a block is not lost, and a chain with one validator not with it, a request is
//! durable with its body before it is sent ([`Effect::Sign`]), and the signer names its last block
//! when it is connected ([`SignerUpdate::Ready`]). The node publishes it if it is the block that it
//! requested last and if its parent is still the head. The body is not stored before that: pruning
//! would find atoms that nothing refers to.
//!
//! Invariants:
//! - At most one request is open. It ends with the signer's reply, or with the next
//!   [`SignerUpdate::Ready`], which states whether the block was signed.
//! - A block is accepted from a signer only if it is the requested one, has the proof of work and
//!   a valid signature.

use super::foreign_blocks::signed_block;
use super::production::room_after;
use super::wait::{REPLAN, wait};
use super::{
    Assembled, Draft, MAX_LATENESS, MissedSlot, Phase, Problem, Producer, RETRY, Slot, Wait,
    publish,
};
use crate::arc::Arc;
use crate::atom::{Atom, AtomId};
use crate::chain::{Block, Header, has_work};
use crate::consensus::signing_record::MAX_SIGNED_BLOCKS;
use crate::consensus::{
    Commit, Context, Effect, Environment, Event, Head, HeadState, StoreFailure,
};
use crate::crypto::{SigningKey, VerifyingKey};
use crate::integer::Natural;
use crate::trie::BatchHasher;
use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

/// Key of a validator.
#[derive(Clone, Debug)]
pub enum ValidatorKey {
    /// The producer has the key, and signs.
    Secret(SigningKey),
    /// A signer has the secret half of this key.
    Signer(VerifyingKey),
}

impl ValidatorKey {
    /// Returns the public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        match self {
            Self::Secret(key) => key.verifying_key(),
            Self::Signer(key) => *key,
        }
    }
}

impl From<SigningKey> for ValidatorKey {
    fn from(key: SigningKey) -> Self {
        Self::Secret(key)
    }
}

impl From<VerifyingKey> for ValidatorKey {
    fn from(key: VerifyingKey) -> Self {
        Self::Signer(key)
    }
}

/// Block without nonce and signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnsignedBlock {
    /// Header; the search begins at its nonce.
    pub header: Header,
    /// Atoms of the body and the transactions.
    pub atoms: Vec<(AtomId, Atom)>,
}

/// Request for a nonce and a signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SigningJob {
    /// Number that identifies the request.
    pub number: u64,
    /// Block that is to be signed.
    pub block: Arc<UnsignedBlock>,
    /// Difficulty of the parent, which the block's id must satisfy.
    pub previous_difficulty: Natural,
    /// Time since 1970 at which the search ends.
    pub until: Duration,
}

/// News of a signer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignerUpdate {
    /// The signer cannot be reached, or does not have the key of this validator.
    Away(String),
    /// The signer is connected.
    Ready {
        /// Number of the last request that was taken over before the connection; it and all before
        /// it have ended.
        ended: u64,
        /// Last block that it signed, if any.
        last: Option<Box<Block>>,
    },
    /// The signer has signed a block.
    Signed {
        /// Number of the request.
        number: u64,
        /// The block.
        block: Box<Block>,
    },
    /// The search ended without a nonce; nothing was signed.
    NotFound {
        /// Number of the request.
        number: u64,
    },
    /// The signer refuses to sign the block.
    Refused {
        /// Number of the request.
        number: u64,
        /// Reason.
        reason: String,
        /// Last block that it signed, if any.
        last: Option<Box<Block>>,
    },
    /// The request could not be saved, and was not sent.
    NotStored {
        /// Number of the request.
        number: u64,
        /// Error of the store.
        failure: StoreFailure,
    },
}

/// State of a producer's signer.
#[derive(Debug, Default)]
pub(super) struct Signer {
    is_ready: bool,
    requests: u64,
    open: Option<Open>,
    /// Block that was requested last, in this or an earlier run.
    requested: Option<Arc<UnsignedBlock>>,
    /// Signed block that is published if its parent is the head.
    unpublished: Option<Box<Signed>>,
}

/// Signed block with the atoms of its body.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) block: Box<Block>,
    pub(super) atoms: Vec<(AtomId, Atom)>,
}

impl Signer {
    /// Keeps a signed block that could not be published.
    pub(super) fn keep(&mut self, block: Box<Block>) {
        let requested = self.requested.as_ref();
        let requested = requested.filter(|it| is_same(&it.header, block.header()));
        let atoms = requested.map(|requested| requested.atoms.clone());
        self.unpublished = atoms.map(|atoms| Box::new(Signed { block, atoms }));
    }
}

/// Open request.
#[derive(Debug)]
struct Open {
    number: u64,
    block: Arc<UnsignedBlock>,
    previous_difficulty: Natural,
}

/// Returns whether two headers are equal apart from their nonces.
fn is_same(one: &Header, other: &Header) -> bool {
    let without_nonce = |header: &Header| Header {
        nonce: Natural::ZERO,
        ..header.clone()
    };
    without_nonce(one) == without_nonce(other)
}

impl<H: BatchHasher> Producer<H> {
    /// Adds the block of the last [`Effect::Sign`] of an earlier run.
    #[must_use]
    pub fn with_requested(mut self, block: Option<UnsignedBlock>) -> Self {
        self.signer.requested = block.map(Arc::new);
        self
    }

    /// Returns whether a signer has the key.
    pub(super) const fn has_signer(&self) -> bool {
        matches!(self.config.key, ValidatorKey::Signer(_))
    }

    /// Returns whether the signer is connected.
    pub(super) const fn has_ready_signer(&self) -> bool {
        self.signer.is_ready
    }

    /// Returns whether a block cannot be requested at present.
    pub(super) const fn waits_for_signer(&self) -> bool {
        self.has_signer() && (!self.signer.is_ready || self.signer.open.is_some())
    }

    /// Requests the signature of a block whose body is assembled.
    pub(super) fn request_signature(
        &mut self,
        context: &mut Context,
        slot: Slot,
        header: Header,
        previous_difficulty: Natural,
        assembled: &Arc<Assembled>,
    ) -> Phase {
        let draft = Draft {
            slot,
            assembled: Arc::clone(assembled),
        };
        let Some(assembly) = draft.assembly() else {
            return Phase::Plan;
        };
        let mut atoms = assembly.body.atoms.clone();
        atoms.extend(assembly.transaction_atoms.iter().cloned());
        let block = Arc::new(UnsignedBlock { header, atoms });
        self.signer.requests += 1;
        let number = self.signer.requests;
        self.signer.open = Some(Open {
            number,
            block: Arc::clone(&block),
            previous_difficulty: previous_difficulty.clone(),
        });
        self.signer.requested = Some(Arc::clone(&block));
        context.push_effect(Effect::Sign(Box::new(SigningJob {
            number,
            block,
            previous_difficulty,
            until: slot.time() + MAX_LATENESS,
        })));
        Phase::Signing {
            draft,
            is_missed: false,
        }
    }

    /// Handles news of the signer.
    pub(super) fn signer_updated(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        update: &SignerUpdate,
    ) {
        if !self.has_signer() {
            return;
        }
        let now = environment.now.instant;
        match update {
            SignerUpdate::Away(reason) => {
                self.signer.is_ready = false;
                self.set_problem(context, Problem::SignerAway(reason.clone()));
                if matches!(self.phase, Phase::Signing { .. }) {
                    self.phase = wait(now, Wait::Signer);
                }
            }
            SignerUpdate::Ready { ended, last } => {
                self.signer.is_ready = true;
                self.signer.open.take_if(|open| open.number <= *ended);
                if matches!(self.problem, Some(Problem::SignerAway(_))) {
                    self.resolved(context);
                }
                self.learn_last(last.as_deref());
                let waits = match self.phase {
                    Phase::Signing { .. } => self.signer.open.is_none(),
                    Phase::Wait { ref why, .. } => *why == Wait::Signer,
                    _ => false,
                };
                if waits {
                    self.phase = Phase::Plan;
                }
            }
            SignerUpdate::Signed { number, block } => self.received(context, *number, block),
            SignerUpdate::NotFound { number } => {
                if self.close(*number).is_none() {
                    return;
                }
                match self.phase {
                    Phase::Signing { .. } => {
                        self.signing_missed(context);
                        let why = "the signer found no block in time".to_owned();
                        self.phase = wait(now, Wait::Failed(why));
                    }
                    Phase::Wait {
                        why: Wait::Signer, ..
                    } => self.phase = Phase::Plan,
                    _ => {}
                }
            }
            SignerUpdate::Refused {
                number,
                reason,
                last,
            } => {
                if self.close(*number).is_none() {
                    return;
                }
                self.learn_last(last.as_deref());
                self.set_problem(context, Problem::SignerRefused(reason.clone()));
                if let Phase::Signing { .. } = self.phase {
                    self.phase = match self.signer.unpublished {
                        Some(_) => Phase::Plan,
                        // Each attempt stores a body. A change of the head is a reason for the next.
                        None => Phase::Wait {
                            until: now + REPLAN,
                            why: Wait::Failed(format!("the signer refused: {reason}")),
                        },
                    };
                }
            }
            SignerUpdate::NotStored { number, failure } => {
                if self.close(*number).is_none() {
                    return;
                }
                let Phase::Signing { draft, .. } = &self.phase else {
                    return;
                };
                context.report(Event::BlockNotStored {
                    height: draft.slot.height,
                    problem: failure.to_string(),
                });
                if failure.is_no_room() {
                    let smaller = room_after(draft);
                    self.phase = self.retry_smaller(context, smaller, failure, now);
                } else {
                    let problem = failure.to_string();
                    self.set_problem(context, Problem::StorageFailed(problem));
                    self.phase = wait(now, Wait::Failed("the storage failed".to_owned()));
                }
            }
        }
    }

    /// Ends the open request if it has this number.
    fn close(&mut self, number: u64) -> Option<Open> {
        self.signer.open.take_if(|open| open.number == number)
    }

    /// Handles a signed block.
    fn received(&mut self, context: &mut Context, number: u64, block: &Block) {
        let Some(open) = self.close(number) else {
            return;
        };
        let is_valid = is_same(block.header(), &open.block.header)
            && has_work(&block.id(), &open.previous_difficulty)
            && block.verify_signature().is_ok();
        let mark = signed_block(block).filter(|_| is_valid);
        let Some(mark) = mark else {
            let reason = "it returned another block than the requested one".to_owned();
            self.set_problem(context, Problem::SignerRefused(reason));
            if let Phase::Signing { .. } = self.phase {
                self.phase = wait(self.now.instant, Wait::Signer);
            }
            return;
        };
        // From here on the block counts as signed.
        self.signed.adopt(mark);
        self.phase = match core::mem::replace(&mut self.phase, Phase::Plan) {
            Phase::Signing { draft, .. } => Phase::Found {
                draft,
                block: Box::new(block.clone()),
            },
            phase => {
                self.signer.keep(Box::new(block.clone()));
                match phase {
                    Phase::Wait {
                        why: Wait::Signer, ..
                    } => Phase::Plan,
                    phase => phase,
                }
            }
        };
    }

    /// Learns which block the signer has signed last.
    fn learn_last(&mut self, last: Option<&Block>) {
        let ours = |block: &&Block| block.validator == self.address;
        let Some((block, mark)) = last
            .filter(ours)
            .and_then(|it| Some((it, signed_block(it)?)))
        else {
            return;
        };
        let known = self.signed.blocks().iter();
        if known
            .map(|known| known.block)
            .any(|known| known == mark.block)
        {
            return;
        }
        self.signed.adopt(mark);
        let requested = self.signer.requested.as_ref();
        if requested.is_some_and(|requested| is_same(&requested.header, block.header())) {
            self.signer.keep(Box::new(block.clone()));
        } else {
            // Another node requested it: it is verified like a block of any other validator.
            self.adopted.push_back(mark.block);
            let known = self.adopted.len().saturating_sub(MAX_SIGNED_BLOCKS);
            self.adopted.drain(..known);
        }
    }

    /// Returns the phase that publishes a signed block on `head`, if there is one.
    pub(super) fn publish_signed(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        head: &Head,
    ) -> Option<Phase> {
        let signed = self.signer.unpublished.take()?;
        let block = &signed.block;
        if block.previous != head.id() {
            // The head may be on its way to the parent.
            if block.height > head.block().height {
                self.signer.unpublished = Some(signed);
            }
            return None;
        }
        let time = Duration::from_secs(block.timestamp.to_u64().unwrap_or(u64::MAX));
        if time > environment.now.unix {
            self.signer.unpublished = Some(signed);
            return Some(Phase::Wait {
                until: environment.now.instant_of(time),
                why: Wait::Signer,
            });
        }
        self.phase = Phase::Restoring {
            signed,
            retry: None,
        };
        self.restore(context);
        Some(core::mem::replace(&mut self.phase, Phase::Plan))
    }

    /// Requests storage of a signed block.
    pub(super) fn restore(&mut self, context: &mut Context) {
        let Phase::Restoring { signed, retry } = &mut self.phase else {
            return;
        };
        *retry = None;
        let mut atoms = signed.atoms.clone();
        atoms.extend(signed.block.to_atoms());
        context.push_effect(Effect::Commit(Box::new(Commit {
            block: signed.block.id(),
            atoms,
            signed: self.signed.clone(),
        })));
    }

    /// Publishes a signed block that has been stored.
    pub(super) fn restored(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        id: &AtomId,
        outcome: &Result<(), StoreFailure>,
    ) {
        let Phase::Restoring { signed, retry } = &mut self.phase else {
            return;
        };
        let block = &signed.block;
        if block.id() != *id {
            return;
        }
        let is_head = context.head().map(Head::id) == Some(block.previous);
        if let Err(failure) = outcome
            && is_head
        {
            *retry = Some(environment.now.instant + RETRY);
            let problem = failure.to_string();
            self.set_problem(context, Problem::StorageFailed(problem));
            return;
        }
        let phase = core::mem::replace(&mut self.phase, Phase::Plan);
        let Phase::Restoring { signed, .. } = phase else {
            return;
        };
        if !is_head || outcome.is_err() {
            return;
        }
        let block = signed.block;
        self.resolved(context);
        self.made += 1;
        context.report(Event::BlockRestored {
            id: block.id(),
            height: block.height.to_u64().unwrap_or(u64::MAX),
        });
        let heads = publish::own_heads(&block);
        if let Some(head) = Head::new(*block, HeadState::Own) {
            context.set_head(head);
        }
        self.offer(environment, context, heads);
    }

    /// Reports that a slot passed while its block was being signed.
    pub(super) fn signing_missed(&mut self, context: &mut Context) {
        let Phase::Signing { draft, is_missed } = &mut self.phase else {
            return;
        };
        if core::mem::replace(is_missed, true) {
            return;
        }
        self.late += 1;
        context.report(Event::SlotMissed {
            height: draft.slot.height,
            timestamp: draft.slot.timestamp,
            during: MissedSlot::Signing,
        });
    }
}
