//! Nodes of the real program whose sealed pairs are in the object store, and commands beside them.

use astreum_node::rpc::Client;
use astreum_tests::testkit::{NodeProcess, Output, wait};
use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output as Ran};

/// Secret that must not occur in any output.
pub(crate) const SECRET: &str = "SECRETsecretSECRETsecret";
/// Time limit of requests.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Directory of one node, and what it is started with.
pub(crate) struct Home {
    pub(crate) path: PathBuf,
    program: PathBuf,
    options: Vec<String>,
}

impl Home {
    pub(crate) fn new(
        scratch: &Path,
        name: &str,
        program: &Path,
        endpoint: &str,
        url: &str,
    ) -> Self {
        let path = scratch.join(name);
        fs::create_dir_all(&path).expect("the directory is created");
        let options = [
            ("--cold-storage-path", url),
            ("--cold-storage-local-path", "cold"),
            ("--cold-storage-level-size", "300000"),
            ("--object-store-endpoint", endpoint),
        ];
        let options = options.iter().flat_map(|(name, value)| [*name, *value]);
        Self {
            path,
            program: program.to_owned(),
            options: options.map(str::to_owned).collect(),
        }
    }

    /// Replaces the value of an option.
    pub(crate) fn option(&mut self, name: &str, value: &str) {
        let at = self.options.iter().position(|option| option == name);
        match at.and_then(|at| self.options.get_mut(at + 1)) {
            Some(found) => value.clone_into(found),
            None => self.options.extend([name.to_owned(), value.to_owned()]),
        }
    }

    fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(&self.path)
            .env_clear()
            .env("HOME", &self.path)
            .env("AWS_ACCESS_KEY_ID", "id")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_REGION", "us-east-1");
        command
    }

    /// Starts the node, and waits until it answers.
    pub(crate) fn start(&self) -> Result<NodeProcess, String> {
        let mut command = self.command();
        command
            .args(["run", "--incoming-port", "0", "--default-seed", "none"])
            .args(["--state-dir", "state", "--control-socket"])
            .arg(self.socket())
            .args(&self.options);
        let client = Client::new(self.socket(), TIMEOUT);
        let output = Output::File(self.path.join("output"));
        let mut node = NodeProcess::spawn(&mut command, output, client)?;
        node.wait_until_ready()?;
        Ok(node)
    }

    /// Runs a command of a node that runs here.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command();
        command
            .args(arguments)
            .arg("--control-socket")
            .arg(self.socket());
        command.output().expect("the program runs")
    }

    /// Runs a command on the files of a node that does not run.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(arguments).args(&self.options);
        command.output().expect("the program runs")
    }

    /// Runs a command without options.
    pub(crate) fn plain(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(arguments).output().expect("the program runs")
    }

    /// Runs a command on the files of a node that may run.
    pub(crate) fn run_beside(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(arguments).args(&self.options);
        command.arg("--control-socket").arg(self.socket());
        command.output().expect("the program runs")
    }

    /// Stores bytes in the running node; returns the id.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<String, String> {
        let file = self.path.join("input");
        fs::write(&file, bytes).map_err(|error| error.to_string())?;
        let ran = self.ask(&["put", "input", "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&ran.stdout)
            .map_err(|error| format!("{error}: {}", text(&ran)))?;
        let id = json.get("id").and_then(serde_json::Value::as_str);
        id.map(str::to_owned).ok_or_else(|| text(&ran))
    }

    /// Fetches an object through the running node.
    pub(crate) fn get(&self, id: &str) -> Result<Vec<u8>, String> {
        let file = self.path.join("fetched");
        let _ = fs::remove_file(&file);
        let ran = self.ask(&["get", id, "--list", "-o", "fetched"]);
        match ran.status.success() {
            true => fs::read(file).map_err(|error| error.to_string()),
            false => Err(text(&ran)),
        }
    }
}

/// Returns everything that a command printed.
pub(crate) fn text(ran: &Ran) -> String {
    let (out, errors) = (&ran.stdout, &ran.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(errors)
    )
}

/// Waits until what is in the journals of a node is below its level size.
pub(crate) fn wait_until_uploaded(node: &NodeProcess) -> Result<(), String> {
    wait::wait_within(Duration::from_secs(60), "journals are uploaded", || {
        let status = node.status();
        let puts = status.counters.get("object_store_puts");
        Ok((puts.is_some_and(|puts| *puts >= 6)).then_some(()))
    })
}
