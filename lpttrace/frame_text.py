# SPDX-License-Identifier: GPL-2.0-only
"""The frames of `lpttrace top --once` and `--batch` for people: tables of plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from lpttrace.model import Model, VcpuModel, VmModel, alarms, not_visible
from lpttrace.model_timer import TimerFlow
from lpttrace.printable import printable
from lpttrace.render import (
    NOT_VISIBLE,
    QUANTILE_COLUMNS,
    count,
    counting_since,
    duration,
    losses_line,
    mean,
    probes_line,
    quantile_cells,
    rate,
    vm_name,
)
from lpttrace.render_columns import LPT_COLUMN, NUMBERS, numbers, table
from lpttrace.render_event import event_table
from lpttrace.render_lpt import ALARM, answers_line, lpt_cell, lpt_lines
from lpttrace.render_time import mean_cell, rate_cell, share_cell
from lpttrace.snapshot import Account

__all__ = ["TextOptions", "frame"]


@dataclass(frozen=True)
class TextOptions:
    """Which deeper levels to show, and how many columns the VM table may take."""

    vcpus: bool = False
    classes: bool = False
    columns: int = 80
    title: str = ""
    events: bool = False


def frame(model: Model, vms: Sequence[VmModel], now: datetime, options: TextOptions) -> str:
    """One frame; vms are those of the model to show, in order."""
    sections = [_head(model, vms, now, options), _vm_table(vms, options.columns)]
    if options.vcpus:
        sections += [_vcpu_table(vms), _timer_table(vms), _late_table(vms)]
    if options.classes:
        sections.append(_class_table(vms))
    if options.events:
        sections.append(event_table(model, vms, now))
    sections.append("\n".join(_notes(model, vms, options)))
    return "\n\n".join(filter(None, sections)) + "\n"


def _notes(model: Model, vms: Sequence[VmModel], options: TextOptions) -> list[str]:
    notes = [f"{ALARM}: {alarm}" for alarm in alarms(vms)]
    notes += [f"{thing}: n/a: {printable(reason)}" for thing, reason in not_visible(model.snapshot)]
    for vm in vms:
        lpt, asked = vm.counters.lpt, answers_line(vm.time.answers)
        if lpt and (lpt.last_error or options.vcpus or options.classes):
            notes.append(f"{LPT_COLUMN} of {vm.guest.vm}: {', '.join(lpt_lines(vm))}")
        if asked and (options.vcpus or options.classes):
            notes.append(f"{vm.guest.vm} {asked}")
    return notes


def _head(model: Model, vms: Sequence[VmModel], now: datetime, options: TextOptions) -> str:
    moment = now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    vcpus = sum(len(vm.pairs) for vm in vms)
    interval = "" if model.seconds is None else f"  interval {model.seconds:.2f} s"
    title = f"{options.title}  " if options.title else ""
    attached = counting_since(model, now.astimezone(timezone.utc))
    since = f" since {attached:%Y-%m-%dT%H:%M:%SZ}" if attached else ""
    return (
        f"lpttrace  {title}{moment}{interval}  {len(vms)} VMs  {vcpus} vCPUs\n"
        f"{probes_line(model)}{since}  {losses_line(model)}"
    )


def _vm_table(vms: Iterable[VmModel], room: int) -> str:
    columns = numbers(room)
    head = ("VM", "NAME", "VCPUS", *(column.title for column in columns), LPT_COLUMN)
    rows = [
        (
            vm.guest.vm,
            vm_name(vm),
            str(len(vm.pairs)),
            *(column.cell(vm) for column in columns),
            lpt_cell(vm),
        )
        for vm in vms
    ]
    return table(head, rows, left=(0, 1, len(head) - 1), room=room)


def _vcpu_table(vms: Iterable[VmModel]) -> str:
    titles = (column.title for column in NUMBERS)
    head = ("VM", "VCPU", "TID", *titles, "STOLEN", "UNPAIRED", "UNKNOWN")
    rows = []
    for vm in vms:
        for vcpu in vm.vcpus():
            counters = vcpu.counters
            unknown = counters.last_unknown
            cells = (column.cell(vcpu) for column in NUMBERS)
            last = "-" if unknown is None else f"0x{unknown:08x}"
            ids = (vm.guest.vm, str(counters.vcpu), str(counters.tid))
            rows.append((*ids, *cells, share_cell(vcpu.time), str(counters.unpaired), last))
    return table(head, rows, left=(0,))


def _timer_table(vms: Iterable[VmModel]) -> str:
    head = ("VM", "VCPU", "TIMER", "COUNT", "PER S", "TRAP/IRQ", "TIME/IRQ", "OVERDUE")
    rows = [
        (vm.guest.vm, str(vcpu.counters.vcpu), *_timer_cells(timer))
        for vm in vms
        for vcpu in vm.vcpus()
        for timer in vcpu.time.timers or ()
    ]
    return table(head, rows, left=(0, 2)) if rows else ""


def _timer_cells(timer: TimerFlow) -> tuple[str, ...]:
    cost = (rate(timer.traps_per_interrupt), duration(timer.service_ns_per_interrupt))
    return (
        timer.timer,
        str(timer.total.delivered),
        rate(timer.per_second),
        *(cost if timer.sees_traps else (NOT_VISIBLE, NOT_VISIBLE)),
        str(timer.total.overdue),
    )


def _late_table(vms: Iterable[VmModel]) -> str:
    head = ("VM", "VCPU", "LATE", *QUANTILE_COLUMNS, "STOLEN", "TOLD", "UPDATES", "MEAN")
    rows = [
        (vm.guest.vm, str(vcpu.counters.vcpu), *_late_cells(vcpu), *_stolen_cells(vcpu))
        for vm in vms
        for vcpu in vm.vcpus()
        if vcpu.counters.interrupts or vcpu.counters.stolen
    ]
    return table(head, rows, left=(0,)) if rows else ""


def _late_cells(vcpu: VcpuModel) -> tuple[str, ...]:
    late = vcpu.time.lateness
    if late is None:
        return (NOT_VISIBLE,) * (1 + len(QUANTILE_COLUMNS))
    return (str(late.total.count), *quantile_cells(late.quantiles))


def _stolen_cells(vcpu: VcpuModel) -> tuple[str, ...]:
    stolen = vcpu.time.stolen
    if stolen is None:
        return (NOT_VISIBLE,) * 4
    updates = stolen.total.updates
    told = duration(stolen.total.stolen_ns if stolen.vcpus else None)
    return (share_cell(vcpu.time), told, count(updates.count), mean(updates))


def _class_table(vms: Iterable[VmModel]) -> str:
    apart = ("OUT", "MEAN", "VMM", "MEAN")
    head = ("VM", "VCPU", "CLASS", "COUNT", "PER S", "MEAN", *QUANTILE_COLUMNS, *apart)
    rows = []
    for vm in vms:
        for vcpu in vm.vcpus():
            for item in vcpu.classes():
                flow, total = item.flow, item.flow.total
                times = (rate_cell(flow), mean_cell(flow), *quantile_cells(flow.quantiles))
                ended = (*_apart(total.scheduled_out), *_apart(total.userspace))
                ids = (vm.guest.vm, str(vcpu.counters.vcpu), item.trap.label)
                rows.append((*ids, str(total.count), *times, *ended))
    return table(head, rows, left=(0, 2))


def _apart(account: Account) -> tuple[str, str]:
    return count(account.count), mean(account)
