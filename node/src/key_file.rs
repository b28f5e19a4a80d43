//! Key files: one secret key each, readable only by its owner.
//!
//! A key file is one line of text: the kind of the key, a space and 64 hex digits. Files without a
//! kind, as created by earlier versions, hold a key of either kind. A key file is created with mode
//! 0600, never overwrites another file, and is rejected if other users can read it.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use astreum_core::chain::Address;
use astreum_core::crypto::{SecretKey, SigningKey};
use zeroize::Zeroizing;

use crate::clock;
use crate::config::{Secret, Settings};

/// Maximum size in bytes of a key file.
const MAX_FILE_BYTES: u64 = 256;
/// Permission bits of all users but the owner.
const OTHERS: u32 = 0o077;

/// Purpose of a key. The same 32 secret bytes are a different key for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// X25519, for the relay route.
    Relay,
    /// Ed25519, for the validation route and for accounts.
    Validation,
}

impl KeyKind {
    /// Returns its name on the command line and in key files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Validation => "validation",
        }
    }

    /// Returns the kind with this name; `account` is another name of `validation`.
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "relay" => Some(Self::Relay),
            "validation" | "account" => Some(Self::Validation),
            _ => None,
        }
    }

    /// Returns the public key that belongs to a secret.
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

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "relay key (X25519)",
            Self::Validation => "validation or account key (Ed25519)",
        })
    }
}

/// Content of a key file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFile {
    /// Kind that the file states; `None` in files of earlier versions.
    pub kind: Option<KeyKind>,
    /// Secret key.
    pub secret: Secret,
}

/// Error of a key file. Never quotes the content.
#[derive(Debug)]
pub struct KeyError {
    path: PathBuf,
    /// Kind of key that was to be read, if only one is valid.
    wanted: Option<KeyKind>,
    /// `true` if the file was to be read, not created.
    is_read: bool,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Exists,
    Readable { mode: u32 },
    WrongOwner,
    NotAFile,
    Content,
    Kind { found: KeyKind, wanted: KeyKind },
    Io(io::Error),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Exists => write!(f, "refusing to overwrite {path}: the file exists"),
            Problem::Readable { mode } => write!(
                f,
                "{path} is accessible to other users (mode {mode:04o}); run chmod 600 on it, and \
                 generate a new key if others may have read it"
            ),
            Problem::WrongOwner => write!(f, "{path} belongs to another user"),
            Problem::NotAFile => write!(f, "{path} is not a regular file"),
            Problem::Content => write!(
                f,
                "{path} is not a key file: expected `relay` or `validation`, a space and 64 hex \
                 digits, or 64 hex digits alone"
            ),
            Problem::Kind { found, wanted } => write!(
                f,
                "{path} is a {found}; expected a {wanted}: `astreum keys generate FILE --kind {}` \
                 creates one",
                wanted.name()
            ),
            Problem::Io(error) if self.is_read && error.kind() == io::ErrorKind::NotFound => {
                let kind = self.wanted.map_or("KIND", KeyKind::name);
                write!(
                    f,
                    "missing key file {path}; `astreum keys generate {path} --kind {kind}` creates \
                     one"
                )
            }
            Problem::Io(error) => write!(f, "key file {path}: {error}"),
        }
    }
}

impl core::error::Error for KeyError {}

/// Generates a new secret from the system's entropy.
///
/// # Errors
/// Fails if the system has no entropy.
pub fn generate() -> io::Result<Secret> {
    clock::entropy().map(Secret::new)
}

/// Writes `secret` to a new file, as a key of this kind.
///
/// # Errors
/// Fails if the file exists or cannot be written; a partly written file is removed.
pub fn create_file(path: &Path, kind: KeyKind, secret: &Secret) -> Result<(), KeyError> {
    let failed = |problem| KeyError {
        path: path.to_owned(),
        wanted: Some(kind),
        is_read: false,
        problem,
    };
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => failed(Problem::Exists),
        _ => failed(Problem::Io(error)),
    })?;
    let digits = Zeroizing::new(hex::encode(secret.expose()));
    let text = Zeroizing::new(format!("{} {}\n", kind.name(), *digits));
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = std::fs::remove_file(path);
        failed(Problem::Io(error))
    })
}

/// Reads the secret of this kind from a key file.
///
/// # Errors
/// Same as [`read_file`]; fails also if the file states the other kind.
pub fn read_secret(path: &Path, wanted: KeyKind) -> Result<Secret, KeyError> {
    let failed = |problem| KeyError {
        path: path.to_owned(),
        wanted: Some(wanted),
        is_read: true,
        problem,
    };
    let file = read_file(path).map_err(|error| failed(error.problem))?;
    match file.kind {
        Some(found) if found != wanted => Err(failed(Problem::Kind { found, wanted })),
        _ => Ok(file.secret),
    }
}

