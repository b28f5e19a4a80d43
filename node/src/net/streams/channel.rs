//! Encrypted messages over a TCP connection.
//!
//! A message is its length in two bytes, big-endian, and at most 65,535 sealed bytes. In front of
//! the messages, the client sends a hello in the clear. A channel holds at most
//! [`RECEIVED_BYTES`] that it has received and not handed out. Of what it has sent it holds less
//! than [`SENT_BYTES`] or a quarter of what waits, whichever is more, however slowly the peer reads.

use super::noise::{Encryption, MAX_MESSAGE_BYTES, MAX_TEXT_BYTES, TAG_BYTES};
use astreum_core::wire::stream::Decoder;
use mio::net::TcpStream;
use snow::{HandshakeState, TransportState};
use std::io::{self, Read, Write};

/// Size of the buffer of received bytes.
const RECEIVED_BYTES: usize = 4 * (MAX_MESSAGE_BYTES + LENGTH_BYTES);
const LENGTH_BYTES: usize = 2;
/// Step in which the buffer of bytes to send grows. It never has more than this beyond what it needs,
/// since its size counts as memory of streams.
const GROWTH_BYTES: usize = 64 << 10;
/// Number of sent bytes from which the rest is moved to their place.
const SENT_BYTES: usize = 64 << 10;
/// Capacity above which the buffer is released once it is empty.
const RETAINED_BYTES: usize = 2 << 20;

/// Result of reading or writing as much as a turn allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moved {
    /// The socket has no more for now.
    Blocked,
    /// The budget or a buffer is used up: the socket may have more.
    More,
    /// The peer has closed the connection.
    Closed,
}

/// A TCP connection with the buffers and the encryption of its messages.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) socket: TcpStream,
    encryption: Option<Encryption>,
    /// Received bytes are those in front of `received_len`, without the first `taken`.
    received: Box<[u8]>,
    received_len: usize,
    taken: usize,
    /// Bytes to send, without the first `sent`.
    sending: Vec<u8>,
    sent: usize,
    text: Box<[u8]>,
}

