//! Names, calls and special forms.

use super::program::{self, Arguments};
use super::{Options, Report};
use crate::diagnostic::Severity;
use crate::source::Sources;
use crate::suggest::nearest;
use crate::tree::{NodeId, Step, Tree};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use astreum_core::machine::Opcode;
use astreum_core::text::Escaped;

/// Maximum number of functions around a name in which it is searched; in more, it counts as bound.
const MAX_SCOPES: usize = 256;
/// Maximum number of names that are compared for suggestions.
const SUGGESTION_BUDGET: usize = 1 << 18;
const SPECIAL_FORMS: [&str; 4] = ["def", "fn", "ref", "sk"];

/// Number of arguments that a definition takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Unknown, or several definitions differ.
    Unknown,
    /// Exactly as many, for a function.
    Exactly(usize),
    /// At least as many, for a stack program.
    AtLeast(usize),
}

struct Definition {
    takes: Takes,
    /// Index of the first expression that defines it outside of functions.
    root: Option<usize>,
}

/// Parameters that an expression sees.
struct Scope {
    params: BTreeSet<String>,
    parent: Option<usize>,
}

struct Checker<'c, 't> {
    sources: &'c Sources,
    tree: &'t Tree,
    options: &'c Options,
    report: &'c mut Report<'t>,
    definitions: BTreeMap<String, Definition>,
    /// Parameters of all functions.
    params: BTreeSet<String>,
    scopes: Vec<Scope>,
    /// Expressions that are not checked yet, with the scope of the function that contains them.
    pending: Vec<(NodeId, Option<usize>)>,
    root: usize,
    budget: usize,
}

pub(super) fn check<'t>(
    sources: &Sources,
    tree: &'t Tree,
    options: &Options,
    report: &mut Report<'t>,
) {
    let mut checker = Checker {
        sources,
        tree,
        options,
        report,
        definitions: BTreeMap::new(),
        params: BTreeSet::new(),
        scopes: Vec::new(),
        pending: Vec::new(),
        root: 0,
        budget: SUGGESTION_BUDGET,
    };
    for (index, root) in tree.roots.iter().enumerate() {
        checker.collect(*root, index);
    }
    for (index, root) in tree.roots.iter().enumerate() {
        checker.root = index;
        checker.pending.push((*root, None));
        while let Some((node, scope)) = checker.pending.pop() {
            checker.expression(node, scope);
        }
    }
}

