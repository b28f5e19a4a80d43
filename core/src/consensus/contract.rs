//! Contract between consensus components and their host: inputs, effects, and readable state.

use super::mempool::Save;
use super::producer::{Assembled, AssemblyJob, SignerUpdate, SigningJob};
use super::{Event, Head, HeadState, ResumeData, SavedHead, SigningRecord};
use crate::arc::Arc;
use crate::atom::{Atom, AtomId, AtomSource};
use crate::crypto::PublicKey;
use crate::engine::{FetchError, FetchRequest, ListLimit, Recipient};
use crate::time::Instant;
use crate::wire::handshake::ChainIdentity;
use crate::wire::network_group::NetworkGroup;
use crate::wire::object::PayloadType;
use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use core::time::Duration;

/// Time of a call: deadlines use the monotonic clock, block timestamps the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Time of the engine's monotonic clock.
    pub instant: Instant,
    /// Time since 1970-01-01 00:00 UTC.
    pub unix: Duration,
}

impl Now {
    /// Returns the first instant at which the wall clock will not be before `unix` at its present
    /// rate, or the present instant if that time has passed.
    #[must_use]
    pub fn instant_of(self, unix: Duration) -> Instant {
        // Instants have microsecond resolution: a call that is a fraction early would find nothing
        // due.
        let round_up = Duration::from_nanos(999);
        let left = unix.saturating_sub(self.unix);
        self.instant + left.saturating_add(round_up)
    }
}

/// Runs independent pieces of work, concurrently if the host can.
pub trait Parallel {
    /// Returns the results of `work` for `0..count`, in order, while the calling thread runs
    /// `alongside`. `work` receives consecutive ranges of any length, each as the index of its
    /// first element and the slice for its results.
    fn all_alongside(
        &self,
        count: usize,
        work: &(dyn Fn(usize, &mut [bool]) + Sync),
        alongside: &mut dyn FnMut(),
    ) -> Vec<bool>;

    /// Returns the results of `work` for `0..count`, in order.
    fn all(&self, count: usize, work: &(dyn Fn(usize, &mut [bool]) + Sync)) -> Vec<bool> {
        self.all_alongside(count, work, &mut || ())
    }
}

/// Executor that runs all work sequentially on the calling thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Serial;

impl Parallel for Serial {
    fn all_alongside(
        &self,
        count: usize,
        work: &(dyn Fn(usize, &mut [bool]) + Sync),
        alongside: &mut dyn FnMut(),
    ) -> Vec<bool> {
        alongside();
        let mut results = vec![false; count];
        work(0, &mut results);
        results
    }
}

/// State that a component may read during one call.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Time of the call.
    pub now: Now,
    /// Locally stored atoms; reading does not fetch.
    pub atoms: &'a (dyn AtomSource<Error = Infallible> + Sync),
    /// Executor for signature verification.
    pub parallel: &'a dyn Parallel,
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Limit of one partial fetch of a list. A fetched list costs memory before it can be verified, and
/// many fetches run at once.
pub const PART: ListLimit = ListLimit {
    atoms: 1_024,
    bytes: 1_024 * PART_ATOM_BYTES,
};
/// Typical stored size of an atom in a long list, in bytes.
pub const PART_ATOM_BYTES: usize = 128;

