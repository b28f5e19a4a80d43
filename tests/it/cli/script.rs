//! Commands `asm`, `fmt`, `check` and `trace`, and the REPL's commands for authors of scripts.

use astreum_tests::testkit::Home;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn asm_writes_plain_source_that_eval_accepts() {
    let home = Home::new("asm");
    for directory in ["lib", "other"] {
        fs::create_dir(home.path().join(directory)).unwrap();
    }
    home.file("lib/math.asm", "((%x %x add) (x) double %macro)");
    home.file("open.asm", "5\n(a");
    home.run(&["asm", "open.asm"])
        .fails(1, &["open.asm:2:1: error: parse error: expected ')'", "^"]);
    home.file(
        "main.asm",
        "(\"lib/math.asm\" %include)\n(((($0 %double) @end jump 9 end: \"\" \"\" heap_set) sk) twice def)\n(21 twice)",
    );
    let ran = home.run(&["asm", "main.asm"]);
    let expected = [
        "((($0 $0 add 6 jump 9 \"\" \"\" heap_set) sk) twice def)",
        "(21 twice)",
    ];
    assert_eq!(ran.lines(), expected);
    assert_eq!(home.run(&["asm", "main.asm", "-o", "out.astreum"]).code, 0);
    assert_eq!(home.run(&["eval", "out.astreum", "--last"]).lines(), ["42"]);
    // Files are replaced only on request, and sources never.
    let out = home.file("old.astreum", "old");
    let asm = |more: &[&str]| home.run(&[&["asm", "main.asm", "-o"], more].concat());
    asm(&["old.astreum"]).fails(1, &["refusing to overwrite old.astreum", "--force"]);
    assert_eq!(fs::read_to_string(&out).unwrap(), "old");
    asm(&["old.astreum", "--force"]).lines();
    assert_eq!(fs::read(&out).unwrap(), ran.stdout);
    for source in ["main.asm", "./lib/math.asm"] {
        for force in [&[][..], &["--force"]] {
            asm(&[&[source], force].concat()).fails(1, &["it is a source of the output"]);
        }
    }
    assert_eq!(asm(&["-"]).stdout, ran.stdout);
    asm(&["/dev/null"]).lines();
    assert!(!home.path().join("-").exists());
    assert_eq!(home.run(&["check", "main.asm", "out.astreum"]).code, 1);
    for (name, reason) in [
        ("../secret", "without `..`"),
        ("/etc/hosts", "without `..`"),
        ("no", "No such file"),
    ] {
        home.file("bad.asm", format!("(\"{name}\" %include)"));
        home.run(&["asm", "bad.asm"])
            .fails(1, &["bad.asm:1:2: error: cannot include", reason]);
    }
    home.file("other/deep.asm", "5");
    home.file("bad.asm", "(\"deep.asm\" %include)");
    assert_eq!(home.run(&["asm", "bad.asm", "-I", "other"]).lines(), ["5"]);
    home.file("self.asm", "(\"./self.asm\" %include)");
    home.run(&["asm", "./self.asm"])
        .fails(1, &["includes itself"]);
    let error = home.run(&["asm", "--json", "--expr", "(1 %nope)"]);
    assert_eq!(error.code, 1);
    let error = error.failed_json();
    assert_eq!(
        (&error["code"], &error["line"], &error["column"]),
        (&"unknown-macro".into(), &1.into(), &4.into())
    );
}

