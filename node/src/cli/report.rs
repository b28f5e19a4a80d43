//! Explanations of evaluation errors: location in the source, calls, probable cause.

use std::collections::VecDeque;

use astreum_core::expr::{Expr, Visit};
use astreum_core::machine::{Env, ErrorKind, Evaluation, Failure, Opcode, Suspended};
use astreum_core::text::{Escaped, Position, Script};
use astreum_script::edit_distance;
use serde_json::{Value, json};

use super::input::moved;

/// Maximum number of bytes of earlier sources kept for finding locations.
const KEPT_SOURCE_BYTES: usize = 1 << 20;
/// Number of bytes that a source counts in addition to its text.
const SOURCE_BYTES: usize = 256;
/// Maximum number of errors of one evaluation that are explained in text.
const MAX_ERRORS: usize = 8;
/// Maximum number of calls of one error that are listed in text.
const MAX_CALLS: usize = 8;
/// Maximum length in bytes of a name for which suggestions are searched.
const MAX_NAME_BYTES: usize = 64;
/// Maximum number of bytes of source and bound names searched for all explanations of a run.
/// Further explanations have fewer details, so that a script with many errors takes linear time.
const SEARCH_BUDGET: usize = 64 << 20;
/// Names of special forms.
const SPECIAL_FORMS: [&str; 4] = ["def", "fn", "ref", "sk"];

/// Source whose expressions are or were evaluated.
struct Loaded<'s> {
    name: String,
    lines_before: usize,
    script: Script<'s>,
    /// Start and number of the line of the last location, from which the search for the next one
    /// starts.
    line_start: usize,
    line: usize,
}

/// Sources for finding the locations of errors: the newest one, and earlier ones that may have
/// defined functions.
pub(super) struct Sources<'s> {
    loaded: VecDeque<Loaded<'s>>,
    bytes: usize,
    budget: usize,
    /// Names that are bound beside those of the environment.
    names: Vec<String>,
}

/// Location in a source.
pub(super) struct Location {
    name: String,
    at: Position,
    snippet: String,
}

impl<'s> Sources<'s> {
    pub(super) const fn new() -> Self {
        Self {
            loaded: VecDeque::new(),
            bytes: 0,
            budget: SEARCH_BUDGET,
            names: Vec::new(),
        }
    }

    /// Adds names that are bound beside those of the environment.
    pub(super) fn know(&mut self, names: Vec<String>) {
        self.names.extend(names);
    }

    /// Returns the location of the next operation of a suspended evaluation of the expression with
    /// this index of the current source.
    pub(super) fn next_place(&mut self, index: usize, suspended: &Suspended) -> Option<Location> {
        // Each step may look at all sources: the number of steps is what is limited.
        self.budget = SEARCH_BUDGET;
        let inspection = suspended.inspect();
        let frames = inspection.frames();
        let code = frames.first()?.code();
        self.location(index, code, &inspection.path())
    }

    /// Adds a source, which becomes the current one.
    pub(super) fn add(&mut self, name: &str, lines_before: usize, script: Script<'s>) {
        let loaded = Loaded {
            name: name.to_owned(),
            lines_before,
            script,
            line_start: 0,
            line: 1,
        };
        self.bytes += loaded.bytes();
        self.loaded.push_back(loaded);
        while self.bytes > KEPT_SOURCE_BYTES && self.loaded.len() > 1 {
            let oldest = self.loaded.pop_front();
            self.bytes -= oldest.as_ref().map_or(0, Loaded::bytes);
        }
    }

    /// Returns the expression with this index of the current source.
    pub(super) fn expr(&self, index: usize) -> Option<Expr> {
        self.loaded.back()?.script.expr(index).cloned()
    }

    /// Takes bytes from the search budget; returns `false` if it is exhausted.
    fn spend(&mut self, bytes: usize) -> bool {
        let left = self.budget.checked_sub(bytes);
        self.budget = left.unwrap_or(0);
        left.is_some()
    }

