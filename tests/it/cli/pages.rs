//! Console blocks of the documentation, executed: each page is one session in a home of its own,
//! and the output that a page lists is compared.
//!
//! In the listed output, an id stands for the id that the session prints in its place, everywhere
//! on the page; dates stand for any date, and numbers that depend on time for any number; a line
//! `...` stands for any further lines. A command without listed output has to succeed.
//!
//! A block whose first line is `console,no_run` is not executed, because it needs root, a
//! supervisor or hours: of its commands, and of all commands in inline code, only the syntax is
//! checked. [`EXCEPTIONS`] lists these blocks with the reason.

use astreum_tests::testkit::{Home, NodeProcess, Output, Ran, run_with_input};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Directories whose pages may name commands in inline code.
const DIRECTORIES: [&str; 7] = [
    ".",
    "core",
    "core/docs",
    "core/docs/design",
    "node",
    "node/docs",
    "tests/docs",
];
/// Pages whose console blocks are executed.
const EXECUTED: [&str; 7] = [
    "README.md",
    "core/docs/language.md",
    "node/README.md",
    "node/docs/cli.md",
    "node/docs/keys.md",
    "node/docs/migrating.md",
    "node/docs/operating.md",
];
/// First commands of the blocks that are not executed, and the reason.
const EXCEPTIONS: [(&str, &str, &str); 19] = [
    (
        "node/docs/keys.md",
        "astreum keys generate validator.key",
        "asks for a passphrase on a terminal",
    ),
    (
        "node/docs/keys.md",
        "astreum signer",
        "waits for connections; tests/it/cli/signer.rs",
    ),
    (
        "node/docs/keys.md",
        "astreum tx submit",
        "needs a chain; tests/it/cli/chain.rs",
    ),
    (
        "node/docs/migrating.md",
        "astreum config from-python",
        "needs a script; tests/it/cli/config_files.rs",
    ),
    (
        "node/docs/migrating.md",
        "astreum keys import",
        "needs a key of the Python package; tests/it/cli/keys.rs",
    ),
    (
        "node/docs/monitoring.md",
        "astreum metrics",
        "writes to a directory of node_exporter",
    ),
    (
        "node/docs/object-store.md",
        "cargo build",
        "builds another program; .ci/run",
    ),
    (
        "node/docs/rpc.md",
        "astreum run",
        "takes a fixed port; tests/it/nodes/http.rs",
    ),
    (
        "node/docs/rpc.md",
        "astreum run --rpc-listen 127.0.0.1:52781 --explorer",
        "takes a fixed port; node/explorer/check",
    ),
    (
        "node/docs/operating.md",
        "astreum account history",
        "needs a node with an index; tests/it/cli/history.rs",
    ),
    (
        "node/docs/operating.md",
        "sudo apt install",
        "changes the machine; .ci/nightly package",
    ),
    (
        "node/docs/operating.md",
        "sudo systemctl enable",
        "needs a running systemd",
    ),
    (
        "node/docs/operating.md",
        "podman build",
        "needs a registry of containers",
    ),
    (
        "node/docs/operating.md",
        "sudo apt remove",
        "changes the machine; .ci/nightly package",
    ),
    (
        "node/docs/operating.md",
        "astreum status --check",
        "needs three peers",
    ),
    (
        "node/docs/operating.md",
        "astreum backup",
        "needs a mounted disk",
    ),
    (
        "node/docs/operating.md",
        "astreum store gc",
        "needs a chain that runs for days",
    ),
    (
        "node/docs/operating.md",
        "cp -a",
        "needs the backup of another page",
    ),
    (
        "node/docs/operating.md",
        "astreum chain export",
        "needs another machine",
    ),
];
/// Labels of lines whose numbers depend on the time of the session.
const TIMED: [&str; 7] = [
    "counter",
    "time",
    "sender balance",
    "in block",
    "at block",
    "confirmation",
    "index",
];

/// Session of one page.
struct Session {
    // Before the home, whose files they use.
    node: Option<NodeProcess>,
    /// Development network.
    network: Option<NodeProcess>,
    home: Home,
    /// Ids and key of the page, and those of this session.
    ids: BTreeMap<String, String>,
    last_id: String,
    validator: String,
}

/// Command of a page with its listed output.
#[derive(Debug, Default)]
struct Step {
    command: String,
    output: Vec<String>,
    no_run: bool,
}

