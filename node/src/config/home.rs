//! Home directory in configured paths.

use std::path::PathBuf;

/// Replaces a leading `~` of `path` with the home directory. A shell expands it only at the start
/// of a word; a TOML file and the environment of a service do not.
pub(crate) fn expand_home(path: PathBuf) -> PathBuf {
    match path.strip_prefix("~").ok().zip(std::env::home_dir()) {
        Some((rest, home)) if rest.as_os_str().is_empty() => home,
        Some((rest, home)) => home.join(rest),
        None => path,
    }
}
