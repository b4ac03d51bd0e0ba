# SPDX-License-Identifier: GPL-2.0-only
"""The configuration file of `lpttrace serve`: its options by their long names, as TOML.

listen = ":9753"
not-vm = ["test-*"]
per-vcpu = false
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Callable

from lpttrace.errors import UsageError

__all__ = ["CONFIG_FILE", "KEYS", "ConfigError", "Key", "is_there", "load", "place_of"]

CONFIG_FILE = Path("/etc/lpttrace/lpttrace.toml")
"""What `lpttrace serve` reads if it is there and no other is named."""

# TOML came into the standard library with Python 3.11; before, it is a package of another name.
_toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


class ConfigError(UsageError):
    """A file that cannot be read or makes no sense: which, in what line, and what is wrong."""


@dataclass(frozen=True)
class Key:
    """A key, by what its values must be; reloads says that it need not wait for a restart."""

    wanted: str
    fits: Callable[[Any], bool]
    reloads: bool = False


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_number_of_vcpus(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65536


_TEXT = ("a text that is not empty", _is_text)
_BOOL = ("true or false", _is_bool)
_LIST = ("a list of texts that are not empty", _is_list)

KEYS: Mapping[str, Key] = {
    "listen": Key(*_TEXT),
    "web-config-file": Key(*_TEXT),
    "max-vcpus": Key("a whole number from 1 to 65536", _is_number_of_vcpus),
    "lpt-symbol": Key(*_TEXT),
    "pin-dir": Key(*_TEXT),
    "keep": Key(*_BOOL),
    "bpf-stats": Key(*_BOOL),
    "per-vcpu": Key(*_BOOL, reloads=True),
    "vm": Key(*_LIST, reloads=True),
    "not-vm": Key(*_LIST, reloads=True),
    "created": Key(*_BOOL, reloads=True),
}
"""All keys there are: the long options of `lpttrace serve` without their dashes."""


def is_there(path: Path) -> bool:
    """Whether there is such a file, or something that keeps us from seeing it, as load tells."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def load(path: Path) -> dict[str, Any]:
    """The values of a file by key. ConfigError names the file, the line and the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigError(f"cannot read the configuration {path}: {why}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8; save it as UTF-8") from error
    try:
        values: dict[str, Any] = _toml.loads(text)
    except ValueError as error:
        raise ConfigError(_syntax(path, text, str(error))) from error
    except RecursionError as error:
        line = _deepest_line(text)
        raise ConfigError(f"{path}:{line}: brackets in brackets, too many to read") from error
    for name, value in values.items():
        _check(path, text, name, value)
    return values


def place_of(path: Path, name: str) -> str:
    """File, line and key, for what is found to be wrong with a value where it is used."""
    text = path.read_text(encoding="utf-8") if is_there(path) else ""
    return f"{path}:{_line_of(text, name)}: {name}"


def _deepest_line(text: str) -> int:
    depths = accumulate((char in "[{") - (char in "]}") for char in text)
    deepest, _ = max(enumerate(depths), key=lambda found: found[1])
    return text.count("\n", 0, deepest) + 1


def _syntax(path: Path, text: str, said: str) -> str:
    # "Expected '=' after a key (at line 2, column 6)", or "(at end of document)".
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", said, re.S)
    if found is None:
        return f"{path}: {said[:1].lower()}{said[1:]}"
    line = int(found[2]) if found[2] else max(1, len(text.splitlines()))
    return f"{path}:{line}: {found[1][:1].lower()}{found[1][1:]}"


def _check(path: Path, text: str, name: str, value: Any) -> None:
    where = f"{path}:{_line_of(text, name)}: {name}"
    key = KEYS.get(name)
    if key is None:
        raise ConfigError(f"{where}: unknown key; there are {', '.join(KEYS)}")
    if not key.fits(value):
        raise ConfigError(f"{where}: must be {key.wanted}")


def _line_of(text: str, name: str) -> int:
    # Keys are at the top level, or begin a table that should not be there.
    word = re.escape(name)
    pattern = rf"""^[ \t]*\[*[ \t]*(["']?){word}\1[ \t]*[=.\]]"""
    found = re.search(pattern, text, re.M)
    return text.count("\n", 0, found.start()) + 1 if found else 1
