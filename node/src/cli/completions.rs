//! Commands `astreum completions` and `astreum man`: text generated from the definition of the
//! commands.

use std::io::Write as _;

use clap::builder::PossibleValuesParser;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::config::Key;

use super::args::Cli;
use super::help;
use super::output::{Failure, Output};

pub(super) fn completions(shell: Shell, out: &mut Output) -> Result<(), Failure> {
    Ok(out.raw().write_all(&script(shell))?)
}

fn script(shell: Shell) -> Vec<u8> {
    let command = Cli::command().mut_subcommand("devnet", |devnet| without_hidden(&devnet));
    // The generator panics if it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut with_values(command), "astreum", &mut script);
    script
}

/// Returns the command `devnet` without its hidden commands and arguments, which generators offer.
fn without_hidden(devnet: &Command) -> Command {
    let arguments = devnet.get_arguments().filter(|it| !it.is_hide_set());
    let commands = devnet.get_subcommands().filter(|it| !it.is_hide_set());
    Command::new(devnet.get_name().to_owned())
        .about(devnet.get_about().cloned().unwrap_or_default())
        .args(arguments.cloned())
        .subcommands(commands.cloned())
}

/// Adds the values that are words, for a command and those below it. When arguments are parsed, the
/// configuration checks them, with its own errors.
fn with_values(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let words = match argument.get_id().as_str() {
            "wait" => &["included", "safe"][..],
            name => Key::find(name).map_or(&[][..], |key| key.allowed.words()),
        };
        match words.is_empty() {
            true => argument,
            false => argument.value_parser(PossibleValuesParser::new(words.iter().copied())),
        }
    });
    command.mut_subcommands(with_values)
}

pub(super) fn man(names: &[String], out: &mut Output) -> Result<(), Failure> {
    let mut command = help::command();
    let mut title = command.get_name().to_owned();
    for name in names {
        let found = command.find_subcommand(name).cloned();
        let unknown = || Failure::Usage(format!("unknown command {:?}", names.join(" ")));
        command = found.ok_or_else(unknown)?;
        title = format!("{title}-{name}");
    }
    let mut command = command
        .bin_name(title.replace('-', " "))
        .display_name(title)
        .disable_help_subcommand(true);
    command.build();
    let source = format!("astreum {}", env!("CARGO_PKG_VERSION"));
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .source(source)
        .render(&mut page)?;
    let page = String::from_utf8(page).map_err(Failure::failed)?;
    Ok(out.write_all(page.replace("\n.SH EXTRA\n", "\n.SH EXAMPLES\n").as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_offer_words_and_nothing_hidden() {
        let bash = String::from_utf8(script(Shell::Bash)).unwrap();
        for hidden in ["janitor", "until-stdin-closes", "devnet,node)"] {
            assert!(!bash.contains(hidden), "{hidden}");
        }
        assert!(bash.contains("devnet,faucet)"));
        for words in [
            "json text",
            "full snapshot",
            "included safe",
            "relay validation account",
        ] {
            assert!(bash.contains(&format!("\"{words}\"")), "{words}");
        }
        for shell in [Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh] {
            let text = String::from_utf8(script(shell)).unwrap();
            assert!(
                text.contains("faucet") && !text.contains("janitor"),
                "{shell}"
            );
        }
    }
}
