//! Permissions of files that hold secrets.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// Permission bits of all users but the owner.
const OTHERS: u32 = 0o077;
/// Mode of a file that systemd passes to a service as a credential: it belongs to root, and an
/// access control list, whose mask the group bits show, admits the user of the service.
const CREDENTIAL_MODE: u32 = 0o440;
/// Variable that names the directory of a service's credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Reason a file must not hold a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exposure {
    /// Other users can access it.
    Mode(u32),
    /// It belongs to another user.
    Owner,
}

/// Checks that the open file at `path` is accessible to its owner alone, who is this user or root.
pub(super) fn exposure(file: &File, path: &Path) -> io::Result<Option<Exposure>> {
    // Of the open file, so that it cannot be replaced in between.
    let metadata = file.metadata()?;
    let user = rustix::process::geteuid().as_raw();
    let mode = metadata.mode() & 0o7777;
    let directory = std::env::var_os(CREDENTIALS_DIRECTORY);
    let is_credential =
        directory.is_some_and(|directory| path.parent() == Some(Path::new(&directory)));
    Ok(judged(metadata.uid(), user, mode, is_credential))
}

/// Judges a file by its owner and mode.
const fn judged(owner: u32, user: u32, mode: u32, is_credential: bool) -> Option<Exposure> {
    if owner != user && owner != 0 {
        return Some(Exposure::Owner);
    }
    let is_admitted = owner == 0 && is_credential && mode & !CREDENTIAL_MODE == 0;
    if mode & OTHERS == 0 || is_admitted {
        return None;
    }
    Some(Exposure::Mode(mode))
}

/// Checks that the open file at `path` can hold a passphrase: a pipe, a terminal, or a regular file
/// that is accessible to its owner alone.
pub(super) fn check_private(file: &File, path: &Path) -> io::Result<()> {
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() || kind.is_socket() || kind.is_char_device() {
        return Ok(());
    }
    if !kind.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    match exposure(file, path)? {
        None => Ok(()),
        Some(Exposure::Owner) => Err(io::Error::other("belongs to another user")),
        Some(Exposure::Mode(mode)) => Err(io::Error::other(format!(
            "is accessible to other users (mode {mode:04o}); run chmod 600 on it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_credential_of_root_may_be_readable_by_a_group() {
        const USER: u32 = 1_000;
        for (owner, mode, is_credential, expected) in [
            (USER, 0o600, false, None),
            (USER, 0o400, true, None),
            (0, 0o600, false, None),
            (0, 0o440, true, None),
            (0, 0o440, false, Some(Exposure::Mode(0o440))),
            (0, 0o444, true, Some(Exposure::Mode(0o444))),
            (0, 0o640, true, Some(Exposure::Mode(0o640))),
            (USER, 0o440, true, Some(Exposure::Mode(0o440))),
            (1_001, 0o600, true, Some(Exposure::Owner)),
        ] {
            let judged = judged(owner, USER, mode, is_credential);
            assert_eq!(judged, expected, "{owner} {mode:o} {is_credential}");
        }
    }
}
