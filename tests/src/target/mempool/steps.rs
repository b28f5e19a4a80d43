//! Operations that the bytes of an input encode.

use super::PEERS;
use super::node::Node;
use crate::target::input::array;
use crate::target::scene::{peer, pick};
use arbitrary::{Arbitrary, Unstructured};
use astreum_core::atom::AtomId;
use astreum_core::consensus::Input;
use astreum_core::consensus::mempool::Refusal;
use astreum_core::consensus::mempool::waiting::Data;
use core::time::Duration;

/// Number of ids that one step floods the mempool with.
const FLOOD: u8 = 48;

/// Operation of a hostile run. Transactions, blocks and fetches are numbers of those that exist then.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    /// A peer announces a transaction.
    Announce {
        transaction: u8,
        peer: u8,
    },
    /// A peer announces some transactions, and all requests are answered.
    AnnounceSome {
        first: u8,
        count: u8,
        peer: u8,
    },
    /// A local user submits some transactions.
    Submit {
        first: u8,
        count: u8,
    },
    /// One peer, or many of them, announce unknown ids.
    Flood {
        id: u8,
        peer: u8,
        is_one_peer: bool,
    },
    EndSmall {
        fetch: u8,
        how: u8,
    },
    EndList {
        fetch: u8,
        how: u8,
        keeps: bool,
    },
    /// Atoms arrive that were not requested, or were before.
    Unsolicited {
        transaction: u8,
        how: u8,
    },
    Adopt {
        block: u8,
        with_state: bool,
    },
    /// Time passes, and the mempool comes to rest.
    Pass(Duration),
    Settle,
    ValidatorSeen(u8),
    PeerGone(u8),
    Announced {
        transaction: u8,
        validators: u8,
    },
    Restart {
        how: u8,
        at: u8,
    },
    Forget,
    /// The wall clock is set forwards or backwards.
    Forward(Duration),
    Backward(Duration),
    /// Time passes between two calls.
    Sleep(Duration),
    AnswerAll,
    Assembled {
        transaction: u8,
        how: u8,
    },
}

impl<'a> Arbitrary<'a> for Operation {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let [code, a, b] = array(input)?;
        let peer = b % PEERS;
        let seconds = |unit| Duration::from_secs(u64::from(a) * unit);
        Ok(match code % 16 {
            0 => Self::Announce {
                transaction: a,
                peer,
            },
            1 => Self::AnnounceSome {
                first: a,
                count: 1 + b % 8,
                peer,
            },
            2 => Self::Submit {
                first: a,
                count: 1 + b % 4,
            },
            3 => Self::Flood {
                id: a,
                peer: b,
                is_one_peer: b & 1 == 0,
            },
            4..=6 => Self::EndSmall { fetch: a, how: b },
            7 | 8 => Self::EndList {
                fetch: a,
                how: b,
                keeps: code & 16 == 0,
            },
            9 => Self::Unsolicited {
                transaction: a,
                how: b,
            },
            10 => Self::Adopt {
                block: a,
                with_state: b & 1 == 0,
            },
            11 => Self::Pass(Duration::from_millis(u64::from(a) * u64::from(b))),
            12 => Self::Settle,
            13 => match b % 4 {
                0 => Self::ValidatorSeen(a % PEERS),
                1 => Self::PeerGone(a % PEERS),
                _ => Self::Announced {
                    transaction: a,
                    validators: b,
                },
            },
            14 => match b % 8 {
                0..=2 => Self::Restart { how: a, at: code },
                3 => Self::Forget,
                4 => Self::Forward(seconds(50)),
                5 => Self::Backward(seconds(50)),
                6 => Self::Sleep(seconds(20)),
                _ => Self::AnswerAll,
            },
            _ => Self::Assembled {
                transaction: a,
                how: b,
            },
        })
    }
}

impl Node {
    fn transaction(&self, number: u8) -> AtomId {
        pick(&self.world.ids, number).unwrap_or_default()
    }

