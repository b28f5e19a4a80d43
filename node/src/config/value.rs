//! Types of configuration values: reading, validation and display.

mod logging;
mod port_mapping;
mod rpc;
mod seed;

pub use logging::{LogFilter, LogFormat};
pub use port_mapping::PortMapping;
pub use rpc::{HostNames, ListenAddress, Origins};
pub use seed::{ParseSeedError, Seed};

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::path::{Path, PathBuf};

use astreum_core::atom::AtomId;

use super::home::expand_home;
use super::secret::Secret;

/// Uninterpreted value from a source.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// Value of a flag or an environment variable, where everything is text.
    Text(String),
    /// A TOML string.
    Quoted(String),
    /// TOML integer and its digits; `None` if it does not fit into an `i128`.
    Whole(Option<i128>, String),
    /// TOML float in its original notation.
    Real(String),
    /// TOML boolean.
    Switch(bool),
    /// TOML array, or a repeated flag.
    List(Vec<Self>),
    /// Name of a TOML type that no key has.
    Other(&'static str),
}

impl Raw {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Quoted(text) => Some(text.trim()),
            _ => None,
        }
    }

    fn whole(&self) -> Option<u64> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Whole(number, _) => number.and_then(|number| u64::try_from(number).ok()),
            _ => None,
        }
    }

    fn real(&self) -> Option<f64> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Real(text) => text.replace('_', "").parse().ok(),
            Self::Whole(..) => self.whole().map(whole_to_real),
            _ => None,
        }
    }

    /// Returns the name of the type in error messages.
    const fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Quoted(_) => "a string",
            Self::Whole(..) => "an integer",
            Self::Real(_) => "a float",
            Self::Switch(_) => "a boolean",
            Self::List(_) => "an array",
            Self::Other(name) => name,
        }
    }
}

/// Form for error messages; never used for a secret.
impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Quoted(text) => write!(f, "{text:?}"),
            Self::Whole(Some(number), _) => number.fmt(f),
            Self::Whole(None, text) | Self::Real(text) => f.write_str(text),
            Self::Switch(value) => value.fmt(f),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// Mismatch between the type of a value and the type of its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// Type that was found.
    pub found: &'static str,
    /// `true` if the value would be right without its quotes.
    pub is_quoted: bool,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "whole seconds far below 2^53 are exact; larger ones are refused"
)]
fn whole_to_real(number: u64) -> f64 {
    number as f64
}

/// Values that a key allows; the text is the second half of an error message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// Integer in a range, both ends included.
    Whole {
        /// Minimum.
        min: u64,
        /// Maximum.
        max: u64,
    },
    /// Whole number of seconds of at least `min`.
    WholeSeconds {
        /// Minimum.
        min: u64,
    },
    /// Number of seconds, with an optional fraction.
    Seconds {
        /// `true` if 0 is allowed.
        zero: bool,
    },
    /// Boolean.
    Switch,
    /// Path; empty text means unset.
    Path,
    /// Text; empty text means unset.
    Text,
    /// 32 bytes in hex; empty text means unset.
    Key,
    /// Host and port; empty text means unset.
    Seed,
    /// List of hosts with ports.
    Seeds,
    /// IP address; empty text means unset.
    IpAddress,
    /// IPv4 address; empty text means unset.
    Ipv4Address,
    /// Protocol of port mapping.
    PortMapping,
    /// IP address and port; empty text means unset.
    Address,
    /// Atom id in hex; empty text means unset.
    Id,
    /// Public key: 32 bytes in hex; empty text means unset.
    PublicKey,
    /// Sync mode of cold storage.
    Sync,
    /// Way to join a chain.
    SyncMode,
    /// Name of a chain.
    Chain,
    /// Levels of the log; empty text means unset.
    LogFilter,
    /// Form of log lines.
    LogFormat,
    /// IP address and port to listen on; empty text means unset.
    Listen,
    /// List of host names without ports.
    Hosts,
    /// List of origins of web pages.
    Origins,
}

