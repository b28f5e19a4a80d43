//! Fork choice rule at one fork.
//!
//! Pure functions of integers, independent of blocks, times and peers.

use super::{LIGHT_FACTOR, NEAR_BLOCKS};
use crate::atom::AtomId;
use crate::integer::Natural;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Branch above a fork, as input of the rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Branch {
    /// Number of blocks above the fork, up to the highest tip.
    pub blocks: u64,
    /// Stake, as of the fork, of the distinct producers of these blocks.
    pub stake: Natural,
    /// First block above the fork.
    pub first: AtomId,
}

impl Branch {
    /// Returns whether the branch has a majority: more than half of the stake produced at least
    /// [`NEAR_BLOCKS`] blocks of it.
    ///
    /// ```
    /// use astreum_core::atom::AtomId;
    /// use astreum_core::chain::fork_choice::Branch;
    ///
    /// let branch = Branch { blocks: 16, stake: 51_u64.into(), first: AtomId::new([1; 32]) };
    /// assert!(branch.has_majority(&100_u64.into()));
    /// assert!(!branch.has_majority(&102_u64.into()));
    /// assert!(!Branch { blocks: 15, ..branch }.has_majority(&100_u64.into()));
    /// ```
    #[must_use]
    pub fn has_majority(&self, total: &Natural) -> bool {
        // D > floor(T / 2) is equivalent to 2 D > T.
        self.blocks >= NEAR_BLOCKS && self.stake > total.half()
    }
}

/// Result of [`select`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selection {
    /// Index of the selected branch.
    pub branch: usize,
    /// Index of the strongest branch that outranks the selected one but does not replace it because
    /// it has less than an eighth of its stake. Nodes on that branch stay there.
    pub vetoed: Option<usize>,
}

/// Returns whether `challenger` replaces `ours`; `total` is the total stake as of the fork.
///
/// Both are branches above their last common block, so neither extends the other. At most one of
/// `replaces(a, b)` and `replaces(b, a)` is true. If a branch has more than [`NEAR_BLOCKS`] blocks,
/// exactly one is true, unless the stronger branch is vetoed.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::chain::fork_choice::{Branch, replaces};
///
/// let [ours, longer] = [3, 4].map(|blocks| Branch {
///     blocks,
///     stake: 50_u64.into(),
///     first: AtomId::new([blocks as u8; 32]),
/// });
/// assert!(replaces(&ours, &longer, &100_u64.into()));
/// assert!(!replaces(&longer, &ours, &100_u64.into()));
/// // A branch of equal height never replaces ours.
/// assert!(!replaces(&ours, &ours.clone(), &100_u64.into()));
/// ```
#[must_use]
pub fn replaces(ours: &Branch, challenger: &Branch, total: &Natural) -> bool {
    let pair = [ours.clone(), challenger.clone()];
    select(&pair, Some(0), total).is_some_and(|selection| selection.branch == 1)
}

/// Selects one of the branches above a fork; `None` if there are none.
///
/// A node on one of the branches passes it as `incumbent`. A node on none of them begins at the
/// heaviest and lets others replace it. The order of the branches does not matter.
///
/// The fork is *near* if no branch has more than [`NEAR_BLOCKS`] blocks, otherwise it is *deep*.
/// The distinction applies to the fork and not to a pair of branches: with a distinction per pair,
/// the relation has cycles, for example among three branches of 5, 10 and 20 blocks.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::chain::fork_choice::{Branch, select};
///
/// let branch = |blocks, stake: u64| {
///     let first = AtomId::new([blocks as u8; 32]);
///     Branch { blocks, stake: stake.into(), first }
/// };
/// // The second one has more blocks, but far less stake behind them.
/// let branches = [branch(20, 60), branch(40, 5)];
/// let selection = select(&branches, Some(1), &100_u64.into()).unwrap();
/// assert_eq!((selection.branch, selection.vetoed), (0, None));
/// assert!(select(&[], None, &100_u64.into()).is_none());
/// ```
#[must_use]
pub fn select(branches: &[Branch], incumbent: Option<usize>, total: &Natural) -> Option<Selection> {
    let is_deep = branches.iter().any(|branch| branch.blocks > NEAR_BLOCKS);
    let scored: Vec<Scored<'_>> = branches
        .iter()
        .enumerate()
        .map(|(index, branch)| Scored::new(index, branch, total))
        .collect();
    let best = |candidates: &mut dyn Iterator<Item = &Scored<'_>>| {
        let best = candidates.max_by(|a, b| a.rank(is_deep).cmp(&b.rank(is_deep)));
        best.map(|best| best.index)
    };
    let mut current = match incumbent {
        Some(index) => scored.get(index)?,
        None => scored
            .iter()
            .max_by(|a, b| a.weight(is_deep).cmp(&b.weight(is_deep)))?,
    };
    // Each round strictly raises the rank, so the loop ends.
    while let Some(next) = best(&mut scored.iter().filter(|it| it.replaces(current, is_deep))) {
        current = scored.get(next)?;
    }
    let outranks = |other: &&Scored<'_>| is_deep && other.rank(true) > current.rank(true);
    Some(Selection {
        branch: current.index,
        vetoed: best(&mut scored.iter().filter(outranks)),
    })
}

/// Order of the branches of one fork: majority, blocks times stake, lower id of the first block.
type Rank<'a> = (bool, &'a Natural, Reverse<&'a AtomId>);

struct Scored<'a> {
    index: usize,
    branch: &'a Branch,
    has_majority: bool,
    /// Blocks times stake.
    score: Natural,
    blocks: Natural,
}

impl<'a> Scored<'a> {
    fn new(index: usize, branch: &'a Branch, total: &Natural) -> Self {
        let blocks = Natural::from(branch.blocks);
        Self {
            index,
            branch,
            has_majority: branch.has_majority(total),
            score: &blocks * &branch.stake,
            blocks,
        }
    }

    /// Returns the rank for replacements. Deep: majority, then score, then the lower id. Near:
    /// blocks, then score, then the lower id.
    fn rank(&self, is_deep: bool) -> (bool, &Natural, Option<&Natural>, Reverse<&AtomId>) {
        let id = Reverse(&self.branch.first);
        if is_deep {
            (self.has_majority, &self.score, None, id)
        } else {
            (false, &self.blocks, Some(&self.score), id)
        }
    }

    /// Returns the rank of the branches at which a node on none of them may begin: ordered by the
    /// quantity that [`LIGHT_FACTOR`] multiplies.
    fn weight(&self, is_deep: bool) -> (&Natural, Rank<'_>) {
        let rank = (self.has_majority, &self.score, Reverse(&self.branch.first));
        if is_deep {
            (&self.branch.stake, rank)
        } else {
            (&self.score, rank)
        }
    }

    fn replaces(&self, ours: &Self, is_deep: bool) -> bool {
        let factor = Natural::from(LIGHT_FACTOR);
        if is_deep {
            &factor * &self.branch.stake >= ours.branch.stake && self.rank(true) > ours.rank(true)
        } else {
            self.branch.blocks > ours.branch.blocks && &factor * &self.score >= ours.score
        }
    }
}
