//! Text of replies: names and values in two columns, times and heads. One format string has the
//! columns, so that no library for tables is needed.

use astreum_core::atom::AtomId;
use astreum_core::integer::Natural;

use crate::log::utc_text;
use crate::rpc::HeadReply;

/// Formats the first atom of a list or the root of a trie.
pub(super) fn root(id: AtomId) -> String {
    match id.is_zero() {
        true => "none".to_owned(),
        false => id.to_string(),
    }
}

/// Formats names and values in two columns.
pub(super) fn table(rows: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in rows {
        text.push_str(format!("{name:<15} {value}").trim_end());
        text.push('\n');
    }
    text
}

/// Formats a head on one line.
pub(super) fn at_head(head: &HeadReply) -> String {
    let HeadReply {
        id,
        height,
        timestamp,
        state,
    } = head;
    format!("{height} ({}, {state}), {id}", time(&timestamp.0))
}

/// Returns a human-readable form of seconds since 1970; years after 9999 stay a number.
pub(super) fn time(seconds: &Natural) -> String {
    match seconds.to_u64() {
        Some(seconds) => utc_text(seconds),
        None => format!("{seconds} s after 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_beyond_the_calendar_stay_numbers() {
        assert_eq!(time(&Natural::ZERO), "1970-01-01 00:00:00 UTC");
        let late = "99999999999999999999999999";
        assert_eq!(time(&late.parse().unwrap()), format!("{late} s after 1970"));
    }
}
