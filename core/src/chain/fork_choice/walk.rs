//! Walk from the last common block to the tip to build on.

use super::tree::{Key, Segment, Tree};
use super::{
    Branch, Cause, Checkpoint, Contest, Decision, Fork, ForkChoice, LIGHT_FACTOR, NEAR_BLOCKS,
    Outcome, Reorganization, Side, StakeSource, StakeView, select,
};
use crate::atom::AtomId;
use crate::integer::Natural;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Results of a walk besides the tip.
#[derive(Default)]
struct Findings {
    contests: Vec<Contest>,
    missing_stakes: Vec<AtomId>,
    /// Branches that lost, and that left and ended below the maximum depth of a reorganization.
    lost: Vec<Key>,
}

/// Fork that the walk has reached.
struct ForkPoint<'a> {
    height: u64,
    children: &'a [Key],
    /// Child that the node is on.
    incumbent: Option<Key>,
    /// Whether only the operator may leave the incumbent.
    is_fixed: bool,
    /// Height below which a reorganization may not reach.
    floor: u64,
}

impl<T: StakeView> ForkChoice<T> {
    /// Decides on the head, among all inserted blocks.
    ///
    /// `trusted` are the heads named by the configured seeds, as they were inserted. They count
    /// only if a node on neither of two deep branches has to begin with one, and only if all of
    /// them are known and above the same branch. Include a head that is not inserted yet: it shows
    /// that the seeds do not agree yet.
    pub fn decide<S: StakeSource<View = T>>(&mut self, source: &S, trusted: &[AtomId]) -> Outcome {
        let mut findings = Findings::default();
        let own = self.own.map(|(id, _)| id);
        let target = self.walk(source, trusted, &mut findings).or(own);
        let decision = match target {
            Some(to) if self.head() != Some(to) => self.reorganization(to),
            _ => None,
        };
        if let Some(tree) = &mut self.tree
            && !findings.lost.is_empty()
        {
            for key in findings.lost {
                tree.remove(key);
            }
            self.settle();
        }
        Outcome {
            decision: decision.map_or(Decision::Keep, Decision::Switch),
            contests: findings.contests,
            missing_stakes: findings.missing_stakes,
        }
    }

    /// Returns the forks along the node's chain, the deepest first.
    #[must_use]
    pub fn forks(&self) -> Vec<Fork> {
        let Some(tree) = &self.tree else {
            return Vec::new();
        };
        let own = self.own.and_then(|(id, _)| tree.find(&id));
        let path = tree.path(own.map_or(tree.root(), |(key, _)| key));
        let above = path.iter().skip(1).map(|key| Some(*key)).chain([None]);
        let forks = path.iter().zip(above);
        let forks = forks.filter_map(|(key, ours)| {
            let segment = tree.segment(*key)?;
            (segment.children.len() > 1).then(|| describe(tree, segment, ours, &segment.children))
        });
        forks.collect()
    }

    fn reorganization(&self, to: AtomId) -> Option<Reorganization> {
        let tree = self.tree.as_ref()?;
        let (_, height) = tree.find(&to)?;
        // A head above an avoided block is not in the tree, but the block at which it joins the
        // tree is.
        let base = self.own.map_or(to, |(id, _)| id);
        let (fork, fork_height) = tree.common(&base, &to)?;
        let from_height = self.head.map_or(fork_height, |(_, height)| height);
        Some(Reorganization {
            from: self.head(),
            to,
            height,
            fork,
            undone: from_height.saturating_sub(fork_height),
            added: height.saturating_sub(fork_height),
        })
    }

    /// Returns the tip at which the walk ends; `None` if it cannot continue.
    fn walk<S: StakeSource<View = T>>(
        &mut self,
        source: &S,
        trusted: &[AtomId],
        findings: &mut Findings,
    ) -> Option<AtomId> {
        let tree = self.tree.as_mut()?;
        let path_to = |tree: &Tree<T>, id: Option<AtomId>| {
            let place = id.and_then(|id| tree.find(&id));
            let path = place.into_iter().flat_map(|(key, _)| tree.path(key));
            path.collect::<BTreeSet<Key>>()
        };
        let checkpoint = match self.checkpoint {
            Some(Checkpoint::Pending(id)) => Some(id),
            _ => None,
        };
        let own_path = path_to(tree, self.own.map(|(id, _)| id));
        let forced = [path_to(tree, checkpoint), path_to(tree, self.adopted)];
        let own_height = self.own.map_or(0, |(_, height)| height);
        let mut at = tree.root();
        let mut is_ours = !own_path.is_empty();
        loop {
            let segment = tree.segment(at)?;
            let children = segment.children.clone();
            let on = |path: &BTreeSet<Key>| children.iter().copied().find(|key| path.contains(key));
            let incumbent = on(&own_path).filter(|_| is_ours);
            let (block, height) = (segment.last(), segment.last_height());
            let next = match (children.as_slice(), forced.iter().find_map(on)) {
                ([], _) => return Some(block),
                ([only], _) => Some(*only),
                (_, Some(forced)) => Some(forced),
                _ => match tree.measure(at, |id| source.stakes_after(id)) {
                    Err(missing) => {
                        findings.missing_stakes.push(missing);
                        incumbent
                    }
                    Ok(()) => {
                        let limit = self.settings.max_reorg_depth;
                        let depth = own_height.saturating_sub(height);
                        let fork = ForkPoint {
                            height,
                            children: &children,
                            incumbent,
                            is_fixed: depth > limit || height < self.anchor,
                            floor: own_height.saturating_sub(limit),
                        };
                        settle_fork(tree, at, &fork, limit, trusted, findings)
                    }
                },
            };
            let next = next?;
            is_ours = incumbent == Some(next);
            at = next;
        }
    }
}

