//! Command `astreum genesis`: writes the first block of a chain into the files of a node that is
//! not running.

use core::time::Duration;
use std::io::{self, Write as _};
use std::path::Path;

use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::{
    Address, Block, DEFAULT_TREASURY, Genesis, GenesisContract as Contract, TREASURY,
};
use astreum_core::crypto::VerifyingKey;
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;
use serde_json::json;

use crate::chain_service::dir::{
    ChainDir, ChainDirError, Legacy, Trace, begin_chain, candidates, has_files,
};
use crate::clock;
use crate::config::{Loaded, Paths, Settings};
use crate::key_file::{KeyKind, PassphraseSource, configured_public_key};
use crate::node::chain_start::trace;
use crate::rpc::{Client, ClientError, number, request};
use crate::store::Store;

use super::chain_args::GenesisArgs;
use super::genesis_file::Plan;
use super::output::{Failure, Output, complain, json_line};
use super::parse;
use super::store_dir;
use super::table::{table, time};

/// Maximum time that a running node has to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn genesis(args: GenesisArgs, out: &mut Output) -> Result<(), Failure> {
    let plan = plan(&args)?;
    let is_json = args.json;
    let dry_run = args.dry_run;
    let options = args.run.options();
    let (reference, validator) = (args.reference, args.validator.clone());
    let loaded = args.run.load()?;
    let genesis = start(&plan, reference, validator.as_deref(), &loaded)?;
    let mut atoms = MemoryStore::new();
    let block = genesis
        .build(&mut Scalar, &mut atoms)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    for warning in genesis.warnings() {
        complain(&format!("warning: {warning}"));
    }
    for warning in warnings(&genesis, &loaded.settings) {
        complain(&format!("warning: {warning}"));
    }
    if !dry_run {
        write(&loaded, &block, &atoms, &options)?;
    }
    if is_json {
        return json_line(out, &as_json(&genesis, &block, dry_run));
    }
    Ok(write!(out, "{}", text(&genesis, &block, dry_run))?)
}

/// Reads the plan from the file and the flags.
fn plan(args: &GenesisArgs) -> Result<Plan, Failure> {
    let mut plan = match &args.file {
        Some(path) => Plan::read(path)?,
        None => Plan::default(),
    };
    plan.add_flags(&args.balance, &args.stake, &args.contract)?;
    if let Some(fees) = &args.cumulative_total_fees {
        let fees = parse::natural("--cumulative-total-fees", fees)?;
        plan.cumulative_total_fees = Some(fees);
    }
    plan.timestamp = args.timestamp.or(plan.timestamp);
    Ok(plan)
}

/// Completes the plan with the configuration and with defaults.
fn start(
    plan: &Plan,
    reference: bool,
    validator: Option<&str>,
    loaded: &Loaded,
) -> Result<Genesis, Failure> {
    let chain_id = loaded.settings.chain_id;
    if let Some(other) = plan.chain_id.filter(|other| *other != chain_id) {
        return Err(Failure::Usage(format!(
            "chain_id mismatch: {other} in the file, {chain_id} in the configuration; give \
             --chain-id {other}, here and to the node"
        )));
    }
    let validator = match (validator, plan.validator) {
        (Some(key), _) => parse::key("--validator", key)?,
        (None, Some(key)) => key,
        (None, None) => configured_validator(&loaded.settings)?,
    };
    let timestamp = plan
        .timestamp
        .unwrap_or_else(|| clock::unix_time().as_secs());
    let (validator, chain_id) = (Address::new(validator), Natural::from(chain_id));
    if reference {
        return Ok(Genesis::reference(validator, chain_id, timestamp.into()));
    }
    let mut genesis = Genesis::new(validator, chain_id, timestamp.into());
    let by_address = |pairs: &std::collections::BTreeMap<[u8; 32], Natural>| {
        let pairs = pairs.iter();
        pairs
            .map(|(key, amount)| (Address::new(*key), amount.clone()))
            .collect()
    };
    if !plan.balances.is_empty() {
        genesis.balances = by_address(&plan.balances);
        // The default price of storage is kept unless another is given.
        if plan.cumulative_total_fees.is_none() {
            let treasury = genesis.balances.entry(TREASURY);
            treasury.or_insert_with(|| DEFAULT_TREASURY.into());
        }
    }
    if !plan.stakes.is_empty() {
        genesis.stakes = by_address(&plan.stakes);
    }
    for (id, contract) in &plan.contracts {
        let contract = Contract {
            owner: Address::new(contract.owner),
            bytes: contract.bytes.clone(),
            atoms: contract.atoms.clone(),
        };
        genesis.contracts.insert(AtomId::new(*id), contract);
    }
    if let Some(fees) = &plan.cumulative_total_fees {
        genesis.cumulative_total_fees = fees.clone();
    }
    Ok(genesis)
}

