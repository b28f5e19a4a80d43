//! Encryption of key files with a passphrase, in version 1 of the age format.
//!
//! The supported part of the format (<https://age-encryption.org/v1>) has one recipient of type
//! `scrypt` and one chunk of payload, armored or not; the program `age` reads and writes it. The
//! `age` crate 0.11 would add 69 crates, many for translations of its messages, which cannot be
//! switched off, and second versions of 18 others, among them curve25519-dalek and sha2. The
//! primitives (scrypt, HKDF, HMAC-SHA-256, ChaCha20-Poly1305) are those of `cryptoxide`.
//!
//! Invariants:
//! - Opening allocates at most 1 KiB · 2^[`MAX_WORK_FACTOR`] and as much as the file again.
//! - A wrong passphrase is distinguished from a damaged file only by the authenticated file key.

use base64ct::{Base64, Base64Unpadded, Encoding as _};
use core::fmt::Write as _;
use cryptoxide::chacha20poly1305::ChaChaPoly1305;
use cryptoxide::constant_time::CtEqual as _;
use cryptoxide::hashing::sha2::Sha256;
use cryptoxide::scrypt::{ScryptParams, scrypt};
use cryptoxide::{hkdf, hmac};
use zeroize::Zeroizing;

/// Binary logarithm of the maximum scrypt cost of a file that is opened: 256 MiB of memory.
pub const MAX_WORK_FACTOR: u8 = 18;
/// Binary logarithm of the minimum scrypt cost of a new file.
pub const MIN_WORK_FACTOR: u8 = 10;
/// Binary logarithm of the default scrypt cost of a new file: 128 MiB of memory, and some tenths of
/// a second.
pub const DEFAULT_WORK_FACTOR: u8 = 17;

const FIRST_LINE: &str = "age-encryption.org/v1";
const SALT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";
pub(super) const ARMOR_BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const ARMOR_END: &str = "-----END AGE ENCRYPTED FILE-----";
/// Length of a line of armor, in characters.
const ARMOR_LINE: usize = 64;
const KEY_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// Bytes of a [`Seed`].
pub const SEED_BYTES: usize = 3 * KEY_BYTES;
/// Nonce of the only chunk of a payload: counter 0, and the flag of the last chunk.
const LAST_CHUNK: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Maximum bytes of the only chunk of a payload.
const MAX_CHUNK_BYTES: usize = 64 << 10;

/// Reason a file could not be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The passphrase is wrong.
    WrongPassphrase,
    /// The binary logarithm of the scrypt cost exceeds [`MAX_WORK_FACTOR`].
    WorkFactor(u8),
    /// The file is not encrypted with a passphrase.
    NotByPassphrase,
    /// The file is damaged, or uses an unsupported part of the format.
    Malformed,
}

/// Random bytes for one file.
pub struct Seed(Zeroizing<[u8; SEED_BYTES]>);

impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Seed(…)")
    }
}

impl Seed {
    /// Creates the seed of one file from unpredictable bytes, which must not be used again.
    #[must_use]
    pub const fn new(bytes: Zeroizing<[u8; SEED_BYTES]>) -> Self {
        Self(bytes)
    }

    fn parts(&self) -> Zeroizing<[[u8; KEY_BYTES]; 3]> {
        let mut parts = Zeroizing::new([[0; KEY_BYTES]; 3]);
        for (part, bytes) in parts.iter_mut().zip(self.0.chunks_exact(KEY_BYTES)) {
            part.copy_from_slice(bytes);
        }
        parts
    }
}

