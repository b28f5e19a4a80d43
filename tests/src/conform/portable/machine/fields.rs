//! Typed access to the fields of a JSON object.

use super::OpError;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use astreum_core::atom::{Atom, AtomId};
use serde_json::{Map, Value};

/// Fields of a JSON object.
pub(crate) struct Fields<'v>(&'v Map<String, Value>);

impl<'v> Fields<'v> {
    /// Returns the fields of `value`, or `None` if it is not an object.
    pub(crate) fn of(value: &'v Value) -> Option<Self> {
        value.as_object().map(Self)
    }

    /// Reads a field with `read`, which returns `None` for a value of another type.
    fn typed<T>(
        &self,
        name: &str,
        kind: &str,
        read: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Result<T, OpError> {
        let value = self.0.get(name).unwrap_or(&Value::Null);
        read(value).ok_or_else(|| OpError(format!("field {name:?} is not {kind}")))
    }

    /// Returns whether the field is missing or null.
    pub(crate) fn is_null(&self, name: &str) -> bool {
        self.0.get(name).is_none_or(Value::is_null)
    }

    /// Reads a field with `read`; returns `None` if it is missing or null.
    pub(crate) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<T, OpError>,
    ) -> Result<Option<T>, OpError> {
        if self.is_null(name) {
            Ok(None)
        } else {
            read(self, name).map(Some)
        }
    }

    pub(crate) fn object(&self, name: &str) -> Result<Self, OpError> {
        self.typed(name, "an object", Fields::of)
    }

    pub(crate) fn value(&self, name: &str) -> Result<&'v Value, OpError> {
        self.typed(name, "there", Some)
    }

    pub(crate) fn text(&self, name: &str) -> Result<&'v str, OpError> {
        self.typed(name, "a string", Value::as_str)
    }

    pub(crate) fn bool(&self, name: &str) -> Result<bool, OpError> {
        self.typed(name, "a boolean", Value::as_bool)
    }

    pub(crate) fn int(&self, name: &str) -> Result<i64, OpError> {
        self.typed(name, "an integer of 64 bits", Value::as_i64)
    }

    /// Reads a list, each item with `read`.
    pub(crate) fn list_of<T>(
        &self,
        name: &str,
        kind: &str,
        read: impl Fn(&'v Value) -> Option<T>,
    ) -> Result<Vec<T>, OpError> {
        self.typed(name, &format!("a list of {kind}"), |value| {
            value.as_array()?.iter().map(read).collect()
        })
    }

    /// Reads a number that fits into `T`.
    pub(crate) fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<T, OpError> {
        let number = self.int(name)?;
        T::try_from(number)
            .map_err(|_| OpError(format!("field {name:?} is out of range: {number}")))
    }

    pub(crate) fn hex(&self, name: &str) -> Result<Vec<u8>, OpError> {
        self.typed(name, "a hex string", hex_of)
    }

    /// Reads a hex string of exactly `N` bytes.
    pub(crate) fn hex_array<const N: usize>(&self, name: &str) -> Result<[u8; N], OpError> {
        self.typed(name, &format!("{N} bytes in hex"), |value| {
            hex_of(value)?.try_into().ok()
        })
    }

    pub(crate) fn id(&self, name: &str) -> Result<AtomId, OpError> {
        self.hex_array(name).map(AtomId::new)
    }

    /// Reads a list of hex strings.
    pub(crate) fn hex_list(&self, name: &str) -> Result<Vec<Vec<u8>>, OpError> {
        self.list_of(name, "hex strings", hex_of)
    }

    /// Reads a list of atoms in stored form.
    pub(crate) fn atoms(&self, name: &str) -> Result<Vec<Atom>, OpError> {
        let stored = self.hex_list(name)?;
        let atoms = stored.iter().map(|bytes| Atom::from_bytes(bytes));
        atoms.collect::<Result<_, _>>().map_err(OpError::new)
    }

    /// Returns the names and values of the fields.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'v str, &'v Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// Decodes a JSON string of lower- or upper-case hex.
pub(crate) fn hex_of(value: &Value) -> Option<Vec<u8>> {
    unhex(value.as_str()?)
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    hex::decode(text).ok()
}

/// Encodes bytes as lower-case hex.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways_and_refuses_the_rest() {
        assert_eq!(unhex("00aBff"), Some(vec![0, 0xab, 0xff]));
        assert_eq!(hex([0, 0xab, 0xff]), "00abff");
        assert_eq!(unhex(""), Some(vec![]));
        for text in ["0", "0g", "é", "+1", " 1"] {
            assert_eq!(unhex(text), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_integers_in_range() {
        let value = serde_json::json!({"a": 255, "b": 256, "c": 1.0, "d": true, "e": -1});
        let fields = Fields::of(&value).unwrap();
        assert_eq!(fields.number::<u8>("a"), Ok(255));
        for name in ["b", "c", "d", "e", "missing"] {
            assert!(fields.number::<u8>(name).is_err(), "{name}");
        }
        assert_eq!(fields.optional("missing", Fields::number::<u8>), Ok(None));
        assert_eq!(fields.optional("a", Fields::number::<u8>), Ok(Some(255)));
        assert!(fields.optional("b", Fields::number::<u8>).is_err());
    }
}
