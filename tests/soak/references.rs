//! Reference nodes: each puts, gets and reads at its own slow pace, one command after the other.
//!
//! Failures here may be caused by the reference itself (it loses answers, polls, sends messages to
//! itself in circles, and a failed handler ends its receiving thread), so they are counted
//! separately and do not miss a bar. A reference that does not answer any more is restarted.

use crate::catalogue::{Holder, Item, for_references};
use crate::ledger::REFERENCE_SENDER;
use crate::measured::{Operation, Pace};
use crate::transfers::reference_recipient;
use crate::world::World;
use astreum_core::atom::AtomId;
use astreum_node::rpc::{TransactionStanding, hex, request};
use astreum_tests::random::Random;
use astreum_tests::reference::{Environment, Reference, Start};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use serde_json::{Value, json};
use std::time::Instant;

/// Number of our nodes that a reference is configured with.
const SEEDS: usize = 4;
/// Maximum time until a transaction of a reference is in a block.
const INCLUSION_TIMEOUT: Duration = Duration::from_secs(40);
/// Interval between two attempts to start a reference.
const START_AGAIN: Duration = Duration::from_secs(5);

/// Shared state of a reference.
#[derive(Debug, Default)]
pub(crate) struct ReferenceSlot {
    process_id: AtomicU32,
    /// Number of times that it had to be restarted.
    pub(crate) died: AtomicU64,
}

