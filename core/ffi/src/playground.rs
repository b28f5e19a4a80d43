//! Functions for the playground: steps, a view of suspended evaluations, and trie proofs. They may
//! change with the playground, and are not part of the C ABI.
//!
//! Views are values: lists of texts and numbers, of bounded size however large the state is.

#![expect(
    unreachable_pub,
    reason = "the functions are exported by name, and are not part of the Rust crate"
)]

use crate::env::AstreumEnv;
use crate::error::{AstreumStatus, guard};
use crate::handle;
use crate::machine::{AstreumMachine, outcome};
use crate::memory::{Out, id, items};
use crate::outcome::AstreumOutcome;
use crate::suspension::{AstreumSuspension, Suspension};
use crate::text::AstreumScript;
use crate::value::AstreumValue;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use astreum_core::expr::{Bytes, Expr};
use astreum_core::machine::{Inspection, NextToken, StackInspection, Task};
use astreum_core::text::{BytesStyle, Styled, to_text};
use astreum_core::trie::Proof;

/// Maximum number of entries of each kind in a view.
const MAX_ENTRIES: usize = 100;
/// Maximum size of a value that is printed as a name, in bytes.
const MAX_NAME_BYTES: usize = 40;
/// Maximum size of the text of a value, in bytes.
const MAX_TEXT_BYTES: usize = 160;

/// Starts a script like `astreum_machine_eval_script`, suspended before its first operation. The
/// caller frees the outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_playground_start(
    machine: *mut AstreumMachine,
    env: *mut AstreumEnv,
    script: *const AstreumScript,
    outcome: *mut *mut AstreumOutcome,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, mut machine, mut env, script) = unsafe {
            (
                Out::handle(outcome)?,
                handle::lock(machine)?,
                handle::lock(env)?,
                handle::shared(script)?,
            )
        };
        let exprs: Vec<Expr> = script.exprs().cloned().collect();
        let progress = machine.start_stepping(Task::Script(&exprs), &mut env);
        let source = Some(Arc::clone(script));
        out.set(self::outcome(&mut machine, progress, source));
        Ok(())
    })
}

/// Runs one operation of a suspended evaluation. Consumes the suspension if it succeeds. The caller
/// frees the outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_playground_step(
    machine: *mut AstreumMachine,
    env: *mut AstreumEnv,
    suspension: *mut AstreumSuspension,
    outcome: *mut *mut AstreumOutcome,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, mut machine, mut env) = unsafe {
            (
                Out::handle(outcome)?,
                handle::lock(machine)?,
                handle::lock(env)?,
            )
        };
        // SAFETY: the contract of the crate.
        let suspension = unsafe { handle::take(suspension)? };
        let progress = machine.step(suspension.suspended, &mut env);
        out.set(self::outcome(&mut machine, progress, suspension.source));
        Ok(())
    })
}

/// Returns a view of a suspended evaluation:
///
/// `(operation (start end)|() names stack values bindings)`, where `names` are those of the open
/// calls, innermost first; `stack` is `()` or `(token tokens next depth values heap)`; `bindings` and
/// `heap` are lists of `(name value)`. The caller frees the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_playground_inspect(
    suspension: *const AstreumSuspension,
    value: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, suspension) = unsafe { (Out::handle(value)?, handle::lock(suspension)?) };
        out.set(handle::create(view(&suspension)));
        Ok(())
    })
}

fn view(suspension: &Suspension) -> Expr {
    let inspection = suspension.suspended.inspect();
    let operation = inspection.operation();
    let operation = operation.map_or_else(|| "end".to_string(), |it| it.to_string());
    let frames = inspection.frames();
    let names = frames
        .iter()
        .map(|frame| Expr::bytes(frame.name().unwrap_or_default()));
    let bindings = inspection.bindings().take(MAX_ENTRIES);
    let bindings = bindings.map(|(name, value)| pair(Expr::bytes(name), printed(value)));
    Expr::list([
        Expr::bytes(operation),
        span(suspension, &inspection),
        list(names),
        inspection.stack().map_or_else(|| list([]), |it| stack(&it)),
        topmost(inspection.values().iter().map(printed)),
        list(bindings),
    ])
}

/// Returns the span of the next operation in the source, if it is there.
fn span(suspension: &Suspension, inspection: &Inspection<'_>) -> Expr {
    let frames = inspection.frames();
    let span = suspension
        .source
        .as_ref()
        .zip(frames.first())
        .and_then(|(source, frame)| source.find(frame.code(), &inspection.path()));
    list(
        span.into_iter()
            .flat_map(|span| [count(span.start), count(span.end)]),
    )
}

fn stack(stack: &StackInspection<'_>) -> Expr {
    let next = match stack.next_token() {
        NextToken::Opcode(opcode) => opcode.to_string(),
        NextToken::Value(value) => {
            alloc::format!("push {}", word(value))
        }
        NextToken::End => "end".to_string(),
    };
    let position = stack.position();
    let heap = stack.heap().take(MAX_ENTRIES);
    let heap = heap.map(|(key, value)| pair(Expr::bytes(word(key)), Expr::bytes(word(value))));
    Expr::list([
        count(position.token),
        count(stack.token_count()),
        Expr::bytes(next),
        count(position.depth),
        topmost(stack.values().map(|value| Expr::bytes(word(value)))),
        list(heap),
    ])
}

/// Returns the last of these values.
fn topmost(values: impl ExactSizeIterator<Item = Expr>) -> Expr {
    let skipped = values.len().saturating_sub(MAX_ENTRIES);
    list(values.skip(skipped))
}

fn list(items: impl IntoIterator<Item = Expr>) -> Expr {
    Expr::List(items.into_iter().collect())
}

fn count(number: usize) -> Expr {
    Expr::integer(crate::text::wide(number))
}

fn pair(name: Expr, value: Expr) -> Expr {
    Expr::list([name, value])
}

fn printed(value: &Expr) -> Expr {
    Expr::bytes(to_text(value, MAX_TEXT_BYTES))
}

/// Prints a value of the stack machine as an integer; if it can be a name, as a string too, since its
/// integer is not readable.
fn word(bytes: Bytes) -> String {
    let is_name = !bytes.is_empty()
        && bytes.len() <= MAX_NAME_BYTES
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    let expr = Expr::Bytes(bytes);
    let text = to_text(&expr, MAX_TEXT_BYTES);
    let string = Styled::new(&expr, BytesStyle::Text);
    if is_name && !text.starts_with('"') {
        alloc::format!("{text} {string}")
    } else {
        text
    }
}

/// Verifies a proof that a key of the trie with this root has a value, or none. Returns `(value
/// bytes)`, `(absent)` or `(invalid message)`. The caller frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_playground_verify_proof(
    root: *const u8,
    key: *const u8,
    key_len: usize,
    proof: *const u8,
    proof_len: usize,
    value: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, root, key, proof) = unsafe {
            (
                Out::handle(value)?,
                id(root)?,
                items(key, key_len)?,
                items(proof, proof_len)?,
            )
        };
        let verified = Proof::from_bytes(proof).and_then(|proof| proof.verify(root, key));
        out.set(handle::create(match verified {
            Ok(Some(value)) => Expr::list([Expr::symbol("value"), Expr::Bytes(value)]),
            Ok(None) => Expr::list([Expr::symbol("absent")]),
            Err(error) => Expr::list([Expr::symbol("invalid"), Expr::bytes(error.to_string())]),
        }));
        Ok(())
    })
}
