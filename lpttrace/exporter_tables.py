# SPDX-License-Identifier: GPL-2.0-only
"""From a snapshot to tables of what is exposed: a set of labels is a row, a metric a column. Pure.

A scrape of many vCPUs is tens of thousands of samples, hence rows that several metrics share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Optional, Union

from lpttrace.abi import TrapClass
from lpttrace.catalog import LOSSES, VM
from lpttrace.exporter_columns import Distribution
from lpttrace.exporter_labels import (
    CALL,
    CLASS,
    DIRECTION,
    NONE,
    QUESTION,
    REASON,
    RESULT,
    TIMER,
    Labels,
    whose,
)
from lpttrace.model import Guest
from lpttrace.model_lpt import audit, lpt_state, scale_errors, scales
from lpttrace.render import printable
from lpttrace.snapshot import (
    Account,
    Calls,
    Histogram,
    LptStructure,
    LptUpdates,
    Snapshot,
    Stolen,
    Trap,
    VcpuCounters,
    VmCounters,
    VmKey,
)

__all__ = ["Row", "Run", "Tables", "tabulate"]

_NS = 10**9
_NEVER = Account()
_NO_CALLS = Calls()
_NO_STOLEN = Stolen()

Row = tuple[Labels, Labels, tuple[Union[int, float, Distribution], ...]]
"""Whose it is and what it is, and a value for each column: see TABLES, and in_ns."""


@dataclass(frozen=True)
class Run:
    """What is not in a snapshot: version and source for lpttrace_build_info, Unix time at boot."""

    version: str
    source: str
    boot: float


def _rows() -> list[Row]:
    return []


@dataclass
class Tables:
    """The rows of every table of TABLES."""

    build: list[Row] = field(default_factory=_rows)
    probes: list[Row] = field(default_factory=_rows)
    counter: list[Row] = field(default_factory=_rows)
    losses: list[Row] = field(default_factory=_rows)
    read: list[Row] = field(default_factory=_rows)
    vms: list[Row] = field(default_factory=_rows)
    vcpus: list[Row] = field(default_factory=_rows)
    hypercalls: list[Row] = field(default_factory=_rows)
    hypercalls_apart: list[Row] = field(default_factory=_rows)
    hypercall_times: list[Row] = field(default_factory=_rows)
    timer_traps: list[Row] = field(default_factory=_rows)
    timer_traps_apart: list[Row] = field(default_factory=_rows)
    timer_trap_times: list[Row] = field(default_factory=_rows)
    interrupts: list[Row] = field(default_factory=_rows)
    lateness: list[Row] = field(default_factory=_rows)
    questions: list[Row] = field(default_factory=_rows)
    calls: list[Row] = field(default_factory=_rows)
    lpt: list[Row] = field(default_factory=_rows)
    lpt_updates: list[Row] = field(default_factory=_rows)
    lpt_structures: list[Row] = field(default_factory=_rows)
    lpt_previous: list[Row] = field(default_factory=_rows)
    lpt_scales: list[Row] = field(default_factory=_rows)
    lpt_scale_errors: list[Row] = field(default_factory=_rows)
    lpt_findings: list[Row] = field(default_factory=_rows)


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

    def __init__(self, label: str) -> None:
        self.label = label
        self.labels = whose(vm=label)
        self.times: dict[TrapClass, _Times] = {}
        self.late = _Times()
        self.questions: dict[str, list[int]] = {}


def tabulate(snapshot: Snapshot, guests: Mapping[VmKey, Guest], run: Run) -> Tables:
    """Everything there is to expose of a snapshot, whether its probes are attached or not."""
    tables = Tables()
    _add_run(tables, snapshot, run)
    vms = {vm.key: _Vm(guests[vm.key].vm) for vm in snapshot.vms}
    for vcpu in snapshot.vcpus:
        if vcpu.vm in vms:
            _add_vcpu(tables, vms[vcpu.vm], vcpu)
    for vm in snapshot.vms:
        _add_identity(tables, guests[vm.key])
        _add_sums(tables, vms[vm.key])
        _add_vm(tables, vms[vm.key].labels, vm)
        if vm.lpt is not None and lpt_state(vm.lpt) != "unknown":
            _add_lpt(tables, vms[vm.key].labels, vm.lpt)
            _add_published(tables, vms[vm.key].labels, vm.lpt, snapshot.counter_hz, run.boot)
    return tables


def _add_run(tables: Tables, snapshot: Snapshot, run: Run) -> None:
    tables.build.append((whose(version=run.version, source=run.source), NONE, (1,)))
    for probe in snapshot.probes:
        tables.probes.append((whose(probe=probe.name), NONE, (int(probe.attached),)))
    if snapshot.counter_hz:
        tables.counter.append((NONE, NONE, (snapshot.counter_hz,)))
    tables.losses.append((NONE, NONE, tuple(snapshot.losses[name] for name in LOSSES)))
    tables.read.append((NONE, NONE, ((snapshot.end_ns - snapshot.start_ns) / _NS,)))


def _add_vcpu(tables: Tables, vm: _Vm, vcpu: VcpuCounters) -> None:
    labels = _vcpu_labels(vm.label, vcpu.vcpu)
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
def _vcpu_labels(vm: str, vcpu: int) -> Labels:
    return whose(vm=vm, vcpu=str(vcpu))


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


def _add_lpt(tables: Tables, labels: Labels, lpt: LptUpdates) -> None:
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
    frequencies = (structure.native_freq, structure.pv_freq)
    # Both clocks are read at every scrape; their last digits would differ each time.
    published = round(boot + lpt.published_ns / _NS, 2)
    values = (structure.sequence_number, *frequencies, published)
    tables.lpt_structures.append((labels, NONE, values))
    if lpt.previous is not None:
        tables.lpt_previous.append((labels, NONE, (lpt.previous.native_freq,)))
    facts = _facts(structure, lpt.previous, counter_hz)
    tables.lpt_scales += [(labels, more, (value,)) for more, value in facts.scales]
    tables.lpt_scale_errors += [(labels, more, (value,)) for more, value in facts.errors]
    tables.lpt_findings += [(labels, more, (value,)) for more, value in facts.findings]


class _Facts(NamedTuple):
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
    return _Facts(
        [(DIRECTION[way], float(factor)) for way, factor in scales(structure).items()],
        [(DIRECTION[way], float(error)) for way, error in scale_errors(structure).items()],
        [(more, int(reason in found)) for reason, more in REASON.items()],
    )
