use super::*;
use crate::config::{Config, Settings};
use astreum_core::consensus::head_journal::{
    MAX_JOURNAL_BYTES, MAX_JOURNAL_HEADS, MAX_JOURNAL_RECORDS,
};
use astreum_core::consensus::{HeadState, ResumeData, SignedBlock};
use tempfile::TempDir;

const GENESIS: AtomId = AtomId::new([7; 32]);
const KEY: [u8; 32] = [9; 32];

fn head(number: u64) -> SavedHead {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    SavedHead {
        id: AtomId::new(id),
        height: number,
        timestamp: 1_800_000_000 + number,
        state: HeadState::Verified,
        root: Some(GENESIS),
        resume: ResumeData::default(),
    }
}

fn open(scratch: &TempDir) -> Result<ChainDir, ChainDirError> {
    ChainDir::open(&scratch.path().join("chain/0"), 0)
}

/// Creates a directory with `heads` heads and a signing record.
fn filled(scratch: &TempDir, heads: u64) -> PathBuf {
    let mut dir = open(scratch).unwrap();
    for number in 0..heads {
        dir.save_head(&head(number), Some(GENESIS)).unwrap();
    }
    dir.save_signing_record(&KEY, &record()).unwrap();
    dir.path().to_owned()
}

fn record() -> SigningRecord {
    let mut record = SigningRecord::default();
    let block = SignedBlock {
        parent: AtomId::new([1; 32]),
        block: AtomId::new([2; 32]),
        height: 3,
        timestamp: 4,
    };
    record.add(block).unwrap();
    record
}

#[test]
fn resumes_from_the_last_head_in_bounded_space() {
    let scratch = tempfile::tempdir().unwrap();
    let mut dir = open(&scratch).unwrap();
    assert!(!dir.has_chain() && dir.identity().is_none());
    let first: Vec<_> = (0..2_000).map(head).collect();
    dir.begin(first.iter(), Some(GENESIS)).unwrap();
    let len = |dir: &ChainDir| fs::metadata(dir.journal_path()).unwrap().len();
    let begun = len(&dir);
    // Saving the same head again takes no space.
    dir.save_head(&head(1_999), Some(GENESIS)).unwrap();
    assert_eq!(len(&dir), begun);
    let journal = dir.journal.as_mut().unwrap();
    journal.add_records(MAX_JOURNAL_RECORDS - MAX_JOURNAL_HEADS - 2);
    let count = 2_005;
    let lens = (2_000..count).map(|number| {
        dir.save_head(&head(number), Some(GENESIS)).unwrap();
        len(&dir)
    });
    let lens: Vec<u64> = lens.collect();
    // Two more records, then one rewrite, then records again.
    let record = lens[0] - begun;
    let expected = [1, 2, 0, 1, 2].map(|records| begun + records * record);
    assert_eq!(lens, expected);
    drop(dir);
    let dir = open(&scratch).unwrap();
    let journal = dir.journal().unwrap();
    assert_eq!(journal.heads().len(), MAX_JOURNAL_HEADS);
    assert_eq!(journal.heads().back(), Some(&head(count - 1)));
    assert_eq!(journal.header().rules_version, RULES_VERSION);
    let identity = dir.identity().unwrap();
    assert_eq!((identity.chain_id, identity.genesis), (0, Some(GENESIS)));
}

#[test]
fn records_its_genesis_once_and_refuses_heads_of_another() {
    let scratch = tempfile::tempdir().unwrap();
    let mut dir = open(&scratch).unwrap();
    dir.save_head(&head(1), None).unwrap();
    assert_eq!(dir.identity().unwrap().genesis, None);
    dir.save_head(&head(2), Some(GENESIS)).unwrap();
    let other = AtomId::new([8; 32]);
    let error = dir.save_head(&head(3), Some(other)).unwrap_err();
    assert!(
        matches!(error, ChainDirError::OtherGenesis { .. }),
        "{error}"
    );
    drop(dir);
    let dir = open(&scratch).unwrap();
    assert_eq!(dir.identity().unwrap().genesis, Some(GENESIS));
    assert_eq!(dir.journal().unwrap().header().genesis, Some(GENESIS));
    assert_eq!(dir.journal().unwrap().heads().back(), Some(&head(2)));
}

