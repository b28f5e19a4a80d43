//! Values that keys allow, and the types that these have in TOML.

use super::raw::Raw;
use core::fmt;

/// Mismatch between the type of a value and the type of its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// Type that was found.
    pub found: &'static str,
    /// `true` if the value would be right without its quotes.
    pub is_quoted: bool,
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
    /// Bytes that streams may move in a second: 0, or at least 262,144.
    StreamRate,
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
pub(super) const MAX_SECONDS: u64 = u32::MAX as u64;

/// Minimum limit of the bytes that streams move in a second. Their progress is counted by frames of up
/// to 131,072 bytes, and a list without progress for two seconds is given up.
pub(super) const MIN_STREAM_BYTES: u64 = 262_144;

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole {
                min: 0,
                max: u64::MAX,
            } => f.write_str("a non-negative integer"),
            Self::Whole { min, max: u64::MAX } => write!(f, "an integer of at least {min}"),
            Self::Whole { min, max } => write!(f, "an integer from {min} to {max}"),
            Self::StreamRate => write!(
                f,
                "0 for no limit, or an integer of at least {MIN_STREAM_BYTES}: below it, a frame of a \
                 stream takes so long that peers abandon the stream"
            ),
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
            Self::PortMapping | Self::Sync | Self::SyncMode | Self::Chain | Self::LogFormat => {
                let (last, others) = self.words().split_last().unwrap_or((&"", &[]));
                write!(f, "{} or {last}", others.join(", "))
            }
            Self::Address => f.write_str("ip:port or [ipv6]:port"),
            Self::Id => f.write_str("64 hex digits (an atom id)"),
            Self::PublicKey => f.write_str("64 hex digits (a public key)"),
            Self::LogFilter => f.write_str(
                "off, error, warn, info, debug or trace, or MODULE=LEVEL, separated by commas",
            ),
            Self::Listen => f.write_str("ip:port or [ipv6]:port"),
            Self::Hosts => f.write_str("a list of host names without ports"),
            Self::Origins => f.write_str("a list of https://host or http://host:port"),
        }
    }
}

impl Allowed {
    /// Returns the allowed words, if they are few.
    #[must_use]
    pub const fn words(self) -> &'static [&'static str] {
        match self {
            Self::PortMapping => &["off", "upnp", "pcp", "auto"],
            Self::Sync => &["always", "interval", "never"],
            Self::SyncMode => &["full", "snapshot"],
            Self::Chain => &["main", "test"],
            Self::LogFormat => &["json", "text"],
            _ => &[],
        }
    }

    /// Returns the difference between the type of `raw` and that of the key, if there is one.
    pub(in crate::config) fn mismatch(self, raw: &Raw) -> Option<Mismatch> {
        let is_right = match (self, raw) {
            // A flag or variable is text, but a float in it is not valid for an integer key.
            (
                Self::Whole { .. } | Self::StreamRate | Self::WholeSeconds { .. },
                Raw::Text(text),
            ) => {
                if is_float(text) {
                    let (found, is_quoted) = ("a float", false);
                    return Some(Mismatch { found, is_quoted });
                }
                true
            }
            (Self::Whole { .. } | Self::StreamRate | Self::WholeSeconds { .. }, Raw::Whole(..))
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
            Self::Whole { .. }
                | Self::StreamRate
                | Self::WholeSeconds { .. }
                | Self::Seconds { .. }
                | Self::Switch
        )
    }

    /// Returns whether `text` without quotes has the type of the key.
    fn is_bare_value(self, text: &str) -> bool {
        match self {
            Self::Whole { .. } | Self::StreamRate | Self::WholeSeconds { .. } => {
                text.parse::<i64>().is_ok()
            }
            Self::Seconds { .. } => text.parse::<i64>().is_ok() || is_float(text),
            Self::Switch => matches!(text, "true" | "false"),
            _ => false,
        }
    }

    /// Returns the name of the type as in the reference's table.
    #[must_use]
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Whole { .. } | Self::StreamRate | Self::WholeSeconds { .. } => "int",
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
