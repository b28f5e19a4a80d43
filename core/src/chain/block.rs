//! Blocks: header, signature, encoding.
//!
//! A [`Block`] is immutable: its id and the id that its signature covers are computed when it is
//! created and always match its content. The signature and the proof of work may be invalid.

mod compact;

use super::account::Address;
use super::record::{Reader, RecordAtoms, RecordError, SignedAtoms, signed_atoms, write_atoms};
use crate::atom::{Atom, AtomId, AtomSink, AtomSource};
use crate::crypto::{Signature, SignatureError, SigningKey, VerifyingKey};
use crate::integer::Natural;
use alloc::vec::Vec;
use core::ops::Deref;

/// Type name of the record.
pub(super) const NAME: &str = "block";
/// Number of fields of a body.
const FIELDS: usize = 15;
/// Index of the nonce: last, after all fields that a nonce search does not change.
pub(super) const NONCE_FIELD: usize = FIELDS - 1;
/// Index of the minted total, which a body of 14 fields omits.
const MINT_FIELD: usize = 7;

/// Content of a block, without the signature.
///
/// ```
/// use astreum_core::chain::Header;
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
/// let header: &Header = parent.header();
/// assert_eq!((header.height.to_u64(), header.previous.is_zero()), (Some(0), true));
/// // The id commits to every field.
/// let later = Header { timestamp: 1_700_000_002_u64.into(), ..header.clone() };
/// assert_ne!(later.signed(None).id(), parent.id());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Id of the chain.
    pub chain_id: Natural,
    /// Number of blocks before this one.
    pub height: Natural,
    /// Id of the parent block; [`AtomId::ZERO`] for a genesis.
    pub previous: AtomId,
    /// Time of creation, in seconds since the Unix epoch.
    pub timestamp: Natural,
    /// Number of leading zero bits that the id of the next block must have.
    pub difficulty: Natural,
    /// Sum of the treasury's balances after each block so far.
    pub cumulative_stake: Natural,
    /// Sum of the burn account's balances after each block so far.
    pub cumulative_burn: Natural,
    /// Amount minted so far.
    pub cumulative_mint: Natural,
    /// Fees collected so far.
    pub cumulative_total_fees: Natural,
    /// Fees collected by this block.
    pub total_fees: Natural,
    /// Root of the accounts trie after the block.
    pub accounts: AtomId,
    /// Head of the bytes list of transaction ids.
    pub transactions: AtomId,
    /// Head of the bytes list of receipt ids.
    pub receipts: AtomId,
    /// Block producer, which signed the block.
    pub validator: Address,
    /// Nonce that gives the block's id the required number of leading zero bits.
    pub nonce: Natural,
}

impl Header {
    /// Signs the header as it is, without proof of work; [`Miner`](super::Miner) searches for a
    /// nonce.
    ///
    /// ```
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
    /// let mut header = parent.header().clone();
    /// header.validator = Address::from(key.verifying_key());
    /// let block = header.sign(&key);
    /// assert_eq!(block.verify_signature(), Ok(()));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> Block {
        let body_hash = self.atoms(true, &[]).body_list;
        self.signed(Some(key.sign(body_hash.as_bytes())))
    }

    /// Creates a block with an existing signature, valid or not; a genesis has none.
    #[must_use]
    pub fn signed(self, signature: Option<Signature>) -> Block {
        let atoms = self.atoms(true, signature_bytes(signature.as_ref()));
        Block {
            header: self,
            has_mint: true,
            signature,
            body_hash: atoms.body_list,
            id: atoms.id,
        }
    }

    /// Returns the fields as bytes, in the order of the body.
    pub(super) fn fields(&self) -> [Vec<u8>; FIELDS] {
        [
            self.chain_id.to_bytes_be(),
            self.height.to_bytes_be(),
            self.previous.as_bytes().to_vec(),
            self.timestamp.to_bytes_be(),
            self.difficulty.to_bytes_be(),
            self.cumulative_stake.to_bytes_be(),
            self.cumulative_burn.to_bytes_be(),
            self.cumulative_mint.to_bytes_be(),
            self.cumulative_total_fees.to_bytes_be(),
            self.total_fees.to_bytes_be(),
            self.accounts.as_bytes().to_vec(),
            self.transactions.as_bytes().to_vec(),
            self.receipts.as_bytes().to_vec(),
            self.validator.as_bytes().to_vec(),
            self.nonce.to_bytes_be(),
        ]
    }

    fn atoms(&self, has_mint: bool, signature: &[u8]) -> SignedAtoms {
        let fields = self.fields();
        let mut fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        if !has_mint {
            fields.remove(MINT_FIELD);
        }
        signed_atoms(NAME, &fields, signature)
    }
}

fn signature_bytes(signature: Option<&Signature>) -> &[u8] {
    signature.map_or(&[], |signature| signature.as_bytes())
}

/// Header with its signature. Dereferences to its [`Header`].
///
/// ```
/// use astreum_core::chain::Block;
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
/// let block = Block::read(&store, parent.id())?;
/// assert_eq!(block, parent);
/// assert!(block.is_genesis() && block.height.is_zero());
/// assert_eq!(block.timestamp.to_u64(), Some(1_700_000_000));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    header: Header,
    /// Whether the body has the minted total; bodies of older references do not.
    has_mint: bool,
    signature: Option<Signature>,
    body_hash: AtomId,
    id: AtomId,
}

