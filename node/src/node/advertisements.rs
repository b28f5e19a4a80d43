//! Advertisements of a node: kept while it is not connected; indefinite ones survive restarts.

use super::{Node, NodeError, line_file};
use crate::log;
use crate::net::Advertisement;
use astreum_core::atom::AtomId;
use astreum_core::engine::limits::MAX_ADVERTISEMENTS;
use astreum_core::wire::object::PayloadType;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

const FILE_NAME: &str = "advertisements";
const FORMAT: &str = "astreum advertisements 1";
/// Maximum file size in bytes; larger than any file that is written.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// Advertisements of this node's user, without those that the chain makes on its own.
#[derive(Debug, Default)]
pub(super) struct Advertised {
    by_id: BTreeMap<AtomId, (PayloadType, Option<Instant>)>,
    /// File of the indefinite advertisements.
    file: Option<PathBuf>,
}

impl Advertised {
    /// Returns the advertisements that have not expired, with their remaining time.
    pub(super) fn list(&mut self) -> Vec<Advertisement> {
        let now = Instant::now();
        self.by_id
            .retain(|_, (_, expires)| expires.is_none_or(|at| at > now));
        let all = self.by_id.iter();
        all.map(|(id, (kind, expires))| Advertisement {
            id: *id,
            kind: *kind,
            lifetime: expires.map(|at| at - now),
        })
        .collect()
    }

    fn save(&self) -> io::Result<()> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let indefinite = self
            .by_id
            .iter()
            .filter(|(_, (_, expires))| expires.is_none());
        let lines = indefinite.map(|(id, (kind, _))| {
            let kind = if *kind == PayloadType::LIST {
                "list"
            } else {
                "atom"
            };
            format!("{kind} {id}")
        });
        line_file::replace(path, &line_file::encode(FORMAT, lines))
    }
}

/// Returns the indefinite advertisements in the file in `directory`.
///
/// # Errors
/// Fails if the file is damaged or cannot be read.
pub(crate) fn saved(directory: &Path) -> io::Result<Vec<AtomId>> {
    let entries = load(&directory.join(FILE_NAME))?;
    Ok(entries.into_iter().map(|(id, _)| id).collect())
}

fn load(path: &Path) -> io::Result<Vec<(AtomId, PayloadType)>> {
    let Some(text) = line_file::read(path, MAX_FILE_BYTES)? else {
        return Ok(Vec::new());
    };
    let entry = |line: &str| {
        let (kind, id) = line.split_once(' ')?;
        let kind = match kind {
            "atom" => PayloadType::ATOM,
            "list" => PayloadType::LIST,
            _ => return None,
        };
        Some((id.parse().ok()?, kind))
    };
    let lines = line_file::parse(FORMAT, &text).map_err(io::Error::other)?;
    let entries = lines.take(MAX_ADVERTISEMENTS).map(entry);
    let entries = entries.collect::<Option<Vec<_>>>();
    entries.ok_or_else(|| io::Error::other(line_file::DAMAGED))
}

impl Node {
    /// Tells the closest peers that this node has an object, at once and every
    /// `storage_index_interval`, until `lifetime` is over; `None` until it is withdrawn. A node
    /// that is not connected starts once it is.
    ///
    /// # Errors
    /// Fails if too many objects are advertised, or if the file of indefinite advertisements cannot
    /// be written.
    pub fn advertise(
        &self,
        id: AtomId,
        kind: PayloadType,
        lifetime: Option<Duration>,
    ) -> Result<(), NodeError> {
        self.advertise_all(&[Advertisement { id, kind, lifetime }])
    }

    /// Same as [`Node::advertise`], for several objects.
    ///
    /// # Errors
    /// Same as [`Node::advertise`]. Some objects may be advertised.
    pub fn advertise_all(&self, advertisements: &[Advertisement]) -> Result<(), NodeError> {
        let mut advertised = self.advertised_here();
        let now = Instant::now();
        let mut is_saved = true;
        for &Advertisement { id, kind, lifetime } in advertisements {
            let is_known = advertised.by_id.contains_key(&id);
            if !is_known && advertised.by_id.len() >= MAX_ADVERTISEMENTS {
                // Removes expired ones, which were still counted.
                advertised.list();
            }
            if !is_known && advertised.by_id.len() >= MAX_ADVERTISEMENTS {
                return Err(NodeError::TooManyAdvertisements);
            }
            let expires = lifetime.and_then(|lifetime| now.checked_add(lifetime));
            let before = advertised.by_id.insert(id, (kind, expires));
            let was_saved = before.is_some_and(|(_, expires)| expires.is_none());
            is_saved &= expires.is_some() && !was_saved;
        }
        if !is_saved {
            advertised.save().map_err(NodeError::Advertisements)?;
        }
        // Released first: connecting takes the locks in the other order.
        drop(advertised);
        let Ok(handle) = self.handle() else {
            return self.check();
        };
        for advertisement in advertisements {
            if !handle.advertise(*advertisement)? {
                return Err(NodeError::TooManyAdvertisements);
            }
        }
        Ok(())
    }

