# SPDX-License-Identifier: GPL-2.0-only
"""VMs whose LPT is not the same on both sides, or was not throughout. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lpttrace.blocks import Blocks
from lpttrace.blocks_lpt import LptHistory, LptPhase, joined
from lpttrace.diff_types import LptChange
from lpttrace.printable import printable
from lpttrace.render import NONE_YET, frequency

__all__ = ["LPT_TITLES", "lpt_cells", "lpt_changes"]

LPT_TITLES = ("VM", "BEFORE", "AFTER")


def lpt_changes(before: Sequence[Blocks], after: Sequence[Blocks]) -> tuple[LptChange, ...]:
    """In order of their names; of VMs on one side only, too."""
    names = sorted({name for run in (*before, *after) for name in run.lpt})
    found = (LptChange(name, _history(before, name), _history(after, name)) for name in names)
    return tuple(change for change in found if _tells(change))


def _history(runs: Sequence[Blocks], name: str) -> LptHistory:
    return joined(run.lpt[name] for run in runs if name in run.lpt)


def _tells(change: LptChange) -> bool:
    one, other = change.before, change.after
    if not one.phases or not other.phases:
        return False
    return one != other or len(one.phases) > 1


def lpt_cells(change: LptChange) -> tuple[str, ...]:
    """One for each of LPT_TITLES."""
    return printable(change.vm), *(_told(side) for side in (change.before, change.after))


def _told(history: LptHistory) -> str:
    phases = ", then ".join(map(_phase, history.phases)) or NONE_YET
    return f"{phases}; {history.updates} updates" if history.updates else phases


def _phase(phase: LptPhase) -> str:
    return " ".join([phase.state, *_frequencies(phase)])


def _frequencies(phase: LptPhase) -> Iterator[str]:
    if phase.pv_hz:
        yield f"PV {frequency(phase.pv_hz)} (native {frequency(phase.native_hz)})"
