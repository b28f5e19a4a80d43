//! Command `astreum chain`: chain files of a node that is not running, and forks of a running one.

use std::io::Write as _;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::chain_service::SigningRecord;
use crate::chain_service::dir::ChainDir;
use crate::chain_service::recover::{
    Condition, NothingToAdopt, Survey, adopt, set_decisions_aside, survey,
};
use crate::chain_service::replay::Replay;
use crate::clock;
use crate::rpc::hex;
use astreum_core::atom::AtomId;

use super::chain_archive::{ExportArgs, ImportArgs, export_chain, import_chain};
use super::chain_dir::{directory, validation_key};
use super::forks::{self, DecisionArgs, ForksArgs};
use super::genesis::{check_not_running, refused};
use super::node_args::RunArgs;
use super::output::{Failure, Output, json_line};
use super::parse;
use super::progress::with_bar_of;
use super::store_dir;
use super::table::{table, time};

/// Maximum number of heads that are listed individually.
const MAX_LISTED: usize = 16;

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct ChainArgs {
    #[command(subcommand)]
    command: ChainCommand,
}

#[derive(Debug, Subcommand)]
enum ChainCommand {
    /// Show the state from which a node with this configuration resumes.
    Show(ShowArgs),
    /// Search cold storage for the chain, verify it, and resume from it.
    #[command(after_help = "Examples:
  astreum chain recover --config node.toml
  astreum chain recover --config node.toml --adopt
  astreum chain recover --config node.toml --adopt --head ID

Without --adopt nothing changes. Every block of the adopted chain is fully verified. Intact signing
records are kept; lost ones are rebuilt from the key's blocks on the chain. Damaged files are
kept with the suffix .damaged.
The exit code is 1 if there is nothing to adopt.")]
    Recover(RecoverArgs),
    /// Write the chain, or the state after a block, to one file.
    #[command(after_help = "Examples:
  astreum chain export chain.bin --config node.toml
  astreum chain export snapshot.bin --snapshot --config node.toml
  astreum chain export - --config node.toml | zstd > chain.bin.zst

The node must not be running; export a copy of a running one: `astreum backup DIR`, and then
`--cold-storage-path DIR`. A chain has every block from the genesis on, and the reader verifies all of
them; a snapshot has the state after one block, which the reader has to trust.")]
    Export(ExportArgs),
    /// Read a chain, or the state after a block, from a file that `export` wrote.
    #[command(after_help = "Examples:
  astreum chain import chain.bin --config node.toml
  zstd -dc chain.bin.zst | astreum chain import - --config node.toml
  astreum chain import snapshot.bin --trust ID --config node.toml

The node must not be running. Every block of a chain is verified; a damaged file is read up to the
damage. ID is the block of the snapshot, from a source that you trust.
The exit code is 1 if the file was not read to its end.")]
    Import(ImportArgs),
    /// List the forks that the running node knows, and the decisions on them.
    #[command(after_help = "Examples:
  astreum chain forks
  astreum chain forks --json | jq '.contests[]'

A fork that is too deep to follow automatically waits for a decision; `astreum status` reports it
as a problem. Decisions survive a restart.")]
    Forks(ForksArgs),
    /// Let the running node follow the branch through a block, however deep the reorganization.
    #[command(after_help = "Example:
  astreum chain adopt ID

ID is the first block of a branch, as `astreum chain forks` lists it. An unknown block is
requested from peers. Transactions of the abandoned branch return to the mempool.")]
    Adopt(DecisionArgs),
    /// Let the running node reject all branches through a block.
    #[command(after_help = "Example:
  astreum chain avoid ID")]
    Avoid(DecisionArgs),
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    run: RunArgs<true>,
}

#[derive(Debug, Args)]
struct RecoverArgs {
    /// Resume from the chain that was found.
    #[arg(long)]
    adopt: bool,
    /// Head to verify and adopt, instead of the highest.
    #[arg(long, value_name = "ID")]
    head: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    run: RunArgs<true>,
}

