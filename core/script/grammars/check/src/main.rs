//! Compares the leaves of tree-sitter's tree with the classes of the tokenizer, for example sources.

use astreum_script::highlight::{Class, highlight};
use astreum_script::library;
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

fn main() {
    let mut parser = Parser::new();
    let language = Language::new(LANGUAGE);
    parser
        .set_language(&language)
        .expect("the versions of generator and library fit");
    let query = include_str!("../../tree-sitter-astreum/queries/highlights.scm");
    tree_sitter::Query::new(&language, query).expect("the query names nodes of the grammar");
    let sources = [library::SOURCE, library::ASSEMBLER_SOURCE, library::MACROS];
    let mut tokens = 0;
    for source in EXAMPLES.into_iter().chain(sources) {
        let tree = parser.parse(source, None).expect("no timeout is set");
        assert!(
            !tree.root_node().has_error(),
            "{}",
            tree.root_node().to_sexp()
        );
        let mut found = Vec::new();
        let mut pending = vec![tree.root_node()];
        while let Some(node) = pending.pop() {
            match class(&node) {
                Some(class) => found.push((node.start_byte()..node.end_byte(), class)),
                None => {
                    pending.extend((0..node.child_count()).filter_map(|at| node.child(at as u32)))
                }
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
        tokens += found.len();
    }
    println!("{tokens} tokens have the class of the tokenizer");
}
