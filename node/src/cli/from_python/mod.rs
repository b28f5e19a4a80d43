//! Command `astreum config from-python`: converts a configuration of the Python package.

mod literal;
mod tokens;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use astreum_core::text::Escaped;
use serde_json::json;

use crate::config::{Allowed, KEYS, Key, Loaded, Secret, suggest};
use crate::key_file::{KeyFormat, KeyKind, create_file};

use super::config_args::FromPythonArgs;
use super::new_file;
use super::output::{Failure, Output, complain, json_line};
use literal::{Dictionary, Entry, Value, dictionaries};

/// Maximum size in bytes of a file that is converted.
const MAX_FILE_BYTES: u64 = 1 << 20;

pub(super) fn from_python(args: &FromPythonArgs, out: &mut Output) -> Result<(), Failure> {
    super::forbid_core_dumps();
    let name = match args.file.is_stdin() {
        true => "stdin".to_owned(),
        false => args.file.display().to_string(),
    };
    let source = read(&args.file, &name)?;
    let dictionary = find(&source, &name)?;
    let mut converted = Converted::new(&name, dictionary.line);
    for entry in last_of_each(&dictionary.entries) {
        converted.add(entry);
    }
    for line in &dictionary.unnamed {
        let reason = "the name is not a string".to_owned();
        converted.skipped.push((format!("line {line}"), reason));
    }
    let text = match &args.output {
        Some(path) => {
            let keys = converted.key_files(path)?;
            let text = converted.text(&keys);
            write_all(path, &text, &converted.secrets, &keys)?;
            text
        }
        None => converted.text(&[]),
    };
    for note in &converted.notes {
        complain(&format!("note: {note}"));
    }
    if args.json {
        let skipped: Vec<_> = converted
            .skipped
            .iter()
            .map(|(name, reason)| json!({"name": name, "reason": reason}))
            .collect();
        return json_line(
            out,
            &json!({
                "toml": text,
                "file": args.output.as_ref().map(|path| path.display().to_string()),
                "not_converted": skipped,
            }),
        );
    }
    for (name, reason) in &converted.skipped {
        complain(&format!("not converted: {}: {reason}", Escaped(name)));
    }
    match &args.output {
        Some(path) => writeln!(out, "{}", path.display())?,
        None => write!(out, "{text}")?,
    }
    Ok(())
}

