# SPDX-License-Identifier: GPL-2.0-only
"""From a snapshot to tables of what is exposed: a set of labels is a row, a metric a column. Pure.

A scrape of many vCPUs is tens of thousands of samples, hence rows that several metrics share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from lpttrace.abi import TrapClass
from lpttrace.catalog import VM
from lpttrace.exporter_columns import Distribution
from lpttrace.exporter_labels import CALL, CLASS, NONE, QUESTION, TIMER, Labels, since, whose
from lpttrace.exporter_lpt import add_lpt
from lpttrace.exporter_rows import Run, Tables
from lpttrace.exporter_run import add_run
from lpttrace.exporter_vcpus import by_number, of_vms, total
from lpttrace.model import Guest
from lpttrace.printable import printable
from lpttrace.snapshot import (
    Calls,
    Histogram,
    Snapshot,
    Stolen,
    Trap,
    VcpuCounters,
    VmCounters,
    VmKey,
)

__all__ = ["tabulate"]

_NO_CALLS = Calls()
_NO_STOLEN = Stolen()


class _Times:
    """Times of several vCPUs: the lanes of a histogram, and the sum in ns."""

    __slots__ = ("lanes", "ns")

    def __init__(self) -> None:
        self.lanes = self.ns = 0

    def value(self) -> tuple[Distribution]:
        """Of a row."""
        return (Distribution.of(Histogram(self.lanes), self.ns),)


class _Vm:
    """A VM's labels, and the sums over its vCPUs."""

    def __init__(self, label: str, since_ns: int) -> None:
        self.label = label
        self.labels = since(since_ns, whose(vm=label))
        self.times: dict[TrapClass, _Times] = {}
        self.late = _Times()
        self.questions: dict[str, list[int]] = {}


def tabulate(
    snapshot: Snapshot, guests: Mapping[VmKey, Guest], run: Run, per_vcpu: bool = True
) -> Tables:
    """Everything there is to expose of the snapshot's VMs, whether its probes are attached or not.

    Without per_vcpu, the vCPUs of a VM are one.
    """
    tables = Tables()
    add_run(tables, snapshot, run)
    vcpus = of_vms(snapshot)
    for vm in snapshot.vms:
        sums = _Vm(guests[vm.key].vm, vm.key.seen_ns)
        for labels, vcpu in _labelled(sums, vcpus[vm.key], per_vcpu):
            _add_vcpu(tables, sums, labels, vcpu)
        _add_identity(tables, guests[vm.key])
        if vm.alive:
            count = len({vcpu.vcpu for vcpu in vcpus[vm.key]})
            tables.vm_vcpus.append((sums.labels, NONE, (count,)))
        _add_sums(tables, sums)
        _add_vm(tables, sums.labels, vm)
        if vm.lpt is not None:
            add_lpt(tables, sums.labels, vm.lpt, snapshot.counter_hz, run.boot)
    return tables


def _labelled(
    vm: _Vm, vcpus: Sequence[VcpuCounters], per_vcpu: bool
) -> Iterable[tuple[Labels, VcpuCounters]]:
    if not vcpus:
        return []
    if not per_vcpu:
        return [(vm.labels, total(vcpus))]
    return [(_vcpu_labels(vm.label, v.vcpu, v.seen_ns), v) for v in by_number(vcpus)]


def _add_vcpu(tables: Tables, vm: _Vm, labels: Labels, vcpu: VcpuCounters) -> None:
    _add_traps(tables, vm.times, labels, vcpu.traps)
    stolen = vcpu.stolen or _NO_STOLEN
    late = (vcpu.lateness.count, vcpu.lateness.ns)
    steals = (stolen.updates.count, stolen.updates.ns, stolen.stolen_ns)
    tables.vcpus.append((labels, NONE, (vcpu.unpaired, *late, *steals)))
    for timer, made in vcpu.interrupts.items():
        tables.interrupts.append((labels, TIMER[timer], (made.delivered, made.overdue)))
    vm.late.lanes += vcpu.late.lanes
    vm.late.ns += vcpu.lateness.ns
    for question, answers in vcpu.answers.items():
        counts = vm.questions.setdefault(question, [0, 0])
        counts[0] += answers.asked - answers.refused
        counts[1] += answers.refused


@lru_cache(maxsize=1024)
def _vcpu_labels(vm: str, vcpu: int, since_ns: int) -> Labels:
    return since(since_ns, whose(vm=vm, vcpu=str(vcpu)))


def _add_traps(
    tables: Tables,
    times: dict[TrapClass, _Times],
    labels: Labels,
    traps: Mapping[TrapClass, Trap],
) -> None:
    # The inner loop of a scrape.
    for cls, trap in traps.items():
        timer, plain, scheduled_out, userspace = CLASS[cls]
        rows, apart = (
            (tables.timer_traps, tables.timer_traps_apart)
            if timer
            else (tables.hypercalls, tables.hypercalls_apart)
        )
        served, out, user = trap.served, trap.scheduled_out, trap.userspace
        number, ns = served.count, served.ns
        made = number + out.count + user.count + trap.pending
        rows.append((labels, plain, (made, ns, number)))
        if number:
            if cls not in times:
                times[cls] = _Times()
            together = times[cls]
            together.lanes += trap.service.lanes
            together.ns += ns
        if out.count:
            apart.append((labels, scheduled_out, (out.count, out.ns)))
        if user.count:
            apart.append((labels, userspace, (user.count, user.ns)))


def _add_identity(tables: Tables, guest: Guest) -> None:
    # The labels are called as the fields are.
    told = {label: printable(str(getattr(guest, label))) for label in VM.labels}
    labels = whose(**told)
    tables.vms.append((labels, NONE, (1,)))


def _add_sums(tables: Tables, vm: _Vm) -> None:
    for cls, times in vm.times.items():
        timer, plain, _, _ = CLASS[cls]
        rows = tables.timer_trap_times if timer else tables.hypercall_times
        rows.append((vm.labels, plain, times.value()))
    if vm.late.lanes:
        tables.lateness.append((vm.labels, NONE, vm.late.value()))
    for question, counts in vm.questions.items():
        for more, count in zip(QUESTION[question], counts):
            tables.questions.append((vm.labels, more, (count,)))


def _add_vm(tables: Tables, labels: Labels, vm: VmCounters) -> None:
    if vm.calls is None:
        return
    for call, (done, failed) in CALL.items():
        calls = vm.calls.get(call, _NO_CALLS)
        tables.calls += [(labels, done, (calls.done,)), (labels, failed, (calls.failed,))]