/// Longest duration that a key allows, in seconds: about 136 years, so that no deadline overflows.
const MAX_SECONDS: u64 = u32::MAX as u64;

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole {
                min: 0,
                max: u64::MAX,
            } => f.write_str("a non-negative integer"),
            Self::Whole { min, max: u64::MAX } => write!(f, "an integer of at least {min}"),
            Self::Whole { min, max } => write!(f, "an integer from {min} to {max}"),
            Self::WholeSeconds { min } => {
                write!(
                    f,
                    "an integer number of seconds from {min} to {MAX_SECONDS}"
                )
            }
            Self::Seconds { zero: true } => {
                write!(f, "a number of seconds from 0 to {MAX_SECONDS}")
            }
            Self::Seconds { zero: false } => {
                write!(f, "a number of seconds above 0, up to {MAX_SECONDS}")
            }
            Self::Switch => f.write_str("true or false"),
            Self::Path => f.write_str("a path"),
            Self::Text => f.write_str("text"),
            Self::Key => f.write_str("64 hex digits (32 bytes)"),
            Self::Seed => f.write_str("host:port or [ipv6]:port, or \"\" for none"),
            Self::Seeds => f.write_str("a list of host:port or [ipv6]:port"),
            Self::IpAddress => f.write_str("an IP address"),
            Self::Ipv4Address => f.write_str("an IPv4 address"),
            Self::PortMapping => f.write_str("off, upnp, pcp or auto"),
            Self::Address => f.write_str("ip:port or [ipv6]:port"),
            Self::Id => f.write_str("64 hex digits (an atom id)"),
            Self::PublicKey => f.write_str("64 hex digits (a public key)"),
            Self::Sync => f.write_str("always, interval or never"),
            Self::SyncMode => f.write_str("full or snapshot"),
            Self::Chain => f.write_str("main or test"),
            Self::LogFilter => f.write_str(
                "off, error, warn, info, debug or trace, or MODULE=LEVEL, separated by commas",
            ),
            Self::LogFormat => f.write_str("json or text"),
            Self::Listen => f.write_str("ip:port or [ipv6]:port"),
            Self::Hosts => f.write_str("a list of host names without ports"),
            Self::Origins => f.write_str("a list of https://host or http://host:port"),
        }
    }
}

impl Allowed {
    /// Returns the difference between the type of `raw` and that of the key, if there is one.
    pub(super) fn mismatch(self, raw: &Raw) -> Option<Mismatch> {
        let is_right = match (self, raw) {
            // A flag or variable is text, but a float in it is not valid for an integer key.
            (Self::Whole { .. } | Self::WholeSeconds { .. }, Raw::Text(text)) => {
                if is_float(text) {
                    let (found, is_quoted) = ("a float", false);
                    return Some(Mismatch { found, is_quoted });
                }
                true
            }
            (Self::Whole { .. } | Self::WholeSeconds { .. }, Raw::Whole(..))
            | (Self::Seconds { .. }, Raw::Whole(..) | Raw::Real(_))
            | (Self::Switch, Raw::Switch(_))
            | (Self::Seeds | Self::Hosts | Self::Origins, Raw::List(_))
            | (_, Raw::Text(_)) => true,
            (_, Raw::Quoted(_)) => !self.is_bare() && !self.is_list(),
            _ => false,
        };
        (!is_right).then(|| Mismatch {
            found: raw.type_name(),
            is_quoted: matches!(raw, Raw::Quoted(text) if self.is_bare_value(text)),
        })
    }

