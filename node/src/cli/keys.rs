//! Command `astreum keys`.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::config::{Secret, Settings};
use crate::key_file::{
    KeyFile, KeyFileSummary, KeyFormat, KeyKind, PassphraseError, PassphraseSource, ask_secret,
    configured_file, create_file, generate, read_file, read_key, summary,
};
use crate::rpc::hex;

use super::key_args::{
    ExportKeyArgs, FormatArg, GenerateKeyArgs, ImportKeyArgs, KeyKindArg, KeysArgs, KeysCommand,
    ProtectArgs, RotateKeyArgs, ShowKeyArgs,
};
use super::output::{Failure, Output, complain, json_line};
use super::path_arg::PathArg;
use super::table::table;

/// Maximum bytes of a key that is imported from stdin.
const MAX_STDIN_BYTES: u64 = 4096;

pub(super) fn keys(args: KeysArgs, out: &mut Output) -> Result<(), Failure> {
    super::forbid_core_dumps();
    match args.command {
        None => {
            let loaded = args.run.load()?;
            list(&loaded.settings, args.json, out)
        }
        Some(KeysCommand::Generate(args)) => generate_file(&args, out),
        Some(KeysCommand::Show(args)) => show(&args, out),
        Some(KeysCommand::Import(args)) => import(&args, out),
        Some(KeysCommand::Export(args)) => export(&args, out),
        Some(KeysCommand::Rotate(args)) => rotate(&args, out),
    }
}

/// Returns what a key of this kind is for.
const fn purpose(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Relay => "identity of a node towards its peers, and encryption of its messages",
        KeyKind::Validation => "blocks of a validator; transactions of the account of that name",
    }
}

/// Configured key.
struct Configured {
    kind: KeyKind,
    /// Place of the key, and its consequence.
    place: String,
    source: &'static str,
    file: Option<String>,
    summary: Option<Result<KeyFileSummary, String>>,
}

impl Configured {
    fn read(settings: &Settings, kind: KeyKind) -> Self {
        let (secret, key) = match kind {
            KeyKind::Relay => (&settings.relay_secret_key, "relay_secret_key"),
            KeyKind::Validation => (&settings.validation_secret_key, "validation_secret_key"),
        };
        if let Some(path) = configured_file(settings, kind) {
            let file = path.display().to_string();
            return Self {
                kind,
                place: file.clone(),
                source: "file",
                file: Some(file),
                summary: Some(summary(path).map_err(|error| error.to_string())),
            };
        }
        if kind == KeyKind::Validation
            && let Some(socket) = &settings.validation_signer
        {
            return Self {
                kind,
                place: format!("the signer at {}", socket.display()),
                source: "signer",
                file: None,
                summary: Some(Ok(KeyFileSummary {
                    kind: Some(kind),
                    // Not for this node to know.
                    is_protected: false,
                    public_key: settings.validation_public_key.map(|key| *key.as_bytes()),
                })),
            };
        }
        let (place, source, summary) = match secret {
            Some(secret) => {
                let summary = KeyFileSummary {
                    kind: Some(kind),
                    is_protected: false,
                    public_key: Some(kind.public_key(secret)),
                };
                let place = format!("the value of {key} itself; a file is safer");
                (place, "value", Some(Ok(summary)))
            }
            None => {
                let place = match kind {
                    KeyKind::Relay => "none: each start of the node generates one",
                    KeyKind::Validation => "none: the node does not validate",
                };
                (place.to_owned(), "none", None)
            }
        };
        Self {
            kind,
            place,
            source,
            file: None,
            summary,
        }
    }

    fn text(&self) -> String {
        let mut rows = vec![
            ("key", self.kind.to_string()),
            ("use", purpose(self.kind).to_owned()),
            ("place", self.place.clone()),
        ];
        match &self.summary {
            None => {}
            Some(Err(problem)) => rows.push(("problem", problem.clone())),
            Some(Ok(summary)) => {
                if self.source != "signer" {
                    rows.push(("protection", protection(summary.is_protected).to_owned()));
                }
                let public_key = match summary.public_key {
                    Some(public_key) => hex(&public_key),
                    None => "not stated in the file".to_owned(),
                };
                rows.push(("public key", public_key));
            }
        }
        table(&rows)
    }

    fn json(&self) -> Value {
        let summary = self.summary.as_ref().and_then(|it| it.as_ref().ok());
        json!({
            "kind": self.kind.name(),
            "use": purpose(self.kind),
            "source": self.source,
            "file": self.file,
            "protected": summary
                .filter(|_| self.source != "signer")
                .map(|summary| summary.is_protected),
            "public_key": summary.and_then(|it| it.public_key).map(|key| hex(&key)),
            "problem": self.problem(),
        })
    }

