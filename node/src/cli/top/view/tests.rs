//! Screens of an empty, a busy and a lost node, in several sizes.

use super::super::model::{Action, Sample};
use super::*;
use crate::rpc::{
    ChainReply, LogLevel, LogReply, PeerReply, ProducerReply, PruningReply, StatusReply,
};
use astreum_core::atom::AtomId;
use astreum_core::chain::Address;
use astreum_core::consensus::HeadState;
use astreum_core::consensus::sync::SyncProgress;
use astreum_core::crypto::PublicKey;
use astreum_core::text::is_visible;
use core::time::Duration;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use std::collections::BTreeMap;

const COLORS: Theme = Theme { has_colors: true };

/// Draws a screen; returns its lines, and what was drawn.
fn screen(model: &Model, theme: Theme, width: u16, height: u16) -> (Vec<String>, Drawn, Buffer) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut drawn = None;
    terminal
        .draw(|frame| drawn = Some(render(model, theme, frame.buffer_mut())))
        .unwrap();
    let buffer = terminal.backend().buffer().clone();
    let cells = buffer.content.chunks(usize::from(width.max(1)));
    let lines = cells.map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect());
    (lines.collect(), drawn.unwrap(), buffer)
}

fn lines(model: &Model, width: u16, height: u16) -> Vec<String> {
    screen(model, COLORS, width, height).0
}

/// Returns the line that contains a text.
#[track_caller]
fn line_of<'l>(lines: &'l [String], text: &str) -> &'l str {
    let found = lines.iter().find(|line| line.contains(text));
    found.unwrap_or_else(|| panic!("{text:?} is not in\n{}", lines.join("\n")))
}

fn model(samples: impl IntoIterator<Item = StatusReply>) -> Model {
    let mut model = Model::new(Duration::from_secs(1));
    for (second, status) in samples.into_iter().enumerate() {
        model.now = Duration::from_secs(second as u64);
        model.update(Ok(Box::new(Sample {
            status,
            ..Sample::default()
        })));
    }
    model
}

fn empty() -> StatusReply {
    StatusReply {
        version: "0.1.0".to_owned(),
        listen_address: "0.0.0.0:52780".to_owned(),
        hot_limit_bytes: 1 << 30,
        ..StatusReply::default()
    }
}

/// Status of a validator that syncs, `seconds` after its start.
fn busy(seconds: u64) -> StatusReply {
    let counter = |name: &str, value: u64| (name.to_owned(), value);
    StatusReply {
        public_key: PublicKey::new([0xab; 32]),
        uptime_seconds: 90_000 + seconds,
        chain_id: 1,
        peers: 33,
        hot_atoms: 1_200_000,
        hot_bytes: 812 << 20,
        advertised_address: Some("203.0.113.7:52780".parse().unwrap()),
        durable: true,
        head_age_seconds: Some(61),
        chain: ChainReply {
            head: Some(AtomId::new([0xcd; 32])),
            height: Some(1_234_000 + 12 * seconds),
            state: Some(HeadState::Verified),
            behind: true,
            syncs: vec![SyncProgress {
                head: AtomId::new([0xee; 32]),
                height: 2_000_000,
                headers_done: 500,
                headers_total: 500,
                blocks_done: 100 + 12 * seconds,
                blocks_total: 500,
                waits: None,
            }],
            candidates: 4,
            fetches: 7,
            ..ChainReply::default()
        },
        validator: Some(ProducerReply {
            public_key: Address::new([7; 32]),
            activity: "next slot 2026-11-28 04:04:44 UTC (in 3 s)".to_owned(),
            halted: false,
            blocks_made: 12,
            blocks_late: 1,
            pool_transactions: 15 + seconds,
            pool_waiting: 3,
            pool_bytes: 12_600,
            refused: 0,
            refusals: Vec::new(),
        }),
        pruning: Some(PruningReply {
            horizon: 1_184_000,
            ..PruningReply::default()
        }),
        counters: BTreeMap::from([
            counter("bytes_received", 1_000 * seconds),
            counter("stream_bytes_received", 1_048_576 * seconds),
            counter("bytes_sent", 512 * seconds),
            counter("dropped: unsolicited response", 2 * seconds),
            counter("cold_bytes", 12 << 30),
            counter("cold_limit_bytes", 50 << 30),
            counter("cold_journals", 3),
            counter("cold_journal_bytes", 5 << 20),
            counter("hot_hits", 1_000 * seconds),
        ]),
        problems: vec!["cold storage maintenance failed: no space left".to_owned()],
        warnings: vec!["the system clock is 90 s behind its peers".to_owned()],
        ..empty()
    }
}

