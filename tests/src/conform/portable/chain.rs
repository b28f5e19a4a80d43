//! Operations `transaction`, `receipt`, `account`, `block`, `block_nonce`, `block_difficulty`,
//! `genesis`, `validator`.
//!
//! Records that a node never makes, such as a block without a timestamp, are answered too, because
//! the reference encodes them.

use super::fields::{Fields, hex, hex_of};
use super::{OpError, OpTable};
use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use astreum_core::atom::{Atom, AtomId, AtomKind, MemoryStore};
use astreum_core::chain::{
    Account, Address, Genesis, Header, ProposerSchedule, Receipt, RecordAtoms, StakeTable, Stakes,
    Status, Unsigned, difficulty, signed_atoms, unsigned_nonce,
};
use astreum_core::crypto::{Signature, SigningKey};
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;
use serde_json::{Value, json};

pub(super) const OPS: OpTable = &[
    ("transaction", transaction),
    ("receipt", receipt),
    ("account", account),
    ("block", block),
    ("block_nonce", block_nonce),
    ("block_difficulty", block_difficulty),
    ("genesis", genesis),
    ("validator", validator),
];

/// Maximum number of nonces that `block_nonce` tries before it fails.
const MAX_ATTEMPTS: u64 = 1 << 32;
/// Maximum number of slots of `validator`.
const MAX_SLOTS: u64 = 1 << 20;

/// Names of a block's fields before the nonce, in the order of the body; `true` marks integers.
const BLOCK_FIELDS: [(&str, bool); 14] = [
    ("chain_id", true),
    ("height", true),
    ("previous_block_hash", false),
    ("timestamp", true),
    ("difficulty", true),
    ("cumulative_stake", true),
    ("cumulative_burn", true),
    ("cumulative_mint", true),
    ("cumulative_total_fees", true),
    ("total_fees", true),
    ("accounts_hash", false),
    ("transactions_hash", false),
    ("receipts_hash", false),
    ("validator_public_key", false),
];

fn natural(fields: &Fields<'_>, name: &str) -> Result<Natural, OpError> {
    fields.text(name)?.parse().map_err(OpError::new)
}

fn optional_natural(fields: &Fields<'_>, name: &str) -> Result<Option<Natural>, OpError> {
    fields.optional(name, natural)
}

fn hexes<'a>(atoms: impl IntoIterator<Item = &'a Atom>) -> Vec<String> {
    atoms.into_iter().map(|atom| hex(atom.to_bytes())).collect()
}

fn of_record((id, atoms): (AtomId, RecordAtoms)) -> String {
    let atoms = hexes(atoms.iter().map(|(_, atom)| atom));
    json!({ "id": hex(id), "atoms": atoms }).to_string()
}

/// Returns the answer for a signed record, with the fields of `more` added.
fn of_signed(id: AtomId, atoms: &RecordAtoms, more: Value) -> String {
    let mut out = more;
    if let Value::Object(out) = &mut out {
        let atoms = hexes(atoms.iter().map(|(_, atom)| atom));
        out.insert("id".to_owned(), json!(hex(id)));
        out.insert("atoms".to_owned(), json!(atoms));
    }
    out.to_string()
}

/// Answers `transaction`. A recipient of another length than an address has no typed form.
fn transaction(fields: &Fields<'_>) -> Result<String, OpError> {
    let key = SigningKey::from_seed(&fields.hex_array("secret")?);
    let sender = Address::from(key.verifying_key());
    let chain_id = natural(fields, "chain_id")?;
    let amount = natural(fields, "amount")?;
    let counter = natural(fields, "counter")?;
    let (data, recipient) = (fields.hex("data")?, fields.hex("recipient")?);
    let (id, body_hash, signature, atoms) = match Address::from_slice(&recipient) {
        Some(recipient) => {
            let data = data.as_slice().into();
            let content = Unsigned {
                chain_id,
                amount,
                counter,
                data,
                recipient,
            };
            let made = content.sign(&key);
            made.verify_signature().map_err(OpError::new)?;
            (
                made.id(),
                made.body_hash(),
                *made.signature(),
                made.to_atoms(),
            )
        }
        None => {
            let body: [&[u8]; 6] = [
                &chain_id.to_bytes_le(),
                &amount.to_bytes_le(),
                &counter.to_bytes_le(),
                &data,
                &recipient,
                sender.as_bytes(),
            ];
            let body_hash = signed_atoms("transaction", &body, &[]).body_head;
            let signature = key.sign(body_hash.as_bytes());
            let made = signed_atoms("transaction", &body, signature.as_bytes());
            (made.id, body_hash, signature, made.atoms)
        }
    };
    let more = json!({
        "sender": hex(sender),
        "body_hash": hex(body_hash),
        "signature": hex(signature.as_bytes()),
    });
    Ok(of_signed(id, &atoms, more))
}

