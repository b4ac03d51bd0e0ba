# SPDX-License-Identifier: GPL-2.0-only
"""maps_ledger.py: what one agent tells the next, in memory that does not grow."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import pytest

from lpttrace.maps_ledger import PLACES, WORDS, Ledger

# More than any kernel has: there is no such process.
GONE = 1 << 23


@pytest.fixture
def fd() -> Iterator[int]:
    fd = os.memfd_create("ledger")
    os.ftruncate(fd, -(-8 * WORDS // mmap.PAGESIZE) * mmap.PAGESIZE)
    yield fd
    os.close(fd)


def test_a_process_that_is_not_known_has_no_number(fd: int) -> None:
    assert Ledger(fd).last_number(7) == 0


def test_the_next_one_knows_what_was_noted(fd: int) -> None:
    first = Ledger(fd)
    for pid, number in ((7, 1), (8, 1), (7, 2)):
        first.note_number(pid, number)
    second = Ledger(fd)
    assert [second.last_number(pid) for pid in (7, 8, 9)] == [2, 1, 0]


def test_a_number_does_not_fall(fd: int) -> None:
    ledger = Ledger(fd)
    ledger.note_number(7, 5)
    ledger.note_number(7, 3)
    assert ledger.last_number(7) == Ledger(fd).last_number(7) == 5


def test_lost_events_add_up_over_agents(fd: int) -> None:
    for count in (3, 0, 4):
        Ledger(fd).lose_events(count)
    assert Ledger(fd).lost_events == 7


@pytest.mark.parametrize("agents", [1, 2])
def test_whoever_came_first_is_forgotten_first_unless_it_lives(fd: int, agents: int) -> None:
    ledger = Ledger(fd)
    ledger.note_number(os.getpid(), 6)
    pids = range(GONE, GONE + PLACES - 1)
    for pid in pids:
        ledger.note_number(pid, 1)
    # Now it is full.
    assert ledger.last_number(pids[0]) == 1
    ledger = Ledger(fd) if agents == 2 else ledger
    ledger.note_number(GONE + PLACES, 2)
    numbers = [ledger.last_number(pid) for pid in (os.getpid(), *pids[:2], GONE + PLACES)]
    assert numbers == [6, 0, 1, 2]
    assert ledger._places == Ledger(fd)._places and len(ledger._places) == PLACES
