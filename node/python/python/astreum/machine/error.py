"""Errors of the tokenizer and the parser."""

from __future__ import annotations


class ParseError(ValueError):
    """A source is not an expression.

    `offset` (in characters, from 0), `line` and `column` (from 1) give the position, and `snippet`
    the line with a caret under it. They are `None` for tokens, which have no positions.
    """

    def __init__(
        self,
        message: str,
        offset: int | None = None,
        line: int | None = None,
        column: int | None = None,
        snippet: str | None = None,
    ) -> None:
        super().__init__(message)
        self.offset = offset
        self.line = line
        self.column = column
        self.snippet = snippet

    def __reduce__(self):
        fields = (self.args[0], self.offset, self.line, self.column, self.snippet)
        return (type(self), fields)
