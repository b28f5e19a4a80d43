//! Damaged files that were set aside, and the ids of the atoms that were lost with them.
//!
//! Each repair of damaged files is an incident with a number. Its files are kept below `damaged`,
//! with the number in front of their names, beside a report:
//!
//! ```text
//! damaged/3_level_1_0_index
//! damaged/3_report
//! ```
//!
//! The report is text: a header line, a line of fixed length for each lost atom with a known id,
//! and a short tail. It can be as long as a level, and is never read into memory as a whole.
//!
//! ```text
//! astreum damage report 1
//! lost 5b1e…
//! unknown 2
//! files 1
//! problem level_1/0_index, byte 0: the file is too short to be an index
//! end 1
//! ```
//!
//! The report is durable before the files are moved, and the intact atoms are durable before the
//! report. An id leaves the report once its atom is stored again; the incident stays until it is
//! cleared.
//!
//! A reference node ignores the directory: it reads only `level_<n>`.

use super::{ColdError, Inner, lock};
use crate::store::disk::DiskFile;
use astreum_core::atom::AtomId;
use core::fmt;
use core::fmt::Write as _;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the directory below the root.
pub(super) const DIRECTORY: &str = "damaged";
const HEADER: &[u8] = b"astreum damage report 1\n";
const LOST: &[u8] = b"lost ";
/// Length of a line with an id, in bytes.
const LINE_BYTES: usize = 5 + 64 + 1;
const REPORT: &str = "report";
/// Maximum length of the tail of a report, in bytes.
const MAX_TAIL_BYTES: usize = 64 << 10;
/// Maximum number of problems in a report.
const MAX_PROBLEMS: usize = 64;
/// Maximum length of a problem, in bytes.
const MAX_PROBLEM_BYTES: usize = 512;
/// Number of ids that are buffered while a report is written.
const LINES_PER_WRITE: usize = 4_096;
/// Maximum number of incidents that are listed. The files of further ones only count as bytes, and
/// are listed once the first ones are cleared.
const MAX_INCIDENTS: usize = 256;
/// Maximum number of ids that one call checks, so that it ends soon.
const IDS_PER_CALL: u64 = 1_024;

/// Incident: files that were set aside together.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Deserialize, serde::Serialize)]
pub struct SetAside {
    /// Number of the incident.
    pub number: u64,
    /// Names of the files below `damaged`, without the report.
    pub files: Vec<String>,
    /// Total length of the files in bytes.
    pub bytes: u64,
    /// Descriptions and places of the damage, as far as they fit into the report.
    pub problems: Vec<String>,
    /// Number of atoms with known ids that are still missing.
    pub missing: u64,
    /// Number of atoms or parts of files that were lost without a known id.
    pub unknown: u64,
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            files,
            missing,
            unknown,
            ..
        } = self;
        write!(f, "incident {number}: ")?;
        match files.as_slice() {
            [] => f.write_str("no damaged file is left")?,
            [file] => write!(f, "{DIRECTORY}/{file}")?,
            [first, ..] => write!(f, "{DIRECTORY}/{first} and {} more", files.len() - 1)?,
        }
        match (missing, unknown) {
            (0, 0) => f.write_str("; no atom is missing"),
            (missing, 0) => write!(f, "; atoms missing: {missing}"),
            (missing, unknown) => {
                write!(f, "; atoms missing: {missing}, and {unknown} of unknown id")
            }
        }
    }
}

/// Incidents of a store.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    known: BTreeMap<u64, SetAside>,
    /// Bytes of the files of unlisted incidents.
    further_bytes: u64,
    /// Highest number in use.
    last: u64,
    /// Search for lost atoms in progress, and the number of the incident that it continues with.
    pass: Option<Pass>,
    from: u64,
}

impl Incidents {
    pub(super) fn list(&self) -> Vec<SetAside> {
        self.known.values().cloned().collect()
    }

