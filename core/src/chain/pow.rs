//! Proof of work of block ids, and the nonce search.
//!
//! A block's id must have as many leading zero bits as its parent's difficulty requires. The
//! signature covers the nonce, and the id covers the signature, so each attempt needs a new
//! signature: only the holder of the producer's key can search, and only for one block at a time.
//!
//! Hashes that do not depend on the nonce are computed once. The nonce is the last field, and each
//! atom contains the id of the next, so the ids of all fields change with the nonce; those of
//! sixteen attempts are hashed in one batch if the host's [`BatchHasher`] supports it.

use super::block::{Block, Header, NAME, NONCE_FIELD};
use super::record::VERSION;
use crate::atom::{AtomId, AtomKind, ID_PREIMAGE_BYTES, id_preimage};
use crate::crypto::{Signature, SigningKey, hash, leading_zero_bits};
use crate::integer::Natural;
use crate::trie::BatchHasher;
use alloc::vec::Vec;
use core::array;

/// Maximum number of attempts hashed in one batch.
const LANES: usize = 16;

/// Returns the difficulty of a block with `timestamp`: one more than the parent's if the gap is at
/// most 1 second, one less if it is more than 2 seconds, and at least 1.
///
/// ```
/// use astreum_core::chain::difficulty;
/// use astreum_core::integer::Natural;
/// let after = |gap: u64| difficulty(&Natural::ZERO, &gap.into(), &5_u64.into());
/// assert_eq!([1, 2, 3].map(after), [6, 5, 4].map(Natural::new));
/// ```
#[must_use]
pub fn difficulty(
    previous_timestamp: &Natural,
    timestamp: &Natural,
    previous_difficulty: &Natural,
) -> Natural {
    let base = previous_difficulty.clone().max(Natural::ONE);
    let gap = timestamp.saturating_sub(previous_timestamp);
    if gap <= 1 {
        base + Natural::ONE
    } else if gap > 2 {
        base.saturating_sub(&Natural::ONE).max(Natural::ONE)
    } else {
        base
    }
}

/// Returns whether a block id has the proof of work that the parent's difficulty requires: at least
/// that many leading zero bits, and at least one.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::chain::has_work;
/// let mut id = [0xff; 32];
/// id[0] = 0x0f;
/// let id = AtomId::new(id);
/// assert!(has_work(&id, &4_u64.into()) && !has_work(&id, &5_u64.into()));
/// // At least one bit is always needed.
/// assert!(!has_work(&AtomId::new([0xff; 32]), &0_u64.into()));
/// ```
#[must_use]
pub fn has_work(id: &AtomId, previous_difficulty: &Natural) -> bool {
    *previous_difficulty.max(&Natural::ONE) <= u64::from(leading_zero_bits(id.as_bytes()))
}

/// Nonce search for one block, with a bounded number of attempts per call.
///
/// ```
/// use astreum_core::chain::{Miner, has_work};
/// # use astreum_core::atom::MemoryStore;
/// # use astreum_core::chain::{Address, Genesis};
/// # use astreum_core::crypto::SigningKey;
/// # use astreum_core::integer::Natural;
/// # use astreum_core::trie::Scalar;
/// # let key = SigningKey::from_seed(&[1; 32]);
/// # let validator = Address::from(key.verifying_key());
/// # let mut store = MemoryStore::new();
/// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// # let parent = genesis.build(&mut Scalar, &mut store)?;
/// let header = parent.header().clone();
/// let mut miner = Miner::new(header, key, &6_u64.into());
/// let block = loop {
///     // A bounded number of attempts in each call.
///     if let Some(block) = miner.try_nonces(64, &mut Scalar) {
///         break block;
///     }
/// };
/// assert!(has_work(&block.id(), &6_u64.into()) && block.verify_signature().is_ok());
/// assert!(miner.attempts() > 0);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Miner {
    header: Header,
    key: SigningKey,
    search: Search,
}

impl Miner {
    /// Creates a search that starts at the header's nonce, for an id that [has the proof of
    /// work](has_work) required by `previous_difficulty`.
    #[must_use]
    pub fn new(header: Header, key: SigningKey, previous_difficulty: &Natural) -> Self {
        let fields = header.fields();
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        let fixed = fields.split_last().map_or(&[][..], |(_, fixed)| fixed);
        Self {
            search: Search::new(fixed, header.nonce.clone(), previous_difficulty.clone()),
            header,
            key,
        }
    }

