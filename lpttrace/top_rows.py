# SPDX-License-Identifier: GPL-2.0-only
"""The rows of the screen: which there are, and what stands in them. Pure strings, no widgets."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Optional, Union

from lpttrace.model import ClassFlow, VcpuModel, VmModel, alarms
from lpttrace.printable import printable
from lpttrace.render import share_lines, vm_title
from lpttrace.render_columns import Column
from lpttrace.render_lpt import ALARM, answers_line, lpt_cell, lpt_lines
from lpttrace.render_time import flow_line, service_lines, time_lines

__all__ = ["ClassRow", "Row", "VcpuRow", "VmRow", "detail", "rows"]


@dataclass(frozen=True)
class VmRow:
    """A VM."""

    vm: VmModel
    expanded: bool

    @property
    def key(self) -> Hashable:
        return self.vm.counters.key

    def cells(self, columns: Sequence[Column]) -> tuple[str, ...]:
        """The title, one string a column, and LPT."""
        title = _branch(0, self.expanded) + vm_title(self.vm)
        return (title, *(column.cell(self.vm) for column in columns), lpt_cell(self.vm))


@dataclass(frozen=True)
class VcpuRow:
    """A vCPU of an expanded VM."""

    vm: VmModel
    vcpu: VcpuModel
    expanded: bool

    @property
    def key(self) -> Hashable:
        return (self.vm.counters.key, self.vcpu.counters.vcpu)

    def cells(self, columns: Sequence[Column]) -> tuple[str, ...]:
        """The title, one string a column, and no LPT, which is the VM's."""
        title = _branch(1, self.expanded) + f"vCPU {self.vcpu.counters.vcpu}"
        return (title, *(column.cell(self.vcpu) for column in columns), "")


@dataclass(frozen=True)
class ClassRow:
    """A function or register of an expanded vCPU."""

    vm: VmModel
    vcpu: VcpuModel
    item: ClassFlow

    @property
    def key(self) -> Hashable:
        return (self.vm.counters.key, self.vcpu.counters.vcpu, self.item.trap)

    def cells(self, columns: Sequence[Column]) -> tuple[str, ...]:
        """The title, one string a column, and no LPT."""
        title = _branch(2, None) + self.item.trap.label
        return (title, *(column.cell(self.item) for column in columns), "")


Row = Union[VmRow, VcpuRow, ClassRow]


def _branch(level: int, expanded: Optional[bool]) -> str:
    mark = {True: "▾ ", False: "▸ ", None: ""}[expanded]
    return "  " * level + mark


def rows(vms: Iterable[VmModel], expanded: set[Hashable]) -> list[Row]:
    """All rows in order; expanded has the keys of the rows whose children are shown."""
    found: list[Row] = []
    for vm in vms:
        row = VmRow(vm, vm.counters.key in expanded)
        found.append(row)
        if row.expanded:
            found += _vcpu_rows(vm, expanded)
    return found


def _vcpu_rows(vm: VmModel, expanded: set[Hashable]) -> list[Row]:
    found: list[Row] = []
    for vcpu in vm.vcpus():
        row = VcpuRow(vm, vcpu, (vm.counters.key, vcpu.counters.vcpu) in expanded)
        found.append(row)
        if row.expanded:
            found += [ClassRow(vm, vcpu, item) for item in vcpu.classes()]
    return found


def detail(row: Row) -> tuple[str, ...]:
    """What there is to tell about a row, the most important lines first."""
    if isinstance(row, ClassRow):
        where = f"vCPU {row.vcpu.counters.vcpu} of {vm_title(row.vm)}"
        flow = row.item.flow
        told = (*service_lines(flow), *share_lines(flow))
        return (f"{row.item.trap.label}, {where}", *filter(None, told))
    return _vcpu_detail(row) if isinstance(row, VcpuRow) else _vm_detail(row)


def _vm_detail(row: VmRow) -> tuple[str, ...]:
    vm, guest = row.vm, row.vm.guest
    uuid = f", UUID {printable(guest.uuid)}" if guest.uuid else ""
    first, *more = lpt_lines(vm)
    asked = answers_line(vm.time.answers)
    return (
        f"{vm_title(vm)}: pid {guest.pid}, {len(vm.pairs)} vCPUs{uuid}",
        *(f"{ALARM}: {alarm}" for alarm in alarms([vm])),
        f"LPT: {first}",
        *([asked] if asked else []),
        flow_line("hypercalls", vm.hypercalls),
        flow_line("timer traps", vm.timer_traps),
        *time_lines(vm.time),
        *(f"LPT: {line}" for line in more),
    )


def _vcpu_detail(row: VcpuRow) -> tuple[str, ...]:
    vcpu, counters = row.vcpu, row.vcpu.counters
    notes = []
    if counters.last_unknown is not None:
        notes.append(f"last unknown function 0x{counters.last_unknown:08x}")
    if counters.unpaired:
        notes.append(f"{counters.unpaired} traps whose end was not seen")
    return (
        f"vCPU {counters.vcpu} of {vm_title(row.vm)}: thread {counters.tid}",
        *([", ".join(notes)] if notes else []),
        flow_line("hypercalls", vcpu.hypercalls),
        flow_line("timer traps", vcpu.timer_traps),
        *time_lines(vcpu.time),
    )
