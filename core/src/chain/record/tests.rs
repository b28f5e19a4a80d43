//! Records: encodings that are read and encodings that are rejected.

use crate::atom::AtomId;
use crate::atom::{Atom, AtomKind, MemoryStore, SourceError};
use crate::chain::*;
use crate::crypto::{Signature, SigningKey};
use crate::integer::Natural;
use alloc::vec::Vec;
use proptest::collection::vec;
use proptest::prelude::*;

fn natural() -> impl Strategy<Value = Natural> {
    (any::<u128>(), 0..128_u32, any::<bool>()).prop_map(|(value, shift, wide)| {
        let value = Natural::new(value >> shift);
        if wide { &value * &value } else { value }
    })
}

fn id() -> impl Strategy<Value = AtomId> {
    prop_oneof![Just(AtomId::ZERO), any::<[u8; 32]>().prop_map(AtomId::new)]
}

fn account() -> impl Strategy<Value = Account> {
    (natural(), natural(), id(), id(), id()).prop_map(|(balance, counter, code, data, channels)| {
        Account {
            balance,
            counter,
            code,
            data,
            channels,
        }
    })
}

fn receipt() -> impl Strategy<Value = Receipt> {
    (id(), any::<bool>(), natural(), id()).prop_map(|(transaction, failed, cost, logs)| Receipt {
        transaction,
        status: if failed {
            Status::Failed
        } else {
            Status::Success
        },
        cost,
        logs,
    })
}

fn unsigned() -> impl Strategy<Value = Unsigned> {
    let data = vec(any::<u8>(), 0..90);
    (natural(), natural(), natural(), data, any::<[u8; 32]>()).prop_map(
        |(chain_id, amount, counter, data, recipient)| Unsigned {
            chain_id,
            amount,
            counter,
            data: data.as_slice().into(),
            recipient: recipient.into(),
        },
    )
}

fn header() -> impl Strategy<Value = Header> {
    let totals = proptest::array::uniform10(natural());
    (totals, proptest::array::uniform4(id()), any::<[u8; 32]>()).prop_map(
        |(numbers, [previous, accounts, transactions, receipts], validator)| {
            let [
                chain_id,
                height,
                timestamp,
                difficulty,
                cumulative_stake,
                cumulative_burn,
                cumulative_mint,
                cumulative_total_fees,
                total_fees,
                nonce,
            ] = numbers;
            Header {
                chain_id,
                height,
                previous,
                timestamp,
                difficulty,
                cumulative_stake,
                cumulative_burn,
                cumulative_mint,
                cumulative_total_fees,
                total_fees,
                accounts,
                transactions,
                receipts,
                validator: validator.into(),
                nonce,
            }
        },
    )
}

/// Creates a store of these atoms and checks each id.
fn store(atoms: &RecordAtoms) -> MemoryStore {
    for (id, atom) in atoms {
        assert_eq!(*id, atom.id());
    }
    atoms.iter().map(|(_, atom)| atom.clone()).collect()
}

/// Reads with each of the atoms missing in turn and checks that the error has its id.
fn each_missing_atom_is_reported<T: core::fmt::Debug>(
    atoms: &RecordAtoms,
    read: impl Fn(&MemoryStore) -> Result<T, RecordError<core::convert::Infallible>>,
) {
    for (missing, _) in atoms {
        let rest = atoms.iter().filter(|(id, _)| id != missing);
        let rest = rest.map(|(_, atom)| atom.clone()).collect();
        let error = read(&rest).unwrap_err();
        assert_eq!(error.missing(), Some(*missing), "{error}");
        assert_eq!(error, RecordError::Source(SourceError::Missing(*missing)));
    }
}

