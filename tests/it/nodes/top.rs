//! `astreum top` in a pseudoterminal, beside a running node.
//!
//! The pseudoterminal is the controlling terminal of the program (`setsid` of util-linux), so that
//! keys, sizes and signals arrive as in a terminal window. What is printed is interpreted by a
//! terminal emulator, whose screen is compared.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failure fails the test"
)]

use super::running::start;
use super::support::{WAIT_TIMEOUT, eventually};
use astreum_node::rpc::request;
use astreum_tests::testkit::{NodeCommand, NodeProcess, Output, program, terminal};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::termios::{Termios, tcgetattr};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tempfile::TempDir;
use vt100::Parser;

/// `astreum top` in a terminal.
struct Top {
    child: Child,
    user: File,
    /// Side of the program, kept open so that its modes can be read after the end.
    side: File,
    emulator: Arc<Mutex<Parser>>,
    modes: Termios,
}

impl Top {
    fn start(socket: &Path, (columns, rows): (u16, u16), variables: &[(&str, &str)]) -> Self {
        let (user, side) = terminal::open_both();
        terminal::set_size(&user, columns, rows);
        let modes = tcgetattr(&side).unwrap();
        let program_side = || Stdio::from(side.try_clone().unwrap());
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(program::astreum())
            .args(["top", "--control-socket"])
            .arg(socket)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(program_side())
            .stdout(program_side())
            .stderr(program_side())
            .spawn()
            .expect("this test needs `setsid` of util-linux");
        let emulator = Arc::new(Mutex::new(Parser::new(rows, columns, 0)));
        let (mut output, screen) = (user.try_clone().unwrap(), Arc::clone(&emulator));
        // Ends with the last side of the program.
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                screen.lock().unwrap().process(&buffer[..read]);
            }
        });
        Self {
            child,
            user,
            side,
            emulator,
            modes,
        }
    }

    fn screen(&self) -> String {
        self.emulator.lock().unwrap().screen().contents()
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        let start = Instant::now();
        while !self.screen().contains(text) {
            let is_late = start.elapsed() > WAIT_TIMEOUT;
            assert!(
                !is_late,
                "{text:?} is not on the screen:\n{}",
                self.screen()
            );
            std::thread::sleep(core::time::Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.user.write_all(keys).unwrap();
    }

    fn resize(&self, columns: u16, rows: u16) {
        let mut emulator = self.emulator.lock().unwrap();
        emulator.screen_mut().set_size(rows, columns);
        terminal::set_size(&self.user, columns, rows);
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the end, and checks that the terminal is as it was before.
    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        eventually("the program ends", || {
            self.child.try_wait().unwrap().is_some()
        });
        self.is_restored();
        self.child.wait().unwrap()
    }

    #[track_caller]
    fn is_restored(&self) {
        let modes = tcgetattr(&self.side).unwrap();
        assert_eq!(modes.local_modes, self.modes.local_modes);
        assert_eq!(modes.input_modes, self.modes.input_modes);
        assert_eq!(modes.output_modes, self.modes.output_modes);
        assert_eq!(modes.control_modes, self.modes.control_modes);
        eventually("the normal screen is shown", || {
            let emulator = self.emulator.lock().unwrap();
            let screen = emulator.screen();
            !screen.alternate_screen() && !screen.hide_cursor()
        });
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn top_shows_a_running_node_and_quits() {
    let node = start("top", &[]);
    let mut top = Top::start(node.socket(), (80, 24), &[]);
    let key = node.status().public_key.to_string();
    top.shows(&key[..12]);
    for text in [
        "live, every 1 s",
        "no head",
        "none: in memory only",
        "Problems 0",
        "q quit",
    ] {
        top.shows(text);
    }
    // The second answer gives rates.
    top.shows("dropped   0/s");
    // A screen of another size is drawn anew, and one that is too small says so.
    top.resize(120, 40);
    top.shows("validator no");
    let last = |top: &Top| {
        let screen = top.screen();
        screen.lines().last().unwrap_or_default().to_owned()
    };
    eventually("the footer is on the last line", || {
        last(&top).starts_with("q quit") && top.screen().lines().count() == 40
    });
    top.resize(60, 20);
    top.shows("60x20 is too small: 80x24 needed");
    top.resize(80, 24);
    top.shows("Mempool and queues");
    top.press(b"\t\t");
    top.shows("no peers");
    top.press(b"\x1b[D");
    top.shows("no warnings and no errors");
    top.press(b"?");
    top.shows("PgUp, PgDn");
    top.press(b"?");
    top.press(b"p");
    top.shows("PAUSED");
    top.press(b"p");
    top.shows("live");
    top.press(b"q");
    assert_eq!(top.ended().code(), Some(0));
}

#[test]
fn escape_and_ctrl_c_quit() {
    let node = start("topkeys", &[]);
    for key in [b"\x1b", b"\x03"] {
        let mut top = Top::start(node.socket(), (80, 24), &[]);
        top.shows("live");
        top.press(key);
        assert_eq!(top.ended().code(), Some(0), "{key:?}");
    }
}

#[test]
fn signals_restore_the_terminal_and_end_top() {
    let node = start("topsignals", &[]);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut top = Top::start(node.socket(), (80, 24), &[]);
        top.shows("live");
        kill_process(top.id(), signal).unwrap();
        assert_eq!(top.ended().signal(), Some(signal.as_raw()));
    }
}

#[test]
fn ctrl_z_suspends_and_sigcont_draws_again() {
    let node = start("topsuspend", &[]);
    let mut top = Top::start(node.socket(), (80, 24), &[]);
    top.shows("live");
    top.press(b"\x1a");
    let options = WaitOptions::UNTRACED;
    let (_, status) = waitpid(Some(top.id()), options).unwrap().unwrap();
    assert!(status.stopped(), "{status:?}");
    top.is_restored();
    kill_process(top.id(), Signal::CONT).unwrap();
    top.shows("Mempool and queues");
    top.press(b"q");
    assert_eq!(top.ended().code(), Some(0));
}

#[test]
fn top_reconnects_to_a_restarted_node() {
    let directory = TempDir::with_prefix("ast-toprestart-").unwrap();
    let mut command = NodeCommand::new(program::astreum(), directory.path());
    command.arguments(&["--state-dir", directory.path().to_str().unwrap()]);
    let node = NodeProcess::start(&command, Output::Discarded).unwrap();
    let mut top = Top::start(node.socket(), (80, 24), &[]);
    top.shows("live");
    node.ask(&request::Stop {});
    assert_eq!(node.finish().status.code(), Some(0));
    top.shows("reconnecting");
    top.shows("no node is running at");
    // The last values stay on the screen.
    top.shows("none: in memory only");
    let node = NodeProcess::start(&command, Output::Discarded).unwrap();
    top.shows("live");
    top.shows("Problems 0");
    // A node that does not answer is not one that is gone.
    node.signal(Signal::STOP);
    top.shows("no answer for");
    node.signal(Signal::CONT);
    top.shows("live");
    top.press(b"q");
    assert_eq!(top.ended().code(), Some(0));
}

#[test]
fn warnings_of_the_log_are_listed() {
    let node = start("topwarn", &["--default-seed", "unknown.invalid:52780"]);
    eventually("a warning is logged", || {
        !node.ask(&request::RecentWarnings {}).is_empty()
    });
    let mut top = Top::start(node.socket(), (100, 30), &[("NO_COLOR", "1")]);
    top.shows("live");
    top.press(b"\t");
    top.shows("unknown.invalid");
    let is_plain = {
        let emulator = top.emulator.lock().unwrap();
        let screen = emulator.screen();
        let cells = (0..30).flat_map(|row| (0..100).map(move |column| (row, column)));
        let mut cells = cells.filter_map(|(row, column)| screen.cell(row, column));
        cells.all(|cell| cell.fgcolor() == vt100::Color::Default)
    };
    assert!(is_plain, "NO_COLOR is set");
    top.press(b"q");
    assert_eq!(top.ended().code(), Some(0));
}

#[test]
fn top_without_terminal_or_node_is_refused() {
    let run = |socket: &Path| {
        let output = Command::new(program::astreum())
            .args(["top", "--control-socket"])
            .arg(socket)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.stdout.is_empty());
        (output.status.code(), errors)
    };
    let (code, errors) = run(Path::new("absent.sock"));
    assert_eq!(code, Some(2));
    assert!(errors.contains("stdout is not a terminal"), "{errors}");
    assert!(errors.contains("`astreum status --watch`"), "{errors}");
    let mut top = Top::start(Path::new("/nonexistent/control.sock"), (80, 24), &[]);
    top.shows("no node is running at");
    assert_eq!(top.ended().code(), Some(1));
    let mut top = Top::start(
        Path::new("/nonexistent/x.sock"),
        (80, 24),
        &[("TERM", "dumb")],
    );
    top.shows("TERM=dumb");
    assert_eq!(top.ended().code(), Some(2));
}
