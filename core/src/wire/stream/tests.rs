use super::*;
use alloc::vec;
use proptest::prelude::*;

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = vec![];
    frame.write(&mut out);
    out
}

fn decode(bytes: &[u8]) -> Result<Option<Frame<'static>>, FrameError> {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    let frame = decoder.next_frame()?;
    Ok(frame.map(|frame| match frame {
        Frame::Found { number, .. } => Frame::Unknown {
            number,
            kind: FOUND,
        },
        Frame::Bodies { number, .. } => Frame::Unknown {
            number,
            kind: BODIES,
        },
        Frame::Lists { number, .. } => Frame::Unknown {
            number,
            kind: LISTS,
        },
        Frame::List { number, id, credit } => Frame::List { number, id, credit },
        Frame::Headers {
            number,
            id,
            count,
            credit,
        } => Frame::Headers {
            number,
            id,
            count,
            credit,
        },
        Frame::Credit { number, bytes } => Frame::Credit { number, bytes },
        Frame::Cancel { number } => Frame::Cancel { number },
        Frame::End { number, reason } => Frame::End { number, reason },
        Frame::Unknown { number, kind } => Frame::Unknown { number, kind },
    }))
}

#[test]
fn golden_bytes() {
    let (number, id) = (0x0102_0304, AtomId::new([0xab; 32]));
    let list = Frame::List {
        number,
        id,
        credit: 5,
    };
    let golden = [
        &b"\0\0\0\x29\x01\x01\x02\x03\x04"[..],
        &[0xab; 32],
        b"\0\0\0\x05",
    ]
    .concat();
    assert_eq!(encoded(&list), golden);
    let headers = Frame::Headers {
        number,
        id,
        count: 6,
        credit: 5,
    };
    let golden = [
        &b"\0\0\0\x2d\x04\x01\x02\x03\x04"[..],
        &[0xab; 32],
        b"\0\0\0\x06\0\0\0\x05",
    ]
    .concat();
    assert_eq!(encoded(&headers), golden);
    assert_eq!(decode(&golden), Ok(Some(headers)));
    let ids = [[1; 32], [2; 32]].concat();
    let bodies = Frame::Bodies {
        number,
        credit: 5,
        lists: Ids::from_bytes(&ids).unwrap(),
    };
    let golden = [&b"\0\0\0\x49\x05\x01\x02\x03\x04\0\0\0\x05"[..], &ids].concat();
    assert_eq!(encoded(&bodies), golden);
    let mut decoder = Decoder::new();
    decoder.push(&golden);
    assert_eq!(decoder.next_frame(), Ok(Some(bodies)));
    let lists = Frame::Lists {
        number,
        most: 6,
        credit: 5,
        lists: Ids::from_bytes(&ids).unwrap(),
    };
    let golden = [
        &b"\0\0\0\x4d\x06\x01\x02\x03\x04\0\0\0\x06\0\0\0\x05"[..],
        &ids,
    ]
    .concat();
    assert_eq!(encoded(&lists), golden);
    let mut decoder = Decoder::new();
    decoder.push(&golden);
    assert_eq!(decoder.next_frame(), Ok(Some(lists)));
    let credit = Frame::Credit { number, bytes: 9 };
    assert_eq!(
        encoded(&credit),
        b"\0\0\0\x09\x02\x01\x02\x03\x04\0\0\0\x09"
    );
    let cancel = Frame::Cancel { number };
    assert_eq!(encoded(&cancel), b"\0\0\0\x05\x03\x01\x02\x03\x04");
    let end = Frame::End {
        number,
        reason: EndReason::Busy,
    };
    assert_eq!(encoded(&end), b"\0\0\0\x06\x41\x01\x02\x03\x04\x02");
    let mut found = vec![];
    let mut writer = FoundWriter::new(&mut found, number);
    assert!(writer.push(&Atom::bytes(*b"x")));
    assert!(writer.finish());
    let golden = [
        &b"\0\0\0\x2b\x40\x01\x02\x03\x04\0\0\0\x22"[..],
        &[0; 32],
        b"\x01x",
    ]
    .concat();
    assert_eq!(found.len(), golden.len());
    assert_eq!(found[..13], golden[..13]);
}