proptest! {
    #[test]
    fn accounts_round_trip(account in account()) {
        let (id, atoms) = account.to_atoms();
        prop_assert_eq!(Account::read(&store(&atoms), id), Ok(account));
        each_missing_atom_is_reported(&atoms, |store| Account::read(store, id));
    }

    #[test]
    fn receipts_round_trip(receipt in receipt()) {
        let (id, atoms) = receipt.to_atoms();
        prop_assert_eq!(Receipt::read(&store(&atoms), id), Ok(receipt));
        each_missing_atom_is_reported(&atoms, |store| Receipt::read(store, id));
    }

    #[test]
    fn transactions_round_trip(content in unsigned(), seed: [u8; 32]) {
        let transaction = content.clone().sign(&SigningKey::from_seed(&seed));
        prop_assert_eq!(&*transaction, &content);
        prop_assert_eq!(transaction.verify_signature(), Ok(()));
        let (id, atoms) = (transaction.id(), transaction.to_atoms());
        prop_assert_eq!(Transaction::read(&store(&atoms), id), Ok(transaction));
        each_missing_atom_is_reported(&atoms, |store| Transaction::read(store, id));
    }

    #[test]
    fn signature_is_valid_for_one_transaction_only(content in unsigned(), other in unsigned()) {
        prop_assume!(content != other);
        let transaction = content.sign(&SigningKey::from_seed(&[1; 32]));
        let forged = other.signed(*transaction.sender(), *transaction.signature());
        prop_assert!(forged.verify_signature().is_err());
    }

    #[test]
    fn blocks_round_trip(header in header(), signed: bool) {
        let key = SigningKey::from_seed(&[2; 32]);
        let block = if signed {
            let validator = key.verifying_key().into();
            Header { validator, ..header }.sign(&key)
        } else {
            header.signed(None)
        };
        prop_assert_eq!(block.verify_signature().is_ok(), signed);
        let (id, atoms) = (block.id(), block.to_atoms());
        prop_assert_eq!(Block::read(&store(&atoms), id), Ok(block));
        each_missing_atom_is_reported(&atoms, |store| Block::read(store, id));
    }

    /// Encodings are canonical: any other atom in any position gives an error or another record.
    #[test]
    fn record_encoding_is_canonical(
        content in unsigned(), place in 0..10_usize, data in vec(any::<u8>(), 0..70), kind in 0..3_u8,
    ) {
        let transaction = content.sign(&SigningKey::from_seed(&[3; 32]));
        let kind = AtomKind::from_code(kind).unwrap();
        let atoms = transaction.to_atoms();
        if atoms[place].1.kind() == kind && atoms[place].1.data() == data {
            return Ok(());
        }
        let (store, id) = replaced(&atoms, 6, place, kind, &data);
        if let Ok(read) = Transaction::read(&store, id) {
            prop_assert_ne!(&read, &transaction);
            prop_assert_eq!(read.id(), id);
            // Encoding it again gives the same id.
            prop_assert_eq!(read.to_atoms().last().map(|(id, _)| *id), Some(id));
        }
    }
}

/// Replaces the atom at `place` of a signed record and recomputes all ids that depend on it. The
/// first `body` atoms are the body, first to last, followed by list, signature, version, type.
fn replaced(
    atoms: &RecordAtoms,
    body: usize,
    place: usize,
    kind: AtomKind,
    data: &[u8],
) -> (MemoryStore, AtomId) {
    let part = |index: usize| {
        let (_, atom) = &atoms[index];
        if index == place {
            (kind, data.to_vec())
        } else {
            (atom.kind(), atom.data().to_vec())
        }
    };
    let mut store = MemoryStore::new();
    let mut next = AtomId::ZERO;
    for index in (0..body).rev() {
        let (kind, data) = part(index);
        next = store.insert(Atom::new(kind, data, next));
    }
    let (kind, data) = part(body);
    let list = if place == body {
        data
    } else {
        next.as_bytes().to_vec()
    };
    next = store.insert(Atom::new(kind, list, AtomId::ZERO));
    for index in body + 1..body + 4 {
        let (kind, data) = part(index);
        next = store.insert(Atom::new(kind, data, next));
    }
    (store, next)
}

fn a_transaction() -> Transaction {
    Unsigned {
        chain_id: 1_u64.into(),
        amount: 256_u64.into(),
        counter: Natural::ZERO,
        data: b"x".as_slice().into(),
        recipient: Address::new([9; 32]),
    }
    .sign(&SigningKey::from_seed(&[4; 32]))
}

