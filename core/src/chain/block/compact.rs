//! Compact form of a block: its fields in order, for stores that keep many headers.
//!
//! A header takes 19 atoms with an id each; this form takes about 190 bytes, and gives the same atoms
//! again, byte for byte. It is not part of the protocol.
//!
//! | bytes | field |
//! | ---: | --- |
//! | 1 | flags: 1 minted total, 2 signature, 4 transactions, 8 receipts |
//! | 1 or 2, then its bytes | each integer, with its length: below 255, or 255 and the rest |
//! | 32 | each id and the validator; an id of zeros without its flag is left out |
//! | 64 | signature, last, if there is one |

use super::{Block, Header};
use crate::atom::{AtomId, ID_BYTES};
use crate::chain::{Address, MAX_INTEGER_BYTES};
use crate::crypto::Signature;
use crate::integer::Natural;
use alloc::vec::Vec;

const HAS_MINT: u8 = 1;
const HAS_SIGNATURE: u8 = 2;
const HAS_TRANSACTIONS: u8 = 4;
const HAS_RECEIPTS: u8 = 8;
const FLAGS: u8 = HAS_MINT | HAS_SIGNATURE | HAS_TRANSACTIONS | HAS_RECEIPTS;

/// Length from which on a length takes two bytes.
const LONG: u8 = u8::MAX;

impl Block {
    /// Returns the compact form of the block.
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
    /// let compact = parent.to_compact();
    /// assert_eq!(Block::from_compact(&compact).as_ref(), Some(&parent));
    /// assert_eq!(Block::from_compact(&compact[1..]), None);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_compact(&self) -> Vec<u8> {
        let header = &self.header;
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(self.has_mint, HAS_MINT)
            | flag(self.signature.is_some(), HAS_SIGNATURE)
            | flag(!header.transactions.is_zero(), HAS_TRANSACTIONS)
            | flag(!header.receipts.is_zero(), HAS_RECEIPTS);
        let mut bytes = Vec::with_capacity(256);
        bytes.push(flags);
        for integer in integers(header) {
            push_integer(integer, &mut bytes);
        }
        for id in [header.previous, header.accounts] {
            bytes.extend_from_slice(id.as_bytes());
        }
        for id in [header.transactions, header.receipts] {
            if !id.is_zero() {
                bytes.extend_from_slice(id.as_bytes());
            }
        }
        bytes.extend_from_slice(header.validator.as_bytes());
        if let Some(signature) = &self.signature {
            bytes.extend_from_slice(signature.as_bytes());
        }
        bytes
    }

    /// Reads a block from its compact form; `None` if the bytes are not one. The block's id is
    /// computed, so that a caller that knows the id detects damage.
    #[must_use]
    pub fn from_compact(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let [flags] = input.take()?;
        if flags & !FLAGS != 0 {
            return None;
        }
        let has = |flag: u8| flags & flag != 0;
        let chain_id = input.integer()?;
        let height = input.integer()?;
        let timestamp = input.integer()?;
        let difficulty = input.integer()?;
        let cumulative_stake = input.integer()?;
        let cumulative_burn = input.integer()?;
        let cumulative_mint = input.integer()?;
        let cumulative_total_fees = input.integer()?;
        let total_fees = input.integer()?;
        let nonce = input.integer()?;
        let previous = input.id(true)?;
        let accounts = input.id(true)?;
        let transactions = input.id(has(HAS_TRANSACTIONS))?;
        let receipts = input.id(has(HAS_RECEIPTS))?;
        let validator = Address::new(input.take()?);
        let signature = match has(HAS_SIGNATURE) {
            true => Some(Signature::from_slice(&input.take::<64>()?)?),
            false => None,
        };
        let header = Header {
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
        };
        let has_mint = has(HAS_MINT);
        let atoms = header.atoms(has_mint, super::signature_bytes(signature.as_ref()));
        input.0.is_empty().then_some(Self {
            header,
            has_mint,
            signature,
            body_hash: atoms.body_list,
            id: atoms.id,
        })
    }
}

