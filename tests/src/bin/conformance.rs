//! Conformance runner: feeds conformance cases to the program `conform` and compares the answers.
//!
//! ```text
//! cargo run -p astreum-tests --bin conformance -- <folder with <op>.jsonl>
//! ```
//!
//! Without an argument, the project's own vectors are used. Operations without vectors in the
//! project are skipped, and listed.

use astreum_tests::testkit::program;
use core::error::Error;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(|| vectors.clone(), PathBuf::from);
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(|error| format!("cannot read {}: {error}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    cases.sort();
    let covered = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| vectors.join(name).exists())
    };
    let (covered, left_out): (Vec<_>, Vec<_>) = cases.into_iter().partition(covered);
    let conform = program::build_of("astreum-tests", "conform")?;
    let mut wrong = 0;
    let mut total = 0;
    for path in &covered {
        let text = std::fs::read_to_string(path)?;
        wrong += compare(&conform, &text)?;
        total += text.lines().count();
    }
    let names = |paths: &[PathBuf]| {
        let stems = paths.iter().filter_map(|path| path.file_stem()?.to_str());
        stems.collect::<Vec<_>>().join(" ")
    };
    println!("conformance: {} cases, {wrong} wrong", total);
    if !left_out.is_empty() {
        println!("conformance: not covered: {}", names(&left_out));
    }
    if total == 0 {
        return Err(format!("no case of a covered operation in {}", folder.display()).into());
    }
    Ok(ExitCode::from(u8::from(wrong > 0)))
}

/// Returns the number of cases with a wrong answer, and prints those cases.
fn compare(conform: &Path, text: &str) -> Result<usize, Box<dyn Error>> {
    let mut wrong = 0;
    let mut answers = answers(conform, text)?.into_iter();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line)?;
        let answer = answers.next().unwrap_or_default();
        let (expected, actual) = (case.get("out"), answer.get("out"));
        let is_error = |out: Option<&Value>| out.is_some_and(|out| out.get("error").is_some());
        let same = case.get("id") == answer.get("id")
            && (expected == actual || is_error(expected) && is_error(actual));
        if !same {
            println!("case:   {line}\nanswer: {answer}");
            wrong += 1;
        }
    }
    Ok(wrong)
}

/// Returns the program's answers to these lines without their expected answers.
fn answers(conform: &Path, text: &str) -> Result<Vec<Value>, Box<dyn Error>> {
    let mut child = Command::new(conform)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut requests = child.stdin.take().ok_or("no stdin")?;
    let lines: Result<Vec<String>, serde_json::Error> = text.lines().map(request).collect();
    let lines = lines?;
    // Written by a second thread, because both pipes can be full.
    let writer = std::thread::spawn(move || {
        lines
            .iter()
            .try_for_each(|line| writeln!(requests, "{line}"))
    });
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| "the writer panicked")??;
    if !output.status.success() {
        return Err(format!("conform exited with {}", output.status).into());
    }
    let lines = core::str::from_utf8(&output.stdout)?.lines();
    Ok(lines.map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn request(line: &str) -> Result<String, serde_json::Error> {
    let mut case: Value = serde_json::from_str(line)?;
    if let Some(case) = case.as_object_mut() {
        case.remove("out");
    }
    Ok(case.to_string())
}
