//! Errors of a program.

use core::fmt;

/// Kind of an error that evaluation raises; determines topic and message of the error value.
///
/// ```
/// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, ErrorKind, Machine}};
/// let evaluation = Machine::new(NoStore).eval_source("(1 ((add) sk))", &mut Env::new());
/// assert_eq!(evaluation.failures()[0].kind(), ErrorKind::Underflow);
/// let error = Expr::error(ErrorKind::Underflow.topic(), ErrorKind::Underflow.message());
/// assert_eq!(*evaluation.value(), error);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A symbol is not bound; the message of the error value contains its name.
    UnboundSymbol,
    /// A `def` has no value or no name.
    DefinitionShape,
    /// The name of a `def` is not a symbol.
    DefinitionName,
    /// The body of a function is not a list.
    FunctionBody,
    /// The parameters of a function are not a list.
    FunctionParameters,
    /// A parameter is not a symbol.
    FunctionParameter,
    /// The body of a stack program is not a list.
    StackBody,
    /// A call has too many or too few arguments.
    Arity,
    /// A `$` in a stack program is not followed by a number.
    Placeholder,
    /// The index of a `$n` in a stack program is beyond the last argument.
    PlaceholderArity,
    /// A `ref` does not have exactly one id.
    ReferenceShape,
    /// The target of a `ref` is not a list of readable atoms.
    ReferenceTarget,
    /// An argument of a function is not bytes.
    FunctionArgument,
    /// An argument of a stack program is neither bytes nor a list.
    StackArgument,
    /// A list as an argument of a stack program contains something other than bytes.
    ByteList,
    /// A definition or parameter has the name of a host function.
    HostName,
    /// A call from the host targets neither a special form nor the name of one.
    NotCallable,
    /// An opcode has too few values on the stack.
    Underflow,
    /// A stack program did not leave exactly one value.
    BadStack,
    /// The target of a jump is not the index of a token.
    BadJump,
    /// A slice has a negative start or length.
    BadSlice,
    /// The operands of a link are not two ids.
    BadLink,
    /// A load has a negative start or length.
    BadLoad,
    /// A load of more than 32 bytes.
    LoadTooWide,
    /// An atom kind is not one byte.
    BadAtomKind,
    /// An atom kind is unknown.
    UnknownAtomKind,
    /// The store does not have the atom, or the operand is not an id.
    UnknownAtom,
    /// The meter refused a charge.
    MeterLimit,
}

impl ErrorKind {
    /// Returns the topic of the error value: `eval` or, for the stack machine, `low_eval`.
    #[must_use]
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Underflow
            | Self::BadStack
            | Self::BadJump
            | Self::BadSlice
            | Self::BadLink
            | Self::BadLoad
            | Self::LoadTooWide
            | Self::BadAtomKind
            | Self::UnknownAtomKind
            | Self::UnknownAtom
            | Self::MeterLimit => "low_eval",
            _ => "eval",
        }
    }

    /// Returns the message of the error value; for an unbound symbol without its name.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::UnboundSymbol => "unbound symbol",
            Self::DefinitionShape => "def expects (value name def)",
            Self::DefinitionName => "def name must be symbol",
            Self::FunctionBody => "fn body must be list",
            Self::FunctionParameters => "fn params must be list",
            Self::FunctionParameter => "fn param must be symbol",
            Self::StackBody => "sk body must be list",
            Self::Arity => "arity mismatch",
            Self::Placeholder => "invalid sk placeholder",
            Self::PlaceholderArity => "arity mismatch in sk placeholder",
            Self::ReferenceShape => "ref expects (atom_id ref)",
            Self::ReferenceTarget => "ref target not found",
            Self::FunctionArgument => "argument must resolve to Bytes",
            Self::StackArgument => "argument must resolve to Bytes or (Bytes ...)",
            Self::ByteList => "byte list must contain only Bytes elements",
            Self::HostName => "name of a host function cannot be bound",
            Self::NotCallable => "not a form",
            Self::Underflow => "underflow",
            Self::BadStack => "bad stack",
            Self::BadJump => "bad jump",
            Self::BadSlice => "bad slice",
            Self::BadLink => "bad link",
            Self::BadLoad => "bad load",
            Self::LoadTooWide => "load too wide",
            Self::BadAtomKind => "bad atom kind",
            Self::UnknownAtomKind => "unknown atom kind",
            Self::UnknownAtom => "unknown atom",
            Self::MeterLimit => "meter limit",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}
