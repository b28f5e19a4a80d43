//! Completeness check for source text that arrives in pieces.

use super::token::is_space;

/// Incremental check of whether the source text so far is complete, for a prompt that reads one
/// line at a time.
///
/// Each character is read once, regardless of how the text is split.
///
/// ```
/// use astreum_core::text::Pending;
/// let mut pending = Pending::new();
/// pending.push("(1 \"two\n");
/// assert!(!pending.is_complete());
/// pending.push("lines\")\n");
/// assert!(pending.is_complete());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Pending {
    depth: usize,
    state: State,
    skipped: Skipped,
    /// The last character is a `#` whose meaning depends on the next character.
    hash: bool,
    failed: bool,
}

/// Lexical state at the end of the text.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum State {
    /// Between tokens.
    #[default]
    Blank,
    /// In an integer or a symbol.
    Atom,
    /// In a comment that runs to the end of the line.
    Comment,
    /// In a string, outside of an escape.
    String { is_bad: bool },
    /// In a string, after a `\`.
    Escape { is_bad: bool },
    /// In a string, after `\x` or after `\x` and one digit.
    Digit { is_bad: bool, is_last: bool },
}

/// State of an open datum comment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Skipped {
    /// No datum comment is open.
    #[default]
    None,
    /// Nothing is skipped yet; the datum follows.
    Nothing,
    /// In an integer, a symbol or a string that is skipped.
    Token,
    /// In a list that is skipped.
    List {
        depth: usize,
        /// The text is directly after an inner `#;`, which consumes a `)`.
        takes_close: bool,
    },
}

impl Pending {
    /// Creates a check for an empty text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next piece of the text.
    pub fn push(&mut self, piece: &str) {
        for character in piece.chars() {
            if self.failed {
                return;
            }
            self.take(character);
        }
    }

