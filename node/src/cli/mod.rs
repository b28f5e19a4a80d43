//! Command line: parses arguments, runs a command, returns an exit code.
//!
//! Exit codes: 0 done, 1 the operation failed, also because an input file is missing, 2 invalid
//! arguments, configuration or key file of a node or a sender, 101 a thread panicked. Results go to
//! stdout, all other output to stderr. A reader that closes stdout early ends the command silently.

mod account;
mod account_history;
mod advertise;
#[cfg(test)]
mod advice;
mod args;
mod asm;
mod backup;
mod block;
mod chain_archive;
mod chain_args;
mod chain_cmd;
mod chain_dir;
mod check;
mod client;
mod completions;
mod config;
mod config_args;
mod devnet;
mod eval;
mod eval_session;
mod expr_json;
mod folder;
mod forks;
mod format;
mod from_python;
mod genesis;
mod genesis_file;
mod get;
mod help;
mod input;
mod interrupt;
mod key_args;
mod keys;
mod language_args;
mod limits;
mod list_reader;
mod literal;
mod manifest_reader;
mod new_file;
mod node_args;
mod number_arg;
mod output;
mod parse;
mod partial;
mod path_arg;
mod pieces;
mod pins;
mod progress;
mod proof;
mod put;
mod repl;
mod repl_commands;
mod repl_editor;
mod report;
mod restore;
mod run;
mod script_args;
mod script_source;
mod signer;
mod store;
mod store_dir;
mod store_gc;
mod table;
#[cfg(feature = "top")]
mod top;
mod tour;
mod trace;
mod tx;
mod tx_content;
mod tx_file;
mod tx_send;
mod upload;
mod usage;
mod validators;
mod wait;

use std::io::Write as _;
use std::process::ExitCode;

use args::{Cli, Command};
use output::{Failure, Output};

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    crate::daemon::exit_on_panic();
    let cli = match help::parse() {
        Ok(cli) => cli,
        Err(error) => {
            if !error.use_stderr() {
                let printed = error.print().and_then(|()| std::io::stdout().flush());
                return exit_code(printed.map_err(Failure::from));
            }
            let arguments = std::env::args_os();
            let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
            let arguments: Vec<String> = arguments.collect();
            output::complain(&usage::explain(&error, &arguments));
            return ExitCode::from(2);
        }
    };
    let mut out = Output::stdout();
    let result = dispatch(cli, &mut out);
    let result = match out.flush() {
        Ok(()) => result,
        Err(error) => result.and(Err(error.into())),
    };
    exit_code(result)
}

/// Reports a failure, and returns the exit code of a result.
fn exit_code(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Disables core dumps, for commands that hold secrets. A failure is only reported.
fn forbid_core_dumps() {
    if let Err(error) = crate::daemon::forbid_core_dumps() {
        output::complain(&format!("warning: failed to disable core dumps: {error}"));
    }
}

/// Makes a bus error end the process with a message, for commands that map files of cold storage. A
/// failure is only reported.
fn exit_on_bus_error() {
    if let Err(error) = crate::store::exit_on_bus_error() {
        output::complain(&format!(
            "warning: failed to install the bus error handler: {error}"
        ));
    }
}

fn dispatch(cli: Cli, out: &mut Output) -> Result<(), Failure> {
    match cli.command {
        None => run::run(cli.run, out),
        Some(Command::Run(run)) => run::run(run, out),
        Some(Command::Eval(eval)) => eval::eval(&eval, out),
        Some(Command::Repl(repl)) => repl::repl(&repl, out),
        Some(Command::Parse(parse)) => eval::parse(&parse, out),
        Some(Command::Devnet(args)) => devnet::devnet(*args, out),
        Some(Command::Tour(args)) => tour::tour(&args, out),
        Some(Command::Asm(args)) => asm::asm(&args, out),
        Some(Command::Fmt(args)) => format::fmt(&args, out),
        Some(Command::Check(args)) => check::check(&args, out),
        Some(Command::Trace(args)) => trace::trace(&args, out),
        Some(Command::Status(status)) => client::status(&status, out),
        #[cfg(feature = "top")]
        Some(Command::Top(args)) => top::top(&args),
        #[cfg(not(feature = "top"))]
        Some(Command::Top(_)) => Err(Failure::Failed(
            "this program was built without the feature `top`; use `astreum status --watch`, or \
             build it with the feature"
                .to_owned(),
        )),
        Some(Command::Metrics(args)) => client::metrics(&args, out),
        Some(Command::Peers(peers)) => client::peers(&peers, out),
        Some(Command::Get(get)) => get::get(&get, out),
        Some(Command::Put(put)) => put::put(&put, out),
        Some(Command::Advertise(args)) => advertise::advertise(&args, out),
        Some(Command::Pin(args)) => pins::pin(&args, out),
        Some(Command::Unpin(args)) => pins::unpin(&args, out),
        Some(Command::Pins(args)) => pins::pins(&args, out),
        Some(Command::Backup(args)) => backup::backup(&args, out),
        Some(Command::Tx(args)) => tx::tx(args, out),
        Some(Command::Block(args)) => block::block(args, out),
        Some(Command::Account(args)) => account::account(args, out),
        Some(Command::Validators(args)) => validators::validators(&args, out),
        Some(Command::Genesis(args)) => {
            exit_on_bus_error();
            genesis::genesis(*args, out)
        }
        Some(Command::Chain(args)) => {
            exit_on_bus_error();
            chain_cmd::chain(args, out)
        }
        Some(Command::Proof(args)) => proof::proof(args, out),
        Some(Command::Keys(keys)) => keys::keys(keys, out),
        Some(Command::Signer(args)) => signer::signer(&args, out),
        Some(Command::Store(args)) => {
            exit_on_bus_error();
            store::store(args, out)
        }
        Some(Command::Config(config)) => config::config(config, out),
        Some(Command::Completions { shell }) => completions::completions(shell, out),
        Some(Command::Man { command }) => completions::man(&command, out),
    }
}
