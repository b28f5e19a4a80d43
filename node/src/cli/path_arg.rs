//! Path arguments.

use core::ops::Deref;
use std::path::{Path, PathBuf};

use clap::builder::{
    MapValueParser, PathBufValueParser, TypedValueParser as _, ValueParserFactory,
};

use crate::config::expand_home;

/// Path on the command line, with a leading `~` expanded: shells do not expand it in
/// `--config=~/node.toml`. All path arguments have this type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PathArg(PathBuf);

impl PathArg {
    /// Returns whether the path means stdin.
    pub(super) fn is_stdin(&self) -> bool {
        self.0.as_os_str() == "-"
    }

    pub(super) fn into_path(self) -> PathBuf {
        self.0
    }
}

impl From<PathBuf> for PathArg {
    fn from(path: PathBuf) -> Self {
        Self(expand_home(path))
    }
}

impl Deref for PathArg {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl ValueParserFactory for PathArg {
    type Parser = MapValueParser<PathBufValueParser, fn(PathBuf) -> Self>;

    fn value_parser() -> Self::Parser {
        PathBufValueParser::new().map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use clap::builder::ValueParser;
    use clap::{Arg, Command, CommandFactory as _};

    use super::super::args::Cli;
    use super::*;

    fn arguments(command: &Command, found: &mut Vec<(String, Arg)>) {
        for arg in command.get_arguments() {
            found.push((
                format!("{} {}", command.get_name(), arg.get_id()),
                arg.clone(),
            ));
        }
        for command in command.get_subcommands() {
            arguments(command, found);
        }
    }

    #[test]
    fn every_path_argument_expands_the_home_directory() {
        let mut found = Vec::new();
        arguments(&Cli::command(), &mut found);
        let type_of = |parser: &ValueParser| parser.type_id();
        let expanding = type_of(&ValueParser::from(PathArg::value_parser()));
        let plain = type_of(&ValueParser::path_buf());
        // The configuration expands the values of keys.
        let is_key = |arg: &Arg| crate::config::Key::find(arg.get_id().as_str()).is_some();
        let mut paths = 0;
        for (name, arg) in &found {
            let parser = type_of(arg.get_value_parser());
            assert_ne!(parser, plain, "{name}");
            let id = arg.get_id().as_str();
            let value_names: Vec<&str> = arg
                .get_value_names()
                .unwrap_or_default()
                .iter()
                .map(|name| name.as_str())
                .collect();
            let is_named_so = ["FILE", "PATH", "DIR", "DIRECTORY"]
                .iter()
                .any(|name| value_names.contains(name));
            if is_named_so && !is_key(arg) {
                assert_eq!(parser, expanding, "{name} ({id})");
                paths += 1;
            }
        }
        assert!(paths > 20, "{paths}");
    }

    #[test]
    fn expands_tilde_only_at_the_start() {
        let home = std::env::home_dir().unwrap();
        let expanded = |text: &str| PathArg::from(PathBuf::from(text)).into_path();
        assert_eq!(expanded("~/a/b"), home.join("a/b"));
        assert_eq!(expanded("~"), home);
        for same in ["a/~", "~user/a", "./~", "-", "a~"] {
            assert_eq!(expanded(same), Path::new(same));
        }
    }
}
