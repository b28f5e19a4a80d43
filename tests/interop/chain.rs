//! Chains of ours for the cases: their start, their funded accounts, and transactions.

use crate::environment::Environment;
use crate::ours::{Home, Ours, parsed};
use crate::reference::{Process, Reference, Start};
use crate::suite::wait_for;
use astreum_core::atom::{Atom, AtomId, MemoryStore};
use astreum_core::chain::{Address, Block, Genesis, Unsigned};
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;
use astreum_node::chain_service::dir::{ChainDir, begin_chain};
use astreum_node::config::ColdStorageSync;
use astreum_node::rpc::{AccountReply, BlockReply, TransactionStatusReply, hex, request, unhex};
use astreum_node::store::cold::{ColdOptions, ColdStore};
use core::sync::atomic::{AtomicU64, Ordering};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use astreum_core::testkit::{address, key};

/// Number of the validator's key.
pub(crate) const VALIDATOR: u8 = 0x21;
/// Number of the key of a funded account.
pub(crate) const ALICE: u8 = 0x31;
/// Number of the key of another funded account.
pub(crate) const BOB: u8 = 0x32;
/// Initial balance of Alice and Bob.
pub(crate) const FUNDS: u64 = 1_000_000_000_000;
/// Configuration with which a reference verifier finishes in time.
pub(crate) const REFERENCE_VERIFIER: &str = r#"{
    "verify_blockchain_interval": 1, "atom_fetch_interval": 0.02, "atom_fetch_retries": 100
}"#;

/// Returns the account of the key with this number in hex.
pub(crate) fn account(number: u8) -> String {
    hex(address(number).as_bytes())
}

/// Returns the seconds since 1970.
pub(crate) fn unix_seconds() -> Result<u64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map(|now| now.as_secs())
        .map_err(|error| error.to_string())
}

/// Starts our validator on a chain of its own, like any new chain. Alice and Bob have money.
pub(crate) fn validator(environment: &Environment, flags: &[(&str, &str)]) -> Result<Ours, String> {
    let mut genesis = Genesis::new(
        address(VALIDATOR),
        Natural::ZERO,
        (unix_seconds()? - 2).into(),
    );
    for number in [ALICE, BOB] {
        genesis.balances.insert(address(number), FUNDS.into());
    }
    let mut atoms = MemoryStore::new();
    let block = genesis
        .build(&mut Scalar, &mut atoms)
        .map_err(|error| error.to_string())?;
    let atoms: Vec<(AtomId, Atom)> = atoms.iter().map(|(id, atom)| (*id, atom.clone())).collect();
    validator_from(environment, &block, &atoms, flags)
}

/// Like [`validator_with_their_genesis`], with blocks that reference nodes can verify.
pub(crate) fn validator_for_references(
    environment: &Environment,
    flags: &[(&str, &str)],
) -> Result<Ours, String> {
    let followers = [flags, &[("reference-followers", "")]].concat();
    validator_with_their_genesis(environment, &followers)
}

/// Starts our validator on a chain whose genesis the reference made. Alice and Bob have money, and
/// Alice has a channel to an address without an owner.
pub(crate) fn validator_with_their_genesis(
    environment: &Environment,
    flags: &[(&str, &str)],
) -> Result<Ours, String> {
    let balances = [VALIDATOR, ALICE, BOB].map(|number| (account(number), json!(FUNDS)));
    let balances = Value::Object(balances.into_iter().collect()).to_string();
    let channels = json!([account(ALICE)]).to_string();
    let secret = hex(&[VALIDATOR; 32]);
    let made = made_by_the_reference(
        environment,
        &[
            "genesis",
            "--validator",
            &secret,
            "--balances",
            &balances,
            "--channels",
            &channels,
        ],
    )?;
    let atoms = stored_atoms(&made["atoms"])?;
    let id = made["blocks"][0]["id"].as_str().unwrap_or_default();
    let id: AtomId = id.parse().map_err(|error| format!("{id}: {error}"))?;
    let store: MemoryStore = atoms.iter().map(|(_, atom)| atom.clone()).collect();
    let block = Block::read(&store, id).map_err(|error| error.to_string())?;
    validator_from(environment, &block, &atoms, flags)
}

