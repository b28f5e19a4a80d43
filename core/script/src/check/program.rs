//! Stack programs.

use super::Report;
use crate::diagnostic::Severity;
use crate::source::Sources;
use crate::suggest::nearest;
use crate::tree::{NodeId, Tree, Value};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use astreum_core::expr::Bytes;
use astreum_core::machine::Opcode;
use astreum_core::text::Escaped;

/// Minimum length of text that may be a misspelled opcode.
const MIN_OPCODE_LEN: usize = 2;

/// Maximum number of tokens of a program whose spelling is checked.
const MAX_COMPARED: usize = 1 << 16;

/// Arguments of the call of a stack program.
pub(super) enum Arguments<'n> {
    /// The program is not called where it is written.
    Unknown,
    These(&'n [NodeId]),
}

/// Token of a program.
enum Token<'t> {
    Opcode(Opcode),
    Literal(&'t [u8]),
    /// An argument, or the value of a list.
    Value,
}

/// Returns how many values an opcode takes from the stack, and how many it pushes.
const fn effect(opcode: Opcode) -> (usize, usize) {
    match opcode {
        Opcode::Add | Opcode::Nand | Opcode::AtomLink | Opcode::AtomConcat | Opcode::AtomNew => {
            (2, 1)
        }
        Opcode::Jump => (1, 0),
        Opcode::HeapGet => (1, 1),
        Opcode::HeapSet => (2, 0),
        Opcode::AtomSlice | Opcode::AtomLoad => (3, 1),
    }
}

/// Returns the index in a placeholder, `None` if there is no number.
fn placeholder(digits: &str) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(usize::MAX))
}

/// Returns the number of arguments that the placeholders of a body need.
pub(super) fn least_arguments(tree: &Tree, body: NodeId) -> usize {
    let tokens = tree.list(body).unwrap_or_default().iter();
    let names = tokens.filter_map(|token| tree.symbol(*token)?.strip_prefix('$'));
    let indices = names.filter_map(placeholder);
    indices
        .map(|index| index.saturating_add(1))
        .max()
        .unwrap_or(0)
}

/// Warns of arguments that the machine executes.
pub(super) fn check_arguments(tree: &Tree, arguments: &[NodeId], report: &mut Report<'_>) {
    for argument in arguments {
        let opcode = tree
            .bytes(*argument)
            .and_then(|bytes| Opcode::from_token(bytes));
        if let Some(opcode) = opcode {
            let message = format!("this argument spells the opcode `{opcode}`, and is executed");
            let hint = "pass it with a byte in front, as in (0 text), or use the standard library";
            report.warn("executed-text", *argument, message, Some(hint.into()));
        }
    }
}

pub(super) fn check(
    sources: &Sources,
    tree: &Tree,
    body: NodeId,
    arguments: &Arguments<'_>,
    report: &mut Report<'_>,
) {
    let items = tree.list(body).unwrap_or_default();
    let count = match arguments {
        Arguments::These(arguments) => {
            check_arguments(tree, arguments, report);
            Some(arguments.len())
        }
        Arguments::Unknown => None,
    };
    let mut tokens = Vec::with_capacity(items.len());
    for item in items {
        tokens.push(token(sources, tree, *item, count, report));
    }
    spelling(tree, items, report);
    let Some(tokens) = tokens.into_iter().collect::<Option<Vec<Token<'_>>>>() else {
        // The program ends there, before it runs.
        return;
    };
    let reached = follow(body, items, &tokens, report);
    for (index, pair) in tokens.windows(2).enumerate() {
        if let [Token::Literal(target), Token::Opcode(Opcode::Jump)] = pair
            && reached.get(index + 1) != Some(&true)
        {
            check_target(target, items.get(index), tokens.len(), report);
        }
    }
}

/// Returns the token of an item, or `None` for a placeholder without an argument.
fn token<'t>(
    sources: &Sources,
    tree: &'t Tree,
    item: NodeId,
    count: Option<usize>,
    report: &mut Report<'_>,
) -> Option<Token<'t>> {
    match &tree.node(item)?.value {
        Value::List(_) => Some(Token::Value),
        Value::Bytes { bytes, is_string } => match Opcode::from_token(bytes) {
            Some(opcode) => {
                if *is_string {
                    let message =
                        format!("this string spells the opcode `{opcode}`, and is executed");
                    report.warn("executed-text", item, message, None);
                }
                Some(Token::Opcode(opcode))
            }
            None => Some(Token::Literal(bytes)),
        },
        Value::Symbol(name) => {
            if let Some(digits) = name.strip_prefix('$') {
                return match (placeholder(digits), count) {
                    (None, _) => {
                        let message = "invalid placeholder: expected `$` and a number, such as $0";
                        report.error("placeholder", item, message);
                        None
                    }
                    (Some(index), Some(count)) if index >= count => {
                        let is = if count == 1 { "is" } else { "are" };
                        let shown = tree.text(sources, item);
                        let message =
                            format!("there is no argument for {shown}: {count} {is} given");
                        report.error("arity", item, message);
                        None
                    }
                    _ => Some(Token::Value),
                };
            }
            match Opcode::from_token(name.as_bytes()) {
                Some(opcode) => Some(Token::Opcode(opcode)),
                None => Some(Token::Literal(name.as_bytes())),
            }
        }
    }
}

