//! Resolution of a configuration: checks of its values, and of relations between them.

use super::error::{ConfigError, ConfigErrors};
use super::keys::{Config, KEYS, Key};
use super::settings::Settings;
use super::source::Source;
use super::value::{Chain, Mismatch, SyncMode, object_store_parts};

impl Config {
    /// Checks all values, and derives those that are not set from the final values of other keys.
    ///
    /// ```
    /// use astreum_node::config::Config;
    /// use core::time::Duration;
    ///
    /// let mut config = Config::default();
    /// config.peer_timeout_interval = Duration::from_secs(20);
    /// let settings = config.resolve()?;
    /// assert_eq!(settings.verify_blockchain_interval, Duration::from_secs(20));
    /// # Ok::<(), astreum_node::config::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    /// Returns all values that their keys do not allow, and all contradictions.
    pub fn resolve(self) -> Result<Settings, ConfigErrors> {
        let misfits = KEYS.iter().filter(|key| !(key.fits)(&self));
        let misfits = misfits.map(|key| {
            let shown = key.show_raw(&self).to_string();
            not_allowed(key, shown, None, (key.reason)(&self), Source::Default)
        });
        let conflicts = conflicts(&self, |_| Source::Default);
        let errors: Vec<ConfigError> = misfits.chain(conflicts).collect();
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        Ok(Settings::of_checked(self))
    }
}

/// Returns the error about the value of a key; the value of a secret is left out.
pub(super) fn not_allowed(
    key: &'static Key,
    value: String,
    mismatch: Option<Mismatch>,
    reason: Option<&'static str>,
    source: Source,
) -> ConfigError {
    ConfigError::NotAllowed {
        source,
        key,
        value: (!key.is_secret()).then_some(value),
        mismatch,
        reason,
    }
}

/// Returns the contradictions between keys. `source` returns the source of the key with a name.
pub(super) fn conflicts(config: &Config, source: impl Fn(&str) -> Source) -> Vec<ConfigError> {
    let one_of_them = "set only one of them";
    let relay = config.relay_secret_key.is_some() && config.relay_secret_key_file.is_some();
    let validation =
        config.validation_secret_key.is_some() && config.validation_secret_key_file.is_some();
    let has_signer = config.validation_signer.is_some();
    let has_secret =
        config.validation_secret_key.is_some() || config.validation_secret_key_file.is_some();
    let chain = config.chain.zip(config.chain_id);
    let chain = chain.is_some_and(|(chain, id)| (chain == Chain::Main) != (id == 1));
    let bind = config.bind_address;
    let family = bind.is_some_and(|address| address.is_ipv6() != config.use_ipv6);
    let is_snapshot = config.sync == SyncMode::Snapshot;
    let is_trusted = config.checkpoint.is_some() || config.default_seed.is_some();
    let remote = config.cold_storage_path.as_deref();
    let remote = remote.and_then(object_store_parts);
    let is_remote = remote.is_some();
    let starts_elsewhere = config.verified_up_to.is_some() || config.latest_block_hash.is_some();
    let listen = config.rpc_listen;
    let is_exposed = listen.is_some_and(|listen| !listen.is_local()) && !config.rpc_allow_remote;
    let relations = [
        (
            is_exposed,
            "rpc_listen",
            "rpc_allow_remote",
            "other machines can reach the address, and there is no encryption: listen on 127.0.0.1 \
             behind a proxy with TLS, or set rpc_allow_remote = true",
        ),
        (
            is_snapshot && !is_trusted,
            "sync",
            "checkpoint",
            "a snapshot needs a trusted block: set checkpoint to the id of a recent block, from a \
             source that you trust",
        ),
        (
            is_snapshot && config.cold_storage_path.is_none(),
            "sync",
            "cold_storage_path",
            "a snapshot is stored in cold storage: set cold_storage_path",
        ),
        (
            is_remote && config.cold_storage_local_path.is_none(),
            "cold_storage_path",
            "cold_storage_local_path",
            "an object store holds sealed pairs only: set cold_storage_local_path to a directory on \
             this machine for journals, the chain's files and the read cache",
        ),
        (
            !is_remote && config.cold_storage_local_path.is_some(),
            "cold_storage_local_path",
            "cold_storage_path",
            "cold_storage_local_path goes with an object store: set cold_storage_path to \
             s3://BUCKET/PREFIX, or leave cold_storage_local_path unset",
        ),
        (
            remote.is_some_and(|(bucket, _)| bucket.is_empty()),
            "cold_storage_path",
            "cold_storage_local_path",
            "the address of an object store is s3://BUCKET/PREFIX, and this one has no bucket",
        ),
        (
            is_snapshot && starts_elsewhere,
            "sync",
            if config.verified_up_to.is_some() {
                "verified_up_to"
            } else {
                "latest_block_hash"
            },
            "a snapshot starts at checkpoint",
        ),
        (
            config.explorer && listen.is_none(),
            "explorer",
            "rpc_listen",
            "the page is served by RPC over HTTP: set rpc_listen, such as 127.0.0.1:52781",
        ),
        (
            config.transaction_index
                && config.cold_storage_path.is_none()
                && config.chain_dir.is_none(),
            "transaction_index",
            "cold_storage_path",
            "the index is kept beside the chain's files: set cold_storage_path or chain_dir",
        ),
        (
            family,
            "bind_address",
            "use_ipv6",
            "an IPv6 address needs use_ipv6 = true, an IPv4 address use_ipv6 = false",
        ),
        (
            relay,
            "relay_secret_key",
            "relay_secret_key_file",
            one_of_them,
        ),
        (
            validation,
            "validation_secret_key",
            "validation_secret_key_file",
            one_of_them,
        ),
        (
            has_signer && has_secret,
            "validation_signer",
            if config.validation_secret_key.is_some() {
                "validation_secret_key"
            } else {
                "validation_secret_key_file"
            },
            one_of_them,
        ),
        (
            has_signer && config.validation_public_key.is_none(),
            "validation_signer",
            "validation_public_key",
            "set validation_public_key to the key that the signer prints",
        ),
        (
            !has_signer && config.validation_public_key.is_some(),
            "validation_public_key",
            "validation_signer",
            "the public key is that of a signer: set validation_signer to its socket",
        ),
        (
            chain,
            "chain",
            "chain_id",
            "chain main has chain_id 1, chain test any other",
        ),
    ];
    let broken = relations.into_iter().filter(|(is_broken, ..)| *is_broken);
    let conflict = |(_, first, second, advice)| ConfigError::Conflict {
        first: (first, source(first)),
        second: (second, source(second)),
        advice,
    };
    broken.map(conflict).collect()
}
