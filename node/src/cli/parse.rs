//! Parsing of user-supplied keys, amounts and data. Every error states the input and the expected
//! form.

use core::num::IntErrorKind;

use astreum_core::chain::Address;
use astreum_core::integer::{Natural, NaturalError};

use crate::query::BlockAt;
use crate::rpc::{AccountName, unhex};

use super::output::Failure;

/// Account that holds the stakes.
const TREASURY: [u8; 32] = [1; 32];
/// Account that holds the storage contracts.
const BURN: [u8; 32] = [0; 32];

/// Parses an account: a key, `me`, or an account that every chain has.
pub(super) fn account(what: &str, text: &str) -> Result<AccountName, Failure> {
    match text {
        "me" => Ok(AccountName::Me),
        _ => named_key(what, text, "64 hex digits, me, treasury or burn")
            .map(|key| AccountName::Key(Address::new(key))),
    }
}

/// Parses an account's key, or the name of an account that every chain has.
pub(super) fn account_key(what: &str, text: &str) -> Result<[u8; 32], Failure> {
    named_key(what, text, "64 hex digits, treasury or burn")
}

fn named_key(what: &str, text: &str, expected: &str) -> Result<[u8; 32], Failure> {
    match text {
        "treasury" => Ok(TREASURY),
        "burn" => Ok(BURN),
        _ => hex_key(what, text, expected),
    }
}

/// Parses 32 bytes in hex.
pub(super) fn key(what: &str, text: &str) -> Result<[u8; 32], Failure> {
    hex_key(what, text, "64 hex digits")
}

fn hex_key(what: &str, text: &str, expected: &str) -> Result<[u8; 32], Failure> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let wrong = |problem: String| {
        Failure::Usage(format!(
            "invalid value {text:?} for {what}: {problem}; expected {expected}"
        ))
    };
    if let Some(other) = digits.chars().find(|digit| !digit.is_ascii_hexdigit()) {
        return Err(wrong(format!("{other:?} is not a hex digit")));
    }
    unhex(digits)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| wrong(format!("it has {} digits", digits.len())))
}

/// Parses an atom id.
pub(super) fn id(what: &str, text: &str) -> Result<astreum_core::atom::AtomId, Failure> {
    let wrong = |error| Failure::Usage(format!("invalid value {text:?} for {what}: {error}"));
    text.parse().map_err(wrong)
}

/// Parses all ids, before any of them is used.
pub(super) fn ids(
    what: &str,
    texts: &[String],
) -> Result<Vec<astreum_core::atom::AtomId>, Failure> {
    texts.iter().map(|text| id(what, text)).collect()
}

/// Parses a non-negative integer of any size; underscores may group its digits.
pub(super) fn natural(what: &str, text: &str) -> Result<Natural, Failure> {
    let shown: String = text.chars().take(40).collect();
    let wrong = |problem: &str| {
        Failure::Usage(format!(
            "invalid value {shown:?} for {what}: {problem}; expected a non-negative integer"
        ))
    };
    let digits =
        without_groups(text).ok_or_else(|| wrong("underscores are allowed only between digits"))?;
    digits.parse().map_err(|error: NaturalError| match error {
        NaturalError::NotANumber if looks_like_a_fraction(text) => {
            wrong("fractions are not supported, and only underscores group digits")
        }
        error => wrong(&error.to_string()),
    })
}

/// Returns whether `text` looks like a number with a fraction, an exponent or comma groups.
fn looks_like_a_fraction(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit()) && text.contains(['.', ',', 'e', 'E'])
}

/// Returns `text` without the single underscores between its digits.
fn without_groups(text: &str) -> Option<String> {
    let parts = || text.split('_');
    let is_digits = |part: &str| part.ends_with(|last: char| last.is_ascii_digit());
    let is_grouped = text.contains('_');
    let fits = !is_grouped
        || parts().enumerate().all(|(at, part)| {
            is_digits(part) && (at == 0 || part.starts_with(|first: char| first.is_ascii_digit()))
        });
    fits.then(|| parts().collect())
}

/// Parses bytes in hex; errors end with `hint`.
pub(super) fn bytes(what: &str, text: &str, hint: &str) -> Result<Vec<u8>, Failure> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    unhex(digits).ok_or_else(|| {
        Failure::Usage(format!(
            "invalid value for {what}: expected hex digits in pairs, such as 00ff{hint}"
        ))
    })
}

