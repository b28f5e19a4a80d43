//! Formatter.
//!
//! Line breaks stay where the author put them, because the lines of a stack program are its
//! statements; everything else is normalized:
//!
//! - A line is indented to the column after the parenthesis that contains it.
//! - Items are separated by one space; there is none inside parentheses.
//! - A `)` follows the item before it, and the first item of a list its `(`, unless a comment stands
//!   between them.
//! - A line of more than [`WIDTH`] characters is broken between items.
//! - There is at most one empty line in a row, none at the start (but before a symbol that starts
//!   with `#!`), and spaces at ends of lines are removed.
//!
//! Comments, datum comments (`#;`), strings and a first line that starts with `#!` are kept as they
//! are. Formatting twice gives the same text as formatting once.

use crate::diagnostic::Diagnostic;
use crate::source::{MAX_SOURCE_BYTES, Place, Sources};
use alloc::string::String;
use alloc::vec::Vec;
use astreum_core::text::{Parser, TokenKind, Tokens, is_space};

/// Length from which a line is broken, in characters.
pub const WIDTH: usize = 100;

/// Kind of a [`Piece`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Open,
    Close,
    Atom,
    /// `;` to the end of the line.
    Comment,
    /// `#;` and everything up to the next token.
    Datum,
}

/// Token or comment.
#[derive(Clone, Copy, Debug)]
struct Piece<'s> {
    kind: Kind,
    text: &'s str,
    /// Number of line ends before it.
    breaks: usize,
}

impl Piece<'_> {
    const fn is_comment(&self) -> bool {
        matches!(self.kind, Kind::Comment | Kind::Datum)
    }
}

/// Formats a source.
///
/// ```
/// use astreum_script::{Sources, format};
/// let mut sources = Sources::new();
/// let file = sources.add("file", "( 1   two ; a comment\n\n\n( 3 ) )");
/// assert_eq!(format(&sources, file).unwrap(), "(1 two ; a comment\n\n (3))\n");
/// ```
///
/// # Errors
/// Returns the parse error if the source is malformed.
pub fn format(sources: &Sources, source: usize) -> Result<String, Diagnostic> {
    let text = sources.text(source);
    let whole = Place::new(source, 0..0);
    if text.len() > MAX_SOURCE_BYTES {
        let message = alloc::format!("the source is longer than {MAX_SOURCE_BYTES} bytes");
        return Err(Diagnostic::error("too-large", whole, message));
    }
    let (first_line, code) = split_first_line(text);
    for expr in Parser::new(code) {
        if let Err(error) = expr {
            let start = first_line.len() + error.at.offset;
            let message = alloc::format!("{}", error.kind);
            let place = Place::new(source, start..start);
            return Err(Diagnostic::error("parse", place, message));
        }
    }
    let pieces = pieces(code);
    let formatted = layout(&pieces);
    // An error of this module must not cost an author a line.
    if !is_same(&pieces, &self::pieces(&formatted)) {
        let message = "the source cannot be formatted without changing it";
        return Err(Diagnostic::error("format", whole, message));
    }
    let mut output = String::with_capacity(first_line.len() + formatted.len());
    output.push_str(first_line.trim_end());
    // An empty line keeps a symbol at the start from being taken for such a line.
    if !first_line.is_empty() || formatted.starts_with("#!") {
        output.push('\n');
    }
    output.push_str(&formatted);
    Ok(output)
}

/// Formats tokens that are on one line, such as those of the assembler.
pub(crate) fn lay_out(code: &str) -> String {
    layout(&pieces(code))
}

/// Returns the first line with its end, if it starts with `#!`, and the rest.
fn split_first_line(text: &str) -> (&str, &str) {
    if !text.starts_with("#!") {
        return ("", text);
    }
    let end = text.find('\n').map_or(text.len(), |end| end + 1);
    text.split_at(end)
}

/// Returns whether two sources have the same tokens and comments.
fn is_same(left: &[Piece<'_>], right: &[Piece<'_>]) -> bool {
    let same = |(left, right): (&Piece<'_>, &Piece<'_>)| {
        left.kind == right.kind && left.text == right.text
    };
    left.len() == right.len() && left.iter().zip(right).all(same)
}

/// Returns the tokens and comments of a source up to the first malformed token.
fn pieces(code: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut end = 0;
    for token in Tokens::new(code) {
        let Ok(token) = token else {
            return pieces;
        };
        let breaks = gap(code.get(end..token.offset).unwrap_or_default(), &mut pieces);
        let kind = match token.kind {
            TokenKind::Open => Kind::Open,
            TokenKind::Close => Kind::Close,
            TokenKind::String | TokenKind::Atom => Kind::Atom,
        };
        end = token.end();
        pieces.push(Piece {
            kind,
            text: token.text,
            breaks,
        });
    }
    gap(code.get(end..).unwrap_or_default(), &mut pieces);
    pieces
}

