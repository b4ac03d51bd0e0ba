# SPDX-License-Identifier: GPL-2.0-only
"""Rows of Live Physical Time: updates, and what was published. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Optional

from lpttrace.exporter_labels import DIRECTION, NONE, REASON, RESULT, Labels
from lpttrace.exporter_rows import Tables
from lpttrace.model_lpt import audit, clock_errors, lpt_state, scales
from lpttrace.snapshot import Account, LptStructure, LptUpdates

__all__ = ["add_lpt"]

_NS = 10**9
_NEVER = Account()


def add_lpt(
    tables: Tables, labels: Labels, lpt: LptUpdates, counter_hz: Optional[int], boot: float
) -> None:
    """Of one VM; nothing where it cannot be known whether there were updates."""
    if lpt_state(lpt) != "unknown":
        _add_updates(tables, labels, lpt)
        _add_published(tables, labels, lpt, counter_hz, boot)


def _add_updates(tables: Tables, labels: Labels, lpt: LptUpdates) -> None:
    tables.lpt.append((labels, NONE, (lpt.nothing,)))
    for result, more in RESULT.items():
        account = lpt.results.get(result, _NEVER)
        tables.lpt_updates.append((labels, more, (account.count, account.ns)))


def _add_published(
    tables: Tables, labels: Labels, lpt: LptUpdates, counter_hz: Optional[int], boot: float
) -> None:
    structure = lpt.structure
    if structure is None:
        return
    # Both clocks are read at every scrape; their last digits would differ each time.
    published = round(boot + lpt.published_ns / _NS, 2)
    tables.lpt_published.append((labels, NONE, (published,)))
    if lpt.previous is not None:
        tables.lpt_previous.append((labels, NONE, (lpt.previous.native_freq,)))
    facts = _facts(structure, lpt.previous, counter_hz)
    tables.lpt_structures += [(labels, NONE, values) for values in facts.structure]
    tables.lpt_scales += [(labels, more, (value,)) for more, value in facts.scales]
    tables.lpt_scale_errors += [(labels, more, (value,)) for more, value in facts.errors]
    tables.lpt_findings += [(labels, more, (value,)) for more, value in facts.findings]


class _Facts(NamedTuple):
    # Neither structure nor scales of a wrong structure: that is an alarm, not a number.
    structure: list[tuple[int, ...]]
    scales: list[tuple[Labels, float]]
    errors: list[tuple[Labels, float]]
    findings: list[tuple[Labels, int]]


# Fractions take their time, and structures stay for the life of a VM.
@lru_cache(maxsize=1024)
def _facts(
    structure: LptStructure, previous: Optional[LptStructure], counter_hz: Optional[int]
) -> _Facts:
    published = LptUpdates(structure=structure, previous=previous)
    found = {finding.reason for finding in audit(published, counter_hz)}
    told = (structure.sequence_number, structure.native_freq, structure.pv_freq)
    factors, errors = scales(structure), clock_errors(structure, found)
    return _Facts(
        [] if found else [told],
        [] if found else [(DIRECTION[way], float(factor)) for way, factor in factors.items()],
        [(DIRECTION[way], float(error)) for way, error in errors.items()],
        [(more, int(reason in found)) for reason, more in REASON.items()],
    )
