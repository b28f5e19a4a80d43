//! Chain directory and validation key of a configuration, for commands without a node.

use crate::chain_service::dir::candidates;
use crate::config::Settings;
use crate::key_file::{KeyKind, NodeKeys};
use astreum_core::crypto::SigningKey;

use super::output::{Failure, complain};

/// Returns the chain directory that the configuration names.
pub(super) fn directory(settings: &Settings) -> Result<std::path::PathBuf, Failure> {
    candidates(settings).into_iter().next().ok_or_else(|| {
        Failure::Usage(
            "neither chain_dir nor cold_storage_path is set; give --config FILE or \
             --cold-storage-path DIR"
                .to_owned(),
        )
    })
}

/// Returns the public key of the configured validator, if its file can be read.
pub(super) fn validation_key(settings: &Settings) -> Vec<[u8; 32]> {
    let secret = match NodeKeys::read_one(settings, KeyKind::Validation) {
        Ok(secret) => secret,
        Err(error) => {
            complain(&format!(
                "warning: no signing record for the configured key: {error}"
            ));
            return Vec::new();
        }
    };
    let key = secret.map(|secret| SigningKey::from_seed(secret.expose()).verifying_key());
    key.map(|key| *key.as_bytes()).into_iter().collect()
}
