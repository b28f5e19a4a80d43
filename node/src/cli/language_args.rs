//! Arguments of `eval`, `repl` and `parse`.

use astreum_core::text::BytesStyle;
use clap::{Args, ValueEnum};

use super::node_args::NodeArgs;
use super::path_arg::PathArg;

pub(super) const EVAL_HELP: &str = "\
Examples:
  astreum eval '(1 2 ((a b (($0 $1 add) sk)) (a b) fn))'
  astreum eval program.astreum --last --steps 100000
  echo '(5 five def) five' | astreum eval - --quiet
  astreum eval --std '(-7 2 int.div)'
  astreum eval '\"hi\"' --as text            without --as: 26729
  astreum eval '\"text\"' --json

A file may hold several expressions: they are evaluated in order, in one environment. A first line
that starts with #! is skipped. Errors are explained on stderr, with their positions.

Bytes have no type. Without --as they print as text if they are five bytes or more of it, else as
an integer if they are one in its shortest form, else as 0x... if they are 32, else as text with
escapes.

Limits are those of the options, else of the configuration (eval_depth, eval_steps, eval_stack,
eval_heap, eval_live_bytes), else the defaults.

Exit codes: 0 done; 1 if a result is an error or contains a call of an unbound symbol, or if the
source cannot be parsed; 2 wrong usage or configuration.";

pub(super) const REPL_HELP: &str = "\
Examples:
  astreum repl
  astreum repl --node                      see the atoms of the running node
  astreum repl < program.astreum

An expression may span several lines. :help lists the commands.
Ctrl-C stops an evaluation or clears the input, Ctrl-D exits.

When stdin is not a terminal, the exit code is 1 if there was an error.";

/// Source of expressions.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// Expression, name of an existing file, or - for stdin.
    #[arg(allow_hyphen_values = true, required_unless_present_any = ["file", "expr"])]
    pub(super) input: Option<String>,
    /// Read this file, whatever its name looks like.
    #[arg(short, long, value_name = "FILE", conflicts_with = "input")]
    pub(super) file: Option<PathArg>,
    /// Take this text as the source, even if a file has the same name.
    #[arg(
        short,
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with_all = ["input", "file"]
    )]
    pub(super) expr: Option<String>,
}

/// Limits of each evaluation.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits of each expression")]
pub(super) struct LimitArgs {
    /// Maximum charges of the meter; unlimited by default.
    #[arg(long, value_name = "N", value_parser = super::number_arg::number::<u64>)]
    pub(super) limit: Option<u64>,
    /// Maximum depth of nested calls [default: eval_depth of the configuration, 65_536].
    #[arg(long, value_name = "N", value_parser = super::number_arg::number::<u64>)]
    pub(super) depth: Option<u64>,
    /// Maximum evaluation steps [default: eval_steps, 268_435_456].
    #[arg(long, value_name = "N", value_parser = super::number_arg::number::<u64>)]
    pub(super) steps: Option<u64>,
    /// Maximum values on a stack [default: eval_stack, 2_097_152].
    #[arg(long, value_name = "N", value_parser = super::number_arg::number::<u64>)]
    pub(super) stack: Option<u64>,
    /// Maximum keys on the heap of a stack program [default: eval_heap, 262_144].
    #[arg(long, value_name = "N", value_parser = super::number_arg::number::<u64>)]
    pub(super) heap: Option<u64>,
    /// Maximum bytes that an evaluation keeps alive [default: eval_live_bytes, 268_435_456].
    #[arg(long, value_name = "BYTES", value_parser = super::number_arg::number::<u64>)]
    pub(super) live_bytes: Option<u64>,
    /// Maximum atoms that a program creates [default: 262_144].
    #[arg(long, value_name = "N", value_parser = super::number_arg::number::<u64>)]
    pub(super) atoms: Option<u64>,
    /// Maximum data bytes in the atoms that a program creates [default: 67_108_864].
    #[arg(long, value_name = "BYTES", value_parser = super::number_arg::number::<u64>)]
    pub(super) atom_bytes: Option<u64>,
    /// Maximum seconds for all fetches from the node together, with --node [default: 30].
    #[arg(long, value_name = "SECONDS", value_parser = super::number_arg::number::<u64>)]
    pub(super) fetch_timeout: Option<u64>,
}

/// Output format of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum As {
    /// Text, integer or hex, whichever is most likely.
    #[default]
    Auto,
    /// String with escapes.
    Text,
    /// Signed decimal.
    Int,
    /// 0x and hex digits.
    Hex,
}

impl As {
    pub(super) const fn style(self) -> BytesStyle {
        match self {
            Self::Auto => BytesStyle::Guess,
            Self::Text => BytesStyle::Text,
            Self::Int => BytesStyle::Integer,
            Self::Hex => BytesStyle::Hex,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct StyleArgs {
    /// Print all bytes in this form.
    #[arg(long = "as", value_name = "FORM", value_enum, default_value = "auto")]
    form: As,
    /// Print all bytes as 0x and hex digits: the same as --as hex.
    #[arg(long, conflicts_with = "form")]
    hex: bool,
}

impl StyleArgs {
    pub(super) const fn form(&self) -> As {
        if self.hex { As::Hex } else { self.form }
    }
}

#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Print each result as JSON: the exact expression, its text, charge, steps, errors.
    #[arg(long)]
    pub(super) json: bool,
    /// Do not print the values of definitions, unless they are errors.
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Print only the last result; errors are still explained on stderr.
    #[arg(long, conflicts_with = "quiet")]
    pub(super) last: bool,
    /// Define the standard library first.
    #[arg(long)]
    pub(super) std: bool,
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

#[derive(Debug, Args)]
pub(super) struct ReplArgs {
    /// Define the standard library first.
    #[arg(long)]
    pub(super) std: bool,
    /// Do not print the values of definitions, unless they are errors.
    #[arg(short, long)]
    pub(super) quiet: bool,
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

#[derive(Debug, Args)]
pub(super) struct ParseArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Print each expression as JSON.
    #[arg(long)]
    pub(super) json: bool,
}
