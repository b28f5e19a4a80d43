//! Sources of `asm` and `check`: included files, and problems as text and JSON.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use astreum_script::asm::{Loaded, Loader};
use astreum_script::{Diagnostic, Place, Sources};
use serde::Serialize;

use super::input::{not_text, read_capped, without_prefix};
use super::output::{Failure, Output, json_line};
use super::path_arg::PathArg;

/// Reader of included files: below the directory of the including file, or below one of the given
/// directories.
pub(super) struct Files {
    directories: Vec<PathBuf>,
}

impl Files {
    pub(super) fn new(include: &[PathArg]) -> Self {
        Self {
            directories: include.iter().map(|path| path.to_path_buf()).collect(),
        }
    }
}

impl Loader for Files {
    fn load(&mut self, name: &str, from: &str) -> Result<Loaded, String> {
        let relative = Path::new(name);
        let is_below =
            |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if name.is_empty() || !relative.components().all(is_below) {
            return Err(
                "expected a path below the directory of the file, without `..`; \
                 --include adds directories"
                    .to_owned(),
            );
        }
        let beside = Path::new(from).parent().unwrap_or(Path::new(""));
        let directories =
            core::iter::once(beside).chain(self.directories.iter().map(PathBuf::as_path));
        let mut problem = None;
        for directory in directories {
            let path = plain(&directory.join(relative));
            match File::open(&path) {
                Ok(file) => {
                    return read(file).map(|text| Loaded {
                        name: path.display().to_string(),
                        text,
                    });
                }
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        Err(problem.map_or_else(|| "not found".to_owned(), |error| error.to_string()))
    }
}

/// Returns the path without `.` components.
pub(super) fn plain(path: &Path) -> PathBuf {
    let parts = path.components();
    parts.filter(|part| *part != Component::CurDir).collect()
}

fn read(file: File) -> Result<String, String> {
    let most = astreum_script::source::MAX_SOURCE_BYTES as u64;
    let bytes = read_capped(file, most).map_err(|error| error.to_string())?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(without_prefix(text)),
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            Err(not_text(
                error.as_bytes().get(..offset).unwrap_or_default(),
                0,
            ))
        }
    }
}

/// Prints a problem: on stderr, or as JSON on stdout.
pub(super) fn report(
    problem: &Diagnostic,
    sources: &Sources,
    json: bool,
    out: &mut Output,
) -> Result<(), Failure> {
    if json {
        return json_line(out, &ProblemReply::new(problem, sources));
    }
    out.complain(&problem.render(sources));
    Ok(())
}

/// Problem, as JSON.
#[derive(Serialize)]
struct ProblemReply<'p> {
    #[serde(flatten)]
    place: PlaceReply<'p>,
    severity: &'static str,
    code: &'static str,
    message: &'p str,
    hint: Option<&'p str>,
    notes: Vec<NoteReply<'p>>,
}

#[derive(Serialize)]
struct NoteReply<'p> {
    #[serde(flatten)]
    place: PlaceReply<'p>,
    message: &'p str,
}

/// Place, with offsets in bytes.
#[derive(Serialize)]
struct PlaceReply<'p> {
    source: &'p str,
    line: usize,
    column: usize,
    offset: usize,
    end: usize,
}

impl<'p> ProblemReply<'p> {
    fn new(problem: &'p Diagnostic, sources: &'p Sources) -> Self {
        let notes = problem.notes.iter().map(|note| NoteReply {
            place: PlaceReply::new(note.place, sources),
            message: &note.message,
        });
        Self {
            place: PlaceReply::new(problem.place, sources),
            severity: problem.severity.name(),
            code: problem.code,
            message: &problem.message,
            hint: problem.hint.as_deref(),
            notes: notes.collect(),
        }
    }
}

impl<'p> PlaceReply<'p> {
    fn new(place: Place, sources: &'p Sources) -> Self {
        let at = sources.position(place);
        Self {
            source: sources.name(place.source),
            line: at.line,
            column: at.column,
            offset: place.start,
            end: place.end,
        }
    }
}
