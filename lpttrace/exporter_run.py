# SPDX-License-Identifier: GPL-2.0-only
"""Rows of the run itself: what is watched, what was lost, what lpttrace holds and costs. Pure."""

from __future__ import annotations

from typing import Optional

from lpttrace.abi import ABI_VERSION
from lpttrace.catalog import LOSSES
from lpttrace.exporter_labels import NONE, Labels, since, whose
from lpttrace.exporter_rows import Row, Run, Tables
from lpttrace.printable import printable
from lpttrace.snapshot import Snapshot
from lpttrace.snapshot_upkeep import Room, Upkeep

__all__ = ["add_run"]

_NS = 10**9


def add_run(tables: Tables, snapshot: Snapshot, run: Run) -> None:
    """All there is that is not about a VM."""
    tables.build.append((_versions(snapshot.upkeep, run), NONE, (1,)))
    tables.kernel.append((whose(release=printable(run.release)), NONE, (1,)))
    for probe in snapshot.probes:
        tables.probes.append((whose(probe=probe.name), NONE, (int(probe.attached),)))
    if snapshot.counter_hz:
        tables.counter.append((NONE, NONE, (snapshot.counter_hz,)))
    begun = since(snapshot.upkeep.begin_ns, NONE)
    tables.losses.append((begun, NONE, tuple(snapshot.losses.get(name, 0) for name in LOSSES)))
    read = (snapshot.end_ns - snapshot.start_ns) / _NS
    tables.read.append((NONE, NONE, (read, run.left_out)))
    served = since(run.since_ns, NONE)
    tables.scrapes.append((served, NONE, (run.scrapes, run.scrape_ns)))
    for reason, count in run.refused.items():
        labels = since(run.since_ns, whose(reason=reason))
        tables.refusals.append((labels, NONE, (count,)))
    _add_upkeep(tables, snapshot.upkeep)


def _versions(upkeep: Upkeep, run: Run) -> Labels:
    return whose(
        version=printable(run.version),
        source=printable(run.source),
        python_version=run.python,
        bcc_version=upkeep.bcc,
        layout_version=str(ABI_VERSION),
    )


def _add_upkeep(tables: Tables, upkeep: Upkeep) -> None:
    tables.slots += _room(upkeep.slots)
    tables.records += _room(upkeep.records)
    for program, runs, ns in upkeep.programs:
        labels = since(upkeep.begin_ns, whose(program=program))
        tables.programs.append((labels, NONE, (runs, ns)))


def _room(room: Optional[Room]) -> list[Row]:
    if room is None:
        return []
    used = (whose(state="used"), NONE, (room.used,))
    return [used, (whose(state="free"), NONE, (room.places - room.used,))]