    /// Finds a location in the expression with this index of the current source, or elsewhere.
    fn location(&mut self, index: usize, code: &Expr, path: &[usize]) -> Option<Location> {
        let current = self.loaded.back()?;
        let whole = match code {
            Expr::List(_) => None,
            // It is not a list, so its address in memory does not identify its location.
            _ => current.script.span(index),
        };
        let span = whole.or_else(|| current.script.find_in(index, code, path));
        let (at, offset) = match span {
            Some(span) => (self.loaded.len() - 1, span.start),
            None => {
                if !self.spend(self.bytes) {
                    return None;
                }
                let mut loaded = self.loaded.iter().enumerate().rev();
                loaded.find_map(|(at, loaded)| Some((at, loaded.script.find(code, path)?.start)))?
            }
        };
        let starts_over = self.loaded.get(at)?.line_start > offset;
        if starts_over && !self.spend(offset) {
            return None;
        }
        Some(self.loaded.get_mut(at)?.location(offset))
    }

    /// Explains errors of the evaluation of the expression with this index of the current source,
    /// each with its location, calls and a hint.
    pub(super) fn explain(
        &mut self,
        index: usize,
        evaluation: &Evaluation,
        env: &Env,
    ) -> Vec<String> {
        let failures = evaluation.failures().iter().take(MAX_ERRORS);
        let mut messages: Vec<_> = failures
            .map(|failure| self.explain_one(index, failure, env))
            .collect();
        let more = evaluation.failure_count() - messages.len() as u64;
        if more > 0 {
            messages.push(format!("{more} more errors in this expression"));
        }
        messages
    }

    fn explain_one(&mut self, index: usize, failure: &Failure, env: &Env) -> String {
        let frame = failure.frames().first();
        let location = frame.and_then(|frame| self.location(index, frame.code(), &failure.path()));
        let mut text = match &location {
            Some(Location { name, at, .. }) => format!("{name}:{}:{}: ", at.line, at.column),
            None => String::new(),
        };
        text += &format!("{}: {failure}", failure.kind().topic());
        if let Some(stack) = failure.stack() {
            let at = match (stack.opcode, failure.tokens()) {
                (Some(opcode), _) => format!("{opcode}, token {}", stack.token),
                (None, Some(tokens)) if stack.token >= tokens.len() => "end of program".to_owned(),
                _ => format!("token {}", stack.token),
            };
            text += &format!(" ({at}, stack depth {})", stack.depth);
        }
        if let Some(location) = &location {
            text += &format!("\n{}", location.snippet);
        }
        if let Some(hint) = self.hint(failure, env) {
            text += &format!("\n  hint: {hint}");
        }
        for call in self.calls(index, failure).into_iter().take(MAX_CALLS) {
            text += &format!("\n  {call}");
        }
        let more = failure.frames().len().saturating_sub(1 + MAX_CALLS) as u64;
        match more + failure.more_frames() {
            0 => {}
            more => text += &format!("\n  and {more} more calls"),
        }
        text
    }

    /// Describes the calls that led to an error, innermost first.
    fn calls(&mut self, index: usize, failure: &Failure) -> Vec<String> {
        let frames = failure.frames();
        let mut calls = Vec::new();
        for (callee, caller) in frames.iter().zip(frames.iter().skip(1)) {
            let name = match callee.name() {
                Some(name) => format!("in '{}'", Escaped(name)),
                None => "in a function".to_owned(),
            };
            let location = self.location(index, caller.code(), &caller.path());
            calls.push(match location {
                Some(Location { name: file, at, .. }) => {
                    format!("{name}, called at {file}:{}:{}", at.line, at.column)
                }
                None => name,
            });
        }
        calls
    }

    /// Returns the probable cause of an error.
    fn hint(&mut self, failure: &Failure, env: &Env) -> Option<String> {
        if failure.kind() == ErrorKind::UnboundSymbol {
            return self.unbound_hint(failure.symbol()?, env);
        }
        let tokens = failure.tokens()?;
        if !self.spend(tokens.len()) {
            return None;
        }
        token_hint(tokens)
    }