/// Returns the commands of all console blocks of a page.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut is_console, mut no_run) = (false, false);
    for line in page.lines() {
        match line.trim_start() {
            start @ ("```console" | "```console,no_run") => {
                is_console = true;
                no_run = start.ends_with("no_run");
            }
            fence if fence.starts_with("```") => is_console = false,
            _ if !is_console => {}
            command if command.starts_with("$ ") => steps.push(Step {
                command: command.trim_start_matches("$ ").to_owned(),
                output: Vec::new(),
                no_run,
            }),
            _ => {
                let step = steps.last_mut().unwrap();
                step.output.push(line.to_owned());
            }
        }
    }
    steps
}

/// Splits a command as a shell does, with single quotes as the only quotes.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in command.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Passes the words of a command to the parser of the command line without executing it; returns
/// `None` for a command of another program.
fn parse(home: &Home, command: &str) -> Option<Ran> {
    let words = words(command.trim_start_matches("sudo "));
    let (program, arguments) = words.split_first()?;
    let is_own = |word: &&String| ![">", "|"].contains(&word.as_str());
    let arguments = arguments.iter().take_while(is_own).map(String::as_str);
    // Help is printed only if everything before it is valid.
    let arguments: Vec<&str> = arguments.chain(["--help"]).collect();
    (program == "astreum").then(|| home.run(&arguments))
}

fn is_id(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Splits a line at spaces and commas, so that an id stands alone.
fn tokens(line: &str) -> Vec<&str> {
    let parts = line.split([' ', ',', '(', ')']);
    parts.filter(|part| !part.is_empty()).collect()
}

/// Returns whether the word is a number, a date or a time of day.
fn is_numeric(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit())
        && word
            .chars()
            .all(|one| one.is_ascii_digit() || "-:.".contains(one))
}

/// Returns whether a command runs a development network.
fn is_network(words: &[String]) -> bool {
    let mut words = words.iter().map(String::as_str);
    words.next() == Some("devnet") && words.next().is_none_or(|word| word.starts_with("--"))
}

impl Session {
    fn new(name: &str) -> Self {
        Self {
            home: Home::new(name),
            node: None,
            network: None,
            ids: BTreeMap::new(),
            last_id: String::new(),
            validator: String::new(),
        }
    }

    /// Replaces ids of the page and placeholders by what this session has in their place.
    fn translate(&self, word: &str) -> String {
        match word {
            "ID-THAT-PUT-PRINTED" => self.last_id.clone(),
            "$VALIDATOR" => self.validator.clone(),
            word => self
                .ids
                .get(word)
                .cloned()
                .unwrap_or_else(|| word.to_owned()),
        }
    }

    fn run(&mut self, step: &Step) {
        if step.no_run {
            let parsed = parse(&self.home, &step.command);
            assert!(parsed.is_none_or(|ran| ran.code == 0), "{step:?}");
            return;
        }
        let mut words: Vec<String> = words(&step.command)
            .iter()
            .map(|word| self.translate(word))
            .collect();
        match words.remove(0).as_str() {
            "cat" => {
                let content = step.output.join("\n") + "\n";
                self.home.file(words.first().unwrap(), content);
            }
            // The build is not part of the session.
            "cargo" | "alias" => {}
            "astreum" if words.first().is_some_and(|word| word == "run") => self.start(&words),
            "astreum" if is_network(&words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                self.network = Some(self.home.start(&words));
            }
            "astreum" if words.starts_with(&["devnet".to_owned(), "stop".to_owned()]) => {
                self.call(words, step);
                let network = self.network.take().unwrap();
                assert_eq!(network.finish().status.code(), Some(0));
            }
            "astreum" => self.call(words, step),
            other => panic!("pages use no command {other:?}: {step:?}"),
        }
    }

    fn start(&mut self, words: &[String]) {
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.extend(["--incoming-port", "0"]);
        if !words.contains(&"--default-seed") {
            words.extend(["--default-seed", "none"]);
        }
        let mut node = self.home.spawn(&words, Output::Discarded);
        node.wait_until_ready().unwrap();
        self.node = Some(node);
    }

