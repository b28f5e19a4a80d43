//! Configuration: raw text from flags, environment and TOML becomes one [`Config`], and that is
//! resolved once into the [`Settings`] of a node.
//!
//! Precedence is flags, then environment (`ASTREUM_<KEY>`), then the TOML file, then defaults.
//! Every error names the source, the key, the value and the allowed values, and shows the place in
//! the file; all errors are reported at once. An unknown key is an
//! error in a file, and a warning in the environment, which other programs write too. The TOML file
//! is the only file opened here.
//!
//! Invariants:
//! - [`KEYS`] is the only list of keys; flags, environment, file, checks and output follow it.
//! - Derived values come from the final values of a [`Config`]; those that are set win. Everything
//!   but this module takes [`Settings`].
//! - A secret is never part of an error, of `Debug` or of the result of [`Key::show`].

mod error;
mod excerpt;
mod home;
mod keys;
mod load;
mod paths;
mod resolve;
mod secret;
mod settings;
mod source;
pub(crate) mod stream_memory;
mod template;
mod value;

pub(crate) use error::suggest;
pub use error::{ConfigError, ConfigErrors};
pub use excerpt::Excerpt;
pub(crate) use home::expand_home;
pub use keys::{Config, DEFAULT_SEED, KEYS, Key, SettingValues};
pub use load::{Inputs, Loaded, MAX_FILE_BYTES};
pub(crate) use paths::PRODUCT;
pub use paths::{Paths, instance_id};
pub use secret::Secret;
pub use settings::{ObjectStore, Settings};
pub use source::Source;
pub use template::template;
pub use value::{
    Allowed, Chain, ColdStorageSync, DisplayValue, HostNames, ListenAddress, LogFilter, LogFormat,
    Mismatch, Origins, ParseSeedError, PortMapping, Seed, SyncMode,
};

#[cfg(test)]
mod tests;