    /// Returns the objects that this node's user advertises, with the remaining time of each.
    #[must_use]
    pub fn advertised(&self) -> Vec<Advertisement> {
        self.advertised_here().list()
    }

    /// Ends an advertisement; returns `false` if there was none.
    ///
    /// # Errors
    /// Fails if the file of indefinite advertisements cannot be written.
    pub fn withdraw(&self, id: AtomId) -> Result<bool, NodeError> {
        let removed = {
            let mut advertised = self.advertised_here();
            let removed = advertised.by_id.remove(&id);
            if removed.is_some_and(|(_, expires)| expires.is_none()) {
                advertised.save().map_err(NodeError::Advertisements)?;
            }
            removed.is_some()
        };
        let ended = match self.handle() {
            Ok(handle) => handle.withdraw(id)?,
            Err(_) => false,
        };
        Ok(removed || ended)
    }

    /// Advertises the objects listed in a file in `directory`, and keeps indefinite advertisements
    /// there. A damaged file is reported and replaced.
    ///
    /// # Errors
    /// Fails if too many objects are advertised.
    pub fn remember_advertisements(&self, directory: &Path) -> Result<(), NodeError> {
        let path = directory.join(FILE_NAME);
        let loaded = load(&path).unwrap_or_else(|error| {
            let path = path.display();
            self.logged(|| {
                log::warn!(
                    "failed to read the advertisements of the previous run: {path}: {error}"
                );
            });
            Vec::new()
        });
        let advertisements: Vec<Advertisement> = loaded
            .into_iter()
            .map(|(id, kind)| Advertisement {
                id,
                kind,
                lifetime: None,
            })
            .collect();
        // The file is not set yet, so that its entries are not written again.
        self.advertise_all(&advertisements)?;
        self.advertised_here().file = Some(path);
        Ok(())
    }

    fn advertised_here(&self) -> MutexGuard<'_, Advertised> {
        let advertised = self.advertised.lock();
        advertised.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn id(byte: u8) -> AtomId {
        AtomId::new([byte; 32])
    }

    #[test]
    fn indefinite_advertisements_survive_a_restart_and_others_expire() {
        let scratch = tempfile::tempdir().unwrap();
        let node = || {
            let node = Node::new(Config::default()).unwrap();
            node.remember_advertisements(scratch.path()).unwrap();
            node
        };
        let first = node();
        let hour = Some(Duration::from_secs(3_600));
        let advertisement = |byte, lifetime| Advertisement {
            id: id(byte),
            kind: PayloadType::LIST,
            lifetime,
        };
        let all = [advertisement(1, None), advertisement(2, hour)];
        first.advertise_all(&all).unwrap();
        first.advertise(id(3), PayloadType::ATOM, None).unwrap();
        first
            .advertise(id(4), PayloadType::ATOM, Some(Duration::ZERO))
            .unwrap();
        let ids = |node: &Node| -> Vec<AtomId> {
            let advertised = node.advertised();
            advertised.iter().map(|it| it.id).collect()
        };
        assert_eq!(ids(&first), [id(1), id(2), id(3)]);
        let second = node();
        assert_eq!(ids(&second), [id(1), id(3)]);
        assert_eq!(second.advertised()[0].kind, PayloadType::LIST);
        assert!(second.withdraw(id(1)).unwrap() && !second.withdraw(id(1)).unwrap());
        // An advertisement that is given a lifetime is not saved any more.
        second.advertise(id(3), PayloadType::ATOM, hour).unwrap();
        assert_eq!(ids(&node()), []);
        std::fs::write(scratch.path().join(FILE_NAME), "nonsense").unwrap();
        let third = node();
        third.advertise(id(5), PayloadType::ATOM, None).unwrap();
        assert_eq!(ids(&node()), [id(5)]);
    }
}
