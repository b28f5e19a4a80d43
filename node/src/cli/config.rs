//! Command `astreum config`: the effective configuration, and the table of keys.

use std::io::Write;

use serde_json::{Map, Value, json};

use crate::config::{DisplayValue, KEYS, Key, Loaded, Settings, Source};

use super::args::ConfigArgs;
use super::output::{Failure, Output, json_line};

pub(super) fn config(args: ConfigArgs, out: &mut Output) -> Result<(), Failure> {
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
            "flag": format!("--{}", key.flag()),
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