pub(super) fn chain(args: ChainArgs, out: &mut Output) -> Result<(), Failure> {
    match args.command {
        ChainCommand::Show(args) => show(args, out),
        ChainCommand::Recover(args) => recover(args, out),
        ChainCommand::Export(args) => export_chain(args, out),
        ChainCommand::Import(args) => import_chain(args, out),
        ChainCommand::Forks(args) => forks::forks(&args, out),
        ChainCommand::Adopt(args) => forks::adopt(&args, out),
        ChainCommand::Avoid(args) => forks::avoid(&args, out),
    }
}

fn show(args: ShowArgs, out: &mut Output) -> Result<(), Failure> {
    let options = args.run.options();
    let settings = args.run.load()?.settings;
    let path = directory(&settings)?;
    if !path.is_dir() {
        return Err(Failure::Failed(format!(
            "{}: no such directory",
            path.display()
        )));
    }
    let dir =
        ChainDir::open(&path, settings.chain_id).map_err(|error| refused(&error, &options))?;
    let head = dir.journal().and_then(|journal| journal.heads().back());
    let mut records = Vec::new();
    for path in dir.signing_record_files().map_err(Failure::failed)? {
        let key = crate::chain_service::signing_record::SigningRecordFile::key_of(&path)
            .map_err(Failure::failed)?;
        let record = dir.signing_record(&key).map_err(Failure::failed)?;
        records.push((hex(&key), record));
    }
    let identity = dir.identity();
    let genesis = identity.and_then(|identity| identity.genesis);
    if args.json {
        let last = |record: &SigningRecord| {
            record.last().map(|block| {
                json!({
                    "block": block.block.to_string(),
                    "height": block.height,
                    "timestamp": block.timestamp,
                })
            })
        };
        let records = records.iter();
        let records = records.map(|(key, record)| json!({ "key": key, "last": last(record) }));
        let head = head.map(|head| {
            json!({
                "id": head.id.to_string(),
                "height": head.height,
                "timestamp": head.timestamp,
                "state": head.state.to_string(),
            })
        });
        return json_line(
            out,
            &json!({
                "directory": path.display().to_string(),
                "chain_id": settings.chain_id,
                "rules_version": identity.map(|identity| identity.rules_version),
                "genesis": genesis.map(|id| id.to_string()),
                "head": head,
                "signing_records": records.collect::<Vec<_>>(),
            }),
        );
    }
    let none = || "none".to_owned();
    let mut rows = vec![
        ("directory", path.display().to_string()),
        ("chain id", settings.chain_id.to_string()),
        (
            "rules version",
            identity.map_or_else(none, |identity| identity.rules_version.to_string()),
        ),
        ("genesis", genesis.map_or_else(none, |id| id.to_string())),
        (
            "head",
            head.map_or_else(none, |head| {
                let at = time(&head.timestamp.into());
                format!("{} ({at}, {}), {}", head.height, head.state, head.id)
            }),
        ),
    ];
    for (key, record) in &records {
        rows.push(("signing record", format!("{key}: {}", last_signed(record))));
    }
    Ok(write!(out, "{}", table(&rows))?)
}

fn last_signed(record: &SigningRecord) -> String {
    match record.last() {
        Some(block) => format!(
            "last block {} ({}), {}",
            block.height,
            time(&block.timestamp.into()),
            block.block
        ),
        None => "nothing signed".to_owned(),
    }
}

