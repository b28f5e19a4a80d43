//! Metrics in the text format of Prometheus.
//!
//! Names begin with `astreum_`, and do not change between versions; those of the process have the
//! names that other programs use for them. A metric of something that the node does not have, such as
//! cold storage, is absent. `node/docs/monitoring/` has the dashboard and the alerts that use them.

use crate::rpc::{HttpCounts, IndexReply, Number, ProducerReply, PruningReply, StatusReply};
use core::fmt;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;

/// Prefix of the counters of `status` for dropped datagrams, before the reason.
const DROPPED: &str = "dropped: ";

/// Kind and unit of a counter of `status`.
#[derive(Clone, Copy)]
enum Kind {
    Total,
    TotalBytes,
    Gauge,
    GaugeBytes,
}

/// Counters of `status`: name there, name and kind here without the unit, and help.
const COUNTERS: [(&str, &str, Kind, &str); 24] = {
    use Kind::{Gauge, GaugeBytes, Total, TotalBytes};
    [
        (
            "hot_hits",
            "hot_hits",
            Total,
            "Lookups that found their atom in memory",
        ),
        (
            "hot_misses",
            "hot_misses",
            Total,
            "Lookups that did not find their atom in memory",
        ),
        (
            "hot_inserted",
            "hot_inserted_atoms",
            Total,
            "Atoms added to memory",
        ),
        (
            "hot_evicted",
            "hot_evicted_atoms",
            Total,
            "Atoms evicted from memory",
        ),
        (
            "hot_refused",
            "hot_refused_atoms",
            Total,
            "Atoms too large for memory",
        ),
        ("cold_atoms", "cold_atoms", Gauge, "Atoms in cold storage"),
        (
            "cold_bytes",
            "cold",
            GaugeBytes,
            "Bytes of cold storage that count against its limit",
        ),
        (
            "cold_limit_bytes",
            "cold_limit",
            GaugeBytes,
            "Maximum bytes of cold storage; 0 for none",
        ),
        (
            "cold_journals",
            "cold_journals",
            Gauge,
            "Files of the journals of cold storage",
        ),
        (
            "cold_journal_bytes",
            "cold_journal",
            GaugeBytes,
            "Bytes of the journals of cold storage",
        ),
        (
            "cold_memory_bytes",
            "cold_memory",
            GaugeBytes,
            "Memory of the index of cold storage",
        ),
        (
            "cold_hits",
            "cold_hits",
            Total,
            "Lookups that found their atom in cold storage",
        ),
        (
            "cold_misses",
            "cold_misses",
            Total,
            "Lookups that did not find their atom in cold storage",
        ),
        (
            "datagrams_received",
            "received_datagrams",
            Total,
            "Datagrams received",
        ),
        (
            "bytes_received",
            "received",
            TotalBytes,
            "Bytes received by datagram",
        ),
        ("datagrams_sent", "sent_datagrams", Total, "Datagrams sent"),
        ("bytes_sent", "sent", TotalBytes, "Bytes sent by datagram"),
        (
            "stream_bytes_received",
            "stream_received",
            TotalBytes,
            "Bytes received by stream",
        ),
        (
            "stream_bytes_sent",
            "stream_sent",
            TotalBytes,
            "Bytes sent by stream",
        ),
        (
            "stream_connections",
            "stream_connections",
            Gauge,
            "Open connections of streams",
        ),
        (
            "stream_memory_bytes",
            "stream_memory",
            GaugeBytes,
            "Bytes of memory of what has arrived by stream and is not stored",
        ),
        (
            "objects_served",
            "served_objects",
            Total,
            "Objects sent to peers that requested them",
        ),
        (
            "disk_reads",
            "disk_reads",
            Total,
            "Reads of cold storage for peers",
        ),
        (
            "key_agreements",
            "key_agreements",
            Total,
            "Key agreements with peers",
        ),
    ]
};

/// Registry of one scrape.
struct Scrape(Registry);

