//! Source line with a caret under a position.

use super::Position;
use super::boundary::floor_char_boundary;
use super::visible::is_visible;
use alloc::string::String;
use core::fmt;
use unicode_width::UnicodeWidthChar;

/// Maximum number of columns shown before the position.
const BEFORE_COLUMNS: usize = 60;
/// Maximum number of columns shown from the position on.
const AFTER_COLUMNS: usize = 40;
/// Width of a tab, in columns.
const TAB_COLUMNS: usize = 4;

/// Line of a source with a caret under a position, without a trailing line end.
///
/// Tabs are shown as spaces and invisible characters as `\u{fffd}`. A long line is cut to the part
/// around the position, marked with `…`. The caret is aligned under wide and combining characters
/// too.
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

    /// Returns the parts of the line before the position and from it on.
    fn line(&self) -> (&'s str, &'s str) {
        let offset = floor_char_boundary(self.source, self.at.offset);
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

/// Returns the displayed form of a character and its width in columns.
fn shown(character: char) -> (char, usize) {
    match character {
        '\t' => (' ', TAB_COLUMNS),
        character if is_visible(character) => (character, character.width().unwrap_or(1)),
        _ => ('\u{fffd}', 1),
    }
}

/// Returns the characters that fit in `max` columns, their width, and whether all of them fit.
fn fitting(characters: impl Iterator<Item = char>, max: usize) -> (String, usize, bool) {
    let (mut text, mut columns) = (String::new(), 0);
    // The number of characters without width is limited too.
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
        let (behind, _, to_end) = fitting(behind.chars(), AFTER_COLUMNS);
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn snippet(source: &str, offset: usize) -> String {
        Position::at(source, offset).snippet(source).to_string()
    }

    /// Returns the line and the number of columns before the caret, both without the gutter.
    fn line_and_caret(source: &str, offset: usize) -> (String, usize) {
        let text = snippet(source, offset);
        let (line, caret) = text.split_once('\n').unwrap();
        let (gutter, line) = line.split_once(" | ").unwrap();
        let caret = caret.strip_prefix(&" ".repeat(gutter.len())).unwrap();
        let caret = caret.strip_prefix(" | ").unwrap();
        (line.to_string(), caret.find('^').unwrap())
    }

    #[test]
    fn caret_is_under_the_error_position() {
        assert_eq!(snippet("a)", 1), "1 | a)\n  |  ^");
        assert_eq!(snippet("", 0), "1 | \n  | ^");
        assert_eq!(snippet("a\nbc\nd", 3), "2 | bc\n  |  ^");
        assert_eq!(snippet("a\n", 2), "2 | \n  | ^");
        assert_eq!(snippet("ab\r\nc", 2), "1 | ab\n  |   ^");
        let ninth = "\n".repeat(9) + "x";
        assert_eq!(snippet(&ninth, 9), "10 | x\n   | ^");
    }

    #[test]
    fn tabs_wide_and_combining_characters_keep_the_caret_aligned() {
        assert_eq!(line_and_caret("\t\tx", 2), ("        x".to_string(), 8));
        assert_eq!(line_and_caret("日本)", 6), ("日本)".to_string(), 4));
        assert_eq!(line_and_caret("e\u{301})", 3), ("e\u{301})".to_string(), 1));
    }

    #[test]
    fn control_characters_are_replaced() {
        let (line, caret) = line_and_caret("\u{1b}[31m\u{202e})", 8);
        assert_eq!((line.as_str(), caret), ("\u{fffd}[31m\u{fffd})", 6));
    }

    #[test]
    fn long_line_is_cut_around_the_error_position() {
        let source = "a".repeat(500) + ")" + &"b".repeat(500);
        let (line, caret) = line_and_caret(&source, 500);
        let (before, behind) = ("a".repeat(60), "b".repeat(39));
        assert_eq!(line, alloc::format!("…{before}){behind}…"));
        assert_eq!(caret, 61);
    }

    proptest! {
        #[test]
        fn caret_points_into_or_right_after_a_short_line(
            source in "[ -~\t\n日λ\u{301}]{0,200}", offset in 0..250_usize,
        ) {
            let (line, caret) = line_and_caret(&source, offset);
            prop_assert!(line.chars().count() <= BEFORE_COLUMNS + AFTER_COLUMNS * 2 + 2 + 120);
            let width: usize = line.chars().filter_map(UnicodeWidthChar::width).sum();
            prop_assert!(caret <= width);
        }
    }
}
