//! Resolver of seed names, on a separate thread.
//!
//! Invariants:
//! - A lookup that hangs delays no other part: the loop only sends requests, and receives
//!   everything known so far after each name. Numeric addresses are delivered first.
//! - A name that no longer resolves keeps its previous addresses.
//! - A failed lookup is logged once, not at each retry.

use crate::failure::Failure;
use crate::log;
use core::net::SocketAddr;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Maximum number of addresses taken from one name.
const ADDRESSES_PER_NAME: usize = 4;

/// Configured seeds: `host:port` or `[ipv6]:port`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SeedNames {
    /// Default seed, if there is one.
    pub default: Option<String>,
    /// Additional seeds.
    pub additional: Vec<String>,
}

/// Addresses of seeds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SeedAddresses {
    /// Addresses of the default seed.
    pub default: Vec<SocketAddr>,
    /// Addresses of the additional seeds.
    pub additional: Vec<SocketAddr>,
    /// State of each seed, in the order of the configuration.
    pub states: Vec<SeedState>,
}

/// State of a seed after its last lookup.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize, serde::Serialize)]
pub struct SeedState {
    /// Configured name and port.
    pub name: String,
    /// Addresses of the last successful lookup.
    pub addresses: Vec<SocketAddr>,
    /// Reason the last lookup found no address.
    pub error: Option<String>,
}

/// Set of seeds to look up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// All seeds, because addresses change.
    All,
    /// Seeds whose last lookup failed.
    Failed,
}

/// Handle of the resolver thread, which ends when this is dropped and no lookup is in progress.
#[derive(Debug)]
pub struct Resolver {
    requests: SyncSender<Lookup>,
}

impl Resolver {
    /// Starts the thread, which calls `deliver` with everything known so far after each change.
    /// `deliver` returns whether there is still a receiver.
    ///
    /// # Errors
    /// Fails if the system cannot create a thread.
    pub fn start(
        names: &SeedNames,
        use_ipv6: bool,
        failure: Failure,
        deliver: impl FnMut(SeedAddresses) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let (requests, receiver) = sync_channel(1);
        let round = Round::new(names, use_ipv6);
        // The thread is not joined: a lookup can take as long as the system's resolver does.
        std::thread::Builder::new()
            .name("resolve".into())
            .spawn(move || {
                let _ = failure.watch(|| run(round, &receiver, lookup, deliver));
            })?;
        Ok(Self { requests })
    }

    /// Requests a round of lookups; returns `false` if another one is queued.
    pub fn request(&self, lookup: Lookup) -> bool {
        self.requests.try_send(lookup).is_ok()
    }
}

fn run(
    mut round: Round,
    requests: &Receiver<Lookup>,
    mut lookup: impl FnMut(&str) -> io::Result<Vec<SocketAddr>>,
    mut deliver: impl FnMut(SeedAddresses) -> bool,
) {
    let mut delivered = false;
    while let Ok(wanted) = requests.recv() {
        for at in 0..round.seeds.len() {
            if wanted == Lookup::Failed && !round.has_failed(at) {
                continue;
            }
            let changed = round.resolve(at, &mut lookup);
            let first = !delivered && at + 1 == round.seeds.len();
            if changed || first {
                delivered = true;
                if !deliver(round.addresses()) {
                    return;
                }
            }
        }
    }
}

fn lookup(name: &str) -> io::Result<Vec<SocketAddr>> {
    name.to_socket_addrs().map(Iterator::collect)
}

#[derive(Debug)]
struct Seed {
    name: String,
    is_default: bool,
    addresses: Vec<SocketAddr>,
    /// Reason the last lookup failed.
    error: Option<String>,
    /// Index in the configuration.
    place: usize,
}

#[derive(Debug)]
struct Round {
    seeds: Vec<Seed>,
    use_ipv6: bool,
}

impl Round {
    fn new(names: &SeedNames, use_ipv6: bool) -> Self {
        let default = names.default.iter().map(|name| (name, true));
        let additional = names.additional.iter().map(|name| (name, false));
        let all = default.chain(additional).enumerate();
        let mut seeds: Vec<Seed> = all
            .map(|(place, (name, is_default))| Seed {
                name: name.clone(),
                is_default,
                addresses: Vec::new(),
                error: None,
                place,
            })
            .collect();
        // The sort is stable: numeric addresses first, each group in the order of the
        // configuration.
        seeds.sort_by_key(|seed| seed.name.parse::<SocketAddr>().is_err());
        Self { seeds, use_ipv6 }
    }

    /// Returns whether the last lookup of a seed failed.
    fn has_failed(&self, at: usize) -> bool {
        self.seeds.get(at).is_some_and(|seed| seed.error.is_some())
    }