fn recover(args: RecoverArgs, out: &mut Output) -> Result<(), Failure> {
    let wanted = args.head.as_deref().map(|head| parse::id("--head", head));
    let wanted = wanted.transpose()?;
    let loaded = args.run.load()?;
    let (settings, paths) = (&loaded.settings, loaded.paths());
    let path = directory(settings)?;
    if settings.cold_directory().is_none() {
        return Err(Failure::Usage(
            "cold_storage_path is not set: recovery searches blocks in cold storage; give --config \
             FILE or --cold-storage-path DIR"
                .to_owned(),
        ));
    }
    check_not_running(&paths)?;
    // A store that cannot be searched must not leave an empty store behind.
    let cold = store_dir::open_existing(settings)?;
    let mut dir = ChainDir::open_unread(&path, settings.chain_id).map_err(Failure::failed)?;
    let latest = clock::unix_time().as_secs();
    let latest = latest.saturating_add(settings.verification_max_future_skew);
    let found = with_bar_of(|progress| survey(&dir, &cold, wanted, latest, progress))?;
    let best = found.best(wanted);
    let adopted = match (&best, args.adopt) {
        (Ok(chain), true) => {
            let keys = validation_key(settings);
            adopt(&mut dir, &cold, &found, chain, &keys).map_err(Failure::failed)?;
            true
        }
        (Err(NothingToAdopt::Intact), true) => {
            set_decisions_aside(&dir, &found).map_err(Failure::failed)?
        }
        _ => false,
    };
    let best = best.as_ref().copied();
    if args.json {
        json_line(out, &as_json(&dir, &found, best, adopted))?;
    } else {
        write!(out, "{}", text(&dir, &found, best, adopted))?;
    }
    match best {
        Ok(_) | Err(NothingToAdopt::Intact) => Ok(()),
        Err(_) => Err(Failure::Reported),
    }
}

fn last_of(replay: &Replay) -> Option<(u64, AtomId)> {
    replay.heads.back().map(|head| (head.height, head.id))
}

fn outcome(replay: Option<&Replay>) -> String {
    let Some(replay) = replay else {
        return "not verified: not higher than a verified head".to_owned();
    };
    let genesis = replay.genesis.unwrap_or_default();
    match (&replay.problem, last_of(replay)) {
        (None, _) => match replay.pruned_to {
            None => format!("verified from genesis {genesis}"),
            Some(height) => format!(
                "verified from block {height} on; the blocks from genesis {genesis} to it were \
                 verified before they were pruned"
            ),
        },
        (Some(problem), Some((height, id))) => {
            format!("verified up to block {height}, {id}; then {problem}")
        }
        (Some(problem), None) => format!("not verified: {problem}"),
    }
}

const fn word<T>(condition: &Condition<T>) -> &'static str {
    match condition {
        Condition::Missing => "missing",
        Condition::Intact(_) => "intact",
        Condition::Damaged(_) => "damaged",
    }
}

fn conclusion(found: &Survey, best: Result<&Replay, &NothingToAdopt>, adopted: bool) -> String {
    match best {
        Ok(chain) => {
            let (height, id) = last_of(chain).unwrap_or_default();
            if adopted {
                format!("adopted: the node resumes from block {height}, {id}")
            } else {
                format!("nothing was changed; --adopt resumes from block {height}, {id}")
            }
        }
        Err(NothingToAdopt::Intact) => {
            let head = found.journal.intact().and_then(|it| it.heads().back());
            let head = head.map_or_else(String::new, |head| {
                format!(" from block {}, {}", head.height, head.id)
            });
            match (&found.decisions, adopted) {
                (Condition::Damaged(_), false) => format!(
                    "nothing was changed; --adopt sets the damaged decisions on forks aside, and \
                     the node resumes{head}"
                ),
                (Condition::Damaged(_), true) => format!(
                    "set the damaged decisions on forks aside: the node resumes{head} without \
                     them; give them again with `astreum chain adopt` and `astreum chain avoid`"
                ),
                _ => format!("nothing to recover: the node resumes{head}"),
            }
        }
        Err(NothingToAdopt::NoChain) => {
            "nothing to adopt: cold storage has no chain that is complete down to its genesis; a \
             node with additional_seeds syncs the chain from its peers"
                .to_owned()
        }
        Err(NothingToAdopt::Ambiguous) => {
            "nothing was changed: cold storage has chains of several geneses; choose one with \
             --head ID"
                .to_owned()
        }
    }
}

