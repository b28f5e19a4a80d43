//! Read-eval-print loop at a terminal, beside a running node.

use super::running::start;
use super::support::eventually;
use astreum_node::rpc::request;
use astreum_tests::testkit::{program, terminal};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

#[test]
fn ctrl_c_in_repl_interrupts_an_evaluation_waiting_for_the_network() {
    let node = start("repl", &["--atom-fetch-interval", "600"]);
    // A peer that never answers keeps a fetch waiting.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    node.ask(&request::Connect { address });
    let (mut user, program) = terminal::open_both();
    let mut repl = Command::new(program::astreum())
        .args([
            "repl",
            "--node",
            "--fetch-timeout",
            "600",
            "--control-socket",
        ])
        .arg(node.socket())
        .env("TERM", "dumb")
        .stdin(Stdio::from(program.try_clone().unwrap()))
        .stdout(Stdio::from(program.try_clone().unwrap()))
        .stderr(Stdio::from(program))
        .spawn()
        .unwrap();
    let printed = Arc::new(Mutex::new(String::new()));
    let reader = {
        let (mut output, printed) = (user.try_clone().unwrap(), Arc::clone(&printed));
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            // Ends with an error when the program has closed its side.
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..read]);
                printed.lock().unwrap().push_str(&text);
            }
        })
    };
    let shows = |text: &str| printed.lock().unwrap().contains(text);
    user.write_all(b"(1 (($0 2 add) sk))\r").unwrap();
    // The terminal may echo the input before or after the prompt.
    eventually("the first value is printed", || shows("3\r\n"));
    user.write_all(format!("(0x{} ref)\r", "01".repeat(32)).as_bytes())
        .unwrap();
    // It waits: nothing more is printed until the interrupt.
    std::thread::sleep(core::time::Duration::from_millis(500));
    assert!(!shows("interrupted"), "{printed:?}");
    let pid = Pid::from_child(&repl);
    kill_process(pid, Signal::INT).unwrap();
    eventually("the evaluation ends", || shows("interrupted"));
    // The loop continues.
    user.write_all(b"(20 (($0 1 add) sk))\r").unwrap();
    eventually("the next value is printed", || shows("21\r\n"));
    user.write_all(b":quit\r").unwrap();
    eventually("the loop ends", || repl.try_wait().unwrap().is_some());
    drop(user);
    reader.join().unwrap();
}
