//! Commands `eval`, `parse` and `repl`.

use astreum_tests::testkit::{Home, run_with_input};

const ADD: &str = "(1 2 ((a b (($0 $1 add) sk)) (a b) fn))";

#[test]
fn eval_prints_one_result_per_line() {
    let home = Home::new("eval");
    assert_eq!(home.run(&["eval", ADD]).lines(), ["3"]);
    assert_eq!(
        home.run(&["eval", "1 \"hello\" (2 3)"]).lines(),
        ["1", "\"hello\"", "(2 3)"]
    );
    assert_eq!(home.run_with(&["eval", "-"], b"4\n").lines(), ["4"]);
    assert_eq!(home.run(&["eval", "-5"]).lines(), ["-5"]);
}

#[test]
fn file_is_evaluated_in_order_in_one_environment() {
    let home = Home::new("eval-file");
    home.file(
        "program",
        format!(
            "; binds, then uses\n({} int.add def)\n(1 2 int.add)\n",
            "((a b (($0 $1 add) sk)) (a b) fn)"
        ),
    );
    let ran = home.run(&["eval", "program"]);
    assert_eq!(ran.lines().last(), Some(&"3"));
    assert_eq!(home.run(&["eval", "--file", "program"]).stdout, ran.stdout);
    // A file does not hide an expression of the same name.
    home.file("five", "5");
    assert_eq!(home.run(&["eval", "five"]).lines(), ["5"]);
    home.run(&["eval", "--expr", "five"]).fails(1, &[]);
}

#[test]
fn error_is_a_result_with_exit_code_1() {
    let home = Home::new("eval-error");
    let ran = home.run(&["eval", "nobody 7"]);
    assert_eq!(ran.text(), "error eval: unbound symbol 'nobody'\n7\n");
    assert_eq!(ran.code, 1);
    let ran = home.run(&["eval", ""]);
    assert_eq!(
        (ran.text(), ran.code),
        ("error eval: no expression provided\n", 1)
    );
    let ran = home.run(&["eval", ADD, "--limit", "1"]);
    assert_eq!((ran.text(), ran.code), ("error low_eval: meter limit\n", 1));
    assert_eq!(home.run(&["eval", ADD, "--limit", "3"]).lines(), ["3"]);
}

#[test]
fn parse_error_shows_line_and_caret() {
    let home = Home::new("caret");
    home.file("program", "(1 2)\n(3 (4)\n");
    let ran = home.run(&["eval", "program"]);
    ran.fails(
        1,
        &[
            "program:3:1: parse error: expected ')'",
            "line 2, column 1",
            "^",
        ],
    );
    assert!(ran.stdout.is_empty(), "the program must not be evaluated");
    home.run(&["parse", "a)"]).fails(
        1,
        &["argument:1:2: parse error: unexpected ')'", "1 | a)\n"],
    );
    home.run(&["eval", "\"abc"])
        .fails(1, &["unterminated string"]);
    let ran = home.run(&["eval", "--json", "(("]);
    let error: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(
        (ran.code, &error["line"], &error["column"]),
        (1, &1.into(), &3.into())
    );
}

#[test]
fn json_contains_exact_bytes() {
    let home = Home::new("json");
    let value = home.run(&["eval", "--json", ADD]).json();
    assert_eq!(value["expr"], serde_json::json!({"bytes": "03"}));
    assert_eq!((&value["text"], &value["used"]), (&"3".into(), &2.into()));
    assert_eq!(value["is_error"], false);
    let ran = home.run(&["parse", "--json", "(a \"\\xff\") 256"]);
    assert_eq!(
        ran.lines(),
        [
            r#"{"list":[{"sym":"a"},{"bytes":"ff"}]}"#,
            r#"{"bytes":"0100"}"#
        ]
    );
}

