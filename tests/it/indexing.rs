//! Provider index: a node advertises an atom to the nodes nearest to it, where others find it.

#![expect(clippy::indexing_slicing, reason = "a failure fails the test")]

use astreum_core::atom::{Atom, AtomId};
use astreum_tests::sim::host::address;
use astreum_tests::sim::world::World;
use core::time::Duration;

const NODES: usize = 8;

/// Creates nodes that know each other.
fn world() -> World {
    let mut world = World::new(1, NODES, false);
    for number in 0..NODES {
        world.start(number);
        world.run(Duration::from_millis(100));
    }
    world.run(Duration::from_secs(60));
    world
}

/// Returns the nodes that have a provider record of this atom.
fn indexed_at(world: &World, id: &AtomId) -> Vec<usize> {
    let knows = |number: &usize| {
        let running = world.hosts()[*number].running.as_ref();
        let mut records = running.into_iter().flat_map(|node| node.engine.providers());
        records.any(|(provided, provider)| provided == id && provider.address == address(0))
    };
    (0..NODES).filter(knows).collect()
}

#[test]
fn put_objects_are_indexed_by_peers_and_found_through_them() {
    let mut world = world();
    let (mut indexed, mut found) = (0, 0);
    for number in 0..20_u32 {
        let atom = Atom::bytes(number.to_be_bytes());
        let id = atom.id();
        world.put(0, vec![(id, atom)]);
        world.run(Duration::from_secs(1));
        let at = indexed_at(&world, &id);
        // Where the owner itself is the nearest, lookups end at the owner.
        indexed += usize::from(!at.is_empty());
        assert!(at.len() <= 3 && !at.contains(&0), "{at:?}");
        world.found.clear();
        world.look_up(NODES - 1, id);
        world.run(Duration::from_secs(5));
        found += usize::from(world.found.iter().any(|found| found.took.is_some()));
    }
    assert!(indexed >= 10, "only {indexed} of 20 were indexed");
    assert_eq!(found, 20);
}

#[test]
fn provider_record_expires_unless_repeated() {
    let mut world = world();
    let atoms: Vec<_> = (0..20_u32)
        .map(|number| Atom::bytes(number.to_be_bytes()))
        .map(|atom| (atom.id(), atom))
        .collect();
    let ids: Vec<AtomId> = atoms.iter().map(|(id, _)| *id).collect();
    world.put(0, atoms);
    world.run(Duration::from_secs(1));
    let known = |world: &World| ids.iter().any(|id| !indexed_at(world, id).is_empty());
    assert!(known(&world));
    world.cut_power(0);
    world.run(Duration::from_secs(1_900));
    assert!(!known(&world));
}