#[test]
fn fmt_rewrites_files_in_place_and_checks_them() {
    let home = Home::new("fmt");
    let path = home.file("a", "( 1   2 ) ; note\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    home.file("b", "(3)\n");
    home.file("bad", "(");
    let ran = home.run(&["fmt", "--check", "a", "b"]);
    assert_eq!((ran.code, &ran.stdout[..]), (1, &b"a\n"[..]));
    assert_eq!(fs::read_to_string(&path).unwrap(), "( 1   2 ) ; note\n");
    let ran = home.run(&["fmt", "bad", "a", "b"]);
    ran.fails(1, &["bad:1:2: error: parse error: expected ')'"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "(1 2) ; note\n");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(home.run(&["fmt", "--check", "a", "b"]).code, 0);
    let ran = home.run_with(&["fmt", "-"], b"#!/x\n(1  \"\xe2\x80\xae\")");
    assert_eq!(ran.stdout, b"#!/x\n(1 \"\xe2\x80\xae\")\n");
    home.run_with(&["fmt", "-"], b"\xff")
        .fails(1, &["stdin: line 1: invalid UTF-8"]);
    home.run(&["fmt", "none"]).fails(1, &["none: No such file"]);
}

#[test]
fn check_finds_problems_with_places_and_suggestions() {
    let home = Home::new("check");
    home.file("good", "(5 x def) (x x)");
    let ran = home.run(&["check", "good", "(1 2 3)"]);
    assert_eq!((ran.code, ran.text(), ran.stderr.as_str()), (0, "", ""));
    home.file("bad", "(1 (($0 haep_get) sk))\n(1 nope)\n");
    home.run(&["check", "bad"]).fails(
        1,
        &[
            "bad:1:9: warning: 'haep_get' is not an opcode but a value",
            "did you mean 'heap_get'?",
            "bad:2:4: error: unbound name 'nope'",
            "  |    ^",
        ],
    );
    assert_eq!(home.run(&["check", "--bind", "nope", "(1 nope)"]).code, 0);
    assert_eq!(home.run(&["check", "--std", "(1 2 int.sub)"]).code, 0);
    home.run(&["check", "--std", "(1 int.sub)"])
        .fails(1, &["takes 2 arguments, and 1 is given"]);
    let ran = home.run(&["check", "--json", "(1 nope)"]);
    let problem = ran.failed_json();
    assert_eq!(
        (ran.code, &problem["code"], &problem["severity"]),
        (1, &"unbound-name".into(), &"error".into())
    );
    home.run(&["check"]).fails(2, &[]);
}

#[test]
fn trace_shows_each_step_with_place_stack_heap_and_charge() {
    let home = Home::new("trace");
    let ran = home.run(&["trace", "(7 ((k $0 heap_set k heap_get 1 add) sk))"]);
    let lines = ran.lines();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(lines.last(), Some(&"8"));
    let find = |part: &str| lines.iter().any(|line| line.contains(part));
    assert!(
        find("argument:1:11") && find("[2] heap_set  stack: k 7"),
        "{lines:?}"
    );
    assert!(find("[6] add  stack: 7 1  heap: k=7"), "{lines:?}");
    let ran = home.run(&["trace", "--json", "--expr", "(7 (($0 1 add) sk))"]);
    let lines = ran.lines();
    let last: serde_json::Value = serde_json::from_str(lines[lines.len() - 1]).unwrap();
    assert_eq!((&last["result"], &last["charge"]), (&"8".into(), &2.into()));
    let before: serde_json::Value = serde_json::from_str(lines[3]).unwrap();
    assert!(
        before["stack"].is_array() && before["at"]["line"] == 1,
        "{before}"
    );
    home.run(&["trace", "--max-steps", "5", "(1 ((0 jump) sk))"])
        .fails(1, &["stopped after 5 steps"]);
    home.run(&["trace", "(1 ((add) sk))"])
        .fails(1, &["low_eval: underflow"]);
    let ran = home.run(&["trace", "--std", "(1 2 int.sub)"]);
    assert!(
        ran.text().contains("<std>:") && ran.lines().last() == Some(&"-1"),
        "{ran:?}"
    );
    let id = "07".repeat(32);
    let ran = home.run(&["trace", &format!("(0x{id} ref)")]);
    ran.fails(
        1,
        &["is missing: the operation fails", "was not found locally"],
    );
}

#[test]
fn standard_library_is_defined_on_request() {
    let home = Home::new("std");
    assert_eq!(
        home.run(&["eval", "--std", "(-7 2 int.div) (-7 2 int.mod)"])
            .lines(),
        ["-4", "1"]
    );
    home.run(&["eval", "--std", "(1 0 int.div)"]).fails(
        1,
        &[
            "low_eval: bad jump",
            "\"division by zero\" jump",
            "in 'int.div'",
        ],
    );
    home.run(&["eval", "--std", "(1 2 int.sbu)"])
        .fails(1, &["did you mean 'int.sub'?"]);
    // Limits do not apply to the definitions.
    assert_eq!(
        home.run(&["eval", "--std", "--steps", "9", "7"]).lines(),
        ["7"]
    );
}

#[test]
fn repl_steps_measures_saves_and_lists() {
    let home = Home::new("repl-tools");
    let input = b":step (1 2 (($0 $1 add) sk))\n:step\n:step 4\n:env\n(7 x def)\n:stop\n:step (1 2 (($0 $1 add) sk))\n:finish\n\
        (5 five def)\n:save kept\n:save kept\n:meter (1 2 (($0 $1 add) sk))\n:time\n(1 ((1 \"data\" atom_new) sk))\n:atoms\n:std\n(7 2 int.sub)\n:env five\n:step\n";
    let ran = home.run_with(&["repl"], input);
    ran.fails(
        1,
        &[
            "an evaluation is stepped: use :step, :finish or :stop first",
            "refusing to overwrite kept: the file exists",
            "no evaluation is stepped; :step EXPR starts one",
        ],
    );
    let text = ran.text();
    for part in [
        "1 | (1 2 (($0 $1 add) sk))",
        "step 0, charge 0: push a constant",
        "step 5, charge 0: [",
        "charge 2, steps ",
        "charge 2\n",
        " bytes 4 1684108385",
        "\n5\nfive = 5\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let kept = fs::read_to_string(home.path().join("kept")).unwrap();
    assert_eq!(kept, "(\"\\x05\" five def)\n");
    let ran = home.run_with(&["repl", "--std"], b":load kept\n(five 1 int.add)\n");
    assert_eq!((ran.code, ran.lines()), (0, vec!["5", "6"]));
}
