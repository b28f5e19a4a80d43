//! Tests of the rules and of the signing record, also with a disk that fails.

use super::*;
use crate::signer::rules::MAX_FUTURE_SECONDS;
use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::{Genesis, has_work};
use astreum_core::trie::Scalar;
use std::fs;

const NOW: u64 = 1_800_000_000;
const SECRET: Secret = Secret::new([7; 32]);

fn now() -> Duration {
    Duration::from_secs(NOW)
}

fn open(directory: &Path, is_new: bool) -> Vault {
    Vault::open(&SECRET, 3, directory, is_new).unwrap()
}

/// Returns a block without a signature.
fn block(parent: u8, height: u64, timestamp: u64) -> Block {
    let validator = Address::from(SigningKey::from_seed(SECRET.expose()).verifying_key());
    let genesis = Genesis::new(validator, 3_u64.into(), 5_u64.into());
    let genesis = genesis.build(&mut Scalar, &mut MemoryStore::new()).unwrap();
    let header = Header {
        previous: AtomId::new([parent; 32]),
        height: height.into(),
        timestamp: timestamp.into(),
        difficulty: Natural::ONE,
        ..genesis.header().clone()
    };
    header.signed(None)
}

fn changed(block: &Block, change: impl FnOnce(&mut Header)) -> Block {
    let mut header = block.header().clone();
    change(&mut header);
    header.signed(None)
}

type Change = Box<dyn Fn(&mut Header)>;

fn sign(vault: &mut Vault, block: &Block) -> SignOutcome {
    vault.sign(block, &Natural::ONE, now(), &mut || true)
}

fn signed(outcome: SignOutcome) -> Block {
    match outcome {
        SignOutcome::Signed(block) => block,
        other => panic!("{other:?}"),
    }
}

#[test]
fn signed_block_has_work_and_signature_and_is_in_the_record_on_disk() {
    let scratch = tempfile::tempdir().unwrap();
    let mut vault = open(scratch.path(), true);
    let request = block(1, 8, NOW);
    let made = vault.sign(&request, &4_u64.into(), now(), &mut || true);
    // The difficulty of the request does not follow from that of the parent.
    assert!(matches!(
        made,
        SignOutcome::Refused(Refusal::Malformed(what)) if what.contains("difficulty")
    ));
    let request = changed(&request, |header| header.difficulty = 4_u64.into());
    let made = signed(vault.sign(&request, &4_u64.into(), now(), &mut || true));
    assert!(has_work(&made.id(), &4_u64.into()) && made.verify_signature().is_ok());
    drop(vault);
    let mut vault = open(scratch.path(), false);
    assert_eq!(vault.newest().unwrap().block, made.id());
    assert_eq!(vault.last().unwrap(), Some(&made));
    // The same request again has the same reply, and no other one on the parent is signed.
    assert_eq!(signed(sign(&mut vault, &request)), made);
    let other = changed(&request, |header| header.timestamp = (NOW + 1).into());
    let refused = sign(
        &mut vault,
        &changed(&other, |it| it.difficulty = Natural::ONE),
    );
    assert!(matches!(
        refused,
        SignOutcome::Refused(Refusal::Conflict(_))
    ));
}

#[test]
fn second_block_for_a_slot_height_or_parent_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let mut vault = open(scratch.path(), true);
    signed(sign(&mut vault, &block(1, 8, NOW)));
    for (what, request) in [
        ("same parent", block(1, 9, NOW + 5)),
        ("same slot", block(2, 9, NOW)),
        ("earlier slot", block(2, 9, NOW - 1)),
        ("same height", block(2, 8, NOW + 5)),
        ("lower height", block(2, 7, NOW + 5)),
        (
            "other content",
            changed(&block(1, 8, NOW), |it| it.total_fees = 9_u64.into()),
        ),
    ] {
        let outcome = sign(&mut vault, &request);
        assert!(
            matches!(outcome, SignOutcome::Refused(_)),
            "{what}: {outcome:?}"
        );
        let text = fs::read_to_string(vault.record_path()).unwrap();
        assert_eq!(text.matches("\"height\"").count(), 1, "{what}");
    }
    // Entries that have left the record are below all of the rest.
    for number in 2..60 {
        let step = u64::from(number) - 1;
        signed(sign(&mut vault, &block(number, 8 + step, NOW + step)));
    }
    let text = fs::read_to_string(vault.record_path()).unwrap();
    assert_eq!(text.matches("\"height\"").count(), 32);
    let again = block(1, 8, NOW + 60);
    let SignOutcome::Refused(refusal @ Refusal::NotHigher { .. }) = sign(&mut vault, &again) else {
        panic!("signed below the record");
    };
    let text = refusal.to_string();
    for part in [
        "height 8,",
        "already signed",
        "wait until",
        "`astreum status`",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn blocks_of_other_chains_validators_and_times_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let mut vault = open(scratch.path(), true);
    let good = block(1, 8, NOW);
    let huge = Natural::from(u64::MAX) + Natural::ONE;
    let changes: [(&str, Change); 9] = [
        ("chain_id", Box::new(|it| it.chain_id = 4_u64.into())),
        (
            "validator",
            Box::new(|it| it.validator = Address::new([9; 32])),
        ),
        ("parent", Box::new(|it| it.previous = AtomId::ZERO)),
        ("parent", Box::new(|it| it.height = Natural::ZERO)),
        ("64 bits", {
            let huge = huge.clone();
            Box::new(move |it| it.height = huge.clone())
        }),
        ("64 bits", Box::new(move |it| it.timestamp = huge.clone())),
        ("difficulty", Box::new(|it| it.difficulty = 3_u64.into())),
        ("difficulty", Box::new(|it| it.difficulty = Natural::ZERO)),
        (
            "clock",
            Box::new(|it| it.timestamp = (NOW + MAX_FUTURE_SECONDS + 1).into()),
        ),
    ];
    for (expected, change) in changes {
        let outcome = sign(&mut vault, &changed(&good, change));
        let SignOutcome::Refused(refusal) = outcome else {
            panic!("{expected}: {outcome:?}");
        };
        assert!(refusal.to_string().contains(expected), "{refusal}");
    }
    let signed_already = good
        .header()
        .clone()
        .sign(&SigningKey::from_seed(SECRET.expose()));
    let outcome = sign(&mut vault, &signed_already);
    assert!(matches!(
        outcome,
        SignOutcome::Refused(Refusal::Malformed("the block has a signature"))
    ));
    assert_eq!(vault.last().unwrap(), None);
    signed(sign(&mut vault, &good));
}

