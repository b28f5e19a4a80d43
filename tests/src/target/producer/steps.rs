//! Operations that the bytes of an input encode.

use super::{Node, OTHER, OWN};
use crate::target::input::array;
use crate::target::scene::pick;
use arbitrary::{Arbitrary, Unstructured};
use astreum_core::atom::AtomId;
use astreum_core::consensus::{Input, StoreFailure};
use astreum_core::engine::FetchError;
use core::time::Duration;

/// Operation of a hostile run. Blocks, results and fetches are numbers of those that exist then.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    /// Time passes, with all requests answered.
    Drive(Duration),
    /// The same with a slow disk, until the next operation ends a commit or a crash does.
    DriveToCommit(Duration),
    /// Time passes in turns of this duration, without answers.
    Pass {
        turns: u8,
        time: Duration,
    },
    /// The assembly runs, until it is interrupted, in a block with this room.
    Assemble {
        looks: Option<u32>,
        room: Option<u64>,
    },
    /// The result of an assembly arrives again.
    Repeat(u8),
    EndCommit(u8),
    /// A commit that was not requested, or was before, fails.
    FailCommit(u8),
    BlockStored(u8),
    EndGenesis {
        is_stored: bool,
    },
    /// Another validator makes a block, which becomes the head.
    MakeOther(Foreign),
    /// Another node makes a block with the key of the producer, which becomes the head or not.
    MakeOwn(Foreign),
    /// A peer names a head that exists or not.
    Name {
        block: u8,
        is_known: bool,
        peer: u8,
    },
    EndSmall {
        fetch: u8,
        error: Option<FetchError>,
    },
    EndList {
        fetch: u8,
        error: Option<FetchError>,
    },
    /// A peer announces some transactions.
    Announce {
        first: u8,
        count: u8,
        peer: u8,
    },
    Restart(u8),
    /// The wall clock is set forwards or backwards.
    Forward(Duration),
    Backward(Duration),
    SetBehind(bool),
    Adopt(u8),
    Settle,
}

/// Block of another node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Foreign {
    place: u8,
    how: u8,
}

impl Foreign {
    const fn has_state(self) -> bool {
        self.place & 128 == 0
    }
}

impl<'a> Arbitrary<'a> for Operation {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let [code, a, b] = array(input)?;
        let milliseconds = |unit| Duration::from_millis(u64::from(a) * unit);
        let foreign = Foreign { place: a, how: b };
        let error = match b {
            0 => Some(FetchError::NotFound),
            1 => Some(FetchError::Timeout),
            2 => Some(FetchError::TooLarge),
            _ => None,
        };
        Ok(match code % 16 {
            0 => Self::Drive(milliseconds(20)),
            1 => Self::DriveToCommit(milliseconds(40)),
            2 => Self::Pass {
                turns: 1 + b % 8,
                time: milliseconds(4),
            },
            3 => Self::Assemble {
                looks: (a >= 128).then(|| u32::from(a - 128)),
                room: (b >= 128).then(|| u64::from(b - 128) << 9),
            },
            4 => Self::Repeat(a),
            5 => Self::EndCommit(b),
            6 => match b & 3 {
                0 => Self::FailCommit(a),
                1 => Self::BlockStored(a),
                _ => Self::EndGenesis {
                    is_stored: b & 4 == 0,
                },
            },
            7 | 8 => Self::MakeOther(foreign),
            9 => Self::MakeOwn(foreign),
            10 => Self::Name {
                block: a,
                is_known: b & 1 == 0,
                peer: b,
            },
            11 => Self::EndSmall { fetch: a, error },
            12 => Self::EndList { fetch: a, error },
            13 => Self::Announce {
                first: a,
                count: 1,
                peer: b,
            },
            14 => match b % 8 {
                0 | 1 => Self::Restart(a),
                2 => Self::Forward(milliseconds(400)),
                3 => Self::Backward(milliseconds(400)),
                4 => Self::SetBehind(a & 1 == 0),
                5 => Self::Adopt(a),
                _ => Self::Settle,
            },
            _ => Self::Announce {
                first: a,
                count: a % 16,
                peer: b,
            },
        })
    }
}

impl Node {
    /// Performs one operation of a hostile run.
    pub(super) fn act(&mut self, operation: Operation) {
        match operation {
            Operation::Drive(time) => self.drive(time, |_| false),
            Operation::DriveToCommit(time) => {
                let begun = self.commits.len();
                self.holds_commits = true;
                self.drive(time, |node| node.commits.len() > begun);
                self.holds_commits = false;
            }
            Operation::Pass { turns, time } => {
                for _ in 0..turns {
                    self.pass(time);
                    self.settle();
                }
            }
            Operation::Assemble { looks, room } => {
                self.settle();
                self.assemble(looks, room);
            }
            Operation::Repeat(number) => {
                let at = usize::from(number).checked_rem(self.results.len());
                if let Some(old) = at.and_then(|at| self.results.get(at)).cloned() {
                    self.input(&Input::Assembled(old));
                }
            }
            Operation::EndCommit(how) => self.end_commit(how),
            Operation::FailCommit(block) => {
                if !self.commits.is_empty() {
                    return;
                }
                let failure = StoreFailure::Failed("late".into());
                let block = pick(&self.blocks, block).unwrap_or_default();
                let outcome = Err(failure);
                self.input(&Input::Committed { block, outcome });
            }
            Operation::BlockStored(block) => self.input(&Input::BlockStored {
                block: pick(&self.blocks, block).unwrap_or_default(),
                outcome: Ok(()),
            }),
            Operation::EndGenesis { is_stored } => self.end_genesis(is_stored),
            Operation::MakeOther(foreign) => {
                if let Some(block) = self.make_foreign(OTHER, foreign.place, foreign.how) {
                    self.adopt(block.id(), foreign.has_state());
                }
            }
            Operation::MakeOwn(foreign) => {
                let block = self.make_foreign(OWN, foreign.place, foreign.how);
                if let Some(block) = block.filter(|_| foreign.has_state()) {
                    self.adopt_own(&block);
                }
            }
            Operation::Name {
                block,
                is_known,
                peer,
            } => {
                let known = pick(&self.blocks, block).filter(|_| is_known);
                self.name(known.unwrap_or(AtomId::new([block; 32])), peer);
            }
            Operation::EndSmall { fetch, error } => {
                let asked: Vec<AtomId> = self.small.keys().copied().collect();
                let id = pick(&asked, fetch).unwrap_or(AtomId::new([fetch; 32]));
                self.end_small(id, error);
            }
            Operation::EndList { fetch, error } => {
                let asked: Vec<AtomId> = self.lists.keys().copied().collect();
                let id = pick(&asked, fetch).unwrap_or(AtomId::new([fetch; 32]));
                self.end_list(id, error);
            }
            Operation::Announce { first, count, peer } => {
                for number in 0..count {
                    self.announce(first.wrapping_add(number), peer);
                }
            }
            Operation::Restart(how) => self.restart(how),
            Operation::Forward(time) => self.host.clock.unix += time,
            Operation::Backward(time) => self.host.clock.unix -= time,
            Operation::SetBehind(is_behind) => self.host.context.set_behind(is_behind),
            Operation::Adopt(block) => {
                if let Some(id) = pick(&self.blocks, block) {
                    self.adopt(id, true);
                }
            }
            Operation::Settle => self.settle(),
        }
    }
}
