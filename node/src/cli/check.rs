//! Command `astreum check`.

use std::path::Path;

use astreum_script::{Diagnostic, Options, Sources, Tree, assemble, check as find_problems};

use super::input::Source;
use super::language_args::SourceArgs;
use super::output::{Failure, Output};
use super::script_args::CheckArgs;
use super::script_source::{Files, plain, report};

pub(super) fn check(args: &CheckArgs, out: &mut Output) -> Result<(), Failure> {
    let mut options = Options::new();
    if args.std {
        options.bind_library();
    }
    for name in &args.bind {
        options.bind(name.as_str(), None);
    }
    let mut has_problem = false;
    for input in &args.inputs {
        let source = Source::read(&SourceArgs {
            input: Some(input.clone()),
            file: None,
            expr: None,
        })?;
        let mut sources = Sources::new();
        let name = plain(source.name.as_ref()).display().to_string();
        let is_asm = args.asm || Path::new(&name).extension().is_some_and(|it| it == "asm");
        let main = sources.add(name, source.text);
        let problems = if is_asm {
            assembled(&mut sources, main, args, &options)
        } else {
            Tree::parse(&sources, main).map(|tree| find_problems(&sources, &tree, &[], &options))
        };
        for problem in problems.unwrap_or_else(|problem| vec![problem]) {
            has_problem = true;
            report(&problem, &sources, args.json, out)?;
        }
    }
    if has_problem {
        return Err(Failure::Reported);
    }
    Ok(())
}

fn assembled(
    sources: &mut Sources,
    main: usize,
    args: &CheckArgs,
    options: &Options,
) -> Result<Vec<Diagnostic>, Diagnostic> {
    let assembled = assemble(sources, main, &mut Files::new(&args.include))?;
    let (tree, expansions) = (&assembled.tree, &assembled.expansions);
    Ok(find_problems(sources, tree, expansions, options))
}
