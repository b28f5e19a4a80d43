//! Random trees that compare the product's rule with an independent model and check its properties.

use super::scenario::shuffle;
use crate::model::fork_choice::{Choice, Tree};
use crate::random::Random;
use astreum_core::atom::AtomId;
use astreum_core::chain::fork_choice::{
    BlockIndex, Cause, Decision, ForkChoice, IndexedBlock, Settings, StakeSource, Tip,
};
use astreum_core::chain::{Address, StakeTable, Stakes};
use core::fmt;

/// Statistics over a number of trees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Survey {
    /// Trees.
    pub trees: u64,
    /// Decisions, each compared with the model.
    pub decisions: u64,
    /// Moves of a head.
    pub moves: u64,
    /// Trees in which every fork was deep and no branch was light.
    pub deep: u64,
    /// Trees among them in which the head depended on the start of a node.
    pub deep_dependent: u64,
    /// Other trees.
    pub other: u64,
    /// Trees among them in which the head depended on the start of a node.
    pub other_dependent: u64,
}

impl Survey {
    /// Returns the sum of two surveys.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self {
            trees: self.trees + other.trees,
            decisions: self.decisions + other.decisions,
            moves: self.moves + other.moves,
            deep: self.deep + other.deep,
            deep_dependent: self.deep_dependent + other.deep_dependent,
            other: self.other + other.other,
            other_dependent: self.other_dependent + other.other_dependent,
        }
    }
}

/// Violated property.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    seed: u64,
    what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tree {}: {}", self.seed, self.what)
    }
}

struct World {
    tree: Tree,
    ids: Vec<AtomId>,
    table: StakeTable,
    heights: Vec<u64>,
}

impl BlockIndex for World {
    fn block(&self, id: &AtomId) -> Option<IndexedBlock> {
        let block = self.number(id);
        let parent = self.ids[self.tree.parents[block]];
        Some(IndexedBlock {
            height: self.heights[block],
            parent: if block == 0 { AtomId::ZERO } else { parent },
            producer: address(self.tree.producers[block]),
            timestamp: self.heights[block],
        })
    }
}

impl StakeSource for World {
    type View = StakeTable;

    fn stakes_after(&self, _: &AtomId) -> Option<StakeTable> {
        Some(self.table.clone())
    }
}

fn address(producer: usize) -> Address {
    Address::new([u8::try_from(producer).unwrap_or(u8::MAX); 32])
}

impl World {
    fn number(&self, id: &AtomId) -> usize {
        let (_, number) = id.as_bytes().split_last_chunk::<8>().expect("32 bytes");
        usize::try_from(u64::from_be_bytes(*number)).expect("few blocks")
    }

    /// Creates a random tree: runs of blocks that leave earlier blocks, mostly late ones.
    fn random(random: &mut Random) -> Self {
        let validators = 1 + random.below(12);
        let stakes: Vec<u64> = (0..validators)
            .map(|_| match random.below(4) {
                0 => 1 + random.below(9) as u64,
                1 => 100,
                _ => 1 + random.below(1_000) as u64,
            })
            .collect();
        let mut parents = vec![0];
        let mut producers = vec![0];
        for _ in 0..=random.below(9) {
            let count = parents.len();
            let reach = count.min(1 + random.below(60));
            let back = 1 + random.below(reach);
            let mut parent = count - back;
            let length = 1 + match random.below(3) {
                0 => random.below(3),
                1 => 12 + random.below(8),
                _ => random.below(40),
            };
            let mut team: Vec<usize> = (0..validators).collect();
            shuffle(&mut team, random);
            team.truncate(1 + random.below(validators));
            for _ in 0..length {
                producers.push(random.one_of(&team));
                parents.push(parent);
                parent = parents.len() - 1;
            }
        }
        let mut ranks: Vec<usize> = (0..parents.len()).collect();
        shuffle(&mut ranks, random);
        let id = |(number, rank): (usize, &usize)| {
            let mut bytes = [0; 32];
            let (high, low) = bytes.split_at_mut(24);
            high[..8].copy_from_slice(&(1 + *rank as u64).to_be_bytes());
            low.copy_from_slice(&(number as u64).to_be_bytes());
            AtomId::new(bytes)
        };
        let ids = ranks.iter().enumerate().map(id).collect();
        let staked = stakes.iter().enumerate();
        let staked = staked.map(|(producer, stake)| (address(producer), (*stake).into()));
        let table = StakeTable::from(&staked.collect::<Stakes>());
        let tree = Tree {
            parents,
            producers,
            ranks,
            stakes,
        };
        let heights = (0..tree.parents.len()).map(|block| tree.height(block) as u64);
        Self {
            heights: heights.collect(),
            tree,
            ids,
            table,
        }
    }

