//! Documentation: size of the README, links between pages, and the paths, tests and commands that
//! they name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Maximum size of the README, in bytes.
const MAX_README_BYTES: usize = 8_192;
/// Directories that are not part of the repository, or have thousands of inputs.
const SKIPPED: [&str; 6] = [
    ".git",
    "artifacts",
    "corpus",
    "corpus-work",
    "regressions",
    "target",
];
/// Pages with tables whose last column names tests or other functions, with the least number of
/// names, so that an unreadable table fails.
const NAMING_PAGES: [(&str, usize); 3] = [
    ("tests/docs/guarantees.md", 240),
    ("core/docs/differences.md", 90),
    ("node/docs/walks.md", 50),
];

/// Returns the root of the repository.
fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Returns the files of the repository with this extension.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root()];
    while let Some(directory) = pending.pop() {
        let entries = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", directory.display()));
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str());
            if path.is_dir() {
                if name.is_some_and(|name| !SKIPPED.contains(&name)) {
                    pending.push(path);
                }
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Returns the lines of a page outside fenced code blocks, joined.
fn prose(page: &str) -> String {
    let mut is_code = false;
    let mut prose = String::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            prose.push_str(line);
        }
        prose.push('\n');
    }
    prose
}

/// Returns the inline code of a text. Code does not cross an empty line.
fn inline_code(prose: &str) -> Vec<&str> {
    let paragraphs = prose.split("\n\n");
    paragraphs
        .flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2))
        .collect()
}

/// Returns the targets of the links of a text.
fn links(prose: &str) -> Vec<&str> {
    let ends = prose.split("](").skip(1);
    ends.filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
        .collect()
}

/// Returns the anchors of a page's headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|it| it.is_alphanumeric() || " -_".contains(*it));
        kept.map(|it| if it == ' ' { '-' } else { it }).collect()
    };
    headings.map(anchor).collect()
}

/// Returns the pages with their contents, by path.
fn pages() -> BTreeMap<PathBuf, String> {
    let pages = files("md").into_iter();
    pages
        .map(|path| {
            let page = read(&path);
            (path, page)
        })
        .collect()
}

/// Returns whether the text of inline code is a path below one of the repository's directories.
fn is_path(code: &str) -> bool {
    let directories = ["core/", "node/", "tests/", "fuzz/"];
    let is_below = directories
        .into_iter()
        .any(|directory| code.starts_with(directory));
    let mut characters = code.chars();
    is_below && characters.all(|it| it.is_ascii_alphanumeric() || "_-./".contains(it))
}

/// Returns the names of all functions.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files("rs") {
        let source = read(&path);
        for rest in source.split("fn ").skip(1) {
            let end = rest.find(|it: char| !it.is_ascii_alphanumeric() && it != '_');
            let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            names.insert(name.to_owned());
        }
    }
    names
}

/// Returns the names of the files of a directory, without their extensions.
fn stems(directory: &str) -> BTreeSet<String> {
    let directory = root().join(directory);
    let entries = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", directory.display()));
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect()
}

/// Name of a test in a table.
enum Named<'p> {
    /// Function, fuzz target or subject of interop cases.
    Test(&'p str),
    /// Hostile case.
    Hostile(&'p str),
    /// Path, which another test checks.
    Path,
    /// Not a name: a command, a variable, a module or a case of the reference.
    Skipped,
}

fn named(code: &str) -> Named<'_> {
    if let Some(case) = code.strip_prefix("hostile ") {
        return Named::Hostile(case);
    }
    if is_path(code) {
        return Named::Path;
    }
    let name = code.rsplit("::").next().unwrap_or(code);
    let is_module = code.contains("::") && !name.contains('_');
    let is_identifier = name
        .chars()
        .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_');
    if is_identifier && !is_module {
        Named::Test(name)
    } else {
        Named::Skipped
    }
}

#[test]
fn readme_is_short() {
    let bytes = read(&root().join("README.md")).len();
    assert!(bytes <= MAX_README_BYTES, "README.md has {bytes} bytes");
}

