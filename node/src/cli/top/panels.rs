//! Panels of the upper part of the screen: chain, network, mempool and storage.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, Widget as _};

use super::model::{Link, Model, Series, stage};
use super::text::{bytes, clean, count, percent, rate};
use super::theme::{Theme, Tone};
use crate::chain_service::snapshot::SnapshotStage;
use crate::rpc::{StatusReply, duration};
use astreum_core::consensus::HeadState;
use astreum_core::consensus::sync::SyncProgress;

/// Number of lines of a panel on a small screen.
pub(super) const LINES: u16 = 4;

/// Name, value and history of one line.
struct Row<'m> {
    name: &'static str,
    value: (Tone, String),
    history: Option<&'m Series>,
}

impl<'m> Row<'m> {
    fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self {
            name,
            value: (Tone::Plain, value.into()),
            history: None,
        }
    }

    fn tone(self, tone: Tone) -> Self {
        Self {
            value: (tone, self.value.1),
            ..self
        }
    }

    fn history(self, history: &'m Series) -> Self {
        Self {
            history: Some(history),
            ..self
        }
    }
}

/// Draws the four panels into as many areas. The last line of each is left out where it does not fit.
pub(super) fn render(model: &Model, theme: Theme, areas: [Rect; 4], buffer: &mut Buffer) {
    let panels = [
        ("Chain", chain(model)),
        ("Network", network(model)),
        ("Mempool and queues", queues(model)),
        ("Storage", storage(&model.sample.status, model)),
    ];
    for ((title, rows), area) in panels.into_iter().zip(areas) {
        let block = Block::bordered()
            .title(theme.span(Tone::Strong, format!(" {title} ")))
            .border_style(theme.style(Tone::Faint));
        let inner = block.inner(area);
        block.render(area, buffer);
        for (row, y) in rows.into_iter().zip(inner.top()..inner.bottom()) {
            let line = Rect {
                y,
                height: 1,
                ..inner
            };
            // Outdated values are faint.
            let (tone, value) = row.value;
            let tone = match (model.link(), tone) {
                (Link::Gone(_), Tone::Plain | Tone::Good) => Tone::Faint,
                (_, tone) => tone,
            };
            theme.row(line, buffer, row.name, (tone, value), row.history);
        }
    }
}

/// Returns a rate, or a dash if it is unknown.
fn shown(rate: Option<u64>, show: impl Fn(u64) -> String) -> String {
    rate.map_or_else(|| "-".to_owned(), show)
}

fn chain(model: &Model) -> Vec<Row<'_>> {
    let status = &model.sample.status;
    let chain = &status.chain;
    let height = match (chain.height, chain.state) {
        (None, _) => Row::new("height", "no head").tone(Tone::Warning),
        (Some(height), Some(HeadState::Trusted)) => {
            let text = format!("{} trusted, not verified", count(height));
            Row::new("height", text).tone(Tone::Warning)
        }
        (Some(height), state) => {
            let state = state.map(|state| format!(" {}", state.name()));
            let text = format!("{}{}", count(height), state.unwrap_or_default());
            Row::new("height", text)
        }
    };
    let head = chain
        .head
        .map(|id| id.to_string().chars().take(8).collect());
    let head: String = head.unwrap_or_else(|| "-".to_owned());
    let head = match status.head_age_seconds {
        Some(age) => format!("{head}, {} old", duration(age)),
        None => head,
    };
    let progress = model.mean(&model.history.progress);
    let is_headers = stage(status).is_some_and(|stage| stage.is_headers);
    let name = if is_headers { "headers" } else { "blocks" };
    let validator = match &status.validator {
        Some(validator) => clean(&validator.activity),
        None => "no".to_owned(),
    };
    vec![
        height,
        Row::new("head", head),
        sync(status),
        Row::new(name, shown(progress, rate)).history(&model.history.progress),
        Row::new("validator", validator),
    ]
}

fn sync(status: &StatusReply) -> Row<'static> {
    let chain = &status.chain;
    let snapshot = chain.snapshot.as_ref();
    let snapshot = snapshot.filter(|it| {
        use SnapshotStage::{Headers, State, Waiting};
        matches!(it.stage, Waiting | Headers | State)
    });
    if let Some(snapshot) = snapshot {
        let stage = snapshot.stage.name();
        let text = format!("snapshot: {stage}, {} atoms", count(snapshot.atoms));
        return Row::new("sync", text).tone(Tone::Warning);
    }
    if let Some(stage) = stage(status) {
        let what = if stage.is_headers {
            "headers"
        } else {
            "blocks"
        };
        let text = match stage.total {
            0 => "waiting for headers".to_owned(),
            total => format!(
                "{what} {}/{} {} %",
                count(stage.done),
                count(total),
                percent(stage.done, total)
            ),
        };
        return Row::new("sync", text).tone(Tone::Warning);
    }
    match (&chain.waits, chain.behind, chain.height) {
        (Some(waits), _, _) => {
            Row::new("sync", format!("waiting for {}", clean(waits))).tone(Tone::Warning)
        }
        (None, true, _) => Row::new("sync", "behind").tone(Tone::Warning),
        (None, false, Some(_)) => Row::new("sync", "synced").tone(Tone::Good),
        (None, false, None) => Row::new("sync", "no chain"),
    }
}

