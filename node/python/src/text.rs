//! Tokenizer and parser.

use crate::errors::{parse_error, parse_error_text};
use crate::expr::wrap;
use astreum_core::expr::{Builder, Expr};
use astreum_core::text::{self, Parser, TokenKind};
use pyo3::prelude::*;

/// Splits a source into tokens.
#[pyfunction]
pub(crate) fn tokenize(py: Python<'_>, source: &str) -> PyResult<Vec<String>> {
    let tokens = text::tokenize(source).map_err(|error| parse_error(py, &error, source))?;
    Ok(tokens.iter().map(|token| token.text.to_owned()).collect())
}

/// Parses the first expression of `tokens`; returns it and the remaining tokens.
#[pyfunction]
pub(crate) fn parse(
    py: Python<'_>,
    tokens: Vec<String>,
) -> PyResult<(Bound<'_, PyAny>, Vec<String>)> {
    let mut builder = Builder::new();
    let mut rest = tokens.into_iter();
    loop {
        let Some(token) = rest.next() else {
            let message = if builder.depth() == 0 {
                "unexpected end"
            } else {
                "expected ')'"
            };
            return Err(parse_error_text(py, message));
        };
        let whole = match token.as_str() {
            "(" => {
                builder.open();
                None
            }
            ")" if builder.depth() == 0 => return Err(parse_error_text(py, "unexpected ')'")),
            ")" => builder.close(),
            token => builder.push(leaf(py, token)?),
        };
        if let Some(expr) = whole {
            return Ok((wrap(py, expr)?, rest.collect()));
        }
    }
}

/// Returns the expression of a token: a string, an integer or a symbol. A text that the tokenizer
/// would not return as one token is a symbol, as in the reference.
fn leaf(py: Python<'_>, token: &str) -> PyResult<Expr> {
    let is_token = match text::tokenize(token) {
        Ok(tokens) => match tokens.as_slice() {
            [one] => {
                one.text.len() == token.len()
                    && matches!(one.kind, TokenKind::String | TokenKind::Atom)
            }
            _ => false,
        },
        Err(error) => return Err(parse_error(py, &error, token)),
    };
    if !is_token {
        return Ok(Expr::symbol(token));
    }
    text::parse(token).map_err(|error| parse_error(py, &error, token))
}

/// Parses a source, which must be one expression.
#[pyfunction]
pub(crate) fn parse_source<'py>(py: Python<'py>, source: &str) -> PyResult<Bound<'py, PyAny>> {
    wrap(py, expr(py, source)?)
}

/// Parses all expressions of a source.
#[pyfunction]
pub(crate) fn parse_all<'py>(py: Python<'py>, source: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let exprs = exprs(py, source)?;
    exprs.into_iter().map(|expr| wrap(py, expr)).collect()
}

/// Returns the one expression of a source.
pub(crate) fn expr(py: Python<'_>, source: &str) -> PyResult<Expr> {
    text::parse(source).map_err(|error| parse_error(py, &error, source))
}

/// Returns all expressions of a source.
pub(crate) fn exprs(py: Python<'_>, source: &str) -> PyResult<Vec<Expr>> {
    let exprs = Parser::new(source).collect::<Result<Vec<_>, _>>();
    exprs.map_err(|error| parse_error(py, &error, source))
}
