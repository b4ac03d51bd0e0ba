# SPDX-License-Identifier: GPL-2.0-only
"""Calls about VM attributes and LPT updates, one by one, as people see them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone

from lpttrace.model import Model, VmModel
from lpttrace.render import errno_name, frequency
from lpttrace.render_columns import table
from lpttrace.snapshot import Event

__all__ = ["event_rows", "event_table", "event_time", "events_of"]

_KINDS = {
    "set_attr": "set attribute",
    "get_attr": "get attribute",
    "has_attr": "has attribute",
    "update": "LPT update",
}


def events_of(model: Model, vms: Iterable[VmModel]) -> list[tuple[str, Event]]:
    """The events of these VMs with the labels of those, oldest first."""
    labels = {vm.counters.key: vm.guest.vm for vm in vms}
    events = model.snapshot.events
    return [(labels[event.vm], event) for event in events if event.vm in labels]


def event_time(event: Event, model: Model, now: datetime) -> datetime:
    """When it was; now is when the model's snapshot was taken."""
    age = model.snapshot.end_ns - event.ns
    return now.astimezone(timezone.utc) - timedelta(microseconds=age / 1000)


def event_table(model: Model, vms: Iterable[VmModel], now: datetime) -> str:
    """Those of these VMs as a table, or that there are none."""
    titles, rows = event_rows(model, vms, now)
    if not rows:
        return "no LPT update and no call about a VM's attributes was seen"
    return table(titles, rows, left=range(len(titles)))


def event_rows(
    model: Model, vms: Iterable[VmModel], now: datetime
) -> tuple[Sequence[str], list[Sequence[str]]]:
    """The same as titles and cells."""
    rows: list[Sequence[str]] = [
        (
            event_time(event, model, now).strftime("%m-%d %H:%M:%S.%f")[:-3],
            vm,
            _KINDS[event.kind],
            errno_name(event.error) if event.error else "ok",
            _what(event),
        )
        for vm, event in events_of(model, vms)
    ]
    return ("TIME UTC", "VM", "EVENT", "RESULT", "WHAT"), rows


def _what(event: Event) -> str:
    if event.kind != "update":
        value = "" if event.value is None else f": 0x{event.value:x}"
        return f"group {event.group} attr {event.attribute}{value}"
    if not event.new_hz:
        return "nothing published"
    before = f"{frequency(event.old_hz)} -> " if event.old_hz else ""
    return f"native {before}{frequency(event.new_hz)}"
