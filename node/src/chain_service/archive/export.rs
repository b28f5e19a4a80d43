//! Writing of an archive from a store.

use super::frames::Writer;
use super::{ArchiveKind, Manifest};
use crate::chain_service::replay::{ReplayProblem, each_upwards};
use astreum_core::atom::{Atom, AtomId, AtomSource, MAX_LIST_ATOMS, SourceError};
use astreum_core::chain::{
    Block, RULES_VERSION, SeedRun, opened_list, push_links, read_transactions,
};
use astreum_core::consensus::snapshot::{SEEN, Seen};
use core::cell::RefCell;
use core::convert::Infallible;
use core::fmt;
use std::collections::HashSet;
use std::io::{self, Write};

/// Number of atoms of a state after which progress is reported.
const PROGRESS_ATOMS: u64 = 4_096;

/// Archive that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exported {
    /// Description.
    pub manifest: Manifest,
    /// Number of blocks; of a snapshot, of headers.
    pub blocks: u64,
    /// Number of atoms.
    pub atoms: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// Reason why an archive was not written.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExportError {
    /// The output could not be written.
    Output(io::Error),
    /// A block cannot be read.
    Block(ReplayProblem),
    /// An atom of the state is missing.
    State {
        /// The atom.
        missing: AtomId,
    },
    /// An atom of a list that a block's transaction opens a contract on is missing.
    List {
        /// Height of the block.
        height: u64,
        /// First atom of the list.
        list: AtomId,
    },
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(error) => write!(f, "failed to write the archive: {error}"),
            Self::Block(problem) => write!(
                f,
                "the chain is not complete in cold storage: {problem}; export it from a node that \
                 keeps all blocks, or export a snapshot"
            ),
            Self::State { missing } => write!(
                f,
                "the state is not complete in cold storage: atom {missing} is missing; export a \
                 block whose state this node keeps"
            ),
            Self::List { height, list } => write!(
                f,
                "block {height} opens a storage contract on list {list}, which is not complete in \
                 cold storage: fetch it with `astreum get --list {list}`"
            ),
        }
    }
}

impl core::error::Error for ExportError {}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Writes the chain that ends in `head`, or the state after it. `progress` is called with what is
/// counted, and how many of how many.
///
/// # Errors
/// Fails if the output fails, or something is missing in the source.
pub fn export<S: AtomSource<Error = Infallible>>(
    source: &S,
    head: AtomId,
    kind: ArchiveKind,
    out: impl Write,
    progress: &mut dyn FnMut(&'static str, u64, u64),
) -> Result<Exported, ExportError> {
    let block = read(source, head, None)?;
    let number = |number: Option<u64>| {
        let problem = "height or timestamp exceeds 64 bits";
        number.ok_or_else(|| ExportError::Block(problem_of(head, None, problem)))
    };
    let manifest = Manifest {
        kind,
        chain_id: number(block.chain_id.to_u64())?,
        rules_version: RULES_VERSION,
        head,
        height: number(block.height.to_u64())?,
        timestamp: number(block.timestamp.to_u64())?,
    };
    let mut writer = Atoms {
        writer: Writer::new(out, &manifest)?,
        count: 0,
    };
    let blocks = match kind {
        ArchiveKind::Chain => chain(source, head, &mut writer, progress)?,
        ArchiveKind::Snapshot => snapshot(source, &block, &mut writer, progress)?,
    };
    let atoms = writer.count;
    let bytes = writer.writer.finish()?;
    Ok(Exported {
        manifest,
        blocks,
        atoms,
        bytes,
    })
}

fn problem_of(block: AtomId, height: Option<u64>, why: &str) -> ReplayProblem {
    ReplayProblem {
        block,
        height,
        is_invalid: false,
        why: why.to_owned(),
    }
}

fn read<S: AtomSource<Error = Infallible>>(
    source: &S,
    id: AtomId,
    height: Option<u64>,
) -> Result<Block, ExportError> {
    Block::read(source, id)
        .map_err(|error| ExportError::Block(problem_of(id, height, &error.to_string())))
}

/// Writer that counts.
struct Atoms<W> {
    writer: Writer<W>,
    count: u64,
}

impl<W: Write> Atoms<W> {
    fn write(&mut self, atom: &Atom) -> io::Result<()> {
        self.count += 1;
        self.writer.atom(atom)
    }
}

/// Source that writes each atom the first time that it is read.
struct Written<'a, S, W> {
    source: &'a S,
    seen: RefCell<HashSet<AtomId>>,
    out: RefCell<(&'a mut Atoms<W>, io::Result<()>)>,
}

impl<'a, S, W> Written<'a, S, W> {
    fn new(source: &'a S, out: &'a mut Atoms<W>) -> Self {
        Self {
            source,
            seen: RefCell::default(),
            out: RefCell::new((out, Ok(()))),
        }
    }

    fn finish(self) -> io::Result<()> {
        self.out.into_inner().1
    }
}

impl<S: AtomSource<Error = Infallible>, W: Write> AtomSource for Written<'_, S, W> {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        let atom = self.source.atom(id)?;
        if self.seen.borrow_mut().insert(*id) {
            let (out, result) = &mut *self.out.borrow_mut();
            if result.is_ok() {
                *result = out.write(&atom);
            }
        }
        Ok(atom)
    }
}

