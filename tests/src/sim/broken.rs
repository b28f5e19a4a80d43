//! Tests that the promise checks detect hosts that break their contract and operator mistakes.

use super::chain_files::{ChainFiles, Part};
use super::disk::SimDisk;
use super::host::{Host, Sabotage};
use super::ledger::Ledger;
use super::trial::{Settings, run};
use super::world::World;
use astreum_core::atom::AtomId;
use core::time::Duration;

/// Creates a world of two validators and two followers that has made a few blocks.
fn world(seed: u64) -> World {
    let mut world = World::new(seed, 4, true);
    world.set_ledger(Ledger::new(2));
    for number in 0..4 {
        let host = world.host(number).unwrap();
        host.key = (number < 2).then_some(number);
        host.has_seeds = number > 0;
        assert!(world.start(number));
    }
    world.run(Duration::from_secs(40));
    assert!(heights(&world).iter().all(|height| *height > 5));
    world
}

fn heights(world: &World) -> Vec<u64> {
    let height = |host: &Host| Some(host.chain()?.context().head()?.height());
    world.hosts().iter().filter_map(height).collect()
}

#[test]
fn validator_that_ignores_lost_files_creates_a_second_genesis_and_is_detected() {
    for sabotage in [None, Some(Sabotage::StartsAnyway)] {
        let mut world = world(1);
        world.lose(0, Part::ChainDir);
        // Its peers are cut off, so that they cannot supply the chain.
        world.links.cut(vec![1, 0, 0, 0]);
        world.host(0).unwrap().sabotage = sabotage;
        assert!(world.start(0));
        world.run(Duration::from_secs(40));
        let broken = world.promises.broken().unwrap_or_default();
        match sabotage {
            None => assert_eq!(broken, ""),
            Some(_) => assert!(broken.contains("second genesis"), "{broken:?}"),
        }
        // The start without a journal was refused, and the operator recovered from cold storage.
        let refusals = world.hosts()[0].refusals.len();
        assert_eq!(refusals, usize::from(sabotage.is_none()));
    }
}

#[test]
fn isolated_backup_that_signs_twice_is_detected() {
    let mut world = world(2);
    // Files and disk from before the key's next block was made.
    let mut backup: Option<(ChainFiles, SimDisk, AtomId)> = None;
    let (mut random, mut made) = (crate::random::Random::new(3), None);
    for _ in 0..4_000 {
        world.run(Duration::from_millis(50));
        let newest = world.promises.newest(0).map(|(_, block)| block);
        let host = &world.hosts()[0];
        let head = host.chain().unwrap().context().head().unwrap().id();
        if let Some((.., parent)) = &backup
            && made != newest
            && newest.unwrap().parent == *parent
        {
            break;
        }
        made = newest;
        backup = Some((
            host.files.clone(),
            host.disk.after_power_cut(&mut random),
            head,
        ));
    }
    let (files, disk, parent) = backup.unwrap();
    assert_eq!(world.promises.newest(0).unwrap().1.parent, parent);
    world.run(Duration::from_secs(5));
    assert_eq!(world.promises.broken(), None);
    world.cut_power(0);
    world.links.cut(vec![1, 0, 0, 0]);
    let host = world.host(0).unwrap();
    (host.files, host.disk) = (files, disk);
    assert!(world.start(0));
    world.run(Duration::from_secs(60));
    let broken = world.promises.broken().unwrap_or_default();
    assert!(broken.contains("on the same parent"), "{broken:?}");
}

#[test]
fn two_machines_with_one_key_halt_and_one_resumes_after_the_other_stops() {
    let mut world = world(4);
    // Operator mistake: the key may sign two blocks before either node can detect the other.
    world.promises.release_key(1);
    world.configure(2, Some(1));
    world.run(Duration::from_secs(60));
    assert!(world.promises.halts() > 0);
    world.configure(2, None);
    let stopped = world.now();
    world.run(Duration::from_secs(90));
    let (at, _) = world.promises.newest(1).unwrap();
    assert!(at > stopped, "the key signs again");
}

#[test]
fn mempool_lost_at_a_restart_is_detected() {
    let broken = (0..160).step_by(8).find_map(|seed| {
        let settings = Settings {
            sabotage: Some(Sabotage::ForgetsMempool),
            ..Settings::short(seed)
        };
        run(settings).err()
    });
    let what = broken.map(|broken| broken.what).unwrap_or_default();
    assert!(what.contains("in no block and no mempool"), "{what:?}");
}
