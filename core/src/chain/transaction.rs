//! Transactions: content, signature, encoding.
//!
//! A [`Transaction`] is immutable: its id and the id that its signature covers are computed when it
//! is created and always match its content. Its signature may be invalid until
//! [`Transaction::verify_signature`] has succeeded.

use super::MAX_TRANSACTION_DATA_BYTES;
use super::account::Address;
use super::record::{Reader, RecordAtoms, RecordError, SignedAtoms, signed_atoms, write_atoms};
use crate::atom::{AtomId, AtomKind, AtomSink, AtomSource};
use crate::crypto::{Claim, Signature, SignatureError, SigningKey, VerifyingKey};
use crate::expr::Bytes;
use crate::integer::Natural;
use core::ops::Deref;

/// Type name of the record.
const NAME: &str = "transaction";
/// Error of data with more than [`MAX_TRANSACTION_DATA_BYTES`].
pub(super) const LONG_DATA: &str = "data exceeds 60000 bytes";

/// Content of a transaction, without sender and signature.
///
/// ```
/// use astreum_core::chain::{Address, Unsigned};
/// use astreum_core::crypto::SigningKey;
///
/// let transfer = Unsigned {
///     chain_id: 0_u64.into(),
///     amount: 100_u64.into(),
///     counter: 1_u64.into(),
///     data: b"invoice 7".as_slice().into(),
///     recipient: Address::new([2; 32]),
/// };
/// let key = SigningKey::from_seed(&[1; 32]);
/// let transaction = transfer.clone().sign(&key);
/// assert_eq!(*transaction, transfer);
/// assert_eq!(*transaction.sender(), Address::from(key.verifying_key()));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsigned {
    /// Id of the chain.
    pub chain_id: Natural,
    /// Amount that leaves the sender.
    pub amount: Natural,
    /// Counter that makes otherwise equal transactions distinct; no rule orders by it.
    pub counter: Natural,
    /// Data for the recipient. At most [`MAX_TRANSACTION_DATA_BYTES`] on a chain.
    pub data: Bytes,
    /// Recipient of the amount: the treasury for stakes, the burn account for storage contracts,
    /// the sender itself for payment channels.
    pub recipient: Address,
}

impl Unsigned {
    /// Signs the transaction; the signer is the sender.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> Transaction {
        let sender = Address::from(key.verifying_key());
        // Only the ids of the body are needed to sign; building the head twice is cheap.
        let draft = self.atoms(&sender, &[]);
        let signature = key.sign(draft.body_head.as_bytes());
        self.signed(sender, signature)
    }

    /// Creates a transaction with an existing signature, valid or not.
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

/// Signed transaction. Dereferences to its [`Unsigned`] content.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::chain::{Address, Transaction, Unsigned};
/// use astreum_core::crypto::SigningKey;
///
/// let transfer = Unsigned {
///     chain_id: 0_u64.into(),
///     amount: 100_u64.into(),
///     counter: 1_u64.into(),
///     data: b"".as_slice().into(),
///     recipient: Address::new([2; 32]),
/// };
/// let transaction = transfer.sign(&SigningKey::from_seed(&[1; 32]));
/// let mut store = MemoryStore::new();
/// transaction.write(&mut store)?;
/// let read = Transaction::read(&store, transaction.id())?;
/// assert_eq!((read.verify_signature(), read.amount.to_u64()), (Ok(()), Some(100)));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
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
    /// Returns the sender, which signed the transaction and pays for it.
    #[must_use]
    pub const fn sender(&self) -> &Address {
        &self.sender
    }

    /// Returns the signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Returns the id that the signature covers: that of the first atom of the body.
    #[must_use]
    pub const fn body_hash(&self) -> AtomId {
        self.body_hash
    }

    /// Returns the transaction's id.
    #[must_use]
    pub const fn id(&self) -> AtomId {
        self.id
    }

    /// Verifies the sender's signature. This verdict is part of the consensus rules: individual
    /// verification as in OpenSSL.
    ///
    /// ```
    /// use astreum_core::chain::{Address, Unsigned};
    /// use astreum_core::crypto::{SignatureError, SigningKey};
    ///
    /// let transfer = Unsigned {
    ///     chain_id: 0_u64.into(),
    ///     amount: 100_u64.into(),
    ///     counter: 1_u64.into(),
    ///     data: b"".as_slice().into(),
    ///     recipient: Address::new([2; 32]),
    /// };
    /// let signed = transfer.clone().sign(&SigningKey::from_seed(&[1; 32]));
    /// let changed = Unsigned { amount: 900_u64.into(), ..transfer };
    /// let forged = changed.signed(*signed.sender(), *signed.signature());
    /// assert_eq!(forged.verify_signature(), Err(SignatureError::Mismatch));
    /// ```
    ///
    /// # Errors
    /// Fails if the sender's address is not a key or the signature does not match.
    pub fn verify_signature(&self) -> Result<(), SignatureError> {
        VerifyingKey::from_bytes(self.sender.as_bytes())?
            .verify(self.body_hash.as_bytes(), &self.signature)
    }

    /// Returns the claim that [`Transaction::verify_signature`] checks, with `key` as the key of
    /// the sender's address.
    pub(super) const fn claim(&self, key: Option<VerifyingKey>) -> Claim<'_> {
        Claim {
            key,
            message: self.body_hash.as_bytes(),
            signature: &self.signature,
        }
    }

    /// Returns the transaction's atoms: body, list, signature, version, type.
    #[must_use]
    pub fn to_atoms(&self) -> RecordAtoms {
        let signed = self.content.atoms(&self.sender, self.signature.as_bytes());
        signed.atoms
    }

    /// Writes the atoms to `sink` and returns the transaction's id.
    ///
    /// # Errors
    /// Fails if the sink fails.
    pub fn write<K: AtomSink + ?Sized>(&self, sink: &mut K) -> Result<AtomId, K::Error> {
        write_atoms(self.to_atoms(), sink)?;
        Ok(self.id)
    }

    /// Reads the transaction with this id. Does not verify the signature.
    ///
    /// # Errors
    /// Fails if an atom is missing or the record is malformed.
    pub fn read<S: AtomSource + ?Sized>(
        source: &S,
        id: AtomId,
    ) -> Result<Self, RecordError<S::Error>> {
        let reader = Reader { source, record: id };
        let head = reader.signed_head(NAME)?;
        let signature = Signature::from_slice(head.signature.data())
            .ok_or_else(|| reader.malformed("signature is not 64 bytes"))?;
        let [chain_id, amount, counter, data, recipient, sender] =
            reader.exactly(head.body_head)?;
        if data.kind() != AtomKind::Bytes {
            return Err(reader.malformed("data is not a bytes atom"));
        }
        if data.data().len() > MAX_TRANSACTION_DATA_BYTES {
            return Err(reader.malformed(LONG_DATA));
        }
        let content = Unsigned {
            chain_id: reader.integer_le(&chain_id, "chain id is not a canonical integer")?,
            amount: reader.integer_le(&amount, "amount is not a canonical integer")?,
            counter: reader.integer_le(&counter, "counter is not a canonical integer")?,
            data: data.shared_data().into(),
            recipient: Address::new(reader.bytes_32(&recipient, "recipient is not 32 bytes")?),
        };
        Ok(Self {
            content,
            sender: Address::new(reader.bytes_32(&sender, "sender is not 32 bytes")?),
            signature,
            body_hash: head.body_head,
            id,
        })
    }
}
