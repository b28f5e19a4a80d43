//! Contents of a transaction, from the arguments of the commands that sign one.

use astreum_core::chain::{Address, MAX_TRANSACTION_DATA_BYTES, Transaction, Unsigned};
use astreum_core::crypto::{SigningKey, VerifyingKey};
use astreum_core::integer::Natural;

use crate::clock;
use crate::config::{Secret, Settings};
use crate::key_file::{self, KeyKind, NodeKeys, PassphraseSource};

use super::chain_args::TxContentArgs;
use super::output::Failure;
use super::parse;

/// Contents of a transaction, apart from its chain, with the key of its sender.
pub(super) struct Content {
    recipient: Address,
    amount: Natural,
    data: Vec<u8>,
    counter: Natural,
    key: Secret,
}

impl Content {
    /// Reads the arguments and the key; no node is queried.
    pub(super) fn read(args: &TxContentArgs, settings: &Settings) -> Result<Self, Failure> {
        let recipient = recipient(args)?;
        let data = data(args)?;
        let amount = amount(args, &data)?;
        let counter = number("the counter", args.counter.as_deref())?;
        let passphrases = args.passphrase.source(settings);
        // With `--key-file` the command does not need the configured key, and does not prompt for its
        // passphrase.
        let configured_passphrases = match &args.key_file {
            Some(_) => PassphraseSource::of(settings),
            None => args.passphrase.source(settings),
        };
        let configured = NodeKeys::read_one(settings, KeyKind::Validation, &configured_passphrases);
        let configured = configured.map_err(|error| Failure::Usage(error.to_string()));
        let validation = configured.as_ref().ok().cloned().flatten();
        let key = secret(args, configured, &passphrases)?;
        if !args.force {
            refuse_relay_key(&recipient, &key, validation.as_ref(), settings)?;
        }
        Ok(Self {
            recipient,
            amount,
            data,
            counter: counter.unwrap_or_else(time_counter),
            key,
        })
    }

    /// Returns the signed transaction for a chain.
    pub(super) fn sign(self, chain_id: Natural) -> Transaction {
        Unsigned {
            chain_id,
            amount: self.amount,
            counter: self.counter,
            data: self.data.as_slice().into(),
            recipient: self.recipient,
        }
        .sign(&SigningKey::from_seed(self.key.expose()))
    }
}

fn recipient(args: &TxContentArgs) -> Result<Address, Failure> {
    let key = parse::account_key("the recipient", &args.recipient)?;
    let address = Address::new(key);
    let is_common =
        address == astreum_core::chain::TREASURY || address == astreum_core::chain::BURN;
    if !is_common && !args.force && VerifyingKey::from_bytes(&key).is_err() {
        return Err(Failure::Usage(format!(
            "the recipient {address} is not an Ed25519 public key, so the amount could never be \
             spent; --force sends anyway"
        )));
    }
    Ok(address)
}

fn data(args: &TxContentArgs) -> Result<Vec<u8>, Failure> {
    let data = match (&args.data, &args.data_text) {
        (Some(digits), _) => parse::bytes("--data", digits, "; --data-text takes text")?,
        (None, Some(text)) => text.clone().into_bytes(),
        (None, None) => Vec::new(),
    };
    if data.len() > MAX_TRANSACTION_DATA_BYTES {
        let len = data.len();
        return Err(Failure::Usage(format!(
            "data of {len} bytes exceeds the maximum of {MAX_TRANSACTION_DATA_BYTES}; `astreum \
             put` stores more, and a transaction can refer to it by id"
        )));
    }
    Ok(data)
}

fn amount(args: &TxContentArgs, data: &[u8]) -> Result<Natural, Failure> {
    let amount = parse::natural("the amount", &args.amount)?;
    if amount.is_zero() && data.is_empty() {
        return Err(Failure::Usage(
            "the amount is 0 and there is no data: the transaction would only pay its fee"
                .to_owned(),
        ));
    }
    Ok(amount)
}

/// Parses a number that may be absent.
pub(super) fn number(what: &str, text: Option<&str>) -> Result<Option<Natural>, Failure> {
    text.map(|text| parse::natural(what, text)).transpose()
}

/// Returns the sender's secret from a key file, else the configured one.
fn secret(
    args: &TxContentArgs,
    configured: Result<Option<Secret>, Failure>,
    passphrases: &PassphraseSource,
) -> Result<Secret, Failure> {
    if let Some(path) = &args.key_file {
        let secret = key_file::read_secret(path, KeyKind::Validation, passphrases);
        return secret.map_err(|error| Failure::Usage(error.to_string()));
    }
    configured?.ok_or_else(|| {
        Failure::Usage(
            "missing sender: give --key-file FILE, or set validation_secret_key_file; \
             `astreum keys generate FILE --kind account` creates a key"
                .to_owned(),
        )
    })
}

/// Refuses a recipient that is the relay public key of an available secret. The node does the same
/// for its own relay key and those of its peers.
fn refuse_relay_key(
    recipient: &Address,
    sender: &Secret,
    validation: Option<&Secret>,
    settings: &Settings,
) -> Result<(), Failure> {
    let is_half_of = |secret: &Secret| KeyKind::Relay.public_key(secret) == *recipient.as_bytes();
    // This command needs neither of these keys, so an unreadable file does not stop it.
    let relay =
        key_file::configured_public_key(settings, KeyKind::Relay, &PassphraseSource::of(settings));
    let owner = if is_half_of(sender) {
        "the sender's own secret"
    } else if relay.is_ok_and(|relay| relay == Some(*recipient.as_bytes())) {
        "the configured relay key"
    } else if validation.is_some_and(is_half_of) {
        "the configured validation key's secret"
    } else {
        return Ok(());
    };
    Err(Failure::Usage(key_file::relay_key_refusal(
        recipient, owner,
    )))
}

/// Returns a counter that grows with time and distinguishes otherwise equal transactions.
fn time_counter() -> Natural {
    Natural::from(clock::unix_time().as_millis())
}
