//! Inbound datagrams, which are parsed once: the parsed form is checked, queued and handled.

use super::address::canonical;
use super::stats::DropReason;
use crate::wire::message::{Header, Message};
use crate::wire::packet::{NONCE_BYTES, Packet};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Datagram whose packet and message have been parsed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram<'b> {
    from: SocketAddr,
    packet: Packet<'b>,
    /// `None` if the message is malformed.
    message: Option<Message<'b>>,
}

impl<'b> Datagram<'b> {
    /// Parses a datagram that came from `from`.
    ///
    /// # Errors
    /// Returns [`DropReason::TooShort`] if it has no message. A malformed message is not an error
    /// yet: the proof of work is checked first.
    pub(super) fn parse(from: SocketAddr, bytes: &'b [u8]) -> Result<Self, DropReason> {
        let packet = Packet::decode(bytes).map_err(|_| DropReason::TooShort)?;
        let message = Message::decode(packet.message()).ok();
        Ok(Self {
            from,
            packet,
            message,
        })
    }

    /// Returns the length in bytes.
    pub(super) const fn len(&self) -> usize {
        NONCE_BYTES + self.packet.message().len()
    }

    /// Returns the bytes of the message.
    pub(super) const fn bytes(&self) -> &'b [u8] {
        self.packet.message()
    }

    /// Returns the message, or `None` if it is malformed.
    pub(super) const fn message(&self) -> Option<&Message<'b>> {
        self.message.as_ref()
    }

    /// Returns the address that answers go to, or `None` if the header names no port. The port is
    /// that of the header, as in the reference.
    pub(super) fn answer_address(&self) -> Option<SocketAddr> {
        let port = self.message.as_ref()?.port?;
        let mut address = self.from;
        address.set_port(port.get());
        Some(canonical(address))
    }

    /// Checks the proof of work.
    ///
    /// # Errors
    /// Returns [`DropReason::TooLittleWork`] if there are fewer leading zero bits than required.
    pub(super) fn check_work(&self, required: u8) -> Result<(), DropReason> {
        let checked = self.packet.check_work(required.into());
        checked.map_err(|_| DropReason::TooLittleWork)
    }

    /// Copies the datagram for a queue.
    pub(super) fn to_queued(self) -> QueuedDatagram {
        QueuedDatagram {
            from: self.from,
            nonce: self.packet.nonce(),
            bytes: Vec::from(self.packet.message()),
            header: self.message.map(|message| message.header()),
        }
    }
}

/// Datagram that waits in a queue, with the header of its message.
#[derive(Debug)]
pub(super) struct QueuedDatagram {
    from: SocketAddr,
    nonce: u64,
    bytes: Vec<u8>,
    header: Option<Header>,
}

impl QueuedDatagram {
    /// Returns the datagram as it was parsed.
    pub(super) fn as_datagram(&self) -> Datagram<'_> {
        let message = self
            .header
            .and_then(|header| Message::with_header(header, &self.bytes).ok());
        Datagram {
            from: self.from,
            packet: Packet::from_parts(self.nonce, &self.bytes),
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A queued datagram is the one that was parsed, whatever its bytes.
        #[test]
        fn queue_keeps_the_parsed_form(
            bytes in proptest::collection::vec(any::<u8>(), 0..80), flag in 0..3u8, port: u16,
        ) {
            let mut bytes = bytes;
            if let Some(first) = bytes.get_mut(NONCE_BYTES) {
                *first = flag;
            }
            let from = SocketAddr::from(([1, 2, 3, 4], port));
            let Ok(datagram) = Datagram::parse(from, &bytes) else {
                prop_assert!(bytes.len() <= NONCE_BYTES);
                return Ok(());
            };
            let queued = datagram.to_queued();
            let again = queued.as_datagram();
            prop_assert_eq!(again.len(), bytes.len());
            prop_assert_eq!(again.message(), datagram.message());
            prop_assert_eq!(again.packet, datagram.packet);
            prop_assert_eq!(again.answer_address(), datagram.answer_address());
            let is_message = Message::decode(&bytes[NONCE_BYTES..]).is_ok();
            prop_assert_eq!(again.message().is_some(), is_message);
        }
    }
}
