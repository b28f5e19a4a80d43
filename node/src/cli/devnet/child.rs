//! Hidden commands: a node of a network, and the removal of a temporary directory after a crash.

use core::time::Duration;
use std::fs::TryLockError;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Instant;

use super::super::output::{Failure, Output};
use super::super::run;
use super::args::NodeCommand;
use super::directory::{Directory, NODES_TIMEOUT, open_lock};
use super::nodes::own_command;

/// Runs a node until stdin is closed, which happens at the latest when the process at its other end
/// is gone.
pub(super) fn node(args: NodeCommand, out: &mut Output) -> Result<(), Failure> {
    let lock = open_lock(&args.lock)?;
    if let Err(TryLockError::Error(error)) = lock.try_lock_shared() {
        return Err(Failure::Failed(format!("cannot lock nodes.lock: {error}")));
    }
    stop_when_stdin_closes()?;
    let result = run::run(args.run, out);
    drop(lock);
    result
}

/// Lets this process stop as by SIGTERM when stdin is closed.
pub(super) fn stop_when_stdin_closes() -> Result<(), Failure> {
    let watch = thread::Builder::new().name("stdin".to_owned());
    let watch = watch.spawn(|| {
        wait_for_end(io::stdin());
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::TERM);
    });
    watch.map_err(Failure::failed)?;
    Ok(())
}

/// Reads until the end, or an error.
fn wait_for_end(mut input: impl Read) {
    let buffer = &mut [0; 64];
    loop {
        match input.read(buffer) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Waits until stdin is closed and the nodes have ended, then removes the directory if it is still
/// there.
pub(super) fn janitor(dir: &Path) -> Result<(), Failure> {
    wait_for_end(io::stdin());
    let Ok(directory) = Directory::at(dir) else {
        return Ok(());
    };
    let deadline = Instant::now() + NODES_TIMEOUT;
    while directory.is_in_use() {
        if Instant::now() > deadline {
            return Err(Failure::Failed(format!(
                "{} is still in use",
                directory.path().display()
            )));
        }
        thread::sleep(Duration::from_millis(50));
    }
    directory.remove().map_err(Failure::failed)
}

/// Process that removes a temporary directory if this one is killed.
#[derive(Debug)]
pub(super) struct Janitor(Child);

impl Janitor {
    pub(super) fn start(directory: &Directory) -> Result<Self, Failure> {
        let mut command = own_command()?;
        command
            .args(["devnet", "janitor"])
            .arg(directory.path())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().map(Self).map_err(Failure::failed)
    }
}

/// Ends it: the directory is removed before.
impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