/// An external event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A peer announced its head.
    PeerHead {
        /// The peer.
        peer: PublicKey,
        /// Network group of its address.
        group: NetworkGroup,
        /// Id of its head.
        id: AtomId,
        /// `true` if the peer is the pinned default seed.
        is_default_seed: bool,
        /// `true` if the peer is a configured seed, the default seed included.
        is_seed: bool,
    },
    /// A peer stated the chain it follows.
    PeerIdentity {
        /// The peer.
        peer: PublicKey,
        /// Its chain.
        identity: ChainIdentity,
    },
    /// The operator prefers the branch through this block, however deep it forks from our chain.
    AdoptFork(AtomId),
    /// The operator rejects every branch through this block.
    AvoidBlock(AtomId),
    /// A peer was removed.
    PeerGone {
        /// The peer.
        peer: PublicKey,
    },
    /// A validating peer announced a head: transactions can be announced to it.
    ValidatorSeen {
        /// The peer.
        peer: PublicKey,
    },
    /// An [`Effect::Announce`] to all validators was carried out.
    Announced {
        /// The transaction.
        transaction: AtomId,
        /// Number of validators that it was announced to.
        validators: usize,
    },
    /// A transaction was announced.
    Transaction {
        /// The announcing peer; `None` for a local user.
        peer: Option<PublicKey>,
        /// Network group of the peer's address; `None` for a local user.
        group: Option<NetworkGroup>,
        /// The transaction.
        id: AtomId,
    },
    /// An [`Effect::Fetch`] of the beginning of a list has ended. Its atoms are in
    /// [`Environment::atoms`], unless they did not fit.
    Fetched {
        /// The requested id.
        id: AtomId,
        /// The atoms, head first and possibly incomplete, or the error.
        outcome: Result<Vec<Atom>, FetchError>,
        /// Peer that sent the last of the atoms; `None` if they did not come from a peer.
        from: Option<PublicKey>,
    },
    /// An [`Effect::Fetch`] of a whole list has ended. Its atoms are in [`Environment::atoms`].
    FetchedSmall {
        /// The requested id.
        id: AtomId,
        /// Error of the fetch, if it failed.
        outcome: Result<(), FetchError>,
    },
    /// A part of an [`Effect::Stream`] has arrived. Its atoms are in [`Environment::atoms`], unless
    /// they did not fit.
    StreamProgress {
        /// Number of the request.
        number: u64,
    },
    /// An [`Effect::Stream`] has ended.
    StreamEnded {
        /// Number of the request.
        number: u64,
        /// `true` if everything that was requested has arrived.
        is_complete: bool,
    },
    /// An [`Effect::Assemble`] has ended.
    Assembled(Arc<Assembled>),
    /// An [`Effect::Commit`] has ended.
    Committed {
        /// The block, so that the outcome for an abandoned block is not taken for the next one's.
        block: AtomId,
        /// `Ok` if the block and the signing record are durable.
        outcome: Result<(), StoreFailure>,
    },
    /// News of the validator's signer; the replies to [`Effect::Sign`] are among them.
    Signer(SignerUpdate),
    /// An [`Effect::StoreBlock`] has ended.
    BlockStored {
        /// The block.
        block: AtomId,
        /// `Ok` if all its atoms are written.
        outcome: Result<(), StoreFailure>,
    },
}

/// Reason atoms were not stored durably.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StoreFailure {
    /// There is not enough room: the storage limit is reached or the disk is full. A smaller write
    /// may succeed.
    NoRoom(String),
    /// The storage failed for another reason.
    Failed(String),
}

impl StoreFailure {
    /// Returns whether the cause is a lack of room.
    #[must_use]
    pub const fn is_no_room(&self) -> bool {
        matches!(self, Self::NoRoom(_))
    }
}

impl fmt::Display for StoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom(message) | Self::Failed(message) => f.write_str(message),
        }
    }
}

impl core::error::Error for StoreFailure {}

