//! Usage errors: errors of the argument parser in the style of all other errors.

use core::error::Error as _;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{ArgAction, Command, CommandFactory as _};

use super::args::Cli;
use crate::config::Key;

/// Returns the message for an error in `arguments`, which begin with the name of the program: the
/// cause and what to do.
pub(super) fn explain(error: &Error, arguments: &[String]) -> String {
    let mut root = Cli::command();
    root.build();
    let (command, path) = command_of(&root, arguments);
    // The command `help` has no option --help.
    let see = format!("see `{} --help`", path.replacen(" help", "", 1));
    let arg = strings(error, ContextKind::InvalidArg);
    let name = arg.first().map_or("", |arg| option_name(arg));
    let value = strings(error, ContextKind::InvalidValue).into_iter().next();
    let value = value.unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if let Some(key) = secret_key(name) => {
            let flag = key.flag();
            format!(
                "--{flag} is not an option: other users of this machine can read secret keys on a \
                 command line; use --{flag}-file FILE, the environment variable {}, or {} in a \
                 configuration file that only its owner can read",
                key.environment_variable(),
                key.name
            )
        }
        ErrorKind::UnknownArgument => {
            let suggestion = strings(error, ContextKind::SuggestedArg);
            let what = if name.starts_with('-') && name.len() > 1 {
                "unknown option"
            } else {
                "unexpected argument"
            };
            match suggestion.first() {
                Some(meant) => format!("{what} {name:?}; did you mean {}?", option_name(meant)),
                None => format!("{what} {name:?} of `{path}`; {see}"),
            }
        }
        ErrorKind::InvalidSubcommand => {
            let unknown = strings(error, ContextKind::InvalidSubcommand);
            let unknown = unknown.first().map_or("", |name| name);
            let meant = strings(error, ContextKind::SuggestedSubcommand);
            match meant.first() {
                Some(meant) => format!("unknown command {unknown:?}; did you mean {meant}?"),
                None => format!("unknown command {unknown:?} of `{path}`; {see}"),
            }
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            format!("missing value for {name}{}; {see}", expected(error))
        }
        ErrorKind::InvalidValue => {
            let meant = strings(error, ContextKind::SuggestedValue);
            let meant = meant
                .first()
                .map(|meant| format!("; did you mean {meant}?"));
            format!(
                "invalid value {value:?} for {name}{}{}",
                expected(error),
                meant.unwrap_or_default()
            )
        }
        ErrorKind::ValueValidation => {
            let why = error.source().map(ToString::to_string);
            format!(
                "invalid value {value:?} for {name}: {}",
                why.unwrap_or_default()
            )
        }
        ErrorKind::NoEquals => format!("missing value for {name}; write {name}=VALUE"),
        ErrorKind::ArgumentConflict => {
            let others = strings(error, ContextKind::PriorArg);
            let others: Vec<&str> = others.iter().map(|other| option_name(other)).collect();
            if name.is_empty() {
                // Options of `run`, which is the default command.
                format!(
                    "{} is an option of `astreum run`: it cannot be combined with another command",
                    others.join(", ")
                )
            } else if others.is_empty() || others == [name] {
                format!("{name} is given more than once; {see}")
            } else {
                format!(
                    "{name} cannot be combined with {}; {see}",
                    others.join(", ")
                )
            }
        }
        ErrorKind::MissingRequiredArgument => {
            let names: Vec<&str> = arg.iter().map(|arg| option_name(arg)).collect();
            format!("missing {}; {see}", names.join(" and "))
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let names = command.get_subcommands().filter(|it| !it.is_hide_set());
            let names: Vec<&str> = names.map(Command::get_name).collect();
            match names.is_empty() {
                true => format!("missing arguments of `{path}`; {see}"),
                false => format!(
                    "missing command of `{path}`: expected {}; {see}",
                    names.join(", ")
                ),
            }
        }
        ErrorKind::TooManyValues | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            format!("wrong number of values for {name}; {see}")
        }
        ErrorKind::InvalidUtf8 => format!("an argument is not UTF-8; {see}"),
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            format!("{first}; {see}")
        }
    }
}

