//! Manifest: the object that lists the pairs that count, and the node that may change it.
//!
//! JSON under one fixed key. A writer replaces it as a whole by a compare-and-swap on its version in
//! the store (ETag), so that of two writers one fails. `version` grows with each write: no content,
//! and so no ETag, occurs twice.

use crate::store::sorted_pair::{data_name, index_name, lengths_name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Key of the manifest.
pub(super) const MANIFEST: &str = "manifest.json";
/// Prefix of the keys of all other objects.
pub(super) const PAIRS: &str = "pairs/";
/// Maximum length of a manifest in bytes.
pub(super) const MAX_BYTES: usize = 16 << 20;
const FORMAT: &str = "astreum object store 1";
/// Fixed text of `format` in any version.
const FORMAT_START: &str = "astreum object store ";
/// Maximum level of a pair.
const MAX_LEVEL: u32 = 20;
/// Bits of a pair's number below those of the epoch in which it was made.
const NUMBER_BITS: u32 = 24;

/// Node that may change the manifest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Writer {
    /// Random id of the node's local directory, in hex.
    pub(super) id: String,
    /// Name for people: host and process.
    pub(super) name: String,
}

/// Sealed pair.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(super) struct PairEntry {
    pub(super) level: u32,
    /// Number that no other pair has or had.
    pub(super) number: u64,
    /// Random part of the keys, in hex.
    pub(super) nonce: String,
    /// Lengths of its objects, in bytes.
    pub(super) index: u64,
    pub(super) data: u64,
    pub(super) lengths: u64,
    /// Length of the fingerprint index; 0 if there is none.
    pub(super) fingerprints: u64,
}

/// Kind of an object of a pair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Index,
    Data,
    Lengths,
    Fingerprints,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Index, Self::Data, Self::Lengths, Self::Fingerprints];

    /// Returns the name of the file of this kind.
    pub(super) fn file_name(self, number: u64) -> String {
        match self {
            Self::Index => index_name(number),
            Self::Data => data_name(number),
            Self::Lengths => lengths_name(number),
            Self::Fingerprints => format!("{number}_fingerprints"),
        }
    }
}

impl PairEntry {
    /// Returns the length of one of its objects, in bytes.
    pub(super) const fn len(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Index => self.index,
            Kind::Data => self.data,
            Kind::Lengths => self.lengths,
            Kind::Fingerprints => self.fingerprints,
        }
    }

    /// Returns the name of one of its objects: unique, and a valid file name.
    pub(super) fn name(&self, kind: Kind) -> String {
        let Self { level, nonce, .. } = self;
        format!("{level}-{nonce}-{}", kind.file_name(self.number))
    }

    /// Returns the key of one of its objects.
    pub(super) fn key(&self, kind: Kind) -> String {
        format!("{PAIRS}{}", self.name(kind))
    }

    /// Returns the keys of all its objects.
    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        let existing = Kind::ALL.into_iter().filter(|kind| self.len(*kind) > 0);
        existing.map(|kind| self.key(kind))
    }

    fn check(&self) -> Result<(), String> {
        let Self {
            level,
            number,
            nonce,
            ..
        } = self;
        let is_valid = (1..=MAX_LEVEL).contains(level)
            && *number < u64::MAX
            && nonce.len() == 16
            && nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
        match is_valid {
            true => Ok(()),
            false => Err(format!("invalid pair {number} of level {level}")),
        }
    }
}

/// Returns the first number of the pairs that are made in an epoch.
pub(super) const fn first_number(epoch: u64) -> u64 {
    epoch << NUMBER_BITS
}

/// Returns the epoch in which the pair of an object with this key was made.
pub(super) fn epoch_of(key: &str) -> Option<u64> {
    let name = key.strip_prefix(PAIRS)?;
    let (number, _) = name.split('-').nth(2)?.split_once('_')?;
    number.parse::<u64>().ok().map(|it| it >> NUMBER_BITS)
}

/// Pair that was replaced, and whose objects are not deleted yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Retired {
    pub(super) pair: PairEntry,
    /// Time of the replacement, in seconds since 1970, by the clock of the node that replaced it.
    pub(super) since: u64,
}

/// Content of the manifest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: String,
    /// Number of this content; one more than that of the content before.
    pub(super) version: u64,
    /// Number of times that a node has become the writer.
    pub(super) epoch: u64,
    pub(super) writer: Option<Writer>,
    pub(super) pairs: Vec<PairEntry>,
    pub(super) retired: Vec<Retired>,
}

/// Manifest of a store that was never written to.
impl Default for Manifest {
    fn default() -> Self {
        Self {
            format: FORMAT.into(),
            version: 0,
            epoch: 0,
            writer: None,
            pairs: Vec::new(),
            retired: Vec::new(),
        }
    }
}

