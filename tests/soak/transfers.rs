//! Transactions: sent at any node, awaited until a block has them, read at another node, and
//! checked against the balances at the end.

use crate::ledger::recipient;
use crate::measured::{Operation, Pace};
use crate::node::Node;
use crate::world::World;
use astreum_core::atom::AtomId;
use astreum_core::chain::Transaction;
use astreum_node::rpc::{AccountName, TransactionStanding, TransactionStatusReply, request};
use astreum_tests::random::Random;
use core::time::Duration;
use std::thread;
use std::time::Instant;

/// Time for which one request waits for a block, in seconds.
const WAIT_SECONDS: u64 = 5;
/// Time without inclusion after which the same transaction is sent again.
const SEND_AGAIN: Duration = Duration::from_secs(30);
/// Time after which it counts as lost; its final state is checked again at the end.
const GIVE_UP: Duration = Duration::from_secs(90);
/// Maximum time for the last transactions after the end of the load.
const LAST_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends transactions until the time is over.
pub(crate) fn send(world: &World, pace: &Pace, thread: u64) {
    let mut random = world.random(thread);
    while world.sleep_until(pace.turn()) {
        let Some((node, epoch)) = world.random_node(&mut random) else {
            continue;
        };
        let transaction = world.ledger.transfer();
        let began = Instant::now();
        // Recorded first: it may be in a block even if the reply never arrives.
        let amount = transaction.amount.to_u64().unwrap_or_default();
        world
            .ledger
            .note(transaction.id(), transaction.recipient, amount);
        match submit(node, &transaction) {
            Ok(()) => {
                world.ledger.acknowledged(&transaction.id());
                world.measured.done(Operation::Send, began);
            }
            Err(problem) => {
                world.unless_restarted(node, epoch, Operation::Send, "refused", &problem);
                continue;
            }
        }
        if let Some(seen_at) =
            wait_for_inclusion(world, (node, epoch), &transaction, began, &mut random)
        {
            read_elsewhere(world, seen_at, &transaction, &mut random);
        }
    }
}

fn submit(node: &Node, transaction: &Transaction) -> Result<(), String> {
    let atoms = transaction.to_atoms();
    let request = request::SendTransaction {
        id: transaction.id(),
        atoms: atoms.into_iter().map(|(_, atom)| atom).collect(),
        dry_run: false,
        force: false,
    };
    node.request(&request)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Waits until a block has the transaction and returns the number of the node that reports it. A
/// node that is killed right after it has acknowledged a transaction may not have announced it.
fn wait_for_inclusion(
    world: &World,
    (sent_at, epoch): (&Node, u64),
    transaction: &Transaction,
    began: Instant,
    random: &mut Random,
) -> Option<usize> {
    let id = transaction.id();
    let mut asked = sent_at;
    let mut sent = Instant::now();
    let mut times = 1;
    while began.elapsed() < GIVE_UP {
        match status(asked, &id, WAIT_SECONDS) {
            Ok(status) if status.state == TransactionStanding::Success => {
                world.ledger.included(&id);
                match times {
                    1 => world.measured.done(Operation::Land, began),
                    _ => world.unless_restarted(
                        sent_at,
                        epoch,
                        Operation::Land,
                        "sent twice",
                        &format!("{id} was included after {:.1?}", began.elapsed()),
                    ),
                }
                return Some(asked.number);
            }
            Ok(status) if status.is_final() => {
                let detail = format!("{id} at node {}: {status:?}", asked.number);
                world
                    .measured
                    .failed(Operation::Land, &status.state.to_string(), &detail);
                return None;
            }
            Ok(_) => {}
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
        if world.is_over() {
            return None;
        }
        if asked.used_for(Duration::ZERO).is_none() {
            asked = world.random_node(random)?.0;
        }
        if sent.elapsed() > SEND_AGAIN {
            sent = Instant::now();
            times += 1;
            // The sending node may have been killed before it announced the transaction. The result
            // is ignored, because the next status request shows a refusal.
            let _ = submit(world.random_node(random)?.0, transaction);
        }
    }
    let detail = format!("{id} was sent at node {}", sent_at.number);
    world
        .measured
        .failed(Operation::Land, "not in a block", &detail);
    None
}

fn status(node: &Node, id: &AtomId, wait_seconds: u64) -> Result<TransactionStatusReply, String> {
    node.request(&request::TransactionStatus {
        id: *id,
        wait_seconds,
        until_safe: false,
    })
    .map_err(|error| error.to_string())
}

/// Checks that a node other than the one that reported it returns the same transaction.
fn read_elsewhere(world: &World, seen_at: usize, sent: &Transaction, random: &mut Random) {
    let Some((node, epoch)) = world
        .random_node(random)
        .filter(|(node, _)| node.number != seen_at)
    else {
        return;
    };
    let id = sent.id();
    let began = Instant::now();
    let operation = Operation::ReadTransaction;
    match node.request(&request::Transaction { id }) {
        Ok(read) => {
            let is_equal = read.signature_holds
                && read.amount == sent.amount
                && read.recipient == sent.recipient
                && read.sender == *sent.sender();
            match is_equal {
                true => world.measured.done(operation, began),
                false => world
                    .measured
                    .failed(operation, "differs", &format!("{read:?}")),
            }
        }
        Err(error) => {
            world.unless_restarted(node, epoch, operation, "error", &error.to_string());
        }
    }
}

/// Final state of all transactions on the chain.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Transactions that were given to nodes.
    pub(crate) sent: usize,
    /// Acknowledged transactions that no block has.
    pub(crate) missing: usize,
    /// Accounts with a wrong balance, and their expected balances.
    pub(crate) wrong: Vec<String>,
    /// Height of the head.
    pub(crate) height: u64,
}

/// Waits for the last transactions and checks every receiving account.
pub(crate) fn settle(world: &World) -> Result<Account, String> {
    let began = Instant::now();
    let node = world.validator()?;
    loop {
        for id in world.ledger.missing(true) {
            if status(node, &id, 0).is_ok_and(|status| status.state == TransactionStanding::Success)
            {
                world.ledger.included(&id);
            }
        }
        let is_all = world.ledger.missing(false).is_empty();
        if is_all || began.elapsed() > LAST_TIMEOUT || world.is_interrupted() {
            break;
        }
        thread::sleep(Duration::from_secs(1));
    }
    let mut account = Account {
        sent: world.ledger.count(),
        missing: world.ledger.missing(false).len(),
        ..Account::default()
    };
    for (recipient, expected) in world.ledger.expected() {
        let request = request::Account {
            account: AccountName::Key(recipient),
        };
        let reply = node.request(&request).map_err(|error| error.to_string())?;
        account.height = reply.head.height.0.to_u64().unwrap_or_default();
        if reply.balance != expected {
            let line = format!("{recipient} has {} of {expected}", reply.balance);
            account.wrong.push(line);
        }
    }
    Ok(account)
}

/// Returns the recipient of the references' transfers, which nodes of ours do not send to.
pub(crate) fn reference_recipient() -> String {
    recipient(u8::MAX).to_string()
}