#[test]
fn parse_output_can_be_parsed_again() {
    let home = Home::new("parse");
    let text = "(a ( b 0255 ) \"two words\") ; comment\n-1";
    let ran = home.run_with(&["parse", "-"], text.as_bytes());
    assert_eq!(ran.lines(), ["(a (b 255) \"two words\")", "-1"]);
    let again = home.run_with(&["parse", "-"], &ran.stdout);
    assert_eq!(again.stdout, ran.stdout);
}

#[test]
fn unreadable_input_is_explained() {
    let home = Home::new("input");
    home.run_with(&["eval", "-"], b"1\n(1 \xff)")
        .fails(1, &["stdin: line 2: invalid UTF-8 at byte 4 of the line"]);
    home.run(&["eval", "no/such.astreum"])
        .fails(1, &["file no/such.astreum does not exist", "--expr"]);
    home.run(&["eval", "--file", "none"])
        .fails(1, &["none: No such file"]);
    for name in ["nofile.asm", "nofile.ast", "nofile.astreum"] {
        for command in ["asm", "parse"] {
            home.run(&[command, name])
                .fails(1, &["does not exist", "--expr"]);
        }
    }
    std::fs::create_dir(home.path().join("folder")).unwrap();
    home.run(&["parse", "folder"])
        .fails(1, &["folder is a directory", "--expr"]);
    assert_eq!(home.run(&["parse", "-e", "folder"]).lines(), ["folder"]);
    // A named pipe is read like a file.
    let pipe = home.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let writer = std::thread::spawn(move || std::fs::write(pipe, "(1 2)"));
    assert_eq!(home.run(&["parse", "pipe"]).lines(), ["(1 2)"]);
    writer.join().unwrap().unwrap();
}

#[test]
fn repl_on_a_pipe_keeps_its_environment_and_joins_lines() {
    let home = Home::new("repl");
    let ran = home.run_with(
        &["repl"],
        b"(5 five def)\nfive\n(1\n 2\n)\n\"some\ntext\"\n:env\n:quit\n9\n",
    );
    let lines = ran.lines();
    assert_eq!(
        lines[1..],
        ["5", "(1 2)", "\"some\\ntext\"", "five = 5"][..lines.len() - 1]
    );
    assert_eq!(lines.len(), 5, "{lines:?}");
}

#[test]
fn repl_continues_after_errors_and_exits_with_1() {
    let home = Home::new("repl-error");
    let ran = home.run_with(&["repl"], b"nobody\n)\n:fly\n:limit x\n:load none\n6\n(7");
    ran.fails(
        1,
        &[
            "unexpected ')'",
            "unknown command :fly",
            "invalid limit: expected an integer",
            "none: No such file",
            "expected ')'",
        ],
    );
    assert_eq!(ran.text(), "error eval: unbound symbol 'nobody'\n6\n");
    home.file("program", "8 9");
    let ran = home.run_with(&["repl"], b":load program\n:limit 1\n:limit none\n:help\n");
    assert_eq!(ran.lines()[..2], ["8", "9"]);
    assert!(ran.text().contains(":quit"));
}

#[test]
fn every_command_handles_deep_nesting() {
    let home = Home::new("deep");
    let depth = 200_000;
    let deep = format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(
        home.run_with(&["parse", "-"], deep.as_bytes()).lines(),
        [deep.as_str()]
    );
    let json = home.run_with(&["parse", "-", "--json"], deep.as_bytes());
    assert_eq!(
        json.lines()[0].len(),
        depth * r#"{"list":[]}"#.len() + r#"{"bytes":"01"}"#.len()
    );
    let open = "(".repeat(1_000_000);
    home.run_with(&["eval", "-"], open.as_bytes())
        .fails(1, &["expected ')'"]);
    // A result or an error, but always an answer.
    let ran = home.run_with(&["eval", "-", "--json"], deep.as_bytes());
    assert!(ran.code <= 1 && !ran.stdout.is_empty(), "{}", ran.stderr);
}

