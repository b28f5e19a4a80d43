//! Structure of the modules of core and node: imports run in one direction.
//!
//! An import is a `use` declaration or a path that begins with `crate`, `super` or `self`, outside
//! of comments and tests. It counts between the two modules at which the paths of the importing and
//! the imported file part: an import of `engine::peers` in `engine::fetch::answers` counts from
//! `engine::fetch` to `engine::peers`. An import of an ancestor or a descendant does not count: a
//! module connects its children, and they use what it defines.
//!
//! Rules:
//! - No circle: the modules of one folder can be ordered so that each imports only earlier ones.
//!   This excludes circles of files and of folders.
//! - No upward import: a module of the root imports only modules above it in the table of the
//!   crate's `lib.rs`, which lists all of them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure fails the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Path of a module, without the name of the crate; empty for the root.
type Module = Vec<String>;

/// Imports from one module to a sibling, with the file that each is in.
type Imports = BTreeMap<(Module, Module), BTreeSet<String>>;

/// Crates whose structure is checked, each with a number of modules and of imports that are surely
/// exceeded.
const CRATES: [(&str, usize, usize); 3] = [
    ("core", 100, 300),
    ("core/script", 12, 15),
    ("node", 80, 200),
];

fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(name)
        .join("src")
}

/// Adds the modules of a folder that are not tests, by path.
fn collect(folder: &Path, module: &Module, modules: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if ["tests", "testkit", "bin", "main"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            let inner = [module.as_slice(), &[name]].concat();
            collect(&path, &inner, modules);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let own = match name.as_str() {
                "lib" | "mod" => module.clone(),
                _ => [module.as_slice(), &[name]].concat(),
            };
            modules.insert(own, fs::read_to_string(&path).unwrap());
        }
    }
}

/// Removes comments, and everything from the first test module on.
fn code_of(text: &str) -> String {
    let text = text
        .find("\n#[cfg(test)]\nmod tests {")
        .map_or(text, |end| &text[..end]);
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the paths of a `use` tree, which may contain groups in braces.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap();
        return vec![path.trim().to_owned()];
    };
    let Some(close) = tree.rfind('}').filter(|close| open < *close) else {
        return Vec::new();
    };
    let inner = &tree[open + 1..close];
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for character in inner.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if character == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(character);
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    let paths = parts.flat_map(|part| expand(part));
    paths
        .map(|path| format!("{}{path}", &tree[..open]))
        .collect()
}

/// Returns the paths that a file imports or names.
fn paths_of(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].rsplit('\n').next().unwrap().trim();
        let is_declaration = before.is_empty() || before.starts_with("pub");
        rest = &rest[at + "use ".len()..];
        let Some(end) = rest.find(';').filter(|_| is_declaration) else {
            continue;
        };
        paths.extend(expand(&rest[..end].replace('\n', " ")));
    }
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let path = code[at..].split(|character: char| {
                !(character.is_alphanumeric() || character == '_' || character == ':')
            });
            paths.extend(path.map(str::to_owned).next());
        }
    }
    paths
}

