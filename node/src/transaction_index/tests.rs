//! Tests of the index on chains that are made by hand, beside a scan of the chain.

use super::builder::{Builder, Chain, Progress};
use super::history::{self, HistoryError, HistoryQuery, MAX_SCANNED};
use super::record::{DataPrefix, IndexedTransaction};
use astreum_core::atom::{AtomId, MemoryStore, bytes_list};
use astreum_core::chain::{Address, Block, Receipt, Status, Transaction, Unsigned};
use astreum_core::crypto::Signature;
use astreum_core::integer::Natural;
use astreum_core::testkit::header;
use proptest::prelude::*;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Chain whose blocks are not signed, with all transactions.
#[derive(Default)]
struct TestChain {
    store: MemoryStore,
    blocks: Vec<Block>,
    /// Transactions of each block.
    rows: Vec<Vec<IndexedTransaction>>,
    pruned_below: u64,
    counter: u64,
}

fn party(number: u8) -> Address {
    Address::new([number; 32])
}

impl TestChain {
    fn of(blocks: u64, transfers: u64) -> Self {
        let mut chain = Self::default();
        for number in 0..blocks {
            let party = |number: u64| u8::try_from(number).unwrap();
            let parties = |it: u64| (party((number + it) % 5), party((number * it) % 3));
            let transfers = (0..transfers).map(parties);
            let transfers: Vec<(u8, u8, &[u8])> =
                transfers.map(|(from, to)| (from, to, &b"x"[..])).collect();
            chain.push(&transfers);
        }
        chain
    }

    /// Adds a block with transactions from, to and with this data.
    fn push(&mut self, transfers: &[(u8, u8, &[u8])]) {
        let height = self.blocks.len() as u64;
        let (mut ids, mut receipts, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (from, to, data) in transfers {
            self.counter += 1;
            let unsigned = Unsigned {
                chain_id: Natural::ZERO,
                amount: 1_u64.into(),
                counter: self.counter.into(),
                data: (*data).into(),
                recipient: party(*to),
            };
            let transaction = unsigned.signed(party(*from), Signature::new([0; 64]));
            let id = transaction.write(&mut self.store).unwrap();
            let status = match self.counter % 3 {
                0 => Status::Failed,
                _ => Status::Success,
            };
            let receipt = Receipt {
                transaction: id,
                status,
                cost: Natural::ONE,
                logs: AtomId::ZERO,
            };
            receipts.push(receipt.write(&mut self.store).unwrap());
            rows.push(IndexedTransaction {
                height,
                index: u32::try_from(ids.len()).unwrap(),
                id,
                sender: party(*from),
                recipient: party(*to),
                status,
                data: DataPrefix::of(data),
            });
            ids.push(id);
        }
        let mut list = |ids: &[AtomId]| {
            let values: Vec<_> = ids.iter().map(|id| *id.as_bytes()).collect();
            let (id, atoms) = bytes_list(&values);
            self.store.extend(atoms);
            id
        };
        let (transactions, receipts) = (list(&ids), list(&receipts));
        let previous = self.blocks.last().map_or(AtomId::ZERO, Block::id);
        // Blocks of different branches differ.
        let block = astreum_core::chain::Header {
            transactions,
            receipts,
            nonce: self.counter.into(),
            ..header(height, previous, 1_000 + height)
        };
        let block = block.signed(None);
        block.write(&mut self.store).unwrap();
        self.blocks.push(block);
        self.rows.push(rows);
    }

    /// Removes blocks, for another branch.
    fn pop(&mut self, count: usize) {
        let left = self.blocks.len().saturating_sub(count);
        self.blocks.truncate(left);
        self.rows.truncate(left);
        self.counter += 1_000;
    }

    fn chain(&self) -> Chain<'_> {
        let head = self.blocks.last().unwrap();
        Chain {
            source: &self.store,
            head: (head.id(), head.height.to_u64().unwrap()),
            pruned_below: self.pruned_below,
        }
    }

    /// Returns what a query has to find, by looking at every transaction.
    fn scan(&self, query: &HistoryQuery) -> Vec<AtomId> {
        let kept = self
            .rows
            .iter()
            .skip(usize::try_from(self.pruned_below).unwrap());
        let mut found: Vec<&IndexedTransaction> = kept.flatten().collect();
        found.retain(|row| {
            let one_of = |key| row.sender == key || row.recipient == key;
            query.account.is_none_or(one_of)
                && query.sender.is_none_or(|key| row.sender == key)
                && query.recipient.is_none_or(|key| row.recipient == key)
                && *query.heights.start() <= row.height
                && row.height <= *query.heights.end()
                && row.data.as_bytes().starts_with(&query.data_prefix)
        });
        found.iter().rev().map(|row| row.id).collect()
    }
}

