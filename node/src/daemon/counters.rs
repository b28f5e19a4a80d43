//! Counters of the stores and the network, by their names in `status` and the metrics.

use crate::net::NetworkStatus;
use crate::store::cold::ColdStats;
use crate::store::hot::HotStats;
use std::collections::BTreeMap;

/// Returns all counters of a node.
pub(super) fn counters(
    hot: &HotStats,
    cold: Option<&ColdStats>,
    network: Option<&NetworkStatus>,
) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::from([
        ("hot_hits".to_owned(), hot.hits),
        ("hot_misses".to_owned(), hot.misses),
        ("hot_inserted".to_owned(), hot.inserted),
        ("hot_evicted".to_owned(), hot.evicted),
        ("hot_refused".to_owned(), hot.refused),
    ]);
    if let Some(cold) = cold {
        counters.extend([
            ("cold_atoms".to_owned(), cold.atoms),
            ("cold_bytes".to_owned(), cold.used_bytes),
            ("cold_limit_bytes".to_owned(), cold.limit_bytes),
            ("cold_memory_bytes".to_owned(), cold.memory_bytes),
            ("cold_hits".to_owned(), cold.hits),
            ("cold_misses".to_owned(), cold.misses),
        ]);
        // Level 0 is first.
        if let Some(journals) = cold.levels.first() {
            counters.insert("cold_journals".to_owned(), journals.files);
            counters.insert("cold_journal_bytes".to_owned(), journals.bytes);
        }
        counters.extend(cold.object_store_counters.clone());
    }
    if let Some(NetworkStatus { stats, streams, .. }) = network {
        counters.extend([
            ("datagrams_received".to_owned(), stats.received),
            ("bytes_received".to_owned(), stats.received_bytes),
            ("datagrams_sent".to_owned(), stats.sent),
            ("bytes_sent".to_owned(), stats.sent_bytes),
            ("stream_bytes_received".to_owned(), streams.received_bytes),
            ("stream_bytes_sent".to_owned(), streams.sent_bytes),
            ("stream_connections".to_owned(), streams.connections),
            ("stream_memory_bytes".to_owned(), streams.memory_bytes),
            ("objects_served".to_owned(), stats.objects_served),
            ("disk_reads".to_owned(), stats.disk_reads),
            ("key_agreements".to_owned(), stats.agreements),
        ]);
        for (reason, count) in stats.dropped_since(&Default::default()) {
            counters.insert(format!("dropped: {reason}"), count);
        }
    }
    counters
}
