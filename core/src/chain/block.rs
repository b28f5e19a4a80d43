//! A step of the chain.
//!
//! A [`Block`] never changes: its id and the id that its signature is over are known from the moment
//! it is made, and belong to what it holds. Signature and work may be wrong.

use super::account::Address;
use super::record::{Reader, RecordAtoms, RecordError, SignedAtoms, signed_atoms, write_atoms};
use crate::atom::{Atom, AtomId, AtomSink, AtomSource};
use crate::crypto::{Signature, SignatureError, SigningKey, VerifyingKey};
use crate::integer::Natural;
use alloc::vec::Vec;
use core::ops::Deref;

/// The type's name.
pub(super) const NAME: &str = "block";
/// Fields of a body.
const FIELDS: usize = 15;
/// Where the nonce stands: last, after all fields that a search leaves alone.
pub(super) const NONCE_FIELD: usize = FIELDS - 1;
/// Where the minted total stands, which a body of 14 fields leaves out.
const MINT_FIELD: usize = 7;

/// What a block says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The chain that it belongs to.
    pub chain_id: Natural,
    /// How many blocks stand before it.
    pub height: Natural,
    /// The block that it follows; [`AtomId::ZERO`] for the first.
    pub previous: AtomId,
    /// When it was made, in seconds since the Unix epoch.
    pub timestamp: Natural,
    /// Leading zero bits that the id of the next block needs.
    pub difficulty: Natural,
    /// The treasury's balances after each block so far, added up.
    pub cumulative_stake: Natural,
    /// The burn account's balances after each block so far, added up.
    pub cumulative_burn: Natural,
    /// What was minted so far.
    pub cumulative_mint: Natural,
    /// Fees that were collected so far.
    pub cumulative_total_fees: Natural,
    /// Fees that this block collected.
    pub total_fees: Natural,
    /// The root of the accounts' trie after it.
    pub accounts: AtomId,
    /// The bytes list of its transactions' ids.
    pub transactions: AtomId,
    /// The bytes list of its receipts' ids.
    pub receipts: AtomId,
    /// Who made and signed it.
    pub validator: Address,
    /// Chosen so that the block's id has as many leading zero bits as it needs.
    pub nonce: Natural,
}

impl Header {
    /// Signs it as it is, whatever work its id has; [`Miner`](super::Miner) looks for a nonce.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> Block {
        let body_hash = self.atoms(true, &[]).body_list;
        self.signed(Some(key.sign(body_hash.as_bytes())))
    }

    /// With a signature that was made elsewhere, right or wrong; the first block has none.
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

    /// The fields as bytes, in the order of the body.
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

/// A header with its signature. Reads as the [`Header`] that it was made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    header: Header,
    /// Whether the body says what was minted; one of an older reference does not.
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
    /// What it says.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The signature, if it has one.
    #[must_use]
    pub const fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    /// What the signature is over: the id of the list atom that holds the body.
    #[must_use]
    pub const fn body_hash(&self) -> AtomId {
        self.body_hash
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> AtomId {
        self.id
    }

    /// Whether it follows no other.
    #[must_use]
    pub fn is_genesis(&self) -> bool {
        self.header.previous.is_zero()
    }

    /// Checks that its validator signed it.
    ///
    /// # Errors
    /// When it has no signature, the validator is no key, or the signature is not its.
    pub fn verify_signature(&self) -> Result<(), SignatureError> {
        let signature = self.signature.as_ref().ok_or(SignatureError::Mismatch)?;
        VerifyingKey::from_bytes(self.header.validator.as_bytes())?
            .verify(self.body_hash.as_bytes(), signature)
    }

    /// Its atoms: body, list, signature, version, type.
    #[must_use]
    pub fn to_atoms(&self) -> RecordAtoms {
        let signature = signature_bytes(self.signature.as_ref());
        self.header.atoms(self.has_mint, signature).atoms
    }

    /// Puts its atoms and returns its id.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn write<K: AtomSink + ?Sized>(&self, sink: &mut K) -> Result<AtomId, K::Error> {
        write_atoms(self.to_atoms(), sink)?;
        Ok(self.id)
    }

    /// Reads the block with this id. Neither its signature nor its work are checked.
    ///
    /// A body of 14 fields, which leaves out what was minted, is read as the reference reads it:
    /// nothing was. Nobody writes it any more.
    ///
    /// # Errors
    /// When an atom is missing, or they are no block.
    pub fn read<S: AtomSource + ?Sized>(
        source: &S,
        id: AtomId,
    ) -> Result<Self, RecordError<S::Error>> {
        let reader = Reader { source, record: id };
        let head = reader.signed_head(NAME)?;
        let signature =
            match head.signature.data() {
                [] => None,
                bytes => Some(Signature::from_slice(bytes).ok_or_else(|| {
                    reader.malformed("its signature has neither 64 bytes nor none")
                })?),
            };
        let body = reader.chain(head.body_head, FIELDS - 1, FIELDS)?;
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

/// The fields of a body of 14 or 15 atoms.
fn read_body<S: AtomSource + ?Sized>(
    reader: &Reader<'_, S>,
    mut body: Vec<Atom>,
) -> Result<Header, RecordError<S::Error>> {
    if body.len() < FIELDS {
        let none = Natural::ZERO.to_bytes_be();
        body.insert(MINT_FIELD.min(body.len()), Atom::bytes(none));
    }
    let count = reader.malformed("its number of fields is wrong");
    let body: [Atom; FIELDS] = body.try_into().map_err(|_| count)?;
    let integer = |atom| reader.integer_be(atom, "a field is not an integer in shortest form");
    let id = |atom| {
        let id = reader.bytes_32(atom, "a field does not have the 32 bytes of an id");
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
        validator: Address::new(
            reader.bytes_32(validator, "its validator does not have 32 bytes")?,
        ),
        nonce: integer(nonce)?,
    })
}
