# SPDX-License-Identifier: GPL-2.0-only
"""What cannot be compared, because a probe, or a VM, is missing on one side. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lpttrace.abi import TrapClass
from lpttrace.blocks import Blocks
from lpttrace.diff_tables import Side
from lpttrace.diff_types import Row
from lpttrace.model import not_visible
from lpttrace.model_time import NEEDS

__all__ = ["Blind", "blind_rows", "blindness", "lacking", "lone_rows"]

_KINDS = {
    "hypercall": "hypercalls",
    "timer": "timer traps",
    "lateness": "timer lateness",
    "stolen": "stolen time",
    "update": "stolen time",
}
_INTERRUPTS = "timer interrupts"
_MEASURES = {_INTERRUPTS: "frequency", "stolen time": "stolen"}


@dataclass(frozen=True)
class Blind:
    """By name of model_time.NEEDS, why it cannot be seen before and after ("" if it can)."""

    reasons: Mapping[str, tuple[str, str]]

    def sees(self, cls: TrapClass, measure: str) -> bool:
        """Whether a class can be compared in this respect."""
        if any(self.reasons[_KINDS[cls.kind]]):
            return False
        return measure != "frequency" or not self._one_side(_INTERRUPTS)

    @property
    def interrupts_on_both(self) -> bool:
        """Whether there is a unit of guest work."""
        return not any(self.reasons[_INTERRUPTS])

    def on_one_side(self) -> list[str]:
        """What one side sees and the other does not."""
        return [thing for thing in self.reasons if self._one_side(thing)]

    def _one_side(self, thing: str) -> bool:
        before, after = self.reasons[thing]
        return bool(before) != bool(after)


def blindness(sides: Sequence[Side]) -> Blind:
    """Of two sides."""
    before, after = (lacking(side.runs) for side in sides)
    return Blind({thing: (before.get(thing, ""), after.get(thing, "")) for thing in NEEDS})


def lacking(runs: Sequence[Blocks]) -> dict[str, str]:
    """What any of the recordings cannot see, with the reason."""
    return {
        thing: reason
        for run in runs
        for things, reason in not_visible(run.last)
        for thing in things.split(", ")
    }


def blind_rows(blind: Blind) -> Iterator[Row]:
    """One for each thing that could be compared, were it seen on both sides."""
    for thing in blind.on_one_side():
        before, after = blind.reasons[thing]
        side, reason = ("before", before) if before else ("after", after)
        yield Row(
            *("", None, TrapClass("", thing, ""), _MEASURES.get(thing, "service"), "cannot tell"),
            f"probe missing on one side ({side}): {reason}",
            *(None, None, None, None, 0.0),
        )


def lone_rows(only_before: Iterable[str], only_after: Iterable[str]) -> Iterator[Row]:
    """One for each VM without a counterpart."""
    for names, side in ((only_before, "before"), (only_after, "after")):
        for name in names:
            yield Row(
                *(name, None, TrapClass("", "everything", ""), "service", "cannot tell"),
                f"VM on one side only: seen {side} and no other of its name to compare it with",
                *(None, None, None, None, 0.0),
            )
