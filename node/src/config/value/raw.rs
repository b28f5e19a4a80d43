//! Values as flags, environment and file contain them, before a key gives them a type.

use core::fmt;

/// Uninterpreted value from a source.
#[derive(Clone, Debug)]
pub(in crate::config) enum Raw {
    /// Value of a flag or an environment variable, where everything is text.
    Text(String),
    /// A TOML string.
    Quoted(String),
    /// TOML integer and its digits; `None` if it does not fit into an `i128`.
    Whole(Option<i128>, String),
    /// TOML float in its original notation.
    Real(String),
    /// TOML boolean.
    Switch(bool),
    /// TOML array, or a repeated flag.
    List(Vec<Self>),
    /// Name of a TOML type that no key has.
    Other(&'static str),
}

impl Raw {
    /// Returns a text without the white space around it.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Quoted(text) => Some(text.trim()),
            _ => None,
        }
    }

    /// Returns a non-negative integer.
    pub(super) fn whole(&self) -> Option<u64> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Whole(number, _) => number.and_then(|number| u64::try_from(number).ok()),
            _ => None,
        }
    }

    /// Returns an integer or a float as a float.
    pub(super) fn real(&self) -> Option<f64> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Real(text) => text.replace('_', "").parse().ok(),
            Self::Whole(..) => self.whole().map(whole_to_real),
            _ => None,
        }
    }

    /// Returns the name of the type in error messages.
    pub(super) const fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Quoted(_) => "a string",
            Self::Whole(..) => "an integer",
            Self::Real(_) => "a float",
            Self::Switch(_) => "a boolean",
            Self::List(_) => "an array",
            Self::Other(name) => name,
        }
    }
}

/// Form for error messages; never used for a secret.
impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Quoted(text) => write!(f, "{text:?}"),
            Self::Whole(Some(number), _) => number.fmt(f),
            Self::Whole(None, text) | Self::Real(text) => f.write_str(text),
            Self::Switch(value) => value.fmt(f),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
            Self::Other(what) => f.write_str(what),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "whole seconds far below 2^53 are exact; larger ones are refused"
)]
fn whole_to_real(number: u64) -> f64 {
    number as f64
}
