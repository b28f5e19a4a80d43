//! Sources: tokens, expressions, scripts, and parse errors.

use crate::error::{AstreumStatus, Result, guard};
use crate::handle::{self, Kind, SharedKind};
use crate::memory::{AstreumSlice, Out, Sized64, text, write_sized};
use crate::value::AstreumValue;
use alloc::borrow::ToOwned as _;
use alloc::sync::Arc;
use alloc::vec::Vec;
use astreum_core::text::{self as core_text, ParseError, ParseErrorKind, Parser, TokenKind};
use core::mem::size_of;

/// Kind of a parse error.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AstreumParseErrorKind {
    /// No parse error.
    None = 0,
    /// The closing quote of a string is missing; the error is at the opening quote.
    UnterminatedString = 1,
    /// Malformed escape in a string.
    BadEscape = 2,
    /// A `)` without a matching `(`.
    UnexpectedClose = 3,
    /// The source ends inside a list; the error is at the end of the source.
    ExpectedClose = 4,
    /// The source ends before an expression.
    UnexpectedEnd = 5,
    /// Tokens follow the one expression.
    TrailingTokens = 6,
}

/// Parse error with its position. `size` is set by the caller.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AstreumParseError {
    /// `sizeof(AstreumParseError)`, set by the caller.
    pub size: u64,
    /// Kind of the error.
    pub kind: AstreumParseErrorKind,
    /// Whether more source text could complete the expression.
    pub is_incomplete: bool,
    /// Whether `open_offset`, `open_line` and `open_column` are set: to the innermost `(` that is not
    /// closed.
    pub has_open: bool,
    /// Offset of the error in the source, in bytes.
    pub offset: u64,
    /// Line of the error, starting at 1.
    pub line: u64,
    /// Column of the error, starting at 1, in characters.
    pub column: u64,
    /// Offset of the `(`.
    pub open_offset: u64,
    /// Line of the `(`.
    pub open_line: u64,
    /// Column of the `(`.
    pub open_column: u64,
    /// Message, which is never freed.
    pub message: AstreumSlice,
}

// SAFETY: the struct is `repr(C)`, starts with a `u64`, and consists of plain data.
unsafe impl Sized64 for AstreumParseError {
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// Converts a length or offset, which has at most 64 bits on every target.
pub(crate) const fn wide(number: usize) -> u64 {
    number as u64
}

impl AstreumParseError {
    pub(crate) fn new(error: &ParseError) -> Self {
        let kind = match error.kind {
            ParseErrorKind::UnterminatedString => AstreumParseErrorKind::UnterminatedString,
            ParseErrorKind::BadEscape => AstreumParseErrorKind::BadEscape,
            ParseErrorKind::UnexpectedClose => AstreumParseErrorKind::UnexpectedClose,
            ParseErrorKind::ExpectedClose => AstreumParseErrorKind::ExpectedClose,
            ParseErrorKind::UnexpectedEnd => AstreumParseErrorKind::UnexpectedEnd,
            ParseErrorKind::TrailingTokens => AstreumParseErrorKind::TrailingTokens,
        };
        let open = error.open.unwrap_or(error.at);
        Self {
            size: wide(size_of::<Self>()),
            kind,
            is_incomplete: error.is_incomplete(),
            has_open: error.open.is_some(),
            offset: wide(error.at.offset),
            line: wide(error.at.line),
            column: wide(error.at.column),
            open_offset: wide(open.offset),
            open_line: wide(open.line),
            open_column: wide(open.column),
            message: AstreumSlice::new(error.kind.message().as_bytes()),
        }
    }
}

/// Converts a parse error to a status, and writes the details if there is a place for them.
///
/// # Safety
/// The contract of the crate.
unsafe fn failed(error: &ParseError, place: *mut AstreumParseError) -> AstreumStatus {
    if place.is_null() {
        return AstreumStatus::ParseError;
    }
    // SAFETY: as the caller promises.
    match unsafe { write_sized(place, &AstreumParseError::new(error)) } {
        Ok(()) => AstreumStatus::ParseError,
        Err(status) => status,
    }
}

/// Parses a source of exactly one expression. Writes the details of a parse error to `error` unless
/// that is null. The caller frees the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_parse(
    source: *const u8,
    source_len: usize,
    value: *mut *mut AstreumValue,
    error: *mut AstreumParseError,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, source) = unsafe { (Out::handle(value)?, text(source, source_len)?) };
        // SAFETY: the contract of the crate.
        let expr = core_text::parse(source).map_err(|it| unsafe { failed(&it, error) })?;
        out.set(handle::create(expr));
        Ok(())
    })
}

/// Parses the first expression of a source and returns the offset of its end; the text after it is
/// not read. Returns `ASTREUM_STATUS_NOT_FOUND` if there is no expression. Writes the details of a
/// parse error to `error` unless that is null. The caller frees the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_value_parse_first(
    source: *const u8,
    source_len: usize,
    value: *mut *mut AstreumValue,
    end: *mut usize,
    error: *mut AstreumParseError,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, end, source) = unsafe {
            (
                Out::handle(value)?,
                Out::new(end)?,
                text(source, source_len)?,
            )
        };
        let mut parser = Parser::new(source);
        let expr = parser.next().ok_or(AstreumStatus::NotFound)?;
        // SAFETY: the contract of the crate.
        let expr = expr.map_err(|it| unsafe { failed(&it, error) })?;
        out.set(handle::create(expr));
        end.set(parser.span().end);
        Ok(())
    })
}

