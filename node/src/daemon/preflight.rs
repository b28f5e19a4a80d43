//! Checks before the start of a node: everything in its configuration and the files that it names
//! that a restart cannot mend. `astreum run` and `astreum config check` share them.

use crate::chain_service::dir::{ChainDirError, location};
use crate::config::{ConfigError, ConfigErrors, Loaded, Settings, Source};
use crate::key_file::{KeyError, KeyKind, NodeKeys, PassphraseSource};
use crate::store::NO_OBJECT_STORE;
use astreum_core::crypto::VerifyingKey;
use std::fs;
use std::path::{Path, PathBuf};

/// Returns all errors that a node with this configuration cannot start with. A key file whose
/// passphrase would be asked for on a terminal is not opened.
#[must_use]
pub fn start_errors(loaded: &Loaded) -> Vec<ConfigError> {
    let settings = &loaded.settings;
    let mut errors = errors_without_keys(loaded);
    // A pipe can be read only once, by the node.
    let is_pipe = |path: &PathBuf| {
        let metadata = fs::metadata(path);
        metadata.is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
    };
    let passphrases = match settings.key_passphrase_file.as_ref().is_some_and(is_pipe) {
        true => PassphraseSource::none(),
        false => PassphraseSource::of(settings),
    };
    let (_, failed) = read_keys(settings, &passphrases);
    let failed = failed.iter().filter(|(_, error)| !error.needs_passphrase());
    errors.extend(failed.map(|(kind, error)| key_error(loaded, *kind, error)));
    errors
}

/// Makes the checks of [`start_errors`], and reads the keys of the node.
///
/// # Errors
/// Returns all errors, also that of a protected key file without a passphrase.
pub fn prepare_start(
    loaded: &Loaded,
    passphrases: &PassphraseSource,
) -> Result<NodeKeys, ConfigErrors> {
    // Before a passphrase is asked for.
    let errors = errors_without_keys(loaded);
    if !errors.is_empty() {
        return ConfigErrors::check(start_errors(loaded)).map(|()| NodeKeys::default());
    }
    let (keys, failed) = read_keys(&loaded.settings, passphrases);
    let errors = failed.iter();
    let errors = errors.map(|(kind, error)| key_error(loaded, *kind, error));
    ConfigErrors::check(errors.collect()).map(|()| keys)
}

fn read_keys(
    settings: &Settings,
    passphrases: &PassphraseSource,
) -> (NodeKeys, Vec<(KeyKind, KeyError)>) {
    let mut errors = Vec::new();
    let mut read = |kind| {
        let key = NodeKeys::read_one(settings, kind, passphrases);
        key.unwrap_or_else(|error| {
            errors.push((kind, error));
            None
        })
    };
    let keys = NodeKeys {
        relay: read(KeyKind::Relay),
        validation: read(KeyKind::Validation),
    };
    (keys, errors)
}

fn key_error(loaded: &Loaded, kind: KeyKind, error: &KeyError) -> ConfigError {
    let key = match kind {
        _ if error.is_passphrase_invalid() && loaded.settings.key_passphrase_file.is_some() => {
            "key_passphrase_file"
        }
        KeyKind::Relay => "relay_secret_key_file",
        KeyKind::Validation => "validation_secret_key_file",
    };
    let advice = match key {
        "key_passphrase_file" => {
            "; the first line of the file must be the passphrase of all configured key files"
        }
        _ => "",
    };
    unusable(loaded, key, format!("{error}{advice}"))
}

fn unusable(loaded: &Loaded, key: &'static str, message: String) -> ConfigError {
    ConfigError::Unusable {
        source: loaded.source(key),
        key,
        message,
    }
}

