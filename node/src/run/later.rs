//! Keys whose part of a node is not in this version: who sets one is told.

use crate::config::Config;

/// What is configured and has no effect, a sentence each.
#[must_use]
pub fn without_effect(config: &Config) -> Vec<String> {
    let storage = config.cold_storage_path.as_ref().map(|_| {
        "cold_storage_path has no effect: cold storage is not in this version, so atoms are kept in \
         memory only"
    });
    let validates =
        config.validation_secret_key.is_some() || config.validation_secret_key_file.is_some();
    let validation = validates.then_some(
        "validation_secret_key has no effect: validation is not in this version, so the node does \
         not validate",
    );
    [storage, validation]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn only_what_is_set_is_warned_about() {
        assert!(without_effect(&Config::default()).is_empty());
        let config = Config {
            cold_storage_path: Some("cold".into()),
            ..Config::default()
        };
        let warnings = without_effect(&config);
        assert!(warnings.len() == 1 && warnings[0].starts_with("cold_storage_path"));
        let config = Config {
            validation_secret_key: Some(Secret::new([7; 32])),
            ..config
        };
        assert_eq!(without_effect(&config).len(), 2);
        let config = Config {
            validation_secret_key_file: Some("key".into()),
            ..Config::default()
        };
        assert_eq!(without_effect(&config).len(), 1);
    }
}
