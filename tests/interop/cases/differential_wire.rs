//! A hundred thousand datagrams, valid and invalid, read by our code and by the reference's own
//! code: both accept the same ones, with the same contents.
//!
//! Two differences are intended, and counted: keys that are not in their canonical encoding, and
//! transactions whose id does not have 32 bytes, which the reference queues and fails on later.

use crate::environment::Environment;
use crate::reference::Process;
use crate::suite::{Outcome, ensure};
use astreum_core::atom::{Atom, AtomId, AtomKind, bytes_list};
use astreum_core::crypto::{PublicKey, SecretKey, SharedKey};
use astreum_core::wire::message::{Body, Message, Topic};
use astreum_core::wire::object::{
    Action, Answer, Contact, Found, PayloadType, Request, Response, write_found_atom,
    write_found_list,
};
use astreum_core::wire::packet::{Draft, Packet};
use astreum_core::wire::ping::Ping;
use astreum_core::wire::route_message::{AddressFamily, RouteTable, decode_entries};
use astreum_node::rpc::hex;
use astreum_tests::random::Random;
use core::num::NonZeroU8;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DATAGRAMS: usize = 100_000;
/// Number of datagrams of one request, and number of requests in flight.
const BATCH: usize = 100;
const WINDOW: usize = 4;
const SENDERS: u8 = 32;
const TARGET: [u8; 32] = [0x42; 32];

pub(crate) fn datagrams(environment: &Environment) -> Outcome {
    let mut reference = Process::start(environment, &["answers"])?;
    let mut world = World::new();
    let mut random = Random::new(7);
    let (mut counts, mut meant) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..DATAGRAMS / BATCH / WINDOW {
        let mut sent = Vec::new();
        for id in 0..WINDOW {
            let packets: Vec<Vec<u8>> = (0..BATCH).map(|_| world.datagram(&mut random)).collect();
            let as_hex: Vec<String> = packets.iter().map(|packet| hex(packet)).collect();
            let input = json!({"secret": hex(&TARGET), "packets": as_hex});
            let request = json!({"id": id.to_string(), "op": "datagrams", "in": input});
            reference.send(&request.to_string())?;
            sent.push(packets);
        }
        for packets in sent {
            let reply = reference.receive()?;
            let theirs = reply["out"]["verdicts"].as_array();
            let theirs = theirs.ok_or_else(|| format!("no verdicts: {reply}"))?;
            ensure!(theirs.len() == packets.len(), "{} verdicts", theirs.len());
            for (packet, theirs) in packets.iter().zip(theirs) {
                let ours = world.read(packet).unwrap_or_default();
                if ours == *theirs {
                    let kind = ours[0].as_str().unwrap_or("refused").to_owned();
                    *counts.entry(kind).or_insert(0) += 1;
                    continue;
                }
                let class = meant_difference(packet, &ours, theirs);
                let class = class.ok_or_else(|| {
                    format!(
                        "{}\n    ours      {ours}\n    reference {theirs}",
                        hex(packet)
                    )
                })?;
                *meant.entry(class).or_insert(0) += 1;
            }
        }
    }
    println!("    {DATAGRAMS} datagrams, equal: {counts:?}; intended differences: {meant:?}");
    let refused = counts.get("refused").copied().unwrap_or(0);
    let kinds = counts.len();
    ensure!(
        kinds == 10,
        "{kinds} kinds were accepted or rejected: {counts:?}"
    );
    let taken = DATAGRAMS - refused;
    ensure!(taken > DATAGRAMS / 4, "only {taken} were accepted");
    ensure!(meant.len() == 2, "{meant:?}");
    Ok(())
}

/// Returns the intended reason why we refuse a datagram that the reference accepts, if any.
fn meant_difference(packet: &[u8], ours: &Value, theirs: &Value) -> Option<&'static str> {
    let message = Message::decode(Packet::decode(packet).ok()?.message()).ok()?;
    if !ours.is_null() {
        return None;
    }
    if !message.sender.is_canonical() {
        return Some("non-canonical key");
    }
    let content = theirs[3].as_str().unwrap_or_default();
    (theirs[0] == "transaction" && content.len() != 64).then_some("id without 32 bytes")
}

struct World {
    target: SecretKey,
    senders: Vec<(PublicKey, SharedKey)>,
    shared: BTreeMap<[u8; 32], Option<SharedKey>>,
}

