//! Values about the log.

use super::{DisplayValue, OptionalSetting, Raw, Setting, parsed};
use core::str::FromStr;
use log::LevelFilter;

/// Levels of the log: one for all modules, and others for single ones, in the order in which they
/// stand in a list with commas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFilter(String);

impl LogFilter {
    /// Parses the list; `None` if a level or the name of a module is malformed.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::parse(text)
    }

    /// Returns the list as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_directive(directive: &str) -> bool {
    let is_level = |level: &str| LevelFilter::from_str(level).is_ok();
    let is_module = |module: &str| {
        let mut characters = module.chars();
        !module.is_empty() && characters.all(|it| it.is_ascii_alphanumeric() || "_:".contains(it))
    };
    match directive.split_once('=') {
        Some((module, level)) => is_module(module) && is_level(level),
        // A module alone is probably a misspelled level.
        None => is_level(directive),
    }
}

impl OptionalSetting for LogFilter {
    fn parse(text: &str) -> Option<Self> {
        let directives: Vec<&str> = text.split(',').map(str::trim).collect();
        let is_valid = directives.iter().all(|directive| is_directive(directive));
        is_valid.then(|| Self(directives.join(",")))
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.0.clone())
    }
}

/// Form of the lines in a log file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// JSON objects with the fields of the reference.
    #[default]
    Json,
    /// Human-readable text.
    Text,
}

impl Setting for LogFormat {
    fn read(raw: &Raw) -> Result<Self, String> {
        let value = match raw.text() {
            Some("json") => Some(Self::Json),
            Some("text") => Some(Self::Text),
            _ => None,
        };
        parsed(raw, value)
    }

    fn show(&self) -> DisplayValue {
        let name = match self {
            Self::Json => "json",
            Self::Text => "text",
        };
        DisplayValue::Text(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_of_all_modules_or_of_one() {
        let of = |text: &str| LogFilter::parse(text).map(|filter| filter.0);
        assert_eq!(of("info").as_deref(), Some("info"));
        let both = "warn, astreum_node::net=debug";
        assert_eq!(of(both).as_deref(), Some("warn,astreum_node::net=debug"));
        for wrong in [
            "loud",
            "net",
            "a=b",
            "=info",
            "info,",
            "info/regex",
            "a b=info",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