    /// Returns whether the key has a list of values.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(self, Self::Seeds | Self::Hosts | Self::Origins)
    }

    /// Returns whether values of the key are written without quotes in TOML.
    const fn is_bare(self) -> bool {
        matches!(
            self,
            Self::Whole { .. } | Self::WholeSeconds { .. } | Self::Seconds { .. } | Self::Switch
        )
    }

    /// Returns whether `text` without quotes has the type of the key.
    fn is_bare_value(self, text: &str) -> bool {
        match self {
            Self::Whole { .. } | Self::WholeSeconds { .. } => text.parse::<i64>().is_ok(),
            Self::Seconds { .. } => text.parse::<i64>().is_ok() || is_float(text),
            Self::Switch => matches!(text, "true" | "false"),
            _ => false,
        }
    }

    /// Returns the name of the type as in the reference's table.
    #[must_use]
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Whole { .. } | Self::WholeSeconds { .. } => "int",
            Self::Seconds { .. } => "float",
            Self::Switch => "bool",
            Self::Key | Self::Id | Self::PublicKey => "hex string",
            Self::Seeds | Self::Hosts | Self::Origins => "list[str]",
            Self::Path
            | Self::Text
            | Self::Seed
            | Self::IpAddress
            | Self::Ipv4Address
            | Self::PortMapping
            | Self::Address
            | Self::Sync
            | Self::SyncMode
            | Self::Chain
            | Self::LogFilter
            | Self::LogFormat
            | Self::Listen => "string",
        }
    }
}

/// Returns whether `text` is a number with a fraction or an exponent.
fn is_float(text: &str) -> bool {
    let text = text.trim();
    text.contains(['.', 'e', 'E']) && text.parse().is_ok_and(f64::is_finite)
}

/// Value for display: TOML and JSON write all of these the same way.
#[derive(Clone, PartialEq, Debug)]
pub enum DisplayValue {
    /// Unset.
    Unset,
    /// Integer.
    Whole(u64),
    /// Float.
    Real(f64),
    /// Boolean.
    Switch(bool),
    /// Text.
    Text(String),
    /// List of texts.
    Texts(Vec<String>),
    /// Secret that is set but must not be shown.
    Redacted,
}

impl DisplayValue {
    /// Returns the value for `--json`; a secret is the text `<redacted>`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Unset => serde_json::Value::Null,
            Self::Whole(number) => (*number).into(),
            Self::Real(number) => (*number).into(),
            Self::Switch(value) => (*value).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Texts(texts) => texts.clone().into(),
            Self::Redacted => "<redacted>".into(),
        }
    }
}

/// Form in a TOML file.
impl fmt::Display for DisplayValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        match self {
            Self::Unset => f.write_str("\"\""),
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) => write!(f, "{number:?}"),
            Self::Switch(value) => value.fmt(f),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Texts(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                write!(f, "[{}]", texts.join(", "))
            }
            Self::Redacted => f.write_str("\"<redacted>\""),
        }
    }
}

/// Type of a key's value.
pub(super) trait Setting: Sized {
    /// Reads the value; `Err` is the invalid part, for the error message.
    fn read(raw: &Raw) -> Result<Self, String>;
    /// Returns whether the key allows this value of the right type.
    fn fits(&self, _allowed: Allowed) -> bool {
        true
    }
    /// Returns the reason a value of the right type is invalid, unless [`Allowed`] states it.
    fn reason(&self) -> Option<&'static str> {
        None
    }
    /// Returns the value for display.
    fn show(&self) -> DisplayValue;
    /// Makes a relative path relative to `base`.
    fn rebase(&mut self, _base: &Path) {}
}

fn parsed<T>(raw: &Raw, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| raw.to_string())
}

fn whole_fits(number: u64, allowed: Allowed) -> bool {
    match allowed {
        Allowed::Whole { min, max } => (min..=max).contains(&number),
        _ => true,
    }
}

macro_rules! whole_setting {
    ($($type:ty)+) => {$(
        impl Setting for $type {
            fn read(raw: &Raw) -> Result<Self, String> {
                let number = raw.whole().and_then(|number| Self::try_from(number).ok());
                parsed(raw, number)
            }

            fn fits(&self, allowed: Allowed) -> bool {
                whole_fits(u64::from(*self), allowed)
            }

            fn show(&self) -> DisplayValue {
                DisplayValue::Whole(u64::from(*self))
            }
        }
    )+};
}

