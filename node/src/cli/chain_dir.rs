//! Chain directory and validation key of a configuration, for commands without a node.

use crate::chain_service::dir::candidates;
use crate::config::Settings;
use crate::key_file::{KeyKind, PassphraseSource, configured_public_key};

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
    let passphrases = PassphraseSource::of_or_terminal(settings);
    match configured_public_key(settings, KeyKind::Validation, &passphrases) {
        Ok(key) => key.into_iter().collect(),
        Err(error) => {
            complain(&format!(
                "warning: no signing record for the configured key: {error}"
            ));
            Vec::new()
        }
    }
}
