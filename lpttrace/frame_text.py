# SPDX-License-Identifier: GPL-2.0-only
"""The frames of `lpttrace top --once` and `--batch` for people: tables of plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from lpttrace.catalog import LPT_UPDATES
from lpttrace.model import Model, VmModel, not_visible
from lpttrace.render import (
    FLOW_COLUMNS,
    LPT_COLUMN,
    count,
    fit,
    flow_cells,
    losses_line,
    lpt_cell,
    lpt_line,
    mean,
    printable,
    probes_line,
    vm_name,
    width,
)
from lpttrace.snapshot import Account

__all__ = ["TextOptions", "frame"]

_NAME = 1
_MIN_NAME = 8


@dataclass(frozen=True)
class TextOptions:
    """Which deeper levels to show, and how many columns the VM table may take."""

    vcpus: bool = False
    classes: bool = False
    columns: int = 80
    title: str = ""


def frame(model: Model, vms: Sequence[VmModel], now: datetime, options: TextOptions) -> str:
    """One frame; vms are those of the model to show, in order."""
    sections = [_head(model, vms, now, options), _vm_table(vms, options.columns)]
    if options.vcpus:
        sections.append(_vcpu_table(vms))
    if options.classes:
        sections.append(_class_table(vms))
    notes = [f"{thing}: n/a: {printable(reason)}" for thing, reason in not_visible(model.snapshot)]
    notes += [
        f"{LPT_UPDATES.column} of {vm.guest.vm}: {lpt_line(vm.counters.lpt)}"
        for vm in vms
        if vm.counters.lpt and (vm.counters.lpt.last_error or options.vcpus or options.classes)
    ]
    return "\n\n".join([*sections, *(["\n".join(notes)] if notes else [])]) + "\n"


def _head(model: Model, vms: Sequence[VmModel], now: datetime, options: TextOptions) -> str:
    moment = now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    vcpus = sum(len(vm.pairs) for vm in vms)
    interval = "" if model.seconds is None else f"  interval {model.seconds:.2f} s"
    title = f"{options.title}  " if options.title else ""
    return (
        f"lpttrace  {title}{moment}{interval}  {len(vms)} VMs  {vcpus} vCPUs\n"
        f"{probes_line(model)}  {losses_line(model)}"
    )


def _vm_table(vms: Iterable[VmModel], columns: int) -> str:
    head = ("VM", "NAME", "VCPUS", *FLOW_COLUMNS, LPT_COLUMN)
    rows = [
        (
            vm.guest.vm,
            vm_name(vm),
            str(len(vm.pairs)),
            *flow_cells(vm.hypercalls),
            *flow_cells(vm.timer_traps),
            lpt_cell(vm.counters.lpt),
        )
        for vm in vms
    ]
    return table(head, rows, left=(0, 1, 7), room=columns)


def _vcpu_table(vms: Iterable[VmModel]) -> str:
    head = ("VM", "VCPU", "TID", *FLOW_COLUMNS, "UNPAIRED", "UNKNOWN")
    rows = []
    for vm in vms:
        for vcpu in vm.vcpus():
            counters = vcpu.counters
            unknown = counters.last_unknown
            cells = (*flow_cells(vcpu.hypercalls), *flow_cells(vcpu.timer_traps))
            last = "-" if unknown is None else f"0x{unknown:08x}"
            ids = (vm.guest.vm, str(counters.vcpu), str(counters.tid))
            rows.append((*ids, *cells, str(counters.unpaired), last))
    return table(head, rows, left=(0,))


def _class_table(vms: Iterable[VmModel]) -> str:
    head = ("VM", "VCPU", "CLASS", "COUNT", "PER S", "MEAN", "OUT", "MEAN", "VMM", "MEAN")
    rows = []
    for vm in vms:
        for vcpu in vm.vcpus():
            for item in vcpu.classes():
                total = item.flow.total
                apart = (*_apart(total.scheduled_out), *_apart(total.userspace))
                cells = (str(total.count), *flow_cells(item.flow), *apart)
                rows.append((vm.guest.vm, str(vcpu.counters.vcpu), item.trap.label, *cells))
    return table(head, rows, left=(0, 2))


def _apart(account: Account) -> tuple[str, str]:
    return count(account.count), mean(account)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int], room: int = 0
) -> str:
    """Columns as wide as needed, numbers to the right; column 1 gives way where room is short."""
    widths = [max(width(row[i]) for row in (head, *rows)) for i in range(len(head))]
    if room:
        others = sum(widths) - widths[_NAME] + len(widths) - 1
        widths[_NAME] = max(_MIN_NAME, min(widths[_NAME], room - others))
    return "\n".join(_line(row, widths, left) for row in (head, *rows))


def _line(row: Sequence[str], widths: Sequence[int], left: Sequence[int]) -> str:
    cells = []
    for index, (text, columns) in enumerate(zip(row, widths)):
        shown = fit(text, columns)
        gap = " " * (columns - width(shown))
        cells.append(shown + gap if index in left else gap + shown)
    return " ".join(cells).rstrip()
