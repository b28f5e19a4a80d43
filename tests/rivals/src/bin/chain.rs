//! Comparison of the chain rules with the Python reference: plain transfers in one block, and the
//! search for a block's nonce.
//!
//! The reference applies a part of the same block, without checking a signature. Astreum verifies
//! the block from its header on with every signature, as a node's verifier does, on all processors.
//! Both must result in the same accounts. The reference tries nonces without signing; here each is
//! signed. The reference is run by the interpreter that `ASTREUM_REFERENCE_PYTHON` names.

use astreum_core::atom::{Atom, AtomId, MemoryStore};
use astreum_core::chain::cost::Price;
use astreum_core::chain::{
    Account, Address, BURN, Block, Body, Builder, Election, Header, Miner, Position, SeedRun,
    StakeTable, TREASURY, Transaction, Unsigned, difficulty, read_transactions, verify_header,
};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::time::Instant as EngineInstant;
use astreum_core::trie::{Scalar, Trie};
use astreum_node::chain_service::sync::verify_body;
use astreum_node::chain_service::{Environment, Now};
use astreum_node::runtime::parallel::Threads;
use astreum_node::simd::Lanes;
use core::hint::black_box;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const VARIABLE: &str = "ASTREUM_REFERENCE_PYTHON";
/// Number of transfers in the block.
const TRANSFERS: u32 = 10_000;
/// Number of them that the reference applies; a smaller number is to its advantage, because its
/// tries stay small.
const REFERENCE_TRANSFERS: usize = 300;
const ACCOUNTS: u32 = 2_000;
const ROUNDS: usize = 7;
/// Minimum transfers per second, and minimum ratio to the reference.
const BAR: f64 = 20_000.0;
const REFERENCE_BAR: f64 = 50.0;
/// Minimum ratio of nonces per second to the reference.
const NONCE_BAR: f64 = 2.0;
/// Short rounds, many of them, so that the fastest one was not interrupted.
const NONCES: u32 = 160;
const HEADERS: u32 = 50;
const SHORT_ROUNDS: usize = 100;

fn validator_key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

struct Scene {
    store: MemoryStore,
    parent: Block,
    /// Election state after the parent, as a node has it from verifying the parent.
    election: Election,
    transactions: Vec<Transaction>,
}

fn scene() -> Scene {
    let mut store = MemoryStore::new();
    let keys: Vec<SigningKey> = (0..ACCOUNTS)
        .map(|index| SigningKey::from_seed(blake3::hash(&index.to_be_bytes()).as_bytes()))
        .collect();
    let addresses: Vec<Address> = keys
        .iter()
        .map(|key| Address::from(key.verifying_key()))
        .collect();
    // The only validator with a stake, so that it leads every slot.
    let validator = Address::from(validator_key().verifying_key());
    let mut stakes = Trie::new();
    stakes.put(&store, validator.as_ref(), &[1]).unwrap();
    let treasury = Account {
        balance: Natural::ONE,
        data: stakes.commit(&mut Scalar, &mut store).unwrap(),
        ..Account::default()
    };
    let rich = Account {
        balance: Natural::from(1_000_000_000_u64),
        ..Account::default()
    };
    let mut accounts = Trie::new();
    let mut put = |address: &Address, account: &Account| {
        let id = account.write(&mut store).unwrap();
        accounts.put(&store, address.as_ref(), id.as_ref()).unwrap();
    };
    put(&TREASURY, &treasury);
    put(&BURN, &Account::default());
    addresses.iter().for_each(|address| put(address, &rich));
    let parent = Header {
        chain_id: Natural::ONE,
        height: Natural::ONE,
        previous: AtomId::ZERO,
        timestamp: Natural::ONE,
        difficulty: Natural::ONE,
        cumulative_stake: Natural::ONE,
        cumulative_burn: Natural::ZERO,
        cumulative_mint: Natural::ZERO,
        cumulative_total_fees: Natural::from(1_000_u64),
        total_fees: Natural::ZERO,
        accounts: accounts.commit(&mut Scalar, &mut store).unwrap(),
        transactions: AtomId::ZERO,
        receipts: AtomId::ZERO,
        validator: TREASURY,
        nonce: Natural::ZERO,
    }
    .signed(None);
    let transactions: Vec<Transaction> = (0..TRANSFERS)
        .zip(keys.iter().cycle())
        .map(|(counter, key)| {
            let unsigned = Unsigned {
                chain_id: Natural::ONE,
                amount: Natural::from(10_u64),
                counter: Natural::from(counter),
                data: [].as_slice().into(),
                recipient: addresses[counter as usize * 7_919 % addresses.len()],
            };
            unsigned.sign(key)
        })
        .collect();
    for transaction in &transactions {
        transaction.write(&mut store).unwrap();
    }
    let mut seeds = SeedRun::to(1);
    for id in [AtomId::ZERO, parent.id()] {
        seeds.push(id);
    }
    let election = Election {
        seeds: seeds.finish().unwrap(),
        stakes: StakeTable::read(&store, parent.accounts).unwrap(),
    };
    Scene {
        store,
        parent,
        election,
        transactions,
    }
}

fn build(scene: &Scene, transactions: &[Transaction]) -> Body {
    let mut builder = Builder::new(&scene.store, &scene.parent, &scene.election.stakes);
    for transaction in transactions {
        builder.apply(transaction).unwrap().unwrap();
    }
    builder.finish(&mut Lanes::new(), None).unwrap()
}

/// Mines and signs the block after the scene's parent with this body.
fn mine(scene: &Scene, body: &Body) -> Block {
    let timestamp = &scene.parent.timestamp + &Natural::from(2_u64);
    let difficulty = difficulty(
        &scene.parent.timestamp,
        &timestamp,
        &scene.parent.difficulty,
    );
    let key = validator_key();
    let address = Address::from(key.verifying_key());
    let header = body.header(&scene.parent, address, timestamp, difficulty);
    let mut miner = Miner::new(header, key, &scene.parent.difficulty);
    miner.try_nonces(1_000, &mut Lanes::new()).unwrap()
}

/// Verifies a block from its header on, as a node's verifier does.
fn verify(store: &MemoryStore, scene: &Scene, block: &Block) -> Body {
    let (parent, Election { seeds, stakes }) = (&scene.parent, &scene.election);
    let world = Environment {
        now: Now {
            instant: EngineInstant::ZERO,
            unix: Duration::from_secs(100),
        },
        atoms: store,
        parallel: &Threads::of_machine(),
    };
    let latest = Natural::from(100_u64);
    let header = verify_header::<()>(block, parent, seeds, stakes, &parent.chain_id, &latest);
    header.unwrap();
    verify_body(&world, block, parent, stakes, &mut Lanes::new(), &mut None).unwrap()
}

/// Returns nonces per second, each with a signature.
fn nonces_a_second(scene: &Scene, body: &Body) -> f64 {
    let timestamp = Natural::from(3_u64);
    let header = body.header(&scene.parent, TREASURY, timestamp, Natural::ONE);
    let seconds = fastest(SHORT_ROUNDS, || {
        // More leading zero bits than an id has, so that no nonce is found.
        let mut miner = Miner::new(header.clone(), validator_key(), &Natural::from(300_u64));
        let found = miner.try_nonces(NONCES.into(), &mut Lanes::new());
        assert!(black_box(found).is_none());
    });
    f64::from(NONCES) / seconds
}

/// Returns headers per second, read and fully checked.
fn headers_a_second(scene: &Scene, block: &Block) -> f64 {
    let (store, parent) = (&scene.store, &scene.parent);
    let Election { seeds, stakes } = &scene.election;
    let latest = Natural::from(100_u64);
    let seconds = fastest(SHORT_ROUNDS, || {
        for _ in 0..HEADERS {
            let block = Block::read(store, black_box(block.id())).unwrap();
            let chain_id = &parent.chain_id;
            verify_header::<()>(&block, parent, seeds, stakes, chain_id, &latest).unwrap();
        }
    });
    f64::from(HEADERS) / seconds
}

/// Results of the reference.
struct Reference {
    transfers_a_second: f64,
    accounts: String,
    nonces_a_second: f64,
}

fn reference(scene: &Scene) -> Result<Reference, String> {
    let help = format!(
        "set {VARIABLE} to a Python 3.12 or newer that has the package: \
         python3 -m venv reference && reference/bin/pip install astreum==0.3.71 && \
         export {VARIABLE}=$PWD/reference/bin/python"
    );
    let python = std::env::var(VARIABLE).map_err(|_| help.clone())?;
    let failed = |error| format!("cannot run {python}: {error}; {help}");
    let mut child = Command::new(&python)
        .args(["-c", include_str!("../chain.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let input = reference_input(scene);
    let stdin = child.stdin.take();
    stdin.unwrap().write_all(input.as_bytes()).map_err(failed)?;
    let output = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    let measured = match words[..] {
        [seconds, accounts, nonces] => seconds.parse().ok().zip(nonces.parse().ok()).map(
            |(seconds, nonces_a_second): (f64, f64)| Reference {
                transfers_a_second: REFERENCE_TRANSFERS as f64 / seconds,
                accounts: accounts.to_owned(),
                nonces_a_second,
            },
        ),
        _ => None,
    };
    measured.ok_or(format!("{python} printed no measurements; {help}"))
}

fn reference_input(scene: &Scene) -> String {
    let position = Position::after(&scene.parent, &scene.election.stakes);
    let parent = &scene.parent;
    assert_eq!(
        position.price,
        Price::new(
            parent.cumulative_stake.clone(),
            parent.cumulative_total_fees.clone()
        )
    );
    let mut input = format!(
        "{} {} {} {} {} {} {}\n",
        position.accounts,
        position.previous,
        position.chain_id,
        position.height,
        position.previous_timestamp,
        parent.cumulative_stake,
        parent.cumulative_total_fees,
    );
    for transaction in &scene.transactions[..REFERENCE_TRANSFERS] {
        write!(input, "{} ", transaction.id()).unwrap();
    }
    input.push('\n');
    for (_, atom) in scene.store.iter() {
        for byte in atom.to_bytes() {
            write!(input, "{byte:02x}").unwrap();
        }
        input.push('\n');
    }
    input
}

/// Returns the duration of the fastest round, in seconds.
fn fastest(rounds: usize, mut run: impl FnMut()) -> f64 {
    let mut fastest = f64::INFINITY;
    for _ in 0..rounds {
        let start = Instant::now();
        run();
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    fastest
}

fn main() -> ExitCode {
    let mut scene = scene();
    let reference = match reference(&scene) {
        Ok(measured) => measured,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::FAILURE;
        }
    };
    let part = build(&scene, &scene.transactions[..REFERENCE_TRANSFERS]);
    let accounts = part.accounts.to_string();
    assert_eq!(accounts, reference.accounts, "accounts roots differ");

    let count = f64::from(TRANSFERS);
    let applied = count / fastest(ROUNDS, || drop(build(&scene, &scene.transactions)));
    let body = build(&scene, &scene.transactions);
    let nonces = nonces_a_second(&scene, &body);
    let block = mine(&scene, &body);
    block.write(&mut scene.store).unwrap();
    let ids: Vec<AtomId> = body.transaction_ids.clone();
    scene.store.extend(astreum_core::atom::bytes_list(&ids).1);
    let store = &scene.store;
    let reading = count / fastest(ROUNDS, || drop(read_transactions(store, &block).unwrap()));
    let verify_seconds = fastest(ROUNDS, || drop(verify(store, &scene, &block)));
    let headers = headers_a_second(&scene, &block);
    let whole_seconds = end_to_end(&scene);

    let verified = count / verify_seconds;
    println!(
        "reference, applied                  {:>10.0} transfers/s",
        reference.transfers_a_second
    );
    println!("astreum, applied                    {applied:>10.0} transfers/s");
    println!("astreum, read on one processor      {reading:>10.0} transfers/s");
    println!("astreum, verified with signatures   {verified:>10.0} transfers/s");
    println!(
        "reference, nonces unsigned          {:>10.0} /s",
        reference.nonces_a_second
    );
    println!("astreum, nonces signed              {nonces:>10.0} /s");
    println!("astreum, headers read and verified  {headers:>10.0} /s");
    println!(
        "a block of {TRANSFERS}: verified in {:.0} ms; built, found, stored and verified by another \
         node in {:.0} ms",
        verify_seconds * 1e3,
        whole_seconds * 1e3
    );
    let mut reached = true;
    for (name, ratio, bar) in [
        (
            "verified over applied by the reference",
            verified / reference.transfers_a_second,
            REFERENCE_BAR,
        ),
        ("verified with signatures a second", verified, BAR),
        (
            "nonces signed over the reference's unsigned",
            nonces / reference.nonces_a_second,
            NONCE_BAR,
        ),
    ] {
        println!("{name}: {ratio:.1} (bar {bar:.0})");
        reached &= ratio >= bar;
    }
    if reached {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: a figure is below its bar");
        ExitCode::FAILURE
    }
}

/// Returns the seconds from the first transfer that a validator applies until another node has
/// verified the block and stored it with all that it created.
fn end_to_end(scene: &Scene) -> f64 {
    let mut fastest = f64::INFINITY;
    for _ in 0..ROUNDS.min(3) {
        let mut other = scene.store.clone();
        let start = Instant::now();
        let body = build(scene, &scene.transactions);
        let block = mine(scene, &body);
        // Atoms that a peer fetches of a block: its header and the list of its transactions.
        other.extend(block.to_atoms().into_iter().map(|(_, atom)| atom));
        other.extend(astreum_core::atom::bytes_list(&body.transaction_ids).1);
        let repeated = verify(&other, scene, &block);
        assert_eq!(repeated.accounts, body.accounts);
        for (id, atom) in repeated.atoms {
            put(&mut other, id, atom);
        }
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    fastest
}

fn put(store: &mut MemoryStore, id: AtomId, atom: Atom) {
    let Ok(()) = astreum_core::atom::AtomSink::put(store, id, atom);
}
