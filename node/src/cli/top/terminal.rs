//! Terminal of the process: entered for the screen, and restored in every case.

use core::ffi::c_int;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, stdin, stdout};
use std::thread;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::daemon::is_ignored;

use super::super::output::Failure;

/// Size in bytes of the buffer for output: a whole screen in one write.
const BUFFER_BYTES: usize = 64 << 10;
/// Time after which a signal ends the process, even if the screen does not react: the terminal may
/// not take any output.
const GRACE: Duration = Duration::from_secs(2);

/// `true` while the terminal is not in its original state.
static IS_ENTERED: AtomicBool = AtomicBool::new(false);

/// Screen of the process's terminal. The terminal is restored when it is dropped, and by a panic.
pub(super) struct Screen {
    /// Never dropped: that would print to stderr, which panics if the terminal is gone.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<BufWriter<Stdout>>>>,
}

impl Screen {
    /// Checks that the process has a terminal.
    ///
    /// # Errors
    /// Fails if stdout or stdin is not a terminal, or if it has no cursor or no size.
    pub(super) fn check() -> Result<(), Failure> {
        let refused = |why: &str| {
            let hint = "`astreum status --watch` prints the status repeatedly";
            Err(Failure::Usage(format!("{why}; {hint}")))
        };
        if !stdout().is_terminal() {
            return refused("stdout is not a terminal");
        }
        if !stdin().is_terminal() {
            return refused("stdin is not a terminal, from which keys are read");
        }
        if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
            return refused("this terminal cannot move its cursor (TERM=dumb)");
        }
        match size() {
            Ok((1.., 1..)) => Ok(()),
            _ => {
                refused("the size of this terminal is unknown; `stty rows 24 columns 80` sets one")
            }
        }
    }

    /// Enters the screen.
    ///
    /// # Errors
    /// Fails if the terminal cannot be used.
    pub(super) fn open() -> io::Result<Self> {
        restore_on_panic();
        let backend = CrosstermBackend::new(BufWriter::with_capacity(BUFFER_BYTES, stdout()));
        let terminal = ManuallyDrop::new(Terminal::new(backend)?);
        let mut screen = Self { terminal };
        // If it fails, the drop of `screen` restores what was done.
        screen.enter()?;
        Ok(screen)
    }

    /// Enters the screen again, and redraws everything at the next draw.
    ///
    /// # Errors
    /// Fails if the terminal cannot be used.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        IS_ENTERED.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        // `clear` would ask the terminal for the position of its cursor, and take the keys meanwhile.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Draws a screen.
    ///
    /// # Errors
    /// Fails if the terminal is gone.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.terminal
            .draw(|frame| draw(frame.buffer_mut()))
            .map(|_| ())
    }

    /// Stops the process as Ctrl-Z does, until it is continued.
    ///
    /// # Errors
    /// Fails if the terminal cannot be used afterwards.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        restore();
        emulate_default_handler(SIGTSTP)?;
        self.enter()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal, unless that has been done. Errors are ignored: the terminal may be gone.
fn restore() {
    if IS_ENTERED.swap(false, Ordering::SeqCst) {
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    }
}

/// Makes a panic restore the terminal before it is reported.
fn restore_on_panic() {
    static IS_SET: AtomicBool = AtomicBool::new(false);
    if IS_SET.swap(true, Ordering::SeqCst) {
        return;
    }
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        report(panic);
    }));
}

/// Signal that concerns the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    /// The process has to end.
    End(c_int),
    /// The process has to stop until it is continued.
    Stop,
    /// The process was continued.
    Continue,
}

/// Starts a thread that passes signals on. A signal that ends the process does so after [`GRACE`] at
/// the latest, with the modes of the terminal restored.
///
/// # Errors
/// Fails if the system does not allow it.
pub(super) fn watch_signals(pass: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
    let wanted = [SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT];
    let wanted = wanted.into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(wanted)?;
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGTSTP => pass(Signal::Stop),
                SIGCONT => pass(Signal::Continue),
                _ => {
                    pass(Signal::End(signal));
                    thread::sleep(GRACE);
                    // Output may be blocked, so only the modes are restored.
                    let _ = disable_raw_mode();
                    end_by(signal);
                }
            }
        }
    })?;
    Ok(())
}

/// Ends the process by a signal.
pub(super) fn end_by(signal: c_int) {
    let _ = emulate_default_handler(signal);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
    use std::fs::{File, OpenOptions};
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    const VARIABLE: &str = "ASTREUM_TEST_TERMINAL_PANIC";
    const NAME: &str = "cli::top::terminal::tests::panic_restores_the_terminal";

    /// Body of the process under test: panics in another thread while the screen is drawn.
    fn panic_on_a_screen() {
        crate::daemon::exit_on_panic();
        let mut screen = Screen::open().unwrap();
        screen
            .draw(|buffer| {
                buffer.set_string(0, 0, "drawn", ratatui::style::Style::new());
            })
            .unwrap();
        let thread = thread::spawn(|| panic!("on purpose"));
        // The hook ends the process before the thread does.
        let _ = thread.join();
        std::process::exit(3);
    }

    #[test]
    fn panic_restores_the_terminal() {
        if std::env::var_os(VARIABLE).is_some() {
            return panic_on_a_screen();
        }
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let path = ptsname(&user, Vec::new()).unwrap();
        let mut options = OpenOptions::new();
        let program = options.read(true).write(true);
        let program = program.open(path.to_str().unwrap()).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&user, size).unwrap();
        let side = || Stdio::from(program.try_clone().unwrap());
        let mut child = Command::new("setsid")
            .arg("--ctty")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture", "--test-threads", "1"])
            .env(VARIABLE, "1")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("this test needs `setsid` of util-linux");
        let reader = {
            let mut user = File::from(user.try_clone().unwrap());
            thread::spawn(move || {
                let (mut printed, mut buffer) = (Vec::new(), [0; 4_096]);
                // Ends with an error when all programs have closed their side.
                while let Ok(read @ 1..) = user.read(&mut buffer) {
                    printed.extend_from_slice(&buffer[..read]);
                }
                String::from_utf8_lossy(&printed).into_owned()
            })
        };
        assert_eq!(child.wait().unwrap().code(), Some(101));
        let modes = tcgetattr(&program).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
        drop(program);
        let printed = reader.join().unwrap();
        let at = |text: &str| printed.find(text).unwrap_or_else(|| panic!("{printed:?}"));
        // The message is on the normal screen.
        assert!(at("\u{1b}[?1049h") < at("drawn"), "{printed:?}");
        assert!(at("drawn") < at("\u{1b}[?1049l"), "{printed:?}");
        assert!(at("\u{1b}[?1049l") < at("on purpose"), "{printed:?}");
        assert!(printed.contains("\u{1b}[?25h"), "{printed:?}");
    }
}