/// Request to the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Pass this request for a list to the engine. The beginning of a list, of at most [`PART`]
    /// unless there is a reason for more, ends in one [`Input::Fetched`]; a whole list ends in one
    /// [`Input::FetchedSmall`]. Every component receives the input.
    Fetch(FetchRequest),
    /// Request objects from a peer by stream; ends in one [`Input::StreamEnded`], which follows at
    /// once if the peer has no stream. Only hosts that have streams, according to
    /// [`SyncConfig`](super::sync::SyncConfig), receive it.
    Stream(StreamRequest),
    /// End an [`Effect::Stream`] by its number, if it has not ended.
    CancelStream(u64),
    /// Run this job on another thread than the one that drives the components, within its time
    /// budget, over the stored atoms; ends in one [`Input::Assembled`].
    Assemble(Box<AssemblyJob>),
    /// End the running job soon: its result is no longer needed.
    CancelAssembly,
    /// Keep atoms in memory, so that peers can fetch them, but not in cold storage.
    Keep(Vec<(AtomId, Atom)>),
    /// Announce a transaction. If `to` is all validators, ends in one [`Input::Announced`].
    Announce {
        /// The transaction.
        transaction: AtomId,
        /// Peers that it is announced to.
        to: Recipient,
    },
    /// Write to the mempool file.
    SaveMempool(Save),
    /// Store atoms, also in cold storage if there is one.
    Store(Vec<(AtomId, Atom)>),
    /// Store a verified block and all atoms that belong to it, as with [`Effect::Store`]; ends in
    /// one [`Input::BlockStored`], whose outcome is an error unless all of them are written (or in
    /// memory, without cold storage). A block that is not stored does not become the head. The host
    /// may write several blocks durably at once, in their order: before the head that it saves, and
    /// before an [`Effect::Commit`].
    StoreBlock {
        /// The block.
        block: AtomId,
        /// Its atoms.
        atoms: Vec<(AtomId, Atom)>,
    },
    /// Store a block of our own as with [`Effect::Store`], then save the signing record; ends in
    /// one [`Input::Committed`], whose outcome is an error unless both are durable.
    Commit(Box<Commit>),
    /// Save the block durably for
    /// [`Producer::with_requested`](super::producer::Producer::with_requested) of the next start,
    /// in place of an earlier one, then ask the signer to search a nonce and to sign it; ends in
    /// one [`Input::Signer`].
    Sign(Box<SigningJob>),
    /// Ask the signer to end its search: the block is no longer needed.
    CancelSigning,
    /// Announce this head in pings, save it, and publish it in the node's status. If repeated for
    /// the same head with different [`SavedHead::resume`] data, only saves the data.
    SetHead {
        /// The head.
        head: Head,
        /// Record to resume from after a restart.
        saved: SavedHead,
    },
    /// Save the operator's fork decisions, to be put into [`SyncConfig`](super::sync::SyncConfig)
    /// at the next start.
    SaveDecisions(ForkDecisions),
    /// Announce in pings that this node validates, or that it does not.
    SetValidator(bool),
    /// Advertise an object for a limited time.
    Advertise {
        /// The object.
        id: AtomId,
        /// Its kind.
        kind: PayloadType,
        /// Duration of the advertisement.
        lifetime: Duration,
    },
}

/// Request for objects by stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamRequest {
    /// Number that identifies the request.
    pub number: u64,
    /// Peer that has the objects.
    pub from: PublicKey,
    /// Requested objects.
    pub object: StreamObject,
}

/// Objects that are requested by stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StreamObject {
    /// The header of a block and those of the blocks below it.
    Headers {
        /// The block.
        id: AtomId,
        /// Number of headers, not zero.
        count: u32,
    },
    /// The transactions of blocks.
    Bodies {
        /// First atoms of their transaction lists, at least one and at most
        /// [`MAX_IDS`](crate::wire::stream::MAX_IDS), none of them zero.
        lists: Vec<AtomId>,
    },
    /// Lists, or their beginnings.
    Lists {
        /// Their first atoms, as many as in [`Self::Bodies`].
        lists: Vec<AtomId>,
        /// Maximum number of atoms of each, not zero.
        most: u32,
    },
}

/// Fork decisions of the operator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ForkDecisions {
    /// Block whose branch is preferred to all others.
    pub adopted: Option<AtomId>,
    /// Blocks that an accepted branch must not contain.
    pub avoided: Vec<AtomId>,
}

