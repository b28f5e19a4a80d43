//! Loading of a configuration: merges sources into one [`Config`], records the source of each
//! value, and resolves it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors, suggest};
use super::excerpt::Excerpt;
use super::home::expand_home;
use super::keys::{Config, KEYS, Key};
use super::resolve::{conflicts, not_allowed};
use super::settings::Settings;
use super::source::Source;
use super::value::Raw;

/// Maximum size in bytes of a TOML file.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Maximum number of syntax errors that are reported of one file.
const MAX_SYNTAX_ERRORS: usize = 20;
/// Prefix of the environment variables of this program.
const ENVIRONMENT_PREFIX: &str = "ASTREUM_";
/// Variable that names the TOML file; the only one that is not a key.
pub(crate) const FILE_VARIABLE: &str = "ASTREUM_CONFIG";

/// Sources of a configuration.
#[derive(Clone, Default)]
pub struct Inputs {
    /// Keys that flags set, with all given values.
    pub flags: Vec<(&'static Key, Vec<String>)>,
    /// Environment variables. Those without the prefix, and empty ones, are skipped.
    pub environment: Vec<(OsString, OsString)>,
    /// TOML file. Without it, `ASTREUM_CONFIG` names one.
    pub file: Option<PathBuf>,
}

/// Resolved configuration with the sources of its values.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Resolved values of all keys.
    pub settings: Settings,
    /// TOML file that was read, if any.
    pub file: Option<PathBuf>,
    /// Ignored input that is probably a mistake: unknown `ASTREUM_` variables.
    pub warnings: Vec<ConfigError>,
    config: Config,
    sources: BTreeMap<&'static str, Source>,
}

impl Loaded {
    /// Loads the text of a TOML file over the defaults. `path` is the origin of the text: errors
    /// name it, and relative paths in the text are relative to its directory.
    ///
    /// # Errors
    /// Returns all errors in the text.
    pub fn from_toml(path: &Path, text: &str) -> Result<Self, ConfigErrors> {
        let mut gather = Gather::default();
        gather.text(path, text);
        gather.finish(Some(path.to_owned()))
    }

    /// Returns the source of the value of the key with this name.
    #[must_use]
    pub fn source(&self, name: &str) -> Source {
        source_of(&self.sources, name)
    }

    /// Returns the values as the sources state them, for a program that changes some of them and
    /// then resolves all: values that no source states are derived from the changed ones.
    #[must_use]
    pub fn into_config(self) -> Config {
        self.config
    }
}

impl Inputs {
    /// Reads the file and merges all sources.
    ///
    /// # Errors
    /// Returns all errors in all sources; they include errors in values that a stronger source
    /// overrides, so that these do not surface only later.
    pub fn load(self) -> Result<Loaded, ConfigErrors> {
        let mut gather = Gather::default();
        let mut file = self.file;
        for (name, value) in &self.environment {
            let is_set = !value.to_string_lossy().trim().is_empty();
            if file.is_none() && name.to_str() == Some(FILE_VARIABLE) && is_set {
                file = Some(expand_home(value.into()));
            }
        }
        if let Some(path) = &file {
            gather.file(path);
        }
        gather.environment(&self.environment);
        gather.flags(self.flags);
        gather.finish(file)
    }
}

/// State while sources are merged, weakest first.
#[derive(Default)]
struct Gather {
    config: Config,
    sources: BTreeMap<&'static str, Source>,
    errors: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
}

impl Gather {
    fn set(&mut self, key: &'static Key, raw: &Raw, source: Source, base: Option<&Path>) {
        if let Some(mismatch) = key.allowed.mismatch(raw) {
            let error = not_allowed(key, raw.to_string(), Some(mismatch), None, source);
            return self.errors.push(error);
        }
        if let Err(value) = (key.set)(&mut self.config, raw) {
            let error = not_allowed(key, value, None, None, source);
            return self.errors.push(error);
        }
        if !(key.fits)(&self.config) {
            let reason = (key.reason)(&self.config);
            let error = not_allowed(key, raw.to_string(), None, reason, source);
            return self.errors.push(error);
        }
        if let Some(base) = base {
            (key.rebase)(&mut self.config, base);
        }
        self.sources.insert(key.name, source);
    }

    /// Resolves the merged configuration, or returns all errors.
    fn finish(mut self, file: Option<PathBuf>) -> Result<Loaded, ConfigErrors> {
        let conflicts = conflicts(&self.config, |name| source_of(&self.sources, name));
        self.errors.extend(conflicts);
        if !self.errors.is_empty() {
            return Err(ConfigErrors(self.errors));
        }
        Ok(Loaded {
            settings: Settings::of_checked(self.config.clone()),
            config: self.config,
            file,
            warnings: self.warnings,
            sources: self.sources,
        })
    }