    pub(super) fn has_lost(&self) -> bool {
        self.known.values().any(|incident| incident.missing > 0)
    }

    pub(super) fn bytes(&self) -> u64 {
        let known: u64 = self.known.values().map(|incident| incident.bytes).sum();
        known.saturating_add(self.further_bytes)
    }
}

/// Search through a report for atoms that are still missing.
#[derive(Debug)]
struct Pass {
    incident: u64,
    /// Number of ids that were checked.
    next: u64,
    /// New report with the ids that are still missing.
    kept: Option<ReportWriter>,
}

impl Inner {
    /// Loads the incidents of earlier runs.
    pub(super) fn load_incidents(&self) -> Result<(), ColdError> {
        let dir = self.root.join(DIRECTORY);
        let mut incidents = Incidents::default();
        // Incidents whose reports name files to move. If no file was moved, the repair was
        // interrupted and is done again.
        let mut unmoved = Vec::new();
        for entry in self.list(&dir)? {
            let numbered = entry.name.split_once('_');
            let Some((number, name)) = numbered.and_then(|(number, name)| {
                let number: u64 = number.parse().ok()?;
                Some((number, name))
            }) else {
                continue;
            };
            incidents.last = incidents.last.max(number);
            if name == format!("{REPORT}.tmp") {
                let _ = self.disk.remove(&dir.join(&entry.name));
                continue;
            }
            if incidents.known.len() >= MAX_INCIDENTS && !incidents.known.contains_key(&number) {
                incidents.further_bytes = incidents.further_bytes.saturating_add(entry.len);
                continue;
            }
            let incident = incidents.known.entry(number).or_default();
            incident.number = number;
            if name == REPORT {
                let path = dir.join(&entry.name);
                match Report::open(self, &path) {
                    Ok(report) => {
                        if report.files > 0 {
                            unmoved.push(number);
                        }
                        report.describe(incident);
                    }
                    Err(error) => incident.problems.push(error.to_string()),
                }
            } else {
                incident.files.push(entry.name);
                incident.bytes += entry.len;
            }
        }
        incidents.known.retain(|number, incident| {
            let is_void = unmoved.contains(number)
                && incident.files.is_empty()
                && incident.missing == 0
                && incident.unknown == 0;
            if is_void {
                let _ = self.disk.remove(&dir.join(report_name(*number)));
            }
            !is_void
        });
        *lock(&self.incidents) = incidents;
        Ok(())
    }

    /// Creates the report of a new incident.
    pub(super) fn begin_report(&self) -> ReportWriter {
        let mut incidents = lock(&self.incidents);
        incidents.last += 1;
        ReportWriter::new(self.root.join(DIRECTORY), incidents.last)
    }

    /// Makes a report durable and lists its incident; returns the moves of `files`, which come
    /// next.
    pub(super) fn finish_report(
        &self,
        mut report: ReportWriter,
        files: &[(PathBuf, u64)],
    ) -> Result<Moves, ColdError> {
        let dir = self.root.join(DIRECTORY);
        let failed = |error| ColdError::io("write a damage report to", &dir, &error);
        report.files = files.len() as u64;
        report.finish(self).map_err(failed)?;
        let number = report.number;
        let mut incident = SetAside {
            number,
            files: Vec::new(),
            bytes: files.iter().map(|(_, bytes)| bytes).sum(),
            problems: core::mem::take(&mut report.problems),
            missing: report.lost,
            unknown: report.unknown,
        };
        let mut moves = Vec::new();
        for (from, _) in files {
            let relative = from.strip_prefix(&self.root).unwrap_or(from);
            let flat = relative.to_string_lossy().replace('/', "_");
            let name = format!("{number}_{flat}");
            moves.push((from.clone(), dir.join(&name)));
            incident.files.push(name);
        }
        crate::log::error!("cold storage: damaged files are set aside: {incident}");
        let mut incidents = lock(&self.incidents);
        if incidents.known.len() < MAX_INCIDENTS {
            incidents.known.insert(number, incident);
        } else {
            incidents.further_bytes = incidents.further_bytes.saturating_add(incident.bytes);
        }
        Ok(Moves {
            files: moves,
            marker: None,
        })
    }

