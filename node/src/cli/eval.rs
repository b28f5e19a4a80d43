//! Commands `astreum eval` and `astreum parse`.

use std::io::Write as _;

use astreum_core::atom::AtomId;
use astreum_core::expr::Expr;
use astreum_core::machine::{Evaluation, Outcome};
use astreum_core::text::{ParseError, Parser, Position, Script, Styled};
use serde_json::{Value, json};

use super::eval_session::Session;
use super::expr_json::to_json;
use super::input::{Source, moved};
use super::language_args::{As, EvalArgs, ParseArgs};
use super::output::{Failure, Output, json_line, visible_json};
use super::report::{Sources, has_unbound_call};
use super::{limits, literal};

pub(super) fn eval(args: &EvalArgs, out: &mut Output) -> Result<(), Failure> {
    let source = Source::read(&args.source)?;
    let mut session = Session::new(&args.at, args.node, &args.limits)?;
    // The whole program is parsed first: an error in the last line prevents all evaluation.
    let script = match load(&source) {
        Ok(script) => script,
        Err(error) => return Err(error.report(&source, args.json, out)?),
    };
    let count = script.exprs().len();
    let mut sources = Sources::new();
    if args.std {
        session.load_library(&mut sources)?;
    }
    sources.add(&source.name, 0, script);
    let mut has_error = false;
    for index in 0..count.max(1) {
        let nothing = || Expr::error("eval", "no expression provided");
        let expr = sources.expr(index).unwrap_or_else(nothing);
        let evaluation = session.eval(&expr, || {
            // A closed output is noticed at the next result.
            let _ = out.flush();
        });
        let failed = is_failed(&evaluation);
        has_error |= failed;
        let is_printed = match (args.last, args.quiet) {
            (true, _) => index + 1 >= count,
            (_, true) => failed || !is_definition(&expr),
            _ => true,
        };
        if is_printed && args.json {
            print_json(index, &evaluation, &mut sources, &session, out)?;
        } else if is_printed {
            print(&evaluation, args.style.form(), out)?;
        }
        if !(args.json && is_printed) {
            for message in explain(index, &evaluation, &mut sources, &session, false) {
                out.complain(&message);
            }
        }
        if let Some(problem) = session.take_problem() {
            out.complain(&problem);
        } else if let Some(id) = evaluation.missing() {
            out.complain(&missing(id, args.node));
        }
        out.flush_soon()?;
    }
    if has_error {
        return Err(Failure::Reported);
    }
    Ok(())
}

/// Reason a source is not evaluated.
pub(super) enum LoadError {
    Parse(ParseError),
    /// Invalid token such as `0xff` in a stack program.
    Literal {
        at: Position,
        message: String,
    },
}

/// Parses a source and checks the literals of its stack programs.
pub(super) fn load(source: &Source) -> Result<Script<'_>, LoadError> {
    let script = Script::parse(&source.text).map_err(LoadError::Parse)?;
    for (index, expr) in script.exprs().enumerate() {
        if let Some(path) = literal::hex_literal(expr)
            && let Some(span) = script.find_in(index, expr, &path)
        {
            let at = Position::at(&source.text, span.start);
            let message = literal::explain(source.text.get(span).unwrap_or_default());
            return Err(LoadError::Literal { at, message });
        }
    }
    Ok(script)
}

impl LoadError {
    /// Returns the message, with place and line.
    pub(super) fn explain(&self, source: &Source) -> String {
        match self {
            Self::Parse(error) => source.explain(error),
            Self::Literal { at, message } => {
                let at = moved(*at, source.lines_before);
                let snippet = at.snippet(&source.text);
                let (name, line, column) = (&source.name, at.line, at.column);
                format!("{name}:{line}:{column}: {message}\n{snippet}")
            }
        }
    }

