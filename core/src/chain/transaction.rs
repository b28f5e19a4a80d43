//! What a sender asks the chain to do.
//!
//! A [`Transaction`] never changes: its id and the id that its signature is over are known from the
//! moment it is made, and belong to what it holds. Its signature may be wrong, until
//! [`Transaction::verify_signature`] has said otherwise.

use super::MAX_TRANSACTION_DATA_BYTES;
use super::account::Address;
use super::record::{Reader, RecordAtoms, RecordError, SignedAtoms, signed_atoms, write_atoms};
use crate::atom::{AtomId, AtomKind, AtomSink, AtomSource};
use crate::crypto::{Claim, Signature, SignatureError, SigningKey, VerifyingKey};
use crate::expr::Bytes;
use crate::integer::Natural;
use core::ops::Deref;

/// The type's name.
const NAME: &str = "transaction";

/// What a sender decides about a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsigned {
    /// The chain that it is for.
    pub chain_id: Natural,
    /// How much leaves the sender.
    pub amount: Natural,
    /// Makes two transactions that are equal otherwise two; no rule orders by it.
    pub counter: Natural,
    /// Means what the recipient says. At most [`MAX_TRANSACTION_DATA_BYTES`] on a chain.
    pub data: Bytes,
    /// Who gets the amount; the treasury for a stake, the burn account for storage and channels.
    pub recipient: Address,
}

impl Unsigned {
    /// Signs it; the signer is the sender.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> Transaction {
        let sender = Address::from(key.verifying_key());
        // Only the body's ids are needed to sign; a head with another signature costs little.
        let draft = self.atoms(&sender, &[]);
        let signature = key.sign(draft.body_head.as_bytes());
        self.signed(sender, signature)
    }

    /// With a signature that was made elsewhere, right or wrong.
    #[must_use]
    pub fn signed(self, sender: Address, signature: Signature) -> Transaction {
        let atoms = self.atoms(&sender, signature.as_bytes());
        Transaction {
            content: self,
            sender,
            signature,
            body_hash: atoms.body_head,
            id: atoms.id,
        }
    }

    fn atoms(&self, sender: &Address, signature: &[u8]) -> SignedAtoms {
        let fields: [&[u8]; 6] = [
            &self.chain_id.to_bytes_le(),
            &self.amount.to_bytes_le(),
            &self.counter.to_bytes_le(),
            &self.data,
            self.recipient.as_bytes(),
            sender.as_bytes(),
        ];
        signed_atoms(NAME, &fields, signature)
    }
}

/// A transaction with its signature. Reads as the [`Unsigned`] that it was made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    content: Unsigned,
    sender: Address,
    signature: Signature,
    body_hash: AtomId,
    id: AtomId,
}

impl Deref for Transaction {
    type Target = Unsigned;

    fn deref(&self) -> &Unsigned {
        &self.content
    }
}

impl Transaction {
    /// Who signed it, and pays.
    #[must_use]
    pub const fn sender(&self) -> &Address {
        &self.sender
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What the signature is over: the id of the body's first atom.
    #[must_use]
    pub const fn body_hash(&self) -> AtomId {
        self.body_hash
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> AtomId {
        self.id
    }

    /// Checks that the sender signed it. This verdict is the consensus: one signature at a time,
    /// as OpenSSL judges it.
    ///
    /// # Errors
    /// When the sender is no key, or the signature is not its.
    pub fn verify_signature(&self) -> Result<(), SignatureError> {
        VerifyingKey::from_bytes(self.sender.as_bytes())?
            .verify(self.body_hash.as_bytes(), &self.signature)
    }

    /// What [`Transaction::verify_signature`] checks, with the key at the sender's address.
    pub(super) const fn claim(&self, key: Option<VerifyingKey>) -> Claim<'_> {
        Claim {
            key,
            message: self.body_hash.as_bytes(),
            signature: &self.signature,
        }
    }

    /// Its atoms: body, list, signature, version, type.
    #[must_use]
    pub fn to_atoms(&self) -> RecordAtoms {
        let signed = self.content.atoms(&self.sender, self.signature.as_bytes());
        signed.atoms
    }

    /// Puts its atoms and returns its id.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn write<K: AtomSink + ?Sized>(&self, sink: &mut K) -> Result<AtomId, K::Error> {
        write_atoms(self.to_atoms(), sink)?;
        Ok(self.id)
    }

    /// Reads the transaction with this id. Its signature is not checked.
    ///
    /// # Errors
    /// When an atom is missing, or they are no transaction.
    pub fn read<S: AtomSource + ?Sized>(
        source: &S,
        id: AtomId,
    ) -> Result<Self, RecordError<S::Error>> {
        let reader = Reader { source, record: id };
        let head = reader.signed_head(NAME)?;
        let signature = Signature::from_slice(head.signature.data())
            .ok_or_else(|| reader.malformed("its signature does not have 64 bytes"))?;
        let [chain_id, amount, counter, data, recipient, sender] =
            reader.exactly(head.body_head)?;
        if data.kind() != AtomKind::Bytes {
            return Err(reader.malformed("its data is not bytes"));
        }
        if data.data().len() > MAX_TRANSACTION_DATA_BYTES {
            return Err(reader.malformed("it has more than 60000 bytes of data"));
        }
        let content = Unsigned {
            chain_id: reader
                .integer_le(&chain_id, "its chain id is not an integer in shortest form")?,
            amount: reader.integer_le(&amount, "its amount is not an integer in shortest form")?,
            counter: reader
                .integer_le(&counter, "its counter is not an integer in shortest form")?,
            data: data.shared_data().into(),
            recipient: Address::new(
                reader.bytes_32(&recipient, "its recipient does not have 32 bytes")?,
            ),
        };
        Ok(Self {
            content,
            sender: Address::new(reader.bytes_32(&sender, "its sender does not have 32 bytes")?),
            signature,
            body_hash: head.body_head,
            id,
        })
    }
}
