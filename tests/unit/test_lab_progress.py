# SPDX-License-Identifier: GPL-2.0-only
"""How the lab tells of long work."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from labkit import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def ten_seconds_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    times: Iterator[float] = iter(range(0, 10_000, 10))
    monkeypatch.setattr("time.monotonic", lambda: next(times))


def work(stream: io.StringIO) -> str:
    with progress.Progress("building", stream) as shown:
        for number in range(4):
            shown.update(f"{number} files")
    return stream.getvalue()


def test_a_terminal_has_one_line_rewritten() -> None:
    text = work(Terminal())
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert "\r\x1b[Klab: building: 3 files" in text


def test_elsewhere_lines_are_20_seconds_apart() -> None:
    lines = work(io.StringIO()).splitlines()
    assert lines == [
        "lab: building: started, 0:10",
        "lab: building: 1 files, 0:40",
        "lab: building: 3 files, 1:10",
        "lab: building: done, 1:20",
    ]


def test_a_failure_is_told() -> None:
    stream = io.StringIO()
    with pytest.raises(RuntimeError), progress.Progress("building", stream):
        raise RuntimeError
    assert "building: failed" in stream.getvalue()


def test_minutes() -> None:
    assert progress.clock(90.4) == "1:30"