fn configured_validator(settings: &Settings) -> Result<[u8; 32], Failure> {
    // This command needs neither the relay key nor a secret.
    let passphrases = PassphraseSource::of_or_terminal(settings);
    let key = configured_public_key(settings, KeyKind::Validation, &passphrases);
    let key = key.map_err(|error| Failure::Usage(error.to_string()))?;
    key.ok_or_else(|| {
        Failure::Usage(
            "missing validator: give --validator KEY, or set validation_secret_key_file; `astreum \
             keys generate FILE --kind validation` creates a key"
                .to_owned(),
        )
    })
}

/// Returns warnings about a genesis that is valid but probably unintended.
fn warnings(genesis: &Genesis, settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    for (address, stake) in &genesis.stakes {
        if VerifyingKey::from_bytes(address.as_bytes()).is_err() && !stake.is_zero() {
            warnings.push(format!(
                "{address} has a stake but is not an Ed25519 public key: its slots stay empty"
            ));
        }
    }
    if genesis.timestamp > clock::unix_time().as_secs() {
        let time = time(&genesis.timestamp);
        warnings.push(format!("the chain starts in the future, at {time}"));
    }
    if let Some(seed) = &settings.default_seed {
        warnings.push(format!(
            "the node will follow the head of default_seed {seed}, not this chain; set \
             default_seed = \"\" to run a separate chain"
        ));
    }
    warnings
}

/// Begins the chain on disk, unless there is a trace of a chain with the same id.
pub(super) fn write(
    loaded: &Loaded,
    block: &Block,
    atoms: &MemoryStore,
    options: &str,
) -> Result<(), Failure> {
    let (settings, paths) = (&loaded.settings, loaded.paths());
    if settings.cold_directory().is_none() {
        return Err(Failure::Usage(
            "cold_storage_path is not set: a chain is stored in cold storage; give --config FILE \
             or --cold-storage-path DIR, or --dry-run to print only the id"
                .to_owned(),
        ));
    }
    check_not_running(&paths)?;
    // Checked first, so that a refusal leaves nothing behind.
    refuse_second_chain(settings, &paths).map_err(|error| refused(&error, options))?;
    let cold = store_dir::open(settings)?;
    let places = candidates(settings);
    let path = places.first().ok_or(Failure::Reported)?;
    let mut dir =
        ChainDir::open(path, settings.chain_id).map_err(|error| refused(&error, options))?;
    let store = Store::with_cold(0, Some(cold.clone()));
    let found = trace(&dir, settings.chain_id, &store).map_err(Failure::failed)?;
    if let Some(trace) = found {
        return Err(refused(&second_chain(settings, trace), options));
    }
    let atoms: Vec<_> = atoms.iter().map(|(id, atom)| (*id, atom.clone())).collect();
    begin_chain(&cold, &mut dir, block, &atoms).map_err(Failure::failed)
}

/// Refuses if there are files of a chain with this chain id.
fn refuse_second_chain(settings: &Settings, paths: &Paths) -> Result<(), ChainDirError> {
    if let Some(legacy) = Legacy::find(&paths.state_dir, settings.chain_id)? {
        let head = legacy.head_file().map(|path| Trace::HeadFile(path.into()));
        let signed = legacy.signing_record_files().first();
        let signed = signed.map(|path| Trace::SigningRecord(path.clone()));
        if let Some(trace) = head.or(signed) {
            return Err(second_chain(settings, trace));
        }
    }
    if let Some(used) = candidates(settings)
        .into_iter()
        .find(|place| has_files(place))
    {
        return Err(second_chain(settings, Trace::Directory(used)));
    }
    Ok(())
}

fn second_chain(settings: &Settings, trace: Trace) -> ChainDirError {
    ChainDirError::SecondChain {
        chain_id: settings.chain_id,
        trace,
    }
}

/// Returns the failure with the commands that resolve it.
pub(super) fn refused(error: &ChainDirError, options: &str) -> Failure {
    let mut text = error.to_string();
    for command in error.commands(options) {
        text.push_str("\n  ");
        text.push_str(&command);
    }
    match error {
        ChainDirError::NoDirectory => Failure::Usage(text),
        _ => Failure::Failed(text),
    }
}

/// Fails unless it is certain that no node with this control socket is running.
pub(super) fn check_not_running(paths: &Paths) -> Result<(), Failure> {
    let client = Client::new(&paths.control_socket, PROBE_TIMEOUT);
    let answer = client.request(&request::Status {}).map(|_| ());
    refuse_running(answer, &paths.control_socket)
}

