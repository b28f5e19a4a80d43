//! Initial state of a chain, read from a TOML file and flags. Every error is reported with its
//! line, the invalid value and the allowed values; all errors are reported at once.

use core::fmt;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use astreum_core::integer::Natural;
use astreum_script::edit_distance;
use toml::de::{DeTable, DeValue};

use super::input::read_capped;
use super::output::Failure;
use super::parse;

/// Maximum size in bytes of a genesis file.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Keys of the file.
const KEYS: [&str; 7] = [
    "chain_id",
    "timestamp",
    "validator",
    "cumulative_total_fees",
    "balances",
    "stakes",
    "contracts",
];
/// Keys of a contract.
const CONTRACT_KEYS: [&str; 3] = ["owner", "bytes", "atoms"];

/// Initial state of a chain; `None` for values that are not given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Plan {
    pub(super) chain_id: Option<u64>,
    pub(super) timestamp: Option<u64>,
    pub(super) validator: Option<[u8; 32]>,
    pub(super) cumulative_total_fees: Option<Natural>,
    pub(super) balances: BTreeMap<[u8; 32], Natural>,
    pub(super) stakes: BTreeMap<[u8; 32], Natural>,
    pub(super) contracts: BTreeMap<[u8; 32], Contract>,
}

/// Storage contract: a list that the network stores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Contract {
    pub(super) owner: [u8; 32],
    pub(super) bytes: Natural,
    pub(super) atoms: Natural,
}

impl Plan {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let failed = |message: String| Failure::Usage(format!("{name}: {message}"));
        let bytes = File::open(path)
            .and_then(|file| read_capped(file, MAX_FILE_BYTES))
            .map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|_| failed("is not UTF-8 text".to_owned()))?;
        Self::parse(&name.to_string(), &text).map_err(|errors| Failure::Usage(errors.join("\n")))
    }

    /// Parses a text; `name` is its origin in errors.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, Vec<String>> {
        let mut reader = Reader {
            name,
            text,
            errors: Vec::new(),
        };
        let mut plan = Self::default();
        match DeTable::parse(text) {
            Ok(table) => reader.top(table.get_ref(), &mut plan),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                let message = error.message().replace('\n', ", ");
                reader.error(at, format_args!("{message}"));
            }
        }
        if reader.errors.is_empty() {
            Ok(plan)
        } else {
            Err(reader.errors)
        }
    }

    /// Adds the values of flags, which override existing ones.
    pub(super) fn add_flags(
        &mut self,
        balances: &[String],
        stakes: &[String],
        contracts: &[String],
    ) -> Result<(), Failure> {
        self.balances.extend(pairs("--balance", balances)?);
        self.stakes.extend(pairs("--stake", stakes)?);
        let mut seen = BTreeMap::new();
        for text in contracts {
            let (id, contract) = contract(text)?;
            if seen.insert(id, contract).is_some() {
                return Err(duplicate_key("--contract", text));
            }
        }
        self.contracts.extend(seen);
        Ok(())
    }
}

fn duplicate_key(flag: &str, text: &str) -> Failure {
    Failure::Usage(format!("duplicate key in {flag} {text}"))
}

/// Parses the `KEY=AMOUNT` values of one flag; each key may occur once.
fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<[u8; 32], Natural>, Failure> {
    let mut pairs = BTreeMap::new();
    for text in texts {
        let Some((key, amount)) = text.split_once('=') else {
            let advice = "expected KEY=AMOUNT, such as treasury=0";
            return Err(Failure::Usage(format!(
                "invalid value {text:?} for {flag}: {advice}"
            )));
        };
        let key = parse::account_key(&format!("the key of {flag}"), key.trim())?;
        let amount = parse::natural(&format!("the amount of {flag}"), amount.trim())?;
        if pairs.insert(key, amount).is_some() {
            return Err(duplicate_key(flag, text));
        }
    }
    Ok(pairs)
}

/// Parses `ID=OWNER,BYTES,ATOMS`.
fn contract(text: &str) -> Result<([u8; 32], Contract), Failure> {
    let parts = text.split_once('=').and_then(|(id, rest)| {
        let mut rest = rest.split(',').map(str::trim);
        let all = (id.trim(), rest.next()?, rest.next()?, rest.next()?);
        rest.next().is_none().then_some(all)
    });
    let Some((id, owner, bytes, atoms)) = parts else {
        let advice = "expected ID=OWNER,BYTES,ATOMS";
        return Err(Failure::Usage(format!(
            "invalid value {text:?} for --contract: {advice}"
        )));
    };
    let contract = Contract {
        owner: parse::key("the owner of --contract", owner)?,
        bytes: parse::natural("the bytes of --contract", bytes)?,
        atoms: parse::natural("the atoms of --contract", atoms)?,
    };
    Ok((parse::key("the id of --contract", id)?, contract))
}