#[test]
fn closed_stdout_is_not_an_error() {
    let home = Home::new("pipe");
    home.file(
        "program",
        "\"a rather long line of text, many times\"\n".repeat(50_000),
    );
    let mut child = home
        .command(&["eval", "program"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );
}

#[test]
fn invalid_usage_is_exit_code_2_and_help_is_0() {
    let home = Home::new("usage");
    for arguments in [
        &["fly"][..],
        &["eval"],
        &["eval", "1", "--limit", "x"],
        &["eval", "1", "2"],
        &["parse", "--file", "a", "b"],
        &["keys", "generate"],
        &["get"],
        &["get", "xyz"],
        &["run", "--no-such-flag", "1"],
        &["completions", "noshell"],
        &["man", "nothing"],
        &["status", "--timeout", "0"],
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?} {ran:?}");
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
    }
    let commands = [
        "run",
        "eval",
        "repl",
        "parse",
        "asm",
        "fmt",
        "check",
        "trace",
        "status",
        "peers",
        "get",
        "put",
        "keys",
        "config",
        "completions",
        "man",
    ];
    for command in commands {
        let ran = home.run(&[command, "--help"]);
        assert!(
            ran.code == 0 && ran.text().contains("Example"),
            "{command}: {ran:?}"
        );
    }
    assert!(home.run(&["--help"]).text().contains("Exit codes"));
    let version = home.run(&["--version"]);
    let names: Vec<&str> = version
        .lines()
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names, ["astreum", "commit", "target", "features"]);
    assert!(
        home.run(&["completions", "bash"])
            .text()
            .contains("_astreum")
    );
    assert!(home.run(&["man"]).text().contains(".TH astreum"));
    assert!(home.run(&["man", "eval"]).text().contains("eval"));
}

#[test]
fn eval_runs_without_a_home_directory() {
    let home = Home::new("homeless");
    let mut command = home.command(&["eval", "7"]);
    command.env_remove("HOME").env_remove("XDG_STATE_HOME");
    assert_eq!(run_with_input(command, b"").lines(), ["7"]);
}

#[test]
fn byte_order_mark_is_skipped() {
    let home = Home::new("mark");
    home.file("program", "\u{feff}(1 2)\r\n");
    assert_eq!(home.run(&["eval", "program"]).lines(), ["(1 2)"]);
    assert_eq!(home.run(&["parse", "-f", "program"]).lines(), ["(1 2)"]);
}

#[test]
fn errors_escape_control_characters() {
    let home = Home::new("esc");
    let ran = home.run_with(&["eval", "-"], b"\x1b[31m");
    assert_eq!(ran.text(), "error eval: unbound symbol '\\x1b[31m'\n");
    assert_eq!(ran.code, 1);
}