/// Block that is about to be published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The block.
    pub block: AtomId,
    /// Atoms of the block and of everything it refers to.
    pub atoms: Vec<(AtomId, Atom)>,
    /// Signing record, including this block.
    pub signed: SigningRecord,
}

/// State shared by the components of one node: the head, and the queues to the host.
#[derive(Debug, Default)]
pub struct Context {
    head: Option<Head>,
    saved: Option<SavedHead>,
    /// Resume data last saved with the head.
    resume: ResumeData,
    root: Option<AtomId>,
    is_behind: bool,
    is_reading_headers: bool,
    /// Blocks that the operator avoids.
    avoided: BTreeSet<AtomId>,
    effects: VecDeque<Effect>,
    events: VecDeque<Event>,
}

impl Context {
    /// Creates a context that resumes from `saved`.
    #[must_use]
    pub fn new(saved: Option<SavedHead>) -> Self {
        Self {
            root: saved.as_ref().and_then(|saved| saved.root),
            saved,
            ..Self::default()
        }
    }

    /// Returns the head of the chain; `None` before a saved head has been loaded.
    #[must_use]
    pub const fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Returns the saved head of an earlier run if it has not been loaded yet.
    #[must_use]
    pub const fn saved(&self) -> Option<&SavedHead> {
        self.saved.as_ref()
    }

    /// Returns whether there is a chain, loaded or not. A node that has a chain does not create a
    /// genesis.
    #[must_use]
    pub const fn has_chain(&self) -> bool {
        self.head.is_some() || self.saved.is_some()
    }

    /// Returns the block that the chain was verified from: the genesis, or a configured block.
    /// Chains with another root are refused. `None` until the head is verified or our own.
    #[must_use]
    pub const fn root(&self) -> Option<AtomId> {
        self.root
    }

    /// Returns whether a longer chain is being synced. A block made now would most likely be
    /// orphaned.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Sets whether a longer chain is being synced.
    pub const fn set_behind(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
    }

    /// Returns whether a possibly longer chain is being read. Unlike [`Context::is_behind`], this
    /// includes a chain whose headers take longer than a producer usually waits for them.
    #[must_use]
    pub const fn may_be_behind(&self) -> bool {
        self.is_behind || self.is_reading_headers
    }

    /// Sets whether headers of a possibly longer chain take longer than a producer waits for them.
    pub const fn set_reading_headers(&mut self, is_reading: bool) {
        self.is_reading_headers = is_reading;
    }

    /// Returns whether the operator avoids this block: no component makes it, or a block on it, part
    /// of our chain.
    #[must_use]
    pub fn avoids(&self, block: &AtomId) -> bool {
        self.avoided.contains(block)
    }

    /// Sets the blocks that the operator avoids.
    pub fn set_avoided(&mut self, blocks: impl IntoIterator<Item = AtomId>) {
        self.avoided = blocks.into_iter().collect();
    }

    /// Restricts the node to the chain with this root.
    pub const fn set_root(&mut self, root: AtomId) {
        self.root = Some(root);
    }

    /// Sets the head of the chain and informs the host. A genesis of our own becomes the root.
    pub fn set_head(&mut self, head: Head) {
        self.set_head_with(head, ResumeData::default());
    }

    /// Sets the head as [`Context::set_head`] does, with data that a restart needs. If `head` is
    /// already the head, saves the data if they differ from those saved before.
    pub fn set_head_with(&mut self, head: Head, resume: ResumeData) {
        self.saved = None;
        if head.block().is_genesis() && head.state() == HeadState::Own && self.root.is_none() {
            self.root = Some(head.id());
        }
        let is_known = self.head.as_ref() == Some(&head);
        if is_known && (resume == ResumeData::default() || resume == self.resume) {
            return;
        }
        self.head = Some(head.clone());
        self.resume = resume.clone();
        let saved = SavedHead {
            resume,
            ..head.saved(self.root)
        };
        self.effects.push_back(Effect::SetHead { head, saved });
    }