/// Parses a block: `head`, a height or an id.
pub(super) fn block(text: &str) -> Result<BlockAt, Failure> {
    let wrong = |problem: &str| {
        Failure::Usage(format!(
            "invalid value {text:?} for a block: {problem}; expected head, a height, or an id of \
             64 hex digits"
        ))
    };
    if text == "head" || text == "latest" {
        return Ok(BlockAt::Head);
    }
    // An id may consist of decimal digits only; no height is that long.
    if let Ok(id) = text.parse() {
        return Ok(BlockAt::Id(id));
    }
    let digits = without_groups(text).unwrap_or_default();
    match digits.parse() {
        Ok(height) => Ok(BlockAt::Height(height)),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => {
            Err(wrong("the height is too large"))
        }
        Err(_) if text.starts_with('-') => Err(wrong("the height is negative")),
        Err(_) => Err(wrong("unknown format")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: core::fmt::Debug>(result: Result<T, Failure>) -> String {
        match result.unwrap_err() {
            Failure::Usage(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parses_account_keys_and_names() {
        let hex = "ab".repeat(32);
        assert_eq!(
            account("x", &hex).unwrap(),
            AccountName::Key(Address::new([0xab; 32]))
        );
        let prefixed = format!("0x{}", hex.to_uppercase());
        assert_eq!(
            account("x", &prefixed).unwrap(),
            AccountName::Key(Address::new([0xab; 32]))
        );
        assert_eq!(
            account("x", "treasury").unwrap(),
            AccountName::Key(Address::new([1; 32]))
        );
        assert_eq!(
            account("x", "burn").unwrap(),
            AccountName::Key(Address::new([0; 32]))
        );
        assert_eq!(account("x", "me").unwrap(), AccountName::Me);
        for (text, problem) in [
            ("", "it has 0 digits"),
            ("ab", "it has 2 digits"),
            (&hex[1..], "it has 63 digits"),
            (&format!("{hex}a"), "it has 65 digits"),
            ("bob", "'o' is not a hex digit"),
            (&format!("{}é", &hex[2..]), "'é' is not a hex digit"),
        ] {
            let message = message(account("the recipient", text));
            assert!(
                message.starts_with("invalid value ") && message.contains(" for the recipient: "),
                "{message}"
            );
            assert!(message.contains(problem), "{message}");
            assert!(
                message.ends_with("expected 64 hex digits, me, treasury or burn"),
                "{message}"
            );
        }
        let message = message(account_key("x", "me"));
        assert!(message.contains("'m' is not"), "{message}");
        assert!(
            message.ends_with("64 hex digits, treasury or burn"),
            "{message}"
        );
    }

    #[test]
    fn parses_numbers_of_any_size_and_explains_errors() {
        let number = |text| natural("x", text).unwrap().to_string();
        assert_eq!(number("0"), "0");
        assert_eq!(number("1_000_000"), "1000000");
        let huge = "9".repeat(200);
        assert_eq!(number(&huge), huge);
        for (text, problem) in [
            ("-1", "is negative"),
            ("", "decimal integer"),
            ("1.5", "fractions are not"),
            ("1,000", "only underscores"),
            ("1e9", "fractions are not"),
            ("ten", "decimal integer"),
            ("_1", "underscore"),
            ("1__0", "underscore"),
            ("1_", "underscore"),
            ("0x10", "decimal integer"),
            (&"9".repeat(5_000), "5000 digits"),
        ] {
            let message = message(natural("the amount", text));
            assert!(
                message.starts_with("invalid value ") && message.contains(" for the amount: "),
                "{message}"
            );
            assert!(message.contains(problem), "{text}: {message}");
            assert!(message.len() < 250, "{message}");
        }
    }

    #[test]
    fn parses_blocks_by_name_height_or_id() {
        assert_eq!(block("head").unwrap(), BlockAt::Head);
        assert_eq!(block("12").unwrap(), BlockAt::Height(12));
        let id = "12".repeat(32);
        assert_eq!(block(&id).unwrap(), BlockAt::Id(id.parse().unwrap()));
        assert_eq!(block(&id).unwrap().to_string(), id);
        for (text, problem) in [
            ("-1", "is negative"),
            ("99999999999999999999", "too large"),
            ("abc", "unknown format"),
            ("", "unknown format"),
            (&id[2..], "unknown format"),
        ] {
            let message = message(block(text));
            assert!(
                message.contains(problem) || message.contains("too large"),
                "{message}"
            );
        }
    }

    #[test]
    fn parses_data_as_pairs_of_hex_digits() {
        assert_eq!(bytes("x", "0x00fF", "").unwrap(), [0, 255]);
        assert!(bytes("x", "", "").unwrap().is_empty());
        for text in ["0", "0g", "hello"] {
            let message = message(bytes("--data", text, "; hint"));
            assert!(message.ends_with("such as 00ff; hint"), "{message}");
        }
    }
}