    fn call(&mut self, mut words: Vec<String>, step: &Step) {
        let mut file = None;
        if let Some(at) = words.iter().position(|word| word == ">") {
            file = words.drain(at..).nth(1);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = run_with_input(self.home.command(&words), b"");
        let is_failure = step.output.iter().any(|line| line.starts_with("astreum: "));
        assert_eq!(ran.code != 0, is_failure, "{step:?}: {ran:?}");
        if let Some(id) = tokens(&ran.text().replace('\n', " "))
            .into_iter()
            .rev()
            .find(|word| is_id(word))
        {
            self.last_id = id.to_owned();
        }
        if words.starts_with(&["keys", "generate"]) && words.contains(&"validation") {
            self.validator.clone_from(&self.last_id);
        }
        if let Some(file) = file {
            self.home.file(&file, &ran.stdout);
        }
        if !step.output.is_empty() {
            self.compare(step, &ran);
        }
    }

    fn compare(&mut self, step: &Step, ran: &Ran) {
        let actual = format!("{}{}", ran.text(), ran.stderr);
        let mut actual = actual.lines();
        let mut skips = false;
        for expected in &step.output {
            if expected == "..." {
                skips = true;
                continue;
            }
            // In the order of the addresses, of which one is random.
            let is_balance = expected.starts_with("balance ");
            let found = if is_balance {
                let mut all = ran.text().lines();
                let _ = actual.next();
                all.find(|line| self.equals(expected, line))
            } else if skips {
                actual.find(|line| self.equals(expected, line))
            } else {
                actual.next().filter(|line| self.equals(expected, line))
            };
            assert!(
                found.is_some(),
                "{expected:?} of {step:?} is not in {ran:?}"
            );
            skips = false;
        }
        assert!(
            skips || actual.next().is_none(),
            "more than {step:?} in {ran:?}"
        );
    }

    /// Compares a listed line with a printed one, and learns the ids of this session.
    fn equals(&mut self, expected: &str, actual: &str) -> bool {
        let is_timed = TIMED.iter().any(|label| expected.starts_with(label));
        let (expected, actual) = (tokens(expected), tokens(actual));
        let mut ids = self.ids.clone();
        let same = expected.len() == actual.len()
            && expected.iter().zip(&actual).all(|(expected, actual)| {
                if is_id(expected) && is_id(actual) {
                    let known = ids.entry((*expected).to_owned());
                    known.or_insert_with(|| (*actual).to_owned()) == actual
                } else {
                    expected == actual || is_timed && is_numeric(expected) && is_numeric(actual)
                }
            });
        if same {
            self.ids = ids;
        }
        same
    }
}

/// Executes a page of the repository.
fn execute(page: &str, least: usize) {
    execute_in(Session::new("page"), page, least);
}

fn execute_in(mut session: Session, page: &str, least: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join(page)).unwrap();
    let steps = steps(&text);
    assert!(steps.len() >= least, "{page} has {} commands", steps.len());
    fs::copy(
        root.join("README.md"),
        session.home.path().join("README.md"),
    )
    .unwrap();
    for step in &steps {
        session.run(step);
    }
}

#[test]
fn console_blocks_of_the_readme_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("README.md")).unwrap();
    let steps = steps(&text);
    assert!(steps.len() >= 7, "{steps:?}");
    let mut session = Session::new("readme");
    fs::copy(
        root.join("README.md"),
        session.home.path().join("README.md"),
    )
    .unwrap();
    // The first command of the page starts a node, after a build.
    let run = ["run", "--default-seed", "none"].map(str::to_owned);
    session.start(&run);
    for step in &steps {
        session.run(step);
    }
    let copy = fs::read(session.home.path().join("copy.md")).unwrap();
    assert_eq!(copy, text.as_bytes());
}

/// Every shell block of the README and of the pages of the node is executed, or is an exception
/// with a reason.
#[test]
fn shell_blocks_are_executed_or_listed_as_exceptions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec!["README.md".to_owned(), "node/README.md".to_owned()];
    for entry in fs::read_dir(root.join("node/docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            pages.push(format!("node/docs/{name}"));
        }
    }
    pages.sort();
    let mut found = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(root.join(page)).unwrap();
        let fences = text.lines().map(str::trim_start).enumerate();
        for (number, fence) in fences.filter(|(_, line)| line.starts_with("```")) {
            let language = fence.trim_start_matches('`').split(',').next().unwrap();
            let is_shell = ["sh", "bash", "shell", "zsh", "console"].contains(&language);
            let is_session = ["```console", "```console,no_run"].contains(&fence);
            assert!(!is_shell || is_session, "{page}:{}: {fence}", number + 1);
        }
        let is_executed = EXECUTED.contains(&page.as_str());
        let has_steps = steps(&text).iter().any(|step| !step.no_run);
        assert_eq!(has_steps, is_executed, "{page}");
        let mut is_inside = false;
        for line in text.lines() {
            if line.starts_with("```") {
                is_inside = line == "```console,no_run";
            } else if is_inside {
                found.push((page.clone(), line.trim_start_matches("$ ").to_owned()));
                is_inside = false;
            }
        }
    }
    let is_listed = |(page, command): &(String, String)| {
        let mut all = EXCEPTIONS.iter();
        all.any(|(at, start, _)| at == page && command.starts_with(start))
    };
    let unlisted: Vec<_> = found.iter().filter(|one| !is_listed(one)).collect();
    assert!(
        unlisted.is_empty(),
        "not executed and not listed: {unlisted:?}"
    );
    assert_eq!(found.len(), EXCEPTIONS.len(), "{found:?}");
}

