//! Fuzz target of the stack machine's joined operations, compared with the naive model.
//!
//! Programs are made of the token sequences that the machine runs as one operation, and of single
//! tokens; jumps lead to the beginning of a sequence or into it. Each program runs at once, and in
//! slices whose suspended states are encoded and restored: value and charge are those of the model
//! in both cases.

use crate::model::stack::{self, OPCODES};
use arbitrary::{Arbitrary, Unstructured};
use astreum_core::atom::{Atom, AtomId, MemoryStore};
use astreum_core::expr::{Bytes, Expr};
use astreum_core::machine::{Env, Evaluation, Machine, Meter, Program, Progress, Reason, Task};

/// Maximum number of sequences of a program.
const MAX_PIECES: usize = 48;
/// Number of bytes of the longest literal. Words of up to 15 bytes have a form of their own.
const MAX_LITERAL_BYTES: usize = 36;

/// Part of a program.
#[derive(Clone, Copy, Arbitrary, Debug)]
enum Piece<'a> {
    /// `literal`
    Push(Literal<'a>),
    /// `literal add`
    Add(Literal<'a>),
    /// `literal nand`
    Nand(Literal<'a>),
    /// `literal jump`
    Jump(Place),
    /// `key heap_get`
    Get(Key),
    /// `key heap_get jump`
    JumpFrom(Key),
    /// `key heap_get heap_get jump`
    JumpThrough(Key),
    /// `key literal heap_set`
    Set(Key, Literal<'a>),
    /// `key literal heap_set`, where the literal is a place to jump to.
    SetPlace(Key, Place),
    /// `key literal heap_set`, where the literal is another key.
    SetKey(Key, Key),
    /// `key key heap_get literal add heap_set`
    Increase(Key, Literal<'a>),
    /// `key key heap_get literal add heap_set jump`: a jump whose target the program computes.
    Loop(Key, Place),
    /// An opcode, by its number.
    Opcode(u8),
    /// The id of an atom in the store, by its number.
    Atom(u8),
}

/// Any literal, one byte long most often.
#[derive(Clone, Copy, Debug)]
struct Literal<'a>(&'a [u8]);

impl<'a> Arbitrary<'a> for Literal<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        // A derived form would take half of the remaining input for each literal.
        let len = match usize::from(u8::arbitrary(input)?) {
            0..192 => 1,
            code => code % (MAX_LITERAL_BYTES + 1),
        };
        input.bytes(len.min(input.len())).map(Self)
    }
}

/// Key of the heap; few, so that programs meet them again.
#[derive(Clone, Copy, Arbitrary, Debug)]
struct Key(u8);

/// Token of a program: the beginning of a sequence, plus a number of tokens.
#[derive(Clone, Copy, Arbitrary, Debug)]
struct Place {
    piece: u8,
    inside: bool,
}

/// Features that programs have reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// Programs with a literal before `add`, `nand`, `jump`, `heap_get`, `heap_get jump`,
    /// `heap_get heap_get jump` and `heap_set`, and with the increase of a key, that ended with a
    /// value or at the limit of the meter.
    pub sequences: [usize; 8],
    /// Programs that ended with a value.
    pub values: usize,
    /// Slices.
    pub slices: usize,
}

/// Tokens of a program, and the number of its sequences by kind.
struct Code {
    tokens: Vec<Vec<u8>>,
    sequences: [usize; 8],
}

impl Key {
    /// Returns the key. Most are short; one has more bytes than a word holds itself.
    fn token(self) -> Vec<u8> {
        match self.0 % 6 {
            5 => vec![0x6b; 20],
            number => vec![0x40 + number],
        }
    }
}