    fn problem(&self) -> Option<&str> {
        self.summary.as_ref()?.as_ref().err().map(String::as_str)
    }
}

const fn protection(is_protected: bool) -> &'static str {
    match is_protected {
        true => "passphrase",
        false => "none",
    }
}

/// Lists the configured keys. No passphrase is needed.
fn list(settings: &Settings, as_json: bool, out: &mut Output) -> Result<(), Failure> {
    let kinds = [KeyKind::Relay, KeyKind::Validation];
    let keys = kinds.map(|kind| Configured::read(settings, kind));
    let passphrase_file = settings.key_passphrase_file.as_ref();
    let passphrase_file = passphrase_file.map(|path| path.display().to_string());
    if as_json {
        let keys: Vec<Value> = keys.iter().map(Configured::json).collect();
        json_line(
            out,
            &json!({"keys": keys, "passphrase_file": passphrase_file}),
        )?;
    } else {
        let texts: Vec<String> = keys.iter().map(Configured::text).collect();
        write!(out, "{}", texts.join("\n"))?;
        let is_protected = |key: &Configured| {
            let summary = key.summary.as_ref().and_then(|it| it.as_ref().ok());
            summary.is_some_and(|summary| summary.is_protected)
        };
        if keys.iter().any(is_protected) {
            let place = passphrase_file.unwrap_or_else(|| {
                "asked for on the terminal; a service needs key_passphrase_file".to_owned()
            });
            write!(out, "\n{}", table(&[("passphrase", place)]))?;
        }
    }
    match keys.iter().any(|key| key.problem().is_some()) {
        true => Err(Failure::Reported),
        false => Ok(()),
    }
}

/// Refuses `-` as the path of a new key file: a secret is not written to stdout, and a file of that
/// name would surprise.
fn check_new(file: &PathArg) -> Result<(), Failure> {
    match file.is_stdin() {
        true => Err(Failure::Usage(
            "invalid value \"-\" for the new key file: a key is not written to stdout; give the path \
             of a file"
                .to_owned(),
        )),
        false => Ok(()),
    }
}

/// Returns the form of a new key file.
fn format_of(args: &ProtectArgs, path: &Path) -> Result<KeyFormat, Failure> {
    args.source().map_or(Ok(KeyFormat::Plain), |source| {
        protected_format(&source, args.work_factor, path)
    })
}

fn protected_format(
    source: &PassphraseSource,
    work_factor: u8,
    path: &Path,
) -> Result<KeyFormat, Failure> {
    if path.symlink_metadata().is_ok() {
        // Before a passphrase is typed twice for nothing.
        let message = format!("refusing to overwrite {}: the file exists", path.display());
        return Err(Failure::Failed(message));
    }
    let passphrase = source.new_passphrase(path);
    let passphrase = passphrase.map_err(|error| {
        let path = path.display();
        Failure::Failed(match error {
            PassphraseError::Missing => format!(
                "missing passphrase for {path}: give --new-passphrase-file FILE or \
                 --new-passphrase-fd N, or run the command in a terminal"
            ),
            error => format!("passphrase for {path}: {error}"),
        })
    })?;
    Ok(KeyFormat::Protected {
        passphrase,
        work_factor,
    })
}

fn generate_file(args: &GenerateKeyArgs, out: &mut Output) -> Result<(), Failure> {
    check_new(&args.file)?;
    let kind = KeyKind::from(args.kind);
    let secret = generate().map_err(Failure::failed)?;
    let format = format_of(&args.protect, &args.file)?;
    create_file(&args.file, kind, &secret, &format).map_err(Failure::failed)?;
    created(&args.file, kind, &secret, &format, args.json, out)?;
    if kind == KeyKind::Relay && !args.json {
        complain(
            "note: this is the public half of a relay key (X25519), not an account; use --kind \
             account to create an account key",
        );
    }
    Ok(())
}

/// Prints the public half of a key in a new file.
fn created(
    file: &Path,
    kind: KeyKind,
    secret: &Secret,
    format: &KeyFormat,
    as_json: bool,
    out: &mut Output,
) -> Result<(), Failure> {
    let public_key = hex(&kind.public_key(secret));
    if !as_json {
        return Ok(writeln!(out, "{public_key}")?);
    }
    let value = json!({
        "kind": kind.name(),
        "public_key": public_key,
        "file": file.display().to_string(),
        "protected": matches!(format, KeyFormat::Protected { .. }),
    });
    json_line(out, &value)
}