    fn unbound_hint(&mut self, symbol: &str, env: &Env) -> Option<String> {
        if Opcode::from_token(symbol.as_bytes()).is_some() {
            return Some(format!(
                "'{symbol}' is an opcode of the stack machine, which runs a program such as \
                 (1 2 (($0 $1 add) sk))"
            ));
        }
        if symbol.starts_with("0x") {
            return Some(
                "only ref reads 0x…; write integers in decimal, bytes as \"\\xff\"".to_owned(),
            );
        }
        if self.budget == 0 {
            return None;
        }
        let bound: usize = env.iter().map(|(name, _)| name.len() + 1).sum();
        if !self.spend(bound) {
            return None;
        }
        let names = env.iter().map(|(name, _)| name).chain(SPECIAL_FORMS);
        let names = names.chain(self.names.iter().map(String::as_str));
        let nearest = nearest(symbol, names)?;
        Some(format!("did you mean '{}'?", Escaped(nearest)))
    }

    /// Returns the errors of an evaluation as JSON, with the same locations and hints.
    pub(super) fn json(&mut self, index: usize, evaluation: &Evaluation, env: &Env) -> Value {
        let failures = evaluation.failures().iter();
        failures
            .map(|failure| self.json_one(index, failure, env))
            .collect()
    }

    fn json_one(&mut self, index: usize, failure: &Failure, env: &Env) -> Value {
        let path = failure.path();
        let frames = failure.frames();
        let location = frames
            .first()
            .and_then(|frame| self.location(index, frame.code(), &path));
        let mut calls = Vec::new();
        for (callee, caller) in frames.iter().zip(frames.iter().skip(1)) {
            let location = self.location(index, caller.code(), &caller.path());
            calls.push(
                json!({"name": callee.name(), "at": location.map(|location| location.json())}),
            );
        }
        let stack = failure.stack();
        json!({
            "topic": failure.kind().topic(),
            "message": failure.kind().message(),
            "symbol": failure.symbol(),
            "is_call": failure.is_call(),
            "at": location.map(|location| location.json()),
            "token": stack.map(|stack| stack.token),
            "opcode": stack.and_then(|stack| stack.opcode).map(Opcode::name),
            "stack_depth": stack.map(|stack| stack.depth),
            "hint": self.hint(failure, env),
            "calls": calls,
            "more_calls": failure.more_frames(),
        })
    }
}

impl Loaded<'_> {
    fn bytes(&self) -> usize {
        self.script.source().len() + SOURCE_BYTES
    }

    fn location(&mut self, offset: usize) -> Location {
        let source = self.script.source();
        if self.line_start > offset {
            (self.line_start, self.line) = (0, 1);
        }
        let before = source.get(self.line_start..offset).unwrap_or_default();
        let newlines = before.bytes().filter(|&byte| byte == b'\n').count();
        self.line_start += before.rfind('\n').map_or(0, |newline| newline + 1);
        self.line += newlines;
        let rest = source.get(self.line_start..).unwrap_or_default();
        let in_line = Position::at(rest, offset - self.line_start);
        let at = Position {
            offset,
            line: self.line,
            column: in_line.column,
        };
        let at = moved(at, self.lines_before);
        Location {
            name: self.name.clone(),
            at,
            snippet: at.snippet(source).to_string(),
        }
    }
}

impl Location {
    /// Returns name, line and column.
    pub(super) fn short(&self) -> String {
        format!("{}:{}:{}", self.name, self.at.line, self.at.column)
    }

    /// Returns the line with a caret.
    pub(super) fn snippet(&self) -> &str {
        &self.snippet
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "source": self.name,
            "line": self.at.line,
            "column": self.at.column,
            "offset": self.at.offset,
        })
    }
}

/// Returns a hint about a token of the failed program that looks like an opcode but is a value.
fn token_hint(tokens: &[Expr]) -> Option<String> {
    let names = || Opcode::ALL.into_iter().map(Opcode::name);
    let words = tokens
        .iter()
        .enumerate()
        .take(1 << 16)
        .filter_map(|(at, token)| {
            let word = token.as_symbol()?;
            let is_word = word.len() > 1 && !word.starts_with('$');
            (is_word && Opcode::from_token(word.as_bytes()).is_none()).then_some((at, word))
        });
    let similar = words
        .clone()
        .find_map(|(at, word)| Some((at, word, nearest(word, names())?)));
    if let Some((at, word, opcode)) = similar {
        return Some(format!(
            "token {at} '{}' is not an opcode but a value; did you mean '{opcode}'?",
            Escaped(word)
        ));
    }
    // The last token of a program is rarely meant to be a value.
    let mut words = words;
    let (at, word) = words.next_back().filter(|(at, _)| at + 1 == tokens.len())?;
    let opcodes: Vec<_> = names().collect();
    Some(format!(
        "token {at} '{}' is not an opcode but a value; opcodes are {}",
        Escaped(word),
        opcodes.join(", ")
    ))
}

