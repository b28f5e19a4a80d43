//! Key files: one secret key each, readable only by its owner, in plain text or protected by a
//! passphrase.
//!
//! A plain key file is one line of text: the kind of the key, a space and 64 hex digits. Files
//! without a kind, as created by earlier versions, hold a key of either kind. A protected key file
//! states the kind and the public key in its first line; the rest is an age file with a passphrase,
//! which contains a plain key file. A key file is created with mode 0600, never overwrites another
//! file, and is rejected if other users can read it.
//!
//! Invariants:
//! - A file under its final name is complete and on the disk.
//! - Secrets and passphrases are wiped from memory after use and are never part of an error.

pub mod age;
mod content;
mod error;
mod kind;
mod passphrase;
mod permissions;

pub use error::KeyError;
pub use kind::KeyKind;
pub use passphrase::{
    MAX_PASSPHRASE_BYTES, Passphrase, PassphraseError, PassphraseSource, ask_secret,
};

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use astreum_core::chain::Address;
use zeroize::Zeroizing;

use crate::clock;
use crate::config::{Secret, Settings};

use content::Content;
use error::Problem;
use permissions::Exposure;

/// Maximum size in bytes of a key file.
const MAX_FILE_BYTES: u64 = 4096;

/// Content of a key file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFile {
    /// Kind that the file states; `None` in files of earlier versions.
    pub kind: Option<KeyKind>,
    /// Secret key.
    pub secret: Secret,
    /// `true` if a passphrase protects the file.
    pub is_protected: bool,
}

/// Facts about a key file that can be read without its passphrase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFileSummary {
    /// Kind that the file states.
    pub kind: Option<KeyKind>,
    /// `true` if a passphrase protects the file.
    pub is_protected: bool,
    /// Public key of that kind, as a protected file states it: it is compared with the secret when
    /// the file is opened. `None` if the file does not state a kind.
    pub public_key: Option<[u8; 32]>,
}

/// Form of a new key file.
#[derive(Debug)]
pub enum KeyFormat {
    /// Plain key file.
    Plain,
    /// Key file protected by a passphrase.
    Protected {
        /// Passphrase.
        passphrase: Passphrase,
        /// Binary logarithm of the cost of scrypt; see [`age::DEFAULT_WORK_FACTOR`].
        work_factor: u8,
    },
    /// The 64 hex digits of the secret, as the Python package takes them.
    Hex,
    /// PKCS #8 in PEM, for other programs.
    Pem,
}

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
/// Fails if the file exists or cannot be written. A crash can leave a temporary file beside it,
/// with a name that begins with a dot, but no incomplete key file.
pub fn create_file(
    path: &Path,
    kind: KeyKind,
    secret: &Secret,
    format: &KeyFormat,
) -> Result<(), KeyError> {
    let failed = |problem| KeyError::creating(path, problem).wanting(kind);
    // Before the passphrase is hashed, which takes time.
    if path.symlink_metadata().is_ok() {
        return Err(failed(Problem::Exists));
    }
    let text = match format {
        KeyFormat::Plain => content::plain_text(kind, secret),
        KeyFormat::Hex => content::joined(&[&Zeroizing::new(hex::encode(secret.expose())), "\n"]),
        KeyFormat::Pem => content::pem_text(kind, secret),
        KeyFormat::Protected {
            passphrase,
            work_factor,
        } => {
            let seed = seed().map_err(|error| failed(Problem::Io(error)))?;
            let passphrase = passphrase.expose();
            let text = content::protected_text(kind, secret, passphrase, *work_factor, &seed);
            Zeroizing::new(text)
        }
    };
    create_private(path, text.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => failed(Problem::Exists),
        io::ErrorKind::NotFound if !directory_of(path).exists() => {
            failed(Problem::MissingDirectory)
        }
        _ => failed(Problem::Io(error)),
    })
}

fn seed() -> io::Result<age::Seed> {
    let first = Zeroizing::new(clock::entropy()?);
    let second = Zeroizing::new(clock::entropy()?);
    let mut bytes = Zeroizing::new([0; age::SEED_BYTES]);
    for (byte, random) in bytes.iter_mut().zip(first.iter().chain(second.iter())) {
        *byte = *random;
    }
    Ok(age::Seed::new(bytes))
}

