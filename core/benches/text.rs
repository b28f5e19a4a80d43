//! Benchmarks of text and expressions: tokens, parsing and printing in bytes per second, ids and
//! atom forms in atoms per second. Each runs over about 1 MiB of source.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot prepare its input has no result"
)]

use astreum_core::atom::{Atom, AtomId, AtomSink, MemoryStore};
use astreum_core::expr::Expr;
use astreum_core::text::{Parser, Tokens};
use core::convert::Infallible;
use core::fmt::Write as _;
use core::hint::black_box;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

fn main() {
    divan::main();
}

/// Approximate length of the sources, in bytes; exact to a line.
const SOURCE_BYTES: usize = 1 << 20;

/// Returns a typical program: short names, small numbers, nesting, occasional comments.
fn program() -> String {
    let mut source = String::from("(");
    for line in 0.. {
        if source.len() > SOURCE_BYTES {
            break;
        }
        match line % 8 {
            0 => writeln!(source, "; step {line}: adds what the step before left"),
            1 => writeln!(source, "  (((a b (($0 $1 add) sk)) (a b) fn) int.add def)"),
            2 => writeln!(source, "  (\"note {line}\\n\" message.{line} def)"),
            _ => writeln!(
                source,
                "  ({line} -{line} (1 2 int.add) (x (y.{line} z)) set)"
            ),
        }
        .unwrap();
    }
    source.push(')');
    source
}

/// Returns comments and strings: text with few tokens.
fn prose() -> String {
    let line =
        "; the quick brown fox (jumps) over the lazy dog\n\"and comes back again, at once\"\n";
    line.repeat(SOURCE_BYTES / line.len())
}

/// Returns wide integers.
fn integers() -> String {
    let line = "-170141183460469231731687303715884105728 115792089237316195423570985008687907853\n";
    line.repeat(SOURCE_BYTES / line.len())
}

const SOURCES: [&str; 3] = ["program", "prose", "integers"];

fn source(name: &str) -> String {
    match name {
        "program" => program(),
        "prose" => prose(),
        _ => integers(),
    }
}

fn expressions(name: &str) -> Expr {
    Expr::list(
        Parser::new(&source(name))
            .collect::<Result<Vec<_>, _>>()
            .unwrap(),
    )
}

#[divan::bench(args = SOURCES)]
fn tokenize(bencher: Bencher<'_, '_>, name: &str) {
    let source = source(name);
    bencher.counter(BytesCount::of_str(&source)).bench(|| {
        Tokens::new(black_box(&source))
            .filter(Result::is_ok)
            .count()
    });
}

#[divan::bench(args = SOURCES)]
fn parse(bencher: Bencher<'_, '_>, name: &str) {
    let source = source(name);
    bencher
        .counter(BytesCount::of_str(&source))
        .bench(|| Parser::new(black_box(&source)).collect::<Result<Vec<_>, _>>());
}

#[divan::bench(args = SOURCES)]
fn print(bencher: Bencher<'_, '_>, name: &str) {
    let expr = expressions(name);
    let mut text = String::new();
    write!(text, "{expr:#}").unwrap();
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| {
        text.clear();
        write!(text, "{:#}", black_box(&expr))
    });
}

#[divan::bench(sample_count = 20)]
fn ids(bencher: Bencher<'_, '_>) {
    let expr = expressions("program");
    bencher
        .counter(ItemsCount::new(expr.atom_count()))
        .bench(|| black_box(&expr).id());
}

/// Sink that drops every atom.
struct NullSink;

impl AtomSink for NullSink {
    type Error = Infallible;

    fn put(&mut self, _: AtomId, atom: Atom) -> Result<(), Infallible> {
        black_box(atom);
        Ok(())
    }
}

#[divan::bench(sample_count = 20)]
fn write_atoms(bencher: Bencher<'_, '_>) {
    let expr = expressions("program");
    bencher
        .counter(ItemsCount::new(expr.atom_count()))
        .bench(|| black_box(&expr).write_atoms(&mut NullSink));
}

#[divan::bench(sample_count = 20)]
fn from_atoms(bencher: Bencher<'_, '_>) {
    let expr = expressions("program");
    let mut store = MemoryStore::new();
    let Ok(id) = expr.write_atoms(&mut store);
    bencher
        .counter(ItemsCount::new(expr.atom_count()))
        .bench(|| Expr::from_atoms(&store, black_box(&id), usize::MAX));
}