impl Scrape {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, ConstGauge::new(value));
    }

    fn gauge_in(&mut self, name: &str, unit: Unit, help: &str, value: u64) {
        self.0
            .register_with_unit(name, help, unit, ConstGauge::new(value));
    }

    fn is(&mut self, name: &str, help: &str, value: bool) {
        self.gauge(name, help, u64::from(value));
    }

    fn total(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, ConstCounter::new(value));
    }

    fn total_in(&mut self, name: &str, unit: Unit, help: &str, value: u64) {
        self.0
            .register_with_unit(name, help, unit, ConstCounter::new(value));
    }
}

/// Returns the metrics of a node with this status, of its server of RPC over HTTP, if there is one,
/// and of this process.
pub(super) fn render(status: &StatusReply, rpc: Option<&HttpCounts>) -> Result<String, String> {
    let mut scrape = Scrape(Registry::with_prefix("astreum"));
    node(&mut scrape, status);
    chain(&mut scrape, status);
    counters(&mut scrape, &status.counters);
    if let Some(validator) = &status.validator {
        validator_metrics(&mut scrape, validator);
    }
    if let Some(pruning) = &status.pruning {
        pruning_metrics(&mut scrape, pruning);
    }
    if let Some(index) = &status.transaction_index {
        index_metrics(&mut scrape, index);
    }
    if let Some(mapping) = &status.port_mapping {
        let help = "1 if the gateway forwards the node's ports, as configured";
        scrape.is("ports_mapped", help, !mapping.ports.is_empty());
    }
    if let Some(rpc) = rpc {
        rpc_metrics(&mut scrape, rpc);
    }
    let mut of_process = Scrape(Registry::with_prefix("process"));
    process(&mut of_process);
    let mut text = String::new();
    let encoded = [scrape, of_process]
        .iter()
        .try_for_each(|Scrape(registry)| prometheus_text::encode(&mut text, registry));
    encoded.map_err(|fmt::Error| "the metrics cannot be encoded".to_owned())?;
    Ok(text)
}

fn node(scrape: &mut Scrape, status: &StatusReply) {
    let info: Family<Vec<(&str, String)>, Counterless> = Family::default();
    let _ = info.get_or_create(&vec![
        ("version", status.version.clone()),
        ("public_key", status.public_key.to_string()),
        ("chain_id", status.chain_id.to_string()),
    ]);
    let help = "Version, relay key and chain of the node; always 1";
    scrape.0.register("node_info", help, info);
    let (seconds, bytes) = (|| Unit::Seconds, || Unit::Bytes);
    scrape.gauge_in(
        "uptime",
        seconds(),
        "Time since the start",
        status.uptime_seconds,
    );
    scrape.gauge("peers", "Known peers", status.peers);
    scrape.gauge(
        "advertisements",
        "Advertised atoms and lists",
        status.advertisements,
    );
    scrape.gauge(
        "difficulty",
        "Proof of work that the node requires of messages, in leading zero bits",
        u64::from(status.difficulty),
    );
    scrape.gauge("seeds", "Configured seeds", status.seeds.len() as u64);
    let failed = status.seeds.iter().filter(|seed| seed.error.is_some());
    let help = "Configured seeds whose name has no address";
    scrape.gauge("seeds_unresolved", help, failed.count() as u64);
    let help = "Conditions on which an operator has to act";
    scrape.gauge("problems", help, status.problems.len() as u64);
    let help = "Conditions that need no action now";
    scrape.gauge("warnings", help, status.warnings.len() as u64);
    let help = "1 if blocks are not produced, or not stored, although they should be";
    scrape.is("halted", help, status.halted);
    scrape.is(
        "durable",
        "1 if stored atoms survive a restart",
        status.durable,
    );
    scrape.is(
        "refuses_writes",
        "1 if cold storage refuses writes",
        status.refuses_writes,
    );
    scrape.gauge("hot_atoms", "Atoms in memory", status.hot_atoms);
    scrape.gauge_in(
        "hot",
        bytes(),
        "Bytes of the atoms in memory",
        status.hot_bytes,
    );
    let help = "Maximum bytes of the atoms in memory";
    scrape.gauge_in("hot_limit", bytes(), help, status.hot_limit_bytes);
}

