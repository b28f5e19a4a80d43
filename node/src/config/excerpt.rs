//! Excerpt of a file, with a caret under the place of an error.

use core::fmt;
use core::ops::Range;

use super::keys::Key;

/// Maximum number of characters of a line that are shown.
const MAX_SHOWN: usize = 100;
/// Number of characters before the place that are shown of a longer line.
const SHOWN_BEFORE: usize = 40;

/// Line of a file with a marked part. Secrets in the line are replaced by asterisks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Excerpt {
    /// Line, from 1.
    pub line: usize,
    /// Column of the marked part in the file, in characters, from 1.
    pub column: usize,
    /// Text of the line, or a part of it.
    text: String,
    /// Number of characters in `text` before the marked part.
    before: usize,
    /// Number of marked characters, at least 1.
    width: usize,
}

impl Excerpt {
    /// Creates the excerpt of the line in `text` at which `place` begins. Only the part of `place`
    /// on that line is marked.
    pub(super) fn new(text: &str, place: Range<usize>) -> Self {
        let start = floor(text, place.start);
        let begin = text.get(..start).and_then(|it| it.rfind('\n'));
        let begin = begin.map_or(0, |at| at + 1);
        let rest = text.get(start..).unwrap_or_default();
        let end = start + rest.find('\n').unwrap_or(rest.len());
        let line = text.get(begin..end).unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        let before = text.get(begin..start).unwrap_or_default().chars().count();
        let marked = text.get(start..floor(text, place.end.min(end)));
        let width = marked.map_or(0, |marked| marked.trim_end().chars().count());
        let shown: Vec<char> = masked(line).chars().map(visible).collect();
        let skipped = match shown.len() > MAX_SHOWN {
            true => before.saturating_sub(SHOWN_BEFORE),
            false => 0,
        };
        let shown: String = shown.iter().skip(skipped).take(MAX_SHOWN).collect();
        let room = MAX_SHOWN.saturating_sub(before - skipped);
        Self {
            line: 1 + text.get(..begin).map_or(0, |it| it.matches('\n').count()),
            column: before + 1,
            text: shown.trim_end().to_owned(),
            before: before - skipped,
            width: width.clamp(1, room.max(1)),
        }
    }
}

/// Returns the start of the character at or before a place.
fn floor(text: &str, place: usize) -> usize {
    let mut place = place.min(text.len());
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}

/// Returns the character, or a visible one of the same width in its place.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        character if astreum_core::text::is_visible(character) => character,
        _ => '?',
    }
}

/// Replaces everything that may belong to a secret: all values but those of known keys that are
/// not secret, and all comments.
fn masked(line: &str) -> String {
    let is_secret_free = |name: &str| Key::find(name.trim()).is_some_and(|key| !key.is_secret());
    let is_header = line.trim_start().starts_with('[');
    let (shown, hidden) = match line.split_once('=') {
        // Another key may follow by mistake.
        Some((name, value)) if is_secret_free(name) && !value.contains("secret") => {
            line.split_at(comment(line))
        }
        Some((name, _)) if !name.contains('#') => line.split_at(name.len() + 1),
        _ if is_header => line.split_at(comment(line)),
        _ => {
            let name = line.split(|c: char| c.is_whitespace() || c == ':').next();
            match name.filter(|name| is_secret_free(name)) {
                Some(_) => line.split_at(comment(line)),
                None => ("", line),
            }
        }
    };
    let hide = |character: char| match character.is_alphanumeric() {
        true => '*',
        false => character,
    };
    let hidden = hidden.chars().map(hide);
    shown.chars().chain(hidden).collect()
}

/// Returns where a comment begins; the end of the line without one. A `#` in quotes counts as well.
fn comment(line: &str) -> usize {
    line.find('#').unwrap_or(line.len())
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let space = " ".repeat(self.before);
        let carets = "^".repeat(self.width);
        write!(f, "{number} | {}\n{margin} | {space}{carets}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, marked: &str) -> String {
        let start = text.find(marked).unwrap();
        Excerpt::new(text, start..start + marked.len()).to_string()
    }

    #[test]
    fn caret_is_under_the_marked_part() {
        let text = "verbose = true\nincoming_port = \"é7\" # note\nlast = 1";
        assert_eq!(
            shown(text, "\"é7\""),
            "2 | incoming_port = \"é7\" # ****\n  |                 ^^^^"
        );
        let excerpt = Excerpt::new(text, 15..28);
        assert_eq!((excerpt.line, excerpt.column, excerpt.width), (2, 1, 13));
        // At the end of the file, and beyond it.
        for place in [text.len()..text.len(), 900..901] {
            let excerpt = Excerpt::new(text, place);
            assert_eq!((excerpt.line, excerpt.width), (3, 1));
        }
        // Only the first line of a part is marked.
        let excerpt = Excerpt::new(text, 10..40);
        assert_eq!((excerpt.line, excerpt.width), (1, 4));
        assert_eq!(Excerpt::new("", 0..0).to_string(), "1 | \n  | ^");
    }

    #[test]
    fn secrets_are_masked() {
        let secret = "0123456789abcdef";
        for line in [
            format!("relay_secret_key = \"{secret}\""),
            format!("relay_secret_kye = \"{secret}\""),
            format!("relay_secret_key \"{secret}\""),
            format!("  \"{secret}\","),
            format!("verbose = true # relay_secret_key = {secret}"),
            format!("# relay_secret_key = {secret}"),
            format!("[a] # {secret}"),
            format!("verbose = true relay_secret_key = \"{secret}\""),
        ] {
            let text = Excerpt::new(&line, 0..1).to_string();
            assert!(!text.contains("0123") && !text.contains("cdef"), "{text}");
        }
    }

    #[test]
    fn long_lines_and_invisible_characters_stay_readable() {
        let line = format!("state_dir = \"{}\t\u{202e}end\"", "x".repeat(300));
        let text = shown(&line, "end");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].chars().count() <= MAX_SHOWN + 4);
        assert!(lines[0].contains("x ?end"), "{text}");
        assert_eq!(lines[0].find("end").unwrap(), lines[1].find('^').unwrap());
        let wide = Excerpt::new(&line, 12..line.len());
        assert!(wide.before + wide.width <= MAX_SHOWN);
    }
}
