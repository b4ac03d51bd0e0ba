# SPDX-License-Identifier: GPL-2.0-only
"""What two sides do not have in common: hosts, and what could be seen on them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Callable

from lpttrace.blocks import Blocks
from lpttrace.diff_sight import lacking
from lpttrace.diff_types import HostDifference
from lpttrace.model import losses_between
from lpttrace.model_time import NEEDS
from lpttrace.printable import printable

__all__ = ["alike", "host_differences"]

_EL2 = {"vhe": "VHE", "nvhe": "nVHE"}
_SEEN = "seen"

# Nobody needs to be told that these are the same.
_INTERNAL = ("kernel build", "layout", "source")


def _hertz(run: Blocks) -> str:
    hertz = run.host.counter_hz
    return f"{hertz} Hz" if hertz else "unknown"


_FACTS: dict[str, tuple[Callable[[Blocks], str], str]] = {
    "host": (lambda run: run.host.hostname, ""),
    "kernel": (lambda run: run.host.kernel, "it serves the traps: this may be what is to be seen"),
    "kernel build": (lambda run: run.host.build_id or "unknown", "same name, another build"),
    "architecture": (lambda run: run.host.architecture, "service times are of other machines"),
    "CPU": (lambda run: run.host.cpu, "service times are of other machines"),
    "CPUs": (lambda run: str(run.host.cpus), ""),
    "hypervisor mode": (
        lambda run: _EL2.get(run.host.el2 or "", "unknown"),
        "which timer accesses trap depends on it: frequencies differ for that alone",
    ),
    "counter frequency": (
        _hertz,
        "LPT scales by it; times here are in nanoseconds on both sides",
    ),
    "lpttrace": (lambda run: run.host.lpttrace, ""),
    "layout": (lambda run: str(run.host.layout), "the programs that counted differ"),
    "source": (lambda run: run.host.source, "made-up numbers are compared with real ones"),
}


def host_differences(
    before: Sequence[Blocks], after: Sequence[Blocks]
) -> tuple[HostDifference, ...]:
    """Facts that differ, then what one of them cannot see."""
    return (*_facts(before, after), *_sight(before, after), *_losses(before, after))


def alike(before: Sequence[Blocks], after: Sequence[Blocks]) -> Iterator[str]:
    """What two sides do have in common, for those who know the hosts by nothing else."""
    runs = (*before, *after)
    same = [
        f"{what} {printable(fact(runs[0]))}"
        for what, (fact, _) in _FACTS.items()
        if len(set(map(fact, runs))) == 1 and what not in _INTERNAL
    ]
    if same:
        yield f"The same on both: {', '.join(same)}."
    blind = [lacking(side) for side in (before, after)]
    seen = [thing for thing in NEEDS if not any(thing in reasons for reasons in blind)]
    if seen:
        yield f"Counted on both: {', '.join(seen)}."
    for thing in NEEDS:
        if all(thing in reasons for reasons in blind):
            yield f"Counted on neither: {thing} ({printable(blind[0][thing])})."


def _facts(before: Sequence[Blocks], after: Sequence[Blocks]) -> Iterator[HostDifference]:
    for what, (fact, matters) in _FACTS.items():
        sides = [", ".join(dict.fromkeys(map(fact, runs))) for runs in (before, after)]
        if sides[0] != sides[1]:
            if what == "kernel build" and before[0].host.kernel != after[0].host.kernel:
                continue
            yield HostDifference(what, sides[0], sides[1], matters)


def _sight(before: Sequence[Blocks], after: Sequence[Blocks]) -> Iterator[HostDifference]:
    reasons = [lacking(runs) for runs in (before, after)]
    for thing in NEEDS:
        if (thing in reasons[0]) != (thing in reasons[1]):
            told = [f"not seen: {side[thing]}" if thing in side else _SEEN for side in reasons]
            yield HostDifference(thing, told[0], told[1], "cannot be compared")


def _losses(before: Sequence[Blocks], after: Sequence[Blocks]) -> Iterator[HostDifference]:
    lost = [_lost(runs) for runs in (before, after)]
    for name in dict.fromkeys((*lost[0], *lost[1])):
        one, other = (side.get(name, 0) for side in lost)
        yield HostDifference(f"losses {name}", str(one), str(other), "numbers are too low by these")


# Losses that make no number too low.
_NOTHING_LOST = ("torn", "gone_early")


def _lost(runs: Sequence[Blocks]) -> dict[str, int]:
    found: dict[str, int] = {}
    for run in runs:
        for name, new in losses_between(run.first, run.last).items():
            if new and name not in _NOTHING_LOST:
                found[name] = found.get(name, 0) + new
    return found