fn chain(scrape: &mut Scrape, status: &StatusReply) {
    let chain = &status.chain;
    if let Some((height, timestamp)) = chain.height.zip(chain.timestamp) {
        scrape.gauge("head_height", "Height of the chain's head", height);
        let help = "Time of the chain's head, since 1970";
        scrape.gauge_in("head_timestamp", Unit::Seconds, help, timestamp);
    }
    scrape.is(
        "behind",
        "1 if the node syncs to a longer chain",
        chain.behind,
    );
    scrape.gauge(
        "sync_targets",
        "Heads to which the node syncs",
        chain.syncs.len() as u64,
    );
    let missing = |done: u64, total: u64| total.saturating_sub(done);
    let headers = chain.syncs.iter();
    let headers = headers.map(|sync| missing(sync.headers_done, sync.headers_total));
    let help = "Headers that sync still needs, as far as known";
    scrape.gauge("sync_missing_headers", help, headers.sum());
    let blocks = chain.syncs.iter();
    let blocks = blocks.map(|sync| missing(sync.blocks_done, sync.blocks_total));
    let help = "Blocks that sync still has to verify, as far as known";
    scrape.gauge("sync_missing_blocks", help, blocks.sum());
    let help = "Fetches of the chain in progress";
    scrape.gauge("chain_fetches", help, chain.fetches);
    let help = "Invalid blocks found most recently";
    scrape.gauge("bad_blocks", help, chain.bad_blocks.len() as u64);
}

fn counters(scrape: &mut Scrape, counters: &BTreeMap<String, u64>) {
    for (key, name, kind, help) in COUNTERS {
        let Some(value) = counters.get(key).copied() else {
            continue;
        };
        match kind {
            Kind::Total => scrape.total(name, help, value),
            Kind::TotalBytes => scrape.total_in(name, Unit::Bytes, help, value),
            Kind::Gauge => scrape.gauge(name, help, value),
            Kind::GaugeBytes => scrape.gauge_in(name, Unit::Bytes, help, value),
        }
    }
    let dropped: Family<Vec<(&str, String)>, Counter> = Family::default();
    for (key, count) in counters {
        if let Some(reason) = key.strip_prefix(DROPPED) {
            let labels = vec![("reason", reason.to_owned())];
            dropped.get_or_create(&labels).inc_by(*count);
        }
    }
    let help = "Datagrams dropped, by reason";
    scrape.0.register("dropped_datagrams", help, dropped);
}

fn validator_metrics(scrape: &mut Scrape, validator: &ProducerReply) {
    let help = "Blocks produced since the start";
    scrape.total("produced_blocks", help, validator.blocks_made);
    let help = "Slots missed since the start, because the proof of work took too long";
    scrape.total("missed_slots", help, validator.blocks_late);
    let ready = validator
        .pool_transactions
        .saturating_sub(validator.pool_waiting);
    let help = "Transactions in the mempool that the next blocks can include";
    scrape.gauge("mempool_ready_transactions", help, ready);
    let help = "Transactions in the mempool that wait for data";
    scrape.gauge("mempool_waiting_transactions", help, validator.pool_waiting);
    let help = "Bytes of the transactions in the mempool";
    scrape.gauge_in("mempool", Unit::Bytes, help, validator.pool_bytes);
    let help = "Transactions refused since the start";
    scrape.total("refused_transactions", help, validator.refused);
}

fn pruning_metrics(scrape: &mut Scrape, pruning: &PruningReply) {
    scrape.is("pruning", "1 while cold storage is pruned", pruning.running);
    let help = "Height below which only headers are kept";
    scrape.gauge("pruned_below_height", help, pruning.horizon);
    scrape.gauge("pins", "Pinned objects", pruning.pins);
    let help = "Atoms removed by pruning since the start";
    scrape.total("pruned_atoms", help, pruning.removed_atoms);
    let help = "Bytes freed by pruning since the start";
    scrape.total_in("pruned", Unit::Bytes, help, pruning.removed_bytes);
    if let Some(at) = pruning.last_run_unix {
        let help = "Time of the last run of pruning, since 1970";
        scrape.gauge_in("pruning_last_run_timestamp", Unit::Seconds, help, at);
    }
}

