//! Account records and addresses.

use super::record::{Reader, RecordAtoms, RecordError, link, write_atoms};
use crate::atom::{AtomId, AtomKind, AtomSink, AtomSource, ParseIdError};
use crate::crypto::VerifyingKey;
use crate::integer::Natural;
use crate::trie;
use alloc::vec;
use core::fmt;
use core::str::FromStr;

/// Address of an account: an Ed25519 public key, or 32 bytes without a known secret key.
///
/// ```
/// use astreum_core::chain::Address;
/// use astreum_core::crypto::SigningKey;
///
/// let address = Address::from(SigningKey::from_seed(&[1; 32]).verifying_key());
/// assert_eq!(address.to_string().len(), 64);
/// assert_eq!(address.to_string().parse(), Ok(address));
/// assert!("7".parse::<Address>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 32]);

impl Address {
    /// Creates an address from its 32 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Creates an address from a slice; `None` unless the slice has exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Returns the 32 bytes.
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

/// Formats the address as lower-case hex without a prefix.
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

/// Error for text that is not an [`Address`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseAddressError;

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid address: expected 64 hex digits, optionally prefixed with 0x")
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

/// Account record. The default value is an unused account.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::chain::Account;
///
/// let account = Account { balance: 5_u64.into(), ..Account::default() };
/// let mut store = MemoryStore::new();
/// let id = account.write(&mut store).unwrap();
/// assert_eq!(Account::read(&store, id).unwrap(), account);
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Amount that the account can spend.
    pub balance: Natural,
    /// Counter that is stored with the account; no rule changes it.
    pub counter: Natural,
    /// Id of the account's code; [`AtomId::ZERO`] if there is none.
    pub code: AtomId,
    /// Root of the data trie: stakes in the treasury, storage contracts in the burn account.
    pub data: AtomId,
    /// Root of the payment channels trie.
    pub channels: AtomId,
}

impl Account {
    /// Returns the record's id and its atoms, last atom of the list first.
    ///
    /// ```
    /// use astreum_core::chain::Account;
    /// let (id, atoms) = Account::default().to_atoms();
    /// assert!(atoms.iter().all(|(id, atom)| atom.id() == *id));
    /// // The last one is the head of the list.
    /// assert_eq!(atoms.last().map(|(id, _)| *id), Some(id));
    /// ```
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

    /// Writes the atoms to `sink` and returns the record's id.
    ///
    /// # Errors
    /// Fails if the sink fails.
    pub fn write<K: AtomSink + ?Sized>(&self, sink: &mut K) -> Result<AtomId, K::Error> {
        let (id, atoms) = self.to_atoms();
        write_atoms(atoms, sink)?;
        Ok(id)
    }

    /// Finds the account at `address` in the accounts trie with the root `accounts`; `None` if the
    /// account is unused.
    ///
    /// ```
    /// use astreum_core::chain::{Account, DEFAULT_BALANCE};
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
    /// let account = Account::find(&store, parent.accounts, &validator)?.ok_or("unused")?;
    /// assert_eq!(account.balance, DEFAULT_BALANCE);
    /// assert_eq!(Account::find(&store, parent.accounts, &Address::new([7; 32]))?, None);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails if an atom is missing, or if the trie or the account record is malformed.
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
            problem: "accounts-trie value is not an account id",
        })?;
        Self::read(source, id).map(Some)
    }

    /// Reads the account with this id.
    ///
    /// # Errors
    /// Fails if an atom is missing or the record is malformed.
    pub fn read<S: AtomSource + ?Sized>(
        source: &S,
        id: AtomId,
    ) -> Result<Self, RecordError<S::Error>> {
        let reader = Reader { source, record: id };
        let [head, balance, channels, code, counter, data] = reader.exactly(id)?;
        reader.name(&head, "account")?;
        Ok(Self {
            balance: reader.integer_le(&balance, "balance is not a canonical integer")?,
            channels: reader.link(&channels, "channels are not a list id")?,
            code: reader.link(&code, "code is not a list id")?,
            counter: reader.integer_le(&counter, "counter is not a canonical integer")?,
            data: reader.link(&data, "data is not a list id")?,
        })
    }
}

/// Type name of the record, as atom data.
const NAME: &[u8; 7] = b"account";
