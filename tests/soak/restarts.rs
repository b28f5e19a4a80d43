//! Restarts of nodes by request or kill, and checks of their stored atoms.

use crate::catalogue::Holder;
use crate::measured::Operation;
use crate::node::{End, Node};
use crate::traffic::{advertise, fetch_atom};
use crate::world::World;
use astreum_core::atom::AtomId;
use astreum_tests::random::Random;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::thread;
use std::time::Instant;

/// Maximum time until a node has peers and the head of the chain again.
const REJOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Number of earlier stored atoms that are requested after each restart.
const SAMPLE: usize = 20;
/// Maximum downtime of a node that is killed, in milliseconds.
const LONGEST_AWAY_MS: usize = 4_000;

/// Statistics of restarts.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    /// Restarts of nodes that were stopped on request.
    pub(crate) asked: AtomicU64,
    /// Restarts of nodes that were killed.
    pub(crate) killed: AtomicU64,
    /// Acknowledged atoms that were looked for in the files of a stopped node.
    pub(crate) checked: AtomicU64,
    /// Acknowledged atoms that were missing.
    pub(crate) lost: AtomicU64,
}

/// Restarts a node at this interval, until the time is over.
pub(crate) fn run(world: &World, restarts: &Restarts, every: Duration) {
    let mut random = world.random(900);
    let restarted: Vec<&Node> = world
        .nodes
        .iter()
        .filter(|node| node.role.is_restarted())
        .collect();
    let mut turn = 0;
    let mut next = Instant::now() + every;
    while !restarted.is_empty() && world.sleep_until(next) {
        next = (next + every).max(Instant::now());
        let Some(node) = restarted.get(turn % restarted.len()) else {
            return;
        };
        // Over the rounds every node is killed as often as it is stopped on request.
        let is_killed = (turn + turn / restarted.len()).is_multiple_of(2);
        turn += 1;
        let how = if is_killed { End::Killed } else { End::Asked };
        if let Err(problem) = restart(world, restarts, node, how, &mut random) {
            world.measured.failed(Operation::Start, "failed", &problem);
            return;
        }
    }
}

fn restart(
    world: &World,
    restarts: &Restarts,
    node: &Node,
    how: End,
    random: &mut Random,
) -> Result<(), String> {
    node.set_used(false);
    let took = node.end(how)?;
    match how {
        End::Asked => {
            world.measured.took(Operation::Stop, took);
            restarts.asked.fetch_add(1, Ordering::Relaxed);
        }
        End::Killed => {
            restarts.killed.fetch_add(1, Ordering::Relaxed);
        }
    }
    let kept = node.all_kept();
    check_stored(world, restarts, node, &kept)?;
    let away = u64::try_from(random.below(LONGEST_AWAY_MS)).unwrap_or_default();
    thread::sleep(Duration::from_millis(away));
    let began = Instant::now();
    node.start()?;
    world.measured.done(Operation::Start, began);
    for id in sample(&kept, random) {
        let began = Instant::now();
        match fetch_atom(node, &id) {
            Ok(true) => world.measured.done(Operation::GetKept, began),
            Ok(false) => world
                .measured
                .failed(Operation::GetKept, "not found", &id.to_string()),
            Err(problem) => world.measured.failed(Operation::GetKept, "error", &problem),
        }
    }
    // Advertisements do not survive a restart; the user repeats them.
    for item in world.catalogue.of(Holder::Ours(node.number)) {
        if let Err(problem) = advertise(node, &item) {
            world
                .measured
                .failed(Operation::Advertise, "refused", &problem);
        }
    }
    match world.wait_until_joined(node, REJOIN_TIMEOUT) {
        Ok(()) => world.measured.done(Operation::Rejoin, began),
        Err(problem) => world
            .measured
            .failed(Operation::Rejoin, "not in time", &problem),
    }
    node.set_used(true);
    Ok(())
}

/// Checks the files of a stopped node for the atoms that it has acknowledged.
pub(crate) fn check_stored(
    world: &World,
    restarts: &Restarts,
    node: &Node,
    ids: &[AtomId],
) -> Result<(), String> {
    let missing = node.missing_of(ids)?;
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    restarts
        .checked
        .fetch_add(count(ids.len()), Ordering::Relaxed);
    restarts
        .lost
        .fetch_add(count(missing.len()), Ordering::Relaxed);
    for id in missing.iter().take(3) {
        world
            .measured
            .print_line(&format!("LOST: node {} no longer has {id}", node.number));
    }
    Ok(())
}

/// Returns the newest ids, which a crash would lose first, and some of the others.
fn sample(kept: &[AtomId], random: &mut Random) -> Vec<AtomId> {
    let newest = kept.iter().rev().take(SAMPLE / 2).copied();
    let others = (0..SAMPLE / 2).filter_map(|_| kept.get(random.below(kept.len())).copied());
    newest.chain(others).collect()
}
