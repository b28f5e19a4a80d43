//! Token that permits everything.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Maximum length in bytes of a token file.
const MAX_FILE_BYTES: u64 = 512;
/// Minimum length in characters of a token.
const MIN_CHARACTERS: usize = 32;
/// Permissions of others than the owner.
const OTHERS: u32 = 0o077;
/// Error of a symbolic link that leads nowhere.
const DANGLING: &str = "a symbolic link to a file that does not exist; remove the link";

/// Token, of which only the hash is kept.
#[derive(Clone)]
pub(super) struct Token(blake3::Hash);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(<redacted>)")
    }
}

impl Token {
    fn new(text: &str) -> Self {
        Self(blake3::hash(text.as_bytes()))
    }

    /// Returns whether a text is the token. Takes the same time for every text of its length.
    pub(super) fn is(&self, text: &str) -> bool {
        // Hashes are compared in constant time.
        blake3::hash(text.as_bytes()) == self.0
    }

    /// Reads the token from a file, or creates the file with a new one, for its user alone.
    ///
    /// # Errors
    /// Fails if the file is accessible to other users or has no valid token, or if the system does.
    pub(super) fn read_or_create(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| error.to_string();
        match open(path) {
            Ok(file) => read(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let entropy = crate::clock::entropy().map_err(|error| error.to_string())?;
                let text = hex::encode(entropy);
                let mut options = OpenOptions::new();
                let options = options.write(true).create_new(true).mode(0o600);
                let mut file = options.open(path).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists if path.is_symlink() => DANGLING.to_owned(),
                    _ => failed(error),
                })?;
                let written = writeln!(file, "{text}").and_then(|()| file.sync_all());
                written.map_err(|error| {
                    let _ = std::fs::remove_file(path);
                    failed(error)
                })?;
                Ok(Self::new(&text))
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// Checks a token file as the start of the server does, without creating it; a missing file is
/// valid.
///
/// # Errors
/// Fails if the file cannot be used, with the reason and advice.
pub(crate) fn check_token_file(path: &Path) -> Result<(), String> {
    match open(path) {
        Ok(file) => read(&file).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.is_symlink() {
            true => Err(DANGLING.to_owned()),
            false => Ok(()),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// Opens a file for reading. A pipe in its place does not block the start.
fn open(path: &Path) -> io::Result<File> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nonblocking).open(path)
}

fn read(file: &File) -> Result<Token, String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(format!(
            "accessible to other users (mode {mode:03o}); run `chmod 600` on it, and change the token \
             if another user may have read it"
        ));
    }
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    let text = text.trim();
    let is_valid = text.len() >= MIN_CHARACTERS && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_valid {
        return Err(format!(
            "not a token: expected at least {MIN_CHARACTERS} characters without spaces; remove the \
             file, and the node creates one"
        ));
    }
    Ok(Token::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn token_file_is_created_once_for_its_user_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("rpc.token");
        let created = Token::read_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        let text = text.trim();
        assert_eq!(text.len(), 64);
        let again = Token::read_or_create(&path).unwrap();
        assert!(created.is(text) && again.is(text));
        assert!(!again.is("") && !again.is(&text[1..]) && !again.is(&format!("{text} ")));
        assert_eq!(format!("{created:?}"), "Token(<redacted>)");
    }

    #[test]
    fn unsafe_and_malformed_files_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("rpc.token");
        let error = |content: &str, mode: u32| {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = Token::read_or_create(&path).unwrap_err();
            assert_eq!(check_token_file(&path), Err(error.clone()));
            error
        };
        let valid = "x".repeat(32);
        assert!(error(&valid, 0o640).contains("accessible to other users (mode 640)"));
        for wrong in ["", "short", &"x ".repeat(32), &"x".repeat(31)] {
            assert!(error(wrong, 0o600).contains("not a token"), "{wrong:?}");
        }
        assert!(Token::read_or_create(scratch.path()).is_err());
        fs::remove_file(&path).unwrap();
        assert_eq!(check_token_file(&path), Ok(()));
        assert!(!path.exists());
        std::os::unix::fs::symlink("absent", &path).unwrap();
        let dangling = Token::read_or_create(&path).unwrap_err();
        assert!(dangling.contains("symbolic link"), "{dangling}");
        assert_eq!(check_token_file(&path), Err(dangling));
    }
}