/// Reader that collects errors.
struct Reader<'t> {
    name: &'t str,
    text: &'t str,
    errors: Vec<String>,
}

type Entry<'a, 't> = (
    &'a toml::Spanned<toml::de::DeString<'t>>,
    &'a toml::Spanned<DeValue<'t>>,
);

/// Returns the entries of a table in the order of the file.
fn entries<'a, 't>(table: &'a DeTable<'t>) -> Vec<Entry<'a, 't>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

impl Reader<'_> {
    fn error(&mut self, at: usize, message: fmt::Arguments<'_>) {
        let before = self.text.as_bytes().iter().take(at);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        self.errors.push(format!("{}:{line}: {message}", self.name));
    }

    fn unknown(&mut self, at: usize, name: &str, known: &[&str]) {
        let close = |known: &&&str| edit_distance(name, known) <= 1 + name.len() / 4;
        match known.iter().find(close) {
            Some(meant) => self.error(
                at,
                format_args!("unknown key {name:?}; did you mean {meant}?"),
            ),
            None => self.error(
                at,
                format_args!("unknown key {name:?}: expected {}", known.join(", ")),
            ),
        }
    }

    /// Returns the value of a parse result, or adds its error.
    fn value<T>(&mut self, at: usize, value: Result<T, Failure>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(Failure::Usage(message) | Failure::Failed(message)) => {
                self.error(at, format_args!("{message}"));
                None
            }
            Err(_) => None,
        }
    }

    fn top(&mut self, table: &DeTable<'_>, plan: &mut Plan) {
        for (name, value) in entries(table) {
            let at = name.span().start;
            match name.get_ref().as_ref() {
                "chain_id" => plan.chain_id = self.whole(at, "chain_id", value.get_ref()),
                "timestamp" => plan.timestamp = self.whole(at, "timestamp", value.get_ref()),
                "validator" => {
                    plan.validator = self.key(at, "validator", value.get_ref());
                }
                "cumulative_total_fees" => {
                    let what = "cumulative_total_fees";
                    plan.cumulative_total_fees = self.natural(at, what, value.get_ref());
                }
                "balances" => {
                    let read = |reader: &mut Self, at, what: &str, value: &DeValue<'_>| {
                        reader.natural(at, what, value)
                    };
                    plan.balances = self.table(at, "balances", value.get_ref(), read);
                }
                "stakes" => {
                    let read = |reader: &mut Self, at, what: &str, value: &DeValue<'_>| {
                        reader.natural(at, what, value)
                    };
                    plan.stakes = self.table(at, "stakes", value.get_ref(), read);
                }
                "contracts" => {
                    let read = Self::contract;
                    plan.contracts = self.table(at, "contracts", value.get_ref(), read);
                }
                other => self.unknown(at, other, &KEYS),
            }
        }
    }

    /// Reads a table with 32-byte keys, or names of accounts, whose values `read` parses.
    fn table<T>(
        &mut self,
        at: usize,
        what: &str,
        value: &DeValue<'_>,
        read: impl Fn(&mut Self, usize, &str, &DeValue<'_>) -> Option<T>,
    ) -> BTreeMap<[u8; 32], T> {
        let mut map = BTreeMap::new();
        let DeValue::Table(table) = value else {
            let message = format_args!(
                "invalid value {} for {what}: expected a table, such as [{what}] and a line for \
                 each key",
                shown(value)
            );
            self.error(at, message);
            return map;
        };
        for (name, value) in entries(table) {
            let at = name.span().start;
            let text = name.get_ref().as_ref();
            let key = parse::account_key(&format!("a key of {what}"), text);
            let Some(key) = self.value(at, key) else {
                continue;
            };
            let Some(value) = read(
                self,
                at,
                &format!("{what}.{}", short(text)),
                value.get_ref(),
            ) else {
                continue;
            };
            if map.insert(key, value).is_some() {
                self.error(at, format_args!("duplicate key {text:?} in {what}"));
            }
        }
        map
    }

    fn contract(&mut self, at: usize, what: &str, value: &DeValue<'_>) -> Option<Contract> {
        let DeValue::Table(table) = value else {
            let shown = shown(value);
            self.error(
                at,
                format_args!(
                    "invalid value {shown} for {what}: expected {{ owner = \"KEY\", bytes = N, \
                     atoms = N }}"
                ),
            );
            return None;
        };
        let (mut owner, mut bytes, mut atoms) = (None, None, None);
        for (name, value) in entries(table) {
            let (at, value) = (name.span().start, value.get_ref());
            match name.get_ref().as_ref() {
                "owner" => owner = Some(self.key(at, &format!("{what}.owner"), value)),
                "bytes" => bytes = Some(self.natural(at, &format!("{what}.bytes"), value)),
                "atoms" => atoms = Some(self.natural(at, &format!("{what}.atoms"), value)),
                other => self.unknown(at, other, &CONTRACT_KEYS),
            }
        }
        for (name, is_there) in [
            ("owner", owner.is_some()),
            ("bytes", bytes.is_some()),
            ("atoms", atoms.is_some()),
        ] {
            if !is_there {
                self.error(at, format_args!("missing {name} in {what}"));
            }
        }
        Some(Contract {
            owner: owner??,
            bytes: bytes??,
            atoms: atoms??,
        })
    }

    fn whole(&mut self, at: usize, what: &str, value: &DeValue<'_>) -> Option<u64> {
        let number = self.natural(at, what, value)?;
        let whole = number.to_u64();
        if whole.is_none() {
            let max = u64::MAX;
            self.error(
                at,
                format_args!(
                    "invalid value {number} for {what}: expected an integer from 0 to {max}"
                ),
            );
        }
        whole
    }

    /// Reads a number; large ones must be text, because TOML integers have 64 bits.
    fn natural(&mut self, at: usize, what: &str, value: &DeValue<'_>) -> Option<Natural> {
        let text = match value {
            // The TOML parser has removed the underscores.
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::String(text) => text.as_ref(),
            other => {
                let shown = shown(other);
                self.error(
                    at,
                    format_args!(
                        "invalid value {shown} for {what}: expected a non-negative integer, in \
                         quotes if it has more than 18 digits"
                    ),
                );
                return None;
            }
        };
        let number = parse::natural(what, text);
        self.value(at, number)
    }

    fn key(&mut self, at: usize, what: &str, value: &DeValue<'_>) -> Option<[u8; 32]> {
        let DeValue::String(text) = value else {
            let shown = shown(value);
            self.error(
                at,
                format_args!("invalid value {shown} for {what}: expected 64 hex digits in quotes"),
            );
            return None;
        };
        let key = parse::key(what, text);
        self.value(at, key)
    }
}

