//! Compares the leaves of tree-sitter's tree with the classes of the tokenizer, for example and
//! arbitrary sources.

use astreum_script::highlight::{Class, highlight};
use astreum_script::library;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tree_sitter::{Language, Node, Parser};
use tree_sitter_language::LanguageFn;

unsafe extern "C" {
    fn tree_sitter_astreum() -> *const ();
}

/// SAFETY: the generated parser defines the function, and its result is a static table.
const LANGUAGE: LanguageFn = unsafe { LanguageFn::from_raw(tree_sitter_astreum) };

const EXAMPLES: [&str; 4] = [
    "(((a b (($0 $1 add) sk)) (a b) fn) int.add def) ; note (\n(1 -2_000 +3 4x \"c\\\"d\n e\" 5)",
    "again: @again @a-b %x $0 a:b added def2 x#y \"\\x00\"",
    "a #;(b (c) \"d)\" ; e)\n f) g #;h i #;\"j k\" l",
    "() \"\" \"a\"\"b\" ((1))",
];

/// Returns the class of a node of the tree that stands for a whole token or comment.
fn class(node: &Node<'_>) -> Option<Class> {
    Some(match node.kind() {
        "comment" => Class::Comment,
        "datum_comment" => Class::Skipped,
        "string" => Class::String,
        "integer" => Class::Number,
        "opcode" => Class::Opcode,
        "keyword" => Class::Keyword,
        "placeholder" => Class::Placeholder,
        "macro" => Class::Macro,
        "label" => Class::Label,
        "(" | ")" => Class::Parenthesis,
        "symbol" => Class::Name,
        _ => return None,
    })
}

/// Names that differ from an opcode, a keyword, an integer or a placeholder by little.
const NAMES: [&str; 16] = [
    "add", "addx", "xadd", "add:", "@add", "%add", "def", "default", "$0", "$0x", "$", "1_0",
    "1__0", "-1x", "+", "0:",
];

/// Returns lists of names, comments and strings. Datum comments and names that end with `#`, which
/// the grammar treats differently, are left out.
fn sources() -> impl Strategy<Value = String> {
    // Of the leaves only a string needs no separator after it.
    let name = r#"[ab19$%@:_+\\#-][ab19"$%@:_+\\#-]{0,6}"#
        .prop_filter("ends with #", |name| !name.ends_with('#'))
        .prop_map(|name| name + " ");
    let known = proptest::sample::select(&NAMES[..]).prop_map(|name| format!("{name} "));
    let comment = "; ?[a(\"#;]{0,4}\n";
    let string = r#""([ab ;()#\n]|\\n|\\x0a){0,6}" ?"#;
    let leaf = prop_oneof![3 => name, 3 => known, 1 => comment, 1 => string];
    let items = leaf.prop_recursive(3, 24, 6, |inner| {
        let items = proptest::collection::vec(inner, 0..6);
        items.prop_map(|items| format!("({})", items.concat()))
    });
    proptest::collection::vec(items, 0..6).prop_map(|items| items.concat())
}

/// Compares the leaves of one source, and returns their number.
fn compare(parser: &mut Parser, source: &str) -> usize {
    let tree = parser.parse(source, None).expect("no timeout is set");
    let root = tree.root_node();
    assert!(!root.has_error(), "{} in {source:?}", root.to_sexp());
    let mut found = Vec::new();
    let mut pending = vec![root];
    while let Some(node) = pending.pop() {
        match class(&node) {
            Some(class) => found.push((node.start_byte()..node.end_byte(), class)),
            None => pending.extend((0..node.child_count()).filter_map(|at| node.child(at as u32))),
        }
    }
    found.sort_by_key(|(span, _)| span.start);
    let expected = highlight(source);
    // A datum comment ends with its datum here, and before the next token there.
    for ((span, class), (other_span, other)) in found.iter().zip(&expected) {
        let is_skipped = *class == Class::Skipped;
        let is_same = class == other
            && span.start == other_span.start
            && (is_skipped || span.end == other_span.end);
        assert!(
            is_same,
            "{class:?} {span:?}, expected {other:?} {other_span:?} in {source:?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{source:?}");
    found.len()
}

fn main() {
    let language = Language::new(LANGUAGE);
    let mut parser = Parser::new();
    parser
        .set_language(&language)
        .expect("the versions of generator and library fit");
    let query = include_str!("../../tree-sitter-astreum/queries/highlights.scm");
    tree_sitter::Query::new(&language, query).expect("the query names nodes of the grammar");
    let written = [library::SOURCE, library::ASSEMBLER_SOURCE, library::MACROS];
    let written = EXAMPLES.into_iter().chain(written);
    let tokens: usize = written.map(|source| compare(&mut parser, source)).sum();
    let config = Config {
        cases: 5_000,
        failure_persistence: None,
        ..Config::default()
    };
    let parser = std::cell::RefCell::new(parser);
    TestRunner::new(config)
        .run(&sources(), |source| {
            compare(&mut parser.borrow_mut(), &source);
            Ok(())
        })
        .expect("grammar and tokenizer agree");
    println!(
        "{tokens} tokens of written sources, and those of 5,000 arbitrary ones, have the class of the tokenizer"
    );
}
