"""Tokenizer."""

from astreum._native import tokenize

__all__ = ["tokenize"]
