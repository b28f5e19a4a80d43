//! What hostile nodes make of a datagram that they are about to send.

use crate::random::Random;
use astreum_core::crypto::PublicKey;
use astreum_core::wire::message::write_handshake;
use astreum_core::wire::packet::Draft;

/// Datagrams that a hostile node remembers.
pub const MAX_SEEN: usize = 64;

/// Where a datagram goes instead of, or beside, where it was meant to.
pub enum Sent {
    /// As it was meant.
    Meant(Vec<u8>),
    /// To somebody else.
    Strayed(Vec<u8>),
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

/// What is sent in place of `datagram`. `seen` is what came from others: it may go out again.
pub fn twist(random: &mut Random, datagram: &[u8], seen: &[Vec<u8>]) -> Vec<Sent> {
    let mut sent = vec![Sent::Meant(datagram.to_vec())];
    match random.below(8) {
        0 => sent.push(Sent::Strayed(datagram.to_vec())),
        1 => {
            let mut flipped = datagram.to_vec();
            let at = random.below(flipped.len());
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
            sent = vec![Sent::Meant(flipped)];
        }
        2 => {
            let cut = random.below(datagram.len());
            sent.push(Sent::Meant(
                datagram.get(..cut).unwrap_or_default().to_vec(),
            ));
        }
        3 => {
            let len = 1 + random.below(1_400);
            sent.push(Sent::Strayed(random.bytes(len)));
        }
        4 | 5 => {
            let at = random.below(seen.len());
            if let Some(again) = seen.get(at) {
                sent.push(Sent::Strayed(again.clone()));
                sent.push(Sent::Meant(again.clone()));
            }
        }
        _ => {}
    }
    sent
}
