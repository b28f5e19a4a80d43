//! Port mapping: a gateway of the local network is asked to forward the node's ports.
//!
//! One thread, which starts only if `port_mapping` is configured, maps the UDP port and the TCP port
//! of streams, renews the mappings before they end, and removes them when the node stops.
//!
//! Invariants:
//! - Nothing depends on the mapping: a failure is reported in `status` and retried at growing
//!   intervals.
//! - Answers of a gateway are bounded in size and time, and only displayed; the node learns its
//!   address from peers.
//! - Stopping takes at most [`STOP_TIMEOUT`]; a gateway that does not answer by then keeps the mappings
//!   until they end.

#[cfg(feature = "port-mapping")]
mod pcp;
#[cfg(feature = "port-mapping")]
mod route;
mod session;
mod types;
#[cfg(feature = "port-mapping")]
mod upnp;

pub use types::{Mapped, MappedPort, MappingStatus, Method, Port, Transport};

use crate::config::{PortMapping, Settings};
use crate::failure::Failure;
use crate::log;
use core::net::Ipv4Addr;
use core::time::Duration;
use session::Session;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// Maximum time that a stop waits for the removal of the mappings.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// Shortest time between renewals, whatever the gateway grants.
const MIN_RENEWAL: Duration = Duration::from_secs(10);
/// Longest time between renewals: a gateway that was restarted has lost the mappings.
const MAX_RENEWAL: Duration = Duration::from_secs(20 * 60);
/// Time before the second attempt; it doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// Longest time between attempts.
const MAX_RETRY: Duration = Duration::from_secs(30 * 60);

/// State that the thread and the node share.
type Shared = Arc<Mutex<MappingStatus>>;

fn lock(shared: &Mutex<MappingStatus>) -> MutexGuard<'_, MappingStatus> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ports to map, and the method.
struct Plan {
    mode: PortMapping,
    gateway: Option<Ipv4Addr>,
    ports: Vec<Port>,
}

