//! Bodies of blocks, as made by a host's worker.

use super::host::{Net, address, config, transfer};
use crate::arc::Arc;
use crate::atom::MemoryStore;
use crate::chain::Election;
use crate::consensus::producer::{
    Assembled, AssemblyBudget, AssemblyError, AssemblyJob, NoInterrupt,
};
use crate::time::Instant;
use crate::trie::Scalar;
use alloc::collections::BTreeMap;
use core::time::Duration;

const SENDER: u8 = 5;

/// Returns a job over a genesis, with this many transfers, and this maximum for the block.
fn job(transfers: u64) -> (AssemblyJob, MemoryStore) {
    let (mut net, genesis) = Net::with_chain(&[1], &[SENDER]);
    net.add(config(1), Some(&genesis));
    let parent = net.head(0);
    let store = net.hosts[0].store.clone();
    let stakes = Election::read(&store, parent.block()).unwrap().stakes;
    let transfers = (0..transfers).map(|counter| transfer(SENDER, 9, 1, counter));
    let job = AssemblyJob {
        number: 1,
        parent,
        stakes,
        transactions: transfers.map(Arc::new).collect(),
        lengths: BTreeMap::new(),
        claimant: Some(address(1)),
        max_transactions: 4_096,
        max_growth_bytes: u64::MAX,
        growth_per_transaction: 0,
        budget: AssemblyBudget {
            cpu: Duration::from_secs(60),
            until: Instant::from_secs(1_000_000),
        },
    };
    (job, store)
}

fn run(job: &AssemblyJob, store: &MemoryStore, room: Option<u64>) -> Assembled {
    job.run(store, &mut Scalar, &mut NoInterrupt, room)
}

#[test]
fn assembles_an_empty_block_that_just_fits_and_fails_below_that() {
    let (job, store) = job(0);
    let needed = run(&job, &store, None).outcome.unwrap().growth_bytes;
    let fits = run(&job, &store, Some(needed)).outcome.unwrap();
    assert_eq!(fits.growth_bytes, needed);
    let room = needed - 1;
    let outcome = run(&job, &store, Some(room)).outcome;
    assert_eq!(outcome, Err(AssemblyError::NoRoom { needed, room }));
}

/// The limit of growth does not keep a producer from making an empty block.
#[test]
fn assembles_an_empty_block_at_any_growth_limit() {
    let (mut job, store) = job(3);
    job.max_growth_bytes = 0;
    let assembly = run(&job, &store, None).outcome.unwrap();
    assert!(assembly.transactions.is_empty() && assembly.growth_bytes > 0);
}

/// Transfers add more than their own bytes; a block that is too large is assembled again with about as
/// many as fit.
#[test]
fn oversized_block_is_reassembled_with_the_transactions_that_fit() {
    let (mut job, store) = job(200);
    let all = run(&job, &store, None).outcome.unwrap();
    assert_eq!(all.transactions.len(), 200);
    for part in [2, 4] {
        job.max_growth_bytes = all.growth_bytes / part;
        let made = run(&job, &store, None).outcome.unwrap();
        assert!(made.growth_bytes <= job.max_growth_bytes, "{part}");
        let count = made.transactions.len() as u64;
        let least = 200 / part * 2 / 3;
        assert!((least..=200 / part).contains(&count), "{part}: {count}");
    }
}

#[test]
fn body_has_a_bounded_number_of_transactions_in_order() {
    let (mut job, store) = job(20);
    job.max_transactions = 7;
    let assembled = run(&job, &store, None);
    assert!(assembled.rejected.is_empty() && !assembled.is_interrupted);
    let made = assembled.outcome.unwrap();
    assert_eq!(made.transactions, job.transactions[..7]);
}
