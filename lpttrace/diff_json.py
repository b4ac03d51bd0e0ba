# SPDX-License-Identifier: GPL-2.0-only
"""A difference as JSON; docs/diff.schema.json says what is in it. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, Optional

from lpttrace.blocks_lpt import LptHistory
from lpttrace.diff_types import Bounds, Difference, Load, LptChange, Row, SideFacts

__all__ = ["SCHEMA", "document", "encode"]

SCHEMA = 1

_NS = 1e9
_TIMES = ("service", "tail", "vmm")


def encode(found: Difference) -> str:
    """On one line, in ASCII, so that no name in it can do harm to a terminal."""
    return json.dumps(document(found), separators=(",", ":"), allow_nan=False)


def document(found: Difference) -> dict[str, Any]:
    """Times in seconds; null is what cannot be known."""
    return {
        "schema": SCHEMA,
        "alpha": found.options.alpha,
        "threshold": found.options.threshold,
        "before": [_side(side) for side in found.before],
        "after": [_side(side) for side in found.after],
        "host_differences": [asdict(one) for one in found.hosts],
        "only_before": list(found.only_before),
        "only_after": list(found.only_after),
        "lpt": [_lpt(change) for change in found.lpt],
        "loads": [_load(load) for load in found.loads],
        "rows": [_row(row) for row in found.rows],
    }


def _side(side: SideFacts) -> dict[str, Any]:
    return {
        "host": asdict(side.host),
        "begin": _iso(side.begin_ns),
        "end": _iso(side.end_ns),
        "frames": side.frames,
        "blocks": side.blocks,
        "block_seconds": side.block_seconds,
        "problem": side.problem,
    }


def _iso(ns: int) -> str:
    moment = datetime.fromtimestamp(ns / _NS, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lpt(change: LptChange) -> dict[str, Any]:
    return {"vm": change.vm, "before": _history(change.before), "after": _history(change.after)}


def _history(history: LptHistory) -> dict[str, Any]:
    phases = [
        {"state": state, "pv_hz": pv_hz or None, "native_hz": native_hz or None}
        for state, pv_hz, native_hz in history.phases
    ]
    return {"phases": phases, "updates": history.updates}


def _load(load: Load) -> dict[str, Any]:
    return {
        "vm": load.vm,
        "vcpus": list(load.vcpus),
        "interrupts_per_second": list(load.interrupts),
        "hypercalls_per_second": list(load.hypercalls),
        "timer_traps_per_second": list(load.timer_traps),
        "lost_seconds_per_second": [ns / _NS for ns in load.lost_ns],
    }


def _row(row: Row) -> dict[str, Any]:
    unit = _NS if row.measure in _TIMES else 1.0
    before, after = (None if v is None else v / unit for v in (row.before, row.after))
    return {
        "vm": row.vm or None,
        "vcpu": row.vcpu,
        "kind": row.cls.kind or None,
        "name": row.cls.name,
        "direction": row.cls.direction or None,
        "measure": row.measure,
        "quantile": row.quantile,
        "verdict": row.verdict,
        "reason": row.reason or None,
        "before": before,
        "after": after,
        "change": _bounds(row.bounds),
        "p": row.p,
        "cost_seconds_per_second": row.effect_ns / _NS,
        "samples": list(row.samples),
        "blocks": list(row.blocks),
        "joined": row.joined,
        "p99_seconds": None if row.p99 is None else [ns / _NS for ns in row.p99],
    }


def _bounds(bounds: Optional[Bounds]) -> Optional[dict[str, float]]:
    return None if bounds is None else asdict(bounds)