/// Creates a file that only its owner can read; it appears under its name when it is complete and
/// on the disk.
fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut random = hex::encode(clock::entropy()?);
    random.truncate(16);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let name = format!(".{}.{random}", name.to_string_lossy());
    let temporary = path.with_file_name(name);
    let created = write_private(&temporary, bytes)
        // Unlike a renamed file, a link never replaces another file.
        .and_then(|()| std::fs::hard_link(&temporary, path));
    let _ = std::fs::remove_file(&temporary);
    match created {
        Err(error) if is_without_links(&error) => write_private(path, bytes)?,
        created => created?,
    }
    File::open(directory_of(path))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    directory.unwrap_or(Path::new("."))
}

/// Returns whether the file system does not support links.
fn is_without_links(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::Unsupported, io::ErrorKind::PermissionDenied];
    kinds.contains(&error.kind())
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Reads the secret of this kind from a key file; `passphrases` is asked only if the file is
/// protected.
///
/// # Errors
/// Same as [`read_file`]; fails also if the file states the other kind.
pub fn read_secret(
    path: &Path,
    wanted: KeyKind,
    passphrases: &PassphraseSource,
) -> Result<Secret, KeyError> {
    let bytes = read_bytes(path).map_err(|error| error.wanting(wanted))?;
    let parsed = parsed(path, &bytes)?;
    // Before the user is asked for a passphrase.
    let stated = match &parsed {
        Content::Plain(kind, _) => *kind,
        Content::Protected { stated, .. } => stated.map(|(kind, _)| kind),
    };
    let other_kind = |kind: Option<KeyKind>| kind.filter(|kind| *kind != wanted);
    let refused = |found| KeyError::reading(path, Problem::Kind { found, wanted }).wanting(wanted);
    if let Some(found) = other_kind(stated) {
        return Err(refused(found));
    }
    let file = opened(path, parsed, passphrases)?;
    match other_kind(file.kind) {
        Some(found) => Err(refused(found)),
        None => Ok(file.secret),
    }
}

/// Reads a key file; `passphrases` is asked only if the file is protected.
///
/// # Errors
/// Fails if it is not a regular file, is accessible to others, belongs to another user, is not a
/// key file, or cannot be opened with the passphrase.
pub fn read_file(path: &Path, passphrases: &PassphraseSource) -> Result<KeyFile, KeyError> {
    let bytes = read_bytes(path)?;
    opened(path, parsed(path, &bytes)?, passphrases)
}

/// Reads what a key file states without its passphrase.
///
/// # Errors
/// Same as [`read_file`], apart from the passphrase.
pub fn summary(path: &Path) -> Result<KeyFileSummary, KeyError> {
    let bytes = read_bytes(path)?;
    Ok(match parsed(path, &bytes)? {
        Content::Plain(kind, secret) => KeyFileSummary {
            kind,
            is_protected: false,
            public_key: kind.map(|kind| kind.public_key(&secret)),
        },
        Content::Protected { stated, .. } => KeyFileSummary {
            kind: stated.map(|(kind, _)| kind),
            is_protected: true,
            public_key: stated.map(|(_, public_key)| public_key),
        },
    })
}

/// Reads a key from bytes that are not in a key file; `name` stands for them in errors.
///
/// # Errors
/// Same as [`read_file`], apart from the file.
pub fn read_key(
    name: &Path,
    bytes: &[u8],
    passphrases: &PassphraseSource,
) -> Result<KeyFile, KeyError> {
    opened(name, parsed(name, bytes)?, passphrases)
}

fn parsed<'b>(path: &Path, bytes: &'b [u8]) -> Result<Content<'b>, KeyError> {
    content::parse(bytes).ok_or_else(|| KeyError::reading(path, Problem::Content))
}