fn read(file: &Path, name: &str) -> Result<String, Failure> {
    let failed = |what: String| Failure::Failed(format!("{name}: {what}"));
    let mut bytes = Vec::new();
    let read = match name {
        "stdin" => std::io::stdin()
            .lock()
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes),
        _ => {
            File::open(file).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        }
    };
    read.map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(failed(format!("is larger than {MAX_FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| failed("is not UTF-8 text".to_owned()))
}

/// Returns the dictionary of the configuration: the JSON object, or the dictionary of the Python
/// source that has the most options.
fn find(source: &str, name: &str) -> Result<Dictionary, Failure> {
    let found = dictionaries(source)
        .map_err(|error| Failure::Failed(format!("{name}: cannot be read as Python: {error}")))?;
    let options = |dictionary: &Dictionary| {
        let entries = dictionary.entries.iter();
        entries
            .filter(|entry| Key::find(&entry.name).is_some())
            .count()
    };
    let most = found.iter().map(options).max().unwrap_or(0);
    if most == 0 {
        return Err(Failure::Failed(format!(
            "{name}: no configuration found: expected a dictionary with options such as \
             \"incoming_port\", in JSON or in Python"
        )));
    }
    let mut best = found.into_iter().filter(|it| options(it) == most);
    let (first, second) = (best.next(), best.next());
    match (first, second) {
        (Some(first), None) => Ok(first),
        (Some(first), Some(second)) => Err(Failure::Failed(format!(
            "{name}: two dictionaries have the same number of options, at lines {} and {}: copy \
             the right one to a file of its own",
            first.line, second.line
        ))),
        _ => Err(Failure::Failed(format!("{name}: no configuration found"))),
    }
}

/// Returns the last entry of each name, in the order of the first ones.
fn last_of_each(entries: &[Entry]) -> Vec<&Entry> {
    let mut last: Vec<&Entry> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in entries {
        let place = *places.entry(&entry.name).or_insert(last.len());
        match last.get_mut(place) {
            Some(other) => *other = entry,
            None => last.push(entry),
        }
    }
    last
}

/// Result of a conversion.
struct Converted {
    name: String,
    line: usize,
    /// Key and its line in TOML.
    lines: Vec<(&'static Key, String)>,
    secrets: Vec<(KeyKind, Secret)>,
    /// Options that were not converted, with the reason.
    skipped: Vec<(String, String)>,
    notes: Vec<String>,
}

impl Converted {
    fn new(name: &str, line: usize) -> Self {
        Self {
            name: name.to_owned(),
            line,
            lines: Vec::new(),
            secrets: Vec::new(),
            skipped: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn add(&mut self, entry: &Entry) {
        let name = &entry.name;
        let Some(key) = Key::find(name) else {
            let reason = match suggest(name) {
                Some(other) => format!("there is no such option; did you mean {other}?"),
                None => "there is no such option here".to_owned(),
            };
            return self.skipped.push((name.clone(), reason));
        };
        if let Value::Other(what) = entry.value {
            let reason = format!(
                "line {}: the value is {what}, which is not executed; set {name} yourself",
                entry.line
            );
            return self.skipped.push((name.clone(), reason));
        }
        if key.is_secret() {
            return self.add_secret(key, entry);
        }
        let value = match toml(key, &entry.value) {
            Some(value) => value,
            // The default, as in the reference.
            None => return,
        };
        let line = format!("{name} = {value}");
        // Checked like a line of a file.
        if let Err(errors) = Loaded::from_toml(Path::new(&self.name), &line)
            && let Some(error) = errors.as_slice().first()
        {
            let reason = format!("line {}: {}", entry.line, error.message());
            return self.skipped.push((name.clone(), reason));
        }
        if let (Allowed::Path, Value::Text(path)) = (key.allowed, &entry.value)
            && Path::new(path).is_relative()
        {
            self.notes.push(format!(
                "{name} is relative: in a TOML file, to the directory of that file"
            ));
        }
        self.lines.push((key, line));
    }

    fn add_secret(&mut self, key: &'static Key, entry: &Entry) {
        let kind = match key.name {
            "relay_secret_key" => KeyKind::Relay,
            _ => KeyKind::Validation,
        };
        match &entry.value {
            Value::None => {}
            Value::Text(text) if text.is_empty() => {}
            Value::Text(text) => match Secret::from_hex(text) {
                Some(secret) => self.secrets.push((kind, secret)),
                None => self.skip_secret(entry),
            },
            _ => self.skip_secret(entry),
        }
    }

    fn skip_secret(&mut self, entry: &Entry) {
        let reason = format!(
            "line {}: the value (not shown) is not 64 hex digits",
            entry.line
        );
        self.skipped.push((entry.name.clone(), reason));
    }

    /// Returns the paths of the key files beside the new configuration.
    fn key_files(&self, output: &Path) -> Result<Vec<PathBuf>, Failure> {
        let names = self.secrets.iter().map(|(kind, _)| match kind {
            KeyKind::Relay => "relay.key",
            KeyKind::Validation => "validator.key",
        });
        let paths: Vec<PathBuf> = names.map(|name| output.with_file_name(name)).collect();
        // Before anything is written.
        for path in paths.iter().map(PathBuf::as_path).chain([output]) {
            if path.symlink_metadata().is_ok() {
                let path = path.display();
                let message = format!("refusing to overwrite {path}: the file exists");
                return Err(Failure::Failed(message));
            }
        }
        Ok(paths)
    }

    /// Returns the TOML file; without paths, secrets are comments.
    fn text(&self, key_files: &[PathBuf]) -> String {
        let mut text = format!(
            "# Converted from {}, line {}, by astreum config from-python.\n",
            Escaped(&self.name),
            self.line
        );
        let mut section = "";
        for key in KEYS {
            let line = self.lines.iter().find(|(other, _)| other.name == key.name);
            let line = line.map(|(_, line)| line.clone());
            let Some(line) = line.or_else(|| self.secret_line(key, key_files)) else {
                continue;
            };
            if key.section != section {
                section = key.section;
                text.push_str(&format!("\n# {section}\n"));
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn secret_line(&self, key: &Key, key_files: &[PathBuf]) -> Option<String> {
        let kind = match key.name {
            "relay_secret_key_file" => KeyKind::Relay,
            "validation_secret_key_file" => KeyKind::Validation,
            _ => return None,
        };
        let at = self.secrets.iter().position(|(other, _)| *other == kind)?;
        let name = key_files.get(at).and_then(|path| path.file_name());
        Some(match name {
            Some(name) => format!("{} = \"{}\"", key.name, name.to_string_lossy()),
            None => format!(
                "# {} = \"\"  # the secret is not shown: --output writes it to a key file",
                key.name
            ),
        })
    }
}

/// Returns a value in TOML; `None` for the default.
fn toml(key: &Key, value: &Value) -> Option<String> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    Some(match value {
        // The default seed has to be switched off explicitly.
        Value::None if key.allowed == Allowed::Seed => "\"\"".to_owned(),
        Value::None | Value::Other(_) => return None,
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Text(text) => quoted(text),
        Value::List(values) => {
            let values: Vec<String> = values.iter().filter_map(|it| toml(key, it)).collect();
            format!("[{}]", values.join(", "))
        }
    })
}

/// Writes the key files, then the configuration that names them.
fn write_all(
    path: &Path,
    text: &str,
    secrets: &[(KeyKind, Secret)],
    key_files: &[PathBuf],
) -> Result<(), Failure> {
    for ((kind, secret), path) in secrets.iter().zip(key_files) {
        create_file(path, *kind, secret, &KeyFormat::Plain).map_err(Failure::failed)?;
    }
    new_file::write(path, text.as_bytes()).map_err(Failure::Failed)
}