    /// Queues an effect.
    pub fn push_effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Queues effects.
    pub fn extend(&mut self, effects: impl IntoIterator<Item = Effect>) {
        self.effects.extend(effects);
    }

    /// Returns the next effect to carry out.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Queues an event.
    pub fn report(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Returns the next event, for logs and subscribers.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

/// State machine of a node, such as sync or the producer.
pub trait Component {
    /// Records an input; postpones all work that can wait.
    fn handle_input(&mut self, environment: &Environment<'_>, context: &mut Context, input: &Input);

    /// Does one bounded piece of due work. Called after inputs, after a change of the head, and at
    /// [`Component::poll_timeout`].
    fn advance(&mut self, environment: &Environment<'_>, context: &mut Context);

    /// Returns when [`Component::advance`] is due if there is no earlier input.
    fn poll_timeout(&self) -> Option<Instant>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::header;

    fn head(height: u64, previous: AtomId, state: HeadState) -> Head {
        Head::new(header(height, previous, 7).signed(None), state).unwrap()
    }

    #[test]
    fn reports_a_head_once_and_roots_at_an_own_genesis() {
        let genesis = head(0, AtomId::ZERO, HeadState::Own);
        let next = head(1, genesis.id(), HeadState::Verified);
        let root = Some(genesis.id());
        let mut context = Context::new(None);
        assert!(!context.has_chain() && context.root().is_none());
        for head in [&genesis, &genesis, &next] {
            context.set_head(head.clone());
        }
        context.push_effect(Effect::SetValidator(true));
        let expected = [genesis, next.clone()].map(|head| {
            let saved = head.saved(root);
            Effect::SetHead { head, saved }
        });
        for effect in expected.into_iter().chain([Effect::SetValidator(true)]) {
            assert_eq!(context.poll_effect(), Some(effect));
        }
        assert_eq!(context.poll_effect(), None);
        assert_eq!(context.head(), Some(&next));
    }

    #[test]
    fn saved_head_counts_as_a_chain_before_it_is_loaded() {
        let head = head(1, AtomId::new([3; 32]), HeadState::Verified);
        let root = Some(AtomId::new([9; 32]));
        let mut context = Context::new(Some(head.saved(root)));
        assert!(context.has_chain() && context.head().is_none());
        assert_eq!(context.saved().map(|saved| saved.id), Some(head.id()));
        context.set_head(head.clone());
        assert!(context.has_chain() && context.saved().is_none());
        let saved = head.saved(root);
        let expected = Effect::SetHead { head, saved };
        assert_eq!(context.poll_effect(), Some(expected));
    }

    #[test]
    fn saves_resume_data_for_the_present_head_once() {
        let head = head(1, AtomId::new([3; 32]), HeadState::Verified);
        let resume = ResumeData {
            election_seeds: vec![7; 96],
            ..ResumeData::default()
        };
        let mut context = Context::new(None);
        context.set_head(head.clone());
        assert!(context.poll_effect().is_some());
        for _ in 0..2 {
            context.set_head_with(head.clone(), resume.clone());
            // Does not erase the saved data.
            context.set_head(head.clone());
        }
        let saved = SavedHead {
            resume,
            ..head.saved(None)
        };
        let expected = Effect::SetHead { head, saved };
        assert_eq!(context.poll_effect(), Some(expected));
        assert_eq!(context.poll_effect(), None);
    }

    #[test]
    fn maps_wall_time_to_instants_not_before_now() {
        let now = Now {
            instant: Instant::from_secs(5),
            unix: Duration::from_secs(1_000),
        };
        let of = |unix| now.instant_of(Duration::from_secs(unix));
        assert_eq!(of(1_002), Instant::from_secs(7));
        let early = now.instant_of(Duration::from_nanos(1_001_000_000_001));
        assert_eq!(early, Instant::from_secs(6) + Duration::from_micros(1));
        assert_eq!(of(3), now.instant);
    }
}
