//! Steps that the bytes of an input encode.

use super::{Node, OTHER, OWN};
use crate::target::input::Input as Bytes;
use crate::target::scene::pick;
use astreum_core::atom::AtomId;
use astreum_core::consensus::{Input, StoreFailure};
use astreum_core::engine::FetchError;
use core::time::Duration;

impl Node {
    /// Performs one step of a hostile run; returns `None` at the end of the bytes.
    pub(super) fn step(&mut self, bytes: &mut Bytes<'_>) -> Option<()> {
        let (code, a, b) = (bytes.byte()?, bytes.byte()?, bytes.byte()?);
        let error = match b {
            0 => Some(FetchError::NotFound),
            1 => Some(FetchError::Timeout),
            2 => Some(FetchError::TooLarge),
            _ => None,
        };
        match code % 16 {
            0 => self.drive(Duration::from_millis(u64::from(a) * 20), |_| false),
            // The disk is slow, until the next step ends a commit or a crash does.
            1 => {
                let begun = self.commits.len();
                self.holds_commits = true;
                self.drive(Duration::from_millis(u64::from(a) * 40), |node| {
                    node.commits.len() > begun
                });
                self.holds_commits = false;
            }
            2 => {
                for _ in 0..1 + b % 8 {
                    self.pass(Duration::from_millis(u64::from(a) * 4));
                    self.settle();
                }
            }
            3 => {
                self.settle();
                let looks = (a >= 128).then(|| u32::from(a - 128));
                let room = (b >= 128).then(|| u64::from(b - 128) << 9);
                self.assemble(looks, room);
            }
            4 => {
                let at = usize::from(a).checked_rem(self.results.len());
                let old = at.and_then(|at| self.results.get(at)).cloned();
                old.into_iter()
                    .for_each(|old| self.input(&Input::Assembled(old)));
            }
            5 => self.end_commit(b),
            6 => match b & 3 {
                // Unsolicited, or repeated.
                0 if self.commits.is_empty() => {
                    let failure = StoreFailure::Failed("late".into());
                    let block = pick(&self.blocks, a).unwrap_or_default();
                    let outcome = Err(failure);
                    self.input(&Input::Committed { block, outcome });
                }
                1 => self.input(&Input::BlockStored {
                    block: pick(&self.blocks, a).unwrap_or_default(),
                    outcome: Ok(()),
                }),
                _ => self.end_genesis(b & 4 == 0),
            },
            7 | 8 => {
                let block = self.make_foreign(OTHER, a, b);
                block
                    .into_iter()
                    .for_each(|block| self.adopt(block.id(), a & 128 == 0));
            }
            9 => {
                let block = self.make_foreign(OWN, a, b);
                if let Some(block) = block.filter(|_| a & 128 == 0) {
                    self.adopt_own(&block);
                }
            }
            10 => {
                let known = pick(&self.blocks, a).filter(|_| b & 1 == 0);
                self.name(known.unwrap_or(AtomId::new([a; 32])), b);
            }
            11 => {
                let asked: Vec<AtomId> = self.small.keys().copied().collect();
                let id = pick(&asked, a).unwrap_or(AtomId::new([a; 32]));
                self.end_small(id, error);
            }
            12 => {
                let asked: Vec<AtomId> = self.lists.keys().copied().collect();
                let id = pick(&asked, a).unwrap_or(AtomId::new([a; 32]));
                self.end_list(id, error);
            }
            13 => self.announce(a, b),
            14 => match b % 8 {
                0 | 1 => self.restart(a),
                2 => self.host.clock.unix += Duration::from_millis(u64::from(a) * 400),
                3 => self.host.clock.unix -= Duration::from_millis(u64::from(a) * 400),
                4 => self.host.context.set_behind(a & 1 == 0),
                5 => {
                    let id = pick(&self.blocks, a);
                    id.into_iter().for_each(|id| self.adopt(id, true));
                }
                _ => self.settle(),
            },
            _ => {
                for number in 0..a % 16 {
                    self.announce(a.wrapping_add(number), b);
                }
            }
        }
        Some(())
    }
}