/// Encrypts `text`, which must be short, and returns an armored file. `work_factor` is clamped to
/// the supported range.
#[must_use]
pub fn seal(text: &[u8], passphrase: &[u8], work_factor: u8, seed: &Seed) -> String {
    let work_factor = work_factor.clamp(MIN_WORK_FACTOR, MAX_WORK_FACTOR);
    let parts = seed.parts();
    let [file_key, salt, nonce] = &*parts;
    let wrap_key = wrap_key(passphrase, salt, work_factor);
    let wrapped = encrypt(&wrap_key, &[0; 12], file_key);
    let header = format!(
        "{FIRST_LINE}\n-> scrypt {} {work_factor}\n{}\n---",
        Base64Unpadded::encode_string(salt),
        Base64Unpadded::encode_string(&wrapped),
    );
    let mac = header_mac(file_key, &header);
    let mut file = format!("{header} {}\n", Base64Unpadded::encode_string(&mac)).into_bytes();
    file.extend(nonce);
    file.extend(encrypt(&payload_key(file_key, nonce), &LAST_CHUNK, text));
    armored(&file)
}

/// Decrypts a file, armored or not.
///
/// # Errors
/// See [`OpenError`].
pub fn open(file: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let binary = dearmored(file);
    let file = binary.as_deref().unwrap_or(file);
    let header = Header::parse(file)?;
    if header.work_factor > MAX_WORK_FACTOR {
        return Err(OpenError::WorkFactor(header.work_factor));
    }
    let wrap_key = wrap_key(passphrase, &header.salt, header.work_factor);
    let file_key = decrypt(&wrap_key, &[0; 12], &header.wrapped);
    let file_key = file_key.ok_or(OpenError::WrongPassphrase)?;
    let mac = header_mac(&file_key, header.signed);
    if !mac.as_slice().ct_eq(header.mac.as_slice()).is_true() {
        return Err(OpenError::Malformed);
    }
    let (nonce, chunk) = header
        .payload
        .split_first_chunk::<KEY_BYTES>()
        .ok_or(OpenError::Malformed)?;
    if chunk.len() > MAX_CHUNK_BYTES + TAG_BYTES {
        return Err(OpenError::Malformed);
    }
    decrypt(&payload_key(&file_key, nonce), &LAST_CHUNK, chunk).ok_or(OpenError::Malformed)
}

/// Returns whether a file begins like one of this format.
#[must_use]
pub fn is_encrypted(file: &[u8]) -> bool {
    let file = file.trim_ascii_start();
    file.starts_with(FIRST_LINE.as_bytes()) || file.starts_with(ARMOR_BEGIN.as_bytes())
}

/// Parts of a file.
struct Header<'f> {
    salt: [u8; KEY_BYTES],
    work_factor: u8,
    wrapped: [u8; KEY_BYTES + TAG_BYTES],
    /// Text that the authentication code covers.
    signed: &'f str,
    mac: [u8; 32],
    payload: &'f [u8],
}

impl<'f> Header<'f> {
    fn parse(file: &'f [u8]) -> Result<Self, OpenError> {
        // Each line ends with a line feed.
        let mut rest = file;
        let mut line = || {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let (line, after) = rest.split_at_checked(end)?;
            rest = after.get(1..)?;
            core::str::from_utf8(line).ok()
        };
        let mut next = || line().ok_or(OpenError::Malformed);
        if next()? != FIRST_LINE {
            return Err(OpenError::Malformed);
        }
        let stanza = next()?.strip_prefix("-> ").ok_or(OpenError::Malformed)?;
        let arguments: Vec<&str> = stanza.split(' ').collect();
        let ["scrypt", salt, work_factor] = arguments.as_slice() else {
            return Err(OpenError::NotByPassphrase);
        };
        let is_plain = work_factor.bytes().all(|byte| byte.is_ascii_digit());
        let work_factor = work_factor
            .parse()
            .ok()
            .filter(|factor| is_plain && *factor > 0 && !work_factor.starts_with('0'))
            .ok_or(OpenError::Malformed)?;
        let wrapped = next()?;
        let last = next()?;
        let mac = last.strip_prefix("--- ").ok_or(OpenError::Malformed)?;
        let payload = rest;
        // The header ends before the space, the code and the line feed.
        let signed = file
            .len()
            .checked_sub(payload.len() + mac.len() + " \n".len())
            .and_then(|end| file.get(..end))
            .and_then(|signed| core::str::from_utf8(signed).ok())
            .ok_or(OpenError::Malformed)?;
        Ok(Self {
            salt: decoded(salt)?,
            work_factor,
            wrapped: decoded(wrapped)?,
            signed,
            mac: decoded(mac)?,
            payload,
        })
    }
}