fn errors_without_keys(loaded: &Loaded) -> Vec<ConfigError> {
    let settings = &loaded.settings;
    let mut errors = Vec::new();
    let mut add = |key, message: String| errors.push(unusable(loaded, key, message));
    if let Some(key) = &settings.validation_public_key
        && VerifyingKey::from_bytes(key.as_bytes()).is_err()
    {
        let message = "not an Ed25519 public key; set it to the key that `astreum signer` prints";
        add("validation_public_key", message.to_owned());
    }
    if settings.object_store().is_some() && !cfg!(feature = "object-store") {
        add("cold_storage_path", NO_OBJECT_STORE.to_owned());
    }
    if let Err(error) = location(settings, settings.has_validation_key()) {
        let keys = [
            "validation_secret_key_file",
            "validation_secret_key",
            "validation_signer",
        ];
        let is_set = |key: &&str| loaded.source(key) != Source::Default;
        let key = match error {
            ChainDirError::NoDirectory => keys.into_iter().find(is_set),
            _ => None,
        };
        add(key.unwrap_or("chain_dir"), error.to_string());
    }
    let paths = loaded.paths();
    let cold = match settings.object_store() {
        Some(_) => "cold_storage_local_path",
        None => "cold_storage_path",
    };
    // A log directory that cannot be written is only a warning.
    let directories = [
        ("state_dir", Some(paths.state_dir.as_path())),
        ("chain_dir", settings.chain_dir.as_deref()),
        (cold, settings.cold_directory()),
    ];
    for (key, path) in directories {
        if let Some(file) = path.and_then(file_in_way) {
            let file = file.display();
            add(
                key,
                format!("{file} is not a directory; set {key} to another path"),
            );
        }
    }
    if settings.rpc_listen.is_some() {
        let created = directories.into_iter().filter_map(|(_, path)| path);
        let created: Vec<&Path> = created.collect();
        if let Some((key, message)) = rpc_error(settings, &paths.state_dir, &created) {
            add(key, message);
        }
    }
    errors
}

/// Returns the first existing entry at or above `path` if it is not a directory.
fn file_in_way(path: &Path) -> Option<&Path> {
    let mut ancestors = path.ancestors();
    let existing = ancestors.find(|path| path.symlink_metadata().is_ok())?;
    (!existing.is_dir()).then_some(existing)
}

/// Returns the error of RPC over HTTP. `created` are the directories that a node creates.
#[cfg(feature = "http")]
fn rpc_error(
    settings: &Settings,
    state_dir: &Path,
    created: &[&Path],
) -> Option<(&'static str, String)> {
    let default = state_dir.join("rpc.token");
    let path = settings.rpc_token_file.as_ref().unwrap_or(&default);
    let problem = match crate::rpc::check_token_file(path) {
        Err(problem) => problem,
        Ok(()) => {
            let parent = path.parent().filter(|it| !it.as_os_str().is_empty())?;
            let is_created = created.iter().any(|it| it.starts_with(parent));
            if is_created || parent.is_dir() {
                return None;
            }
            "its directory does not exist; create it first".to_owned()
        }
    };
    let message = format!("token file {}: {problem}", path.display());
    Some(("rpc_token_file", message))
}