fn show(args: &ShowKeyArgs, out: &mut Output) -> Result<(), Failure> {
    let summary = summary(&args.file).map_err(Failure::failed)?;
    let name = args.file.display();
    let kind = args.kind.map(KeyKind::from);
    if let (Some(kind), Some(stated)) = (kind, summary.kind)
        && kind != stated
    {
        complain(&format!(
            "warning: {name} is a {stated}; the output treats its secret as a {kind}"
        ));
    }
    let stated = summary.kind.zip(summary.public_key);
    // The stated half of a protected file is shown without its passphrase.
    let needs_secret = match kind {
        Some(kind) => stated.is_none_or(|(stated, _)| stated != kind),
        None => stated.is_none(),
    };
    let secret = if needs_secret || !summary.is_protected {
        let passphrases = args.passphrase.or_terminal();
        let file = read_file(&args.file, &passphrases).map_err(Failure::failed)?;
        Some(file)
    } else {
        None
    };
    let file_kind = secret.as_ref().map_or(summary.kind, |file| file.kind);
    let public_key = |kind: KeyKind| match &secret {
        Some(file) => Some(hex(&kind.public_key(&file.secret))),
        None => stated
            .filter(|(stated, _)| *stated == kind)
            .map(|(_, public_key)| hex(&public_key)),
    };
    if args.json {
        let kind = kind.or(file_kind);
        return json_line(
            out,
            &json!({
                "kind": kind.map(KeyKind::name),
                "public_key": kind.and_then(public_key),
                "file_kind": file_kind.map(KeyKind::name),
                "relay_public_key": public_key(KeyKind::Relay),
                "account": public_key(KeyKind::Validation),
                "protected": summary.is_protected,
                "use": file_kind.map(purpose),
                "file": name.to_string(),
            }),
        );
    }
    if let Some(public_key) = kind.and_then(public_key) {
        return Ok(writeln!(out, "{public_key}")?);
    }
    let half = |kind: KeyKind| match (public_key(kind), file_kind) {
        (None, _) => "not shown without the passphrase".to_owned(),
        (Some(public_key), Some(stated)) if stated != kind => {
            format!("{public_key} (unused: the file is a {stated})")
        }
        (Some(public_key), _) => public_key,
    };
    let kind = match file_kind {
        Some(kind) => kind.to_string(),
        None => "not stated in the file".to_owned(),
    };
    let mut rows = vec![
        ("kind", kind),
        ("relay X25519", half(KeyKind::Relay)),
        ("account Ed25519", half(KeyKind::Validation)),
        ("protection", protection(summary.is_protected).to_owned()),
    ];
    rows.extend(file_kind.map(|kind| ("use", purpose(kind).to_owned())));
    Ok(write!(out, "{}", table(&rows))?)
}

/// Returns the kind of a key: the one that its file states, else the argument.
fn kind_of(name: &Path, file: &KeyFile, given: Option<KeyKindArg>) -> Result<KeyKind, Failure> {
    let name = name.display();
    match (file.kind, given.map(KeyKind::from)) {
        (Some(stated), Some(given)) if stated != given => Err(Failure::Usage(format!(
            "{name} is a {stated}, and --kind is {}; omit --kind",
            given.name()
        ))),
        (Some(kind), _) | (None, Some(kind)) => Ok(kind),
        (None, None) => Err(Failure::Usage(format!(
            "{name} does not state the kind of its key: give --kind relay or --kind account"
        ))),
    }
}

fn import(args: &ImportKeyArgs, out: &mut Output) -> Result<(), Failure> {
    check_new(&args.file)?;
    let passphrases = args.passphrase.or_terminal();
    let file = if args.source.is_stdin() {
        let bytes = key_from_stdin()?;
        read_key(Path::new("stdin"), &bytes, &passphrases)
    } else {
        read_file(&args.source, &passphrases)
    };
    let file = file.map_err(Failure::failed)?;
    let kind = kind_of(&args.source, &file, args.kind)?;
    let format = format_of(&args.protect, &args.file)?;
    create_file(&args.file, kind, &file.secret, &format).map_err(Failure::failed)?;
    created(&args.file, kind, &file.secret, &format, args.json, out)
}

fn key_from_stdin() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return ask_secret("Secret key (not shown): ").map_err(Failure::failed);
    }
    let capacity = usize::try_from(MAX_STDIN_BYTES).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    stdin
        .lock()
        .take(MAX_STDIN_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Failed(format!("stdin: {error}")))?;
    Ok(bytes)
}