#[test]
fn rejects_lengths_and_bodies_that_no_sender_writes() {
    for len in [0u32, 4, 262_145, u32::MAX] {
        let error = FrameError::Length { len };
        assert_eq!(decode(&len.to_be_bytes()), Err(error), "without its body");
    }
    assert_eq!(decode(&262_144u32.to_be_bytes()), Ok(None));
    let frame = |kind: u8, body: &[u8]| {
        let len = u32::try_from(HEAD_BYTES + body.len()).unwrap();
        decode(&[&len.to_be_bytes()[..], &[kind, 0, 0, 0, 1], body].concat())
    };
    for (kind, body) in [
        (LIST, &[1; 35][..]),
        (LIST, &[1; 37]),
        (LIST, &[0; 36]),
        (HEADERS, &[1; 39]),
        (HEADERS, &[1; 41]),
        (HEADERS, &[[1; 32], [0; 32]].concat()[..40]),
        (HEADERS, &[0, 1].map(|it| [it; 32]).concat()[..40]),
        (BODIES, &[1; 4]),
        (BODIES, &[1; 35]),
        (BODIES, &[1; 37]),
        (BODIES, &[0; 36]),
        (BODIES, &[1; 4 + 32 * (MAX_IDS + 1)]),
        (LISTS, &[1; 8]),
        (LISTS, &[1; 39]),
        (LISTS, &[[0; 4], [1; 4]].concat().repeat(5)),
        (LISTS, &[1; 8 + 32 * (MAX_IDS + 1)]),
        (CREDIT, &[0; 3]),
        (CREDIT, &[0; 5]),
        (CANCEL, &[0]),
        (FOUND, &[]),
        (FOUND, &[0, 0, 0, 0]),
        (FOUND, &[0, 0, 0, 2, 1]),
        (FOUND, &[0, 0, 0, 1, 1, 9]),
        (END, &[]),
        (END, &[1, 1]),
    ] {
        assert_eq!(
            frame(kind, body),
            Err(FrameError::Body { kind }),
            "{body:?}"
        );
    }
    let unknown = Frame::Unknown { number: 1, kind: 7 };
    assert_eq!(frame(7, b"whatever"), Ok(Some(unknown)));
    assert_eq!(
        frame(FOUND, &[0, 0, 0, 1, 1]).map(|it| it.is_some()),
        Ok(true)
    );
}

#[test]
fn frame_of_atoms_is_bounded_and_vanishes_without_any() {
    let mut out = vec![7];
    assert!(!FoundWriter::new(&mut out, 1).finish());
    assert_eq!(out, [7]);
    let atom = Atom::bytes(vec![1; 65_368]);
    let mut writer = FoundWriter::new(&mut out, 1);
    let pushed = (0..10).filter(|_| writer.push(&atom)).count();
    assert_eq!(pushed, 4);
    assert!(writer.finish());
    assert!(out.len() <= 1 + LENGTH_BYTES + MAX_FRAME_BYTES);
    assert!(decode(&out[1..]).is_ok_and(|frame| frame.is_some()));
}

proptest! {
    #[test]
    fn frames_survive_any_split(
        number: u32, id in any::<[u8; 32]>(), credit: u32, code: u8,
        atoms in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..5),
        cuts in proptest::collection::vec(1..60usize, 1..20),
    ) {
        let id = AtomId::new(id);
        prop_assume!(!id.is_zero());
        let atoms: Vec<Atom> = atoms.into_iter().map(Atom::bytes).collect();
        let mut bytes = encoded(&Frame::List { number, id, credit });
        let mut writer = FoundWriter::new(&mut bytes, number);
        for atom in &atoms {
            prop_assert!(writer.push(atom));
        }
        writer.finish();
        Frame::End { number, reason: EndReason::from_code(code) }.write(&mut bytes);
        let (mut decoder, mut rest, mut seen) = (Decoder::new(), &bytes[..], 0);
        for cut in cuts.into_iter().cycle() {
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            rest = behind;
            decoder.push(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                prop_assert_eq!(frame.number(), number);
                match (seen, frame) {
                    (0, frame) => prop_assert_eq!(frame, Frame::List { number, id, credit }),
                    (1, Frame::Found { atoms: stored, .. }) => {
                        let stored: Vec<_> = stored.map(|it| Atom::from_bytes(it).unwrap()).collect();
                        prop_assert_eq!(&stored, &atoms);
                    }
                    (2, Frame::End { reason, .. }) => prop_assert_eq!(reason.code(), code),
                    (_, frame) => prop_assert!(false, "{:?}", frame),
                }
                seen += 1;
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!((seen, decoder.buffered_bytes()), (3, 0));
    }

    #[test]
    fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::new();
        decoder.push(&[&[0, 0, 0][..], &bytes].concat());
        while let Ok(Some(frame)) = decoder.next_frame() {
            let again = encoded(&frame);
            let is_unknown = matches!(frame, Frame::Unknown { .. });
            prop_assert!(is_unknown || decode(&again).is_ok_and(|frame| frame.is_some()));
        }
    }
}
