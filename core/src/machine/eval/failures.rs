//! Errors of the evaluator, with their places.

use super::{END, Evaluator};
use crate::expr::{Expr, Symbol};
use crate::machine::bytecode::{BlockKind, Op};
use crate::machine::error::ErrorKind;
use crate::machine::exec_context::{Session, Stop, Store};
use crate::machine::failure::{Failure, Frame, MAX_RECORDED_FRAMES, StackPosition};
use crate::machine::weight::ERROR_BYTES;
use alloc::format;
use alloc::vec::Vec;

impl Evaluator {
    /// Creates an error of the evaluator.
    #[cold]
    pub(super) fn fail<S: Store>(
        &mut self,
        kind: ErrorKind,
        session: &mut Session<'_, S>,
    ) -> Result<Expr, Stop> {
        self.allocate(ERROR_BYTES, session.account)?;
        session
            .account
            .failures
            .add(|| self.failure(kind, None, false, None));
        Ok(Expr::error(kind.topic(), kind.message()))
    }

    /// Creates the error of an unbound symbol; it contains the name, however long that is.
    #[cold]
    pub(super) fn unbound<S: Store>(
        &mut self,
        name: &Symbol,
        is_call: bool,
        session: &mut Session<'_, S>,
    ) -> Result<Expr, Stop> {
        let bytes = ERROR_BYTES.saturating_add((name.len() as u64).saturating_mul(2));
        self.allocate(bytes, session.account)?;
        let kind = ErrorKind::UnboundSymbol;
        session
            .account
            .failures
            .add(|| self.failure(kind, Some(name.clone()), is_call, None));
        let message = format!("{kind} '{}'", name.as_str());
        Ok(Expr::error(kind.topic(), &message))
    }

    /// Creates a failure with the open calls.
    pub(in crate::machine) fn failure(
        &self,
        kind: ErrorKind,
        symbol: Option<Symbol>,
        is_call: bool,
        stack: Option<StackPosition>,
    ) -> Failure {
        let mut frames = Vec::new();
        let mut at = self.at;
        let mut callers = self.frames.iter().rev();
        loop {
            let caller = callers.next();
            let place = self.library.block_at(at).and_then(|(block, op)| {
                let block = self.library.blocks.get(block)?;
                Some((Expr::List(block.list.clone()), block.kind, op))
            });
            let place = place.or_else(|| Some((self.current.clone()?, BlockKind::List, 0)));
            if let Some((code, kind, op)) = place {
                let calling = caller.map(|caller| caller.back.wrapping_sub(1));
                frames.push(Frame {
                    code,
                    kind,
                    op,
                    hosts: self.library.hosts.clone(),
                    name: calling.and_then(|at| self.called_name(at)),
                });
            }
            match caller {
                Some(caller) if caller.back != END && frames.len() < MAX_RECORDED_FRAMES => {
                    at = caller.back.wrapping_sub(1);
                }
                _ => break,
            }
        }
        Failure {
            kind,
            symbol,
            is_call,
            stack,
            frames,
            more_frames: callers.len() as u64,
        }
    }

    /// Returns the name that the operation at `at` calls.
    pub(super) fn called_name(&self, at: usize) -> Option<Symbol> {
        match self.library.ops.get(at) {
            Some(Op::CloseTail { slot, .. }) => self.library.symbols.symbol(*slot).cloned(),
            Some(_) => None,
            // The host called.
            None => match &self.current {
                Some(Expr::Symbol(name)) => Some(name.clone()),
                _ => None,
            },
        }
    }
}