    /// Returns the number of attempts made.
    #[must_use]
    pub const fn attempts(&self) -> u64 {
        self.search.attempts
    }

    /// Returns the header with the next nonce to try.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            nonce: self.search.next.clone(),
            ..self.header.clone()
        }
    }

    /// Tries up to `count` further nonces; returns the first block with the required proof of work.
    ///
    /// ```
    /// use astreum_core::chain::Miner;
    /// # use astreum_core::atom::MemoryStore;
    /// # use astreum_core::chain::{Address, Genesis};
    /// # use astreum_core::crypto::SigningKey;
    /// # use astreum_core::integer::Natural;
    /// # use astreum_core::trie::Scalar;
    /// # let key = SigningKey::from_seed(&[1; 32]);
    /// # let validator = Address::from(key.verifying_key());
    /// # let mut store = MemoryStore::new();
    /// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
    /// # let parent = genesis.build(&mut Scalar, &mut store)?;
    /// let mut miner = Miner::new(parent.header().clone(), key, &64_u64.into());
    /// assert_eq!(miner.try_nonces(20, &mut Scalar), None);
    /// assert_eq!((miner.attempts(), miner.header().nonce.to_u64()), (20, Some(20)));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn try_nonces(&mut self, count: u64, hasher: &mut impl BatchHasher) -> Option<Block> {
        let signer = Signer::Key(&self.key);
        let found = self.search.run(count, signer, hasher)?;
        let header = Header {
            nonce: found.nonce,
            ..self.header.clone()
        };
        Some(header.signed(found.signature))
    }
}

/// Returns the first nonce from `start` on that gives a block of these fourteen fields and this
/// signature an id with the required proof of work, and that id. The content of the fields is not
/// checked. The signature is not renewed for each nonce, so nodes reject such a block: this
/// function reproduces the reference's search. Returns `None` after `max_attempts`.
#[must_use]
pub fn unsigned_nonce(
    fields: &[&[u8]; NONCE_FIELD],
    signature: &[u8],
    start: Natural,
    previous_difficulty: Natural,
    max_attempts: u64,
    hasher: &mut impl BatchHasher,
) -> Option<(Natural, AtomId)> {
    let mut search = Search::new(fields, start, previous_difficulty);
    let found = search.run(max_attempts, Signer::Fixed(signature), hasher)?;
    Some((found.nonce, found.id))
}