/// Thread that keeps the ports of a node mapped. Dropping it removes the mappings, and waits for that
/// for at most [`STOP_TIMEOUT`].
#[derive(Debug)]
pub struct PortMapper {
    status: Shared,
    stop: Option<SyncSender<()>>,
    /// Disconnected by the end of the thread.
    end: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl PortMapper {
    /// Starts the thread for the UDP port and the TCP port of streams, if the settings ask for it.
    ///
    /// # Errors
    /// Fails if the system cannot create a thread.
    pub fn start(
        settings: &Settings,
        (udp_port, stream_port): (u16, Option<u16>),
        failure: &Failure,
    ) -> io::Result<Option<Self>> {
        if settings.port_mapping == PortMapping::Off {
            return Ok(None);
        }
        let udp = Port {
            transport: Transport::Udp,
            number: udp_port,
        };
        let tcp = stream_port.map(|number| Port {
            transport: Transport::Tcp,
            number,
        });
        let plan = Plan {
            mode: settings.port_mapping,
            gateway: settings.port_mapping_gateway,
            ports: core::iter::once(udp).chain(tcp).collect(),
        };
        let status = Shared::default();
        let (stop, stopped) = sync_channel::<()>(1);
        let (ends, end) = sync_channel(1);
        let (of_thread, failure) = (Arc::clone(&status), failure.clone());
        let thread = std::thread::Builder::new()
            .name("port-mapping".into())
            .spawn(move || {
                let _ends: SyncSender<()> = ends;
                let _ = failure.watch(|| run(&plan, &of_thread, &stopped));
            })?;
        Ok(Some(Self {
            status,
            stop: Some(stop),
            end,
            thread: Some(thread),
        }))
    }

    /// Returns the state.
    #[must_use]
    pub fn status(&self) -> MappingStatus {
        lock(&self.status).clone()
    }

    /// Begins to remove the mappings, without waiting.
    pub fn begin_stop(&mut self) {
        self.stop = None;
    }
}

impl Drop for PortMapper {
    fn drop(&mut self) {
        self.begin_stop();
        if self.end.recv_timeout(STOP_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
            // The thread ends by itself, once its requests have timed out.
            log::warn!("the gateway has not confirmed the removal of the port mappings");
            return;
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been recorded already.
            let _ = thread.join();
        }
    }
}

/// Maps and renews until the stop, then removes the mappings.
fn run(plan: &Plan, status: &Mutex<MappingStatus>, stop: &Receiver<()>) {
    let mut session: Option<Session> = None;
    let mut failures = 0;
    loop {
        let renewed = session.as_mut().map(|session| session.map(&plan.ports));
        let result = match renewed {
            Some(Ok(mapped)) => Ok(mapped),
            // The gateway may have been replaced, or its mappings be lost.
            Some(Err(_)) | None => {
                Session::open(plan.mode, plan.gateway, &plan.ports).map(|(opened, mapped)| {
                    session = Some(opened);
                    mapped
                })
            }
        };
        let pause = match result {
            Ok(mapped) => {
                failures = 0;
                let lease = mapped.lease(Instant::now());
                report(status, mapped);
                renewal(lease)
            }
            Err(error) => {
                failures += 1;
                report_failure(status, error);
                retry(failures)
            }
        };
        if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    lock(status).mapped = None;
    // Also after a renewal that failed: the gateway may be back.
    if let Some(session) = session {
        match session.remove() {
            Ok(()) => log::info!("removed the port mappings"),
            Err(error) => log::warn!("failed to remove the port mappings: {error}"),
        }
    }
}

fn report(status: &Mutex<MappingStatus>, mapped: Mapped) {
    let mut status = lock(status);
    let before = status.mapped.as_ref();
    let external = |mapped: &Mapped| -> Vec<_> {
        let ports = mapped.ports.iter();
        ports
            .map(|port| (port.port, port.external_port, port.external_ip))
            .collect()
    };
    if before.map(external) != Some(external(&mapped)) {
        let ports: Vec<String> = mapped.ports.iter().map(ToString::to_string).collect();
        let (gateway, method) = (mapped.gateway, mapped.method.name());
        log::info!(
            "the gateway {gateway} maps {} by {method}",
            ports.join(" and ")
        );
        if let Some(doubt) = mapped.doubt() {
            log::warn!("{doubt}");
        }
    }
    *status = MappingStatus {
        mapped: Some(mapped),
        error: None,
    };
}

fn report_failure(status: &Mutex<MappingStatus>, error: String) {
    let mut status = lock(status);
    if status.error.as_ref() != Some(&error) {
        log::warn!("the ports are not mapped: {error}");
    }
    *status = MappingStatus {
        mapped: None,
        error: Some(error),
    };
}

/// Returns the time until a renewal.
fn renewal(lease: Option<Duration>) -> Duration {
    let half = lease.map_or(MAX_RENEWAL, |lease| lease / 2);
    half.clamp(MIN_RENEWAL, MAX_RENEWAL)
}

/// Returns the time until the next attempt after this number of failures.
fn retry(failures: u32) -> Duration {
    let doubled = 1u32
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u32::MAX);
    FIRST_RETRY.saturating_mul(doubled).min(MAX_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_and_retries_are_bounded() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(renewal(Some(Duration::ZERO)), MIN_RENEWAL);
        assert_eq!(renewal(Some(minutes(10))), minutes(5));
        assert_eq!(renewal(Some(Duration::MAX)), MAX_RENEWAL);
        assert_eq!(renewal(None), MAX_RENEWAL);
        assert_eq!(retry(1), Duration::from_secs(30));
        assert_eq!(retry(3), Duration::from_secs(120));
        for failures in [10, 31, 32, 33, u32::MAX] {
            assert_eq!(retry(failures), MAX_RETRY, "{failures}");
        }
    }

    #[test]
    fn nothing_runs_unless_it_is_configured() {
        let settings = Settings::default();
        let failure = Failure::default();
        let started = PortMapper::start(&settings, (1, None), &failure).unwrap();
        assert!(started.is_none());
    }
}
