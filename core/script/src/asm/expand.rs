//! Expansion of directives, macros and labels.
//!
//! The source trees are walked with an explicit list of work; a macro adds its items to that list.

use super::labels::{Label, Labels};
use super::{
    Assembled, Expansion, Loaded, Loader, MAX_EXPANSIONS, MAX_INCLUDE_DEPTH, MAX_INCLUDES,
    MAX_ITEMS, MAX_MACRO_DEPTH, MAX_PARAMS, MAX_STEPS, MAX_TOTAL_BYTES, explained,
};
use crate::diagnostic::Diagnostic;
use crate::library;
use crate::source::{Place, Sources};
use crate::suggest::nearest;
use crate::tree::{NodeId, Tree, Value};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use astreum_core::expr::Bytes;

const DIRECTIVES: [&str; 3] = ["include", "const", "macro"];

/// Constant or macro.
struct Macro {
    /// `None` for a constant.
    params: Option<Vec<String>>,
    body: NodeId,
    /// Labels that the items of a macro define.
    labels: BTreeSet<String>,
    place: Place,
}

/// Arguments of a use of a macro.
struct Arguments {
    name: String,
    /// Each with the use of a macro in which it is written.
    items: Vec<(NodeId, Option<usize>)>,
    depth: usize,
}

/// Pending work, next one last.
enum Work {
    /// Item of a source, written in this use of a macro.
    Node(NodeId, Option<usize>),
    Close,
}

/// List of the output that is not complete.
struct Open {
    items: Vec<NodeId>,
    place: Place,
    expansion: Option<usize>,
    labels: Labels,
    /// Lists in it that have labels, with the places of those.
    labelled: Vec<(usize, Place)>,
}

/// File whose expressions are being read.
struct File {
    source: usize,
    rest: vec::IntoIter<NodeId>,
    /// Place of its include.
    from: Option<Place>,
}

pub(super) struct Expander<'s> {
    sources: &'s mut Sources,
    loader: &'s mut dyn Loader,
    input: Tree,
    output: Tree,
    macros: BTreeMap<String, Macro>,
    expansions: Vec<Expansion>,
    arguments: Vec<Arguments>,
    work: Vec<Work>,
    open: Vec<Open>,
    files: Vec<File>,
    included: BTreeSet<String>,
    bytes: usize,
    steps: usize,
}

/// Problem, with the use of a macro that it is in.
type Failed = Box<(Diagnostic, Option<usize>)>;

fn failed(
    code: &'static str,
    place: Place,
    message: impl Into<String>,
    expansion: Option<usize>,
) -> Failed {
    Box::new((Diagnostic::error(code, place, message), expansion))
}

impl<'s> Expander<'s> {
    pub(super) fn new(sources: &'s mut Sources, loader: &'s mut dyn Loader) -> Self {
        Self {
            sources,
            loader,
            input: Tree::new(),
            output: Tree::new(),
            macros: BTreeMap::new(),
            expansions: Vec::new(),
            arguments: Vec::new(),
            work: Vec::new(),
            open: Vec::new(),
            files: Vec::new(),
            included: BTreeSet::new(),
            bytes: 0,
            steps: 0,
        }
    }

    pub(super) fn run(mut self, main: usize) -> Result<Assembled, Diagnostic> {
        if let Err(failure) = self.expand(main) {
            let (error, expansion) = *failure;
            let mut error = explained(error, &self.expansions, expansion);
            for file in self.files.iter().rev() {
                if let Some(from) = file.from {
                    error = error.with_note(from, "included");
                }
            }
            return Err(error);
        }
        Ok(Assembled {
            tree: self.output,
            expansions: self.expansions,
        })
    }

    fn expand(&mut self, main: usize) -> Result<(), Failed> {
        self.open_file(main, None)?;
        while let Some(file) = self.files.last_mut() {
            let Some(root) = file.rest.next() else {
                self.files.pop();
                continue;
            };
            let directive = self.input.tail(root).and_then(|(tail, before)| {
                let name = tail.strip_prefix('%')?;
                DIRECTIVES
                    .contains(&name)
                    .then(|| (name.to_string(), before.to_vec()))
            });
            match directive {
                Some((name, items)) => self.directive(&name, root, &items)?,
                None => {
                    self.work.push(Work::Node(root, None));
                    self.finish()?;
                }
            }
        }
        Ok(())
    }

    fn open_file(&mut self, source: usize, from: Option<Place>) -> Result<(), Failed> {
        self.bytes += self.sources.text(source).len();
        let roots = self
            .input
            .read(self.sources, source)
            .map_err(|error| Box::new((error, None)));
        self.files.push(File {
            source,
            rest: Vec::new().into_iter(),
            from,
        });
        if let (Some(file), roots) = (self.files.last_mut(), roots?) {
            file.rest = roots.into_iter();
        }
        Ok(())
    }

