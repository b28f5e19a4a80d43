//! Structured values from raw bytes.
//!
//! Operations implement [`Arbitrary`] with a first byte that names the operation, so that a change of
//! one byte changes one operation. The derived form takes four bytes for that, and the lengths of
//! slices from the end of the input.

use arbitrary::{Arbitrary, Unstructured};
use astreum_core::expr::{Builder, Expr};

/// Returns the operations that the bytes encode, at most `max`, and counts them.
pub(super) fn operations<'i, 'a, T: Arbitrary<'a>>(
    input: &'i mut Unstructured<'a>,
    max: usize,
) -> impl Iterator<Item = T> + use<'i, 'a, T> {
    let next = move |_| {
        if input.is_empty() {
            return None;
        }
        let operation = T::arbitrary(input).ok()?;
        super::count_operations(1);
        Some(operation)
    };
    (0..max).map_while(next)
}

/// Returns the next byte, or `default` at the end.
pub(super) fn byte_or(input: &mut Unstructured<'_>, default: u8) -> u8 {
    bytes(input, 1).first().copied().unwrap_or(default)
}

/// Returns the next `len` bytes, or the remaining ones.
pub(super) fn bytes<'a>(input: &mut Unstructured<'a>, len: usize) -> &'a [u8] {
    let len = len.min(input.len());
    input.bytes(len).unwrap_or_default()
}

/// Returns an array of bytes.
///
/// # Errors
/// Fails if there are fewer.
pub(super) fn array<const N: usize>(input: &mut Unstructured<'_>) -> arbitrary::Result<[u8; N]> {
    let bytes = input.bytes(N)?;
    bytes
        .try_into()
        .map_err(|_| arbitrary::Error::NotEnoughData)
}

/// Bytes that are consumed from the front.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    /// Returns the next byte, or `None` at the end.
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// Returns the next `len` bytes, or the remaining ones.
    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Returns an expression: any tree with any symbols and values, including those without a text
    /// form.
    pub(super) fn expression(&mut self) -> Expr {
        let mut builder = Builder::new();
        while let Some(code) = self.byte() {
            let len = usize::from(code >> 2);
            let done = match code & 3 {
                0 => {
                    builder.open();
                    None
                }
                1 => builder.close(),
                2 => {
                    let name = String::from_utf8_lossy(self.bytes(len)).into_owned();
                    builder.push(Expr::symbol(&name))
                }
                _ => builder.push(Expr::bytes(self.bytes(len))),
            };
            if let Some(expr) = done {
                return expr;
            }
        }
        loop {
            if builder.depth() == 0 {
                return Expr::list([]);
            }
            if let Some(expr) = builder.close() {
                return expr;
            }
        }
    }
}
