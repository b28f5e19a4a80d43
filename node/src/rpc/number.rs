//! JSON encoding of numbers: one type for each concept.
//!
//! Heights, times, chain ids and difficulties are JSON numbers while every reader holds them
//! exactly, that is below 2^53, and decimal strings from there on. Amounts are always decimal
//! strings.

use super::schema::{Schema, Types};
use astreum_core::integer::Natural;
use core::fmt;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// Smallest integer from which some readers round.
const EXACT: u64 = 1 << 53;

/// Height, time, chain id or difficulty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Number(pub Natural);

impl<T: Into<Natural>> From<T> for Number {
    fn from(number: T) -> Self {
        Self(number.into())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0.to_u64() {
            Some(number) if number < EXACT => number.serialize(to),
            _ => self.0.to_string().serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(from)? {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => {
                let message = "expected a number or its decimal text";
                return Err(D::Error::custom(message));
            }
        };
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

impl Schema for Number {
    fn schema(_: &mut Types) -> Value {
        json!({"anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^[0-9]+$"},
        ]})
    }
}

/// Returns a decimal number as JSON: a number below 2^53, else a string.
#[must_use]
pub fn number(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) if number < EXACT => number.into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_json_numbers_below_the_exact_limit() {
        assert_eq!(number("0"), 0);
        assert_eq!(number("9007199254740991"), 9_007_199_254_740_991_u64);
        assert_eq!(number("9007199254740992"), "9007199254740992");
        assert_eq!(number("-1"), "-1");
        let large = "340282366920938463463374607431768211456";
        assert_eq!(number(large), large);
        for text in ["0", "9007199254740991", "9007199254740992", large] {
            let value = Number(text.parse().unwrap());
            let json = serde_json::to_value(&value).unwrap();
            assert_eq!(json, number(text));
            assert_eq!(serde_json::from_value::<Number>(json).unwrap(), value);
        }
        for wrong in [json!(-1), json!(1.5), json!("x"), json!(null)] {
            assert!(serde_json::from_value::<Number>(wrong).is_err());
        }
    }
}