#[test]
fn empty_node_has_neither_head_nor_peers() {
    let lines = lines(&model([empty()]), 80, 24);
    assert!(lines[0].starts_with("astreum 0.1.0  chain 0  000000000000  up 0 s"));
    assert!(lines[0].ends_with("live, every 1 s"), "{}", lines[0]);
    assert!(line_of(&lines, "height").contains("no head"));
    assert!(line_of(&lines, "sync").contains("no chain"));
    assert!(line_of(&lines, "hot ").contains("0 B of 1.00 GiB 0 %"));
    assert!(line_of(&lines, "cold").contains("none: in memory only"));
    assert!(line_of(&lines, "mempool").contains("not a validator"));
    line_of(&lines, "no problems and no warnings");
    assert!(lines[23].starts_with("q quit"));
    // Only one answer: no rates.
    assert!(line_of(&lines, "dropped").contains("dropped   - "));
}

#[test]
fn busy_node_shows_rates_and_histories() {
    let model = model((0..20).map(busy));
    let lines = lines(&model, 80, 24);
    assert!(lines[0].contains("chain 1  abababababab  up 1 d 1 h"));
    for (name, value) in [
        ("height", "1.23 M verified"),
        ("sync", "blocks 328/500 65 %"),
        ("│blocks", "12.0/s"),
        ("│in ", "1.00 MiB/s"),
        ("out", "512 B/s"),
        ("dropped", "2.00/s"),
        ("mempool", "31 ready, 3 waiting"),
        ("fetches", "7; 0 headers, 172 blocks"),
        ("produced", "12; 1 missed"),
        ("cold", "12.0 GiB of 50.0 GiB 24 %"),
        ("journal", "5.00 MiB in 3 files"),
        ("lookups", "1,000/s"),
        ("│problem", "cold storage maintenance failed: no space left"),
        ("│warning", "the system clock is 90 s behind"),
    ] {
        assert!(line_of(&lines, name).contains(value), "{name}: {lines:#?}");
    }
    // A rate that does not change has full bars; the first answer has none.
    let bars = line_of(&lines, "│in  ").matches('█').count();
    assert_eq!(bars, 15, "{lines:#?}");
    assert!(line_of(&lines, "size").contains("12.3 KiB"));
    // Larger screens have more lines and longer histories.
    let large = self::lines(&model, 120, 40);
    assert!(line_of(&large, "validator").contains("next slot 2026-11-28 04:04:44 UTC (in 3 s)"));
    assert!(line_of(&large, "address").contains("203.0.113.7:52780"));
    assert!(line_of(&large, "pruned").contains("below 1.18 M"));
    assert_eq!(line_of(&large, "│in  ").matches('█').count(), 19);
    assert!(large[39].starts_with("q quit"));
    // Very wide ones have the panels beside each other.
    let wide = self::lines(&model, 200, 30);
    for title in ["Chain", "Network", "Mempool and queues", "Storage"] {
        assert!(wide[1].contains(title), "{}", wide[1]);
    }
}

