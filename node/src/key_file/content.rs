//! Text of a key file.
//!
//! | form | text |
//! | --- | --- |
//! | plain | kind, a space, 64 hex digits of the secret; or the digits alone |
//! | protected | kind, `protected`, 64 hex digits of the public key; then an armored age file |
//! | age | an age file alone, armored or not |
//! | PEM | `PRIVATE KEY` (PKCS #8), as other programs write it |
//!
//! The plain text of an age file is a plain key file.

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use crate::config::Secret;

use super::age::{self, ARMOR_BEGIN};
use super::kind::KeyKind;

/// Word after the kind in the first line of a protected file.
const PROTECTED: &str = "protected";
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// Bytes of a PKCS #8 private key (RFC 8410) before the 32 bytes of the secret.
const PKCS8_ED25519: [u8; 16] = pkcs8_prefix(0x70);
/// Like [`PKCS8_ED25519`], for X25519.
const PKCS8_X25519: [u8; 16] = pkcs8_prefix(0x6e);

const fn pkcs8_prefix(algorithm: u8) -> [u8; 16] {
    [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, algorithm, 0x04, 0x22,
        0x04, 0x20,
    ]
}

/// Content of a key file that is not decrypted.
#[derive(Debug)]
pub(super) enum Content<'t> {
    Plain(Option<KeyKind>, Secret),
    Protected {
        /// Kind and public key that the file states in its first line.
        stated: Option<(KeyKind, [u8; 32])>,
        file: &'t [u8],
    },
}

/// Parses the content of a file.
pub(super) fn parse(bytes: &[u8]) -> Option<Content<'_>> {
    if age::is_encrypted(bytes) {
        let (stated, file) = (None, bytes);
        return Some(Content::Protected { stated, file });
    }
    let text = core::str::from_utf8(bytes).ok()?;
    if let Some((first, file)) = text.split_once('\n')
        && file.trim_start().starts_with(ARMOR_BEGIN)
    {
        let words: Vec<&str> = first.split_ascii_whitespace().collect();
        let [kind, PROTECTED, public_key] = words.as_slice() else {
            return None;
        };
        let public_key = *Secret::from_hex(public_key)?.expose();
        return Some(Content::Protected {
            stated: Some((KeyKind::from_name(kind)?, public_key)),
            file: file.as_bytes(),
        });
    }
    let (kind, secret) = plain(text).or_else(|| pem(text))?;
    Some(Content::Plain(kind, secret))
}

/// Parses a plain key file.
pub(super) fn plain(text: &str) -> Option<(Option<KeyKind>, Secret)> {
    let text = text.trim();
    let (kind, digits) = match text.split_once([' ', '\t']) {
        Some((name, digits)) => (Some(KeyKind::from_name(name)?), digits.trim_start()),
        None => (None, text),
    };
    Some((kind, Secret::from_hex(digits)?))
}

fn pem(text: &str) -> Option<(Option<KeyKind>, Secret)> {
    let digits = text.trim().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    // With room for everything, so that no part stays behind in freed memory.
    let mut joined = Zeroizing::new(String::with_capacity(digits.len()));
    joined.extend(digits.split_ascii_whitespace());
    let mut bytes = Zeroizing::new([0; PKCS8_ED25519.len() + 32]);
    let decoded = Base64::decode(joined.as_str(), &mut *bytes).ok()?;
    let (prefix, secret) = decoded.split_at_checked(PKCS8_ED25519.len())?;
    let kind = match prefix {
        prefix if *prefix == PKCS8_ED25519 => KeyKind::Validation,
        prefix if *prefix == PKCS8_X25519 => KeyKind::Relay,
        _ => return None,
    };
    Some((Some(kind), Secret::new(secret.try_into().ok()?)))
}

/// Returns the text of a plain key file.
pub(super) fn plain_text(kind: KeyKind, secret: &Secret) -> Zeroizing<String> {
    let digits = Zeroizing::new(hex::encode(secret.expose()));
    joined(&[kind.name(), " ", &digits, "\n"])
}