/// Returns the error of a program without RPC over HTTP.
#[cfg(not(feature = "http"))]
fn rpc_error(_: &Settings, _: &Path, _: &[&Path]) -> Option<(&'static str, String)> {
    Some(("rpc_listen", super::NO_RPC.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// Returns the errors of a file with this text in a new directory that `prepare` fills.
    fn errors(text: &str, prepare: impl FnOnce(&Path)) -> Vec<String> {
        let scratch = tempfile::tempdir().unwrap();
        prepare(scratch.path());
        let text = format!("state_dir = \"state\"\n{text}");
        let loaded = Loaded::from_toml(&scratch.path().join("node.toml"), &text).unwrap();
        let errors = start_errors(&loaded);
        let failed = prepare_start(&loaded, &PassphraseSource::of(&loaded.settings));
        assert_eq!(failed.is_err(), !errors.is_empty());
        errors.iter().map(ToString::to_string).collect()
    }

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn assert_error(found: &[String], expected: &[&str]) {
        let [error] = found else {
            panic!("expected one error: {found:#?}");
        };
        for part in expected {
            assert!(error.contains(part), "no {part:?} in {error}");
        }
    }

    #[test]
    fn usable_configuration_has_no_errors() {
        let text = "cold_storage_path = \"a/cold\"\nrpc_listen = \"127.0.0.1:0\"\n\
                    rpc_token_file = \"a/token\"\n";
        assert_eq!(errors(text, |_| {}), [""; 0]);
    }

    #[test]
    fn public_key_that_is_not_a_point_is_reported_with_its_line() {
        let key = "02".repeat(32);
        let text = format!(
            "validation_signer = \"s\"\nvalidation_public_key = \"{key}\"\n\
             cold_storage_path = \"cold\"\n"
        );
        let expected = [
            "node.toml:3: validation_public_key: not an Ed25519 public key",
            "\n3 | validation_public_key = ",
            "^^^^",
        ];
        assert_error(&errors(&text, |_| {}), &expected);
    }

    #[test]
    fn validator_without_a_chain_directory_is_reported_at_its_key() {
        let text = "validation_secret_key_file = \"v.key\"\n";
        let found = errors(text, |path| {
            write(
                &path.join("v.key"),
                &format!("validation {}", "07".repeat(32)),
                0o600,
            );
        });
        let expected = "node.toml:2: validation_secret_key_file: no chain directory is configured";
        assert_error(&found, &[expected, "\n2 | "]);
    }

    #[test]
    fn file_in_place_of_a_directory_is_reported() {
        for (key, value) in [
            ("cold_storage_path", "file"),
            ("cold_storage_path", "file/below"),
            ("chain_dir", "file"),
        ] {
            let found = errors(&format!("{key} = \"{value}\"\n"), |path| {
                write(&path.join("file"), "", 0o600);
            });
            let expected = format!("node.toml:2: {key}: ");
            assert_error(&found, &[&expected, "/file is not a directory; set "]);
        }
    }

    #[cfg(not(feature = "object-store"))]
    #[test]
    fn object_store_needs_its_feature() {
        let text = "cold_storage_path = \"s3://bucket/p\"\ncold_storage_local_path = \"cold\"\n";
        let expected = "node.toml:2: cold_storage_path: this program was built without support";
        assert_error(
            &errors(text, |_| {}),
            &[expected, "--features object-store"],
        );
    }

    #[cfg(feature = "http")]
    #[test]
    fn unusable_token_file_is_reported() {
        let text = "rpc_listen = \"127.0.0.1:0\"\nrpc_token_file = \"token\"\n";
        let token = "x".repeat(32);
        let found = errors(text, |path| write(&path.join("token"), &token, 0o644));
        let expected = "node.toml:3: rpc_token_file: token file ";
        assert_error(
            &found,
            &[expected, "accessible to other users", "chmod 600"],
        );
        let found = errors(text, |path| write(&path.join("token"), "short", 0o600));
        assert_error(&found, &[expected, "not a token"]);
        let text = "rpc_listen = \"127.0.0.1:0\"\nrpc_token_file = \"none/token\"\n";
        assert_error(&errors(text, |_| {}), &["directory does not exist; create"]);
        // Nothing listens, and so nothing reads it.
        assert_eq!(errors("rpc_token_file = \"none/token\"\n", |_| {}), [""; 0]);
    }

    #[cfg(not(feature = "http"))]
    #[test]
    fn listening_for_rpc_needs_the_feature() {
        let found = errors("rpc_listen = \"127.0.0.1:0\"\n", |_| {});
        assert_error(&found, &["node.toml:2: rpc_listen: ", "feature `http`"]);
    }

    #[test]
    fn passphrase_files_are_tried() {
        use crate::config::Secret;
        use crate::key_file::{KeyFormat, Passphrase, create_file};
        let text = "relay_secret_key_file = \"relay.key\"\nkey_passphrase_file = \"passphrase\"\n";
        let key = |path: &Path| {
            let format = KeyFormat::Protected {
                passphrase: Passphrase::new(b"right").unwrap(),
                work_factor: 2,
            };
            let (path, secret) = (path.join("relay.key"), Secret::new([7; 32]));
            create_file(&path, KeyKind::Relay, &secret, &format).unwrap();
        };
        let with = |passphrase: &'static str, mode| {
            errors(text, |path| {
                key(path);
                write(&path.join("passphrase"), passphrase, mode);
            })
        };
        assert_eq!(with("right\n", 0o600), [""; 0]);
        let place = "node.toml:3: key_passphrase_file: ";
        assert_error(&with("wrong\n", 0o600), &[place, "wrong passphrase for "]);
        assert_error(&with("right\n", 0o644), &[place, "chmod 600"]);
        assert_error(&errors(text, key), &[place, "No such file", "first line"]);
        // Without the file, the node asks on its terminal.
        let scratch = tempfile::tempdir().unwrap();
        key(scratch.path());
        let text = "relay_secret_key_file = \"relay.key\"\n";
        let loaded = Loaded::from_toml(&scratch.path().join("node.toml"), text).unwrap();
        assert!(start_errors(&loaded).is_empty());
        assert!(prepare_start(&loaded, &PassphraseSource::none()).is_err());
    }

    #[test]
    fn key_file_of_the_other_kind_is_reported_with_its_line() {
        let found = errors("relay_secret_key_file = \"a.key\"\n", |path| {
            let text = format!("validation {}", "07".repeat(32));
            write(&path.join("a.key"), &text, 0o600);
        });
        let expected = "node.toml:2: relay_secret_key_file: ";
        assert_error(&found, &[expected, "expected a relay key", "\n2 | relay"]);
    }
}
