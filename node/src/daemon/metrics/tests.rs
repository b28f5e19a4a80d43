//! Tests of the metrics, and of the dashboard, the alerts and the page that name them.

use super::*;
use crate::net::SeedState;
use crate::rpc::{ChainReply, IndexReply, PortMappingReply};
use astreum_core::chain::Address;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

const DASHBOARD: &str = include_str!("../../../docs/monitoring/dashboard.json");
const ALERTS: &str = include_str!("../../../docs/monitoring/alerts.yml");
const ALERT_TESTS: &str = include_str!("../../../docs/monitoring/alerts_test.yml");
const COLLECTOR: &str = include_str!("../../../docs/monitoring/otel-collector.yml");
const PAGE: &str = include_str!("../../../docs/monitoring.md");

/// Returns a status that has everything.
fn full() -> StatusReply {
    let counters = COUNTERS.iter().map(|(key, ..)| ((*key).to_owned(), 5));
    let dropped = (format!("{DROPPED}a \"reason\""), 2);
    StatusReply {
        version: "1.2.3".to_owned(),
        uptime_seconds: 7,
        seeds: vec![SeedState {
            name: "a:1".to_owned(),
            addresses: Vec::new(),
            error: Some("no such host".to_owned()),
        }],
        chain: ChainReply {
            height: Some(9),
            timestamp: Some(1_700_000_000),
            ..ChainReply::default()
        },
        validator: Some(ProducerReply {
            public_key: Address::new([1; 32]),
            activity: String::new(),
            halted: false,
            blocks_made: 3,
            blocks_late: 1,
            pool_transactions: 5,
            pool_waiting: 2,
            pool_bytes: 900,
            refused: 0,
            refusals: Vec::new(),
        }),
        pruning: Some(PruningReply {
            last_run_unix: Some(1_700_000_000),
            ..PruningReply::default()
        }),
        transaction_index: Some(IndexReply {
            from_height: Some(3_u64.into()),
            to_height: Some(9_u64.into()),
            complete: true,
            waits_for: None,
            files: 2,
            bytes: 700,
        }),
        port_mapping: Some(PortMappingReply::default()),
        counters: counters.chain([dropped]).collect(),
        ..StatusReply::default()
    }
}

/// Returns the names and types of the metrics in a text.
fn metrics(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.filter_map(|line| line.split_once(' ')).collect()
}

/// Returns the words that look like metrics of this node.
fn named(text: &str) -> BTreeSet<&str> {
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let words = text.split(move |it| !is_part(it));
    let is_metric = |word: &&str| {
        let is_own = word.starts_with("astreum_") && *word != "astreum_node";
        is_own || word.starts_with("process_") && *word != "process_"
    };
    words.filter(is_metric).collect()
}

#[test]
fn metrics_have_names_units_and_help() {
    let text = render(&full(), Some(&HttpCounts::default())).unwrap();
    for line in [
        "# HELP astreum_cold_bytes Bytes of cold storage that count against its limit.",
        "# TYPE astreum_cold_bytes gauge",
        "astreum_cold_bytes 5",
        "# TYPE astreum_received_bytes_total counter",
        "astreum_received_bytes_total 5",
        "astreum_uptime_seconds 7",
        "astreum_head_timestamp_seconds 1700000000",
        "astreum_mempool_ready_transactions 3",
        "astreum_seeds_unresolved 1",
        "astreum_dropped_datagrams_total{reason=\"a \\\"reason\\\"\"} 2",
        "astreum_halted 0",
        "astreum_transaction_index_height 9",
        "astreum_transaction_index_bytes 700",
    ] {
        assert!(text.lines().any(|it| it == line), "{line:?} in\n{text}");
    }
    let info = text.lines().find(|it| it.starts_with("astreum_node_info{"));
    assert!(
        info.unwrap()
            .starts_with("astreum_node_info{version=\"1.2.3\",public_key=\"00")
    );
    let of_process = ["process_cpu_seconds_total", "process_resident_memory_bytes"];
    for name in of_process {
        assert!(text.contains(&format!("\n{name} ")), "{name} in\n{text}");
    }
}

