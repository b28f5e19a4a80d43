//! Generates the parser from the grammar and compiles it.

use std::path::PathBuf;

fn main() {
    let grammar = PathBuf::from("../tree-sitter-astreum/grammar.js");
    println!("cargo::rerun-if-changed={}", grammar.display());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let json = tree_sitter_generate::load_grammar_file(&grammar, Some("node"))
        .unwrap_or_else(|error| panic!("cannot read the grammar, which needs Node.js: {error}"));
    let version = Some((0, 1, 0));
    let (_, parser) = tree_sitter_generate::generate_parser_for_grammar(&json, version)
        .unwrap_or_else(|error| panic!("invalid grammar: {error}"));
    let source = out.join("parser.c");
    std::fs::write(&source, parser).expect("cannot write the parser");
    let headers = out.join("tree_sitter");
    std::fs::create_dir_all(&headers).expect("cannot create the directory of the headers");
    std::fs::write(
        headers.join("parser.h"),
        tree_sitter_generate::PARSER_HEADER,
    )
    .expect("cannot write the header");
    cc::Build::new()
        .include(&out)
        .file(&source)
        .warnings(false)
        .compile("astreum_grammar");
}