    fn report(&self, source: &Source, json: bool, out: &mut Output) -> Result<Failure, Failure> {
        if !json {
            return Ok(Failure::Failed(self.explain(source)));
        }
        let (at, message) = match self {
            Self::Parse(error) => (error.at, error.kind.to_string()),
            Self::Literal { at, message } => (*at, message.clone()),
        };
        let error = json!({
            "error": message,
            "source": source.name,
            "offset": at.offset,
            "line": at.line,
            "column": at.column,
        });
        json_line(out, &error)?;
        Ok(Failure::Reported)
    }
}

/// Returns whether an expression is `(value name def)`.
pub(super) fn is_definition(expr: &Expr) -> bool {
    matches!(expr.as_list(), Some([_, _, tail]) if tail.as_symbol() == Some("def"))
}

/// Returns whether the value is an error or contains a call of an unbound symbol.
pub(super) fn is_failed(evaluation: &Evaluation) -> bool {
    let value = evaluation.value();
    value.is_error() || evaluation.failure_count() > 0 && has_unbound_call(value)
}

/// Returns messages for the errors of an evaluation and the limit that it reached.
pub(super) fn explain(
    index: usize,
    evaluation: &Evaluation,
    sources: &mut Sources<'_>,
    session: &Session,
    in_repl: bool,
) -> Vec<String> {
    let mut messages = sources.explain(index, evaluation, session.env());
    if let Outcome::Limit(exceeded) = evaluation.outcome() {
        messages.push(limits::explain(&exceeded, in_repl));
    }
    messages
}

/// Returns the message for an atom that an evaluation did not find.
pub(super) fn missing(id: AtomId, asked_node: bool) -> String {
    if asked_node {
        format!("note: atom {id} was not found at the running node or any of its peers")
    } else {
        format!(
            "note: atom {id} was not found locally; --node fetches atoms from the running node and \
             its peers"
        )
    }
}

/// Prints one result on one line.
pub(super) fn print(evaluation: &Evaluation, form: As, out: &mut Output) -> Result<(), Failure> {
    Ok(writeln!(
        out,
        "{}",
        Styled::new(evaluation.value(), form.style())
    )?)
}

fn print_json(
    index: usize,
    evaluation: &Evaluation,
    sources: &mut Sources<'_>,
    session: &Session,
    out: &mut Output,
) -> Result<(), Failure> {
    let value = evaluation.value();
    let rest = json!({
        "text": value.to_string(),
        "used": evaluation.used(),
        "steps": evaluation.steps(),
        "is_error": value.is_error(),
        "missing": evaluation.missing().map(|id| id.to_string()),
        "outcome": outcome(evaluation.outcome()),
        "limit": limit(evaluation.outcome()),
        "errors": sources.json(index, evaluation, session.env()),
        "error_count": evaluation.failure_count(),
    });
    // The expression is inserted as text: it can be nested deeper than a JSON writer recurses.
    let rest = visible_json(rest.to_string());
    let rest = rest.strip_prefix('{').unwrap_or(&rest);
    Ok(writeln!(out, "{{\"expr\":{},{rest}", to_json(value))?)
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Finished => "finished",
        Outcome::Limit(_) => "limit",
        Outcome::Interrupted => "interrupted",
        Outcome::Missing(_) => "missing",
        _ => "host_error",
    }
}

fn limit(outcome: Outcome) -> Value {
    let Outcome::Limit(exceeded) = outcome else {
        return Value::Null;
    };
    json!({
        "kind": exceeded.kind.message(),
        "option": format!("--{}", limits::option(exceeded.kind)),
        "limit": exceeded.limit,
        "used": exceeded.used,
    })
}

pub(super) fn parse(args: &ParseArgs, out: &mut Output) -> Result<(), Failure> {
    let source = Source::read(&args.source)?;
    let exprs: Vec<_> = match Parser::new(&source.text).collect() {
        Ok(exprs) => exprs,
        Err(error) => return Err(LoadError::Parse(error).report(&source, args.json, out)?),
    };
    for expr in &exprs {
        if args.json {
            writeln!(out, "{}", to_json(expr))?;
        } else {
            // Form that can be parsed again, errors included.
            writeln!(out, "{expr:#}")?;
        }
    }
    Ok(())
}
