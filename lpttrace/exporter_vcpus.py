# SPDX-License-Identifier: GPL-2.0-only
"""vCPUs by VM, and several as one. Pure.

No sum shrinks: a source keeps what a vCPU has counted as long as its VM is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Optional

from lpttrace.abi import TrapClass
from lpttrace.snapshot import (
    Account,
    Answers,
    Histogram,
    Interrupts,
    Snapshot,
    Stolen,
    Trap,
    VcpuCounters,
    VmKey,
)

__all__ = ["by_number", "of_vms", "total"]


def of_vms(snapshot: Snapshot) -> Mapping[VmKey, Sequence[VcpuCounters]]:
    """The vCPUs of every VM of the snapshot."""
    vms: dict[VmKey, list[VcpuCounters]] = {vm.key: [] for vm in snapshot.vms}
    key, vcpus = None, list[VcpuCounters]()
    for vcpu in snapshot.vcpus:
        if vcpu.vm is not key:
            key, vcpus = vcpu.vm, vms.get(vcpu.vm, [])
        vcpus.append(vcpu)
    return vms


def by_number(vcpus: Sequence[VcpuCounters]) -> Sequence[VcpuCounters]:
    """One for every number: a vCPU may have gone and come back, and count from 0 again."""
    found: dict[int, list[VcpuCounters]] = {}
    for vcpu in vcpus:
        found.setdefault(vcpu.vcpu, []).append(vcpu)
    if len(found) == len(vcpus):
        return vcpus
    return [total(same) if len(same) > 1 else same[0] for same in found.values()]


def total(vcpus: Sequence[VcpuCounters]) -> VcpuCounters:
    """All of them as one, with the number and thread of the last; there is at least one."""
    return replace(
        vcpus[-1],
        traps=_traps(vcpus),
        unpaired=sum(vcpu.unpaired for vcpu in vcpus),
        interrupts=_interrupts(vcpus),
        lateness=_account(vcpu.lateness for vcpu in vcpus),
        late=Histogram(sum(vcpu.late.lanes for vcpu in vcpus)),
        stolen=_stolen([vcpu.stolen for vcpu in vcpus if vcpu.stolen]),
        answers=_answers(vcpus),
        seen_ns=min(vcpu.seen_ns for vcpu in vcpus),
    )


def _account(accounts: Iterable[Account]) -> Account:
    pairs = [(account.count, account.ns) for account in accounts]
    return Account(sum(count for count, _ in pairs), sum(ns for _, ns in pairs))


def _traps(vcpus: Iterable[VcpuCounters]) -> dict[TrapClass, Trap]:
    # Of hundreds of vCPUs it is thousands of traps: hence no object for each sum on the way.
    found: dict[TrapClass, list[int]] = {}
    for vcpu in vcpus:
        for cls, trap in vcpu.traps.items():
            served, out, user = trap.served, trap.scheduled_out, trap.userspace
            sums = found.get(cls)
            if sums is None:
                sums = found[cls] = [0] * 8
            sums[0] += served.count
            sums[1] += served.ns
            sums[6] += trap.pending
            sums[7] += trap.service.lanes
            if out.count:
                sums[2] += out.count
                sums[3] += out.ns
            if user.count:
                sums[4] += user.count
                sums[5] += user.ns
    return {
        cls: Trap(Account(*s[:2]), Account(*s[2:4]), Account(*s[4:6]), s[6], Histogram(s[7]))
        for cls, s in found.items()
    }


def _interrupts(vcpus: Iterable[VcpuCounters]) -> dict[str, Interrupts]:
    found: dict[str, Interrupts] = {}
    for vcpu in vcpus:
        for timer, more in vcpu.interrupts.items():
            had = found.get(timer, Interrupts())
            found[timer] = Interrupts(had.delivered + more.delivered, had.overdue + more.overdue)
    return found


def _stolen(stolen: Sequence[Stolen]) -> Optional[Stolen]:
    if not stolen:
        return None
    updates = _account(one.updates for one in stolen)
    return Stolen(updates, sum(one.stolen_ns for one in stolen))


def _answers(vcpus: Iterable[VcpuCounters]) -> dict[str, Answers]:
    found: dict[str, Answers] = {}
    for vcpu in vcpus:
        for question, more in vcpu.answers.items():
            had = found.get(question, Answers(0, 0, 0))
            asked, refused = had.asked + more.asked, had.refused + more.refused
            found[question] = Answers(asked, refused, more.last)
    return found