#[test]
fn relative_links_lead_to_files_and_headings() {
    let pages = pages();
    let mut broken = Vec::new();
    for (path, page) in &pages {
        let prose = prose(page);
        for link in links(&prose) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let directory = path.parent().unwrap_or(path);
            let target = if file.is_empty() {
                path.clone()
            } else {
                directory.join(file)
            };
            let is_found = match fs::canonicalize(&target) {
                Err(_) => false,
                Ok(_) if anchor.is_empty() => true,
                Ok(target) => anchors(&read(&target)).contains(anchor),
            };
            if !is_found {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(pages.len() >= 20, "{} pages", pages.len());
    assert!(broken.is_empty(), "broken links: {broken:#?}");
}

#[test]
fn paths_in_inline_code_exist() {
    let root = root();
    let mut missing = Vec::new();
    for (path, page) in pages() {
        let prose = prose(&page);
        let paths = inline_code(&prose).into_iter().filter(|code| is_path(code));
        for named in paths {
            if !root.join(named).exists() {
                missing.push(format!("{}: {named}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "missing files: {missing:#?}");
}

/// Returns the directory of a package of the workspace.
fn package_directory(package: &str) -> Option<PathBuf> {
    let name = package.strip_prefix("astreum-")?;
    let mut directories = ["", "core", "node"]
        .iter()
        .map(|parent| root().join(parent).join(name));
    directories.find(|directory| directory.join("Cargo.toml").exists())
}

/// Returns whether a package has a target: in the usual place, or under its name in the manifest.
fn has_target(directory: &Path, folder: &str, name: &str) -> bool {
    let manifest = read(&directory.join("Cargo.toml"));
    let folder = directory.join(folder);
    folder.join(format!("{name}.rs")).exists()
        || folder.join(name).join("main.rs").exists()
        || manifest.contains(&format!("name = \"{name}\"\n"))
}

/// Returns whether a filter of tests matches the path of a function in a file with tests.
fn has_test(directory: &Path, filter: &str) -> bool {
    let sources = files("rs").into_iter();
    let mut sources = sources.filter(|path| path.starts_with(directory));
    sources.any(|path| {
        let below = path.strip_prefix(directory).unwrap_or(&path);
        let module = below.with_extension("").display().to_string();
        let module = module.trim_end_matches("/mod").replace('/', "::");
        let source = read(&path);
        let is_match = |rest: &str| {
            let end = rest.find('(').unwrap_or(rest.len());
            let name = rest.get(..end).unwrap_or_default();
            let inner = format!("{module}::tests::{name}");
            inner.contains(filter) || format!("{module}::{name}").contains(filter)
        };
        source.contains("#[test]") && source.split("fn ").skip(1).any(is_match)
    })
}

/// Returns the error in a command of `cargo` for a package, or `None` if everything that it names
/// exists.
fn cargo_error(command: &str) -> Option<String> {
    let mut words = command.split_whitespace().skip(1);
    let subcommand = words.next()?;
    let (mut directory, mut filters) = (None, Vec::new());
    while let Some(word) = words.next() {
        let folder = match word {
            "--" => break,
            "-p" => {
                let package = words.next()?;
                directory = package_directory(package);
                if directory.is_none() {
                    return Some(format!("unknown package {package}"));
                }
                continue;
            }
            "--bin" => "src/bin",
            "--example" => "examples",
            "--test" => "tests",
            word if word.starts_with('-') => continue,
            word => {
                filters.push(word);
                continue;
            }
        };
        let name = words.next()?;
        let directory = directory.as_deref()?;
        if !has_target(directory, folder, name) {
            return Some(format!("unknown target {name}"));
        }
    }
    let directory = directory.as_deref()?;
    if subcommand != "test" {
        return None;
    }
    match filters[..] {
        [] => None,
        [filter] if has_test(directory, filter) => None,
        [filter] => Some(format!("no test matches {filter}")),
        _ => Some("more than one filter".to_owned()),
    }
}

#[test]
fn cargo_commands_name_targets_and_tests_that_exist() {
    let (mut commands, mut errors) = (0, Vec::new());
    for (path, page) in pages() {
        // A changelog names commands of the past.
        if path.ends_with("CHANGELOG.md") {
            continue;
        }
        let prose = prose(&page);
        let inline = inline_code(&prose).into_iter();
        for command in inline.filter(|code| code.starts_with("cargo ")) {
            commands += 1;
            let error = cargo_error(command);
            errors.extend(error.map(|error| format!("{}: {command}: {error}", path.display())));
        }
    }
    assert!(commands >= 40, "{commands} commands");
    assert!(errors.is_empty(), "{errors:#?}");
    for wrong in [
        "cargo run -p astreum-kore",
        "cargo run -p astreum-tests --bin nothing",
        "cargo test -p astreum-core --lib trie::nothing",
        "cargo test -p astreum-core --lib trie chain",
    ] {
        assert!(cargo_error(wrong).is_some(), "{wrong}");
    }
}

#[test]
fn tables_name_tests_and_functions_that_exist() {
    let root = root();
    let mut known = functions();
    known.extend(stems("fuzz/fuzz_targets"));
    known.extend(stems("tests/interop/cases"));
    let hostile = read(&root.join("tests/hostile/main.rs"));
    for (page, min_names) in NAMING_PAGES {
        let prose = prose(&read(&root.join(page)));
        let rows = prose.lines().filter(|line| line.starts_with("| "));
        let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
        let (mut names, mut unknown, mut skipped) = (0, Vec::new(), Vec::new());
        for code in cells.flat_map(inline_code) {
            let is_known = match named(code) {
                Named::Test(name) => known.contains(name),
                Named::Hostile(case) => hostile.contains(&format!("(\"{case}\",")),
                Named::Path => continue,
                Named::Skipped => {
                    skipped.push(code);
                    continue;
                }
            };
            names += 1;
            if !is_known {
                unknown.push(code);
            }
        }
        println!("{page}: {names} names, skipped {skipped:?}");
        assert!(names >= min_names, "{page} names {names} functions");
        assert!(unknown.is_empty(), "unknown names in {page}: {unknown:#?}");
    }
}
