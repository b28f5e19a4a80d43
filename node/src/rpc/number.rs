//! JSON encoding of numbers: one type for each concept.
//!
//! Heights, times, chain ids and difficulties are JSON numbers while every reader holds them
//! exactly, that is below 2^53, and decimal strings from there on. Amounts are always decimal
//! strings.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Smallest integer from which some readers round.
const EXACT: u64 = 1 << 53;

/// Returns a decimal number as JSON: a number below 2^53, else a string.
#[must_use]
pub fn number(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) if number < EXACT => number.into(),
        _ => text.into(),
    }
}

/// Writes a decimal number.
pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    number(text).serialize(serializer)
}

/// Reads a number, or its decimal text.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match Value::deserialize(from)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(serde::de::Error::custom(
            "expected a number or its decimal text",
        )),
    }
}

/// Same encoding for optional numbers.
pub(super) mod optional {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use serde_json::Value;

    #[expect(clippy::ref_option, reason = "serde gives it so")]
    pub(in super::super) fn serialize<S: Serializer>(
        text: &Option<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_deref().map(super::number).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<String>, D::Error> {
        match Option::<Value>::deserialize(from)? {
            None => Ok(None),
            Some(value) => super::deserialize(value)
                .map(Some)
                .map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_json_numbers_as_long_as_readers_hold_them_exactly() {
        assert_eq!(number("0"), 0);
        assert_eq!(number("9007199254740991"), 9_007_199_254_740_991_u64);
        assert_eq!(number("9007199254740992"), "9007199254740992");
        assert_eq!(number("-1"), "-1");
        let large = "340282366920938463463374607431768211456";
        assert_eq!(number(large), large);
    }
}