    fn file(&mut self, path: &Path) {
        match read_capped(path) {
            Ok(text) => self.text(path, &text),
            Err(message) => self.errors.push(ConfigError::File {
                path: path.to_owned(),
                line: None,
                message,
                excerpt: None,
            }),
        }
    }

    /// Reads the text of the file at `path`.
    fn text(&mut self, path: &Path, text: &str) {
        let source = |place| {
            let excerpt = Excerpt::new(text, place);
            Source::File {
                path: path.to_owned(),
                line: excerpt.line,
                excerpt,
            }
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        let table = table.into_inner();
        // What is left of a line with an error would only give further ones.
        let mut broken = Vec::new();
        for error in errors.iter().take(MAX_SYNTAX_ERRORS) {
            // Only the message is kept: the whole error would quote the line, which may hold a
            // secret.
            let excerpt = error.span().map(|place| Excerpt::new(text, place));
            broken.extend(excerpt.as_ref().map(|excerpt| excerpt.line));
            self.errors.push(ConfigError::File {
                path: path.to_owned(),
                line: excerpt.as_ref().map(|excerpt| excerpt.line),
                message: error.message().replace('\n', ", "),
                excerpt,
            });
        }
        // An absolute base makes relative paths independent of the working directory.
        let base = std::path::absolute(path).ok();
        let base = base.as_deref().and_then(Path::parent);
        // The table is sorted by name; errors are reported in the order of the lines.
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let of_name = source(name.span());
            if matches!(&of_name, Source::File { line, .. } if broken.contains(line)) {
                continue;
            }
            match Key::find(name.get_ref()) {
                Some(key) => {
                    let of_value = source(value.span());
                    self.set(key, &raw_of(value.get_ref()), of_value, base);
                }
                None => self.errors.push(unknown(name.get_ref(), of_name)),
            }
        }
    }

    /// Reads the environment. Other programs set variables with the same prefix, so an unknown one
    /// is not an error; an empty one counts as unset, as service files and containers clear
    /// variables.
    fn environment(&mut self, variables: &[(OsString, OsString)]) {
        for (variable, value) in variables {
            let (variable, value) = (variable.to_string_lossy(), value.to_string_lossy());
            let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            if variable == FILE_VARIABLE || value.trim().is_empty() {
                continue;
            }
            let key = KEYS
                .iter()
                .find(|key| key.environment_variable() == variable);
            let source = Source::Environment {
                variable: variable.to_string(),
            };
            match key {
                Some(key) => self.set(key, &Raw::Text(value.into_owned()), source, None),
                None if is_platform_variable(&variable, &value) => {}
                None => self.warnings.push(unknown(name, source)),
            }
        }
    }

    fn flags(&mut self, flags: Vec<(&'static Key, Vec<String>)>) {
        for (key, values) in flags {
            let mut raws: Vec<Raw> = values.into_iter().map(Raw::Text).collect();
            let raw = match (raws.len(), raws.pop()) {
                (1, Some(raw)) => raw,
                (_, None) => continue,
                (_, Some(last)) => {
                    raws.push(last);
                    Raw::List(raws)
                }
            };
            let flag = format!("--{}", key.flag());
            self.set(key, &raw, Source::Flag { flag }, None);
        }
    }
}

fn source_of(sources: &BTreeMap<&'static str, Source>, name: &str) -> Source {
    sources.get(name).cloned().unwrap_or(Source::Default)
}

fn unknown(name: &str, source: Source) -> ConfigError {
    ConfigError::UnknownKey {
        source,
        name: name.to_owned(),
        suggestion: suggest(name),
    }
}

/// Returns whether a container platform sets the variable for a service named `astreum`: Kubernetes
/// has `ASTREUM_SERVICE_HOST`, `ASTREUM_PORT=tcp://…`, `ASTREUM_PORT_80_TCP=tcp://…` and
/// `ASTREUM_PORT_80_TCP_ADDR`, for instance.
fn is_platform_variable(variable: &str, value: &str) -> bool {
    let is_address = value.starts_with("tcp://") || value.starts_with("udp://");
    let is_port = variable.ends_with("_PORT") || variable.contains("_PORT_");
    let words = ["_SERVICE_", "_TCP_", "_UDP_"];
    (is_address && is_port) || words.iter().any(|word| variable.contains(word))
}

fn read_capped(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("is larger than {MAX_FILE_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

fn raw_of(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Quoted(text.to_string()),
        DeValue::Integer(number) => {
            let value = i128::from_str_radix(number.as_str(), number.radix()).ok();
            Raw::Whole(value, number.as_str().to_owned())
        }
        DeValue::Float(number) => Raw::Real(number.as_str().to_owned()),
        DeValue::Boolean(value) => Raw::Switch(*value),
        DeValue::Array(items) => {
            Raw::List(items.iter().map(|item| raw_of(item.get_ref())).collect())
        }
        DeValue::Datetime(_) => Raw::Other("a date-time"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}
