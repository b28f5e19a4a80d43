//! Drawing of the screen: a pure function from a [`Model`] to a buffer.

use core::fmt::Write as _;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Widget as _};
use unicode_width::UnicodeWidthStr as _;

use super::lists;
use super::model::{Link, List, Model};
use super::panels;
use super::text::{clean, clip, count};
use super::theme::{Theme, Tone};
use crate::rpc::duration;

/// Minimum number of columns of a screen.
const WIDTH: u16 = 80;
/// Minimum number of lines of a screen.
const HEIGHT: u16 = 24;
/// Columns from which on the panels are beside each other.
const WIDE: u16 = 160;
/// Lines from which on the panels have one more.
const TALL: u16 = 30;
const HELP: [&str; 19] = [
    "q, Ctrl-C       quit",
    "Esc             close this help, or quit",
    "p, Space        pause: freeze the screen",
    "Tab, Right      next list",
    "Left            previous list",
    "Up, Down        scroll the list by a line",
    "PgUp, PgDn      scroll it by a page; also Home, End",
    "Ctrl-Z          suspend; `fg` continues",
    "?, h            this help",
    "",
    "A line of small bars has one bar for each answer of the node,",
    "the latest one on the right; the highest one is the maximum.",
    "Rates are means of ten seconds. A dash is an unknown value.",
    "",
    "Problems need action, warnings do not; the log has warnings",
    "and errors since the start of the node, the latest first.",
    "In and out count datagrams and streams. Dropped datagrams are",
    "in the list of counters, by reason. Fetches are requests for",
    "data of the chain, with what sync still needs.",
];

/// Limits of scrolling in a drawn list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Drawn {
    /// Number of lines of the list on the screen.
    pub(super) page: usize,
    /// Maximum of [`Model::scroll`].
    pub(super) max_scroll: usize,
}

/// Draws the whole screen.
pub(super) fn render(model: &Model, theme: Theme, buffer: &mut Buffer) -> Drawn {
    let area = buffer.area;
    if area.width < WIDTH || area.height < HEIGHT {
        too_small(area, buffer);
        return Drawn {
            page: 0,
            max_scroll: model.scroll,
        };
    }
    let row = |y: u16, height: u16| Rect {
        y: area.y + y,
        height,
        ..area
    };
    let panel = panels::LINES + 2 + u16::from(area.height >= TALL);
    let columns: u16 = if area.width >= WIDE { 4 } else { 2 };
    let upper = panel * (4 / columns);
    header(model, theme, row(0, 1), buffer);
    let cell = |at: u16| {
        let width = area.width / columns;
        let (x, y) = (at % columns, at / columns);
        // The last column takes the rest.
        let is_last = x + 1 == columns;
        Rect {
            x: area.x + x * width,
            y: area.y + 1 + y * panel,
            width: if is_last {
                area.width - x * width
            } else {
                width
            },
            height: panel,
        }
    };
    panels::render(model, theme, [cell(0), cell(1), cell(2), cell(3)], buffer);
    let drawn = list(
        model,
        theme,
        row(1 + upper, area.height - upper - 2),
        buffer,
    );
    let keys = "q quit  p pause  Tab list  Up/Down scroll  ? help";
    let keys = Line::from(theme.span(Tone::Faint, keys));
    keys.render(row(area.height - 1, 1), buffer);
    if model.shows_help {
        help(theme, area, buffer);
    }
    drawn
}

fn too_small(area: Rect, buffer: &mut Buffer) {
    let text = format!(
        "{}x{} is too small: {WIDTH}x{HEIGHT} needed, q quits",
        area.width, area.height
    );
    let lines = super::text::wrap(&text, usize::from(area.width.max(1)));
    for (line, y) in lines.into_iter().zip(area.top()..area.bottom()) {
        let row = Rect {
            y,
            height: 1,
            ..area
        };
        Line::from(line).render(row, buffer);
    }
}

fn header(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let status = &model.sample.status;
    let state = match (model.is_paused, model.link()) {
        (true, _) => theme.span(Tone::Warning, "PAUSED, p continues"),
        (_, Link::Live) => {
            let seconds = model.interval.as_secs();
            theme.span(Tone::Good, format!("live, every {seconds} s"))
        }
        (_, Link::Late(time)) => {
            let text = format!("no answer for {}", duration(time.as_secs()));
            theme.span(Tone::Warning, text)
        }
        (_, Link::Gone(time)) => {
            let text = format!("node gone for {}, reconnecting", duration(time.as_secs()));
            theme.span(Tone::Bad, text)
        }
    };
    let key: String = status.public_key.to_string();
    let key: String = key.chars().take(12).collect();
    let mut text = format!("astreum {}", clip(&clean(&status.version), 12));
    let _ = write!(text, "  chain {}  {key}", status.chain_id);
    if model.error.is_none() {
        let _ = write!(text, "  up {}", duration(status.uptime_seconds));
    }
    // The state is never covered.
    let width = area.width.saturating_sub(to_columns(state.width()));
    let text = clip(&text, usize::from(width.saturating_sub(2)));
    Line::from(theme.span(Tone::Strong, text)).render(Rect { width, ..area }, buffer);
    let right = Rect {
        x: area.x + width,
        width: area.width - width,
        ..area
    };
    Line::from(state).render(right, buffer);
}

fn list(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) -> Drawn {
    let page = usize::from(area.height.saturating_sub(2));
    let width = usize::from(area.width.saturating_sub(2));
    let limit = |number: usize| number.saturating_sub(page);
    let skip = |number: usize| model.scroll.min(limit(number));
    let (lines, number) = lists::lines(model, theme, width, skip, page);
    let tabs = List::ALL.into_iter().flat_map(|list| {
        let style = match list == model.list {
            true => theme.selected(),
            false => theme.style(Tone::Strong),
        };
        let name = format!(" {} ", lists::title(model, list));
        [Span::styled(name, style), Span::raw(" ")]
    });
    let mut block = Block::bordered()
        .title(Line::from(tabs.collect::<Vec<_>>()))
        .border_style(theme.style(Tone::Faint));
    if number > page {
        let from = skip(number);
        let (first, last) = (from + 1, from + lines.len());
        let many = |number: usize| count(number as u64);
        let text = format!(" {} to {} of {} ", many(first), many(last), many(number));
        let place = Line::from(theme.span(Tone::Faint, text)).right_aligned();
        block = block.title_bottom(place);
    }
    let inner = block.inner(area);
    block.render(area, buffer);
    for (line, y) in lines.into_iter().zip(inner.top()..inner.bottom()) {
        let row = Rect {
            y,
            height: 1,
            ..inner
        };
        line.render(row, buffer);
    }
    Drawn {
        page,
        max_scroll: limit(number),
    }
}

fn help(theme: Theme, area: Rect, buffer: &mut Buffer) {
    let width = HELP.iter().map(|line| line.width()).max().unwrap_or(0);
    let width = to_columns(width).saturating_add(4).min(area.width);
    let height = to_columns(HELP.len()).saturating_add(2).min(area.height);
    let popup = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    Clear.render(popup, buffer);
    let block = Block::bordered().title(theme.span(Tone::Strong, " Help "));
    let inner = block.inner(popup);
    block.render(popup, buffer);
    for (line, y) in HELP.into_iter().zip(inner.top()..inner.bottom()) {
        let row = Rect {
            x: inner.x + 1,
            y,
            width: inner.width.saturating_sub(1),
            height: 1,
        };
        Line::from(line).render(row, buffer);
    }
}

fn to_columns(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
