//! A line of source with a caret under it.

use super::Position;
use super::print::can_be_seen;
use alloc::string::String;
use core::fmt;
use unicode_width::UnicodeWidthChar;

/// How many columns are shown before the place, at most.
const BEFORE_COLUMNS: usize = 60;
/// How many columns are shown from the place on, at most.
const BEHIND_COLUMNS: usize = 40;
/// How many columns a tab takes.
const TAB_COLUMNS: usize = 4;

/// A line of a source with a caret under a place in it, without a line end behind it.
///
/// Tabs are shown as spaces, what cannot be seen as `\u{fffd}`, and of a long line the part around
/// the place between `…`. The caret stands right under wide and combining characters too.
///
/// ```
/// use astreum_core::text::Position;
/// let source = "(a)\n\t(日本 b))";
/// let place = Position::at(source, source.len() - 1);
/// assert_eq!(place.snippet(source).to_string(), "2 |     (日本 b))\n  |             ^");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Snippet<'s> {
    source: &'s str,
    at: Position,
}

impl<'s> Snippet<'s> {
    pub(super) const fn new(source: &'s str, at: Position) -> Self {
        Self { source, at }
    }

    /// What stands on the line before the place and from it on.
    fn line(&self) -> (&'s str, &'s str) {
        let offset = self.source.floor_char_boundary(self.at.offset);
        let (before, behind) = self.source.split_at(offset);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let end = behind.find('\n').unwrap_or(behind.len());
        let behind = behind.get(..end).unwrap_or_default();
        (
            before.get(start..).unwrap_or_default(),
            behind.strip_suffix('\r').unwrap_or(behind),
        )
    }
}

/// How a character is shown, and how many columns that takes.
fn shown(character: char) -> (char, usize) {
    match character {
        '\t' => (' ', TAB_COLUMNS),
        character if can_be_seen(character) => (character, character.width().unwrap_or(1)),
        _ => ('\u{fffd}', 1),
    }
}

/// The characters that fit `max` columns, the columns they take, and whether all did.
fn fitting(characters: impl Iterator<Item = char>, max: usize) -> (String, usize, bool) {
    let (mut text, mut columns) = (String::new(), 0);
    // Characters without width are bounded too.
    for (count, character) in characters.enumerate() {
        let (character, width) = shown(character);
        if columns + width > max || count >= 2 * max {
            return (text, columns, false);
        }
        columns += width;
        let copies = if character == ' ' { width } else { 1 };
        text.extend(core::iter::repeat_n(character, copies));
    }
    (text, columns, true)
}

impl fmt::Display for Snippet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, behind) = self.line();
        let (before, mut columns, from_start) = fitting(before.chars().rev(), BEFORE_COLUMNS);
        let (behind, _, to_end) = fitting(behind.chars(), BEHIND_COLUMNS);
        let cut = |whole| if whole { "" } else { "…" };
        columns += usize::from(!from_start);
        let before: String = before.chars().rev().collect();
        let number = self.at.line;
        let gutter = number.checked_ilog10().unwrap_or_default() as usize + 1;
        writeln!(
            f,
            "{number} | {}{before}{behind}{}",
            cut(from_start),
            cut(to_end)
        )?;
        write!(f, "{:gutter$} | {:columns$}^", "", "")
    }
}
