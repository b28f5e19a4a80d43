//! Conformance interface: JSON requests in, JSON answers out, one per line, for comparison of
//! implementations.
//!
//! A request is `{"id": …, "op": "name", "in": {…}}`, its answer `{"id": the same, "out": {…}}`.
//! Requests are independent of each other. An invalid request gets `{"error": "why"}` as its `out`,
//! and never stops the run.
//!
//! Operations are grouped in modules; each exports a table of names and functions, and
//! [`answer_line`] searches all tables.

mod portable;
mod storage;

use portable::{OpError, OpTable, TABLES};
use serde_json::Value;
use std::io::{self, BufRead, Read, Write};

/// Maximum length of a request in bytes; a longer line is answered with an error and skipped.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// Returns the tables of all operations.
fn tables() -> impl Iterator<Item = &'static OpTable> {
    const STORAGE: &OpTable = &storage::OPS;
    TABLES.iter().chain([STORAGE])
}

/// Returns the names of all operations, in the order of their tables.
pub fn op_names() -> impl Iterator<Item = &'static str> {
    tables().copied().flatten().map(|(name, _)| *name)
}

/// Answers one request, given without its line end.
#[must_use]
pub fn answer_line(line: &str) -> String {
    let (id, out) = match serde_json::from_str::<Value>(line) {
        Ok(request) => {
            let id = request.get("id").cloned().unwrap_or(Value::Null);
            (id, portable::answer(&request, tables()))
        }
        Err(error) => {
            let error = format!("the request is not JSON: {error}");
            (Value::Null, Err(OpError(error)))
        }
    };
    let out =
        out.unwrap_or_else(|OpError(error)| serde_json::json!({ "error": error }).to_string());
    format!("{{\"id\":{id},\"out\":{out}}}")
}

/// Answers each line of `reader` on `writer`, until the reader ends. Blank lines are skipped.
///
/// # Errors
/// Fails if reading or writing fails; never because of a request.
pub fn run(mut reader: impl BufRead, mut writer: impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    while let Some(complete) = read_line(&mut reader, &mut line)? {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let answer = match core::str::from_utf8(&line) {
            _ if !complete => refuse(&format!("the line is longer than {MAX_LINE_BYTES} bytes")),
            Ok(line) => answer_line(line),
            Err(_) => refuse("the line is not UTF-8"),
        };
        writeln!(writer, "{answer}")?;
        writer.flush()?;
    }
    Ok(())
}

fn refuse(why: &str) -> String {
    serde_json::json!({ "id": null, "out": { "error": why } }).to_string()
}

/// Reads a line without its end into `line`. Returns `Some(false)` if the line was too long, after
/// skipping the rest of it, and `None` at the end of the input.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let limit = MAX_LINE_BYTES as u64 + 1;
    if reader.by_ref().take(limit).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") {
        line.pop();
        return Ok(Some(true));
    }
    if line.len() <= MAX_LINE_BYTES {
        return Ok(Some(true));
    }
    reader.skip_until(b'\n')?;
    Ok(Some(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_text(input: &[u8]) -> Vec<String> {
        let mut output = Vec::new();
        run(input, &mut output).unwrap();
        let output = String::from_utf8(output).unwrap();
        output.lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_request_gets_one_answer_in_order() {
        let input = br#"{"id":"a","op":"integer_le","in":{"value":"256"}}

{"id":"b","op":"nonsense","in":{}}
not json
{"id":7,"op":"integer_le"}
{"id":"c","op":"integer_le","in":{"value":"1"}}"#;
        assert_eq!(
            run_text(input),
            [
                r#"{"id":"a","out":{"bytes":"0001"}}"#,
                r#"{"id":"b","out":{"error":"unknown op \"nonsense\""}}"#,
                r#"{"id":null,"out":{"error":"the request is not JSON: expected ident at line 1 column 2"}}"#,
                r#"{"id":7,"out":{"error":"field \"in\" is not an object"}}"#,
                r#"{"id":"c","out":{"bytes":"01"}}"#,
            ]
        );
    }

    #[test]
    fn bytes_that_are_not_text_and_json_of_other_shapes_are_answered() {
        let answers = run_text(b"\xff\xfe\n[]\n3\n{}\n{\"id\":\"\xc3\xa9\",\"op\":3}\n");
        assert_eq!(answers.len(), 5);
        assert!(answers.iter().all(|answer| answer.contains("error")));
        assert!(answers[4].starts_with("{\"id\":\"é\""));
    }

    #[test]
    fn line_that_is_too_long_is_skipped() {
        let mut input = vec![b'x'; MAX_LINE_BYTES + 1];
        input.extend_from_slice(
            b"\n{\"id\":\"a\",\"op\":\"integer_le\",\"in\":{\"value\":\"1\"}}\n",
        );
        let answers = run_text(&input);
        assert_eq!(answers.len(), 2);
        assert!(answers[0].contains("longer than 67108864 bytes"));
        assert!(answers[1].contains("\"bytes\":\"01\""));
    }

    #[test]
    fn no_name_stands_for_two_operations() {
        let mut names: Vec<_> = op_names().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