#[test]
fn small_screens_say_what_is_needed() {
    let model = model([busy(0)]);
    for (width, height) in [(40, 10), (79, 24), (80, 23), (10, 3), (1, 1)] {
        let (lines, drawn, _) = screen(&model, COLORS, width, height);
        assert_eq!(drawn.page, 0);
        if width >= 40 {
            let expected = format!("{width}x{height} is too small: 80x24 ");
            assert!(lines.concat().starts_with(&expected), "{lines:?}");
        }
    }
    screen(&model, COLORS, 0, 0);
}

#[test]
fn node_that_is_gone_keeps_its_last_values() {
    let mut model = model((0..3).map(busy));
    model.now = Duration::from_secs(5);
    model.update(Err("no node is running at /x/control.sock".to_owned()));
    model.now = Duration::from_secs(17);
    let lines = lines(&model, 80, 24);
    assert!(lines[0].ends_with("node gone for 12 s, reconnecting"));
    assert!(line_of(&lines, "height").contains("1.23 M"));
    assert!(line_of(&lines, "out").contains("out       - "));
    line_of(&lines, "gone     no node is running at /x/control.sock");
    model.update(Ok(Box::new(Sample {
        status: busy(0),
        ..Sample::default()
    })));
    assert!(self::lines(&model, 80, 24)[0].ends_with("live, every 1 s"));
    model.now = Duration::from_secs(30);
    assert!(self::lines(&model, 80, 24)[0].ends_with("no answer for 13 s"));
    model.act(Action::Pause);
    assert!(self::lines(&model, 80, 24)[0].ends_with("PAUSED, p continues"));
}

/// Returns a sample in which every number is the largest and every text is hostile.
fn hostile() -> Sample {
    let text = "\u{1b}[31m\u{1b}]0;title\u{7}\u{202e}\r\n\u{9b}2J日本\u{301}\u{200d} ".repeat(30);
    let max = u64::MAX;
    let mut status = busy(0);
    status.version.clone_from(&text);
    status.listen_address.clone_from(&text);
    status.advertised_address = None;
    for number in [
        &mut status.uptime_seconds,
        &mut status.chain_id,
        &mut status.peers,
        &mut status.hot_bytes,
    ] {
        *number = max;
    }
    status.hot_limit_bytes = 1;
    status.head_age_seconds = Some(max);
    status.chain.height = Some(max);
    status.chain.waits = Some(text.clone());
    (status.chain.candidates, status.chain.fetches) = (max, max);
    for sync in &mut status.chain.syncs {
        (sync.blocks_done, sync.blocks_total) = (max, 1);
        (sync.height, sync.headers_done, sync.headers_total) = (max, max, max);
    }
    let again = status.chain.syncs.clone();
    status.chain.syncs.extend(again);
    if let Some(validator) = &mut status.validator {
        validator.activity.clone_from(&text);
        (validator.pool_transactions, validator.pool_waiting) = (max, max);
        (validator.blocks_made, validator.blocks_late) = (max, max);
        validator.pool_bytes = max;
    }
    if let Some(pruning) = &mut status.pruning {
        (pruning.horizon, pruning.pins, pruning.running) = (max, max, true);
    }
    for value in status.counters.values_mut() {
        *value = max;
    }
    status.counters.insert(format!("dropped: {text}"), max);
    status.problems = vec![text.clone(); 40];
    status.warnings = vec![text.clone()];
    let peer = PeerReply {
        public_key: PublicKey::new([0xff; 32]),
        address: "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"
            .parse()
            .unwrap(),
        bucket: 0,
        last_seen_seconds: max,
        is_validated: false,
        is_validator: true,
        difficulty: 255,
        latest_block: None,
        bad_blocks: max,
    };
    let line = LogReply {
        time: text.clone(),
        level: LogLevel::Error,
        module: text.clone(),
        message: text,
    };
    Sample {
        status,
        peers: Ok(vec![peer; 50]),
        warnings: Ok(vec![line; 50]),
    }
}

