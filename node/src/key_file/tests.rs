//! Tests of key files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::config::Config;

fn none() -> PassphraseSource {
    PassphraseSource::none()
}

fn open_file(path: &Path) -> Result<KeyFile, KeyError> {
    read_file(path, &none())
}

fn plain(kind: Option<KeyKind>, secret: Secret) -> KeyFile {
    let is_protected = false;
    KeyFile {
        kind,
        secret,
        is_protected,
    }
}

fn error(path: &Path) -> String {
    open_file(path).unwrap_err().to_string()
}

#[test]
fn key_file_is_private_and_round_trips() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("relay.key");
    let secret = generate().unwrap();
    create_file(&path, KeyKind::Relay, &secret, &KeyFormat::Plain).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let kind = Some(KeyKind::Relay);
    assert_eq!(open_file(&path).unwrap(), plain(kind, secret));
    let other = generate().unwrap();
    assert_ne!(open_file(&path).unwrap().secret, other);
    let again = create_file(&path, KeyKind::Relay, &other, &KeyFormat::Plain);
    assert!(again.unwrap_err().to_string().contains("exists"));
    assert_ne!(open_file(&path).unwrap().secret, other);
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
        create_file(&path, kind, &secret, &KeyFormat::Plain).unwrap();
        assert_eq!(read_secret(&path, kind, &none()).unwrap(), secret);
        let error = read_secret(&path, other, &none()).unwrap_err().to_string();
        let hint = format!("--kind {}", other.name());
        assert!(
            error.contains(&format!("is a {kind}; expected a {other}")),
            "{error}"
        );
        assert!(error.contains(&hint), "{error}");
        let missing = read_secret(&scratch.path().join("none"), kind, &none()).unwrap_err();
        let hint = format!("keys generate {}", scratch.path().join("none").display());
        let hint = format!("{hint} --kind {}`", kind.name());
        assert!(missing.to_string().contains(&hint), "{missing}");
        fs::remove_file(&path).unwrap();
    }
    let digits = "07".repeat(32);
    create_file(&path, KeyKind::Relay, &secret, &KeyFormat::Plain).unwrap();
    for (content, kind) in [
        (digits.clone(), None),
        (format!("  0x{digits}\r\n"), None),
        (format!("relay {digits}"), Some(KeyKind::Relay)),
        (format!("account\t {digits}\n"), Some(KeyKind::Validation)),
    ] {
        fs::write(&path, &content).unwrap();
        let secret = secret.clone();
        assert_eq!(open_file(&path).unwrap(), plain(kind, secret));
    }
    fs::write(&path, &digits).unwrap();
    for kind in [KeyKind::Relay, KeyKind::Validation] {
        assert_eq!(read_secret(&path, kind, &none()).unwrap(), secret);
    }
}

#[test]
fn refuses_files_of_other_users_and_files_that_are_not_key_files() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("relay.key");
    create_file(
        &path,
        KeyKind::Relay,
        &Secret::new([7; 32]),
        &KeyFormat::Plain,
    )
    .unwrap();
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
    create_file(
        &path,
        KeyKind::Relay,
        &Secret::new([7; 32]),
        &KeyFormat::Plain,
    )
    .unwrap();
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
        assert!(NodeKeys::read_one(&settings, KeyKind::Validation, &none()).is_err());
        let relay = NodeKeys::read_one(&settings, KeyKind::Relay, &none()).unwrap();
        assert_eq!(relay, Some(Secret::new([7; 32])));
    }
}

const TEST_WORK_FACTOR: u8 = age::MIN_WORK_FACTOR;

fn passphrase(scratch: &Path, text: &str) -> PassphraseSource {
    let path = scratch.join("passphrase");
    let _ = fs::remove_file(&path);
    write_private(&path, text.as_bytes()).unwrap();
    PassphraseSource::file(path)
}

fn protected(text: &str) -> KeyFormat {
    KeyFormat::Protected {
        passphrase: Passphrase::new(text.as_bytes()).unwrap(),
        work_factor: TEST_WORK_FACTOR,
    }
}

