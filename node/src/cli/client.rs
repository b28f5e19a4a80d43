//! Commands `astreum status` and `astreum peers`: queries of the running node.

use core::time::Duration;
use std::io::Write as _;
use std::thread;
use std::time::Instant;

use astreum_core::crypto::PublicKey;

use crate::config::Seed;
use crate::log::utc_text;
use crate::net::SeedState;
use crate::rpc::{Client, PeerReply, ProducerReply, PruningReply, StatusReply, request};

use super::args::{PeersArgs, StatusArgs};
use super::node_args::client;
use super::output::{Failure, Output, json_line};
use super::parse;

/// Maximum time that `peers --connect` waits for the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between checks for the answer.
const HANDSHAKE_POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(super) fn status(args: &StatusArgs, out: &mut Output) -> Result<(), Failure> {
    let client = client(&args.at)?;
    let status = client.request(&request::Status {})?;
    if args.json {
        // The fields are sorted by name.
        json_line(
            out,
            &serde_json::to_value(&status).map_err(Failure::failed)?,
        )?;
        return verdict(args, &status);
    }
    let verdict = verdict(args, &status);
    let none = || "unknown".to_owned();
    let rows = [
        ("version", status.version),
        ("public key", status.public_key.to_string()),
        ("listen address", status.listen_address),
        (
            "public address",
            status
                .advertised_address
                .map_or_else(none, |address| address.to_string()),
        ),
        ("uptime", duration(status.uptime_seconds)),
        ("chain id", status.chain_id.to_string()),
        ("peers", status.peers.to_string()),
        ("difficulty", status.difficulty.to_string()),
        ("advertisements", status.advertisements.to_string()),
        (
            "hot storage",
            format!(
                "{} atoms, {} of {} bytes",
                status.hot_atoms, status.hot_bytes, status.hot_limit_bytes
            ),
        ),
        (
            "persistence",
            if status.durable {
                "on disk"
            } else if status.refuses_writes {
                "none: writes are refused, see the problems below"
            } else {
                "in memory only: there is no cold storage, set cold_storage_path"
            }
            .to_owned(),
        ),
        (
            "latest block",
            status
                .latest_block
                .map_or_else(none, |block| block.to_string()),
        ),
        (
            "head age",
            status.head_age_seconds.map_or_else(none, duration),
        ),
        ("control socket", client.socket().display().to_string()),
    ];
    for (name, value) in rows.into_iter().chain(status.chain.lines()) {
        writeln!(out, "{name:<15} {value}")?;
    }
    if let Some(pruning) = &status.pruning {
        writeln!(out, "{:<15} {}", "pruning", pruning_line(pruning))?;
    }
    for seed in &status.seeds {
        writeln!(out, "{:<15} {}", "seed", seed_line(seed))?;
    }
    if let Some(validator) = &status.validator {
        let ProducerReply {
            public_key,
            activity,
            blocks_made,
            pool_transactions,
            ..
        } = validator;
        writeln!(out, "{:<15} {public_key}", "validator")?;
        writeln!(out, "{:<15} {activity}", "")?;
        let made =
            format!("{blocks_made} blocks produced, {pool_transactions} transactions pending");
        writeln!(out, "{:<15} {made}", "")?;
    }
    for warning in &status.warnings {
        writeln!(out, "{:<15} {warning}", "warning")?;
    }
    for problem in &status.problems {
        writeln!(out, "{:<15} {problem}", "problem")?;
    }
    for (name, value) in status.counters.iter().filter(|(_, value)| **value > 0) {
        writeln!(out, "  {name:<30} {value}")?;
    }
    verdict
}

/// Returns the result of `--check`.
fn verdict(args: &StatusArgs, status: &StatusReply) -> Result<(), Failure> {
    let findings = findings(status, args.max_head_age, args.min_peers);
    if !args.check || findings.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "check failed: {}",
        findings.join("; ")
    )))
}

fn findings(status: &StatusReply, max_head_age: u64, min_peers: u64) -> Vec<String> {
    let mut findings = status.problems.clone();
    if status.halted && findings.is_empty() {
        findings.push("blocks are not produced or stored".to_owned());
    }
    let age = status.head_age_seconds.filter(|age| *age > max_head_age);
    if let Some(age) = age.filter(|_| max_head_age > 0) {
        findings.push(format!(
            "the head is stale: it is {} old, and --max-head-age allows {}",
            duration(age),
            duration(max_head_age)
        ));
    }
    if status.peers < min_peers {
        findings.push(match status.peers {
            0 => "no peers".to_owned(),
            peers => format!("too few peers: {peers} of {min_peers}"),
        });
    }
    findings
}

pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

