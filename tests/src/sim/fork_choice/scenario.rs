//! Distributions of stakes, and partitions.

use crate::random::Random;

/// Distribution of stakes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stakes {
    /// 20 equal stakes.
    Equal,
    /// 20 stakes in the proportions 1, 1/2, 1/3, …
    Zipf,
    /// One stake of 60 %, and 19 others.
    Large,
    /// One stake of 20 %, and 200 of 0.4 %.
    Lone,
    /// 20 stakes between 500 and 1,500, in any order.
    Varied,
}

impl Stakes {
    /// Returns its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equal => "20 equal",
            Self::Zipf => "20 Zipf",
            Self::Large => "60 % in one validator",
            Self::Lone => "20 % and 200 x 0.4 %",
            Self::Varied => "20 varied",
        }
    }

    /// Returns the stakes.
    #[must_use]
    pub fn amounts(self, random: &mut Random) -> Vec<u64> {
        match self {
            Self::Equal => vec![1_000; 20],
            Self::Zipf => (1..=20_u64).map(|rank| 20_000 / rank).collect(),
            Self::Large => core::iter::once(60_000).chain([2_105; 19]).collect(),
            Self::Lone => core::iter::once(20_000).chain([400; 200]).collect(),
            Self::Varied => {
                let below = (500..1_000_u64).step_by(50);
                let mut amounts: Vec<u64> = below.chain((1_050..=1_500).step_by(50)).collect();
                shuffle(&mut amounts, random);
                amounts
            }
        }
    }
}

/// Shuffles a slice.
pub fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for index in (1..items.len()).rev() {
        items.swap(index, random.below(index + 1));
    }
}

/// Split of a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split {
    /// Two halves.
    Halves,
    /// 60 and 40 %.
    SixtyForty,
    /// 90 and 10 %.
    NinetyTen,
    /// 40, 30 and 30 %.
    Three,
    /// Five sides of 20 %.
    Five,
}

impl Split {
    /// All splits.
    pub const ALL: [Self; 5] = [
        Self::Halves,
        Self::SixtyForty,
        Self::NinetyTen,
        Self::Three,
        Self::Five,
    ];

    /// Returns its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Halves => "50/50",
            Self::SixtyForty => "60/40",
            Self::NinetyTen => "90/10",
            Self::Three => "40/30/30",
            Self::Five => "5 x 20",
        }
    }

    /// Returns the percentages of the stake at which each side ends.
    const fn ends(self) -> &'static [u64] {
        match self {
            Self::Halves => &[50],
            Self::SixtyForty => &[60],
            Self::NinetyTen => &[90],
            Self::Three => &[40, 70],
            Self::Five => &[20, 40, 60, 80],
        }
    }

    /// Returns the side of each validator, approximately in these proportions of the stake.
    #[must_use]
    pub fn sides(self, stakes: &[u64], random: &mut Random) -> Vec<u8> {
        let mut order: Vec<usize> = (0..stakes.len()).collect();
        shuffle(&mut order, random);
        let total: u64 = stakes.iter().sum();
        let mut sides = vec![0; stakes.len()];
        let mut sum = 0;
        for validator in order {
            // The end counts as reached a thousandth before it.
            let is_passed = |end: &&u64| sum * 1_000 >= (**end * 10 - 1) * total;
            let passed = self.ends().iter().filter(is_passed);
            sides[validator] = u8::try_from(passed.count()).unwrap_or(u8::MAX);
            sum += stakes[validator];
        }
        sides
    }
}