    fn create_report_dir(&self) -> io::Result<()> {
        let dir = self.root.join(DIRECTORY);
        if self.disk.identity(&dir)?.is_none() {
            self.disk.create_dir(&dir)?;
            self.disk.sync_dir(&self.root)?;
        }
        Ok(())
    }

    /// Moves files to the directory of files set aside; skips files that an earlier attempt moved.
    pub(super) fn set_aside(&self, moves: &Moves) -> Result<(), ColdError> {
        // Locked so that incidents are not cleared meanwhile.
        let _incidents = lock(&self.incidents);
        if let Some((index, marker)) = &moves.marker
            && self.disk.identity(index).is_ok_and(|found| found.is_some())
        {
            let parent = marker.parent().unwrap_or(&self.root);
            let failed = |error| ColdError::io("create", marker, &error);
            self.disk.create(marker).map_err(failed)?;
            self.sync_dir(parent)?;
        }
        // The first file is moved separately: an index without data would look like lost data.
        let (first, rest) = moves.files.split_at(moves.files.len().min(1));
        for files in [first, rest] {
            self.move_files(files)?;
        }
        Ok(())
    }

    fn move_files(&self, files: &[(PathBuf, PathBuf)]) -> Result<(), ColdError> {
        let mut dirs = Vec::new();
        for (from, to) in files {
            match self.disk.rename(from, to) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                renamed => renamed.map_err(|error| ColdError::io("set aside", from, &error))?,
            }
            let parent = from.parent().unwrap_or(&self.root).to_owned();
            if !dirs.contains(&parent) {
                dirs.push(parent);
            }
        }
        // First the new names, so that each file always has a durable name.
        let new = dirs.first().map(|_| self.root.join(DIRECTORY));
        for dir in new.into_iter().chain(dirs) {
            self.sync_dir(&dir)?;
        }
        Ok(())
    }

    /// Returns at most `max` ids of atoms that were lost and are still missing. Continues where the
    /// last call ended, and checks a bounded number of ids. Returns `None` at the end of the
    /// reports.
    pub(super) fn next_lost(&self, max: usize) -> Result<Option<Vec<AtomId>>, ColdError> {
        let mut incidents = lock(&self.incidents);
        let mut rest = incidents.known.range(incidents.from..);
        let next = rest.find(|(_, incident)| incident.missing > 0);
        let Some(number) = next.map(|(number, _)| *number) else {
            (incidents.pass, incidents.from) = (None, 0);
            return Ok(None);
        };
        let path = self.root.join(DIRECTORY).join(report_name(number));
        let failed = |error| ColdError::io("read", &path, &error);
        let pass = incidents.pass.take();
        let mut pass = pass
            .filter(|pass| pass.incident == number)
            .unwrap_or_else(|| Pass {
                incident: number,
                next: 0,
                kept: Some(ReportWriter::new(self.root.join(DIRECTORY), number)),
            });
        let report = Report::open(self, &path).map_err(failed)?;
        let mut lost = Vec::new();
        let end = report.lost.min(pass.next + IDS_PER_CALL);
        let snapshot = self.snapshot.load_full();
        while pass.next < end && lost.len() < max {
            let id = report.id(pass.next).map_err(failed)?;
            pass.next += 1;
            // A damaged line has no id.
            let Some(id) = id else { continue };
            if self.find(&snapshot, &id).0.is_some() {
                continue;
            }
            lost.push(id);
            if let Some(kept) = &mut pass.kept
                && kept.lose(self, &id).is_err()
            {
                // The report stays unchanged.
                pass.kept = None;
            }
        }
        if pass.next < report.lost {
            incidents.pass = Some(pass);
            return Ok(Some(lost));
        }
        incidents.from = number + 1;
        if let Some(mut kept) = pass.kept
            && let Some(incident) = incidents.known.get_mut(&number)
        {
            if kept.lost < report.lost {
                // The ids of atoms that were found leave the report.
                kept.unknown = incident.unknown;
                kept.files = report.files;
                kept.problems.clone_from(&incident.problems);
                kept.finish(self).map_err(failed)?;
                incident.missing = kept.lost;
            } else if kept.file.is_some() {
                let _ = self.disk.remove(&kept.temporary());
            }
        }
        Ok(Some(lost))
    }

    /// Removes all files that are set aside and their reports; returns the removed incidents.
    pub(super) fn clear_set_aside(&self) -> Result<Vec<SetAside>, ColdError> {
        self.check_place()?;
        let mut incidents = lock(&self.incidents);
        (incidents.pass, incidents.from) = (None, 0);
        let dir = self.root.join(DIRECTORY);
        let mut cleared = Vec::new();
        while let Some(entry) = incidents.known.first_entry() {
            let incident = entry.get();
            let report = report_name(incident.number);
            // The report is removed last, because it describes the files.
            for name in incident.files.iter().chain([&report]) {
                let path = dir.join(name);
                let removed = self.disk.remove(&path);
                removed.map_err(|error| ColdError::io("remove", &path, &error))?;
            }
            cleared.push(entry.remove());
        }
        drop(incidents);
        if !cleared.is_empty() {
            self.sync_dir(&dir)?;
            // There may be more incidents than were listed.
            self.load_incidents()?;
        }
        Ok(cleared)
    }
}

