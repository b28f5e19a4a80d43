//! Operations `object_request_*`, `object_response_*`, `object_found_*`, `provider_*`.

use super::address::ipv4_from_text;
use super::fields::{Fields, hex};
use super::{OpError, OpTable};
use alloc::format;
use alloc::string::String;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use astreum_core::crypto::PublicKey;
use astreum_core::wire::object::{
    Action, Answer, Contact, Found, PayloadType, Request, Response, write_found_atom,
    write_found_list,
};
use core::net::SocketAddrV4;
use serde_json::json;

pub(super) const OPS: OpTable = &[
    ("object_request_encode", request_encode),
    ("object_request_decode", request_decode),
    ("object_response_encode", response_encode),
    ("object_response_decode", response_decode),
    ("object_found_encode", found_encode),
    ("object_found_decode", found_decode),
    ("provider_encode", provider_encode),
    ("provider_decode", provider_decode),
];

fn bytes(bytes: &[u8]) -> String {
    json!({ "bytes": hex(bytes) }).to_string()
}

fn request_encode(fields: &Fields<'_>) -> Result<String, OpError> {
    let payload_type = fields.optional("payload_type", Fields::number::<u8>)?;
    let payload_type = payload_type.map(PayloadType::new);
    let action = match (fields.int("type")?, payload_type) {
        (0, payload_type) => Action::Get(payload_type),
        (1, Some(payload_type)) => Action::Put(payload_type),
        (1, None) => return Err(OpError::new("put without a payload type")),
        (code, _) => return Err(OpError(format!("unknown request type {code}"))),
    };
    let request = Request {
        action,
        atom_id: fields.id("atom_id")?,
        data: &fields.hex("data")?,
    };
    let mut out = Vec::new();
    request.write(&mut out);
    Ok(bytes(&out))
}

fn request_decode(fields: &Fields<'_>) -> Result<String, OpError> {
    let encoded = fields.hex("bytes")?;
    let request = Request::decode(&encoded).map_err(OpError::new)?;
    let (code, payload_type) = match request.action {
        Action::Get(payload_type) => (0, payload_type),
        Action::Put(payload_type) => (1, Some(payload_type)),
    };
    Ok(json!({
        "type": code,
        "atom_id": hex(request.atom_id),
        "payload_type": payload_type.map(PayloadType::code),
        "data": hex(request.data),
    })
    .to_string())
}

fn response_encode(fields: &Fields<'_>) -> Result<String, OpError> {
    let code = fields.number("type")?;
    let answer = Answer::from_code(code);
    let response = Response {
        answer: answer.ok_or_else(|| OpError(format!("unknown response type {code}")))?,
        atom_id: fields.id("atom_id")?,
        data: &fields.hex("data")?,
    };
    let mut out = Vec::new();
    response.write(&mut out);
    Ok(bytes(&out))
}

fn response_decode(fields: &Fields<'_>) -> Result<String, OpError> {
    let encoded = fields.hex("bytes")?;
    let response = Response::decode(&encoded).map_err(OpError::new)?;
    Ok(json!({
        "type": response.answer.code(),
        "atom_id": hex(response.atom_id),
        "data": hex(response.data),
    })
    .to_string())
}

fn found_encode(fields: &Fields<'_>) -> Result<String, OpError> {
    let atoms = fields.atoms("atoms")?;
    let mut out = Vec::new();
    if fields.bool("list")? {
        write_found_list(&mut out, &atoms).map_err(OpError::new)?;
    } else if let [atom] = atoms.as_slice() {
        write_found_atom(&mut out, atom);
    } else {
        return Err(OpError::new(
            "a payload that is not a list must be exactly one atom",
        ));
    }
    Ok(bytes(&out))
}

fn found_decode(fields: &Fields<'_>) -> Result<String, OpError> {
    let asked = fields.id("atom_id")?;
    let found = Found::decode(&asked, &fields.hex("bytes")?).map_err(OpError::new)?;
    let atoms: Vec<String> = found
        .atoms()
        .iter()
        .map(|hashed| hex(hashed.atom().to_bytes()))
        .collect();
    Ok(json!({ "atoms": atoms }).to_string())
}

fn provider_encode(fields: &Fields<'_>) -> Result<String, OpError> {
    let host = fields.text("address")?;
    let ip =
        ipv4_from_text(host).ok_or_else(|| OpError(format!("not an IPv4 address: {host:?}")))?;
    let contact = Contact {
        public_key: PublicKey::new(fields.hex_array("public_key")?),
        address: SocketAddrV4::new(ip, fields.number("port")?),
    };
    Ok(bytes(&contact.encode()))
}

fn provider_decode(fields: &Fields<'_>) -> Result<String, OpError> {
    let contact = Contact::decode(&fields.hex("bytes")?).map_err(OpError::new)?;
    Ok(json!({
        "public_key": hex(contact.public_key),
        "address": contact.address.ip().to_string(),
        "port": contact.address.port(),
    })
    .to_string())
}
