//! Reads of cold storage for requests of peers, on separate threads.
//!
//! The engine decides order, turns and budgets; this module runs the threads. A read that panics
//! stops the node, like any other panic of its threads.

use super::command::{Command, CommandSender};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::runtime::WorkerPool;
use crate::store::Store;
use astreum_core::engine::{Engine, limits};
use astreum_core::time::Instant;
use core::time::Duration;
use std::io;

/// Time that one peer may read before others have their turn; reads end at whole atoms.
const TURN: Duration = Duration::from_millis(1);

/// Worker pool that runs the engine's reads and returns their results to the loop as commands.
pub(super) struct Readers {
    pool: WorkerPool,
    store: Store,
    sender: CommandSender,
    clock: Clock,
}

impl Readers {
    pub(super) fn start(
        store: Store,
        sender: CommandSender,
        clock: Clock,
        failure: &Failure,
    ) -> io::Result<Self> {
        // One thread per read in progress: no read waits for another.
        let threads = limits::MAX_CONCURRENT_READS;
        Ok(Self {
            pool: WorkerPool::new("read", threads, threads, failure)?,
            store,
            sender,
            clock,
        })
    }

    /// Starts the reads that the engine requests.
    pub(super) fn drain(&self, now: Instant, engine: &mut Engine) {
        while let Some(read) = engine.poll_read(now) {
            let given_up = read.clone();
            let (store, sender, clock) = (self.store.clone(), self.sender.clone(), self.clock);
            let job = move || {
                let end = clock.now() + TURN;
                let done = read.run(&store.served(), || clock.now() < end);
                // Fails only after the loop has ended.
                let _ = sender.send(Command::ReadDone(done));
            };
            if self.pool.try_run(job).is_err() {
                engine.handle_read(now, given_up.give_up());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FetchFailure, Network};
    use super::*;
    use crate::config::{Config, Settings};
    use crate::store::cold::{ColdOptions, ColdStore};
    use crate::store::disk::{DirEntry, DirLock, Disk, DiskFile, FileId, SystemDisk};
    use astreum_core::atom::{Atom, AtomId};
    use astreum_core::crypto::SecretKey;
    use astreum_core::wire::object::PayloadType;
    use core::net::{Ipv4Addr, SocketAddr};
    use std::path::Path;
    use std::sync::{Arc, Condvar, Mutex};
    use std::thread::JoinHandle;
    use tempfile::TempDir;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum State {
        Reads,
        /// Reads of network readers block.
        Stuck,
        Panics,
    }

    /// State of a simulated disk, and the number of blocked reads.
    #[derive(Debug)]
    struct Gate {
        state: Mutex<(State, usize)>,
        changed: Condvar,
    }

    impl Gate {
        fn set(&self, state: State) {
            self.state.lock().unwrap().0 = state;
            self.changed.notify_all();
        }

        fn pass(&self) {
            let mut state = self.state.lock().unwrap();
            state.1 += 1;
            self.changed.notify_all();
            while state.0 == State::Stuck {
                state = self.changed.wait(state).unwrap();
            }
            state.1 -= 1;
            let panics = state.0 == State::Panics;
            drop(state);
            assert!(!panics, "the disk is gone");
        }

        /// Waits until a read blocks.
        fn wait_for_read(&self) {
            let mut state = self.state.lock().unwrap();
            while state.1 == 0 {
                state = self.changed.wait(state).unwrap();
            }
        }
    }

    #[derive(Debug)]
    struct GatedDisk(Arc<Gate>);

    struct GatedFile(Arc<dyn DiskFile>, Arc<Gate>);

    impl DiskFile for GatedFile {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn identity(&self) -> io::Result<FileId> {
            self.0.identity()
        }

        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.1.pass();
            self.0.read_exact_at(buffer, offset)
        }

        fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            self.0.write_all_at(bytes, offset)
        }

        fn sync(&self) -> io::Result<()> {
            self.0.sync()
        }
    }

    impl Disk for GatedDisk {
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            SystemDisk.create_dir(path)
        }

        fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
            SystemDisk.list(path)
        }

        fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
            let file = SystemDisk.create(path)?;
            Ok(Arc::new(GatedFile(file, Arc::clone(&self.0))))
        }

        fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
            let file = SystemDisk.open(path)?;
            Ok(Arc::new(GatedFile(file, Arc::clone(&self.0))))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            SystemDisk.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            SystemDisk.remove(path)
        }

        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            SystemDisk.sync_dir(path)
        }

        fn identity(&self, path: &Path) -> io::Result<Option<FileId>> {
            SystemDisk.identity(path)
        }

        fn lock(&self, root: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
            SystemDisk.lock(root)
        }
    }

    fn network(n: u8, store: Store, failure: &Failure) -> Network {
        let config = Config {
            incoming_port: 0,
            default_seed: None,
            atom_fetch_interval: Duration::from_secs(10),
            ..Config::default()
        };
        let secret = SecretKey::from_bytes([n; 32]);
        Network::start(&config.resolve().unwrap(), secret, [n; 32], store, failure).unwrap()
    }

    /// Node whose disk can be stopped, and a peer of it.
    struct Pair {
        gate: Arc<Gate>,
        failure: Failure,
        server: Network,
        client: Arc<Network>,
        in_memory: AtomId,
        on_disk: AtomId,
        _folder: TempDir,
    }

    impl Pair {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let gate = Arc::new(Gate {
                state: Mutex::new((State::Reads, 0)),
                changed: Condvar::new(),
            });
            let disk = Arc::new(GatedDisk(Arc::clone(&gate)));
            let options = ColdOptions::from(&Settings::default());
            let cold = ColdStore::open_on(disk, folder.path(), options).unwrap();
            let store = Store::with_cold(1 << 20, Some(cold));
            let [in_memory, on_disk] =
                [*b"memory", *b"a disk"].map(|data| store.put(Atom::bytes(data)).unwrap().0);
            store.remove(&on_disk).unwrap();
            let failure = Failure::default();
            let server = network(1, store, &failure);
            let client = network(2, Store::new(1 << 20), &Failure::default());
            let there = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
            client.handle().contact(there).unwrap();
            Self {
                gate,
                failure,
                server,
                client: Arc::new(client),
                in_memory,
                on_disk,
                _folder: folder,
            }
        }

        fn fetch(&self, id: AtomId) -> JoinHandle<Result<Vec<Atom>, FetchFailure>> {
            let client = Arc::clone(&self.client);
            std::thread::spawn(move || client.handle().fetch(id, PayloadType::ATOM))
        }
    }

    #[test]
    fn unresponsive_disk_does_not_delay_objects_in_memory() {
        let pair = Pair::new();
        pair.gate.set(State::Stuck);
        let slow = pair.fetch(pair.on_disk);
        pair.gate.wait_for_read();
        // The blocked read ends only after this fetch.
        let came = pair.fetch(pair.in_memory).join().unwrap().unwrap();
        assert_eq!(came, [Atom::bytes(*b"memory")]);
        assert!(!slow.is_finished());
        pair.gate.set(State::Reads);
        let came = slow.join().unwrap().unwrap();
        assert_eq!(came, [Atom::bytes(*b"a disk")]);
        assert_eq!(pair.failure.panic(), None);
    }

    #[test]
    fn shutdown_ends_the_readers() {
        let pair = Pair::new();
        pair.gate.set(State::Stuck);
        let slow = pair.fetch(pair.on_disk);
        pair.gate.wait_for_read();
        let Pair { server, gate, .. } = pair;
        let handle = server.handle();
        let ending = std::thread::spawn(move || drop(server));
        // The loop has ended or is about to; it waits for its readers.
        while handle.status().is_ok() {
            std::thread::yield_now();
        }
        gate.set(State::Reads);
        ending.join().unwrap();
        drop(slow);
    }

    #[test]
    fn panic_of_a_reader_stops_the_node() {
        let pair = Pair::new();
        pair.gate.set(State::Panics);
        drop(pair.fetch(pair.on_disk));
        while pair.server.handle().status().is_ok() {
            std::thread::yield_now();
        }
        let panic = pair.failure.panic().unwrap();
        assert!(panic.thread.starts_with("read-"), "{panic}");
        assert_eq!(panic.message, "the disk is gone");
    }
}