/// Moves of damaged files to the directory of files set aside.
#[derive(Debug)]
pub(super) struct Moves {
    files: Vec<(PathBuf, PathBuf)>,
    /// Index of a pair whose data is removed afterwards, and the temporary name that makes recovery
    /// recognize such data as left over; the latter is created before the index loses its name.
    marker: Option<(PathBuf, PathBuf)>,
}

impl Moves {
    /// Marks the data of the pair with this index as left over.
    pub(super) fn with_marker(self, index: PathBuf, marker: PathBuf) -> Self {
        Self {
            marker: Some((index, marker)),
            ..self
        }
    }
}

fn report_name(number: u64) -> String {
    format!("{number}_{REPORT}")
}

/// Writer of a report.
#[derive(Debug)]
pub(super) struct ReportWriter {
    dir: PathBuf,
    number: u64,
    file: Option<Written>,
    pending: Vec<u8>,
    lost: u64,
    /// Number of atoms or parts of files that were lost without a known id.
    pub(super) unknown: u64,
    /// Number of files to be moved.
    files: u64,
    problems: Vec<String>,
}

/// File and number of bytes written to it.
struct Written {
    file: Arc<dyn DiskFile>,
    len: u64,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("len", &self.len).finish()
    }
}

impl ReportWriter {
    fn new(dir: PathBuf, number: u64) -> Self {
        Self {
            dir,
            number,
            file: None,
            pending: HEADER.to_vec(),
            lost: 0,
            unknown: 0,
            files: 0,
            problems: Vec::new(),
        }
    }

    /// Returns whether no loss is recorded.
    pub(super) const fn is_empty(&self) -> bool {
        self.lost == 0 && self.unknown == 0
    }

    /// Adds the id of a lost atom.
    pub(super) fn lose(&mut self, inner: &Inner, id: &AtomId) -> io::Result<()> {
        self.pending.extend_from_slice(LOST);
        let _ = write!(Text(&mut self.pending), "{id}");
        self.pending.push(b'\n');
        self.lost += 1;
        if self.pending.len() >= LINES_PER_WRITE * LINE_BYTES {
            self.write(inner)?;
        }
        Ok(())
    }

