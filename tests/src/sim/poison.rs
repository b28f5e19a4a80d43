//! Hostile nodes that poison the index and forge handshakes, and the time of joining beside them.

use super::byzantine;
use super::host::address;
use super::world::{SEEDS, World};
use astreum_core::atom::AtomId;
use astreum_core::wire::object::PayloadType;
use core::time::Duration;

/// Maximum time from the start of a node until it has a validated peer.
pub const JOIN_WITHIN: Duration = Duration::from_secs(10);
/// Interval between two forged handshakes in the name of one seed.
const FORGED_PACE: Duration = Duration::from_millis(100);

impl World {
    /// Makes a hostile node advertise an object, for which it serves wrong content.
    pub fn poison(&mut self, number: usize, id: AtomId) {
        self.act(number, |host, now| {
            if let Some(running) = host.running.as_mut().filter(|_| host.is_hostile) {
                running.engine.advertise(now, id, PayloadType::ATOM, None);
            }
        });
    }

    /// Sends a node a handshake of a fresh key in the name of each seed.
    pub fn forge(&mut self, to: usize) {
        for seed in (0..SEEDS).filter(|seed| *seed != to) {
            let from = address(seed);
            let forged = byzantine::handshake(&mut self.random, from.port());
            self.inject(to, from, forged);
        }
    }

    /// Restarts a node with an empty routing table and returns the time until it has a validated
    /// peer. If `is_forging`, handshakes are forged in the names of the seeds meanwhile.
    ///
    /// # Errors
    /// Fails if it does not start, or has no validated peer after [`JOIN_WITHIN`].
    pub fn join(&mut self, number: usize, is_forging: bool) -> Result<Duration, String> {
        self.stop(number);
        if !self.start(number) {
            return Err(format!("node {number} does not start"));
        }
        let began = self.now();
        let has_peer = |world: &Self| {
            let host = world.hosts().get(number);
            let running = host.and_then(|host| host.running.as_ref());
            running.is_some_and(|running| running.engine.peers().any(|peer| peer.is_validated))
        };
        while !has_peer(self) {
            if self.now().since(began) >= JOIN_WITHIN {
                return Err(format!(
                    "node {number} has no validated peer {JOIN_WITHIN:?} after its start"
                ));
            }
            if is_forging {
                self.forge(number);
            }
            self.run(FORGED_PACE);
        }
        Ok(self.now().since(began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: usize = 5;
    const NEWCOMER: usize = 4;

    fn world() -> World {
        let mut world = World::new(7, 6, false);
        for number in 0..6 {
            if let Some(host) = world.host(number) {
                host.is_hostile = number == HOSTILE;
            }
            assert!(world.start(number));
            world.run(Duration::from_millis(50));
        }
        world.run(Duration::from_secs(5));
        world
    }

    fn advertised(world: &World, number: usize) -> usize {
        let running = world.hosts()[number].running.as_ref();
        running.unwrap().engine.advertised().count()
    }

    fn agreements(world: &World) -> u64 {
        let running = world.hosts()[NEWCOMER].running.as_ref();
        running.unwrap().engine.stats().agreements
    }

    #[test]
    fn hostile_nodes_advertise_missing_objects_and_forged_handshakes_arrive() {
        let mut world = world();
        let id = AtomId::new([9; 32]);
        let before = [NEWCOMER, HOSTILE].map(|number| advertised(&world, number));
        world.poison(NEWCOMER, id);
        world.poison(HOSTILE, id);
        let after = [NEWCOMER, HOSTILE].map(|number| advertised(&world, number));
        assert_eq!(after, [before[0], before[1] + 1]);
        let before = agreements(&world);
        world.forge(NEWCOMER);
        world.run(Duration::from_secs(1));
        assert!(
            agreements(&world) > before,
            "the forged keys were not probed"
        );
    }

    #[test]
    fn isolated_node_does_not_join_in_time() {
        let mut world = world();
        world.links.cut(vec![0, 0, 0, 0, 1, 0]);
        assert!(world.join(NEWCOMER, true).is_err());
        world.links.heal();
        assert!(world.join(NEWCOMER, true).is_ok());
    }
}
