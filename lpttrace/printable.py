# SPDX-License-Identifier: GPL-2.0-only
"""Names that others chose: the one rule of how they are cut and escaped. Pure.

A VM's name comes from a command line, and may be 100 KB of anything. bounded() is for data, as in
JSON, printable() for whatever people look at: terminals, logs, labels.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = ["bounded", "fit", "printable", "width"]

_MOST = 256
"""libvirt's names are those of files, so at most 255."""

_SURROGATE = re.compile("[\ud800-\udfff]")

# Nothing to be seen, though Python takes them for graphic (Default_Ignorable_Code_Point of Unicode,
# and the empty Braille pattern): two names with such characters look the same.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

# More on one letter are for painting over the lines above and below.
_MOST_MARKS = 2

# All before it take one column.
_FIRST_COMBINING = "\u0300"


def bounded(text: str) -> str:
    """Valid Unicode, cut with … if it is longer than any name is."""
    if len(text) > _MOST:
        text = text[: _MOST - 1] + "…"
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def printable(text: str) -> str:
    """In graphic characters only, and cut with … where it takes too many columns.

    Control characters (so escape sequences), bidirectional and invisible ones, strange spaces, and
    heaps of combining marks are shown escaped.
    """
    text = bounded(text)
    if text.isascii() and text.isprintable():
        return text
    shown, marks = [], _MOST_MARKS
    for char in text:
        marks = marks + 1 if _is_mark(char) else 0
        plain = char.isprintable() and marks <= _MOST_MARKS and not _INVISIBLE.match(char)
        shown.append(char if plain else char.encode("unicode_escape").decode())
    return fit("".join(shown), _MOST)


def _is_mark(char: str) -> bool:
    return char >= _FIRST_COMBINING and unicodedata.category(char) in ("Mn", "Me")


def width(text: str) -> int:
    """Terminal columns the text takes."""
    if text.isascii() or max(text) < _FIRST_COMBINING:
        return len(text)
    return sum(map(_char_width, text))


@lru_cache(maxsize=4096)
def _char_width(char: str) -> int:
    if _is_mark(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """The text, cut with … where it takes more columns than that."""
    if width(text) <= columns:
        return text
    kept, used = [], 0
    for char in text:
        used += _char_width(char)
        if used > columns - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"