#[test]
fn hostile_nodes_cannot_break_the_screen() {
    let mut model = Model::new(Duration::from_secs(1));
    model.update(Ok(Box::new(Sample {
        status: StatusReply {
            public_key: hostile().status.public_key,
            ..empty()
        },
        ..Sample::default()
    })));
    model.now = Duration::from_millis(1);
    model.update(Ok(Box::new(hostile())));
    for list in List::ALL {
        model.list = list;
        model.scroll = 0;
        for (width, height) in [(80, 24), (120, 40), (200, 50), (40, 10)] {
            let (lines, drawn, _) = screen(&model, COLORS, width, height);
            let text = lines.concat();
            assert!(text.chars().all(is_visible), "{text:?}");
            if width < 80 {
                continue;
            }
            // Frames and state are where they belong.
            assert!(lines[0].ends_with("live, every 1 s"), "{}", lines[0]);
            let edges = lines[1].chars().next().zip(lines[1].chars().last());
            assert_eq!(edges, Some(('┌', '┐')), "{lines:#?}");
            let last = &lines[lines.len() - 2];
            assert!(last.starts_with('└') && last.ends_with('┘'), "{lines:#?}");
            for line in &lines[2..lines.len() - 2] {
                assert!(line.starts_with(['│', '└', '┌']), "{lines:#?}");
                assert!(line.ends_with(['│', '┘', '┐']), "{lines:#?}");
            }
            assert!(drawn.max_scroll > 0 || list == List::Counters, "{list:?}");
        }
    }
}

#[test]
fn lists_scroll_to_their_end() {
    let mut model = Model::new(Duration::from_secs(1));
    let peers = (0..100).map(|byte| PeerReply {
        public_key: PublicKey::new([byte; 32]),
        address: format!("192.0.2.{byte}:52780").parse().unwrap(),
        bucket: 0,
        last_seen_seconds: 5,
        is_validated: true,
        is_validator: byte == 99,
        difficulty: 1,
        latest_block: None,
        bad_blocks: 0,
    });
    model.update(Ok(Box::new(Sample {
        status: busy(0),
        peers: Ok(peers.collect()),
        warnings: Ok(vec![LogReply {
            time: "2026-11-30T01:02:03.456789+00:00".to_owned(),
            level: LogLevel::Warn,
            module: "astreum_node::net".to_owned(),
            message: "no answer".to_owned(),
        }]),
    })));
    model.list = List::Peers;
    let (lines, drawn, _) = screen(&model, COLORS, 80, 24);
    line_of(&lines, "192.0.2.0:52780");
    line_of(&lines, " 1 to 8 of 100 ");
    assert_eq!((drawn.page, drawn.max_scroll), (8, 92));
    model.scroll = usize::MAX;
    let lines = self::lines(&model, 80, 24);
    assert!(line_of(&lines, "192.0.2.99:52780").contains("validator"));
    line_of(&lines, " 93 to 100 of 100 ");
    line_of(&lines, "Peers 100");
    model.list = List::Log;
    let lines = self::lines(&model, 80, 24);
    line_of(&lines, "01:02:03 net: no answer");
    model.list = List::Counters;
    let lines = self::lines(&model, 80, 24);
    assert!(line_of(&lines, "cold_journals").contains(" 3 "));
}

#[test]
fn help_covers_the_screen_and_fits_the_smallest_one() {
    let mut model = model([busy(0)]);
    model.act(Action::Help);
    let lines = lines(&model, 80, 24);
    for text in HELP {
        line_of(&lines, text);
    }
}

#[test]
fn no_color_uses_no_colors() {
    let mut model = model((0..3).map(busy));
    model.update(Err("gone".to_owned()));
    let theme = Theme { has_colors: false };
    let (_, _, buffer) = screen(&model, theme, 120, 40);
    let is_plain = |color| color == Color::Reset;
    assert!(
        buffer
            .content
            .iter()
            .all(|it| is_plain(it.fg) && is_plain(it.bg))
    );
    let (_, _, buffer) = screen(&model, COLORS, 120, 40);
    assert!(!buffer.content.iter().all(|it| is_plain(it.fg)));
}