fn transaction_problem(place: usize, kind: AtomKind, data: &[u8]) -> &'static str {
    let (store, id) = replaced(&a_transaction().to_atoms(), 6, place, kind, data);
    match Transaction::read(&store, id) {
        Err(RecordError::Malformed { record, problem }) => {
            assert_eq!(record, id);
            problem
        }
        other => panic!("{other:?}"),
    }
}

/// In the reference, each of these is the same transaction under a second id.
#[test]
fn padded_versions_and_integers_are_rejected() {
    use AtomKind::Bytes;
    for (place, data, part) in [
        (8, [0, 1].as_slice(), "version"),
        (8, &[1, 0], "version"),
        (8, &[2], "version"),
        (8, &[], "version"),
        (0, &[1, 0], "chain id"),
        (1, &[0, 1, 0], "amount"),
        (2, &[], "counter"),
        (2, &[0, 0], "counter"),
        (4, &[9; 31], "recipient"),
        (5, &[9; 33], "sender"),
        (7, &[9; 63], "signature"),
        (7, &[], "signature"),
        (9, b"block", "type"),
    ] {
        let kind = if place == 9 { AtomKind::Symbol } else { Bytes };
        let problem = transaction_problem(place, kind, data);
        assert!(problem.contains(part), "{place} {data:?}: {problem}");
    }
}

#[test]
fn atoms_of_another_kind_are_rejected() {
    let atoms = a_transaction().to_atoms();
    for (place, (_, atom)) in atoms.iter().enumerate() {
        for kind in [AtomKind::Symbol, AtomKind::Bytes, AtomKind::List] {
            if kind != atom.kind() {
                transaction_problem(place, kind, atom.data());
            }
        }
    }
}

#[test]
fn too_much_data_is_rejected() {
    let data = [7; MAX_TRANSACTION_DATA_BYTES + 1];
    assert!(transaction_problem(3, AtomKind::Bytes, &data).contains("60000"));
    let most = &data[..MAX_TRANSACTION_DATA_BYTES];
    let (store, id) = replaced(&a_transaction().to_atoms(), 6, 3, AtomKind::Bytes, most);
    assert!(Transaction::read(&store, id).is_ok());
}

#[test]
fn too_long_numbers_are_rejected() {
    for (place, most) in [(0, MAX_INTEGER_BYTES), (1, MAX_INTEGER_BYTES), (2, 65_368)] {
        let long = [7; 65_368];
        let found = transaction_problem(place, AtomKind::Bytes, &long[..most.max(257)]);
        assert!(found.contains("256 bytes"), "{found}");
        let longest = &long[..MAX_INTEGER_BYTES];
        let (store, id) = replaced(
            &a_transaction().to_atoms(),
            6,
            place,
            AtomKind::Bytes,
            longest,
        );
        assert!(Transaction::read(&store, id).is_ok());
    }
}

fn signed_store(name: &str, fields: &[&[u8]], signature: &[u8]) -> (MemoryStore, AtomId) {
    let made = signed_atoms(name, fields, signature);
    (store(&made.atoms), made.id)
}

#[test]
fn wrong_number_of_body_fields_is_rejected() {
    let wide = [1; 32];
    for count in 0..18 {
        let fields: Vec<&[u8]> = (0..count).map(|_| wide.as_slice()).collect();
        let (store, id) = signed_store("transaction", &fields, &[0; 64]);
        assert_eq!(Transaction::read(&store, id).is_ok(), count == 6, "{count}");
        let (store, id) = signed_store("block", &fields, &[0; 64]);
        assert_eq!(
            Block::read(&store, id).is_ok(),
            count == 14 || count == 15,
            "{count}"
        );
    }
}