    fn choice(&self, own: Option<usize>, tips: &[usize], limit: u64) -> ForkChoice {
        let mut choice = ForkChoice::new(Settings {
            max_reorg_depth: limit,
        });
        if let Some(own) = own {
            let id = self.ids[own];
            choice.set_head(self, id).expect("a known block");
        }
        for tip in tips {
            self.insert(&mut choice, *tip);
        }
        choice
    }

    fn insert(&self, choice: &mut ForkChoice, tip: usize) {
        let inserted = choice.insert(self, Tip::from(self.ids[tip]), u64::MAX);
        inserted.expect("a block that connects");
    }

    /// Returns the head after a decision.
    fn decided(&self, choice: &mut ForkChoice) -> Choice {
        let outcome = choice.decide(self, &[]);
        let is_open = |cause| cause == Cause::NeedsFirstDecision;
        if outcome
            .contests
            .iter()
            .any(|contest| is_open(contest.cause))
        {
            return Choice::Undecided;
        }
        let head = match outcome.decision {
            Decision::Keep => choice.head(),
            Decision::Switch(reorganization) => Some(reorganization.to),
        };
        head.map_or(Choice::Undecided, |head| Choice::Head(self.number(&head)))
    }
}

/// Checks the tree with this seed.
///
/// # Errors
/// Returns the property that is violated.
pub fn check(seed: u64) -> Result<Survey, Broken> {
    examine(seed).map_err(|what| Broken { seed, what })
}

fn examine(seed: u64) -> Result<Survey, String> {
    let mut random = Random::new(seed);
    let world = World::random(&mut random);
    let blocks = world.tree.parents.len();
    let limit = [1_024, 20 + random.below(40) as u64][random.below(2)];
    let mut tips: Vec<usize> = (1..blocks)
        .filter(|block| !world.tree.parents[1..].contains(block) || random.below(20) == 0)
        .collect();
    let mut survey = Survey {
        trees: 1,
        ..Survey::default()
    };
    // Starts from the tips, from no block, and from some blocks on the way.
    let mut starts: Vec<Option<usize>> = tips.iter().copied().map(Some).collect();
    starts.extend([None, Some(random.below(blocks)), Some(random.below(blocks))]);
    let mut heads = Vec::new();
    for own in &starts {
        shuffle(&mut tips, &mut random);
        let mut choice = world.choice(*own, &tips, limit);
        let found = world.decided(&mut choice);
        let expected = world.tree.choose(*own, &tips, limit);
        survey.decisions += 1;
        if found != expected {
            return Err(format!("from {own:?}: {found:?} and not {expected:?}"));
        }
        if let Choice::Head(head) = found {
            survey.moves += u64::from(*own != Some(head));
            let id = world.ids[head];
            choice.set_head(&world, id).expect("a known block");
            let again = world.decided(&mut choice);
            if again != found {
                return Err(format!("{found:?} turns to {again:?} without a new block"));
            }
        }
        if limit == 1_024 {
            heads.push(found);
        }
    }
    if limit == 1_024 {
        let kind = world.tree.kind(&tips);
        let is_dependent = u64::from(heads.iter().any(|head| *head != heads[0]));
        if kind.is_deep && !kind.has_light {
            survey.deep += 1;
            survey.deep_dependent += is_dependent;
        } else {
            survey.other += 1;
            survey.other_dependent += is_dependent;
        }
        if kind.is_deep && !kind.has_light && is_dependent != 0 {
            return Err(format!("heads {heads:?} from {starts:?}"));
        }
    }
    survey.moves += follow(&world, &tips, limit, &mut random)?;
    Ok(survey)
}

/// Checks that a node that receives one tip after another, and moves at once, agrees with the model
/// at each step.
fn follow(world: &World, tips: &[usize], limit: u64, random: &mut Random) -> Result<u64, String> {
    let mut order = tips.to_vec();
    shuffle(&mut order, random);
    let mut choice = world.choice(None, &[], limit);
    let (mut own, mut moves) = (None, 0);
    let mut known = Vec::new();
    for tip in order {
        world.insert(&mut choice, tip);
        known.push(tip);
        let found = world.decided(&mut choice);
        // Branches that lost beyond the limit are dropped, so that the comparison does not apply
        // below it.
        if limit == 1_024 {
            let expected = world.tree.choose(own, &known, limit);
            if found != expected {
                return Err(format!("after {known:?}: {found:?} and not {expected:?}"));
            }
        }
        if let Choice::Head(head) = found
            && own != Some(head)
        {
            let id = world.ids[head];
            choice.set_head(world, id).expect("a known block");
            own = Some(head);
            moves += 1;
        }
    }
    Ok(moves)
}