/// Adds the comments in the text between two tokens; returns the number of line ends after the last
/// one.
fn gap<'s>(mut text: &'s str, pieces: &mut Vec<Piece<'s>>) -> usize {
    let mut breaks = 0;
    loop {
        let rest = text.trim_start_matches(is_space);
        let space = text.get(..text.len() - rest.len()).unwrap_or_default();
        breaks += line_ends(space);
        let (kind, len) = match rest.as_bytes() {
            [] => return breaks,
            [b';', ..] => (Kind::Comment, rest.find('\n').unwrap_or(rest.len())),
            // The text of a skipped datum has rules of its own: it is kept whole, with what follows.
            _ => (Kind::Datum, rest.len()),
        };
        let (comment, after) = rest.split_at(len);
        let comment_text = comment.trim_end_matches(is_space);
        pieces.push(Piece {
            kind,
            text: comment_text,
            breaks,
        });
        breaks = line_ends(comment.get(comment_text.len()..).unwrap_or_default());
        text = after;
    }
}

fn line_ends(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Measures of the pieces, as if all were on one line.
struct Measures {
    /// Columns of the start and the end of each piece.
    spans: Vec<(usize, usize)>,
    /// Index of the last piece that stands on a line with each piece: the end of its list, and the
    /// parentheses that follow.
    ends: Vec<usize>,
}

/// Returns the line ends to keep before a piece.
fn kept_breaks(before: Option<&Piece<'_>>, piece: &Piece<'_>) -> usize {
    let Some(before) = before else {
        return 0;
    };
    if before.is_comment() {
        let most = if piece.kind == Kind::Close { 1 } else { 2 };
        return piece.breaks.clamp(1, most);
    }
    let is_joined = piece.kind == Kind::Close || before.kind == Kind::Open && !piece.is_comment();
    if is_joined { 0 } else { piece.breaks.min(2) }
}

fn measure(pieces: &[Piece<'_>]) -> Measures {
    let mut spans = Vec::with_capacity(pieces.len());
    let (mut column, mut before) = (0_usize, None::<&Piece<'_>>);
    for piece in pieces {
        let is_spaced = before.is_some_and(|before| before.kind != Kind::Open);
        let start = column + usize::from(is_spaced && piece.kind != Kind::Close);
        column = start + width(piece.text.split('\n').next().unwrap_or_default());
        spans.push((start, column));
        before = Some(piece);
    }
    let mut ends: Vec<usize> = (0..pieces.len()).collect();
    // The next piece at which a line begins, and the last one in the line before it.
    let mut line_end = pieces.len().saturating_sub(1);
    // Ends of the lists that are open, from behind.
    let mut lists: Vec<usize> = Vec::new();
    // Last parenthesis of the run that starts after the piece.
    let mut run_end = None;
    for (at, piece) in pieces.iter().enumerate().rev() {
        let own_end = match piece.kind {
            Kind::Close => {
                let end = run_end.unwrap_or(at);
                lists.push(end);
                run_end = Some(end);
                end
            }
            Kind::Open => {
                run_end = None;
                lists.pop().unwrap_or(at)
            }
            _ => run_end.take().unwrap_or(at),
        };
        if let Some(end) = ends.get_mut(at) {
            *end = own_end.min(line_end);
        }
        let before = at.checked_sub(1).and_then(|before| pieces.get(before));
        let is_split = before.is_some_and(|before| before.text.contains('\n'));
        if kept_breaks(before, piece) > 0 || is_split {
            line_end = at.saturating_sub(1);
            run_end = None;
        }
    }
    Measures { spans, ends }
}

impl Measures {
    /// Returns the width of a piece and of what has to stand on the same line.
    fn need(&self, at: usize) -> usize {
        let start = self.spans.get(at).map_or(0, |span| span.0);
        let end = self.ends.get(at).and_then(|end| self.spans.get(*end));
        end.map_or(0, |span| span.1.saturating_sub(start))
    }
}

fn layout(pieces: &[Piece<'_>]) -> String {
    let measures = measure(pieces);
    let mut output = String::new();
    // Columns of the open parentheses.
    let mut open: Vec<usize> = Vec::new();
    let mut column = 0;
    let mut before: Option<&Piece<'_>> = None;
    for (at, piece) in pieces.iter().enumerate() {
        let mut breaks = kept_breaks(before, piece);
        let indent = match (open.last(), piece.kind) {
            (None, _) => 0,
            (Some(column), Kind::Close) => *column,
            (Some(column), _) => column + 1,
        };
        let is_spaced =
            before.is_some_and(|before| before.kind != Kind::Open) && piece.kind != Kind::Close;
        let is_breakable = is_spaced && piece.kind != Kind::Comment && column > indent;
        if breaks == 0 && is_breakable && column + 1 + measures.need(at) > WIDTH {
            breaks = 1;
        }
        if breaks > 0 {
            output.extend(core::iter::repeat_n('\n', breaks));
            output.extend(core::iter::repeat_n(' ', indent));
            column = indent;
        } else if is_spaced {
            output.push(' ');
            column += 1;
        }
        match piece.kind {
            Kind::Open => open.push(column),
            Kind::Close => {
                open.pop();
            }
            _ => {}
        }
        output.push_str(piece.text);
        column = match piece.text.rsplit_once('\n') {
            Some((_, last)) => width(last),
            None => column + width(piece.text),
        };
        before = Some(piece);
    }
    if !output.is_empty() {
        output.push('\n');
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::expr::Expr;
    use proptest::prelude::*;

    fn formatted(text: &str) -> String {
        let mut sources = Sources::new();
        let source = sources.add("file", text);
        format(&sources, source).unwrap()
    }

    #[test]
    fn line_breaks_are_kept_and_lines_indented() {
        let text = "(((a  b\n(($0\n   $1 add )sk) ) (a b) fn )\nint.add def  )   (1\n2)";
        let expected =
            "(((a b\n   (($0\n     $1 add) sk)) (a b) fn)\n int.add def) (1\n               2)\n";
        assert_eq!(formatted(text), expected);
        assert_eq!(formatted(""), "");
        assert_eq!(formatted("\n\n a \n\n\n b\n\n"), "a\n\nb\n");
        assert_eq!(formatted("(\n1\n\n)"), "(1)\n");
    }

    #[test]
    fn comments_stay_where_they_are() {
        let text = "; top  \n(a;x\n\n\n  ; own line\n b #;(skipped\n  (c)) d\n ; last\n )";
        let expected = "; top\n(a ;x\n\n ; own line\n b #;(skipped\n  (c))\n d\n ; last\n)\n";
        assert_eq!(formatted(text), expected);
        assert_eq!(formatted("( ; first\na)"), "(; first\n a)\n");
        assert_eq!(formatted("(a #;) b)"), "(a #;)\n b)\n");
        assert_eq!(formatted("#;#;a b"), "#;#;a\nb\n");
        assert_eq!(
            formatted("#!/usr/bin/astreum  \n(a )"),
            "#!/usr/bin/astreum\n(a)\n"
        );
        // A symbol, and not the line of an executable file.
        for text in [" #!a b", "\n#!a b\n"] {
            assert_eq!(formatted(text), "\n#!a b\n");
        }
    }

    #[test]
    fn long_lines_are_broken_between_items() {
        let words = "word ".repeat(50);
        let text = formatted(&alloc::format!("(({words}) (short list) name def)"));
        assert!(text.lines().all(|line| width(line) <= WIDTH), "{text}");
        assert_eq!(text.lines().count(), 3);
        let long = "x".repeat(2 * WIDTH);
        assert_eq!(
            formatted(&alloc::format!("(a {long} b)")),
            alloc::format!("(a\n {long}\n b)\n")
        );
        assert_eq!(formatted("\"two\nlines\" a"), "\"two\nlines\" a\n");
    }

    #[test]
    fn parse_errors_have_places() {
        let mut sources = Sources::new();
        let source = sources.add("file", "#!x\n(a))");
        let error = format(&sources, source).unwrap_err();
        assert!(
            error
                .render(&sources)
                .starts_with("file:2:4: error: parse error: unexpected ')'")
        );
    }

    #[test]
    fn million_nested_lists_do_not_recurse() {
        let text = "(".repeat(100_000) + &")".repeat(100_000);
        let work = move || assert_eq!(formatted(&text).trim_end(), text);
        let thread = std::thread::Builder::new().stack_size(128 << 10);
        thread.spawn(work).unwrap().join().unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn formatting_is_idempotent_and_keeps_the_value(
            text in "([(][)]|#;|[();# \n\tab\"\\\\1\u{2003}]|[ab]{3}|[ab]{30}|[(]a |a[)]){0,80}",
        ) {
            let mut sources = Sources::new();
            let source = sources.add("file", text.clone());
            if let Ok(once) = format(&sources, source) {
                prop_assert_eq!(formatted(&once), once.clone());
                let parse = |text| Parser::new(text).collect::<Result<Vec<Expr>, _>>().unwrap();
                prop_assert_eq!(parse(&once), parse(&text));
            }
        }
    }
}
