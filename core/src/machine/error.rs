//! Errors that a program can run into.

use core::fmt;

/// Kind of an error that evaluation makes: topic and message of the error value, as data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A symbol is not bound; the message of the error value names it.
    UnboundSymbol,
    /// A `def` without a value and a name.
    DefinitionShape,
    /// A `def` whose name is not a symbol.
    DefinitionName,
    /// A function whose body is not a list.
    FunctionBody,
    /// A function whose parameters are not a list.
    FunctionParameters,
    /// A parameter that is not a symbol.
    FunctionParameter,
    /// A stack program that is not a list.
    StackBody,
    /// A call with too many or too few arguments.
    Arity,
    /// `$` without a number in a stack program.
    Placeholder,
    /// `$n` in a stack program without so many arguments.
    PlaceholderArity,
    /// A `ref` without exactly one id.
    ReferenceShape,
    /// A `ref` to what is not a list of readable atoms.
    ReferenceTarget,
    /// An argument of a function that is not bytes.
    FunctionArgument,
    /// An argument of a stack program that is neither bytes nor a list.
    StackArgument,
    /// A list as argument of a stack program that holds something other than bytes.
    ByteList,
    /// A definition or parameter with the name of a host function.
    HostName,
    /// A call from the host of what is neither a form nor the name of one.
    NotCallable,
    /// An opcode with too few values on the stack.
    Underflow,
    /// A stack program that did not leave exactly one value.
    BadStack,
    /// A jump to what is not the index of a token.
    BadJump,
    /// A slice with a negative start or length.
    BadSlice,
    /// A link of what is not two ids.
    BadLink,
    /// A load with a negative start or length.
    BadLoad,
    /// A load of more than 32 bytes.
    LoadTooWide,
    /// An atom kind that is not one byte.
    BadAtomKind,
    /// An atom kind that does not exist.
    UnknownAtomKind,
    /// An id whose atom the store does not have, or that is not an id.
    UnknownAtom,
    /// A charge that the meter refused.
    MeterLimit,
}

impl ErrorKind {
    /// The topic of the error value: `eval` or, from the stack machine, `low_eval`.
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

    /// The message of the error value; of an unbound symbol without its name.
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
