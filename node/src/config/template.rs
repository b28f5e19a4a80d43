//! Commented configuration file with every key.

use core::fmt::Write as _;

use super::keys::KEYS;
use super::settings::Settings;
use super::value::{Allowed, DisplayValue};

/// Length of a line of comment, in characters.
const LINE: usize = 100;

/// Returns a TOML file that lists every key with its meaning, its values and its default, in
/// comments: it configures nothing until a line is uncommented.
#[must_use]
pub fn template() -> String {
    let mut text = String::from(
        "# Configuration of an Astreum node. Remove the # in front of a key to change it from its\n\
         # default. Flags and environment variables (ASTREUM_ and the key in capitals) override\n\
         # this file. `astreum config check --config FILE` checks it.\n",
    );
    let defaults = Settings::default();
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            let _ = write!(text, "\n# ---- {section} ----\n");
        }
        text.push('\n');
        let default = key.show(&defaults);
        let shown = match (&default, key.allowed) {
            // Text means something other than unset there.
            (DisplayValue::Unset, Allowed::Whole { .. }) => String::new(),
            (shown, _) => shown.to_string(),
        };
        let unset = matches!(default, DisplayValue::Unset);
        let named = if unset { "none" } else { shown.as_str() };
        comment(&mut text, key.help());
        comment(
            &mut text,
            &format!("Value: {}. Default: {named}.", key.allowed),
        );
        let _ = writeln!(text, "#{} = {shown}", key.name);
    }
    text
}

/// Writes a comment of several lines.
fn comment(text: &mut String, comment: &str) {
    let mut line = String::from("#");
    for word in comment.split_ascii_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > LINE {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loaded;
    use std::path::Path;

    #[test]
    fn template_configures_nothing_and_its_lines_are_the_defaults() {
        let text = template();
        let path = Path::new("/a/node.toml");
        let loaded = Loaded::from_toml(path, &text).unwrap();
        assert_eq!(loaded.settings, Settings::default());
        assert!(text.lines().all(|line| line.chars().count() <= LINE));
        // A key follows the # at once, a comment after a space.
        let is_key = |line: &&str| {
            line.strip_prefix('#')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
        };
        let lines: Vec<&str> = text.lines().filter(is_key).collect();
        assert_eq!(lines.len(), KEYS.len());
        for (line, key) in lines.iter().zip(KEYS) {
            let line = line.trim_start_matches('#');
            assert!(line.starts_with(&format!("{} =", key.name)), "{line}");
        }
        let complete = lines.iter().filter(|line| !line.ends_with("= "));
        let uncommented: Vec<&str> = complete.map(|line| line.trim_start_matches('#')).collect();
        assert!(uncommented.len() + 3 > KEYS.len());
        let loaded = Loaded::from_toml(path, &uncommented.join("\n")).unwrap();
        assert_eq!(loaded.settings, Settings::default());
    }
}