/// Shortens a key for error messages.
fn short(text: &str) -> String {
    match text.char_indices().nth(12) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{:?}", short(text)),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn natural(text: &str) -> Natural {
        text.parse().unwrap()
    }

    fn errors(text: &str) -> Vec<String> {
        Plan::parse("genesis.toml", text).unwrap_err()
    }

    #[test]
    fn file_sets_every_part_of_the_genesis() {
        let key = "ab".repeat(32);
        let text = format!(
            "chain_id = 7\ntimestamp = 1_760_000_000\nvalidator = \"{key}\"\n\
             cumulative_total_fees = \"123456789012345678901234567890\"\n\
             [balances]\ntreasury = 0\n{key} = 1_000\n\
             [stakes]\n{key} = 5\n\
             [contracts]\n{key} = {{ owner = \"{key}\", bytes = 10, atoms = 2 }}\n"
        );
        let plan = Plan::parse("genesis.toml", &text).unwrap();
        let key = [0xab; 32];
        assert_eq!(
            (plan.chain_id, plan.timestamp),
            (Some(7), Some(1_760_000_000))
        );
        assert_eq!(plan.validator, Some(key));
        assert_eq!(
            plan.cumulative_total_fees,
            Some(natural("123456789012345678901234567890"))
        );
        assert_eq!(plan.balances[&[1; 32]], natural("0"));
        assert_eq!(plan.balances[&key], natural("1000"));
        assert_eq!(plan.stakes[&key], natural("5"));
        let contract = &plan.contracts[&key];
        assert_eq!((contract.owner, &contract.bytes), (key, &natural("10")));
        assert_eq!(Plan::parse("x", "").unwrap(), Plan::default());
    }

    #[test]
    fn every_error_states_line_value_and_expected_form() {
        let found = errors(
            "chainid = 1\n\
             timestamp = -5\n\
             validator = 12\n\
             cumulative_total_fees = 1.5\n\
             zzzzzzzz = 1\n\
             balances = 3\n\
             [stakes]\n\
             bob = 1\n\
             treasury = true\n",
        );
        for (error, parts) in found.iter().zip([
            [
                "genesis.toml:1: unknown key \"chainid\"",
                "did you mean chain_id?",
            ],
            [
                "genesis.toml:2: invalid value \"-5\" for timestamp",
                "non-negative",
            ],
            [
                "genesis.toml:3: invalid value 12 for validator",
                "64 hex digits",
            ],
            [
                "genesis.toml:4: invalid value 1.5 for cumulative_total_fees",
                "non-negative integer",
            ],
            [
                "genesis.toml:5: unknown key \"zzzzzzzz\"",
                ": expected chain_id, ",
            ],
            [
                "genesis.toml:6: invalid value 3 for balances",
                "expected a table",
            ],
            [
                "genesis.toml:8: invalid value \"bob\" for a key of stakes",
                "hex digit",
            ],
            [
                "genesis.toml:9: invalid value true for stakes.treasury",
                "non-negative integer",
            ],
        ]) {
            assert!(
                error.starts_with(parts[0]) && error.contains(parts[1]),
                "{error}"
            );
        }
        assert_eq!(found.len(), 8, "{found:?}");
    }

    #[test]
    fn rejects_incomplete_contracts_and_duplicate_accounts() {
        let id = "ab".repeat(32);
        let found = errors(&format!(
            "[contracts]\n{id} = {{ ownr = \"{id}\", bytes = 1 }}\n"
        ));
        assert!(
            found[0].contains("unknown key \"ownr\"; did you mean owner?"),
            "{found:?}"
        );
        assert!(found[1].contains("missing owner") && found[2].contains("missing atoms"));
        let zeros = "00".repeat(32);
        let found = errors(&format!("[balances]\nburn = 1\n{zeros} = 1\n"));
        assert!(found[0].contains("duplicate key"), "{found:?}");
        let upper = id.to_uppercase();
        let found = errors(&format!("[balances]\n{id} = 1\n{upper} = 1\n"));
        assert!(found[0].contains("duplicate key"), "{found:?}");
        assert!(errors("[balances")[0].starts_with("genesis.toml:1: "));
    }

    #[test]
    fn flags_extend_and_override_the_file() {
        let key = "ab".repeat(32);
        let mut plan = Plan::parse("x", &format!("[balances]\n{key} = 1\nburn = 2\n")).unwrap();
        let flag = |text: &str| vec![text.replace("KEY", &key)];
        plan.add_flags(&flag("KEY=9"), &flag("KEY = 3"), &flag("KEY=KEY, 4, 5"))
            .unwrap();
        assert_eq!(plan.balances[&[0xab; 32]], natural("9"));
        assert_eq!(plan.balances[&[0; 32]], natural("2"));
        assert_eq!(plan.stakes[&[0xab; 32]], natural("3"));
        assert_eq!(plan.contracts[&[0xab; 32]].atoms, natural("5"));
    }

    #[test]
    fn invalid_flags_state_the_expected_form() {
        let key = "ab".repeat(32);
        let fails = |balance: &str, contract: &str| {
            let list = |text: &str| match text {
                "" => vec![],
                text => text
                    .split(' ')
                    .map(|text| text.replace("KEY", &key))
                    .collect(),
            };
            match Plan::default().add_flags(&list(balance), &[], &list(contract)) {
                Err(Failure::Usage(message)) => message,
                other => panic!("{other:?}"),
            }
        };
        assert!(fails("KEY", "").contains("KEY=AMOUNT"));
        assert!(fails("KEY=-1", "").contains("is negative"));
        assert!(fails("K=1", "").contains("the key of --balance"));
        assert!(fails("KEY=1 KEY=2", "").contains("duplicate key"));
        assert!(fails("", "KEY=KEY,1").contains("ID=OWNER,BYTES,ATOMS"));
        assert!(fails("", "KEY=KEY,1,2,3").contains("ID=OWNER,BYTES,ATOMS"));
        assert!(fails("", "KEY=KEY,1,x").contains("the atoms of --contract"));
    }
}