whole_setting!(u16 u32 u64);

impl Setting for bool {
    fn read(raw: &Raw) -> Result<Self, String> {
        let value = match raw {
            Raw::Switch(value) => Some(*value),
            Raw::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        };
        parsed(raw, value)
    }

    fn show(&self) -> DisplayValue {
        DisplayValue::Switch(*self)
    }
}

/// Seconds; the key's [`Allowed`] decides whether a fraction is valid.
impl Setting for Duration {
    fn read(raw: &Raw) -> Result<Self, String> {
        let seconds = raw
            .whole()
            .map(Self::from_secs)
            .or_else(|| Self::try_from_secs_f64(raw.real()?).ok());
        parsed(raw, seconds)
    }

    fn fits(&self, allowed: Allowed) -> bool {
        let short = *self <= Self::from_secs(MAX_SECONDS);
        match allowed {
            Allowed::WholeSeconds { min } => {
                short && self.subsec_nanos() == 0 && self.as_secs() >= min
            }
            Allowed::Seconds { zero } => short && (zero || !self.is_zero()),
            _ => true,
        }
    }

    fn show(&self) -> DisplayValue {
        if self.subsec_nanos() == 0 {
            DisplayValue::Whole(self.as_secs())
        } else {
            DisplayValue::Real(self.as_secs_f64())
        }
    }
}

/// Value that is derived from other keys, or chosen later, if it is not set.
macro_rules! derived_setting {
    ($($type:ty)+) => {$(
        impl Setting for Option<$type> {
            fn read(raw: &Raw) -> Result<Self, String> {
                <$type>::read(raw).map(Some)
            }

            fn fits(&self, allowed: Allowed) -> bool {
                self.is_none_or(|value| value.fits(allowed))
            }

            fn show(&self) -> DisplayValue {
                self.as_ref().map_or(DisplayValue::Unset, Setting::show)
            }
        }
    )+};
}

derived_setting!(u16 u64 Duration);

/// Empty text means unset.
impl<T: OptionalSetting> Setting for Option<T> {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw.text() {
            Some("") => Ok(None),
            Some(text) if T::is_none_word(text) => Ok(None),
            Some(text) => parsed(raw, T::parse(text)).map(Some),
            None => Err(raw.to_string()),
        }
    }

    fn fits(&self, _allowed: Allowed) -> bool {
        self.reason().is_none()
    }

    fn reason(&self) -> Option<&'static str> {
        self.as_ref().and_then(T::reason)
    }

    fn show(&self) -> DisplayValue {
        self.as_ref().map_or(DisplayValue::Unset, T::shown)
    }

    fn rebase(&mut self, base: &Path) {
        if let Some(value) = self {
            value.rebased(base);
        }
    }
}

/// Type of a key that can be left unset.
pub(super) trait OptionalSetting: Sized {
    fn parse(text: &str) -> Option<Self>;
    fn shown(&self) -> DisplayValue;
    fn reason(&self) -> Option<&'static str> {
        None
    }
    fn rebased(&mut self, _base: &Path) {}
    fn is_none_word(_text: &str) -> bool {
        false
    }
}

impl OptionalSetting for PathBuf {
    fn parse(text: &str) -> Option<Self> {
        if is_object_store(Path::new(text)) {
            return Some(text.into());
        }
        (!text.contains('\0')).then(|| expand_home(text.into()))
    }

    /// Reachable only from code: in text, an empty path means unset and a NUL byte is rejected.
    fn reason(&self) -> Option<&'static str> {
        if self.as_os_str().is_empty() {
            Some("the path is empty; leave the key unset")
        } else if self.as_os_str().as_encoded_bytes().contains(&0) {
            Some("the path contains a NUL byte")
        } else {
            None
        }
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.to_string_lossy().into_owned())
    }

    fn rebased(&mut self, base: &Path) {
        if !is_object_store(self) {
            *self = base.join(&self);
        }
    }
}

