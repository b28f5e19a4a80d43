//! Reference nodes for the same measurements, started by `reference.py` in this folder.

use astreum_core::crypto::PublicKey;
use core::net::{Ipv4Addr, SocketAddr};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/network/reference.py");
const FETCHES: &str = "20";

/// Reference node that has the atoms of the benchmark.
pub(crate) struct Serving {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) public_key: PublicKey,
}

impl Serving {
    pub(crate) fn start(python: &str, atoms: u32) -> Self {
        let mut child = spawn(python, &["serve", &atoms.to_string()]);
        let line = first_line(&mut child, python);
        let (port, key) = line.split_once(' ').expect("port and key");
        let key = astreum_node::rpc::unhex(key.trim()).expect("hex");
        let port: u16 = port.parse().expect("a port");
        Self {
            child,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            public_key: PublicKey::from_slice(&key).expect("32 bytes"),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the median time of fetching an atom from one reference node to another, in seconds.
pub(crate) fn fetch_seconds(python: &str) -> f64 {
    let mut child = spawn(python, &["fetch", FETCHES]);
    let line = first_line(&mut child, python);
    let _ = child.wait();
    line.trim().parse().expect("a number")
}

fn spawn(python: &str, arguments: &[&str]) -> Child {
    Command::new(python)
        .arg(SCRIPT)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {python}: {error}; {}", needs()))
}

fn first_line(child: &mut Child, python: &str) -> String {
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("a pipe");
    assert!(!line.is_empty(), "{python} gave no figures; {}", needs());
    line
}

const fn needs() -> &'static str {
    "it must be Python 3.12 or newer with astreum==0.3.71, which pip installs"
}