    /// Looks up one name; returns whether its addresses or its error changed.
    fn resolve(
        &mut self,
        at: usize,
        lookup: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>>,
    ) -> bool {
        let use_ipv6 = self.use_ipv6;
        let Some(seed) = self.seeds.get_mut(at) else {
            return false;
        };
        let mut found = lookup(&seed.name);
        if let Ok(addresses) = &mut found {
            addresses.retain(|address| use_ipv6 || address.is_ipv4());
            // IPv4 first, because every node has it. Sorted, so that a rotating answer is not a
            // change.
            addresses.sort_unstable();
            addresses.dedup();
            addresses.truncate(ADDRESSES_PER_NAME);
        }
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                let had_failed = seed.error.take().is_some();
                let changed = had_failed || seed.addresses != addresses;
                if !seed.addresses.is_empty() && seed.addresses != addresses {
                    log::info!("addresses of seed {} changed: {addresses:?}", seed.name);
                }
                seed.addresses = addresses;
                changed
            }
            failure => {
                let reason = failure.err().map_or_else(
                    || "no address of a supported family".into(),
                    |error| error.to_string(),
                );
                let is_new = seed.error.is_none();
                if is_new {
                    log::warn!("failed to resolve seed {}: {reason}; retrying", seed.name);
                }
                seed.error = Some(reason);
                is_new
            }
        }
    }

    fn addresses(&self) -> SeedAddresses {
        let of = |is_default| {
            self.seeds
                .iter()
                .filter(move |seed| seed.is_default == is_default)
                .flat_map(|seed| seed.addresses.iter().copied())
                .collect()
        };
        let mut seeds: Vec<&Seed> = self.seeds.iter().collect();
        seeds.sort_by_key(|seed| seed.place);
        let state = |seed: &&Seed| SeedState {
            name: seed.name.clone(),
            addresses: seed.addresses.clone(),
            error: seed.error.clone(),
        };
        SeedAddresses {
            default: of(true),
            additional: of(false),
            states: seeds.iter().map(state).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use std::sync::mpsc::channel;

    fn names(default: Option<&str>, additional: &[&str]) -> SeedNames {
        SeedNames {
            default: default.map(Into::into),
            additional: additional.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn ip_addresses_come_first_and_failures_keep_known_addresses() {
        let mut round = Round::new(&names(Some("seed.example:1"), &["127.0.0.1:2"]), false);
        assert_eq!(round.seeds[0].name, "127.0.0.1:2");
        let known: SocketAddr = "10.0.0.1:1".parse().unwrap();
        assert!(round.resolve(1, |_| Ok(vec![known])));
        assert!(!round.resolve(1, |_| Ok(vec![known])));
        assert!(round.resolve(1, |_| Err(io::ErrorKind::TimedOut.into())));
        assert!(!round.resolve(1, |_| Err(io::ErrorKind::TimedOut.into())));
        assert_eq!(round.addresses().default, [known]);
        assert!(round.has_failed(1));
        assert_eq!(round.addresses().states[0].name, "seed.example:1");
        assert!(round.addresses().states[0].error.is_some());
        assert!(round.resolve(1, |_| Ok(vec![known])));
        assert!(!round.has_failed(1));
    }

    #[test]
    fn failed_names_are_looked_up_again_and_changed_addresses_delivered() {
        let addresses: Vec<SocketAddr> =
            vec!["10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap()];
        let round = Round::new(&names(Some("seed.example:1"), &["other.example:1"]), false);
        let (requests, receiver) = sync_channel(8);
        for lookup in [Lookup::All, Lookup::Failed, Lookup::Failed, Lookup::All] {
            requests.send(lookup).unwrap();
        }
        drop(requests);
        let (mut asked, mut delivered) = (Vec::new(), Vec::new());
        run(
            round,
            &receiver,
            |name| {
                asked.push(name.to_owned());
                let times = asked.iter().filter(|it| *it == name).count();
                match (name, times) {
                    ("seed.example:1", 1) => Err(io::ErrorKind::NotFound.into()),
                    ("seed.example:1", 3..) => Ok(vec![addresses[1]]),
                    _ => Ok(vec![addresses[0]]),
                }
            },
            |seeds| {
                delivered.push(seeds.default);
                true
            },
        );
        let seed = asked
            .iter()
            .filter(|name| *name == "seed.example:1")
            .count();
        assert_eq!((seed, asked.len()), (3, 5), "{asked:?}");
        let last: Vec<_> = delivered.iter().rev().take(2).cloned().collect();
        assert_eq!(last, [[addresses[1]], [addresses[0]]]);
    }

    #[test]
    fn ipv4_node_ignores_ipv6_addresses() {
        let both: Vec<SocketAddr> = vec![
            "[2001:db8::1]:1".parse().unwrap(),
            "10.0.0.1:1".parse().unwrap(),
        ];
        let mut round = Round::new(&names(None, &["both.example:1"]), false);
        assert!(round.resolve(0, |_| Ok(both.clone())));
        assert_eq!(round.addresses().additional, both[1..]);
        let mut round = Round::new(&names(None, &["both.example:1"]), true);
        assert!(round.resolve(0, |_| Ok(both.clone())));
        assert_eq!(round.addresses().additional, [both[1], both[0]]);
    }

    #[test]
    fn resolver_thread_delivers_and_ends_with_its_handle() {
        let (deliver, results) = channel();
        let names = names(Some("127.0.0.1:1"), &["[::1]:2", "127.0.0.1:3"]);
        let resolver = Resolver::start(&names, true, Failure::default(), move |seeds| {
            deliver.send(seeds).is_ok()
        })
        .unwrap();
        assert!(resolver.request(Lookup::All));
        let wait = Duration::from_secs(5);
        let mut last = results.recv_timeout(wait).unwrap();
        while last.additional.len() < 2 {
            last = results.recv_timeout(wait).unwrap();
        }
        assert_eq!(last.default, ["127.0.0.1:1".parse().unwrap()]);
        assert_eq!(
            last.additional,
            ["[::1]:2".parse().unwrap(), "127.0.0.1:3".parse().unwrap()]
        );
        drop(resolver);
        assert!(results.recv_timeout(wait).is_err());
    }
}
