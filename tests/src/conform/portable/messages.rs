//! Operations `message_nonce`, `message_encode`, `message_decode`, `handshake_encode`,
//! `ping_encode`, `ping_decode`.

use super::fields::{Fields, hex};
use super::{OpError, OpTable};
use alloc::format;
use alloc::string::String;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::wire::message::{Body, Envelope, Message, Topic, write_handshake};
use astreum_core::wire::packet::{Draft, Packet};
use astreum_core::wire::ping::Ping;
use astreum_core::wire::pow::{Progress, Search};
use core::num::NonZeroU8;
use serde_json::{Value, json};

pub(super) const OPS: OpTable = &[
    ("message_nonce", message_nonce),
    ("message_encode", message_encode),
    ("message_decode", message_decode),
    ("handshake_encode", handshake_encode),
    ("ping_encode", ping_encode),
    ("ping_decode", ping_decode),
];

/// Maximum difficulty that is searched for: some minutes of work.
const MAX_DIFFICULTY: u32 = 32;

/// Returns the first nonce from 0 that meets the difficulty in the field `difficulty`.
fn find_nonce(message: &[u8], fields: &Fields<'_>) -> Result<u64, OpError> {
    let difficulty = u32::try_from(fields.int("difficulty")?.max(0)).unwrap_or(u32::MAX);
    if difficulty > MAX_DIFFICULTY {
        return Err(OpError(format!(
            "difficulty exceeds the maximum of {MAX_DIFFICULTY}"
        )));
    }
    match Search::new(message, difficulty).run(u64::MAX) {
        Progress::Found(nonce) => Ok(nonce),
        Progress::Pending | Progress::Exhausted => {
            Err(OpError::new("no nonce has the required proof of work"))
        }
    }
}

fn message_nonce(fields: &Fields<'_>) -> Result<String, OpError> {
    let nonce = find_nonce(&fields.hex("message")?, fields)?;
    Ok(json!({ "nonce": nonce }).to_string())
}

/// Encodes the packet of the message that `write` appends.
fn packet(
    fields: &Fields<'_>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), OpError>,
) -> Result<String, OpError> {
    let mut buffer = Vec::new();
    let mut draft = Draft::new(&mut buffer);
    write(draft.message_mut())?;
    let nonce = find_nonce(draft.message(), fields)?;
    draft.set_nonce(nonce);
    Ok(json!({ "packet": hex(buffer) }).to_string())
}

fn secret(fields: &Fields<'_>) -> Result<SecretKey, OpError> {
    fields.hex_array("secret").map(SecretKey::from_bytes)
}

fn topic(fields: &Fields<'_>) -> Result<Topic, OpError> {
    let code = fields.number("topic")?;
    Topic::from_code(code).ok_or_else(|| OpError(format!("unknown topic {code}")))
}

fn message_encode(fields: &Fields<'_>) -> Result<String, OpError> {
    let secret = secret(fields)?;
    let peer = PublicKey::new(fields.hex_array("peer_public")?);
    let key = secret.agree(&peer).map_err(OpError::new)?;
    let topic = topic(fields)?;
    let content = fields.hex("content")?;
    let envelope = Envelope {
        sender: secret.public_key(),
        port: fields.number("port")?,
        key: &key,
        nonce: fields.hex_array("aead_nonce")?,
    };
    packet(fields, |out| {
        let written = envelope.write(out, topic, &content);
        written.map_err(OpError::new)
    })
}

fn handshake_encode(fields: &Fields<'_>) -> Result<String, OpError> {
    let sender = secret(fields)?.public_key();
    let payload = fields.hex("content")?;
    let port = fields.number("port")?;
    packet(fields, |out| {
        write_handshake(out, &sender, port, &payload);
        Ok(())
    })
}

fn message_decode(fields: &Fields<'_>) -> Result<String, OpError> {
    let secret = secret(fields)?;
    let datagram = fields.hex("packet")?;
    let required = u32::try_from(fields.int("required_difficulty")?.max(0)).unwrap_or(u32::MAX);
    let packet = Packet::decode(&datagram).map_err(OpError::new)?;
    packet.check_work(required).map_err(OpError::new)?;
    let message = Message::decode(packet.message()).map_err(OpError::new)?;
    let mut opened = Vec::new();
    let (handshake, topic, content) = match message.body {
        Body::Handshake(payload) => (true, Value::Null, payload),
        Body::Sealed(sealed) => {
            let key = secret.agree(&message.sender).map_err(OpError::new)?;
            let (topic, content) = sealed.open(&key, &mut opened).map_err(OpError::new)?;
            (false, topic.code().into(), content)
        }
    };
    Ok(json!({
        "handshake": handshake,
        "sender": hex(message.sender),
        "port": message.port,
        "topic": topic,
        "content": hex(content),
    })
    .to_string())
}

fn ping_encode(fields: &Fields<'_>) -> Result<String, OpError> {
    let difficulty = NonZeroU8::new(fields.number("difficulty")?);
    let ping = Ping {
        is_validator: fields.bool("is_validator")?,
        difficulty: difficulty
            .ok_or_else(|| OpError::new("expected a difficulty of at least 1"))?,
        latest_block: fields.optional("latest_block", Fields::id)?,
    };
    Ok(json!({ "bytes": hex(ping.encode()) }).to_string())
}

fn ping_decode(fields: &Fields<'_>) -> Result<String, OpError> {
    let ping = Ping::decode(&fields.hex("bytes")?).map_err(OpError::new)?;
    Ok(json!({
        "is_validator": ping.is_validator,
        "difficulty": ping.difficulty,
        "latest_block": ping.latest_block.map(hex),
    })
    .to_string())
}