/// Decodes base64 without padding, of exactly `N` bytes.
fn decoded<const N: usize>(text: &str) -> Result<[u8; N], OpenError> {
    let mut bytes = [0; N];
    match Base64Unpadded::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == N => Ok(bytes),
        _ => Err(OpenError::Malformed),
    }
}

fn armored(file: &[u8]) -> String {
    let digits = Base64::encode_string(file);
    let mut text = format!("{ARMOR_BEGIN}\n");
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(ARMOR_LINE).unwrap_or((rest, ""));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
        rest = after;
    }
    text.push_str(ARMOR_END);
    text.push('\n');
    text
}

/// Removes the armor; returns `None` for a file without one, or with an invalid one.
fn dearmored(file: &[u8]) -> Option<Vec<u8>> {
    let text = core::str::from_utf8(file).ok()?.trim();
    let digits = text.strip_prefix(ARMOR_BEGIN)?.strip_suffix(ARMOR_END)?;
    let digits: String = digits.split_ascii_whitespace().collect();
    Base64::decode_vec(&digits).ok()
}

fn wrap_key(passphrase: &[u8], salt: &[u8; KEY_BYTES], work_factor: u8) -> Zeroizing<[u8; 32]> {
    let salt = [SALT_LABEL, salt].concat();
    let mut key = Zeroizing::new([0; 32]);
    let parameters = ScryptParams::new(work_factor, 8, 1);
    scrypt(passphrase, &salt, &parameters, &mut *key);
    key
}

fn derived(file_key: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let (mut extracted, mut key) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
    hkdf::extract::<Sha256>(salt, file_key, &mut *extracted);
    hkdf::expand::<Sha256>(&*extracted, info, &mut *key);
    key
}

fn payload_key(file_key: &[u8], nonce: &[u8; KEY_BYTES]) -> Zeroizing<[u8; 32]> {
    derived(file_key, nonce, b"payload")
}

fn header_mac(file_key: &[u8], header: &str) -> [u8; 32] {
    let mut mac = [0; 32];
    let key = derived(file_key, b"", b"header");
    let mut context = hmac::Context::<Sha256>::new(&*key);
    context.update(header.as_bytes());
    context.finalize_at(&mut mac);
    mac
}

fn encrypt(key: &[u8; 32], nonce: &[u8; 12], text: &[u8]) -> Vec<u8> {
    let (mut sealed, mut tag) = (vec![0; text.len()], [0; TAG_BYTES]);
    ChaChaPoly1305::<20>::new(key, nonce, &[]).encrypt(text, &mut sealed, &mut tag);
    sealed.extend(tag);
    sealed
}

