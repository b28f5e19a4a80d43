//! Creation of a development network: keys, configuration of the nodes, genesis.

use std::collections::BTreeMap;
use std::fs;

use astreum_core::atom::MemoryStore;
use astreum_core::chain::{Address, DEFAULT_STAKE, DEFAULT_TREASURY, Genesis, TREASURY};
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;

use super::super::genesis;
use super::super::output::Failure;
use super::super::parse;
use super::args::StartArgs;
use super::directory::{Description, Directory, create_private, failed};
use crate::clock;
use crate::config::{Inputs, Secret};
use crate::key_file::{self, KeyFormat, KeyKind, PassphraseSource};

/// Maximum number of accounts.
const MAX_ACCOUNTS: u32 = 1_000;
/// Maximum seconds between two blocks.
const MAX_BLOCK_TIME_SECONDS: u32 = 3_600;
/// Default balance of an account.
const DEFAULT_BALANCE: u64 = 1_000_000_000;
/// Balance of the faucet.
const FAUCET_BALANCE: u64 = 1_000_000_000_000_000_000;
/// Default chain id, which is that of local chains elsewhere.
const DEFAULT_CHAIN_ID: u64 = 31_337;

/// Checked sizes of a new network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sizes {
    nodes: u32,
    validators: u32,
    accounts: u32,
    balance: Natural,
    block_time_seconds: u32,
    chain_id: u64,
}

impl Sizes {
    /// Checks the arguments and adds the defaults.
    pub(super) fn new(args: &StartArgs) -> Result<Self, Failure> {
        let validators = args.validators.unwrap_or(1);
        let nodes = args.nodes.unwrap_or(validators.max(2));
        let balance = args.balance.as_deref();
        let balance = balance.map(|text| parse::natural("--balance", text));
        let sizes = Self {
            nodes,
            validators,
            accounts: args.accounts.unwrap_or(5),
            balance: balance
                .transpose()?
                .unwrap_or_else(|| DEFAULT_BALANCE.into()),
            block_time_seconds: block_time(args)?.unwrap_or(2),
            chain_id: args.chain_id.unwrap_or(DEFAULT_CHAIN_ID),
        };
        sizes.check().map_err(Failure::Usage)?;
        Ok(sizes)
    }

    /// Returns the number of nodes.
    pub(super) const fn nodes(&self) -> u32 {
        self.nodes
    }

    fn check(&self) -> Result<(), String> {
        let at_most = |option: &str, value: u32, most: u32| match value <= most {
            true => Ok(()),
            false => Err(format!(
                "invalid value \"{value}\" for {option}: expected at most {most}"
            )),
        };
        at_most("--accounts", self.accounts, MAX_ACCOUNTS)?;
        if self.validators > self.nodes {
            let Self {
                nodes, validators, ..
            } = self;
            return Err(format!(
                "{validators} validators need as many nodes: raise --nodes, which is {nodes}, or \
                 lower --validators"
            ));
        }
        if self.balance.bit_length() > 256 {
            return Err("invalid value for --balance: expected at most 256 bits".to_owned());
        }
        match self.chain_id {
            0 | 1 => Err(format!(
                "invalid value \"{}\" for --chain-id: 0 and 1 are public networks, on which \
                 transactions of this one would be valid too",
                self.chain_id
            )),
            _ => Ok(()),
        }
    }
}

/// Returns the checked block time, if one is given.
pub(super) fn block_time(args: &StartArgs) -> Result<Option<u32>, Failure> {
    match args.block_time {
        Some(0) => Err(Failure::Usage(
            "invalid value \"0\" for --block-time: expected at least 1 second".to_owned(),
        )),
        Some(seconds) if seconds > MAX_BLOCK_TIME_SECONDS => Err(Failure::Usage(format!(
            "invalid value \"{seconds}\" for --block-time: expected at most \
             {MAX_BLOCK_TIME_SECONDS} seconds"
        ))),
        given => Ok(given),
    }
}

