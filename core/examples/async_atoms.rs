//! Asynchronous host: an evaluation that meets a missing atom is suspended, the host awaits the
//! atom, and the evaluation continues exactly there.
//!
//! ```text
//! cargo run -p astreum-core --example async_atoms
//! ```

use astreum_core::atom::{Atom, AtomId, MemoryStore, bytes_list};
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Evaluation, Machine, Progress, Reason};
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::collections::BTreeMap;

/// Remote store: each lookup takes time, which any async runtime could use otherwise.
struct Remote(BTreeMap<AtomId, Atom>);

impl Remote {
    async fn fetch(&self, id: AtomId) -> Option<Atom> {
        self.0.get(&id).cloned()
    }
}

/// Evaluates `expr`, and fetches each atom that it needs once.
async fn eval(remote: &Remote, expr: &Expr, fetched: &mut usize) -> Evaluation {
    let mut machine = Machine::new(MemoryStore::new());
    let mut env = Env::new();
    let mut progress = machine.start(expr, &mut env);
    loop {
        let mut suspended = match progress {
            Progress::Done(evaluation) => return evaluation,
            Progress::Suspended(suspended) => suspended,
        };
        match *suspended.reason() {
            Reason::Missing(missing) => match remote.fetch(missing.id).await {
                Some(atom) => {
                    *fetched += 1;
                    machine.store_mut().insert(atom);
                }
                // The program gets an error value in place of the atom.
                None => suspended.refuse(),
            },
            _ => suspended.refuse(),
        }
        progress = machine.resume(suspended, &mut env);
    }
}

/// Minimal executor; use that of your runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

pub(crate) fn main() {
    // The remote store has a list of three values.
    let (id, atoms) = bytes_list(&["one", "two", "three"]);
    let remote = Remote(atoms.into_iter().map(|atom| (atom.id(), atom)).collect());
    let program = Expr::list([Expr::bytes(id.as_bytes()), Expr::symbol("ref")]);
    let mut fetched = 0;
    let evaluation = block_on(eval(&remote, &program, &mut fetched));
    println!("{} after {fetched} fetches", evaluation.value());
    assert_eq!(evaluation.value().as_list().map(<[Expr]>::len), Some(3));
    assert_eq!(fetched, 3);
    // An atom that is not available anywhere is an error of the program.
    let absent = Expr::list([Expr::bytes([7; 32]), Expr::symbol("ref")]);
    let evaluation = block_on(eval(&remote, &absent, &mut fetched));
    println!("{}", evaluation.value());
    assert!(evaluation.value().is_error());
}
