//! Evaluator oracle: a recursive tree walk in one function, in the order of the language
//! description. For shallow expressions only.

#![expect(
    clippy::unwrap_used,
    reason = "an oracle: a panic fails the test that uses it"
)]

use super::stack;
use astreum_core::atom::{AtomId, AtomKind, AtomSink, AtomSource, collect_list};
use astreum_core::expr::Expr;
use astreum_core::machine::Meter;
use std::collections::BTreeMap;

/// Evaluation in progress.
pub struct Evaluator<'a, S> {
    /// Store that atoms are read from and written to.
    pub store: &'a mut S,
    /// Meter that stack programs are charged to.
    pub meter: &'a mut Meter,
    /// Scopes, outermost first; at least one.
    pub scopes: Vec<BTreeMap<String, Expr>>,
    /// Remaining calls, a limit for programs that do not end.
    pub calls: usize,
    /// True if a call was refused, in which case the result is meaningless.
    pub exhausted: bool,
}

fn error<T>(message: &str) -> Result<T, Expr> {
    Err(Expr::error("eval", message))
}

/// Special form or call, by the last element and the elements before it.
enum Form<'e> {
    Stack { body: &'e Expr },
    Function { body: &'e Expr, params: &'e Expr },
}

fn form(expr: &Expr) -> Option<Form<'_>> {
    match expr.as_list()? {
        [.., body, tail] if tail.as_symbol() == Some("sk") => Some(Form::Stack { body }),
        [.., body, params, tail] if tail.as_symbol() == Some("fn") => {
            Some(Form::Function { body, params })
        }
        _ => None,
    }
}