    fn transactions(&self, first: u8, count: u8) -> Vec<AtomId> {
        let numbers = (0..count).map(|number| first.wrapping_add(number));
        numbers
            .filter_map(|number| pick(&self.world.ids, number))
            .collect()
    }

    /// Performs one operation of a hostile run.
    pub(super) fn act(&mut self, operation: Operation) {
        match operation {
            Operation::Announce { transaction, peer } => {
                self.announce(self.transaction(transaction), Some(peer));
            }
            Operation::AnnounceSome { first, count, peer } => {
                for id in self.transactions(first, count) {
                    self.announce(id, Some(peer));
                }
                self.answer_all();
            }
            Operation::Submit { first, count } => {
                for id in self.transactions(first, count) {
                    self.submit(id);
                }
            }
            Operation::Flood {
                id: code,
                peer,
                is_one_peer,
            } => {
                for number in 0..FLOOD {
                    let from = peer.wrapping_add(if is_one_peer { 0 } else { number });
                    let mut id = [code; 32];
                    (id[0], id[1]) = (peer, number);
                    self.announce(AtomId::new(id), Some(from % PEERS));
                }
            }
            Operation::EndSmall { fetch, how } => {
                let asked: Vec<AtomId> = self.small.keys().copied().collect();
                if let Some(id) = pick(&asked, fetch) {
                    self.end_small(id, how);
                }
            }
            Operation::EndList { fetch, how, keeps } => {
                let asked: Vec<AtomId> = self.lists.keys().copied().collect();
                if let Some(id) = pick(&asked, fetch) {
                    self.end_list(id, how, keeps);
                }
            }
            Operation::Unsolicited { transaction, how } => {
                let id = self.transaction(transaction);
                if how & 1 == 0 && !self.small.contains_key(&id) {
                    self.end_small(id, how);
                } else if !self.lists.contains_key(&id) {
                    self.end_list(id, how, true);
                }
            }
            Operation::Adopt { block, with_state } => {
                let heads: Vec<AtomId> = self.world.blocks.keys().copied().collect();
                if let Some(id) = pick(&heads, block) {
                    self.adopt(id, with_state);
                    self.settle();
                }
            }
            Operation::Pass(time) => {
                self.pass(time);
                self.settle();
            }
            Operation::Settle => self.settle(),
            Operation::ValidatorSeen(number) => {
                self.input(&Input::ValidatorSeen { peer: peer(number) });
            }
            Operation::PeerGone(number) => self.input(&Input::PeerGone { peer: peer(number) }),
            Operation::Announced {
                transaction,
                validators,
            } => self.input(&Input::Announced {
                transaction: self.transaction(transaction),
                validators: validators.into(),
            }),
            Operation::Restart { how, at } => self.restart(how, at),
            Operation::Forget => self.host.store.forget(),
            Operation::Forward(time) => self.host.clock.unix += time,
            Operation::Backward(time) => self.host.clock.unix -= time,
            Operation::Sleep(time) => self.pass(time),
            Operation::AnswerAll => self.answer_all(),
            Operation::Assembled { transaction, how } => self.assembled(transaction, how),
        }
    }

    /// Reports that a producer has tried to make a block of the ready transactions.
    fn assembled(&mut self, a: u8, b: u8) {
        let ready: Vec<AtomId> = self
            .host
            .component
            .pool()
            .ready()
            .map(|held| held.entry.id)
            .collect();
        let Some(id) = pick(&ready, a) else {
            return;
        };
        let data = pick(&self.world.data, b).unwrap_or_default();
        let (rejected, lacking) = match b % 3 {
            0 => (vec![(id, Refusal::State("malformed"))], vec![]),
            1 => (vec![], vec![(id, Data::List(data))]),
            _ => (vec![], vec![(id, Data::Atom(data))]),
        };
        self.call(|mempool, _, context| mempool.settle_assembly(context, &rejected, &lacking));
    }
}