/// Returns the secret key of the configuration whose flag this would be, in either spelling.
fn secret_key(option: &str) -> Option<&'static Key> {
    let name = option.strip_prefix("--")?.replace('-', "_");
    Key::find(&name).filter(|key| key.is_secret())
}

/// Returns the list of accepted values with its introduction, or an empty text if there is none.
fn expected(error: &Error) -> String {
    let valid = strings(error, ContextKind::ValidValue);
    match valid.as_slice() {
        [] => String::new(),
        values => format!(": expected {}", values.join(", ")),
    }
}

fn strings(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// Returns the name of an option without its value: `--kind` of `--kind <KIND>`.
fn option_name(shown: &str) -> &str {
    if shown.starts_with('-') {
        shown.split([' ', '=', '[']).next().unwrap_or(shown)
    } else {
        shown
    }
}

/// Returns the innermost command in `arguments`, and its full name.
fn command_of<'c>(root: &'c Command, arguments: &[String]) -> (&'c Command, String) {
    let (mut command, mut path) = (root, root.get_name().to_owned());
    let mut arguments = arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        if let Some(flag) = argument.strip_prefix("--") {
            let takes_next = command.get_arguments().any(|arg| {
                let names = arg.get_long_and_visible_aliases().unwrap_or_default();
                let is_it = names.contains(&flag) || arg.get_id() == flag;
                let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
                is_it && takes && !arg.is_require_equals_set()
            });
            if takes_next {
                arguments.next();
            }
        } else if let Some(next) = command.find_subcommand(argument) {
            command = next;
            path = format!("{path} {}", next.get_name());
        }
    }
    (command, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(arguments: &str) -> String {
        let arguments: Vec<String> = ["astreum"]
            .into_iter()
            .chain(arguments.split_whitespace())
            .map(str::to_owned)
            .collect();
        let error = Cli::command().try_get_matches_from(&arguments).unwrap_err();
        explain(&error, &arguments)
    }

    #[test]
    fn usage_errors_state_argument_and_remedy() {
        for (arguments, expected) in [
            (
                "--nope",
                "unknown option \"--nope\" of `astreum`; see `astreum --help`",
            ),
            (
                "status --jsn",
                "unknown option \"--jsn\"; did you mean --json?",
            ),
            ("stats", "unknown command \"stats\"; did you mean status?"),
            (
                "--incoming-port 0 status",
                "--incoming-port is an option of `astreum run`: it cannot be combined with another command",
            ),
            (
                "frobnicate",
                "unknown command \"frobnicate\" of `astreum`; see `astreum --help`",
            ),
            (
                "keys zzz",
                "unknown command \"zzz\" of `astreum keys`; see `astreum keys --help`",
            ),
            ("get", "missing <ID>; see `astreum get --help`"),
            (
                "tx send",
                "missing <RECIPIENT> and <AMOUNT>; see `astreum tx send --help`",
            ),
            (
                "status more",
                "unexpected argument \"more\" of `astreum status`; see `astreum status --help`",
            ),
            (
                "status --check --check",
                "--check is given more than once; see `astreum status --help`",
            ),
            (
                "status --min-peers 3",
                "missing --check; see `astreum status --help`",
            ),
            (
                "completions zz",
                "invalid value \"zz\" for <SHELL>: expected bash, elvish, fish, powershell, zsh",
            ),
            (
                "completions basj",
                "invalid value \"basj\" for <SHELL>: expected bash, elvish, fish, powershell, zsh; did you mean bash?",
            ),
            (
                "status --timeout",
                "missing value for --timeout; see `astreum status --help`",
            ),
            (
                "status --timeout 0",
                "invalid value \"0\" for --timeout: expected an integer from 1 to 18446744073709551615",
            ),
            (
                "status --check --min-peers x",
                "invalid value \"x\" for --min-peers: expected an integer from 0 to 18446744073709551615",
            ),
            (
                "store merge 1000",
                "invalid value \"1000\" for [LEVEL]: expected an integer from 1 to 999",
            ),
            (
                "block list --count 0",
                "invalid value \"0\" for --count: expected an integer from 1 to 4294967295",
            ),
            (
                "eval --depth many 1",
                "invalid value \"many\" for --depth: expected an integer from 0 to 18446744073709551615",
            ),
            (
                "run --verbose maybe",
                "unexpected argument \"maybe\" of `astreum run`; see `astreum run --help`",
            ),
            (
                "tx",
                "missing command of `astreum tx`: expected send, sign, submit, status, resend, show, help; see `astreum tx --help`",
            ),
        ] {
            assert_eq!(error(arguments), expected, "{arguments}");
        }
    }

    #[test]
    fn secret_keys_on_the_command_line_are_rejected_without_showing_them() {
        for flag in ["relay-secret-key", "validation-secret-key"] {
            let file = format!("use --{flag}-file FILE");
            for arguments in [
                format!("run --{flag} 0707"),
                format!("run --{flag}=0707"),
                format!("--{} 0707", flag.replace('-', "_")),
                format!("config check --{flag} 0707"),
            ] {
                let text = error(&arguments);
                assert!(text.contains("other users"), "{arguments}: {text}");
                assert!(text.contains(&file), "{arguments}: {text}");
                assert!(text.contains("environment variable ASTREUM_"), "{text}");
                assert!(!text.contains("0707"), "{arguments}: {text}");
            }
        }
    }

    #[test]
    fn errors_of_help_name_the_help_of_the_command_before_it() {
        for (arguments, expected) in [
            ("help nosuch", "see `astreum --help`"),
            ("help --help", "see `astreum --help`"),
            ("tx help nosuch", "see `astreum tx --help`"),
        ] {
            let text = error(arguments);
            assert!(text.ends_with(expected), "{arguments}: {text}");
        }
    }

    #[test]
    fn accounts_of_every_chain_are_in_the_help_of_arguments_that_accept_them() {
        for (names, id) in [
            (["tx", "send"], "recipient"),
            (["devnet", "faucet"], "address"),
            (["proof", "verify"], "account"),
        ] {
            let root = Cli::command();
            let command = names.iter().fold(&root, |command, name| {
                command.find_subcommand(name).unwrap()
            });
            let mut arguments = command.get_arguments();
            let argument = arguments.find(|it| it.get_id() == id).unwrap();
            let help = argument.get_help().unwrap().to_string();
            assert!(help.contains("`treasury` or `burn`"), "{names:?}: {help}");
        }
    }

    #[test]
    fn option_values_are_not_parsed_as_commands() {
        let text = error("--config status --nope");
        assert_eq!(
            text,
            "unknown option \"--nope\" of `astreum`; see `astreum --help`"
        );
        let text = error("status --control-socket eval --nope");
        assert!(text.ends_with("see `astreum status --help`"), "{text}");
    }

    #[test]
    fn errors_do_not_have_the_layout_of_clap() {
        for arguments in [
            "--config",
            "--verbose=",
            "get a b",
            "keys generate a --kind foo",
            "put",
            "tx",
            "chain",
            "eval --as nope 1",
            "run --help=3",
            "help nope",
            "man",
            "advertise add",
            "--incoming-port 1 status",
            "status --state-dir",
            "proof",
            "store",
            "-x",
            "--",
        ] {
            let command = Cli::command();
            let arguments: Vec<String> = ["astreum"]
                .into_iter()
                .chain(arguments.split(' '))
                .map(str::to_owned)
                .collect();
            let Err(error) = command.try_get_matches_from(&arguments) else {
                continue;
            };
            let text = explain(&error, &arguments);
            for foreign in ["\n", "Usage", "error:", "<COMMAND>", "tip:", "For more"] {
                assert!(!text.contains(foreign), "{arguments:?}: {text}");
            }
            assert!(
                text.len() > 10 && !text.ends_with('.'),
                "{arguments:?}: {text}"
            );
        }
    }
}