fn receipt(fields: &Fields<'_>) -> Result<String, OpError> {
    let status = Status::from_code(fields.number("status")?);
    let receipt = Receipt {
        transaction: fields.id("transaction_hash")?,
        status: status.ok_or_else(|| OpError::new("the status is neither 0 nor 1"))?,
        cost: natural(fields, "cost")?,
        logs: fields.id("logs_hash")?,
    };
    Ok(of_record(receipt.to_atoms()))
}

/// Answers `account`. Roots and code of another length than an id have no typed form.
fn account(fields: &Fields<'_>) -> Result<String, OpError> {
    let (balance, counter) = (natural(fields, "balance")?, natural(fields, "counter")?);
    let links = [
        fields.hex("code_hash")?,
        fields.hex("data_hash")?,
        fields.hex("channels_hash")?,
    ];
    let [Some(code), Some(data), Some(channels)] =
        links.each_ref().map(|id| AtomId::from_slice(id))
    else {
        let [code, data, channels] = links;
        let mut atoms = RecordAtoms::new();
        for (kind, data) in [
            (AtomKind::List, data),
            (AtomKind::Bytes, counter.to_bytes_le()),
            (AtomKind::List, code),
            (AtomKind::List, channels),
            (AtomKind::Bytes, balance.to_bytes_le()),
            (AtomKind::Symbol, b"account".to_vec()),
        ] {
            let next = atoms.last().map_or(AtomId::ZERO, |(id, _)| *id);
            let atom = Atom::new(kind, data, next);
            atoms.push((atom.id(), atom));
        }
        let id = atoms.last().map_or(AtomId::ZERO, |(id, _)| *id);
        return Ok(of_record((id, atoms)));
    };
    let account = Account {
        balance,
        counter,
        code,
        data,
        channels,
    };
    Ok(of_record(account.to_atoms()))
}

/// Returns the header in typed form, if every field is present and valid.
fn typed_header(fields: &Fields<'_>) -> Option<Header> {
    let integer = |name| natural(fields, name).ok();
    let id = |name| fields.id(name).ok();
    Some(Header {
        chain_id: integer("chain_id")?,
        height: integer("height")?,
        previous: id("previous_block_hash")?,
        timestamp: integer("timestamp")?,
        difficulty: integer("difficulty")?,
        cumulative_stake: integer("cumulative_stake")?,
        cumulative_burn: integer("cumulative_burn")?,
        cumulative_mint: integer("cumulative_mint")?,
        cumulative_total_fees: integer("cumulative_total_fees")?,
        total_fees: integer("total_fees")?,
        accounts: id("accounts_hash")?,
        transactions: id("transactions_hash")?,
        receipts: id("receipts_hash")?,
        validator: Address::new(fields.hex_array("validator_public_key").ok()?),
        nonce: integer("nonce")?,
    })
}

/// Returns the fourteen fields before the nonce as bytes; null becomes empty.
fn raw_fields(fields: &Fields<'_>) -> Result<Vec<Vec<u8>>, OpError> {
    let read = |(name, is_integer): (&str, bool)| {
        Ok(if is_integer {
            optional_natural(fields, name)?.map(|value| value.to_bytes_be())
        } else {
            fields.optional(name, Fields::hex)?
        }
        .unwrap_or_default())
    };
    BLOCK_FIELDS.into_iter().map(read).collect()
}