/// Source of the signatures of attempts.
#[derive(Clone, Copy)]
enum Signer<'k> {
    Key(&'k SigningKey),
    Fixed(&'k [u8]),
}

/// Attempt whose id has the required proof of work.
struct Found {
    nonce: Natural,
    /// `None` if the signature is the fixed one.
    signature: Option<Signature>,
    id: AtomId,
}

/// Hash of an atom's data, and the length of the data in bytes.
type DataHash = ([u8; 32], u64);

/// Parts of an atom that are hashed into its id: kind, data and next id.
type Parts = (AtomKind, DataHash, AtomId);

/// State of a nonce search and the hashes that all attempts share.
#[derive(Debug)]
struct Search {
    /// Fields before the nonce, in the order of the body.
    fields: Vec<DataHash>,
    version: DataHash,
    name: DataHash,
    next: Natural,
    required_bits: Natural,
    /// Attempts per batch. Smaller at low difficulty, where one of the first attempts succeeds.
    width: usize,
    attempts: u64,
}

impl Search {
    fn new(fields: &[&[u8]], start: Natural, previous_difficulty: Natural) -> Self {
        let required_bits = previous_difficulty.max(Natural::ONE);
        let width = match required_bits.to_u64() {
            Some(1) => 2,
            Some(2) => 4,
            Some(3) => 8,
            _ => LANES,
        };
        Self {
            fields: fields.iter().map(|field| data_hash(field)).collect(),
            version: data_hash(&VERSION),
            name: data_hash(NAME.as_bytes()),
            next: start,
            required_bits,
            width,
            attempts: 0,
        }
    }

    /// Tries up to `count` further nonces.
    fn run(
        &mut self,
        count: u64,
        signer: Signer<'_>,
        hasher: &mut impl BatchHasher,
    ) -> Option<Found> {
        let mut left = count;
        while left > 0 {
            let width = usize::try_from(left).map_or(self.width, |left| left.min(self.width));
            let found = self.batch(width, signer, hasher);
            // At most 16.
            left = left.saturating_sub(width as u64);
            self.attempts = self.attempts.saturating_add(width as u64);
            if found.is_some() {
                return found;
            }
            self.next += Natural::from(width);
        }
        None
    }

    /// Tries `width` nonces; returns the first with the required proof of work.
    fn batch(
        &self,
        width: usize,
        signer: Signer<'_>,
        hasher: &mut impl BatchHasher,
    ) -> Option<Found> {
        let mut lanes = Lanes { width, hasher };
        let nonces = array::from_fn(|lane| (&self.next + &Natural::from(lane)).to_bytes_be());
        let nonce_hashes = lanes.data_hashes(nonces.each_ref().map(Vec::as_slice));
        let mut ids = lanes.ids(|lane| (AtomKind::Bytes, *lane.of(&nonce_hashes), AtomId::ZERO));
        for field in self.fields.iter().rev() {
            ids = lanes.ids(|lane| (AtomKind::Bytes, *field, *lane.of(&ids)));
        }
        let bodies = lanes.data_hashes(ids.each_ref().map(|id| id.as_bytes().as_slice()));
        let lists = lanes.ids(|lane| (AtomKind::List, *lane.of(&bodies), AtomId::ZERO));

        let mut signatures = [None; LANES];
        let fixed = match signer {
            Signer::Fixed(signature) => signature,
            Signer::Key(key) => {
                for (signature, list) in signatures.iter_mut().zip(&lists).take(width) {
                    *signature = Some(key.sign(list.as_bytes()));
                }
                &[]
            }
        };
        let signed = lanes.data_hashes(
            signatures
                .each_ref()
                .map(|made| made.as_ref().map_or(fixed, |made| made.as_bytes())),
        );
        let ids = lanes.ids(|lane| (AtomKind::Bytes, *lane.of(&signed), *lane.of(&lists)));
        let ids = lanes.ids(|lane| (AtomKind::Bytes, self.version, *lane.of(&ids)));
        let ids = lanes.ids(|lane| (AtomKind::Symbol, self.name, *lane.of(&ids)));

        let lanes = ids.into_iter().zip(signatures).take(width);
        let (lane, (id, signature)) = lanes
            .enumerate()
            .find(|(_, (id, _))| has_work(id, &self.required_bits))?;
        Some(Found {
            nonce: &self.next + &Natural::from(lane),
            signature,
            id,
        })
    }
}

fn data_hash(data: &[u8]) -> DataHash {
    // A usize has at most 64 bits on every target of Rust.
    (hash(data), data.len() as u64)
}

/// Index of an attempt within a batch.
#[derive(Clone, Copy)]
struct Lane(usize);

impl Lane {
    #[expect(
        clippy::indexing_slicing,
        reason = "a lane is only made by array::from_fn over LANES places"
    )]
    const fn of<T>(self, values: &[T; LANES]) -> &T {
        &values[self.0]
    }
}

/// Batch hashing for the first `width` lanes; the results of the other lanes are meaningless.
struct Lanes<'h, H> {
    width: usize,
    hasher: &'h mut H,
}

impl<H: BatchHasher> Lanes<'_, H> {
    fn hash(&mut self, messages: [&[u8]; LANES]) -> [[u8; 32]; LANES] {
        let mut hashes = [[0; 32]; LANES];
        let used = messages.get(..self.width).unwrap_or(&messages);
        self.hasher.hash_many(used, &mut hashes);
        hashes
    }

    fn data_hashes(&mut self, data: [&[u8]; LANES]) -> [DataHash; LANES] {
        let hashes = self.hash(data);
        // A usize has at most 64 bits on every target of Rust.
        array::from_fn(|lane| {
            let lane = Lane(lane);
            (*lane.of(&hashes), lane.of(&data).len() as u64)
        })
    }

    fn ids(&mut self, parts: impl Fn(Lane) -> Parts) -> [AtomId; LANES] {
        let preimages: [[u8; ID_PREIMAGE_BYTES]; LANES] = array::from_fn(|lane| {
            let (kind, (hash, len), next) = parts(Lane(lane));
            id_preimage(kind, &hash, next, len)
        });
        let hashes = self.hash(
            preimages
                .each_ref()
                .map(<[u8; ID_PREIMAGE_BYTES]>::as_slice),
        );
        hashes.map(AtomId::new)
    }
}

#[cfg(test)]
mod tests;
