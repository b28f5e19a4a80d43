//! Folder as the table of a manifest.
//!
//! Entries are sorted by the bytes of their names, whatever order the file system returns, so that
//! equal folders have equal ids. Hidden files and empty directories belong to a folder. Symbolic
//! links, devices, pipes and sockets are refused: what they mean lies outside of it.

use std::fs::{self, FileType, Metadata};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::vec;

use astreum_core::manifest::{Entry, EntryKind, MAX_ENTRIES, ManifestError, Table, TableWriter};

use super::output::Failure;

/// Bits of a mode that are stored.
const PERMISSIONS: u32 = 0o777;

/// Lists a folder. Files that appear later are not in it.
pub(super) fn table_of(root: &Path) -> Result<Table, Failure> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failure::Failed(format!("{path}: {error}"))
    };
    let refused = |path: &Path, error: ManifestError| {
        let path = path.display();
        Failure::Failed(format!("{path} does not fit into a manifest: {error}"))
    };
    let mut writer = TableWriter::default();
    // The argument may be a link to the folder.
    let metadata = fs::metadata(root).map_err(failed(root))?;
    let entry = entry("", EntryKind::Directory, &metadata);
    writer.push(&entry).map_err(|error| refused(root, error))?;
    let mut path = String::new();
    let mut open = vec![names_in(root)?];
    while let Some(names) = open.last_mut() {
        let Some(name) = names.next() else {
            open.pop();
            path.truncate(path.rfind('/').unwrap_or(0));
            continue;
        };
        let parent_len = path.len();
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&name);
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full).map_err(failed(&full))?;
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => EntryKind::Directory,
            kind if kind.is_file() => EntryKind::File {
                size: metadata.len(),
            },
            kind => return Err(special(&full, kind)),
        };
        let entry = self::entry(&path, kind, &metadata);
        writer.push(&entry).map_err(|error| refused(&full, error))?;
        match kind {
            EntryKind::Directory => open.push(names_in(&full)?),
            EntryKind::File { .. } => path.truncate(parent_len),
        }
    }
    writer.finish().map_err(|error| refused(root, error))
}

fn entry<'p>(path: &'p str, kind: EntryKind, metadata: &Metadata) -> Entry<'p> {
    let mode = metadata.permissions().mode() & PERMISSIONS;
    Entry {
        path,
        kind,
        mode: u16::try_from(mode).unwrap_or_default(),
    }
}

/// Returns the sorted names in a directory.
fn names_in(directory: &Path) -> Result<vec::IntoIter<String>, Failure> {
    let failed =
        |error: std::io::Error| Failure::Failed(format!("{}: {error}", directory.display()));
    let mut names = Vec::new();
    for found in fs::read_dir(directory).map_err(failed)? {
        let found = found.map_err(failed)?;
        let name = found.file_name().into_string().map_err(|_| {
            let path = found.path();
            Failure::Failed(format!(
                "{}: the name is not UTF-8; rename it",
                path.display()
            ))
        })?;
        if names.len() >= MAX_ENTRIES {
            let error = ManifestError::TooManyEntries;
            return Err(Failure::Failed(format!("{}: {error}", directory.display())));
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names.into_iter())
}

fn special(path: &Path, kind: FileType) -> Failure {
    let what = match kind {
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "not a regular file",
    };
    Failure::Failed(format!(
        "{} is {what}: a folder is stored with regular files and directories only; remove or \
         replace it",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn folder_is_listed_in_order_with_hidden_and_empty_entries() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for directory in ["b/empty", "b/sub", "b b"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for (name, content) in [
            (".hidden", "1"),
            ("b/sub/f", "22"),
            ("b b/g", ""),
            ("a", "x"),
        ] {
            fs::write(root.join(name), content).unwrap();
        }
        fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o4_711)).unwrap();
        let table = table_of(root).unwrap();
        let found: Vec<_> = table.entries().map(|it| (it.path, it.size())).collect();
        let expected = [
            ("", None),
            (".hidden", Some(1)),
            ("a", Some(1)),
            ("b", None),
            ("b/empty", None),
            ("b/sub", None),
            ("b/sub/f", Some(2)),
            ("b b", None),
            ("b b/g", Some(0)),
        ];
        assert_eq!(found, expected);
        let mode = table.entries().nth(2).map(|it| it.mode);
        assert_eq!(mode, Some(0o711), "without setuid");
        // The argument itself may be a link.
        let other = tempfile::tempdir().unwrap();
        let link = other.path().join("link");
        symlink(root, &link).unwrap();
        assert_eq!(table_of(&link).unwrap(), table);
    }

    #[test]
    fn what_is_not_a_file_or_directory_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("d")).unwrap();
        let refused = |name: &OsStr, what: &str| {
            let error = format!("{:?}", table_of(root).unwrap_err());
            assert!(error.contains(what), "{error}");
            assert!(error.contains("/d/"), "{error}");
            fs::remove_file(root.join("d").join(name)).unwrap();
        };
        symlink("/etc/passwd", root.join("d/link")).unwrap();
        refused(OsStr::new("link"), "d/link is a symbolic link");
        let socket = UnixListener::bind(root.join("d/socket")).unwrap();
        refused(OsStr::new("socket"), "d/socket is a socket");
        drop(socket);
        let name = OsStr::from_bytes(b"n\xff");
        fs::write(root.join("d").join(name), "").unwrap();
        refused(name, "the name is not UTF-8");
        let mut deep = root.join("d");
        for _ in 0..128 {
            deep.push("e");
        }
        fs::create_dir_all(&deep).unwrap();
        let error = format!("{:?}", table_of(root).unwrap_err());
        assert!(error.contains("128 levels deep"), "{error}");
    }
}