fn is_hex(name: &str) -> bool {
    let digits = name.strip_prefix("0x").or_else(|| name.strip_prefix("0X"));
    digits.is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// Warns of text that was probably meant to be something else.
fn spelling(tree: &Tree, items: &[NodeId], report: &mut Report<'_>) {
    // Text in front of `heap_get` is the name of a variable.
    let mut variables: BTreeSet<&str> = BTreeSet::new();
    for pair in items.windows(2) {
        if let [name, opcode] = pair
            && tree.symbol(*opcode) == Some(Opcode::HeapGet.name())
        {
            variables.extend(tree.symbol(*name));
        }
    }
    for item in items.iter().take(MAX_COMPARED) {
        let Some(name) = tree.symbol(*item) else {
            continue;
        };
        if is_hex(name) {
            let message = format!(
                "'{}' is not a number here, it is the text of the token",
                Escaped(name)
            );
            let hint = "write integers in decimal, bytes as \"\\xff\"";
            report.add(
                Severity::Error,
                "hex-literal",
                *item,
                message,
                Some(hint.into()),
            );
            continue;
        }
        let is_text = name.len() >= MIN_OPCODE_LEN
            && !name.starts_with('$')
            && Opcode::from_token(name.as_bytes()).is_none()
            && !variables.contains(name);
        let opcodes = Opcode::ALL.into_iter().map(Opcode::name);
        if let Some(near) = nearest(name, opcodes).filter(|_| is_text) {
            let message = format!("'{}' is not an opcode but a value", Escaped(name));
            let hint = format!("did you mean '{near}'?");
            report.warn("misspelled-opcode", *item, message, Some(hint));
        }
    }
}

/// Value on the stack: the bytes of a literal and the index of its token, if it is known.
type Known<'t> = Option<(&'t [u8], usize)>;

/// Follows the tokens from the first one, up to the first jump to an unknown target. Returns the
/// tokens that were reached.
fn follow(
    body: NodeId,
    items: &[NodeId],
    tokens: &[Token<'_>],
    report: &mut Report<'_>,
) -> Vec<bool> {
    let mut reached = vec![false; tokens.len()];
    let mut stack: Vec<Known<'_>> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let Some(visited) = reached.get_mut(at) else {
            return reached;
        };
        let item = items.get(at).copied().unwrap_or(body);
        if core::mem::replace(visited, true) {
            let message = "endless loop: the program does not end";
            report.warn("endless-loop", item, message, None);
            break;
        }
        let index = at;
        at += 1;
        let opcode = match token {
            Token::Value => {
                stack.push(None);
                continue;
            }
            Token::Literal(bytes) => {
                stack.push(Some((*bytes, index)));
                continue;
            }
            Token::Opcode(opcode) => *opcode,
        };
        let (taken, given) = effect(opcode);
        if stack.len() < taken {
            let values = if taken == 1 { "value" } else { "values" };
            let message = format!(
                "underflow: `{opcode}` takes {taken} {values} from the stack, which has {}",
                stack.len()
            );
            report.error("underflow", item, message);
            return reached;
        }
        let target = stack.last().copied().flatten();
        stack.truncate(stack.len() - taken);
        stack.extend(core::iter::repeat_n(None, given));
        if opcode == Opcode::Jump {
            let Some((target, literal)) = target else {
                // The rest depends on the data.
                return reached;
            };
            match check_target(target, items.get(literal), tokens.len(), report) {
                Some(target) => at = target,
                None => return reached,
            }
        }
    }
    if at >= tokens.len() && stack.len() != 1 {
        let hint = match stack.len() {
            0 => "push the result at the end",
            _ => "a token that is not an opcode is a value",
        };
        let message = format!(
            "bad stack: the program ends with {} values on the stack instead of 1",
            stack.len()
        );
        let place = items.last().copied().unwrap_or(body);
        report.add(
            Severity::Error,
            "bad-stack",
            place,
            message,
            Some(hint.into()),
        );
    }
    unreachable(items, &reached, report);
    reached
}

/// Warns of each run of tokens that were not reached.
fn unreachable(items: &[NodeId], reached: &[bool], report: &mut Report<'_>) {
    let mut before = true;
    for (item, is_reached) in items.iter().zip(reached) {
        if before && !is_reached {
            let message = "no jump leads to this token, and it is never run";
            report.warn("unreachable", *item, message, None);
        }
        before = *is_reached;
    }
}

/// Returns the index that a literal is as the target of a jump; reports it if there is no such token.
fn check_target(
    target: &[u8],
    literal: Option<&NodeId>,
    len: usize,
    report: &mut Report<'_>,
) -> Option<usize> {
    let is_negative = target.first().is_some_and(|first| *first >= 0x80);
    let index = target.iter().try_fold(0_usize, |index, byte| {
        index.checked_mul(256)?.checked_add(usize::from(*byte))
    });
    let found = index.filter(|index| !is_negative && *index < len);
    if found.is_none() {
        let shown = match (
            astreum_core::expr::Expr::Bytes(Bytes::new(target)),
            target.len(),
        ) {
            (expr, ..=8) => expr
                .as_integer()
                .map_or_else(String::new, |value| value.to_string()),
            _ => "a large number".into(),
        };
        let message = format!(
            "bad jump: the target is token {shown}, and the program has tokens 0 to {}",
            len.saturating_sub(1)
        );
        if let Some(literal) = literal {
            // A jump to text is how a program fails with a message.
            let is_text = target.len() > 8;
            if !is_text {
                report.error("bad-jump", *literal, message);
            }
        }
    }
    found
}
