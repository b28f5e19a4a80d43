use super::*;
use crate::store::disk::SystemDisk;
use proptest::prelude::*;

fn atoms(count: u32) -> Vec<Atom> {
    (0..count)
        .map(|n| Atom::bytes(n.to_be_bytes().repeat(1 + n as usize % 9)))
        .collect()
}

fn write(dir: &Path, index: &[u8], data: &[u8]) {
    std::fs::write(dir.join(index_name(0)), index).unwrap();
    std::fs::write(dir.join(data_name(0)), data).unwrap();
}

fn open(dir: &Path, mapped: bool) -> (Pair, Vec<Damage>) {
    Pair::open(&SystemDisk, dir, 0, mapped).unwrap()
}

/// Looks up the ids, mapped and read: each lookup returns the right atom, nothing, or an error, and
/// both give the same.
fn find_either_way(dir: &Path, ids: &[AtomId]) -> usize {
    let ways = [true, false].map(|mapped| {
        let (pair, _) = open(dir, mapped);
        let found: Vec<_> = ids
            .iter()
            .map(|id| {
                let atom = pair.find(id).ok().flatten();
                assert!(atom.as_ref().is_none_or(|atom| atom.id() == *id));
                let is_there = pair.contains(id).unwrap();
                assert!(pair.may_have(id) || !is_there, "{id} is there");
                atom
            })
            .collect();
        found
    });
    assert_eq!(ways[0], ways[1]);
    ways[0].iter().flatten().count()
}

#[test]
fn writer_matches_the_encoder_and_every_atom_is_found() {
    for count in [1, 2, 7, 8, 9, 100, 5_000] {
        let scratch = tempfile::tempdir().unwrap();
        let atoms = atoms(count);
        let (index, data) = encode_pair(atoms.clone()).unwrap();
        let mut sorted: Vec<_> = atoms.iter().map(|atom| (atom.id(), atom)).collect();
        sorted.sort_by_key(|(id, _)| *id);
        sorted.dedup_by_key(|(id, _)| *id);
        let mut writer = PairWriter::create(&SystemDisk, scratch.path(), 0).unwrap();
        for (id, atom) in &sorted {
            writer.push(id, atom).unwrap();
        }
        writer.finish().unwrap();
        let read = |name: String| std::fs::read(scratch.path().join(name)).unwrap();
        assert_eq!(read(index_name(0)), index);
        assert_eq!(read(data_name(0)), data);
        assert_eq!(index.len(), 64 + 160 * sorted.len());
        for mapped in [true, false] {
            let (pair, damages) = open(scratch.path(), mapped);
            assert_eq!(damages, []);
            assert_eq!(pair.count() as usize, sorted.len());
            // 3.6 bytes per entry in whole cache lines, and eight per entry that its bucket has no
            // room for.
            assert!(pair.memory_bytes() <= u64::from(pair.count()) * 37 / 10 + 64);
            for (id, atom) in &sorted {
                assert!(pair.may_have(id));
                assert_eq!(pair.find(id).unwrap().as_ref(), Some(*atom));
            }
            assert_eq!(pair.find(&Atom::symbol("absent").id()).unwrap(), None);
            let mut cursor = pair.cursor();
            for (id, atom) in &sorted {
                assert_eq!(cursor.id().unwrap().unwrap(), *id);
                assert_eq!(cursor.atom().unwrap(), **atom);
                cursor.advance();
            }
            assert!(cursor.id().is_none());
        }
    }
}

#[test]
fn dropped_writer_leaves_no_files() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = PairWriter::create(&SystemDisk, scratch.path(), 3).unwrap();
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 3);
    drop(writer);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn every_flipped_byte_is_a_miss_or_an_error_of_one_atom() {
    let scratch = tempfile::tempdir().unwrap();
    let atoms = atoms(12);
    let ids: Vec<_> = atoms.iter().map(Atom::id).collect();
    let (index, data) = encode_pair(atoms).unwrap();
    write(scratch.path(), &index, &data);
    let all = find_either_way(scratch.path(), &ids);
    assert_eq!(all, ids.len());
    for at in 0..index.len() + data.len() {
        let (mut index, mut data) = (index.clone(), data.clone());
        match index.get_mut(at) {
            Some(byte) => *byte ^= 0x81,
            None => data[at - index.len()] ^= 0x81,
        }
        write(scratch.path(), &index, &data);
        let found = find_either_way(scratch.path(), &ids);
        let lost = usize::from(at >= 64);
        assert_eq!(found, all - lost, "byte {at}");
        let (_, damages) = open(scratch.path(), true);
        assert!(at >= 64 || damages.len() == 1, "byte {at}: {damages:?}");
    }
}

#[test]
fn every_truncation_is_a_miss_or_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let atoms = atoms(9);
    let ids: Vec<_> = atoms.iter().map(Atom::id).collect();
    let (index, data) = encode_pair(atoms).unwrap();
    for len in 0..index.len() {
        write(scratch.path(), &index[..len], &data);
        let whole = len.saturating_sub(64) / 160;
        assert_eq!(find_either_way(scratch.path(), &ids), whole, "length {len}");
        assert!(!open(scratch.path(), false).1.is_empty(), "length {len}");
    }
    for len in 0..data.len() {
        write(scratch.path(), &index, &data[..len]);
        assert!(find_either_way(scratch.path(), &ids) < ids.len());
    }
}