fn network(model: &Model) -> Vec<Row<'_>> {
    let status = &model.sample.status;
    let history = &model.history;
    let traffic = |rate| shown(model.mean(rate), |rate| format!("{}/s", bytes(rate)));
    let peers = Row::new("peers", count(status.peers)).history(&history.peers);
    let peers = match status.peers {
        0 => peers.tone(Tone::Warning),
        _ => peers,
    };
    let address = match status.advertised_address {
        Some(address) => address.to_string(),
        None => format!("unknown; {}", clean(&status.listen_address)),
    };
    vec![
        peers,
        Row::new("in", traffic(&history.received_bytes)).history(&history.received_bytes),
        Row::new("out", traffic(&history.sent_bytes)).history(&history.sent_bytes),
        Row::new("dropped", shown(model.mean(&history.dropped), rate)).history(&history.dropped),
        Row::new("address", address),
    ]
}

fn queues(model: &Model) -> Vec<Row<'_>> {
    let status = &model.sample.status;
    let chain = &status.chain;
    let missing = |of: fn(&SyncProgress) -> (u64, u64)| {
        let missing = chain.syncs.iter().map(of);
        let missing = missing.map(|(done, total)| total.saturating_sub(done));
        missing.fold(0, u64::saturating_add)
    };
    let headers = missing(|sync| (sync.headers_done, sync.headers_total));
    let blocks = missing(|sync| (sync.blocks_done, sync.blocks_total));
    let fetches = format!(
        "{}; {} headers, {} blocks",
        count(chain.fetches),
        count(headers),
        count(blocks)
    );
    let (mempool, pending, produced) = match &status.validator {
        Some(validator) => {
            let waiting = validator.pool_waiting;
            let ready = validator.pool_transactions.saturating_sub(waiting);
            (
                format!("{} ready, {} waiting", count(ready), count(waiting)),
                bytes(validator.pool_bytes),
                format!(
                    "{}; {} missed",
                    count(validator.blocks_made),
                    count(validator.blocks_late)
                ),
            )
        }
        None => ("not a validator".to_owned(), "-".to_owned(), "-".to_owned()),
    };
    vec![
        Row::new("mempool", mempool),
        Row::new("size", pending).history(&model.history.transactions),
        Row::new("fetches", fetches),
        Row::new("produced", produced),
        Row::new("heads", format!("{} offered", count(chain.candidates))),
    ]
}

fn storage<'m>(status: &StatusReply, model: &'m Model) -> Vec<Row<'m>> {
    let counter = |name: &str| status.counters.get(name).copied();
    let of = |used: u64, limit: u64| match limit {
        0 => bytes(used),
        _ => format!(
            "{} of {} {} %",
            bytes(used),
            bytes(limit),
            percent(used, limit)
        ),
    };
    let cold = match counter("cold_bytes") {
        Some(used) => Row::new("cold", of(used, counter("cold_limit_bytes").unwrap_or(0))),
        None => Row::new("cold", "none: in memory only"),
    };
    let cold = match status.refuses_writes {
        true => Row::new("cold", "refuses writes").tone(Tone::Bad),
        false => cold,
    };
    let journal = counter("cold_journals").zip(counter("cold_journal_bytes"));
    let journal = journal.map(|(files, size)| format!("{} in {} files", bytes(size), count(files)));
    let pruning = status.pruning.as_ref().map(|pruning| {
        let what = match pruning.horizon {
            0 => "nothing".to_owned(),
            horizon => format!("below {}", count(horizon)),
        };
        let running = if pruning.running { ", running" } else { "" };
        format!("{what}, {} pins{running}", count(pruning.pins))
    });
    vec![
        Row::new("hot", of(status.hot_bytes, status.hot_limit_bytes)),
        cold,
        Row::new("journal", journal.unwrap_or_else(|| "-".to_owned())),
        Row::new("lookups", shown(model.mean(&model.history.lookups), rate))
            .history(&model.history.lookups),
        Row::new("pruned", pruning.unwrap_or_else(|| "-".to_owned())),
    ]
}