/// Checks that a network which exists has the sizes that the arguments ask for.
pub(super) fn check_same(args: &StartArgs, found: &Description) -> Result<(), Failure> {
    let balance = args.balance.as_deref();
    let balance = balance.map(|text| parse::natural("--balance", text));
    let balance = balance.transpose()?.map(|balance| balance.to_string());
    let lengths = [found.validators.len(), found.accounts.len()];
    let [validators, accounts] = lengths.map(|len| len.to_string());
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    for (option, given, has) in [
        ("--nodes", number(args.nodes), found.nodes.to_string()),
        ("--validators", number(args.validators), validators),
        (
            "--accounts",
            args.accounts.map(|it| it.to_string()),
            accounts,
        ),
        ("--balance", balance, found.balance.clone()),
        (
            "--chain-id",
            args.chain_id.map(|it| it.to_string()),
            found.chain_id.to_string(),
        ),
    ] {
        if given.as_ref().is_some_and(|given| *given != has) {
            return Err(Failure::Usage(format!(
                "the network in this directory has {option} {has}, which cannot change; omit \
                 {option} to resume it, or choose another --dir"
            )));
        }
    }
    Ok(())
}

/// Creates keys and configurations, then the genesis and the description.
pub(super) fn create(
    directory: &Directory,
    sizes: &Sizes,
    is_temporary: bool,
) -> Result<Description, Failure> {
    let keys = directory.path().join("keys");
    create_private(&keys).map_err(|error| failed("cannot create", &keys, &error))?;
    let many = |kind: &str, count: u32| -> Result<Vec<String>, Failure> {
        (1..=count)
            .map(|number| create_key(directory, &format!("{kind}{number}")))
            .collect()
    };
    let description = Description {
        format: Description::version(),
        chain_id: sizes.chain_id,
        nodes: sizes.nodes,
        validators: many("validator", sizes.validators)?,
        accounts: many("account", sizes.accounts)?,
        faucet: create_key(directory, "faucet")?,
        balance: sizes.balance.to_string(),
        block_time_seconds: sizes.block_time_seconds,
        is_temporary,
    };
    for number in 1..=sizes.nodes {
        let node = directory.node(number);
        create_private(&node).map_err(|error| failed("cannot create", &node, &error))?;
        let path = directory.node_config(number);
        let text = configuration(number, number <= sizes.validators, sizes.chain_id);
        fs::write(&path, text).map_err(|error| failed("cannot write", &path, &error))?;
    }
    begin_chain(directory, &description)?;
    directory.save(&description)?;
    Ok(description)
}

fn create_key(directory: &Directory, name: &str) -> Result<String, Failure> {
    let secret = key_file::generate().map_err(Failure::failed)?;
    let path = directory.key(name);
    key_file::create_file(&path, KeyKind::Validation, &secret, &KeyFormat::Plain)
        .map_err(Failure::failed)?;
    Ok(hex::encode(KeyKind::Validation.public_key(&secret)))
}

/// Reads the secret key of an account.
pub(super) fn read_key(directory: &Directory, name: &str) -> Result<Secret, Failure> {
    let path = directory.key(name);
    let secret = key_file::read_secret(&path, KeyKind::Validation, &PassphraseSource::none());
    secret.map_err(Failure::failed)
}

fn configuration(number: u32, validates: bool, chain_id: u64) -> String {
    let key = match validates {
        true => format!("validation_secret_key_file = \"../keys/validator{number}.key\"\n"),
        false => String::new(),
    };
    format!(
        "# Node {number} of a development network. Written once by `astreum devnet`, which adds\n\
         # --incoming-port, --additional-seeds and --block-interval when it starts the node.\n\
         chain_id = {chain_id}\n\
         bind_address = \"127.0.0.1\"\n\
         incoming_port = 0\n\
         default_seed = \"\"\n\
         cold_storage_path = \"cold\"\n\
         cold_storage_sync = \"interval\"\n\
         state_dir = \"state\"\n\
         log_dir = \"logs\"\n\
         control_socket = \"control.sock\"\n\
         {key}"
    )
}