impl Manifest {
    /// Parses and checks a manifest; `Err` states what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_BYTES {
            return Err(format!("it exceeds the maximum of {MAX_BYTES} bytes"));
        }
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| format!("it is damaged: {error}"))?;
        let format = value.get("format").and_then(|format| format.as_str());
        match format {
            Some(FORMAT) => {}
            Some(other) if other.starts_with(FORMAT_START) => {
                return Err(format!(
                    "it has the format {other:?}: use a newer version of this program"
                ));
            }
            _ => return Err("it is not a manifest of this program".into()),
        }
        let manifest: Self =
            serde_json::from_value(value).map_err(|error| format!("it is damaged: {error}"))?;
        let mut numbers = BTreeSet::new();
        for pair in &manifest.pairs {
            pair.check()?;
            if !numbers.insert(pair.number) {
                return Err(format!("it has two pairs with the number {}", pair.number));
            }
        }
        for retired in &manifest.retired {
            retired.pair.check()?;
            if numbers.contains(&retired.pair.number) {
                let number = retired.pair.number;
                return Err(format!("pair {number} is in use and retired"));
            }
        }
        Ok(manifest)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Numbers, texts and lists cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn pair(&self, level: u32, number: u64) -> Option<&PairEntry> {
        let mut pairs = self.pairs.iter();
        pairs.find(|pair| pair.number == number && pair.level == level)
    }

    /// Moves a pair to those that are retired; has no effect if it is not in use.
    pub(super) fn retire(&mut self, level: u32, number: u64, now: u64) {
        let is_it = |pair: &PairEntry| pair.number == number && pair.level == level;
        let since = now;
        let retired = self.pairs.extract_if(.., |pair| is_it(pair));
        self.retired
            .extend(retired.map(|pair| Retired { pair, since }));
    }

    /// Returns the keys of all objects that may be read or are to be deleted later.
    pub(super) fn keys(&self) -> BTreeSet<String> {
        let retired = self.retired.iter().map(|retired| &retired.pair);
        let pairs = self.pairs.iter().chain(retired);
        pairs.flat_map(PairEntry::keys).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(number: u64) -> PairEntry {
        PairEntry {
            level: 1,
            number,
            nonce: "00112233445566aa".into(),
            index: 224,
            data: 40,
            lengths: 46,
            fingerprints: 0,
        }
    }

    #[test]
    fn manifest_round_trips_and_rejects_malformed() {
        let manifest = Manifest {
            version: 7,
            epoch: 3,
            writer: Some(Writer {
                id: "aa".into(),
                name: "host".into(),
            }),
            pairs: vec![pair(first_number(3)), pair(first_number(3) + 1)],
            retired: vec![Retired {
                pair: pair(1),
                since: 1_800_000_000,
            }],
            ..Manifest::default()
        };
        let bytes = manifest.to_bytes();
        assert_eq!(Manifest::parse(&bytes), Ok(manifest.clone()));
        let text = String::from_utf8(bytes).unwrap();
        let refused = |from: &str, to: &str| {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            Manifest::parse(changed.as_bytes()).unwrap_err()
        };
        assert!(refused("store 1", "store 2").contains("newer version"));
        assert!(refused("astreum", "another").contains("not a manifest"));
        assert!(refused("\"level\":1", "\"level\":0").contains("invalid pair"));
        assert!(refused("00112233445566aa", "../../manifest..").contains("invalid pair"));
        assert!(refused("50331649", "50331648").contains("two pairs"));
        assert!(refused("\"number\":1,", "\"number\":50331648,").contains("retired"));
        assert!(refused("}", "").contains("damaged"));
        assert!(Manifest::parse(b"").is_err());
    }

    #[test]
    fn keys_are_unique_and_tell_the_epoch() {
        let pair = pair(first_number(9) + 5);
        let keys: BTreeSet<String> = pair.keys().collect();
        assert_eq!(keys.len(), 3);
        assert!(keys.iter().all(|key| epoch_of(key) == Some(9)), "{keys:?}");
        assert_eq!(epoch_of("pairs/other"), None);
        assert_eq!(epoch_of("manifest.json"), None);
    }

    #[test]
    fn retired_pair_is_not_in_use_and_keeps_its_keys() {
        let mut manifest = Manifest {
            pairs: vec![pair(1), pair(2)],
            ..Manifest::default()
        };
        manifest.retire(2, 1, 5);
        assert_eq!(manifest.pairs.len(), 2);
        manifest.retire(1, 1, 5);
        assert_eq!((manifest.pairs.len(), manifest.retired.len()), (1, 1));
        assert_eq!(manifest.keys().len(), 6);
        assert!(manifest.pair(1, 1).is_none() && manifest.pair(1, 2).is_some());
    }
}
