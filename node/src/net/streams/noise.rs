//! Noise IK with the primitives of the core, behind the resolver interface of `snow`.
//!
//! X25519, ChaCha20-Poly1305 and the entropy are those that datagrams use; only the hash of the
//! handshake, BLAKE2s, is not needed elsewhere. Both sides are bound to a prologue, and the payload
//! of both messages is empty.

use crate::clock;
use astreum_core::crypto::{Nonce, PublicKey, SecretKey, SharedKey};
use core::fmt;
use cryptoxide::hashing::blake2s::Context;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState, TransportState};

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
/// Maximum size of an encrypted message, in bytes.
pub(super) const MAX_MESSAGE_BYTES: usize = 65_535;
/// Size of the tag of a message, in bytes.
pub(super) const TAG_BYTES: usize = 16;
/// Maximum size of the text in a message, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = MAX_MESSAGE_BYTES - TAG_BYTES;

/// Begins the handshake of a client with the owner of `server`.
pub(super) fn initiate(
    secret: &SecretKey,
    server: &PublicKey,
    prologue: &[u8],
) -> Result<HandshakeState, Error> {
    builder()?
        .local_private_key(secret.as_bytes())?
        .remote_public_key(server.as_bytes())?
        .prologue(prologue)?
        .build_initiator()
}

/// Begins the handshake of a server.
pub(super) fn respond(secret: &SecretKey, prologue: &[u8]) -> Result<HandshakeState, Error> {
    builder()?
        .local_private_key(secret.as_bytes())?
        .prologue(prologue)?
        .build_responder()
}

fn builder<'k>() -> Result<Builder<'k>, Error> {
    Ok(Builder::with_resolver(
        PATTERN.parse()?,
        Box::new(Primitives),
    ))
}

/// State of the encryption of a connection.
pub(super) enum Encryption {
    /// The handshake is under way.
    Handshake(Box<HandshakeState>),
    /// Messages can be exchanged.
    Transport(Box<TransportState>),
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encryption(…)")
    }
}

struct Primitives;

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SystemRandom))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let is_known = matches!(choice, DHChoice::Curve25519);
        is_known.then(|| Box::new(KeyPair::new([0; 32])) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        let is_known = matches!(choice, HashChoice::Blake2s);
        is_known.then(|| Box::new(Blake2s(Context::new())) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        let is_known = matches!(choice, CipherChoice::ChaChaPoly);
        is_known.then(|| Box::new(ChaChaPoly(SharedKey::from_bytes([0; 32]))) as Box<dyn Cipher>)
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        for part in out.chunks_mut(32) {
            let bytes = clock::entropy().map_err(|_| Error::Rng)?;
            part.copy_from_slice(bytes.get(..part.len()).unwrap_or_default());
        }
        Ok(())
    }
}

struct KeyPair {
    secret: SecretKey,
    public: PublicKey,
}

impl KeyPair {
    fn new(secret: [u8; 32]) -> Self {
        let secret = SecretKey::from_bytes(secret);
        let public = secret.public_key();
        Self { secret, public }
    }
}

impl Dh for KeyPair {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        if let Ok(secret) = secret.try_into() {
            *self = Self::new(secret);
        }
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        let mut secret = [0; 32];
        random.try_fill_bytes(&mut secret)?;
        *self = Self::new(secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public = public.get(..32).and_then(PublicKey::from_slice);
        let shared = self.secret.agree(&public.ok_or(Error::Dh)?);
        let shared = shared.map_err(|_| Error::Dh)?;
        let out = out.get_mut(..32).ok_or(Error::Dh)?;
        out.copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

struct ChaChaPoly(SharedKey);

/// Returns the nonce of a message, as Noise defines it for this cipher.
fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    let (_, counter) = nonce.split_at_mut(4);
    counter.copy_from_slice(&number.to_le_bytes());
    nonce
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = SharedKey::from_bytes(*key);
    }

