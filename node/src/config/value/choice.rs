//! Values that are one of a few words.

use super::{DisplayValue, OptionalSetting, Raw, Setting, parsed};

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
