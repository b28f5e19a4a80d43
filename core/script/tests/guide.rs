//! Examples of the language guide, executed.
//!
//! - In a block `astreum`, the value of the expressions before `; =>` follows it.
//! - After a block `asm`, `astreum,check` or `astreum,trace`, a block `text` has the output of the
//!   assembler, the problems, or the state before each step.
//! - In the table of the standard library, value and charge follow the example.
//!
//! `UPDATE_GUIDE=1` writes the outputs into the guide.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure fails the test"
)]

use astreum_core::atom::MemoryStore;
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Machine, Progress};
use astreum_core::text::{Parser, Script};
use astreum_script::asm::NoIncludes;
use astreum_script::trace::View;
use astreum_script::{Options, Sources, Tree, assemble, check, library};

const MARK: &str = "; =>";

struct Session {
    machine: Machine<MemoryStore>,
    env: Env,
}

impl Session {
    fn new(library: bool) -> Self {
        let (mut machine, mut env) = (Machine::new(MemoryStore::new()), Env::new());
        if library {
            machine.eval_all(library::SOURCE, &mut env).unwrap();
        }
        Self { machine, env }
    }

    /// Returns the value of the last expression of a source.
    fn value(&mut self, source: &str) -> String {
        let exprs: Vec<Expr> = Parser::new(source).collect::<Result<_, _>>().unwrap();
        assert!(!exprs.is_empty(), "{source:?} has no expression");
        let mut value = String::new();
        for expr in &exprs {
            value = self.machine.eval(expr, &mut self.env).value().to_string();
        }
        value
    }
}

/// Returns the lines of a block `astreum` with the values.
fn evaluated(block: &[&str]) -> Vec<String> {
    let mut session = Session::new(false);
    let mut source = String::new();
    let lines = block.iter().map(|line| match line.split_once(MARK) {
        None => {
            source.push_str(line);
            source.push('\n');
            (*line).to_owned()
        }
        Some((code, _)) => {
            source.push_str(code);
            let value = session.value(&core::mem::take(&mut source));
            format!("{code}{MARK} {value}")
        }
    });
    lines.collect()
}

fn assembled(text: &str) -> String {
    let mut sources = Sources::new();
    let main = sources.add("file.asm", text);
    match assemble(&mut sources, main, &mut NoIncludes) {
        Ok(assembled) => {
            let output = assembled.to_source(&sources);
            let output_id = sources.add("output", output.clone());
            let tree = Tree::parse(&sources, output_id).unwrap();
            let problems = check(&sources, &tree, &[], &Options::new());
            assert!(problems.is_empty(), "{problems:?}");
            output
        }
        Err(error) => error.render(&sources),
    }
}

fn checked(text: &str) -> String {
    let mut sources = Sources::new();
    let main = sources.add("file", text);
    let tree = Tree::parse(&sources, main).unwrap();
    let problems = check(&sources, &tree, &[], &Options::new());
    let problems = problems.iter().map(|problem| problem.render(&sources));
    problems.collect::<Vec<_>>().join("\n")
}

fn traced(text: &str) -> String {
    let script = Script::parse(text).unwrap();
    let mut session = Session::new(false);
    let mut lines = Vec::new();
    for expr in script.exprs() {
        let mut progress = session.machine.start_stepping(expr, &mut session.env);
        while let Progress::Suspended(suspended) = progress {
            lines.push(View::new(&suspended).to_string());
            progress = session.machine.step(suspended, &mut session.env);
        }
        let done = progress.done().unwrap();
        lines.push(done.value().to_string());
    }
    lines.join("\n")
}

/// Returns a row of the table of the library with value and charge, and the name of the function.
fn row(line: &str) -> Option<(String, String)> {
    let cells: Vec<&str> = line
        .strip_prefix("| `")?
        .split(" | ")
        .map(str::trim)
        .collect();
    let [usage, meaning, example, ..] = cells[..] else {
        return None;
    };
    if !example.starts_with("`(") {
        return None;
    }
    let source = example.trim_matches('`');
    let expr = astreum_core::text::parse(source).unwrap();
    let mut session = Session::new(true);
    let evaluation = session.machine.eval(&expr, &mut session.env);
    let (value, charge) = (evaluation.value(), evaluation.used());
    assert!(!value.is_error(), "{source}: {value}");
    let name = usage.trim_matches(['`', ')']).rsplit(' ').next().unwrap();
    let row = format!("| `{usage} | {meaning} | {example} | `{value}` | {charge} |");
    Some((row, name.to_owned()))
}

/// Returns the guide with all outputs, the functions in its table, and the number of examples.
fn rendered(guide: &str) -> (String, Vec<String>, usize) {
    let lines: Vec<&str> = guide.lines().collect();
    let mut output: Vec<String> = Vec::new();
    let (mut names, mut examples) = (Vec::new(), 0);
    // Output for the next block `text`.
    let mut expected: Option<String> = None;
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        let Some(kind) = line.strip_prefix("```").filter(|kind| !kind.is_empty()) else {
            match row(line) {
                Some((row, name)) => {
                    output.push(row);
                    names.push(name);
                }
                None => output.push(line.to_owned()),
            }
            continue;
        };
        let end = at + lines[at..].iter().position(|line| *line == "```").unwrap();
        let (block, text) = (&lines[at..end], lines[at..end].join("\n"));
        at = end + 1;
        examples += 1;
        output.push(line.to_owned());
        match kind {
            "astreum" => output.extend(evaluated(block)),
            "text" if expected.is_some() => {
                let expected = expected.take().unwrap_or_default();
                output.extend(expected.lines().map(str::to_owned));
            }
            _ => output.push(text.clone()),
        }
        output.push("```".to_owned());
        expected = match kind {
            "asm" => Some(assembled(&text)),
            "astreum,check" => Some(checked(&text)),
            "astreum,trace" => Some(traced(&text)),
            _ => expected,
        };
    }
    assert!(expected.is_none(), "a block without its output");
    (output.join("\n") + "\n", names, examples)
}

#[test]
fn documented_examples_and_charges_hold() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let (rendered, mut names, examples) = rendered(&guide);
    if std::env::var_os("UPDATE_GUIDE").is_some() {
        std::fs::write(path, &rendered).unwrap();
    }
    for (expected, found) in rendered.lines().zip(guide.lines()) {
        assert_eq!(found, expected, "UPDATE_GUIDE=1 writes the outputs");
    }
    assert_eq!(rendered.lines().count(), guide.lines().count());
    assert!(examples >= 16, "{examples} examples");
    let mut known = library::names();
    known.sort();
    names.sort();
    assert_eq!(names, known, "every function has a row");
}
