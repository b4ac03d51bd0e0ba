# SPDX-License-Identifier: GPL-2.0-only
"""The rows of the screen: which there are, and what stands in them. Pure strings, no widgets."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Optional, Union

from lpttrace.model import ClassFlow, Flow, VcpuModel, VmModel
from lpttrace.render import (
    FLOW_COLUMNS,
    LPT_COLUMN,
    flow_cells,
    lpt_cell,
    lpt_line,
    share_lines,
    vm_title,
)

__all__ = ["COLUMNS", "ClassRow", "Column", "Row", "VcpuRow", "VmRow", "detail", "rows"]


@dataclass(frozen=True)
class Column:
    """sort is the key of model_order.SORT_KEYS; width 0 takes what is left."""

    title: str
    sort: str
    width: int


COLUMNS = (
    Column("VM / vCPU / class", "vm", 0),
    Column(FLOW_COLUMNS[0], "hypercalls", 7),
    Column(FLOW_COLUMNS[1], "hypercall-mean", 9),
    Column(FLOW_COLUMNS[2], "timer-traps", 8),
    Column(FLOW_COLUMNS[3], "timer-trap-mean", 9),
    Column(LPT_COLUMN, "lpt", 9),
)


@dataclass(frozen=True)
class VmRow:
    """A VM."""

    vm: VmModel
    expanded: bool

    @property
    def key(self) -> Hashable:
        return self.vm.counters.key

    def cells(self) -> tuple[str, ...]:
        """One string a column."""
        flows = (*flow_cells(self.vm.hypercalls), *flow_cells(self.vm.timer_traps))
        return (
            _branch(0, self.expanded) + vm_title(self.vm),
            *flows,
            lpt_cell(self.vm.counters.lpt),
        )


@dataclass(frozen=True)
class VcpuRow:
    """A vCPU of an expanded VM."""

    vm: VmModel
    vcpu: VcpuModel
    expanded: bool

    @property
    def key(self) -> Hashable:
        return (self.vm.counters.key, self.vcpu.counters.vcpu)

    def cells(self) -> tuple[str, ...]:
        """One string a column."""
        flows = (*flow_cells(self.vcpu.hypercalls), *flow_cells(self.vcpu.timer_traps))
        return (_branch(1, self.expanded) + f"vCPU {self.vcpu.counters.vcpu}", *flows, "")


@dataclass(frozen=True)
class ClassRow:
    """A function or register of an expanded vCPU."""

    vm: VmModel
    vcpu: VcpuModel
    item: ClassFlow

    @property
    def key(self) -> Hashable:
        return (self.vm.counters.key, self.vcpu.counters.vcpu, self.item.trap)

    def cells(self) -> tuple[str, ...]:
        """One string a column."""
        title, cells = _branch(2, None) + self.item.trap.label, flow_cells(self.item.flow)
        if self.item.trap.kind == "timer":
            return (title, "", "", *cells, "")
        return (title, *cells, "", "", "")


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
    """Three lines about the selected row."""
    if isinstance(row, ClassRow):
        where = f"vCPU {row.vcpu.counters.vcpu} of {vm_title(row.vm)}"
        return (f"{row.item.trap.label}, {where}", *share_lines(row.item.flow))
    if isinstance(row, VcpuRow):
        return _vcpu_detail(row)
    vm, guest = row.vm, row.vm.guest
    uuid = f", UUID {guest.uuid}" if guest.uuid else ""
    return (
        f"{vm_title(vm)}: pid {guest.pid}, {len(vm.pairs)} vCPUs{uuid}",
        _totals(vm.hypercalls, vm.timer_traps),
        f"LPT: {lpt_line(vm.counters.lpt)}",
    )


def _vcpu_detail(row: VcpuRow) -> tuple[str, ...]:
    counters = row.vcpu.counters
    title = f"vCPU {counters.vcpu} of {vm_title(row.vm)}: thread {counters.tid}"
    notes = []
    if counters.last_unknown is not None:
        notes.append(f"last unknown function 0x{counters.last_unknown:08x}")
    if counters.unpaired:
        notes.append(f"{counters.unpaired} traps began before lpttrace was attached")
    return (title, _totals(row.vcpu.hypercalls, row.vcpu.timer_traps), ", ".join(notes))


def _totals(hypercalls: Optional[Flow], timer_traps: Optional[Flow]) -> str:
    named = (("hypercalls", hypercalls), ("timer traps", timer_traps))
    return ", ".join(
        f"{name}: {'n/a' if flow is None else f'{flow.total.count} since attach'}"
        for name, flow in named
    )
