//! Command `astreum asm`.

use std::io::Write as _;

use astreum_script::{Sources, assemble};

use super::input::Source;
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
            match &args.output {
                Some(path) => std::fs::write(&**path, text)
                    .map_err(|error| Failure::Failed(format!("{}: {error}", path.display()))),
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
