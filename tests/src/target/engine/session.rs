//! Generated inputs of the engine target.

use super::PEERS;
use crate::random::Random;
use astreum_core::atom::Atom;

/// Maximum number of steps of a session; more than an input runs, whose tail then has no effect.
const MAX_SESSION_STEPS: usize = 200;

/// Returns the session with this number: steps with meaningful operands, where a fuzzer without a
/// corpus would take long to reach a peer.
#[must_use]
pub fn session(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::new();
    let steps = random.below(MAX_SESSION_STEPS);
    let peers = 1 + random.below(PEERS.into());
    for _ in 0..steps {
        let op = random.one_of(&[
            2, 2, 3, 3, 4, 5, 6, 7, 8, 8, 8, 9, 9, 10, 11, 12, 13, 14, 15,
        ]);
        let [.., peer] = random.below(peers).to_be_bytes();
        bytes.push(op | peer << 4);
        match op {
            3 | 4 => {
                let content = content(&mut random);
                let [.., len] = content.len().to_be_bytes();
                bytes.extend_from_slice(&[random.one_of(&[0, 0, 1, 1, 2, 3, 4, 5]), len]);
                bytes.extend_from_slice(&content);
            }
            5 => bytes.push(random.one_of(&[0, 1, 1, 2, 4, 5, 40, 41, 255])),
            8 | 9 | 11 => bytes.extend(random.bytes(2)),
            _ => bytes.extend(random.bytes(usize::from(op != 2))),
        }
    }
    let odd = random.below(8);
    bytes.extend(vec![2; odd]);
    bytes
}

fn content(random: &mut Random) -> Vec<u8> {
    let id = Atom::bytes(*b"small").id();
    let mut get = vec![0];
    get.extend_from_slice(id.as_bytes());
    get.push(1);
    match random.below(6) {
        0 => [&[1, 1][..], &random.bytes(32)].concat(),
        1 => get,
        2 => {
            // A provider record, at an address of a peer or at another one.
            let place = random.one_of(&[[8, 8, 8, 8], [127, 0, 0, 2], [6, 6, 6, 6]]);
            let mut put = vec![1];
            put.extend(random.bytes(32));
            put.push(1);
            put.extend(random.bytes(32));
            put.extend_from_slice(&place);
            put.extend_from_slice(&4_000_u16.to_be_bytes());
            put
        }
        3 => vec![0],
        4 => [[8, 8, 8, 8, 15, 160], [6, 6, 6, 6, 0, 9]].concat(),
        _ => random.bytes(32),
    }
}
