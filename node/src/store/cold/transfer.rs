//! Operations on all atoms: verification, import and export.

use super::progress::{Pending, Progress};
use super::{ColdError, ColdOptions, ColdStore, MAX_HEADERS, Snapshot};
use crate::config::ColdStorageSync;
use crate::store::disk::{DirEntry, Disk, ReadOnlyDisk, SystemDisk};
use crate::store::sorted_pair::{Files, Item, PairWriter, Salvage};
use astreum_core::atom::{Atom, AtomId};
use astreum_core::chain::Block;
use core::ops::ControlFlow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Maximum number of atoms put together.
const BATCH_ATOMS: usize = 10_000;
/// Bytes after which a batch is put earlier.
const BATCH_BYTES: usize = 8 << 20;

/// Result of [`ColdStore::verify`]; the damaged places are in the store's statistics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Number of places of atoms, including those that become readable only by a repair, and
    /// damaged ones.
    pub atoms: u64,
    /// Number of places without an intact copy of their atom.
    pub damaged: u64,
}

/// Result of an import or export.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Transferred {
    /// Number of intact atoms.
    pub atoms: u64,
    /// Number of damaged atoms, which are not transferred.
    pub damaged: u64,
}

impl ColdStore {
    /// Reads and verifies every atom in every file.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Verified, ColdError> {
        let snapshot = self.inner.snapshot.load_full();
        let mut verified = Verified::default();
        self.each_atom(&snapshot, progress, |_, atom| {
            verified.atoms += 1;
            verified.damaged += u64::from(atom.is_none());
            Ok(())
        })?;
        self.inner.headers.each(|block| {
            verified.atoms += 1;
            verified.damaged += u64::from(block.is_none());
            Ok(())
        })?;
        Ok(verified)
    }

    /// Imports every atom from the directory of another store, of this implementation or of a
    /// reference node. The other store is not changed.
    ///
    /// # Errors
    /// Fails if the other store cannot be opened, a disk fails, or the limit is reached.
    pub fn import(
        &self,
        from: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Transferred, ColdError> {
        let source = Self::open_to_read(from, self.options().mapped)?;
        source.copy_to(self, progress)
    }

    /// Exports every atom to the store in another directory, which is created if missing.
    ///
    /// # Errors
    /// Same as [`Self::import`].
    pub fn export(
        &self,
        to: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Transferred, ColdError> {
        let options = ColdOptions {
            limit_bytes: 0,
            sync: ColdStorageSync::Never,
            ..self.options()
        };
        let target = Self::open(to, options)?;
        let transferred = self.copy_to(&target, progress)?;
        target.sync()?;
        Ok(transferred)
    }

    /// Writes every atom to an empty directory as one pair that a reference node can open, with
    /// only files that it knows. Atoms that become readable only by a repair are left out.
    ///
    /// # Errors
    /// Fails if the directory is not empty or a disk fails.
    pub fn export_reference(
        &self,
        to: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Transferred, ColdError> {
        let disk = SystemDisk;
        let failed = |error| ColdError::io("write to", to, &error);
        if !disk.list(to).map_err(failed)?.is_empty() {
            return Err(ColdError::NotEmpty { path: to.into() });
        }
        let level_1 = to.join("level_1");
        for dir in [&to.join("level_0"), &level_1] {
            disk.create_dir(dir).map_err(failed)?;
        }
        disk.sync_dir(to).map_err(failed)?;
        let snapshot = self.inner.snapshot.load_full();
        let ids = self.ids(&snapshot)?;
        let mut transferred = Transferred::default();
        let mut pending = Pending::new(ids.len() as u64, progress);
        let mut writer = PairWriter::create_plain(&disk, &level_1, 0).map_err(failed)?;
        for id in &ids {
            match self.inner.get(id)? {
                Some(atom) => {
                    writer.push(id, &atom).map_err(failed)?;
                    transferred.atoms += 1;
                }
                None => transferred.damaged += 1,
            }
            pending.advance();
        }
        if writer.count() > 0 {
            writer.finish().map_err(failed)?;
        }
        self.export_headers(&level_1, &mut transferred)?;
        Ok(transferred)
    }

    /// Writes the atoms of the header file to pairs of their own, a bounded number at a time.
    fn export_headers(
        &self,
        level_1: &Path,
        transferred: &mut Transferred,
    ) -> Result<(), ColdError> {
        let failed = |error| ColdError::io("write to", level_1, &error);
        let (mut atoms, mut number) = (BTreeMap::new(), 1);
        let mut write = |atoms: &mut BTreeMap<AtomId, Atom>| {
            let mut writer =
                PairWriter::create_plain(&SystemDisk, level_1, number).map_err(failed)?;
            for (id, atom) in &*atoms {
                writer.push(id, atom).map_err(failed)?;
            }
            number += 1;
            transferred.atoms += atoms.len() as u64;
            atoms.clear();
            writer.finish().map_err(failed)
        };
        let mut damaged = 0;
        self.inner.headers.each(|block| {
            damaged += u64::from(block.is_none());
            atoms.extend(block.iter().flat_map(Block::to_atoms));
            match atoms.len() >= MAX_HEADERS {
                true => write(&mut atoms),
                false => Ok(()),
            }
        })?;
        if !atoms.is_empty() {
            write(&mut atoms)?;
        }
        transferred.damaged += damaged;
        Ok(())
    }

    /// Opens an existing directory for reading only; nothing in it is changed.
    ///
    /// # Errors
    /// Same as [`Self::open`]; also fails if the directory is not a store.
    pub fn open_to_read(path: &Path, mapped: bool) -> Result<Self, ColdError> {
        let listed = SystemDisk.list(path);
        let entries = listed.map_err(|error| ColdError::io("read", path, &error))?;
        let is_ours = |entry: &DirEntry| {
            entry.name == "FORMAT" || entry.is_dir && entry.name.starts_with("level_")
        };
        if !entries.iter().any(is_ours) {
            return Err(ColdError::Nothing { path: path.into() });
        }
        Self::open_on(Arc::new(ReadOnlyDisk), path, ColdOptions::to_read(mapped))
    }

    /// Calls `each` with every intact atom of `stored_len` stored bytes; an atom in two files is
    /// passed twice. Of other atoms, only the index is read. Ends early if `each` breaks.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn each_of_len(
        &self,
        stored_len: u32,
        progress: &mut dyn FnMut(Progress),
        mut each: impl FnMut(AtomId, Atom) -> ControlFlow<()>,
    ) -> Result<(), ColdError> {
        let snapshot = self.inner.snapshot.load_full();
        let inner = &self.inner;
        let waiting = snapshot.segments.iter().map(|segment| segment.atoms());
        let sealed = snapshot.pairs().map(|pair| u64::from(pair.count()));
        let mut pending = Pending::new(waiting.chain(sealed).sum(), progress);
        for segment in &snapshot.segments {
            for (id, len) in segment.lens() {
                if len == stored_len {
                    let found = segment.find(&id, |path| inner.disk.open(path));
                    let found = found.or_else(|error| inner.note(error).map_or(Ok(None), Err))?;
                    if let Some(atom) = found
                        && each(id, atom).is_break()
                    {
                        return Ok(());
                    }
                }
                pending.advance();
            }
        }
        for pair in snapshot.pairs() {
            let mut cursor = pair.cursor();
            while let Some(id) = cursor.id() {
                let is_wanted = cursor.stored_len() == Some(u64::from(stored_len));
                let atom = id.and_then(|id| match is_wanted {
                    true => cursor.atom().map(|atom| Some((id, atom))),
                    false => Ok(None),
                });
                let atom = atom.or_else(|error| inner.note(error).map_or(Ok(None), Err))?;
                if let Some((id, atom)) = atom
                    && each(id, atom).is_break()
                {
                    return Ok(());
                }
                cursor.advance();
                pending.advance();
            }
        }
        Ok(())
    }

    fn copy_to(
        &self,
        target: &Self,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Transferred, ColdError> {
        let snapshot = self.inner.snapshot.load_full();
        let mut transferred = Transferred::default();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        self.each_atom(&snapshot, progress, |id, atom| {
            let Some((id, atom)) = id.zip(atom) else {
                transferred.damaged += 1;
                return Ok(());
            };
            transferred.atoms += 1;
            bytes += atom.stored_len();
            batch.push((id, atom));
            if batch.len() >= BATCH_ATOMS || bytes >= BATCH_BYTES {
                target.put(&batch)?;
                batch.clear();
                bytes = 0;
            }
            Ok(())
        })?;
        target.put(&batch)?;
        batch.clear();
        self.inner.headers.each(|block| {
            let Some(block) = block else {
                transferred.damaged += 1;
                return Ok(());
            };
            batch.extend(block.to_atoms());
            transferred.atoms += 1;
            if batch.len() >= BATCH_ATOMS {
                target.put(&batch)?;
                batch.clear();
            }
            Ok(())
        })?;
        target.put(&batch)?;
        self.copy_pins(target)?;
        Ok(transferred)
    }

    /// Adds the pins to those of another store.
    fn copy_pins(&self, target: &Self) -> Result<(), ColdError> {
        let mut after = None;
        loop {
            let pins = self.pins(after, BATCH_ATOMS);
            let Some((last, _)) = pins.last() else {
                break;
            };
            after = Some(*last);
            for (id, kinds) in pins {
                target.add_pins(&[id], kinds)?;
            }
        }
        if !self.are_pins_complete() {
            target.set_pins_complete(false)?;
        }
        target.sync_pins()
    }

    /// Calls `each` for every place of an atom, with the atom if it is intact there.
    fn each_atom(
        &self,
        snapshot: &Snapshot,
        progress: &mut dyn FnMut(Progress),
        mut each: impl FnMut(Option<AtomId>, Option<Atom>) -> Result<(), ColdError>,
    ) -> Result<(), ColdError> {
        let inner = &self.inner;
        let waiting = snapshot.segments.iter().map(|segment| segment.atoms());
        let sealed = snapshot.pairs().map(|pair| u64::from(pair.count()));
        let mut pending = Pending::new(waiting.chain(sealed).sum(), progress);
        for segment in &snapshot.segments {
            for id in segment.ids() {
                let found = segment.find(&id, |path| inner.disk.open(path));
                let found = found.or_else(|error| inner.note(error).map_or(Ok(None), Err))?;
                each(Some(id), found)?;
                pending.advance();
            }
        }
        for level in &snapshot.levels {
            for pair in &level.pairs {
                let is_damaged =
                    self.each_of_pair(level.number, pair.number(), pair.files(), |id, atom| {
                        pending.advance();
                        each(id, atom)
                    })?;
                if is_damaged {
                    pair.set_damaged();
                }
            }
            for broken in &level.broken {
                let opened = inner.open_broken(level.number, *broken)?;
                self.each_of_pair(level.number, broken.number, opened.files(), &mut each)?;
            }
        }
        Ok(())
    }

    /// Calls `each` for the atoms of one pair, and reports damage. Returns whether the pair is
    /// damaged.
    fn each_of_pair(
        &self,
        level: u32,
        number: u64,
        files: Files<'_>,
        mut each: impl FnMut(Option<AtomId>, Option<Atom>) -> Result<(), ColdError>,
    ) -> Result<bool, ColdError> {
        let inner = &self.inner;
        let dir = inner.level_dir(level);
        let salvage = Salvage::new(&*inner.disk, &dir, number, files);
        let mut salvage = salvage.map_err(|error| inner.failed(error))?;
        while let Some(item) = salvage.next().map_err(|error| inner.failed(error))? {
            match item {
                Item::Intact(id, atom) => each(Some(id), Some(atom))?,
                Item::Lost(id) => each(Some(id), None)?,
                Item::Unknown(atoms) => (0..atoms).try_for_each(|_| each(None, None))?,
            }
        }
        let (condition, damages) = salvage.finish();
        for damage in damages {
            inner.damages.note(damage);
        }
        Ok(condition.is_damaged())
    }

    /// Returns every id once, ascending. Takes at least 32 bytes of memory per id.
    fn ids(&self, snapshot: &Snapshot) -> Result<BTreeSet<AtomId>, ColdError> {
        let mut ids = BTreeSet::new();
        self.each_atom(snapshot, &mut |_| (), |id, _| {
            ids.extend(id);
            Ok(())
        })?;
        Ok(ids)
    }
}