    fn directive(&mut self, name: &str, root: NodeId, items: &[NodeId]) -> Result<(), Failed> {
        let place = self.input.place(root);
        match (name, items) {
            ("include", [file]) => self.include(*file, place),
            ("const", [value, name]) => self.define(*name, *value, None),
            ("macro", [body, params, name]) => {
                let shape = "the parameters of a macro are a list of names";
                let wrong = |place| failed("macro-shape", place, shape, None);
                if self.input.list(*body).is_none() {
                    let place = self.input.place(*body);
                    let message = "the items of a macro are a list";
                    return Err(failed("macro-shape", place, message, None));
                }
                let list = self.input.list(*params);
                let list = list.ok_or_else(|| wrong(self.input.place(*params)))?;
                let mut names: Vec<String> = Vec::new();
                for param in list {
                    let name = self.input.symbol(*param).filter(|name| is_name(name));
                    let name = name.filter(|name| names.iter().all(|known| known != name));
                    let name = name.ok_or_else(|| wrong(self.input.place(*param)))?;
                    if names.len() >= MAX_PARAMS {
                        let message = format!("a macro has at most {MAX_PARAMS} parameters");
                        let place = self.input.place(*param);
                        return Err(failed("macro-shape", place, message, None));
                    }
                    names.push(name.to_string());
                }
                self.define(*name, *body, Some(names))
            }
            _ => {
                let expected = match name {
                    "include" => "(\"file\" %include)",
                    "const" => "(value name %const)",
                    _ => "((items…) (parameters…) name %macro)",
                };
                let message = format!("invalid %{name}: expected {expected}");
                Err(failed("directive-shape", place, message, None))
            }
        }
    }

    fn define(
        &mut self,
        name: NodeId,
        body: NodeId,
        params: Option<Vec<String>>,
    ) -> Result<(), Failed> {
        let place = self.input.place(name);
        let named = self.input.symbol(name).filter(|name| is_name(name));
        let Some(name) = named.map(str::to_string) else {
            let message = "invalid name of a constant or macro: expected a symbol without '%', '@' \
                           and ':'";
            return Err(failed("macro-name", place, message, None));
        };
        if let Some(known) = self.macros.get(&name) {
            let message = format!("'%{name}' is already defined");
            let error = Diagnostic::error("duplicate-macro", place, message);
            return Err(Box::new((
                error.with_note(known.place, "first defined"),
                None,
            )));
        }
        if DIRECTIVES.contains(&name.as_str()) {
            let message = format!("'%{name}' is a directive and cannot be defined");
            return Err(failed("macro-name", place, message, None));
        }
        let mut labels = BTreeSet::new();
        if params.is_some() {
            let items = self.input.list(body).unwrap_or_default();
            let names = items.iter().filter_map(|item| self.input.symbol(*item));
            labels.extend(names.filter_map(label_of).map(str::to_string));
        }
        let defined = Macro {
            params,
            body,
            labels,
            place,
        };
        self.macros.insert(name, defined);
        Ok(())
    }

    fn include(&mut self, file: NodeId, place: Place) -> Result<(), Failed> {
        let at = self.input.place(file);
        let name = match self.input.node(file).map(|node| &node.value) {
            Some(Value::Bytes {
                bytes,
                is_string: true,
            }) => core::str::from_utf8(bytes).ok().map(str::to_string),
            _ => None,
        };
        let Some(name) = name else {
            let message = "the name of an included file is a string";
            return Err(failed("include", at, message, None));
        };
        let current = self.files.last().map_or(0, |file| file.source);
        let loaded = match library::included(&name) {
            Some(text) => Ok(Loaded {
                name: format!("<{name}>"),
                text: text.into(),
            }),
            None => self.loader.load(&name, self.sources.name(current)),
        };
        let loaded = loaded.map_err(|reason| {
            let message = format!("cannot include \"{name}\": {reason}");
            failed("include", at, message, None)
        })?;
        let is_open = |file: &File| self.sources.name(file.source) == loaded.name;
        if let Some(cycle) = self.files.iter().position(is_open) {
            let message = format!("\"{name}\" includes itself");
            let mut error = Diagnostic::error("include-cycle", at, message);
            if cycle == 0 {
                error = error.with_hint("it is the assembled file");
            }
            return Err(Box::new((error, None)));
        }
        if !self.included.insert(loaded.name.clone()) {
            return Ok(());
        }
        let limit = match () {
            () if self.files.len() > MAX_INCLUDE_DEPTH => Some(format!(
                "includes are nested deeper than {MAX_INCLUDE_DEPTH}"
            )),
            () if self.included.len() > MAX_INCLUDES => {
                Some(format!("more than {MAX_INCLUDES} files are included"))
            }
            () if self.bytes + loaded.text.len() > MAX_TOTAL_BYTES => Some(format!(
                "the sources are longer than {MAX_TOTAL_BYTES} bytes together"
            )),
            () => None,
        };
        if let Some(message) = limit {
            return Err(failed("include-limit", at, message, None));
        }
        let source = self.sources.add(loaded.name, loaded.text);
        self.open_file(source, Some(place))
    }

