//! Payment channels: money set aside for one peer, which withdraws it with the payer's signature.
//!
//! A channel is a record in the payer's channels trie under the peer's address: balance, counter
//! and withdrawal window, the time in seconds since the Unix epoch at which withdrawals end. All
//! three operations are transactions that an account sends to itself; the first byte of the data
//! selects the operation (source: the reference's `consensus/transaction/channel/`).

use super::Address;
use super::fields::{Fields, number};
use super::journal::{Journal, Map, StateError};
use crate::atom::AtomSource;
use crate::crypto::{Signature, VerifyingKey};
use crate::integer::Natural;
use alloc::vec::Vec;

/// First byte of the data of an update: adds money to a channel, or lengthens its window.
pub const UPDATE: u8 = 1;
/// First byte of the data of a withdrawal from a channel that another account has opened for the
/// sender.
pub const WITHDRAW: u8 = 2;
/// First byte of the data of a closing: takes back the rest after the window has passed.
pub const CLOSE: u8 = 3;

const ADDRESS_BYTES: usize = 32;
const WINDOW_BYTES: usize = 8;
/// Number of fields of a channel record.
const FIELDS: usize = 3;

/// Content of a channel record.
struct Channel {
    balance: Natural,
    counter: Natural,
    window: Natural,
}

/// Whether an operation succeeded; if not, it has changed nothing.
type Outcome<E> = Result<bool, StateError<E>>;

/// Adds `amount` to the channel with the peer in `data`. The amount leaves the sender's balance
/// together with the fee.
pub(super) fn update<S: AtomSource>(
    journal: &mut Journal<S>,
    sender: &Address,
    data: &[u8],
    amount: &Natural,
) -> Outcome<S::Error> {
    let full = ADDRESS_BYTES + WINDOW_BYTES;
    // The operation byte may be omitted; the address then begins at the first byte.
    let payload = match data.len() {
        len if len == 1 + ADDRESS_BYTES || len == 1 + full => data.get(1..).unwrap_or_default(),
        len if len == ADDRESS_BYTES || len == full => data,
        _ => return Ok(false),
    };
    let Some((peer, window)) = payload.split_first_chunk() else {
        return Ok(false);
    };
    let Some(channel) = read(journal, sender, peer)? else {
        return Ok(false);
    };
    let requested = (!window.is_empty()).then(|| number(window));
    let window = requested.unwrap_or_else(|| channel.window.clone());
    if window < channel.window {
        return Ok(false);
    }
    let Some(window) = window.to_u64() else {
        return Ok(false);
    };
    let record = record(
        &(&channel.balance + amount).to_bytes_le(),
        &(channel.counter + Natural::ONE).to_bytes_le(),
        window,
    );
    journal.put_record(sender, Map::Channels, peer, record)?;
    Ok(true)
}

/// Pays the sender the amount that the payer has signed for, while the window is open.
pub(super) fn withdraw<S: AtomSource>(
    journal: &mut Journal<S>,
    chain_id: &Natural,
    now: &Natural,
    sender: &Address,
    data: &[u8],
) -> Outcome<S::Error> {
    let Some(claim) = Claim::parse(data) else {
        return Ok(false);
    };
    let payer = claim.payer;
    if !claim.is_signed(chain_id, sender) || journal.account(&payer)?.is_none() {
        return Ok(false);
    }
    let Some(channel) = read(journal, &payer, sender.as_bytes())? else {
        return Ok(false);
    };
    let (amount, counter) = (Natural::from(claim.amount), Natural::from(claim.counter));
    let (Some(left), Some(window)) = (
        channel.balance.checked_sub(&amount),
        channel.window.to_u64(),
    ) else {
        return Ok(false);
    };
    if *now >= channel.window || counter <= channel.counter {
        return Ok(false);
    }
    let record = record(&left.to_bytes_le(), &claim.counter.to_le_bytes(), window);
    journal.put_record(&payer, Map::Channels, sender.as_bytes(), record)?;
    journal.change(sender, |account| account.balance += &amount)?;
    Ok(true)
}

