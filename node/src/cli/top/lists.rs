//! Lists of the lower part of the screen: problems, log, peers and counters.

use ratatui::text::Line;

use super::model::{List, Model};
use super::text::{clean, count, rate, wrap};
use super::theme::{Theme, Tone, column};
use crate::rpc::{LogLevel, PeerReply, duration};

/// Columns of the mark before an entry.
const MARK_WIDTH: usize = 9;

/// Returns the name of a list, with the number of its entries.
pub(super) fn title(model: &Model, list: List) -> String {
    let sample = &model.sample;
    let status = &sample.status;
    let many = |length: usize| count(length as u64);
    match list {
        List::Problems => {
            let gone = usize::from(model.error.is_some());
            let number = status.problems.len() + status.warnings.len() + gone;
            format!("Problems {}", many(number))
        }
        List::Log => match &sample.warnings {
            Ok(lines) => format!("Log {}", many(lines.len())),
            Err(_) => "Log -".to_owned(),
        },
        List::Peers => match &sample.peers {
            Ok(peers) => format!("Peers {}", many(peers.len())),
            Err(_) => "Peers -".to_owned(),
        },
        List::Counters => "Counters".to_owned(),
    }
}

/// Returns the lines of the chosen list from line `skip` on, at most `height` of `width` columns, and
/// the number of all lines.
pub(super) fn lines(
    model: &Model,
    theme: Theme,
    width: usize,
    skip: impl Fn(usize) -> usize,
    height: usize,
) -> (Vec<Line<'static>>, usize) {
    let sample = &model.sample;
    match model.list {
        List::Problems => {
            let mut list = Entries::new(theme, width);
            if let Some(error) = &model.error {
                list.add(Tone::Bad, "gone", &clean(error));
            }
            for problem in &sample.status.problems {
                list.add(Tone::Bad, "problem", &clean(problem));
            }
            for warning in &sample.status.warnings {
                list.add(Tone::Warning, "warning", &clean(warning));
            }
            list.part("no problems and no warnings", skip, height)
        }
        List::Log => {
            let mut list = Entries::new(theme, width);
            match &sample.warnings {
                Ok(lines) => lines.iter().rev().for_each(|line| {
                    let tone = match line.level {
                        LogLevel::Error => Tone::Bad,
                        _ => Tone::Warning,
                    };
                    // The time of the day, in UTC.
                    let time = line.time.split('T').nth(1).unwrap_or(&line.time);
                    let time: String = clean(time).chars().take(8).collect();
                    let module = line.module.strip_prefix("astreum_node::");
                    let module = clean(module.unwrap_or(&line.module));
                    list.add(tone, &time, &format!("{module}: {}", clean(&line.message)));
                }),
                Err(error) => list.add(Tone::Warning, "unknown", &clean(error)),
            }
            list.part("no warnings and no errors since the start", skip, height)
        }
        List::Peers => match &sample.peers {
            Ok(peers) if !peers.is_empty() => {
                let from = skip(peers.len());
                let part = peers.iter().skip(from).take(height);
                let part = part.map(|peer| peer_line(peer, theme, width));
                (part.collect(), peers.len())
            }
            Ok(_) => Entries::new(theme, width).part("no peers", skip, height),
            Err(error) => {
                let mut list = Entries::new(theme, width);
                list.add(Tone::Warning, "unknown", &clean(error));
                list.part("", skip, height)
            }
        },
        List::Counters => {
            let counters = sample.status.counters.iter();
            let counters: Vec<_> = counters.filter(|(_, value)| **value > 0).collect();
            let from = skip(counters.len());
            let part = counters.iter().skip(from).take(height);
            let part = part.map(|(name, value)| {
                let rate_of = model.counter_rates.get(*name).copied();
                let rate = rate_of.filter(|rate| *rate > 0).map(rate);
                Line::from(vec![
                    theme.span(Tone::Plain, column(&clean(name), width.saturating_sub(24))),
                    theme.span(Tone::Plain, format!(" {:>10}", count(**value))),
                    theme.span(Tone::Faint, format!(" {:>12}", rate.unwrap_or_default())),
                ])
            });
            let part = part.collect();
            if counters.is_empty() {
                return Entries::new(theme, width).part("all counters are 0", skip, height);
            }
            (part, counters.len())
        }
    }
}

fn peer_line(peer: &PeerReply, theme: Theme, width: usize) -> Line<'static> {
    // Key, address, time and remarks; wide screens have room for a longer key and an IPv6 address.
    let key_width = if width >= 110 { 34 } else { 14 };
    let address_width = if width >= 100 { 48 } else { 24 };
    let mut remarks = Vec::new();
    let mut tone = Tone::Plain;
    if peer.is_validator {
        remarks.push("validator".to_owned());
    }
    if !peer.is_validated {
        remarks.push("unvalidated".to_owned());
        tone = Tone::Faint;
    }
    if peer.bad_blocks > 0 {
        remarks.push(format!("{} bad blocks", count(peer.bad_blocks)));
        tone = Tone::Bad;
    }
    let seen = duration(peer.last_seen_seconds);
    let rest = width.saturating_sub(key_width + address_width + 15);
    let key: String = peer.public_key.to_string();
    let key = key.chars().take(key_width - 2).collect::<String>();
    Line::from(vec![
        theme.span(Tone::Faint, column(&key, key_width)),
        theme.span(tone, column(&peer.address.to_string(), address_width - 1)),
        theme.span(tone, format!(" {:>13}  ", column(&seen, 13).trim_end())),
        theme.span(tone, column(&remarks.join(", "), rest)),
    ])
}

/// Lines of entries that may be longer than a line.
struct Entries {
    theme: Theme,
    width: usize,
    lines: Vec<Line<'static>>,
}

impl Entries {
    const fn new(theme: Theme, width: usize) -> Self {
        Self {
            theme,
            width,
            lines: Vec::new(),
        }
    }

    fn add(&mut self, tone: Tone, mark: &str, text: &str) {
        let parts = wrap(text, self.width.saturating_sub(MARK_WIDTH).max(2));
        for (at, part) in parts.into_iter().enumerate() {
            let mark = if at == 0 { mark } else { "" };
            self.lines.push(Line::from(vec![
                self.theme.span(tone, column(mark, MARK_WIDTH)),
                self.theme.span(Tone::Plain, part),
            ]));
        }
    }

    fn part(
        mut self,
        if_empty: &str,
        skip: impl Fn(usize) -> usize,
        height: usize,
    ) -> (Vec<Line<'static>>, usize) {
        if self.lines.is_empty() {
            let nothing = self.theme.span(Tone::Faint, if_empty.to_owned());
            self.lines.push(Line::from(nothing));
        }
        let number = self.lines.len();
        let lines = self.lines.into_iter().skip(skip(number)).take(height);
        (lines.collect(), number)
    }
}