/// Returns the name that was probably meant, if there is one.
fn nearest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if word.len() > MAX_NAME_BYTES {
        return None;
    }
    let word_lower = word.to_lowercase();
    let distance = |name: &str| edit_distance(&word_lower, &name.to_lowercase());
    let names = names.filter(|name| name.len() <= MAX_NAME_BYTES);
    let (distance, name) = names.map(|name| (distance(name), name)).min()?;
    let most = match word.chars().count() {
        0..=1 => 0,
        count => 1 + count / 5,
    };
    (distance <= most && name != word).then_some(name)
}

/// Returns whether a value contains the result of a list whose tail is an unbound symbol: a call of
/// a misspelled function evaluates to such a list.
pub(super) fn has_unbound_call(value: &Expr) -> bool {
    let is_unbound = |item: &Expr| {
        let message = item.as_error().map(|(_, message)| message);
        message.is_some_and(|message| message.starts_with(b"unbound symbol '"))
    };
    value.visit().any(|step| match step {
        Visit::Open(list) => match &**list {
            [_, .., tail] => is_unbound(tail),
            _ => false,
        },
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::NoStore;
    use astreum_core::machine::Machine;

    /// Returns the messages about the expressions of a source.
    fn explain(source: &str) -> Vec<String> {
        let mut sources = Sources::new();
        sources.add("file", 0, Script::parse(source).unwrap());
        let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
        let mut messages = Vec::new();
        for index in 0.. {
            let Some(expr) = sources.expr(index) else {
                return messages;
            };
            let evaluation = machine.eval(&expr, &mut env);
            messages.extend(sources.explain(index, &evaluation, &env));
        }
        messages
    }

    #[test]
    fn failed_stack_program_reports_location_token_depth_and_misspelled_opcode() {
        assert_eq!(
            explain("(1 2 (($0 $1 sub) sk))"),
            [
                "file:1:7: low_eval: bad stack (end of program, stack depth 3)\n\
              1 | (1 2 (($0 $1 sub) sk))\n  |       ^\n  \
              hint: token 2 'sub' is not an opcode but a value; opcodes are add, nand, jump, \
              heap_get, heap_set, atom_slice, atom_link, atom_concat, atom_new, atom_load"
            ]
        );
        let messages = explain("(1 (($0 haep_get) sk))");
        assert!(messages[0].contains("token 1 'haep_get'"), "{messages:?}");
        assert!(messages[0].contains("did you mean 'heap_get'?"));
        let messages = explain("(1 (($0 add) sk))");
        assert!(
            messages[0].starts_with("file:1:9: low_eval: underflow (add, token 1, stack depth 1)")
        );
        assert!(!messages[0].contains("hint"));
    }

    #[test]
    fn unbound_symbol_reports_location_calls_and_a_similar_name() {
        let source = "(((a b (($0 $1 add) sk)) (a b) fn) int.add def)\n\
                      (((1 x int.ad) (x) fn) f def)\n(((x f) (x) fn) g def)\n(2 g)";
        assert_eq!(
            explain(source),
            ["file:2:8: eval: unbound symbol 'int.ad'\n\
              2 | (((1 x int.ad) (x) fn) f def)\n  |        ^\n  \
              hint: did you mean 'int.add'?\n  \
              in 'f', called at file:3:6\n  in 'g', called at file:4:4"]
        );
        assert!(explain("(1 2 add)")[0].contains("'add' is an opcode of the stack machine"));
        assert!(explain("(1 0xff)")[0].contains("only ref reads 0x"));
        assert!(
            explain("nobody")[0].starts_with("file:1:1: eval: unbound symbol 'nobody'\n1 | nobody")
        );
    }

    #[test]
    fn functions_of_earlier_sources_have_locations_within_a_bound() {
        let mut sources = Sources::new();
        let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
        let define = "\n(((x nope) (x) fn) f def)";
        sources.add("old", 4, Script::parse(define).unwrap());
        machine.eval(&sources.expr(0).unwrap(), &mut env);
        sources.add("new", 0, Script::parse("(1 f)").unwrap());
        let evaluation = machine.eval(&sources.expr(0).unwrap(), &mut env);
        let messages = sources.explain(0, &evaluation, &env);
        assert!(
            messages[0].starts_with("old:6:6: eval: unbound symbol 'nope'\n6 | "),
            "{messages:?}"
        );
        assert!(messages[0].ends_with("in 'f', called at new:1:4"));
        let large = " ".repeat(KEPT_SOURCE_BYTES) + "(1 f)";
        sources.add("large", 0, Script::parse(large).unwrap());
        assert_eq!(
            (sources.loaded.len(), sources.bytes),
            (1, KEPT_SOURCE_BYTES + SOURCE_BYTES + 5)
        );
        let evaluation = machine.eval(&sources.expr(0).unwrap(), &mut env);
        let messages = sources.explain(0, &evaluation, &env);
        assert!(
            messages[0].starts_with("eval: unbound symbol 'nope'"),
            "{messages:?}"
        );
    }

    #[test]
    fn locations_are_found_in_any_order() {
        let mut sources = Sources::new();
        let source = "(((x\n  nope) (x) fn) f def)\n\n(1 f)\nbeyond\n(1\n f)";
        sources.add("file", 0, Script::parse(source).unwrap());
        let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
        let mut locations = Vec::new();
        for index in 0..4 {
            let evaluation = machine.eval(&sources.expr(index).unwrap(), &mut env);
            let json = sources.json(index, &evaluation, &env);
            for error in json.as_array().unwrap() {
                let (at, call) = (&error["at"], &error["calls"][0]["at"]);
                locations.push([&at["line"], &at["column"], &call["line"]].map(Value::as_u64));
            }
        }
        let (in_f, beyond) = ((Some(2), Some(3)), [Some(5), Some(1), None]);
        let called = |line| [in_f.0, in_f.1, Some(line)];
        assert_eq!(locations, [called(4), beyond, called(7)]);
    }

    #[test]
    fn explanations_of_many_errors_are_bounded() {
        let list = format!("({})", "nope ".repeat(100));
        let messages = explain(&list);
        assert_eq!(messages.len(), MAX_ERRORS + 1);
        assert_eq!(messages[MAX_ERRORS], "92 more errors in this expression");
        let mut sources = Sources::new();
        sources.add("file", 0, Script::parse("nope").unwrap());
        let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
        env.set(&"n".repeat(SEARCH_BUDGET), Expr::bytes([1]));
        env.set("nop", Expr::bytes([1]));
        let evaluation = machine.eval(&sources.expr(0).unwrap(), &mut env);
        let messages = sources.explain(0, &evaluation, &env);
        assert!(!messages[0].contains("hint"), "{messages:?}");
    }

    #[test]
    fn symbols_are_escaped_in_explanations() {
        let messages = explain("((1 \u{1b}[2J\u{202e}) 2)");
        assert!(
            messages[0].contains("unbound symbol '\\x1b[2J\\xe2\\x80\\xae'"),
            "{messages:?}"
        );
        assert!(
            messages[0]
                .chars()
                .all(|c| c == '\n' || astreum_core::text::is_visible(c))
        );
    }

    #[test]
    fn calls_of_unbound_symbols_are_found_in_values() {
        let mut machine = Machine::new(NoStore);
        for (source, expected) in [
            ("(1 2 int.ad)", true),
            ("(7 (1 (2 int.ad)) 3)", true),
            ("(nope 1)", false),
            ("(1 2 3)", false),
            ("(1 (error \"eval\" \"arity mismatch\"))", false),
        ] {
            let evaluation = machine.eval_source(source, &mut Env::new());
            assert_eq!(has_unbound_call(evaluation.value()), expected, "{source}");
        }
    }
}