/// Reads a key file.
///
/// # Errors
/// Fails if it is not a regular file, is accessible to others, belongs to another user, or is not a
/// key file.
pub fn read_file(path: &Path) -> Result<KeyFile, KeyError> {
    let failed = |problem| KeyError {
        path: path.to_owned(),
        wanted: None,
        is_read: true,
        problem,
    };
    let io_failed = |error| failed(Problem::Io(error));
    // A pipe in its place must not block the start.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut options = OpenOptions::new();
    let file: File = options
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(io_failed)?;
    // Checked on the open file, so that it cannot be replaced in between.
    let metadata = file.metadata().map_err(io_failed)?;
    if !metadata.is_file() {
        return Err(failed(Problem::NotAFile));
    }
    let owner = metadata.uid();
    if owner != rustix::process::geteuid().as_raw() && owner != 0 {
        return Err(failed(Problem::WrongOwner));
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
        .and_then(parse)
        .ok_or_else(|| failed(Problem::Content))
}

fn parse(text: &str) -> Option<KeyFile> {
    let text = text.trim();
    let (kind, digits) = match text.split_once([' ', '\t']) {
        Some((name, digits)) => (Some(KeyKind::from_name(name)?), digits.trim_start()),
        None => (None, text),
    };
    let secret = Secret::from_hex(digits)?;
    Some(KeyFile { kind, secret })
}

/// Returns the message that refuses a transaction to the public key of a relay; `owner` holds that
/// key.
pub(crate) fn relay_key_refusal(recipient: &Address, owner: &str) -> String {
    format!(
        "refusing to send to {recipient}: it is the relay public key (X25519) of {owner}, not an \
         account, so the amount would be lost; --force sends anyway"
    )
}

/// Configured keys of a node, from the settings or from the files that they name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeKeys {
    /// X25519 key of the relay route. A node without one generates it for its lifetime.
    pub relay: Option<Secret>,
    /// Ed25519 key of the validation route. A node without one does not validate.
    pub validation: Option<Secret>,
}

impl NodeKeys {
    /// Reads both keys. A program reads them once, and passes them on.
    ///
    /// # Errors
    /// Fails if a configured file cannot be used, or holds a key of the other kind.
    pub fn read(settings: &Settings) -> Result<Self, KeyError> {
        Ok(Self {
            relay: Self::read_one(settings, KeyKind::Relay)?,
            validation: Self::read_one(settings, KeyKind::Validation)?,
        })
    }

