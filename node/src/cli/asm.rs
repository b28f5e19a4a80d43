//! Command `astreum asm`.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use astreum_script::{Sources, assemble};

use super::input::Source;
use super::new_file;
use super::output::{Failure, Output};
use super::script_args::AsmArgs;
use super::script_source::{Files, plain, report};

pub(super) fn asm(args: &AsmArgs, out: &mut Output) -> Result<(), Failure> {
    let source = Source::read(&args.source)?;
    let mut sources = Sources::new();
    let name = plain(source.name.as_ref()).display().to_string();
    let main = sources.add(name, source.text);
    match assemble(&mut sources, main, &mut Files::new(&args.include)) {
        Ok(assembled) => {
            let text = assembled.to_source(&sources);
            match args.output.as_ref().filter(|path| !path.is_stdin()) {
                Some(path) => write(path, &text, args.force, &sources),
                // Source is data: what it contains is not escaped.
                None => Ok(out.raw().write_all(text.as_bytes())?),
            }
        }
        Err(problem) => {
            report(&problem, &sources, args.json, out)?;
            Err(Failure::Reported)
        }
    }
}

/// Writes the output to a new file, or replaces a file that is not one of the sources.
fn write(path: &Path, text: &str, is_forced: bool, sources: &Sources) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", path.display()));
    // Pipes and devices are not replaced.
    if fs::metadata(path).is_ok_and(|it| !it.is_file() && !it.is_dir()) {
        return fs::write(path, text).map_err(failed);
    }
    let Ok(target) = fs::canonicalize(path) else {
        return new_file::write(path, text.as_bytes()).map_err(Failure::Failed);
    };
    let names = (0..).map(|source| sources.name(source));
    let mut names = names.take_while(|name| !name.is_empty());
    let is_source = names.any(|name| fs::canonicalize(name).is_ok_and(|it| it == target));
    let name = path.display();
    if is_source {
        let text = format!("refusing to overwrite {name}: it is a source of the output");
        return Err(Failure::Failed(text));
    }
    if !is_forced {
        let text = format!("refusing to overwrite {name}: the file exists; --force replaces it");
        return Err(Failure::Failed(text));
    }
    new_file::replace(&target, text).map_err(failed)
}
