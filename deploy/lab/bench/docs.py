# SPDX-License-Identifier: GPL-2.0-only
"""Generated sections of a hand-written document, between a pair of comments each.

<!-- begin NAME: made by `command`, do not edit -->
<!-- end NAME -->
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path


class DocsError(Exception):
    """A document without the section that was to be written: which, and where."""


def write(path: Path, name: str, body: str) -> None:
    """Replaces what is in section `name` of a file by `body`."""
    text = path.read_text(encoding="utf-8")
    try:
        path.write_text(replaced(text, name, body), encoding="utf-8")
    except KeyError as error:
        raise DocsError(f"{path}: has no section {name}; add its two comments") from error


def replaced(text: str, name: str, body: str) -> str:
    """The text with a new body in section `name`; KeyError if there is no such section."""
    begin, end = rf"<!-- begin {re.escape(name)}\b[^\n]*-->\n", f"<!-- end {re.escape(name)} -->"
    found = re.search(f"({begin})(.*?)({end})", text, re.DOTALL)
    if not found:
        raise KeyError(name)
    before, after = text[: found.end(1)], text[found.start(3) :]
    return f"{before}\n{body.strip()}\n\n{after}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))
