use super::*;
use crate::library;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString as _;
use proptest::prelude::*;

/// Files by name.
#[derive(Default)]
struct Files(BTreeMap<&'static str, String>);

impl Loader for Files {
    fn load(&mut self, name: &str, _: &str) -> Result<Loaded, String> {
        match self.0.get(name) {
            Some(text) => Ok(Loaded {
                name: name.to_string(),
                text: text.clone(),
            }),
            None => Err("no such file".into()),
        }
    }
}

fn with_files(text: &str, files: &[(&'static str, &str)]) -> Result<String, String> {
    let mut loader = Files(
        files
            .iter()
            .map(|(name, text)| (*name, (*text).into()))
            .collect(),
    );
    let mut sources = Sources::new();
    let main = sources.add("main", text);
    match assemble(&mut sources, main, &mut loader) {
        Ok(assembled) => Ok(assembled.to_source(&sources)),
        Err(error) => Err(error.render(&sources)),
    }
}

fn assembled(text: &str) -> String {
    with_files(text, &[])
        .unwrap()
        .replace("\n", " ")
        .trim_end()
        .to_string()
}

/// Returns the first line of the message, and its notes.
fn error(text: &str) -> String {
    let message = with_files(text, &[]).unwrap_err();
    let lines: Vec<&str> = message.lines().collect();
    format!("{}{}", lines[0], lines[3..].concat())
}

#[test]
fn plain_source_is_unchanged() {
    let text = "(1 \"a\\x00\" (b () +07)) x ; comment";
    assert_eq!(assembled(text), "(1 \"a\\x00\" (b () +07)) x");
    assert_eq!(assembled(""), "");
    assert_eq!(assembled("% @ : a:b a@b a%b"), "% @ : a:b a@b a%b");
}

#[test]
fn labels_are_indices_of_tokens() {
    let text = "((a: 1 @b jump @a jump (x y) b: @b-a @a-b) sk)";
    assert_eq!(assembled(text), "((1 6 jump 0 jump (x y) 6 -6) sk)");
    assert_eq!(
        error("((1 @nwo jump now: 2) sk)"),
        "main:1:5: error: label 'nwo' is not defined in this stack program  \
         hint: did you mean '@now'?"
    );
    assert!(
        error("((1 @end jump end:) sk)")
            .starts_with("main:1:5: error: label 'end' has no token after it to jump to")
    );
    assert!(error("((a: 1 a: 2) sk)").starts_with("main:1:8: error: label 'a' is already"));
    for outside in [
        "a:",
        "@a",
        "(1 a: 2)",
        "((1 (a: 2)) sk)",
        "(a: 1 sk)",
        "((a: 1) (x) fn)",
    ] {
        assert!(
            error(outside).contains("error: label outside of the body"),
            "{outside}"
        );
    }
}

#[test]
fn constants_and_macros_are_inserted() {
    let text = "(255 max %const) ((1 2) pair %const) (%max %pair (%max f))";
    assert_eq!(assembled(text), "(255 (1 2) (255 f))");
    let text = "((%x %x add) (x) twice %macro) ((($0 %twice) ((1 2 add) %twice)) sk)";
    assert_eq!(assembled(text), "(($0 $0 add 1 2 add 1 2 add add) sk)");
    let text = "((a b) () both %macro) (%both (%both) c)";
    assert_eq!(assembled(text), "(a b (a b) c)");
    // An argument that uses a macro is inserted whole, and keeps the names of its place.
    let text = "((%x) (x) id %macro) ((%x 2) (x) two %macro) (((%x %id)) (x) outer %macro) \
                (((1 %two) %outer) ((7) %outer))";
    assert_eq!(assembled(text), "(1 2 7)");
}

#[test]
fn labels_of_macros_belong_to_one_use() {
    let text = "((@end jump %x end: 0) (x) skip %macro) \
                ((end: (1 %skip) (@end %skip) @end jump) sk)";
    assert_eq!(assembled(text), "((3 jump 1 0 7 jump 0 0 0 jump) sk)");
    // A macro may jump to a label of the program that uses it.
    let text = "((@out jump) () leave %macro) ((%leave out: 1) sk)";
    assert_eq!(assembled(text), "((2 jump 1) sk)");
}

#[test]
fn wrong_macros_are_explained() {
    assert_eq!(
        error("(1 limit %const)\n(%limt)"),
        "main:2:2: error: '%limt' is not defined before this use  hint: did you mean '%limit'?"
    );
    assert_eq!(
        error("((%x) (x) m %macro)\n(1 2 %m)"),
        "main:2:6: error: '%m' takes 1 arguments, and 2 are given  defined at main:1:11"
    );
    assert_eq!(
        error("((%nope) () inner %macro)\n((%inner) () outer %macro)\n(1 %outer)"),
        "main:1:3: error: '%nope' is not defined before this use  \
         in '%inner', used at main:2:3  in '%outer', used at main:3:4"
    );
    for (text, part) in [
        (
            "(1 a %const) (2 a %const)",
            "'%a' is already defined  first defined at main:1:4",
        ),
        ("(1 %const)", "invalid %const: expected (value name %const)"),
        ("(a (x) m %macro)", "the items of a macro are a list"),
        (
            "((a) (x x) m %macro)",
            "the parameters of a macro are a list of names",
        ),
        (
            "((a) 5 m %macro)",
            "the parameters of a macro are a list of names",
        ),
        ("(1 a: %const)", "invalid name of a constant or macro"),
        ("(1 include %const)", "is a directive"),
        (
            "(x (1 a %const))",
            "'%const' is only allowed at the top level",
        ),
        ("%include", "'%include' is only allowed at the top level"),
        ("(f %include)", "the name of an included file is a string"),
        ("(a", "expected ')'"),
    ] {
        assert!(error(text).contains(part), "{text}: {}", error(text));
    }
}

#[test]
fn expansion_is_bounded() {
    assert!(error("(%a a %const) %a").contains("macros are nested deeper than 64"));
    assert!(error("((%m %m) () m %macro) (%m)").contains("macros are nested deeper than 64"));
    let mut text = "((1 1 1 1 1 1 1 1) () m0 %macro)".to_string();
    for level in 1..30 {
        let inner = level - 1;
        text += &format!("((%m{inner} %m{inner}) () m{level} %macro)");
    }
    assert!(error(&(text + "(%m29)")).contains("error: "));
    let deep = "(".repeat(500_000) + &")".repeat(500_000);
    let work = move || assert_eq!(with_files(&deep, &[]).unwrap().trim_end(), deep);
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    thread.spawn(work).unwrap().join().unwrap();
}

#[test]
fn files_are_included_once_and_cycles_are_errors() {
    let files = [
        ("a", "(\"b\" %include) (%b)"),
        ("b", "(7 b %const) b"),
        ("loop", "(\"back\" %include)"),
        ("back", "\n (\"loop\" %include)"),
        ("bad", "(1"),
    ];
    let text = "(\"a\" %include) (\"b\" %include) %b";
    assert_eq!(with_files(text, &files).unwrap(), "b\n(7)\n7\n");
    assert_eq!(
        with_files("(\"loop\" %include)", &files).unwrap_err(),
        "back:2:3: error: \"loop\" includes itself\n2 |  (\"loop\" %include)\n  |   ^\n  \
         included at loop:1:1\n  included at main:1:1"
    );
    let error = with_files("(\"main\" %include)", &[("main", "")]).unwrap_err();
    assert!(error.contains("it is the assembled file"), "{error}");
    let error = with_files("(\"bad\" %include)", &files).unwrap_err();
    assert!(
        error.starts_with("bad:1:1: error: parse error: expected ')'"),
        "{error}"
    );
    assert!(error.ends_with("included at main:1:1"), "{error}");
    let error = with_files("(\"none\" %include)", &files).unwrap_err();
    assert!(
        error.contains("cannot include \"none\": no such file"),
        "{error}"
    );
    let mut chain: Vec<(&'static str, String)> = Vec::new();
    for at in 0..20 {
        let name: &'static str = format!("f{at}").leak();
        chain.push((name, format!("(\"f{}\" %include)", at + 1)));
    }
    let chain: Vec<(&'static str, &str)> = chain
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let error = with_files("(\"f0\" %include)", &chain).unwrap_err();
    assert!(
        error.contains("includes are nested deeper than 16"),
        "{error}"
    );
}

#[test]
fn library_is_the_output_for_its_source() {
    let output = with_files(library::ASSEMBLER_SOURCE, &[]).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/std/std.astreum");
    if std::env::var_os("UPDATE_STD").is_some() {
        return std::fs::write(path, &output).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        output == committed,
        "run the test with UPDATE_STD=1 after a change of std/*.asm"
    );
    assert_eq!(with_files("(\"std\" %include) ", &[]).unwrap(), committed);
}

proptest! {
    #[test]
    fn arbitrary_sources_never_panic_and_output_assembles_to_itself(
        text in "([(][)]|[(]1 a %const[)]|[(][(]%x @l l: 1[)] [(]x[)] m %macro[)]|%m|%a|@l|l:| sk[)]|[(]|[)]| |[ab1]){0,40}",
    ) {
        if let Ok(output) = with_files(&text, &[]) {
            prop_assert_eq!(with_files(&output, &[]).unwrap(), output);
        }
    }
}
