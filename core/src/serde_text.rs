//! `serde` encoding of ids, addresses and amounts: their text, in every format.

use alloc::string::String;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! text {
    ($($type:ty),+) => {
        $(
            impl Serialize for $type {
                fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                    to.collect_str(self)
                }
            }

            impl<'de> Deserialize<'de> for $type {
                fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(from)?;
                    text.parse().map_err(D::Error::custom)
                }
            }
        )+
    };
}

text!(crate::atom::AtomId);
#[cfg(feature = "chain")]
text!(crate::chain::Address, crate::integer::Natural);
