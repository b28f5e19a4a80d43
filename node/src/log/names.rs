//! Names of rotated log files: `node-YYYY-MM-DD.log`, with a number from the second file of a day
//! on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::date::Date;

/// Name of the current file.
pub(super) const CURRENT: &str = "node.log";
const PREFIX: &str = "node-";
const PLAIN_SUFFIX: &str = ".log";
const PACKED_SUFFIX: &str = ".log.gz";
const UNFINISHED_SUFFIX: &str = ".log.gz.tmp";

/// State of a rotated file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Plain,
    Packed,
    /// Interrupted compression.
    Unfinished,
}

impl Kind {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => PLAIN_SUFFIX,
            Self::Packed => PACKED_SUFFIX,
            Self::Unfinished => UNFINISHED_SUFFIX,
        }
    }
}

/// Parts of a rotated file's name. The order is that of rotation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Name {
    pub(super) day: Date,
    pub(super) number: u32,
    pub(super) kind: Kind,
}

impl Name {
    /// Parses the name of a rotated file; `None` for any other name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(PREFIX)?;
        let kinds = [Kind::Unfinished, Kind::Packed, Kind::Plain];
        let (kind, stem) = kinds
            .into_iter()
            .find_map(|kind| Some((kind, rest.strip_suffix(kind.suffix())?)))?;
        let (day, number) = stem.split_once('.').unwrap_or((stem, "0"));
        let parsed = Self {
            day: day.parse().ok()?,
            number: number.parse().ok()?,
            kind,
        };
        (parsed.path(Path::new("")) == Path::new(name)).then_some(parsed)
    }

    pub(super) fn path(self, directory: &Path) -> PathBuf {
        let Self { day, number, kind } = self;
        let suffix = kind.suffix();
        directory.join(match number {
            0 => format!("{PREFIX}{day}{suffix}"),
            _ => format!("{PREFIX}{day}.{number}{suffix}"),
        })
    }
}

/// Directory entry with the name of a rotated file.
#[derive(Debug)]
pub(super) struct Rotated {
    pub(super) name: Name,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    /// `true` if it is a regular file, and not a directory or a link, for instance.
    pub(super) is_file: bool,
}

/// Lists entries with the name of a rotated file, in the order of rotation. Entries whose metadata
/// cannot be read are left out.
pub(super) fn rotated(directory: &Path) -> io::Result<Vec<Rotated>> {
    let entries = fs::read_dir(directory)?;
    let mut rotated: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = Name::parse(path.file_name()?.to_str()?)?;
            let metadata = fs::symlink_metadata(&path).ok()?;
            Some(Rotated {
                name,
                path,
                len: metadata.len(),
                is_file: metadata.is_file(),
            })
        })
        .collect();
    rotated.sort_by_key(|file| file.name);
    Ok(rotated)
}

/// Returns a name for the next file of a day, after all existing ones.
pub(super) fn next_name(directory: &Path, day: Date) -> io::Result<Name> {
    let of_day = rotated(directory)?
        .into_iter()
        .filter(|file| file.name.day == day);
    let last = of_day.map(|file| file.name.number).max();
    let number = match last {
        None => 0,
        Some(last) => last
            .checked_add(1)
            .ok_or_else(|| io::Error::other(format!("{day} has too many log files")))?,
    };
    let kind = Kind::Plain;
    Ok(Name { day, number, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_foreign_ones_are_rejected() {
        let directory = Path::new("");
        for text in [
            "node-2026-11-22.log",
            "node-2026-11-22.1.log",
            "node-2026-11-22.4294967295.log.gz",
            "node-2026-11-22.log.gz.tmp",
        ] {
            let name = Name::parse(text).unwrap();
            assert_eq!(name.path(directory), Path::new(text));
        }
        for text in [
            "node.log",
            "node-mine.log",
            "node-2026-11-31.log",
            "node-2026-11-22.x.log",
            "node-2026-11-22.+1.log",
            "node-2026-11-22.0.log",
            "node-2026-11-22.log.xz",
            "other-2026-11-22.log",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