fn export(args: &ExportKeyArgs, out: &mut Output) -> Result<(), Failure> {
    check_new(&args.to)?;
    let source = args.protect.source();
    if source.is_some() && args.format != FormatArg::Key {
        return Err(Failure::Usage(
            "only a key file can be protected: omit --format, or the passphrase of the new \
             file"
                .to_owned(),
        ));
    }
    let file = read_file(&args.file, &args.passphrase.or_terminal()).map_err(Failure::failed)?;
    let kind = kind_of(&args.file, &file, args.kind)?;
    let format = match args.format {
        FormatArg::Hex => KeyFormat::Hex,
        FormatArg::Pem => KeyFormat::Pem,
        FormatArg::Key => format_of(&args.protect, &args.to)?,
    };
    create_file(&args.to, kind, &file.secret, &format).map_err(Failure::failed)?;
    created(&args.to, kind, &file.secret, &format, args.json, out)?;
    if !matches!(format, KeyFormat::Protected { .. }) {
        complain(&format!(
            "note: {} holds the secret in plain text",
            args.to.display()
        ));
    }
    Ok(())
}

fn rotate(args: &RotateKeyArgs, out: &mut Output) -> Result<(), Failure> {
    let old = summary(&args.file).map_err(Failure::failed)?;
    let name = args.file.display();
    let kind = match (old.kind, args.kind.map(KeyKind::from)) {
        (Some(stated), Some(given)) if stated != given => {
            return Err(Failure::Usage(format!(
                "{name} is a {stated}, and --kind is {}; omit --kind",
                given.name()
            )));
        }
        (Some(kind), _) | (None, Some(kind)) => kind,
        (None, None) => {
            return Err(Failure::Usage(format!(
                "{name} does not state the kind of its key: give --kind relay or --kind account"
            )));
        }
    };
    let to = match &args.to {
        Some(to) => {
            check_new(to)?;
            to.to_path_buf()
        }
        None => {
            let mut to = args.file.as_os_str().to_owned();
            to.push(".new");
            to.into()
        }
    };
    // A successor is not less protected than the key that it replaces.
    let source = args.protect.source();
    let source = source.or_else(|| old.is_protected.then(PassphraseSource::terminal));
    let format = source.map_or(Ok(KeyFormat::Plain), |source| {
        protected_format(&source, args.protect.work_factor, &to)
    })?;
    let secret = generate().map_err(Failure::failed)?;
    create_file(&to, kind, &secret, &format).map_err(Failure::failed)?;
    let public_key = hex(&kind.public_key(&secret));
    let old_key = old.public_key.map(|key| hex(&key));
    let steps = steps(kind, &args.file, &to);
    if args.json {
        let value = json!({
            "kind": kind.name(),
            "public_key": public_key,
            "file": to.display().to_string(),
            "protected": matches!(format, KeyFormat::Protected { .. }),
            "old_public_key": old_key,
            "old_file": name.to_string(),
            "steps": steps,
        });
        return json_line(out, &value);
    }
    let rows = [
        (
            "old key",
            old_key.unwrap_or_else(|| "not stated".to_owned()),
        ),
        ("old file", format!("{name} (unchanged)")),
        ("new key", public_key),
        ("new file", to.display().to_string()),
    ];
    write!(
        out,
        "{}\nNothing uses the new key yet. Next:\n",
        table(&rows)
    )?;
    for (number, step) in (1..).zip(&steps) {
        writeln!(out, "{number}. {step}")?;
    }
    Ok(())
}

/// Returns the steps that take a new key into use, and their consequences.
fn steps(kind: KeyKind, old: &Path, new: &Path) -> Vec<String> {
    let (old, new) = (old.display(), new.display());
    match kind {
        KeyKind::Relay => vec![
            format!("Set relay_secret_key_file to {new}, and restart the node."),
            "Peers treat the node as a new one at the old address; they need no notice. Only a \
             node that has this one as its default seed has to be restarted."
                .to_owned(),
            format!(
                "Delete {old} once the node has peers again. If the key was stolen, recorded \
                 traffic of the node can be read with it for ever."
            ),
        ],
        KeyKind::Validation => vec![
            "Stake and balance stay with the old key: a stake cannot be moved or taken back, and \
             its slots stay empty once the old key signs no blocks."
                .to_owned(),
            format!(
                "Send the balance to the new key (astreum tx send NEW_KEY AMOUNT --key-file {old}), \
                 and stake with it (astreum tx send treasury AMOUNT --key-file {new})."
            ),
            format!(
                "Set validation_secret_key_file to {new}, and restart the node: it produces blocks \
                 once the stake of the new key is in a block."
            ),
            format!(
                "Keep {old}: the account and the stake of the old key can only be used with it. \
                 Never run it on a second node."
            ),
        ],
    }
}