    /// Adds a problem, if there is room.
    pub(super) fn problem(&mut self, problem: &impl ToString) {
        if self.problems.len() < MAX_PROBLEMS {
            let mut problem = problem.to_string().replace(['\n', '\r'], " ");
            problem.truncate(problem.floor_char_boundary(MAX_PROBLEM_BYTES));
            self.problems.push(problem);
        }
    }

    fn write(&mut self, inner: &Inner) -> io::Result<()> {
        if self.file.is_none() {
            inner.create_report_dir()?;
            let file = inner.disk.create(&self.temporary())?;
            self.file = Some(Written { file, len: 0 });
        }
        if let Some(Written { file, len }) = &mut self.file {
            file.write_all_at(&self.pending, *len)?;
            *len += self.pending.len() as u64;
            self.pending.clear();
        }
        Ok(())
    }

    /// Writes the tail, makes the report durable and renames it to its final name.
    fn finish(&mut self, inner: &Inner) -> io::Result<()> {
        let mut tail = String::new();
        let _ = writeln!(tail, "unknown {}", self.unknown);
        let _ = writeln!(tail, "files {}", self.files);
        for problem in &self.problems {
            let _ = writeln!(tail, "problem {problem}");
        }
        let _ = writeln!(tail, "end {}", self.lost);
        self.pending.extend_from_slice(tail.as_bytes());
        self.write(inner)?;
        if let Some(Written { file, .. }) = &self.file {
            file.sync()?;
        }
        let path = self.dir.join(report_name(self.number));
        inner.disk.rename(&self.temporary(), &path)?;
        inner.disk.sync_dir(&self.dir)
    }

    fn temporary(&self) -> PathBuf {
        self.dir.join(format!("{}.tmp", report_name(self.number)))
    }
}

/// Adapter that formats into bytes.
struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Reader of a report.
struct Report {
    file: Arc<dyn DiskFile>,
    lost: u64,
    unknown: u64,
    files: u64,
    problems: Vec<String>,
}

impl Report {
    fn open(inner: &Inner, path: &Path) -> io::Result<Self> {
        let file = inner.disk.open(path)?;
        let len = file.len()?;
        let tail_len = len.min(MAX_TAIL_BYTES as u64);
        let mut tail = vec![0; usize::try_from(tail_len).unwrap_or(MAX_TAIL_BYTES)];
        file.read_exact_at(&mut tail, len - tail_len)?;
        let tail = String::from_utf8_lossy(&tail);
        let value = |name: &str| tail.lines().rev().find_map(|line| line.strip_prefix(name));
        let number = |name: &str| value(name).and_then(|text| text.parse::<u64>().ok());
        let body = len.saturating_sub(HEADER.len() as u64);
        let room = body / LINE_BYTES as u64;
        Ok(Self {
            file,
            // A truncated report has as many ids as it has room for; the damage shows in the number
            // of unknowns.
            lost: number("end ").unwrap_or(room).min(room),
            unknown: number("unknown ").unwrap_or(1),
            files: number("files ").unwrap_or(0),
            problems: tail
                .lines()
                .filter_map(|line| line.strip_prefix("problem "))
                .take(MAX_PROBLEMS)
                .map(str::to_owned)
                .collect(),
        })
    }

    fn describe(self, incident: &mut SetAside) {
        incident.missing = self.lost;
        incident.unknown = self.unknown;
        incident.problems = self.problems;
    }

    /// Returns the id with this number, or `None` if the line is damaged.
    fn id(&self, at: u64) -> io::Result<Option<AtomId>> {
        let mut line = [0; LINE_BYTES];
        let offset = HEADER.len() as u64 + at * LINE_BYTES as u64;
        self.file.read_exact_at(&mut line, offset)?;
        let id = line
            .strip_prefix(LOST)
            .and_then(|line| line.strip_suffix(b"\n"))
            .and_then(|digits| core::str::from_utf8(digits).ok());
        Ok(id.and_then(|digits| digits.parse().ok()))
    }
}
