"""Configuration of a node: a dictionary becomes checked values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from astreum import _native

#: Other names that the reference reads, and the key that each one stands for.
_OTHER_NAMES = {
    "hot_storage_default_limit": "hot_storage_limit",
    "logging_retention": "logging_retention_days",
    "retention_days": "logging_retention_days",
}
#: Secret keys; their text is checked when they are used.
SECRETS = ("relay_secret_key", "validation_secret_key")

KEYS = {name: (kind, default) for name, kind, default in _native.config_keys()}


def settings(config: Mapping[str, Any]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Returns the known keys with their values as text, and the secret keys that are malformed.

    Keys that are not known are ignored, as in the reference.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a dictionary, not {type(config).__name__}")
    if "default_seeds" in config:
        raise ValueError("default_seeds is no longer supported; use default_seed")
    given = {new: config[old] for old, new in _OTHER_NAMES.items() if old in config}
    given |= {name: value for name, value in config.items() if name in KEYS}
    # The reference ignores other names of chains.
    if given.get("chain") not in ("main", "test"):
        given.pop("chain", None)
    texts: dict[str, list[str]] = {}
    malformed: dict[str, str] = {}
    for name, value in given.items():
        kind, default = KEYS[name]
        if value is None and default is None and kind in ("int", "float"):
            continue
        is_unset = value is None and kind in ("string", "hex string")
        text = [""] if is_unset else _CONVERSIONS[kind](name, value)
        if name in SECRETS and text != [""] and not _is_key(text[0]):
            malformed[name] = f"invalid value for {name} (not shown): expected 64 hex digits (32 bytes)"
        elif text:
            texts[name] = text
    return texts, malformed


def _is_key(text: str) -> bool:
    digits = text.strip().removeprefix("0x")
    return len(digits) == 64 and all(digit in "0123456789abcdefABCDEF" for digit in digits)


def _integer(name: str, value: Any) -> list[str]:
    try:
        return [str(int(value))]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be an integer: {value!r}") from None


def _number(name: str, value: Any) -> list[str]:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a number: {value!r}") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f"{name} must be a finite number: {value!r}")
    return [repr(number) if not number.is_integer() else str(int(number))]


def _switch(name: str, value: Any) -> list[str]:
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return ["true" if value else "false"]
    raise ValueError(f"{name} must be True or False: {value!r}")


def _text(name: str, value: Any) -> list[str]:
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
        if isinstance(text, str):
            return [text]
    raise ValueError(f"{name} must be a string or None: {value!r}")


def _hex(name: str, value: Any) -> list[str]:
    if isinstance(value, (bytes, bytearray)) and len(value) == 32:
        return [value.hex()]
    if isinstance(value, str):
        return [value]
    # A secret is not shown.
    raise ValueError(f"{name} must be a hex string or None, not {type(value).__name__}")


def _texts(name: str, value: Any) -> list[str]:
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return list(value)
    raise ValueError(f"{name} must be a list of strings: {value!r}")


_CONVERSIONS = {
    "int": _integer,
    "float": _number,
    "bool": _switch,
    "string": _text,
    "hex string": _hex,
    "list[str]": _texts,
}
