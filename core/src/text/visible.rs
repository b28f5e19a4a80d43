//! Visible characters, and escapes for all others.

use crate::expr::Symbol;
use core::fmt::{self, Write};

/// Returns whether `character` can be shown as it is: it is visible, and it does not hide, move or
/// reorder its surroundings.
///
/// Control characters, line and paragraph separators, bidirectional controls, all characters that
/// Unicode lists as default ignorable (including joiners and variation selectors), blank letters,
/// noncharacters and the private areas are not visible. White space counts as visible.
///
/// ```
/// use astreum_core::text::is_visible;
/// assert!(is_visible('é') && is_visible(' '));
/// assert!(!is_visible('\u{1b}') && !is_visible('\u{202e}') && !is_visible('\u{200d}'));
/// ```
#[must_use]
pub const fn is_visible(character: char) -> bool {
    !matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fdd0}'..='\u{fdef}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{fffe}'..='\u{ffff}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{10ffff}'
    ) && (character as u32) & 0xfffe != 0xfffe
}

/// Returns `bytes` as text if they are UTF-8 and consist of visible characters, tabs, line ends,
/// and the joiners and variation selectors that scripts and emoji use.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(bytes).ok()?;
    let is_text = |character| {
        is_visible(character)
            || matches!(
                character,
                '\n' | '\t' | '\r' | '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}'
            )
    };
    text.chars().all(is_text).then_some(text)
}

/// Text that prints with escapes for all invisible characters, so that it cannot hide or move
/// anything on a terminal.
///
/// ```
/// use astreum_core::text::Escaped;
/// assert_eq!(Escaped("red: \u{1b}[31m\n").to_string(), "red: \\x1b[31m\\n");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'s>(pub &'s str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0.as_bytes(), false)
    }
}

/// Formats the name with escapes for all invisible characters. As an expression a symbol prints in
/// a form that can be parsed: see `Display` of [`Expr`](crate::expr::Expr).
impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(self).fmt(f)
    }
}

/// Writes `bytes` as the contents of a string; escapes `"` and `\` only if `quotes` is set.
pub(super) fn write_escaped(out: &mut impl Write, bytes: &[u8], quotes: bool) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some((at, character)) = rest
            .char_indices()
            .find(|&(_, character)| !is_visible(character) || is_quote(character) && quotes)
        {
            let (plain, special) = rest.split_at(at);
            let (special, behind) = special.split_at(character.len_utf8());
            out.write_str(plain)?;
            match character {
                '\n' => out.write_str("\\n")?,
                '\t' => out.write_str("\\t")?,
                '\r' => out.write_str("\\r")?,
                '"' => out.write_str("\\\"")?,
                '\\' => out.write_str("\\\\")?,
                _ => write_raw(out, special.as_bytes())?,
            }
            rest = behind;
        }
        out.write_str(rest)?;
        write_raw(out, chunk.invalid())?;
    }
    Ok(())
}

fn write_raw(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|&byte| {
        out.write_str("\\x")?;
        write_hex(out, byte)
    })
}

/// Writes two hex digits.
pub(super) fn write_hex(out: &mut impl Write, byte: u8) -> fmt::Result {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    out.write_char(digit(byte >> 4))?;
    out.write_char(digit(byte & 15))
}

const fn is_quote(character: char) -> bool {
    matches!(character, '"' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn control_bidirectional_and_ignorable_characters_are_not_visible() {
        for character in [
            '\0',
            '\n',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{2800}',
            '\u{3164}',
            '\u{e000}',
            '\u{fdd0}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{fffe}',
            '\u{1d173}',
            '\u{1fffe}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{10fffd}',
        ] {
            assert!(!is_visible(character), "{character:?}");
            let text = character.to_string();
            let shown = Escaped(&text).to_string();
            assert!(shown.starts_with('\\') && !shown.contains(character));
        }
        for character in ['a', ' ', '\u{a0}', 'é', '\u{301}', '日', '🦀', '\u{fffd}'] {
            assert!(is_visible(character), "{character:?}");
            let text = character.to_string();
            assert_eq!(Escaped(&text).to_string(), text);
        }
    }

    #[test]
    fn joiners_count_as_text_but_are_escaped() {
        let family = "👨\u{200d}👩";
        assert_eq!(text(family.as_bytes()), Some(family));
        assert_eq!(Escaped(family).to_string(), "👨\\xe2\\x80\\x8d👩");
        assert_eq!(text(b"\x1b[2J"), None);
    }
}
