//! Paths of a node's own files, derived from the configuration.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::load::Loaded;
use super::settings::Settings;

/// Name of the organization in the reference's log path.
const ORGANISATION: &str = "Astreum";
/// Name of the product: part of the log path, and first half of the logger's name.
pub(crate) const PRODUCT: &str = "lib-rs";

/// Files and directories of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paths {
    /// Directory of all files of the node that have no configured place.
    pub state_dir: PathBuf,
    /// Directory of `node.log` and its rotated files.
    pub log_dir: PathBuf,
    /// Unix socket through which other commands reach the node.
    pub control_socket: PathBuf,
    /// Sixteen hex digits that distinguish the logs of different entry points.
    pub instance_id: String,
}

impl Paths {
    /// Returns the paths of a node that `entry_point` starts.
    #[must_use]
    pub fn new(settings: &Settings, entry_point: &Path) -> Self {
        let state_dir = settings.state_dir.clone().unwrap_or_else(default_state_dir);
        let instance_id = instance_id(entry_point);
        let log_dir = settings.log_dir.clone();
        let control_socket = settings.control_socket.clone();
        Self {
            log_dir: log_dir.unwrap_or_else(|| state_dir.join("logs").join(&instance_id)),
            control_socket: control_socket.unwrap_or_else(|| state_dir.join("control.sock")),
            state_dir,
            instance_id,
        }
    }
}

impl Loaded {
    /// Returns the node's paths. The entry point is the TOML file, or without one the executable,
    /// so that nodes with different files have different logs.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let executable = || std::env::current_exe().unwrap_or_else(|_| "astreum".into());
        let entry_point = self.file.clone().unwrap_or_else(executable);
        Paths::new(&self.settings, &entry_point)
    }
}

/// Returns the first 16 hex digits of BLAKE3 over the entry point's resolved path.
#[must_use]
pub fn instance_id(entry_point: &Path) -> String {
    let path = std::fs::canonicalize(entry_point)
        .or_else(|_| std::path::absolute(entry_point))
        .unwrap_or_else(|_| entry_point.to_owned());
    let hash = blake3::hash(path.to_string_lossy().as_bytes()).to_hex();
    hash.chars().take(16).collect()
}

/// Returns the product's directory below that of the platform for the state of programs, where the
/// reference has its logs too.
fn default_state_dir() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_else(|| "/".into());
    state_root(cfg!(windows), |name| std::env::var_os(name), home)
        .join(ORGANISATION)
        .join(PRODUCT)
}

/// Returns `%LOCALAPPDATA%` on Windows, elsewhere `$XDG_STATE_HOME`, else the default of these.
fn state_root(
    is_windows: bool,
    variable: impl Fn(&str) -> Option<OsString>,
    home: impl Fn() -> PathBuf,
) -> PathBuf {
    let (name, default) = match is_windows {
        true => ("LOCALAPPDATA", "AppData/Local"),
        false => ("XDG_STATE_HOME", ".local/state"),
    };
    // A relative path counts as unset, as the XDG specification requires.
    let set = variable(name).map(PathBuf::from);
    let set = set.filter(|path| path.is_absolute());
    set.unwrap_or_else(|| home().join(default))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn instance_id_is_the_start_of_the_hash_of_the_path() {
        let expected = blake3::hash(b"/no/such/file").to_hex();
        assert_eq!(instance_id(Path::new("/no/such/file")), expected[..16]);
    }

    #[test]
    fn state_is_where_the_platform_has_that_of_programs() {
        let variables = |name: &str| match name {
            "LOCALAPPDATA" => Some("/local".into()),
            "XDG_STATE_HOME" => Some("/xdg".into()),
            _ => None,
        };
        let home = || PathBuf::from("/home");
        assert_eq!(state_root(true, variables, home), Path::new("/local"));
        assert_eq!(state_root(false, variables, home), Path::new("/xdg"));
        for unset in [None, Some("relative")] {
            let unset = |_: &str| unset.map(OsString::from);
            let root = |is_windows| state_root(is_windows, unset, home);
            assert_eq!(root(true), Path::new("/home/AppData/Local"));
            assert_eq!(root(false), Path::new("/home/.local/state"));
        }
    }

    #[test]
    fn paths_follow_the_state_directory_unless_they_are_set() {
        let of =
            |config: Config| Paths::new(&config.resolve().unwrap(), Path::new("/no/such/file"));
        let config = Config {
            state_dir: Some("/state".into()),
            ..Config::default()
        };
        let paths = of(config.clone());
        assert_eq!(paths.control_socket, Path::new("/state/control.sock"));
        assert_eq!(
            paths.log_dir,
            Path::new("/state/logs").join(&paths.instance_id)
        );
        let config = Config {
            log_dir: Some("/log".into()),
            control_socket: Some("/run/a.sock".into()),
            ..config
        };
        let paths = of(config);
        assert_eq!(paths.log_dir, Path::new("/log"));
        assert_eq!(paths.control_socket, Path::new("/run/a.sock"));
    }
}