impl Deref for Block {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

impl Block {
    /// Returns the header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the signature; `None` if there is none.
    #[must_use]
    pub const fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    /// Returns the id that the signature covers: that of the list atom that holds the body.
    #[must_use]
    pub const fn body_hash(&self) -> AtomId {
        self.body_hash
    }

    /// Returns the block's id.
    #[must_use]
    pub const fn id(&self) -> AtomId {
        self.id
    }

    /// Returns whether the block has no parent.
    #[must_use]
    pub fn is_genesis(&self) -> bool {
        self.header.previous.is_zero()
    }

    /// Verifies the block producer's signature.
    ///
    /// ```
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
    /// // A genesis is not signed.
    /// assert!(parent.verify_signature().is_err());
    /// let mut header = parent.header().clone().sign(&key).header().clone();
    /// header.validator = Address::new([2; 32]);
    /// assert!(header.sign(&key).verify_signature().is_err());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails if there is no signature, the producer's address is not a key, or the signature does
    /// not match.
    pub fn verify_signature(&self) -> Result<(), SignatureError> {
        let signature = self.signature.as_ref().ok_or(SignatureError::Mismatch)?;
        VerifyingKey::from_bytes(self.header.validator.as_bytes())?
            .verify(self.body_hash.as_bytes(), signature)
    }

    /// Returns the block's atoms: body, list, signature, version, type.
    ///
    /// ```
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
    /// let atoms = parent.to_atoms();
    /// let (id, head) = atoms.last().ok_or("no atoms")?;
    /// assert_eq!((*id, head.data()), (parent.id(), b"block".as_slice()));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_atoms(&self) -> RecordAtoms {
        let signature = signature_bytes(self.signature.as_ref());
        self.header.atoms(self.has_mint, signature).atoms
    }

    /// Writes the atoms to `sink` and returns the block's id.
    ///
    /// # Errors
    /// Fails if the sink fails.
    pub fn write<K: AtomSink + ?Sized>(&self, sink: &mut K) -> Result<AtomId, K::Error> {
        write_atoms(self.to_atoms(), sink)?;
        Ok(self.id)
    }

    /// Reads the block with this id. Does not check the signature or the proof of work.
    ///
    /// A body of 14 fields, which omits the minted total, is read as the reference reads it: with a
    /// total of 0. No current implementation writes such a body.
    ///
    /// ```
    /// use astreum_core::chain::Block;
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
    /// let mut copy = MemoryStore::new();
    /// let error = Block::read(&copy, parent.id()).unwrap_err();
    /// assert_eq!(error.missing(), Some(parent.id()));
    /// parent.write(&mut copy)?;
    /// assert_eq!(Block::read(&copy, parent.id())?, parent);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails if an atom is missing or the record is malformed.
    pub fn read<S: AtomSource + ?Sized>(
        source: &S,
        id: AtomId,
    ) -> Result<Self, RecordError<S::Error>> {
        let reader = Reader { source, record: id };
        let head = reader.signed_head(NAME)?;
        let signature = match head.signature.data() {
            [] => None,
            bytes => Some(
                Signature::from_slice(bytes)
                    .ok_or_else(|| reader.malformed("signature is neither 64 bytes nor empty"))?,
            ),
        };
        let body = reader.list(head.body_head, FIELDS - 1, FIELDS)?;
        let has_mint = body.len() == FIELDS;
        Ok(Self {
            header: read_body(&reader, body)?,
            has_mint,
            signature,
            body_hash: head.body_list,
            id,
        })
    }
}

/// Parses the fields of a body of 14 or 15 atoms.
fn read_body<S: AtomSource + ?Sized>(
    reader: &Reader<'_, S>,
    mut body: Vec<Atom>,
) -> Result<Header, RecordError<S::Error>> {
    if body.len() < FIELDS {
        let none = Natural::ZERO.to_bytes_be();
        body.insert(MINT_FIELD.min(body.len()), Atom::bytes(none));
    }
    let count = reader.malformed("wrong number of fields");
    let body: [Atom; FIELDS] = body.try_into().map_err(|_| count)?;
    let integer = |atom| reader.integer_be(atom, "a field is not a canonical integer");
    let id = |atom| {
        let id = reader.bytes_32(atom, "a field is not a 32-byte id");
        id.map(AtomId::new)
    };
    let [
        chain_id,
        height,
        previous,
        timestamp,
        difficulty,
        cumulative_stake,
        cumulative_burn,
        cumulative_mint,
        cumulative_total_fees,
        total_fees,
        accounts,
        transactions,
        receipts,
        validator,
        nonce,
    ] = &body;
    Ok(Header {
        chain_id: integer(chain_id)?,
        height: integer(height)?,
        previous: id(previous)?,
        timestamp: integer(timestamp)?,
        difficulty: integer(difficulty)?,
        cumulative_stake: integer(cumulative_stake)?,
        cumulative_burn: integer(cumulative_burn)?,
        cumulative_mint: integer(cumulative_mint)?,
        cumulative_total_fees: integer(cumulative_total_fees)?,
        total_fees: integer(total_fees)?,
        accounts: id(accounts)?,
        transactions: id(transactions)?,
        receipts: id(receipts)?,
        validator: Address::new(reader.bytes_32(validator, "validator is not 32 bytes")?),
        nonce: integer(nonce)?,
    })
}
