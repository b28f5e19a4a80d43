//! Snapshots of a network: copies of the cold storage of all nodes, with the files of the chain.

use core::time::Duration;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::output::Failure;
use super::create::begin_chain;
use super::directory::{Description, Directory, create_private, failed};
use super::nodes::Node;
use crate::rpc::request;

/// Maximum length of a name.
const MAX_NAME_BYTES: usize = 64;
/// Maximum time for the copy of a node that runs.
const COPY_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Returns the directory of a snapshot.
pub(super) fn path_of(directory: &Directory, name: &str) -> Result<PathBuf, Failure> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with('.')
        && !name.ends_with(".part")
        && name.chars().all(is_allowed);
    if !is_name {
        return Err(Failure::Usage(format!(
            "invalid name {name:?} of a snapshot: expected at most {MAX_NAME_BYTES} letters, \
             digits, -, _ and ., not a dot at the start and not .part at the end"
        )));
    }
    Ok(directory.snapshots().join(name))
}

/// Copies all nodes: with `nodes`, through those that run. The snapshot has its name once it is
/// complete.
pub(super) fn take<'n>(
    directory: &Directory,
    found: &Description,
    name: &str,
    nodes: impl Iterator<Item = &'n Node>,
) -> Result<(), Failure> {
    let path = path_of(directory, name)?;
    if path.exists() {
        return Err(Failure::Failed(format!(
            "snapshot {name} exists; choose another name, or remove {}",
            path.display()
        )));
    }
    let all = directory.snapshots();
    if !all.exists() {
        create_private(&all).map_err(|error| failed("cannot create", &all, &error))?;
    }
    let part = all.join(format!("{name}.part"));
    remove(&part)?;
    create_private(&part).map_err(|error| failed("cannot create", &part, &error))?;
    let copied = copy_nodes(directory, found, &part, nodes);
    if copied.is_err() {
        let _ = remove(&part);
    }
    copied?;
    fs::rename(&part, &path).map_err(|error| failed("cannot rename", &part, &error))
}

fn copy_nodes<'n>(
    directory: &Directory,
    found: &Description,
    part: &Path,
    nodes: impl Iterator<Item = &'n Node>,
) -> Result<(), Failure> {
    let running: Vec<&Node> = nodes.filter(|node| node.is_running()).collect();
    for number in 1..=found.nodes {
        let to = part.join(format!("node{number}"));
        match running.iter().find(|node| node.number == number) {
            Some(node) => {
                let path = to.into_os_string().into_string();
                let path = path.map_err(|path| {
                    Failure::Failed(format!("the path {} is not UTF-8", path.to_string_lossy()))
                })?;
                let client = node.client().clone().with_timeout(COPY_TIMEOUT);
                client.request(&request::BackUp { directory: path })?;
            }
            None => copy_tree(&directory.node(number).join("cold"), &to)?,
        }
    }
    Ok(())
}

/// Replaces the files of all nodes, which do not run, by those of a snapshot. Repeating it after an
/// interruption completes it.
pub(super) fn restore(
    directory: &Directory,
    found: &Description,
    name: &str,
) -> Result<(), Failure> {
    let path = check(directory, found, name)?;
    for number in 1..=found.nodes {
        let node = directory.node(number);
        let part = node.join("cold.part");
        remove(&part)?;
        copy_tree(&path.join(format!("node{number}")), &part)?;
        remove_chain(&node)?;
        let cold = node.join("cold");
        fs::rename(&part, &cold).map_err(|error| failed("cannot rename", &part, &error))?;
    }
    Ok(())
}

/// Checks that a snapshot can be restored; returns its path.
pub(super) fn check(
    directory: &Directory,
    found: &Description,
    name: &str,
) -> Result<PathBuf, Failure> {
    let path = path_of(directory, name)?;
    if let Some(missing) = (1..=found.nodes)
        .map(|number| path.join(format!("node{number}")))
        .find(|node| !node.is_dir())
    {
        let mut names: Vec<String> = fs::read_dir(directory.snapshots())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.ends_with(".part"))
            .collect();
        names.sort();
        let has = match &names[..] {
            _ if path.exists() => format!("{} is missing", missing.display()),
            [] => "there are no snapshots; `astreum devnet snapshot NAME` makes one".to_owned(),
            names => format!("available are {}", names.join(", ")),
        };
        return Err(Failure::Failed(format!("unknown snapshot {name}: {has}")));
    }
    Ok(path)
}

/// Begins a new chain in the files of all nodes, which do not run.
pub(super) fn reset(directory: &Directory, found: &Description) -> Result<(), Failure> {
    for number in 1..=found.nodes {
        remove_chain(&directory.node(number))?;
    }
    begin_chain(directory, found)
}

/// Removes cold storage and state of a node: its waiting transactions belong to another chain.
fn remove_chain(node: &Path) -> Result<(), Failure> {
    remove(&node.join("state"))?;
    remove(&node.join("cold"))
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("cannot remove", path, &error))
        }
        _ => Ok(()),
    }
}

/// Copies a directory with its regular files and directories.
fn copy_tree(from: &Path, to: &Path) -> Result<(), Failure> {
    let mut pending = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = pending.pop() {
        create_private(&to).map_err(|error| failed("cannot create", &to, &error))?;
        let entries = match fs::read_dir(&from) {
            // A node that has never run.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|error| failed("cannot read", &from, &error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| failed("cannot read", &from, &error))?;
            let kind = entry.file_type();
            let kind = kind.map_err(|error| failed("cannot read", &entry.path(), &error))?;
            let target = to.join(entry.file_name());
            if kind.is_dir() {
                pending.push((entry.path(), target));
            } else if kind.is_file() {
                let copied = fs::copy(entry.path(), &target);
                copied.map_err(|error| failed("cannot copy to", &target, &error))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_directory() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Directory::at(scratch.path()).unwrap();
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "/",
            ".a",
            "a.part",
            "a b",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(path_of(&directory, name).is_err(), "{name:?}");
        }
        let path = path_of(&directory, "before-1.2_x").unwrap();
        assert_eq!(path, directory.snapshots().join("before-1.2_x"));
    }

    #[test]
    fn trees_are_copied_without_links() {
        let scratch = tempfile::tempdir().unwrap();
        let from = scratch.path().join("from");
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/file"), "text").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("link")).unwrap();
        let to = scratch.path().join("to");
        copy_tree(&from, &to).unwrap();
        assert_eq!(fs::read(to.join("a/b/file")).unwrap(), b"text");
        assert!(!to.join("link").exists());
        assert!(copy_tree(&from, &to).is_err(), "nothing is overwritten");
    }
}
