//! Measured figures with their bars.

use core::fmt::Display;
use core::time::Duration;

/// Rows of one case.
#[derive(Default)]
pub(crate) struct Figures(Vec<(bool, String)>);

impl Figures {
    /// Adds a figure that has a bar.
    pub(crate) fn bar(&mut self, what: &str, figure: impl Display, bar: &str, holds: bool) {
        self.0
            .push((holds, format!("{what}: {figure} (bar: {bar})")));
    }

    /// Adds a figure without a bar, which describes the amount of work.
    pub(crate) fn note(&mut self, what: &str, figure: impl Display) {
        self.0.push((true, format!("{what}: {figure}")));
    }

    /// Prints the rows and returns the number of missed bars.
    pub(crate) fn print(&self, case: &str, took: Duration) -> usize {
        println!("{case} ({:.1} s)", took.as_secs_f64());
        for (holds, line) in &self.0 {
            println!("  {} {line}", if *holds { "ok    " } else { "MISSED" });
        }
        self.0.iter().filter(|(holds, _)| !holds).count()
    }
}

/// Returns the value below which this share of the values lies.
pub(crate) fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the index is within a slice that is not empty"
    )]
    let index = ((values.len().saturating_sub(1)) as f64 * share) as usize;
    values.get(index).copied().unwrap_or_default()
}
