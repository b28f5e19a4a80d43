//! Command `astreum store gc`: removal of what is neither needed by the chain nor pinned.

use core::time::Duration;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::chain_service::dir::{ChainDir, HeadJournalFile, WaitingFork, candidates};
use crate::config::{Loaded, Settings};
use crate::node::{PruneLimits, advertisements};
use crate::prune::{self, Run, Wanted};
use crate::rpc::{Client, ClientError, DEFAULT_TIMEOUT, PruneReply, request};
use crate::store::cold::ColdError;
use crate::store::disk::real_path;
use crate::store::open_cold_to_read;
use astreum_core::atom::AtomId;

use super::args::StoreGcArgs;
use super::output::{Failure, Output, complain, json_line};
use super::progress::with_bar_of;
use super::store_dir::{check_path, open};

/// Part of a pair that has to be garbage for it to be rewritten: any.
const ANY: u64 = u64::MAX;
/// Maximum time to wait for a node that has the directory open.
const MAX_WAIT: Duration = Duration::from_secs(7 * 24 * 3_600);

pub(super) fn gc(args: StoreGcArgs, out: &mut Output) -> Result<(), Failure> {
    let json = args.options.json;
    let loaded = args.options.run.load()?;
    check_path(&loaded.settings)?;
    let reply = match open_cold_to_read(&loaded.settings) {
        Ok(store) => {
            drop(store);
            here(&loaded, args.dry_run, args.accept_unpinned)?
        }
        Err(error @ ColdError::Locked { .. }) => {
            let client = Client::new(loaded.paths().control_socket, DEFAULT_TIMEOUT);
            let directory = real_path(&path(&loaded.settings));
            let request = request::Prune {
                directory: directory.to_string_lossy().into_owned(),
                dry_run: args.dry_run,
                accept_unpinned: args.accept_unpinned,
            };
            match client.with_timeout(MAX_WAIT).request(&request) {
                // The directory is locked, but not by the node.
                Err(ClientError::NotRunning { .. }) => return Err(Failure::failed(error)),
                asked => asked?,
            }
        }
        Err(error) => return Err(Failure::failed(error)),
    };
    if json {
        return json_line(out, &reply);
    }
    show(&reply, args.dry_run, out)
}

fn path(settings: &Settings) -> PathBuf {
    settings
        .cold_directory()
        .unwrap_or(Path::new(""))
        .to_owned()
}

/// Collects in a directory that no node has open.
fn here(loaded: &Loaded, is_dry: bool, accept: bool) -> Result<PruneReply, Failure> {
    let settings = &loaded.settings;
    let store = open(settings)?;
    let head = head(settings)?;
    let fork = waiting_fork(settings)?;
    if let Some(fork) = &fork {
        complain(&fork.kept_text());
    }
    let state_dir = loaded.paths().state_dir;
    let advertised = advertisements::saved(&state_dir).map_err(|error| {
        let shown = state_dir.display();
        Failure::Failed(format!(
            "cannot read the advertisements in {shown}: {error}"
        ))
    })?;
    if accept && !is_dry {
        store.set_pins_complete(true).map_err(Failure::failed)?;
    }
    if is_dry && !accept && !store.are_pins_complete() {
        complain(&prune::PruneError::Unpinned.to_string());
    }
    let PruneLimits {
        blocks,
        min_blocks,
        bytes,
    } = PruneLimits::of(settings);
    let wanted = Wanted {
        chain_id: settings.chain_id,
        head,
        blocks: if blocks == 0 { u64::MAX } else { blocks },
        min_blocks,
        bytes,
        fork: fork.map(|fork| fork.height),
        objects: advertised,
    };
    let outcome = with_bar_of(|bar| {
        let mut run = Run {
            divisor: (!is_dry).then_some(ANY),
            marked: &mut |_| (),
            progress: &mut |at| bar("removing", "atoms", at),
            should_continue: &|| true,
        };
        prune::run(&store, || wanted, &mut run)
    })?;
    Ok(outcome.into())
}

/// Returns the head of the chain, as far as one is saved.
fn head(settings: &Settings) -> Result<Option<AtomId>, Failure> {
    let Some(path) = candidates(settings).into_iter().next() else {
        return Ok(None);
    };
    let journal = HeadJournalFile::open(&ChainDir::journal_in(&path), settings.chain_id);
    let journal = journal.map_err(Failure::failed)?;
    let newest = journal.and_then(|journal| journal.heads().back().map(|head| head.id));
    Ok(newest)
}

/// Returns the lowest fork that waits for a decision, as far as the node has saved one.
fn waiting_fork(settings: &Settings) -> Result<Option<WaitingFork>, Failure> {
    let Some(path) = candidates(settings).into_iter().next() else {
        return Ok(None);
    };
    let forks = ChainDir::undecided_forks_in(&path).map_err(|error| {
        Failure::Failed(format!(
            "cannot determine which forks wait for a decision, and what they need: {error}; start \
             the node once, and run this while it runs"
        ))
    })?;
    Ok(forks.into_iter().min_by_key(|fork| fork.height))
}

fn show(reply: &PruneReply, is_dry: bool, out: &mut Output) -> Result<(), Failure> {
    if let Some(horizon) = reply.horizon {
        let blocks = reply.blocks;
        writeln!(
            out,
            "horizon         {horizon} ({blocks} blocks with state)"
        )?;
    }
    writeln!(out, "pins            {}", reply.pins)?;
    if reply.missing > 0 {
        let what = match reply.missing {
            1 => "pinned atom is",
            _ => "pinned atoms are",
        };
        writeln!(out, "missing         {} {what} not stored", reply.missing)?;
    }
    let (atoms, bytes) = (reply.kept_atoms, reply.kept_bytes);
    writeln!(out, "kept            {atoms} atoms, {bytes} bytes")?;
    let (atoms, bytes) = (reply.garbage_atoms, reply.garbage_bytes);
    writeln!(out, "not needed      {atoms} atoms, {bytes} bytes")?;
    if !is_dry {
        let (atoms, bytes) = (reply.removed_atoms, reply.removed_bytes);
        writeln!(out, "removed         {atoms} atoms, {bytes} bytes")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use astreum_core::consensus::ForkDecisions;

    #[test]
    fn saved_fork_is_kept_until_a_decision_and_a_malformed_file_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let config = Config {
            chain_dir: Some(scratch.path().to_owned()),
            chain_id: Some(5),
            ..Config::default()
        };
        let settings = config.resolve().unwrap();
        assert!(waiting_fork(&settings).unwrap().is_none());
        let id = |byte| AtomId::new([byte; 32]);
        let fork = |height, first| WaitingFork {
            block: id(1),
            height,
            ours: Some(id(2)),
            others: vec![id(first)],
        };
        let path = scratch.path().join("5");
        let dir = ChainDir::open(&path, 5).unwrap();
        dir.save_waiting_forks(&[fork(9, 3), fork(7, 4)]).unwrap();
        let height = || waiting_fork(&settings).unwrap().unwrap().height;
        assert_eq!(height(), 7);
        let decisions = ForkDecisions {
            adopted: None,
            avoided: vec![id(4)],
        };
        dir.save_decisions(&decisions).unwrap();
        assert_eq!(height(), 9);
        std::fs::write(path.join("waiting_forks.json"), "{").unwrap();
        let Err(Failure::Failed(error)) = waiting_fork(&settings) else {
            panic!("accepted a malformed file");
        };
        assert!(error.contains("waiting_forks.json"), "{error}");
    }
}