fn block(fields: &Fields<'_>) -> Result<String, OpError> {
    let header = fields.object("header")?;
    let signature = fields
        .optional("signature", Fields::hex)?
        .unwrap_or_default();
    let typed_signature = match signature.as_slice() {
        [] => Some(None),
        bytes => Signature::from_slice(bytes).map(Some),
    };
    let (id, body_hash, atoms) = match typed_header(&header).zip(typed_signature) {
        Some((header, signature)) => {
            let block = header.signed(signature);
            (block.id(), block.body_hash(), block.to_atoms())
        }
        None => {
            let mut body = raw_fields(&header)?;
            let nonce = optional_natural(&header, "nonce")?;
            body.push(nonce.map(|nonce| nonce.to_bytes_be()).unwrap_or_default());
            let body: Vec<&[u8]> = body.iter().map(Vec::as_slice).collect();
            let made = signed_atoms("block", &body, &signature);
            (made.id, made.body_list, made.atoms)
        }
    };
    Ok(of_signed(
        id,
        &atoms,
        json!({ "body_hash": hex(body_hash) }),
    ))
}

fn block_nonce(fields: &Fields<'_>) -> Result<String, OpError> {
    let header = fields.object("header")?;
    let signature = fields
        .optional("signature", Fields::hex)?
        .unwrap_or_default();
    let start = optional_natural(&header, "nonce")?.unwrap_or_default();
    let target = u64::try_from(fields.int("target")?).unwrap_or(0);
    let body = raw_fields(&header)?;
    let body: Vec<&[u8]> = body.iter().map(Vec::as_slice).collect();
    let body = body.as_slice().try_into().map_err(OpError::new)?;
    let work = target.into();
    unsigned_nonce(body, &signature, start, work, MAX_ATTEMPTS, &mut Scalar)
        .map(|(nonce, id)| json!({ "nonce": nonce.to_string(), "id": hex(id) }).to_string())
        .ok_or_else(|| OpError(format!("no valid nonce within {MAX_ATTEMPTS} attempts")))
}

/// Answers `block_difficulty`. If one of the timestamps is missing, the difficulty does not change.
fn block_difficulty(fields: &Fields<'_>) -> Result<String, OpError> {
    let previous = optional_natural(fields, "previous_difficulty")?.unwrap_or_default();
    let times =
        optional_natural(fields, "previous_timestamp")?.zip(optional_natural(fields, "timestamp")?);
    let next = match times {
        Some((before, now)) => difficulty(&before, &now, &previous),
        None => previous.max(Natural::ONE),
    };
    Ok(json!({ "difficulty": next.to_string() }).to_string())
}

fn genesis(fields: &Fields<'_>) -> Result<String, OpError> {
    let genesis = Genesis::reference(
        Address::new(fields.hex_array("validator_public_key")?),
        natural(fields, "chain_id")?,
        natural(fields, "timestamp")?,
    );
    let block = genesis.build(&mut Scalar, &mut MemoryStore::new());
    let block = block.map_err(OpError::new)?;
    Ok(json!({ "id": hex(block.id()), "accounts_hash": hex(block.accounts) }).to_string())
}

fn validator(fields: &Fields<'_>) -> Result<String, OpError> {
    let mut stakes = Stakes::new();
    for pair in fields.list_of("stakes", "pairs", Value::as_array)? {
        let [owner, stake] = pair.as_slice() else {
            return Err(OpError::new("a stake is not an owner and an amount"));
        };
        let owner = hex_of(owner).and_then(|owner| Address::from_slice(&owner));
        let owner = owner.ok_or_else(|| OpError::new("a stake's owner is not 32 bytes in hex"))?;
        let stake = stake.as_str().unwrap_or_default();
        stakes.insert(owner, stake.parse().map_err(OpError::new)?);
    }
    let slots: u64 = u64::try_from(fields.int("slots")?).map_err(OpError::new)?;
    if slots > MAX_SLOTS {
        return Err(OpError(format!("more than {MAX_SLOTS} slots")));
    }
    let stakes = StakeTable::from(&stakes);
    let mut schedule =
        ProposerSchedule::new(&stakes, fields.id("block_hash")?).map_err(OpError::new)?;
    let sequence = (0..slots).map(|_| hex(schedule.next_validator()));
    Ok(json!({ "sequence": sequence.collect::<Vec<_>>() }).to_string())
}
