//! Tests of the advice in messages: every command, option and configuration key that a message of
//! this program names exists.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Command, CommandFactory as _};

use super::args::Cli;
use crate::config::Key;

/// Returns the string literals in the sources of this crate with their files, without comments and
/// tests.
fn texts() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut texts,
    );
    texts
}

fn collect(directory: &Path, texts: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, texts);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = source.lines();
            let code: Vec<&str> = lines
                .filter(|it| !it.trim_start().starts_with("//"))
                .collect();
            let name = path.display().to_string();
            let literals = literals(&code.join("\n"));
            texts.extend(literals.into_iter().map(|text| (name.clone(), text)));
        }
    }
}

fn literals(code: &str) -> Vec<String> {
    let (mut found, mut current, mut chars) = (Vec::new(), None::<String>, code.chars().peekable());
    while let Some(c) = chars.next() {
        match (&mut current, c) {
            (None, '"') => current = Some(String::new()),
            (None, '\'') => {
                // Skips a character literal of a double quote. Lifetimes do not have a second
                // quote.
                let rest: String = chars.clone().take(3).collect();
                if rest.starts_with("\"'") || rest.starts_with("\\\"'") {
                    chars.nth(rest.find('\'').unwrap());
                }
            }
            (None, _) => {}
            (Some(_), '"') => found.extend(current.take()),
            (Some(text), '\\') => match chars.next() {
                Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                Some('n') => text.push('\n'),
                Some(other) => text.push(other),
                None => {}
            },
            (Some(text), c) => text.push(c),
        }
    }
    found
}

/// Collects all options of all commands, with their dashes.
fn options(command: &Command, found: &mut BTreeSet<String>) {
    for arg in command.get_arguments() {
        found.extend(arg.get_long().map(|long| format!("--{long}")));
    }
    for command in command.get_subcommands() {
        options(command, found);
    }
}

#[test]
fn commands_in_messages_exist() {
    let mut root = Cli::command();
    root.build();
    let mut checked = 0;
    for (file, text) in texts() {
        for quoted in text.split('`').skip(1).step_by(2) {
            let Some(rest) = quoted.strip_prefix("astreum ") else {
                continue;
            };
            let mut command = &root;
            for word in rest.split_whitespace() {
                if let Some(next) = command.find_subcommand(word) {
                    command = next;
                } else if let Some(option) = word.strip_prefix("--") {
                    let option = option.split('=').next().unwrap();
                    let known = command.get_arguments();
                    let mut known = known.filter_map(clap::Arg::get_long);
                    assert!(
                        known.any(|known| known == option) || option == "help",
                        "{file}: `{quoted}`: {} has no --{option}",
                        command.get_name()
                    );
                } else {
                    let is_word = word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
                    let takes = command.get_positionals().next().is_some();
                    let is_known = takes || !is_word || word == "or";
                    assert!(is_known, "{file}: `{quoted}`: {word} does not exist");
                }
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn options_in_messages_exist() {
    let mut root = Cli::command();
    root.build();
    let mut known = BTreeSet::new();
    options(&root, &mut known);
    // An option of cargo.
    known.insert("--features".to_owned());
    let mut checked = 0;
    for (file, text) in texts() {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')) {
            let is_option = word.starts_with("--")
                && word.len() > 4
                && word
                    .chars()
                    .skip(2)
                    .all(|c| c.is_ascii_lowercase() || c == '-');
            if is_option && text.contains(' ') {
                assert!(known.contains(word), "{file}: {word} in {text:?}");
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn configuration_keys_in_messages_exist() {
    let mut checked = 0;
    for (file, text) in texts() {
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.windows(2) {
            let [verb, name] = pair else { continue };
            if !matches!(*verb, "set" | "raise" | "lower" | "another") {
                continue;
            }
            let end =
                name.find(|c: char| !(c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit()));
            let name = &name[..end.unwrap_or(name.len())];
            if name.contains('_') {
                assert!(Key::find(name).is_some(), "{file}: {name} in {text:?}");
                checked += 1;
            }
        }
    }
    assert!(checked > 15, "{checked}");
}