impl World {
    fn new() -> Self {
        let target = SecretKey::from_bytes(TARGET);
        let name = target.public_key();
        let senders = (1..=SENDERS).filter_map(|number| {
            let secret = SecretKey::from_bytes([number; 32]);
            Some((secret.public_key(), secret.agree(&name).ok()?))
        });
        Self {
            senders: senders.collect(),
            target,
            shared: BTreeMap::new(),
        }
    }

    /// Returns the content that we read from a datagram; `None` if it is refused.
    fn read(&mut self, packet: &[u8]) -> Option<Value> {
        let packet = Packet::decode(packet).ok()?;
        packet.check_work(1).ok()?;
        let message = Message::decode(packet.message()).ok()?;
        let sender = hex(message.sender.as_bytes());
        let port = message.port?;
        if !message.sender.is_canonical() {
            return None;
        }
        let target = &self.target;
        let key = *message.sender.as_bytes();
        let agree = || target.agree(&message.sender).ok();
        let shared = self.shared.entry(key).or_insert_with(agree).as_ref()?;
        let mut opened = Vec::new();
        let (topic, content) = match message.body {
            Body::Handshake(payload) => {
                return Some(json!(["handshake", sender, port, hex(payload)]));
            }
            Body::Sealed(sealed) => sealed.open(shared, &mut opened).ok()?,
        };
        Some(match topic {
            Topic::Ping => {
                let ping = Ping::decode(content).ok()?;
                let head = ping.latest_block.map(|id| hex(id.as_bytes()));
                json!([
                    "ping",
                    sender,
                    port,
                    ping.is_validator,
                    ping.difficulty,
                    head
                ])
            }
            Topic::ObjectRequest => {
                let request = Request::decode(content).ok()?;
                let (code, kind) = match request.action {
                    Action::Get(kind) => (0, kind),
                    Action::Put(kind) => (1, Some(kind)),
                };
                let (id, kind) = (hex(request.atom_id.as_bytes()), kind.map(PayloadType::code));
                json!(["request", sender, port, code, id, kind, hex(request.data)])
            }
            Topic::ObjectResponse => {
                let response = Response::decode(content).ok()?;
                let id = hex(response.atom_id.as_bytes());
                match response.answer {
                    Answer::Found => {
                        let found = Found::decode(&response.atom_id, response.data).ok()?;
                        let atoms = found.atoms().iter();
                        let atoms: Vec<_> =
                            atoms.map(|hashed| hex(&hashed.atom().to_bytes())).collect();
                        json!(["found", sender, port, id, atoms])
                    }
                    Answer::Provider => {
                        let contact = Contact::decode(response.data).ok()?;
                        let (ip, at) = (contact.address.ip(), contact.address.port());
                        let key = hex(contact.public_key.as_bytes());
                        json!(["provider", sender, port, id, key, ip.to_string(), at])
                    }
                    Answer::Nearest => json!(["nearest", sender, port, id]),
                }
            }
            Topic::RouteRequest => {
                let table = RouteTable::decode(content).ok()?;
                json!(["route request", sender, port, table.encode()[0]])
            }
            Topic::RouteResponse => {
                let entries = decode_entries(content, AddressFamily::V4).ok()?;
                let entries: Vec<_> = entries.map(|entry| entry.to_string()).collect();
                if entries.is_empty() {
                    return None;
                }
                json!(["routes", sender, port, entries])
            }
            Topic::Transaction => {
                let id = AtomId::from_slice(content)?;
                json!(["transaction", sender, port, hex(id.as_bytes())])
            }
        })
    }

    fn datagram(&self, random: &mut Random) -> Vec<u8> {
        let mut message = match random.below(12) {
            0 => {
                let len = random.below(150);
                random.bytes(len)
            }
            1 => {
                let (sender, _) = &self.senders[random.below(self.senders.len())];
                let len = random.below(4);
                header(random, 1, sender.as_bytes(), &random.clone().bytes(len))
            }
            _ => self.sealed(random),
        };
        if random.below(8) == 0 {
            spoil(random, &mut message);
        }
        let mut packet = Vec::new();
        let mut draft = Draft::new(&mut packet);
        draft.message_mut().extend_from_slice(&message);
        if random.below(12) > 0 {
            draft.work(1);
        }
        if random.below(40) == 0 {
            packet.truncate(random.below(12));
        }
        packet
    }