/// Type of a token.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AstreumTokenType {
    /// `(`
    Open = 0,
    /// `)`
    Close = 1,
    /// A string including its quotes.
    String = 2,
    /// An integer or a symbol.
    Atom = 3,
}

/// Token: a part of a source.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AstreumToken {
    /// Type of the token.
    pub token_type: AstreumTokenType,
    /// Offset of its start in the source, in bytes.
    pub start: usize,
    /// Offset of its end in the source, in bytes.
    pub end: usize,
}

/// Tokens of a source. They never change, and any thread may read them.
pub struct AstreumTokens {
    _private: [u8; 0],
}

impl Kind for AstreumTokens {
    type State = Vec<AstreumToken>;
    const TAG: u32 = 0x4173_0004;
}

impl SharedKind for AstreumTokens {}

/// Splits a source into tokens, without white space and comments: for highlighting. Writes the
/// details of a parse error to `error` unless that is null. The caller frees the tokens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_tokens_new(
    source: *const u8,
    source_len: usize,
    tokens: *mut *mut AstreumTokens,
    error: *mut AstreumParseError,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, source) = unsafe { (Out::handle(tokens)?, text(source, source_len)?) };
        // SAFETY: the contract of the crate.
        let found = core_text::tokenize(source).map_err(|it| unsafe { failed(&it, error) })?;
        let token = |token: &core_text::Token<'_>| AstreumToken {
            token_type: match token.kind {
                TokenKind::Open => AstreumTokenType::Open,
                TokenKind::Close => AstreumTokenType::Close,
                TokenKind::String => AstreumTokenType::String,
                TokenKind::Atom => AstreumTokenType::Atom,
            },
            start: token.offset,
            end: token.end(),
        };
        out.set(handle::create(found.iter().map(token).collect()));
        Ok(())
    })
}

/// Returns the tokens as an array, which is valid until they are freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_tokens_array(
    tokens: *const AstreumTokens,
    array: *mut *const AstreumToken,
    len: *mut usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (tokens, array, len) =
            unsafe { (handle::shared(tokens)?, Out::new(array)?, Out::new(len)?) };
        array.set(tokens.as_ptr());
        len.set(tokens.len());
        Ok(())
    })
}

/// Frees tokens. Null is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_tokens_free(tokens: *mut AstreumTokens) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        unsafe { handle::free(tokens) }
    })
}

/// Parsed source with the position of every expression. It never changes, and any thread may read
/// it.
pub struct AstreumScript {
    _private: [u8; 0],
}

/// Script that evaluations keep to find the positions of errors.
pub(crate) type Source = Arc<core_text::Script<'static>>;

impl Kind for AstreumScript {
    type State = Source;
    const TAG: u32 = 0x4173_0005;
}

impl SharedKind for AstreumScript {}

/// Parses a source of any number of expressions; copies it. Writes the details of a parse error to
/// `error` unless that is null. The caller frees the script.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_script_new(
    source: *const u8,
    source_len: usize,
    script: *mut *mut AstreumScript,
    error: *mut AstreumParseError,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, source) = unsafe { (Out::handle(script)?, text(source, source_len)?) };
        // SAFETY: the contract of the crate.
        let script = parse(source).map_err(|it| unsafe { failed(&it, error) })?;
        out.set(handle::create(script));
        Ok(())
    })
}

pub(crate) fn parse(source: &str) -> Result<Source, ParseError> {
    core_text::Script::parse(source.to_owned()).map(Arc::new)
}

/// Returns the number of expressions of a script.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_script_len(
    script: *const AstreumScript,
    len: *mut usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (script, out) = unsafe { (handle::shared(script)?, Out::new(len)?) };
        out.set(script.exprs().len());
        Ok(())
    })
}

/// Returns an expression of a script. The caller frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_script_expr(
    script: *const AstreumScript,
    index: usize,
    expr: *mut *mut AstreumValue,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (out, script) = unsafe { (Out::handle(expr)?, handle::shared(script)?) };
        let expr = script.expr(index).ok_or(AstreumStatus::OutOfRange)?;
        out.set(handle::create(expr.clone()));
        Ok(())
    })
}

/// Returns the span of an expression of a script, in bytes of the source.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_script_span(
    script: *const AstreumScript,
    index: usize,
    start: *mut usize,
    end: *mut usize,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (script, start, end) =
            unsafe { (handle::shared(script)?, Out::new(start)?, Out::new(end)?) };
        let span = script.span(index).ok_or(AstreumStatus::OutOfRange)?;
        start.set(span.start);
        end.set(span.end);
        Ok(())
    })
}

/// Frees a script. Null is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_script_free(script: *mut AstreumScript) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        unsafe { handle::free(script) }
    })
}