#[test]
fn interrupted_append_costs_one_record_and_the_next_head_is_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let path = filled(&scratch, 5).join(HEADS);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let mut dir = open(&scratch).unwrap();
    let journal = dir.journal().unwrap();
    assert!(journal.torn_bytes() > 0);
    assert_eq!(journal.heads().back(), Some(&head(3)));
    dir.save_head(&head(9), Some(GENESIS)).unwrap();
    drop(dir);
    let dir = open(&scratch).unwrap();
    let heads: Vec<u64> = dir
        .journal()
        .unwrap()
        .heads()
        .iter()
        .map(|head| head.height)
        .collect();
    assert_eq!(heads, [0, 1, 2, 3, 9]);
}

#[test]
fn damage_is_an_error_with_the_recovery_command() {
    let scratch = tempfile::tempdir().unwrap();
    let path = filled(&scratch, 5);
    for (name, bytes) in [
        (HEADS, Vec::new()),
        (HEADS, b"not a journal".to_vec()),
        (HEADS, vec![0; MAX_JOURNAL_BYTES + 1]),
        ("identity.json", Vec::new()),
        ("identity.json", b"{\"version\":1}".to_vec()),
    ] {
        let file = path.join(name);
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &bytes).unwrap();
        let error = open(&scratch).unwrap_err();
        assert!(matches!(error, ChainDirError::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(name) && text.contains("astreum chain recover"),
            "{text}"
        );
        assert!(!error.commands("").is_empty());
        fs::write(&file, whole).unwrap();
    }
    let file = path.join(HEADS);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let error = open(&scratch).unwrap_err();
    assert!(
        error.to_string().contains("invalid record at byte"),
        "{error}"
    );
}