/// Returns the integers of a header, in the order of the compact form.
const fn integers(header: &Header) -> [&Natural; 10] {
    [
        &header.chain_id,
        &header.height,
        &header.timestamp,
        &header.difficulty,
        &header.cumulative_stake,
        &header.cumulative_burn,
        &header.cumulative_mint,
        &header.cumulative_total_fees,
        &header.total_fees,
        &header.nonce,
    ]
}

fn push_integer(integer: &Natural, bytes: &mut Vec<u8>) {
    let digits = integer.to_bytes_be();
    match u8::try_from(digits.len()) {
        Ok(len) if len < LONG => bytes.push(len),
        _ => {
            // An integer of a record has at most 256 bytes.
            let rest = digits.len().saturating_sub(usize::from(LONG));
            bytes.extend([LONG, u8::try_from(rest).unwrap_or(u8::MAX)]);
        }
    }
    bytes.extend_from_slice(&digits);
}

/// Rest of a compact form.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Takes an id, or the one of zeros if it was left out.
    fn id(&mut self, is_there: bool) -> Option<AtomId> {
        match is_there {
            true => self.take::<ID_BYTES>().map(AtomId::new),
            false => Some(AtomId::ZERO),
        }
    }

    fn integer(&mut self) -> Option<Natural> {
        let [len] = self.take()?;
        let mut len = usize::from(len);
        if len == usize::from(LONG) {
            let [rest] = self.take()?;
            len += usize::from(rest);
        }
        if len > MAX_INTEGER_BYTES {
            return None;
        }
        let (digits, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Natural::from_bytes_be(digits).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SigningKey;
    use alloc::vec;
    use proptest::prelude::*;

    fn header(height: u64, previous: AtomId, timestamp: u64) -> Header {
        Header {
            chain_id: Natural::ZERO,
            height: height.into(),
            previous,
            timestamp: timestamp.into(),
            difficulty: Natural::ONE,
            cumulative_stake: Natural::ZERO,
            cumulative_burn: Natural::ZERO,
            cumulative_mint: Natural::ZERO,
            cumulative_total_fees: Natural::ONE,
            total_fees: Natural::ZERO,
            accounts: AtomId::ZERO,
            transactions: AtomId::ZERO,
            receipts: AtomId::ZERO,
            validator: Address::new([0; 32]),
            nonce: Natural::ZERO,
        }
    }

    proptest! {
        #[test]
        fn compact_form_gives_the_same_atoms_again(
            height: u64, long in proptest::collection::vec(1..=255_u8, 0..=256),
            ids in proptest::array::uniform4(0..2_u8), has_mint: bool, is_signed: bool,
        ) {
            let [previous, accounts, transactions, receipts] = ids.map(|byte| AtomId::new([byte; 32]));
            let long = Natural::from_bytes_be(&long).unwrap_or(Natural::ZERO);
            let mint = if has_mint { long.clone() } else { Natural::ZERO };
            let header = Header {
                cumulative_total_fees: long,
                cumulative_mint: mint,
                accounts,
                transactions,
                receipts,
                ..header(height, previous, 7)
            };
            let block = match is_signed {
                true => header.sign(&SigningKey::from_seed(&[1; 32])),
                false => header.signed(None),
            };
            let atoms = block.header.atoms(has_mint, super::super::signature_bytes(block.signature()));
            let block = Block { has_mint, body_hash: atoms.body_list, id: atoms.id, ..block };
            let compact = block.to_compact();
            let read = Block::from_compact(&compact);
            prop_assert_eq!(read.as_ref(), Some(&block));
            prop_assert_eq!(read.map(|block| block.to_atoms()), Some(block.to_atoms()));
            prop_assert_eq!(Block::from_compact(&compact[..compact.len() - 1]), None);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes: Vec<u8>) {
            if let Some(block) = Block::from_compact(&bytes) {
                prop_assert!(!block.id().is_zero());
            }
        }
    }

    #[test]
    fn unknown_flags_and_further_bytes_are_refused() {
        let block = header(1, AtomId::ZERO, 7).signed(None);
        let compact = block.to_compact();
        let further = [compact.clone(), vec![0]].concat();
        let mut unknown = compact;
        unknown[0] |= 16;
        assert_eq!(Block::from_compact(&unknown), None);
        assert_eq!(Block::from_compact(&further), None);
    }
}
