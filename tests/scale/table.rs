//! Table of figures with their bars.

use core::fmt;
use serde_json::{Value, json};

/// One figure.
#[derive(Debug)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    /// Largest or smallest value that is good enough, with the sign of the comparison.
    bar: Option<(Bar, f64)>,
}

/// Kind of a bar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bar {
    AtMost,
    AtLeast,
}

/// Figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds a figure, and prints it as progress.
    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        bar: Option<(Bar, f64)>,
    ) {
        let row = Row {
            name: name.into(),
            value,
            unit,
            bar,
        };
        eprintln!("{row}");
        self.0.push(row);
    }

    pub(crate) fn is_missed(&self) -> bool {
        self.0.iter().any(|row| row.verdict() == Some(false))
    }

    pub(crate) fn json(&self) -> Value {
        let rows = self.0.iter().map(|row| {
            let bar = row.bar.map(|(_, value)| value);
            json!({
                "name": row.name,
                "value": row.value,
                "unit": row.unit,
                "bar": bar,
                "reached": row.verdict(),
            })
        });
        rows.collect()
    }
}

impl Row {
    fn verdict(&self) -> Option<bool> {
        self.bar.map(|(bar, value)| match bar {
            Bar::AtMost => self.value <= value,
            Bar::AtLeast => self.value >= value,
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, value, unit, ..
        } = self;
        write!(f, "{name:<60} {value:>10.2} {unit:<8}")?;
        if let (Some((bar, value)), Some(is_reached)) = (self.bar, self.verdict()) {
            let sign = match bar {
                Bar::AtMost => "at most",
                Bar::AtLeast => "at least",
            };
            let verdict = if is_reached { "reached" } else { "MISSED" };
            write!(f, " {sign} {value} {verdict}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.0 {
            writeln!(f, "{row}")?;
        }
        Ok(())
    }
}