fn text(
    dir: &ChainDir,
    found: &Survey,
    best: Result<&Replay, &NothingToAdopt>,
    adopted: bool,
) -> String {
    let problem = |error: Option<String>| error.map_or_else(String::new, |it| format!(": {it}"));
    let error = |condition: &dyn core::fmt::Display| Some(condition.to_string());
    let mut rows = vec![("directory", dir.path().display().to_string())];
    let why = match &found.identity {
        Condition::Damaged(damage) => error(damage),
        Condition::Intact(identity) => identity.genesis.map(|id| format!("genesis {id}")),
        Condition::Missing => None,
    };
    rows.push(("identity", word(&found.identity).to_owned() + &problem(why)));
    let why = match &found.journal {
        Condition::Damaged(damage) => error(damage),
        Condition::Intact(journal) => journal
            .heads()
            .back()
            .map(|head| format!("last head {}, {}", head.height, head.id)),
        Condition::Missing => None,
    };
    rows.push((
        "head journal",
        word(&found.journal).to_owned() + &problem(why),
    ));
    for (path, condition) in &found.signed {
        let why = match condition {
            Condition::Damaged(damage) => error(damage),
            Condition::Intact(record) => Some(last_signed(record)),
            Condition::Missing => None,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let state = format!("{name} {}", word(condition));
        rows.push(("signing record", state + &problem(why)));
    }
    // Most chains have none.
    if !matches!(found.decisions, Condition::Missing) {
        let why = match &found.decisions {
            Condition::Damaged(damage) => error(damage),
            Condition::Intact(_) | Condition::Missing => None,
        };
        let state = word(&found.decisions).to_owned();
        rows.push(("decisions", state + &problem(why)));
    }
    let blocks = &found.blocks;
    let mut stored = format!(
        "{} blocks, {} heads, {} geneses",
        blocks.len(),
        found.candidates.len(),
        found.geneses.len()
    );
    if blocks.unreadable > 0 {
        stored.push_str(&format!(", {} unreadable blocks", blocks.unreadable));
    }
    if blocks.left_out > 0 {
        stored.push_str(&format!(", {} lower blocks omitted", blocks.left_out));
    }
    rows.push(("cold storage", stored));
    for candidate in found.candidates.iter().take(MAX_LISTED) {
        let outcome = outcome(candidate.replay.as_ref());
        rows.push((
            "head",
            format!("{}, {}: {outcome}", candidate.height, candidate.id),
        ));
    }
    let mut text = table(&rows);
    text.push_str(&conclusion(found, best, adopted));
    text.push('\n');
    text
}

fn as_json(
    dir: &ChainDir,
    found: &Survey,
    best: Result<&Replay, &NothingToAdopt>,
    adopted: bool,
) -> serde_json::Value {
    let candidates = found.candidates.iter().take(MAX_LISTED).map(|candidate| {
        let replay = candidate.replay.as_ref();
        let verified = replay.and_then(last_of);
        json!({
            "id": candidate.id.to_string(),
            "height": candidate.height,
            "tried": replay.is_some(),
            "verified_height": verified.map(|(height, _)| height),
            "verified_id": verified.map(|(_, id)| id.to_string()),
            "genesis": replay.and_then(|it| it.genesis).map(|id| id.to_string()),
            "problem": replay.and_then(|it| it.problem.as_ref()).map(ToString::to_string),
        })
    });
    let signed = found.signed.iter().map(|(path, condition)| {
        json!({
            "file": path.file_name().unwrap_or_default().to_string_lossy(),
            "state": word(condition),
        })
    });
    let head = best.ok().and_then(last_of);
    json!({
        "directory": dir.path().display().to_string(),
        "identity": word(&found.identity),
        "journal": word(&found.journal),
        "signing_records": signed.collect::<Vec<_>>(),
        "decisions": word(&found.decisions),
        "blocks": found.blocks.len(),
        "unreadable_blocks": found.blocks.unreadable,
        "heads": candidates.collect::<Vec<_>>(),
        "geneses": found.geneses.iter().map(AtomId::to_string).collect::<Vec<_>>(),
        "adoptable_height": head.map(|(height, _)| height),
        "adoptable_id": head.map(|(_, id)| id.to_string()),
        "adopted": adopted,
        "conclusion": conclusion(found, best, adopted),
    })
}
