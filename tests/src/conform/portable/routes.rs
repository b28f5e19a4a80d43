//! Operations `route`, `route_response_encode`, `route_response_decode`.

use super::address::ip_to_text;
use super::fields::{Fields, hex, hex_of};
use super::{OpError, OpTable};
use alloc::format;
use alloc::string::String;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use astreum_core::crypto::PublicKey;
use astreum_core::wire::route_message::{AddressFamily, decode_entries, write_entry};
use astreum_core::wire::routing_table::PeerTable;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use serde_json::{Value, json};

pub(super) const OPS: OpTable = &[
    ("route", route),
    ("route_response_encode", response_encode),
    ("route_response_decode", response_decode),
];

fn keys(fields: &Fields<'_>, name: &str) -> Result<Vec<PublicKey>, OpError> {
    fields.list_of(name, "keys in hex", |value| {
        PublicKey::from_slice(&hex_of(value)?)
    })
}

fn route(fields: &Fields<'_>) -> Result<String, OpError> {
    // Loopback is exempt from the limits per network: the operation has no addresses.
    let nowhere = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let mut table = PeerTable::new(PublicKey::new(fields.hex_array("own")?));
    for key in keys(fields, "peers")? {
        // A rejected peer is not listed in the answer.
        let _ = table.insert(key, nowhere, ());
    }
    let removed = fields.optional("remove", |fields, name| keys(fields, name))?;
    for key in removed.unwrap_or_default() {
        table.remove(&key);
    }
    let buckets: Vec<Value> = table
        .buckets()
        .map(|(index, entries)| {
            let keys: Vec<String> = entries.iter().map(|entry| hex(entry.key())).collect();
            json!([index, keys])
        })
        .collect();
    let closest = table.closest(&fields.hex_array("target")?);
    let closest = closest.map(|entry| hex(entry.key()));
    Ok(json!({ "buckets": buckets, "closest": closest }).to_string())
}

fn response_encode(fields: &Fields<'_>) -> Result<String, OpError> {
    let addresses = fields.list_of("addresses", "[host, port] pairs", |value| {
        match value.as_array()?.as_slice() {
            [host, port] => Some((host.as_str()?, port.as_i64()?)),
            _ => None,
        }
    })?;
    let mut out = Vec::new();
    for (host, port) in addresses {
        let Ok(ip) = host.parse::<IpAddr>() else {
            continue;
        };
        let port = u16::try_from(port).map_err(|_| OpError(format!("invalid port: {port}")))?;
        write_entry(&mut out, &SocketAddr::new(ip, port));
    }
    Ok(json!({ "bytes": hex(out) }).to_string())
}

fn response_decode(fields: &Fields<'_>) -> Result<String, OpError> {
    let family = if fields.bool("ipv6")? {
        AddressFamily::V6
    } else {
        AddressFamily::V4
    };
    let content = fields.hex("bytes")?;
    let entries = decode_entries(&content, family).map_err(OpError::new)?;
    let addresses: Vec<Value> = entries
        .map(|address| json!([ip_to_text(address.ip()), address.port()]))
        .collect();
    Ok(json!({ "addresses": addresses }).to_string())
}
