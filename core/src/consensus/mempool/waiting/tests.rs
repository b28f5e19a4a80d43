use super::*;
use crate::atom::{AtomKind, MemoryStore};

const NOW: Duration = Duration::from_secs(1_000);
const SENDER: Sender = [1; 32];

fn id(number: u8) -> AtomId {
    AtomId::new([number; 32])
}

fn peer(number: u8) -> PublicKey {
    PublicKey::new([number; 32])
}

/// Returns a list of `count` atoms in order.
fn list(count: usize) -> Vec<Atom> {
    let mut next = AtomId::ZERO;
    let mut atoms: Vec<Atom> = (0..count)
        .map(|number| {
            let data = (number as u64).to_be_bytes();
            let atom = Atom::new(AtomKind::Bytes, data.as_slice(), next);
            next = atom.id();
            atom
        })
        .collect();
    atoms.reverse();
    atoms
}

/// Returns two lists that continue with `tail`, and a store that has them without it.
fn two_heads(tail: &Atom) -> (Vec<Atom>, MemoryStore) {
    let heads: Vec<Atom> = (0..2_u8)
        .map(|number| Atom::new(AtomKind::Bytes, [number].as_slice(), tail.id()))
        .collect();
    let mut known = MemoryStore::new();
    known.extend(heads.clone());
    (heads, known)
}

fn length(atoms: &[Atom]) -> ListLength {
    ListLength {
        atoms: atoms.len() as u64,
        bytes: atoms.iter().map(|atom| atom.stored_len() as u64).sum(),
    }
}

/// Advances the needs and returns the fetches that they request.
fn advance(
    needs: &mut Needs,
    now: Duration,
    store: &MemoryStore,
) -> Vec<(AtomId, Option<PublicKey>)> {
    let mut context = Context::new(None);
    needs.advance(now, store, &mut context);
    let mut fetches = Vec::new();
    while let Some(effect) = context.poll_effect() {
        if let Effect::Fetch(FetchRequest { id, from, .. }) = effect {
            fetches.push((id, from));
        }
    }
    fetches
}

#[test]
fn empty_list_is_measured_immediately() {
    let mut needs = Needs::default();
    assert!(needs.is_empty());
    needs.add(Data::List(AtomId::ZERO), SENDER, None);
    let nothing = ListLength { atoms: 0, bytes: 0 };
    assert_eq!(
        needs.take_resolved(),
        [Resolved::List(AtomId::ZERO, Verdict::Measured(nothing))]
    );
    assert!(needs.is_empty() && needs.deadline().is_none());
}

#[test]
fn stored_list_is_walked_in_slices() {
    let mut store = MemoryStore::new();
    let atoms = list(SLICE_ATOMS * 2 + 1);
    store.extend(atoms.clone());
    let mut needs = Needs::default();
    needs.add(Data::List(atoms[0].id()), SENDER, None);
    assert!(!needs.is_empty());
    let mut now = NOW;
    for _ in 0..2 {
        assert!(advance(&mut needs, now, &store).is_empty());
        assert!(needs.take_resolved().is_empty());
        assert_eq!(needs.deadline(), Some(now + SLICE_PAUSE));
        // Nothing is read before the end of the pause.
        let early = now + SLICE_PAUSE - Duration::from_nanos(1);
        advance(&mut needs, early, &store);
        assert_eq!(needs.deadline(), Some(now + SLICE_PAUSE));
        now += SLICE_PAUSE;
    }
    advance(&mut needs, now, &store);
    let verdict = Verdict::Measured(length(&atoms));
    assert_eq!(
        needs.take_resolved(),
        [Resolved::List(atoms[0].id(), verdict)]
    );
    assert!(needs.is_empty() && needs.deadline().is_none());
}

#[test]
fn lists_take_turns_and_long_ones_do_not_delay_short_ones() {
    let mut store = MemoryStore::new();
    let (long, short) = (list(SLICE_ATOMS * 4), list(3));
    store.extend(long.iter().chain(&short).cloned());
    // The lists share atoms, which does not matter.
    let mut needs = Needs::default();
    needs.add(Data::List(long[0].id()), SENDER, None);
    needs.add(Data::List(short[0].id()), SENDER, None);
    advance(&mut needs, NOW, &store);
    let verdict = Verdict::Measured(length(&short));
    assert_eq!(
        needs.take_resolved(),
        [Resolved::List(short[0].id(), verdict)]
    );
}

#[test]
fn needs_that_lack_the_same_atom_share_its_fetch_and_its_failure() {
    let tail = list(2);
    let (heads, known) = two_heads(&tail[0]);
    let mut needs = Needs::default();
    for (number, head) in (1..).zip(&heads) {
        needs.add(Data::List(head.id()), SENDER, Some(peer(number)));
    }
    let lacking = tail[0].id();
    // The announcer is asked first, then any provider.
    assert_eq!(advance(&mut needs, NOW, &known), [(lacking, Some(peer(1)))]);
    needs.fetched(&lacking, Err(FetchError::NotFound));
    assert!(needs.take_resolved().is_empty());
    assert_eq!(advance(&mut needs, NOW, &known), [(lacking, None)]);
    needs.fetched(&lacking, Err(FetchError::Timeout));
    let unavailable = |data| Resolved::Unavailable {
        data,
        atom: lacking,
    };
    assert_eq!(
        needs.take_resolved(),
        [unavailable(heads[0].id()), unavailable(heads[1].id())]
    );
    assert!(needs.is_empty() && advance(&mut needs, NOW, &known).is_empty());
}

