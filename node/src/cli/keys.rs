//! `astreum keys`.

use std::io::Write as _;

use serde_json::json;

use crate::control::hex;
use crate::keys::{KeyKind, create_file, generate, read_file};

use super::args::{KeyFileArgs, KeyKindArg, KeysArgs, KeysCommand};
use super::output::{Failure, Output, json_line};

pub(super) fn keys(args: KeysArgs, out: &mut Output) -> Result<(), Failure> {
    super::forbid_core_dumps();
    let (args, secret) = match args.command {
        KeysCommand::Generate(args) => {
            let secret = generate().map_err(Failure::failed)?;
            create_file(&args.file, &secret).map_err(Failure::failed)?;
            (args, secret)
        }
        KeysCommand::Show(args) => {
            let secret = read_file(&args.file).map_err(Failure::failed)?;
            (args, secret)
        }
    };
    let KeyFileArgs { file, kind, json } = args;
    let kind = match kind {
        KeyKindArg::Relay => KeyKind::Relay,
        KeyKindArg::Validation => KeyKind::Validation,
    };
    let public_key = hex(&kind.public_key(&secret));
    if !json {
        return Ok(writeln!(out, "{public_key}")?);
    }
    let file = file.display().to_string();
    json_line(
        out,
        &json!({"kind": kind.name(), "public_key": public_key, "file": file}),
    )
}
