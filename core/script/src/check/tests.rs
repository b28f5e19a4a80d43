use super::*;
use crate::asm::NoIncludes;
use crate::assemble;
use alloc::format;
use alloc::string::ToString as _;
use proptest::prelude::*;

fn problems(text: &str) -> Vec<String> {
    let mut sources = Sources::new();
    let source = sources.add("f", text);
    let tree = match Tree::parse(&sources, source) {
        Ok(tree) => tree,
        Err(error) => return Vec::from([error.render(&sources)]),
    };
    let problems = check(&sources, &tree, &[], &Options::new());
    let line = |problem: &Diagnostic| {
        let at = sources.position(problem.place);
        let hint = problem.hint.as_ref().map(|hint| format!(" [{hint}]"));
        format!(
            "{}:{} {}{}",
            at.line,
            at.column,
            problem.code,
            hint.unwrap_or_default()
        )
    };
    problems.iter().map(line).collect()
}

/// Returns the places and codes of the problems.
fn codes(text: &str) -> String {
    let problems = problems(text);
    let short = problems
        .iter()
        .map(|problem| problem.split(" [").next().unwrap_or_default());
    short.collect::<Vec<_>>().join(", ")
}

#[test]
fn sound_programs_have_no_problems() {
    for text in [
        "",
        "5 \"text\" () (1 2 3)",
        "(((a b (($0 $1 add) sk)) (a b) fn) int.add def)\n(1 2 int.add)",
        "(5 x def) (x x) (((y x) (y) fn) f def) (1 f)",
        "(error whatever happens)",
        "(1 ((n $0 heap_set n heap_get) sk))",
        "(3 ((n $0 heap_set 3 n heap_get add jump) sk))",
        "(((z) (q) fn) g def) (((1 g) (z) fn) h def)",
        "(0x0000000000000000000000000000000000000000000000000000000000000000 ref)",
        "(1 ((\"not a number\" jump) sk))",
    ] {
        assert_eq!(problems(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn unbound_names_are_found() {
    assert_eq!(
        problems("(1 int.add def)\n(1 int.ad)\n(int.add nope)"),
        [
            "2:4 unbound-name [did you mean 'int.add'?]",
            "3:10 unbound-name"
        ]
    );
    assert_eq!(codes("(x 1) (2 x def)"), "1:2 early-use");
    assert_eq!(codes("((a) (a) fn) (a)"), "1:15 unbound-name");
    assert_eq!(codes("(((5 y def) (x) fn) f def) (y)"), "1:29 unbound-name");
    assert!(problems("(1 2 add)")[0].contains("is an opcode of the stack machine"));
    assert!(problems("(1 0xff)")[0].contains("only ref reads 0x"));
    assert!(problems("(5 x dfe)")[1].contains("did you mean 'def'?"));
}

#[test]
fn calls_with_wrong_arguments_are_found() {
    assert_eq!(codes("(((a) (a b) fn) f def)\n(1 f)\n(1 2 f)"), "2:4 arity");
    assert_eq!(codes("(1 ((a) (a b) fn))"), "1:4 arity");
    assert_eq!(codes("(1 (($0 $1 add) sk))"), "1:9 arity");
    assert_eq!(
        codes("((($0 $2 add) sk) s def) (1 2 s) (1 2 3 s)"),
        "1:31 arity"
    );
    assert_eq!(codes("(1 (($x) sk))"), "1:6 placeholder");
    // A name that is also a parameter may be bound to something else.
    assert_eq!(codes("(((a) (a b) fn) f def) (((1 f) (f) fn) g def)"), "");
}

#[test]
fn malformed_special_forms_are_found() {
    for (text, expected) in [
        ("(x def)", "1:1 def-shape"),
        ("(1 2 def)", "1:4 def-shape"),
        ("(0 1 x def)", "1:2 ignored-items"),
        ("(1 2 ($0 $1 add) sk)", "1:2 ignored-items"),
        ("(1 2 ($0 add sk))", "1:7 ignored-items, 1:10 sk-shape"),
        ("(a (x) fn)", "1:2 fn-shape"),
        ("((x) x fn)", "1:6 fn-shape"),
        ("((x) (x 1) fn)", "1:9 fn-shape"),
        ("((x) (x x) fn)", "1:9 fn-shape"),
        ("((x) fn)", "1:1 fn-shape"),
        ("(0x00 ref)", "1:2 ref-shape"),
        ("(1 2 ref)", "1:1 ref-shape"),
        (
            "(a",
            "f:1:1: error: parse error: expected ')'\n1 | (a\n  | ^\n  hint: this '(' is not closed",
        ),
    ] {
        assert_eq!(codes(text), expected, "{text}");
    }
}

#[test]
fn stack_programs_are_followed() {
    for (text, expected) in [
        (
            "(1 (($0 haep_get) sk))",
            "1:9 bad-stack, 1:9 misspelled-opcode",
        ),
        ("(1 (($0 and heap_get nand) sk))", ""),
        ("(1 (($0 0xff add) sk))", "1:9 hex-literal"),
        ("(1 (($0 add) sk))", "1:9 underflow"),
        ("(1 ((1 2) sk))", "1:8 bad-stack"),
        ("(1 (() sk))", "1:5 bad-stack"),
        ("(1 ((0 jump) sk))", "1:6 endless-loop"),
        ("(1 ((2 jump) sk))", "1:6 bad-jump"),
        ("(1 ((-1 jump) sk))", "1:6 bad-jump"),
        ("(1 ((5 jump 1 2 add $0) sk))", "1:13 unreachable"),
        ("(1 (($0 jump 99 jump) sk))", "1:14 bad-jump"),
        (
            "(1 ((\"\" \"add\" 1) sk))",
            "1:9 executed-text, 1:9 underflow",
        ),
        ("(\"add\" (($0) sk))", "1:2 executed-text"),
        ("((($0) sk) s def) (\"jump\" s)", "1:20 executed-text"),
        ("(1 (($0 (2 nope) add) sk))", "1:12 unbound-name"),
    ] {
        assert_eq!(codes(text), expected, "{text}");
    }
}

#[test]
fn problems_in_macros_name_their_uses() {
    let mut sources = Sources::new();
    let text = "((%x xy) (x) m %macro)\n(1 (((($0 1) %m)) sk))";
    let main = sources.add("f", text);
    let assembled = assemble(&mut sources, main, &mut NoIncludes).unwrap();
    let problems = check(
        &sources,
        &assembled.tree,
        &assembled.expansions,
        &Options::new(),
    );
    let text: Vec<String> = problems
        .iter()
        .map(|problem| problem.render(&sources))
        .collect();
    assert_eq!(text.len(), 1, "{text:?}");
    assert!(text[0].starts_with("f:1:6: error: bad stack"), "{text:?}");
    assert!(text[0].ends_with("in '%m', used at f:2:6"), "{text:?}");
}

#[test]
fn the_library_has_no_problems() {
    let mut sources = Sources::new();
    let main = sources.add("std.asm", library::ASSEMBLER_SOURCE);
    let assembled = assemble(&mut sources, main, &mut NoIncludes).unwrap();
    let problems = check(
        &sources,
        &assembled.tree,
        &assembled.expansions,
        &Options::new(),
    );
    let text: Vec<String> = problems
        .iter()
        .map(|problem| problem.render(&sources))
        .collect();
    assert_eq!(text, Vec::<String>::new());
}

#[test]
fn deep_and_large_sources_are_checked_within_bounds() {
    let deep = "(".repeat(300_000) + "x" + &")".repeat(300_000);
    let work = move || assert_eq!(codes(&deep), "1:300001 unbound-name");
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    thread.spawn(work).unwrap().join().unwrap();
    assert_eq!(problems(&"nope ".repeat(5_000)).len(), MAX_PROBLEMS);
    let nested = (0..2_000).fold("1".to_string(), |inner, _| format!("(({inner} 2) (x) fn)"));
    assert!(problems(&nested).len() <= MAX_PROBLEMS);
}

proptest! {
    #[test]
    fn arbitrary_sources_never_panic(
        text in "([(][)]|[(]1 x def[)]|[(][(]x[)] [(]x[)] fn[)]| sk[)]| fn[)]|[(]|[)]| |[$]0|add|jump|[x1]){0,50}",
    ) {
        let found = problems(&text);
        prop_assert!(found.len() <= MAX_PROBLEMS);
    }
}
