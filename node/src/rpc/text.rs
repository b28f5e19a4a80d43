//! Text encoding of ids, keys, amounts, names and bytes in JSON.
//!
//! Fields with `#[serde(with = "text")]` hold the types of the core: ids and keys are 64 hex digits,
//! amounts decimal digits, bytes hex digits in pairs.

use super::schema::{Schema, Types};
use crate::chain_service::snapshot::SnapshotStage;
use crate::query::BlockAt;
use astreum_core::atom::{Atom, AtomId, AtomKind};
use astreum_core::chain::fork_choice::Cause;
use astreum_core::chain::{Address, Status};
use astreum_core::consensus::HeadState;
use astreum_core::crypto::PublicKey;
use astreum_core::integer::Natural;
use core::fmt;
use core::marker::PhantomData;
use core::str::FromStr;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// Maximum number of characters of invalid text that an error repeats.
const SHOWN_CHARS: usize = 80;

/// Value with a text form.
pub(super) trait AsText: Sized {
    /// Name of one such value in errors.
    const NAME: &'static str;

    fn to_text(&self) -> String;
    fn from_text(text: &str) -> Result<Self, String>;
    fn text_schema() -> Value;
}

/// Value, optional value or list of values that is encoded as text.
pub(super) trait Encoded: Sized {
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error>;
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error>;
}

pub(super) fn serialize<T: Encoded, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    value.write(to)
}

pub(super) fn deserialize<'de, T: Encoded, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    T::read(from)
}

fn parse<T: AsText, E: serde::de::Error>(text: &str) -> Result<T, E> {
    T::from_text(text).map_err(|error| {
        let shown: String = text.chars().take(SHOWN_CHARS).collect();
        E::custom(format!("{shown:?}: {error}"))
    })
}

impl<T: AsText> Encoded for T {
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.to_text().serialize(to)
    }

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parse(&String::deserialize(from)?)
    }
}

impl<T: AsText> Encoded for Option<T> {
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.as_ref().map(T::to_text).serialize(to)
    }

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.as_deref().map(parse).transpose()
    }
}

impl<T: AsText> Encoded for Vec<T> {
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter().map(T::to_text))
    }

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Items(PhantomData))
    }
}

/// Reader of a list, item by item: the first invalid one ends it.
struct Items<T>(PhantomData<T>);

impl<'de, T: AsText> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(text) = from.next_element::<String>()? {
            let item = T::from_text(&text).map_err(|error| {
                let at = items.len();
                A::Error::custom(format!("{} {at}: {error}", T::NAME))
            })?;
            items.push(item);
        }
        Ok(items)
    }
}

fn pattern(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

macro_rules! displayed {
    ($($type:ty, $name:literal, $pattern:literal;)+) => {
        $(
            impl AsText for $type {
                const NAME: &'static str = $name;

                fn to_text(&self) -> String {
                    self.to_string()
                }

                fn from_text(text: &str) -> Result<Self, String> {
                    text.parse().map_err(|error: <$type as FromStr>::Err| error.to_string())
                }

                fn text_schema() -> Value {
                    pattern($pattern)
                }
            }
        )+
    };
}

displayed! {
    AtomId, "id", "^[0-9a-f]{64}$";
    Address, "key", "^[0-9a-f]{64}$";
    Natural, "amount", "^[0-9]+$";
    BlockAt, "block", "^(head|[0-9]+|[0-9a-f]{64})$";
    AccountName, "account", "^(me|[0-9a-f]{64})$";
}

impl AsText for PublicKey {
    const NAME: &'static str = "key";

    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Address::from_text(text).map(|key| Self::new(*key.as_bytes()))
    }

    fn text_schema() -> Value {
        Address::text_schema()
    }
}

impl AsText for Atom {
    const NAME: &'static str = "atom";

    fn to_text(&self) -> String {
        hex(&self.to_bytes())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let Hex(bytes) = Hex::from_text(text)?;
        Self::from_bytes(&bytes).map_err(|error| error.to_string())
    }

    fn text_schema() -> Value {
        Hex::text_schema()
    }
}

macro_rules! words {
    ($($type:ty, $name:literal: $($variant:ident = $word:literal),+;)+) => {
        $(
            impl AsText for $type {
                const NAME: &'static str = $name;

                fn to_text(&self) -> String {
                    let word = match self {
                        $(Self::$variant => $word,)+
                    };
                    word.to_owned()
                }

                fn from_text(text: &str) -> Result<Self, String> {
                    match text {
                        $($word => Ok(Self::$variant),)+
                        _ => Err(format!("unknown {}", Self::NAME)),
                    }
                }

                fn text_schema() -> Value {
                    json!({"type": "string", "enum": [$($word),+]})
                }
            }
        )+
    };
}

words! {
    AtomKind, "kind of atoms": Symbol = "symbol", Bytes = "bytes", List = "list";
    HeadState, "state of a head": Trusted = "trusted", Verified = "verified", Own = "own";
    Status, "status of a receipt": Success = "success", Failed = "failed";
    Cause, "cause of a fork":
        NeedsOperator = "needs_operator",
        NeedsFirstDecision = "needs_first_decision",
        Light = "light";
    TransactionStanding, "state of a transaction":
        Success = "success",
        Failed = "failed",
        Pending = "pending",
        Waiting = "waiting",
        Fetching = "fetching",
        Announced = "announced",
        Unheld = "unheld",
        Refused = "refused",
        Expired = "expired",
        Abandoned = "abandoned",
        Stored = "stored",
        Unknown = "unknown";
    SnapshotStage, "stage of a snapshot":
        Waiting = "waiting", Headers = "headers", State = "state", Complete = "complete",
        Unused = "unused";
    ConfirmationLevel, "confirmation":
        Included = "included", Safe = "safe", Settled = "settled";
    Topic, "topic":
        Heads = "heads",
        Reorganizations = "reorganizations",
        Transaction = "transaction",
        Log = "log";
    LogLevel, "level":
        Error = "error", Warn = "warn", Info = "info", Debug = "debug";
}