/// Returns the module that a path in `module` refers to, or `None` if it is not one of the crate.
fn resolve(path: &str, module: &Module, modules: &BTreeMap<Module, String>) -> Option<Module> {
    let segments: Vec<&str> = path.split("::").map(str::trim).collect();
    let mut at = module.clone();
    let first = match *segments.first()? {
        "crate" => {
            at.clear();
            1
        }
        "super" | "self" => {
            let relative = segments
                .iter()
                .take_while(|it| ["super", "self"].contains(*it));
            for segment in relative.clone() {
                if *segment == "super" {
                    at.pop()?;
                }
            }
            relative.count()
        }
        child => {
            let child = [module.as_slice(), &[child.to_owned()]].concat();
            modules.contains_key(&child).then_some(0)?
        }
    };
    for segment in &segments[first..] {
        at.push((*segment).to_owned());
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

/// Returns the imports between siblings.
fn imports(modules: &BTreeMap<Module, String>) -> Imports {
    let mut imports = Imports::new();
    for (module, text) in modules {
        for path in paths_of(&code_of(text)) {
            let Some(imported) = resolve(&path, module, modules) else {
                continue;
            };
            let pairs = module.iter().zip(&imported);
            let common = pairs.take_while(|(one, other)| one == other).count();
            if common < module.len().min(imported.len()) {
                let siblings = (module[..=common].to_vec(), imported[..=common].to_vec());
                imports
                    .entry(siblings)
                    .or_default()
                    .insert(module.join("::"));
            }
        }
    }
    imports
}

/// Returns the modules that remain when all without imports of remaining ones are removed, again
/// and again: those on circles, and those that import them.
fn unordered(imports: &Imports) -> BTreeSet<Module> {
    let mut left: BTreeSet<Module> = imports
        .keys()
        .flat_map(|(from, to)| [from.clone(), to.clone()])
        .collect();
    loop {
        let is_bound = |module: &Module| {
            let mut pairs = imports.keys();
            pairs.any(|(from, to)| from == module && left.contains(to))
        };
        let bound: BTreeSet<Module> = left.iter().filter(|it| is_bound(it)).cloned().collect();
        if bound.len() == left.len() {
            return bound;
        }
        left = bound;
    }
}

fn modules_of(name: &str, least: usize) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    collect(&sources(name), &Module::new(), &mut modules);
    assert!(modules.len() > least, "{name}: {} modules", modules.len());
    modules
}

#[test]
fn modules_import_each_other_without_circles() {
    for (name, least_modules, least_imports) in CRATES {
        let imports = imports(&modules_of(name, least_modules));
        assert!(
            imports.len() > least_imports,
            "{name}: {} imports",
            imports.len()
        );
        let circles = unordered(&imports);
        let lines = imports.iter().filter_map(|((from, to), files)| {
            let is_in_circle = circles.contains(from) && circles.contains(to);
            is_in_circle.then(|| format!("{} -> {} in {files:?}", from.join("::"), to.join("::")))
        });
        let lines: Vec<String> = lines.collect();
        assert!(lines.is_empty(), "circles in {name}:\n{}", lines.join("\n"));
    }
}

#[test]
fn modules_import_only_layers_above_them() {
    for (name, least_modules, _) in CRATES {
        let modules = modules_of(name, least_modules);
        let order: Vec<String> = modules[&Module::new()]
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .filter_map(|row| row.split('|').next())
            .flat_map(|names| names.split('`').skip(1).step_by(2))
            .map(str::to_owned)
            .collect();
        let listed: BTreeSet<&String> = order.iter().collect();
        let root: BTreeSet<&String> = modules.keys().filter_map(|module| module.first()).collect();
        assert_eq!(
            listed, root,
            "the table of {name}'s lib.rs lists the modules of the root"
        );
        let layer = |module: &Module| order.iter().position(|it| *it == module[0]);
        for ((from, to), files) in imports(&modules) {
            if from.len() == 1 {
                let (from_layer, to_layer) = (layer(&from), layer(&to));
                assert!(
                    to_layer < from_layer,
                    "{name}: {from:?} imports {to:?} in {files:?}"
                );
            }
        }
    }
}

#[test]
fn circles_and_their_importers_are_found() {
    let modules: BTreeMap<Module, String> = [
        ("", ""),
        ("a", "use crate::b::{inner::X, Y};"),
        ("b", "mod inner;\npub use inner::X;\nuse crate::c as other;"),
        ("b::inner", "use super::Y; // use crate::a::Z;\n"),
        ("c", "fn f() -> crate::d::T { g() }"),
        (
            "d",
            "use crate::{c::{T, U}, e};\n#[cfg(test)]\nmod tests {\nuse crate::a;",
        ),
        ("e", "use core::fmt;"),
    ]
    .map(|(path, text)| {
        let path = path.split("::").filter(|name| !name.is_empty());
        (path.map(str::to_owned).collect(), text.to_owned())
    })
    .into();
    let imports = imports(&modules);
    let names: Vec<String> = imports
        .keys()
        .map(|(from, to)| format!("{} {}", from.join("::"), to.join("::")))
        .collect();
    assert_eq!(names, ["a b", "b c", "c d", "d c", "d e"]);
    let unordered: Vec<String> = unordered(&imports).iter().map(|it| it.join("::")).collect();
    assert_eq!(unordered, ["a", "b", "c", "d"]);
}
