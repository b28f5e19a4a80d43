//! Dictionaries of literals in Python source, read without executing it.
//!
//! The source is split into tokens; every `{` that begins a dictionary with a string as key is
//! read. Values are strings, numbers, `True`, `False`, `None`, lists and tuples of them, and integer
//! expressions of literals, such as `64 * 1024**2`. Everything else (names, calls, comprehensions,
//! f-strings) is skipped as a whole and reported by its name. Assignments of the form
//! `config["key"] = value` to the same variable are read too.
//!
//! Invariant: time and memory are in proportion to the length of the source, times
//! [`MAX_DEPTH`].

use std::collections::BTreeMap;

use super::tokens::{Kind, SyntaxError, Token, Tokens};

/// Maximum nesting of values.
const MAX_DEPTH: usize = 32;
/// Maximum number of tokens between a variable and the `=` of its assignment.
const MAX_ANNOTATION: usize = 64;

/// Value of an entry.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    /// Not a literal, or one that no option has; with a name for it.
    Other(&'static str),
}

/// Entry of a dictionary.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) value: Value,
    /// Line, from 1.
    pub(super) line: usize,
}

/// Dictionary that has a string as key.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Dictionary {
    /// Line of its `{`, from 1.
    pub(super) line: usize,
    /// Entries in their order, with those of later assignments.
    pub(super) entries: Vec<Entry>,
    /// Lines of entries that are not read, because their names are not strings.
    pub(super) unnamed: Vec<usize>,
}

/// Returns all dictionaries of a Python source, in their order.
pub(super) fn dictionaries(source: &str) -> Result<Vec<Dictionary>, SyntaxError> {
    let tokens = Tokens::new(source).collect::<Result<Vec<_>, _>>()?;
    let closing = closing(&tokens);
    let parser = |at| Parser {
        tokens: &tokens,
        closing: &closing,
        at,
    };
    let mut found: Vec<Dictionary> = Vec::new();
    // The last dictionary of each variable.
    let mut variables: BTreeMap<String, usize> = BTreeMap::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.kind == Kind::Operator("{")
            && let Some(dictionary) = parser(at).dictionary(0)
        {
            if let Some(variable) = variable(&tokens, at) {
                variables.insert(variable, found.len());
            }
            found.push(dictionary);
        } else if let Some((variable, entry)) = parser(at).item_assignment() {
            let target = variables.get(&variable).copied();
            if let Some(target) = target.and_then(|at| found.get_mut(at)) {
                target.entries.push(entry);
            }
        }
    }
    Ok(found)
}

/// Returns, for each opening bracket, the index of its closing one.
fn closing(tokens: &[Token]) -> Vec<Option<usize>> {
    let mut closing = vec![None; tokens.len()];
    let mut open: Vec<(usize, &str)> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Operator("{") => open.push((at, "}")),
            Kind::Operator("[") => open.push((at, "]")),
            Kind::Operator("(") => open.push((at, ")")),
            Kind::Operator(close @ ("}" | "]" | ")")) => {
                // A bracket that closes no other one belongs to source that is not Python.
                if let Some((begin, _)) = open.pop_if(|(_, expected)| *expected == close)
                    && let Some(place) = closing.get_mut(begin)
                {
                    *place = Some(at);
                }
            }
            _ => {}
        }
    }
    closing
}

/// Returns the variable of `variable = {` or `variable: type = {`, with the `{` at `at`.
fn variable(tokens: &[Token], at: usize) -> Option<String> {
    let kind = |at: usize| tokens.get(at).map(|token| &token.kind);
    let equals = at.checked_sub(1)?;
    if !matches!(kind(equals)?, Kind::Operator("=")) {
        return None;
    }
    let line = tokens.get(equals)?.line;
    // The first name on the line of the assignment.
    let before = tokens.get(..equals)?.iter().rev().take(MAX_ANNOTATION);
    let first = before.take_while(|token| token.line == line).last()?;
    match &first.kind {
        Kind::Name(name) => Some(name.clone()),
        _ => None,
    }
}

