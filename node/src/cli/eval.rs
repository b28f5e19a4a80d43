//! `astreum eval` and `astreum parse`.

use std::io::Write as _;

use astreum_core::atom::AtomId;
use astreum_core::expr::Expr;
use astreum_core::machine::Evaluation;
use astreum_core::text::ParseError;
use serde_json::json;

use super::args::{EvalArgs, ParseArgs};
use super::expr_json::to_json;
use super::output::{Failure, Output, complain, json_line};
use super::session::Session;
use super::source::Source;

pub(super) fn eval(args: &EvalArgs, out: &mut Output) -> Result<(), Failure> {
    let source = Source::read(&args.source)?;
    // All of it is parsed first: a program with a slip in its last line does nothing.
    let mut exprs = match source.parse() {
        Ok(exprs) => exprs,
        Err(error) => return Err(parse_failure(&source, &error, args.json, out)?),
    };
    if exprs.is_empty() {
        exprs.push(Expr::error("eval", "no expression provided"));
    }
    let mut session = Session::new(args.node.then_some(&args.at), args.limit)?;
    let mut has_error = false;
    for expr in &exprs {
        let evaluation = session.eval(expr);
        has_error |= evaluation.value().is_error();
        print(&evaluation, args.json, out)?;
        // Results of a long program are seen as they come.
        out.flush()?;
        if let Some(problem) = session.take_problem() {
            complain(&problem);
        } else if let Some(id) = evaluation.missing() {
            complain(&missing(id, args.node));
        }
    }
    if has_error {
        return Err(Failure::Reported);
    }
    Ok(())
}

/// Which atom it was that an evaluation ended at, and what could be done.
pub(super) fn missing(id: AtomId, asked_node: bool) -> String {
    if asked_node {
        format!("note: atom {id} was not found at the running node or any peer of it")
    } else {
        format!("note: atom {id} is not here; --node looks at the running node and its peers")
    }
}

/// One result on one line.
pub(super) fn print(evaluation: &Evaluation, json: bool, out: &mut Output) -> Result<(), Failure> {
    let value = evaluation.value();
    if !json {
        return Ok(writeln!(out, "{value}")?);
    }
    let missing = evaluation.missing().map(|id| id.to_string());
    let rest = json!({
        "text": value.to_string(),
        "used": evaluation.used(),
        "is_error": value.is_error(),
        "missing": missing,
    });
    // The expression is put in as text: it can be nested deeper than a JSON writer recurses.
    let rest = rest.to_string();
    let rest = rest.strip_prefix('{').unwrap_or(&rest);
    Ok(writeln!(out, "{{\"expr\":{},{rest}", to_json(value))?)
}

fn parse_failure(
    source: &Source,
    error: &ParseError,
    json: bool,
    out: &mut Output,
) -> Result<Failure, Failure> {
    if json {
        let error = json!({
            "error": error.kind.to_string(),
            "source": source.name,
            "offset": error.offset(),
            "line": error.line(),
            "column": error.column(),
        });
        json_line(out, &error)?;
        return Ok(Failure::Reported);
    }
    Ok(Failure::Failed(source.explain(error)))
}

pub(super) fn parse(args: &ParseArgs, out: &mut Output) -> Result<(), Failure> {
    let source = Source::read(&args.source)?;
    let exprs = match source.parse() {
        Ok(exprs) => exprs,
        Err(error) => return Err(parse_failure(&source, &error, args.json, out)?),
    };
    for expr in &exprs {
        if args.json {
            writeln!(out, "{}", to_json(expr))?;
        } else {
            // The form that can be read back, errors included.
            writeln!(out, "{expr:#}")?;
        }
    }
    Ok(())
}
