//! Key files: one secret key each, readable by its owner alone.
//!
//! A key file is text: 64 hexadecimal digits and a newline. It is created with mode 0600, never
//! over another file, and refused when anybody but its owner can read it.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use astreum_core::crypto::{SecretKey, SigningKey};
use zeroize::Zeroizing;

use crate::clock;
use crate::config::{Config, Secret};
use crate::control::hex;

/// Longer files are no key files.
const MAX_FILE_BYTES: u64 = 256;
/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// What a key is for; the same 32 secret bytes mean different keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// X25519, for the relay route.
    Relay,
    /// Ed25519, for the validation route.
    Validation,
}

impl KeyKind {
    /// The key's name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Validation => "validation",
        }
    }

    /// The public key that belongs to a secret.
    #[must_use]
    pub fn public_key(self, secret: &Secret) -> [u8; 32] {
        match self {
            Self::Relay => *SecretKey::from_bytes(*secret.expose())
                .public_key()
                .as_bytes(),
            Self::Validation => *SigningKey::from_seed(secret.expose())
                .verifying_key()
                .as_bytes(),
        }
    }
}

/// What is wrong with a key file. Never quotes its content.
#[derive(Debug)]
pub struct KeyError {
    path: PathBuf,
    /// Whether it was to be read, not made.
    is_read: bool,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Exists,
    Readable { mode: u32 },
    NotOurs,
    NotAFile,
    Content,
    Io(io::Error),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Exists => write!(f, "{path} exists; a key is never written over another file"),
            Problem::Readable { mode } => write!(
                f,
                "{path} is open to others (mode {mode:04o}); run chmod 600 on it, and make a new \
                 key if others may have read it"
            ),
            Problem::NotOurs => write!(f, "{path} belongs to another user"),
            Problem::NotAFile => write!(f, "{path} is not a regular file"),
            Problem::Content => write!(
                f,
                "{path} is no key file: it must hold 64 hexadecimal digits and nothing else"
            ),
            Problem::Io(error) if self.is_read && error.kind() == io::ErrorKind::NotFound => {
                write!(
                    f,
                    "there is no key file {path}; `astreum keys generate {path}` makes one"
                )
            }
            Problem::Io(error) => write!(f, "key file {path}: {error}"),
        }
    }
}

impl core::error::Error for KeyError {}

/// A new secret from the system's entropy.
///
/// # Errors
/// When the system gives none.
pub fn generate() -> io::Result<Secret> {
    clock::entropy().map(Secret::new)
}

/// Writes `secret` to a new file.
///
/// # Errors
/// When the file exists, or cannot be written; what was begun is removed then.
pub fn create_file(path: &Path, secret: &Secret) -> Result<(), KeyError> {
    let failed = |problem| KeyError {
        path: path.to_owned(),
        is_read: false,
        problem,
    };
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => failed(Problem::Exists),
        _ => failed(Problem::Io(error)),
    })?;
    let mut text = Zeroizing::new(hex(secret.expose()));
    text.push('\n');
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = std::fs::remove_file(path);
        failed(Problem::Io(error))
    })
}

/// Reads the secret from a key file.
///
/// # Errors
/// When it is no regular file, is open to others, belongs to another user or holds something else.
pub fn read_file(path: &Path) -> Result<Secret, KeyError> {
    let failed = |problem| KeyError {
        path: path.to_owned(),
        is_read: true,
        problem,
    };
    let io_failed = |error| failed(Problem::Io(error));
    // A pipe in its place must not hold up the start.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut options = OpenOptions::new();
    let file: File = options
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(io_failed)?;
    // Checked on the open file, so that nobody can swap it in between.
    let metadata = file.metadata().map_err(io_failed)?;
    if !metadata.is_file() {
        return Err(failed(Problem::NotAFile));
    }
    let owner = metadata.uid();
    if owner != rustix::process::geteuid().as_raw() && owner != 0 {
        return Err(failed(Problem::NotOurs));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(failed(Problem::Readable { mode }));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(MAX_FILE_BYTES).unwrap_or(0),
    ));
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(io_failed)?;
    core::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| Secret::from_hex(text.trim()))
        .ok_or_else(|| failed(Problem::Content))
}

impl Config {
    /// Reads the key files that are configured into the keys themselves.
    ///
    /// A node that has no relay key after this makes one for the time it runs.
    ///
    /// # Errors
    /// When a file that is named cannot be used.
    pub fn read_key_files(&mut self) -> Result<(), KeyError> {
        if let Some(path) = self.relay_secret_key_file.take() {
            self.relay_secret_key = Some(read_file(&path)?);
        }
        if let Some(path) = self.validation_secret_key_file.take() {
            self.validation_secret_key = Some(read_file(&path)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use crate::scratch::Scratch;

    use super::*;

    fn error(path: &Path) -> String {
        read_file(path).unwrap_err().to_string()
    }

    #[test]
    fn a_key_file_is_private_and_reads_back() {
        let scratch = Scratch::new("keys-file");
        let path = scratch.path().join("relay.key");
        let secret = generate().unwrap();
        create_file(&path, &secret).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_file(&path).unwrap(), secret);
        assert_ne!(generate().unwrap(), secret);
        let again = create_file(&path, &generate().unwrap());
        assert!(again.unwrap_err().to_string().contains("exists"));
        assert_eq!(read_file(&path).unwrap(), secret);
    }

    #[test]
    fn files_that_others_can_read_or_that_are_no_keys_are_refused() {
        let scratch = Scratch::new("keys-refused");
        let path = scratch.path().join("relay.key");
        create_file(&path, &Secret::new([7; 32])).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(error(&path).contains("open to others"), "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for content in [
            "",
            "07",
            &"07".repeat(33),
            &"0z".repeat(32),
            &"07".repeat(500),
        ] {
            fs::write(&path, content).unwrap();
            let error = error(&path);
            assert!(error.contains("no key file"), "{error}");
            // The path may hold the same digits as a short content does.
            let said = error.replace(&path.display().to_string(), "");
            assert!(content.is_empty() || !said.contains(content), "{error}");
        }
        assert!(error(scratch.path()).contains("not a regular file"));
        let null = fs::metadata("/dev/null").is_ok_and(|data| !data.is_file());
        assert!(null && error(Path::new("/dev/null")).contains("not a regular file"));
        assert!(error(&scratch.path().join("none")).contains("keys generate"));
    }

    #[test]
    fn one_secret_is_two_keys() {
        // As the Python package `cryptography` gives them.
        let secret = Secret::new([7; 32]);
        assert_eq!(
            hex(&KeyKind::Relay.public_key(&secret)),
            "13be4feaeaf204c7fd3358fc9c00721881d174278128227ec674f37f7fe97b6d"
        );
        assert_eq!(
            hex(&KeyKind::Validation.public_key(&secret)),
            "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"
        );
    }

    #[test]
    fn key_files_fill_in_the_keys() {
        let scratch = Scratch::new("keys-config");
        let path = scratch.path().join("relay.key");
        create_file(&path, &Secret::new([7; 32])).unwrap();
        let mut config = Config {
            relay_secret_key_file: Some(path),
            ..Config::default()
        };
        config.read_key_files().unwrap();
        assert_eq!(config.relay_secret_key, Some(Secret::new([7; 32])));
        assert_eq!(config.validation_secret_key, None);
        assert_eq!(
            format!("{:?}", config.relay_secret_key),
            "Some(Secret(<redacted>))"
        );
        config.validation_secret_key_file = Some(scratch.path().join("none"));
        assert!(config.read_key_files().is_err());
    }
}
