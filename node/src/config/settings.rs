//! Settings of a node: the configuration after checks and derivation.

use core::ops::Deref;

use astreum_core::machine::Limits;

use super::keys::{Config, SettingValues};

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

    /// Returns all values.
    #[must_use]
    pub const fn values(&self) -> &SettingValues {
        &self.0
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
