//! Types of configuration values: reading, validation and display.
//!
//! [`Setting`] is the trait of all of them, and [`OptionalSetting`] that of those that can be left
//! unset. Each has its implementation beside its type.
//!
//! Invariants:
//! - A text form of a [`Raw`] is for error messages only, and never used for a secret.
//! - What [`Setting::show`] returns never contains a secret.

mod address;
mod allowed;
mod choice;
mod display;
mod logging;
mod number;
mod path;
mod port_mapping;
mod raw;
mod rpc;
mod seed;

pub use allowed::{Allowed, Mismatch};
pub use choice::{Chain, ColdStorageSync, SyncMode};
pub use display::DisplayValue;
pub use logging::{LogFilter, LogFormat};
pub(super) use path::{is_object_store, object_store_parts};
pub use port_mapping::PortMapping;
pub(super) use raw::Raw;
pub use rpc::{HostNames, ListenAddress, Origins};
pub use seed::{ParseSeedError, Seed};

use super::secret::Secret;
use astreum_core::atom::AtomId;
use std::path::Path;

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

impl OptionalSetting for AtomId {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.to_string())
    }
}
