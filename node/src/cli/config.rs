//! Command `astreum config`: the effective configuration, and the table of keys.

use std::io::Write;

use serde_json::{Map, Value, json};

use std::path::Path;

use crate::config::{
    ConfigError, ConfigErrors, DisplayValue, KEYS, Key, Loaded, Settings, Source, suggest, template,
};
use crate::daemon::{start_errors, warnings};
use crate::key_file::{KeyKind, configured_file, summary};
use crate::rpc::{ChangeReply, request};

use super::config_args::{
    ConfigArgs, ConfigCheckArgs, ConfigCommand, ConfigInitArgs, ConfigShowArgs, ReloadArgs,
};
use super::from_python::from_python;
use super::new_file;
use super::node_args::client;
use super::output::{Failure, Output, complain, json_line};

pub(super) fn config(args: ConfigArgs, out: &mut Output) -> Result<(), Failure> {
    match args.command {
        Some(ConfigCommand::Init(args)) => return init(&args, out),
        Some(ConfigCommand::Check(args)) => return check(args, out),
        Some(ConfigCommand::Show(args)) => return show(args, out),
        Some(ConfigCommand::Reload(args)) => return reload(&args, out),
        Some(ConfigCommand::FromPython(args)) => return from_python(&args, out),
        None => {}
    }
    if args.markdown {
        return markdown(out);
    }
    let loaded = args.run.load()?;
    if args.json {
        return json_line(out, &as_json(&loaded));
    }
    // Written raw: the file has to keep the operator's own values.
    toml(&loaded, out.raw())
}

fn reload(args: &ReloadArgs, out: &mut Output) -> Result<(), Failure> {
    let reply = client(&args.at)?.request(&request::ReloadConfig {})?;
    if args.json {
        return json_line(out, &reply);
    }
    if reply.applied.is_empty() {
        writeln!(out, "nothing to apply has changed")?;
    }
    let mut list = |label: &str, changes: &[ChangeReply]| -> Result<(), Failure> {
        for ChangeReply { key, from, to } in changes {
            writeln!(out, "{label:<15} {key} = {to} (was {from})")?;
        }
        Ok(())
    };
    list("applied", &reply.applied)?;
    list("needs a restart", &reply.not_applied)
}

/// Writes a file that can be loaded again; unset values and secrets are comments.
fn toml(loaded: &Loaded, out: &mut impl Write) -> Result<(), Failure> {
    let paths = loaded.paths();
    writeln!(out, "# state directory  {}", paths.state_dir.display())?;
    writeln!(out, "# control socket   {}", paths.control_socket.display())?;
    writeln!(out, "# log directory    {}", paths.log_dir.display())?;
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            writeln!(out, "\n# {section}")?;
        }
        let shown = key.show(&loaded.settings);
        let source = match loaded.source(key.name) {
            Source::Default => String::new(),
            source => format!("  # {source}"),
        };
        let is_comment = matches!(shown, DisplayValue::Unset | DisplayValue::Redacted);
        // An empty default seed is a value, not an unset key.
        let comment = if is_comment && key.name != "default_seed" {
            "# "
        } else {
            ""
        };
        writeln!(out, "{comment}{} = {shown}{source}", key.name)?;
    }
    Ok(())
}

fn as_json(loaded: &Loaded) -> Value {
    let default = Settings::default();
    let entry = |key: &Key| {
        let value = json!({
            "value": key.show(&loaded.settings).to_json(),
            "default": key.show(&default).to_json(),
            "source": loaded.source(key.name).to_string(),
            "type": key.allowed.type_name(),
            "allowed": key.allowed.to_string(),
            "help": key.help(),
            "flag": (!key.is_secret()).then(|| format!("--{}", key.flag())),
            "environment": key.environment_variable(),
        });
        (key.name.to_owned(), value)
    };
    let keys: Map<String, Value> = KEYS.iter().map(entry).collect();
    let paths = loaded.paths();
    json!({
        "keys": keys,
        "state_dir": paths.state_dir.display().to_string(),
        "control_socket": paths.control_socket.display().to_string(),
        "log_dir": paths.log_dir.display().to_string(),
        "instance_id": paths.instance_id,
    })
}

/// Writes a commented file with every key.
fn init(args: &ConfigInitArgs, out: &mut Output) -> Result<(), Failure> {
    let text = template();
    if args.file.is_stdin() {
        return Ok(out.raw().write_all(text.as_bytes())?);
    }
    new_file::write(&args.file, text.as_bytes()).map_err(Failure::Failed)?;
    Ok(writeln!(out, "{}", args.file.display())?)
}

/// Checks the configuration and the files that it names.
fn check(args: ConfigCheckArgs, out: &mut Output) -> Result<(), Failure> {
    let loaded = args.run.try_load();
    let (file, errors, concerns) = match &loaded {
        Ok(loaded) => {
            let errors = ConfigErrors::check(start_errors(loaded));
            (loaded.file.as_deref(), errors.err(), concerns(loaded))
        }
        Err(errors) => {
            let file = errors.as_slice().iter().find_map(ConfigError::file);
            (file, Some(errors.clone()), Vec::new())
        }
    };
    if args.json {
        json_line(out, &check_json(file, errors.as_ref(), &concerns))?;
    } else {
        for concern in &concerns {
            complain(&format!("warning: {concern}"));
        }
    }
    if let Some(errors) = errors {
        return Err(errors.into());
    }
    if let Ok(loaded) = &loaded
        && !args.json
    {
        let set = KEYS
            .iter()
            .filter(|key| loaded.source(key.name) != Source::Default);
        let (count, what) = (
            set.count(),
            match &loaded.file {
                Some(file) => file.display().to_string(),
                None => "no file".to_owned(),
            },
        );
        let keys = if count == 1 { "key is" } else { "keys are" };
        writeln!(out, "{what}: valid, {count} {keys} set")?;
    }
    Ok(())
}