fn chain<S: AtomSource<Error = Infallible>, W: Write>(
    source: &S,
    head: AtomId,
    out: &mut Atoms<W>,
    progress: &mut dyn FnMut(&'static str, u64, u64),
) -> Result<u64, ExportError> {
    let mut blocks = 0;
    let mut failure = None;
    let walked = each_upwards(source, head, &mut |id, total| {
        let written = write_block(source, id, out);
        let is_written = written.is_ok();
        failure = written.err();
        blocks += u64::from(is_written);
        progress("blocks", blocks, total);
        is_written
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    walked.map_err(ExportError::Block)?;
    Ok(blocks)
}

/// Writes everything that the verification of a block reads, but the state before it.
fn write_block<S: AtomSource<Error = Infallible>, W: Write>(
    source: &S,
    id: AtomId,
    out: &mut Atoms<W>,
) -> Result<(), ExportError> {
    let written = Written::new(source, out);
    let block = read(&written, id, None)?;
    let height = block.height.to_u64();
    if block.is_genesis() {
        written.finish()?;
        write_state(source, block.accounts, out, &mut |_| ())?;
        return Ok(out.writer.block(id)?);
    }
    let transactions = read_transactions(&written, &block);
    let transactions = transactions
        .map_err(|error| ExportError::Block(problem_of(id, height, &error.to_string())))?;
    for list in transactions.iter().filter_map(opened_list) {
        // A list that is too long is not read to its end by verification either.
        let mut next = list;
        for _ in 0..=MAX_LIST_ATOMS {
            if next.is_zero() {
                break;
            }
            next = match written.atom(&next) {
                Ok(atom) => atom.next(),
                Err(_) => {
                    let height = height.unwrap_or_default();
                    return Err(ExportError::List { height, list });
                }
            };
        }
    }
    written.finish()?;
    Ok(out.writer.block(id)?)
}

fn snapshot<S: AtomSource<Error = Infallible>, W: Write>(
    source: &S,
    block: &Block,
    out: &mut Atoms<W>,
    progress: &mut dyn FnMut(&'static str, u64, u64),
) -> Result<u64, ExportError> {
    let height = block.height.to_u64().unwrap_or_default();
    let count = height - SeedRun::first_height(height) + 1;
    let written = Written::new(source, out);
    let mut next = block.id();
    for at in 0..count {
        let header = read(&written, next, height.checked_sub(at))?;
        next = header.previous;
        progress("headers", at + 1, count);
    }
    written.finish()?;
    let before = out.count;
    write_state(source, block.accounts, out, &mut |atoms| {
        progress("atoms of the state", atoms - before, 0);
    })?;
    out.writer.block(block.id())?;
    Ok(count)
}

/// Writes everything that a root leads to, in constant memory: an atom that many others share may be
/// written more than once.
fn write_state<S: AtomSource<Error = Infallible>, W: Write>(
    source: &S,
    root: AtomId,
    out: &mut Atoms<W>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ExportError> {
    let (mut waiting, mut seen) = (vec![root], Seen::new(SEEN));
    while let Some(id) = waiting.pop() {
        if id.is_zero() || !seen.visit(id) {
            continue;
        }
        let Ok(atom) = source.atom(&id) else {
            return Err(ExportError::State { missing: id });
        };
        out.write(&atom)?;
        match push_links(source, &atom, &mut waiting) {
            Ok(()) => {}
            Err(never) => match never {},
        }
        if out.count.is_multiple_of(PROGRESS_ATOMS) {
            progress(out.count);
        }
    }
    Ok(())
}
