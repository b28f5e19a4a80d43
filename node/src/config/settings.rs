//! Settings of a node: the configuration after checks and derivation.

use core::ops::Deref;

use astreum_core::machine::Limits;

use std::path::Path;

use super::keys::{Config, Key, SettingValues};
use super::value::{is_object_store, object_store_parts};

/// Object store that has the sealed pairs of cold storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectStore<'a> {
    /// Address, as it was given.
    pub url: &'a str,
    /// Name of the bucket.
    pub bucket: &'a str,
    /// Prefix of all keys, without slashes around it; may be empty.
    pub prefix: &'a str,
    /// Local directory of everything else.
    pub local: &'a Path,
    /// Maximum bytes of the read cache.
    pub cache_limit_bytes: u64,
    /// URL of the server, if one is given.
    pub endpoint: Option<&'a str>,
    /// Region, if one is given.
    pub region: Option<&'a str>,
    /// True if a connection without TLS to another machine is allowed.
    pub allows_http: bool,
}

/// Settings that a node runs with. Every value is one that its key allows, no two contradict each
/// other, and none can change. Made by [`Config::resolve`].
///
/// ```
/// use astreum_node::config::{Chain, Config};
///
/// let settings = Config { chain: Some(Chain::Main), ..Config::default() }.resolve()?;
/// assert_eq!(settings.chain_id, 1);
/// assert_eq!(settings.verify_blockchain_interval, settings.peer_timeout_interval);
/// # Ok::<(), astreum_node::config::ConfigErrors>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Settings(SettingValues);

impl Settings {
    /// Derives the settings from a configuration whose values are checked.
    pub(super) fn of_checked(config: Config) -> Self {
        Self(SettingValues::derive(config))
    }

    /// Returns whether a validation key is configured: directly, in a file, or of a signer.
    #[must_use]
    pub const fn has_validation_key(&self) -> bool {
        self.0.validation_secret_key.is_some()
            || self.0.validation_secret_key_file.is_some()
            || self.0.validation_signer.is_some()
    }

    /// Returns these settings with the values of other ones in some keys. They describe what is in
    /// force, and are not checked again.
    #[must_use]
    pub(crate) fn with_values_of(mut self, other: &Self, keys: &[&Key]) -> Self {
        for key in keys {
            (key.copy)(&mut self.0, &other.0);
        }
        self
    }

    /// Returns all values.
    #[must_use]
    pub const fn values(&self) -> &SettingValues {
        &self.0
    }

    /// Returns the local directory of cold storage: with an object store, that of the files that stay
    /// on this machine.
    #[must_use]
    pub fn cold_directory(&self) -> Option<&Path> {
        let path = self.0.cold_storage_path.as_deref()?;
        match is_object_store(path) {
            true => self.0.cold_storage_local_path.as_deref(),
            false => Some(path),
        }
    }

    /// Returns the object store of cold storage, if there is one.
    #[must_use]
    pub fn object_store(&self) -> Option<ObjectStore<'_>> {
        let values = &self.0;
        let path = values.cold_storage_path.as_deref()?;
        let (bucket, prefix) = object_store_parts(path)?;
        Some(ObjectStore {
            url: path.to_str()?,
            bucket,
            prefix,
            local: values.cold_storage_local_path.as_deref()?,
            cache_limit_bytes: values.cold_storage_cache_limit,
            endpoint: values.object_store_endpoint.as_deref(),
            region: values.object_store_region.as_deref(),
            allows_http: values.object_store_allow_http,
        })
    }

    /// Returns whether any seed is configured.
    #[must_use]
    pub const fn has_seeds(&self) -> bool {
        self.0.default_seed.is_some() || !self.0.additional_seeds.is_empty()
    }

    /// Returns the limits of evaluations.
    #[must_use]
    pub const fn eval_limits(&self) -> Limits {
        Limits {
            depth: self.0.eval_depth,
            steps: self.0.eval_steps,
            stack_items: self.0.eval_stack,
            heap_entries: self.0.eval_heap,
            live_bytes: self.0.eval_live_bytes,
            ..Limits::DEFAULT
        }
    }
}

/// Settings of a node that nothing is configured for.
impl Default for Settings {
    fn default() -> Self {
        Self::of_checked(Config::default())
    }
}

impl Deref for Settings {
    type Target = SettingValues;

    fn deref(&self) -> &SettingValues {
        &self.0
    }
}
