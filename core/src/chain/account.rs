//! What an address owns.

use super::record::{Reader, RecordAtoms, RecordError, link, write_atoms};
use crate::atom::{AtomId, AtomKind, AtomSink, AtomSource, ParseIdError};
use crate::crypto::VerifyingKey;
use crate::integer::Natural;
use crate::trie;
use alloc::vec;
use core::fmt;
use core::str::FromStr;

/// Names an account: an Ed25519 public key, or 32 bytes that nobody has the secret of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 32]);

impl Address {
    /// An address from its 32 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// An address from a slice, `None` unless it holds exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Address {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<VerifyingKey> for Address {
    fn from(key: VerifyingKey) -> Self {
        Self(*key.as_bytes())
    }
}

impl AsRef<[u8]> for Address {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Lower-case hex without a prefix.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        AtomId::new(self.0).fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Why a text is not an [`Address`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseAddressError;

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address is 64 hexadecimal digits, with or without 0x in front")
    }
}

impl core::error::Error for ParseAddressError {}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let id: Result<AtomId, ParseIdError> = text.parse();
        id.map(|id| Self(*id.as_bytes()))
            .map_err(|_| ParseAddressError)
    }
}

/// An account's record. The default is the account that nobody has used yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// What it can spend.
    pub balance: Natural,
    /// Carried along; no rule moves it.
    pub counter: Natural,
    /// The id of its code; [`AtomId::ZERO`] for none.
    pub code: AtomId,
    /// The root of its data trie: the treasury's stakes, the burn account's storage contracts.
    pub data: AtomId,
    /// The root of its payment channels' trie.
    pub channels: AtomId,
}

impl Account {
    /// Its atoms, the tail first, and its id.
    #[must_use]
    pub fn to_atoms(&self) -> (AtomId, RecordAtoms) {
        let list = |id: &AtomId| (AtomKind::List, (*id.as_bytes()).into());
        let integer = |value: &Natural| (AtomKind::Bytes, value.to_bytes_le().into());
        let (id, mut atoms) = link(vec![
            (AtomKind::Symbol, (*NAME).into()),
            integer(&self.balance),
            list(&self.channels),
            list(&self.code),
            integer(&self.counter),
            list(&self.data),
        ]);
        atoms.reverse();
        (id, atoms)
    }

    /// Puts its atoms and returns its id.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn write<K: AtomSink + ?Sized>(&self, sink: &mut K) -> Result<AtomId, K::Error> {
        let (id, atoms) = self.to_atoms();
        write_atoms(atoms, sink)?;
        Ok(id)
    }

    /// The account of this address among the accounts with this root, `None` if nobody used it yet.
    ///
    /// # Errors
    /// When an atom is missing, or what is found is no account.
    pub fn find<S: AtomSource + ?Sized>(
        source: &S,
        accounts: AtomId,
        address: &Address,
    ) -> Result<Option<Self>, RecordError<S::Error>> {
        let Some(id) = trie::get(source, accounts, address.as_bytes())? else {
            return Ok(None);
        };
        let id = AtomId::from_slice(&id).ok_or(RecordError::Malformed {
            record: accounts,
            problem: "the accounts' trie holds a value that is not the id of an account",
        })?;
        Self::read(source, id).map(Some)
    }

    /// Reads the account with this id.
    ///
    /// # Errors
    /// When an atom is missing, or they are no account.
    pub fn read<S: AtomSource + ?Sized>(
        source: &S,
        id: AtomId,
    ) -> Result<Self, RecordError<S::Error>> {
        let reader = Reader { source, record: id };
        let [head, balance, channels, code, counter, data] = reader.exactly(id)?;
        reader.name(&head, "account")?;
        Ok(Self {
            balance: reader
                .integer_le(&balance, "its balance is not an integer in shortest form")?,
            channels: reader.link(&channels, "its channels are not the id of a list")?,
            code: reader.link(&code, "its code is not the id of a list")?,
            counter: reader
                .integer_le(&counter, "its counter is not an integer in shortest form")?,
            data: reader.link(&data, "its data is not the id of a list")?,
        })
    }
}

/// The type's name as atom data.
const NAME: &[u8; 7] = b"account";