#[test]
fn unsorted_ids_are_found_and_reported() {
    let scratch = tempfile::tempdir().unwrap();
    let atoms = atoms(50);
    let ids: Vec<_> = atoms.iter().map(Atom::id).collect();
    let (mut index, data) = encode_pair(atoms).unwrap();
    let (first, second) = index[64..].split_at_mut(160 * 20);
    first[..160].swap_with_slice(&mut second[..160]);
    write(scratch.path(), &index, &data);
    let (pair, damages) = open(scratch.path(), true);
    assert_eq!(damages.len(), 1);
    assert!(damages[0].to_string().contains("0_index, byte 64"));
    assert_eq!(find_either_way(scratch.path(), &ids), 50);
    let mut cursor = pair.cursor();
    let mut previous = None;
    while let Some(id) = cursor.id() {
        let id = id.unwrap();
        assert!(previous < Some(id));
        assert_eq!(cursor.atom().unwrap().id(), id);
        previous = Some(id);
        cursor.advance();
    }
}

#[test]
fn bucket_of_equal_fingerprints_is_searched_by_bisection() {
    // Ids with equal leading bits, as an attacker may create: all in one bucket with one tag.
    let scratch = tempfile::tempdir().unwrap();
    let mut index = [0; 64].to_vec();
    index[62..64].copy_from_slice(&1_000_u16.to_be_bytes());
    for n in 0..1_000_u16 {
        let mut id = [7; 32];
        id[30..].copy_from_slice(&n.to_be_bytes());
        index.extend_from_slice(&id);
        index.extend_from_slice(&[0; 128]);
    }
    write(scratch.path(), &index, b"");
    let (pair, damages) = open(scratch.path(), true);
    assert_eq!(damages, []);
    for n in [0_u16, 1, 499, 998, 999] {
        let mut id = [7; 32];
        id[30..].copy_from_slice(&n.to_be_bytes());
        let mut read = 0;
        let found = pair.fingerprints.find(&AtomId::new(id), |at| {
            read += 1;
            read_entry(&pair.index, at, &mut Vec::new())
        });
        assert_eq!(found.unwrap().unwrap().0, u32::from(n));
        assert!(read <= 10, "{read} entries read");
        assert!(pair.may_have(&AtomId::new(id)));
    }
}

/// Buckets with entry counts around 29, the number of tags they hold; all ids fall into one bucket.
#[test]
fn entries_beyond_the_tags_of_their_bucket_are_found_and_others_are_not() {
    for count in 27..70_u8 {
        let scratch = tempfile::tempdir().unwrap();
        let id_of = |n: u8| {
            let mut id = [0; 32];
            id[5] = n;
            AtomId::new(id)
        };
        let mut index = vec![0; 64];
        index[63] = 2 * count;
        for n in (0..count).map(|n| 2 * n) {
            index.extend_from_slice(id_of(n).as_bytes());
            index.extend_from_slice(&[0; 128]);
        }
        // As many ids at the far end, so that there are several buckets.
        for n in 0..count {
            let mut id = [0xff; 32];
            id[31] = n;
            index.extend_from_slice(&id);
            index.extend_from_slice(&[0; 128]);
        }
        write(scratch.path(), &index, b"");
        let (pair, damages) = open(scratch.path(), true);
        assert_eq!(damages, []);
        for n in 0..2 * count {
            let found = pair.locate(&id_of(n)).unwrap().map(|(at, _)| at);
            let expected = n.is_multiple_of(2).then_some(u32::from(n / 2));
            assert_eq!(found, expected, "{n} of {count}");
            // An id whose tag equals a header word of its bucket passes the filter, and is not
            // found.
            let certain = count <= 64 && n != count;
            let may_have = pair.may_have(&id_of(n));
            assert!(if found.is_some() {
                may_have
            } else {
                !may_have || !certain
            });
        }
    }
}

#[test]
fn absent_ids_rarely_cause_file_reads() {
    let scratch = tempfile::tempdir().unwrap();
    let (index, data) = encode_pair(atoms(20_000)).unwrap();
    write(scratch.path(), &index, &data);
    let (pair, _) = open(scratch.path(), true);
    let absent = (0..20_000_u32).map(|n| Atom::symbol(&format!("absent {n}")).id());
    let looked_for = absent.filter(|id| pair.may_have(id)).count();
    // About twenty words of sixteen bits are compared per lookup.
    assert!(looked_for <= 40, "{looked_for} of 20,000");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn arbitrary_files_never_give_wrong_atoms(
        index in proptest::collection::vec(any::<u8>(), 0..700),
        data in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let scratch = tempfile::tempdir().unwrap();
        write(scratch.path(), &index, &data);
        let ids: Vec<_> = index
            .get(64..)
            .unwrap_or_default()
            .chunks_exact(160)
            .map(|entry| AtomId::from_slice(&entry[..32]).unwrap())
            .collect();
        prop_assert_eq!(find_either_way(scratch.path(), &ids), 0);
    }
}
