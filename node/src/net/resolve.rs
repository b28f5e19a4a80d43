//! Names of seeds to addresses, on a thread of its own.
//!
//! Invariants:
//! - A lookup that hangs holds up nobody: the loop only asks, and is told what is known so far after
//!   each name. Addresses that are written as numbers are told first.
//! - A name that no longer resolves keeps the addresses that it had.
//! - What cannot be resolved is logged once, not at each retry.

use crate::failure::Failure;
use crate::log;
use core::net::SocketAddr;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Addresses taken from one name.
const ADDRESSES_PER_NAME: usize = 4;

/// Seeds as they are configured: `host:port` or `[ipv6]:port`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SeedNames {
    /// The default seed, if there is one.
    pub default: Option<String>,
    /// The others.
    pub additional: Vec<String>,
}

/// Addresses of seeds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SeedAddresses {
    /// Those of the default seed.
    pub default: Vec<SocketAddr>,
    /// Those of the others.
    pub additional: Vec<SocketAddr>,
}

/// The handle of the resolving thread, which ends when this is dropped and no lookup is under way.
#[derive(Debug)]
pub struct Resolver {
    requests: SyncSender<()>,
}

impl Resolver {
    /// Starts the thread. `deliver` is called on it with everything known so far, whenever that
    /// changed, and returns whether anybody still listens.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        names: &SeedNames,
        use_ipv6: bool,
        failure: Failure,
        deliver: impl FnMut(SeedAddresses) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let (requests, receiver) = sync_channel(1);
        let round = Round::new(names, use_ipv6);
        // The thread is not joined: a lookup can take as long as the system's resolver likes.
        std::thread::Builder::new()
            .name("resolve".into())
            .spawn(move || {
                let _ = failure.watch(|| run(round, &receiver, deliver));
            })?;
        Ok(Self { requests })
    }

    /// Asks for a round of lookups. One that is still under way answers for this request too.
    pub fn request(&self) {
        let _ = self.requests.try_send(());
    }
}

fn run(mut round: Round, requests: &Receiver<()>, mut deliver: impl FnMut(SeedAddresses) -> bool) {
    let mut delivered = None;
    while requests.recv().is_ok() {
        for at in 0..round.seeds.len() {
            let changed = round.resolve(at, lookup);
            let first = delivered.is_none() && at + 1 == round.seeds.len();
            if (changed || first) && !deliver(delivered.insert(round.addresses()).clone()) {
                return;
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
    failed: bool,
}

#[derive(Debug)]
struct Round {
    seeds: Vec<Seed>,
    use_ipv6: bool,
}

impl Round {
    fn new(names: &SeedNames, use_ipv6: bool) -> Self {
        let seed = |is_default| {
            move |name: &String| Seed {
                name: name.clone(),
                is_default,
                addresses: Vec::new(),
                failed: false,
            }
        };
        let default = names.default.iter().map(seed(true));
        let mut seeds: Vec<Seed> = default
            .chain(names.additional.iter().map(seed(false)))
            .collect();
        // Stable: numbers first, each group in the order of the configuration.
        seeds.sort_by_key(|seed| seed.name.parse::<SocketAddr>().is_err());
        Self { seeds, use_ipv6 }
    }

    /// Looks one name up; whether its addresses changed.
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
            // IPv4 first: every node has it. Sorted, so that a rotating answer is no change.
            addresses.sort_unstable();
            addresses.dedup();
            addresses.truncate(ADDRESSES_PER_NAME);
        }
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                seed.failed = false;
                let changed = seed.addresses != addresses;
                seed.addresses = addresses;
                changed
            }
            failure => {
                if !seed.failed {
                    let reason = failure.err().map_or_else(
                        || "it has no address of a family that this node speaks".into(),
                        |error| error.to_string(),
                    );
                    log::warn!("seed {} cannot be resolved: {reason}; retrying", seed.name);
                }
                seed.failed = true;
                false
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
        SeedAddresses {
            default: of(true),
            additional: of(false),
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
    fn numbers_come_first_and_failures_keep_what_was_known() {
        let mut round = Round::new(&names(Some("seed.example:1"), &["127.0.0.1:2"]), false);
        assert_eq!(round.seeds[0].name, "127.0.0.1:2");
        let known: SocketAddr = "10.0.0.1:1".parse().unwrap();
        assert!(round.resolve(1, |_| Ok(vec![known])));
        assert!(!round.resolve(1, |_| Ok(vec![known])));
        assert!(!round.resolve(1, |_| Err(io::ErrorKind::TimedOut.into())));
        assert_eq!(round.addresses().default, [known]);
        assert!(round.seeds[1].failed);
        assert!(!round.resolve(1, |_| Ok(vec![known])));
        assert!(!round.seeds[1].failed);
    }

    #[test]
    fn an_ipv4_node_takes_no_ipv6_address() {
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
    fn the_thread_delivers_and_ends_with_its_handle() {
        let (deliver, results) = channel();
        let names = names(Some("127.0.0.1:1"), &["[::1]:2", "127.0.0.1:3"]);
        let resolver = Resolver::start(&names, true, Failure::default(), move |seeds| {
            deliver.send(seeds).is_ok()
        })
        .unwrap();
        resolver.request();
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
