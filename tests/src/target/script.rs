//! Fuzz target of the tools for authors of scripts: assembler, formatter, checker, highlighting.

use astreum_core::expr::Expr;
use astreum_core::text::Parser;
use astreum_script::asm::{Loaded, Loader};
use astreum_script::check::MAX_PROBLEMS;
use astreum_script::highlight::highlight;
use astreum_script::{Diagnostic, Options, Sources, Tree, assemble, check, format};

/// Names of the files that an input can include, in the order of their texts.
const FILES: [&str; 3] = ["a", "b", "c"];

/// Included files of an input.
struct Files<'d>(Vec<&'d str>);

impl Loader for Files<'_> {
    fn load(&mut self, name: &str, _: &str) -> Result<Loaded, String> {
        let index = FILES.iter().position(|file| *file == name);
        let text = index.and_then(|index| self.0.get(index)).ok_or("none")?;
        Ok(Loaded {
            name: name.to_owned(),
            text: (*text).to_owned(),
        })
    }
}

/// Uses the input as source text: up to the first NUL as that of the main file, then those of the
/// files that it can include.
pub fn run(data: &[u8]) {
    super::count_operations(1);
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0');
    let main = parts.next().unwrap_or_default();
    plain(main);
    assembled(main, &mut Files(parts.collect()));
}

fn values(text: &str) -> Option<Vec<Expr>> {
    Parser::new(text).collect::<Result<_, _>>().ok()
}

/// Checks that the places of a problem are in the sources, and that it can be printed.
fn check_places(problem: &Diagnostic, sources: &Sources) {
    let notes = problem.notes.iter().map(|note| note.place);
    for place in notes.chain([problem.place]) {
        let text = sources.text(place.source);
        assert!(text.get(place.start..place.end).is_some(), "{problem:?}");
    }
    assert!(problem.render(sources).contains('^'), "{problem:?}");
}

fn plain(text: &str) {
    let mut sources = Sources::new();
    let main = sources.add("main", text);
    let mut end = 0;
    for (span, _) in highlight(text) {
        assert!(span.start >= end && span.start < span.end);
        assert!(text.get(span.clone()).is_some());
        end = span.end;
    }
    match format(&sources, main) {
        Ok(once) => {
            let source = sources.add("formatted", once.clone());
            let twice = format(&sources, source).unwrap_or_else(|error| panic!("{error:?}"));
            assert_eq!(once, twice, "formatting is idempotent");
            if !text.starts_with("#!") {
                assert_eq!(values(text), values(&once), "formatting keeps the value");
            }
        }
        Err(error) => {
            assert_ne!(error.code, "format", "every source can be formatted");
            check_places(&error, &sources);
        }
    }
    match Tree::parse(&sources, main) {
        Ok(tree) => {
            let exprs: Vec<Expr> = tree.roots.iter().map(|root| tree.to_expr(*root)).collect();
            assert_eq!(Some(exprs), values(text));
            let mut options = Options::new();
            options.bind("a", Some(1));
            let problems = check(&sources, &tree, &[], &options);
            assert!(problems.len() <= MAX_PROBLEMS);
            for problem in problems.iter().take(20) {
                check_places(problem, &sources);
            }
        }
        Err(error) => {
            assert_eq!(values(text), None);
            check_places(&error, &sources);
        }
    }
}

fn assembled(text: &str, files: &mut Files<'_>) {
    let mut sources = Sources::new();
    let main = sources.add("main", text);
    let assembled = match assemble(&mut sources, main, files) {
        Ok(assembled) => assembled,
        Err(error) => return check_places(&error, &sources),
    };
    let tree = &assembled.tree;
    let output = assembled.to_source(&sources);
    let exprs: Vec<Expr> = tree.roots.iter().map(|root| tree.to_expr(*root)).collect();
    assert_eq!(
        Some(exprs),
        values(&output),
        "the output is the assembled source"
    );
    let problems = check(&sources, tree, &assembled.expansions, &Options::new());
    for problem in problems.iter().take(20) {
        check_places(problem, &sources);
    }
    let again = sources.add("output", output.clone());
    let again = assemble(&mut sources, again, files).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(
        again.to_source(&sources),
        output,
        "the output is plain source"
    );
}