/// Returns the result of a check as data: each error has the same fields, which are null where they
/// are unknown.
fn check_json(file: Option<&Path>, errors: Option<&ConfigErrors>, warnings: &[String]) -> Value {
    let entry = |error: &ConfigError| {
        json!({
            "place": error.place(),
            "file": error.file().map(|path| path.display().to_string()),
            "line": error.line(),
            "column": error.excerpts().first().map(|excerpt| excerpt.column),
            "message": error.message(),
        })
    };
    let entries = errors.map_or(&[][..], ConfigErrors::as_slice);
    json!({
        "valid": entries.is_empty(),
        "file": file.map(|path| path.display().to_string()),
        "errors": entries.iter().map(entry).collect::<Vec<_>>(),
        "warnings": warnings,
    })
}

/// Returns the concerns about a valid configuration.
fn concerns(loaded: &Loaded) -> Vec<String> {
    let ignored = loaded.warnings.iter();
    let ignored = ignored.map(|warning| format!("ignored {warning}"));
    let settings = &loaded.settings;
    ignored
        .chain(warnings(settings))
        .chain(passphrase_concern(settings))
        .chain(missing_parent(settings))
        .collect()
}

/// Returns the concern about protected keys of a node that has no terminal.
fn passphrase_concern(settings: &Settings) -> Option<String> {
    let kinds = [KeyKind::Relay, KeyKind::Validation];
    let mut files = kinds
        .iter()
        .filter_map(|kind| configured_file(settings, *kind));
    let protected = files.find(|path| summary(path).is_ok_and(|it| it.is_protected))?;
    settings.key_passphrase_file.is_none().then(|| {
        format!(
            "{} is protected by a passphrase: a node without a terminal needs key_passphrase_file",
            protected.display()
        )
    })
}

/// Returns the concern about cold storage below a directory that does not exist.
fn missing_parent(settings: &Settings) -> Option<String> {
    let path = settings.cold_directory()?;
    let key = match settings.object_store() {
        Some(_) => "cold_storage_local_path",
        None => "cold_storage_path",
    };
    let parent = path.parent().filter(|parent| *parent != Path::new(""))?;
    (!parent.is_dir()).then(|| {
        format!(
            "the directory of {key}, {}, does not exist and will be created",
            parent.display()
        )
    })
}

/// Shows keys with their values, and where these come from.
fn show(args: ConfigShowArgs, out: &mut Output) -> Result<(), Failure> {
    let keys: Vec<&Key> = match args.keys.is_empty() {
        true => KEYS.iter().collect(),
        false => args
            .keys
            .iter()
            .map(|name| find(name))
            .collect::<Result<_, _>>()?,
    };
    let loaded = args.run.load()?;
    if args.json {
        let entry = |key: &&Key| {
            let value = json!({
                "value": key.show(&loaded.settings).to_json(),
                "origin": loaded.source(key.name).to_string(),
            });
            (key.name.to_owned(), value)
        };
        let entries: Map<String, Value> = keys.iter().map(entry).collect();
        return json_line(out, &Value::Object(entries));
    }
    let origins = keys.iter().map(|key| loaded.source(key.name).to_string());
    let origins: Vec<String> = origins.collect();
    let width = origins.iter().map(|origin| origin.chars().count()).max();
    let width = width.unwrap_or(0);
    for (key, origin) in keys.iter().zip(&origins) {
        let value = match key.show(&loaded.settings) {
            DisplayValue::Unset => "(unset)".to_owned(),
            value => value.to_string(),
        };
        if args.origin {
            write!(out, "{origin:<width$}  ")?;
        }
        writeln!(out, "{} = {value}", key.name)?;
    }
    Ok(())
}

fn find(name: &str) -> Result<&'static Key, Failure> {
    let key = Key::find(&name.replace('-', "_"));
    key.ok_or_else(|| {
        let advice = match suggest(name) {
            Some(other) => format!("; did you mean {other}?"),
            None => "; `astreum config show` lists the keys".to_owned(),
        };
        Failure::Usage(format!("unknown key {name:?}{advice}"))
    })
}

/// Writes the tables of `node/docs/configuration.md`.
fn markdown(out: &mut Output) -> Result<(), Failure> {
    let default = Settings::default();
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = key.section;
            writeln!(out, "{gap}### {section}\n")?;
            writeln!(out, "| Key | Type | Default | Description |")?;
            writeln!(out, "| --- | --- | --- | --- |")?;
        }
        let shown = match key.show(&default) {
            DisplayValue::Unset => "none".to_owned(),
            shown => format!("`{shown}`"),
        };
        writeln!(
            out,
            "| `{}` | {} | {shown} | {} |",
            key.name,
            key.allowed.type_name(),
            key.help().replace('|', "\\|")
        )?;
    }
    Ok(())
}
