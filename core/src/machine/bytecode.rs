//! Bytecode of the evaluator: operations on its value stack.
//!
//! The language is postfix, so the code of a list is the code of its items in order, followed by an
//! operation that takes their values. All code is in one vector. A [`Block`] is a range of it that
//! is entered by a call and ends with [`Op::Return`].

use super::error::ErrorKind;
use super::weight::Weight;
use crate::expr::List;
use alloc::vec::Vec;

/// Operation of the evaluator.
///
/// `count` is the number of values of the operation's call on the stack. `end` is the position at
/// which the code continues if the call gets its value early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// Pushes a constant.
    Constant(usize),
    /// Pushes an error.
    Error(ErrorKind),
    /// Pushes the value that the symbol is bound to.
    Load(usize),
    /// Creates a list from the topmost values.
    Collect(usize),
    /// Binds a symbol to the topmost value, which stays on the stack, unless it is an error.
    Define(usize),
    /// Pushes the list of atoms whose id is this constant.
    Follow(usize),
    /// Checks the topmost value as an argument of a function.
    FunctionArgument { count: usize, end: usize },
    /// Checks the topmost value as an argument of a stack program.
    StackArgument { count: usize, end: usize },
    /// Checks the topmost value as an argument of a host function.
    HostArgument { count: usize, end: usize },
    /// Replaces the call with this error.
    Fail {
        count: usize,
        kind: ErrorKind,
        end: usize,
    },
    /// Calls a function with the topmost values.
    Call { block: usize, count: usize },
    /// Runs a stack program with the topmost values.
    Run { program: usize, count: usize },
    /// Calls the host function of this symbol with the topmost values.
    Host { slot: usize, count: usize },
    /// Starts a list whose tail is this symbol; it is a call if the symbol is bound to a special
    /// form.
    OpenTail {
        slot: usize,
        count: usize,
        end: usize,
    },
    /// Checks the topmost value as an item of such a list.
    TailItem { count: usize, end: usize },
    /// Finishes such a list after the items before its tail: calls the special form, or evaluates
    /// the tail and creates the list.
    CloseTail { slot: usize, count: usize },
    /// Returns from the block; its value is on top.
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

    /// Returns how many values the operation takes from the stack, and how many it pushes.
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

/// Kind of the list from which a block is compiled.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum BlockKind {
    /// List that is evaluated by itself.
    List,
    /// Function, `(body params fn)`.
    Function,
    /// Stack program, `(body sk)`, called with this many arguments.
    Stack(usize),
}

/// Compiled form of a list.
pub(super) struct Block {
    pub(super) kind: BlockKind,
    /// The list. It is kept alive because blocks are found by the address of their list.
    pub(super) list: List,
    /// Slots of a function's parameters.
    pub(super) params: Vec<usize>,
    /// Error of every call, regardless of the arguments.
    pub(super) fault: Option<ErrorKind>,
    /// Range of its code, if it is compiled.
    pub(super) code: Option<Span>,
    /// Weight of the list, if it is computed.
    pub(super) weight: Option<Weight>,
    /// Block of all special forms equal to this one, if it is determined.
    pub(super) same: Option<usize>,
    /// Number of the last evaluation that counted it.
    pub(super) counted: u64,
}

/// Range of code.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) len: usize,
    /// Maximum number of its values on the stack.
    pub(super) height: usize,
}

/// Error for code that exceeds the allowed length.
#[derive(Debug)]
pub(super) struct TooLong;