fn validator_from(
    environment: &Environment,
    block: &Block,
    atoms: &[(AtomId, Atom)],
    flags: &[(&str, &str)],
) -> Result<Ours, String> {
    let home = Home::new(environment)?;
    let options = ColdOptions {
        level_size_bytes: 1 << 20,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: true,
        background: false,
    };
    let cold = ColdStore::open(&home.cold(), options).map_err(|error| error.to_string())?;
    let path = home.cold().join("chain/0");
    let mut dir = ChainDir::open(&path, 0).map_err(|error| error.to_string())?;
    begin_chain(&cold, &mut dir, block, atoms).map_err(|error| error.to_string())?;
    drop((cold, dir));
    let cold = home.cold();
    let secret = hex(&[VALIDATOR; 32]);
    let own = [
        ("validation-secret-key", secret.as_str()),
        (
            "cold-storage-path",
            cold.to_str().ok_or("the path is not UTF-8")?,
        ),
    ];
    let ours = Ours::start_in(environment, &home, &[&own, flags].concat())?;
    wait_for("our node adopts the genesis", || {
        Ok(ours.status()?.chain.height.map(drop))
    })?;
    Ok(ours)
}

/// Returns the output of `reference_chain.py` with these arguments.
pub(crate) fn made_by_the_reference(
    environment: &Environment,
    arguments: &[&str],
) -> Result<Value, String> {
    let script = environment.driver.with_file_name("reference_chain.py");
    Process::script(environment, &script, arguments)?.receive()
}

/// Reads atoms from their stored forms in hex.
pub(crate) fn stored_atoms(listed: &Value) -> Result<Vec<(AtomId, Atom)>, String> {
    let listed = listed.as_array().ok_or("the reply has no list of atoms")?;
    let atoms = listed.iter().map(|stored| {
        let bytes = stored.as_str().and_then(unhex).ok_or("not hex")?;
        let atom = Atom::from_bytes(&bytes).map_err(|error| error.to_string())?;
        Ok((atom.id(), atom))
    });
    atoms.collect()
}

/// Process that repeats blocks with the reference's classes, to obtain the trie nodes between two
/// puts, which its verifier loses and requests.
pub(crate) struct Replay {
    process: Process,
    next_height: u64,
}

impl Replay {
    /// Starts a process that fetches blocks from `ours`.
    pub(crate) fn start(environment: &Environment, ours: &Ours) -> Result<Self, String> {
        let script = environment.driver.with_file_name("reference_chain.py");
        let mut process =
            Process::script(environment, &script, &["replay", "--seed", &ours.address()])?;
        process.receive()?;
        Ok(Self {
            process,
            next_height: 1,
        })
    }

    /// Repeats all blocks up to this height and stores the nodes at `ours`, which serves them.
    pub(crate) fn up_to(&mut self, ours: &Ours, height: u64) -> Result<(), String> {
        for some in self.verify_only(ours, height)?.chunks(500) {
            ours.put(some)?;
        }
        Ok(())
    }

    /// Repeats all blocks up to this height and returns the nodes.
    pub(crate) fn verify_only(&mut self, ours: &Ours, height: u64) -> Result<Vec<Atom>, String> {
        let mut nodes = Vec::new();
        while self.next_height <= height {
            let block = ours.block(&self.next_height.to_string())?;
            self.process
                .send(&json!({"block": block.id.to_string()}).to_string())?;
            let reply = self.process.receive()?;
            let verdict = &reply["ok"];
            if verdict["verified"] != json!(true) {
                let height = self.next_height;
                return Err(format!("the replay of block {height} failed: {reply}"));
            }
            let atoms = stored_atoms(&verdict["atoms"])?;
            nodes.extend(atoms.into_iter().map(|(_, atom)| atom));
            self.next_height += 1;
        }
        Ok(nodes)
    }
}