    /// Returns whether no list, string or datum comment is open. A text with an error that more
    /// text cannot fix is complete.
    ///
    /// ```
    /// use astreum_core::text::Pending;
    /// let mut pending = Pending::new();
    /// assert!(pending.is_complete());
    /// pending.push("(a");
    /// assert!(!pending.is_complete());
    /// // More text cannot fix this.
    /// pending.push(") )");
    /// assert!(pending.is_complete());
    /// ```
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        if self.failed {
            return true;
        }
        let in_string = matches!(
            self.state,
            State::String { .. } | State::Escape { .. } | State::Digit { .. }
        );
        let in_skipped = match self.skipped {
            Skipped::None | Skipped::Token => false,
            // A `#` that nothing follows is a datum.
            Skipped::Nothing => !self.hash,
            Skipped::List { .. } => true,
        };
        self.depth == 0 && !in_string && !in_skipped
    }

    fn take(&mut self, character: char) {
        match self.state {
            State::Comment => {
                if character == '\n' {
                    self.state = State::Blank;
                }
            }
            State::String { is_bad } => match character {
                '"' => self.end_string(is_bad),
                '\\' => self.state = State::Escape { is_bad },
                _ => {}
            },
            State::Escape { is_bad } => {
                self.state = match character {
                    '"' | '\\' | 'n' | 't' | 'r' => State::String { is_bad },
                    'x' => State::Digit {
                        is_bad,
                        is_last: false,
                    },
                    _ => State::String { is_bad: true },
                }
            }
            State::Digit { is_bad, is_last } => match character {
                '0'..='9' | 'a'..='f' | 'A'..='F' => {
                    self.state = if is_last {
                        State::String { is_bad }
                    } else {
                        State::Digit {
                            is_bad,
                            is_last: true,
                        }
                    }
                }
                _ => {
                    self.state = State::String { is_bad: true };
                    self.take(character);
                }
            },
            State::Blank | State::Atom => self.take_outside(character),
        }
    }

    /// Handles a character that is neither in a string nor in a comment.
    fn take_outside(&mut self, character: char) {
        if core::mem::take(&mut self.hash) {
            if character == ';' {
                return self.open_datum_comment();
            }
            self.begin_atom();
        }
        match character {
            '#' => self.hash = true,
            ';' => {
                self.end_atom();
                self.state = State::Comment;
            }
            '(' => self.open(),
            ')' => self.close(),
            '"' if self.state == State::Blank => {
                self.begin_token();
                self.state = State::String { is_bad: false };
            }
            character if is_space(character) => self.end_atom(),
            _ => self.begin_atom(),
        }
    }

    /// Records that a token other than a `)` starts or continues here.
    fn begin_token(&mut self) {
        match &mut self.skipped {
            Skipped::None | Skipped::Token => {}
            Skipped::Nothing => self.skipped = Skipped::Token,
            Skipped::List { takes_close, .. } => *takes_close = false,
        }
    }

    fn begin_atom(&mut self) {
        self.begin_token();
        self.state = State::Atom;
    }

    fn end_atom(&mut self) {
        if self.skipped == Skipped::Token && self.state == State::Atom {
            self.skipped = Skipped::None;
        }
        self.state = State::Blank;
    }

    fn end_string(&mut self, is_bad: bool) {
        self.state = State::Blank;
        match self.skipped {
            Skipped::Token => self.skipped = Skipped::None,
            Skipped::None => self.failed = is_bad,
            Skipped::Nothing | Skipped::List { .. } => {}
        }
    }

    fn open(&mut self) {
        self.end_atom();
        match &mut self.skipped {
            Skipped::Nothing => {
                self.skipped = Skipped::List {
                    depth: 1,
                    takes_close: false,
                };
            }
            Skipped::List { depth, takes_close } => {
                *depth += 1;
                *takes_close = false;
            }
            Skipped::None | Skipped::Token => self.depth += 1,
        }
    }

    fn close(&mut self) {
        self.end_atom();
        match &mut self.skipped {
            Skipped::Nothing => self.skipped = Skipped::None,
            Skipped::List { takes_close, .. } if *takes_close => *takes_close = false,
            Skipped::List { depth: 1, .. } => self.skipped = Skipped::None,
            Skipped::List { depth, .. } => *depth -= 1,
            Skipped::None | Skipped::Token => match self.depth.checked_sub(1) {
                Some(depth) => self.depth = depth,
                None => self.failed = true,
            },
        }
    }

    fn open_datum_comment(&mut self) {
        self.end_atom();
        match &mut self.skipped {
            Skipped::List { takes_close, .. } => *takes_close = true,
            // A datum comment before another one skips nothing.
            skipped => *skipped = Skipped::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Parser, tokenize};
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    fn is_complete(pieces: &[&str]) -> bool {
        let mut pending = Pending::new();
        pieces.iter().for_each(|piece| pending.push(piece));
        pending.is_complete()
    }

    #[test]
    fn open_lists_strings_and_datum_comments_are_incomplete() {
        for text in [
            "(",
            "(a",
            "\"text",
            "(a \"b)",
            "(a ; )",
            "(a) (b",
            "\"\\",
            "\"\\x4",
            "#;",
            "#;(a",
            "#; ; )",
            "#;(a #;) b",
            "#;\"a",
        ] {
            assert!(!is_complete(&[text]), "{text}");
        }
        for text in [
            "",
            "a",
            "(a)",
            ")",
            "(a))",
            "\"a\\q\"",
            "; (",
            "#;a",
            "#;)",
            "#;(a)",
            "#;#",
            "a#",
            "#;(a #;) b)",
            ") (",
            "\"\\q\" (",
        ] {
            assert!(is_complete(&[text]), "{text}");
        }
    }

    #[test]
    fn input_may_be_split_anywhere() {
        assert!(!is_complete(&["#", ";", "("]));
        assert!(is_complete(&["#", ";", "(", ")"]));
        assert!(is_complete(&["\"\\", "\"", "\""]));
        assert!(is_complete(&["\"\\x", "4", "1\""]));
        assert!(!is_complete(&["(", "#", ";", ")"]));
    }

    /// Computes the result of [`Pending::is_complete`] with the parser and the tokenizer.
    fn plainly(source: &str) -> bool {
        let error = Parser::new(source).find_map(Result::err);
        if let Some(error) = error {
            return !error.is_incomplete();
        }
        // An open datum comment consumes the next datum.
        let probed = String::from(source) + "\nprobe";
        tokenize(&probed).is_ok_and(|tokens| tokens.last().is_some_and(|last| last.text == "probe"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn split_input_matches_the_parser(
            source in "([(][)]|#;|[();#\"\\\\ \n\u{2003}aλ1x]|[(]\"|\\\\x[0-9]){0,30}", cuts in proptest::collection::vec(0..60_usize, 0..6),
        ) {
            let mut pending = Pending::new();
            let mut start = 0;
            let mut cuts = cuts;
            cuts.sort_unstable();
            for cut in cuts {
                let end = source.floor_char_boundary(cut).max(start);
                pending.push(&source[start..end]);
                start = end;
            }
            pending.push(&source[start..]);
            prop_assert_eq!(pending.is_complete(), plainly(&source));
        }
    }
}
