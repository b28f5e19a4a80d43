//! New files, which are complete or absent.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a new file and syncs it. A file that cannot be written completely is removed, so that the
/// command can be repeated.
///
/// # Errors
/// Fails if the file exists, its directory is missing, or the system fails.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    let mut file = File::create_new(path).map_err(|error| cannot_create(path, &error))?;
    complete(path, &mut file, content)
}

fn complete(path: &Path, file: &mut File, content: &[u8]) -> Result<(), String> {
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(path);
        format!("cannot write {}: {error}", path.display())
    })
}

/// Replaces the content of a file: it has the old content or the new one at any time.
pub(super) fn replace(path: &Path, content: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let mut file = File::create_new(&part)?;
    let written = file
        .write_all(content.as_bytes())
        .and_then(|()| file.set_permissions(fs::metadata(path)?.permissions()))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

/// Returns the reason that no file could be created at `path`.
pub(super) fn cannot_create(path: &Path, error: &io::Error) -> String {
    let name = path.display();
    let parent = path.parent().unwrap_or(Path::new(""));
    match error.kind() {
        io::ErrorKind::AlreadyExists => format!("refusing to overwrite {name}: the file exists"),
        io::ErrorKind::NotFound if !parent.as_os_str().is_empty() && !parent.exists() => format!(
            "cannot create {name}: the directory {} does not exist",
            parent.display()
        ),
        _ => format!("cannot create {name}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_file_and_missing_directory_are_named() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("new");
        assert!(write(&path, b"first").is_ok());
        assert!(
            write(&path, b"second")
                .unwrap_err()
                .ends_with("new: the file exists")
        );
        assert_eq!(fs::read(&path).unwrap(), b"first");
        let below = scratch.path().join("missing").join("new");
        assert!(
            write(&below, b"first")
                .unwrap_err()
                .ends_with("missing does not exist")
        );
        assert!(!below.exists());
    }

    #[test]
    fn incomplete_file_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("new");
        fs::write(&path, "").unwrap();
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let error = complete(&path, &mut full, b"content").unwrap_err();
        assert!(error.contains("No space left"), "{error}");
        assert!(!path.exists());
    }
}
