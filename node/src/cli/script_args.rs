//! Arguments of `asm`, `fmt`, `check` and `trace`.

use clap::Args;

use super::language_args::{LimitArgs, SourceArgs, StyleArgs};
use super::node_args::NodeArgs;
use super::path_arg::PathArg;

pub(super) const ASM_HELP: &str = "\
Examples:
  astreum asm loop.asm -o loop.astreum
  astreum asm loop.asm | astreum eval -

The source is that of the language with labels, constants, macros and includes:

  (10 start %const)                        %start stands for 10
  ((%name heap_get) (name) get %macro)     (n %get) stands for n heap_get
  (\"other.asm\" %include)                   a file below the directory of this one
  again: ... @again jump                   a label, and the index of the token after it

The standard library is included with (\"std\" %include), its macros with (\"std/macros\" %include).";

pub(super) const FMT_HELP: &str = "\
Examples:
  astreum fmt program.astreum loop.asm     rewrites the files
  astreum fmt --check program.astreum      exit code 1 if a file is not formatted
  astreum fmt - < program.astreum

Line breaks and comments stay where they are; indentation, spaces and lines of more than 100
characters are changed.";

pub(super) const CHECK_HELP: &str = "\
Examples:
  astreum check program.astreum
  astreum check --std --json program.astreum
  astreum check loop.asm                   assembles the file first

Reports unbound names, wrong numbers of arguments, malformed forms, and in stack programs misspelled
opcodes, jumps out of the program, tokens that never run, and wrong numbers of values on the stack.
Text that is meant to be text although it is nearly an opcode is written as a string.

Exit codes: 0 no problem, 1 a problem or an unreadable source, 2 wrong usage.";

pub(super) const TRACE_HELP: &str = "\
Examples:
  astreum trace '(1 2 (($0 $1 add) sk))'
  astreum trace --std program.astreum --max-steps 100
  astreum trace program.astreum --json | jq .charge

Each line is the state before a step: its number, its place, the charge so far, the next operation,
and the stack, of which the last value is the topmost. `[n]` is the index of a token in a stack program.";

#[derive(Debug, Args)]
pub(super) struct AsmArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Write the output to this new file instead of stdout; `-` is stdout.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathArg>,
    /// Replace an existing file of --output.
    #[arg(long, requires = "output")]
    pub(super) force: bool,
    /// Search included files in this directory too.
    #[arg(short = 'I', long = "include", value_name = "DIR")]
    pub(super) include: Vec<PathArg>,
    /// Print problems as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct FmtArgs {
    /// Files to rewrite; - formats stdin to stdout.
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathArg>,
    /// Change nothing; exit with 1 and list the files that are not formatted.
    #[arg(long)]
    pub(super) check: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Files or expressions; - for stdin. Files that end with .asm are assembled first.
    #[arg(value_name = "INPUT", required = true, allow_hyphen_values = true)]
    pub(super) inputs: Vec<String>,
    /// Assemble all sources.
    #[arg(long)]
    pub(super) asm: bool,
    /// Search included files in this directory too.
    #[arg(short = 'I', long = "include", value_name = "DIR")]
    pub(super) include: Vec<PathArg>,
    /// Names of the standard library are bound.
    #[arg(long)]
    pub(super) std: bool,
    /// This name is bound by the program that evaluates the source.
    #[arg(long, value_name = "NAME")]
    pub(super) bind: Vec<String>,
    /// Print each problem as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Define the standard library first.
    #[arg(long)]
    pub(super) std: bool,
    /// Stop after this many steps.
    #[arg(
        long,
        value_name = "N",
        default_value = "10000",
        value_parser = super::number_arg::number::<u64>
    )]
    pub(super) max_steps: u64,
    /// Print each step as JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) style: StyleArgs,
    /// Look up atoms at the running node, and store new ones there.
    #[arg(long)]
    pub(super) node: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
}
