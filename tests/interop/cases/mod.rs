//! The cases, by subject.

mod driver;

use crate::suite::Case;

/// Lists functions as cases under `subject.function`.
macro_rules! cases {
    ($subject:ident: $($name:ident),+ $(,)?) => {
        &[$(Case { name: concat!(stringify!($subject), ".", stringify!($name)), run: $subject::$name }),+]
    };
}

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    let subjects: &[&[Case]] = &[cases!(driver: two_references_meet_and_exchange_an_expression)];
    subjects
        .iter()
        .flat_map(|cases| cases.iter())
        .copied()
        .collect()
}