/// Joins parts of a secret text. The memory is taken once, so that no part stays behind in freed
/// memory, as it does when `format!` lets its text grow.
pub(super) fn joined(parts: &[&str]) -> Zeroizing<String> {
    let len = parts.iter().map(|part| part.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(len));
    for part in parts {
        text.push_str(part);
    }
    text
}

/// Returns the text of a protected key file.
pub(super) fn protected_text(
    kind: KeyKind,
    secret: &Secret,
    passphrase: &[u8],
    work_factor: u8,
    seed: &age::Seed,
) -> String {
    let plain = plain_text(kind, secret);
    let armored = age::seal(plain.as_bytes(), passphrase, work_factor, seed);
    let public_key = hex::encode(kind.public_key(secret));
    format!("{} {PROTECTED} {public_key}\n{armored}", kind.name())
}

/// Returns a PKCS #8 file, as other programs read it.
pub(super) fn pem_text(kind: KeyKind, secret: &Secret) -> Zeroizing<String> {
    let prefix = match kind {
        KeyKind::Validation => PKCS8_ED25519,
        KeyKind::Relay => PKCS8_X25519,
    };
    let mut bytes = Zeroizing::new([0; PKCS8_ED25519.len() + 32]);
    for (byte, value) in bytes.iter_mut().zip(prefix.iter().chain(secret.expose())) {
        *byte = *value;
    }
    let digits = Zeroizing::new(Base64::encode_string(&*bytes));
    joined(&[PEM_BEGIN, "\n", &digits, "\n", PEM_END, "\n"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_round_trips_and_matches_other_programs() {
        // Written by the Python package `cryptography` for the secret 07…07.
        let ed25519 = "-----BEGIN PRIVATE KEY-----\n\
                       MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n\
                       -----END PRIVATE KEY-----\n";
        let secret = Secret::new([7; 32]);
        for kind in [KeyKind::Relay, KeyKind::Validation] {
            let text = pem_text(kind, &secret);
            assert_eq!(*text == ed25519, kind == KeyKind::Validation);
            let Some(Content::Plain(found, read)) = parse(text.as_bytes()) else {
                panic!("{kind}");
            };
            assert_eq!((found, read), (Some(kind), secret.clone()));
        }
        for damaged in [
            ed25519.replace("MC4C", "MC4D"),
            ed25519.replace("BwcH\n", "\n"),
            ed25519.replace("-----END", "----END"),
            ed25519.replace("HBwcH", "HBw=="),
        ] {
            assert!(parse(damaged.as_bytes()).is_none(), "{damaged}");
        }
    }

    #[test]
    fn memory_of_secret_texts_is_taken_once() {
        let secret = Secret::new([7; 32]);
        for kind in [KeyKind::Relay, KeyKind::Validation] {
            for text in [plain_text(kind, &secret), pem_text(kind, &secret)] {
                assert_eq!(text.capacity(), text.len(), "it has grown");
            }
        }
    }

    #[test]
    fn first_line_of_a_protected_file_states_kind_and_public_key() {
        let secret = Secret::new([7; 32]);
        let seed = age::Seed::new(Zeroizing::new([1; age::SEED_BYTES]));
        let text = protected_text(KeyKind::Relay, &secret, b"a", 10, &seed);
        let Some(Content::Protected { stated, file }) = parse(text.as_bytes()) else {
            panic!("{text}");
        };
        let public_key = KeyKind::Relay.public_key(&secret);
        assert_eq!(stated, Some((KeyKind::Relay, public_key)));
        let opened = age::open(file, b"a").unwrap();
        assert_eq!(*opened, plain_text(KeyKind::Relay, &secret).as_bytes());
        for (from, to) in [
            ("relay", "wallet"),
            ("protected", "open"),
            ("relay protected ", "relay protected 0"),
            ("relay protected ", "relay "),
        ] {
            assert!(
                parse(text.replacen(from, to, 1).as_bytes()).is_none(),
                "{to}"
            );
        }
        assert!(matches!(
            parse(file),
            Some(Content::Protected { stated: None, .. })
        ));
    }
}
