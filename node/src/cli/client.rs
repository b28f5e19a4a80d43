//! Commands `astreum status` and `astreum peers`: queries of the running node.

use core::time::Duration;
use std::io::Write as _;
use std::thread;
use std::time::Instant;

use astreum_core::crypto::PublicKey;

use crate::config::Seed;
use crate::log::utc_text;
use crate::net::SeedState;
use crate::rpc::{
    Client, IndexReply, PeerReply, PortMappingReply, ProducerReply, PruningReply, RpcAddressReply,
    StatusReply, duration, request,
};

use super::args::{MetricsArgs, PeersArgs, StatusArgs};
use super::node_args::client;
use super::output::{Failure, Output, json_line};
use super::parse;

/// Maximum time that `peers --connect` waits for the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between checks for the answer.
const HANDSHAKE_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Sequence that clears the screen of a terminal, and keeps the lines above it.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

pub(super) fn status(args: &StatusArgs, out: &mut Output) -> Result<(), Failure> {
    let client = client(&args.at)?;
    if let Some(seconds) = args.watch {
        return watch(args, &client, Duration::from_secs(seconds.get()), out);
    }
    let status = client.request(&request::Status {})?;
    let verdict = verdict(args, &status);
    show(args, &client, status, out)?;
    verdict
}

/// Shows the status repeatedly. A node that stops answering is waited for.
fn watch(
    args: &StatusArgs,
    client: &Client,
    pause: Duration,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut is_first = true;
    let has_sequences = std::env::var_os("TERM").is_some_and(|it| !it.is_empty() && it != "dumb");
    let clears = out.is_terminal() && has_sequences;
    loop {
        let reply = client.request(&request::Status {});
        if !args.json && clears {
            out.raw().write_all(CLEAR)?;
        } else if !args.json && !is_first {
            writeln!(out)?;
        }
        match reply {
            Ok(status) => show(args, client, status, out)?,
            Err(error) if is_first => return Err(error.into()),
            Err(error) => out.complain(&error.to_string()),
        }
        is_first = false;
        out.flush()?;
        thread::sleep(pause);
    }
}

pub(super) fn metrics(args: &MetricsArgs, out: &mut Output) -> Result<(), Failure> {
    let text = client(&args.at)?.request(&request::Metrics {})?;
    Ok(out.write_all(text.as_bytes())?)
}

fn show(
    args: &StatusArgs,
    client: &Client,
    status: StatusReply,
    out: &mut Output,
) -> Result<(), Failure> {
    if args.json {
        // The fields are sorted by name.
        let mut fields = serde_json::to_value(&status).map_err(Failure::failed)?;
        if let (true, Some(fields)) = (args.check, fields.as_object_mut()) {
            // As in the replies of /health and /ready.
            let reasons = findings(args, &status);
            fields.insert("ok".to_owned(), reasons.is_empty().into());
            fields.insert("reasons".to_owned(), reasons.into());
        }
        return json_line(out, &fields);
    }
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
    if let Some(rpc) = &status.rpc {
        writeln!(out, "{:<15} {}", "RPC", rpc_line(rpc))?;
    }
    if let Some(pruning) = &status.pruning {
        writeln!(out, "{:<15} {}", "pruning", pruning_line(pruning))?;
    }
    if let Some(mapping) = &status.port_mapping {
        writeln!(out, "{:<15} {}", "port mapping", mapping_line(mapping))?;
    }
    if let Some(index) = &status.transaction_index {
        writeln!(out, "{:<15} {}", "index", index_line(index))?;
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
    Ok(())
}

fn findings(args: &StatusArgs, status: &StatusReply) -> Vec<String> {
    status.findings(args.max_head_age, args.min_peers)
}

/// Returns the result of `--check`.
fn verdict(args: &StatusArgs, status: &StatusReply) -> Result<(), Failure> {
    let findings = findings(args, status);
    if !args.check || findings.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "check failed: {}",
        findings.join("; ")
    )))
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

