//! Styles, and drawing of rows and columns for all parts of the screen.

use core::iter;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Sparkline, Widget as _};
use unicode_width::UnicodeWidthStr as _;

use super::model::Series;
use super::text::clip;

/// Columns of the name of a value.
const NAME_WIDTH: u16 = 10;
/// Columns of a value beside a sparkline, with the gap.
const VALUE_WIDTH: u16 = 13;

/// Meaning of a text, which has a style.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Tone {
    /// Nothing unusual.
    #[default]
    Plain,
    /// Names and hints.
    Faint,
    /// Titles.
    Strong,
    /// Good state.
    Good,
    /// Unusual state.
    Warning,
    /// State that needs action.
    Bad,
}

/// Styles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Theme {
    /// `false` to use attributes only (<https://no-color.org>).
    pub(super) has_colors: bool,
}

impl Theme {
    /// Returns the style of a text.
    pub(super) fn style(self, tone: Tone) -> Style {
        let color = |style: Style, color| match self.has_colors {
            true => style.fg(color),
            false => style,
        };
        let style = Style::new();
        match tone {
            Tone::Plain => style,
            Tone::Faint => style.add_modifier(Modifier::DIM),
            Tone::Strong => style.add_modifier(Modifier::BOLD),
            Tone::Good => color(style, Color::Green),
            Tone::Warning => color(style.add_modifier(Modifier::BOLD), Color::Yellow),
            Tone::Bad => match self.has_colors {
                true => style.add_modifier(Modifier::BOLD).fg(Color::Red),
                false => style.add_modifier(Modifier::REVERSED),
            },
        }
    }

    /// Returns the style of a selected item.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Returns a text with its style.
    pub(super) fn span(self, tone: Tone, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style(tone))
    }

    /// Draws the name and the value on one line, and in the space behind it the history, if there is
    /// one.
    pub(super) fn row(
        self,
        area: Rect,
        buffer: &mut Buffer,
        name: &str,
        (tone, value): (Tone, String),
        history: Option<&Series>,
    ) {
        let area = area.intersection(buffer.area);
        let name = self.span(Tone::Faint, clip(name, usize::from(NAME_WIDTH) - 1));
        line(NAME_WIDTH, 0, area, buffer, name);
        let width = match history {
            Some(_) => VALUE_WIDTH,
            None => area.width.saturating_sub(NAME_WIDTH),
        };
        let limit = usize::from(width) - usize::from(history.is_some() && width > 0);
        line(
            width,
            NAME_WIDTH,
            area,
            buffer,
            self.span(tone, clip(&value, limit)),
        );
        if let Some(history) = history {
            let x = NAME_WIDTH.saturating_add(VALUE_WIDTH);
            let part = right_of(area, x);
            let style = match self.has_colors {
                true => Style::new().fg(Color::Cyan),
                false => Style::new(),
            };
            Sparkline::default()
                .data(history.last(usize::from(part.width)))
                .style(style)
                .render(part, buffer);
        }
    }
}

/// Returns the part of an area from column `x` on.
fn right_of(area: Rect, x: u16) -> Rect {
    let x = x.min(area.width);
    Rect {
        x: area.x.saturating_add(x),
        width: area.width - x,
        ..area
    }
}

/// Draws a text into `width` columns from column `x` of an area on.
fn line(width: u16, x: u16, area: Rect, buffer: &mut Buffer, text: Span<'static>) {
    let part = right_of(area, x);
    let width = width.min(part.width);
    Line::from(text).render(Rect { width, ..part }, buffer);
}

/// Returns a text of `width` columns: cut, or filled with blanks.
pub(super) fn column(text: &str, width: usize) -> String {
    let mut text = clip(text, width);
    let missing = width.saturating_sub(text.width());
    text.extend(iter::repeat_n(' ', missing));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colors_there_are_attributes_only() {
        let theme = Theme { has_colors: false };
        for tone in [
            Tone::Plain,
            Tone::Faint,
            Tone::Strong,
            Tone::Good,
            Tone::Warning,
            Tone::Bad,
        ] {
            let style = theme.style(tone);
            assert_eq!((style.fg, style.bg), (None, None), "{tone:?}");
        }
        let colored = Theme { has_colors: true }.style(Tone::Bad);
        assert_eq!(colored.fg, Some(Color::Red));
    }

    #[test]
    fn columns_have_their_width() {
        assert_eq!(column("ab", 4), "ab  ");
        assert_eq!(column("日本", 3).width(), 3);
    }
}
