# SPDX-License-Identifier: GPL-2.0-only
"""Which process a VM is, and what it is called. The only user of psutil."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Callable, Optional, TypeVar

import psutil

from lpttrace.guests_command import identity_of
from lpttrace.guests_libvirt import Domain, Domains
from lpttrace.maps_ledger import PLACES
from lpttrace.model import Guest
from lpttrace.snapshot import Snapshot, VmCounters, VmKey

__all__ = ["Guests", "Process", "read_process"]

_Value = TypeVar("_Value")

# Whatever /proc does to us, a VM keeps its place: it only goes without a name.
_FAILURES = (psutil.Error, OSError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Process:
    """What a process says of itself; command is empty where it could not be read."""

    executable: str
    command: Sequence[str]


def read_process(pid: int) -> Optional[Process]:
    """The process, or None if there is no such process, or it may not be looked at."""
    try:
        process = psutil.Process(pid)
        executable = _or(process.exe, "") or _or(process.name, "")
        command: list[str] = _or(process.cmdline, [])
    except _FAILURES:
        return None
    if not executable:
        return None
    return Process(_text(os.path.basename(executable)), [_text(word) for word in command])


def _or(read: Callable[[], _Value], otherwise: _Value) -> _Value:
    try:
        return read()
    except _FAILURES:
        return otherwise


def _text(word: str) -> str:
    # psutil decodes with surrogates, which are not valid UTF-8 when written again.
    return os.fsencode(word).decode("utf-8", "replace")


class Guests:
    """Gives VMs their labels and names, and remembers them while the agent lives.

    The first VM of a process is labelled with its pid, further ones "<pid>-2", "<pid>-3", by the
    number that the source gives them, or else in their order; then a label is not given twice, not
    even when the kernel uses a pid again, unless so many other processes came in between.
    """

    def __init__(
        self,
        read: Callable[[int], Optional[Process]] = read_process,
        domains: Optional[Domains] = None,
    ) -> None:
        """domains is what libvirt tells; it may tell more, or something else, every time."""
        self._read = read
        self._domains = domains or Domains()
        self._known: dict[VmKey, Guest] = {}
        self._named: set[VmKey] = set()
        self._domain_of: dict[VmKey, Domain] = {}
        self._labels_of_pid: dict[int, int] = {}

    def identify(self, snapshot: Snapshot) -> Mapping[VmKey, Guest]:
        """Who every VM of the snapshot is. Never fails: a process that is gone keeps the name it
        had, and is called ?[pid] if it never was seen."""
        present = {vm.key for vm in snapshot.vms}
        for key in [key for key in self._known if key not in present]:
            del self._known[key]
            self._named.discard(key)
            self._domain_of.pop(key, None)
        for vm in sorted(snapshot.vms, key=lambda vm: vm.key.seen_ns):
            if vm.key not in self._named:
                self._learn(vm)
        self._ask_libvirt(vm.key for vm in snapshot.vms if vm.alive and vm.key in self._named)
        return self._known

    def _learn(self, vm: VmCounters) -> None:
        known = self._known.get(vm.key)
        label = known.vm if known else self._label(vm)
        # The pid of a VM that ended may be another process's by now.
        process = self._read(vm.tgid) if vm.alive else None
        if process is None:
            self._known[vm.key] = known or Guest(label, f"?[{vm.tgid}]", vm.tgid)
            return
        told = identity_of(process.executable, process.command)
        name = told.name or f"{process.executable}[{vm.tgid}]"
        self._known[vm.key] = Guest(label, name, vm.tgid, told.uuid, told.vmm, told.product)
        self._named.add(vm.key)

    def _ask_libvirt(self, keys: Iterable[VmKey]) -> None:
        # A VM that libvirt says nothing of any more keeps what it said: it is about to end.
        self._domains.refresh()
        for key in keys:
            guest = self._known[key]
            domain = self._domains.find(guest.pid, guest.uuid, guest.name)
            if domain is not None and domain is not self._domain_of.get(key):
                self._domain_of[key] = domain
                self._known[key] = _with_domain(guest, domain)

    def _label(self, vm: VmCounters) -> str:
        last = self._labels_of_pid.get(vm.tgid, 0)
        number = vm.number or last + 1
        # At the end, where those stay that came last.
        self._labels_of_pid.pop(vm.tgid, None)
        self._labels_of_pid[vm.tgid] = max(last, number)
        if len(self._labels_of_pid) > PLACES:
            del self._labels_of_pid[next(iter(self._labels_of_pid))]
        return str(vm.tgid) if number == 1 else f"{vm.tgid}-{number}"


def _with_domain(guest: Guest, domain: Domain) -> Guest:
    return replace(
        guest,
        libvirt_name=domain.name,
        openstack_name=domain.instance,
        openstack_project=domain.project,
        openstack_project_uuid=domain.project_uuid,
        openstack_flavor=domain.flavor,
    )