/// Describes the state of pruning in one line.
fn pruning_line(pruning: &PruningReply) -> String {
    let mut line = match pruning.horizon {
        0 => "nothing is pruned".to_owned(),
        horizon => format!("only headers are kept below height {horizon}"),
    };
    line += &format!("; pins: {}", pruning.pins);
    if let Some(at) = pruning.last_run_unix {
        let (at, bytes) = (utc_text(at), pruning.removed_bytes);
        line += &format!("; last run {at}, {bytes} bytes freed since the start");
    }
    if pruning.running {
        line += "; running";
    }
    line
}

/// Returns the URL of RPC over HTTP, and the path of its token file.
fn rpc_line(rpc: &RpcAddressReply) -> String {
    let url = format!("http://{}", rpc.address);
    match &rpc.token_file {
        Some(path) => format!("{url}, token file {path}"),
        None => url,
    }
}

/// Describes the state of port mapping in one line.
fn mapping_line(mapping: &PortMappingReply) -> String {
    if let Some(error) = &mapping.error {
        return format!("failed: {error}");
    }
    let Some(method) = &mapping.method else {
        return format!("{}: in progress", mapping.mode);
    };
    let ports = mapping.ports.iter().map(|port| {
        let place = match port.external_address {
            Some(address) => address.to_string(),
            None => format!("port {} of the gateway", port.external_port),
        };
        format!("{} {} at {place}", port.protocol, port.port)
    });
    let ports = ports.collect::<Vec<_>>().join(", ");
    let expires = mapping.ports.iter().filter_map(|port| port.expires_seconds);
    let expires = expires
        .min()
        .map(|left| format!(", for {}", duration(left)));
    format!("{ports} by {method}{}", expires.unwrap_or_default())
}

/// Describes the state of the index of transactions in one line.
fn index_line(index: &IndexReply) -> String {
    let mut line = match (&index.from_height, &index.to_height) {
        (Some(from), Some(to)) => format!("transactions of blocks {from} to {to}"),
        _ => "no transactions yet".to_owned(),
    };
    if !index.complete {
        line += match &index.waits_for {
            Some(_) => "; older ones are not available",
            None => "; reading older ones",
        };
    }
    let (files, bytes) = (index.files, index.bytes);
    line + &format!("; {files} files, {bytes} bytes")
}

/// Returns the state of a seed as text.
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
    use crate::rpc::MappedPortReply;

    #[test]
    fn rpc_line_states_the_url_and_the_path_of_the_token() {
        let mut rpc = RpcAddressReply {
            address: "[::1]:52781".parse().unwrap(),
            token_file: None,
        };
        assert_eq!(rpc_line(&rpc), "http://[::1]:52781");
        rpc.token_file = Some("/var/lib/astreum/rpc.token".to_owned());
        assert_eq!(
            rpc_line(&rpc),
            "http://[::1]:52781, token file /var/lib/astreum/rpc.token"
        );
    }

    #[test]
    fn line_states_addresses_or_the_failure() {
        let port = |protocol: &str, external_address, expires_seconds| MappedPortReply {
            protocol: protocol.to_owned(),
            port: 52_780,
            external_port: 52_780,
            external_address,
            expires_seconds,
        };
        let begun = PortMappingReply {
            mode: "auto".to_owned(),
            ..PortMappingReply::default()
        };
        assert_eq!(mapping_line(&begun), "auto: in progress");
        let mapped = PortMappingReply {
            method: Some("PCP".to_owned()),
            ports: vec![
                port("UDP", "203.0.113.7:52780".parse().ok(), Some(7_200)),
                port("TCP", None, Some(7_199)),
            ],
            ..begun.clone()
        };
        assert_eq!(
            mapping_line(&mapped),
            "UDP 52780 at 203.0.113.7:52780, TCP 52780 at port 52780 of the gateway by PCP, for 1 h \
             59 min"
        );
        let failed = PortMappingReply {
            error: Some("no answer".to_owned()),
            ..begun
        };
        assert_eq!(mapping_line(&failed), "failed: no answer");
    }
}