/// Returns a unique signed transaction on chain 0.
fn signed(number: u8, to: Address, amount: u64, data: &[u8]) -> astreum_core::chain::Transaction {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let unsigned = Unsigned {
        chain_id: Natural::ZERO,
        amount: amount.into(),
        counter: COUNTER.fetch_add(1, Ordering::Relaxed).into(),
        data: data.into(),
        recipient: to,
    };
    unsigned.sign(&key(number))
}

/// Requests about a chain, and transactions to it.
impl Ours {
    /// Sends a transaction and returns its id.
    pub(crate) fn send(
        &self,
        number: u8,
        to: Address,
        amount: u64,
        data: &[u8],
    ) -> Result<String, String> {
        let transaction = signed(number, to, amount, data);
        let atoms = transaction.to_atoms();
        let request = request::SendTransaction {
            id: transaction.id(),
            atoms: atoms.into_iter().map(|(_, atom)| atom).collect(),
            dry_run: false,
            force: false,
        };
        Ok(self.request(&request)?.id.to_string())
    }

    /// Sends two transfers of which the sender can pay one. The second is sent before a block has
    /// the first, because nodes refuse a transaction that cannot be paid according to the head.
    pub(crate) fn send_too_much(&self, number: u8, to: Address) -> Result<[String; 2], String> {
        let before = self.status()?.latest_block;
        wait_for("the next block", || {
            Ok((self.status()?.latest_block != before).then_some(()))
        })?;
        let balance: u64 = self
            .balance(&account(number))?
            .parse()
            .map_err(|error| format!("{error}"))?;
        let amount = balance / 10 * 6;
        Ok([
            self.send(number, to, amount, b"")?,
            self.send(number, to, amount, b"")?,
        ])
    }

    /// Returns the status of a transaction, once it is in a block.
    pub(crate) fn settled(&self, id: &str) -> Result<TransactionStatusReply, String> {
        wait_for("a block includes the transaction", || {
            let status = self.request(&request::TransactionStatus {
                id: parsed(id)?,
                wait_seconds: 2,
                until_safe: false,
            })?;
            Ok(Some(status).filter(TransactionStatusReply::is_final))
        })
        .map_err(|error| format!("{error}; {:?}", self.status().map(|now| now.validator)))
    }

    /// Returns a block, by `head`, a height, or an id.
    pub(crate) fn block(&self, at: &str) -> Result<BlockReply, String> {
        self.request(&request::Block {
            at: parsed(at)?,
            transactions: 100,
            skip: 0,
        })
    }

    /// Returns an account as of the head.
    pub(crate) fn account(&self, account: &str) -> Result<AccountReply, String> {
        self.request(&request::Account {
            account: parsed(account)?,
        })
    }

    /// Returns the balance of an account.
    pub(crate) fn balance(&self, account: &str) -> Result<String, String> {
        Ok(self.account(account)?.balance.to_string())
    }

    /// Runs a command of the program on this node and returns its output.
    pub(crate) fn command(
        &self,
        environment: &Environment,
        arguments: &[&str],
    ) -> Result<String, String> {
        let output = Command::new(&environment.node)
            .env_remove("ASTREUM_REFERENCE_PYTHON")
            .args(arguments)
            .arg("--control-socket")
            .arg(self.socket())
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot start the program: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let problem = String::from_utf8_lossy(&output.stderr);
        Err(format!("{arguments:?} failed: {problem}{said}"))
    }
}

/// Starts a reference whose default seed is `ours`, with a shorter polling interval of its storage.
pub(crate) fn follower(environment: &Environment, ours: &Ours) -> Result<Reference, String> {
    let mut reference = Reference::start(
        environment,
        &Start {
            default_seed: Some(ours.address()),
            config: Some(json!({"atom_fetch_interval": 0.02, "atom_fetch_retries": 100})),
            ..Start::default()
        },
    )?;
    reference.wait_for_peer(&ours.key)?;
    Ok(reference)
}