/// Returns to the sender the rest of one of its own channels, once the window has passed.
pub(super) fn close<S: AtomSource>(
    journal: &mut Journal<S>,
    now: &Natural,
    sender: &Address,
    data: &[u8],
) -> Outcome<S::Error> {
    let peer = match data.len() {
        len if len == 1 + ADDRESS_BYTES => data.get(1..).unwrap_or_default(),
        _ => data,
    };
    let Ok(peer) = peer.try_into() else {
        return Ok(false);
    };
    let Some(channel) = read(journal, sender, peer)? else {
        return Ok(false);
    };
    let Some(window) = channel.window.to_u64().filter(|_| channel.window < *now) else {
        return Ok(false);
    };
    // The record stays, with a balance of 0, so that its counter is not used again.
    let record = record(
        &Natural::ZERO.to_bytes_le(),
        &(channel.counter + Natural::ONE).to_bytes_le(),
        window,
    );
    journal.put_record(sender, Map::Channels, peer, record)?;
    journal.change(sender, |account| account.balance += &channel.balance)?;
    Ok(true)
}

/// Reads the channel from `payer` to `peer`. All fields are 0 if there is no channel; `None` if the
/// stored value is not a channel record.
fn read<S: AtomSource>(
    journal: &mut Journal<S>,
    payer: &Address,
    peer: &[u8; ADDRESS_BYTES],
) -> Result<Option<Channel>, StateError<S::Error>> {
    let none = Channel {
        balance: Natural::ZERO,
        counter: Natural::ZERO,
        window: Natural::ZERO,
    };
    let Some(value) = journal.entry(payer, Map::Channels, peer)? else {
        return Ok(Some(none));
    };
    Ok(match journal.record(&value)? {
        Some((_, 0)) => Some(none),
        Some((fields, FIELDS)) => Some(Channel {
            balance: fields.number(0),
            counter: fields.number(1),
            window: fields.number(2),
        }),
        _ => None,
    })
}

fn record(balance: &[u8], counter: &[u8], window: u64) -> Fields {
    Fields::new([balance, counter, &window.to_le_bytes()])
}

/// Data of a withdrawal.
struct Claim<'d> {
    payer: Address,
    counter: u64,
    amount: u64,
    signature: &'d [u8],
}

impl<'d> Claim<'d> {
    /// Parses data that starts with [`WITHDRAW`].
    fn parse(data: &'d [u8]) -> Option<Self> {
        let (payer, rest) = data.get(1..)?.split_first_chunk()?;
        let (counter, rest) = rest.split_first_chunk()?;
        let (amount, signature) = rest.split_first_chunk()?;
        Some(Self {
            payer: Address::new(*payer),
            counter: u64::from_le_bytes(*counter),
            amount: u64::from_le_bytes(*amount),
            signature,
        })
    }

    /// Returns whether the payer has signed this claim for this taker on this chain.
    fn is_signed(&self, chain_id: &Natural, taker: &Address) -> bool {
        let Some(message) = self.message(chain_id, taker) else {
            return false;
        };
        Signature::from_slice(self.signature).is_some_and(|signature| {
            VerifyingKey::from_bytes(self.payer.as_bytes())
                .and_then(|key| key.verify(&message, &signature))
                .is_ok()
        })
    }

    fn message(&self, chain_id: &Natural, taker: &Address) -> Option<Vec<u8>> {
        withdrawal_message(chain_id, &self.payer, taker, self.counter, self.amount)
    }
}

/// Returns the message that a payer signs to let `taker` withdraw `amount`; `None` if the chain id
/// has more than 64 bits: such a chain has no withdrawals.
///
/// ```
/// use astreum_core::chain::{Address, channel::{WITHDRAW, withdrawal_message}};
/// use astreum_core::crypto::SigningKey;
///
/// let payer = SigningKey::from_seed(&[1; 32]);
/// let (from, to) = (Address::from(payer.verifying_key()), Address::new([2; 32]));
/// let message = withdrawal_message(&7_u64.into(), &from, &to, 1, 500).unwrap();
/// assert_eq!((message[0], message.len()), (WITHDRAW, 89));
/// let signature = payer.sign(&message);
/// assert!(payer.verifying_key().verify(&message, &signature).is_ok());
/// ```
#[must_use]
pub fn withdrawal_message(
    chain_id: &Natural,
    payer: &Address,
    taker: &Address,
    counter: u64,
    amount: u64,
) -> Option<Vec<u8>> {
    let chain_id = chain_id.to_u64()?.to_le_bytes();
    let (counter, amount) = (counter.to_le_bytes(), amount.to_le_bytes());
    let parts: [&[u8]; 6] = [
        &[WITHDRAW],
        &chain_id,
        payer.as_ref(),
        taker.as_ref(),
        &counter,
        &amount,
    ];
    Some(parts.concat())
}
