//! Memory growth of nodes under steady load, over hours of virtual time.
//!
//! Validators and followers run in one thread as in the simulation, with transactions, puts and
//! gets at steady rates. Every hour, the program prints the live heap bytes that each node holds
//! beyond its stores: without the atoms in memory, and without the index of cold storage. The exit
//! code is 1 if a node grows by more than the limit in an hour after the first, and 2 if a node
//! does not start.

use astreum_core::atom::{Atom, AtomId};
use astreum_core::time::Instant;
use astreum_core::wire::object::PayloadType;
use astreum_tests::heap::{self, Owned, Part};
use astreum_tests::sim::batch;
use astreum_tests::sim::host::Host;
use astreum_tests::sim::ledger::Ledger;
use astreum_tests::sim::links::LinkConditions;
use astreum_tests::sim::world::World;
use clap::Parser;
use core::time::Duration;
use std::collections::VecDeque;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Owned = Owned;

/// Time for which a put is advertised, in seconds.
const ADVERTISED_SECONDS: u64 = 900;

/// Measures the memory growth of nodes under steady load.
#[derive(Parser)]
#[command(name = "growth")]
struct Arguments {
    /// Seed of all random decisions.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Hours of virtual time.
    #[arg(long, default_value_t = 9)]
    hours: u64,
    /// Number of nodes; the first ones are validators.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=20))]
    nodes: u8,
    /// Number of validators.
    #[arg(long, default_value_t = 1)]
    validators: u8,
    /// Interval between two transactions, in seconds.
    #[arg(long, default_value_t = 2)]
    transaction_seconds: u64,
    /// Interval between two puts, and between two gets, in seconds.
    #[arg(long, default_value_t = 4)]
    put_seconds: u64,
    /// Maximum growth of a node in an hour after the first, in KiB.
    #[arg(long, default_value_t = 1_024)]
    limit_kib: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let nodes = usize::from(arguments.nodes);
    let mut world = World::new(arguments.seed, nodes, true);
    world.links.conditions = LinkConditions::GOOD;
    world.set_ledger(Ledger::new(usize::from(arguments.validators)));
    for number in 0..nodes {
        if let Some(host) = world.host(number) {
            host.cold_limit_bytes = 64 << 30;
            host.cold_level_bytes = 256 << 10;
            host.has_seeds = number > 0;
            host.key = (number < usize::from(arguments.validators)).then_some(number);
        }
        if !world.start(number) {
            eprintln!("node {number} does not start");
            return ExitCode::from(2);
        }
        world.run(Duration::from_millis(50));
    }
    let mut load = Load::default();
    let mut before: Vec<u64> = vec![0; nodes];
    let mut is_within = true;
    for hour in 1..=arguments.hours {
        for second in 0..3_600 {
            load.second(&mut world, &arguments, second);
        }
        let height = world.hosts().iter().filter_map(Host::chain);
        let height = height
            .filter_map(|chain| Some(chain.context().head()?.height()))
            .max();
        println!(
            "hour {hour}: height {}, {} of {} gets of other nodes' objects succeeded",
            height.unwrap_or(0),
            load.found,
            load.found + load.missed
        );
        for (number, before) in before.iter_mut().enumerate() {
            let held = print_node(&world, number);
            let grown = i128::from(held) - i128::from(*before);
            println!(
                "  node {number}: {} KiB beyond its stores, {:+} KiB",
                held >> 10,
                grown / 1_024
            );
            *before = held;
            is_within &= hour == 1 || grown <= i128::from(arguments.limit_kib) << 10;
        }
    }
    println!(
        "{}",
        if is_within {
            "every node stays within the limit"
        } else {
            "the limit is exceeded"
        }
    );
    // Exits without dropping the world, which would only take time.
    std::process::exit(i32::from(!is_within));
}

/// Prints the live bytes of each part of a node; returns the bytes that it holds beyond its stores.
fn print_node(world: &World, number: usize) -> u64 {
    let running = world
        .hosts()
        .get(number)
        .and_then(|host| host.running.as_ref());
    let Some(running) = running else { return 0 };
    let index = running
        .store
        .cold()
        .map_or(0, |cold| cold.stats().memory_bytes);
    let hot = running.store.hot_stats().used_bytes;
    let parts = Part::ALL.map(|part| (part, heap::live_bytes(number, part)));
    for (part, live) in parts {
        print!("  {} {live}", part.name());
    }
    println!("  index {index} hot {hot}");
    // Atoms in memory count for the part that has read or created them. Hot storage is full after
    // minutes and then does not grow.
    let live: u64 = parts.iter().map(|(_, live)| live).sum();
    live.saturating_sub(index).saturating_sub(hot)
}

/// Load and its results.
#[derive(Default)]
struct Load {
    batches: u64,
    /// Newest puts: the node, and the ids of the atoms.
    put: VecDeque<(usize, Vec<AtomId>)>,
    found: u64,
    missed: u64,
}

impl Load {
    fn second(&mut self, world: &mut World, arguments: &Arguments, second: u64) {
        let nodes = usize::from(arguments.nodes);
        if second.is_multiple_of(arguments.transaction_seconds.max(1)) {
            let node = world.random.below(nodes);
            world.pay(node);
            world.note_accepted();
        }
        if second.is_multiple_of(arguments.put_seconds.max(1)) {
            self.batches += 1;
            let node = world.random.below(nodes);
            let atoms = batch(arguments.seed.rotate_left(20) ^ self.batches);
            let ids = atoms.iter().map(|(id, _)| *id).collect();
            self.put.push_back((node, ids));
            world.act(node, |host, now| put(host, now, atoms));
            let at = world.random.below(self.put.len());
            if let Some((owner, ids)) = self.put.get(at)
                && let Some(id) = ids.first()
            {
                let others = world.random.below(nodes - 1);
                world.look_up((owner + 1 + others) % nodes, *id);
            }
            // Puts are requested only in the first half of the time in which they are advertised.
            let kept = ADVERTISED_SECONDS / 2 / arguments.put_seconds.max(1);
            if self.put.len() as u64 > kept {
                self.put.pop_front();
            }
        }
        world.run(Duration::from_secs(1));
        for found in world.found.drain(..) {
            match found.took {
                Some(_) => self.found += 1,
                None => self.missed += 1,
            }
        }
    }
}

/// Puts atoms and advertises them for [`ADVERTISED_SECONDS`].
fn put(host: &mut Host, now: Instant, atoms: Vec<(AtomId, Atom)>) {
    let number = host.number;
    let Some(running) = host.running.as_mut() else {
        return;
    };
    let ids: Vec<AtomId> = atoms.iter().map(|(id, _)| *id).collect();
    let scope = heap::enter(number, Part::Store);
    let is_stored = running.store.put_all(atoms).is_ok();
    drop(scope);
    let _scope = heap::enter(number, Part::Engine);
    for id in ids.into_iter().filter(|_| is_stored) {
        let until = Some(now + Duration::from_secs(ADVERTISED_SECONDS));
        running.engine.advertise(now, id, PayloadType::ATOM, until);
    }
}
