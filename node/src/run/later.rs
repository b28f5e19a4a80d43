//! Keys whose part of a node is not in this version: who sets one is told.

use crate::config::Config;

/// What is configured and has no effect, a sentence each.
#[must_use]
pub fn without_effect(config: &Config) -> Vec<String> {
    let validates =
        config.validation_secret_key.is_some() || config.validation_secret_key_file.is_some();
    let validation = validates.then_some(
        "validation_secret_key has no effect: validation is not in this version, so the node does \
         not validate",
    );
    validation.into_iter().map(str::to_owned).collect()
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
        assert!(without_effect(&config).is_empty());
        let config = Config {
            validation_secret_key: Some(Secret::new([7; 32])),
            ..config
        };
        let warnings = without_effect(&config);
        assert!(warnings.len() == 1 && warnings[0].starts_with("validation_secret_key"));
        let config = Config {
            validation_secret_key_file: Some("key".into()),
            ..Config::default()
        };
        assert_eq!(without_effect(&config).len(), 1);
    }
}
