//! Configuration errors, with source, cause and advice.

use astreum_script::edit_distance;
use core::fmt;
use std::path::{Path, PathBuf};

use super::excerpt::Excerpt;
use super::keys::{KEYS, Key};
use super::source::Source;
use super::value::Mismatch;

/// One error in a configuration.
#[derive(Clone, Debug)]
pub enum ConfigError {
    /// A source sets a key that does not exist.
    UnknownKey {
        /// Source that sets it.
        source: Source,
        /// Key in its original spelling.
        name: String,
        /// Key that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A value that the key does not allow.
    NotAllowed {
        /// Source of the value.
        source: Source,
        /// Key of the value.
        key: &'static Key,
        /// Value, or the invalid part of it; `None` for a secret.
        value: Option<String>,
        /// Difference between its type and that of the key.
        mismatch: Option<Mismatch>,
        /// Reason the value is invalid, unless the allowed values state it.
        reason: Option<&'static str>,
    },
    /// The file as a whole cannot be used.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Line of the error, from 1, if it concerns one.
        line: Option<usize>,
        /// Description of the error.
        message: String,
        /// Place of the error, if it concerns a line.
        excerpt: Option<Excerpt>,
    },
    /// Two keys contradict each other.
    Conflict {
        /// One key and its source.
        first: (&'static str, Source),
        /// The other key and its source.
        second: (&'static str, Source),
        /// Advice on the resolution.
        advice: &'static str,
    },
    /// A valid value that a node cannot be started with, such as the path of a missing file.
    Unusable {
        /// Source of the value.
        source: Source,
        /// Name of the key.
        key: &'static str,
        /// Reason, and advice on what to do.
        message: String,
    },
}

impl ConfigError {
    /// Returns the description without the place.
    #[must_use]
    pub fn message(&self) -> String {
        Message(self).to_string()
    }

    /// Returns the source or the file that the error is in, with the line; for a conflict, that of
    /// the first key.
    #[must_use]
    pub fn place(&self) -> String {
        match (self, self.source()) {
            (Self::File { path, line, .. }, _) => match line {
                Some(line) => format!("{}:{line}", path.display()),
                None => path.display().to_string(),
            },
            (_, source) => source.map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// Returns the source of the value that the error is about; for a conflict, that of the first
    /// key. An error of a whole file has none.
    const fn source(&self) -> Option<&Source> {
        match self {
            Self::UnknownKey { source, .. }
            | Self::NotAllowed { source, .. }
            | Self::Unusable { source, .. }
            | Self::Conflict {
                first: (_, source), ..
            } => Some(source),
            Self::File { .. } => None,
        }
    }

    /// Returns the path of the file that the error is in, if it is in one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            _ => self.source()?.file(),
        }
    }

    /// Returns the line of the error, from 1, if it concerns one.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } => *line,
            _ => self.excerpts().first().map(|excerpt| excerpt.line),
        }
    }

    /// Returns the parts of the file that the error is about.
    #[must_use]
    pub fn excerpts(&self) -> Vec<&Excerpt> {
        let found = match self {
            Self::UnknownKey { source, .. }
            | Self::NotAllowed { source, .. }
            | Self::Unusable { source, .. } => [source.excerpt(), None],
            Self::File { excerpt, .. } => [excerpt.as_ref(), None],
            Self::Conflict { first, second, .. } => [first.1.excerpt(), second.1.excerpt()],
        };
        found.into_iter().flatten().collect()
    }
}

/// Place, message and excerpts of the file.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { .. }
            | Self::Unusable {
                source: Source::Default,
                ..
            } => Message(self).fmt(f)?,
            _ => write!(f, "{}: {}", self.place(), Message(self))?,
        }
        for excerpt in self.excerpts() {
            write!(f, "\n{excerpt}")?;
        }
        Ok(())
    }
}