#[test]
fn metrics_of_what_the_node_does_not_have_are_absent() {
    let text = render(&StatusReply::default(), None).unwrap();
    for absent in [
        "cold",
        "head_height",
        "mempool",
        "pruned",
        "received",
        "rpc",
        "transaction_index",
    ] {
        assert!(!text.contains(&format!("astreum_{absent}")), "{absent}");
    }
    assert!(text.contains("\nastreum_peers 0\n"));
}

/// A new counter of `status` gets a metric.
#[test]
fn every_counter_of_the_stores_has_a_metric() {
    let hot = crate::store::hot::HotStats::default();
    let cold = crate::store::cold::ColdStats::default();
    let counters = super::super::counters::counters(&hot, Some(&cold), None);
    for key in counters.keys() {
        assert!(COUNTERS.iter().any(|(known, ..)| known == key), "{key}");
    }
    assert_eq!(counters.len(), 11);
}

#[test]
fn dashboard_alerts_and_page_name_metrics_that_exist() {
    let text = render(&full(), Some(&HttpCounts::default())).unwrap();
    let exist: BTreeSet<&str> = metrics(&text).into_iter().map(|(name, _)| name).collect();
    for (file, content, least) in [
        ("dashboard.json", DASHBOARD, 20),
        ("alerts.yml", ALERTS, 8),
        ("monitoring.md", PAGE, exist.len()),
    ] {
        let named = named(content);
        let unknown: Vec<&&str> = named.difference(&exist).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
        assert!(named.len() >= least, "{file} names {} metrics", named.len());
    }
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard
        .get("panels")
        .and_then(serde_json::Value::as_array);
    assert!(panels.is_some_and(|panels| panels.len() >= 10));
}

#[test]
fn page_lists_every_metric_with_its_type_and_help() {
    let text = render(&full(), Some(&HttpCounts::default())).unwrap();
    let help = |name: &str| {
        let start = format!("# HELP {name} ");
        let mut lines = text.lines();
        let help = lines.find_map(|line| line.strip_prefix(&start)).unwrap();
        help.trim_end_matches('.').to_owned()
    };
    let rows = metrics(&text)
        .into_iter()
        .map(|(name, kind)| format!("| `{name}` | {kind} | {} |", help(name)));
    let rows: Vec<String> = rows.collect();
    let listed: Vec<&str> = PAGE
        .lines()
        .filter(|line| line.starts_with("| `astreum_") || line.starts_with("| `process_"))
        .collect();
    assert!(listed == rows, "the rows are\n{}", rows.join("\n"));
    assert!(PAGE.contains(&format!("```yaml\n{COLLECTOR}```")));
}

/// Returns the alert and whether it fires, of each case of the tests of alerts.
fn alert_cases() -> BTreeSet<(&'static str, bool)> {
    let mut cases = BTreeSet::new();
    let mut name = None;
    for line in ALERT_TESTS.lines().map(str::trim) {
        if let Some(alert) = line.strip_prefix("alertname: ") {
            name = Some(alert);
        } else if let Some(expected) = line.strip_prefix("exp_alerts:") {
            let fires = expected.trim() != "[]";
            cases.insert((name.take().unwrap(), fires));
        }
    }
    cases
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let alerts = ALERTS
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let expected: BTreeSet<(&str, bool)> = alerts
        .flat_map(|alert| [(alert, false), (alert, true)])
        .collect();
    assert!(expected.len() >= 22, "{expected:?}");
    assert_eq!(alert_cases(), expected);
}

/// Runs promtool of Prometheus; returns its output.
fn promtool(arguments: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("cannot run promtool: {error}; install Prometheus (`apt install prometheus`)")
        });
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {text}");
    text
}

#[test]
#[ignore = "needs promtool, which the whole CI installs"]
fn promtool_accepts_the_metrics_and_the_alerts() {
    for status in [full(), StatusReply::default()] {
        let text = render(&status, Some(&HttpCounts::default())).unwrap();
        assert_eq!(promtool(&["check", "metrics"], &text), "");
    }
    let alerts = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/monitoring/alerts.yml");
    let found = promtool(&["check", "rules", alerts], "");
    assert!(found.contains("rules found"), "{found}");
    let tests = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/monitoring/alerts_test.yml"
    );
    promtool(&["test", "rules", tests], "");
}
