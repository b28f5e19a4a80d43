//! Files of signed transactions, for keys on machines without a network.

use std::fs::File;
use std::io::{self, Read, Write as _};

use astreum_core::atom::{Atom, AtomId, MemoryStore};
use astreum_core::chain::Transaction;
use astreum_core::integer::Natural;
use serde::{Deserialize, Serialize};

use crate::config::Source;
use crate::rpc::{hex, unhex};

use super::chain_args::{TxSignArgs, TxSubmitArgs};
use super::new_file;
use super::node_args::client;
use super::output::{Failure, Output, complain};
use super::tx_content::{Content, number};
use super::tx_send::{Submission, submit};

/// Name and version of the format.
const FORMAT: &str = "astreum signed transaction 1";
/// Maximum size in bytes of a file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// File of a signed transaction. The atoms are what is sent; the other fields are for its readers, and
/// have to agree with them.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedFile {
    format: String,
    id: String,
    chain_id: String,
    sender: String,
    recipient: String,
    amount: String,
    counter: String,
    data: String,
    /// Stored forms of the atoms in hex.
    atoms: Vec<String>,
}

impl SignedFile {
    fn new(transaction: &Transaction) -> Self {
        let atoms = transaction.to_atoms();
        Self {
            format: FORMAT.to_owned(),
            id: transaction.id().to_string(),
            chain_id: transaction.chain_id.to_string(),
            sender: transaction.sender().to_string(),
            recipient: transaction.recipient.to_string(),
            amount: transaction.amount.to_string(),
            counter: transaction.counter.to_string(),
            data: hex(&transaction.data),
            atoms: atoms
                .iter()
                .map(|(_, atom)| hex(&atom.to_bytes()))
                .collect(),
        }
    }

    /// Returns the transaction, if its signature is valid and all fields agree with it.
    fn transaction(&self) -> Result<Transaction, String> {
        if self.format != FORMAT {
            return Err(format!("its format is {:?}, not {FORMAT:?}", self.format));
        }
        let id: AtomId = self.id.parse().map_err(|error| format!("{error}"))?;
        let atoms = self.atoms.iter().map(|digits| {
            let bytes = unhex(digits).ok_or("an atom is not in hex digits")?;
            Atom::from_bytes(&bytes).map_err(|error| error.to_string())
        });
        let store: MemoryStore = atoms.collect::<Result<_, String>>()?;
        let transaction = Transaction::read(&store, id).map_err(|error| error.to_string())?;
        if transaction.verify_signature().is_err() {
            return Err("its signature is not valid".to_owned());
        }
        let actual = Self::new(&transaction);
        let fields = [
            ("chain_id", &self.chain_id, &actual.chain_id),
            ("sender", &self.sender, &actual.sender),
            ("recipient", &self.recipient, &actual.recipient),
            ("amount", &self.amount, &actual.amount),
            ("counter", &self.counter, &actual.counter),
            ("data", &self.data, &actual.data),
        ];
        match fields.iter().find(|(_, stated, signed)| stated != signed) {
            Some((name, stated, signed)) => Err(format!(
                "{name} is {stated:?}, but {signed:?} is signed: the file was changed"
            )),
            None => Ok(transaction),
        }
    }
}

/// Signs a transaction into a file.
pub(super) fn sign(args: &TxSignArgs, out: &mut Output) -> Result<(), Failure> {
    let chain_id = number("the chain id", args.chain_id.as_deref())?;
    let loaded = args.at.load()?;
    let settings = &loaded.settings;
    let content = Content::read(&args.content, settings)?;
    let is_configured = ["chain_id", "chain"]
        .into_iter()
        .any(|key| loaded.source(key) != Source::Default);
    let note = match chain_id.is_some() || is_configured {
        true => "",
        false => " (the default; --chain-id or --config names another chain)",
    };
    let chain_id = chain_id.unwrap_or_else(|| Natural::from(settings.chain_id));
    let transaction = content.sign(chain_id);
    let text = serde_json::to_string_pretty(&SignedFile::new(&transaction));
    let text = text.map_err(Failure::failed)? + "\n";
    let signed = format!("signed for chain {}{note}", transaction.chain_id);
    if args.output.is_stdin() {
        complain(&signed);
        return Ok(out.write_all(text.as_bytes())?);
    }
    let path = args.output.display();
    new_file::write(&args.output, text.as_bytes()).map_err(Failure::Failed)?;
    complain(&format!("{signed}; `astreum tx submit {path}` sends it"));
    Ok(writeln!(out, "{}", transaction.id())?)
}

/// Submits the transaction of a file.
pub(super) fn submit_file(args: &TxSubmitArgs, out: &mut Output) -> Result<(), Failure> {
    let name = match args.file.is_stdin() {
        true => "stdin".to_owned(),
        false => args.file.display().to_string(),
    };
    let failed = |reason: String| Failure::Failed(format!("{name}: {reason}"));
    let text = match args.file.is_stdin() {
        true => read(io::stdin().lock()),
        false => File::open(&*args.file).and_then(read),
    };
    let text = text.map_err(|error| failed(error.to_string()))?;
    let file: SignedFile = serde_json::from_str(&text)
        .map_err(|error| failed(format!("not a file of `astreum tx sign`: {error}")))?;
    let transaction = file.transaction().map_err(failed)?;
    let submission = Submission {
        wait: args.wait.until,
        dry_run: args.dry_run,
        force: args.force,
        json: args.json,
        at: &args.at,
    };
    submit(&client(&args.at)?, &transaction, &submission, out)
}

fn read(input: impl Read) -> io::Result<String> {
    let mut text = String::new();
    let mut input = input.take(MAX_FILE_BYTES + 1);
    input.read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("larger than a signed transaction can be"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::chain::{Address, Unsigned};
    use astreum_core::crypto::SigningKey;

    fn file() -> SignedFile {
        let transaction = Unsigned {
            chain_id: Natural::from(7_u64),
            amount: Natural::from(1_000_u64),
            counter: Natural::from(5_u64),
            data: b"for the coffee"[..].into(),
            recipient: Address::new([1; 32]),
        };
        SignedFile::new(&transaction.sign(&SigningKey::from_seed(&[9; 32])))
    }

    #[test]
    fn signed_file_round_trips() {
        let file = file();
        let text = serde_json::to_string(&file).unwrap();
        let read: SignedFile = serde_json::from_str(&text).unwrap();
        let transaction = read.transaction().unwrap();
        assert!(SignedFile::new(&transaction) == file);
        assert_eq!(transaction.amount.to_string(), "1000");
    }

    #[test]
    fn changed_files_are_refused() {
        let error = |change: fn(&mut SignedFile)| {
            let mut file = file();
            change(&mut file);
            file.transaction().unwrap_err()
        };
        for (change, expected) in [
            (
                (|it| it.amount = "5".to_owned()) as fn(&mut SignedFile),
                "amount is \"5\"",
            ),
            (|it| it.recipient = "02".repeat(32), "recipient is"),
            (|it| it.data.clear(), "data is"),
            (|it| it.format.push('2'), "its format is"),
            (|it| it.id = "07".repeat(32), ""),
            (|it| it.atoms[0] = "xy".to_owned(), "hex digits"),
            (|it| drop(it.atoms.pop()), ""),
        ] {
            let error = error(change);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn large_input_is_refused() {
        let large = "x".repeat(usize::try_from(MAX_FILE_BYTES).unwrap() + 1);
        assert!(read(large.as_bytes()).is_err());
        assert!(read(&large.as_bytes()[1..]).is_ok());
    }
}
