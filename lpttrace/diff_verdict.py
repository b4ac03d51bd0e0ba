# SPDX-License-Identifier: GPL-2.0-only
"""From what was tested to the verdict on each row. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import numpy as np

from lpttrace.diff_tables import Item
from lpttrace.diff_tails import LEAST_CHANGE
from lpttrace.diff_tested import Tested
from lpttrace.diff_types import Bounds, Options, Row

__all__ = ["judged", "row_of"]

Told = tuple[str, str]
"""A verdict and its reason."""


def row_of(
    item: Item, whole_vm: bool, measure: str, found: Tested, place: int, p: float, options: Options
) -> Row:
    """The row of one place in what was tested, with its verdict."""
    one, other, change = found.before, found.after, found.change
    bounds = Bounds(*(float(part[place]) - 1 for part in (change.ratio, change.low, change.high)))
    finite = bool(np.isfinite([bounds.change, bounds.low, bounds.high]).all())
    row = Row(
        *(item.subject.vm, None if whole_vm else item.subject.vcpu, item.cls, measure, "", ""),
        before=_known(one.value[place], one.under[place]),
        after=_known(other.value[place], other.under[place]),
        bounds=bounds if finite else None,
        p=p if found.enough[place] else None,
        effect_ns=float(found.effect_ns[place]),
        samples=(int(one.under[place]), int(other.under[place])),
        blocks=(int(one.blocks[place]), int(other.blocks[place])),
        joined=int(max(one.joined[place], other.joined[place])),
    )
    verdict, reason = judged(row.bounds, row.p, options)
    return replace(row, verdict=verdict, reason=reason)


def _known(value: float, under: float) -> Optional[float]:
    return float(value) if under > 0 else None


def judged(
    bounds: Optional[Bounds], p: Optional[float], options: Options, least: float = 0.0
) -> Told:
    """The verdict; p is corrected, None if there was too little. least is a threshold that is
    greater than the option, as tails have it."""
    if p is None or bounds is None:
        return (
            "cannot tell",
            "too few samples: this happened too rarely, or the recording is too short",
        )
    threshold = max(options.threshold, least)
    top, bottom = threshold, 1 / (1 + threshold) - 1
    if p < options.alpha and not bottom < bounds.change < top:
        return ("regressed" if bounds.change > 0 else "improved"), ""
    if bottom <= bounds.low and bounds.high <= top:
        return "same", ""
    return "cannot tell", "too few samples: the interval is wider than the threshold"


def tail_judged(row: Row, beyond: Bounds, options: Options) -> Told:
    """Of a tail, both the share beyond the bound and the quantile must have changed."""
    verdict, reason = judged(row.bounds, row.p, options, LEAST_CHANGE)
    if verdict in ("regressed", "improved"):
        agrees = beyond.change * (1 if verdict == "regressed" else -1) > 0
        enough = not 1 / (1 + LEAST_CHANGE) - 1 < beyond.change < LEAST_CHANGE
        return (verdict, reason) if agrees and enough else ("same", "")
    return verdict, reason
