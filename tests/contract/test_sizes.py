# SPDX-License-Identifier: GPL-2.0-only
"""Files and functions are short enough to be read at once."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 50
CODE = (".py", ".c", ".h", ".S", ".sh")


def sources() -> list[Path]:
    """All code that git knows of, and that has not been deleted."""
    command = ["git", "-C", str(ROOT), "ls-files"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listed.split("\n") if name.endswith(CODE)]
    return [path for path in paths if path.exists()]


SOURCES = sources()


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Names, and from `def` to the last line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_there_is_code() -> None:
    assert {suffix for path in SOURCES for suffix in CODE if path.suffix == suffix} == set(CODE)


def test_files() -> None:
    lines = {str(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: number for path, number in lines.items() if number > MOST_LINES} == {}


@pytest.mark.parametrize("folder", ["lpttrace", "tests", "deploy"])
def test_functions(folder: str) -> None:
    found = [
        (str(path), *function)
        for path in SOURCES
        if path.suffix == ".py" and (ROOT / folder) in path.parents
        for function in functions(path)
    ]
    assert len(found) > 50
    assert [one for one in found if one[2] > MOST_LINES_OF_A_FUNCTION] == []
