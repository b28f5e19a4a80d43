//! The TextMate grammar beside the tokenizer.
//!
//! The test has a small interpreter of such grammars: rules with `match`, or with `begin`, `end` and
//! rules in between, which are searched in each line.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure fails the test"
)]

use astreum_script::highlight::{Class, highlight};
use fancy_regex::Regex;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

enum Rule {
    Match(Option<String>, Regex),
    Region(Option<String>, Regex, Regex, Value),
}

struct Grammar {
    repository: Value,
    start: Value,
    /// Rules of lists of patterns, by their text.
    compiled: BTreeMap<String, Rc<Vec<Rule>>>,
}

/// Open region: its rules, end and scope.
type Open = (Rc<Vec<Rule>>, Option<Regex>, Option<String>);

impl Grammar {
    fn new() -> Self {
        let text = include_str!("../grammars/astreum.tmLanguage.json");
        let grammar: Value = serde_json::from_str(text).unwrap();
        Self {
            repository: grammar["repository"].clone(),
            start: grammar["patterns"].clone(),
            compiled: BTreeMap::new(),
        }
    }

    fn rules(&mut self, patterns: &Value) -> Rc<Vec<Rule>> {
        let key = patterns.to_string();
        if let Some(rules) = self.compiled.get(&key) {
            return Rc::clone(rules);
        }
        let mut rules = Vec::new();
        let mut pending: Vec<Value> = patterns
            .as_array()
            .into_iter()
            .flatten()
            .rev()
            .cloned()
            .collect();
        while let Some(pattern) = pending.pop() {
            let regex = |key: &str| Regex::new(pattern[key].as_str()?).ok();
            let name = pattern["name"].as_str().map(str::to_owned);
            if let Some(include) = pattern["include"].as_str() {
                pending.push(self.repository[include.trim_start_matches('#')].clone());
            } else if let Some(regex) = regex("match") {
                rules.push(Rule::Match(name, regex));
            } else if let Some(begin) = regex("begin") {
                let inner = pattern["patterns"].clone();
                rules.push(Rule::Region(name, begin, regex("end").unwrap(), inner));
            } else {
                let inner = pattern["patterns"].as_array().unwrap().iter().rev();
                pending.extend(inner.cloned());
            }
        }
        let rules = Rc::new(rules);
        self.compiled.insert(key, Rc::clone(&rules));
        rules
    }

    /// Returns the outermost scope of every byte.
    fn scopes(&mut self, source: &str) -> Vec<Option<String>> {
        let mut scopes = vec![None; source.len()];
        let start = self.start.clone();
        let mut stack: Vec<Open> = vec![(self.rules(&start), None, None)];
        let mut offset = 0;
        for line in source.split_inclusive('\n') {
            let text = line.trim_end_matches('\n');
            let mut at = 0;
            loop {
                let (rules, end, _) = stack.last().unwrap();
                let rules = Rc::clone(rules);
                // The end comes first where both match.
                let mut best: Option<(usize, usize, Option<usize>)> = None;
                let mut offer = |regex: &Regex, index: Option<usize>| {
                    if let Ok(Some(found)) = regex.find_from_pos(text, at)
                        && best.is_none_or(|best| found.start() < best.0)
                    {
                        best = Some((found.start(), found.end(), index));
                    }
                };
                if let Some(end) = end {
                    offer(end, None);
                }
                for (index, rule) in rules.iter().enumerate() {
                    match rule {
                        Rule::Match(_, regex) | Rule::Region(_, regex, ..) => {
                            offer(regex, Some(index));
                        }
                    }
                }
                let outer = stack.iter().find_map(|(_, _, scope)| scope.clone());
                let until = best.map_or(text.len(), |best| best.0);
                scopes[offset + at..offset + until].fill(outer.clone());
                let Some((from, to, index)) = best else {
                    break;
                };
                let own = match index.and_then(|index| rules.get(index)) {
                    Some(Rule::Match(name, _)) => outer.or_else(|| name.clone()),
                    Some(Rule::Region(name, _, end, inner)) => {
                        let rules = self.rules(inner);
                        stack.push((rules, Some(end.clone()), name.clone()));
                        outer.or_else(|| name.clone())
                    }
                    None => {
                        stack.pop();
                        outer
                    }
                };
                scopes[offset + from..offset + to].fill(own);
                // An empty match would repeat for ever.
                at = if to == from && index.is_some() {
                    to + text[to..].chars().next().map_or(1, char::len_utf8)
                } else {
                    to
                };
                if at > text.len() {
                    break;
                }
            }
            offset += line.len();
        }
        scopes
    }
}

