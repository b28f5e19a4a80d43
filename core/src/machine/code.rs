//! What expressions are compiled to: operations on the evaluator's stack of values.
//!
//! The language is postfix, so the code of a list is the code of its items, one after the other,
//! and an operation that takes their values. All code stands in one vector; a [`Block`] is a piece
//! of it that is entered by a call and ends with [`Op::Return`].

use super::program::{Program, Token};
use crate::expr::List;
use alloc::vec::Vec;

/// An operation of the evaluator.
///
/// `count` is how many values the operation's call has on the stack, `end` where the code goes on
/// when the call has its value before it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// Pushes a constant.
    Constant(usize),
    /// Pushes what the name is bound to.
    Load(usize),
    /// Makes a list of the topmost values.
    Collect(usize),
    /// Binds a name to the topmost value, which stays, unless it is an error.
    Define(usize),
    /// Pushes the chain of atoms whose id is this constant.
    Follow(usize),
    /// The topmost value is an argument of a function.
    FunctionArgument { count: usize, end: usize },
    /// The topmost value is an argument of a stack program.
    StackArgument { count: usize, end: usize },
    /// The call's value is this constant.
    Fail {
        count: usize,
        constant: usize,
        end: usize,
    },
    /// Calls a function with the topmost values.
    Call { block: usize, count: usize },
    /// Runs a stack program with the topmost values.
    Run { template: usize, count: usize },
    /// A list starts whose tail is this name: a call if the name is bound to a form.
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

/// What a block is the code of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
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
    pub(super) fault: Option<&'static str>,
    /// Where its code is, if it is compiled.
    pub(super) code: Option<Span>,
}

/// A piece of code.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) len: usize,
    /// How many values it has on the stack at most.
    pub(super) height: usize,
}

/// The body of a stack program; its arguments come later.
pub(super) struct Template {
    pub(super) program: Program,
    /// What it was made of, for arguments that turn out to be opcodes.
    pub(super) tokens: Vec<Token>,
}
