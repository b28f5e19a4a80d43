//! Source of a configured value, for messages.

use core::fmt;
use std::path::{Path, PathBuf};

use super::excerpt::Excerpt;

/// Source of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Default value; no source sets it.
    Default,
    /// A line of the TOML file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Part of the line that is meant.
        excerpt: Excerpt,
    },
    /// An environment variable.
    Environment {
        /// Name of the variable.
        variable: String,
    },
    /// A flag on the command line.
    Flag {
        /// Flag, with its dashes.
        flag: String,
    },
}

impl Source {
    /// Returns the path of the file, if the value is from a file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Returns the excerpt of the file, if the value is from a file.
    #[must_use]
    pub const fn excerpt(&self) -> Option<&Excerpt> {
        match self {
            Self::File { excerpt, .. } => Some(excerpt),
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, .. } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::Flag { flag } => f.write_str(flag),
        }
    }
}
