//! Pings: role, required work and newest block of a peer.

use super::read::{take, take_byte};
use crate::atom::AtomId;
use core::fmt;
use core::num::NonZeroU8;

/// Size of a ping, in bytes.
pub const PING_BYTES: usize = 34;

/// Fields of a ping.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::wire::ping::Ping;
/// use core::num::NonZeroU8;
///
/// let ping = Ping {
///     is_validator: true,
///     difficulty: NonZeroU8::new(5).unwrap(),
///     latest_block: Some(AtomId::new([7; 32])),
/// };
/// assert_eq!(Ping::decode(&ping.encode()), Ok(ping));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ping {
    /// Flag: the sender is a validator.
    pub is_validator: bool,
    /// Work that the sender requires of packets to it, in leading zero bits.
    pub difficulty: NonZeroU8,
    /// Newest block of the sender.
    pub latest_block: Option<AtomId>,
}

/// Reason why bytes are not a ping.
///
/// ```
/// use astreum_core::wire::ping::{PING_BYTES, Ping, PingError};
/// assert_eq!(Ping::decode(&[]), Err(PingError::Length { len: 0 }));
/// assert_eq!(Ping::decode(&[2; PING_BYTES]), Err(PingError::Flag { flag: 2 }));
/// assert_eq!(Ping::decode(&[0; PING_BYTES]), Err(PingError::NoDifficulty));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PingError {
    /// Not exactly 34 bytes.
    Length {
        /// Length of the input, in bytes.
        len: usize,
    },
    /// The validator flag is neither 0 nor 1.
    Flag {
        /// Value of the flag.
        flag: u8,
    },
    /// The difficulty is 0.
    NoDifficulty,
}

impl fmt::Display for PingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { len } => {
                write!(f, "ping of {len} bytes, expected {PING_BYTES}")
            }
            Self::Flag { flag } => write!(
                f,
                "invalid validator flag {flag} in a ping: expected 0 or 1"
            ),
            Self::NoDifficulty => {
                f.write_str("invalid difficulty 0 in a ping: expected at least 1")
            }
        }
    }
}

impl core::error::Error for PingError {}

impl Ping {
    /// Encodes the ping. A `latest_block` of [`AtomId::ZERO`] reads back as `None`.
    #[must_use]
    pub fn encode(&self) -> [u8; PING_BYTES] {
        let mut bytes = [0; PING_BYTES];
        let (head, block) = bytes.split_at_mut(2);
        head.copy_from_slice(&[u8::from(self.is_validator), self.difficulty.get()]);
        block.copy_from_slice(self.latest_block.unwrap_or_default().as_bytes());
        bytes
    }

    /// Reads a ping.
    ///
    /// # Errors
    /// Fails if the length is not 34 bytes, the flag is unknown, or the difficulty is 0.
    pub fn decode(bytes: &[u8]) -> Result<Self, PingError> {
        let length = PingError::Length { len: bytes.len() };
        if bytes.len() != PING_BYTES {
            return Err(length);
        }
        let mut rest = bytes;
        let flag = take_byte(&mut rest).ok_or(length)?;
        let difficulty = take_byte(&mut rest).ok_or(length)?;
        let block = AtomId::new(*take(&mut rest).ok_or(length)?);
        Ok(Self {
            is_validator: match flag {
                0 => false,
                1 => true,
                flag => return Err(PingError::Flag { flag }),
            },
            difficulty: NonZeroU8::new(difficulty).ok_or(PingError::NoDifficulty)?,
            latest_block: (!block.is_zero()).then_some(block),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_bytes() {
        let ping = Ping {
            is_validator: true,
            difficulty: NonZeroU8::MIN,
            latest_block: None,
        };
        let mut bytes = [0; 34];
        bytes[0] = 1;
        bytes[1] = 1;
        assert_eq!(ping.encode(), bytes);
        let ping = Ping {
            is_validator: false,
            difficulty: NonZeroU8::MAX,
            latest_block: Some(AtomId::new([0xab; 32])),
        };
        let mut bytes = [0xab; 34];
        bytes[0] = 0;
        bytes[1] = 255;
        assert_eq!(ping.encode(), bytes);
        assert_eq!(Ping::decode(&bytes), Ok(ping));
    }

    #[test]
    fn each_fault_has_its_error() {
        let mut bytes = [1; 34];
        assert_eq!(
            Ping::decode(&bytes[1..]),
            Err(PingError::Length { len: 33 })
        );
        assert_eq!(Ping::decode(&[1; 35]), Err(PingError::Length { len: 35 }));
        bytes[1] = 0;
        assert_eq!(Ping::decode(&bytes), Err(PingError::NoDifficulty));
        bytes[0] = 2;
        assert_eq!(Ping::decode(&bytes), Err(PingError::Flag { flag: 2 }));
    }

    proptest! {
        #[test]
        fn decoded_pings_encode_back(
            flag in 0..4u8, rest in any::<[u8; 33]>(), len in 32..36usize, zero_block: bool,
        ) {
            let mut bytes = alloc::vec![flag];
            bytes.extend_from_slice(&rest);
            if zero_block {
                bytes[2..].fill(0);
            }
            bytes.resize(len, 0);
            match Ping::decode(&bytes) {
                Ok(ping) => {
                    prop_assert_eq!(ping.encode().to_vec(), bytes);
                    prop_assert_eq!(ping.latest_block.is_none(), zero_block || rest[1..] == [0; 32]);
                }
                Err(_) => prop_assert!(len != 34 || flag > 1 || rest[0] == 0),
            }
        }
    }
}