#[test]
fn every_command_has_a_manual_page() {
    let home = Home::new("man");
    let page = home.run(&["man", "keys", "generate"]);
    let page = page.lines().join("\n");
    for part in [
        ".TH astreum-keys-generate 1",
        "astreum 0.",
        "keys generate",
        ".SH EXAMPLES",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    assert!(home.run(&["man"]).text().contains(".TH astreum 1"));
    home.run(&["man", "keys", "none"])
        .fails(2, &["unknown command \"keys none\""]);
}

#[test]
fn errors_name_directories_and_missing_key_files() {
    let home = Home::new("called");
    home.run(&["eval", "/"]).fails(1, &["/ is a directory"]);
    home.run(&["keys", "show", "none"])
        .fails(1, &["missing key file none", "keys generate none"]);
    home.run(&["run", "--relay-secret-key-file", "none"])
        .fails(2, &["missing key file none"]);
}

#[test]
fn evaluation_errors_have_positions_on_stderr() {
    let home = Home::new("places");
    let ran = home.run(&["eval", "(1 2 (($0 $1 sub) sk))"]);
    assert_eq!(ran.text(), "error low_eval: bad stack\n");
    ran.fails(
        1,
        &[
            "argument:1:7: low_eval: bad stack (end of program, stack depth 3)\n\
             1 | (1 2 (($0 $1 sub) sk))\n  |       ^\n",
            "token 2 'sub' is not an opcode",
        ],
    );
    home.file(
        "program",
        "(((x (($0 $0 ad) sk)) (x) fn) twice def)\n\n(\n  (2 twice))\n",
    );
    home.run(&["eval", "program"]).fails(
        1,
        &[
            "program:1:7: low_eval: bad stack",
            "did you mean 'add'?",
            "in 'twice', called at program:4:6",
        ],
    );
    let ran = home.run(&["eval", "--json", "--last", "program"]);
    let result: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let error = &result["errors"][0];
    assert_eq!((ran.code, &result["outcome"]), (1, &"finished".into()));
    assert_eq!(
        (&error["at"]["line"], &error["at"]["column"]),
        (&1.into(), &7.into())
    );
    assert_eq!(
        (&error["token"], &error["stack_depth"]),
        (&3.into(), &3.into())
    );
    assert_eq!(error["calls"][0]["name"], "twice");
    assert_eq!(error["calls"][0]["at"]["line"], 4);
}

#[test]
fn call_of_unbound_symbol_is_exit_code_1() {
    let home = Home::new("unbound");
    let program = "(((a b (($0 $1 add) sk)) (a b) fn) int.add def)\n(1 2 int.ad)\n";
    let ran = home.run_with(&["eval", "-", "--last"], program.as_bytes());
    assert_eq!(
        ran.text(),
        "(1 2 (error \"eval\" \"unbound symbol 'int.ad'\"))\n"
    );
    ran.fails(
        1,
        &[
            "stdin:2:6: eval: unbound symbol 'int.ad'",
            "did you mean 'int.add'?",
        ],
    );
    home.run_with(&["repl"], program.as_bytes())
        .fails(1, &["stdin:2:6: eval: unbound symbol 'int.ad'"]);
    // Outside the position of a call it is an ordinary item, but it is reported.
    let ran = home.run(&["eval", "(nope 2)"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr
            .contains("argument:1:2: eval: unbound symbol 'nope'")
    );
}

#[test]
fn limits_are_set_by_options_and_configuration_and_named_in_errors() {
    let home = Home::new("limits");
    let forever = "(1 ((0 jump) sk))";
    for (source, option, value, message) in [
        (
            forever,
            "--steps",
            "1_000",
            "step limit of 1000 exceeded: raise it with --steps N",
        ),
        (
            "(((x f) (x) fn) f def) (1 f)",
            "--depth",
            "7",
            "depth limit of 7 exceeded: raise it with --depth N",
        ),
        (
            "(1 ((1 0 jump) sk))",
            "--stack",
            "9",
            "stack limit of 9 exceeded: raise it with --stack N",
        ),
        (
            "(1 ((1 1 heap_set 1) sk))",
            "--heap",
            "0",
            "heap limit of 0 exceeded: raise it with --heap N",
        ),
        (
            ADD,
            "--live-bytes",
            "10",
            "memory limit of 10 exceeded: raise it with --live-bytes N",
        ),
        (
            "(1 ((1 \"data\" atom_new) sk))",
            "--atoms",
            "0",
            "atom limit of 0 exceeded: raise it with --atoms N",
        ),
        (
            ADD,
            "--limit",
            "1",
            "meter limit of 1 exceeded: raise it with --limit N",
        ),
    ] {
        let ran = home.run(&["eval", source, option, value]);
        assert!(
            ran.code == 1 && ran.stderr.contains(message),
            "{source} {ran:?}"
        );
    }
    home.file("node.toml", "eval_steps = 2_000\neval_depth = 3\n");
    home.run(&["eval", forever, "--config", "node.toml"])
        .fails(1, &["step limit of 2000 exceeded"]);
    home.run(&["eval", forever, "--config", "node.toml", "--steps", "3000"])
        .fails(1, &["step limit of 3000 exceeded"]);
    let mut command = home.command(&["eval", forever]);
    command.env("ASTREUM_EVAL_STEPS", "4000");
    run_with_input(command, b"").fails(1, &["step limit of 4000 exceeded"]);
    let ran = home.run_with(
        &["repl", "--steps", "500"],
        format!("{forever}\n:limit steps 600\n{forever}\n:limit\n:limit speed 1\n").as_bytes(),
    );
    ran.fails(
        1,
        &[
            "step limit of 500 exceeded: raise it with :limit steps N",
            "step limit of 600 exceeded",
            "unknown limit \"speed\"",
        ],
    );
    assert!(
        ran.text().contains("steps        600\n") && ran.text().contains("meter        none\n")
    );
    let ran = home.run(&["eval", "--json", forever, "--steps", "10"]);
    let result: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(
        (
            &result["outcome"],
            &result["limit"]["option"],
            &result["limit"]["limit"]
        ),
        (&"limit".into(), &"--steps".into(), &10.into())
    );
}

#[test]
fn hex_literal_in_stack_program_is_an_error_with_a_hint() {
    let home = Home::new("literal");
    let ran = home.run(&["eval", "7 (1 (($0 0xff add) sk))"]);
    ran.fails(
        1,
        &[
            "argument:1:11: '0xff' is not a number in a stack program",
            "write 255 for the number or \"\\xff\" for the bytes",
        ],
    );
    assert!(ran.stdout.is_empty(), "the program must not be evaluated");
    let ran = home.run_with(&["repl"], b"\n(1 ((0x0) sk))\n8\n");
    ran.fails(1, &["stdin:2:6: '0x0' is not a number"]);
    assert_eq!(ran.text(), "8\n");
}

#[test]
fn all_output_escapes_invisible_characters() {
    let home = Home::new("visible");
    let symbol = "a\u{1b}[2J\u{202e}\u{200b}\u{9b}z";
    let is_clean = |text: &str| {
        let hidden = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{200b}".contains(c));
        !text.contains(hidden)
    };
    let program = format!("(5 {symbol} def)\n(1 {symbol}x)\n{symbol}\u{1b}");
    home.file(symbol, "nope");
    for (arguments, input) in [
        (&["parse", "-"][..], program.clone()),
        (&["parse", "-", "--json"], program.clone()),
        (&["eval", "-"], program.clone()),
        (&["eval", "-", "--json"], program.clone()),
        (&["eval", "-", "--as", "text"], program.clone()),
        (
            &["repl"],
            format!("{program}\n:env\n:{symbol}\n:load {symbol}\n"),
        ),
        (&["eval", "-f", symbol], String::new()),
        (&["eval", "-f", "none\u{1b}"], String::new()),
        (&["parse", "-"], format!("({symbol}")),
        (&["eval", "--limit", symbol, "1"], String::new()),
    ] {
        let ran = home.run_with(arguments, input.as_bytes());
        assert!(is_clean(ran.text()), "{arguments:?} {ran:?}");
        assert!(is_clean(&ran.stderr), "{arguments:?} {ran:?}");
        assert!(!ran.stdout.is_empty() || !ran.stderr.is_empty());
    }
    let json = home
        .run_with(&["parse", "-", "--json"], symbol.as_bytes())
        .json();
    assert_eq!(json["sym"], symbol);
    // JSON output reads back as the exact symbol, and `:env` prints it with escapes.
    let env = home.run_with(&["repl"], format!("(5 {symbol} def)\n:env\n").as_bytes());
    assert!(env.text().contains("\\x1b[2J\\xe2\\x80\\xae"), "{env:?}");
}

#[test]
fn shebang_line_is_skipped() {
    let home = Home::new("shebang");
    let program = "#!/usr/bin/env -S astreum eval\n(1 2)\n)";
    home.file("script", program);
    home.run(&["eval", "script"]).fails(1, &["script:3:1: "]);
    let program = program.trim_end_matches(')');
    home.file("script", program);
    assert_eq!(home.run(&["eval", "script"]).lines(), ["(1 2)"]);
    assert_eq!(home.run(&["parse", "script"]).lines(), ["(1 2)"]);
    for input in [program.to_owned(), format!("\u{feff}{program}")] {
        let ran = home.run_with(&["repl"], input.as_bytes());
        assert_eq!(ran.lines(), ["(1 2)"]);
        assert_eq!(
            home.run_with(&["eval", "-"], input.as_bytes()).lines(),
            ["(1 2)"]
        );
    }
    // Elsewhere it is a symbol.
    assert_eq!(home.run(&["parse", "#!x"]).lines(), ["#!x"]);
}

#[test]
fn output_options_select_results_and_byte_format() {
    let home = Home::new("quiet");
    let program = "((($0 $0 add) sk) double def)\n(2 double)\n(3 double)\n(1 2 def)\n";
    let all = home.run_with(&["eval", "-"], program.as_bytes());
    assert_eq!(all.text().lines().count(), 4);
    let quiet = home.run_with(&["eval", "-", "--quiet"], program.as_bytes());
    assert_eq!(quiet.text(), "4\n6\nerror eval: def name must be symbol\n");
    let program = "((($0 $0 add) sk) double def)\n(2 double)\n(3 double)\n";
    assert_eq!(
        home.run_with(&["eval", "-", "-q"], program.as_bytes())
            .lines(),
        ["4", "6"]
    );
    assert_eq!(
        home.run_with(&["eval", "-", "--last"], program.as_bytes())
            .lines(),
        ["6"]
    );
    assert_eq!(
        home.run_with(&["repl", "-q"], program.as_bytes()).lines(),
        ["4", "6"]
    );
    for (arguments, expected) in [
        (&["eval", "\"hi\""][..], "26729"),
        (&["eval", "\"hi\"", "--as", "text"], "\"hi\""),
        (&["eval", "(255 \"hi\")", "--hex"], "(0x00ff 0x6869)"),
        (&["eval", "\"\\x00\\x01\"", "--as", "int"], "1"),
    ] {
        assert_eq!(home.run(arguments).lines(), [expected], "{arguments:?}");
    }
    let ran = home.run_with(
        &["repl", "--hex"],
        b"\"hi\"\n:as text\n\"hi\"\n:as auto\n\"hi\"\n",
    );
    assert_eq!(ran.lines(), ["0x6869", "\"hi\"", "26729"]);
    home.run_with(&["repl"], b":as letters\n")
        .fails(1, &["expected :as auto, text, int or hex"]);
}

#[test]
fn repl_takes_linear_time_in_lines_of_an_expression() {
    let home = Home::new("linear");
    // Scanning all text again for each line would be 2 * 10^10 characters, minutes of work.
    let lines = 200_000;
    let program = format!("(\n{})\n", "1\n".repeat(lines));
    let ran = home.run_with(&["repl"], program.as_bytes());
    assert_eq!(ran.lines()[0].len(), 2 * lines + 1);
}

#[test]
fn repl_on_a_pipe_skips_invalid_utf8_lines() {
    let home = Home::new("not-text");
    let ran = home.run_with(&["repl"], b"\xef\xbb\xbf1\n2 \xff\n3\n(4\n\xff\n5\nnope\n");
    ran.fails(
        1,
        &[
            "stdin: line 2: invalid UTF-8 at byte 3 of the line; the line is skipped",
            "stdin: line 5: invalid UTF-8 at byte 1 of the line; the line and the open expression",
            "stdin:7:1: eval: unbound symbol 'nope'",
        ],
    );
    assert_eq!(ran.text(), "1\n3\n5\nerror eval: unbound symbol 'nope'\n");
}

#[test]
fn usage_errors_have_the_style_of_all_errors() {
    let home = Home::new("style");
    for arguments in [&["fly"][..], &["eval"], &["eval", "1", "--depth", "x"]] {
        let ran = home.run(arguments);
        assert!(
            ran.code == 2 && ran.stderr.starts_with("astreum: "),
            "{ran:?}"
        );
        assert!(!ran.stderr.contains("error:"), "{ran:?}");
    }
    home.run(&["eval", "1", "--depth", "x"])
        .fails(2, &["expected an integer from 0 to 18446744073709551615"]);
}
