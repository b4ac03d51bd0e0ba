# SPDX-License-Identifier: GPL-2.0-only
"""Runs of the lab, shared by the tests that look at them. Nothing here skips."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LAB = REPOSITORY / "deploy" / "lab" / "lab"
GUEST = REPOSITORY / "tests" / "lab" / "guest"

# What takes minutes goes first, so that no worker begins with it when the others have ended.
LONGEST = (
    *("test_interrupt", "test_main_job", "test_errors", "test_continuity", "test_diff_pairs"),
    *("test_package", "test_prometheus_lab", "test_instrument", "test_linux_guest"),
    *("test_migration", "test_recording", "test_prometheus", "test_rpm", "test_exact_time"),
    "test_forged_sequence",
)


@dataclass(frozen=True)
class LabRun:
    """How a command in the machine ended, and what it said."""

    status: int
    stdout: str
    stderr: str


def run_in_lab(options: list[str], command: list[str]) -> LabRun:
    """Boot, run, and return whatever the command did; tests/lab/guest is at /tmp/guest."""
    added = ["--add", f"{GUEST}:/tmp/guest"]
    argv = [str(LAB), "run", *added, *options, "--", *command]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return LabRun(done.returncode, done.stdout, done.stderr)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session")
def lab() -> Callable[[list[str], list[str]], LabRun]:
    return run_in_lab


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY
