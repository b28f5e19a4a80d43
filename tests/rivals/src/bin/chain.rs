//! The chain's rules beside the Python reference: plain transfers, applied to one block.
//!
//! The reference applies a part of the same block, without checking a signature; Astreum verifies
//! the block from its header on with every signature, on two threads. Both must come to the same
//! accounts. The reference is run by the interpreter that `ASTREUM_REFERENCE_PYTHON` names.

use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::cost::Price;
use astreum_core::chain::{
    Account, Address, BURN, Block, Body, Builder, Header, Position, TREASURY, Transaction,
    Unsigned, check_signatures, read_transactions, verify_body,
};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::trie::{Scalar, Trie};
use astreum_node::lanes::Lanes;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const VARIABLE: &str = "ASTREUM_REFERENCE_PYTHON";
/// Transfers of the block.
const TRANSFERS: u32 = 10_000;
/// How many of them the reference applies; fewer are to its advantage, its tries stay small.
const REFERENCE_TRANSFERS: usize = 300;
const ACCOUNTS: u32 = 2_000;
const ROUNDS: usize = 7;
/// Transfers a second that are asked for, and how many times the reference's.
const BAR: f64 = 20_000.0;
const REFERENCE_BAR: f64 = 50.0;

struct Scene {
    store: MemoryStore,
    parent: Block,
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
    let rich = Account {
        balance: Natural::from(1_000_000_000_u64),
        ..Account::default()
    };
    let mut accounts = Trie::new();
    let mut put = |address: &Address, account: &Account| {
        let id = account.write(&mut store).unwrap();
        accounts.put(&store, address.as_ref(), id.as_ref()).unwrap();
    };
    put(&TREASURY, &Account::default());
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
    Scene {
        store,
        parent,
        transactions,
    }
}

fn build(scene: &Scene, transactions: &[Transaction]) -> Body {
    let mut builder = Builder::new(&scene.store, &scene.parent);
    for transaction in transactions {
        builder.apply(transaction).unwrap().unwrap();
    }
    builder.finish(&mut Lanes::new(), None).unwrap()
}

/// A block from its header on: its transactions read, their signatures checked on two threads, its
/// body repeated.
fn verify(scene: &Scene, block: &Block) {
    let transactions = read_transactions(&scene.store, block).unwrap();
    let (left, right) = transactions.split_at(transactions.len() / 2);
    let signed = std::thread::scope(|scope| {
        let right = scope.spawn(|| check_signatures(right));
        let mut signed = check_signatures(left);
        signed.extend(right.join().unwrap());
        signed
    });
    let (store, parent) = (&scene.store, &scene.parent);
    verify_body(
        store,
        block,
        parent,
        &transactions,
        &signed,
        &mut Lanes::new(),
    )
    .unwrap();
}

/// Seconds for [`REFERENCE_TRANSFERS`], and the accounts that they leave.
fn reference(scene: &Scene) -> Result<(f64, String), String> {
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
    let mut words = text.split_whitespace();
    let seconds = words.next().and_then(|word| word.parse().ok());
    seconds
        .zip(words.next().map(str::to_owned))
        .ok_or(format!("{python} measured nothing; {help}"))
}

fn reference_input(scene: &Scene) -> String {
    let position = Position::after(&scene.parent);
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

fn fastest(mut run: impl FnMut()) -> f64 {
    let mut fastest = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        run();
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    fastest
}

fn main() -> ExitCode {
    let mut scene = scene();
    let (seconds, root) = match reference(&scene) {
        Ok(measured) => measured,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::FAILURE;
        }
    };
    let reference_rate = REFERENCE_TRANSFERS as f64 / seconds;
    let part = build(&scene, &scene.transactions[..REFERENCE_TRANSFERS]);
    assert_eq!(part.accounts.to_string(), root, "the same accounts");

    let body = build(&scene, &scene.transactions);
    for (_, atom) in &body.atoms {
        scene.store.insert(atom.clone());
    }
    let block = body
        .header(&scene.parent, TREASURY, Natural::from(3_u64), Natural::ONE)
        .signed(None);
    let count = f64::from(TRANSFERS);
    let apply_rate = count / fastest(|| drop(build(&scene, &scene.transactions)));
    let verify_seconds = fastest(|| verify(&scene, &block));
    let verify_rate = count / verify_seconds;
    println!("reference, applied                 {reference_rate:>10.0} transfers/s");
    println!("astreum, applied                   {apply_rate:>10.0} transfers/s");
    println!("astreum, verified with signatures  {verify_rate:>10.0} transfers/s");
    println!(
        "a block of {TRANSFERS} verified in     {:>10.1} ms",
        verify_seconds * 1e3
    );
    let mut reached = true;
    for (name, ratio, bar) in [
        (
            "verified over applied by the reference",
            verify_rate / reference_rate,
            REFERENCE_BAR,
        ),
        ("verified with signatures a second", verify_rate, BAR),
    ] {
        println!("{name}: {ratio:.0} (bar {bar:.0})");
        reached &= ratio >= bar;
    }
    if reached {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: a figure is below its bar");
        ExitCode::FAILURE
    }
}
