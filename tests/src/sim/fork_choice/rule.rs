//! Nodes and their rules for choosing between branches.

use super::blocks::{Blocks, Number};
use astreum_core::chain::SLOT_SECONDS;
use astreum_core::chain::fork_choice::{Cause, Decision, ForkChoice, Settings, Tip};

/// Fork choice rule of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Rule of the product.
    Product,
    /// Higher branch.
    Longest,
    /// First draft: never a lower branch; up to 16 blocks deep the higher one; deeper, the higher
    /// one if it has at least as much distinct stake.
    FirstPlan,
    /// Rule of the reference: the highest branch whose head is at most ten seconds old.
    Reference,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 4] = [
        Self::Product,
        Self::Longest,
        Self::FirstPlan,
        Self::Reference,
    ];

    /// Returns its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Longest => "longest",
            Self::FirstPlan => "first plan",
            Self::Reference => "reference",
        }
    }

    /// Returns whether a node on `ours` moves to `theirs` in this slot if it knows no other branch.
    #[must_use]
    pub fn replaces(self, blocks: &Blocks, ours: Number, theirs: Number, slot: u64) -> bool {
        let fork = blocks.fork(ours, theirs);
        if fork == theirs {
            return false;
        }
        if fork == ours {
            return true;
        }
        let (our_height, their_height) = (blocks.height(ours), blocks.height(theirs));
        match self {
            Self::Product => {
                let pair = blocks.pair(ours, theirs);
                let total = blocks.total().into();
                astreum_core::chain::fork_choice::replaces(&pair.ours, &pair.theirs, &total)
            }
            Self::Longest => their_height > our_height,
            Self::FirstPlan => {
                if their_height <= our_height || our_height - blocks.height(fork) <= 16 {
                    return their_height > our_height;
                }
                let pair = blocks.pair(ours, theirs);
                pair.theirs.stake >= pair.ours.stake
            }
            Self::Reference => {
                let is_fresh = |block| slot.saturating_sub(blocks.slot(block)) <= 10 / SLOT_SECONDS;
                is_fresh(theirs) && (!is_fresh(ours) || their_height > our_height)
            }
        }
    }
}

/// Node with a fork choice rule.
#[derive(Debug)]
pub struct Node {
    rule: Rule,
    head: Number,
    choice: ForkChoice,
    /// Decisions that required the operator.
    pub operator_needed: u64,
}

impl Node {
    /// Creates a node at the genesis.
    ///
    /// # Panics
    /// Does not panic in practice: a genesis can always be set.
    #[must_use]
    pub fn new(rule: Rule, blocks: &Blocks) -> Self {
        let mut node = Self {
            rule,
            head: 0,
            choice: ForkChoice::new(Settings::default()),
            operator_needed: 0,
        };
        node.set_head(blocks, 0);
        node
    }

    /// Returns its head.
    #[must_use]
    pub const fn head(&self) -> Number {
        self.head
    }

    /// Moves it to a block, such as one that it made.
    ///
    /// # Panics
    /// Panics if there is no such block.
    pub fn set_head(&mut self, blocks: &Blocks, block: Number) {
        self.head = block;
        if self.rule == Rule::Product {
            let id = blocks.id(block);
            self.choice.set_head(blocks, id).expect("a known block");
        }
    }

    /// Processes a block and all blocks before it. Returns the previous head if the node left it
    /// for a block that does not extend it.
    ///
    /// # Panics
    /// Panics if the product's rule refuses the block.
    pub fn receive(&mut self, blocks: &Blocks, block: Number, slot: u64) -> Option<Number> {
        let before = self.head;
        if self.rule == Rule::Product {
            let tip = Tip::from(blocks.id(block));
            let inserted = self.choice.insert(blocks, tip, slot * SLOT_SECONDS);
            inserted.expect("a block that connects and is not early");
            let outcome = self.choice.decide(blocks, &[]);
            let needs = |cause| matches!(cause, Cause::NeedsOperator | Cause::NeedsFirstDecision);
            let is_needed = outcome.contests.iter().any(|contest| needs(contest.cause));
            self.operator_needed += u64::from(is_needed);
            if let Decision::Switch(reorganization) = outcome.decision {
                self.set_head(blocks, blocks.number(reorganization.to));
            }
        } else if self.rule.replaces(blocks, before, block, slot) {
            self.head = block;
        }
        (blocks.fork(before, self.head) != before).then_some(before)
    }
}