impl ReferenceSlot {
    /// Returns its process id, while it runs.
    pub(crate) fn process_id(&self) -> Option<u32> {
        Some(self.process_id.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }
}

/// Runs the reference with this number until the time is over.
pub(crate) fn run(world: &World, environment: &Environment, number: usize, rate: f64) {
    let Some(seat) = world.references.get(number) else {
        return;
    };
    let mut random = world.random(0x1000 + number as u64);
    while !world.is_over() {
        let ended = start(world, environment, number).and_then(|mut reference| {
            seat.process_id
                .store(reference.process_id(), Ordering::Relaxed);
            let ended = work(world, &mut reference, number, rate, &mut random);
            seat.process_id.store(0, Ordering::Relaxed);
            ended
        });
        if let Err(problem) = ended {
            if world.is_over() {
                return;
            }
            seat.died.fetch_add(1, Ordering::Relaxed);
            world
                .measured
                .print_line(&format!("restarting reference {number}: {problem}"));
            world.sleep_until(Instant::now() + START_AGAIN);
        }
    }
}

/// Starts a reference. The first one takes its head from our validator, the others only store.
fn start(world: &World, environment: &Environment, number: usize) -> Result<Reference, String> {
    let validator = world.validator()?;
    let steady = world.nodes.iter().filter(|node| !node.role.is_restarted());
    let seeds: Vec<String> = steady.take(SEEDS).map(|node| node.address()).collect();
    let mut reference = Reference::start(
        environment,
        &Start {
            seeds: &seeds,
            default_seed: (number == 0).then(|| validator.address()),
            config: Some(json!({
                "atom_fetch_interval": 0.05,
                "atom_fetch_retries": 40,
                "storage_index_interval": 120,
            })),
            ..Start::default()
        },
    )?;
    let status = validator.request(&request::Status {});
    let key = status
        .map_err(|error| error.to_string())?
        .public_key
        .to_string();
    reference.wait_for_peer(&key)?;
    Ok(reference)
}

/// Runs its commands in turn. Fails if it must be restarted.
fn work(
    world: &World,
    reference: &mut Reference,
    number: usize,
    rate: f64,
    random: &mut Random,
) -> Result<(), String> {
    let pace = Pace::per_second(rate);
    let mut turn = 0_u64;
    while world.sleep_until(pace.turn()) {
        turn += 1;
        match turn % 20 {
            0 if number == 0 => read_head(world, reference)?,
            10 if number == 0 => send(world, reference)?,
            at if at % 3 == 1 => put(world, reference, number, random)?,
            _ => get(world, reference, random)?,
        }
        if turn.is_multiple_of(20) && reference.ask("status")?.get("alive") != Some(&json!(true)) {
            return Err("a thread of the reference has exited".to_owned());
        }
    }
    Ok(())
}

/// Runs one command and returns its result or its own error. The outer error means that it does not
/// answer.
fn ask(
    reference: &mut Reference,
    command: &str,
    arguments: Value,
) -> Result<Result<Value, String>, String> {
    let mut reply = reference.try_call(command, arguments)?;
    Ok(match reply.get_mut("ok") {
        Some(value) => Ok(value.take()),
        None => Err(reply.to_string()),
    })
}

fn put(
    world: &World,
    reference: &mut Reference,
    number: usize,
    random: &mut Random,
) -> Result<(), String> {
    let (id, atoms) = for_references(random);
    let began = Instant::now();
    for atom in &atoms {
        reference.put(atom)?;
    }
    let item = Item::new(id, &atoms, Holder::Reference(number));
    let kind = if item.is_list() { 2 } else { 1 };
    let arguments = json!({"id": id.to_string(), "type": kind, "ttl": 900});
    match ask(reference, "advertise", arguments)? {
        Ok(_) => {
            world.measured.done(Operation::ReferencePut, began);
            world.catalogue.add(item);
        }
        Err(problem) => world
            .measured
            .failed(Operation::ReferencePut, "error", &problem),
    }
    Ok(())
}

fn get(world: &World, reference: &mut Reference, random: &mut Random) -> Result<(), String> {
    let item = world.catalogue.choose(random, |item| match item.holder {
        Holder::Ours(number) => item.suits_references() && world.connected(number).is_some(),
        Holder::Reference(_) => false,
    });
    let Some(item) = item else {
        return Ok(());
    };
    let Holder::Ours(holder) = item.holder else {
        return Ok(());
    };
    let epoch = world.connected(holder).map(|(_, epoch)| epoch);
    let operation = Operation::ReferenceGet;
    let command = if item.is_list() { "get_list" } else { "get" };
    let began = Instant::now();
    let reply = ask(reference, command, json!({"id": item.id.to_string()}))?;
    let is_still = world.connected(holder).map(|(_, epoch)| epoch) == epoch;
    let problem = match &reply {
        Ok(value) if is_found(value, &item) => {
            world.measured.done(operation, began);
            return Ok(());
        }
        _ if !is_still => {
            world.measured.excused(operation);
            return Ok(());
        }
        Ok(_) => "not found",
        Err(_) => "error",
    };
    let detail = format!(
        "{} ({} atoms) of node {holder}: {reply:?}",
        item.id, item.atoms
    );
    world.measured.failed(operation, problem, &detail);
    Ok(())
}

fn is_found(reply: &Value, item: &Item) -> bool {
    match item.is_list() {
        true => reply
            .as_array()
            .is_some_and(|atoms| atoms.len() == item.atoms),
        false => reply.get("atom").is_some_and(|atom| !atom.is_null()),
    }
}

fn read_head(world: &World, reference: &mut Reference) -> Result<(), String> {
    let began = Instant::now();
    match ask(reference, "block", json!({}))? {
        Ok(_) => world.measured.done(Operation::ReferenceBlock, began),
        Err(problem) => world
            .measured
            .failed(Operation::ReferenceBlock, "error", &problem),
    }
    Ok(())
}

/// Announces a transaction to our validator and waits until a block has it.
fn send(world: &World, reference: &mut Reference) -> Result<(), String> {
    let validator = world.validator()?;
    let status = validator.request(&request::Status {});
    let key = status
        .map_err(|error| error.to_string())?
        .public_key
        .to_string();
    let operation = Operation::ReferenceSend;
    let began = Instant::now();
    let arguments = json!({
        "secret": hex(&REFERENCE_SENDER),
        "recipient": reference_recipient(),
        "amount": 1,
        "counter": world.ledger.number(),
        "key": key,
    });
    let id: AtomId = match ask(reference, "post_transaction", arguments)? {
        Ok(id) => {
            let id = id.as_str().unwrap_or_default();
            id.parse().map_err(|_| format!("{id} is not an id"))?
        }
        Err(problem) => {
            world.measured.failed(operation, "error", &problem);
            return Ok(());
        }
    };
    while began.elapsed() < INCLUSION_TIMEOUT && !world.is_over() {
        let request = request::TransactionStatus {
            id,
            wait_seconds: 5,
            until_safe: false,
        };
        match validator.request(&request) {
            Ok(status) if status.state == TransactionStanding::Success => {
                world.measured.done(operation, began);
                return Ok(());
            }
            Ok(status) if status.is_final() => {
                world
                    .measured
                    .failed(operation, &status.state.to_string(), &format!("{status:?}"));
                return Ok(());
            }
            _ => {}
        }
    }
    if !world.is_over() {
        world
            .measured
            .failed(operation, "not in a block", &id.to_string());
    }
    Ok(())
}