    fn sealed(&self, random: &mut Random) -> Vec<u8> {
        let (sender, shared) = &self.senders[random.below(self.senders.len())];
        let (topic, mut content) = content(random);
        if random.below(3) == 0 {
            spoil(random, &mut content);
        }
        let code = match random.below(12) {
            0 => u8::try_from(random.below(9)).unwrap_or_default(),
            _ => topic.code(),
        };
        let mut text = vec![code];
        text.extend(content);
        if random.below(200) == 0 {
            text.clear();
        }
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&random.bytes(12));
        let mut rest = nonce.to_vec();
        let tag = shared.seal(&nonce, &mut text);
        rest.extend(text);
        rest.extend(tag.unwrap_or_default());
        let flag = random.one_of(&[0, 0, 0, 0, 2, 255]);
        let mut name = *sender.as_bytes();
        if random.below(50) == 0 {
            // The same point in another encoding.
            name[31] |= 0x80;
        }
        header(random, flag, &name, &rest)
    }
}

fn header(random: &mut Random, flag: u8, sender: &[u8; 32], rest: &[u8]) -> Vec<u8> {
    let port = match random.below(30) {
        0 => 0,
        _ => u16::try_from(1 + random.below(65_535)).unwrap_or(1),
    };
    let mut message = vec![flag];
    message.extend(sender);
    message.extend(port.to_be_bytes());
    message.extend(rest);
    message
}

/// Truncates, extends or overwrites the bytes, flips a bit, or writes a small number.
fn spoil(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len().max(1));
    match random.below(5) {
        0 => bytes.truncate(at),
        1 => {
            let len = random.below(40);
            bytes.extend(random.bytes(len));
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        3 => {
            let at = random.one_of(&[0, 1, 32, 33, 34, 35, at]);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(random.below(4)).unwrap_or_default();
            }
        }
        _ => {
            let len = random.below(120);
            *bytes = random.bytes(len);
        }
    }
}

fn id(random: &mut Random) -> AtomId {
    AtomId::from_slice(&random.bytes(32)).unwrap_or(AtomId::ZERO)
}

/// Generates well-formed content.
fn content(random: &mut Random) -> (Topic, Vec<u8>) {
    let mut out = Vec::new();
    let topic = random.one_of(&Topic::ALL);
    match topic {
        Topic::Ping => {
            let ping = Ping {
                is_validator: random.below(2) == 0,
                difficulty: NonZeroU8::new(random.bytes(1)[0]).unwrap_or(NonZeroU8::MIN),
                latest_block: (random.below(2) == 0).then(|| id(random)),
            };
            out.extend(ping.encode());
        }
        Topic::ObjectRequest => {
            let kind = PayloadType::new(u8::try_from(random.below(4)).unwrap_or_default());
            let action = match random.below(3) {
                0 => Action::Get(None),
                1 => Action::Get(Some(kind)),
                _ => Action::Put(kind),
            };
            let len = random.one_of(&[0, 0, 38, 50]);
            // Without a kind, the following bytes would be read as one.
            let data = if action == Action::Get(None) {
                Vec::new()
            } else {
                random.bytes(len)
            };
            Request {
                action,
                atom_id: id(random),
                data: &data,
            }
            .write(&mut out);
        }
        Topic::ObjectResponse => response(random, &mut out),
        Topic::RouteRequest => out.push(u8::try_from(random.below(2)).unwrap_or_default()),
        Topic::RouteResponse => {
            let count = random.below(20);
            out = random.bytes(count * 6);
        }
        Topic::Transaction => out = random.bytes(32),
    }
    (topic, out)
}

fn response(random: &mut Random, out: &mut Vec<u8>) {
    let (answer, atom_id, data) = match random.below(4) {
        0 => {
            let kind = random.one_of(&[AtomKind::Symbol, AtomKind::Bytes, AtomKind::List]);
            let len = random.below(80);
            let atom = Atom::new(kind, random.bytes(len), id(random));
            let mut data = Vec::new();
            write_found_atom(&mut data, &atom);
            (Answer::Found, atom.id(), data)
        }
        1 => {
            let len = 1 + random.below(5);
            let values: Vec<Vec<u8>> = (0..len).map(|len| random.bytes(len * 7)).collect();
            let (head, atoms) = bytes_list(&values);
            let mut data = Vec::new();
            let _ = write_found_list(&mut data, &atoms);
            (Answer::Found, head, data)
        }
        2 => (Answer::Provider, id(random), random.bytes(38)),
        _ => {
            let len = random.below(50);
            (Answer::Nearest, id(random), random.bytes(len))
        }
    };
    Response {
        answer,
        atom_id,
        data: &data,
    }
    .write(out);
}