#[test]
fn missing_file_is_an_error_and_not_an_empty_chain() {
    let scratch = tempfile::tempdir().unwrap();
    let path = filled(&scratch, 5);
    // All content of the identity is also in the files beside it.
    fs::remove_file(path.join("identity.json")).unwrap();
    let mut dir = open(&scratch).unwrap();
    assert!(dir.repair_identity().unwrap() && !dir.repair_identity().unwrap());
    drop(dir);
    let dir = open(&scratch).unwrap();
    let identity = dir.identity().unwrap();
    assert_eq!(identity.genesis, Some(GENESIS));
    assert!(identity.signing_keys.contains(&KEY));
    assert_eq!(dir.signing_record(&KEY).unwrap(), record());
    fs::remove_file(dir.signing_record_file(&KEY).path()).unwrap();
    let error = dir.signing_record(&KEY).unwrap_err();
    assert!(matches!(error, ChainDirError::Missing { .. }), "{error}");
    // A key that has signed nothing has no record.
    assert_eq!(
        dir.signing_record(&[1; 32]).unwrap(),
        SigningRecord::default()
    );
    drop(dir);
    fs::remove_file(path.join(HEADS)).unwrap();
    let error = open(&scratch).unwrap_err();
    assert!(matches!(error, ChainDirError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("astreum chain recover"));
}

#[test]
fn refuses_a_chain_created_under_other_rules() {
    let scratch = tempfile::tempdir().unwrap();
    let path = filled(&scratch, 1).join("identity.json");
    let text = fs::read_to_string(&path).unwrap();
    let ours = format!("\"rules_version\":{RULES_VERSION}");
    fs::write(&path, text.replace(&ours, "\"rules_version\":1")).unwrap();
    let error = open(&scratch).unwrap_err();
    assert!(
        matches!(error, ChainDirError::OtherRules { found: 1, .. }),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("version 1") && text.contains("version 2"),
        "{text}"
    );
}

#[test]
fn directory_has_one_user_and_one_chain() {
    let scratch = tempfile::tempdir().unwrap();
    let path = filled(&scratch, 2);
    let dir = open(&scratch).unwrap();
    let error = open(&scratch).unwrap_err();
    assert!(matches!(error, ChainDirError::Locked { .. }), "{error}");
    drop(dir);
    let error = ChainDir::open(&path, 5).unwrap_err();
    assert!(
        matches!(error, ChainDirError::OtherChain { found: 0, .. }),
        "{error}"
    );
}

#[test]
fn replaced_directory_is_never_written_to() {
    let scratch = tempfile::tempdir().unwrap();
    let path = filled(&scratch, 2);
    let mut dir = open(&scratch).unwrap();
    let away = scratch.path().join("away");
    fs::rename(&path, &away).unwrap();
    assert!(dir.save_head(&head(5), None).is_err());
    assert!(dir.save_signing_record(&KEY, &record()).is_err());
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    fs::write(path.join(LOCK), b"").unwrap();
    assert!(dir.save_head(&head(5), None).is_err());
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    // After the directory is back, the rejected head is saved together with the next one.
    fs::remove_dir_all(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    dir.save_head(&head(6), None).unwrap();
    // A journal that was replaced under its name is not appended to either.
    fs::copy(path.join(HEADS), path.join("copy")).unwrap();
    fs::rename(path.join("copy"), path.join(HEADS)).unwrap();
    assert!(dir.save_head(&head(7), None).is_err());
    dir.save_head(&head(8), None).unwrap();
    drop(dir);
    let dir = open(&scratch).unwrap();
    let heads: Vec<u64> = dir
        .journal()
        .unwrap()
        .heads()
        .iter()
        .map(|head| head.height)
        .collect();
    assert_eq!(heads, [0, 1, 6, 7, 8]);
}

#[test]
fn validator_needs_a_configured_directory() {
    let unset = Settings::default();
    assert_eq!(location(&unset, false).unwrap(), None);
    let error = location(&unset, true).unwrap_err().to_string();
    assert!(
        error.contains("cold_storage_path") && error.contains("chain_dir"),
        "{error}"
    );
    let stored = Config {
        cold_storage_path: Some("/cold".into()),
        chain_id: Some(3),
        ..Config::default()
    };
    let cold = PathBuf::from("/cold/chain/3");
    let settings = stored.clone().resolve().unwrap();
    assert_eq!(location(&settings, true).unwrap(), Some(cold.clone()));
    let named = Config {
        chain_dir: Some("/named".into()),
        ..stored
    };
    let place = PathBuf::from("/named/3");
    let settings = named.resolve().unwrap();
    assert_eq!(location(&settings, true).unwrap(), Some(place.clone()));
    assert_eq!(candidates(&settings), [place, cold]);
}

#[test]
fn files_of_the_previous_format_are_read_and_retired() {
    let scratch = tempfile::tempdir().unwrap();
    assert_eq!(Legacy::find(scratch.path(), 0).unwrap(), None);
    let path = scratch.path().join("head_0.json");
    let id = head(4).id;
    let text = format!(
        "{{\"version\":1,\"chain_id\":0,\"head\":\"{id}\",\"height\":4,\"timestamp\":1800000004,\
         \"state\":\"verified\",\"root\":\"{GENESIS}\"}}\n"
    );
    for cut in 0..text.len() - 2 {
        fs::write(&path, &text[..cut]).unwrap();
        let legacy = Legacy::find(scratch.path(), 0).unwrap().unwrap();
        let error = legacy.head().unwrap_err();
        assert!(
            matches!(error, ChainDirError::Damaged { .. }),
            "{cut}: {error}"
        );
    }
    fs::write(&path, text).unwrap();
    SigningRecordFile::new(scratch.path(), 0, &KEY)
        .save(&record())
        .unwrap();
    SigningRecordFile::new(scratch.path(), 1, &KEY)
        .save(&record())
        .unwrap();
    let legacy = Legacy::find(scratch.path(), 0).unwrap().unwrap();
    assert_eq!(legacy.head().unwrap(), Some(head(4)));
    assert_eq!(legacy.signing_record_files().len(), 1);
    legacy.retire().unwrap();
    assert_eq!(Legacy::find(scratch.path(), 0).unwrap(), None);
    // The files of the other chain stay.
    assert!(Legacy::find(scratch.path(), 1).unwrap().is_some());
}