fn scope_of(class: Class) -> &'static str {
    match class {
        Class::Comment => "comment.line.semicolon.astreum",
        Class::Skipped => "comment.block.datum.astreum",
        Class::String => "string.quoted.double.astreum",
        Class::Number => "constant.numeric.integer.astreum",
        Class::Opcode => "support.function.opcode.astreum",
        Class::Keyword => "keyword.control.astreum",
        Class::Placeholder => "variable.parameter.astreum",
        Class::Macro => "entity.name.function.macro.astreum",
        Class::Label => "entity.name.label.astreum",
        Class::Parenthesis => "punctuation.section.parens.astreum",
        Class::Name => "variable.other.astreum",
    }
}

/// Compares the scope of every part that is not a datum comment: there the grammar is an approximation.
fn compare(grammar: &mut Grammar, source: &str) {
    let scopes = grammar.scopes(source);
    for (span, class) in highlight(source) {
        if class == Class::Skipped {
            continue;
        }
        for (at, character) in source[span.clone()].char_indices() {
            if !character.is_whitespace() {
                let scope = scopes[span.start + at].as_deref();
                assert_eq!(
                    scope,
                    Some(scope_of(class)),
                    "{:?} in {source:?}",
                    &source[span.clone()]
                );
            }
        }
    }
}

#[test]
fn textmate_scopes_of_examples_match_the_tokenizer() {
    let mut grammar = Grammar::new();
    for source in [
        "(((a b (($0 $1 add) sk)) (a b) fn) int.add def) ; note (\n(1 -2_000 +3 4x 1__0 a\"b \"c\\\"d\n e\" 5)",
        "again: @again @a-b : @ %x % $ $1 $x a:b added def2 x#y # \"\\x00\\q\"",
        astreum_script::library::ASSEMBLER_SOURCE,
        astreum_script::library::MACROS,
        astreum_script::library::SOURCE,
        "a #;(b (c) \"d)\" ; e)\n f) g #;h i #;\"j k\" l",
    ] {
        compare(&mut grammar, source);
    }
    let scopes = grammar.scopes("a #;(b (c)) d");
    assert!(
        scopes[2..11]
            .iter()
            .all(|scope| scope.as_deref() == Some(scope_of(Class::Skipped)))
    );
}

proptest! {
    #[test]
    fn textmate_scopes_match_the_tokenizer(source in "([();# \nab1\"\\\\$%@:_+-]|add|def|\\$0|\"a b\"| ){0,40}") {
        // Datum comments before ")" or "#;" have rules of their own.
        prop_assume!(!source.contains("#;"));
        let mut grammar = Grammar::new();
        compare(&mut grammar, &source);
    }
}

#[test]
fn tree_sitter_grammar_names_every_opcode_and_keyword() {
    let grammar = include_str!("../grammars/tree-sitter-astreum/grammar.js");
    let highlights = include_str!("../grammars/tree-sitter-astreum/queries/highlights.scm");
    for opcode in astreum_core::machine::Opcode::ALL {
        assert!(grammar.contains(&format!("\"{opcode}\"")), "{opcode}");
    }
    for node in [
        "keyword",
        "opcode",
        "placeholder",
        "integer",
        "macro",
        "label",
        "symbol",
        "string",
        "escape",
        "comment",
        "datum_comment",
    ] {
        assert!(grammar.contains(&format!("    {node}: ")), "{node}");
        assert!(highlights.contains(&format!("({node}) @")), "{node}");
    }
}