impl Checker<'_, '_> {
    /// Collects definitions and parameters.
    fn collect(&mut self, root: NodeId, index: usize) {
        // Number of functions around the current item.
        let mut functions = 0_usize;
        for step in self.tree.steps(root) {
            let (node, is_open) = match step {
                Step::Open(node) => (node, true),
                Step::Close(node) => (node, false),
                Step::Item(_) => continue,
            };
            let Some((tail, before)) = self.tree.tail(node) else {
                continue;
            };
            match (tail, before, is_open) {
                ("fn", [.., _, params], true) => {
                    functions += 1;
                    let params = self.tree.list(*params).unwrap_or_default();
                    let names = params.iter().filter_map(|param| self.tree.symbol(*param));
                    self.params.extend(names.map(String::from));
                }
                ("fn", [.., _, _], false) => functions -= 1,
                ("def", [.., value, name], true) => {
                    let takes = self.takes(*value);
                    let root = (functions == 0).then_some(index);
                    let Some(name) = self.tree.symbol(*name) else {
                        continue;
                    };
                    match self.definitions.get_mut(name) {
                        Some(known) => {
                            if known.takes != takes {
                                known.takes = Takes::Unknown;
                            }
                            known.root = known.root.or(root);
                        }
                        None => {
                            let defined = Definition { takes, root };
                            self.definitions.insert(name.into(), defined);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn takes(&self, value: NodeId) -> Takes {
        match self.tree.tail(value) {
            Some(("fn", [.., _, params])) => match self.tree.list(*params) {
                Some(params) => Takes::Exactly(params.len()),
                None => Takes::Unknown,
            },
            Some(("sk", [.., body])) => Takes::AtLeast(program::least_arguments(self.tree, *body)),
            _ => Takes::Unknown,
        }
    }

    /// Schedules items to be checked in their order.
    fn schedule(&mut self, items: &[NodeId], scope: Option<usize>) {
        let items = items.iter().rev();
        self.pending.extend(items.map(|item| (*item, scope)));
    }

    fn expression(&mut self, node: NodeId, scope: Option<usize>) {
        let tree = self.tree;
        if tree.symbol(node).is_some() {
            return self.name(node, scope, false);
        }
        let Some((last, before)) = tree.list(node).and_then(<[NodeId]>::split_last) else {
            return;
        };
        let items = tree.list(node).unwrap_or_default();
        let head = items.first().and_then(|head| tree.symbol(*head));
        if head == Some("error") {
            return;
        }
        if before.is_empty() {
            return self.pending.push((*last, scope));
        }
        match tree.symbol(*last) {
            Some("def") => self.definition(node, before, scope),
            Some("ref") => self.reference(node, before),
            Some("sk") => self.stack_program(before, None, scope),
            Some("fn") if before.len() < 2 => {
                let message = "invalid function: expected (body (parameters…) fn)";
                self.report.error("fn-shape", node, message);
            }
            Some("fn") => self.function(before, scope),
            Some(_) => self.named_call(*last, before, scope),
            None => match tree.tail(*last) {
                Some(("sk", form)) if !form.is_empty() => {
                    self.stack_program(form, Some(before), scope);
                    self.schedule(before, scope);
                }
                Some(("fn", form)) if form.len() >= 2 => {
                    let params = form.last().and_then(|params| tree.list(*params));
                    if let Some(count) = params.map(<[NodeId]>::len)
                        && count != before.len()
                    {
                        self.arity(*last, "the function", count, before.len());
                    }
                    self.function(form, scope);
                    self.schedule(before, scope);
                }
                _ => self.schedule(items, scope),
            },
        }
    }

    fn arity(&mut self, node: NodeId, name: &str, count: usize, given: usize) {
        let arguments = if count == 1 { "argument" } else { "arguments" };
        let are = if given == 1 { "is" } else { "are" };
        let message = format!("{name} takes {count} {arguments}, and {given} {are} given");
        self.report.error("arity", node, message);
    }

    fn definition(&mut self, node: NodeId, before: &[NodeId], scope: Option<usize>) {
        let [ignored @ .., value, name] = before else {
            let message = "invalid definition: expected (value name def)";
            return self.report.error("def-shape", node, message);
        };
        if self.tree.symbol(*name).is_none() {
            let message = "the name of a definition is a symbol";
            self.report.error("def-shape", *name, message);
        }
        self.ignored(ignored, "def");
        self.pending.push((*value, scope));
    }

    fn ignored(&mut self, items: &[NodeId], form: &str) {
        if let Some(first) = items.first() {
            let (message, hint) = match form {
                "def" => (
                    "items before the value of a definition are ignored".into(),
                    "expected (value name def)",
                ),
                "sk" => (
                    "items before the body of `sk` are ignored: this is a stack program, not a call"
                        .into(),
                    "expected (arguments… ((tokens…) sk)) for a call",
                ),
                _ => (
                    String::from(
                        "items before the body of `fn` are ignored: this is a function, not a call",
                    ),
                    "expected (arguments… (body (parameters…) fn)) for a call",
                ),
            };
            let hint = Some(hint.into());
            self.report.warn("ignored-items", *first, message, hint);
        }
    }

    fn reference(&mut self, node: NodeId, before: &[NodeId]) {
        let is_id = |item: &NodeId| match (self.tree.bytes(*item), self.tree.symbol(*item)) {
            (Some(bytes), _) => bytes.len() == 32,
            (_, Some(name)) => {
                let digits = name.strip_prefix("0x").or_else(|| name.strip_prefix("0X"));
                let digits = digits.unwrap_or(name);
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                is_hex && matches!(digits.len(), 63 | 64)
            }
            _ => false,
        };
        match before {
            [id] if is_id(id) => {}
            [id] => {
                let message =
                    "the argument of `ref` is the id of an atom: 64 hex digits or 32 bytes";
                let hint = self
                    .tree
                    .symbol(*id)
                    .map(|_| "`ref` does not evaluate it".into());
                let (severity, code) = (Severity::Error, "ref-shape");
                self.report.add(severity, code, *id, message, hint);
            }
            _ => {
                let message = "invalid reference: expected (id ref)";
                self.report.error("ref-shape", node, message);
            }
        }
    }

    /// Checks a function, `before` being the items before `fn`.
    fn function(&mut self, before: &[NodeId], scope: Option<usize>) {
        let [ignored @ .., body, params] = before else {
            return;
        };
        self.ignored(ignored, "fn");
        let Some(list) = self.tree.list(*params) else {
            let message = "the parameters of a function are a list of names";
            return self.report.error("fn-shape", *params, message);
        };
        let mut names = BTreeSet::new();
        for param in list {
            match self.tree.symbol(*param) {
                Some(name) if !names.insert(String::from(name)) => {
                    let name = Escaped(name);
                    let message =
                        format!("parameter '{name}' occurs twice, and the last one counts");
                    self.report.warn("fn-shape", *param, message, None);
                }
                Some(_) => {}
                None => {
                    let message = "a parameter of a function is a name";
                    self.report.error("fn-shape", *param, message);
                }
            }
        }
        if self.tree.list(*body).is_none() {
            let message = "the body of a function is a list";
            let hint = Some("(x) is the value of x".into());
            let (severity, code) = (Severity::Error, "fn-shape");
            return self.report.add(severity, code, *body, message, hint);
        }
        self.scopes.push(Scope {
            params: names,
            parent: scope,
        });
        self.pending.push((*body, Some(self.scopes.len() - 1)));
    }

    /// Checks a stack program, `before` being the items before `sk`.
    fn stack_program(
        &mut self,
        before: &[NodeId],
        arguments: Option<&[NodeId]>,
        scope: Option<usize>,
    ) {
        let Some((body, ignored)) = before.split_last() else {
            return;
        };
        self.ignored(ignored, "sk");
        if self.tree.list(*body).is_none() {
            let message = "the body of a stack program is a list of tokens";
            let hint = (!ignored.is_empty())
                .then(|| "expected (arguments… ((tokens…) sk)) for a call".into());
            let (severity, code) = (Severity::Error, "sk-shape");
            return self.report.add(severity, code, *body, message, hint);
        }
        let arguments = match arguments {
            Some(arguments) => Arguments::These(arguments),
            None => Arguments::Unknown,
        };
        program::check(self.sources, self.tree, *body, &arguments, self.report);
        let tokens = self.tree.list(*body).unwrap_or_default();
        let lists = tokens
            .iter()
            .filter(|token| self.tree.list(**token).is_some());
        let lists: Vec<NodeId> = lists.copied().collect();
        self.schedule(&lists, scope);
    }

    fn named_call(&mut self, tail: NodeId, before: &[NodeId], scope: Option<usize>) {
        self.schedule(before, scope);
        self.name(tail, scope, true);
        let Some(name) = self.tree.symbol(tail) else {
            return;
        };
        if self.params.contains(name) {
            return;
        }
        let quoted = format!("'{}'", Escaped(name));
        let takes = match (self.definitions.get(name), self.options.bound.get(name)) {
            (Some(definition), _) => definition.takes,
            (None, Some(Some(count))) => Takes::Exactly(*count),
            _ => Takes::Unknown,
        };
        match takes {
            Takes::Exactly(count) if count != before.len() => {
                self.arity(tail, &quoted, count, before.len());
            }
            Takes::AtLeast(count) if count > before.len() => {
                self.arity(tail, &quoted, count, before.len());
            }
            Takes::AtLeast(_) => program::check_arguments(self.tree, before, self.report),
            Takes::Exactly(_) | Takes::Unknown => {}
        }
    }

    fn sees(&self, name: &str, mut scope: Option<usize>) -> bool {
        for _ in 0..MAX_SCOPES {
            let Some(found) = scope.and_then(|scope| self.scopes.get(scope)) else {
                return false;
            };
            if found.params.contains(name) {
                return true;
            }
            scope = found.parent;
        }
        scope.is_some()
    }

    fn name(&mut self, node: NodeId, scope: Option<usize>, is_call: bool) {
        let Some(name) = self.tree.symbol(node) else {
            return;
        };
        if self.sees(name, scope) || self.options.bound.contains_key(name) {
            return;
        }
        let in_function = scope.is_some();
        match self.definitions.get(name).map(|definition| definition.root) {
            _ if in_function && self.params.contains(name) => return,
            Some(_) if in_function => return,
            Some(Some(root)) if root <= self.root => return,
            Some(Some(_)) => {
                let name = Escaped(name);
                let message = format!("'{name}' is used before its definition");
                return self.report.error("early-use", node, message);
            }
            _ => {}
        }
        let hint = self.hint(name, is_call);
        let message = format!("unbound name '{}'", Escaped(name));
        let (severity, code) = (Severity::Error, "unbound-name");
        self.report.add(severity, code, node, message, hint);
    }

    fn hint(&mut self, name: &str, is_call: bool) -> Option<String> {
        if Opcode::from_token(name.as_bytes()).is_some() {
            return Some(format!(
                "'{name}' is an opcode of the stack machine, which runs a program such as \
                 (1 2 (($0 $1 add) sk))"
            ));
        }
        if name.starts_with("0x") {
            return Some(
                "only ref reads 0x…; write integers in decimal, bytes as \"\\xff\"".into(),
            );
        }
        let count = self.definitions.len() + self.params.len() + self.options.bound.len();
        self.budget = self.budget.checked_sub(count)?;
        let known = self.definitions.keys().chain(&self.params);
        let known = known.chain(self.options.bound.keys()).map(String::as_str);
        let forms = SPECIAL_FORMS.into_iter().filter(|_| is_call);
        let near = nearest(name, known.chain(forms))?;
        Some(format!("did you mean '{}'?", Escaped(near)))
    }
}
