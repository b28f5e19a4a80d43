//! Source texts and places in them.

use alloc::string::String;
use alloc::vec::Vec;
use astreum_core::text::Position;
use core::ops::Range;

/// Maximum size of a source, in bytes.
pub const MAX_SOURCE_BYTES: usize = 16 << 20;

/// Range of text in one of the [`Sources`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Index of the source.
    pub source: usize,
    /// Start, in bytes.
    pub start: usize,
    /// End, in bytes.
    pub end: usize,
}

impl Place {
    /// Creates a place.
    #[must_use]
    pub const fn new(source: usize, span: Range<usize>) -> Self {
        Self {
            source,
            start: span.start,
            end: span.end,
        }
    }
}

#[derive(Debug)]
struct Source {
    name: String,
    text: String,
    /// Offsets of the starts of the lines.
    lines: Vec<usize>,
}

/// Source texts with their names.
///
/// ```
/// use astreum_script::{Place, Sources};
/// let mut sources = Sources::new();
/// let file = sources.add("file", "(a\n  b)");
/// let place = Place::new(file, 5..6);
/// assert_eq!(sources.text_at(place), "b");
/// assert_eq!(sources.locate(place), "file:2:3");
/// ```
#[derive(Default, Debug)]
pub struct Sources {
    list: Vec<Source>,
}

impl Sources {
    /// Creates an empty list of sources.
    #[must_use]
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Adds a source and returns its index.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> usize {
        let text = text.into();
        let starts = text.bytes().enumerate();
        let starts = starts.filter_map(|(at, byte)| (byte == b'\n').then_some(at + 1));
        let lines = core::iter::once(0).chain(starts).collect();
        self.list.push(Source {
            name: name.into(),
            text,
            lines,
        });
        self.list.len() - 1
    }

    /// Returns the name of a source.
    #[must_use]
    pub fn name(&self, source: usize) -> &str {
        self.list.get(source).map_or("", |source| &source.name)
    }

    /// Returns the text of a source.
    #[must_use]
    pub fn text(&self, source: usize) -> &str {
        self.list.get(source).map_or("", |source| &source.text)
    }

    /// Returns the text at a place.
    #[must_use]
    pub fn text_at(&self, place: Place) -> &str {
        let text = self.text(place.source);
        text.get(place.start..place.end).unwrap_or_default()
    }

    /// Returns line and column of the start of a place. Takes time in proportion to the line.
    #[must_use]
    pub fn position(&self, place: Place) -> Position {
        let lines = self.list.get(place.source).map(|source| &source.lines);
        let lines = lines.map(Vec::as_slice).unwrap_or_default();
        let after = lines.partition_point(|start| *start <= place.start);
        let line = after.saturating_sub(1);
        let start = lines.get(line).copied().unwrap_or_default();
        let rest = self.text(place.source).get(start..).unwrap_or_default();
        let in_line = Position::at(rest, place.start.saturating_sub(start));
        Position {
            offset: place.start,
            line: line + in_line.line,
            column: in_line.column,
        }
    }

    /// Returns name, line and column of a place, as in `file:2:3`.
    #[must_use]
    pub fn locate(&self, place: Place) -> String {
        let at = self.position(place);
        let name = self.name(place.source);
        alloc::format!("{name}:{}:{}", at.line, at.column)
    }

    /// Returns the line of the place with a caret under its start.
    #[must_use]
    pub fn snippet(&self, place: Place) -> String {
        let at = self.position(place);
        // The line alone, so that the time does not depend on the size of the source.
        let text = self.text(place.source);
        let lines = self.list.get(place.source).map(|source| &source.lines);
        let start = lines.and_then(|lines| lines.get(at.line - 1)).copied();
        let rest = text.get(start.unwrap_or_default()..).unwrap_or_default();
        let offset = place.start.saturating_sub(start.unwrap_or_default());
        let in_line = Position { offset, ..at };
        alloc::format!("{}", in_line.snippet(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_snippets_match_those_of_the_whole_text() {
        let text = "(a\n  é b)\r\n\tc\n\n\"x";
        let mut sources = Sources::new();
        sources.add("other", "x");
        let source = sources.add("file", text);
        for start in 0..=text.len() {
            let place = Place::new(source, start..start);
            let at = Position::at(text, start);
            let found = sources.position(place);
            assert_eq!((found.line, found.column), (at.line, at.column), "{start}");
            if text.is_char_boundary(start) {
                let snippet = alloc::format!("{}", at.snippet(text));
                assert_eq!(sources.snippet(place), snippet, "{start}");
            }
        }
        assert_eq!(sources.locate(Place::new(9, 0..1)), ":1:1");
    }
}
