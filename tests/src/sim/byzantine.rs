//! Changes that hostile nodes make to a datagram that they are about to send.

use crate::random::Random;
use astreum_core::crypto::PublicKey;
use astreum_core::wire::message::write_handshake;
use astreum_core::wire::packet::Draft;

/// Maximum number of datagrams that a hostile node remembers.
pub const MAX_SEEN: usize = 64;

/// Datagram with its destination.
pub enum Sent {
    /// To its intended recipient.
    ToRecipient(Vec<u8>),
    /// To another node.
    ToOther(Vec<u8>),
}

/// Returns a handshake of a fresh key.
pub fn handshake(random: &mut Random, port: u16) -> Vec<u8> {
    let mut key = [0; 32];
    for (place, byte) in key.iter_mut().zip(random.bytes(32)) {
        *place = byte;
    }
    let mut packet = Vec::new();
    let mut draft = Draft::new(&mut packet);
    write_handshake(draft.message_mut(), &PublicKey::new(key), port, &[]);
    draft.work(1);
    packet
}

/// Returns the datagrams to send in place of `datagram`. `seen` contains received datagrams, which
/// may be replayed.
pub fn mutate(random: &mut Random, datagram: &[u8], seen: &[Vec<u8>]) -> Vec<Sent> {
    let mut sent = vec![Sent::ToRecipient(datagram.to_vec())];
    match random.below(8) {
        0 => sent.push(Sent::ToOther(datagram.to_vec())),
        1 => {
            let mut flipped = datagram.to_vec();
            let at = random.below(flipped.len());
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
            sent = vec![Sent::ToRecipient(flipped)];
        }
        2 => {
            let cut = random.below(datagram.len());
            sent.push(Sent::ToRecipient(
                datagram.get(..cut).unwrap_or_default().to_vec(),
            ));
        }
        3 => {
            let len = 1 + random.below(1_400);
            sent.push(Sent::ToOther(random.bytes(len)));
        }
        4 | 5 => {
            let at = random.below(seen.len());
            if let Some(again) = seen.get(at) {
                sent.push(Sent::ToOther(again.clone()));
                sent.push(Sent::ToRecipient(again.clone()));
            }
        }
        _ => {}
    }
    sent
}