/// Start of the address of an object store.
const OBJECT_STORE: &str = "s3://";

/// Returns whether a path is the address of an object store.
pub(super) fn is_object_store(path: &Path) -> bool {
    object_store_parts(path).is_some()
}

/// Returns bucket and prefix of the address of an object store.
pub(super) fn object_store_parts(path: &Path) -> Option<(&str, &str)> {
    let address = path.to_str()?.strip_prefix(OBJECT_STORE)?;
    let (bucket, prefix) = address.split_once('/').unwrap_or((address, ""));
    Some((bucket, prefix.trim_matches('/')))
}

impl OptionalSetting for String {
    fn parse(text: &str) -> Option<Self> {
        (!text.chars().any(char::is_control)).then(|| text.to_owned())
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.clone())
    }
}

impl OptionalSetting for Secret {
    fn parse(text: &str) -> Option<Self> {
        Self::from_hex(text)
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Redacted
    }
}

impl OptionalSetting for IpAddr {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// Rejects addresses that a socket cannot have.
    fn reason(&self) -> Option<&'static str> {
        if self.is_unspecified() {
            Some("an unspecified address stands for all addresses: leave the key unset")
        } else if self.is_multicast() {
            Some("a multicast address is not the address of one node")
        } else {
            None
        }
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.to_string())
    }
}

impl OptionalSetting for SocketAddr {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// Rejects addresses that other nodes cannot send to.
    fn reason(&self) -> Option<&'static str> {
        let ip = self.ip().to_canonical();
        if ip.is_unspecified() {
            Some("an unspecified address cannot be reached by peers")
        } else if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            Some("a multicast or broadcast address is not the address of one node")
        } else if self.port() == 0 {
            Some("port 0 cannot be reached by peers")
        } else {
            None
        }
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.to_string())
    }
}

impl OptionalSetting for AtomId {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.to_string())
    }
}

/// Times at which cold storage forces its journal to the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ColdStorageSync {
    /// Before a write is acknowledged.
    #[default]
    Always,
    /// At intervals; a power loss can lose the most recent writes.
    Interval,
    /// At times that the operating system chooses.
    Never,
}

impl Setting for ColdStorageSync {
    fn read(raw: &Raw) -> Result<Self, String> {
        let value = match raw.text() {
            Some("always") => Some(Self::Always),
            Some("interval") => Some(Self::Interval),
            Some("never") => Some(Self::Never),
            _ => None,
        };
        parsed(raw, value)
    }

    fn show(&self) -> DisplayValue {
        let name = match self {
            Self::Always => "always",
            Self::Interval => "interval",
            Self::Never => "never",
        };
        DisplayValue::Text(name.to_owned())
    }
}

/// Way in which a node without a chain joins one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SyncMode {
    /// Every block is verified, from the genesis on.
    #[default]
    Full,
    /// The state after a trusted block is fetched, and the blocks above it are verified.
    Snapshot,
}

impl Setting for SyncMode {
    fn read(raw: &Raw) -> Result<Self, String> {
        let value = match raw.text() {
            Some("full") => Some(Self::Full),
            Some("snapshot") => Some(Self::Snapshot),
            _ => None,
        };
        parsed(raw, value)
    }

    fn show(&self) -> DisplayValue {
        let name = match self {
            Self::Full => "full",
            Self::Snapshot => "snapshot",
        };
        DisplayValue::Text(name.to_owned())
    }
}

/// Chain by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chain {
    /// Main chain, `chain_id` 1.
    Main,
    /// Test chain, `chain_id` 0 unless another is given.
    Test,
}

impl OptionalSetting for Chain {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "main" => Some(Self::Main),
            "test" => Some(Self::Test),
            _ => None,
        }
    }

    fn shown(&self) -> DisplayValue {
        let name = match self {
            Self::Main => "main",
            Self::Test => "test",
        };
        DisplayValue::Text(name.to_owned())
    }
}
