//! `eval`, `parse`, `repl` and `conform`.

use crate::harness::{Home, finish};

const ADD: &str = "(1 2 ((a b (($0 $1 add) sk)) (a b) fn))";

#[test]
fn eval_prints_one_result_a_line() {
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
fn a_file_is_evaluated_in_order_in_one_environment() {
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
    // A file is not in the way of an expression of the same name.
    home.file("five", "5");
    assert_eq!(home.run(&["eval", "five"]).lines(), ["5"]);
    home.run(&["eval", "--expr", "five"]).fails(1, &[]);
}

#[test]
fn an_error_is_a_result_and_exit_code_1() {
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
fn a_slip_is_shown_with_its_line_and_a_caret() {
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
    assert!(ran.stdout.is_empty(), "nothing of it is evaluated");
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
fn json_gives_the_exact_bytes() {
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
fn parse_prints_what_can_be_read_back() {
    let home = Home::new("parse");
    let text = "(a ( b 0255 ) \"two words\") ; comment\n-1";
    let ran = home.run_with(&["parse", "-"], text.as_bytes());
    assert_eq!(ran.lines(), ["(a (b 255) \"two words\")", "-1"]);
    let again = home.run_with(&["parse", "-"], &ran.stdout);
    assert_eq!(again.stdout, ran.stdout);
}

#[test]
fn input_that_is_no_text_or_no_file_is_named() {
    let home = Home::new("input");
    home.run_with(&["eval", "-"], b"(1 \xff)")
        .fails(1, &["stdin: not UTF-8 text at byte 3"]);
    home.run(&["eval", "no/such.astreum"])
        .fails(2, &["no file no/such.astreum", "--expr"]);
    home.run(&["eval", "--file", "none"])
        .fails(1, &["none: No such file"]);
}

#[test]
fn a_repl_on_a_pipe_keeps_its_environment_and_joins_lines() {
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
fn a_repl_goes_on_after_errors_and_says_so_in_the_end() {
    let home = Home::new("repl-error");
    let ran = home.run_with(&["repl"], b"nobody\n)\n:fly\n:limit x\n:load none\n6\n(7");
    ran.fails(
        1,
        &[
            "unexpected ')'",
            "there is no :fly",
            ":limit takes",
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
fn deep_nesting_is_no_problem_for_any_command() {
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
    // A result or a clean error, but an answer.
    let ran = home.run_with(&["eval", "-", "--json"], deep.as_bytes());
    assert!(ran.code <= 1 && !ran.stdout.is_empty(), "{}", ran.stderr);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
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
fn conformance_requests_are_answered_in_order_and_bad_ones_do_not_stop_it() {
    let home = Home::new("conform");
    let requests = b"{\"id\":\"1\",\"op\":\"parse\",\"in\":{\"source\":\"(a 1)\"}}\nnonsense\n\
        {\"id\":\"2\",\"op\":\"eval\",\"in\":{\"source\":\"7\",\"limit\":null,\"env\":{}}}\n";
    let ran = home.run_with(&["conform"], requests);
    let lines = ran.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let value: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(value["out"]["expr"], serde_json::json!({"bytes": "07"}));
}

#[test]
fn wrong_usage_is_exit_code_2_and_help_is_0() {
    let home = Home::new("usage");
    for arguments in [
        &["fly"][..],
        &["eval"],
        &["eval", "1", "--limit", "x"],
        &["eval", "1", "2"],
        &["parse", "--file", "a", "b"],
        &["keys"],
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
        "status",
        "peers",
        "get",
        "put",
        "keys",
        "config",
        "conform",
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
    assert!(home.run(&["--version"]).text().starts_with("astreum "));
    assert!(
        home.run(&["completions", "bash"])
            .text()
            .contains("_astreum")
    );
    assert!(home.run(&["man"]).text().contains(".TH astreum"));
    assert!(home.run(&["man", "eval"]).text().contains("eval"));
}

#[test]
fn commands_that_need_no_home_run_without_one() {
    let home = Home::new("homeless");
    let mut command = home.command(&["eval", "7"]);
    command.env_remove("HOME").env_remove("XDG_STATE_HOME");
    assert_eq!(finish(command, b"").lines(), ["7"]);
}

#[test]
fn the_mark_that_some_editors_begin_a_file_with_is_no_part_of_it() {
    let home = Home::new("mark");
    home.file("program", "\u{feff}(1 2)\r\n");
    assert_eq!(home.run(&["eval", "program"]).lines(), ["(1 2)"]);
    assert_eq!(home.run(&["parse", "-f", "program"]).lines(), ["(1 2)"]);
}

#[test]
fn an_error_that_quotes_what_cannot_be_shown_is_still_text() {
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
        .fails(2, &["no command keys none"]);
}

#[test]
fn a_directory_or_a_key_file_that_is_not_there_is_called_what_it_is() {
    let home = Home::new("called");
    home.run(&["eval", "/"]).fails(2, &["/ is a directory"]);
    home.run(&["keys", "show", "none"])
        .fails(1, &["no key file none", "keys generate none"]);
    home.run(&["run", "--relay-secret-key-file", "none"])
        .fails(2, &["no key file none"]);
}
