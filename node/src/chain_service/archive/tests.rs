//! Archives of chains: what was written is read again, and nothing else.

use super::*;
use crate::store::Store;
use astreum_core::atom::{AtomSource as _, MemoryStore, bytes_list};
use astreum_core::chain::{
    Address, BURN, Block, Builder, ElectionCache, Genesis, Miner, SLOT_SECONDS, Transaction,
    Unsigned, difficulty, write_atoms,
};
use astreum_core::integer::Natural;
use astreum_core::testkit::{BEGINNING, address, key};
use astreum_core::trie::Scalar;

const BLOCKS: u64 = 12;
/// Later than every block.
const LATEST: u64 = BEGINNING + 1_000;

/// Chain with transfers, and with a storage contract on a list.
fn chain() -> (MemoryStore, Vec<AtomId>) {
    let mut store = MemoryStore::new();
    let mut genesis = Genesis::new(address(1), Natural::ZERO, BEGINNING.into());
    genesis
        .balances
        .insert(address(2), 1_000_000_000_000_u64.into());
    let mut parent = genesis.build(&mut Scalar, &mut store).unwrap();
    parent.write(&mut store).unwrap();
    let (list, atoms) = bytes_list(&["of", "a", "user"]);
    store.extend(atoms);
    let (mut elections, mut ids) = (ElectionCache::default(), vec![parent.id()]);
    for height in 1..=BLOCKS {
        let opens = height == 5;
        let (recipient, data) = match opens {
            true => (BURN, [&[0], list.as_bytes().as_slice()].concat()),
            false => (Address::new([height.to_be_bytes()[7]; 32]), Vec::new()),
        };
        let transaction = Unsigned {
            chain_id: Natural::ZERO,
            amount: u64::from(!opens).into(),
            counter: height.into(),
            data: data.as_slice().into(),
            recipient,
        };
        parent = next(
            &mut store,
            &mut elections,
            &parent,
            &transaction.sign(&key(2)),
        );
        ids.push(parent.id());
    }
    (store, ids)
}

fn next(
    store: &mut MemoryStore,
    elections: &mut ElectionCache,
    parent: &Block,
    transaction: &Transaction,
) -> Block {
    let election = elections.load(store, parent, u32::MAX).unwrap().unwrap();
    let stakes = election.stakes.clone();
    let time = &parent.timestamp + &Natural::from(SLOT_SECONDS);
    write_atoms(transaction.to_atoms(), store).unwrap();
    let mut builder = Builder::new(&mut *store, parent, &stakes);
    builder.apply(transaction).unwrap().unwrap();
    let body = builder.finish(&mut Scalar, Some(address(1))).unwrap();
    drop(builder);
    let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
    let header = body.header(parent, address(1), time, asked);
    write_atoms(body.atoms, store).unwrap();
    let mut miner = Miner::new(header, key(1), &parent.difficulty);
    let block = miner.try_nonces(1 << 20, &mut Scalar).unwrap();
    block.write(store).unwrap();
    block
}

fn written(store: &MemoryStore, head: AtomId, kind: ArchiveKind) -> Vec<u8> {
    let mut bytes = Vec::new();
    let exported = export(store, head, kind, &mut bytes, &mut |_, _, _| ()).unwrap();
    assert_eq!(exported.bytes, bytes.len() as u64);
    bytes
}

fn imported(bytes: &[u8], trust: Option<AtomId>) -> (Store, Imported, Result<(), String>) {
    let store = Store::new(64 << 20);
    let importer = match Importer::new(bytes, 0) {
        Ok(importer) => importer,
        Err(error) => {
            let nothing = Imported {
                heads: Vec::new(),
                genesis: None,
            };
            return (store, nothing, Err(error.to_string()));
        }
    };
    let (imported, error) = importer.import(&store, trust, LATEST, &mut |_, _, _| ());
    let result = error.map_or(Ok(()), |error| Err(error.to_string()));
    (store, imported, result)
}

#[test]
fn chain_is_verified_and_equal_after_an_import() {
    let (source, ids) = chain();
    let head = *ids.last().unwrap();
    let bytes = written(&source, head, ArchiveKind::Chain);
    assert_eq!(
        bytes,
        written(&source, head, ArchiveKind::Chain),
        "equal bytes"
    );
    let (store, imported, result) = imported(&bytes, None);
    assert_eq!(result, Ok(()));
    assert_eq!(imported.genesis, Some(ids[0]));
    assert!(
        imported
            .heads
            .iter()
            .map(|head| head.id)
            .eq(ids.iter().copied())
    );
    // Every state is there, not only the last one.
    for id in &ids {
        let block = Block::read(&source, *id).unwrap();
        assert!(
            store.contains(&block.accounts) && store.contains(&block.receipts)
                || block.is_genesis()
        );
    }
    let mut again = Vec::new();
    export(
        &store,
        head,
        ArchiveKind::Chain,
        &mut again,
        &mut |_, _, _| (),
    )
    .unwrap();
    assert_eq!(again, bytes);
}

