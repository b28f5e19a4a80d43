//! The work in a block's id, and the search for it.
//!
//! A block's id needs as many leading zero bits as its parent's difficulty asks for. The nonce
//! stands inside what is signed and the signature inside the id, so each attempt signs anew: only
//! a validator's key can search, and it searches for one block at a time.
//!
//! What a nonce does not change is hashed once. The nonce is the last field, and each atom names
//! the next, so the ids of all fields change with it; those of sixteen attempts are hashed side by
//! side where the host's [`BatchHasher`] can.

use super::block::{Block, Header, NAME, NONCE_FIELD};
use super::record::VERSION;
use crate::atom::{AtomId, AtomKind, ID_PREIMAGE_BYTES, id_preimage};
use crate::crypto::{Signature, SigningKey, hash, leading_zero_bits};
use crate::integer::Natural;
use crate::trie::BatchHasher;
use alloc::vec::Vec;
use core::array;

/// Attempts that are hashed side by side.
const LANES: usize = 16;

/// The difficulty of a block of this time: one more after a gap of at most a second, one less after
/// more than two, never less than 1.
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

/// Whether the id of a block has the work that the difficulty of the block before it asks for, at
/// least one bit.
#[must_use]
pub fn has_work(id: &AtomId, previous_difficulty: &Natural) -> bool {
    *previous_difficulty.max(&Natural::ONE) <= u64::from(leading_zero_bits(id.as_bytes()))
}

/// Looks for the nonce of one block, a slice of attempts at a time.
#[derive(Debug)]
pub struct Miner {
    header: Header,
    key: SigningKey,
    search: Search,
}

impl Miner {
    /// A search that starts at the header's nonce, for an id that
    /// [has the work](has_work) that `previous_difficulty` asks for.
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

    /// How many attempts were made.
    #[must_use]
    pub const fn attempts(&self) -> u64 {
        self.search.attempts
    }

    /// What is searched for, with the nonce that comes next.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            nonce: self.search.next.clone(),
            ..self.header.clone()
        }
    }

    /// Tries this many nonces more; the block of the first that has the work.
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

/// The first nonce from `start` on that gives a block of these fourteen fields and this signature,
/// whatever they hold, an id with the work; and that id. The signature is not made anew, so this
/// is not a block that anybody accepts: it is what the reference's search finds. Gives up after
/// `max_attempts`.
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

/// Where the signatures of attempts come from.
#[derive(Clone, Copy)]
enum Signer<'k> {
    Key(&'k SigningKey),
    Fixed(&'k [u8]),
}

/// An attempt whose id has the work.
struct Found {
    nonce: Natural,
    /// `None` if it is the fixed one.
    signature: Option<Signature>,
    id: AtomId,
}

/// The hash of an atom's data, and its length in bytes.
type DataHash = ([u8; 32], u64);

/// What of each lane is hashed into an id.
type Parts = (AtomKind, DataHash, AtomId);

/// What all attempts share, and where the search stands.
#[derive(Debug)]
struct Search {
    /// The fields before the nonce, in the order of the body.
    fields: Vec<DataHash>,
    version: DataHash,
    name: DataHash,
    next: Natural,
    required_bits: Natural,
    /// Attempts that are worth hashing side by side: with less work, the first ones will do.
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

    /// Tries up to `count` nonces more.
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

    /// Tries `width` nonces; the first that fits.
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
    // A usize has at most 64 bits on every target that Rust has.
    (hash(data), data.len() as u64)
}

/// One of the attempts that are hashed together.
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

/// Hashes for the first `width` lanes; what the others hold means nothing.
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
        // A usize has at most 64 bits on every target that Rust has.
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