/// Read as in the reference, with a minted total of 0. The block keeps the id under which it was
/// read.
#[test]
fn block_without_the_minted_total_is_readable() {
    let fields: Vec<[u8; 32]> = (1..=14).map(|field| [field; 32]).collect();
    let fields: Vec<&[u8]> = fields.iter().map(<[u8; 32]>::as_slice).collect();
    let (store, id) = signed_store("block", &fields, &[]);
    let block = Block::read(&store, id).unwrap();
    assert!(block.cumulative_mint.is_zero());
    assert_eq!(block.cumulative_total_fees.to_bytes_be(), [8; 32]);
    assert_eq!(block.nonce.to_bytes_be(), [14; 32]);
    let again: MemoryStore = block.to_atoms().into_iter().map(|(_, atom)| atom).collect();
    assert_eq!(Block::read(&again, id), Ok(block.clone()));
    assert_ne!(block.header().clone().signed(None).id(), id);
}

#[test]
fn non_canonical_blocks_are_rejected() {
    let key = SigningKey::from_seed(&[5; 32]);
    let wide = [[1; 32]; 15];
    let fields: Vec<&[u8]> = wide.iter().map(<[u8; 32]>::as_slice).collect();
    for (place, data) in [
        (0, [0, 1].as_slice()),
        (4, &[]),
        (14, &[0, 0]),
        (2, &[1; 31]),
        (13, &[]),
    ] {
        let mut fields = fields.clone();
        fields[place] = data;
        let (store, id) = signed_store("block", &fields, key.sign(b"").as_bytes());
        let error = Block::read(&store, id).unwrap_err();
        assert!(
            matches!(error, RecordError::Malformed { record, .. } if record == id),
            "{error}"
        );
    }
    let (store, id) = signed_store("block", &fields, &[1; 63]);
    assert!(Block::read(&store, id).is_err());
    let (store, id) = signed_store("blocks", &fields, &[1; 64]);
    assert!(Block::read(&store, id).is_err());
    assert!(Block::read(&store, AtomId::ZERO).is_err());
}

#[test]
fn too_long_record_list_is_rejected() {
    let mut store = MemoryStore::new();
    let mut next = AtomId::ZERO;
    for _ in 0..1_000 {
        next = store.insert(Atom::new(AtomKind::Symbol, *b"account", next));
    }
    let error = Account::read(&store, next).unwrap_err();
    assert!(
        matches!(error, RecordError::Malformed { problem, .. } if problem.contains("too many"))
    );
}

#[test]
fn unsigned_block_has_no_valid_signature() {
    let block = a_block().signed(None);
    assert!(block.verify_signature().is_err());
    let other = SigningKey::from_seed(&[7; 32]);
    assert!(a_block().sign(&other).verify_signature().is_err());
    let garbage = Some(Signature::new([0; 64]));
    assert!(a_block().signed(garbage).verify_signature().is_err());
    assert!(
        a_block()
            .sign(&SigningKey::from_seed(&[6; 32]))
            .verify_signature()
            .is_ok()
    );
}

fn a_block() -> Header {
    Header {
        chain_id: Natural::ZERO,
        height: Natural::ZERO,
        previous: AtomId::ZERO,
        timestamp: Natural::ZERO,
        difficulty: Natural::ZERO,
        cumulative_stake: Natural::ZERO,
        cumulative_burn: Natural::ZERO,
        cumulative_mint: Natural::ZERO,
        cumulative_total_fees: Natural::ZERO,
        total_fees: Natural::ZERO,
        accounts: AtomId::ZERO,
        transactions: AtomId::ZERO,
        receipts: AtomId::ZERO,
        validator: SigningKey::from_seed(&[6; 32]).verifying_key().into(),
        nonce: Natural::ZERO,
    }
}

#[test]
fn addresses_parse_and_print_as_hex() {
    use alloc::string::ToString;
    let text = "0a".repeat(32);
    assert_eq!(text.parse(), Ok(Address::new([10; 32])));
    assert_eq!(Address::new([10; 32]).to_string(), text);
    assert!("0a0a".parse::<Address>().is_err());
    assert_eq!(Address::from_slice(&[1; 31]), None);
    assert_eq!(Address::from_slice(&[1; 32]), Some(TREASURY));
}
