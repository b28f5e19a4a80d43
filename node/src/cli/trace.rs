//! Command `astreum trace`.

use std::io::Write as _;

use astreum_core::machine::{Evaluation, Progress, Reason, Suspended};
use astreum_script::trace::View;
use serde_json::{Value, json};

use super::eval::{explain, is_failed, load, missing, print};
use super::eval_session::Session;
use super::input::Source;
use super::output::{Failure, Output, json_line};
use super::report::Sources;
use super::script_args::TraceArgs;

pub(super) fn trace(args: &TraceArgs, out: &mut Output) -> Result<(), Failure> {
    let source = Source::read(&args.source)?;
    let mut session = Session::new(&args.at, args.node, &args.limits)?;
    let script = load(&source).map_err(|error| Failure::Failed(error.explain(&source)))?;
    let mut sources = Sources::new();
    if args.std {
        session.load_library(&mut sources)?;
    }
    let count = script.exprs().len();
    sources.add(&source.name, 0, script);
    if !args.json && count > 0 {
        writeln!(out, "{:>6}  {:<14} {:>9}  next", "step", "place", "charge")?;
    }
    let (mut number, mut has_error) = (0, false);
    for index in 0..count {
        let Some(expr) = sources.expr(index) else {
            break;
        };
        let mut progress = session.begin(&expr);
        let evaluation = loop {
            let mut suspended = match progress {
                Progress::Done(evaluation) => break evaluation,
                Progress::Suspended(suspended) => suspended,
            };
            if number >= args.max_steps {
                out.complain(&format!(
                    "stopped after {number} steps; --max-steps sets the limit"
                ));
                return Err(Failure::Reported);
            }
            number += 1;
            print_step(number, index, &suspended, &mut sources, args.json, out)?;
            if let Some(note) = wait(&mut suspended) {
                out.complain(&note);
            }
            out.flush_soon()?;
            progress = session.advance(suspended);
        };
        has_error |= is_failed(&evaluation);
        print_result(args, index, &evaluation, &mut sources, &mut session, out)?;
    }
    if has_error {
        return Err(Failure::Reported);
    }
    Ok(())
}

/// Makes an operation that waits fail, as `eval` does; returns what it waits for.
pub(super) fn wait(suspended: &mut Suspended) -> Option<String> {
    let note = match suspended.reason() {
        Reason::Slice | Reason::Interrupted => return None,
        Reason::Missing(missing) => format!("atom {} is missing", missing.id),
        Reason::Meter { cost } => format!("the meter refuses a charge of {cost}"),
        _ => "the store failed".to_owned(),
    };
    suspended.refuse();
    Some(format!("note: {note}: the operation fails"))
}

fn print_step(
    number: u64,
    index: usize,
    suspended: &Suspended,
    sources: &mut Sources<'_>,
    json: bool,
    out: &mut Output,
) -> Result<(), Failure> {
    let view = View::new(suspended);
    let place = sources.next_place(index, suspended);
    if json {
        return json_line(
            out,
            &step_json(number, &view, place.as_ref().map(|it| it.json())),
        );
    }
    let place = place.map_or_else(|| "-".to_owned(), |place| place.short());
    let used = view.used;
    Ok(writeln!(out, "{number:>6}  {place:<14} {used:>9}  {view}")?)
}

fn step_json(number: u64, view: &View, at: Option<Value>) -> Value {
    let pairs = |pairs: &[(String, String)]| -> Value {
        let pairs = pairs.iter().map(|(name, value)| json!([name, value]));
        pairs.collect()
    };
    json!({
        "step": number,
        "at": at,
        "charge": view.used,
        "steps": view.steps,
        "operation": view.operation,
        "token": view.token,
        "stack": view.stack,
        "depth": view.depth,
        "heap": pairs(&view.heap),
        "bindings": pairs(&view.bindings),
        "calls": view.calls,
    })
}

fn print_result(
    args: &TraceArgs,
    index: usize,
    evaluation: &Evaluation,
    sources: &mut Sources<'_>,
    session: &mut Session,
    out: &mut Output,
) -> Result<(), Failure> {
    if args.json {
        let value = json!({
            "result": evaluation.value().to_string(),
            "charge": evaluation.used(),
            "steps": evaluation.steps(),
            "is_error": evaluation.value().is_error(),
        });
        json_line(out, &value)?;
    } else {
        print(evaluation, args.style.form(), out)?;
    }
    for message in explain(index, evaluation, sources, session, false) {
        out.complain(&message);
    }
    if let Some(problem) = session.take_problem() {
        out.complain(&problem);
    } else if let Some(id) = evaluation.missing() {
        out.complain(&missing(id, args.node));
    }
    Ok(())
}
