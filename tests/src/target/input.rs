//! Structured values from raw bytes.

use astreum_core::expr::{Builder, Expr};

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