fn opened(
    path: &Path,
    content: Content<'_>,
    passphrases: &PassphraseSource,
) -> Result<KeyFile, KeyError> {
    let failed = |problem| KeyError::reading(path, problem);
    let (stated, file) = match content {
        Content::Plain(kind, secret) => {
            return Ok(KeyFile {
                kind,
                secret,
                is_protected: false,
            });
        }
        Content::Protected { stated, file } => (stated, file),
    };
    let passphrase = passphrases.passphrase(path);
    let passphrase = passphrase.map_err(|error| failed(Problem::Passphrase(error)))?;
    let text =
        age::open(file, passphrase.expose()).map_err(|error| failed(Problem::Open(error)))?;
    let text = core::str::from_utf8(&text).ok().and_then(content::plain);
    let (kind, secret) = text.ok_or_else(|| failed(Problem::Content))?;
    if let Some((stated, public_key)) = stated
        && (kind.is_some_and(|kind| kind != stated) || stated.public_key(&secret) != public_key)
    {
        return Err(failed(Problem::OtherPublicKey));
    }
    Ok(KeyFile {
        kind: kind.or(stated.map(|(kind, _)| kind)),
        secret,
        is_protected: true,
    })
}

fn read_bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |problem| KeyError::reading(path, problem);
    let io_failed = |error| failed(Problem::Io(error));
    // A pipe in its place must not block the start.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(nonblocking);
    let file: File = options.open(path).map_err(io_failed)?;
    if !file.metadata().map_err(io_failed)?.is_file() {
        return Err(failed(Problem::NotAFile));
    }
    match permissions::exposure(&file, path).map_err(io_failed)? {
        Some(Exposure::Owner) => return Err(failed(Problem::WrongOwner)),
        Some(Exposure::Mode(mode)) => return Err(failed(Problem::Readable { mode })),
        None => {}
    }
    let capacity = usize::try_from(MAX_FILE_BYTES).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io_failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(failed(Problem::Content));
    }
    Ok(bytes)
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
    /// Reads both keys. A program reads them once, and passes them on. Protected files are opened
    /// with the passphrase in `key_passphrase_file`.
    ///
    /// # Errors
    /// Fails if a configured file cannot be used, or holds a key of the other kind.
    pub fn read(settings: &Settings) -> Result<Self, KeyError> {
        Self::read_with(settings, &PassphraseSource::of(settings))
    }

    /// Reads both keys, with another source of passphrases than the settings.
    ///
    /// # Errors
    /// Same as [`NodeKeys::read`].
    pub fn read_with(
        settings: &Settings,
        passphrases: &PassphraseSource,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            relay: Self::read_one(settings, KeyKind::Relay, passphrases)?,
            validation: Self::read_one(settings, KeyKind::Validation, passphrases)?,
        })
    }

    /// Reads one of the keys, for a program that does not need the other; `None` if it is not
    /// configured.
    ///
    /// # Errors
    /// Same as [`NodeKeys::read`], for this key alone.
    pub fn read_one(
        settings: &Settings,
        kind: KeyKind,
        passphrases: &PassphraseSource,
    ) -> Result<Option<Secret>, KeyError> {
        let secret = match kind {
            KeyKind::Relay => &settings.relay_secret_key,
            KeyKind::Validation => &settings.validation_secret_key,
        };
        match configured_file(settings, kind) {
            Some(path) => read_secret(path, kind, passphrases).map(Some),
            None => Ok(secret.clone()),
        }
    }
}

/// Returns the public key of the configured key of this kind, without its passphrase if the file
/// states the public key; `None` if no key is configured.
///
/// # Errors
/// Same as [`NodeKeys::read_one`].
pub fn configured_public_key(
    settings: &Settings,
    kind: KeyKind,
    passphrases: &PassphraseSource,
) -> Result<Option<[u8; 32]>, KeyError> {
    if kind == KeyKind::Validation
        && let Some(public_key) = &settings.validation_public_key
    {
        return Ok(Some(*public_key.as_bytes()));
    }
    if let Some(path) = configured_file(settings, kind) {
        let summary = summary(path).map_err(|error| error.wanting(kind))?;
        if summary.kind == Some(kind) && summary.public_key.is_some() {
            return Ok(summary.public_key);
        }
    }
    let secret = NodeKeys::read_one(settings, kind, passphrases)?;
    Ok(secret.map(|secret| kind.public_key(&secret)))
}

/// Returns the configured key file of this kind.
#[must_use]
pub const fn configured_file(settings: &Settings, kind: KeyKind) -> Option<&PathBuf> {
    let values = settings.values();
    match kind {
        KeyKind::Relay => values.relay_secret_key_file.as_ref(),
        KeyKind::Validation => values.validation_secret_key_file.as_ref(),
    }
}

#[cfg(test)]
mod tests;
