//! Runs inputs through the bodies of the fuzz targets, without a fuzzer: `replay TARGET PATH...`,
//! where a path is an input or a folder of inputs. Without arguments, runs the committed corpora
//! and regressions of all targets.
//!
//! A broken promise ends it with the panic of the target, after the name of the input.

use astreum_tests::target::{TARGETS, Target};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next();
    let paths: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    let chosen = |(target, _): &&Target| name.as_ref().is_none_or(|name| *name == **target);
    let targets: Vec<&Target> = TARGETS.iter().filter(chosen).collect();
    if targets.is_empty() || (name.is_some() && paths.is_empty()) {
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        eprintln!(
            "usage: replay [TARGET PATH...], with a target of {}",
            names.join(", ")
        );
        return ExitCode::from(2);
    }
    for (name, run) in targets {
        let paths = if paths.is_empty() {
            committed(name)
        } else {
            paths.clone()
        };
        match replay(*run, &paths) {
            Ok(count) => println!("{name}: {count} inputs"),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn committed(name: &str) -> Vec<PathBuf> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let folders = ["corpus", "regressions"].map(|kind| fuzz.join(kind).join(name));
    folders.into_iter().filter(|path| path.exists()).collect()
}

fn replay(run: fn(&[u8]), paths: &[PathBuf]) -> Result<usize, String> {
    let mut count = 0;
    for path in paths {
        let mut inputs = vec![path.clone()];
        if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(|error| cannot_read(path, &error))?;
            inputs = entries.flatten().map(|entry| entry.path()).collect();
            inputs.sort();
        }
        for input in inputs {
            let data = std::fs::read(&input).map_err(|error| cannot_read(&input, &error))?;
            eprintln!("{}", input.display());
            run(&data);
            count += 1;
        }
    }
    Ok(count)
}

fn cannot_read(path: &Path, error: &std::io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}