#[test]
fn console_blocks_of_the_language_hold() {
    execute("core/docs/language.md", 3);
}

#[test]
fn console_blocks_of_the_commands_hold() {
    execute("node/docs/cli.md", 8);
}

#[test]
fn console_blocks_of_the_keys_hold() {
    execute("node/docs/keys.md", 4);
}

/// Creates a session with a configuration file that names a cold storage.
fn session_with_storage() -> Session {
    let session = Session::new("page");
    let storage = "cold_storage_path = \"cold\"\n";
    session.home.file("node.toml", storage);
    session
}

#[test]
fn console_blocks_of_the_node_hold() {
    execute_in(session_with_storage(), "node/README.md", 2);
}

#[test]
fn console_blocks_of_operating_hold() {
    execute("node/docs/operating.md", 8);
}

#[test]
fn console_blocks_of_migrating_hold() {
    let session = session_with_storage();
    // The store of a reference node, with a genesis.
    fs::create_dir(session.home.path().join("astreum-python")).unwrap();
    let validator = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    for command in [
        format!("genesis --cold-storage-path other --validator {validator}"),
        "store export astreum-python/atoms --reference --cold-storage-path other".to_owned(),
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        let ran = session.home.run(&words);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    execute_in(session, "node/docs/migrating.md", 2);
}

#[test]
fn commands_in_inline_code_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let home = Home::new("inline");
    let mut parsed = 0;
    let entries = DIRECTORIES.map(|directory| fs::read_dir(root.join(directory)).unwrap());
    for path in entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
    {
        let is_page = path.extension().is_some_and(|extension| extension == "md");
        // A changelog names commands of the past.
        if !is_page || path.ends_with("CHANGELOG.md") {
            continue;
        }
        let page = fs::read_to_string(&path).unwrap();
        // Every second part is a fenced block. Inline code does not cross an empty line.
        for prose in page.split("```").step_by(2) {
            let paragraphs = prose.split("\n\n");
            let inline = paragraphs.flat_map(|part| part.split('`').skip(1).step_by(2));
            for command in inline.filter(|code| code.starts_with("astreum ")) {
                let ran = parse(&home, command).unwrap();
                assert_eq!(ran.code, 0, "{command:?} in {}: {ran:?}", path.display());
                parsed += 1;
            }
        }
    }
    assert!(parsed >= 30, "{parsed} commands");
}

#[test]
fn invalid_commands_that_are_not_run_are_noticed() {
    let home = Home::new("syntax");
    let code = |command| parse(&home, command).map(|ran| ran.code);
    let valid = "astreum status --check --max-head-age 60 > file";
    assert_eq!(code(valid), Some(0));
    assert_eq!(code("sudo astreum status --chek"), Some(2));
    assert_eq!(code("astreum status --check --max-head-age soon"), Some(2));
    assert_eq!(code("astreum chain shwo"), Some(2));
    assert_eq!(code("sudo systemctl stop astreum"), None);
    let page = "```console,no_run\n$ a\n```\n```console\n$ b\n```\n";
    let skipped: Vec<bool> = steps(page).iter().map(|step| step.no_run).collect();
    assert_eq!(skipped, [true, false]);
}

#[test]
fn listed_output_that_differs_is_noticed() {
    let mut session = Session::new("pages");
    let id = |digit: &str| digit.repeat(64);
    assert!(session.equals(&format!("block {}", id("a")), &format!("block {}", id("b"))));
    // The same id stands for the same one from then on.
    assert!(!session.equals(&format!("block {}", id("a")), &format!("block {}", id("c"))));
    assert!(session.equals(
        "time  2026-11-22 20:08:04 UTC",
        "time  2027-01-01 00:00:00 UTC"
    ));
    assert!(!session.equals("amount  1000", "amount  1001"));
    assert!(!session.equals("state  succeeded", "state  pending"));
    assert_eq!(words("eval '(1 2)' --json"), ["eval", "(1 2)", "--json"]);
}
