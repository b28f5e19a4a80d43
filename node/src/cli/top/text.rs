//! Text and numbers of bounded width, for a screen.

use astreum_core::text::{Escaped, is_visible};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Number of bytes of a text after which it is cut.
const MAX_TEXT_BYTES: usize = 2_000;
/// Units of numbers.
const DECIMAL: [&str; 7] = ["", " k", " M", " G", " T", " P", " E"];
/// Units of bytes.
const BINARY: [&str; 7] = [" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"];

/// Returns a text of a node in a form that cannot move, hide or join the text beside it: invisible and
/// combining characters are escaped, and a long text is cut.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::new();
    for (at, character) in text.char_indices() {
        if clean.len() >= MAX_TEXT_BYTES {
            clean.push('…');
            break;
        }
        let end = at + character.len_utf8();
        let itself = text.get(at..end).unwrap_or_default();
        match character.width() {
            _ if !is_visible(character) => clean.push_str(&Escaped(itself).to_string()),
            Some(1..) => clean.push(character),
            _ => clean.push_str(&character.escape_unicode().to_string()),
        }
    }
    clean
}

/// Cuts a text to at most `width` columns; the last one shows that it was cut.
pub(super) fn clip(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut clipped = String::new();
    let mut used = 0;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used >= width {
            break;
        }
        clipped.push(character);
    }
    if width > 0 {
        clipped.push('…');
    }
    clipped
}

/// Splits a text into lines of at most `width` columns, between words where that is possible.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), 0);
    for word in text.split_inclusive(' ') {
        let visible = word.trim_end_matches(' ').width();
        if used > 0 && used + visible > width {
            lines.push(core::mem::take(&mut line));
            used = 0;
        }
        for character in word.chars() {
            let columns = character.width().unwrap_or(0);
            // A word that is longer than a line.
            if used + columns > width && used > 0 {
                if character == ' ' {
                    continue;
                }
                lines.push(core::mem::take(&mut line));
                used = 0;
            }
            line.push(character);
            used += columns;
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    for line in &mut lines {
        line.truncate(line.trim_end_matches(' ').len());
    }
    lines
}

/// Formats a number in at most seven columns.
pub(super) fn count(value: u64) -> String {
    match value {
        0..1_000 => value.to_string(),
        1_000..1_000_000 => format!("{},{:03}", value / 1_000, value % 1_000),
        _ => scaled(value, 1_000, &DECIMAL),
    }
}

/// Formats a number of bytes in at most eight columns.
pub(super) fn bytes(value: u64) -> String {
    scaled(value, 1_024, &BINARY)
}

/// Formats a rate, given in thousandths per second, in at most nine columns.
pub(super) fn rate(thousandths: u64) -> String {
    match thousandths {
        0 => "0/s".to_owned(),
        1..10_000 => format!("{}.{:02}/s", thousandths / 1_000, thousandths / 10 % 100),
        10_000..100_000 => format!("{}.{}/s", thousandths / 1_000, thousandths / 100 % 10),
        _ => format!("{}/s", count(thousandths / 1_000)),
    }
}

/// Returns a part of a whole in percent, at most 999.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX).min(999)
}

/// Formats a value with three digits and the largest unit of which it has one or more.
fn scaled(value: u64, base: u64, units: &[&str]) -> String {
    let mut divisor = 1;
    let mut unit = units.first().copied().unwrap_or_default();
    for next in units.iter().skip(1) {
        if value / divisor < base {
            break;
        }
        divisor *= base;
        unit = next;
    }
    let whole = value / divisor;
    let hundredths = u128::from(value % divisor) * 100 / u128::from(divisor);
    match whole {
        _ if divisor == 1 => format!("{whole}{unit}"),
        0..10 => format!("{whole}.{hundredths:02}{unit}"),
        10..100 => format!("{whole}.{}{unit}", hundredths / 10),
        _ => format!("{whole}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_units_and_bounded_width() {
        assert_eq!(count(999), "999");
        assert_eq!(count(999_999), "999,999");
        assert_eq!(count(1_234_567), "1.23 M");
        assert_eq!(count(u64::MAX), "18.4 E");
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.50 KiB");
        assert_eq!(bytes(1_023 << 20), "1023 MiB");
        assert_eq!(bytes(u64::MAX), "15.9 EiB");
        assert_eq!(rate(0), "0/s");
        assert_eq!(rate(5), "0.00/s");
        assert_eq!(rate(500), "0.50/s");
        assert_eq!(rate(12_345), "12.3/s");
        assert_eq!(rate(1_234_567), "1,234/s");
        assert_eq!((percent(1, 3), percent(u64::MAX, 0)), (33, 999));
    }

    #[test]
    fn control_and_combining_characters_are_escaped() {
        let hostile = "a\u{1b}[2J\u{9b}31m\r\n\u{202e}b\u{301}\u{200d}日";
        let text = clean(hostile);
        assert!(
            text.chars()
                .all(|it| is_visible(it) && it.width() > Some(0))
        );
        assert!(
            text.starts_with("a\\x1b[2J") && text.ends_with('日'),
            "{text}"
        );
        assert!(text.contains("b\\u{301}"), "{text}");
        let long = clean(&"x".repeat(100_000));
        assert!(long.len() < MAX_TEXT_BYTES + 8 && long.ends_with('…'));
    }

    #[test]
    fn texts_are_wrapped_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(clip("日本語", 4), "日…");
        assert_eq!(clip("abc", 3), "abc");
        assert_eq!(clip("abcd", 3), "ab…");
        assert_eq!(clip("abcd", 0), "");
    }

    proptest! {
        #[test]
        fn widths_are_never_exceeded(text in ".{0,60}", width in 2_usize..30, value in any::<u64>()) {
            let text = clean(&text);
            for line in wrap(&text, width) {
                prop_assert!(line.width() <= width, "{line:?}");
            }
            let without = |text: &str| text.replace(' ', "");
            prop_assert_eq!(without(&wrap(&text, width).concat()), without(&text));
            prop_assert!(clip(&text, width).width() <= width);
            prop_assert!(count(value).len() <= 7);
            prop_assert!(bytes(value).len() <= 8);
            prop_assert!(rate(value).len() <= 9);
        }
    }
}