    /// Does all pending work.
    fn finish(&mut self) -> Result<(), Failed> {
        while let Some(work) = self.work.pop() {
            match work {
                Work::Node(node, at) => self.node(node, at)?,
                Work::Close => self.close()?,
            }
        }
        Ok(())
    }

    fn count(&mut self, place: Place, at: Option<usize>) -> Result<(), Failed> {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.output.len() >= MAX_ITEMS {
            let message =
                format!("the output is too large: at most {MAX_ITEMS} items in {MAX_STEPS} steps");
            return Err(failed("output-limit", place, message, at));
        }
        Ok(())
    }

    fn node(&mut self, node: NodeId, at: Option<usize>) -> Result<(), Failed> {
        let place = self.input.place(node);
        self.count(place, at)?;
        match self.input.node(node).map(|node| node.value.clone()) {
            None => Ok(()),
            Some(Value::Symbol(symbol)) => self.name(node, &symbol, at),
            Some(value @ Value::Bytes { .. }) => self.emit(value, place, at),
            Some(Value::List(items)) => {
                if self.is_use(node, at)
                    && let Some((tail, arguments)) = items.split_last()
                    && let Some(name) = self.input.symbol(*tail)
                {
                    let name = name.trim_start_matches('%').to_string();
                    return self.call(&name, arguments, Some(*tail), place, at);
                }
                self.open.push(Open {
                    items: Vec::new(),
                    place,
                    expansion: at,
                    labels: Labels::default(),
                    labelled: Vec::new(),
                });
                self.work.push(Work::Close);
                let items = items.into_iter().rev();
                self.work.extend(items.map(|item| Work::Node(item, at)));
                Ok(())
            }
        }
    }

    /// Returns the argument for a parameter of the macro in which a name is written.
    fn argument(&self, name: &str, at: Option<usize>) -> Option<(NodeId, Option<usize>)> {
        let arguments = self.arguments.get(at?)?;
        let params = self.macros.get(&arguments.name)?.params.as_ref()?;
        let index = params.iter().position(|param| param == name)?;
        arguments.items.get(index).copied()
    }

    fn name(&mut self, node: NodeId, name: &str, at: Option<usize>) -> Result<(), Failed> {
        let place = self.input.place(node);
        if let Some(name) = name.strip_prefix('%').filter(|name| !name.is_empty()) {
            if let Some((argument, from)) = self.argument(name, at) {
                match self.input.list(argument) {
                    // A use of a macro is one item, whatever it stands for.
                    Some(items) if !self.is_use(argument, from) => {
                        let items: Vec<NodeId> = items.to_vec();
                        let items = items.into_iter().rev();
                        self.work.extend(items.map(|item| Work::Node(item, from)));
                    }
                    _ => self.work.push(Work::Node(argument, from)),
                }
                return Ok(());
            }
            return self.call(name, &[], Some(node), place, at);
        }
        if let Some(label) = label_of(name) {
            let label = self.label(label, at);
            let Some(open) = self.open.last_mut() else {
                return Err(outside(place, at));
            };
            let index = open.items.len();
            return open
                .labels
                .define(label, index, place)
                .map_err(|error| Box::new((error, at)));
        }
        if let Some(names) = name.strip_prefix('@').filter(|names| !names.is_empty()) {
            let (label, minus) = match names.split_once('-') {
                Some((label, minus)) => (label, Some(self.label(minus, at))),
                None => (names, None),
            };
            let label = self.label(label, at);
            let value = Value::Bytes {
                bytes: Bytes::new(&[]),
                is_string: false,
            };
            let item = self.output.push(value, place, None, at);
            let Some(open) = self.open.last_mut() else {
                return Err(outside(place, at));
            };
            open.items.push(item);
            open.labels.refer(item, label, minus, place, at);
            return Ok(());
        }
        let value = self.input.node(node).map(|node| node.value.clone());
        value.map_or(Ok(()), |value| self.emit(value, place, at))
    }

    /// Returns whether an item is a list that uses a macro with parameters, or an unknown one. A
    /// macro without parameters is used by its name alone.
    fn is_use(&self, node: NodeId, at: Option<usize>) -> bool {
        let Some((tail, arguments)) = self.input.tail(node) else {
            return false;
        };
        let name = tail.strip_prefix('%').filter(|name| !name.is_empty());
        name.is_some_and(|name| match self.macros.get(name) {
            _ if arguments.is_empty() || self.argument(name, at).is_some() => false,
            Some(used) => used
                .params
                .as_ref()
                .is_some_and(|params| !params.is_empty()),
            None => true,
        })
    }