impl Literal<'_> {
    fn token(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

fn atoms() -> [Atom; 3] {
    [
        Atom::bytes(*b"some bytes of data, more than 32 of them"),
        Atom::symbol("name"),
        Atom::list(AtomId::new([7; 32]), AtomId::ZERO),
    ]
}

/// Returns the tokens of the pieces. Places are resolved to the indices of tokens.
fn code(pieces: &[Piece<'_>]) -> Code {
    let starts: Vec<usize> = pieces
        .iter()
        .scan(0, |end, piece| {
            let start = *end;
            *end += len(piece);
            Some(start)
        })
        .collect();
    let place = |place: Place| {
        let piece = usize::from(place.piece).checked_rem(starts.len());
        let start = piece.and_then(|piece| starts.get(piece)).copied();
        let index = start.unwrap_or_default() + usize::from(place.inside);
        // No program has more than 2^15 tokens.
        let [.., high, low] = index.to_be_bytes();
        if high == 0 && low < 0x80 {
            vec![low]
        } else {
            vec![high, low]
        }
    };
    let op = |name: &str| name.as_bytes().to_vec();
    let mut code = Code {
        tokens: Vec::new(),
        sequences: [0; 8],
    };
    for piece in pieces {
        let (sequence, tokens) = match *piece {
            Piece::Push(literal) => (None, vec![literal.token()]),
            Piece::Add(literal) => (Some(0), vec![literal.token(), op("add")]),
            Piece::Nand(literal) => (Some(1), vec![literal.token(), op("nand")]),
            Piece::Jump(target) => (Some(2), vec![place(target), op("jump")]),
            Piece::Get(key) => (Some(3), vec![key.token(), op("heap_get")]),
            Piece::JumpFrom(key) => (Some(4), vec![key.token(), op("heap_get"), op("jump")]),
            Piece::JumpThrough(key) => (
                Some(5),
                vec![key.token(), op("heap_get"), op("heap_get"), op("jump")],
            ),
            Piece::Set(key, literal) => {
                (Some(6), vec![key.token(), literal.token(), op("heap_set")])
            }
            Piece::SetPlace(key, target) => {
                (Some(6), vec![key.token(), place(target), op("heap_set")])
            }
            Piece::SetKey(key, other) => {
                (Some(6), vec![key.token(), other.token(), op("heap_set")])
            }
            Piece::Increase(key, literal) => (Some(7), increase(key, literal.token())),
            Piece::Loop(key, target) => {
                let tokens = increase(key, vec![1]).into_iter();
                (Some(7), tokens.chain([place(target), op("jump")]).collect())
            }
            Piece::Opcode(number) => {
                let name = OPCODES.get(usize::from(number) % OPCODES.len());
                (None, vec![op(name.copied().unwrap_or_default())])
            }
            Piece::Atom(number) => {
                let atoms = atoms();
                let atom = atoms.get(usize::from(number) % atoms.len());
                let id = atom.map(Atom::id).unwrap_or_default();
                (None, vec![id.as_ref().to_vec()])
            }
        };
        if let Some(count) = sequence.and_then(|at: usize| code.sequences.get_mut(at)) {
            *count += 1;
        }
        code.tokens.extend(tokens);
    }
    code
}

fn increase(key: Key, literal: Vec<u8>) -> Vec<Vec<u8>> {
    let op = |name: &str| name.as_bytes().to_vec();
    let key = key.token();
    vec![
        key.clone(),
        key,
        op("heap_get"),
        literal,
        op("add"),
        op("heap_set"),
    ]
}

/// Returns the number of tokens of a piece.
const fn len(piece: &Piece<'_>) -> usize {
    match piece {
        Piece::Push(_) | Piece::Opcode(_) | Piece::Atom(_) => 1,
        Piece::Add(_) | Piece::Nand(_) | Piece::Jump(_) | Piece::Get(_) => 2,
        Piece::JumpFrom(_) | Piece::Set(..) | Piece::SetPlace(..) | Piece::SetKey(..) => 3,
        Piece::JumpThrough(_) => 4,
        Piece::Increase(..) => 6,
        Piece::Loop(..) => 8,
    }
}

/// Runs the program that the bytes encode.
pub fn run(data: &[u8]) {
    let _ = reached(data);
}

/// Does the same as [`run`], and returns what the program has.
///
/// # Panics
/// Panics if a promise is broken.
#[must_use]
pub fn reached(data: &[u8]) -> Reached {
    let mut input = Unstructured::new(data);
    let limit = u64::from(input.arbitrary().unwrap_or(255_u8)) * 8;
    let slice = u64::from(input.arbitrary().unwrap_or(7_u8) % 64) + 1;
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    while pieces.len() < MAX_PIECES
        && !input.is_empty()
        && let Ok(piece) = input.arbitrary()
    {
        pieces.push(piece);
    }
    let Code { tokens, sequences } = code(&pieces);
    super::count_operations(tokens.len());
    let store: MemoryStore = atoms().into_iter().collect();
    let (mut expected_store, mut meter) = (store.clone(), Meter::new(Some(limit)));
    let expected = stack::run(&tokens, &mut expected_store, &mut meter);

    let program: Vec<Bytes> = tokens.iter().map(|token| Bytes::new(token)).collect();
    let program = Program::new(&program);
    let mut machine = Machine::new(store.clone());
    machine.set_meter_limit(Some(limit));
    let at_once = machine.run_program(&program, &[]);
    assert_eq!(*at_once.value(), expected, "the value of {pieces:?}");
    assert_eq!(at_once.used(), meter.used(), "the charge of {pieces:?}");

    let (sliced, slices) = run_in_slices(&program, store, limit, slice);
    assert_eq!(*sliced.value(), expected, "the value in slices, {pieces:?}");
    assert_eq!(
        sliced.used(),
        meter.used(),
        "the charge in slices, {pieces:?}"
    );
    assert_eq!(
        sliced.steps(),
        at_once.steps(),
        "the steps in slices, {pieces:?}"
    );
    let is_value = matches!(expected, Expr::Bytes(_));
    let has_run = is_value || expected == Expr::error("low_eval", "meter limit");
    Reached {
        sequences: sequences.map(|count| usize::from(has_run && count > 0)),
        values: usize::from(is_value),
        slices,
    }
}

/// Runs a program in slices of this many steps; each slice in another machine, which restores the
/// state that the one before has encoded. Returns the number of slices too.
fn run_in_slices(
    program: &Program,
    store: MemoryStore,
    limit: u64,
    slice: u64,
) -> (Evaluation, usize) {
    let machine = |store: MemoryStore| {
        let mut machine = Machine::new(store);
        machine.set_meter_limit(Some(limit));
        machine.set_slice(Some(slice));
        machine
    };
    let (mut current, mut env) = (machine(store), Env::new());
    let task = Task::Program {
        program,
        arguments: &[],
    };
    let mut progress = current.start(task, &mut env);
    let mut slices = 1;
    loop {
        let mut suspended = match progress {
            Progress::Done(evaluation) => return (evaluation, slices),
            Progress::Suspended(suspended) => suspended,
        };
        slices += 1;
        // Beyond the first slices it continues in place: each program would take a second machine
        // per step otherwise.
        if slices <= 4 {
            let bytes = suspended.to_bytes(&env);
            current = machine(current.into_store());
            (suspended, env) = current
                .restore(&bytes)
                .unwrap_or_else(|error| panic!("its own state does not restore: {error}"));
        }
        if !matches!(suspended.reason(), Reason::Slice) {
            suspended.refuse();
        }
        progress = current.resume(suspended, &mut env);
    }
}
