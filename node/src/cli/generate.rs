//! `astreum completions`, `astreum man` and `astreum conform`: text about, or from, the program.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Cli;
use super::output::{Failure, Output};

pub(super) fn completions(shell: Shell, out: &mut Output) -> Result<(), Failure> {
    // It panics when it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "astreum", &mut script);
    Ok(out.write_all(&script)?)
}

pub(super) fn man(name: Option<&str>, out: &mut Output) -> Result<(), Failure> {
    let mut program = Cli::command();
    program.build();
    let command = match name {
        None => program,
        Some(name) => {
            let found = program.find_subcommand(name).cloned();
            let unknown = || Failure::Usage(format!("there is no command {name}"));
            found
                .ok_or_else(unknown)?
                .display_name(format!("astreum-{name}"))
        }
    };
    Ok(clap_mangen::Man::new(command).render(out)?)
}

pub(super) fn conform(out: &mut Output) -> Result<(), Failure> {
    Ok(crate::conform::run(io::stdin().lock(), out)?)
}
