# SPDX-License-Identifier: GPL-2.0-only
"""The first block of a recording: where it was made, and what the numbers in the others stand for.

Names are in it, so a later lpttrace, which counts more, reads what an earlier one has recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Optional, TypeVar

import msgpack

from lpttrace.abi import (
    BUCKET_BOUNDS,
    CALLS,
    CLASSES,
    EVENT_KINDS,
    QUESTIONS,
    TIMERS,
    UPDATE_RESULTS,
    TrapClass,
)
from lpttrace.errors import ProtocolError
from lpttrace.printable import printable
from lpttrace.recording_format import ID_BYTES
from lpttrace.recording_types import RecordedHost
from lpttrace.recording_values import schema_in

__all__ = ["OURS", "Schema", "pack_schema", "parse_schema"]

_MOST_TEXT = 4096

_Name = TypeVar("_Name")


@dataclass(frozen=True)
class Schema:
    """Names by the numbers that frames have for them."""

    classes: Sequence[TrapClass]
    timers: Sequence[str]
    questions: Sequence[str]
    calls: Sequence[str]
    results: Sequence[str]
    events: Sequence[str]


OURS = Schema(CLASSES, TIMERS, QUESTIONS, CALLS, UPDATE_RESULTS, EVENT_KINDS)
"""What this lpttrace records."""


def pack_schema(host: RecordedHost, run: bytes) -> bytes:
    """As it is written; run is the id of all that one `record` writes."""
    names = {field.name: list(getattr(OURS, field.name)) for field in fields(OURS)}
    document = {"host": asdict(host), **names, "bounds": list(BUCKET_BOUNDS), "run": run}
    packed: bytes = msgpack.packb(document, unicode_errors="replace")
    return packed


def parse_schema(data: bytes) -> Optional[tuple[RecordedHost, Schema, Optional[bytes]]]:
    """And the id of the run, None if it has none; None of all that if it makes no sense;
    ProtocolError if it does, but not to this lpttrace."""
    try:
        document = schema_in(data)
        host, run = _host(document["host"]), _run(document.get("run"))
        found = {field.name: document[field.name] for field in fields(Schema)}
        bounds = document["bounds"]
        found["classes"] = [TrapClass(*cls) for cls in found["classes"]]
        known = [_all_known(found[field.name], getattr(OURS, field.name)) for field in fields(OURS)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if bounds != BUCKET_BOUNDS or not all(known):
        raise ProtocolError(
            f"cannot read what lpttrace {printable(host.lpttrace)} has recorded: it counts what "
            "this one does not know; use that one, or a later one"
        )
    return host, Schema(**found), run


def _all_known(names: Sequence[_Name], ours: Sequence[_Name]) -> bool:
    return not isinstance(names, str) and set(names) <= set(ours)


def _run(told: Any) -> Optional[bytes]:
    if told is not None and not (isinstance(told, bytes) and len(told) == ID_BYTES):
        raise ValueError("not an id")
    return told


def _host(told: dict[str, Any]) -> RecordedHost:
    host = RecordedHost(**told)
    for field in fields(host):
        value = getattr(host, field.name)
        optional = field.name in ("el2", "counter_hz") and value is None
        wanted = int if field.name in ("cpus", "counter_hz", "layout") else str
        if not optional and type(value) is not wanted:
            raise TypeError(field.name)
        if isinstance(value, str) and len(value) > _MOST_TEXT:
            raise ValueError(field.name)
    return host
