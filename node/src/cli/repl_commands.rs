//! Commands of the REPL: names, arguments and help.

/// Command of the REPL.
pub(super) struct ReplCommand {
    /// Name without the colon.
    pub(super) name: &'static str,
    /// Arguments, for the help.
    arguments: &'static str,
    help: &'static str,
}

const fn command(name: &'static str, arguments: &'static str, help: &'static str) -> ReplCommand {
    ReplCommand {
        name,
        arguments,
        help,
    }
}

/// All commands, in the order of the help.
pub(super) const COMMANDS: [ReplCommand; 17] = [
    command("env", "[PREFIX]", "list the names that are bound"),
    command("load", "FILE", "evaluate the expressions of a file"),
    command(
        "save",
        "FILE",
        "write the definitions of the session to a new file",
    ),
    command("std", "", "define the standard library"),
    command(
        "step",
        "EXPR",
        "evaluate step by step: show the state before each step",
    ),
    command(
        "step",
        "[N]",
        "run the next step, or N steps; so does an empty line",
    ),
    command("finish", "", "run the rest of the steps"),
    command("stop", "", "abort the stepped evaluation"),
    command(
        "time",
        "[EXPR]",
        "evaluate and show time and charge; without EXPR, of the last one",
    ),
    command(
        "meter",
        "[EXPR]",
        "evaluate and show charge, steps and atoms",
    ),
    command("atoms", "[ID]", "list the atoms in memory, or show one"),
    command("limit", "", "list the limits of each expression"),
    command(
        "limit",
        "NAME N",
        "set one, such as :limit steps 1000; :limit NAME none removes it",
    ),
    command(
        "limit",
        "N",
        "set the limit of the meter; :limit none removes it",
    ),
    command("as", "FORM", "print bytes as auto, text, int or hex"),
    command("help", "", "show this"),
    command(
        "quit",
        "",
        "exit, as Ctrl-D does, also while an expression is open",
    ),
];

const HELP: &str = "\
Type an expression; it may span several lines. Its value is printed.
  (1 2 ((a b (($0 $1 add) sk)) (a b) fn))  calls a function on 1 and 2
  (5 five def)                              binds a name for the rest of the session";

/// Returns the help.
pub(super) fn help() -> String {
    let mut text = HELP.to_owned();
    for command in &COMMANDS {
        let usage = format!(":{} {}", command.name, command.arguments);
        text.push_str(&format!("\n{usage:<15} {}", command.help));
    }
    text + "\nTab completes names, commands and files. Ctrl-C stops an evaluation, or clears the input."
}

/// Returns the names that start with `prefix`, each once.
pub(super) fn names(prefix: &str) -> Vec<&'static str> {
    let names = COMMANDS.iter().map(|command| command.name);
    let mut names: Vec<_> = names.filter(|name| name.starts_with(prefix)).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_command_and_prefixes_are_completed() {
        let help = help();
        for command in &COMMANDS {
            assert!(
                help.contains(&format!("\n:{} ", command.name)),
                "{}",
                command.name
            );
        }
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        assert_eq!(names("s"), ["save", "std", "step", "stop"]);
    }
}