/// Error of a peer that violates the protocol or is not the one that it claims to be.
pub(super) fn violation(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Channel {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            encryption: None,
            received: vec![0; RECEIVED_BYTES].into(),
            received_len: 0,
            taken: 0,
            sending: Vec::new(),
            sent: 0,
            text: vec![0; MAX_MESSAGE_BYTES].into(),
        }
    }

    /// Sets the handshake, which is then part of the channel.
    pub(super) fn set_handshake(&mut self, handshake: HandshakeState) {
        self.encryption = Some(Encryption::Handshake(Box::new(handshake)));
    }

    /// Returns whether the handshake is complete.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.encryption, Some(Encryption::Transport(_)))
    }

    /// Reads what fits into the buffer, at most `most` bytes. Returns the number of bytes, too.
    pub(super) fn receive(&mut self, most: usize) -> io::Result<(Moved, usize)> {
        if self.taken > 0 {
            self.received.copy_within(self.taken..self.received_len, 0);
            self.received_len -= self.taken;
            self.taken = 0;
        }
        let mut bytes = 0;
        loop {
            let free = self.received.len().saturating_sub(self.received_len);
            let end = self.received_len + free.min(most - bytes);
            let room = self.received.get_mut(self.received_len..end);
            let room = room.unwrap_or_default();
            if room.is_empty() {
                return Ok((Moved::More, bytes));
            }
            match self.socket.read(room) {
                Ok(0) => return Ok((Moved::Closed, bytes)),
                Ok(len) => {
                    self.received_len += len;
                    bytes += len;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok((Moved::Blocked, bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn received(&self) -> &[u8] {
        let received = self.received.get(self.taken..self.received_len);
        received.unwrap_or_default()
    }

    /// Takes the first bytes of the connection, which are in the clear.
    pub(super) fn take_clear<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.received().first_chunk::<N>()?;
        self.taken += N;
        Some(bytes)
    }

    /// Returns the length of the next message, if it has arrived.
    fn next_message(&self) -> Option<usize> {
        let (length, rest) = self.received().split_first_chunk::<LENGTH_BYTES>()?;
        let len = usize::from(u16::from_be_bytes(*length));
        (rest.len() >= len).then_some(len)
    }

    /// Reads the next message of the handshake, if it has arrived. Returns whether it has.
    pub(super) fn read_handshake(&mut self) -> io::Result<bool> {
        let Some(len) = self.next_message() else {
            return Ok(false);
        };
        let start = self.taken + LENGTH_BYTES;
        let message = self.received.get(start..start + len).unwrap_or_default();
        let Some(Encryption::Handshake(handshake)) = &mut self.encryption else {
            return Err(violation("handshake message out of order"));
        };
        let payload = handshake.read_message(message, &mut self.text);
        let payload = payload.map_err(|error| violation(format!("handshake failed: {error}")))?;
        if payload > 0 {
            return Err(violation("handshake message with a payload"));
        }
        self.taken = start + len;
        Ok(true)
    }

    /// Appends the next message of the handshake to what is sent.
    pub(super) fn write_handshake(&mut self) -> io::Result<()> {
        let Some(Encryption::Handshake(handshake)) = &mut self.encryption else {
            return Err(violation("no handshake"));
        };
        let len = handshake.write_message(&[], &mut self.text);
        let len = len.map_err(|error| violation(format!("handshake failed: {error}")))?;
        let message = self.text.get(..len).unwrap_or_default();
        let [.., high, low] = len.to_be_bytes();
        self.sending.extend_from_slice(&[high, low]);
        self.sending.extend_from_slice(message);
        Ok(())
    }

    /// Returns the static key of the peer, once its message has been read.
    pub(super) fn remote_key(&self) -> Option<&[u8]> {
        match &self.encryption {
            Some(Encryption::Handshake(handshake)) => handshake.get_remote_static(),
            Some(Encryption::Transport(transport)) => transport.get_remote_static(),
            None => None,
        }
    }

    /// Completes the handshake.
    pub(super) fn open(&mut self) -> io::Result<()> {
        let Some(Encryption::Handshake(handshake)) = self.encryption.take() else {
            return Err(violation("no handshake"));
        };
        let transport = handshake.into_transport_mode();
        let transport =
            transport.map_err(|error| violation(format!("handshake failed: {error}")))?;
        self.encryption = Some(Encryption::Transport(Box::new(transport)));
        Ok(())
    }

    fn transport(encryption: &mut Option<Encryption>) -> io::Result<&mut TransportState> {
        match encryption {
            Some(Encryption::Transport(transport)) => Ok(transport),
            _ => Err(violation("the handshake is not complete")),
        }
    }

    /// Decrypts the next message into `decoder`, if it has arrived. Returns whether it has.
    pub(super) fn read_text(&mut self, decoder: &mut Decoder) -> io::Result<bool> {
        let Some(len) = self.next_message() else {
            return Ok(false);
        };
        let start = self.taken + LENGTH_BYTES;
        let message = self.received.get(start..start + len).unwrap_or_default();
        let transport = Self::transport(&mut self.encryption)?;
        let text = transport.read_message(message, &mut self.text);
        let text = text.map_err(|_| violation("a message is not authentic"))?;
        decoder.push(self.text.get(..text).unwrap_or_default());
        self.taken = start + len;
        Ok(true)
    }

    /// Encrypts `text` and appends it to what is sent.
    pub(super) fn write_text(&mut self, text: &[u8]) -> io::Result<()> {
        for part in text.chunks(MAX_TEXT_BYTES) {
            let transport = Self::transport(&mut self.encryption)?;
            let start = self.sending.len();
            let len = part.len() + TAG_BYTES;
            let needed = LENGTH_BYTES + len;
            if self.sending.capacity() - start < needed {
                self.sending
                    .reserve_exact(needed.next_multiple_of(GROWTH_BYTES));
            }
            let [.., high, low] = len.to_be_bytes();
            self.sending.extend_from_slice(&[high, low]);
            self.sending.resize(start + LENGTH_BYTES + len, 0);
            let place = self.sending.get_mut(start + LENGTH_BYTES..);
            let sealed = transport.write_message(part, place.unwrap_or_default());
            sealed.map_err(|error| violation(format!("cannot encrypt: {error}")))?;
        }
        Ok(())
    }

    /// Appends bytes in the clear to what is sent.
    pub(super) fn write_clear(&mut self, bytes: &[u8]) {
        self.sending.extend_from_slice(bytes);
    }

    /// Returns the number of bytes that wait for the socket.
    pub(super) const fn unsent_bytes(&self) -> usize {
        self.sending.len() - self.sent
    }

    /// Removes what was sent from the buffer. More is written as often as something is sent, so that
    /// it may never be empty. Moves at most four bytes for each that was sent.
    fn discard_sent(&mut self) {
        if self.sent >= SENT_BYTES.max(self.unsent_bytes() / 4) {
            self.sending.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Writes what the socket takes, at most `most` bytes. Returns the number of bytes, too.
    pub(super) fn send(&mut self, most: usize) -> io::Result<(Moved, usize)> {
        let mut bytes = 0;
        loop {
            let rest = self.sending.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                self.sending.clear();
                self.sent = 0;
                if self.sending.capacity() > RETAINED_BYTES {
                    self.sending = Vec::new();
                }
                return Ok((Moved::More, bytes));
            }
            let part = rest.get(..most - bytes).unwrap_or(rest);
            if part.is_empty() {
                self.discard_sent();
                return Ok((Moved::More, bytes));
            }
            match self.socket.write(part) {
                Ok(0) => return Ok((Moved::Closed, bytes)),
                Ok(len) => {
                    self.sent += len;
                    bytes += len;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.discard_sent();
                    return Ok((Moved::Blocked, bytes));
                }
                // The connection is being established.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    return Ok((Moved::Blocked, bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::noise;
    use super::*;
    use crate::config::stream_memory::CONNECTION_BYTES;
    use astreum_core::crypto::SecretKey;
    use astreum_core::wire::stream::MAX_FRAME_BYTES;
    use socket2::SockRef;
    use std::net::TcpListener;

    /// Returns both ends of an open connection whose sockets buffer little.
    fn pair() -> (Channel, Channel) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // A window is negotiated when the connection is made.
        SockRef::from(&listener)
            .set_recv_buffer_size(16 << 10)
            .unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        SockRef::from(&client)
            .set_send_buffer_size(16 << 10)
            .unwrap();
        let [mut client, mut server] = [client, server].map(|socket| {
            socket.set_nonblocking(true).unwrap();
            Channel::new(TcpStream::from_std(socket))
        });
        let [ours, theirs] = [1, 2].map(|n| SecretKey::from_bytes([n; 32]));
        client.set_handshake(noise::initiate(&ours, &theirs.public_key(), &[]).unwrap());
        server.set_handshake(noise::respond(&theirs, &[]).unwrap());
        client.write_handshake().unwrap();
        pass_handshake(&mut client, &mut server);
        server.write_handshake().unwrap();
        pass_handshake(&mut server, &mut client);
        client.open().unwrap();
        server.open().unwrap();
        (client, server)
    }

    fn pass_handshake(from: &mut Channel, to: &mut Channel) {
        loop {
            from.send(usize::MAX).unwrap();
            to.receive(usize::MAX).unwrap();
            if to.read_handshake().unwrap() {
                return;
            }
        }
    }

    /// Returns the capacity of all buffers of a channel and a decoder.
    fn capacity(channel: &Channel, decoder_bytes: usize) -> usize {
        channel.received.len() + channel.text.len() + channel.sending.capacity() + decoder_bytes
    }

    #[test]
    fn buffers_of_a_connection_take_less_than_counts_for_it() {
        // What the service lets wait: frames up to this number, and one more.
        let (unsent, frame) = (512 << 10, vec![7; MAX_FRAME_BYTES + 100]);
        // A partial frame and one message more, in a vector that has doubled.
        let decoder = 2 * (MAX_FRAME_BYTES + MAX_TEXT_BYTES);
        let (mut client, _server) = pair();
        let mut most = 0;
        for round in 0..400 {
            while client.unsent_bytes() < unsent {
                client.write_text(&frame).unwrap();
            }
            most = most.max(capacity(&client, decoder));
            client.send(1 + 997 * (round % 70)).unwrap();
            // As if the socket had taken them.
            let taken = (997 * (round % 70)).min(client.unsent_bytes());
            client.sent += taken;
            client.discard_sent();
        }
        let limit = usize::try_from(CONNECTION_BYTES).unwrap();
        assert!((limit / 2..limit).contains(&most), "{most} of {limit}");
    }

    #[test]
    fn sent_bytes_are_released_though_the_peer_is_never_up_to_date() {
        let (mut client, mut server) = pair();
        let text = vec![7; 64 << 10];
        let (mut written, mut most) = (0, 0);
        let mut decoder = Decoder::new();
        for _ in 0..500 {
            while client.unsent_bytes() < 512 << 10 {
                client.write_text(&text).unwrap();
                written += text.len();
            }
            client.send(usize::MAX).unwrap();
            most = most.max(client.sending.len());
            // One message in each round.
            server.receive(usize::MAX).unwrap();
            server.read_text(&mut decoder).unwrap();
        }
        assert!(written > 4 << 20, "{written} bytes written");
        assert!(most < 1 << 20, "{most} bytes of {written} are held");
        let mut received = decoder.buffered_bytes();
        while received < written {
            client.send(usize::MAX).unwrap();
            server.receive(usize::MAX).unwrap();
            while server.read_text(&mut decoder).unwrap() {}
            received = decoder.buffered_bytes();
        }
        assert!(client.sending.is_empty());
        assert!(client.sending.capacity() <= RETAINED_BYTES);
    }
}