pub(super) fn peers(args: &PeersArgs, out: &mut Output) -> Result<(), Failure> {
    let client = client(&args.at)?;
    let key = |text: &String| {
        let key = parse::id("the public key", text)?;
        Ok::<_, Failure>(PublicKey::new(*key.as_bytes()))
    };
    let changes = [
        args.remove.as_ref().map(|it| (it, Some(false))),
        args.ban.as_ref().map(|it| (it, Some(true))),
        args.unban.as_ref().map(|it| (it, None)),
    ];
    if let Some((text, removal)) = changes.into_iter().flatten().next() {
        let key = key(text)?;
        let was_known = match removal {
            Some(ban) => client.request(&request::RemovePeer { key, ban })?,
            None => client.request(&request::UnbanPeer { key })?,
        };
        // Bans also apply to unknown keys.
        return match removal {
            Some(false) if !was_known => Err(Failure::Failed(format!(
                "{text} is not a peer; `astreum peers` lists the peers"
            ))),
            None if !was_known => Err(Failure::Failed(format!("{text} is not banned"))),
            _ => Ok(()),
        };
    }
    let (peers, failure) = match &args.connect {
        Some(address) => connect(&client, address)?,
        None => (client.request(&request::Peers {})?, None),
    };
    list(&peers, args.json, out)?;
    failure.map_or(Ok(()), Err)
}

/// Starts a handshake and waits for the answer for at most [`HANDSHAKE_TIMEOUT`]; returns the
/// peers, and the failure if there was no answer.
fn connect(client: &Client, address: &str) -> Result<(Vec<PeerReply>, Option<Failure>), Failure> {
    if let Err(error) = address.parse::<Seed>() {
        let text = format!("invalid value {address:?} for --connect: {error}");
        return Err(Failure::Usage(text));
    }
    let request = request::Connect {
        address: address.to_owned(),
    };
    let resolved = client.request(&request)?;
    let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
    loop {
        let peers = client.request(&request::Peers {})?;
        if peers.iter().any(|peer| peer.address == resolved) {
            return Ok((peers, None));
        }
        if Instant::now() >= deadline {
            let seconds = HANDSHAKE_TIMEOUT.as_secs();
            let message = format!(
                "{resolved} has not answered within {seconds} s: no node listens there, or its UDP \
                 packets do not arrive; `astreum peers` lists it once it answers"
            );
            return Ok((peers, Some(Failure::Failed(message))));
        }
        thread::sleep(HANDSHAKE_POLL_INTERVAL);
    }
}

fn list(peers: &[PeerReply], json: bool, out: &mut Output) -> Result<(), Failure> {
    if json {
        return peers.iter().try_for_each(|peer| json_line(out, peer));
    }
    if peers.is_empty() {
        return Ok(writeln!(out, "no peers")?);
    }
    for peer in peers {
        let validator = if peer.is_validator { ", validator" } else { "" };
        let unvalidated = if peer.is_validated {
            ""
        } else {
            ", address not validated"
        };
        let bad = match peer.bad_blocks {
            0 => String::new(),
            count => format!(", announced {count} invalid blocks"),
        };
        writeln!(
            out,
            "{}  {}  last seen {} ago{unvalidated}{validator}{bad}",
            peer.public_key,
            peer.address,
            duration(peer.last_seen_seconds)
        )?;
    }
    Ok(())
}

/// Returns the state of a seed as text.
/// Describes the state of pruning in one line.
fn pruning_line(pruning: &PruningReply) -> String {
    let mut line = match pruning.horizon {
        0 => "nothing is pruned".to_owned(),
        horizon => format!("only headers are kept below height {horizon}"),
    };
    line += &format!("; {} pins", pruning.pins);
    if let Some(at) = pruning.last_run_unix {
        let (at, bytes) = (utc_text(at), pruning.removed_bytes);
        line += &format!("; last run {at}, {bytes} bytes freed since the start");
    }
    if pruning.running {
        line += "; running";
    }
    line
}

fn seed_line(seed: &SeedState) -> String {
    let addresses: Vec<String> = seed.addresses.iter().map(ToString::to_string).collect();
    let is_address = addresses == [seed.name.as_str()];
    let addresses = match &addresses[..] {
        [] => String::new(),
        _ if is_address => String::new(),
        addresses => format!(" at {}", addresses.join(", ")),
    };
    let error = seed.error.as_ref();
    let error = error.map(|error| format!(", failed to resolve: {error}"));
    format!("{}{addresses}{}", seed.name, error.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_finds_problems_stale_heads_and_missing_peers() {
        let good = StatusReply {
            peers: 2,
            head_age_seconds: Some(10),
            ..StatusReply::default()
        };
        assert_eq!(findings(&good, 10, 2), [""; 0]);
        assert_eq!(findings(&good, 0, 0), [""; 0]);
        let report = |status: &StatusReply, age, peers| findings(status, age, peers).join("; ");
        assert!(report(&good, 9, 1).contains("stale: it is 10 s old"));
        assert!(report(&good, 10, 3).contains("2 of 3"));
        let alone = StatusReply::default();
        assert_eq!(report(&alone, 300, 1), "no peers");
        assert_eq!(report(&alone, 300, 0), "");
        let problem = StatusReply {
            problems: vec!["disk full".to_owned()],
            halted: true,
            ..good
        };
        assert_eq!(report(&problem, 300, 1), "disk full");
    }

    #[test]
    fn durations_are_human_readable() {
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(61), "1 min 1 s");
        assert_eq!(duration(3_660), "1 h 1 min");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