    fn encrypt(&self, number: u64, associated: &[u8], text: &[u8], out: &mut [u8]) -> usize {
        let Some((sealed, rest)) = out.split_at_mut_checked(text.len()) else {
            return 0;
        };
        sealed.copy_from_slice(text);
        let tag = self.0.seal_with(&nonce(number), associated, sealed);
        // Never fails: a message is much shorter than what one nonce can seal.
        let (Ok(tag), Some(place)) = (tag, rest.get_mut(..TAG_BYTES)) else {
            return 0;
        };
        place.copy_from_slice(&tag);
        text.len() + TAG_BYTES
    }

    fn decrypt(
        &self,
        number: u64,
        associated: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let nonce = nonce(number);
        if let Some(place) = out.get_mut(..sealed.len()) {
            place.copy_from_slice(sealed);
            let text = self.0.open_with(&nonce, associated, place);
            return text.map(<[u8]>::len).map_err(|_| Error::Decrypt);
        }
        // A buffer without room for the tag, as for the keys of a handshake.
        let mut copy = sealed.to_vec();
        let text = self.0.open_with(&nonce, associated, &mut copy);
        let text = text.map_err(|_| Error::Decrypt)?;
        let place = out.get_mut(..text.len()).ok_or(Error::Decrypt)?;
        place.copy_from_slice(text);
        Ok(text.len())
    }
}

struct Blake2s(Context<256>);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update_mut(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let hash = self.0.finalize_reset();
        if let Some(place) = out.get_mut(..hash.len()) {
            place.copy_from_slice(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(
        server_key: &SecretKey,
        prologues: [&[u8]; 2],
    ) -> Result<(HandshakeState, HandshakeState), Error> {
        let client = initiate(
            &SecretKey::from_bytes([1; 32]),
            &server_key.public_key(),
            prologues[0],
        )?;
        Ok((
            client,
            respond(&SecretKey::from_bytes([2; 32]), prologues[1])?,
        ))
    }

    fn shake(
        (mut client, mut server): (HandshakeState, HandshakeState),
    ) -> Result<(TransportState, TransportState), Error> {
        let (mut message, mut payload) = ([0; 200], [0; 200]);
        let len = client.write_message(&[], &mut message)?;
        assert_eq!(len, 96);
        assert_eq!(server.read_message(&message[..len], &mut payload)?, 0);
        let key = SecretKey::from_bytes([1; 32]).public_key();
        assert_eq!(server.get_remote_static(), Some(&key.as_bytes()[..]));
        let len = server.write_message(&[], &mut message)?;
        assert_eq!(len, 48);
        client.read_message(&message[..len], &mut payload)?;
        Ok((client.into_transport_mode()?, server.into_transport_mode()?))
    }

    #[test]
    fn both_sides_agree_and_detect_changes() {
        let server = SecretKey::from_bytes([2; 32]);
        let (mut client, mut server) = shake(pair(&server, [b"p", b"p"]).unwrap()).unwrap();
        let (mut message, mut text) = (vec![0; MAX_MESSAGE_BYTES], vec![0; MAX_MESSAGE_BYTES]);
        for len in [0, 1, MAX_TEXT_BYTES] {
            let sent = client.write_message(&vec![7; len], &mut message).unwrap();
            assert_eq!(sent, len + TAG_BYTES);
            assert_eq!(server.read_message(&message[..sent], &mut text), Ok(len));
            assert!(text[..len].iter().all(|byte| *byte == 7));
        }
        let sent = server.write_message(b"answer", &mut message).unwrap();
        message[0] ^= 1;
        assert!(client.read_message(&message[..sent], &mut text).is_err());
    }

    #[test]
    fn other_server_key_or_prologue_fails() {
        let [right, wrong] = [2, 3].map(|n| SecretKey::from_bytes([n; 32]));
        for (key, prologues) in [(&wrong, [b"p", b"p"]), (&right, [b"p", b"q"])] {
            let prologues = prologues.map(|it| &it[..]);
            assert!(shake(pair(key, prologues).unwrap()).is_err());
        }
    }

    /// First vector of RFC 7693, appendix B.
    #[test]
    fn hash_is_blake2s() {
        let mut hash = Blake2s(Context::new());
        hash.input(b"abc");
        let mut out = [0; 32];
        hash.result(&mut out);
        assert_eq!(
            hex::encode(out),
            "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"
        );
    }
}