/// Writes a new genesis into the files of the first node; the others receive it from there.
pub(super) fn begin_chain(directory: &Directory, found: &Description) -> Result<(), Failure> {
    let amount = |text: &str| parse::natural("the balance", text);
    let address = |text: &String| parse::account_key("an account", text).map(Address::new);
    let validators: Result<Vec<Address>, Failure> = found.validators.iter().map(address).collect();
    let validators = validators?;
    let first = validators.first().ok_or_else(|| {
        Failure::Failed("devnet.json is damaged: there are no validators".to_owned())
    })?;
    // So early that the first block does not have to wait.
    let block_time = u64::from(found.block_time_seconds);
    let time = clock::unix_time().as_secs().saturating_sub(block_time);
    let mut genesis = Genesis::new(*first, found.chain_id.into(), time.into());
    genesis.balances = BTreeMap::from([
        (TREASURY, DEFAULT_TREASURY.into()),
        (address(&found.faucet)?, FAUCET_BALANCE.into()),
    ]);
    for account in &found.accounts {
        let balance = amount(&found.balance)?;
        genesis.balances.insert(address(account)?, balance);
    }
    let stakes = validators.iter().map(|it| (*it, DEFAULT_STAKE.into()));
    genesis.stakes = stakes.collect();
    let mut atoms = MemoryStore::new();
    let block = genesis
        .build(&mut Scalar, &mut atoms)
        .map_err(Failure::failed)?;
    let inputs = Inputs {
        file: Some(directory.node_config(1)),
        ..Inputs::default()
    };
    let loaded = inputs.load()?;
    genesis::write(&loaded, &block, &atoms, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> StartArgs {
        use clap::{Args as _, FromArgMatches as _};
        let command = StartArgs::augment_args(clap::Command::new("devnet"));
        let matches = command.get_matches_from([&["devnet"], words].concat());
        StartArgs::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn sizes_have_defaults_and_limits() {
        let of = |words: &[&str]| Sizes::new(&args(words));
        let sizes = of(&[]).unwrap();
        assert_eq!((sizes.nodes, sizes.validators, sizes.accounts), (2, 1, 5));
        assert_eq!(of(&["--validators", "3"]).unwrap().nodes, 3);
        assert_eq!(of(&["--nodes", "1"]).unwrap().nodes, 1);
        for (words, expected) in [
            (&["--nodes", "2", "--validators", "3"][..], "raise --nodes"),
            (&["--accounts", "1001"], "at most 1000"),
            (&["--chain-id", "1"], "public networks"),
            (&["--balance", "-1"], "--balance"),
            (&["--block-time", "0"], "at least 1"),
            (&["--block-time", "3601"], "at most 3600"),
        ] {
            let Err(Failure::Usage(text)) = of(words) else {
                panic!("{words:?} is accepted");
            };
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn network_is_created_once_and_keeps_its_sizes() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Directory::at(scratch.path()).unwrap();
        let sizes = Sizes::new(&args(&["--nodes", "3", "--validators", "2"])).unwrap();
        let made = create(&directory, &sizes, false).unwrap();
        assert_eq!(directory.description().unwrap(), made);
        assert_eq!((made.validators.len(), made.accounts.len()), (2, 5));
        let secret = read_key(&directory, "account5").unwrap();
        let public = hex::encode(KeyKind::Validation.public_key(&secret));
        assert_eq!(made.accounts.last(), Some(&public));
        for number in 1..=3 {
            let inputs = Inputs {
                file: Some(directory.node_config(number)),
                ..Inputs::default()
            };
            let settings = inputs.load().unwrap().settings;
            assert_eq!(settings.has_validation_key(), number <= 2);
            assert!(settings.bind_address.unwrap().is_loopback() && !settings.has_seeds());
        }
        check_same(
            &args(&["--nodes", "3", "--balance", "1_000_000_000"]),
            &made,
        )
        .unwrap();
        let Err(Failure::Usage(text)) = check_same(&args(&["--accounts", "6"]), &made) else {
            panic!("another number of accounts is accepted");
        };
        assert!(text.contains("has --accounts 5"), "{text}");
        // A second chain in the same files is refused.
        assert!(begin_chain(&directory, &made).is_err());
    }
}
