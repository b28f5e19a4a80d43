use super::*;
use crate::atom::{AtomKind, HEADER_BYTES};
use alloc::vec;
use proptest::collection::vec as bytes_in;
use proptest::prelude::*;

const ID: AtomId = AtomId::new([0xcd; 32]);

fn encode(request: Request<'_>) -> Vec<u8> {
    let mut out = vec![];
    request.write(&mut out);
    out
}

#[test]
fn request_golden_bytes() {
    let mut get = Request {
        action: Action::Get(None),
        atom_id: ID,
        data: &[],
    };
    assert_eq!(encode(get), [&[0][..], &[0xcd; 32]].concat());
    get.action = Action::Get(Some(PayloadType::LIST));
    assert_eq!(encode(get), [&[0][..], &[0xcd; 32], &[2]].concat());
    let put = Request {
        action: Action::Put(PayloadType::ATOM),
        atom_id: ID,
        data: &[7, 8],
    };
    assert_eq!(encode(put), [&[1][..], &[0xcd; 32], &[1, 7, 8]].concat());
}

#[test]
fn request_faults() {
    let mut bytes = vec![1; 32];
    assert_eq!(
        Request::decode(&bytes),
        Err(ObjectError::TooShort { len: 32 })
    );
    bytes.push(1);
    assert_eq!(Request::decode(&bytes), Err(ObjectError::NoPayloadType));
    bytes[0] = 2;
    assert_eq!(
        Request::decode(&bytes),
        Err(ObjectError::UnknownType { code: 2 })
    );
}

#[test]
fn response_golden_bytes_and_faults() {
    let response = Response {
        answer: Answer::Nearest,
        atom_id: ID,
        data: &[9],
    };
    let mut bytes = vec![];
    response.write(&mut bytes);
    assert_eq!(bytes, [&[2][..], &[0xcd; 32], &[9]].concat());
    assert_eq!(Response::decode(&bytes), Ok(response));
    bytes[0] = 3;
    assert_eq!(
        Response::decode(&bytes),
        Err(ObjectError::UnknownType { code: 3 })
    );
    assert_eq!(
        Response::decode(&bytes[..32]),
        Err(ObjectError::TooShort { len: 32 })
    );
}

#[test]
fn found_golden_bytes() {
    let atom = Atom::bytes(*b"abc");
    let mut one = vec![];
    write_found_atom(&mut one, &atom);
    assert_eq!(one, [&[1][..], &[0; 32], &[1], b"abc"].concat());
    let mut list = vec![];
    write_found_list(&mut list, [&atom, &atom]).unwrap();
    let item = [&[0, 0, 0, 36][..], &[0; 32], &[1], b"abc"].concat();
    assert_eq!(list, [&[2][..], &item, &item].concat());
    assert_eq!(
        Found::decode(&atom.id(), &one),
        Ok(Found::Atom(HashedAtom::new(atom)))
    );
}

#[test]
fn found_faults() {
    let atom = Atom::bytes(*b"abc");
    let refuse = |bytes: &[u8], error| {
        assert_eq!(Found::decode(&atom.id(), bytes), Err(error));
    };
    refuse(&[], FoundError::Empty);
    refuse(&[2], FoundError::Empty);
    refuse(&[3, 0], FoundError::UnknownPayload { code: 3 });
    refuse(&[1], FoundError::Atom(AtomError::TooShort { len: 0 }));
    refuse(&[2, 0, 0, 0], FoundError::Truncated);
    refuse(&[2, 0, 0, 0, 0], FoundError::Truncated);
    refuse(&[2, 255, 255, 255, 255, 0], FoundError::Truncated);
    refuse(
        &[2, 0, 0, 0, 1, 0],
        FoundError::Atom(AtomError::TooShort { len: 1 }),
    );
    let other = Atom::symbol("abc");
    let mut bytes = vec![];
    write_found_atom(&mut bytes, &other);
    refuse(&bytes, FoundError::OtherAtom { actual: other.id() });
    let mut list = vec![];
    write_found_list(&mut list, [&other, &atom]).unwrap();
    refuse(&list, FoundError::OtherAtom { actual: other.id() });
}

#[test]
fn contact_golden_bytes() {
    let contact = Contact {
        public_key: PublicKey::new([0xab; 32]),
        address: "127.0.0.1:52780".parse().unwrap(),
    };
    let bytes = contact.encode();
    assert_eq!(bytes[..32], [0xab; 32]);
    assert_eq!(bytes[32..], [127, 0, 0, 1, 0xce, 0x2c]);
    assert_eq!(
        Contact::decode(&bytes[1..]),
        Err(ContactTooShort { len: 37 })
    );
    assert_eq!(Contact::decode(&[&bytes[..], &[1]].concat()), Ok(contact));
}

fn any_atom() -> impl Strategy<Value = Atom> {
    (0..3u8, bytes_in(any::<u8>(), 0..40), any::<[u8; 32]>()).prop_map(|(kind, data, next)| {
        Atom::new(AtomKind::from_code(kind).unwrap(), data, next.into())
    })
}

proptest! {
    #[test]
    fn requests_that_decode_encode_back(bytes in bytes_in(0..3u8, 30..40)) {
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(encode(request), bytes);
        }
    }

    #[test]
    fn responses_that_decode_encode_back(bytes in bytes_in(0..4u8, 30..40)) {
        if let Ok(response) = Response::decode(&bytes) {
            let mut again = vec![];
            response.write(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn contacts_round_trip(bytes in bytes_in(any::<u8>(), 0..50)) {
        match Contact::decode(&bytes) {
            Ok(contact) => prop_assert_eq!(&contact.encode()[..], &bytes[..CONTACT_BYTES]),
            Err(error) => {
                prop_assert_eq!(error.len, bytes.len());
                prop_assert!(bytes.len() < CONTACT_BYTES);
            }
        }
    }

    #[test]
    fn found_objects_round_trip(atoms in bytes_in(any_atom(), 1..5)) {
        let mut out = vec![];
        write_found_atom(&mut out, &atoms[0]);
        let hashed: Vec<_> = atoms.iter().cloned().map(HashedAtom::new).collect();
        prop_assert_eq!(
            Found::decode(&atoms[0].id(), &out).map(|found| found.atoms().to_vec()),
            Ok(vec![hashed[0].clone()])
        );
        out.clear();
        write_found_list(&mut out, &atoms).unwrap();
        prop_assert_eq!(Found::decode(&atoms[0].id(), &out), Ok(Found::List(hashed)));
    }

    #[test]
    fn perturbed_answer_is_rejected_or_starts_with_the_requested_atom(
        atoms in bytes_in(any_atom(), 1..4), list: bool,
        position in any::<proptest::sample::Index>(), byte: u8, cut in 0..5usize,
    ) {
        let mut out = vec![];
        if list {
            write_found_list(&mut out, &atoms).unwrap();
        } else {
            write_found_atom(&mut out, &atoms[0]);
        }
        let at = position.index(out.len());
        out[at] = byte;
        out.truncate(out.len() - cut);
        let asked = atoms[0].id();
        if let Ok(found) = Found::decode(&asked, &out) {
            prop_assert_eq!(found.atoms()[0].id(), asked);
            let stored: usize = found.atoms().iter().map(|it| it.atom().stored_len()).sum();
            prop_assert!(stored <= out.len());
            prop_assert!(found.atoms().len() <= out.len() / HEADER_BYTES);
        }
    }
}