fn decrypt(key: &[u8; 32], nonce: &[u8; 12], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (sealed, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
    let mut text = Zeroizing::new(vec![0; sealed.len()]);
    let mut cipher = ChaChaPoly1305::<20>::new(key, nonce, &[]);
    cipher.decrypt(sealed, &mut text, tag).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the `age` crate 0.11.5 with the passphrase "correct horse".
    const BY_AGE: &str = "\
-----BEGIN AGE ENCRYPTED FILE-----
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCB6Nk12c09PWmtaR0YrRXNa
M2VHS0p3IDEwCjFJbW5NVHM0WDRSOHc1K2JsVFk1dTJhU3pTSm5ibzYwUER6Y05u
Z29PKzQKLS0tIGFoem9Kb25relJBeHJxR3J3OURoZEtWZHp1VHBQM04wdnF1czZ3
S0MyRW8KFNlnG43O2aVf1LiCbR5TZ2HZJ/Lgbliu4eX7zH42MTlIyoxNIvT1LCR9
oN3osR8D5KclaLkrJ4nu64F1njAYOCz0FxWeprtZyaL/A1sPY+0jPLTAfD7iYaMJ
sWIH2lKyUupqXDI7AO0JRVOh
-----END AGE ENCRYPTED FILE-----
";
    const PASSPHRASE: &[u8] = b"correct horse";

    fn text() -> String {
        format!("validation {}\n", "07".repeat(32))
    }

    #[test]
    fn opens_a_file_of_another_implementation() {
        let binary = dearmored(BY_AGE.as_bytes()).unwrap();
        for file in [BY_AGE.as_bytes(), &binary] {
            assert!(is_encrypted(file));
            assert_eq!(*open(file, PASSPHRASE).unwrap(), text().as_bytes());
            assert_eq!(
                open(file, b"correct horsf"),
                Err(OpenError::WrongPassphrase)
            );
            assert_eq!(open(file, b""), Err(OpenError::WrongPassphrase));
        }
    }

    #[test]
    fn sealing_with_the_same_seed_gives_the_file_of_another_implementation() {
        let binary = dearmored(BY_AGE.as_bytes()).unwrap();
        let header = Header::parse(&binary).unwrap();
        let wrap_key = wrap_key(PASSPHRASE, &header.salt, header.work_factor);
        let file_key = decrypt(&wrap_key, &[0; 12], &header.wrapped).unwrap();
        let nonce = &header.payload[..KEY_BYTES];
        let seed = [&file_key, &header.salt[..], nonce].concat();
        let seed = Seed::new(Zeroizing::new(seed.try_into().unwrap()));
        let sealed = seal(text().as_bytes(), PASSPHRASE, header.work_factor, &seed);
        assert_eq!(sealed, BY_AGE);
    }

    #[test]
    fn every_changed_byte_is_detected() {
        let seed = Seed::new(Zeroizing::new(core::array::from_fn(|at| {
            u8::try_from(at).unwrap()
        })));
        let file = seal(b"text", PASSPHRASE, 1, &seed);
        assert!(file.lines().all(|line| line.len() <= ARMOR_LINE));
        let file = dearmored(file.as_bytes()).unwrap();
        // The cost of a damaged work factor is bounded, but not small.
        let factor = file.windows(3).position(|it| it == b" 10").unwrap();
        for at in (0..file.len()).filter(|at| !(factor..factor + 3).contains(at)) {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(open(&damaged, PASSPHRASE).is_err(), "{at}");
        }
        for len in 0..file.len() {
            assert!(open(&file[..len], PASSPHRASE).is_err(), "{len}");
        }
        let longer = [&file[..], b"x"].concat();
        assert_eq!(open(&longer, PASSPHRASE), Err(OpenError::Malformed));
    }

    #[test]
    fn hostile_headers_are_refused_without_hashing() {
        let binary = dearmored(BY_AGE.as_bytes()).unwrap();
        let end = binary.windows(4).position(|it| it == b"\n---").unwrap();
        let header = core::str::from_utf8(&binary[..end]).unwrap();
        let with = |from: &str, to: &str| {
            let header = header.replacen(from, to, 1);
            open(&[header.as_bytes(), &binary[end..]].concat(), PASSPHRASE)
        };
        assert_eq!(with(" 10", " 19"), Err(OpenError::WorkFactor(19)));
        assert_eq!(with(" 10", " 255"), Err(OpenError::WorkFactor(255)));
        for factor in [" 256", " 0", " 010", " +9", " -1", " 1e1", "", " "] {
            assert!(with(" 10", factor).is_err(), "{factor:?}");
        }
        assert_eq!(with("scrypt", "X25519"), Err(OpenError::NotByPassphrase));
        assert_eq!(with("/v1", "/v2"), Err(OpenError::Malformed));
        for file in [
            "",
            "age-encryption.org/v1",
            "age-encryption.org/v1\n-> ",
            ARMOR_BEGIN,
        ] {
            assert_eq!(open(file.as_bytes(), PASSPHRASE), Err(OpenError::Malformed));
        }
    }
}