/// Kind of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    /// New heads of the chain.
    Heads,
    /// Reorganizations of the chain.
    Reorganizations,
    /// State of one transaction.
    Transaction,
    /// Lines of the log.
    Log,
}

/// Level of a log line, the most severe one first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    /// Something has failed.
    Error,
    /// Something is unusual.
    Warn,
    /// Something has happened.
    Info,
    /// Details for developers.
    Debug,
}

impl From<log::Level> for LogLevel {
    fn from(level: log::Level) -> Self {
        match level {
            log::Level::Error => Self::Error,
            log::Level::Warn => Self::Warn,
            log::Level::Info => Self::Info,
            log::Level::Debug | log::Level::Trace => Self::Debug,
        }
    }
}

impl<T: AsText> Schema for T {
    fn schema(_: &mut Types) -> Value {
        T::text_schema()
    }
}

/// State of a transaction, without its details.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionStanding {
    /// In a block, where it took effect.
    Success,
    /// In a block, where it paid its costs and did not take effect.
    Failed,
    /// In this node's mempool, ready for inclusion.
    Pending,
    /// In this node's mempool, waiting for data.
    Waiting,
    /// Being fetched or checked.
    Fetching,
    /// Announced to validators.
    Announced,
    /// Not announced, because no validator is known.
    Unheld,
    /// Rejected by this node's mempool.
    Refused,
    /// Not included before its lifetime ended.
    Expired,
    /// In a block that a reorganization removed, and not returned to the mempool.
    Abandoned,
    /// Known, but in no block and not in this node's mempool.
    Stored,
    /// Not found at this node or any peer.
    Unknown,
}

impl fmt::Display for TransactionStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl From<Status> for TransactionStanding {
    fn from(status: Status) -> Self {
        match status {
            Status::Success => Self::Success,
            Status::Failed => Self::Failed,
        }
    }
}

/// Confirmation of a block, without the stake that undoes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfirmationLevel {
    /// In the chain.
    Included,
    /// No branch of less than half of the stake can undo the block.
    Safe,
    /// Undoing the block takes a third of the stake to produce on both branches.
    Settled,
}

/// Account, as a request names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccountName {
    /// Account of the node's validation key.
    Me,
    /// Account with this key.
    Key(Address),
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Me => f.write_str("me"),
            Self::Key(key) => key.fmt(f),
        }
    }
}

impl FromStr for AccountName {
    type Err = <Address as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "me" => Ok(Self::Me),
            _ => text.parse().map(Self::Key),
        }
    }
}

/// Bytes, as hex digits in JSON.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hex(pub Vec<u8>);

impl From<&[u8]> for Hex {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl AsText for Hex {
    const NAME: &'static str = "bytes";

    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let bytes = unhex(text).ok_or("expected hex digits in pairs")?;
        Ok(Self(bytes))
    }

    fn text_schema() -> Value {
        pattern("^([0-9a-f]{2})*$")
    }
}

/// Returns lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    ::hex::encode(bytes)
}

/// Decodes hex digits of either case; `None` if they are malformed.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    ::hex::decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trips<T: AsText + PartialEq + fmt::Debug>(value: &T, text: &str) {
        assert_eq!(value.to_text(), text);
        assert_eq!(T::from_text(text).as_ref(), Ok(value));
    }

    #[test]
    fn values_have_one_text() {
        let digits = "ab".repeat(32);
        round_trips(&AtomId::new([0xab; 32]), &digits);
        round_trips(&PublicKey::new([0xab; 32]), &digits);
        round_trips(&AccountName::Key(Address::new([0xab; 32])), &digits);
        round_trips(&AccountName::Me, "me");
        round_trips(&BlockAt::Head, "head");
        round_trips(&BlockAt::Height(7), "7");
        round_trips(&BlockAt::Id(AtomId::new([0x11; 32])), &"11".repeat(32));
        round_trips(&Natural::from(u128::MAX), &u128::MAX.to_string());
        round_trips(&Hex(vec![0, 255]), "00ff");
        round_trips(&Atom::bytes(*b"a"), &hex(&Atom::bytes(*b"a").to_bytes()));
        round_trips(&Cause::NeedsFirstDecision, "needs_first_decision");
        round_trips(&TransactionStanding::Unheld, "unheld");
        for state in HeadState::ALL {
            round_trips(&state, state.name());
        }
    }

    #[test]
    fn invalid_text_is_repeated_within_a_limit() {
        #[derive(Deserialize, Debug)]
        struct Of<T: Encoded> {
            #[serde(with = "super")]
            _it: T,
        }
        let error = |text: String| {
            let json = json!({ "_it": text });
            let read = serde_json::from_value::<Of<AtomId>>(json);
            read.unwrap_err().to_string()
        };
        let message = error("xyz".to_owned());
        assert!(message.starts_with("\"xyz\": invalid atom id"), "{message}");
        assert!(error("x".repeat(100_000)).len() < 200);
        let list = json!({ "_it": ["00".repeat(33), "0"] });
        let error = serde_json::from_value::<Of<Vec<Atom>>>(list).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("atom 1: expected hex digits"),
            "{message}"
        );
    }

    proptest! {
        #[test]
        fn hex_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(unhex(&hex(&bytes).to_uppercase()), Some(bytes));
        }
    }
}