/// Directory with an index.
struct Index {
    scratch: TempDir,
    builder: Builder,
}

impl Index {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let builder = Builder::open(&scratch.path().join("index"), 0).unwrap();
        Self { scratch, builder }
    }

    fn directory(&self) -> PathBuf {
        self.scratch.path().join("index")
    }

    fn reopen(&mut self) {
        self.builder = Builder::open(&self.directory(), 0).unwrap();
    }

    /// Indexes everything, as the thread does.
    fn complete(&mut self, chain: &TestChain) {
        for _ in 0..10_000 {
            let progress = self.builder.advance(&chain.chain(), &mut || true);
            let merged = self.builder.merge_one(&chain.chain(), &mut || true);
            if (progress, merged) == (Progress::Complete, false) {
                return;
            }
            assert_ne!(progress, Progress::Waits, "{:?}", self.builder.waits_for());
        }
        panic!("the index does not come to an end");
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory()).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    fn page(&self, query: &HistoryQuery) -> Result<history::HistoryPage, HistoryError> {
        history::run(&self.builder.coverage(), query, MAX_SCANNED)
    }

    /// Returns the ids on all pages.
    fn pages(&self, query: &HistoryQuery, max_scanned: u32) -> Result<Vec<AtomId>, HistoryError> {
        let mut query = query.clone();
        let mut found = Vec::new();
        loop {
            let page = history::run(&self.builder.coverage(), &query, max_scanned)?;
            assert!(page.entries.len() <= query.limit);
            found.extend(page.entries.iter().map(|entry| entry.transaction.id));
            match page.next {
                None => return Ok(found),
                Some(next) => {
                    // As text, as a client has it.
                    query.after = Some(next.to_string().parse().unwrap());
                }
            }
        }
    }

    /// Checks queries of several kinds beside the scan.
    fn check(&self, chain: &TestChain) {
        let head = chain.blocks.len() as u64;
        let all = HistoryQuery::all(7);
        let with = |change: &dyn Fn(&mut HistoryQuery)| {
            let mut query = all.clone();
            change(&mut query);
            query
        };
        let queries = [
            all.clone(),
            with(&|it| it.account = Some(party(1))),
            with(&|it| it.sender = Some(party(2))),
            with(&|it| it.recipient = Some(party(0))),
            with(&|it| it.account = Some(party(99))),
            with(&|it| (it.sender, it.recipient) = (Some(party(1)), Some(party(2)))),
            with(&|it| it.heights = head / 3..=head / 2),
            with(&|it| (it.account, it.heights) = (Some(party(0)), head / 2..=head)),
            with(&|it| it.data_prefix = b"a".to_vec()),
            with(&|it| it.data_prefix = b"ab".to_vec()),
            with(&|it| (it.account, it.data_prefix) = (Some(party(1)), b"a".to_vec())),
        ];
        for query in queries {
            let expected = chain.scan(&query);
            assert_eq!(
                self.pages(&query, MAX_SCANNED).unwrap(),
                expected,
                "{query:?}"
            );
            assert_eq!(
                self.pages(&query, 5).unwrap(),
                expected,
                "{query:?}, in small pieces"
            );
        }
        let coverage = self.builder.coverage();
        let top = chain.blocks.last().map(Block::id);
        assert_eq!(coverage.top().map(|(_, id)| id), top);
        assert_eq!(coverage.lowest(), Some(chain.pruned_below));
        assert!(coverage.is_complete());
    }
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    let offset = offset % file.metadata().unwrap().len();
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
}

/// Change of the chain or of the files.
#[derive(Clone, Debug)]
enum Step {
    Extend(Vec<Vec<(u8, u8, Vec<u8>)>>),
    /// Removes blocks; others follow.
    Reorganize(usize),
    Prune(u64),
    Restart,
    Delete(usize),
    Corrupt(usize, u64),
    /// Indexes a few blocks.
    Some(u8),
    Complete,
}

fn step() -> impl Strategy<Value = Step> {
    let data = prop_oneof![
        Just(b"".to_vec()),
        Just(b"a".to_vec()),
        Just(b"abc".to_vec()),
        Just(vec![b'a'; 40]),
        proptest::collection::vec(any::<u8>(), 1..3),
    ];
    let block = proptest::collection::vec((0..4_u8, 0..4_u8, data), 0..4);
    prop_oneof![
        6 => proptest::collection::vec(block, 1..90).prop_map(Step::Extend),
        2 => (1..150_usize).prop_map(Step::Reorganize),
        1 => (1..80_u64).prop_map(Step::Prune),
        1 => Just(Step::Restart),
        1 => any::<usize>().prop_map(Step::Delete),
        1 => (any::<usize>(), any::<u64>()).prop_map(|(file, at)| Step::Corrupt(file, at)),
        2 => any::<u8>().prop_map(Step::Some),
        3 => Just(Step::Complete),
    ]
}