#[test]
fn counts_received_parts_and_fetches_the_next_atom() {
    let store = MemoryStore::new();
    let atoms = list(10);
    let mut needs = Needs::default();
    needs.add(Data::List(atoms[0].id()), SENDER, None);
    assert_eq!(advance(&mut needs, NOW, &store), [(atoms[0].id(), None)]);
    needs.fetched(&atoms[0].id(), Ok(&atoms[..4]));
    let now = NOW + SLICE_PAUSE;
    assert_eq!(advance(&mut needs, now, &store), [(atoms[4].id(), None)]);
    needs.fetched(&atoms[4].id(), Ok(&atoms[4..]));
    let verdict = Verdict::Measured(length(&atoms));
    assert_eq!(
        needs.take_resolved(),
        [Resolved::List(atoms[0].id(), verdict)]
    );
}

#[test]
fn list_that_arrives_atom_by_atom_is_given_up() {
    let store = MemoryStore::new();
    let atoms = list(MAX_PARTS as usize + 2);
    let list = atoms[0].id();
    let mut needs = Needs::default();
    needs.add(Data::List(list), SENDER, None);
    let mut now = NOW;
    for part in 0..=MAX_PARTS as usize {
        assert!(needs.take_resolved().is_empty(), "part {part}");
        let id = atoms[part].id();
        assert_eq!(advance(&mut needs, now, &store), [(id, None)]);
        needs.fetched(&id, Ok(&atoms[part..=part]));
        now += SLICE_PAUSE;
    }
    let unavailable = Resolved::Unavailable {
        data: list,
        atom: atoms[MAX_PARTS as usize + 1].id(),
    };
    assert_eq!(needs.take_resolved(), [unavailable]);
}

#[test]
fn dropping_a_need_removes_its_queued_fetch_unless_shared() {
    let tail = list(1);
    let (heads, known) = two_heads(&tail[0]);
    let mut needs = Needs::default();
    // The maximum number of fetches is in progress, so later ones are queued.
    for number in (100..).take(MAX_FETCHES) {
        needs.add(Data::Atom(id(number)), SENDER, None);
    }
    assert_eq!(advance(&mut needs, NOW, &known).len(), MAX_FETCHES);
    for head in &heads {
        needs.add(Data::List(head.id()), SENDER, None);
    }
    assert!(advance(&mut needs, NOW, &known).is_empty());
    assert_eq!(needs.queue.iter().count(), 1, "one fetch for both");
    needs.drop(&heads[0].id());
    assert_eq!(needs.queue.iter().count(), 1);
    assert_eq!(needs.fetches[&tail[0].id()].needs, [heads[1].id()]);
    needs.drop(&heads[1].id());
    assert_eq!(needs.queue.iter().count(), 0);
    assert!(!needs.fetches.contains_key(&tail[0].id()));
    // A fetch in progress is not cancelled; its place is free when it ends.
    needs.drop(&id(100));
    assert!(needs.fetches.contains_key(&id(100)));
    needs.add(Data::Atom(id(1)), SENDER, None);
    assert!(advance(&mut needs, NOW, &known).is_empty(), "no place");
    needs.fetched(&id(100), Err(FetchError::NotFound));
    assert!(!needs.fetches.contains_key(&id(100)));
    assert_eq!(advance(&mut needs, NOW, &known), [(id(1), None)]);
    assert!(
        needs.take_resolved().is_empty(),
        "nothing needs it any more"
    );
}

#[test]
fn dropped_need_is_not_reported() {
    let mut needs = Needs::default();
    let store = MemoryStore::new();
    for number in 1..=2 {
        needs.add(Data::Atom(id(number)), SENDER, None);
    }
    advance(&mut needs, NOW, &store);
    let atom = &list(1)[..];
    needs.fetched(&id(1), Ok(atom));
    needs.fetched(&id(2), Ok(atom));
    needs.drop(&id(1));
    assert_eq!(needs.take_resolved(), [Resolved::Atom(id(2))]);
    // A dropped list is not read either.
    let walked = list(3);
    needs.add(Data::List(walked[0].id()), SENDER, None);
    needs.drop(&walked[0].id());
    assert!(needs.is_empty() && needs.deadline().is_none());
}

#[test]
fn senders_take_turns_for_fetches() {
    let store = MemoryStore::new();
    let mut needs = Needs::default();
    for number in 0..40 {
        needs.add(Data::Atom(id(number)), SENDER, None);
    }
    needs.add(Data::Atom(id(200)), [2; 32], None);
    let fetches = advance(&mut needs, NOW, &store);
    assert_eq!(fetches.len(), MAX_FETCHES);
    assert!(fetches[..2].iter().any(|(fetched, _)| *fetched == id(200)));
    assert_eq!(needs.deadline(), None, "no place is free");
    needs.fetched(&id(200), Ok(&list(1)));
    assert_eq!(needs.deadline(), Some(Duration::ZERO));
}

#[test]
fn ignores_fetches_of_other_components() {
    let store = MemoryStore::new();
    let mut needs = Needs::default();
    let ids: Vec<AtomId> = (0..).map(id).take(MAX_FETCHES + 1).collect();
    for id in &ids {
        needs.add(Data::Atom(*id), SENDER, None);
    }
    advance(&mut needs, NOW, &store);
    let queued = ids[MAX_FETCHES];
    needs.fetched(&queued, Err(FetchError::NotFound));
    needs.fetched(&id(99), Err(FetchError::NotFound));
    assert_eq!(needs.under_way, MAX_FETCHES);
    assert!(needs.take_resolved().is_empty());
    // The atoms that such fetches return are used nevertheless.
    needs.fetched(&queued, Ok(&list(1)));
    assert_eq!(needs.take_resolved(), [Resolved::Atom(queued)]);
    assert_eq!(needs.queue.iter().count(), 0);
    assert_eq!(needs.under_way, MAX_FETCHES);
}