impl<S: AtomSource + AtomSink> Evaluator<'_, S> {
    /// Returns the value of `expr`, which may be an error.
    pub fn eval(&mut self, expr: &Expr) -> Expr {
        self.result(expr).unwrap_or_else(|error| error)
    }

    fn result(&mut self, expr: &Expr) -> Result<Expr, Expr> {
        let items = match expr {
            Expr::Symbol(name) => return self.lookup(name),
            Expr::Bytes(_) => return Ok(expr.clone()),
            Expr::List(items) => items,
        };
        if expr.is_error() || items.is_empty() {
            return Ok(expr.clone());
        }
        if let [item] = &items[..] {
            return self.result(item);
        }
        let (tail, args) = items.split_last().unwrap();
        match tail.as_symbol() {
            Some("def") => return self.define(args),
            Some("ref") => return self.follow(args),
            _ => {}
        }
        if form(expr).is_some() {
            return Ok(expr.clone());
        }
        let bound = tail.as_symbol().and_then(|name| self.lookup(name).ok());
        match form(bound.as_ref().unwrap_or(tail)) {
            Some(Form::Stack { body }) => self.call_stack(args, body),
            Some(Form::Function { body, params }) => self.call(args, body, params),
            None => Ok(Expr::list(
                items.iter().map(|item| self.eval(item)).collect::<Vec<_>>(),
            )),
        }
    }

    fn lookup(&self, name: &str) -> Result<Expr, Expr> {
        let bound = self.scopes.iter().rev().find_map(|scope| scope.get(name));
        bound
            .cloned()
            .map_or_else(|| error(&format!("unbound symbol '{name}'")), Ok)
    }

    /// Returns the value of an argument. An error of any origin ends the call.
    fn argument(&mut self, expr: &Expr) -> Result<Expr, Expr> {
        let value = self.result(expr)?;
        if value.is_error() {
            Err(value)
        } else {
            Ok(value)
        }
    }

    fn define(&mut self, args: &[Expr]) -> Result<Expr, Expr> {
        let [.., value, name] = args else {
            return error("def expects (value name def)");
        };
        let Some(name) = name.as_symbol() else {
            return error("def name must be symbol");
        };
        let value = self.argument(value)?;
        let scope = self.scopes.last_mut().unwrap();
        scope.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn follow(&mut self, args: &[Expr]) -> Result<Expr, Expr> {
        let id = match args {
            [Expr::Bytes(id)] => Some(id.to_vec()),
            [Expr::Symbol(digits)] => hex(digits),
            _ => None,
        };
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return error("ref expects (atom_id ref)");
        };
        let atoms = AtomId::from_slice(&id).map(|head| collect_list(&*self.store, head, 1 << 20));
        let Some(Ok(atoms)) = atoms else {
            return error("ref target not found");
        };
        let items = atoms.iter().rev().map(|atom| match atom.kind() {
            AtomKind::Bytes => Ok(Expr::bytes(atom.data())),
            AtomKind::List => Ok(Expr::list(vec![
                Expr::bytes(atom.data()),
                Expr::symbol("ref"),
            ])),
            AtomKind::Symbol => match core::str::from_utf8(atom.data()) {
                Ok(name) => Ok(Expr::symbol(name)),
                Err(_) => error("ref target not found"),
            },
        });
        items.collect::<Result<Vec<_>, _>>().map(Expr::list)
    }

    fn call_stack(&mut self, args: &[Expr], body: &Expr) -> Result<Expr, Expr> {
        let Some(body) = body.as_list() else {
            return error("sk body must be list");
        };
        let mut values = Vec::new();
        for arg in args {
            values.push(joined(&self.argument(arg)?)?);
        }
        let mut code = Vec::new();
        for token in body {
            code.push(match token {
                Expr::Symbol(name) => match name.strip_prefix('$') {
                    Some(digits) => placeholder(digits, &values)?,
                    None => name.as_bytes().to_vec(),
                },
                Expr::Bytes(bytes) => bytes.to_vec(),
                Expr::List(_) => joined(&self.argument(token)?)?,
            });
        }
        Ok(stack::run(&code, self.store, self.meter))
    }

    fn call(&mut self, args: &[Expr], body: &Expr, params: &Expr) -> Result<Expr, Expr> {
        if body.as_list().is_none() {
            return error("fn body must be list");
        }
        let Some(params) = params.as_list() else {
            return error("fn params must be list");
        };
        if params.iter().any(|param| param.as_symbol().is_none()) {
            return error("fn param must be symbol");
        }
        if params.len() != args.len() {
            return error("arity mismatch");
        }
        let mut scope = BTreeMap::new();
        for (param, arg) in params.iter().zip(args) {
            let value = self.argument(arg)?;
            if value.as_bytes().is_none() {
                return error("argument must resolve to Bytes");
            }
            scope.insert(param.as_symbol().unwrap_or_default().to_owned(), value);
        }
        let Some(calls) = self.calls.checked_sub(1) else {
            self.exhausted = true;
            return error("exhausted");
        };
        self.calls = calls;
        self.scopes.push(scope);
        let value = self.result(body);
        self.scopes.pop();
        value
    }
}

fn joined(value: &Expr) -> Result<Vec<u8>, Expr> {
    match value {
        Expr::Bytes(bytes) => Ok(bytes.to_vec()),
        Expr::List(items) => {
            let parts = items.iter().map(Expr::as_bytes).collect::<Option<Vec<_>>>();
            match parts {
                Some(parts) => Ok(parts.concat()),
                None => error("byte list must contain only Bytes elements"),
            }
        }
        Expr::Symbol(_) => error("argument must resolve to Bytes or (Bytes ...)"),
    }
}

fn placeholder(digits: &str, values: &[Vec<u8>]) -> Result<Vec<u8>, Expr> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return error("invalid sk placeholder");
    }
    // A number that does not parse has too many digits for any list of arguments.
    let value = digits
        .parse::<usize>()
        .ok()
        .and_then(|index| values.get(index));
    value
        .cloned()
        .map_or_else(|| error("arity mismatch in sk placeholder"), Ok)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text);
    let padded = format!("{}{digits}", if digits.len() % 2 == 1 { "0" } else { "" });
    hex::decode(padded).ok()
}