fn extend(chain: &mut TestChain, blocks: &[Vec<(u8, u8, Vec<u8>)>]) {
    for block in blocks {
        let transfers: Vec<(u8, u8, &[u8])> = block
            .iter()
            .map(|(from, to, data)| (*from, *to, data.as_slice()))
            .collect();
        chain.push(&transfers);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn queries_equal_a_scan_of_random_chains(
        steps in proptest::collection::vec(step(), 1..14),
    ) {
        let mut chain = TestChain::default();
        chain.push(&[(0, 1, b"genesis")]);
        let mut index = Index::new();
        for step in steps {
            let files = index.files();
            match step {
                Step::Extend(blocks) => extend(&mut chain, &blocks),
                Step::Reorganize(depth) => {
                    let most = chain.blocks.len() - 1 - usize::try_from(chain.pruned_below).unwrap();
                    chain.pop(depth.min(most));
                    chain.push(&[(3, 2, b"fork")]);
                }
                Step::Prune(blocks) => {
                    let head = chain.blocks.len() as u64 - 1;
                    chain.pruned_below = (chain.pruned_below + blocks).min(head);
                }
                Step::Restart => index.reopen(),
                Step::Delete(number) if !files.is_empty() => {
                    fs::remove_file(&files[number % files.len()]).unwrap();
                    index.reopen();
                }
                Step::Corrupt(number, at) if !files.is_empty() => {
                    flip(&files[number % files.len()], at);
                    // An open file is found to be damaged when it is read, or at a start.
                    while index.builder.check_files() {}
                }
                Step::Delete(_) | Step::Corrupt(..) => {}
                Step::Some(blocks) => {
                    let mut left = blocks;
                    index.builder.advance(&chain.chain(), &mut || {
                        left = left.saturating_sub(1);
                        left > 0
                    });
                }
                Step::Complete => index.complete(&chain),
            }
        }
        // Damage that no reader has met yet is found by the check after a start.
        index.reopen();
        while index.builder.check_files() {}
        index.complete(&chain);
        index.check(&chain);
    }
}

#[test]
fn reorganization_removes_the_entries_of_abandoned_blocks() {
    let mut chain = TestChain::of(200, 1);
    let mut index = Index::new();
    index.complete(&chain);
    let abandoned: Vec<AtomId> = chain.rows[150..]
        .iter()
        .flatten()
        .map(|row| row.id)
        .collect();
    chain.pop(50);
    for _ in 0..55 {
        chain.push(&[(4, 4, b"new")]);
    }
    index.complete(&chain);
    index.check(&chain);
    let found = index.pages(&HistoryQuery::all(100), MAX_SCANNED).unwrap();
    assert!(abandoned.iter().all(|id| !found.contains(id)));
    assert_eq!(found.len(), 205);
    index.reopen();
    index.complete(&chain);
    index.check(&chain);
}

#[test]
fn pruned_blocks_leave_the_index_with_their_files() {
    let mut chain = TestChain::of(300, 2);
    let mut index = Index::new();
    index.complete(&chain);
    let before = index.files().len();
    chain.pruned_below = 200;
    index.complete(&chain);
    index.check(&chain);
    // Blocks 192 to 299 are left; those from 256 on are in memory.
    assert_eq!((before, index.files().len()), (4, 1));
    let page = index.page(&HistoryQuery::all(1_000)).unwrap();
    assert_eq!(page.entries.len(), 200);
    assert_eq!((page.from_height, page.is_complete), (Some(200), true));
}

#[test]
fn missing_damaged_and_foreign_files_are_rebuilt() {
    let chain = TestChain::of(200, 2);
    let mut index = Index::new();
    index.complete(&chain);
    let files = index.files();
    assert_eq!(files.len(), 3);
    fs::remove_file(&files[0]).unwrap();
    let len = fs::metadata(&files[1]).unwrap().len();
    OpenOptions::new()
        .write(true)
        .open(&files[1])
        .unwrap()
        .set_len(len - 1)
        .unwrap();
    fs::write(files[2].with_extension("new"), b"incomplete").unwrap();
    index.reopen();
    let incidents: Vec<String> = index.builder.take_incidents().collect();
    assert_eq!(incidents.len(), 1);
    assert!(incidents[0].contains("bytes: expected"), "{incidents:?}");
    index.complete(&chain);
    index.check(&chain);
    assert_eq!(index.files(), files);
    // Of another version, and of another chain.
    flip(&files[0], 19);
    index.reopen();
    assert!(
        index
            .builder
            .take_incidents()
            .next()
            .unwrap()
            .contains("checksum")
    );
    let other = Builder::open(&index.directory(), 7).unwrap();
    drop(other);
    assert_eq!(
        index.files(),
        Vec::<PathBuf>::new(),
        "files of chain 0 are of no use for chain 7"
    );
    index.reopen();
    index.complete(&chain);
    index.check(&chain);
}

#[test]
fn damage_fails_a_query_and_is_repaired() {
    let chain = TestChain::of(130, 2);
    let mut index = Index::new();
    index.complete(&chain);
    let files = index.files();
    // The last page has the order by data, the second the blocks.
    for page in [1, 3, 8] {
        flip(&files[0], page * 1_024 + 5);
    }
    let query = HistoryQuery {
        sender: Some(party(1)),
        ..HistoryQuery::all(1_000)
    };
    let error = index.page(&query).unwrap_err();
    assert!(matches!(error, HistoryError::Damaged(_)), "{error}");
    assert!(error.to_string().contains("try again"), "{error}");
    assert!(index.builder.has_damage());
    index.complete(&chain);
    index.check(&chain);
    assert_eq!(index.builder.take_incidents().count(), 1);
}

#[test]
fn every_flipped_byte_of_a_file_is_detected() {
    let chain = TestChain::of(65, 1);
    let mut index = Index::new();
    index.complete(&chain);
    let file = index.files().remove(0);
    let whole = fs::read(&file).unwrap();
    for offset in (0..whole.len()).step_by(37) {
        flip(&file, offset as u64);
        index.reopen();
        while index.builder.check_files() {}
        index.complete(&chain);
        let incidents = index.builder.take_incidents().count();
        assert_eq!(incidents, 1, "byte {offset}");
        assert!(fs::read(&file).unwrap() == whole, "byte {offset}");
    }
}

#[test]
fn pages_stay_stable_while_blocks_arrive_and_a_removed_cursor_is_reported() {
    let mut chain = TestChain::of(100, 2);
    let mut index = Index::new();
    index.complete(&chain);
    let query = HistoryQuery::all(30);
    let expected = chain.scan(&query);
    let mut found = Vec::new();
    let mut next = query.clone();
    loop {
        let page = index.page(&next).unwrap();
        found.extend(page.entries.iter().map(|entry| entry.transaction.id));
        let Some(after) = page.next else { break };
        next.after = Some(after);
        chain.push(&[(1, 2, b"more"), (2, 1, b"more")]);
        index.complete(&chain);
    }
    assert_eq!(found, expected);
    let page = index.page(&query).unwrap();
    chain.pop(20);
    chain.push(&[]);
    index.complete(&chain);
    let next = HistoryQuery {
        after: page.next,
        ..query
    };
    // Its block is above the new head, and then replaced by another one.
    assert!(index.page(&next).is_ok());
    for _ in 0..30 {
        chain.push(&[]);
    }
    index.complete(&chain);
    let error = index.page(&next).unwrap_err();
    assert!(matches!(error, HistoryError::Reorganized { .. }), "{error}");
}

#[test]
fn queries_are_bounded_and_continue_where_they_stopped() {
    let chain = TestChain::of(130, 3);
    let mut index = Index::new();
    index.complete(&chain);
    let rare = HistoryQuery {
        account: Some(party(0)),
        data_prefix: b"y".to_vec(),
        ..HistoryQuery::all(10)
    };
    let page = history::run(&index.builder.coverage(), &rare, 20).unwrap();
    assert!(page.entries.is_empty() && page.next.is_some());
    assert_eq!(index.pages(&rare, 20).unwrap(), Vec::<AtomId>::new());
    let long = HistoryQuery {
        data_prefix: vec![0; 33],
        ..rare
    };
    let error = index.page(&long).unwrap_err();
    assert_eq!(error, HistoryError::LongPrefix { bytes: 33 });
}

#[test]
fn incomplete_index_states_its_heights() {
    let chain = TestChain::of(150, 1);
    let mut index = Index::new();
    let page = index.page(&HistoryQuery::all(10)).unwrap();
    assert_eq!(
        (page.from_height, page.to, page.is_complete),
        (None, None, false)
    );
    let mut left = 40;
    let progress = index.builder.advance(&chain.chain(), &mut || {
        left -= 1;
        left > 0
    });
    assert_eq!(progress, Progress::More);
    let page = index.page(&HistoryQuery::all(1_000)).unwrap();
    assert_eq!((page.from_height, page.is_complete), (Some(110), false));
    assert_eq!(page.entries.len(), 40);
    // A missing block ends the index there, and is named.
    let mut chain = chain;
    let missing = chain.blocks[70].id();
    chain.store.remove(&missing);
    while index.builder.advance(&chain.chain(), &mut || true) == Progress::More {}
    assert_eq!(index.builder.coverage().lowest(), Some(71));
    assert!(
        index
            .builder
            .waits_for()
            .unwrap()
            .contains(&missing.to_string())
    );
    chain.blocks[70].write(&mut chain.store).unwrap();
    index.complete(&chain);
    index.check(&chain);
}

#[test]
fn queries_see_the_previous_state_until_new_blocks_connect() {
    let mut chain = TestChain::of(100, 1);
    let mut index = Index::new();
    index.complete(&chain);
    for _ in 0..100 {
        chain.push(&[(1, 2, b"x")]);
    }
    index.builder.advance(&chain.chain(), &mut || false);
    let top = |index: &Index| index.builder.coverage().top().map(|(height, _)| height);
    assert_eq!(top(&index), Some(99));
    index.complete(&chain);
    assert_eq!(top(&index), Some(199));
    index.check(&chain);
}

#[test]
fn failed_writes_are_reported_and_bound_the_memory() {
    let mut chain = TestChain::of(100, 1);
    let mut index = Index::new();
    index.complete(&chain);
    // A file in the place of the directory: nothing can be created in it.
    let directory = index.directory();
    let moved = directory.with_extension("moved");
    fs::rename(&directory, &moved).unwrap();
    fs::write(&directory, b"").unwrap();
    for _ in 0..1_200 {
        chain.push(&[]);
    }
    while index.builder.advance(&chain.chain(), &mut || true) == Progress::More {}
    assert!(
        index
            .builder
            .write_failure()
            .unwrap()
            .contains("failed to create")
    );
    // Only so many blocks are kept in memory; what was complete before stays visible.
    let page = index.page(&HistoryQuery::all(1_000)).unwrap();
    assert_eq!(page.to.map(|(height, _)| height), Some(99));
    assert_eq!(page.entries.len(), 100);
    fs::remove_file(&directory).unwrap();
    fs::rename(&moved, &directory).unwrap();
    index.builder.retry();
    index.complete(&chain);
    index.check(&chain);
}

#[test]
fn files_are_merged_and_their_number_stays_small() {
    let chain = TestChain::of(2_200, 1);
    let mut index = Index::new();
    index.complete(&chain);
    index.check(&chain);
    let files = index.files();
    // Two of 512 blocks, which no reorganization reaches, and 18 of 64.
    assert_eq!(files.len(), 20, "{files:?}");
    let large = files[0].file_name().unwrap().to_str().unwrap();
    assert!(
        large.starts_with("00000000000000000000-00000000000000000511-"),
        "{large}"
    );
    index.reopen();
    while index.builder.check_files() {}
    index.complete(&chain);
    index.check(&chain);
    assert_eq!(index.builder.take_incidents().count(), 0);
    let (count, bytes) = index.builder.usage();
    assert_eq!(count, 20);
    let per_transaction = bytes / 2_176;
    assert!(per_transaction < 300, "{per_transaction} bytes");
}

#[test]
fn interrupted_merge_changes_nothing() {
    let chain = TestChain::of(1_700, 1);
    let mut index = Index::new();
    while index.builder.advance(&chain.chain(), &mut || true) == Progress::More {}
    let before = index.files();
    assert!(!index.builder.merge_one(&chain.chain(), &mut || false));
    assert_eq!(index.files(), before);
    index.check(&chain);
    assert!(index.builder.merge_one(&chain.chain(), &mut || true));
    assert!(index.files().len() < before.len());
    index.check(&chain);
}

#[test]
fn transactions_are_read_whole() {
    let mut chain = TestChain::default();
    chain.push(&[(1, 2, b"hello")]);
    let id = chain.rows[0][0].id;
    assert_eq!(
        Transaction::read(&chain.store, id).unwrap().data[..],
        b"hello"[..]
    );
    let mut index = Index::new();
    index.complete(&chain);
    let page = index.page(&HistoryQuery::all(1)).unwrap();
    assert_eq!(page.entries[0].transaction, chain.rows[0][0]);
    assert_eq!(
        (page.entries[0].timestamp, page.entries[0].block),
        (1_000, chain.blocks[0].id())
    );
}
