//! Command `astreum fmt`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use astreum_script::source::MAX_SOURCE_BYTES;
use astreum_script::{Sources, format};

use super::input::{not_text, read_capped};
use super::new_file;
use super::output::{Failure, Output};
use super::script_args::FmtArgs;
use super::script_source::report;

/// Formats all files, also those after one with an error.
pub(super) fn fmt(args: &FmtArgs, out: &mut Output) -> Result<(), Failure> {
    let mut is_failed = false;
    for path in &args.files {
        let result = if path.is_stdin() {
            format_stdin(args.check, out)
        } else {
            format_file(path, args.check, out)
        };
        match result {
            Ok(()) => {}
            Err(Failure::Closed) => return Err(Failure::Closed),
            Err(failure) => {
                out.flush()?;
                failure.report();
                is_failed = true;
            }
        }
    }
    if is_failed {
        return Err(Failure::Reported);
    }
    Ok(())
}

fn format_stdin(check: bool, out: &mut Output) -> Result<(), Failure> {
    let text = read("stdin", io::stdin().lock())?;
    let formatted = formatted("stdin", &text, out)?;
    if check {
        return differs("stdin", &text, &formatted, out);
    }
    Ok(out.raw().write_all(formatted.as_bytes())?)
}

fn format_file(path: &Path, check: bool, out: &mut Output) -> Result<(), Failure> {
    let name = path.display().to_string();
    let failed = |error: io::Error| Failure::Failed(format!("{name}: {error}"));
    // A link stays a link.
    let target = fs::canonicalize(path).map_err(failed)?;
    let text = read(&name, File::open(&target).map_err(failed)?)?;
    let formatted = formatted(&name, &text, out)?;
    if check {
        return differs(&name, &text, &formatted, out);
    }
    if text == formatted {
        return Ok(());
    }
    new_file::replace(&target, &formatted).map_err(failed)
}

fn differs(name: &str, text: &str, formatted: &str, out: &mut Output) -> Result<(), Failure> {
    if text == formatted {
        return Ok(());
    }
    writeln!(out, "{name}")?;
    Err(Failure::Reported)
}

fn read(name: &str, reader: impl io::Read) -> Result<String, Failure> {
    let failed = |error: String| Failure::Failed(format!("{name}: {error}"));
    let bytes =
        read_capped(reader, MAX_SOURCE_BYTES as u64).map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        failed(not_text(
            error.as_bytes().get(..offset).unwrap_or_default(),
            0,
        ))
    })
}

fn formatted(name: &str, text: &str, out: &mut Output) -> Result<String, Failure> {
    let mut sources = Sources::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = sources.add(name, text);
    match format(&sources, source) {
        Ok(formatted) => Ok(formatted),
        Err(problem) => {
            report(&problem, &sources, false, out)?;
            Err(Failure::Reported)
        }
    }
}