/// Fails unless the answer of a control socket shows that no node listens at it.
fn refuse_running(answer: Result<(), ClientError>, socket: &Path) -> Result<(), Failure> {
    match answer {
        Ok(()) => Err(Failure::Failed(format!(
            "a node is running at {}; stop it first: a running node does not pick up changes of \
             its chain",
            socket.display()
        ))),
        Err(ClientError::NotRunning { .. }) => Ok(()),
        // No socket can have such a path.
        Err(ClientError::Io { error, .. })
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(Failure::Failed(format!(
            "cannot tell whether a node is running, which would not pick up changes of its chain: \
             {error}"
        ))),
    }
}

fn as_json(genesis: &Genesis, block: &Block, dry_run: bool) -> serde_json::Value {
    let amounts = |map: &std::collections::BTreeMap<Address, Natural>| {
        let pairs = map.iter();
        let pairs = pairs.map(|(key, amount)| (key.to_string(), amount.to_string().into()));
        serde_json::Value::Object(pairs.collect())
    };
    let cost = genesis.transfer_cost(1);
    let filling = genesis.filling_cost(1);
    json!({
        "id": block.id().to_string(),
        "chain_id": number(&block.chain_id.to_string()),
        "timestamp": number(&block.timestamp.to_string()),
        "validator": block.validator.to_string(),
        "accounts": block.accounts.to_string(),
        "balances": amounts(&genesis.balances),
        "stakes": amounts(&genesis.stakes),
        "contracts": genesis.contracts.len(),
        "cumulative_stake": block.cumulative_stake.to_string(),
        "cumulative_total_fees": block.cumulative_total_fees.to_string(),
        "transfer_cost": cost.map(|cost| cost.to_string()),
        "filling_cost": filling.map(|cost| cost.to_string()),
        "supply": genesis.supply().to_string(),
        "dry_run": dry_run,
    })
}

fn text(genesis: &Genesis, block: &Block, dry_run: bool) -> String {
    let cost = genesis.transfer_cost(1).unwrap_or_default();
    let mut text = table(&[
        ("block", block.id().to_string()),
        ("chain id", block.chain_id.to_string()),
        ("time", time(&block.timestamp)),
        ("validator", block.validator.to_string()),
        ("accounts", block.accounts.to_string()),
        ("transfer cost", cost.to_string()),
    ]);
    for (what, amounts) in [("balance", &genesis.balances), ("stake", &genesis.stakes)] {
        for (key, amount) in amounts {
            text.push_str(&format!("{what:<15} {key} {amount}\n"));
        }
    }
    if dry_run {
        text.push_str("dry run: nothing was written\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_a_socket_without_a_node_is_taken_for_no_node() {
        let scratch = tempfile::tempdir().unwrap();
        let socket = scratch.path().join("sock");
        let of = |socket: &Path| socket.to_owned();
        let path = of(&socket);
        let io = |error: io::Error| ClientError::Io {
            socket: of(&socket),
            error,
        };
        let denied = ClientError::Denied {
            socket: of(&socket),
            owner: Some("alice".to_owned()),
        };
        let Err(Failure::Failed(text)) = refuse_running(Err(denied), &path) else {
            panic!("another user's node was taken for none");
        };
        for part in [
            "cannot tell whether a node is running",
            "permission denied",
            "of the user alice",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let running = [
            Ok(()),
            Err(ClientError::Unreachable {
                socket: of(&socket),
            }),
            Err(ClientError::OldNode {
                socket: of(&socket),
            }),
            Err(io(io::ErrorKind::TimedOut.into())),
        ];
        for answer in running {
            assert!(refuse_running(answer, &path).is_err());
        }
        let none = Err(ClientError::NotRunning {
            socket: of(&socket),
        });
        assert!(refuse_running(none, &path).is_ok());
    }

    #[test]
    fn paths_that_cannot_be_a_socket_have_no_node() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        std::fs::write(&file, "").unwrap();
        for socket in [
            scratch.path().join("none"),
            scratch.path().join("none/sock"),
            file.join("sock"),
            scratch.path().join("x".repeat(300)),
        ] {
            let answer = Client::new(&socket, PROBE_TIMEOUT).request(&request::Status {});
            let found = refuse_running(answer.map(|_| ()), &socket);
            assert!(found.is_ok(), "{}: {found:?}", socket.display());
        }
        // Listens, and does not answer.
        let socket = scratch.path().join("sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let short = Duration::from_millis(20);
        let answer = Client::new(&socket, short).request(&request::Status {});
        assert!(refuse_running(answer.map(|_| ()), &socket).is_err());
    }
}
