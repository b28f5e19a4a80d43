//! Command `astreum keys`.

use std::io::Write as _;

use serde_json::json;

use crate::config::Secret;
use crate::key_file::{KeyKind, create_file, generate, read_file};
use crate::rpc::hex;

use super::args::{GenerateKeyArgs, KeysArgs, KeysCommand, ShowKeyArgs};
use super::output::{Failure, Output, complain, json_line};
use super::table::table;

pub(super) fn keys(args: KeysArgs, out: &mut Output) -> Result<(), Failure> {
    super::forbid_core_dumps();
    match args.command {
        KeysCommand::Generate(args) => generate_file(&args, out),
        KeysCommand::Show(args) => show(&args, out),
    }
}

fn generate_file(args: &GenerateKeyArgs, out: &mut Output) -> Result<(), Failure> {
    let kind = KeyKind::from(args.kind);
    let secret = generate().map_err(Failure::failed)?;
    create_file(&args.file, kind, &secret).map_err(Failure::failed)?;
    let public_key = hex(&kind.public_key(&secret));
    if args.json {
        let file = args.file.display().to_string();
        let value = json!({"kind": kind.name(), "public_key": public_key, "file": file});
        return json_line(out, &value);
    }
    writeln!(out, "{public_key}")?;
    if kind == KeyKind::Relay {
        complain(
            "note: this is the public half of a relay key (X25519), not an account; use --kind \
             account to create an account key",
        );
    }
    Ok(())
}

fn show(args: &ShowKeyArgs, out: &mut Output) -> Result<(), Failure> {
    let file = read_file(&args.file).map_err(Failure::failed)?;
    let name = args.file.display();
    let kind = args.kind.map(KeyKind::from);
    if let (Some(kind), Some(stated)) = (kind, file.kind)
        && kind != stated
    {
        complain(&format!(
            "warning: {name} is a {stated}; the output treats its secret as a {kind}"
        ));
    }
    let public_key = |kind: KeyKind| hex(&kind.public_key(&file.secret));
    if args.json {
        let kind = kind.or(file.kind);
        return json_line(
            out,
            &json!({
                "kind": kind.map(KeyKind::name),
                "public_key": kind.map(public_key),
                "file_kind": file.kind.map(KeyKind::name),
                "relay_public_key": public_key(KeyKind::Relay),
                "account": public_key(KeyKind::Validation),
                "file": name.to_string(),
            }),
        );
    }
    if let Some(kind) = kind {
        return Ok(writeln!(out, "{}", public_key(kind))?);
    }
    Ok(write!(out, "{}", halves(file.kind, &file.secret))?)
}

/// Lists all public halves of a secret with their labels. A half of another kind than the file
/// states is marked as unused.
fn halves(stated: Option<KeyKind>, secret: &Secret) -> String {
    let half = |kind: KeyKind| {
        let public_key = hex(&kind.public_key(secret));
        match stated {
            Some(stated) if stated != kind => {
                format!("{public_key} (unused: the file is a {stated})")
            }
            _ => public_key,
        }
    };
    let kind = match stated {
        Some(kind) => kind.to_string(),
        None => "not stated in the file".to_owned(),
    };
    table(&[
        ("kind", kind),
        ("relay X25519", half(KeyKind::Relay)),
        ("account Ed25519", half(KeyKind::Validation)),
    ])
}