/// Returns the child at which to continue; `None` if that is undecided.
fn settle_fork<T: StakeView>(
    tree: &Tree<T>,
    at: Key,
    fork: &ForkPoint<'_>,
    max_reorg_depth: u64,
    trusted: &[AtomId],
    findings: &mut Findings,
) -> Option<Key> {
    let segment = tree.segment(at)?;
    let total = segment.table.as_ref()?.total();
    let branches: Option<Vec<Branch>> = fork
        .children
        .iter()
        .map(|key| {
            let child = tree.segment(*key)?;
            Some(Branch {
                blocks: child.top.saturating_sub(fork.height),
                stake: child.stake.clone()?,
                first: child.first,
            })
        })
        .collect();
    let branches = branches?;
    let position = |key: Key| fork.children.iter().position(|child| *child == key);
    let selection = select(&branches, fork.incumbent.and_then(position), &total)?;
    let key_of = |index: usize| fork.children.get(index).copied();
    let selected = key_of(selection.branch)?;
    let mut contest = |cause, others: &[Key]| {
        findings.contests.push(Contest {
            cause,
            fork: describe(tree, segment, fork.incumbent, others),
        });
    };
    if let Some(incumbent) = fork.incumbent {
        if selected != incumbent && fork.is_fixed {
            contest(Cause::NeedsOperator, &[selected]);
            return Some(incumbent);
        }
        if selected == incumbent {
            let light = selection.vetoed.and_then(key_of);
            if let Some(light) = light {
                contest(Cause::Light, &[light]);
            } else if fork.is_fixed {
                let is_old = |key: &&Key| tree.segment(**key).is_some_and(|it| it.top < fork.floor);
                let others = fork.children.iter().filter(|key| **key != incumbent);
                findings.lost.extend(others.filter(is_old));
            }
        }
        return Some(selected);
    }
    // The node is on none of them: no block is undone, but a wrong first choice would last.
    let winner = branches.get(selection.branch)?;
    let factor = Natural::from(LIGHT_FACTOR);
    let is_rival = |branch: &Branch| {
        branch.blocks.min(winner.blocks) > max_reorg_depth.max(NEAR_BLOCKS)
            && &factor * &branch.stake >= winner.stake
    };
    let rivals = branches.iter().zip(fork.children);
    let rivals: Vec<Key> = rivals
        .filter(|(branch, key)| **key == selected || is_rival(branch))
        .map(|(_, key)| *key)
        .collect();
    if rivals.len() < 2 {
        return Some(selected);
    }
    let agreed = agreed_child(tree, &rivals, trusted);
    if agreed.is_none() {
        contest(Cause::NeedsFirstDecision, &rivals);
    }
    agreed
}

/// Returns the one of `children` that is below all `trusted` heads; `None` if they do not agree.
fn agreed_child<T: StakeView>(tree: &Tree<T>, children: &[Key], trusted: &[AtomId]) -> Option<Key> {
    let mut agreed = None;
    for id in trusted {
        let (key, _) = tree.find(id)?;
        let path = tree.path(key);
        let child = children.iter().copied().find(|child| path.contains(child));
        if agreed.is_some() && agreed != child {
            return None;
        }
        agreed = Some(child?);
    }
    agreed
}

fn describe<T: StakeView>(
    tree: &Tree<T>,
    segment: &Segment<T>,
    ours: Option<Key>,
    others: &[Key],
) -> Fork {
    let height = segment.last_height();
    let side = |key: Key| {
        let child = tree.segment(key)?;
        Some(Side {
            first: child.first,
            tip: tree.highest(key)?,
            blocks: child.top.saturating_sub(height),
            stake: child.stake.clone(),
        })
    };
    let others = others.iter().filter(|key| Some(**key) != ours);
    let mut others: Vec<Side> = others.filter_map(|key| side(*key)).collect();
    others.sort_by_key(|side| side.first);
    Fork {
        block: segment.last(),
        height,
        total: segment.table.as_ref().map(StakeView::total),
        ours: ours.and_then(side),
        others,
    }
}
