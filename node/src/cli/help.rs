//! Command line definition with help texts that are wrapped once.
//!
//! The texts after the options are wrapped in the source. The parser wraps them again to the width
//! of the terminal, so that their paragraphs have to be single lines.

use clap::{Command, CommandFactory as _, Error, FromArgMatches as _};

use super::args::Cli;

/// Minimum length in characters of a line in the source that its paragraph continues after.
const MIN_WRAPPED: usize = 75;

/// Returns the definition of the commands.
pub(super) fn command() -> Command {
    with_paragraphs(Cli::command())
}

/// Parses the arguments of this process.
pub(super) fn parse() -> Result<Cli, Error> {
    let matches = command().try_get_matches()?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}

fn with_paragraphs(command: Command) -> Command {
    let text = command.get_after_help().map(ToString::to_string);
    let command = match text {
        Some(text) => command.after_help(unwrapped(&text)),
        None => command,
    };
    command.mut_subcommands(with_paragraphs)
}

/// Joins the lines of each paragraph. Indented lines, such as examples, are kept, and so is the end of
/// a short line.
fn unwrapped(text: &str) -> String {
    let mut joined = String::new();
    let mut continues = false;
    for (at, line) in text.split('\n').enumerate() {
        let is_prose = !line.is_empty() && !line.starts_with(' ');
        if at > 0 {
            joined.push(if continues && is_prose { ' ' } else { '\n' });
        }
        joined.push_str(line);
        continues = is_prose && line.chars().count() >= MIN_WRAPPED;
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_become_lines_and_examples_are_kept() {
        let long = "x".repeat(MIN_WRAPPED);
        let text = format!("Examples:\n  {long}\n  b\n\n{long}\n{long}\nc\n{long}\n\nd\n  e");
        let expected = format!("Examples:\n  {long}\n  b\n\n{long} {long} c\n{long}\n\nd\n  e");
        assert_eq!(unwrapped(&text), expected);
    }

    #[test]
    fn help_is_wrapped_once() {
        let mut root = command().term_width(80);
        root.build();
        let chain = root.find_subcommand_mut("chain").unwrap();
        let help = chain.find_subcommand_mut("export").unwrap();
        let help = help.clone().term_width(80).render_help().to_string();
        let prose: Vec<&str> = help
            .lines()
            .skip_while(|line| !line.starts_with("The node must"))
            .filter(|line| !line.is_empty())
            .collect();
        // Only the last line of the paragraph is short.
        let (_, full) = prose.split_last().unwrap();
        assert!(full.len() > 2, "{help}");
        assert!(full.iter().all(|line| line.len() > 55), "{help}");
    }
}
