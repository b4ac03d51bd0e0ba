# SPDX-License-Identifier: GPL-2.0-only
"""live_ended.py: VMs that ended stay for a while, and never more of them than there is room for."""

from __future__ import annotations

import pytest

from lpttrace.live_ended import Ended
from lpttrace.snapshot import VcpuCounters, VmCounters, VmKey

SECONDS, MOST = 300.0, 8


class Clock:
    """Of time.monotonic()."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def end(ended: Ended, number: int, vcpus: int = 1) -> None:
    key = VmKey(0, number)
    ended.add(VmCounters(key, 7, False, None), [VcpuCounters(key, n, 9, {}) for n in range(vcpus)])


def shown(ended: Ended) -> list[int]:
    """Their numbers; whose vCPUs are there is the same."""
    numbers = [vm.key.seen_ns for vm in ended.vms]
    assert list(dict.fromkeys(vcpu.vm.seen_ns for vcpu in ended.vcpus)) == numbers
    return numbers


def test_they_stay_for_their_time(clock: Clock) -> None:
    ended = Ended(SECONDS, MOST)
    for number in range(3):
        end(ended, number)
        clock.now += 100
    ended.expire()
    assert shown(ended) == [1, 2]
    clock.now += 99
    ended.expire()
    assert shown(ended) == [1, 2]
    clock.now += 1
    ended.expire()
    assert (shown(ended), ended.let_go) == ([2], 0)


def test_however_many_end_there_is_a_bound(clock: Clock) -> None:
    ended = Ended(SECONDS, MOST)
    for number in range(6_000):
        end(ended, number)
        assert len(ended.vms) <= MOST
        clock.now += 0.05
    assert shown(ended) == list(range(6_000 - MOST, 6_000))
    assert ended.let_go == 6_000 - MOST


def test_the_bound_is_of_vcpus_too(clock: Clock) -> None:
    ended = Ended(SECONDS, MOST)
    for number, vcpus in enumerate((3, 3, 2, 1)):
        end(ended, number, vcpus)
    assert (shown(ended), len(ended.vcpus), ended.let_go) == ([1, 2, 3], 6, 1)


def test_what_was_let_go_makes_room(clock: Clock) -> None:
    ended = Ended(SECONDS, MOST)
    for number in range(MOST):
        end(ended, number)
    clock.now += SECONDS
    ended.expire()
    end(ended, MOST)
    assert (shown(ended), ended.let_go) == ([MOST], 0)


def test_one_that_is_larger_than_all_room_is_shown(clock: Clock) -> None:
    ended = Ended(SECONDS, MOST)
    end(ended, 0)
    end(ended, 1, MOST + 1)
    assert (shown(ended), ended.let_go) == ([1], 1)
