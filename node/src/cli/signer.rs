//! Command `astreum signer`.

use core::time::Duration;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::daemon::is_ignored;
use crate::key_file::{KeyKind, read_secret};
use crate::rpc::hex;
use crate::signer::{Server, ServerOptions, Socket, Vault};

use super::key_args::SignerArgs;
use super::output::{Failure, Output, complain};

/// Interval in which at most [`MAX_REPORTS`] lines about requests are written.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum number of lines in an interval: several for each slot.
const MAX_REPORTS: u32 = 30;

pub(super) fn signer(args: &SignerArgs, out: &mut Output) -> Result<(), Failure> {
    super::forbid_core_dumps();
    let passphrases = args.passphrase.or_terminal();
    let secret = read_secret(&args.key_file, KeyKind::Validation, &passphrases);
    let secret = secret.map_err(|error| Failure::Usage(error.to_string()))?;
    // Before the socket exists, so that a signal never leaves it behind.
    // Under nohup the loss of the terminal is ignored.
    let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    let wanted = [SIGINT, SIGTERM].into_iter().chain(hangup);
    let mut signals = Signals::new(wanted).map_err(Failure::failed)?;
    let options = ServerOptions {
        socket: args.socket.to_path_buf(),
        has_group_access: args.group_access,
    };
    // Before a new record is created: an empty one that a failed start left behind would be taken
    // for the record of the key.
    let socket = Socket::open(&options).map_err(Failure::failed)?;
    let vault = Vault::open(&secret, args.chain_id, &args.record_dir, args.new_record);
    let vault = vault.map_err(Failure::failed)?;
    drop(secret);
    write_greeting(args, &vault, out)?;
    let reports = Mutex::new(Reports::new());
    let report = move |text: &str| {
        let mut reports = reports
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(skipped) = reports.admit(Instant::now()) {
            complain(&format!("{text}{skipped}"));
        }
    };
    let server = Server::new(socket, vault, Box::new(report)).map_err(Failure::failed)?;
    let served = std::thread::Builder::new().name("accept".to_owned());
    served
        .spawn(move || server.run())
        .map_err(|error| Failure::Failed(format!("failed to start a thread: {error}")))?;
    writeln!(out, "Ctrl-C stops the signer.")?;
    out.flush()?;
    // A request that is being signed ends without a reply: the record on disk decides.
    let _ = signals.forever().next();
    std::fs::remove_file(&*args.socket).map_err(Failure::failed)
}

fn write_greeting(args: &SignerArgs, vault: &Vault, out: &mut Output) -> Result<(), Failure> {
    let public_key = hex(vault.public_key());
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let socket = absolute(&args.socket);
    writeln!(out, "Astreum signer {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  public key      {public_key}")?;
    writeln!(out, "  chain id        {}", vault.chain_id())?;
    writeln!(out, "  socket          {}", socket.display())?;
    writeln!(out, "  signing record  {}", vault.record_path().display())?;
    match vault.newest() {
        Some(mark) => writeln!(
            out,
            "  last block      {} at height {}, timestamp {}",
            mark.block, mark.height, mark.timestamp
        )?,
        None => writeln!(out, "  last block      none")?,
    }
    writeln!(out)?;
    writeln!(out, "Configuration of the node:")?;
    let quoted = toml::Value::String(socket.display().to_string());
    writeln!(out, "  validation_signer = {quoted}")?;
    writeln!(out, "  validation_public_key = \"{public_key}\"")?;
    Ok(())
}

/// Limit of the rate of lines: a node can cause any number of them.
struct Reports {
    since: Instant,
    count: u32,
    skipped: u64,
}

impl Reports {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            count: 0,
            skipped: 0,
        }
    }

    /// Returns a note on the lines that were skipped before, or `None` if this one is to be skipped.
    fn admit(&mut self, now: Instant) -> Option<String> {
        if now.saturating_duration_since(self.since) >= REPORT_INTERVAL {
            self.since = now;
            self.count = 0;
        }
        if self.count >= MAX_REPORTS {
            self.skipped = self.skipped.saturating_add(1);
            return None;
        }
        self.count += 1;
        Some(match core::mem::take(&mut self.skipped) {
            0 => String::new(),
            skipped => format!(" ({skipped} messages skipped)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_limited_and_the_skipped_ones_counted() {
        let mut reports = Reports::new();
        let start = reports.since;
        for _ in 0..MAX_REPORTS {
            assert_eq!(reports.admit(start).as_deref(), Some(""));
        }
        for _ in 0..5 {
            assert_eq!(reports.admit(start), None);
        }
        let later = start + REPORT_INTERVAL;
        let note = reports.admit(later);
        assert_eq!(note.as_deref(), Some(" (5 messages skipped)"));
        assert_eq!(reports.admit(later).as_deref(), Some(""));
    }
}
