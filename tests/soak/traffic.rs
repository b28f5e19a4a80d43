//! Puts and gets of nodes of ours.

use crate::catalogue::{ADVERTISED_SECONDS, Holder, Item, random_object};
use crate::measured::{Measured, Operation, Pace};
use crate::node::Node;
use crate::world::World;
use astreum_core::atom::{Atom, AtomId};
use astreum_node::rpc::{ClientError, request};
use core::time::Duration;
use std::thread;
use std::time::Instant;

/// Number of attempts until an object counts as not found.
const TRIES: u32 = 4;
/// Interval between two attempts.
const RETRY: Duration = Duration::from_secs(1);

/// Puts objects at nodes of ours until the time is over.
pub(crate) fn put(world: &World, pace: &Pace, thread: u64) {
    let mut random = world.random(thread);
    while world.sleep_until(pace.turn()) {
        let Some((node, epoch)) = world.random_node(&mut random) else {
            continue;
        };
        let (id, atoms) = random_object(&mut random);
        let began = Instant::now();
        match keep(node, &atoms) {
            Ok(()) => world.measured.done(Operation::Put, began),
            Err(problem) => {
                world.unless_restarted(node, epoch, Operation::Put, "refused", &problem);
                continue;
            }
        }
        let began = Instant::now();
        let item = Item::new(id, &atoms, Holder::Ours(node.number));
        match advertise(node, &item) {
            Ok(()) => {
                world.measured.done(Operation::Advertise, began);
                world.catalogue.add(item);
            }
            Err(problem) => {
                world.unless_restarted(node, epoch, Operation::Advertise, "refused", &problem);
            }
        }
    }
}

/// Stores atoms at a node; acknowledged ones must never be lost.
fn keep(node: &Node, atoms: &[Atom]) -> Result<(), String> {
    let ids: Vec<AtomId> = atoms.iter().map(Atom::id).collect();
    let atoms = atoms.to_vec();
    let reply = node
        .request(&request::Put { atoms })
        .map_err(|error| error.to_string())?;
    if !reply.durable {
        return Err("the put is not durable".to_owned());
    }
    if reply.ids != ids {
        return Err(format!("it names {:?}", reply.ids));
    }
    node.keeps(&ids);
    Ok(())
}

/// Advertises an object from a node.
pub(crate) fn advertise(node: &Node, item: &Item) -> Result<(), String> {
    let request = request::Advertise {
        id: item.id,
        list: item.is_list(),
        expires_seconds: Some(ADVERTISED_SECONDS),
    };
    node.request(&request)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Gets objects of others at nodes of ours until the time is over.
pub(crate) fn get(world: &World, pace: &Pace, thread: u64) {
    let mut random = world.random(thread);
    while world.sleep_until(pace.turn()) {
        let Some((node, epoch)) = world.random_node(&mut random) else {
            continue;
        };
        let own = Holder::Ours(node.number);
        let from_reference = random.below(8) == 0;
        let chosen = world
            .catalogue
            .choose(&mut random, |item| match item.holder {
                Holder::Reference(_) => from_reference,
                Holder::Ours(number) => {
                    !from_reference && item.holder != own && world.connected(number).is_some()
                }
            });
        if let Some(item) = chosen {
            get_item(world, node, epoch, &item);
        }
    }
}

fn get_item(world: &World, node: &Node, epoch: u64, item: &Item) {
    let (operation, holder) = match item.holder {
        Holder::Ours(number) => (Operation::Get, world.connected(number)),
        Holder::Reference(_) => (Operation::GetFromReference, None),
    };
    let holds_still = || holder.is_none_or(|(holder, epoch)| holder.is_still(epoch));
    let began = Instant::now();
    for tries in 0..TRIES {
        let this_began = Instant::now();
        match fetch(node, item) {
            Ok(true) if tries == 0 => return world.measured.done(operation, began),
            Ok(true) => {
                let kind = format!("not found at first, found {} s later", tries);
                let waited = this_began.duration_since(began);
                let detail = format!(
                    "{} by node {} from {:?} after {waited:.1?}",
                    item.id, node.number, item.holder
                );
                return world.measured.failed(operation, &kind, &detail);
            }
            Ok(false) if !holds_still() || !node.is_still(epoch) => {
                return world.measured.excused(operation);
            }
            Ok(false) => {
                thread::sleep(RETRY);
            }
            Err(problem) => {
                if !holds_still() {
                    return world.measured.excused(operation);
                }
                let detail = format!("{} by node {}: {problem}", item.id, node.number);
                return world.unless_restarted(node, epoch, operation, "error", &detail);
            }
        }
        if world.is_over() {
            return;
        }
    }
    let detail = format!(
        "{} ({} atoms) by node {} from {:?}",
        item.id, item.atoms, node.number, item.holder
    );
    world.measured.failed(operation, "not found", &detail);
}

/// Gets all of an item and compares it with the request; `false` if it was not found.
fn fetch(node: &Node, item: &Item) -> Result<bool, String> {
    match item.is_list() {
        false => fetch_atom(node, &item.id),
        true => fetch_list(node, &item.id, item.atoms),
    }
}

/// Gets an atom; `false` if it was not found.
pub(crate) fn fetch_atom(node: &Node, id: &AtomId) -> Result<bool, String> {
    let request = request::Get { id: *id };
    let reply = match node.request(&request) {
        Ok(reply) => reply,
        Err(error) => return missing(error),
    };
    match reply.atom()?.id() == *id {
        true => Ok(true),
        false => Err("the reply is another atom".to_owned()),
    }
}

fn fetch_list(node: &Node, id: &AtomId, count: usize) -> Result<bool, String> {
    let request = request::GetList { id: *id };
    let reply = match node.request(&request) {
        Ok(reply) => reply,
        Err(error) => return missing(error),
    };
    let mut next = *id;
    for atom in &reply.atoms {
        if atom.id() != next {
            return Err("the list has another atom".to_owned());
        }
        next = atom.next();
    }
    match reply.atoms.len() == count && next.is_zero() {
        true => Ok(true),
        false => Err(format!("{} of {count} atoms arrived", reply.atoms.len())),
    }
}

fn missing(error: ClientError) -> Result<bool, String> {
    match error {
        ClientError::Refused(reply) if reply.is_missing() => Ok(false),
        error => Err(error.to_string()),
    }
}

impl World {
    /// Records a failure, as an expected one if the node is being restarted.
    pub(crate) fn unless_restarted(
        &self,
        node: &Node,
        epoch: u64,
        operation: Operation,
        kind: &str,
        detail: &str,
    ) {
        let measured: &Measured = &self.measured;
        match node.is_still(epoch) {
            true => measured.failed(operation, kind, &format!("node {}: {detail}", node.number)),
            false => measured.excused(operation),
        }
    }
}
