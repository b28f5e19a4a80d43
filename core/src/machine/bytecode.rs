//! What expressions are compiled to: operations on the evaluator's stack of values.
//!
//! The language is postfix, so the code of a list is the code of its items, one after the other,
//! and an operation that takes their values. All code stands in one vector; a [`Block`] is a piece
//! of it that is entered by a call and ends with [`Op::Return`].

use super::error::ErrorKind;
use super::weight::Weight;
use crate::expr::List;
use alloc::vec::Vec;

/// An operation of the evaluator.
///
/// `count` is the number of values that the operation's call has on the stack, `end` where the
/// code goes on if the call has its value before it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// Pushes a constant.
    Constant(usize),
    /// Pushes an error.
    Error(ErrorKind),
    /// Pushes what the symbol is bound to.
    Load(usize),
    /// Makes a list of the topmost values.
    Collect(usize),
    /// Binds a symbol to the topmost value, which stays, unless it is an error.
    Define(usize),
    /// Pushes the list of atoms whose id is this constant.
    Follow(usize),
    /// The topmost value is an argument of a function.
    FunctionArgument { count: usize, end: usize },
    /// The topmost value is an argument of a stack program.
    StackArgument { count: usize, end: usize },
    /// The topmost value is an argument of a host function.
    HostArgument { count: usize, end: usize },
    /// The call's value is this error.
    Fail {
        count: usize,
        kind: ErrorKind,
        end: usize,
    },
    /// Calls a function with the topmost values.
    Call { block: usize, count: usize },
    /// Runs a stack program with the topmost values.
    Run { program: usize, count: usize },
    /// Calls the host function with this symbol with the topmost values.
    Host { slot: usize, count: usize },
    /// A list starts whose tail is this symbol: a call if the symbol is bound to a form.
    OpenTail {
        slot: usize,
        count: usize,
        end: usize,
    },
    /// The topmost value is an item of such a list.
    TailItem { count: usize, end: usize },
    /// The list is complete but for its tail.
    CloseTail { slot: usize, count: usize },
    /// The block's value is on top.
    Return,
}

impl Op {
    pub(super) const fn end_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::FunctionArgument { end, .. }
            | Self::StackArgument { end, .. }
            | Self::HostArgument { end, .. }
            | Self::Fail { end, .. }
            | Self::OpenTail { end, .. }
            | Self::TailItem { end, .. } => Some(end),
            _ => None,
        }
    }

    /// How many values it takes from the stack, and how many it puts there.
    pub(super) const fn effect(&self) -> (usize, usize) {
        match *self {
            Self::Constant(_) | Self::Error(_) | Self::Load(_) | Self::Follow(_) => (0, 1),
            Self::Collect(count)
            | Self::Call { count, .. }
            | Self::Run { count, .. }
            | Self::Host { count, .. }
            | Self::Fail { count, .. }
            | Self::CloseTail { count, .. } => (count, 1),
            _ => (0, 0),
        }
    }
}

/// What a block is the code of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum BlockKind {
    /// A list that is evaluated by itself.
    List,
    /// A function, `(body params fn)`.
    Function,
    /// A stack program, `(body sk)`, called with this many arguments.
    Stack(usize),
}

/// A list as code.
pub(super) struct Block {
    pub(super) kind: BlockKind,
    /// The list. It is kept because blocks are found by where their list is in memory.
    pub(super) list: List,
    /// The slots of a function's parameters.
    pub(super) params: Vec<usize>,
    /// Why calling it is an error whatever the arguments are.
    pub(super) fault: Option<ErrorKind>,
    /// Where its code is, if it is compiled.
    pub(super) code: Option<Span>,
    /// What the list takes, if that was looked at.
    pub(super) weight: Option<Weight>,
    /// The block of all forms that equal this one, if that was looked for.
    pub(super) same: Option<usize>,
    /// The evaluation that counted it last.
    pub(super) counted: u64,
}

/// A piece of code.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) len: usize,
    /// How many values it has on the stack at most.
    pub(super) height: usize,
}
