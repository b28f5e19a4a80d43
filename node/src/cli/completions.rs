//! Commands `astreum completions` and `astreum man`: text generated from the definition of the
//! commands.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Cli;
use super::output::{Failure, Output};

pub(super) fn completions(shell: Shell, out: &mut Output) -> Result<(), Failure> {
    // The generator panics if it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "astreum", &mut script);
    Ok(out.raw().write_all(&script)?)
}

pub(super) fn man(names: &[String], out: &mut Output) -> Result<(), Failure> {
    let mut command = Cli::command();
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