fn index_metrics(scrape: &mut Scrape, index: &IndexReply) {
    let height = |number: &Option<Number>| number.as_ref()?.0.to_u64();
    if let Some((from, to)) = height(&index.from_height).zip(height(&index.to_height)) {
        let help = "Lowest height of the transaction index";
        scrape.gauge("transaction_index_from_height", help, from);
        let help = "Greatest height of the transaction index";
        scrape.gauge("transaction_index_height", help, to);
    }
    let help = "1 if the transaction index has all blocks whose transactions are kept";
    scrape.is("transaction_index_complete", help, index.complete);
    let help = "Files of the transaction index";
    scrape.gauge("transaction_index_files", help, index.files);
    let help = "Bytes of the transaction index";
    scrape.gauge_in("transaction_index", Unit::Bytes, help, index.bytes);
}

fn rpc_metrics(scrape: &mut Scrape, rpc: &HttpCounts) {
    let help = "Open connections of RPC over HTTP";
    scrape.gauge("rpc_open_connections", help, rpc.open_connections);
    let help = "Accepted connections of RPC over HTTP";
    scrape.total("rpc_connections", help, rpc.connections);
    let help = "Connections of RPC over HTTP refused for lack of room";
    scrape.total("rpc_refused_connections", help, rpc.refused_connections);
    let help = "Requests answered over HTTP and WebSocket";
    scrape.total("rpc_requests", help, rpc.requests);
    let help = "Requests over HTTP and WebSocket answered with an error";
    scrape.total("rpc_failed_requests", help, rpc.failed_requests);
    let help = "Requests over HTTP rejected for their host, origin or token";
    scrape.total("rpc_rejected_requests", help, rpc.rejected_requests);
    let help = "Open subscriptions";
    scrape.gauge("rpc_open_subscriptions", help, rpc.open_subscriptions);
    let help = "Subscriptions ended because their client read too slowly";
    scrape.total("rpc_dropped_subscriptions", help, rpc.dropped_subscriptions);
}

/// Adds the figures of this process that Linux reports; nothing elsewhere.
fn process(scrape: &mut Scrape) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).ok();
    let field = |text: &str, label: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(label))?;
        line.split_whitespace().next()?.parse().ok()
    };
    if let Some(status) = read("status") {
        for (label, name, help) in [
            (
                "VmRSS:",
                "resident_memory",
                "Resident memory of the process",
            ),
            ("RssAnon:", "anonymous_memory", "Resident anonymous memory"),
            ("VmSize:", "virtual_memory", "Virtual memory of the process"),
        ] {
            if let Some(kib) = field(&status, label) {
                scrape.gauge_in(name, Unit::Bytes, help, kib.saturating_mul(1_024));
            }
        }
        if let Some(threads) = field(&status, "Threads:") {
            scrape.gauge("threads", "Threads of the process", threads);
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        scrape.gauge("open_fds", "Open file descriptors", open.count() as u64);
    }
    if let Some(limit) = read("limits").and_then(|limits| field(&limits, "Max open files")) {
        scrape.gauge("max_fds", "Maximum open file descriptors", limit);
    }
    let times = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = core::time::Duration::try_from(times).unwrap_or_default();
    let used = ConstCounter::new(seconds.as_secs_f64());
    let help = "Processor time of the process";
    scrape
        .0
        .register_with_unit("cpu", help, Unit::Seconds, used);
}

/// Gauge that is always 1.
#[derive(Clone, Debug, Default)]
struct Counterless;

impl prometheus_client::encoding::EncodeMetric for Counterless {
    fn encode(
        &self,
        encoder: prometheus_client::encoding::MetricEncoder<'_>,
    ) -> Result<(), fmt::Error> {
        ConstGauge::new(1_u64).encode(encoder)
    }

    fn metric_type(&self) -> prometheus_client::metrics::MetricType {
        prometheus_client::metrics::MetricType::Gauge
    }
}

impl prometheus_client::metrics::TypedMetric for Counterless {
    const TYPE: prometheus_client::metrics::MetricType =
        prometheus_client::metrics::MetricType::Gauge;
}

#[cfg(test)]
mod tests;