    /// Reads one of the keys, for a program that does not need the other; `None` if it is not
    /// configured.
    ///
    /// # Errors
    /// Same as [`NodeKeys::read`], for this key alone.
    pub fn read_one(settings: &Settings, kind: KeyKind) -> Result<Option<Secret>, KeyError> {
        let (secret, file) = match kind {
            KeyKind::Relay => (&settings.relay_secret_key, &settings.relay_secret_key_file),
            KeyKind::Validation => (
                &settings.validation_secret_key,
                &settings.validation_secret_key_file,
            ),
        };
        match file {
            Some(path) => read_secret(path, kind).map(Some),
            None => Ok(secret.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::Config;

    fn error(path: &Path) -> String {
        read_file(path).unwrap_err().to_string()
    }

    #[test]
    fn key_file_is_private_and_round_trips() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("relay.key");
        let secret = generate().unwrap();
        create_file(&path, KeyKind::Relay, &secret).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let kind = Some(KeyKind::Relay);
        assert_eq!(read_file(&path).unwrap(), KeyFile { kind, secret });
        let other = generate().unwrap();
        assert_ne!(read_file(&path).unwrap().secret, other);
        let again = create_file(&path, KeyKind::Relay, &other);
        assert!(again.unwrap_err().to_string().contains("exists"));
        assert_ne!(read_file(&path).unwrap().secret, other);
    }

    #[test]
    fn key_files_state_their_kind_and_files_without_one_hold_either() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a.key");
        let secret = Secret::new([7; 32]);
        for (kind, other) in [
            (KeyKind::Relay, KeyKind::Validation),
            (KeyKind::Validation, KeyKind::Relay),
        ] {
            create_file(&path, kind, &secret).unwrap();
            assert_eq!(read_secret(&path, kind).unwrap(), secret);
            let error = read_secret(&path, other).unwrap_err().to_string();
            let hint = format!("--kind {}", other.name());
            assert!(
                error.contains(&format!("is a {kind}; expected a {other}")),
                "{error}"
            );
            assert!(error.contains(&hint), "{error}");
            let missing = read_secret(&scratch.path().join("none"), kind).unwrap_err();
            let hint = format!("keys generate {}", scratch.path().join("none").display());
            let hint = format!("{hint} --kind {}`", kind.name());
            assert!(missing.to_string().contains(&hint), "{missing}");
            fs::remove_file(&path).unwrap();
        }
        let digits = "07".repeat(32);
        create_file(&path, KeyKind::Relay, &secret).unwrap();
        for (content, kind) in [
            (digits.clone(), None),
            (format!("  0x{digits}\r\n"), None),
            (format!("relay {digits}"), Some(KeyKind::Relay)),
            (format!("account\t {digits}\n"), Some(KeyKind::Validation)),
        ] {
            fs::write(&path, &content).unwrap();
            let secret = secret.clone();
            assert_eq!(read_file(&path).unwrap(), KeyFile { kind, secret });
        }
        fs::write(&path, &digits).unwrap();
        for kind in [KeyKind::Relay, KeyKind::Validation] {
            assert_eq!(read_secret(&path, kind).unwrap(), secret);
        }
    }

    #[test]
    fn refuses_files_of_other_users_and_files_that_are_not_key_files() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("relay.key");
        create_file(&path, KeyKind::Relay, &Secret::new([7; 32])).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(
                error(&path).contains("accessible to other users"),
                "{mode:o}"
            );
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for content in [
            "",
            "07",
            &"07".repeat(33),
            &"0z".repeat(32),
            &"07".repeat(500),
            &format!("wallet {}", "07".repeat(32)),
            &format!("relay relay {}", "07".repeat(32)),
            "relay ",
        ] {
            fs::write(&path, content).unwrap();
            let error = error(&path);
            assert!(error.contains("is not a key file"), "{error}");
            // The path may contain the same digits as a short content.
            let said = error.replace(&path.display().to_string(), "");
            let shown = content.is_empty() || content == "relay " || !said.contains(content);
            assert!(shown && !said.contains("0707"), "{error}");
        }
        assert!(error(scratch.path()).contains("not a regular file"));
        let null = fs::metadata("/dev/null").is_ok_and(|data| !data.is_file());
        assert!(null && error(Path::new("/dev/null")).contains("not a regular file"));
        assert!(error(&scratch.path().join("none")).contains("keys generate"));
    }

    #[test]
    fn one_secret_gives_a_different_key_for_each_kind() {
        // Expected values from the Python package `cryptography`.
        let secret = Secret::new([7; 32]);
        assert_eq!(
            hex::encode(KeyKind::Relay.public_key(&secret)),
            "13be4feaeaf204c7fd3358fc9c00721881d174278128227ec674f37f7fe97b6d"
        );
        assert_eq!(
            hex::encode(KeyKind::Validation.public_key(&secret)),
            "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"
        );
    }

    #[test]
    fn node_keys_come_from_the_settings_or_their_files() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("relay.key");
        create_file(&path, KeyKind::Relay, &Secret::new([7; 32])).unwrap();
        let config = Config {
            relay_secret_key_file: Some(path.clone()),
            ..Config::default()
        };
        let keys = NodeKeys::read(&config.clone().resolve().unwrap()).unwrap();
        let expected = NodeKeys {
            relay: Some(Secret::new([7; 32])),
            validation: None,
        };
        assert_eq!(keys, expected);
        let debug = format!("{keys:?}");
        assert!(debug.contains("Some(Secret(<redacted>))"), "{debug}");
        let direct = Config {
            validation_secret_key: Some(Secret::new([8; 32])),
            ..config.clone()
        };
        let keys = NodeKeys::read(&direct.resolve().unwrap()).unwrap();
        assert_eq!(keys.validation, Some(Secret::new([8; 32])));
        // A file that cannot be used is an error for its own key only.
        for unusable in [scratch.path().join("none"), path] {
            let config = Config {
                validation_secret_key_file: Some(unusable),
                ..config.clone()
            };
            let settings = config.resolve().unwrap();
            assert!(NodeKeys::read(&settings).is_err());
            assert!(NodeKeys::read_one(&settings, KeyKind::Validation).is_err());
            let relay = NodeKeys::read_one(&settings, KeyKind::Relay).unwrap();
            assert_eq!(relay, Some(Secret::new([7; 32])));
        }
    }
}