/// Reader of values; each call is bounded by [`MAX_DEPTH`] and by the brackets that it begins at.
struct Parser<'t> {
    tokens: &'t [Token],
    closing: &'t [Option<usize>],
    at: usize,
}

impl Parser<'_> {
    fn line_of(&self, at: usize) -> usize {
        self.tokens.get(at).map_or(0, |token| token.line)
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn is_at(&self, operator: &str) -> bool {
        matches!(self.peek(), Some(Kind::Operator(found)) if *found == operator)
    }

    /// Skips this operator if it is next.
    fn takes(&mut self, operator: &str) -> bool {
        let is_next = self.is_at(operator);
        self.at += usize::from(is_next);
        is_next
    }

    /// Reads strings that follow each other, which are one.
    fn text(&mut self) -> Option<String> {
        let mut text = match self.peek()? {
            Kind::Text(text) => text.clone(),
            _ => return None,
        };
        self.at += 1;
        while let Some(Kind::Text(more)) = self.peek() {
            text.push_str(more);
            self.at += 1;
        }
        Some(text)
    }

    /// Reads a dictionary that has a string as key, at its `{`.
    fn dictionary(&mut self, depth: usize) -> Option<Dictionary> {
        if depth > MAX_DEPTH || self.closing.get(self.at).copied().flatten().is_none() {
            return None;
        }
        let mut read = Dictionary {
            line: self.line_of(self.at),
            entries: Vec::new(),
            unnamed: Vec::new(),
        };
        if !self.takes("{") {
            return None;
        }
        loop {
            if self.takes("}") {
                return (!read.entries.is_empty()).then_some(read);
            }
            let line = self.line_of(self.at);
            let name = self.name();
            // `**other` has the entries of another dictionary.
            if name.is_none() && !self.takes("**") {
                self.skip_name()?;
            }
            let value = self.element(depth)?;
            match name {
                Some(name) => read.entries.push(Entry { name, value, line }),
                None => read.unnamed.push(line),
            }
            if !self.takes(",") && !self.is_at("}") {
                return None;
            }
        }
    }

    /// Reads the name of an entry and its `:`.
    fn name(&mut self) -> Option<String> {
        let start = self.at;
        let name = self.text();
        if name.is_some() && self.takes(":") {
            return name;
        }
        self.at = start;
        None
    }

    /// Skips the name of an entry that is not a string, and its `:`.
    fn skip_name(&mut self) -> Option<()> {
        while !self.takes(":") {
            match self.peek()? {
                Kind::Operator("{" | "[" | "(") => {
                    self.at = self.closing.get(self.at).copied().flatten()?;
                }
                Kind::Operator("," | "}" | "]" | ")") => return None,
                _ => {}
            }
            self.at += 1;
        }
        Some(())
    }

    /// Reads `variable["key"] = value`, which ends with its line.
    fn item_assignment(&mut self) -> Option<(String, Entry)> {
        let line = self.line_of(self.at);
        let begins_line = self.at == 0 || self.line_of(self.at - 1) != line;
        let Some(Kind::Name(variable)) = self.peek().filter(|_| begins_line) else {
            return None;
        };
        let variable = variable.clone();
        self.at += 1;
        if !self.takes("[") {
            return None;
        }
        let name = self.text()?;
        if !self.takes("]") || !self.takes("=") {
            return None;
        }
        let value = self.value(0);
        let last = self.line_of(self.at.saturating_sub(1));
        let ends = self.peek().is_none() || self.is_at(";") || self.line_of(self.at) != last;
        let value = value.filter(|_| ends);
        let value = value.unwrap_or(Value::Other("an expression"));
        Some((variable, Entry { name, value, line }))
    }

    /// Reads a value of a dictionary; skips one that is not a literal.
    fn element(&mut self, depth: usize) -> Option<Value> {
        let start = self.at;
        let value = self.value(depth);
        if (self.is_at(",") || self.is_at("}"))
            && let Some(value) = value
        {
            return Some(value);
        }
        self.at = start;
        loop {
            match self.peek()? {
                Kind::Operator("{" | "[" | "(") => {
                    self.at = self.closing.get(self.at).copied().flatten()?;
                }
                Kind::Operator(",") | Kind::Operator("}" | "]" | ")") => {
                    return Some(Value::Other("an expression"));
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        if let Some(text) = self.text() {
            return Some(Value::Text(text));
        }
        match self.peek()? {
            Kind::OtherText(what) => {
                let what = *what;
                self.at += 1;
                Some(Value::Other(what))
            }
            Kind::Name(name) => {
                let value = match name.as_str() {
                    "None" | "null" => Value::None,
                    "True" | "true" => Value::Bool(true),
                    "False" | "false" => Value::Bool(false),
                    _ => return None,
                };
                self.at += 1;
                Some(value)
            }
            Kind::Operator("[") => self.list("[", "]", depth),
            Kind::Operator("(") => {
                // A tuple, or an integer in parentheses.
                let start = self.at;
                if let Some(list) = self.list("(", ")", depth)
                    && self.is_tuple(start)
                {
                    return Some(list);
                }
                self.at = start;
                self.sum(depth).map(Value::Int)
            }
            Kind::Operator("{") => {
                self.dictionary(depth + 1)?;
                Some(Value::Other("a dictionary"))
            }
            Kind::Number(_) | Kind::Operator("+" | "-") => {
                let start = self.at;
                if let Some(sum) = self.sum(depth) {
                    return Some(Value::Int(sum));
                }
                self.at = start;
                self.float().map(Value::Float)
            }
            _ => None,
        }
    }

    /// Returns whether the parentheses that begin at `start` and end here are those of a tuple: with
    /// a comma of their own, or empty.
    fn is_tuple(&self, start: usize) -> bool {
        let inner = self.tokens.get(start..self.at).unwrap_or_default();
        let mut depth = 0_usize;
        let has_comma = inner.iter().any(|token| {
            match token.kind {
                Kind::Operator("{" | "[" | "(") => depth += 1,
                Kind::Operator("}" | "]" | ")") => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 1 && token.kind == Kind::Operator(",")
        });
        has_comma || inner.len() == 2
    }

    fn list(&mut self, open: &str, close: &str, depth: usize) -> Option<Value> {
        if !self.takes(open) {
            return None;
        }
        let mut values = Vec::new();
        loop {
            if self.takes(close) {
                return Some(Value::List(values));
            }
            values.push(self.value(depth + 1)?);
            if !self.takes(",") && !self.is_at(close) {
                return None;
            }
        }
    }

    fn float(&mut self) -> Option<f64> {
        let sign = if self.takes("-") { -1.0 } else { 1.0 };
        let Some(Kind::Number(digits)) = self.peek() else {
            return None;
        };
        let mut digits = digits.replace('_', "");
        self.at += 1;
        // The sign of an exponent is a token of its own.
        if digits.ends_with(['e', 'E']) {
            let sign = if self.takes("-") { "-" } else { "" };
            if sign.is_empty() && !self.takes("+") {
                return None;
            }
            let Some(Kind::Number(exponent)) = self.peek() else {
                return None;
            };
            digits = format!("{digits}{sign}{exponent}");
            self.at += 1;
        }
        let number: f64 = digits.parse().ok()?;
        number.is_finite().then_some(sign * number)
    }

    /// Reads an integer expression. Shifts bind less than sums.
    fn sum(&mut self, depth: usize) -> Option<i128> {
        let mut shifted = self.terms(depth)?;
        while self.takes("<<") {
            let by = u32::try_from(self.terms(depth)?).ok()?;
            shifted = shifted.checked_mul(2_i128.checked_pow(by)?)?;
        }
        Some(shifted)
    }

    fn terms(&mut self, depth: usize) -> Option<i128> {
        let mut sum = self.product(depth)?;
        loop {
            if self.takes("+") {
                sum = sum.checked_add(self.product(depth)?)?;
            } else if self.takes("-") {
                sum = sum.checked_sub(self.product(depth)?)?;
            } else {
                return Some(sum);
            }
        }
    }

    fn product(&mut self, depth: usize) -> Option<i128> {
        let mut product = self.power(depth)?;
        loop {
            if self.takes("*") {
                product = product.checked_mul(self.power(depth)?)?;
            } else if self.takes("//") {
                product = product.checked_div_euclid(self.power(depth)?)?;
            } else {
                return Some(product);
            }
        }
    }

    fn power(&mut self, depth: usize) -> Option<i128> {
        if depth > MAX_DEPTH {
            return None;
        }
        if self.takes("-") {
            return self.power(depth + 1)?.checked_neg();
        }
        if self.takes("+") {
            return self.power(depth + 1);
        }
        let base = if self.takes("(") {
            let sum = self.sum(depth + 1)?;
            if !self.takes(")") {
                return None;
            }
            sum
        } else {
            let Some(Kind::Number(digits)) = self.peek() else {
                return None;
            };
            let number = integer(digits)?;
            self.at += 1;
            number
        };
        if self.takes("**") {
            let exponent = u32::try_from(self.power(depth + 1)?).ok()?;
            return base.checked_pow(exponent);
        }
        Some(base)
    }
}

/// Parses an integer literal.
fn integer(digits: &str) -> Option<i128> {
    let digits = digits.replace('_', "").to_ascii_lowercase();
    let of_radix = |prefix: &str, radix| {
        let digits = digits.strip_prefix(prefix)?;
        i128::from_str_radix(digits, radix).ok()
    };
    of_radix("0x", 16)
        .or_else(|| of_radix("0o", 8))
        .or_else(|| of_radix("0b", 2))
        .or_else(|| digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(source: &str) -> Vec<(String, Value)> {
        let found = dictionaries(source).unwrap();
        let entries = found.into_iter().flat_map(|it| it.entries);
        entries.map(|entry| (entry.name, entry.value)).collect()
    }

    fn value(expression: &str) -> Value {
        let found = dictionaries(&format!("x = {{'key': {expression}, 'end': 1}}")).unwrap();
        let entries = &found[0].entries;
        assert_eq!(entries.len(), 2, "{expression}");
        assert_eq!(entries[1].value, Value::Int(1), "{expression}");
        entries[0].value.clone()
    }

    #[test]
    fn reads_all_literals() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (expression, expected) in [
            ("None", Value::None),
            ("True", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("52780", Value::Int(52_780)),
            ("-5", Value::Int(-5)),
            ("1_000", Value::Int(1_000)),
            ("0xff", Value::Int(255)),
            ("64 * 1024 * 1024", Value::Int(64 << 20)),
            ("10 * 1024**2", Value::Int(10 << 20)),
            ("1 << 30", Value::Int(1 << 30)),
            ("1 << 2 + 3", Value::Int(32)),
            ("(1 + 2) * 3", Value::Int(9)),
            ("7 // 2", Value::Int(3)),
            ("0.25", Value::Float(0.25)),
            ("-1.5", Value::Float(-1.5)),
            ("1e-3", Value::Float(0.001)),
            ("'a'", text("a")),
            ("\"a\" 'b'", text("ab")),
            ("'''a\n\"b'''", text("a\n\"b")),
            (r"r'C:\new'", text(r"C:\new")),
            (r"'\x41\u00e9\n\'\d\101'", text("Aé\n'\\dA")),
            ("[]", Value::List(vec![])),
            ("['a', 'b',]", Value::List(vec![text("a"), text("b")])),
            ("('a',)", Value::List(vec![text("a")])),
            ("()", Value::List(vec![])),
            ("(5)", Value::Int(5)),
            ("b'a'", Value::Other("bytes")),
            ("f'{home}/a'", Value::Other("a formatted string")),
            ("{'a': 1}", Value::Other("a dictionary")),
        ] {
            assert_eq!(value(expression), expected, "{expression}");
        }
    }

    #[test]
    fn skips_what_is_not_a_literal() {
        for expression in [
            "os.environ['A']",
            "os.path.join(HOME, 'a', 'b')",
            "PORT",
            "[x for x in (1, 2)]",
            "1 if True else 2",
            "'a' + b",
            "2 ** 1000",
            "10 ** 38 * 10 ** 38",
            "1 / 2",
            "1j",
        ] {
            let expected = Value::Other("an expression");
            assert_eq!(value(expression), expected, "{expression}");
        }
    }

    #[test]
    fn finds_dictionaries_in_a_script_with_later_assignments() {
        let source = r#"import os
# {'not': 1}
'''{'not': 2}'''

def f(a={}):
    return {a: 1}

config: dict = {
    'verbose': True,  # comment, with }
    'chain_id': 1,
}
config['incoming_port'] = 7
config["verbose"] = os.name
other['chain_id'] = 5
node = Node(config)
"#;
        let found = dictionaries(source).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].line, 8);
        let entries = found[0].entries.iter();
        let names: Vec<_> = entries.map(|it| (it.name.as_str(), it.line)).collect();
        let expected = [
            ("verbose", 9),
            ("chain_id", 10),
            ("incoming_port", 12),
            ("verbose", 13),
        ];
        assert_eq!(names, expected);
        let last = &found[0].entries[3].value;
        assert_eq!(*last, Value::Other("an expression"));
    }

    #[test]
    fn entries_whose_names_are_not_strings_are_skipped() {
        let source = r#"{
    'verbose': True,
    **other('}', {}),
    key: 2,
    'a' + b[1:2]: {'c': 3},
    'chain_id': 1
}"#;
        let found = dictionaries(source).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].unnamed, [3, 4, 5]);
        let entries = found[0].entries.iter();
        let names: Vec<_> = entries.map(|it| (it.name.as_str(), it.line)).collect();
        assert_eq!(names, [("verbose", 2), ("chain_id", 6)]);
        // Without a string among the names, it is not a configuration.
        for source in ["{a: 1, **b}", "{'a', 'b'}", "{1, 'a'}", "{: 1}", "{**a}"] {
            assert!(dictionaries(source).unwrap().is_empty(), "{source}");
        }
    }

    #[test]
    fn hostile_sources_end_soon_and_without_a_panic() {
        for (open, close) in [
            ("{'a':", "}"),
            ("{a:", "}"),
            ("{a", "}"),
            ("{**", "}"),
            ("[", "]"),
            ("(", ")"),
            ("-", ""),
            ("1+", ""),
        ] {
            let deep = open.repeat(50_000);
            values(&format!("{{'a': {deep}1"));
            values(&format!("{{'a': {deep}1{}}}", close.repeat(50_000)));
        }
        let many = "x = {'a': 1}; ".repeat(50_000);
        assert_eq!(values(&many).len(), 50_000);
        let many = format!("x = {{'a': 1}}\n{}", "x['b'] = 2\n".repeat(50_000));
        assert_eq!(values(&many).len(), 50_001);
        for source in [
            "'",
            "'''",
            "\"a\n\"",
            "x = \"\\",
            "{'a",
            "é{\u{0}'",
            "}])",
            "{'a':1]",
        ] {
            let _ = dictionaries(source);
        }
        assert_eq!(dictionaries("a\nb = 'c\n").unwrap_err().line, 2);
    }
}
