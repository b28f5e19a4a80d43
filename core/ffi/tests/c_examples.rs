//! The examples in C, compiled against the static library and run with their own assertions.

#![expect(
    clippy::unwrap_used,
    reason = "an example that does not work fails the test"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Compiler flags: the header and the examples have no warnings.
const FLAGS: [&str; 6] = [
    "-std=c11",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-O1",
];
/// Libraries of the system that the static library needs, as
/// `cargo rustc --crate-type staticlib -- --print native-static-libs` prints them.
const SYSTEM_LIBRARIES: [&str; 3] = ["-lpthread", "-ldl", "-lm"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Returns the static library, which cargo builds beside the tests of the package.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let library = test.with_file_name("libastreum.a");
    assert!(library.exists(), "missing {}", library.display());
    library
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("failed to run {command:?}: {error}; install a C compiler: apt-get install gcc")
    });
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Compiles and runs an example, and returns its output.
fn example(name: &str, arguments: &[&str]) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let program = scratch.path().join(name);
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut compile = Command::new(compiler);
    compile
        .args(FLAGS)
        .arg("-I")
        .arg(folder().join("include"))
        .arg(folder().join(format!("examples/{name}.c")))
        .arg(library())
        .args(SYSTEM_LIBRARIES)
        .arg("-o")
        .arg(&program);
    run(&mut compile);
    let output = run(Command::new(&program).args(arguments));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn evaluates_sources_and_calls() {
    let text = example("evaluate", &[]);
    assert!(text.contains("source: 42\ncall: "), "{text}");
}

#[test]
fn limits_end_evaluations_and_errors_have_positions() {
    let text = example("limits", &[]);
    assert!(
        text.contains("stopped by the step limit of 10000"),
        "{text}"
    );
    assert!(text.contains("underflow at token 1, opcode add"), "{text}");
    assert!(text.contains("at line 1, column 6"), "{text}");
}

#[test]
fn host_functions_charge_fail_and_suspend() {
    let text = example("host_function", &[]);
    assert!(
        text.contains("apple: 3\npear: error price: unknown item\n"),
        "{text}"
    );
    assert!(
        text.contains("broken failed with 1234: out of paper"),
        "{text}"
    );
}

#[test]
fn missing_atoms_are_supplied_to_suspended_evaluations() {
    let text = example("suspend", &[]);
    let values: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(": ").nth(1))
        .collect();
    assert_eq!(values.len(), 2, "{text}");
    assert_eq!(values[0], values[1], "{text}");
}

#[test]
fn suspensions_travel_between_machines() {
    let text = example("serialize", &[]);
    assert!(text.contains("value: 128"), "{text}");
}

#[test]
fn call_cost_is_measured() {
    let text = example("call_cost", &["10"]);
    assert_eq!(text.lines().count(), 3, "{text}");
}

/// Every example has a test here.
#[test]
fn every_example_is_run() {
    let source = include_str!("c_examples.rs");
    let mut count = 0;
    for entry in std::fs::read_dir(folder().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "c") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(source.contains(&format!("example(\"{name}\"")), "{name}");
            count += 1;
        }
    }
    assert_eq!(count, 6);
}