#[test]
fn search_that_is_ended_signs_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let mut vault = open(scratch.path(), true);
    let request = changed(&block(1, 8, NOW), |it| it.difficulty = 200_u64.into());
    let mut calls = 0;
    let outcome = vault.sign(&request, &200_u64.into(), now(), &mut || {
        calls += 1;
        calls < 4
    });
    assert_eq!((outcome, calls), (SignOutcome::NotFound, 4));
    assert_eq!(vault.newest(), None);
    signed(sign(&mut vault, &block(1, 8, NOW)));
}

#[test]
fn record_is_required_locked_and_not_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("record");
    let open = |is_new| Vault::open(&SECRET, 3, &directory, is_new);
    assert!(matches!(open(false), Err(VaultError::NoRecord(_))));
    assert!(!directory.exists(), "created without --new-record");
    let vault = open(true).unwrap();
    let locked = open(false).unwrap_err().to_string();
    assert!(locked.contains("--record-dir"), "{locked}");
    assert!(!locked.contains("chain_dir"), "{locked}");
    drop(vault);
    assert!(matches!(open(true), Err(VaultError::HasRecord(_))));
    let path = open(false).unwrap().record_path().to_owned();
    fs::write(&path, "{").unwrap();
    assert!(matches!(open(false), Err(VaultError::Record(_))));
    assert!(matches!(open(true), Err(VaultError::HasRecord(_))));
}

#[test]
fn record_of_a_node_is_continued() {
    let scratch = tempfile::tempdir().unwrap();
    let mut vault = open(scratch.path(), true);
    signed(sign(&mut vault, &block(1, 8, NOW)));
    let path = vault.record_path().to_owned();
    drop(vault);
    // A node does not save the last block.
    let text = fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json.as_object_mut().unwrap().remove("last").unwrap();
    fs::write(&path, json.to_string()).unwrap();
    let mut vault = open(scratch.path(), false);
    assert_eq!(vault.last().unwrap(), None);
    let outcome = sign(&mut vault, &block(1, 8, NOW));
    assert!(matches!(
        outcome,
        SignOutcome::Refused(Refusal::Conflict(_))
    ));
    signed(sign(&mut vault, &block(2, 9, NOW + 1)));
    // A last block that does not belong to the record is damage.
    let text = fs::read_to_string(&path).unwrap();
    let last = hex::encode(block(5, 50, NOW).to_compact());
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["last"] = last.into();
    fs::write(&path, json.to_string()).unwrap();
    drop(vault);
    let error = Vault::open(&SECRET, 3, scratch.path(), false).unwrap_err();
    assert!(error.to_string().contains("last block"), "{error}");
}

#[test]
fn block_whose_record_is_not_saved_is_not_released_and_counts() {
    let scratch = tempfile::tempdir().unwrap();
    let mut vault = open(scratch.path(), true);
    let directory = vault.record_path().parent().unwrap().to_owned();
    // The temporary file cannot be created: a directory has its name.
    let mut blocked = vault.record_path().as_os_str().to_owned();
    blocked.push(".new");
    fs::create_dir(&blocked).unwrap();
    let request = block(1, 8, NOW);
    assert!(matches!(
        sign(&mut vault, &request),
        SignOutcome::NotSaved(_)
    ));
    assert!(vault.last().is_err());
    let other = block(2, 9, NOW + 1);
    assert!(matches!(sign(&mut vault, &other), SignOutcome::NotSaved(_)));
    fs::remove_dir(&blocked).unwrap();
    // Now it is saved, and named.
    let last = vault.last().unwrap().unwrap().clone();
    assert_eq!(signed(sign(&mut vault, &request)), last);
    assert!(matches!(
        sign(&mut vault, &block(1, 9, NOW + 1)),
        SignOutcome::Refused(_)
    ));
    drop(vault);
    assert_eq!(open(&directory, false).last().unwrap(), Some(&last));
}