#[test]
fn protected_files_open_with_their_passphrase_only() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("validator.key");
    let (kind, secret) = (KeyKind::Validation, Secret::new([7; 32]));
    create_file(&path, kind, &secret, &protected("correct horse")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("0707"), "{text}");
    let expected = KeyFileSummary {
        kind: Some(kind),
        is_protected: true,
        public_key: Some(kind.public_key(&secret)),
    };
    assert_eq!(summary(&path).unwrap(), expected);
    // The first line of the file counts, without its line end.
    for text in ["correct horse", "correct horse\n", "correct horse\r\nmore"] {
        let source = passphrase(scratch.path(), text);
        let file = read_file(&path, &source).unwrap();
        assert!(file.is_protected && file.secret == secret && file.kind == Some(kind));
        assert_eq!(read_secret(&path, kind, &source).unwrap(), secret);
        // Read once: a pipe could not be read again.
        fs::remove_file(scratch.path().join("passphrase")).unwrap();
        assert_eq!(read_secret(&path, kind, &source).unwrap(), secret);
    }
    let wrong = passphrase(scratch.path(), "correct horse ");
    let error = read_file(&path, &wrong).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("wrong passphrase for {}", path.display())
    );
    let error = open_file(&path).unwrap_err();
    assert!(error.needs_passphrase() && error.to_string().contains("--passphrase-file"));
    // The kind is checked before a passphrase is needed.
    let error = read_secret(&path, KeyKind::Relay, &none()).unwrap_err();
    assert!(
        error.to_string().contains("expected a relay key"),
        "{error}"
    );
    // The public key in the first line is checked against the secret.
    let other = hex::encode(kind.public_key(&Secret::new([8; 32])));
    let public_key = hex::encode(kind.public_key(&secret));
    fs::write(&path, text.replace(&public_key, &other)).unwrap();
    let source = passphrase(scratch.path(), "correct horse");
    let error = read_file(&path, &source).unwrap_err().to_string();
    assert!(error.contains("public key of another secret"), "{error}");
    fs::write(&path, text.replace("validation", "relay")).unwrap();
    let error = read_file(&path, &source).unwrap_err().to_string();
    assert!(error.contains("public key of another secret"), "{error}");
    // Without the first line it is a file of the program `age`.
    fs::write(&path, text.split_once('\n').unwrap().1).unwrap();
    assert_eq!(read_secret(&path, kind, &source).unwrap(), secret);
    assert_eq!(summary(&path).unwrap().public_key, None);
}

#[test]
fn missing_directory_of_a_new_key_file_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("none").join("relay.key");
    let secret = Secret::new([7; 32]);
    let error = create_file(&path, KeyKind::Relay, &secret, &KeyFormat::Plain).unwrap_err();
    let expected = "none/relay.key: its directory does not exist; create it first";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn passphrase_files_are_private_and_not_empty() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("relay.key");
    let secret = Secret::new([7; 32]);
    create_file(&path, KeyKind::Relay, &secret, &protected("a")).unwrap();
    let error = |source: &PassphraseSource| read_file(&path, source).unwrap_err().to_string();
    for (text, expected) in [
        ("", "is empty"),
        ("\nsecret", "is empty"),
        ("a\tb", "control character"),
        (&"x".repeat(1_025), "longer than 1024 bytes"),
        (&"x".repeat(100_000), "longer than 1024 bytes"),
    ] {
        let error = error(&passphrase(scratch.path(), text));
        assert!(error.contains(expected) && !error.contains("xx"), "{error}");
    }
    let source = passphrase(scratch.path(), "a");
    let file = scratch.path().join("passphrase");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert!(error(&source).contains("accessible to other users (mode 0644)"));
    let missing = PassphraseSource::file(scratch.path().join("none"));
    assert!(error(&missing).contains("No such file"));
    let directory = PassphraseSource::file(scratch.path().to_owned());
    assert!(error(&directory).contains("is not a regular file"));
}

#[test]
fn creation_leaves_no_other_file_and_replaces_none() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.key");
    let secret = Secret::new([7; 32]);
    for format in [KeyFormat::Hex, KeyFormat::Pem, protected("a")] {
        create_file(&path, KeyKind::Validation, &secret, &format).unwrap();
        let again = create_file(&path, KeyKind::Relay, &Secret::new([8; 32]), &format);
        assert!(
            again
                .unwrap_err()
                .to_string()
                .contains("refusing to overwrite")
        );
        let source = passphrase(scratch.path(), "a");
        assert_eq!(read_file(&path, &source).unwrap().secret, secret);
        fs::remove_file(scratch.path().join("passphrase")).unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
        fs::remove_file(&path).unwrap();
    }
    // A link that leads nowhere is not replaced either.
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    let refused = create_file(&path, KeyKind::Relay, &secret, &KeyFormat::Plain);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("refusing to overwrite")
    );
    let missing = scratch.path().join("none/a.key");
    assert!(create_file(&missing, KeyKind::Relay, &secret, &KeyFormat::Plain).is_err());
}