#[test]
fn snapshot_has_the_state_and_needs_trust() {
    let (source, ids) = chain();
    let id = ids[8];
    let bytes = written(&source, id, ArchiveKind::Snapshot);
    let (store, nothing, refused) = imported(&bytes, None);
    assert!(nothing.heads.is_empty() && refused.unwrap_err().contains("--trust"));
    assert_eq!(store.hot_stats().atoms, 0);
    let (_, _, other) = imported(&bytes, Some(ids[7]));
    assert!(other.unwrap_err().contains("--trust"));
    let (store, imported, result) = imported(&bytes, Some(id));
    assert_eq!(result, Ok(()));
    let [head] = &*imported.heads else {
        panic!("one head");
    };
    assert_eq!((head.id, head.root, head.height), (id, Some(id), 8));
    assert!(!head.resume.election_seeds.is_empty());
    let block = Block::read(&store, id).unwrap();
    let account = crate::query::account(&store, block.accounts, &address(2)).unwrap();
    assert!(account.is_some());
    // Headers below it, but no bodies.
    let below = Block::read(&store, ids[3]).unwrap();
    assert!(!store.contains(&below.transactions));
    assert_eq!(bytes, written_again(&store, id));
}

fn written_again(store: &Store, id: AtomId) -> Vec<u8> {
    let mut again = Vec::new();
    export(
        store,
        id,
        ArchiveKind::Snapshot,
        &mut again,
        &mut |_, _, _| (),
    )
    .unwrap();
    again
}

#[test]
fn every_damage_is_found_and_what_is_before_it_is_kept() {
    let (source, ids) = chain();
    let head = *ids.last().unwrap();
    let bytes = written(&source, head, ArchiveKind::Chain);
    let mut kept = Vec::new();
    for at in (0..bytes.len()).step_by(509) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let (_, imported, result) = imported(&damaged, None);
        assert!(result.is_err(), "a change of byte {at}");
        let prefix = ids.iter().copied().take(imported.heads.len());
        assert!(imported.heads.iter().map(|head| head.id).eq(prefix), "{at}");
        kept.push(imported.heads.len());
    }
    assert_eq!(kept.first(), Some(&0));
    assert!(kept.contains(&ids.len()), "the end alone is damaged");
    for at in (0..bytes.len()).step_by(997) {
        let (_, imported, result) = imported(&bytes[..at], None);
        let error = result.unwrap_err();
        assert!(
            error.contains("ends at byte") || error.contains("not an archive"),
            "{error}"
        );
        assert!(imported.heads.len() < ids.len() || at + 509 >= bytes.len());
    }
}

#[test]
fn snapshot_with_damage_or_a_gap_is_refused() {
    let (source, ids) = chain();
    let bytes = written(&source, ids[8], ArchiveKind::Snapshot);
    for at in (0..bytes.len()).step_by(509) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let (_, imported, result) = imported(&damaged, Some(ids[8]));
        assert!(
            result.is_err() && imported.heads.is_empty(),
            "a change of byte {at}"
        );
    }
    let block = Block::read(&source, ids[8]).unwrap();
    let lost = crate::query::account(&source, block.accounts, &address(2))
        .unwrap()
        .unwrap()
        .0;
    let part: MemoryStore = source
        .iter()
        .filter(|(id, _)| **id != lost)
        .map(|(_, atom)| atom.clone())
        .collect();
    let result = export(
        &part,
        ids[8],
        ArchiveKind::Snapshot,
        Vec::new(),
        &mut |_, _, _| (),
    );
    assert!(matches!(result, Err(ExportError::State { missing }) if missing == lost));
}

#[test]
fn export_names_what_is_missing() {
    let (source, ids) = chain();
    let head = *ids.last().unwrap();
    let without = |lost: AtomId| -> String {
        let atoms = source.iter().filter(|(id, _)| **id != lost);
        let part: MemoryStore = atoms.map(|(_, atom)| atom.clone()).collect();
        let result = export(
            &part,
            head,
            ArchiveKind::Chain,
            Vec::new(),
            &mut |_, _, _| (),
        );
        result.unwrap_err().to_string()
    };
    let block = Block::read(&source, ids[4]).unwrap();
    for lost in [ids[4], block.transactions] {
        let error = without(lost);
        assert!(
            error.contains("not complete") && error.contains(&lost.to_string()),
            "{error}"
        );
    }
    let (list, atoms) = bytes_list(&["of", "a", "user"]);
    let error = without(atoms[1].id());
    assert!(
        error.contains("block 5") && error.contains(&list.to_string()),
        "{error}"
    );
    // States between are not needed.
    assert_ne!(block.accounts, AtomId::ZERO);
    let atoms = source.iter().filter(|(id, _)| **id != block.accounts);
    let part: MemoryStore = atoms.map(|(_, atom)| atom.clone()).collect();
    assert!(part.atom(&block.accounts).is_err());
    assert!(
        export(
            &part,
            head,
            ArchiveKind::Chain,
            Vec::new(),
            &mut |_, _, _| ()
        )
        .is_ok()
    );
}

#[test]
fn other_files_and_other_chains_are_refused() {
    let (source, ids) = chain();
    let bytes = written(&source, ids[2], ArchiveKind::Chain);
    let refused = |bytes: &[u8], chain_id| Importer::new(bytes, chain_id).unwrap_err().to_string();
    assert!(refused(b"", 0).contains("not an archive"));
    assert!(refused(b"\x1f\x8b a compressed file", 0).contains("uncompressed"));
    assert!(refused(&bytes, 7).contains("of chain 0, the node's chain_id is 7"));
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert!(refused(&newer, 0).contains("format 2"));
    // A length that nothing has does not allocate it.
    let mut long = bytes;
    long[10..14].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(refused(&long, 0).contains("exceeds the maximum"));
}