    fn label(&self, name: &str, at: Option<usize>) -> Label {
        let arguments = at.and_then(|at| self.arguments.get(at));
        let used = arguments.and_then(|arguments| self.macros.get(&arguments.name));
        let is_own = used.is_some_and(|used| used.labels.contains(name));
        (name.to_string(), at.filter(|_| is_own))
    }

    fn call(
        &mut self,
        name: &str,
        arguments: &[NodeId],
        tail: Option<NodeId>,
        place: Place,
        at: Option<usize>,
    ) -> Result<(), Failed> {
        let name_place = tail.map_or(place, |tail| self.input.place(tail));
        if DIRECTIVES.contains(&name) {
            let message = format!("'%{name}' is only allowed at the top level");
            return Err(failed("directive-shape", name_place, message, at));
        }
        let Some(called) = self.macros.get(name) else {
            let message = format!("'%{name}' is not defined before this use");
            let error = Diagnostic::error("unknown-macro", name_place, message);
            let names = self.macros.keys().map(String::as_str).chain(DIRECTIVES);
            let error = match nearest(name, names) {
                Some(near) => error.with_hint(format!("did you mean '%{near}'?")),
                None => error,
            };
            return Err(Box::new((error, at)));
        };
        let count = called.params.as_ref().map_or(0, Vec::len);
        if count != arguments.len() {
            let message = format!(
                "'%{name}' takes {count} arguments, and {} are given",
                arguments.len()
            );
            let error = Diagnostic::error("macro-arity", name_place, message);
            return Err(Box::new((error.with_note(called.place, "defined"), at)));
        }
        let depth = at
            .and_then(|at| self.arguments.get(at))
            .map_or(0, |arguments| arguments.depth + 1);
        let is_constant = called.params.is_none();
        let body = called.body;
        // Arguments take memory like items.
        self.steps = self.steps.saturating_add(count);
        if self.expansions.len() >= MAX_EXPANSIONS {
            let message = format!("macros are used more than {MAX_EXPANSIONS} times");
            return Err(failed("output-limit", name_place, message, at));
        }
        if depth >= MAX_MACRO_DEPTH {
            let message = format!("macros are nested deeper than {MAX_MACRO_DEPTH}");
            let error = Diagnostic::error("macro-depth", name_place, message);
            return Err(Box::new((
                error.with_hint("a macro must not use itself"),
                at,
            )));
        }
        self.expansions.push(Expansion {
            name: name.to_string(),
            place,
            parent: at,
        });
        self.arguments.push(Arguments {
            name: name.to_string(),
            items: arguments.iter().map(|item| (*item, at)).collect(),
            depth,
        });
        let inner = Some(self.expansions.len() - 1);
        if is_constant {
            self.work.push(Work::Node(body, inner));
        } else {
            let items = self.input.list(body).unwrap_or_default();
            let items: Vec<NodeId> = items.to_vec();
            self.work
                .extend(items.into_iter().rev().map(|item| Work::Node(item, inner)));
        }
        Ok(())
    }

    fn emit(&mut self, value: Value, place: Place, at: Option<usize>) -> Result<(), Failed> {
        let item = self.output.push(value, place, None, at);
        match self.open.last_mut() {
            Some(open) => open.items.push(item),
            None => self.output.roots.push(item),
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failed> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        open.labels.resolve(&mut self.output, open.items.len())?;
        for (index, place) in &open.labelled {
            let tail = open.items.last().and_then(|tail| self.output.symbol(*tail));
            if tail != Some("sk") || index + 2 != open.items.len() {
                return Err(outside(*place, open.expansion));
            }
        }
        let labelled = open.labels.first();
        let list = Value::List(open.items);
        let node = self.output.push(list, open.place, None, open.expansion);
        match (self.open.last_mut(), labelled) {
            (Some(parent), labelled) => {
                let index = parent.items.len();
                parent.labelled.extend(labelled.map(|place| (index, place)));
                parent.items.push(node);
            }
            (None, Some(place)) => return Err(outside(place, open.expansion)),
            (None, None) => self.output.roots.push(node),
        }
        Ok(())
    }
}

fn outside(place: Place, at: Option<usize>) -> Failed {
    let message = "label outside of the body of a stack program";
    let mut failure = failed("label-place", place, message, at);
    failure.0.hint = Some("write text that looks like a label as a string".into());
    failure
}

/// Returns the name of the label that a symbol defines.
fn label_of(symbol: &str) -> Option<&str> {
    symbol.strip_suffix(':').filter(|name| !name.is_empty())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['%', '@', ':'])
}