/// Description of an error without its place.
struct Message<'e>(&'e ConfigError);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ConfigError::UnknownKey {
                name, suggestion, ..
            } => {
                write!(f, "unknown key {name:?}")?;
                match suggestion {
                    Some(suggestion) => write!(f, "; did you mean {suggestion}?"),
                    None => f.write_str("; `astreum config` lists the keys"),
                }
            }
            ConfigError::NotAllowed {
                key,
                value,
                mismatch,
                reason,
                ..
            } => {
                let name = key.name;
                match value {
                    Some(value) => write!(f, "invalid value {value} for {name}: ")?,
                    None => write!(f, "invalid value for {name} (not shown): ")?,
                }
                if let Some(reason) = reason {
                    write!(f, "{reason}; ")?;
                }
                write!(f, "expected {}", key.allowed)?;
                match mismatch {
                    Some(Mismatch { found, is_quoted }) => {
                        let advice = if *is_quoted {
                            "; remove the quotes"
                        } else {
                            ""
                        };
                        write!(f, ", found {found}{advice}")
                    }
                    None => Ok(()),
                }
            }
            ConfigError::File { message, .. } => f.write_str(message),
            ConfigError::Unusable { key, message, .. } => write!(f, "{key}: {message}"),
            ConfigError::Conflict {
                first: (first, first_source),
                second: (second, second_source),
                advice,
            } => write!(
                f,
                "{first} ({first_source}) and {second} ({second_source}) conflict; {advice}"
            ),
        }
    }
}

impl core::error::Error for ConfigError {}

/// All errors in a configuration, one after another.
#[derive(Clone, Debug)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// Returns `Ok` if there are no errors.
    pub(crate) fn check(errors: Vec<ConfigError>) -> Result<(), Self> {
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Self(errors)),
        }
    }

    /// Returns the errors, at least one.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigErrors {}

/// Names for keys that other versions of the reference, or habit, use.
const ALTERNATIVE_NAMES: &[(&str, &str)] = &[
    ("default_seeds", "default_seed"),
    ("seed", "default_seed"),
    ("seeds", "additional_seeds"),
    ("bootstrap", "default_seed"),
    ("hot_storage_default_limit", "hot_storage_limit"),
    ("cold_storage_scale", "cold_storage_level_size"),
    ("cold_storage_base_size", "cold_storage_level_size"),
    ("logging_retention", "logging_retention_days"),
    ("retention_days", "logging_retention_days"),
    ("validator_secret_key", "validation_secret_key"),
    ("validator_secret_key_file", "validation_secret_key_file"),
    ("validator_signer", "validation_signer"),
    ("validator_public_key", "validation_public_key"),
    ("passphrase_file", "key_passphrase_file"),
    ("port", "incoming_port"),
    ("listen_port", "incoming_port"),
    ("outgoing_port", "incoming_port"),
    ("socket", "control_socket"),
    ("relay_ip_address", "advertised_address"),
];

/// Returns the key that `name` probably refers to.
pub(crate) fn suggest(name: &str) -> Option<&'static str> {
    let name: String = name
        .chars()
        .take(64)
        .map(|c| {
            if c == '-' {
                '_'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect();
    let other = ALTERNATIVE_NAMES.iter().find(|(other, _)| *other == name);
    if let Some((_, meant)) = other {
        return Some(meant);
    }
    let distance = |key: &'static Key| (edit_distance(&name, key.name), key.name);
    let (distance, nearest) = KEYS.iter().map(distance).min()?;
    (distance <= 1 + name.len() / 5).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_keys_for_typing_errors_and_old_names() {
        assert_eq!(suggest("incomming_port"), Some("incoming_port"));
        assert_eq!(suggest("Peer-Timeout"), Some("peer_timeout"));
        assert_eq!(suggest("default_seeds"), Some("default_seed"));
        assert_eq!(suggest("retention_days"), Some("logging_retention_days"));
        assert_eq!(suggest("zzzzzzzz"), None);
    }

    #[test]
    fn alternative_names_are_not_keys_and_map_to_keys() {
        for (other, meant) in ALTERNATIVE_NAMES {
            assert!(Key::find(other).is_none(), "{other}");
            assert!(Key::find(meant).is_some(), "{meant}");
        }
    }
}
