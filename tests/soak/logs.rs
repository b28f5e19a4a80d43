//! Log files of all nodes: panics above all, and warnings and errors.

use crate::node::Node;
use std::collections::BTreeMap;
use std::fs;

/// Findings in the logs of all nodes.
#[derive(Debug, Default)]
pub(crate) struct LogProblems {
    /// Lines that report a panic.
    pub(crate) panics: Vec<String>,
    /// Number of warnings and errors by the beginning of their text, without numbers and ids.
    pub(crate) by_text: BTreeMap<String, u64>,
}

/// Number of characters of a message that identify its kind.
const KIND_CHARS: usize = 90;

/// Reads everything that the nodes wrote.
pub(crate) fn read(nodes: &[Node]) -> LogProblems {
    let mut log_problems = LogProblems::default();
    for node in nodes {
        let output = fs::read_to_string(node.output()).unwrap_or_default();
        log_problems.find_panics(node.number, &output);
        let files = fs::read_dir(node.log_folder())
            .into_iter()
            .flatten()
            .flatten();
        for file in files {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            log_problems.find_panics(node.number, &text);
            text.lines().for_each(|line| log_problems.count(line));
        }
    }
    log_problems
}

impl LogProblems {
    fn find_panics(&mut self, number: usize, text: &str) {
        let found = text.lines().filter(|line| line.contains("panicked"));
        self.panics
            .extend(found.map(|line| format!("node {number}: {line}")));
    }

    fn count(&mut self, line: &str) {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else {
            return;
        };
        let field = |name: &str| event.get(name).and_then(|value| value.as_str());
        let (Some(level @ ("WARNING" | "WARN" | "ERROR")), Some(text)) =
            (field("level"), field("msg"))
        else {
            return;
        };
        *self
            .by_text
            .entry(format!("{level} {}", kind(text)))
            .or_default() += 1;
    }
}

/// Returns a message without its variable parts.
fn kind(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let is_particular = word.chars().any(|c| c.is_ascii_digit());
        if is_particular { "…" } else { word }
    });
    let whole = words.collect::<Vec<_>>().join(" ");
    whole.chars().take(KIND_CHARS).collect()
}
